package sheet

import (
	"math"
	"strconv"
	"strings"
)

// digits is what a section of numbers says about them.
type digits struct {
	whole, decimals int // places before and after the point
	exponent        int // places after E
	scientific      bool
	group           bool // commas between thousands
	scale           int  // powers of ten to multiply by: 2 for each %, -3 for each comma at the end
	divisor         int  // of a ratio: 0 as it comes out
	most            int  // the largest divisor that fits
	parts           bool // a ratio after whole numbers
}

func (d *digits) parse(s *section) {
	points := 0
	kept := s.tokens[:0:0]
	for i, t := range s.tokens {
		switch t.kind {
		case tokPlace:
			switch {
			case d.scientific:
				d.exponent++
			case points > 0:
				d.decimals++
			default:
				d.whole++
			}
		case tokPoint:
			if points++; points > 1 || d.scientific {
				s.unsure = true
			}
		case tokPercent:
			d.scale += 2
		case tokExponent:
			s.unsure = s.unsure || d.scientific
			d.scientific = true
		case tokDigit:
			t.kind = tokLiteral
		case tokComma:
			next := i + 1
			for next < len(s.tokens) && s.tokens[next].kind == tokComma {
				next++
			}
			between := next < len(s.tokens) && s.tokens[next].kind == tokPlace
			switch {
			case d.whole+d.decimals == 0:
				t = token{kind: tokLiteral, text: ","}
			case between && points > 0, d.scientific:
				s.unsure = true // no program writes that; some mean a decimal comma
			case between:
				d.group = true
				continue
			default:
				d.scale -= 3
				continue
			}
		case tokGeneral, tokAt:
			s.unsure = true
		}
		kept = append(kept, t)
	}
	s.tokens = kept
	const most = 64 // digits: no number of a spreadsheet has so many
	s.unsure = s.unsure || d.decimals > most || d.whole > most || d.exponent > 8 || d.scale > 64 || d.scale < -64
}

// decimal is |v| as its digits: 0.d1d2d3… times ten to the exp.
type decimal struct {
	digits string // without zeros at its ends; "" is zero
	exp    int
}

// decimalOf returns the digits of a number: all of a whole number, 15 of others,
// because what spreadsheets compute has noise behind them.
func decimalOf(v float64) decimal {
	v = math.Abs(v)
	s := strconv.FormatFloat(v, 'e', -1, 64)
	mantissa, exponent, _ := strings.Cut(s, "e")
	if len(mantissa) > 16 && v != math.Trunc(v) { // with the point
		mantissa, exponent, _ = strings.Cut(strconv.FormatFloat(v, 'e', 14, 64), "e")
	}
	exp, _ := strconv.Atoi(exponent) // strconv wrote it
	d := strings.TrimRight(strings.Replace(mantissa, ".", "", 1), "0")
	if d == "" {
		return decimal{}
	}
	return decimal{d, exp + 1}
}

// round cuts a number after so many decimals, half up as spreadsheets do, and
// returns what stands before and after the point.
func (d decimal) round(decimals int) (whole, part string) {
	all := d.digits
	if d.exp < 0 {
		all = strings.Repeat("0", min(-d.exp, decimals+1)) + all
	} else if d.exp > len(all) {
		all += strings.Repeat("0", d.exp-len(all))
	}
	before := max(d.exp, 0)
	keep := before + decimals
	up := false
	if keep < len(all) {
		up = all[keep] >= '5'
		all = all[:keep]
	}
	b := []byte(all + strings.Repeat("0", keep-len(all)))
	for i := len(b) - 1; up && i >= 0; i-- {
		if b[i]++; b[i] > '9' {
			b[i] = '0'
		} else {
			up = false
		}
	}
	if up {
		b = append([]byte{'1'}, b...)
		before++
	}
	return strings.TrimLeft(string(b[:before]), "0"), string(b[before:])
}

// showDigits writes a number into the places of its section.
func (s *section) showDigits(v float64) string {
	d := &s.number
	n := decimalOf(v)
	exponent := 0
	if n.digits != "" {
		n.exp += d.scale
		if d.scientific {
			step := max(d.whole, 1)
			for range 2 { // rounding may carry into one more digit
				exponent += floorDiv(n.exp-1, step) * step
				n.exp -= floorDiv(n.exp-1, step) * step
				whole, _ := n.round(d.decimals)
				if len(whole) <= step {
					break
				}
				n = decimal{"1", len(whole)}
			}
		}
	}
	whole, part := n.round(d.decimals)
	negative := v < 0 && (whole != "" || strings.Trim(part, "0") != "")
	var b line
	if negative {
		b.put("-") // before the currency
	}
	significant := len(strings.TrimRight(part, "0"))
	shown := significant > 0 || d.decimals == 0
	at := 0 // places of the whole number so far
	after, power := 0, -1
	inPart := false
	for _, t := range s.tokens {
		switch t.kind {
		case tokPlace:
			switch {
			case power >= 0:
				if power == 0 {
					b.put(leadingZeros(strconv.Itoa(abs(exponent)), d.exponent))
				}
				power++
			case inPart:
				switch {
				case after < significant || t.char == '0':
					b.put(part[after : after+1])
				case t.char == '?':
					b.put(" ")
				}
				after++
			default:
				b.put(d.wholePlace(whole, at, t.char))
				at++
			}
		case tokPoint:
			if d.whole == 0 && whole != "" {
				b.put(d.wholePlace(whole, 0, '#'))
			}
			inPart = true
			if !shown {
				shown = hasZeroAfter(s.tokens)
			}
			if shown {
				b.put(".")
			}
		case tokExponent:
			power = 0
			b.put("E")
			if exponent < 0 {
				b.put("-")
			} else if t.char == '+' {
				b.put("+")
			}
		case tokPercent:
			b.put("%")
		case tokPad:
			b.pad()
		default:
			b.put(t.text)
		}
	}
	if text := b.String(); text != "" {
		return text
	}
	return "0" // a format of # alone shows nothing of zero
}

// hasZeroAfter reports whether a digit stands after the point whatever the number is.
func hasZeroAfter(tokens []token) bool {
	point := false
	for _, t := range tokens {
		point = point || t.kind == tokPoint
		if t.kind == tokExponent {
			return false
		}
		if point && t.kind == tokPlace && t.char == '0' {
			return true
		}
	}
	return false
}

// wholePlace returns the digits in the at-th place before the point: all that
// have no place of their own in the first.
func (d *digits) wholePlace(whole string, at int, place byte) string {
	places := max(d.whole, 1)
	right := places - at - 1 // places to the right of this one
	from, to := len(whole)-1-right, len(whole)-right
	if at == 0 {
		from = min(from, 0)
	}
	comma := func(right int) string {
		if d.group && right > 0 && right%3 == 0 {
			return ","
		}
		return ""
	}
	if to <= 0 {
		switch place {
		case '0':
			return "0" + comma(right)
		case '?':
			return " "
		}
		return ""
	}
	if from < 0 {
		from = 0
	}
	var b strings.Builder
	for i := from; i < to; i++ {
		b.WriteByte(whole[i])
		b.WriteString(comma(len(whole) - 1 - i))
	}
	return b.String()
}

// parseRatio reads a section with a stroke of division.
func (d *digits) parseRatio(s *section) {
	slash := -1
	for i, t := range s.tokens {
		switch t.kind {
		case tokSlash:
			if slash >= 0 {
				s.unsure = true // 00/00/0000 is no fraction: see below
			}
			slash = i
		case tokPoint, tokComma, tokPercent, tokExponent, tokGeneral, tokAt:
			s.unsure = true
		}
	}
	if s.unsure {
		d.codes(s)
		return
	}
	// The numerator is the run of places before the stroke; a run apart from it is the whole number.
	from := slash
	for from > 0 && s.tokens[from-1].kind == tokPlace {
		from--
	}
	to := slash + 1
	divisor := ""
	for to < len(s.tokens) && (s.tokens[to].kind == tokPlace || s.tokens[to].kind == tokDigit) {
		if t := s.tokens[to]; t.kind == tokDigit {
			divisor += t.text
		} else {
			divisor += string(t.char)
		}
		to++
	}
	if strings.ContainsAny(divisor, "123456789") {
		n, err := strconv.Atoi(divisor)
		s.unsure = s.unsure || err != nil || len(divisor) > 6
		d.divisor = n
	}
	d.most = int(math.Pow10(min(len(divisor), 6))) - 1
	kept := s.tokens[:0:0]
	for i, t := range s.tokens {
		switch {
		case i == from:
			kept = append(kept, token{kind: tokSlash})
		case i > from && i < to:
		case t.kind == tokPlace:
			d.whole++
			d.parts = true
			kept = append(kept, t)
		case t.kind == tokDigit:
			kept = append(kept, token{kind: tokLiteral, text: t.text})
		default:
			kept = append(kept, t)
		}
	}
	s.tokens = kept
}

// codes makes a section with several strokes, such as 00/00/0000, one of digits
// with strokes between them.
func (d *digits) codes(s *section) {
	for i, t := range s.tokens {
		switch t.kind {
		case tokSlash:
			s.tokens[i].kind = tokLiteral
		case tokPlace, tokLiteral, tokPad:
		default:
			return
		}
	}
	s.unsure, s.kind = false, numberSection
	d.parse(s)
}

// showRatio writes a number as a fraction.
func (s *section) showRatio(v float64) (string, bool) {
	d := &s.number
	a := math.Abs(v)
	if a >= 1e12 {
		return general(v), false
	}
	whole, part := 0.0, a
	if d.parts {
		whole, part = math.Modf(a)
	}
	over, under := 0, d.divisor
	if under > 0 {
		f := math.Round(part * float64(under))
		if f > 1e15 {
			return general(v), false
		}
		over = int(f)
	} else {
		over, under = nearestRatio(part, max(d.most, 1))
	}
	if d.parts && over == under {
		whole, over = whole+1, 0
	}
	number := strconv.FormatFloat(whole, 'f', 0, 64)
	var b line
	if v < 0 && (whole > 0 || over > 0) {
		b.put("-")
	}
	at := 0
	for _, t := range s.tokens {
		switch t.kind {
		case tokPlace:
			if at == 0 && (whole > 0 || over == 0 || t.char == '0') {
				b.put(number)
			}
			at++
		case tokSlash:
			if over > 0 || !d.parts {
				if last := b.b.Len(); last > 0 && isWordByte(b.last) {
					b.put(" ")
				}
				b.put(strconv.Itoa(over) + "/" + strconv.Itoa(under))
			}
		case tokPad:
			b.pad()
		default:
			b.put(t.text)
		}
	}
	return b.String(), true
}

// nearestRatio returns the fraction that is nearest to v with a divisor of at
// most so much: the convergents of its continued fraction, and between the last two.
func nearestRatio(v float64, most int) (over, under int) {
	p0, q0, p1, q1 := 0, 1, 1, 0
	x := v
	for range 64 {
		whole := math.Floor(x)
		if whole > 1e15 {
			break
		}
		a := int(whole)
		if q1 > 0 && a > (most-q0)/q1 {
			a = (most - q0) / q1
			if p, q := a*p1+p0, a*q1+q0; q > 0 && math.Abs(float64(p)/float64(q)-v) < math.Abs(float64(p1)/float64(q1)-v) {
				return p, q
			}
			break
		}
		p0, q0, p1, q1 = p1, q1, a*p1+p0, a*q1+q0
		part := x - whole
		if part < 1e-11 {
			break
		}
		x = 1 / part
	}
	return p1, max(q1, 1)
}

func leadingZeros(s string, width int) string {
	return strings.Repeat("0", max(width-len(s), 0)) + s
}

func floorDiv(a, b int) int {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func abs(n int) int { return max(n, -n) }
