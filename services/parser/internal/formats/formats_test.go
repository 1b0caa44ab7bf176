package formats_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
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
