package submit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/services/indexer"
)

// Result is what is known of one submitted document.
type Result struct {
	events.Document
	Submitted bool // the broker has it
	// Superseded says that a newer submission of the document came first.
	Superseded bool
	Final      bool
	Began      time.Time // when this process submitted it
	Ended      time.Time // when its final state was reached
}

// Progress counts results by where they stand.
type Progress struct {
	Total     int
	Submitted int
	Final     int
	Failed    int
	ByState   map[events.State]int
	Held      string // why a document waits, if one does
	Full      bool   // DOCUMENTS takes no more at the moment
	LastEvent time.Time
}

// follower listens to the story of the documents of one run.
type follower struct {
	js          jetstream.JetStream
	documents   jetstream.KeyValue
	correlation string
	sub         *nats.Subscription

	mu      sync.Mutex
	results []*tracked
	byID    map[string][]*tracked
	changed chan struct{} // closed and replaced when something happened
	open    int
	heard   time.Time
	full    bool
}

type tracked struct {
	Result
	before   uint64 // clocks up to this one are of older submissions
	sequence uint64 // of the submission in DOCUMENTS; 0 = not known yet
	at       uint64 // clock of the submission; 0 = not known yet
	guessed  uint64 // the sequence that came with a clock that was heard before the acknowledgement
	touched  time.Time
}

// follow subscribes without a consumer: the events are stored anyway, and what
// is missed is found in the bucket "documents".
func follow(nc *nats.Conn, js jetstream.JetStream, documents jetstream.KeyValue, correlation string) (*follower, error) {
	f := &follower{
		js: js, documents: documents, correlation: correlation,
		byID: map[string][]*tracked{}, changed: make(chan struct{}), heard: time.Now(),
	}
	sub, err := nc.Subscribe(events.SubjectEventPrefix+">", f.hear)
	if err != nil {
		return nil, fmt.Errorf("listen to events: %w", err)
	}
	f.sub = sub
	if err := sub.SetPendingLimits(1<<20, 256<<20); err != nil {
		return nil, fmt.Errorf("listen to events: %w", err)
	}
	if err := nc.Flush(); err != nil {
		return nil, fmt.Errorf("listen to events: %w", err)
	}
	return f, nil
}

// Close ends listening.
func (f *follower) Close() error { return f.sub.Unsubscribe() }

// hear takes an event of this run up. Other runs' events are told apart by a
// header, without reading the body.
func (f *follower) hear(msg *nats.Msg) {
	if msg.Header.Get(events.HeaderCorrelationID) != f.correlation {
		return
	}
	e, err := events.Decode[events.Event](msg.Data)
	if err != nil {
		return // not one of ours; the bucket has the last word
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heard = time.Now()
	for _, t := range f.byID[e.Document] {
		if !t.mine(e) {
			continue
		}
		indexer.Fold(&t.Document, e)
		t.touched = time.Now()
		if e.What == events.Superseded {
			t.Superseded = true
			if e.Failure != nil && e.Failure.Reason == events.ReasonOrder {
				t.Failure = e.Failure
			}
			f.end(t, e.Time)
		}
		if t.State.Final() {
			f.end(t, e.Time)
		}
	}
	f.signal()
}

// mine tells whether an event is of this submission, and learns its clock from the
// first that is. Only the parser tells the sequence.
func (t *tracked) mine(e *events.Event) bool {
	at := e.Revision.Submission()
	switch {
	case at <= t.before:
		return false
	case t.at != 0:
		return at == t.at
	case t.sequence != 0 && e.Sequence != 0 && e.Sequence != t.sequence:
		return false
	}
	t.at, t.guessed = at, e.Sequence
	return true
}

func (f *follower) signal() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// end marks a result as final. A failed document that somebody replays meanwhile
// may still change its state; the run is over for it nevertheless.
func (f *follower) end(t *tracked, when time.Time) {
	if t.Final {
		return
	}
	t.Final, t.Ended = true, when
	f.open--
}

// expect makes room for n more results and returns the index of the first.
func (f *follower) expect(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	base := len(f.results)
	for range n {
		f.results = append(f.results, &tracked{})
	}
	f.open += n
	return base
}

// submitting announces a document, before it is published: its first events
// may be faster than the acknowledgement.
func (f *follower) submitting(i int, src Source, document, tenant string, before uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.results[i]
	t.Document = events.Document{
		V: events.Version, Document: document, Tenant: tenant, Name: src.Name, CorrelationID: f.correlation, Bytes: src.Size,
	}
	t.before, t.Began, t.touched = before, time.Now(), time.Now()
	f.byID[document] = append(f.byID[document], t)
}

// submitted notes that the broker has the document, at a sequence if known.
func (f *follower) submitted(i int, sequence uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.results[i]
	t.Submitted = true
	if sequence != 0 {
		t.sequence = sequence
		if t.guessed != 0 && t.guessed != sequence {
			// Somebody else's submission of the same document was heard of.
			d := t.Document
			t.at, t.Document = 0, events.Document{V: d.V, Document: d.Document, Tenant: d.Tenant, Name: d.Name, CorrelationID: d.CorrelationID, Bytes: d.Bytes}
			if t.Final {
				t.Final, t.Superseded = false, false
				f.open++
			}
		}
		t.Document.Sequence = sequence
	}
	f.full = false
	f.signal()
}

// refused ends a document that was not submitted.
func (f *follower) refused(i int, src Source, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.results[i]
	fe := fault.From(err)
	t.Name, t.State, t.Bytes = src.Name, events.StateFailed, src.Size
	t.Failure = &events.Failure{Stage: "ingest", Class: fe.Class.String(), Reason: fe.Reason, Message: fe.Message, Hint: fe.Hint}
	if fe.Reason == "unclassified" {
		t.Failure.Reason = "unreadable"
	}
	if t.Began.IsZero() {
		t.Began = time.Now()
	}
	f.end(t, time.Now())
	f.signal()
}

func (f *follower) setFull(full bool) {
	f.mu.Lock()
	f.full = full
	f.mu.Unlock()
}

// Progress returns the counts of now.
func (f *follower) Progress() Progress {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := Progress{Total: len(f.results), ByState: map[events.State]int{}, Full: f.full, LastEvent: f.heard}
	for _, t := range f.results {
		if t.Submitted {
			p.Submitted++
		}
		if t.State != "" {
			p.ByState[t.State]++
		}
		if t.State == events.StateFailed {
			p.Failed++
		}
		if t.Final {
			p.Final++
		} else if t.Held != "" {
			p.Held = t.Held
		}
	}
	return p
}

// Results returns what is known of every document, in the order of submission.
func (f *follower) Results() []Result {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]Result, len(f.results))
	for i, t := range f.results {
		all[i] = t.Result
	}
	return all
}

// quiet is how long a document may be silent before its entry is looked up.
const quiet = 2 * time.Second

// Wait returns when every document is final, or with the error of ctx. It then
// waits until the recorder has written what was heard, so that whoever asks
// next, or stops the pipeline, finds it in the bucket.
func (f *follower) Wait(ctx context.Context) error {
	tick := time.NewTicker(quiet)
	defer tick.Stop()
	for {
		f.mu.Lock()
		open, changed := f.open, f.changed
		f.mu.Unlock()
		if open == 0 {
			err := f.recorded(ctx)
			f.question(ctx)
			return err
		}
		select {
		case <-changed:
		case <-tick.C:
			f.lookUp(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// lookUpMost bounds the entries read at one tick.
const lookUpMost = 256

// lookUp reads the entries of documents that have been silent: a subscription
// may lose events, for instance while reconnecting.
func (f *follower) lookUp(ctx context.Context) {
	var silent []*tracked
	var ids []string // events are folded into the documents meanwhile
	f.mu.Lock()
	for _, t := range f.results {
		if t.Submitted && !t.Final && time.Since(t.touched) > quiet && len(silent) < lookUpMost {
			t.touched = time.Now() // others' turn at the next tick
			silent, ids = append(silent, t), append(ids, t.Document.Document)
		}
	}
	f.mu.Unlock()
	for i, t := range silent {
		e, err := f.documents.Get(ctx, ids[i])
		if err != nil {
			continue // not there yet, or the broker is away: at the next tick
		}
		d, err := events.DecodeDocument(e.Value())
		if err != nil {
			continue
		}
		f.mu.Lock()
		f.adopt(t, d)
		f.signal()
		f.mu.Unlock()
	}
}

// adopt takes over what the recorder knows of a document.
func (f *follower) adopt(t *tracked, d *events.Document) {
	at := d.Revision.Submission()
	var mine, newer bool
	switch {
	case t.at != 0:
		mine, newer = at == t.at, at > t.at
	case t.sequence != 0:
		mine, newer = d.Sequence == t.sequence, d.Sequence > t.sequence
	default:
		mine = at > t.before && d.CorrelationID == f.correlation
	}
	switch {
	case t.Final:
	case mine:
		t.at = at
		t.Document = *d
		if d.State.Final() {
			f.end(t, d.Updated)
		}
	case newer:
		t.Superseded = true
		f.end(t, time.Now())
	}
}

// question looks at what has superseded submissions of this run. What was stored
// before them cannot be newer, but for a clock that was wrong: nobody should take
// that for a success.
func (f *follower) question(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.results {
		if !t.Superseded || t.Failure != nil || t.sequence == 0 {
			continue
		}
		e, err := f.documents.Get(ctx, t.Document.Document)
		if err != nil {
			continue
		}
		d, err := events.DecodeDocument(e.Value())
		if err != nil || d.Sequence == 0 || d.Sequence >= t.sequence || d.Revision.Submission() < t.at {
			continue
		}
		t.Failure = &events.Failure{
			Stage: "ingest", Class: fault.Execution.String(), Reason: events.ReasonOrder,
			Message: fmt.Sprintf("it was stored after the submission that superseded it (%d after %d), but has an earlier time (%s, %s)", t.sequence, d.Sequence,
				events.RevisionOf(t.at).Time().Format(time.RFC3339Nano), d.Revision.Time().Format(time.RFC3339Nano)),
			Hint: "the NATS server's clock ran backwards: submit the document again",
		}
	}
}

// recorded waits until the recorder has handled all events stored by now, for
// at most five seconds: a recorder that is away does not undo what was heard.
func (f *follower) recorded(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	stream, err := f.js.Stream(ctx, events.StreamEvents)
	if err != nil {
		return fmt.Errorf("look at the stream %s: %w", events.StreamEvents, err)
	}
	last := stream.CachedInfo().State.LastSeq
	for {
		c, err := stream.Consumer(ctx, "recorder")
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			return nil // nobody records
		}
		if err == nil {
			floor := c.CachedInfo()
			if floor.AckFloor.Stream >= last || (floor.NumPending == 0 && floor.NumAckPending == 0) {
				return nil
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
}
