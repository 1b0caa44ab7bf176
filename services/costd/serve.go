package costd

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"sluice/pkg/budget"
	"sluice/services/costd/ledger"
)

// serve answers a batch of requests after one commit. A commit that fails is
// looked into by reading everything anew: it may have gone through, and then
// the requests are repeats.
func (g *Grantor) serve(batch []*nats.Msg) error {
	var work []message
	var seen uint64
	for _, m := range batch {
		w := message{Msg: m}
		if m.Subject == budget.SubjectSet {
			w.bad = json.Unmarshal(m.Data, &w.change) != nil || !w.change.Scope.Valid()
			if !w.bad && w.change.Ledger != "" {
				g.asked(m, w.change)
				continue
			}
		} else {
			w.bad = json.Unmarshal(m.Data, &w.request) != nil || !valid(w.request)
			if !w.bad {
				seen = max(seen, w.request.Seen)
			}
		}
		work = append(work, w)
	}
	if seen > g.book.commit && g.doubt == nil {
		// The other grantor may have led meanwhile; or the past has come back. A
		// draft must not begin before this: it would mix two states of the ledgers.
		if err := g.load(); err != nil {
			return err
		}
		if seen > g.book.commit {
			g.heard = max(g.heard, seen)
			g.behind()
		}
	}
	for attempt := 0; ; attempt++ {
		if g.doubt != nil {
			g.refuseAll(work)
			return nil
		}
		d := g.draft()
		replies := make([]func(uint64) []byte, len(work))
		var grown []budget.Scope
		for i, w := range work {
			var more []budget.Scope
			replies[i], more = g.handle(d, w)
			grown = append(grown, more...)
		}
		commit, err := d.commit()
		if err == nil {
			for i, w := range work {
				g.respond(w.Msg, replies[i](commit))
			}
			if slices.ContainsFunc(grown, func(s budget.Scope) bool { return g.refused[s] }) {
				g.show(true)
				g.wakeRefused(grown)
			}
			return nil
		}
		if g.ctx.Err() != nil {
			return g.ctx.Err()
		}
		g.cfg.Log.Warn().Err(err).Msg("a commit did not go through; reading the ledgers anew")
		if attempt == 5 {
			return fmt.Errorf("commit to the ledgers: %w", err)
		}
		if err := g.load(); err != nil {
			return err
		}
	}
}

// message is a request of a stage or a change of limits.
type message struct {
	*nats.Msg
	request budget.Request
	change  budget.Change
	bad     bool
}

func valid(r budget.Request) bool {
	return r.Lease != "" && r.Service != "" && r.Tenant != "" && !strings.ContainsAny(r.Lease, ".*> \t\r\n") && len(r.Lease) <= 128 && r.Seen < 1<<62 &&
		r.Used.Nano >= 0 && r.Used.Requests >= 0 && r.Keep.Nano >= 0 && r.Keep.Requests >= 0 && (r.Held == nil || r.Held.Nano >= 0 && r.Held.Requests >= 0)
}

func (g *Grantor) respond(m *nats.Msg, reply []byte) {
	if err := m.Respond(reply); err != nil {
		g.cfg.Log.Debug().Err(err).Msg("answering; the stage will ask again")
	}
}

// refuseAll answers while the ledgers are in doubt.
func (g *Grantor) refuseAll(work []message) {
	for _, w := range work {
		if w.Subject == budget.SubjectSet {
			g.respond(w.Msg, encode(map[string]string{"error": g.doubt.reason + "; " + doubtHint}))
			continue
		}
		g.respond(w.Msg, encode(budget.Answer{Lease: w.request.Lease, N: w.request.N, Error: g.doubt.reason}))
	}
}

// handle applies one message to the draft. It returns the answer, which is sent
// after the commit, and the scopes that have more headroom for those who lack it.
func (g *Grantor) handle(d *draft, m message) (reply func(commit uint64) []byte, grown []budget.Scope) {
	if m.Subject == budget.SubjectSet {
		return g.set(d, m)
	}
	r := m.request
	answer := func(a budget.Answer) func(uint64) []byte {
		return func(commit uint64) []byte {
			a.Commit = commit
			return encode(a)
		}
	}
	refuse := func(format string, args ...any) (func(uint64) []byte, []budget.Scope) {
		return answer(budget.Answer{Lease: r.Lease, N: r.N, Error: fmt.Sprintf(format, args...)}), nil
	}
	if m.bad {
		return refuse("a malformed request")
	}
	now := g.cfg.Now()
	l := d.lease(r.Lease)
	if l == nil && r.N == 1 {
		if off := g.off(r, now); off != 0 {
			return refuse("the stage's clock is off by %v; mend the clocks", off.Round(time.Millisecond))
		}
		if !now.Before(budget.Windows(r.Time)[0].End()) {
			// It was asked for in an hour that has ended while nobody answered.
			return answer(budget.Answer{Lease: r.Lease, N: r.N, Gone: true}), nil
		}
		if time.Now().Before(g.settle) {
			return refuse("stages tell what they had out of the lost ledgers; that takes a few seconds")
		}
	}
	if l == nil && r.N != 1 {
		g.cfg.Log.Warn().Str("lease", r.Lease).Int64("nano", r.Used.Nano+r.Keep.Nano).Msg("a lease that nobody knows; what was out counts as spent")
		if time.Now().Before(g.settle) {
			// What was spent was told by usage events, and counted when the ledgers were
			// accepted. What lies idle has expired since.
			r.Used = budget.Amount{}
			if r.Held != nil {
				r.Keep = r.Keep.Least(*r.Held)
			}
		}
		a, closed := ledger.Lost(r, d.accounts, now, g.cfg.Terms)
		d.leases[r.Lease] = closed
		return answer(a), nil
	}
	if l != nil && !now.Before(budget.Windows(l.Time)[0].End()) {
		// Its hour has ended: it can only give back.
		r.Need, r.Call, r.Least, r.Want = budget.Amount{}, budget.Amount{}, budget.Amount{}, budget.Amount{}
	}
	a, after, changed := ledger.Apply(r, l, d.accounts, now, g.cfg.Terms)
	if !changed {
		return answer(a), nil
	}
	d.leases[r.Lease] = after
	if service := budget.Service(r.Service); !r.Need.IsZero() && !r.Query {
		waits := a.Refusal != nil && a.Refusal.Scope != budget.Tenant(r.Tenant) // of one tenant says nothing of the others
		if g.waiting[service] != waits {
			g.waiting[service] = waits
			g.touch(service)
		}
	}
	if a.Refusal != nil {
		g.refused[a.Refusal.Scope] = true
		if a.Refusal.What != "frozen" {
			g.wantIdle = true
		}
	}
	if r.Close || l != nil && (l.Out.Nano > r.Used.Nano+r.Keep.Nano || l.Out.Requests > r.Used.Requests+r.Keep.Requests) {
		grown = after.Path()
	}
	return answer(a), grown
}

// off returns by how much the clock of a stage is off, 0 if that is no matter.
// The time of sending proves the clock. The time of the lease does not: the
// request may have been repeated for long before anybody was there to answer.
func (g *Grantor) off(r budget.Request, now time.Time) time.Duration {
	sent := r.Sent
	if sent.IsZero() { // a release before
		sent = r.Time
	}
	off := sent.Sub(now)
	if off > g.cfg.Skew || off < -g.cfg.Skew-10*time.Second { // requests may lie here for a while
		return off
	}
	if ahead := budget.Windows(r.Time)[0].Start.Sub(now); ahead > 0 {
		return ahead
	}
	return 0
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own types
	}
	return b
}

// set changes the limits of a scope.
func (g *Grantor) set(d *draft, m message) (func(uint64) []byte, []budget.Scope) {
	if m.bad {
		return func(uint64) []byte { return encode(map[string]string{"error": "a malformed change of limits"}) }, nil
	}
	c := m.change
	l := d.stored(c.Scope)
	l.Epoch++
	change := func(limit **int64, to *int64) {
		switch {
		case to == nil:
		case *to < 0:
			*limit = nil
		default:
			*limit = to
		}
	}
	change(&l.HourNano, c.HourNano)
	change(&l.DayNano, c.DayNano)
	change(&l.HourRequests, c.HourRequests)
	change(&l.DayRequests, c.DayRequests)
	if c.Frozen != nil {
		l.Frozen = *c.Frozen
	}
	d.limits[c.Scope] = &l
	d.scopes[c.Scope] = true
	g.dirty.add(c.Scope, false)
	if c.Scope == budget.Global {
		d.scopes[budget.Query] = true // its share is another one
	}
	g.nobodyWaits()
	g.wantIdle = true         // should it be lower: what lies idle comes back
	g.refused[c.Scope] = true // another leader may have refused it
	return func(uint64) []byte { return encode(l) }, []budget.Scope{c.Scope}
}
