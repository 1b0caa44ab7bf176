package sheet

import (
	"cmp"
	"slices"
	"strings"

	"sluice/services/parser/internal/office"
)

// span is a cell that covers others, as it lies in one row.
type span struct {
	from, to int // columns
	top      int // the row of its value
	tall     bool
	cell     GridCell
}

type merge struct{ row, column, lastRow, lastColumn int }

// Merge says that the value of one cell covers others. It stands in each of the
// rows and columns that hold something of their own: a merge over a million cells
// costs no more than those.
func (g *Grid) Merge(row, column, lastRow, lastColumn int) {
	const most = 1 << 17 // more than anyone merges
	if row < 0 || column < 0 || lastRow < row || lastColumn < column || (row == lastRow && column == lastColumn) || len(g.merges) >= most {
		return
	}
	g.merges = append(g.merges, merge{row, column, min(lastRow, MaxRows-1), min(lastColumn, MaxColumns-1)})
}

// find returns where the row of that number is, or would be.
func (g *Grid) find(number int) (int, bool) {
	return slices.BinarySearchFunc(g.rows, number, func(r gridRow, n int) int { return cmp.Compare(int(r.number), n) })
}

// spread notes in every row what covers it.
func (g *Grid) spread(j *office.Job) {
	// Copies may not outgrow what the sheet itself holds by more than this.
	const factor, least = 4, 1 << 20
	g.left = factor*g.bytes + least
	if len(g.merges) > 0 {
		g.spans = map[int][]span{}
	}
	var room []GridCell
	for _, m := range g.merges {
		i, found := g.find(m.row)
		if !found {
			continue
		}
		room = g.row(i, room)
		at := slices.IndexFunc(room, func(c GridCell) bool { return c.Column == m.column })
		if at < 0 {
			continue // it covers nothing with nothing
		}
		s := span{from: m.column, to: m.lastColumn, top: m.row, tall: m.lastRow > m.row, cell: room[at]}
		s.cell.Text = strings.Clone(s.cell.Text) // of the whole row
		for ; i < len(g.rows) && int(g.rows[i].number) <= m.lastRow; i++ {
			if !g.copied(j, s.cell) {
				return
			}
			g.spans[i] = append(g.spans[i], s)
		}
	}
	g.merges = nil
}

// copied pays for one more copy of a cell.
func (g *Grid) copied(j *office.Job, c GridCell) bool {
	if g.left -= len(c.Text) + 8; g.left < 0 {
		j.Warn("merged cells cover so many others that their value is not repeated in all of them")
		return false
	}
	return true
}

// covered returns the cells of a row with what covers it, in the columns given.
func (g *Grid) covered(j *office.Job, i int, cells []GridCell, columns []int, pay bool) ([]GridCell, error) {
	spans := g.spans[i]
	if len(spans) == 0 {
		return cells, nil
	}
	have := map[int]bool{}
	for _, c := range cells {
		have[c.Column] = true
	}
	for _, s := range spans {
		k, _ := slices.BinarySearch(columns, s.from)
		for ; k < len(columns) && columns[k] <= s.to; k++ {
			if have[columns[k]] {
				continue
			}
			if !g.copied(j, s.cell) {
				return cells, nil
			}
			have[columns[k]] = true
			c := s.cell
			c.Column = columns[k]
			cells = append(cells, c)
			if !pay {
				continue
			}
			if err := j.Spend(len(c.Text) + 3); err != nil {
				return nil, err
			}
		}
	}
	return cells, nil
}
