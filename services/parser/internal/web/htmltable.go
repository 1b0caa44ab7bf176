package web

import (
	"strconv"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"sluice/services/parser/internal/md"
)

// table writes a table as one, unless it only arranges a page.
func (w *htmlWriter) table(n *html.Node) {
	rows, head, captions := tableRows(n)
	if w.flat || isLayout(n, rows) {
		for _, c := range captions {
			w.block(2)
			w.children(c)
		}
		for _, tr := range rows {
			w.block(2)
			w.children(tr)
		}
		w.block(2)
		return
	}
	for _, c := range captions {
		w.block(2)
		w.children(c)
		w.block(2)
	}
	grid := w.grid(rows)
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

// tableRows returns the rows of a table without those of tables inside it, the
// index of the first row of its head (0 if it has none), and its captions.
func tableRows(table *html.Node) (rows []*html.Node, head int, captions []*html.Node) {
	for part := table.FirstChild; part != nil; part = part.NextSibling {
		switch part.DataAtom {
		case atom.Caption:
			captions = append(captions, part)
		case atom.Tr:
			rows = append(rows, part)
		case atom.Thead, atom.Tbody, atom.Tfoot:
			if part.DataAtom == atom.Thead && head == 0 {
				head = len(rows)
			}
			for tr := part.FirstChild; tr != nil; tr = tr.NextSibling {
				if tr.DataAtom == atom.Tr {
					rows = append(rows, tr)
				}
			}
		}
	}
	return rows, head, captions
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
		return false
	}) != nil
}

// grid returns the cells of a table in their columns. A cell that spans several
// stands in the first of them, the others are empty.
//
// Spans are an amplifier (82 bytes of table can ask for gigabytes of cells), so
// all empty cells together are bounded by the cells that are there.
func (w *htmlWriter) grid(rows []*html.Node) [][]string {
	cells := 0
	for _, tr := range rows {
		for c := tr.FirstChild; c != nil; c = c.NextSibling {
			if isCell(c) {
				cells++
			}
		}
	}
	spare := 4*cells + 256
	take := func() bool {
		spare--
		return spare >= 0
	}

	grid := make([][]string, 0, len(rows))
	var below []int // rows for which a column is still covered from above
	for i, tr := range rows {
		var row []string
		covered := func() {
			for len(row) < len(below) && below[len(row)] > 0 && take() {
				below[len(row)]--
				row = append(row, "")
			}
		}
		for c := tr.FirstChild; c != nil; c = c.NextSibling {
			if !isCell(c) {
				continue
			}
			covered()
			text := w.flatten(c)
			if w.err != nil {
				return nil
			}
			down := min(span(c, "rowspan"), len(rows)-i) - 1
			for k := range span(c, "colspan") {
				if k > 0 {
					if !take() {
						break
					}
					text = ""
				}
				if down > 0 {
					for len(below) <= len(row) {
						below = append(below, 0)
					}
					below[len(row)] = down
				}
				row = append(row, text)
			}
		}
		covered()
		grid = append(grid, row)
	}
	return grid
}

// span returns a rowspan or colspan, within the limits that HTML sets.
func span(cell *html.Node, key string) int {
	n, err := strconv.Atoi(strings.TrimSpace(attr(cell, key)))
	if err != nil || n < 1 {
		return 1
	}
	return min(n, 1000)
}
