package llamaparse

import (
	"bytes"
	"cmp"
	"net/http"

	"sluice/pkg/fake"
)

// Rule says which requests or jobs go wrong, and how. The first that matches is
// applied. Zero conditions match everything.
type Rule struct {
	// Conditions.
	On       string `json:"on,omitempty"` // "create", "files", "get", "list", "cancel", "delete"; "" = any but versions
	Nth      int    `json:"nth,omitempty"`
	Every    int    `json:"every,omitempty"`
	Times    int    `json:"times,omitempty"`
	Key      string `json:"key,omitempty"`
	Contains string `json:"contains,omitempty"` // in the body of a create

	// Effects on the request.
	Delay     Duration          `json:"delay,omitempty"`
	Header    map[string]string `json:"header,omitempty"`
	Status    int               `json:"status,omitempty"`
	Message   string            `json:"message,omitempty"`
	Body      string            `json:"body,omitempty"`
	Effective bool              `json:"effective,omitempty"` // a create takes effect, and answers Status
	Fault     Fault             `json:"fault,omitempty"`

	// Effects on the job that a create starts.
	FailPages []int    `json:"fail_pages,omitempty"`
	FailJob   string   `json:"fail_job,omitempty"` // its error_message
	Work      Duration `json:"work,omitempty"`
	Free      bool     `json:"free,omitempty"`     // a failed job that is not billed
	NoUsage   bool     `json:"no_usage,omitempty"` // usage is never known

	matched, applied int
}

// Fault is a way for an answer to go wrong.
type Fault string

// The faults.
const (
	Refuse  Fault = "refuse"  // the connection is cut before the work
	Lose    Fault = "lose"    // the work is done, and the connection cut
	Cut     Fault = "cut"     // half of the answer
	Garbage Fault = "garbage" // status 200 with something else than JSON
)

// Duration is a time.Duration that JSON writes as "1.5s".
type Duration = fake.Duration

func (r Rule) message() string {
	text := map[int]string{
		http.StatusPaymentRequired: "You've exceeded the maximum number of credits for your plan.",
		http.StatusTooManyRequests: "Rate limit exceeded",
	}[r.Status]
	return cmp.Or(r.Message, text, http.StatusText(r.Status))
}

// Script adds rules.
func (s *Server) Script(rules ...Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range rules {
		s.rules = append(s.rules, &r)
	}
}

// Clear forgets all rules.
func (s *Server) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = nil
}

// apply returns what is to go wrong. Callers hold mu.
func (s *Server) apply(kind, key string, body []byte) Rule {
	for _, r := range s.rules {
		if (r.On != "" && r.On != kind) || (r.On == "" && kind == "versions") || (r.Key != "" && r.Key != key) ||
			(r.Times > 0 && r.applied >= r.Times) || (r.Contains != "" && !bytes.Contains(body, []byte(r.Contains))) {
			continue
		}
		r.matched++
		if (r.Nth == 0 || r.matched == r.Nth) && (r.Every == 0 || r.matched%r.Every == 0) {
			r.applied++
			return *r
		}
	}
	return Rule{}
}
