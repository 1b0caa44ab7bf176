package ooxml

import (
	"context"
	"encoding/xml"
	"fmt"
	"path"
	"strings"
	"unicode"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
	"sluice/services/parser/internal/office"
)

// pptx reads the PresentationML parts of one presentation (ECMA-376, part 1).
type pptx struct {
	*office.Archive
	rels    map[string]office.Relation // of the slide being read
	layouts map[string]*slideLayout
	authors map[string]string // of comments, by ID
	footer  bool              // a footer is being read
	said    map[string]bool   // what footers and layouts said so far
}

// PPTX reads a PowerPoint presentation, a page per slide.
func PPTX(ctx context.Context, in format.Input) (*format.Output, error) {
	j := office.NewJob(ctx, in)
	a, err := office.OpenArchive(j)
	if err != nil {
		return nil, err
	}
	p := &pptx{Archive: a, layouts: map[string]*slideLayout{}, authors: map[string]string{}, said: map[string]bool{}}
	part, err := a.Main("ppt/presentation.xml")
	if err != nil {
		return nil, err
	}
	slides, err := p.slides(part)
	if err != nil {
		return nil, err
	}
	out := &office.Document{}
	for i, slide := range slides {
		if err := j.CountPages(i+1, "slides"); err != nil {
			return nil, err
		}
		if err := p.slide(out, slide, i+1); err != nil {
			return nil, err
		}
	}
	return j.Finish(out)
}

// slides returns the parts of the slides in the order of the presentation.
func (p *pptx) slides(part string) ([]string, error) {
	rels, err := p.Relations(part)
	if err != nil {
		return nil, err
	}
	var slides []string
	err = p.Parse(part, func(x *office.XML, _ xml.StartElement) error {
		return x.Each(func(se xml.StartElement) error {
			if se.Name.Local != "sldIdLst" {
				return nil
			}
			return x.Each(func(se xml.StartElement) error {
				if r := rels[office.RelID(se, "id")]; r.Target != "" {
					slides = append(slides, r.Target)
				}
				return nil
			})
		})
	})
	if err != nil {
		return nil, err
	}
	for _, kind := range []string{"commentAuthors", "authors"} {
		if part := office.Related(rels, kind); part != "" && p.Has(part) {
			err := p.Parse(part, func(x *office.XML, _ xml.StartElement) error {
				return x.Each(func(se xml.StartElement) error {
					p.authors[office.Attr(se, "id")] = office.Attr(se, "name")
					return nil
				})
			})
			if err := p.Optional(err, "the authors of comments"); err != nil {
				return nil, err
			}
		}
	}
	return slides, nil
}

// slideLayout is what slides inherit from a layout, and a layout from its master.
type slideLayout struct {
	places []office.Placeholder
	body   office.BulletLevels // of the master's body text
	parent *slideLayout
	drawn  []office.Block // texts that stand on every slide
	alone  bool           // those of the parent do not
}

// layout reads a layout or master, and what that inherits from. A damaged one
// costs bullets, not the slide.
func (p *pptx) layout(part string) (*slideLayout, error) {
	if part == "" || !p.Has(part) {
		return nil, nil
	}
	if l, ok := p.layouts[part]; ok {
		return l, nil
	}
	l := &slideLayout{}
	p.layouts[part] = l
	rels, err := p.Relations(part)
	if err != nil {
		return nil, err
	}
	if l.parent, err = p.layout(office.Related(rels, "slideMaster")); err != nil {
		return nil, err
	}
	defer func(of map[string]office.Relation) { p.rels, p.footer = of, false }(p.rels)
	p.rels, p.footer = rels, true
	err = p.Parse(part, func(x *office.XML, root xml.StartElement) error {
		l.alone = hidesMaster(root)
		return x.Deep(func(se xml.StartElement) error {
			switch se.Name.Local {
			case "sp":
				s := &office.Shape{}
				err := x.Each(func(se xml.StartElement) error {
					switch se.Name.Local {
					case "nvSpPr":
						return s.Names(x)
					case "spPr":
						return s.Position(x)
					case "txBody":
						if !s.IsPlace { // no slide fills it
							blocks, err := p.textBody(x, s.Bullets)
							l.drawn = append(l.drawn, blocks...)
							return err
						}
						return x.Each(func(se xml.StartElement) (err error) {
							if se.Name.Local == "lstStyle" {
								s.Bullets, err = readBulletLevels(x)
							}
							return err
						})
					}
					return nil
				})
				if s.IsPlace {
					l.places = append(l.places, s.Placeholder)
				}
				return err
			case "bodyStyle":
				var err error
				l.body, err = readBulletLevels(x)
				return err
			case "extLst", "otherStyle", "timing", "titleStyle": // half of a master: no shapes are in them
				return x.Skip()
			}
			return nil
		})
	})
	return l, p.Optional(err, "a layout")
}

// hidesMaster reports whether a slide or a layout does not show the shapes of what
// it inherits from.
func hidesMaster(root xml.StartElement) bool {
	v := office.Attr(root, "showMasterSp")
	return v == "0" || v == "false"
}

// around returns the texts of layouts and masters that no slide before showed. What
// the slide says itself is left out.
func (p *pptx) around(l *slideLayout, shapes []*office.Shape) []office.Block {
	var blocks []office.Block
	for ; l != nil; l = l.parent {
		blocks = append(blocks, l.drawn...)
		if l.alone {
			break
		}
	}
	if len(blocks) == 0 {
		return nil
	}
	var text strings.Builder
	for _, s := range shapes {
		text.WriteString(office.Flat(s.Blocks) + "\n")
	}
	own := office.PlainWords(text.String())
	return office.FrameWithout(blocks, func(words string) bool {
		return p.saidBefore(words) || strings.Contains(own, words)
	})
}

// saidBefore reports whether a footer or a layout said these words, and notes them.
func (p *pptx) saidBefore(words string) bool {
	before := p.said[words]
	p.said[words] = true
	return before
}

// readBulletLevels reads the lvl1pPr … lvl9pPr of a list style.
func readBulletLevels(x *office.XML) (levels office.BulletLevels, err error) {
	err = x.Each(func(se xml.StartElement) error {
		name := se.Name.Local
		if len(name) != len("lvl1pPr") || !strings.HasPrefix(name, "lvl") || name[3] < '1' || name[3] > '9' {
			return nil
		}
		at := name[3] - '1'
		return x.Each(func(se xml.StartElement) error {
			if b := bulletOf(se); b != 0 {
				levels[at] = b
			}
			return nil
		})
	})
	return levels, err
}

func bulletOf(se xml.StartElement) int8 {
	switch se.Name.Local {
	case "buNone":
		return office.NoBullet
	case "buChar", "buBlip":
		return office.DotBullet
	case "buAutoNum":
		return office.AutoNumber
	}
	return 0
}

// inherit completes a shape from the places above it, nearest first.
func (l *slideLayout) inherit(s *office.Shape) {
	for ; l != nil; l = l.parent {
		if place := office.Place(l.places, s.Placeholder); place != nil {
			if !s.Placed && place.Placed {
				s.X, s.Y, s.Placed = place.X, place.Y, true
			}
			s.Bullets.Fill(place.Bullets)
		}
		if office.IsBody(s.Kind) {
			s.Bullets.Fill(l.body)
		}
	}
}

func (p *pptx) slide(out *office.Document, part string, n int) error {
	out.Page()
	rels, err := p.Relations(part)
	if err != nil {
		return err
	}
	p.rels = rels
	layout, err := p.layout(office.Related(rels, "slideLayout"))
	if err != nil {
		return err
	}
	var shapes []*office.Shape
	hidden, alone := "", false
	err = p.Parse(part, func(x *office.XML, root xml.StartElement) error {
		if office.Attr(root, "show") == "0" || office.Attr(root, "show") == "false" {
			hidden = " (hidden)"
		}
		alone = hidesMaster(root)
		return x.Each(func(se xml.StartElement) error {
			if se.Name.Local != "cSld" {
				return nil
			}
			return x.Each(func(se xml.StartElement) (err error) {
				if se.Name.Local == "spTree" {
					shapes, err = p.shapes(x, &office.Shape{}, layout)
				}
				return err
			})
		})
	})
	if err := p.Optional(err, fmt.Sprintf("slide %d", n)); err != nil {
		return err
	}
	out.Add(office.Block{Kind: office.Mark, Text: fmt.Sprintf("<!-- Slide number: %d%s -->", n, hidden)})
	out.AddShapes(p.Job, shapes)
	if !alone {
		out.Add(p.around(layout, shapes)...)
	}
	if notes := office.Related(rels, "notesSlide"); notes != "" {
		if err := p.Optional(p.speakerNotes(out, notes), fmt.Sprintf("the notes of slide %d", n)); err != nil {
			return err
		}
	}
	return p.Optional(p.comments(out, rels), fmt.Sprintf("the comments on slide %d", n))
}

// shapes reads the children of a shape tree or group; of is the group.
func (p *pptx) shapes(x *office.XML, of *office.Shape, layout *slideLayout) ([]*office.Shape, error) {
	var shapes []*office.Shape
	var element func(se xml.StartElement) error
	element = func(se xml.StartElement) error {
		s := &office.Shape{}
		var err error
		switch se.Name.Local {
		case "grpSpPr":
			return of.Position(x)
		case "sp":
			err = p.textShape(x, s, layout)
		case "pic":
			err = p.picture(x, s)
		case "graphicFrame":
			err = p.frame(x, s)
		case "grpSp":
			var members []*office.Shape
			members, err = p.shapes(x, s, layout)
			for _, m := range office.InReadingOrder(members) {
				s.Blocks = append(s.Blocks, m.Blocks...)
			}
		case "AlternateContent":
			return x.Alternate(element)
		default:
			return nil
		}
		if s.IsPlace { // of a picture, a chart, a table
			layout.inherit(s)
		}
		if len(s.Blocks) > 0 {
			shapes = append(shapes, s)
		}
		return err
	}
	err := x.Each(element)
	return shapes, err
}

func (p *pptx) textShape(x *office.XML, s *office.Shape, layout *slideLayout) error {
	return x.Each(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "nvSpPr":
			return s.Names(x)
		case "spPr":
			return s.Position(x)
		case "txBody":
			if s.IsPlace {
				layout.inherit(s)
			}
			switch s.Kind {
			case "sldNum":
				return nil
			case "ftr", "dt", "hdr": // mostly the same on every slide
				p.footer = true
				defer func() { p.footer = false }()
				blocks, err := p.textBody(x, s.Bullets)
				s.Blocks = office.FrameWithout(blocks, p.saidBefore)
				return err
			}
			blocks, err := p.textBody(x, s.Bullets)
			s.Blocks = blocks
			return err
		}
		return nil
	})
}

func (p *pptx) picture(x *office.XML, s *office.Shape) error {
	var r office.Relation
	err := x.Each(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "nvPicPr":
			return s.Names(x)
		case "spPr":
			return s.Position(x)
		case "blipFill":
			return x.Deep(func(se xml.StartElement) error {
				if se.Name.Local == "blip" {
					if r = p.rels[office.RelID(se, "embed")]; r.Target == "" {
						r = p.rels[office.RelID(se, "link")]
					}
				}
				return nil
			})
		}
		return nil
	})
	// The name that the slide gives a picture says more than that of its file.
	name := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' {
			return r
		}
		return -1
	}, s.Name)
	if ext := path.Ext(pictureName(r)); name != "" && len(ext) <= 5 {
		name += strings.Replace(strings.ToLower(ext), ".jpeg", ".jpg", 1)
	} else {
		name = pictureName(r)
	}
	s.Blocks = []office.Block{{Text: md.Image(s.Alt, name)}}
	return err
}

// frame reads a graphicFrame: a table, a chart, a diagram, an embedded object.
func (p *pptx) frame(x *office.XML, s *office.Shape) error {
	var element func(se xml.StartElement) error
	element = func(se xml.StartElement) error {
		var blocks []office.Block
		var err error
		switch se.Name.Local {
		case "nvGraphicFramePr":
			return s.Names(x)
		case "xfrm":
			return s.Position(x)
		case "tbl":
			blocks, err = p.table(x)
		case "chart":
			blocks, err = readChart(p.Archive, p.rels[office.RelID(se, "id")].Target, inText)
		case "relIds":
			blocks, err = diagram(p.Archive, p.rels, office.RelID(se, "dm"))
		case "pic":
			inner := &office.Shape{}
			err = p.picture(x, inner)
			blocks = inner.Blocks
		case "AlternateContent":
			return x.Alternate(element)
		default:
			return x.Each(element)
		}
		s.Blocks = append(s.Blocks, blocks...)
		return err
	}
	return x.Each(element)
}

func (p *pptx) table(x *office.XML) ([]office.Block, error) {
	var table office.Cells
	err := x.Each(func(se xml.StartElement) error {
		if se.Name.Local != "tr" {
			return nil
		}
		table.NextRow()
		return x.Each(func(se xml.StartElement) error {
			if se.Name.Local != "tc" {
				return nil
			}
			cover := office.Own
			switch {
			case office.IsTrue(office.Attr(se, "hMerge")):
				cover = office.FromLeft
			case office.IsTrue(office.Attr(se, "vMerge")):
				cover = office.FromAbove
			}
			cell := ""
			err := x.Each(func(se xml.StartElement) error {
				if se.Name.Local != "txBody" {
					return nil
				}
				blocks, err := p.textBody(x, office.BulletLevels{})
				if cover == office.Own {
					cell = office.Flat(blocks)
				}
				return err
			})
			table.Add(cell, 1, cover)
			if err != nil {
				return err
			}
			return p.Spend(3)
		})
	})
	if err != nil {
		return nil, err
	}
	rows, err := table.Rows(p.Job)
	return []office.Block{{Kind: office.Table, Rows: rows}}, err
}

// textBody reads the paragraphs of a txBody. What is unsaid of bullets is off.
func (p *pptx) textBody(x *office.XML, inherited office.BulletLevels) ([]office.Block, error) {
	var out []office.Block
	var counts [office.ListLevels]int
	err := x.Each(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "lstStyle":
			own, err := readBulletLevels(x)
			own.Fill(inherited)
			inherited = own
			return err
		case "p":
		default:
			return nil
		}
		t := &drawnPara{}
		if err := x.Each(func(se xml.StartElement) error { return p.textElement(x, se, t) }); err != nil {
			return err
		}
		text := office.Inline(t.spans, false)
		if text == "" {
			return nil
		}
		bullet := t.bullet
		if bullet == 0 {
			bullet = inherited[t.level]
		}
		for i := t.level + 1; i < office.ListLevels; i++ {
			counts[i] = 0
		}
		if bullet != office.AutoNumber {
			counts[t.level] = 0
		}
		switch bullet {
		case office.DotBullet:
			out = append(out, office.Block{Kind: office.Item, Level: t.level, Marker: "-", Text: text})
		case office.AutoNumber:
			if counts[t.level] == 0 {
				counts[t.level] = t.start
			}
			counts[t.level]++
			marker, prefix := office.ItemMarker(autoLabel(counts[t.level], t.scheme), false)
			out = append(out, office.Block{Kind: office.Item, Level: t.level, Marker: marker, Text: prefix + text})
		default:
			out = append(out, office.Block{Text: text})
		}
		return nil
	})
	return out, err
}

// drawnPara is an a:p while it is read.
type drawnPara struct {
	level  int
	bullet int8
	scheme string
	start  int // numbers before the first
	spans  []office.Span
}

func (p *pptx) textElement(x *office.XML, se xml.StartElement, t *drawnPara) error {
	switch se.Name.Local {
	case "pPr":
		t.level = min(max(office.Number(office.Attr(se, "lvl"), 0), 0), office.ListLevels-1)
		return x.Each(func(se xml.StartElement) error {
			if b := bulletOf(se); b != 0 {
				t.bullet = b
				t.scheme = office.Attr(se, "type")
				t.start = max(office.Number(office.Attr(se, "startAt"), 1), 1) - 1
			}
			return nil
		})
	case "br":
		t.spans = append(t.spans, office.Span{Text: "\n"})
	case "r", "fld":
		if p.footer && se.Name.Local == "fld" {
			return nil // the number of the slide, the date of today
		}
		s := office.Span{}
		return x.Each(func(se xml.StartElement) error {
			switch se.Name.Local {
			case "rPr":
				if office.IsTrue(office.Attr(se, "b")) {
					s.Style |= office.Bold
				}
				if office.IsTrue(office.Attr(se, "i")) {
					s.Style |= office.Italic
				}
				if v := office.Attr(se, "strike"); v == "sngStrike" || v == "dblStrike" {
					s.Style |= office.Strike
				}
				switch n := office.Number(strings.TrimSuffix(office.Attr(se, "baseline"), "%"), 0); {
				case n > 0:
					s.Style |= office.Raised
				case n < 0:
					s.Style |= office.Lowered
				}
				return x.Each(func(se xml.StartElement) error {
					if se.Name.Local == "hlinkClick" {
						if r := p.rels[office.RelID(se, "id")]; r.External {
							s.Href = r.Target
						}
					}
					return nil
				})
			case "t":
				text, err := x.Text()
				s.Text = strings.ReplaceAll(text, "\v", "\n")
				t.spans = append(t.spans, s)
				return err
			}
			return nil
		})
	case "m": // a14:m around an equation
		return x.Each(func(se xml.StartElement) error { return p.textElement(x, se, t) })
	case "oMath", "oMathPara":
		s, err := p.Equation(x, se)
		t.spans = append(t.spans, office.Span{Text: s, Style: office.Raw})
		return err
	case "AlternateContent":
		return x.Alternate(func(se xml.StartElement) error { return p.textElement(x, se, t) })
	}
	return nil
}

// autoSchemes are the numbering schemes of DrawingML (ST_TextAutonumberScheme) by
// how they begin, as those of WordprocessingML.
var autoSchemes = []struct{ prefix, format string }{
	{"alphaLc", "lowerLetter"},
	{"alphaUc", "upperLetter"},
	{"romanLc", "lowerRoman"},
	{"romanUc", "upperRoman"},
	{"arabicDb", "decimalFullWidth"},
	{"arabic1Minus", "arabicAlpha"},
	{"arabic2Minus", "arabicAbjad"},
	{"circleNum", "decimalEnclosedCircle"},
	{"ea1Chs", "chineseCountingThousand"},
	{"ea1Cht", "taiwaneseCountingThousand"},
	{"ea1Jpn", "japaneseCounting"},
	{"hebrew2Minus", "hebrew2"},
	{"hindiAlpha", "hindiVowels"},
	{"hindiNum", "hindiNumbers"},
	{"thaiAlpha", "thaiLetters"},
	{"thaiNum", "thaiNumbers"},
}

// autoLabel writes the n-th number of a scheme such as "alphaLcParenR".
func autoLabel(n int, scheme string) string {
	format := "decimal"
	for _, s := range autoSchemes {
		if strings.HasPrefix(scheme, s.prefix) {
			format = s.format
			break
		}
	}
	s := office.Ordinal(n, format)
	switch {
	case strings.HasSuffix(scheme, "ParenBoth"):
		return "(" + s + ")"
	case strings.HasSuffix(scheme, "ParenR"):
		return s + ")"
	case strings.HasPrefix(scheme, "circleNum"):
		return s
	case strings.HasSuffix(scheme, "Minus"):
		return s + "-"
	case strings.HasSuffix(scheme, "Plain") && format != "decimal":
		return s
	}
	return s + "."
}

func (p *pptx) speakerNotes(out *office.Document, part string) error {
	slide := p.rels
	defer func() { p.rels = slide }()
	var err error
	if p.rels, err = p.Relations(part); err != nil {
		return err
	}
	var notes, others []office.Block
	err = p.Parse(part, func(x *office.XML, _ xml.StartElement) error {
		return x.Deep(func(se xml.StartElement) error {
			if se.Name.Local != "sp" {
				return nil
			}
			s := &office.Shape{}
			err := p.textShape(x, s, nil)
			if s.IsPlace && s.Kind == "body" {
				notes = append(notes, s.Blocks...)
			} else {
				others = append(others, s.Blocks...)
			}
			return err
		})
	})
	if notes = append(notes, others...); err == nil && len(notes) > 0 {
		out.Add(office.Block{Kind: office.Mark, Text: "### Notes:"})
		out.Add(notes...)
	}
	return err
}

// comments reads both kinds of comment parts: those of before and since 2021.
func (p *pptx) comments(out *office.Document, rels map[string]office.Relation) error {
	part := office.Related(rels, "comments")
	if part == "" {
		return nil
	}
	var found []office.Block
	err := p.Parse(part, func(x *office.XML, _ xml.StartElement) error {
		who := ""
		return x.Deep(func(se xml.StartElement) error {
			switch se.Name.Local {
			case "cm", "reply":
				who = p.authors[office.Attr(se, "authorId")]
			case "text", "txBody":
				s, err := x.Text()
				if s = md.Line(s); s != "" {
					if who != "" {
						s = who + ": " + s
					}
					found = append(found, office.Block{Kind: office.Item, Marker: "-", Text: md.EscapeInline(s)})
				}
				return err
			}
			return nil
		})
	})
	if len(found) > 0 {
		out.Add(office.Block{Kind: office.Mark, Text: "### Comments:"})
		out.Add(found...)
	}
	return err
}
