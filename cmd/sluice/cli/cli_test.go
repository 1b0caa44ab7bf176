package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"sluice/cmd/sluice/allinone"
	"sluice/services/chunker"
	"sluice/services/embedder"
	"sluice/services/indexer"
	"sluice/services/parser"
	"sluice/services/parser/local"

	"sluice/pkg/stage"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// asCommand makes the test binary behave as sluice, for tests of processes.
const asCommand = "SLUICE_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	local.Init() // risky formats are read by a child: this binary again
	if os.Getenv(asCommand) != "" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		code := Run(ctx, os.Args[1:], Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
		stop()
		os.Exit(code)
	}
	// An object store's Put ends its publisher's listener, and if that has not
	// been scheduled yet, it waits for ever (nats.go 1.55). A connection that we
	// forget still shows by its other goroutines.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/nats-io/nats.go/jetstream.(*jetStream).resetPendingAcksOnReconnect"))
}

// result is what a command did.
type result struct {
	code     int
	out, err string
}

// sluice runs a command as a user does, with nothing on standard input.
func sluice(t *testing.T, args ...string) result {
	t.Helper()
	return sluiceWith(t, "", args...)
}

func sluiceWith(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // it is not measured here
	defer cancel()
	return sluiceIn(t, ctx, stdin, args...)
}

// sluiceUntil runs a command that ends when ctx does.
func sluiceUntil(t *testing.T, ctx context.Context, args ...string) result {
	t.Helper()
	return sluiceIn(t, ctx, "", args...)
}

func sluiceIn(t *testing.T, ctx context.Context, stdin string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	code := Run(ctx, args, Streams{In: strings.NewReader(stdin), Out: &out, Err: &errs})
	r := result{code, out.String(), errs.String()}
	if strings.ContainsRune(r.out+r.err, '\x1b') {
		t.Errorf("sluice %q writes escape codes to what is not a terminal:\n%q\n%q", args, r.out, r.err)
	}
	return r
}

// want fails the test unless the command ended with code.
func (r result) want(t *testing.T, code int) result {
	t.Helper()
	if r.code != code {
		t.Fatalf("exit code %d, want %d\nout: %s\nerr: %s", r.code, code, r.out, r.err)
	}
	return r
}

// has fails the test unless the standard output contains all of the texts.
func (r result) has(t *testing.T, texts ...string) result {
	t.Helper()
	for _, s := range texts {
		if !strings.Contains(r.out, s) {
			t.Errorf("the output lacks %q:\n%s\nerr: %s", s, r.out, r.err)
		}
	}
	return r
}

// says fails the test unless the standard error contains all of the texts.
func (r result) says(t *testing.T, texts ...string) result {
	t.Helper()
	for _, s := range texts {
		if !strings.Contains(r.err, s) {
			t.Errorf("the standard error lacks %q:\n%s", s, r.err)
		}
	}
	return r
}

// lines decodes a JSON value a line.
func lines[T any](t *testing.T, r result) []T {
	t.Helper()
	var all []T
	for l := range strings.Lines(r.out) {
		var v T
		d := json.NewDecoder(strings.NewReader(l))
		d.DisallowUnknownFields()
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%v: %s", err, l)
		}
		all = append(all, v)
	}
	return all
}

// one decodes the only JSON line of the output.
func one[T any](t *testing.T, r result) T {
	t.Helper()
	all := lines[T](t, r)
	if len(all) != 1 {
		t.Fatalf("%d JSON lines, want 1: %s", len(all), r.out)
	}
	return all[0]
}

// stages are the defaults of all stages.
func stages() allinone.Stages {
	var s struct {
		allinone.Stages
	}
	k, err := kong.New(&s, kong.NoDefaultHelp())
	if err == nil {
		_, err = k.Parse(nil)
	}
	if err != nil {
		panic(err)
	}
	return s.Stages
}

// start runs a pipeline for the test and points commands at it.
func start(t *testing.T, change func(*allinone.Config)) *allinone.Node {
	t.Helper()
	cfg := allinone.Config{
		Data: t.TempDir(), Listen: "127.0.0.1:0", Stages: stages(),
		Log: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.ErrorLevel),
	}
	cfg.Stages.Indexer.Batch, cfg.Stages.Indexer.Wait, cfg.Stages.Indexer.Reconcile = 512, 5*time.Millisecond, 5*time.Minute
	cfg.Stages.Local.IsolateWorkers = 1
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	node, err := allinone.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	t.Setenv("NATS_URL", node.URL)
	return node
}

// in makes files in a directory of their own and goes there.
func in(t *testing.T, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

// golden compares text with a file in testdata.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s differs; run with -update if that is meant\n--- got\n%s\n--- want\n%s", path, text, want)
	}
}

// TestUpTakesTheOptionsOfTheIndexer holds what 'sluice up' gives the indexer against
// what its service reads. Before, the all-in-one left options out: it never
// compared the states of documents with the index.
func TestUpTakesTheOptionsOfTheIndexer(t *testing.T) {
	all := reflect.TypeFor[indexer.Config]()
	read := func() (service, up indexer.Config) {
		k, err := kong.New(&service, kong.NoDefaultHelp())
		if err == nil {
			_, err = k.Parse(nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		r := &root{}
		if k, err = newParser(r, Streams{Out: io.Discard, Err: io.Discard}); err == nil {
			_, err = k.Parse([]string{"up"})
		}
		if err != nil {
			t.Fatal(err)
		}
		up = r.Up.config("", "", zerolog.Nop()).Stages.Indexer
		service.Path, up.Path = "", "" // another default place in each
		return service, up
	}
	if service, up := read(); service != up {
		t.Errorf("defaults: %+v, of the service: %+v", up, service)
	}
	for i := range all.NumField() {
		value := "17"
		switch all.Field(i).Type {
		case reflect.TypeFor[time.Duration]():
			value = "17s"
		case reflect.TypeFor[bool]():
			value = "true"
		}
		t.Setenv(all.Field(i).Tag.Get("env"), value)
	}
	if service, up := read(); service != up {
		t.Errorf("%+v, of the service: %+v", up, service)
	}
}

func TestDefaultsAreThoseOfTheServices(t *testing.T) {
	s := stages()
	if s.Runtime != stage.DefaultSettings() || !reflect.DeepEqual(s.Parser, parser.DefaultConfig()) || s.Local != local.DefaultConfig() {
		t.Errorf("the command line has other defaults than the services: %+v", s)
	}
	if s.Chunker.MaxTokens != 512 || s.Embedder.Provider != "local" {
		t.Errorf("unexpected defaults: %+v %+v", s.Chunker, s.Embedder)
	}
	var _ chunker.Config = s.Chunker
	var _ embedder.Config = s.Embedder
}
