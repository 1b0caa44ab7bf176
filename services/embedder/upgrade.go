package embedder

import (
	"context"

	"golang.org/x/time/rate"

	"sluice/pkg/events"
	"sluice/pkg/provider"
	"sluice/pkg/stage"
)

// Upgrader is the name of the stage that embeds again what a fallback did.
const Upgrader = "upgrader"

// upgrader returns the stage. p has no fallback, so the work is held until the
// service is back and the budget allows; then it goes at a bounded rate, that
// fresh documents come first.
func upgrader(ctx context.Context, env *stage.Env, cfg Config, p provider.Embedder) (stage.Stage, error) {
	documents, err := openDocuments(ctx, env)
	if err != nil {
		return stage.Stage{}, err
	}
	count, err := cfg.counter(p.Describe())
	if err != nil {
		return stage.Stage{}, err
	}
	batch := cfg.batch(p.Describe(), count)
	// Two seconds' worth at most: a stage that stops waits for the rate no longer.
	batch.Items = min(batch.Items, max(64, int(2*cfg.Upgrade)))
	limit := rate.NewLimiter(rate.Limit(max(cfg.Upgrade, 0.001)), batch.Items)
	return stage.Stage{
		Declaration: Service.Stage(Upgrader), Workers: 1, Batch: batch,
		HandleBatch: func(ctx context.Context, batch []*stage.Message) {
			wanted := batch[:0:0]
			for m, d := range documents.of(ctx, batch) {
				if degraded(d, m.Revision) {
					wanted = append(wanted, m)
				}
			}
			if len(wanted) == 0 || limit.WaitN(ctx, len(wanted)) != nil {
				for _, m := range wanted {
					m.Fail(ctx.Err())
				}
				return
			}
			embed(ctx, p, count, wanted, "upgrade:")
		},
	}, nil
}

// degraded tells whether a chunk's revision may still profit from a better
// vector. What has been replaced or deleted is not paid for again.
func degraded(d *events.Document, r events.Revision) bool {
	switch {
	case d == nil:
		return true
	case d.Gone >= r:
		return false
	case d.Live == nil || d.Live.Revision < r:
		return true // not visible yet
	}
	return d.Live.Revision == r && d.Live.Degraded
}
