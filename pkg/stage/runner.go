package stage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// A stage in a process is made of pieces with one job each:
//
//	intake   pulls messages from the stream into the hand and the queue
//	hand     all that was taken and has not ended; kept alive at the server
//	queue    what can be begun, in batches
//	worker   calls the stage's function and decides what becomes of each message
//	past     failures and crash marks of troubled messages, in the bucket "retries"
//	outbox   publishes what messages cause
//	room     where messages wait, by the key of what has to change; story tells of it
//	aside    what the room has no place for, in the stream HELD
//	view     what the process says of the stage: health, metrics, endpoints
//
// A message goes intake -> queue -> worker, and from there it ends, or goes back
// to the server (a retry), or into the room and later to the front of the queue.

// shared is what the pieces of a stage have in common.
type shared struct {
	env   *Env
	stage *Stage
	log   zerolog.Logger
	met   *stageMetrics
	box   *outbox

	stopping context.Context // ends when the process should stop
	working  context.Context // ends when the grace period is over
}

// origin names a message for good: no stream repeats a sequence.
func (s *shared) origin(m *Message) string {
	return s.stage.In.Stream + "/" + strconv.FormatUint(m.Seq, 10)
}

// once is the part of a message ID that tells m from every other message, also from
// one that had its sequence before the stream was made again.
func (s *shared) once(m *Message) string {
	return s.origin(m) + ":" + strconv.FormatInt(m.Time.UnixNano(), 36)
}

// jitter returns d less up to half of it, so that replicas do not move in step.
func (s *shared) jitter(d time.Duration) time.Duration {
	return d - time.Duration(rand.Int64N(int64(d)/2+1))
}

// runner runs one stage in this process.
type runner struct {
	*shared
	hand   *hand
	queue  *queue
	intake *intake
	worker *worker
	room   *room
	aside  *aside

	finish func() // ends the grace period
	end    func() // ends the pulling
}

// Run runs stages until ctx ends, then finishes what is in hand within the
// grace period and returns nil. It returns an error if a stage cannot start or
// can no longer go on, or if a stage's function does not return when its context
// has ended (see IsStuck): then the process has to end.
func Run(ctx context.Context, env *Env, stages ...Stage) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	late := make([]error, len(stages))
	for i, s := range stages {
		r, err := start(ctx, env, s)
		if err != nil {
			cancel(err)
			break
		}
		wg.Go(func() {
			err := r.run()
			if IsStuck(err) {
				late[i] = err
			}
			if err != nil {
				cancel(fmt.Errorf("stage %s: %w", r.stage.Name, err))
			}
		})
	}
	<-ctx.Done()
	wg.Wait()
	if err := errors.Join(late...); err != nil {
		return err
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// start puts the pieces of a stage together and finds what it needs at the server.
func start(ctx context.Context, env *Env, st Stage) (*runner, error) {
	if err := st.validate(); err != nil {
		return nil, fault.Wrap(err, fault.Halt, "configuration", "the stage cannot work")
	}
	s := &shared{
		env: env, stage: &st, log: env.Log.With().Str("stage", st.Name).Logger(), met: env.Metrics.of(st.Name),
	}
	r := &runner{shared: s}
	// Workers wait for messages until stopping ends, also if pulling fails.
	s.stopping, r.end = context.WithCancel(ctx)
	s.working, r.finish = context.WithCancel(context.WithoutCancel(ctx))
	s.box = &outbox{shared: s, limit: int(env.Conn.MaxPayload()) - maxHeaders}
	past := &past{shared: s}
	story := &story{shared: s}
	r.hand = newHand(s.met.inHand)
	r.room = newRoom(s, r.hand, story)
	r.queue = newQueue(st.Batch, r.room.closed)
	r.aside = newAside(s, r.hand, s.box)
	r.intake = newIntake(s, r.hand, r.queue, r.room.closed)
	r.worker = &worker{
		shared: s, hand: r.hand, past: past, room: r.room, outbox: s.box, leaving: berths{taken: make(chan struct{}, berthsOfAll)},
	}
	r.room.queue, r.room.aside = r.queue, r.aside
	r.aside.room, r.aside.read = r.room, r.intake.read
	if err := r.open(ctx, past); err != nil {
		r.finish()
		r.end()
		return nil, fmt.Errorf("stage %s: %w", st.Name, err)
	}
	env.Health.add(st.Name, r)
	return r, nil
}

// open creates or finds the consumer and finds the buckets.
func (r *runner) open(ctx context.Context, past *past) (err error) {
	js, s := r.env.JS, r.stage
	if past.kv, err = js.KeyValue(ctx, events.BucketRetries); err != nil {
		return fmt.Errorf("open the bucket %s: %w", events.BucketRetries, err)
	}
	if r.box.blobs, err = js.ObjectStore(ctx, events.StoreBlobs); err != nil {
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
	if err := r.intake.bind(ctx); err != nil {
		return err
	}
	r.aside.ackWait = time.Duration(r.intake.ackWait.Load()) // 'sluice apply' may have set another than this process was given
	r.room.fit((*r.intake.cons.Load()).CachedInfo().Config.MaxAckPending)
	return nil
}

// run works until the process should stop, then drains.
func (r *runner) run() error {
	defer r.finish()
	defer r.end()
	defer r.env.Health.remove(r.stage.Name, r)
	service, err := r.serve()
	if err != nil {
		return err
	}
	defer func() {
		if err := service.Stop(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			r.log.Warn().Err(err).Msg("deregistering the service")
		}
	}()
	defer r.env.hear(r.room)()

	var waiting, watchers sync.WaitGroup
	for range r.stage.Workers {
		r.worker.running.Go(func() {
			for batch := r.queue.gather(r.stopping); batch != nil; batch = r.queue.gather(r.stopping) {
				r.worker.process(batch)
			}
		})
	}
	waiting.Go(func() { r.room.tend(r.stopping) })
	waiting.Go(func() { r.aside.run(r.stopping) })
	watchers.Go(func() { r.intake.keepAlive(r.working) })
	watchers.Go(func() { r.intake.observe(r.working) })
	r.log.Info().Str("stream", r.stage.In.Stream).Int("workers", r.stage.Workers).Msg("stage started")

	err = r.intake.pull()
	r.end()
	// From here on nothing new comes in. What has begun may finish; the grace
	// period ends its context. What was not begun, and what waits, goes back at once.
	grace := time.AfterFunc(r.env.Settings.Grace, r.finish)
	defer grace.Stop()
	if err != nil {
		r.finish()
	}
	waiting.Wait()
	r.giveBack()
	if n := r.await(); n > 0 {
		// What they have in hand comes again after ack-wait, to a process that lives.
		err = fault.New(fault.Execution, reasonStuck, "%d calls of the function of stage %s have not returned %v after the grace period of %v", n, r.stage.Name, straggling, r.env.Settings.Grace).
			WithHint("the function ignores that its context has ended, which is a defect; the messages come again")
	}
	r.giveBack()
	r.finish()
	watchers.Wait()
	if r.env.Conn.IsConnected() {
		if ferr := r.env.Conn.FlushTimeout(5 * time.Second); ferr != nil {
			r.log.Warn().Err(ferr).Msg("last acknowledgements may be lost; the messages come again")
		}
	}
	r.log.Info().Msg("stage stopped")
	return err
}

// straggling is how long a call of the stage's function has, once its context has
// ended, to return.
const straggling = 3 * time.Second

const reasonStuck = "stuck"

// IsStuck tells whether an error of Run says that a stage's function does not heed
// its context. It runs on, with whatever it holds: what waits for it may wait for ever.
func IsStuck(err error) bool {
	f := fault.From(err)
	return f != nil && f.Reason == reasonStuck
}

// await waits for the workers, and returns how many calls outlast the grace period.
func (r *runner) await() (stuck int64) {
	done := make(chan struct{})
	go func() { r.worker.running.Wait(); close(done) }()
	select {
	case <-done:
		return 0
	case <-r.working.Done():
	}
	tick := time.NewTicker(straggling)
	defer tick.Stop()
	for before := r.worker.returned.Load(); ; {
		select {
		case <-done:
			return 0
		case <-tick.C:
		}
		after := r.worker.returned.Load()
		if n := r.worker.calls.Load(); n > 0 && after == before {
			return n
		}
		before = after // calls still end: a batch that is handled one by one
	}
}

// giveBack returns all that is queued or waits.
func (r *runner) giveBack() {
	for _, m := range append(append(r.queue.drain(), r.room.leave()...), r.aside.leave()...) {
		r.worker.release(m)
	}
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
