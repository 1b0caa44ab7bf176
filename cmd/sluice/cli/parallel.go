package cli

import (
	"context"
	"runtime"
	"sync"

	"github.com/google/uuid"
)

// parallel calls f for 0 to n-1, as many at once as there are CPUs, until ctx ends.
func parallel(ctx context.Context, n int, f func(i int)) error {
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(n, runtime.NumCPU()) {
		wg.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		next <- i
	}
	close(next)
	wg.Wait()
	return ctx.Err()
}

// newID returns an ID for something that a person does once.
func newID() string { return uuid.Must(uuid.NewV7()).String() }
