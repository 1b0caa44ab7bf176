package pdf

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// edge is a line near the top or bottom of a page.
type edge struct {
	page   int // index into document.pages
	bottom bool
	outer  bool // the outermost
	y      float32
	text   string // with every number as "#"
	number int    // the integer it begins or ends with; 0 = none
	words  []int  // indexes into page.words
}

const (
	band      = .13 // of the page's height, at the top and at the bottom
	edgeLines = 4   // on each side
	edgeDrift = 6   // points by which a repeated line may move
)

// removeFurniture takes the running headers and footers from the pages: lines
// near an edge that come again at the same height on other pages, with nothing
// but numbers changed, and lines that carry the number of their page.
func (d *document) removeFurniture() {
	if len(d.pages) < 2 {
		return
	}
	needed := 3
	if len(d.pages) <= 4 {
		needed = 2
	}
	var edges []edge
	for i, p := range d.pages {
		edges = append(edges, p.edges(i)...)
	}
	type place struct {
		bottom bool
		text   string
	}
	type count struct {
		bottom bool
		offset int // of the printed number from ours
	}
	same := map[place][]*edge{}
	offsets := map[count]map[int]bool{}
	for i := range edges {
		e := &edges[i]
		k := place{e.bottom, e.text}
		same[k] = append(same[k], e)
		if e.number > 0 {
			c := count{e.bottom, e.number - d.pages[e.page].number}
			if offsets[c] == nil {
				offsets[c] = map[int]bool{}
			}
			offsets[c][e.page] = true
		}
	}
	// Places where running lines have been found, by side and whole points, and
	// on how many pages: what stands there on other pages is one too, say the
	// name of a section that is one page long.
	type slot struct {
		bottom bool
		y      int
	}
	slots := map[slot]int{}
	remove := map[int]map[int]bool{} // page, word
	drop := func(e *edge) {
		slots[slot{e.bottom, int(e.y)}]++
		if remove[e.page] == nil {
			remove[e.page] = map[int]bool{}
		}
		for _, w := range e.words {
			remove[e.page][w] = true
		}
	}
	for i := range edges {
		e := &edges[i]
		again, exactly := map[int]bool{}, map[int]bool{}
		for _, o := range same[place{e.bottom, e.text}] {
			if abs(o.y-e.y) <= edgeDrift {
				again[o.page] = true
			}
			if abs(o.y-e.y) < .5 && o.outer && e.outer {
				exactly[o.page] = true
			}
			if len(again) >= needed {
				break
			}
		}
		switch {
		// Left and right pages of a short paper have few lines to compare.
		case len(again) >= needed, len(exactly) >= 2 && len(d.pages) <= 10:
			// Words of a letterhead are worth keeping once, where they first
			// stand; a page number is not.
			if e.page > 0 || strings.Contains(e.text, "#") || !hasLetter(e.text) {
				drop(e)
			}
		case e.number > 0 && len(offsets[count{e.bottom, e.number - d.pages[e.page].number}]) >= max(needed, 3):
			if len(e.text) <= 120 {
				drop(e)
			}
		}
	}
	for i := range edges {
		e := &edges[i]
		y := int(e.y)
		if n := slots[slot{e.bottom, y}] + slots[slot{e.bottom, y - 1}] + slots[slot{e.bottom, y + 1}]; e.outer &&
			n >= 4 && 4*n >= len(d.pages) && len(e.text) <= 120 && !remove[e.page][e.words[0]] {
			drop(e)
		}
	}
	emptied := 0
	for page, gone := range remove {
		if len(gone) == len(d.pages[page].words) {
			emptied++
		}
	}
	for page, gone := range remove {
		p := d.pages[page]
		// A blank page has its running lines too. But where most pages are
		// nothing else, they are what the document says: labels, say, or cards.
		if len(gone) == len(p.words) && 3*emptied > len(d.pages) {
			continue
		}
		kept := make([]word, 0, len(p.words)-len(gone))
		for i, w := range p.words {
			if !gone[i] {
				kept = append(kept, w)
			}
		}
		p.words = kept
	}
}

// edges returns the outermost lines of a page.
func (p *page) edges(index int) []edge {
	var out []edge
	for _, bottom := range []bool{false, true} {
		var at []int
		for i := range p.words {
			w := &p.words[i]
			if !bottom && w.y < band*p.height || bottom && w.y > (1-band)*p.height {
				at = append(at, i)
			}
		}
		slices.SortStableFunc(at, func(a, b int) int {
			if bottom {
				a, b = b, a
			}
			return cmp.Compare(p.words[a].y, p.words[b].y)
		})
		for lines := 0; len(at) > 0 && lines < edgeLines; lines++ {
			y := p.words[at[0]].y
			n := 1
			for n < len(at) && abs(p.words[at[n]].y-y) < 2.5 {
				n++
			}
			line := slices.Clone(at[:n])
			at = at[n:]
			slices.SortStableFunc(line, func(a, b int) int { return cmp.Compare(p.words[a].x0, p.words[b].x0) })
			e := edge{page: index, bottom: bottom, outer: lines == 0, y: y, words: line}
			var text []string
			for _, i := range line {
				text = append(text, p.words[i].text)
			}
			e.text = maskNumbers(strings.Join(text, " "))
			e.number = cmp.Or(pageNumber(text[0]), pageNumber(text[len(text)-1]))
			out = append(out, e)
		}
	}
	return out
}

func pageNumber(s string) int {
	n, err := strconv.Atoi(strings.Trim(s, "-–—|[]()."))
	if err != nil || n < 0 || n > 99_999 {
		return 0
	}
	return n
}

// maskNumbers writes every run of digits, and a line that is nothing but a
// Roman numeral, as "#".
func maskNumbers(s string) string {
	if len(s) <= 7 && strings.Trim(strings.ToLower(s), "ivxlc") == "" {
		return "#"
	}
	var b strings.Builder
	digits := false
	for _, r := range s {
		if unicode.IsDigit(r) {
			if !digits {
				b.WriteByte('#')
			}
			digits = true
			continue
		}
		digits = false
		b.WriteRune(r)
	}
	return b.String()
}

func hasLetter(s string) bool { return strings.ContainsFunc(s, unicode.IsLetter) }
