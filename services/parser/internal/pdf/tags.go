package pdf

import (
	"strconv"

	"github.com/klippa-app/go-pdfium/references"
	"github.com/klippa-app/go-pdfium/requests"
)

// Tagged files say what is a heading. A tag is as good as the program that made
// it: what few tags say is taken as it is, what most of a document is tagged as
// is not (see findHeadings).

// maxTags bounds the elements of the structure tree looked at on one page, and
// how deep it goes.
const (
	maxTags     = 2_000
	maxTagDepth = 40
)

// tagged is what the structure tree says of the marked content of a page, which it
// names by identifiers.
type tagged struct {
	headings map[int]uint8  // levels, from 1 to 6
	figures  map[int]string // alternative texts
}

// tags reads the structure tree of a page. Without one, or with one that cannot
// be read, nothing is tagged: it only helps.
func (f *file) tags(ref requests.Page) (*tagged, error) {
	found := &tagged{headings: map[int]uint8{}, figures: map[int]string{}}
	if !f.isTagged() {
		return found, nil
	}
	tree, err := f.instance.FPDF_StructTree_GetForPage(&requests.FPDF_StructTree_GetForPage{Page: ref})
	if err != nil {
		return found, ifTrapped(err)
	}
	w := tagWalk{file: f, found: found}
	n, err := f.instance.FPDF_StructTree_CountChildren(&requests.FPDF_StructTree_CountChildren{StructTree: tree.StructTree})
	for i := 0; err == nil && i < n.Count && w.seen < maxTags; i++ {
		child, childErr := f.instance.FPDF_StructTree_GetChildAtIndex(&requests.FPDF_StructTree_GetChildAtIndex{StructTree: tree.StructTree, Index: i})
		if childErr != nil {
			err = ifTrapped(childErr)
			continue
		}
		err = w.element(child.StructElement, 0, 0)
	}
	if err != nil && trapped(err) {
		return nil, err
	}
	if _, err := f.instance.FPDF_StructTree_Close(&requests.FPDF_StructTree_Close{StructTree: tree.StructTree}); err != nil {
		return found, ifTrapped(err)
	}
	return found, nil
}

// isTagged asks once whether the file has a structure tree.
func (f *file) isTagged() bool {
	if f.tagged == 0 {
		f.tagged = -1
		if r, err := f.instance.FPDFCatalog_IsTagged(&requests.FPDFCatalog_IsTagged{Document: f.doc}); err == nil && r.IsTagged {
			f.tagged = 1
		}
	}
	return f.tagged > 0
}

type tagWalk struct {
	*file
	found *tagged
	seen  int
}

// element goes through an element and what is in it. level is that of the
// heading around it, 0 for none.
func (w *tagWalk) element(e references.FPDF_STRUCTELEMENT, level uint8, depth int) error {
	if w.seen++; w.seen > maxTags || depth > maxTagDepth {
		return nil
	}
	if level == 0 {
		kind, err := w.instance.FPDF_StructElement_GetType(&requests.FPDF_StructElement_GetType{StructElement: e})
		if err != nil {
			return ifTrapped(err)
		}
		switch kind.Type {
		case "Table", "TOC", "L":
			return w.figures(e, depth) // headings in them are none of the document
		case "Figure":
			return w.figure(e)
		}
		level = headingTag(kind.Type)
	}
	n, err := w.instance.FPDF_StructElement_CountChildren(&requests.FPDF_StructElement_CountChildren{StructElement: e})
	if err != nil {
		return ifTrapped(err)
	}
	for i := range n.Count {
		if w.seen > maxTags {
			return nil
		}
		if level > 0 {
			id, err := w.instance.FPDF_StructElement_GetChildMarkedContentID(&requests.FPDF_StructElement_GetChildMarkedContentID{StructElement: e, Index: i})
			if err == nil {
				if id.ChildMarkedContentID >= 0 {
					w.found.headings[id.ChildMarkedContentID] = level
				}
				continue
			}
			if trapped(err) {
				return err
			}
		}
		child, err := w.instance.FPDF_StructElement_GetChildAtIndex(&requests.FPDF_StructElement_GetChildAtIndex{StructElement: e, Index: i})
		if err != nil {
			if trapped(err) {
				return err
			}
			continue // content, or another kind of reference
		}
		if err := w.element(child.StructElement, level, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// headingTag returns the level of a heading by its structure type (ISO 32000-1,
// 14.8.4.3.2, and Title of ISO 32000-2), 0 for what is none.
func headingTag(kind string) uint8 {
	switch kind {
	case "Title":
		return 1
	case "H":
		return 2
	}
	if len(kind) == 2 && kind[0] == 'H' {
		if n, err := strconv.Atoi(kind[1:]); err == nil && n >= 1 {
			return uint8(min(n, 6))
		}
	}
	return 0
}

// tagOf returns the level of the heading that a character belongs to.
func (x *extractor) tagOf(index int) (uint8, error) {
	if len(x.page.tags.headings) == 0 {
		return 0, nil
	}
	o, err := x.instance.FPDFText_GetTextObject(&requests.FPDFText_GetTextObject{TextPage: x.textRef, Index: index})
	if err != nil {
		return 0, ifTrapped(err)
	}
	id, err := x.instance.FPDFPageObj_GetMarkedContentID(&requests.FPDFPageObj_GetMarkedContentID{PageObject: o.TextObject})
	if err != nil {
		return 0, ifTrapped(err)
	}
	return x.page.tags.headings[id.MarkedContentID], nil
}
