package split

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// nextSentence returns where the sentence after the first one in s begins: past
// the closing marks and the white space that follow a full stop, a question
// mark or an exclamation mark, or past a blank line. It returns len(s) if there
// is no such place. s begins where a sentence does.
func nextSentence(s string) int {
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '.' || c == '!' || c == '?':
			end := closers(s, i+1)
			next := skipSpace(s, end)
			if next == len(s) {
				return next
			}
			if next > end && !(c == '.' && s[end-1] == '.' && continues(s, i, next)) {
				return next
			}
			i = end
		case c == '\n':
			next := skipSpace(s, i)
			if next == len(s) || strings.IndexByte(s[i+1:next], '\n') >= 0 {
				return next
			}
			i = next
		case c >= 0xD8:
			n := fullStop(s[i:])
			if n == 0 {
				i++
				continue
			}
			return skipSpace(s, closers(s, i+n))
		default:
			i++
		}
	}
	return len(s)
}

// fullStop returns the length of the mark at the start of s that ends a
// sentence in a script other than Latin, whether or not a space follows.
func fullStop(s string) int {
	for _, mark := range [...]string{"。", "！", "？", "｡", "．", "।", "؟", "۔"} {
		if strings.HasPrefix(s, mark) {
			return len(mark)
		}
	}
	return 0
}

// closers returns the end of the marks from i on that belong to the sentence
// that ends before them.
func closers(s string, i int) int {
next:
	for i < len(s) {
		switch s[i] {
		case '.', '!', '?', '"', '\'', ')', ']', '}', '*', '_', '`':
			i++
			continue
		}
		if s[i] >= utf8.RuneSelf {
			for _, mark := range [...]string{"”", "’", "»", "」", "』", "）", "】", "。", "！", "？"} {
				if strings.HasPrefix(s[i:], mark) {
					i += len(mark)
					continue next
				}
			}
		}
		break
	}
	return i
}

// skipSpace returns the end of the white space at i.
func skipSpace(s string, i int) int {
	for i < len(s) {
		c := s[i]
		switch {
		case c == ' ' || '\t' <= c && c <= '\r':
			i++
		case c < utf8.RuneSelf:
			return i
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			if !unicode.IsSpace(r) {
				return i
			}
			i += n
		}
	}
	return i
}

// continues reports whether the full stop at s[i] does not end a sentence
// although white space and then s[next] follow: abbreviations, initials,
// numbers of list items.
func continues(s string, i, next int) bool {
	if c := s[next]; 'a' <= c && c <= 'z' {
		return true
	}
	start := i
	for start > 0 && i-start < 16 && (isWord(s[start-1]) || s[start-1] == '.') {
		start--
	}
	word := s[start:i]
	switch {
	case word == "":
		return false
	case len(word) == 1 && isLetter(word[0]):
		return word != "I" // an initial
	case len(word) <= 3 && strings.Trim(word, "0123456789") == "":
		// "3." at the start of a line is the number of a list item.
		return start == 0 || s[start-1] == '\n'
	}
	return abbreviations[strings.ToLower(word)]
}

// abbreviations that are rarely the last word of a sentence.
var abbreviations = func() map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(`mr mrs ms dr prof st jr sr rev gen col capt lt sgt hon vs e.g i.e eg ie cf viz approx
		ca fig figs eq eqs sec ch vol no nos pp ed eds al resp z.b d.h u.a bzw nr bspw evtl vgl u.s u.k u.n
		jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri`) {
		m[w] = true
	}
	return m
}()

// nextWord returns where the word after the first one in s begins, or len(s).
// In scripts without spaces the ideographic comma separates as well.
func nextWord(s string) int {
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == ' ' || '\t' <= c && c <= '\r':
			return skipSpace(s, i)
		case c < utf8.RuneSelf:
			i++
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			i += n
			if r == '、' || r == '，' || r == '；' || r == '：' || unicode.IsSpace(r) {
				return skipSpace(s, i)
			}
		}
	}
	return len(s)
}

// nextLine returns where the line after the first one in s that is not blank
// begins, or len(s).
func nextLine(s string) int {
	i := strings.IndexByte(s, '\n')
	if i < 0 {
		return len(s)
	}
	// Blank lines belong to the line before, indentation to the line after.
	next := skipSpace(s, i)
	if next == len(s) {
		return next
	}
	return strings.LastIndexByte(s[:next], '\n') + 1
}

// onRune reports whether a cut at i is not inside a rune of s. Bytes that are
// not UTF-8 are runes of their own.
func onRune(s string, i int) bool {
	if i <= 0 || i >= len(s) || utf8.RuneStart(s[i]) {
		return true
	}
	for back := 1; back < utf8.UTFMax && back <= i; back++ {
		if utf8.RuneStart(s[i-back]) {
			_, n := utf8.DecodeRuneInString(s[i-back:])
			return n <= back
		}
	}
	return true
}
