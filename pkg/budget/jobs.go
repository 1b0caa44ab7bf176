package budget

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/provider"
)

// Parser makes a Parser of a paid service that works by jobs. A job's whole bound
// is reserved before it is created, and what it did not cost comes back once the
// service has billed it. Every job is noted in records before and after its
// create, so that whoever meets the same content again, after a crash or in
// another replica, finds the running job instead of paying for a second one.
//
//	no note                 reserve, note, create, note the job
//	a note without a job    somebody creates it now: wait. Or its outcome is
//	                        unknown: look for it at the service, then as above
//	a note with a job       wait for that one; it has been paid for
func Parser(g *Gate, stage string, jobs provider.Jobs, records jetstream.KeyValue) provider.Parser {
	return &parser{gate: g, stage: stage, jobs: jobs, records: records, info: jobs.Describe(), parked: map[string][]*parked{}}
}

type parser struct {
	gate    *Gate
	stage   string
	jobs    provider.Jobs
	records jetstream.KeyValue
	info    provider.ParserInfo

	mu     sync.Mutex
	parked map[string][]*parked
}

// parked is the reservation of a job that was let go for a moment, or of a create
// whose outcome is unknown: whoever in this process takes the content up again
// settles it.
type parked struct {
	ticket  *Ticket
	failure error // of a create whose outcome is unknown; nil = the job is known
	taken   chan struct{}
}

// park keeps a reservation for the next attempt. If none comes, or the process
// ends, lost has to settle it.
func (p *parser) park(key string, t *Ticket, failure error, patience time.Duration, lost func()) {
	k := &parked{t, failure, make(chan struct{})}
	p.mu.Lock()
	p.parked[key] = append(p.parked[key], k)
	p.mu.Unlock()
	p.gate.later(func(ctx context.Context) {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case <-k.taken:
			return
		case <-ctx.Done():
		case <-timer.C:
		}
		p.mu.Lock()
		i := slices.Index(p.parked[key], k)
		if i >= 0 {
			p.parked[key] = slices.Delete(p.parked[key], i, i+1)
		}
		if len(p.parked[key]) == 0 {
			delete(p.parked, key)
		}
		p.mu.Unlock()
		if i >= 0 {
			lost()
		}
	})
}

// take returns the reservation that was parked last, or nil.
func (p *parser) take(key string) *parked {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.parked[key]
	if len(all) == 0 {
		return nil
	}
	k := all[len(all)-1]
	if p.parked[key] = all[:len(all)-1]; len(all) == 1 {
		delete(p.parked, key)
	}
	close(k.taken)
	return k
}

const (
	// parking is how long a reservation waits for the next attempt: longer than
	// any delay between retries.
	parking = 10 * time.Minute
	// outage is how long the reservation of a create with an unknown outcome waits
	// for the service to tell whether there is a job.
	outage = time.Hour
	// listed is the age at which a job would surely be among those that the
	// service tells of.
	listed = time.Minute
)

// record is the note of a job.
type record struct {
	Job    string    `json:"job,omitempty"`
	Since  time.Time `json:"since,omitzero"` // when the create began
	Until  time.Time `json:"until"`          // a create without a job is believed to be under way until then
	Told   bool      `json:"told,omitempty"` // its usage event is out
	Pages  int       `json:"pages"`          // of its bound
	Bound  int64     `json:"bound"`          // nano-dollars
	rev    uint64
	exists bool
}

// creating bounds how long a create may take, from note to note.
const creating = 6 * time.Minute

// Describe names the parser.
func (p *parser) Describe() provider.ParserInfo { return p.info }

func (p *parser) key(src provider.Source) string {
	// The file's extension tells the service what to make of the bytes.
	return events.Fingerprint(p.info.Service, p.info.Version, events.ContentHash(src.Data), strings.ToLower(path.Ext(src.Name)))
}

func (p *parser) load(ctx context.Context, key string) (r record, err error) {
	e, err := p.records.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return record{}, nil
	}
	if err != nil {
		return r, fmt.Errorf("look for an earlier job: %w", err)
	}
	if err := json.Unmarshal(e.Value(), &r); err != nil {
		return r, fault.Wrap(err, fault.Halt, "job-record", "the entry %s of the bucket %s is malformed", key, p.records.Bucket()).
			WithHint("look whether the service runs a job for the document, then remove the entry")
	}
	r.rev, r.exists = e.Revision(), true
	return r, nil
}

func (p *parser) save(ctx context.Context, key string, r *record) (err error) {
	if r.exists {
		r.rev, err = p.records.Update(ctx, key, events.Encode(r), r.rev)
	} else {
		r.rev, err = p.records.Create(ctx, key, events.Encode(r))
	}
	r.exists = r.exists || err == nil
	return err
}

func (p *parser) forget(ctx context.Context, key string, r *record) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := p.records.Purge(ctx, key, jetstream.LastRevision(r.rev)); err != nil {
		p.gate.cfg.Log.Warn().Err(err).Str("key", key).Msg("the note of a job that has ended badly stays")
	}
	r.exists = false
}

func busy(key string) error {
	return fault.New(fault.Unavailable, "parsed-elsewhere", "another replica has the same document parsed").
		WaitFor(fault.On(fault.WaitClaim, key)).After(2 * time.Second)
}

// Parse has src parsed. Besides the errors of the service it returns the
// CostLimit fault of Gate.Admit, before anything is sent.
func (p *parser) Parse(ctx context.Context, src provider.Source) (provider.Parse, error) {
	key := p.key(src)
	r, err := p.load(ctx, key)
	if err != nil {
		return provider.Parse{}, err
	}
	if r.exists && r.Job == "" {
		if time.Now().Before(r.Until) {
			return provider.Parse{}, busy(key)
		}
		if r.Job, err = p.jobs.Find(ctx, src, r.Since); err != nil {
			return provider.Parse{}, err
		}
		if r.Job != "" {
			if err := p.save(ctx, key, &r); err != nil {
				return provider.Parse{}, busy(key)
			}
		} else if k := p.take(key); k != nil {
			// The service knows no such job. If it would have by now, none was started.
			outcome, nano := events.OutcomeUnknown, r.Bound
			if time.Since(r.Until) > listed {
				outcome, nano = events.OutcomeUnbilled, 0
			}
			p.book(k.ticket, r, src, outcome, nano, k.failure)
		}
	}
	var t *Ticket
	if r.Job == "" {
		if t, err = p.create(ctx, key, src, &r); err != nil {
			return provider.Parse{}, err
		}
	} else if k := p.take(key); k != nil {
		t = k.ticket
	}
	out, err := p.jobs.Await(ctx, r.Job, src)
	switch f := fault.From(err); {
	case err == nil:
	case f.Reason == "job-unknown":
		// The service has forgotten it: the next attempt starts another.
		p.forget(ctx, key, &r)
		if t != nil {
			p.book(t, r, src, events.OutcomeUnknown, r.Bound, err)
		}
		return out, err
	case f.Class.Permanent():
		p.forget(ctx, key, &r) // a replay is a wish for another try
	default:
		// Whoever takes it up again finds the job. What it costs is out of the
		// ledger already, and told by whoever sees its end.
		if t != nil {
			p.park(key, t, nil, parking, t.SettleUnknown)
		}
		return out, err
	}
	p.settle(ctx, key, t, r, src, out, err)
	return out, err
}

// create reserves the money, and starts the job.
func (p *parser) create(ctx context.Context, key string, src provider.Source, r *record) (*Ticket, error) {
	bound, err := p.jobs.Bound(src)
	if err != nil {
		return nil, err
	}
	tenant := cmp.Or(src.Owner.Tenant, events.DefaultTenant)
	t, err := p.gate.Admit(ctx, p.info.Service, tenant, Amount{bound.Nano, 1})
	if err != nil {
		return nil, err
	}
	r.Since = time.Now()
	r.Until, r.Bound, r.Pages, r.Told = r.Since.Add(creating), bound.Nano, bound.Pages, false
	if err := p.save(ctx, key, r); err != nil {
		t.cancel()
		return nil, busy(key)
	}
	done := false
	defer func() {
		if !done { // a panic of the client is an attempt, too
			p.book(t, *r, src, events.OutcomeUnknown, bound.Nano, errors.New("the client panicked"))
		}
	}()
	call, cancel := context.WithTimeout(ctx, creating-time.Minute)
	defer cancel()
	r.Job, err = p.jobs.Create(call, src)
	done = true
	switch {
	case err == nil:
	case provider.IsUnbilled(err):
		p.forget(ctx, key, r)
		p.book(t, *r, src, events.OutcomeUnbilled, 0, err)
		return nil, err
	default:
		// Whether a job was started is told by whoever looks for it.
		r.Until = time.Now()
		p.keep(ctx, key, r)
		lost, from := *r, src
		from.Data = nil // nothing there needs it any more
		p.park(key, t, err, outage, func() { p.forfeit(key, t, lost, from, err) })
		return nil, err
	}
	p.keep(ctx, key, r)
	return t, nil
}

// forfeit books the bound of a create, because nobody here has looked for its job
// in time. Of this process and another that finds the job, one tells the usage.
func (p *parser) forfeit(key string, t *Ticket, r record, src provider.Source, failure error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	now, err := p.load(ctx, key)
	switch {
	case err != nil:
		p.gate.cfg.Log.Warn().Err(err).Str("key", key).Msg("looking at the note of a create whose outcome is unknown")
	case now.Job != "" && now.Until.Equal(r.Until):
		t.SettleUnknown() // who has found it tells what it did cost
		return
	case now.exists && now.rev == r.rev:
		r.Told = true
		p.keep(ctx, key, &r)
	}
	p.book(t, r, src, events.OutcomeUnknown, r.Bound, failure)
}

// keep writes the note whatever happens to ctx: without it the job is found at
// the service only.
func (p *parser) keep(ctx context.Context, key string, r *record) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := p.save(ctx, key, r); err != nil {
		p.gate.cfg.Log.Warn().Err(err).Str("key", key).Msg("noting a job; if need be it is looked for at the service")
	}
}

// settle books what a job that has ended did cost, as soon as the service knows.
// The document does not wait for that.
func (p *parser) settle(ctx context.Context, key string, t *Ticket, r record, src provider.Source, out provider.Parse, failure error) {
	if r.Told {
		if t != nil {
			t.SettleUnknown()
		}
		return
	}
	r.Told = true
	if failure == nil {
		// Of several that waited for the job, one tells.
		if err := p.save(context.WithoutCancel(ctx), key, &r); err != nil {
			if t != nil {
				p.gate.cfg.Log.Warn().Err(err).Msg("noting that a job's cost is told")
			} else {
				return
			}
		}
	}
	if out.Facts.Pages > 0 {
		r.Pages = out.Facts.Pages
	}
	if failure == nil && out.Billed {
		p.book(t, r, src, events.OutcomeCharged, out.Nano, nil)
		return
	}
	src.Data = nil // nothing here needs it any more
	p.gate.later(func(ctx context.Context) {
		for wait, end := time.Second, time.Now().Add(billing); ; wait = min(2*wait, 30*time.Second) {
			nano, known, err := p.jobs.Cost(ctx, r.Job)
			if err == nil && known {
				p.book(t, r, src, events.OutcomeCharged, nano, failure)
				return
			}
			if !sleep(ctx, wait) || time.Now().After(end) {
				p.gate.cfg.Log.Warn().Str("job", r.Job).Str("service", p.info.Service).Int64("nano", r.Bound).
					Msg("the service has not said what a job cost; its bound is booked")
				p.book(t, r, src, events.OutcomeUnknown, r.Bound, failure)
				return
			}
		}
	})
}

// billing is how long a service may take to know what a job did cost.
const billing = 15 * time.Minute

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// book settles the ticket and tells the usage. Without a ticket, the ledger has
// the job's bound from the process that created it.
func (p *parser) book(t *Ticket, r record, src provider.Source, outcome events.Outcome, nano int64, failure error) {
	u := events.Usage{
		V: events.Version, ID: "job-" + events.Fingerprint(p.info.Service, r.Job), Service: p.info.Service, Operation: "parse", Model: p.info.Version,
		Stage: p.stage, Tenant: cmp.Or(src.Owner.Tenant, events.DefaultTenant), Outcome: outcome, Pages: r.Pages, Nano: nano, Estimate: r.Bound,
		Time: time.Now().UTC(), CorrelationID: src.Owner.CorrelationID,
	}
	if t != nil {
		t.Settle(nano)
		u.Time, u.Seconds = t.Time.UTC(), time.Since(t.Time).Seconds()
		if r.Job == "" {
			u.ID = t.ID()
		}
	}
	if outcome == events.OutcomeUnbilled {
		u.Pages = 0
	}
	if failure != nil {
		f := fault.From(failure)
		u.Class, u.Reason = f.Class.String(), f.Reason
	}
	if src.Owner.Document != "" {
		u.Shares = []events.Share{{Document: src.Owner.Document, CorrelationID: src.Owner.CorrelationID, Pages: u.Pages, Nano: nano}}
	}
	p.gate.record(&u)
}
