package split

import (
	"fmt"
	"strings"
	"testing"
)

// rowsOf writes a table: a head, n rows made by row, and a tail.
func rowsOf(head string, n int, row func(i int) string, tail string) string {
	var b strings.Builder
	b.WriteString(head)
	for i := range n {
		b.WriteString(row(i))
	}
	return b.String() + tail
}

func TestAChunkOfATableHasItsHeader(t *testing.T) {
	pipes := func(lead string) func(int) string {
		return func(i int) string { return fmt.Sprintf("%s| bolt-%03d | Hall %d | %d |\n", lead, i, i%5, i*13) }
	}
	const head = "| Article | **Ware**house | Stock \\| day |\n"
	const want = "Article | Warehouse | Stock | day"
	for name, test := range map[string]struct{ md, header string }{
		"pipes":      {rowsOf(head+"| --- | :-: | --: |\n", 90, pipes(""), ""), want},
		"after text": {"# Stock\n\n" + strings.Repeat("Some words before it. ", 40) + "\n" + rowsOf(head+"|---|---|---|\n", 90, pipes(""), "\nAnd after.\n"), want},
		"no outer":   {rowsOf("Article | Warehouse\n--- | ---\n", 90, func(i int) string { return fmt.Sprintf("bolt-%03d | Hall %d\n", i, i) }, ""), "Article | Warehouse"},
		"in a list":  {"- The stock:\n\n" + rowsOf("  "+head+"  |---|---|---|\n", 90, pipes("  "), ""), want},
		"list item":  {"- first\n- " + rowsOf("| Article | Hall |\n  |---|---|\n", 90, func(i int) string { return fmt.Sprintf("  | bolt-%03d | Hall %d |\n", i, i) }, "- last\n"), "Article | Hall"},
		"in a quote": {"> The stock:\n>\n" + rowsOf("> "+head+"> |---|---|---|\n", 90, pipes("> "), "> \n> end\n"), want},
		"quoted":     {rowsOf("> "+head+"> |---|---|---|\n", 90, pipes("> "), ""), want},
		"comma":      {rowsOf("```csv\nArticle,\"Ware, house\",Stock\n", 90, func(i int) string { return fmt.Sprintf("bolt-%03d,Hall %d,%d\n", i, i, i) }, "```\n"), "Article | Ware, house | Stock"},
		"semicolon":  {rowsOf("~~~ CSV\nArticle;Stock\n", 90, func(i int) string { return fmt.Sprintf("bolt-%03d;%d\n", i, i) }, "~~~\n"), "Article | Stock"},
		"tab":        {rowsOf("```tsv\nArticle\tStock\n", 90, func(i int) string { return fmt.Sprintf("bolt-%03d\t%d\n", i, i) }, "```\n"), "Article | Stock"},
		"html": {rowsOf("<table border=1>\n<caption>Stock</caption>\n<thead><tr><th>Article<th>Ware&shy;house&amp;hall</th></tr></thead>\n<tbody>\n", 90,
			func(i int) string { return fmt.Sprintf("<tr>\n<td>bolt-%03d</td>\n<td>Hall %d</td>\n</tr>\n", i, i) }, "</tbody></table>\n"), "Article | Ware\u00adhouse&hall"},
		"html th": {rowsOf("<div><TABLE><TR><TH>Article</TH><TH>Stock<br>today</TH></TR>\n", 90,
			func(i int) string { return fmt.Sprintf("<TR><TD>bolt-%03d</TD><TD>%d</TD></TR>\n", i, i) }, "</TABLE></div>\n"), "Article | Stock today"},
		"html with blank lines": {rowsOf("<table>\n<tbody>\n<tr><th>Article</th><th>Stock</th></tr>\n\n", 90,
			func(i int) string { return fmt.Sprintf("<tr><td>bolt-%03d</td><td>%d</td></tr>\n\n", i, i) }, "</table>\n"), "Article | Stock"},
		"html two rows": {rowsOf("<table><thead>\n<tr><th>Article</th><th colspan=2>Stock</th></tr>\n<tr><th></th><th>min</th><th>max</th></tr></thead>\n", 90,
			func(i int) string { return fmt.Sprintf("<tr><td>bolt-%03d</td><td>1</td><td>2</td></tr>\n", i) }, "</table>\n"), "Article | Stock\n | min | max"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, o := range []Options{
				{MaxTokens: 100, MinTokens: 12},
				{MaxTokens: 100, Overlap: 20},
				{Strategy: Recursive, MaxTokens: 100},
				{Strategy: Sentence, MaxTokens: 100, Overlap: 10},
				{Strategy: Fixed, MaxTokens: 100, Overlap: 10},
			} {
				s := mustNew(t, o)
				for _, s.least = range []int{windowBytes, 0} {
					chunks := mustSplit(t, s, test.md)
					check(t, s, test.md, chunks)
					without := 0
					for _, c := range chunks {
						text := test.md[c.Start:c.End]
						switch {
						case !strings.Contains(text, "bolt-"):
						case c.Header != "" && strings.TrimSpace(c.Header) != strings.TrimSpace(test.header):
							t.Errorf("%s: chunk %d has the header %q, want %q", o.Strategy, c.Ordinal, c.Header, test.header)
						case c.Header == "":
							if without++; !strings.Contains(text, "Article") {
								t.Errorf("%s: chunk %d has no header: %q", o.Strategy, c.Ordinal, text)
							}
						}
					}
					if without > 1 || len(chunks) < 4 {
						t.Errorf("%s: %d of %d chunks are without a header", o.Strategy, without, len(chunks))
					}
				}
			}
		})
	}
}

func TestWhatHasNoHeader(t *testing.T) {
	filler := strings.Repeat("Plain words follow the table here. ", 40) + "\n\n"
	for name, md := range map[string]string{
		"after a table":      "| a | b |\n|---|---|\n| 1 | 2 |\n\n" + filler,
		"after HTML":         "<table><tr><th>a</th></tr><tr><td>1</td></tr></table>\n\n<p>\n" + filler + "</p>\n",
		"after HTML in line": "<div><table><tr><th>a</th></tr></table>\n" + filler + "</div>\n",
		"no header cells":    rowsOf("<table>\n<tr><td>x</td><td>y</td></tr>\n", 60, func(i int) string { return fmt.Sprintf("<tr><td>%d</td><td>z</td></tr>\n", i) }, "</table>\n"),
		"row headers":        rowsOf("<table>\n", 60, func(i int) string { return fmt.Sprintf("<tr><th>k%d</th><td>z</td></tr>\n", i) }, "</table>\n"),
		"empty":              rowsOf("|  |  |\n|---|---|\n", 60, func(i int) string { return fmt.Sprintf("| %d | x |\n", i) }, ""),
		"other code":         rowsOf("```go\na, b\n", 60, func(i int) string { return fmt.Sprintf("x, y := %d, 2\n", i) }, "```\n"),
		"a heading ends it":  "<table><tr><th>a</th></tr>\n\n# End\n\n<p>\n" + filler + "</p>\n",
	} {
		s := mustNew(t, Options{MaxTokens: 64})
		for _, c := range mustSplit(t, s, md) {
			if c.Header != "" {
				t.Errorf("%s: chunk %d has the header %q: %q", name, c.Ordinal, c.Header, md[c.Start:c.End])
			}
		}
	}
}

func TestLongHeaderIsShortened(t *testing.T) {
	var head, line, row strings.Builder
	for i := range 60 {
		fmt.Fprintf(&head, "| Column %d of this table with a long description of it ", i)
		line.WriteString("|---")
		fmt.Fprintf(&row, "| %d ", i)
	}
	md := head.String() + "|\n" + line.String() + "|\n" + strings.Repeat(row.String()+"|\n", 30)
	for _, limit := range []int{32, 100, 512} {
		s := mustNew(t, Options{MaxTokens: limit})
		chunks := mustSplit(t, s, md)
		check(t, s, md, chunks) // that text and header are not too long
		last := chunks[len(chunks)-1].Header
		if !strings.HasPrefix(last, "Column") || !strings.HasSuffix(last, "…") {
			t.Errorf("limit %d: the header is %q", limit, last)
		}
	}
}

// Rows are cut from one another, not in the middle.
func TestRowsOfAnHTMLTableStayWhole(t *testing.T) {
	md := rowsOf("<table>\n<tr><th>Article</th><th>Hall</th></tr>\n", 60,
		func(i int) string { return fmt.Sprintf("<tr>\n<td>bolt-%03d</td>\n<td>Hall %d</td>\n</tr>\n", i, i) }, "</table>\n")
	for _, md := range []string{md, strings.ReplaceAll(md, "\n", ""), strings.ReplaceAll(strings.ReplaceAll(md, "\n", ""), "<tr>", "<TR>")} {
		for _, c := range mustSplit(t, mustNew(t, Options{MaxTokens: 128}), md)[1:] {
			if !strings.EqualFold(md[c.Start:c.Start+4], "<tr>") {
				t.Errorf("chunk %d begins inside a row: %q", c.Ordinal, md[c.Start:c.End])
			}
		}
	}
}

func TestHeadingsInHTML(t *testing.T) {
	para := func(word string) string { return strings.TrimSpace(strings.Repeat(word+" ", 20)) + ".\n\n" }
	block := func(word string) string { return "<p>" + strings.TrimSpace(strings.Repeat(word+" ", 20)) + "</p>\n" }
	for md, want := range map[string]string{
		"<h1>Guide</h1>\n\n<h2 id=\"x\">In&shy;stall &amp; run</h2>\n\n" + para("zero") + para("last"):      "Guide > In\u00adstall & run",
		"<h1 align=\"center\">\n  <a href=\"https://x.org\"><img alt='Tool'></a>\n</h1>\n\n" + para("last"): "Tool",
		"# Guide\n\n<div>\n<H2>Install</H2>\n" + block("zero") + block("last") + "</div>\n":                 "Guide > Install",
		"<div><h1>Guide</h1>" + block("zero") + "<h2>Run</h2>" + block("last") + "</div>\n":                 "Guide > Run",
		"<h1>One</h1>\n<h2>Two</h2>\n\n# Other\n\n" + para("zero") + para("last"):                           "Other",
		"<h1>One\ntwo\n\n" + para("last"):                                       "One two",
		"<!-- <h1>not\n</h1> -->\n\n" + para("last"):                            "",
		"<div>\n<!-- <h1>not</h1>\n<h2>not</h2> -->\n</div>\n\n" + para("last"): "",
		"<pre>\n<h1>not</h1>\n</pre>\n\n" + para("last"):                        "",
		"```html\n<h1>not</h1>\n```\n\n" + para("last"):                         "",
		"<table><tr><td><h2>not</h2></td></tr></table>\n\n" + para("last"):      "",
		"- a\n\n  <h2>not</h2>\n\n" + para("last"):                              "",
		"<header>no heading</header>\n\n<hr>\n\n" + para("last"):                "",
	} {
		s := mustNew(t, Options{MaxTokens: 24})
		chunks := mustSplit(t, s, md)
		check(t, s, md, chunks)
		c := chunks[len(chunks)-1]
		if got := strings.Join(c.Headings, " > "); got != want || !strings.Contains(md[c.Start:c.End], "last") {
			t.Errorf("%q: the path is %q, want %q", md, got, want)
		}
	}
}
