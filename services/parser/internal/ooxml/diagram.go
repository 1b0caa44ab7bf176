package ooxml

import (
	"cmp"
	"encoding/xml"
	"slices"
	"strings"

	"sluice/services/parser/internal/md"
	"sluice/services/parser/internal/office"
)

// diagram returns the texts of a SmartArt graphic as a list: those of its data
// part in the order and depth of its connections, or if it has none, those of
// the drawing that was made of it.
func diagram(a *office.Archive, rels map[string]office.Relation, id string) ([]office.Block, error) {
	part := rels[id].Target
	if part == "" {
		a.Warn("a diagram is missing")
		return nil, nil
	}
	g := &smartArt{texts: map[string]string{}, below: map[string][]link{}, child: map[string]bool{}}
	err := a.Parse(part, func(x *office.XML, _ xml.StartElement) error {
		return x.Deep(func(se xml.StartElement) error { return g.element(x, se) })
	})
	damaged := err != nil
	if err := a.Optional(err, "the data of a diagram"); err != nil {
		return nil, err
	}
	for _, p := range g.order {
		if !g.child[p] {
			g.write(p, 0, 0)
		}
	}
	for _, p := range g.order { // what hangs on nothing, or in a circle
		g.write(p, 0, 0)
	}
	if len(g.out) > 0 && !damaged {
		return g.out, nil
	}
	read := g.out
	g.out = nil
	drawing := rels[g.drawing].Target
	if drawing == "" { // its data do not say: it has the number that they have
		drawing = drawingOf(rels, part)
	}
	if drawing == "" || !a.Has(drawing) {
		return read, nil
	}
	err = a.Parse(drawing, func(x *office.XML, _ xml.StartElement) error {
		return x.Deep(func(se xml.StartElement) error {
			if se.Name.Local != "txBody" {
				return nil
			}
			s, err := drawnText(x)
			g.item(s, 0)
			return err
		})
	})
	if len(g.out) == 0 {
		g.out = read
	}
	return g.out, a.Optional(err, "the drawing of a diagram")
}

// drawingOf returns the drawing whose name goes with that of the data of a diagram:
// drawing2.xml with data2.xml.
func drawingOf(rels map[string]office.Relation, data string) string {
	number, _ := strings.CutPrefix(office.Base(data), "data")
	for _, r := range rels {
		if r.Kind == "diagramDrawing" && office.Base(r.Target) == "drawing"+number {
			return r.Target
		}
	}
	return ""
}

type smartArt struct {
	texts   map[string]string // by point
	order   []string          // points as the file has them
	below   map[string][]link
	child   map[string]bool
	drawing string // the relation of the drawing made of it
	out     []office.Block
}

type link struct {
	to    string
	order int
}

func (g *smartArt) element(x *office.XML, se xml.StartElement) error {
	switch se.Name.Local {
	case "pt":
		if office.Attr(se, "type") == "pres" {
			return x.Each(func(xml.StartElement) error { return nil })
		}
		id := office.Attr(se, "modelId")
		g.order = append(g.order, id)
		g.texts[id] = ""
		return x.Each(func(se xml.StartElement) error {
			if se.Name.Local != "t" {
				return nil
			}
			s, err := drawnText(x)
			g.texts[id] = s
			return err
		})
	case "cxn":
		if kind := office.Attr(se, "type"); kind == "" || kind == "parOf" {
			from, to := office.Attr(se, "srcId"), office.Attr(se, "destId")
			g.below[from] = append(g.below[from], link{to, office.Number(office.Attr(se, "srcOrd"), 0)})
			g.child[to] = true
		}
	case "dataModelExt":
		g.drawing = office.Attr(se, "relId")
	}
	return nil
}

// write adds a point and what is below it, once. Points without a text add no level.
func (g *smartArt) write(id string, depth, calls int) {
	text, found := g.texts[id]
	if !found || calls > office.MaxDepth {
		return
	}
	delete(g.texts, id)
	if g.item(text, depth) {
		depth++
	}
	below := g.below[id]
	slices.SortStableFunc(below, func(a, b link) int { return cmp.Compare(a.order, b.order) })
	for _, l := range below {
		g.write(l.to, depth, calls+1)
	}
}

func (g *smartArt) item(text string, depth int) bool {
	if strings.TrimSpace(text) == "" {
		return false
	}
	g.out = append(g.out, office.Block{Kind: office.Item, Level: min(depth, office.ListLevels-1), Marker: "-", Text: office.Tidy(md.EscapeInline(text))})
	return true
}
