package office

import (
	"cmp"
	"encoding/xml"
	"slices"
	"strings"

	"sluice/services/parser/internal/md"
)

// AltText returns what stands in for a picture.
func AltText(se xml.StartElement) string {
	if s := strings.TrimSpace(Attr(se, "descr")); s != "" {
		return s
	}
	return strings.TrimSpace(Attr(se, "title"))
}

// Placeholder is a place in a layout that a slide fills.
type Placeholder struct {
	Kind, index string
	X, Y        int
	Placed      bool
	Bullets     BulletLevels
}

// BulletLevels says for each level of a text whether it is a list: 0 unsaid,
// 1 no, 2 bullets, 3 numbers.
type BulletLevels [ListLevels]int8

const (
	NoBullet   = 1
	DotBullet  = 2
	AutoNumber = 3
)

// Fill takes over what is said elsewhere and not here.
func (b *BulletLevels) Fill(from BulletLevels) {
	for i, v := range from {
		if b[i] == 0 {
			b[i] = v
		}
	}
}

// Place returns the place that a slide's shape fills, nil if there is none. Slides
// refer to places of a layout by index; masters have one of each kind.
func Place(places []Placeholder, s Placeholder) *Placeholder {
	kind := func(k string) string {
		switch k {
		case "ctrTitle":
			return "title"
		case "", "obj", "subTitle":
			return "body"
		}
		return k
	}
	var alike *Placeholder
	for i := range places {
		switch p := &places[i]; {
		case p.index == s.index && (s.index != "" || p.Kind == s.Kind):
			return p
		case alike == nil && p.Kind == s.Kind && (s.index == "" || p.index == "" || !IsBody(s.Kind)):
			alike = p
		}
	}
	for i := range places {
		p := &places[i]
		if alike == nil && kind(p.Kind) == kind(s.Kind) && (s.index == "" || p.index == "" || p.index == "1" || kind(s.Kind) != "body") {
			alike = p
		}
	}
	return alike
}

// IsBody reports whether a placeholder of that kind holds text of the slide.
func IsBody(kind string) bool { return kind == "" || kind == "body" || kind == "obj" }

// Shape is one element of a slide.
type Shape struct {
	Placeholder
	IsPlace bool
	Name    string
	Alt     string
	Blocks  []Block
}

// Names reads the nvSpPr or nvPicPr of a shape.
func (s *Shape) Names(x *XML) error {
	return x.Deep(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "cNvPr":
			s.Name, s.Alt = Attr(se, "name"), AltText(se)
		case "ph":
			s.IsPlace = true
			s.Kind, s.index = Attr(se, "type"), Attr(se, "idx")
		}
		return nil
	})
}

// Position reads where a shape is from its spPr or xfrm.
func (s *Shape) Position(x *XML) error {
	return x.Deep(func(se xml.StartElement) error {
		if se.Name.Local == "off" && !s.Placed {
			s.X, s.Y, s.Placed = Number(Attr(se, "x"), 0), Number(Attr(se, "y"), 0), true
		}
		return nil
	})
}

func isTitle(kind string) bool { return kind == "title" || kind == "ctrTitle" }

// AddShapes writes the shapes of a slide: the title first, wherever it stands, and
// the others in reading order. A list of one shape does not go on in the next.
func (d *Document) AddShapes(j *Job, shapes []*Shape) {
	for _, s := range shapes {
		if isTitle(s.Kind) {
			text := Flat(s.Blocks)
			if j.Facts.Title == "" {
				j.Facts.Title = md.Line(text)
			}
			d.Add(Block{Kind: Heading, Level: 1, Text: text})
		}
	}
	for _, s := range InReadingOrder(shapes) {
		if !isTitle(s.Kind) {
			d.Add(s.Blocks...)
			d.depth = d.depth[:0]
		}
	}
}

// InReadingOrder sorts shapes by rows from the top, and within a row from the
// left. Shapes whose tops differ by less than a line of text share a row.
func InReadingOrder(shapes []*Shape) []*Shape {
	const line = 180_000 // EMU, 0.2 inch
	sorted := slices.Clone(shapes)
	for i, s := range sorted { // what has no place stays behind what it follows
		if !s.Placed && i > 0 {
			s.X, s.Y = sorted[i-1].X, sorted[i-1].Y
		}
	}
	slices.SortStableFunc(sorted, func(a, b *Shape) int { return cmp.Compare(a.Y, b.Y) })
	for i := 0; i < len(sorted); {
		j := i + 1
		for j < len(sorted) && sorted[j].Y < sorted[i].Y+line {
			j++
		}
		slices.SortStableFunc(sorted[i:j], func(a, b *Shape) int { return cmp.Compare(a.X, b.X) })
		i = j
	}
	return sorted
}
