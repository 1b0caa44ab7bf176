package openai

import (
	"maps"
	"net/http"
	"time"
)

// Meter is what the server has charged. It is the truth of a test: whatever a
// ledger says, this is the bill.
type Meter struct {
	Charge                                // of everything
	Attempts int                          `json:"attempts"` // requests that came, charged or not
	Lists    int                          `json:"lists"`    // requests of the list of models, which are free
	Refused  map[int]int                  `json:"refused"`  // status -> answers that cost nothing
	Lost     int                          `json:"lost"`     // charged, and never answered
	Cut      int                          `json:"cut"`      // cut off before the work, uncharged
	Batched  Charge                       `json:"batched"`  // the part of Charge that batches made
	By       map[string]map[string]Charge `json:"by"`       // key -> UTC hour "2026-11-24T13" -> charge
}

// Charge is an amount.
type Charge struct {
	Calls  int   `json:"calls"`
	Inputs int   `json:"inputs"`
	Tokens int   `json:"tokens"`
	Nano   int64 `json:"nano"`
}

func (c *Charge) add(o Charge) {
	c.Calls, c.Inputs, c.Tokens, c.Nano = c.Calls+o.Calls, c.Inputs+o.Inputs, c.Tokens+o.Tokens, c.Nano+o.Nano
}

// Call is one charge, with the names that both sides have for it.
type Call struct {
	Request string    `json:"request"`          // X-Request-Id of the answer
	Client  string    `json:"client,omitempty"` // X-Client-Request-Id of the request
	Key     string    `json:"key"`
	Time    time.Time `json:"time"`
	Charge
}

// maxCalls bounds the calls that are kept.
const maxCalls = 10_000

// Calls returns the latest charges, the oldest first.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.step()
	return append([]Call(nil), s.calls...)
}

// HourFormat is the format of the hours in Meter.By.
const HourFormat = "2006-01-02T15"

// Meter returns a copy of the meter.
func (s *Server) Meter() Meter {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.step()
	m := s.meter
	m.Refused = maps.Clone(m.Refused)
	m.By = make(map[string]map[string]Charge, len(s.meter.By))
	for k, hours := range s.meter.By {
		m.By[k] = maps.Clone(hours)
	}
	return m
}

// charge books a call at its time. Callers hold mu.
func (s *Server) charge(c Call) {
	if len(s.calls) == maxCalls {
		s.calls = s.calls[1:]
	}
	s.calls = append(s.calls, c)
	s.meter.add(c.Charge)
	hours := s.meter.By[c.Key]
	if hours == nil {
		hours = map[string]Charge{}
		s.meter.By[c.Key] = hours
	}
	hour := c.Time.Format(HourFormat)
	h := hours[hour]
	h.add(c.Charge)
	hours[hour] = h
}

// bill charges a request for what it was asked.
func (s *Server) bill(w http.ResponseWriter, r *http.Request, c Charge) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.charge(Call{
		Request: w.Header().Get("X-Request-Id"), Client: r.Header.Get("X-Client-Request-Id"),
		Key: key(r), Time: s.now(), Charge: c,
	})
}

// window is a key's minute.
type window struct {
	start            time.Time
	requests, tokens int
}

const minute = time.Minute

// admit takes a call out of the key's minute, and says what is left of it.
func (s *Server) admit(key string, tokens int) (ok bool, dimension string, w window) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	win := s.windows[key]
	if win == nil || now.Sub(win.start) >= minute {
		win = &window{start: now}
		s.windows[key] = win
	}
	switch {
	case s.cfg.Requests > 0 && win.requests+1 > s.cfg.Requests:
		return false, "requests", *win
	case s.cfg.Tokens > 0 && win.tokens+tokens > s.cfg.Tokens:
		return false, "tokens", *win
	}
	win.requests++
	win.tokens += tokens
	return true, "", *win
}
