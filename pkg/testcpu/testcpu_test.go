package testcpu_test

import (
	"testing"

	"go.uber.org/goleak"

	"sluice/pkg/testcpu"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// verdict is a test that only remembers whether it failed.
type verdict struct {
	testing.TB
	failed bool
}

func (v *verdict) Helper()               {}
func (v *verdict) Errorf(string, ...any) { v.failed = true }

var sink int

func steps(n int) {
	for i := range n {
		sink += i ^ sink
	}
}

func TestBounded(t *testing.T) {
	for name, c := range map[string]struct {
		small, large int
		bounded      bool
	}{
		"bounded":   {1 << 26, 1 << 26, true},
		"unbounded": {1 << 26, 1 << 29, false},
		"small":     {1 << 3, 1 << 10, true},
	} {
		t.Run(name, func(t *testing.T) {
			v := &verdict{TB: t}
			testcpu.Bounded(v, func() { steps(c.small) }, func() { steps(c.large) })
			if v.failed == c.bounded {
				t.Errorf("failed: %v", v.failed)
			}
		})
	}
}

func TestLinear(t *testing.T) {
	for name, c := range map[string]struct {
		n      int
		work   func(n int)
		linear bool
	}{
		"constant":  {1 << 10, func(int) { steps(1 << 26) }, true},
		"linear":    {1 << 26, steps, true},
		"quadratic": {1 << 13, func(n int) { steps(n * n) }, false},
		"small":     {1 << 3, func(n int) { steps(n * n) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			v := &verdict{TB: t}
			testcpu.Linear(v, c.n, c.work)
			if v.failed == c.linear {
				t.Errorf("failed: %v", v.failed)
			}
		})
	}
}
