package md_test

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"sluice/pkg/testcpu"
	"sluice/services/parser/internal/md"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTable(t *testing.T) {
	for _, c := range []struct {
		name string
		rows [][]string
		want string
	}{
		{"none", nil, ""},
		{"no cells", [][]string{{}, {}}, ""},
		{"plain", [][]string{{"a", "b"}, {"1", "2"}}, "| a | b |\n| --- | --- |\n| 1 | 2 |"},
		{"header only", [][]string{{"a"}}, "| a |\n| --- |"},
		{"ragged", [][]string{{"a"}, {"1", "2"}, {}}, "| a |  |\n| --- | --- |\n| 1 | 2 |\n|  |  |"},
		{"pipes", [][]string{{"a|b", `a\|b`, `a\`}}, `| a\|b | a\|b | a\\ |` + "\n| --- | --- | --- |"},
		{"breaks", [][]string{{" a\r\nb\n\nc\u2028d "}}, "| a b c d |\n| --- |"},
	} {
		if got := md.Table(c.rows); got != c.want {
			t.Errorf("%s: Table = %q, want %q", c.name, got, c.want)
		}
	}
}

func TestTableDoesNotPadWithoutBound(t *testing.T) {
	rows := make([][]string, 100_000)
	rows[0] = make([]string, 100_000)
	for i := 1; i < len(rows); i++ {
		rows[i] = []string{"x"}
	}
	if got := len(md.Table(rows)); got > 4<<20 {
		t.Errorf("a table of 200,000 cells takes %d bytes", got)
	}
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "",
		"plain text, 5 < 6 & 7":    "plain text, 5 < 6 & 7",
		"snake_case_name":          "snake_case_name",
		"__init__":                 `\_\_init\_\_`,
		"Name: ______":             "Name: ______",
		"2 * 3":                    "2 * 3",
		"a*b*c":                    `a\*b\*c`,
		"# not a heading":          `\# not a heading`,
		"#hashtag":                 "#hashtag",
		"> no quote":               `\> no quote`,
		"- no item":                `\- no item`,
		"-5 degrees":               "-5 degrees",
		"---":                      `\---`,
		"===":                      `\===`,
		"***":                      `\***`,
		"1. no item":               `1\. no item`,
		"3.14":                     "3.14",
		"2024":                     "2024",
		"a\n1) b\n+ c":             "a\n1\\) b\n\\+ c",
		"<b>bold</b>":              `\<b>bold\</b>`,
		"AT&T &amp; co":            `AT&T \&amp; co`,
		"[x](y)":                   `[x\](y)`,
		"see [1] and (2)":          "see [1] and (2)",
		"[a]: b":                   `\[a]: b`,
		`C:\Users\x`:               `C:\Users\x`,
		`\*`:                       `\\\*`,
		"`code`":                   "\\`code\\`",
		"~~gone~~ ~5":              `\~\~gone\~\~ ~5`,
		"  indented # no":          "  indented # no",
		"résumé_für_ich *mañana*":  `résumé_für_ich \*mañana\*`,
		"trailing backslash \\":    `trailing backslash \\`,
		"12345678901. not an item": "12345678901. not an item",
	} {
		if got := md.Escape(in); got != want {
			t.Errorf("Escape(%q) = %q, want %q", in, got, want)
		}
	}
	if got, want := md.EscapeInline("- 1. # a*b*"), `- 1. # a\*b\*`; got != want {
		t.Errorf("EscapeInline = %q, want %q", got, want)
	}
}

func TestEscapeIsLinear(t *testing.T) {
	for _, unit := range []string{"*", "_", "[", "](", "&", "<", "`", "\\", "[a]:", "1.\n", "~"} {
		t.Run(unit, func(t *testing.T) {
			testcpu.Linear(t, 1<<20, func(n int) { md.Escape(strings.Repeat(unit, n)) })
		})
	}
}

func TestInline(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{md.Heading(2, " a\n b "), "## a b"},
		{md.Heading(0, "a"), "# a"},
		{md.Heading(9, "a"), "###### a"},
		{md.Heading(1, " "), ""},
		{md.Heading(1, "C #"), `# C \#`},
		{md.Heading(1, "C#"), "# C#"},
		{md.Fence("go", "x\n"), "```go\nx\n```"},
		{md.Fence("a b`", "```\nx\n```"), "````ab\n```\nx\n```\n````"},
		{md.Code("x"), "`x`"},
		{md.Code("`x"), "`` `x ``"},
		{md.Code(" "), ""},
		{md.Link("a", "http://x/(y) z"), "[a](http://x/(y)%20z)"},
		{md.Link("a", "http://x/)("), "[a](http://x/%29%28)"},
		{md.Link("a", ""), "a"},
		{md.Link("", "http://x"), "[http://x](http://x)"},
		{md.Image("a [b](c)", "d.png"), `![a [b\](c)](d.png)`},
		{md.Strong(" a "), " **a** "},
		{md.Emphasis(" "), " "},
		{md.Strike("a"), "~~a~~"},
		{md.Quote("a\n\nb\n"), "> a\n>\n> b"},
		{md.Item("10.", "a\n\nb\nc"), "10. a\n\n    b\n    c"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
