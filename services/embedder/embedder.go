// Package embedder is the third stage: it gives every chunk a vector.
//
// Chunks of many documents share a call of the provider. Vectors are checked
// before they go on, and the same text is not embedded twice: a cache in the KV
// bucket "cache", shared by all replicas, is asked first. What is bought right now
// has a claim in the bucket "claims".
//
//	embedder.go  the stage, and queries
//	pack.go      packs of chunks: calls are filled across them
//	provider.go  which provider, and what stands around it
//	cache.go     vectors by content
//	claims.go    who buys which text
//	shelf.go     the bucket of vectors, and what is said when it is full
//	reach.go     after a call that was not answered in time, calls are smaller
//	usable.go    answers that cannot be used stop the buying
//	overtaken.go what is not wanted any more is not bought
//	upgrade.go   embeds again what a fallback did
package embedder

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"sluice/pkg/budget"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/provider"
	"sluice/pkg/stage"
	"sluice/services/embedder/check"
)

// Name is the stage's name everywhere.
const Name = "embedder"

// Config configures the stage. The tags are read by kong.
type Config struct {
	Provider string        `name:"embedder" env:"SLUICE_EMBEDDER" default:"local" enum:"local,mock,openai" help:"Who embeds: local is the lexical embedder lex-v1-1536, which matches words and not meanings; openai is OpenAI or any server that speaks its protocol; mock is for tests (${enum})."`
	Cache    string        `name:"embedding-cache" env:"SLUICE_EMBEDDING_CACHE" default:"auto" enum:"auto,on,off" help:"Reuse vectors of equal texts; auto is on where that is cheaper than making them again (${enum})."`
	Workers  int           `name:"embedder-workers" env:"SLUICE_EMBEDDER_WORKERS" default:"2" help:"Calls of the provider at once."`
	Batch    int           `name:"embedder-batch" env:"SLUICE_EMBEDDER_BATCH" default:"0" help:"Most chunks of a call; 0 is as many as the provider takes."`
	Wait     time.Duration `name:"embedder-wait" env:"SLUICE_EMBEDDER_WAIT" default:"0s" help:"Time for a call to fill; 0 is 10ms. For a paid service: time without another chunk, and ten times that for a call in all; 0 is 200ms."`
	Fallback string        `name:"embedder-fallback" env:"SLUICE_EMBEDDER_FALLBACK" default:"hold" enum:"hold,local" help:"While the embeddings server is away: hold the work, or embed with the local embedder, tagged, in a vector space of its own, and again when the server is back (${enum}). 'sluice mode' changes it live."`
	Upgrade  float64       `name:"embedder-upgrade-rate" env:"SLUICE_EMBEDDER_UPGRADE_RATE" default:"100" help:"Chunks a second of a fallback's that each replica embeds again."`
	OpenAI   OpenAI        `embed:""`
	// Silence is how long the owner of a claim may give no answer; 0 = 5 s.
	Silence time.Duration `kong:"-"`
}

// Validate names the first setting that cannot work, and its value.
func (c Config) Validate() error {
	for flag, v := range map[string]int{
		"embedder-batch": c.Batch, "embedding-dimensions": c.OpenAI.Dimensions, "embedding-width": c.OpenAI.Width,
	} {
		if v < 0 {
			return wrong(flag, v, "0 or more")
		}
	}
	if c.Workers < 0 || c.Workers > 10_000 {
		return wrong("embedder-workers", c.Workers, "1 to 10000")
	}
	if c.Wait < 0 || c.Wait > time.Hour {
		return wrong("embedder-wait", c.Wait, "0s to 1h")
	}
	if c.Upgrade < 0 || math.IsNaN(c.Upgrade) || math.IsInf(c.Upgrade, 0) {
		return wrong("embedder-upgrade-rate", c.Upgrade, "0 or more")
	}
	if c.Provider != "openai" {
		return nil
	}
	for flag, v := range map[string]int{
		"embedding-max-inputs": c.OpenAI.MaxInputs, "embedding-max-tokens": c.OpenAI.MaxTokens, "embedding-max-input-tokens": c.OpenAI.MaxInput,
	} {
		if v < 0 {
			return wrong(flag, v, "1 or more")
		}
	}
	if c.OpenAI.Timeout < 0 || c.OpenAI.Timeout > time.Hour {
		return wrong("embedding-timeout", c.OpenAI.Timeout, "up to 1h")
	}
	return nil
}

func wrong(flag string, value any, want string) error {
	return fault.New(fault.Halt, "configuration", "--%s is %v", flag, value).WithHint("set it to %s", want)
}

// Stage returns the stage, which embeds with p.
func Stage(ctx context.Context, env *stage.Env, cfg Config, p provider.Embedder) (stage.Stage, error) {
	if err := cfg.Validate(); err != nil {
		return stage.Stage{}, err
	}
	info := p.Describe()
	info.NanoPerToken = 0 // whoever pays uses Stages, which claims what it buys
	keep, err := cfg.keep(ctx, env, info, nil, nil)
	if err != nil {
		return stage.Stage{}, err
	}
	return newStage(ctx, env, cfg, keep(p))
}

// newStage returns the stage, which embeds with p.
func newStage(ctx context.Context, env *stage.Env, cfg Config, p provider.Embedder) (stage.Stage, error) {
	info := p.Describe()
	wanted := func(_ context.Context, batch []*stage.Message) []*stage.Message { return batch }
	if info.NanoPerToken > 0 {
		documents, err := openDocuments(ctx, env)
		if err != nil {
			return stage.Stage{}, err
		}
		wanted = documents.wanted
	}
	count, err := cfg.counter(info)
	if err != nil {
		return stage.Stage{}, err
	}
	l := limits{count, cfg.Batch}
	return stage.Stage{
		Declaration: Service.Stage(Name), Workers: cfg.Workers, Batch: cfg.batch(info, l),
		HandleBatch: func(ctx context.Context, batch []*stage.Message) { embed(ctx, p, l, wanted(ctx, batch), "") },
		Endpoints: []stage.Endpoint{{
			Name: "embed", Subject: events.SubjectEmbed,
			Handle: func(ctx context.Context, req []byte) (any, error) { return answer(ctx, p, count, req) },
		}},
		Fingerprint: info.Model,
	}, nil
}

// limits bound a call.
type limits struct {
	count  counter
	inputs int // most inputs of a call; 0 = as many as the provider takes
}

// batch bounds what is gathered for calls. Those of a paid service, whose requests
// are limited, too, are filled to what they may hold as long as chunks come.
func (c Config) batch(info provider.EmbedderInfo, l limits) stage.Batch {
	if info.NanoPerToken == 0 {
		return stage.Batch{
			Items: cmp.Or(c.Batch, 256), Wait: cmp.Or(c.Wait, 10*time.Millisecond),
			// Text and vectors of a batch are in memory together.
			Weight: 4 * events.PackBytes, Weigh: func(m *stage.Message) int { return len(m.Data) },
		}
	}
	quiet := cmp.Or(c.Wait, 200*time.Millisecond)
	return stage.Batch{
		Items: cmp.Or(c.Batch, info.MaxInputs, 256), Wait: 10 * quiet, Quiet: quiet, Weight: info.MaxTokens,
		Weigh: func(m *stage.Message) int {
			w, err := read(m, l.count)
			if err != nil {
				return 0 // it fails when its turn comes
			}
			m.Value = w
			return w.weight()
		},
	}
}

// keep returns what puts a provider behind the cache, if the configuration wants
// one. All that it returns share one cache and are one owner of claims.
func (c Config) keep(ctx context.Context, env *stage.Env, info provider.EmbedderInfo, told func(string), closers *stage.Closers) (func(provider.Embedder) provider.Embedder, error) {
	if c.Cache != "on" && (c.Cache == "off" || !info.Cacheable) {
		return func(p provider.Embedder) provider.Embedder { return p }, nil
	}
	kv, err := env.JS.KeyValue(ctx, events.BucketCache)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", events.BucketCache, err)
	}
	log := env.Log.With().Str("stage", Name).Logger()
	shelf, err := NewShelf(kv, log, env.Metrics.Registry, told)
	if err != nil {
		return nil, err
	}
	cfg := CacheConfig{Log: log, Record: func(u *events.Usage) { budget.Record(env.JS, env.Log, u) }}
	if info.NanoPerToken > 0 {
		kv, err := env.JS.KeyValue(ctx, events.BucketClaims)
		if err != nil {
			return nil, fmt.Errorf("open the bucket %s: %w", events.BucketClaims, err)
		}
		if cfg.Claims, err = NewClaims(ClaimsConfig{Conn: env.Conn, KV: kv, Log: log, Wake: env.Wake, Silence: c.Silence}); err != nil {
			return nil, err
		}
		closers.Add(cfg.Claims.Close)
	}
	return func(p provider.Embedder) provider.Embedder { return Cached(p, shelf, cfg) }, nil
}

// shares divides the cost of a call over the inputs that were not reused, by
// their tokens, so that the shares add up to the cost exactly.
func shares(out provider.Embeddings, inputs []provider.Input) []int64 {
	costs := make([]int64, len(inputs))
	if out.Nano == 0 {
		return costs
	}
	paid := func(i int) bool { return out.Reused == nil || !out.Reused[i] }
	tokens := int64(0)
	for i, in := range inputs {
		if paid(i) {
			tokens += int64(in.Tokens)
		}
	}
	left := out.Nano
	for i, in := range inputs {
		if !paid(i) {
			continue
		}
		share := left // without token counts the first one pays
		if tokens > 0 {
			// left and tokens shrink together: no rounding is lost, and the
			// product stays far below 2^63 for any affordable call.
			share = left * int64(in.Tokens) / tokens
		}
		costs[i] = share
		left -= share
		tokens -= int64(in.Tokens)
	}
	return costs
}

// answer embeds queries for the indexer.
func answer(ctx context.Context, p provider.Embedder, count counter, req []byte) (any, error) {
	var q events.EmbedRequest
	if err := json.Unmarshal(req, &q); err != nil {
		return nil, fault.Wrap(err, fault.Validation, "malformed-request", "the request is not an embed request")
	}
	if len(q.Texts) == 0 || len(q.Texts) > 256 {
		return nil, fault.Invalid("malformed-request", "%d texts, want 1 to 256", len(q.Texts))
	}
	inputs := make([]provider.Input, len(q.Texts))
	for i, t := range q.Texts {
		// Bytes bound tokens from above in every byte-level vocabulary.
		inputs[i] = provider.Input{Text: t, Tokens: len(t), Owner: provider.Owner{Query: true}}
		if count != nil {
			inputs[i].Tokens = count(t)
		}
	}
	info := p.Describe()
	out, err := p.Embed(ctx, inputs)
	if err == nil {
		out, err = check.Vectors(info, len(inputs), out)
	}
	if err != nil {
		return nil, err
	}
	if out.Fallback != nil {
		return nil, fault.New(fault.Unavailable, "degraded", "%s is away, and another model's vector would find nothing", info.Service)
	}
	reply := events.EmbedReply{Model: info.Model, Vectors: make([][]byte, len(inputs))}
	for i := range inputs {
		if out.Errs != nil && out.Errs[i] != nil {
			return nil, out.Errs[i]
		}
		reply.Vectors[i] = events.EncodeVector(out.Vectors[i])
	}
	return reply, nil
}
