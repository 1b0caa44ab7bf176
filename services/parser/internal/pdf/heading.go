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

// style is how a heading is set. Headings of one level share it.
type style struct {
	size float32
	bold bool
}

type candidate struct {
	block   *block
	style   style
	depth   int  // of its section number; 0 = none
	outline int  // level in the outline; 0 = not there
	large   bool // larger than the body
}

// findHeadings sets the level of the blocks that are headings.
func (d *document) findHeadings(blocks []block, t typography) {
	inOutline := map[string][]outlineEntry{}
	for _, e := range d.outline {
		inOutline[e.title] = append(inOutline[e.title], e)
	}
	var found []candidate
	matched, weak, texts := 0, 0, 0
	contents := map[int]int{} // page, entries of a table of contents on it
	for i := range blocks {
		for j := range blocks[i].lines {
			if tocEntry.MatchString(blocks[i].lines[j].text()) {
				contents[blocks[i].page]++
			}
		}
	}
	for i := range blocks {
		b := &blocks[i]
		if b.kind == tableBlock || b.kind == codeBlock && len(b.lines) > 1 {
			continue
		}
		texts++
		c, ok := d.candidate(b, t, inOutline)
		if !ok || contents[b.page] > 2 && !c.large && endsInNumber(b.plain()) {
			continue
		}
		if c.outline > 0 {
			matched++
		}
		if !c.large && c.outline == 0 {
			weak++
		}
		found = append(found, c)
	}
	// In a form every other label is bold, and a good outline knows better.
	reject := 2*weak > texts && weak > 5 || len(d.outline) >= 5 && 2*matched > len(d.outline)
	found = slices.DeleteFunc(found, func(c candidate) bool {
		return reject && !c.large && c.outline == 0 && c.depth == 0
	})
	setLevels(found, blocks)
}

func (d *document) candidate(b *block, t typography, inOutline map[string][]outlineEntry) (candidate, bool) {
	const longest = 200 // bytes
	if len(b.lines) > 4 {
		return candidate{}, false
	}
	text := b.plain()
	if len(text) > longest || !hasLetter(text) || caption.MatchString(text) {
		return candidate{}, false
	}
	l := &b.lines[0]
	c := candidate{block: b, style: style{roundSize(l.size), l.bold && !t.bold}, large: l.size > 1.1*t.body}
	if m := numbered.FindStringSubmatch(text); m != nil {
		c.depth = 1 + strings.Count(strings.TrimSuffix(m[1], "."), ".")
	}
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
	if c.outline > 0 && l.size > .9*t.body {
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
		return cmp.Compare(boolInt(b.bold), boolInt(a.bold))
	})
	level := 0
	for i, s := range styles {
		// Sizes that differ by a hair are one size.
		if i == 0 || styles[i-1].size-s.size > .04*s.size || styles[i-1].bold != s.bold {
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
		if t.outline > 0 || t.depth > 0 || !t.large {
			title = -1
		}
		for i, c := range found {
			if title >= 0 && i != title && c.style == t.style && (c.outline > 0 || c.depth > 0) {
				title = -1
			}
		}
	}
	hasTitle := title >= 0
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
