package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"sluice/pkg/events"
)

// TestDifferentNamesAreDifferentDocuments ingests files whose names are equal
// once they have been cleaned to be shown. Each has to be a document of its own,
// that its exact name finds and removes.
func TestDifferentNamesAreDifferentDocuments(t *testing.T) {
	start(t, nil)
	in(t, nil)
	pairs := [][2]string{
		{"M\xfcller.txt", "M\xf6ller.txt"}, // Latin-1
		{" lead.txt", "lead.txt"},
		{"tab\tname.txt", "tab name.txt"},
		{"line\nname.txt", "line name.txt"},
		{strings.Repeat("directory/", 110) + "a.txt", strings.Repeat("directory/", 110) + "b.txt"},
	}
	all := map[string]string{}
	for i, p := range pairs {
		for j, name := range p {
			// Distinct words, so that a search tells which one is there.
			all[name] = "unique" + string(rune('a'+2*i+j)) + "word stands in here alone"
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(all[name]), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	sluice(t, "ingest", ".").want(t, 0).has(t, "10 documents: 10 complete")
	if ls := lines[events.Document](t, sluice(t, "ls", "--json").want(t, 0)); len(ls) != len(all) {
		t.Errorf("%d documents, want %d", len(ls), len(all))
	}
	found := func(name string) bool {
		word := strings.Fields(all[name])[0]
		return len(one[events.SearchReply](t, sluice(t, "search", "--mode", "keyword", "--json", word).want(t, 0)).Hits) > 0
	}
	for _, p := range pairs {
		d := one[events.Document](t, sluice(t, "status", "--json", p[0]).want(t, 0))
		if d.Document != events.DocumentID("default", p[0]) || d.State != events.StateComplete {
			t.Errorf("%q is %+v", p[0], d)
		}
		sluice(t, "rm", p[0]).want(t, 0)
		if found(p[0]) || !found(p[1]) {
			t.Errorf("after rm %q: found %v, and %q %v", p[0], found(p[0]), p[1], found(p[1]))
		}
		if gone := one[events.Document](t, sluice(t, "status", "--json", p[0]).want(t, 0)); gone.Name != d.Name || gone.State != events.StateDeleted {
			t.Errorf("%q is %+v after its deletion", p[0], gone)
		}
	}
}

// TestLongAddressesAreDifferentDocuments submits references whose addresses, or
// names, share all that can be shown of them.
func TestLongAddressesAreDifferentDocuments(t *testing.T) {
	node := start(t, nil)
	nc, err := nats.Connect(node.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	// The port is closed: that a reference fails tells of its document as well.
	long := "http://127.0.0.1:1/a?signature=" + strings.Repeat("x", 1500)
	names := []string{long + "a", long + "b"}
	for _, n := range names {
		if _, err := js.Publish(events.SubjectURI, events.Encode(events.Reference{URI: n})); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []string{strings.Repeat("n", 1500) + "a", strings.Repeat("n", 1500) + "b"} {
		names = append(names, n)
		msg := nats.NewMsg(events.SubjectSubmit)
		events.SetName(msg.Header, n)
		msg.Data = []byte("text of " + n[len(n)-1:])
		if _, err := js.PublishMsg(msg); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "four documents", func() bool {
		docs := lines[events.Document](t, sluice(t, "ls", "--json").want(t, 0))
		for _, d := range docs {
			if len(d.Name) > events.MaxShownName {
				t.Errorf("a name of %d bytes is shown", len(d.Name))
			}
		}
		return len(docs) == 4
	})
	for _, n := range names {
		if d := one[events.Document](t, sluice(t, "status", "--json", n).want(t, 0)); d.Document != events.DocumentID("default", n) {
			t.Errorf("%.40q… is %+v", n, d)
		}
	}
}
