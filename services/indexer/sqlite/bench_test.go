package sqlite

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"sluice/services/indexer/index"
	"sluice/services/indexer/internal/corpus"
)

// fill applies n chunks, three a document, in batches of 256, and calls each
// with every one.
func fill(b testing.TB, s index.Store, n int, model string, vector func(text string) []float32, each func(row int64, v []float32)) (took, cpu time.Duration) {
	c := corpus.NewTexts(uint64(n))
	const perDoc = 3
	var ops []index.Op
	for i := 0; i < n; i++ {
		text := c.Text(2000)
		v := vector(text)
		if each != nil {
			each(rowID(int64(i/perDoc+1), i%perDoc), v)
		}
		ops = append(ops, corpus.Op(i/perDoc, i%perDoc, min(perDoc, n-i/perDoc*perDoc), text, v, model))
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
	d := corpus.NewDense(1, 50)
	pool := make([][]float32, 256)
	for i := range pool {
		pool[i] = d.Vector()
	}
	n := 0
	for name, vector := range map[string]func(string) []float32{
		"dense":   func(string) []float32 { n++; return pool[n%len(pool)] },
		"lexical": corpus.Lexical,
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
	d := corpus.NewDense(1, 200)
	vector, model := d.Fixed(), "dense-1536"
	if kind == "lexical" {
		vector, model = corpus.Lexical, "lex-v1-1536"
	}
	fill(b, s, n, model, vector, nil)
	c := corpus.NewTexts(99)
	var times []time.Duration
	cpu := cpuTime(b)
	for b.Loop() {
		text := c.Text(40)
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
