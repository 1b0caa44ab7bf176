package costd_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/broker"
	"sluice/pkg/budget"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/natstest"
	"sluice/services/costd"
	"sluice/services/costd/ledger"
)

const (
	budgetStream = "KV_" + events.BucketBudget
	markStream   = "KV_" + events.BucketPipeline
)

// spender is a stage that pays: it spends, and tells what it spent as the guard
// of a provider does.
type spender struct {
	w    *world
	g    *budget.Gate
	js   jetstream.JetStream
	name string
	n    int
}

func (s *spender) call(nano int64) error {
	s.w.t.Helper()
	tk, err := s.g.Admit(s.w.t.Context(), "openai", s.name, budget.Amount{Nano: nano, Requests: 1})
	if err != nil {
		return err
	}
	s.n++
	s.w.nano.Add(nano)
	s.w.calls.Add(1)
	tk.Settle(nano)
	u := events.Usage{
		V: events.Version, ID: fmt.Sprint(s.name, "-", s.n, "-", tk.ID()), Service: "openai", Operation: "embed", Model: "m", Stage: "embedder", Tenant: s.name,
		Outcome: events.OutcomeCharged, Nano: nano, Estimate: nano, Time: tk.Time.UTC(),
	}
	if _, err := s.js.Publish(s.w.t.Context(), events.UsageSubject("openai", "embed"), events.Encode(u)); err != nil {
		s.w.t.Fatal(err)
	}
	return nil
}

func (w *world) spender(name string) *spender {
	nc, js := w.connect()
	g, err := budget.NewGate(w.t.Context(), budget.Config{Conn: nc, JS: js, Log: w.log(), Now: w.now, Call: time.Second})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_ = g.Close(ctx) // costd may be gone already
	})
	return &spender{w: w, g: g, js: js, name: name}
}

func (w *world) remove(streams ...string) {
	w.t.Helper()
	_, js := w.connect()
	for _, s := range streams {
		if err := js.DeleteStream(w.t.Context(), s); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) ledgers(ask string, mark uint64) (d budget.Doubt) {
	w.t.Helper()
	nc, _ := w.connect()
	natstest.Eventually(w.t, 20*time.Second, "an answer about the ledgers", func() bool {
		m, err := nc.Request(budget.SubjectSet, encode(w.t, budget.Change{Scope: budget.Global, Ledger: ask, Mark: mark}), 5*time.Second)
		if err == nil {
			d = budget.Doubt{}
			decode(w.t, m.Data, &d)
		}
		return err == nil
	})
	return d
}

// marked waits until what was spent has reached the mark.
func (w *world) settled(nano int64) {
	w.t.Helper()
	natstest.Eventually(w.t, 20*time.Second, "the ledger has it", func() bool {
		s, _ := w.spent()
		return s.Nano >= nano
	})
}

// The ledgers are restored from a backup, or gone. What was spent since is in none
// of them. costd grants nothing, however often it is started, until a person has
// seen what is lost. Then it counts what the usage events tell. The provider's
// meter never passes the limit.
func TestLedgersThatHaveForgotten(t *testing.T) {
	const limit = 1_000_000
	ensure := func(w *world) {
		_, js := w.connect()
		if err := broker.Ensure(w.t.Context(), js, broker.DefaultTopology(), costd.Service); err != nil {
			w.t.Fatal(err)
		}
	}
	for name, lose := range map[string]func(w *world, nc *nats.Conn, before map[string]*natstest.Backup){
		"the bucket is restored": func(w *world, nc *nats.Conn, before map[string]*natstest.Backup) {
			w.remove(budgetStream)
			before[budgetStream].Restore(w.t, nc, budgetStream)
		},
		"the bucket is deleted": func(w *world, _ *nats.Conn, _ map[string]*natstest.Backup) {
			w.remove(budgetStream)
			ensure(w)
		},
		"the bucket and its mark are restored": func(w *world, nc *nats.Conn, before map[string]*natstest.Backup) {
			w.remove(budgetStream, markStream)
			before[budgetStream].Restore(w.t, nc, budgetStream)
			before[markStream].Restore(w.t, nc, markStream)
		},
		"the bucket and its mark are deleted": func(w *world, _ *nats.Conn, _ map[string]*natstest.Backup) {
			w.remove(budgetStream, markStream)
			ensure(w)
		},
		"the mark and the usage events are deleted, a stage remembers": func(w *world, nc *nats.Conn, before map[string]*natstest.Backup) {
			w.remove(budgetStream, markStream, events.StreamCosts)
			before[budgetStream].Restore(w.t, nc, budgetStream)
			ensure(w)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.terms = ledger.Terms{TTL: 2 * time.Second, Margin: time.Second, Call: time.Second}
			a := w.costd("a", day(limit))
			s := w.spender("acme")
			if err := s.call(100_000); err != nil {
				t.Fatal(err)
			}
			w.settled(100_000)
			nc, _ := w.connect()
			before := map[string]*natstest.Backup{budgetStream: natstest.TakeBackup(t, nc, budgetStream), markStream: natstest.TakeBackup(t, nc, markStream)}
			for range 8 {
				if err := s.call(100_000); err != nil {
					t.Fatal(err)
				}
			}
			w.settled(900_000)
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
			lose(w, nc, before)
			remembers := strings.Contains(name, "remembers")
			if !remembers {
				s = w.spender("acme") // one that has seen nothing
			}

			// Each start was a step towards granting again.
			for i := range 4 {
				c := w.costd(fmt.Sprint("b", i), day(limit))
				natstest.Eventually(t, time.Minute, fmt.Sprint("a doubt after start ", i), func() bool {
					if remembers {
						_ = s.call(300_000) // it tells what it has seen, once there is a leader
					}
					return w.ledgers(budget.LedgerShow, 0).Reason != ""
				})
				if err := s.call(300_000); err == nil {
					t.Fatal("granted by ledgers that have forgotten")
				} else if f := fault.From(err); f.Class != fault.CostLimit || f.Wait != "budget:global" {
					t.Fatalf("refused with %+v", f)
				}
				nc, _ := w.connect()
				m, err := nc.Request(budget.SubjectSet, encode(t, budget.Change{Scope: budget.Global, DayRequests: new(int64)}), 5*time.Second)
				if err != nil || !strings.Contains(string(m.Data), `"error"`) {
					t.Fatalf("limits were changed: %s %v", m.Data, err)
				}
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if got := w.nano.Load(); got != 900_000 {
				t.Fatalf("the meter says %d", got)
			}
			w.costd("c", day(limit))
			if remembers {
				_ = s.call(300_000)
			}
			d := w.ledgers(budget.LedgerShow, 0)
			if d := w.ledgers(budget.LedgerAccept, d.Mark+1); d.Accepted || d.Error == "" {
				t.Errorf("accepted for another doubt: %+v", d)
			}
			if !remembers {
				if r := d.Rows[1]; r.Window != "day" || r.Costs != 900_000 || r.Lost() < 700_000 {
					t.Errorf("what is lost: %+v", d)
				}
			}
			natstest.Eventually(t, 20*time.Second, "accepted", func() bool { return w.ledgers(budget.LedgerAccept, d.Mark).Accepted })
			if d := w.ledgers(budget.LedgerShow, 0); d.Reason != "" {
				t.Fatalf("still a doubt: %+v", d)
			}
			if remembers {
				return // nobody knows what was spent: it is on the person who accepts
			}
			// What the usage events know is in the ledger: 90,000 are left, and 10,000 for searches.
			natstest.Eventually(t, 20*time.Second, "it goes on", func() bool { return s.call(80_000) == nil })
			if err := s.call(80_000); err == nil {
				t.Error("granted over the limit")
			}
			if got := w.nano.Load(); got != 980_000 {
				t.Errorf("the meter says %d, the limit is %d", got, limit)
			}
		})
	}
}

// The right bucket comes back while costd refuses: it goes on by itself.
func TestTheRightLedgersAreBack(t *testing.T) {
	w := newWorld(t)
	a := w.costd("a", day(1_000_000))
	s := w.spender("acme")
	if err := s.call(1000); err != nil {
		t.Fatal(err)
	}
	w.settled(1000)
	nc, _ := w.connect()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	right := natstest.TakeBackup(t, nc, budgetStream)
	w.remove(budgetStream)
	_, js := w.connect()
	if err := broker.Ensure(t.Context(), js, broker.DefaultTopology(), costd.Service); err != nil {
		t.Fatal(err)
	}
	w.costd("b", day(1_000_000))
	if d := w.ledgers(budget.LedgerShow, 0); d.Reason == "" {
		t.Fatal("no doubt")
	}
	w.remove(budgetStream)
	right.Restore(t, nc, budgetStream)
	natstest.Eventually(t, 40*time.Second, "it goes on", func() bool { return s.call(1000) == nil })
}

// A call that is under way in a lease of the lost ledgers is counted when its
// stage tells of it, once.
func TestALeaseThatNobodyKnowsCountsAsSpent(t *testing.T) {
	w := newWorld(t)
	w.costd("a", day(10_000))
	nc, _ := w.connect()
	r := budget.Request{
		Lease: "lost", N: 7, Service: "openai", Tenant: "acme", Time: w.now(), Sent: w.now(),
		Used: budget.Amount{Nano: 1000, Requests: 1}, Keep: budget.Amount{Nano: 2000, Requests: 2},
	}
	var a budget.Answer
	for range 3 {
		if ask(t, nc, r, &a); !a.Gone {
			t.Fatalf("%+v", a)
		}
	}
	if settled, reserved := w.spent(); settled != (budget.Amount{Nano: 3000, Requests: 3}) || !reserved.IsZero() {
		t.Errorf("settled %+v, out %+v", settled, reserved)
	}
}

// Ready means that it can grant, or that another does.
func TestReadiness(t *testing.T) {
	w := newWorld(t)
	var why [2]atomic.Pointer[string]
	start := func(i int, name string) *costd.Grantor {
		nc, js := w.connect()
		g, err := costd.NewGrantor(t.Context(), costd.GrantorConfig{
			Conn: nc, JS: js, Log: w.log(), Name: name, Now: w.now, Terms: w.terms, Down: func(s string) { why[i].Store(&s) },
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = g.Close() }) // may be closed already
		return g
	}
	says := func(i int, text string) {
		t.Helper()
		natstest.Eventually(t, 30*time.Second, fmt.Sprintf("%d says %q", i, text), func() bool {
			s := why[i].Load()
			return s != nil && (text == "") == (*s == "") && strings.Contains(*s, text)
		})
	}
	a := start(0, "a")
	says(0, "")
	start(1, "b")
	says(1, "")
	s := w.spender("acme")
	if err := s.call(1000); err != nil {
		t.Fatal(err)
	}
	w.settled(1000)
	w.remove(budgetStream)
	says(0, "cannot")
	if err := a.Close(); err == nil {
		t.Log("closed without its bucket")
	}
	_, js := w.connect()
	if err := broker.Ensure(t.Context(), js, broker.DefaultTopology(), costd.Service); err != nil {
		t.Fatal(err)
	}
	says(1, "accept-ledger")
}

// A leader that reads while another one commits may see a part of a commit. It
// reads again then: a number of its own making would be heard by the stages, and
// end the grants of all who come after.
func TestAPartOfACommitIsNoLedger(t *testing.T) {
	w := newWorld(t)
	_, js := w.connect()
	kv, err := js.KeyValue(t.Context(), events.BucketBudget)
	if err != nil {
		t.Fatal(err)
	}
	put := func(key, value string) {
		t.Helper()
		if _, err := kv.PutString(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 { // other entries count the stream up
		put("note", "x")
	}
	limits := "limits." + string(budget.Tenant("acme"))
	put("commit", `{"n":2}`)
	put(limits, `{"epoch":1}`) // of commit 3, which is on its way
	w.costd("a", day(100_000))
	natstest.Eventually(t, 20*time.Second, "it has taken the lead", func() bool { _, err := kv.Get(t.Context(), "leader"); return err == nil })
	s := w.spender("acme")
	if s.call(1000) == nil {
		t.Error("granted by a part of a commit")
	}
	put("commit", `{"n":3}`)
	natstest.Eventually(t, 20*time.Second, "a grant", func() bool { return s.call(1000) == nil })
	e, err := kv.Get(t.Context(), "commit")
	if err != nil {
		t.Fatal(err)
	}
	var commit struct{ N uint64 }
	decode(t, e.Value(), &commit)
	if commit.N <= 3 || commit.N > 20 { // the stream's sequence is above 50
		t.Errorf("the newest commit is %d, want a few more than 3", commit.N)
	}
}
