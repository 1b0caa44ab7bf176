// Package stage is the runtime that every stage of Sluice runs on.
//
// A stage is one function of the message it consumes (or of a batch of them).
// The function reads, works, and says what to publish; the runtime pulls,
// publishes, waits for every acknowledgement, and only then acknowledges the
// input. So whatever dies on any line, the input comes again, and because IDs
// are derived the effect happens once.
//
// The runtime also owns failures. A fault class (package fault) decides:
// Unavailable is tried again with growing delays and then dead-lettered,
// Execution and Validation are dead-lettered at once. Failures are counted in the
// KV bucket "retries" and not by deliveries, so that a restart or a drain burns no
// retry. A message whose process died while the stage's function had it, again and
// again, is dead-lettered as "crash-loop" before it is tried once more.
//
// What cannot go on for a reason that is not its own waits (see room.go): for
// money, for a service, for another replica, for a stream that is full. It holds
// no worker meanwhile, counts no failure, writes nothing, and goes on when what it
// waits for is there. What all of the stage's work needs closes the intake; what
// one tenant, text or document needs lets others pass.
package stage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"

	"sluice/pkg/broker"
	"sluice/pkg/fault"
)

// What package broker says of stages, for those who write one.
type (
	Service     = broker.Service
	Declaration = broker.Declaration
	Route       = broker.Route
)

// Stage is one step of the pipeline: what its service declares of it, and the
// function that does it. Exactly one of Handle and HandleBatch is set.
type Stage struct {
	Declaration
	// Handle works on one message. What it gave to Message.Publish is sent if
	// it returns nil and dropped otherwise.
	Handle func(ctx context.Context, m *Message) error
	// HandleBatch works on several messages at once and calls Message.Fail for
	// those that fail.
	HandleBatch func(ctx context.Context, batch []*Message)
	Batch       Batch
	// Whole lists the keys that all of the stage's work needs (see package fault);
	// those within them count, too. While one of them is shut the stage takes
	// nothing in. What waits for another key lets the rest pass. Nil is right for a
	// stage that needs everything for everything: all keys but those of one tenant,
	// one text or document, and one schema version.
	Whole []fault.Wait
	// Workers is how many calls run at once.
	Workers int
	// Identify names the document of a message that does not say so in its
	// headers. The first stage needs it, so that even a message that cannot be
	// handled has a name. Optional.
	Identify func(m *Message)
	// Endpoints are served by request and reply while the stage runs.
	Endpoints []Endpoint
	// Fingerprint says what determines this stage's output. It is published in
	// the KV bucket "pipeline" for the duplicate check. Optional.
	Fingerprint string
	// Metadata are more of what the stage says of itself to whoever asks for micro
	// services: a limit that submitters should know. Optional.
	Metadata map[string]string
}

// Batch bounds one call of HandleBatch. A batch goes when it is full, or when it
// has waited for long enough.
type Batch struct {
	Items int
	// Weight is what the messages of a batch weigh together, or a little more, when it
	// is full; 0 = no bound. It bounds what this process takes in hand, too. Weigh says
	// what one weighs. It is called as the message arrives, and after Message.Again.
	Weight int
	Weigh  func(m *Message) int
	Wait   time.Duration // from the first message
	Quiet  time.Duration // from the latest message; 0 = Wait alone decides
}

// Endpoint answers requests on Subject with JSON.
type Endpoint struct {
	Name    string
	Subject string
	Handle  func(ctx context.Context, request []byte) (any, error)
}

// Settings tune the runtime. The tags are read by kong; the defaults work.
type Settings struct {
	AckWait     time.Duration `name:"ack-wait" env:"SLUICE_ACK_WAIT" default:"30s" help:"Redeliver a message whose process has been silent for this long."`
	MaxRetries  int           `name:"max-retries" env:"SLUICE_MAX_RETRIES" default:"3" help:"Failed attempts after the first before a message is dead-lettered."`
	RetryDelay  time.Duration `name:"retry-delay" env:"SLUICE_RETRY_DELAY" default:"1s" help:"Delay before the first retry; doubles, with jitter."`
	RetryCap    time.Duration `name:"retry-cap" env:"SLUICE_RETRY_CAP" default:"2m" help:"Longest delay between retries."`
	MaxCrashes  int           `name:"max-crashes" env:"SLUICE_MAX_CRASHES" default:"3" help:"Times that a process may die while it handles a message, before the message is dead-lettered; the first delivery does not count."`
	MaxInFlight int           `name:"max-in-flight" env:"SLUICE_MAX_IN_FLIGHT" default:"20000" help:"Messages delivered and not yet acknowledged, parked retries included, over all replicas."`
	Grace       time.Duration `name:"grace" env:"SLUICE_GRACE" default:"20s" help:"Time to finish what is in hand after SIGTERM."`
}

// DefaultSettings returns the defaults of the tags, for use without kong.
func DefaultSettings() Settings {
	return Settings{
		AckWait: 30 * time.Second, MaxRetries: 3, RetryDelay: time.Second, RetryCap: 2 * time.Minute,
		MaxCrashes: 3, MaxInFlight: 20_000, Grace: 20 * time.Second,
	}
}

// Validate names the first setting that cannot work.
func (s Settings) Validate() error {
	switch {
	case s.AckWait < time.Second:
		return fmt.Errorf("ack-wait is %v, want at least 1s", s.AckWait)
	case s.MaxRetries < 0:
		return fmt.Errorf("max-retries is %d, want 0 or more", s.MaxRetries)
	case s.RetryDelay <= 0 || s.RetryCap < s.RetryDelay:
		return fmt.Errorf("retry-delay %v and retry-cap %v: want 0 < delay <= cap", s.RetryDelay, s.RetryCap)
	case s.MaxCrashes < 1:
		return fmt.Errorf("max-crashes is %d, want 1 or more", s.MaxCrashes)
	case s.MaxInFlight < 1:
		return fmt.Errorf("max-in-flight is %d, want 1 or more", s.MaxInFlight)
	case s.Grace < 0:
		return fmt.Errorf("grace is %v, want 0 or more", s.Grace)
	}
	return nil
}

// Version is the version of the release, a semantic one; the linker may set it.
var Version = "0.1.0"

// Env is what a stage runs in. Several stages of one process share it.
type Env struct {
	Conn     *nats.Conn
	JS       jetstream.JetStream
	Log      zerolog.Logger
	Metrics  *Metrics
	Health   *Health
	Settings Settings
	Topology broker.Mode  // "" is ensure
	Tracer   trace.Tracer // nil: not traced; set by Trace
	Version  string       // of the build, for micro; a semantic version
	mux      *http.ServeMux

	// alone is held by calls of the stages' functions: shared, or exclusively for a
	// message that is suspected to kill processes.
	alone sync.RWMutex
	mu    sync.Mutex
	rooms map[*room]bool
}

// NewEnv returns an Env on a connection, with its own metrics and health.
func NewEnv(nc *nats.Conn, log zerolog.Logger, s Settings) (*Env, error) {
	if err := s.Validate(); err != nil {
		return nil, fault.Wrap(err, fault.Halt, "configuration", "the stage settings cannot work")
	}
	js, err := jetstream.New(nc,
		jetstream.WithPublishAsyncMaxPending(4096),
		jetstream.WithPublishAsyncTimeout(10*time.Second))
	if err != nil {
		return nil, err
	}
	e := &Env{
		Conn: nc, JS: js, Log: log, Metrics: NewMetrics(), Health: NewHealth(nc),
		Settings: s, Version: Version, rooms: map[*room]bool{},
	}
	e.Metrics.Registry.MustRegister(waitingMetrics{e.Health})
	e.mux = e.routes()
	e.hearRefusals()
	return e, nil
}

func (s *Stage) validate() error {
	switch {
	case s.Name == "":
		return errors.New("the stage has no name")
	case s.In.Stream == "":
		return fmt.Errorf("stage %s: no input stream", s.Name)
	case (s.Handle == nil) == (s.HandleBatch == nil):
		return fmt.Errorf("stage %s: set one of Handle and HandleBatch", s.Name)
	}
	if s.Workers < 1 {
		s.Workers = 1
	}
	if s.HandleBatch == nil {
		s.Batch = Batch{Items: 1}
	}
	if s.Batch.Items < 1 {
		s.Batch.Items = 64
	}
	return nil
}

// weigh returns what a message weighs. One that cannot be weighed weighs nothing:
// the stage's function meets the same panic, where it is that message's failure.
func (s *Stage) weigh(m *Message) (weight int) {
	if s.Batch.Weigh == nil {
		return 0
	}
	var failure error // told when it is met again
	defer recovered(&failure)
	return s.Batch.Weigh(m)
}

// whole tells whether all of the stage's work needs a key.
func (s *Stage) whole(key fault.Wait) bool {
	if key.Kind() == fault.WaitDownstream {
		return true // what waits for it is done: set aside, it would be done again
	}
	if s.Whole == nil {
		switch key.Kind() {
		case fault.WaitClaim, fault.WaitJob, fault.WaitSlot, fault.WaitSchema:
			return false
		}
		return !key.Within(fault.WaitTenant) && !key.Within(fault.WaitOverLimit)
	}
	for _, k := range s.Whole {
		if key.Within(k) {
			return true
		}
	}
	return false
}

// Wake has what waits for a key, or for one within it, try again at once: what it
// waits for may be there. "budget" wakes all that wait for "budget:tenant.acme".
func (e *Env) Wake(key fault.Wait) {
	e.mu.Lock()
	rooms := maps.Clone(e.rooms)
	e.mu.Unlock()
	for r := range rooms {
		r.wake(key)
	}
}

// hear has a room hear of wake-ups until the returned function is called.
func (e *Env) hear(r *room) (stop func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rooms[r] = true
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.rooms, r)
	}
}
