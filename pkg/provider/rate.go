package provider

import "time"

// RateInfo is what an answer of a service says of its rate limits. A service
// may say nothing at any time: all of it is hints.
type RateInfo struct {
	Status     int           // HTTP status of the answer
	RetryAfter time.Duration // 0 = not said
	Requests   Quota
	Tokens     Quota
}

// Quota is one window of a rate limit. Known is false if the answer is silent
// about it.
type Quota struct {
	Known     bool
	Limit     int
	Remaining int
	Reset     time.Duration // until it is full again
}
