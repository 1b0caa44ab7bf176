package pdf

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"
)

// joinBullets puts bullets and their text together, also where several lists
// stand side by side. In a table a dash may be the value of a cell: it is a
// bullet only where the lines of all lists begin with one.
func joinBullets(segs []segment) []segment {
	if !slices.ContainsFunc(segs, func(s segment) bool { return len(s.words) == 1 && isBullet(s.words[0].text) }) {
		return segs
	}
	slices.SortStableFunc(segs, func(a, b segment) int { return cmp.Compare(a.y, b.y) })
	out := make([]segment, 0, len(segs))
	for len(segs) > 0 {
		n := 1
		for n < len(segs) && segs[n].y-segs[0].y <= .3*segs[0].size {
			n++
		}
		out = append(out, joinRowBullets(segs[:n:n])...)
		segs = segs[n:]
	}
	return out
}

func joinRowBullets(row []segment) []segment {
	if len(row) < 2 {
		return row
	}
	slices.SortStableFunc(row, func(a, b segment) int { return cmp.Compare(a.x0, b.x0) })
	bullet := func(s *segment) bool { return s.table == nil && len(s.words) == 1 && isBullet(s.words[0].text) }
	lists := len(row)%2 == 0
	for i := range row {
		lists = lists && bullet(&row[i]) == (i%2 == 0)
	}
	var out []segment
	for i := 0; i < len(row); i++ {
		s := row[i]
		if i+1 < len(row) && bullet(&s) && (lists || utf8.RuneCountInString(s.words[0].text) == 1 && !strings.ContainsAny(s.words[0].text, "-–—*·")) {
			if t := row[i+1]; t.table == nil && t.x0-s.x1 < 4*t.size && !bullet(&t) {
				s.words = slices.Clone(s.words)
				s.extend(t)
				s.words[1].glued = false
				i++
			}
		}
		out = append(out, s)
	}
	return out
}

// sideBySide reports whether what stands on the two sides of a gutter is read
// one side after the other although its lines are short: text whose lines go on
// in the line below, lists, or a margin column with lines at heights of their
// own. The cells of a table stand beside each other: where one goes on in the next
// line, the one beside it does not begin there. Both sides are sorted by their top.
func sideBySide(left, right []segment) bool {
	if len(left) < 2 || len(right) < 2 {
		return false
	}
	for _, side := range [][]segment{left, right} {
		if slices.ContainsFunc(side, func(s segment) bool { return s.table != nil }) || hasColumns(side) {
			return false
		}
	}
	a, b := newSide(left), newSide(right)
	a.pair(b)
	b.pair(a)
	// Lines at other heights than those beside them.
	if a.alone >= 3 && b.alone >= 3 && 5*a.alone >= 2*len(left) && 5*b.alone >= 2*len(right) {
		return true
	}
	if a.prose() && b.prose() {
		return true
	}
	if a.bullets+b.bullets > 0 && 2*a.bullets >= len(left)-1 && 2*b.bullets >= len(right)-1 && len(left) >= 3 && len(right) >= 3 {
		return true
	}
	if len(left) < 3 || len(right) < 3 {
		return false
	}
	evidence := a.against + b.against
	if evidence > 0 && (a.listed() || b.listed()) {
		evidence++ // an item of a list goes on below
	}
	// Heads of columns are larger than what stands below them, those of tables bold.
	if a.larger(0) && b.larger(0) {
		evidence++
	}
	if a.parts && b.parts {
		evidence += 2
	}
	return evidence >= 2
}

// hasColumns reports whether lines, sorted by their top, stand beside each other.
func hasColumns(side []segment) bool {
	double := 0
	for i := range side {
		if i > 0 && abs(side[i].y-side[i-1].y) < .3*side[i].size {
			double++
		}
	}
	return 4*double > len(side)
}

// proseColumns reports whether three or more columns are prose, each of them, and not the
// rows of a table. Both sides are sorted by their top.
func proseColumns(left, right []segment) bool {
	const most = 300 // lines; where there are more, gutters show by themselves
	if len(left)+len(right) > most || !hasColumns(left) && !hasColumns(right) {
		return false
	}
	var sides []*side
	for _, part := range [][]segment{left, right} {
		for _, column := range apartInWidth(part) {
			if len(column) < 2 || hasColumns(column) || slices.ContainsFunc(column, func(s segment) bool { return s.table != nil }) {
				return false
			}
			s := newSide(column)
			if !s.prose() {
				return false
			}
			sides = append(sides, s)
		}
	}
	// Rows of a table begin at the same height in all columns, those after its head.
	for i := 2; i < len(sides[0].segs); i++ {
		if !slices.ContainsFunc(sides, func(s *side) bool { return !s.beginsAt(&sides[0].segs[i]) }) {
			return false
		}
	}
	return true
}

// apartInWidth divides segments into columns with nothing between them, from the left.
// Within each they keep their order.
func apartInWidth(segs []segment) [][]segment {
	spans := make([]interval, len(segs))
	for i := range segs {
		spans[i] = interval{segs[i].x0, segs[i].x1}
	}
	slices.SortFunc(spans, func(a, b interval) int { return cmp.Compare(a.x0, b.x0) })
	var columns []interval
	for _, s := range spans {
		if n := len(columns); n > 0 && s.x0 < columns[n-1].x1 {
			columns[n-1].x1 = max(columns[n-1].x1, s.x1)
			continue
		}
		columns = append(columns, s)
	}
	out := make([][]segment, len(columns))
	for i := range segs {
		c := max(place(columns, segs[i]), 0) // -1 is a segment without width
		out[c] = append(out[c], segs[i])
	}
	return out
}

// prose reports whether most lines go on in the next one.
func (s *side) prose() bool { return s.goesOn > 0 && 2*s.goesOn >= len(s.segs)-1 }

// beginsAt reports whether something begins at the height of l that does not go on
// from above.
func (s *side) beginsAt(l *segment) bool {
	i := slices.IndexFunc(s.segs, func(o segment) bool { return abs(o.y-l.y) < .3*l.size })
	return i >= 0 && !s.on[i]
}

// larger reports whether a line is larger than most of its side.
func (s *side) larger(i int) bool { return roundSize(s.segs[i].size) > 1.1*s.size }

// listed reports whether all lines but those that go on begin with a number or a bullet.
func (s *side) listed() bool {
	for i := range s.segs {
		first := s.segs[i].words[0].text
		r, _ := utf8.DecodeRuneInString(first)
		if !s.on[i] && !isMarker(first) && !strings.ContainsRune(bullets, r) {
			return false
		}
	}
	return true
}

// side is the lines on one side of a gutter.
type side struct {
	segs    []segment
	on      []bool // the line goes on from the one above
	font    uint16 // of most of them
	size    float32
	goesOn  int
	bullets int
	alone   int  // lines that have none beside them
	parts   bool // it has a heading below its first line that stands beside none
	against int  // lines that go on, or are headings, beside one that begins or is none
}

func newSide(segs []segment) *side {
	s := &side{segs: segs, on: make([]bool, len(segs))}
	// How far the lines reach that begin about where one does.
	const strip = 12 // points
	reach := map[int]float32{}
	for i := range segs {
		k := int(segs[i].x0 / strip)
		reach[k] = max(reach[k], segs[i].x1)
	}
	edge := func(s *segment) (edge float32) {
		for k := int(s.x0/strip) - 2; k <= int(s.x0/strip)+2; k++ {
			edge = max(edge, reach[k])
		}
		return edge
	}
	fonts := map[uint16]int{}
	sizes := map[float32]int{}
	open := 0 // the line that a sentence may have begun in
	for i := range segs {
		t := segs[i].text()
		fonts[segs[i].words[0].font] += len(t)
		sizes[roundSize(segs[i].size)] += len(t)
		if r, _ := utf8.DecodeRuneInString(t); strings.ContainsRune(bullets, r) || len(segs[i].words) > 1 && isBullet(segs[i].words[0].text) {
			s.bullets++
		}
		if i == 0 {
			continue
		}
		before := &segs[i-1]
		// Its first word had no room in the line above.
		full := before.x1+.2*segs[i].size+segs[i].words[0].x1-segs[i].words[0].x0 > edge(before)-.2*segs[i].size
		if !full || abs(segs[i].size-before.size) >= .1*segs[i].size || segs[i].y-before.y >= 2.2*segs[i].size || endsSentence(before.text()) {
			open = i
			continue
		}
		s.on[i] = len(before.words) > 2 && startsLower(t)
		// A name or a number may begin a line, too: the sentence that ends here began above.
		if len(segs[open].words) > 2 && closesSentence(t) {
			for ; open < i; open++ {
				first := &segs[open+1].words[0]
				s.on[open+1] = s.on[open+1] || !isMarker(first.text) && first.font == segs[open].words[0].font
			}
		}
	}
	for _, on := range s.on {
		if on {
			s.goesOn++
		}
	}
	s.font, s.size = mostCommon(fonts), mostCommon(sizes)
	return s
}

// heading reports whether a line is set otherwise than most of its side.
func (s *side) heading(i int) bool {
	return s.segs[i].words[0].font != s.font || s.larger(i)
}

// pair compares each line with the one beside it.
func (s *side) pair(other *side) {
	j := 0
	for i := range s.segs {
		l := &s.segs[i]
		for j < len(other.segs) && other.segs[j].y < l.y-.25*l.size {
			j++
		}
		beside := j < len(other.segs) && other.segs[j].y <= l.y+.25*l.size
		s.parts = s.parts || i > 0 && s.larger(i) && !(beside && other.larger(j))
		if !beside {
			if l.y > other.segs[0].y-l.size && l.y < other.segs[len(other.segs)-1].y+l.size {
				s.alone++
			}
			continue
		}
		if s.on[i] && !other.on[j] || s.heading(i) && !other.heading(j) {
			s.against++
		}
	}
}
