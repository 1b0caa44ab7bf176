package openai

import (
	"strings"
	"time"
)

// Rule says which calls go wrong, and how. Of the rules that match a call the
// first one is applied; Delay and Header of the others add up. Zero conditions
// match every call.
type Rule struct {
	// Conditions.
	Nth         int     `json:"nth,omitempty"`         // only this one of the calls that match the rest, from 1
	Every       int     `json:"every,omitempty"`       // each n-th of them
	Probability float64 `json:"probability,omitempty"` // of those that match the rest; 0 = 1
	Times       int     `json:"times,omitempty"`       // applied so often at most; 0 = always
	Key         string  `json:"key,omitempty"`
	Model       string  `json:"model,omitempty"`
	Contains    string  `json:"contains,omitempty"` // in one of the inputs
	Over        int     `json:"over,omitempty"`     // more inputs than that

	// Effects.
	Delay       Duration          `json:"delay,omitempty"`
	Header      map[string]string `json:"header,omitempty"`
	Status      int               `json:"status,omitempty"` // answered instead, uncharged unless Charge says so
	Type        string            `json:"type,omitempty"`
	Code        string            `json:"code,omitempty"`
	Message     string            `json:"message,omitempty"`
	Body        string            `json:"body,omitempty"`         // of the answer, as it is
	ContentType string            `json:"content_type,omitempty"` // of Body
	Charge      bool              `json:"charge,omitempty"`       // Status is answered after the charge
	Fault       Fault             `json:"fault,omitempty"`

	matched, applied int
}

// Fault is a way for an answer to go wrong on the network or in its content.
type Fault string

// The faults.
const (
	Refuse         Fault = "refuse"          // the connection is cut before the work, uncharged
	Lose           Fault = "lose"            // the connection is cut after the charge, without an answer
	Cut            Fault = "cut"             // half the answer, then the connection is cut
	Stall          Fault = "stall"           // charged; nothing is answered until the client goes
	StallBody      Fault = "stall-body"      // half the answer, then nothing until the client goes
	Shuffle        Fault = "shuffle"         // data in reverse order, indexes right
	DuplicateIndex Fault = "duplicate-index" // the last one has the index of the first
	MissingIndex   Fault = "missing-index"   // the last one is not there
	WrongWidth     Fault = "wrong-width"     // vectors of one number less
	NaN            Fault = "nan"             // a number that is none
	Zero           Fault = "zero"            // vectors of zeros
	NoUsage        Fault = "no-usage"        // without "usage"
	ZeroUsage      Fault = "zero-usage"      // usage of 0 tokens
	Floats         Fault = "floats"          // numbers, whatever was asked for
	Text           Fault = "text"            // text/plain with status 200
	BadBase64      Fault = "bad-base64"
)

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

// apply returns what is to go wrong with a call.
func (s *Server) apply(key, model string, inputs []string) (effect Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.match(key, model, inputs)
}

// match is apply for who holds mu. Of a batch's requests Status, Charge and the
// faults of content count.
func (s *Server) match(key, model string, inputs []string) (effect Rule) {
	effect.Header = map[string]string{}
	decided := false
	for _, r := range s.rules {
		if !s.matches(r, key, model, inputs) {
			continue
		}
		changes := r.Status != 0 || r.Fault != ""
		if changes && decided {
			continue
		}
		r.applied++
		delay, header := effect.Delay+r.Delay, effect.Header
		if changes {
			decided, effect = true, *r
		}
		effect.Delay, effect.Header = delay, header
		for k, v := range r.Header {
			header[k] = v
		}
	}
	effect.Delay += Duration(s.cfg.Latency)
	return effect
}

func (s *Server) matches(r *Rule, key, model string, inputs []string) bool {
	if (r.Key != "" && r.Key != key) || (r.Model != "" && r.Model != model) || (r.Over > 0 && len(inputs) <= r.Over) || (r.Times > 0 && r.applied >= r.Times) {
		return false
	}
	if r.Contains != "" {
		found := false
		for _, in := range inputs {
			found = found || strings.Contains(in, r.Contains)
		}
		if !found {
			return false
		}
	}
	if r.Probability > 0 && s.random.Float64() >= r.Probability {
		return false
	}
	r.matched++
	return (r.Nth == 0 || r.matched == r.Nth) && (r.Every == 0 || r.matched%r.Every == 0)
}

// rateLimited is OpenAI's 429, as it is worded.
func rateLimited(model, dimension string, limit, used, requested int, wait time.Duration) problem {
	names := map[string]string{"tokens": "tokens per min (TPM)", "requests": "requests per min (RPM)"}
	return problem{
		Status: 429, Type: dimension, Code: "rate_limit_exceeded",
		Message: "Rate limit reached for " + model + " in organization org-fake on " + names[dimension] + ": Limit " + itoa(limit) +
			", Used " + itoa(used) + ", Requested " + itoa(requested) + ". Please try again in " + wait.Round(time.Millisecond).String() + ".",
	}
}
