package stage

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// record is the entry of one troubled message in the KV bucket "retries".
// Messages without trouble have none.
type record struct {
	Failures  int    `json:"failures"`
	Explained uint64 `json:"explained"` // the last delivery that we ended ourselves
	Starts    int    `json:"starts"`    // unexplained redeliveries that were begun and not ended
}

// origin names a message for good: no stream repeats a sequence.
func (r *runner) origin(m *Message) string {
	return r.stage.In.Stream + "/" + strconv.FormatUint(m.Seq, 10)
}

func (r *runner) key(m *Message) string {
	return r.stage.Name + "." + r.stage.In.Stream + "." + strconv.FormatUint(m.Seq, 10)
}

// examine looks up the past of redelivered messages. Most have none: they
// were in hand when a process ended, once. Such a message is noted before it is
// begun again. One that was begun and not ended before is a suspect, to be
// handled alone, and after MaxCrashes it is not begun at all.
func (r *runner) examine(batch []*Message) (ready, suspects []*Message) {
	for _, m := range batch {
		if m.delivered <= 1 || m.record != nil {
			ready = append(ready, m)
			continue
		}
		rec, err := r.lookUp(m)
		if err != nil {
			m.Log().Warn().Err(err).Msg("cannot look up earlier failures; the message goes back")
			r.release(m)
			continue
		}
		m.record, m.Attempt = rec, rec.Failures
		if m.delivered <= rec.Explained+1 {
			ready = append(ready, m)
			continue
		}
		// The first death was not noted: a message with no past costs nothing.
		if rec.Starts+1 >= r.env.Settings.MaxCrashes {
			r.bury(m, fault.New(fault.Execution, "crash-loop",
				"the process died %d times while it had this message in hand", rec.Starts+1).
				WithHint("look at the %s's last log lines and memory limit, then replay", r.stage.Name))
			continue
		}
		if rec.Starts > 0 {
			suspects = append(suspects, m) // noted when its turn comes, or it would be blamed for another
		} else if r.begin(m) {
			ready = append(ready, m)
		}
	}
	return ready, suspects
}

// begin notes that a redelivered message is about to be handled.
func (r *runner) begin(m *Message) bool {
	m.record.Starts++
	if err := r.note(m); err != nil {
		m.Log().Warn().Err(err).Msg("cannot note the attempt; the message goes back")
		m.record.Starts--
		r.release(m)
		return false
	}
	return true
}

func (r *runner) lookUp(m *Message) (*record, error) {
	e, err := r.retries.Get(r.working, r.key(m))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return &record{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s of the bucket %s: %w", r.key(m), events.BucketRetries, err)
	}
	rec := &record{}
	if err := json.Unmarshal(e.Value(), rec); err != nil {
		// Somebody else's bytes: start counting afresh rather than stop.
		m.Log().Warn().Err(err).Str("key", r.key(m)).Msg("an unreadable entry in the bucket retries is ignored")
		return &record{}, nil
	}
	return rec, nil
}

func (r *runner) note(m *Message) error {
	_, err := r.retries.Put(r.working, r.key(m), events.Encode(m.record))
	return err
}

// forget removes the record of a message that has come to its end.
func (r *runner) forget(m *Message) {
	if m.record == nil || *m.record == (record{}) {
		return
	}
	if err := r.retries.Delete(r.working, r.key(m)); err != nil {
		m.Log().Debug().Err(err).Msg("removing the retry record; its expiry will")
	}
	m.record = nil
}

// delay returns the wait before retry n (from 1): exponential, with jitter.
func (r *runner) delay(n int) time.Duration {
	s := r.env.Settings
	b := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(s.RetryDelay), backoff.WithMultiplier(2),
		backoff.WithMaxInterval(s.RetryCap), backoff.WithRandomizationFactor(0.3),
		backoff.WithMaxElapsedTime(0))
	d := b.NextBackOff()
	for range min(n, 40) - 1 {
		d = b.NextBackOff()
	}
	return d
}

// retry counts a failure and sends the message back for later, or buries it
// when its retries are used up.
func (r *runner) retry(m *Message, f *fault.Error) {
	rec := m.record
	if rec == nil {
		rec = &record{}
		m.record = rec
	}
	rec.Failures++
	if rec.Failures > r.env.Settings.MaxRetries {
		m.Attempt = rec.Failures
		r.bury(m, f)
		return
	}
	rec.Starts, rec.Explained = 0, m.delivered
	if err := r.note(m); err != nil {
		// The count is short by one, which means one retry more: the safe side.
		m.Log().Warn().Err(err).Msg("the failure could not be counted")
	}
	d := max(f.RetryAfter, r.delay(rec.Failures))
	m.Log().Warn().Str("class", f.Class.String()).Str("reason", f.Reason).Int("attempt", rec.Failures).
		Dur("again_in", d).Msg(f.Message)
	r.tell(m, events.Retried, f, rec.Failures)
	r.nak(m, d)
	r.retried.Inc()
}

// park sets a message aside without counting a failure.
func (r *runner) park(m *Message, f *fault.Error) {
	if m.record == nil {
		m.record = &record{}
	}
	m.record.Starts, m.record.Explained = 0, m.delivered
	if err := r.note(m); err != nil {
		m.Log().Debug().Err(err).Msg("noting a parked message")
	}
	r.tell(m, events.Held, f, 0)
	r.nak(m, max(f.RetryAfter, r.delay(1)))
}

// hold keeps a message in hand and says so once.
func (r *runner) hold(m *Message, f *fault.Error) {
	if m.held {
		return
	}
	m.held = true
	r.held.Inc()
	level := m.Log().Info()
	if f.Class == fault.Halt {
		level = m.Log().Error()
	}
	level.Str("class", f.Class.String()).Str("reason", f.Reason).Str("hint", f.Hint).Msg("held: " + f.Message)
	r.tell(m, events.Held, f, 0)
}

// release sends a message back because this process will not finish it.
func (r *runner) release(m *Message) {
	if rec := m.record; rec != nil && rec.Starts > 0 {
		rec.Starts, rec.Explained = rec.Starts-1, m.delivered
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.working), 2*time.Second)
		if _, err := r.retries.Put(ctx, r.key(m), events.Encode(rec)); err != nil {
			m.Log().Debug().Err(err).Msg("noting a released message")
		}
		cancel()
	}
	// A plain NAK would come straight back to this process's open pull.
	r.nak(m, r.jitter(time.Second))
	r.released.Inc()
}

func (r *runner) nak(m *Message, d time.Duration) {
	if err := m.delivery().NakWithDelay(d); err != nil {
		m.Log().Debug().Err(err).Msg("returning the message; it will come again after ack-wait")
	}
	r.drop(m)
}

// releaseQueued sends back what was pulled and not begun.
func (r *runner) releaseQueued() {
	r.gathering.Lock()
	defer r.gathering.Unlock()
	if m := r.next; m != nil {
		r.next = nil
		r.release(m)
	}
	for {
		select {
		case m := <-r.queue:
			r.release(m)
		default:
			return
		}
	}
}

func (r *runner) failure(m *Message, f *fault.Error, attempts int) *events.Failure {
	return &events.Failure{
		Stage: r.stage.Name, Class: f.Class.String(), Reason: f.Reason, Message: f.Message,
		Hint: f.Hint, Attempts: attempts, Origin: r.origin(m),
	}
}

// tell publishes one of the runtime's own events. Nothing waits for it.
func (r *runner) tell(m *Message, what events.What, f *fault.Error, attempts int) {
	msg := m.event(events.Event{What: what, Failure: r.failure(m, f, attempts)}, "")
	if msg == nil {
		return
	}
	if _, err := r.publish(msg); err != nil {
		m.Log().Debug().Err(err).Str("what", string(what)).Msg("telling an event")
	}
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

// bury moves a message to the dead letters, whole, and only then ends it.
func (r *runner) bury(m *Message, f *fault.Error) {
	attempts := max(m.Attempt, 1)
	dead := nats.NewMsg(events.SubjectDeadPrefix + r.stage.Name)
	for k, v := range m.Header {
		// JetStream's own headers would act on the dead letter itself.
		if !strings.HasPrefix(k, "Nats-") {
			dead.Header[k] = v
		}
	}
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
		events.HeaderFailureAttempts: strconv.Itoa(attempts),
		events.HeaderFailureStage:    r.stage.Name,
		events.HeaderFailureTime:     time.Now().UTC().Format(time.RFC3339Nano),
		events.HeaderOriginStream:    r.stage.In.Stream,
		events.HeaderOriginSeq:       strconv.FormatUint(m.Seq, 10),
		events.HeaderOriginSubject:   m.Subject,
		events.HeaderMsgID:           r.stage.In.Stream + ":" + r.stage.Name + ":" + strconv.FormatUint(m.Seq, 10),
	} {
		dead.Header.Set(k, v)
	}
	trim(dead.Header, m.Header)
	if m.blob == "" { // a claim-checked body stays where it is
		dead.Data = m.Data
	}
	m.Log().Error().Str("class", f.Class.String()).Str("reason", f.Reason).Int("attempts", attempts).
		Str("hint", f.Hint).Msg("dead letter: " + f.Message)
	m.pending = nil
	r.send(m, dead)
	if e := m.event(events.Event{What: events.Failed, Failure: r.failure(m, f, attempts)}, r.origin(m)); e != nil {
		r.send(m, e)
	}
	if err := r.flush(m); err != nil {
		m.Log().Error().Err(err).Msg("the dead letter is not stored; the message goes back")
		r.release(m)
		return
	}
	r.forget(m)
	if err := m.delivery().TermWithReason(events.CleanHeader(f.Reason, 64)); err != nil {
		m.Log().Debug().Err(err).Msg("ending the message; it will come again")
	}
	r.dead.Inc()
	r.drop(m)
}
