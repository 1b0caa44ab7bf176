// Command embedder runs the third stage of Sluice: chunks in, vectors out.
package main

import (
	"context"
	"os"

	"sluice/pkg/stage"
	"sluice/services/embedder"
)

func main() {
	os.Exit(stage.Main(embedder.Service,
		func(ctx context.Context, env *stage.Env, cfg *embedder.Config) ([]stage.Stage, func() error, error) {
			return embedder.Stages(ctx, env, *cfg)
		}))
}
