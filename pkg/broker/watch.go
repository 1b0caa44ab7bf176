package broker

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Watch follows keys of a bucket for as long as it is not closed. The client's
// own watcher ends for good when the connection is lost at the wrong moment; this
// one begins anew, with the values that are there then.
type Watch struct {
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// NewWatch calls f with the entries that match keys, those that are there first,
// from one goroutine. An entry may come again. ctx bounds the start only.
func NewWatch(ctx context.Context, kv jetstream.KeyValue, keys string, f func(jetstream.KeyValueEntry)) (*Watch, error) {
	w := &Watch{}
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w.cancel = cancel
	first, err := kv.Watch(working, keys)
	if err != nil {
		cancel()
		return nil, err
	}
	w.running.Go(func() {
		for watcher := first; ; {
			if watcher != nil {
				follow(working, watcher, f)
				_ = watcher.Stop() // it has ended, or the broker has forgotten it
			}
			select {
			case <-working.Done():
				return
			case <-time.After(200 * time.Millisecond):
			}
			if watcher, err = kv.Watch(working, keys); err != nil {
				watcher = nil // the broker is away; again soon
			}
		}
	})
	return w, nil
}

// follow returns when the watcher or ctx ends.
func follow(ctx context.Context, w jetstream.KeyWatcher, f func(jetstream.KeyValueEntry)) {
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-w.Updates():
			if !ok {
				return
			}
			if e != nil {
				f(e)
			}
		}
	}
}

// Close ends the watch. f does not run any more when it returns.
func (w *Watch) Close() {
	w.cancel()
	w.running.Wait()
}
