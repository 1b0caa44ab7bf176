package office

import (
	"context"
	"encoding/xml"
	"strconv"
	"strings"

	"sluice/services/parser/internal/format"
)

// xlsx reads the SpreadsheetML parts of one workbook (ECMA-376, part 1).
//
// It is our own reader because a sheet must not end silently where it is
// damaged, and because two cells can span a sheet that no list of rows can hold.
type xlsx struct {
	*archive
	strings  []string
	formats  []string // by cell style
	date1904 bool
	uncached bool // a formula without its value was seen
}

// XLSX reads an Excel workbook, a page per sheet.
func XLSX(ctx context.Context, in format.Input) (*format.Output, error) {
	j := newJob(ctx, in)
	a, err := openArchive(j)
	if err != nil {
		return nil, err
	}
	part, err := a.main("xl/workbook.xml")
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(part, ".bin") {
		return nil, j.unsupported("is a binary workbook (.xlsb)", "save it as .xlsx")
	}
	w := &xlsx{archive: a}
	rels, err := a.relations(part)
	if err != nil {
		return nil, err
	}
	sheets, err := w.workbook(part, rels)
	if err != nil {
		return nil, err
	}
	if err := w.readStyles(related(rels, "styles")); err != nil {
		return nil, err
	}
	if err := w.readStrings(related(rels, "sharedStrings")); err != nil {
		return nil, err
	}
	out := &document{}
	for i, s := range sheets {
		if err := j.countPages(i+1, "sheets"); err != nil {
			return nil, err
		}
		if err := w.sheet(s); err != nil {
			return nil, err
		}
		if err := s.addTo(j, out); err != nil {
			return nil, err
		}
		sheets[i] = nil // its cells are in the Markdown now
	}
	if w.uncached {
		j.warn("some formulas have no computed value and are shown as formulas")
	}
	return j.finish(out)
}

// bookSheet is a sheet and the part it is in.
type bookSheet struct {
	sheet
	rel relation
}

func (w *xlsx) workbook(part string, rels map[string]relation) (sheets []*bookSheet, err error) {
	err = w.parse(part, func(x *xmlReader, _ xml.StartElement) error {
		return x.each(func(se xml.StartElement) error {
			switch se.Name.Local {
			case "workbookPr":
				w.date1904 = isTrue(attr(se, "date1904"))
			case "sheets":
				return x.each(func(se xml.StartElement) error {
					s := &bookSheet{rel: rels[relID(se, "id")]}
					s.name = attr(se, "name")
					s.hidden = attr(se, "state") == "hidden" || attr(se, "state") == "veryHidden"
					sheets = append(sheets, s)
					return nil
				})
			}
			return nil
		})
	})
	return sheets, err
}

func (w *xlsx) readStyles(part string) error {
	if part == "" || !w.has(part) {
		return nil
	}
	custom := map[int]string{}
	err := w.parse(part, func(x *xmlReader, _ xml.StartElement) error {
		return x.each(func(se xml.StartElement) error {
			switch se.Name.Local {
			case "numFmts":
				return x.each(func(se xml.StartElement) error {
					custom[number(attr(se, "numFmtId"), -1)] = attr(se, "formatCode")
					return nil
				})
			case "cellXfs":
				return x.each(func(se xml.StartElement) error {
					id := number(attr(se, "numFmtId"), 0)
					code, ok := custom[id]
					if !ok {
						code = builtinFormats[id]
					}
					w.formats = append(w.formats, code)
					return nil
				})
			}
			return nil
		})
	})
	return w.optional(err, "the number formats")
}

func (w *xlsx) readStrings(part string) error {
	if part == "" || !w.has(part) {
		return nil
	}
	return w.parse(part, func(x *xmlReader, _ xml.StartElement) error {
		return x.each(func(se xml.StartElement) error {
			s, err := richText(x)
			w.strings = append(w.strings, s)
			return err
		})
	})
}

// richText returns the text of an si or is element, without its phonetic guide.
func richText(x *xmlReader) (string, error) {
	var b strings.Builder
	var element func(se xml.StartElement) error
	element = func(se xml.StartElement) error {
		switch se.Name.Local {
		case "t":
			s, err := x.text()
			b.WriteString(unescapeXString(s))
			return err
		case "r":
			return x.each(element)
		}
		return nil
	}
	err := x.each(element)
	return b.String(), err
}

// unescapeXString decodes the _xHHHH_ escapes of ST_Xstring.
func unescapeXString(s string) string {
	if !strings.Contains(s, "_x") {
		return s
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "_x")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		if len(after) > 4 && after[4] == '_' {
			if n, err := strconv.ParseUint(after[:4], 16, 16); err == nil {
				b.WriteRune(rune(n))
				s = after[5:]
				continue
			}
		}
		b.WriteString("_x")
		s = after
	}
}

// sheet reads the cells, links, comments and drawings of one sheet.
func (w *xlsx) sheet(s *bookSheet) error {
	part := s.rel.target
	if part == "" {
		w.warn("sheet %q is missing", s.name)
		return nil
	}
	rels, err := w.relations(part)
	if err != nil {
		return err
	}
	s.links = map[string]string{}
	if s.rel.kind == "worksheet" {
		err := w.parse(part, func(x *xmlReader, _ xml.StartElement) error {
			return x.each(func(se xml.StartElement) error {
				switch se.Name.Local {
				case "sheetData":
					return w.rows(x, &s.grid)
				case "hyperlinks":
					return x.each(func(se xml.StartElement) error {
						if r := rels[relID(se, "id")]; r.external {
							s.links[strings.ToUpper(attr(se, "ref"))] = r.target
						}
						return nil
					})
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	if err := w.drawing(related(rels, "drawing"), s); err != nil {
		return err
	}
	return w.optional(w.comments(related(rels, "comments"), s), "the comments of sheet "+s.name)
}

func (w *xlsx) rows(x *xmlReader, g *grid) error {
	row := -1
	return x.each(func(se xml.StartElement) error {
		if se.Name.Local != "row" {
			return nil
		}
		row = number(attr(se, "r"), row+2) - 1
		column := -1
		return x.each(func(se xml.StartElement) error {
			if se.Name.Local != "c" {
				return nil
			}
			column++
			if ref := attr(se, "r"); ref != "" {
				_, column = parseCell(ref)
			}
			text, err := w.cell(x, se)
			if err != nil {
				return err
			}
			return g.set(w.job, row, column, text)
		})
	})
}

func (w *xlsx) cell(x *xmlReader, se xml.StartElement) (string, error) {
	kind, style := attr(se, "t"), number(attr(se, "s"), 0)
	var value, formula string
	computed := false
	err := x.each(func(se xml.StartElement) (err error) {
		switch se.Name.Local {
		case "v":
			value, err = x.text()
			computed = true
		case "f":
			formula, err = x.text()
		case "is":
			value, err = richText(x)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	if !computed && formula != "" {
		w.uncached = true
		return "=" + formula, nil
	}
	switch kind {
	case "s":
		i := number(value, -1)
		if i < 0 || i >= len(w.strings) {
			if value != "" {
				w.warn("cells refer to strings that are missing")
			}
			return "", nil
		}
		return w.strings[i], nil
	case "b":
		if value == "1" {
			return "TRUE", nil
		}
		return "FALSE", nil
	case "str":
		return unescapeXString(value), nil
	case "inlineStr", "e":
		return value, nil
	case "d":
		return strings.TrimSuffix(strings.Replace(value, "T", " ", 1), " 00:00:00"), nil
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
	if err != nil {
		return value, nil
	}
	code := ""
	if style >= 0 && style < len(w.formats) {
		code = w.formats[style]
	}
	return formatNumber(v, code, w.date1904), nil
}

// drawing reads what floats over a sheet: text boxes, pictures, and charts. The
// data of a chart is in the cells, except on a sheet that is nothing but a chart.
func (w *xlsx) drawing(part string, s *bookSheet) error {
	if part == "" || !w.has(part) {
		return nil
	}
	rels, err := w.relations(part)
	if err != nil {
		return err
	}
	p := &pptx{archive: w.archive, rels: rels} // shapes are DrawingML, as on slides
	var element func(x *xmlReader, se xml.StartElement) error
	element = func(x *xmlReader, se xml.StartElement) error {
		children := func(se xml.StartElement) error { return element(x, se) }
		switch se.Name.Local {
		case "txBody":
			blocks, err := p.textBody(x, bulletLevels{})
			s.extra = append(s.extra, blocks...)
			return err
		case "pic":
			pic := &shape{}
			err := p.picture(x, pic)
			s.extra = append(s.extra, pic.blocks...)
			return err
		case "chart":
			blocks, err := w.chart(rels[relID(se, "id")].target)
			for _, b := range blocks {
				if s.rel.kind != "worksheet" || (b.kind != table && b.text != "**Chart**") {
					s.extra = append(s.extra, b)
				}
			}
			return err
		case "relIds":
			blocks, err := w.diagram(rels[relID(se, "dm")].target)
			s.extra = append(s.extra, blocks...)
			return err
		case "AlternateContent":
			return x.alternate(children)
		}
		return x.each(children)
	}
	err = w.parse(part, func(x *xmlReader, root xml.StartElement) error { return element(x, root) })
	return w.optional(err, "the drawings of sheet "+s.name)
}

func (w *xlsx) comments(part string, s *bookSheet) error {
	if part == "" || !w.has(part) {
		return nil
	}
	var authors []string
	return w.parse(part, func(x *xmlReader, _ xml.StartElement) error {
		return x.deep(func(se xml.StartElement) error {
			switch se.Name.Local {
			case "author":
				name, err := x.text()
				authors = append(authors, name)
				return err
			case "comment":
				cell, author := attr(se, "ref"), ""
				if i := number(attr(se, "authorId"), -1); i >= 0 && i < len(authors) {
					author = authors[i]
				}
				var text string
				err := x.each(func(se xml.StartElement) (err error) {
					if se.Name.Local == "text" {
						text, err = richText(x)
					}
					return err
				})
				if err != nil {
					return err
				}
				// A thread's stand-in for older programs explains itself at length,
				// and names its author by an ID.
				if strings.HasPrefix(text, "[Threaded comment]") {
					author = ""
					if _, said, ok := strings.Cut(text, "Comment:"); ok {
						text = said
					}
				}
				return s.note(w.job, cell, author, text)
			}
			return nil
		})
	})
}
