package revision

import (
	"runtime"
	"sync"
	"sync/atomic"

	"sluice/pkg/words"
)

// Parallel calls do for 0 to n-1 on all processors. Finding words is most of the
// work of an insert, and the transaction itself has but one.
func Parallel(n int, analyzers words.Pool, do func(i int, a *words.Analyzer)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	work := func() {
		a, done := analyzers.Lend()
		defer done()
		const stride = 16
		for {
			end := int(next.Add(stride))
			for i := end - stride; i < min(end, n); i++ {
				do(i, a)
			}
			if end >= n {
				return
			}
		}
	}
	for range min(runtime.GOMAXPROCS(0), (n+31)/32) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
}
