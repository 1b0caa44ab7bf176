package e2e

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/pkg/broker"
	"sluice/pkg/budget"
	"sluice/pkg/events"
	fake "sluice/pkg/fake/openai"
	"sluice/pkg/natstest"
)

// newProvider returns a fake provider that takes the key of paying.
func newProvider(t *testing.T, seed uint64) *fake.Server {
	t.Helper()
	provider, err := fake.New(fake.Config{Keys: []string{"sk-e2e"}, Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	return provider
}

// paying is a world whose embedders pay a fake provider, which has a meter.
func paying(t *testing.T, provider *fake.Server, replicas map[string]int, embedder ...string) *world {
	t.Helper()
	url := natstest.Serve(t, provider)
	return newWorld(t, setup{
		costd: true, replicas: replicas,
		args: map[string][]string{
			"embedder": append([]string{"--embedder", "openai", "--embedding-base-url", url + "/v1", "--embedding-key", "sk-e2e", "--embedding-timeout", "2s"}, embedder...),
			"chunker":  {"--min-tokens", "1", "--max-tokens", "256"},
			"costd":    {"--budget-day", "5", "--budget-hour-requests", "none", "--budget-lease", "2s", "--budget-margin", "1s"},
		},
	})
}

// limit sets a scope's dollars a day.
func (w *world) limit(scope budget.Scope, nano int64) {
	w.t.Helper()
	w.eventually(time.Minute, "the limit of "+string(scope), func() error {
		_, err := w.nc.Request(budget.SubjectSet, events.Encode(budget.Change{Scope: scope, DayNano: &nano}), 2*time.Second)
		return err
	})
}

// last returns the last sequence of a stream: it grows with everything that is
// written.
func (w *world) last(stream string) uint64 {
	w.t.Helper()
	s, err := w.js.Stream(w.t.Context(), stream)
	if err != nil {
		w.t.Fatal(err)
	}
	return s.CachedInfo().State.LastSeq
}

// Chaos with everything that waits mixed in: two of five tenants at their limit,
// the service away for a while, a refused key for a while, claims of the dead, and
// every stage killed in turn. No document is lost or fails, nothing is bought
// beyond a limit, and the story of a document stays short.
func TestWaitingChaos(t *testing.T) {
	t.Parallel()
	const documents, kills, batch = 500, 40, 64
	files := corpus(t, documents)
	tenants := []string{"ant", "bee", "cat", "dog", "eel"}
	poor := tenants[:2]
	const poorLimit = 20_000 // nano-dollars a day each: about 1,000 tokens
	dumps := map[string]map[string]string{}
	for _, name := range []string{"undisturbed", "disturbed"} {
		disturbed := name == "disturbed"
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed(t), 0))
			provider := newProvider(t, seed(t))
			w := paying(t, provider, map[string]int{"embedder": 2, "costd": 2}, "--embedder-batch", fmt.Sprint(batch))
			if disturbed {
				for _, tenant := range poor {
					w.limit(budget.Tenant(tenant), poorLimit)
				}
			}
			var subs []submission
			submit := func(n int) {
				for range min(n, documents-len(subs)) {
					i := len(subs)
					subs = append(subs, w.submit(files[i].name, files[i].data, events.HeaderTenant, tenants[i%len(tenants)]))
				}
			}
			if disturbed {
				// Calls take a while, so that embedders die with claims in their hands.
				slow := fake.Rule{Delay: fake.Duration(50 * time.Millisecond)}
				provider.Script(slow)
				stages := []string{"embedder", "indexer", "embedder", "chunker", "parser", "costd", "embedder", "indexer"}
				for kill := range kills {
					submit(documents/kills + 1)
					switch kill {
					case 8:
						provider.Script(fake.Rule{Status: http.StatusServiceUnavailable, Type: "service_unavailable_error", Code: "server_is_overloaded"})
					case 16:
						provider.Clear()
						provider.Script(slow)
					case 24:
						provider.SetKey("sk-e2e", false)
					case 32:
						provider.SetKey("sk-e2e", true)
					}
					pause(r, 500*time.Millisecond)
					replicas := w.stage[stages[kill%len(stages)]]
					replicas[r.IntN(len(replicas))].crash(t)
				}
				provider.Clear()
			}
			submit(documents)
			if disturbed {
				var open []submission
				for i, s := range subs {
					if i%len(tenants) >= len(poor) {
						open = append(open, s)
					}
				}
				w.settle(4*time.Minute, open...)
				for _, tenant := range poor {
					m := w.charged(tenant)
					if m > poorLimit {
						t.Errorf("%s was charged %d n$, its limit is %d", tenant, m, poorLimit)
					}
					t.Logf("%s at its limit of %d n$: charged %d", tenant, poorLimit, m)
				}
				for _, tenant := range poor {
					w.limit(budget.Tenant(tenant), 5e9)
				}
			}
			docs := w.settle(4*time.Minute, subs...)
			for _, d := range docs {
				if d.State != events.StateComplete {
					t.Errorf("%s is %s: %+v", d.Name, d.State, d.Failure)
				}
			}
			w.drained(time.Minute)
			w.eventually(time.Minute, "nothing is set aside any more", func() error {
				if n := len(w.messages(events.StreamHeld, ">")); n > 0 {
					return fmt.Errorf("%d messages", n)
				}
				return nil
			})
			w.noDeadLetters()
			meter := provider.Meter()
			settled, reserved := w.ledger()
			if out := settled.Plus(reserved); out.Nano < meter.Nano {
				t.Errorf("the ledger has %d n$, the meter %d: somebody paid without asking", out.Nano, meter.Nano)
			}
			told := w.last(events.StreamEvents)
			t.Logf("%d events, %.1f a document; meter %d n$ in %d calls, ledger %d n$", told, float64(told)/documents, meter.Nano, meter.Calls, settled.Nano)
			if told > 12*documents {
				t.Errorf("%d events of %d documents: more than 12 each", told, documents)
			}
			w.stop()
			dumps[name] = w.dump()
		})
	}
	if !t.Failed() {
		diff(t, "disturbed", dumps["disturbed"], dumps["undisturbed"])
	}
}

// charged adds up what the usage events say a tenant was charged, lost answers
// included.
func (w *world) charged(tenant string) (nano int64) {
	w.t.Helper()
	for _, m := range w.messages(events.StreamCosts, ">") {
		u, err := events.Decode[events.Usage](m.Data)
		if err != nil {
			w.t.Fatal(err)
		}
		if u.Tenant == tenant {
			nano += u.Nano
		}
	}
	return nano
}

var parked = flag.Int("parked", 10_000, "chunks of a tenant at its limit in TestParked; the issue's number is 100000")

// A tenant at its limit with very much work: at rest nothing is written, another
// tenant's document passes, the memory of the stage does not grow with what waits,
// and a raise has all of it complete, also what was set aside before everything
// was restarted.
func TestParked(t *testing.T) {
	t.Parallel()
	provider := newProvider(t, 1)
	// A call that is given up may have been paid for, and what it asked for is bought
	// again. This is about what is answered, however busy the machine.
	w := paying(t, provider, nil, "--embedding-timeout", "10m")
	w.limit(budget.Tenant("poor"), 0)
	const lines = 250 // one chunk each
	var subs []submission
	memory := map[int]int{} // of the embedder, by documents
	for i := range *parked / lines {
		var b bytes.Buffer
		for n := range lines {
			// A heading of level 1 begins a new chunk.
			fmt.Fprintf(&b, "# %d %d\n\n%s\n\n", i, n, strings.Repeat(fmt.Sprintf("word%d ", i*lines+n), 70))
		}
		subs = append(subs, w.submit(fmt.Sprintf("poor-%d.md", i), b.Bytes(), events.HeaderTenant, "poor"))
		if i == *parked/lines/4 || i == *parked/lines-1 {
			w.parked(10 * time.Minute)
			memory[i] = rss(t, w.stage["embedder"][0].pid())
		}
	}
	held := w.last(events.StreamHeld)
	t.Logf("%d messages were set aside; resident memory of the embedder by documents: %v kB", held, memory)
	small, large := memory[*parked/lines/4], memory[*parked/lines-1]
	if large > small+64<<10 {
		t.Errorf("memory grows with what waits: %d kB after a quarter, %d kB after all", small, large)
	}

	began := time.Now()
	rich := w.submit("rich.md", []byte("# Rich\n\nSomebody else's document."), events.HeaderTenant, "rich")
	if d := w.settle(2*time.Minute, rich)[rich.Document]; d.State != events.StateComplete {
		t.Errorf("%+v", d)
	}
	t.Logf("another tenant's document is complete after %v", time.Since(began).Round(time.Millisecond))

	// At rest nothing is written but the heartbeats of whoever has one.
	time.Sleep(2 * time.Second) // what the document above has caused
	streams := []string{
		events.StreamEvents, events.StreamHeld, events.StreamChunks, events.StreamCosts, events.StreamDeadLetter,
		"KV_" + events.BucketDocuments, "KV_" + events.BucketRetries, "KV_" + events.BucketCache,
	}
	before := map[string]uint64{}
	for _, s := range streams {
		before[s] = w.last(s)
	}
	time.Sleep(5 * time.Second) // the rest is a time without anything
	for _, s := range streams {
		if n := w.last(s) - before[s]; n > 0 {
			t.Errorf("%d writes to %s in 5 s while all waits", n, s)
		}
	}

	// Everything is restarted, and what waits is still there.
	for _, name := range []string{"embedder", "costd", "indexer"} {
		w.stage[name][0].crash(t)
	}
	w.server.crash(t)
	back := w.submit("back.md", []byte("# Back\n\nEverything runs again."), events.HeaderTenant, "rich")
	if d := w.settle(2*time.Minute, back)[back.Document]; d.State != events.StateComplete {
		t.Errorf("%+v", d)
	}
	bought := provider.Meter().Inputs
	began = time.Now()
	w.limit(budget.Tenant("poor"), 5e9)
	w.eventually(time.Minute, "the first call after the raise", func() error {
		if provider.Meter().Inputs == bought {
			return fmt.Errorf("%+v", provider.Meter())
		}
		return nil
	})
	t.Logf("the first call is made %v after the raise", time.Since(began).Round(time.Millisecond))
	chunks := 0
	for id, d := range w.settle(20*time.Minute, subs...) {
		if chunks += d.Chunks; d.State != events.StateComplete {
			t.Errorf("%s is %s: %+v", id, d.State, d.Failure)
		}
	}
	if chunks < *parked/3 {
		t.Errorf("%d chunks, want about %d", chunks, *parked)
	}
	t.Logf("all is complete %v after the raise", time.Since(began).Round(time.Millisecond))
	if n := len(w.messages(events.StreamHeld, ">")); n > 0 {
		t.Errorf("%d messages are still set aside", n)
	}
	if m := provider.Meter(); m.Inputs != chunks+bought {
		t.Errorf("%d inputs were bought, want each of %d once", m.Inputs, chunks+bought)
	}
	w.noDeadLetters()
}

// parked waits until nothing is on its way to the embedder any more: all waits.
func (w *world) parked(d time.Duration) {
	w.t.Helper()
	pending, before := -1, uint64(0)
	w.eventually(d, "all waits", func() error {
		for _, stream := range []string{events.StreamDocuments, events.StreamParsed} {
			s, err := w.js.Stream(w.t.Context(), stream)
			if err != nil {
				return err
			}
			if n := s.CachedInfo().State.Msgs; n > 0 {
				return fmt.Errorf("%s holds %d messages", stream, n)
			}
		}
		c, err := w.js.Consumer(w.t.Context(), events.StreamChunks, "embedder")
		if err != nil {
			return err
		}
		info, err := c.Info(w.t.Context())
		if err != nil {
			return err
		}
		// What the room holds by its bound stays; the rest is set aside.
		held := w.last(events.StreamHeld)
		moved := info.NumPending > 0 || info.NumAckPending != pending || held != before
		pending, before = info.NumAckPending, held
		if moved {
			time.Sleep(time.Second) // the standstill is a time without anything
			return fmt.Errorf("%d packs wait for the embedder, %d are in its hands", info.NumPending, info.NumAckPending)
		}
		return nil
	})
}

// rss returns the resident memory of a process in kB.
func rss(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	var kb int
	for line := range strings.Lines(string(data)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kb); err == nil {
			return kb
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// Documents that wait for money wait through any number of kills: a hold is no
// crash. All stages run in one process, as 'sluice up' has them.
func TestAPauseIsNoCrash(t *testing.T) {
	t.Parallel()
	provider := newProvider(t, 1)
	url := natstest.Serve(t, provider)
	dir := t.TempDir()
	port := freePort(t)
	w := &world{t: t, dir: dir, url: fmt.Sprintf("nats://127.0.0.1:%d", port), login: func(string) broker.Login { return broker.Login{} }, stage: map[string][]*process{}}
	up := spawn(t, dir, "sluice", "sluice", "up", "--data", filepath.Join(dir, "data"), "--nats", fmt.Sprintf("127.0.0.1:%d", port), "--http", "127.0.0.1:0",
		"--embedder", "openai", "--embedding-base-url", url+"/v1", "--embedding-key", "sk-e2e", "--budget-day", "0", "--ack-wait", "2s", "--log-format", "json")
	w.connect()
	var subs []submission
	w.eventually(time.Minute, "the pipeline is there", func() error { _, err := w.js.Stream(t.Context(), events.StreamDocuments); return err })
	for i := range 3 {
		subs = append(subs, w.submit(fmt.Sprintf("doc-%d.md", i), fmt.Appendf(nil, "# Document %d\n\nIt waits for money.", i)))
	}
	held := func() error {
		for _, s := range subs {
			if d, err := w.document(s.Document); err != nil || d == nil || d.Held == "" {
				return fmt.Errorf("%+v, %v", d, err)
			}
		}
		return nil
	}
	w.eventually(time.Minute, "all are held", held)
	for range 5 {
		up.crash(t)
		// Taken in again: the chunks are in the hands of the new process.
		w.eventually(time.Minute, "the embedder has them again", func() error {
			c, err := w.js.Consumer(t.Context(), events.StreamChunks, "embedder")
			if err != nil {
				return err
			}
			info, err := c.Info(t.Context())
			if err != nil {
				return err
			}
			if info.NumRedelivered < len(subs) {
				return fmt.Errorf("%d redelivered", info.NumRedelivered)
			}
			return nil
		})
	}
	if dead := w.deadLetters(); len(dead) > 0 {
		t.Fatalf("%d dead letters, the first: %v", len(dead), dead[0].Header)
	}
	if m := provider.Meter(); m.Attempts > 0 {
		t.Errorf("the meter: %+v", m)
	}
	w.limit(budget.Global, 5e9)
	for _, d := range w.settle(time.Minute, subs...) {
		if d.State != events.StateComplete {
			t.Errorf("%+v", d)
		}
	}
	w.noDeadLetters()
	up.stop(t)
}
