package office

import (
	"context"
	"encoding/xml"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
)

// docx reads the WordprocessingML parts of one document (ECMA-376, part 1).
type docx struct {
	*archive
	styles wordStyles
	normal string // the default paragraph style
	lists  wordLists
	rels   map[string]relation // of the part being read
	fields []*field            // open around the text being read
	notes  []*noteKind
}

// field is a complex field: an instruction, then what it shows.
type field struct {
	code   strings.Builder
	result bool // past the instruction
	href   string
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
	j := newJob(ctx, in)
	a, err := openArchive(j)
	if err != nil {
		return nil, err
	}
	d := &docx{archive: a}
	part, err := a.main("word/document.xml")
	if err != nil {
		return nil, err
	}
	if d.rels, err = a.relations(part); err != nil {
		return nil, err
	}
	if err := d.readStyles(related(d.rels, "styles")); err != nil {
		return nil, err
	}
	if err := d.readLists(related(d.rels, "numbering")); err != nil {
		return nil, err
	}
	d.notes = []*noteKind{
		{part: related(d.rels, "footnotes"), element: "footnote"},
		{part: related(d.rels, "endnotes"), element: "endnote", label: "end-"},
		{part: related(d.rels, "comments"), element: "comment", label: "comment-"},
	}
	out := &document{}
	emit := func(b block) error {
		if b.kind == heading && d.facts.Title == "" {
			d.facts.Title = md.Line(b.text)
		}
		out.add(b)
		return nil
	}
	err = a.parse(part, func(x *xmlReader, _ xml.StartElement) error {
		return x.each(func(se xml.StartElement) error {
			if se.Name.Local != "body" {
				return nil
			}
			return d.blocks(x, emit)
		})
	})
	if err != nil {
		return nil, err
	}
	for _, kind := range d.notes { // comments last: notes may have comments
		if err := d.defineNotes(kind, emit); err != nil {
			return nil, err
		}
	}
	return j.finish(out)
}

// blocks reads the paragraphs and tables in the element whose start was read last.
func (d *docx) blocks(x *xmlReader, emit func(block) error) error {
	outer := d.fields // a text box in the middle of a field is not part of it
	d.fields = nil
	defer func() { d.fields = outer }()

	var carry []span
	if err := x.each(func(se xml.StartElement) error { return d.blockElement(x, se, &carry, emit) }); err != nil {
		return err
	}
	if len(carry) > 0 {
		return emit(block{text: inline(carry, false)})
	}
	return nil
}

func (d *docx) blockElement(x *xmlReader, se xml.StartElement, carry *[]span, emit func(block) error) error {
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
			if err := emit(b); err != nil {
				return err
			}
		}
	case "sdt", "sdtContent", "ins", "moveTo", "customXml", "smartTag":
		return x.each(children)
	case "AlternateContent":
		return x.alternate(children)
	case "oMath", "oMathPara":
		s, err := d.equation(x, se)
		if err != nil {
			return err
		}
		return emit(block{text: s})
	case "altChunk":
		return d.chunk(relID(se, "id"), emit)
	}
	return nil
}

// alternate calls f for the children of the alternative that we understand.
func (x *xmlReader) alternate(f func(xml.StartElement) error) error {
	taken := false
	return x.each(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "Choice":
			for _, need := range strings.Fields(attr(se, "Requires")) {
				if strings.HasPrefix(need, "cx") || need == "am3d" || need == "aink" || need == "wpi" {
					return nil // newer charts, 3D models and ink: their picture is the fallback
				}
			}
		case "Fallback":
		default:
			return nil
		}
		if taken {
			return nil
		}
		taken = true
		return x.each(f)
	})
}

// chunk reads a document of another format that is a part of this one.
func (d *docx) chunk(id string, emit func(block) error) error {
	part := d.rels[id].target
	if part == "" || d.in.Convert == nil {
		d.warn("the embedded document %s could not be read", base(part))
		return nil
	}
	data, err := d.read(part)
	if err != nil {
		return d.optional(err, "the embedded document "+base(part))
	}
	out, err := d.in.Convert(d.ctx, format.Input{Name: base(part), Data: data, Limits: d.in.Limits})
	if err != nil {
		return d.optional(err, "the embedded document "+base(part))
	}
	d.warnings = append(d.warnings, out.Warnings...)
	if err := d.spend(len(out.Markdown)); err != nil {
		return err
	}
	return emit(block{kind: verbatim, text: strings.TrimSpace(out.Markdown)})
}

// wordPara is a paragraph while it is read.
type wordPara struct {
	spans   []span
	after   []block // text boxes, charts and diagrams anchored in it
	style   string
	list    listRef
	outline int  // -1 unsaid
	joined  bool // the next paragraph continues this one
	hidden  bool
}

func (d *docx) paragraph(x *xmlReader, carry *[]span, emit func(block) error) error {
	p := &wordPara{style: d.normal, outline: -1, spans: *carry}
	*carry = nil
	if err := x.each(func(se xml.StartElement) error { return d.inlineElement(x, se, p, "") }); err != nil {
		return err
	}
	// An instruction that has not ended here is damage: it must not hide the rest.
	for len(d.fields) > 0 && !d.fields[len(d.fields)-1].result {
		d.fields = d.fields[:len(d.fields)-1]
	}
	if p.joined {
		*carry = p.spans
	} else if b := d.finishParagraph(p); b.text != "" || b.kind == code {
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

// finishParagraph decides what a paragraph is.
func (d *docx) finishParagraph(p *wordPara) block {
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
		text := inline(p.spans, true)
		if text == "" {
			return block{}
		}
		if label != "" {
			text = label + " " + text
		}
		return block{kind: heading, level: level, text: text}
	}
	if d.styles.named(p.style, isCodeName) {
		return block{kind: code, text: listingText(p.spans)}
	}
	text := inline(p.spans, false)
	switch {
	case text == "":
		return block{}
	case label != "" || bullet:
		marker, prefix := itemMarker(label, bullet)
		return block{kind: item, level: at, marker: marker, text: prefix + text}
	case d.styles.named(p.style, isQuoteName):
		return block{kind: quote, text: text}
	}
	return block{text: text}
}

func (d *docx) readParagraphProps(x *xmlReader, p *wordPara) error {
	return x.each(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "pStyle":
			p.style = attr(se, "val")
			d.styles.chain(p.style, func(_ string, st *wordStyle) bool {
				p.hidden = st.look.hidden > 0
				return st.look.hidden == 0
			})
		case "numPr":
			var err error
			p.list, err = readListRef(x)
			return err
		case "outlineLvl":
			p.outline = number(attr(se, "val"), -1)
		case "framePr": // a drop cap is the first letter of the next paragraph
			if v := attr(se, "dropCap"); v == "drop" || v == "margin" {
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
func (d *docx) inlineElement(x *xmlReader, se xml.StartElement, p *wordPara, href string) error {
	children := func(se xml.StartElement) error { return d.inlineElement(x, se, p, href) }
	switch se.Name.Local {
	case "pPr":
		return d.readParagraphProps(x, p)
	case "r":
		return d.run(x, p, href)
	case "hyperlink":
		if r := d.rels[relID(se, "id")]; r.target != "" {
			href = r.target
			if anchor := attr(se, "anchor"); anchor != "" && r.external {
				href += "#" + anchor
			}
		}
		return x.each(children)
	case "fldSimple":
		if url := hyperlinkTarget(attr(se, "instr")); url != "" {
			href = url
		}
		return x.each(children)
	case "ins", "moveTo", "smartTag", "customXml", "sdt", "sdtContent", "dir", "bdo", "rt", "rubyBase":
		return x.each(children)
	case "AlternateContent":
		return x.alternate(children)
	case "oMath", "oMathPara":
		s, err := d.equation(x, se)
		if err != nil {
			return err
		}
		p.spans = append(p.spans, span{text: s, style: raw})
	}
	return nil
}

// shown reports whether text stands in what fields show, and the link they make.
func (d *docx) shown() (ok bool, href string) {
	for _, f := range d.fields {
		if !f.result {
			return false, ""
		}
		if f.href != "" {
			href = f.href
		}
	}
	return true, href
}

func (d *docx) run(x *xmlReader, p *wordPara, href string) error {
	var props runProps
	var look look
	return x.each(func(se xml.StartElement) error {
		if se.Name.Local == "rPr" {
			var err error
			props, err = readRunProps(x)
			look = props.look.over(d.styles.look(props.style))
			return err
		}
		return d.runElement(x, se, p, href, props, look)
	})
}

func (d *docx) runElement(x *xmlReader, se xml.StartElement, p *wordPara, href string, props runProps, l look) error {
	put := func(text string, extra style) error {
		ok, link := d.shown()
		if !ok || text == "" || l.hidden > 0 || (l.hidden == 0 && p.hidden) {
			return nil
		}
		if link == "" {
			link = href
		}
		p.spans = append(p.spans, span{text: text, style: l.on | extra, href: link})
		return d.spend(len(text))
	}
	switch se.Name.Local {
	case "t":
		s, err := x.text()
		if err != nil {
			return err
		}
		s = fromSymbolFont(s, props.font)
		if props.super && isExponent(s) && takesExponent(p.spans) {
			s = "^" + s // 10^6 must not read as 106
		}
		return put(s, 0)
	case "tab", "ptab":
		return put("\t", 0)
	case "br", "cr":
		return put("\n", 0)
	case "noBreakHyphen":
		return put("-", 0)
	case "sym":
		return put(symbol(attr(se, "font"), attr(se, "char")), 0)
	case "fldChar":
		return d.fieldChar(x, attr(se, "fldCharType"), put)
	case "instrText":
		s, err := x.text()
		if n := len(d.fields); err == nil && n > 0 && !d.fields[n-1].result {
			d.fields[n-1].code.WriteString(s)
		}
		return err
	case "footnoteReference":
		return put(d.notes[0].refer(attr(se, "id")), raw)
	case "endnoteReference":
		return put(d.notes[1].refer(attr(se, "id")), raw)
	case "commentReference":
		return put(d.notes[2].refer(attr(se, "id")), raw)
	case "ruby":
		return x.each(func(se xml.StartElement) error {
			if se.Name.Local != "rubyBase" && se.Name.Local != "rt" {
				return nil
			}
			from := len(p.spans)
			err := d.inlineElement(x, se, p, href)
			if err == nil && se.Name.Local == "rt" && len(p.spans) > from {
				reading := listingText(p.spans[from:])
				p.spans = append(p.spans[:from], span{text: "(" + reading + ")", style: l.on})
			}
			return err
		})
	case "drawing", "pict", "object":
		if l.hidden > 0 {
			return nil
		}
		g := &graphic{put: func(s string) error { return put(s, raw) }}
		if err := d.graphic(x, se, p, g); err != nil {
			return err
		}
		if !g.shown && g.alt != "" {
			return put(md.Image(g.alt, ""), raw)
		}
	case "AlternateContent":
		return x.alternate(func(se xml.StartElement) error { return d.runElement(x, se, p, href, props, l) })
	}
	return nil
}

func (d *docx) fieldChar(x *xmlReader, what string, put func(string, style) error) error {
	const deepest = 64
	n := len(d.fields)
	switch what {
	case "begin":
		if n >= deepest {
			return x.damage(fmt.Errorf("fields nested deeper than %d", deepest))
		}
		f := &field{}
		d.fields = append(d.fields, f)
		checked, box := false, false
		err := x.deep(func(se xml.StartElement) error {
			switch se.Name.Local {
			case "checkBox":
				box = true
			case "checked", "default":
				checked = onOff(se)
			}
			return nil
		})
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
			f.result, f.href = true, hyperlinkTarget(f.code.String())
		}
	case "end":
		if n == 0 {
			return nil
		}
		f := d.fields[n-1]
		d.fields = d.fields[:n-1]
		if args := fieldArgs(f.code.String()); !f.result && len(args) > 1 && strings.EqualFold(args[0], "SYMBOL") {
			font := ""
			for i, a := range args[:len(args)-1] {
				if a == `\f` {
					font = args[i+1]
				}
			}
			return put(symbol(font, fmt.Sprintf("%X", number(args[1], 0))), 0)
		}
	}
	return nil
}

// fieldArgs splits a field's instruction into words and quoted arguments.
func fieldArgs(code string) []string {
	var args []string
	for code = strings.TrimSpace(code); code != ""; code = strings.TrimSpace(code) {
		var arg string
		if code[0] == '"' {
			arg, code, _ = strings.Cut(code[1:], `"`)
		} else if i := strings.IndexFunc(code, unicode.IsSpace); i >= 0 {
			arg, code = code[:i], code[i:]
		} else {
			arg, code = code, ""
		}
		args = append(args, arg)
	}
	return args
}

// hyperlinkTarget returns the URL of a HYPERLINK instruction. Links within the
// document have none: their anchors do not survive.
func hyperlinkTarget(code string) string {
	args := fieldArgs(code)
	if len(args) < 2 || !strings.EqualFold(args[0], "HYPERLINK") {
		return ""
	}
	url, anchor := "", ""
	for i := 1; i < len(args); i++ {
		switch {
		case args[i] == `\l`:
			if i++; i < len(args) {
				anchor = args[i]
			}
		case args[i] == `\o` || args[i] == `\t`:
			i++
		case strings.HasPrefix(args[i], `\`):
		case url == "":
			url = strings.ReplaceAll(args[i], `\\`, `\`)
		}
	}
	if url != "" && anchor != "" {
		url += "#" + anchor
	}
	return url
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
func (d *docx) defineNotes(kind *noteKind, emit func(block) error) error {
	if len(kind.ids) == 0 {
		return nil
	}
	texts := map[string]string{}
	read := func() error {
		var err error
		if d.rels, err = d.relations(kind.part); err != nil {
			return err
		}
		return d.parse(kind.part, func(x *xmlReader, _ xml.StartElement) error {
			return x.each(func(se xml.StartElement) error {
				id := attr(se, "id")
				if _, wanted := kind.numbers[id]; se.Name.Local != kind.element || !wanted {
					return nil
				}
				var blocks []block
				if err := d.blocks(x, func(b block) error { blocks = append(blocks, b); return nil }); err != nil {
					return err
				}
				text := flat(blocks)
				if who := attr(se, "author"); who != "" && text != "" {
					text = md.EscapeInline(who) + ": " + text
				}
				texts[id] = text
				return nil
			})
		})
	}
	if err := d.optional(read(), "the "+kind.element+"s"); err != nil {
		return err
	}
	for i, id := range kind.ids {
		text := texts[id]
		if text == "" {
			d.warn("%s %d is empty or missing", kind.element, i+1)
			continue
		}
		text = strings.ReplaceAll(text, "\n", "\n    ")
		if err := emit(block{kind: verbatim, text: fmt.Sprintf("[^%s%d]: %s", kind.label, i+1, text)}); err != nil {
			return err
		}
	}
	return nil
}

// table reads a w:tbl. A table of one cell is a frame around its content.
func (d *docx) table(x *xmlReader) ([]block, error) {
	var rows [][]string
	var only []block
	cells := 0
	var row []string
	var rowElement func(se xml.StartElement) error
	gone := false
	rowElement = func(se xml.StartElement) error {
		switch se.Name.Local {
		case "trPr":
			return x.each(func(se xml.StartElement) error {
				switch se.Name.Local {
				case "gridBefore":
					row = append(row, make([]string, clampSpan(attr(se, "val")))...)
				case "del":
					gone = true
				}
				return nil
			})
		case "tc":
			width, content, err := d.cell(x)
			if err != nil {
				return err
			}
			cells++
			only = content
			row = append(row, flat(content))
			row = append(row, make([]string, width-1)...)
			return d.spend(3 * width)
		case "sdt", "sdtContent", "customXml", "smartTag", "ins", "moveTo":
			return x.each(rowElement)
		case "AlternateContent":
			return x.alternate(rowElement)
		}
		return nil
	}
	var tableElement func(se xml.StartElement) error
	tableElement = func(se xml.StartElement) error {
		switch se.Name.Local {
		case "tr":
			row, gone = nil, false
			if err := x.each(rowElement); err != nil {
				return err
			}
			if !gone {
				rows = append(rows, row)
			}
		case "sdt", "sdtContent", "customXml", "smartTag", "ins", "moveTo":
			return x.each(tableElement)
		case "AlternateContent":
			return x.alternate(tableElement)
		}
		return nil
	}
	if err := x.each(tableElement); err != nil {
		return nil, err
	}
	if cells == 1 && len(rows) == 1 {
		return only, nil
	}
	return []block{{kind: table, rows: rows}}, nil
}

// cell reads a w:tc and returns how many columns it spans. What continues a
// cell above is empty: the value stands once.
func (d *docx) cell(x *xmlReader) (width int, content []block, err error) {
	width = 1
	continued := false
	outer := d.fields
	d.fields = nil
	defer func() { d.fields = outer }()
	var carry []span
	err = x.each(func(se xml.StartElement) error {
		if se.Name.Local != "tcPr" {
			return d.blockElement(x, se, &carry, func(b block) error {
				content = append(content, b)
				return nil
			})
		}
		return x.each(func(se xml.StartElement) error {
			switch se.Name.Local {
			case "gridSpan":
				width = clampSpan(attr(se, "val"))
			case "vMerge":
				continued = attr(se, "val") != "restart"
			}
			return nil
		})
	})
	if continued {
		content = nil
	}
	return width, content, err
}

// clampSpan reads how many columns a cell spans. Word's own limit is 63 columns.
func clampSpan(s string) int { return min(max(number(s, 1), 1), 256) }

func isExponent(s string) bool {
	s = strings.TrimLeft(s, "+-−")
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// takesExponent reports whether a raised number after spans is a power and not
// the number of a note: after digits, a bracket, or a word as short as a unit.
func takesExponent(spans []span) bool {
	const unit = 2 // letters
	if len(spans) == 0 {
		return false
	}
	text := spans[len(spans)-1].text
	r, _ := utf8.DecodeLastRuneInString(text)
	if unicode.IsDigit(r) || r == ')' {
		return true
	}
	letters := 0
	for text != "" && letters <= unit {
		r, size := utf8.DecodeLastRuneInString(text)
		if !unicode.IsLetter(r) {
			break
		}
		letters++
		text = text[:len(text)-size]
	}
	return letters > 0 && letters <= unit
}
