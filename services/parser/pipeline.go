package parser

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/broker"
	"sluice/pkg/events"
)

// pipeline knows the fingerprints of the stages that follow.
type pipeline struct {
	mu     sync.Mutex
	stages map[string]string
}

// settle is how long a parser that starts first waits for the others to say
// who they are. Until they have, nothing can be recognised as a duplicate.
const settle = 5 * time.Second

// watchPipeline follows the bucket "pipeline" until ctx ends. It returns when
// the stages that follow are known, or after settle.
func watchPipeline(ctx context.Context, js jetstream.JetStream) (*pipeline, error) {
	kv, err := js.KeyValue(ctx, events.BucketPipeline)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", events.BucketPipeline, err)
	}
	p := &pipeline{stages: map[string]string{}}
	known := make(chan struct{})
	told := sync.OnceFunc(func() { close(known) })
	hear := func(e jetstream.KeyValueEntry) {
		p.mu.Lock()
		p.stages[e.Key()] = string(e.Value())
		ready := p.stages["chunker"] != "" && p.stages["embedder"] != ""
		p.mu.Unlock()
		if ready {
			told()
		}
	}
	for _, stage := range []string{"chunker", "embedder"} {
		w, err := broker.NewWatch(ctx, kv, stage, hear)
		if err != nil {
			return nil, fmt.Errorf("watch the bucket %s: %w", events.BucketPipeline, err)
		}
		context.AfterFunc(ctx, w.Close)
	}
	t := time.NewTimer(settle)
	defer t.Stop()
	select {
	case <-known:
	case <-t.C:
	case <-ctx.Done():
	}
	return p, nil
}

// fingerprint condenses the settings of all stages, or "" while a later stage
// has not told its own.
func (p *pipeline) fingerprint(parser string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, e := p.stages["chunker"], p.stages["embedder"]
	if c == "" || e == "" {
		return ""
	}
	return events.Fingerprint(parser, c, e)
}
