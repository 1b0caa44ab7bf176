package isolate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"sluice/pkg/fault"
	"sluice/services/parser/internal/format"
)

const (
	reasonCrash   = "parser-crash"
	reasonTimeout = "timeout"
	reasonLarge   = "too-large"
)

// Config configures a Pool. Zero values mean the defaults.
type Config struct {
	Workers   int           // children, each converting one document at a time; default 1
	Memory    int64         // bytes a child may have resident; default 1 GiB
	Documents int           // a child is replaced after so many; default 200
	Grown     int64         // or when it holds so many bytes after one; default Memory/2
	Time      time.Duration // for documents without Limits.Time; default 2 minutes
	// Env is added to a child's environment ("NAME=value"), of which it
	// otherwise gets only what finds it home and temporary folders: bytes from
	// outside are not parsed next to API keys.
	Env []string
}

// grace is how long after its deadline a document may still fail by itself:
// its own words are better than ours ("read 17 of 300 pages").
const grace = time.Second

var passedEnv = []string{
	"HOME", "PATH", "TMPDIR", "XDG_CACHE_HOME", "XDG_DATA_HOME", "GOCOVERDIR",
	"LocalAppData", "SystemRoot", "TEMP", "TMP", "USERPROFILE", // Windows
}

// Pool is a set of child processes that convert documents. It is safe for
// concurrent use. Children start when they are first needed.
type Pool struct {
	cfg    Config
	binary string
	ctx    context.Context // done = closed
	close  context.CancelFunc
	slots  chan struct{} // a token for each of Workers, in here or with a Convert
	once   sync.Once

	mu   sync.Mutex
	idle []*child // have no document; the last of them had one last
}

// NewPool returns a pool. It fails only if the running binary cannot be found.
func NewPool(cfg Config) (*Pool, error) {
	if os.Getenv(markEnv) == "1" {
		// Without this, a main that forgets Init starts itself for ever.
		return nil, errors.New("isolate: this process is itself a child: Init must be the first call in main")
	}
	binary, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("isolate: find the running binary: %w", err)
	}
	if cfg.Workers <= 0 {
		cfg.Workers = 1
	}
	if cfg.Memory <= 0 {
		cfg.Memory = 1 << 30
	}
	if cfg.Documents <= 0 {
		cfg.Documents = 200
	}
	if cfg.Grown <= 0 {
		cfg.Grown = cfg.Memory / 2
	}
	if cfg.Time <= 0 {
		cfg.Time = 2 * time.Minute
	}
	p := &Pool{cfg: cfg, binary: binary, slots: make(chan struct{}, cfg.Workers)}
	p.ctx, p.close = context.WithCancel(context.Background())
	for range cfg.Workers {
		p.slots <- struct{}{}
	}
	return p, nil
}

// Close kills the children, and with them what they convert, and waits for
// their end. Converts in progress and later ones fail as Unavailable.
func (p *Pool) Close() error {
	p.once.Do(func() {
		p.close()
		for range p.cfg.Workers {
			<-p.slots
		}
		for c := p.take(); c != nil; c = p.take() {
			c.kill()
			c.wait()
		}
	})
	return nil
}

// Convert converts a document in a child process, waiting for a free one. The
// input's own functions do not reach the child. A document of which a member ends
// the child is begun again without that member, within the same time.
//
// Errors are those of the child's converter, or Validation "timeout" or
// "too-large", Execution "parser-crash", and Unavailable when ctx ends or the
// pool is closed first.
func (p *Pool) Convert(ctx context.Context, in format.Input) (*format.Output, error) {
	select {
	case <-p.ctx.Done():
		return nil, errClosed(in.Name)
	case <-ctx.Done():
		return nil, errInterrupted(ctx, in.Name)
	case <-p.slots:
	}
	c := p.take()
	// Whatever happens, the slot goes back: Close waits for all of them.
	defer func() {
		p.giveBack(c)
		p.slots <- struct{}{}
	}()

	if in.Limits.Time <= 0 {
		in.Limits.Time = p.cfg.Time
	}
	end := time.Now().Add(in.Limits.Time)
	skip := map[int]*failure{}
	for {
		if p.ctx.Err() != nil {
			return nil, errClosed(in.Name)
		}
		used := c != nil
		if !used {
			var err error
			if c, err = p.start(); err != nil {
				return nil, fault.Wrap(err, fault.Unavailable, "no-worker", "%s: cannot start a parser process", in.Name)
			}
		}
		out, err := p.convert(ctx, c, in, end, skip)
		if c.ended || c.worn(p.cfg) {
			c.kill()
			c.wait()
			c = nil
		}
		// A child may have died of what an earlier document left behind, or
		// been killed while it was idle. On a fresh one this document answers
		// for itself.
		var died *death
		if errors.As(err, &died) {
			if used {
				continue
			}
			if died.member > 0 && len(skip) < mostSkipped {
				skip[died.member] = failureOf(died.fault)
				continue
			}
			err = died.fault
		}
		return out, err
	}
}

// take returns the child that had a document last: its memory is in the caches of
// the processor, and those that are not needed are not even started. Without an
// idle child it returns nil.
func (p *Pool) take() *child {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.idle) - 1
	if last < 0 {
		return nil
	}
	c := p.idle[last]
	p.idle = p.idle[:last]
	return c
}

func (p *Pool) giveBack(c *child) {
	if c == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, c)
}

// mostSkipped bounds how often a document is begun again.
const mostSkipped = 16

// death is the end of a child by itself while it had a document, or a member of it.
type death struct {
	fault  *fault.Error
	member int
}

func (d *death) Error() string { return d.fault.Error() }

func (p *Pool) convert(ctx context.Context, c *child, in format.Input, end time.Time, skip map[int]*failure) (*format.Output, error) {
	deadline, cancel := context.WithDeadline(ctx, end.Add(grace))
	defer cancel()
	// Killing the child is what interrupts the reads and writes below.
	defer context.AfterFunc(deadline, c.kill)()
	defer context.AfterFunc(p.ctx, c.kill)()

	c.stderr.reset()
	limits := in.Limits
	limits.Time = max(time.Until(end), time.Nanosecond)
	body, r, at, err := c.exchange(request{
		Name: in.Name, ContentType: in.ContentType, Charset: in.Charset, Limits: limits, Skip: skip,
	}, in.Data)
	if err != nil {
		c.ended = true
		c.kill()
		state := c.wait()
		switch {
		case p.ctx.Err() != nil:
			return nil, errClosed(in.Name)
		case ctx.Err() != nil:
			return nil, errInterrupted(ctx, in.Name)
		case deadline.Err() != nil:
			return nil, fault.Invalid(reasonTimeout, "%s: not converted within %v", in.Name, in.Limits.Time).
				WithHint("raise the time limit, or split the document")
		case state.ExitCode() == exitMemory:
			f := fault.Invalid(reasonLarge, "%s: needs more than %d MiB of memory to read", at.Name, p.cfg.Memory>>20)
			return nil, &death{f.WithHint("raise the memory limit of parser processes, or split the document"), at.Member}
		default:
			f := fault.New(fault.Execution, reasonCrash, "%s: the parser process died: %v%s", at.Name, state, c.stderr.firstLine())
			return nil, &death{f.WithHint("this is a defect of the parser, or the machine is out of memory: see the log of the parser"), at.Member}
		}
	}
	c.documents++
	c.resident = r.Resident
	c.ended = r.Last
	if r.Failure != nil {
		return nil, r.Failure.err()
	}
	return &format.Output{Markdown: string(body), Pages: r.Pages, Facts: r.Facts, Warnings: r.Warnings}, nil
}

func errClosed(name string) error {
	return fault.New(fault.Unavailable, "closed", "%s: not converted: the parser is shutting down", name)
}

func errInterrupted(ctx context.Context, name string) error {
	return fault.Wrap(context.Cause(ctx), fault.Unavailable, "interrupted", "%s: not converted", name)
}

// child is one process. Only the holder of its slot uses it; kill may be called
// by anyone.
type child struct {
	cmd       *exec.Cmd
	requests  *os.File
	replies   *os.File
	stderr    *excerpt
	documents int
	resident  int64 // bytes, after the latest document
	ended     bool
	waited    bool
}

func (p *Pool) start() (*child, error) {
	requestsChild, requests, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	replies, repliesChild, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, requestsChild.Close(), requests.Close())
	}
	widen(requests)
	c := &child{cmd: exec.Command(p.binary), requests: requests, replies: replies, stderr: new(excerpt)}
	c.cmd.Env = []string{markEnv + "=1", memoryEnv + "=" + strconv.FormatInt(p.cfg.Memory, 10)}
	for _, name := range passedEnv {
		if v, ok := os.LookupEnv(name); ok {
			c.cmd.Env = append(c.cmd.Env, name+"="+v)
		}
	}
	c.cmd.Env = append(c.cmd.Env, p.cfg.Env...)
	c.cmd.Stdin = requestsChild
	c.cmd.SysProcAttr = childAttributes()
	giveReplyFile(c.cmd, repliesChild)
	c.cmd.Stderr = c.stderr
	err = c.cmd.Start()
	// The child has its own copies. Ours must go, or its death is not an EOF.
	if e := errors.Join(requestsChild.Close(), repliesChild.Close()); err == nil && e != nil {
		c.kill()
		c.wait()
		return nil, e
	}
	if err != nil {
		return nil, errors.Join(err, requests.Close(), replies.Close())
	}
	return c, nil
}

// exchange has the child convert a document, and returns its answer and what it read
// last.
func (c *child) exchange(q request, data []byte) (body []byte, r response, at reading, err error) {
	at.Name = q.Name
	if err := writeFrame(c.requests, q, data); err != nil {
		return nil, r, at, err
	}
	for {
		r = response{}
		if body, err = readFrame(c.replies, &r, nil); err != nil || r.Reading == nil {
			return body, r, at, err
		}
		if at = *r.Reading; at.Member == 0 {
			at.Name = q.Name
		}
	}
}

// worn reports whether the child should make room for a fresh one.
func (c *child) worn(cfg Config) bool {
	return c.documents >= cfg.Documents || c.resident > cfg.Grown
}

// kill ends the process. It has nothing to tidy up, so there is no gentler way.
func (c *child) kill() {
	// The only error is that it has ended already.
	_ = c.cmd.Process.Kill()
}

// wait reaps the process and releases its pipes. It may be called again.
func (c *child) wait() *os.ProcessState {
	if !c.waited {
		c.waited = true
		// How it ended is in the state; the error repeats it.
		_ = c.cmd.Wait()
		_ = c.requests.Close()
		_ = c.replies.Close()
	}
	return c.cmd.ProcessState
}

// excerpt keeps the beginning of what a child writes to standard error, which
// is where a Go program that dies says why.
type excerpt struct {
	mu  sync.Mutex
	buf []byte
}

const excerptBytes = 2 << 10

func (e *excerpt) Write(b []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.buf = append(e.buf, b[:min(len(b), excerptBytes-len(e.buf))]...)
	return len(b), nil
}

func (e *excerpt) reset() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.buf = e.buf[:0]
}

// firstLine returns ": " and the first line that is not empty, or nothing.
func (e *excerpt) firstLine() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	for line := range bytes.Lines(e.buf) {
		if s := strings.TrimSpace(string(line)); s != "" {
			return ": " + s
		}
	}
	return ""
}
