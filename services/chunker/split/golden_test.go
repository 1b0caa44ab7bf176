package split

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/pkg/events"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// list shows chunks so that a person can judge the cuts.
func list(md string, chunks []Chunk) string {
	var b strings.Builder
	for _, c := range chunks {
		fmt.Fprintf(&b, "=== %d bytes %d-%d overlap %d page %d tokens %d input %d path %q\n",
			c.Ordinal, c.Start, c.End, c.Overlap, c.Page, c.Tokens, c.InputTokens, c.Headings)
		if c.Header != "" {
			fmt.Fprintf(&b, "--- header: %s\n", c.Header)
		}
		b.WriteString(md[c.Start:c.End] + "\n")
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("no documents in testdata: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		md := string(data)
		for _, o := range []Options{
			{Strategy: Markdown, MaxTokens: 96, MinTokens: 16},
			{Strategy: Markdown, MaxTokens: 48, MinTokens: 8, Overlap: 12},
			{Strategy: Recursive, MaxTokens: 64},
			{Strategy: Sentence, MaxTokens: 64, Overlap: 16},
			{Strategy: Fixed, MaxTokens: 64, Overlap: 8},
		} {
			name := fmt.Sprintf("%s.%s-%d", strings.TrimSuffix(file, ".md"), o.Strategy, o.MaxTokens)
			t.Run(filepath.Base(name), func(t *testing.T) {
				s := mustNew(t, o)
				chunks := mustSplit(t, s, md, events.PageMark{Page: 1}, events.PageMark{Page: 2, Offset: len(md) / 2})
				check(t, s, md, chunks)
				got := list(md, chunks)
				if *update {
					if err := os.WriteFile(name+".golden", []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
					return
				}
				want, err := os.ReadFile(name + ".golden")
				if err != nil {
					t.Fatal(err)
				}
				if got != string(want) {
					t.Errorf("got\n%s\nwant\n%s\nIf the change is meant, run go test -update and raise the algorithm version.", got, want)
				}
			})
		}
	}
}
