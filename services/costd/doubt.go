package costd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/budget"
	"sluice/pkg/events"
	"sluice/services/costd/ledger"
)

// doubt is why the ledgers are not to be trusted: they are older than they once
// were, so money that was spent is in none of them. See docs/adr.
//
// Four records outlive the bucket: the mark in another bucket, what the stages
// have seen, what this process has committed itself, and the usage events. The
// first three are numbers of commits, which only a commit raises.
type doubt struct {
	reason string
	since  time.Time // monotonic
	looked time.Time // when the ledgers were last read again
	rows   []budget.DoubtWindow
	events int
}

// again is how often a leader in doubt looks whether the right bucket is back.
const again = 10 * time.Second

// settling is how long nothing new is granted after ledgers were accepted, so
// that each stage has told what it had out of the lost ones.
const settling = 4 * time.Second

// doubts stops the grants.
func (g *Grantor) doubts(reason string) {
	if g.doubt == nil {
		g.doubt = &doubt{since: time.Now()}
	}
	if g.doubt.reason != reason {
		g.doubt.reason = reason
		g.cfg.Log.Error().Str("hint", doubtHint).Msg(reason + "; nothing is granted")
	}
	g.down(reason + "; nothing is granted until 'sluice budget accept-ledger'")
}

const doubtHint = "was JetStream restored from an old snapshot, or the bucket deleted? Restore the newest one, or let 'sluice budget accept-ledger' show what is lost"

// trust lets the grants go on.
func (g *Grantor) trust() {
	g.doubt = nil
	g.down("")
	g.announce(budget.SubjectWake, "")
}

// reconsider looks whether there still is a doubt: the right bucket may have
// been restored meanwhile.
func (g *Grantor) reconsider() error {
	if g.doubt == nil || time.Since(g.doubt.looked) < again {
		return nil
	}
	ctx, cancel := context.WithTimeout(g.ctx, time.Minute)
	defer cancel()
	return g.examine(ctx)
}

// examine reads the ledgers and compares them with all that is known of them.
func (g *Grantor) examine(ctx context.Context) error {
	// The usage events come first: what they tell of is in the ledgers before.
	now := g.cfg.Now()
	told, err := g.costs(ctx, now)
	if err != nil {
		return fmt.Errorf("compare the ledgers with the usage events: %w", err)
	}
	if err := g.load(); err != nil {
		return err
	}
	lost := int64(0)
	var rows []budget.DoubtWindow
	for _, w := range budget.Windows(now) {
		key := budget.LedgerKey(budget.Global, w)
		l := g.draft().peek(key)
		limit, _ := g.limits(budget.Global).In(w)
		r := budget.DoubtWindow{Window: w.Name(), Ledger: l.Settled.Nano + l.Out.Nano, Costs: told.sums[key].Nano, Limit: limit}
		rows = append(rows, r)
		lost = max(lost, r.Lost())
	}
	switch {
	case g.behind():
	case lost > 0:
		g.doubts(fmt.Sprintf("the ledger has forgotten %s: the usage events of %s tell of it", budget.Dollars(lost), events.StreamCosts))
	case g.doubt != nil:
		g.trust()
	}
	if g.doubt != nil {
		g.doubt.looked, g.doubt.rows, g.doubt.events = time.Now(), rows, told.events
	}
	return nil
}

// behind stops the grants if a commit was made that the ledgers do not have.
func (g *Grantor) behind() bool {
	if g.heard <= g.book.commit {
		return false
	}
	g.doubts(fmt.Sprintf("the ledger runs backwards: commit %d was made, the newest in the bucket %s is %d", g.heard, events.BucketBudget, g.book.commit))
	return true
}

// told is what the usage events of the running windows tell, by ledger.
type told struct {
	events int
	sums   map[string]budget.Amount
}

// costs adds the usage events of the running hour and day up. A call that cost
// more than its estimate counts with the estimate: no ledger promises more.
func (g *Grantor) costs(ctx context.Context, now time.Time) (told, error) {
	t := told{sums: map[string]budget.Amount{}}
	windows := budget.Windows(now)
	stream, err := g.cfg.JS.Stream(ctx, events.StreamCosts)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return t, nil
	}
	if err != nil {
		return t, err
	}
	// By the server's clock, as the events are stored; with room for its skew.
	since := time.Now().Add(windows[1].Start.Sub(now)).Add(-time.Minute)
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &since})
	if err != nil {
		return t, err
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return t, err
	}
	for left := info.NumPending; left > 0; {
		batch, err := consumer.Fetch(int(min(left, 1000)), jetstream.FetchMaxWait(5*time.Second))
		if err != nil {
			return t, err
		}
		n := uint64(0)
		for m := range batch.Messages() {
			n++
			if u, err := events.Decode[events.Usage](m.Data()); err == nil && u.Outcome != events.OutcomeReused && !found(u) {
				t.add(u, windows)
			}
		}
		if err := batch.Error(); err != nil {
			return t, err
		}
		if n == 0 {
			return t, fmt.Errorf("the stream %s stopped with %d events to go", events.StreamCosts, left)
		}
		left -= min(left, n)
	}
	return t, nil
}

// found tells whether the event is of a job that another process has paid for and
// this one found ended: its time is not the one that the money was taken out at.
func found(u *events.Usage) bool { return u.Operation == "parse" && u.Seconds == 0 }

func (t *told) add(u *events.Usage, windows [2]budget.Window) {
	nano := u.Nano
	if u.Estimate > 0 {
		nano = min(nano, u.Estimate)
	}
	lease := ledger.Lease{Service: u.Service, Tenant: u.Tenant, Query: u.Operation == budget.OperationQuery}
	for i, w := range budget.Windows(u.Time) {
		if w != windows[i] {
			continue
		}
		if w.Day {
			t.events++
		}
		for _, s := range lease.Path() {
			a := budget.Amount{Nano: nano, Requests: 1}
			if lease.Query && s != budget.Query {
				a.Requests = 0
			}
			key := budget.LedgerKey(s, w)
			t.sums[key] = t.sums[key].Plus(a)
		}
	}
}

// asked answers what a person asks about ledgers in doubt.
func (g *Grantor) asked(m *nats.Msg, c budget.Change) {
	d := g.answer(c)
	if err := m.Respond(encode(d)); err != nil {
		g.cfg.Log.Debug().Err(err).Msg("answering")
	}
}

func (g *Grantor) answer(c budget.Change) (d budget.Doubt) {
	if g.doubt == nil {
		return budget.Doubt{Commit: g.book.commit, Mark: g.heard}
	}
	ctx, cancel := context.WithTimeout(g.ctx, time.Minute)
	defer cancel()
	fail := func(format string, args ...any) budget.Doubt {
		d.Error = fmt.Sprintf(format, args...)
		return d
	}
	if err := g.examine(ctx); err != nil {
		return fail("the ledgers cannot be read: %v", err)
	}
	if g.doubt == nil { // the right bucket is back
		return budget.Doubt{Commit: g.book.commit, Mark: g.heard}
	}
	until := g.doubt.since.Add(g.cfg.Terms.TTL + g.cfg.Terms.Margin)
	d = budget.Doubt{
		Reason: g.doubt.reason, Hint: doubtHint, Commit: g.book.commit, Mark: g.heard,
		Rows: g.doubt.rows, Events: g.doubt.events, Until: until.UTC(),
	}
	switch {
	case c.Ledger != budget.LedgerAccept:
		return d
	case c.Mark != g.heard:
		return fail("the doubt is another one than the one that was shown; look again")
	case time.Now().Before(until):
		return fail("stages may hold leases of the lost ledgers until %s UTC; accept after that", until.UTC().Format(time.TimeOnly))
	}
	if err := g.accept(ctx); err != nil {
		return fail("the ledgers could not be accepted: %v", err)
	}
	d.Accepted = true
	return d
}

// accept raises the ledgers to what the usage events tell, and counts on from
// above every number that anybody has heard of. If the process dies between two
// commits the doubt is still there, and accepting goes on from what was raised.
func (g *Grantor) accept(ctx context.Context) error {
	now := g.cfg.Now()
	t, err := g.costs(ctx, now)
	if err != nil {
		return err
	}
	keys := slices.Sorted(maps.Keys(t.sums))
	d := g.draft()
	windows := budget.Windows(now)
	for _, key := range keys {
		if len(d.ledgers) == 200 {
			// A batch has a bound. These ones alone do not end the doubt.
			if _, err := d.commit(); err != nil {
				return errors.Join(err, g.load())
			}
			d = g.draft()
		}
		scope, w := splitKey(key, windows)
		l, sum := d.edit(scope, w), t.sums[key]
		l.Settled.Nano = max(l.Settled.Nano, sum.Nano-l.Out.Nano)
		l.Settled.Requests = max(l.Settled.Requests, sum.Requests-l.Out.Requests)
	}
	for _, w := range windows {
		d.edit(budget.Global, w) // there is something to commit in any case
	}
	// Far above: a commit or two may have been seen by a stage and not marked.
	const above = 1_000_000
	d.number = max(g.heard, g.book.commit) + above
	number, err := d.commit()
	if err != nil {
		return errors.Join(err, g.load())
	}
	if err := g.raiseMark(ctx, number); err != nil {
		g.cfg.Log.Warn().Err(err).Msg("marking the accepted ledgers; again soon")
	}
	g.settle = time.Now().Add(settling)
	g.cfg.Log.Warn().Uint64("commit", number).Msg("the ledgers were accepted; grants go on")
	g.trust()
	return nil
}

// splitKey returns the scope and the window of a ledger's key.
func splitKey(key string, windows [2]budget.Window) (budget.Scope, budget.Window) {
	for _, w := range windows {
		prefix, suffix := "ledger.", "."+w.Key()
		if len(key) > len(prefix)+len(suffix) && key[len(key)-len(suffix):] == suffix {
			return budget.Scope(key[len(prefix) : len(key)-len(suffix)]), w
		}
	}
	panic("a ledger of another window: " + key)
}
