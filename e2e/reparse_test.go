package e2e

import (
	"fmt"
	"testing"
	"time"

	"sluice/pkg/events"
	llama "sluice/pkg/fake/llamaparse"
	"sluice/pkg/natstest"
	"sluice/services/indexer/index"
	"sluice/services/indexer/sqlite"
)

// Documents were read here while the service was away. It comes back, and the
// parsers are killed while they have them parsed again, with fresh documents in
// between: nothing is lost, mixed, or paid for twice.
func TestAParserKilledWhileItMakesGood(t *testing.T) {
	t.Parallel()
	const documents, fresh = 12, 6
	service := llama.New(llama.Config{Keys: map[string]string{"llx-e2e": "na"}, Work: 800 * time.Millisecond})
	url := natstest.Serve(t, service)
	service.Script(llama.Rule{Status: 503})
	w := newWorld(t, setup{
		costd: true, replicas: map[string]int{"parser": 2},
		args: map[string][]string{
			"parser": {
				"--parser", "llamaparse", "--llamaparse-base-url", url, "--llamaparse-key", "llx-e2e", "--llamaparse-text", "--llamaparse-poll", "50ms",
				"--llamaparse-max-pages", "5", "--parser-workers", "3", "--parser-fallback", "local", "--parser-upgrade-rate", "50",
			},
			"costd": {"--budget-day", "5.00", "--budget-hour-requests", "none"},
		},
	})
	submit := func(i int) submission {
		return w.submit(fmt.Sprintf("%d.txt", i), fmt.Appendf(nil, "# Document %d\n\nIts first page.\fThe second page of %d.", i, i))
	}
	var subs []submission
	for i := range documents {
		subs = append(subs, submit(i))
	}
	for _, d := range w.settle(time.Minute, subs...) {
		if d.State != events.StateDegraded || d.Revision.IsWhole() {
			t.Errorf("%s is %s in the outage: %+v", d.Name, d.State, d.Failure)
		}
	}
	before := service.Meter().Creates
	service.Clear()
	// Two creates are under way when both parsers die: noted, and without a job.
	service.Script(llama.Rule{On: "create", Times: 2, Delay: llama.Duration(time.Hour)})
	w.eventually(time.Minute, "two creates hang", func() error {
		if n := service.Meter().Creates - before; n < 2 {
			return fmt.Errorf("there are %d", n)
		}
		return nil
	})
	for _, p := range w.stage["parser"] {
		p.crash(t)
	}
	for i, jobs := range []int{3, 6, 10} {
		w.eventually(time.Minute, fmt.Sprintf("%d jobs are started", jobs), func() error {
			if n := service.Meter().Creates - before; n < jobs {
				return fmt.Errorf("there are %d", n)
			}
			return nil
		})
		for range fresh / 3 {
			subs = append(subs, submit(len(subs)))
		}
		w.stage["parser"][i%2].crash(t)
	}
	w.eventually(2*time.Minute, "all are whole", func() error {
		for _, s := range subs {
			d, err := w.document(s.Document)
			if err != nil {
				return err
			}
			if d == nil || d.State != events.StateComplete {
				return fmt.Errorf("%s: %+v", s.Name, d)
			}
		}
		return nil
	})
	m := service.Meter()
	t.Logf("%d documents, 5 kills, %d jobs, %d creates since the outage", len(subs), m.Jobs, m.Creates-before)
	if m.Jobs != len(subs) {
		t.Errorf("%d jobs were paid for %d documents", m.Jobs, len(subs))
	}
	if settled, reserved := w.ledger(); settled.Plus(reserved).Nano < m.Nano {
		t.Errorf("the ledger has %d n$, the meter %d", settled.Plus(reserved).Nano, m.Nano)
	}
	w.drained(time.Minute)
	w.stop()
	store, err := sqlite.Open(t.Context(), w.index, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	found := map[string]bool{}
	if err := store.Dump(t.Context(), func(e index.Entry) error {
		found[e.Document] = true
		if !e.Revision.IsWhole() {
			return fmt.Errorf("chunk %d of %s is a fallback's", e.Ordinal, e.Document)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if len(found) != len(subs) {
		t.Errorf("the index holds %d documents, want %d", len(found), len(subs))
	}
}
