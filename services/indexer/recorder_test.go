package indexer

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/natstest"
	"sluice/pkg/stage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var whats = []events.What{
	events.Accepted, events.ParsedWhat, events.Embedded, events.Indexed, events.Completed,
	events.Duplicated, events.Downgraded, events.Superseded, events.Failed, events.Deleted,
}

// Events of a document may come late, twice and in any order: the entry must
// say the same.
func TestFoldDoesNotDependOnTheOrder(t *testing.T) {
	id := events.DocumentID("t", "n")
	rapid.Check(t, func(t *rapid.T) {
		var all []*events.Event
		// One revision of a document has one end: what it is made of says so.
		// Of each submission there may be a fallback's and a whole one.
		for rev := events.RevisionOf(1); rev <= events.RevisionOf(3).Whole(); rev++ {
			ends := []events.What{events.Downgraded, events.Failed, events.Superseded}
			if rev.IsWhole() {
				ends = append(ends, events.Completed, events.Duplicated, events.Deleted)
			}
			end := rapid.SampledFrom(ends).Draw(t, "end")
			for _, w := range whats {
				early := w == events.Accepted || w == events.ParsedWhat || w == events.Embedded || w == events.Indexed
				if (early || w == end) && rapid.Bool().Draw(t, "happens") {
					e := &events.Event{
						V: 1, What: w, Document: id, Revision: rev, Time: time.Unix(int64(rev), int64(len(all))),
						ContentHash: string(rune('a' + rev)), Of: int(rev), Chunks: int(rev),
					}
					if w == events.Accepted && !rev.IsWhole() { // told before anybody has read it
						at := time.Unix(int64(rev.Submission()), 0)
						e.Submitted, e.Bytes = &at, int64(rev.Submission())
					}
					if w == events.Failed {
						e.Failure = &events.Failure{Reason: rapid.SampledFrom([]string{"down", ReasonIndexChanged}).Draw(t, "reason")}
					}
					all = append(all, e)
				}
			}
		}
		fold := func(list []*events.Event) events.Document {
			d := events.Document{V: 1, Document: id}
			for _, e := range list {
				Fold(&d, e)
			}
			d.Stage = ""
			return d
		}
		want := fold(all)
		shuffled := append(append([]*events.Event(nil), all...), all...)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		got := fold(shuffled)
		if got.State != want.State || got.Revision != want.Revision || !reflect.DeepEqual(got.Live, want.Live) ||
			!reflect.DeepEqual(got.Failure, want.Failure) || !reflect.DeepEqual(got.Upgrade, want.Upgrade) || got.Chunks != want.Chunks ||
			!got.Submitted.Equal(want.Submitted) || got.Bytes != want.Bytes {
			t.Fatalf("in order   %+v %+v\nshuffled   %+v %+v", want, want.Live, got, got.Live)
		}
	})
}

// What is told of a submission before the parser has read it says that it was
// accepted, and no more: it replaces nothing yet. Entries of a release that had no
// state for it say the same.
func TestWhatIsToldBeforeASubmissionIsRead(t *testing.T) {
	id := events.DocumentID("t", "n")
	older, newer := events.RevisionOf(7), events.RevisionOf(9)
	for _, what := range []events.What{events.Held, events.Resumed, events.Retried} {
		d := events.Document{V: 1, Document: id, Revision: older, State: events.StateParsed}
		Fold(&d, &events.Event{V: 1, What: what, Document: id, Revision: newer, Stage: "parser", Failure: &events.Failure{Message: "away", Attempts: 1}})
		if d.State != events.StateAccepted || d.Stage != "parser" || !d.Submitted.Equal(newer.Time()) {
			t.Errorf("%s: %+v", what, d)
		}
		for _, state := range []events.State{events.StateAccepted, ""} {
			if d.State = state; events.Overtaken(&d, older) != 0 || !events.Pending(&d, older) {
				t.Errorf("%s: the state %q replaces what was there", what, state)
			}
		}
	}
}

// A document may wait for the next stage before the event of the stage before is stored.
func TestALateEventEndsNoWait(t *testing.T) {
	id, r := events.DocumentID("t", "n"), events.RevisionOf(7)
	d := events.Document{V: 1, Document: id}
	fold := func(what events.What, at int64) {
		Fold(&d, &events.Event{V: 1, What: what, Document: id, Revision: r, Time: time.Unix(at, 0), Failure: &events.Failure{Message: "no money"}})
	}
	fold(events.ParsedWhat, 1)
	fold(events.Held, 4)
	fold(events.ParsedWhat, 3)
	if d.State != events.StateParsed || d.Held != "no money" {
		t.Errorf("a late event: %s, held %q", d.State, d.Held)
	}
	if fold(events.Embedded, 5); d.Held != "" {
		t.Errorf("it moves: held %q", d.Held)
	}
	fold(events.Held, 6)
	if fold(events.Resumed, 7); d.Held != "" {
		t.Errorf("the wait is over: held %q", d.Held)
	}
	fold(events.Held, 8)
	if fold(events.Completed, 2); d.State != events.StateComplete || d.Held != "" {
		t.Errorf("%s, held %q", d.State, d.Held)
	}
}

func TestALateCompletionDoesNotBringADeletedDocumentBack(t *testing.T) {
	id := events.DocumentID("t", "n")
	d := events.Document{V: 1, Document: id}
	for _, e := range []events.Event{
		{What: events.Accepted, Revision: events.RevisionOf(5)},
		{What: events.Deleted, Revision: events.RevisionOf(6).Whole()},
		{What: events.Accepted, Revision: events.RevisionOf(7)},
		{What: events.Completed, Revision: events.RevisionOf(5).Whole(), ContentHash: "old"},
	} {
		e.V, e.Document = 1, id
		Fold(&d, &e)
	}
	if d.State != events.StateAccepted || d.Revision != events.RevisionOf(7) || d.Live != nil {
		t.Errorf("%+v live %+v", d, d.Live)
	}
}

// What a fallback made is told until the whole is there, and why it is not.
func TestTheStoryOfAnUpgrade(t *testing.T) {
	id := events.DocumentID("t", "n")
	d := events.Document{V: 1, Document: id}
	fold := func(rev events.Revision, e events.Event) {
		e.V, e.Document, e.Revision = 1, id, rev
		Fold(&d, &e)
	}
	poor := events.RevisionOf(9)
	whole := poor.Whole()
	away := &events.Failure{Message: "the service is away"}
	fold(poor, events.Event{What: events.Accepted, Bytes: 10})
	fold(whole, events.Event{What: events.Held, Failure: away})
	if d.Held != away.Message || d.State != events.StateAccepted || d.Revision != poor {
		t.Errorf("a document that waits to be read: %+v", d)
	}
	fold(poor, events.Event{What: events.ParsedWhat, Parser: "local/1", Warnings: []string{"a picture"}})
	fold(whole, events.Event{What: events.Held, Failure: away})
	fold(poor, events.Event{What: events.Downgraded, Of: 3, Fingerprint: "poor"})
	if d.State != events.StateDegraded || d.Held != "" || d.Upgrade == nil || d.Upgrade.Held != away.Message || d.Parser != "local/1" || d.Live.Fingerprint != "poor" {
		t.Errorf("degraded: %+v %+v", d, d.Upgrade)
	}
	fold(whole, events.Event{What: events.ParsedWhat, Parser: "paid/2"})
	fold(whole, events.Event{What: events.Embedded, Of: 7})
	if d.State != events.StateDegraded || d.Upgrade != nil || d.Chunks != 3 || d.Parser != "local/1" {
		t.Errorf("under way: %+v %+v", d, d.Upgrade)
	}
	refused := &events.Failure{Reason: "input-refused"}
	fold(whole, events.Event{What: events.Failed, Failure: refused})
	fold(whole, events.Event{What: events.Held, Failure: away}) // late
	fold(poor, events.Event{What: events.Downgraded, Of: 3, Fingerprint: "poor"})
	if d.State != events.StateDegraded || d.Failure != nil || d.Upgrade == nil || d.Upgrade.Failure != refused {
		t.Errorf("refused: %+v %+v", d, d.Upgrade)
	}
	fold(whole, events.Event{What: events.Completed, Of: 7, Parser: "paid/2", Fingerprint: "good"})
	if d.State != events.StateComplete || d.Upgrade != nil || d.Warnings != nil || d.Parser != "paid/2" || d.Revision != whole || d.Chunks != 7 || d.Live.Fingerprint != "good" || d.Live.Degraded {
		t.Errorf("whole: %+v %+v", d, d.Upgrade)
	}
}

// While releases run side by side, an entry that only the newer one can read is
// left to it: what it says of live content and deletions is in no event any more.
func TestANewerEntryIsLeftToANewerRecorder(t *testing.T) {
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), stage.DefaultSettings())
	kv, err := env.JS.KeyValue(t.Context(), events.BucketDocuments)
	if err != nil {
		t.Fatal(err)
	}
	id := events.DocumentID("t", "n")
	newer := `{"v":2,"document":"` + id + `","gone":9}`
	if _, err := kv.PutString(t.Context(), id, newer); err != nil {
		t.Fatal(err)
	}
	s, err := RecorderStage(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	natstest.Run(t, env, s)
	other := events.DocumentID("t", "other")
	for _, d := range []string{id, other} {
		e := events.Event{V: events.Version, What: events.Accepted, Document: d, Revision: events.RevisionOf(1), Time: time.Now()}
		if _, err := env.JS.Publish(t.Context(), events.EventSubject(d, events.Accepted), events.Encode(e)); err != nil {
			t.Fatal(err)
		}
	}
	natstest.Eventually(t, 10*time.Second, "the next document is recorded", func() bool { _, err := kv.Get(t.Context(), other); return err == nil })
	natstest.Eventually(t, 10*time.Second, "the event is set aside", func() bool {
		c, err := env.JS.Consumer(t.Context(), events.StreamEvents, s.Name)
		if err == nil && c.CachedInfo().NumAckPending == 1 {
			return true
		}
		held, err := env.JS.Stream(t.Context(), events.StreamHeld)
		return err == nil && held.CachedInfo().State.Msgs == 1
	})
	if e, err := kv.Get(t.Context(), id); err != nil || string(e.Value()) != newer {
		t.Errorf("the entry is %s, %v", e.Value(), err)
	}
}
