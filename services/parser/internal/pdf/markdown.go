package pdf

import (
	"bytes"
	"context"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"sluice/pkg/events"
)

// maxLayoutWords is the most words of one page whose layout is looked into;
// finding neighbours is quadratic for text without lines. No page that a person
// can read has as many. Beyond it the words stand as they were drawn.
const maxLayoutWords = 10_000

// markdown turns the extracted pages into Markdown.
func (d *document) markdown(ctx context.Context) (string, []events.PageMark, error) {
	d.removeFurniture()
	var regions []region
	for _, p := range d.pages {
		if err := ctx.Err(); err != nil {
			return "", nil, err
		}
		regions = append(regions, p.regions()...)
		p.words, p.asides = nil, nil
	}
	t := d.typography(regions)
	var blocks []block
	for _, r := range regions {
		if err := ctx.Err(); err != nil {
			return "", nil, err
		}
		blocks = append(blocks, d.blocks(r, t)...)
	}
	d.findHeadings(blocks, t)
	w := writer{words: vocabulary(blocks)}
	w.write(blocks)
	text, marks := w.finish(len(d.pages))
	return text, marks, nil
}

// regions returns the page's text in reading order.
func (p *page) regions() []region {
	if len(p.words) > maxLayoutWords {
		return []region{{page: p, rows: drawnRows(p.words)}}
	}
	tables := p.ruledTables()
	segs := joinBullets(segments(p.words))
	for i := range tables {
		t := &tables[i]
		segs = append(segs, segment{table: t, x0: t.x0, x1: t.x1, y: t.y0, top: t.y0, bottom: t.y1, size: 10})
	}
	var out []region
	for _, c := range columns(segs) {
		out = append(out, region{page: p, rows: rows(c)})
	}
	// What is written up the margin, or across it, comes last.
	for _, words := range p.asides {
		if len(words) > maxLayoutWords {
			out = append(out, region{page: p, rows: drawnRows(words)})
			continue
		}
		out = append(out, region{page: p, rows: rows(segments(words))})
	}
	return out
}

func drawnRows(words []word) []row {
	const longest = 200 // words
	var out []row
	for len(words) > 0 {
		n := firstRun(words[:min(len(words), longest)])
		s := newSegment(words[:n:n])
		out = append(out, row{segs: []segment{s}, y: s.y, top: s.top, bottom: s.bottom, size: s.size})
		words = words[n:]
	}
	return out
}

// vocabulary returns the words of a document as they stand within lines, in
// lower case: it knows which hyphens at the ends of lines belong there.
func vocabulary(blocks []block) map[string]bool {
	words := map[string]bool{}
	divided := false
	for i := range blocks {
		for _, l := range blocks[i].lines {
			for j, w := range l.words {
				if divided {
					divided = false // this is the rest of a word
					continue
				}
				if divided = j == len(l.words)-1 && endsInHyphen(w.text); !divided {
					words[bare(w.text)] = true
				}
			}
		}
	}
	return words
}

func bare(s string) string {
	return strings.ToLower(strings.TrimFunc(s, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }))
}

type writer struct {
	words map[string]bool
	out   bytes.Buffer
	marks []events.PageMark
	page  int
	lists []level // the list items that enclose the next one
}

// level is an open list item.
type level struct {
	x0     float32
	indent int // of its content, in columns
}

func (w *writer) mark(page int) {
	for w.page < page {
		w.page++
		w.marks = append(w.marks, events.PageMark{Page: w.page, Offset: w.out.Len()})
	}
}

func (w *writer) finish(pages int) (string, []events.PageMark) {
	if w.out.Len() > 0 {
		w.out.WriteByte('\n')
	}
	w.mark(pages)
	return w.out.String(), w.marks
}

func (w *writer) write(blocks []block) {
	wasItem := false
	for i := 0; i < len(blocks); i++ {
		b := &blocks[i]
		item := b.kind == listItem && b.level == 0
		if !item {
			w.lists = w.lists[:0]
		}
		if w.out.Len() > 0 {
			w.out.WriteByte('\n')
			if !item || !wasItem {
				w.out.WriteByte('\n')
			}
		}
		w.mark(b.page)
		wasItem = item
		switch {
		case b.kind == tableBlock:
			w.table(b.table)
		case b.level > 0:
			w.out.WriteString(strings.Repeat("#", b.level) + " ")
			w.out.WriteString(b.text(w.words, " "))
		case b.kind == codeBlock:
			w.code(b)
		case item:
			w.item(b)
			i += w.continued(blocks[i:])
		default:
			w.out.WriteString(b.text(w.words, "\n"))
			i += w.continued(blocks[i:])
		}
	}
}

// continued writes the parts of blocks[0] that stand on later columns or pages,
// and returns how many there are.
func (w *writer) continued(blocks []block) int {
	n := 0
	for n+1 < len(blocks) {
		a, b := &blocks[n], &blocks[n+1]
		if !a.last || !b.first || b.kind != paragraph || b.level > 0 || abs(a.size()-b.size()) > .06*a.size() ||
			a.lines[0].bold != b.lines[0].bold {
			break
		}
		before, after := a.lines[len(a.lines)-1].text(), b.lines[0].text()
		if endsSentence(before) || !startsLower(after) {
			break
		}
		if endsInHyphen(before) {
			if w.dropHyphen(before, after) {
				w.out.Truncate(len(bytes.TrimRight(w.out.Bytes(), "-‐")))
			}
		} else {
			w.out.WriteByte(' ')
		}
		w.mark(b.page)
		w.out.WriteString(b.text(w.words, "\n"))
		n++
	}
	return n
}

func (w *writer) dropHyphen(before, after string) bool { return dropHyphen(w.words, before, after) }

// dropHyphen reports whether the hyphen between two lines is the typesetter's.
func dropHyphen(words map[string]bool, before, after string) bool {
	a := before[strings.LastIndexByte(before, ' ')+1:]
	b, _, _ := strings.Cut(after, " ")
	a = strings.TrimRight(a, "-‐")
	switch {
	case words[bare(a+b)]:
		return true
	case words[bare(a+"-"+b)]:
		return false
	}
	// Two words of the document are a compound; a syllable is no word.
	compound := len(a) > 2 && len(b) > 2 && words[bare(a)] && words[bare(b)]
	return !compound && !strings.ContainsAny(a, "-‐")
}

func (w *writer) item(b *block) {
	for len(w.lists) > 0 && b.left < w.lists[len(w.lists)-1].x0-.8*b.size() {
		w.lists = w.lists[:len(w.lists)-1]
	}
	if n := len(w.lists); n > 0 && b.left < w.lists[n-1].x0+.8*b.size() {
		w.lists = w.lists[:n-1] // a sibling
	}
	indent := 0
	if n := len(w.lists); n > 0 {
		indent = w.lists[n-1].indent
	}
	text := b.text(w.words, "\n")
	_, n := utf8.DecodeRuneInString(b.marker)
	bullet := "- "
	switch last := b.marker[len(b.marker)-1]; {
	case isBullet(b.marker) || n == len(b.marker):
		text = strings.TrimLeft(strings.TrimPrefix(text, b.marker), " ")
	case last == '.' && strings.Trim(b.marker[:len(b.marker)-1], "0123456789") == "" && b.marker[0] != '.':
		bullet = b.marker + " "
		text = strings.TrimLeft(strings.TrimPrefix(text, b.marker), " ")
	}
	pad := strings.Repeat(" ", indent+len(bullet))
	w.out.WriteString(strings.Repeat(" ", indent) + bullet)
	w.out.WriteString(strings.ReplaceAll(text, "\n", "\n"+pad))
	w.lists = append(w.lists, level{x0: b.left, indent: indent + len(bullet)})
}

func (w *writer) code(b *block) {
	fence := "```"
	var lines []string
	left := b.lines[0].x0
	for _, l := range b.lines {
		left = min(left, l.x0)
	}
	for i := range b.lines {
		l := &b.lines[i]
		if i > 0 && l.y-b.lines[i-1].y > 1.8*l.size {
			lines = append(lines, "")
		}
		lines = append(lines, typewritten(l, left))
	}
	for slices.ContainsFunc(lines, func(s string) bool { return strings.Contains(s, fence) }) {
		fence += "`"
	}
	w.out.WriteString(fence + "\n" + strings.Join(lines, "\n") + "\n" + fence)
}

// typewritten writes a line with its words in the columns where they stand.
func typewritten(l *line, left float32) string {
	var width, chars float32
	for _, w := range l.words {
		width += w.x1 - w.x0
		chars += float32(utf8.RuneCountInString(w.text)) - .25 // boxes are tight
	}
	pitch := max(width/max(chars, .1), .2*l.size)
	const widest = 160
	var b strings.Builder
	for i := range l.words {
		w := &l.words[i]
		var spaces int
		switch {
		case i == 0:
			spaces = int((w.x0-left)/pitch + .4)
		case !w.glued:
			spaces = max(1, int((w.x0-l.words[i-1].x1)/pitch+.2))
		}
		b.WriteString(strings.Repeat(" ", max(0, min(spaces, widest))))
		b.WriteString(w.text)
	}
	return b.String()
}

func (w *writer) table(t *table) {
	for i, line := range t.cells {
		w.out.WriteByte('|')
		for _, cell := range line {
			w.out.WriteByte(' ')
			w.out.WriteString(strings.ReplaceAll(strings.ReplaceAll(leaders.ReplaceAllString(cell, " ... "), `\`, `\\`), "|", `\|`))
			w.out.WriteString(" |")
		}
		if i == 0 {
			w.out.WriteString("\n|" + strings.Repeat(" --- |", len(line)))
		}
		if i < len(t.cells)-1 {
			w.out.WriteByte('\n')
		}
	}
}

// plain returns the block's text in one line.
func (b *block) plain() string {
	var parts []string
	for i := range b.lines {
		parts = append(parts, b.lines[i].text())
	}
	return strings.Join(parts, " ")
}

// text returns the block as Markdown; newline is what stands for a line break
// that is meant.
func (b *block) text(words map[string]bool, newline string) string {
	var out bytes.Buffer
	var before string
	for i := range b.lines {
		l := &b.lines[i]
		text := leaders.ReplaceAllString(markup(l.words, b.links), " ... ")
		start := i == 0 && b.kind != listItem && b.level == 0
		switch {
		case i == 0:
		case b.hard[i]:
			out.WriteString(newline)
			start = newline == "\n"
		case hyphenated(before, text):
			if dropHyphen(words, before, text) {
				out.Truncate(len(bytes.TrimRight(out.Bytes(), "-‐")))
			}
		case dividedNumber(before, text):
		default:
			last, _ := utf8.DecodeLastRuneInString(before)
			first, _ := utf8.DecodeRuneInString(text)
			if !(unspaced(last) && unspaced(first)) {
				out.WriteByte(' ')
			}
		}
		if start {
			text = escapeStart(text)
		}
		out.WriteString(text)
		before = text
	}
	return out.String()
}

var (
	leaders   = regexp.MustCompile(`(?:\s?[.…·]){4,}\s?`)
	structure = regexp.MustCompile("^(?:#{1,6}(?:\\s|$)|>|[-+*](?:\\s|$)|[0-9]{1,9}[.)](?:\\s|$)|```|~~~|=+\\s*$|-+\\s*$|\\|)")
)

// escapeStart keeps text from being taken for structure.
func escapeStart(s string) string {
	if !structure.MatchString(s) {
		return s
	}
	if s[0] >= '0' && s[0] <= '9' {
		i := strings.IndexAny(s, ".)")
		return s[:i] + `\` + s[i:]
	}
	return `\` + s
}

// markup returns words as text, with links.
func markup(words []word, links []string) string {
	var b strings.Builder
	for i := 0; i < len(words); {
		j := i + 1
		for j < len(words) && words[j].link == words[i].link {
			j++
		}
		if i > 0 && spaceBetween(&words[i-1], &words[i]) {
			b.WriteByte(' ')
		}
		s := segment{words: words[i:j]}
		text := s.text()
		if id := words[i].link; id > 0 && int(id) <= len(links) && worthLinking(text, links[id-1]) {
			// Punctuation after it belongs to the sentence.
			end := len(strings.TrimRight(text, ".,;:)"))
			b.WriteString("[" + text[:end] + "](" + links[id-1] + ")" + text[end:])
		} else {
			b.WriteString(text)
		}
		i = j
	}
	return b.String()
}

// worthLinking reports whether a link's text does not say its target already.
func worthLinking(text, target string) bool {
	plain := func(s string) string {
		s = strings.ToLower(strings.TrimSuffix(s, "/"))
		for _, p := range []string{"mailto:", "https://", "http://", "www."} {
			s = strings.TrimPrefix(s, p)
		}
		return s
	}
	t := strings.ToLower(strings.ReplaceAll(strings.TrimRight(text, ".,;:)"), " ", ""))
	return hasLetter(t) && !strings.ContainsAny(t, "[]") && len(t) < 300 &&
		!strings.Contains(strings.ToLower(target), t) && !strings.Contains(plain(target), plain(t))
}
