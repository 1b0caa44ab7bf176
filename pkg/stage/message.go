package stage

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"

	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// Message is one message in hand. Its fields are for reading, except those
// that Identify sets, and Revision where a parser raises it.
type Message struct {
	Subject string
	Header  nats.Header
	Data    []byte // the body; a claim-checked one is already fetched
	Seq     uint64 // in the stream
	Time    time.Time
	Attempt int // failures so far
	Value   any // the stage's own: what Batch.Weigh has found out, for instance

	CorrelationID string
	Document      string
	Revision      events.Revision
	Sequence      uint64 // of the submission in DOCUMENTS, if this is one; events tell it
	Tenant        string
	Name          string

	*shared
	source    source
	err       error
	again     bool        // not finished: it goes on with the next batch
	out       []*nats.Msg // what it has to say; after flush, what is not stored of it
	pending   []published
	began     time.Time  // the latest call of the function
	mu        sync.Mutex // guards raw and touched
	raw       jetstream.Msg
	touched   time.Time
	delivered uint64
	weight    int
	blob      string       // the object that holds the body, if it did not fit
	parked    string       // the object that holds the body while the message is in HELD
	missing   *fault.Error // that object is gone
	stuck     bool         // HELD does not take the message
	after     []func(context.Context) error
	reply     string
	span      trace.Span // of this attempt; nil if not traced

	// Of package past.go: what the KV bucket "retries" says, nil if it was not
	// asked; whether there may be an entry; whether it is marked as begun.
	record *record
	kept   bool
	marked bool
	// Of work.go: the function is done with it, and what it has to say is in out;
	// why it ends as a dead letter.
	made bool
	dead *fault.Error
	// Of the waiting room: whether it waits; the place that it was let out of to
	// try; the key that its story says it waits for.
	resting bool // guarded by the hand
	place   *place
	epoch   int
	told    fault.Wait
	emitted []string // by EmitNow
}

// Log returns a logger that names the stage, the document and the correlation ID.
func (m *Message) Log() *zerolog.Logger {
	l := m.log.With().Str("correlation_id", m.CorrelationID).Str("document", m.Document).
		Uint64("revision", uint64(m.Revision)).Logger()
	return &l
}

// Publish sends a body when the handler has returned nil. The key tells apart
// what one document revision sends of one event type: a chunk's ID, or "" if
// there is only one. Together they make the message ID, so a repeat is
// recognised as one.
func (m *Message) Publish(subject, eventType, key string, body []byte) {
	msg := nats.NewMsg(subject)
	m.stamp(msg.Header)
	msg.Header.Set(events.HeaderEventType, eventType)
	msg.Header.Set(events.HeaderMsgID, eventType+":"+m.Document+":"+m.Revision.String()+":"+key)
	msg.Data = body
	m.out = append(m.out, msg)
}

// Emit tells the document's story. The event goes out with what the handler
// publishes; Failed, Held and Retried are told by the runtime itself. The key
// tells apart several events of one kind.
func (m *Message) Emit(e events.Event, key string) {
	if msg := m.event(e, key); msg != nil {
		m.out = append(m.out, msg)
	}
}

// Step is what the function has done so far, for a story that is told later.
func (m *Message) Step(what events.What) events.Step {
	return events.Step{What: what, Stage: m.stage.Name, Time: time.Now().UTC(), Seconds: time.Since(m.began).Seconds()}
}

// EmitNow is Emit for what should be seen while the handler still works. It is
// told once, however often the message is tried.
func (m *Message) EmitNow(e events.Event, key string) {
	once := string(e.What) + ":" + key
	if slices.Contains(m.emitted, once) {
		return
	}
	if msg := m.event(e, key); msg != nil {
		m.emitted = append(m.emitted, once)
		m.box.send(m, msg)
	}
}

// First tells whether this is the first time that the message was delivered to
// anybody. First deliveries come in the order of the stream.
func (m *Message) First() bool { return m.delivered == 1 && m.source.stream == m.stage.In.Stream }

// Fail marks the message of a batch as failed. See package fault for what follows.
func (m *Message) Fail(err error) { m.err = err }

// Again has the message of a batch go back to the front of the queue: it is not
// finished, and goes on with what is gathered next. What it keeps until then is in
// Value. A function that calls it for each message of each batch never ends.
func (m *Message) Again() { m.again = true }

// Reply has what is published carry the subject that wants the final state.
func (m *Message) Reply(subject string) { m.reply = events.SafeReply(subject) }

// After has f run once the message is acknowledged and the server has said so:
// for removing what the message referred to. If the process dies before f,
// f does not run.
func (m *Message) After(f func(context.Context) error) { m.after = append(m.after, f) }

// Drop forgets what Publish and Emit have collected.
func (m *Message) Drop() { m.out = nil }

func (m *Message) event(e events.Event, key string) *nats.Msg {
	if m.stage.Observer || m.Document == "" {
		return nil
	}
	e.V, e.Document, e.Revision = events.Version, m.Document, m.Revision
	e.Sequence = m.Sequence
	e.Tenant, e.Name, e.CorrelationID = m.Tenant, events.ShownName(m.Name), m.CorrelationID
	e.ReplyTo = m.reply
	e.Stage, e.Time = m.stage.Name, time.Now().UTC()
	if e.Seconds == 0 && !m.began.IsZero() {
		e.Seconds = time.Since(m.began).Seconds()
	}
	msg := nats.NewMsg(events.EventSubject(m.Document, e.What))
	m.stamp(msg.Header)
	msg.Header.Set(events.HeaderEventType, events.TypeEvent)
	if key != "" {
		msg.Header.Set(events.HeaderMsgID, string(e.What)+":"+m.Document+":"+m.Revision.String()+":"+key)
	}
	msg.Data = events.Encode(e)
	return msg
}

// stamp puts the identity on an outgoing message. Whoever handles it next
// finds it there before looking at the body.
func (m *Message) stamp(h nats.Header) {
	set := func(k, v string) {
		if v != "" {
			h.Set(k, v)
		}
	}
	set(events.HeaderCorrelationID, m.CorrelationID)
	set(events.HeaderTenant, m.Tenant)
	events.SetName(h, m.Name)
	set(events.HeaderReplySubject, m.reply)
	set(events.HeaderTraceparent, m.traceparent())
	if m.Document != "" {
		h.Set(events.HeaderDocumentID, m.Document)
		h.Set(events.HeaderRevision, m.Revision.String())
	}
}

const maxCorrelation = 128

// identify reads the identity from the headers.
func (m *Message) identify() {
	h := m.Header
	m.CorrelationID = events.CleanHeader(h.Get(events.HeaderCorrelationID), maxCorrelation)
	m.Document = h.Get(events.HeaderDocumentID)
	m.Tenant = h.Get(events.HeaderTenant)
	m.Name = events.ShownName(events.Name(h))
	m.reply = events.SafeReply(h.Get(events.HeaderReplySubject))
	if r, err := events.ParseRevision(h.Get(events.HeaderRevision)); err == nil {
		m.Revision = r
	}
	if m.stage.Identify != nil {
		m.stage.Identify(m)
	}
	if m.CorrelationID == "" {
		// Derived, so that a redelivered submission keeps its ID. Version 5 of
		// RFC 9562 over stream and sequence, which never repeat.
		m.CorrelationID = uuid.NewSHA1(uuid.NameSpaceOID, []byte(m.origin(m))).String()
	}
	// An ID that is not one would make an unpublishable subject.
	if strings.ContainsAny(m.Document, " \t\r\n.*>") {
		m.Document = ""
	}
}

// redelivered adopts a newer delivery of the same message: the older one's
// acknowledgement may no longer be accepted.
func (m *Message) redelivered(raw jetstream.Msg) {
	m.mu.Lock()
	m.raw, m.touched = raw, time.Now()
	m.mu.Unlock()
}

// copyHeader copies the headers of m to those of a copy that is kept elsewhere:
// without JetStream's own, which would act on the copy, and those of HELD.
func (m *Message) copyHeader(to nats.Header) {
	for k, v := range m.Header {
		if !strings.HasPrefix(k, "Nats-") && !strings.HasPrefix(k, "Held-") {
			to[k] = v
		}
	}
}

// touchedBefore tells whether the server was told nothing of m since then.
func (m *Message) touchedBefore(then time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.touched.After(then)
}

// inProgress tells the server that m is alive.
func (m *Message) inProgress() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.touched = time.Now()
	return m.raw.InProgress()
}

func (m *Message) delivery() jetstream.Msg {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.raw
}
