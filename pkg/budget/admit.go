package budget

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// Ticket is one admitted call. It has to be settled exactly once.
type Ticket struct {
	gate     *Gate
	lease    *lease
	Estimate Amount
	Time     time.Time // admitted: decides the window
	serial   uint64
	done     bool
}

// ID names the attempt.
func (t *Ticket) ID() string { return fmt.Sprintf("%s-%d", t.lease.id, t.serial) }

// payer is whom a call is charged to: a tenant, or the searches.
type payer struct {
	service, tenant string
	query           bool
}

func (p payer) scopes() []Scope {
	if p.query {
		return QueryPath(p.service)
	}
	return Path(p.service, p.tenant)
}

// Admit takes a call's estimate out of a lease. It waits a few seconds for costd
// if it has to ask.
//
// It fails with a CostLimit fault if the budget refuses (reasons "budget" and
// ReasonOverLimit), if costd cannot be asked ("budget-unknown"), around the turn
// of an hour, when nobody can tell which window a call belongs to ("budget"), and
// when the process ends ("draining"). Each such fault has the key of what it
// waits for. The gate wakes that key; the time after which the fault asks for
// another try is for the wake-up that got lost.
func (g *Gate) Admit(ctx context.Context, service, tenant string, estimate Amount) (*Ticket, error) {
	return g.admit(ctx, payer{service: service, tenant: tenant}, estimate)
}

// AdmitQuery is Admit for the embedding of a search's text. It is charged to the
// scope Query and to no tenant.
func (g *Gate) AdmitQuery(ctx context.Context, service string, estimate Amount) (*Ticket, error) {
	return g.admit(ctx, payer{service: service, tenant: string(Query), query: true}, estimate)
}

func (g *Gate) admit(ctx context.Context, p payer, estimate Amount) (*Ticket, error) {
	if estimate.Nano < 0 || estimate.Requests < 1 {
		return nil, fault.New(fault.Execution, "estimate", "an estimate of %d n$ and %d requests", estimate.Nano, estimate.Requests)
	}
	t, _, err := g.try(p, estimate)
	if t != nil || err != nil {
		return t, err
	}
	return g.wait(ctx, p, estimate)
}

// known is how long a call waits for costd when others have just waited in vain.
const known = 500 * time.Millisecond

// wait is Admit where costd has to be asked.
func (g *Gate) wait(ctx context.Context, p payer, estimate Amount) (*Ticket, error) {
	g.mu.Lock()
	patience := g.cfg.Wait
	if g.silent {
		patience = min(patience, known)
	}
	g.mu.Unlock()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	w := &waiter{estimate}
	var joined *lease
	defer func() {
		if joined != nil {
			g.mu.Lock()
			delete(joined.waiting, w)
			g.mu.Unlock()
		}
	}()
	for {
		t, l, err := g.try(p, estimate)
		if t != nil || err != nil {
			return t, err
		}
		g.mu.Lock()
		if joined != l {
			if joined != nil {
				delete(joined.waiting, w)
			}
			l.waiting[w] = struct{}{}
			joined = l
		}
		changed := l.changed
		g.fill(l)
		g.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-g.ctx.Done():
		case <-timeout.C:
			return nil, g.unknown(l)
		}
	}
}

// unknown is the failure of a call that costd could not be asked for.
func (g *Gate) unknown(l *lease) error {
	g.mu.Lock()
	// From now on the next answer wakes who waits for it.
	g.silent = true
	failure := l.failure
	g.mu.Unlock()
	f := fault.New(fault.CostLimit, "budget-unknown", "costd does not answer, so nothing may be bought; goes on when it does").
		WithHint("start costd; the work waits and goes on by itself")
	if failure != "" {
		f = fault.New(fault.CostLimit, "budget-unknown", "costd cannot grant: %s", events.CleanHeader(failure, 300)).
			WithHint("see costd's log; nothing is bought until it grants again")
	}
	return f.WaitFor(fault.On(fault.WaitBudget, string(Global))).After(patience)
}

// try admits a call if the lease covers it, and refuses it if it is known that
// costd would. Neither means that costd has to be asked for the lease returned.
func (g *Gate) try(p payer, estimate Amount) (*Ticket, *lease, error) {
	now := g.cfg.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, nil, fault.New(fault.CostLimit, "draining", "the process stops and makes no more paid calls").
			WaitFor(fault.On(fault.WaitBudget, string(Global)))
	}
	if len(g.frozen) > 0 {
		if scope, ok := g.isFrozen(p); ok {
			return nil, nil, refused(&Refusal{Scope: scope, What: "frozen"}, now)
		}
	}
	if wait := boundary(now, g.cfg.Skew); wait > 0 {
		return nil, nil, fault.New(fault.CostLimit, "budget", "the hour turns; resumes in %v", wait.Round(time.Millisecond)).
			WaitFor(fault.On(fault.WaitBudget, string(Global))).After(wait)
	}
	l := g.lease(p, now)
	if at := time.Now(); at.Before(l.deadline) && l.balance.Covers(estimate) {
		l.balance = l.balance.Minus(estimate)
		l.held = l.held.Plus(estimate)
		l.spend(estimate, at)
		if !l.balance.Covers(l.ahead(1)) && l.refusal == nil {
			g.fill(l) // ahead of need
		}
		g.serial++
		return &Ticket{gate: g, lease: l, Estimate: estimate, Time: now, serial: g.serial}, l, nil
	}
	if r := l.refusal; r != nil && time.Since(l.refused) < remembered && now.Before(r.Resets.Add(g.cfg.Skew)) && (!r.Never || r.concerns(estimate)) {
		return nil, l, refused(r.of(estimate), now)
	}
	return nil, l, nil
}

// boundary returns how long to wait for the hour to be certain.
func boundary(now time.Time, skew time.Duration) time.Duration {
	start := now.Truncate(time.Hour)
	if d := start.Add(time.Hour).Sub(now); d < skew {
		return d + skew
	}
	return max(0, start.Add(skew).Sub(now))
}

func (g *Gate) isFrozen(p payer) (Scope, bool) {
	for _, s := range p.scopes() {
		if g.frozen[s] {
			return s, true
		}
	}
	return "", false
}

// remembered is how long a refusal is believed without asking again, and
// patience how long work waits before it tries without a wake-up. Both are for
// the wake-up that got lost.
const (
	remembered = 5 * time.Second
	patience   = 5 * time.Minute
)

// ReasonOverLimit is the reason of a refusal that no window's end mends: the call
// is dearer than the whole limit. A smaller call may do.
const ReasonOverLimit = "over-limit"

// concerns tells whether a refusal of what can never be granted holds for a.
func (r *Refusal) concerns(a Amount) bool {
	if r.What == "requests" {
		return a.Requests > r.Limit
	}
	return a.Nano > r.Limit
}

// of returns the refusal as it holds for a.
func (r *Refusal) of(a Amount) *Refusal {
	if r.What == "frozen" || !r.concerns(a) {
		return r
	}
	c := *r
	c.Never, c.Needs = true, a.Nano
	if r.What == "requests" {
		c.Needs = a.Requests
	} else if r.Kept > 0 {
		c.Needs = Whole(a.Nano)
	}
	return &c
}

// Whole returns the least global limit of which ingestion may spend nano.
func Whole(nano int64) int64 { return nano + nano/99 + 1 }

// refused says what a person has to know of a refusal.
func refused(r *Refusal, now time.Time) error {
	amount := func(v int64) string {
		if r.What == "requests" {
			return fmt.Sprintf("%d requests", v)
		}
		return Dollars(v)
	}
	limit := amount(r.Limit + r.Kept)
	if r.Kept > 0 {
		limit += " (" + amount(r.Kept) + " of it for searches)"
	}
	f := fault.New(fault.CostLimit, "budget", "budget %s/%s, resumes %s UTC or when raised", r.Scope.Typed(), r.Window, r.Resets.UTC().Format("15:04"))
	key := fault.On(fault.WaitBudget, string(r.Scope))
	switch {
	case r.What == "frozen":
		f = fault.New(fault.CostLimit, "budget", "budget %s is frozen, resumes when it is not", r.Scope.Typed()).
			WithHint("sluice budget resume %s", quoted(r.Scope.Typed())).After(patience)
	case r.Never:
		key = overLimit(r)
		f = fault.New(fault.CostLimit, ReasonOverLimit, "the call costs up to %s, the limit of %s is %s a %s; resumes when raised", amount(r.cost()), r.Scope.Typed(), limit, r.Window).
			WithHint("'%s' is enough for it; the work waits", r.raise(r.Needs)).After(patience)
	default:
		f = f.WithHint("to raise the limit, which is %s a %s: '%s', for example", limit, r.Window, r.raise(2*(r.Limit+r.Kept))).After(max(time.Second, min(patience, r.Resets.Sub(now))))
	}
	return f.WaitFor(key)
}

// raise returns the command that sets the limit that stands in the way.
func (r *Refusal) raise(to int64) string {
	flag, value := "--"+r.Window, strings.TrimPrefix(Dollars(max(to, 1e7)), "$") // a cent, after a limit of nothing
	if r.What == "requests" {
		flag, value = flag+"-requests", itoa(max(to, 1))
	}
	return fmt.Sprintf("sluice budget set %s %s %s", quoted(r.Scope.Typed()), flag, value)
}

// quoted returns a word of a command as a shell takes it.
func quoted(word string) string {
	for _, c := range []byte(word) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-_.", rune(c)) {
			return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(events.CleanHeader(word, 300)) + `"`
		}
	}
	return word
}

// cost returns what the call that needs such a limit costs.
func (r *Refusal) cost() int64 {
	if r.Kept == 0 {
		return r.Needs
	}
	return r.Needs - r.Needs/100
}

func itoa(v int64) string { return strconv.FormatInt(v, 10) }

// Settle books what a call did cost. What was not used goes back to the lease.
// The request counts as made.
func (t *Ticket) Settle(nano int64) {
	g, l := t.gate, t.lease
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.done {
		return
	}
	t.done = true
	l.held = l.held.Minus(t.Estimate)
	l.used = l.used.Plus(Amount{nano, t.Estimate.Requests})
	l.balance.Nano += t.Estimate.Nano - nano // below zero if the estimate was too low
	if nano > t.Estimate.Nano {
		g.cfg.Log.Error().Str("service", l.service).Int64("nano", nano).Int64("estimate", t.Estimate.Nano).
			Msg("a call cost more than its estimate; the excess is booked")
	}
}

// cancel settles a call that was never made.
func (t *Ticket) cancel() {
	g, l := t.gate, t.lease
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.done {
		return
	}
	t.done = true
	l.held, l.balance = l.held.Minus(t.Estimate), l.balance.Plus(t.Estimate)
}

// SettleUnknown books the whole estimate: nobody knows what the call did cost.
func (t *Ticket) SettleUnknown() { t.Settle(t.Estimate.Nano) }
