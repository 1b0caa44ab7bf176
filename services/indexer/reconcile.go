package indexer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"sluice/pkg/clock"
	"sluice/pkg/events"
	"sluice/pkg/stage"
	"sluice/services/indexer/index"
)

// Reconciler is what the reconciler calls itself in the events that it tells.
const Reconciler = "reconciler"

// reconciler compares the states of documents with the index, and finds documents
// of which nothing is under way any more. That happens when the index, the streams
// or the bucket "documents" were restored or lost, or when events were evicted
// before the recorder had read them.
//
// The index is right about what is searchable, the bucket about what was deleted.
// Corrections are events like all others, told by the stage Reconciler, so the
// recorder stays the only writer of the bucket. What differs is looked at twice,
// because the recorder is always a little behind the index.
type reconciler struct {
	js    jetstream.JetStream
	kv    jetstream.KeyValue // the bucket "documents"
	marks jetstream.KeyValue // the bucket "pipeline"
	store index.Store
	log   zerolog.Logger
	every time.Duration
	pause time.Duration // between the two looks

	silent map[string]uint64 // documents that seemed lost at the last pass, with the revision of their entry
}

func newReconciler(ctx context.Context, env *stage.Env, cfg Config, store index.Store) (*reconciler, error) {
	kv, err := env.JS.KeyValue(ctx, events.BucketDocuments)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", events.BucketDocuments, err)
	}
	marks, err := env.JS.KeyValue(ctx, events.BucketPipeline)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", events.BucketPipeline, err)
	}
	return &reconciler{
		js: env.JS, kv: kv, marks: marks, store: store, every: cfg.Reconcile, pause: min(5*time.Second, cfg.Reconcile),
		log: env.Log.With().Str("stage", Reconciler).Logger(), silent: map[string]uint64{},
	}, nil
}

// run reconciles until ctx ends. It takes a twentieth of the time at most.
func (r *reconciler) run(ctx context.Context) {
	for ctx.Err() == nil {
		began := time.Now()
		err := r.raise(ctx)
		if r.every <= 0 && err == nil {
			return
		}
		if err == nil && r.every > 0 {
			err = r.pass(ctx)
		}
		if err != nil && ctx.Err() == nil {
			r.log.Warn().Err(err).Msg("the states of documents are not compared with the index; it is tried again")
		}
		select {
		case <-ctx.Done():
		case <-time.After(max(r.every, 20*time.Since(began), time.Second/10)):
		}
	}
}

// raise has new submissions be newer than whatever the index holds: it may have
// outlived the stream that it was made from, or a clock that was wrong.
func (r *reconciler) raise(ctx context.Context) error {
	newest, err := r.store.Newest(ctx)
	if err != nil || newest == 0 {
		return err
	}
	s, err := r.js.Stream(ctx, events.StreamDocuments)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil // nothing has been submitted yet
	}
	if err != nil {
		return fmt.Errorf("look at the stream %s: %w", events.StreamDocuments, err)
	}
	if ahead := time.Until(newest.Time()); ahead > time.Minute {
		r.log.Warn().Dur("ahead", ahead).Time("newest", newest.Time()).
			Msg("the index holds revisions from the future: new submissions are ordered after them")
	}
	last, err := delivered(ctx, s)
	if err != nil {
		return err
	}
	return clock.Raise(ctx, r.marks, last, newest.Submission())
}

// delivered returns the last sequence of a stream that any stage may have read. What
// comes after it is still to be read, and compared with all that came before.
func delivered(ctx context.Context, s jetstream.Stream) (uint64, error) {
	last, found := uint64(0), false
	list := s.ListConsumers(ctx)
	for c := range list.Info() {
		if c.Config.Durable != "" {
			last, found = max(last, c.Delivered.Stream), true
		}
	}
	if err := list.Err(); err != nil {
		return 0, fmt.Errorf("list the consumers of %s: %w", events.StreamDocuments, err)
	}
	if !found {
		return s.CachedInfo().State.LastSeq, nil // nobody knows
	}
	return last, nil
}

// action is what is to be done about a document.
type action string

const (
	doNothing    action = ""
	tellComplete action = "the index holds it, its entry does not say so"
	tellDeleted  action = "the index knows of its deletion, its entry does not"
	removeIt     action = "the index holds it, although it was deleted"
	confirmIt    action = "the index holds its content at an older revision"
	tellLost     action = "its entry says that it is searchable, the index does not hold it"
	isSilent     action = "it is not final"
)

// differs compares an entry, nil if there is none, with what the index holds.
func differs(d *events.Document, x index.Document) action {
	var visible events.Revision
	whole := false
	if v := x.Visible; v != nil {
		visible, whole = v.About.Revision, v.Degraded == 0 && !v.About.Degraded
	}
	if d == nil {
		switch {
		case visible != 0:
			return tellComplete
		case x.Floor != 0:
			return tellDeleted
		}
		return doNothing
	}
	live := events.Revision(0)
	if d.Live != nil {
		live = d.Live.Revision
	}
	searchable := d.State == events.StateComplete || d.State == events.StateDegraded || d.State == events.StateDuplicate
	switch {
	case visible != 0 && visible <= d.Gone && d.Gone.Time().Year() > 2000: // those of older releases are not only deletions
		return removeIt
	case d.Gone < x.Floor && visible == 0 && (live != 0 && live <= x.Floor || d.Revision.Submission() <= x.Floor.Submission() && d.State != events.StateDeleted):
		return tellDeleted
	case visible > live && visible > d.Gone, visible != 0 && visible == live && d.Live.Degraded && whole:
		return tellComplete
	case visible != 0 && visible == live && d.Revision.Submission() == visible.Submission() && !d.State.Final():
		return tellComplete
	case live > visible && visible != 0 && x.Visible.About.ContentHash == d.Live.ContentHash && x.Visible.About.Fingerprint == d.Live.Fingerprint:
		return confirmIt
	case live > visible:
		return tellLost
	case searchable && live == 0 && visible == 0 && d.Revision > d.Gone:
		return tellLost
	case !d.State.Final() && d.Held == "":
		return isSilent
	}
	return doNothing
}

// look returns what is to be done about a document, by what is known of it now. The
// entry is read first: it is behind the index, so an entry of which the index knows
// nothing is not one that has just been written.
func (r *reconciler) look(ctx context.Context, tenant, id string) (action, *events.Document, jetstream.KeyValueEntry, index.Document, error) {
	e, err := r.kv.Get(ctx, id)
	if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
		return doNothing, nil, nil, index.Document{}, fmt.Errorf("read the state of document %s: %w", id, err)
	}
	x, failed := r.store.Document(ctx, tenant, id)
	switch {
	case failed != nil:
		return doNothing, nil, nil, x, failed
	case err != nil:
		return differs(nil, x), nil, nil, x, nil
	}
	d, err := events.DecodeDocument(e.Value())
	if err != nil {
		return doNothing, nil, e, x, nil // of another release, which mends it itself
	}
	return differs(d, x), d, e, x, nil
}

type document struct{ tenant, id string }

// pass looks at all documents once, and again at those that differ.
func (r *reconciler) pass(ctx context.Context) error {
	differ := map[document]bool{}
	err := r.store.Documents(ctx, func(tenant, id string) error {
		what, _, _, _, err := r.look(ctx, tenant, id)
		if what != doNothing && what != isSilent {
			differ[document{tenant, id}] = true
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("compare the index: %w", err)
	}
	quiet := map[document]uint64{}
	err = r.entries(ctx, func(d *events.Document, e jetstream.KeyValueEntry) error {
		if d.Live == nil && d.State.Final() {
			return nil // the index has been asked for what it holds
		}
		x, err := r.store.Document(ctx, d.Tenant, d.Document)
		if err != nil {
			return err
		}
		switch what := differs(d, x); {
		case what == isSilent && time.Since(e.Created()) > r.every:
			quiet[document{d.Tenant, d.Document}] = e.Revision()
		case what != doNothing && what != isSilent:
			differ[document{d.Tenant, d.Document}] = true
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("compare the bucket %s: %w", events.BucketDocuments, err)
	}
	if len(differ) > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(r.pause):
		}
	}
	counts := map[action]int{}
	for k := range differ {
		what, d, _, x, err := r.look(ctx, k.tenant, k.id)
		if err == nil && what != doNothing && what != isSilent {
			counts[what]++
			err = r.correct(ctx, k, what, d, x)
		}
		if err != nil {
			return err
		}
	}
	for what, n := range counts {
		r.log.Warn().Int("documents", n).Str("because", string(what)).
			Msg("states of documents were corrected: something was restored, or lost")
	}
	return r.lost(ctx, quiet)
}

// entries calls f with the entries of all documents.
func (r *reconciler) entries(ctx context.Context, f func(*events.Document, jetstream.KeyValueEntry) error) error {
	w, err := r.kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return err
	}
	defer func() { _ = w.Stop() }() // it is read to its end, or the broker is away
	for {
		select {
		case e, ok := <-w.Updates():
			if !ok {
				return errors.New("the connection was lost")
			}
			if e == nil {
				return nil
			}
			d, err := events.DecodeDocument(e.Value())
			if err != nil {
				continue
			}
			if err := f(d, e); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// correct makes the entry, or the index, say what is right.
func (r *reconciler) correct(ctx context.Context, k document, what action, d *events.Document, x index.Document) error {
	switch what {
	case tellComplete:
		v := x.Visible
		e := story(events.Completed, v)
		if v.Degraded > 0 || v.About.Degraded {
			e.What = events.Downgraded
		}
		e.Revision, e.Name, e.Submitted = v.About.Revision, v.About.Name, &v.About.Submitted
		e.Nano, e.Reused = v.Nano+v.About.Nano, v.Reused
		return r.tell(ctx, k, e)
	case tellDeleted:
		return r.tell(ctx, k, events.Event{What: events.Deleted, Revision: x.Floor})
	case removeIt:
		_, err := r.store.Apply(ctx, []index.Op{{Tombstone: &events.Tombstone{
			V: events.Version, Document: k.id, Tenant: k.tenant, Revision: d.Gone, Name: d.Name,
		}}})
		return err
	case confirmIt: // a duplicate was confirmed since
		_, err := r.store.Apply(ctx, []index.Op{{Tombstone: &events.Tombstone{
			V: events.Version, Document: k.id, Tenant: k.tenant, Revision: d.Live.Revision, Confirm: d.Live.ContentHash,
		}}})
		return err
	case tellLost:
		at := d.Revision
		if d.Live != nil {
			at = d.Live.Revision
		}
		return r.tell(ctx, k, events.Event{What: events.Failed, Revision: at, Failure: &events.Failure{
			Stage: Reconciler, Class: "execution", Reason: ReasonIndexLost,
			Message: "the index does not hold the document any more: it was restored from an older backup, or replaced",
			Hint:    "submit the document again",
		}})
	}
	return nil
}

// tell publishes an event of the reconciler. Equal ones of several replicas are one.
func (r *reconciler) tell(ctx context.Context, k document, e events.Event) error {
	e.V, e.Document, e.Tenant, e.Stage, e.Time = events.Version, k.id, k.tenant, Reconciler, time.Now().UTC()
	msg := nats.NewMsg(events.EventSubject(k.id, e.What))
	msg.Header.Set(events.HeaderEventType, events.TypeEvent)
	msg.Header.Set(events.HeaderDocumentID, k.id)
	msg.Header.Set(events.HeaderRevision, e.Revision.String())
	msg.Header.Set(events.HeaderMsgID, Reconciler+":"+string(e.What)+":"+k.id+":"+e.Revision.String())
	msg.Data = events.Encode(e)
	if _, err := r.js.PublishMsg(ctx, msg); err != nil {
		return fmt.Errorf("tell of document %s: %w", k.id, err)
	}
	return nil
}

// scanMost bounds the messages that are read to find documents that are lost.
const scanMost = 20_000

// lost fails documents that are not final and of which no message is left. An
// entry has to be silent for two passes, and nothing may be unknown: where there is
// a stream that cannot be read, or a backlog that is too long to be read, nobody
// is called lost.
func (r *reconciler) lost(ctx context.Context, quiet map[document]uint64) error {
	before := r.silent
	r.silent = map[string]uint64{}
	missing := map[document]*events.Document{}
	for k, at := range quiet {
		r.silent[k.id] = at
		if before[k.id] != at {
			continue
		}
		if what, d, e, _, err := r.look(ctx, k.tenant, k.id); err != nil {
			return err
		} else if what == isSilent && e.Revision() == at {
			missing[k] = d
		}
	}
	if len(missing) == 0 {
		return nil
	}
	known, err := r.find(ctx, missing)
	if err != nil || !known {
		return err
	}
	for k, d := range missing {
		e, err := r.kv.Get(ctx, k.id)
		if err != nil || e.Revision() != quiet[k] {
			continue // it moves
		}
		r.log.Error().Str("document", k.id).Str("name", d.Name).Str("state", string(d.State)).
			Msg("a document is lost: it is not final, and nothing of it is under way")
		err = r.tell(ctx, k, events.Event{What: events.Failed, Revision: d.Revision, CorrelationID: d.CorrelationID, Failure: &events.Failure{
			Stage: cmp.Or(d.Stage, Reconciler), Class: "execution", Reason: ReasonLost,
			Message: fmt.Sprintf("nothing of the document is under way any more since it was %s, %s: a stream was purged, lost or restored",
				d.State, d.Updated.UTC().Format(time.RFC3339)),
			Hint: "submit the document again",
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

// find removes documents from missing of which a message is under way. It reports
// whether all messages could be read.
func (r *reconciler) find(ctx context.Context, missing map[document]*events.Document) (bool, error) {
	list := r.js.ListStreams(ctx)
	total, foreign := uint64(0), false
	for info := range list.Info() {
		if info.Config.Retention == jetstream.WorkQueuePolicy && info.State.Msgs > 0 {
			total += info.State.Msgs
			foreign = foreign || !slices.Contains(underWay, info.Config.Name) // of a stage outside this tree
		}
	}
	if err := list.Err(); err != nil {
		return false, fmt.Errorf("list the streams: %w", err)
	}
	if foreign || total > scanMost {
		return false, nil
	}
	byID := map[string]document{}
	for k := range missing {
		byID[k.id] = k
	}
	// In the direction in which messages go: what moves meanwhile is met further on,
	// in a stream that may have been empty before. Any of them may be set aside.
	for _, name := range append(slices.Clone(underWay), events.StreamHeld) {
		s, err := r.js.Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("look at the stream %s: %w", name, err)
		}
		for seq := s.CachedInfo().State.FirstSeq; len(missing) > 0; {
			m, err := s.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(">"))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				break
			}
			if err != nil {
				return false, fmt.Errorf("read the stream %s: %w", name, err)
			}
			seq = m.Sequence + 1
			if k, ok := byID[m.Header.Get(events.HeaderDocumentID)]; ok {
				delete(missing, k)
				continue
			}
			if origin := submissionOf(name, m); origin != 0 {
				for k, d := range missing {
					if d.Sequence == origin || m.Header.Get(events.HeaderReplayRevision) == d.Revision.Base().String() {
						delete(missing, k)
					}
				}
			}
		}
	}
	return true, nil
}

// submissionOf returns the sequence in DOCUMENTS of a message that is a submission,
// whether it waits there or was set aside, or 0.
func submissionOf(stream string, m *jetstream.RawStreamMsg) uint64 {
	switch {
	case stream == events.StreamDocuments:
		return m.Sequence
	case m.Header.Get(events.HeaderOriginStream) == events.StreamDocuments:
		n, _ := strconv.ParseUint(m.Header.Get(events.HeaderOriginSeq), 10, 64)
		return n
	}
	return 0
}
