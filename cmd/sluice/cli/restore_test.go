package cli

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"sluice/cmd/sluice/allinone"
	"sluice/pkg/events"
)

// restarted starts and stops a pipeline on the same data.
type restarted struct {
	data string
	node *allinone.Node
}

func (r *restarted) start(t *testing.T) {
	t.Helper()
	r.node = start(t, func(c *allinone.Config) { c.Data, c.Stages.Indexer.Reconcile = r.data, 200*time.Millisecond })
}

func (r *restarted) stop(t *testing.T) {
	t.Helper()
	if err := r.node.Stop(); err != nil {
		t.Fatal(err)
	}
}

// replace puts a copy of a file or directory in the place of another.
func replace(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(from)
	if err != nil {
		t.Fatal(err)
	}
	if info.IsDir() {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
		return
	}
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestRestore does what docs/operations.md says of backups: JetStream first, then
// submissions, then the index; both are restored. Before, whatever was submitted
// again was superseded with exit code 0, because the restored stream counted from
// below the index, and what was not in the backup was unknown for good.
func TestRestore(t *testing.T) {
	p := &restarted{data: t.TempDir()}
	p.start(t)
	in(t, map[string]string{"changed.txt": "first marlin", "same.txt": "first heron", "removed.txt": "first otter"})
	sluice(t, "ingest", ".").want(t, 0)
	p.stop(t)
	backup := filepath.Join(t.TempDir(), "jetstream")
	replace(t, filepath.Join(p.data, "nats"), backup)
	oldIndex := filepath.Join(t.TempDir(), "index.db")
	replace(t, filepath.Join(p.data, "index.db"), oldIndex)

	// After the backup of JetStream, before that of the index.
	p.start(t)
	write(t, "changed.txt", "second marlin")
	write(t, "new.txt", "first kingfisher")
	sluice(t, "ingest", ".").want(t, 0)
	sluice(t, "rm", "removed.txt").want(t, 0)
	p.stop(t)
	newest := filepath.Join(t.TempDir(), "jetstream")
	replace(t, filepath.Join(p.data, "nats"), newest)

	replace(t, backup, filepath.Join(p.data, "nats"))
	p.start(t)
	is := func(name string, state events.State) *events.Document {
		t.Helper()
		var d events.Document
		eventually(t, name+" is "+string(state), func() bool {
			r := sluice(t, "status", name, "--json")
			if r.code != 0 {
				return false
			}
			d = one[events.Document](t, r)
			return d.State == state
		})
		return &d
	}
	found := func(word string) int {
		t.Helper()
		return len(one[events.SearchReply](t, sluice(t, "search", "--mode", "keyword", "--json", word).want(t, 0)).Hits)
	}
	is("new.txt", events.StateComplete)
	is("removed.txt", events.StateDeleted)
	eventually(t, "the entry tells the newer content", func() bool {
		d := is("changed.txt", events.StateComplete)
		return d.Live != nil && d.Live.ContentHash == events.ContentHash([]byte("second marlin"))
	})
	// Submissions after the restore are the newest.
	write(t, "changed.txt", "third osprey")
	write(t, "same.txt", "second dipper")
	write(t, "removed.txt", "second beaver")
	sluice(t, "ingest", "changed.txt", "same.txt", "removed.txt").want(t, 0).has(t, "3 documents: 3 complete")
	if found("osprey") != 1 || found("dipper") != 1 || found("beaver") != 1 || found("marlin") != 0 || found("heron") != 0 || found("otter") != 0 {
		t.Error("the newest content is not what is searched")
	}
	p.stop(t)

	// The other way round: an index that is older than JetStream.
	replace(t, newest, filepath.Join(p.data, "nats"))
	for _, f := range []string{"-wal", "-shm"} {
		_ = os.Remove(filepath.Join(p.data, "index.db"+f)) // of the file that is replaced; there need not be one
	}
	replace(t, oldIndex, filepath.Join(p.data, "index.db"))
	p.start(t)
	if d := is("new.txt", events.StateFailed); d.Failure.Reason != "index-lost" || d.Live != nil {
		t.Errorf("%+v", d)
	}
	is("changed.txt", events.StateFailed)
	is("same.txt", events.StateDuplicate)
	eventually(t, "what was removed is not searched", func() bool { return found("otter") == 0 })
	is("removed.txt", events.StateDeleted)
	sluice(t, "ingest", "changed.txt").want(t, 0).has(t, "complete")
	if found("osprey") != 1 || found("marlin") != 0 {
		t.Error("the content that was submitted again is not what is searched")
	}
}
