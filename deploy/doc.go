// Package deploy holds what runs Sluice elsewhere; its tests keep the manifests
// in step with the code.
package deploy
