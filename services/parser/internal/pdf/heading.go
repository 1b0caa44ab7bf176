package pdf

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/klippa-app/go-pdfium/requests"
	"github.com/klippa-app/go-pdfium/responses"
)

// outlineEntry is a bookmark: what viewers show as the table of contents.
type outlineEntry struct {
	title string // letters and digits only, in lower case
	level int    // from 1
	page  int    // from 1; 0 = unknown
}

const maxOutline = 5_000

func (f *file) outline() []outlineEntry {
	r, err := f.instance.GetBookmarks(&requests.GetBookmarks{Document: f.doc})
	if err != nil {
		return nil // it only helps
	}
	var out []outlineEntry
	var walk func(bs []responses.GetBookmarksBookmark, level int)
	walk = func(bs []responses.GetBookmarksBookmark, level int) {
		for _, b := range bs {
			if len(out) >= maxOutline || level > 9 {
				return
			}
			e := outlineEntry{title: letters(b.Title), level: level}
			switch {
			case b.DestInfo != nil:
				e.page = b.DestInfo.PageIndex + 1
			case b.ActionInfo != nil && b.ActionInfo.DestInfo != nil:
				e.page = b.ActionInfo.DestInfo.PageIndex + 1
			}
			if e.title != "" {
				out = append(out, e)
			}
			walk(b.Children, level+1)
		}
	}
	walk(r.Bookmarks, 1)
	return out
}

// letters reduces text to what two settings of one heading have in common.
func letters(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, s)
}

var (
	caption  = regexp.MustCompile(`^(?i)(figure|fig\.|table|algorithm|listing|abbildung|tabelle|tableau|図|表)\s*[0-9]`)
	numbered = regexp.MustCompile(`^([0-9]{1,2}(?:\.[0-9]{1,3}){0,4}|[A-Z](?:\.[0-9]{1,3}){0,4}|[IVX]{1,5})\.?\s+\S`)
)

// sectionOf returns the section number that a text begins with and its depth, 1 for
// "2" and 2 for "2.1". Without one the depth is 0.
func sectionOf(text string) (number string, depth int) {
	m := numbered.FindStringSubmatch(text)
	if m == nil {
		return "", 0
	}
	return m[1], 1 + strings.Count(m[1], ".")
}

// style is how a heading is set. Headings of one level share it.
type style struct {
	size   float32
	bold   bool
	manner manner
}

type candidate struct {
	block   *block
	at      int // index of the block
	style   style
	depth   int  // of its section number; 0 = none
	outline int  // level in the outline; 0 = not there
	tag     int  // level that the file says; 0 = none
	large   bool // larger than the body
}

// findHeadings sets the level of the blocks that are headings.
func (d *document) findHeadings(blocks []block, t typography) {
	inOutline := map[string][]outlineEntry{}
	for _, e := range d.outline {
		inOutline[e.title] = append(inOutline[e.title], e)
	}
	var found []candidate
	matched, tagged, weak, texts := 0, 0, 0, 0
	contents := map[int]int{} // page, entries of a table of contents on it
	for i := range blocks {
		for j := range blocks[i].lines {
			if tocEntry.MatchString(blocks[i].lines[j].text()) {
				contents[blocks[i].page]++
			}
		}
	}
	trusted := trustTags(blocks)
	for i := range blocks {
		b := &blocks[i]
		if !trusted {
			for j := range b.lines {
				b.lines[j].tag = 0
			}
		}
		if b.kind == tableBlock || b.kind == codeBlock && len(b.lines) > 1 {
			continue
		}
		texts++
		c, ok := d.candidate(b, t, inOutline)
		if !ok || c.tag == 0 && contents[b.page] > 2 && !c.large && endsInNumber(b.plain()) {
			continue
		}
		c.at = i
		if c.outline > 0 {
			matched++
		}
		if c.tag > 0 {
			tagged++
		}
		if !c.large && c.outline == 0 && c.tag == 0 {
			weak++
		}
		found = append(found, c)
	}
	// In a form every other label is bold, and a good outline knows better.
	reject := 2*weak > texts && weak > 5 || len(d.outline) >= 5 && 2*matched > len(d.outline) || tagged >= 3
	if !reject {
		found = append(found, d.quietHeadings(blocks, t)...)
	}
	found = slices.DeleteFunc(found, func(c candidate) bool {
		return reject && !c.large && c.outline == 0 && c.tag == 0 && c.depth == 0
	})
	slices.SortStableFunc(found, func(a, b candidate) int { return cmp.Compare(a.at, b.at) })
	setLevels(found, blocks)
}

// trustTags reports whether the headings that the file names can be: not most
// of what it says.
func trustTags(blocks []block) bool {
	var all, tagged int
	for i := range blocks {
		for _, l := range blocks[i].lines {
			n := len(l.words)
			all += n
			if l.tag > 0 {
				tagged += n
			}
		}
	}
	return 3*tagged < all || len(blocks) < 4
}

// manner is how a heading is set apart that is neither large nor bold.
type manner uint8

const (
	plain manner = iota
	italic
	capitals
	underlined
	counted // it has a section number
)

// quietHeadings finds headings in the size and the weight of the text: in
// italics, in capitals, underlined, or with a section number. Each is a line by
// itself before a paragraph, and not the only one of its manner.
func (d *document) quietHeadings(blocks []block, t typography) []candidate {
	found := map[manner][]candidate{}
	for i := range blocks {
		b := &blocks[i]
		if len(b.lines) != 1 || b.kind == tableBlock || b.kind == codeBlock || i+1 == len(blocks) || contentsOn(b) {
			continue
		}
		next := &blocks[i+1]
		if next.kind != paragraph || next.lines[0].tag > 0 || len(next.plain()) < 80 || next.page > b.page+1 ||
			abs(next.lines[0].size-t.body) > .1*t.body || next.lines[0].bold && !t.bold {
			continue
		}
		l := &b.lines[0]
		text := b.plain()
		if l.size < .95*t.body || l.size > 1.1*t.body || l.bold && !t.bold || len(text) > 90 || len([]rune(text)) < 4 ||
			letterShare(text) < .6 || endsSentence(text) || strings.HasSuffix(text, ",") || caption.MatchString(text) {
			continue
		}
		c := candidate{block: b, at: i, style: style{size: roundSize(l.size)}}
		var number string
		if number, c.depth = sectionOf(text); c.depth > 0 {
			if rest := strings.TrimLeft(text[len(number):], ". \t"); startsLower(rest) {
				continue
			}
		} else if b.kind == listItem || startsLower(text) {
			continue
		}
		how := plain
		switch {
		case c.depth > 0 && (i == 0 || blocks[i-1].kind != listItem):
			how = counted
		case b.kind == listItem:
		case allCaps(text):
			how = capitals
		case d.allItalic(l) && !t.italic:
			how = italic
		case d.underlined(b):
			how = underlined
		}
		if how == plain {
			continue
		}
		c.style.manner = how
		found[how] = append(found[how], c)
	}
	var out []candidate
	for how, cs := range found {
		if len(cs) >= 2 && (how != counted || inSequence(cs)) {
			out = append(out, cs...)
		}
	}
	return out
}

func contentsOn(b *block) bool { return tocEntry.MatchString(b.lines[0].text()) }

// inSequence reports whether the section numbers go up.
func inSequence(cs []candidate) bool {
	up := 0
	last := ""
	for _, c := range cs {
		number, _ := sectionOf(c.block.plain())
		if last != "" && compareNumbers(last, number) < 0 {
			up++
		}
		last = number
	}
	return up == len(cs)-1
}

// compareNumbers compares section numbers: 2.9 is before 2.10.
func compareNumbers(a, b string) int {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(as), len(bs)) {
		if len(as[i]) != len(bs[i]) {
			return cmp.Compare(len(as[i]), len(bs[i]))
		}
		if as[i] != bs[i] {
			return cmp.Compare(as[i], bs[i])
		}
	}
	return cmp.Compare(len(as), len(bs))
}

func (d *document) allItalic(l *line) bool {
	for i := range l.words {
		if w := &l.words[i]; hasLetter(w.text) && !d.fonts[w.font].italic {
			return false
		}
	}
	return true
}

// underlined reports whether a rule as long as the line runs under it.
func (d *document) underlined(b *block) bool {
	l := &b.lines[0]
	for _, r := range d.pages[b.page-1].rules {
		if r.horizontal() && r.y0 > l.y && r.y0 < l.y+.35*l.size && abs(r.x0-l.x0) < l.size && abs(r.x1-l.x1) < l.size {
			return true
		}
	}
	return false
}

func (d *document) candidate(b *block, t typography, inOutline map[string][]outlineEntry) (candidate, bool) {
	const longest = 200 // bytes
	if len(b.lines) > 4 {
		return candidate{}, false
	}
	text := b.plain()
	l := &b.lines[0]
	if len(text) > longest || !hasLetter(text) || l.tag == 0 && caption.MatchString(text) || b.filledIn(text) {
		return candidate{}, false
	}
	c := candidate{tag: int(l.tag), block: b, style: style{size: roundSize(l.size), bold: l.bold && !t.bold}, large: l.size > 1.1*t.body}
	_, c.depth = sectionOf(text)
	key := letters(text)
	entries := inOutline[key]
	if entries == nil {
		entries = inOutline[strings.TrimLeftFunc(key, unicode.IsDigit)]
	}
	for _, e := range entries {
		if e.page == 0 || e.page == b.page {
			c.outline = e.level
			break
		}
	}
	if c.outline > 0 && l.size > .9*t.body || c.tag > 0 {
		return c, true
	}
	if b.kind == listItem && (c.depth == 0 || isBullet(b.marker)) && !c.large {
		return candidate{}, false
	}
	if l.size < .95*t.body || letterShare(text) < .4 || len([]rune(text)) < 3 {
		return candidate{}, false
	}
	sentence := strings.HasSuffix(text, ".") && c.depth == 0 || strings.HasSuffix(text, ",") || strings.HasSuffix(text, ";")
	switch {
	case c.large:
		return c, (!sentence && len(b.lines) <= 2) || l.size > 1.3*t.body
	case c.style.bold:
		return c, !sentence && len(b.lines) <= 2 && !startsLower(text)
	case c.depth > 0 && allCaps(text), knownHeadings[key]:
		return c, len(b.lines) == 1
	}
	return candidate{}, false
}

// filledIn reports whether a block is a line of a form, or was put onto the page later: a
// stamp is as large as a title and says nothing about what follows.
func (b *block) filledIn(text string) bool {
	for i := range b.lines {
		if slices.ContainsFunc(b.lines[i].words, func(w word) bool { return w.field > 0 || w.added }) {
			return true
		}
	}
	return strings.Contains(text, "____")
}

// knownHeadings are set so differently that no rule on fonts finds them, and
// mean nothing else on a line of their own.
var knownHeadings = map[string]bool{"abstract": true, "references": true, "bibliography": true, "acknowledgements": true, "acknowledgments": true}

func endsInNumber(s string) bool {
	return s != "" && s[len(s)-1] >= '0' && s[len(s)-1] <= '9'
}

func letterShare(s string) float64 {
	n, k := 0, 0
	for _, r := range s {
		if r == ' ' {
			continue
		}
		n++
		if unicode.IsLetter(r) {
			k++
		}
	}
	return float64(k) / float64(max(n, 1))
}

func allCaps(s string) bool {
	return strings.ToUpper(s) == s && strings.ToLower(s) != s
}

// setLevels ranks the styles: larger is higher, bold before plain. Section
// numbers and the outline, which know, override the rank.
func setLevels(found []candidate, blocks []block) {
	if len(found) == 0 {
		return
	}
	rank := map[style]int{}
	var styles []style
	for _, c := range found {
		if _, ok := rank[c.style]; !ok {
			rank[c.style] = 0
			styles = append(styles, c.style)
		}
	}
	slices.SortFunc(styles, func(a, b style) int {
		if a.size != b.size {
			return cmp.Compare(b.size, a.size)
		}
		return cmp.Or(cmp.Compare(boolInt(b.bold), boolInt(a.bold)), cmp.Compare(b.manner, a.manner))
	})
	level := 0
	for i, s := range styles {
		// Sizes that differ by a hair are one size.
		if i == 0 || styles[i-1].size-s.size > .04*s.size || styles[i-1].bold != s.bold || styles[i-1].manner != s.manner {
			level++
		}
		rank[s] = level
	}
	// The largest on the first page is the title, unless sections are set so too.
	title := -1
	for i, c := range found {
		if c.block.page != blocks[0].page {
			break
		}
		if title < 0 || rank[c.style] < rank[found[title].style] {
			title = i
		}
	}
	if title >= 0 {
		t := found[title]
		if t.outline > 0 || t.tag > 0 || t.depth > 0 || !t.large {
			title = -1
		}
		for i, c := range found {
			if title >= 0 && i != title && c.style == t.style && (c.outline > 0 || c.depth > 0) {
				title = -1
			}
		}
	}
	hasTitle := title >= 0
	firstTag := 0
	for _, c := range found {
		if c.tag > 0 && (firstTag == 0 || c.tag < firstTag) {
			firstTag = c.tag
		}
	}
	// Where sections are numbered, the first depth stands where its style ranks.
	base := 0
	var firsts []int
	for _, c := range found {
		if c.depth == 1 && c.outline == 0 {
			firsts = append(firsts, rank[c.style])
		}
	}
	if len(firsts) > 0 {
		slices.Sort(firsts)
		base = firsts[len(firsts)/2]
		if hasTitle {
			base = min(base, 2)
		}
	}
	for i, c := range found {
		n := rank[c.style]
		switch {
		case i == title:
			n = 1
		case c.tag > 0:
			n = c.tag
			if hasTitle && firstTag == 1 {
				n++ // the title is not tagged
			}
		case c.outline > 0:
			n = c.outline
			if hasTitle {
				n++
			}
		case c.depth > 0 && base > 0:
			n = base + c.depth - 1
		}
		c.block.level = min(max(n, 1), 6)
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
