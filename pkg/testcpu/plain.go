package testcpu

import (
	"os/exec"
	"regexp"
	"testing"
)

// Plain has a test of memory run without the race detector, which takes several
// times the memory and throws away at random what is pooled. With it, the test runs
// again in a process without, fails as that fails, and Plain returns true: the test
// is done. Without it Plain returns false.
func Plain(t *testing.T) (done bool) {
	t.Helper()
	if !raceDetector {
		return false
	}
	name := "^" + regexp.QuoteMeta(t.Name()) + "$"
	out, err := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-run", name, ".").CombinedOutput()
	if err != nil {
		t.Errorf("without the race detector: %v\n%s", err, out)
	}
	return true
}
