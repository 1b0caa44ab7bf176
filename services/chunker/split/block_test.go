package split

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
	"pgregory.net/rapid"
)

// commonMark parses the block structure only.
var commonMark = parser.NewParser(
	parser.WithBlockParsers(parser.DefaultBlockParsers()...),
	parser.WithParagraphTransformers(append(parser.DefaultParagraphTransformers(),
		util.Prioritized(extension.NewTableParagraphTransformer(), 200))...),
)

// parsed lists the headings of sections as a CommonMark parser finds them:
// "<level> <text>".
func parsed(md string) []string {
	var out []string
	doc := commonMark.Parse(text.NewReader([]byte(md)))
	for n := doc.FirstChild(); n != nil; n = n.NextSibling() {
		if h, ok := n.(*ast.Heading); ok {
			out = append(out, fmt.Sprintf("%d %s", h.Level, title(string(h.Lines().Value([]byte(md))))))
		}
	}
	return out
}

// scanned lists the headings of sections as scan finds them.
func scanned(md string) []string {
	var out []string
	for _, b := range scan(nil, md) {
		if b.kind == heading {
			out = append(out, fmt.Sprintf("%d %s", b.level, title(md[b.start:b.text])))
		}
	}
	return out
}

func TestHeadingsAreThoseOfCommonMark(t *testing.T) {
	for _, md := range []string{
		"# a\n## b\n",
		"#a\n\n####### b\n\n# c #\n\n## d ##  \n#\te\n",
		"#\n\ntext\n",
		"   # a\n\n    # code\n\ntext\n    # text\n",
		"a\n===\n\nb\n---\n\nc\nd\n  ---\n\n---\n\n===\n",
		"- a\n---\n\nb\n",
		"- a\n  # in the item\n\n# b\n",
		"- a\n\n  # in the item\n\n  b\n\n# c\n",
		"1. a\n   ```\n# not in the item\n",
		"- a\n  ```\n  # code\n  ```\n# b\n",
		"- ```\n  # code\n  ```\n\n# b\n",
		"> # quoted\n\n# a\n> b\n# c\n",
		"> a\nb\n# c\n",
		"```\n# code\n````\n# a\n",
		"```a`b\n# a\n```\n# code\n",
		"~~~ `a`\n# code\n```\n# code\n~~~\n# a\n",
		"```\n# code, never closed\n",
		"<div>\n# html\n\n# a\n</div>\n",
		"<!-- a\n\n# html\n\n--> b\n# a\n",
		"<!-- a --> b\n# a\n",
		"<pre>\n\n# html\n\n</pre>\n# a\n",
		"<script>\n# html\n</SCRIPT>\n# a\n",
		"<b>\n# html\n\n# a\n",
		"<b>bold</b>\n# a\n",
		"text\n<b>\n# a\n",
		"text\n<div>\n# html\n\n# a\n",
		"<?php\n\n# html\n?>\n# a\n",
		"<https://example.org>\n# a\n",
		"| a |\n|---|\n| b |\n# c\n",
		"a | b\n- | -\n1 | 2\n\n# c\n",
		"a\n|\n---\n",
		"text\n1. a\n   # in the item\n# b\n",
		"text\n2. no list\n   # a\n",
		"text\n-\n# a\n",
		"* * *\n# a\n- - -\n# b\n_ _\n# c\n",
		"-\ttab\n\n\t# in the item\n\n# a\n",
		"- a\n\n      code\n\n   # in the item\n # a\n",
		"10) a\n\n    # in the item\n\n# b\n",
		"# a\r\n\r\nb\r\n===\r\n\r\n```\r\n# code\r\n```\r\n# c\r\n",
	} {
		if got, want := scanned(md), parsed(md); !slices.Equal(got, want) {
			t.Errorf("%q: headings are %q, want %q", md, got, want)
		}
	}
}

// anyDocument draws Markdown as people write it: blocks with blank lines around.
func anyDocument(t *rapid.T) string {
	words := rapid.StringMatching(`[a-z]{1,8}( [a-z]{1,8}){0,12}[.:!]?`)
	block := rapid.Custom(func(t *rapid.T) string {
		w := func() string { return words.Draw(t, "words") }
		switch rapid.IntRange(0, 10).Draw(t, "kind") {
		case 0, 1:
			return strings.Repeat("#", rapid.IntRange(1, 6).Draw(t, "level")) + " " + w() + "\n"
		case 2:
			return w() + "\n" + rapid.SampledFrom([]string{"===", "---"}).Draw(t, "line") + "\n"
		case 3:
			return "- " + w() + "\n- " + w() + "\n  - " + w() + "\n\n    " + w() + "\n- " + w() + "\n"
		case 4:
			return "1. " + w() + "\n2. " + w() + "\n\n   ```\n   # " + w() + "\n\n   " + w() + "\n   ```\n"
		case 5:
			return "> " + w() + "\n> # " + w() + "\n>\n> " + w() + "\n"
		case 6:
			return "| " + w() + " | b |\n|---|:-:|\n| " + w() + " | " + w() + " |\n"
		case 7:
			return "```sh\n# " + w() + "\n\n" + w() + "\n```\n"
		case 8:
			return "    # " + w() + "\n\n    " + w() + "\n"
		case 9:
			return "<div>\n# " + w() + "\n</div>\n"
		default:
			return w() + "\n" + w() + "\n"
		}
	})
	return strings.Join(rapid.SliceOfN(block, 0, 20).Draw(t, "blocks"), "\n")
}

func TestHeadingsOfAnyDocument(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		md := anyDocument(t)
		if got, want := scanned(md), parsed(md); !slices.Equal(got, want) {
			t.Fatalf("%q: headings are %q, want %q", md, got, want)
		}
	})
}

func TestScanKinds(t *testing.T) {
	names := map[kind]string{
		paragraph: "paragraph", heading: "heading", item: "item", quote: "quote", table: "table",
		code: "code", html: "html", front: "front", rule: "rule",
	}
	for _, test := range []struct{ md, want string }{
		{"---\ntitle: a\n---\n# a\n", "front heading"},
		{"+++\ntitle = 1\n+++\na\n", "front paragraph"},
		{"---\n\n# a\n\n---\n", "rule heading rule"},
		{"---\ntitle: a\n", "rule paragraph"},
		{"\n\na\nb\n\nc\n", "paragraph paragraph"},
		{"a\n\n| b |\n|---|\n| c |\n| d |\n\ne\n", "paragraph table paragraph"},
		{"a:\n| b |\n|---|\n| c |\n", "paragraph table"},
		{"| b |\n|---|---|\n", "paragraph"},
		{"- a\n- b\n  - c\n\n  d\n\ne\n", "item item item/2 paragraph/1 paragraph"},
		{"- a\n\n  | b |\n  |---|\n  | c |\n", "item table/1"},
		{"a\n\n    b\n\n    c\n\nd\n", "paragraph code paragraph"},
		{"> a\n> b\nc\n\n> d\n", "quote quote"},
		{"```\na\n\nb\n```\nc\n", "code paragraph"},
		{"a\n***\nb\n", "paragraph rule paragraph"},
	} {
		var got []string
		for _, b := range scan(nil, test.md) {
			name := names[b.kind]
			if b.kind != heading && (b.level > 1 || b.level == 1 && b.kind != item) {
				name += fmt.Sprintf("/%d", b.level)
			}
			got = append(got, name)
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%q: blocks are %q, want %q", test.md, got, test.want)
		}
	}
}
