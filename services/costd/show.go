package costd

import (
	"fmt"
	"time"

	"sluice/pkg/budget"
)

// shown is what was last shown of a scope.
type shown struct {
	state    budget.State
	at       time.Time
	revision uint64
}

// dirty are the scopes whose state has changed. Tenants without limits come
// last: nobody waits for what is shown of them.
type dirty struct {
	first, later map[budget.Scope]bool
}

func (d *dirty) add(s budget.Scope, later bool) {
	if d.first == nil {
		d.first, d.later = map[budget.Scope]bool{}, map[budget.Scope]bool{}
	}
	if later {
		d.later[s] = true
		return
	}
	delete(d.later, s)
	d.first[s] = true
}

func (d *dirty) has(s budget.Scope) bool { return d.first[s] || d.later[s] }

func (d *dirty) drop(s budget.Scope) {
	delete(d.first, s)
	delete(d.later, s)
}

// touch has a scope's state shown.
func (g *Grantor) touch(s budget.Scope) { g.dirty.add(s, s.IsTenant() && !g.limited(s)) }

// show shows states that have changed: a slice of them, each at most once a
// second, or at once what people and stages wait for.
func (g *Grantor) show(now bool) {
	n := 0
	for _, set := range []map[budget.Scope]bool{g.dirty.first, g.dirty.later} {
		for s := range set {
			before := g.shown[s]
			if !now && time.Since(before.at) < time.Second {
				continue
			}
			if n++; n > showSlice || g.desk.full() {
				return
			}
			g.showOne(s, before)
		}
		if now {
			return // of the others only what has to be
		}
	}
}

func (g *Grantor) showOne(s budget.Scope, before shown) {
	state := g.state(s, g.cfg.Now())
	g.dirty.drop(s)
	g.shown[s] = shown{state: state, at: time.Now()}
	g.desk.show(state)
	if before.state.State != state.State {
		level := g.cfg.Log.Info()
		if state.State != "open" {
			level = g.cfg.Log.Warn()
		}
		if before.state.State != "" || state.State != "open" || !s.IsTenant() {
			level.Str("scope", string(s)).Str("before", before.state.State).Str("state", state.State).Msg("budget: " + state.Reason)
		}
		g.announce(budget.SubjectEvent+string(s), string(encode(state)))
	}
	if g.cfg.Shown != nil && !s.IsTenant() { // there may be any number of tenants
		g.cfg.Shown(state)
	}
}

// state sums a scope up.
func (g *Grantor) state(s budget.Scope, now time.Time) budget.State {
	d := g.draft()
	limits := d.limitsOf(s)
	st := budget.State{Scope: s, State: "open", Reason: "open", Frozen: limits.Frozen, Waiting: g.waiting[s], Time: now.UTC()}
	worst := 0
	say := func(level int, state, reason string) {
		if level > worst {
			worst, st.State, st.Reason = level, state, reason
		}
	}
	for _, w := range budget.Windows(now) {
		nano, requests := limits.In(w)
		ws := budget.WindowState{Window: w.Name(), Start: w.Start, Resets: w.End(), LimitNano: nano, LimitRequests: requests}
		l := d.peek(budget.LedgerKey(s, w))
		ws.Spent, ws.Reserved = l.Settled, l.Out
		if s == budget.Global {
			_, ws.Kept = d.kept(w)
		}
		st.Windows = append(st.Windows, ws)
		judge := func(limit *int64, spent, kept int64, what string) { // "money is", "requests are"
			switch {
			case limit == nil:
			case spent+kept >= *limit:
				reason := fmt.Sprintf("the %s's %s spent; resets %s UTC", w.Name(), what, w.End().Format("15:04"))
				if kept > 0 {
					reason = fmt.Sprintf("the %s's %s spent but for %s for searches; resets %s UTC", w.Name(), what, budget.Dollars(kept), w.End().Format("15:04"))
				}
				say(2, "paused", reason)
			case spent >= *limit/10*8:
				say(1, "warning", fmt.Sprintf("80 %% of the %s's %s spent", w.Name(), what))
			}
		}
		judge(nano, ws.Spent.Nano, ws.Kept, "money is")
		judge(requests, ws.Spent.Requests, 0, "requests are")
	}
	if limits.Frozen {
		say(3, "paused", "frozen")
	}
	return st
}
