package words

import (
	"unicode"
	"unicode/utf8"
)

// Splitter finds the words of texts. It is not safe for concurrent use; its zero
// value is ready.
type Splitter struct {
	// LexV1 keeps the rules that the vector space lex-v1 was made with: of numbers
	// only decimal digits are in words, Hangul and the marks of half-width Katakana
	// are letters.
	LexV1 bool
	// Elides: an apostrophe parts words (l'eau, dell'arte). Elsewhere it is a part of
	// one (don't).
	Elides bool
	// Dotless: the small letter of I is ı. An ending is told by the vowels before it.
	Dotless bool

	token []byte
	ascii bool // token is
	from  int  // where it begins in the text
}

// unspaced holds the scripts whose words are not parted by spaces. Korean writes
// particles and endings without one: a noun alone would not be found in its sentence.
var unspaced = []*unicode.RangeTable{
	unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul,
	unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar,
}

func isUnspaced(r rune) bool {
	const thai, katakanaLong = 0x0E01, 'ー'
	return r >= thai && (r == katakanaLong || isHalfwidth(r) || unicode.In(r, unspaced...))
}

// isHalfwidth reports whether a rune is a mark of half-width Katakana, which Unicode
// counts as a letter of no script.
func isHalfwidth(r rune) bool { return r == 'ｰ' || r == 'ﾞ' || r == 'ﾟ' }

// isRun reports whether a rune is one of a script without spaces.
func (s *Splitter) isRun(r rune) bool {
	return isUnspaced(r) && !(s.LexV1 && (isHalfwidth(r) || unicode.Is(unicode.Hangul, r)))
}

// lower maps ASCII letters and digits to lower case, everything else to 0.
var lower = func() (t [utf8.RuneSelf]byte) {
	for c := range t {
		switch b := byte(c); {
		case '0' <= b && b <= '9', 'a' <= b && b <= 'z':
			t[c] = b
		case 'A' <= b && b <= 'Z':
			t[c] = b + 'a' - 'A'
		}
	}
	return t
}()

// Split calls word for each word of text, in lower case, and run for each run of a
// script that writes no spaces. at is where it begins. The token is valid during the
// call only. An apostrophe inside of a word is left out, unless it parts words.
func (s *Splitter) Split(text string, word func(token []byte, ascii bool, at int), run func(run string, at int)) {
	s.token, s.ascii = s.token[:0], true
	end := func() {
		if len(s.token) > 0 {
			word(s.token, s.ascii, s.from)
			s.token, s.ascii = s.token[:0], true
			// One token of a megabyte must not be paid for until the process ends.
			if cap(s.token) > 1<<16 {
				s.token = nil
			}
		}
	}
	for i := 0; i < len(text); {
		if b := text[i]; b < utf8.RuneSelf {
			i++
			if l := lower[b]; l != 0 {
				if len(s.token) == 0 {
					s.from = i - 1
				}
				if b == 'I' && s.Dotless {
					s.token, s.ascii = append(s.token, "ı"...), false
				} else {
					s.token = append(s.token, l)
				}
			} else if b != '\'' || s.Elides || len(s.token) == 0 || i == len(text) || !isLetter(text[i:]) {
				end()
			}
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case s.isRun(r):
			end()
			size = s.runEnd(text[i:])
			run(text[i:i+size], i)
		case unicode.IsLetter(r), unicode.IsDigit(r), unicode.IsNumber(r) && !s.LexV1, unicode.IsMark(r) && len(s.token) > 0:
			if len(s.token) == 0 {
				s.from = i
			}
			s.token = utf8.AppendRune(s.token, unicode.ToLower(r))
			s.ascii = false
		case r == '’' && !s.Elides && len(s.token) > 0 && isLetter(text[i+size:]):
		default:
			end()
		}
		i += size
	}
	end()
}

func isLetter(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return unicode.IsLetter(r)
}

// runEnd returns the bytes of the unspaced run that text begins with.
func (s *Splitter) runEnd(text string) int {
	for i, r := range text {
		if i > 0 && !s.isRun(r) && !unicode.IsMark(r) {
			return i
		}
	}
	return len(text)
}

// Pairs calls do for every two neighbouring runes of a run. One rune alone counts as
// it is.
func Pairs(run string, do func(pair string)) {
	previous, at := -1, 0
	for at < len(run) {
		_, size := utf8.DecodeRuneInString(run[at:])
		if previous >= 0 {
			do(run[previous : at+size])
		} else if size == len(run) {
			do(run)
		}
		previous, at = at, at+size
	}
}
