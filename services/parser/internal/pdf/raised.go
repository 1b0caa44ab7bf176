package pdf

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"sluice/services/parser/internal/md"
)

// raised finds the powers in a word that is being written: digits that stand
// higher than the letters before them.
type raised struct {
	base   float32 // where the letters stand; 0 = not known
	height float32 // of the letter that stands there
	from   int     // where the raised characters begin in the text; 0 = there are none
}

// next is told of each character, with its box, before it is written.
func (h *raised) next(text *strings.Builder, r rune, y0, y1 float32) {
	if text.Len() == 0 {
		*h = raised{}
	}
	digit := r >= '0' && r <= '9'
	sign := strings.ContainsRune("+-−", r)
	up := h.height > 0 && (digit && y1 < h.base-.3*(y1-y0) && y1-y0 < 1.1*h.height ||
		sign && (y0+y1)/2 < h.base-.62*h.height)
	switch {
	case up && h.from == 0:
		h.from = text.Len()
	case !up && h.from > 0:
		s := h.end(text.String())
		if isSlash(r) {
			s = strings.Replace(s, "^", " ", 1)
		}
		text.Reset()
		text.WriteString(s)
	}
	// Commas and letters with a tail reach below the line.
	if !up && (digit || unicode.IsUpper(r) && r != 'Q' || unicode.IsLower(r) && !strings.ContainsRune("gjpqy", r) || r == ')') {
		h.base, h.height = y1, y1-y0
		if r == ')' {
			h.base, h.height = y1-.2*(y1-y0), .75*(y1-y0)
		} else if !digit && !unicode.IsUpper(r) && !strings.ContainsRune("bdfhklt", r) {
			h.height *= 1.4 // it has no part above
		}
	}
}

// end returns the text, with the mark of a power if it ends in one.
func (h *raised) end(text string) string {
	from := h.from
	h.from = 0
	if from == 0 || from >= len(text) {
		return text
	}
	mark, end := md.Power(text[:from], text[from:])
	return text[:from] + mark + text[from:] + end
}

// raise marks a word as a power of the one that it touches, where they were drawn apart:
// 10, the rest of the line, and 6 above it.
func raise(before, after *word) {
	if after.size < .85*before.size && after.y < before.y-.2*before.size {
		mark, end := md.Power(before.text, after.text)
		after.text = mark + after.text + end
	}
}

// fraction reads 3 1/2 where what seemed to be a power is the numerator of a
// fraction after a number.
func fraction(before, after *word) {
	r, _ := utf8.DecodeRuneInString(after.text)
	if i := strings.LastIndexByte(before.text, '^'); i > 0 && isSlash(r) && abs(before.y-after.y) < .1*after.size && abs(after.x0-before.x1) < .3*after.size {
		before.text = before.text[:i] + " " + before.text[i+1:]
		after.glued = true
	}
}

func isSlash(r rune) bool { return r == '/' || r == '⁄' }
