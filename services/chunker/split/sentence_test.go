package split

import (
	"slices"
	"strings"
	"testing"
)

func units(s string, next func(string) int) []string {
	var out []string
	for s != "" {
		n := next(s)
		out = append(out, s[:n])
		s = s[n:]
	}
	return out
}

func TestSentences(t *testing.T) {
	for _, want := range [][]string{
		{"One. ", "Two! ", "Three? ", "Four"},
		{"Dr. Smith met e.g. Mr. J. R. Jones. ", "He left."},
		{"It cost 3.50 in all. ", "Cheap."},
		{"He said \"no.\" ", "She (too) left.) ", "So."},
		{"See fig. 3. ", "It shows v1.2.3 of the API."},
		{"Wait... ", "What?! ", "Yes."},
		{"It goes... on and on. ", "Here."},
		{"**Bold.** ", "_Thin._\n", "Next line."},
		{"no stop\nhere\n\n", "Next paragraph\n"},
		{"1. Not a sentence. ", "Two."},
		{"これは文です。", "次の文！", "「引用。」", "終わり"},
		{"Ist z.B. Dr. Müller da? ", "Ja."},
		{"यह है। ", "वह।"},
		{"End.   \n\n"},
		{"...", ""},
	} {
		want = slices.DeleteFunc(want, func(s string) bool { return s == "" })
		if got := units(strings.Join(want, ""), nextSentence); !slices.Equal(got, want) {
			t.Errorf("sentences are %q, want %q", got, want)
		}
	}
}

func TestWordsAndLines(t *testing.T) {
	if got, want := units("a  b\n\tc、d ", nextWord), []string{"a  ", "b\n\t", "c、", "d "}; !slices.Equal(got, want) {
		t.Errorf("words are %q, want %q", got, want)
	}
	if got, want := units("a\n\n \n  b\r\nc", nextLine), []string{"a\n\n \n", "  b\r\n", "c"}; !slices.Equal(got, want) {
		t.Errorf("lines are %q, want %q", got, want)
	}
	if got, want := units("a\nb\n\nc\n \n\n  d\ne", nextParagraph), []string{"a\nb\n\n", "c\n \n\n", "  d\ne"}; !slices.Equal(got, want) {
		t.Errorf("paragraphs are %q, want %q", got, want)
	}
}

func TestOnRune(t *testing.T) {
	s := "aé🎉\x80\x80b\xf0\x9f"
	var got []int
	for i := range len(s) + 1 {
		if onRune(s, i) {
			got = append(got, i)
		}
	}
	if want := []int{0, 1, 3, 7, 8, 9, 10, 11, 12}; !slices.Equal(got, want) {
		t.Errorf("runes begin or end at %v, want %v", got, want)
	}
}
