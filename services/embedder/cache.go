package embedder

import (
	"context"
	"errors"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"sluice/pkg/events"
	"sluice/pkg/provider"
	"sluice/services/embedder/check"
)

// cached wraps an embedder with a cache of its vectors by content. The model,
// which names the dimensions too, is in the key: no other model's vector can
// ever be found under it.
type cached struct {
	provider.Embedder
	model string
	kv    jetstream.KeyValue
	log   zerolog.Logger
}

// Cached returns p behind the cache. A cache that fails costs money and not
// correctness, so its failures are logged and the work goes on.
func Cached(p provider.Embedder, kv jetstream.KeyValue, log zerolog.Logger) provider.Embedder {
	return &cached{Embedder: p, model: events.Fingerprint(p.Describe().Model), kv: kv, log: log}
}

// lookups bounds the requests that one call of the cache has under way.
const lookups = 32

func (c *cached) Embed(ctx context.Context, inputs []provider.Input) (provider.Embeddings, error) {
	out := provider.Embeddings{Vectors: make([][]float32, len(inputs)), Reused: make([]bool, len(inputs))}
	keys := make([]string, len(inputs))
	first := map[string]int{} // equal texts of one call are bought once
	for i, in := range inputs {
		keys[i] = "embedding." + c.model + "." + events.TextHash(in.Text)
		if _, ok := first[keys[i]]; !ok {
			first[keys[i]] = i
		}
	}
	c.each(inputs, func(i int) {
		if first[keys[i]] == i {
			out.Vectors[i] = c.get(ctx, keys[i])
		}
	})
	var missing []int
	var ask []provider.Input
	for i := range inputs {
		if first[keys[i]] != i {
			continue
		}
		if out.Vectors[i] != nil {
			out.Reused[i] = true
			continue
		}
		missing, ask = append(missing, i), append(ask, inputs[i])
	}
	if len(ask) > 0 {
		got, err := c.Embedder.Embed(ctx, ask)
		if err == nil {
			// Checked before it is kept: a bad vector would come back for weeks.
			got, err = check.Vectors(c.Describe(), len(ask), got)
		}
		if err != nil {
			return out, err
		}
		out.Tokens, out.Nano = got.Tokens, got.Nano
		if got.Errs != nil {
			out.Errs = make([]error, len(inputs))
		}
		for j, i := range missing {
			out.Vectors[i] = got.Vectors[j]
			if got.Errs != nil {
				out.Errs[i] = got.Errs[j]
			}
		}
		c.each(ask, func(j int) {
			if got.Vectors[j] != nil && (got.Errs == nil || got.Errs[j] == nil) {
				c.put(ctx, keys[missing[j]], got.Vectors[j])
			}
		})
	}
	for i := range inputs {
		if f := first[keys[i]]; f != i {
			out.Vectors[i], out.Reused[i] = out.Vectors[f], true
			if out.Errs != nil {
				out.Errs[i] = out.Errs[f]
			}
		}
	}
	return out, nil
}

// each calls f for every input, several at once.
func (c *cached) each(inputs []provider.Input, f func(i int)) {
	var wg sync.WaitGroup
	workers := min(lookups, len(inputs))
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(inputs); i += workers {
				f(i)
			}
		})
	}
	wg.Wait()
}

func (c *cached) get(ctx context.Context, key string) []float32 {
	e, err := c.kv.Get(ctx, key)
	if err != nil {
		if !errors.Is(err, jetstream.ErrKeyNotFound) {
			c.log.Debug().Err(err).Msg("the embedding cache does not answer")
		}
		return nil
	}
	v, err := events.DecodeVector(e.Value())
	if err != nil || len(v) != c.Describe().Dimensions {
		c.log.Warn().Str("key", key).Msg("an unreadable entry of the embedding cache is ignored")
		return nil
	}
	return v
}

func (c *cached) put(ctx context.Context, key string, v []float32) {
	if _, err := c.kv.Put(ctx, key, events.EncodeVector(v)); err != nil {
		c.log.Debug().Err(err).Msg("the embedding cache does not store")
	}
}
