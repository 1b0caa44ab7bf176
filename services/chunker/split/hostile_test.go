package split

import (
	"strings"
	"testing"

	"sluice/pkg/testcpu"
)

// fill repeats s to about n bytes.
func fill(s string, n int) string { return strings.Repeat(s, n/len(s)+1) }

// hostile are texts that make a splitter slow which does anything more than
// once a byte, token, line or block.
func hostile(n int) map[string]string {
	deep := func(lead, tail string) string {
		var b strings.Builder
		for i := 1; b.Len() < n; i++ {
			b.WriteString(strings.Repeat(lead, i) + tail)
		}
		return b.String()
	}
	return map[string]string{
		"one word":           fill("a", n),
		"random word":        fill("q7Zk0xV9pLw2", n),
		"one CJK word":       fill("語", n),
		"emoji":              fill("👩‍👩‍👧‍👦", n),
		"continuation bytes": fill("\x80", n),
		"start bytes":        fill("\xf0", n),
		"spaces":             fill(" ", n) + "a",
		"line breaks":        fill("\n", n) + "a",
		"mixed space":        "a" + fill(" \n\t\r", n) + "a" + fill("\n \t", n),
		"thin spaces":        "a" + fill("\u2003", n) + "b",
		"spaced dots":        fill(".  ", n),
		"dots":               fill(".", n),
		"quotes in one line": fill(">", n),
		"spaced quotes":      fill("> ", n),
		"quote lines":        fill("> a\n", n),
		"lists in one line":  fill("- ", n),
		"empty items":        fill("-\n", n),
		"deep quotes":        deep("> ", "a\n"),
		"deep lists":         deep("  ", "- a\n"),
		"deep numbers":       deep("   ", "1. a\n"),
		"headings":           fill("# a\n", n),
		"deeper headings":    fill("# a\n## b\n### c\n#### d\n##### e\n###### f\n", n),
		"long heading":       "# " + fill("word ", n),
		"heading of stars":   "# " + fill("*_`[", n) + "\n\ntext\n",
		"hashes":             fill("#", n),
		"setext":             fill("a\n", n) + "===\n\ntext\n",
		"underlines":         fill("a\n===\n", n),
		"table":              "|a|b|\n|-|-|\n" + fill("|1|2|\n", n),
		"wide table":         fill("|a", n/2) + "\n" + fill("|-", n/2) + "\n",
		"table heads":        fill("|a|\n|-|\n", n),
		"pipes":              fill("|", n),
		"delimiters":         fill("|-|\n", n),
		"fences":             fill("```\n", n),
		"ticks":              fill("`", n),
		"open fence":         "```\n" + fill("a\n", n),
		"indented":           fill("    a\n", n),
		"tags":               fill("<", n),
		"tag lines":          fill("<a\n", n),
		"comments":           fill("<!--\n", n),
		"open comment":       "<!--\n" + fill("-- >\n", n),
		"cdata":              "<![CDATA[" + fill("]", n),
		"abbreviations":      fill("e.g. ", n),
		"initials":           fill("A.B.", n),
		"blank pairs":        fill("a\n\n", n),
		"front matter":       "---\na:\n" + fill("b\n", n),
		"links":              fill("[a](", n),
		"colons":             fill(":", n) + "\n\n- a\n",
		"starred colons":     fill("a:\n\n"+strings.Repeat("* ", 50)+"\n\n", n),
		"carriage returns":   fill("a\r", n),
		"slashes":            fill("/\n", n),
	}
}

func TestSplitIsLinear(t *testing.T) {
	const bytes = 1 << 15
	strategies := []string{Markdown, Recursive, Sentence, Fixed}
	larger, smaller := hostile(bytes), hostile(bytes/4)
	for name := range larger {
		t.Run(name, func(t *testing.T) {
			for i, strategy := range strategies {
				t.Run(strategy, func(t *testing.T) {
					s := mustNew(t, Options{Strategy: strategy, Encoding: encodings[i%2], Overlap: 32 * (i % 2)})
					testcpu.Linear(t, bytes, func(n int) {
						md := smaller[name]
						if n == bytes {
							md = larger[name]
						}
						mustSplit(t, s, md)
					})
					check(t, s, larger[name], mustSplit(t, s, larger[name]))
				})
			}
		})
	}
}
