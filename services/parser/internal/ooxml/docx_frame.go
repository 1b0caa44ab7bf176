package ooxml

import (
	"bytes"
	"encoding/xml"
	"slices"

	"sluice/services/parser/internal/office"
)

// section notes the headers and footers of a section's pages.
func (d *docx) section(x *office.XML) error {
	type reference struct {
		foot     int
		kind, id string
	}
	var found []reference
	title := false
	err := x.Each(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "headerReference":
			found = append(found, reference{0, office.Attr(se, "type"), office.RelID(se, "id")})
		case "footerReference":
			found = append(found, reference{1, office.Attr(se, "type"), office.RelID(se, "id")})
		case "titlePg":
			title = office.OnOff(se)
		}
		return nil
	})
	for _, r := range found {
		// What is there for first or even pages is shown only where those are set apart.
		if r.kind == "first" && !title || r.kind == "even" && !d.evenPages() {
			continue
		}
		const most = 1000 // sections with headers of their own
		switch ids := &d.frames[r.foot]; {
		case slices.Contains(*ids, r.id):
		case len(*ids) == most:
			d.Warn("headers and footers of more than %d sections are left out", most)
		default:
			*ids = append(*ids, r.id)
		}
	}
	return err
}

// readEvenPages reads from the settings whether even pages have headers of their own.
func (d *docx) readEvenPages() bool {
	part := office.Related(d.rels, "settings")
	if part == "" || !d.Has(part) {
		return false
	}
	settings, err := d.Read(part)
	return err == nil && bytes.Contains(settings, []byte("evenAndOddHeaders"))
}

// pageFrames adds what headers and footers say and the text does not.
func (d *docx) pageFrames(out *office.Document) error {
	if len(d.frames[0])+len(d.frames[1]) == 0 {
		return nil
	}
	body := d.rels
	defer func() { d.rels, d.frame = body, false }()
	d.frame = true
	var read [2][]office.Block
	for foot, ids := range d.frames {
		for _, id := range ids {
			part := body[id].Target
			if part == "" || !d.Has(part) {
				continue
			}
			err := func() (err error) {
				if d.rels, err = d.Relations(part); err != nil {
					return err
				}
				return d.Parse(part, func(x *office.XML, _ xml.StartElement) error {
					return d.blocks(x, func(b office.Block) { read[foot] = append(read[foot], b) })
				})
			}()
			if err := d.Optional(err, "a header or footer"); err != nil {
				return err
			}
		}
	}
	out.AddFrames(read[0], read[1])
	return nil
}
