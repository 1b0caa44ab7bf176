package cli

import (
	"os"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/cmd/sluice/allinone"
	"sluice/pkg/events"
)

// A value of metadata may hold what separates values elsewhere.
func TestMetadataIsTakenAsItIs(t *testing.T) {
	start(t, nil)
	in(t, map[string]string{"a.md": "Ferries cross the estuary.", "b.md": "Ferries cross the estuary twice."})
	sluice(t, "ingest", "a.md", "--meta", "A=Smith, John", "--meta", "K=a,b=c;d", "--meta", "Path=C:\\x").want(t, 0)
	sluice(t, "ingest", "b.md").want(t, 0)
	for _, meta := range [][]string{{"A=Smith, John"}, {"K=a,b=c;d"}, {"Path=C:\\x"}, {"a=Smith, John", "k=a,b=c;d"}} {
		args := []string{"search", "ferries", "--json"}
		for _, m := range meta {
			args = append(args, "--meta", m)
		}
		reply := one[events.SearchReply](t, sluice(t, args...).want(t, 0))
		if len(reply.Hits) != 1 || reply.Hits[0].Name != "a.md" || reply.Hits[0].Meta["K"] != "a,b=c;d" || reply.Hits[0].Meta["B"] != "" {
			t.Errorf("%q: %+v", meta, reply.Hits)
		}
	}
}

// What no tenant can be called is refused before anything is sent. This was wrong once: a
// longer name was cut, and one with spaces at its ends was trimmed, so the text was
// searchable for another tenant, and ingest waited for ever.
func TestADocumentIsNobodyElses(t *testing.T) {
	node := start(t, nil)
	in(t, map[string]string{"a.md": "Ferries cross the estuary."})
	for _, tenant := range []string{strings.Repeat("x", 65), " acme", "acme ", " ", "a b", "a*", "Ä"} {
		for _, args := range [][]string{{"a.md"}, {"http://127.0.0.1:1/a.md"}} {
			sluice(t, append([]string{"ingest", "--timeout", "20s", "--tenant", tenant}, args...)...).want(t, 1).says(t, "is not the name of a tenant", "64 letters")
		}
	}
	// The case of a name does not matter: one of two values would be lost.
	sluice(t, "ingest", "a.md", "--timeout", "20s", "--meta", "team=red", "--meta", "Team=blue").want(t, 1).says(t, `"Team" and "team" have one name`)
	if n := stream(t, node, events.StreamDocuments).State.LastSeq; len(entries(t)) != 0 || n != stream(t, node, events.StreamDocuments).State.FirstSeq-1 {
		t.Errorf("%d documents, and %d was submitted", len(entries(t)), n)
	}
	sluice(t, "ingest", "a.md", "--tenant", "acme.eu").want(t, 0)
}

// A file that the parser will refuse is not uploaded first, and is named as its
// owner knows it.
func TestTooLargeFilesAreNotUploaded(t *testing.T) {
	node := start(t, func(c *allinone.Config) { c.Stages.Parser.FetchLimit = 3 << 20 })
	in(t, map[string]string{"fits.txt": strings.Repeat("Herons stand still. ", 120_000), "big.txt": ""})
	// The hole costs no disk.
	if err := os.Truncate("big.txt", 120<<20); err != nil {
		t.Fatal(err)
	}
	got := byName(lines[outcome](t, sluice(t, "ingest", "fits.txt", "big.txt", "--json").want(t, 1)))
	if got["fits.txt"].State != "complete" {
		t.Errorf("%+v", got["fits.txt"])
	}
	if f := got["big.txt"].Failure; f == nil || f.Reason != "too-large" || f.Stage != "ingest" || f.Hint == "" ||
		!strings.Contains(f.Message, "big.txt has 125829120 bytes; the parser takes at most 3145728") {
		t.Errorf("%+v", f)
	}
	stream, err := node.Env.JS.Stream(t.Context(), "OBJ_"+events.StoreInbox)
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter(">"))
	if err != nil {
		t.Fatal(err)
	}
	if info.State.LastSeq > 200 {
		t.Errorf("%d messages went through the inbox: the file was uploaded", info.State.LastSeq)
	}
	r := sluiceWith(t, strings.Repeat("x", 4<<20), "ingest", "-", "--name", "piped.txt", "--json").want(t, 1)
	if f := one[outcome](t, r).Failure; f == nil || f.Reason != "too-large" || !strings.Contains(f.Message, "piped.txt has") {
		t.Errorf("%s", r.out)
	}
}

func TestSearchSaysWhoseDocumentsItSees(t *testing.T) {
	start(t, nil)
	in(t, map[string]string{"a.md": "Ferries cross the estuary."})
	sluice(t, "ingest", "a.md", "--tenant", "acme").want(t, 0)
	if reply := one[events.SearchReply](t, sluice(t, "search", "ferries", "--json").want(t, 0)); len(reply.Hits) != 0 {
		t.Errorf("a search without a tenant sees those of acme: %+v", reply.Hits)
	}
	sluice(t, "search", "--help").want(t, 0).has(t, "A search sees one tenant.")
}
