package budget

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// leaseKey names a lease. Retired is 0 for the one that admits, and a number for
// those before it that still have calls under way.
type leaseKey struct {
	payer
	hour    int64 // since 1970
	retired uint64
}

// lease is money that this process may spend on one path in one hour.
//
//	what is out at costd >= balance + held + used + inFlight.Used
type lease struct {
	payer
	id       string
	time     time.Time // decides the windows
	end      time.Time // of the hour, by the wall clock
	n        uint64
	balance  Amount
	held     Amount    // calls under way
	used     Amount    // settled, and not yet told
	deadline time.Time // monotonic: nothing is admitted after it
	refusal  *Refusal
	refused  time.Time // when
	waiting  map[*waiter]struct{}
	changed  chan struct{} // closed at each answer
	filling  bool
	giveBack bool // hand the idle balance back with the next request
	closing  bool
	gone     bool
	failure  string // why costd cannot grant

	rate  float64 // nano-dollars a second, decaying
	calls float64 // a second, decaying
	last  time.Time
}

type waiter struct{ need Amount }

func (l *lease) notify() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// lease returns the lease of a path for now, made if needed. Callers hold mu.
func (g *Gate) lease(p payer, now time.Time) *lease {
	key := leaseKey{payer: p, hour: now.Unix() / 3600}
	l := g.leases[key]
	if l == nil || l.gone || l.closing {
		if l != nil { // its calls under way settle on their own
			old := key
			old.retired = g.serial
			g.leases[old] = l
		}
		g.serial++
		l = &lease{
			id: fmt.Sprintf("%s-%d", g.instance, g.serial), payer: p, time: now, end: Windows(now)[0].End(),
			waiting: map[*waiter]struct{}{}, changed: make(chan struct{}),
		}
		g.leases[key] = l
	}
	return l
}

// spend keeps the rate; ahead says what the rate uses up in some seconds.
func (l *lease) spend(a Amount, now time.Time) {
	if s := now.Sub(l.last).Seconds(); s < 4 {
		l.rate, l.calls = l.rate*(1-s/4), l.calls*(1-s/4)
	} else {
		l.rate, l.calls = 0, 0
	}
	l.last = now
	l.rate += float64(a.Nano) / 4
	l.calls += float64(a.Requests) / 4
}

func (l *lease) ahead(seconds float64) Amount {
	return Amount{int64(l.rate * seconds), int64(l.calls * seconds)}
}

// fill starts to ask costd, unless somebody does. Callers hold mu.
func (g *Gate) fill(l *lease) {
	if l.filling || l.gone || g.ctx.Err() != nil {
		return
	}
	l.filling = true
	g.running.Go(func() { g.ask(l) })
}

// ask sends requests until there is nothing left to say.
func (g *Gate) ask(l *lease) {
	g.mu.Lock()
	defer func() {
		l.filling = false
		g.mu.Unlock()
	}()
	for g.ctx.Err() == nil {
		r, wakes := g.request(l), g.wakes
		sent := time.Now()
		g.mu.Unlock()
		answer, ok := g.send(r, l)
		g.mu.Lock()
		if !ok {
			return
		}
		more := g.answered(l, r, answer, sent, wakes)
		if g.silent {
			g.silent = false
			g.mu.Unlock()
			g.wake(Global) // who waited for costd to speak
			g.mu.Lock()
		}
		if !more {
			return
		}
	}
}

// request makes the next request. What it gives back is out of the balance
// before anyone hears of it. Callers hold mu.
func (g *Gate) request(l *lease) Request {
	l.n++
	r := Request{
		Lease: l.id, N: l.n, Service: l.service, Tenant: l.tenant, Query: l.query, Time: l.time.UTC(), Used: l.used,
		Close: l.closing, Seconds: int(g.cfg.Call.Seconds()), Seen: g.seen,
	}
	l.used = Amount{}
	for w := range l.waiting {
		r.Need = r.Need.Plus(w.need)
		if w.need.Nano > r.Call.Nano {
			r.Call = w.need
		}
		if r.Least.IsZero() || w.need.Nano < r.Least.Nano {
			r.Least = w.need
		}
	}
	past := !g.cfg.Now().Before(l.end)
	if past || l.closing {
		r.Need, r.Call, r.Least, l.giveBack = Amount{}, Amount{}, Amount{}, true
	}
	if l.giveBack {
		r.Need, r.Call, r.Least = Amount{}, Amount{}, Amount{} // who waits was refused, or asks next
		l.balance = Amount{min(0, l.balance.Nano), min(0, l.balance.Requests)}
	}
	if !l.giveBack && !past {
		r.Want = l.ahead(3)
		r.Want = Amount{max(0, r.Want.Nano-l.balance.Nano), max(0, r.Want.Requests-l.balance.Requests)}
	}
	l.giveBack = false
	if !r.Need.IsZero() {
		lacks := func(a Amount) Amount {
			return Amount{max(0, a.Nano-max(0, l.balance.Nano)), max(0, a.Requests-max(0, l.balance.Requests))}
		}
		r.Need, r.Least = lacks(r.Need), lacks(r.Least)
	}
	held := l.held
	r.Held = &held
	r.Keep = l.held.Plus(l.balance)
	r.Keep = Amount{max(0, r.Keep.Nano), max(0, r.Keep.Requests)}
	return r
}

// send asks the same until there is an answer to it. A new number after a
// time-out would count what was used twice. Only the time of sending differs: a
// request that is old because nobody was there to answer it must not look as if
// the clock were wrong.
func (g *Gate) send(r Request, l *lease) (Answer, bool) {
	for wait := resend; ; wait = min(2*wait, resendMost) {
		g.mu.Lock()
		kick := g.kick
		g.mu.Unlock()
		r.Sent = g.cfg.Now().UTC()
		body, err := json.Marshal(r)
		if err != nil {
			panic(err) // our own type
		}
		ctx, cancel := context.WithTimeout(g.ctx, 2*time.Second)
		msg, err := g.cfg.Conn.RequestWithContext(ctx, SubjectLease, body)
		cancel()
		var a Answer
		if err == nil {
			if err = json.Unmarshal(msg.Data, &a); err == nil && a.Lease == l.id && a.N == r.N && a.Error == "" {
				return a, true
			}
		}
		g.mu.Lock()
		switch {
		case a.Error != "":
			l.failure = a.Error
		case err != nil && !errors.Is(err, context.Canceled):
			l.failure = ""
		}
		g.mu.Unlock()
		select {
		case <-g.ctx.Done():
			return a, false
		case <-kick:
			wait = resend
		case <-time.After(wait):
		}
	}
}

// How soon a request without an answer is sent again: soon, and less often if
// costd is away for long. A costd that starts says so, and is asked at once.
const (
	resend     = 200 * time.Millisecond
	resendMost = 2 * time.Second
)

// answered books an answer and tells whether there is more to ask. Callers hold
// mu.
func (g *Gate) answered(l *lease, r Request, a Answer, sent time.Time, wakes uint64) bool {
	g.seen = max(g.seen, a.Commit)
	l.failure = ""
	if a.Gone || l.closing {
		l.gone, l.balance = true, Amount{}
		for k, v := range g.leases {
			if v == l && l.held.IsZero() {
				delete(g.leases, k)
			}
		}
		l.notify()
		return false
	}
	l.balance = l.balance.Plus(a.Granted).Minus(r.Keep.Minus(a.Keep))
	l.deadline = sent.Add(a.TTL)
	if a.Refusal != nil && wakes != g.wakes {
		// The wake-up has overtaken the refusal that it ends.
		l.notify()
		return len(l.waiting) > 0
	}
	l.refusal, l.refused = a.Refusal, time.Now()
	l.notify()
	if a.Refusal != nil {
		// What is left cannot pay for what waits; others may have a use for it.
		l.giveBack = !l.balance.IsZero()
		for w := range l.waiting {
			if l.balance.Covers(w.need) {
				l.giveBack = false
			}
		}
		return l.giveBack
	}
	return false
}

// tend renews what is in use and returns what is not.
func (g *Gate) tend() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	connections := g.cfg.Conn.Stats().Reconnects
	for {
		select {
		case <-g.ctx.Done():
			return
		case <-tick.C:
		}
		if n := g.cfg.Conn.Stats().Reconnects; n != connections {
			connections = n
			g.wakeAll() // what costd has said meanwhile was not heard
		}
		g.mu.Lock()
		now := time.Now()
		past := g.cfg.Now()
		for k, l := range g.leases {
			idle := l.held.IsZero() && len(l.waiting) == 0 && now.Sub(l.last) > 3*time.Second
			switch {
			case l.gone && l.held.IsZero():
				delete(g.leases, k)
			case l.gone || l.filling:
			case l.n > 0 && l.held.IsZero() && (!past.Before(l.end) || (idle && now.Sub(l.last) > time.Minute)):
				l.closing = true
				g.fill(l)
			case idle && (!l.balance.IsZero() || !l.used.IsZero()):
				l.giveBack = true
				g.fill(l)
			case l.n > 0 && (!l.held.IsZero() || !l.balance.IsZero() || !l.used.IsZero()) && time.Until(l.deadline) < 20*time.Second:
				g.fill(l)
			}
		}
		g.mu.Unlock()
	}
}
