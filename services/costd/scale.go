package costd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"sluice/pkg/broker"
	"sluice/pkg/budget"
	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// Handoffs are the stages that can be scaled and the streams that they take
// their work from: work queues with one consumer, so that what is in the stream
// is what is not done yet. Upgrades of what a fallback made are not among them:
// two stages share their stream, and take from it at a rate of their own.
var Handoffs = handoffs()

func handoffs() map[string]string {
	consumers := map[string]int{}
	for _, d := range broker.Durables() {
		consumers[d.Stream]++
	}
	queue := map[string]bool{}
	for _, s := range broker.DefaultTopology().Streams() {
		queue[s.Name] = s.Retention == jetstream.WorkQueuePolicy && consumers[s.Name] == 1
	}
	found := map[string]string{}
	for _, d := range broker.Durables() {
		if queue[d.Stream] {
			found[d.Name] = d.Stream
		}
	}
	return found
}

// Scale is what an autoscaler should know of a stage: GET /scale/<stage>, with
// ?service=<name> if the stage pays that service.
type Scale struct {
	Stage   string `json:"stage"`
	Service string `json:"service,omitempty"`
	// Backlog is how many messages wait for the stage or are in its hands.
	Backlog uint64 `json:"backlog"`
	// Oldest is the age of the oldest of them in seconds, 0 if there is none.
	Oldest float64 `json:"oldest_seconds"`
	// Paused tells that the budget stops the stage: the global limits or those of
	// the service are spent or frozen, or what is left pays for no call that
	// waits. More replicas would wait as well.
	Paused bool   `json:"paused"`
	Reason string `json:"reason,omitempty"`
	// Open is 0 while the stage is paused and 1 otherwise: a factor for the
	// backlog. Effective is their product, the backlog to scale on.
	Open      uint64 `json:"open"`
	Effective uint64 `json:"effective"`
}

// Scaling answers for the stages' backlogs. It works in a costd that does not
// lead as well.
type Scaling struct {
	js      jetstream.JetStream
	watches []*broker.Watch

	mu     sync.Mutex
	states map[budget.Scope]budget.State // of global and services

	reading sync.Mutex // one at a time asks the broker
	queues  map[string]queue
}

// queue is what was last read of a stage's stream.
type queue struct {
	backlog uint64
	first   time.Time
	read    time.Time
}

const (
	queueKept    = time.Second // what was read is good for this long
	queueTimeout = 2 * time.Second
)

// NewScaling follows the budget's states until it is closed.
func NewScaling(ctx context.Context, js jetstream.JetStream) (*Scaling, error) {
	kv, err := js.KeyValue(ctx, events.BucketBudget)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", events.BucketBudget, err)
	}
	s := &Scaling{js: js, states: map[budget.Scope]budget.State{}, queues: map[string]queue{}}
	for _, keys := range []string{budget.StateKey(budget.Global), budget.StateKey("service.*")} {
		w, err := broker.NewWatch(ctx, kv, keys, s.show)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("watch the budget's states: %w", err), s.Close())
		}
		s.watches = append(s.watches, w)
	}
	return s, nil
}

// Close stops following.
func (s *Scaling) Close() error {
	for _, w := range s.watches {
		w.Close()
	}
	return nil
}

func (s *Scaling) show(e jetstream.KeyValueEntry) {
	var state budget.State
	if e.Operation() != jetstream.KeyValuePut || json.Unmarshal(e.Value(), &state) != nil {
		return // costd alone writes here; what it did not write says nothing
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.states[state.Scope] = state
}

// Stage returns what is known of a stage. The error has the class Validation if
// there is no such stage or service, and Unavailable if the broker is away.
func (s *Scaling) Stage(ctx context.Context, name, service string) (Scale, error) {
	stream, ok := Handoffs[name]
	if !ok {
		return Scale{}, fault.Invalid("stage", "no stage is called %q", events.CleanHeader(name, 64)).
			WithHint("use one of %v", slices.Sorted(maps.Keys(Handoffs)))
	}
	if len(service) > 64 {
		return Scale{}, fault.Invalid("service", "no service is called %q", events.CleanHeader(service, 64))
	}
	q, err := s.queue(ctx, stream)
	if err != nil {
		return Scale{}, err
	}
	a := Scale{Stage: name, Service: service, Backlog: q.backlog, Open: 1}
	if q.backlog > 0 {
		a.Oldest = max(0, time.Since(q.first).Seconds())
	}
	if service != "" {
		if a.Paused, a.Reason = s.paused(budget.Service(service)); a.Paused {
			a.Open = 0
		}
	}
	a.Effective = a.Open * a.Backlog
	return a, nil
}

// paused tells whether the budget stops the calls of a service, and why.
func (s *Scaling) paused(service budget.Scope) (bool, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, scope := range []budget.Scope{budget.Global, service} {
		switch state := s.states[scope]; {
		case state.State == "paused":
			return true, string(scope) + ": " + state.Reason
		case state.Waiting && scope == service:
			return true, string(scope) + ": what is left pays for none of the calls that wait"
		}
	}
	return false, ""
}

// queue reads a stream, or returns what was read of it within the last second.
func (s *Scaling) queue(ctx context.Context, stream string) (queue, error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	if q, ok := s.queues[stream]; ok && time.Since(q.read) < queueKept {
		return q, nil
	}
	ctx, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	info, err := s.js.Stream(ctx, stream)
	if err != nil {
		return queue{}, fault.Wrap(err, fault.Unavailable, "backlog", "cannot read the backlog of %s", stream)
	}
	state := info.CachedInfo().State
	q := queue{state.Msgs, state.FirstTime, time.Now()}
	s.queues[stream] = q
	return q, nil
}

// ServeHTTP answers GET /scale/{stage}.
func (s *Scaling) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	var body any
	a, err := s.Stage(r.Context(), r.PathValue("stage"), r.URL.Query().Get("service"))
	switch body = a; {
	case fault.Of(err) == fault.Validation && err != nil:
		w.WriteHeader(http.StatusNotFound)
		body = map[string]string{"error": fault.From(err).Message}
	case err != nil:
		// Not a number: an autoscaler must not take silence for an empty queue.
		w.WriteHeader(http.StatusServiceUnavailable)
		body = map[string]string{"error": fault.From(err).Message}
	}
	_ = json.NewEncoder(w).Encode(body) // the peer may be gone
}

var (
	backlogDesc = prometheus.NewDesc("sluice_backlog", "Messages that wait for the stage or are in its hands, whether it runs or not.", []string{"stage"}, nil)
	oldestDesc  = prometheus.NewDesc("sluice_backlog_oldest_seconds", "Age of the oldest of them; 0 if there is none.", []string{"stage"}, nil)
)

// Describe is of prometheus.Collector.
func (s *Scaling) Describe(c chan<- *prometheus.Desc) {
	c <- backlogDesc
	c <- oldestDesc
}

// Collect is of prometheus.Collector. A backlog that cannot be read is absent.
func (s *Scaling) Collect(c chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), queueTimeout)
	defer cancel()
	for name := range Handoffs {
		a, err := s.Stage(ctx, name, "")
		if err != nil {
			return // the broker is away, and readyz says so; the others would be no better
		}
		c <- prometheus.MustNewConstMetric(backlogDesc, prometheus.GaugeValue, float64(a.Backlog), name)
		c <- prometheus.MustNewConstMetric(oldestDesc, prometheus.GaugeValue, a.Oldest, name)
	}
}
