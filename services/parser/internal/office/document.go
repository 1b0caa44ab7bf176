package office

import (
	"strings"

	"sluice/pkg/events"
	"sluice/services/parser/internal/md"
)

// kind says what a block is.
type kind uint8

const (
	Paragraph kind = iota
	Heading
	Item
	Quote
	Code
	Table
	Verbatim // Markdown that is finished: the output of another reader
	Written  // a table that is Markdown already
	Mark     // Markdown of ours that the document does not say: the number of a slide
)

// Block is a paragraph or a table on its way into the Markdown.
type Block struct {
	Kind   kind
	Level  int    // heading: 1 is highest; item: 0 is outermost
	Marker string // item: "-" or "1."
	Text   string // Markdown; code: as it is
	Rows   [][]string
}

// Document collects blocks as Markdown.
type Document struct {
	b     strings.Builder
	pages []events.PageMark
	words bool // something was said, pictures without captions aside
	last  kind
	depth []indent // the list items that are open
	lines []string // the lines of code that are open
}

type indent struct{ level, width int }

// Page marks the beginning of the next page.
func (d *Document) Page() {
	d.flush()
	d.last = Paragraph
	d.pages = append(d.pages, events.PageMark{Page: len(d.pages) + 1, Offset: d.b.Len()})
}

// Add writes blocks behind what is there already.
func (d *Document) Add(blocks ...Block) {
	for _, b := range blocks {
		d.addOne(b)
	}
}

func (d *Document) addOne(b Block) {
	if b.Kind == Table {
		b.Rows = trimRows(b.Rows)
		b.Text = md.Table(b.Rows)
		d.words = d.words || len(b.Rows) > 0
	}
	if strings.TrimSpace(b.Text) == "" {
		if b.Kind == Code && len(d.lines) > 0 {
			d.lines = append(d.lines, "")
		}
		return
	}
	if b.Kind == Code { // paragraph after paragraph of one listing
		d.words = true
		d.lines = append(d.lines, b.Text)
		return
	}
	d.flush()
	d.words = d.words || b.Kind == Written || (b.Kind != Table && b.Kind != Mark && hasWords(b.Text))
	if b.Kind != Item || d.last != Item {
		d.gap()
		d.depth = d.depth[:0]
	}
	d.last = b.Kind
	switch b.Kind {
	case Heading:
		d.b.WriteString(md.Heading(b.Level, b.Text))
	case Quote:
		d.b.WriteString(md.Quote(b.Text))
	case Item:
		d.b.WriteString(d.nest(b))
	default:
		d.b.WriteString(b.Text)
	}
	d.b.WriteByte('\n')
}

// nest returns a list item, indented to stand under the item it belongs to.
func (d *Document) nest(b Block) string {
	for len(d.depth) > 0 && d.depth[len(d.depth)-1].level >= b.Level {
		d.depth = d.depth[:len(d.depth)-1]
	}
	width := 0
	for _, in := range d.depth {
		width += in.width
	}
	d.depth = append(d.depth, indent{b.Level, len(b.Marker) + 1})
	pad := strings.Repeat(" ", width)
	return pad + strings.ReplaceAll(md.Item(b.Marker, b.Text), "\n", "\n"+pad)
}

// prepend writes blocks before what is there already.
func (d *Document) prepend(blocks ...Block) {
	first := &Document{}
	first.Add(blocks...)
	head := first.String()
	if head == "" {
		return
	}
	d.words = d.words || first.words
	rest := d.String()
	if rest != "" {
		head += "\n"
	}
	for i := range d.pages {
		d.pages[i].Offset += len(head)
	}
	d.b.Reset()
	d.b.Grow(len(head) + len(rest))
	d.b.WriteString(head)
	d.b.WriteString(rest)
}

// gap separates two blocks by a blank line. A page that begins here begins
// after it.
func (d *Document) gap() {
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
func (d *Document) flush() {
	if len(d.lines) == 0 {
		return
	}
	lines := d.lines
	d.lines = nil
	d.gap()
	d.b.WriteString(md.Fence("", strings.Trim(strings.Join(lines, "\n"), "\n")))
	d.b.WriteByte('\n')
	d.last = Code
	d.depth = d.depth[:0]
}

// String returns the Markdown so far.
func (d *Document) String() string {
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

// Note returns the definition of a note that stands in the text as mark: "[^1]".
func Note(mark, text string) Block {
	return Block{Kind: Verbatim, Text: mark + ": " + strings.ReplaceAll(text, "\n", "\n    ")}
}

// Flat returns blocks as the text of one table cell or note: without headings,
// the items and rows one after the other.
func Flat(blocks []Block) string {
	var parts []string
	for _, b := range blocks {
		switch b.Kind {
		case Table:
			for _, row := range trimRows(b.Rows) {
				cells := row[:0:0]
				for _, c := range row {
					if c = strings.TrimSpace(c); c != "" {
						cells = append(cells, c)
					}
				}
				parts = append(parts, strings.Join(cells, ", "))
			}
		case Item:
			parts = append(parts, b.Marker+" "+b.Text)
		case Code:
			parts = append(parts, md.Code(b.Text))
		case Verbatim: // its headings are none here
			parts = append(parts, md.Below(b.Text, 6, nil))
		default:
			parts = append(parts, b.Text)
		}
	}
	return strings.TrimSpace(strings.Join(parts, "\n"))
}
