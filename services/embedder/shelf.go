package embedder

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"sluice/pkg/broker"
	"sluice/pkg/events"
)

// Shelf keeps vectors in the bucket "cache". A bucket that is full or refuses
// them costs money and not correctness: the work goes on, and it is said aloud.
// All stages of a process share one.
type Shelf struct {
	kv   jetstream.KeyValue
	log  zerolog.Logger
	full prometheus.Gauge
	told func(state string) // "" = well

	mu    sync.Mutex
	state string
}

// NewShelf returns the shelf in kv. The metrics and told may be nil; told hears in
// words what is amiss with the bucket, and "" when all is well again.
func NewShelf(kv jetstream.KeyValue, log zerolog.Logger, metrics prometheus.Registerer, told func(state string)) (*Shelf, error) {
	s := &Shelf{kv: kv, log: log, told: told, full: prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "sluice_cache_full", Help: "1 while the bucket of vectors takes no more: what it cannot keep is paid for again.",
	})}
	if metrics == nil {
		return s, nil
	}
	err := metrics.Register(s.full)
	var before prometheus.AlreadyRegisteredError
	if errors.As(err, &before) {
		if g, ok := before.ExistingCollector.(prometheus.Gauge); ok {
			s.full, err = g, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("register a metric: %w", err)
	}
	return s, nil
}

// get returns the vector under a key, nil if there is none of that many dimensions.
func (s *Shelf) get(ctx context.Context, key string, dimensions int) ([]float32, error) {
	e, err := s.kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(e.Value()) == 0 {
		return nil, nil // a claim of an earlier release
	}
	v, err := events.DecodeVector(e.Value())
	if err != nil || len(v) != dimensions {
		s.log.Warn().Str("key", key).Msg("an unreadable entry of the embedding cache is ignored")
		return nil, nil
	}
	return v, nil
}

// put keeps a vector. If the bucket is full, it gives up. If the bucket does not
// answer, perhaps because its server is being restarted, it tries again until then.
func (s *Shelf) put(ctx context.Context, key string, v []float32, until time.Time) {
	body := events.EncodeVector(v)
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		_, err := s.kv.Put(ctx, key, body)
		if ctx.Err() != nil {
			return
		}
		s.say(err)
		if err == nil || broker.IsFull(err) || time.Now().Add(pause).After(until) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// say tells what is amiss with the bucket when that changes.
func (s *Shelf) say(err error) {
	state := ""
	switch {
	case err == nil:
	case broker.IsFull(err):
		state = "the bucket " + s.kv.Bucket() + " is full: new vectors are not kept, and equal texts are paid for again"
	default:
		state = "the bucket " + s.kv.Bucket() + " does not take vectors, and equal texts are paid for again if that lasts"
	}
	s.mu.Lock()
	changed := state != s.state
	s.state = state
	s.mu.Unlock()
	if !changed {
		return
	}
	if state == "" {
		s.full.Set(0)
		s.log.Info().Str("bucket", s.kv.Bucket()).Msg("the bucket takes vectors again")
	} else {
		if broker.IsFull(err) {
			s.full.Set(1)
		}
		s.log.Warn().Err(err).Str("hint", "give the stream KV_"+s.kv.Bucket()+" more bytes ('nats stream edit'), or the server more disk").Msg(state)
	}
	if s.told != nil {
		s.told(state)
	}
}
