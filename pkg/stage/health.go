package stage

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"sluice/pkg/fault"
)

// Health is what a process says of itself on /healthz and /readyz, to 'sluice
// status' and 'doctor', in NATS micro statistics, and in metrics. Of what waits it
// keeps nothing: it is a view of the waiting rooms at the moment of the question.
type Health struct {
	conn *nats.Conn

	mu      sync.Mutex
	running map[string]*runner
	notes   map[string]*notes
	refused string // what NATS does not let this process do
}

// notes are what a service says of its stage.
type notes struct{ provider, down string }

// Waiting is one key and what waits for it in this process.
type Waiting struct {
	Key     string    `json:"key"`             // "budget:tenant.acme"
	Kind    string    `json:"kind"`            // "budget"
	Whole   bool      `json:"whole,omitempty"` // all of the stage's work needs the key: nothing is taken in
	Class   string    `json:"class"`
	Reason  string    `json:"reason"`
	Message string    `json:"message"` // why, in words
	Hint    string    `json:"hint,omitempty"`
	Since   time.Time `json:"since"`
	Count   int       `json:"count"`           // messages in this process
	Aside   int       `json:"aside,omitempty"` // messages in the stream HELD, of all replicas
	Until   time.Time `json:"until,omitzero"`  // when it is tried again, if nobody wakes it before
}

// StageHealth is the state of one stage of a process.
type StageHealth struct {
	Stage   string    `json:"stage"`
	Running bool      `json:"running"`
	Ready   bool      `json:"ready"`
	InHand  int       `json:"in_hand"`           // messages taken and not ended, those that wait included
	Waiting []Waiting `json:"waiting,omitempty"` // the most first
	Down    string    `json:"down,omitempty"`    // what the stage needs and does not have
	// Provider says how the service does that the stage calls.
	Provider string `json:"provider,omitempty"`
}

// Halted returns why the configuration stops the stage, or "".
func (s StageHealth) Halted() string { return s.waits(fault.WaitConfig) }

// Held returns what most of what waits is told, or "".
func (s StageHealth) Held() string { return s.waits("") }

func (s StageHealth) waits(kind string) string {
	for _, w := range s.Waiting {
		if kind == "" || w.Kind == kind {
			return w.Message
		}
	}
	return ""
}

// NewHealth returns the health of a process on one connection.
func NewHealth(nc *nats.Conn) *Health {
	return &Health{conn: nc, running: map[string]*runner{}, notes: map[string]*notes{}}
}

func (h *Health) add(stage string, r *runner) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running[stage] = r
	if h.notes[stage] == nil {
		h.notes[stage] = &notes{}
	}
}

func (h *Health) remove(stage string, r *runner) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running[stage] == r {
		delete(h.running, stage)
	}
}

func (h *Health) note(stage string, f func(*notes)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.notes[stage]
	if n == nil {
		n = &notes{}
		h.notes[stage] = n
	}
	f(n)
}

// Provider shows how the service does that a stage calls.
func (h *Health) Provider(stage, state string) {
	h.note(stage, func(n *notes) { n.provider = state })
}

// Down shows what a stage needs and cannot reach, or with "" that nothing is
// amiss. Without it the stage is not ready.
func (h *Health) Down(stage, what string) {
	h.note(stage, func(n *notes) { n.down = what })
}

// Stages returns the state of every stage, by name.
func (h *Health) Stages() []StageHealth {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]StageHealth, 0, len(h.notes))
	for name, n := range h.notes {
		s := StageHealth{Stage: name, Provider: n.provider, Down: n.down}
		if r := h.running[name]; r != nil {
			s.Running, s.InHand, s.Waiting = true, r.hand.size(), r.room.view()
			s.Down = cmp.Or(s.Down, r.intake.lacks())
		}
		if h.refused != "" {
			s.Waiting = append(s.Waiting, Waiting{
				Key: fault.WaitConfig, Kind: fault.WaitConfig, Whole: true, Class: fault.Halt.String(), Reason: ReasonRights, Message: h.refused,
			})
		}
		s.Ready = s.Running && s.Down == "" && h.conn.IsConnected() && !slices.ContainsFunc(s.Waiting, func(w Waiting) bool {
			return w.Kind == fault.WaitConfig || w.Kind == fault.WaitStore || w.Reason == ReasonSilent
		})
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b StageHealth) int { return strings.Compare(a.Stage, b.Stage) })
	return all
}

// Stage returns the state of one stage.
func (h *Health) Stage(name string) StageHealth {
	for _, s := range h.Stages() {
		if s.Stage == name {
			return s
		}
	}
	return StageHealth{Stage: name}
}

// Ready reports whether the process is connected and every stage is ready: it runs,
// has what it needs, and waits for no store and no other configuration. What waits
// for money is as it should be.
func (h *Health) Ready() bool {
	if !h.conn.IsConnected() {
		return false
	}
	stages := h.Stages()
	for _, s := range stages {
		if !s.Ready {
			return false
		}
	}
	return len(stages) > 0
}

func sortWaiting(all []Waiting) {
	slices.SortFunc(all, func(a, b Waiting) int {
		return cmp.Or(cmp.Compare(b.Count+b.Aside, a.Count+a.Aside), strings.Compare(a.Key, b.Key))
	})
}

// Handler serves /healthz (the process lives), /readyz (it does its work) and
// /metrics (Prometheus). A service may add routes of its own, while it serves,
// too.
func (e *Env) Handler() *http.ServeMux { return e.mux }

func (e *Env) routes() *http.ServeMux {
	mux := http.NewServeMux()
	write := func(w http.ResponseWriter, ok bool) {
		w.Header().Set("Content-Type", "application/json")
		if !ok {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		// The peer may be gone; there is nobody left to tell.
		_ = json.NewEncoder(w).Encode(map[string]any{
			"ok": ok, "connected": e.Conn.IsConnected(), "stages": e.Health.Stages(),
		})
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { write(w, true) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { write(w, e.Health.Ready()) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(e.Metrics.Registry, promhttp.HandlerOpts{}))
	return mux
}
