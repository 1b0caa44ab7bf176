package stage

import (
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"

	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// worker sees batches through. After it, each message is acknowledged, returned
// for a retry, dead-lettered, handed to the waiting room, or released because the
// stage stops. A worker never sleeps, and does not wait for acknowledgements: it
// begins the next batch while what it has published is being stored.
type worker struct {
	*shared
	hand   *hand
	past   *past
	room   *room
	outbox *outbox
	// Calls of the stage's function that are under way, and that have returned.
	calls, returned atomic.Int64
	// Workers, and what sees batches out after them.
	running sync.WaitGroup
	leaving berths
}

// berths bounds what waits to be stored downstream, in messages and in bytes: each
// takes a berth, and a large one takes several.
type berths struct {
	entering sync.Mutex // one batch at a time takes berths, so none waits with a part of them
	taken    chan struct{}
}

const (
	berthsOfAll  = 256
	berthOfBytes = 64 << 10
)

// enter waits until there is room for a batch, and returns what gives it back. A batch
// that is larger than all of it goes alone.
func (b *berths) enter(batch []*Message) (leave func()) {
	n := 0
	for _, m := range batch {
		size := len(m.Data)
		for _, msg := range m.out {
			size += len(msg.Data)
		}
		n += 1 + size/berthOfBytes
	}
	n = min(n, cap(b.taken))
	b.entering.Lock()
	defer b.entering.Unlock()
	for range n {
		b.taken <- struct{}{}
	}
	return func() {
		for range n {
			<-b.taken
		}
	}
}

// process sees a batch through.
func (w *worker) process(batch []*Message) {
	var ready, made, suspects []*Message
	began := time.Now()
	for _, m := range batch {
		if m.made { // it waited for a stream to take what it has caused
			made = append(made, m)
			continue
		}
		m.err, m.began = nil, began
		suspect, err := w.past.look(w.working, m)
		if err == nil && suspect {
			suspects = append(suspects, m)
			continue
		}
		if err == nil {
			err = w.past.begin(w.working, m, len(batch))
		}
		if m.err = err; err != nil {
			w.settle([]*Message{m})
			continue
		}
		ready = append(ready, m)
	}
	if len(ready) > 0 {
		w.env.alone.RLock()
		w.call(ready)
		w.env.alone.RUnlock()
	}
	if all := append(made, ready...); len(all) > 0 {
		w.settle(all)
	}
	for len(suspects) > 0 {
		n := share(suspects)
		w.alone(suspects[:n])
		suspects = suspects[n:]
	}
}

// alone handles messages that are suspected to kill processes, with nothing else
// in the functions of this process: if one kills it, no other is blamed. The mark
// is set when their turn comes, or they would be blamed for another.
func (w *worker) alone(suspects []*Message) {
	w.env.alone.Lock()
	ready := suspects[:0:0]
	for _, m := range suspects {
		m.began = time.Now()
		if m.err = w.past.begin(w.working, m, len(suspects)); m.err == nil {
			ready = append(ready, m)
		}
	}
	if len(ready) > 0 {
		w.call(ready)
	}
	w.env.alone.Unlock()
	w.settle(suspects)
}

// call runs the stage's function once over a batch, and takes the crash marks away.
func (w *worker) call(batch []*Message) {
	began := time.Now()
	loaded := batch[:0:0]
	for _, m := range batch {
		m.out, m.after, m.again = nil, nil, false
		w.startSpan(m, len(batch))
		if m.err = w.outbox.load(m); m.err == nil {
			loaded = append(loaded, m)
		}
	}
	if len(loaded) > 0 {
		if err := w.invoke(loaded); err != nil {
			for _, m := range loaded {
				m.err = err
				// A panic is one message's doing: each gets its own chance.
				if len(loaded) > 1 {
					m.err, m.out, m.after, m.again = nil, nil, nil, false
					if err := w.invoke([]*Message{m}); err != nil {
						m.err = err
					}
				}
			}
		}
		w.met.seconds.Observe(time.Since(began).Seconds())
		w.met.batch.Observe(float64(len(loaded)))
	}
	var marked sync.WaitGroup
	for _, m := range batch {
		m.endSpan()
		if m.marked {
			marked.Go(func() { w.past.end(w.working, m) })
		}
	}
	marked.Wait()
}

// invoke calls the function and turns its panic into an error.
func (w *worker) invoke(batch []*Message) (err error) {
	defer recovered(&err)
	w.calls.Add(1)
	defer func() { w.calls.Add(-1); w.returned.Add(1) }()
	if w.stage.HandleBatch != nil {
		w.stage.HandleBatch(w.working, batch)
		return nil
	}
	return w.stage.Handle(w.working, batch[0])
}

// recovered is deferred. A panic is a defect that the same input will meet
// again, so it is an Execution fault.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fault.New(fault.Execution, "panic", "the stage panicked: %v\n%s", p, debug.Stack()).
			WithHint("this is a defect of Sluice: report it with the stack trace, then replay the dead letter")
	}
}

// settle decides what becomes of messages whose function has returned, publishes
// what they have to say, and ends them once all of it is stored. A message that
// was handed on is not looked at again: another worker may have it already.
func (w *worker) settle(batch []*Message) {
	made := batch[:0:0]
	for _, m := range batch {
		if w.decide(m) {
			made = append(made, m)
			m.Value = nil // the function does not see it again
			for _, msg := range m.out {
				w.outbox.send(m, msg)
			}
		}
	}
	if len(made) == 0 {
		return
	}
	leave := w.leaving.enter(made)
	for _, m := range made {
		w.hand.rest(m) // it keeps nobody out
	}
	w.running.Go(func() {
		defer leave()
		for _, m := range made {
			w.finish(m)
		}
	})
}

// decide reports whether a message has something to say. Otherwise it was handed
// on: to the server, or to the waiting room.
func (w *worker) decide(m *Message) (made bool) {
	if m.made {
		return true
	}
	f := fault.From(m.err)
	if f != nil {
		w.met.failures.WithLabelValues(w.stage.Name, f.Class.String()).Inc()
	}
	switch {
	case f == nil && m.again:
		m.out = nil
		w.goOn(m)
	case f == nil:
		m.made = true
		return true
	case f.Class.Permanent():
		w.condemn(m, f)
		return true
	case w.working.Err() != nil:
		w.release(m) // the stage stops; the failure may only be that
	case f.Waits() != "":
		m.out = nil
		w.wait(m, f)
	case w.past.failed(w.working, m) > w.env.Settings.MaxRetries:
		w.condemn(m, f)
		return true
	default:
		w.retry(m, f)
	}
	return false
}

// finish ends a message when what it caused is stored.
func (w *worker) finish(m *Message) {
	if err := w.outbox.flush(m); err != nil {
		f := fault.From(err)
		switch {
		case w.working.Err() != nil:
			w.release(m)
		case f.Class.Permanent() && m.dead == nil:
			w.condemn(m, f)
			for _, msg := range m.out {
				w.outbox.send(m, msg)
			}
			w.finish(m)
		case f.Class.Permanent():
			// Not even its dead letter can be published. It stays where it is, loudly.
			m.Log().Error().Err(err).Msg("NATS does not take the dead letter")
			w.wait(m, fault.Wrap(err, fault.Unavailable, "downstream", "NATS does not take the dead letter").WaitFor(fault.On(fault.WaitDownstream, events.StreamDeadLetter)))
		default:
			w.wait(m, f)
		}
		return
	}
	w.room.pass(m)
	w.past.forget(w.working, m)
	// Dying before the acknowledgement means a redelivery, which repeats the same
	// message IDs. A lost acknowledgement means the same.
	switch {
	case m.dead != nil:
		if err := m.delivery().TermWithReason(events.CleanHeader(m.dead.Reason, 64)); err != nil {
			m.Log().Debug().Err(err).Msg("ending the message; it will come again")
		}
		w.met.dead.Inc()
	default:
		if m.blob != "" || m.parked != "" || len(m.after) > 0 {
			w.outbox.clean(m)
		} else if err := m.delivery().Ack(); err != nil {
			m.Log().Debug().Err(err).Msg("acknowledging; the message will come again")
		}
		w.met.done.Inc()
	}
	m.out = nil
	w.hand.drop(m)
}

// wait hands a message to the waiting room, or returns it if the stage stops.
func (w *worker) wait(m *Message, f *fault.Error) {
	if w.stopping.Err() != nil {
		w.release(m)
		return
	}
	w.room.enter(m, f)
}

// goOn has a message that is not finished lead the next batch.
func (w *worker) goOn(m *Message) {
	if w.stopping.Err() != nil {
		w.release(m)
		return
	}
	w.room.pass(m)
	w.hand.reweigh(m, w.stage.weigh(m))
	w.room.queue.pushFront(m)
}

// retry sends a message that failed back for later. The server keeps it.
func (w *worker) retry(m *Message, f *fault.Error) {
	w.room.pass(m)
	d := max(f.RetryAfter, w.delay(m.record.Failures))
	m.Log().Warn().Str("class", f.Class.String()).Str("reason", f.Reason).Int("attempt", m.record.Failures).
		Dur("again_in", d).Msg(f.Message)
	w.tell(m, events.Retried, f, "")
	w.met.retried.Inc()
	w.nak(m, d)
}

// release sends a message back because this process will not finish it.
func (w *worker) release(m *Message) {
	// A plain NAK would come straight back to this process's open pull.
	w.met.released.Inc()
	w.nak(m, w.jitter(time.Second))
}

func (w *worker) nak(m *Message, d time.Duration) {
	if err := m.delivery().NakWithDelay(d); err != nil {
		m.Log().Debug().Err(err).Msg("returning the message; it will come again after ack-wait")
	}
	w.hand.drop(m)
}

// tell publishes one of the runtime's own events. Nothing waits for it.
func (s *shared) tell(m *Message, what events.What, f *fault.Error, key string) {
	e := events.Event{What: what}
	if f != nil {
		e.Failure = s.failure(m, f)
	}
	msg := m.event(e, key)
	if msg == nil {
		return
	}
	if _, err := s.env.JS.PublishMsgAsync(msg); err != nil {
		m.Log().Debug().Err(err).Str("what", string(what)).Msg("telling an event")
	}
}

func (s *shared) failure(m *Message, f *fault.Error) *events.Failure {
	return &events.Failure{
		Stage: s.stage.Name, Class: f.Class.String(), Reason: f.Reason, Message: f.Message,
		Hint: f.Hint, Attempts: m.Attempt, Origin: s.origin(m), Wait: string(f.Waits()),
	}
}

// delay returns the wait before retry n (from 1): exponential, with jitter.
func (s *shared) delay(n int) time.Duration {
	b := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(s.env.Settings.RetryDelay), backoff.WithMultiplier(2),
		backoff.WithMaxInterval(s.env.Settings.RetryCap), backoff.WithRandomizationFactor(0.3),
		backoff.WithMaxElapsedTime(0))
	d := b.NextBackOff()
	for range min(n, 40) - 1 {
		d = b.NextBackOff()
	}
	return d
}
