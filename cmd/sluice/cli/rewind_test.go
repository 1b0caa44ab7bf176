package cli

import (
	"testing"
	"time"

	"sluice/pkg/clock"
	"sluice/pkg/events"
	"sluice/pkg/natstest"
)

// TestDocumentsRestoredUnderARunningParser restores the stream DOCUMENTS while the
// pipeline runs, after clocks ahead of the server's were used: sequences begin again
// below those that the parser has read. What is submitted then is the newest.
func TestDocumentsRestoredUnderARunningParser(t *testing.T) {
	node := start(t, nil)
	in(t, map[string]string{"note.txt": "first heron"})
	sluice(t, "ingest", "note.txt").want(t, 0)
	backup := natstest.TakeBackup(t, node.Conn, events.StreamDocuments)
	kv, err := node.Env.JS.KeyValue(t.Context(), events.BucketPipeline)
	if err != nil {
		t.Fatal(err)
	}
	// As the indexer does for an index that holds revisions from the future.
	if err := clock.Raise(t.Context(), kv, stream(t, node, events.StreamDocuments).State.LastSeq, uint64(time.Now().Add(time.Hour).UnixMicro())); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the parser goes on from there", func() bool {
		write(t, "note.txt", "second marlin "+time.Now().String())
		sluice(t, "ingest", "note.txt").want(t, 0)
		return time.Until(entries(t)["note.txt"].Revision.Time()) > 30*time.Minute
	})
	wrong, _ := checks(t)
	names(t, wrong, "streams", statusWarn, "ahead of the NATS server's time", "NTP")
	before := entries(t)["note.txt"].Revision
	if err := node.Env.JS.DeleteStream(t.Context(), events.StreamDocuments); err != nil {
		t.Fatal(err)
	}
	backup.Restore(t, node.Conn, events.StreamDocuments)
	write(t, "note.txt", "third osprey")
	sluice(t, "ingest", "note.txt").want(t, 0).has(t, "1 complete")
	if d := entries(t)["note.txt"]; d.Revision <= before {
		t.Errorf("the newest submission has the revision %d, one before it %d", d.Revision, before)
	}
	if r := one[events.SearchReply](t, sluice(t, "search", "--mode", "keyword", "--json", "osprey").want(t, 0)); len(r.Hits) != 1 {
		t.Errorf("the newest text is found %d times", len(r.Hits))
	}
}
