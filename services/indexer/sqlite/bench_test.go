package sqlite

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/pkg/events"
	"sluice/services/indexer/index"
)

// corpus makes documents of three chunks of about 2 KB whose words are
// distributed as in a language: few common ones, many rare ones.
type corpus struct {
	r    *rand.Rand
	zipf *rand.Zipf
}

const vocabulary = 50_000

func newCorpus(seed uint64) *corpus {
	r := rand.New(rand.NewPCG(seed, 1))
	return &corpus{r: r, zipf: rand.NewZipf(r, 1.1, 8, vocabulary-1)}
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

// lexical hashes the words of text into a sparse vector, four places each, as
// the local embedder does.
func lexical(text string) []float32 {
	v := make([]float32, 1536)
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
			v[h>>20%1536] += x
		}
	}
	return v
}

// dense makes vectors as neural models give them: no zeros, grouped by topic,
// some dimensions much larger than others.
type dense struct {
	r      *rand.Rand
	topics [][]float32
	scale  []float32
}

func newDense(seed uint64, topics int) *dense {
	d := &dense{r: rand.New(rand.NewPCG(seed, 2))}
	d.scale = make([]float32, 1536)
	for i := range d.scale {
		d.scale[i] = float32(math.Exp(0.5 * d.r.NormFloat64()))
	}
	for range topics {
		d.topics = append(d.topics, d.noise())
	}
	return d
}

func (d *dense) noise() []float32 {
	v := make([]float32, 1536)
	for i := range v {
		v[i] = d.scale[i] * float32(d.r.NormFloat64())
	}
	return v
}

func (d *dense) near(topic []float32, spread float32) []float32 {
	v := d.noise()
	for i := range v {
		v[i] = topic[i] + spread*v[i]
	}
	return v
}

func (d *dense) vector() []float32 {
	return d.near(d.topics[d.r.IntN(len(d.topics))], 0.8)
}

// fixed gives the same vectors whatever the texts.
func (d *dense) fixed() func(string) []float32 { return func(string) []float32 { return d.vector() } }

func chunkOp(doc, ordinal, of int, text string, vector []float32, model string) index.Op {
	v := &events.Vector{Model: model, Embedding: events.EncodeVector(vector)}
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

// fill applies n chunks, three a document, in batches of 256, and calls each
// with every one.
func fill(b testing.TB, s index.Store, n int, model string, vector func(text string) []float32, each func(row int64, v []float32)) (took, cpu time.Duration) {
	c := newCorpus(uint64(n))
	const perDoc = 3
	var ops []index.Op
	for i := 0; i < n; i++ {
		text := c.text(2000)
		v := vector(text)
		if each != nil {
			each(rowID(int64(i/perDoc+1), i%perDoc), v)
		}
		ops = append(ops, chunkOp(i/perDoc, i%perDoc, min(perDoc, n-i/perDoc*perDoc), text, v, model))
		if len(ops) == 256 || i == n-1 {
			start, used := time.Now(), cpuTime(b)
			out, err := s.Apply(context.Background(), ops)
			took += time.Since(start)
			cpu += cpuTime(b) - used
			if err != nil {
				b.Fatal(err)
			}
			for _, o := range out {
				if o.Err != nil {
					b.Fatal(o.Err)
				}
			}
			ops = ops[:0]
		}
	}
	return took, cpu
}

// cpuTime is what this process has used of all processors: unlike the time on
// the wall it does not depend on what else the machine does.
func cpuTime(b testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func openBench(b testing.TB) *Store {
	s, err := Open(context.Background(), filepath.Join(b.TempDir(), "index.db"), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

func BenchmarkApply(b *testing.B) {
	d := newDense(1, 50)
	pool := make([][]float32, 256)
	for i := range pool {
		pool[i] = d.vector()
	}
	n := 0
	for name, vector := range map[string]func(string) []float32{
		"dense":   func(string) []float32 { n++; return pool[n%len(pool)] },
		"lexical": lexical,
	} {
		b.Run(name, func(b *testing.B) {
			const chunks = 5120
			var took, cpu time.Duration
			for range b.N {
				t, c := fill(b, openBench(b), chunks, "m", vector, nil)
				took, cpu = took+t, cpu+c
			}
			b.ReportMetric(float64(cpu.Microseconds())/float64(chunks*b.N), "cpu-us/chunk")
			b.ReportMetric(float64(chunks*b.N)/took.Seconds(), "chunks/s")
		})
	}
}

func BenchmarkSearch(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		for _, kind := range []string{"dense", "lexical"} {
			b.Run(fmt.Sprintf("%s/%d", kind, n), func(b *testing.B) { benchmarkSearch(b, kind, n) })
		}
	}
}

func benchmarkSearch(b *testing.B, kind string, n int) {
	s := openBench(b)
	d := newDense(1, 200)
	vector, model := func(string) []float32 { return d.vector() }, "dense-1536"
	if kind == "lexical" {
		vector, model = lexical, "lex-v1-1536"
	}
	fill(b, s, n, model, vector, nil)
	c := newCorpus(99)
	var times []time.Duration
	cpu := cpuTime(b)
	for b.Loop() {
		text := c.text(40)
		q := index.Query{Text: text, Model: model, Vector: vector(text)}
		start := time.Now()
		hits, err := s.Search(context.Background(), q)
		times = append(times, time.Since(start))
		if err != nil || len(hits) == 0 {
			b.Fatal(err, hits)
		}
	}
	b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/float64(1000*len(times)), "cpu-ms/op")
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)*95/100].Microseconds())/1000, "p95-ms")
	stats, err := s.Stats(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(stats.Memory)/float64(n), "B/chunk")
	path := s.path
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	if s, err = Open(context.Background(), path, Options{}); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(time.Since(start).Seconds()*1000, "open-ms")
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}
