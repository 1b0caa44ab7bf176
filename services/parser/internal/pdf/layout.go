package pdf

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// segment is words that stand next to each other in one line, or a table.
type segment struct {
	words  []word
	table  *table
	x0, x1 float32
	y      float32 // baseline
	top    float32
	bottom float32
	size   float32 // of its longest word
	// Of that word, in bytes. Superscripts and drop caps must not decide.
	longest int
}

// Gaps in ems. A justified line stretches its spaces up to about one em; a
// table may set its cells closer than that, which only a later look at whole
// columns can tell.
const (
	gapInRun  = 1.0 // between words drawn one after the other
	gapJoined = .7  // between runs that were drawn at different times
	gapSpace  = .12 // from here on there is a space between runs
	sameLine  = .3  // difference of baselines
)

func newSegment(words []word) segment {
	s := segment{words: words, x0: words[0].x0, x1: words[0].x1, top: words[0].top(), bottom: words[0].bottom()}
	s.longest = -1
	for i := range words {
		w := &words[i]
		s.x0, s.x1 = min(s.x0, w.x0), max(s.x1, w.x1)
		s.top, s.bottom = min(s.top, w.top()), max(s.bottom, w.bottom())
		if n := len(w.text); n > s.longest {
			s.longest, s.size, s.y = n, w.size, w.y
		}
	}
	return s
}

// segments groups words, given as they were drawn, into segments.
func segments(words []word) []segment {
	var runs []segment
	for len(words) > 0 {
		n := firstRun(words)
		runs = append(runs, newSegment(words[:n:n]))
		words = words[n:]
	}
	return joinRuns(joinStretched(runs))
}

// firstRun returns how many words at the beginning of those given were drawn one after
// the other in a line.
func firstRun(words []word) int {
	n := 1
	for n < len(words) && follows(&words[n-1], &words[n]) {
		n++
	}
	return n
}

// joinRuns joins the pieces of lines that were drawn apart, say a bold word in
// one: from left to right, each to what ends just before it. It takes time
// linear in the number of runs, whatever the page looks like.
func joinRuns(runs []segment) []segment {
	const (
		reach  = 60 // points up and down, for the largest letters
		recent = 4  // segments that ended last at one height
	)
	slices.SortStableFunc(runs, func(a, b segment) int { return cmp.Compare(a.x0, b.x0) })
	var out []segment
	at := map[int][]int{} // baseline in whole points; indexes into out
	for _, r := range runs {
		best, distance := -1, float32(0)
		d := min(r.size, reach)
		for y := int(r.y - d); y <= int(r.y+d); y++ {
			for _, i := range at[y] {
				if s := &out[i]; adjacent(s, &r) {
					if k := abs(s.y-r.y) + max(0, r.x0-s.x1); best < 0 || k < distance {
						best, distance = i, k
					}
				}
			}
		}
		if best >= 0 {
			out[best].extend(r)
			continue
		}
		y := int(r.y)
		ended := append(at[y], len(out))
		at[y] = ended[max(0, len(ended)-recent):]
		out = append(out, r)
	}
	return out
}

// extend appends b, which begins after s does.
func (s *segment) extend(b segment) {
	from := len(s.words)
	glued := b.x0-s.x1 < gapSpace*min(s.size, b.size)
	s.words = append(s.words, b.words...)
	s.words[from].glued = glued
	if glued && from > 0 {
		raise(&s.words[from-1], &s.words[from])
	}
	if b.longest > s.longest {
		s.longest, s.size, s.y = b.longest, b.size, b.y
	}
	s.x1 = max(s.x1, b.x1)
	s.top, s.bottom = min(s.top, b.top), max(s.bottom, b.bottom)
}

// follows reports whether b, drawn right after a, continues its line.
func follows(a, b *word) bool {
	size := max(a.size, b.size)
	if abs(a.y-b.y) > .45*size {
		return false
	}
	gap := b.x0 - a.x1
	if gap < 0 && isRTL(b.text) {
		gap = a.x0 - b.x1
	}
	return gap > -.5*size && gap < gapInRun*min(size, 2*min(a.size, b.size))
}

func adjacent(a, b *segment) bool {
	size := min(a.size, b.size)
	if abs(a.y-b.y) > sameLine*size && (b.bottom-b.top > .8*(a.bottom-a.top) || b.y > a.y+.3*a.size || b.bottom < a.top+.1*a.size) {
		return false
	}
	gap := max(b.x0-a.x1, a.x0-b.x1)
	return gap > -.3*size && gap < gapJoined*size
}

// columns returns the segments of a page in reading order, as regions in each
// of which lines simply follow one another from top to bottom.
func columns(segs []segment) [][]segment {
	return split(segs, 12)
}

func split(segs []segment, depth int) [][]segment {
	if len(segs) == 0 {
		return nil
	}
	g, ok := findGutter(segs)
	if !ok || depth == 0 {
		return [][]segment{segs}
	}
	var above, left, right, below []segment
	for _, s := range segs {
		switch middle := (s.top + s.bottom) / 2; {
		case middle < g.top:
			above = append(above, s)
		case middle > g.bottom:
			below = append(below, s)
		case s.x0 < g.x:
			left = append(left, s)
		default:
			right = append(right, s)
		}
	}
	var out [][]segment
	for _, part := range [][]segment{above, left, right, below} {
		out = append(out, split(part, depth-1)...)
	}
	return out
}

// gutter is an empty strip between two columns of text.
type gutter struct{ x, top, bottom float32 }

// findGutter returns the tallest gutter. Candidates are the left edges that
// several segments share; what crosses one, a title or a wide figure, bounds
// its height.
func findGutter(segs []segment) (gutter, bool) {
	minimum := 2 // lines on each side
	if len(segs) < 2*minimum {
		return gutter{}, false
	}
	if len(segs) > 300 {
		minimum = 3 // on a page as full as that two happen to share an edge
	}
	// The more there is on a page, the more must share an edge: 400 candidates
	// at most.
	shared := max(minimum, len(segs)/400)
	lefts := make([]float32, len(segs))
	for i, s := range segs {
		lefts[i] = s.x0
	}
	slices.Sort(lefts)
	heads := headEdges(segs)
	byTop := slices.Clone(segs)
	slices.SortFunc(byTop, func(a, b segment) int { return cmp.Compare(a.top, b.top) })

	var best gutter
	found := false
	for i := 0; i < len(lefts); {
		j := i
		for j < len(lefts) && lefts[j]-lefts[i] <= 3 {
			j++
		}
		if x := lefts[i] - 1; i > 0 && (j-i >= shared || slices.Contains(heads, lefts[i])) {
			for _, g := range gutterRuns(byTop, x) {
				if !found || g.bottom-g.top > best.bottom-best.top {
					best, found = g, true
				}
			}
		}
		i = j
	}
	return best, found
}

// headEdges returns where lines begin that are larger than most: the head of a column
// stands out to the left of a list below it. There are none if a page has many such lines.
func headEdges(segs []segment) []float32 {
	const most = 16
	sizes := make([]float32, len(segs))
	for i := range segs {
		sizes[i] = segs[i].size
	}
	usual := median(sizes)
	var edges []float32
	for i := range segs {
		if segs[i].table == nil && roundSize(segs[i].size) > 1.1*usual {
			edges = append(edges, segs[i].x0)
		}
	}
	if len(edges) > most {
		return nil
	}
	return edges
}

// gutterRuns returns the stretches in which nothing crosses x and both sides
// are text. The segments are sorted by their top.
func gutterRuns(segs []segment, x float32) []gutter {
	var runs []gutter
	var left, right []segment
	flush := func() {
		left, right = trimTitle(left, right)
		// Before rows of three lines are taken for those of a table.
		many := proseColumns(left, right)
		if !many {
			left, right = trimTables(left, right)
			left, right = trimSmall(left, right)
			left, right = trimTitle(left, right)
		}
		if many || isColumn(left) && isColumn(right) || sideBySide(left, right) {
			runs = append(runs, gutter{
				x:      x,
				top:    min(left[0].top, right[0].top) - .1,
				bottom: max(lowest(left), lowest(right)) + .1,
			})
		}
		left, right = nil, nil
	}
	barrier := float32(math.Inf(-1)) // how far down the latest crossing reaches
	for _, s := range segs {
		if s.x0 < x && s.x1 > x+1-.5*s.size {
			if s.top >= barrier-1 || len(left)+len(right) > 0 {
				flush()
			}
			barrier = max(barrier, s.bottom)
			continue
		}
		if (s.top+s.bottom)/2 < barrier {
			continue // next to what crosses
		}
		if s.x0 < x {
			left = append(left, s)
		} else {
			right = append(right, s)
		}
	}
	flush()
	return runs
}

// trimTables takes away rows of three and more segments at the top and the
// bottom: a table over both columns whose cells happen to keep clear of the
// gutter. Both sides are sorted by their top.
func trimTables(left, right []segment) ([]segment, []segment) {
	const most = 40 // rows at either end
	for _, top := range []bool{true, false} {
		// nth counts from that end.
		nth := func(side []segment, n int) *segment {
			if top {
				return &side[n]
			}
			return &side[len(side)-1-n]
		}
		for range most {
			if len(left) == 0 || len(right) == 0 {
				break
			}
			y, size := nth(left, 0).y, nth(left, 0).size
			same := func(s segment) bool { return abs(s.y-y) <= .3*size }
			cells := [2]int{}
			for i, side := range [][]segment{left, right} {
				for n := 0; n < len(side) && same(*nth(side, n)); n++ {
					if !isSectionNumber(nth(side, n).text()) {
						cells[i]++
					}
				}
			}
			if cells[0]+cells[1] < 3 || cells[1] == 0 {
				break
			}
			left, right = slices.DeleteFunc(left, same), slices.DeleteFunc(right, same)
		}
	}
	return left, right
}

// trimSmall takes away a line in small letters over or under both columns and
// apart from them, that keeps clear of the gutter: a running title and the number
// of the page, say. Both sides are sorted by their top.
func trimSmall(left, right []segment) ([]segment, []segment) {
	for _, top := range []bool{true, false} {
		if len(left) < 4 || len(right) < 4 {
			break
		}
		i, a, b := 0, 1, 1
		if !top {
			i, a, b = len(left)-1, len(left)-2, len(right)-2
		}
		j := 0
		if !top {
			j = len(right) - 1
		}
		l, r := &left[i], &right[j]
		inner := min(left[a].size, right[b].size)
		if l.table != nil || r.table != nil || abs(l.y-r.y) > .3*l.size || max(l.size, r.size) > .93*inner ||
			abs(l.y-left[a].y) < 1.6*inner || abs(r.y-right[b].y) < 1.6*inner {
			continue
		}
		if top {
			left, right = left[1:], right[1:]
		} else {
			left, right = left[:i], right[:j]
		}
	}
	return left, right
}

// trimTitle takes away a title over both columns that keeps clear of the gutter: a line
// above all others and larger than they are.
func trimTitle(left, right []segment) ([]segment, []segment) {
	if len(left) < 2 || len(right) < 2 {
		return left, right
	}
	title, others := left, right
	if right[0].top < left[0].top {
		title, others = right, left
	}
	t := &title[0]
	if t.table != nil || others[0].top < t.bottom || title[1].top < t.bottom {
		return left, right
	}
	for _, side := range [][]segment{title[1:], others} {
		for i := range side {
			if 1.1*side[i].size > t.size {
				return left, right
			}
		}
	}
	if t == &left[0] {
		return left[1:], right
	}
	return left, right[1:]
}

func lowest(segs []segment) float32 {
	y := segs[0].bottom
	for _, s := range segs {
		y = max(y, s.bottom)
	}
	return y
}

// isColumn reports whether segments are lines of text and not cells of a
// table: most are many ems long.
func isColumn(segs []segment) bool {
	const minimum, ems = 3, 9
	if len(segs) < minimum {
		return false
	}
	long := 0
	for _, s := range segs {
		if s.table != nil || s.x1-s.x0 >= ems*s.size {
			long++
		}
	}
	return 2*long >= len(segs)
}

// row is what stands at one height of a region, from left to right.
type row struct {
	segs   []segment
	y      float32
	top    float32
	bottom float32
	size   float32
}

// rows groups a region's segments by height.
func rows(segs []segment) []row {
	slices.SortStableFunc(segs, func(a, b segment) int { return cmp.Compare(a.y, b.y) })
	var out []row
	for _, s := range segs {
		if n := len(out); n > 0 && s.table == nil && out[n-1].segs[0].table == nil {
			r := &out[n-1]
			overlap := min(s.bottom, r.bottom) - max(s.top, r.top)
			if s.y-r.y <= .5*min(s.size, r.size) || overlap > .75*min(s.bottom-s.top, r.bottom-r.top) && s.y-r.y <= .5*max(s.size, r.size) {
				r.segs = append(r.segs, s)
				r.top, r.bottom, r.size = min(r.top, s.top), max(r.bottom, s.bottom), max(r.size, s.size)
				continue
			}
		}
		out = append(out, row{segs: []segment{s}, y: s.y, top: s.top, bottom: s.bottom, size: s.size})
	}
	for i := range out {
		r := &out[i]
		slices.SortStableFunc(r.segs, func(a, b segment) int { return cmp.Compare(a.x0, b.x0) })
		r.segs = joinMarkers(r.segs)
	}
	return out
}

// joinMarkers puts a list's bullet or number and its text, or a heading's
// number and its words, back together, and the leader dots of a table of
// contents with what they lead to.
func joinMarkers(segs []segment) []segment {
	if len(segs) < 2 {
		return segs
	}
	join := func() []segment {
		s := segs[0]
		s.words = slices.Clone(s.words)
		for _, t := range segs[1:] {
			s.extend(t)
		}
		return []segment{s}
	}
	for _, s := range segs {
		if strings.Contains(s.text(), "....") || strings.Contains(s.text(), ". . . .") {
			return join()
		}
	}
	first := segs[0].text()
	gap := segs[1].x0 - segs[0].x1
	size := segs[0].size
	switch {
	case len(segs) != 2:
	case isMarker(first) && gap < 10*size,
		isSectionNumber(first) && gap < 2.5*size && startsUpper(segs[1].text()):
		return join()
	}
	return segs
}

func (s *segment) text() string { return textOf(s.words) }

// textOf returns words of a line as text.
func textOf(words []word) string {
	var b strings.Builder
	for i := range words {
		w := &words[i]
		if i > 0 && spaceBetween(&words[i-1], w) {
			b.WriteByte(' ')
		}
		b.WriteString(w.text)
	}
	return b.String()
}

// spaceBetween reports whether a space belongs between two words of a line.
// Chinese and Japanese are written without.
func spaceBetween(a, b *word) bool {
	if b.glued {
		return false
	}
	last, _ := utf8.DecodeLastRuneInString(a.text)
	first, _ := utf8.DecodeRuneInString(b.text)
	return !(unspaced(last) && unspaced(first)) || b.x0-a.x1 > .6*b.size
}

func unspaced(r rune) bool {
	return r >= 0x2e80 && (unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana) ||
		r >= 0x3000 && r <= 0x303f || r >= 0xff00 && r <= 0xffef)
}

func abs(v float32) float32 { return float32(math.Abs(float64(v))) }
