package indexer

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/broker"
	"sluice/pkg/clock"
	"sluice/pkg/events"
	"sluice/pkg/natstest"
	"sluice/pkg/stage"
	"sluice/services/indexer/index"
	"sluice/services/indexer/internal/corpus"
	"sluice/services/indexer/sqlite"
)

// bench is a recorder and a reconciler over an index that a test fills.
type testbed struct {
	env   *stage.Env
	kv    jetstream.KeyValue
	store index.Store
}

func bed(t *testing.T) *testbed {
	t.Helper()
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), stage.DefaultSettings())
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "index.db"), sqlite.Options{Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	kv, err := env.JS.KeyValue(t.Context(), events.BucketDocuments)
	if err != nil {
		t.Fatal(err)
	}
	return &testbed{env, kv, store}
}

// run starts the recorder and the reconciler.
func (b *testbed) run(t *testing.T) {
	t.Helper()
	recorder, err := RecorderStage(t.Context(), b.env)
	if err != nil {
		t.Fatal(err)
	}
	natstest.Run(t, b.env, recorder)
	r, err := newReconciler(t.Context(), b.env, Config{Reconcile: 100 * time.Millisecond}, b.store)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

func (b *testbed) index(t *testing.T, name string, r events.Revision) {
	t.Helper()
	op := corpus.Op(1, 0, 1, "text of "+name, corpus.Lexical(name), "m")
	v := op.Vector
	v.Document, v.Revision, v.Tenant = events.DocumentID("acme", name), r, "acme"
	v.ID = events.ChunkID(v.Document, 0, name, "f")
	v.About.Document, v.About.Revision, v.About.Tenant, v.About.Name, v.About.ContentHash = v.Document, r, "acme", name, "hash of "+name
	out, err := b.store.Apply(t.Context(), []index.Op{op})
	if err != nil || out[0].Kind != index.Completed {
		t.Fatalf("%+v, %v", out, err)
	}
}

func (b *testbed) put(t *testing.T, d events.Document) {
	t.Helper()
	d.V, d.Tenant, d.Document = events.Version, "acme", events.DocumentID("acme", d.Name)
	if _, err := b.kv.Put(t.Context(), d.Document, events.Encode(d)); err != nil {
		t.Fatal(err)
	}
}

func (b *testbed) entry(t *testing.T, name string) *events.Document {
	t.Helper()
	e, err := b.kv.Get(t.Context(), events.DocumentID("acme", name))
	if err != nil {
		return &events.Document{}
	}
	d, err := events.DecodeDocument(e.Value())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (b *testbed) until(t *testing.T, name string, state events.State, reason string) *events.Document {
	t.Helper()
	var d *events.Document
	natstest.Eventually(t, 10*time.Second, name+" is "+string(state), func() bool {
		d = b.entry(t, name)
		return d.State == state && (reason == "" || d.Failure != nil && d.Failure.Reason == reason)
	})
	return d
}

func at(seconds int) events.Revision {
	return events.RevisionOf(uint64(time.Date(2026, 11, 1, 0, 0, seconds, 0, time.UTC).UnixMicro())).Whole()
}

// TestTheEntriesAreRebuilt loses the bucket "documents", or has it be older than
// the index.
func TestTheEntriesAreRebuilt(t *testing.T) {
	b := bed(t)
	b.index(t, "unknown.txt", at(1))
	b.index(t, "newer.txt", at(5))
	b.put(t, events.Document{Name: "newer.txt", Revision: at(2).Base(), State: events.StateEmbedded})
	b.index(t, "unheard.txt", at(5))
	b.put(t, events.Document{Name: "unheard.txt", Revision: at(5), State: events.StateIndexed})
	if _, err := b.store.Apply(t.Context(), []index.Op{{Tombstone: &events.Tombstone{
		V: 1, Document: events.DocumentID("acme", "gone.txt"), Tenant: "acme", Revision: at(7),
	}}}); err != nil {
		t.Fatal(err)
	}
	b.put(t, events.Document{Name: "gone.txt", Revision: at(3), State: events.StateComplete, Live: &events.Live{Revision: at(3)}})
	b.run(t)
	for name, r := range map[string]events.Revision{"unknown.txt": at(1), "newer.txt": at(5), "unheard.txt": at(5)} {
		d := b.until(t, name, events.StateComplete, "")
		if d.Live == nil || d.Live.Revision != r || d.Revision != r || d.Name != name || d.Tenant != "acme" || d.Live.ContentHash != "hash of "+name {
			t.Errorf("%s: %+v, live %+v", name, d, d.Live)
		}
	}
	if d := b.until(t, "gone.txt", events.StateDeleted, ""); d.Live != nil {
		t.Errorf("what was deleted is live: %+v", d.Live)
	}
}

// TestAnOlderIndex restores the index to before what the entries tell.
func TestAnOlderIndex(t *testing.T) {
	b := bed(t)
	b.put(t, events.Document{Name: "lost.txt", Revision: at(3), State: events.StateComplete, Live: &events.Live{Revision: at(3)}})
	b.index(t, "removed.txt", at(1))
	b.put(t, events.Document{Name: "removed.txt", Revision: at(4), State: events.StateDeleted, Gone: at(4)})
	b.index(t, "older.txt", at(1))
	b.put(t, events.Document{Name: "older.txt", Revision: at(3), State: events.StateDuplicate, Live: &events.Live{Revision: at(3)}})
	b.run(t)
	if d := b.until(t, "lost.txt", events.StateFailed, ReasonIndexLost); d.Live != nil || d.Failure.Hint == "" {
		t.Errorf("%+v", d)
	}
	b.until(t, "older.txt", events.StateFailed, ReasonIndexLost)
	natstest.Eventually(t, 10*time.Second, "older.txt says what is searchable", func() bool {
		d := b.entry(t, "older.txt")
		return d.Live != nil && d.Live.Revision == at(1)
	})
	natstest.Eventually(t, 10*time.Second, "what was deleted is deleted again", func() bool {
		x, err := b.store.Document(t.Context(), "acme", events.DocumentID("acme", "removed.txt"))
		return err == nil && x.Visible == nil && x.Floor == at(4)
	})
	// The right index comes back.
	b.index(t, "lost.txt", at(3))
	b.until(t, "lost.txt", events.StateComplete, "")
}

// TestLostDocuments has documents that are not final, with and without messages
// that are under way.
func TestLostDocuments(t *testing.T) {
	b := bed(t)
	publish := func(subject string, headers ...string) uint64 {
		msg := nats.NewMsg(subject)
		for i := 0; i < len(headers); i += 2 {
			msg.Header.Set(headers[i], headers[i+1])
		}
		ack, err := b.env.JS.PublishMsg(t.Context(), msg)
		if err != nil {
			t.Fatal(err)
		}
		return ack.Sequence
	}
	open := map[string]events.Document{
		"waits.txt":  {State: events.StateAccepted, Sequence: publish(events.SubjectSubmit)},
		"replay.txt": {State: events.StateAccepted, Sequence: 7},
		"parsed.txt": {State: events.StateParsed}, "aside.txt": {State: events.StateAccepted, Sequence: 99},
		"held.txt": {State: events.StateParsed, Held: "budget tenant.acme/day"},
	}
	publish(events.SubjectSubmit, events.HeaderReplayRevision, at(2).Base().String())
	publish(events.SubjectParsed, events.HeaderDocumentID, events.DocumentID("acme", "parsed.txt"))
	publish(events.SubjectHeldPrefix+"parser.key", events.HeaderOriginStream, events.StreamDocuments, events.HeaderOriginSeq, "99")
	for name, d := range open {
		d.Name, d.Revision = name, at(1).Base()
		if name == "replay.txt" {
			d.Revision = at(2).Base()
		}
		b.put(t, d)
		open[name] = d
	}
	b.put(t, events.Document{Name: "lost.txt", Revision: at(1), State: events.StateEmbedded, Live: nil, Sequence: 5})
	b.run(t)
	if d := b.until(t, "lost.txt", events.StateFailed, ReasonLost); d.Failure.Hint != "submit the document again" {
		t.Errorf("%+v", d.Failure)
	}
	// A second one is lost later: there was time enough for the others.
	b.put(t, events.Document{Name: "later.txt", Revision: at(1), State: events.StateParsed, Sequence: 6})
	b.until(t, "later.txt", events.StateFailed, ReasonLost)
	for name, d := range open {
		if now := b.entry(t, name); now.State != d.State {
			t.Errorf("%s was %s and is %s: %+v", name, d.State, now.State, now.Failure)
		}
	}
}

// TestTheBacklogIsReadInOrder has the index raise the clock while submissions wait
// that nobody has read: the server's clock ran backwards among them. Before, the
// mark said that they had been read, so the later one of a document was the older.
func TestTheBacklogIsReadInOrder(t *testing.T) {
	b := bed(t)
	if _, err := b.env.JS.CreateConsumer(t.Context(), events.StreamDocuments, jetstream.ConsumerConfig{Durable: "parser", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	var backlog []uint64
	for range 2 {
		ack, err := b.env.JS.Publish(t.Context(), events.SubjectSubmit, []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		backlog = append(backlog, ack.Sequence)
	}
	b.index(t, "searchable.txt", at(1))
	b.run(t)
	marks, err := b.env.JS.KeyValue(t.Context(), events.BucketPipeline)
	if err != nil {
		t.Fatal(err)
	}
	var m clock.Mark
	natstest.Eventually(t, 10*time.Second, "the clock is raised", func() bool {
		m, err = clock.Load(t.Context(), marks)
		return err == nil && m.Clock == at(1).Submission()
	})
	r := clock.NewReader(m)
	first, _ := r.Read("a", backlog[0], at(100).Time())
	if second, step := r.Read("a", backlog[1], at(50).Time()); step == nil || second <= first {
		t.Errorf("the later submission has the clock %d, the one before it %d", second, first)
	}
}

// meanwhile does something after the index was asked for a document.
type meanwhile struct {
	index.Store
	do func()
}

func (m meanwhile) Document(ctx context.Context, tenant, id string) (index.Document, error) {
	d, err := m.Store.Document(ctx, tenant, id)
	m.do()
	return d, err
}

// TestACompletionIsNoLoss completes a newer revision while the reconciler looks at
// the document. Before, it saw an entry that the index it had asked did not hold.
func TestACompletionIsNoLoss(t *testing.T) {
	b := bed(t)
	b.index(t, "busy.txt", at(1))
	b.put(t, events.Document{Name: "busy.txt", Revision: at(1), State: events.StateComplete, Live: &events.Live{Revision: at(1)}})
	r, err := newReconciler(t.Context(), b.env, Config{Reconcile: time.Hour}, meanwhile{b.store, func() {
		b.index(t, "busy.txt", at(2))
		b.put(t, events.Document{Name: "busy.txt", Revision: at(2), State: events.StateComplete, Live: &events.Live{Revision: at(2)}})
	}})
	if err != nil {
		t.Fatal(err)
	}
	if what, _, _, _, err := r.look(t.Context(), "acme", events.DocumentID("acme", "busy.txt")); what == tellLost || err != nil {
		t.Errorf("%q, %v", what, err)
	}
}

// moving hands a document on after the streams were listed.
type moving struct {
	jetstream.JetStream
	move func()
}

func (m moving) ListStreams(ctx context.Context, opts ...jetstream.StreamListOpt) jetstream.StreamInfoLister {
	l := listed{m.JetStream.ListStreams(ctx, opts...), make(chan *jetstream.StreamInfo, 64)}
	for info := range l.StreamInfoLister.Info() {
		l.infos <- info
	}
	close(l.infos)
	m.move()
	return l
}

type listed struct {
	jetstream.StreamInfoLister
	infos chan *jetstream.StreamInfo
}

func (l listed) Info() <-chan *jetstream.StreamInfo { return l.infos }

// TestWhatMovesIsNotLost has a document that waited for long go on while the streams
// are searched. Before, streams that had been empty were not searched.
func TestWhatMovesIsNotLost(t *testing.T) {
	b := bed(t)
	send := func(subject, id string) uint64 {
		msg := nats.NewMsg(subject)
		msg.Header.Set(events.HeaderDocumentID, id)
		ack, err := b.env.JS.PublishMsg(t.Context(), msg)
		if err != nil {
			t.Fatal(err)
		}
		return ack.Sequence
	}
	parsed, err := b.env.JS.Stream(t.Context(), events.StreamParsed)
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{events.SubjectChunks, events.SubjectHeldPrefix + "chunker.key"} {
		id := events.DocumentID("acme", to)
		sequence := send(events.SubjectParsed, id)
		r, err := newReconciler(t.Context(), b.env, Config{Reconcile: time.Hour}, b.store)
		if err != nil {
			t.Fatal(err)
		}
		r.js = moving{b.env.JS, func() {
			send(to, id)
			if err := parsed.DeleteMsg(t.Context(), sequence); err != nil {
				t.Fatal(err)
			}
		}}
		missing := map[document]*events.Document{{"acme", id}: {Document: id, Tenant: "acme"}}
		if known, err := r.find(t.Context(), missing); !known || err != nil || len(missing) != 0 {
			t.Errorf("to %s: %v, %v, missing %v", to, known, err, missing)
		}
	}
}
