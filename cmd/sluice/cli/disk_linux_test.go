package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() {
	if os.Getenv(asCommand) != "" {
		// A file that may not grow then is an error of writing, as of a full disk.
		signal.Ignore(syscall.SIGXFSZ)
	}
}

// upProcess is 'sluice up' in a process of its own.
type upProcess struct {
	ready
	cmd *exec.Cmd
}

// up starts it with a data directory, and points commands at it.
func upAsProcess(t *testing.T, data string, args ...string) *upProcess {
	t.Helper()
	args = append([]string{"up", "--json", "--data", data, "--nats", "127.0.0.1:0", "--http", "127.0.0.1:0"}, args...)
	p := &upProcess{cmd: exec.Command(os.Args[0], args...)}
	p.cmd.Env = append(os.Environ(), asCommand+"=1")
	log := &bytes.Buffer{}
	p.cmd.Stderr = log
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Signal(os.Interrupt) // it may have ended
		if err := p.cmd.Wait(); err != nil {
			t.Errorf("sluice up: %v", err)
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
	if err := json.NewDecoder(stdout).Decode(&p.ready); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NATS_URL", p.NATS)
	return p
}

// readyz returns what the process says of itself.
func (p *upProcess) readyz(t *testing.T) (code int, body string) {
	t.Helper()
	resp, err := http.Get(p.HTTP + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // read only
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// files bounds the size of each file that a process may write: a disk that is
// full, and that has room again, without a disk.
func (p *upProcess) files(t *testing.T, bytes uint64) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, nil, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: old.Max}, nil); err != nil {
		t.Fatal(err)
	}
}

// nats-server never writes a stream again that it has failed to write once, and
// answers nobody who publishes to it: nothing moved until a restart, and /readyz was
// 200 throughout.
func TestAFullDiskOfNATS(t *testing.T) {
	p := upAsProcess(t, filepath.Join(t.TempDir(), "data"))
	files := map[string]string{}
	for i := range 8 {
		// Much to store and little to index.
		files[fmt.Sprintf("%d.html", i)] = fmt.Sprintf("<!-- %s --><p>Ferry number %d crosses the estuary.", strings.Repeat("tide ", 160_000), i)
	}
	in(t, files)
	sluice(t, "ingest", "0.html").want(t, 0)
	if code, body := p.readyz(t); code != http.StatusOK {
		t.Fatal(code, body)
	}
	p.files(t, 4<<20)
	done := make(chan result, 1)
	go func() { done <- sluice(t, "ingest", ".", "--json") }()
	eventually(t, "it is not ready, and says why", func() bool {
		code, body := p.readyz(t)
		return code == http.StatusServiceUnavailable && strings.Contains(body, "NATS cannot write its files") && strings.Contains(body, "file too large")
	})
	report := sluice(t, "doctor", "--json", "--data", p.Data)
	if report.code == 0 || !strings.Contains(report.out, "file too large") || !strings.Contains(report.out, "restart nats-server") {
		t.Errorf("doctor says %d %s", report.code, report.out)
	}
	p.files(t, unix.RLIM_INFINITY)
	eventually(t, "it is ready again", func() bool { code, _ := p.readyz(t); return code == http.StatusOK })
	select {
	case r := <-done:
		for name, d := range byName(lines[outcome](t, r.want(t, 0))) {
			if d.State != "complete" && (name != "0.html" || d.State != "duplicate") {
				t.Errorf("%s: %+v", name, d)
			}
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("the documents do not arrive")
	}
	sluice(t, "dead", "ls").want(t, 0).says(t, "no dead letters")
}
