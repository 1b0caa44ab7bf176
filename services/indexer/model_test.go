package indexer

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sluice/pkg/clock"
	"sluice/pkg/events"
	"sluice/services/indexer/index"
	"sluice/services/indexer/internal/revision"
)

// world is a pipeline reduced to what decides what is newer: a server whose clock
// is anything, a parser that reads revisions by package clock, an index with the
// rules of package revision, and the entries that the recorder folds.
type world struct {
	now  time.Time // of the server
	here time.Time // of the parser, which is right

	stream streams
	index  map[string]indexed
	reader *clock.Reader
	// hole is the second for which the mark does not tell what was read before the
	// parser started: the times that the model does not let a clock jump into.
	hole [2]uint64
}

// streams is all that a backup of JetStream holds.
type streams struct {
	sequence uint64
	mark     clock.Mark
	underWay []op
	letters  []op // submissions that may be replayed
	entries  map[string]events.Document
}

func (s streams) clone() streams {
	s.underWay, s.entries, s.mark.Steps = slices.Clone(s.underWay), maps.Clone(s.entries), slices.Clone(s.mark.Steps)
	s.letters = slices.Clone(s.letters)
	return s
}

// op is a submission, or a deletion, after the parser.
type op struct {
	document string
	revision events.Revision
	content  string // "" is a deletion
}

type indexed struct {
	floor   events.Revision
	visible op // its revision is 0 if there is none
}

// restart has the parser and the indexer begin with what is there.
func (w *world) restart() {
	newest := events.Revision(0)
	for _, x := range w.index {
		newest = max(newest, x.floor, x.visible.revision)
	}
	if newest > 0 && (w.stream.mark.Clock < newest.Submission() || w.stream.mark.Until < newest.Submission()) {
		w.stream.mark.Raise(w.stream.sequence, newest.Submission())
	}
	w.reader, w.hole = clock.NewReader(w.stream.mark), [2]uint64{w.stream.mark.Clock, w.stream.mark.Until}
	w.reader.Rewind(w.stream.sequence)
}

// submit stores a submission and has the parser read it.
func (w *world) submit(document, content string) op {
	w.stream.sequence++
	if c := w.stream.mark.Of(w.stream.sequence, w.now); c+1000 > w.hole[0] && c <= w.hole[1] {
		w.now = clock.Time(w.hole[1] + 1)
	}
	at, _ := w.reader.Read(document, w.stream.sequence, w.now)
	if due := w.reader.Due(at, w.here); due != nil {
		w.stream.mark = *due
		w.stream.mark.Steps = slices.Clone(due.Steps)
		w.reader.Stored(*due, w.here)
	}
	o := op{document, events.RevisionOf(at).Whole(), content}
	w.stream.underWay = append(w.stream.underWay, o)
	return o
}

// deliver has the index take an operation, and the recorder hear of it.
func (w *world) deliver(o op) {
	x := w.index[o.document]
	var visible *revision.State
	if x.visible.revision != 0 {
		visible = &revision.State{Revision: x.visible.revision, Chunks: 1, Have: 1, About: &events.About{ContentHash: x.visible.content}}
	}
	e := events.Event{V: 1, Document: o.document, Revision: o.revision, Stage: Name, ContentHash: o.content, Of: 1}
	if o.content == "" {
		if revision.OfTombstone(&events.Tombstone{Revision: o.revision}, x.floor, visible) == index.Stale {
			return
		}
		x.floor, x.visible = o.revision, op{}
		e.What = events.Deleted
	} else {
		v := &events.Vector{Chunk: events.Chunk{Revision: o.revision, Of: 1}}
		if revision.OfVector(v, x.floor, visible) != index.Staged {
			return
		}
		x.visible = o
		e.What = events.Completed
	}
	w.index[o.document] = x
	w.fold(e)
}

func (w *world) fold(e events.Event) {
	d, ok := w.stream.entries[e.Document]
	if !ok {
		d = events.Document{V: 1, Document: e.Document}
	}
	Fold(&d, &e)
	w.stream.entries[e.Document] = d
}

// reconcile does what the reconciler does.
func (w *world) reconcile() {
	for _, id := range []string{"a", "b", "c"} {
		for range 3 {
			x := w.index[id]
			held := index.Document{Floor: x.floor}
			if x.visible.revision != 0 {
				held.Visible = &index.Revision{About: events.About{Revision: x.visible.revision, ContentHash: x.visible.content}, Chunks: 1}
			}
			var entry *events.Document
			if d, ok := w.stream.entries[id]; ok {
				entry = &d
			}
			switch e := (events.Event{V: 1, Document: id, Stage: Reconciler, Of: 1}); differs(entry, held) {
			case tellComplete:
				e.What, e.Revision, e.ContentHash = events.Completed, x.visible.revision, x.visible.content
				w.fold(e)
			case tellDeleted:
				e.What, e.Revision = events.Deleted, x.floor
				w.fold(e)
			case removeIt:
				w.deliver(op{id, entry.Gone, ""})
			case tellLost:
				e.What, e.Revision, e.Failure = events.Failed, entry.Revision, &events.Failure{Reason: ReasonIndexLost}
				if entry.Live != nil {
					e.Revision = entry.Live.Revision
				}
				w.fold(e)
			}
		}
	}
}

// TestTheNewestIntentionWins draws submissions, deletions, replays, redeliveries in
// any order, backups and restores of the streams, the index or both, and jumps of
// the server's clock. What was meant last since the last restore is what the
// index holds in the end, and entries say what the index holds, or that it is lost.
func TestTheNewestIntentionWins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
		w := &world{now: start, here: start, index: map[string]indexed{}, stream: streams{entries: map[string]events.Document{}}}
		w.restart()
		streamBackup, indexBackup := w.stream.clone(), maps.Clone(w.index)
		meant := map[string]op{} // since the last restore
		document := rapid.SampledFrom([]string{"a", "b", "c"})
		for n := range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{
				"submit", "submit", "submit", "delete", "deliver", "deliver", "again", "replay", "jump", "pass",
				"restart", "back up streams", "back up index", "restore streams", "restore index", "reconcile",
			}).Draw(t, "what") {
			case "submit":
				o := w.submit(document.Draw(t, "document"), fmt.Sprint("content ", n))
				meant[o.document] = o
				w.stream.letters = append(w.stream.letters, o)
			case "delete":
				o := w.submit(document.Draw(t, "document"), "")
				meant[o.document] = o
			case "deliver": // whatever overtakes what
				if len(w.stream.underWay) > 0 {
					i := rapid.IntRange(0, len(w.stream.underWay)-1).Draw(t, "which")
					w.deliver(w.stream.underWay[i])
					w.stream.underWay = slices.Delete(w.stream.underWay, i, i+1)
				}
			case "again":
				if len(w.stream.underWay) > 0 {
					w.deliver(rapid.SampledFrom(w.stream.underWay).Draw(t, "which"))
				}
			case "replay": // of a dead letter: it keeps its revision
				if len(w.stream.letters) > 0 {
					w.stream.underWay = append(w.stream.underWay, rapid.SampledFrom(w.stream.letters).Draw(t, "letter"))
				}
			case "jump":
				w.now = w.now.Add(time.Duration(rapid.Int64Range(-3_600_000_000, 3_600_000_000).Draw(t, "by")) * time.Microsecond)
			case "pass":
				d := time.Duration(rapid.IntRange(0, 5_000_000).Draw(t, "us")) * time.Microsecond
				w.now, w.here = w.now.Add(d), w.here.Add(d)
			case "restart":
				w.restart()
			case "back up streams":
				streamBackup = w.stream.clone()
			case "back up index":
				indexBackup = maps.Clone(w.index)
			case "restore streams":
				w.stream = streamBackup.clone()
				clear(meant)
				w.restart()
			case "restore index":
				w.index = maps.Clone(indexBackup)
				clear(meant)
				w.restart()
			case "reconcile":
				w.reconcile()
			}
		}
		for _, o := range w.stream.underWay {
			w.deliver(o)
		}
		w.reconcile()
		for id, want := range meant {
			if x := w.index[id]; x.visible.content != want.content {
				t.Fatalf("%s holds %+v, and %+v was meant last; the mark is %+v", id, x, want, w.stream.mark)
			}
		}
		for id, d := range w.stream.entries {
			x := w.index[id]
			switch {
			case x.visible.revision != 0 && x.visible.revision <= d.Gone:
				t.Fatalf("%s was deleted at %d and holds %+v", id, d.Gone, x)
			case d.Live != nil && d.Live.Revision != x.visible.revision:
				t.Fatalf("the entry of %s tells %+v, the index holds %+v", id, d.Live, x)
			case d.Live == nil && x.visible.revision != 0:
				t.Fatalf("the entry of %s tells nothing, the index holds %+v: %+v", id, x, d)
			case d.State == events.StateComplete && d.Live == nil:
				t.Fatalf("%s is complete without its text", id)
			}
		}
	})
}
