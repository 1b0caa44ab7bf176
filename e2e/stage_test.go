package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/pkg/broker"
	"sluice/pkg/events"
)

// redacted submits a document with an address and waits until it is searchable
// without.
func redacted(w *world, name string) {
	w.t.Helper()
	d := w.one(w.submit(name, []byte("# Mooring\n\nAsk jane.doe@example.org at the "+name+" pontoon.\n")))
	if d.State != events.StateComplete {
		w.t.Errorf("%s is %s: %+v", name, d.State, d.Failure)
	}
	reply := w.search(events.SearchRequest{Query: name + " pontoon", K: 1})
	if len(reply.Hits) != 1 || !strings.Contains(reply.Hits[0].Text, "Ask "+strings.Repeat("x", 20)+" at") {
		w.t.Errorf("the index holds %+v", reply.Hits)
	}
}

// A stage of a module outside the workspace takes its place on a pipeline that has
// run. Red before: JetStream refused it with 10099, until somebody removed the
// chunker's consumer by hand.
func TestAStageOutsideTheTree(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.one(w.submit("before.md", []byte("# Before\n\nThe chunker takes what the parser makes.\n")))

	redactor := w.spawn("redactor", "redactor")
	w.eventually(30*time.Second, "the redactor says who is in its way", func() error {
		if redactor.alive() {
			return errors.New("it runs")
		}
		if words := redactor.lastWords(); !strings.Contains(words, "chunker does") || !strings.Contains(words, "--chunker-from") {
			return fmt.Errorf("its last words: %s", words)
		}
		return nil
	})
	chunker := w.stage["chunker"][0]
	chunker.stop(t)
	w.stage["chunker"][0] = w.spawn("chunker", "chunker-rerouted", "--chunker-from", "REDACTED")
	w.eventually(30*time.Second, "the chunker has moved", func() error {
		_, err := w.js.Consumer(t.Context(), "REDACTED", "chunker")
		return err
	})
	if err := redactor.start(); err != nil {
		t.Fatal(err)
	}
	redacted(w, "north.md")
	redactor.stop(t)
	w.obedient()
}

// And with rights: nobody but apply may make a consumer, and the redactor is a
// user with its own declaration's rights.
func TestAStageOutsideTheTreeWithRights(t *testing.T) {
	t.Parallel()
	out, err := exec.Command(filepath.Join(bin, "redactor"), "--declaration").Output()
	if err != nil {
		t.Fatal(err)
	}
	var service broker.Service
	if err := json.Unmarshal(out, &service); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, setup{nodes: 1, extra: []broker.Service{service}, args: map[string][]string{"chunker": {"--chunker-from", "REDACTED"}}})
	redactor := w.spawn("redactor", "redactor")
	redacted(w, "south.md")
	redactor.stop(t)
	w.obedient()
}
