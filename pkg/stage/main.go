package stage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
	_ "time/tzdata" // images have no files of time zones, and TZ should work there, too

	"github.com/alecthomas/kong"
	"github.com/mattn/go-isatty"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"sluice/pkg/broker"
	"sluice/pkg/fault"
)

// Common are the options that every stage binary has.
type Common struct {
	NATS     broker.Config `embed:""`
	Runtime  Settings      `embed:""`
	Log      LogConfig     `embed:""`
	HTTP     string        `name:"http" env:"SLUICE_HTTP" default:"127.0.0.1:0" help:"Address of /healthz, /readyz and /metrics; the log names the port if it is 0."`
	Topology broker.Mode   `name:"topology" env:"SLUICE_TOPOLOGY" default:"ensure" enum:"ensure,bind" help:"${enum}: make the streams, consumers and buckets that are missing, or only look them up; then 'sluice apply' makes them, and the stage needs no right to."`
	Replicas int           `name:"replicas" env:"SLUICE_REPLICAS" default:"1" help:"Replicas of streams and buckets, if they do not exist yet."`
	MaxBytes int64         `name:"stream-max-bytes" env:"SLUICE_STREAM_MAX_BYTES" default:"4294967296" help:"Bytes of each hand-off stream, if it does not exist yet."`
}

// LogConfig says how a process logs.
type LogConfig struct {
	Level  string `name:"log-level" env:"SLUICE_LOG_LEVEL" default:"info" enum:"trace,debug,info,warn,error" help:"Least level to log (${enum})."`
	Format string `name:"log-format" env:"SLUICE_LOG_FORMAT" default:"auto" enum:"auto,json,console" help:"${enum}; auto is console on a terminal."`
}

// Logger returns the logger of a process on w.
func (c LogConfig) Logger(w *os.File) zerolog.Logger {
	zerolog.TimeFieldFormat = time.RFC3339Nano
	level, err := zerolog.ParseLevel(c.Level)
	if err != nil {
		level = zerolog.InfoLevel // the enum allows no other
	}
	terminal := isatty.IsTerminal(w.Fd())
	var out io.Writer = w
	if c.Format == "console" || (c.Format == "auto" && terminal) {
		out = zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly, NoColor: !terminal || os.Getenv("NO_COLOR") != ""}
	}
	return zerolog.New(out).Level(level).With().Timestamp().Logger()
}

// Build makes the stages of a binary from its options and says how to close
// what they hold.
type Build[C any] func(ctx context.Context, env *Env, cfg *C) (stages []Stage, stop func() error, err error)

// Main is the whole of a stage binary: it reads flags and environment, connects,
// creates or looks up the topology, runs the stages until SIGTERM or SIGINT, and returns the
// exit code: 0, 1 failed, 2 usage.
//
// The options may change what the service declares, by a method Declare.
func Main[C any](service broker.Service, build Build[C]) int {
	name := service.Name
	var cli struct {
		Common
		Stage   C                `embed:""`
		Declare bool             `name:"declaration" help:"Print what this service declares, for 'sluice apply --with', and exit."`
		Version kong.VersionFlag `name:"version" help:"Print the version."`
	}
	parser, err := kong.New(&cli, kong.Name(name), kong.Description(service.About), kong.UsageOnError(), kong.Vars{"version": name + " " + Version})
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 2
	}
	if _, err := parser.Parse(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\nsee '%s --help'\n", name, err, name)
		return 2
	}
	if d, ok := any(&cli.Stage).(interface{ Declare() broker.Service }); ok {
		service = d.Declare()
	}
	if cli.Declare {
		text, err := json.MarshalIndent(service, "", "  ")
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			return 1
		}
		fmt.Println(string(text))
		return 0
	}
	log := cli.Log.Logger(os.Stderr)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, service, cli.Common, log, func(env *Env) ([]Stage, func() error, error) {
		return build(ctx, env, &cli.Stage)
	}); err != nil && !(ctx.Err() != nil && errors.Is(err, context.Canceled)) { // told to stop while it starts
		f := fault.From(err)
		log.Error().Str("class", f.Class.String()).Str("hint", f.Hint).Msg(f.Message)
		return 1
	}
	return 0
}

func serve(ctx context.Context, service broker.Service, cfg Common, log zerolog.Logger, build func(*Env) ([]Stage, func() error, error)) (err error) {
	if err := cfg.Runtime.Validate(); err != nil {
		return fault.Wrap(err, fault.Halt, "configuration", "the configuration cannot work").WithHint("see --help")
	}
	if err := cfg.NATS.Check(); err != nil {
		return err
	}
	if cfg.HTTP == "" {
		cfg.HTTP = "127.0.0.1:0" // the empty address would be all of the machine's
	}
	listener, err := net.Listen("tcp", cfg.HTTP)
	if err != nil {
		return fault.Wrap(err, fault.Halt, "http-address", "cannot listen on %q", cfg.HTTP).WithHint("set --http to a free address")
	}
	// While the broker is away the process is alive and not ready, and probes
	// must see just that: a restart would not bring the broker back.
	var handler atomic.Pointer[http.ServeMux]
	handler.Store(waiting(cfg.NATS.Redacted()))
	var link link
	server := &http.Server{
		Handler:           link.guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.Load().ServeHTTP(w, r) })),
		ReadHeaderTimeout: 5 * time.Second,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		if cerr := server.Close(); err == nil {
			err = cerr
		}
		if serr := <-served; err == nil && !errors.Is(serr, http.ErrServerClosed) {
			err = serr
		}
	}()

	log.Info().Str("http", listener.Addr().String()).Str("nats", cfg.NATS.Redacted()).Msg("starting")
	cfg.NATS.Tell = link.tell(log, cfg.NATS.Redacted())
	nc, err := broker.Connect(ctx, cfg.NATS, "sluice-"+service.Name)
	if err != nil {
		return err
	}
	defer nc.Close()
	return outlast(ctx, log, nc.IsConnected, func() (err error) {
		env, err := NewEnv(nc, log, cfg.Runtime)
		if err != nil {
			return err
		}
		env.Topology = cfg.Topology
		handler.Store(env.Handler())
		flush, err := Trace(ctx, env, service.Name)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, flush()) }()

		if err := retryUntil(ctx, log, func() error {
			t := broker.DefaultTopology()
			t.Replicas, t.MaxBytes = cfg.Replicas, cfg.MaxBytes
			ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			return cfg.Topology.Start(ctx, env.JS, t, service)
		}); err != nil {
			return err
		}
		stages, stop, err := build(env)
		if err != nil {
			return err
		}
		if stop != nil {
			defer func() { err = errors.Join(err, CloseAfter(err, stop)) }()
		}
		return Run(ctx, env, stages...)
	})
}

// outlast runs f, and again if it fails because NATS went away while it started: what
// runs already waits for NATS by itself.
func outlast(ctx context.Context, log zerolog.Logger, connected func() bool, f func() error) error {
	for {
		err := f()
		if err == nil || ctx.Err() != nil || errors.Is(err, nats.ErrConnectionClosed) || IsStuck(err) {
			return err
		}
		away := !connected() || errors.Is(err, nats.ErrReconnectBufExceeded) || errors.Is(err, nats.ErrDisconnected) || errors.Is(err, nats.ErrTimeout) ||
			errors.Is(err, nats.ErrNoResponders) || errors.Is(err, context.DeadlineExceeded)
		if f := fault.From(err); !away || f.Class == fault.Halt {
			return err
		}
		log.Warn().Err(err).Msg("NATS went away during the start; starting again")
		if !sleep(ctx, time.Second) {
			return err
		}
	}
}

// CloseAfter closes what stages have used, after Run has returned err. If a call of a
// stage's function is stuck (IsStuck), it may hold something that closing waits for:
// then closing has a few seconds.
func CloseAfter(err error, stop func() error) error {
	if !IsStuck(err) {
		return stop()
	}
	closed := make(chan error, 1)
	go func() { closed <- stop() }()
	timer := time.NewTimer(2 * straggling) // what was bought and not told counts as spent
	defer timer.Stop()
	select {
	case err := <-closed:
		return err
	case <-timer.C:
		return errors.New("what the stage uses could not be closed")
	}
}

// waiting answers probes before there is a connection.
func waiting(url string) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"ok":true,"connected":false}`+"\n") // the probe may be gone
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "waiting for NATS at "+url, http.StatusServiceUnavailable)
	})
	return mux
}

// retryUntil repeats f while the broker may still be starting, or 'sluice apply'
// may still be at it. Another Halt fault is final: waiting does not mend a
// configuration.
func retryUntil(ctx context.Context, log zerolog.Logger, f func() error) error {
	said := ""
	for {
		err := f()
		why := fault.From(err)
		if err == nil || ctx.Err() != nil || (why.Class == fault.Halt && why.Reason != broker.ReasonNotApplied) {
			return err
		}
		if why.Message != said {
			said = why.Message
			log.Warn().Str("class", why.Class.String()).Str("reason", why.Reason).Str("hint", why.Hint).Msg("waiting: " + said)
		}
		if !sleep(ctx, time.Second) {
			return err
		}
	}
}
