package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sluice/pkg/events"
)

const examples = "../examples/documents"

// exampleFiles returns the example documents by name.
func exampleFiles(t *testing.T) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(examples)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(examples, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = data
	}
	if len(files) < 18 {
		t.Fatalf("only %d example documents", len(files))
	}
	return files
}

// Every example document becomes searchable, and is what a search for its
// contents finds first.
func TestExamples(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	var subs []submission
	for name, data := range exampleFiles(t) {
		subs = append(subs, w.submit(name, data, "Meta-Collection", "examples"))
	}
	docs := w.settle(60*time.Second, subs...)
	for _, s := range subs {
		d := docs[s.Document]
		switch {
		case d.State != events.StateComplete:
			t.Errorf("%s is %s: %+v", s.Name, d.State, d.Failure)
		case d.Chunks == 0 || d.Tokens == 0 || d.Type == "" || d.Live == nil:
			t.Errorf("%s is complete and lacks facts: %+v", s.Name, d)
		}
		if len(d.Warnings) > 0 {
			t.Errorf("%s: warnings %q", s.Name, d.Warnings)
		}
	}
	data, err := os.ReadFile("../examples/queries.json")
	if err != nil {
		t.Fatal(err)
	}
	var queries []struct{ Query, Want string }
	if err := json.Unmarshal(data, &queries); err != nil {
		t.Fatal(err)
	}
	for _, q := range queries {
		reply := w.search(events.SearchRequest{Query: q.Query, K: 3})
		if reply.Mode != "hybrid" || reply.Model == "" {
			t.Errorf("%q was answered in mode %q with model %q: %s", q.Query, reply.Mode, reply.Model, reply.Note)
		}
		if len(reply.Hits) == 0 {
			t.Errorf("%q: no hits", q.Query)
			continue
		}
		hit := reply.Hits[0]
		if hit.Name != q.Want {
			t.Errorf("%q: the first hit is %s, want %s", q.Query, hit.Name, q.Want)
		}
		if hit.Meta["Collection"] != "examples" || hit.Text == "" {
			t.Errorf("%q: the hit %s has meta %v and %d bytes of text", q.Query, hit.Name, hit.Meta, len(hit.Text))
		}
	}
	if n := len(w.deadLetters()); n > 0 {
		t.Errorf("%d dead letters", n)
	}
	// Once more: nothing to do.
	var again []submission
	for name, data := range exampleFiles(t) {
		again = append(again, w.submit(name, data, "Meta-Collection", "examples"))
	}
	for id, d := range w.settle(60*time.Second, again...) {
		if d.State != events.StateDuplicate {
			t.Errorf("%s, submitted again, is %s (%s)", d.Name, d.State, id)
		}
	}
}
