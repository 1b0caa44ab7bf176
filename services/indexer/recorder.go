package indexer

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
	"sluice/pkg/stage"
)

// recorder folds the events of all documents into the bucket "documents". It is
// the bucket's only writer; several replicas are kept apart by the entries'
// revisions.
type recorder struct {
	kv   jetstream.KeyValue
	conn *nats.Conn

	mu    sync.Mutex
	known map[string]entry // what was written last, to save reading it back

	// settled hears of what has been written. Optional.
	settled func(*events.Document)
}

// entry is a document's state with its revision in the bucket.
type entry struct {
	document events.Document
	revision uint64
}

// maxKnown bounds the memory for entries: documents in progress, not all.
const maxKnown = 4096

// RecorderStage returns the stage that keeps the state of every document.
func RecorderStage(ctx context.Context, env *stage.Env) (stage.Stage, error) {
	return recorderStage(ctx, env, nil)
}

func recorderStage(ctx context.Context, env *stage.Env, settled func(*events.Document)) (stage.Stage, error) {
	kv, err := env.JS.KeyValue(ctx, events.BucketDocuments)
	if err != nil {
		return stage.Stage{}, fmt.Errorf("open the bucket %s: %w", events.BucketDocuments, err)
	}
	r := &recorder{kv: kv, conn: env.Conn, known: map[string]entry{}, settled: settled}
	return stage.Stage{
		Declaration: Service.Stage(Recorder),
		// One call at a time: the order of events is kept where it costs nothing,
		// and Fold does not depend on it. A longer wait would save writes, but the
		// parser knows a duplicate by the entry.
		Workers: 1, Batch: stage.Batch{Items: 512, Wait: 20 * time.Millisecond},
		HandleBatch: r.record,
	}, nil
}

// record groups a batch by document, so that a document that went through
// several steps within a batch is written once.
func (r *recorder) record(ctx context.Context, batch []*stage.Message) {
	type group struct {
		events   []*events.Event
		messages []*stage.Message
		entry    *events.Document
		revision uint64
		err      error
	}
	groups := map[string]*group{}
	var order []string
	for _, m := range batch {
		e, err := events.Decode[events.Event](m.Data)
		if err != nil {
			m.Fail(err)
			continue
		}
		g := groups[e.Document]
		if g == nil {
			g = &group{}
			groups[e.Document] = g
			order = append(order, e.Document)
		}
		g.events, g.messages = append(g.events, e), append(g.messages, m)
	}
	each(order, func(id string) {
		g := groups[id]
		// A conflict means that another replica wrote in between: fold again.
		for range 10 {
			if g.entry, g.revision, g.err = r.load(ctx, id); g.err != nil {
				return
			}
			before := g.entry.State.Final() && len(g.events) > 0 && g.entry.Revision > 0
			was := g.entry.Revision.Submission()
			for _, e := range g.events {
				Fold(g.entry, e)
			}
			if g.err = r.store(ctx, g.entry, g.revision); g.err == nil {
				if r.settled != nil {
					r.settled(g.entry)
				}
				if g.entry.State.Final() && (!before || g.entry.Revision.Submission() > was) {
					r.reply(g.entry, g.events)
				}
				return
			}
			// Not by the error's code: replicated streams have one of their own.
			if !errors.Is(g.err, jetstream.ErrKeyExists) && !errors.Is(g.err, jetstream.ErrKeyRevisionMismatch) {
				return
			}
		}
	})
	for _, id := range order {
		if err := groups[id].err; err != nil {
			for _, m := range groups[id].messages {
				m.Fail(err)
			}
		}
	}
}

func (r *recorder) load(ctx context.Context, id string) (*events.Document, uint64, error) {
	r.mu.Lock()
	known, ok := r.known[id]
	r.mu.Unlock()
	if ok {
		return &known.document, known.revision, nil
	}
	e, err := r.kv.Get(ctx, id)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return &events.Document{V: events.Version, Document: id}, 0, nil
	}
	if err != nil {
		return nil, 0, away(err, "read", id)
	}
	d, err := events.DecodeDocument(e.Value())
	if err != nil && fault.Of(err) == fault.Unavailable {
		return nil, 0, err // of a newer release: to be written by that one alone
	}
	if err != nil {
		// Foreign bytes under a document's key: the events tell the story anew.
		return &events.Document{V: events.Version, Document: id}, e.Revision(), nil
	}
	return d, e.Revision(), nil
}

func (r *recorder) store(ctx context.Context, d *events.Document, revision uint64) error {
	body := events.Encode(*d)
	var err error
	if revision == 0 {
		revision, err = r.kv.Create(ctx, d.Document, body)
	} else {
		revision, err = r.kv.Update(ctx, d.Document, body, revision)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		delete(r.known, d.Document) // another replica may have written it
		return away(err, "write", d.Document)
	}
	if len(r.known) >= maxKnown {
		clear(r.known)
	}
	r.known[d.Document] = entry{*d, revision}
	return nil
}

// away is the fault of a bucket that does not answer: no event is to blame, and
// all of them wait for it.
func away(err error, doing, document string) error {
	return fault.Wrap(err, fault.Unavailable, "documents-away", "cannot %s the state of document %s: the bucket %s does not answer", doing, document, events.BucketDocuments).
		WithHint("see 'sluice doctor': NATS may be away, or the bucket is missing; 'sluice apply' makes it").
		After(time.Second).WaitFor(fault.On(fault.WaitStore, events.BucketDocuments))
}

// reply tells the final state to whoever asked for it. It is sent once per
// final state, and not stored: whoever needs certainty reads the bucket.
func (r *recorder) reply(d *events.Document, from []*events.Event) {
	to := ""
	for _, e := range from {
		if e.ReplyTo != "" && e.Revision.Submission() == d.Revision.Submission() {
			to = e.ReplyTo
		}
	}
	if to == "" {
		return
	}
	msg := nats.NewMsg(to)
	msg.Header.Set(events.HeaderCorrelationID, d.CorrelationID)
	msg.Data = events.Encode(*d)
	// Nobody may be listening any more.
	_ = r.conn.PublishMsg(msg)
}

// rank orders the states of one revision. A later rank wins whatever arrives
// first, so events may be late, repeated or out of order.
func rank(s events.State) int {
	switch s {
	case events.StateAccepted:
		return 1
	case events.StateParsed:
		return 2
	case events.StateEmbedded:
		return 3
	case events.StateIndexed:
		return 4
	case events.StateFailed:
		return 5
	case events.StateDuplicate, events.StateDegraded:
		return 6 // a replayed dead letter completes a failed document
	case events.StateComplete, events.StateDeleted:
		return 7 // an upgrade completes a degraded one
	}
	return 0
}

var stateOf = map[events.What]events.State{
	events.Accepted: events.StateAccepted, events.ParsedWhat: events.StateParsed,
	events.Embedded: events.StateEmbedded, events.Indexed: events.StateIndexed, events.Completed: events.StateComplete,
	events.Duplicated: events.StateDuplicate, events.Downgraded: events.StateDegraded, events.Failed: events.StateFailed,
	events.Deleted: events.StateDeleted,
}

// Fold applies an event to a document's entry. Events of one revision may come
// in any order and more than once; events of an older revision change nothing.
//
// What a fallback has made of a submission is what the entry tells until the
// parser that was meant has made its own whole: only then is it the better one.
func Fold(d *events.Document, e *events.Event) {
	foldLive(d, e)
	state, known := stateOf[e.What]
	switch mine, theirs := d.Revision.Submission(), e.Revision.Submission(); {
	case theirs < mine:
		return
	case theirs > mine:
		*d = events.Document{
			V: events.Version, Document: e.Document, Revision: events.RevisionOf(theirs), Live: d.Live, Gone: d.Gone, Lost: d.Lost, Sequence: e.Sequence,
			// Whatever is told of it first: that it waits, or is tried again, comes before it has been read.
			State: events.StateAccepted, Stage: e.Stage, Submitted: e.Revision.Time(),
			// What a duplicate or a failure does not tell stays true of what is live.
			Type: d.Type, Title: d.Title,
		}
		if known {
			d.Revision = e.Revision
		}
	case e.Revision == d.Revision:
		d.Sequence = max(d.Sequence, e.Sequence)
	case e.Revision.IsWhole():
		d.Sequence = max(d.Sequence, e.Sequence)
		switch {
		case final(state) || !parsed(d.State) && known:
			d.Revision, d.Upgrade, d.Held, d.Warnings = e.Revision, nil, "", nil
		case parsed(d.State):
			foldUpgrade(d, e)
			return
		}
	default: // a fallback's, and late
		d.Sequence = max(d.Sequence, e.Sequence)
		if final(d.State) || !parsed(state) {
			if e.Submitted != nil { // of the submission, whoever reads it
				d.Submitted, d.Bytes = *e.Submitted, e.Bytes
			}
			return
		}
		var up *events.Upgrade
		if d.Failure != nil || d.Held != "" {
			up = &events.Upgrade{Held: d.Held, Failure: d.Failure}
		}
		*d = events.Document{
			V: events.Version, Document: e.Document, Revision: e.Revision, Sequence: d.Sequence, Live: d.Live, Gone: d.Gone, Lost: d.Lost, Upgrade: up,
			Type: d.Type, Title: d.Title, Submitted: d.Submitted, Updated: d.Updated, Bytes: d.Bytes,
		}
	}
	lost := e.What == events.Failed && e.Failure != nil && e.Failure.Reason == ReasonIndexLost
	if known && (rank(state) >= rank(d.State) || lost && d.State != events.StateDeleted) {
		d.State, d.Stage = state, e.Stage
	}
	late := e.Time.Before(d.Updated)
	if e.Time.After(d.Updated) {
		d.Updated = e.Time
	}
	set := func(to *string, v string) {
		if v != "" {
			*to = v
		}
	}
	set(&d.Tenant, e.Tenant)
	set(&d.Name, e.Name)
	set(&d.CorrelationID, e.CorrelationID)
	set(&d.Type, e.Type)
	set(&d.Title, e.Title)
	set(&d.Model, e.Model)
	set(&d.Parser, e.Parser)
	if e.Submitted != nil {
		d.Submitted = *e.Submitted
	}
	if e.Bytes > 0 {
		d.Bytes = e.Bytes
	}
	if e.Pages > 0 {
		d.Pages = e.Pages
	}
	if len(e.Warnings) > 0 {
		d.Warnings = e.Warnings
	}
	switch e.What {
	case events.Held:
		if e.Failure != nil && !d.State.Final() {
			d.Held = e.Failure.Message
		}
		return
	case events.Resumed:
		d.Held = ""
		return
	case events.Retried:
		if e.Failure != nil {
			d.Retries = max(d.Retries, e.Failure.Attempts)
		}
		return
	case events.Embedded:
		d.Chunks = e.Of
	case events.Indexed:
		d.Chunks, d.Indexed = e.Of, max(d.Indexed, e.Chunks)
	case events.Completed, events.Downgraded:
		d.Chunks, d.Indexed, d.Tokens, d.Nano, d.Reused = e.Of, e.Of, e.Tokens, e.Nano, e.Reused
	case events.Duplicated:
		d.Chunks, d.Indexed, d.Tokens = e.Of, e.Of, e.Tokens
	case events.Failed:
		if d.State == events.StateFailed {
			d.Failure = e.Failure
		}
	}
	if d.State == events.StateDeleted {
		d.Chunks, d.Indexed, d.Tokens = 0, 0, 0
	}
	// The event of a stage may come after the next stage has told that it waits: that
	// ends no wait. Accepted is told again whenever the parser tries again.
	if known && state != events.StateAccepted && (state.Final() || !late) {
		d.Held = ""
	}
	if d.State != events.StateFailed {
		d.Failure = nil
	}
}

// parsed tells whether a state says that a parser has made something of the
// submission, and final whether the index has.
func parsed(s events.State) bool { return rank(s) > rank(events.StateAccepted) }
func final(s events.State) bool  { return rank(s) > rank(events.StateFailed) }

// foldUpgrade tells why a document is still what the fallback has made of it.
func foldUpgrade(d *events.Document, e *events.Event) {
	switch e.What {
	case events.Failed:
		d.Upgrade = &events.Upgrade{Failure: e.Failure} // the last word, until somebody replays it
	case events.Held:
		if e.Failure != nil && (d.Upgrade == nil || d.Upgrade.Failure == nil) {
			d.Upgrade = &events.Upgrade{Held: e.Failure.Message}
		}
	default:
		if d.Upgrade != nil && d.Upgrade.Failure == nil {
			d.Upgrade = nil // it moves
		}
	}
}

// foldLive keeps what search returns, which may be older than the newest
// submission. Completions raise it and deletions raise the floor under it, so
// the order in which they arrive does not matter.
func foldLive(d *events.Document, e *events.Event) {
	switch e.What {
	case events.Completed, events.Downgraded, events.Duplicated:
		if e.Stage == Reconciler && d.Lost >= e.Revision {
			d.Lost = e.Revision - 1 // it is there again
		}
		if d.Live == nil || e.Revision > d.Live.Revision || (e.Revision == d.Live.Revision && e.What == events.Completed) {
			d.Live = &events.Live{Revision: e.Revision, ContentHash: e.ContentHash, Fingerprint: e.Fingerprint, Chunks: e.Of, Degraded: e.What == events.Downgraded}
		}
	case events.Deleted:
		d.Gone = max(d.Gone, e.Revision)
	case events.Failed:
		// What was believed to be searchable is not, so the next submission of
		// the same content must not be taken for a duplicate.
		if e.Failure != nil && (e.Failure.Reason == ReasonIndexChanged || e.Failure.Reason == ReasonIndexLost) {
			d.Lost = max(d.Lost, e.Revision)
		}
	}
	if d.Live != nil && d.Live.Revision <= max(d.Gone, d.Lost) {
		d.Live = nil
	}
}

// ReasonIndexLost fails a document that was searchable, and that the index does
// not hold any more: it was restored from an older backup, or replaced.
const ReasonIndexLost = "index-lost"

// ReasonLost fails a submission of which nothing is under way any more.
const ReasonLost = "lost"

// ReasonIndexChanged fails a submission that was taken for a duplicate of
// content which the index turned out not to have.
const ReasonIndexChanged = "index-changed"
