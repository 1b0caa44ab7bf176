package md

import (
	"regexp"
	"strconv"
	"strings"
)

// Notes keeps the labels of footnotes apart where several documents become one:
// each has a [^1] of its own. The first keeps its labels; in those after it a label
// that is taken gets a number behind it: [^1-2].
type Notes struct {
	taken map[string]bool
	next  map[string]int // the number that is tried first
	// Reserved has the labels that our readers write, [^1], [^end-1], [^comment-1],
	// taken from the beginning: the document around the others writes its own last.
	Reserved bool
}

var (
	noteMark    = regexp.MustCompile("`+|\\\\.|\\[\\^[^\\s\\[\\]`\\\\]{1,200}\\]:?")
	writtenNote = regexp.MustCompile(`^(end-|comment-)?[0-9]+$`)
)

// Apart returns Markdown whose footnotes have labels that nothing before it has.
// Only what is defined in it is a label: in code and in prose [^0-9] may be anything.
// Offsets are moved as by Below.
func (n *Notes) Apart(s string, offsets []int) string {
	if !strings.Contains(s, "[^") {
		return s
	}
	type mark struct {
		start, end int // of the label
		label      string
	}
	var marks []mark
	labels := map[string]bool{}
	fence := ""
	const most = 64 << 10 // bytes of a span of code
	for pos := 0; pos < len(s); {
		next := len(s)
		if i := strings.IndexByte(s[pos:], '\n'); i >= 0 {
			next = pos + i + 1
		}
		line := strings.TrimSpace(s[pos:next])
		if run := fenceOf(line); fence != "" {
			if strings.HasPrefix(run, fence) && run == line {
				fence = ""
			}
			pos = next
			continue
		} else if run != "" {
			fence = run
			pos = next
			continue
		}
		code := "" // the backticks of the span of code that is open
		text := s[pos:next]
		for _, at := range noteMark.FindAllStringIndex(text, -1) {
			switch found := text[at[0]:at[1]]; {
			case found[0] == '`' && code == "" && hasRun(text[at[1]:min(at[1]+most, len(text))], found):
				code = found
			case found[0] == '`' && found == code:
				code = ""
			case code != "" || found[0] == '`' || found[0] == '\\':
			default:
				label, _, _ := strings.Cut(found[2:], "]")
				key := strings.ToLower(label)
				marks = append(marks, mark{pos + at[0] + 2, pos + at[0] + 2 + len(label), key})
				if strings.HasSuffix(found, ":") && strings.TrimSpace(text[:at[0]]) == "" {
					labels[key] = true
				}
			}
		}
		pos = next
	}
	if n.taken == nil {
		n.taken, n.next = map[string]bool{}, map[string]int{}
	}
	renamed := map[string]string{}
	for _, m := range marks {
		if _, ok := renamed[m.label]; ok || !labels[m.label] || !n.isTaken(m.label) {
			continue
		}
		k := max(n.next[m.label], 2)
		for ; ; k++ {
			now := m.label + "-" + strconv.Itoa(k)
			if !n.taken[now] && !labels[now] {
				renamed[m.label] = now
				break
			}
		}
		n.next[m.label] = k + 1
	}
	for label := range labels {
		if now, ok := renamed[label]; ok {
			label = now
		}
		n.taken[label] = true
	}
	for _, m := range marks {
		// A note that is missing does not get the text of another.
		if !labels[m.label] && writtenNote.MatchString(m.label) {
			n.taken[m.label] = true
		}
	}
	if len(renamed) == 0 {
		return s
	}
	e := edits{s: s, offsets: offsets}
	e.b.Grow(len(s) + 2*len(marks))
	for _, m := range marks {
		if now, ok := renamed[m.label]; ok {
			e.replace(m.start, m.end, now)
		}
	}
	e.replace(len(s), len(s), "")
	return e.b.String()
}

func (n *Notes) isTaken(label string) bool {
	return n.taken[label] || n.Reserved && writtenNote.MatchString(label)
}

// fenceOf returns the run of characters with which a line opens or closes a block
// of code, "" if it does not.
func fenceOf(line string) string {
	if line == "" || line[0] != '`' && line[0] != '~' {
		return ""
	}
	run := line[:len(line)-len(strings.TrimLeft(line, line[:1]))]
	if len(run) < 3 || line[0] == '`' && strings.Contains(line[len(run):], "`") {
		return ""
	}
	return run
}

// hasRun reports whether a text has a run of backticks of just that length.
func hasRun(text, run string) bool {
	for {
		i := strings.Index(text, run)
		if i < 0 {
			return false
		}
		rest := strings.TrimLeft(text[i:], "`")
		if len(text)-i-len(rest) == len(run) {
			return true
		}
		text = rest
	}
}
