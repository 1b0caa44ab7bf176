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
		double := 0
		for i := range side {
			if side[i].table != nil {
				return false
			}
			if i > 0 && abs(side[i].y-side[i-1].y) < .3*side[i].size {
				double++
			}
		}
		if 4*double > len(side) {
			return false // it has columns of its own
		}
	}
	a, b := newSide(left), newSide(right)
	a.pair(b)
	b.pair(a)
	// Lines at other heights than those beside them.
	if a.alone >= 3 && b.alone >= 3 && 5*a.alone >= 2*len(left) && 5*b.alone >= 2*len(right) {
		return true
	}
	// Prose: most lines go on.
	if 2*a.goesOn >= len(left)-1 && a.goesOn > 0 && 2*b.goesOn >= len(right)-1 && b.goesOn > 0 {
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
		before := segs[i-1].text()
		// Its first word had no room in the line above.
		full := len(segs[i-1].words) > 2 && segs[i-1].x1+.2*segs[i].size+segs[i].words[0].x1-segs[i].words[0].x0 > edge(&segs[i-1])-.2*segs[i].size
		if full && abs(segs[i].size-segs[i-1].size) < .1*segs[i].size && segs[i].y-segs[i-1].y < 2.2*segs[i].size &&
			startsLower(t) && !endsSentence(before) {
			s.on[i] = true
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
