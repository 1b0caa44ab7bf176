package split

import (
	"context"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"sluice/pkg/events"
	"sluice/pkg/testcpu"
)

func mustNew(t testing.TB, o Options) *Splitter {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustSplit(t testing.TB, s *Splitter, md string, pages ...events.PageMark) []Chunk {
	t.Helper()
	chunks, err := s.Split(context.Background(), md, pages)
	if err != nil {
		t.Fatal(err)
	}
	return chunks
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// check fails unless chunks keep what the package comment promises.
func check(t failer, s *Splitter, md string, chunks []Chunk) {
	t.Helper()
	pos := 0
	for i, c := range chunks {
		fresh := c.Start + c.Overlap
		switch {
		case c.Ordinal != i:
			t.Fatalf("chunk %d has ordinal %d", i, c.Ordinal)
		case c.Start < 0 || c.Start > fresh || fresh >= c.End || c.End > len(md):
			t.Fatalf("chunk %d: start %d, overlap %d, end %d of %d bytes", i, c.Start, c.Overlap, c.End, len(md))
		case c.Overlap > 0 && (i == 0 || c.Start < chunks[i-1].Start || fresh != chunks[i-1].End):
			t.Fatalf("chunk %d repeats %d bytes that are not the end of the one before", i, c.Overlap)
		case !onRune(md, c.Start) || !onRune(md, c.End):
			t.Fatalf("chunk %d, bytes %d to %d, cuts a rune", i, c.Start, c.End)
		case strings.TrimSpace(md[fresh:c.End]) == "":
			t.Fatalf("chunk %d is white space: %q", i, md[fresh:c.End])
		}
		checkGap(t, s, md, pos, fresh)
		pos = c.End
		if got := s.tok.Count(md[c.Start:c.End]); c.Tokens != got || got > s.o.MaxTokens {
			t.Fatalf("chunk %d says %d tokens, has %d, limit %d: %q", i, c.Tokens, got, s.o.MaxTokens, md[c.Start:c.End])
		}
		e := events.Chunk{Text: md[c.Start:c.End], Headings: c.Headings, Header: c.Header}
		if got := s.tok.Count(e.Input()); c.InputTokens != got || got > s.o.MaxTokens+ContextTokens {
			t.Fatalf("chunk %d says %d input tokens, has %d: %q", i, c.InputTokens, got, e.Input())
		}
		if got := s.tok.Count(c.Header+"\n") + c.Tokens; c.Header != "" && got > s.o.MaxTokens {
			t.Fatalf("chunk %d has %d tokens with its header %q, limit %d", i, got, c.Header, s.o.MaxTokens)
		}
		if !utf8.ValidString(events.Lead(c.Headings, c.Header)) {
			t.Fatalf("chunk %d has a path or header that is no UTF-8: %q, %q", i, c.Headings, c.Header)
		}
		if c.Overlap > 0 {
			if got := s.tok.Count(md[c.Start:fresh]); got > s.o.Overlap+4 {
				t.Fatalf("chunk %d repeats %d tokens, limit %d", i, got, s.o.Overlap)
			}
		}
	}
	checkGap(t, s, md, pos, len(md))
}

// checkGap fails unless md[from:to] may be left out.
func checkGap(t failer, s *Splitter, md string, from, to int) {
	t.Helper()
	if from > to {
		t.Fatalf("bytes %d to %d are in two chunks", to, from)
	}
	if from == to {
		return
	}
	if strings.TrimSpace(md[from:to]) != "" {
		t.Fatalf("bytes %d to %d are in no chunk: %.100q", from, to, md[from:to])
	}
	if strings.TrimSpace(md) == "" {
		return
	}
	start := len(strings.TrimRightFunc(md[:from], unicode.IsSpace))
	end := skipSpace(md, to)
	if n := s.tok.Count(md[start:end]); n <= s.o.MaxTokens/3 {
		t.Fatalf("white space of only %d tokens at bytes %d to %d is in no chunk", n, from, to)
	}
}

var encodings = []string{"cl100k_base", "o200k_base"}

func anyOptions(t *rapid.T) Options {
	o := Options{
		Strategy:  rapid.SampledFrom([]string{Markdown, Recursive, Sentence, Fixed}).Draw(t, "strategy"),
		Encoding:  rapid.SampledFrom(encodings).Draw(t, "encoding"),
		MaxTokens: rapid.OneOf(rapid.IntRange(MinMaxTokens, 64), rapid.IntRange(65, 600)).Draw(t, "max"),
	}
	o.MinTokens = rapid.IntRange(0, o.MaxTokens/2).Draw(t, "min")
	o.Overlap = rapid.OneOf(rapid.Just(0), rapid.IntRange(0, (o.MaxTokens-1)/2)).Draw(t, "overlap")
	return o
}

// anyText draws Markdown, or bytes that are not.
func anyText(t *rapid.T) string {
	word := rapid.OneOf(
		rapid.StringMatching(`[a-zA-Z]{1,12}`),
		rapid.SampledFrom([]string{
			"the", "of", "Dr.", "e.g.", "end.", "end!", "**bold**", "`code`", "[a](http://x.org)", "12.5", "/", "//",
			"日本語。", "文字、", "🎉", "é", "naïve", "don't", "'s", "|", "\\|", "-", "&amp;", "\u00a0", "\u3000", "\xff", "\x80\x80",
		}),
	)
	line := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(word, 0, 30).Draw(t, "words"), rapid.SampledFrom([]string{" ", " ", " ", "", "  "}).Draw(t, "space"))
	})
	lead := rapid.SampledFrom([]string{
		"", "", "", "# ", "## ", "### ", "###### ", "- ", "  - ", "    - ", "1. ", "10) ", "> ", ">> ", "    ", "\t", "```go", "```",
		"~~~", "| a | b |\n|---|---|\n| ", "| ", "<div>", "<!-- ", "-->", "---", "===", "***", "<pre>", "</pre>", "+++", "$$",
		"<h2>", "</h2>", "<H1 class=a>", "<table>", "</table>", "<tr><th>a<th>b</tr>", "<tr><td>1<td>", "```csv\na,b\n", "> | a | b |\n> |---|---|\n> |", "> | ",
	})
	brk := rapid.SampledFrom([]string{"\n", "\n", "\n\n", "\r\n", "\n \n", "\n\n\n\n", " \n\t\n ", "\r", "\n/", strings.Repeat("\n \t", 200), strings.Repeat(" ", 3000)})
	n := rapid.IntRange(0, 60).Draw(t, "lines")
	var b strings.Builder
	b.WriteString(rapid.SampledFrom([]string{"", "", "\n\n", "---\ntitle: x\n---\n", " \n"}).Draw(t, "head"))
	for range n {
		b.WriteString(lead.Draw(t, "lead"))
		b.WriteString(line.Draw(t, "line"))
		b.WriteString(brk.Draw(t, "break"))
	}
	if rapid.IntRange(0, 9).Draw(t, "noise") == 0 {
		b.Write(rapid.SliceOfN(rapid.Byte(), 0, 2000).Draw(t, "bytes"))
	}
	return b.String()
}

func TestSplitKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, md := anyOptions(t), anyText(t)
		s, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		first, err := s.Split(context.Background(), md, nil)
		if err != nil {
			t.Fatal(err)
		}
		check(t, s, md, first)
		again, err := s.Split(context.Background(), md, nil)
		if err != nil || !reflect.DeepEqual(first, again) {
			t.Fatalf("the second time: %v, %+v, the first time: %+v", err, again, first)
		}
	})
}

// A window of a long text is cut as if the text were not long.
func TestSplitInWindows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := anyOptions(t)
		o.MaxTokens, o.MinTokens, o.Overlap = 16+o.MaxTokens%32, 0, o.Overlap%8
		var b strings.Builder
		for range rapid.IntRange(1, 6).Draw(t, "texts") {
			b.WriteString(anyText(t))
			b.WriteString("\n\n")
		}
		md := b.String()
		s, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		whole, err := s.Split(context.Background(), md, nil)
		if err != nil {
			t.Fatal(err)
		}
		check(t, s, md, whole)
		s.least = 0
		windows, err := s.Split(context.Background(), md, nil)
		if err != nil {
			t.Fatal(err)
		}
		check(t, s, md, windows)
		// What both begin a chunk with has the same context.
		at := map[int]Chunk{}
		for _, c := range whole {
			at[c.Start] = c
		}
		for _, c := range windows {
			if d, ok := at[c.Start]; ok && c.Overlap == d.Overlap && (!reflect.DeepEqual(c.Headings, d.Headings) || c.Header != d.Header) {
				t.Fatalf("at byte %d of %q the path is %q, header %q; in one window it is %q, %q", c.Start, md, c.Headings, c.Header, d.Headings, d.Header)
			}
		}
	})
}

// The work on a long text does not grow with it: what is allocated is the chunks.
func TestLongTextsTakeNoMoreMemory(t *testing.T) {
	if testcpu.Plain(t) {
		return
	}
	md := corpus(3, 8<<20)
	for _, strategy := range []string{Markdown, Recursive, Sentence, Fixed} {
		s := mustNew(t, Options{Strategy: strategy})
		mustSplit(t, s, md[:2<<20]) // loads tables
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		chunks := mustSplit(t, s, md)
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 2*uint64(len(md)) {
			t.Errorf("%s: %d chunks of %d MiB took %d MiB", strategy, len(chunks), len(md)>>20, took>>20)
		}
	}
}

func FuzzSplit(f *testing.F) {
	f.Add("# A\n\ntext. More.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```\ncode\n```\n", uint8(0), 16, 4)
	f.Add("- a\n  - b\n\n    c\n\n> q\n\n<div>\n# no\n</div>\n", uint8(1), 20, 0)
	f.Add("日本語。日本語！\xff\x80\x80 x\r\ry", uint8(2), 16, 7)
	f.Add(strings.Repeat(" \n", 500)+"a", uint8(7), 16, 0)
	f.Fuzz(func(t *testing.T, md string, which uint8, limit, overlap int) {
		limit = MinMaxTokens + int(uint(limit)%1000)
		s := mustNew(t, Options{
			Strategy:  []string{Markdown, Recursive, Sentence, Fixed}[which%4],
			Encoding:  encodings[which/4%2],
			MaxTokens: limit,
			Overlap:   int(uint(overlap) % uint((limit+1)/2)),
		})
		check(t, s, md, mustSplit(t, s, md))
	})
}
