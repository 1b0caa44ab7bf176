package parser

import (
	"context"

	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/provider"
	"sluice/pkg/stage"
)

// later queues a submission for the reparser. Its bytes go along: a submission is
// gone once it has been handed on, and what a reference points at may change.
func (s *parser) later(m *stage.Message, sub submission) {
	m.Publish(events.SubjectReparse, events.TypeReparse, "", events.Encode(events.Reparse{
		V: events.Version, Document: m.Document, Revision: m.Revision, Tenant: m.Tenant, File: sub.Name,
		ContentType: sub.ContentType, Charset: sub.Charset, Meta: sub.meta, Submitted: sub.submitted, Data: sub.Data,
	}))
}

// reparser returns the stage. Its parser p has no fallback, so the work is held
// until the service is back and the budget allows.
//
// What it makes is a revision of its own, between the fallback's and whatever is
// submitted later. So nothing here has to be checked for the sake of order: the
// check below saves money, and may be late.
func (s *parser) reparser(p provider.Parser) stage.Stage {
	return stage.Stage{
		Declaration: Service.Stage(Reparser),
		// Half: fresh documents come first, and what waits here waits with its bytes.
		Workers:  max(1, s.cfg.Workers/2),
		Identify: func(m *stage.Message) { m.Revision = m.Revision.Whole() },
		Handle: func(ctx context.Context, m *stage.Message) error {
			r, err := events.Decode[events.Reparse](m.Data)
			if err != nil {
				return err
			}
			if r.Document != m.Document || r.Revision.Whole() != m.Revision {
				return fault.Invalid("malformed-event", "body and headers name different documents or revisions")
			}
			wanted, err := s.wanted(ctx, r)
			if err != nil {
				return err
			}
			if !wanted {
				m.Emit(events.Event{What: events.Superseded}, "reparse")
				return nil
			}
			src := provider.Source{
				Name: r.File, ContentType: r.ContentType, Charset: r.Charset, Data: r.Data,
				Owner: provider.Owner{Tenant: m.Tenant, Document: m.Document, CorrelationID: m.CorrelationID},
			}
			out, err := p.Parse(ctx, src)
			if err != nil {
				return err
			}
			s.deliver(m, submission{src, events.ContentHash(r.Data), r.Meta, r.Submitted}, out)
			return nil
		},
	}
}

// wanted tells whether a submission may still profit from a better parse: what
// has been replaced or deleted meanwhile is not paid for.
func (s *parser) wanted(ctx context.Context, r *events.Reparse) (bool, error) {
	d, err := s.entry(ctx, r.Document)
	if d == nil || err != nil {
		return err == nil, err
	}
	return events.Overtaken(d, r.Revision) == 0, nil
}
