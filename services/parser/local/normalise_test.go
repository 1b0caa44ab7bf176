package local

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"sluice/pkg/events"
	"sluice/pkg/testcpu"
)

func TestNormaliseMovesMarks(t *testing.T) {
	for _, c := range []struct {
		name, in string
		marks    []int
		want     string
		moved    []int
	}{
		{"nothing to do", "a\n\nb\n", []int{0, 3}, "a\n\nb\n", []int{0, 3}},
		{"leading blank lines", "\n\na\n", []int{0}, "a\n", []int{0}},
		{"between pages", "a\n\n\n\n\n\nb", []int{0, 4}, "a\n\n\nb\n", []int{0, 4}},
		{"in a line", "one two", []int{0, 4}, "one two\n", []int{0, 4}},
		{"a page without text", "a\n\n", []int{0, 3}, "a\n", []int{0, 2}},
		{"carriage returns", "a\r\nb\r\n", []int{0, 3}, "a\nb\n", []int{0, 2}},
		{"beyond the end", "a", []int{0, 9}, "a\n", []int{0, 2}},
		{"no text", " \n", []int{0}, "", nil},
	} {
		var marks []events.PageMark
		for i, o := range c.marks {
			marks = append(marks, events.PageMark{Page: i + 1, Offset: o})
		}
		got, moved := normalise(c.in, marks)
		var offsets []int
		for _, m := range moved {
			offsets = append(offsets, m.Offset)
		}
		if got != c.want || !slices.Equal(offsets, c.moved) {
			t.Errorf("%s: normalise = %q, %v, want %q, %v", c.name, got, offsets, c.want, c.moved)
		}
	}
}

func TestNormaliseProperties(t *testing.T) {
	piece := rapid.SampledFrom([]string{"a", "é", " ", "\t", "\n", "\r", "\r\n", "\x00", "\x7f", "\u0085", "\u00ad", "\ufeff", "\u2028", "\xff", "\xc2", "```", "| b |"})
	rapid.Check(t, func(t *rapid.T) {
		s := strings.Join(rapid.SliceOfN(piece, 0, 60).Draw(t, "s"), "")
		offsets := rapid.SliceOfN(rapid.IntRange(0, len(s)), 0, 5).Draw(t, "offsets")
		slices.Sort(offsets)
		var marks []events.PageMark
		for i, o := range offsets {
			marks = append(marks, events.PageMark{Page: i + 1, Offset: o})
		}
		got, moved := normalise(s, marks)
		if got == "" {
			return
		}
		if !utf8.ValidString(got) || strings.Contains(got, "\n\n\n\n") || !strings.HasSuffix(got, "\n") || strings.HasPrefix(got, "\n") {
			t.Fatalf("normalise(%q) = %q", s, got)
		}
		if again, _ := normalise(got, nil); again != got {
			t.Fatalf("normalise(%q) = %q, and once more %q", s, got, again)
		}
		if len(moved) != len(marks) || !slices.IsSortedFunc(moved, func(a, b events.PageMark) int { return a.Offset - b.Offset }) {
			t.Fatalf("normalise(%q) moves %v to %v", s, marks, moved)
		}
		for _, m := range moved {
			if m.Offset > len(got) {
				t.Fatalf("mark %v is beyond %d", m, len(got))
			}
		}
	})
}

func TestNormaliseIsLinear(t *testing.T) {
	for _, unit := range []string{"\r", "a\r", "\n", " ", "a\u2028", "\xff"} {
		t.Run(strconv.Quote(unit), func(t *testing.T) {
			testcpu.Linear(t, 4<<20, func(n int) { normalise(strings.Repeat(unit, n), nil) })
		})
	}
}
