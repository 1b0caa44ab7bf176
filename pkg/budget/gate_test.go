package budget_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"sluice/pkg/broker"
	"sluice/pkg/budget"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/natstest"
	"sluice/pkg/provider"
)

// grantor speaks costd's side of the protocol, as each test wants it.
type grantor struct {
	mu     sync.Mutex
	answer func(budget.Request) *budget.Answer // nil = no answer
	heard  []budget.Request
}

func (g *grantor) say(f func(budget.Request) *budget.Answer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answer = f
}

func (g *grantor) requests() []budget.Request {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]budget.Request(nil), g.heard...)
}

// grants gives what is asked for.
func grants(r budget.Request) *budget.Answer {
	return &budget.Answer{Lease: r.Lease, N: r.N, Granted: r.Need, Keep: r.Keep, TTL: 30 * time.Second, Commit: 1}
}

// refuses says which limit stands in the way.
func refuses(refusal budget.Refusal) func(budget.Request) *budget.Answer {
	return func(r budget.Request) *budget.Answer {
		a := grants(r)
		if !r.Need.IsZero() {
			a.Granted, a.Refusal = budget.Amount{}, &refusal
		}
		return a
	}
}

// world is a server, a grantor and one gate on it.
type world struct {
	t     *testing.T
	url   string
	nc    *nats.Conn
	kv    jetstream.KeyValue
	js    jetstream.JetStream
	costd *grantor
	gate  *budget.Gate
	clock atomic.Int64 // added to the middle of an hour
	woken chan fault.Wait
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, url: natstest.Start(t, broker.DefaultTopology()), costd: &grantor{answer: grants}, woken: make(chan fault.Wait, 1000)}
	w.nc = natstest.Connect(t, w.url)
	var err error
	if w.js, err = jetstream.New(w.nc); err != nil {
		t.Fatal(err)
	}
	if w.kv, err = w.js.KeyValue(t.Context(), events.BucketBudget); err != nil {
		t.Fatal(err)
	}
	if _, err := w.nc.Subscribe(budget.SubjectLease, func(m *nats.Msg) {
		var r budget.Request
		if err := json.Unmarshal(m.Data, &r); err != nil {
			t.Error(err)
			return
		}
		w.costd.mu.Lock()
		w.costd.heard = append(w.costd.heard, r)
		a := w.costd.answer(r)
		w.costd.mu.Unlock()
		if a != nil {
			_ = m.Respond(events.Encode(a)) // the gate may be gone
		}
	}); err != nil {
		t.Fatal(err)
	}
	nc := natstest.Connect(t, w.url)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	middle := began.Truncate(time.Hour).Add(30 * time.Minute)
	w.gate, err = budget.NewGate(t.Context(), budget.Config{
		Conn: nc, JS: js, Log: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.ErrorLevel), Wait: 300 * time.Millisecond,
		Now:  func() time.Time { return middle.Add(time.Since(began) + time.Duration(w.clock.Load())) },
		Wake: func(key fault.Wait) { w.woken <- key },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.costd.say(grants)
		if err := w.gate.Stop(); err != nil {
			t.Errorf("close the gate: %v", err)
		}
	})
	return w
}

func (w *world) admit(tenant string, nano int64) *fault.Error {
	w.t.Helper()
	tk, err := w.gate.Admit(w.t.Context(), "openai", tenant, budget.Amount{Nano: nano, Requests: 1})
	if err == nil {
		tk.Settle(nano)
	}
	return fault.From(err)
}

func (w *world) show(s budget.State) {
	w.t.Helper()
	if _, err := w.kv.Put(w.t.Context(), budget.StateKey(s.Scope), events.Encode(s)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) tell(subject, body string) {
	w.t.Helper()
	if err := w.nc.Publish(subject, []byte(body)); err != nil {
		w.t.Fatal(err)
	}
}

// wakes fails the test unless the gate wakes exactly these keys, in this order.
func (w *world) wakes(keys ...fault.Wait) {
	w.t.Helper()
	for _, want := range keys {
		select {
		case key := <-w.woken:
			if key != want {
				w.t.Errorf("woken: %s, want %s", key, want)
			}
		case <-time.After(20 * time.Second):
			w.t.Fatalf("nobody wakes %s", want)
		}
	}
	select {
	case key := <-w.woken:
		w.t.Errorf("woken as well: %s", key)
	default:
	}
}

var resets = time.Now().Add(3 * time.Hour)

// Every refusal names the key of what has to change, and a time that is for the
// wake-up that got lost.
func TestWhatRefusedCallsWaitFor(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(budget.Request) *budget.Answer
		clock  time.Duration
		reason string
		wait   fault.Wait
	}{
		"global":  {refuses(budget.Refusal{Scope: budget.Global, Window: "day", What: "money", Limit: 5000, Resets: resets}), 0, "budget", "budget:global"},
		"service": {refuses(budget.Refusal{Scope: "service.openai", Window: "hour", What: "requests", Limit: 5, Resets: resets}), 0, "budget", "budget:service.openai"},
		"tenant":  {refuses(budget.Refusal{Scope: "tenant.acme", Window: "day", What: "money", Limit: 5000, Resets: resets}), 0, "budget", "budget:tenant.acme"},
		"dearer than the limit": {
			refuses(budget.Refusal{Scope: budget.Global, Window: "day", What: "money", Limit: 50, Resets: resets, Never: true, Needs: 1000}),
			0, budget.ReasonOverLimit, "budget:over-limit.global#1000",
		},
		"no answer":         {func(budget.Request) *budget.Answer { return nil }, 0, "budget-unknown", "budget:global"},
		"a doubt":           {func(r budget.Request) *budget.Answer { return &budget.Answer{Lease: r.Lease, N: r.N, Error: "a doubt"} }, 0, "budget-unknown", "budget:global"},
		"the hour turns":    {grants, 30*time.Minute - time.Second, "budget", "budget:global"},
		"the hour has come": {grants, 30 * time.Minute, "budget", "budget:global"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.costd.say(c.answer)
			w.clock.Store(int64(c.clock))
			f := w.admit("acme", 1000)
			if f == nil || f.Class != fault.CostLimit || f.Reason != c.reason || f.Wait != c.wait || f.RetryAfter <= 0 || f.RetryAfter > 5*time.Minute {
				t.Fatalf("%+v", f)
			}
		})
	}
}

// What costd tells of one scope wakes who waits for it, and has the gate forget
// that it was refused. Others are not asked for again.
func TestAWakeUpIsOfOneScope(t *testing.T) {
	w := newWorld(t)
	w.costd.say(func(r budget.Request) *budget.Answer {
		return refuses(budget.Refusal{Scope: budget.Tenant(r.Tenant), Window: "day", What: "money", Limit: 5000, Resets: resets})(r)
	})
	for _, tenant := range []string{"acme", "zenith"} {
		if f := w.admit(tenant, 1000); f == nil || f.Wait != fault.On(fault.WaitBudget, "tenant."+tenant) {
			t.Fatalf("%+v", f)
		}
	}
	w.costd.say(grants)
	asked := len(w.costd.requests())
	w.tell(budget.SubjectWake, "tenant.acme\n")
	w.wakes("budget:tenant.acme")
	if f := w.admit("zenith", 1000); f == nil || len(w.costd.requests()) != asked {
		t.Errorf("zenith was not woken, and costd is asked: %+v", f)
	}
	if f := w.admit("acme", 1000); f != nil {
		t.Errorf("acme was woken: %+v", f)
	}
	w.tell(budget.SubjectWake, "") // a costd has taken the lead
	w.wakes("budget")
	if f := w.admit("zenith", 1000); f != nil {
		t.Errorf("all were woken: %+v", f)
	}
}

// What is shown of a scope wakes as well: the message may have been missed.
func TestAStateThatOpensWakes(t *testing.T) {
	w := newWorld(t)
	five, ten := int64(5000), int64(10_000)
	state := func(scope budget.Scope, word string, frozen bool, limit *int64) {
		w.show(budget.State{Scope: scope, State: word, Frozen: frozen, Windows: []budget.WindowState{{Window: "day", LimitNano: limit}}})
	}
	state("tenant.acme", "paused", false, &five)
	state("tenant.acme", "paused", false, &five) // nothing new
	state("tenant.acme", "open", false, &five)   // a new day
	w.wakes("budget:tenant.acme")
	state("tenant.acme", "open", false, &ten) // dearer calls may go
	w.wakes("budget:tenant.acme", "budget:over-limit.tenant.acme")
	state("tenant.acme", "open", false, &five)
	state("tenant.acme", "open", false, nil) // no limit any more
	w.wakes("budget:tenant.acme", "budget:over-limit.tenant.acme")
	state("service.openai", "paused", true, nil)
	natstest.Eventually(t, 10*time.Second, "frozen", func() bool { f := w.admit("acme", 1000); return f != nil && f.Wait == "budget:service.openai" })
	state("service.openai", "open", false, nil)
	w.wakes("budget:service.openai")
	if f := w.admit("acme", 1000); f != nil {
		t.Errorf("thawed: %+v", f)
	}
}

// Nobody answers for a while: the same request is sent again, with nothing but the
// time of sending changed, and the first answer wakes who waits.
func TestCostdIsHeardAgain(t *testing.T) {
	w := newWorld(t)
	w.costd.say(func(budget.Request) *budget.Answer { return nil })
	if f := w.admit("acme", 1000); f == nil || f.Reason != "budget-unknown" {
		t.Fatalf("%+v", f)
	}
	natstest.Eventually(t, 20*time.Second, "it asks again", func() bool { return len(w.costd.requests()) > 1 })
	w.costd.say(grants)
	w.wakes("budget:global")
	if f := w.admit("acme", 1000); f != nil {
		t.Fatalf("%+v", f)
	}
	all := w.costd.requests()
	first, last := all[0], all[1]
	if !last.Sent.After(first.Sent) || first.Sent.IsZero() {
		t.Errorf("sent %v and %v", first.Sent, last.Sent)
	}
	first.Sent = last.Sent
	if fmt.Sprintf("%+v", string(events.Encode(first))) != string(events.Encode(last)) {
		t.Errorf("another request:\n%s\n%s", events.Encode(first), events.Encode(last))
	}
}

// The hour of a lease has ended while nobody answered: another one is asked for.
func TestALeaseOfAPastHourIsForgotten(t *testing.T) {
	w := newWorld(t)
	first := ""
	w.costd.say(func(r budget.Request) *budget.Answer {
		if first == "" || r.Lease == first {
			first = r.Lease
			return &budget.Answer{Lease: r.Lease, N: r.N, Gone: true}
		}
		return grants(r)
	})
	if f := w.admit("acme", 1000); f != nil {
		t.Errorf("%+v", f)
	}
}

func TestWithoutCostdNothingIsBought(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	nc := natstest.Connect(t, url)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	g, err := budget.NewGate(t.Context(), budget.Config{
		Conn: nc, JS: js, Wait: 300 * time.Millisecond, Now: func() time.Time { return began.Truncate(time.Hour).Add(30*time.Minute + time.Since(began)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = g.Admit(t.Context(), "openai", "acme", budget.Amount{Nano: 1, Requests: 1})
	if f := fault.From(err); f == nil || f.Class != fault.CostLimit || f.Reason != "budget-unknown" {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := g.Close(ctx); err == nil {
		t.Error("a lease that costd never answered for was handed back")
	}
}

// What is told of a call: its cost, nothing, or the whole estimate.
func TestWhatIsTold(t *testing.T) {
	w := newWorld(t)
	one := budget.Amount{Nano: 1000, Requests: 1}
	for _, settle := range []func(*budget.Ticket){
		func(tk *budget.Ticket) { tk.Settle(300); tk.Settle(900) }, // once
		func(tk *budget.Ticket) { tk.SettleUnknown() },
		func(tk *budget.Ticket) { tk.Settle(0) },
		func(tk *budget.Ticket) { tk.Settle(1500) }, // more than the estimate
	} {
		tk, err := w.gate.Admit(t.Context(), "openai", "acme", one)
		if err != nil {
			t.Fatal(err)
		}
		settle(tk)
	}
	if err := w.gate.Stop(); err != nil {
		t.Fatal(err)
	}
	var used budget.Amount
	for _, r := range w.costd.requests() {
		used = used.Plus(r.Used)
	}
	if used != (budget.Amount{Nano: 2800, Requests: 4}) {
		t.Errorf("told %+v", used)
	}
	if f := w.admit("acme", 1); f == nil || f.Reason != "draining" || f.Wait == "" {
		t.Errorf("after the end: %+v", f)
	}
}

// service embeds for a price, or fails.
type service struct{ err error }

func (s service) Describe() provider.EmbedderInfo {
	return provider.EmbedderInfo{Service: "openai", Model: "m", NanoPerToken: 20}
}

func (s service) Embed(_ context.Context, in []provider.Input) (out provider.Embeddings, err error) {
	for _, i := range in {
		out.Tokens += i.Tokens
	}
	out.Nano = int64(out.Tokens) * 20
	return out, s.err
}

// Searches are charged to a scope of their own, and told as such.
func TestTheGuardOfQueries(t *testing.T) {
	w := newWorld(t)
	query := provider.Input{Text: "q", Tokens: 3, Owner: provider.Owner{Query: true}}
	text := provider.Input{Text: "t", Tokens: 4, Owner: provider.Owner{Tenant: "acme"}}
	p := budget.Embedder(w.gate, "embedder", service{})
	for _, in := range []provider.Input{query, text} {
		if _, err := p.Embed(t.Context(), []provider.Input{in}); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range w.costd.requests() {
		if r.Query != (r.Tenant == "query") || !r.Query && r.Tenant != "acme" {
			t.Errorf("asked: %+v", r)
		}
	}
	if _, err := p.Embed(t.Context(), []provider.Input{query, text}); fault.Of(err) != fault.Execution {
		t.Errorf("a call for both: %v", err)
	}
	if _, err := budget.Embedder(w.gate, "embedder", service{provider.Unbilled(errors.New("refused"))}).Embed(t.Context(), []provider.Input{query}); err == nil {
		t.Error("no failure")
	}
	stream, err := w.js.Stream(t.Context(), events.StreamCosts)
	if err != nil {
		t.Fatal(err)
	}
	for subject, want := range map[string]events.Usage{
		"cost.usage.openai.embed": {Tenant: "acme", Outcome: events.OutcomeCharged, Nano: 80},
		"cost.usage.openai.query": {Tenant: "query", Outcome: events.OutcomeUnbilled, Nano: 0},
	} {
		natstest.Eventually(t, 10*time.Second, subject, func() bool {
			m, err := stream.GetLastMsgForSubject(t.Context(), subject)
			if err != nil {
				return false
			}
			u, err := events.Decode[events.Usage](m.Data)
			return err == nil && u.Tenant == want.Tenant && u.Outcome == want.Outcome && u.Nano == want.Nano
		})
	}
}

func TestAmountsAreDecimal(t *testing.T) {
	for text, want := range map[string]int64{"0.02": 20, "0.0200001": 21, "0": 0, ".5": 500, "1000000": 1e9, "0.000000001": 1} {
		if nano, ok := budget.Price(text, 1_000_000); !ok || nano != want {
			t.Errorf("%q is %d %v, want %d", text, nano, ok, want)
		}
	}
	for _, text := range []string{"", ".", "1.", "0x10", "1e2", "1/3", "1_0", "-1", "+1", " 1", "1000001", "NaN", "Inf", "1.2.3", "१"} {
		if nano, ok := budget.Price(text, 1_000_000); ok {
			t.Errorf("%q is a price of %d", text, nano)
		}
	}
}
