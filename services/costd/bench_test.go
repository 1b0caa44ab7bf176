package costd_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"sluice/pkg/budget"
)

// BenchmarkAdmit is one call admitted and settled under a lease that covers it.
// Messages are those of the process's connection, refills included.
func BenchmarkAdmit(b *testing.B) {
	w := newWorld(b)
	w.costd("a", day(1<<60))
	nc, js := w.connect()
	g, err := budget.NewGate(b.Context(), budget.Config{Conn: nc, JS: js, Log: w.log(), Now: w.now})
	if err != nil {
		b.Fatal(err)
	}
	call := budget.Amount{Nano: 1000, Requests: 1}
	for range 2000 { // until the lease has the size that the rate asks for
		t, err := g.Admit(b.Context(), "openai", "acme", call)
		if err != nil {
			b.Fatal(err)
		}
		t.Settle(1000)
		time.Sleep(100 * time.Microsecond)
	}
	before := nc.Stats().OutMsgs
	for b.Loop() {
		t, err := g.Admit(b.Context(), "openai", "acme", call)
		if err != nil {
			b.Fatal(err)
		}
		t.Settle(1000)
	}
	b.ReportMetric(float64(nc.Stats().OutMsgs-before)/float64(b.N), "msgs/op")
	if err := g.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkRefill is a call that needs a lease of its own: a tenant's first.
func BenchmarkRefill(b *testing.B) {
	w := newWorld(b)
	w.costd("a", day(1<<60))
	g := w.gate(nil)
	var times []time.Duration
	i := 0
	for b.Loop() {
		i++
		start := time.Now()
		t, err := g.Admit(b.Context(), "openai", "tenant-"+string(rune('a'+i%26))+time.Duration(i).String(), budget.Amount{Nano: 1000, Requests: 1})
		if err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(start))
		t.Settle(1000)
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkRefills has many replicas ask for a lease at the same moment.
func BenchmarkRefills(b *testing.B) {
	for _, n := range []int{20, 100} {
		b.Run(fmt.Sprint(n, "-replicas"), func(b *testing.B) {
			w := newWorld(b)
			w.costd("a", day(1<<60))
			gates := make([]*budget.Gate, n)
			for i := range gates {
				gates[i] = w.gate(nil)
			}
			var mu sync.Mutex
			var times []time.Duration
			estimate := int64(1000)
			for b.Loop() {
				estimate *= 2 // more than any lease has left
				if estimate > 1<<40 {
					estimate = 1000
				}
				var wg sync.WaitGroup
				for _, g := range gates {
					wg.Go(func() {
						start := time.Now()
						t, err := g.Admit(b.Context(), "openai", "acme", budget.Amount{Nano: estimate, Requests: 1})
						if err != nil {
							b.Error(err)
							return
						}
						took := time.Since(start)
						t.Settle(estimate)
						mu.Lock()
						times = append(times, took)
						mu.Unlock()
					})
				}
				wg.Wait()
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}
