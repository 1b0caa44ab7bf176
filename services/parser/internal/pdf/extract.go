package pdf

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/klippa-app/go-pdfium/enums"
	"github.com/klippa-app/go-pdfium/references"
	"github.com/klippa-app/go-pdfium/requests"
)

type docRef = references.FPDF_DOCUMENT

// page is what stands on a page, in points, with y growing downwards and the
// page turned so that most of its text runs from left to right.
type page struct {
	number        int // from 1
	width, height float32
	readsLeft     bool     // from the right, as Arabic is; its x are mirrored
	words         []word   // in the order in which they were drawn
	asides        [][]word // text in other directions, each turned upright
	rules         []rule
	links         []string // targets; word.link - 1 is an index
	pictures      int      // and forms, which may be pictures
	drawings      int      // lines and areas
	cover         cover    // what pictures cover
	figures       []figure // pictures of a tagged file
	tags          *tagged  // while the page is read; nil before its first text

	annotated bool   // annotations have put words on it
	stamps    []word // the words of a page that is a picture, if they are few
	stamped   bool   // it is a scan with a stamp

	glyphs, unmapped int // characters, and those of them without Unicode
}

// word is a run of characters without space in one font.
type word struct {
	text   string
	x0, x1 float32
	y      float32 // baseline
	size   float32 // em
	font   uint16  // index into document.fonts
	link   uint16  // 0 = none
	field  uint16  // of a form, from 1; 0 = none
	glued  bool    // no space before it, says pdfium
	tag    uint8   // level of the heading that the file says it is part of; 0 = none
	added  bool    // an annotation or a field has put it on the page
	left   bool    // it is in a line that is read from the left on a page that is not
}

// Fonts differ in how far their boxes reach; these shares of the em do well for
// deciding what stands in one line.
func (w *word) top() float32    { return w.y - .75*w.size }
func (w *word) bottom() float32 { return w.y + .22*w.size }

// middle is a point by which to tell what a word is in.
func (w *word) middle() (x, y float32) { return (w.x0 + w.x1) / 2, w.y - .3*w.size }

// rule is a drawn line, horizontal or vertical, thinner than ruleWidth.
type rule struct{ x0, y0, x1, y1 float32 }

func (r rule) horizontal() bool { return r.x1-r.x0 >= r.y1-r.y0 }

const ruleWidth = 3

type fontKey struct {
	name   string
	weight int
	flags  int
}

type font struct{ bold, mono, italic bool }

// fontOf interprets what the file says of a font. Names are the best evidence:
// weights are guessed by pdfium from stem widths.
func fontOf(k fontKey) font {
	_, name, subset := strings.Cut(k.name, "+")
	if !subset {
		name = k.name
	}
	name = strings.ToLower(name)
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(name, p) })
	}
	const (
		fixedPitch = 1 << 0 // ISO 32000-1, table 123
		italicFlag = 1 << 6
		forceBold  = 1 << 18
	)
	return font{
		bold: has("bold", "black", "heavy", "cmbx", "-bd", "demi", "semibd", "medi", "sfbx", "lmbx") && !has("semilight") ||
			k.flags&forceBold != 0 || k.weight >= 700 && !has("regular", "-roman", "light", "cmr", "cmtt"),
		italic: k.flags&italicFlag != 0 || has("italic", "oblique", "slanted", "cmti", "cmsl"),
		mono:   k.flags&fixedPitch != 0 || has("courier", "mono", "consol", "menlo", "cmtt", "sftt", "typewriter", "lmtt"),
	}
}

func (d *document) fontID(k fontKey) uint16 {
	if id, ok := d.fontIDs[k]; ok {
		return id
	}
	if d.fontIDs == nil {
		d.fontIDs = map[fontKey]uint16{}
	}
	if len(d.fonts) == math.MaxUint16 {
		return 0
	}
	id := uint16(len(d.fonts))
	d.fontIDs[k] = id
	d.fonts = append(d.fonts, fontOf(k))
	return id
}

// addedFont returns the font of words that are no text of the page: values, marks and
// descriptions.
func (d *document) addedFont() uint16 { return d.fontID(fontKey{name: "annotation"}) }

// turns is a direction of text in quarter turns clockwise.
func turns(angle float64) int {
	return int(math.Round(angle/(math.Pi/2))) & 3
}

// frame turns places on the page so that text of one direction runs from left
// to right and y grows downwards.
type frame struct {
	turns                    int
	left, bottom, right, top float32 // the page in PDF's coordinates
}

func (f frame) point(x, y float32) (float32, float32) {
	switch f.turns {
	case 1:
		return f.top - y, f.right - x
	case 2:
		return f.right - x, y - f.bottom
	case 3:
		return y - f.bottom, x - f.left
	default:
		return x - f.left, f.top - y
	}
}

func (f frame) box(l, b, r, t float32) (x0, y0, x1, y1 float32) {
	x0, y0 = f.point(l, b)
	x1, y1 = f.point(r, t)
	return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)
}

func (f frame) size() (w, h float32) {
	if f.turns%2 == 1 {
		return f.top - f.bottom, f.right - f.left
	}
	return f.right - f.left, f.top - f.bottom
}

// extract reads a page, with its annotations or without.
func (f *file) extract(d *document, index int, annotated bool) (*page, error) {
	ref := requests.Page{ByIndex: &requests.PageByIndex{Document: f.doc, Index: index}}
	chars, err := f.chars(ref)
	if err != nil {
		return nil, err
	}
	var annots []annotation
	if annotated {
		if annots, err = f.annotations(ref, d, index+1); err != nil {
			return nil, fmt.Errorf("%w: %w", errAnnotations, err)
		}
	}
	p := &page{number: index + 1}
	fr := frame{turns: commonTurns(chars)}
	if len(chars) == 0 && len(annots) > 0 {
		fr.turns = f.turned(ref)
	}
	fr.left, fr.bottom, fr.right, fr.top = f.bounds(ref, index)
	p.width, p.height = fr.size()
	if err := f.graphics(ref, p, fr, len(chars) > 0 || len(annots) > 0); err != nil {
		return nil, fmt.Errorf("its graphics: %w", err)
	}
	links, err := f.links(ref)
	if err != nil {
		return nil, fmt.Errorf("its links: %w", err)
	}

	if err := f.words(ref, d, p, fr, chars); err != nil {
		return nil, fmt.Errorf("its fonts: %w", err)
	}
	if p.pictures > 0 && p.said() <= mostStamps && p.cover.share() >= largePart {
		p.stamps = append([]word{}, p.words...)
	}
	if len(annots) > 0 {
		before := p.words
		if slices.ContainsFunc(annots, func(a annotation) bool { return a.shows && !a.box }) {
			if chars, err = f.flatten(ref); err != nil {
				return nil, fmt.Errorf("%w: %w", errAnnotations, err)
			}
			p.words, p.asides = nil, nil
			if err := f.words(ref, d, p, fr, chars); err != nil {
				return nil, fmt.Errorf("%w: %w", errAnnotations, err)
			}
		}
		p.annotate(d, annots, before, fr)
	}
	p.describe(d)
	p.tags = nil // words and pictures have what it says
	p.link(links, fr)
	if p.readsLeft {
		p.turnBack()
	}
	return p, nil
}

// chars returns the characters of a page, without those of layers that are off.
func (f *file) chars(ref requests.Page) ([]*pageChar, error) {
	if f.layersOff {
		if err := f.removeLayers(ref); err != nil {
			return nil, fmt.Errorf("its layers: %w", err)
		}
	}
	text, err := f.instance.GetPageTextStructured(&requests.GetPageTextStructured{
		Page: ref, Mode: requests.GetPageTextStructuredModeChars,
	})
	if err != nil {
		return nil, fmt.Errorf("its text: %w", err)
	}
	if err := f.correctAngles(ref, text.Chars); err != nil {
		return nil, fmt.Errorf("its text: %w", err)
	}
	return text.Chars, nil
}

// words adds the characters of a page to it as words.
func (f *file) words(ref requests.Page, d *document, p *page, fr frame, chars []*pageChar) error {
	if len(chars) == 0 {
		return nil
	}
	if p.tags == nil {
		var err error
		if p.tags, err = f.tags(ref); err != nil {
			return err
		}
	}
	x := extractor{file: f, doc: d, page: p, frame: fr}
	return x.words(ref, chars)
}

// turned returns the direction of the text of a page that is turned and has no text
// to tell it by.
func (f *file) turned(ref requests.Page) int {
	r, err := f.instance.FPDFPage_GetRotation(&requests.FPDFPage_GetRotation{Page: ref})
	if err != nil {
		return 0
	}
	return (4 - int(r.PageRotation)) & 3
}

// bounds returns the visible part of the page in PDF's coordinates.
func (f *file) bounds(ref requests.Page, index int) (left, bottom, right, top float32) {
	if r, err := f.instance.FPDF_GetPageBoundingBox(&requests.FPDF_GetPageBoundingBox{Page: ref}); err == nil {
		b := r.Rect
		left, right = min(b.Left, b.Right), max(b.Left, b.Right)
		bottom, top = min(b.Bottom, b.Top), max(b.Bottom, b.Top)
		if right-left > 1 && top-bottom > 1 {
			return left, bottom, right, top
		}
	}
	return 0, 0, 612, 792 // US Letter, what viewers assume as well
}

func commonTurns(chars []*pageChar) int {
	var n [4]int
	for _, c := range chars {
		if c.Text != "" && c.Text != " " {
			n[turns(c.Angle)]++
		}
	}
	best := 0
	for t, k := range n {
		if k > n[best] {
			best = t
		}
	}
	return best
}

// correctAngles corrects the angles of text whose font size is negative, which turns
// it upside down. pdfium's angle is that of the text's matrix alone. Such text shows
// by letters that run against the direction that the angle says.
func (f *file) correctAngles(ref requests.Page, chars []*pageChar) error {
	var text references.FPDF_TEXTPAGE
	for from := 0; from < len(chars); {
		to := from
		backwards := false
		for ; to < len(chars) && chars[to].Text != "\n"; to++ {
			backwards = backwards || to > from && runsBack(chars[to-1], chars[to])
		}
		if backwards {
			if text == "" {
				loaded, err := f.instance.FPDFText_LoadPage(&requests.FPDFText_LoadPage{Page: ref})
				if err != nil {
					return err
				}
				text = loaded.TextPage
			}
			for i := from; i < to; i++ {
				size, err := f.instance.FPDFText_GetFontSize(&requests.FPDFText_GetFontSize{TextPage: text, Index: i})
				if err != nil {
					return err
				}
				if size.FontSize < 0 {
					chars[i].Angle += math.Pi
				}
			}
		}
		from = to + 1
	}
	if text == "" {
		return nil
	}
	_, err := f.instance.FPDFText_ClosePage(&requests.FPDFText_ClosePage{TextPage: text})
	return err
}

// runsBack reports whether b stands just before a, as the angle of both has it.
func runsBack(a, b *pageChar) bool {
	if a.Angle == 0 && b.PointPosition.Left >= a.PointPosition.Left {
		return false // nearly all that is read
	}
	if a.Angle != b.Angle || !isLTRRune(runeOf(a)) || !isLTRRune(runeOf(b)) {
		return false
	}
	fr := frame{turns: turns(a.Angle)}
	box := func(c *pageChar) (x0, y0, x1, y1 float32) {
		return fr.box(float32(c.PointPosition.Left), float32(c.PointPosition.Bottom), float32(c.PointPosition.Right), float32(c.PointPosition.Top))
	}
	ax0, ay0, ax1, ay1 := box(a)
	bx0, by0, bx1, by1 := box(b)
	h := max(ay1-ay0, by1-by0)
	return bx0+bx1 < ax0+ax1-.1*h && ax0-bx1 < h && abs(ay1-by1) < h
}

// extractor makes words of the characters of one page.
type extractor struct {
	*file
	doc     *document
	page    *page
	frame   frame
	textRef references.FPDF_TEXTPAGE
	latest  sample
	aside   map[int][]word
}

// hyphenMark is what pdfium gives for a hyphen at the end of a line.
const hyphenMark = '\x02'

func (x *extractor) words(ref requests.Page, chars []*pageChar) error {
	loaded, err := x.instance.FPDFText_LoadPage(&requests.FPDFText_LoadPage{Page: ref})
	if err != nil {
		return err
	}
	x.textRef = loaded.TextPage
	if err := x.markUnmapped(chars); err != nil {
		return err
	}

	var (
		text   strings.Builder
		cur    word
		first  = -1 // index of the word's first character
		dir    int
		fr     frame
		y0, y1 float32 // of the word so far
		spaced = true
		failed error
		high   raised
	)
	flush := func() {
		if first < 0 {
			return
		}
		cur.text = high.end(text.String())
		cur.glued = !spaced
		if err := x.typeset(&cur, first, dir, fr, y0, y1); err != nil {
			failed = err
		}
		if n := len(x.page.words); n > 0 && dir == x.frame.turns {
			fraction(&x.page.words[n-1], &cur)
		}
		x.add(cur, dir)
		text.Reset()
		first, spaced = -1, false
	}
	steps, err := x.order(chars)
	if err != nil {
		return err
	}
	for _, step := range steps {
		if step.char < 0 {
			flush()
			spaced = true
			continue
		}
		i, c := step.char, chars[step.char]
		r, _ := utf8.DecodeRuneInString(c.Text)
		if step.r != 0 {
			r = step.r
		}
		switch {
		case c.Text == "" || unicode.IsSpace(r) || r == utf8.RuneError:
			flush()
			spaced = true
			continue
		case r == hyphenMark || r == '\u00ad' || r == '\ufffe':
			if first >= 0 {
				text.WriteByte('-')
			}
			continue
		case unicode.IsControl(r) || r == '\ufeff' || r == '\u200b':
			continue
		}
		d := turns(c.Angle)
		cfr := x.frame
		cfr.turns = d
		b := c.PointPosition
		cx0, cy0, cx1, cy1 := cfr.box(float32(b.Left), float32(b.Bottom), float32(b.Right), float32(b.Top))
		if first >= 0 {
			h := max(y1-y0, cy1-cy0, 3)
			apart := max(cy0-y1, y0-cy1) // negative if they overlap vertically
			if d != dir || !step.placed && (cx0-cur.x1 > 1.2*h || cx0-cur.x1 < -1.5*h || apart > .6*h) {
				flush()
				spaced = d != dir || spaced
			}
		}
		if first < 0 {
			first, dir, fr = i, d, cfr
			cur = word{x0: cx0, x1: cx1, left: step.left}
			y0, y1 = cy0, cy1
		}
		if !step.placed {
			high.next(&text, r, cy0, cy1)
		}
		cur.x0, cur.x1 = min(cur.x0, cx0), max(cur.x1, cx1)
		y0, y1 = min(y0, cy0), max(y1, cy1)
		writeRune(&text, r)
	}
	flush()
	if failed != nil {
		return failed
	}
	// In turns order, so that a file gives the same text every time.
	for t := range 4 {
		if ws := x.aside[t]; len(ws) > 0 {
			x.page.asides = append(x.page.asides, ws)
		}
	}
	_, err = x.instance.FPDFText_ClosePage(&requests.FPDFText_ClosePage{TextPage: x.textRef})
	return err
}

// writeRune writes r, ligatures as the letters they are.
func writeRune(b *strings.Builder, r rune) {
	switch r {
	case 'ﬀ':
		b.WriteString("ff")
	case 'ﬁ':
		b.WriteString("fi")
	case 'ﬂ':
		b.WriteString("fl")
	case 'ﬃ':
		b.WriteString("ffi")
	case 'ﬄ':
		b.WriteString("ffl")
	case 'ﬅ', 'ﬆ':
		b.WriteString("st")
	default:
		b.WriteRune(r)
	}
}

// sample is how the latest word was set.
type sample struct {
	word
	dir    int
	points float64 // its font size before scaling
	weight int
}

// typeset fills in the word's baseline, size and font from its first character.
// Asking for everything takes as long as reading dozens of characters, so words
// that follow the one before in its line, in the same size and weight, are taken
// to be set like it.
func (x *extractor) typeset(w *word, first, dir int, fr frame, y0, y1 float32) error {
	size, err := x.instance.FPDFText_GetFontSize(&requests.FPDFText_GetFontSize{TextPage: x.textRef, Index: first})
	if err != nil {
		return err
	}
	weight, err := x.instance.FPDFText_GetFontWeight(&requests.FPDFText_GetFontWeight{TextPage: x.textRef, Index: first})
	if err != nil {
		return err
	}
	prev := x.latest
	x.latest = sample{dir: dir, points: size.FontSize, weight: weight.FontWeight}
	if gap := max(w.x0-prev.x1, prev.x0-w.x1); prev.size > 0 && prev.dir == dir && prev.points == size.FontSize && prev.weight == weight.FontWeight &&
		y1 > prev.y-.9*prev.size && y0 < prev.y && y1 < prev.y+.35*prev.size && gap > 0 && gap < .8*prev.size {
		w.y, w.size, w.font, w.tag = prev.y, prev.size, prev.font, prev.tag
		x.latest.word = *w
		return nil
	}

	w.y = y1
	if r, err := x.instance.FPDFText_GetCharOrigin(&requests.FPDFText_GetCharOrigin{TextPage: x.textRef, Index: first}); err == nil {
		_, w.y = fr.point(float32(r.X), float32(r.Y))
	} else if trapped(err) {
		return err
	}
	w.size = float32(math.Abs(size.FontSize))
	if m, err := x.instance.FPDFText_GetMatrix(&requests.FPDFText_GetMatrix{TextPage: x.textRef, Index: first}); err == nil {
		w.size *= float32(math.Hypot(float64(m.Matrix.C), float64(m.Matrix.D)))
	}
	k := fontKey{weight: weight.FontWeight}
	// Not every font has a name.
	if r, err := x.instance.FPDFText_GetFontInfo(&requests.FPDFText_GetFontInfo{TextPage: x.textRef, Index: first}); err == nil {
		k.name, k.flags = r.FontName, r.Flags
	}
	w.font = x.doc.fontID(k)
	if w.tag, err = x.tagOf(first); err != nil {
		return err
	}

	// Fonts drawn by procedures say nothing of their size, some files lie, and
	// not every number in a file is finite.
	tall := y1 - y0
	if !(w.size >= 1 && w.size < 2000) || w.size > 6*tall && tall > 1 && utf8.RuneCountInString(w.text) > 2 || w.size < .5*tall {
		w.size = max(tall*1.3, 1)
	}
	if !(w.y > y0-2*w.size && w.y < y1+2*w.size) {
		w.y = y1
	}
	x.latest.word = *w
	return nil
}

func (x *extractor) add(w word, dir int) {
	if !finite(w.x0, w.x1, w.y, w.size) {
		return
	}
	if dir == x.frame.turns {
		x.page.words = append(x.page.words, w)
		return
	}
	if x.aside == nil {
		x.aside = map[int][]word{}
	}
	x.aside[dir] = append(x.aside[dir], w)
}

func finite(vs ...float32) bool {
	for _, v := range vs {
		if math.IsNaN(float64(v)) || math.Abs(float64(v)) > 1e6 {
			return false
		}
	}
	return true
}

// maxLinks bounds the link annotations looked at on one page.
const maxLinks = 500

// target is where a link annotation is and what it leads to.
type target struct {
	area area
	uri  string
}

// links returns the link annotations of a page that lead out of the document.
func (f *file) links(ref requests.Page) ([]target, error) {
	var out []target
	start := 0
	for range maxLinks {
		r, err := f.instance.FPDFLink_Enumerate(&requests.FPDFLink_Enumerate{Page: ref, StartPos: start})
		if err != nil {
			return out, ifTrapped(err)
		}
		if r.Link == nil || r.NextStartPos == nil {
			return out, nil
		}
		start = *r.NextStartPos
		action, err := f.instance.FPDFLink_GetAction(&requests.FPDFLink_GetAction{Link: *r.Link})
		if err != nil || action.Action == nil {
			continue
		}
		uri, err := f.instance.FPDFAction_GetURIPath(&requests.FPDFAction_GetURIPath{Document: f.doc, Action: *action.Action})
		if err != nil || uri.URIPath == nil || !linkable(*uri.URIPath) {
			continue
		}
		at, err := f.instance.FPDFLink_GetAnnotRect(&requests.FPDFLink_GetAnnotRect{Link: *r.Link})
		if err != nil || at.Rect == nil {
			continue
		}
		out = append(out, target{area{at.Rect.Left, at.Rect.Bottom, at.Rect.Right, at.Rect.Top}, *uri.URIPath})
	}
	return out, nil
}

// link marks the words under links.
func (p *page) link(targets []target, fr frame) {
	for _, t := range targets {
		b := newBox(fr, t.area)
		id := uint16(0)
		for i := range p.words {
			w := &p.words[i]
			if x, y := w.middle(); x > b.x0 && x < b.x1 && y > b.y0 && y < b.y1 {
				if id == 0 {
					p.links = append(p.links, t.uri)
					id = uint16(len(p.links))
				}
				w.link = id
			}
		}
	}
}

// linkable reports whether a target can stand in Markdown and leads somewhere.
func linkable(uri string) bool {
	if len(uri) > 2000 || strings.ContainsAny(uri, " \t\r\n<>()\\") || !utf8.ValidString(uri) {
		return false
	}
	scheme, _, ok := strings.Cut(uri, ":")
	return ok && slices.Contains([]string{"http", "https", "mailto", "ftp", "doi", "tel"}, strings.ToLower(scheme))
}

// Looking at drawings costs some microseconds an object, and pdfium's wrapper
// keeps a reference to each until the document is closed. Maps and plots have
// millions; no table does.
const (
	maxPageObjects = 4_000
	maxFileObjects = 300_000
	maxSegments    = 400 // of one path
)

// graphics collects the page's ruling lines and counts its pictures.
func (f *file) graphics(ref requests.Page, p *page, fr frame, text bool) error {
	count, err := f.instance.FPDFPage_CountObjects(&requests.FPDFPage_CountObjects{Page: ref})
	if err != nil {
		return err
	}
	if count.Count > maxPageObjects {
		p.drawings = count.Count
		// Not "the first 4,000": half a grid is worse than none.
		return nil
	}
	for i := range count.Count {
		if f.objects++; f.objects > maxFileObjects {
			return nil
		}
		o, err := f.instance.FPDFPage_GetObject(&requests.FPDFPage_GetObject{Page: ref, Index: i})
		if err != nil {
			if trapped(err) {
				return err
			}
			continue
		}
		kind, err := f.instance.FPDFPageObj_GetType(&requests.FPDFPageObj_GetType{PageObject: o.PageObject})
		if err != nil {
			continue
		}
		switch kind.Type {
		case enums.FPDF_PAGEOBJ_IMAGE, enums.FPDF_PAGEOBJ_FORM:
			p.pictures++
			if err := f.picture(o.PageObject, kind.Type == enums.FPDF_PAGEOBJ_FORM, p, fr); err != nil {
				return err
			}
		case enums.FPDF_PAGEOBJ_PATH:
			p.drawings++
			if text {
				if err := f.path(o.PageObject, p, fr); err != nil {
					return err
				}
			}
		}
	}
	p.rules = mergeRules(p.rules)
	return nil
}

// path adds the ruling lines in a path. A path may be one line, one cell's
// frame, or a whole grid.
func (f *file) path(o references.FPDF_PAGEOBJECT, p *page, fr frame) error {
	mode, err := f.instance.FPDFPath_GetDrawMode(&requests.FPDFPath_GetDrawMode{PageObject: o})
	if err != nil {
		return ifTrapped(err)
	}
	filled := mode.FillMode != 0
	if !filled && !mode.Stroke {
		return nil // it clips
	}
	b, err := f.instance.FPDFPageObj_GetBounds(&requests.FPDFPageObj_GetBounds{PageObject: o})
	if err != nil {
		return ifTrapped(err)
	}
	x0, y0, x1, y1 := fr.box(b.Left, b.Bottom, b.Right, b.Top)
	if !finite(x0, y0, x1, y1) {
		return nil
	}
	if x1-x0 <= ruleWidth || y1-y0 <= ruleWidth {
		p.addRule(rule{x0, y0, x1, y1})
		return nil
	}
	n, err := f.instance.FPDFPath_CountSegments(&requests.FPDFPath_CountSegments{PageObject: o})
	if err != nil {
		return ifTrapped(err)
	}
	if n.Count < 2 || n.Count > maxSegments {
		return nil
	}
	m, err := f.instance.FPDFPageObj_GetMatrix(&requests.FPDFPageObj_GetMatrix{PageObject: o})
	if err != nil {
		return ifTrapped(err)
	}
	// Subpaths, each a list of corners.
	var corners [][2]float32
	end := func() {
		p.addOutline(corners, mode.Stroke)
		corners = corners[:0]
	}
	for i := range n.Count {
		if f.objects++; f.objects > maxFileObjects {
			return nil
		}
		s, err := f.instance.FPDFPath_GetPathSegment(&requests.FPDFPath_GetPathSegment{PageObject: o, Index: i})
		if err != nil {
			return ifTrapped(err)
		}
		kind, err := f.instance.FPDFPathSegment_GetType(&requests.FPDFPathSegment_GetType{PathSegment: s.PathSegment})
		if err != nil {
			return ifTrapped(err)
		}
		if kind.Type == enums.FPDF_SEGMENT_BEZIERTO {
			return nil // a drawing
		}
		at, err := f.instance.FPDFPathSegment_GetPoint(&requests.FPDFPathSegment_GetPoint{PathSegment: s.PathSegment})
		if err != nil {
			return ifTrapped(err)
		}
		if kind.Type == enums.FPDF_SEGMENT_MOVETO {
			end()
		}
		x := m.Matrix.A*at.X + m.Matrix.C*at.Y + m.Matrix.E
		y := m.Matrix.B*at.X + m.Matrix.D*at.Y + m.Matrix.F
		x, y = fr.point(x, y)
		corners = append(corners, [2]float32{x, y})
		closed, err := f.instance.FPDFPathSegment_GetClose(&requests.FPDFPathSegment_GetClose{PathSegment: s.PathSegment})
		if err != nil {
			return ifTrapped(err)
		}
		if closed.IsClose && len(corners) > 1 {
			corners = append(corners, corners[0])
		}
	}
	end()
	return nil
}

func ifTrapped(err error) error {
	if trapped(err) {
		return err
	}
	return nil
}

// addOutline adds a subpath: as one rule if it is a thin box, else its sides,
// if they are drawn.
func (p *page) addOutline(corners [][2]float32, stroke bool) {
	if len(corners) < 2 {
		return
	}
	x0, y0, x1, y1 := corners[0][0], corners[0][1], corners[0][0], corners[0][1]
	for _, c := range corners[1:] {
		x0, x1 = min(x0, c[0]), max(x1, c[0])
		y0, y1 = min(y0, c[1]), max(y1, c[1])
	}
	if !finite(x0, y0, x1, y1) {
		return
	}
	if x1-x0 <= ruleWidth || y1-y0 <= ruleWidth {
		p.addRule(rule{x0, y0, x1, y1})
		return
	}
	if !stroke {
		return // a background
	}
	for i := 1; i < len(corners); i++ {
		a, b := corners[i-1], corners[i]
		r := rule{min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1])}
		if r.x1-r.x0 <= 1 || r.y1-r.y0 <= 1 {
			p.addRule(r)
		}
	}
}

func (p *page) addRule(r rule) {
	const shortest = 4 // dots and dashes of leaders are shorter
	if max(r.x1-r.x0, r.y1-r.y0) >= shortest {
		p.rules = append(p.rules, r)
	}
}

// mergeRules joins the pieces of lines that are drawn cell by cell.
func mergeRules(rules []rule) []rule {
	const close = 2
	var out []rule
	for _, horizontal := range []bool{true, false} {
		var same []rule
		for _, r := range rules {
			if r.horizontal() != horizontal {
				continue
			}
			if horizontal {
				r.y0 = (r.y0 + r.y1) / 2
				r.y1 = r.y0
			} else {
				r.x0 = (r.x0 + r.x1) / 2
				r.x1 = r.x0
			}
			same = append(same, r)
		}
		across := func(r rule) float32 {
			if horizontal {
				return r.y0
			}
			return r.x0
		}
		along := func(r rule) (float32, float32) {
			if horizontal {
				return r.x0, r.x1
			}
			return r.y0, r.y1
		}
		slices.SortFunc(same, func(a, b rule) int {
			return cmp.Compare(across(a), across(b))
		})
		for len(same) > 0 {
			// All at about the same place across, then along them.
			n := 1
			for n < len(same) && across(same[n])-across(same[0]) <= close {
				n++
			}
			group := same[:n]
			same = same[n:]
			at := across(group[0])
			slices.SortFunc(group, func(a, b rule) int {
				a0, _ := along(a)
				b0, _ := along(b)
				return cmp.Compare(a0, b0)
			})
			from, to := along(group[0])
			put := func() {
				if horizontal {
					out = append(out, rule{from, at, to, at})
				} else {
					out = append(out, rule{at, from, at, to})
				}
			}
			for _, r := range group[1:] {
				a, b := along(r)
				if a <= to+close {
					to = max(to, b)
					continue
				}
				put()
				from, to = a, b
			}
			put()
		}
	}
	return out
}
