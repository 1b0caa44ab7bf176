package cli

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"sluice/cmd/sluice/allinone"
	"sluice/pkg/events"
	"sluice/pkg/natstest"
)

// TestAnUndecidedOrderIsAFailure has the index hold a revision from the future, of
// which no mark knows. A submission that it supersedes must not end as a success,
// and after the indexer has seen what it holds, submissions are newer again.
func TestAnUndecidedOrderIsAFailure(t *testing.T) {
	data := t.TempDir()
	again := func(c *allinone.Config) { c.Data = data }
	node := start(t, again)
	nc, err := nats.Connect(node.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	id, r := events.DocumentID("default", "note.txt"), events.RevisionOf(uint64(time.Now().Add(time.Hour).UnixMicro()))
	text := "from the future"
	v := events.Vector{Model: "m", Embedding: events.EncodeVector([]float32{1, 2})}
	v.ID, v.Document, v.Revision, v.Tenant, v.Of, v.Text, v.End = id, id, r, "default", 1, text, len(text)
	v.About = &events.About{Document: id, Revision: r, Tenant: "default", Name: "note.txt", ContentHash: "h", Fingerprint: "f"}
	msg := nats.NewMsg(events.SubjectVectors)
	msg.Header.Set(events.HeaderDocumentID, id)
	msg.Header.Set(events.HeaderRevision, r.String())
	msg.Header.Set(events.HeaderTenant, "default")
	msg.Header.Set(events.HeaderEventType, events.TypeVectors)
	msg.Data = natstest.Vectors(t, v)
	in(t, map[string]string{"note.txt": "what is meant now"})
	if _, err := js.PublishMsg(msg); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the future is searchable", func() bool {
		return len(one[events.SearchReply](t, sluice(t, "search", "--mode", "keyword", "--json", "future").want(t, 0)).Hits) == 1
	})
	sluice(t, "ingest", "note.txt").want(t, 1).has(t, "superseded", events.ReasonOrder)

	// The indexer looks at what it holds when it starts.
	if err := node.Stop(); err != nil {
		t.Fatal(err)
	}
	start(t, again)
	eventually(t, "what is meant now is searched", func() bool {
		return sluice(t, "ingest", "note.txt").code == 0 &&
			len(one[events.SearchReply](t, sluice(t, "search", "--mode", "keyword", "--json", "meant").want(t, 0)).Hits) == 1
	})
}
