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
	l := limits{count, cfg.Batch}
	batch := cfg.batch(p.Describe(), l)
	// Two seconds' worth: a stage that stops waits for the rate no longer.
	batch.Weight = max(64, int(2*cfg.Upgrade))
	batch.Weigh = func(m *stage.Message) int {
		w, err := read(m, count)
		if err != nil {
			return 0 // it fails when its turn comes
		}
		m.Value = w
		return len(w.open())
	}
	limit := rate.NewLimiter(rate.Limit(max(cfg.Upgrade, 0.001)), batch.Weight)
	return stage.Stage{
		Declaration: Service.Stage(Upgrader), Workers: 1, Batch: batch,
		HandleBatch: func(ctx context.Context, messages []*stage.Message) {
			wanted := messages[:0:0]
			for m, d := range documents.of(ctx, messages) {
				if degraded(d, m.Revision) {
					wanted = append(wanted, m)
				}
			}
			chunks := 0
			for _, m := range wanted {
				chunks += batch.Weigh(m)
			}
			for n := 0; chunks > 0; chunks -= n {
				if n = min(chunks, batch.Weight); limit.WaitN(ctx, n) != nil {
					for _, m := range wanted {
						m.Fail(ctx.Err())
					}
					return
				}
			}
			embed(ctx, p, l, wanted, "upgrade:")
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
