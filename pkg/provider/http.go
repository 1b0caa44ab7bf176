package provider

import (
	"errors"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

// RetryAfter reads the three ways of saying when to come again: milliseconds,
// seconds, a date. It returns 0 for none, and at most ten minutes: what is longer
// is a mistake, or can be asked again.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	const most = 10 * time.Minute
	bound := func(d time.Duration) time.Duration { return max(0, min(d, most)) }
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil && ms >= 0 && ms < 1e12 {
		return bound(time.Duration(ms * float64(time.Millisecond)))
	}
	v := h.Get("Retry-After")
	if s, err := strconv.ParseFloat(v, 64); err == nil && s >= 0 && s < 1e9 {
		return bound(time.Duration(s * float64(time.Second)))
	}
	if t, err := http.ParseTime(v); err == nil {
		return bound(t.Sub(now))
	}
	return 0
}

// NeverSent tells whether a request failed before a connection came about: only
// then is it certain that the service has done nothing.
func NeverSent(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	return errors.As(err, &dns) || (errors.As(err, &op) && op.Op == "dial") || errors.Is(err, syscall.ECONNREFUSED)
}
