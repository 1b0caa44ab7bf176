package office

import (
	"cmp"
	"context"
	"encoding/xml"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
)

// pptx reads the PresentationML parts of one presentation (ECMA-376, part 1).
type pptx struct {
	*archive
	rels    map[string]relation // of the slide being read
	layouts map[string]*slideLayout
	authors map[string]string // of comments, by ID
}

// PPTX reads a PowerPoint presentation, a page per slide.
func PPTX(ctx context.Context, in format.Input) (*format.Output, error) {
	j := newJob(ctx, in)
	a, err := openArchive(j)
	if err != nil {
		return nil, err
	}
	p := &pptx{archive: a, layouts: map[string]*slideLayout{}, authors: map[string]string{}}
	part, err := a.main("ppt/presentation.xml")
	if err != nil {
		return nil, err
	}
	slides, err := p.slides(part)
	if err != nil {
		return nil, err
	}
	out := &document{}
	for i, slide := range slides {
		if err := j.countPages(i+1, "slides"); err != nil {
			return nil, err
		}
		if err := p.slide(out, slide, i+1); err != nil {
			return nil, err
		}
	}
	return j.finish(out)
}

// slides returns the parts of the slides in the order of the presentation.
func (p *pptx) slides(part string) ([]string, error) {
	rels, err := p.relations(part)
	if err != nil {
		return nil, err
	}
	var slides []string
	err = p.parse(part, func(x *xmlReader, _ xml.StartElement) error {
		return x.each(func(se xml.StartElement) error {
			if se.Name.Local != "sldIdLst" {
				return nil
			}
			return x.each(func(se xml.StartElement) error {
				if r := rels[relID(se, "id")]; r.target != "" {
					slides = append(slides, r.target)
				}
				return nil
			})
		})
	})
	if err != nil {
		return nil, err
	}
	for _, kind := range []string{"commentAuthors", "authors"} {
		if part := related(rels, kind); part != "" && p.has(part) {
			err := p.parse(part, func(x *xmlReader, _ xml.StartElement) error {
				return x.each(func(se xml.StartElement) error {
					p.authors[attr(se, "id")] = attr(se, "name")
					return nil
				})
			})
			if err := p.optional(err, "the authors of comments"); err != nil {
				return nil, err
			}
		}
	}
	return slides, nil
}

// slideLayout is what slides inherit from a layout, and a layout from its master.
type slideLayout struct {
	places []placeholder
	body   bulletLevels // of the master's body text
	parent *slideLayout
}

// placeholder is a place in a layout that a slide fills.
type placeholder struct {
	kind, index string
	x, y        int
	placed      bool
	bullets     bulletLevels
}

// bulletLevels says for each level of a text whether it is a list: 0 unsaid,
// 1 no, 2 bullets, 3 numbers.
type bulletLevels [listLevels]int8

const (
	noBullet   = 1
	dotBullet  = 2
	autoNumber = 3
)

// layout reads a layout or master, and what that inherits from. A damaged one
// costs bullets, not the slide.
func (p *pptx) layout(part string) (*slideLayout, error) {
	if part == "" || !p.has(part) {
		return nil, nil
	}
	if l, ok := p.layouts[part]; ok {
		return l, nil
	}
	l := &slideLayout{}
	p.layouts[part] = l
	rels, err := p.relations(part)
	if err != nil {
		return nil, err
	}
	if l.parent, err = p.layout(related(rels, "slideMaster")); err != nil {
		return nil, err
	}
	err = p.parse(part, func(x *xmlReader, _ xml.StartElement) error {
		return x.deep(func(se xml.StartElement) error {
			switch se.Name.Local {
			case "sp":
				s := &shape{}
				err := x.each(func(se xml.StartElement) error {
					switch se.Name.Local {
					case "nvSpPr":
						return s.names(x)
					case "spPr":
						return s.position(x)
					case "txBody":
						return x.each(func(se xml.StartElement) (err error) {
							if se.Name.Local == "lstStyle" {
								s.bullets, err = readBulletLevels(x)
							}
							return err
						})
					}
					return nil
				})
				if s.isPlace {
					l.places = append(l.places, s.placeholder)
				}
				return err
			case "bodyStyle":
				var err error
				l.body, err = readBulletLevels(x)
				return err
			}
			return nil
		})
	})
	return l, p.optional(err, "a layout")
}

// readBulletLevels reads the lvl1pPr … lvl9pPr of a list style.
func readBulletLevels(x *xmlReader) (levels bulletLevels, err error) {
	err = x.each(func(se xml.StartElement) error {
		name := se.Name.Local
		if len(name) != len("lvl1pPr") || !strings.HasPrefix(name, "lvl") || name[3] < '1' || name[3] > '9' {
			return nil
		}
		at := name[3] - '1'
		return x.each(func(se xml.StartElement) error {
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
		return noBullet
	case "buChar", "buBlip":
		return dotBullet
	case "buAutoNum":
		return autoNumber
	}
	return 0
}

// inherit completes a shape from the places above it, nearest first.
func (l *slideLayout) inherit(s *shape) {
	for ; l != nil; l = l.parent {
		for _, place := range l.places {
			if !place.fits(s.placeholder) {
				continue
			}
			if !s.placed && place.placed {
				s.x, s.y, s.placed = place.x, place.y, true
			}
			s.bullets.fill(place.bullets)
			break
		}
		if isBody(s.kind) {
			s.bullets.fill(l.body)
		}
	}
}

func (b *bulletLevels) fill(from bulletLevels) {
	for i, v := range from {
		if b[i] == 0 {
			b[i] = v
		}
	}
}

// fits reports whether a slide's shape fills this place. Slides refer to places
// of a layout by index; masters have one of each kind.
func (place placeholder) fits(s placeholder) bool {
	if s.index != "" && place.index == s.index {
		return true
	}
	return s.kind == place.kind || (isBody(s.kind) && isBody(place.kind) && (s.index == "" || place.index == "" || place.index == "1"))
}

func isBody(kind string) bool { return kind == "" || kind == "body" || kind == "obj" }

// shape is one element of a slide.
type shape struct {
	placeholder
	isPlace bool
	name    string
	alt     string
	blocks  []block
}

// names reads the nvSpPr or nvPicPr of a shape.
func (s *shape) names(x *xmlReader) error {
	return x.deep(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "cNvPr":
			s.name, s.alt = attr(se, "name"), altText(se)
		case "ph":
			s.isPlace = true
			s.kind, s.index = attr(se, "type"), attr(se, "idx")
		}
		return nil
	})
}

// position reads where a shape is from its spPr or xfrm.
func (s *shape) position(x *xmlReader) error {
	return x.deep(func(se xml.StartElement) error {
		if se.Name.Local == "off" && !s.placed {
			s.x, s.y, s.placed = number(attr(se, "x"), 0), number(attr(se, "y"), 0), true
		}
		return nil
	})
}

func (p *pptx) slide(out *document, part string, n int) error {
	out.page()
	rels, err := p.relations(part)
	if err != nil {
		return err
	}
	p.rels = rels
	layout, err := p.layout(related(rels, "slideLayout"))
	if err != nil {
		return err
	}
	var shapes []*shape
	hidden := ""
	err = p.parse(part, func(x *xmlReader, root xml.StartElement) error {
		if attr(root, "show") == "0" || attr(root, "show") == "false" {
			hidden = " (hidden)"
		}
		return x.each(func(se xml.StartElement) error {
			if se.Name.Local != "cSld" {
				return nil
			}
			return x.each(func(se xml.StartElement) (err error) {
				if se.Name.Local == "spTree" {
					shapes, err = p.shapes(x, &shape{}, layout)
				}
				return err
			})
		})
	})
	if err := p.optional(err, fmt.Sprintf("slide %d", n)); err != nil {
		return err
	}
	out.add(block{kind: mark, text: fmt.Sprintf("<!-- Slide number: %d%s -->", n, hidden)})
	for _, s := range shapes { // the title comes first, wherever it stands
		if isTitle(s.kind) {
			text := flat(s.blocks)
			if p.facts.Title == "" {
				p.facts.Title = md.Line(text)
			}
			out.add(block{kind: heading, level: 1, text: text})
		}
	}
	for _, s := range inReadingOrder(shapes) {
		if !isTitle(s.kind) {
			out.add(s.blocks...)
			out.depth = out.depth[:0]
		}
	}
	if notes := related(rels, "notesSlide"); notes != "" {
		if err := p.optional(p.speakerNotes(out, notes), fmt.Sprintf("the notes of slide %d", n)); err != nil {
			return err
		}
	}
	return p.optional(p.comments(out, rels), fmt.Sprintf("the comments on slide %d", n))
}

func isTitle(kind string) bool { return kind == "title" || kind == "ctrTitle" }

// inReadingOrder sorts shapes by rows from the top, and within a row from the
// left. Shapes whose tops differ by less than a line of text share a row.
func inReadingOrder(shapes []*shape) []*shape {
	const line = 180_000 // EMU, 0.2 inch
	sorted := slices.Clone(shapes)
	for i, s := range sorted { // what has no place stays behind what it follows
		if !s.placed && i > 0 {
			s.x, s.y = sorted[i-1].x, sorted[i-1].y
		}
	}
	slices.SortStableFunc(sorted, func(a, b *shape) int { return cmp.Compare(a.y, b.y) })
	for i := 0; i < len(sorted); {
		j := i + 1
		for j < len(sorted) && sorted[j].y < sorted[i].y+line {
			j++
		}
		slices.SortStableFunc(sorted[i:j], func(a, b *shape) int { return cmp.Compare(a.x, b.x) })
		i = j
	}
	return sorted
}

// shapes reads the children of a shape tree or group; of is the group.
func (p *pptx) shapes(x *xmlReader, of *shape, layout *slideLayout) ([]*shape, error) {
	var shapes []*shape
	var element func(se xml.StartElement) error
	element = func(se xml.StartElement) error {
		s := &shape{}
		var err error
		switch se.Name.Local {
		case "grpSpPr":
			return of.position(x)
		case "sp":
			err = p.textShape(x, s, layout)
		case "pic":
			err = p.picture(x, s)
		case "graphicFrame":
			err = p.frame(x, s)
		case "grpSp":
			var members []*shape
			members, err = p.shapes(x, s, layout)
			for _, m := range inReadingOrder(members) {
				s.blocks = append(s.blocks, m.blocks...)
			}
		case "AlternateContent":
			return x.alternate(element)
		default:
			return nil
		}
		if len(s.blocks) > 0 {
			shapes = append(shapes, s)
		}
		return err
	}
	err := x.each(element)
	return shapes, err
}

func (p *pptx) textShape(x *xmlReader, s *shape, layout *slideLayout) error {
	return x.each(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "nvSpPr":
			return s.names(x)
		case "spPr":
			return s.position(x)
		case "txBody":
			if s.isPlace {
				layout.inherit(s)
			}
			switch s.kind {
			case "sldNum", "ftr", "dt", "hdr":
				return nil // the same on every slide
			}
			blocks, err := p.textBody(x, s.bullets)
			s.blocks = blocks
			return err
		}
		return nil
	})
}

func (p *pptx) picture(x *xmlReader, s *shape) error {
	var r relation
	err := x.each(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "nvPicPr":
			return s.names(x)
		case "spPr":
			return s.position(x)
		case "blipFill":
			return x.deep(func(se xml.StartElement) error {
				if se.Name.Local == "blip" {
					if r = p.rels[relID(se, "embed")]; r.target == "" {
						r = p.rels[relID(se, "link")]
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
	}, s.name)
	if ext := path.Ext(r.picture()); name != "" && len(ext) <= 5 {
		name += strings.Replace(strings.ToLower(ext), ".jpeg", ".jpg", 1)
	} else {
		name = r.picture()
	}
	s.blocks = []block{{text: md.Image(s.alt, name)}}
	return err
}

// frame reads a graphicFrame: a table, a chart, a diagram, an embedded object.
func (p *pptx) frame(x *xmlReader, s *shape) error {
	var element func(se xml.StartElement) error
	element = func(se xml.StartElement) error {
		var blocks []block
		var err error
		switch se.Name.Local {
		case "nvGraphicFramePr":
			return s.names(x)
		case "xfrm":
			return s.position(x)
		case "tbl":
			blocks, err = p.table(x)
		case "chart":
			blocks, err = p.chart(p.rels[relID(se, "id")].target)
		case "relIds":
			blocks, err = p.diagram(p.rels[relID(se, "dm")].target)
		case "pic":
			inner := &shape{}
			err = p.picture(x, inner)
			blocks = inner.blocks
		case "AlternateContent":
			return x.alternate(element)
		default:
			return x.each(element)
		}
		s.blocks = append(s.blocks, blocks...)
		return err
	}
	return x.each(element)
}

func (p *pptx) table(x *xmlReader) ([]block, error) {
	var rows [][]string
	err := x.each(func(se xml.StartElement) error {
		if se.Name.Local != "tr" {
			return nil
		}
		var row []string
		err := x.each(func(se xml.StartElement) error {
			if se.Name.Local != "tc" {
				return nil
			}
			covered := isTrue(attr(se, "hMerge")) || isTrue(attr(se, "vMerge"))
			cell := ""
			err := x.each(func(se xml.StartElement) error {
				if se.Name.Local != "txBody" {
					return nil
				}
				blocks, err := p.textBody(x, bulletLevels{})
				if !covered {
					cell = flat(blocks)
				}
				return err
			})
			row = append(row, cell)
			if err != nil {
				return err
			}
			return p.spend(3)
		})
		rows = append(rows, row)
		return err
	})
	return []block{{kind: table, rows: rows}}, err
}

func isTrue(s string) bool { return s == "1" || s == "true" }

// textBody reads the paragraphs of a txBody. What is unsaid of bullets is off.
func (p *pptx) textBody(x *xmlReader, inherited bulletLevels) ([]block, error) {
	var out []block
	var counts [listLevels]int
	err := x.each(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "lstStyle":
			own, err := readBulletLevels(x)
			own.fill(inherited)
			inherited = own
			return err
		case "p":
		default:
			return nil
		}
		t := &drawnPara{}
		if err := x.each(func(se xml.StartElement) error { return p.textElement(x, se, t) }); err != nil {
			return err
		}
		text := inline(t.spans, false)
		if text == "" {
			return nil
		}
		bullet := t.bullet
		if bullet == 0 {
			bullet = inherited[t.level]
		}
		for i := t.level + 1; i < listLevels; i++ {
			counts[i] = 0
		}
		if bullet != autoNumber {
			counts[t.level] = 0
		}
		switch bullet {
		case dotBullet:
			out = append(out, block{kind: item, level: t.level, marker: "-", text: text})
		case autoNumber:
			if counts[t.level] == 0 {
				counts[t.level] = t.start
			}
			counts[t.level]++
			marker, prefix := itemMarker(autoLabel(counts[t.level], t.scheme), false)
			out = append(out, block{kind: item, level: t.level, marker: marker, text: prefix + text})
		default:
			out = append(out, block{text: text})
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
	spans  []span
}

func (p *pptx) textElement(x *xmlReader, se xml.StartElement, t *drawnPara) error {
	switch se.Name.Local {
	case "pPr":
		t.level = min(max(number(attr(se, "lvl"), 0), 0), listLevels-1)
		return x.each(func(se xml.StartElement) error {
			if b := bulletOf(se); b != 0 {
				t.bullet = b
				t.scheme = attr(se, "type")
				t.start = max(number(attr(se, "startAt"), 1), 1) - 1
			}
			return nil
		})
	case "br":
		t.spans = append(t.spans, span{text: "\n"})
	case "r", "fld":
		s := span{}
		super := false
		return x.each(func(se xml.StartElement) error {
			switch se.Name.Local {
			case "rPr":
				if isTrue(attr(se, "b")) {
					s.style |= bold
				}
				if isTrue(attr(se, "i")) {
					s.style |= italic
				}
				if v := attr(se, "strike"); v == "sngStrike" || v == "dblStrike" {
					s.style |= strike
				}
				super = number(strings.TrimSuffix(attr(se, "baseline"), "%"), 0) > 0
				return x.each(func(se xml.StartElement) error {
					if se.Name.Local == "hlinkClick" {
						if r := p.rels[relID(se, "id")]; r.external {
							s.href = r.target
						}
					}
					return nil
				})
			case "t":
				text, err := x.text()
				text = strings.ReplaceAll(text, "\v", "\n")
				if super && isExponent(text) && takesExponent(t.spans) {
					text = "^" + text
				}
				s.text = text
				t.spans = append(t.spans, s)
				return err
			}
			return nil
		})
	case "m": // a14:m around an equation
		return x.each(func(se xml.StartElement) error { return p.textElement(x, se, t) })
	case "oMath", "oMathPara":
		s, err := p.equation(x, se)
		t.spans = append(t.spans, span{text: s, style: raw})
		return err
	case "AlternateContent":
		return x.alternate(func(se xml.StartElement) error { return p.textElement(x, se, t) })
	}
	return nil
}

// autoLabel writes the n-th number of a scheme such as "alphaLcParenR".
func autoLabel(n int, scheme string) string {
	format := "decimal"
	for prefix, f := range map[string]string{
		"alphaLc": "lowerLetter", "alphaUc": "upperLetter", "romanLc": "lowerRoman", "romanUc": "upperRoman",
	} {
		if strings.HasPrefix(scheme, prefix) {
			format = f
		}
	}
	s := ordinal(n, format)
	switch {
	case strings.HasSuffix(scheme, "ParenBoth"):
		return "(" + s + ")"
	case strings.HasSuffix(scheme, "ParenR"):
		return s + ")"
	}
	return s + "."
}

func (p *pptx) speakerNotes(out *document, part string) error {
	slide := p.rels
	defer func() { p.rels = slide }()
	var err error
	if p.rels, err = p.relations(part); err != nil {
		return err
	}
	var notes []block
	err = p.parse(part, func(x *xmlReader, _ xml.StartElement) error {
		return x.deep(func(se xml.StartElement) error {
			if se.Name.Local != "sp" {
				return nil
			}
			s := &shape{}
			err := p.textShape(x, s, nil)
			if s.isPlace && s.kind == "body" {
				notes = append(notes, s.blocks...)
			}
			return err
		})
	})
	if err == nil && len(notes) > 0 {
		out.add(block{kind: mark, text: "### Notes:"})
		out.add(notes...)
	}
	return err
}

// comments reads both kinds of comment parts: those of before and since 2021.
func (p *pptx) comments(out *document, rels map[string]relation) error {
	part := related(rels, "comments")
	if part == "" {
		return nil
	}
	var found []block
	err := p.parse(part, func(x *xmlReader, _ xml.StartElement) error {
		who := ""
		return x.deep(func(se xml.StartElement) error {
			switch se.Name.Local {
			case "cm", "reply":
				who = p.authors[attr(se, "authorId")]
			case "text", "txBody":
				s, err := x.text()
				if s = md.Line(s); s != "" {
					if who != "" {
						s = who + ": " + s
					}
					found = append(found, block{kind: item, marker: "-", text: md.EscapeInline(s)})
				}
				return err
			}
			return nil
		})
	})
	if len(found) > 0 {
		out.add(block{kind: mark, text: "### Comments:"})
		out.add(found...)
	}
	return err
}
