package md_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"sluice/services/parser/internal/md"
)

func TestBelow(t *testing.T) {
	for name, c := range map[string]struct {
		in    string
		level int
		want  string
	}{
		"nothing":           {"text", 2, "text"},
		"number signs":      {"# A\n\nb\n\n## C ##\n\nd", 2, "### A\n\nb\n\n#### C ##\n\nd"},
		"from the second":   {"## A\n\n### B\n\n## C", 2, "### A\n\n#### B\n\n### C"},
		"ranks not used":    {"# A\n\n#### B", 1, "## A\n\n### B"},
		"underlined":        {"A\n===\n\nb\nc\n---\nd", 2, "### A\n\n#### b c\n\nd"},
		"tags":              {"<h1 align=center>A</h1>\n\nb <h1>c\n\n<div>\n<h2>D</h2>\n</div>", 1, "<h2 align=center>A</h2>\n\nb <h1>c\n\n<div>\n<h3>D</h3>\n</div>"},
		"in code":           {"```\n# a\n```\n\n    # b\n\n# C", 2, "```\n# a\n```\n\n    # b\n\n### C"},
		"in a comment":      {"<!--\n# a\n-->\n\n# C", 2, "<!--\n# a\n-->\n\n### C"},
		"no heading":        {"#tag\n\n- a\n---\n\nx\n\n---", 2, "#tag\n\n- a\n---\n\nx\n\n---"},
		"too deep":          {"# A\n## B\ntext\n### C *d*\n", 5, "###### A\n\n**B**\n\ntext\n\nC *d*\n"},
		"a tag too deep":    {"<h1>A</h1>", 6, "<p>A</p>"},
		"an open fence":     {"# A\n\n~~~~ go\n# b", 1, "## A\n\n~~~~ go\n# b\n~~~~\n"},
		"an open comment":   {"a\n\n<!-- b", 1, "a\n\n<!-- b\n-->\n"},
		"front matter":      {"---\ntitle: x\n---\n# A\n", 1, "```yaml\ntitle: x\n```\n\n## A\n"},
		"a fence in a list": {"- a\n\n  ```\n  # b\n  ```\n\n# C", 1, "- a\n\n  ```\n  # b\n  ```\n\n## C"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := md.Below(c.in, c.level, nil); got != c.want {
				t.Errorf("Below = %q, want %q", got, c.want)
			}
		})
	}
}

// Marks stay where they are in the text.
func TestBelowMovesOffsets(t *testing.T) {
	in := "# One\n\nfirst\n\n# Two\n\nsecond\n\nThree\n===\n\nthird"
	offsets := []int{0, strings.Index(in, "# Two"), strings.Index(in, "second"), strings.Index(in, "Three"), len(in)}
	got := md.Below(in, 2, offsets)
	for i, want := range []string{"### One", "### Two", "second", "### Three", ""} {
		if rest := got[offsets[i]:]; !strings.HasPrefix(rest, want) {
			t.Errorf("mark %d is at %q, want %q", i, rest, want)
		}
	}
}

func FuzzBelow(f *testing.F) {
	for _, s := range []string{"# A\n\nb\n---\n", "```\n# x", "<h1>a</h1>\n<!--", "- a\n  # b\n1. ```", "---\na: b\n---\n"} {
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, s string, level int) {
		offsets := []int{0, len(s) / 2, len(s)}
		got := md.Below(s, level%8, offsets)
		if len(got) > 8*len(s)+32 {
			t.Fatalf("%d bytes of %d", len(got), len(s))
		}
		if utf8.ValidString(s) != utf8.ValidString(got) {
			t.Fatal("not UTF-8")
		}
		for i, o := range offsets {
			if o < 0 || o > len(got) || i > 0 && o < offsets[i-1] {
				t.Fatalf("offsets %v of %d", offsets, len(got))
			}
		}
	})
}
