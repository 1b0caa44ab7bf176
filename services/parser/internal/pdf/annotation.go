package pdf

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode"

	"github.com/klippa-app/go-pdfium/enums"
	"github.com/klippa-app/go-pdfium/references"
	"github.com/klippa-app/go-pdfium/requests"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
)

// What stands on a page besides its content (ISO 32000-1, 12.5): values of form
// fields, text that was typed onto the page, notes, and remarks on marked words.
//
// Where an annotation has an appearance with text in it, that is what a reader
// sees: the page is flattened, which makes appearances part of its content, and
// its text is extracted once more. Where it has none, or one that shows less
// than the value, the value is put where the annotation is.

// Limits far above what any form has. What is beyond them is warned of.
const (
	maxPageAnnots = 3_000
	maxFileAnnots = 50_000
	maxAnnotText  = 64 << 10 // bytes of one value or remark
	maxFileText   = 4 << 20  // bytes of all: many fields may have one value
)

// area is a rectangle in PDF's coordinates.
type area struct{ left, bottom, right, top float32 }

// annotation is one on a page that says something.
type annotation struct {
	index   int
	kind    enums.FPDF_ANNOTATION_SUBTYPE
	area    area
	text    string // the value of a field, what is typed, or the remark
	author  string
	shows   bool   // its appearance has text
	box     bool   // text is the state of a checkbox or radio button
	export  string // of a checkbox or radio button that is on
	list    bool   // its appearance shows all that could have been chosen
	lines   bool   // text may stand in several lines
	marked  []area // of a remark on words
	parent  int    // index of what this replies to; -1 = nothing
	replace bool   // the field has no appearance that can be right
}

// isRemark reports whether annotations of a kind hold what somebody says about the
// page, and nothing that stands on it.
func isRemark(kind enums.FPDF_ANNOTATION_SUBTYPE) bool {
	switch kind {
	case enums.FPDF_ANNOT_SUBTYPE_TEXT, enums.FPDF_ANNOT_SUBTYPE_LINE, enums.FPDF_ANNOT_SUBTYPE_SQUARE,
		enums.FPDF_ANNOT_SUBTYPE_CIRCLE, enums.FPDF_ANNOT_SUBTYPE_POLYGON, enums.FPDF_ANNOT_SUBTYPE_POLYLINE,
		enums.FPDF_ANNOT_SUBTYPE_HIGHLIGHT, enums.FPDF_ANNOT_SUBTYPE_UNDERLINE, enums.FPDF_ANNOT_SUBTYPE_SQUIGGLY,
		enums.FPDF_ANNOT_SUBTYPE_STRIKEOUT, enums.FPDF_ANNOT_SUBTYPE_STAMP, enums.FPDF_ANNOT_SUBTYPE_CARET,
		enums.FPDF_ANNOT_SUBTYPE_INK, enums.FPDF_ANNOT_SUBTYPE_FILEATTACHMENT, enums.FPDF_ANNOT_SUBTYPE_REDACT:
		return true
	}
	return false
}

// annotations reads what the annotations of a page say, and hides those whose
// appearance must not become part of the page.
func (f *file) annotations(ref requests.Page, d *document, number int) ([]annotation, error) {
	n, err := f.instance.FPDFPage_GetAnnotCount(&requests.FPDFPage_GetAnnotCount{Page: ref})
	if err != nil {
		return nil, ifTrapped(err)
	}
	count := min(n.Count, maxPageAnnots, maxFileAnnots-f.annots)
	if count < n.Count && f.annotText <= maxFileText {
		d.warnings = append(d.warnings, fmt.Sprintf("page %d has %d annotations, of which %d are read", number, n.Count, max(count, 0)))
	}
	var out []annotation
	for i := range max(count, 0) {
		if f.annots++; f.annots > maxFileAnnots {
			break
		}
		got, err := f.instance.FPDFPage_GetAnnot(&requests.FPDFPage_GetAnnot{Page: ref, Index: i})
		if err != nil {
			if trapped(err) {
				return nil, err
			}
			continue
		}
		a := annotation{index: i, parent: -1}
		keep, err := f.annotation(ref, d, got.Annotation, &a)
		if err != nil {
			return nil, err
		}
		if keep {
			if a.kind == enums.FPDF_ANNOT_SUBTYPE_WIDGET && (a.text != "" || a.shows) {
				f.widgets++
			}
			out = append(out, a)
			if f.annotText += len(a.text); f.annotText > maxFileText {
				d.warnings = append(d.warnings, fmt.Sprintf("page %d: form fields and annotations have more than %d MiB of text, the rest is not read", number, maxFileText>>20))
				f.annots = maxFileAnnots
			}
		}
		if _, err := f.instance.FPDFPage_CloseAnnot(&requests.FPDFPage_CloseAnnot{Annotation: got.Annotation}); err != nil && trapped(err) {
			return nil, err
		}
	}
	return out, nil
}

// annotation fills in a, and reports whether it says anything.
func (f *file) annotation(ref requests.Page, d *document, annot references.FPDF_ANNOTATION, a *annotation) (bool, error) {
	kind, err := f.instance.FPDFAnnot_GetSubtype(&requests.FPDFAnnot_GetSubtype{Annotation: annot})
	if err != nil {
		return false, ifTrapped(err)
	}
	a.kind = kind.Subtype
	switch a.kind {
	case enums.FPDF_ANNOT_SUBTYPE_LINK, enums.FPDF_ANNOT_SUBTYPE_POPUP:
		// Links are read on their own; a popup repeats what it belongs to.
		return false, nil
	case enums.FPDF_ANNOT_SUBTYPE_UNKNOWN:
		return false, f.hide(annot) // among them those of layers that are off
	}
	flags, err := f.instance.FPDFAnnot_GetFlags(&requests.FPDFAnnot_GetFlags{Annotation: annot})
	if err != nil {
		return false, ifTrapped(err)
	}
	if flags.Flags&enums.FPDF_ANNOT_FLAG_HIDDEN != 0 {
		return false, nil
	}
	if flags.Flags&enums.FPDF_ANNOT_FLAG_NOVIEW != 0 {
		return false, f.hide(annot) // no viewer shows it
	}
	r, err := f.instance.FPDFAnnot_GetRect(&requests.FPDFAnnot_GetRect{Annotation: annot})
	if err != nil {
		return false, ifTrapped(err)
	}
	a.area = area{
		min(r.Rect.Left, r.Rect.Right), min(r.Rect.Bottom, r.Rect.Top),
		max(r.Rect.Left, r.Rect.Right), max(r.Rect.Bottom, r.Rect.Top),
	}
	if !finite(a.area.left, a.area.bottom, a.area.right, a.area.top) {
		return false, f.hide(annot)
	}
	ap, err := f.instance.FPDFAnnot_GetAP(&requests.FPDFAnnot_GetAP{Annotation: annot, AppearanceMode: enums.FPDF_ANNOT_APPEARANCEMODE_NORMAL})
	if err != nil && trapped(err) {
		return false, err
	}
	a.shows = err == nil && showsText(ap.Value)

	switch {
	case a.kind == enums.FPDF_ANNOT_SUBTYPE_WIDGET:
		if a.area.right-a.area.left < 1 || a.area.top-a.area.bottom < 1 {
			return false, f.hide(annot) // a field that nobody sees
		}
		if err := f.field(annot, a); err != nil {
			return false, err
		}
		if a.box {
			return true, f.hide(annot) // a check mark is no text
		}
		return true, nil // an empty one tells its neighbours from labels
	case a.kind == enums.FPDF_ANNOT_SUBTYPE_FREETEXT:
		a.lines = true
		a.text, err = f.contents(annot)
		return a.text != "" || a.shows, err
	case a.kind == enums.FPDF_ANNOT_SUBTYPE_FILEATTACHMENT:
		r, err := f.instance.FPDFAnnot_GetFileAttachment(&requests.FPDFAnnot_GetFileAttachment{Document: f.doc, Annotation: annot})
		if err == nil {
			err = f.attach(d, r.Attachment)
		}
		if err != nil && (trapped(err) || errors.Is(err, format.ErrSpent)) {
			return false, err
		}
		return f.remark(ref, annot, a)
	case isRemark(a.kind):
		return f.remark(ref, annot, a)
	}
	return a.shows, nil // a watermark, for one
}

// showsText reports whether an appearance draws text, by itself or by what it
// includes.
func showsText(content string) bool {
	return strings.Contains(content, "Tj") || strings.Contains(content, "TJ") || strings.Contains(content, " Do") ||
		strings.Contains(content, ") '") || strings.Contains(content, `) "`)
}

// hide keeps an annotation from becoming part of the page.
func (f *file) hide(annot references.FPDF_ANNOTATION) error {
	_, err := f.instance.FPDFAnnot_SetFlags(&requests.FPDFAnnot_SetFlags{Annotation: annot, Flags: enums.FPDF_ANNOT_FLAG_HIDDEN})
	if err != nil {
		return ifTrapped(err)
	}
	return nil
}

// entry returns a text in an annotation's dictionary, or "".
func (f *file) entry(annot references.FPDF_ANNOTATION, key string) (string, error) {
	r, err := f.instance.FPDFAnnot_GetStringValue(&requests.FPDFAnnot_GetStringValue{Annotation: annot, Key: key})
	if err != nil {
		return "", ifTrapped(err)
	}
	return clean(r.Value), nil
}

var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u2028", "\n", "\u2029", "\n")

// clean returns a text of a PDF file, at most maxAnnotText bytes of it, with "\n" at
// the ends of its lines and without control characters.
func clean(s string) string {
	if len(s) > maxAnnotText {
		s = s[:maxAnnotText]
	}
	s = lineEnds.Replace(strings.ToValidUTF8(s, ""))
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		if unicode.IsControl(r) || r == '\ufeff' || r == '\u200b' || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, s)
	return strings.TrimSpace(s)
}

// contents returns the plain text of an annotation, else its rich text's.
func (f *file) contents(annot references.FPDF_ANNOTATION) (string, error) {
	s, err := f.entry(annot, "Contents")
	if s != "" || err != nil {
		return s, err
	}
	rich, err := f.entry(annot, "RC")
	if err != nil {
		return "", err
	}
	return plainOfRich(rich), nil
}

// plainOfRich returns the text of a rich text string, a subset of XHTML (ISO
// 32000-1, 12.7.3.4).
func plainOfRich(s string) string {
	if !strings.Contains(s, "<") {
		return s
	}
	dec := xml.NewDecoder(strings.NewReader(s))
	dec.Strict = false
	var b strings.Builder
	for {
		t, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return clean(b.String())
		}
		if err != nil {
			return clean(b.String()) // what was readable of it
		}
		switch t := t.(type) {
		case xml.CharData:
			b.Write(t)
		case xml.EndElement:
			if t.Name.Local == "p" || t.Name.Local == "br" {
				b.WriteByte('\n')
			}
		}
	}
}

// maxMarks bounds the rectangles of one marked passage.
const maxMarks = 200

// remark reads what somebody says about the page.
func (f *file) remark(ref requests.Page, annot references.FPDF_ANNOTATION, a *annotation) (bool, error) {
	// Who accepted or rejected a remark is kept as a reply to it.
	if r, err := f.instance.FPDFAnnot_HasKey(&requests.FPDFAnnot_HasKey{Annotation: annot, Key: "StateModel"}); err != nil || r.HasKey {
		if err != nil && trapped(err) {
			return false, err
		}
		return false, f.hide(annot)
	}
	var err error
	if a.text, err = f.contents(annot); err != nil {
		return false, err
	}
	if a.text == "" {
		return a.shows, nil
	}
	if a.author, err = f.entry(annot, "T"); err != nil {
		return false, err
	}
	if n, err := f.instance.FPDFAnnot_CountAttachmentPoints(&requests.FPDFAnnot_CountAttachmentPoints{Annotation: annot}); err == nil {
		for i := range min(n.Count, maxMarks) {
			q, err := f.instance.FPDFAnnot_GetAttachmentPoints(&requests.FPDFAnnot_GetAttachmentPoints{Annotation: annot, Index: i})
			if err != nil {
				if trapped(err) {
					return false, err
				}
				break
			}
			p := q.QuadPoints
			m := area{
				min(p.X1, p.X2, p.X3, p.X4), min(p.Y1, p.Y2, p.Y3, p.Y4),
				max(p.X1, p.X2, p.X3, p.X4), max(p.Y1, p.Y2, p.Y3, p.Y4),
			}
			if finite(m.left, m.bottom, m.right, m.top) {
				a.marked = append(a.marked, m)
			}
		}
	} else if trapped(err) {
		return false, err
	}
	linked, err := f.instance.FPDFAnnot_GetLinkedAnnot(&requests.FPDFAnnot_GetLinkedAnnot{Annotation: annot, Key: "IRT"})
	if err != nil {
		return true, ifTrapped(err)
	}
	if i, err := f.instance.FPDFPage_GetAnnotIndex(&requests.FPDFPage_GetAnnotIndex{Page: ref, Annotation: linked.LinkedAnnotation}); err == nil {
		a.parent = i.Index
	} else if trapped(err) {
		return false, err
	}
	_, err = f.instance.FPDFPage_CloseAnnot(&requests.FPDFPage_CloseAnnot{Annotation: linked.LinkedAnnotation})
	if err != nil {
		return true, ifTrapped(err)
	}
	return true, nil
}

// flatten makes the appearances of the annotations part of the page and returns
// its characters with theirs. The page's dictionary has no annotations after it.
func (f *file) flatten(ref requests.Page) ([]*pageChar, error) {
	if _, err := f.instance.FPDFPage_Flatten(&requests.FPDFPage_Flatten{Page: ref, Usage: requests.FPDFPage_FlattenUsageNormalDisplay}); err != nil {
		return nil, err
	}
	return f.chars(ref)
}

// spot is a word and where it stands, to tell what flattening has added.
type spot struct {
	text string
	x, y int
}

func (w *word) spot() spot {
	return spot{w.text, int(math.Round(float64(w.x0))), int(math.Round(float64(w.y)))}
}

// annotate puts what annotations say into the page. before is the page without
// their appearances.
func (p *page) annotate(d *document, annots []annotation, before []word, fr frame) {
	plain := map[spot]int{}
	for i := range before {
		plain[before[i].spot()]++
	}
	drawn := make([]bool, len(p.words)) // by an annotation
	for i := range p.words {
		if s := p.words[i].spot(); plain[s] > 0 {
			plain[s]--
		} else {
			drawn[i] = true
		}
	}
	body := p.bodySize()
	var added []word
	for i := range annots {
		a := &annots[i]
		if isRemark(a.kind) || a.text == "" {
			continue
		}
		b := newBox(fr, a.area)
		if a.box {
			added = append(added, b.boxState(a, p.words, d)...)
			p.unfill(b, drawn)
			continue
		}
		if !p.outdated(a, b, drawn) {
			p.unfill(b, drawn)
			continue
		}
		for j := range p.words {
			if w := &p.words[j]; drawn[j] && b.holds(w) {
				w.text = "" // taken out below
			}
		}
		p.unfill(b, drawn)
		added = append(added, b.place(a, d, body)...)
	}
	p.annotated = len(added) > 0 || slices.Contains(drawn, true)
	typed := map[spot]bool{}
	for i := range added {
		added[i].added = true
	}
	for i := range p.words {
		p.words[i].added = drawn[i]
		if s := p.words[i].spot(); drawn[i] && s.text != "" {
			typed[s] = true
		}
	}
	p.words = slices.DeleteFunc(p.words, func(w word) bool { return w.text == "" })
	first := len(p.words)
	p.words = append(p.words, added...)
	p.closeUp(annots, fr, func(i int) bool { return i >= first || typed[p.words[i].spot()] })
	p.remarks(d, annots, fr)
}

// closeUp moves the values of fields to their labels. The gap between a label and its
// value is part of the space to write in. It must not be taken for one between columns.
func (p *page) closeUp(annots []annotation, fr frame, typed func(int) bool) {
	type entry struct {
		box   box
		words []int // of the value
		label int   // the word before it, or -1
	}
	var fields []entry
	for i := range annots {
		if annots[i].kind == enums.FPDF_ANNOT_SUBTYPE_WIDGET {
			fields = append(fields, entry{box: newBox(fr, annots[i].area), label: -1})
		}
	}
	var printed []int
	for i := range p.words {
		if !typed(i) {
			printed = append(printed, i)
		}
	}
	for i := range p.words {
		if !typed(i) {
			continue
		}
		for k := range fields {
			if fields[k].box.holds(&p.words[i]) {
				fields[k].words = append(fields[k].words, i)
				p.words[i].field = uint16(k + 1)
				break
			}
		}
	}
	if p.readsLeft {
		return // labels stand on the other side
	}
	inTable := map[int]bool{} // fields whose row has one after the other
	for k := range fields {
		f := &fields[k]
		x := float32(math.Inf(-1))
		above := false
		size := min(f.box.y1-f.box.y0, 14)
		if len(f.words) > 0 {
			size = p.words[f.words[0]].size
		}
		for _, i := range printed {
			w := &p.words[i]
			_, middle := w.middle()
			switch {
			case middle > f.box.y0-2 && middle < min(f.box.y1, f.box.y0+2.5*size)+2:
				if w.x1 <= f.box.x0+2 && w.x1 > x {
					x, f.label = w.x1, i
				}
				// A label behind a small box is nearer than one before it.
				above = above || w.x0 > f.box.x1-2 && w.x0 < f.box.x1+1.5*w.size && f.box.x1-f.box.x0 < 2*w.size
			case w.x1 > f.box.x0 && w.x0 < f.box.x1 && w.y <= f.box.y0+2 && w.y > f.box.y0-1.5*w.size:
				above = true
			}
		}
		if f.label < 0 {
			continue
		}
		const far = 200 // points
		if above || f.box.x0-x > far || slices.ContainsFunc(p.rules, func(r rule) bool {
			return !r.horizontal() && r.x0 > x && r.x0 < f.box.x0+3 && r.y0 < f.box.y1 && r.y1 > f.box.y0
		}) {
			f.label = -1
			continue
		}
		for j := range fields {
			o := &fields[j]
			if j != k && o.box.x0 > x-2 && o.box.x1 < f.box.x0+2 && o.box.y0 < (f.box.y0+f.box.y1)/2 && o.box.y1 > (f.box.y0+f.box.y1)/2 {
				inTable[j], inTable[k] = true, true
			}
		}
	}
	for k, f := range fields {
		if f.label < 0 || inTable[k] || len(f.words) == 0 {
			continue
		}
		label := p.words[f.label]
		left := p.words[f.words[0]].x0
		for _, i := range f.words {
			left = min(left, p.words[i].x0)
		}
		if shift := left - label.x1 - .35*label.size; shift > 0 {
			for n, i := range f.words {
				w := &p.words[i]
				w.x0, w.x1 = w.x0-shift, w.x1-shift
				if n == 0 || abs(w.y-p.words[f.words[0]].y) < .1*w.size {
					w.y = label.y // boxes are not set as exactly as lines
				}
			}
		}
	}
}

// outdated reports whether the appearance of an annotation shows less than its
// value, or another one.
func (p *page) outdated(a *annotation, b box, drawn []bool) bool {
	var shown, printed strings.Builder
	n := 0
	for i := range p.words {
		switch w := &p.words[i]; {
		case !b.holds(w):
		case drawn[i]:
			shown.WriteString(w.text)
			n++
		default:
			printed.WriteString(w.text)
		}
	}
	have, want := letters(shown.String()), letters(a.text)
	switch {
	case n == 0:
		// Some programs print the value on the page and keep the field.
		return want == "" || letters(printed.String()) != want
	case a.list:
		return true
	case have == want:
		// One box for each letter takes a word apart.
		return n > len(strings.Fields(a.text))
	case strings.Contains(want, have):
		return true
	case within(want, have):
		return false // the value, formatted
	}
	return a.replace
}

// within reports whether the letters of a come in b in their order.
func within(a, b string) bool {
	rest := []rune(b)
	for _, r := range a {
		i := slices.Index(rest, r)
		if i < 0 {
			return false
		}
		rest = rest[i+1:]
	}
	return true
}

// box is a part of a page, as the page is read.
type box struct{ x0, y0, x1, y1 float32 }

func newBox(fr frame, a area) box {
	x0, y0, x1, y1 := fr.box(a.left, a.bottom, a.right, a.top)
	return box{x0, y0, x1, y1}
}

// holds reports whether the middle of a word is in the box.
func (b box) holds(w *word) bool {
	x, y := w.middle()
	return x > b.x0-2 && x < b.x1+2 && y > b.y0-2 && y < b.y1+2
}

// unfill takes out the line of dots or strokes that a field stands on.
func (p *page) unfill(b box, drawn []bool) {
	for i := range p.words {
		w := &p.words[i]
		if i < len(drawn) && drawn[i] || min(w.x1, b.x1)-max(w.x0, b.x0) <= 0 || w.y < b.y0-1 || w.y-.3*w.size > b.y1+2 {
			continue
		}
		bare := strings.TrimRight(w.text, "_.…‥")
		if len(w.text)-len(bare) < 3 {
			continue
		}
		if len(bare) > 0 {
			w.x1 = w.x0 + (w.x1-w.x0)*float32(len(bare))/float32(len(w.text))
		}
		w.text = bare
	}
}

// place returns an annotation's text as words in its box.
func (b box) place(a *annotation, d *document, body float32) []word {
	height := max(b.y1-b.y0, 1)
	size := min(body, .75*height)
	lines := strings.Split(a.text, "\n")
	if !a.lines {
		lines = []string{strings.Join(lines, " ")}
	} else {
		// What is too much for its box is set smaller, so that it stays in it.
		for size > 1 {
			lines = wrapLines(a.text, int((b.x1-b.x0)/(.5*size)))
			if float32(len(lines))*1.2*size <= height {
				break
			}
			size *= .9
		}
	}
	leading := min(1.2*size, height/float32(len(lines)))
	y := b.y0 + .9*size
	if !a.lines || height < 2*size {
		y = (b.y0+b.y1)/2 + .35*size
	}
	font := d.addedFont()
	var out []word
	for _, l := range lines {
		words := strings.Fields(l)
		// The width of letters is not known; words must only keep their order
		// and stay within the box.
		chars := max(len([]rune(l)), 1)
		advance := min(.5*size, (b.x1-b.x0)/float32(chars))
		x := b.x0 + min(2, .1*height)
		if slices.ContainsFunc(words, isRTL) {
			// It is in the order in which it is read, and stays so.
			out = append(out, word{text: strings.Join(words, " "), x0: b.x0, x1: b.x1, y: y, size: size, font: font})
			words = nil
		}
		for _, text := range words {
			width := advance * float32(len([]rune(text)))
			out = append(out, word{text: text, x0: x, x1: x + width, y: y, size: size, font: font})
			x += width + advance
		}
		y += leading
	}
	return out
}

// bodySize returns the median size of the page's words. Values are set no larger:
// they are no headings, however large their fields are.
func (p *page) bodySize() float32 {
	const usual = 10
	if len(p.words) == 0 {
		return usual
	}
	sizes := make([]float32, len(p.words))
	for i := range p.words {
		sizes[i] = p.words[i].size
	}
	return median(sizes)
}

// wrapLines breaks text into lines of at most width letters.
func wrapLines(text string, width int) []string {
	width = max(width, 8)
	var out []string
	for l := range strings.SplitSeq(text, "\n") {
		line, n := "", 0
		for _, w := range strings.Fields(l) {
			k := len([]rune(w))
			if n > 0 && n+1+k > width {
				out = append(out, line)
				line, n = "", 0
			}
			if n > 0 {
				line += " "
				n++
			}
			line += w
			n += k
		}
		if n > 0 {
			out = append(out, line)
		}
	}
	if len(out) == 0 {
		out = append(out, "")
	}
	return out
}

// boxState returns the state of a checkbox, and what it stands for where the page
// does not say it.
func (b box) boxState(a *annotation, words []word, d *document) []word {
	size := max(4, min(12, .9*(b.y1-b.y0)))
	state := word{
		text: a.text, x0: b.x0, x1: b.x0 + min(size, b.x1-b.x0), y: (b.y0+b.y1)/2 + .35*size,
		size: size, font: d.addedFont(),
	}
	out := []word{state}
	export := md.Line(a.export)
	switch strings.ToLower(export) {
	case "", "yes", "on", "off", "true", "x", "ja", "oui", "checked":
		return out
	}
	if !strings.ContainsFunc(export, unicode.IsLetter) || strings.HasPrefix(strings.ToLower(export), "choice") {
		return out
	}
	// Labels stand beside their box, above or below it.
	const beside, above = 250, 2.5
	var label strings.Builder
	for i := range words {
		if w := &words[i]; w.x1 > b.x0-beside && w.x0 < b.x1+beside && abs(w.y-state.y) < above*max(w.size, size) {
			label.WriteString(letters(w.text))
		}
	}
	if !strings.Contains(label.String(), letters(export)) {
		w := state
		w.text, w.x0, w.x1 = "("+export+")", state.x1+.3*size, state.x1+.4*size
		out = append(out, w)
	}
	return out
}

// remarks puts the marks of remarks behind the words that they are on, and keeps
// what they say.
func (p *page) remarks(d *document, annots []annotation, fr frame) {
	numbers := map[int]int{} // of an annotation, the number of its remark
	for i := range annots {
		a := &annots[i]
		if !isRemark(a.kind) || a.text == "" {
			continue
		}
		text := a.text
		if n, ok := numbers[a.parent]; ok {
			d.remarks[n-1] = append(d.remarks[n-1], remark{a.author, text})
			numbers[a.index] = n
			continue
		}
		if a.kind == enums.FPDF_ANNOT_SUBTYPE_FILEATTACHMENT && slices.ContainsFunc(d.attached, func(f attachment) bool { return f.name == text }) {
			continue // the name stands above its text
		}
		at, marked := p.anchor(a, fr)
		if letters(marked) == letters(text) && marked != "" || a.kind == enums.FPDF_ANNOT_SUBTYPE_STAMP && p.says(newBox(fr, a.area), text) {
			continue // some programs copy the marked words
		}
		d.remarks = append(d.remarks, []remark{{a.author, text}})
		n := len(d.remarks)
		numbers[a.index] = n
		mark := word{text: fmt.Sprintf("[^comment-%d]", n), glued: true}
		if at < 0 {
			b := newBox(fr, a.area)
			mark.x0, mark.x1, mark.y, mark.size, mark.glued = b.x0, b.x0+1, b.y0+10, 10, false
			mark.font = d.addedFont()
			p.words = append(p.words, mark)
			continue
		}
		for at+1 < len(p.words) && strings.HasPrefix(p.words[at+1].text, "[^comment-") {
			at++
		}
		w := p.words[at]
		mark.x0, mark.x1, mark.y, mark.size, mark.font = w.x1-.02, w.x1-.01, w.y, w.size, w.font
		p.words = slices.Insert(p.words, at+1, mark)
	}
}

// says reports whether the words in a box contain what a text says.
func (p *page) says(b box, text string) bool {
	var s strings.Builder
	for i := range p.words {
		if b.holds(&p.words[i]) {
			s.WriteString(letters(p.words[i].text))
		}
	}
	return strings.Contains(s.String(), letters(text))
}

// anchor returns the index of the word behind which the mark of a remark goes, and
// the text that the remark marks. The word is the last of that text, else the nearest
// one. The index is -1 if none is near.
func (p *page) anchor(a *annotation, fr frame) (int, string) {
	last := -1
	var marked strings.Builder
	for _, m := range a.marked {
		b := newBox(fr, m)
		for i := range p.words {
			if w := &p.words[i]; b.holds(w) {
				marked.WriteString(w.text)
				if last < 0 || w.y > p.words[last].y+.3*w.size || w.y > p.words[last].y-.3*w.size && w.x1 > p.words[last].x1 {
					last = i
				}
			}
		}
	}
	if last >= 0 {
		return last, marked.String()
	}
	b := newBox(fr, a.area)
	x, y := b.x0, (b.y0+b.y1)/2
	nearest, far := float32(math.Inf(1)), false
	for i := range p.words {
		w := &p.words[i]
		// Notes stand at the end of a line or above the words they are on: a line
		// is nearer than what is above or below it.
		dx, dy := max(w.x0-x, x-w.x1, 0), abs(w.y-.3*w.size-y)
		if k := dx + 3*dy; k < nearest {
			last, nearest = i, k
			far = dy > 5*w.size
		}
	}
	if far {
		return -1, "" // it stands by itself
	}
	return last, ""
}

// remark is what somebody says about a page.
type remark struct{ author, text string }

// writeRemarks adds the remarks as the notes that the page's marks lead to.
func (d *document) writeRemarks(markdown string) string {
	if len(d.remarks) == 0 {
		return markdown
	}
	var b strings.Builder
	b.WriteString(strings.TrimRight(markdown, "\n"))
	b.WriteString("\n")
	for i, thread := range d.remarks {
		fmt.Fprintf(&b, "\n[^comment-%d]: ", i+1)
		for j, r := range thread {
			if j > 0 {
				b.WriteString("\n\n    ")
			}
			if who := md.Line(r.author); who != "" {
				b.WriteString(md.EscapeInline(who) + ": ")
			}
			b.WriteString(strings.ReplaceAll(md.EscapeInline(r.text), "\n", "\n    "))
		}
		b.WriteByte('\n')
	}
	return b.String()
}
