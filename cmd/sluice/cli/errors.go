package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sluice/pkg/fault"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError is a mistake in how the command was called: exit code 2.
type usageError struct{ fault *fault.Error }

func (e usageError) Error() string { return e.fault.Error() }
func (e usageError) Unwrap() error { return e.fault }

func usagef(hint, format string, args ...any) error {
	e := fault.New(fault.Validation, "usage", format, args...)
	e.Hint = hint
	return usageError{e}
}

// failf is a failure with the next step.
func failf(reason, hint, format string, args ...any) error {
	e := fault.New(fault.Execution, reason, format, args...)
	e.Hint = hint
	return e
}

// report prints err to Err, as text or JSON, and returns the exit code.
func report(o *output, err error) int {
	if err == nil {
		return exitOK
	}
	code := exitFailed
	var usage usageError
	if errors.As(err, &usage) {
		code = exitUsage
	}
	f := fault.From(err)
	if errors.Is(err, context.Canceled) && f.Reason == "unclassified" {
		f.Message, f.Reason = "interrupted", "interrupted"
	}
	if o.json {
		body := struct {
			Error  string `json:"error"`
			Reason string `json:"reason,omitempty"`
			Hint   string `json:"hint,omitempty"`
		}{f.Message, f.Reason, f.Hint}
		e := *o
		e.Out = o.Err
		_ = e.line(body) // nobody is left to tell
		return code
	}
	text := "sluice: " + oneLine(f.Message)
	if f.Hint != "" {
		text += "; hint: " + oneLine(f.Hint)
	}
	_, _ = fmt.Fprintln(o.Err, text)
	return code
}

func oneLine(s string) string { return strings.Join(strings.Fields(safe(s)), " ") }
