// Command costd is the cost daemon of Sluice: it keeps the budget.
package main

import (
	"context"
	"os"

	"sluice/pkg/stage"
	"sluice/services/costd"
)

func main() {
	os.Exit(stage.Main(costd.Service,
		func(ctx context.Context, env *stage.Env, cfg *costd.Config) ([]stage.Stage, func() error, error) {
			return costd.Stages(ctx, env, *cfg)
		}))
}
