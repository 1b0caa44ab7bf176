package router

import (
	"context"

	"sluice/pkg/fault"
	"sluice/pkg/provider"
)

// ReasonUnread marks the fault of a document that the fallback could not read
// either. It is held for the service, which may be able to.
const ReasonUnread = "needs-service"

// Parser returns real behind its control, with a fallback that takes over as the
// mode says; nil = none, and then every mode but local is real. What the fallback
// makes is tagged with its own name. Somewhere inside, real calls what Jobs
// returns.
func Parser(c *Control, real, fallback provider.Parser) provider.Parser {
	return &parser{real, c, fallback}
}

type parser struct {
	provider.Parser
	control  *Control
	fallback provider.Parser
}

// Parse has the service parse src, or the fallback. A document that its service
// refuses says nothing of the service.
func (p *parser) Parse(ctx context.Context, src provider.Source) (out provider.Parse, err error) {
	mode := p.control.Mode()
	if p.fallback != nil && (mode == Local || mode == Hybrid && !p.control.Serves()) {
		return p.degrade(ctx, src, p.control.absent())
	}
	away, err := p.control.do(ctx, 0, func(ctx context.Context) error {
		out, err = p.Parser.Parse(ctx, src)
		return err
	})
	if p.fallback != nil && mode == Hybrid && ctx.Err() == nil && away {
		return p.degrade(ctx, src, err)
	}
	return out, err
}

// degrade has the fallback parse. why is the service's own error.
func (p *parser) degrade(ctx context.Context, src provider.Source, why error) (provider.Parse, error) {
	out, err := p.fallback.Parse(ctx, src)
	if err != nil {
		if ctx.Err() != nil {
			return out, err
		}
		return out, fault.Wrap(err, fault.Unavailable, ReasonUnread, "%s; meanwhile %s cannot read it", fault.From(why).Message, p.fallback.Describe().Service).
			WithHint("it is parsed by itself once the service is asked again").WaitFor(p.control.key())
	}
	p.control.fallback.Inc()
	out.Parser, out.Fallback = p.fallback.Describe(), true
	return out, nil
}
