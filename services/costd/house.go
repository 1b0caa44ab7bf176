package costd

import (
	"fmt"
	"time"

	"sluice/pkg/budget"
	"sluice/services/costd/ledger"
)

// Housekeeping comes in small slices, four times a second: a grant waits for one
// slice at most, however many tenants there are. What has to be written beside
// the ledgers is left to the desk.
const (
	reclaimSlice = 16  // leases, in one commit
	forgetSlice  = 64  // ledgers and states
	showSlice    = 64  // states
	idleSlice    = 256 // states looked at
)

// How long ledgers are kept after their window began. What they say is in the
// usage events for longer.
const (
	hoursKept   = 26 * time.Hour
	daysKept    = 35 * 24 * time.Hour
	tenantsKept = 3 * 24 * time.Hour // days of tenants
)

// idle is how long a tenant without limits is shown after its last change.
const idle = time.Hour

// keepHouse does one slice of everything.
func (g *Grantor) keepHouse() error {
	now := g.cfg.Now()
	g.turn(now)
	if g.wantIdle && g.doubt == nil {
		g.wantIdle = false
		g.announce(budget.SubjectIdle, "")
	}
	if g.doubt == nil {
		if err := g.reclaim(now); err != nil {
			return err
		}
		if !g.desk.full() {
			g.forget(now)
			g.forgetIdle()
		}
	}
	g.show(false)
	return nil
}

// turn has the states shown anew when an hour has begun, and those ask again who
// were refused in the one before. A gate admits nothing in the first seconds.
func (g *Grantor) turn(now time.Time) {
	hour := budget.Windows(now.Add(-g.cfg.Skew))[0].Start
	if !hour.After(g.hour) {
		return
	}
	g.hour = hour
	for s := range g.shown {
		if !s.IsTenant() {
			g.touch(s)
		}
	}
	for s := range g.book.limits {
		g.touch(s)
	}
	g.touch(budget.Global)
	g.nobodyWaits()
	g.wakeRefused(nil)
}

// reclaim closes leases that were not heard of in time, and forgets closed ones.
func (g *Grantor) reclaim(now time.Time) error {
	d := g.draft()
	for n := 0; n < forgetSlice && len(d.leases) < reclaimSlice; n++ {
		id := g.book.next(now)
		if id == "" {
			break
		}
		e := g.book.leases[id]
		if e.value.Closed {
			g.desk.add("lease."+id, errand{upTo: e.revision})
			delete(g.book.leases, id)
			continue
		}
		g.cfg.Log.Warn().Str("lease", id).Int64("nano", e.value.Out.Nano).Int64("requests", e.value.Out.Requests).
			Msg("a lease was not heard of; what was out counts as spent")
		d.leases[id] = ledger.Reclaim(e.value, d.accounts)
	}
	if len(d.leases) == 0 {
		return nil
	}
	if _, err := d.commit(); err != nil {
		g.cfg.Log.Warn().Err(err).Msg("reclaiming leases; reading the ledgers anew")
		return g.load()
	}
	for id := range d.leases {
		g.book.again(id)
	}
	return nil
}

// forget removes ledgers of windows that ended long ago.
func (g *Grantor) forget(now time.Time) {
	n := 0
	for k, keys := range g.book.windows {
		start, err := k.start()
		keep := daysKept
		switch {
		case err != nil:
			continue // costd alone writes here
		case k.window[0] == 'h':
			keep = hoursKept
		case k.tenant:
			keep = tenantsKept
		}
		if now.Sub(start) < keep {
			continue
		}
		for key := range keys {
			if n == forgetSlice {
				return
			}
			n++
			e := g.book.ledgers[key]
			if !e.value.Out.IsZero() {
				continue
			}
			g.desk.add(key, errand{upTo: e.revision})
			g.book.dropLedger(key)
		}
	}
}

// forgetIdle forgets the states of tenants that have no limits and have not
// changed for long. The order in which a map is walked is random, so each one's
// turn comes.
func (g *Grantor) forgetIdle() {
	n := 0
	for s, was := range g.shown {
		if n++; n > idleSlice {
			return
		}
		if !s.IsTenant() || g.limited(s) || g.dirty.has(s) || time.Since(was.at) < g.cfg.Idle {
			continue
		}
		delete(g.shown, s)
		g.desk.add(budget.StateKey(s), errand{})
	}
}

func (g *Grantor) limited(s budget.Scope) bool {
	_, ok := g.book.limits[s]
	return ok
}

// nobodyWaits forgets whose calls wait: other limits hold, and who still lacks
// something asks again. Money that comes back is no reason: it may be too little,
// and whoever it is enough for is granted it.
func (g *Grantor) nobodyWaits() {
	for s, waits := range g.waiting {
		if waits {
			g.touch(s)
		}
	}
	clear(g.waiting)
}

// wakeRefused has those ask again whom one of the scopes has refused; all of
// them for nil.
func (g *Grantor) wakeRefused(scopes []budget.Scope) {
	body := ""
	tell := func(s budget.Scope) {
		delete(g.refused, s)
		if body += fmt.Sprintln(s); len(body) > 100_000 { // a message has a bound
			g.announce(budget.SubjectWake, body)
			body = ""
		}
	}
	if scopes == nil {
		for s := range g.refused {
			tell(s)
		}
	}
	for _, s := range scopes {
		if g.refused[s] {
			tell(s)
		}
	}
	if body != "" {
		g.announce(budget.SubjectWake, body)
	}
}
