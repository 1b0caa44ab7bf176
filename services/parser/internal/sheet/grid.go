// Package sheet holds what spreadsheets of all programs share: a sparse grid of
// cells that becomes tables, and values shown in their number formats.
package sheet

import (
	"encoding/binary"
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
// mostly empty: two cells in opposite corners span 17 billion. And they are
// large: a row is kept as its bytes, and becomes strings when it is written.
type Grid struct {
	rows   []gridRow
	pages  [][]byte // of the rows that are complete
	last   []byte   // the row that is being filled
	merges []merge
	spans  map[int][]span // by index of the row
	links  map[string]string
	bytes  int // of text in it
	left   int // bytes that copies of merged cells may still take
	at     []int32
}

// gridRow is a row and where its bytes are: for each cell the column, the length
// of the text, both as varints, and the text.
type gridRow struct {
	number     int32 // from 0
	page       int32
	start, end int32
}

// GridCell is a cell of a row.
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
	if n := len(g.rows); n == 0 || int(g.rows[n-1].number) != row {
		g.flush()
		g.rows = append(g.rows, gridRow{number: int32(row)})
	}
	g.bytes += len(text)
	g.last = binary.AppendUvarint(g.last, uint64(column))
	g.last = binary.AppendUvarint(g.last, uint64(len(text)))
	g.last = append(g.last, text...)
	return nil
}

// flush puts the row that is being filled with the others.
func (g *Grid) flush() {
	const page = 256 << 10
	n := len(g.rows)
	if n == 0 || len(g.last) == 0 {
		return
	}
	at := len(g.pages) - 1
	if at < 0 || cap(g.pages[at])-len(g.pages[at]) < len(g.last) {
		size := page
		if len(g.pages) == 0 { // most sheets are small
			size = 4 << 10
		}
		g.pages = append(g.pages, make([]byte, 0, max(size, len(g.last))))
		at++
	}
	r := &g.rows[n-1]
	r.page, r.start = int32(at), int32(len(g.pages[at]))
	g.pages[at] = append(g.pages[at], g.last...)
	r.end = int32(len(g.pages[at]))
	const large = 1 << 20
	if g.last = g.last[:0]; cap(g.last) > large {
		g.last = nil
	}
}

// row returns the cells of the row at an index. They are valid until the next call with the same room.
func (g *Grid) row(i int, room []GridCell) []GridCell {
	r := g.rows[i]
	b := g.pages[r.page][r.start:r.end]
	all := string(b)
	cells := room[:0]
	for at := 0; at < len(b); {
		column, n := binary.Uvarint(b[at:])
		at += n
		size, n := binary.Uvarint(b[at:])
		at += n
		c := GridCell{Column: int(column), Text: all[at : at+int(size)]}
		at += int(size)
		if len(g.links) > 0 {
			c.href = g.links[CellName(int(r.number), c.Column)]
		}
		cells = append(cells, c)
	}
	return cells
}

// columns calls f for the column of each cell of a row.
func (g *Grid) columns(i int, f func(column int)) {
	r := g.rows[i]
	for b := g.pages[r.page][r.start:r.end]; len(b) > 0; {
		column, n := binary.Uvarint(b)
		size, k := binary.Uvarint(b[n:])
		f(int(column))
		b = b[n+k+int(size):]
	}
}

// blocks returns the tables of a sheet. An empty row ends a table if what
// follows stands in other columns; else the rows after it belong to the same
// table. A lone cell is a paragraph: a title, a remark.
func (g *Grid) blocks(j *office.Job) ([]office.Block, error) {
	var out []office.Block
	for i := 0; i < len(g.rows); {
		end, low, high := g.island(i)
		for end < len(g.rows) {
			next, l, h := g.island(end)
			if l != low || h != high || low == high {
				break
			}
			end = next
		}
		b, err := g.tableOf(j, i, end)
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
func (g *Grid) island(i int) (end, low, high int) {
	low, high = MaxColumns, 0
	for end = i; end < len(g.rows); end++ {
		if end > i && g.rows[end].number > g.rows[end-1].number+1 && !g.held(end) {
			break
		}
		g.columns(end, func(column int) { low, high = min(low, column), max(high, column) })
		for _, s := range g.spans[end] {
			if s.tall { // one that is only wide is a title
				low, high = min(low, s.from), max(high, s.from)
			}
		}
	}
	return end, low, high
}

// held reports whether a cell covers a row and the one before it.
func (g *Grid) held(i int) bool {
	for _, s := range g.spans[i] {
		if s.top <= int(g.rows[i-1].number) {
			return true
		}
	}
	return false
}

// tableOf returns the rows from one index to another as a table without the
// columns that none of them fills.
func (g *Grid) tableOf(j *office.Job, from, to int) (office.Block, error) {
	if g.at == nil {
		g.at = make([]int32, MaxColumns)
	}
	at := g.at // of columns that are used, their place and 1
	var columns []int
	defer func() {
		for _, c := range columns {
			at[c] = 0
		}
	}()
	cells := 0
	use := func(column int) {
		cells++
		if at[column] == 0 {
			at[column] = 1
			columns = append(columns, column)
		}
	}
	for i := from; i < to; i++ {
		g.columns(i, use)
		for _, s := range g.spans[i] {
			if s.tall && s.top < int(g.rows[from].number) { // its value is in another table
				use(s.from)
			}
		}
	}
	if cells == 1 {
		return office.Block{Text: g.row(from, nil)[0].markdown()}, nil
	}
	slices.Sort(columns)
	for i, c := range columns {
		at[c] = int32(i + 1)
	}
	// The rows are made twice, once to measure and once to write them: to hold all of
	// them as strings takes several times what the table does.
	var table md.TableWriter
	var room []GridCell
	var texts []string
	left := g.left
	for pass := range 2 {
		g.left = left // both passes copy the same
		for i := from; i < to; i++ {
			room = g.row(i, room)
			cells, err := g.covered(j, i, room, columns, pass == 0)
			if err != nil {
				return office.Block{}, err
			}
			width := 0
			for _, c := range cells {
				width = max(width, int(at[c.Column]))
			}
			texts = texts[:0]
			for range width {
				texts = append(texts, "")
			}
			for _, c := range cells {
				if pass == 1 {
					c.Text = c.markdown()
				}
				texts[at[c.Column]-1] = c.Text
			}
			if pass == 1 {
				table.Write(texts)
				continue
			}
			table.Measure(texts)
			if err := j.Spend(3 * (width - len(cells))); err != nil {
				return office.Block{}, err
			}
			if err := j.Alive(); err != nil {
				return office.Block{}, err
			}
		}
	}
	return office.Block{Kind: office.Written, Text: table.String()}, nil
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
	Header []office.Block    // of its printed pages
	Footer []office.Block
	notes  []office.Block // comments, as a list
}

// AddTo writes a sheet as the next page. The frames are those of the workbook.
func (s *Sheet) AddTo(j *office.Job, out *office.Document, frames *Frames) error {
	out.Page()
	out.Add(office.Block{Kind: office.Mark, Text: md.Heading(2, md.EscapeInline(s.Name))})
	if s.Hidden {
		out.Add(office.Block{Kind: office.Mark, Text: "<!-- hidden sheet -->"})
	}
	s.Grid.flush()
	s.Grid.links = s.Links
	s.Grid.spread(j)
	blocks, err := s.Grid.blocks(j)
	if err != nil {
		return err
	}
	blocks = append(blocks, s.Extra...)
	header, footer := frames.around(s, blocks)
	out.Add(header...)
	out.Add(blocks...)
	if len(s.notes) > 0 {
		out.Add(office.Block{Kind: office.Mark, Text: "### Comments:"})
		out.Add(s.notes...)
	}
	out.Add(footer...)
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
func CellName(row, column int) string { return ColumnName(column) + strconv.Itoa(row+1) }

// ColumnName returns "A" for column 0, "AA" for column 26.
func ColumnName(column int) string {
	var b [8]byte
	i := len(b)
	for n := column + 1; n > 0; n = (n - 1) / 26 {
		i--
		b[i] = byte('A' + (n-1)%26)
	}
	return string(b[i:])
}

// ParseCell is the inverse of CellName; a missing part is -1.
func ParseCell(name string) (row, column int) {
	i := 0
	for ; i < len(name) && i < 4 && office.IsASCIILetter(name[i]); i++ {
		column = column*26 + int(name[i]|0x20-'a') + 1
	}
	return office.Number(name[i:], 0) - 1, column - 1
}
