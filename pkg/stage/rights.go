package stage

import (
	"errors"
	"regexp"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// ReasonRights is the reason of a Halt fault: the NATS user of this process
// lacks a right.
const ReasonRights = "nats-rights"

// maxRefusals bounds the subjects that are remembered: submitters choose some.
const maxRefusals = 256

// hearRefusals surfaces what the server tells of a connection besides answers.
// A right that the pipeline needs halts the stages of this process: the work is
// kept, the process is unready, and each subject is logged once. What is refused
// to a subject that a submitter chose only gets a warning, or submitters could
// halt us. A new connection starts afresh: rights may have been given.
func (e *Env) hearRefusals() {
	var mu sync.Mutex
	seen := map[string]bool{}
	e.Conn.SetErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
		if !errors.Is(err, nats.ErrPermissionViolation) {
			l := e.Log.Warn().Err(err)
			if sub != nil {
				l = l.Str("subject", sub.Subject)
			}
			l.Msg("NATS")
			return
		}
		subject, ours := refused(err.Error())
		mu.Lock()
		known := seen[subject] || len(seen) >= maxRefusals
		if !known {
			seen[subject] = true
		}
		mu.Unlock()
		f := fault.Wrap(err, fault.Halt, ReasonRights, "the NATS user of this process lacks a right").
			WithHint("configure the server with 'sluice apply --print-nats-auth', and give this process the user that is meant for it")
		if strings.HasPrefix(subject, "_INBOX") {
			f = f.WithHint("set --nats-inbox-prefix (NATS_INBOX_PREFIX) to the user's own: _INBOX_parser for the user parser")
		}
		if ours {
			e.refuse(f.Error())
		}
		if known {
			return
		}
		level := e.Log.Warn()
		if ours {
			level = e.Log.Error()
		}
		level.Str("class", f.Class.String()).Str("reason", f.Reason).Str("subject", events.CleanHeader(subject, 256)).Str("hint", f.Hint).Msg(f.Message + ": " + err.Error())
	})
	e.Conn.SetReconnectHandler(func(*nats.Conn) {
		mu.Lock()
		clear(seen)
		mu.Unlock()
		e.refuse("")
	})
}

// refuse shows on every stage of the process what NATS does not let it do.
func (e *Env) refuse(why string) {
	e.Health.mu.Lock()
	defer e.Health.mu.Unlock()
	e.Health.refused = why
}

var violation = regexp.MustCompile(`(?i)permissions violation for (publish|subscription) to "([^"]*)"`)

// refused reads the server's words: the subject, and whether the pipeline needs
// it. Submitters cannot choose those of the pipeline for an answer.
func refused(text string) (subject string, ours bool) {
	m := violation.FindStringSubmatch(text)
	if m == nil {
		return text, true
	}
	return m[2], strings.EqualFold(m[1], "subscription") || events.SafeReply(m[2]) == ""
}
