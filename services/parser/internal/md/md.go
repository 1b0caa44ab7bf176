// Package md writes Markdown: CommonMark with the tables and strikethrough of
// GitHub Flavored Markdown.
//
// It escapes as little as it can. The text is read by language models and
// matched by searches, so a backslash is written only where a reader of
// Markdown would otherwise see something that the document does not say.
// Everything here is linear in its input.
package md

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Heading returns "## text" with level number signs, clamped to 1 to 6, and
// text folded into one line. The text is Markdown: escape it first if it is
// not. A heading without text is the empty string.
func Heading(level int, text string) string {
	text = Line(text)
	if text == "" {
		return ""
	}
	// A closing sequence of number signs would vanish: "C #" is "C".
	if t := strings.TrimRight(text, "#"); t != text && (t == "" || strings.HasSuffix(t, " ")) {
		text = text[:len(text)-1] + `\#`
	}
	return strings.Repeat("#", min(max(level, 1), 6)) + " " + text
}

// Line folds all white space, line breaks included, into single spaces.
func Line(s string) string {
	return strings.Join(strings.Fields(s), " ")
}

// Fence returns code as a fenced block whose fence is longer than any run of
// backticks in it. It does not end in a newline.
func Fence(language, code string) string {
	fence := strings.Repeat("`", max(3, longestRun(code, '`')+1))
	language = strings.Map(func(r rune) rune {
		if r == '`' || unicode.IsSpace(r) {
			return -1
		}
		return r
	}, language)
	return fence + language + "\n" + strings.TrimRight(code, "\n") + "\n" + fence
}

// Code returns s as an inline code span on one line, or "" for white space.
func Code(s string) string {
	s = Line(s)
	if s == "" {
		return ""
	}
	ticks := "`"
	if n := longestRun(s, '`'); n > 0 {
		ticks = strings.Repeat("`", n+1)
	}
	if s[0] == '`' || s[len(s)-1] == '`' {
		s = " " + s + " "
	}
	return ticks + s + ticks
}

func longestRun(s string, b byte) int {
	longest, run := 0, 0
	for i := range len(s) {
		if s[i] != b {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return longest
}

// Link returns "[text](url)". The text is Markdown. Without a URL it is the
// text alone, without text the URL stands for it.
func Link(text, url string) string {
	text, url = Line(text), strings.TrimSpace(url)
	switch {
	case url == "":
		return text
	case text == "":
		text = EscapeInline(url)
	}
	return "[" + text + "](" + Destination(url) + ")"
}

// Image returns "![alt](url)". The alternative text is plain text.
func Image(alt, url string) string {
	return "![" + EscapeInline(Line(alt)) + "](" + Destination(url) + ")"
}

// Destination returns a URL as it may stand in the parentheses of a link or an
// image: without anything that would end it early. Balanced parentheses, common
// in the addresses of encyclopedias, stay.
func Destination(url string) string {
	url = strings.TrimSpace(url)
	if !strings.ContainsAny(url, " \t\r\n()<>\\") {
		return url
	}
	parens := "()"
	if balanced(url) {
		parens = ""
	}
	var b strings.Builder
	for i := range len(url) {
		switch c := url[i]; {
		case c == '\\':
			b.WriteString(`\\`)
		case strings.IndexByte(" \t\r\n<>", c) >= 0, strings.IndexByte(parens, c) >= 0:
			const hex = "0123456789ABCDEF"
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// balanced reports whether the parentheses in s match. CommonMark asks for
// support of 32 levels, so more count as unbalanced.
func balanced(s string) bool {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth < 0 || depth > 32 {
			return false
		}
	}
	return depth == 0
}

// Strong returns text between double asterisks, with the white space around it
// left outside, where it has to be for the emphasis to take.
func Strong(text string) string { return wrap(text, "**") }

// Emphasis returns text between asterisks, with the white space around it left
// outside.
func Emphasis(text string) string { return wrap(text, "*") }

// Strike returns text between double tildes, with the white space around it
// left outside.
func Strike(text string) string { return wrap(text, "~~") }

func wrap(text, mark string) string {
	inner := strings.TrimSpace(text)
	if inner == "" {
		return text
	}
	at := strings.Index(text, inner)
	return text[:at] + mark + inner + mark + text[at+len(inner):]
}

// Quote puts "> " before every line of text.
func Quote(text string) string {
	return prefix(strings.TrimRight(text, "\n"), "> ", "> ")
}

// Item returns text as a list item behind marker ("-", "1."), its further
// lines indented to the width of the marker, so that they stay in the item.
func Item(marker, text string) string {
	indent := strings.Repeat(" ", len(marker)+1)
	return prefix(strings.TrimRight(text, "\n"), marker+" ", indent)
}

// prefix puts first before the first line of text and rest before each other.
// Lines that are empty get no trailing white space.
func prefix(text, first, rest string) string {
	var b strings.Builder
	b.Grow(len(text) + len(first) + strings.Count(text, "\n")*len(rest))
	p := first
	for line := range strings.Lines(text) {
		if body := strings.TrimSuffix(line, "\n"); body == "" {
			b.WriteString(strings.TrimRight(p, " "))
		} else {
			b.WriteString(p)
		}
		b.WriteString(line)
		p = rest
	}
	return b.String()
}

// Table returns rows as a table whose first row is the header, or "" if there
// is none. It does not end in a newline.
//
// Cells are Markdown on one line: line breaks become spaces, pipes are escaped.
// Short rows are padded. GFM drops cells beyond the header's width, so the
// header is as wide as the widest row; the padding of the other rows has no
// meaning, and is left away where one wide row would make it outgrow the table.
func Table(rows [][]string) string {
	var t TableWriter
	for _, row := range rows {
		t.Measure(row)
	}
	for _, row := range rows {
		t.Write(row)
	}
	return t.String()
}

// TableWriter writes a table row by row, where its rows are too many to be held:
// all are shown to Measure first, and then, once more, to Write.
type TableWriter struct {
	b                        strings.Builder
	width, rows, cells, size int
	written                  int
}

// Measure counts a row.
func (t *TableWriter) Measure(row []string) {
	t.width = max(t.width, len(row))
	t.rows++
	t.cells += len(row)
	for _, c := range row {
		t.size += len(c) + 3
	}
}

// Write adds a row.
func (t *TableWriter) Write(row []string) {
	if t.width == 0 {
		return
	}
	pad := t.width*t.rows <= 8*t.cells+1024
	b, first := &t.b, t.written == 0
	if t.written++; first {
		b.Grow(t.size + t.size/16 + 6*t.width)
	} else {
		b.WriteByte('\n')
	}
	b.WriteByte('|')
	for _, c := range row {
		b.WriteByte(' ')
		writeCell(b, c)
		b.WriteString(" |")
	}
	if pad || first || len(row) == 0 {
		for range max(t.width-len(row), 0) {
			b.WriteString("  |")
			if !pad && !first {
				break // an empty row needs one cell to be a row
			}
		}
	}
	if first {
		b.WriteString("\n|")
		for range t.width {
			b.WriteString(" --- |")
		}
	}
}

// String returns the table, or "" if it has no cell.
func (t *TableWriter) String() string { return t.b.String() }

func writeCell(b *strings.Builder, cell string) {
	cell = strings.TrimSpace(cell)
	if !strings.ContainsAny(cell, "|\r\n\t\v\f\u0085\u2028\u2029\\") {
		b.WriteString(cell)
		return
	}
	backslashes := 0
	space := false
	for _, r := range cell {
		switch r {
		case '\r', '\n', '\t', '\v', '\f', '\u0085', '\u2028', '\u2029':
			if !space {
				b.WriteByte(' ')
			}
			space, backslashes = true, 0
			continue
		case '|':
			if backslashes%2 == 0 {
				b.WriteByte('\\')
			}
			backslashes = 0
		case '\\':
			backslashes++
		default:
			backslashes = 0
		}
		space = r == ' '
		b.WriteRune(r)
	}
	if backslashes%2 == 1 {
		b.WriteByte('\\') // else it would escape the pipe that ends the cell
	}
}

// Escape returns plain text as Markdown that reads the same, wherever it
// stands. Line breaks are kept.
func Escape(s string) string {
	if !needsEscape(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + len(s)/16 + 8)
	for line := range strings.Lines(s) {
		body := strings.TrimSuffix(line, "\n")
		body = escapeStart(&b, body)
		escapeInline(&b, body)
		if len(line) > 0 && line[len(line)-1] == '\n' {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// EscapeInline is Escape for text that does not begin a line, such as a table
// cell or the rest of a paragraph.
func EscapeInline(s string) string {
	if !strings.ContainsAny(s, inlineSpecial) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + len(s)/16 + 8)
	escapeInline(&b, s)
	return b.String()
}

const inlineSpecial = "\\`*_[]<&~"

// needsEscape reports whether s holds anything that Escape might change.
func needsEscape(s string) bool {
	if strings.ContainsAny(s, inlineSpecial) {
		return true
	}
	for line := range strings.Lines(s) {
		line = strings.TrimLeft(line, " \t")
		if line != "" && strings.IndexByte("#>-+=|0123456789", line[0]) >= 0 {
			return true
		}
	}
	return false
}

// escapeStart writes the beginning of a line up to and including what could
// open a block there, escaped, and returns the rest of the line.
func escapeStart(b *strings.Builder, line string) string {
	rest := strings.TrimLeft(line, " \t")
	b.WriteString(line[:len(line)-len(rest)])
	if rest == "" {
		return rest
	}
	switch c := rest[0]; c {
	case '>':
		b.WriteString(`\>`)
		return rest[1:]
	case '#':
		n := len(rest) - len(strings.TrimLeft(rest, "#"))
		if n <= 6 && endsWord(rest[n:]) {
			b.WriteByte('\\')
		}
	case '-', '+', '=':
		onlyMarks := strings.Trim(rest, string(c)+" \t\r") == ""
		if onlyMarks || (c != '=' && endsWord(rest[1:])) {
			b.WriteByte('\\')
			b.WriteByte(c)
			return rest[1:]
		}
	case '*', '_':
		if strings.Trim(rest, string(c)+" \t\r") == "" || (c == '*' && endsWord(rest[1:])) {
			b.WriteByte('\\')
			b.WriteByte(c)
			return rest[1:]
		}
	case '[':
		if strings.Contains(rest, "]:") { // a link definition is not shown
			b.WriteString(`\[`)
			return rest[1:]
		}
	default:
		n := 0
		for n < len(rest) && n < 10 && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		if n > 0 && n < 10 && n < len(rest) && (rest[n] == '.' || rest[n] == ')') && endsWord(rest[n+1:]) {
			b.WriteString(rest[:n])
			b.WriteByte('\\')
			b.WriteByte(rest[n])
			return rest[n+1:]
		}
	}
	return rest
}

// endsWord reports whether a block marker followed by s counts as one.
func endsWord(s string) bool {
	return s == "" || s[0] == ' ' || s[0] == '\t' || s[0] == '\r'
}

func escapeInline(b *strings.Builder, s string) {
	for i := 0; i < len(s); {
		j := strings.IndexAny(s[i:], inlineSpecial)
		if j < 0 {
			b.WriteString(s[i:])
			return
		}
		b.WriteString(s[i : i+j])
		i += j
		c := s[i]
		run := 1
		switch c {
		case '*', '_', '~':
			for i+run < len(s) && s[i+run] == c {
				run++
			}
			if !marksEmphasis(s, i, run) {
				b.WriteString(s[i : i+run])
				i += run
				continue
			}
			for range run {
				b.WriteByte('\\')
				b.WriteByte(c)
			}
			i += run
			continue
		case '\\':
			if i+1 == len(s) || isPunct(s[i+1]) || s[i+1] == '\n' || s[i+1] == '\r' {
				b.WriteByte('\\')
			}
		case '`':
			b.WriteByte('\\')
		case ']':
			if i+1 < len(s) && s[i+1] == '(' {
				b.WriteByte('\\')
			}
		case '<':
			if i+1 < len(s) && (isLetter(s[i+1]) || strings.IndexByte("/!?", s[i+1]) >= 0) {
				b.WriteByte('\\')
			}
		case '&':
			if isEntity(s[i:]) {
				b.WriteByte('\\')
			}
		}
		b.WriteByte(c)
		i++
	}
}

// marksEmphasis reports whether the run of delimiters s[i:i+n] could open or
// close emphasis or strikethrough (CommonMark 6.2, flanking rules).
func marksEmphasis(s string, i, n int) bool {
	before, _ := utf8.DecodeLastRuneInString(s[:i])
	after, _ := utf8.DecodeRuneInString(s[i+n:])
	spaceBefore := i == 0 || unicode.IsSpace(before)
	spaceAfter := i+n == len(s) || unicode.IsSpace(after)
	switch {
	case spaceBefore && spaceAfter:
		return false
	case s[i] == '_':
		return !isWord(before) || !isWord(after)
	case s[i] == '~':
		return n == 2
	}
	return true
}

func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func isPunct(c byte) bool {
	return c > ' ' && c < 0x7f && !isLetter(c) && (c < '0' || c > '9')
}

// isEntity reports whether s begins with a character reference, such as
// "&amp;" or "&#160;".
func isEntity(s string) bool {
	const longest = 33 // &CounterClockwiseContourIntegral;
	end := strings.IndexByte(s[:min(len(s), longest)], ';')
	if end < 2 {
		return false
	}
	for _, c := range []byte(s[1:end]) {
		if c != '#' && !isLetter(c) && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}
