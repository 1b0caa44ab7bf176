// Package llamaparse is a server that behaves like LlamaCloud's parsing API, v2,
// with everything that can go wrong there on request, and with a meter: its own
// count of what it has charged.
//
// It shares no code with any client. A document has one page more than it has
// form feeds; a PDF has as many as its page tree says.
//
//	POST {base}/api/v2/parse/upload, POST /api/v2/parse, GET /api/v2/parse[/{id}]
//	POST /api/v2/parse/{id}/cancel, DELETE /api/v2/parse/{id}, GET /api/v2/parse/versions
//	POST /api/v1/beta/files
//	GET  /_meter, POST|DELETE /_faults (Rules), POST /_keys, POST /_clock {"advance":"1h"}
package llamaparse

import (
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"sluice/pkg/fake"
)

// NanoPerCredit is the price of a credit.
const NanoPerCredit = 1_250_000

// Config is what the server is like. The zero value has every key, finishes
// jobs at once, and bills at once.
type Config struct {
	Keys       map[string]string // key -> its region, "na" or "eu"; none = all keys
	Region     string            // of this server; "" = "na"
	Work       time.Duration     // a job runs so long
	Billing    time.Duration     // from its end until usage is known
	Concurrent int               // jobs at once; the others wait. 0 = no limit
	Surcharge  float64           // factor on the list price; 0 = 1
	Latency    time.Duration     // of every answer
	Versions   []string          // nil = 2026-09-07 and latest
	Webhooks   *http.Client      // sends them; nil = none are sent
}

// Server is the fake. Its methods are safe for concurrent use.
type Server struct {
	cfg Config

	mu     sync.Mutex
	rules  []*Rule
	valid  map[string]string
	offset time.Duration
	serial int
	jobs   map[string]*job
	order  []*job
	freed  time.Time // when a job that waits could begin, at the latest
	files  map[string]file
	cache  map[string]time.Time // content and options -> when parsed
	meter  Meter
	hooks  sync.WaitGroup
}

type file struct {
	name string
	data []byte
}

// Meter is what the server has charged.
type Meter struct {
	Charge
	Attempts int                          `json:"attempts"`  // requests of any kind
	Creates  int                          `json:"creates"`   // requests to start a job
	Lost     int                          `json:"lost"`      // jobs started without an answer
	MaxPages int                          `json:"max_pages"` // that the latest job was allowed; 0 = any number
	Refused  map[int]int                  `json:"refused"`
	By       map[string]map[string]Charge `json:"by"` // key -> UTC hour of the job's start -> charge
}

// Charge is an amount.
type Charge struct {
	Jobs    int     `json:"jobs"`
	Pages   int     `json:"pages"`
	Credits float64 `json:"credits"`
	Nano    int64   `json:"nano"`
}

// New returns a server; it is an http.Handler.
func New(cfg Config) *Server {
	if cfg.Region == "" {
		cfg.Region = "na"
	}
	if cfg.Surcharge == 0 {
		cfg.Surcharge = 1
	}
	if cfg.Versions == nil {
		cfg.Versions = []string{"latest", "2026-09-07"}
	}
	s := &Server{cfg: cfg, jobs: map[string]*job{}, files: map[string]file{}, cache: map[string]time.Time{}}
	if len(cfg.Keys) > 0 {
		s.valid = maps.Clone(cfg.Keys)
	}
	s.meter.By, s.meter.Refused = map[string]map[string]Charge{}, map[int]int{}
	return s
}

// Start serves on an address, 127.0.0.1:0 for a free port, until stop.
func (s *Server) Start(address string) (url string, stop func() error, err error) {
	url, end, err := fake.Start(s, address)
	if err != nil {
		return "", nil, err
	}
	return url, func() error {
		err := end()
		s.hooks.Wait()
		return err
	}, nil
}

// Meter returns a copy of the meter, with all that has ended until now.
func (s *Server) Meter() Meter {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.step()
	m := s.meter
	m.Refused = maps.Clone(m.Refused)
	m.By = map[string]map[string]Charge{}
	for k, hours := range s.meter.By {
		m.By[k] = maps.Clone(hours)
	}
	return m
}

// Advance puts the clock forward.
func (s *Server) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offset += d
	s.step()
}

func (s *Server) now() time.Time { return time.Now().Add(s.offset).UTC() }

// SetKey makes a key valid in a region, or invalid with "".
func (s *Server) SetKey(key, region string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.valid == nil {
		s.valid = map[string]string{}
	}
	if region == "" {
		delete(s.valid, key)
		return
	}
	s.valid[key] = region
}

// ServeHTTP serves the API and the fake's own controls.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/_meter":
		fake.Reply(w, http.StatusOK, s.Meter())
		return
	case "/_faults":
		if r.Method == http.MethodDelete {
			s.Clear()
			return
		}
		fake.Control(w, r, func(rules []Rule) { s.Script(rules...) })
		return
	case "/_keys":
		fake.Control(w, r, func(k struct {
			Key    string `json:"key"`
			Region string `json:"region"`
		},
		) {
			s.SetKey(k.Key, k.Region)
		})
		return
	case "/_clock":
		fake.Control(w, r, func(c struct {
			Advance Duration `json:"advance"`
		},
		) {
			s.Advance(time.Duration(c.Advance))
		})
		return
	}
	if id, ok := strings.CutPrefix(r.URL.Path, "/_signed/"); ok {
		s.signed(w, id, r.URL.Query().Get("expires"))
		return
	}
	s.api(w, r)
}

// signed serves what a presigned URL points at, until it expires.
func (s *Server) signed(w http.ResponseWriter, id, expires string) {
	until, err := strconv.ParseInt(expires, 10, 64)
	s.mu.Lock()
	j := s.jobs[id]
	late := s.now().Unix() > until
	text := ""
	if j != nil {
		text = strings.Join(j.pages, "\n\n")
	}
	s.mu.Unlock()
	if err != nil || j == nil || late {
		http.Error(w, "Request has expired", http.StatusForbidden)
		return
	}
	_, _ = io.WriteString(w, text) // the client may be gone
}

// call is one request with what is to go wrong with it.
type call struct {
	kind   string // "create", "files", "get", "list", "cancel", "delete", "versions"
	key    string
	effect Rule
}

func (s *Server) api(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimSuffix(r.URL.Path, "/")
	id, rest, _ := strings.Cut(strings.TrimPrefix(path, "/api/v2/parse/"), "/")
	kind := ""
	switch {
	case r.Method == http.MethodGet && path == "/api/v2/parse/versions":
		kind = "versions"
	case r.Method == http.MethodPost && (path == "/api/v2/parse/upload" || path == "/api/v2/parse"):
		kind = "create"
	case r.Method == http.MethodPost && path == "/api/v1/beta/files":
		kind = "files"
	case r.Method == http.MethodGet && path == "/api/v2/parse":
		kind = "list"
	case r.Method == http.MethodPost && rest == "cancel":
		kind = "cancel"
	case r.Method == http.MethodGet && rest == "" && strings.HasPrefix(path, "/api/v2/parse/"):
		kind = "get"
	case r.Method == http.MethodDelete && rest == "" && strings.HasPrefix(path, "/api/v2/parse/"):
		kind = "delete"
	default:
		detail(w, http.StatusNotFound, "Not Found")
		return
	}
	key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	var data []byte
	if kind == "create" || kind == "files" {
		var err error
		if data, err = io.ReadAll(io.LimitReader(r.Body, 600<<20)); err != nil {
			return
		}
		r.Body = io.NopCloser(strings.NewReader(string(data)))
	}
	s.mu.Lock()
	s.meter.Attempts++
	if kind == "create" {
		s.meter.Creates++
	}
	c := call{kind, key, s.apply(kind, key, data)}
	region, known := s.valid[key]
	open := s.valid == nil
	s.mu.Unlock()
	select {
	case <-time.After(time.Duration(c.effect.Delay) + s.cfg.Latency):
	case <-r.Context().Done():
		return
	}
	for k, v := range c.effect.Header {
		w.Header().Set(k, v)
	}
	switch {
	case c.effect.Fault == Refuse:
		panic(http.ErrAbortHandler)
	case kind == "versions":
		fake.Reply(w, http.StatusOK, map[string]any{"versions": s.cfg.Versions})
		return
	case !open && (!known || region != s.cfg.Region):
		s.refuse(w, http.StatusUnauthorized, "Invalid API Key")
		return
	case c.effect.Status != 0 && !c.effect.Effective:
		s.refused(c.effect.Status)
		if c.effect.Body != "" {
			w.WriteHeader(c.effect.Status)
			_, _ = io.WriteString(w, c.effect.Body) // the client may be gone
			return
		}
		detail(w, c.effect.Status, c.effect.message())
		return
	}
	switch kind {
	case "create":
		s.create(w, r, c)
	case "files":
		s.upload(w, r)
	case "list":
		s.list(w, r, key)
	case "get":
		s.get(w, r, c, id)
	default:
		s.end(w, kind, key, id)
	}
}

func (s *Server) refused(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.meter.Refused[status]++
}

func (s *Server) refuse(w http.ResponseWriter, status int, text string) {
	s.refused(status)
	detail(w, status, text)
}

// detail writes FastAPI's error.
func detail(w http.ResponseWriter, status int, text string) {
	fake.Reply(w, status, map[string]any{"detail": text})
}

// invalid writes FastAPI's list of what is wrong.
func (s *Server) invalid(w http.ResponseWriter, kind, message string, loc ...string) {
	s.refused(http.StatusUnprocessableEntity)
	fake.Reply(w, http.StatusUnprocessableEntity, map[string]any{"detail": []any{map[string]any{"type": kind, "loc": loc, "msg": message, "input": map[string]any{}}}})
}
