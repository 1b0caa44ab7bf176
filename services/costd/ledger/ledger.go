// Package ledger is the arithmetic of the budget: what a lease request does to
// the ledgers of its path. It has neither a clock nor a network; the grantor
// around it makes what it decides durable, all of it or nothing.
package ledger

import (
	"encoding/json"
	"math"
	"time"

	"sluice/pkg/budget"
)

// Ledger is a scope's account of one window. KV key ledger.<scope>.<window>.
//
// What is out is one sum, however many leases there are. Each lease is an entry
// of its own and changes in the same commit.
type Ledger struct {
	LimitNano     *int64        // as of the last change, for readers
	LimitRequests *int64        // likewise
	Settled       budget.Amount // spent
	Out           budget.Amount // out on leases, and not settled
	Leases        int64         // that have something out
}

// written is a ledger as it is kept. Releases before wrote each lease into Open;
// they read the sum under a name of no lease.
type written struct {
	LimitNano     *int64                   `json:"limit_nano,omitempty"`
	LimitRequests *int64                   `json:"limit_requests,omitempty"`
	Settled       budget.Amount            `json:"settled"`
	Open          map[string]budget.Amount `json:"open,omitempty"`
	Leases        int64                    `json:"leases,omitempty"`
}

const allLeases = "*"

// MarshalJSON writes the ledger.
func (l Ledger) MarshalJSON() ([]byte, error) {
	w := written{LimitNano: l.LimitNano, LimitRequests: l.LimitRequests, Settled: l.Settled, Leases: l.Leases}
	if !l.Out.IsZero() {
		w.Open = map[string]budget.Amount{allLeases: l.Out}
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads a ledger of this release or one before.
func (l *Ledger) UnmarshalJSON(data []byte) error {
	var w written
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	*l = Ledger{LimitNano: w.LimitNano, LimitRequests: w.LimitRequests, Settled: w.Settled, Leases: w.Leases}
	for id, a := range w.Open {
		l.Out = l.Out.Plus(a)
		if id != allLeases {
			l.Leases++
		}
	}
	return nil
}

// Lease is what costd knows of a lease. KV key lease.<id>.
type Lease struct {
	Service string        `json:"service"`
	Tenant  string        `json:"tenant"`
	Query   bool          `json:"query,omitempty"`
	Time    time.Time     `json:"time"`    // decides the windows
	Expires time.Time     `json:"expires"` // costd's clock: reclaimed after it
	Out     budget.Amount `json:"out"`
	Closed  bool          `json:"closed,omitempty"`
	Answer  budget.Answer `json:"answer"` // to the latest n
}

// Path returns the scopes that the lease is charged to.
func (l *Lease) Path() []budget.Scope {
	if l.Query {
		return budget.QueryPath(l.Service)
	}
	return budget.Path(l.Service, l.Tenant)
}

// Account is a ledger with the limits that hold for it.
type Account struct {
	Scope  budget.Scope
	Window budget.Window
	Limits budget.Limits
	// Kept is money that this lease may not have, because it is for queries:
	// Kept of the limit in all, Left of it not used yet.
	Kept, Left int64
	// MoneyOnly marks an account that does not count the lease's requests.
	MoneyOnly bool
	*Ledger
}

// Headroom returns what may still be granted: never below zero, and the largest
// number where there is no limit.
func (a Account) Headroom() budget.Amount {
	room := func(limit *int64, settled, out int64) int64 {
		if limit == nil {
			return math.MaxInt64
		}
		return max(0, *limit-settled-out)
	}
	nano, requests := a.Limits.In(a.Window)
	if a.Limits.Frozen {
		return budget.Amount{}
	}
	if a.MoneyOnly {
		requests = nil
	}
	return budget.Amount{Nano: room(nano, a.Settled.Nano+a.Left, a.Out.Nano), Requests: room(requests, a.Settled.Requests, a.Out.Requests)}
}

// Terms are costd's settings.
type Terms struct {
	TTL    time.Duration // how long a stage may admit after sending
	Margin time.Duration // between a stage's stop and costd's reclaim, besides the longest call
	Call   time.Duration // the longest call, if the request does not say
}

// Accounts returns the accounts that a lease is charged to.
type Accounts func(lease *Lease) []Account

// Apply does what a request asks for, on l and on the accounts of its path, and
// returns the answer. l is nil if the lease is not known. A nil lease comes back
// if nothing has to be kept.
//
// The rules, whatever is asked for: out of an account goes only what its
// headroom has; what a lease has out and neither gives back nor keeps is
// settled; a repeat of the latest n changes nothing.
func Apply(r budget.Request, l *Lease, accounts Accounts, now time.Time, t Terms) (budget.Answer, *Lease, bool) {
	answer := budget.Answer{Lease: r.Lease, N: r.N, TTL: t.TTL}
	gone := func() (budget.Answer, *Lease, bool) {
		answer.Gone = true
		return answer, l, false
	}
	switch {
	case r.Used.Nano < 0 || r.Used.Requests < 0 || r.Keep.Nano < 0 || r.Keep.Requests < 0 ||
		r.Need.Nano < 0 || r.Need.Requests < 0 || r.Want.Nano < 0 || r.Want.Requests < 0:
		answer.Error = "negative amounts"
		return answer, l, false
	case l != nil && r.N == l.Answer.N:
		return l.Answer, l, false
	case l != nil && (l.Closed || r.N != l.Answer.N+1), l == nil && r.N != 1:
		return gone()
	}
	if l == nil {
		l = &Lease{Service: r.Service, Tenant: r.Tenant, Query: r.Query, Time: r.Time.UTC()}
	} else {
		c := *l
		l = &c
	}
	path := accounts(l)

	// What is out: Used is spent, Keep stays, the rest comes back. Should a call
	// have cost more than was out, all of it is booked all the same.
	keep := r.Keep.Least(budget.Amount{Nano: max(0, l.Out.Nano-r.Used.Nano), Requests: max(0, l.Out.Requests-r.Used.Requests)})
	if r.Close {
		keep = budget.Amount{}
	}
	for _, a := range path {
		a.settle(r.Used)
		a.move(l.Out, keep)
	}

	// What more may go out.
	if !r.Close {
		room := budget.Amount{Nano: math.MaxInt64, Requests: math.MaxInt64}
		for _, a := range path {
			room = room.Least(a.Headroom())
		}
		answer.Granted = grant(r, room, path)
		if !answer.Granted.Covers(r.Need) {
			answer.Refusal = refusal(r, path) // before the grant goes out
		}
		for _, a := range path {
			a.move(keep, keep.Plus(answer.Granted))
		}
	}
	answer.Keep = keep
	l.Out = keep.Plus(answer.Granted)
	l.Closed = r.Close
	call := t.Call
	if r.Seconds > 0 {
		call = time.Duration(r.Seconds) * time.Second
	}
	l.Expires = now.Add(t.TTL + t.Margin + call)
	l.Answer = answer
	return answer, l, true
}

// grant decides how much goes out: what waits first, then something ahead of
// need, less and less of it as the headroom runs out, so that no lease hoards
// what another one waits for.
func grant(r budget.Request, room budget.Amount, path []Account) budget.Amount {
	if !room.Covers(r.Least) {
		return budget.Amount{} // it would only come back, and wake everyone who waits
	}
	g := r.Need.Least(room)
	leases := int64(1)
	for _, a := range path {
		leases = max(leases, a.Leases)
	}
	left := room.Minus(g)
	return g.Plus(r.Want.Least(budget.Amount{Nano: left.Nano / (2 * leases), Requests: left.Requests / (2 * leases)}))
}

// refusal names the limit that stands most in the way: the one that will be
// there longest.
func refusal(q budget.Request, path []Account) *budget.Refusal {
	var worst *budget.Refusal
	worse := func(r budget.Refusal) {
		if worst == nil || (r.Never && !worst.Never) || (r.Never == worst.Never && r.Resets.After(worst.Resets)) {
			worst = &r
		}
	}
	for _, a := range path {
		room := a.Headroom()
		nano, requests := a.Limits.In(a.Window)
		r := budget.Refusal{Scope: a.Scope, Window: a.Window.Name(), Resets: a.Window.End()}
		switch {
		case a.Limits.Frozen:
			r.What, r.Window = "frozen", ""
			worse(r)
		case nano != nil && room.Nano < q.Need.Nano:
			r.What, r.Limit, r.Kept, r.Needs = "money", *nano-a.Kept, a.Kept, q.Call.Nano
			if r.Never = q.Call.Nano > r.Limit; a.Kept > 0 {
				r.Needs = budget.Whole(q.Call.Nano)
			}
			worse(r)
		case a.MoneyOnly:
		case requests != nil && room.Requests < q.Need.Requests:
			r.What, r.Limit, r.Never, r.Needs = "requests", *requests, q.Call.Requests > *requests, q.Call.Requests
			worse(r)
		}
	}
	return worst
}

// Reclaim closes a lease whose stage has not been heard of: all that is out
// counts as spent.
func Reclaim(l *Lease, accounts Accounts) *Lease {
	c := *l
	for _, a := range accounts(&c) {
		a.settle(c.Out)
		a.move(c.Out, budget.Amount{})
	}
	c.Out, c.Closed = budget.Amount{}, true
	return &c
}

// Lost books what a stage tells of a lease that nobody knows: the ledgers were
// restored from an older state, or the stage was silent for very long. What it
// has spent and what it still holds counts as spent. The lease that comes back
// is closed, so that a repeat changes nothing.
func Lost(r budget.Request, accounts Accounts, now time.Time, t Terms) (budget.Answer, *Lease) {
	l := &Lease{
		Service: r.Service, Tenant: r.Tenant, Query: r.Query, Time: r.Time.UTC(), Expires: now.Add(t.TTL + t.Margin), Closed: true,
		Answer: budget.Answer{Lease: r.Lease, N: r.N, TTL: t.TTL, Gone: true},
	}
	for _, a := range accounts(l) {
		a.settle(r.Used.Plus(r.Keep))
	}
	return l.Answer, l
}

func (a Account) counted(v budget.Amount) budget.Amount {
	if a.MoneyOnly {
		v.Requests = 0
	}
	return v
}

func (a Account) settle(used budget.Amount) { a.Settled = a.Settled.Plus(a.counted(used)) }

// move changes what one lease has out.
func (a Account) move(from, to budget.Amount) {
	a.Out = a.Out.Plus(a.counted(to)).Minus(a.counted(from))
	switch {
	case from.IsZero() && !to.IsZero():
		a.Leases++
	case !from.IsZero() && to.IsZero():
		a.Leases--
	}
}
