// Package openai is a server that behaves like OpenAI's embeddings endpoint, or
// like one of the servers that imitate it, with everything that can go wrong
// there on request, and with a meter: its own count of what it has charged,
// against which a ledger can be judged.
//
// It shares no code with any client.
//
//	POST {base}/embeddings, GET {base}/models   the endpoint, base = URL + "/v1"
//	POST|GET {base}/files, GET|DELETE {base}/files/{id}, GET {base}/files/{id}/content
//	POST|GET {base}/batches, GET {base}/batches/{id}, POST {base}/batches/{id}/cancel
//	GET  /_meter, GET /_calls                   what was charged, in sum and call by call
//	POST /_faults, DELETE /_faults              Rules, as a JSON array
//	POST /_keys                                 {"key":"…","valid":false}
//	POST /_clock                                {"advance":"1h"}
package openai

import (
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/pkg/fake"
	"sluice/pkg/token"
)

// Model is a model that the server has.
type Model struct {
	Width    int
	Shortens bool  // takes "dimensions"
	Nano     int64 // nano-dollars a token
}

// Config is what the server is like. The zero value is OpenAI with its three
// models, no rate limits, and every key accepted.
type Config struct {
	Keys        []string         // the accepted ones; none = all
	Models      map[string]Model // nil = OpenAI's
	Personality Personality
	Rough       bool          // counts a token for four bytes
	Strict      bool          // TEI with auto-truncate off
	Requests    int           // a minute and key; 0 = no limit
	Tokens      int           // a minute and key; 0 = no limit
	Latency     time.Duration // of each answer
	Batching    Batching
	Seed        uint64 // of the rules' probabilities, and of the order of a batch's output
}

// Server is the fake. Its methods are safe for concurrent use.
type Server struct {
	cfg    Config
	count  *token.Encoding
	models map[string]Model

	busy atomic.Int64 // inputs that are being worked on

	mu      sync.Mutex
	rules   []*Rule
	random  *rand.Rand
	valid   map[string]bool // nil = every key
	offset  time.Duration   // of the clock
	windows map[string]*window
	meter   Meter
	calls   []Call
	serial  int
	files   map[string]*file
	batches []*batch
	seen    []Recorded
}

// Recorded is a request as it came, for tests of its shape.
type Recorded struct {
	Header http.Header
	Body   []byte
}

// recorded bounds the requests that are kept, bytes each.
const (
	recorded     = 64
	recordedSize = 64 << 10
)

// New returns a server; it is an http.Handler.
func New(cfg Config) (*Server, error) {
	count, err := token.Load("cl100k_base")
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, count: count, models: cfg.Models, random: rand.New(rand.NewPCG(cfg.Seed, 1)), windows: map[string]*window{}, files: map[string]*file{}}
	if s.models == nil {
		s.models = map[string]Model{
			"text-embedding-3-small": {1536, true, 20},
			"text-embedding-3-large": {3072, true, 130},
			"text-embedding-ada-002": {1536, false, 100},
		}
	}
	if len(cfg.Keys) > 0 {
		s.valid = map[string]bool{}
		for _, k := range cfg.Keys {
			s.valid[k] = true
		}
	}
	s.meter.By = map[string]map[string]Charge{}
	s.meter.Refused = map[int]int{}
	return s, nil
}

// Start serves on an address, 127.0.0.1:0 for a free port, until stop.
func (s *Server) Start(address string) (url string, stop func() error, err error) {
	return fake.Start(s, address)
}

// Now is the server's clock.
func (s *Server) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now()
}

func (s *Server) now() time.Time { return time.Now().Add(s.offset).UTC() }

// Advance puts the clock forward.
func (s *Server) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offset += d
	s.step()
}

// SetKey accepts a key or no longer.
func (s *Server) SetKey(key string, valid bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.valid == nil {
		s.valid = map[string]bool{}
	}
	s.valid[key] = valid
}

// Seen returns the latest requests.
func (s *Server) Seen() []Recorded {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Recorded(nil), s.seen...)
}

// ServeHTTP is the whole server.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v1")
	switch {
	case path == "/embeddings" && r.Method == http.MethodPost:
		s.embeddings(w, r)
	case path == "/files" || strings.HasPrefix(path, "/files/"):
		s.filesAPI(w, r, path)
	case path == "/batches" || strings.HasPrefix(path, "/batches/"):
		s.batchesAPI(w, r, path)
	case path == "/models" && r.Method == http.MethodGet:
		s.list(w, r)
	case path == "/_meter" && r.Method == http.MethodGet:
		fake.Reply(w, http.StatusOK, s.Meter())
	case path == "/_calls" && r.Method == http.MethodGet:
		fake.Reply(w, http.StatusOK, s.Calls())
	case path == "/_faults" && r.Method == http.MethodPost:
		fake.Control(w, r, func(rules []Rule) { s.Script(rules...) })
	case path == "/_faults" && r.Method == http.MethodDelete:
		s.Clear()
	case path == "/_keys" && r.Method == http.MethodPost:
		fake.Control(w, r, func(k struct {
			Key   string `json:"key"`
			Valid bool   `json:"valid"`
		},
		) {
			s.SetKey(k.Key, k.Valid)
		})
	case path == "/_clock" && r.Method == http.MethodPost:
		fake.Control(w, r, func(c struct {
			Advance Duration `json:"advance"`
		},
		) {
			s.Advance(time.Duration(c.Advance))
		})
	default:
		s.refuse(w, problem{Status: 404, Type: "invalid_request_error", Message: "Invalid URL (" + r.Method + " " + r.URL.Path + ")"})
	}
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.meter.Lists++
	s.mu.Unlock()
	if p := s.authorize(r); p != nil {
		s.refuse(w, *p)
		return
	}
	type entry struct {
		ID     string `json:"id"`
		Object string `json:"object"`
	}
	var all struct {
		Object string  `json:"object"`
		Data   []entry `json:"data"`
	}
	all.Object = "list"
	for name := range s.models {
		all.Data = append(all.Data, entry{name, "model"})
	}
	fake.Reply(w, http.StatusOK, all)
}

func key(r *http.Request) string { return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") }

func (s *Server) authorize(r *http.Request) *problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.valid == nil || s.valid[key(r)] {
		return nil
	}
	return &problem{Status: 401, Type: "invalid_request_error", Code: "invalid_api_key", Message: "Incorrect API key provided."}
}

// Duration is a time.Duration that JSON writes as "1.5s".
type Duration = fake.Duration

// readBody reads a request's body, 64 MiB at most.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	return io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<20))
}
