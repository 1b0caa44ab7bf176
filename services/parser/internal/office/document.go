package office

import (
	"strings"

	"sluice/pkg/events"
	"sluice/services/parser/internal/md"
)

// kind is what a block is.
type kind uint8

const (
	paragraph kind = iota
	heading
	item
	quote
	code
	table
	verbatim // Markdown that is finished: the output of another reader
	mark     // Markdown of ours that the document does not say: the number of a slide
)

// block is a paragraph or a table on its way into the Markdown.
type block struct {
	kind   kind
	level  int    // heading: 1 is highest; item: 0 is outermost
	marker string // item: "-" or "1."
	text   string // Markdown; code: as it is
	rows   [][]string
}

// document collects blocks as Markdown.
type document struct {
	b     strings.Builder
	pages []events.PageMark
	words bool // something was said, pictures without captions aside
	last  kind
	depth []indent // the list items that are open
	lines []string // the lines of code that are open
}

type indent struct{ level, width int }

// page marks the beginning of the next page.
func (d *document) page() {
	d.flush()
	d.last = paragraph
	d.pages = append(d.pages, events.PageMark{Page: len(d.pages) + 1, Offset: d.b.Len()})
}

func (d *document) add(blocks ...block) {
	for _, b := range blocks {
		d.addOne(b)
	}
}

func (d *document) addOne(b block) {
	if b.kind == table {
		b.rows = trimRows(b.rows)
		b.text = md.Table(b.rows)
		d.words = d.words || len(b.rows) > 0
	}
	if strings.TrimSpace(b.text) == "" {
		if b.kind == code && len(d.lines) > 0 {
			d.lines = append(d.lines, "")
		}
		return
	}
	if b.kind == code { // paragraph after paragraph of one listing
		d.words = true
		d.lines = append(d.lines, b.text)
		return
	}
	d.flush()
	d.words = d.words || (b.kind != table && b.kind != mark && hasWords(b.text))
	if b.kind != item || d.last != item {
		d.gap()
		d.depth = d.depth[:0]
	}
	d.last = b.kind
	switch b.kind {
	case heading:
		d.b.WriteString(md.Heading(b.level, b.text))
	case quote:
		d.b.WriteString(md.Quote(b.text))
	case item:
		d.b.WriteString(d.nest(b))
	default:
		d.b.WriteString(b.text)
	}
	d.b.WriteByte('\n')
}

// nest returns a list item, indented to stand under the item it belongs to.
func (d *document) nest(b block) string {
	for len(d.depth) > 0 && d.depth[len(d.depth)-1].level >= b.level {
		d.depth = d.depth[:len(d.depth)-1]
	}
	width := 0
	for _, in := range d.depth {
		width += in.width
	}
	d.depth = append(d.depth, indent{b.level, len(b.marker) + 1})
	pad := strings.Repeat(" ", width)
	return pad + strings.ReplaceAll(md.Item(b.marker, b.text), "\n", "\n"+pad)
}

// gap separates two blocks by a blank line. A page that begins here begins
// after it.
func (d *document) gap() {
	end := d.b.Len()
	if end == 0 {
		return
	}
	d.b.WriteByte('\n')
	for i := len(d.pages) - 1; i >= 0 && d.pages[i].Offset == end; i-- {
		d.pages[i].Offset++
	}
}

// flush writes the listing that is open.
func (d *document) flush() {
	if len(d.lines) == 0 {
		return
	}
	lines := d.lines
	d.lines = nil
	d.gap()
	d.b.WriteString(md.Fence("", strings.Trim(strings.Join(lines, "\n"), "\n")))
	d.b.WriteByte('\n')
	d.last = code
	d.depth = d.depth[:0]
}

// String returns the Markdown so far.
func (d *document) String() string {
	d.flush()
	return d.b.String()
}

// hasWords reports whether Markdown says more than that there are pictures.
func hasWords(s string) bool {
	const picture = "![]("
	for {
		before, after, found := strings.Cut(s, picture)
		if strings.TrimSpace(before) != "" {
			return true
		}
		if !found {
			return false
		}
		_, s, _ = strings.Cut(after, ")")
	}
}

// trimRows removes the rows and columns at the edges that hold nothing, and
// empty rows between others.
func trimRows(rows [][]string) [][]string {
	first, last := -1, -1
	kept := rows[:0:0]
	for _, row := range rows {
		used := false
		for i, cell := range row {
			if strings.TrimSpace(cell) == "" {
				continue
			}
			used = true
			if first < 0 || i < first {
				first = i
			}
			last = max(last, i)
		}
		if used {
			kept = append(kept, row)
		}
	}
	for i, row := range kept {
		kept[i] = row[min(first, len(row)):min(last+1, len(row))]
	}
	return kept
}

// flat returns blocks as the text of one table cell or note: without headings,
// the items and rows one after the other.
func flat(blocks []block) string {
	var parts []string
	for _, b := range blocks {
		switch b.kind {
		case table:
			for _, row := range trimRows(b.rows) {
				cells := row[:0:0]
				for _, c := range row {
					if c = strings.TrimSpace(c); c != "" {
						cells = append(cells, c)
					}
				}
				parts = append(parts, strings.Join(cells, ", "))
			}
		case item:
			parts = append(parts, b.marker+" "+b.text)
		case code:
			parts = append(parts, md.Code(b.text))
		default:
			parts = append(parts, b.text)
		}
	}
	return strings.TrimSpace(strings.Join(parts, "\n"))
}
