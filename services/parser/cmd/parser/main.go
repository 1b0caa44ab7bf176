// Command parser runs the first stage of Sluice: documents in, Markdown out.
package main

import (
	"context"
	"os"

	"sluice/pkg/stage"
	"sluice/services/parser"
	"sluice/services/parser/local"
)

type config struct {
	Parser parser.Config `embed:""`
	Local  local.Config  `embed:""`
}

func main() {
	local.Init() // a re-executed child reads one risky document at a time here
	os.Exit(stage.Main(parser.Service,
		func(ctx context.Context, env *stage.Env, cfg *config) ([]stage.Stage, func() error, error) {
			return parser.StagesOf(ctx, env, cfg.Parser, cfg.Local)
		}))
}
