package stage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// runner runs one stage in this process.
type runner struct {
	env     *Env
	stage   Stage
	log     zerolog.Logger
	cons    atomic.Pointer[jetstream.Consumer] // made again when somebody removes it
	retries jetstream.KeyValue
	blobs   jetstream.ObjectStore
	limit   int           // bytes of a body; larger ones go to blobs
	ackWait time.Duration // of the consumer

	queue     chan *Message // pulled, not yet begun
	space     chan struct{} // signalled when a message leaves the hand
	capacity  int           // messages in hand above which pulling stops
	gathering sync.Mutex    // held by the worker whose batch fills
	next      *Message      // did not fit into the latest batch; guarded by gathering
	mu        sync.Mutex
	hand      map[uint64]*Message // by stream sequence: queued or being handled
	weight    int                 // of the hand

	pulling context.Context // ends when the process should stop
	working context.Context // ends when the grace period is over
	alone   sync.RWMutex    // held exclusively by a message suspected of killing processes

	in, out, done, retried, dead, released prometheus.Counter
	seconds, batchSize                     prometheus.Observer
	inHand, held, full, halted             prometheus.Gauge
}

// Run runs stages until ctx ends, then finishes what is in hand within the
// grace period and returns nil. It returns an error if a stage cannot start or
// can no longer go on.
func Run(ctx context.Context, env *Env, stages ...Stage) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, s := range stages {
		r, err := start(ctx, env, s)
		if err != nil {
			cancel(err)
			break
		}
		wg.Go(func() {
			if err := r.run(); err != nil {
				cancel(fmt.Errorf("stage %s: %w", r.stage.Name, err))
			}
		})
	}
	<-ctx.Done()
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func start(ctx context.Context, env *Env, s Stage) (*runner, error) {
	if err := s.validate(); err != nil {
		return nil, fault.Wrap(err, fault.Halt, "configuration", "the stage cannot work")
	}
	r := &runner{
		env: env, stage: s, log: env.Log.With().Str("stage", s.Name).Logger(),
		limit:    int(env.Conn.MaxPayload()) - maxHeaders,
		capacity: max(2*s.Workers*s.Batch.Items, 16),
		space:    make(chan struct{}, 1),
		hand:     map[uint64]*Message{},
		pulling:  ctx,
	}
	// What is pulled beyond the capacity is at most one pull's worth, so a
	// queue of both never blocks the puller.
	r.queue = make(chan *Message, r.capacity+r.prefetch())
	m := env.Metrics
	for outcome, c := range map[string]*prometheus.Counter{
		"in": &r.in, "out": &r.out, "done": &r.done, "retried": &r.retried, "dead": &r.dead, "released": &r.released,
	} {
		*c = m.messages.WithLabelValues(s.Name, outcome)
	}
	r.seconds, r.batchSize = m.seconds.WithLabelValues(s.Name), m.batch.WithLabelValues(s.Name)
	r.inHand, r.held = m.inHand.WithLabelValues(s.Name), m.held.WithLabelValues(s.Name)
	r.full, r.halted = m.full.WithLabelValues(s.Name), m.halted.WithLabelValues(s.Name)
	if err := r.open(ctx); err != nil {
		return nil, fmt.Errorf("stage %s: %w", s.Name, err)
	}
	env.Health.update(s.Name, func(h *StageHealth) { h.Running = true })
	return r, nil
}

// maxHeaders is what is left of a payload for headers.
const maxHeaders = 16 << 10

func (r *runner) prefetch() int {
	return min(max(r.stage.Workers*r.stage.Batch.Items, 8), 512)
}

// open creates or finds the consumer and finds the buckets.
func (r *runner) open(ctx context.Context) (err error) {
	js, s := r.env.JS, r.stage
	if r.retries, err = js.KeyValue(ctx, events.BucketRetries); err != nil {
		return fmt.Errorf("open the bucket %s: %w", events.BucketRetries, err)
	}
	if r.blobs, err = js.ObjectStore(ctx, events.StoreBlobs); err != nil {
		return fmt.Errorf("open the object store %s: %w", events.StoreBlobs, err)
	}
	if s.Fingerprint != "" {
		kv, err := js.KeyValue(ctx, events.BucketPipeline)
		if err != nil {
			return fmt.Errorf("open the bucket %s: %w", events.BucketPipeline, err)
		}
		if have, err := kv.Get(ctx, s.Name); err != nil || string(have.Value()) != s.Fingerprint {
			if _, err := kv.PutString(ctx, s.Name, s.Fingerprint); err != nil {
				return fmt.Errorf("publish the fingerprint: %w", err)
			}
		}
	}
	if err := r.consume(ctx); err != nil {
		return err
	}
	r.ackWait = (*r.cons.Load()).CachedInfo().Config.AckWait
	return nil
}

func (r *runner) consume(ctx context.Context) error {
	d := broker.Durable{Name: r.stage.Name, Stream: r.stage.In.Stream, Subject: r.stage.In.Subject, Left: r.stage.Left}
	c, err := r.env.Topology.Consumer(ctx, r.env.JS, d, r.env.Settings.AckWait, r.env.Settings.MaxInFlight)
	if err != nil {
		return fmt.Errorf("the consumer on %s: %w", d.Stream, err)
	}
	r.cons.Store(&c)
	return nil
}

func (r *runner) run() error {
	name := r.stage.Name
	// Workers wait for messages until this ends, also if pulling fails.
	pulling, end := context.WithCancel(r.pulling)
	defer end()
	r.pulling = pulling
	defer r.env.Health.update(name, func(h *StageHealth) { h.Running = false })
	working, stop := context.WithCancel(context.WithoutCancel(r.pulling))
	defer stop()
	r.working = working
	service, err := r.serve()
	if err != nil {
		return err
	}
	defer func() {
		if err := service.Stop(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			r.log.Warn().Err(err).Msg("deregistering the service")
		}
	}()

	var workers, watchers sync.WaitGroup
	for range r.stage.Workers {
		workers.Go(func() {
			for batch := r.gather(); batch != nil; batch = r.gather() {
				r.process(batch)
			}
		})
	}
	watchers.Go(r.keepAlive)
	watchers.Go(r.watchBacklog)
	r.log.Info().Str("stream", r.stage.In.Stream).Int("workers", r.stage.Workers).Msg("stage started")

	err = r.pull()
	end()
	// From here on nothing new comes in. What has begun may finish; the grace
	// period ends its context, and what was not begun goes back at once.
	grace := time.AfterFunc(r.env.Settings.Grace, stop)
	defer grace.Stop()
	if err != nil {
		stop()
	}
	r.releaseQueued()
	workers.Wait()
	r.releaseQueued()
	stop()
	watchers.Wait()
	if err == nil && r.env.Conn.IsConnected() {
		if ferr := r.env.Conn.FlushTimeout(5 * time.Second); ferr != nil {
			r.log.Warn().Err(ferr).Msg("last acknowledgements may be lost; the messages come again")
		}
	}
	r.log.Info().Msg("stage stopped")
	return err
}

// pull moves messages from the server to the queue until ctx ends.
func (r *runner) pull() error {
	for r.pulling.Err() == nil {
		if !r.waitSpace(0) {
			continue
		}
		it, err := (*r.cons.Load()).Messages(
			jetstream.PullMaxMessages(r.prefetch()),
			jetstream.PullExpiry(5*time.Second),
			jetstream.PullHeartbeat(time.Second),
		)
		if err == nil {
			err = r.pullFrom(it)
		}
		switch {
		case err == nil:
		case errors.Is(err, nats.ErrConnectionClosed):
			if r.pulling.Err() == nil {
				return fmt.Errorf("the NATS connection is closed: %w", err)
			}
		case errors.Is(err, jetstream.ErrConsumerDeleted), errors.Is(err, jetstream.ErrConsumerNotFound):
			r.log.Warn().Err(err).Msg("the consumer is gone; making it again")
			if err := r.consume(r.pulling); err != nil {
				r.log.Warn().Err(err).Msg("cannot make the consumer; trying again")
				sleep(r.pulling, time.Second)
			}
		default:
			r.log.Debug().Err(err).Msg("pulling again")
			sleep(r.pulling, 100*time.Millisecond)
		}
	}
	return nil
}

// pullFrom reads one iterator until the process should stop, the hand is full
// for a second, or the iterator fails. It leaves nothing behind in the
// client's buffer, where no keep-alive would reach it.
func (r *runner) pullFrom(it jetstream.MessagesContext) error {
	defer it.Stop()
	defer context.AfterFunc(r.pulling, it.Drain)()
	silent, draining := 0, false
	for {
		msg, err := it.Next(jetstream.NextMaxWait(5 * time.Second))
		switch {
		case err == nil:
			silent = 0
			r.take(msg)
			if !draining && !r.waitSpace(time.Second) {
				draining = true
				it.Drain() // the loop goes on until the buffer is empty
			}
		case errors.Is(err, nats.ErrTimeout):
		case errors.Is(err, jetstream.ErrNoHeartbeat):
			// Normal around a reconnect; when it lasts, a new pull helps.
			if silent++; silent == 3 {
				draining = true
				it.Drain()
			}
		case errors.Is(err, jetstream.ErrMsgIteratorClosed):
			return nil
		default:
			return err
		}
	}
}

// waitSpace reports whether the hand has room, waiting up to d for it (0 = as
// long as the stage runs).
func (r *runner) waitSpace(d time.Duration) bool {
	var timeout <-chan time.Time
	for {
		r.mu.Lock()
		free := len(r.hand) < r.capacity && !r.heavy()
		r.mu.Unlock()
		if free {
			return true
		}
		if d > 0 && timeout == nil {
			t := time.NewTimer(d)
			defer t.Stop()
			timeout = t.C
		}
		select {
		case <-r.space:
		case <-timeout:
			return false
		case <-r.pulling.Done():
			return false
		}
	}
}

// heavy tells whether the hand holds a batch for every worker and one more to
// come: what is beyond that is better off with another replica. Callers hold mu.
func (r *runner) heavy() bool {
	b := r.stage.Batch
	return b.Weight > 0 && r.weight >= (r.stage.Workers+1)*b.Weight
}

// take puts a delivery in hand. A message that is in hand already was
// redelivered while it waited: the newer delivery is the one to acknowledge.
func (r *runner) take(raw jetstream.Msg) {
	meta, err := raw.Metadata()
	if err != nil {
		r.log.Error().Err(err).Str("subject", raw.Subject()).Msg("not a JetStream delivery; ignored")
		return
	}
	seq := meta.Sequence.Stream
	r.mu.Lock()
	if m := r.hand[seq]; m != nil {
		r.mu.Unlock()
		m.redelivered(raw)
		return
	}
	r.mu.Unlock()
	m := &Message{
		Subject: raw.Subject(), Header: raw.Headers(), Data: raw.Data(), Seq: seq, Time: meta.Timestamp,
		run: r, raw: raw, touched: time.Now(), delivered: meta.NumDelivered,
	}
	if m.Header == nil {
		m.Header = nats.Header{}
	}
	m.identify()
	m.weight = r.weigh(m)
	r.mu.Lock() // only one goroutine takes: nobody was faster
	r.hand[seq] = m
	r.weight += m.weight
	r.inHand.Set(float64(len(r.hand)))
	r.mu.Unlock()
	r.in.Inc()
	r.queue <- m
}

// weigh returns what a message weighs. One that cannot be weighed weighs nothing:
// the stage's function meets the same panic, where it is that message's failure.
func (r *runner) weigh(m *Message) (weight int) {
	if r.stage.Batch.Weigh == nil {
		return 0
	}
	var failure error // told when it is met again
	defer recovered(&failure)
	return r.stage.Batch.Weigh(m)
}

// drop takes a message out of the hand after it was acknowledged or returned.
func (r *runner) drop(m *Message) {
	r.mu.Lock()
	delete(r.hand, m.Seq)
	r.weight -= m.weight
	r.inHand.Set(float64(len(r.hand)))
	r.mu.Unlock()
	if m.held {
		m.held = false
		r.held.Dec()
	}
	select {
	case r.space <- struct{}{}:
	default:
	}
}

// gather waits for a batch. It returns nil when the stage stops.
//
// One worker gathers at a time. Several would share what arrives, and each wait
// until its part of a batch had waited for long enough.
func (r *runner) gather() []*Message {
	r.gathering.Lock()
	defer r.gathering.Unlock()
	// A stopping stage begins nothing new, even if something is queued.
	if r.pulling.Err() != nil {
		return nil
	}
	m := r.next
	if r.next = nil; m == nil {
		select {
		case m = <-r.queue:
		case <-r.pulling.Done():
			return nil
		}
	}
	bound := r.stage.Batch
	batch, weight := []*Message{m}, m.weight
	if bound.Items == 1 {
		return batch
	}
	wait := time.NewTimer(bound.Wait)
	defer wait.Stop()
	quiet := time.NewTimer(cmp.Or(bound.Quiet, bound.Wait))
	defer quiet.Stop()
	for len(batch) < bound.Items && (bound.Weight == 0 || weight < bound.Weight) {
		select {
		case m = <-r.queue: // before any timer: it need not have waited
		default:
			select {
			case m = <-r.queue:
			case <-wait.C:
				return batch
			case <-quiet.C:
				return batch
			case <-r.pulling.Done():
				return batch
			}
		}
		if weight += m.weight; bound.Weight > 0 && weight > bound.Weight {
			r.next = m
			return batch
		}
		batch = append(batch, m)
		if bound.Quiet > 0 {
			quiet.Reset(bound.Quiet)
		}
	}
	return batch
}

// process sees a batch through: after it, each message is acknowledged,
// returned for a retry, dead-lettered, or released because the stage stops.
func (r *runner) process(batch []*Message) {
	ready, suspects := r.examine(batch)
	if len(ready) > 0 {
		r.alone.RLock()
		r.handle(ready)
		r.alone.RUnlock()
	}
	for _, m := range suspects {
		// Alone in the process: if this one kills it, no other is blamed.
		r.alone.Lock()
		if r.begin(m) {
			r.handle([]*Message{m})
		}
		r.alone.Unlock()
	}
}

// handle calls the stage's function until no message waits in hand any more.
func (r *runner) handle(batch []*Message) {
	for round := 0; len(batch) > 0; round++ {
		woken := r.env.wake.next() // before the call: a wake-up during it counts
		r.call(batch)
		var again []*Message
		var wait time.Duration
		var why *fault.Error
		for _, m := range r.finish(batch) {
			f := fault.From(m.err)
			r.env.Metrics.failures.WithLabelValues(r.stage.Name, f.Class.String()).Inc()
			switch {
			case r.working.Err() != nil && !f.Class.Permanent():
				r.release(m) // the stage stops; the failure may only be that
			case f.Class.Permanent():
				r.bury(m, f)
			case f.Waits() == "":
				r.retry(m, f)
			case f.Wait.Within("budget:tenant") || f.Wait.Kind() == fault.WaitSchema:
				r.park(m, f)
			default:
				r.hold(m, f)
				again = append(again, m)
				if d := max(f.RetryAfter, r.delay(round+1)); d > wait || why == nil {
					wait, why = d, f
				}
			}
		}
		r.waiting(why)
		if batch = again; len(batch) > 0 && !nap(r.pulling, wait, woken) {
			for _, m := range batch {
				r.release(m)
			}
			return
		}
	}
}

// waiting shows why messages wait in hand, or that none does.
func (r *runner) waiting(why *fault.Error) {
	halted, held := "", ""
	if why != nil {
		if held = why.Message; why.Class == fault.Halt {
			halted = why.Message
		}
	}
	r.halted.Set(0)
	if halted != "" || r.env.Health.refusal() != "" {
		r.halted.Set(1)
	}
	r.env.Health.update(r.stage.Name, func(h *StageHealth) { h.Halted, h.Held = halted, held })
}

// call runs the stage's function once over a batch.
func (r *runner) call(batch []*Message) {
	began := time.Now()
	loaded := batch[:0:0]
	for _, m := range batch {
		m.out, m.after, m.began = nil, nil, began
		r.startSpan(m, len(batch))
		if m.err = r.load(m); m.err == nil {
			loaded = append(loaded, m)
		}
	}
	if len(loaded) == 0 {
		return
	}
	if err := r.invoke(loaded); err != nil {
		for _, m := range loaded {
			m.err = err
			// A panic is one message's doing: each gets its own chance.
			if len(loaded) > 1 {
				m.err, m.out = nil, nil
				if err := r.invoke([]*Message{m}); err != nil {
					m.err = err
				}
			}
		}
	}
	r.seconds.Observe(time.Since(began).Seconds())
	r.batchSize.Observe(float64(len(loaded)))
}

// invoke calls the function and turns its panic into an error.
func (r *runner) invoke(batch []*Message) (err error) {
	defer recovered(&err)
	if r.stage.HandleBatch != nil {
		r.stage.HandleBatch(r.working, batch)
		return nil
	}
	return r.stage.Handle(r.working, batch[0])
}

// recovered is deferred. A panic is a defect that the same input will meet
// again, so it is an Execution fault.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fault.New(fault.Execution, "panic", "the stage panicked: %v\n%s", p, debug.Stack()).
			WithHint("this is a defect of Sluice: report it with the stack trace, then replay the dead letter")
	}
}

// load fetches a claim-checked body.
func (r *runner) load(m *Message) error {
	ref := m.Header.Get(events.HeaderBlob)
	// Submitters may set any header; they cannot name our blobs.
	if ref == "" || m.blob != "" || r.stage.In.Stream == events.StreamDocuments {
		return nil
	}
	data, err := r.blobs.GetBytes(r.working, ref)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return fault.Invalid("missing-body", "the body %s is not in the object store %s", events.CleanHeader(ref, 64), events.StoreBlobs).
			WithHint("submit the document again: it was purged, or the message was not published by Sluice")
	}
	if err != nil {
		return fmt.Errorf("fetch the body %s of the object store %s: %w", events.CleanHeader(ref, 64), events.StoreBlobs, err)
	}
	m.Data, m.blob = data, ref
	return nil
}

// finish publishes what the successful messages of a batch have to say, waits
// for the acknowledgements, acknowledges the inputs, and returns the failed.
func (r *runner) finish(batch []*Message) (failed []*Message) {
	for _, m := range batch {
		if m.err == nil {
			for _, msg := range m.out {
				r.send(m, msg)
			}
		}
	}
	for _, m := range batch {
		if err := r.flush(m); m.err == nil {
			m.err = err
		}
		m.endSpan()
		if m.err != nil {
			failed = append(failed, m)
			continue
		}
		r.out.Add(float64(len(m.out)))
		m.out = nil
		r.forget(m)
		// Dying before this line means a redelivery, which repeats the same
		// message IDs. A lost acknowledgement means the same.
		if m.blob != "" || len(m.after) > 0 {
			r.ackThenClean(m)
		} else if err := m.delivery().Ack(); err != nil {
			m.Log().Debug().Err(err).Msg("acknowledging; the message will come again")
		}
		r.done.Inc()
		r.drop(m)
	}
	return failed
}

// ackThenClean removes what an input referred to, but only after the server has
// confirmed that the input will not come again and look for it.
func (r *runner) ackThenClean(m *Message) {
	ctx, cancel := context.WithTimeout(r.working, 10*time.Second)
	defer cancel()
	if err := m.delivery().DoubleAck(ctx); err != nil {
		m.Log().Debug().Err(err).Msg("acknowledging; the message will come again")
		return
	}
	if m.blob != "" {
		m.after = append(m.after, func(ctx context.Context) error { return r.blobs.Delete(ctx, m.blob) })
	}
	for _, f := range m.after {
		if err := f(ctx); err != nil {
			m.Log().Warn().Err(err).Msg("cleaning up after the message; expiry will")
		}
	}
}

// send starts publishing msg for m; flush waits for the outcome.
func (r *runner) send(m *Message, msg *nats.Msg) {
	p := published{msg: msg}
	if len(msg.Data) > r.limit {
		if err := r.check(r.working, msg); err != nil {
			r.log.Debug().Err(err).Msg("storing a large body; trying again")
		} else {
			p.future, _ = r.publish(msg) // flush sees the missing future
		}
	} else {
		p.future, _ = r.publish(msg)
	}
	m.pending = append(m.pending, p)
}

func (r *runner) publish(msg *nats.Msg) (jetstream.PubAckFuture, error) {
	return r.env.JS.PublishMsgAsync(msg, jetstream.WithStallWait(30*time.Second))
}

// check moves the body of msg to the object store (the claim check pattern).
// The name is derived, so that a repeat replaces it.
func (r *runner) check(ctx context.Context, msg *nats.Msg) error {
	name := events.Fingerprint("blob", msg.Subject, msg.Header.Get(events.HeaderMsgID)) + "-" + events.ContentHash(msg.Data)[:16]
	if _, err := r.blobs.PutBytes(ctx, name, msg.Data); err != nil {
		return err
	}
	msg.Header.Set(events.HeaderBlob, name)
	msg.Data = nil
	return nil
}

// JetStream error codes that mean the stream is full or short of resources.
const (
	codeStoreFailed  = 10077
	codeNoResources  = 10023
	codeNoMemory     = 10028
	codeNoStorage    = 10047
	codeMaxMsgsPerSj = 10122
)

func isFull(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode {
		case codeStoreFailed, codeNoResources, codeNoMemory, codeNoStorage, codeMaxMsgsPerSj:
			return true
		}
	}
	return false
}

// flush waits until all that was sent for m is stored, repeating what was not:
// a full stream and a lost broker both mean to keep the message and wait. It
// fails only if the stage stops first or the broker will never take a message.
func (r *runner) flush(m *Message) error {
	defer func() { m.pending = nil }()
	blocked := false
	for i := range m.pending {
		p := &m.pending[i]
		for attempt := 1; ; attempt++ {
			err := r.await(p.future)
			if err == nil {
				break
			}
			if r.working.Err() != nil {
				return fmt.Errorf("stopped before %s was stored: %w", p.msg.Subject, err)
			}
			if errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrBadSubject) || errors.Is(err, nats.ErrBadHeaderMsg) {
				return fault.Wrap(err, fault.Execution, "unpublishable", "NATS does not take the message for %s", p.msg.Subject)
			}
			if !blocked {
				blocked = true
				r.full.Inc()
				defer r.full.Dec()
				defer r.env.Health.update(r.stage.Name, func(h *StageHealth) { h.Full = "" })
				r.env.Health.update(r.stage.Name, func(h *StageHealth) { h.Full = p.msg.Subject + ": " + err.Error() })
				if !isFull(err) {
					r.log.Warn().Err(err).Str("subject", p.msg.Subject).Msg("cannot publish; keeping the message and trying again")
				}
			}
			sleep(r.working, min(r.jitter(20*time.Millisecond<<min(attempt, 6)), time.Second))
			if len(p.msg.Data) > r.limit {
				if err := r.check(r.working, p.msg); err != nil {
					continue
				}
			}
			p.future, err = r.publish(p.msg)
			if err != nil {
				p.future = failedFuture{err: err, msg: p.msg}
			}
		}
	}
	return nil
}

var errNotSent = errors.New("not sent")

// await returns the outcome of one publish.
func (r *runner) await(f jetstream.PubAckFuture) error {
	switch f := f.(type) {
	case nil:
		return errNotSent
	case failedFuture:
		return f.err
	}
	select {
	case <-f.Ok():
		return nil
	case err := <-f.Err():
		return err
	case <-r.working.Done():
		return r.working.Err()
	}
}

// failedFuture carries an error that publishing returned at once.
type failedFuture struct {
	jetstream.PubAckFuture
	err error
	msg *nats.Msg
}

// keepAlive tells the server that what is in hand is being worked on.
func (r *runner) keepAlive() {
	every := r.ackWait / 3
	for sleep(r.working, every/2) {
		now := time.Now()
		r.mu.Lock()
		var due []*Message
		for _, m := range r.hand {
			due = append(due, m)
		}
		r.mu.Unlock()
		for _, m := range due {
			m.mu.Lock()
			if now.Sub(m.touched) >= every {
				m.touched = now
				if err := m.raw.InProgress(); err != nil {
					r.log.Debug().Err(err).Msg("keeping a message alive")
				}
			}
			m.mu.Unlock()
		}
	}
}

// watchBacklog keeps the gauges of what waits in the stream.
func (r *runner) watchBacklog() {
	for {
		ctx, cancel := context.WithTimeout(r.working, 3*time.Second)
		info, err := (*r.cons.Load()).Info(ctx)
		cancel()
		if err == nil {
			r.env.Metrics.backlog.WithLabelValues(r.stage.Name).Set(float64(info.NumPending))
			r.env.Metrics.parked.WithLabelValues(r.stage.Name).Set(float64(info.NumAckPending))
		}
		if !sleep(r.working, 5*time.Second) {
			return
		}
	}
}

// serve registers the stage as a NATS micro service with its endpoints.
func (r *runner) serve() (micro.Service, error) {
	svc, err := micro.AddService(r.env.Conn, micro.Config{
		Name: r.stage.Name, Version: r.env.Version, Description: "Sluice " + r.stage.Name,
		Metadata: map[string]string{"fingerprint": r.stage.Fingerprint, "stream": r.stage.In.Stream},
		StatsHandler: func(*micro.Endpoint) any {
			for _, h := range r.env.Health.Stages() {
				if h.Stage == r.stage.Name {
					return h
				}
			}
			return nil
		},
	})
	if err != nil {
		return nil, fmt.Errorf("register the service: %w", err)
	}
	// Its statistics carry the health of stages that answer nothing else.
	health := Endpoint{Name: "health", Subject: "sluice.health." + r.stage.Name, Handle: func(context.Context, []byte) (any, error) {
		for _, h := range r.env.Health.Stages() {
			if h.Stage == r.stage.Name {
				return h, nil
			}
		}
		return StageHealth{Stage: r.stage.Name}, nil
	}}
	for _, e := range append([]Endpoint{health}, r.stage.Endpoints...) {
		slots := make(chan struct{}, 16)
		err := svc.AddEndpoint(e.Name, micro.HandlerFunc(func(req micro.Request) {
			if req.Reply() == "" {
				return // nobody would hear the answer
			}
			slots <- struct{}{}
			go func() {
				defer func() { <-slots }()
				// Not by req: micro keeps its statistics in there, and reads them
				// as soon as this handler has returned.
				answer := nats.NewMsg(req.Reply())
				reply, err := e.answer(r.working, req.Data())
				if answer.Data = reply; err != nil {
					f := fault.From(err)
					answer.Header.Set(micro.ErrorHeader, events.CleanHeader(f.Message, 500))
					answer.Header.Set(micro.ErrorCodeHeader, f.Class.String())
				}
				if err := r.env.Conn.PublishMsg(answer); err != nil {
					r.log.Warn().Err(err).Str("endpoint", e.Name).Msg("answering")
				}
			}()
		}), micro.WithEndpointSubject(e.Subject))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("add the endpoint %s: %w", e.Name, err), svc.Stop())
		}
	}
	return svc, nil
}

// sleep waits for d and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// jitter returns d less up to half of it, so that replicas do not move in step.
func (r *runner) jitter(d time.Duration) time.Duration {
	return d - time.Duration(rand.Int64N(int64(d)/2+1))
}
