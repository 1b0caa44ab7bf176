package md

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// IsPower reports whether raised characters after a text are a power, which is
// written 10^6: a number that follows digits, a bracket, or a word as short as a
// unit. Any other raised number is that of a note.
func IsPower(before, raised string) bool {
	raised = strings.TrimLeft(raised, "+-−")
	if raised == "" || strings.Trim(raised, "0123456789") != "" {
		return false
	}
	const unit = 2 // letters
	r, _ := utf8.DecodeLastRuneInString(before)
	if unicode.IsDigit(r) || r == ')' {
		return true
	}
	letters := 0
	for before != "" && letters <= unit {
		r, size := utf8.DecodeLastRuneInString(before)
		if !unicode.IsLetter(r) {
			break
		}
		letters++
		before = before[:len(before)-size]
	}
	return letters > 0 && letters <= unit
}

// IsIndex reports whether lowered characters after a text would become digits of
// its number, so that they are written 10_2: the base of a number.
func IsIndex(before, lowered string) bool {
	if lowered == "" || strings.Trim(lowered, "0123456789") != "" {
		return false
	}
	r, _ := utf8.DecodeLastRuneInString(before)
	return unicode.IsDigit(r)
}
