//go:build race

package testcpu

const raceDetector = true
