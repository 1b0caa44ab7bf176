package split

import (
	"strings"
	"unicode/utf8"
)

const (
	// maxHeaderBytes is how much of a table is looked at for its header.
	maxHeaderBytes = 16 << 10
	// maxHeaderRows is how many rows a header has at most.
	maxHeaderRows = 3
)

// headers knows the header row of the table that a chunk begins in.
type headers struct {
	md     string
	tok    tokenizer
	blocks []block
	limit  int // the most tokens of a header; 0: chunks have none
	hint   int // the block last looked up

	// Of the table last looked at, whose block.table this is, or 0.
	table  int
	from   int // where the header begins
	text   string
	tokens int
}

// at returns the header of the table that a chunk from pos on begins in, and what
// it takes of the chunk's tokens. It is "" outside of tables, and where the chunk
// has the header in its own text.
func (h *headers) at(pos int) (text string, tokens int) {
	if h.limit == 0 || len(h.blocks) == 0 {
		return "", 0
	}
	b := h.block(pos)
	if b.table == 0 || pos < b.table {
		return "", 0
	}
	if b.table != h.table {
		h.read(b.table)
	}
	if pos <= h.from {
		return "", 0
	}
	return h.text, h.tokens
}

// block is blockAt, faster where pos is near the one before.
func (h *headers) block(pos int) *block {
	for i := min(h.hint, len(h.blocks)-1); i < min(h.hint+4, len(h.blocks)); i++ {
		if h.blocks[i].start <= pos && (i+1 == len(h.blocks) || pos < h.blocks[i+1].start) {
			h.hint = i
			return &h.blocks[i]
		}
	}
	h.hint = indexOf(h.blocks, pos)
	return &h.blocks[h.hint]
}

// read finds the header of a table.
func (h *headers) read(table int) {
	h.table, h.from = table, table-1
	source := clip(h.md[h.from:], maxHeaderBytes)
	var rows [][]string
	switch lead := strings.TrimLeft(source, " \t>"); {
	case lead == "":
	case lead[0] == '<':
		var skipped int
		rows, skipped = markupHeader(source)
		h.from += skipped
	case lead[0] == '`' || lead[0] == '~':
		rows = separatedHeader(source)
	default:
		rows = [][]string{rowCells(source[:nextLine(source)])}
	}
	h.text, h.tokens = "", 0
	if len(rows) > 0 {
		h.text = h.fit(rows)
	}
	if h.text != "" {
		h.tokens = h.count(h.text)
	}
}

// count returns what a header takes: one more than it has, because there can be
// one more where it is joined to the text.
func (h *headers) count(text string) int { return h.tok.Count(text+"\n") + 1 }

// fit returns a header that is no longer than the limit. Long cells are shortened
// first; if that does not do, the last columns go.
func (h *headers) fit(rows [][]string) string {
	columns := 0
	for _, row := range rows {
		columns = max(columns, len(row))
	}
	for _, longest := range [...]int{maxHeaderBytes, 48, 24, 12} {
		for _, row := range rows {
			for i := range row {
				row[i] = shorten(row[i], longest)
			}
		}
		if text := joinRows(rows, columns); text == "" || h.count(text) <= h.limit {
			return text
		}
	}
	// The largest number of columns that fits.
	low, high := 0, columns
	for low+1 < high {
		if m := (low + high) / 2; h.count(joinRows(rows, m)) <= h.limit {
			low = m
		} else {
			high = m
		}
	}
	if low == 0 {
		return ""
	}
	return joinRows(rows, low)
}

// joinRows writes the first columns of rows. What is left out leaves a mark.
func joinRows(rows [][]string, columns int) string {
	var b strings.Builder
	for _, row := range rows {
		used := 0
		for i, cell := range row {
			if cell != "" {
				used = i + 1
			}
		}
		if used == 0 {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(strings.Join(row[:min(used, columns)], " | "))
		if used > columns {
			b.WriteString(" | …")
		}
	}
	return strings.TrimLeft(b.String(), " \n")
}

// shorten cuts s to about n bytes, at a word if there is one near.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	if i := strings.LastIndexByte(s[:n], ' '); i > n/2 {
		n = i
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.TrimRight(strings.TrimSuffix(s[:n], "…"), " ") + "…"
}

// rowCells returns the plain text of the cells of a row of a Markdown table.
func rowCells(line string) []string {
	line = strings.TrimSpace(strings.TrimLeft(line, " \t>"))
	line = strings.TrimPrefix(line, "|")
	var row []string
	for start, i := 0, 0; i <= len(line); i++ {
		switch {
		case i == len(line):
			if start < i || len(row) == 0 {
				row = append(row, plain(line[start:]))
			}
		case line[i] == '\\':
			i++
		case line[i] == '|':
			row = append(row, plain(line[start:i]))
			start = i + 1
		}
	}
	return row
}

// separated are the languages of code blocks that hold a table, by what is between
// their cells.
var separated = map[string]string{"csv": ",", "tsv": "\t", "psv": "|"}

// separator returns what is between the cells in a code block that holds a table,
// or "". s is the line that opens it.
func separator(s string) string {
	info := strings.TrimSpace(strings.TrimLeft(s, "`~ \t>"))
	if i := strings.IndexAny(info, " \t{,"); i >= 0 {
		info = info[:i]
	}
	return separated[strings.ToLower(info)]
}

// separatedHeader returns the first row of a code block of separated values.
func separatedHeader(source string) [][]string {
	n := nextLine(source)
	sep := separator(source[:n])
	for rest := source[n:]; rest != ""; rest = rest[nextLine(rest):] {
		line := strings.TrimSpace(rest[:nextLine(rest)])
		if line == "" {
			continue
		}
		if sep == "," && !strings.Contains(line, ",") && strings.Contains(line, ";") {
			sep = ";"
		}
		var row []string
		quoted, start := false, 0
		for i := 0; i <= len(line); i++ {
			switch {
			case i == len(line) || !quoted && strings.HasPrefix(line[i:], sep):
				cell := strings.Trim(strings.TrimSpace(line[start:i]), `"`)
				row = append(row, strings.ToValidUTF8(strings.ReplaceAll(cell, `""`, `"`), "\uFFFD"))
				start = i + len(sep)
			case line[i] == '"':
				quoted = !quoted
			}
		}
		return [][]string{row}
	}
	return nil
}

// markupHeader returns the header rows of an HTML table and where the first begins:
// the rows of its thead, else those that have nothing but th cells.
func markupHeader(source string) (rows [][]string, from int) {
	var (
		row            []string
		start          = -1 // of the text of the open cell
		head, th, td   bool
		at, begin      int
		inRow, started bool
	)
	cell := func(end int) {
		if start >= 0 {
			row = append(row, plain(source[start:end]))
			start = -1
		}
	}
	// done takes the row in hand and reports whether the header goes on.
	done := func(end int) bool {
		cell(end)
		if !inRow {
			return true
		}
		inRow = false
		if len(row) == 0 || !head && (td || !th) || len(rows) == maxHeaderRows {
			return len(row) == 0
		}
		if len(rows) == 0 {
			from = begin
		}
		rows = append(rows, row)
		row = nil
		return true
	}
	for {
		i := strings.IndexByte(source[at:], '<')
		if i < 0 {
			return rows, from
		}
		at += i
		name, closing := tagName(source[at:])
		end := at + 1
		if j := strings.IndexByte(source[at:], '>'); j >= 0 {
			end = at + j + 1
		}
		switch {
		case name == "table" && (closing || started), name == "tbody", name == "tfoot", name == "thead" && closing:
			if !done(at) || name == "table" || name != "thead" && len(rows) > 0 {
				return rows, from
			}
			head = false
		case name == "table":
			started = true
		case name == "thead":
			head = true
		case name == "tr":
			if !done(at) {
				return rows, from
			}
			if !closing {
				row, th, td, inRow, begin = nil, false, false, true, at
			}
		case name == "th" || name == "td":
			cell(at)
			if !closing {
				th, td = th || name == "th", td || name == "td"
				start = end
			}
		}
		at = end
	}
}

// tagName returns the name of the tag that s begins with, in lower case, and
// whether it is a closing one; "" if there is no tag.
func tagName(s string) (name string, closing bool) {
	const longest = 12
	i := 1
	if i < len(s) && s[i] == '/' {
		closing = true
		i++
	}
	from := i
	for i < len(s) && i-from < longest && (isLetter(s[i]) || i > from && s[i] >= '0' && s[i] <= '9') {
		i++
	}
	if i == from || i < len(s) && s[i] != '>' && s[i] != '/' && s[i] > ' ' {
		return "", false
	}
	return strings.ToLower(s[from:i]), closing
}
