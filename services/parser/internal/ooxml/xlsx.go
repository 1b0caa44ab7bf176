package ooxml

import (
	"context"
	"encoding/xml"
	"strconv"
	"strings"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/office"
	"sluice/services/parser/internal/sheet"
)

// xlsx reads the SpreadsheetML parts of one workbook (ECMA-376, part 1).
//
// It is our own reader because a sheet must not end silently where it is
// damaged, and because two cells can span a sheet that no list of rows can hold.
type xlsx struct {
	*office.Archive
	strings  []string
	formats  []*sheet.Format // by cell style
	date1904 bool
	stale    bool // the program that opens it is to compute all formulas
	uncached bool // a formula without its value was seen
	unsure   bool // a value whose format is not understood was seen
}

// XLSX reads an Excel workbook, a page per sheet.
func XLSX(ctx context.Context, in format.Input) (*format.Output, error) {
	j := office.NewJob(ctx, in)
	a, err := office.OpenArchive(j)
	if err != nil {
		return nil, err
	}
	part, err := a.Main("xl/workbook.xml")
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(part, ".bin") {
		return nil, j.Unsupported("is a binary workbook (.xlsb)", "save it as .xlsx")
	}
	w := &xlsx{Archive: a}
	rels, err := a.Relations(part)
	if err != nil {
		return nil, err
	}
	sheets, err := w.workbook(part, rels)
	if err != nil {
		return nil, err
	}
	if err := w.readStyles(office.Related(rels, "styles")); err != nil {
		return nil, err
	}
	if err := w.readStrings(office.Related(rels, "sharedStrings")); err != nil {
		return nil, err
	}
	out, frames := &office.Document{}, &sheet.Frames{}
	for i, s := range sheets {
		if err := j.CountPages(i+1, "sheets"); err != nil {
			return nil, err
		}
		if err := w.sheet(s); err != nil {
			return nil, err
		}
		if err := s.AddTo(j, out, frames); err != nil {
			return nil, err
		}
		sheets[i] = nil // its cells are in the Markdown now
	}
	if w.uncached {
		j.Warn("some formulas have no computed value and are shown as formulas")
	}
	if w.unsure {
		j.Warn(sheet.Unsure)
	}
	return j.Finish(out)
}

// bookSheet is a sheet and the part it is in.
type bookSheet struct {
	sheet.Sheet
	rel office.Relation
}

func (w *xlsx) workbook(part string, rels map[string]office.Relation) (sheets []*bookSheet, err error) {
	err = w.Parse(part, func(x *office.XML, _ xml.StartElement) error {
		return x.Each(func(se xml.StartElement) error {
			switch se.Name.Local {
			case "workbookPr":
				w.date1904 = office.IsTrue(office.Attr(se, "date1904"))
			case "calcPr":
				w.stale = office.IsTrue(office.Attr(se, "fullCalcOnLoad"))
			case "sheets":
				return x.Each(func(se xml.StartElement) error {
					s := &bookSheet{rel: rels[office.RelID(se, "id")]}
					s.Name = office.Attr(se, "name")
					s.Hidden = office.Attr(se, "state") == "hidden" || office.Attr(se, "state") == "veryHidden"
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
	if part == "" || !w.Has(part) {
		return nil
	}
	custom := map[int]*sheet.Format{}
	err := w.Parse(part, func(x *office.XML, _ xml.StartElement) error {
		return x.Each(func(se xml.StartElement) error {
			switch se.Name.Local {
			case "numFmts":
				return x.Each(func(se xml.StartElement) error {
					custom[office.Number(office.Attr(se, "numFmtId"), -1)] = sheet.Parse(office.Attr(se, "formatCode"))
					return nil
				})
			case "cellXfs":
				return x.Each(func(se xml.StartElement) error {
					id := office.Number(office.Attr(se, "numFmtId"), 0)
					f := custom[id]
					if f == nil {
						var known bool
						f, known = sheet.Builtin(id)
						w.unsure = w.unsure || !known
						custom[id] = f
					}
					w.formats = append(w.formats, f)
					return nil
				})
			}
			return nil
		})
	})
	return w.Optional(err, "the number formats")
}

func (w *xlsx) readStrings(part string) error {
	if part == "" || !w.Has(part) {
		return nil
	}
	return w.Parse(part, func(x *office.XML, _ xml.StartElement) error {
		return x.Each(func(se xml.StartElement) error {
			s, err := richText(x)
			w.strings = append(w.strings, s)
			return err
		})
	})
}

// richText returns the text of an si or is element, without its phonetic guide.
func richText(x *office.XML) (string, error) {
	var spans []office.Span
	var style office.Style
	var element func(se xml.StartElement) error
	element = func(se xml.StartElement) error {
		switch se.Name.Local {
		case "t":
			s, err := x.Text()
			spans = append(spans, office.Span{Text: unescapeXString(s), Style: style})
			return err
		case "r":
			style = 0
			return x.Each(element)
		case "rPr":
			return x.Each(func(se xml.StartElement) error {
				if se.Name.Local == "vertAlign" {
					switch office.Attr(se, "val") {
					case "superscript":
						style = office.Raised
					case "subscript":
						style = office.Lowered
					}
				}
				return nil
			})
		}
		return nil
	}
	if err := x.Each(element); err != nil {
		return "", err
	}
	if len(spans) == 1 {
		return spans[0].Text, nil
	}
	return office.SpanText(spans), nil
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
	part := s.rel.Target
	if part == "" {
		w.Warn("sheet %q is missing", s.Name)
		return nil
	}
	rels, err := w.Relations(part)
	if err != nil {
		return err
	}
	s.Links = map[string]string{}
	switch s.rel.Kind {
	case "worksheet", "chartsheet", "dialogsheet":
		err := w.Parse(part, func(x *office.XML, _ xml.StartElement) error {
			return x.Each(func(se xml.StartElement) error {
				switch se.Name.Local {
				case "headerFooter":
					return w.headerFooter(x, se, s)
				case "sheetData":
					return w.rows(x, &s.Grid)
				case "mergeCells":
					return x.Each(func(se xml.StartElement) error {
						first, last, _ := strings.Cut(office.Attr(se, "ref"), ":")
						row, column := sheet.ParseCell(first)
						lastRow, lastColumn := sheet.ParseCell(last)
						s.Grid.Merge(row, column, lastRow, lastColumn)
						return nil
					})
				case "hyperlinks":
					return x.Each(func(se xml.StartElement) error {
						if r := rels[office.RelID(se, "id")]; r.External {
							s.Links[strings.ToUpper(office.Attr(se, "ref"))] = r.Target
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
	if err := w.drawing(office.Related(rels, "drawing"), s); err != nil {
		return err
	}
	return w.Optional(w.comments(office.Related(rels, "comments"), s), "the comments of sheet "+s.Name)
}

// headerFooter reads what stands above and below the cells on paper.
func (w *xlsx) headerFooter(x *office.XML, se xml.StartElement, s *bookSheet) error {
	first, even := office.IsTrue(office.Attr(se, "differentFirst")), office.IsTrue(office.Attr(se, "differentOddEven"))
	return x.Each(func(se xml.StartElement) error {
		kind := se.Name.Local
		// What is there for first or even pages is shown only where those are set apart.
		if strings.HasPrefix(kind, "first") && !first || strings.HasPrefix(kind, "even") && !even {
			return nil
		}
		code, err := x.Text()
		if err != nil {
			return err
		}
		blocks := sheet.FrameOf(unescapeXString(code), s.Name)
		if strings.HasSuffix(kind, "Header") {
			s.Header = append(s.Header, blocks...)
		} else {
			s.Footer = append(s.Footer, blocks...)
		}
		return w.Spend(len(code))
	})
}

func (w *xlsx) rows(x *office.XML, g *sheet.Grid) error {
	row := -1
	shared := map[string]string{} // where formulas stand that other cells refer to
	return x.Each(func(se xml.StartElement) error {
		if se.Name.Local != "row" {
			return nil
		}
		row = office.Number(office.Attr(se, "r"), row+2) - 1
		column := -1
		return x.Each(func(se xml.StartElement) error {
			if se.Name.Local != "c" {
				return nil
			}
			column++
			if ref := office.Attr(se, "r"); ref != "" {
				_, column = sheet.ParseCell(ref)
			}
			text, err := w.cell(x, se, shared)
			if err != nil {
				return err
			}
			return g.Set(w.Job, row, column, text)
		})
	})
}

func (w *xlsx) cell(x *office.XML, se xml.StartElement, shared map[string]string) (string, error) {
	kind, style := office.Attr(se, "t"), office.Number(office.Attr(se, "s"), 0)
	here := office.Attr(se, "r")
	var value, formula string
	computed := false
	err := x.Each(func(se xml.StartElement) (err error) {
		switch se.Name.Local {
		case "v":
			value, err = x.Text()
			computed = true
		case "f":
			group := ""
			if office.Attr(se, "t") == "shared" {
				group = office.Attr(se, "si")
			}
			if formula, err = x.Text(); group == "" {
				break
			}
			if formula != "" {
				shared[group] = here
			} else if first := shared[group]; first != "" {
				formula = "(as in " + first + ")"
			}
		case "is":
			value, err = richText(x)
			computed = true
		}
		return err
	})
	if err != nil {
		return "", err
	}
	if formula != "" {
		// Programs that only write workbooks leave the value out, or leave it empty, or
		// write 0 and ask for everything to be computed. An empty text is a result.
		if (value == "" && !(kind == "str" && computed)) || (w.stale && value == "0" && kind != "s" && kind != "str") {
			w.uncached = true
			return "=" + formula, nil
		}
	}
	format := sheet.General
	if style >= 0 && style < len(w.formats) {
		format = w.formats[style]
	}
	words := func(s string) string {
		s, sure := format.Text(s)
		w.unsure = w.unsure || !sure
		return s
	}
	switch kind {
	case "s":
		i := office.Number(value, -1)
		if i < 0 || i >= len(w.strings) {
			if value != "" {
				w.Warn("cells refer to strings that are missing")
			}
			return "", nil
		}
		return words(w.strings[i]), nil
	case "b":
		switch {
		case office.IsTrue(value):
			return "TRUE", nil
		case value == "":
			return "", nil
		}
		return "FALSE", nil
	case "str":
		return words(unescapeXString(value)), nil
	case "inlineStr":
		return words(value), nil
	case "e":
		return value, nil
	case "d":
		return strings.TrimSuffix(strings.Replace(value, "T", " ", 1), " 00:00:00"), nil
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
	if err != nil {
		return value, nil
	}
	text, sure := format.Number(v, w.date1904)
	w.unsure = w.unsure || !sure
	return text, nil
}

// drawing reads what floats over a sheet: text boxes, pictures, and charts. The
// data of a chart is in the cells, except on a sheet that is nothing but a chart.
func (w *xlsx) drawing(part string, s *bookSheet) error {
	if part == "" || !w.Has(part) {
		return nil
	}
	rels, err := w.Relations(part)
	if err != nil {
		return err
	}
	p := &pptx{Archive: w.Archive, rels: rels} // shapes are DrawingML, as on slides
	var element func(x *office.XML, se xml.StartElement) error
	element = func(x *office.XML, se xml.StartElement) error {
		children := func(se xml.StartElement) error { return element(x, se) }
		switch se.Name.Local {
		case "txBody":
			blocks, err := p.textBody(x, office.BulletLevels{})
			s.Extra = append(s.Extra, blocks...)
			return err
		case "pic":
			pic := &office.Shape{}
			err := p.picture(x, pic)
			s.Extra = append(s.Extra, pic.Blocks...)
			return err
		case "chart":
			at := onSheet
			if s.rel.Kind != "worksheet" {
				at = onChartSheet
			}
			blocks, err := readChart(w.Archive, rels[office.RelID(se, "id")].Target, at)
			s.Extra = append(s.Extra, blocks...)
			return err
		case "relIds":
			blocks, err := diagram(w.Archive, rels, office.RelID(se, "dm"))
			s.Extra = append(s.Extra, blocks...)
			return err
		case "AlternateContent":
			return x.Alternate(children)
		}
		return x.Each(children)
	}
	err = w.Parse(part, func(x *office.XML, root xml.StartElement) error { return element(x, root) })
	return w.Optional(err, "the drawings of sheet "+s.Name)
}

func (w *xlsx) comments(part string, s *bookSheet) error {
	if part == "" || !w.Has(part) {
		return nil
	}
	var authors []string
	return w.Parse(part, func(x *office.XML, _ xml.StartElement) error {
		return x.Deep(func(se xml.StartElement) error {
			switch se.Name.Local {
			case "author":
				name, err := x.Text()
				authors = append(authors, name)
				return err
			case "comment":
				cell, author := office.Attr(se, "ref"), ""
				if i := office.Number(office.Attr(se, "authorId"), -1); i >= 0 && i < len(authors) {
					author = authors[i]
				}
				var text string
				err := x.Each(func(se xml.StartElement) (err error) {
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
				return s.Note(w.Job, cell, author, text)
			}
			return nil
		})
	})
}
