// Package allinone runs every stage of Sluice in one process, with a
// nats-server inside it or on one that runs already. The stages are the same
// functions that the separate binaries run.
package allinone

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"sluice/cmd/sluice/services"
	"sluice/pkg/broker"
	"sluice/pkg/broker/embedded"
	"sluice/pkg/fault"
	"sluice/pkg/stage"
)

// Stages are the options of all services.
type Stages = services.Options

// Config places a node. Data is required.
type Config struct {
	Data     string        // directory of the broker's files, the index and the lock
	Listen   string        // HOST:PORT of the embedded nats-server; port 0 = any free one
	Join     broker.Config // with a URL, no nats-server is started
	Topology broker.Mode   // "" is ensure
	HTTP     string        // HOST:PORT of health, metrics and the status page; "" = none
	Replicas int           // of streams that do not exist yet
	MaxBytes int64         // of each hand-off stream that does not exist yet
	Stages   Stages
	Log      zerolog.Logger
	Version  string // a semantic version, for NATS micro
}

// Node is a running pipeline.
type Node struct {
	URL   string // for NATS clients, without credentials
	HTTP  string // HOST:PORT, or ""
	Index string // its place, without credentials
	Conn  *nats.Conn
	Env   *stage.Env

	server *embedded.Server       // nil: it runs elsewhere
	link   atomic.Pointer[string] // what is wrong with the connection; nil is nothing

	cancel context.CancelFunc
	failed chan error    // the first error of a stage
	done   chan struct{} // closed when everything has ended, after closed was set
	closed error
}

// Start runs all stages and returns when they take work up. The pipeline runs
// until Stop, whatever becomes of ctx, which bounds the start only.
func Start(ctx context.Context, cfg Config) (_ *Node, err error) {
	if err := cfg.Stages.Runtime.Validate(); err != nil {
		return nil, fault.Wrap(err, fault.Halt, "configuration", "the configuration cannot work").WithHint("see 'sluice up --help'")
	}
	var closers stage.Closers
	defer func() {
		if err != nil {
			err = errors.Join(err, closers.Close())
		}
	}()
	unlock, err := lock(cfg.Data)
	if err != nil {
		return nil, err
	}
	closers.Add(unlock)

	n := &Node{failed: make(chan error, len(services.All())), done: make(chan struct{})}
	var options []nats.Option
	if cfg.Join.URL == "" {
		if n.server, err = serve(cfg, &closers); err != nil {
			return nil, err
		}
		cfg.Join.URL = n.server.URL()
		// What the stages say to one another needs no socket.
		options = append(options, nats.InProcessServer(n.server))
	}
	cfg.Join.Tell = n.tell(cfg)
	if n.Conn, err = broker.Connect(ctx, cfg.Join, "sluice", options...); err != nil {
		return nil, err
	}
	closers.Add(func() error { n.Conn.Close(); return nil })
	n.URL = n.Conn.ConnectedUrlRedacted()
	if n.Env, err = stage.NewEnv(n.Conn, cfg.Log, cfg.Stages.Runtime); err != nil {
		return nil, err
	}
	if cfg.Version != "" {
		n.Env.Version = cfg.Version
	}
	flush, err := stage.Trace(ctx, n.Env, "up")
	if err != nil {
		return nil, err
	}
	closers.Add(flush)
	topology := broker.DefaultTopology()
	if cfg.Replicas > 0 {
		topology.Replicas = cfg.Replicas
	}
	if cfg.MaxBytes > 0 {
		topology.MaxBytes = cfg.MaxBytes
	}
	n.Env.Topology = cfg.Topology
	if err := cfg.Topology.Start(ctx, n.Env.JS, topology, cfg.Stages.Declared()...); err != nil {
		return nil, err
	}
	if err := n.run(ctx, cfg, &closers); err != nil {
		return nil, err
	}
	return n, nil
}

// run starts the services, the last one of the pipeline first: the parser has to
// know what the others are before it can tell a duplicate, and who pays needs costd
// until the end, to give money back.
func (n *Node) run(ctx context.Context, cfg Config, closers *stage.Closers) error {
	if cfg.Stages.Indexer.Path == "" {
		cfg.Stages.Indexer.Path = filepath.Join(cfg.Data, "index.db")
	}
	n.Index = cfg.Stages.Indexer.Shown()
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	n.cancel = cancel
	// Until all has started, whoever gives up waiting ends it.
	defer context.AfterFunc(ctx, cancel)()
	var groups sync.WaitGroup
	begin := func(ended *error, stages ...stage.Stage) {
		groups.Go(func() {
			if *ended = stage.Run(working, n.Env, stages...); *ended != nil {
				n.failed <- *ended
			}
		})
	}
	// stop ends what has begun.
	stop := func() error {
		cancel()
		groups.Wait()
		return nil
	}

	all := services.All()
	for _, service := range slices.Backward(all) {
		stages, closeService, err := service.Build(working, n.Env, &cfg.Stages)
		if err != nil {
			cancel()
			return err
		}
		ended := new(error) // known once stop has returned
		if closeService != nil {
			closers.Add(func() error { return stage.CloseAfter(*ended, closeService) })
		}
		closers.Add(stop) // before it: nothing uses it any more
		begin(ended, stages...)
		if err := n.ready(ctx, stages); err != nil {
			return err
		}
	}
	if cfg.HTTP != "" {
		stopHTTP, err := n.listen(cfg)
		if err != nil {
			return err
		}
		closers.Add(stopHTTP)
	}
	go func() {
		<-working.Done()
		n.closed = closers.Close()
		close(n.done)
	}()
	return nil
}

// ready waits until stages run: their consumers exist and their fingerprints
// are published.
func (n *Node) ready(ctx context.Context, stages []stage.Stage) error {
	for {
		running := map[string]bool{}
		for _, s := range n.Env.Health.Stages() {
			running[s.Stage] = s.Running
		}
		missing := ""
		for _, s := range stages {
			if !running[s.Name] {
				missing = s.Name
			}
		}
		if missing == "" {
			return nil
		}
		select {
		case err := <-n.failed:
			return err
		case <-ctx.Done():
			return fmt.Errorf("the stage %s does not start: %w", missing, context.Cause(ctx))
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// Failed delivers the error of a stage that cannot go on.
func (n *Node) Failed() <-chan error { return n.failed }

// Stop drains the stages, within their grace period, and closes everything. It
// returns what went wrong on the way, the errors that nobody took from Failed
// included. Stopping twice is harmless.
func (n *Node) Stop() error {
	n.cancel()
	<-n.done
	err := n.closed
	for {
		select {
		case failed := <-n.failed:
			err = errors.Join(err, failed)
		default:
			return err
		}
	}
}

// tell returns what is called with what is wrong with the connection.
func (n *Node) tell(cfg Config) func(*fault.Error) {
	return func(f *fault.Error) {
		if f == nil {
			if n.link.Swap(nil) != nil {
				cfg.Log.Info().Str("nats", cfg.Join.Redacted()).Msg("NATS answers")
			}
			return
		}
		text := "waiting for NATS at " + cfg.Join.Redacted()
		if f.Reason == broker.ReasonServer {
			text = f.Message
		}
		n.link.Store(&text)
		cfg.Log.Warn().Str("reason", f.Reason).Str("hint", f.Hint).AnErr("cause", f.Err).Msg(text)
	}
}

// Down returns what keeps NATS from working, or "".
func (n *Node) Down() string {
	if n.server != nil {
		if why := n.server.Broken(); why != "" {
			return why
		}
	}
	if why := n.link.Load(); why != nil {
		return *why
	}
	return ""
}

// guard answers /readyz while NATS does not work, and leaves the rest to next.
func (n *Node) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		down := n.Down()
		if down == "" || r.URL.Path != "/readyz" {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusServiceUnavailable)
		text := json.NewEncoder(w)
		text.SetEscapeHTML(false)
		_ = text.Encode(map[string]any{"ok": false, "down": down}) // the probe may be gone
	})
}

// listen serves health, metrics and the status page.
func (n *Node) listen(cfg Config) (stop func() error, err error) {
	l, err := net.Listen("tcp", cfg.HTTP)
	if err != nil {
		return nil, fault.Wrap(err, fault.Halt, "http-address", "cannot listen on %q", cfg.HTTP).
			WithHint("set --http to a free address; port 0 takes any")
	}
	mux := n.Env.Handler()
	mux.Handle("GET /{$}", page{n.Env, n.Down})
	server := &http.Server{Handler: n.guard(mux), ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	n.HTTP = l.Addr().String()
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close() // a client that does not let go
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve health and metrics: %w", err)
		}
		return nil
	}, nil
}

// serve starts the embedded nats-server.
func serve(cfg Config, closers *stage.Closers) (*embedded.Server, error) {
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, fault.Wrap(err, fault.Halt, "nats-address", "%q is not an address for NATS", cfg.Listen).WithHint("use HOST:PORT, such as 127.0.0.1:4222")
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fault.Wrap(err, fault.Halt, "nats-address", "%q is not a port for NATS", port).WithHint("use HOST:PORT, such as 127.0.0.1:4222")
	}
	if number != 0 {
		// The server would only say that it is not ready, after a while.
		l, err := net.Listen("tcp", cfg.Listen)
		if err != nil {
			return nil, fault.Wrap(err, fault.Halt, "nats-address", "cannot listen on %s for NATS", cfg.Listen).
				WithHint("if a NATS server runs there, join it with --nats-url nats://%s; or choose another --nats", cfg.Listen)
		}
		if err := l.Close(); err != nil {
			return nil, fmt.Errorf("try the address %s: %w", cfg.Listen, err)
		}
	}
	server, err := embedded.Start(embedded.Config{
		Dir: filepath.Join(cfg.Data, "nats"), Host: host, Port: int(number), Log: cfg.Log.With().Str("stage", "nats").Logger(),
	})
	if err != nil {
		return nil, err
	}
	closers.Add(func() error { server.Stop(); return nil })
	return server, nil
}

// lock makes the directory and keeps other processes out of it: two brokers on
// one store would destroy it.
func lock(dir string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fault.Wrap(err, fault.Halt, "data-directory", "cannot make the data directory").WithHint("set --data to a directory of your own")
	}
	path := filepath.Join(dir, "lock")
	l := flock.New(path)
	ok, err := l.TryLock()
	if err != nil {
		return nil, fault.Wrap(err, fault.Halt, "data-directory", "cannot lock the data directory %s", dir).WithHint("set --data to a directory of your own")
	}
	if !ok {
		who := "another process"
		if pid, err := os.ReadFile(path); err == nil && len(pid) > 0 {
			who = "another sluice (pid " + strings.TrimSpace(string(pid)) + ")"
		}
		return nil, fault.New(fault.Halt, "data-locked", "%s uses the directory %s", who, dir).
			WithHint("it accepts documents already: 'sluice ingest'; or set --data to another directory")
	}
	// The lock is on the file, not on what is in it: that is for people.
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		return nil, errors.Join(fmt.Errorf("write the lock file: %w", err), l.Close())
	}
	return l.Close, nil
}
