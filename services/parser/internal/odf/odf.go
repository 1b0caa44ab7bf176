// Package odf reads OpenDocument texts, spreadsheets and presentations.
package odf

import (
	"context"
	"encoding/xml"
	"fmt"
	"path"
	"strconv"
	"strings"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
	"sluice/services/parser/internal/office"
	"sluice/services/parser/internal/sheet"
)

// odf reads the parts of one OpenDocument file (ISO/IEC 26300).
type odf struct {
	*office.Archive // its files are none in flat documents
	styles          map[string]odfStyle
	lists           map[string]*[office.ListLevels]odfLevel
	outline         [office.ListLevels]odfLevel // numbers of headings
	headings        counter
	running         map[string]*counter // lists that others go on with, by ID and by style
	item            string              // number of the list item whose heading is read
	notes           []office.Block
	marks           map[string]int // notes so far, by class
	sheets          int
	controls        map[string]string // values of the fields of forms, by ID

	masters []master
	used    map[string]bool // masters of pages that the text names
	begun   bool            // the first paragraph was seen
	frame   bool            // a header or footer is read

	decls map[string]office.Block // headers, footers and dates of slides, by kind and name
	said  map[string]bool         // what they said so far
}

type odfStyle struct {
	master       string
	name, parent string
	look         office.Look
	list         string
	outline      int
	hidden       bool            // of a table
	off          map[string]bool // what a slide does not show of what stands on all of them
}

// odfLevel is a level of a list style.
type odfLevel struct {
	format         string // as style:num-format has it: the first members
	numbered       bool
	prefix, suffix string
	display        int // how many levels the label shows
	start          int
	inSteps        bool // aa after z, not ab
}

// ODT reads an OpenDocument text; the same reader reads spreadsheets (a page
// per sheet) and presentations (a page per slide).
func ODT(ctx context.Context, in format.Input) (*format.Output, error) {
	j := office.NewJob(ctx, in)
	a, err := office.OpenArchive(j)
	if err != nil {
		return nil, err
	}
	d := newODF(a)
	if err := d.refuseLocked(); err != nil {
		return nil, err
	}
	out := &office.Document{}
	if d.Has("meta.xml") {
		err := d.Parse("meta.xml", func(x *office.XML, _ xml.StartElement) error { return d.meta(x) })
		if err := d.Optional(err, "the properties of the document"); err != nil {
			return nil, err
		}
	}
	if a.Has("styles.xml") {
		err := a.Parse("styles.xml", func(x *office.XML, _ xml.StartElement) error {
			return x.Each(func(se xml.StartElement) error {
				if se.Name.Local == "automatic-styles" {
					return nil // for headers and footers; they share their names with those of the content
				}
				return d.part(x, se, out)
			})
		})
		if err := d.Optional(err, "the styles"); err != nil {
			return nil, err
		}
	}
	err = a.Parse("content.xml", func(x *office.XML, _ xml.StartElement) error {
		return x.Each(func(se xml.StartElement) error { return d.part(x, se, out) })
	})
	if err != nil {
		return nil, err
	}
	return d.finish(out)
}

// Flat reads an OpenDocument file that is one XML file. Pictures within it are left
// out but for their descriptions.
func Flat(ctx context.Context, in format.Input) (*format.Output, error) {
	j := office.NewJob(ctx, in)
	if err := j.Alive(); err != nil {
		return nil, err
	}
	d := newODF(&office.Archive{Job: j})
	out := &office.Document{}
	err := j.ParseBytes("its text", in.Data, func(x *office.XML, root xml.StartElement) error {
		if root.Name.Local != "document" {
			return x.Damage(fmt.Errorf("its root is %s, not office:document", root.Name.Local))
		}
		return x.Each(func(se xml.StartElement) error { return d.part(x, se, out) })
	})
	if err != nil {
		return nil, err
	}
	return d.finish(out)
}

func newODF(a *office.Archive) *odf {
	return &odf{
		Archive: a, styles: map[string]odfStyle{}, lists: map[string]*[office.ListLevels]odfLevel{}, marks: map[string]int{},
		running: map[string]*counter{}, controls: map[string]string{}, used: map[string]bool{}, decls: map[string]office.Block{}, said: map[string]bool{},
	}
}

// part reads a child of the root element.
func (d *odf) part(x *office.XML, se xml.StartElement, out *office.Document) error {
	switch se.Name.Local {
	case "meta":
		return d.metaFields(x)
	case "styles", "automatic-styles":
		return d.readStyles(x)
	case "master-styles":
		return d.readMasters(x)
	case "body":
	default:
		return nil
	}
	return x.Each(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "spreadsheet":
			err := d.spreadsheet(x, out)
			d.masters = nil // each sheet has its own
			return err
		case "presentation", "drawing":
			err := d.presentation(x, out)
			d.masters = nil
			return err
		}
		return d.blocks(x, func(b office.Block) {
			if b.Kind == office.Heading && d.Facts.Title == "" {
				d.Facts.Title = md.Line(b.Text)
			}
			out.Add(b)
		})
	})
}

// finish adds what stands around the text.
func (d *odf) finish(out *office.Document) (*format.Output, error) {
	d.pageFrames(out)
	out.Add(d.notes...)
	return d.Finish(out)
}

// refuseLocked fails on a document whose content is encrypted.
func (d *odf) refuseLocked() error {
	const manifest = "META-INF/manifest.xml"
	if !d.Has(manifest) {
		return nil
	}
	locked := false
	err := d.Parse(manifest, func(x *office.XML, _ xml.StartElement) error {
		return x.Each(func(se xml.StartElement) error {
			full := office.Attr(se, "full-path")
			if full != "content.xml" && full != "encrypted-package" {
				return nil
			}
			return x.Each(func(se xml.StartElement) error {
				locked = locked || se.Name.Local == "encryption-data"
				return nil
			})
		})
	})
	if err := d.Optional(err, manifest); err != nil {
		return err
	}
	if locked {
		return d.Encrypted("password of the office suite")
	}
	return nil
}

func (d *odf) meta(x *office.XML) error {
	return x.Each(func(se xml.StartElement) error {
		if se.Name.Local == "meta" {
			return d.metaFields(x)
		}
		return nil
	})
}

func (d *odf) metaFields(x *office.XML) error {
	return x.Deep(func(se xml.StartElement) error {
		field := map[string]*string{
			"title": &d.Facts.Title, "initial-creator": &d.Facts.Author, "creator": &d.Facts.Author,
			"creation-date": &d.Facts.Created, "date": &d.Facts.Modified, "language": &d.Facts.Language,
		}[se.Name.Local]
		if field == nil {
			return nil
		}
		s, err := x.Text()
		switch s = strings.TrimSpace(s); se.Name.Local {
		case "creation-date", "date":
			s = office.Timestamp(s)
		case "creator": // who saved it last
			if *field != "" {
				return err
			}
		}
		*field = s
		return err
	})
}

// readStyles reads a container of styles.
func (d *odf) readStyles(x *office.XML) error {
	return x.Each(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "style":
			st := odfStyle{
				name:    strings.ToLower(strings.ReplaceAll(office.Attr(se, "name"), "_20_", " ")),
				parent:  office.Attr(se, "parent-style-name"),
				master:  office.Attr(se, "master-page-name"),
				list:    office.Attr(se, "list-style-name"),
				outline: office.Number(office.Attr(se, "default-outline-level"), 0),
			}
			id := office.Attr(se, "name")
			err := x.Each(func(se xml.StartElement) error {
				switch se.Name.Local {
				case "text-properties":
					for _, a := range se.Attr {
						switch a.Name.Local {
						case "font-weight":
							n := office.Number(a.Value, 0)
							st.look.Toggle(office.Bold, a.Value == "bold" || n >= 600)
						case "font-style":
							st.look.Toggle(office.Italic, a.Value == "italic" || a.Value == "oblique")
						case "text-line-through-style", "text-line-through-type":
							st.look.Toggle(office.Strike, a.Value != "none")
						case "display":
							if a.Value == "none" {
								st.look.Hidden = 1
							}
						case "text-position":
							st.look.Toggle(office.Raised, isRaised(a.Value))
							st.look.Toggle(office.Lowered, isLowered(a.Value))
						}
					}
				case "table-properties":
					st.hidden = office.Attr(se, "display") == "false"
				case "drawing-page-properties":
					for _, a := range se.Attr {
						if what, ok := strings.CutPrefix(a.Name.Local, "display-"); ok || a.Name.Local == "background-objects-visible" {
							if a.Value == "false" {
								if st.off == nil {
									st.off = map[string]bool{}
								}
								st.off[what] = true
							}
						}
					}
				}
				return nil
			})
			d.styles[id] = st
			return err
		case "list-style":
			var levels [office.ListLevels]odfLevel
			d.lists[office.Attr(se, "name")] = &levels
			return readODFLevels(x, &levels)
		case "outline-style":
			return readODFLevels(x, &d.outline)
		}
		return nil
	})
}

func readODFLevels(x *office.XML, levels *[office.ListLevels]odfLevel) error {
	return x.Each(func(se xml.StartElement) error {
		at := office.Number(office.Attr(se, "level"), 0) - 1
		if at < 0 || at >= office.ListLevels {
			return nil
		}
		l := odfLevel{
			prefix: office.Attr(se, "num-prefix"), suffix: office.Attr(se, "num-suffix"),
			display: office.Number(office.Attr(se, "display-levels"), 1), start: office.Number(office.Attr(se, "start-value"), 1),
		}
		if f := strings.TrimSpace(office.Attr(se, "num-format")); f != "" {
			l.format, l.numbered = f, true
		}
		l.inSteps = office.IsTrue(office.Attr(se, "num-letter-sync"))
		levels[at] = l
		return nil
	})
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

func (d *odf) look(name string) (l office.Look) {
	d.style(name, func(st odfStyle) bool {
		l = l.Over(st.look)
		if office.IsCodeName(st.name) {
			l = l.Over(office.Look{On: office.Mono, Set: office.Mono})
		}
		return true
	})
	return l
}

// blocks reads the paragraphs, lists and tables below an element.
func (d *odf) blocks(x *office.XML, emit func(office.Block)) error {
	return x.Each(func(se xml.StartElement) error { return d.blockElement(x, se, emit) })
}

func (d *odf) blockElement(x *office.XML, se xml.StartElement, emit func(office.Block)) error {
	switch se.Name.Local {
	case "p", "h":
		return d.paragraph(x, se, emit)
	case "list":
		return d.list(x, se, 0, "", emit)
	case "table":
		d.useMaster(office.Attr(se, "style-name"))
		rows, only, err := d.table(x)
		if err != nil {
			return err
		}
		if only != nil {
			for _, b := range only {
				emit(b)
			}
			return nil
		}
		emit(office.Block{Kind: office.Table, Rows: rows})
		return nil
	case "numbered-paragraph":
		return d.numbered(x, se, emit)
	case "forms":
		return d.forms(x)
	case "control":
		if text := d.controls[office.Attr(se, "control")]; text != "" {
			emit(office.Block{Text: md.Escape(text)})
		}
		return nil
	case "section":
		if office.Attr(se, "display") == "none" || office.IsTrue(office.Attr(se, "is-hidden")) {
			return nil // no reader sees it
		}
	case "tracked-changes", "sequence-decls", "variable-decls", "user-field-decls", "annotation", "title", "desc", "settings", "dde-connection-decls", "calculation-settings":
		return nil
	case "frame", "custom-shape", "rect", "g", "ellipse", "text-box", "line", "connector", "caption":
		s := &office.Shape{}
		if err := d.shape(x, se, s); err != nil {
			return err
		}
		for _, b := range s.Blocks {
			emit(b)
		}
		return nil
	}
	return d.blocks(x, emit) // sections, indexes
}

// odfPara is a paragraph while it is read.
type odfPara struct {
	spans []office.Span
	after []office.Block
}

func (d *odf) paragraph(x *office.XML, se xml.StartElement, emit func(office.Block)) error {
	p := &odfPara{}
	number := d.item
	d.item = ""
	name := office.Attr(se, "style-name")
	d.useMaster(name)
	if err := d.inline(x, p, office.Look{Hidden: d.look(name).Hidden}, ""); err != nil {
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
		isCode = isCode || office.IsCodeName(st.name)
		isQuote = isQuote || office.IsQuoteName(st.name)
		return level == 0
	})
	if se.Name.Local == "h" {
		level = max(office.Number(office.Attr(se, "outline-level"), level), 1)
	}
	b := office.Block{Text: office.Inline(p.spans, level > 0)}
	switch {
	case b.Text == "" && !isCode:
	case level > 0:
		b.Kind, b.Level = office.Heading, level
		if at := level - 1; se.Name.Local == "h" && at < office.ListLevels && !office.IsTrue(office.Attr(se, "is-list-header")) {
			if office.IsTrue(office.Attr(se, "restart-numbering")) {
				d.headings.restart(at, office.Number(office.Attr(se, "start-value"), d.outline[at].start))
			}
			d.headings.next(&d.outline, at)
			if number == "" {
				number = label(&d.outline, &d.headings, at)
			}
		}
		if number != "" {
			b.Text = number + " " + b.Text
		}
	case isCode:
		b = office.Block{Kind: office.Code, Text: office.ListingText(p.spans)}
	case isQuote:
		b.Kind = office.Quote
	}
	if b.Text != "" || b.Kind == office.Code {
		emit(b)
	}
	for _, b := range p.after {
		emit(b)
	}
	return nil
}

// inline reads the text and the elements within a paragraph.
func (d *odf) inline(x *office.XML, p *odfPara, l office.Look, href string) error {
	put := func(s string, extra office.Style) error {
		if s == "" || l.Hidden > 0 {
			return nil
		}
		p.spans = append(p.spans, office.Span{Text: s, Style: l.On | extra, Href: href})
		return d.Spend(len(s))
	}
	return x.Mixed(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "span":
			return d.inline(x, p, d.look(office.Attr(se, "style-name")).Over(l), href)
		case "a":
			target := office.Attr(se, "href")
			if strings.HasPrefix(target, "#") {
				target = href // a place in the document: anchors do not survive
			}
			return d.inline(x, p, l, target)
		case "s":
			return put(strings.Repeat(" ", min(max(office.Number(office.Attr(se, "c"), 1), 1), 1024)), 0)
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
			s := &office.Shape{}
			if err := d.shape(x, se, s); err != nil {
				return err
			}
			for _, b := range s.Blocks {
				if b.Kind == office.Mark || b.Kind == office.Paragraph && len(s.Blocks) == 1 && strings.HasPrefix(b.Text, "![") {
					if err := put(b.Text, office.Raw); err != nil {
						return err
					}
					continue
				}
				p.after = append(p.after, b)
			}
			return nil
		case "control":
			return put(d.controls[office.Attr(se, "control")], 0)
		case "fieldmark":
			text, err := d.fieldmark(x, se)
			if err != nil {
				return err
			}
			return put(text, 0)
		case "hidden-text":
			if office.Attr(se, "is-hidden") == "false" {
				return put(office.Attr(se, "string-value"), 0)
			}
			return nil
		case "page-number", "page-count", "page-continuation", "chapter":
			if d.frame {
				return nil
			}
		case "date", "time":
			if d.frame && !office.IsTrue(office.Attr(se, "fixed")) {
				return nil
			}
		case "sheet-name", "file-name", "title":
			if svg := strings.Contains(se.Name.Space, "svg"); svg {
				return nil
			}
			if d.frame { // what stands there is what the program knew of the file before this one
				return put(map[string]string{"sheet-name": sheetName, "title": d.Facts.Title}[se.Name.Local], 0)
			}
		case "hidden-paragraph", "tracked-changes", "script", "desc", "annotation-end", "bookmark", "soft-page-break":
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

func (d *odf) note(x *office.XML, se xml.StartElement, put func(string, office.Style) error) error {
	class, label := office.Attr(se, "note-class"), ""
	if class == "endnote" {
		label = "end-"
	}
	d.marks[class]++
	mark := fmt.Sprintf("[^%s%d]", label, d.marks[class])
	if err := put(mark, office.Raw); err != nil {
		return err
	}
	return x.Each(func(se xml.StartElement) error {
		if se.Name.Local != "note-body" {
			return nil
		}
		return d.define(x, mark)
	})
}

func (d *odf) annotation(x *office.XML, put func(string, office.Style) error) error {
	d.marks["comment"]++
	mark := fmt.Sprintf("[^comment-%d]", d.marks["comment"])
	if err := put(mark, office.Raw); err != nil {
		return err
	}
	who, text, err := d.remark(x)
	if err == nil && text != "" {
		if who != "" {
			text = md.EscapeInline(who) + ": " + text
		}
		d.notes = append(d.notes, office.Note(mark, text))
	}
	return err
}

// remark reads an office:annotation.
func (d *odf) remark(x *office.XML) (who, text string, err error) {
	var blocks []office.Block
	err = x.Each(func(se xml.StartElement) (err error) {
		switch se.Name.Local {
		case "creator":
			who, err = x.Text()
		case "p", "list":
			err = d.blockElement(x, se, func(b office.Block) { blocks = append(blocks, b) })
		}
		return err
	})
	return who, office.Flat(blocks), err
}

func (d *odf) define(x *office.XML, mark string) error {
	var blocks []office.Block
	if err := d.blocks(x, func(b office.Block) { blocks = append(blocks, b) }); err != nil {
		return err
	}
	if text := office.Flat(blocks); text != "" {
		d.notes = append(d.notes, office.Note(mark, text))
	}
	return nil
}

// tableElements walks the rows of a table:table. It calls row with how often it
// repeats before its cells, and cell with the columns it takes.
func (d *odf) tableElements(x *office.XML, row func(repeat int) error, cell func(se xml.StartElement, repeat int, covered bool) error, other func(se xml.StartElement) error) error {
	var element func(se xml.StartElement) error
	element = func(se xml.StartElement) error {
		switch se.Name.Local {
		case "table-header-rows", "table-rows", "table-row-group":
			return x.Each(element)
		case "table-row":
			if err := row(max(office.Number(office.Attr(se, "number-rows-repeated"), 1), 1)); err != nil {
				return err
			}
			return x.Each(func(se xml.StartElement) error {
				covered := se.Name.Local == "covered-table-cell"
				if !covered && se.Name.Local != "table-cell" {
					return nil
				}
				return cell(se, max(office.Number(office.Attr(se, "number-columns-repeated"), 1), 1), covered)
			})
		}
		if other != nil {
			return other(se)
		}
		return nil
	}
	return x.Each(element)
}

// table reads a table of a text. One of a single cell is a frame around blocks.
func (d *odf) table(x *office.XML) (rows [][]string, only []office.Block, err error) {
	var table office.Cells
	down := map[int]int{} // by column: rows that a cell from above still covers
	cells, column, across := 0, 0, 0
	err = d.tableElements(x, func(int) error {
		table.NextRow()
		column, across = 0, 0
		return nil
	}, func(se xml.StartElement, n int, covered bool) error {
		n = min(n, 256)
		if covered {
			for range n {
				cover := office.Gap
				switch {
				case column < across:
					cover = office.FromLeft
				case down[column] > 0:
					cover = office.FromAbove
					down[column]--
				}
				table.Add("", 1, cover)
				column++
			}
			return d.Spend(3 * n)
		}
		var content []office.Block
		if err := d.blocks(x, func(b office.Block) { content = append(content, b) }); err != nil {
			return err
		}
		text := office.Flat(content)
		cells++
		only = content
		wide, tall := format.Span(office.Attr(se, "number-columns-spanned")), format.Span(office.Attr(se, "number-rows-spanned"))
		for range n {
			table.Add(text, 1, office.Own)
			for i := range wide {
				delete(down, column+i)
				if tall > 1 {
					down[column+i] = tall - 1
				}
			}
			across = column + wide
			column++
			if err := d.Spend(len(text) + 3); err != nil {
				return err
			}
		}
		return nil
	}, nil)
	if err != nil {
		return nil, nil, err
	}
	if cells != 1 || table.Len() != 1 {
		only = nil
	}
	rows, err = table.Rows(d.Job)
	return rows, only, err
}

// spreadsheet reads the sheets of an ODS.
func (d *odf) spreadsheet(x *office.XML, out *office.Document) error {
	frames := &sheet.Frames{}
	return x.Each(func(se xml.StartElement) error {
		if se.Name.Local != "table" {
			return nil
		}
		d.sheets++
		if err := d.CountPages(d.sheets, "sheets"); err != nil {
			return err
		}
		s := &sheet.Sheet{Name: office.Attr(se, "name")}
		d.style(office.Attr(se, "style-name"), func(st odfStyle) bool {
			s.Hidden = st.hidden
			return false
		})
		row, rowRepeat, column := 0, 0, 0
		var cells []sheet.GridCell // of the row being read
		flush := func() error {
			for i := range rowRepeat {
				for _, c := range cells {
					if err := s.Grid.Set(d.Job, row+i, c.Column, c.Text); err != nil {
						return err
					}
				}
				if len(cells) == 0 || row+i >= sheet.MaxRows {
					break
				}
			}
			row += rowRepeat
			cells = nil
			return nil
		}
		err := d.tableElements(x, func(n int) error {
			err := flush()
			rowRepeat, column = min(n, sheet.MaxRows), 0
			return err
		}, func(se xml.StartElement, n int, covered bool) error {
			text, err := d.sheetCell(x, se, s, sheet.CellName(row, column))
			if err != nil {
				return err
			}
			if covered {
				text = "" // behind the cell that covers it
			}
			s.Grid.Merge(row, column, row+format.Span(office.Attr(se, "number-rows-spanned"))-1, column+format.Span(office.Attr(se, "number-columns-spanned"))-1)
			n = min(n, sheet.MaxColumns)
			for i := range n {
				if text == "" || column+i >= sheet.MaxColumns {
					break
				}
				cells = append(cells, sheet.GridCell{Column: column + i, Text: text})
				if err := d.Spend(len(text)); err != nil {
					return err
				}
			}
			column = min(column+n, sheet.MaxColumns)
			return nil
		}, func(se xml.StartElement) error {
			switch se.Name.Local {
			case "forms":
				return d.forms(x)
			case "shapes":
			default:
				return nil
			}
			return d.blocks(x, func(b office.Block) { s.Extra = append(s.Extra, b) })
		})
		if err != nil {
			return err
		}
		if err := flush(); err != nil {
			return err
		}
		d.sheetFrame(office.Attr(se, "style-name"), s)
		return s.AddTo(d.Job, out, frames)
	})
}

func (d *odf) sheetCell(x *office.XML, se xml.StartElement, s *sheet.Sheet, name string) (string, error) {
	var lines []string
	href := ""
	err := x.Each(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "p":
			p := &odfPara{}
			err := d.inline(x, p, office.Look{}, "")
			lines = append(lines, office.SpanText(p.spans))
			s.Extra = append(s.Extra, p.after...)
			if len(p.spans) > 0 && href == "" {
				href = p.spans[0].Href
			}
			return err
		case "annotation":
			who, text, err := d.remark(x)
			if err != nil {
				return err
			}
			return s.Note(d.Job, name, who, text)
		case "frame", "custom-shape", "rect", "g", "control":
			drawn := &office.Shape{}
			err := d.shape(x, se, drawn)
			s.Extra = append(s.Extra, drawn.Blocks...)
			return err
		}
		return nil
	})
	if href = office.SafeURL(href); href != "" {
		if s.Links == nil {
			s.Links = map[string]string{}
		}
		s.Links[name] = href
	}
	text := strings.Join(lines, "\n")
	for _, key := range [...]string{"string-value", "date-value", "time-value", "boolean-value", "value"} {
		if text == "" && len(lines) == 0 {
			text = office.Attr(se, key)
		}
	}
	if f := office.Attr(se, "formula"); f != "" && text == "" && len(lines) == 0 && !office.HasAttr(se, "value-type") {
		_, f, _ = strings.Cut(f, "=")
		d.Warn("some formulas have no computed value and are shown as formulas")
		text = "=" + f
	}
	return text, err
}

// shape reads a drawing element: a frame around a picture, a text box, a table
// or an object, or a shape with text.
func (d *odf) shape(x *office.XML, se xml.StartElement, s *office.Shape) error {
	switch se.Name.Local {
	case "forms":
		return d.forms(x)
	case "settings", "animations", "par":
		return nil
	case "control":
		if text := d.controls[office.Attr(se, "control")]; text != "" {
			s.Blocks = append(s.Blocks, office.Block{Text: md.Escape(text)})
		}
	}
	s.Kind = office.Attr(se, "class")
	if office.HasAttr(se, "y") {
		s.X, s.Y, s.Placed = length(office.Attr(se, "x")), length(office.Attr(se, "y")), true
	}
	switch s.Kind {
	case "page-number", "page": // the number of a slide, its picture beside the notes
		return nil
	case "date-time", "footer", "header": // mostly the same on every slide
		before := d.frame
		d.frame = true
		defer func() {
			d.frame = before
			s.Blocks = office.FrameWithout(s.Blocks, d.saidOnSlides)
		}()
	}
	if office.IsTrue(office.Attr(se, "placeholder")) {
		return nil // an empty place: "click to add a title"
	}
	picture, object, alt := "", "", ""
	shown := false
	emit := func(b office.Block) { s.Blocks = append(s.Blocks, b) }
	var element func(se xml.StartElement) error
	element = func(se xml.StartElement) (err error) {
		switch se.Name.Local {
		case "image":
			if picture == "" {
				picture = office.Attr(se, "href")
			}
		case "object":
			if href := office.Attr(se, "href"); href != "" {
				object = office.Resolve("", href)
				return nil
			}
			return x.Each(func(se xml.StartElement) error { // of a flat document
				var one bool
				one, err = d.embedded(x, se, emit)
				shown = shown || one
				return err
			})
		case "title", "desc":
			var text string
			if text, err = x.Text(); strings.TrimSpace(text) != "" {
				alt = strings.TrimSpace(text) // the description comes second
			}
		case "text-box", "a":
			return x.Each(element)
		case "p", "h", "list", "numbered-paragraph", "table", "frame", "custom-shape", "rect", "g", "ellipse", "line", "connector", "control":
			return d.blockElement(x, se, emit)
		}
		return err
	}
	if err := x.Each(element); err != nil {
		return err
	}
	if object != "" {
		var err error
		if shown, err = d.object(object, emit); err != nil {
			return err
		}
	}
	switch {
	case shown || len(s.Blocks) > 0:
	case picture != "":
		emit(office.Block{Text: md.Image(alt, office.Base(picture))})
	case alt != "":
		emit(office.Block{Text: md.Escape(alt)})
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
func (d *odf) object(part string, emit func(office.Block)) (shown bool, err error) {
	if !d.Has(path.Join(part, "content.xml")) {
		return false, nil
	}
	part = path.Join(part, "content.xml")
	err = d.Parse(part, func(x *office.XML, root xml.StartElement) (err error) {
		shown, err = d.embedded(x, root, emit)
		return err
	})
	return shown, d.Optional(err, "the object "+part)
}

// embedded reads the root element of a formula or chart.
func (d *odf) embedded(x *office.XML, root xml.StartElement, emit func(office.Block)) (shown bool, err error) {
	if root.Name.Local == "math" {
		m, err := d.mathML(x, root)
		if err != nil {
			return false, err
		}
		s := m.Latex()
		if s == "" {
			return false, nil
		}
		emit(office.Block{Kind: office.Mark, Text: "$" + s + "$"})
		return true, nil
	}
	err = x.Deep(func(se xml.StartElement) error {
		if se.Name.Local != "table" {
			return nil
		}
		rows, _, err := d.table(x)
		if err == nil && len(rows) > 0 {
			shown = true
			emit(office.Block{Kind: office.Table, Rows: rows})
		}
		return err
	})
	return shown, err
}

// mathML reads an element of a formula.
func (d *odf) mathML(x *office.XML, se xml.StartElement) (*office.MathML, error) {
	m := &office.MathML{Name: se.Name.Local, Attr: func(name string) string { return office.Attr(se, name) }}
	var text strings.Builder
	err := x.Mixed(func(se xml.StartElement) error {
		k, err := d.mathML(x, se)
		m.Kids = append(m.Kids, k)
		return err
	}, func(c []byte) error {
		text.Write(c)
		return d.Spend(len(c) + 1)
	})
	m.Text = text.String()
	return m, err
}
