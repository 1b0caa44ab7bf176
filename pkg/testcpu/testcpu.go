// Package testcpu tests what work costs without a clock on the wall. A test that
// expects an answer within seconds fails on a machine that does something else;
// the processor time that a process uses does not depend on others.
package testcpu

import (
	"testing"
	"time"
)

const (
	// step is how much larger the second input is.
	step = 4
	// slack is how much more than step times the processor time it may take. Work
	// that is quadratic takes step times more. Caches make it up to twice.
	slack = 3
	// least is what is too little to be compared. Caches and the garbage collector
	// decide about it.
	least = 20 * time.Millisecond
	// tries is how often it is measured before it is believed. The least of all
	// measurements counts: others of the same process can only add to it.
	tries = 8
)

// Linear fails the test unless work(n) costs about four times as much as
// work(n/4). It counts the processor time of the whole process.
func Linear(tb testing.TB, n int, work func(n int)) {
	tb.Helper()
	var small, large time.Duration
	for try := range tries {
		large = shortest(large, try, Used(func() { work(n) }))
		if large < least {
			return
		}
		small = shortest(small, try, Used(func() { work(n / step) }))
		if large <= slack*step*small {
			return
		}
	}
	tb.Errorf("%d times the input costs %.1f times the processor time (%v after %v): it is not linear",
		step, float64(large)/float64(max(small, 1)), large, small)
}

// Bounded fails the test unless large, the same work on a much larger input, costs
// hardly more than small: the work is cut off at a limit that both go beyond.
func Bounded(tb testing.TB, small, large func()) {
	tb.Helper()
	var less, more time.Duration
	for try := range tries {
		more = shortest(more, try, Used(large))
		if more < least {
			return
		}
		less = shortest(less, try, Used(small))
		if more <= slack*less {
			return
		}
	}
	tb.Errorf("the larger input costs %.1f times the processor time (%v after %v): nothing cuts it off",
		float64(more)/float64(max(less, 1)), more, less)
}

func shortest(known time.Duration, try int, measured time.Duration) time.Duration {
	if try == 0 {
		return measured
	}
	return min(known, measured)
}

// Used returns the processor time that the process uses while f runs.
func Used(f func()) time.Duration {
	before := spent()
	f()
	return spent() - before
}
