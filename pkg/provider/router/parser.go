package router

import (
	"context"

	"sluice/pkg/provider"
)

// Parser returns p behind its control.
func Parser(c *Control, p provider.Parser) provider.Parser { return &parser{p, c} }

type parser struct {
	provider.Parser
	control *Control
}

// Parse has the service parse src. A document that its service refuses says
// nothing of the service.
func (p *parser) Parse(ctx context.Context, src provider.Source) (out provider.Parse, err error) {
	err = p.control.Do(ctx, 0, func(ctx context.Context) error {
		out, err = p.Parser.Parse(ctx, src)
		return err
	})
	return out, err
}
