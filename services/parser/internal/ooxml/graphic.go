package ooxml

import (
	"encoding/xml"
	"strings"

	"sluice/services/parser/internal/md"
	"sluice/services/parser/internal/office"
	"sluice/services/parser/internal/sheet"
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
		return d.blocks(x, func(b office.Block) error {
			p.after = append(p.after, b)
			return nil
		})
	case "chart":
		g.shown = true
		blocks, err := readChart(d.Archive, d.rels[office.RelID(se, "id")].Target)
		p.after = append(p.after, blocks...)
		return err
	case "relIds":
		g.shown = true
		blocks, err := diagram(d.Archive, d.rels[office.RelID(se, "dm")].Target)
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

// picture returns what a picture is called: the URL of one in the web, and else
// the name of its file.
func pictureName(r office.Relation) string {
	if r.External && (strings.HasPrefix(r.Target, "https://") || strings.HasPrefix(r.Target, "http://")) {
		return r.Target
	}
	return office.Base(r.Target)
}

// chart returns a chart part as its title and a table of its data.
func readChart(a *office.Archive, part string) ([]office.Block, error) {
	if part == "" {
		return nil, nil
	}
	c := &chart{}
	err := a.Parse(part, func(x *office.XML, _ xml.StartElement) error {
		return x.Each(func(se xml.StartElement) error { return c.element(x, se) })
	})
	if err := a.Optional(err, "a chart"); err != nil {
		return nil, err
	}
	return c.blocks(a.Job)
}

// chart is the data of a chart as its file caches it.
type chart struct {
	title  string
	series []series
}

type series struct {
	name       string
	categories []string
	values     []string
}

func (c *chart) element(x *office.XML, se xml.StartElement) error {
	switch se.Name.Local {
	case "title":
		s, err := drawnText(x)
		if c.title == "" {
			c.title = s
		}
		return err
	case "ser":
		var s series
		err := x.Each(func(se xml.StartElement) (err error) {
			switch se.Name.Local {
			case "tx":
				var name []string
				name, err = cachedPoints(x)
				s.name = strings.Join(name, " ")
			case "cat", "xVal":
				s.categories, err = cachedPoints(x)
			case "val", "yVal":
				s.values, err = cachedPoints(x)
			}
			return err
		})
		c.series = append(c.series, s)
		return err
	case "dLbls", "spPr", "txPr", "extLst", "legend", "externalData", "AlternateContent":
		return nil
	}
	return x.Each(func(se xml.StartElement) error { return c.element(x, se) })
}

// cachedPoints reads the values of a c:cat, c:val or c:tx in their order. The
// levels of a category of several are joined.
func cachedPoints(x *office.XML) ([]string, error) {
	const most = 1 << 16 // points of one series that anyone would read
	var points []string
	code := ""
	err := x.Deep(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "formatCode":
			s, err := x.Text()
			code = s
			return err
		case "v": // a literal name
			s, err := x.Text()
			points = append(points, s)
			return err
		case "pt":
			at := office.Number(office.Attr(se, "idx"), len(points))
			if own := office.Attr(se, "formatCode"); own != "" {
				code = own
			}
			var s string
			err := x.Each(func(se xml.StartElement) (err error) {
				if se.Name.Local == "v" {
					s, err = x.Text()
				}
				return err
			})
			if at < 0 || at >= most {
				return err
			}
			for len(points) <= at {
				points = append(points, "")
			}
			s = sheet.FormatCached(s, code)
			if points[at] != "" && s != "" {
				s += " " + points[at] // inner levels come first
			}
			points[at] = s
			return err
		}
		return nil
	})
	return points, err
}

func (c *chart) blocks(j *office.Job) ([]office.Block, error) {
	title := strings.TrimSpace("Chart: " + c.title)
	if c.title == "" {
		title = "Chart"
	}
	var out []office.Block
	if c.title != "" || len(c.series) > 0 {
		out = append(out, office.Block{Text: "**" + md.EscapeInline(md.Line(title)) + "**"})
	}
	head := []string{""}
	height := 0
	var categories []string
	for _, s := range c.series {
		head = append(head, md.EscapeInline(s.name))
		height = max(height, len(s.values), len(s.categories))
		if len(s.categories) > len(categories) {
			categories = s.categories
		}
	}
	if err := j.Spend(3 * height * len(head)); err != nil {
		return nil, err
	}
	if len(c.series) == 0 || height == 0 {
		return out, nil
	}
	head[0] = "Category"
	rows := [][]string{head}
	for i := range height {
		row := []string{at(categories, i)}
		for _, s := range c.series {
			row = append(row, at(s.values, i))
		}
		rows = append(rows, row)
	}
	return append(out, office.Block{Kind: office.Table, Rows: rows}), nil
}

// at returns an element as a table cell, "" where there is none.
func at(list []string, i int) string {
	if i >= len(list) {
		return ""
	}
	return md.EscapeInline(list[i])
}

// drawnText returns the paragraphs of DrawingML below an element as one line.
func drawnText(x *office.XML) (string, error) {
	var parts []string
	err := x.Deep(func(se xml.StartElement) error {
		if n := se.Name.Local; n != "t" && n != "v" {
			return nil
		}
		s, err := x.Text()
		parts = append(parts, s)
		return err
	})
	return md.Line(strings.Join(parts, "")), err
}

// diagram returns the texts of a SmartArt data part as a list.
func diagram(a *office.Archive, part string) ([]office.Block, error) {
	if part == "" {
		return nil, nil
	}
	var out []office.Block
	err := a.Parse(part, func(x *office.XML, _ xml.StartElement) error {
		return x.Deep(func(se xml.StartElement) error {
			if se.Name.Local != "pt" || office.Attr(se, "type") == "pres" {
				return nil
			}
			s, err := drawnText(x)
			if s != "" {
				out = append(out, office.Block{Kind: office.Item, Marker: "-", Text: office.Tidy(md.EscapeInline(s))})
			}
			return err
		})
	})
	return out, a.Optional(err, "a diagram")
}
