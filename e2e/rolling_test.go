package e2e

import (
	"testing"
	"time"

	"sluice/pkg/events"
	fake "sluice/pkg/fake/openai"
	"sluice/pkg/natstest"
)

// Every stage is replaced in the middle of an ingest, replica by replica, as an
// orchestrator does: nothing is lost, nothing is paid for or indexed twice, and
// no document has used up a retry. Everybody works as a NATS user of its own, with
// a paid embedder, and ledgers that a cluster of three keeps.
func TestRollingUpgrade(t *testing.T) {
	t.Parallel()
	const documents = 240
	files := corpus(t, documents)
	type result struct {
		index map[string]string
		meter fake.Meter
	}
	run := func(t *testing.T, nodes int, upgrade bool) result {
		t.Helper()
		provider, err := fake.New(fake.Config{Keys: []string{"sk-e2e"}})
		if err != nil {
			t.Fatal(err)
		}
		url := natstest.Serve(t, provider)
		// A call under way when its process is told to end.
		provider.Script(fake.Rule{Delay: fake.Duration(50 * time.Millisecond)})
		w := newWorld(t, setup{
			nodes: nodes, costd: true, replicas: map[string]int{"parser": 2, "chunker": 2, "embedder": 2, "costd": 2},
			args: map[string][]string{
				"embedder": {"--embedder", "openai", "--embedding-base-url", url + "/v1", "--embedding-key", "sk-e2e", "--embedder-batch", "16"},
				"costd":    {"--budget-day", "5.00", "--budget-hour-requests", "none"},
			},
		})
		names := append([]string{"costd"}, stages...)
		var subs []submission
		for i, name := range names {
			for _, p := range w.stage[name] {
				for range documents / len(names) / len(w.stage[name]) {
					f := files[len(subs)]
					subs = append(subs, w.submit(f.name, f.data))
				}
				if upgrade {
					p.stop(t)
					if err := p.start(); err != nil {
						t.Fatal(err)
					}
				}
			}
			t.Logf("%d of %d: %s", i+1, len(names), name)
		}
		for _, f := range files[len(subs):] {
			subs = append(subs, w.submit(f.name, f.data))
		}
		docs := w.settle(2*time.Minute, subs...)
		if len(docs) != documents {
			t.Errorf("%d documents, want %d", len(docs), documents)
		}
		for _, d := range docs {
			if d.State != events.StateComplete || d.Retries != 0 {
				t.Errorf("%s is %s after %d retries: %+v", d.Name, d.State, d.Retries, d.Failure)
			}
		}
		w.drained(time.Minute)
		w.noDeadLetters()
		w.stop()
		for _, p := range w.stage["costd"] {
			p.stop(t)
		}
		w.obedient()
		return result{w.dump(), provider.Meter()}
	}
	var want, got result
	t.Run("undisturbed", func(t *testing.T) { want = run(t, 1, false) })
	t.Run("upgraded", func(t *testing.T) { got = run(t, 3, true) })
	if t.Failed() {
		return
	}
	diff(t, "upgraded", got.index, want.index)
	if got.meter.Inputs != want.meter.Inputs || got.meter.Nano != want.meter.Nano {
		t.Errorf("%d inputs were paid with %d n$, undisturbed %d with %d", got.meter.Inputs, got.meter.Nano, want.meter.Inputs, want.meter.Nano)
	}
	t.Logf("%d inputs, %d n$, in %d and %d calls", want.meter.Inputs, want.meter.Nano, want.meter.Calls, got.meter.Calls)
}
