// Package rules holds the rules of the source tree, which its test enforces.
package rules
