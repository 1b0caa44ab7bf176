// Package conformance is what package index promises, as tests. A store that
// passes Run can take the place of any other.
package conformance

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/services/indexer/index"
)

// Run tests a store. open returns an empty one, and sees to it that it is
// closed when its test ends.
func Run(t *testing.T, open func(t *testing.T) index.Store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, index.Store)
	}{
		{"a revision shows when it is whole", testStaging},
		{"a newer revision replaces an older one", testReplacement},
		{"newer wins in any order of arrival", testOvertaking},
		{"chunks that two revisions share", testSharedChunks},
		{"different cuts of one revision do not mix", testCuts},
		{"a good vector replaces a fallback's", testDegraded},
		{"deletion", testDeletion},
		{"confirmation", testConfirmation},
		{"tenants are apart", testTenants},
		{"what is wrong is refused alone", testRefusals},
		{"models are apart", testModels},
		{"empty", testEmpty},
		{"keyword search", testKeyword},
		{"languages", testLanguages},
		{"any text is a query", testHostileQueries},
		{"vector search", testVector},
		{"hybrid search", testHybrid},
		{"metadata filters", testMeta},
		{"bad queries", testBadQueries},
		{"a hit tells all", testHit},
		{"order and batches do not matter", testOrder},
		{"a cancelled call changes nothing", testCancelled},
		{"readers and writers at once", testConcurrency},
		{"documents are listed", testDocuments},
		{"close", testClose},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
	t.Run("random operations", func(t *testing.T) { testRandom(t, open) })
}

// Dimensions of the vectors that the suite stores.
const Dimensions = 32

const model = "m-32"

// doc describes one revision of a document to submit.
type doc struct {
	tenant   string // default: events.DefaultTenant
	name     string
	revision events.Revision
	texts    []string
	content  string // its content hash
	model    string
	degraded bool
	meta     map[string]string
	title    string
	headings []string
	header   string
	language string
	vectors  [][]float32 // default: made from the texts
}

func (d doc) id() string { return events.DocumentID(d.owner(), d.name) }

func (d doc) owner() string {
	if d.tenant == "" {
		return events.DefaultTenant
	}
	return d.tenant
}

// ops returns the operations that bring d, in order.
func (d doc) ops() []index.Op {
	var ops []index.Op
	for i, text := range d.texts {
		v := &events.Vector{Model: d.model, Degraded: d.degraded, Nano: 7, Reused: i%2 == 1}
		if v.Model == "" {
			v.Model = model
		}
		vector := unit(text)
		if d.vectors != nil {
			vector = d.vectors[i]
		}
		v.Embedding = events.EncodeVector(vector)
		v.Document, v.Revision, v.Tenant = d.id(), d.revision, d.owner()
		v.ID = events.ChunkID(v.Document, i, events.TextHash(text), "fingerprint")
		v.Ordinal, v.Of = i, len(d.texts)
		v.Text, v.Start, v.End = text, 100*i, 100*i+len(text)
		v.Headings, v.Header, v.Language, v.Page = d.headings, d.header, d.language, i+1
		v.Tokens, v.InputTokens = len(text), len(text)+1
		if i == 0 {
			v.About = &events.About{
				Document: v.Document, Revision: d.revision, Tenant: d.owner(), Name: d.name, ContentHash: d.content,
				Fingerprint: "fingerprint", Facts: events.Facts{Title: d.title}, Meta: d.meta,
			}
		}
		ops = append(ops, index.Op{Vector: v})
	}
	return ops
}

func (d doc) tombstone(confirm string) index.Op {
	return index.Op{Tombstone: &events.Tombstone{
		V: events.Version, Document: d.id(), Revision: d.revision, Tenant: d.owner(), Name: d.name, Confirm: confirm,
	}}
}

// unit returns a vector that depends on text alone.
func unit(text string) []float32 {
	seed := []byte(events.TextHash(text))[:32]
	r := rand.New(rand.NewChaCha8([32]byte(seed)))
	v := make([]float32, Dimensions)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

func apply(t testing.TB, s index.Store, ops ...index.Op) []index.Outcome {
	t.Helper()
	out, err := s.Apply(context.Background(), ops)
	if err != nil {
		t.Fatal("Apply:", err)
	}
	if len(out) != len(ops) {
		t.Fatalf("Apply returned %d outcomes for %d operations", len(out), len(ops))
	}
	return out
}

// put applies d and wants it to become visible.
func put(t testing.TB, s index.Store, d doc) {
	t.Helper()
	out := apply(t, s, d.ops()...)
	if k := out[len(out)-1].Kind; k != index.Completed {
		t.Fatalf("the last chunk of %s revision %d is %v, want %v", d.name, d.revision, k, index.Completed)
	}
}

func kinds(out []index.Outcome) []index.Kind {
	var k []index.Kind
	for _, o := range out {
		k = append(k, o.Kind)
	}
	return k
}

func wantKinds(t testing.TB, out []index.Outcome, want ...index.Kind) {
	t.Helper()
	if got := kinds(out); !slices.Equal(got, want) {
		t.Fatalf("outcomes %v, want %v", got, want)
	}
}

// wantVisible wants exactly these texts of a document to be found, and nothing
// of the others, by every way of looking.
func wantVisible(t testing.TB, s index.Store, d doc, revision events.Revision, texts ...string) {
	t.Helper()
	got, err := s.Document(context.Background(), d.tenant, d.id())
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case len(texts) == 0:
		if got.Visible != nil {
			t.Fatalf("%s is visible at revision %d, want nothing", d.name, got.Visible.About.Revision)
		}
	case got.Visible == nil:
		t.Fatalf("%s is not visible, want revision %d", d.name, revision)
	case got.Visible.About.Revision != revision || got.Visible.Chunks != len(texts):
		t.Fatalf("%s is visible at revision %d with %d chunks, want %d with %d", d.name, got.Visible.About.Revision, got.Visible.Chunks, revision, len(texts))
	}
	var dumped []string
	for _, e := range dump(t, s) {
		if e.Document == d.id() && e.Tenant == d.owner() {
			dumped = append(dumped, fmt.Sprint(e.Ordinal, e.Revision, e.Chunk))
		}
	}
	var want []string
	for i, text := range texts {
		want = append(want, fmt.Sprint(i, revision, events.ChunkID(d.id(), i, events.TextHash(text), "fingerprint")))
	}
	if !slices.Equal(dumped, want) {
		t.Fatalf("%s holds %v, want %v", d.name, dumped, want)
	}
	for _, mode := range []index.Mode{index.Keyword, index.Vector} {
		var found []string
		for _, text := range append([]string{"nothing like it"}, texts...) {
			for _, h := range search(t, s, index.Query{Text: text, Vector: unit(text), Model: model, Mode: mode, Tenant: d.tenant, K: index.MaxK}) {
				if h.Document == d.id() {
					if h.Revision != revision {
						t.Fatalf("%s search finds revision %d of %s, want %d", mode, h.Revision, d.name, revision)
					}
					found = append(found, h.Text)
				}
			}
		}
		slices.Sort(found)
		if found, texts := slices.Compact(found), slices.Compact(slices.Sorted(slices.Values(texts))); !slices.Equal(found, texts) {
			t.Fatalf("%s search finds %q of %s, want %q", mode, found, d.name, texts)
		}
	}
}

func dump(t testing.TB, s index.Store) []index.Entry {
	t.Helper()
	var entries []index.Entry
	err := s.Dump(context.Background(), func(e index.Entry) error {
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		t.Fatal("Dump:", err)
	}
	return entries
}

func search(t testing.TB, s index.Store, q index.Query) []events.Hit {
	t.Helper()
	hits, err := s.Search(context.Background(), q)
	if err != nil {
		t.Fatalf("Search %+v: %v", q, err)
	}
	return hits
}

func texts(hits []events.Hit) []string {
	var out []string
	for _, h := range hits {
		out = append(out, h.Text)
	}
	return out
}

func testStaging(t *testing.T, s index.Store) {
	d := doc{name: "a", revision: 5, texts: []string{"apple pie", "banana split", "cherry cake"}, content: "h"}
	ops := d.ops()
	out := apply(t, s, ops[2], ops[0])
	wantKinds(t, out, index.Staged, index.Staged)
	if out[0].Have != 1 || out[1].Have != 2 || out[1].Of != 3 {
		t.Fatalf("counts %+v", out)
	}
	wantVisible(t, s, d, 0)
	got, err := s.Document(context.Background(), "", d.id())
	if err != nil || !slices.Equal(got.Staged, []index.Staging{{Revision: 5, Have: 2, Of: 3}}) {
		t.Fatalf("staged %+v, %v", got, err)
	}
	if stats, err := s.Stats(context.Background()); err != nil || stats.Staged != 2 || stats.Documents != 0 {
		t.Fatalf("stats %+v, %v", stats, err)
	}
	wantKinds(t, apply(t, s, ops[2], ops[0]), index.Repeated, index.Repeated)
	out = apply(t, s, ops[1], ops[1], ops[0])
	wantKinds(t, out, index.Completed, index.Repeated, index.Repeated)
	r := out[0].Revision
	if r == nil || r.About.Name != "a" || r.About.Revision != 5 || r.Chunks != 3 || r.Reused != 1 || r.Degraded != 0 ||
		r.Nano != 21 || r.Tokens != len("apple piebanana splitcherry cake")+3 || r.Model != model {
		t.Fatalf("completed as %+v", r)
	}
	for i, o := range append(out[1:], apply(t, s, ops[2])...) {
		if o.Kind != index.Repeated || o.Revision == nil || o.Revision.About.Revision != 5 {
			t.Fatalf("repetition %d of a visible chunk: %+v, want it to name the visible revision", i, o)
		}
	}
	wantVisible(t, s, d, 5, d.texts...)
	stats, err := s.Stats(context.Background())
	if err != nil || stats.Staged != 0 || stats.Documents != 1 ||
		!slices.Equal(stats.Spaces, []index.Space{{Tenant: events.DefaultTenant, Model: model, Dimensions: Dimensions, Chunks: 3}}) {
		t.Fatalf("stats %+v, %v", stats, err)
	}
}

func testReplacement(t *testing.T, s index.Store) {
	old := doc{name: "a", revision: 5, texts: []string{"apple pie", "banana split"}}
	put(t, s, old)
	next := doc{name: "a", revision: 9, texts: []string{"date tart", "elderberry jam", "fig roll"}}
	ops := next.ops()
	apply(t, s, ops[:2]...)
	wantVisible(t, s, old, 5, old.texts...) // until the new one is whole
	wantKinds(t, apply(t, s, ops[2]), index.Completed)
	wantVisible(t, s, next, 9, next.texts...)
	fewer := doc{name: "a", revision: 10, texts: []string{"grape juice"}}
	put(t, s, fewer)
	wantVisible(t, s, fewer, 10, fewer.texts...)
}

func testOvertaking(t *testing.T, s index.Store) {
	old := doc{name: "a", revision: 5, texts: []string{"apple pie", "banana split"}}
	middle := doc{name: "a", revision: 7, texts: []string{"cherry cake", "date tart"}}
	newest := doc{name: "a", revision: 9, texts: []string{"elderberry jam", "fig roll"}}
	apply(t, s, old.ops()[0], newest.ops()[1], middle.ops()[0])
	// An older revision may show while the newer one is not whole.
	wantKinds(t, apply(t, s, middle.ops()[1]), index.Completed)
	wantVisible(t, s, middle, 7, middle.texts...)
	out := apply(t, s, old.ops()[1])
	wantKinds(t, out, index.Stale)
	if out[0].Revision == nil || out[0].Revision.About.Revision != 7 {
		t.Fatalf("stale because of %+v, want revision 7", out[0].Revision)
	}
	wantKinds(t, apply(t, s, newest.ops()[0]), index.Completed)
	wantVisible(t, s, newest, 9, newest.texts...)
	wantKinds(t, apply(t, s, append(middle.ops(), old.ops()...)...), index.Stale, index.Stale, index.Stale, index.Stale)
	wantVisible(t, s, newest, 9, newest.texts...)
	if got, err := s.Document(context.Background(), "", old.id()); err != nil || len(got.Staged) != 0 {
		t.Fatalf("staged leftovers %+v, %v", got.Staged, err)
	}
}

func testSharedChunks(t *testing.T, s index.Store) {
	old := doc{name: "a", revision: 5, texts: []string{"apple pie", "banana split", "cherry cake"}}
	put(t, s, old)
	next := doc{name: "a", revision: 6, texts: []string{"apple pie", "date tart", "cherry cake"}}
	apply(t, s, next.ops()[:2]...)
	wantVisible(t, s, old, 5, old.texts...)
	apply(t, s, next.ops()[2])
	wantVisible(t, s, next, 6, next.texts...)
	wantKinds(t, apply(t, s, old.ops()[0]), index.Stale)
	wantVisible(t, s, next, 6, next.texts...)
	same := doc{name: "a", revision: 8, texts: next.texts}
	put(t, s, same)
	wantVisible(t, s, same, 8, next.texts...)
}

func testCuts(t *testing.T, s index.Store) {
	two := doc{name: "a", revision: 5, texts: []string{"apple pie and banana", "split"}}
	three := doc{name: "a", revision: 5, texts: []string{"apple pie", "and banana", "split"}}
	wantKinds(t, apply(t, s, two.ops()[0], three.ops()[1], three.ops()[2]), index.Staged, index.Staged, index.Staged)
	wantVisible(t, s, two, 0)
	wantKinds(t, apply(t, s, three.ops()[0], two.ops()[1]), index.Completed, index.Repeated)
	wantVisible(t, s, three, 5, three.texts...)
	// Other text at a place that is taken replaces it: the later is as good as
	// the earlier, and one of them must be counted.
	first := doc{name: "b", revision: 5, texts: []string{"old words", "rest"}}
	second := doc{name: "b", revision: 5, texts: []string{"other words", "rest"}}
	wantKinds(t, apply(t, s, first.ops()[0], second.ops()[0], second.ops()[1]), index.Staged, index.Staged, index.Completed)
	wantVisible(t, s, second, 5, second.texts...)
}

func testDegraded(t *testing.T, s index.Store) {
	fallback := doc{name: "a", revision: 5, texts: []string{"apple pie", "banana split", "cherry cake"}, model: "lex-v1-1536", degraded: true}
	good := doc{name: "a", revision: 5, texts: fallback.texts}
	wantKinds(t, apply(t, s, fallback.ops()[0], fallback.ops()[1], good.ops()[0], fallback.ops()[0]), index.Staged, index.Staged, index.Staged, index.Repeated)
	out := apply(t, s, good.ops()[2])
	wantKinds(t, out, index.Completed)
	if r := out[0].Revision; r.Degraded != 1 || r.Model != model || r.Chunks != 3 || r.Nano != 21 {
		t.Fatalf("completed as %+v, want one of three chunks degraded", r)
	}
	stats, err := s.Stats(context.Background())
	if err != nil || len(stats.Spaces) != 2 {
		t.Fatalf("stats %+v, %v", stats, err)
	}
	hits := search(t, s, index.Query{Text: "banana apple", Mode: index.Keyword})
	if len(hits) != 2 {
		t.Fatalf("words are found in %q, want both spaces", texts(hits))
	}
	for _, h := range hits {
		if want := map[bool]string{true: "lex-v1-1536", false: model}[h.Text == "banana split"]; h.Model != want {
			t.Errorf("%q has model %s, want %s", h.Text, h.Model, want)
		}
	}

	// What is visible is upgraded in place, and by nothing but the same chunk.
	other := doc{name: "a", revision: 5, texts: []string{"apple pie", "something else", "cherry cake"}}
	cut := doc{name: "a", revision: 5, texts: []string{"apple pie", "banana split"}}
	wantKinds(t, apply(t, s, fallback.ops()[1], other.ops()[1], cut.ops()[1]), index.Repeated, index.Repeated, index.Repeated)
	out = apply(t, s, good.ops()[1])
	wantKinds(t, out, index.Completed)
	if r := out[0].Revision; r.Degraded != 0 || r.Model != model || r.Nano != 21 || r.Reused != 1 {
		t.Fatalf("upgraded to %+v, want no chunk degraded", r)
	}
	wantKinds(t, apply(t, s, good.ops()[1], fallback.ops()[1]), index.Repeated, index.Repeated)
	wantVisible(t, s, good, 5, good.texts...)
	for _, h := range search(t, s, index.Query{Text: "banana", Mode: index.Keyword}) {
		if h.Model != model {
			t.Errorf("%q still has model %s", h.Text, h.Model)
		}
	}
	two := doc{name: "b", revision: 6, texts: []string{"date tart", "elderberry jam"}, model: "lex-v1-1536", degraded: true}
	better := doc{name: "b", revision: 6, texts: two.texts}
	wantKinds(t, apply(t, s, two.ops()...), index.Staged, index.Completed)
	wantKinds(t, apply(t, s, better.ops()...), index.Upgraded, index.Completed)
	older := doc{name: "b", revision: 5, texts: two.texts}
	wantKinds(t, apply(t, s, older.ops()[0]), index.Stale)
}

func testDeletion(t *testing.T, s index.Store) {
	d := doc{name: "a", revision: 5, texts: []string{"apple pie", "banana split"}}
	put(t, s, d)
	staged := doc{name: "a", revision: 6, texts: []string{"cherry cake", "date tart"}}
	apply(t, s, staged.ops()[0])
	grave := doc{name: "a", revision: 8}
	wantKinds(t, apply(t, s, grave.tombstone("")), index.Deleted)
	wantVisible(t, s, d, 0)
	wantKinds(t, apply(t, s, grave.tombstone(""), d.ops()[0], staged.ops()[1]), index.Deleted, index.Stale, index.Stale)
	earlier := doc{name: "a", revision: 7}
	wantKinds(t, apply(t, s, earlier.tombstone(""), earlier.tombstone("h")), index.Stale, index.Stale)
	if stats, err := s.Stats(context.Background()); err != nil || stats.Staged != 0 || stats.Documents != 0 || len(stats.Spaces) != 0 {
		t.Fatalf("left over: %+v, %v", stats, err)
	}
	again := doc{name: "a", revision: 9, texts: []string{"elderberry jam"}}
	put(t, s, again)
	wantVisible(t, s, again, 9, again.texts...)
	// A deletion that comes late spares what is newer.
	wantKinds(t, apply(t, s, grave.tombstone("")), index.Stale)
	wantVisible(t, s, again, 9, again.texts...)
	// A deletion that comes before what it deletes.
	unborn := doc{name: "b", revision: 5, texts: []string{"fig roll"}}
	wantKinds(t, apply(t, s, doc{name: "b", revision: 6}.tombstone(""), unborn.ops()[0]), index.Deleted, index.Stale)
	wantVisible(t, s, unborn, 0)
	// A deletion spares the staging of what is newer.
	newer := doc{name: "c", revision: 9, texts: []string{"grape juice", "honey"}}
	wantKinds(t, apply(t, s, newer.ops()[0], doc{name: "c", revision: 8}.tombstone(""), newer.ops()[1]), index.Staged, index.Deleted, index.Completed)
	wantVisible(t, s, newer, 9, newer.texts...)
}

func testConfirmation(t *testing.T, s index.Store) {
	d := doc{name: "a", revision: 5, texts: []string{"apple pie", "banana split"}, content: "hash-1"}
	at := func(r events.Revision) doc { return doc{name: "a", revision: r, texts: d.texts, content: "hash-1"} }
	wantKinds(t, apply(t, s, at(4).tombstone("hash-1")), index.ConfirmMismatch) // nothing there
	put(t, s, d)
	wantKinds(t, apply(t, s, at(7).tombstone("hash-2")), index.ConfirmMismatch)
	wantVisible(t, s, d, 5, d.texts...)
	apply(t, s, at(6).ops()[0]) // staged, and overtaken by the confirmation
	out := apply(t, s, at(7).tombstone("hash-1"), at(7).tombstone("hash-1"))
	wantKinds(t, out, index.Confirmed, index.Confirmed)
	if r := out[0].Revision; r == nil || r.About.Revision != 7 || r.About.ContentHash != "hash-1" || r.Chunks != 2 {
		t.Fatalf("confirmed %+v", r)
	}
	wantVisible(t, s, d, 7, d.texts...)
	wantKinds(t, apply(t, s, at(6).ops()[1], at(7).tombstone("hash-2"), at(6).tombstone("hash-1"), doc{name: "a", revision: 6}.tombstone("")),
		index.Stale, index.Stale, index.Stale, index.Stale)
	wantVisible(t, s, d, 7, d.texts...)
	if got, err := s.Document(context.Background(), "", d.id()); err != nil || len(got.Staged) != 0 {
		t.Fatalf("staged leftovers %+v, %v", got.Staged, err)
	}
	next := doc{name: "a", revision: 8, texts: []string{"cherry cake"}, content: "hash-3"}
	put(t, s, next)
	wantVisible(t, s, next, 8, next.texts...)
	// Deleting what a confirmation raised takes a newer revision.
	wantKinds(t, apply(t, s, doc{name: "a", revision: 9}.tombstone("")), index.Deleted)
	wantKinds(t, apply(t, s, at(10).tombstone("hash-3")), index.ConfirmMismatch)
}

func testTenants(t *testing.T, s index.Store) {
	mine := doc{tenant: "acme", name: "a", revision: 5, texts: []string{"apple pie secret"}}
	put(t, s, mine)
	put(t, s, doc{name: "other", revision: 3, texts: []string{"apple juice"}})
	for _, q := range []index.Query{
		{Text: "apple pie secret", Mode: index.Keyword},
		{Vector: unit("apple pie secret"), Model: model, Mode: index.Vector},
		{Text: "apple pie secret", Vector: unit("apple pie secret"), Model: model},
	} {
		for tenant, want := range map[string]string{"acme": "apple pie secret", "": "apple juice", events.DefaultTenant: "apple juice"} {
			q.Tenant = tenant
			if got := texts(search(t, s, q)); !slices.Equal(got, []string{want}) {
				t.Errorf("tenant %q finds %q in mode %q, want %q", tenant, got, q.Mode, want)
			}
		}
		if q.Tenant = "nobody"; len(search(t, s, q)) != 0 {
			t.Error("a tenant without documents finds some")
		}
	}
	// Naming another tenant's document does not reach it.
	foreign := mine.ops()[0]
	foreign.Vector.Tenant, foreign.Vector.Revision = "evil", 99
	grave := doc{tenant: "acme", name: "a", revision: 100}.tombstone("")
	grave.Tombstone.Tenant = "evil"
	apply(t, s, foreign, grave)
	wantVisible(t, s, mine, 5, mine.texts...)
	late := doc{tenant: "acme", name: "a", revision: 6, texts: []string{"banana split"}}
	put(t, s, late)
	wantVisible(t, s, late, 6, late.texts...)
}

func testRefusals(t *testing.T, s index.Store) {
	good := doc{name: "good", revision: 5, texts: []string{"apple pie"}}
	broken := func(change func(v *events.Vector)) index.Op {
		op := doc{name: "bad", revision: 5, texts: []string{"banana split"}}.ops()[0]
		change(op.Vector)
		return op
	}
	put(t, s, doc{name: "first", revision: 1, texts: []string{"fixes the dimensions"}})
	zeros := make([]float32, Dimensions)
	nan := unit("x")
	nan[3] = float32(math.NaN())
	inf := unit("x")
	inf[4] = float32(math.Inf(1))
	for name, op := range map[string]index.Op{
		"neither":          {},
		"both":             {Vector: good.ops()[0].Vector, Tombstone: good.tombstone("").Tombstone},
		"other dimensions": broken(func(v *events.Vector) { v.Embedding = v.Embedding[:16] }),
		"no whole float":   broken(func(v *events.Vector) { v.Embedding = v.Embedding[:15] }),
		"no embedding":     broken(func(v *events.Vector) { v.Embedding = nil }),
		"zeros":            broken(func(v *events.Vector) { v.Embedding = events.EncodeVector(zeros) }),
		"not a number":     broken(func(v *events.Vector) { v.Embedding = events.EncodeVector(nan) }),
		"infinite":         broken(func(v *events.Vector) { v.Embedding = events.EncodeVector(inf) }),
		"no model":         broken(func(v *events.Vector) { v.Model = "" }),
		"no about":         broken(func(v *events.Vector) { v.About = nil }),
		"ordinal":          broken(func(v *events.Vector) { v.Ordinal = 1 }),
		"negative ordinal": broken(func(v *events.Vector) { v.Ordinal = -1 }),
		"of":               broken(func(v *events.Vector) { v.Of = 0 }),
		"too many chunks":  broken(func(v *events.Vector) { v.Of = index.MaxChunks + 1 }),
		"revision":         broken(func(v *events.Vector) { v.Revision = math.MaxUint64 }),
		"tombstone":        {Tombstone: &events.Tombstone{Document: good.id()}},
	} {
		before := good
		before.name = "before " + name
		after := good
		after.name = "after " + name
		out := apply(t, s, before.ops()[0], op, after.ops()[0])
		if !slices.Equal(kinds(out), []index.Kind{index.Completed, index.Refused, index.Completed}) {
			t.Errorf("%s: outcomes %v", name, kinds(out))
			continue
		}
		var f *fault.Error
		if !errors.As(out[1].Err, &f) || f.Class != fault.Validation || f.Reason == "" {
			t.Errorf("%s: error %#v, want a validation fault", name, out[1].Err)
		}
	}
	wantVisible(t, s, doc{name: "bad"}, 0)
	if out := apply(t, s); len(out) != 0 {
		t.Error("no operations give outcomes", out)
	}
}

func testModels(t *testing.T, s index.Store) {
	put(t, s, doc{name: "a", revision: 1, texts: []string{"apple pie"}})
	wide := make([]float32, 48)
	wide[0] = 1
	put(t, s, doc{name: "b", revision: 2, texts: []string{"banana split"}, model: "m-48", vectors: [][]float32{wide}})
	if got := texts(search(t, s, index.Query{Vector: unit("x"), Model: model, Mode: index.Vector})); !slices.Equal(got, []string{"apple pie"}) {
		t.Errorf("model %s finds %q", model, got)
	}
	if got := texts(search(t, s, index.Query{Vector: wide, Model: "m-48", Mode: index.Vector})); !slices.Equal(got, []string{"banana split"}) {
		t.Errorf("model m-48 finds %q", got)
	}
	if got := search(t, s, index.Query{Vector: wide, Model: "m-unknown", Mode: index.Vector}); len(got) != 0 {
		t.Errorf("an unknown model finds %q", texts(got))
	}
	if got := texts(search(t, s, index.Query{Text: "apples bananas", Vector: wide, Model: "m-unknown"})); len(got) != 2 {
		t.Errorf("hybrid search by an unknown model finds %q, want the words all the same", got)
	}
	// A document can change its model: its old vector is gone from the old space.
	put(t, s, doc{name: "a", revision: 3, texts: []string{"apple pie"}, model: "m-48", vectors: [][]float32{wide}})
	if got := search(t, s, index.Query{Vector: unit("x"), Model: model, Mode: index.Vector}); len(got) != 0 {
		t.Errorf("the old space still holds %q", texts(got))
	}
}

func testEmpty(t *testing.T, s index.Store) {
	for _, m := range []index.Mode{index.Keyword, index.Vector, index.Hybrid} {
		hits, err := s.Search(context.Background(), index.Query{Text: "x", Vector: unit("x"), Model: model, Mode: m})
		if err != nil || hits == nil || len(hits) != 0 {
			t.Errorf("%s search in an empty index: %v, %v", m, hits, err)
		}
	}
	if e := dump(t, s); len(e) != 0 {
		t.Error("dump", e)
	}
	if d, err := s.Document(context.Background(), "", events.DocumentID("x", "y")); err != nil || d.Visible != nil || d.Floor != 0 {
		t.Error("document", d, err)
	}
}

func testKeyword(t *testing.T, s index.Store) {
	put(t, s, doc{name: "policy-handbook.pdf", revision: 1, title: "Employee Handbook", texts: []string{
		"Refunds are paid within fourteen days after the item was returned.",
		"Vacation requests go to the manager.",
		"The cafeteria serves lunch.",
	}})
	put(t, s, doc{name: "b", revision: 2, headings: []string{"Zürich office"}, texts: []string{"Opening hours are nine to five."}})
	put(t, s, doc{name: "c", revision: 3, texts: []string{"東京タワーは高いです。", "The who is a band. To be or not to be."}})
	put(t, s, doc{name: "e", revision: 4, header: "Tensile strength | Supplier", texts: []string{"| bolt-7 | 800 | Acme |"}})
	for query, want := range map[string]string{
		"tensile strengths":          "| bolt-7", // by the header of its table
		"bolt-7":                     "| bolt-7",
		"refund":                     "Refunds are paid",
		"REFUNDING the returns":      "Refunds are paid",
		"what is the refund policy?": "Refunds are paid",
		"requesting vacations":       "Vacation requests",
		"zurich":                     "Opening hours", // by its heading
		"東京":                         "東京タワー",
		"高":                          "東京タワー",
		"to be or not to be":         "The who",
		"who":                        "The who",
	} {
		hits := search(t, s, index.Query{Text: query, Mode: index.Keyword})
		if len(hits) == 0 || !strings.HasPrefix(hits[0].Text, want) {
			t.Errorf("%q finds %q, want %q first", query, texts(hits), want)
		}
	}
	for _, byName := range []string{"handbook", "employees", "policy"} {
		if hits := search(t, s, index.Query{Text: byName, Mode: index.Keyword}); len(hits) != 3 {
			t.Errorf("%q finds %q, want all chunks of the document with that name or title", byName, texts(hits))
		}
	}
	for _, nothing := range []string{"unicorn", "", " ", "fund", "京東"} {
		if hits := search(t, s, index.Query{Text: nothing, Mode: index.Keyword}); len(hits) != 0 {
			t.Errorf("%q finds %q, want nothing", nothing, texts(hits))
		}
	}
	// More of the words is better; a rarer word is better; twice is better.
	put(t, s, doc{name: "d", revision: 4, texts: []string{"alpha common", "alpha beta common", "common gamma", "common", "delta filler words here", "delta delta words here"}})
	for query, want := range map[string]string{"alpha beta": "alpha beta common", "common gamma": "common gamma", "delta": "delta delta words here"} {
		if hits := search(t, s, index.Query{Text: query, Mode: index.Keyword}); len(hits) == 0 || hits[0].Text != want {
			t.Errorf("%q finds %q, want %q first", query, texts(hits), want)
		}
	}
}

// testLanguages: words are stemmed by the language of their document, and a query
// tries those of its tenant.
func testLanguages(t *testing.T, s index.Store) {
	put(t, s, doc{name: "en", revision: 1, texts: []string{"Invoices are refunded within fourteen days, part no. XK-2000/b.", "The children went home."}})
	put(t, s, doc{name: "de", revision: 2, language: "de", title: "Die Häuser", texts: []string{"Kündigungen nur schriftlich, Teilenummer XK-2000/b.", "Ein Refund ist möglich."}})
	put(t, s, doc{name: "fr", revision: 3, language: "fr", texts: []string{"L'entreprise a réalisé d'importantes économies sur l'énergie."}})
	put(t, s, doc{name: "es", revision: 4, language: "es", texts: []string{"Las educaciones técnicas y la formación profesional."}})
	put(t, s, doc{name: "ru", revision: 5, language: "ru", texts: []string{"Договоры подписываются обеими сторонами."}})
	put(t, s, doc{name: "ja", revision: 6, texts: []string{"東京タワーの契約書"}})
	put(t, s, doc{name: "ko", revision: 6, texts: []string{"임차인은 계약의 해지를 통보해야 합니다."}})
	put(t, s, doc{name: "plain", revision: 6, language: "es", texts: []string{"FACTURACION Y COBROS"}})
	put(t, s, doc{name: "xx", revision: 7, language: "xx", texts: []string{"Unknowns are treated as English."}})
	put(t, s, doc{name: "other", tenant: "other", revision: 8, texts: []string{"Kündigungen"}})
	for query, want := range map[string]string{
		"invoice refund":          "Invoices",
		"die Kündigung":           "Kündigungen",
		"kundigung schriftlicher": "Kündigungen",
		"Haus Kündigung":          "Kündigungen", // one from the title, which all chunks have
		"énergies réaliser":       "L'entreprise",
		"energie":                 "L'entreprise", // without its accents
		"économie d'énergie":      "L'entreprise",
		"educación":               "Las educaciones",
		"tecnica":                 "Las educaciones",
		"договор":                 "Договоры",
		"契約":                      "東京",
		"임차인 계약":                  "임차인은",
		"facturación":             "FACTURACION", // with accents that the text lacks
		"treat unknown":           "Unknowns",
	} {
		hits := search(t, s, index.Query{Text: query, Mode: index.Keyword})
		if len(hits) == 0 || !strings.HasPrefix(hits[0].Text, want) {
			t.Errorf("%q finds %q, want %q first", query, texts(hits), want)
		}
	}
	// What is no word of a language is found in all of them, and counts the same.
	if hits := search(t, s, index.Query{Text: "XK-2000/b", Mode: index.Keyword}); len(hits) != 2 {
		t.Errorf("a part number finds %q", texts(hits))
	}
	// Another tenant has no documents in German: its queries are not stemmed as such.
	if hits := search(t, s, index.Query{Text: "Kündigung", Mode: index.Keyword, Tenant: "other"}); len(hits) != 0 {
		t.Errorf("another tenant's language is tried: %q", texts(hits))
	}
	// A new revision may be in another language.
	put(t, s, doc{name: "other", tenant: "other", revision: 20, language: "de", texts: []string{"Kündigungen"}})
	if hits := search(t, s, index.Query{Text: "Kündigung", Mode: index.Keyword, Tenant: "other"}); len(hits) != 1 {
		t.Errorf("a language that has come finds %q", texts(hits))
	}
}

func testHostileQueries(t *testing.T, s index.Store) {
	put(t, s, doc{name: "a", revision: 1, texts: []string{"apple pie"}})
	for _, q := range []string{
		`"`, `""`, `'`, `apple"`, `"apple`, `apple AND`, `OR`, `NOT apple`, `NEAR(apple pie)`, `text:apple`, `^apple`, `app*`, `apple*`,
		`(apple`, `apple)`, `-apple`, `apple & pie | !x`, `{a b}:c`, "apple\x00pie", "\xff\xfe", `'; DROP TABLE chunk; --`, `%_\`, `:*`, `<->`,
		strings.Repeat("apple ", 5000), strings.Repeat("a", 100_000),
	} {
		hits := search(t, s, index.Query{Text: q, Mode: index.Keyword})
		words := strings.FieldsFunc(strings.ToLower(q), func(r rune) bool { return r < 'a' || r > 'z' })
		if slices.Contains(words, "apple") && len(hits) != 1 {
			t.Errorf("%.40q does not find the apple", q)
		}
	}
}

// axis returns a vector along one dimension with a little of another.
func axis(i int, x float32, j int, y float32) []float32 {
	v := make([]float32, Dimensions)
	v[i] += x
	v[j] += y
	return v
}

func testVector(t *testing.T, s index.Store) {
	put(t, s, doc{name: "a", revision: 1, texts: []string{"east", "north-east", "north", "west", "long east"}, vectors: [][]float32{
		axis(0, 1, 1, 0), axis(0, 1, 1, 1), axis(1, 1, 0, 0), axis(0, -1, 1, 0), axis(0, 90, 1, 9),
	}})
	for _, c := range []struct {
		q    []float32
		want []string
	}{
		// Directions count, lengths do not.
		{axis(0, 1, 1, 0), []string{"east", "long east", "north-east"}},
		{axis(1, 5, 0, 0.1), []string{"north", "north-east", "long east"}},
		{axis(0, 0.001, 1, 0.001), []string{"north-east", "long east"}},
	} {
		hits := search(t, s, index.Query{Vector: c.q, Model: model, Mode: index.Vector, K: len(c.want)})
		if !slices.Equal(texts(hits), c.want) {
			t.Errorf("near %v are %q, want %q", c.q[:2], texts(hits), c.want)
		}
		for i := 1; i < len(hits); i++ {
			if hits[i].Score > hits[i-1].Score {
				t.Errorf("scores rise: %v", hits)
			}
		}
	}
	// Dense vectors, exactly: among few, no estimate is an excuse.
	var many []string
	for i := range 300 {
		many = append(many, fmt.Sprint("text number ", i))
	}
	put(t, s, doc{name: "b", revision: 2, tenant: "dense", texts: many})
	q := unit("query")
	want := slices.Clone(many)
	slices.SortFunc(want, func(a, b string) int {
		if cosine(q, unit(a)) > cosine(q, unit(b)) {
			return -1
		}
		return 1
	})
	if got := texts(search(t, s, index.Query{Vector: q, Model: model, Mode: index.Vector, Tenant: "dense", K: 10})); !slices.Equal(got, want[:10]) {
		t.Errorf("nearest are %q, want %q", got, want[:10])
	}
}

func cosine(a, b []float32) float64 {
	var dot, x, y float64
	for i := range a {
		dot += float64(a[i]) * float64(b[i])
		x += float64(a[i]) * float64(a[i])
		y += float64(b[i]) * float64(b[i])
	}
	return dot / math.Sqrt(x*y)
}

func testHybrid(t *testing.T, s index.Store) {
	put(t, s, doc{name: "a", revision: 1, texts: []string{"both signs agree", "words agree only", "neither of them", "vector is near"}, vectors: [][]float32{
		axis(0, 1, 1, 0.1), axis(5, 1, 6, 1), axis(7, 1, 8, 1), axis(0, 1, 1, 0),
	}})
	q := index.Query{Text: "agree", Vector: axis(0, 1, 1, 0), Model: model}
	got := texts(search(t, s, q))
	if len(got) < 3 || got[0] != "both signs agree" {
		t.Fatalf("hybrid search finds %q, want what both sides found first", got)
	}
	q.VectorWeight = 0.01
	if got = texts(search(t, s, q)); slices.Index(got, "words agree only") > slices.Index(got, "vector is near") {
		t.Errorf("with light vectors the order is %q", got)
	}
	q.VectorWeight = 10
	if got = texts(search(t, s, q)); slices.Index(got, "words agree only") < slices.Index(got, "vector is near") {
		t.Errorf("with heavy vectors the order is %q", got)
	}
	// Lexical vectors know nothing that keywords do not: they must not fill up
	// the answer with strangers.
	chance := axis(3, 1, 4, 0)
	put(t, s, doc{name: "b", revision: 2, tenant: "lex", model: "lex-v1-32", texts: []string{"apple pie", "banana split"}, vectors: [][]float32{
		axis(0, 1, 1, 0.2), axis(3, 0.1, 6, 1),
	}})
	q = index.Query{Text: "apples", Vector: chance, Model: "lex-v1-32", Tenant: "lex"}
	if got = texts(search(t, s, q)); !slices.Equal(got, []string{"apple pie"}) {
		t.Errorf("lexical hybrid search finds %q", got)
	}
}

func testMeta(t *testing.T, s index.Store) {
	put(t, s, doc{name: "a", revision: 1, texts: []string{"apple one"}, meta: map[string]string{"team": "x", "year": "2026"}})
	put(t, s, doc{name: "b", revision: 2, texts: []string{"apple two"}, meta: map[string]string{"team": "x", "year": "2025"}})
	put(t, s, doc{name: "c", revision: 3, texts: []string{"apple three"}})
	for _, c := range []struct {
		meta map[string]string
		want []string
	}{
		{nil, []string{"apple one", "apple three", "apple two"}},
		{map[string]string{"team": "x"}, []string{"apple one", "apple two"}},
		{map[string]string{"team": "x", "year": "2025"}, []string{"apple two"}},
		{map[string]string{"team": "y"}, nil},
		{map[string]string{"none": ""}, nil},
		{map[string]string{"tea": "mx"}, nil},
	} {
		for _, m := range []index.Mode{index.Keyword, index.Vector, index.Hybrid} {
			hits := search(t, s, index.Query{Text: "apples", Vector: unit("x"), Model: model, Mode: m, Meta: c.meta})
			if got := texts(hits); !slices.Equal(slices.Sorted(slices.Values(got)), c.want) {
				t.Errorf("%s search with %v finds %q, want %q", m, c.meta, got, c.want)
			}
		}
	}
	put(t, s, doc{name: "a", revision: 4, texts: []string{"apple one"}, meta: map[string]string{"team": "z"}})
	if hits := search(t, s, index.Query{Text: "apple", Mode: index.Keyword, Meta: map[string]string{"team": "x"}}); len(hits) != 1 {
		t.Errorf("old metadata still finds %q", texts(hits))
	}
}

func testBadQueries(t *testing.T, s index.Store) {
	put(t, s, doc{name: "a", revision: 1, texts: []string{"apple"}})
	for name, q := range map[string]index.Query{
		"mode":           {Text: "x", Mode: "fuzzy"},
		"k":              {Text: "x", K: -1},
		"large k":        {Text: "x", K: index.MaxK + 1},
		"no vector":      {Text: "x", Mode: index.Vector, Model: model},
		"no model":       {Text: "x", Mode: index.Vector, Vector: unit("x")},
		"zeros":          {Text: "x", Vector: make([]float32, Dimensions), Model: model},
		"not a number":   {Text: "x", Vector: []float32{float32(math.NaN())}, Model: model},
		"dimensions":     {Text: "x", Vector: []float32{1}, Model: model},
		"weight":         {Text: "x", Vector: unit("x"), Model: model, VectorWeight: -1},
		"weight no sums": {Text: "x", Vector: unit("x"), Model: model, VectorWeight: math.NaN()},
	} {
		if hits, err := s.Search(context.Background(), q); err == nil || fault.Of(err) != fault.Validation {
			t.Errorf("%s: %v, %v, want a validation fault", name, hits, err)
		}
	}
}

func testHit(t *testing.T, s index.Store) {
	d := doc{
		name: "Käse & Brot.md", revision: 41, title: "A title", texts: []string{"first", "second apple"},
		headings: []string{"One", "Two > three"}, header: "Article | Ware‑house", meta: map[string]string{"k": "v"},
	}
	put(t, s, d)
	hits := search(t, s, index.Query{Text: "apple", Mode: index.Keyword})
	if len(hits) != 1 {
		t.Fatal("hits", hits)
	}
	got := hits[0]
	if got.Score <= 0 {
		t.Error("score", got.Score)
	}
	got.Score = 0
	v := d.ops()[1].Vector
	want := events.Hit{
		Chunk: v.ID, Document: d.id(), Revision: 41, Tenant: events.DefaultTenant, Name: d.name, Title: d.title, Text: "second apple",
		Headings: d.headings, Header: d.header, Ordinal: 1, Start: v.Start, End: v.End, Page: 2, Model: model, Meta: d.meta,
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("hit\n%+v, want\n%+v", got, want)
	}
}

// testOrder applies the same operations in many orders, with repeats, in
// batches of many sizes, and wants the same index.
func testOrder(t *testing.T, s index.Store) {
	var ops []index.Op
	for n := range 6 {
		for r := range 3 {
			d := doc{name: fmt.Sprint("doc ", n), revision: events.Revision(10*n + r + 1)}
			for i := range 2 + (n+r)%3 {
				d.texts = append(d.texts, fmt.Sprintf("text %d of doc %d revision %d", i, n, r*(i%2)))
			}
			ops = append(ops, d.ops()...)
		}
	}
	ops = append(ops, doc{name: "doc 5", revision: 100}.tombstone(""))
	var want []index.Entry
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 8 {
		tenant := fmt.Sprint("tenant-", round)
		mixed := append(slices.Clone(ops), ops[:round*3]...)
		if round > 0 {
			r.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		}
		var batch []index.Op
		for i, op := range mixed {
			batch = append(batch, inTenant(op, tenant))
			if len(batch) > r.IntN(12) || i == len(mixed)-1 {
				apply(t, s, batch...)
				batch = nil
			}
		}
		var got []index.Entry
		for _, e := range dump(t, s) {
			if e.Tenant == tenant {
				e.Tenant = ""
				got = append(got, e)
			}
		}
		if round == 0 {
			want = got
			continue
		}
		if !slices.Equal(got, want) {
			t.Fatalf("round %d gives\n%v, want\n%v", round, got, want)
		}
	}
	if len(want) == 0 {
		t.Fatal("nothing was compared")
	}
}

// inTenant returns op for the same document in another tenant.
func inTenant(op index.Op, tenant string) index.Op {
	if op.Vector != nil {
		v := *op.Vector
		v.Tenant = tenant
		return index.Op{Vector: &v}
	}
	m := *op.Tombstone
	m.Tenant = tenant
	return index.Op{Tombstone: &m}
}

func testCancelled(t *testing.T, s index.Store) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	d := doc{name: "a", revision: 1, texts: []string{"apple"}}
	if out, err := s.Apply(ctx, d.ops()); !errors.Is(err, context.Canceled) || fault.Of(err) != fault.Unavailable {
		t.Errorf("Apply: %v, %v", out, err)
	}
	if _, err := s.Search(ctx, index.Query{Text: "apple"}); err == nil {
		t.Error("Search of a cancelled context succeeds")
	}
	wantVisible(t, s, d, 0)
	put(t, s, d)
	wantVisible(t, s, d, 1, d.texts...)
	stop := errors.New("enough")
	if err := s.Dump(context.Background(), func(index.Entry) error { return stop }); !errors.Is(err, stop) {
		t.Error("Dump swallows the error of its callback:", err)
	}
}

// testConcurrency replaces documents while others search: every answer must
// show each document at one revision, whole.
func testConcurrency(t *testing.T, s index.Store) {
	const writers, revisions, chunks = 3, 30, 4
	version := func(w, r int) doc {
		d := doc{name: fmt.Sprint("doc ", w), revision: events.Revision(r)}
		for i := range chunks {
			d.texts = append(d.texts, fmt.Sprintf("shared words, place %d, document %d, edition number%d", i, w, r))
		}
		return d
	}
	for w := range writers {
		put(t, s, version(w, 1))
	}
	done := make(chan struct{})
	var writing, reading sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for r := 2; r <= revisions; r++ {
				ops := version(w, r).ops()
				for _, part := range [][]index.Op{ops[:2], ops[2:]} {
					if _, err := s.Apply(context.Background(), part); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	for _, mode := range []index.Mode{index.Keyword, index.Vector, index.Hybrid} {
		reading.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				hits, err := s.Search(context.Background(), index.Query{Text: "shared words", Vector: unit("x"), Model: model, Mode: mode, K: 100})
				if err != nil {
					t.Error(err)
					return
				}
				seen := make(map[string][]events.Revision)
				for _, h := range hits {
					seen[h.Document] = append(seen[h.Document], h.Revision)
				}
				if len(seen) != writers {
					t.Errorf("%s search sees %d documents, want %d", mode, len(seen), writers)
					return
				}
				for _, r := range seen {
					if len(r) != chunks || slices.Min(r) != slices.Max(r) {
						t.Errorf("%s search sees a document at revisions %v, want %d times the same", mode, r, chunks)
						return
					}
				}
			}
		})
	}
	writing.Wait()
	close(done)
	reading.Wait()
	for w := range writers {
		d := version(w, revisions)
		wantVisible(t, s, d, d.revision, d.texts...)
	}
}

func testClose(t *testing.T, s index.Store) {
	d := doc{name: "a", revision: 1, texts: []string{"apple"}}
	put(t, s, d)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal("Close:", err)
		}
	}
	ctx := context.Background()
	_, applied := s.Apply(ctx, d.ops())
	_, searched := s.Search(ctx, index.Query{Text: "apple"})
	_, asked := s.Document(ctx, "", d.id())
	_, counted := s.Stats(ctx)
	dumped := s.Dump(ctx, func(index.Entry) error { return nil })
	for name, err := range map[string]error{"Apply": applied, "Search": searched, "Document": asked, "Stats": counted, "Dump": dumped} {
		if err == nil || fault.Of(err) != fault.Unavailable {
			t.Errorf("%s after Close: %v, want an unavailable fault", name, err)
		}
	}
}

// testRandom compares the store with a model of it that is simple enough to be
// right by inspection.
func testRandom(t *testing.T, open func(t *testing.T) index.Store) {
	s := open(t)
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++ // each run has a tenant of its own, and so an index of its own
		tenant := fmt.Sprint("run-", run)
		m := make(naive)
		for range rapid.IntRange(1, 12).Draw(rt, "batches") {
			var batch []index.Op
			for range rapid.IntRange(1, 8).Draw(rt, "operations") {
				batch = append(batch, randomOp(rt, tenant))
			}
			out, err := s.Apply(context.Background(), batch)
			if err != nil {
				rt.Fatal(err)
			}
			for i, op := range batch {
				kind, have := m.apply(op)
				if out[i].Kind != kind || out[i].Have != have {
					rt.Fatalf("operation %d: %v with %d chunks, want %v with %d", i, out[i].Kind, out[i].Have, kind, have)
				}
				m.compareRevision(rt, op, out[i])
			}
			m.compare(rt, s, tenant)
		}
	})
}

func randomOp(t *rapid.T, tenant string) index.Op {
	d := doc{
		tenant:   tenant,
		name:     rapid.SampledFrom([]string{"a", "b"}).Draw(t, "document"),
		revision: events.Revision(rapid.IntRange(1, 6).Draw(t, "revision")),
	}
	switch rapid.IntRange(0, 9).Draw(t, "what") {
	case 0:
		return d.tombstone("")
	case 1:
		return d.tombstone(rapid.SampledFrom([]string{"h0", "h1"}).Draw(t, "confirm"))
	}
	d.content = fmt.Sprint("h", d.revision%2)
	d.degraded = rapid.IntRange(0, 3).Draw(t, "degraded") == 0
	if d.degraded {
		d.model = "fallback"
	}
	variant := rapid.IntRange(0, 1).Draw(t, "variant")
	for i := range rapid.IntRange(1, 3).Draw(t, "chunks") {
		d.texts = append(d.texts, fmt.Sprintf("place%d variant%d", i, variant*i))
	}
	return rapid.SampledFrom(d.ops()).Draw(t, "chunk")
}

// naive is the model: documents by ID.
type naive map[string]*naiveDocument

type naiveDocument struct {
	floor   events.Revision
	visible *naiveEdition
	staged  []*naiveEdition
}

type naiveEdition struct {
	revision events.Revision
	chunks   []*events.Vector // nil where one is missing
}

func (e *naiveEdition) have() (n int) {
	for _, c := range e.chunks {
		if c != nil {
			n++
		}
	}
	return n
}

func (d *naiveDocument) dropBelow(r events.Revision) {
	d.staged = slices.DeleteFunc(d.staged, func(e *naiveEdition) bool { return e.revision < r })
}

func (m naive) apply(op index.Op) (kind index.Kind, have int) {
	if op.Tombstone != nil {
		return m.tombstone(op.Tombstone)
	}
	v := op.Vector
	d := m.document(v.Document)
	switch {
	case v.Revision < d.floor, d.visible != nil && v.Revision < d.visible.revision:
		return index.Stale, 0
	case d.visible != nil && v.Revision == d.visible.revision:
		e := d.visible
		if len(e.chunks) != v.Of || v.Degraded || !e.chunks[v.Ordinal].Degraded || e.chunks[v.Ordinal].ID != v.ID {
			return index.Repeated, e.have()
		}
		e.chunks[v.Ordinal] = v
		for _, c := range e.chunks {
			if c.Degraded {
				return index.Upgraded, e.have()
			}
		}
		return index.Completed, e.have()
	}
	at := slices.IndexFunc(d.staged, func(e *naiveEdition) bool { return e.revision == v.Revision && len(e.chunks) == v.Of })
	if at < 0 {
		at = len(d.staged)
		d.staged = append(d.staged, &naiveEdition{v.Revision, make([]*events.Vector, v.Of)})
	}
	e := d.staged[at]
	if old := e.chunks[v.Ordinal]; old != nil && old.ID == v.ID && (!old.Degraded || v.Degraded) {
		return index.Repeated, e.have()
	}
	e.chunks[v.Ordinal] = v
	if e.have() < v.Of {
		return index.Staged, e.have()
	}
	d.visible = e
	d.dropBelow(v.Revision + 1)
	return index.Completed, v.Of
}

func (m naive) document(id string) *naiveDocument {
	if m[id] == nil {
		m[id] = new(naiveDocument)
	}
	return m[id]
}

func (m naive) tombstone(t *events.Tombstone) (index.Kind, int) {
	d := m.document(t.Document)
	if t.Revision < d.floor {
		return index.Stale, 0
	}
	if t.Confirm == "" {
		if d.visible != nil && d.visible.revision >= t.Revision {
			return index.Stale, 0
		}
		d.visible, d.floor = nil, t.Revision
		d.dropBelow(t.Revision)
		return index.Deleted, 0
	}
	if d.visible == nil {
		return index.ConfirmMismatch, 0
	}
	same := d.visible.chunks[0].About.ContentHash == t.Confirm
	switch {
	case d.visible.revision > t.Revision, d.visible.revision == t.Revision && !same:
		return index.Stale, 0
	case !same:
		return index.ConfirmMismatch, 0
	case d.visible.revision < t.Revision:
		d.visible.revision = t.Revision
		d.dropBelow(t.Revision + 1)
	}
	return index.Confirmed, d.visible.have()
}

// compareRevision checks what an outcome tells of the visible revision.
func (m naive) compareRevision(t *rapid.T, op index.Op, o index.Outcome) {
	if o.Kind != index.Completed && o.Kind != index.Confirmed && o.Kind != index.Upgraded {
		return
	}
	id := ""
	if op.Vector != nil {
		id = op.Vector.Document
	} else {
		id = op.Tombstone.Document
	}
	e := m[id].visible
	r := o.Revision
	var tokens, degraded int
	for _, c := range e.chunks {
		tokens += c.InputTokens
		if c.Degraded {
			degraded++
		}
	}
	if r == nil || r.About.Revision != e.revision || r.Chunks != len(e.chunks) || r.Tokens != tokens || r.Degraded != degraded ||
		r.About.ContentHash != e.chunks[0].About.ContentHash {
		t.Fatalf("%v revision %+v, want %d with %d chunks, %d tokens, %d degraded", o.Kind, r, e.revision, len(e.chunks), tokens, degraded)
	}
}

// compare wants the store to hold for the tenant what m holds.
func (m naive) compare(t *rapid.T, s index.Store, tenant string) {
	var want, got []string
	for id, d := range m {
		if d.visible != nil {
			for i, c := range d.visible.chunks {
				want = append(want, fmt.Sprint(id, i, d.visible.revision, c.ID, c.Model))
			}
		}
		stored, err := s.Document(context.Background(), tenant, id)
		if err != nil {
			t.Fatal(err)
		}
		var staged []index.Staging
		for _, e := range d.staged {
			if e != d.visible {
				staged = append(staged, index.Staging{Revision: e.revision, Have: e.have(), Of: len(e.chunks)})
			}
		}
		slices.SortFunc(staged, func(a, b index.Staging) int {
			if a.Revision != b.Revision {
				return int(a.Revision) - int(b.Revision)
			}
			return a.Of - b.Of
		})
		if !slices.Equal(stored.Staged, staged) || stored.Floor != d.floor {
			t.Fatalf("document %s has staged %+v and floor %d, want %+v and %d", id, stored.Staged, stored.Floor, staged, d.floor)
		}
	}
	err := s.Dump(context.Background(), func(e index.Entry) error {
		if e.Tenant == tenant {
			got = append(got, fmt.Sprint(e.Document, e.Ordinal, e.Revision, e.Chunk, e.Model))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Fatalf("the store holds\n%q, want\n%q", got, want)
	}
	hits, err := s.Search(context.Background(), index.Query{Text: "place0 place1 place2", Mode: index.Keyword, Tenant: tenant, K: 100})
	if err != nil {
		t.Fatal(err)
	}
	if len(hits) != len(want) {
		t.Fatalf("search finds %d chunks, want %d", len(hits), len(want))
	}
	for _, h := range hits {
		if !slices.Contains(want, fmt.Sprint(h.Document, h.Ordinal, h.Revision, h.Chunk, h.Model)) {
			t.Fatalf("search finds %+v, which is not visible", h)
		}
	}
}

// Away tests that a store that is locked, or away, is never a message's fault.
// lock keeps the store from everybody until the function that it returns is called.
func Away(t *testing.T, s index.Store, lock func(t *testing.T) (unlock func())) {
	d := doc{name: "patient", revision: 2, texts: []string{"one lantern", "two lanterns"}, content: "c"}
	unlock := lock(t)
	for range 2 {
		_, err := s.Apply(t.Context(), d.ops())
		f := fault.From(err)
		if f == nil || f.Class != fault.Unavailable || f.Waits() != fault.On(fault.WaitStore, "index") || f.RetryAfter <= 0 {
			t.Errorf("a store that is away fails with %+v", f)
		}
	}
	unlock()
	outcomes, err := s.Apply(t.Context(), d.ops())
	if err != nil || outcomes[1].Kind != index.Completed {
		t.Errorf("after it: %+v, %v", outcomes, err)
	}
}

func testDocuments(t *testing.T, s index.Store) {
	if r, err := s.Newest(t.Context()); r != 0 || err != nil {
		t.Errorf("an empty index has the revision %d, %v", r, err)
	}
	want := map[string]bool{}
	for i := range 1100 { // more than a page
		d := doc{name: fmt.Sprint(i), revision: events.Revision(2 + i), texts: []string{"a text"}, content: "c"}
		if i%2 == 1 {
			d.tenant = "acme"
		}
		if _, err := s.Apply(t.Context(), d.ops()); err != nil {
			t.Fatal(err)
		}
		want[d.owner()+"/"+d.id()] = true
	}
	gone := doc{name: "gone"}
	if _, err := s.Apply(t.Context(), []index.Op{{Tombstone: &events.Tombstone{V: 1, Document: gone.id(), Tenant: gone.owner(), Revision: 5001}}}); err != nil {
		t.Fatal(err)
	}
	want[gone.owner()+"/"+gone.id()] = true
	err := s.Documents(t.Context(), func(tenant, document string) error {
		if !want[tenant+"/"+document] {
			t.Errorf("%s of %s is not there, or listed twice", document, tenant)
		}
		delete(want, tenant+"/"+document)
		return nil
	})
	if err != nil || len(want) != 0 {
		t.Errorf("%d documents are not listed: %v", len(want), err)
	}
	if r, err := s.Newest(t.Context()); r != 5001 || err != nil {
		t.Errorf("the newest revision is %d, %v", r, err)
	}
	stop := errors.New("enough")
	if err := s.Documents(t.Context(), func(string, string) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("listing goes on after an error: %v", err)
	}
}
