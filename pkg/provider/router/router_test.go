package router_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/natstest"
	"sluice/pkg/provider"
	"sluice/pkg/provider/router"
	"sluice/pkg/stage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func env(t *testing.T) *stage.Env {
	t.Helper()
	return natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), stage.DefaultSettings())
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func limiter(t *testing.T, e *stage.Env) *router.Limiter {
	t.Helper()
	l, err := router.NewLimiter(e.Conn, "openai", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// took returns how long n calls have to wait.
func took(t *testing.T, l *router.Limiter, n, tokens int) time.Duration {
	t.Helper()
	began := time.Now()
	for range n {
		if err := l.Wait(t.Context(), tokens); err != nil {
			t.Fatal(err)
		}
	}
	return time.Since(began)
}

func TestAnAccountIsShared(t *testing.T) {
	e := env(t)
	a := limiter(t, e)
	took(t, a, 1000, 300_000) // without a limit; what would have to wait for long is refused
	a.Observe(provider.RateInfo{Status: 200, Requests: provider.Quota{Known: true, Limit: 6000, Remaining: 5000}})
	// 95 may go at once. Both are measured together: a pause in between is credit.
	if d := took(t, a, 95+20, 1); d < 150*time.Millisecond {
		t.Errorf("20 calls at 95 a second took %v", d)
	}
	b := limiter(t, e) // learns the limit, and both have half of it
	eventually(t, "the second has its share", func() bool {
		took(t, b, 47, 1)
		return took(t, b, 10, 1) > 150*time.Millisecond
	})
	eventually(t, "the first has less", func() bool { return took(t, a, 10, 1) > 150*time.Millisecond })
}

func TestARefusalStopsAll(t *testing.T) {
	e := env(t)
	a, b := limiter(t, e), limiter(t, e)
	eventually(t, "they know each other", func() bool {
		a.Observe(provider.RateInfo{Status: 429, RetryAfter: 300 * time.Millisecond})
		return took(t, b, 1, 1) > 100*time.Millisecond
	})
	began := time.Now()
	a.Observe(provider.RateInfo{Status: 429, RetryAfter: 300 * time.Millisecond})
	took(t, a, 1, 1)
	if d := time.Since(began); d < 300*time.Millisecond {
		t.Errorf("went on after %v, was told to wait 300ms", d)
	}
	// A limit that was learnt from refusals is unlearnt.
	eventually(t, "as fast as before", func() bool {
		for range 50 {
			b.Observe(provider.RateInfo{Status: 200})
		}
		return took(t, b, 10, 1) < 5*time.Millisecond
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a.Observe(provider.RateInfo{Status: 429, RetryAfter: time.Minute})
	if err := a.Wait(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting is not ended: %v", err)
	}
}

func TestTheBreaker(t *testing.T) {
	e := env(t)
	var down atomic.Bool
	var wakes, calls atomic.Int32
	c, err := router.New(t.Context(), router.Config{
		Conn: e.Conn, JS: e.JS, Log: zerolog.Nop(), Service: "openai", Stage: "embedder", Delay: time.Millisecond, Open: 100 * time.Millisecond,
		Wake: func(fault.Wait) { wakes.Add(1) },
		Check: func(context.Context) error {
			if down.Load() {
				return errors.New("down")
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	var with error
	call := func() error {
		return c.Do(t.Context(), 1, func(ctx context.Context) error {
			return c.Ask(ctx, func(context.Context) error { calls.Add(1); return with })
		})
	}
	// A failure that ends at once costs nobody anything.
	n := 0
	if err := c.Do(t.Context(), 1, func(ctx context.Context) error {
		return c.Ask(ctx, func(context.Context) error {
			if n++; n < 3 {
				return fault.New(fault.Unavailable, "500", "broken")
			}
			return nil
		})
	}); err != nil {
		t.Fatal(err)
	}
	// What is the message's own fault neither repeats nor opens anything.
	with = fault.New(fault.Execution, "bad", "bad input")
	calls.Store(0)
	for range 20 {
		if err := call(); fault.Of(err) != fault.Execution {
			t.Fatal(err)
		}
	}
	if calls.Load() != 20 || !c.Serves() {
		t.Errorf("%d calls, serves %v", calls.Load(), c.Serves())
	}
	// An outage opens it; then nothing is asked, and nothing is blamed.
	down.Store(true)
	with = fault.New(fault.Unavailable, "503", "the service is down")
	eventually(t, "open", func() bool { return call() != nil && !c.Serves() })
	calls.Store(0)
	err = call()
	if f := fault.From(err); f.Wait != "service:openai" || f.Class != fault.Unavailable || !strings.Contains(f.Message, "the service is down") || f.RetryAfter == 0 {
		t.Errorf("open: %+v", f)
	}
	if calls.Load() != 0 {
		t.Errorf("%d calls while open", calls.Load())
	}
	with = nil
	wakes.Store(0)
	down.Store(false)
	eventually(t, "held work is woken", func() bool { return wakes.Load() > 0 })
	eventually(t, "closed", func() bool { return call() == nil })
	// A bad key halts at once, and a check finds it mended.
	down.Store(true)
	with = fault.New(fault.Halt, "invalid-key", "the key is revoked")
	if err := call(); fault.Of(err) != fault.Halt {
		t.Fatal(err)
	}
	calls.Store(0)
	if err := call(); fault.Of(err) != fault.Halt || calls.Load() != 0 {
		t.Errorf("%v after %d calls", err, calls.Load())
	}
	with = nil
	down.Store(false)
	eventually(t, "the mended key is found", func() bool { return call() == nil })
}

func TestModesAreLive(t *testing.T) {
	e := env(t)
	told := make(chan string, 100)
	c, err := router.New(t.Context(), router.Config{
		Conn: e.Conn, JS: e.JS, Log: zerolog.Nop(), Service: "openai", Stage: "embedder", Changed: func(s string) { told <- s },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	kv, err := e.JS.KeyValue(t.Context(), events.BucketPipeline)
	if err != nil {
		t.Fatal(err)
	}
	set := func(mode string, want router.Mode) {
		t.Helper()
		if _, err := kv.PutString(t.Context(), router.ModeKey("embedder"), mode); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the mode "+mode, func() bool { return c.Mode() == want })
	}
	set("hybrid", router.Hybrid)
	set("local", router.Local)
	if err := c.Do(t.Context(), 1, func(context.Context) error { t.Error("called"); return nil }); fault.From(err).Wait == "" {
		t.Errorf("local without a fallback: %v", err)
	}
	if _, err := kv.PutString(t.Context(), router.ModeKey("embedder"), "nonsense"); err != nil {
		t.Fatal(err)
	}
	set("real", router.Real)
	if err := kv.Delete(t.Context(), router.ModeKey("embedder")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the mode of the configuration", func() bool { return c.Mode() == router.Real })
	eventually(t, "it is told", func() bool {
		select {
		case s := <-told:
			return strings.Contains(s, "openai: mode local")
		default:
			return false
		}
	})
}

// reader is a parser that answers what it is told to. With a control it is the
// client of a service.
type reader struct {
	name    string
	err     error
	calls   int
	control *router.Control
}

func (r *reader) Describe() provider.ParserInfo {
	return provider.ParserInfo{Service: r.name, Version: "1"}
}

func (r *reader) Parse(ctx context.Context, _ provider.Source) (provider.Parse, error) {
	err := r.err
	r.calls++
	if r.control != nil {
		err = r.control.Ask(ctx, func(context.Context) error { return r.err })
	}
	return provider.Parse{Markdown: r.name}, err
}

// Who parses depends on the mode and on the class of the failure.
func TestWhoParses(t *testing.T) {
	e := env(t)
	held := func(f *fault.Error) error { return f.WaitFor("service:x") }
	away := fault.New(fault.Unavailable, "unavailable", "503")
	for _, tc := range []struct {
		name     string
		mode     router.Mode
		err      error // of the service
		unread   error // of the fallback
		asked    int   // calls of the service
		ours     bool  // err comes from what stands around the client
		by, want string
	}{
		{name: "it answers", mode: router.Hybrid, asked: 1, by: "paid"},
		{name: "it is away", mode: router.Hybrid, err: away, asked: 3, by: "here"},
		{name: "it is away, and nothing may take its place", mode: router.Real, err: away, asked: 3, want: "unavailable"},
		{name: "our configuration is wrong", mode: router.Hybrid, err: fault.New(fault.Halt, "invalid-key", "401"), asked: 1, by: "here"},
		{name: "our configuration is wrong, and nothing may take its place", mode: router.Real, err: fault.New(fault.Halt, "invalid-key", "401"), asked: 1, want: "invalid-key"},
		{name: "the money is spent", mode: router.Hybrid, err: fault.New(fault.CostLimit, "budget", "no money"), asked: 1, want: "budget"},
		{name: "the document is refused", mode: router.Hybrid, err: fault.New(fault.Execution, "input-refused", "413"), asked: 1, want: "input-refused"},
		{name: "the document cannot be parsed", mode: router.Hybrid, err: fault.Invalid("too-large", "300 pages"), asked: 1, want: "too-large"},
		{name: "another replica parses it", mode: router.Hybrid, err: held(fault.New(fault.Unavailable, "parsed-elsewhere", "wait")), asked: 1, want: "parsed-elsewhere"},
		{name: "its note cannot be written", mode: router.Hybrid, err: fault.New(fault.Unavailable, "note", "no answer"), ours: true, asked: 1, want: "note"},
		{name: "its note is malformed", mode: router.Hybrid, err: fault.New(fault.Halt, "job-record", "malformed"), ours: true, asked: 1, want: "job-record"},
		{name: "neither can read it", mode: router.Hybrid, err: away, unread: fault.Invalid("scanned", "a picture"), asked: 3, want: router.ReasonUnread},
		{name: "it shall not be asked", mode: router.Local, by: "here"},
		{name: "it shall not be asked, and this is a scan", mode: router.Local, unread: fault.Invalid("scanned", "a picture"), want: router.ReasonUnread},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := router.New(t.Context(), router.Config{
				Conn: e.Conn, JS: e.JS, Log: zerolog.Nop(), Service: "paid", Stage: "parser", Mode: tc.mode, Delay: time.Millisecond,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}()
			paid, here := &reader{name: "paid", err: tc.err, control: c}, &reader{name: "here", err: tc.unread}
			if tc.ours {
				paid.control = nil
			}
			out, err := router.Parser(c, paid, here).Parse(t.Context(), provider.Source{})
			if paid.calls != tc.asked {
				t.Errorf("the service was asked %d times, want %d", paid.calls, tc.asked)
			}
			if tc.want != "" {
				f := fault.From(err)
				if f == nil || f.Reason != tc.want || out.Fallback {
					t.Fatalf("%+v, %v; want %s", out, err, tc.want)
				}
				if tc.want == router.ReasonUnread && (f.Class != fault.Unavailable || f.Wait == "" || !strings.Contains(f.Message, "a picture")) {
					t.Errorf("%+v", f)
				}
				return
			}
			if err != nil || out.Markdown != tc.by || out.Fallback != (tc.by == "here") || out.Fallback != (out.Parser == here.Describe()) {
				t.Errorf("%+v, %v; want it from %s", out, err, tc.by)
			}
			// Whoever has no fallback waits.
			if tc.mode == router.Local {
				if _, err := router.Parser(c, paid, nil).Parse(t.Context(), provider.Source{}); fault.From(err).Wait == "" || paid.calls != 0 {
					t.Errorf("without a fallback: %v", err)
				}
			}
		})
	}
}

// control returns a control of a service that its client asks by call.
func control(t *testing.T, e *stage.Env, change func(*router.Config)) *router.Control {
	t.Helper()
	cfg := router.Config{
		Conn: e.Conn, JS: e.JS, Log: zerolog.Nop(), Service: "openai", Stage: "embedder", Delay: time.Millisecond, Open: 50 * time.Millisecond,
		Check: func(context.Context) error { return nil },
	}
	if change != nil {
		change(&cfg)
	}
	c, err := router.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// What the service never had is no failure of the service: the breaker stays
// closed, nobody is halted, and no fallback takes its place.
func TestTheBreakerHearsTheClientOnly(t *testing.T) {
	c := control(t, env(t), nil)
	for range 10 {
		for _, err := range []error{
			fault.New(fault.Unavailable, "parsed-elsewhere", "another replica has it").WaitFor("claim:x"),
			fault.New(fault.Unavailable, "notes", "the bucket does not answer"),
			fault.New(fault.CostLimit, "budget", "no money"),
			fault.New(fault.Halt, "job-record", "the entry is malformed"),
			errors.New("unclassified"),
		} {
			if got := c.Do(t.Context(), 1, func(context.Context) error { return err }); !errors.Is(got, err) {
				t.Fatalf("%v became %v", err, got)
			}
		}
		// The client answered: a job of its own is waited for.
		running := fault.New(fault.Unavailable, "job-running", "the job runs").WaitFor("job:x")
		got := c.Do(t.Context(), 1, func(ctx context.Context) error {
			return c.Ask(ctx, func(context.Context) error { return running })
		})
		if !errors.Is(got, running) {
			t.Fatalf("%v became %v", running, got)
		}
	}
	if !c.Serves() || !strings.Contains(c.State(), "breaker closed") {
		t.Errorf("after failures that the service never had: %s", c.State())
	}
}

// An answer that was paid for and cannot be used halts for good: the free health
// check cannot see it. A mode that somebody sets lifts it, on all replicas of the
// configuration, and on no others.
func TestAHaltLasts(t *testing.T) {
	e := env(t)
	checks := make(chan struct{}, 100)
	with := func(config string) func(*router.Config) {
		return func(cfg *router.Config) {
			cfg.Config = config
			cfg.Check = func(context.Context) error { checks <- struct{}{}; return nil }
		}
	}
	a, b, other := control(t, e, with("same")), control(t, e, with("same")), control(t, e, with("other"))
	a.Halt(t.Context(), fault.New(fault.Halt, "wrong-dimensions", "768 dimensions"))
	eventually(t, "the other replica is halted, too", func() bool { return b.Halted() != nil })
	for len(checks) > 0 {
		<-checks
	}
	for range 8 {
		<-checks // of a and b, which look often while they are halted
	}
	for _, c := range []*router.Control{a, b} {
		err := c.Do(t.Context(), 1, func(context.Context) error { t.Error("called"); return nil })
		if f := fault.From(err); f == nil || f.Class != fault.Halt || f.Waits() != fault.WaitConfig || f.Reason != "wrong-dimensions" {
			t.Errorf("halted: %v", err)
		}
	}
	if other.Halted() != nil {
		t.Error("another configuration is halted, too")
	}
	// Whoever begins later tries anew.
	late := control(t, e, with("same"))
	kv, err := e.JS.KeyValue(t.Context(), events.BucketPipeline)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(t.Context(), router.ModeKey("embedder"), "real"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the mode lifts the halt", func() bool { return a.Halted() == nil && b.Halted() == nil })
	if late.Halted() != nil {
		t.Error("a process that began after the halt is halted")
	}
	// And it can be halted again.
	b.Halt(t.Context(), fault.New(fault.Halt, "wrong-dimensions", "768 dimensions"))
	eventually(t, "all are halted", func() bool { return a.Halted() != nil && late.Halted() != nil })
}

// What a rate limit makes wait for longer than a moment waits outside of the
// call, and is woken.
func TestALongPauseIsNotSlept(t *testing.T) {
	woken := make(chan fault.Wait, 100)
	c := control(t, env(t), func(cfg *router.Config) {
		cfg.Wake = func(k fault.Wait) {
			select {
			case woken <- k:
			default:
			}
		}
	})
	call := func() error {
		return c.Do(t.Context(), 1, func(ctx context.Context) error {
			return c.Ask(ctx, func(context.Context) error {
				c.Limiter().Observe(provider.RateInfo{Status: 429, RetryAfter: 6 * time.Second})
				return fault.New(fault.RateLimited, "rate-limited", "slow down").After(6 * time.Second)
			})
		})
	}
	for range 2 {
		f := fault.From(call())
		if f.Class != fault.RateLimited || f.Wait != "service:openai" || f.RetryAfter < 5*time.Second {
			t.Fatalf("%+v", f)
		}
	}
	eventually(t, "the end of the pause is told", func() bool {
		select {
		case k := <-woken:
			return k == "service:openai"
		default:
			return false
		}
	})
}
