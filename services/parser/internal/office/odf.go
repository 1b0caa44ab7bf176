package office

import (
	"context"
	"encoding/xml"
	"fmt"
	"path"
	"strconv"
	"strings"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
)

// odf reads the parts of one OpenDocument file (ISO/IEC 26300).
type odf struct {
	*archive
	styles  map[string]odfStyle
	lists   map[string]*[listLevels]odfLevel
	outline [listLevels]odfLevel // numbers of headings
	counts  [listLevels]int
	notes   []block
	marks   map[string]int // notes so far, by class
	sheets  int
}

type odfStyle struct {
	name, parent string
	look         look
	list         string
	outline      int
	hidden       bool // of a table
}

// odfLevel is a level of a list style.
type odfLevel struct {
	format         string // "" bullet or nothing, else as ordinal has it
	numbered       bool
	prefix, suffix string
	display        int // how many levels the label shows
	start          int
}

// ODT reads an OpenDocument text; the same reader reads spreadsheets (a page
// per sheet) and presentations (a page per slide).
func ODT(ctx context.Context, in format.Input) (*format.Output, error) {
	j := newJob(ctx, in)
	a, err := openArchive(j)
	if err != nil {
		return nil, err
	}
	d := &odf{archive: a, styles: map[string]odfStyle{}, lists: map[string]*[listLevels]odfLevel{}, marks: map[string]int{}}
	if err := d.refuseLocked(); err != nil {
		return nil, err
	}
	if err := d.meta(); err != nil {
		return nil, err
	}
	if a.has("styles.xml") {
		err := a.parse("styles.xml", func(x *xmlReader, _ xml.StartElement) error {
			return x.each(func(se xml.StartElement) error { return d.readStyles(x, se, true) })
		})
		if err := d.optional(err, "the styles"); err != nil {
			return nil, err
		}
	}
	out := &document{}
	err = a.parse("content.xml", func(x *xmlReader, _ xml.StartElement) error {
		return x.each(func(se xml.StartElement) error {
			if se.Name.Local != "body" {
				return d.readStyles(x, se, false)
			}
			return x.each(func(se xml.StartElement) error {
				switch se.Name.Local {
				case "spreadsheet":
					return d.spreadsheet(x, out)
				case "presentation", "drawing":
					return d.presentation(x, out)
				}
				return d.blocks(x, func(b block) error {
					if b.kind == heading && d.facts.Title == "" {
						d.facts.Title = md.Line(b.text)
					}
					out.add(b)
					return nil
				})
			})
		})
	})
	if err != nil {
		return nil, err
	}
	out.add(d.notes...)
	return j.finish(out)
}

// refuseLocked fails on a document whose content is encrypted.
func (d *odf) refuseLocked() error {
	const manifest = "META-INF/manifest.xml"
	if !d.has(manifest) {
		return nil
	}
	locked := false
	err := d.parse(manifest, func(x *xmlReader, _ xml.StartElement) error {
		return x.each(func(se xml.StartElement) error {
			full := attr(se, "full-path")
			if full != "content.xml" && full != "encrypted-package" {
				return nil
			}
			return x.each(func(se xml.StartElement) error {
				locked = locked || se.Name.Local == "encryption-data"
				return nil
			})
		})
	})
	if err := d.optional(err, manifest); err != nil {
		return err
	}
	if locked {
		return d.encrypted("password of the office suite")
	}
	return nil
}

func (d *odf) meta() error {
	if !d.has("meta.xml") {
		return nil
	}
	err := d.parse("meta.xml", func(x *xmlReader, _ xml.StartElement) error {
		return x.deep(func(se xml.StartElement) error {
			field := map[string]*string{
				"title": &d.facts.Title, "initial-creator": &d.facts.Author, "creator": &d.facts.Author,
				"creation-date": &d.facts.Created, "date": &d.facts.Modified, "language": &d.facts.Language,
			}[se.Name.Local]
			if field == nil {
				return nil
			}
			s, err := x.text()
			switch s = strings.TrimSpace(s); se.Name.Local {
			case "creation-date", "date":
				s = timestamp(s)
			case "creator": // who saved it last
				if *field != "" {
					return err
				}
			}
			*field = s
			return err
		})
	})
	return d.optional(err, "the properties of the document")
}

// readStyles reads a container of styles. Automatic styles of styles.xml are
// for headers and footers, and share their names with those of the content.
func (d *odf) readStyles(x *xmlReader, se xml.StartElement, shared bool) error {
	switch se.Name.Local {
	case "styles":
	case "automatic-styles":
		if shared {
			return nil
		}
	default:
		return nil
	}
	return x.each(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "style":
			st := odfStyle{
				name:    strings.ToLower(strings.ReplaceAll(attr(se, "name"), "_20_", " ")),
				parent:  attr(se, "parent-style-name"),
				list:    attr(se, "list-style-name"),
				outline: number(attr(se, "default-outline-level"), 0),
			}
			id := attr(se, "name")
			err := x.each(func(se xml.StartElement) error {
				switch se.Name.Local {
				case "text-properties":
					for _, a := range se.Attr {
						switch a.Name.Local {
						case "font-weight":
							n := number(a.Value, 0)
							st.look.toggle(bold, a.Value == "bold" || n >= 600)
						case "font-style":
							st.look.toggle(italic, a.Value == "italic" || a.Value == "oblique")
						case "text-line-through-style", "text-line-through-type":
							st.look.toggle(strike, a.Value != "none")
						case "display":
							if a.Value == "none" {
								st.look.hidden = 1
							}
						}
					}
				case "table-properties":
					st.hidden = attr(se, "display") == "false"
				}
				return nil
			})
			d.styles[id] = st
			return err
		case "list-style":
			var levels [listLevels]odfLevel
			d.lists[attr(se, "name")] = &levels
			return readODFLevels(x, &levels)
		case "outline-style":
			return readODFLevels(x, &d.outline)
		}
		return nil
	})
}

func readODFLevels(x *xmlReader, levels *[listLevels]odfLevel) error {
	return x.each(func(se xml.StartElement) error {
		at := number(attr(se, "level"), 0) - 1
		if at < 0 || at >= listLevels {
			return nil
		}
		l := odfLevel{
			prefix: attr(se, "num-prefix"), suffix: attr(se, "num-suffix"),
			display: number(attr(se, "display-levels"), 1), start: number(attr(se, "start-value"), 1),
		}
		switch f := attr(se, "num-format"); f {
		case "1":
			l.format, l.numbered = "decimal", true
		case "a":
			l.format, l.numbered = "lowerLetter", true
		case "A":
			l.format, l.numbered = "upperLetter", true
		case "i":
			l.format, l.numbered = "lowerRoman", true
		case "I":
			l.format, l.numbered = "upperRoman", true
		}
		levels[at] = l
		return nil
	})
}

// label returns the number in front of the item just counted.
func odfLabel(levels *[listLevels]odfLevel, counts *[listLevels]int, at int) string {
	l := levels[at]
	if !l.numbered {
		return ""
	}
	var parts []string
	for i := max(0, at+1-max(l.display, 1)); i <= at; i++ {
		if levels[i].numbered {
			parts = append(parts, ordinal(max(counts[i], 1), levels[i].format))
		}
	}
	return l.prefix + strings.Join(parts, ".") + l.suffix
}

// style calls f for a style and what it is based on, until f returns false.
func (d *odf) style(name string, f func(odfStyle) bool) {
	const longest = 32 // also ends cycles
	for range longest {
		st, ok := d.styles[name]
		if !ok { // a program may leave out its built-in styles
			st.name = strings.ToLower(strings.ReplaceAll(name, "_20_", " "))
		}
		if name == "" || !f(st) {
			return
		}
		name = st.parent
	}
}

func (d *odf) look(name string) (l look) {
	d.style(name, func(st odfStyle) bool {
		l = l.over(st.look)
		if isCodeName(st.name) {
			l = l.over(look{on: mono, set: mono})
		}
		return true
	})
	return l
}

// blocks reads the paragraphs, lists and tables below an element.
func (d *odf) blocks(x *xmlReader, emit func(block) error) error {
	return x.each(func(se xml.StartElement) error { return d.blockElement(x, se, emit) })
}

func (d *odf) blockElement(x *xmlReader, se xml.StartElement, emit func(block) error) error {
	switch se.Name.Local {
	case "p", "h":
		return d.paragraph(x, se, emit)
	case "list":
		return d.list(x, se, 0, "", emit)
	case "table":
		rows, only, err := d.table(x)
		if err != nil {
			return err
		}
		if only != nil {
			for _, b := range only {
				if err := emit(b); err != nil {
					return err
				}
			}
			return nil
		}
		return emit(block{kind: table, rows: rows})
	case "tracked-changes", "forms", "sequence-decls", "variable-decls", "user-field-decls", "annotation", "title", "desc", "settings", "dde-connection-decls", "calculation-settings":
		return nil
	case "frame", "custom-shape", "rect", "g", "ellipse", "text-box", "line", "connector", "caption":
		s := &shape{}
		if err := d.shape(x, se, s); err != nil {
			return err
		}
		for _, b := range s.blocks {
			if err := emit(b); err != nil {
				return err
			}
		}
		return nil
	}
	return d.blocks(x, emit) // sections, indexes
}

// odfPara is a paragraph while it is read.
type odfPara struct {
	spans []span
	after []block
}

func (d *odf) paragraph(x *xmlReader, se xml.StartElement, emit func(block) error) error {
	p := &odfPara{}
	name := attr(se, "style-name")
	if err := d.inline(x, p, look{hidden: d.look(name).hidden}, ""); err != nil {
		return err
	}
	level := 0
	isCode, isQuote := false, false
	d.style(name, func(st odfStyle) bool {
		switch {
		case st.name == "title":
			level = 1
		case st.name == "subtitle":
			return false
		case st.outline > 0 && se.Name.Local == "h":
			level = st.outline
		}
		isCode = isCode || isCodeName(st.name)
		isQuote = isQuote || isQuoteName(st.name)
		return level == 0
	})
	if se.Name.Local == "h" {
		level = max(number(attr(se, "outline-level"), level), 1)
	}
	b := block{text: inline(p.spans, level > 0)}
	switch {
	case b.text == "" && !isCode:
	case level > 0:
		b.kind, b.level = heading, level
		if at := level - 1; se.Name.Local == "h" && at < listLevels && !isTrue(attr(se, "is-list-header")) {
			d.counts[at]++
			for i := at + 1; i < listLevels; i++ {
				d.counts[i] = 0
			}
			if label := odfLabel(&d.outline, &d.counts, at); label != "" {
				b.text = label + " " + b.text
			}
		}
	case isCode:
		b = block{kind: code, text: listingText(p.spans)}
	case isQuote:
		b.kind = quote
	}
	if b.text != "" || b.kind == code {
		if err := emit(b); err != nil {
			return err
		}
	}
	for _, b := range p.after {
		if err := emit(b); err != nil {
			return err
		}
	}
	return nil
}

// inline reads the text and the elements within a paragraph.
func (d *odf) inline(x *xmlReader, p *odfPara, l look, href string) error {
	put := func(s string, extra style) error {
		if s == "" || l.hidden > 0 {
			return nil
		}
		p.spans = append(p.spans, span{text: s, style: l.on | extra, href: href})
		return d.spend(len(s))
	}
	return x.mixed(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "span":
			return d.inline(x, p, d.look(attr(se, "style-name")).over(l), href)
		case "a":
			target := attr(se, "href")
			if strings.HasPrefix(target, "#") {
				target = href // a place in the document: anchors do not survive
			}
			return d.inline(x, p, l, target)
		case "s":
			return put(strings.Repeat(" ", min(max(number(attr(se, "c"), 1), 1), 1024)), 0)
		case "tab":
			return put("\t", 0)
		case "line-break":
			return put("\n", 0)
		case "note":
			return d.note(x, se, put)
		case "annotation":
			return d.annotation(x, put)
		case "ruby-text":
			if err := put("(", 0); err != nil {
				return err
			}
			if err := d.inline(x, p, l, href); err != nil {
				return err
			}
			return put(")", 0)
		case "frame", "custom-shape", "rect", "g", "ellipse", "text-box", "line", "connector", "caption":
			s := &shape{}
			if err := d.shape(x, se, s); err != nil {
				return err
			}
			for _, b := range s.blocks {
				if b.kind == mark || b.kind == paragraph && len(s.blocks) == 1 && strings.HasPrefix(b.text, "![") {
					if err := put(b.text, raw); err != nil {
						return err
					}
					continue
				}
				p.after = append(p.after, b)
			}
			return nil
		case "hidden-text", "hidden-paragraph", "tracked-changes", "script", "desc", "title", "annotation-end", "bookmark", "soft-page-break":
			return nil
		}
		return d.inline(x, p, l, href) // fields show their text
	}, func(c []byte) error {
		// White space in a paragraph is one space (20.4): tabs and runs of
		// spaces have elements of their own.
		return put(foldSpace(string(c)), 0)
	})
}

func foldSpace(s string) string {
	if !strings.ContainsAny(s, "\t\r\n") && !strings.Contains(s, "  ") {
		return s
	}
	var b strings.Builder
	space := false
	for _, r := range s {
		if r == ' ' || r == '\t' || r == '\r' || r == '\n' {
			if !space {
				b.WriteByte(' ')
			}
			space = true
			continue
		}
		space = false
		b.WriteRune(r)
	}
	return b.String()
}

func (d *odf) note(x *xmlReader, se xml.StartElement, put func(string, style) error) error {
	class, label := attr(se, "note-class"), ""
	if class == "endnote" {
		label = "end-"
	}
	d.marks[class]++
	mark := fmt.Sprintf("[^%s%d]", label, d.marks[class])
	if err := put(mark, raw); err != nil {
		return err
	}
	return x.each(func(se xml.StartElement) error {
		if se.Name.Local != "note-body" {
			return nil
		}
		return d.define(x, mark)
	})
}

func (d *odf) annotation(x *xmlReader, put func(string, style) error) error {
	d.marks["comment"]++
	mark := fmt.Sprintf("[^comment-%d]", d.marks["comment"])
	if err := put(mark, raw); err != nil {
		return err
	}
	who, text, err := d.remark(x)
	if err == nil && text != "" {
		if who != "" {
			text = md.EscapeInline(who) + ": " + text
		}
		d.notes = append(d.notes, block{kind: verbatim, text: mark + ": " + strings.ReplaceAll(text, "\n", "\n    ")})
	}
	return err
}

// remark reads an office:annotation.
func (d *odf) remark(x *xmlReader) (who, text string, err error) {
	var blocks []block
	err = x.each(func(se xml.StartElement) (err error) {
		switch se.Name.Local {
		case "creator":
			who, err = x.text()
		case "p", "list":
			err = d.blockElement(x, se, func(b block) error { blocks = append(blocks, b); return nil })
		}
		return err
	})
	return who, flat(blocks), err
}

func (d *odf) define(x *xmlReader, mark string) error {
	var blocks []block
	if err := d.blocks(x, func(b block) error { blocks = append(blocks, b); return nil }); err != nil {
		return err
	}
	if text := flat(blocks); text != "" {
		d.notes = append(d.notes, block{kind: verbatim, text: mark + ": " + strings.ReplaceAll(text, "\n", "\n    ")})
	}
	return nil
}

// list reads a text:list. Lists within lists inherit the style.
func (d *odf) list(x *xmlReader, se xml.StartElement, depth int, style string, emit func(block) error) error {
	if own := attr(se, "style-name"); own != "" {
		style = own
	}
	levels := d.lists[style]
	if levels == nil {
		levels = &[listLevels]odfLevel{}
	}
	var counts [listLevels]int
	return d.listItems(x, depth, style, levels, &counts, emit)
}

func (d *odf) listItems(x *xmlReader, depth int, style string, levels *[listLevels]odfLevel, counts *[listLevels]int, emit func(block) error) error {
	at := min(depth, listLevels-1)
	counts[at] = 0
	if levels[at].start > 1 {
		counts[at] = levels[at].start - 1
	}
	return x.each(func(se xml.StartElement) error {
		isItem := se.Name.Local == "list-item"
		if !isItem && se.Name.Local != "list-header" {
			return nil
		}
		if v := attr(se, "start-value"); v != "" {
			counts[at] = number(v, 1) - 1
		}
		if isItem {
			counts[at]++
		}
		var text []string
		flush := func() error {
			if len(text) == 0 {
				return nil
			}
			label := odfLabel(levels, counts, at)
			marker, prefix := itemMarker(label, label == "")
			b := block{kind: item, level: depth, marker: marker, text: prefix + strings.Join(text, "\n\n")}
			text = nil
			return emit(b)
		}
		err := x.each(func(se xml.StartElement) error {
			if se.Name.Local == "list" {
				if err := flush(); err != nil {
					return err
				}
				if own := attr(se, "style-name"); own != "" && own != style {
					return d.list(x, se, depth+1, own, emit)
				}
				return d.listItems(x, depth+1, style, levels, counts, emit)
			}
			return d.blockElement(x, se, func(b block) error {
				if b.kind == paragraph {
					text = append(text, b.text)
					return nil
				}
				if err := flush(); err != nil {
					return err
				}
				return emit(b)
			})
		})
		if err != nil {
			return err
		}
		return flush()
	})
}

// tableElements walks the rows of a table:table. It calls row with how often it
// repeats before its cells, and cell with the columns it takes.
func (d *odf) tableElements(x *xmlReader, row func(repeat int) error, cell func(se xml.StartElement, repeat int, covered bool) error, other func(se xml.StartElement) error) error {
	var element func(se xml.StartElement) error
	element = func(se xml.StartElement) error {
		switch se.Name.Local {
		case "table-header-rows", "table-rows", "table-row-group":
			return x.each(element)
		case "table-row":
			if err := row(max(number(attr(se, "number-rows-repeated"), 1), 1)); err != nil {
				return err
			}
			return x.each(func(se xml.StartElement) error {
				covered := se.Name.Local == "covered-table-cell"
				if !covered && se.Name.Local != "table-cell" {
					return nil
				}
				return cell(se, max(number(attr(se, "number-columns-repeated"), 1), 1), covered)
			})
		}
		if other != nil {
			return other(se)
		}
		return nil
	}
	return x.each(element)
}

// table reads a table of a text. One of a single cell is a frame around blocks.
func (d *odf) table(x *xmlReader) (rows [][]string, only []block, err error) {
	cells, repeat := 0, 1
	err = d.tableElements(x, func(n int) error {
		repeat = min(n, 256)
		rows = append(rows, nil)
		return nil
	}, func(_ xml.StartElement, n int, covered bool) error {
		var content []block
		if err := d.blocks(x, func(b block) error { content = append(content, b); return nil }); err != nil {
			return err
		}
		text := flat(content)
		if covered {
			text = ""
		}
		cells++
		only = content
		last := len(rows) - 1
		for range min(n, 256) {
			rows[last] = append(rows[last], text)
			if err := d.spend((len(text) + 3) * repeat); err != nil {
				return err
			}
		}
		return nil
	}, nil)
	if cells != 1 || len(rows) != 1 {
		only = nil
	}
	return rows, only, err
}

// spreadsheet reads the sheets of an ODS.
func (d *odf) spreadsheet(x *xmlReader, out *document) error {
	return x.each(func(se xml.StartElement) error {
		if se.Name.Local != "table" {
			return nil
		}
		d.sheets++
		if err := d.countPages(d.sheets, "sheets"); err != nil {
			return err
		}
		s := &sheet{name: attr(se, "name")}
		d.style(attr(se, "style-name"), func(st odfStyle) bool {
			s.hidden = st.hidden
			return false
		})
		row, rowRepeat, column := 0, 0, 0
		var cells []gridCell // of the row being read
		flush := func() error {
			for i := range rowRepeat {
				for _, c := range cells {
					if err := s.grid.set(d.job, row+i, c.column, c.text); err != nil {
						return err
					}
				}
				if len(cells) == 0 || row+i >= maxRows {
					break
				}
			}
			row += rowRepeat
			cells = nil
			return nil
		}
		err := d.tableElements(x, func(n int) error {
			err := flush()
			rowRepeat, column = min(n, maxRows), 0
			return err
		}, func(se xml.StartElement, n int, covered bool) error {
			text, err := d.sheetCell(x, se, s, cellName(row, column))
			if err != nil {
				return err
			}
			n = min(n, maxColumns)
			for i := range n {
				if text == "" || column+i >= maxColumns {
					break
				}
				cells = append(cells, gridCell{column: column + i, text: text})
				if err := d.spend(len(text)); err != nil {
					return err
				}
			}
			column = min(column+n, maxColumns)
			return nil
		}, func(se xml.StartElement) error {
			if se.Name.Local != "shapes" {
				return nil
			}
			return d.blocks(x, func(b block) error { s.extra = append(s.extra, b); return nil })
		})
		if err != nil {
			return err
		}
		if err := flush(); err != nil {
			return err
		}
		return s.addTo(d.job, out)
	})
}

func (d *odf) sheetCell(x *xmlReader, se xml.StartElement, s *sheet, name string) (string, error) {
	var lines []string
	err := x.each(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "p":
			t, err := x.text()
			lines = append(lines, t)
			return err
		case "annotation":
			who, text, err := d.remark(x)
			if err != nil {
				return err
			}
			return s.note(d.job, name, who, text)
		case "frame", "custom-shape", "rect", "g":
			drawn := &shape{}
			err := d.shape(x, se, drawn)
			s.extra = append(s.extra, drawn.blocks...)
			return err
		}
		return nil
	})
	text := strings.Join(lines, "\n")
	if text == "" && hasAttr(se, "value") {
		text = attr(se, "value")
	}
	return text, err
}

// presentation reads the slides of an ODP.
func (d *odf) presentation(x *xmlReader, out *document) error {
	slides := 0
	return x.each(func(se xml.StartElement) error {
		if se.Name.Local != "page" {
			return nil
		}
		slides++
		if err := d.countPages(slides, "slides"); err != nil {
			return err
		}
		out.page()
		out.add(block{kind: mark, text: fmt.Sprintf("<!-- Slide number: %d -->", slides)})
		var shapes []*shape
		var notes []block
		err := x.each(func(se xml.StartElement) error {
			s := &shape{}
			if se.Name.Local != "notes" {
				if err := d.shape(x, se, s); err != nil {
					return err
				}
				shapes = append(shapes, s)
				return nil
			}
			return x.each(func(se xml.StartElement) error {
				if attr(se, "class") != "notes" {
					return nil
				}
				err := d.shape(x, se, s)
				notes = append(notes, s.blocks...)
				return err
			})
		})
		if err != nil {
			return err
		}
		for _, s := range shapes {
			if isTitle(s.kind) {
				text := flat(s.blocks)
				if d.facts.Title == "" {
					d.facts.Title = md.Line(text)
				}
				out.add(block{kind: heading, level: 1, text: text})
			}
		}
		for _, s := range inReadingOrder(shapes) {
			if !isTitle(s.kind) {
				out.add(s.blocks...)
			}
		}
		if len(notes) > 0 {
			out.add(block{kind: mark, text: "### Notes:"})
			out.add(notes...)
		}
		return nil
	})
}

// shape reads a drawing element: a frame around a picture, a text box, a table
// or an object, or a shape with text.
func (d *odf) shape(x *xmlReader, se xml.StartElement, s *shape) error {
	switch se.Name.Local {
	case "forms", "settings", "animations", "par":
		return nil
	}
	s.kind = attr(se, "class")
	if hasAttr(se, "y") {
		s.x, s.y, s.placed = length(attr(se, "x")), length(attr(se, "y")), true
	}
	switch s.kind {
	case "page-number", "date-time", "footer", "header":
		return nil
	}
	if isTrue(attr(se, "placeholder")) {
		return nil // an empty place: "click to add a title"
	}
	picture, object, alt := "", "", ""
	emit := func(b block) error { s.blocks = append(s.blocks, b); return nil }
	var element func(se xml.StartElement) error
	element = func(se xml.StartElement) (err error) {
		switch se.Name.Local {
		case "image":
			if picture == "" {
				picture = attr(se, "href")
			}
		case "object":
			object = resolve("", attr(se, "href"))
		case "title", "desc":
			var text string
			if text, err = x.text(); strings.TrimSpace(text) != "" {
				alt = strings.TrimSpace(text) // the description comes second
			}
		case "text-box", "a":
			return x.each(element)
		case "p", "h", "list", "table", "frame", "custom-shape", "rect", "g", "ellipse", "line", "connector":
			return d.blockElement(x, se, emit)
		}
		return err
	}
	if err := x.each(element); err != nil {
		return err
	}
	if object != "" {
		shown, err := d.object(object, emit)
		if err != nil || shown {
			return err
		}
	}
	if picture != "" && len(s.blocks) == 0 {
		return emit(block{text: md.Image(alt, base(picture))})
	}
	return nil
}

// length returns a length as EMU, so that slides of both kinds sort alike.
func length(s string) int {
	unit := strings.TrimLeft(s, "-+.0123456789")
	v, err := strconv.ParseFloat(strings.TrimSuffix(s, unit), 64)
	if err != nil || v > 1e6 || v < -1e6 {
		return 0
	}
	switch unit {
	case "cm":
		v *= 360_000
	case "mm":
		v *= 36_000
	case "pt":
		v *= 12_700
	case "pc":
		v *= 152_400
	default: // inches
		v *= 914_400
	}
	return int(v)
}

// object reads an embedded formula or chart; shown is false for any other.
func (d *odf) object(part string, emit func(block) error) (shown bool, err error) {
	if !d.has(path.Join(part, "content.xml")) {
		return false, nil
	}
	part = path.Join(part, "content.xml")
	err = d.parse(part, func(x *xmlReader, root xml.StartElement) error {
		if root.Name.Local == "math" {
			s, err := d.mathML(x)
			if s = strings.TrimSpace(s); s == "" || err != nil {
				return err
			}
			shown = true
			return emit(block{kind: mark, text: "$" + s + "$"})
		}
		return x.deep(func(se xml.StartElement) error {
			if se.Name.Local != "table" {
				return nil
			}
			rows, _, err := d.table(x)
			if err == nil && len(rows) > 0 {
				shown = true
				err = emit(block{kind: table, rows: rows})
			}
			return err
		})
	})
	return shown, d.optional(err, "the object "+part)
}

// mathML returns the children of a MathML element in a row, as LaTeX.
func (d *odf) mathML(x *xmlReader) (string, error) {
	args, err := d.mathMLArgs(x)
	var b strings.Builder
	for _, a := range args {
		joinMath(&b, a)
	}
	return b.String(), err
}

// mathMLArgs returns each child of a MathML element as LaTeX.
func (d *odf) mathMLArgs(x *xmlReader) ([]string, error) {
	var args []string
	err := x.each(func(se xml.StartElement) error {
		s, err := d.mathMLChild(x, se.Name.Local)
		args = append(args, s)
		if err != nil {
			return err
		}
		return d.spend(len(s))
	})
	return args, err
}

func (d *odf) mathMLChild(x *xmlReader, name string) (string, error) {
	switch name {
	case "annotation", "annotation-xml":
		return "", nil
	case "mi", "mn", "mo", "mtext", "ms":
		s, err := x.text()
		s = strings.TrimSpace(s)
		if command, ok := mathFunctions[s]; ok {
			return command, err
		}
		if name == "mtext" && s != "" {
			return `\text{` + escapeLatex(s) + "}", err
		}
		return latex(s), err
	case "mfrac", "msup", "mover", "msub", "munder", "msubsup", "munderover", "mroot", "mtable", "mtr":
	case "msqrt":
		s, err := d.mathML(x)
		return `\sqrt{` + s + "}", err
	default:
		return d.mathML(x)
	}
	args, err := d.mathMLArgs(x)
	if err != nil {
		return "", err
	}
	switch name {
	case "mtable":
		return `\begin{matrix}` + strings.Join(args, ` \\ `) + `\end{matrix}`, nil
	case "mtr":
		return strings.Join(args, " & "), nil
	}
	args = append(args, "", "", "") // for those that are missing
	switch name {
	case "mfrac":
		return `\frac{` + args[0] + "}{" + args[1] + "}", nil
	case "mroot":
		return `\sqrt[` + args[1] + "]{" + args[0] + "}", nil
	case "msup", "mover":
		return group(args[0]) + "^{" + args[1] + "}", nil
	case "msub", "munder":
		return group(args[0]) + "_{" + args[1] + "}", nil
	}
	return group(args[0]) + "_{" + args[1] + "}^{" + args[2] + "}", nil
}
