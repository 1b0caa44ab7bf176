// Command chunker runs the second stage of Sluice: Markdown in, chunks out.
package main

import (
	"context"
	"os"

	"sluice/pkg/stage"
	"sluice/services/chunker"
)

type config struct {
	Chunker chunker.Config  `embed:""`
	Routing chunker.Routing `embed:""`
	From    string          `name:"from" env:"SLUICE_CHUNKER_FROM" placeholder:"STREAM" help:"Consume another stream than PARSED: one that a stage of yours fills."`
}

func main() {
	os.Exit(stage.Main("chunker", "Cuts Markdown into chunks along its structure.",
		func(_ context.Context, _ *stage.Env, cfg *config) ([]stage.Stage, func() error, error) {
			if cfg.From != "" {
				cfg.Routing.In = stage.Route{Stream: cfg.From}
			}
			s, err := chunker.Stage(cfg.Chunker, cfg.Routing)
			return []stage.Stage{s}, nil, err
		}))
}
