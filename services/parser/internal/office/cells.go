package office

import "strings"

// Cells is a table while it is read, whose cells may cover others. The value of
// one that does stands in each row and column that it covers, so that each row
// can be understood by itself.
type Cells struct {
	rows  [][]tableCell
	bytes int
}

type tableCell struct {
	text  string
	cover Cover
}

// Cover is where the value of a cell comes from.
type Cover uint8

const (
	Own       Cover = iota // itself
	FromLeft               // the cell to the left, which covers this one
	FromAbove              // the cell above, which covers this one
	Gap                    // nowhere: the row begins further right
)

// NextRow begins a row.
func (c *Cells) NextRow() { c.rows = append(c.rows, nil) }

// DropRow takes the row back that was begun last.
func (c *Cells) DropRow() { c.rows = c.rows[:len(c.rows)-1] }

// Len returns the number of rows.
func (c *Cells) Len() int { return len(c.rows) }

// Add puts a cell into the last row. It covers so many columns.
func (c *Cells) Add(text string, columns int, cover Cover) {
	r := &c.rows[len(c.rows)-1]
	c.bytes += len(text)
	*r = append(*r, tableCell{text, cover})
	if cover == Own {
		cover = FromLeft
	}
	for range columns - 1 {
		*r = append(*r, tableCell{cover: cover})
	}
}

// Rows returns the texts of the table. Columns in which no cell begins are left
// out (editors keep a column for every edge that cells ever had), and so are the
// values in rows that have nothing of their own.
func (c *Cells) Rows(j *Job) ([][]string, error) {
	var begins []bool
	for _, r := range c.rows {
		for len(begins) < len(r) {
			begins = append(begins, false)
		}
		for i, cell := range r {
			begins[i] = begins[i] || cell.cover == Own
		}
	}
	// Copies may not outgrow what the table itself holds by more than this.
	const factor, least = 4, 1 << 20
	left := factor*c.bytes + least
	out := make([][]string, 0, len(c.rows))
	var above []string // by column, of all columns
	for _, r := range c.rows {
		texts := make([]string, len(r))
		own := false
		for i, cell := range r {
			switch cell.cover {
			case Own:
				texts[i] = cell.text
				own = own || strings.TrimSpace(cell.text) != ""
			case FromLeft:
				if i > 0 {
					texts[i] = texts[i-1]
				}
			case FromAbove:
				if i < len(above) {
					texts[i] = above[i]
				}
			}
		}
		above = texts
		if !own {
			continue
		}
		row := make([]string, 0, len(r))
		for i, text := range texts {
			if !begins[i] {
				continue
			}
			if r[i].cover != Own && text != "" {
				if left -= len(text); left < 0 {
					j.Warn("cells of a table cover so many others that their value is not repeated in all of them")
					text = ""
				}
				if err := j.Spend(len(text)); err != nil {
					return nil, err
				}
			}
			row = append(row, text)
		}
		out = append(out, row)
	}
	return out, nil
}
