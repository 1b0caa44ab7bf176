package office

import (
	"slices"
	"strconv"
	"strings"

	"sluice/services/parser/internal/md"
)

const (
	maxRows    = 1 << 20 // of a sheet of Excel
	maxColumns = 1 << 14
)

// grid is the filled cells of a sheet, row by row and in order. Sheets are
// mostly empty: two cells in opposite corners span 17 billion.
type grid struct{ rows []gridRow }

type gridRow struct {
	number int // from 0
	cells  []gridCell
}

type gridCell struct {
	column int // from 0
	text   string
	href   string
}

// set fills a cell. Cells come in order; what comes out of order is from a
// damaged file, and is put where it fits without a search.
func (g *grid) set(j *job, row, column int, text string) error {
	if strings.TrimSpace(text) == "" || row < 0 || row >= maxRows || column < 0 || column >= maxColumns {
		return nil
	}
	if err := j.spend(len(text) + 3); err != nil {
		return err
	}
	n := len(g.rows)
	if n == 0 || g.rows[n-1].number != row {
		g.rows = append(g.rows, gridRow{number: row})
		n++
	}
	r := &g.rows[n-1]
	r.cells = append(r.cells, gridCell{column: column, text: text})
	return nil
}

// blocks returns the tables of a sheet. An empty row ends a table if what
// follows stands in other columns; else the rows after it belong to the same
// table. A lone cell is a paragraph: a title, a remark.
func (g *grid) blocks(j *job) ([]block, error) {
	var out []block
	for i := 0; i < len(g.rows); {
		end, low, high := island(g.rows, i)
		for end < len(g.rows) {
			next, l, h := island(g.rows, end)
			if l != low || h != high || low == high {
				break
			}
			end = next
		}
		b, err := tableOf(j, g.rows[i:end])
		if err != nil {
			return nil, err
		}
		out = append(out, b)
		i = end
	}
	return out, nil
}

// island returns the end of the rows that follow each other from i on, and the
// columns they fill.
func island(rows []gridRow, i int) (end, low, high int) {
	low, high = maxColumns, 0
	for end = i; end < len(rows); end++ {
		if end > i && rows[end].number > rows[end-1].number+1 {
			break
		}
		for _, c := range rows[end].cells {
			low, high = min(low, c.column), max(high, c.column)
		}
	}
	return end, low, high
}

// tableOf returns rows as a table without the columns that none of them fills.
func tableOf(j *job, rows []gridRow) (block, error) {
	var columns []int
	for _, r := range rows {
		for _, c := range r.cells {
			columns = append(columns, c.column)
		}
	}
	if len(columns) == 1 {
		return block{text: rows[0].cells[0].markdown()}, nil
	}
	slices.Sort(columns)
	columns = slices.Compact(columns)
	at := func(column int) int {
		i, _ := slices.BinarySearch(columns, column)
		return i
	}
	out := make([][]string, 0, len(rows))
	for _, r := range rows {
		width := 0
		for _, c := range r.cells {
			width = max(width, at(c.column)+1)
		}
		if err := j.spend(3 * (width - len(r.cells))); err != nil {
			return block{}, err
		}
		row := make([]string, width)
		for _, c := range r.cells {
			row[at(c.column)] = c.markdown()
		}
		out = append(out, row)
		if err := j.alive(); err != nil {
			return block{}, err
		}
	}
	return block{kind: table, rows: out}, nil
}

func (c gridCell) markdown() string {
	s := md.EscapeInline(c.text)
	if href := safeURL(c.href); href != "" {
		return md.Link(s, href)
	}
	return s
}

// sheet is what a workbook of any format says about one of its sheets.
type sheet struct {
	name   string
	hidden bool
	grid   grid
	links  map[string]string // by cell: "A1"
	extra  []block           // what floats over the cells
	notes  []block           // comments, as a list
}

// addTo writes a sheet as the next page.
func (s *sheet) addTo(j *job, out *document) error {
	out.page()
	out.add(block{kind: mark, text: md.Heading(2, md.EscapeInline(s.name))})
	if s.hidden {
		out.add(block{kind: mark, text: "<!-- hidden sheet -->"})
	}
	if len(s.links) > 0 {
		for _, r := range s.grid.rows {
			for i := range r.cells {
				c := &r.cells[i]
				c.href = s.links[cellName(r.number, c.column)]
			}
		}
	}
	blocks, err := s.grid.blocks(j)
	if err != nil {
		return err
	}
	out.add(blocks...)
	out.add(s.extra...)
	if len(s.notes) > 0 {
		out.add(block{kind: mark, text: "### Comments:"})
		out.add(s.notes...)
	}
	return nil
}

// note adds a comment on a cell.
func (s *sheet) note(j *job, cell, author, text string) error {
	text = md.Line(text)
	if text == "" {
		return nil
	}
	if author != "" && !strings.HasPrefix(text, author+":") {
		text = author + ": " + text
	}
	s.notes = append(s.notes, block{kind: item, marker: "-", text: cell + ": " + md.EscapeInline(text)})
	return j.spend(len(text))
}

// cellName returns "A1" for row 0, column 0.
func cellName(row, column int) string {
	var b [8]byte
	i := len(b)
	for n := column + 1; n > 0; n = (n - 1) / 26 {
		i--
		b[i] = byte('A' + (n-1)%26)
	}
	return string(b[i:]) + strconv.Itoa(row+1)
}

// parseCell is the inverse of cellName; a missing part is -1.
func parseCell(name string) (row, column int) {
	i := 0
	for ; i < len(name) && i < 4 && isASCIILetter(name[i]); i++ {
		column = column*26 + int(name[i]|0x20-'a') + 1
	}
	return number(name[i:], 0) - 1, column - 1
}
