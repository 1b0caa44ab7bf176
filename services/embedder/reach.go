package embedder

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"sluice/pkg/fault"
	"sluice/pkg/provider"
	"sluice/services/embedder/openai"
)

// reach bounds the calls of a service that does not answer in time. Such a call may
// have been charged. The same call again would take as long, and be paid for again,
// without end. So the calls after it hold at most half as many tokens. Other failures
// say nothing of the size.
//
// Calls grow again when a full one is answered so fast that one of twice its size
// would be, too. If a call was not answered although the one before it was, its size
// is the ceiling: for a while calls stay below it.
//
// So a service that does not answer large calls is paid for few of them in vain, and
// one that is silent gets small calls when the breaker tries it.
type reach struct {
	provider.Embedder
	timeout time.Duration // of a call
	log     zerolog.Logger

	mu      sync.Mutex
	bound   int       // tokens of a call; 0 = as many as the service takes
	well    bool      // the latest call was answered
	ceiling int       // tokens of a call that was not answered, after one that was
	met     time.Time // when the ceiling was met
}

const (
	// ease: a call that took less than 1/ease of the time-out may be followed by one
	// twice as large.
	ease = 4
	// wary is how long calls stay below the ceiling.
	wary = 10 * time.Minute
)

// reaching returns p, whose calls end after a time-out, behind the bound.
func reaching(p provider.Embedder, timeout time.Duration, log zerolog.Logger) provider.Embedder {
	return &reach{Embedder: p, timeout: timeout, log: log}
}

// Describe returns what a call may hold now.
func (r *reach) Describe() provider.EmbedderInfo {
	info := r.Embedder.Describe()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bound > 0 {
		info.MaxTokens = r.bound
	}
	return info
}

// Embed refuses calls beyond the bound, with the reason for which callers divide them.
// A single input always goes: nothing is smaller.
func (r *reach) Embed(ctx context.Context, inputs []provider.Input) (provider.Embeddings, error) {
	tokens := 0
	for _, in := range inputs {
		tokens += in.Tokens
	}
	r.mu.Lock()
	bound := r.bound
	r.mu.Unlock()
	if len(inputs) > 1 && bound > 0 && tokens > bound {
		return provider.Embeddings{}, provider.Unbilled(fault.New(fault.Execution, openai.ReasonBatch,
			"%d tokens are too much for a call after one that was not answered in time", tokens))
	}
	began := time.Now()
	out, err := r.Embedder.Embed(ctx, inputs)
	switch f := fault.From(err); {
	case err == nil:
		r.answered(tokens, time.Since(began))
	case f.Reason == openai.ReasonTimeout && !provider.IsUnbilled(err) && len(inputs) > 1:
		r.unanswered(tokens)
	}
	return out, err
}

// unanswered has calls hold less.
func (r *reach) unanswered(tokens int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.well { // otherwise the service may be silent, whatever the size
		r.ceiling, r.met = tokens, time.Now()
	}
	r.well = false
	if half := max(1, tokens/2); r.bound == 0 || half < r.bound {
		r.bound = half
		// Nobody else tells of an attempt that another one makes good.
		r.log.Warn().Int("tokens", tokens).Int("bound", half).
			Str("hint", "it may have been charged; if the service is only slow, raise --embedding-timeout").
			Msg("a call was not answered in time; calls are smaller until one is")
	}
}

// answered lets calls hold more, if this one was as large as they may be.
func (r *reach) answered(tokens int, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.well = true
	if r.bound == 0 || tokens <= r.bound/2 || took >= r.timeout/ease {
		return
	}
	next := 2 * max(r.bound, tokens)
	if r.ceiling > 0 && next >= r.ceiling && time.Since(r.met) < wary {
		return
	}
	if r.bound = next; next >= r.Embedder.Describe().MaxTokens {
		r.bound = 0
	}
}
