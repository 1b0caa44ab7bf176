package revision

import (
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"sluice/pkg/events"
	"sluice/pkg/words"
	"sluice/services/indexer/index"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func vector(revision events.Revision, of int, degraded bool) *events.Vector {
	v := &events.Vector{Degraded: degraded}
	v.Revision, v.Of, v.ID = revision, of, "key"
	return v
}

func TestOfVector(t *testing.T) {
	whole, partly := &State{Revision: 5, Chunks: 2}, &State{Revision: 5, Chunks: 2, Degraded: 1}
	for _, c := range []struct {
		name    string
		v       *events.Vector
		floor   events.Revision
		visible *State
		want    index.Kind
	}{
		{"the first", vector(5, 2, false), 0, nil, index.Staged},
		{"newer than the visible", vector(6, 2, false), 0, whole, index.Staged},
		{"older than the visible", vector(4, 2, false), 0, whole, index.Stale},
		{"older than a deletion", vector(4, 2, false), 5, nil, index.Stale},
		{"at a deletion's revision", vector(5, 2, false), 5, nil, index.Staged},
		{"of the visible, which is whole", vector(5, 2, false), 0, whole, index.Repeated},
		{"good, where a fallback's is", vector(5, 2, false), 0, partly, index.Upgraded},
		{"a fallback's, where a fallback's is", vector(5, 2, true), 0, partly, index.Repeated},
		{"of another cut", vector(5, 3, false), 0, partly, index.Repeated},
	} {
		if got := OfVector(c.v, c.floor, c.visible); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestStays(t *testing.T) {
	for _, c := range []struct {
		name     string
		old      Chunk
		degraded bool
		visible  bool
		want     bool
	}{
		{"a repeat", Chunk{Key: "key"}, false, false, true},
		{"a good one for a fallback's", Chunk{Key: "key", Degraded: true}, false, false, false},
		{"a fallback's for a fallback's", Chunk{Key: "key", Degraded: true}, true, false, true},
		{"another text, staged", Chunk{Key: "other"}, false, false, false},
		{"another text, visible", Chunk{Key: "other", Degraded: true}, false, true, true},
		{"a good one for a fallback's, visible", Chunk{Key: "key", Degraded: true}, false, true, false},
	} {
		if got := c.old.Stays(vector(5, 2, c.degraded), c.visible); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestOfTombstone(t *testing.T) {
	visible := &State{Revision: 5, About: &events.About{ContentHash: "hash"}}
	for _, c := range []struct {
		name     string
		revision events.Revision
		confirm  string
		floor    events.Revision
		visible  *State
		want     index.Kind
	}{
		{"deletes", 6, "", 0, visible, index.Deleted},
		{"deletes what is not there", 6, "", 0, nil, index.Deleted},
		{"of the visible revision", 5, "", 0, visible, index.Stale},
		{"older than a deletion", 4, "", 5, nil, index.Stale},
		{"confirms", 6, "hash", 0, visible, index.Confirmed},
		{"confirms again", 5, "hash", 0, visible, index.Confirmed},
		{"confirms other content", 6, "other", 0, visible, index.ConfirmMismatch},
		{"confirms other content too late", 5, "other", 0, visible, index.Stale},
		{"confirms too late", 4, "hash", 0, visible, index.Stale},
		{"confirms what is not there", 6, "hash", 0, nil, index.ConfirmMismatch},
	} {
		m := &events.Tombstone{Revision: c.revision, Confirm: c.confirm}
		if got := OfTombstone(m, c.floor, c.visible); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestParallelDoesEachOnce(t *testing.T) {
	for _, n := range []int{0, 1, 16, 31, 1000} {
		done := make([]atomic.Int32, n)
		Parallel(n, words.NewPool(), func(i int, _ *words.Analyzer) { done[i].Add(1) })
		for i := range done {
			if got := done[i].Load(); got != 1 {
				t.Errorf("%d of %d was done %d times", i, n, got)
			}
		}
	}
}
