package events

import "time"

// Outcome says what is known about the cost of a paid attempt.
type Outcome string

// The outcomes.
const (
	OutcomeCharged  Outcome = "charged"  // the service answered; Nano is its price
	OutcomeUnbilled Outcome = "unbilled" // refused or never reached: Nano is 0
	OutcomeUnknown  Outcome = "unknown"  // no answer: Nano is the estimate, counted as spent
	OutcomeReused   Outcome = "reused"   // from a cache: Nano is 0, Saved is what it would have cost
)

// Usage is one paid attempt, or one that a cache spared. Subject
// cost.usage.<service>.<operation>; ID is the Nats-Msg-Id.
type Usage struct {
	V             int       `json:"v"`
	ID            string    `json:"id"`        // of the attempt; sent as X-Client-Request-Id where the service takes one
	Service       string    `json:"service"`   // "openai"
	Operation     string    `json:"operation"` // "embed", "parse"
	Model         string    `json:"model"`     // or the parser's version
	Stage         string    `json:"stage"`
	Tenant        string    `json:"tenant"`
	Outcome       Outcome   `json:"outcome"`
	Class         string    `json:"class,omitempty"`  // of the failure
	Reason        string    `json:"reason,omitempty"` // of the failure
	Inputs        int       `json:"inputs,omitempty"`
	Tokens        int       `json:"tokens,omitempty"`
	Pages         int       `json:"pages,omitempty"`
	Nano          int64     `json:"nano"`            // booked, nano-dollars
	Estimate      int64     `json:"estimate"`        // reserved before, nano-dollars
	Saved         int64     `json:"saved,omitempty"` // nano-dollars
	Priced        string    `json:"priced,omitempty"`
	Time          time.Time `json:"time"` // admitted: decides the window
	Seconds       float64   `json:"seconds"`
	CorrelationID string    `json:"correlation_id"` // of the first share
	Shares        []Share   `json:"shares,omitempty"`
}

// Share is a document's part of an attempt.
type Share struct {
	Document      string `json:"document"`
	CorrelationID string `json:"correlation_id"`
	Tokens        int    `json:"tokens,omitempty"`
	Pages         int    `json:"pages,omitempty"`
	Nano          int64  `json:"nano"` // the shares add up to the attempt's
}

// UsageSubject returns the subject of a usage event.
func UsageSubject(service, operation string) string {
	return SubjectUsagePrefix + service + "." + operation
}

func (u *Usage) check() error {
	if err := checkVersion(u.V); err != nil {
		return err
	}
	switch {
	case u.ID == "" || u.Service == "" || u.Operation == "" || u.Tenant == "":
		return malformed("a usage event needs id, service, operation and tenant")
	case u.Nano < 0 || u.Estimate < 0 || u.Saved < 0 || u.Tokens < 0 || u.Pages < 0 || u.Inputs < 0:
		return malformed("a usage event has a negative amount")
	case u.Time.IsZero():
		return malformed("a usage event has no time")
	}
	switch u.Outcome {
	case OutcomeCharged, OutcomeUnbilled, OutcomeUnknown, OutcomeReused:
	default:
		return malformed("field outcome is %q", CleanHeader(string(u.Outcome), 64))
	}
	var sum int64
	for _, s := range u.Shares {
		if err := checkID("shares.document", s.Document); err != nil {
			return err
		}
		if s.Nano < 0 || sum > u.Nano-s.Nano {
			return malformed("the shares of a usage event are more than its cost")
		}
		sum += s.Nano
	}
	return nil
}
