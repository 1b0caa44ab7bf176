package md

import (
	"slices"
	"strings"
)

// Below returns Markdown as it has to stand below a heading of a level: its
// headings keep their order of rank, and the highest of them is one level below.
// Ranks that are not used take no room. What would be deeper than the sixth level
// becomes a bold line: as a heading of the sixth it would end the one it is in.
// Front matter becomes a block of code, and what is left open at the end (a fence,
// a comment) is closed, so that the text after it is not taken for a part of it.
//
// Offsets into the text, in ascending order, are moved to where what follows them
// stands now.
func Below(s string, level int, offsets []int) string {
	sc := headingScan{s: s}
	sc.scan()
	var used [7]bool
	for _, h := range sc.found {
		used[h.level] = true
	}
	var to [7]int // the new level of each
	for l, next := 1, max(level, 0)+1; l <= 6; l++ {
		if used[l] {
			to[l] = next
			next++
		}
	}
	e := edits{s: s, offsets: offsets}
	e.b.Grow(len(s) + 3*len(sc.found) + 16)
	if sc.front > 0 {
		inner := s[strings.IndexByte(s, '\n')+1 : sc.front]
		inner = inner[:strings.LastIndexByte(strings.TrimRight(inner, "\r\n"), '\n')+1]
		language := "yaml"
		if strings.HasPrefix(s, "+++") {
			language = "toml"
		}
		e.replace(0, sc.front, Fence(language, inner)+"\n\n")
	}
	for _, h := range sc.found {
		now := to[h.level]
		switch {
		case h.kind == tagHeading && now <= 6:
			e.replace(h.start, h.end, string(rune('0'+now)))
		case h.kind == tagHeading: // the digit of <h1: a paragraph, in bold if it can be
			e.replace(h.start-1, h.end, "p")
		case now > 6:
			e.block(h.line, h.next, boldLine(h.text))
		case h.kind == atxHeading:
			e.replace(h.start, h.end, strings.Repeat("#", now))
		default: // underlined ones know two levels only
			e.block(h.line, h.next, Heading(now, h.text))
		}
	}
	e.replace(len(s), len(s), sc.closing)
	return e.b.String()
}

// boldLine returns the text of a heading in bold, if it has no emphasis of its own
// that would end it.
func boldLine(text string) string {
	text = Line(text)
	if strings.ContainsAny(text, "*_`\\") {
		return text
	}
	return Strong(text)
}

// edits writes a text with some of its ranges replaced.
type edits struct {
	s       string
	b       strings.Builder
	at      int   // what is before it in s is written
	offsets []int // those not yet moved
}

func (e *edits) replace(start, end int, with string) {
	e.copyTo(start)
	for len(e.offsets) > 0 && e.offsets[0] < end {
		e.offsets[0] = e.b.Len()
		e.offsets = e.offsets[1:]
	}
	e.b.WriteString(with)
	e.at = end
	if end == len(e.s) {
		for i := range e.offsets {
			e.offsets[i] = e.b.Len()
		}
		e.offsets = nil
	}
}

// block replaces lines by one that stands alone between blank lines.
func (e *edits) block(start, end int, with string) {
	e.copyTo(start)
	gap := ""
	switch out := e.b.String(); {
	case out == "" || strings.HasSuffix(out, "\n\n"):
	case strings.HasSuffix(out, "\n"):
		gap = "\n"
	default:
		gap = "\n\n"
	}
	e.b.WriteString(gap)
	e.replace(start, end, with+"\n")
	if line, _, _ := strings.Cut(e.s[end:], "\n"); strings.TrimSpace(line) != "" {
		e.b.WriteByte('\n')
	}
}

func (e *edits) copyTo(start int) {
	for len(e.offsets) > 0 && e.offsets[0] < start {
		e.offsets[0] += e.b.Len() - e.at
		e.offsets = e.offsets[1:]
	}
	e.b.WriteString(e.s[e.at:start])
	e.at = start
}

type headingKind uint8

const (
	atxHeading headingKind = iota
	setextHeading
	tagHeading
)

type foundHeading struct {
	start, end int // of its number signs, or of the digit of its tag
	line, next int // of its lines
	level      int
	kind       headingKind
	text       string
}

// headingScan finds the headings of a text as a reader of Markdown does: not those
// in code, in lists, in quotes or in comments.
type headingScan struct {
	s       string
	found   []foundHeading
	front   int    // where front matter ends
	closing string // what ends the block that is open at the end

	fence     byte // the open one
	fenceLen  int
	until     string // what ends the open block of HTML; " " stands for a blank line
	paragraph int    // where the open one begins; -1 for none
	list      bool   // within a list
}

func (sc *headingScan) scan() {
	sc.paragraph = -1
	sc.front = frontMatterEnd(sc.s)
	for pos := sc.front; pos < len(sc.s); {
		next := len(sc.s)
		if i := strings.IndexByte(sc.s[pos:], '\n'); i >= 0 {
			next = pos + i + 1
		}
		sc.line(pos, next)
		pos = next
	}
	end := ""
	if sc.s != "" && !strings.HasSuffix(sc.s, "\n") {
		end = "\n"
	}
	switch {
	case sc.fence != 0:
		sc.closing = end + strings.Repeat(string(sc.fence), sc.fenceLen) + "\n"
	case sc.until != "" && sc.until != " ":
		sc.closing = end + sc.until + "\n"
	}
}

func (sc *headingScan) line(pos, next int) {
	line := strings.TrimRight(sc.s[pos:next], " \t\r\n")
	rest := strings.TrimLeft(line, " \t")
	columns := 0
	for _, c := range line[:len(line)-len(rest)] {
		if columns++; c == '\t' {
			columns = (columns + 3) &^ 3
		}
	}
	switch {
	case sc.fence != 0:
		if (columns < 4 || sc.list) && strings.Trim(rest, string(sc.fence)) == "" && len(rest) >= sc.fenceLen {
			sc.fence = 0
		}
		return
	case sc.until == " ":
		if rest == "" {
			sc.until = ""
			return
		}
		sc.tags(pos, next)
		return
	case sc.until != "":
		if strings.Contains(strings.ToLower(line), sc.until) {
			sc.until = ""
		}
		return
	case rest == "":
		sc.paragraph = -1
		return
	case columns == 0 && sc.paragraph < 0 && !isListItem(rest):
		sc.list = false
	}
	if columns >= 4 && !sc.list {
		return // code, or more of a paragraph
	}
	switch c := rest[0]; {
	case c == '#' && (columns < 2 || columns < 4 && !sc.list):
		n := len(rest) - len(strings.TrimLeft(rest, "#"))
		if n > 6 || !endsWord(rest[n:]) {
			break
		}
		start := pos + len(line) - len(rest)
		text := strings.TrimSpace(rest[n:])
		if t := strings.TrimRight(text, "#"); t == "" || strings.HasSuffix(t, " ") || strings.HasSuffix(t, "\t") {
			text = strings.TrimSpace(t)
		}
		sc.found = append(sc.found, foundHeading{start, start + n, pos, next, n, atxHeading, text})
		sc.paragraph, sc.list = -1, false
		return
	case c == '`' || c == '~':
		n := len(rest) - len(strings.TrimLeft(rest, string(c)))
		if n < 3 || c == '`' && strings.IndexByte(rest[n:], '`') >= 0 {
			break
		}
		sc.fence, sc.fenceLen, sc.paragraph = c, n, -1
		return
	case c == '>':
		sc.paragraph = -1
		return
	case c == '<':
		if until := opensHTML(rest, sc.paragraph >= 0); until != "" {
			sc.paragraph = -1
			if until == " " {
				sc.until = until
				sc.tags(pos, next)
			} else if !strings.Contains(strings.ToLower(rest[2:]), until) {
				sc.until = until
			}
			return
		}
	case (c == '=' || c == '-') && sc.paragraph >= 0 && !sc.list && strings.Trim(rest, string(c)) == "":
		level := 1
		if c == '-' {
			level = 2
		}
		sc.found = append(sc.found, foundHeading{pos, next, sc.paragraph, next, level, setextHeading, sc.s[sc.paragraph:pos]})
		sc.paragraph = -1
		return
	}
	if isListItem(rest) {
		sc.list, sc.paragraph = true, -1
		// A fence may begin in the line of the item.
		_, content, _ := strings.Cut(rest, " ")
		content = strings.TrimLeft(content, " \t")
		for _, c := range []byte("`~") {
			if n := len(content) - len(strings.TrimLeft(content, string(c))); n >= 3 && strings.IndexByte(content[n:], c) < 0 {
				sc.fence, sc.fenceLen = c, n
			}
		}
		return
	}
	if sc.paragraph < 0 {
		sc.paragraph = pos
	}
}

// tags finds the headings that a line of HTML has.
func (sc *headingScan) tags(pos, next int) {
	for at := pos; at < next; {
		i := strings.IndexByte(sc.s[at:next], '<')
		if i < 0 {
			return
		}
		at += i + 1
		name := sc.s[at:next]
		if strings.HasPrefix(name, "/") {
			at++
			name = name[1:]
		}
		if len(name) > 2 && name[0]|0x20 == 'h' && name[1] >= '1' && name[1] <= '6' && strings.IndexByte(" \t\r\n>/", name[2]) >= 0 {
			sc.found = append(sc.found, foundHeading{at + 1, at + 2, pos, next, int(name[1] - '0'), tagHeading, ""})
		}
	}
}

func isListItem(s string) bool {
	n := 0
	for n < len(s) && n < 9 && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	switch {
	case n > 0:
		return n < len(s) && (s[n] == '.' || s[n] == ')') && endsWord(s[n+1:])
	case s[0] == '*' || s[0] == '-' || s[0] == '+':
		// A line of nothing but these is a rule, or underlines.
		return len(s) > 1 && endsWord(s[1:]) && strings.Trim(s, string(s[0])+" \t") != ""
	}
	return false
}

// opensHTML returns what ends the block of HTML that a line opens: " " for a blank
// line, "" if it opens none.
func opensHTML(s string, inParagraph bool) string {
	lower := strings.ToLower(s[:min(len(s), 32)])
	for _, o := range [...][2]string{{"<!--", "-->"}, {"<![cdata[", "]]>"}, {"<?", "?>"}} {
		if strings.HasPrefix(lower, o[0]) {
			return o[1]
		}
	}
	name := strings.TrimPrefix(lower[1:], "/")
	n := 0
	for n < len(name) && (isLetter(name[n]) || n > 0 && name[n] >= '0' && name[n] <= '9') {
		n++
	}
	if n == 0 || n < len(name) && strings.IndexByte(" \t\r\n>/", name[n]) < 0 {
		return ""
	}
	if lower[1] != '/' && slices.Contains([]string{"script", "pre", "style", "textarea"}, name[:n]) {
		return "</" + name[:n] + ">"
	}
	if blockNames[name[:n]] || !inParagraph && strings.HasSuffix(s, ">") && strings.Count(s, ">") == 1 {
		return " "
	}
	return ""
}

// blockNames are the tags that open a block of HTML even where text follows them
// (CommonMark 4.6, the sixth kind).
var blockNames = func() map[string]bool {
	m := map[string]bool{}
	for n := range strings.FieldsSeq(`address article aside base basefont blockquote body caption center col colgroup dd details
		dialog dir div dl dt fieldset figcaption figure footer form frame frameset h1 h2 h3 h4 h5 h6 head header hr html iframe
		legend li link main menu menuitem nav noframes ol optgroup option p param search section summary table tbody td tfoot
		th thead title tr track ul`) {
		m[n] = true
	}
	return m
}()

// frontMatterEnd returns where the front matter that a text begins with ends, or 0.
func frontMatterEnd(s string) int {
	const longest = 64 << 10
	limited := s[:min(len(s), longest)]
	fence := ""
	for _, f := range [...]string{"---", "+++"} {
		if strings.HasPrefix(s, f+"\n") || strings.HasPrefix(s, f+"\r\n") {
			fence = f
		}
	}
	if fence == "" {
		return 0
	}
	pos := strings.IndexByte(limited, '\n') + 1
	for first := true; pos < len(limited); first = false {
		end := len(limited)
		if i := strings.IndexByte(limited[pos:], '\n'); i >= 0 {
			end = pos + i + 1
		}
		line := strings.TrimRight(limited[pos:end], " \t\r\n")
		if line == fence || line == "..." && fence == "---" {
			return end
		}
		if first && !strings.ContainsAny(line, ":=#") {
			return 0
		}
		pos = end
	}
	return 0
}
