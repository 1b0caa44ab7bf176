package budget

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// Config configures a Gate. Zero values are defaults.
type Config struct {
	Conn *nats.Conn
	JS   jetstream.JetStream
	Log  zerolog.Logger
	Wake func(fault.Wait) // called when refused work may go again; may be nil
	Now  func() time.Time // the wall clock that decides windows; nil = time.Now
	Skew time.Duration    // clocks of this system differ by less; 0 = 2 s
	Wait time.Duration    // how long a call waits for costd; 0 = 5 s
	Call time.Duration    // the longest call; 0 = 2 min
}

// Gate admits paid calls of one process. A call that a lease covers is admitted
// under a mutex, without a message; leases are refilled in the background.
type Gate struct {
	cfg      Config
	instance string
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup
	watcher  *broker.Watch
	subs     []*nats.Subscription

	mu     sync.Mutex
	leases map[leaseKey]*lease
	frozen map[Scope]bool
	seen   uint64 // the latest commit
	serial uint64
	wakes  uint64 // counts the wake-ups
	closed bool
	drain  context.Context // ends when Close begins
	close  context.CancelFunc
}

// leaseKey names a lease. Retired is 0 for the one that admits, and a number for
// those before it that still have calls under way.
type leaseKey struct {
	service, tenant string
	hour            int64 // since 1970
	retired         uint64
}

// lease is money that this process may spend on one path in one hour.
//
//	what is out at costd >= balance + held + used + inFlight.Used
type lease struct {
	id       string
	service  string
	tenant   string
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

// NewGate starts a gate.
func NewGate(ctx context.Context, cfg Config) (*Gate, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Skew == 0 {
		cfg.Skew = 2 * time.Second
	}
	if cfg.Wait == 0 {
		cfg.Wait = 5 * time.Second
	}
	if cfg.Call == 0 {
		cfg.Call = 2 * time.Minute
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	g := &Gate{cfg: cfg, instance: strings.ReplaceAll(id.String(), "-", ""), leases: map[leaseKey]*lease{}, frozen: map[Scope]bool{}}
	kv, err := cfg.JS.KeyValue(ctx, events.BucketBudget)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", events.BucketBudget, err)
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.drain, g.close = context.WithCancel(g.ctx)
	for subject, handle := range map[string]nats.MsgHandler{
		SubjectWake: func(*nats.Msg) { g.wake() },
		SubjectIdle: func(*nats.Msg) { g.handBack() },
	} {
		sub, err := cfg.Conn.Subscribe(subject, handle)
		if err != nil {
			g.cancel()
			return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
		}
		g.subs = append(g.subs, sub)
	}
	paused := map[Scope]bool{}
	if g.watcher, err = broker.NewWatch(ctx, kv, "state.>", func(e jetstream.KeyValueEntry) { g.shown(e, paused) }); err != nil {
		g.cancel()
		return nil, fmt.Errorf("watch the bucket %s: %w", events.BucketBudget, err)
	}
	g.running.Go(g.tend)
	return g, nil
}

// shown hears what costd shows of a scope: what is frozen, and what is not paused
// any more.
func (g *Gate) shown(e jetstream.KeyValueEntry, paused map[Scope]bool) {
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
	// A wake-up may be missed while the connection is away; this watch is not.
	if s.State != "paused" && paused[scope] {
		g.wake()
	}
	paused[scope] = s.State == "paused"
}

// wake has everything that was refused ask again.
func (g *Gate) wake() {
	g.mu.Lock()
	g.wakes++
	for _, l := range g.leases {
		l.refusal = nil
		l.notify()
	}
	g.mu.Unlock()
	if g.cfg.Wake != nil {
		g.cfg.Wake(fault.WaitBudget)
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

func (l *lease) notify() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// lease returns the lease of a path for now, made if needed. Callers hold mu.
func (g *Gate) lease(service, tenant string, now time.Time) *lease {
	key := leaseKey{service: service, tenant: tenant, hour: now.Unix() / 3600}
	l := g.leases[key]
	if l == nil || l.gone || l.closing {
		if l != nil { // its calls under way settle on their own
			old := key
			old.retired = g.serial
			g.leases[old] = l
		}
		g.serial++
		l = &lease{
			id: fmt.Sprintf("%s-%d", g.instance, g.serial), service: service, tenant: tenant, time: now, end: Windows(now)[0].End(),
			waiting: map[*waiter]struct{}{}, changed: make(chan struct{}),
		}
		g.leases[key] = l
	}
	return l
}

// Admit takes a call's estimate out of a lease. It waits for costd if it has to,
// and fails with a CostLimit fault if the budget refuses, if it cannot be asked,
// or around the turn of an hour, when nobody can tell which window a call
// belongs to. Reasons: "budget", "budget-unknown", ReasonOverLimit, "draining".
func (g *Gate) Admit(ctx context.Context, service, tenant string, estimate Amount) (*Ticket, error) {
	if estimate.Nano < 0 || estimate.Requests < 1 {
		return nil, fault.New(fault.Execution, "estimate", "an estimate of %d n$ and %d requests", estimate.Nano, estimate.Requests)
	}
	t, _, err := g.try(service, tenant, estimate)
	if t != nil || err != nil {
		return t, err
	}
	return g.wait(ctx, service, tenant, estimate)
}

// wait is Admit where costd has to be asked.
func (g *Gate) wait(ctx context.Context, service, tenant string, estimate Amount) (*Ticket, error) {
	timeout := time.NewTimer(g.cfg.Wait)
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
		t, l, err := g.try(service, tenant, estimate)
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
		failure := l.failure
		g.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-g.ctx.Done():
		case <-timeout.C:
			if failure != "" {
				return nil, fault.New(fault.CostLimit, "budget-unknown", "costd cannot grant: %s", events.CleanHeader(failure, 300)).
					WithHint("see costd's log; nothing is bought while the ledger is in doubt").After(2 * time.Second)
			}
			return nil, fault.New(fault.CostLimit, "budget-unknown", "costd does not answer, so nothing may be bought").
				WithHint("start costd; the work waits and goes on by itself").After(2 * time.Second)
		}
	}
}

// try admits a call if the lease covers it, and refuses it if it is known that
// costd would. Neither means that costd has to be asked for the lease returned.
func (g *Gate) try(service, tenant string, estimate Amount) (*Ticket, *lease, error) {
	now := g.cfg.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, nil, fault.New(fault.CostLimit, "draining", "the process stops and makes no more paid calls")
	}
	if len(g.frozen) > 0 {
		if scope, ok := g.isFrozen(service, tenant); ok {
			return nil, nil, refused(&Refusal{Scope: scope, What: "frozen"}, now)
		}
	}
	if wait := boundary(now, g.cfg.Skew); wait > 0 {
		return nil, nil, fault.New(fault.CostLimit, "budget", "the hour turns; resumes in %v", wait.Round(time.Millisecond)).After(wait)
	}
	l := g.lease(service, tenant, now)
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

func (g *Gate) isFrozen(service, tenant string) (Scope, bool) {
	for _, s := range Path(service, tenant) {
		if g.frozen[s] {
			return s, true
		}
	}
	return "", false
}

// remembered is how long a refusal is believed without asking again, and
// patience how long work waits for a wake-up before it tries on its own: both
// are for the wake-up that never came.
const (
	remembered = 5 * time.Second
	patience   = 30 * time.Second
)

// ReasonOverLimit is the reason of a refusal that no waiting mends: the call is
// dearer than the whole limit. A smaller call may do.
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
	}
	return &c
}

// refused says what a person has to know of a refusal.
func refused(r *Refusal, now time.Time) error {
	f := fault.New(fault.CostLimit, "budget", "budget %s/%s, resumes %s UTC or when raised", r.Scope, r.Window, r.Resets.UTC().Format("15:04"))
	limit := func(v int64) string {
		if r.What == "requests" {
			return fmt.Sprintf("%d requests", v)
		}
		return Dollars(v)
	}
	switch {
	case r.What == "frozen":
		f = fault.New(fault.CostLimit, "budget", "budget %s is frozen, resumes when it is not", r.Scope).
			WithHint("sluice budget resume %s", r.Scope).After(patience)
	case r.Never:
		f = fault.New(fault.CostLimit, ReasonOverLimit, "the call costs up to %s, the limit of %s is %s a %s", limit(r.Needs), r.Scope, limit(r.Limit), r.Window).
			WithHint("sluice budget set %s with at least %s a %s; the work waits", r.Scope, limit(r.Needs), r.Window).After(patience)
	default:
		f = f.WithHint("sluice budget set %s; the limit is %s a %s", r.Scope, limit(r.Limit), r.Window).After(max(time.Second, min(patience, r.Resets.Sub(now))))
	}
	return f.WaitFor(fault.On(fault.WaitBudget, string(r.Scope)))
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

// later runs f in the background, with a context that ends when Close begins. f
// has to return soon after.
func (g *Gate) later(f func(ctx context.Context)) {
	g.mu.Lock()
	if !g.closed {
		g.running.Go(func() { f(g.drain) })
		g.mu.Unlock()
		return
	}
	g.mu.Unlock()
	f(g.drain)
}

// SettleUnknown books the whole estimate: nobody knows what the call did cost.
func (t *Ticket) SettleUnknown() { t.Settle(t.Estimate.Nano) }

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
		body, err := json.Marshal(r)
		if err != nil {
			panic(err) // our own type
		}
		sent := time.Now()
		g.mu.Unlock()
		answer, ok := g.send(body, r.N, l)
		g.mu.Lock()
		if !ok {
			return
		}
		if !g.answered(l, r, answer, sent, wakes) {
			return
		}
	}
}

// request makes the next request. What it gives back is out of the balance
// before anyone hears of it. Callers hold mu.
func (g *Gate) request(l *lease) Request {
	l.n++
	r := Request{
		Lease: l.id, N: l.n, Service: l.service, Tenant: l.tenant, Time: l.time.UTC(), Used: l.used,
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
	r.Keep = l.held.Plus(l.balance)
	r.Keep = Amount{max(0, r.Keep.Nano), max(0, r.Keep.Requests)}
	return r
}

// send asks the same until there is an answer to it. A new number after a
// time-out would count what was used twice.
func (g *Gate) send(body []byte, n uint64, l *lease) (Answer, bool) {
	for {
		ctx, cancel := context.WithTimeout(g.ctx, 2*time.Second)
		msg, err := g.cfg.Conn.RequestWithContext(ctx, SubjectLease, body)
		cancel()
		var a Answer
		if err == nil {
			if err = json.Unmarshal(msg.Data, &a); err == nil && a.Lease == l.id && a.N == n && a.Error == "" {
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
		case <-time.After(200 * time.Millisecond):
		}
	}
}

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
	for {
		select {
		case <-g.ctx.Done():
			return
		case <-tick.C:
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

// Close admits nothing more, tells costd what was spent, and gives the rest
// back. What costd cannot be told within ctx counts as spent.
func (g *Gate) Close(ctx context.Context) error {
	g.mu.Lock()
	again := g.closed
	g.closed = true
	g.mu.Unlock()
	if again {
		return nil
	}
	g.close()
	var err error
	for err == nil {
		g.mu.Lock()
		open := 0
		for k, l := range g.leases {
			switch {
			case l.gone || l.n == 0 && !l.filling:
				delete(g.leases, k)
			default:
				open++
				if l.held.IsZero() && !l.filling {
					l.closing = true
					g.fill(l)
				}
			}
		}
		g.mu.Unlock()
		if open == 0 {
			break
		}
		select {
		case <-ctx.Done():
			err = fmt.Errorf("%d budget leases were not handed back and count as spent: %w", open, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
	for _, s := range g.subs {
		err = errors.Join(err, s.Unsubscribe())
	}
	g.watcher.Close()
	g.cancel()
	g.running.Wait()
	return err
}

// Stop is Close with the time that a process that ends has for it.
func (g *Gate) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return g.Close(ctx)
}
