package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/pkg/broker"
)

// compile makes a binary that only one test needs.
func compile(t *testing.T, module, pkg, name string, env ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	cmd := exec.Command("go", "build", "-o", path, pkg)
	cmd.Dir = module
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return path
}

// A nats-server of the release before the one that has all we use does not refuse
// what it does not know. So a stage refuses it, at the start and after a reconnect,
// and 'sluice doctor' names both versions.
func TestAnOldNATSServerIsRefused(t *testing.T) {
	t.Parallel()
	old := compile(t, filepath.Join("tools", "oldnats"), ".", "oldnats", "GOWORK=off")
	sluice := compile(t, filepath.Join("..", "cmd", "sluice"), ".", "sluice")
	dir := t.TempDir()
	port := strconv.Itoa(freePort(t))
	url := "nats://127.0.0.1:" + port
	server := func(path, name string) *process {
		t.Helper()
		if err := os.Link(path, filepath.Join(bin, name)); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
		return spawn(t, dir, name, name, "--dir", filepath.Join(dir, "js-"+name), "--port", port)
	}
	words := func(text string) bool {
		return strings.Contains(text, "nats-server 2.11.") && strings.Contains(text, "Sluice needs "+broker.MinimumServer)
	}

	stale := server(old, "oldnats")
	var out []byte
	eventually(t, time.Minute, "doctor names both versions", func() error {
		cmd := exec.Command(sluice, "doctor", "--json", "--nats-url", url, "--data", dir)
		var report struct {
			OK     bool
			Checks []struct{ Check, Status, Detail, Hint string }
		}
		out, _ = cmd.Output() // it fails, and should
		if err := json.Unmarshal(out, &report); err != nil {
			return err
		}
		for _, c := range report.Checks {
			if c.Check == "connection" && c.Status == "fail" && words(c.Detail) && strings.Contains(c.Hint, "upgrade nats-server") {
				return nil
			}
		}
		return fmt.Errorf("it says %s", out)
	})
	run := exec.Command(filepath.Join(bin, "chunker"), "--nats-url", url, "--log-format", "json")
	var log bytes.Buffer
	run.Stderr = &log
	err := run.Run()
	t.Logf("the chunker: %v, %s", err, log.Bytes())
	if run.ProcessState.ExitCode() != 1 || !words(log.String()) {
		t.Errorf("the chunker ends with %v and does not say why", err)
	}
	stale.kill()

	// A stage that has run on a good server meets an old one.
	http0 := "127.0.0.1:" + strconv.Itoa(freePort(t))
	ready := func() (int, string, error) {
		resp, err := http.Get("http://" + http0 + "/readyz")
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = resp.Body.Close() }() // read only
		body, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body), err
	}
	spawn(t, dir, "chunker", "chunker", "--nats-url", url, "--log-format", "json", "--http", http0)
	eventually(t, time.Minute, "the chunker waits for NATS, and says so", func() error {
		code, body, err := ready()
		said, _ := os.ReadFile(filepath.Join(dir, "chunker.log"))
		if err != nil || code != http.StatusServiceUnavailable || !strings.Contains(body, "waiting for NATS at "+url) ||
			!strings.Contains(string(said), "waiting for NATS at "+url) {
			return fmt.Errorf("%d %s %w\n%s", code, body, err, said)
		}
		return nil
	})
	good := server(filepath.Join(bin, "natsserver"), "natsserver")
	eventually(t, time.Minute, "the chunker is ready", func() error {
		if code, body, err := ready(); err != nil || code != http.StatusOK {
			return fmt.Errorf("%d %s %w", code, body, err)
		}
		return nil
	})
	good.kill()
	if err := stale.start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the chunker is not ready, and names the version", func() error {
		code, body, err := ready()
		said, _ := os.ReadFile(filepath.Join(dir, "chunker.log"))
		if err != nil || code != http.StatusServiceUnavailable || !words(body) || !words(string(said)) {
			return fmt.Errorf("%d %s %w\n%s", code, body, err, said)
		}
		return nil
	})
}
