// Command indexer runs the last stage of Sluice: vectors in, search out.
package main

import (
	"context"
	"os"

	"sluice/pkg/stage"
	"sluice/services/indexer"
)

func main() {
	os.Exit(stage.Main(indexer.Service,
		func(ctx context.Context, env *stage.Env, cfg *indexer.Config) ([]stage.Stage, func() error, error) {
			return indexer.Stages(ctx, env, *cfg)
		}))
}
