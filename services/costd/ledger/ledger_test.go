package ledger_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"sluice/pkg/budget"
	"sluice/services/costd/ledger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// model is a bucket, a clock, and some processes that may be told lies by the
// network: requests are repeated, answers are lost, processes die.
type model struct {
	ledgers map[string]*ledger.Ledger
	leases  map[string]*ledger.Lease
	limits  map[budget.Scope]budget.Limits
	stages  map[string]*stage
	now     time.Time
	terms   ledger.Terms
	spent   map[string]budget.Amount // the provider's meter, by ledger key
	lost    map[string]budget.Amount // reclaimed, by ledger key
	serial  int
}

// stage is one process's side of one lease.
type stage struct {
	id, tenant    string
	began         time.Time
	n             uint64
	balance, used budget.Amount
	deadline      time.Time
	pending       *budget.Request // sent, and not answered
	sent          time.Time
}

var scopes = []budget.Scope{budget.Global, budget.Service("openai"), budget.Tenant("a"), budget.Tenant("b")}

func (m *model) accounts(l *ledger.Lease) (all []ledger.Account) {
	for _, s := range budget.Path(l.Service, l.Tenant) {
		for _, w := range budget.Windows(l.Time) {
			key := budget.LedgerKey(s, w)
			if m.ledgers[key] == nil {
				m.ledgers[key] = &ledger.Ledger{}
			}
			all = append(all, ledger.Account{Scope: s, Window: w, Limits: m.limits[s], Ledger: m.ledgers[key]})
		}
	}
	return all
}

func (m *model) path(tenant string, at time.Time) (keys []string) {
	for _, s := range budget.Path("openai", tenant) {
		for _, w := range budget.Windows(at) {
			keys = append(keys, budget.LedgerKey(s, w))
		}
	}
	return keys
}

// deliver has costd handle a request; the answer may never arrive.
func (m *model) deliver(s *stage, lose bool) {
	r := *s.pending
	a, l, changed := ledger.Apply(r, m.leases[r.Lease], m.accounts, m.now, m.terms)
	if changed {
		m.leases[r.Lease] = l
	}
	if lose {
		return
	}
	s.pending = nil
	if a.Gone || r.Close {
		delete(m.stages, s.id)
		return
	}
	s.balance = s.balance.Plus(a.Granted).Minus(r.Keep.Minus(a.Keep))
	s.deadline = s.sent.Add(a.TTL)
}

func amount(t *rapid.T, label string, most int64) budget.Amount {
	return budget.Amount{Nano: rapid.Int64Range(0, most).Draw(t, label), Requests: rapid.Int64Range(0, 8).Draw(t, label+" requests")}
}

func TestTheMeterNeverPassesALimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := func(label string, most int64) *int64 {
			v := rapid.Int64Range(0, most).Draw(t, label)
			return &v
		}
		m := &model{
			ledgers: map[string]*ledger.Ledger{}, leases: map[string]*ledger.Lease{}, limits: map[budget.Scope]budget.Limits{},
			stages: map[string]*stage{}, spent: map[string]budget.Amount{}, lost: map[string]budget.Amount{},
			now:   time.Date(2026, 11, 24, 22, 50, 0, 0, time.UTC),
			terms: ledger.Terms{TTL: 30 * time.Second, Margin: 5 * time.Second, Call: 10 * time.Second},
		}
		m.limits[budget.Global] = budget.Limits{HourNano: limit("hour", 2000), DayNano: limit("day", 4000), HourRequests: limit("requests", 60)}
		m.limits[budget.Tenant("a")] = budget.Limits{DayNano: limit("tenant", 2000)}
		highest := maps.Clone(m.limits) // no limit is lowered here: see TestLowering

		pick := func(t *rapid.T) *stage {
			var ids []string
			for id := range m.stages {
				ids = append(ids, id)
			}
			if len(ids) == 0 {
				t.Skip("no process")
			}
			slices.Sort(ids)
			return m.stages[rapid.SampledFrom(ids).Draw(t, "process")]
		}
		t.Repeat(map[string]func(*rapid.T){
			"start": func(t *rapid.T) {
				m.serial++
				id := fmt.Sprint("lease", m.serial)
				m.stages[id] = &stage{id: id, tenant: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "tenant"), began: m.now}
			},
			"ask": func(t *rapid.T) {
				s := pick(t)
				if s.pending != nil {
					t.Skip("asks already")
				}
				s.n++
				r := budget.Request{Lease: s.id, N: s.n, Service: "openai", Tenant: s.tenant, Time: s.began, Used: s.used, Seconds: 10}
				s.used = budget.Amount{}
				if rapid.Bool().Draw(t, "give back") {
					s.balance = budget.Amount{}
				}
				if m.now.Before(s.began.Truncate(time.Hour).Add(time.Hour)) {
					r.Need, r.Want = amount(t, "need", 400), amount(t, "want", 800)
				}
				r.Keep = s.balance
				r.Close = s.balance.IsZero() && rapid.IntRange(0, 3).Draw(t, "close") == 0
				s.pending, s.sent = &r, m.now
			},
			"deliver": func(t *rapid.T) {
				s := pick(t)
				if s.pending == nil {
					t.Skip("asks nothing")
				}
				m.deliver(s, rapid.Bool().Draw(t, "the answer is lost"))
			},
			"spend": func(t *rapid.T) {
				s := pick(t)
				cost := budget.Amount{Nano: rapid.Int64Range(0, max(0, s.balance.Nano)).Draw(t, "cost"), Requests: 1}
				if !m.now.Before(s.deadline) || !s.balance.Covers(cost) {
					t.Skip("not admitted")
				}
				s.balance, s.used = s.balance.Minus(cost), s.used.Plus(cost)
				for _, k := range m.path(s.tenant, s.began) {
					m.spent[k] = m.spent[k].Plus(cost)
				}
			},
			"die": func(t *rapid.T) { delete(m.stages, pick(t).id) },
			"time": func(t *rapid.T) {
				m.now = m.now.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "seconds")) * time.Second)
				for id, l := range m.leases {
					if !l.Closed && m.now.After(l.Expires) {
						for _, k := range m.path(l.Tenant, l.Time) {
							m.lost[k] = m.lost[k].Plus(l.Out)
						}
						m.leases[id] = ledger.Reclaim(l, m.accounts)
					}
				}
			},
			"raise": func(t *rapid.T) {
				l := m.limits[budget.Global]
				more := *l.DayNano + rapid.Int64Range(0, 500).Draw(t, "more")
				l.DayNano = &more
				m.limits[budget.Global], highest[budget.Global] = l, l
			},
			"": func(t *rapid.T) {
				for _, s := range scopes {
					for _, at := range []time.Time{m.now, m.now.Add(-time.Hour)} {
						for _, w := range budget.Windows(at) {
							key := budget.LedgerKey(s, w)
							l := m.ledgers[key]
							if l == nil {
								continue
							}
							nano, requests := highest[s].In(w)
							out := l.Settled.Plus(l.Out)
							if nano != nil && out.Nano > *nano || requests != nil && out.Requests > *requests {
								t.Fatalf("I1: %s has %+v settled and out, limits %v and %v", key, out, deref(nano), deref(requests))
							}
							if known := m.spent[key].Plus(m.lost[key]); l.Settled.Nano > known.Nano || l.Settled.Requests > known.Requests {
								t.Fatalf("I4: %s has settled %+v, spent and lost are %+v", key, l.Settled, known)
							}
							if spent := m.spent[key]; spent.Nano > out.Nano || spent.Requests > out.Requests {
								t.Fatalf("%s: the meter says %+v, the ledger only %+v", key, spent, out)
							}
						}
					}
				}
				for _, s := range m.stages {
					held := s.used.Plus(s.balance)
					if s.pending != nil {
						held = held.Plus(s.pending.Used)
					}
					if l := m.leases[s.id]; l != nil && !l.Closed && (held.Nano > l.Out.Nano || held.Requests > l.Out.Requests) {
						if s.pending == nil || l.Answer.N != s.pending.N { // costd is ahead of the stage
							t.Fatalf("I2: %s holds %+v, out is %+v", s.id, held, l.Out)
						}
					}
				}
			},
		})
	})
}

func deref(v *int64) any {
	if v == nil {
		return "none"
	}
	return *v
}

func TestLowering(t *testing.T) {
	low := int64(100)
	l := &ledger.Ledger{Settled: budget.Amount{Nano: 80}, Out: budget.Amount{Nano: 50, Requests: 2}, Leases: 1}
	a := ledger.Account{Scope: budget.Global, Window: budget.Windows(time.Now())[1], Limits: budget.Limits{DayNano: &low}, Ledger: l}
	if room := a.Headroom(); room.Nano != 0 {
		t.Errorf("130 out of 100 leave %d", room.Nano)
	}
	answer, lease, changed := ledger.Apply(budget.Request{
		Lease: "x", N: 2, Service: "s", Tenant: "t", Used: budget.Amount{Nano: 10, Requests: 1},
		Keep: budget.Amount{Nano: 40, Requests: 1}, Need: budget.Amount{Nano: 20, Requests: 1}, Call: budget.Amount{Nano: 20, Requests: 1},
	}, &ledger.Lease{Out: budget.Amount{Nano: 50, Requests: 2}, Answer: budget.Answer{N: 1}}, func(*ledger.Lease) []ledger.Account { return []ledger.Account{a} }, time.Now(), ledger.Terms{})
	if !changed || answer.Granted.Nano != 0 || answer.Refusal == nil || answer.Refusal.Never || lease.Out.Nano != 40 || l.Settled.Nano != 90 {
		t.Errorf("answer %+v, lease %+v, ledger %+v", answer, lease, l)
	}
}
