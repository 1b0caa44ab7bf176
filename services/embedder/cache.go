package embedder

import (
	"context"
	"iter"
	"maps"
	"slices"
	"time"

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
	// Claims keeps others from buying the same text at the same moment. Nil = they may.
	Claims *Claims
	// Patience is how long a call waits for what another one buys: one that ends just
	// now spares a wait outside. 0 = 50 ms
	Patience time.Duration
}

// cached wraps an embedder with a cache of its vectors by content. The model,
// which names the dimensions too, is in the key: no other model's vector can
// ever be found under it.
//
// What costs money is claimed before it is bought, kept, and then given up: two
// that hold the same text at the same moment pay once. What somebody else buys is
// not waited for: its message waits for the claim, and the others of the call go
// on. Queries are looked up and kept, too, but a search waits for nobody's claim.
type cached struct {
	provider.Embedder
	info  provider.EmbedderInfo
	model string
	shelf *Shelf
	cfg   CacheConfig
}

// Cached returns p behind the cache.
func Cached(p provider.Embedder, shelf *Shelf, cfg CacheConfig) provider.Embedder {
	if cfg.Patience == 0 {
		cfg.Patience = 50 * time.Millisecond
	}
	info := p.Describe()
	if info.NanoPerToken == 0 {
		cfg.Claims = nil // what costs nothing may be made twice
	}
	return &cached{Embedder: p, info: info, model: events.Fingerprint(info.Model), shelf: shelf, cfg: cfg}
}

// keeping is how long what was bought is offered to a cache that does not answer. Its
// texts stay claimed meanwhile: whoever held the same ones would pay for them again.
const keeping = 30 * time.Second

// lookups bounds the requests that one call of the cache has under way.
const lookups = 32

// text is one distinct text of a call.
type text struct {
	key    string
	input  int  // the first that has it
	query  bool // of a search
	ours   bool // claimed by this call
	others bool // somebody else buys it
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
			first[key] = &text{key: key, input: i, query: in.Owner.Query}
			open = append(open, first[key])
		}
		of[i] = first[key]
	}
	// A panic of the provider must not leave claims behind, which a process that
	// goes on would keep for ever.
	defer func() { c.release(ctx, slices.Collect(maps.Values(first))) }()
	patience := time.Now().Add(c.cfg.Patience)
	for pause := 5 * time.Millisecond; ; pause *= 2 {
		parallel(open, func(t *text) { out.Vectors[t.input] = c.find(ctx, t) })
		if err := ctx.Err(); err != nil {
			return out, err
		}
		c.release(ctx, slices.Collect(found(open, &out)))
		open = slices.DeleteFunc(open, func(t *text) bool { return out.Vectors[t.input] != nil || t.failed != nil })
		mine := slices.DeleteFunc(slices.Clone(open), func(t *text) bool { return t.others })
		if len(mine) > 0 {
			if err := c.buy(ctx, inputs, mine, &out); err != nil {
				return out, err
			}
			open = slices.DeleteFunc(open, func(t *text) bool { return !t.others })
			if len(open) > 0 {
				continue // buying took a while: the others may have theirs
			}
		}
		if len(open) == 0 {
			break
		}
		if time.Now().After(patience) {
			for _, t := range open {
				t.failed = fault.New(fault.Unavailable, "bought-elsewhere", "another call is buying the same text; it goes on with that one's vector").
					WaitFor(fault.On(fault.WaitClaim, t.key)).After(30 * time.Second)
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

// found returns the texts whose vectors are there.
func found(texts []*text, out *provider.Embeddings) iter.Seq[*text] {
	return func(yield func(*text) bool) {
		for _, t := range texts {
			if out.Vectors[t.input] != nil && !yield(t) {
				return
			}
		}
	}
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
	patience := time.Now().Add(keeping)
	parallel(texts, func(t *text) {
		j := at[t]
		if got.Vectors[j] == nil || t.failed != nil || (got.Fallback != nil && got.Fallback[j]) {
			return // another model's vector has no place under this key
		}
		until := time.Time{} // a search waits for no store
		if t.ours {
			until = patience
		}
		c.shelf.put(ctx, t.key, got.Vectors[j], until)
	})
	// After the vectors are kept, or the next one would not find them.
	c.release(ctx, texts)
	return nil
}

// find returns the vector of a text. If there is none, the text is ours to buy
// unless t.others says that somebody does, or t.failed what is amiss.
func (c *cached) find(ctx context.Context, t *text) []float32 {
	t.others = false
	v, err := c.shelf.get(ctx, t.key, c.info.Dimensions)
	switch {
	case v != nil:
		return v
	case c.cfg.Claims == nil || t.query || t.ours:
		if err != nil {
			c.cfg.Log.Debug().Err(err).Msg("the embedding cache does not answer")
		}
		return nil
	case err != nil:
		// It may hold what has been paid for.
		t.failed = away(events.BucketCache, err)
		return nil
	}
	t.ours, err = c.cfg.Claims.take(ctx, t.key)
	if err != nil {
		t.failed = away(events.BucketClaims, err)
		return nil
	}
	if t.others = !t.ours; t.others {
		return nil
	}
	// Somebody may have bought it between the two questions.
	if v, err = c.shelf.get(ctx, t.key, c.info.Dimensions); err != nil {
		t.failed = away(events.BucketCache, err)
	}
	return v
}

// away is the failure of a text that cannot be looked up. It is not the text's own.
func away(bucket string, err error) error {
	return fault.Wrap(err, fault.Unavailable, "store-away", "the bucket %s does not answer; nothing is bought that may be in it", bucket).
		WaitFor(fault.On(fault.WaitStore, bucket)).After(2 * time.Second)
}

// release gives the claims of texts up.
func (c *cached) release(ctx context.Context, texts []*text) {
	var keys []string
	for _, t := range texts {
		if t.ours {
			t.ours = false
			keys = append(keys, t.key)
		}
	}
	if len(keys) > 0 {
		c.cfg.Claims.release(ctx, keys)
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
