package stage

import (
	"cmp"
	"encoding/json"
	"net/http"
	"sort"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Health is what a process says of itself on /healthz and /readyz.
type Health struct {
	conn *nats.Conn

	mu      sync.Mutex
	stages  map[string]*StageHealth
	refused string // what NATS does not let this process do
}

// StageHealth is the state of one stage of the process.
type StageHealth struct {
	Stage   string `json:"stage"`
	Running bool   `json:"running"`
	Halted  string `json:"halted,omitempty"` // why its configuration stops it
	Held    string `json:"held,omitempty"`   // why messages wait in hand
	Full    string `json:"full,omitempty"`   // which downstream is full
	InHand  int    `json:"in_hand"`
	Down    string `json:"down,omitempty"` // what the stage needs and cannot reach
	// Provider says how the service does that the stage calls.
	Provider string `json:"provider,omitempty"`
}

// NewHealth returns the health of a process on one connection.
func NewHealth(nc *nats.Conn) *Health {
	return &Health{conn: nc, stages: map[string]*StageHealth{}}
}

func (h *Health) update(stage string, f func(*StageHealth)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.stages[stage]
	if s == nil {
		s = &StageHealth{Stage: stage}
		h.stages[stage] = s
	}
	f(s)
}

// Provider shows how the service does that a stage calls.
func (h *Health) Provider(stage, state string) {
	h.update(stage, func(s *StageHealth) { s.Provider = state })
}

// Down shows what a stage needs and cannot reach, or with "" that nothing is
// amiss. Without it the stage is not ready.
func (h *Health) Down(stage, what string) {
	h.update(stage, func(s *StageHealth) { s.Down = what })
}

// Stages returns the state of every stage, by name.
func (h *Health) Stages() []StageHealth {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]StageHealth, 0, len(h.stages))
	for _, s := range h.stages {
		s := *s
		s.Halted = cmp.Or(s.Halted, h.refused)
		all = append(all, s)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Stage < all[j].Stage })
	return all
}

// Ready reports whether the process is connected and every stage runs, has what
// it needs and is not halted. A held stage is ready: waiting for money is what it should do.
func (h *Health) Ready() bool {
	if !h.conn.IsConnected() {
		return false
	}
	stages := h.Stages()
	for _, s := range stages {
		if !s.Running || s.Halted != "" || s.Down != "" {
			return false
		}
	}
	return len(stages) > 0
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
