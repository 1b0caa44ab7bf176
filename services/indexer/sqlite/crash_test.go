package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/services/indexer/index"
	"sluice/services/indexer/internal/corpus"
)

// crashEnv names the index that a re-executed test binary is to write until it
// is killed.
const crashEnv = "SLUICE_TEST_CRASH_INDEX"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashEnv); path != "" {
		writeUntilKilled(path)
	}
	verify(m)
}

const (
	crashDocs   = 5
	crashChunks = 40
)

// crashOps is round n of the child: one revision of each document.
func crashOps(round int) []index.Op {
	var ops []index.Op
	for d := range crashDocs {
		for o := range crashChunks {
			text := fmt.Sprintf("round %d document %d chunk %d ", round, d, o) + strings.Repeat("padding ", 200)
			v := make([]float32, 256)
			v[o] = float32(round)
			op := corpus.Op(d, o, crashChunks, text, v, "m")
			op.Vector.Revision = events.Revision(round)
			if a := op.Vector.About; a != nil {
				a.Revision = events.Revision(round)
			}
			ops = append(ops, op)
		}
	}
	return ops
}

// writeUntilKilled replaces all documents again and again, and reports each
// round once its Apply has returned.
func writeUntilKilled(path string) {
	s, err := Open(context.Background(), path, Options{})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	d, err := s.Document(context.Background(), "", crashOps(1)[0].Vector.Document)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	first := 1
	if d.Visible != nil {
		first = int(d.Visible.About.Revision) + 1
	}
	for round := first; ; round++ {
		if _, err := s.Apply(context.Background(), crashOps(round)); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println("round", round)
	}
}

// A process is killed in the middle of its work, twenty times, after a
// different time each. What it had reported must be there; every document must
// be there at one revision, the same for all, since one Apply brings them all.
func TestKillMinusNine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	reported := 0
	for kill := range 20 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), crashEnv+"="+path)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		// The first report, then a moment that differs from kill to kill, so
		// that the blow falls at every stage of a round.
		if lines.Scan() {
			time.AfterFunc(time.Duration(kill)*3*time.Millisecond, func() { _ = child.Process.Kill() })
		}
		for ok := true; ok; ok = lines.Scan() {
			if _, err := fmt.Sscanf(lines.Text(), "round %d", &reported); err != nil && lines.Text() != "" {
				t.Fatal("child:", lines.Text())
			}
		}
		_, _ = io.Copy(io.Discard, out)
		_ = child.Wait() // it was killed

		s, err := Open(context.Background(), path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Check(context.Background()); err != nil {
			t.Fatal(err)
		}
		counts := make(map[events.Revision]int)
		if err := s.Dump(context.Background(), func(e index.Entry) error { counts[e.Revision]++; return nil }); err != nil {
			t.Fatal(err)
		}
		if len(counts) != 1 {
			t.Fatalf("after kill %d the index mixes revisions: %v", kill, counts)
		}
		for r, n := range counts {
			if n != crashDocs*crashChunks || int(r) < reported || int(r) > reported+1 {
				t.Fatalf("after kill %d there are %d chunks of round %d, reported was %d", kill, n, r, reported)
			}
			hits, err := s.Search(context.Background(), index.Query{Text: "chunk", Mode: index.Keyword, K: index.MaxK})
			if err != nil || len(hits) != n || hits[0].Revision != r {
				t.Fatalf("after kill %d search finds %d hits, %v", kill, len(hits), err)
			}
			reported = int(r)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if reported < 20 {
		t.Fatal("only", reported, "rounds were written")
	}
}

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(context.Background(), path, Options{LockWait: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func wantFault(t *testing.T, err error, class fault.Class, reason string) {
	t.Helper()
	var f *fault.Error
	if !errors.As(err, &f) || f.Class != class || f.Reason != reason || f.Hint == "" {
		t.Fatalf("error %#v, want %v %s with a hint", err, class, reason)
	}
}

func openFails(t *testing.T, path string, class fault.Class, reason string) {
	t.Helper()
	s, err := Open(context.Background(), path, Options{LockWait: time.Millisecond})
	if err == nil {
		_ = s.Close()
	}
	wantFault(t, err, class, reason)
}

func TestReopen(t *testing.T) {
	// A path with all that means something in a URI.
	path := filepath.Join(t.TempDir(), "my index?#%41 &;=x", "index.db")
	s := open(t, path)
	fill(t, s, 700, "dense", corpus.NewDense(1, 5).Fixed(), nil)
	fill(t, s, 7, "lex-v1-1536", corpus.Lexical, nil) // replaces no document: revision 1 is visible
	grave := corpus.Op(0, 0, 3, "x", []float32{1}, "m").Vector
	stage := corpus.Op(1000, 0, 2, "staged text", corpus.Lexical("staged text"), "lex-v1-1536")
	if _, err := s.Apply(context.Background(), []index.Op{{Tombstone: &events.Tombstone{Document: grave.Document, Revision: 9}}, stage}); err != nil {
		t.Fatal(err)
	}
	q := index.Query{Text: corpus.NewTexts(700).Text(60), Vector: corpus.Lexical("anything"), Model: "dense", K: 50}
	before, err := s.Search(context.Background(), q)
	if err != nil || len(before) != 50 {
		t.Fatal(len(before), err)
	}
	wantStats, err := s.Stats(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	after, err := s.Search(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(before) != fmt.Sprint(after) {
		t.Error("a reopened index finds something else")
	}
	stats, err := s.Stats(context.Background())
	if err != nil || stats.Documents != wantStats.Documents || stats.Staged != 1 || fmt.Sprint(stats.Spaces) != fmt.Sprint(wantStats.Spaces) {
		t.Errorf("stats %+v, want %+v", stats, wantStats)
	}
	out, err := s.Apply(context.Background(), []index.Op{
		{Vector: grave}, corpus.Op(1000, 1, 2, "other text", corpus.Lexical("other text"), "lex-v1-1536"),
	})
	if err != nil || out[0].Kind != index.Stale || out[1].Kind != index.Completed {
		t.Error("after reopening:", out, err)
	}
}

func TestOneWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	s := open(t, path)
	openFails(t, path, fault.Unavailable, "index-locked")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

func TestDamagedFiles(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.db")
	write(t, text, []byte(strings.Repeat("this is no database ", 1000)))
	openFails(t, text, fault.Halt, "index-corrupt")

	path := filepath.Join(dir, "index.db")
	s := open(t, path)
	fill(t, s, 60, "m", corpus.Lexical, nil)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// Cut off, or overwritten in the middle: Open or Check says so, and nothing panics.
	for name, damage := range map[string]func([]byte) []byte{
		"cut": func(b []byte) []byte { return b[:len(b)/2/pageBytes*pageBytes] },
		"overwritten": func(b []byte) []byte {
			for i := 2 * pageBytes; i < len(b); i++ {
				b[i] ^= 0x5A
			}
			return b
		},
	} {
		broken := filepath.Join(dir, name+".db")
		write(t, broken, damage(append([]byte(nil), whole...)))
		s, err := Open(context.Background(), broken, Options{})
		if err == nil {
			err = s.Check(context.Background())
			_ = s.Close()
		}
		wantFault(t, err, fault.Halt, "index-corrupt")
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Rows that SQLite takes for good but that say nonsense.
func TestNonsenseInTheFile(t *testing.T) {
	for _, change := range []string{
		"UPDATE chunk SET code = x'00'",
		"UPDATE chunk SET terms = x'00'",
		"UPDATE edition SET about = '{'",
		"DELETE FROM chunk WHERE id % 3 = 1",
		"DELETE FROM chunk",
		"DELETE FROM space",
	} {
		path := filepath.Join(t.TempDir(), "index.db")
		s := open(t, path)
		fill(t, s, 6, "m", corpus.Lexical, nil)
		if _, err := s.conn.ExecContext(context.Background(), change); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		openFails(t, path, fault.Halt, "index-corrupt")
	}
	// What Open does not read, a search does.
	s := open(t, filepath.Join(t.TempDir(), "index.db"))
	fill(t, s, 6, "m", corpus.Lexical, nil)
	if _, err := s.conn.ExecContext(context.Background(), "UPDATE content SET embedding = x'0700'"); err != nil {
		t.Fatal(err)
	}
	_, err := s.Search(context.Background(), index.Query{Vector: corpus.Lexical(corpus.Word(0)), Model: "m"})
	wantFault(t, err, fault.Halt, "index-corrupt")
}

func TestForeignAndNewerFiles(t *testing.T) {
	for change, reason := range map[string]string{
		"PRAGMA application_id = 77": "index-foreign",
		"PRAGMA user_version = 999":  "index-newer",
	} {
		path := filepath.Join(t.TempDir(), "index.db")
		s := open(t, path)
		if _, err := s.conn.ExecContext(context.Background(), change); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		openFails(t, path, fault.Halt, reason)
	}
}

func TestUnwritablePlaces(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), nil)
	openFails(t, filepath.Join(dir, "file", "index.db"), fault.Halt, "index-unreadable")
	openFails(t, dir, fault.Halt, "index-unreadable") // a folder
}

// A disk that is full: SQLite refuses to grow the file. Nothing of the batch is
// there, the index goes on answering, and works again when there is room.
func TestDiskFull(t *testing.T) {
	ctx := context.Background()
	s := open(t, filepath.Join(t.TempDir(), "index.db"))
	fill(t, s, 30, "m", corpus.Lexical, nil)
	var pages int
	if err := s.conn.QueryRowContext(ctx, "PRAGMA page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	limit := func(n int) {
		if _, err := s.conn.ExecContext(ctx, fmt.Sprintf("PRAGMA max_page_count = %d", n)); err != nil {
			t.Fatal(err)
		}
	}
	limit(pages + 3)
	var ops []index.Op
	for i := range 100 {
		text := fmt.Sprint("unicorn ", i, strings.Repeat(" x", 1000))
		ops = append(ops, corpus.Op(100+i, 0, 1, text, corpus.Lexical(text), "another model"))
	}
	_, err := s.Apply(ctx, ops)
	wantFault(t, err, fault.Unavailable, "disk-full")
	if hits, err := s.Search(ctx, index.Query{Text: "unicorn"}); err != nil || len(hits) != 0 {
		t.Fatal("something of a failed batch is found:", hits, err)
	}
	limit(1 << 20)
	if _, err := s.Apply(ctx, ops); err != nil {
		t.Fatal(err)
	}
	if hits, err := s.Search(ctx, index.Query{Text: "unicorn"}); err != nil || len(hits) != index.DefaultK {
		t.Fatal(hits, err)
	}
}

// A file of the first schema has neither headers nor languages. It is brought up to
// date, and its words go on as English ones.
func TestFileOfTheFirstSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	s := open(t, path)
	fill(t, s, 3, "m", corpus.Lexical, nil)
	before, err := s.Search(context.Background(), index.Query{Text: corpus.Word(0), Mode: index.Keyword})
	if err != nil || len(before) == 0 {
		t.Fatal(before, err)
	}
	for _, change := range []string{"ALTER TABLE content DROP COLUMN header", "ALTER TABLE edition DROP COLUMN language", "PRAGMA user_version = 1"} {
		if _, err := s.conn.ExecContext(context.Background(), change); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	after, err := s.Search(context.Background(), index.Query{Text: corpus.Word(0), Mode: index.Keyword})
	if err != nil || !reflect.DeepEqual(before, after) {
		t.Errorf("after the migration %+v, %v, before it %+v", after, err, before)
	}
}
