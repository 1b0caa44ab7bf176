package data

import (
	"encoding/xml"
	"errors"
	"io"
	"strconv"
	"strings"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
)

// proseWriter writes the text of a document in the order it stands, with the
// structure that the common element names tell: DocBook, JATS, TEI, DITA,
// FictionBook and what resembles them.
type proseWriter struct {
	*xmlWriter
	text  []byte // of the block being read
	open  []proseElement
	level int // of sections around
	lists []proseList
	item  string // the list marker owed
	label string // the number of the heading to come

	titles    int // open elements whose text is a heading
	citations int // open elements that are a reference, or a note within text: all of it is of the line
	cells     *xmlTable
	outer     []*xmlTable // tables around this one
}

type proseList struct {
	ordered bool
	items   int
}

type proseElement struct {
	name   string
	number int
	inline bool // its text belongs to the block it stands in
	from   int  // where its text begins in the block
	raised int
	aside  bool // a note within running text, which is put into brackets
}

func (w *xmlWriter) prose(src string) error {
	p := &proseWriter{xmlWriter: w}
	d := newXMLDecoder(src)
	for number := -1; ; {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			p.block("")
			return nil
		}
		if err != nil {
			return err
		}
		if err := w.step(w.out.Len() + len(p.text)); err != nil {
			return err
		}
		switch t := tok.(type) {
		case xml.StartElement:
			number++
			p.start(t, number)
		case xml.CharData:
			p.text = append(p.text, t...)
		case xml.EndElement:
			p.end()
		}
	}
}

// isInline tells whether an element stands within a line: by its name, or
// because there is text beside it.
func (p *proseWriter) isInline(name string) bool {
	if p.citations > 0 || p.titles > 0 && name != "table" {
		return true
	}
	if proseInline[name] {
		return true
	}
	if n := len(p.open); n > 0 && p.open[n-1].inline && !p.open[n-1].aside && !proseBlock[name] {
		return true // a part of what stands within a line: the keys of a shortcut
	}
	return !proseBlock[name] && len(p.open) > 0 && p.inMixed()
}

// inMixed tells whether the innermost open element has text of its own. Elements
// in one that has none are values side by side, and are kept apart.
func (p *proseWriter) inMixed() bool {
	n := p.open[len(p.open)-1].number
	return n < len(p.mixed) && p.mixed[n]
}

func (p *proseWriter) start(t xml.StartElement, number int) {
	name := strings.ToLower(t.Name.Local)
	e := proseElement{name: name, number: number, inline: p.isInline(name)}
	if proseNote[name] && p.cells == nil && len(p.open) > 0 && p.inMixed() {
		// A note in the middle of a sentence does not end it.
		e.inline, e.aside = true, true
		p.citations++
		p.text = append(p.text, " ("...)
	}
	switch {
	case e.aside:
	case proseBreak[name]:
		p.text = append(p.text, ' ')
	case !e.inline:
		p.block("")
	case len(p.open) > 0 && !p.inMixed():
		p.text = append(p.text, ' ')
	}
	switch {
	case e.inline && p.citations > 0 && !proseCitation[name]:
	case proseTitle[name] && p.citations == 0:
		p.titles++
	case proseCitation[name]:
		p.citations++
	case proseSection[name]:
		p.level++
	case name == "table" || name == "informaltable" || name == "tgroup" && p.cells == nil:
		if p.cells != nil {
			p.outer = append(p.outer, p.cells)
		}
		p.cells = &xmlTable{}
	case name == "tr" || name == "row" || name == "strow" || name == "sthead":
		if p.cells != nil {
			p.cells.row()
		}
	case name == "td" || name == "th" || name == "entry" || name == "cell" || name == "stentry":
		if p.cells != nil {
			p.cells.cell(t.Attr)
		}
	case name == "colspec" && p.cells != nil:
		p.cells.column(t.Attr)
	case proseLists[name]:
		p.lists = append(p.lists, proseList{ordered: isOrdered(name, t.Attr)})
	case name == "li" || name == "listitem" || name == "list-item" || name == "item":
		p.item = "* "
		if n := len(p.lists); n > 0 {
			l := &p.lists[n-1]
			if l.items++; l.ordered {
				p.item = strconv.Itoa(l.items) + ". "
			}
			p.item = strings.Repeat("   ", min(n-1, 6)) + p.item
		}
	}
	// In a vocabulary that is known, attributes of known elements are markup.
	if !proseRoots[p.root] && !proseCells[name] || !isProseName(name) {
		if attrs := xmlAttrs(contentOf(t.Attr)); attrs != "" {
			p.text = append(p.text, "("+attrs+") "...)
		}
	}
	e.from, e.raised = len(p.text), raisedFrom(name, len(p.text))
	p.open = append(p.open, e)
}

// contentOf returns the attributes that are no matter of markup.
func contentOf(attrs []xml.Attr) []xml.Attr {
	var kept []xml.Attr
	for _, a := range attrs {
		switch name := strings.ToLower(a.Name.Local); {
		case name == "id" || name == "lang" || name == "class" || name == "style" || name == "role" || name == "rend" || name == "space" || name == "base",
			name == "rid" || name == "linkend" || name == "href" || name == "type" || name == "xmlns" || name == "version" || name == "status",
			strings.HasSuffix(name, "-type"), strings.HasSuffix(name, "-id"):
		default:
			kept = append(kept, a)
		}
	}
	return kept
}

func (p *proseWriter) end() {
	if len(p.open) == 0 {
		return
	}
	e := p.open[len(p.open)-1]
	p.open = p.open[:len(p.open)-1]
	if e.from <= len(p.text) && (isFile(p.text[e.from:]) || e.name == "binary" && p.root == "fictionbook") {
		p.text = p.text[:e.from]
		p.files++
	}
	name := e.name
	switch {
	case e.aside:
		p.citations--
		note := strings.TrimSpace(string(p.text[min(e.from, len(p.text)):]))
		p.text = append(append(p.text[:min(e.from, len(p.text))], note...), ')')
		return
	case proseTitle[name] && p.titles > 0 && !(e.inline && p.citations > 0):
		if p.titles--; p.titles > 0 {
			p.text = append(p.text, ' ')
			return
		}
		p.heading(name)
	case name == "label" && !e.inline && p.cells == nil:
		p.label = md.Line(string(p.text))
		p.text = p.text[:0]
	case e.inline:
		p.text = asPower(p.text, e.raised)
		if len(p.open) > 0 && !p.inMixed() {
			p.text = append(p.text, ' ')
		}
	case proseCode[name] && p.cells == nil:
		p.owed()
		if s := strings.Trim(string(p.text), "\r\n"); strings.TrimSpace(s) != "" {
			p.out.WriteString(md.Fence("", s) + "\n\n")
		}
		p.text = p.text[:0]
	default:
		p.block("")
	}
	switch {
	case proseCitation[name] && p.citations > 0:
		if p.citations--; p.citations == 0 {
			p.block("")
		}
	case proseSection[name]:
		p.level = max(p.level-1, 0)
	case proseLists[name] && len(p.lists) > 0 && !e.inline:
		p.lists = p.lists[:len(p.lists)-1]
	case (name == "table" || name == "informaltable" || name == "tgroup" && !p.within("table") && !p.within("informaltable")) && p.cells != nil:
		p.table()
	}
}

// isOrdered tells whether the items of a list are numbered.
func isOrdered(name string, attrs []xml.Attr) bool {
	if name == "ol" || name == "orderedlist" {
		return true
	}
	for _, a := range attrs {
		if n := strings.ToLower(a.Name.Local); n == "list-type" || n == "type" || n == "rend" {
			switch strings.ToLower(a.Value) {
			case "order", "ordered", "numbered", "arabic":
				return true
			}
		}
	}
	return false
}

func (p *proseWriter) within(name string) bool {
	for _, e := range p.open {
		if e.name == name {
			return true
		}
	}
	return false
}

func (p *proseWriter) heading(name string) {
	s := md.Line(string(p.text))
	if p.label != "" && s != "" {
		s = strings.TrimSpace(p.label + " " + s)
		p.label = ""
	}
	p.text = append(p.text[:0], s...)
	if p.facts.Title == "" && s != "" && (name == "article-title" || name == "book-title" || p.level == 0) {
		p.facts.Title = s
	}
	p.block(strings.Repeat("#", min(p.level+1, 6)) + " ")
}

// owed writes the number that no heading followed.
func (p *proseWriter) owed() {
	if p.label != "" {
		label := p.label
		p.label = ""
		p.out.WriteString(md.Escape(label) + "\n\n")
	}
}

// block ends the block being read.
func (p *proseWriter) block(prefix string) {
	s := md.Line(string(p.text))
	p.text = p.text[:0]
	if s == "" {
		return
	}
	if p.cells != nil {
		p.cells.add(md.EscapeInline(s))
		return
	}
	p.owed()
	if prefix == "" {
		prefix, p.item = p.item, ""
	}
	p.out.WriteString(prefix + md.Escape(s) + "\n\n")
}

// table writes the table that has ended; one within a cell becomes text of it.
func (p *proseWriter) table() {
	rows := p.cells.rows(p.limit)
	p.cells = nil
	if n := len(p.outer); n > 0 {
		p.cells, p.outer = p.outer[n-1], p.outer[:n-1]
		for _, row := range rows {
			p.cells.add(strings.TrimSpace(strings.Join(row, " ")))
		}
		return
	}
	p.owed()
	if s := md.Table(rows); s != "" {
		p.out.WriteString(s + "\n\n")
	}
}

// isProseName tells whether documents have elements of that name.
func isProseName(name string) bool {
	return proseBlock[name] || proseInline[name] || proseSection[name] || proseTitle[name] || proseRoots[name] ||
		proseText[name] || proseLists[name] || proseNote[name] || proseCode[name] || proseCitation[name] || proseBreak[name]
}

func set(names string) map[string]bool {
	m := map[string]bool{}
	for _, n := range strings.Fields(names) {
		m[n] = true
	}
	return m
}

var (
	proseRoots = set("article book chapter tei teicorpus topic concept task reference dita fictionbook sect1 refentry preface appendix nitf newsitem")
	// proseText are the elements whose text runs.
	proseText    = set("p para simpara title head v td th li entry subtitle caption abstract quote blockquote epigraph note")
	proseTitle   = set("title head article-title heading book-title")
	proseSection = set("sec section sect1 sect2 sect3 sect4 sect5 chapter part appendix div div1 div2 div3 div4 div5 abstract topic preface concept task reference")
	proseCode    = set("programlisting screen literallayout preformat codeblock verbatim eg pre msgblock")
	// proseCitation are references: titles in them are no headings.
	proseCitation = set("mixed-citation element-citation citation nlm-citation biblioentry bibliomixed bibl biblstruct product related-article")
	proseLists    = set("ul ol list itemizedlist orderedlist")
	proseNote     = set("fn footnote note endnote")
	// proseBreak are the elements that end a line within a text.
	proseBreak = set("lb br hr break pb cb tab newline line-break linebreak hardbreak softbreak")
	// proseCells are the elements whose attributes say how a table is set.
	proseCells = set("table informaltable tgroup colspec col colgroup thead tbody tfoot tr row td th entry cell")
	// proseBlock are the elements that begin a line of their own in any text.
	proseBlock = set(`p para simpara formalpara sec section table tbody thead tfoot tr row td th entry cell list itemizedlist orderedlist variablelist
		varlistentry listitem list-item item li ul ol dl dt dd def-list def-item fig figure caption graphic label body front back floats-group fn footnote
		note quote blockquote disp-quote epigraph poem stanza v cite annotation text-author subtitle binary body bibliography ref-list ref app ack lg l sp
		speaker stage disp-formula boxed-text table-wrap colspec tgroup informaltable mediaobject programlisting screen literallayout pre codeblock`)
	proseInline = set(`a abbrev acronym application b bold citetitle code command email emph emphasis ext-link filename foreignphrase function guilabel hi i
		inline-formula inline-graphic italic link literal lb br break pb cb tab newline monospace name num option orgname parameter persname personname phrase placename quote ref rs sc
		span strong sub subscript sup superscript term u ulink underline varname xref em styled-content named-content uri surname given-names firstname
		first-name last-name middle-name nickname othername lineage honorific prefix suffix year month day season volume issue fpage lpage source
		person-group strikethrough style roman tt small big keyword ph`)
)

// xmlTable is a table that is being read, with cells that span rows and columns
// in the words of HTML (colspan, rowspan) and of CALS (namest, nameend, morerows).
type xmlTable struct {
	all     [][]xmlCell
	columns map[string]int // CALS: names of columns
}

type xmlCell struct {
	text         string
	across, down int
	column       int // CALS: where it says that it begins, from 1; 0 if nowhere
}

func (t *xmlTable) row() { t.all = append(t.all, nil) }

func (t *xmlTable) column(attrs []xml.Attr) {
	if t.columns == nil {
		t.columns = map[string]int{}
	}
	for _, a := range attrs {
		if strings.EqualFold(a.Name.Local, "colname") {
			t.columns[a.Value] = len(t.columns) + 1
		}
	}
}

func (t *xmlTable) cell(attrs []xml.Attr) {
	if len(t.all) == 0 {
		t.row()
	}
	c := xmlCell{across: 1, down: 1}
	first, last := 0, 0
	for _, a := range attrs {
		switch strings.ToLower(a.Name.Local) {
		case "colspan", "cols":
			c.across = format.Span(a.Value)
		case "rowspan", "rows":
			c.down = format.Span(a.Value)
		case "morerows":
			c.down = format.Span(a.Value) + 1
			if strings.TrimSpace(a.Value) == "0" {
				c.down = 1
			}
		case "namest":
			first = t.columns[a.Value]
		case "nameend":
			last = t.columns[a.Value]
		case "colname":
			c.column = t.columns[a.Value]
		}
	}
	if first > 0 && last >= first {
		c.across, c.column = last-first+1, first
	}
	row := &t.all[len(t.all)-1]
	*row = append(*row, c)
}

// add adds text to the last cell.
func (t *xmlTable) add(s string) {
	if len(t.all) == 0 {
		t.row()
	}
	row := &t.all[len(t.all)-1]
	if len(*row) == 0 {
		*row = append(*row, xmlCell{across: 1, down: 1})
	}
	c := &(*row)[len(*row)-1]
	c.text = strings.TrimSpace(c.text + " " + s)
}

// rows returns the rows with the text of each cell in every row and column that
// it covers, while that is less than limit in bytes.
func (t *xmlTable) rows(limit int64) [][]string {
	var b md.Spans
	b.Limit = limit
	for _, row := range t.all {
		b.Row()
		for _, c := range row {
			if c.column > 0 {
				b.Skip(c.column - 1)
			}
			b.Cell(c.text, c.across, c.down)
		}
	}
	return b.Rows()
}
