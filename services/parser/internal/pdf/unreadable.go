package pdf

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/klippa-app/go-pdfium/enums"
	"github.com/klippa-app/go-pdfium/references"
	"github.com/klippa-app/go-pdfium/requests"

	"sluice/pkg/fault"
)

// What a reader of the document sees and this package cannot read: pages that are
// pictures, and characters of fonts that do not say which letters they are. It is
// warned of page by page; if it is most of the document, that is refused.

// unreadable looks at what cannot be read: it notes warnings, or returns why the
// document is refused.
func (d *document) unreadable() *fault.Error {
	if err := d.settleUnmapped(); err != nil {
		return err
	}
	if err := d.scans(); err != nil {
		return err
	}
	for _, p := range d.pages {
		if p.said() > 0 {
			return nil
		}
	}
	return fault.Invalid("empty", "none of its %d pages has text", len(d.pages))
}

// unmapped is the first of the code points that stand for characters without
// Unicode, by their code: the last plane, which is for private use. They keep their
// code because old fonts of TeX have no Unicode and the right codes; only the whole
// document tells.
const unmapped = 0x100000

func isUnmapped(r rune) bool { return r >= unmapped }

// markUnmapped makes private characters of those that have no Unicode. Asking for
// each takes as long as reading a tenth of it. So it asks for some, among them each
// that the document has not had before, and for all if one of those has none.
func (x *extractor) markUnmapped(chars []*pageChar) error {
	const (
		few  = 100
		step = 12
	)
	found := false
	for i := 0; i < len(chars) && !found; i++ {
		if len(chars) > few && i%step != x.page.number%step && !x.file.unseen(chars[i].Text) {
			continue
		}
		var err error
		if found, err = x.lacksUnicode(i); err != nil {
			return err
		}
	}
	for i, c := range chars {
		switch {
		case c.Text == "\uFFFD":
			c.Text = string(rune(unmapped + 0xFFFD))
		case found:
			lacks, err := x.lacksUnicode(i)
			if err != nil {
				return err
			}
			if lacks {
				r, _ := utf8.DecodeRuneInString(c.Text) // no text is code 0
				if c.Text == "" {
					r = 0
				}
				c.Text = string(unmapped + min(r, 0xFFFD))
			}
		}
	}
	return nil
}

// unseen reports whether a character comes for the first time.
func (f *file) unseen(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	if r > 0xFFFF {
		return true
	}
	bit := uint64(1) << (r & 63)
	seen := &f.seen[r>>6]
	first := *seen&bit == 0
	*seen |= bit
	return first
}

func (x *extractor) lacksUnicode(i int) (bool, error) {
	r, err := x.instance.FPDFText_HasUnicodeMapError(&requests.FPDFText_HasUnicodeMapError{TextPage: x.textRef, Index: i})
	if err != nil {
		return false, ifTrapped(err)
	}
	return r.HasUnicodeMapError, nil
}

// settleUnmapped decides what the characters without Unicode are: letters by their
// codes, if that makes words, else nothing that can be read.
func (d *document) settleUnmapped() *fault.Error {
	all, bad := 0, 0
	var words []string
	for _, p := range d.pages {
		p.eachWord(func(w *word) {
			w.text = unmapPrivate(w.text)
			n := 0
			for _, r := range w.text {
				all++
				if isUnmapped(r) {
					n++
				}
			}
			if n > 0 {
				words = append(words, byCode(w.text))
			}
			p.glyphs += utf8.RuneCountInString(w.text)
			p.unmapped += n
			bad += n
		})
	}
	if bad == 0 {
		return nil
	}
	if plausible(words) {
		for _, p := range d.pages {
			p.eachWord(func(w *word) { w.text = byCode(w.text) })
			p.dropEmpty()
			p.unmapped = 0
		}
		return nil
	}
	if 2*bad > all {
		return fault.Invalid("unsupported", "%d %% of its characters have no Unicode: its fonts say how they look, and not which letters they are", 100*bad/all).
			WithHint("run OCR on it, or use the LlamaParse parser, which does")
	}
	var parts []string
	for _, p := range d.pages {
		if p.unmapped == 0 {
			continue
		}
		share := 100 * float64(p.unmapped) / float64(p.glyphs)
		// One mark says that something is missing; a page of marks says nothing.
		mark := "\uFFFD"
		if share > 50 {
			mark = ""
		}
		p.eachWord(func(w *word) {
			if strings.ContainsFunc(w.text, isUnmapped) {
				w.text = replaceRuns(w.text, mark)
			}
		})
		p.dropEmpty()
		if share < 1 {
			parts = append(parts, fmt.Sprintf("page %d (%.1f %%)", p.number, share))
		} else {
			parts = append(parts, fmt.Sprintf("page %d (%.0f %%)", p.number, share))
		}
	}
	const most = 20
	if more := len(parts) - most; more > 0 {
		parts = append(parts[:most], fmt.Sprintf("and %d more pages", more))
	}
	d.warnings = append(d.warnings, "characters that have no Unicode cannot be read: "+strings.Join(parts, ", "))
	return nil
}

// unmapPrivate takes words of private characters for words without Unicode. A
// single one is a bullet or an icon; words are of fonts for symbols, which keep
// their codes from U+F000 on.
func unmapPrivate(s string) string {
	isPrivate := func(r rune) bool { return r >= 0xE000 && r <= 0xF8FF }
	n := 0
	for _, r := range s {
		if isPrivate(r) {
			n++
		}
	}
	if n < 2 {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case !isPrivate(r):
			return r
		case r >= 0xF000 && r <= 0xF0FF:
			return unmapped + r - 0xF000
		}
		return unmapped + 0xFFFD
	}, s)
}

// eachWord calls f with all words of the page.
func (p *page) eachWord(f func(w *word)) {
	for i := range p.words {
		f(&p.words[i])
	}
	for _, aside := range p.asides {
		for i := range aside {
			f(&aside[i])
		}
	}
}

func (p *page) dropEmpty() {
	empty := func(w word) bool { return w.text == "" }
	p.words = slices.DeleteFunc(p.words, empty)
	for i := range p.asides {
		p.asides[i] = slices.DeleteFunc(p.asides[i], empty)
	}
}

// byCode takes the codes of characters without Unicode for Unicode.
func byCode(s string) string {
	return strings.Map(func(r rune) rune {
		if !isUnmapped(r) {
			return r
		}
		if r -= unmapped; unicode.IsControl(r) || r == 0xFFFD {
			return -1
		}
		return r
	}, s)
}

// replaceRuns writes mark for each run of characters without Unicode.
func replaceRuns(s, mark string) string {
	var b strings.Builder
	in := false
	for _, r := range s {
		switch u := isUnmapped(r); {
		case !u:
			b.WriteRune(r)
		case !in:
			b.WriteString(mark)
		}
		in = isUnmapped(r)
	}
	return b.String()
}

// everyday are words without which nobody writes a page, in the languages that fonts
// without Unicode were mostly used for.
var everyday = func() map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(
		"the of and to in is that for it with as be this are by from we on not can " + // English
			"der die und das den von zu mit ist des im ein eine nicht auf für dem sich " + // German
			"le la les des et un une du en que est pour dans qui par sur au ne pas " + // French
			"el los las una por con para del es se lo como más " + // Spanish
			"il di che della per non sono gli con nel " + // Italian
			"os uma do da dos das não em ao " + // Portuguese
			"het een van en dat te niet zijn op " + // Dutch
			"och att det som en på är av för") { // Swedish
		m[w] = true
	}
	return m
}()

// plausible reports whether the words of a text are words: at least one in eight
// is a common one.
func plausible(words []string) bool {
	n, known := 0, 0
	for _, w := range words {
		w = strings.ToLower(strings.TrimFunc(w, func(r rune) bool { return !unicode.IsLetter(r) }))
		if utf8.RuneCountInString(w) < 2 {
			continue
		}
		n++
		if everyday[w] {
			known++
		}
	}
	return known >= 5 && 8*known >= n
}

// cover notes which part of the page pictures cover, on a grid.
type cover [coverSide * coverSide]bool

const coverSide = 24

func (c *cover) add(b box, p *page) {
	for i := range c {
		x := (float32(i%coverSide) + .5) * p.width / coverSide
		y := (float32(i/coverSide) + .5) * p.height / coverSide
		if x > b.x0 && x < b.x1 && y > b.y0 && y < b.y1 {
			c[i] = true
		}
	}
}

func (c *cover) share() float32 {
	n := 0
	for _, covered := range c {
		if covered {
			n++
		}
	}
	return float32(n) / float32(len(c))
}

// picture adds an object to what pictures cover: a picture, or a form that
// contains one, which is how scanners and editors wrap them.
func (f *file) picture(o references.FPDF_PAGEOBJECT, form bool, p *page, fr frame) error {
	if form {
		holds, err := f.holdsPicture(o)
		if err != nil || !holds {
			return err
		}
	}
	b, err := f.instance.FPDFPageObj_GetBounds(&requests.FPDFPageObj_GetBounds{PageObject: o})
	if err != nil {
		return ifTrapped(err)
	}
	at := newBox(fr, area{b.Left, b.Bottom, b.Right, b.Top})
	if !finite(at.x0, at.y0, at.x1, at.y1) {
		return nil
	}
	p.cover.add(at, p)
	if !f.isTagged() {
		return nil
	}
	id, err := f.instance.FPDFPageObj_GetMarkedContentID(&requests.FPDFPageObj_GetMarkedContentID{PageObject: o})
	if err != nil {
		return ifTrapped(err)
	}
	p.figures = append(p.figures, figure{id.MarkedContentID, at})
	return nil
}

// holdsPicture reports whether one of a form's first objects is a picture, or
// another form.
func (f *file) holdsPicture(form references.FPDF_PAGEOBJECT) (bool, error) {
	const first = 20
	n, err := f.instance.FPDFFormObj_CountObjects(&requests.FPDFFormObj_CountObjects{PageObject: form})
	if err != nil {
		return false, ifTrapped(err)
	}
	for i := range min(n.Count, first) {
		f.objects++
		o, err := f.instance.FPDFFormObj_GetObject(&requests.FPDFFormObj_GetObject{PageObject: form, Index: uint64(i)})
		if err != nil {
			if trapped(err) {
				return false, err
			}
			continue
		}
		kind, err := f.instance.FPDFPageObj_GetType(&requests.FPDFPageObj_GetType{PageObject: o.PageObject})
		if err != nil {
			if trapped(err) {
				return false, err
			}
			continue
		}
		if kind.Type == enums.FPDF_PAGEOBJ_IMAGE || kind.Type == enums.FPDF_PAGEOBJ_FORM {
			return true, nil
		}
	}
	return false, nil
}

// A page is a scan if pictures cover a large part of it and all its text is some
// line at its edge, or if they cover most of it and there is a stamp as well.
const (
	largePart  = .4
	wholePage  = .75
	mostStamps = 60 // words on a scan
	stampWords = 20 // of them neither at the edge nor on other scans as well
)

// scans warns of the pages that are pictures, and refuses a document that is mostly
// such pages.
func (d *document) scans() *fault.Error {
	d.findStamps()
	var bare, stamped, drawn []int
	readable, unread := 0, 0
	for _, p := range d.pages {
		said := p.said()
		switch {
		case p.stamped:
			stamped = append(stamped, p.number)
		case said == 0 && p.pictures > 0:
			bare = append(bare, p.number)
		case said == 0 && p.drawings > manyDrawings:
			drawn = append(drawn, p.number)
		default:
			readable += said
			continue
		}
		switch {
		case p.annotated:
			readable += said // somebody filled the scan in
		case p.stamped, p.pictures == 0, p.cover.share() > .3:
			unread++ // and not a blank page with a logo
		}
	}
	pages := len(d.pages)
	// A page has some hundred words. A few scans among many pages of text are not
	// most of the document, nor is a report whose appendix is pictures.
	const ordinary = 100
	if none := len(bare) == pages; none || 2*unread > pages && readable < ordinary*pages {
		which := fmt.Sprintf("none of its %d pages has text, only pictures", pages)
		if !none {
			which = fmt.Sprintf("%d of its %d pages are scans or drawings: only what was put on them is text", unread, pages)
		}
		return fault.Invalid("scanned", "%s", which).WithHint("run OCR on it first, or use the LlamaParse parser, which does")
	}
	for _, w := range []struct {
		pages []int
		one   string
		many  string
	}{
		{bare, "has no text, only pictures", "have no text, only pictures"},
		{stamped, "is a scan: only what was put on it is text", "are scans: only what was put on them is text"},
		{drawn, "has no text, only drawings", "have no text, only drawings"},
	} {
		switch len(w.pages) {
		case 0:
		case 1:
			d.warnings = append(d.warnings, fmt.Sprintf("%s (1 of %d) %s", ranges(w.pages), pages, w.one))
		default:
			d.warnings = append(d.warnings, fmt.Sprintf("%s (%d of %d) %s", ranges(w.pages), len(w.pages), pages, w.many))
		}
	}
	return nil
}

// manyDrawings is more lines than a page has that is meant to be empty.
const manyDrawings = 100

// said returns how many words the page has.
func (p *page) said() int {
	n := len(p.words)
	for _, aside := range p.asides {
		n += len(aside)
	}
	return n
}

// findStamps marks the pages that are pictures and have no text of their own.
func (d *document) findStamps() {
	type line struct {
		text string
		x, y int
	}
	// Numbers differ from page to page.
	key := func(w *word) line {
		return line{strings.Map(func(r rune) rune {
			if unicode.IsDigit(r) {
				return '0'
			}
			return r
		}, w.text), int(w.x0 / 8), int(w.y / 8)}
	}
	on := map[line]int{}
	for _, p := range d.pages {
		if p.stamps == nil {
			continue
		}
		seen := map[line]bool{}
		for i := range p.stamps {
			if k := key(&p.stamps[i]); !seen[k] {
				seen[k] = true
				on[k]++
			}
		}
	}
	for _, p := range d.pages {
		if len(p.stamps) == 0 {
			p.stamped = p.stamps != nil && p.annotated
			continue
		}
		edge := func(w *word) bool {
			const part = .1
			return w.y < part*p.height || w.y-w.size > (1-part)*p.height || w.x1 < .6*part*p.width || w.x0 > (1-.6*part)*p.width
		}
		var own []word
		for i := range p.stamps {
			if w := &p.stamps[i]; !edge(w) && on[key(w)] < 2 {
				own = append(own, *w)
			}
		}
		p.stamped = len(own) == 0
		if len(own) > 0 && len(own) <= stampWords && p.cover.share() >= wholePage {
			top, bottom, large := own[0].top(), own[0].bottom(), float32(0)
			for i := range own {
				top, bottom, large = min(top, own[i].top()), max(bottom, own[i].bottom()), max(large, own[i].size)
			}
			// A certificate on a picture has its words all over the page, and a
			// slide has its title in large letters.
			p.stamped = bottom-top < .12*p.height && large < .045*p.height
		}
	}
}

// ranges writes page numbers, given in order: "pages 1-3, 7".
func ranges(pages []int) string {
	if len(pages) == 1 {
		return fmt.Sprintf("page %d", pages[0])
	}
	var parts []string
	for i := 0; i < len(pages); {
		j := i
		for j+1 < len(pages) && pages[j+1] == pages[j]+1 {
			j++
		}
		if i == j {
			parts = append(parts, fmt.Sprint(pages[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", pages[i], pages[j]))
		}
		i = j + 1
	}
	const most = 40
	if more := len(parts) - most; more > 0 {
		parts = append(parts[:most], "...")
	}
	return "pages " + strings.Join(parts, ", ")
}
