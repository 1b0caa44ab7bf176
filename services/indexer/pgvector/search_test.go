package pgvector

import (
	"context"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"sluice/pkg/events"
	"sluice/pkg/words"
	"sluice/services/indexer/index"
	"sluice/services/indexer/internal/revision"
	"sluice/services/indexer/pgvector/pgtest"
	"sluice/services/indexer/sqlite"
)

// put applies ops in batches and wants none refused.
func put(t testing.TB, s index.Store, ops []index.Op) {
	t.Helper()
	for batch := range slices.Chunk(ops, 500) {
		out, err := s.Apply(context.Background(), batch)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range out {
			if o.Err != nil {
				t.Fatal(o.Err)
			}
		}
	}
}

// Filters may cost time, but no hits: whatever share of the rows they leave, by
// whichever way these are looked for, the nearest are found.
func TestFiltersLoseNothing(t *testing.T) {
	s := open(t, pgtest.Shared(t).Place(t))
	var ops []index.Op
	add := func(tenant string, documents, chunks int) {
		for d := range documents {
			for o := range chunks {
				ops = append(ops, chunk(tenant, d, 1, o, chunks, fmt.Sprintf("%s %d %d", tenant, d, o)))
			}
		}
	}
	add("large", 260, 10)
	add("small", 3, 10)
	put(t, s, ops)
	if _, err := s.pool.Exec(context.Background(), "ANALYZE space_1"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		tenant string
		meta   map[string]string
		k      int
		way    way
	}{
		{"all of a large tenant", "large", nil, 10, byIndex},
		{"half of it", "large", map[string]string{"parity": "1"}, 10, byIndex},
		{"so many that the index would not pay", "large", map[string]string{"parity": "1"}, 600, exactly},
		{"a small tenant", "small", nil, 10, exactly},
		{"a part of it", "small", map[string]string{"parity": "1"}, 5, exactly},
		{"nothing", "small", map[string]string{"parity": "2"}, 5, exactly},
	} {
		var found, possible int
		for n := range 5 {
			query := chunk("x", 0, 1, 0, 1, fmt.Sprint("query ", n))
			q, err := events.DecodeVector(query.Vector.Embedding)
			if err != nil {
				t.Fatal(err)
			}
			var want []float64
			for _, op := range ops {
				v := op.Vector
				var doc int
				if _, err := fmt.Sscanf(v.Text, v.Tenant+" %d", &doc); err != nil {
					t.Fatal(err)
				}
				if v.Tenant == c.tenant && (c.meta == nil || c.meta["parity"] == fmt.Sprint(doc%2)) {
					x, err := events.DecodeVector(v.Embedding)
					if err != nil {
						t.Fatal(err)
					}
					want = append(want, cosine(q, x))
				}
			}
			slices.Sort(want)
			slices.Reverse(want)
			want = want[:min(len(want), c.k)]
			hits, err := s.Search(context.Background(), index.Query{Vector: q, Model: testModel, Mode: index.Vector, Tenant: c.tenant, Meta: c.meta, K: c.k})
			if err != nil {
				t.Fatal(err)
			}
			if len(hits) != len(want) {
				t.Errorf("%s: %d hits, want %d", c.name, len(hits), len(want))
				continue
			}
			for i, h := range hits {
				possible++
				if math.Abs(h.Score-want[i]) < 1e-4 {
					found++
				}
				if h.Tenant != c.tenant || c.meta["parity"] != "" && h.Meta["parity"] != c.meta["parity"] {
					t.Errorf("%s: a hit of tenant %s with %v", c.name, h.Tenant, h.Meta)
				}
			}
		}
		// An approximate index may miss one in fifty, exact comparison none.
		if c.way == exactly && found < possible || 50*found < 49*possible {
			t.Errorf("%s: %d of the %d nearest are found", c.name, found, possible)
		}
		if got := s.wayOf(t, index.Query{Vector: make([]float32, 16), Model: testModel, Mode: index.Vector, Tenant: c.tenant, Meta: c.meta, K: c.k}); got != c.way {
			t.Errorf("%s: looked for in way %d, want %d", c.name, got, c.way)
		}
	}
}

// An index that comes back with less than was asked for is not believed: its
// rows may all have been filtered out.
func TestIndexGivesTooLittle(t *testing.T) {
	s := open(t, pgtest.Shared(t).Place(t))
	put(t, s, []index.Op{chunk("small", 1, 1, 0, 2, "one"), chunk("small", 1, 1, 1, 2, "two"), chunk("other", 2, 1, 0, 1, "three")})
	ctx := context.Background()
	err := s.view(ctx, func(tx pgx.Tx) error {
		v, err := events.DecodeVector(chunk("x", 0, 1, 0, 1, "query").Vector.Embedding)
		if err != nil {
			return err
		}
		q, err := index.Query{Vector: v, Model: testModel, Mode: index.Vector, Tenant: "small"}.Normalize()
		if err != nil {
			return err
		}
		n, err := search{Store: s, tx: tx, q: q}.neighbours(ctx)
		if err != nil {
			return err
		}
		for _, w := range []way{byIndex, exactly} {
			var nearest []index.Ranked
			n.way = w
			batch := new(pgx.Batch)
			n.queue(batch, &nearest)
			if err := tx.SendBatch(ctx, batch).Close(); err != nil {
				return err
			}
			if len(nearest) != 2 {
				t.Errorf("way %d finds %d rows, want 2", w, len(nearest))
			}
			if again := n.again(nil, nearest); again != (w == byIndex) || n.way != exactly {
				t.Errorf("way %d is tried again: %v, then in way %d", w, again, n.way)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// wayOf tells how a query would be looked for.
func (s *Store) wayOf(t *testing.T, q index.Query) way {
	t.Helper()
	q.Vector[0] = 1
	q, err := q.Normalize()
	if err != nil {
		t.Fatal(err)
	}
	tx, err := s.pool.Begin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	n, err := search{Store: s, tx: tx, q: q}.neighbours(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return n.way
}

func cosine(a, b []float32) float64 {
	var dot float64
	for i := range a {
		dot += float64(a[i]) * float64(b[i])
	}
	return dot / (revision.Norm(a) * revision.Norm(b))
}

// Spaces of any size: up to 4000 dimensions have an index in half precision,
// larger ones none, and more than Postgres can hold is refused.
func TestDimensions(t *testing.T) {
	s := open(t, pgtest.Shared(t).Place(t))
	for i, dims := range []int{1, 1536, 2001, 4000, 4001, 16000} {
		var ops []index.Op
		for n := range 3 {
			op := chunk("acme", 10*i+n, 1, 0, 1, "text")
			v := make([]float32, dims)
			v[0], v[dims-1] = 70_000, float32(n+1)*10_000 // beyond the range of half precision
			op.Vector.Model, op.Vector.Embedding = fmt.Sprint("m-", dims), events.EncodeVector(v)
			ops = append(ops, op)
		}
		put(t, s, ops)
		q := make([]float32, dims)
		q[0] = 1
		hits, err := s.Search(context.Background(), index.Query{Vector: q, Model: fmt.Sprint("m-", dims), Mode: index.Vector, Tenant: "acme", K: 2})
		if err != nil || len(hits) != 2 || dims > 1 && hits[0].Document != ops[0].Vector.Document {
			t.Errorf("%d dimensions: %+v, %v", dims, hits, err)
		}
	}
	for name, v := range map[string][]float32{"too many dimensions": make([]float32, 16001), "too long": {1e20, 0}, "too short": {1e-20, 0}} {
		v[0] += 1e-30
		op := chunk("acme", 99, 1, 0, 1, "text")
		op.Vector.Model, op.Vector.Embedding = name, events.EncodeVector(v)
		out, err := s.Apply(context.Background(), []index.Op{op})
		if err != nil || out[0].Kind != index.Refused {
			t.Errorf("%s: %v, %v", name, out, err)
		}
	}
}

// Texts that Postgres has no way to hold as text come back as they were.
func TestAnyText(t *testing.T) {
	s := open(t, pgtest.Shared(t).Place(t))
	file, err := sqlite.Open(context.Background(), filepath.Join(t.TempDir(), "index.db"), sqlite.Options{Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	texts := []string{"plain apple", "nul \x00 apple", "invalid \xff\xfe apple", "emoji 🍎 apple", strings.Repeat("long apple ", 5000)}
	var ops []index.Op
	for i, text := range texts {
		op := chunk("acme", 1, 1, i, len(texts), text)
		op.Vector.Headings = []string{"heading \x00"}
		if op.Vector.About != nil {
			op.Vector.About.Meta = map[string]string{"k\x00": "v\x00"}
		}
		ops = append(ops, op)
	}
	put(t, s, ops)
	put(t, file, ops)
	if got, want := dump(t, s), dump(t, file); !slices.Equal(got, want) {
		t.Errorf("Postgres holds\n%v, SQLite\n%v", got, want)
	}
	hits, err := s.Search(context.Background(), index.Query{Text: "apple", Tenant: "acme", Meta: map[string]string{"k\x00": "v\x00"}})
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, h := range hits {
		found = append(found, h.Text)
	}
	slices.Sort(found)
	slices.Sort(texts)
	if !slices.Equal(found, texts) {
		t.Errorf("found %q", found)
	}
}

// The commonest words of a large tenant are left out of a search for others,
// and are looked for when there are no others.
func TestCommonWords(t *testing.T) {
	s := open(t, pgtest.Shared(t).Place(t))
	var ops []index.Op
	for d := range 20 {
		for o := range 10 {
			ops = append(ops, chunk("acme", d, 1, o, 10, fmt.Sprintf("common usual number%d", 10*d+o)))
		}
	}
	put(t, s, ops)
	if _, err := s.pool.Exec(context.Background(), "ANALYZE word"); err != nil {
		t.Fatal(err)
	}
	tx, err := s.pool.Begin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	a, done := s.analyzers.Lend()
	keys := a.Query("common usual number77")
	rare := a.Query("number77")
	done()
	s.common = cached[map[int64]float64]{}
	common, err := s.commonKeys(context.Background(), tx)
	if err != nil {
		t.Fatal(err)
	}
	if len(common) == 0 {
		t.Fatal("Postgres has no statistics of words")
	}
	for _, c := range []struct {
		places float64 // as if there were as many chunks with the common words; 0 as it is
		want   int
	}{{0, 3}, {maxPostings, minWords}} {
		told := maps.Clone(common)
		for k, places := range told {
			if places > 100 && c.places > 0 {
				told[k] = c.places
			}
		}
		s.common = cached[map[int64]float64]{told, time.Now().Add(time.Hour)}
		got, err := s.telling(context.Background(), tx, "acme", keys)
		if err != nil || len(got) != c.want || !slices.ContainsFunc(got, func(k words.Asked) bool { return k.Key == rare[0].Key }) {
			t.Errorf("with %g places of the common words %d of %d words are looked up, want %d", c.places, len(got), len(keys), c.want)
		}
	}
	hits, err := s.Search(context.Background(), index.Query{Text: "common usual", Tenant: "acme", Mode: index.Keyword})
	if err != nil || len(hits) != index.DefaultK {
		t.Error("common words alone find", len(hits), err)
	}
}
