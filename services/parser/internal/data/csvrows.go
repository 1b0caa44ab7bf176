package data

import (
	"slices"
	"strings"
)

// csvRows reads rows of delimiter-separated values as they are met: RFC 4180,
// lines that end with LF, CRLF or CR, quotes escaped by doubling or by a
// backslash, and quotes that were never closed.
//
// A quote opens a cell only as its first character, and such a cell may run over
// lines. One quote too many would so swallow everything up to the next, or the
// end. A cell that runs over lines is therefore believed only if nothing speaks
// against it: its quote is closed, no other cell seems to open within it, and its
// row is as wide as the rows before; else the quote is a character of its line.
type csvRows struct {
	src       string
	at        int
	line      int // of at, from 1
	delimiter byte
	backslash bool // "\"" is a quote within a cell
	widths    map[int]int
	rows      int
	noClose   int  // no quote is closed from here on; len(src) if unknown
	inches    bool // the last cell that ran over lines was closed by a quote after a digit

	buf [2][]string // the row that was read, and the same one read otherwise

	// stray is called with the line of a quote that is taken for a character.
	stray func(line int)
}

func newCSVRows(src string, delimiter byte) *csvRows {
	return &csvRows{
		src: src, line: 1, delimiter: delimiter, backslash: escapesByBackslash(src), widths: map[int]int{}, noClose: len(src),
		stray: func(int) {},
	}
}

// escapesByBackslash tells whether quotes within cells are written as \", as
// databases export them: there is one before a letter, where no cell ends.
func escapesByBackslash(src string) bool {
	for at := 0; ; {
		i := strings.Index(src[at:], `\"`)
		if i < 0 {
			return false
		}
		at += i + 2
		if at < len(src) && at > 2 && isWordByte(src[at]) {
			return true
		}
	}
}

func isWordByte(c byte) bool {
	return c >= 0x80 || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'
}

// next returns the cells of the next row, until the next call, or false at the end.
// Lines without any are rows of one empty cell.
func (r *csvRows) next() ([]string, bool) {
	if r.at >= len(r.src) {
		return nil, false
	}
	from, line := r.at, r.line
	row, ran := r.row(true)
	if ran && (!r.fits(len(row)) || r.inches) {
		// Perhaps the same lines with their quotes as characters fit better.
		end, endLine, believed := r.at, r.line, r.fits(len(row))
		r.at, r.line = from, line
		plain, _ := r.row(false)
		plain = slices.Clone(plain)
		fit, next, nextLine := r.fits(len(plain)), r.at, r.line
		for fit && believed && r.at < end { // all of them have to
			more, _ := r.row(false)
			fit = r.fits(len(more))
		}
		if fit {
			row, r.at, r.line = plain, next, nextLine
			r.stray(line)
		} else {
			r.at, r.line = end, endLine
		}
	}
	if len(row) > 1 || row[0] != "" {
		r.widths[len(row)]++
		r.rows++
	}
	return row, true
}

// fits tells whether a row is as wide as most before it.
func (r *csvRows) fits(width int) bool {
	return r.rows == 0 || r.widths[width]*2 >= r.rows
}

// row reads cells to the end of a line. ran says that a quoted cell ran over
// lines, which across allows.
func (r *csvRows) row(across bool) (row []string, ran bool) {
	buf := &r.buf[0]
	if !across {
		buf = &r.buf[1]
	}
	row = (*buf)[:0]
	defer func() { *buf = row }()
	for {
		cell := ""
		if r.at < len(r.src) && r.src[r.at] == '"' {
			end, lines, ok := r.quoted(r.at + 1)
			switch {
			case ok && (lines == 0 || across):
				cell = r.unquote(r.src[r.at+1 : end])
				if lines > 0 {
					ran, r.inches = true, r.src[end-1] >= '0' && r.src[end-1] <= '9'
				}
				r.line += lines
				r.at = end + 1
				cell += r.plain() // spaces, or nothing, before the delimiter
			default:
				if across {
					r.stray(r.line)
				}
				cell = r.plain()
			}
		} else if quote, end := r.spacedQuote(); end > 0 {
			cell = r.unquote(r.src[quote+1 : end])
			r.at = end + 1
			cell += r.plain()
		} else {
			cell = r.plain()
		}
		row = append(row, cell)
		if r.at >= len(r.src) || r.src[r.at] != r.delimiter {
			r.endLine()
			return row, ran
		}
		r.at++
	}
}

// spacedQuote returns where the quotes of a cell stand that begins with spaces
// before its quote and is closed on its line, as people type it: 1, "Berg, Ada".
// end is 0 if the cell is none such.
func (r *csvRows) spacedQuote() (quote, end int) {
	quote = r.at
	for quote < len(r.src) && (r.src[quote] == ' ' || r.src[quote] == '\t') && r.src[quote] != r.delimiter {
		quote++
	}
	if quote == r.at || quote == len(r.src) || r.src[quote] != '"' {
		return 0, 0
	}
	rest := r.src[quote+1:]
	if i := strings.IndexAny(rest, "\r\n"); i >= 0 {
		rest = rest[:i]
	}
	// A cell of the rest of the line, whatever stands below.
	line := csvRows{src: rest, delimiter: r.delimiter, backslash: r.backslash}
	if i, _, ok := line.quoted(0); ok {
		return quote, quote + 1 + i
	}
	return 0, 0
}

// plain reads up to the next delimiter or end of line.
func (r *csvRows) plain() string {
	from := r.at
	for r.at < len(r.src) {
		switch c := r.src[r.at]; c {
		case '\n', '\r', r.delimiter:
			return r.src[from:r.at]
		}
		r.at++
	}
	return r.src[from:]
}

func (r *csvRows) endLine() {
	if r.at >= len(r.src) {
		return
	}
	if r.src[r.at] == '\r' && r.at+1 < len(r.src) && r.src[r.at+1] == '\n' {
		r.at++
	}
	r.at++
	r.line++
}

// quoted finds the quote that closes a cell that begins at from, after its
// quote. It is false if none does, or if the cell is not believed.
func (r *csvRows) quoted(from int) (end, lines int, ok bool) {
	const longest = 1 << 20 // bytes of a cell that runs over lines
	src := r.src
	lineEnd := -1
	for i := from; i < len(src); i++ {
		if lines > 0 && (i >= r.noClose || i-from > longest) {
			return 0, 0, false
		}
		switch src[i] {
		case '\n':
			lines++
			lineEnd = i
		case '\r':
			if i+1 >= len(src) || src[i+1] != '\n' {
				lines++
				lineEnd = i
			}
		case '\\':
			if r.backslash && i+1 < len(src) && (src[i+1] == '"' || src[i+1] == '\\') {
				i++
			}
		case '"':
			if i+1 < len(src) && src[i+1] == '"' {
				i++ // a doubled quote
				continue
			}
			after := i + 1
			for after < len(src) && (src[after] == ' ' || src[after] == '\t') && src[after] != r.delimiter {
				after++
			}
			if after >= len(src) || src[after] == r.delimiter || src[after] == '\n' || src[after] == '\r' {
				return i, lines, true
			}
			if before := i - 1; lines > 0 && (src[before] == r.delimiter || before == lineEnd) {
				return 0, 0, false // another cell opens here: this one was never closed
			}
		}
	}
	if lines > 0 {
		r.noClose = min(r.noClose, from)
	}
	return 0, 0, false
}

func (r *csvRows) unquote(s string) string {
	if r.backslash && strings.IndexByte(s, '\\') >= 0 {
		s = strings.NewReplacer(`\"`, `"`, `\\`, `\`, `""`, `"`).Replace(s)
	} else if strings.Contains(s, `""`) {
		s = strings.ReplaceAll(s, `""`, `"`)
	}
	return s
}
