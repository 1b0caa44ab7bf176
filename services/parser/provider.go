package parser

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"sluice/pkg/budget"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/provider"
	"sluice/pkg/provider/router"
	"sluice/pkg/stage"
	"sluice/services/parser/internal/sniff"
	"sluice/services/parser/llamaparse"
	"sluice/services/parser/local"
)

// LlamaParse configures the provider "llamaparse". The tags are read by kong.
type LlamaParse struct {
	BaseURL  string        `name:"llamaparse-base-url" env:"SLUICE_LLAMAPARSE_BASE_URL,LLAMA_CLOUD_BASE_URL" default:"https://api.cloud.llamaindex.ai" help:"The service; keys of the EU work at https://api.cloud.eu.llamaindex.ai only."`
	Key      string        `name:"llamaparse-key" env:"SLUICE_LLAMAPARSE_KEY,LLAMA_CLOUD_API_KEY" help:"Its API key. Set it in the environment: others can read a command line."`
	Tier     string        `name:"llamaparse-tier" env:"SLUICE_LLAMAPARSE_TIER" default:"cost_effective" enum:"fast,cost_effective,agentic,agentic_plus" help:"How well, and how dearly, it parses (${enum})."`
	Version  string        `name:"llamaparse-version" env:"SLUICE_LLAMAPARSE_VERSION" default:"2026-09-07" help:"Version of its parser; latest changes under you."`
	MaxPages int           `name:"llamaparse-max-pages" env:"SLUICE_LLAMAPARSE_MAX_PAGES" default:"200" help:"Most pages of a document. It bounds the cost of a document whose pages cannot be counted before."`
	Failed   float64       `name:"llamaparse-failed-pages" env:"SLUICE_LLAMAPARSE_FAILED_PAGES" default:"0.05" help:"Share of a document's pages that may fail; they become warnings, beyond it the document fails."`
	Effort   bool          `name:"llamaparse-effort" env:"SLUICE_LLAMAPARSE_EFFORT" help:"Ask for high confidence scores: 5 credits a page more."`
	Forms    bool          `name:"llamaparse-forms" env:"SLUICE_LLAMAPARSE_FORMS" help:"Enrich forms: 10 credits a page more."`
	Language []string      `name:"llamaparse-language" env:"SLUICE_LLAMAPARSE_LANGUAGE" help:"Languages of scanned text, as ISO codes."`
	Credits  float64       `name:"llamaparse-credits" env:"SLUICE_LLAMAPARSE_CREDITS" default:"0" help:"Credits a page; 0 is the price list's for the tier."`
	Price    string        `name:"llamaparse-price" env:"SLUICE_LLAMAPARSE_PRICE" default:"1.25" placeholder:"DOLLARS" help:"Price of a thousand credits."`
	Text     bool          `name:"llamaparse-text" env:"SLUICE_LLAMAPARSE_TEXT" help:"Send it text formats, too. Without it Markdown, HTML, CSV, mail and the like are read here, for nothing."`
	Jobs     int           `name:"llamaparse-jobs" env:"SLUICE_LLAMAPARSE_JOBS" default:"16" help:"Jobs that each process has under way at once; further documents wait for one to end."`
	Job      time.Duration `name:"llamaparse-job-timeout" env:"SLUICE_LLAMAPARSE_JOB_TIMEOUT" default:"2h" help:"Longest wait for a job, from its start; then the document fails."`
	Poll     time.Duration `name:"llamaparse-poll" env:"SLUICE_LLAMAPARSE_POLL" default:"1s" help:"Wait before the first poll of a job; it grows by as much, up to five times."`
	Hook     string        `name:"llamaparse-webhook-url" env:"SLUICE_LLAMAPARSE_WEBHOOK_URL" help:"Public HTTPS URL that leads to --llamaparse-webhook-listen; without it jobs are polled."`
	Listen   string        `name:"llamaparse-webhook-listen" env:"SLUICE_LLAMAPARSE_WEBHOOK_LISTEN" default:"127.0.0.1:8099" help:"HOST:PORT for webhooks."`
	Secret   string        `name:"llamaparse-webhook-secret" env:"SLUICE_LLAMAPARSE_WEBHOOK_SECRET" help:"Signs webhooks; 16 characters or more. Unsigned ones are refused."`
}

// StagesOf makes the parser that the configuration names, with the budget's
// guard around it if it costs money, and returns the stages. stop gives unspent
// money back.
func StagesOf(ctx context.Context, env *stage.Env, cfg Config, reader local.Config) (stages []stage.Stage, stop func() error, err error) {
	var closers stage.Closers
	defer func() {
		if err != nil {
			err = errors.Join(err, closers.Close())
		}
	}()
	here, err := local.New(reader)
	if err != nil {
		return nil, nil, err
	}
	closers.Add(here.Close)
	if cfg.Provider == "" || cfg.Provider == "local" {
		stages, err = Stages(ctx, env, cfg, here, nil)
		return stages, closers.Close, err
	}
	if cfg.Workers == 0 {
		cfg.Workers = 16 // a document that is read here does not wait for jobs there
	}
	var control atomic.Pointer[router.Control]
	mode := router.Real
	if cfg.Fallback == "local" {
		mode = router.Hybrid
	}
	var guard atomic.Pointer[budget.JobParser]
	client, err := cfg.Llama.client(func(info provider.RateInfo) {
		if c := control.Load(); c != nil {
			c.Limiter().Observe(info)
		}
	}, func(job string) {
		if g := guard.Load(); g != nil {
			g.Changed(job)
		}
	}, mode == router.Hybrid)
	if err != nil {
		return nil, nil, err
	}
	closers.Add(client.Close)
	gate, err := budget.NewGate(ctx, budget.Config{Conn: env.Conn, JS: env.JS, Log: env.Log, Wake: env.Wake, Call: cfg.Llama.Job})
	if err != nil {
		return nil, nil, err
	}
	closers.Add(gate.Stop)
	records, err := env.JS.KeyValue(ctx, events.BucketJobs)
	if err != nil {
		return nil, nil, fmt.Errorf("open the bucket %s: %w", events.BucketJobs, err)
	}
	store, err := env.JS.ObjectStore(ctx, events.StoreParses)
	if err != nil {
		return nil, nil, fmt.Errorf("open the object store %s: %w", events.StoreParses, err)
	}
	c, err := router.New(ctx, router.Config{
		Conn: env.Conn, JS: env.JS, Log: env.Log.With().Str("stage", Name).Logger(), Metrics: env.Metrics.Registry,
		Service: llamaparse.Service, Stage: Name, Mode: mode, Check: client.Check, Wake: env.Wake,
		Changed: func(s string) { env.Health.Provider(Name, s) },
	})
	if err != nil {
		return nil, nil, err
	}
	control.Store(c)
	closers.Add(c.Close)
	if cfg.Llama.Hook != "" {
		end, err := receive(cfg.Llama.Listen, client.Handler())
		if err != nil {
			return nil, nil, err
		}
		closers.Add(end)
	}
	// One guard for both: a job that one of the stages has started, the other finds.
	// It leaves workers for what needs no service: deletions, text, duplicates.
	guarded := budget.Parser(gate, Name, router.Jobs(c, client), records, budget.JobLimits{
		Jobs: cfg.Llama.Jobs, Calls: max(1, cfg.Workers-max(1, cfg.Workers/4)), Poll: cfg.Llama.Poll, Timeout: cfg.Llama.Job,
	})
	guard.Store(guarded)
	kept := func(p provider.Parser) provider.Parser {
		paid := &cached{Parser: p, store: store, log: env.Log, record: func(u *events.Usage) { budget.Record(env.JS, env.Log, u) }}
		return &sorted{paid: paid, here: here, text: cfg.Llama.Text}
	}
	first := kept(router.Parser(c, guarded, here))
	again := kept(&paced{router.Parser(c, guarded, nil), guarded, c, rate.NewLimiter(rate.Limit(cfg.Upgrade), max(1, int(cfg.Upgrade)))})
	stages, err = Stages(ctx, env, cfg, first, again)
	return stages, closers.Close, err
}

// paced bounds how often a service is asked, so that fresh documents come first.
type paced struct {
	provider.Parser
	guard   *budget.JobParser
	control *router.Control
	limit   *rate.Limiter
}

// Parse waits for its turn, unless the service would not be asked, or has the
// document in work.
func (p *paced) Parse(ctx context.Context, src provider.Source) (provider.Parse, error) {
	if p.control.Serves() && !p.guard.Running(src) {
		if err := p.limit.Wait(ctx); err != nil {
			return provider.Parse{}, err
		}
	}
	return p.Parser.Parse(ctx, src)
}

// client makes the client; without a key only if something can take over.
func (c LlamaParse) client(observe func(provider.RateInfo), changed func(job string), keyless bool) (*llamaparse.Client, error) {
	if c.Key == "" && (c.BaseURL == llamaparse.RegionNA || c.BaseURL == llamaparse.RegionEU) && !keyless {
		return nil, fault.New(fault.Halt, "configuration", "there is no key for %s", c.BaseURL).
			WithHint("set LLAMA_CLOUD_API_KEY, or --parser-fallback local to begin without")
	}
	if c.Jobs < 1 || c.Job <= 0 || c.Job > 48*time.Hour || c.Poll <= 0 {
		return nil, fault.New(fault.Halt, "configuration", "%d jobs, polled from %v on for at most %v, cannot work", c.Jobs, c.Poll, c.Job).
			WithHint("--llamaparse-jobs and --llamaparse-poll are positive; the service forgets jobs after 48 hours, --llamaparse-job-timeout is no longer")
	}
	nano, ok := budget.Price(c.Price, 1000)
	if !ok {
		return nil, fault.New(fault.Halt, "configuration", "%q is not a price", c.Price).WithHint("write the dollars a thousand credits cost: 1.25")
	}
	return llamaparse.New(llamaparse.Config{
		BaseURL: c.BaseURL, Key: c.Key, Tier: c.Tier, Version: c.Version, MaxPages: c.MaxPages, Effort: c.Effort, Forms: c.Forms,
		Languages: c.Language, FailedPages: c.Failed, PerPage: c.Credits, NanoPerCredit: nano,
		Observe: observe, WebhookURL: c.Hook, WebhookSecret: c.Secret, Changed: changed,
	})
}

// receive serves webhooks.
func receive(address string, h http.Handler) (stop func() error, err error) {
	if address == "" { // which would be all addresses of the machine
		return nil, fault.New(fault.Halt, "http-address", "there is no address to listen on for webhooks").WithHint("set --llamaparse-webhook-listen to HOST:PORT")
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fault.Wrap(err, fault.Halt, "http-address", "cannot listen on %q for webhooks", address).WithHint("set --llamaparse-webhook-listen to a free address")
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	return func() error {
		err := server.Close()
		if serr := <-served; !errors.Is(serr, http.ErrServerClosed) {
			err = errors.Join(err, serr)
		}
		return err
	}, nil
}

// sorted pays for documents that are hard to read, and reads the others here.
type sorted struct {
	paid, here provider.Parser
	text       bool
}

// Describe names both.
func (s *sorted) Describe() provider.ParserInfo {
	paid, here := s.paid.Describe(), s.here.Describe()
	return provider.ParserInfo{Service: paid.Service, Version: paid.Version + "+" + here.Service + here.Version}
}

// Parse parses with one of them.
func (s *sorted) Parse(ctx context.Context, src provider.Source) (provider.Parse, error) {
	f, media := sniff.Detect(src.Name, src.ContentType, src.Data)
	p := s.paid
	if len(src.Data) == 0 || !s.text && !f.Paid {
		p = s.here
	} else {
		src.ContentType = media
	}
	out, err := p.Parse(ctx, src)
	if !out.Fallback {
		out.Parser = p.Describe()
	}
	return out, err
}

// Sent tells whether a document would be sent to a service that parses, where one
// is configured; text is --llamaparse-text.
func Sent(src provider.Source, text bool) bool {
	f, _ := sniff.Detect(src.Name, src.ContentType, src.Data)
	return len(src.Data) > 0 && (text || f.Paid)
}
