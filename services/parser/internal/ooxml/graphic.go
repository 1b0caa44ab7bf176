package ooxml

import (
	"encoding/xml"
	"strings"

	"sluice/services/parser/internal/md"
	"sluice/services/parser/internal/office"
)

// graphic is a drawing of a Word document while it is read.
type graphic struct {
	alt    string // of the drawing; a picture in a group has its own
	picAlt string
	shown  bool // something of it is in the text already
	put    func(string) error
}

// graphic reads DrawingML and VML: pictures go into the line, text boxes,
// charts and diagrams after the paragraph.
func (d *docx) graphic(x *office.XML, se xml.StartElement, p *wordPara, g *graphic) error {
	children := func(se xml.StartElement) error { return d.graphic(x, se, p, g) }
	switch se.Name.Local {
	case "docPr":
		g.alt = office.AltText(se)
	case "cNvPr":
		g.picAlt = office.AltText(se)
	case "shape", "rect", "oval", "roundrect": // VML
		if alt := office.Attr(se, "alt"); alt != "" {
			g.alt = alt
		}
		return x.Each(children)
	case "blip", "imagedata":
		id := office.RelID(se, "embed")
		for _, a := range []string{"link", "id", "pict"} {
			if id == "" {
				id = office.RelID(se, a)
			}
		}
		r, ok := d.rels[id]
		if !ok {
			return nil
		}
		alt := g.picAlt
		if alt == "" {
			alt = g.alt
		}
		if alt == "" && se.Name.Local == "imagedata" {
			alt = office.Attr(se, "title")
		}
		g.shown = true
		return g.put(md.Image(alt, pictureName(r)))
	case "txbxContent":
		g.shown = true
		return d.blocks(x, func(b office.Block) { p.after = append(p.after, b) })
	case "chart":
		g.shown = true
		blocks, err := readChart(d.Archive, d.rels[office.RelID(se, "id")].Target, inText)
		p.after = append(p.after, blocks...)
		return err
	case "relIds":
		g.shown = true
		blocks, err := diagram(d.Archive, d.rels, office.RelID(se, "dm"))
		p.after = append(p.after, blocks...)
		return err
	case "textpath": // WordArt
		if s := strings.TrimSpace(office.Attr(se, "string")); s != "" {
			g.shown = true
			p.after = append(p.after, office.Block{Text: office.Tidy(md.EscapeInline(s))})
			return d.Spend(len(s))
		}
	case "OLEObject":
		d.Warn("an embedded object (%s) is shown by its picture only", office.Attr(se, "ProgID"))
	case "AlternateContent":
		return x.Alternate(children)
	default:
		return x.Each(children)
	}
	return nil
}

// pictureName returns what a picture is called: the URL of one in the web, and else
// the name of its file.
func pictureName(r office.Relation) string {
	if r.External && (strings.HasPrefix(r.Target, "https://") || strings.HasPrefix(r.Target, "http://")) {
		return r.Target
	}
	return office.Base(r.Target)
}
