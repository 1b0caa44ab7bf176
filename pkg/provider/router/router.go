// Package router decides, call by call, whether a service is asked, a fallback
// works in its place, or the work is held.
//
// A Control stands before one service: a breaker that stops asking a service
// that is away, a limiter that asks it no faster than it bears, and health
// checks that cost nothing. None of them fails a message for what is not its
// fault: while the service is away, the work waits for it and counts no failure.
// The breaker hears only what the service's own client returned (see Do and Ask).
//
//	mode    the service answers   it does not         forced
//	real    asked                 the work is held
//	hybrid  asked                 the fallback, tagged
//	local                                             the fallback, tagged
//
// Modes are changed live in the KV bucket "pipeline", key "mode.<stage>".
package router

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/sony/gobreaker/v2"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// Mode says what is done where a service could be asked.
type Mode string

// The modes. What costs nothing by itself, local or mock as the provider, has no
// mode: it is always asked.
const (
	Real   Mode = "real"   // the service; while it is away the work is held
	Hybrid Mode = "hybrid" // the service; while it is away the fallback
	Local  Mode = "local"  // the fallback
)

// ParseMode reads a mode.
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case Real, Hybrid, Local:
		return m, nil
	}
	return "", fault.Invalid("mode", "%q is not a mode", events.CleanHeader(s, 64)).WithHint("use real, hybrid or local")
}

// ModeKey is the key of a stage's mode in the bucket "pipeline".
func ModeKey(stage string) string { return "mode." + stage }

// Config configures a Control. Zero values are defaults; Conn and JS are needed.
type Config struct {
	Conn    *nats.Conn
	JS      jetstream.JetStream
	Log     zerolog.Logger
	Metrics prometheus.Registerer // nil = none
	Service string                // "openai"
	Stage   string                // "embedder"
	Mode    Mode                  // while nobody has set another; "" = real
	// Config names the configuration of the client, for a key of the bucket
	// "pipeline": replicas with the same one are halted together (Halt). "" = each
	// is halted by itself.
	Config string
	// Check asks whether the service answers and takes the key. It costs
	// nothing. Nil = what the calls say is all that is known.
	Check    func(ctx context.Context) error
	Wake     func(fault.Wait) // called when held work may go again
	Changed  func(string)     // the state in words has changed
	Attempts int              // of a call that fails for the service's sake, before it is given back; 0 = 3
	Delay    time.Duration
	Open     time.Duration // how long the breaker stays open; 0 = 5 s
	Every    time.Duration // between health checks; 0 = 15 s
}

// Control stands before one service. It is safe for concurrent use.
type Control struct {
	cfg     Config
	breaker *gobreaker.CircuitBreaker[struct{}]
	limiter *Limiter
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	kv      jetstream.KeyValue
	watches []*broker.Watch
	probe   chan struct{}

	mu      sync.Mutex
	mode    Mode
	modeRev uint64       // of the mode's entry
	halted  *fault.Error // our configuration is at fault, until a check says otherwise
	lasting bool         // no check lifts halted
	haltRev uint64       // of the latest entry that halts this configuration
	since   time.Time    // of halted
	last    string       // what the service's last failure was
	said    string

	calls    *prometheus.CounterVec
	seconds  prometheus.Observer
	open, up prometheus.Gauge
	fallback prometheus.Counter
}

// New starts a control.
func New(ctx context.Context, cfg Config) (*Control, error) {
	set := func(to *time.Duration, d time.Duration) {
		if *to == 0 {
			*to = d
		}
	}
	set(&cfg.Delay, 250*time.Millisecond)
	set(&cfg.Open, 5*time.Second)
	set(&cfg.Every, 15*time.Second)
	if cfg.Attempts == 0 {
		cfg.Attempts = 3
	}
	if cfg.Mode == "" {
		cfg.Mode = Real
	}
	c := &Control{cfg: cfg, mode: cfg.Mode, probe: make(chan struct{}, 1)}
	c.measure()
	c.breaker = gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name: cfg.Service, MaxRequests: 1, Interval: 30 * time.Second, Timeout: cfg.Open,
		// Five in a row do not happen to a service that loses one call in ten.
		ReadyToTrip: func(n gobreaker.Counts) bool {
			return n.ConsecutiveFailures >= 5 || (n.Requests >= 20 && n.TotalFailures*2 >= n.Requests)
		},
		IsSuccessful: func(err error) bool { return fault.Of(err) != fault.Unavailable || err == nil },
		IsExcluded: func(err error) bool {
			class := fault.Of(err)
			return err != nil && (errors.Is(err, errUnasked) || errors.Is(err, context.Canceled) || class == fault.CostLimit || class == fault.RateLimited)
		},
		OnStateChange: func(_ string, from, to gobreaker.State) {
			cfg.Log.Warn().Str("service", cfg.Service).Str("before", from.String()).Str("state", to.String()).Msg("breaker")
			c.open.Set(map[gobreaker.State]float64{gobreaker.StateClosed: 0, gobreaker.StateHalfOpen: 1, gobreaker.StateOpen: 2}[to])
			if to == gobreaker.StateClosed {
				c.wake()
			}
			c.poke()
		},
	})
	var err error
	if c.kv, err = cfg.JS.KeyValue(ctx, events.BucketPipeline); err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", events.BucketPipeline, err)
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if c.limiter, err = NewLimiter(cfg.Conn, cfg.Service, cfg.Metrics); err != nil {
		c.cancel()
		return nil, err
	}
	c.limiter.resumed(c.wake)
	if err := c.watch(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.running.Go(c.tend)
	return c, nil
}

// watch follows the mode, and what halts this configuration.
func (c *Control) watch(ctx context.Context) error {
	w, err := broker.NewWatch(ctx, c.kv, ModeKey(c.cfg.Stage), c.set)
	if err != nil {
		return fmt.Errorf("watch the mode: %w", err)
	}
	c.watches = append(c.watches, w)
	if c.cfg.Config == "" {
		return nil
	}
	key := HaltKey(c.cfg.Stage, c.cfg.Config)
	switch e, err := c.kv.Get(ctx, key); {
	case err == nil:
		c.mu.Lock()
		c.haltRev = e.Revision()
		c.mu.Unlock()
	case !errors.Is(err, jetstream.ErrKeyNotFound):
		return fmt.Errorf("read %s of the bucket %s: %w", key, events.BucketPipeline, err)
	}
	if w, err = broker.NewWatch(ctx, c.kv, key, c.hearHalt); err != nil {
		return fmt.Errorf("watch what halts this configuration: %w", err)
	}
	c.watches = append(c.watches, w)
	return nil
}

func (c *Control) measure() {
	labels := prometheus.Labels{"service": c.cfg.Service}
	c.calls = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sluice_provider_calls_total", Help: "Calls of a service by outcome: ok, or the class of the failure.", ConstLabels: labels,
	}, []string{"outcome"})
	seconds := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "sluice_provider_seconds", Help: "Duration of a call of a service.", ConstLabels: labels, Buckets: prometheus.ExponentialBuckets(0.005, 2.5, 12),
	})
	c.seconds = seconds
	c.open = prometheus.NewGauge(prometheus.GaugeOpts{Name: "sluice_provider_breaker", Help: "0 closed, 1 half open, 2 open.", ConstLabels: labels})
	c.up = prometheus.NewGauge(prometheus.GaugeOpts{Name: "sluice_provider_up", Help: "1 if the last health check or call succeeded.", ConstLabels: labels})
	c.fallback = prometheus.NewCounter(prometheus.CounterOpts{Name: "sluice_provider_fallback_total", Help: "Calls that a fallback took over.", ConstLabels: labels})
	c.up.Set(1)
	if c.cfg.Metrics != nil {
		c.cfg.Metrics.MustRegister(c.calls, seconds, c.open, c.up, c.fallback)
	}
}

// Limiter returns the limiter; clients tell it what answers say of rates.
func (c *Control) Limiter() *Limiter { return c.limiter }

// Mode returns the mode that holds now.
func (c *Control) Mode() Mode {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mode
}

// State says in words how the service does.
func (c *Control) State() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state()
}

func (c *Control) state() string {
	s := fmt.Sprintf("%s: mode %s, breaker %s", c.cfg.Service, c.mode, c.breaker.State())
	if c.halted != nil {
		s += ", halted: " + c.halted.Message
	} else if c.breaker.State() != gobreaker.StateClosed {
		s += ", last failure: " + c.last
	}
	return s
}

func (c *Control) tell() {
	if c.cfg.Changed == nil {
		return
	}
	c.mu.Lock()
	s := c.state()
	changed := s != c.said
	c.said = s
	c.mu.Unlock()
	if changed {
		c.cfg.Changed(s)
	}
}

// away is the error of a call that is not made.
func (c *Control) away() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.mode == Local:
		return fault.New(fault.Unavailable, reasonLocal, "the mode of the %s is local, so %s is not asked", c.cfg.Stage, c.cfg.Service).
			WithHint("sluice mode %s hybrid", c.cfg.Stage).After(30 * time.Second).WaitFor(c.key())
	case c.halted != nil:
		return c.halted
	}
	return nil
}

// absent is the error that a call would meet now.
func (c *Control) absent() error {
	if err := c.away(); err != nil {
		return err
	}
	return c.held()
}

// The reasons of a service that is away for everyone.
const (
	reasonOpen  = "breaker-open"
	reasonLocal = "mode-local"
)

func (c *Control) held() error {
	c.mu.Lock()
	last := c.last
	c.mu.Unlock()
	return fault.New(fault.Unavailable, reasonOpen, "%s is away (%s); goes on by itself when it is back", c.cfg.Service, last).
		After(c.cfg.Open).WaitFor(c.key())
}

// key is what work waits for while the service is away.
func (c *Control) key() fault.Wait { return fault.On(fault.WaitService, c.cfg.Service) }

// Serves tells whether the service would be asked now.
func (c *Control) Serves() bool {
	return c.away() == nil && c.breaker.State() != gobreaker.StateOpen
}

func (c *Control) wake() {
	if c.cfg.Wake != nil {
		c.cfg.Wake(c.key())
		c.cfg.Wake(fault.WaitConfig)
	}
}

func (c *Control) poke() {
	select {
	case c.probe <- struct{}{}:
	default:
	}
}

// set hears a mode.
func (c *Control) set(e jetstream.KeyValueEntry) {
	mode := c.cfg.Mode
	if e.Operation() == jetstream.KeyValuePut {
		m, err := ParseMode(string(e.Value()))
		if err != nil {
			c.cfg.Log.Warn().Err(err).Str("key", e.Key()).Msg("an unknown mode is ignored")
			return
		}
		mode = m
	}
	c.mu.Lock()
	changed := c.mode != mode
	c.mode = mode
	c.mu.Unlock()
	if c.lift(e.Revision()) {
		c.cfg.Log.Info().Str("service", c.cfg.Service).Msg("somebody has set the mode: the service is tried again")
		changed = true
	}
	if changed {
		c.cfg.Log.Info().Str("service", c.cfg.Service).Str("mode", string(mode)).Msg("mode")
		c.wake()
		c.tell()
	}
}

// tend checks the service: now and then while all is well, often while it is
// not, and has held work go on once it answers.
func (c *Control) tend() {
	c.tell()
	timer := time.NewTimer(c.cfg.Every)
	defer timer.Stop()
	sick := false
	for {
		checked := false
		select {
		case <-c.ctx.Done():
			return
		case <-c.probe:
		case <-timer.C:
			c.check()
			checked = true
		}
		c.tell()
		was := sick
		c.mu.Lock()
		sick = c.halted != nil
		c.mu.Unlock()
		sick = sick || c.breaker.State() != gobreaker.StateClosed
		if !checked && sick == was {
			continue // the timer runs
		}
		if sick {
			timer.Reset(max(c.cfg.Open/2, 10*time.Millisecond))
		} else {
			timer.Reset(c.cfg.Every)
		}
	}
}

func (c *Control) check() {
	var err error
	if c.cfg.Check != nil {
		ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
		err = c.cfg.Check(ctx)
		cancel()
	}
	if err != nil {
		c.up.Set(0)
		c.cfg.Log.Debug().Err(err).Str("service", c.cfg.Service).Msg("the health check fails")
		return
	}
	c.mu.Lock()
	// What a check cannot see, an unknown model for one, is tried anew now and then.
	mended := c.halted != nil && !c.lasting && (c.cfg.Check != nil || time.Since(c.since) > c.cfg.Open)
	if mended {
		c.halted = nil
	}
	c.mu.Unlock()
	if mended || c.breaker.State() == gobreaker.StateHalfOpen {
		c.wake() // the first of them is the probe
	} else if c.Halted() == nil {
		c.up.Set(1)
	}
}

// Close ends the background work.
func (c *Control) Close() error {
	for _, w := range c.watches {
		w.Close()
	}
	c.cancel()
	c.running.Wait()
	return c.limiter.Close()
}
