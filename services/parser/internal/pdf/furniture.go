package pdf

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Running lines: what stands at the top or the bottom of pages because they are
// pages. They are told from what the document says by evidence only. A line
// runs if it comes again as it is, at the same place on pages that follow each
// other, with nothing in it that differs but the number of the page; and that
// number has to count as the pages do, or to say that it is one. It is outside
// of all other text, no larger than it, and no row of a table. Lines that are
// alike but for other numbers stay: invoices, questions of an exam and rows of
// tables have such.

// edgeLine is a line near the top or the bottom of a page.
type edgeLine struct {
	page     int // index into document.pages
	bottom   bool
	y, size  float32
	x0, x1   float32
	inward   float32 // distance of the baseline of the next line towards the middle
	bold     bool
	row      bool // it is in a table or a list
	pieces   []piece
	runs     bool // it is a running line
	outlying bool // all lines outside of it run, too
}

// piece is a part of a line that stands apart from the rest of it.
type piece struct {
	text   string
	masked string // with the number of the page as "#"
	number pageNumber
	x0, x1 float32
	words  []int // indexes into page.words
	runs   bool  // it comes again
	counts bool  // its number is that of the page
}

const (
	band      = .13 // of the page's height, at the top and at the bottom
	edgeLines = 5   // on each side
	edgeDrift = 3   // points by which a repeated line may move
	edgeText  = 160 // bytes of the longest running line
)

// removeFurniture takes the running lines from the pages. What they say is kept
// once, where it stands first.
func (d *document) removeFurniture() {
	body := d.bodySize()
	lines := d.edges(body)
	if len(d.pages) == 1 {
		d.removeFromSinglePage(lines, body)
		return
	}
	d.removeRepeatedAsides()
	e := evidence{document: d, lines: lines, needed: 3, body: body}
	if len(d.pages) <= 4 {
		e.needed = 2
	}
	e.count()
	e.repeat()
	e.settle()
	e.remove()
}

// bodySize is the size of most of the text, as it is before anything is known of
// the layout.
func (d *document) bodySize() float32 {
	sizes := map[float32]int{}
	for _, p := range d.pages {
		for i := range p.words {
			sizes[roundSize(p.words[i].size)] += len(p.words[i].text)
		}
	}
	return mostCommon(sizes)
}

// edges returns the lines at the edges of all pages, from outside to inside. Body is
// the size of most of the text.
func (d *document) edges(body float32) []*edgeLine {
	var out []*edgeLine
	for i, p := range d.pages {
		grids := p.gridBoxes()
		for _, bottom := range []bool{false, true} {
			for _, l := range p.edge(i, bottom, grids) {
				var chars, bold int
				for _, q := range l.pieces {
					for _, w := range q.words {
						chars += len(p.words[w].text)
						if d.fonts[p.words[w].font].bold {
							bold += len(p.words[w].text)
						}
					}
				}
				l.bold = 10*bold > 9*chars
				if l.size > 1.03*body {
					break // headings, and what is inside of them, do not run
				}
				out = append(out, l)
			}
		}
	}
	return out
}

// edge returns the lines at one edge of a page, from outside to inside.
func (p *page) edge(index int, bottom bool, grids []box) []*edgeLine {
	// A line more than are looked at, and what stands just inside of them.
	limit := band*p.height + 60
	var at []int
	for i := range p.words {
		w := &p.words[i]
		if !bottom && w.y < limit || bottom && w.y > p.height-limit {
			at = append(at, i)
		}
	}
	slices.SortStableFunc(at, func(a, b int) int {
		if bottom {
			a, b = b, a
		}
		return cmp.Compare(p.words[a].y, p.words[b].y)
	})
	var lines []*edgeLine
	for len(at) > 0 && len(lines) <= edgeLines {
		y := p.words[at[0]].y
		n := 1
		for n < len(at) && abs(p.words[at[n]].y-y) < 2.5 {
			n++
		}
		lines = append(lines, p.edgeLine(index, bottom, slices.Clone(at[:n])))
		at = at[n:]
	}
	for i, l := range lines {
		l.inward = p.height // nothing near
		if i+1 < len(lines) {
			l.inward = abs(lines[i+1].y - l.y)
			l.row = l.besides(lines[i+1]) && (i+2 == len(lines) || lines[i+1].inStep(l, lines[i+2]))
		}
		l.row = l.row || isBullet(firstWord(l.pieces[0].text)) && l.pieces[0].number.form == noNumber ||
			slices.ContainsFunc(grids, func(g box) bool { return l.y > g.y0 && l.y-.5*l.size < g.y1 && l.x0 < g.x1 && l.x1 > g.x0 })
	}
	return slices.DeleteFunc(lines, func(l *edgeLine) bool {
		return !bottom && l.y >= band*p.height || bottom && l.y <= (1-band)*p.height
	})
}

// edgeLine makes a line of words at one height.
func (p *page) edgeLine(index int, bottom bool, words []int) *edgeLine {
	slices.SortStableFunc(words, func(a, b int) int { return cmp.Compare(p.words[a].x0, p.words[b].x0) })
	first, last := &p.words[words[0]], &p.words[words[len(words)-1]]
	l := &edgeLine{page: index, bottom: bottom, y: first.y, x0: first.x0, x1: last.x1}
	for len(words) > 0 {
		n := 1
		for n < len(words) && p.words[words[n]].x0-p.words[words[n-1]].x1 < 1.5*p.words[words[n]].size {
			n++
		}
		q := piece{words: words[:n:n], x0: p.words[words[0]].x0, x1: p.words[words[n-1]].x1}
		var text []string
		for _, i := range q.words {
			text = append(text, p.words[i].text)
			l.size = max(l.size, p.words[i].size)
		}
		q.text = strings.Join(text, " ")
		q.number, q.masked = findPageNumber(q.text)
		l.pieces = append(l.pieces, q)
		words = words[n:]
	}
	return l
}

// besides reports whether the line is a row of a table that goes on in the next
// one: two cells at least share an edge. A column of nothing but numbers is one,
// too.
func (l *edgeLine) besides(next *edgeLine) bool {
	if abs(l.y-next.y) > 2.5*max(l.size, next.size) {
		return false
	}
	shared := 0
	for _, a := range l.pieces {
		if slices.ContainsFunc(next.pieces, func(b piece) bool {
			return abs(a.x0-b.x0) < 2 || abs(a.x1-b.x1) < 2 || abs(a.x0+a.x1-b.x0-b.x1) < 4
		}) {
			shared++
		}
	}
	if len(l.pieces) == 1 && len(next.pieces) == 1 {
		return shared == 1 && !hasLetter(l.pieces[0].text) && !hasLetter(next.pieces[0].text)
	}
	return shared >= 2
}

// label matches what stands before a number that is not that of a page.
var label = regexp.MustCompile(`(?i)(?:[:#№=]|\b(?:no|nr|num|number|nummer|numéro|número|n[°º]|id|ref|code|order|invoice|rechnung|facture|factura|question|exercise|lesson|total|sum|count|qty)\.?)$`)

// labels reports whether a number is the value of what stands before it.
func (l *edgeLine) labels(i int) bool {
	return i > 0 && l.pieces[i].masked == "#" && label.MatchString(l.pieces[i-1].text)
}

// inStep reports whether the line is about as far from the one before as from the
// one after, as rows are. A running title stands farther from the text.
func (l *edgeLine) inStep(before, after *edgeLine) bool {
	a, b := abs(l.y-before.y), abs(l.y-after.y)
	return max(a, b) < 1.6*min(a, b)
}

// gridBoxes returns where rules form grids.
func (p *page) gridBoxes() []box {
	if len(p.rules) > maxRules {
		return nil
	}
	var out []box
	for _, g := range grids(p.rules) {
		out = append(out, box{g.xs[0], g.ys[0], g.xs[len(g.xs)-1], g.ys[len(g.ys)-1]})
	}
	return out
}

func firstWord(s string) string {
	s, _, _ = strings.Cut(s, " ")
	return s
}

// evidence is what speaks for running lines, page against page.
type evidence struct {
	*document
	lines  []*edgeLine // by page and side, from outside to inside
	needed int         // pages on which a line has to be
	body   float32     // size of the text
}

// slot is a place on a page, the same for left and right pages.
type slot struct {
	bottom bool
	y, x   int
}

func (e *evidence) slots(l *edgeLine, q *piece) []slot {
	width := e.pages[l.page].width
	var out []slot
	for _, x := range []float32{q.x0, width - q.x1, (q.x0 + q.x1) / 2} {
		for _, dy := range []int{-1, 0, 1} {
			for _, dx := range []int{-1, 0, 1} {
				out = append(out, slot{l.bottom, int(l.y/edgeDrift) + dy, int(x/edgeDrift) + dx})
			}
		}
	}
	return out
}

// count finds the numbers that count as the pages do.
func (e *evidence) count() {
	type series struct {
		bottom bool
		form   pageForm
		prefix string
		offset int // of the printed number from ours
	}
	type member struct {
		*edgeLine
		*piece
	}
	found := map[series][]member{}
	for _, l := range e.lines {
		for i := range l.pieces {
			q := &l.pieces[i]
			if q.number.form == spaced && l.size >= .93*e.body {
				continue
			}
			if q.number.form != noNumber && !l.row && !l.labels(i) {
				s := series{l.bottom, q.number.form, q.number.prefix, q.number.n - e.pages[l.page].number}
				found[s] = append(found[s], member{l, q})
			}
		}
	}
	taken := map[slot]int{}
	for _, members := range found {
		pages := map[int]bool{}
		for _, m := range members {
			pages[m.page] = true
		}
		if len(pages) < e.needed {
			continue
		}
		for _, m := range members {
			m.counts = true
			for _, s := range e.slots(m.edgeLine, m.piece) {
				taken[s]++
			}
		}
	}
	// Numbers that say that they are those of pages need no others. Bare ones
	// do, unless they stand where those of other pages do: parts of a document
	// may begin with 1 again.
	for _, l := range e.lines {
		for i := range l.pieces {
			q := &l.pieces[i]
			switch {
			case l.row || q.number.form == noNumber || l.labels(i):
			case q.number.form == named:
				q.counts = true
			case q.masked == "#" && q.number.n < 1900 && slices.ContainsFunc(e.slots(l, q), func(s slot) bool { return taken[s] >= e.needed }):
				q.counts = true
			}
		}
	}
}

// repeat finds the pieces that come again.
func (e *evidence) repeat() {
	type text struct {
		bottom bool
		text   string
	}
	found := map[text][]*edgeLine{}
	which := map[text][]*piece{}
	for _, l := range e.lines {
		for i := range l.pieces {
			q := &l.pieces[i]
			if l.row || q.masked == "#" || len(q.text) > edgeText {
				continue
			}
			t := text{l.bottom, q.text}
			if q.counts {
				t.text = q.masked
			}
			found[t] = append(found[t], l)
			which[t] = append(which[t], q)
		}
	}
	var late []text
	slots := map[slot]bool{}
	for _, t := range slices.SortedFunc(maps.Keys(found), func(a, b text) int { return cmp.Compare(a.text, b.text) }) {
		lines, pieces := found[t], which[t]
		if !e.follows(lines, pieces, e.needed) || lines[0].bold && len(lines)*5 < len(e.pages)*4 && e.needed > 2 {
			late = append(late, t)
			continue
		}
		for i, q := range pieces {
			q.runs = true
			for _, s := range e.slots(lines[i], q) {
				slots[s] = true
			}
		}
	}
	// Two pages are enough where running lines stand on other pages, say for the
	// name of a short chapter.
	for _, t := range late {
		lines, pieces := found[t], which[t]
		if e.follows(lines, pieces, 2) && slices.ContainsFunc(e.slots(lines[0], pieces[0]), func(s slot) bool { return slots[s] }) {
			for _, q := range pieces {
				q.runs = true
			}
		}
	}
}

// follows reports whether pieces of one text are at one place on as many pages
// as needed that follow each other, or on every other one.
func (e *evidence) follows(lines []*edgeLine, pieces []*piece, needed int) bool {
	best := 0
	for step := 1; step <= 2; step++ {
		length := 1
		for i := 1; i < len(lines); i++ {
			// The line before it, or the one of the same side before that.
			j := i - 1
			for j > 0 && lines[i].page-lines[j].page < step {
				j--
			}
			if lines[i].page-lines[j].page != step || !e.samePlace(lines[i], lines[j], pieces[i], pieces[j]) {
				length = 1
				continue
			}
			length++
			best = max(best, length)
		}
	}
	return best >= needed
}

func (e *evidence) samePlace(a, b *edgeLine, p, q *piece) bool {
	if abs(a.y-b.y) > edgeDrift || abs(a.size-b.size) > .5 {
		return false
	}
	width := e.pages[a.page].width
	return abs(p.x0-q.x0) <= edgeDrift || abs(p.x1-q.x1) <= edgeDrift || abs(p.x0+p.x1-q.x0-q.x1) <= 2*edgeDrift ||
		abs(p.x0-(width-q.x1)) <= edgeDrift
}

// settle decides which lines run: all of their pieces do, and all lines outside
// of them. A label that comes again beside a value that does not stays with it.
func (e *evidence) settle() {
	for _, lines := range sides(e.lines) {
		run := 0
		for _, l := range lines {
			l.outlying = true
			l.runs = !l.row
			for i := range l.pieces {
				q := &l.pieces[i]
				l.runs = l.runs && (q.runs || q.counts && q.masked == "#")
			}
			if !l.runs {
				break
			}
			run++
		}
		// Lines that follow each other like those of the text are text: a log
		// may say the same at the top of every page.
		for ; run > 0 && !e.apart(lines[run-1]); run-- {
			lines[run-1].runs = false
		}
		for _, l := range lines[min(run+1, len(lines)):] {
			l.outlying = false
		}
	}
}

// sides divides lines into those at one edge of one page.
func sides(lines []*edgeLine) [][]*edgeLine {
	var out [][]*edgeLine
	for len(lines) > 0 {
		n := 1
		for n < len(lines) && lines[n].page == lines[0].page && lines[n].bottom == lines[0].bottom {
			n++
		}
		out = append(out, lines[:n])
		lines = lines[n:]
	}
	return out
}

// apart reports whether a line is set apart from the next one towards the
// middle of the page.
func (e *evidence) apart(l *edgeLine) bool {
	if l.inward > 1.6*l.size || l.size < .93*e.body || slices.ContainsFunc(l.pieces, func(q piece) bool { return q.counts }) {
		return true
	}
	next := l.y + l.inward
	if l.bottom {
		next = l.y - l.inward
	}
	return slices.ContainsFunc(e.pages[l.page].rules, func(r rule) bool {
		return r.horizontal() && r.y0 > min(l.y, next) && r.y0 < max(l.y, next) && r.x1-r.x0 > 10*l.size
	})
}

// remove takes the running lines away. Of what they say the first stays, unless
// the document says it elsewhere, as a title.
func (e *evidence) remove() {
	gone := removal{}
	running := removal{}
	keys := map[string]bool{}
	for _, l := range e.lines {
		for i := range l.pieces {
			q := &l.pieces[i]
			switch {
			case q.masked == "#":
				if l.runs || l.outlying && q.counts && !l.row {
					gone.add(l.page, q.words)
				}
			case l.runs:
				running.add(l.page, q.words)
				keys[letters(q.said())] = true
			}
		}
	}
	kept := e.said(keys, running)
	slices.SortStableFunc(e.lines, func(a, b *edgeLine) int { return cmp.Compare(a.page, b.page) })
	for _, l := range e.lines {
		for i := range l.pieces {
			q := &l.pieces[i]
			if !l.runs || q.masked == "#" {
				continue
			}
			key := letters(q.said())
			if key == "" || kept[key] {
				gone.add(l.page, q.words)
			} else if q.counts {
				gone.add(l.page, e.numberWords(l.page, q))
			}
			kept[key] = true
		}
	}
	e.take(gone)
}

// numberWords returns the words of a piece that are the number of the page, and
// the signs that set it apart.
func (e *evidence) numberWords(page int, q *piece) []int {
	var out []int
	at := 0
	words := e.pages[page].words
	for _, w := range q.words {
		end := at + len(words[w].text)
		if at >= q.number.from && end <= q.number.to {
			out = append(out, w)
		}
		at = end + 1
	}
	if len(out) == 0 {
		return nil
	}
	for i := slices.Index(q.words, out[0]) - 1; i >= 0 && letters(words[q.words[i]].text) == ""; i-- {
		out = append(out, q.words[i])
	}
	return out
}

// said is what a piece says besides the number of the page.
func (q *piece) said() string {
	if q.counts {
		return q.masked
	}
	return q.text
}

// removal is words to take away: page, index into its words.
type removal map[int]map[int]bool

func (r removal) add(page int, words []int) {
	if r[page] == nil {
		r[page] = map[int]bool{}
	}
	for _, w := range words {
		r[page][w] = true
	}
}

// said returns which of the given texts, reduced to letters, stand in a line of
// their own that does not run, or in the large letters of the first page.
func (e *evidence) said(keys map[string]bool, running removal) map[string]bool {
	out := map[string]bool{}
	if len(keys) == 0 {
		return out
	}
	for i, p := range e.pages {
		var large strings.Builder
		for from := 0; from < len(p.words); {
			to := from + firstRun(p.words[from:])
			var text strings.Builder
			for k := from; k < to; k++ {
				if !running[i][k] {
					text.WriteString(letters(p.words[k].text))
					if i == 0 && p.words[k].size > 1.1*e.body {
						large.WriteString(letters(p.words[k].text))
					}
				}
			}
			if s := text.String(); keys[s] {
				out[s] = true
			}
			from = to
		}
		for key := range keys {
			if i == 0 && len(key) > 8 && strings.Contains(large.String(), key) {
				out[key] = true
			}
		}
	}
	return out
}

// take removes words, unless whole pages would be empty.
func (d *document) take(gone removal) {
	emptied := 0
	for page, words := range gone {
		if len(words) == len(d.pages[page].words) {
			emptied++
		}
	}
	for page, words := range gone {
		p := d.pages[page]
		// A blank page has its running lines too. But where most pages are
		// nothing else, they are what the document says: labels, say, or cards.
		if len(words) == len(p.words) && 3*emptied > len(d.pages) {
			continue
		}
		kept := make([]word, 0, len(p.words)-len(words))
		for i, w := range p.words {
			if !words[i] {
				kept = append(kept, w)
			}
		}
		p.words = kept
	}
}

// removeRepeatedAsides takes away what is written up the margin of several
// pages, but for the first.
func (d *document) removeRepeatedAsides() {
	pages := map[string]int{}
	for _, p := range d.pages {
		for _, words := range p.asides {
			pages[textOf(words)]++
		}
	}
	kept := map[string]bool{}
	for _, p := range d.pages {
		p.asides = slices.DeleteFunc(p.asides, func(words []word) bool {
			s := textOf(words)
			if again := kept[s]; again && pages[s] >= min(3, len(d.pages)) {
				return true
			}
			kept[s] = true
			return false
		})
	}
}

func hasLetter(s string) bool { return strings.ContainsFunc(s, unicode.IsLetter) }
