package sheet

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// BuiltinFormats are the number formats that spreadsheets refer to by number
// (MS-XLS 2.4.126, ECMA-376 18.8.30). Dates that follow the reader's locale are
// written as in ISO 8601, which reads the same everywhere.
var BuiltinFormats = map[int]string{
	1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 5: "#,##0", 6: "#,##0", 7: "#,##0.00", 8: "#,##0.00", 9: "0%", 10: "0.00%",
	11: "0.00E+00", 14: "yyyy-mm-dd", 15: "d-mmm-yy", 16: "d-mmm", 17: "mmm-yy", 18: "h:mm AM/PM", 19: "h:mm:ss AM/PM",
	20: "h:mm", 21: "h:mm:ss", 22: "yyyy-mm-dd h:mm", 37: "#,##0", 38: "#,##0", 39: "#,##0.00", 40: "#,##0.00",
	45: "mm:ss", 46: "[h]:mm:ss", 47: "mm:ss.0", 48: "0.0E+0", 49: "@",
}

// FormatNumber writes a number as a cell shows it, as far as text can: dates
// and times, per cent, fixed decimals, thousands, the words around them. What
// a format does beyond that (fractions, colours, fill) is left out. Date serials
// count days from 1900, or from 1904 where date1904 is set.
func FormatNumber(v float64, code string, date1904 bool) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	code, negative := section(code, v)
	if code == "" || code == "@" || strings.EqualFold(code, "general") {
		return general(v)
	}
	tokens, isDate := scanFormat(code)
	if isDate {
		if s, ok := formatDate(v, tokens, date1904); ok {
			return s
		}
		return general(v)
	}
	if negative {
		v = -v // a section of its own says how it shows the sign
	}
	return formatDigits(v, tokens)
}

// section picks the part of a format that is for numbers like v.
func section(code string, v float64) (string, bool) {
	var parts []string
	quoted, from := false, 0
	for i := 0; i < len(code); i++ {
		switch {
		case code[i] == '"':
			quoted = !quoted
		case code[i] == '\\':
			i++
		case code[i] == ';' && !quoted:
			parts = append(parts, code[from:i])
			from = i + 1
		}
	}
	parts = append(parts, code[from:])
	switch {
	case v < 0 && len(parts) > 1 && parts[1] != "":
		return parts[1], true
	case v == 0 && len(parts) > 2 && parts[2] != "":
		return parts[2], false
	}
	return parts[0], false
}

// formatToken is a literal, or a run of one format letter.
type formatToken struct {
	literal string
	letter  byte // lower case; 0 for a literal
	count   int
	elapsed bool // [h]: hours beyond a day
}

func scanFormat(code string) (tokens []formatToken, isDate bool) {
	literal := func(s string) { tokens = append(tokens, formatToken{literal: s}) }
	for i := 0; i < len(code); {
		c := code[i]
		lower := c | 0x20
		switch {
		case c == '"':
			end := strings.IndexByte(code[i+1:], '"')
			if end < 0 {
				end = len(code) - i - 1
			}
			literal(code[i+1 : i+1+end])
			i = min(i+end+2, len(code))
		case c == '\\' && i+1 < len(code):
			literal(code[i+1 : i+2])
			i += 2
		case c == '_': // the width of a character
			i += 2
		case c == '*': // fill
			i += 2
		case c == '[':
			end := strings.IndexByte(code[i:], ']')
			if end < 0 {
				return tokens, isDate
			}
			inner := strings.ToLower(code[i+1 : i+end])
			if inner != "" && strings.Trim(inner, string(inner[0])) == "" && strings.IndexByte("hms", inner[0]) >= 0 {
				tokens = append(tokens, formatToken{letter: inner[0], count: len(inner), elapsed: true})
				isDate = true
			} else if money, found := strings.CutPrefix(inner, "$"); found {
				money, _, _ = strings.Cut(money, "-")
				literal(strings.ToUpper(money))
			}
			i += end + 1
		case len(code) >= i+5 && strings.EqualFold(code[i:i+5], "am/pm"):
			tokens = append(tokens, formatToken{letter: 'a', count: 1})
			i, isDate = i+5, true
		case strings.IndexByte("ymdhs", lower) >= 0:
			j := i
			for j < len(code) && code[j]|0x20 == lower {
				j++
			}
			tokens = append(tokens, formatToken{letter: lower, count: j - i})
			i, isDate = j, true
		case strings.IndexByte("0#?.,%", c) >= 0 || ((c == 'E' || c == 'e') && i+1 < len(code) && (code[i+1] == '+' || code[i+1] == '-')):
			tokens = append(tokens, formatToken{letter: c, count: 1})
			i++
		default:
			literal(code[i : i+1])
			i++
		}
	}
	return tokens, isDate
}

// serialTime returns the instant of a date serial. Serial 60 is 29 February
// 1900, which never was: days before it are one off, as in Lotus 1-2-3.
func serialTime(v float64, date1904 bool) (time.Time, bool) {
	const lastDay = 2958466 // 1 January 10000
	if v < 0 || v >= lastDay {
		return time.Time{}, false
	}
	epoch := time.Date(1899, 12, 30, 0, 0, 0, 0, time.UTC)
	if date1904 {
		epoch = time.Date(1904, 1, 1, 0, 0, 0, 0, time.UTC)
	} else if v < 60 {
		epoch = epoch.AddDate(0, 0, 1)
	}
	days, part := math.Modf(v)
	ms := math.Round(part * 86400e3)
	return epoch.AddDate(0, 0, int(days)).Add(time.Duration(ms) * time.Millisecond), true
}

func formatDate(v float64, tokens []formatToken, date1904 bool) (string, bool) {
	t, ok := serialTime(v, date1904)
	if !ok {
		return "", false
	}
	half, fraction := false, false
	for i, k := range tokens {
		half = half || k.letter == 'a'
		fraction = fraction || (k.letter == '.' && i+1 < len(tokens) && tokens[i+1].letter == '0')
	}
	if !fraction {
		t = t.Round(time.Second)
	}
	var b strings.Builder
	for i, k := range tokens {
		b.WriteString(k.literal)
		switch k.letter {
		case 'y':
			if k.count <= 2 {
				b.WriteString(t.Format("06"))
			} else {
				b.WriteString(t.Format("2006"))
			}
		case 'm':
			if minutes(tokens, i) {
				n := t.Minute()
				if k.elapsed {
					n = int(v * 24 * 60)
				}
				b.WriteString(padded(n, k.count))
				break
			}
			switch k.count {
			case 1, 2:
				b.WriteString(padded(int(t.Month()), k.count))
			case 3:
				b.WriteString(t.Format("Jan"))
			case 5:
				b.WriteString(t.Format("Jan")[:1])
			default:
				b.WriteString(t.Format("January"))
			}
		case 'd':
			switch k.count {
			case 1, 2:
				b.WriteString(padded(t.Day(), k.count))
			case 3:
				b.WriteString(t.Format("Mon"))
			default:
				b.WriteString(t.Format("Monday"))
			}
		case 'h':
			n := t.Hour()
			if k.elapsed {
				n = int(v*24 + 1e-9)
			} else if half {
				n = (n+11)%12 + 1
			}
			b.WriteString(padded(n, k.count))
		case 's':
			n := t.Second()
			if k.elapsed {
				n = int(v*86400 + 1e-6)
			}
			b.WriteString(padded(n, k.count))
		case 'a':
			b.WriteString(t.Format("PM"))
		case '.':
			if fraction {
				b.WriteByte('.')
			}
		case '0':
			b.WriteString(strconv.Itoa(t.Nanosecond() / 100e6))
		case ',', '%', '#', '?':
			b.WriteByte(k.letter)
		}
	}
	return strings.TrimSpace(b.String()), true
}

// minutes reports whether the m at i stands beside hours or seconds.
func minutes(tokens []formatToken, i int) bool {
	if tokens[i].elapsed {
		return true
	}
	for j := i - 1; j >= 0; j-- {
		if c := tokens[j].letter; c != 0 {
			if c == 'h' {
				return true
			}
			break
		}
	}
	for j := i + 1; j < len(tokens); j++ {
		if c := tokens[j].letter; c != 0 {
			return c == 's'
		}
	}
	return false
}

func padded(n, width int) string {
	s := strconv.Itoa(n)
	if width == 2 && len(s) < 2 {
		return "0" + s
	}
	return s
}

// formatDigits writes a number with the decimals and separators of its format.
func formatDigits(v float64, tokens []formatToken) string {
	first, last := -1, -1
	decimals, whole, point := 0, 0, false
	exponent, thousands := false, false
	for i, k := range tokens {
		switch k.letter {
		case '0', '#', '?':
			if first < 0 {
				first = i
			}
			last = i
			switch {
			case exponent:
			case point && k.letter == '0':
				decimals++
			case !point && k.letter == '0':
				whole++
			}
		case '.':
			point = true
			last = max(last, i)
		case 'E', 'e':
			exponent = true
		case '%':
			v *= 100
		case ',':
			// Between digits: thousands. After the last one: divide.
			if i+1 < len(tokens) && strings.IndexByte("0#?", tokens[i+1].letter) >= 0 && tokens[i+1].letter != 0 {
				thousands = true
			} else if first >= 0 {
				v /= 1000
			}
		}
	}
	var digits string
	switch {
	case first < 0:
	case exponent:
		digits = strconv.FormatFloat(v, 'E', min(decimals, 30), 64)
	default:
		most := decimals
		for i := first; i <= last; i++ { // optional decimals: as many as there are
			if c := tokens[i].letter; point && (c == '#' || c == '?') && afterPoint(tokens, i) {
				most++
			}
		}
		digits = strconv.FormatFloat(halfUp(v, most), 'f', min(most, 30), 64)
		if most > decimals {
			cut := len(digits) - most + decimals
			kept := strings.TrimRight(digits[cut:], "0")
			digits = strings.TrimSuffix(digits[:cut]+kept, ".")
		}
		if thousands {
			digits = grouped(digits)
		}
		if unsigned := strings.TrimLeft(digits, "-"); unsigned != "" {
			integer, _, _ := strings.Cut(unsigned, ".")
			if missing := min(whole, 32) - len(integer); missing > 0 {
				digits = digits[:len(digits)-len(unsigned)] + strings.Repeat("0", missing) + unsigned
			}
		}
	}
	var b strings.Builder
	if rest, negative := strings.CutPrefix(digits, "-"); negative {
		b.WriteByte('-') // before the currency
		digits = rest
	}
	for i, k := range tokens {
		if i == first {
			b.WriteString(digits)
		}
		if k.letter == 0 && (i < first || i > last || first < 0) {
			b.WriteString(k.literal)
		}
		if k.letter == '%' {
			b.WriteByte('%')
		}
	}
	if s := strings.TrimSpace(b.String()); s != "" {
		return s
	}
	return general(v)
}

// halfUp rounds as spreadsheets do, away from zero where it is even, and not
// as strconv does, to the even digit.
func halfUp(v float64, decimals int) float64 {
	scale := math.Pow10(min(decimals, 15))
	if s := v * scale; math.Abs(s) < 1e15 {
		return math.Round(s) / scale
	}
	return v
}

func afterPoint(tokens []formatToken, i int) bool {
	for ; i >= 0; i-- {
		if tokens[i].letter == '.' {
			return true
		}
	}
	return false
}

// grouped puts commas between the thousands.
func grouped(s string) string {
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	whole, rest, point := strings.Cut(s, ".")
	var b strings.Builder
	for i, c := range []byte(whole) {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteByte(c)
	}
	if point {
		return sign + b.String() + "." + rest
	}
	return sign + b.String()
}

// general writes a number with up to 15 digits, as a spreadsheet computes.
func general(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	s := strconv.FormatFloat(v, 'g', 15, 64)
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		v = f
	}
	if a := math.Abs(v); a >= 1e-5 && a < 1e15 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'G', -1, 64)
}

// FormatCached formats a number that a chart caches, if it is one.
func FormatCached(s, code string) string {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return s
	}
	return FormatNumber(v, code, false)
}
