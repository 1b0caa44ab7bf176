package split

import (
	"slices"
	"strings"
	"testing"
)

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"# A\n":                              "A",
		"## A b ##  \n":                      "A b",
		"## C#\n":                            "C#",
		"### **Bold** and _thin_\n":          "Bold and thin",
		"# snake_case_name\n":                "snake_case_name",
		"# `a_*b*` code\n":                   "a_*b* code",
		"# [text](http://example.org/a) x\n": "text x",
		"# ![logo](logo.png) Name\n":         "logo Name",
		"# [text][ref]\n":                    "text",
		"# [Unreleased]\n":                   "Unreleased",
		"# 1 \\* 2 \\# 3\n":                  "1 * 2 # 3",
		"# <a name=\"x\"></a>Anchor\n":       "Anchor",
		"# <https://example.org>\n":          "https://example.org",
		"# a < b\n":                          "a < b",
		"two\nlines\n":                       "two lines",
		"#\n":                                "",
		"# \xff\n":                           "\uFFFD",
		"# 見出し\n":                            "見出し",
	} {
		if got := title(in); got != want {
			t.Errorf("title(%q) is %q, want %q", in, got, want)
		}
	}
}

func TestHeadingPath(t *testing.T) {
	para := func(word string) string { return strings.TrimSpace(strings.Repeat(word+" ", 14)) + ".\n\n" }
	md := "Title *here*\n============\n\n" + para("zero") + "## One\n\n" + para("one") + para("uno") +
		"#### Deep\n\n" + para("deep") + "## Two\n\n" + para("two") + "# Other\n\n" + para("other") + para("autre")
	s := mustNew(t, Options{MaxTokens: 32})
	chunks := mustSplit(t, s, md)
	check(t, s, md, chunks)
	for _, want := range []struct {
		has  string
		path []string
	}{
		{"zero", nil}, // begins with its heading
		{"one one", []string{"Title here"}},
		{"uno", []string{"Title here", "One"}},
		{"deep deep", []string{"Title here", "One"}},
		{"two two", []string{"Title here"}},
		{"other other", nil},
		{"autre", []string{"Other"}},
	} {
		i := slices.IndexFunc(chunks, func(c Chunk) bool { return strings.Contains(md[c.Start:c.End], want.has) })
		if !slices.Equal(chunks[i].Headings, want.path) {
			t.Errorf("the path of %q is %q, want %q", md[chunks[i].Start:chunks[i].End], chunks[i].Headings, want.path)
		}
	}
}

func TestLongHeadingPathIsShortened(t *testing.T) {
	var md strings.Builder
	for level := range 6 {
		md.WriteString(strings.Repeat("#", level+1) + " " + strings.Repeat("heading"+string(rune('a'+level))+" ", 100) + "\n\n")
	}
	md.WriteString(strings.Repeat("text. ", 300))
	s := mustNew(t, Options{MaxTokens: 64})
	chunks := mustSplit(t, s, md.String())
	check(t, s, md.String(), chunks) // that the path is not too long
	path := chunks[len(chunks)-1].Headings
	if len(path) == 0 || !strings.HasPrefix(path[len(path)-1], "headingf") || !strings.HasSuffix(path[len(path)-1], "…") {
		t.Errorf("the path is %q, want the innermost heading, shortened", path)
	}
}
