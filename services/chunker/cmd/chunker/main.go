// Command chunker runs the second stage of Sluice: Markdown in, chunks out.
package main

import (
	"context"
	"os"

	"sluice/pkg/broker"
	"sluice/pkg/stage"
	"sluice/services/chunker"
)

type config struct {
	Chunker chunker.Config  `embed:""`
	Routing chunker.Routing `embed:""`
}

// Declare is asked by stage.Main.
func (c *config) Declare() broker.Service { return c.Routing.Declare() }

func main() {
	os.Exit(stage.Main(chunker.Service,
		func(ctx context.Context, env *stage.Env, cfg *config) ([]stage.Stage, func() error, error) {
			return chunker.Stages(ctx, env, cfg.Chunker, cfg.Routing)
		}))
}
