package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/events"
	"sluice/services/indexer/pgvector/pgtest"
)

// The whole pipeline on a Postgres that goes away and comes back: nothing is
// lost, readiness tells the truth, and nothing that anyone can read shows the
// password.
func TestUpOnPostgres(t *testing.T) {
	const secret = "hush-4711"
	server := pgtest.New(t)
	place, err := url.Parse(server.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	place.User = url.UserPassword("sluice", secret)
	in(t, harbour)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(os.Args[0], "up", "--data", "data", "--nats", "127.0.0.1:0", "--http", "127.0.0.1:0", "--json", "--log-level", "trace",
		"--parser-isolate-workers", "1", "--retry-cap", "1s")
	cmd.Env = append(os.Environ(), asCommand+"=1", "SLUICE_INDEX="+place.String())
	cmd.Stderr = log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	logged := func() string {
		text, err := os.ReadFile(log.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	exited := false
	defer func() {
		if !exited {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		if t.Failed() {
			t.Log(logged())
		}
	}()
	var up ready
	if err := json.NewDecoder(stdout).Decode(&up); err != nil {
		t.Fatalf("%v: %s", err, logged())
	}
	if want := "postgres://" + place.Host + place.Path; up.Index != want {
		t.Errorf("the index is shown as %s, want %s", up.Index, want)
	}
	t.Setenv("NATS_URL", up.NATS)
	t.Setenv("SLUICE_INDEX", place.String())
	said := ""
	run := func(args ...string) result {
		r := sluice(t, args...)
		said += r.out + r.err
		return r
	}
	run("ingest", "docs/lock.md", "other.csv").want(t, 0).has(t, "2 complete")
	run("search", "lanterns at night", "--json").want(t, 0)
	run("status", "docs/lock.md", "--json").want(t, 0)
	run("doctor", "--json")
	run("doctor").want(t, 0)
	run("up", "--help").want(t, 0)
	run("up", "--data", "data").want(t, 1) // the directory is taken

	health := func(path string) (int, string) {
		resp, err := http.Get(up.HTTP + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		said += string(body)
		return resp.StatusCode, string(body)
	}
	wantReady := func(code int) {
		t.Helper()
		eventually(t, fmt.Sprint("/readyz is ", code), func() bool { got, _ := health("/readyz"); return got == code })
	}
	wantReady(http.StatusOK)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(up.NATS)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), events.SubjectSubmit+".late.txt", []byte("The harbour master's parrot is called Admiral.")); err != nil {
		t.Fatal(err)
	}
	wantReady(http.StatusServiceUnavailable)
	if code, _ := health("/healthz"); code != http.StatusOK {
		t.Error("/healthz is", code, "while Postgres is away: a restart would not bring it back")
	}
	if r := run("search", "parrot"); r.code == 0 {
		t.Errorf("a search without an index says %s", r.out)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	wantReady(http.StatusOK)
	eventually(t, "what was submitted meanwhile is found", func() bool {
		r := run("search", "parrot", "--json")
		return r.code == 0 && strings.Contains(r.out, "Admiral")
	})
	run("dead", "ls").want(t, 0).says(t, "no dead letters")
	health("/metrics")

	stream, err := js.Stream(t.Context(), events.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	for seq := range stream.CachedInfo().State.LastSeq {
		m, err := stream.GetMsg(t.Context(), seq+1)
		if err != nil {
			t.Fatal(err)
		}
		said += fmt.Sprint(m.Header) + string(m.Data)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(stdout)
	if err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	exited = true
	if err != nil {
		t.Error(err)
	}
	said += string(rest) + logged()
	for _, line := range strings.Split(said, "\n") {
		if strings.Contains(line, secret) {
			t.Errorf("the password is shown: %s", line)
		}
	}
}

// An index that cannot be reached is an error that says so, when the patience
// of the start is over, and it does not take longer to interrupt.
func TestUpWithoutItsPostgres(t *testing.T) {
	server := pgtest.New(t)
	place := server.Database(t)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Start(); err != nil {
			t.Error(err)
		}
	})
	in(t, harbour)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	errs := &tripwire{wire: "index postgres://127.0.0.1:", trip: cancel}
	code := Run(ctx, []string{"up", "--data", "data", "--nats", "127.0.0.1:0", "--http", "127.0.0.1:0", "--index", place}, Streams{In: strings.NewReader(""), Out: &out, Err: errs})
	r := result{code, out.String(), errs.said.String()}
	r.says(t, errs.wire, "hint: ")
	// Without the interrupt it would have ended when the patience is over.
	if errs.at.IsZero() || r.code == 0 {
		t.Errorf("code %d: %s", r.code, r.err)
	}
}

// tripwire collects what is written, and trips once a text has been.
type tripwire struct {
	wire string
	trip func()

	mu   sync.Mutex
	said bytes.Buffer
	at   time.Time
}

func (w *tripwire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said.Write(p)
	if w.at.IsZero() && strings.Contains(w.said.String(), w.wire) {
		w.at = time.Now()
		w.trip()
	}
	return len(p), nil
}
