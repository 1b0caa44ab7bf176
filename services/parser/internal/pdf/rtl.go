package pdf

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/klippa-app/go-pdfium/requests"
	"github.com/klippa-app/go-pdfium/responses"
)

// Arabic and Hebrew. Some programs draw the glyphs of a line from left to
// right, as they are seen, and some from right to left, as they are read;
// pdfium takes all lines for the first kind. So the order in which glyphs come
// says nothing: where they stand does. What is seen becomes what is read by the
// rules of the Unicode bidirectional algorithm (UAX #9), the other way round.

// pageChar is a character as pdfium gives it.
type pageChar = responses.GetPageTextStructuredChar

// step is one step through the characters of a page in reading order.
type step struct {
	char   int  // index into the page's characters; -1 = a space
	r      rune // what to read in place of the character; 0 = what it says
	placed bool // order and spaces were found from where the glyphs stand
	left   bool // it is in a line of a page of the other kind that is read from the left
}

func isRTLRune(r rune) bool {
	switch {
	case r < 0x590:
		return false
	case r <= 0x8ff: // Hebrew, Arabic, Syriac, Thaana, N'Ko and what extends them
		return unicode.IsLetter(r)
	case r >= 0xfb1d && r <= 0xfdff, r >= 0xfe70 && r <= 0xfefc: // presentation forms
		return unicode.IsLetter(r)
	default:
		return r >= 0x10800 && r <= 0x10fff || r >= 0x1e800 && r <= 0x1efff
	}
}

func isLTRRune(r rune) bool { return unicode.IsLetter(r) && !isRTLRune(r) }

func runeOf(c *pageChar) rune {
	r, _ := utf8.DecodeRuneInString(c.Text)
	return r
}

// readsLeft reports whether a page is read from right to left: what is written
// in Arabic or Hebrew has many words in Latin letters in it, the other way round
// that is rare.
func readsLeft(chars []*pageChar) (left, any bool) {
	var rtl, ltr int
	for _, c := range chars {
		switch r := runeOf(c); {
		case r < 0x80:
			if r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
				ltr++
			}
		case isRTLRune(r):
			rtl++
		case unicode.IsLetter(r):
			ltr++
		}
	}
	return 2*rtl > ltr, rtl > 0
}

// order returns the steps through a page's characters. On a page without
// Arabic and Hebrew that is as they come.
func (x *extractor) order(chars []*pageChar) ([]step, error) {
	steps := make([]step, 0, len(chars))
	left, found := readsLeft(chars)
	if !found {
		for i := range chars {
			steps = append(steps, step{char: i})
		}
		return steps, nil
	}
	x.page.readsLeft = left
	var lines []visualLine
	for i := 0; i < len(chars); {
		l := visualLine{first: i}
		for ; i < len(chars) && turns(chars[i].Angle) == x.frame.turns; i++ {
			taken, err := x.extend(&l, chars[i], i)
			if err != nil {
				return nil, err
			}
			if !taken {
				break
			}
		}
		if i == l.first {
			i++ // in another direction
		}
		l.end = i
		l.measure()
		lines = append(lines, l)
	}
	for i := range lines {
		l := &lines[i]
		if l.rtl == 0 && (l.ltr > 0 || !left) || len(l.glyphs) == 0 {
			for k := l.first; k < l.end; k++ {
				steps = append(steps, step{char: k})
			}
			continue
		}
		steps = l.read(steps, left, left && l.setLeft(lines))
	}
	return steps, nil
}

// glyph is what is drawn as one: a letter, or the letters of a ligature.
type glyph struct {
	chars          []int // indexes, in the order in which pdfium has them
	runes          []rune
	x0, y0, x1, y1 float32 // with the white space that belongs to it
	mark           bool    // a vowel or another sign that stands on a letter
	space          bool
}

// visualLine is consecutive characters at one height.
type visualLine struct {
	glyphs   []glyph
	rtl, ltr int       // letters
	height   float32   // of its tallest glyph
	y        float32   // the baseline of that glyph
	last     *pageChar // the latest that is no space

	first, end int     // its characters
	x0, x1     float32 // of its glyphs that are no spaces
	opens      class   // of the letter that stands leftmost
}

// measure finds out how far the line reaches.
func (l *visualLine) measure() {
	l.x0, l.x1 = float32(math.Inf(1)), float32(math.Inf(-1))
	letter := l.x0
	for i := range l.glyphs {
		g := &l.glyphs[i]
		if g.space {
			continue
		}
		l.x0, l.x1 = min(l.x0, g.x0), max(l.x1, g.x1)
		if c := classOf(g.runes[0]); g.x0 < letter && (c == leftToRight || c == rightToLeft) {
			letter, l.opens = g.x0, c
		}
	}
}

// setLeft reports whether the line, on a page that is read from the right, is set as lines
// are that are read from the left: it begins at the left edge and with a letter that is
// read so, and ends before the edge at which the lines around it begin.
func (l *visualLine) setLeft(lines []visualLine) bool {
	if l.opens != leftToRight || l.rtl == 0 {
		return false
	}
	begins, further := true, false
	for i := range lines {
		o := &lines[i]
		if o.first == l.first || o.rtl == 0 && o.ltr == 0 {
			continue
		}
		begins = begins && o.x0 > l.x0-.5*l.height
		if o.rtl > o.ltr {
			if abs(o.x1-l.x1) < .5*l.height {
				return false // it begins where others do
			}
			further = further || o.x1 > l.x1+2*l.height && o.x0 < l.x1
		}
	}
	return begins && further
}

// extend adds a character to the line, if it stands at its height.
func (x *extractor) extend(l *visualLine, c *pageChar, index int) (bool, error) {
	r := runeOf(c)
	if c.Text == "" || unicode.IsControl(r) && r != hyphenMark || r == utf8.RuneError {
		return true, nil
	}
	g := glyph{chars: []int{index}, runes: []rune{r}, mark: unicode.Is(unicode.Mn, r), space: unicode.IsSpace(r)}
	b := c.PointPosition
	g.x0, g.y0, g.x1, g.y1 = x.frame.box(float32(b.Left), float32(b.Bottom), float32(b.Right), float32(b.Top))
	// pdfium makes spaces up, without width, for what it takes for gaps.
	if g.space && g.x1 <= g.x0 {
		return true, nil
	}
	if n := len(l.glyphs); n > 0 && l.last != nil && !g.space && !l.glyphs[n-1].space && b == l.last.PointPosition {
		// Another letter of a ligature.
		last := &l.glyphs[n-1]
		last.chars, last.runes = append(last.chars, index), append(last.runes, r)
		last.mark = last.mark && g.mark
		l.count(r)
		return true, nil
	}
	// The box with the white space that belongs to the glyph: only from it can
	// gaps between words be told from gaps between letters.
	loose, err := x.instance.FPDFText_GetLooseCharBox(&requests.FPDFText_GetLooseCharBox{TextPage: x.textRef, Index: index})
	if err == nil {
		b := loose.Rect
		if x0, y0, x1, y1 := x.frame.box(b.Left, b.Bottom, b.Right, b.Top); finite(x0, y0, x1, y1) && x1 > x0 && y1 > y0 {
			g.x0, g.y0, g.x1, g.y1 = x0, y0, x1, y1
		}
	} else if trapped(err) {
		return false, err
	}
	// Where the widths of a file are wrong, that box is the tight one.
	baseline, height := g.y1, g.y1-g.y0
	origin, err := x.instance.FPDFText_GetCharOrigin(&requests.FPDFText_GetCharOrigin{TextPage: x.textRef, Index: index})
	if err == nil {
		if at, y := x.frame.point(float32(origin.X), float32(origin.Y)); finite(at, y) {
			baseline = y
			if at < g.x0 && g.x0-at < height {
				g.x0 = at
			}
		}
	} else if trapped(err) {
		return false, err
	}
	if !g.space {
		if l.height > 0 && abs(baseline-l.y) > .4*max(height, l.height) {
			return false, nil
		}
		if height > l.height {
			l.height, l.y = height, baseline
		}
		l.last = c
		l.count(r)
	}
	l.glyphs = append(l.glyphs, g)
	return true, nil
}

func (l *visualLine) count(r rune) {
	switch {
	case isRTLRune(r):
		l.rtl++
	case unicode.IsLetter(r):
		l.ltr++
	}
}

// read appends the steps through the line. setLeft says that it is read from the left
// on a page that is not, wherever most of its words belong.
func (l *visualLine) read(steps []step, pageReadsLeft, setLeft bool) []step {
	words := l.words()
	if pageReadsLeft {
		rtl, ltr := 0, 0
		for _, word := range words {
			switch {
			case slices.ContainsFunc(word, func(g glyph) bool { return isRTLRune(g.runes[0]) }):
				rtl++
			case slices.ContainsFunc(word, func(g glyph) bool { return isLTRRune(g.runes[0]) }):
				ltr++
			}
		}
		setLeft = setLeft || mostlyFromLeft(rtl, ltr)
		slices.Reverse(words)
	}
	rtl := !setLeft && (2*l.rtl > l.ltr || pageReadsLeft && (l.rtl > 0 || l.ltr == 0))
	for _, word := range words {
		steps = append(steps, step{char: -1, placed: true})
		for _, g := range logical(word, rtl) {
			for i, c := range g.chars {
				steps = append(steps, step{char: c, r: g.runes[i], placed: true, left: setLeft})
			}
		}
	}
	return append(steps, step{char: -1, placed: true})
}

// mostlyFromLeft reports whether a line with so many words is one that is read from the
// left, on whatever page it stands.
func mostlyFromLeft(rtl, ltr int) bool { return ltr > 2*rtl }

// words divides the glyphs of the line at the gaps, from left to right.
func (l *visualLine) words() [][]glyph {
	var marks, glyphs []glyph
	spaces := 0
	for _, g := range l.glyphs {
		switch {
		case g.mark:
			marks = append(marks, g)
			continue
		case g.space:
			spaces++
		default:
			g.settle()
		}
		glyphs = append(glyphs, g)
	}
	slices.SortStableFunc(glyphs, func(a, b glyph) int { return cmp.Compare(a.x0+a.x1, b.x0+b.x1) })
	for _, m := range marks {
		attach(glyphs, m)
	}
	gap := .12 * l.height
	if len(glyphs) < 15*spaces {
		gap *= 2 // it has spaces of its own, but perhaps none between scripts
	}
	var out [][]glyph
	var word []glyph
	var edge float32
	for _, g := range glyphs {
		least := gap
		if len(word) > 0 {
			switch before := &word[len(word)-1]; {
			case changesScript(*before, g):
				least = min(gap, .12*l.height)
			case l.raised(before) && !l.raised(&g):
				least = .6 * l.height // the letter below it has no code of its own
			case l.raised(&g) && !l.raised(before) && g.hasTanwin():
				least = float32(math.Inf(-1)) // which only the end of a word has
			}
		}
		if (g.space || g.x0-edge > least) && len(word) > 0 {
			out = append(out, word)
			word = nil
		}
		if g.space {
			continue
		}
		if len(word) == 0 {
			edge = g.x1
		}
		word = append(word, g)
		edge = max(edge, g.x1)
	}
	if len(word) > 0 {
		out = append(out, word)
	}
	return out
}

// raised reports whether a letter stands where the signs above letters do. Some programs
// give the letters of a ligature, lam and alef say, as what the sign above it stands for, and
// say nothing of the ligature itself.
func (l *visualLine) raised(g *glyph) bool {
	return !g.space && isRTLRune(g.runes[0]) && g.y1 < l.y-.3*l.height
}

func (g *glyph) hasTanwin() bool {
	return slices.ContainsFunc(g.runes, func(r rune) bool { return r >= '\u064b' && r <= '\u064d' })
}

// changesScript reports whether one of two glyphs is read from the right and the other,
// a digit or a letter, from the left. pdfium often drops the space between such.
func changesScript(a, b glyph) bool {
	if len(a.runes) == 0 || len(b.runes) == 0 {
		return false
	}
	x, y := classOf(a.runes[0]), classOf(b.runes[0])
	return x != neutral && y != neutral && (x == rightToLeft) != (y == rightToLeft)
}

// attach puts a mark after the letter that it stands on. One that stands
// nowhere near a letter is a glyph like others.
func attach(glyphs []glyph, m glyph) {
	best, distance := -1, float32(math.Inf(1))
	middle := (m.x0 + m.x1) / 2
	for i := range glyphs {
		g := &glyphs[i]
		d := max(g.x0-middle, middle-g.x1, 0)
		// Between two letters of a ligature it stands on the first, which is on the right.
		if between := d < distance+.1 && isRTLRune(g.runes[0]); !g.space && (d < distance || between) {
			best, distance = i, d
		}
	}
	if best >= 0 {
		glyphs[best].chars = append(glyphs[best].chars, m.chars...)
		glyphs[best].runes = append(glyphs[best].runes, m.runes...)
	}
}

// settle puts the letters of a ligature in the order in which they are read.
// Of those that the file gives as several letters pdfium turns the order, with
// that of the line; of those that it takes apart itself it does not.
func (g *glyph) settle() {
	if len(g.runes) < 2 || !slices.ContainsFunc(g.runes, isRTLRune) {
		return
	}
	right := false
	switch s := string(g.runes); {
	case unicode.Is(unicode.Mn, g.runes[0]):
	case unicode.Is(unicode.Mn, g.runes[len(g.runes)-1]):
		right = true
	case strings.HasPrefix(s, "ل") && strings.ContainsRune("اأإآٱ", g.runes[1]), s == "الله", s == "لله":
		right = true
	}
	if !right {
		slices.Reverse(g.runes)
		slices.Reverse(g.chars)
	}
}

type class uint8

const (
	neutral class = iota
	leftToRight
	rightToLeft
	digit
)

func classOf(r rune) class {
	switch {
	case unicode.IsDigit(r):
		return digit
	case isRTLRune(r):
		return rightToLeft
	case unicode.IsLetter(r):
		return leftToRight
	default:
		return neutral
	}
}

// logical returns the glyphs of a word, given from left to right, in reading
// order. rtl says how the line around it is read.
func logical(word []glyph, rtl bool) []glyph {
	classes := make([]class, len(word))
	first, last, arabic := -1, -1, false
	for i := range word {
		classes[i] = classOf(word[i].runes[0])
		if classes[i] == rightToLeft {
			if first < 0 {
				first = i
			}
			last = i
			arabic = arabic || !unicode.Is(unicode.Hebrew, word[i].runes[0])
		}
	}
	out := make([]glyph, 0, len(word))
	switch {
	case rtl:
		out = fromRight(out, word, classes, arabic)
		mirror(out)
		return out
	case first < 0:
		out = append(out, word...)
		mirror(out)
		return out
	}
	// Within a line that is read from the left only what lies between letters
	// that are not.
	out = append(out, word[:first]...)
	for first <= last {
		end := first
		for i := first; i <= last && classes[i] != leftToRight; i++ {
			if classes[i] == rightToLeft {
				end = i
			}
		}
		out = fromRight(out, word[first:end+1], classes[first:end+1], arabic)
		for first = end + 1; first <= last && classes[first] != rightToLeft; first++ {
			out = append(out, word[first])
		}
	}
	out = append(out, word[last+1:]...)
	mirror(out)
	return out
}

// fromRight appends word from right to left, with what is read the other way
// from left to right: words of other scripts, and numbers.
func fromRight(out, word []glyph, classes []class, arabic bool) []glyph {
	for i := len(word) - 1; i >= 0; {
		if classes[i] == rightToLeft || classes[i] == neutral && !joins(word, classes, i, arabic) {
			out = append(out, word[i])
			i--
			continue
		}
		j := i
		for j > 0 && classes[j-1] != rightToLeft && (classes[j-1] != neutral || joins(word, classes, j-1, arabic)) {
			j--
		}
		out = append(out, word[j:i+1]...)
		i = j - 1
	}
	return out
}

// joins reports whether the sign at i is part of what is read from left to
// right: it stands between letters, or is the separator or unit of a number.
func joins(word []glyph, classes []class, i int, arabic bool) bool {
	left, right := i-1, i+1
	for left >= 0 && classes[left] == neutral {
		left--
	}
	for right < len(word) && classes[right] == neutral {
		right++
	}
	var before, after class
	if left >= 0 {
		before = classes[left]
	}
	if right < len(word) {
		after = classes[right]
	}
	r := word[i].runes[0]
	switch {
	case before == leftToRight && (after == leftToRight || after == digit):
		return true
	case before == digit && after == digit && right-left == 2:
		// After an Arabic letter plus and minus divide numbers.
		return strings.ContainsRune(".,:/٫٬", r) || !arabic && strings.ContainsRune("+-−", r)
	case !arabic && before == digit && left == i-1 && right == len(word) && strings.ContainsRune("-−", r):
		// The line ends in the midst of a number: 044-123-
		for k := 1; k < left; k++ {
			if word[k].runes[0] == r && classes[k-1] == digit && classes[k+1] == digit {
				return true
			}
		}
	case strings.ContainsRune("$€£¥₪#°", r):
		return before == digit && left == i-1 || after == digit && right == i+1
	case r == '%' || r == '‰':
		// Behind the number, on whichever side it is drawn.
		return before == digit && left == i-1
	}
	return false
}

const opening, closing = "([{«‹", ")]}»›"

// mirror writes brackets as what they are to a reader. Files have their code or
// that of their mirror image, depending on the program; which one opens shows
// from the side of the word on which it stands.
func mirror(word []glyph) {
	first, last := -1, -1
	for i := range word {
		if classOf(word[i].runes[0]) != neutral {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	if first < 0 {
		return
	}
	for i := range word {
		g := &word[i]
		r := g.runes[0]
		switch {
		case i < first && strings.ContainsRune(closing, r):
			g.runes[0] = partner(closing, opening, r)
		case i > last && strings.ContainsRune(opening, r):
			g.runes[0] = partner(opening, closing, r)
		}
	}
}

func partner(from, to string, r rune) rune {
	return []rune(to)[slices.Index([]rune(from), r)]
}

// turnBack mirrors the page, so that what is read from the right stands as if
// it were read from the left: columns, tables, indents and markers of lists are
// found in one way. Words are read as they are.
func (p *page) turnBack() {
	for i := range p.words {
		w := &p.words[i]
		w.x0, w.x1 = p.width-w.x1, p.width-w.x0
	}
	for i := range p.rules {
		r := &p.rules[i]
		r.x0, r.x1 = p.width-r.x1, p.width-r.x0
	}
}

// isRTL reports whether the first letter of s is read from the right.
func isRTL(s string) bool {
	for _, r := range s {
		if isRTLRune(r) {
			return true
		}
		if unicode.IsLetter(r) {
			return false
		}
	}
	return false
}

// readingOrder puts the words of a line that has Arabic or Hebrew in it into
// reading order. turned: they come from the right, on a page that was turned.
func readingOrder(words []word, turned bool) {
	rtl, ltr, left := 0, 0, 0
	for i := range words {
		if words[i].left {
			left++
		}
		switch s := words[i].text; {
		case isRTL(s):
			rtl++
		case hasLetter(s):
			ltr++
		}
	}
	fromRight := turned && !mostlyFromLeft(rtl, ltr) && 2*left <= len(words) || !turned && rtl > ltr
	other := func(s string) bool { return hasLetter(s) && !isRTL(s) }
	switch {
	case rtl == 0 && ltr == 0, rtl == 0 && !turned:
		return
	case turned != fromRight:
		reverse(words)
	}
	switch {
	case rtl == 0:
	case fromRight:
		// Words of other scripts from the left, and the numbers after them.
		reverseRuns(words, other, isRTL, endsInNumber)
	default:
		reverseRuns(words, isRTL, other, func(string) bool { return false })
	}
}

// reverseRuns reverses each run of words up to the last that belongs to it,
// none of which stops it. It starts with the first that belongs, or may start.
func reverseRuns(words []word, belongs, stops, starts func(string) bool) {
	for i := 0; i < len(words); i++ {
		if stops(words[i].text) {
			continue
		}
		from, end := -1, -1
		for ; i < len(words) && !stops(words[i].text); i++ {
			in := belongs(words[i].text)
			if from < 0 && (in || starts(words[i].text)) {
				from = i
			}
			if in {
				end = i
			}
		}
		if from >= 0 && end > from {
			reverse(words[from : end+1])
			words[from].glued = false
			if end+1 < len(words) {
				words[end+1].glued = false
			}
		}
	}
}

// reverse turns the order of words. What had no space between has none.
func reverse(words []word) {
	slices.Reverse(words)
	for i := len(words) - 1; i > 0; i-- {
		words[i].glued = words[i-1].glued
	}
	if len(words) > 0 {
		words[0].glued = false
	}
}
