package rtf

import (
	"slices"

	"sluice/services/parser/internal/office"
)

// cellEnd is what a row says of one of its cells: the right edge, in twips, and
// whether another covers it.
type cellEnd struct {
	edge  int
	cover office.Cover
}

// tableRow is a row of texts, and where its cells end.
type tableRow struct {
	texts []string
	ends  []cellEnd
	left  int
}

func (f *rtfFlow) endRow() {
	if len(f.row) > 0 {
		f.rows = append(f.rows, tableRow{f.row, f.ends, f.left})
	}
	f.row = nil
}

// grid returns the rows so far as one table. Cells have no columns in RTF, only
// edges: a column is what lies between two edges of any row. A row that does not
// say where its cells end has one column for each.
func (f *rtfFlow) grid() [][]string {
	const near = 30 // twips: edges that people take for one
	var edges []int
	for _, r := range f.rows {
		if len(r.ends) != len(r.texts) {
			continue
		}
		for _, e := range r.ends {
			edges = append(edges, e.edge)
		}
	}
	slices.Sort(edges)
	columns := edges[:0]
	for _, e := range edges {
		if len(columns) == 0 || e-columns[len(columns)-1] > near {
			columns = append(columns, e)
		}
	}
	const most = 256
	var table office.Cells
	for _, r := range f.rows {
		table.NextRow()
		if len(r.ends) != len(r.texts) || len(columns) > most {
			for _, text := range r.texts {
				table.Add(text, 1, office.Own)
			}
			continue
		}
		at := 0
		for at < len(columns) && columns[at] <= r.left+near {
			at++
		}
		if at > 0 && at < len(columns) {
			table.Add("", at, office.Gap)
		} else {
			at = 0
		}
		for i, text := range r.texts {
			width := 0
			for at < len(columns) && columns[at] <= r.ends[i].edge+near {
				at++
				width++
			}
			table.Add(text, max(width, 1), r.ends[i].cover)
		}
	}
	rows, err := table.Rows(f.reader.Job)
	if err != nil {
		f.reader.err = err
	}
	return rows
}
