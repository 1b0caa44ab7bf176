package cli

import (
	"database/sql"
	"strings"
	"testing"

	_ "modernc.org/sqlite"

	"sluice/cmd/sluice/allinone"
	"sluice/pkg/events"
)

// TestALockedIndexIsNobodysFault locks the file of the index from a second
// connection while documents are ingested, for longer than all retries last.
func TestALockedIndexIsNobodysFault(t *testing.T) {
	path := t.TempDir() + "/index.db"
	start(t, func(c *allinone.Config) {
		c.Stages.Indexer.Path, c.Stages.Runtime.MaxRetries = path, 0
	})
	in(t, harbour)
	other, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	other.SetMaxOpenConns(1)
	if _, err := other.Exec("BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	sluice(t, "ingest", "docs/lock.md", "docs/sub", "other.csv", "--no-wait").want(t, 0)
	eventually(t, "a document waits for the index", func() bool {
		waits := 0
		for _, d := range lines[events.Document](t, sluice(t, "ls", "--json").want(t, 0)) {
			if strings.Contains(d.Held, "index") {
				waits++
			}
		}
		return waits > 0 // the stage takes no more in than it has
	})
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all are complete", func() bool {
		complete := 0
		for _, d := range lines[events.Document](t, sluice(t, "ls", "--json").want(t, 0)) {
			if d.State == events.StateComplete {
				complete++
			}
		}
		return complete == 3
	})
	sluice(t, "dead", "ls").want(t, 0).says(t, "no dead letters")
}
