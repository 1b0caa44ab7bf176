package split

import (
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

type kind uint8

const (
	paragraph kind = iota
	heading
	item  // a list item, without the items nested in it
	quote // a block quote, whatever is in it
	table
	code // fenced or indented
	html
	front // front matter
	rule  // a thematic break
)

// lines reports whether the line is the unit of such a block, and not the sentence.
func (k kind) lines() bool { return k == table || k == code || k == html || k == front }

// A block reaches to the start of the next block, so that blank lines belong to
// the block they follow. It begins at the start of a line, but for headings and
// tables in HTML and what follows them.
type block struct {
	start int
	text  int // of a heading: where its text ends
	table int // 1 + where the table begins that the block is, or is a part of; 0 outside of tables
	kind  kind
	level uint8 // of a heading: 1 to 6. Of others: how many list items they are inside of, or are
}

// blockAt returns the block that pos is in.
func blockAt(blocks []block, pos int) *block { return &blocks[indexOf(blocks, pos)] }

func indexOf(blocks []block, pos int) int {
	i := sort.Search(len(blocks), func(i int) bool { return blocks[i].start > pos })
	return max(i, 1) - 1
}

// scanner finds the blocks of a text line by line. It follows CommonMark where
// that decides what is a heading or one block; it does not build the nesting.
type scanner struct {
	md     string
	blocks []block

	open     bool  // a paragraph, item, quote or table that the next line may continue
	indented bool  // the last block is indented code
	cur      kind  // of the last block
	prev     int   // start of the previous line
	para     int   // start of the last paragraph
	begin    int   // of the line, without its indentation
	content  int   // of the last list item, behind its marker
	lists    []int // content columns of the list items around the current line
	fence    byte  // the fence character of the open code block, or 0
	fenceLen int
	fenceCol int    // a line left of this column ends the code block and its list item
	until    string // what ends the open HTML block; " " stands for a blank line, "" for none open
	quoted   bool   // the open table is inside a quote
	markup   markup
	began    bool // there is a block
	pos      int  // what is before it has been scanned
}

// scan appends the blocks of md to dst.
func scan(dst []block, md string) []block {
	s := scanner{md: md, blocks: dst}
	s.upTo(len(md))
	return s.blocks
}

// settled is how far behind a place the scan has to be for the blocks that begin
// before it to be final: no later line changes what they are, or where the part of
// a heading ends that is looked at.
const settled = maxMarkupBytes

// upTo scans all lines that begin before end, and one more: it can make a table of
// the one before.
func (s *scanner) upTo(end int) {
	if s.pos == 0 {
		if s.pos = frontMatter(s.md); s.pos > 0 {
			s.add(0, front, 0)
		}
	}
	for s.pos < len(s.md) && s.prev < end {
		pos, next := s.pos, len(s.md)
		if i := strings.IndexByte(s.md[pos:], '\n'); i >= 0 {
			next = pos + i + 1
		}
		s.line(pos, s.md[pos:next])
		s.prev, s.pos = pos, next
	}
}

func (s *scanner) add(pos int, k kind, level int) {
	if !s.began {
		s.began, pos = true, 0 // what precedes the first block is blank: it belongs to it
	}
	s.blocks = append(s.blocks, block{start: pos, kind: k, level: uint8(min(level, 255))})
	s.cur, s.indented, s.quoted = k, false, false
}

// line takes one line, its line break included.
func (s *scanner) line(pos int, line string) {
	col, at := indent(line)
	rest := line[at:]
	s.begin = pos + at
	blank := isBlank(rest)
	if s.fence != 0 {
		if blank || col >= s.fenceCol {
			if !blank && col-s.fenceCol < 4 && closesFence(rest, s.fence, s.fenceLen) {
				s.fence = 0
			}
			return
		}
		s.fence = 0 // its list item ended without closing it
	}
	if s.until != "" {
		if s.until == " " {
			if blank {
				s.until = ""
			} else {
				s.tags(pos, line)
			}
		} else if containsFold(line, s.until) {
			s.until = ""
		}
		return
	}
	if blank {
		// Indented code goes on after blank lines, any other block ends.
		s.open = false
		return
	}

	// Lists end where a line that is not one of theirs begins.
	if !s.open {
		s.leave(col)
	}
	base := 0
	if n := len(s.lists); n > 0 {
		base = s.lists[n-1]
	}
	if col-base >= 4 && !s.open {
		if !s.indented {
			s.add(pos, code, len(s.lists))
			s.indented = true
		}
		return
	}
	if s.open && col >= base+4 {
		return // too far right to be anything but a continuation
	}
	if s.starts(pos, col, line, rest) {
		return
	}
	if s.open {
		return
	}
	s.add(pos, paragraph, len(s.lists))
	s.open, s.para = true, pos
}

// starts reports whether a block other than a paragraph starts at the line, and
// adds it if so.
func (s *scanner) starts(pos, col int, line, rest string) bool {
	switch c := rest[0]; c {
	case '#':
		if level := atx(rest); level > 0 {
			if s.inside(col) {
				return false // a heading inside a list item does not begin a section
			}
			s.lists = s.lists[:0]
			s.markup = markup{}
			s.add(pos, heading, level)
			s.blocks[len(s.blocks)-1].text = pos + len(line)
			s.open = false
			return true
		}
	case '`', '~':
		if n := opensFence(rest, c); n > 0 {
			s.leave(col)
			s.add(pos, code, len(s.lists))
			if separator(rest) != "" {
				s.blocks[len(s.blocks)-1].table = pos + 1
			}
			s.fence, s.fenceLen, s.open = c, n, false
			s.fenceCol = 0
			if n := len(s.lists); n > 0 {
				s.fenceCol = s.lists[n-1]
			}
			return true
		}
	case '>':
		if s.open && s.cur == quote {
			s.quotedDelimiter(pos, rest)
			return false // goes on
		}
		if s.open && s.quoted {
			if isBlank(strings.TrimLeft(rest, "> \t")) {
				s.add(pos, quote, len(s.lists))
			}
			return true
		}
		s.leave(col)
		s.add(pos, quote, len(s.lists))
		s.open = true
		return true
	case '<':
		if end := opensHTML(rest, s.open); end != "" {
			s.leave(col)
			s.add(pos, html, len(s.lists))
			s.open = false
			if end == " " || !containsFold(rest[min(len(rest), 2):], end) {
				s.until = end
			}
			if end == " " {
				s.markup.begin()
				s.tags(pos, line)
			}
			return true
		}
	case '=':
		if s.underlines(pos, rest, '=') {
			s.setext(pos, 1)
			return true
		}
	case '-', '*', '_', '+':
		if c == '-' && s.underlines(pos, rest, '-') {
			s.setext(pos, 2)
			return true
		}
		if c != '+' && isRule(rest, c) {
			s.leave(col)
			s.add(pos, rule, len(s.lists))
			s.open = false
			return true
		}
		if s.delimiter(pos, rest) {
			return true
		}
		if c != '_' && s.bullet(pos, col, rest, 1) {
			return true
		}
	case '|', ':':
		return s.delimiter(pos, rest)
	case '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		n := 1
		for n < len(rest) && n < 10 && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		if n < 10 && n < len(rest) && (rest[n] == '.' || rest[n] == ')') {
			// In running text only a list that begins at 1 is a list.
			if s.open && len(s.lists) == 0 && rest[:n] != "1" {
				return false
			}
			return s.bullet(pos, col, rest, n+1)
		}
	}
	return false
}

// inside reports whether column col is inside the current list item.
func (s *scanner) inside(col int) bool {
	n := len(s.lists)
	return n > 0 && col >= s.lists[n-1]
}

// leave drops the list items that a block at column col is not inside of.
func (s *scanner) leave(col int) {
	for n := len(s.lists); n > 0 && col < s.lists[n-1]; n-- {
		s.lists = s.lists[:n-1]
	}
}

// bullet adds a list item if a marker of n bytes at the start of rest is one.
func (s *scanner) bullet(pos, col int, rest string, n int) bool {
	pad, at := indent(rest[n:])
	content := rest[n+at:]
	if empty := isBlank(content); empty {
		if s.open && s.cur == paragraph && len(s.lists) == 0 {
			return false // an empty item does not interrupt a paragraph
		}
		pad = 1
	} else if pad == 0 {
		return false
	} else if pad > 4 {
		pad = 1 // the item begins with indented code
	}
	s.leave(col)
	s.content = s.begin + n + at
	s.lists = append(s.lists, col+n+pad)
	s.add(pos, item, len(s.lists))
	s.open = true
	if content != "" && (content[0] == '`' || content[0] == '~') {
		if f := opensFence(content, content[0]); f > 0 {
			s.fence, s.fenceLen, s.fenceCol, s.open = content[0], f, col+n+pad, false
		}
	}
	return true
}

// underlines reports whether the line at pos makes a heading of the open paragraph.
// Not so if that is too long for one: what a paragraph is must be known before all
// of it has been read.
func (s *scanner) underlines(pos int, rest string, c byte) bool {
	return s.open && s.cur == paragraph && len(s.lists) == 0 && pos-s.para <= settled && underline(rest, c)
}

// setext turns the open paragraph into a heading whose underline is at pos.
func (s *scanner) setext(pos, level int) {
	b := &s.blocks[len(s.blocks)-1]
	b.kind, b.level, b.text = heading, uint8(level), pos
	s.cur, s.open, s.markup = heading, false, markup{}
}

// delimiter turns the previous line and this one into the head of a table if
// this one is a delimiter row with as many cells.
func (s *scanner) delimiter(pos int, rest string) bool {
	if !s.open || (s.cur != paragraph && s.cur != item) {
		return false
	}
	b := &s.blocks[len(s.blocks)-1]
	if s.cur == item && b.start == s.prev {
		// The table begins behind the marker.
		if !isDelimiter(rest) || cells(s.md[s.content:pos]) != cells(rest) || isBlank(s.md[s.content:pos]) {
			return false
		}
		b.kind, s.cur, b.table = table, table, s.content+1
		return true
	}
	if !isDelimiter(rest) || cells(s.md[s.prev:pos]) != cells(rest) {
		return false
	}
	s.tableFrom(s.prev)
	return true
}

// tableFrom turns the open block, from the line at pos on, into a table.
func (s *scanner) tableFrom(pos int) {
	if b := &s.blocks[len(s.blocks)-1]; b.start == pos || skipSpace(s.md, b.start) >= pos {
		b.kind, s.cur = table, table
	} else {
		s.add(pos, table, len(s.lists))
	}
	s.blocks[len(s.blocks)-1].table = pos + 1
}

// quotedDelimiter is delimiter inside of a quote.
func (s *scanner) quotedDelimiter(pos int, rest string) {
	unquote := func(line string) string { return strings.TrimLeft(line, "> \t") }
	head := unquote(s.md[s.prev:pos])
	if row := unquote(rest); isDelimiter(row) && !isBlank(head) && cells(head) == cells(row) {
		s.tableFrom(s.prev)
		s.quoted = true
	}
}

// indent returns the column of the first character of line that is not a space
// or tab, and its index.
func indent(line string) (col, at int) {
	for at < len(line) {
		switch line[at] {
		case ' ':
			col++
		case '\t':
			col += 4 - col%4
		default:
			return col, at
		}
		at++
	}
	return col, at
}

// isBlank reports whether s, which does not begin with a space or tab, is empty
// or only white space.
func isBlank(s string) bool {
	if s == "" || s[0] == '\n' {
		return true
	}
	if s[0] > ' ' && s[0] < utf8.RuneSelf {
		return false
	}
	for _, r := range s {
		if !unicode.IsSpace(r) {
			return false
		}
	}
	return true
}

// atx returns the level of the heading that s is, or 0.
func atx(s string) int {
	n := 0
	for n < len(s) && s[n] == '#' {
		n++
	}
	if n > 6 || (n < len(s) && s[n] != ' ' && s[n] != '\t' && s[n] != '\n' && s[n] != '\r') {
		return 0
	}
	return n
}

// underline reports whether s is a setext underline of c.
func underline(s string, c byte) bool {
	return isBlank(strings.TrimLeft(strings.TrimLeft(s, string(c)), " \t"))
}

// isRule reports whether s is a thematic break of c.
func isRule(s string, c byte) bool {
	n := 0
	for i := range len(s) {
		switch s[i] {
		case c:
			n++
		case ' ', '\t', '\r', '\n':
		default:
			return false
		}
	}
	return n >= 3
}

func opensFence(s string, c byte) int {
	n := 0
	for n < len(s) && s[n] == c {
		n++
	}
	if n < 3 || (c == '`' && strings.IndexByte(s[n:], '`') >= 0) {
		return 0
	}
	return n
}

func closesFence(s string, c byte, length int) bool {
	n := 0
	for n < len(s) && s[n] == c {
		n++
	}
	return n >= length && isBlank(strings.TrimLeft(s[n:], " \t"))
}

// isDelimiter reports whether s can be the delimiter row of a table.
func isDelimiter(s string) bool {
	dash, pipe := false, false
	for i := range len(s) {
		switch s[i] {
		case '-':
			dash = true
		case '|':
			pipe = true
		case ':', ' ', '\t', '\r', '\n':
		default:
			return false
		}
	}
	return dash && pipe
}

// cells counts the cells of a table row.
func cells(row string) int {
	row = strings.TrimSpace(row)
	n := 1
	for i := 0; i < len(row); i++ {
		switch row[i] {
		case '\\':
			i++
		case '|':
			if i > 0 && i < len(row)-1 {
				n++
			}
		}
	}
	return n
}

// opensHTML returns what ends the HTML block that begins with s (" " for a
// blank line), or "" if none does. CommonMark 0.31, section 4.6.
func opensHTML(s string, inParagraph bool) string {
	if len(s) < 2 {
		return ""
	}
	switch s[1] {
	case '!':
		switch {
		case strings.HasPrefix(s, "<!--"):
			return "-->"
		case strings.HasPrefix(s, "<![CDATA["):
			return "]]>"
		case len(s) > 2 && isLetter(s[2]):
			return ">"
		}
		return ""
	case '?':
		return "?>"
	}
	name := s[1:]
	closing := name[0] == '/'
	if closing {
		name = name[1:]
	}
	n := 0
	for n < len(name) && n < 12 && (isLetter(name[n]) || n > 0 && name[n] >= '0' && name[n] <= '9') {
		n++
	}
	if n == 0 {
		return ""
	}
	after := byte('\n')
	if n < len(name) {
		after = name[n]
	}
	tag := strings.ToLower(name[:n])
	ends := after == ' ' || after == '\t' || after == '\n' || after == '\r' || after == '>'
	if !closing && ends {
		switch tag {
		case "script", "pre", "style", "textarea":
			return "</" + tag + ">"
		}
	}
	if (ends || after == '/') && blockTags[tag] {
		return " "
	}
	// Any other tag opens a block only if it is alone on its line.
	if inParagraph || strings.ContainsRune(name, '<') {
		return ""
	}
	if i := strings.IndexByte(name, '>'); i >= 0 && isBlank(strings.TrimLeft(name[i+1:], " \t")) && (ends || after == '/' || after == '-') {
		return " "
	}
	return ""
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// blockTags begin an HTML block even where text follows them on the line.
var blockTags = func() map[string]bool {
	m := map[string]bool{}
	for t := range strings.FieldsSeq(`address article aside base basefont blockquote body caption center col colgroup
		dd details dialog dir div dl dt fieldset figcaption figure footer form frame frameset h1 h2 h3 h4 h5 h6 head
		header hr html iframe legend li link main menu menuitem nav noframes ol optgroup option p param search section
		summary table tbody td tfoot th thead title tr track ul`) {
		m[t] = true
	}
	return m
}()

// containsFold reports whether s contains sub, which is in lower case.
func containsFold(s, sub string) bool {
	for {
		i := strings.IndexByte(s, sub[0])
		if i < 0 || len(s)-i < len(sub) {
			return false
		}
		s = s[i:]
		if strings.EqualFold(s[:len(sub)], sub) {
			return true
		}
		s = s[1:]
	}
}

// maxFrontMatter bounds how far down front matter may end, in bytes.
const maxFrontMatter = 64 << 10

// frontMatter returns where the front matter of md ends, or 0. A text may begin
// with a thematic break too, so the line after the first must look like a key.
func frontMatter(md string) int {
	fence := ""
	switch {
	case strings.HasPrefix(md, "---\n"), strings.HasPrefix(md, "---\r\n"):
		fence = "---"
	case strings.HasPrefix(md, "+++\n"), strings.HasPrefix(md, "+++\r\n"):
		fence = "+++"
	default:
		return 0
	}
	limited := md[:min(len(md), maxFrontMatter)]
	pos := strings.IndexByte(limited, '\n') + 1
	for first := true; pos < len(limited); first = false {
		end := len(limited)
		if i := strings.IndexByte(limited[pos:], '\n'); i >= 0 {
			end = pos + i + 1
		}
		line := strings.TrimRight(limited[pos:end], " \t\r\n")
		if line == fence || (line == "..." && fence == "---") {
			return end
		}
		if first && !strings.ContainsAny(line, ":=#") {
			return 0
		}
		pos = end
	}
	return 0
}
