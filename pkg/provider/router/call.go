package router

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"

	"sluice/pkg/fault"
	"sluice/pkg/provider"
)

// A call goes through two layers, with whatever the caller wants in between:
//
//	Do       mode, halt, limiter, breaker, attempts    the router
//	         budget, notes of jobs, checks             the guard
//	Ask      what the client itself returned           the client
//
// Each attempt goes through all of it, so each is admitted by the budget anew.
// The breaker hears what Ask has heard, and nothing else: a refusal of the
// budget, or a job that another replica has, is no failure of the service.

// Ask makes one call of the client. What it returns is the service's own word.
func (c *Control) Ask(ctx context.Context, call func(ctx context.Context) error) error {
	began := time.Now()
	err := call(ctx)
	c.seconds.Observe(time.Since(began).Seconds())
	outcome := "ok"
	if err != nil {
		f := fault.From(err)
		outcome = f.Class.String()
		if ours(f) && ctx.Err() == nil {
			// Kept before the breaker hears of it: whoever waits for the service is told why.
			c.mu.Lock()
			c.last = f.Message
			c.mu.Unlock()
		}
	} else {
		c.up.Set(1)
	}
	c.calls.WithLabelValues(outcome).Inc()
	if a, ok := ctx.Value(attempt{}).(*attempt); ok {
		a.hear(err)
	}
	return err
}

// Client returns the client of a service, as the guard has to call it.
func Client(c *Control, client provider.Embedder) provider.Embedder { return &embeds{client, c} }

type embeds struct {
	provider.Embedder
	control *Control
}

func (e *embeds) Embed(ctx context.Context, inputs []provider.Input) (out provider.Embeddings, err error) {
	err = e.control.Ask(ctx, func(ctx context.Context) error {
		out, err = e.Embedder.Embed(ctx, inputs)
		return err
	})
	return out, err
}

// Jobs returns the client of a service that works by jobs, as the guard has to
// call it.
func Jobs(c *Control, client provider.Jobs) provider.Jobs { return &jobs{client, c} }

type jobs struct {
	provider.Jobs
	control *Control
}

func (j *jobs) Find(ctx context.Context, src provider.Source, since time.Time) (job string, err error) {
	err = j.control.Ask(ctx, func(ctx context.Context) error {
		job, err = j.Jobs.Find(ctx, src, since)
		return err
	})
	return job, err
}

func (j *jobs) Create(ctx context.Context, src provider.Source) (job string, err error) {
	err = j.control.Ask(ctx, func(ctx context.Context) error {
		job, err = j.Jobs.Create(ctx, src)
		return err
	})
	return job, err
}

func (j *jobs) Result(ctx context.Context, job string, src provider.Source) (out provider.Parse, ended bool, err error) {
	err = j.control.Ask(ctx, func(ctx context.Context) error {
		out, ended, err = j.Jobs.Result(ctx, job, src)
		return err
	})
	return out, ended, err
}

// attempt keeps what the client said while one attempt was made.
type attempt struct {
	mu    sync.Mutex
	asked bool
	err   error // of the latest call
}

func (a *attempt) hear(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked, a.err = true, err
}

// said returns the client's own failure, or nil.
func (a *attempt) said() *fault.Error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return fault.From(a.err)
}

// errUnasked is what the breaker hears of an attempt that did not reach the
// client. It counts neither as a success nor as a failure.
var errUnasked = errors.New("the service was not asked")

// verdict is what the breaker hears.
func (a *attempt) verdict() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case !a.asked:
		return errUnasked
	case a.err == nil:
		return nil
	}
	if f := fault.From(a.err); f.Class == fault.Unavailable && !ours(f) {
		return nil // it answered: a job still runs, say
	}
	return a.err
}

// ours tells whether a failure of the client is the service's: it is away, and
// not at work on something that is waited for.
func ours(f *fault.Error) bool {
	return f.Class == fault.Unavailable && (f.Wait == "" || f.Wait.Kind() == fault.WaitService)
}

// Do makes a call. What fails for the service's sake is tried again a few times
// at once, so that a batch stays together. An error is that of the last
// attempt. It waits for the service if that is away for everyone, or asks to be
// left alone for longer than a moment.
func (c *Control) Do(ctx context.Context, tokens int, call func(ctx context.Context) error) error {
	_, err := c.do(ctx, tokens, call)
	return err
}

// do also tells whether the service is to blame, so that a fallback may take its
// place.
func (c *Control) do(ctx context.Context, tokens int, call func(ctx context.Context) error) (away bool, err error) {
	for n := 1; ; n++ {
		if err := c.away(); err != nil {
			return true, err
		}
		said, err := c.once(ctx, tokens, call)
		f := fault.From(err)
		again := err != nil && said != nil && f.Wait == "" && f.Class == said.Class &&
			(f.Class == fault.Unavailable && n < c.cfg.Attempts || f.Class == fault.RateLimited && n < 2*c.cfg.Attempts)
		if !again || ctx.Err() != nil {
			return c.judge(ctx, said, err)
		}
		// The limiter waits for what a rate limit asks for.
		delay := c.cfg.Delay << min(n-1, 6)
		if f.Class == fault.Unavailable {
			delay = max(delay, min(f.RetryAfter, patience))
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(delay/2 + rand.N(delay/2+1)):
		}
	}
}

// once makes one attempt, and returns what the client said, too.
func (c *Control) once(ctx context.Context, tokens int, call func(ctx context.Context) error) (said *fault.Error, err error) {
	if err := c.limiter.Wait(ctx, tokens); err != nil {
		return nil, c.limited(err)
	}
	a := &attempt{}
	begun := false
	_, verdict := c.breaker.Execute(func() (struct{}, error) {
		begun = true
		err = call(context.WithValue(ctx, attempt{}, a))
		return struct{}{}, a.verdict()
	})
	if !begun && (errors.Is(verdict, gobreaker.ErrOpenState) || errors.Is(verdict, gobreaker.ErrTooManyRequests)) {
		return nil, c.held()
	}
	return a.said(), err
}

// limited makes what a rate limit refuses wait for the service.
func (c *Control) limited(err error) error {
	f := fault.From(err)
	if f.Class != fault.RateLimited || f.Wait != "" {
		return err
	}
	return f.After(max(f.RetryAfter, time.Second)).WaitFor(c.key())
}

// judge keeps what an outcome says of the service. said is the client's own word.
func (c *Control) judge(ctx context.Context, said *fault.Error, err error) (away bool, _ error) {
	f := fault.From(err)
	switch {
	case err == nil || ctx.Err() != nil:
		return false, err
	case f.Reason == reasonOpen:
		return true, err
	case f.Class == fault.Halt && c.away() != nil: // Halt was called
		return true, err
	case f.Wait != "" || said == nil || said.Class != f.Class:
		return false, err // not the service's
	case f.Class == fault.Halt:
		c.halt(f, false)
		return true, err
	case f.Class == fault.RateLimited:
		return false, c.limited(err)
	case f.Class == fault.Unavailable:
		if c.breaker.State() != gobreaker.StateClosed {
			c.up.Set(0)
			return true, c.held()
		}
		return true, err
	}
	return false, err
}
