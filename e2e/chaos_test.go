package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"sluice/cmd/sluice/services"
	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/stage"
	"sluice/services/indexer/pgvector/pgtest"
)

// Whatever is killed, and whenever, every document becomes complete and the
// index is the one of an undisturbed run.
func TestChaos(t *testing.T) {
	t.Parallel()
	const documents = 500
	files := corpus(t, documents)
	dumps := map[string]map[string]string{}
	for _, run := range []struct {
		name string
		set  func(t *testing.T) (setup, disturbance)
	}{
		{"undisturbed", plain(func(_ *testing.T, _ *world, _ *rand.Rand, submit func(int)) { submit(documents) })},
		{"stages", plain(killStages)},
		{"server", plain(killServer)},
		{"postgres", killIndexers},
		{"cluster", cluster},
	} {
		t.Run(run.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed(t), 0))
			s, disturb := run.set(t)
			w := newWorld(t, s)
			began := time.Now()
			var subs []submission
			submit := func(n int) {
				for range min(n, len(files)-len(subs)) {
					f := files[len(subs)]
					subs = append(subs, w.submit(f.name, f.data))
				}
			}
			disturb(t, w, r, submit)
			submit(documents)
			docs := w.settle(2*time.Minute, subs...)
			if len(docs) != documents {
				t.Fatalf("%d documents, want %d", len(docs), documents)
			}
			for _, d := range docs {
				if d.State != events.StateComplete {
					t.Errorf("%s is %s: %+v", d.Name, d.State, d.Failure)
				}
			}
			w.drained(time.Minute)
			w.noDeadLetters()
			w.stop()
			w.obedient()
			for _, p := range w.processes() {
				w.eventually(10*time.Second, "children of the "+p.name+" are gone", func() error {
					if pids := running(p.path); len(pids) > 0 {
						return fmt.Errorf("processes %v run", pids)
					}
					return nil
				})
			}
			dumps[run.name] = w.dump()
			t.Logf("%d chunks of %d documents in %v", len(dumps[run.name]), documents, time.Since(began).Round(100*time.Millisecond))
		})
	}
	want := dumps["undisturbed"]
	if t.Failed() {
		return
	}
	for name, got := range dumps { // of those that were run
		diff(t, name, got, want)
	}
}

// disturbance submits documents, and kills meanwhile.
type disturbance func(t *testing.T, w *world, r *rand.Rand, submit func(n int))

// plain is a world of one replica of each stage and an index in a file.
func plain(d disturbance) func(*testing.T) (setup, disturbance) {
	return func(*testing.T) (setup, disturbance) { return setup{}, d }
}

// killIndexers has three indexers write into one Postgres, and kills them in
// turn, and Postgres itself in between. What they leave is compared with the
// file that the undisturbed run left.
func killIndexers(t *testing.T) (setup, disturbance) {
	server := pgtest.New(t)
	s := setup{replicas: map[string]int{"indexer": 3}, index: server.Database(t)}
	return s, func(t *testing.T, w *world, r *rand.Rand, submit func(int)) {
		for kill := range 12 {
			submit(40)
			pause(r, 400*time.Millisecond)
			if kill%4 == 3 {
				if err := server.Kill(); err != nil {
					t.Error(err)
				}
				pause(r, 400*time.Millisecond)
				if err := server.Start(); err != nil {
					t.Fatal(err)
				}
				t.Logf("kill %d: postgres", kill+1)
				continue
			}
			p := w.stage["indexer"][kill%3]
			p.crash(t)
			t.Logf("kill %d: %s", kill+1, p.name)
		}
	}
}

// killStages kills each stage in turn, five times each, while documents come in.
func killStages(t *testing.T, w *world, r *rand.Rand, submit func(int)) {
	for kill := range 20 {
		submit(25)
		name := stages[(kill+3)%len(stages)]
		pause(r, 400*time.Millisecond)
		w.stage[name][0].crash(t)
		t.Logf("kill %d: %s", kill+1, name)
	}
}

// killServer kills the nats-server while documents come in, and once at the
// same time as a stage.
func killServer(t *testing.T, w *world, r *rand.Rand, submit func(int)) {
	for kill := range 5 {
		submit(100)
		pause(r, 700*time.Millisecond)
		w.server.crash(t)
		if kill == 2 {
			w.stage[stages[r.IntN(len(stages))]][0].crash(t)
		}
		t.Logf("kill %d", kill+1)
	}
}

// cluster is a world of three NATS servers and two replicas of each stage.
func cluster(*testing.T) (setup, disturbance) {
	return setup{nodes: 3, replicas: map[string]int{"parser": 2, "chunker": 2, "embedder": 2}}, killNodes
}

// killNodes kills one node of the cluster, brings it back, and kills another, with
// documents coming in all the time.
func killNodes(t *testing.T, w *world, r *rand.Rand, submit func(int)) {
	for kill, node := range w.nodes[:2] {
		submit(80)
		pause(r, 700*time.Millisecond)
		node.kill()
		t.Logf("kill %d: %s", kill+1, node.name)
		submit(80) // with two of three
		pause(r, 700*time.Millisecond)
		if err := node.start(); err != nil {
			t.Fatal(err)
		}
		submit(80)
		w.replicated(time.Minute)
	}
}

// obedient fails the test if a stage has tried what its user may not: the rights
// that are declared are exactly those that are needed.
func (w *world) obedient() {
	w.t.Helper()
	for _, replicas := range w.stage {
		for _, p := range replicas {
			data, err := os.ReadFile(p.log)
			if err != nil {
				w.t.Fatal(err)
			}
			for line := range bytes.Lines(data) {
				if bytes.Contains(line, []byte(stage.ReasonRights)) || bytes.Contains(line, []byte("Permissions Violation")) {
					w.t.Errorf("%s: %s", p.name, line)
				}
			}
		}
	}
}

// replicated waits until every stream has all of its replicas again.
func (w *world) replicated(d time.Duration) {
	w.t.Helper()
	w.eventually(d, "all replicas are current", func() error {
		for _, s := range broker.DefaultTopology().Streams(services.Declared()...) {
			stream, err := w.js.Stream(w.t.Context(), s.Name)
			if err != nil {
				return fmt.Errorf("%s: %w", s.Name, err)
			}
			c := stream.CachedInfo().Cluster
			if c == nil || c.Leader == "" || len(c.Replicas) != len(w.nodes)-1 {
				return fmt.Errorf("%s: %+v", s.Name, c)
			}
			for _, p := range c.Replicas {
				if !p.Current || p.Offline {
					return fmt.Errorf("%s: %+v", s.Name, p)
				}
			}
		}
		return nil
	})
}

// pause lets the pipeline work for a random time: the moment of the next kill.
func pause(r *rand.Rand, most time.Duration) { time.Sleep(time.Duration(r.Int64N(int64(most)))) }

// diff reports how two dumps differ.
func diff(t *testing.T, name string, got, want map[string]string) {
	t.Helper()
	if len(want) == 0 {
		t.Fatal("the index to compare with is empty")
	}
	shown := 0
	show := func(format string, args ...any) {
		if shown++; shown <= 5 {
			t.Errorf("%s: %s", name, fmt.Sprintf(format, args...))
		}
	}
	for k, v := range want {
		if got[k] != v {
			show("chunk %s is %q, want %q", k, got[k], v)
		}
	}
	for k, v := range got {
		if _, ok := want[k]; !ok {
			show("chunk %s (%q) should not be there", k, v)
		}
	}
	if shown > 5 {
		t.Errorf("%s: %d chunks differ of %d", name, shown, len(want))
	}
}
