package indexer

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"sluice/pkg/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var whats = []events.What{
	events.Accepted, events.ParsedWhat, events.Chunked, events.Embedded, events.Indexed, events.Completed,
	events.Duplicated, events.Downgraded, events.Superseded, events.Failed, events.Deleted,
}

// Events of a document may come late, twice and in any order: the entry must
// say the same.
func TestFoldDoesNotDependOnTheOrder(t *testing.T) {
	id := events.DocumentID("t", "n")
	rapid.Check(t, func(t *rapid.T) {
		var all []*events.Event
		// One revision of a document has one end: what it is made of says so.
		for rev := events.Revision(1); rev <= 4; rev++ {
			end := rapid.SampledFrom([]events.What{events.Completed, events.Duplicated, events.Deleted, events.Failed, events.Superseded}).Draw(t, "end")
			for _, w := range whats {
				early := w == events.Accepted || w == events.ParsedWhat || w == events.Chunked || w == events.Embedded || w == events.Indexed
				if (early || w == end) && rapid.Bool().Draw(t, "happens") {
					e := &events.Event{
						V: 1, What: w, Document: id, Revision: rev, Time: time.Unix(int64(rev), int64(len(all))),
						ContentHash: string(rune('a' + rev)), Of: int(rev), Chunks: int(rev),
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
			!reflect.DeepEqual(got.Failure, want.Failure) || got.Chunks != want.Chunks {
			t.Fatalf("in order   %+v %+v\nshuffled   %+v %+v", want, want.Live, got, got.Live)
		}
	})
}

func TestALateCompletionDoesNotBringADeletedDocumentBack(t *testing.T) {
	id := events.DocumentID("t", "n")
	d := events.Document{V: 1, Document: id}
	for _, e := range []events.Event{
		{What: events.Accepted, Revision: 5},
		{What: events.Deleted, Revision: 6},
		{What: events.Accepted, Revision: 7},
		{What: events.Completed, Revision: 5, ContentHash: "old"},
	} {
		e.V, e.Document = 1, id
		Fold(&d, &e)
	}
	if d.State != events.StateAccepted || d.Revision != 7 || d.Live != nil {
		t.Errorf("%+v live %+v", d, d.Live)
	}
}
