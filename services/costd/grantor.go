// Package costd is the cost daemon: it keeps the ledgers of the budget, grants
// leases to the stages that pay for what they do, and shows what is left.
//
// Any number may run. One leads; the others wait. Two that both believe to lead
// can only make each other's commits fail: every commit names the revision of
// each entry that it replaces, and all entries of a path change together or not
// at all.
package costd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"sluice/pkg/budget"
	"sluice/pkg/events"
	"sluice/services/costd/ledger"
)

// GrantorConfig configures a Grantor. Zero values are defaults.
type GrantorConfig struct {
	Conn   *nats.Conn
	JS     jetstream.JetStream
	Log    zerolog.Logger
	Name   string                         // tells this process from the other costd's
	Now    func() time.Time               // nil = time.Now
	Terms  ledger.Terms                   // zero = 30 s, 10 s, 2 min
	Skew   time.Duration                  // stages whose clock is further off get nothing; 0 = 2 s
	Limits map[budget.Scope]budget.Limits // until others are set
	Shown  func(budget.State)             // a scope's state was shown; may be nil
}

// Grantor answers lease requests while it leads.
type Grantor struct {
	cfg     GrantorConfig
	kv      jetstream.KeyValue
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	queue   chan *nats.Msg

	// Of the goroutine that serves alone.
	marks   jetstream.KeyValue
	marked  uint64
	book    *book
	refused bool                  // somebody lacks something
	waiting map[budget.Scope]bool // services whose calls wait for the global or their own limits
	shown   map[budget.Scope]shown
	dirty   map[budget.Scope]bool
}

type shown struct {
	state budget.State
	at    time.Time
}

// book is the bucket in memory.
type book struct {
	ledgers map[string]entry[ledger.Ledger]
	leases  map[string]entry[ledger.Lease]
	limits  map[budget.Scope]entry[budget.Limits]
	last    uint64 // the newest sequence known
}

type entry[T any] struct {
	value    *T
	revision uint64
}

const (
	bucketStream = "KV_" + events.BucketBudget
	keyPrefix    = "$KV." + events.BucketBudget + "."
	leaderKey    = "leader"
	beat         = time.Second
	silence      = 5 * time.Second  // of a leader, before another takes over
	kept         = 10 * time.Minute // a closed lease, for late repeats of its last request
)

// NewGrantor starts a grantor. It answers once it leads.
func NewGrantor(ctx context.Context, cfg GrantorConfig) (*Grantor, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Terms == (ledger.Terms{}) {
		cfg.Terms = ledger.Terms{TTL: 30 * time.Second, Margin: 10 * time.Second, Call: 2 * time.Minute}
	}
	if cfg.Skew == 0 {
		cfg.Skew = 2 * time.Second
	}
	if cfg.Limits == nil {
		cfg.Limits = map[budget.Scope]budget.Limits{budget.Global: budget.Defaults()}
	}
	kv, err := cfg.JS.KeyValue(ctx, events.BucketBudget)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", events.BucketBudget, err)
	}
	marks, err := cfg.JS.KeyValue(ctx, events.BucketPipeline)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", events.BucketPipeline, err)
	}
	g := &Grantor{cfg: cfg, kv: kv, marks: marks, queue: make(chan *nats.Msg, 4096), shown: map[budget.Scope]shown{}, dirty: map[budget.Scope]bool{}, waiting: map[budget.Scope]bool{}}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.running.Go(g.run)
	return g, nil
}

// Close stops answering. Stages go on with what they hold.
func (g *Grantor) Close() error {
	g.cancel()
	g.running.Wait()
	return nil
}

// run waits for the lead, leads, and waits again.
func (g *Grantor) run() {
	for g.ctx.Err() == nil {
		revision, ok := g.takeLead()
		if !ok {
			return
		}
		g.cfg.Log.Info().Str("name", g.cfg.Name).Msg("leads: grants budget leases")
		if err := g.lead(revision); err != nil && g.ctx.Err() == nil {
			g.cfg.Log.Warn().Err(err).Msg("does not lead any more")
			g.sleep(beat)
		}
	}
}

func (g *Grantor) sleep(d time.Duration) bool {
	select {
	case <-g.ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// takeLead returns once the leader of old has been silent for long, or there is
// none. Only this process's own clock measures the silence.
func (g *Grantor) takeLead() (uint64, bool) {
	var seen uint64
	since := time.Now()
	for {
		e, err := g.kv.Get(g.ctx, leaderKey)
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound):
			if r, err := g.kv.Create(g.ctx, leaderKey, []byte(g.cfg.Name)); err == nil {
				return r, true
			}
		case err == nil && e.Revision() != seen:
			seen, since = e.Revision(), time.Now()
			if string(e.Value()) == "" { // handed over
				since = time.Time{}
			}
		}
		if err == nil && time.Since(since) > silence {
			if r, err := g.kv.Update(g.ctx, leaderKey, []byte(g.cfg.Name), seen); err == nil {
				return r, true
			}
		}
		if !g.sleep(beat / 2) {
			return 0, false
		}
	}
}

// lead serves until the lead is lost.
func (g *Grantor) lead(revision uint64) error {
	if err := g.load(); err != nil {
		return err
	}
	for _, subject := range []string{budget.SubjectLease, budget.SubjectSet} {
		sub, err := g.cfg.Conn.ChanSubscribe(subject, g.queue)
		if err != nil {
			return err
		}
		defer func() {
			if err := sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
				g.cfg.Log.Debug().Err(err).Msg("unsubscribing")
			}
		}()
	}
	if err := g.reclaim(); err != nil {
		return err
	}
	g.publish(true)
	g.announce(budget.SubjectWake) // who waited for a leader need not wait for the next try
	heart, housekeeping := time.NewTicker(beat), time.NewTicker(beat/4)
	defer heart.Stop()
	defer housekeeping.Stop()
	for {
		select {
		case <-g.ctx.Done():
			// Hand the lead over, so that the next one need not wait out a silence.
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_, err := g.kv.Update(ctx, leaderKey, nil, revision)
			return err
		case <-heart.C:
			r, err := g.kv.Update(g.ctx, leaderKey, []byte(g.cfg.Name), revision)
			if err != nil {
				return fmt.Errorf("keep the lead: %w", err)
			}
			revision = r
			g.mark()
			if err := g.reclaim(); err != nil {
				return err
			}
		case <-housekeeping.C:
			g.publish(false)
		case m := <-g.queue:
			batch := []*nats.Msg{m}
			for len(batch) < 64 && len(g.queue) > 0 {
				batch = append(batch, <-g.queue)
			}
			if err := g.serve(batch); err != nil {
				return err
			}
		}
	}
}

// load reads the bucket anew: there is no truth in memory.
func (g *Grantor) load() error {
	ctx, cancel := context.WithTimeout(g.ctx, 30*time.Second)
	defer cancel()
	b := &book{ledgers: map[string]entry[ledger.Ledger]{}, leases: map[string]entry[ledger.Lease]{}, limits: map[budget.Scope]entry[budget.Limits]{}}
	w, err := g.kv.WatchFiltered(ctx, []string{"limits.>", "ledger.>", "lease.>"}, jetstream.IgnoreDeletes())
	if err != nil {
		return fmt.Errorf("read the ledgers: %w", err)
	}
	defer func() {
		if err := w.Stop(); err != nil {
			g.cfg.Log.Debug().Err(err).Msg("ending the reading of the ledgers")
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("read the ledgers: %w", ctx.Err())
		case e := <-w.Updates():
			if e == nil {
				stream, err := g.cfg.JS.Stream(ctx, bucketStream)
				if err != nil {
					return fmt.Errorf("read the ledgers: %w", err)
				}
				b.last = stream.CachedInfo().State.LastSeq
				if err := g.checkMark(ctx, b.last); err != nil {
					return err
				}
				g.book = b
				return nil
			}
			if err := b.add(e); err != nil {
				return err
			}
		}
	}
}

// MarkKey is the key in the bucket "pipeline" of the newest commit's sequence.
// The mark is kept apart from the ledgers, so that a bucket restored from an old
// snapshot is known by it.
const MarkKey = "budget.mark"

// checkMark fails if the ledgers are older than they once were.
func (g *Grantor) checkMark(ctx context.Context, last uint64) error {
	e, err := g.marks.Get(ctx, MarkKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the mark of the ledgers: %w", err)
	}
	if mark, err := strconv.ParseUint(string(e.Value()), 10, 64); err != nil || mark > last {
		return fmt.Errorf("the ledger runs backwards: commit %s was made, the newest is %d; nothing is granted. Was JetStream restored from an old snapshot? "+
			"Compare with the providers' figures, set the limits to what may still be spent, then remove the mark: nats kv purge %s %s",
			events.CleanHeader(string(e.Value()), 32), last, events.BucketPipeline, MarkKey)
	}
	return nil
}

// mark notes how far the ledgers are.
func (g *Grantor) mark() {
	if g.book.last == g.marked {
		return
	}
	if _, err := g.marks.PutString(g.ctx, MarkKey, strconv.FormatUint(g.book.last, 10)); err != nil {
		g.cfg.Log.Debug().Err(err).Msg("marking how far the ledgers are")
		return
	}
	g.marked = g.book.last
}

func (b *book) add(e jetstream.KeyValueEntry) error {
	kind, rest, _ := strings.Cut(e.Key(), ".")
	var err error
	switch kind {
	case "ledger":
		v := new(ledger.Ledger)
		err = json.Unmarshal(e.Value(), v)
		b.ledgers[e.Key()] = entry[ledger.Ledger]{v, e.Revision()}
	case "lease":
		v := new(ledger.Lease)
		err = json.Unmarshal(e.Value(), v)
		b.leases[rest] = entry[ledger.Lease]{v, e.Revision()}
	case "limits":
		v := new(budget.Limits)
		err = json.Unmarshal(e.Value(), v)
		b.limits[budget.Scope(rest)] = entry[budget.Limits]{v, e.Revision()}
	}
	if err != nil {
		return fmt.Errorf("the entry %s of the bucket %s is malformed; nothing is granted: %w", e.Key(), events.BucketBudget, err)
	}
	return nil
}

func (g *Grantor) limits(s budget.Scope) budget.Limits {
	if e, ok := g.book.limits[s]; ok {
		return *e.value
	}
	return g.cfg.Limits[s]
}

// draft is a set of changes that are to be made together.
type draft struct {
	g       *Grantor
	ledgers map[string]*ledger.Ledger
	leases  map[string]*ledger.Lease
	limits  map[budget.Scope]*budget.Limits
	scopes  map[budget.Scope]bool
}

func (g *Grantor) draft() *draft {
	return &draft{g, map[string]*ledger.Ledger{}, map[string]*ledger.Lease{}, map[budget.Scope]*budget.Limits{}, map[budget.Scope]bool{}}
}

func (d *draft) limitsOf(s budget.Scope) budget.Limits {
	if l := d.limits[s]; l != nil {
		return *l
	}
	return d.g.limits(s)
}

// accounts returns working copies of the ledgers that a lease is charged to.
func (d *draft) accounts(l *ledger.Lease) []ledger.Account {
	var all []ledger.Account
	for _, s := range budget.Path(l.Service, l.Tenant) {
		d.scopes[s] = true
		for _, w := range budget.Windows(l.Time) {
			key := budget.LedgerKey(s, w)
			v := d.ledgers[key]
			if v == nil {
				v = &ledger.Ledger{}
				if e, ok := d.g.book.ledgers[key]; ok {
					*v = *e.value
					v.Open = maps.Clone(e.value.Open)
				}
				d.ledgers[key] = v
			}
			limits := d.limitsOf(s)
			v.LimitNano, v.LimitRequests = limits.In(w)
			all = append(all, ledger.Account{Scope: s, Window: w, Limits: limits, Ledger: v})
		}
	}
	return all
}

func (d *draft) lease(id string) *ledger.Lease {
	if l := d.leases[id]; l != nil {
		return l
	}
	if e, ok := d.g.book.leases[id]; ok {
		return e.value
	}
	return nil
}

// commit makes the draft durable: all of it, or nothing. The expected revisions
// are the fence against another grantor.
func (d *draft) commit() (uint64, error) {
	b := d.g.book
	var keys []string
	var messages []*nats.Msg
	put := func(key string, v any, revision uint64) {
		data, err := json.Marshal(v)
		if err != nil {
			panic(err) // our own types
		}
		m := nats.NewMsg(keyPrefix + key)
		m.Header.Set("Nats-Expected-Last-Subject-Sequence", fmt.Sprint(revision))
		m.Data = data
		keys, messages = append(keys, key), append(messages, m)
	}
	for k, v := range d.ledgers {
		put(k, v, b.ledgers[k].revision)
	}
	for id, v := range d.leases {
		put("lease."+id, v, b.leases[id].revision)
	}
	for s, v := range d.limits {
		put(budget.LimitsKey(s), v, b.limits[s].revision)
	}
	if len(messages) == 0 {
		return b.last, nil
	}
	ctx, cancel := context.WithTimeout(d.g.ctx, 5*time.Second)
	defer cancel()
	ack, err := jetstreamext.PublishMsgBatch(ctx, d.g.cfg.JS, messages)
	if err != nil {
		return 0, err
	}
	for i, k := range keys {
		revision := ack.Sequence - uint64(len(keys)-1-i)
		kind, rest, _ := strings.Cut(k, ".")
		switch kind {
		case "ledger":
			b.ledgers[k] = entry[ledger.Ledger]{d.ledgers[k], revision}
		case "lease":
			b.leases[rest] = entry[ledger.Lease]{d.leases[rest], revision}
		case "limits":
			b.limits[budget.Scope(rest)] = entry[budget.Limits]{d.limits[budget.Scope(rest)], revision}
		}
	}
	b.last = ack.Sequence
	for s := range d.scopes {
		d.g.dirty[s] = true
	}
	return ack.Sequence, nil
}

// serve answers a batch of requests after one commit. A commit that fails is
// looked into by reading everything anew: it may have gone through, and then
// the requests are repeats.
func (g *Grantor) serve(batch []*nats.Msg) error {
	for attempt := 0; ; attempt++ {
		d := g.draft()
		var replies []func(commit uint64)
		grown := false
		for _, m := range batch {
			reply, more := g.handle(d, m)
			grown = grown || more
			replies = append(replies, func(commit uint64) {
				if err := m.Respond(reply(commit)); err != nil {
					g.cfg.Log.Debug().Err(err).Msg("answering; the stage will ask again")
				}
			})
		}
		commit, err := d.commit()
		if err == nil {
			for _, r := range replies {
				r(commit)
			}
			if grown {
				g.refused = false
				g.publish(true)
				g.announce(budget.SubjectWake)
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

// handle applies one message to the draft. It returns the answer, which is sent
// after the commit, and whether there is more headroom for those who lack it.
func (g *Grantor) handle(d *draft, m *nats.Msg) (reply func(commit uint64) []byte, grown bool) {
	if m.Subject == budget.SubjectSet {
		return g.set(d, m.Data)
	}
	var r budget.Request
	answer := func(a budget.Answer) func(uint64) []byte {
		return func(commit uint64) []byte {
			a.Commit = commit
			return encode(a)
		}
	}
	if err := json.Unmarshal(m.Data, &r); err != nil || r.Lease == "" || r.Service == "" || r.Tenant == "" || strings.ContainsAny(r.Lease, ".*> \t\r\n") || len(r.Lease) > 128 {
		return answer(budget.Answer{Lease: r.Lease, N: r.N, Error: "a malformed request"}), false
	}
	now := g.cfg.Now()
	refuse := func(format string, args ...any) (func(uint64) []byte, bool) {
		return answer(budget.Answer{Lease: r.Lease, N: r.N, Error: fmt.Sprintf(format, args...)}), false
	}
	l := d.lease(r.Lease)
	if r.Seen > g.book.last {
		// The other grantor may have led meanwhile; or the past has come back.
		if err := g.load(); err != nil {
			return refuse("the ledgers cannot be read: %v", err)
		}
		if r.Seen > g.book.last {
			return refuse("the ledger runs backwards: a stage has seen commit %d, the newest is %d. Was JetStream restored from an old snapshot? Freeze the budget, compare with the providers' figures, then restart the stages", r.Seen, g.book.last)
		}
		l = d.lease(r.Lease)
	}
	if off := r.Time.Sub(now); l == nil && r.N == 1 && (off > g.cfg.Skew || off < -g.cfg.Skew-10*time.Second) {
		return refuse("the stage's clock is off by %v; mend the clocks", off.Round(time.Millisecond))
	}
	a, kept, changed := ledger.Apply(r, l, d.accounts, now, g.cfg.Terms)
	if changed {
		d.leases[r.Lease] = kept
	}
	if service := budget.Service(r.Service); changed && !r.Need.IsZero() {
		waits := a.Refusal != nil && a.Refusal.Scope != budget.Tenant(r.Tenant) // of one tenant says nothing of the others
		if g.waiting[service] != waits {
			g.waiting[service], g.dirty[service] = waits, true
		}
	}
	returned := r.Close || (l != nil && l.Out.Nano > r.Used.Nano+r.Keep.Nano) || (l != nil && l.Out.Requests > r.Used.Requests+r.Keep.Requests)
	grown = changed && g.refused && returned
	if a.Refusal != nil && changed && a.Refusal.What != "frozen" {
		g.refused = true
		g.announce(budget.SubjectIdle)
	}
	return answer(a), grown
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own types
	}
	return b
}

// nobodyWaits forgets whose calls wait: other limits hold, and who still lacks
// something asks again. Money that comes back is no reason: it may be too little,
// and whoever it is enough for is granted it.
func (g *Grantor) nobodyWaits() {
	for s, waits := range g.waiting {
		if waits {
			g.dirty[s] = true
		}
	}
	clear(g.waiting)
}

// set changes the limits of a scope.
func (g *Grantor) set(d *draft, data []byte) (func(uint64) []byte, bool) {
	var c budget.Change
	if err := json.Unmarshal(data, &c); err != nil || !c.Scope.Valid() {
		return func(uint64) []byte { return encode(map[string]string{"error": "a malformed change of limits"}) }, false
	}
	l := d.limitsOf(c.Scope)
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
	g.nobodyWaits()
	g.announce(budget.SubjectIdle) // should it be lower: what lies idle comes back
	return func(uint64) []byte { return encode(l) }, true
}

// reclaim closes leases that were not heard of in time, and forgets old ones.
func (g *Grantor) reclaim() error {
	now := g.cfg.Now()
	d := g.draft()
	for id, e := range g.book.leases {
		switch {
		case !e.value.Closed && now.After(e.value.Expires):
			g.cfg.Log.Warn().Str("lease", id).Int64("nano", e.value.Out.Nano).Int64("requests", e.value.Out.Requests).
				Msg("a lease was not heard of; what was out counts as spent")
			d.leases[id] = ledger.Reclaim(id, e.value, d.accounts)
		case e.value.Closed && now.After(e.value.Expires.Add(kept)):
			err := g.kv.Purge(g.ctx, "lease."+id, jetstream.LastRevision(e.revision))
			if err != nil {
				return fmt.Errorf("forget the lease %s: %w", id, err)
			}
			delete(g.book.leases, id)
		}
	}
	if _, err := d.commit(); err != nil {
		g.cfg.Log.Warn().Err(err).Msg("reclaiming leases; reading the ledgers anew")
		return g.load()
	}
	return g.forget(now)
}

// forget removes ledgers of windows that ended long ago, a few at a time. What
// they say is in the usage events for longer.
func (g *Grantor) forget(now time.Time) error {
	n := 0
	for key, e := range g.book.ledgers {
		if n == 8 {
			return nil
		}
		window := key[strings.LastIndexByte(key, '.')+1:]
		layout := "d20060102"
		if strings.HasPrefix(window, "h") {
			layout = "h2006010215"
		}
		start, err := time.Parse(layout, window)
		if err != nil || now.Sub(start) < ledgersKept || len(e.value.Open) > 0 {
			continue
		}
		if err := g.kv.Purge(g.ctx, key, jetstream.LastRevision(e.revision)); err != nil {
			return fmt.Errorf("forget the ledger %s: %w", key, err)
		}
		delete(g.book.ledgers, key)
		n++
	}
	return nil
}

// ledgersKept is how long ledgers are kept after their window began.
const ledgersKept = 35 * 24 * time.Hour

// announce tells all stages something; what is missed is found out by asking.
func (g *Grantor) announce(subject string) {
	if err := g.cfg.Conn.Publish(subject, nil); err != nil {
		g.cfg.Log.Debug().Err(err).Str("subject", subject).Msg("announcing")
	}
}

// publish shows the states that have changed; all of them at once, or at most
// every second.
func (g *Grantor) publish(now bool) {
	at := g.cfg.Now()
	for s := range g.shown { // windows roll without anyone's doing
		for _, w := range g.shown[s].state.Windows {
			if !at.Before(w.Resets) {
				g.dirty[s] = true
				g.nobodyWaits()
				now = true
			}
		}
	}
	if _, ok := g.shown[budget.Global]; !ok {
		g.dirty[budget.Global] = true
	}
	for s := range g.dirty {
		before := g.shown[s]
		if !now && time.Since(before.at) < time.Second {
			continue
		}
		state := g.state(s, at)
		if _, err := g.kv.Put(g.ctx, budget.StateKey(s), encode(state)); err != nil {
			g.cfg.Log.Warn().Err(err).Str("scope", string(s)).Msg("showing the budget")
			continue
		}
		delete(g.dirty, s)
		g.shown[s] = shown{state, time.Now()}
		if before.state.State != state.State {
			level := g.cfg.Log.Info()
			if state.State != "open" {
				level = g.cfg.Log.Warn()
			}
			level.Str("scope", string(s)).Str("before", before.state.State).Str("state", state.State).Msg("budget: " + state.Reason)
			if err := g.cfg.Conn.Publish(budget.SubjectEvent+string(s), encode(state)); err != nil {
				g.cfg.Log.Debug().Err(err).Msg("telling a change of the budget")
			}
		}
		if g.cfg.Shown != nil {
			g.cfg.Shown(state)
		}
	}
}

// state sums a scope up.
func (g *Grantor) state(s budget.Scope, now time.Time) budget.State {
	limits := g.limits(s)
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
		if e, ok := g.book.ledgers[budget.LedgerKey(s, w)]; ok {
			ws.Spent, ws.Reserved = e.value.Settled, e.value.Reserved()
		}
		st.Windows = append(st.Windows, ws)
		judge := func(limit *int64, spent int64, what string) {
			switch {
			case limit == nil:
			case spent >= *limit:
				say(2, "paused", fmt.Sprintf("the %s's %s is spent; resets %s UTC", w.Name(), what, w.End().Format("15:04")))
			case spent >= *limit/10*8:
				say(1, "warning", fmt.Sprintf("80 %% of the %s's %s is spent", w.Name(), what))
			}
		}
		judge(nano, ws.Spent.Nano, "money")
		judge(requests, ws.Spent.Requests, "requests")
	}
	if limits.Frozen {
		say(3, "paused", "frozen")
	}
	return st
}
