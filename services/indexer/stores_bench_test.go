package indexer

import (
	"context"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice/pkg/events"
	"sluice/services/indexer/index"
	"sluice/services/indexer/pgvector"
	"sluice/services/indexer/pgvector/pgtest"
	"sluice/services/indexer/sqlite"
)

var (
	benchChunks  = flag.Int("bench.chunks", 10_000, "chunks in the index")
	benchWriters = flag.Int("bench.writers", 1, "batches that are applied to Postgres at once")
)

// BenchmarkStores fills both stores with the same chunks of 2 KB and 1536
// dimensions, in batches of 512, and searches them. Both commit to the disk.
//
//	go test -run '^$' -bench Stores -benchtime 200x . -bench.chunks 100000
func BenchmarkStores(b *testing.B) {
	for _, kind := range []string{"dense", "lexical"} {
		for _, store := range []string{"sqlite", "pgvector"} {
			b.Run(kind+"/"+store, func(b *testing.B) { benchmarkStore(b, store, kind, *benchChunks) })
		}
	}
}

// openStore returns a store, how many write to it at once, and what has been
// used of all processors by whatever works for it. settle does what autovacuum
// will have done a minute later.
func openStore(b *testing.B, store string) (s index.Store, writers int, cpu func() time.Duration, settle func()) {
	b.Helper()
	cpu = func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	settle = func() {}
	var err error
	if store == "sqlite" {
		s, err = sqlite.Open(context.Background(), filepath.Join(b.TempDir(), "index.db"), sqlite.Options{})
		writers = 1
	} else {
		server := pgtest.New(b, "fsync=on", "full_page_writes=on", "shared_buffers=1GB", "maintenance_work_mem=256MB", "max_wal_size=4GB")
		place := server.Database(b)
		settle = func() { pgtest.Exec(b, place, "ANALYZE") }
		s, err = pgvector.Open(context.Background(), place, pgvector.Options{Connections: *benchWriters + 4})
		writers = *benchWriters
		own := cpu
		cpu = func() time.Duration { return own() + server.CPU(b) }
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s, writers, cpu, settle
}

func benchmarkStore(b *testing.B, store, kind string, n int) {
	s, writers, cpu, settle := openStore(b, store)
	c := newCorpus(kind)
	vectors := make([][]float32, n)
	ops := make([]index.Op, n)
	for i := range n {
		const perDoc = 8
		text := c.text(2000)
		vectors[i] = c.vector(text)
		ops[i] = c.op(i/perDoc, i%perDoc, min(perDoc, n-i/perDoc*perDoc), text, vectors[i])
	}
	batches := make(chan []index.Op)
	var writing sync.WaitGroup
	began, used := time.Now(), cpu()
	for range writers {
		writing.Go(func() {
			for ops := range batches {
				out, err := s.Apply(context.Background(), ops)
				if err != nil {
					b.Error(err)
				}
				for _, o := range out {
					if o.Err != nil {
						b.Error(o.Err)
					}
				}
			}
		})
	}
	for batch := range slices.Chunk(ops, 512) {
		batches <- batch
	}
	close(batches)
	writing.Wait()
	took, wrote := time.Since(began), cpu()-used
	settle()

	times, work := map[index.Mode][]time.Duration{}, map[index.Mode]time.Duration{}
	var hit, possible int
	queries := 0
	for b.Loop() {
		text := c.text(40)
		vector := c.vector(text)
		for _, mode := range []index.Mode{index.Hybrid, index.Vector, index.Keyword} {
			q := index.Query{Text: text, Model: c.model(), Vector: vector, Mode: mode}
			start, used := time.Now(), cpu()
			hits, err := s.Search(context.Background(), q)
			times[mode] = append(times[mode], time.Since(start))
			work[mode] += cpu() - used
			if err != nil || len(hits) == 0 {
				b.Fatal(err, hits)
			}
			if mode == index.Vector && queries < 50 {
				want := nearest(vectors, vector, 10)
				for _, h := range hits {
					possible++
					if h.Score >= want-1e-4 {
						hit++
					}
				}
			}
		}
		queries++
	}
	for mode, all := range times {
		slices.Sort(all)
		b.ReportMetric(ms(all[len(all)/2]), string(mode)+"-p50-ms")
		b.ReportMetric(ms(all[len(all)*95/100]), string(mode)+"-p95-ms")
		b.ReportMetric(ms(work[mode])/float64(len(all)), string(mode)+"-cpu-ms")
	}
	b.ReportMetric(float64(hit)/float64(possible), "recall")
	b.ReportMetric(float64(n)/took.Seconds(), "chunks/s")
	b.ReportMetric(ms(wrote)/float64(n), "write-cpu-ms/chunk")
	b.ReportMetric(0, "ns/op") // says nothing here
	stats, err := s.Stats(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(stats.Memory)/float64(n), "memory-B/chunk")
	b.ReportMetric(float64(stats.Bytes)/float64(n), "disk-B/chunk")
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// nearest returns the cosine of the kth nearest vector.
func nearest(vectors [][]float32, q []float32, k int) float64 {
	all := make([]float64, len(vectors))
	norm := func(v []float32) (s float64) {
		for _, x := range v {
			s += float64(x) * float64(x)
		}
		return math.Sqrt(s)
	}
	qn := norm(q)
	for i, v := range vectors {
		var dot float64
		for j, x := range v {
			dot += float64(x) * float64(q[j])
		}
		all[i] = dot / (norm(v) * qn)
	}
	slices.Sort(all)
	return all[len(all)-k]
}

// corpus makes texts whose words are distributed as in a language, few common
// ones and many rare ones, and vectors of one of two kinds: dense ones, grouped
// by topic, some dimensions much larger than others, as neural models give
// them; or hashed words, as the local embedder does.
type corpus struct {
	kind   string
	r      *rand.Rand
	zipf   *rand.Zipf
	scale  []float32
	topics [][]float32
}

const benchDimensions = 1536

func newCorpus(kind string) *corpus {
	r := rand.New(rand.NewPCG(7, 1))
	c := &corpus{kind: kind, r: r, zipf: rand.NewZipf(r, 1.1, 8, 49_999), scale: make([]float32, benchDimensions)}
	for i := range c.scale {
		c.scale[i] = float32(math.Exp(0.5 * r.NormFloat64()))
	}
	for range 200 {
		c.topics = append(c.topics, c.noise())
	}
	return c
}

func (c *corpus) noise() []float32 {
	v := make([]float32, benchDimensions)
	for i := range v {
		v[i] = c.scale[i] * float32(c.r.NormFloat64())
	}
	return v
}

func word(n uint64) string {
	const letters = "bcdfgklmnprstvz"
	var b strings.Builder
	for n++; n > 0; n /= 75 {
		b.WriteByte(letters[n%15])
		b.WriteByte("aeiou"[n/15%5])
	}
	return b.String()
}

func (c *corpus) text(bytes int) string {
	var b strings.Builder
	for b.Len() < bytes {
		b.WriteString(word(c.zipf.Uint64()))
		b.WriteByte(' ')
	}
	return b.String()
}

func (c *corpus) model() string {
	if c.kind == "lexical" {
		return "lex-v1-1536"
	}
	return "dense-1536"
}

func (c *corpus) vector(text string) []float32 {
	if c.kind == "lexical" {
		return hashed(text)
	}
	topic := c.topics[c.r.IntN(len(c.topics))]
	v := c.noise()
	for i := range v {
		v[i] = topic[i] + 0.8*v[i]
	}
	return v
}

// hashed hashes the words of text into a sparse vector, four places each.
func hashed(text string) []float32 {
	v := make([]float32, benchDimensions)
	count := make(map[string]int)
	var order []string
	for _, w := range strings.Fields(text) {
		if count[w]++; count[w] == 1 {
			order = append(order, w)
		}
	}
	for _, w := range order {
		h := uint64(14695981039346656037)
		for i := range len(w) {
			h = (h ^ uint64(w[i])) * 1099511628211
		}
		idf := 3 + float64(h%7)
		for range 4 {
			h = h*6364136223846793005 + 1442695040888963407
			x := float32(math.Sqrt(float64(count[w]) * idf))
			if h>>63 == 1 {
				x = -x
			}
			v[h>>20%benchDimensions] += x
		}
	}
	return v
}

func (c *corpus) op(doc, ordinal, of int, text string, vector []float32) index.Op {
	v := &events.Vector{Model: c.model(), Embedding: events.EncodeVector(vector)}
	v.V = events.Version
	v.Document = events.DocumentID(events.DefaultTenant, fmt.Sprint("doc-", doc))
	v.Revision, v.Tenant = 1, events.DefaultTenant
	v.ID = events.ChunkID(v.Document, ordinal, events.TextHash(text), "f")
	v.Ordinal, v.Of, v.Text, v.End = ordinal, of, text, len(text)
	v.InputTokens = len(text) / 4
	v.Headings = []string{"Guide", word(uint64(doc))}
	if ordinal == 0 {
		v.About = &events.About{Document: v.Document, Revision: 1, Tenant: v.Tenant, Name: fmt.Sprint("doc-", doc, ".md"), ContentHash: "c"}
	}
	return index.Op{Vector: v}
}
