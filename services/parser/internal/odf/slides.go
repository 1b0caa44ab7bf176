package odf

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"

	"sluice/services/parser/internal/md"
	"sluice/services/parser/internal/office"
)

// presentation reads the slides of an ODP.
func (d *odf) presentation(x *office.XML, out *office.Document) error {
	slides := 0
	return x.Each(func(se xml.StartElement) error {
		if kind, ok := strings.CutSuffix(se.Name.Local, "-decl"); ok {
			return d.declaration(x, se, kind)
		}
		if se.Name.Local != "page" {
			return nil
		}
		slides++
		if err := d.CountPages(slides, "slides"); err != nil {
			return err
		}
		out.Page()
		out.Add(office.Block{Kind: office.Mark, Text: fmt.Sprintf("<!-- Slide number: %d -->", slides)})
		var shapes []*office.Shape
		var notes []office.Block
		page := se
		err := x.Each(func(se xml.StartElement) error {
			if se.Name.Local == "notes" {
				blocks, err := d.slideNotes(x, se)
				notes = append(notes, blocks...)
				return err
			}
			s := &office.Shape{}
			err := d.shape(x, se, s)
			shapes = append(shapes, s)
			return err
		})
		if err != nil {
			return err
		}
		out.AddShapes(d.Job, shapes)
		var text strings.Builder
		for _, s := range shapes {
			text.WriteString(office.Flat(s.Blocks) + "\n")
		}
		out.Add(d.around(page, office.PlainWords(text.String()))...)
		if len(notes) > 0 {
			out.Add(office.Block{Kind: office.Mark, Text: "### Notes:"})
			out.Add(notes...)
		}
		return nil
	})
}

// slideNotes reads the page of notes that belongs to a slide: the notes, and what
// else is written on it.
func (d *odf) slideNotes(x *office.XML, page xml.StartElement) ([]office.Block, error) {
	var notes, others []office.Block
	err := x.Each(func(se xml.StartElement) error {
		s := &office.Shape{}
		err := d.shape(x, se, s)
		if s.Kind == "notes" {
			notes = append(notes, s.Blocks...)
		} else {
			others = append(others, s.Blocks...)
		}
		return err
	})
	return slices.Concat(notes, others, d.around(page, "")), err
}

// declaration reads what slides name as their header, footer or date. A date that
// is that of the day says nothing.
func (d *odf) declaration(x *office.XML, se xml.StartElement, kind string) error {
	text, err := x.Text()
	if err != nil || office.Attr(se, "source") == "current-date" {
		return err
	}
	d.decls[kind+" "+office.Attr(se, "name")] = office.Block{Text: md.Escape(md.Line(text))}
	return d.Spend(len(text))
}

// around returns what stands on a slide, or on its notes, because it does on others
// too, and no slide before it said: the header, footer and date that it names, and
// the texts of its master page. What its own text says is left out.
func (d *odf) around(page xml.StartElement, text string) []office.Block {
	off := map[string]bool{}
	d.style(office.Attr(page, "style-name"), func(st odfStyle) bool {
		for what := range st.off {
			off[what] = true
		}
		return true
	})
	var blocks []office.Block
	if name := office.Attr(page, "master-page-name"); name != "" && !off["background-objects-visible"] {
		if at := slices.IndexFunc(d.masters, func(m master) bool { return m.name == name }); at >= 0 {
			blocks = append(blocks, d.masters[at].drawn...)
		}
	}
	for _, kind := range []string{"header", "footer", "date-time"} {
		if name := office.Attr(page, "use-"+kind+"-name"); name != "" && !off[kind] {
			blocks = append(blocks, d.decls[kind+" "+name])
		}
	}
	return office.FrameWithout(blocks, func(words string) bool {
		return d.saidOnSlides(words) || strings.Contains(text, words)
	})
}

// saidOnSlides reports whether a header or footer said these words before, and notes them.
func (d *odf) saidOnSlides(words string) bool {
	before := d.said[words]
	d.said[words] = true
	return before
}
