// Package natstest gives tests a real nats-server in process, with Sluice's
// topology on it. Nothing of NATS is mocked.
package natstest

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"sluice/pkg/broker"
	"sluice/pkg/broker/embedded"
	"sluice/pkg/stage"
)

// Start returns the URL of a server with the topology and all streams of the
// vocabulary, which ends with the test.
func Start(tb testing.TB, topology broker.Topology) string {
	tb.Helper()
	s, err := embedded.Start(embedded.Config{Dir: tb.TempDir(), Log: zerolog.New(zerolog.NewTestWriter(tb)).Level(zerolog.WarnLevel)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Stop)
	nc := Connect(tb, s.URL())
	js, err := jetstream.New(nc)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	topology.Extra = append(broker.Vocabulary(), topology.Extra...)
	if err := broker.Ensure(ctx, js, topology); err != nil {
		tb.Fatal(err)
	}
	return s.URL()
}

// Connect returns a connection that ends with the test.
func Connect(tb testing.TB, url string) *nats.Conn {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	nc, err := broker.Connect(ctx, broker.Config{URL: url}, tb.Name())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	return nc
}

// Env returns what a stage runs in, with its own connection: one process.
func Env(tb testing.TB, url string, s stage.Settings) *stage.Env {
	tb.Helper()
	env, err := stage.NewEnv(Connect(tb, url), zerolog.New(zerolog.NewTestWriter(tb)).Level(zerolog.InfoLevel), s)
	if err != nil {
		tb.Fatal(err)
	}
	return env
}

// Run runs stages until the test ends or the returned function is called,
// which waits for the drain.
func Run(tb testing.TB, env *stage.Env, stages ...stage.Stage) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- stage.Run(ctx, env, stages...) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("stage.Run: %v", err)
		}
	}
	tb.Cleanup(stop)
	return stop
}

// Patience is how long Eventually waits at least. A deadline costs nothing when the
// test passes, and a machine that does something else needs it.
//
// SLUICE_TEST_PATIENCE sets another one, for tests that are to fail.
var Patience = func() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("SLUICE_TEST_PATIENCE")); err == nil {
		return d
	}
	return 3 * time.Minute
}()

// Eventually polls until ok or fails the test after d, or after Patience if that
// is longer.
func Eventually(tb testing.TB, d time.Duration, what string, ok func() bool) {
	tb.Helper()
	d = max(d, Patience)
	for deadline := time.Now().Add(d); !ok(); {
		if time.Now().After(deadline) {
			tb.Fatalf("not within %v: %s", d, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Server is a fake of a service.
type Server interface {
	Start(address string) (url string, stop func() error, err error)
}

// Serve has s listen on a free port until the test ends, and returns its URL.
func Serve(tb testing.TB, s Server) (url string) {
	tb.Helper()
	url, stop, err := s.Start("127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := stop(); err != nil {
			tb.Errorf("stop %T: %v", s, err)
		}
	})
	return url
}
