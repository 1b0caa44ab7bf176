package split

import "strings"

// markup follows the tags inside of an HTML block.
type markup struct {
	comment bool  // inside of one
	heading uint8 // level of the open heading, or 0
	tables  int   // open, one inside the other
	table   int   // block.table of the outermost
	fresh   bool  // what comes next is a block of its own
}

// begin is called where an HTML block begins. A table goes on after a blank line.
func (m *markup) begin() { m.comment, m.heading, m.fresh = false, 0, false }

// tags finds the headings and tables in a line of an HTML block.
func (s *scanner) tags(pos int, line string) {
	m := &s.markup
	s.inTable(pos)
	for at := 0; at < len(line); {
		if m.comment {
			i := strings.Index(line[at:], "-->")
			if i < 0 {
				return
			}
			at += i + len("-->")
			m.comment = false
			continue
		}
		i := strings.IndexByte(line[at:], '<')
		if i < 0 {
			i = len(line) - at
		}
		if text := line[at : at+i]; m.fresh && strings.TrimSpace(text) != "" {
			s.piece(pos+at+skipSpace(text, 0), html)
		}
		if at += i; at == len(line) {
			break
		}
		if strings.HasPrefix(line[at:], "<!--") {
			m.comment = true
			at += len("<!--")
			continue
		}
		name, closing := tagName(line[at:])
		end := at + 1
		if name != "" {
			if j := strings.IndexByte(line[at:], '>'); j >= 0 {
				end = at + j + 1
			}
		}
		level := headingLevel(name)
		switch {
		case m.heading != 0 && closing && level != 0:
			s.blocks[len(s.blocks)-1].text = pos + end
			m.heading, m.fresh = 0, true
		case m.heading != 0:
		case level != 0 && !closing && len(s.lists) == 0 && m.tables == 0:
			s.piece(pos+at, heading)
			b := &s.blocks[len(s.blocks)-1]
			b.level, b.text = level, len(s.md)
			m.heading = level
		case name == "table" && !closing:
			if m.tables++; m.tables == 1 {
				m.table = pos + at + 1
				s.piece(pos+at, html)
			}
		case name == "table" && m.tables > 0:
			if m.tables--; m.tables == 0 {
				m.table, m.fresh = 0, true
			}
		case m.fresh && name != "":
			s.piece(pos+at, html)
		}
		at = end
	}
	if m.heading != 0 {
		s.blocks[len(s.blocks)-1].text = pos + len(line)
	}
}

// piece begins a block inside of an HTML block, unless one begins there already.
func (s *scanner) piece(pos int, k kind) {
	s.markup.fresh = false
	if b := &s.blocks[len(s.blocks)-1]; b.start >= pos || skipSpace(s.md, b.start) >= pos {
		b.kind = k
	} else {
		s.add(pos, k, len(s.lists))
	}
	s.blocks[len(s.blocks)-1].table = s.markup.table
}

// inTable marks a block that begins in the middle of an HTML table.
func (s *scanner) inTable(pos int) {
	if b := &s.blocks[len(s.blocks)-1]; b.start == pos {
		b.table = s.markup.table
	}
}

// headingLevel returns the level of the tags h1 to h6, or 0.
func headingLevel(name string) uint8 {
	if len(name) == 2 && name[0] == 'h' && '1' <= name[1] && name[1] <= '6' {
		return name[1] - '0'
	}
	return 0
}

// nextRow returns where the row of an HTML table after the first byte of s begins, or
// len(s).
func nextRow(s string) int {
	for at := 1; at < len(s); at++ {
		i := strings.IndexByte(s[at:], '<')
		if i < 0 {
			break
		}
		if at += i; beginsRow(s[at:min(len(s), at+8)]) {
			return at
		}
	}
	return len(s)
}

// beginsRow reports whether a row of an HTML table begins at the line s.
func beginsRow(s string) bool {
	s = strings.TrimLeft(s, " \t")
	if s == "" || s[0] != '<' {
		return false
	}
	name, closing := tagName(s)
	return name == "tr" && !closing
}
