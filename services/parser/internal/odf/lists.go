package odf

import (
	"encoding/xml"
	"slices"
	"strings"

	"sluice/services/parser/internal/md"
	"sluice/services/parser/internal/office"
	"sluice/services/parser/internal/sheet"
)

// counter numbers the items of a list, or the headings of a text.
type counter struct {
	n  [office.ListLevels]int
	on [office.ListLevels]bool // something was counted
}

// next counts an item; those below it begin again.
func (c *counter) next(levels *[office.ListLevels]odfLevel, at int) {
	if c.on[at] {
		c.n[at]++
	} else {
		c.n[at], c.on[at] = levels[at].start, true
	}
	for i := at + 1; i < office.ListLevels; i++ {
		c.on[i] = false
	}
}

// restart has the next item be number n.
func (c *counter) restart(at, n int) { c.n[at], c.on[at] = n-1, true }

// label returns the number in front of the item just counted.
func label(levels *[office.ListLevels]odfLevel, c *counter, at int) string {
	l := levels[at]
	if !l.numbered {
		return ""
	}
	var parts []string
	for i := max(0, at+1-max(l.display, 1)); i <= at; i++ {
		if levels[i].numbered {
			n := levels[i].start
			if c.on[i] {
				n = c.n[i]
			}
			parts = append(parts, ordinal(n, levels[i]))
		}
	}
	return l.prefix + strings.Join(parts, ".") + l.suffix
}

// formats are the first members by which OpenDocument names a format of numbers
// (20.314, and those of LibreOffice), as WordprocessingML names them.
var formats = map[string]string{
	"1": "decimal", "i": "lowerRoman", "I": "upperRoman", "①": "decimalEnclosedCircle", "1st": "ordinal",
	"一": "taiwaneseCountingThousand", "壹": "ideographLegalTraditional", "甲": "ideographTraditional", "子": "ideographZodiac",
	"ア": "aiueoFullWidth", "ｱ": "aiueo", "イ": "irohaFullWidth", "ｲ": "iroha", "일": "koreanCounting", "가": "ganada", "ㄱ": "chosung",
	"א": "hebrew1", "أ": "arabicAlpha", "１": "decimalFullWidth", "๑": "thaiNumbers", "ก": "thaiLetters",
}

func ordinal(n int, l odfLevel) string {
	first, _, _ := strings.Cut(l.format, ",")
	switch first = strings.TrimSpace(first); first {
	case "a", "A":
		s := spread(n)
		if l.inSteps {
			s = office.Ordinal(n, "lowerLetter")
		}
		if first == "A" {
			s = strings.ToUpper(s)
		}
		return s
	}
	if f := formats[first]; f != "" {
		return office.Ordinal(n, f)
	}
	return office.CustomOrdinal(n, l.format)
}

// spread counts a, b … z, aa, ab, as spreadsheets name columns.
func spread(n int) string {
	if n < 1 || n > 1<<20 {
		return office.Ordinal(n, "decimal")
	}
	return strings.ToLower(sheet.ColumnName(n - 1))
}

// listOf returns the counter of a list: a new one, or that of the list that it
// goes on with.
func (d *odf) listOf(se xml.StartElement, style string) *counter {
	c := d.running["#"+office.Attr(se, "continue-list")]
	if c == nil && office.IsTrue(office.Attr(se, "continue-numbering")) {
		c = d.running[style]
	}
	if c == nil {
		c = &counter{}
	}
	const most = 1 << 16 // lists that others may go on with
	if len(d.running) < most {
		d.running[style] = c
		if id := office.Attr(se, "id"); id != "" {
			d.running["#"+id] = c
		}
	}
	return c
}

func (d *odf) levelsOf(style string) *[office.ListLevels]odfLevel {
	if levels := d.lists[style]; levels != nil {
		return levels
	}
	return &[office.ListLevels]odfLevel{}
}

// list reads a text:list. Lists within lists inherit the style.
func (d *odf) list(x *office.XML, se xml.StartElement, depth int, style string, emit func(office.Block)) error {
	if own := office.Attr(se, "style-name"); own != "" {
		style = own
	}
	return d.listItems(x, depth, style, d.listOf(se, style), emit)
}

func (d *odf) listItems(x *office.XML, depth int, style string, c *counter, emit func(office.Block)) error {
	at := min(depth, office.ListLevels-1)
	return x.Each(func(se xml.StartElement) error {
		if se.Name.Local != "list-item" && se.Name.Local != "list-header" {
			return nil
		}
		it := listItem{d: d, depth: depth, at: at, c: c, levels: d.levelsOf(style), emit: emit, header: se.Name.Local == "list-header"}
		if own := office.Attr(se, "style-override"); own != "" {
			it.levels = d.levelsOf(own)
		}
		if v := office.Attr(se, "start-value"); v != "" {
			c.restart(at, office.Number(v, 1))
		}
		err := x.Each(func(se xml.StartElement) error {
			if se.Name.Local != "list" {
				return it.block(x, se)
			}
			it.flush()
			if own := office.Attr(se, "style-name"); own != "" && own != style {
				return d.list(x, se, depth+1, own, emit)
			}
			return d.listItems(x, depth+1, style, c, emit)
		})
		if err == nil {
			it.flush()
		}
		return err
	})
}

// listItem is an item while it is read.
type listItem struct {
	d       *odf
	depth   int
	at      int
	c       *counter
	levels  *[office.ListLevels]odfLevel
	emit    func(office.Block)
	header  bool
	counted bool
	shown   bool // its number stands somewhere
	text    []string
}

// number returns the label of the item. It is counted with the first that it
// says itself: one that only holds another list has no number.
func (it *listItem) number() string {
	if it.header {
		return ""
	}
	if !it.counted {
		it.counted = true
		it.c.next(it.levels, it.at)
	}
	return label(it.levels, it.c, it.at)
}

func (it *listItem) block(x *office.XML, se xml.StartElement) error {
	if se.Name.Local == "h" && !it.shown && len(it.text) == 0 {
		it.d.item = it.number()
		it.shown = true
	}
	return it.d.blockElement(x, se, func(b office.Block) {
		if b.Kind == office.Paragraph {
			it.text = append(it.text, b.Text)
			return
		}
		it.flush()
		it.emit(b)
	})
}

func (it *listItem) flush() {
	if len(it.text) == 0 {
		return
	}
	number := it.number()
	marker, prefix := office.ItemMarker(number, number == "")
	b := office.Block{Kind: office.Item, Level: it.depth, Marker: marker, Text: prefix + strings.Join(it.text, "\n\n")}
	if it.shown { // after what its number stands before
		b = office.Block{Text: strings.Join(it.text, "\n\n")}
	}
	it.text, it.shown = nil, true
	it.emit(b)
}

// numbered reads a text:numbered-paragraph: an item that is in no list.
func (d *odf) numbered(x *office.XML, se xml.StartElement, emit func(office.Block)) error {
	style, id := office.Attr(se, "style-name"), "numbered "+office.Attr(se, "list-id")
	depth := min(max(office.Number(office.Attr(se, "level"), 1), 1), office.ListLevels) - 1
	c := d.running[id]
	if c == nil {
		c = &counter{}
		d.running[id] = c
	}
	if v := office.Attr(se, "start-value"); v != "" {
		c.restart(depth, office.Number(v, 1))
	}
	it := listItem{d: d, depth: depth, at: depth, c: c, levels: d.levelsOf(style), emit: emit}
	err := x.Each(func(se xml.StartElement) error { return it.block(x, se) })
	if err == nil {
		it.flush()
	}
	return err
}

// isRaised and isLowered read style:text-position: "super 58%", "-33% 58%".
func isRaised(position string) bool {
	up, _, _ := strings.Cut(strings.TrimSpace(position), " ")
	return up == "super" || strings.HasSuffix(up, "%") && up[0] != '-' && strings.Trim(up, "0%.") != ""
}

func isLowered(position string) bool {
	up, _, _ := strings.Cut(strings.TrimSpace(position), " ")
	return up == "sub" || strings.HasPrefix(up, "-") && strings.Trim(up, "-0%.") != ""
}

// master is a page style, with what stands on each of its pages.
type master struct {
	name, next string
	parts      [2][]office.Block // header, footer
	drawn      []office.Block    // texts on every slide
}

// readMasters reads the headers and footers of pages.
func (d *odf) readMasters(x *office.XML) error {
	d.frame = true
	defer func() { d.frame, d.begun = false, false; clear(d.used) }()
	return x.Each(func(se xml.StartElement) error {
		if se.Name.Local != "master-page" {
			return nil
		}
		const most = 1000
		if len(d.masters) >= most {
			d.Warn("headers and footers of more than %d page styles are left out", most)
			return nil
		}
		m := master{name: office.Attr(se, "name"), next: office.Attr(se, "next-style-name")}
		err := x.Each(func(se xml.StartElement) error {
			at := 0
			switch se.Name.Local {
			case "footer", "footer-left", "footer-first":
				at = 1
			case "header", "header-left", "header-first":
			case "frame", "custom-shape", "rect", "g", "ellipse", "line", "connector", "caption":
				s := &office.Shape{}
				if office.Attr(se, "class") != "" {
					return nil // a place that slides fill
				}
				err := d.shape(x, se, s)
				for _, b := range s.Blocks {
					if !strings.HasPrefix(b.Text, "![") { // a picture for all of them is decoration
						m.drawn = append(m.drawn, b)
					}
				}
				return err
			default:
				return nil
			}
			if office.Attr(se, "display") == "false" {
				return nil
			}
			return d.blocks(x, func(b office.Block) { m.parts[at] = append(m.parts[at], b) })
		})
		d.masters = append(d.masters, m)
		return err
	})
}

// useMaster notes the page style that a paragraph or table begins.
func (d *odf) useMaster(style string) {
	if d.frame {
		return
	}
	named := false
	d.style(style, func(st odfStyle) bool {
		if st.master != "" {
			d.used[st.master], named = true, true
		}
		return !named
	})
	if !d.begun && !named {
		d.used["Standard"] = true // what a text begins with
	}
	d.begun = true
}

// pageFrames adds what the headers and footers of the pages say, and the text does
// not.
func (d *odf) pageFrames(out *office.Document) {
	for range d.masters { // a page style may say which follows it
		for _, m := range d.masters {
			if d.used[m.name] && m.next != "" {
				d.used[m.next] = true
			}
		}
	}
	var read [2][]office.Block
	for i, m := range d.masters {
		if d.used[m.name] || i == 0 && d.used["Standard"] {
			for at := range read {
				read[at] = append(read[at], m.parts[at]...)
			}
		}
	}
	out.AddFrames(read[0], read[1])
}

// sheetName stands in a header for the name of the sheet that it is printed with.
const sheetName = "\uFFFC"

// sheetFrame gives a sheet the header and footer of its page style; without one,
// of the first.
func (d *odf) sheetFrame(style string, s *sheet.Sheet) {
	name := ""
	d.style(style, func(st odfStyle) bool {
		name = st.master
		return name == ""
	})
	at := max(slices.IndexFunc(d.masters, func(m master) bool { return m.name == name }), 0)
	if at >= len(d.masters) {
		return
	}
	for i, to := range []*[]office.Block{&s.Header, &s.Footer} {
		for _, b := range d.masters[at].parts[i] {
			b.Text = strings.ReplaceAll(b.Text, sheetName, md.EscapeInline(s.Name))
			*to = append(*to, b)
		}
	}
}
