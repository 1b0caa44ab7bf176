package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a binary under test that can be killed and started again.
type process struct {
	name string // for messages: "parser", "parser-2", "natsserver"
	path string
	args []string
	log  string // its standard error, over all starts

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
	starts int
}

// spawn starts a binary, which ends with the test. It runs under a path of its
// own, by which its children are known as well.
func spawn(t *testing.T, dir, binary, name string, args ...string) *process {
	t.Helper()
	p := &process{name: name, path: filepath.Join(dir, name), args: args, log: filepath.Join(dir, name+".log")}
	if err := os.Link(filepath.Join(bin, binary), p.path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("last words of %s:\n%s", name, p.lastWords())
		}
	})
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // the child has its own descriptor
	cmd := exec.Command(p.path, p.args...)
	cmd.Stderr, cmd.Stdout = f, f
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is read from ProcessState
		close(exited)
	}()
	p.cmd, p.exited = cmd, exited
	p.starts++
	return nil
}

// kill ends the process by SIGKILL and waits until it is gone.
func (p *process) kill() {
	p.mu.Lock()
	cmd, exited := p.cmd, p.exited
	p.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Kill() // it may have ended by itself
	<-exited
}

// crash kills the process and starts it again at once.
func (p *process) crash(t *testing.T) {
	t.Helper()
	if !p.alive() {
		t.Errorf("%s ended by itself before it was killed", p.name)
	}
	p.kill()
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
}

// signal sends the process a signal.
func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Errorf("signal %s: %v", p.name, err)
	}
}

// stop asks the process to end, as an orchestrator does, and expects exit code 0.
func (p *process) stop(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	cmd, exited := p.cmd, p.exited
	p.mu.Unlock()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("stop %s: %v", p.name, err)
	}
	select {
	case <-exited:
		if code := cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("%s ended with code %d", p.name, code)
		}
	case <-time.After(30 * time.Second):
		t.Errorf("%s did not end within 30s of SIGTERM", p.name)
	}
}

func (p *process) alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

// lastWords returns the last lines of the log that are worse than news.
func (p *process) lastWords() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	var kept [][]byte
	for line := range bytes.Lines(data) {
		if !bytes.Contains(line, []byte(`"level":"info"`)) && !bytes.Contains(line, []byte(`"level":"debug"`)) {
			if len(line) > 600 {
				line = append(line[:600:600], "…\n"...)
			}
			kept = append(kept, line)
		}
	}
	if len(kept) > 12 {
		kept = kept[len(kept)-12:]
	}
	return strings.TrimRight(string(bytes.Join(kept, nil)), "\n")
}
