package budget

import (
	"encoding/json"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/fault"
)

// What was refused waits for a key, and a gate wakes that key:
//
//	key                           woken when
//	budget:<scope>                costd tells that the scope's headroom has grown, or shows that
//	                              it is not paused or frozen any more or has a higher limit
//	budget:global                 also when costd is heard again after it was not
//	budget:over-limit.<scope>#<n>  a limit of the scope is raised
//	all of budget                 a costd takes the lead, the connection is back
//
// At rest nothing is sent and nothing written, whatever waits.

// overLimit is the key of a call that is dearer than a whole limit. It is narrow:
// other calls of the scope may be cheaper, and go on. It names what the call
// needs, so that a dearer one does not stand in for a cheaper one.
func overLimit(r *Refusal) fault.Wait {
	return fault.On(fault.WaitOverLimit, string(r.Scope)+"#"+itoa(r.Needs))
}

// onWake hears costd say that headroom has grown.
func (g *Gate) onWake(m *nats.Msg) {
	if len(m.Data) == 0 {
		g.wakeAll()
		return
	}
	for name := range strings.Lines(string(m.Data)) {
		g.wake(Scope(strings.TrimSpace(name)))
	}
}

// wakeAll has everything that was refused or could not be asked try again.
func (g *Gate) wakeAll() {
	g.mu.Lock()
	g.wakes++
	for _, l := range g.leases {
		l.refusal = nil
		l.notify()
	}
	close(g.kick) // requests without an answer are sent again now
	g.kick = make(chan struct{})
	g.mu.Unlock()
	g.tell(fault.WaitBudget)
}

// wake has what the limits of a scope have refused ask again.
func (g *Gate) wake(s Scope) {
	g.mu.Lock()
	g.wakes++
	for _, l := range g.leases {
		if l.refusal != nil && l.refusal.Scope == s {
			l.refusal = nil
			l.notify()
		}
	}
	g.mu.Unlock()
	g.tell(fault.On(fault.WaitBudget, string(s)))
}

func (g *Gate) tell(key fault.Wait) {
	if g.cfg.Wake != nil {
		g.cfg.Wake(key)
	}
}

// shown is what a gate remembers of a scope's state: only of scopes that have a
// limit or are frozen.
type shown struct {
	stopped bool // paused or frozen
	limits  [4]*int64
}

// onState hears what costd shows of a scope. A message of costd may be missed
// while the connection is away; this watch is not.
func (g *Gate) onState(e jetstream.KeyValueEntry, before map[Scope]shown) {
	var s State
	if e.Operation() == jetstream.KeyValuePut {
		if err := json.Unmarshal(e.Value(), &s); err != nil {
			g.cfg.Log.Warn().Err(err).Str("key", e.Key()).Msg("a malformed budget state")
			return
		}
	}
	scope := Scope(strings.TrimPrefix(e.Key(), "state."))
	g.mu.Lock()
	if delete(g.frozen, scope); s.Frozen {
		g.frozen[scope] = true
	}
	g.mu.Unlock()
	now := shown{stopped: s.State == "paused" || s.Frozen}
	for _, w := range s.Windows {
		i := 0
		if w.Window == "day" {
			i = 2
		}
		now.limits[i], now.limits[i+1] = w.LimitNano, w.LimitRequests
	}
	was, known := before[scope]
	if now == (shown{}) {
		delete(before, scope) // there may be any number of tenants
	} else {
		before[scope] = now
	}
	// A scope that was not shown before may have refused all the same, by answers.
	raised := !known && !now.stopped
	for i, l := range was.limits {
		raised = raised || l != nil && (now.limits[i] == nil || *now.limits[i] > *l)
	}
	if raised || was.stopped && !now.stopped {
		g.wake(scope)
	}
	if raised {
		g.tell(fault.On(fault.WaitOverLimit, string(scope)))
	}
}

// handBack returns what lies idle, because somebody lacks it.
func (g *Gate) handBack() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range g.leases {
		if !l.balance.IsZero() && len(l.waiting) == 0 {
			l.giveBack = true
			g.fill(l)
		}
	}
}
