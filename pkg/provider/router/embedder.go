package router

import (
	"context"

	"sluice/pkg/provider"
)

// Embedder returns real behind its control, with a fallback that takes over as
// the mode says; nil = none, and then every mode but local is real. What the
// fallback makes is tagged with its own model. Somewhere inside, real calls what
// Client returns.
func Embedder(c *Control, real, fallback provider.Embedder) provider.Embedder {
	return &embedder{real, c, fallback}
}

type embedder struct {
	provider.Embedder
	control  *Control
	fallback provider.Embedder
}

// Embed asks the service, or the fallback.
func (e *embedder) Embed(ctx context.Context, inputs []provider.Input) (out provider.Embeddings, err error) {
	mode := e.control.Mode()
	if e.fallback != nil && (mode == Local || mode == Hybrid && !e.control.Serves()) {
		return e.degrade(ctx, inputs)
	}
	tokens := 0
	for _, in := range inputs {
		tokens += in.Tokens
	}
	away, err := e.control.do(ctx, tokens, func(ctx context.Context) error {
		out, err = e.Embedder.Embed(ctx, inputs)
		return err
	})
	if e.fallback != nil && mode == Hybrid && ctx.Err() == nil && away {
		return e.degrade(ctx, inputs)
	}
	return out, err
}

func (e *embedder) degrade(ctx context.Context, inputs []provider.Input) (provider.Embeddings, error) {
	out, err := e.fallback.Embed(ctx, inputs)
	if err != nil {
		return out, err
	}
	e.control.fallback.Inc()
	out.Model = e.fallback.Describe().Model
	out.Fallback = make([]bool, len(inputs))
	for i := range out.Fallback {
		out.Fallback[i] = true
	}
	return out, nil
}
