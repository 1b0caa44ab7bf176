package pdf

import (
	"github.com/klippa-app/go-pdfium/references"
	"github.com/klippa-app/go-pdfium/requests"

	"sluice/services/parser/internal/md"
)

// figure is a picture of a tagged file: the identifier of its marked content, and
// where it stands.
type figure struct {
	id int
	at box
}

// figure keeps what a figure shows, as its tag says, for all that it consists of.
func (w *tagWalk) figure(e references.FPDF_STRUCTELEMENT) error {
	r, err := w.instance.FPDF_StructElement_GetAltText(&requests.FPDF_StructElement_GetAltText{StructElement: e})
	if err != nil {
		return ifTrapped(err) // it has none
	}
	alt := md.Line(clean(r.AltText))
	if alt == "" {
		return nil
	}
	n, err := w.instance.FPDF_StructElement_CountChildren(&requests.FPDF_StructElement_CountChildren{StructElement: e})
	if err != nil {
		return ifTrapped(err)
	}
	for i := range min(n.Count, maxTags) {
		id, err := w.instance.FPDF_StructElement_GetChildMarkedContentID(&requests.FPDF_StructElement_GetChildMarkedContentID{StructElement: e, Index: i})
		if err != nil {
			if trapped(err) {
				return err
			}
			continue
		}
		if id.ChildMarkedContentID >= 0 {
			w.found.figures[id.ChildMarkedContentID] = alt
		}
	}
	return nil
}

// figures looks for figures only.
func (w *tagWalk) figures(e references.FPDF_STRUCTELEMENT, depth int) error {
	if depth > maxTagDepth {
		return nil
	}
	n, err := w.instance.FPDF_StructElement_CountChildren(&requests.FPDF_StructElement_CountChildren{StructElement: e})
	if err != nil {
		return ifTrapped(err)
	}
	for i := range n.Count {
		if w.seen++; w.seen > maxTags {
			return nil
		}
		child, err := w.instance.FPDF_StructElement_GetChildAtIndex(&requests.FPDF_StructElement_GetChildAtIndex{StructElement: e, Index: i})
		if err != nil {
			if trapped(err) {
				return err
			}
			continue // content
		}
		kind, err := w.instance.FPDF_StructElement_GetType(&requests.FPDF_StructElement_GetType{StructElement: child.StructElement})
		if err != nil {
			if trapped(err) {
				return err
			}
			continue
		}
		if kind.Type == "Figure" {
			err = w.figure(child.StructElement)
		} else {
			err = w.figures(child.StructElement, depth+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// describe puts the alternative text of pictures where they stand. A page that is
// nothing but a picture stays one.
func (p *page) describe(d *document) {
	if p.tags == nil || len(p.tags.figures) == 0 || p.said() == 0 {
		return
	}
	size := p.bodySize()
	written := map[int]bool{}
	for _, f := range p.figures {
		alt := p.tags.figures[f.id]
		if alt == "" || written[f.id] {
			continue
		}
		written[f.id] = true // a picture may be cut into strips
		p.words = append(p.words, word{
			text: md.Image(alt, ""), x0: f.at.x0, x1: f.at.x1, y: (f.at.y0+f.at.y1)/2 + .3*size, size: size,
			font: d.addedFont(),
		})
	}
}
