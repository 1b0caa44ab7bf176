package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"sluice/cmd/sluice/allinone"
	"sluice/pkg/broker/embedded"
	"sluice/pkg/events"
	"sluice/pkg/natstest"
)

var harbour = map[string]string{
	"docs/lock.md":        "# The lock\n\nVessels may use the lock at night if they carry two lanterns.\n",
	"docs/sub/herons.txt": "Herons stand in the shallows below the weir.\n",
	"docs/.secret/x.txt":  "hidden",
	"docs/empty.txt":      "",
	"other.csv":           "berth,vessel\n1,Swan\n2,Kittiwake\n",
}

// eventually polls until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(natstest.Patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// wholeStatus is what 'sluice status --json' prints.
type wholeStatus struct {
	Documents   map[string]int    `json:"documents"`
	Queues      []queueStatus     `json:"queues"`
	DeadLetters map[string]uint64 `json:"dead_letters"`
	Stages      []stageStatus     `json:"stages"`
}

func status(t *testing.T) wholeStatus {
	t.Helper()
	return one[wholeStatus](t, sluice(t, "status", "--json").want(t, 0))
}

func byName(all []outcome) map[string]outcome {
	m := map[string]outcome{}
	for _, o := range all {
		m[o.Name] = o
	}
	return m
}

func TestTheLifeOfDocuments(t *testing.T) {
	start(t, nil)
	in(t, harbour)

	r := sluice(t, "ingest", "docs", "other.csv", "--meta", "year=2026", "--correlation", "demo-1", "--json").want(t, 1)
	r.says(t, `"1 of 4 documents failed"`)
	got := byName(lines[outcome](t, r))
	if len(got) != 4 {
		t.Fatalf("%d documents: %s", len(got), r.out)
	}
	for name, state := range map[string]string{"docs/lock.md": "complete", "docs/sub/herons.txt": "complete", "other.csv": "complete", "docs/empty.txt": "failed"} {
		d := got[name]
		if d.State != state || d.CorrelationID != "demo-1" || d.Document != events.DocumentID("default", name) || d.Revision == 0 || d.Bytes != int64(len(harbour[name])) {
			t.Errorf("%s: %+v", name, d)
		}
		if state == "complete" && (d.Chunks != 1 || d.Tokens < 5 || d.Seconds <= 0) {
			t.Errorf("%s: %+v", name, d)
		}
	}
	if f := got["docs/empty.txt"].Failure; f == nil || f.Reason != "empty" || f.Stage != "parser" || f.Message == "" || f.Hint == "" {
		t.Errorf("the failure is not explained: %+v", f)
	}

	t.Run("again, all duplicates", func(t *testing.T) {
		r := sluice(t, "ingest", "docs/lock.md", "docs/sub", "other.csv").want(t, 0)
		r.has(t, "DOCUMENT", "SECONDS", "3 documents: 3 duplicate; 3 chunks")
		if strings.Contains(r.out, "complete") {
			t.Errorf("not all are duplicates:\n%s", r.out)
		}
	})
	t.Run("table", func(t *testing.T) {
		sluice(t, "ingest", "docs/empty.txt").want(t, 1).
			has(t, "docs/empty.txt  failed", "docs/empty.txt: empty: ", "hint: ").
			says(t, "sluice: 1 of 1 documents failed; hint: 'sluice dead ls'")
	})
	t.Run("status", func(t *testing.T) {
		sluice(t, "status", "docs/lock.md").want(t, 0).has(t, "docs/lock.md  duplicate", "searchable   yes, this revision", "lex-v1-1536")
		sluice(t, "status", "docs/empty.txt").want(t, 0).has(t, "failed       empty in parser", "searchable   no", "hint")
		d := one[events.Document](t, sluice(t, "status", filepath.Join(".", "docs", "..", "docs", "lock.md"), "--json").want(t, 0))
		if d.State != events.StateDuplicate || d.Live == nil || d.Live.Chunks != 1 {
			t.Errorf("%+v", d)
		}
		sluice(t, "status", d.Document).want(t, 0).has(t, "docs/lock.md")
		sluice(t, "status", "nothing.md").want(t, 1).says(t, `no document is called "nothing.md"; hint: 'sluice ls'`)
		sluice(t, "status", "docs/lock.md", "--tenant", "acme").want(t, 1).says(t, "of tenant acme")
		all := status(t)
		if all.Documents["duplicate"] != 3 || all.Documents["failed"] != 1 || all.DeadLetters["parser"] != 2 || len(all.Queues) != 5 {
			t.Errorf("%+v", all)
		}
		sluice(t, "status").want(t, 0).has(t, "duplicate          3", "recorder  EVENTS", "2 dead letters (2 parser)")
		sluice(t, "status", "--correlation", "nobody").want(t, 1).says(t, "no document has the correlation ID")
	})
	t.Run("trace", func(t *testing.T) {
		sluice(t, "trace", "docs/lock.md").want(t, 0).has(t, "correlation ID demo-1", "parser    parsed", "chunker   chunked    1 chunk", "embedder  embedded   1 of 1 chunks", "indexer   complete", "indexer   duplicate")
		whats := []events.What{}
		for _, e := range lines[events.Event](t, sluice(t, "trace", "docs/empty.txt", "--json").want(t, 0)) {
			whats = append(whats, e.What)
		}
		if !slices.Equal(whats, []events.What{events.Accepted, events.Failed, events.Accepted, events.Failed}) {
			t.Errorf("the story is %q", whats)
		}
	})
	t.Run("ls", func(t *testing.T) {
		if all := lines[events.Document](t, sluice(t, "ls", "--json").want(t, 0)); len(all) != 4 || all[0].Name != "docs/empty.txt" {
			t.Errorf("%+v", all)
		}
		sluice(t, "ls", "--state", "failed").want(t, 0).has(t, "docs/empty.txt", "empty")
		sluice(t, "ls", "--state", "open").want(t, 0).says(t, "no documents")
		if r := sluice(t, "ls", "--tenant", "acme", "--json").want(t, 0); r.out+r.err != "" {
			t.Errorf("JSON of nothing is %q %q", r.out, r.err)
		}
	})
	t.Run("search", func(t *testing.T) {
		sluice(t, "search", "two", "lanterns").want(t, 0).has(t, " 1. docs/lock.md", "two lanterns")
		reply := one[events.SearchReply](t, sluice(t, "search", "herons weir", "-k", "1", "--meta", "year=2026", "--json").want(t, 0))
		if len(reply.Hits) != 1 || reply.Hits[0].Name != "docs/sub/herons.txt" {
			t.Errorf("%+v", reply)
		}
		sluice(t, "search", "herons", "--meta", "year=1999").want(t, 0).says(t, "nothing found")
		if r := sluice(t, "search", "herons", "--tenant", "acme", "--json").want(t, 0); !strings.HasPrefix(r.out, `{"hits":[]`) {
			t.Errorf("no hits are not an empty list: %s", r.out)
		}
	})
	t.Run("tenants", func(t *testing.T) {
		sluiceWith(t, "Otters belong to acme.", "ingest", "-", "--name", "otters.txt", "--tenant", "acme").want(t, 0)
		sluice(t, "search", "otters", "--tenant", "acme", "--mode", "keyword").want(t, 0).has(t, "otters.txt")
		sluice(t, "search", "otters", "--tenant", "default", "--mode", "keyword").want(t, 0).says(t, "nothing found")
		sluice(t, "ls").want(t, 0).has(t, "TENANT", "acme")
		sluice(t, "rm", "otters.txt", "--tenant", "acme").want(t, 0).has(t, "otters.txt  deleted")
		sluice(t, "ingest", "other.csv", "--tenant", "a b").want(t, 1).says(t, `"a b" is not the name of a tenant`)
	})
	t.Run("without a name", func(t *testing.T) {
		d := one[outcome](t, sluiceWith(t, "A text without a name.", "ingest", "-", "--json").want(t, 0))
		if d.Document != events.ContentDocumentID("default", events.ContentHash([]byte("A text without a name."))) || d.State != "complete" {
			t.Errorf("%+v", d)
		}
		sluice(t, "rm", d.Document).want(t, 0).has(t, "deleted")
	})
	t.Run("no wait", func(t *testing.T) {
		d := one[outcome](t, sluice(t, "ingest", "docs/lock.md", "--no-wait", "--correlation", "demo-2", "--json").want(t, 0))
		if d.Sequence == 0 {
			t.Errorf("%+v", d)
		}
		eventually(t, "the document by its correlation ID", func() bool {
			r := sluice(t, "status", "--correlation", "demo-2")
			return r.code == 0 && strings.Contains(r.out, "duplicate")
		})
	})
	t.Run("rm", func(t *testing.T) {
		sluice(t, "rm", "docs/lock.md", "nothing").want(t, 1).says(t, `"nothing"`)
		sluice(t, "search", "lanterns", "--mode", "keyword").want(t, 0).has(t, "docs/lock.md")
		gone := lines[removal](t, sluice(t, "rm", "docs/lock.md", "docs/sub/herons.txt", "--json").want(t, 0))
		if len(gone) != 2 || gone[0].State != "deleted" || gone[1].Name != "docs/sub/herons.txt" {
			t.Errorf("%+v", gone)
		}
		sluice(t, "search", "lanterns", "--mode", "keyword").want(t, 0).says(t, "nothing found")
		sluice(t, "ls", "-a", "--state", "deleted").want(t, 0).has(t, "docs/lock.md", "docs/sub/herons.txt")
		sluice(t, "ingest", "docs/lock.md").want(t, 0).has(t, "1 complete")
	})
}

func TestDeadLetters(t *testing.T) {
	start(t, nil)
	in(t, map[string]string{"a.txt": "", "b.txt": "", "c.bin": "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00", "good.txt": "Fine."})
	sluice(t, "dead", "ls").want(t, 0).says(t, "no dead letters")
	sluice(t, "ingest", ".").want(t, 1)
	all := lines[letter](t, sluice(t, "dead", "ls", "--json").want(t, 0))
	if len(all) != 3 {
		t.Fatalf("%d dead letters: %+v", len(all), all)
	}
	seqs := map[string]string{}
	for _, l := range all {
		if l.Stage != "parser" || l.Class != "validation" || l.Attempts != 1 || l.Message == "" || !strings.HasPrefix(l.Origin, "DOCUMENTS/") || l.Subject != "docs.submit" {
			t.Errorf("%+v", l)
		}
		seqs[l.Name] = strconv.FormatUint(l.Seq, 10)
	}
	sluice(t, "dead", "ls", "--reason", "unsupported").want(t, 0).has(t, "c.bin")
	if r := sluice(t, "dead", "ls", "--stage", "chunker", "--json").want(t, 0); r.out != "" {
		t.Errorf("dead letters of the chunker: %s", r.out)
	}
	sluice(t, "dead", "show", seqs["a.txt"]).want(t, 0).has(t, "a.txt", "empty in parser", "Filename: a.txt", "no body")
	if r := sluice(t, "dead", "show", seqs["c.bin"], "--raw").want(t, 0); !strings.HasPrefix(r.out, "\x7fELF") {
		t.Errorf("the raw body is %q", r.out)
	}
	sluice(t, "dead", "show", "999").want(t, 1).says(t, "there is no dead letter 999; hint: ")

	// Replayed, it fails again: a new submission and a new dead letter.
	sluice(t, "dead", "replay", seqs["a.txt"]).want(t, 0).has(t, "1 dead letter replayed")
	eventually(t, "the replayed message to fail again", func() bool {
		again := lines[letter](t, sluice(t, "dead", "ls", "--json").want(t, 0))
		return len(again) == 3 && again[2].Name == "a.txt" && again[2].Seq != all[0].Seq
	})
	sluice(t, "dead", "replay", seqs["a.txt"]).want(t, 1).says(t, "there is no dead letter")

	done := lines[handled](t, sluice(t, "dead", "purge", "--reason", "empty", "--json").want(t, 0))
	if len(done) != 2 || done[0].Done != "purged" {
		t.Errorf("%+v", done)
	}
	sluice(t, "dead", "purge", "--all", "--yes").want(t, 0).has(t, "1 dead letter purged")
	sluice(t, "dead", "ls").want(t, 0).says(t, "no dead letters")
}

// A message that failed for a reason which has been mended is processed when
// it is replayed, and its body survives being larger than a message.
func TestReplayAfterMending(t *testing.T) {
	var refuse string
	node := start(t, func(c *allinone.Config) { c.Stages.Local.MaxInput, refuse = 900<<10, c.Data })
	large := strings.Repeat("A line about eels and weirs.\n", 35000) // 992 KiB: above the limit, inline
	in(t, map[string]string{"large.txt": large})
	sluice(t, "ingest", "large.txt").want(t, 1).has(t, "too-large")
	l := one[letter](t, sluice(t, "dead", "ls", "--json").want(t, 0))
	if r := sluice(t, "dead", "show", strconv.FormatUint(l.Seq, 10), "--raw").want(t, 0); r.out != large {
		t.Errorf("the dead letter has %d bytes, want %d", len(r.out), len(large))
	}
	if err := node.Stop(); err != nil {
		t.Fatal(err)
	}
	start(t, func(c *allinone.Config) { c.Data = refuse })
	sluice(t, "dead", "replay", "--all").want(t, 0).has(t, "1 dead letter replayed")
	eventually(t, "the replayed document", func() bool {
		return strings.Contains(sluice(t, "status", "large.txt").out, "large.txt  complete")
	})
	sluice(t, "dead", "ls").want(t, 0).says(t, "no dead letters")
}

func TestLargeDocumentsGoThroughTheInbox(t *testing.T) {
	node := start(t, nil)
	in(t, map[string]string{"large.txt": strings.Repeat("Herons and eels in the reeds.\n", 50000)})
	d := one[outcome](t, sluice(t, "ingest", "large.txt", "--meta", "year=2026", "--json").want(t, 0))
	if d.State != "complete" || d.Chunks < 100 || d.Name != "large.txt" || d.Revision == 0 {
		t.Errorf("%+v", d)
	}
	d = one[outcome](t, sluice(t, "ingest", "large.txt", "--json").want(t, 0))
	if d.State != "duplicate" {
		t.Errorf("%+v", d)
	}
	store, err := node.Env.JS.ObjectStore(t.Context(), events.StoreInbox)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "an empty inbox", func() bool {
		left, err := store.List(t.Context())
		return len(left) == 0 && err != nil // no objects is an error of its own
	})
	sluice(t, "search", "herons", "--meta", "year=2026", "-k", "1").want(t, 0).has(t, "large.txt")
}

func TestUnreadableFilesDoNotStopTheOthers(t *testing.T) {
	start(t, nil)
	in(t, map[string]string{"a.txt": "Text.", "b.txt": "Text two."})
	// Gone between being listed and being read: what root cannot be denied.
	if err := os.Symlink("nowhere", "dangling"); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfifo", "pipe").CombinedOutput(); err != nil {
		t.Fatalf("mkfifo: %v: %s", err, out)
	}
	got := byName(lines[outcome](t, sluice(t, "ingest", "a.txt", "pipe", "b.txt", "--json").want(t, 1)))
	if got["a.txt"].State != "complete" || got["b.txt"].State != "complete" {
		t.Errorf("%+v", got)
	}
	if f := got["pipe"].Failure; got["pipe"].State != "failed" || f == nil || f.Reason != "not-a-file" || f.Hint == "" {
		t.Errorf("%+v", got["pipe"])
	}
	sluice(t, "ingest", "dangling").want(t, 2).says(t, `no file matches "dangling"`)
	sluice(t, "ingest", "pipe").want(t, 1).says(t, "1 of 1 documents failed; hint: the table says why")
}

func TestNamesCannotDriveTheTerminal(t *testing.T) {
	start(t, nil)
	name := "a\x1b[31m\nb.txt"
	in(t, map[string]string{name: "Text with \x1b[2J and a bell\x07.", "c.txt": ""})
	sluice(t, "ingest", ".").want(t, 1)
	for _, args := range []string{"ls", "status", "search text bell", "dead ls"} {
		sluice(t, strings.Fields(args)...).want(t, 0) // which checks for escape codes
	}
}

func TestTimeoutSaysHowToGoOn(t *testing.T) {
	in(t, map[string]string{"a.txt": "Text."})
	// A consumer that an operator has paused keeps the document from its end.
	node := start(t, nil)
	pause := func(until time.Time) {
		t.Helper()
		if _, err := node.Env.JS.PauseConsumer(t.Context(), events.StreamVectors, "indexer", until); err != nil {
			t.Fatal(err)
		}
	}
	pause(time.Now().Add(time.Hour))
	r := sluice(t, "ingest", "a.txt", "--timeout", "500ms", "--correlation", "slow").want(t, 1)
	r.says(t, "1 of 1 documents are not final after 500ms; hint: 'sluice status --correlation slow'")
	pause(time.Time{})
	eventually(t, "the document to go on", func() bool {
		return strings.Contains(sluice(t, "status", "--correlation", "slow").out, "complete")
	})
}

func TestDoctor(t *testing.T) {
	node := start(t, nil)
	t.Setenv("OPENAI_API_KEY", "sk-very-secret")
	type report struct {
		OK     bool    `json:"ok"`
		Checks []check `json:"checks"`
	}
	find := func(r report, name string) check {
		for _, c := range r.Checks {
			if c.Check == name {
				return c
			}
		}
		t.Errorf("no check %q in %+v", name, r)
		return check{}
	}
	r := sluice(t, "doctor", "--json")
	rep := one[report](t, r)
	for _, name := range []string{
		"connection", "jetstream", "streams", "stage parser", "stage inbox", "stage chunker", "stage embedder", "stage indexer", "stage recorder",
		"consumers", "provider embedder", "search", "dead letters", "documents", "here: parser", "here: key OpenAI", "here: key LlamaParse",
	} {
		if c := find(rep, name); c.Status != statusOK {
			t.Errorf("%+v", c)
		}
	}
	find(rep, "here: disk")
	if strings.Contains(r.out, "secret") {
		t.Error("doctor prints a key")
	}

	// A document that nobody works on any more.
	lost := events.Document{
		V: events.Version, Document: events.DocumentID("default", "lost.txt"), Tenant: "default", Name: "lost.txt", Revision: 7,
		State: events.StateParsed, Stage: "chunker", Updated: time.Now().Add(-time.Hour),
	}
	kv, err := node.Env.JS.KeyValue(t.Context(), events.BucketDocuments)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), lost.Document, events.Encode(lost)); err != nil {
		t.Fatal(err)
	}
	r = sluice(t, "doctor", "--json").want(t, 1)
	if c := find(one[report](t, r), "documents"); c.Status != statusFail || !strings.Contains(c.Detail, "lost.txt") || c.Hint == "" {
		t.Errorf("%+v", c)
	}
	sluice(t, "doctor").want(t, 1).has(t, "fail", "lost.txt", "hint: ").says(t, "sluice: ", " checks failed; hint: ")
}

func TestDoctorWithoutAServer(t *testing.T) {
	in(t, nil)
	sluice(t, "doctor", "--nats-url", "nats://127.0.0.1:1").want(t, 1).has(t, "connection", "hint: start Sluice", "here: parser", "here: disk")
}

// A NATS server that Sluice has never used.
func TestAForeignServer(t *testing.T) {
	server, err := embedded.Start(embedded.Config{Dir: t.TempDir(), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	t.Setenv("NATS_URL", server.URL())
	sluice(t, "ls").want(t, 1).says(t, "there is no Sluice on the NATS server", "hint: start the stages there")
	sluice(t, "doctor").want(t, 1).has(t, "there is no Sluice on this server")
}

func TestRunTwice(t *testing.T) {
	in(t, harbour)
	args := []string{"run", "docs/lock.md", "docs/sub", "other.csv", "--data", "data", "--query", "lanterns at night", "--parser-isolate-workers", "1"}
	r := sluice(t, args...).want(t, 0)
	r.has(t, "3 documents: 3 complete", "search: lanterns at night", " 1. docs/lock.md")
	if r.err != "" {
		t.Errorf("a run that went well says %q", r.err)
	}
	sluice(t, args...).want(t, 0).has(t, "3 documents: 3 duplicate", " 1. docs/lock.md")
	r = sluice(t, append(args, "--json")...).want(t, 0)
	all := strings.Split(strings.TrimSpace(r.out), "\n")
	var reply events.SearchReply
	if err := json.Unmarshal([]byte(all[len(all)-1]), &reply); err != nil || len(all) != 4 || reply.Hits[0].Name != "docs/lock.md" {
		t.Errorf("%v: %s", err, r.out)
	}
	sluice(t, "run", "docs", "--data", "data").want(t, 1).has(t, "3 documents: 2 duplicate, 1 failed")
	for _, name := range []string{"nats", "index.db", "run.log", "lock"} {
		if _, err := os.Stat(filepath.Join("data", name)); err != nil {
			t.Error(err)
		}
	}
}

// up is a process of its own, because it is stopped by a signal.
func TestUpUntilInterrupted(t *testing.T) {
	in(t, harbour)
	cmd := exec.Command(os.Args[0], "up", "--data", "data", "--nats", "127.0.0.1:0", "--http", "127.0.0.1:0", "--json", "--log-level", "warn", "--parser-isolate-workers", "1")
	cmd.Env = append(os.Environ(), asCommand+"=1")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := false
	defer func() {
		if !exited {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}()
	var up ready
	if err := json.NewDecoder(stdout).Decode(&up); err != nil {
		t.Fatalf("%v: %s", err, errs.String())
	}
	t.Logf("ready after %v", time.Since(began))
	if up.PID != cmd.Process.Pid || !strings.HasPrefix(up.HTTP, "http://127.0.0.1:") || up.Embedder != "lex-v1-1536" || !filepath.IsAbs(up.Data) {
		t.Errorf("%+v", up)
	}
	t.Setenv("NATS_URL", up.NATS)
	sluice(t, "ingest", "docs/lock.md").want(t, 0).has(t, "1 complete")
	sluice(t, "up", "--data", "data").want(t, 1).says(t, fmt.Sprintf("another sluice (pid %d) uses the directory", up.PID), "hint: ")
	sluice(t, "run", "other.csv", "--data", "data").want(t, 1).says(t, "another sluice (pid")
	sluice(t, "up", "--data", "data2", "--nats", strings.TrimPrefix(up.NATS, "nats://")).want(t, 1).says(t, "--nats-url "+up.NATS)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, stdout); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	exited = true
	if err != nil || !strings.Contains(errs.String(), "stopping: ") {
		t.Errorf("%v: %s", err, errs.String())
	}
	sluice(t, "run", "docs/lock.md", "--data", "data").want(t, 0).has(t, "1 duplicate")
}

// Interrupting an ingestion ends the waiting only.
func TestInterruptedIngestion(t *testing.T) {
	node := start(t, nil)
	in(t, map[string]string{"a.txt": "Text."})
	ctx, cancel := context.WithCancel(t.Context())
	sub, err := node.Conn.Subscribe(events.SubjectEventPrefix+">", func(*nats.Msg) { cancel() })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	var out, errs bytes.Buffer
	code := Run(ctx, []string{"ingest", "a.txt", "--correlation", "stop"}, Streams{In: strings.NewReader(""), Out: &out, Err: &errs})
	if code == 0 && !strings.Contains(out.String(), "1 complete") {
		t.Errorf("exit code 0 without an end: %s", out.String())
	}
	if code != 0 && !strings.Contains(errs.String(), "hint: 'sluice status --correlation stop'") {
		t.Errorf("%s", errs.String())
	}
	eventually(t, "the document to go on", func() bool {
		return strings.Contains(sluice(t, "status", "--correlation", "stop").out, "complete")
	})
}
