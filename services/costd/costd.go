package costd

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice/pkg/budget"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/stage"
	"sluice/services/costd/ledger"
)

// Name is the daemon's name everywhere.
const Name = "costd"

// Config configures the daemon. The tags are read by kong. The limits are those
// that hold until others are set live; what is set live stays.
type Config struct {
	Day           string        `name:"budget-day" env:"SLUICE_BUDGET_DAY" default:"5.00" help:"Dollars a day (UTC) over everything, until 'sluice budget set' says otherwise; 'none' is no limit."`
	Hour          string        `name:"budget-hour" env:"SLUICE_BUDGET_HOUR" default:"none" help:"Dollars an hour over everything."`
	DayRequests   string        `name:"budget-day-requests" env:"SLUICE_BUDGET_DAY_REQUESTS" default:"none" help:"Paid requests a day over everything."`
	HourRequests  string        `name:"budget-hour-requests" env:"SLUICE_BUDGET_HOUR_REQUESTS" default:"100" help:"Paid requests an hour over everything."`
	QueryRequests string        `name:"budget-query-requests" env:"SLUICE_BUDGET_QUERY_REQUESTS" default:"1000" help:"Paid requests an hour for searches. They are not counted with the others."`
	Lease         time.Duration `name:"budget-lease" env:"SLUICE_BUDGET_LEASE" default:"30s" help:"How long a stage may spend a lease without hearing from costd."`
	Margin        time.Duration `name:"budget-margin" env:"SLUICE_BUDGET_MARGIN" default:"10s" help:"Besides the lease and the longest call, the time after which what a silent stage held counts as spent."`
}

// Limits returns the limits of the configuration.
func (c Config) Limits() (l budget.Limits, err error) {
	for _, f := range []struct {
		text  string
		scale int64
		to    **int64
	}{{c.Day, 1e9, &l.DayNano}, {c.Hour, 1e9, &l.HourNano}, {c.DayRequests, 1, &l.DayRequests}, {c.HourRequests, 1, &l.HourRequests}} {
		if *f.to, err = Limit(f.text, f.scale); err != nil {
			return l, err
		}
	}
	return l, nil
}

// Limit reads a decimal number ("5.00") at a scale, or "none". What is finer than the scale is cut
// off: a limit is never more than what was said.
func Limit(text string, scale int64) (*int64, error) {
	if text == "none" || text == "" {
		return nil, nil
	}
	v, ok := budget.Decimal(text)
	if ok {
		v.Mul(v, big.NewRat(scale, 1))
	}
	if !ok || v.Cmp(new(big.Rat).SetInt64(1e18)) > 0 {
		return nil, fault.New(fault.Halt, "configuration", "%q is not a limit", events.CleanHeader(text, 64)).WithHint("write a decimal number that is not negative (1.50), or none")
	}
	n := new(big.Int).Quo(v.Num(), v.Denom()).Int64()
	return &n, nil
}

// Stages starts the grantor and returns the stage that counts what was spent.
// stop hands the lead over.
//
// The process answers GET /scale/<stage>, see Scale.
func Stages(ctx context.Context, env *stage.Env, cfg Config) (stages []stage.Stage, stop func() error, err error) {
	limits, err := cfg.Limits()
	if err != nil {
		return nil, nil, err
	}
	terms := ledger.Terms{TTL: cfg.Lease, Margin: cfg.Margin, Call: 2 * time.Minute}
	if cfg.Lease == 0 && cfg.Margin == 0 {
		terms = ledger.Terms{}
	} else if cfg.Lease < time.Second || cfg.Margin < time.Second {
		return nil, nil, fault.New(fault.Halt, "configuration", "a lease of %v with a margin of %v is too short", cfg.Lease, cfg.Margin).WithHint("use at least 1s each")
	}
	queries := budget.Limits{}
	if queries.HourRequests, err = Limit(cfg.QueryRequests, 1); err != nil {
		return nil, nil, err
	}
	m := newMetrics(env.Metrics.Registry)
	host, err := os.Hostname()
	if err != nil {
		host = "costd"
	}
	g, err := NewGrantor(ctx, GrantorConfig{
		Conn: env.Conn, JS: env.JS, Log: env.Log.With().Str("stage", Name).Logger(), Name: fmt.Sprintf("%s-%d", host, os.Getpid()),
		Terms: terms, Limits: map[budget.Scope]budget.Limits{budget.Global: limits, budget.Query: queries}, Shown: m.show,
		Down: func(why string) { env.Health.Down(Name, why) },
	})
	if err != nil {
		return nil, nil, err
	}
	var closers stage.Closers
	closers.Add(g.Close)
	scaling, err := NewScaling(ctx, env.JS)
	if err != nil {
		return nil, nil, errors.Join(err, closers.Close())
	}
	closers.Add(scaling.Close)
	env.Metrics.Registry.MustRegister(scaling)
	env.Handler().Handle("GET /scale/{stage}", scaling)
	return []stage.Stage{{
		Declaration: Service.Stage(Name), Workers: 1,
		Handle: func(_ context.Context, msg *stage.Message) error {
			u, err := events.Decode[events.Usage](msg.Data)
			if err != nil {
				return err
			}
			m.count(u)
			return nil
		},
	}}, closers.Close, nil
}

// metrics are what Prometheus reads of the budget.
type metrics struct {
	calls, tokens, pages, nano, saved *prometheus.CounterVec
	limit, spent, reserved, left      *prometheus.GaugeVec
	paused, warning, waiting          *prometheus.GaugeVec
}

func newMetrics(r *prometheus.Registry) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
		r.MustRegister(g)
		return g
	}
	return &metrics{
		calls:    counter("sluice_cost_calls_total", "Paid attempts, by what is known of their cost; reused are calls that a cache spared in whole or part.", "service", "operation", "outcome"),
		tokens:   counter("sluice_cost_tokens_total", "Tokens charged.", "service", "operation"),
		pages:    counter("sluice_cost_pages_total", "Pages charged.", "service", "operation"),
		nano:     counter("sluice_cost_nanodollars_total", "Nano-dollars booked.", "service", "operation"),
		saved:    counter("sluice_cost_saved_nanodollars_total", "Nano-dollars that were not spent again, by grace of the caches.", "service", "operation"),
		limit:    gauge("sluice_budget_limit", "Limits, in nano-dollars and requests; absent if there is none.", "scope", "window", "unit"),
		spent:    gauge("sluice_budget_spent", "Spent in the window, in nano-dollars and requests.", "scope", "window", "unit"),
		reserved: gauge("sluice_budget_reserved", "Out on leases, in nano-dollars and requests.", "scope", "window", "unit"),
		left:     gauge("sluice_budget_left", "What may still be reserved in the window, in nano-dollars and requests; absent if there is no limit.", "scope", "window", "unit"),
		warning:  gauge("sluice_budget_warning", "1 if 80 % of a limit of the scope is spent.", "scope"),
		waiting:  gauge("sluice_budget_waiting", "1 if calls of the service wait for money or requests of its own or the global limits.", "scope"),
		paused:   gauge("sluice_budget_paused", "1 if the scope's money or requests are spent, or it is frozen.", "scope"),
	}
}

func (m *metrics) count(u *events.Usage) {
	m.calls.WithLabelValues(u.Service, u.Operation, string(u.Outcome)).Inc()
	if u.Outcome == events.OutcomeReused {
		m.saved.WithLabelValues(u.Service, u.Operation).Add(float64(u.Saved))
		return
	}
	m.tokens.WithLabelValues(u.Service, u.Operation).Add(float64(u.Tokens))
	m.pages.WithLabelValues(u.Service, u.Operation).Add(float64(u.Pages))
	m.nano.WithLabelValues(u.Service, u.Operation).Add(float64(u.Nano))
}

func (m *metrics) show(s budget.State) {
	scope := string(s.Scope)
	for _, w := range s.Windows {
		for unit, v := range map[string]struct {
			limit           *int64
			spent, reserved int64
		}{
			"nanodollars": {w.LimitNano, w.Spent.Nano, w.Reserved.Nano},
			"requests":    {w.LimitRequests, w.Spent.Requests, w.Reserved.Requests},
		} {
			if v.limit != nil {
				m.limit.WithLabelValues(scope, w.Window, unit).Set(float64(*v.limit))
				m.left.WithLabelValues(scope, w.Window, unit).Set(float64(max(0, *v.limit-v.spent-v.reserved)))
			} else {
				m.limit.DeleteLabelValues(scope, w.Window, unit)
				m.left.DeleteLabelValues(scope, w.Window, unit)
			}
			m.spent.WithLabelValues(scope, w.Window, unit).Set(float64(v.spent))
			m.reserved.WithLabelValues(scope, w.Window, unit).Set(float64(v.reserved))
		}
	}
	for gauge, is := range map[*prometheus.GaugeVec]bool{
		m.paused:  s.State == "paused",
		m.warning: s.State == "warning" || s.State == "paused" && !s.Frozen,
		m.waiting: s.Waiting,
	} {
		v := 0.0
		if is {
			v = 1
		}
		gauge.WithLabelValues(scope).Set(v)
	}
}
