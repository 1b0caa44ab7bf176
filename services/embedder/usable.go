package embedder

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"sluice/pkg/fault"
	"sluice/pkg/provider"
	"sluice/pkg/provider/router"
	"sluice/services/embedder/check"
)

// usable looks at what was paid for before anything else is bought. An answer that
// no configuration like this one can use halts it: the next answer would be the
// same, and cost the same. Until one answer could be used, one call is made at a
// time, so that a wrong configuration is paid for once.
type usable struct {
	provider.Embedder
	info    provider.EmbedderInfo
	control *router.Control
	wake    func(fault.Wait)
	turn    chan struct{} // held by a call while proven is false
	proven  atomic.Bool
}

func proving(p provider.Embedder, c *router.Control, wake func(fault.Wait)) provider.Embedder {
	return &usable{Embedder: p, info: p.Describe(), control: c, wake: wake, turn: make(chan struct{}, 1)}
}

// Embed calls the provider, alone as long as nothing is known of its answers.
func (u *usable) Embed(ctx context.Context, inputs []provider.Input) (provider.Embeddings, error) {
	if !u.proven.Load() {
		done, err := u.alone(ctx)
		if err != nil {
			return provider.Embeddings{}, err
		}
		defer done()
	}
	out, err := u.Embedder.Embed(ctx, inputs)
	if err != nil {
		return out, err
	}
	out, err = check.Vectors(u.info, len(inputs), out)
	switch f := fault.From(err); {
	case err == nil:
		some := slices.ContainsFunc(out.Vectors, func(v []float32) bool { return v != nil })
		if some && !u.proven.Swap(true) {
			u.wake(u.key())
		}
	case f.Class == fault.Halt:
		u.proven.Store(false)
		u.control.Halt(ctx, f)
	}
	return out, err
}

func (u *usable) key() fault.Wait { return fault.On(fault.WaitService, u.info.Service) }

// alone waits a moment for the call that is being made to end. A longer wait is
// for the service.
func (u *usable) alone(ctx context.Context) (done func(), err error) {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case u.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
		return nil, fault.New(fault.Unavailable, "first-answer", "the first answer of %s is awaited; until it can be used, one call is made at a time", u.info.Service).
			WaitFor(u.key()).After(time.Second)
	}
	done = func() { <-u.turn }
	if u.proven.Load() {
		done()
		return func() {}, nil
	}
	// The call before may have halted the configuration.
	var f *fault.Error
	if err := u.control.Halted(); errors.As(err, &f) {
		done()
		return nil, err
	}
	return done, nil
}
