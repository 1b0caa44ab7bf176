// Package sheet holds what spreadsheets of all programs share: a sparse grid of
// cells that becomes tables, and values shown in their number formats.
package sheet

import (
	"slices"
	"strconv"
	"strings"

	"sluice/services/parser/internal/md"
	"sluice/services/parser/internal/office"
)

const (
	MaxRows    = 1 << 20 // of a sheet of Excel
	MaxColumns = 1 << 14
)

// Grid is the filled cells of a sheet, row by row and in order. Sheets are
// mostly empty: two cells in opposite corners span 17 billion.
type Grid struct {
	rows   []gridRow
	merges []merge
	bytes  int // of text in it
	left   int // bytes that copies of merged cells may still take
}

type gridRow struct {
	number int // from 0
	cells  []GridCell
	spans  []span
}

type GridCell struct {
	Column int // from 0
	Text   string
	href   string
}

// Set fills a cell. Cells come in order; what comes out of order is from a
// damaged file, and is put where it fits without a search.
func (g *Grid) Set(j *office.Job, row, column int, text string) error {
	if strings.TrimSpace(text) == "" || row < 0 || row >= MaxRows || column < 0 || column >= MaxColumns {
		return nil
	}
	if err := j.Spend(len(text) + 3); err != nil {
		return err
	}
	n := len(g.rows)
	if n == 0 || g.rows[n-1].number != row {
		g.rows = append(g.rows, gridRow{number: row})
		n++
	}
	g.bytes += len(text)
	r := &g.rows[n-1]
	r.cells = append(r.cells, GridCell{Column: column, Text: text})
	return nil
}

// blocks returns the tables of a sheet. An empty row ends a table if what
// follows stands in other columns; else the rows after it belong to the same
// table. A lone cell is a paragraph: a title, a remark.
func (g *Grid) blocks(j *office.Job) ([]office.Block, error) {
	var out []office.Block
	for i := 0; i < len(g.rows); {
		end, low, high := island(g.rows, i)
		for end < len(g.rows) {
			next, l, h := island(g.rows, end)
			if l != low || h != high || low == high {
				break
			}
			end = next
		}
		b, err := g.tableOf(j, g.rows[i:end])
		if err != nil {
			return nil, err
		}
		out = append(out, b)
		i = end
	}
	return out, nil
}

// island returns the end of the rows that follow each other from i on, and the
// columns they fill. A cell that covers rows holds them together.
func island(rows []gridRow, i int) (end, low, high int) {
	low, high = MaxColumns, 0
	for end = i; end < len(rows); end++ {
		if end > i && rows[end].number > rows[end-1].number+1 && !held(rows[end], rows[end-1].number) {
			break
		}
		for _, c := range rows[end].cells {
			low, high = min(low, c.Column), max(high, c.Column)
		}
		for _, s := range rows[end].spans {
			if s.tall { // one that is only wide is a title
				low, high = min(low, s.from), max(high, s.from)
			}
		}
	}
	return end, low, high
}

// held reports whether a cell covers a row and the row of that number above it.
func held(r gridRow, above int) bool {
	for _, s := range r.spans {
		if s.top <= above {
			return true
		}
	}
	return false
}

// tableOf returns rows as a table without the columns that none of them fills.
func (g *Grid) tableOf(j *office.Job, rows []gridRow) (office.Block, error) {
	var columns []int
	for _, r := range rows {
		for _, c := range r.cells {
			columns = append(columns, c.Column)
		}
		for _, s := range r.spans {
			if s.tall && s.top < r.number && s.top < rows[0].number { // its value is in another table
				columns = append(columns, s.from)
			}
		}
	}
	if len(columns) == 1 {
		return office.Block{Text: rows[0].cells[0].markdown()}, nil
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
		cells, err := g.covered(j, r, columns)
		if err != nil {
			return office.Block{}, err
		}
		for _, c := range cells {
			width = max(width, at(c.Column)+1)
		}
		if err := j.Spend(3 * (width - len(cells))); err != nil {
			return office.Block{}, err
		}
		row := make([]string, width)
		for _, c := range cells {
			row[at(c.Column)] = c.markdown()
		}
		out = append(out, row)
		if err := j.Alive(); err != nil {
			return office.Block{}, err
		}
	}
	return office.Block{Kind: office.Table, Rows: out}, nil
}

func (c GridCell) markdown() string {
	s := md.EscapeInline(c.Text)
	if href := office.SafeURL(c.href); href != "" {
		return md.Link(s, href)
	}
	return s
}

// Sheet is what a workbook of any format says about one of its sheets.
type Sheet struct {
	Name   string
	Hidden bool
	Grid   Grid
	Links  map[string]string // by cell: "A1"
	Extra  []office.Block    // what floats over the cells
	notes  []office.Block    // comments, as a list
}

// AddTo writes a sheet as the next page.
func (s *Sheet) AddTo(j *office.Job, out *office.Document) error {
	out.Page()
	out.Add(office.Block{Kind: office.Mark, Text: md.Heading(2, md.EscapeInline(s.Name))})
	if s.Hidden {
		out.Add(office.Block{Kind: office.Mark, Text: "<!-- hidden sheet -->"})
	}
	if len(s.Links) > 0 {
		for _, r := range s.Grid.rows {
			for i := range r.cells {
				c := &r.cells[i]
				c.href = s.Links[CellName(r.number, c.Column)]
			}
		}
	}
	s.Grid.spread(j)
	blocks, err := s.Grid.blocks(j)
	if err != nil {
		return err
	}
	out.Add(blocks...)
	out.Add(s.Extra...)
	if len(s.notes) > 0 {
		out.Add(office.Block{Kind: office.Mark, Text: "### Comments:"})
		out.Add(s.notes...)
	}
	return nil
}

// Note adds a comment on a cell.
func (s *Sheet) Note(j *office.Job, cell, author, text string) error {
	text = md.Line(text)
	if text == "" {
		return nil
	}
	if author != "" && !strings.HasPrefix(text, author+":") {
		text = author + ": " + text
	}
	s.notes = append(s.notes, office.Block{Kind: office.Item, Marker: "-", Text: cell + ": " + md.EscapeInline(text)})
	return j.Spend(len(text))
}

// CellName returns "A1" for row 0, column 0.
func CellName(row, column int) string {
	var b [8]byte
	i := len(b)
	for n := column + 1; n > 0; n = (n - 1) / 26 {
		i--
		b[i] = byte('A' + (n-1)%26)
	}
	return string(b[i:]) + strconv.Itoa(row+1)
}

// ParseCell is the inverse of cellName; a missing part is -1.
func ParseCell(name string) (row, column int) {
	i := 0
	for ; i < len(name) && i < 4 && office.IsASCIILetter(name[i]); i++ {
		column = column*26 + int(name[i]|0x20-'a') + 1
	}
	return office.Number(name[i:], 0) - 1, column - 1
}
