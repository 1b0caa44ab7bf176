package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/table"
	"github.com/mattn/go-isatty"
	"golang.org/x/term"
)

// Streams are the standard streams of a run. Colours, widths and progress bars
// depend on whether they are terminals.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// output is what commands print with. Commands do not look at the streams
// themselves, so that no escape code ever reaches a file.
type output struct {
	Streams
	json  bool // one JSON value a line on Out, nothing else
	color bool // Out is a terminal that wants colours
	width int  // columns of Out; 0 = not a terminal, lines are never wrapped
	live  bool // Err is a terminal: progress may be drawn there
}

func newOutput(s Streams, asJSON bool) *output {
	o := &output{Streams: s, json: asJSON}
	if f, ok := s.Out.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
		o.color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		if w, _, err := term.GetSize(int(f.Fd())); err == nil {
			o.width = w
		}
	}
	if f, ok := s.Err.(*os.File); ok {
		o.live = isatty.IsTerminal(f.Fd()) && os.Getenv("TERM") != "dumb"
	}
	return o
}

// printf writes to Out. A reader that has gone away (sluice ls | head) is the
// only thing that can fail, and the broken pipe then ends the process.
func (o *output) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(o.Out, format, args...)
}

// notef writes a line for people to Err: progress, next steps, warnings.
func (o *output) notef(format string, args ...any) {
	_, _ = fmt.Fprintf(o.Err, format+"\n", args...)
}

// line writes v as one line of JSON.
func (o *output) line(v any) error {
	enc := json.NewEncoder(o.Out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printLines writes a JSON value a line for each item.
func printLines[T any](o *output, items []T) error {
	w := bufio.NewWriter(o.Out)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, it := range items {
		if err := enc.Encode(it); err != nil {
			return err
		}
	}
	return w.Flush()
}

// column describes one column of a table.
type column struct {
	title string
	right bool // numbers
	name  bool // cut in the middle if the terminal is too narrow; --json has it whole
	paint func(cell string) lipgloss.Style
}

// table prints rows under a header line. Cells are made safe: what a document
// or a message contains must not drive the reader's terminal.
func (o *output) table(columns []column, rows [][]string) {
	heads := make([]string, len(columns))
	for i, c := range columns {
		heads[i] = c.title
	}
	for _, r := range rows {
		for i := range r {
			r[i] = safe(r[i])
		}
	}
	build := func() *table.Table {
		return table.New().Headers(heads...).Rows(rows...).
			BorderTop(false).BorderBottom(false).BorderLeft(false).BorderRight(false).
			BorderColumn(false).BorderRow(false).BorderHeader(false).
			StyleFunc(func(row, col int) lipgloss.Style {
				s := lipgloss.NewStyle()
				switch {
				case !o.color:
				case row == table.HeaderRow:
					s = s.Bold(true)
				case columns[col].paint != nil:
					s = columns[col].paint(rows[row][col])
				}
				if columns[col].right {
					s = s.Align(lipgloss.Right)
				}
				if col < len(columns)-1 {
					s = s.PaddingRight(2)
				}
				return s
			})
	}
	text := build().String()
	if over := lipgloss.Width(text) - o.width; o.width > 0 && over > 0 {
		for i, c := range columns {
			if c.name {
				over -= shorten(rows, i, over)
			}
		}
		text = build().String()
	}
	if o.width > 0 && lipgloss.Width(text) > o.width {
		text = build().Width(o.width).String()
	}
	w := bufio.NewWriter(o.Out)
	for l := range strings.Lines(text + "\n") {
		_, _ = w.WriteString(strings.TrimRight(l, " \n") + "\n")
	}
	_ = w.Flush() // as printf
}

// narrowest is how much of a name stays, in columns of the terminal.
const narrowest = 16

// shorten makes a column of names narrower by so many columns of the terminal, if it
// can, and returns by how many.
func shorten(rows [][]string, column, by int) int {
	widest := 0
	for _, r := range rows {
		widest = max(widest, lipgloss.Width(r[column]))
	}
	room := max(narrowest, widest-by)
	for _, r := range rows {
		r[column] = middle(r[column], room)
	}
	return max(0, widest-room)
}

// middle cuts a text in its middle to a width: the beginning of a path and the end of
// its name tell most.
func middle(text string, width int) string {
	if lipgloss.Width(text) <= width {
		return text
	}
	runes := []rune(text)
	for head, tail := len(runes)/2, len(runes)/2; ; {
		short := string(runes[:head]) + "…" + string(runes[tail:])
		if lipgloss.Width(short) <= width || head == 0 && tail == len(runes) {
			return short
		}
		if head > len(runes)-tail {
			head--
		} else {
			tail++
		}
	}
}

// style is how a cell or a word looks.
type style = lipgloss.Style

// paint returns text in a style, if colours are on.
func (o *output) paint(s lipgloss.Style, text string) string {
	if !o.color {
		return text
	}
	return s.Render(text)
}

var (
	good = lipgloss.NewStyle().Foreground(lipgloss.Green)
	bad  = lipgloss.NewStyle().Foreground(lipgloss.Red)
	wary = lipgloss.NewStyle().Foreground(lipgloss.Yellow)
	dim  = lipgloss.NewStyle().Faint(true)
	bold = lipgloss.NewStyle().Bold(true)
)

// safe replaces what a terminal would act upon, and line breaks, by spaces.
func safe(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || (r >= '\u202a' && r <= '\u202e') || (r >= '\u2066' && r <= '\u2069') {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// dollars formats nano-dollars exactly: at least cents, no trailing zeros.
func dollars(nano int64) string {
	sign := ""
	n := uint64(nano)
	if nano < 0 {
		sign, n = "-", -n
	}
	frac := fmt.Sprintf("%09d", n%1e9)
	frac = frac[:2] + strings.TrimRight(frac[2:], "0")
	return fmt.Sprintf("%s$%d.%s", sign, n/1e9, frac)
}

// count formats a number for people: 0 is a dash where it means "none".
func count(n int) string {
	if n == 0 {
		return "-"
	}
	return grouped(int64(n))
}

// grouped separates thousands.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	start := 0
	if n < 0 {
		start = 1
	}
	for i := len(s) - 3; i > start; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// bytesText formats a size with a binary unit.
func bytesText(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v := float64(n)
	for _, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		v /= 1024
		if v < 1024 || unit == "TiB" {
			return fmt.Sprintf("%.1f %s", v, unit)
		}
	}
	return ""
}

// seconds formats a duration in seconds with the precision that matters.
func seconds(d time.Duration) string {
	s := d.Seconds()
	switch {
	case d <= 0:
		return "-"
	case s < 10:
		return strconv.FormatFloat(s, 'f', 2, 64)
	case s < 100:
		return strconv.FormatFloat(s, 'f', 1, 64)
	}
	return strconv.FormatFloat(math.Round(s), 'f', 0, 64)
}

// ago formats how long ago t was.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := now.Sub(t)
	switch {
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	}
	return fmt.Sprintf("%dd ago", int(d.Hours()/24))
}
