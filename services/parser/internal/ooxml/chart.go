package ooxml

import (
	"encoding/xml"
	"slices"
	"strings"
	"unicode"

	"sluice/services/parser/internal/md"
	"sluice/services/parser/internal/office"
	"sluice/services/parser/internal/sheet"
)

// chartPlace is where a chart stands.
type chartPlace uint8

const (
	inText       chartPlace = iota
	onSheet                 // beside cells, which hold its data
	onChartSheet            // alone on a sheet of a workbook
)

// readChart returns a chart part as its title, its axes and a table of its data. On
// a sheet the table is left out where the cells of the workbook have it.
func readChart(a *office.Archive, part string, at chartPlace) ([]office.Block, error) {
	if part == "" {
		a.Warn("a chart is missing")
		return nil, nil
	}
	c := &chart{data: map[string]*series{}}
	err := a.Parse(part, func(x *office.XML, _ xml.StartElement) error {
		return x.Each(func(se xml.StartElement) error { return c.element(x, se) })
	})
	if err := a.Optional(err, "a chart"); err != nil {
		return nil, err
	}
	if c.cut {
		a.Warn("a chart has more points than are read")
	}
	blocks, err := c.blocks(a.Job, at)
	if err != nil || c.drawn == "" {
		return blocks, err
	}
	shapes, err := drawnOver(a, part, c.drawn)
	return append(blocks, shapes...), a.Optional(err, "what is drawn over a chart")
}

// drawnOver returns the texts of the shapes that somebody drew over a chart.
func drawnOver(a *office.Archive, part, id string) (blocks []office.Block, err error) {
	rels, err := a.Relations(part)
	if err != nil || rels[id].Target == "" {
		return nil, err
	}
	p := &pptx{Archive: a, rels: rels}
	err = a.Parse(rels[id].Target, func(x *office.XML, _ xml.StartElement) error {
		return x.Deep(func(se xml.StartElement) error {
			if se.Name.Local != "txBody" {
				return nil
			}
			text, err := p.textBody(x, office.BulletLevels{})
			blocks = append(blocks, text...)
			return err
		})
	})
	return blocks, err
}

// chart is the data of a chart as its file caches it.
type chart struct {
	title  string
	axes   []string // their titles
	lines  []string // names of lines of trend
	typed  []string // labels of points
	own    bool     // it has data that are in no cell of its workbook
	drawn  string   // the relation of the shapes drawn over it
	series []*series
	data   map[string]*series // of the newer kinds (chartex), by ID
	cut    bool
}

type series struct {
	name       string
	categories []string // or x values
	values     []string
	sizes      []string // of bubbles
	labels     []string // of points, from cells or typed
	points     bool     // x and y, of a scatter or bubble chart
}

func (c *chart) element(x *office.XML, se xml.StartElement) error {
	switch se.Name.Local {
	case "userShapes":
		c.drawn = office.RelID(se, "id")
	case "title":
		s, err := titleText(x)
		if c.title == "" {
			c.title = md.Line(s)
		}
		return err
	case "catAx", "valAx", "dateAx", "serAx", "axis":
		return x.Each(func(se xml.StartElement) error {
			switch se.Name.Local {
			case "title":
			case "dispUnits": // "in thousands of euro"
				return x.Deep(func(se xml.StartElement) error {
					if se.Name.Local != "tx" {
						return nil
					}
					s, err := drawnText(x)
					if s = md.Line(s); s != "" {
						c.axes = append(c.axes, s)
					}
					return err
				})
			default:
				return nil
			}
			s, err := titleText(x)
			if s = md.Line(s); s != "" {
				c.axes = append(c.axes, s)
			}
			return err
		})
	case "ser":
		s := &series{}
		c.series = append(c.series, s)
		typed := points{chart: c}
		err := x.Each(func(se xml.StartElement) (err error) {
			switch se.Name.Local {
			case "dLbls":
				return x.Each(func(se xml.StartElement) error {
					if se.Name.Local != "dLbl" {
						return nil
					}
					return typedLabel(x, &typed)
				})
			case "trendline":
				return x.Each(func(se xml.StartElement) error {
					if se.Name.Local != "name" {
						return nil
					}
					name, err := x.Text()
					if name = md.Line(name); name != "" {
						c.lines = append(c.lines, name)
					}
					return err
				})
			case "tx":
				var name []string
				name, err = c.cached(x)
				s.name = strings.Join(name, " ")
			case "cat", "xVal":
				s.points = se.Name.Local == "xVal"
				s.categories, err = c.cached(x)
			case "val", "yVal":
				s.values, err = c.cached(x)
			case "bubbleSize":
				s.sizes, err = c.cached(x)
			case "extLst":
				return x.Deep(func(se xml.StartElement) (err error) {
					if se.Name.Local == "datalabelsRange" {
						s.labels, err = c.cached(x)
					}
					return err
				})
			}
			return err
		})
		for i, label := range typed.joined() {
			if label != "" {
				c.typed = append(c.typed, label)
			}
			if i >= len(s.labels) {
				s.labels = append(s.labels, label)
			} else if label != "" && label != s.labels[i] {
				s.labels[i] = strings.TrimSpace(s.labels[i] + " " + label)
			}
		}
		return err
	case "data": // chartex
		s := &series{}
		c.data[office.Attr(se, "id")] = s
		return x.Each(func(se xml.StartElement) error { return c.dimension(x, se, s) })
	case "series":
		s := &series{}
		c.series = append(c.series, s)
		return x.Each(func(se xml.StartElement) error {
			switch se.Name.Local {
			case "tx":
				name, err := drawnText(x)
				s.name = md.Line(name)
				return err
			case "dataId":
				if d := c.data[office.Attr(se, "val")]; d != nil {
					name := s.name
					*s = *d
					s.name = name
				}
			}
			return nil
		})
	case "dLbls", "spPr", "txPr", "extLst", "legend", "externalData":
		return nil
	case "AlternateContent":
		return nil // styles
	}
	return x.Each(func(se xml.StartElement) error { return c.element(x, se) })
}

// dimension reads one of the lists of values of a chartex chart.
func (c *chart) dimension(x *office.XML, se xml.StartElement, s *series) error {
	kind := office.Attr(se, "type")
	p := points{chart: c}
	err := x.Each(func(se xml.StartElement) error {
		if se.Name.Local != "lvl" {
			return nil
		}
		p.level()
		p.code = office.Attr(se, "formatCode")
		return x.Each(func(se xml.StartElement) error {
			if se.Name.Local != "pt" {
				return nil
			}
			text, err := x.Text()
			p.put(office.Number(office.Attr(se, "idx"), -1), text)
			return err
		})
	})
	values := p.joined()
	switch kind {
	case "cat", "x":
		s.categories, s.points = values, kind == "x"
	case "val", "y":
		s.values = values
	case "size", "colorVal":
		switch {
		case s.values == nil:
			s.values = values // of a treemap, of a map
		case s.sizes == nil:
			s.sizes = values
		default:
			s.labels = values
		}
	case "entityId": // by which a map finds its countries
	default:
		if s.labels == nil {
			s.labels = values
		}
	}
	return err
}

// points are the values of a list, level by level from the innermost.
type points struct {
	chart  *chart
	code   string
	levels [][]string
}

func (p *points) level() { p.levels = append(p.levels, nil) }

func (p *points) put(at int, text string) {
	const most = 1 << 16 // points of one series that anyone would read
	if len(p.levels) == 0 {
		p.level()
	}
	l := &p.levels[len(p.levels)-1]
	if at < 0 {
		at = len(*l)
	}
	if at >= most {
		p.chart.cut = true
		return
	}
	for len(*l) <= at {
		*l = append(*l, "")
	}
	(*l)[at] = sheet.FormatCached(text, p.code)
}

// joined returns the values with those of the outer levels before them. An outer
// level says a value once for all that belong to it.
func (p *points) joined() []string {
	if len(p.levels) == 0 {
		return nil
	}
	out := p.levels[0]
	for _, outer := range p.levels[1:] {
		last := ""
		for i := range out {
			if i < len(outer) && outer[i] != "" {
				last = outer[i]
			}
			if last != "" {
				out[i] = strings.TrimSpace(last + " " + out[i])
			}
		}
	}
	return out
}

// cached reads the values of a c:cat, c:val or c:tx in their order.
func (c *chart) cached(x *office.XML) ([]string, error) {
	p := points{chart: c}
	err := x.Deep(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "formatCode":
			s, err := x.Text()
			p.code = s
			return err
		case "numLit", "strLit":
			c.own = true
		case "f": // [1]Sheet!$A$1 is of another workbook
			s, err := x.Text()
			c.own = c.own || strings.HasPrefix(strings.TrimLeft(s, "('"), "[")
			return err
		case "lvl":
			p.level()
		case "v": // a literal name
			s, err := x.Text()
			p.put(-1, s)
			return err
		case "t": // a name typed into the chart
			s, err := x.Text()
			p.put(-1, s)
			return err
		case "pt":
			common := p.code
			if own := office.Attr(se, "formatCode"); own != "" {
				p.code = own
			}
			var s string
			err := x.Each(func(se xml.StartElement) (err error) {
				if se.Name.Local == "v" {
					s, err = x.Text()
				}
				return err
			})
			p.put(office.Number(office.Attr(se, "idx"), -1), s)
			p.code = common
			return err
		}
		return nil
	})
	return p.joined(), err
}

func (c *chart) blocks(j *office.Job, place chartPlace) ([]office.Block, error) {
	title := strings.TrimSpace("Chart: " + c.title)
	if c.title == "" {
		title = "Chart"
	}
	var out []office.Block
	if c.title != "" || len(c.series) > 0 {
		out = append(out, office.Block{Text: "**" + md.EscapeInline(md.Line(title)) + "**"})
	}
	if len(c.axes) > 0 {
		out = append(out, office.Block{Text: "Axes: " + md.EscapeInline(strings.Join(c.axes, "; "))})
	}
	if len(c.lines) > 0 {
		out = append(out, office.Block{Text: "Lines: " + md.EscapeInline(strings.Join(c.lines, "; "))})
	}
	c.series = slices.DeleteFunc(c.series, func(s *series) bool { // a line made of another
		return s.name == "" && len(s.values)+len(s.categories)+len(s.sizes)+len(s.labels) == 0
	})
	height, total, cells := 0, 0, 0
	more, own := false, false // columns beyond x and y; x values of each series
	var categories []string
	for _, s := range c.series {
		n := max(len(s.values), len(s.categories), len(s.sizes), len(s.labels))
		height, total = max(height, n), total+n
		more = more || len(s.sizes)+len(s.labels) > 0
		switch {
		case len(s.categories) == 0:
		case categories == nil:
			categories = s.categories
		case !slices.Equal(categories, s.categories):
			own = own || !sameStart(categories, s.categories)
			if len(s.categories) > len(categories) {
				categories = s.categories
			}
		}
	}
	if place == onSheet && !c.own {
		if len(c.typed) > 0 {
			out = append(out, office.Block{Text: "Labels: " + md.EscapeInline(strings.Join(c.typed, "; "))})
		}
		if c.title == "" && len(out) == 1 {
			return nil, nil // a chart of no words
		}
		return out, nil
	}
	if height == 0 {
		if place == inText {
			j.Warn("a chart has no values that can be read")
		}
		return out, nil
	}
	long := more || own
	if cells = 3 * height * (len(c.series) + 1); long {
		cells = 15 * total
	}
	if err := j.Spend(cells); err != nil {
		return nil, err
	}
	if long {
		return append(out, office.Block{Kind: office.Table, Rows: c.byPoint()}), nil
	}
	head := []string{"Category"}
	if c.series[0].points {
		head[0] = "X"
	}
	for _, s := range c.series {
		head = append(head, md.EscapeInline(s.name))
	}
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

// sameStart reports whether the shorter of two lists begins the other.
func sameStart(a, b []string) bool {
	n := min(len(a), len(b))
	return slices.Equal(a[:n], b[:n])
}

// byPoint is the table of a chart whose series have nothing in common: a row for
// each point.
func (c *chart) byPoint() [][]string {
	head := []string{"Series", "Category", "Value", "Size", "Label"}
	if c.series[0].points {
		head[1], head[2] = "X", "Y"
	}
	rows := [][]string{head}
	var used [5]bool
	for _, s := range c.series {
		for i := range max(len(s.values), len(s.categories), len(s.sizes), len(s.labels)) {
			row := []string{md.EscapeInline(s.name), at(s.categories, i), at(s.values, i), at(s.sizes, i), at(s.labels, i)}
			if strings.Join(row[1:], "") == "" {
				continue
			}
			for k, cell := range row {
				used[k] = used[k] || cell != ""
			}
			rows = append(rows, row)
		}
	}
	for r, row := range rows {
		kept := row[:0:0]
		for k, cell := range row {
			if used[k] {
				kept = append(kept, cell)
			}
		}
		rows[r] = kept
	}
	return rows
}

// at returns an element as a table cell, "" where there is none.
func at(list []string, i int) string {
	if i >= len(list) {
		return ""
	}
	return md.EscapeInline(list[i])
}

// typedLabel reads a label that somebody typed for a point. Fields in it show what
// the table has.
func typedLabel(x *office.XML, to *points) error {
	at := -1
	var b strings.Builder
	err := x.Deep(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "idx":
			at = office.Number(office.Attr(se, "val"), -1)
		case "fld", "txPr", "extLst", "numFmt", "separator":
			return x.Each(func(xml.StartElement) error { return nil })
		case "p", "br":
			b.WriteByte(' ')
		case "t":
			s, err := x.Text()
			b.WriteString(s)
			return err
		}
		return nil
	})
	if text := md.Line(b.String()); at >= 0 && strings.ContainsFunc(text, isWordRune) {
		to.put(at, text)
	}
	return err
}

func isWordRune(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// titleText returns a title. The newer charts repeat it in the properties of its
// text, or have it only there.
func titleText(x *office.XML) (string, error) {
	text, again := "", ""
	err := x.Each(func(se xml.StartElement) error {
		s, err := drawnText(x)
		if se.Name.Local == "txPr" {
			again = s
		} else if s != "" {
			text = strings.TrimSpace(text + "\n" + s)
		}
		return err
	})
	if text == "" {
		text = again
	}
	return text, err
}

// drawnText returns the paragraphs of DrawingML below an element, as lines.
func drawnText(x *office.XML) (string, error) {
	var b strings.Builder
	err := x.Deep(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "p", "br":
			b.WriteByte('\n')
		case "pt": // of a cached title, which may have several cells
			b.WriteByte(' ')
		case "t", "v":
			s, err := x.Text()
			b.WriteString(s)
			return err
		}
		return nil
	})
	return strings.TrimSpace(b.String()), err
}
