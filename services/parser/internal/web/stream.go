package web

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
)

// A tree of HTML takes thirty times its bytes. Tables of very many rows are kept out
// of it: their source is cut out before the page is parsed, and their rows are
// parsed some at a time when the table is written.

const (
	streamedSize = 1 << 20   // bytes of a table from which on it is
	batchSize    = 128 << 10 // bytes of rows that are parsed at once
	streamedName = "sluice-streamed-table"
)

// streamedTable is a table that is not in the tree.
type streamedTable struct {
	src     string // from its tag on
	written bool
}

// cutTables returns a page with an element in place of each large table of data.
func cutTables(src string) (string, []*streamedTable) {
	if len(src) < streamedSize {
		return src, nil
	}
	type open struct {
		start int
		outer bool // it is around a large one
	}
	var (
		tables []*streamedTable
		rest   strings.Builder
		stack  []open
		at     int
		copied int
	)
	end := func(to int) {
		t := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		large := to-t.start >= streamedSize
		if !t.outer && large && isStreamable(src[t.start:to]) {
			rest.WriteString(src[copied:t.start])
			rest.WriteString("<" + streamedName + " n=" + strconv.Itoa(len(tables)) + "></" + streamedName + ">")
			copied = to
			tables = append(tables, &streamedTable{src: src[t.start:to]})
		}
		// A table around a large one is looked at no more, or nested ones that are
		// not cut out would be for each of them.
		if (t.outer || large) && len(stack) > 0 {
			stack[len(stack)-1].outer = true
		}
	}
	z := html.NewTokenizer(strings.NewReader(src))
	for {
		kind := z.Next()
		size := len(z.Raw())
		if kind == html.ErrorToken {
			break // the end of a string, or of what the tokenizer can hold
		}
		at += size
		if kind != html.StartTagToken && kind != html.EndTagToken {
			continue
		}
		name, _ := z.TagName()
		if atom.Lookup(name) != atom.Table {
			continue
		}
		if kind == html.StartTagToken {
			stack = append(stack, open{start: at - size})
		} else if len(stack) > 0 {
			end(at)
		}
	}
	for len(stack) > 0 {
		end(len(src))
	}
	if len(tables) == 0 {
		return src, nil
	}
	rest.WriteString(src[copied:])
	return rest.String(), tables
}

// isStreamable reports whether the source of a table is one of rows of data, from
// how it begins.
func isStreamable(src string) bool {
	b := batches{src: src}
	part, ok := b.next()
	if !ok || b.at >= len(src) {
		return false // one row of that size is no data
	}
	table := parseTable(part)
	if table == nil {
		return false
	}
	rows, _, _, _ := tableRows(table)
	return len(rows) > 1 && !isLayout(table, rows)
}

// batches cuts the source of a table between its rows.
type batches struct {
	src string
	at  int
}

func (b *batches) next() (string, bool) {
	if b.at >= len(b.src) {
		return "", false
	}
	rest := b.src[b.at:]
	z := html.NewTokenizer(strings.NewReader(rest))
	at, depth := 0, 0
	if b.at > 0 {
		depth = 1
	}
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			b.at = len(b.src)
			return rest, true
		}
		from := at
		at += len(z.Raw())
		if kind != html.StartTagToken && kind != html.EndTagToken {
			continue
		}
		name, _ := z.TagName()
		switch a := atom.Lookup(name); {
		case a == atom.Table && kind == html.StartTagToken:
			depth++
		case a == atom.Table:
			depth--
		case kind == html.StartTagToken && depth == 1 && from >= batchSize && (a == atom.Tr || a == atom.Tbody || a == atom.Tfoot):
			b.at += from
			return rest[:from], true
		}
	}
}

// parseTable parses a batch of rows as a table.
func parseTable(part string) *html.Node {
	if !strings.HasPrefix(part, "<table") && !strings.HasPrefix(part, "<TABLE") {
		part = "<table>" + part
	}
	doc, err := html.Parse(strings.NewReader(part))
	if err != nil {
		return nil // nested too deeply
	}
	return find(doc, func(n *html.Node) bool { return n.DataAtom == atom.Table })
}

// streamedOf returns the table in whose place n stands, or nil.
func streamedOf(n *html.Node, tables []*streamedTable) *streamedTable {
	if n.Data != streamedName || len(tables) == 0 {
		return nil
	}
	if i, err := strconv.Atoi(attr(n, "n")); err == nil && i >= 0 && i < len(tables) {
		return tables[i]
	}
	return nil
}

// rowStore holds the texts of many cells.
type rowStore struct {
	text  strings.Builder
	cells []uint32 // ends of cells in the text
	rows  []uint32 // ends of rows in the cells
}

func (r *rowStore) add(row []string) {
	for _, c := range row {
		r.text.WriteString(c)
		r.cells = append(r.cells, uint32(r.text.Len()))
	}
	r.rows = append(r.rows, uint32(len(r.cells)))
}

// each calls f with each row. The row is that of the next call then.
func (r *rowStore) each(f func(row []string)) {
	text := r.text.String()
	var row []string
	cell, from := uint32(0), uint32(0)
	for _, end := range r.rows {
		row = row[:0]
		for ; cell < end; cell++ {
			row = append(row, text[from:r.cells[cell]])
			from = r.cells[cell]
		}
		f(row)
	}
}

// stream writes a table that is not in the tree.
func (w *htmlWriter) stream(t *streamedTable) {
	if t.written {
		return
	}
	t.written = true
	spans := md.Spans{Limit: spare}
	var rows rowStore
	p := &pruner{whole: w.whole, seen: map[*html.Node]linkStats{}}
	for b := (batches{src: t.src}); w.err == nil; {
		first := b.at == 0
		part, ok := b.next()
		if !ok {
			break
		}
		table := parseTable(part)
		if table == nil {
			w.warn(w.name + ": rows of a table are nested too deeply, and are kept as text")
			rows.add([]string{md.EscapeInline(md.Line(plainHTML(part)))})
			continue
		}
		p.walk(table, place{article: true})
		trs, ends, _, captions := tableRows(table)
		if first {
			for _, c := range captions {
				w.node(c)
			}
		}
		for i := range ends { // a group of rows may go on in the next batch
			if ends[i] == len(trs) {
				ends[i] += md.MaxSpan
			}
		}
		w.cells(&spans, trs, ends)
		for _, row := range spans.Take() {
			if !isBlank(row) {
				rows.add(row)
			}
		}
		if int64(rows.text.Len()) > w.limit {
			w.fail(format.TooLarge(w.name, w.limit))
		}
		for _, s := range p.warnings(w.name, table) {
			w.warn(s)
		}
		p.hidden, p.menus = nil, nil
	}
	if w.err != nil {
		return
	}
	if w.flat {
		rows.each(func(row []string) {
			w.space = true
			w.raw(strings.TrimSpace(strings.Join(row, " ")))
		})
		w.space = true
		return
	}
	var table md.TableWriter
	rows.each(table.Measure)
	rows.each(table.Write)
	rows = rowStore{}
	s := table.String()
	w.out = slices.Grow(w.out, len(s)+len(s)/8)
	w.lines(s)
}

// warn notes a warning once; hidden rows would fill it.
func (w *htmlWriter) warn(s string) {
	const most = 8
	if len(w.warnings) < most && !slices.Contains(w.warnings, s) {
		w.warnings = append(w.warnings, s)
	}
}
