package stage

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// condemn has a message end as a dead letter: what it says now is the letter,
// whole, and the event. It is ended only when both are stored.
func (w *worker) condemn(m *Message, f *fault.Error) {
	m.Attempt = max(m.Attempt, 1)
	m.Log().Error().Str("class", f.Class.String()).Str("reason", f.Reason).Int("attempts", m.Attempt).
		Str("hint", f.Hint).Msg("dead letter: " + f.Message)
	m.dead, m.made, m.after = f, true, nil
	m.out = []*nats.Msg{w.letter(m, f)}
	if e := m.event(events.Event{What: events.Failed, Failure: w.failure(m, f)}, w.origin(m)); e != nil {
		m.out = append(m.out, e)
	}
}

// letter returns the dead letter of a message.
func (w *worker) letter(m *Message, f *fault.Error) *nats.Msg {
	dead := nats.NewMsg(events.SubjectDeadPrefix + w.stage.Name)
	m.copyHeader(dead.Header)
	if m.CorrelationID != "" {
		dead.Header.Set(events.HeaderCorrelationID, m.CorrelationID)
	}
	if m.Document != "" {
		dead.Header.Set(events.HeaderDocumentID, m.Document)
		dead.Header.Set(events.HeaderRevision, m.Revision.String())
	}
	for k, v := range map[string]string{
		events.HeaderFailureClass:    f.Class.String(),
		events.HeaderFailureReason:   f.Reason,
		events.HeaderFailureMessage:  events.CleanHeader(f.Message, 2048),
		events.HeaderFailureHint:     events.CleanHeader(f.Hint, 512),
		events.HeaderFailureAttempts: strconv.Itoa(m.Attempt),
		events.HeaderFailureStage:    w.stage.Name,
		events.HeaderFailureTime:     time.Now().UTC().Format(time.RFC3339Nano),
		events.HeaderOriginStream:    w.stage.In.Stream,
		events.HeaderOriginSeq:       strconv.FormatUint(m.Seq, 10),
		events.HeaderOriginSubject:   m.Subject,
		events.HeaderMsgID:           w.stage.Name + ":" + w.once(m),
	} {
		dead.Header.Set(k, v)
	}
	trim(dead.Header, m.Header)
	if m.blob == "" { // a claim-checked body stays where it is
		dead.Data = m.Data
	}
	return dead
}

// maxDeadHeader bounds the headers of a dead letter, in bytes. The server
// refuses more than 64 KiB, and a replay adds some of its own.
const maxDeadHeader = 48 << 10

// trim takes the largest of the submitter's headers away from a dead letter
// until the server can store it, and names them in HeaderFailureTrimmed. What
// Sluice reads is far below the limit: only headers that no stage reads, or
// for which the message was refused, can be that large.
func trim(dead, submitted nats.Header) {
	size := func(k string) int {
		n := 0
		for _, v := range dead[k] {
			n += len(k) + len(v) + len(": \r\n")
		}
		return n
	}
	total := 0
	for k := range dead {
		total += size(k)
	}
	if total <= maxDeadHeader {
		return
	}
	keys := slices.SortedFunc(maps.Keys(submitted), func(a, b string) int {
		return cmp.Or(cmp.Compare(size(b), size(a)), strings.Compare(a, b))
	})
	trimmed := make([]string, 0, len(keys))
	for _, k := range keys {
		if total <= maxDeadHeader {
			break
		}
		if n := size(k); n > 0 && !strings.HasPrefix(k, "Failure-") {
			total -= n
			delete(dead, k)
			trimmed = append(trimmed, k)
		}
	}
	dead.Set(events.HeaderFailureTrimmed, events.CleanHeader(strings.Join(trimmed, " "), 1024))
}
