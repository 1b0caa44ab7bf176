package stage_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
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

// limits is what a test's work waits for: keys that are shut.
type limits struct {
	mu   sync.Mutex
	shut map[fault.Wait]bool
	met  atomic.Int64 // refusals
}

func shut(keys ...fault.Wait) *limits {
	l := &limits{shut: map[fault.Wait]bool{}}
	for _, k := range keys {
		l.shut[k] = true
	}
	return l
}

func (l *limits) ask(key fault.Wait) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.shut[key] {
		return nil
	}
	l.met.Add(1)
	return fault.New(fault.CostLimit, "budget", "%s is spent", key).WaitFor(key).After(5 * time.Minute)
}

func (l *limits) open(env *stage.Env, key fault.Wait) {
	l.mu.Lock()
	delete(l.shut, key)
	l.mu.Unlock()
	env.Wake(key)
}

// submit publishes a message of a tenant's document.
func submit(t *testing.T, js jetstream.JetStream, tenant, name string) {
	t.Helper()
	msg := nats.NewMsg(events.SubjectParsed)
	msg.Header.Set(events.HeaderDocumentID, events.DocumentID(tenant, name))
	msg.Header.Set(events.HeaderRevision, "7")
	msg.Header.Set(events.HeaderTenant, tenant)
	msg.Header.Set(events.HeaderMsgID, tenant+name)
	msg.Data = []byte(name)
	if _, err := js.PublishMsgAsync(msg, jetstream.WithStallWait(natstest.Patience)); err != nil { // the machine may be busy
		t.Fatal(err)
	}
}

func submitted(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(time.Minute):
		t.Fatal("not all is published within a minute")
	}
}

// last returns the last sequence of a stream: it grows with every write.
func last(t *testing.T, js jetstream.JetStream, stream string) uint64 {
	t.Helper()
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.LastSeq
}

func stored(t *testing.T, js jetstream.JetStream, stream string) uint64 {
	t.Helper()
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// perTenant is a stage whose work waits for the budget of its message's tenant.
func perTenant(l *limits, workers int, done func(m *stage.Message)) stage.Stage {
	return stage.Stage{
		Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: workers,
		Handle: func(_ context.Context, m *stage.Message) error {
			if err := l.ask(fault.On(fault.WaitBudget, "tenant."+m.Tenant)); err != nil {
				return err
			}
			done(m)
			return nil
		},
	}
}

// crash runs a stage until ready, then ends the process the hard way: nothing is
// acknowledged, returned or written any more.
func crash(t *testing.T, env *stage.Env, s stage.Stage, ready func() bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = stage.Run(ctx, env, s)
	}()
	natstest.Eventually(t, time.Minute, "the process is ready to be killed", ready)
	env.Conn.Close()
	cancel()
	<-over
}

// Waiting burns nothing, however often the process is killed meanwhile: not by
// deliveries, not by crash marks, and the story tells of each wait once.
func TestWaitingIsNoCrash(t *testing.T) {
	for _, key := range []fault.Wait{"budget:global", "budget:tenant.acme", "config", "service:openai", "store:index", "claim:abc", "job:1"} {
		t.Run(string(key), func(t *testing.T) {
			t.Parallel()
			url := natstest.Start(t, broker.DefaultTopology())
			s := quick()
			s.AckWait, s.Grace, s.MaxRetries, s.MaxCrashes = time.Second, 0, 0, 1
			l := shut(key)
			var done atomic.Int64
			st := stage.Stage{
				Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 2,
				Handle: func(context.Context, *stage.Message) error {
					if err := l.ask(key); err != nil {
						return err
					}
					done.Add(1)
					return nil
				},
			}
			nc := natstest.Connect(t, url)
			told := collect(t, nc, events.EventSubject(events.DocumentID("acme", "a"), "*"))
			js, err := jetstream.New(nc)
			if err != nil {
				t.Fatal(err)
			}
			submit(t, js, "acme", "a")
			submitted(t, js)
			const kills = 5
			for i := range kills {
				env := natstest.Env(t, url, s)
				crash(t, env, st, func() bool { return l.met.Load() > int64(i) && len(env.Health.Stage("worker").Waiting) > 0 })
			}
			env := natstest.Env(t, url, s)
			natstest.Run(t, env, st)
			natstest.Eventually(t, time.Minute, "it waits again", func() bool { return l.met.Load() > kills })
			l.open(env, key)
			empty(t, js, events.StreamParsed)
			empty(t, js, events.StreamHeld)
			if n := stored(t, js, events.StreamDeadLetter); n != 0 || done.Load() != 1 {
				t.Errorf("%d dead letters, done %d times", n, done.Load())
			}
			kv, err := js.KeyValue(t.Context(), events.BucketRetries)
			if err != nil {
				t.Fatal(err)
			}
			if keys, err := kv.Keys(t.Context()); err == nil {
				t.Errorf("records are left: %v", keys)
			}
			natstest.Eventually(t, time.Minute, "resumed is told", func() bool {
				all := told()
				return strings.HasSuffix(all[len(all)-1].Subject, ".resumed")
			})
			// A process that is killed ends a wait: the next one tells its own.
			if n := len(told()); n > 2*(kills+1) {
				t.Errorf("%d events", n)
			}
		})
	}
}

// A tenant at its limit stops nobody, costs nothing while it waits, and goes on at
// once when its limit is raised. The consumer may have very few messages in
// flight.
func TestATenantAtItsLimitStopsNobody(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	s := quick()
	s.AckWait, s.MaxInFlight = 10*time.Second, 200
	l := shut("budget:tenant.poor")
	done := map[string]int{}
	var mu sync.Mutex
	count := func(tenant string) int {
		mu.Lock()
		defer mu.Unlock()
		n := 0
		for name := range done {
			if strings.HasPrefix(name, tenant) {
				n++
			}
		}
		return n
	}
	env, other := natstest.Env(t, url, s), natstest.Env(t, url, s)
	st := perTenant(l, 4, func(m *stage.Message) {
		mu.Lock()
		defer mu.Unlock()
		done[m.Tenant+"/"+m.Name+string(m.Data)]++
	})
	natstest.Run(t, env, st)
	natstest.Run(t, other, st)
	const poor, rich = 3000, 50
	for i := range poor {
		submit(t, env.JS, "poor", fmt.Sprint(i))
	}
	submitted(t, env.JS)
	for i := range rich {
		submit(t, env.JS, "rich", fmt.Sprint(i))
	}
	natstest.Eventually(t, time.Minute, "the other tenant's documents are done", func() bool { return count("rich") == rich })
	natstest.Eventually(t, time.Minute, "what waits is set aside", func() bool {
		return last(t, env.JS, events.StreamHeld) > 0 && stored(t, env.JS, events.StreamParsed)+stored(t, env.JS, events.StreamHeld) == poor &&
			stored(t, env.JS, events.StreamParsed) <= 2*300
	})
	if n := count("poor"); n != 0 {
		t.Fatalf("%d of the poor tenant's are done", n)
	}
	natstest.Eventually(t, time.Minute, "its health says so", func() bool {
		n := 0
		for _, e := range []*stage.Env{env, other} {
			h := e.Health.Stage("worker")
			if !h.Ready {
				t.Fatalf("%+v", h)
			}
			for _, w := range h.Waiting {
				if w.Key != "budget:tenant.poor" || w.Whole {
					t.Fatalf("%+v", w)
				}
				n += w.Count
			}
			if len(h.Waiting) > 0 {
				n += h.Waiting[0].Aside
			}
		}
		return n >= poor
	})
	// At rest nothing is written. Tries are what a rest is not: they are counted.
	written := func() (n uint64) {
		for _, stream := range []string{events.StreamEvents, "KV_" + events.BucketRetries, events.StreamHeld, events.StreamParsed} {
			n += last(t, env.JS, stream)
		}
		return n
	}
	before, tries := written(), l.met.Load()
	rest := time.NewTimer(3 * time.Second)
	for waiting := true; waiting; {
		select {
		case <-rest.C:
			waiting = false
		case <-time.After(100 * time.Millisecond):
		}
		if n := written(); n != before {
			t.Fatalf("%d writes while all waits", n-before)
		}
	}
	if n := l.met.Load() - tries; n > 0 {
		t.Errorf("%d tries while nobody opened anything", n)
	}
	l.mu.Lock()
	delete(l.shut, "budget:tenant.poor")
	l.mu.Unlock()
	env.Wake("budget:tenant.poor")
	other.Wake("budget:tenant.poor")
	natstest.Eventually(t, time.Minute, "all are done", func() bool { return count("poor") == poor })
	empty(t, env.JS, events.StreamParsed)
	empty(t, env.JS, events.StreamHeld)
	mu.Lock()
	defer mu.Unlock()
	for name, n := range done {
		if n != 1 {
			t.Errorf("%s is done %d times", name, n)
		}
	}
	if n := stored(t, env.JS, events.StreamDeadLetter); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

// A batch brings far more than the room holds at once.
func TestABatchOfATenantAtItsLimitStopsNobody(t *testing.T) {
	s := quick()
	s.AckWait = time.Minute // nothing comes twice because the machine is busy
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), s)
	l := shut("budget:tenant.poor")
	var mu sync.Mutex
	done := map[string]int{}
	natstest.Run(t, env, stage.Stage{
		Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 2, Batch: stage.Batch{Items: 2048, Wait: 10 * time.Millisecond},
		HandleBatch: func(_ context.Context, batch []*stage.Message) {
			for _, m := range batch {
				if err := l.ask(fault.On(fault.WaitTenant, m.Tenant)); err != nil {
					m.Fail(err)
					continue
				}
				mu.Lock()
				done[m.Tenant]++
				mu.Unlock()
			}
		},
	})
	const n = 5000
	for i := range n {
		submit(t, env.JS, "poor", fmt.Sprint(i))
	}
	submitted(t, env.JS)
	natstest.Eventually(t, time.Minute, "what waits is set aside", func() bool { return stored(t, env.JS, events.StreamParsed) <= 300 })
	submit(t, env.JS, "rich", "1")
	natstest.Eventually(t, time.Minute, "the other tenant's document is done", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return done["rich"] == 1 && done["poor"] == 0
	})
	l.open(env, "budget:tenant.poor")
	empty(t, env.JS, events.StreamParsed)
	empty(t, env.JS, events.StreamHeld)
	if done["poor"] != n {
		t.Errorf("%d done", done["poor"])
	}
}

// What was set aside outlives every process: those that come later find it, with
// its identity.
func TestWhatIsSetAsideOutlivesEverything(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	s := quick()
	s.AckWait, s.Grace = time.Second, 0
	l := shut("budget:tenant.poor")
	var mu sync.Mutex
	type identity struct {
		seq  uint64
		time int64
		rest string
	}
	seen := map[string]identity{}
	var first atomic.Int64
	st := perTenant(l, 4, func(m *stage.Message) {
		mu.Lock()
		defer mu.Unlock()
		seen[string(m.Data)] = identity{m.Seq, m.Time.UnixNano(), m.Subject + m.Document + m.Revision.String() + m.CorrelationID + m.Header.Get("Meta-X")}
	})
	look := st.Handle
	want := map[string]identity{}
	st.Handle = func(ctx context.Context, m *stage.Message) error {
		mu.Lock()
		id := identity{m.Seq, m.Time.UnixNano(), m.Subject + m.Document + m.Revision.String() + m.CorrelationID + m.Header.Get("Meta-X")}
		if was, ok := want[string(m.Data)]; ok && was != id {
			t.Errorf("%s was %+v and is %+v", m.Data, was, id)
		}
		want[string(m.Data)] = id
		mu.Unlock()
		first.Add(1)
		return look(ctx, m)
	}
	nc := natstest.Connect(t, url)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	const n = 1500
	for i := range n {
		submit(t, js, "poor", fmt.Sprint(i))
	}
	submitted(t, js)
	// Killed at different moments: while it sets aside, and when all is at rest.
	for _, aside := range []uint64{1, 200, 700, n - 400} {
		crash(t, natstest.Env(t, url, s), st, func() bool { return stored(t, js, events.StreamHeld) >= aside })
	}
	l.mu.Lock()
	clear(l.shut)
	l.mu.Unlock()
	natstest.Run(t, natstest.Env(t, url, s), st)
	empty(t, js, events.StreamParsed)
	empty(t, js, events.StreamHeld)
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != n || stored(t, js, events.StreamDeadLetter) != 0 {
		t.Errorf("%d of %d are done, %d dead letters", len(seen), n, stored(t, js, events.StreamDeadLetter))
	}
}

// A key that opens by a little lets a little through, and a wake-up in vain costs
// a try, not one for each that waits.
func TestAWakeUpInVainIsCheap(t *testing.T) {
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), quick())
	l := shut("budget:tenant.poor")
	natstest.Run(t, env, perTenant(l, 4, func(*stage.Message) {}))
	for i := range 1000 {
		submit(t, env.JS, "poor", fmt.Sprint(i))
	}
	submitted(t, env.JS)
	natstest.Eventually(t, time.Minute, "all have tried", func() bool { return l.met.Load() >= 1000 })
	for range 10 {
		before := l.met.Load()
		env.Wake("budget")
		natstest.Eventually(t, time.Minute, "it is tried", func() bool { return l.met.Load() > before })
	}
	if n := l.met.Load() - 1000; n > 100 {
		t.Errorf("%d tries by 10 wake-ups", n)
	}
}

// A message that is suspected to kill processes is alone in the stage's function
// for as long as the function runs, and no longer: waiting is not running.
func TestASuspectThatWaitsStopsNobody(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	s := quick()
	s.AckWait, s.Grace = time.Second, 0
	nc := natstest.Connect(t, url)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	submit(t, js, "acme", "killer")
	submitted(t, js)
	// Two deaths in the function make it a suspect.
	for range 2 {
		env := natstest.Env(t, url, s)
		var dead atomic.Bool
		crash(t, env, stage.Stage{
			Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 4,
			Handle: func(context.Context, *stage.Message) error { env.Conn.Close(); dead.Store(true); return nil },
		}, dead.Load)
	}
	l := shut("claim:killer")
	var fresh atomic.Int64
	env := natstest.Env(t, url, s)
	natstest.Run(t, env, stage.Stage{
		Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 4,
		Handle: func(_ context.Context, m *stage.Message) error {
			if string(m.Data) == "killer" {
				return l.ask("claim:killer")
			}
			fresh.Add(1)
			return nil
		},
	})
	natstest.Eventually(t, time.Minute, "the suspect waits", func() bool { return l.met.Load() > 0 })
	for i := range 50 {
		submit(t, js, "acme", fmt.Sprint(i))
	}
	natstest.Eventually(t, time.Minute, "the others pass", func() bool { return fresh.Load() == 50 })
	l.open(env, "claim:killer")
	empty(t, js, events.StreamParsed)
	if n := stored(t, js, events.StreamDeadLetter); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

// Health is the same whichever worker looked last.
func TestHealthIsAView(t *testing.T) {
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), quick())
	var calls atomic.Int64
	natstest.Run(t, env, stage.Stage{
		Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 8, Whole: []fault.Wait{"store"},
		Handle: func(_ context.Context, m *stage.Message) error {
			calls.Add(1)
			if string(m.Data) == "bad" {
				return fault.New(fault.Halt, "invalid_api_key", "the key is refused").After(time.Hour)
			}
			return nil
		},
	})
	publish(t, env.JS, events.SubjectParsed, "bad", "bad")
	natstest.Eventually(t, time.Minute, "it waits", func() bool { return calls.Load() > 0 && len(env.Health.Stage("worker").Waiting) > 0 })
	stop := make(chan struct{})
	var feeding sync.WaitGroup
	feeding.Go(func() { // other workers succeed all the time
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				publish(t, env.JS, events.SubjectParsed, fmt.Sprint(i), fmt.Sprint(i))
			}
		}
	})
	for i := range 10_000 {
		h := env.Health.Stage("worker")
		if h.Ready || env.Health.Ready() || h.Halted() != "the key is refused" || h.InHand < 1 {
			t.Errorf("probe %d: %+v", i, h)
			break
		}
	}
	close(stop)
	feeding.Wait()
	if n := calls.Load(); n < 10 {
		t.Errorf("%d calls meanwhile", n)
	}
}

// While all of a stage's work waits, nothing is pulled, and a try costs one batch.
func TestAStageThatWaitsTakesNothingIn(t *testing.T) {
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), quick())
	l := shut("service:openai")
	var done atomic.Int64
	const items, n = 16, 2000
	natstest.Run(t, env, stage.Stage{
		Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 2, Batch: stage.Batch{Items: items, Wait: time.Millisecond},
		HandleBatch: func(_ context.Context, batch []*stage.Message) {
			err := l.ask("service:openai")
			for _, m := range batch {
				if m.Fail(err); err == nil {
					done.Add(1)
				}
			}
		},
	})
	for i := range n {
		submit(t, env.JS, "acme", fmt.Sprint(i))
	}
	submitted(t, env.JS)
	natstest.Eventually(t, time.Minute, "it waits", func() bool { return l.met.Load() > 0 })
	if left := stored(t, env.JS, events.StreamHeld); left != 0 {
		t.Errorf("%d messages were set aside", left)
	}
	before := l.met.Load()
	for range 5 {
		was := l.met.Load()
		env.Wake("service")
		natstest.Eventually(t, time.Minute, "it is tried", func() bool { return l.met.Load() > was })
	}
	if calls := l.met.Load() - before; calls > 15 {
		t.Errorf("%d calls by 5 wake-ups", calls)
	}
	if h := env.Health.Stage("worker"); h.InHand > 600 || len(h.Waiting) != 1 || !h.Waiting[0].Whole {
		t.Errorf("%+v", h)
	}
	l.open(env, "service:openai")
	empty(t, env.JS, events.StreamParsed)
	if done.Load() != n {
		t.Errorf("%d done", done.Load())
	}
}

// A body that only a newer release can read is left to a replica of that release,
// also while replicas of this one go on; others pass it by, and it uses up no
// retry.
func TestANewerBodyIsLeftToANewerStage(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	type seen struct {
		body    string
		attempt int
	}
	passed := make(chan seen, 16)
	stageOf := func(version int) stage.Stage {
		return stage.Stage{
			Declaration: stage.Declaration{Name: "chunker", In: stage.Route{Stream: events.StreamParsed, Subject: events.SubjectParsed}},
			Handle: func(_ context.Context, m *stage.Message) error {
				if string(m.Data) == "2" && version < 2 {
					return fault.New(fault.Unavailable, "newer-version", "too new").WaitFor("schema:2").After(time.Second)
				}
				passed <- seen{string(m.Data), m.Attempt}
				return nil
			},
		}
	}
	settings := quick()
	settings.MaxRetries = 0 // any failure that counted would be the last
	env := natstest.Env(t, url, settings)
	held := collect(t, env.Conn, events.EventSubject(doc, events.Held))
	natstest.Run(t, env, stageOf(1))
	publish(t, env.JS, events.SubjectParsed, "new", "2")
	publish(t, env.JS, events.SubjectParsed, "old", "1")
	if got := <-passed; got.body != "1" {
		t.Errorf("%+v passed", got)
	}
	natstest.Eventually(t, time.Minute, "it is set aside", func() bool { return stored(t, env.JS, events.StreamHeld) == 1 })
	natstest.Run(t, natstest.Env(t, url, settings), stageOf(2))
	select {
	case got := <-passed:
		if got != (seen{"2", 0}) {
			t.Errorf("%+v passed, want the new body without a failure", got)
		}
	case <-time.After(time.Minute):
		t.Fatal("the new stage did not get it")
	}
	empty(t, env.JS, events.StreamHeld)
	if n := stored(t, env.JS, events.StreamDeadLetter); n != 0 || len(held()) != 1 {
		t.Errorf("%d dead letters, %d times told that it waits", n, len(held()))
	}
}
