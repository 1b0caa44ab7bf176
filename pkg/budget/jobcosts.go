package budget

import (
	"cmp"
	"context"
	"time"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/provider"
)

// forfeit books the bound of a create, because nobody here has looked for its job
// in time. Of this process and another that finds the job, one tells the usage.
func (p *JobParser) forfeit(key string, e *open) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	r := e.note
	now, err := p.load(ctx, key)
	switch {
	case err != nil:
		p.gate.cfg.Log.Warn().Err(err).Str("key", key).Msg("looking at the note of a create whose outcome is unknown")
	case now.Job != "" && now.Until.Equal(r.Until):
		e.ticket.SettleUnknown() // who has found it tells what it did cost
		return
	case now.exists && now.rev == r.rev:
		r.Told = true
		p.keep(ctx, key, &r)
	}
	p.book(e.ticket, r, e.source, events.OutcomeUnknown, r.Bound, e.failure)
}

// settle books what a job that has ended did cost, as soon as the service knows.
// The document does not wait for that.
func (p *JobParser) settle(ctx context.Context, key string, t *Ticket, r record, src provider.Source, out provider.Parse, failure error) {
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
			if t == nil && broker.LostRace(err) {
				return
			}
			p.gate.cfg.Log.Warn().Err(err).Str("key", key).Msg("noting that a job's cost is told")
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
func (p *JobParser) book(t *Ticket, r record, src provider.Source, outcome events.Outcome, nano int64, failure error) {
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
