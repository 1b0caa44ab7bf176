package split

import (
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// What is in force for a chunk does not depend on where the window ends that it is
// cut in: not in a heading or a row that goes on behind that window either.
func TestContextDoesNotDependOnWindows(t *testing.T) {
	filler := func(n int) string { return strings.Repeat("Some words here. ", n/17) + "\n\n" }
	tags := strings.Repeat("<b>\n", 500)
	lines := func(n int) string { return strings.Repeat("\\\\ \\\\ \\\\ *** ***\n", n) + "end\n" }
	for name, of := range map[string]string{
		"an HTML heading":           "<h1>\n" + tags + "é end</h1>\n\n",
		"an HTML heading left open": "<h2>\nword\n" + tags + "last\n\n",
		"an HTML heading in a line": "<div>\n<p>text</p><h2>A" + strings.Repeat("<br>", 300) + "end</h2>\n</div>\n\n",
		"a long HTML heading":       "<h1>" + strings.Repeat("語\n", 2000) + "</h1>\n\n",
		"an underlined heading":     lines(120) + "===\n\n",
		"no underlined heading":     lines(600) + "---\n\n",
		"the head of a table":       "| a | " + strings.Repeat("long ", 400) + "|\n|---|---|\n| 1 | 2 |\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			for _, strategy := range []string{Markdown, Recursive, Sentence, Fixed} {
				s := mustNew(t, Options{Strategy: strategy, MaxTokens: 16})
				// The window ends at any place before and in it.
				for lead := 0; lead < 2000; lead += 170 {
					md := "# Top\n\n" + filler(lead) + of + filler(400)
					s.least = windowBytes
					at := map[int]Chunk{}
					whole := mustSplit(t, s, md)
					check(t, s, md, whole)
					for _, c := range whole {
						at[c.Start] = c
					}
					s.least = 0
					windows := mustSplit(t, s, md)
					check(t, s, md, windows)
					for _, c := range windows {
						if d, ok := at[c.Start]; ok && (!reflect.DeepEqual(c.Headings, d.Headings) || c.Header != d.Header) {
							t.Fatalf("%s, at byte %d of %d: the path is %q, header %q; in one window it is %q, %q",
								strategy, c.Start, len(md), c.Headings, c.Header, d.Headings, d.Header)
						}
					}
				}
			}
		})
	}
}

// A paragraph that is too long for a heading is none, whatever is under it.
func TestLongParagraphIsNoHeading(t *testing.T) {
	for n, want := range map[int]int{4: 1, maxMarkupBytes: 0} {
		for _, line := range []string{"===", "---"} {
			md := strings.Repeat("words\n", n/6+1) + line + "\n\ntext\n"
			got := 0
			for _, b := range scan(nil, md) {
				if b.kind == heading {
					got++
				}
			}
			if got != want {
				t.Errorf("%d bytes over %s make %d headings, want %d", n, line, got, want)
			}
		}
	}
}

// Where a heading or a header is cut, and where the text is not UTF-8, what goes to
// the model is.
func TestContextIsUTF8(t *testing.T) {
	for in, want := range map[string]string{
		"# " + strings.Repeat(" ", maxHeadingBytes-4) + "aé\n":        "a",
		"<h1>" + strings.Repeat("\n", maxMarkupBytes-6) + "a語</h1>\n": "a",
		"# a\xff\xfeb\n": "a\uFFFDb",
	} {
		if got := title(in); got != want {
			t.Errorf("title(%.20q) is %q, want %q", in, got, want)
		}
	}
	for name, md := range map[string]string{
		"csv":    "```csv\na,\xff\xfeb\n" + strings.Repeat("1,2\n", 100) + "```\n",
		"long":   "```csv\na" + strings.Repeat("=", maxHeaderBytes-9) + "語語,b\n" + strings.Repeat("1,2\n", 10000) + "```\n",
		"pipes":  "| a | \xffb |\n|---|---|\n" + strings.Repeat("| 1 | 2 |\n", 100),
		"markup": "<table><tr><th>a<th>\xffb</tr>\n" + strings.Repeat("<tr><td>1<td>2</tr>\n", 100) + "</table>\n",
	} {
		s := mustNew(t, Options{MaxTokens: 64})
		if name == "long" {
			s = mustNew(t, Options{MaxTokens: 8000})
		}
		chunks := mustSplit(t, s, md)
		check(t, s, md, chunks)
		last := chunks[len(chunks)-1].Header
		if last == "" || !utf8.ValidString(last) || name == "long" && strings.ContainsRune(last, utf8.RuneError) {
			n := max(0, len(last)-40)
			t.Errorf("%s: the header of the last of %d chunks ends with %q", name, len(chunks), last[n:])
		}
	}
}
