package stage

import (
	"cmp"
	"context"
	"sync"
	"time"
)

// queue is what can be begun. What comes out of the waiting room is begun before
// what is fresh.
type queue struct {
	bound Batch
	// closed tells that nothing fresh may be begun: the whole stage waits.
	closed func() bool

	gathering sync.Mutex // held by the worker whose batch fills
	changed   chan struct{}

	mu    sync.Mutex
	front []*Message // from the waiting room
	fresh []*Message // from the stream
}

func newQueue(bound Batch, closed func() bool) *queue {
	return &queue{bound: bound, closed: closed, changed: make(chan struct{}, 1)}
}

func (q *queue) push(m *Message) {
	q.mu.Lock()
	q.fresh = append(q.fresh, m)
	q.mu.Unlock()
	q.signal()
}

func (q *queue) pushFront(m *Message) {
	q.mu.Lock()
	q.front = append(q.front, m)
	q.mu.Unlock()
	q.signal()
}

// signal has the worker that gathers look again.
func (q *queue) signal() {
	select {
	case q.changed <- struct{}{}:
	default:
	}
}

// pop takes the next message, nil if there is none.
func (q *queue) pop() *Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	from := &q.front
	if len(*from) == 0 {
		if from = &q.fresh; len(*from) == 0 || q.closed() {
			return nil
		}
	}
	m := (*from)[0]
	(*from)[0] = nil
	if *from = (*from)[1:]; len(*from) == 0 {
		*from = nil // the array begins anew
	}
	return m
}

// drain takes all that is left.
func (q *queue) drain() []*Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := append(q.front, q.fresh...)
	q.front, q.fresh = nil, nil
	return all
}

// gather waits for a batch. It returns nil when ctx ends: a stage that stops
// begins nothing, even if something is queued.
//
// One worker gathers at a time. Several would share what arrives, and each wait
// until its part of a batch had waited for long enough.
func (q *queue) gather(ctx context.Context) []*Message {
	q.gathering.Lock()
	defer q.gathering.Unlock()
	var batch []*Message
	weight := 0
	var wait, quiet <-chan time.Time
	for ctx.Err() == nil {
		m := q.pop()
		if m == nil {
			select {
			case <-q.changed:
			case <-wait:
				return batch
			case <-quiet:
				return batch
			case <-ctx.Done():
			}
			continue
		}
		batch = append(batch, m)
		weight += m.weight
		if len(batch) >= q.bound.Items || (q.bound.Weight > 0 && weight >= q.bound.Weight) {
			return batch
		}
		if wait == nil {
			wait = time.After(q.bound.Wait)
		}
		if q.bound.Quiet > 0 {
			quiet = time.After(cmp.Or(q.bound.Quiet, q.bound.Wait))
		}
	}
	if len(batch) == 0 {
		return nil
	}
	return batch // begun before the stage was told to stop
}
