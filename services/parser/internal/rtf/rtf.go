// Package rtf reads Rich Text Format.
package rtf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
	"sluice/services/parser/internal/office"
)

// RTF reads a Rich Text Format document (version 1.9.1). One that ends too soon
// is read as far as it goes, with a warning.
func RTF(ctx context.Context, in format.Input) (*format.Output, error) {
	j := office.NewJob(ctx, in)
	out := &office.Document{}
	if err := Into(j, in.Data, out); err != nil {
		return nil, err
	}
	return j.Finish(out)
}

// Into reads a document into out; it is also the body of Outlook messages.
func Into(j *office.Job, data []byte, out *office.Document) error {
	data = bytes.TrimPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("\uFEFF"))
	if !bytes.HasPrefix(data, []byte(`{\rtf`)) {
		return j.Corrupt(errors.New(`it does not begin with {\rtf`), "its beginning")
	}
	r := &rtfReader{Job: j, data: data, page: 1252, fonts: map[int]rtfFont{}, styles: map[int]rtfStyle{}}
	r.now = rtfState{skipAfter: 1}
	r.flow = &rtfFlow{reader: r}
	if err := r.read(); err != nil {
		return err
	}
	r.flow.endTable()
	if r.err != nil {
		return r.err
	}
	for _, b := range r.flow.blocks {
		if b.Kind == office.Heading && j.Facts.Title == "" {
			j.Facts.Title = md.Line(b.Text)
		}
	}
	out.Add(r.flow.blocks...)
	out.AddFrames(r.heads, r.feet)
	out.Add(r.notes...)
	return nil
}

// rtfDest is where the text of a group goes.
type rtfDest uint8

const (
	destText rtfDest = iota
	destSkip
	destFonts
	destStyles
	destInfo // a text of \info, into a fact
	destInstruction
	destLabel // the text in front of a list item
	destAuthor
	destProperty // the name or value of a shape's property
)

type rtfFont struct {
	page int // 0: the document's
	name string
}

type rtfStyle struct {
	name    string
	outline int // 1 to 9, 0 none
}

// rtfState is what a group inherits and restores.
type rtfState struct {
	dest      rtfDest
	look      office.Style
	hidden    bool
	font      int
	skipAfter int // \uc: characters that stand in for a \u
	href      string
	field     *strings.Builder // the instruction of the field around
	end       func()           // when the group closes
	text      *strings.Builder // for destinations that collect
}

// rtfFlow is one stream of paragraphs: the document, a footnote, a text box.
type rtfFlow struct {
	blocks []office.Block
	spans  []office.Span
	label  string // of the list item being read
	listed bool
	level  int
	style  int
	head   int // \outlinelevel + 1
	inCell bool
	cell   []office.Block
	row    []string
	rows   []tableRow
	ends   []cellEnd // of the row, as \cellx says
	cover  office.Cover
	left   int
	reader *rtfReader
}

type rtfReader struct {
	*office.Job
	data  []byte
	pos   int
	page  int
	fonts map[int]rtfFont
	// newFont and newStyle are the entries of the tables that are being read.
	newFont, newStyle int
	outlineOf         int
	styles            map[int]rtfStyle
	now               rtfState
	stack             []rtfState
	flow              *rtfFlow
	bytes             []byte // of a code page, not yet decoded
	high              rune   // the first half of a surrogate pair
	skip              int    // characters left that stand in for a \u
	star              bool
	notes             []office.Block
	footnotes         int
	comments          int
	pictures          int
	author            string
	property          string
	date              [6]int
	heads, feet       []office.Block // of pages
	frame             bool           // one of them is being read
	titlePage         bool           // the first page has its own
	err               error          // a limit that a table met
}

func (r *rtfReader) read() error {
	for n := 0; r.pos < len(r.data); n++ {
		if n%4096 == 0 {
			if err := r.Alive(); err != nil {
				return err
			}
		}
		c := r.data[r.pos]
		r.pos++
		var err error
		switch c {
		case '{':
			r.flush()
			r.skip = 0
			if len(r.stack) >= office.MaxDepth {
				return r.Corrupt(fmt.Errorf("groups nested deeper than %d", office.MaxDepth), fmt.Sprintf("byte %d", r.pos))
			}
			r.stack = append(r.stack, r.now)
			r.now.end = nil
			r.star = false
		case '}':
			r.flush()
			r.skip = 0
			if r.now.end != nil {
				r.now.end()
			}
			if len(r.stack) == 0 {
				return nil // what follows the last group is not part of the document
			}
			r.now = r.stack[len(r.stack)-1]
			r.stack = r.stack[:len(r.stack)-1]
			if len(r.stack) == 0 {
				r.endParagraph()
				return nil
			}
		case '\\':
			err = r.control()
		case '\r', '\n', 0:
		default:
			err = r.putByte(c)
		}
		if err != nil {
			return err
		}
	}
	r.flush()
	for len(r.stack) > 0 {
		if r.now.end != nil {
			r.now.end()
		}
		r.now = r.stack[len(r.stack)-1]
		r.stack = r.stack[:len(r.stack)-1]
	}
	r.endParagraph()
	r.Warn("the document ends before its last group closes: it may have been cut off")
	return nil
}

// control reads what follows a backslash.
func (r *rtfReader) control() error {
	if r.pos >= len(r.data) {
		return nil
	}
	c := r.data[r.pos]
	if !office.IsASCIILetter(c) {
		r.pos++
		switch c {
		case '\'':
			if r.pos+2 <= len(r.data) {
				n, err := strconv.ParseUint(string(r.data[r.pos:r.pos+2]), 16, 8)
				r.pos += 2
				if err == nil {
					return r.putByte(byte(n))
				}
			}
		case '*':
			r.star = true
		case '~':
			return r.put("\u00a0")
		case '_':
			return r.put("-")
		case '\r', '\n':
			return r.word("par", 0, false)
		case '\\', '{', '}':
			return r.putByte(c)
		}
		return nil
	}
	from := r.pos
	for r.pos < len(r.data) && r.pos-from < 64 && office.IsASCIILetter(r.data[r.pos]) {
		r.pos++
	}
	word := string(r.data[from:r.pos])
	from = r.pos
	if r.pos < len(r.data) && r.data[r.pos] == '-' {
		r.pos++
	}
	for r.pos < len(r.data) && r.pos-from < 11 && r.data[r.pos] >= '0' && r.data[r.pos] <= '9' {
		r.pos++
	}
	n, err := strconv.Atoi(string(r.data[from:r.pos]))
	given := err == nil
	if !given {
		r.pos = from
	}
	if r.pos < len(r.data) && r.data[r.pos] == ' ' {
		r.pos++
	}
	if r.skip > 0 && word != "bin" && word != "u" {
		r.skip--
		return nil
	}
	if word == "u" {
		return r.putUnicode(n)
	}
	r.flush()
	return r.word(word, n, given)
}

// putByte takes a character of the current code page.
func (r *rtfReader) putByte(c byte) error {
	if r.skip > 0 {
		r.skip--
		return nil
	}
	r.star = false
	r.bytes = append(r.bytes, c)
	if len(r.bytes) >= 1<<16 {
		return r.flushErr()
	}
	return nil
}

func (r *rtfReader) putUnicode(n int) error {
	c := rune(uint16(n))
	r.skip = r.now.skipAfter
	switch {
	case utf16.IsSurrogate(c) && c < 0xDC00:
		r.high = c
		return r.flushErr()
	case utf16.IsSurrogate(c):
		c, r.high = utf16.DecodeRune(r.high, c), 0
	}
	if err := r.flushErr(); err != nil {
		return err
	}
	return r.put(string(c))
}

// flush decodes the bytes collected so far. A limit that they exceed is met
// again by whatever text comes next, and at the end.
func (r *rtfReader) flush() { _ = r.flushErr() }

func (r *rtfReader) flushErr() error {
	if len(r.bytes) == 0 {
		return nil
	}
	page := r.page
	if f := r.fonts[r.now.font]; f.page != 0 {
		page = f.page
	}
	s := ""
	if i := bytes.IndexFunc(r.bytes, func(c rune) bool { return c >= utf8.RuneSelf }); i < 0 {
		s = string(r.bytes)
	} else {
		s = office.Decode(office.CodePage(page), r.bytes)
	}
	r.bytes = r.bytes[:0]
	return r.put(s)
}

// put takes text to wherever the group sends it.
func (r *rtfReader) put(s string) error {
	if r.skip > 0 && s != "" && r.bytes == nil {
		return nil
	}
	switch r.now.dest {
	case destSkip:
		return nil
	case destText:
		if r.now.hidden {
			return nil
		}
		s = office.FromSymbolFont(s, r.fonts[r.now.font].name)
		r.flow.spans = append(r.flow.spans, office.Span{Text: s, Style: r.now.look, Href: r.now.href})
	case destInstruction:
		if r.now.field != nil {
			r.now.field.WriteString(s)
		}
	default:
		if r.now.text != nil {
			r.now.text.WriteString(s)
		}
	}
	return r.Spend(len(s))
}

// collect sends the text of the group to f when the group closes.
func (r *rtfReader) collect(dest rtfDest, f func(string)) {
	var text strings.Builder
	r.now.dest, r.now.text = dest, &text
	r.now.end = func() { f(strings.TrimSpace(text.String())) }
}

// aside reads the group as a stream of paragraphs of its own.
func (r *rtfReader) aside(f func([]office.Block)) {
	outer := r.flow
	r.flow = &rtfFlow{reader: r}
	r.now.dest, r.now.look, r.now.href = destText, 0, ""
	r.now.end = func() {
		r.endParagraph()
		r.flow.endTable()
		blocks := r.flow.blocks
		r.flow = outer
		f(blocks)
	}
}

// pageFrame reads the header or footer of pages. That of the first page is shown
// only if the document has one for it.
func (r *rtfReader) pageFrame(into *[]office.Block, first bool) {
	if r.frame || (first && !r.titlePage) {
		r.now.dest = destSkip
		return
	}
	r.frame = true
	r.aside(func(blocks []office.Block) {
		r.frame = false
		*into = append(*into, blocks...)
	})
}

// word obeys a control word.
func (r *rtfReader) word(word string, n int, given bool) error {
	star := r.star
	r.star = false
	on := !given || n != 0
	switch word {
	case "bin":
		r.pos += min(max(n, 0), len(r.data)-r.pos)
		return nil
	case "uc":
		r.now.skipAfter = min(max(n, 0), 16)
		return nil
	}
	if r.now.dest == destSkip {
		return nil
	}
	if star {
		switch word {
		case "shppict", "shpinst", "fldinst", "annotation", "atnauthor", "footnote", "do", "dptxbxtext", "cs", "ud":
		default:
			r.now.dest = destSkip
			return nil
		}
	}
	switch word {
	case "ansicpg":
		r.page = n
	case "mac":
		r.page = 10000
	case "pc":
		r.page = 437
	case "pca":
		r.page = 850

	case "fonttbl":
		r.now.dest = destFonts
	case "f":
		if r.now.dest != destFonts {
			r.now.font = n
			break
		}
		r.newFont = n
		r.collect(destFonts, func(name string) {
			f := r.fonts[n]
			f.name = strings.TrimSuffix(name, ";")
			r.fonts[n] = f
		})
	case "fcharset":
		if r.now.dest == destFonts {
			f := r.fonts[r.newFont]
			f.page = charsetPages[n]
			r.fonts[r.newFont] = f
		}
	case "stylesheet":
		r.now.dest = destStyles
	case "s":
		if r.now.dest != destStyles {
			r.flow.style = n
			break
		}
		r.newStyle, r.outlineOf = n, 0
		r.collect(destStyles, func(name string) {
			r.styles[n] = rtfStyle{name: strings.ToLower(strings.TrimSuffix(name, ";")), outline: r.outlineOf}
		})
	case "cs", "ds", "ts":
		if r.now.dest == destStyles {
			r.now.dest = destSkip
		}
	case "outlinelevel":
		if r.now.dest == destStyles {
			r.outlineOf = n + 1
		} else {
			r.flow.head = n + 1
		}
	case "info":
		r.now.dest = destInfo
	case "title":
		if r.now.dest == destInfo {
			r.collect(destInfo, func(s string) { r.Facts.Title = s })
		}
	case "author":
		if r.now.dest == destInfo {
			r.collect(destInfo, func(s string) { r.Facts.Author = s })
		}
	case "creatim":
		r.dateOf(func(s string) { r.Facts.Created = s })
	case "revtim":
		r.dateOf(func(s string) { r.Facts.Modified = s })
	case "yr", "mo", "dy", "hr", "min", "sec":
		for i, name := range []string{"yr", "mo", "dy", "hr", "min", "sec"} {
			if name == word {
				r.date[i] = n
			}
		}

	case "colortbl", "nonshppict",
		"filetbl", "xe", "tc", "tcn", "rxe", "txe", "private", "ftnsep", "ftnsepc", "ftncn", "aftnsep", "aftnsepc", "aftncn",
		"pntxta", "pntxtb", "template", "operator", "keywords", "comment", "subject", "doccomm", "category", "manager",
		"company", "hlinkbase", "printim", "buptim", "objdata", "objclass", "objname", "listtable", "listoverridetable", "atnid":
		r.now.dest = destSkip
	case "titlepg":
		r.titlePage = true
	case "header", "headerl", "headerr", "headerf":
		r.pageFrame(&r.heads, word == "headerf")
	case "footer", "footerl", "footerr", "footerf":
		r.pageFrame(&r.feet, word == "footerf")
	case "ud":
		r.now.dest = destSkip // the same once more, in Unicode

	case "pict":
		return r.picture()
	case "sn":
		r.collect(destProperty, func(s string) { r.property = s })
	case "sv":
		r.collect(destProperty, func(s string) {
			if r.property == "wzDescription" && s != "" {
				r.flow.spans = append(r.flow.spans, office.Span{Text: md.Image(s, ""), Style: office.Raw})
			}
		})
	case "shptxt", "dptxbxtext":
		flow := r.flow
		r.aside(func(blocks []office.Block) {
			if flow.inCell {
				flow.cell = append(flow.cell, blocks...)
			} else {
				flow.blocks = append(flow.blocks, blocks...)
			}
		})
	case "footnote":
		r.footnotes++
		mark := fmt.Sprintf("[^%d]", r.footnotes)
		r.flow.spans = append(r.flow.spans, office.Span{Text: mark, Style: office.Raw})
		r.aside(func(blocks []office.Block) { r.define(mark, office.Flat(blocks)) })
	case "atnauthor":
		r.collect(destAuthor, func(s string) { r.author = s })
	case "annotation":
		r.comments++
		mark := fmt.Sprintf("[^comment-%d]", r.comments)
		r.flow.spans = append(r.flow.spans, office.Span{Text: mark, Style: office.Raw})
		who := r.author
		r.aside(func(blocks []office.Block) {
			text := office.Flat(blocks)
			if who != "" {
				text = md.EscapeInline(who) + ": " + text
			}
			r.define(mark, text)
		})
	case "listtext", "pntext":
		flow := r.flow
		r.collect(destLabel, func(s string) { flow.label, flow.listed = s, true })
	case "ilvl":
		r.flow.level = min(max(n, 0), office.ListLevels-1)

	case "field":
		r.now.field = &strings.Builder{}
	case "fldinst":
		r.now.dest = destInstruction
	case "fldrslt":
		r.now.dest = destText
		if r.now.field != nil {
			if r.frame && office.CountsPages(r.now.field.String()) {
				r.now.dest = destSkip
			}
			if url := office.HyperlinkTarget(r.now.field.String()); url != "" {
				r.now.href = url
			}
		}

	case "plain":
		r.now.look, r.now.hidden = 0, false
	case "b":
		r.now.setLook(office.Bold, on)
	case "i":
		r.now.setLook(office.Italic, on)
	case "strike", "striked":
		r.now.setLook(office.Strike, on)
	case "v", "deleted", "htmlrtf": // htmlrtf: what is in the HTML that this RTF was made of already
		r.now.hidden = on
	case "super", "up": // up, dn: by half points
		r.now.setLook(office.Raised|office.Lowered, false)
		r.now.setLook(office.Raised, on)
	case "sub", "dn":
		r.now.setLook(office.Raised|office.Lowered, false)
		r.now.setLook(office.Lowered, on)
	case "nosupersub":
		r.now.setLook(office.Raised|office.Lowered, false)

	case "pard":
		f := r.flow
		f.style, f.head, f.level, f.inCell, f.listed, f.label = 0, 0, 0, false, false, ""
	case "intbl":
		r.flow.inCell = true
	case "par", "sect", "page":
		if r.now.dest == destText {
			r.endParagraph()
		}
	case "cell":
		r.flow.inCell = true
		r.endParagraph()
		f := r.flow
		f.row = append(f.row, office.Flat(f.cell))
		f.cell = nil
		return r.Spend(3)
	case "row":
		r.flow.endRow()
	case "trowd":
		f := r.flow
		f.ends, f.cover, f.left = nil, office.Own, 0
	case "trleft":
		r.flow.left = n
	case "clmrg":
		r.flow.cover = office.FromLeft
	case "clvmrg":
		r.flow.cover = office.FromAbove
	case "cellx":
		const most = 1 << 10 // cells of a row
		if f := r.flow; len(f.ends) < most {
			f.ends = append(f.ends, cellEnd{n, f.cover})
		}
		r.flow.cover = office.Own
	case "nestcell":
		return r.put(", ")
	case "nestrow":
		return r.put("\n")

	default:
		if s, ok := rtfSigns[word]; ok {
			return r.put(s)
		}
	}
	return nil
}

var rtfSigns = map[string]string{
	"tab": "\t", "line": "\n", "softline": "\n", "emdash": "—", "endash": "–", "lquote": "‘", "rquote": "’",
	"ldblquote": "“", "rdblquote": "”", "bullet": "•", "emspace": " ", "enspace": " ", "qmspace": " ", "zwj": "\u200d", "zwnj": "\u200c",
}

// charsetPages are the code pages of \fcharset. Symbol fonts (2) have none.
var charsetPages = map[int]int{
	77: 10000, 128: 932, 129: 949, 130: 1361, 134: 936, 136: 950, 161: 1253, 162: 1254, 163: 1258, 177: 1255, 178: 1256,
	186: 1257, 204: 1251, 222: 874, 238: 1250, 254: 437, 255: 850,
}

func (s *rtfState) setLook(l office.Style, on bool) {
	s.look &^= l
	if on {
		s.look |= l
	}
}

func (r *rtfReader) dateOf(f func(string)) {
	r.date = [6]int{}
	r.now.end = func() {
		d := r.date
		f(office.Timestamp(fmt.Sprintf("%04d-%02d-%02dT%02d:%02d:%02d", d[0], d[1], d[2], d[3], d[4], d[5])))
	}
}

// picture passes over a picture and leaves a mark of its kind.
func (r *rtfReader) picture() error {
	r.pictures++
	ext := ""
	head := r.data[r.pos:min(r.pos+256, len(r.data))]
	first := len(head) // what comes later is of the next picture
	for word, e := range map[string]string{`\pngblip`: ".png", `\jpegblip`: ".jpg", `\emfblip`: ".emf", `\wmetafile`: ".wmf"} {
		if i := bytes.Index(head, []byte(word)); i >= 0 && i < first {
			first, ext = i, e
		}
	}
	r.flow.spans = append(r.flow.spans, office.Span{Text: md.Image("", fmt.Sprintf("image%d%s", r.pictures, ext)), Style: office.Raw})
	r.now.dest = destSkip
	return r.Spend(16)
}

func (r *rtfReader) define(mark, text string) {
	if text != "" {
		r.notes = append(r.notes, office.Note(mark, text))
	}
}

// endParagraph turns the spans so far into a block.
func (r *rtfReader) endParagraph() {
	f := r.flow
	spans := f.spans
	f.spans = nil
	level := f.head
	if level < 1 || level > 9 {
		st := r.styles[f.style]
		if level = st.outline; level < 1 || level > 9 {
			level = office.HeadingName(st.name)
		}
		if st.name == "title" {
			level = 1
		}
	}
	text := office.Inline(spans, level > 0)
	if text == "" {
		f.listed = false
		return
	}
	b := office.Block{Text: text}
	label := strings.TrimSpace(f.label)
	switch {
	case level > 0:
		if f.listed && strings.ContainsAny(label, "0123456789") {
			b.Text = label + " " + text
		}
		b.Kind, b.Level = office.Heading, level
	case f.listed:
		b.Kind, b.Level = office.Item, f.level
		if !strings.ContainsAny(label, "0123456789.)") {
			label = ""
		}
		var prefix string
		b.Marker, prefix = office.ItemMarker(label, label == "")
		b.Text = prefix + text
	}
	f.listed, f.label = false, ""
	if f.inCell {
		f.cell = append(f.cell, b)
		return
	}
	f.endTable()
	f.blocks = append(f.blocks, b)
}

// endTable writes the rows so far as a table.
func (f *rtfFlow) endTable() {
	if len(f.cell) > 0 { // a cell that nobody closed
		f.row = append(f.row, office.Flat(f.cell))
		f.cell = nil
	}
	f.endRow()
	if len(f.rows) > 0 {
		if rows := f.grid(); len(rows) > 0 {
			f.blocks = append(f.blocks, office.Block{Kind: office.Table, Rows: rows})
		}
		f.rows = nil
	}
}
