package lexical

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// lower maps ASCII letters and digits to lower case, everything else to 0.
var lower = func() (t [utf8.RuneSelf]byte) {
	for c := byte('0'); c <= '9'; c++ {
		t[c] = c
	}
	for c := byte('a'); c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = c, c
	}
	return t
}()

// unspaced holds the scripts that put no spaces between words.
var unspaced = []*unicode.RangeTable{
	unicode.Han, unicode.Hiragana, unicode.Katakana,
	unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar,
}

const (
	firstUnspaced = 0x0E01 // Thai; what is below needs no lookup
	longVowelMark = 'ー'    // Katakana in use, but of no script of its own
)

func isUnspaced(r rune) bool {
	return r >= firstUnspaced && (r == longVowelMark || unicode.In(r, unspaced...))
}

// words counts the stems of text.
func (c *counter) words(text string) {
	c.token = c.token[:0]
	for i := 0; i < len(text); {
		if b := text[i]; b < utf8.RuneSelf {
			i++
			switch {
			case lower[b] != 0:
				c.token = append(c.token, lower[b])
			case b == '\'' && len(c.token) > 0 && startsWithLetter(text[i:]):
			default:
				c.endToken()
			}
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case isUnspaced(r):
			c.endToken()
			size = c.pairs(text[i:])
		case unicode.IsLetter(r), unicode.IsDigit(r), len(c.token) > 0 && unicode.IsMark(r):
			c.token = utf8.AppendRune(c.token, unicode.ToLower(r))
		case r == '’' && len(c.token) > 0 && startsWithLetter(text[i+size:]):
		default:
			c.endToken()
		}
		i += size
	}
	c.endToken()
}

func startsWithLetter(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return unicode.IsLetter(r)
}

// pairs counts every two neighbouring runes of the unspaced run that text
// begins with, and returns the run's bytes. One rune alone counts as it is.
func (c *counter) pairs(text string) int {
	previous, end, runes := 0, 0, 0
	for end < len(text) {
		r, size := utf8.DecodeRuneInString(text[end:])
		if runes > 0 && !isUnspaced(r) && !unicode.IsMark(r) {
			break
		}
		start := end
		end += size
		if runes > 0 {
			c.token = append(c.token[:0], text[previous:end]...)
			c.endToken()
		}
		previous = start
		runes++
	}
	if runes == 1 {
		c.token = append(c.token[:0], text[:end]...)
		c.endToken()
	}
	return end
}

// endToken counts the stem of the token in hand, unless it is a stopword.
func (c *counter) endToken() {
	if len(c.token) == 0 {
		return
	}
	if !c.stopword(c.token) {
		c.add("", stem(c.token), true)
	}
	c.token = c.token[:0]
}

func (c *counter) stopword(token []byte) bool {
	if len(token) > c.tables.longest {
		return false
	}
	_, found := c.tables.stop[string(token)]
	return found
}

// stem cuts English endings off the lower-case token, in place, so that the
// forms of a word fall together. The result need not be a word.
func stem(w []byte) []byte {
	if len(w) <= 3 || !isASCII(w) {
		return w
	}
	w = cutPlural(w)
	w = cutParticiple(w)
	w = cutSuffix(w)
	if n := len(w); n > 4 && w[n-1] == 'e' {
		w = w[:n-1]
	}
	return w
}

func isASCII(w []byte) bool {
	for _, b := range w {
		if b >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func ends(w []byte, suffix string) bool {
	return len(w) >= len(suffix) && string(w[len(w)-len(suffix):]) == suffix
}

func cutPlural(w []byte) []byte {
	n := len(w)
	if w[n-1] != 's' {
		return w
	}
	switch {
	case n > 4 && ends(w, "ies"):
		return append(w[:n-3], 'y')
	case ends(w, "sses"):
		return w[:n-2]
	case n > 4 && (ends(w, "xes") || ends(w, "ches") || ends(w, "shes") || ends(w, "zes")):
		return w[:n-2]
	case ends(w, "ss"), ends(w, "us"), ends(w, "is"):
		return w
	}
	return w[:n-1]
}

func cutParticiple(w []byte) []byte {
	n := len(w)
	var rest []byte
	switch {
	case n > 5 && ends(w, "ing"):
		rest = w[:n-3]
	case n > 4 && ends(w, "ed"):
		rest = w[:n-2]
	default:
		return w
	}
	if !bytes.ContainsAny(rest, "aeiouy") {
		return w
	}
	if n := len(rest); n > 3 && rest[n-1] == rest[n-2] {
		switch b := rest[n-1]; {
		case b < 'a': // a digit
		case b == 'l', b == 's', b == 'z': // "fall", "pass", "buzz"
		default:
			rest = rest[:n-1]
		}
	}
	return rest
}

// suffixes are tried in order; the first that fits is replaced.
var suffixes = [...]struct{ from, to string }{
	{"ization", "ize"},
	{"ational", "ate"},
	{"fulness", "ful"},
	{"iveness", "ive"},
	{"ation", "at"},
	{"ition", "it"},
	{"ment", ""},
	{"ness", ""},
	{"ally", "al"},
	{"ly", ""},
	{"ity", ""},
}

func cutSuffix(w []byte) []byte {
	n := len(w)
	switch w[n-1] { // no other letter ends a suffix
	case 'n', 'l', 's', 't', 'y':
	default:
		return w
	}
	for _, s := range suffixes {
		if before := n - len(s.from); before >= 4 && ends(w, s.from) {
			return append(w[:before], s.to...)
		}
	}
	return w
}
