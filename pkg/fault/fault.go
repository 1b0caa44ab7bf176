// Package fault classifies failures by what should happen next.
//
// An error is classified once, where its meaning is known, and keeps its class
// through every wrapping. The zero class is Unavailable: what nobody has
// classified is tried again, because dropping work is the worse mistake.
//
//	class        what the runtime does                           counts as a failure
//	Unavailable  NAK with an exponential delay, then dead letter yes, unless it waits
//	RateLimited  the message waits for the service               no
//	CostLimit    the message waits for money                     no
//	Execution    dead letter at once                             -
//	Validation   dead letter at once                             -
//	Halt         the work waits; unready and loud                no
//
// A failure that is not the message's own says what the message waits for: the
// key of what has to change (Wait). Such a message goes to the waiting room of
// its stage, counts no failure, and goes on when the key opens.
package fault

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Class says what should happen next to the message whose handling failed.
type Class uint8

// The classes. See the package comment for what each one leads to.
const (
	Unavailable Class = iota // a timeout, a 5xx, a refused connection, an open breaker
	RateLimited              // the provider asks to slow down
	CostLimit                // the budget refuses the call, now
	Execution                // this input makes the work fail, every time
	Validation               // this input is not acceptable: empty, corrupt, unsupported
	Halt                     // our own configuration is wrong: a bad key, an unknown model
)

var classNames = [...]string{"unavailable", "rate-limited", "cost-limit", "execution", "validation", "halt"}

// String returns the class as it stands in headers, metric labels and logs.
func (c Class) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return fmt.Sprintf("class-%d", uint8(c))
}

// ParseClass is the inverse of Class.String.
func ParseClass(s string) (Class, error) {
	for i, n := range classNames {
		if n == s {
			return Class(i), nil
		}
	}
	return 0, fmt.Errorf("unknown failure class %q", s)
}

// Permanent reports whether trying the same input again cannot help.
func (c Class) Permanent() bool { return c == Execution || c == Validation }

// Error is a classified failure: what happened, and what an operator can do.
type Error struct {
	Class      Class
	Reason     string        // a stable slug: "encrypted", "scanned", "crash-loop"
	Message    string        // what happened, where, in words
	Hint       string        // the next step for whoever reads it; may be empty
	RetryAfter time.Duration // the earliest useful moment to try again; 0 is unknown
	Wait       Wait          // what has to change before another try can help; empty = only time
	Err        error         // the cause; may be nil
}

// New returns a classified error. The reason is a stable slug, the rest is for people.
func New(c Class, reason, format string, args ...any) *Error {
	return &Error{Class: c, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// Wrap classifies err. It returns nil for a nil err.
func Wrap(err error, c Class, reason, format string, args ...any) *Error {
	if err == nil {
		return nil
	}
	e := New(c, reason, format, args...)
	e.Err = err
	return e
}

// Invalid is New with class Validation, the commonest case in decoders.
func Invalid(reason, format string, args ...any) *Error {
	return New(Validation, reason, format, args...)
}

// WithHint returns a copy of e that names the next step.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// After returns a copy of e that asks not to be tried again before d has passed.
func (e *Error) After(d time.Duration) *Error {
	c := *e
	c.RetryAfter = d
	return &c
}

// WaitFor returns a copy of e that waits for a key. It counts no failure.
func (e *Error) WaitFor(key Wait) *Error {
	c := *e
	c.Wait = key
	return &c
}

// Waits returns the key that the failure waits for. A class that never counts as
// a failure has one even if nobody named it. It is empty for a failure that is
// the message's own.
func (e *Error) Waits() Wait {
	switch {
	case e.Class.Permanent():
		return ""
	case e.Wait != "":
		return e.Wait
	case e.Class == RateLimited:
		return Wait(WaitService)
	case e.Class == CostLimit:
		return Wait(WaitBudget)
	case e.Class == Halt:
		return Wait(WaitConfig)
	}
	return ""
}

// Error returns the message and its cause; the hint is left to whoever prints it.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Of returns the class of err, and Unavailable for what nobody classified.
func Of(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return Unavailable
}

// From returns the outermost classification of err with the whole text of err
// as its message, so that context added by wrapping is not lost. It returns nil
// for a nil err.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if !errors.As(err, &e) {
		reason := "unclassified"
		if errors.Is(err, context.DeadlineExceeded) {
			reason = "timeout"
		}
		return &Error{Class: Unavailable, Reason: reason, Message: err.Error()}
	}
	c := *e
	c.Message, c.Err = err.Error(), nil
	return &c
}
