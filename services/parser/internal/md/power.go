package md

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Power returns what is written around raised characters after a text so that they
// are not read as characters of the line: "^" before a number, as in 10^6, "^(" and
// ")" around a term, as in 2^(n+1). It is nothing around any other raised text: the
// number of a note behind a word, an ordinal (1st), a charge (Ca2+).
func Power(before, raised string) (mark, end string) {
	const unit = 2 // letters
	last, _ := utf8.DecodeLastRuneInString(before)
	number := unicode.IsDigit(last) || last == ')'
	letters := 0
	for before != "" && letters <= unit {
		r, size := utf8.DecodeLastRuneInString(before)
		if !unicode.IsLetter(r) {
			break
		}
		letters++
		before = before[:len(before)-size]
	}
	if !number && (letters == 0 || letters > unit) {
		return "", ""
	}
	switch {
	case powerNumber.MatchString(raised):
		return "^", ""
	case powerTerm.MatchString(raised) && (strings.ContainsAny(raised, "+-−/·×*") || number && raised[0] >= '0' && raised[0] <= '9'):
		return "^(", ")"
	case number && (powerNumbers.MatchString(raised) || powerVariable.MatchString(raised)):
		return "^", ""
	}
	return "", ""
}

var (
	powerNumber = regexp.MustCompile(`^[+\-−]?[0-9]+$`)
	// powerNumbers are decimals, and the numbers of several notes.
	powerNumbers = regexp.MustCompile(`^[+\-−]?[0-9]+(?:[.,][0-9]+)+$`)
	// powerTerm has operators or factors before variables and numbers: n+1, -kt, 2n,
	// 1/2. The sign of a charge has nothing behind it.
	powerTerm = regexp.MustCompile(`^[+\-−]?(?:[0-9]+[a-z]{0,2}|[a-z]{1,2})(?:[+\-−/·×*](?:[0-9]+[a-z]{0,2}|[a-z]{1,2}))*$`)
	// powerVariable leaves out the letters that are marks of notes or end ordinals: 3a, 5e.
	powerVariable = regexp.MustCompile(`^[ijkmnpqxyz]$`)
)

// IsIndex reports whether lowered characters after a text would become digits of
// its number, so that they are written 10_2: the base of a number.
func IsIndex(before, lowered string) bool {
	if lowered == "" || strings.Trim(lowered, "0123456789") != "" {
		return false
	}
	r, _ := utf8.DecodeLastRuneInString(before)
	return unicode.IsDigit(r)
}
