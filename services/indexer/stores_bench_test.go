package indexer

import (
	"context"
	"flag"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice/services/indexer/index"
	"sluice/services/indexer/internal/corpus"
	"sluice/services/indexer/internal/revision"
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
	texts, model, vectorOf := corpus.NewTexts(7), "lex-v1-1536", corpus.Lexical
	if kind == "dense" {
		model, vectorOf = "dense-1536", corpus.NewDense(7, 200).Fixed()
	}
	vectors := make([][]float32, n)
	ops := make([]index.Op, n)
	for i := range n {
		const perDoc = 8
		text := texts.Text(2000)
		vectors[i] = vectorOf(text)
		ops[i] = corpus.Op(i/perDoc, i%perDoc, min(perDoc, n-i/perDoc*perDoc), text, vectors[i], model)
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
		text := texts.Text(40)
		vector := vectorOf(text)
		for _, mode := range []index.Mode{index.Hybrid, index.Vector, index.Keyword} {
			q := index.Query{Text: text, Model: model, Vector: vector, Mode: mode}
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
	qn := revision.Norm(q)
	for i, v := range vectors {
		var dot float64
		for j, x := range v {
			dot += float64(x) * float64(q[j])
		}
		all[i] = dot / (revision.Norm(v) * qn)
	}
	slices.Sort(all)
	return all[len(all)-k]
}
