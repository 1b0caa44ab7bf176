package pdf

// Lines of a narrow column that are set to its width have spaces as wide as the gaps
// between the cells of a table. What tells them apart: the spaces of such a line
// are all alike, whatever the words are, and nothing above or below begins where its words do.

const (
	mostStretched = 30 // pieces of a line

	widestSpace  = 4.0 // ems, where other lines show the width of the column
	spacesDiffer = .35 // ems, by what the letters at both ends of a space leave free
)

// joinStretched joins the runs of lines whose spaces are that wide. Runs come as they
// were drawn. A line that was joined shows the width of its column to those beside it.
func joinStretched(runs []segment) []segment {
	const times = 3
	for range times {
		joined := joinStretchedOnce(runs)
		if len(joined) == len(runs) {
			break
		}
		runs = joined
	}
	return runs
}

func joinStretchedOnce(runs []segment) []segment {
	chains := make([]int, 0, len(runs)) // how many runs may be one line
	var lines []segment                 // that may show the width of a column
	found := false
	for i := 0; i < len(runs); {
		n := 1
		for n < mostStretched && i+n < len(runs) && stretches(&runs[i+n-1], &runs[i+n]) {
			n++
		}
		shows := len(runs[i].words) > 2
		if n > 1 {
			found = true
			m := spacingOf(runs[i : i+n])
			shows = m.spaces > 1 && m.alike(runs[i].size)
		}
		if shows {
			l := runs[i]
			l.x1 = runs[i+n-1].x1
			lines = append(lines, l)
		}
		chains = append(chains, n)
		i += n
	}
	if !found {
		return runs
	}
	out := make([]segment, 0, len(runs))
	i := 0
	for _, n := range chains {
		end := i + n
		for i < end {
			// The line may end before the runs do: a number stands beside it, say.
			n := end - i
			for n > 1 && !stretched(runs, lines, i, n) {
				n--
			}
			if n == 1 {
				out = append(out, runs[i])
			} else {
				out = append(out, newSegment(wordsOf(runs[i:i+n])))
			}
			i += n
		}
	}
	return out
}

func wordsOf(runs []segment) []word {
	var out []word
	for i := range runs {
		from := len(out)
		out = append(out, runs[i].words...)
		out[from].glued = out[from].glued && i == 0
	}
	return out
}

// stretches reports whether b may go on in the line of a, after a wide space.
func stretches(a, b *segment) bool {
	gap := b.x0 - a.x1
	return abs(a.y-b.y) < .1*a.size && abs(a.size-b.size) < .05*a.size && gap > 0 && gap < widestSpace*a.size
}

// stretched reports whether the n runs from i on are a line that is set to the width
// of its column.
func stretched(runs, lines []segment, i, n int) bool {
	const (
		certain = 4   // spaces that are alike by themselves
		unlike  = 1.0 // ems, by which its words differ in their widths
	)
	line := runs[i : i+n]
	first, last := &line[0], &line[n-1]
	size := first.size
	m := spacingOf(line)
	if !m.alike(size) || 2*m.letters < m.spaces {
		return false
	}
	alike := m.spaces >= certain && m.most < 3*size && m.most-m.least < .25*size && m.wide-m.thin > unlike*size
	column := false // other lines are as wide
	for k := range lines {
		o := &lines[k]
		// The edges of one that may be a row of cells say something if there are two spaces to compare.
		column = column || near(o, first, 8) && (m.spaces > 1 || len(o.words) > 2) && abs(o.x0-first.x0) < .3*size && abs(o.x1-last.x1) < .3*size
	}
	if !alike && !column {
		return false
	}
	cells := 0 // words below or above others, as the cells of a table are
	for k := range runs {
		if o := &runs[k]; near(o, first, 2.5) {
			for j := 1; j < n; j++ {
				if abs(o.x0-line[j].x0) < .2*size {
					cells++
				}
			}
		}
	}
	return 2*cells < n-1
}

// spacing is how the words of a line stand.
type spacing struct {
	least, most float32 // of the spaces
	thin, wide  float32 // of the words
	spaces      int
	letters     int // words that have some
}

func spacingOf(line []segment) spacing {
	far := line[len(line)-1].x1 - line[0].x0
	m := spacing{least: far, thin: far}
	var before *word
	for k := range line {
		for j := range line[k].words {
			w := &line[k].words[j]
			if before != nil && (!w.glued || j == 0) {
				gap := w.x0 - before.x1
				m.least, m.most = min(m.least, gap), max(m.most, gap)
				m.spaces++
			}
			m.thin, m.wide = min(m.thin, w.x1-w.x0), max(m.wide, w.x1-w.x0)
			if hasLetter(w.text) {
				m.letters++
			}
			before = w
		}
	}
	return m
}

func (m *spacing) alike(size float32) bool { return m.most-m.least <= spacesDiffer*size }

// near reports whether a is another line than b, no more than so many ems from it, and
// of its size.
func near(a, b *segment, ems float32) bool {
	d := abs(a.y - b.y)
	return d > .5*b.size && d < ems*b.size && abs(a.size-b.size) < .05*b.size
}
