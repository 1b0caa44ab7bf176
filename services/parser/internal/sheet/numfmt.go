package sheet

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Format is a number format (ECMA-376 18.8.31), compiled for many cells.
//
// It is our own: excelize has the only other complete one in Go, does not export
// it, and does not know the conditions of sections. Whatever a format has that is
// not known here makes the value come out as it is stored, and not sure.
type Format struct {
	general  bool // shows every value as it is
	iso      bool // shows it as a date in ISO 8601
	sections []section
	text     *section // of words; nil: they show as they are
}

// General is the format that shows every value as it is.
var General = &Format{general: true}

// Unsure is the warning of a document in which Number or Text were not sure.
const Unsure = "the number formats of some cells are not known here, or hide them: those show their values as they are stored"

// section is one of the up to four parts of a format.
type section struct {
	tokens []token
	kind   sectionKind
	op     string // of its condition: "<", "<=", "=", "<>", ">=", ">"; "" none
	limit  float64
	unsure bool // it has something that we do not know
	empty  bool // it hides its values
	db     int  // of [DBNum1]: which numerals of East Asia; 0 none
	number digits
	date   clock
}

type sectionKind uint8

const (
	plainSection  sectionKind = iota // words, and perhaps the number as General shows it
	numberSection                    // places for digits
	ratioSection                     // # ?/?
	dateSection
	textSection // @
)

// token is a piece of a section.
type token struct {
	kind tokenKind
	text string // of a literal; of AM/PM both words, apart by a slash
	char byte   // of a place or a letter of dates, in lower case
	n    int    // how many letters
}

type tokenKind uint8

const (
	tokLiteral tokenKind = iota
	tokPad               // the width of a character, or fill
	tokPlace             // 0 # ?
	tokPoint
	tokComma
	tokPercent
	tokExponent // char is the sign
	tokSlash
	tokAt
	tokGeneral
	tokDate
	tokElapsed
	tokHalf     // AM/PM
	tokFraction // the n digits after the point of seconds
	tokDigit    // 1 to 9: of a denominator, else a literal
)

// Parse compiles the code of a format. It never fails: what it does not
// understand shows in what Number says of the values.
func Parse(code string) *Format {
	trimmed := strings.TrimSpace(code)
	if trimmed == "" || trimmed == "@" || strings.EqualFold(trimmed, "general") || strings.EqualFold(trimmed, "standard") {
		return General
	}
	f := &Format{}
	for _, part := range splitSections(code) {
		f.sections = append(f.sections, parseSection(part))
	}
	last := len(f.sections) - 1
	if last == 3 || (last < 3 && f.sections[last].kind == textSection) {
		f.text = &f.sections[last]
		f.sections = f.sections[:last]
	}
	if last > 3 {
		for i := range f.sections {
			f.sections[i].unsure = true
		}
	}
	return f
}

// splitSections cuts a code at its semicolons. At most five parts: no format has more than four.
func splitSections(code string) []string {
	var parts []string
	quoted, bracket, from := false, false, 0
	for i := 0; i < len(code) && len(parts) < 4; i++ {
		switch c := code[i]; {
		case c == '"' && !bracket:
			quoted = !quoted
		case quoted:
		case c == '\\' || c == '_' || c == '*':
			i++
		case c == '[':
			bracket = true
		case c == ']':
			bracket = false
		case c == ';' && !bracket:
			parts = append(parts, code[from:i])
			from = i + 1
		}
	}
	return append(parts, code[from:])
}

func parseSection(code string) section {
	s := section{}
	s.scan(code)
	if len(s.tokens) == 0 && code != "" { // a colour, a condition: for the number as it is
		s.tokens = []token{{kind: tokGeneral}}
	}
	places, dates, ratio := false, false, false
	for i, t := range s.tokens {
		switch t.kind {
		case tokPlace:
			places = true
		case tokDate, tokElapsed, tokHalf:
			dates = true
		case tokSlash:
			ratio = ratio || (places && i+1 < len(s.tokens) && (s.tokens[i+1].kind == tokPlace || s.tokens[i+1].kind == tokDigit))
		case tokAt:
			s.kind = textSection
		}
	}
	s.empty = code == ""
	s.settle(s.db)
	switch {
	case s.kind == textSection:
		s.unsure = s.unsure || places || dates
	case dates:
		s.kind = dateSection
		s.date.parse(&s)
		s.unsure = s.unsure || places
	case ratio:
		s.kind = ratioSection
		s.number.parseRatio(&s)
	case places:
		s.kind = numberSection
		s.number.parse(&s)
	}
	return s
}

// scan cuts a section into its tokens.
func (s *section) scan(code string) {
	literal := func(t string) { s.tokens = append(s.tokens, token{kind: tokLiteral, text: t}) }
	for i := 0; i < len(code); {
		c := code[i]
		lower := c | 0x20
		_, size := utf8.DecodeRuneInString(code[i:])
		rest := code[i:]
		switch {
		case c == '"':
			words, _, closed := strings.Cut(code[i+1:], `"`)
			literal(words)
			if i += len(words) + 2; !closed {
				i = len(code)
			}
		case c == '\\':
			_, size := utf8.DecodeRuneInString(code[i+1:])
			literal(code[i+1 : i+1+size])
			i += 1 + size
		case c == '_' || c == '*':
			_, size := utf8.DecodeRuneInString(code[i+1:])
			s.tokens = append(s.tokens, token{kind: tokPad})
			i += 1 + size
		case c == '[':
			inner, _, closed := strings.Cut(code[i+1:], "]")
			if !closed {
				s.unsure = true
				return
			}
			s.bracket(inner)
			i += len(inner) + 2
		case c == '0' || c == '#' || c == '?':
			if n := s.secondsBefore(); n > 0 && c == '0' { // the digits after the point of seconds
				s.tokens[n].n++
			} else {
				s.tokens = append(s.tokens, token{kind: tokPlace, char: c})
			}
			i++
		case c >= '1' && c <= '9':
			s.tokens = append(s.tokens, token{kind: tokDigit, text: rest[:1]})
			i++
		case (c == '.' || c == ',') && len(rest) > 1 && rest[1] == '0' && s.endsInSeconds():
			s.tokens = append(s.tokens, token{kind: tokFraction})
			i++
		case c == '.':
			s.tokens = append(s.tokens, token{kind: tokPoint, text: "."})
			i++
		case c == ',':
			s.tokens = append(s.tokens, token{kind: tokComma, text: ","})
			i++
		case c == '%':
			s.tokens = append(s.tokens, token{kind: tokPercent, text: "%"})
			i++
		case c == '/':
			s.tokens = append(s.tokens, token{kind: tokSlash, text: "/"})
			i++
		case c == '@':
			s.tokens = append(s.tokens, token{kind: tokAt})
			i++
		case lower == 'e' && len(rest) > 1 && (rest[1] == '+' || rest[1] == '-') && s.hasPlaces(): // else the year
			s.tokens = append(s.tokens, token{kind: tokExponent, char: rest[1]})
			i += 2
		case foldPrefix(rest, "general"):
			s.tokens = append(s.tokens, token{kind: tokGeneral})
			i += len("general")
		case foldPrefix(rest, "am/pm"), foldPrefix(rest, "a/p"):
			words := rest[:3]
			if rest[1] != '/' {
				words = rest[:5]
			}
			s.tokens = append(s.tokens, token{kind: tokHalf, text: words})
			i += len(words)
		case strings.HasPrefix(rest, "上午/下午"), strings.HasPrefix(rest, "午前/午後"), strings.HasPrefix(rest, "오전/오후"):
			s.tokens = append(s.tokens, token{kind: tokHalf, text: rest[:len("上午/下午")]})
			i += len("上午/下午")
		case i == 0 && len(rest) > 1 && lower == 't' && strings.IndexByte("0#?", rest[1]) >= 0: // Thai digits
			s.date.script, s.date.language = thaiDigits, "th"
			i++
		case i == 0 && (foldPrefix(rest, "b1") || foldPrefix(rest, "b2")): // the calendar: of the West, of Arabia
			s.date.foreign = rest[1] == '2'
			i += 2
		case strings.IndexByte("ymdhsegba", lower) >= 0:
			n := 1
			for n < len(rest) && rest[n]|0x20 == lower {
				n++
			}
			s.letters(lower, rest[:n])
			i += n
		default:
			if lower >= 'a' && lower <= 'z' {
				s.unsure = s.unsure || !s.isISOLetter(c)
			}
			literal(rest[:size])
			i += size
		}
	}
}

// letters takes a run of one letter that dates are made of.
func (s *section) letters(lower byte, run string) {
	switch {
	case lower == 'a' && len(run) < 3, lower == 'b' && len(run) != 2 && len(run) != 4:
		s.unsure = true // no format of dates, and letters have to be quoted
	}
	s.tokens = append(s.tokens, token{kind: tokDate, char: lower, n: len(run)})
}

// isISOLetter reports whether an unquoted letter is one of 2026-03-15T12:00:00Z.
func (s *section) isISOLetter(c byte) bool {
	n := len(s.tokens)
	return (c == 'T' || c == 'Z') && n > 0 && s.tokens[n-1].kind == tokDate
}

// secondsBefore returns the token of the digits after the point of seconds, if
// that is the last one.
func (s *section) secondsBefore() int {
	if n := len(s.tokens) - 1; n > 0 && s.tokens[n].kind == tokFraction {
		return n
	}
	return 0
}

func (s *section) hasPlaces() bool {
	for _, t := range s.tokens {
		if t.kind == tokPlace {
			return true
		}
	}
	return false
}

func (s *section) endsInSeconds() bool {
	n := len(s.tokens) - 1
	return n >= 0 && (s.tokens[n].kind == tokDate || s.tokens[n].kind == tokElapsed) && s.tokens[n].char == 's'
}

// bracket takes what stands in brackets: a condition, a colour, elapsed time, a
// currency with its locale.
func (s *section) bracket(inner string) {
	lower := strings.ToLower(strings.TrimSpace(inner))
	switch {
	case lower == "":
		s.unsure = true
	case strings.IndexByte("hms", lower[0]) >= 0 && strings.Trim(lower, lower[:1]) == "":
		s.tokens = append(s.tokens, token{kind: tokElapsed, char: lower[0], n: len(lower)})
	case lower[0] == '$':
		money, locale, found := strings.Cut(strings.TrimSpace(inner)[1:], "-")
		if money != "" {
			s.tokens = append(s.tokens, token{kind: tokLiteral, text: money})
		}
		if found {
			s.date.locale(locale)
		}
	case strings.IndexByte("<>=", lower[0]) >= 0:
		op := lower[:1]
		if len(lower) > 1 && strings.IndexByte(">=", lower[1]) >= 0 {
			op = lower[:2]
		}
		limit, err := strconv.ParseFloat(strings.TrimSpace(lower[len(op):]), 64)
		if err != nil || s.op != "" {
			s.unsure = true
		}
		s.op, s.limit = op, limit
	case strings.HasPrefix(lower, "dbnum"):
		n, err := strconv.Atoi(strings.TrimSpace(lower[len("dbnum"):]))
		s.db, s.unsure = n, s.unsure || err != nil
	default:
		s.unsure = s.unsure || !isStyle(lower)
	}
}

// isStyle reports whether words in brackets change how a value looks, and not
// what it is: colours, and digits of other scripts where no language says which.
func isStyle(lower string) bool {
	for _, w := range []string{"natnum", "color", "colour"} {
		if rest, ok := strings.CutPrefix(lower, w); ok && strings.Trim(rest, " 0123456789") == "" {
			return true
		}
	}
	switch lower {
	case "black", "blue", "cyan", "green", "magenta", "red", "white", "yellow",
		"schwarz", "blau", "grün", "rot", "weiss", "weiß", "gelb": // by Excel in German, through other programs
		return true
	}
	return false
}

func foldPrefix(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func (s *section) holds(v float64) bool {
	switch s.op {
	case "<":
		return v < s.limit
	case "<=":
		return v <= s.limit
	case "=":
		return v == s.limit
	case "<>":
		return v != s.limit
	case ">=":
		return v >= s.limit
	case ">":
		return v > s.limit
	}
	return true
}

// onlyNegative reports whether the section's own condition leaves no other numbers.
func (s *section) onlyNegative() bool {
	return (s.op == "<" && s.limit <= 0) || ((s.op == "<=" || s.op == "=") && s.limit < 0)
}

// pick returns the section that shows v, and whether it shows negative numbers
// alone: such a section says itself how it shows the sign.
func (f *Format) pick(v float64) (s *section, negative bool) {
	all := f.sections
	switch len(all) {
	case 0: // a format of words alone
		return nil, false
	case 1:
		if !all[0].holds(v) {
			return nil, false
		}
		return &all[0], all[0].onlyNegative()
	}
	first := all[0].holds(v)
	if all[0].op == "" {
		first = v > 0 || (v == 0 && len(all) == 2 && all[1].op == "") || (v == 0 && len(all) == 2 && !all[1].holds(v))
	}
	if first {
		return &all[0], all[0].onlyNegative()
	}
	second := all[1].holds(v)
	if all[1].op == "" && len(all) == 3 {
		second = v < 0
	}
	switch {
	case second:
		return &all[1], all[1].onlyNegative() || (all[0].op == "" && all[1].op == "")
	case len(all) == 3:
		return &all[2], false
	}
	return nil, false
}

// Number returns a number as its cell shows it. Where the format has something
// that we do not know, that is the number itself, and sure is false. Dates count
// days from 1900, or from 1904 where date1904 is set.
func (f *Format) Number(v float64, date1904 bool) (text string, sure bool) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return strconv.FormatFloat(v, 'g', -1, 64), true
	}
	switch {
	case f.general:
		return general(v), true
	case f.iso:
		return isoDate(v, date1904), v >= 0 && v < daysToYear10000
	}
	s, negative := f.pick(v)
	switch {
	case s == nil && len(f.sections) == 0:
		return general(v), true
	case s == nil || s.unsure:
		return general(v), false
	case s.empty && v == 0:
		return "", true // formats like 0;-0;;@ are there to hide zeros
	case s.empty:
		return general(v), false // hidden from readers, not from the file
	}
	if !negative {
		text, sure = s.show(v, date1904)
		return s.inNumerals(text, sure)
	}
	text, sure = s.show(-v, date1904)
	// A section that differs in its colour alone leaves the sign to the colour.
	if other, _ := f.pick(-v); sure && other != nil && !other.unsure && other != s {
		if same, _ := other.show(-v, date1904); same == text && strings.ContainsAny(text, "123456789") {
			text = "-" + text
		}
	}
	return s.inNumerals(text, sure)
}

func (s *section) inNumerals(text string, sure bool) (string, bool) {
	if !sure {
		return text, false // as it is stored
	}
	return s.native(text)
}

// show writes a number in a section.
func (s *section) show(v float64, date1904 bool) (string, bool) {
	switch s.kind {
	case dateSection:
		return s.showDate(v, date1904)
	case ratioSection:
		return s.showRatio(v)
	case numberSection:
		return s.showDigits(v), true
	case textSection:
		return general(v), true
	}
	var b strings.Builder
	for _, t := range s.tokens {
		if t.kind == tokGeneral {
			b.WriteString(general(math.Abs(v)))
			if v < 0 {
				return "-" + joined(s.tokens, b.String()), true
			}
			return joined(s.tokens, b.String()), true
		}
	}
	return joined(s.tokens, ""), true
}

// joined writes literals, with number where General stands.
func joined(tokens []token, number string) string {
	var b line
	for _, t := range tokens {
		switch t.kind {
		case tokGeneral:
			b.put(number)
		case tokPad:
			b.pad()
		default:
			b.put(t.text)
		}
	}
	return b.String()
}

// Text returns words as a cell of this format shows them.
func (f *Format) Text(words string) (text string, sure bool) {
	if f.general || f.text == nil || words == "" {
		return words, true
	}
	s := f.text
	if s.kind != textSection || s.unsure {
		return words, false // its words hide those of the cell
	}
	var b strings.Builder
	for _, t := range s.tokens {
		switch t.kind {
		case tokAt:
			b.WriteString(words)
		case tokPad:
		default:
			b.WriteString(unshield(t.text))
		}
	}
	return strings.TrimSpace(b.String()), true
}

// line collects what a cell shows. Padding aligns columns on a screen; in text it
// is a space where two words would touch, and else nothing.
type line struct {
	b      strings.Builder
	last   byte
	padded bool
}

func (l *line) put(s string) {
	if s == "" {
		return
	}
	if l.last == 0 {
		l.b.Grow(24)
	}
	if l.padded && isWordByte(l.last) && isWordByte(s[0]) {
		l.b.WriteByte(' ')
	}
	l.padded = false
	l.b.WriteString(s)
	l.last = s[len(s)-1]
}

func (l *line) pad() { l.padded = true }

func (l *line) String() string {
	s := strings.TrimSpace(l.b.String())
	if strings.Contains(s, "  ") || strings.ContainsAny(s, "\t\n\r\u00a0") {
		return strings.Join(strings.Fields(s), " ")
	}
	return s
}

func isWordByte(c byte) bool {
	return c >= utf8.RuneSelf || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

// general writes a number with up to 15 digits, as a spreadsheet computes.
func general(v float64) string {
	if v == 0 {
		return "0" // also where the sign of zero is set
	}
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

// formatNumber writes one number in a format. What is done often keeps the Format.
func formatNumber(v float64, code string, date1904 bool) string {
	text, _ := Parse(code).Number(v, date1904)
	return text
}

// FormatCached formats a number that a chart caches, if it is one.
func FormatCached(s, code string) string {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return s
	}
	return formatNumber(v, code, false)
}
