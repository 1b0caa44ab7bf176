package md

// Spans builds the rows of a table whose cells may cover several rows and
// columns. The text of a cell stands in every place that it covers: a row of a
// table is understood by itself, and a chunk of a table begins at any row.
//
// What is repeated counts against Limit, in bytes of Markdown; beyond it cells
// cover one place each. A cell never makes rows that nothing else is in. The zero
// value, with a Limit, is ready to use.
type Spans struct {
	Limit int64

	rows    [][]string
	column  int
	carried map[int]carried // by column: cells that reach down from above
	spent   int64
}

type carried struct {
	text string
	rows int // left to cover
}

// MaxSpan bounds what one cell covers in each direction, as browsers do.
const MaxSpan = 1000

// maxColumns is how far to the right cells are carried down: as wide as sheets are.
const maxColumns = 1 << 14

// Row begins a row.
func (s *Spans) Row() {
	s.finish()
	s.rows = append(s.rows, nil)
	s.column = 0
}

// Cell adds a cell to the row, in the next column that no cell from above covers.
func (s *Spans) Cell(text string, across, down int) {
	if len(s.rows) == 0 {
		s.Row()
	}
	s.reach()
	across, down = min(max(across, 1), MaxSpan), max(down, 1)
	for i := range across {
		if i > 0 {
			if !s.affords(text) {
				break
			}
			// What is covered twice shows the cell of its own row.
			delete(s.carried, s.column)
		}
		if s.put(text); down > 1 && s.column <= maxColumns {
			if s.carried == nil {
				s.carried = map[int]carried{}
			}
			s.carried[s.column-1] = carried{text, down - 1}
		}
	}
}

// Skip goes on in a column, from 0, if the row is not there yet.
func (s *Spans) Skip(column int) {
	for s.reach(); s.column < min(column, maxColumns); s.reach() {
		s.put("")
	}
}

// Rows returns the rows.
func (s *Spans) Rows() [][]string {
	s.finish()
	return s.rows
}

// Take returns the rows so far and forgets them, where they are too many to be
// held. Cells reach down into what follows.
func (s *Spans) Take() [][]string {
	s.finish()
	rows := s.rows
	s.rows = nil
	return rows
}

func (s *Spans) put(text string) {
	row := &s.rows[len(s.rows)-1]
	*row = append(*row, text)
	s.column++
}

// reach fills the columns that cells from above cover, up to the next free one.
func (s *Spans) reach() {
	for {
		c, ok := s.carried[s.column]
		if !ok {
			return
		}
		if c.rows--; c.rows <= 0 {
			delete(s.carried, s.column)
		} else {
			s.carried[s.column] = c
		}
		if !s.affords(c.text) {
			clear(s.carried)
			return
		}
		s.put(c.text)
	}
}

// finish fills what cells from above cover at the end of the row.
func (s *Spans) finish() {
	if len(s.rows) == 0 {
		return
	}
	last := -1
	for column := range s.carried {
		last = max(last, column)
	}
	for s.reach(); s.column <= last && len(s.carried) > 0; s.reach() {
		s.put("")
	}
}

// affords tells whether text can be repeated once more within the limit.
func (s *Spans) affords(text string) bool {
	if s.Limit > 0 && s.spent > s.Limit {
		return false
	}
	s.spent += int64(len(text)) + 3
	return true
}
