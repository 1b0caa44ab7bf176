package ram

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"sluice/pkg/words"
	"sluice/services/indexer/index"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const dims = 20

// plain is the index without blocks, codes or compaction.
type plain map[int64]Document

func (p plain) keyword(tenant string, keys []words.Key, k int) []index.Ranked {
	type row struct {
		id     int64
		length float64
		tf     []float64
	}
	var rows []row
	var total float64
	df := make([]float64, len(keys))
	for _, d := range p {
		if d.Tenant != tenant {
			continue
		}
		for _, c := range d.Chunks {
			r := row{id: c.Row, length: float64(c.Length), tf: make([]float64, len(keys))}
			for _, t := range words.Merge(c.Terms, d.Terms) {
				if j := slices.Index(keys, t.Key()); j >= 0 {
					r.tf[j] = float64(levels[levelOf[t.Weight()]]) / 2
					df[j]++
				}
			}
			total += r.length
			rows = append(rows, r)
		}
	}
	n := float64(len(rows))
	var out []index.Ranked
	for _, r := range rows {
		var s float64
		for j, tf := range r.tf {
			idf := math.Log(1 + (n-df[j]+0.5)/(df[j]+0.5))
			s += idf * tf * 2.2 / (tf + 1.2*(0.25+0.75*r.length*n/max(total, 1)))
		}
		if s > 0 {
			out = append(out, index.Ranked{Row: r.id, Score: s})
		}
	}
	slices.SortFunc(out, index.Better)
	return out[:min(k, len(out))]
}

func randomDocument(r *rand.Rand, id int64, sparse bool) (Document, [][]float32) {
	d := Document{ID: id, Tenant: fmt.Sprint("t", id%2), Meta: map[string]string{"odd": fmt.Sprint(id % 3)}}
	var vectors [][]float32
	for o := range 1 + r.IntN(4) {
		c := Chunk{Row: id<<20 | int64(o), Space: int(id % 2), Length: 1 + r.IntN(50)}
		for k := words.Key(1); k <= 12; k++ {
			if r.IntN(int(k)) == 0 {
				c.Terms = append(c.Terms, words.MakeTerm(k<<27, 1+r.IntN(40)))
			}
		}
		v := make([]float32, dims)
		for i := range v {
			if !sparse || r.IntN(4) == 0 {
				v[i] = float32(r.NormFloat64())
			}
		}
		v[r.IntN(dims)] = 1
		c.Code = Encode(v)
		d.Chunks = append(d.Chunks, c)
		vectors = append(vectors, v)
	}
	return d, vectors
}

// Many documents come, change and go, over several blocks of two spaces; at
// the end, and on the way, searches find what a plain index would.
func TestAgainstPlainIndex(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	x, p := New(), make(plain)
	vectors := make(map[int64][][]float32)
	steps := 12_000
	for step := range steps {
		id := int64(r.IntN(6000))
		if r.IntN(5) == 0 || step > steps*3/4 && r.IntN(2) == 0 {
			x.Delete(id)
			delete(p, id)
			delete(vectors, id)
		} else {
			d, v := randomDocument(r, id, id%5 > 0)
			x.Put(d)
			p[id], vectors[id] = d, v
		}
		if step%3000 == 2999 {
			compare(t, x, p, vectors, r)
		}
	}
	if len(x.blocks) < 4 {
		t.Fatal("only", len(x.blocks), "blocks: the test is too small")
	}
	for id := range int64(6000) {
		x.Delete(id)
		delete(p, id)
	}
	compare(t, x, p, vectors, r)
	for _, b := range x.blocks {
		if b != nil && b.sealed {
			t.Error("a block of dead chunks is kept")
		}
	}
}

func compare(t *testing.T, x *Index, p plain, vectors map[int64][][]float32, r *rand.Rand) {
	t.Helper()
	live := 0
	for _, b := range x.blocks {
		if b != nil {
			live += b.live
		}
	}
	want := 0
	for _, d := range p {
		want += len(d.Chunks)
	}
	if live != want {
		t.Fatal(live, "chunks are alive, want", want)
	}
	for range 5 {
		keys := []words.Key{words.Key(1+r.IntN(12)) << 27, 13 << 27}
		if k := words.Key(1+r.IntN(12)) << 27; k > keys[0] {
			keys = append(keys[:1], k)
		}
		for _, tenant := range []string{"t0", "t1", "t2"} {
			got, want := x.Keyword(Filter{Tenant: tenant}, asked(keys), 20), p.keyword(tenant, keys, 20)
			if len(got) != len(want) {
				t.Fatalf("keyword finds %d, want %d", len(got), len(want))
			}
			for i := range got {
				if math.Abs(got[i].Score-want[i].Score) > 1e-4 {
					t.Fatalf("hit %d is %v, want %v", i, got[i], want[i])
				}
			}
		}
	}
	// Asked for everything, Nearest leaves only those out that have nothing in
	// common with the query.
	q := make([]float32, dims)
	q[r.IntN(dims)] = 1
	for space := range 2 {
		found := make(map[int64]bool)
		f := Filter{Tenant: "t0", Meta: map[string]string{"odd": "1"}}
		for _, c := range x.Nearest(space, f, q, 1<<20) {
			if found[c.Row] {
				t.Fatal("row", c.Row, "twice")
			}
			found[c.Row] = true
			if d, ok := p[c.Row>>20]; !ok || d.Tenant != "t0" || d.Meta["odd"] != "1" || d.Chunks[c.Row&0xFFFFF].Space != space {
				t.Fatalf("row %d should not be found", c.Row)
			}
		}
		for id, d := range p {
			for o, c := range d.Chunks {
				var dot float32
				for i := range q {
					dot += q[i] * vectors[id][o][i]
				}
				if c.Space == space && d.Tenant == "t0" && d.Meta["odd"] == "1" && dot > 0 && !found[c.Row] {
					t.Fatalf("row %d of similarity %v is not found", c.Row, dot)
				}
			}
		}
	}
}

func TestSparseCodesAreNear(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 70).Draw(t, "dimensions")
		v := make([]float32, n)
		for range rapid.IntRange(1, n/2+1).Draw(t, "filled") {
			v[rapid.IntRange(0, n-1).Draw(t, "at")] = rapid.Float32Range(0.1, 3).Draw(t, "value")
		}
		c := Encode(v)
		if !c.Valid(n) {
			t.Fatal("not valid")
		}
		if !c.sparse() {
			return
		}
		var norm float64
		largest := slices.Max(v)
		for _, x := range v {
			norm += float64(x) * float64(x)
		}
		norm = math.Sqrt(norm)
		for i, x := range v {
			got := float64(int8(c[codeHead+i/2]>>(4*(i%2))<<4)>>4) * float64(c.scale()) * norm
			if (x == 0) != (got == 0) || math.Abs(got-float64(x)) > float64(largest)/7+1e-5 {
				t.Fatalf("component %d is %v, want %v", i, got, x)
			}
		}
	})
}

func TestTopKeepsTheBest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		scores := rapid.SliceOf(rapid.IntRange(0, 20)).Draw(t, "scores")
		k := rapid.IntRange(1, 10).Draw(t, "k")
		best := newTop(k)
		var all []index.Ranked
		for i, s := range scores {
			all = append(all, index.Ranked{Row: int64(i), Score: float64(s)})
			if best.wants(float64(s), int64(i)) {
				best.push(float64(s), int64(i))
			}
		}
		slices.SortFunc(all, func(a, b index.Ranked) int {
			return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.Row, b.Row))
		})
		if got := best.sorted(); !slices.Equal(got, all[:min(k, len(all))]) {
			t.Fatalf("%v, want %v", got, all)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(EncodeTerms(nil, []words.Term{1 << 8, 3<<8 | 2, 1 << 47}), []byte(Encode([]float32{0, 1, 0, 2, 0})), 5)
	f.Add([]byte{1}, []byte{0, 1}, -1)
	f.Fuzz(func(t *testing.T, terms, code []byte, n int) {
		if d, ok := DecodeTerms(terms); ok && !slices.Equal(EncodeTerms(nil, d), terms) {
			t.Fatal("terms do not come back")
		}
		if c := Code(code); c.Valid(n) && n < 1<<12 {
			x := New()
			x.Put(Document{ID: 1, Tenant: "t", Chunks: []Chunk{{Row: 1, Code: c}}})
			if q := make([]float32, n); n > 0 {
				q[n-1] = 1
				x.Nearest(0, Filter{Tenant: "t"}, q, 1)
			}
		}
	})
}

// asked asks for each key as a word of its own.
func asked(keys []words.Key) []words.Asked {
	var out []words.Asked
	for i, k := range keys {
		out = append(out, words.Asked{Key: k, Word: i})
	}
	return out
}

// A chunk that has two stems of one word counts as if it had one of them.
func TestStemsOfOneWord(t *testing.T) {
	x := New()
	for i, terms := range [][]words.Term{
		{words.MakeTerm(1, 2)}, {words.MakeTerm(2, 2)}, {words.MakeTerm(1, 2), words.MakeTerm(2, 4)}, {words.MakeTerm(2, 4)}, {words.MakeTerm(3, 2)},
	} {
		x.Put(Document{ID: int64(i), Tenant: "t", Chunks: []Chunk{{Row: int64(i), Terms: terms, Length: 4, Code: Encode([]float32{1, 0, 0, 1})}}})
	}
	hits := x.Keyword(Filter{Tenant: "t"}, []words.Asked{{Key: 1}, {Key: 2}}, 9)
	if len(hits) != 4 || hits[0].Score != hits[1].Score || hits[2].Score != hits[3].Score || hits[0].Row != 2 || hits[1].Row != 3 {
		t.Error(hits)
	}
}
