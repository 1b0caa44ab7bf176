package formats_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sluice/services/parser/internal/formats"
)

// Every row is complete, and no name belongs to two of them.
func TestTable(t *testing.T) {
	names, extensions, media := map[string]bool{}, map[string]string{}, map[string]string{}
	for _, f := range formats.All() {
		if f.Name == "" || names[f.Name] {
			t.Errorf("%q: a name of no row, or of two", f.Name)
		}
		names[f.Name] = true
		if f.Media == "" && f != formats.Unsupported {
			t.Errorf("%s has no media type", f.Name)
		}
		if (f.Read == nil) != (f.Refusal.Reason != "") || f.Read == nil && (f.Refusal.What == "" || f.Refusal.Hint == "") {
			t.Errorf("%s has neither a reader nor a whole refusal, or both", f.Name)
		}
		if f.Text && f.Paid {
			t.Errorf("%s: text is read here, for nothing", f.Name)
		}
		for _, e := range f.Extensions {
			if !strings.HasPrefix(e, ".") || e != strings.ToLower(e) || extensions[e] != "" {
				t.Errorf("%s: extension %q, which %q has too or which is not in lower case with a dot", f.Name, e, extensions[e])
			}
			extensions[e] = f.Name
		}
		for _, m := range append([]string{f.Media}, f.Hints...) {
			if other := media[m]; other != "" && f != formats.Program && f != formats.DOC {
				t.Errorf("%s: %q is the media type of %s", f.Name, m, other)
			}
			media[m] = f.Name
		}
	}
}

// released is what the last release wrote: its version, and the hash of each
// golden file. It is written anew when a release is made.
const released = "testdata/released.json"

// Whoever has parsed a document before must get the better Markdown of a new
// release: the version, which is in the key of the cache of parses and in the
// fingerprint of documents, changes with the output.
func TestVersionFollowsOutput(t *testing.T) {
	var r struct {
		Version string            `json:"version"`
		Golden  map[string]string `json:"golden"`
	}
	b, err := os.ReadFile(released)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Golden) < 20 {
		t.Fatalf("%s has %d files", released, len(r.Golden))
	}
	for name, sum := range r.Golden {
		b, err := os.ReadFile(filepath.Join("testdata", filepath.FromSlash(name)))
		if err != nil {
			t.Errorf("a golden file of the release is gone: %v", err)
			continue
		}
		now := sha256.Sum256(b)
		if hex.EncodeToString(now[:]) != sum && formats.Version == r.Version {
			t.Errorf("%s has changed since version %s of the readers: raise formats.Version", name, r.Version)
		}
	}
}

// Every row of docs/formats.md names the tests that show it, and every format that
// is read has a place there.
func TestFormatsAreDocumented(t *testing.T) {
	const root = "../../../.." // of the repository
	page, err := os.ReadFile(filepath.Join(root, "docs", "formats.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]bool{}
	err = filepath.WalkDir(filepath.Join(root, "services", "parser"), func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		src, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(src, -1) {
			tests[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	cell := regexp.MustCompile(`[^\\]\|`)
	for line := range strings.Lines(string(page)) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| what |") {
			continue
		}
		rows++
		line = strings.TrimSpace(line)
		cells := cell.FindAllStringIndex(line[1:len(line)-1], -1)
		if len(cells) < 2 {
			t.Errorf("no test stands in the row %.80q", line)
			continue
		}
		named := regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(line[cells[1][1]:], -1)
		if len(named) == 0 {
			t.Errorf("no test stands in the row %.80q", line)
		}
		for _, n := range named {
			if !tests[n[1]] {
				t.Errorf("there is no %s, which shall show %.80q", n[1], line)
			}
		}
	}
	if rows < 100 {
		t.Errorf("%d rows", rows)
	}
	words := strings.ToLower(string(page))
	for _, f := range formats.All() {
		if f.Read == nil || f == formats.Program || f == formats.Notebook || f == formats.Feed {
			continue // these follow the rules of the formats that they are made of
		}
		known := strings.Contains(words, strings.ToLower(f.Name))
		for _, e := range f.Extensions {
			known = known || strings.Contains(words, strings.TrimPrefix(e, "."))
		}
		if !known {
			t.Errorf("%s has no place in docs/formats.md", f.Name)
		}
	}
}
