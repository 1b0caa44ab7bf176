package web

import (
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
)

// table writes a table as one, unless it only arranges a page.
func (w *htmlWriter) table(n *html.Node) {
	rows, ends, head, captions := tableRows(n)
	for _, c := range captions {
		w.node(c)
	}
	if w.flat || isLayout(n, rows) {
		for _, tr := range rows {
			w.node(tr)
		}
		w.block(2) // an empty one ends the line, too
		return
	}
	grid := w.grid(rows, ends)
	if w.err != nil || len(grid) == 0 {
		return
	}
	if head > 0 && head < len(grid) && !isBlank(grid[head]) {
		header := grid[head]
		copy(grid[1:head+1], grid[:head])
		grid[0] = header
	}
	kept := grid[:0]
	for _, row := range grid {
		if !isBlank(row) {
			kept = append(kept, row)
		}
	}
	w.lines(md.Table(kept))
}

func isBlank(row []string) bool {
	for _, c := range row {
		if c != "" {
			return false
		}
	}
	return true
}

// tableRows returns the rows of a table without those of tables inside it, for
// each the end of the group of rows that it is in, the index of the first row of
// its head (0 if it has none), and its captions.
func tableRows(table *html.Node) (rows []*html.Node, ends []int, head int, captions []*html.Node) {
	end := func() {
		for len(ends) < len(rows) {
			ends = append(ends, len(rows))
		}
	}
	for part := table.FirstChild; part != nil; part = part.NextSibling {
		switch part.DataAtom {
		case atom.Caption:
			captions = append(captions, part)
		case atom.Tr:
			rows = append(rows, part)
		case atom.Thead, atom.Tbody, atom.Tfoot:
			end()
			if part.DataAtom == atom.Thead && head == 0 {
				head = len(rows)
			}
			for tr := part.FirstChild; tr != nil; tr = tr.NextSibling {
				if tr.DataAtom == atom.Tr {
					rows = append(rows, tr)
				}
			}
			end()
		}
	}
	end()
	return rows, ends, head, captions
}

func isCell(n *html.Node) bool { return n.DataAtom == atom.Td || n.DataAtom == atom.Th }

// isLayout reports whether a table arranges a page: it says so, or has no
// header and holds what no cell of data holds, or has nothing to arrange.
func isLayout(table *html.Node, rows []*html.Node) bool {
	switch attr(table, "role") {
	case "presentation", "none":
		return true
	}
	width, headers := 0, false
	for _, tr := range rows {
		cells := 0
		for c := tr.FirstChild; c != nil; c = c.NextSibling {
			if isCell(c) {
				cells++
				headers = headers || c.DataAtom == atom.Th
			}
		}
		width = max(width, cells)
	}
	if width == 0 {
		return true
	}
	if width == 1 && (!headers || len(rows) == 1) {
		return true
	}
	if headers {
		return false
	}
	return find(table, func(n *html.Node) bool {
		switch n.DataAtom {
		case atom.Table, atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6, atom.Pre, atom.Blockquote, atom.Form:
			return true
		}
		return n.Data == streamedName
	}) != nil
}

// grid returns the cells of a table in their columns. The text of a cell that
// spans several stands in each.
//
// Spans are an amplifier (82 bytes of table can ask for gigabytes of cells), so
// what is repeated is bounded by the text that is there.
func (w *htmlWriter) grid(rows []*html.Node, ends []int) [][]string {
	g := md.Spans{Limit: spare}
	w.cells(&g, rows, ends)
	if w.err != nil {
		return nil
	}
	return g.Rows()
}

func (w *htmlWriter) cells(g *md.Spans, rows []*html.Node, ends []int) {
	for i, tr := range rows {
		g.Row()
		for c := tr.FirstChild; c != nil; c = c.NextSibling {
			if !isCell(c) {
				continue
			}
			text := w.flatten(c)
			if w.err != nil {
				return
			}
			g.Limit += 8 * int64(len(text)+8)
			g.Cell(text, format.Span(attr(c, "colspan")), rowSpan(c, ends[i]-i))
		}
	}
}

// spare are the bytes that the cells of a small table may be repeated in.
const spare = 64 << 10

// rowSpan returns the rows that a cell covers, which end with its group of rows; 0
// is all of them.
func rowSpan(cell *html.Node, left int) int {
	if strings.TrimSpace(attr(cell, "rowspan")) == "0" {
		return left
	}
	return min(format.Span(attr(cell, "rowspan")), left)
}
