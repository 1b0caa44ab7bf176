package embedder

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/provider"
	"sluice/services/embedder/check"
)

// CacheConfig configures a cache. Zero values are defaults.
type CacheConfig struct {
	Log zerolog.Logger
	// Record hears what was spared; it may be nil.
	Record func(*events.Usage)
	// Call is how long a call may take, retries and all: a claim of a process
	// that died ends after it. 0 = 3 min
	Call time.Duration
	// Patience is how long a call waits for what another one buys. 0 = 5 s
	Patience time.Duration
}

// cached wraps an embedder with a cache of its vectors by content. The model,
// which names the dimensions too, is in the key: no other model's vector can
// ever be found under it.
//
// What costs money is claimed before it is bought, by making the entry with
// nothing in it: two that hold the same text at the same moment pay once.
type cached struct {
	provider.Embedder
	info  provider.EmbedderInfo
	model string
	kv    jetstream.KeyValue
	cfg   CacheConfig
}

// Cached returns p behind the cache. A cache that fails costs money and not
// correctness, so its failures are logged and the work goes on.
func Cached(p provider.Embedder, kv jetstream.KeyValue, cfg CacheConfig) provider.Embedder {
	if cfg.Call == 0 {
		cfg.Call = 3 * time.Minute
	}
	if cfg.Patience == 0 {
		cfg.Patience = 5 * time.Second
	}
	info := p.Describe()
	return &cached{Embedder: p, info: info, model: events.Fingerprint(info.Model), kv: kv, cfg: cfg}
}

// lookups bounds the requests that one call of the cache has under way.
const lookups = 32

// text is one distinct text of a call.
type text struct {
	key    string
	input  int    // the first that has it
	claim  uint64 // revision of our claim, 0 = none
	others bool   // somebody else buys it
	bought bool
	failed error
}

func (c *cached) Embed(ctx context.Context, inputs []provider.Input) (provider.Embeddings, error) {
	out := provider.Embeddings{Vectors: make([][]float32, len(inputs)), Reused: make([]bool, len(inputs))}
	first := map[string]*text{} // equal texts of one call are bought once
	of := make([]*text, len(inputs))
	var open []*text
	for i, in := range inputs {
		key := "embedding." + c.model + "." + events.TextHash(in.Text)
		if first[key] == nil {
			first[key] = &text{key: key, input: i}
			open = append(open, first[key])
		}
		of[i] = first[key]
	}
	patience := time.Now().Add(c.cfg.Patience)
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 250*time.Millisecond) {
		c.each(open, func(t *text) { out.Vectors[t.input] = c.find(ctx, t) })
		open = slices.DeleteFunc(open, func(t *text) bool { return out.Vectors[t.input] != nil })
		mine := slices.DeleteFunc(slices.Clone(open), func(t *text) bool { return t.others })
		if len(mine) > 0 {
			if err := c.buy(ctx, inputs, mine, &out); err != nil {
				return out, err
			}
			open = slices.DeleteFunc(open, func(t *text) bool { return t.bought || t.failed != nil })
		}
		if len(open) == 0 {
			break
		}
		if time.Now().After(patience) {
			for _, t := range open {
				t.failed = fault.New(fault.Unavailable, "bought-elsewhere", "another replica is buying the same text").
					WaitFor(fault.On(fault.WaitClaim, t.key)).After(time.Second)
			}
			break
		}
		select {
		case <-ctx.Done():
			return out, ctx.Err()
		case <-time.After(pause):
		}
	}
	for i, t := range of {
		if t.failed != nil {
			if out.Errs == nil {
				out.Errs = make([]error, len(inputs))
			}
			out.Errs[i] = t.failed
		}
		out.Vectors[i] = out.Vectors[t.input]
		out.Reused[i] = out.Vectors[i] != nil && (!t.bought || i != t.input)
		if out.Fallback != nil && out.Fallback[t.input] {
			out.Fallback[i], out.Reused[i] = true, false
		}
	}
	c.record(inputs, of, out)
	return out, nil
}

// buy has the provider embed texts, which are ours to buy, and keeps them.
func (c *cached) buy(ctx context.Context, inputs []provider.Input, texts []*text, out *provider.Embeddings) error {
	ask := make([]provider.Input, len(texts))
	for j, t := range texts {
		ask[j] = inputs[t.input]
	}
	got, err := c.Embedder.Embed(ctx, ask)
	out.Tokens, out.Nano = out.Tokens+got.Tokens, out.Nano+got.Nano
	if err == nil {
		// Checked before it is kept: a bad vector would come back for weeks.
		got, err = check.Vectors(c.info, len(ask), got)
	}
	if err != nil {
		c.each(texts, func(t *text) { c.release(ctx, t) })
		return err
	}
	if got.Fallback != nil && out.Fallback == nil {
		out.Model, out.Fallback = got.Model, make([]bool, len(inputs))
	}
	at := make(map[*text]int, len(texts))
	for j, t := range texts {
		at[t], t.bought = j, true
		out.Vectors[t.input] = got.Vectors[j]
		if got.Errs != nil {
			t.failed = got.Errs[j]
		}
		if got.Fallback != nil {
			out.Fallback[t.input] = got.Fallback[j]
		}
	}
	c.each(texts, func(t *text) {
		j := at[t]
		if got.Vectors[j] == nil || t.failed != nil || (got.Fallback != nil && got.Fallback[j]) {
			c.release(ctx, t) // another model's vector has no place under this key
			return
		}
		c.put(ctx, t.key, got.Vectors[j])
	})
	return nil
}

// each calls f for every text, several at once.
func (c *cached) each(texts []*text, f func(*text)) {
	var wg sync.WaitGroup
	workers := min(lookups, len(texts))
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(texts); i += workers {
				f(texts[i])
			}
		})
	}
	wg.Wait()
}

// find returns the vector of a text. If there is none, the text is ours to buy
// unless t.others says that somebody does.
func (c *cached) find(ctx context.Context, t *text) []float32 {
	t.others = false
	unclaimed := c.info.NanoPerToken == 0
	if c.info.NanoPerToken > 0 && t.claim == 0 {
		revision, err := c.kv.Create(ctx, t.key, nil, jetstream.KeyTTL(c.cfg.Call))
		if err == nil {
			t.claim = revision
			return nil
		}
		if !errors.Is(err, jetstream.ErrKeyExists) {
			// A full bucket, or one without expiry of single entries: what it holds
			// is good all the same.
			c.cfg.Log.Debug().Err(err).Msg("the embedding cache takes no claim")
			unclaimed = true
		}
	}
	e, err := c.kv.Get(ctx, t.key)
	if err != nil {
		// Gone in this moment: whoever claimed it has failed.
		t.others = errors.Is(err, jetstream.ErrKeyNotFound) && !unclaimed && t.claim == 0
		if !errors.Is(err, jetstream.ErrKeyNotFound) {
			c.cfg.Log.Debug().Err(err).Msg("the embedding cache does not answer")
		}
		return nil
	}
	if len(e.Value()) == 0 {
		t.others = !unclaimed
		return nil
	}
	v, err := events.DecodeVector(e.Value())
	if err != nil || len(v) != c.info.Dimensions {
		c.cfg.Log.Warn().Str("key", t.key).Msg("an unreadable entry of the embedding cache is ignored")
		return nil
	}
	return v
}

// release gives a claim up, so that others need not wait for it to expire.
func (c *cached) release(ctx context.Context, t *text) {
	if t.claim == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := c.kv.Purge(ctx, t.key, jetstream.LastRevision(t.claim)); err != nil {
		c.cfg.Log.Debug().Err(err).Msg("giving a claim up; it will expire")
	}
	t.claim = 0
}

func (c *cached) put(ctx context.Context, key string, v []float32) {
	if _, err := c.kv.Put(ctx, key, events.EncodeVector(v)); err != nil {
		c.cfg.Log.Debug().Err(err).Msg("the embedding cache does not store")
	}
}

// record tells what was not bought again.
func (c *cached) record(inputs []provider.Input, of []*text, out provider.Embeddings) {
	if c.cfg.Record == nil || c.info.NanoPerToken == 0 {
		return
	}
	byTenant := map[string]*events.Usage{}
	at := map[string]int{} // by document
	parts := map[string][]string{}
	for i, in := range inputs {
		if !out.Reused[i] {
			continue
		}
		tenant := in.Owner.Tenant
		if tenant == "" {
			tenant = events.DefaultTenant
		}
		u := byTenant[tenant]
		if u == nil {
			u = &events.Usage{
				V: events.Version, Service: c.info.Service, Operation: "embed", Model: c.info.Model, Stage: Name, Tenant: tenant,
				Outcome: events.OutcomeReused, Priced: c.info.Priced, Time: time.Now().UTC(), CorrelationID: in.Owner.CorrelationID,
			}
			byTenant[tenant] = u
		}
		u.Inputs++
		u.Tokens += in.Tokens
		u.Saved += int64(in.Tokens) * c.info.NanoPerToken
		parts[tenant] = append(parts[tenant], of[i].key, in.Owner.Document, in.Owner.CorrelationID)
		if in.Owner.Document == "" {
			continue
		}
		j, ok := at[in.Owner.Document]
		if !ok {
			j = len(u.Shares)
			at[in.Owner.Document] = j
			u.Shares = append(u.Shares, events.Share{Document: in.Owner.Document, CorrelationID: in.Owner.CorrelationID})
		}
		u.Shares[j].Tokens += in.Tokens
	}
	for tenant, u := range byTenant {
		// Derived, so that a redelivery does not save twice.
		u.ID = "reused-" + events.Fingerprint(parts[tenant]...)
		c.cfg.Record(u)
	}
}
