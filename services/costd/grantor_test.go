package costd_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"sluice/pkg/broker"
	"sluice/pkg/budget"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/natstest"
	"sluice/services/costd"
	"sluice/services/costd/ledger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a server, its clock in the middle of an hour, and a provider's meter.
type world struct {
	t     testing.TB
	url   string
	terms ledger.Terms
	shift time.Duration
	jump  atomic.Int64 // likewise, while the test runs

	nano, calls atomic.Int64 // the meter
	sound       bool         // nobody restores ledgers: no grantor may take them for older ones
	doubted     atomic.Bool  // one did
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, url: natstest.Start(t, broker.DefaultTopology()), terms: ledger.Terms{TTL: 5 * time.Second, Margin: time.Second, Call: time.Second}}
	now := time.Now()
	w.shift = now.Truncate(time.Hour).Add(30 * time.Minute).Sub(now)
	return w
}

func (w *world) now() time.Time { return time.Now().Add(w.shift + time.Duration(w.jump.Load())) }

func (w *world) connect() (*nats.Conn, jetstream.JetStream) {
	nc := natstest.Connect(w.t, w.url)
	js, err := jetstream.New(nc)
	if err != nil {
		w.t.Fatal(err)
	}
	return nc, js
}

func (w *world) log() zerolog.Logger {
	return zerolog.New(zerolog.NewTestWriter(w.t)).Level(zerolog.ErrorLevel)
}

func (w *world) costd(name string, limits budget.Limits) *costd.Grantor {
	nc, js := w.connect()
	g, err := costd.NewGrantor(w.t.Context(), costd.GrantorConfig{
		Conn: nc, JS: js, Log: w.log(), Name: name, Now: w.now, Terms: w.terms,
		Limits: map[budget.Scope]budget.Limits{budget.Global: limits}, Down: func(why string) {
			if w.sound && strings.Contains(why, "nothing is granted") && !w.doubted.Swap(true) {
				w.t.Error(why)
			}
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = g.Close() }) // may be closed already
	return g
}

func (w *world) gate(wake func(fault.Wait)) *budget.Gate {
	nc, js := w.connect()
	g, err := budget.NewGate(w.t.Context(), budget.Config{Conn: nc, JS: js, Log: w.log(), Now: w.now, Wake: wake, Call: time.Second})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		patience := natstest.Patience
		if w.doubted.Load() {
			patience = time.Second // nobody answers any more
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := g.Close(ctx); err != nil {
			w.t.Errorf("close a gate: %v", err)
		}
	})
	return g
}

func day(nano int64) budget.Limits { return budget.Limits{DayNano: &nano} }

// spent reads the ledger of the day, as anyone may.
func (w *world) spent() (settled, reserved budget.Amount) {
	w.t.Helper()
	return w.ledger(budget.Windows(w.now())[1])
}

// hourAt reads the ledger of an hour.
func (w *world) hourAt(at time.Time) (settled, reserved budget.Amount) {
	w.t.Helper()
	return w.ledger(budget.Windows(at)[0])
}

func (w *world) ledger(window budget.Window) (settled, reserved budget.Amount) {
	w.t.Helper()
	_, js := w.connect()
	kv, err := js.KeyValue(w.t.Context(), events.BucketBudget)
	if err != nil {
		w.t.Fatal(err)
	}
	e, err := kv.Get(w.t.Context(), budget.LedgerKey(budget.Global, window))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return settled, reserved
	}
	if err != nil {
		w.t.Fatal(err)
	}
	var l ledger.Ledger
	decode(w.t, e.Value(), &l)
	return l.Settled, l.Out
}

// call makes a call of the provider, which charges what it likes up to the
// estimate, and sometimes does not answer.
func (w *world) call(t *budget.Ticket, r *rand.Rand, unknown float64) {
	cost := t.Estimate.Nano - r.Int64N(t.Estimate.Nano/4+1)
	w.calls.Add(1)
	w.nano.Add(cost)
	if r.Float64() < unknown {
		t.SettleUnknown()
		return
	}
	t.Settle(cost)
}

// work spends until the budget has refused for a while, and nothing is out that
// another process might give back: on a busy machine that takes as long as it takes.
func (w *world) work(g *budget.Gate, tenant string, seed uint64, unknown float64) {
	r := rand.New(rand.NewPCG(seed, 1))
	last := time.Now()
	look := last.Add(700 * time.Millisecond)
	idle := func() bool {
		if time.Since(last) < 700*time.Millisecond || time.Now().Before(look) {
			return false
		}
		look = time.Now().Add(500 * time.Millisecond)
		_, out := w.spent()
		return out.Nano < 1000 || time.Since(last) > 30*time.Second
	}
	for !idle() && !w.doubted.Load() {
		t, err := g.Admit(w.t.Context(), "openai", tenant, budget.Amount{Nano: 1000, Requests: 1})
		switch f := fault.From(err); {
		case err == nil:
			w.call(t, r, unknown)
			last = time.Now()
		case f.Class == fault.CostLimit && f.Reason == "budget":
			select {
			case <-time.After(20 * time.Millisecond): // the stage would wait for the wake-up
			case <-w.t.Context().Done():
				return
			}
		case f.Class == fault.CostLimit: // costd is away
		default:
			w.t.Errorf("admit: %v", err)
			return
		}
	}
}

func TestNeverOverAndUsedToTheLastCall(t *testing.T) {
	for _, limit := range []int64{50_000, 5_000_000} {
		t.Run(fmt.Sprint(limit/1000, " calls"), func(t *testing.T) {
			w := newWorld(t)
			w.costd("a", day(limit))
			var wg sync.WaitGroup
			for i := range 10 {
				g := w.gate(nil)
				for j := range 4 {
					wg.Go(func() { w.work(g, "acme", uint64(10*i+j), 0) })
				}
			}
			wg.Wait()
			if got := w.nano.Load(); got > limit-limit/100 || got <= limit-limit/100-1000 {
				t.Errorf("the meter says %d, the limit is %d, a hundredth for searches: want less than a call of 1000 below it", got, limit)
			}
			natstest.Eventually(t, 15*time.Second, "the ledger equals the meter", func() bool {
				settled, reserved := w.spent()
				return settled.Nano == w.nano.Load() && settled.Requests == w.calls.Load() && reserved.IsZero()
			})
		})
	}
}

func TestUnknownOutcomesCountAsSpent(t *testing.T) {
	w := newWorld(t)
	w.costd("a", day(100_000))
	var wg sync.WaitGroup
	for i := range 8 {
		g := w.gate(nil)
		wg.Go(func() { w.work(g, "acme", uint64(i), 0.2) })
	}
	wg.Wait()
	natstest.Eventually(t, 15*time.Second, "leases come back", func() bool { _, r := w.spent(); return r.IsZero() })
	settled, _ := w.spent()
	if m := w.nano.Load(); m > 100_000 || settled.Nano < m || settled.Nano > 100_000 {
		t.Errorf("meter %d, ledger %d, limit 100000", m, settled.Nano)
	}
}

// Two grantors at once, one of them killed and started again and again.
func TestTwoGrantors(t *testing.T) {
	w := newWorld(t)
	w.sound = true
	limit := int64(300_000)
	w.costd("a", day(limit))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			b := w.costd(fmt.Sprint("b", i), day(limit))
			select {
			case <-stop:
				return
			case <-time.After(300 * time.Millisecond):
			}
			if err := b.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
	}()
	var wg sync.WaitGroup
	for i := range 6 {
		g := w.gate(nil)
		wg.Go(func() { w.work(g, "acme", uint64(i), 0) })
	}
	wg.Wait()
	close(stop)
	<-done
	if got := w.nano.Load(); got > limit {
		t.Errorf("the meter says %d, the limit is %d", got, limit)
	}
}

// What is shown of a limit is a sentence, of money and of requests.
func TestTheWordsOfAState(t *testing.T) {
	w := newWorld(t)
	ten, ample := int64(10), int64(1_000_000)
	w.costd("a", budget.Limits{HourRequests: &ten, DayNano: &ample})
	g := w.gate(nil)
	_, js := w.connect()
	kv, err := js.KeyValue(t.Context(), events.BucketBudget)
	if err != nil {
		t.Fatal(err)
	}
	says := func(state, reason string) {
		t.Helper()
		natstest.Eventually(t, 20*time.Second, reason, func() bool {
			e, err := kv.Get(t.Context(), budget.StateKey(budget.Global))
			if err != nil {
				return false
			}
			var s budget.State
			decode(t, e.Value(), &s)
			return s.State == state && strings.HasPrefix(s.Reason, reason)
		})
	}
	call := func() {
		tk, err := g.Admit(t.Context(), "openai", "acme", budget.Amount{Nano: 1000, Requests: 1})
		if err != nil {
			t.Fatal(err)
		}
		tk.Settle(1000)
	}
	for range 9 {
		call()
	}
	says("warning", "80 % of the hour's requests are spent")
	call()
	says("paused", "the hour's requests are spent; resets ")
}

func TestARaiseWakesAndAFreezeStops(t *testing.T) {
	w := newWorld(t)
	w.costd("a", day(5_000))
	woken := make(chan struct{}, 100)
	g := w.gate(func(fault.Wait) { woken <- struct{}{} })
	w.work(g, "acme", 1, 0)
	_, err := g.Admit(t.Context(), "openai", "acme", budget.Amount{Nano: 4000, Requests: 1})
	if f := fault.From(err); f == nil || f.Class != fault.CostLimit || f.Wait != "budget:global" {
		t.Fatalf("over the limit: %v", err)
	}
	_, err = g.Admit(t.Context(), "openai", "acme", budget.Amount{Nano: 6000, Requests: 1})
	if f := fault.From(err); f == nil || f.Class != fault.CostLimit || f.Reason != budget.ReasonOverLimit {
		t.Fatalf("dearer than the whole limit: %v", err)
	}
	for len(woken) > 0 {
		<-woken
	}
	set := func(c budget.Change) {
		nc, _ := w.connect()
		if _, err := nc.Request(budget.SubjectSet, encode(t, c), 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	raised := int64(50_000)
	set(budget.Change{Scope: budget.Global, DayNano: &raised})
	select {
	case <-woken:
	case <-time.After(5 * time.Second):
		t.Fatal("nobody woke")
	}
	ticket, err := g.Admit(t.Context(), "openai", "acme", budget.Amount{Nano: 4000, Requests: 1})
	if err != nil {
		t.Fatalf("after the raise: %v", err)
	}
	ticket.Settle(4000)

	frozen := true
	set(budget.Change{Scope: budget.Tenant("acme"), Frozen: &frozen})
	natstest.Eventually(t, 5*time.Second, "frozen", func() bool {
		ticket, err := g.Admit(t.Context(), "openai", "acme", budget.Amount{Nano: 10, Requests: 1})
		if err == nil {
			ticket.Settle(10)
		}
		return err != nil && fault.From(err).Wait.Within("budget:tenant")
	})
	other, err := g.Admit(t.Context(), "openai", "other", budget.Amount{Nano: 10, Requests: 1})
	if err != nil {
		t.Fatalf("another tenant: %v", err)
	}
	other.Settle(10)
}

// A process that dies forfeits what it held, and only that; what it held cannot
// be spent twice.
func TestADeadProcessForfeitsItsLease(t *testing.T) {
	w := newWorld(t)
	w.terms = ledger.Terms{TTL: time.Second, Margin: 500 * time.Millisecond, Call: time.Second}
	w.costd("a", day(10_000))
	nc, _ := w.connect()
	r := budget.Request{Lease: "dead", N: 1, Service: "openai", Tenant: "acme", Time: w.now(), Need: budget.Amount{Nano: 4000, Requests: 4}, Seconds: 1}
	var first, again budget.Answer
	ask(t, nc, r, &first)
	ask(t, nc, r, &again) // lost on the way back, and asked again
	if first != again || first.Granted.Nano != 4000 {
		t.Fatalf("answers %+v and %+v", first, again)
	}
	if settled, reserved := w.spent(); settled.Nano != 0 || reserved.Nano != 4000 {
		t.Fatalf("settled %v, reserved %v", settled, reserved)
	}
	natstest.Eventually(t, 20*time.Second, "reclaimed", func() bool {
		settled, reserved := w.spent()
		return settled.Nano == 4000 && reserved.IsZero()
	})
	r.N, r.Used, r.Need = 2, budget.Amount{Nano: 1000, Requests: 1}, budget.Amount{}
	ask(t, nc, r, &again)
	if !again.Gone {
		t.Errorf("a reclaimed lease lives: %+v", again)
	}
	if settled, _ := w.spent(); settled.Nano != 4000 {
		t.Errorf("settled %v after the dead spoke", settled)
	}
}
