package office

import (
	"strconv"
	"strings"
)

// ListLevels is how deep lists are nested: as deep as in WordprocessingML and
// DrawingML.
const ListLevels = 9

func roman(n int) string {
	if n < 1 || n > 3999 {
		return strconv.Itoa(n)
	}
	var b strings.Builder
	for _, d := range []struct {
		value int
		sign  string
	}{
		{1000, "M"},
		{900, "CM"},
		{500, "D"},
		{400, "CD"},
		{100, "C"},
		{90, "XC"},
		{50, "L"},
		{40, "XL"},
		{10, "X"},
		{9, "IX"},
		{5, "V"},
		{4, "IV"},
		{1, "I"},
	} {
		for n >= d.value {
			b.WriteString(d.sign)
			n -= d.value
		}
	}
	return b.String()
}

// ItemMarker returns the Markdown in front of a list item: the marker, and the
// label where Markdown has no such marker ("a)", "2.1"), which other clauses
// refer to.
func ItemMarker(label string, bullet bool) (marker, prefix string) {
	if bullet || label == "" {
		return "-", ""
	}
	digits := strings.TrimRight(label, ".)")
	if n, err := strconv.Atoi(digits); err == nil && n >= 0 && len(digits) < 10 && len(label)-len(digits) <= 1 {
		return digits + ".", ""
	}
	return "-", label + " "
}
