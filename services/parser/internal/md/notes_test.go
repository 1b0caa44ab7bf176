package md_test

import (
	"slices"
	"strings"
	"testing"

	"sluice/services/parser/internal/md"
)

// Footnotes of documents that become one keep their own texts.
func TestNotesApart(t *testing.T) {
	const doc = "Words[^1] and more[^end-1].\n\n[^1]: One.\n\n[^end-1]: End.\n"
	var n md.Notes
	for i, c := range []struct{ in, want string }{
		{doc, doc},
		{doc, "Words[^1-2] and more[^end-1-2].\n\n[^1-2]: One.\n\n[^end-1-2]: End.\n"},
		{"a[^A] `[^1]` ``b`[^1]`` \\[^1] [^0-9]\n\n```\n[^1]: code\n```\n\n[^a]: x", "a[^A] `[^1]` ``b`[^1]`` \\[^1] [^0-9]\n\n```\n[^1]: code\n```\n\n[^a]: x"},
		{"a[^A]\n\n[^a]: y", "a[^a-2]\n\n[^a-2]: y"},
		{"x[^1] y[^1-3]\n\n[^1]: One, see[^1-3]\n\n[^1-3]: Three\n", "x[^1-4] y[^1-3]\n\n[^1-4]: One, see[^1-3]\n\n[^1-3]: Three\n"},
		{"prose [^1] and [^0-9]", "prose [^1] and [^0-9]"},
		{"~~~\n[^1]: open\n", "~~~\n[^1]: open\n"},
		{"its note[^7] is missing", "its note[^7] is missing"},
		{"x[^7]\n\n[^7]: Seven", "x[^7-2]\n\n[^7-2]: Seven"},
	} {
		if got := n.Apart(c.in, nil); got != c.want {
			t.Errorf("document %d:\n%s\nwant\n%s", i, got, c.want)
		}
	}

	offsets := []int{0, strings.Index(doc, "and"), strings.Index(doc, "[^1]:"), len(doc)}
	var want []int
	again := n.Apart(doc, offsets)
	for _, at := range []string{"Words", "and", "[^1-5]:"} {
		want = append(want, strings.Index(again, at))
	}
	if want = append(want, len(again)); !slices.Equal(offsets, want) {
		t.Errorf("offsets %v, want %v in\n%s", offsets, want, again)
	}

	reserved := md.Notes{Reserved: true}
	if got, want := reserved.Apart("x[^1] y[^a]\n\n[^1]: One\n\n[^a]: A", nil), "x[^1-2] y[^a]\n\n[^1-2]: One\n\n[^a]: A"; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}
