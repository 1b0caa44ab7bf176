package stage_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/natstest"
	"sluice/pkg/stage"
)

// What waits must not use up what may be in flight, however little that is.
func TestTheOnlyMessageInFlightWaitsAside(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	s := quick()
	s.MaxInFlight = 1
	env := natstest.Env(t, url, s)
	l := shut("budget:tenant.poor")
	var rich, poor atomic.Int64
	natstest.Run(t, env, perTenant(l, 1, func(m *stage.Message) {
		if m.Tenant == "rich" {
			rich.Add(1)
		} else {
			poor.Add(1)
		}
	}))
	for i := range 3 {
		submit(t, env.JS, "poor", fmt.Sprint(i))
		submit(t, env.JS, "rich", fmt.Sprint(i))
	}
	submitted(t, env.JS)
	natstest.Eventually(t, 20*time.Second, "the other tenant's documents are done", func() bool { return rich.Load() == 3 })
	l.open(env, "budget:tenant.poor")
	natstest.Eventually(t, 20*time.Second, "what waited is done", func() bool { return poor.Load() == 3 })
}

// A key that opens while HELD takes nothing opens nevertheless: what could not be
// set aside goes on with the rest.
func TestAWakeUpIsHeardWhileNothingCanBeSetAside(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	s := quick()
	s.MaxInFlight = 200 // the room takes 12
	env := natstest.Env(t, url, s)
	if err := env.JS.DeleteStream(t.Context(), events.StreamHeld); err != nil {
		t.Fatal(err)
	}
	l := shut("budget:tenant.poor")
	var done atomic.Int64
	natstest.Run(t, env, perTenant(l, 2, func(*stage.Message) { done.Add(1) }))
	const all = 100
	for i := range all {
		submit(t, env.JS, "poor", fmt.Sprint(i))
	}
	submitted(t, env.JS)
	natstest.Eventually(t, time.Minute, "more wait than the room takes", func() bool { return l.met.Load() > 24 })
	l.open(env, "budget:tenant.poor")
	natstest.Eventually(t, 30*time.Second, "all are done", func() bool { return done.Load() == all })
}

// Without HELD nothing can come back from it, and nobody asks for it in a loop.
func TestALostHELDIsNotAskedWithoutEnd(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	s := quick()
	s.MaxInFlight = 200
	env := natstest.Env(t, url, s)
	l := shut("budget:tenant.poor")
	natstest.Run(t, env, perTenant(l, 2, func(*stage.Message) {}))
	for i := range 100 {
		submit(t, env.JS, "poor", fmt.Sprint(i))
	}
	submitted(t, env.JS)
	natstest.Eventually(t, time.Minute, "some are set aside", func() bool { return stored(t, env.JS, events.StreamHeld) > 50 })
	asked := count(t, url, "$JS.API.CONSUMER.>")
	if err := env.JS.DeleteStream(t.Context(), events.StreamHeld); err != nil {
		t.Fatal(err)
	}
	l.open(env, "budget:tenant.poor")
	natstest.Eventually(t, time.Minute, "what was in the room is done", func() bool { return stored(t, env.JS, events.StreamParsed) == 0 })
	before := asked()
	rest(3 * time.Second)
	if n := asked() - before; n > 30 {
		t.Errorf("%d requests within 3 s", n)
	}
	natstest.Eventually(t, time.Minute, "nothing waits", func() bool { return len(env.Health.Stage("worker").Waiting) == 0 })
}

// Keys of single texts share one group in HELD. What came back from it, found its
// own key shut and was returned comes back with the others when they open, and not
// one by one.
func TestClaimsThatAreSetAsideComeBackTogether(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	s := quick()
	s.MaxInFlight = 800 // the room takes 50
	env := natstest.Env(t, url, s)
	var tries, done atomic.Int64
	var open atomic.Bool
	natstest.Run(t, env, stage.Stage{
		Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 2,
		Handle: func(_ context.Context, m *stage.Message) error {
			if open.Load() {
				done.Add(1)
				return nil
			}
			tries.Add(1)
			return fault.New(fault.Unavailable, "elsewhere", "another one has it").WaitFor(fault.On(fault.WaitClaim, string(m.Data))).After(8 * time.Second)
		},
	})
	const all = 300
	for i := range all {
		submit(t, env.JS, "acme", fmt.Sprint(i))
	}
	submitted(t, env.JS)
	natstest.Eventually(t, time.Minute, "most are set aside, and were tried again", func() bool {
		return tries.Load() >= 2*all && stored(t, env.JS, events.StreamHeld) >= all-60
	})
	open.Store(true)
	for i := range all {
		env.Wake(fault.On(fault.WaitClaim, fmt.Sprint(i)))
	}
	natstest.Eventually(t, time.Minute, "all are done", func() bool { return done.Load() == all })
	empty(t, env.JS, events.StreamHeld)
	empty(t, env.JS, events.StreamParsed)
}

// What waits for a stream to take what it has caused is done already. A stage that
// lists what all of its work needs need not think of that.
func TestWhatIsDoneIsNotSetAside(t *testing.T) {
	topology := broker.DefaultTopology()
	topology.Extra = []broker.Stream{broker.Queue("SMALL", "small")}
	s := quick()
	s.MaxInFlight = 200 // the room takes 12
	env := natstest.Env(t, natstest.Start(t, topology), s)
	small, err := env.JS.Stream(t.Context(), "SMALL")
	if err != nil {
		t.Fatal(err)
	}
	cfg := small.CachedInfo().Config
	cfg.MaxMsgs = 3
	if _, err := env.JS.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int64
	natstest.Run(t, env, stage.Stage{
		Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 8,
		Whole: []fault.Wait{fault.On(fault.WaitStore, events.BucketRetries)},
		Handle: func(_ context.Context, m *stage.Message) error {
			calls.Add(1)
			m.Publish("small", "x/1", string(m.Data), m.Data)
			return nil
		},
	})
	const all = 100
	for i := range all {
		submit(t, env.JS, "acme", fmt.Sprint(i))
	}
	submitted(t, env.JS)
	natstest.Eventually(t, time.Minute, "the stage waits for SMALL", func() bool { return env.Health.Stage("worker").Held() != "" })
	cons, err := env.JS.CreateConsumer(t.Context(), "SMALL", jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	natstest.Eventually(t, time.Minute, "all have passed", func() bool {
		b, err := cons.Fetch(50, jetstream.FetchMaxWait(200*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		for m := range b.Messages() {
			seen[string(m.Data())] = true
			if err := m.DoubleAck(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		return len(seen) == all
	})
	if n := calls.Load(); n != all {
		t.Errorf("%d calls for %d messages", n, all)
	}
	if n := last(t, env.JS, events.StreamHeld); n != 0 {
		t.Errorf("%d messages were set aside", n)
	}
}

// Whoever kills a process that has a batch in its function again and again makes
// no dead letters, and no call for each of the batch.
func TestABatchThatIsKilledAgainAndAgain(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	s := quick()
	s.AckWait, s.Grace = time.Second, 0
	var calls, done, kills atomic.Int64
	const all, deaths = 200, 3
	st := stage.Stage{
		Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 1,
		Batch: stage.Batch{Items: all, Wait: time.Second},
		HandleBatch: func(ctx context.Context, batch []*stage.Message) {
			if calls.Add(1); kills.Load() < deaths {
				<-ctx.Done() // it is killed in here
				for _, m := range batch {
					m.Fail(ctx.Err())
				}
				return
			}
			done.Add(int64(len(batch)))
		},
	}
	js, err := jetstream.New(natstest.Connect(t, url))
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		submit(t, js, "acme", fmt.Sprint(i))
	}
	submitted(t, js)
	for range deaths {
		before := calls.Load()
		crash(t, natstest.Env(t, url, s), st, func() bool { return calls.Load() > before })
		kills.Add(1)
	}
	before := calls.Load()
	natstest.Run(t, natstest.Env(t, url, s), st)
	empty(t, js, events.StreamParsed)
	if n := stored(t, js, events.StreamDeadLetter); n != 0 || done.Load() < all {
		t.Errorf("%d dead letters, %d of %d are done", n, done.Load(), all)
	}
	if n := calls.Load() - before; n > all/4 {
		t.Errorf("%d calls for %d messages", n, all)
	}
}

// A kill or a drain while a message waits is no death of a process in it: it has as
// many deaths before it as any other.
func TestAKillAtRestIsNoDeath(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	s := quick()
	s.AckWait, s.Grace, s.MaxCrashes = time.Second, 0, 2
	dead := collect(t, natstest.Connect(t, url), events.SubjectDeadPrefix+">")
	l := shut("budget:tenant.poor")
	var inside, waits, done atomic.Int64
	kill := atomic.Bool{}
	st := stage.Stage{
		Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 1,
		Handle: func(ctx context.Context, m *stage.Message) error {
			if err := l.ask("budget:tenant.poor"); err != nil {
				waits.Add(1)
				return err
			}
			if kill.Load() {
				inside.Add(1)
				<-ctx.Done() // it is killed in here
				return ctx.Err()
			}
			done.Add(1)
			return nil
		},
	}
	js, err := jetstream.New(natstest.Connect(t, url))
	if err != nil {
		t.Fatal(err)
	}
	submit(t, js, "poor", "a")
	submitted(t, js)
	crash(t, natstest.Env(t, url, s), st, func() bool { return waits.Load() == 1 })
	l.mu.Lock()
	clear(l.shut)
	l.mu.Unlock()
	kill.Store(true)
	crash(t, natstest.Env(t, url, s), st, func() bool { return inside.Load() == 1 })
	kill.Store(false)
	natstest.Run(t, natstest.Env(t, url, s), st)
	natstest.Eventually(t, 30*time.Second, "it is done, or a dead letter", func() bool { return done.Load() == 1 || len(dead()) > 0 })
	if d := dead(); len(d) > 0 {
		t.Errorf("it is a dead letter after one death: %v", d[0].Header)
	}
}

// rest lets time pass in which nothing should happen.
func rest(d time.Duration) { <-time.After(d) }

// count counts the messages on a subject.
func count(t *testing.T, url, subject string) func() int64 {
	t.Helper()
	var n atomic.Int64
	nc := natstest.Connect(t, url)
	if _, err := nc.Subscribe(subject, func(*nats.Msg) { n.Add(1) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return n.Load
}
