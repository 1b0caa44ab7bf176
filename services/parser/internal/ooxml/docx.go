// Package ooxml reads Word, PowerPoint and Excel files (ISO/IEC 29500).
//
// Headings, lists, tables, links, emphasis, notes, comments, equations, charts
// and captions of pictures come through, and of page headers and footers what the
// text does not say; hidden text and deleted revisions do not.
package ooxml

import (
	"context"
	"encoding/xml"
	"fmt"
	"strings"
	"sync"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
	"sluice/services/parser/internal/office"
)

// docx reads the WordprocessingML parts of one document (ECMA-376, part 1).
type docx struct {
	*office.Archive
	styles wordStyles
	normal string // the default paragraph style
	lists  wordLists
	rels   map[string]office.Relation // of the part being read
	fields []*field                   // open around the text being read
	notes  []*noteKind
	apart  md.Notes    // those of documents within it
	frames [2][]string // IDs of the headers and of the footers that pages have
	frame  bool        // one of them is being read
	// evenPages reports whether even pages have headers of their own.
	evenPages func() bool
}

// field is a complex field: an instruction, then what it shows.
type field struct {
	code   strings.Builder
	result bool // past the instruction
	href   string
	chosen string // of a list in a form: shown if the field shows nothing itself
	mute   bool   // it counts pages
	spoke  bool   // something of its result was shown
}

// noteKind is footnotes, endnotes or comments: those referred to, in order.
type noteKind struct {
	part, element string
	label         string // before the number in [^label1]
	ids           []string
	numbers       map[string]int
}

// DOCX reads a Word document.
func DOCX(ctx context.Context, in format.Input) (*format.Output, error) {
	j := office.NewJob(ctx, in)
	a, err := office.OpenArchive(j)
	if err != nil {
		return nil, err
	}
	d := &docx{Archive: a, apart: md.Notes{Reserved: true}}
	d.evenPages = sync.OnceValue(d.readEvenPages)
	part, err := a.Main("word/document.xml")
	if err != nil {
		return nil, err
	}
	if d.rels, err = a.Relations(part); err != nil {
		return nil, err
	}
	if err := d.readStyles(office.Related(d.rels, "styles")); err != nil {
		return nil, err
	}
	if err := d.readLists(office.Related(d.rels, "numbering")); err != nil {
		return nil, err
	}
	d.notes = []*noteKind{
		{part: office.Related(d.rels, "footnotes"), element: "footnote"},
		{part: office.Related(d.rels, "endnotes"), element: "endnote", label: "end-"},
		{part: office.Related(d.rels, "comments"), element: "comment", label: "comment-"},
	}
	out := &office.Document{}
	emit := func(b office.Block) {
		if b.Kind == office.Heading && d.Facts.Title == "" {
			d.Facts.Title = md.Line(b.Text)
		}
		out.Add(b)
	}
	err = a.Parse(part, func(x *office.XML, _ xml.StartElement) error {
		return x.Each(func(se xml.StartElement) error {
			if se.Name.Local != "body" {
				return nil
			}
			return d.blocks(x, emit)
		})
	})
	if err != nil {
		return nil, err
	}
	if err := d.pageFrames(out); err != nil {
		return nil, err
	}
	for _, kind := range d.notes { // comments last: notes may have comments
		if err := d.defineNotes(kind, emit); err != nil {
			return nil, err
		}
	}
	return j.Finish(out)
}

// blocks reads the paragraphs and tables in the element whose start was read last.
func (d *docx) blocks(x *office.XML, emit func(office.Block)) error {
	outer := d.fields // a text box in the middle of a field is not part of it
	d.fields = nil
	defer func() { d.fields = outer }()

	var carry []office.Span
	if err := x.Each(func(se xml.StartElement) error { return d.blockElement(x, se, &carry, emit) }); err != nil {
		return err
	}
	if len(carry) > 0 {
		emit(office.Block{Text: office.Inline(carry, false)})
	}
	return nil
}

func (d *docx) blockElement(x *office.XML, se xml.StartElement, carry *[]office.Span, emit func(office.Block)) error {
	children := func(se xml.StartElement) error { return d.blockElement(x, se, carry, emit) }
	switch se.Name.Local {
	case "p":
		return d.paragraph(x, carry, emit)
	case "tbl":
		blocks, err := d.table(x)
		if err != nil {
			return err
		}
		for _, b := range blocks {
			emit(b)
		}
	case "oMath", "oMathPara":
		s, err := d.Equation(x, se)
		if err != nil {
			return err
		}
		emit(office.Block{Text: s})
	case "sectPr":
		return d.section(x)
	case "altChunk":
		return d.chunk(office.RelID(se, "id"), emit)
	default:
		return wrapped(x, se, children)
	}
	return nil
}

// wrapped calls f for what an element wraps that may stand around blocks, around
// pieces of a line and around rows and cells alike. Of any other it reads nothing.
func wrapped(x *office.XML, se xml.StartElement, f func(xml.StartElement) error) error {
	switch se.Name.Local {
	case "sdt":
		return control(x, f)
	case "ins", "moveTo", "customXml", "smartTag":
		return x.Each(f)
	case "AlternateContent":
		return x.Alternate(f)
	}
	return nil
}

// control reads what stands in a content control, unless that is its prompt
// ("Click here to enter text"): nobody has filled it in.
func control(x *office.XML, f func(xml.StartElement) error) error {
	prompt := false
	return x.Each(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "sdtPr":
			return x.Each(func(se xml.StartElement) error {
				prompt = prompt || (se.Name.Local == "showingPlcHdr" && office.OnOff(se))
				return nil
			})
		case "sdtContent":
			if !prompt {
				return x.Each(f)
			}
		}
		return nil
	})
}

// chunk reads a document of another format that is a part of this one.
func (d *docx) chunk(id string, emit func(office.Block)) error {
	part := d.rels[id].Target
	if part == "" || d.In.Convert == nil {
		d.Warn("the embedded document %s could not be read", office.Base(part))
		return nil
	}
	data, err := d.Read(part)
	if err != nil {
		return d.Optional(err, "the embedded document "+office.Base(part))
	}
	out, err := d.In.Convert(d.Ctx, format.Input{Name: office.Base(part), Data: data, Limits: d.In.Limits})
	if err != nil {
		return d.OptionalDocument(err, "the embedded document "+office.Base(part))
	}
	d.Warnings = append(d.Warnings, out.Warnings...)
	if err := d.Spend(len(out.Markdown)); err != nil {
		return err
	}
	emit(office.Block{Kind: office.Verbatim, Text: strings.TrimSpace(d.apart.Apart(out.Markdown, nil))})
	return nil
}

// wordPara is a paragraph while it is read.
type wordPara struct {
	spans   []office.Span
	after   []office.Block // text boxes, charts and diagrams anchored in it
	style   string
	list    listRef
	outline int  // -1 unsaid
	joined  bool // the next paragraph continues this one
	hidden  bool
}

func (d *docx) paragraph(x *office.XML, carry *[]office.Span, emit func(office.Block)) error {
	p := &wordPara{style: d.normal, outline: -1, spans: *carry}
	*carry = nil
	if err := x.Each(func(se xml.StartElement) error { return d.inlineElement(x, se, p, "") }); err != nil {
		return err
	}
	// An instruction that has not ended here is damage: it must not hide the rest.
	for len(d.fields) > 0 && !d.fields[len(d.fields)-1].result {
		d.fields = d.fields[:len(d.fields)-1]
	}
	if p.joined {
		*carry = p.spans
	} else if b := d.finishParagraph(p); b.Text != "" || b.Kind == office.Code {
		emit(b)
	}
	for _, b := range p.after {
		emit(b)
	}
	return nil
}

// finishParagraph decides what a paragraph is.
func (d *docx) finishParagraph(p *wordPara) office.Block {
	ref, owner := p.list, p.style
	if !ref.set {
		ref, owner = d.styles.list(p.style)
	} else if ref.num == "" { // a level of the style's list
		under, _ := d.styles.list(p.style)
		ref.num = under.num
	}
	level := d.styles.heading(p.style)
	if p.outline >= 0 {
		level = 0
		if p.outline < 9 {
			level = p.outline + 1
		}
	}
	at, label, bullet := d.lists.next(ref, owner)
	if level > 0 {
		text := office.Inline(p.spans, true)
		if text == "" {
			return office.Block{}
		}
		if label != "" {
			text = label + " " + text
		}
		return office.Block{Kind: office.Heading, Level: level, Text: text}
	}
	if d.styles.named(p.style, office.IsCodeName) {
		return office.Block{Kind: office.Code, Text: office.ListingText(p.spans)}
	}
	text := office.Inline(p.spans, false)
	switch {
	case text == "":
		return office.Block{}
	case label != "" || bullet:
		marker, prefix := office.ItemMarker(label, bullet)
		return office.Block{Kind: office.Item, Level: at, Marker: marker, Text: prefix + text}
	case d.styles.named(p.style, office.IsQuoteName):
		return office.Block{Kind: office.Quote, Text: text}
	}
	return office.Block{Text: text}
}

func (d *docx) readParagraphProps(x *office.XML, p *wordPara) error {
	return x.Each(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "pStyle":
			p.style = office.Attr(se, "val")
			d.styles.chain(p.style, func(_ string, st *wordStyle) bool {
				p.hidden = st.look.Hidden > 0
				return st.look.Hidden == 0
			})
		case "numPr":
			var err error
			p.list, err = readListRef(x)
			return err
		case "sectPr":
			return d.section(x)
		case "outlineLvl":
			p.outline = office.Number(office.Attr(se, "val"), -1)
		case "framePr": // a drop cap is the first letter of the next paragraph
			if v := office.Attr(se, "dropCap"); v == "drop" || v == "margin" {
				p.joined = true
			}
		case "rPr":
			props, err := readRunProps(x)
			p.joined = p.joined || props.gone
			return err
		}
		return nil
	})
}

// inlineElement reads what stands in a paragraph: runs and what wraps them.
func (d *docx) inlineElement(x *office.XML, se xml.StartElement, p *wordPara, href string) error {
	children := func(se xml.StartElement) error { return d.inlineElement(x, se, p, href) }
	switch se.Name.Local {
	case "pPr":
		return d.readParagraphProps(x, p)
	case "r":
		return d.run(x, p, href)
	case "hyperlink":
		if r := d.rels[office.RelID(se, "id")]; r.Target != "" {
			href = r.Target
			if anchor := office.Attr(se, "anchor"); anchor != "" && r.External {
				href += "#" + anchor
			}
		}
		return x.Each(children)
	case "fldSimple":
		if d.frame && office.CountsPages(office.Attr(se, "instr")) {
			return nil
		}
		if url := office.HyperlinkTarget(office.Attr(se, "instr")); url != "" {
			href = url
		}
		return x.Each(children)
	case "dir", "bdo", "rt", "rubyBase":
		return x.Each(children)
	case "oMath", "oMathPara":
		s, err := d.Equation(x, se)
		if err != nil {
			return err
		}
		p.spans = append(p.spans, office.Span{Text: s, Style: office.Raw})
	default:
		return wrapped(x, se, children)
	}
	return nil
}

// shown reports whether text stands in what fields show, and the link they make.
func (d *docx) shown() (ok bool, href string) {
	for _, f := range d.fields {
		if !f.result || f.mute {
			return false, ""
		}
		if f.href != "" {
			href = f.href
		}
	}
	return true, href
}

func (d *docx) run(x *office.XML, p *wordPara, href string) error {
	var props runProps
	var look office.Look
	return x.Each(func(se xml.StartElement) error {
		if se.Name.Local == "rPr" {
			var err error
			props, err = readRunProps(x)
			look = props.Look.Over(d.styles.look(props.style))
			return err
		}
		return d.runElement(x, se, p, href, props, look)
	})
}

func (d *docx) runElement(x *office.XML, se xml.StartElement, p *wordPara, href string, props runProps, l office.Look) error {
	put := func(text string, extra office.Style) error {
		ok, link := d.shown()
		if !ok || text == "" || l.Hidden > 0 || (l.Hidden == 0 && p.hidden) {
			return nil
		}
		if link == "" {
			link = href
		}
		for _, f := range d.fields {
			f.spoke = f.spoke || strings.TrimSpace(text) != ""
		}
		p.spans = append(p.spans, office.Span{Text: text, Style: l.On | extra, Href: link})
		return d.Spend(len(text))
	}
	switch se.Name.Local {
	case "t":
		s, err := x.Text()
		if err != nil {
			return err
		}
		return put(office.FromSymbolFont(s, props.font), 0)
	case "tab", "ptab":
		return put("\t", 0)
	case "br", "cr":
		return put("\n", 0)
	case "noBreakHyphen":
		return put("-", 0)
	case "sym":
		return put(office.Symbol(office.Attr(se, "font"), office.Attr(se, "char")), 0)
	case "fldChar":
		return d.fieldChar(x, office.Attr(se, "fldCharType"), put)
	case "instrText":
		s, err := x.Text()
		if n := len(d.fields); err == nil && n > 0 && !d.fields[n-1].result {
			d.fields[n-1].code.WriteString(s)
		}
		return err
	case "footnoteReference":
		return put(d.notes[0].refer(office.Attr(se, "id")), office.Raw)
	case "endnoteReference":
		return put(d.notes[1].refer(office.Attr(se, "id")), office.Raw)
	case "commentReference":
		return put(d.notes[2].refer(office.Attr(se, "id")), office.Raw)
	case "ruby": // the reading comes first in the file, and after its word in a line
		var reading []office.Span
		err := x.Each(func(se xml.StartElement) error {
			from := len(p.spans)
			switch se.Name.Local {
			case "rt":
				err := d.inlineElement(x, se, p, href)
				reading = append(reading, p.spans[from:]...)
				p.spans = p.spans[:from]
				return err
			case "rubyBase":
				return d.inlineElement(x, se, p, href)
			}
			return nil
		})
		if s := strings.TrimSpace(office.ListingText(reading)); s != "" {
			p.spans = append(p.spans, office.Span{Text: "(" + s + ")", Style: l.On})
		}
		return err
	case "drawing", "pict", "object":
		if l.Hidden > 0 {
			return nil
		}
		g := &graphic{put: func(s string) error { return put(s, office.Raw) }}
		if err := d.graphic(x, se, p, g); err != nil {
			return err
		}
		if !g.shown && g.alt != "" {
			return put(md.Image(g.alt, ""), office.Raw)
		}
	case "AlternateContent":
		return x.Alternate(func(se xml.StartElement) error { return d.runElement(x, se, p, href, props, l) })
	}
	return nil
}

func (d *docx) fieldChar(x *office.XML, what string, put func(string, office.Style) error) error {
	const deepest = 64
	n := len(d.fields)
	switch what {
	case "begin":
		if n >= deepest {
			return x.Damage(fmt.Errorf("fields nested deeper than %d", deepest))
		}
		f := &field{}
		d.fields = append(d.fields, f)
		checked, box := false, false
		var choices []string
		choice := -1
		err := x.Deep(func(se xml.StartElement) error {
			switch se.Name.Local {
			case "checkBox":
				box = true
			case "checked":
				checked = office.OnOff(se)
			case "default": // of a box, or of a list; what was chosen comes first
				checked = checked || (box && office.OnOff(se))
				if choice < 0 {
					choice = office.Number(office.Attr(se, "val"), -1)
				}
			case "result":
				choice = office.Number(office.Attr(se, "val"), -1)
			case "listEntry":
				choices = append(choices, office.Attr(se, "val"))
			}
			return nil
		})
		if len(choices) > 0 {
			if choice < 0 || choice >= len(choices) {
				choice = 0
			}
			f.chosen = choices[choice]
		}
		if err != nil || !box {
			return err
		}
		f.result = true // a check box has no text of its own
		defer func() { f.result = false }()
		if checked {
			return put("☒", 0)
		}
		return put("☐", 0)
	case "separate":
		if n > 0 {
			f := d.fields[n-1]
			f.result, f.href = true, office.HyperlinkTarget(f.code.String())
			f.mute = d.frame && office.CountsPages(f.code.String())
		}
	case "end":
		if n == 0 {
			return nil
		}
		f := d.fields[n-1]
		d.fields = d.fields[:n-1]
		if f.chosen != "" && !f.spoke {
			return put(f.chosen, 0)
		}
		if text := office.EquationField(f.code.String()); text != "" && !f.spoke {
			return put(text, 0)
		}
		if args := office.FieldArgs(f.code.String()); !f.result && len(args) > 1 && strings.EqualFold(args[0], "SYMBOL") {
			font := ""
			for i, a := range args[:len(args)-1] {
				if a == `\f` {
					font = args[i+1]
				}
			}
			return put(office.Symbol(font, fmt.Sprintf("%X", office.Number(args[1], 0))), 0)
		}
	}
	return nil
}

func (k *noteKind) refer(id string) string {
	if k.numbers == nil {
		k.numbers = map[string]int{}
	}
	n, ok := k.numbers[id]
	if !ok {
		k.ids = append(k.ids, id)
		n = len(k.ids)
		k.numbers[id] = n
	}
	return fmt.Sprintf("[^%s%d]", k.label, n)
}

// defineNotes writes the notes that the text refers to.
func (d *docx) defineNotes(kind *noteKind, emit func(office.Block)) error {
	if len(kind.ids) == 0 {
		return nil
	}
	texts := map[string]string{}
	read := func() error {
		var err error
		if d.rels, err = d.Relations(kind.part); err != nil {
			return err
		}
		return d.Parse(kind.part, func(x *office.XML, _ xml.StartElement) error {
			return x.Each(func(se xml.StartElement) error {
				id := office.Attr(se, "id")
				if _, wanted := kind.numbers[id]; se.Name.Local != kind.element || !wanted {
					return nil
				}
				var blocks []office.Block
				if err := d.blocks(x, func(b office.Block) { blocks = append(blocks, b) }); err != nil {
					return err
				}
				text := office.Flat(blocks)
				if who := office.Attr(se, "author"); who != "" && text != "" {
					text = md.EscapeInline(who) + ": " + text
				}
				texts[id] = text
				return nil
			})
		})
	}
	if err := d.Optional(read(), "the "+kind.element+"s"); err != nil {
		return err
	}
	for i, id := range kind.ids {
		text := texts[id]
		if text == "" {
			d.Warn("%s %d is empty or missing", kind.element, i+1)
			continue
		}
		emit(office.Note(kind.refer(id), text))
	}
	return nil
}

// table reads a w:tbl. A table of one cell is a frame around its content.
func (d *docx) table(x *office.XML) ([]office.Block, error) {
	var table office.Cells
	var only []office.Block
	cells := 0
	var rowElement func(se xml.StartElement) error
	gone := false
	rowElement = func(se xml.StartElement) error {
		switch se.Name.Local {
		case "trPr":
			return x.Each(func(se xml.StartElement) error {
				switch se.Name.Local {
				case "gridBefore":
					if n := office.Number(office.Attr(se, "val"), 0); n > 0 {
						table.Add("", clampSpan(office.Attr(se, "val")), office.Gap)
					}
				case "del":
					gone = true
				}
				return nil
			})
		case "tc":
			width, cover, content, err := d.cell(x)
			if err != nil {
				return err
			}
			cells++
			only = content
			table.Add(office.Flat(content), width, cover)
			return d.Spend(3 * width)
		}
		return wrapped(x, se, rowElement)
	}
	var tableElement func(se xml.StartElement) error
	tableElement = func(se xml.StartElement) error {
		if se.Name.Local != "tr" {
			return wrapped(x, se, tableElement)
		}
		gone = false
		table.NextRow()
		if err := x.Each(rowElement); err != nil {
			return err
		}
		if gone {
			table.DropRow()
		}
		return nil
	}
	if err := x.Each(tableElement); err != nil {
		return nil, err
	}
	if cells == 1 && table.Len() == 1 {
		return only, nil
	}
	rows, err := table.Rows(d.Job)
	return []office.Block{{Kind: office.Table, Rows: rows}}, err
}

// cell reads a w:tc and returns how many columns it covers, and whether it
// continues a cell: what stands in one that does is not shown.
func (d *docx) cell(x *office.XML) (width int, cover office.Cover, content []office.Block, err error) {
	width = 1
	outer := d.fields
	d.fields = nil
	defer func() { d.fields = outer }()
	var carry []office.Span
	err = x.Each(func(se xml.StartElement) error {
		if se.Name.Local != "tcPr" {
			return d.blockElement(x, se, &carry, func(b office.Block) { content = append(content, b) })
		}
		return x.Each(func(se xml.StartElement) error {
			switch se.Name.Local {
			case "gridSpan":
				width = clampSpan(office.Attr(se, "val"))
			case "vMerge":
				if office.Attr(se, "val") != "restart" {
					cover = office.FromAbove
				}
			case "hMerge":
				if office.Attr(se, "val") != "restart" {
					cover = office.FromLeft
				}
			}
			return nil
		})
	})
	if len(carry) > 0 { // the last paragraph goes on, to nowhere
		content = append(content, office.Block{Text: office.Inline(carry, false)})
	}
	if cover != office.Own {
		content = nil
	}
	return width, cover, content, err
}

// clampSpan reads how many columns a cell spans. Word's own limit is 63 columns.
func clampSpan(s string) int { return min(max(office.Number(s, 1), 1), 256) }
