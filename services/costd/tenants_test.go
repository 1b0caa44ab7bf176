package costd_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/budget"
	"sluice/pkg/fault"
	"sluice/pkg/natstest"
	"sluice/services/costd"
)

// leases takes a lease for each of many tenants, as one process would.
func (w *world) leases(nc *nats.Conn, prefix string, tenants int) {
	w.t.Helper()
	var wg sync.WaitGroup
	next := atomic.Int64{}
	for range 32 {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(tenants); i = next.Add(1) {
				var a budget.Answer
				r := budget.Request{
					Lease: fmt.Sprint(prefix, i), N: 1, Service: "openai", Tenant: fmt.Sprint("tenant", i), Time: w.now(), Sent: w.now(),
					Need: budget.Amount{Nano: 1000, Requests: 1}, Seconds: 1,
				}
				ask(w.t, nc, r, &a)
				if a.Granted.Nano != 1000 {
					w.t.Errorf("%s: %+v", r.Lease, a)
					return
				}
			}
		})
	}
	wg.Wait()
}

func (w *world) stream() jetstream.Stream {
	w.t.Helper()
	_, js := w.connect()
	s, err := js.Stream(w.t.Context(), budgetStream)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) info(s jetstream.Stream, filter string) *jetstream.StreamInfo {
	w.t.Helper()
	i, err := s.Info(w.t.Context(), jetstream.WithSubjectFilter(filter))
	if err != nil {
		w.t.Fatal(err)
	}
	return i
}

// Thousands of tenants' leases expire at once, and the hour turns. A grant waits
// for a slice of that work: a few commits and states, not thousands. In the end
// nothing is left of the tenants.
func TestThousandsOfTenants(t *testing.T) {
	const tenants = 1500
	w := newWorld(t)
	w.terms.TTL = 10 * time.Minute // they expire when the clock is set, not when the machine is slow
	nc, js := w.connect()
	seen := sync.Map{}
	g, err := costd.NewGrantor(t.Context(), costd.GrantorConfig{
		Conn: nc, JS: js, Log: w.log().Level(4), Name: "a", Now: w.now, Terms: w.terms, Idle: 12 * time.Second,
		Limits: map[budget.Scope]budget.Limits{budget.Global: day(1 << 50)}, Shown: func(s budget.State) { seen.Store(s.Scope, true) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	w.leases(nc, "first", tenants)
	if _, out := w.spent(); out.Nano != tenants*1000 {
		t.Fatalf("%d out", out.Nano)
	}
	stream := w.stream()
	natstest.Eventually(t, 60*time.Second, "every tenant is shown", func() bool {
		return len(w.info(stream, "$KV.budget.state.tenant.*").State.Subjects) == tenants
	})

	began := w.now()
	w.jump.Add(int64(time.Hour)) // all leases have expired
	before := w.info(stream, "").State.LastSeq
	var first uint64
	natstest.Eventually(t, 20*time.Second, "the work has begun", func() bool {
		first = w.info(stream, "").State.LastSeq
		return first > before
	})
	var a budget.Answer
	ask(t, nc, budget.Request{
		Lease: "now", N: 1, Service: "openai", Tenant: "someone", Time: w.now(), Sent: w.now(), Need: budget.Amount{Nano: 1000, Requests: 1}, Seconds: 1,
	}, &a)
	lease, err := stream.GetLastMsgForSubject(t.Context(), "$KV.budget.lease.now")
	if err != nil || a.Granted.Nano != 1000 {
		t.Fatalf("%+v %v", a, err)
	}
	// One slice of reclaimed leases writes 16 x 3 + 5 entries.
	t.Logf("%d entries were written before the grant", lease.Sequence-first)
	if lease.Sequence-first > 500 {
		t.Errorf("%d entries were written before the grant", lease.Sequence-first)
	}
	natstest.Eventually(t, 120*time.Second, "all that was out counts as spent", func() bool {
		s, out := w.hourAt(began)
		return s.Nano == tenants*1000 && out.IsZero()
	})
	natstest.Eventually(t, 90*time.Second, "idle tenants are not shown", func() bool {
		return len(w.info(stream, "$KV.budget.state.tenant.*").State.Subjects) < 5
	})
	w.jump.Add(int64(5 * 24 * time.Hour)) // what is kept for a while is over
	natstest.Eventually(t, 120*time.Second, "nothing is left of them", func() bool {
		return w.info(stream, "").State.Msgs < 100
	})
	seen.Range(func(s, _ any) bool {
		if strings.HasPrefix(string(s.(budget.Scope)), "tenant.") {
			t.Errorf("a metric of %v", s)
		}
		return true
	})
}

// While everybody waits, nobody writes: neither costd, leader or not, nor the
// gates.
func TestAtRestNothingIsWritten(t *testing.T) {
	w := newWorld(t)
	w.costd("a", day(0))
	w.costd("b", day(0))
	g := w.gate(nil)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if _, err := g.Admit(t.Context(), "openai", fmt.Sprint("tenant", i), budget.Amount{Nano: 1000, Requests: 1}); err == nil {
				t.Error("admitted")
			}
		})
	}
	wg.Wait()
	_, js := w.connect()
	last := func() (n uint64) {
		for _, name := range []string{budgetStream, markStream} {
			s, err := js.Stream(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			n += s.CachedInfo().State.LastSeq
		}
		return n
	}
	// Three seconds without a write: the leader beats each second.
	quiet, at := last(), time.Now()
	natstest.Eventually(t, 30*time.Second, "three seconds without a write", func() bool {
		if n := last(); n != quiet {
			quiet, at = n, time.Now()
		}
		return time.Since(at) > 3*time.Second
	})
}

// A lease is asked for while nobody is there to grant it. When costd comes, later
// than any clock may be off, the request is granted: its age is no wrong clock.
func TestALeaseThatWasAskedForLongAgo(t *testing.T) {
	for name, later := range map[string]time.Duration{"in the same hour": 20 * time.Minute, "the hour has turned": 40 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			woken := make(chan struct{}, 100)
			nc, js := w.connect()
			g, err := budget.NewGate(t.Context(), budget.Config{
				Conn: nc, JS: js, Log: w.log(), Now: w.now, Call: time.Second, Wait: 100 * time.Millisecond, Wake: func(key fault.Wait) {
					if fault.Wait("budget:global").Within(key) {
						woken <- struct{}{}
					}
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			call := func() error {
				tk, err := g.Admit(t.Context(), "openai", "acme", budget.Amount{Nano: 1000, Requests: 1})
				if err == nil {
					tk.Settle(1000)
				}
				return err
			}
			if err := call(); fault.From(err) == nil || fault.From(err).Reason != "budget-unknown" || fault.From(err).Wait != "budget:global" {
				t.Fatalf("nobody is there: %v", err)
			}
			w.jump.Store(int64(later))
			w.costd("a", day(10_000))
			natstest.Eventually(t, 20*time.Second, "who waits is woken and admitted", func() bool {
				select {
				case <-woken:
					return call() == nil
				default:
					return false
				}
			})
			if err := g.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A clock that is wrong is still found out, and a lease of a past hour is granted
// nothing.
func TestAWrongClock(t *testing.T) {
	w := newWorld(t)
	w.costd("a", day(10_000))
	nc, _ := w.connect()
	r := budget.Request{Lease: "a", N: 1, Service: "openai", Tenant: "acme", Need: budget.Amount{Nano: 1000, Requests: 1}, Seconds: 1}
	for _, off := range []time.Duration{-13 * time.Second, 3 * time.Second, -time.Hour, time.Hour} {
		r.Time, r.Sent = w.now().Add(off), w.now().Add(off)
		var a budget.Answer
		if ask(t, nc, r, &a); !strings.Contains(a.Error, "clock") || !a.Granted.IsZero() {
			t.Errorf("off by %v: %+v", off, a)
		}
	}
	r.Time, r.Sent = w.now().Add(-time.Hour), w.now()
	var a budget.Answer
	if ask(t, nc, r, &a); !a.Gone || !a.Granted.IsZero() {
		t.Errorf("asked for in the hour before: %+v", a)
	}
}
