package pdf

import (
	"cmp"
	"slices"
	"strings"
)

// table is a table's cells as text; every row has the same number of cells.
type table struct {
	cells          [][]string
	x0, y0, x1, y1 float32
}

// Limits of what is taken for a table. A page of a plan has thousands of lines.
const (
	maxRules        = 600
	maxColumns      = 40
	longestRepeated = 300 // bytes
	// columnsOf looks at all rows again for each new one.
	maxTableRows = 120
)

// ruledTables finds the grids among the page's rules and takes their words from
// the page.
func (p *page) ruledTables() []table {
	if len(p.rules) > maxRules {
		return nil
	}
	var tables []table
	for _, g := range grids(p.rules) {
		t, rest, ok := g.fill(p.words, p.readsLeft)
		if ok {
			tables = append(tables, t)
			p.words = rest
		}
	}
	return tables
}

// grid is rules that touch one another.
type grid struct {
	horizontal, vertical []rule
	xs, ys               []float32 // where there are vertical and horizontal rules
}

const touching = 3

func grids(rules []rule) []grid {
	parent := make([]int, len(rules))
	for i := range parent {
		parent[i] = i
	}
	find := func(i int) int {
		for parent[i] != i {
			parent[i] = parent[parent[i]]
			i = parent[i]
		}
		return i
	}
	for i, a := range rules {
		for j, b := range rules[:i] {
			if a.x0 <= b.x1+touching && b.x0 <= a.x1+touching && a.y0 <= b.y1+touching && b.y0 <= a.y1+touching {
				parent[find(i)] = find(j)
			}
		}
	}
	groups := map[int]*grid{}
	var order []int
	for i, r := range rules {
		root := find(i)
		g := groups[root]
		if g == nil {
			g = &grid{}
			groups[root] = g
			order = append(order, root)
		}
		if r.horizontal() {
			g.horizontal = append(g.horizontal, r)
			g.ys = append(g.ys, r.y0)
		} else {
			g.vertical = append(g.vertical, r)
			g.xs = append(g.xs, r.x0)
		}
	}
	var out []grid
	for _, root := range order {
		g := groups[root]
		g.xs, g.ys = distinct(g.xs), distinct(g.ys)
		if len(g.xs) >= 3 && len(g.ys) >= 2 && len(g.xs) <= maxColumns {
			out = append(out, *g)
		}
	}
	return out
}

// distinct sorts values and drops those that are nearly equal to the one before.
func distinct(vs []float32) []float32 {
	slices.Sort(vs)
	out := vs[:0]
	for _, v := range vs {
		if len(out) == 0 || v-out[len(out)-1] > touching {
			out = append(out, v)
		}
	}
	return out
}

// fill puts words into the grid's cells. It reports false if what comes out is
// no table: a frame around a page, boxes in a diagram.
func (g *grid) fill(words []word, readsLeft bool) (table, []word, bool) {
	nr, nc := len(g.ys)-1, len(g.xs)-1
	x0, x1, y0, y1 := g.xs[0], g.xs[nc], g.ys[0], g.ys[nr]
	owner := g.owners()
	cells := make([][]word, nr*nc) // by the cell that owns the words
	at := make([][]word, nr*nc)    // by the place in the grid
	var rest []word
	for _, w := range words {
		cx, cy := w.middle()
		if cx < x0 || cx > x1 || cy < y0 || cy > y1 {
			rest = append(rest, w)
			continue
		}
		c := max(0, sortedIndex(g.xs, cx)-1)
		r := max(0, sortedIndex(g.ys, cy)-1)
		i := min(r, nr-1)*nc + min(c, nc-1)
		cells[owner[i]] = append(cells[owner[i]], w)
		at[i] = append(at[i], w)
	}
	g.part(owner, cells, at)

	t := table{x0: x0, y0: y0, x1: x1, y1: y1}
	filled, total, largest := 0, 0, 0
	used := make([]bool, nc)
	texts := make([]string, nr*nc)
	for i, ws := range cells {
		if len(ws) == 0 {
			continue
		}
		rs := rows(segments(ws))
		if n := 0; len(rs) > 2 {
			for i := range rs {
				if len(rs[i].segs) > 1 {
					n++
				}
			}
			if n > 2 {
				return table{}, nil, false // a whole table in a frame
			}
		}
		texts[i] = cellText(rs, readsLeft)
		filled++
		total += len(ws)
		largest = max(largest, len(ws))
		used[i%nc] = true
	}
	for r := range nr {
		line := make([]string, nc)
		empty := true
		for c := range nc {
			i := r*nc + c
			// What a cell says is said of all rows and columns that it covers,
			// so that each can be read alone. Long text is said once.
			if o := owner[i]; o == i || len(texts[o]) <= longestRepeated {
				line[c] = texts[o]
			}
			empty = empty && len(cells[i]) == 0
		}
		if !empty {
			t.cells = append(t.cells, line)
		}
	}
	t.dropColumns(used)
	if len(t.cells) < 2 || len(t.cells[0]) < 2 || filled < 4 || 2*largest > total && largest > 60 {
		return table{}, nil, false
	}
	return t, rest, true
}

// part gives each row of a merged cell its own words where they stand at the
// distances of rows: the lines between are missing, the cells are not merged.
func (g *grid) part(owner []int, cells, at [][]word) {
	nc := len(g.xs) - 1
	for i := range cells {
		if len(cells[i]) < 2 || i+nc >= len(owner) || owner[i+nc] != i {
			continue
		}
		rs := rows(segments(slices.Clone(cells[i])))
		apart := len(rs) > 1
		for k := 1; k < len(rs); k++ {
			apart = apart && rs[k].y-rs[k-1].y > 1.7*rs[k].size
		}
		if !apart {
			continue
		}
		cells[i] = nil
		for j := range owner {
			if owner[j] == i {
				first := j - j%nc + i%nc // of its row
				cells[first] = append(cells[first], at[j]...)
				owner[j] = first
			}
		}
	}
}

// owners returns, for each cell of the grid, the cell whose text it shares:
// itself, or the top left one of the cells it is merged with.
func (g *grid) owners() []int {
	nr, nc := len(g.ys)-1, len(g.xs)-1
	owner := make([]int, nr*nc)
	for r := range nr {
		for c := range nc {
			i := r*nc + c
			owner[i] = i
			switch {
			case c > 0 && !separated(g.vertical, g.xs[c], g.ys[r], g.ys[r+1], false):
				owner[i] = owner[i-1]
			case r > 0 && !separated(g.horizontal, g.ys[r], g.xs[c], g.xs[c+1], true):
				owner[i] = owner[i-nc]
			}
		}
	}
	return owner
}

// separated reports whether rules at the given place cover most of a cell's side.
func separated(rules []rule, at, from, to float32, horizontal bool) bool {
	var covered float32
	for _, r := range rules {
		place, a, b := r.x0, r.y0, r.y1
		if horizontal {
			place, a, b = r.y0, r.x0, r.x1
		}
		if abs(place-at) <= touching {
			covered += max(0, min(b, to)-max(a, from))
		}
	}
	return covered >= .5*(to-from)
}

func sortedIndex(vs []float32, v float32) int {
	i, _ := slices.BinarySearch(vs, v)
	return i
}

func (t *table) dropColumns(used []bool) {
	for i, line := range t.cells {
		var kept []string
		for c, s := range line {
			if used[c] {
				kept = append(kept, s)
			}
		}
		t.cells[i] = kept
	}
}

// cellText returns the rows of a cell as one line of text.
func cellText(rs []row, readsLeft bool) string {
	var lines []string
	for i := range rs {
		lines = append(lines, rs[i].text(readsLeft))
	}
	return joinLines(lines)
}

func (r *row) text(readsLeft bool) string {
	var words []word
	for i := range r.segs {
		from := len(words)
		words = append(words, r.segs[i].words...)
		if from > 0 && from < len(words) {
			words[from].glued = false
		}
	}
	readingOrder(words, readsLeft)
	return textOf(words)
}

// joinLines joins the lines of a cell, undoing hyphenation.
func joinLines(lines []string) string {
	var b strings.Builder
	for i, l := range lines {
		if i > 0 {
			if before := b.String(); hyphenated(before, l) {
				s := strings.TrimSuffix(before, "-")
				b.Reset()
				b.WriteString(s)
			} else {
				b.WriteByte(' ')
			}
		}
		b.WriteString(l)
	}
	return b.String()
}

// alignedTable finds a table without rules in rs[from:]: rows of segments that
// stand in the same columns. It returns how many rows it takes, 0 for none.
func alignedTable(rs []row, from int, readsLeft bool) (*table, int) {
	if len(rs[from].segs) < 2 || rs[from].segs[0].table != nil {
		return nil, 0
	}
	// As far as rows with several segments go, with few others between that
	// belong to what is around them.
	n, multi := 0, 0
	var cols []interval
	for i := from; i < len(rs); i++ {
		r := &rs[i]
		if r.segs[0].table != nil || i > from && r.top-rs[i-1].bottom > 2.6*max(r.size, rs[i-1].size) || i-from > n+2 {
			break
		}
		if len(r.segs) == 1 {
			next := i + 1
			for next < len(rs) && next < i+2 && len(rs[next].segs) == 1 {
				next++
			}
			if multi < 2 && len(r.segs[0].words) > 0 && place(cols, r.segs[0]) < 0 && !hangs(cols, r) ||
				r.size > 1.1*rs[i-1].size || startsBlock(r) ||
				next == len(rs) || rs[next].segs[0].table != nil || !inLine(cols, &rs[next]) {
				break
			}
			if place(cols, r.segs[0]) < 0 && !hangs(cols, r) {
				break
			}
			continue
		}
		if multi > 0 {
			apart := i > from && (len(rs[i-1].segs) == 1 || r.top-rs[i-1].bottom > r.size)
			if apart && !inLine(cols, r) {
				break
			}
			if grown := columnsOf(rs[from : i+1]); len(grown) >= min(len(cols), len(r.segs)) {
				if !fits(grown, r) {
					break
				}
				cols = grown
			} else {
				break
			}
		} else {
			cols = columnsOf(rs[from : i+1])
		}
		multi++
		n = i - from + 1
		if multi > maxTableRows {
			break
		}
	}
	if len(cols) < 2 || len(cols) > maxColumns {
		return nil, 0
	}
	to := len(rs)
	// A continuation line of the last row's cells.
	for from+n < to {
		r := &rs[from+n]
		if len(r.segs) > 1 || r.segs[0].table != nil || place(cols, r.segs[0]) <= 0 && !hangs(cols, r) ||
			r.top-rs[from+n-1].bottom > .5*r.size || startsBlock(r) {
			break
		}
		n++
	}
	if multi < 2 || multi < 3 && len(cols) < 3 || !aligned(rs[from:from+n], cols) {
		return nil, 0
	}
	return fillAligned(rs[from:from+n], cols, readsLeft), n
}

func startsBlock(r *row) bool { return isBullet(r.segs[0].text()) }

type interval struct{ x0, x1 float32 }

// columnsOf finds the columns that rows share, from the rows with the most
// segments: a segment that spans several columns is a heading over them.
func columnsOf(rs []row) []interval {
	order := make([]*row, 0, len(rs))
	for i := range rs {
		if len(rs[i].segs) > 1 {
			order = append(order, &rs[i])
		}
	}
	slices.SortStableFunc(order, func(a, b *row) int { return cmp.Compare(len(b.segs), len(a.segs)) })
	var cols []interval
	for _, r := range order {
		for _, s := range r.segs {
			hit := -1
			hits := 0
			for i, c := range cols {
				if s.x0 < c.x1 && s.x1 > c.x0 {
					hit = i
					hits++
				}
			}
			switch hits {
			case 0:
				cols = append(cols, interval{s.x0, s.x1})
			case 1:
				cols[hit] = interval{min(cols[hit].x0, s.x0), max(cols[hit].x1, s.x1)}
			}
		}
		slices.SortFunc(cols, func(a, b interval) int { return cmp.Compare(a.x0, b.x0) })
	}
	// Extending one may have made it meet the next.
	out := cols[:0]
	for _, c := range cols {
		if n := len(out); n > 0 && c.x0 < out[n-1].x1 {
			out[n-1].x1 = max(out[n-1].x1, c.x1)
			continue
		}
		out = append(out, c)
	}
	return out
}

// place returns the only column that s touches, or -1.
func place(cols []interval, s segment) int {
	hit := -1
	for i, c := range cols {
		if s.x0 < c.x1 && s.x1 > c.x0 {
			if hit >= 0 {
				return -1
			}
			hit = i
		}
	}
	return hit
}

// fits reports whether the segments of r stand in columns, one at most across
// several of them.
func fits(cols []interval, r *row) bool {
	in := 0
	for _, s := range r.segs {
		if place(cols, s) >= 0 {
			in++
		}
	}
	return in >= len(r.segs)-1
}

// inLine reports whether most segments of r share an edge or the middle with
// their column.
func inLine(cols []interval, r *row) bool {
	in := 0
	for _, s := range r.segs {
		if i := place(cols, s); i >= 0 {
			c, d := cols[i], .4*s.size
			if abs(s.x0-c.x0) < d || abs(s.x1-c.x1) < d || abs(s.x0+s.x1-c.x0-c.x1) < 2*d {
				in++
			}
		}
	}
	return 2*in >= len(r.segs)
}

// hangs reports whether r is a note under a cell: it begins where a column
// other than the first does, right below the row above.
func hangs(cols []interval, r *row) bool {
	return len(cols) > 1 && slices.ContainsFunc(cols[1:], func(c interval) bool { return abs(c.x0-r.segs[0].x0) < .4*r.size })
}

// aligned reports whether most columns have a common left edge, right edge or
// middle. Words that happen to stand apart have none.
func aligned(rs []row, cols []interval) bool {
	good := 0
	for i := range cols {
		var lefts, rights, middles []float32
		var size float32
		for _, r := range rs {
			for _, s := range r.segs {
				if place(cols, s) == i {
					lefts, rights, middles = append(lefts, s.x0), append(rights, s.x1), append(middles, (s.x0+s.x1)/2)
					size = max(size, s.size)
				}
			}
		}
		if common(lefts, .4*size) || common(rights, .4*size) || common(middles, .4*size) {
			good++
		}
	}
	return 4*good >= 3*len(cols)
}

// common reports whether three in five of the values are within d of one of them.
func common(vs []float32, d float32) bool {
	slices.Sort(vs)
	best, from := 0, 0
	for i := range vs {
		for vs[i]-vs[from] > 2*d {
			from++
		}
		best = max(best, i-from+1)
	}
	return 5*best >= 3*len(vs)
}

func fillAligned(rs []row, cols []interval, readsLeft bool) *table {
	t := &table{x0: cols[0].x0, x1: cols[len(cols)-1].x1, y0: rs[0].top, y1: rs[len(rs)-1].bottom}
	var pitch []float32
	for i := 1; i < len(rs); i++ {
		pitch = append(pitch, rs[i].y-rs[i-1].y)
	}
	usual := median(pitch)
	for i := range rs {
		r := &rs[i]
		line := make([]string, len(cols))
		for _, s := range r.segs {
			c := 0
			for c+1 < len(cols) && s.x0 >= cols[c+1].x0-1 {
				c++
			}
			if line[c] != "" {
				line[c] += " "
			}
			readingOrder(s.words, readsLeft)
			line[c] += s.text()
		}
		// Closer than rows are, and nothing in the first column: the rest of
		// the row above.
		if i > 0 && line[0] == "" && (r.y-rs[i-1].y < .8*usual || len(r.segs) == 1 && r.y-rs[i-1].y <= usual && r.top-rs[i-1].bottom < .6*r.size) {
			above := t.cells[len(t.cells)-1]
			for c, s := range line {
				switch {
				case s == "":
				case above[c] == "":
					above[c] = s
				default:
					above[c] = joinLines([]string{above[c], s})
				}
			}
			continue
		}
		t.cells = append(t.cells, line)
	}
	return t
}

func median(vs []float32) float32 {
	if len(vs) == 0 {
		return 0
	}
	vs = slices.Clone(vs)
	slices.Sort(vs)
	return vs[len(vs)/2]
}
