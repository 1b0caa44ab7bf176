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
//
// It finds the stages on the server, by what their consumers say of themselves, so
// that stages of other trees scale as ours do: those that take from a work queue
// of their own, where what is in the stream is what is not done yet. Upgrades of
// what a fallback made are not among them: two stages share their stream, and take
// from it at a rate of their own.
type Scaling struct {
	js      jetstream.JetStream
	watches []*broker.Watch

	mu     sync.Mutex
	states map[budget.Scope]budget.State // of global and services

	reading  sync.Mutex // one at a time asks the broker
	read     time.Time  // of queues
	queues   map[string]queue
	rooms    map[string]room // by the stream's name
	surveyed time.Time       // of takers
	takers   map[string]taker
}

// taker is the stage that takes from a work queue.
type taker struct {
	stage     string // "" if there is not one
	consumers int    // of the queue
}

// queue is what was last read of a stage's stream.
type queue struct {
	backlog uint64
	first   time.Time
}

// room is how full a stream is, or the one behind a bucket or an object store.
type room struct {
	bytes uint64
	limit int64 // 0 = there is none, or old messages make room for new ones
}

func roomOf(info *jetstream.StreamInfo) room {
	r := room{bytes: info.State.Bytes}
	if info.Config.MaxBytes > 0 && info.Config.Discard == jetstream.DiscardNew {
		r.limit = info.Config.MaxBytes
	}
	return r
}

const (
	queueKept    = time.Second      // what was read is good for this long
	surveyKept   = 10 * time.Second // and who takes from it for this long
	queueTimeout = 2 * time.Second
)

// NewScaling follows the budget's states until it is closed.
func NewScaling(ctx context.Context, js jetstream.JetStream) (*Scaling, error) {
	kv, err := js.KeyValue(ctx, events.BucketBudget)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", events.BucketBudget, err)
	}
	s := &Scaling{js: js, states: map[budget.Scope]budget.State{}}
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
	if len(service) > 64 {
		return Scale{}, fault.Invalid("service", "no service is called %q", events.CleanHeader(service, 64))
	}
	queues, err := s.survey(ctx)
	if err != nil {
		return Scale{}, err
	}
	q, ok := queues[name]
	if !ok {
		return Scale{}, fault.Invalid("stage", "no stage is called %q", events.CleanHeader(name, 64)).
			WithHint("use one of %v; a stage is known from its first start on, or from 'sluice apply'", slices.Sorted(maps.Keys(queues)))
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

// survey returns the queues of all stages, as they were within the last second.
func (s *Scaling) survey(ctx context.Context) (map[string]queue, error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	if time.Since(s.read) < queueKept {
		return s.queues, nil
	}
	ctx, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	var work []*jetstream.StreamInfo
	rooms := map[string]room{}
	streams := s.js.ListStreams(ctx)
	for info := range streams.Info() {
		if vocabulary[info.Config.Name] {
			rooms[info.Config.Name] = roomOf(info)
		}
		if info.Config.Retention == jetstream.WorkQueuePolicy {
			work = append(work, info)
		}
	}
	if err := streams.Err(); err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "backlog", "cannot read the backlogs")
	}
	if time.Since(s.surveyed) >= surveyKept {
		s.takers, s.surveyed = map[string]taker{}, time.Now()
	}
	queues := map[string]queue{}
	for _, info := range work {
		name := info.Config.Name
		t, ok := s.takers[name]
		if !ok || t.consumers != info.State.Consumers {
			stage, err := s.stage(ctx, info)
			if err != nil {
				return nil, fault.Wrap(err, fault.Unavailable, "backlog", "cannot read the consumers of %s", name)
			}
			t = taker{stage, info.State.Consumers}
			s.takers[name] = t
		}
		if t.stage != "" {
			queues[t.stage] = queue{info.State.Msgs, info.State.FirstTime}
			rooms[name] = roomOf(info) // also if the stage is of another tree
		}
	}
	s.queues, s.rooms, s.read = queues, rooms, time.Now()
	return queues, nil
}

// vocabulary has the names of the streams that the pipeline has. There may be any
// number of others on the server.
var vocabulary = func() map[string]bool {
	all := map[string]bool{}
	for _, s := range broker.Vocabulary() {
		all[s.Stream()] = true
	}
	return all
}()

// full returns how full the streams are, as they were when survey last looked.
func (s *Scaling) full() map[string]room {
	s.reading.Lock()
	defer s.reading.Unlock()
	return s.rooms
}

// stage returns the stage that takes from a work queue, or "" if it is not one.
func (s *Scaling) stage(ctx context.Context, info *jetstream.StreamInfo) (string, error) {
	stream, err := s.js.Stream(ctx, info.Config.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return "", nil // gone since
	}
	if err != nil {
		return "", err
	}
	var stages []string
	consumers := stream.ListConsumers(ctx)
	for c := range consumers.Info() {
		if name := c.Config.Metadata[broker.MetaStage]; name != "" {
			stages = append(stages, name)
		}
	}
	if err := consumers.Err(); err != nil {
		return "", err
	}
	if len(stages) != 1 {
		return "", nil
	}
	return stages[0], nil
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
	bytesDesc   = prometheus.NewDesc("sluice_stream_bytes", "Bytes in a stream of the pipeline, or in the one behind a bucket (KV_) or an object store (OBJ_).", []string{"stream"}, nil)
	limitDesc   = prometheus.NewDesc("sluice_stream_limit_bytes", "Bytes from which on the stream refuses messages; absent if there is no limit, or if old messages make room for new ones.", []string{"stream"}, nil)
	oldestDesc  = prometheus.NewDesc("sluice_backlog_oldest_seconds", "Age of the oldest of them; 0 if there is none.", []string{"stage"}, nil)
)

// Describe is of prometheus.Collector.
func (s *Scaling) Describe(c chan<- *prometheus.Desc) {
	c <- backlogDesc
	c <- oldestDesc
	c <- bytesDesc
	c <- limitDesc
}

// Collect is of prometheus.Collector. A backlog that cannot be read is absent.
func (s *Scaling) Collect(c chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), queueTimeout)
	defer cancel()
	queues, err := s.survey(ctx)
	if err != nil {
		return // the broker is away, and readyz says so
	}
	for name := range queues {
		a, err := s.Stage(ctx, name, "")
		if err != nil {
			return
		}
		c <- prometheus.MustNewConstMetric(backlogDesc, prometheus.GaugeValue, float64(a.Backlog), name)
		c <- prometheus.MustNewConstMetric(oldestDesc, prometheus.GaugeValue, a.Oldest, name)
	}
	for stream, r := range s.full() {
		c <- prometheus.MustNewConstMetric(bytesDesc, prometheus.GaugeValue, float64(r.bytes), stream)
		if r.limit > 0 {
			c <- prometheus.MustNewConstMetric(limitDesc, prometheus.GaugeValue, float64(r.limit), stream)
		}
	}
}
