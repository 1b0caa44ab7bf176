package embedder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"sluice/pkg/budget"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/provider"
	"sluice/pkg/provider/router"
	"sluice/pkg/stage"
	"sluice/pkg/token"
	"sluice/services/embedder/lexical"
	"sluice/services/embedder/mock"
	"sluice/services/embedder/openai"
)

// OpenAI configures the provider "openai".
type OpenAI struct {
	BaseURL    string        `name:"embedding-base-url" env:"SLUICE_EMBEDDING_BASE_URL,OPENAI_BASE_URL" default:"https://api.openai.com/v1" help:"Base URL of the embeddings server, with its version."`
	Key        string        `name:"embedding-key" env:"SLUICE_EMBEDDING_KEY,OPENAI_API_KEY" help:"Its API key. Set it in the environment: others can read a command line."`
	Org        string        `name:"embedding-organization" env:"SLUICE_EMBEDDING_ORGANIZATION,OPENAI_ORG_ID" help:"Sent as OpenAI-Organization."`
	Project    string        `name:"embedding-project" env:"SLUICE_EMBEDDING_PROJECT,OPENAI_PROJECT_ID" help:"Sent as OpenAI-Project."`
	Model      string        `name:"embedding-model" env:"SLUICE_EMBEDDING_MODEL" default:"text-embedding-3-small" help:"The model to embed with."`
	Dimensions int           `name:"embedding-dimensions" env:"SLUICE_EMBEDDING_DIMENSIONS" default:"0" help:"Have the server shorten vectors to this many dimensions; 0 is the model's own width."`
	Width      int           `name:"embedding-width" env:"SLUICE_EMBEDDING_WIDTH" default:"0" help:"The width of the model's vectors; needed for models that are not OpenAI's."`
	Price      string        `name:"embedding-price" env:"SLUICE_EMBEDDING_PRICE" placeholder:"DOLLARS" help:"Price of a million tokens; needed for models that are not OpenAI's. 0 is free, and then the budget is not asked."`
	MaxInputs  int           `name:"embedding-max-inputs" env:"SLUICE_EMBEDDING_MAX_INPUTS" default:"2048" help:"Most inputs of a request; TEI takes 32."`
	MaxTokens  int           `name:"embedding-max-tokens" env:"SLUICE_EMBEDDING_MAX_TOKENS" default:"300000" help:"Most tokens of a request."`
	MaxInput   int           `name:"embedding-max-input-tokens" env:"SLUICE_EMBEDDING_MAX_INPUT_TOKENS" default:"8191" help:"Most tokens of one input."`
	Timeout    time.Duration `name:"embedding-timeout" env:"SLUICE_EMBEDDING_TIMEOUT" default:"1m" help:"Time for a request. One that takes longer may be charged all the same, and its texts are bought again in smaller calls."`
}

// Stages returns the embedder and, for a service that may be away, the stage
// that embeds again what a fallback had to. stop gives unspent money back.
//
// What stands around a remote service, from the outside:
//
//	cache, claims    what is there is not bought, and nothing is bought twice
//	router           mode, fallback, limiter, breaker, attempts
//	reaching         after a call that was not answered in time, calls are smaller
//	proving          an answer that cannot be used halts the configuration
//	budget           each attempt is admitted, settled and recorded
//	router.Client    tells the breaker what the client returned
func Stages(ctx context.Context, env *stage.Env, cfg Config) (stages []stage.Stage, stop func() error, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, nil, err
	}
	var control atomic.Pointer[router.Control]
	p, err := unguarded(cfg, func(info provider.RateInfo) {
		if c := control.Load(); c != nil {
			c.Limiter().Observe(info)
		}
	})
	if err != nil {
		return nil, nil, err
	}
	var closers stage.Closers
	defer func() {
		if err != nil {
			err = errors.Join(err, closers.Close())
		}
	}()
	client, remote := p.(*openai.Client)
	if !remote {
		s, err := Stage(ctx, env, cfg, p)
		return []stage.Stage{s}, closers.Close, err
	}
	closers.Add(client.Close)
	mode := router.Real
	if cfg.Fallback == "local" {
		mode = router.Hybrid
	}
	shown := &shown{show: func(s string) { env.Health.Provider(Name, s) }}
	c, err := router.New(ctx, router.Config{
		Conn: env.Conn, JS: env.JS, Log: env.Log.With().Str("stage", Name).Logger(), Metrics: env.Metrics.Registry,
		Service: p.Describe().Service, Stage: Name, Mode: mode, Check: client.Check, Wake: env.Wake,
		Config: cfg.OpenAI.fingerprint(), Changed: shown.service,
	})
	if err != nil {
		return nil, nil, err
	}
	control.Store(c)
	closers.Add(c.Close)
	p = router.Client(c, client)
	if p.Describe().NanoPerToken > 0 {
		gate, err := budget.NewGate(ctx, budget.Config{Conn: env.Conn, JS: env.JS, Log: env.Log, Wake: env.Wake, Call: 2 * cfg.OpenAI.Timeout})
		if err != nil {
			return nil, nil, err
		}
		closers.Add(gate.Stop)
		p = budget.Embedder(gate, Name, p)
	}
	p = proving(reaching(p, cmp.Or(cfg.OpenAI.Timeout, openai.DefaultTimeout), env.Log.With().Str("stage", Name).Logger()), c, env.Wake)
	keep, err := cfg.keep(ctx, env, p.Describe(), shown.cache, &closers)
	if err != nil {
		return nil, nil, err
	}
	local, err := lexical.New()
	if err != nil {
		return nil, nil, err
	}
	main, err := newStage(ctx, env, cfg, keep(router.Embedder(c, p, local)))
	if err != nil {
		return nil, nil, err
	}
	again, err := upgrader(ctx, env, cfg, keep(router.Embedder(c, p, nil)))
	if err != nil {
		return nil, nil, err
	}
	return []stage.Stage{main, again}, closers.Close, nil
}

// shown puts what health says of the service together.
type shown struct {
	show func(string)

	mu              sync.Mutex
	router, trouble string
}

func (s *shown) service(state string) { s.set(&s.router, state) }
func (s *shown) cache(state string)   { s.set(&s.trouble, state) }

func (s *shown) set(part *string, state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*part = state
	if s.trouble == "" {
		s.show(s.router)
	} else {
		s.show(s.router + "; " + s.trouble)
	}
}

// fingerprint names what decides what the server answers, without the key: an
// answer that cannot be used is not the key's fault.
func (c OpenAI) fingerprint() string {
	return events.Fingerprint(c.BaseURL, c.Model, strconv.Itoa(c.Dimensions), strconv.Itoa(c.Width))
}

// Describe says what the stage would embed with.
func Describe(cfg Config) (provider.EmbedderInfo, error) {
	p, err := unguarded(cfg, nil)
	if err != nil {
		return provider.EmbedderInfo{}, err
	}
	return p.Describe(), nil
}

func unguarded(cfg Config, observe func(provider.RateInfo)) (provider.Embedder, error) {
	switch cfg.Provider {
	case "local":
		return lexical.New()
	case "mock":
		return mock.Embedder{}, nil
	case "openai":
		return cfg.OpenAI.client(observe, cfg.Fallback == "local")
	}
	return nil, fault.New(fault.Halt, "configuration", "no embedder is called %q", cfg.Provider).WithHint("use local, openai or mock")
}

// client makes the client; without a key only if something can take over.
func (c OpenAI) client(observe func(provider.RateInfo), keyless bool) (*openai.Client, error) {
	model, known := openai.Models[c.Model]
	nano, priced := model.NanoPerToken, openai.Priced
	switch {
	case c.Price != "":
		var ok bool
		if nano, ok = budget.Price(c.Price, 1_000_000); !ok {
			return nil, fault.New(fault.Halt, "configuration", "%q is not a price", c.Price).WithHint("write the dollars a million tokens cost: 0.02")
		}
		priced = "configured"
	case !known:
		return nil, fault.New(fault.Halt, "configuration", "what %q costs is not known", c.Model).
			WithHint("set --embedding-price to the dollars a million tokens cost; 0 for a server of your own")
	}
	if c.Key == "" && c.BaseURL == openai.DefaultBaseURL && !keyless {
		return nil, fault.New(fault.Halt, "configuration", "there is no key for %s", c.BaseURL).
			WithHint("set OPENAI_API_KEY, --embedding-base-url for a server of your own, or --embedder-fallback local to begin without")
	}
	return openai.New(openai.Config{
		BaseURL: c.BaseURL, Key: c.Key, Org: c.Org, Project: c.Project, Model: c.Model, Dimensions: c.Dimensions, Width: c.Width,
		MaxInputs: c.MaxInputs, MaxTokens: c.MaxTokens, MaxInputTokens: c.MaxInput, NanoPerToken: nano, Priced: priced, Timeout: c.Timeout, Observe: observe,
	})
}

// counter counts the tokens that a provider will charge for, or more. Nil where
// the chunk's own count does.
type counter func(text string) int

// counter returns how the tokens of a paid provider are counted. The chunker
// may have been told to count otherwise, and money is decided by this.
func (c Config) counter(info provider.EmbedderInfo) (counter, error) {
	if info.NanoPerToken == 0 || c.Provider != "openai" {
		return nil, nil
	}
	if _, known := openai.Models[c.OpenAI.Model]; !known {
		// Bytes bound the tokens of every byte-level vocabulary.
		return func(text string) int { return len(text) }, nil
	}
	e, err := token.Load("cl100k_base")
	if err != nil {
		return nil, fmt.Errorf("load the vocabulary of %s: %w", c.OpenAI.Model, err)
	}
	return e.Count, nil
}
