package pdf

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// line is a row of a region that is no part of a table.
type line struct {
	words       []word // in reading order
	x0, x1, y   float32
	top, bottom float32
	size        float32
	bold, mono  bool
	tag         uint8 // level of the heading that it is part of, says the file
}

type kind uint8

const (
	paragraph kind = iota
	listItem
	codeBlock
	tableBlock
)

// block is a paragraph or what takes the place of one.
type block struct {
	kind   kind
	page   int // from 1
	lines  []line
	hard   []bool // hard[i]: lines[i] begins a new line in the Markdown too
	table  *table
	level  int    // of a heading; 0 = none
	marker string // of a list item
	left   float32
	links  []string
	last   bool // the last of its column: the next may continue it
	first  bool // the first of its column
}

func (b *block) size() float32 { return b.lines[0].size }

// region is a column of rows.
type region struct {
	page *page
	rows []row
}

func (d *document) line(p *page, r *row) line {
	l := line{y: r.y, top: r.top, bottom: r.bottom}
	n, bold, mono := 0, 0, 0
	var tags [7]int
	sizes := map[float32]int{}
	for i := range r.segs {
		s := &r.segs[i]
		from := len(l.words)
		l.words = append(l.words, s.words...)
		if from > 0 && from < len(l.words) {
			l.words[from].glued = false
		}
	}
	l.x0, l.x1 = l.words[0].x0, l.words[0].x1
	for i := range l.words {
		w := &l.words[i]
		l.x0, l.x1 = min(l.x0, w.x0), max(l.x1, w.x1)
		k := utf8.RuneCountInString(w.text)
		n += k
		sizes[w.size] += k
		tags[w.tag] += k
		if d.fonts[w.font].bold {
			bold += k
		}
		if d.fonts[w.font].mono {
			mono += k
		}
	}
	best := 0
	for size, k := range sizes {
		if k > best || k == best && size > l.size {
			best, l.size = k, size
		}
	}
	for level := 1; level < len(tags); level++ {
		if 10*tags[level] >= 8*n {
			l.tag = uint8(level)
		}
	}
	l.bold, l.mono = 10*bold >= 9*n, 10*mono >= 9*n
	readingOrder(l.words, p.readsLeft)
	return l
}

// typography is what is usual in a document.
type typography struct {
	body    float32 // size of most of its text
	leading float32 // distance of baselines, in ems
	mono    bool    // most of it is set in a typewriter font
	bold    bool    // most of it is bold
	italic  bool    // most of it is in italics
}

func (d *document) typography(regions []region) typography {
	sizes := map[float32]int{}
	var total, mono, bold, italic int
	for _, r := range regions {
		for i := range r.rows {
			for j := range r.rows[i].segs {
				for _, w := range r.rows[i].segs[j].words {
					n := len(w.text)
					sizes[roundSize(w.size)] += n
					total += n
					if d.fonts[w.font].mono {
						mono += n
					}
					if d.fonts[w.font].bold {
						bold += n
					}
					if d.fonts[w.font].italic {
						italic += n
					}
				}
			}
		}
	}
	t := typography{body: 10, leading: 1.2, mono: 2*mono > total, bold: 2*bold > total, italic: 2*italic > total}
	if len(sizes) > 0 {
		t.body = mostCommon(sizes)
	}
	var gaps []float32
	for _, r := range regions {
		gaps = append(gaps, r.gaps(t.body)...)
	}
	t.leading = usualGap(gaps, 1.2)
	return t
}

// mostCommon returns the key with the largest count, the smallest of several. Counts
// are above 0.
func mostCommon[K cmp.Ordered](counts map[K]int) K {
	var common K
	most := 0
	for k, n := range counts {
		if n > most || n == most && k < common {
			most, common = n, k
		}
	}
	return common
}

func roundSize(s float32) float32 { return float32(int(s*4+.5)) / 4 }

// gaps returns the distances of consecutive lines of about the given size (0 =
// any), in ems.
func (r *region) gaps(size float32) []float32 {
	var out []float32
	for i := 1; i < len(r.rows); i++ {
		a, b := &r.rows[i-1], &r.rows[i]
		if a.segs[0].table != nil || b.segs[0].table != nil || abs(a.size-b.size) > .1*b.size || size > 0 && abs(b.size-size) > .1*size {
			continue
		}
		if g := (b.y - a.y) / b.size; g > .8 && g < 3 {
			out = append(out, g)
		}
	}
	return out
}

// usualGap is the gap within paragraphs: gaps between them are larger, and
// where paragraphs are short there may be as many of those.
func usualGap(gaps []float32, unknown float32) float32 {
	if len(gaps) == 0 {
		return unknown
	}
	slices.Sort(gaps)
	return gaps[len(gaps)*2/5]
}

// blocks divides a region into blocks.
func (d *document) blocks(r region, t typography) []block {
	leading := t.leading
	if own := r.gaps(0); len(own) >= 8 {
		leading = usualGap(own, leading)
	}
	b := builder{doc: d, region: r, typography: t, leading: leading}
	for i := 0; i < len(r.rows); {
		if tab := r.rows[i].segs[0].table; tab != nil {
			b.add(block{kind: tableBlock, table: tab, left: tab.x0})
			i++
			continue
		}
		if tab, n := alignedTable(r.rows, i, r.page.readsLeft); n > 0 {
			b.flush()
			b.add(block{kind: tableBlock, table: tab, left: tab.x0})
			i += n
			continue
		}
		if l := d.line(r.page, &r.rows[i]); isOrnament(&l) {
			b.flush()
		} else {
			b.pending = append(b.pending, l)
		}
		i++
	}
	b.flush()
	if len(b.out) > 0 {
		b.out[0].first = true
		b.out[len(b.out)-1].last = true
	}
	return b.out
}

type builder struct {
	doc     *document
	region  region
	leading float32
	typography
	pending []line
	out     []block
}

func (b *builder) add(k block) {
	b.flush()
	k.page = b.region.page.number
	k.links = b.region.page.links
	b.out = append(b.out, k)
}

// flush divides the pending lines into paragraphs.
func (b *builder) flush() {
	lines := b.pending
	b.pending = nil
	right := rightEdges(lines, b.leading)
	var cur block
	put := func() {
		if len(cur.lines) > 0 {
			cur.page = b.region.page.number
			cur.links = b.region.page.links
			b.out = append(b.out, cur)
		}
		cur = block{}
	}
	for i := range lines {
		l := &lines[i]
		how := newBlock
		if len(cur.lines) > 0 {
			how = b.continues(&cur, l, right[i-1])
		}
		if how == newBlock {
			put()
			cur = block{left: l.x0}
			switch {
			case l.mono && !b.mono && b.marker(l) == "":
				cur.kind = codeBlock
			case b.marker(l) != "":
				cur.kind = listItem
				cur.marker = b.marker(l)
			}
		}
		cur.lines = append(cur.lines, *l)
		cur.hard = append(cur.hard, how == newLine)
	}
	put()
}

// rightEdges returns for each line how far it could have gone: to the end of
// the longest line, or of those around it if these are set to a common width.
func rightEdges(lines []line, leading float32) []float32 {
	out := make([]float32, len(lines))
	var widest float32
	for i := range lines {
		widest = max(widest, lines[i].x1)
	}
	for i := 0; i < len(lines); {
		j := i + 1
		for j < len(lines) && lines[j].y-lines[j-1].y < 1.3*leading*lines[j].size && abs(lines[j].size-lines[i].size) < .1*lines[i].size {
			j++
		}
		edge := widest
		var own float32
		for _, l := range lines[i:j] {
			own = max(own, l.x1)
		}
		full := 0
		for _, l := range lines[i:j] {
			if own-l.x1 < 2*l.size {
				full++
			}
		}
		if j-i >= 4 && 5*full >= 3*(j-i) {
			edge = own
		}
		for ; i < j; i++ {
			out[i] = edge
		}
	}
	return out
}

type continuation uint8

const (
	sameLineOf continuation = iota // flows on
	newLine                        // the same block, but the break is meant
	newBlock
)

// continues says how l goes on after the lines of cur. right is how far cur's
// last line could have gone.
func (b *builder) continues(cur *block, l *line, right float32) continuation {
	prev := &cur.lines[len(cur.lines)-1]
	size := max(prev.size, l.size)
	gap := (l.y - prev.y) / size
	if cur.kind == codeBlock {
		if l.mono && gap < 2.5*b.leading {
			return newLine
		}
		return newBlock
	}
	big := l.size > 1.12*b.body
	// Lines farther apart than those of a typescript are no lines of a paragraph.
	limit := min(1.22*b.leading+.08, 2.45)
	if big {
		// Leading of display sizes has little to do with the body's.
		limit = max(limit, 1.45)
	}
	text := prev.text()
	first := firstWordWidth(l)
	meant := prev.x1+.3*prev.size+first < right-.8*prev.size
	if l.mono && !b.mono && !prev.mono && (meant || endsSentence(text)) {
		return newBlock // and not an address or a command that starts a line by chance
	}
	if gap > limit || gap < -.2 || prev.tag != l.tag ||
		abs(prev.size-l.size) > .1*size || prev.bold != l.bold && (len(cur.lines) == 1 || l.bold) {
		return newBlock
	}
	rtl := len(l.words) > 0 && isRTL(l.words[0].text) && !b.region.page.readsLeft
	meant = meant && !rtl
	switch m := b.marker(l); {
	case isBullet(m):
		return newBlock
	case m != "" && (meant || cur.kind == listItem):
		return newBlock
	}
	if apart(prev, l) {
		return newLine
	}
	if rtl {
		return sameLineOf
	}
	indent := (l.x0 - prev.x0) / size
	switch {
	case cur.kind == listItem && len(cur.lines) == 1:
		// Its second line hangs under the text, or starts where it started.
		if indent < -.5 {
			return newBlock
		}
	case big && l.bold == prev.bold:
		return sameLineOf // lines of a title; often centred
	case len(cur.lines) == 1 && indent < 0 && indent > -4:
		// The first line of a paragraph may be indented.
	case indent < -.8 || indent > .8 && !centred(prev, l):
		if meant || indent > .8 && indent < 4 && endsSentence(text) || indent < -.8 && len(cur.lines) > 1 {
			return newBlock
		}
	}
	if tocEntry.MatchString(text) {
		return newLine
	}
	if !meant || endsInHyphen(text) && startsLower(l.words[0].text) {
		return sameLineOf
	}
	if endsSentence(text) && !strings.HasSuffix(text, ":") {
		return newBlock
	}
	return newLine
}

// apart reports whether two lines are of different fields of a form, or one of them
// is of none: they do not go on in each other.
func apart(a, b *line) bool {
	last, first := uint16(0), uint16(0)
	for _, w := range a.words {
		if w.field > 0 {
			last = w.field
		}
	}
	for _, w := range b.words {
		if first = w.field; first > 0 {
			break
		}
	}
	return last != first
}

func centred(a, b *line) bool {
	return abs((a.x0+a.x1)-(b.x0+b.x1)) < a.size && abs(a.x0-b.x0) > .8*a.size
}

func firstWordWidth(l *line) float32 {
	w := l.words[0].x1 - l.words[0].x0
	for i := 1; i < len(l.words) && l.words[i].glued; i++ {
		w += l.words[i].x1 - l.words[i].x0
	}
	if r, _ := utf8.DecodeRuneInString(l.words[0].text); unspaced(r) {
		return l.size // may break anywhere
	}
	return w
}

func (l *line) text() string { return textOf(l.words) }

// isOrnament reports whether a line is drawn with characters.
func isOrnament(l *line) bool {
	n := 0
	for i := range l.words {
		s := strings.ReplaceAll(l.words[i].text, " ", "")
		if strings.Trim(s, "-=_*~.·—–―─━═•") != "" {
			return false
		}
		n += len(s)
	}
	return n >= 3
}

var (
	enumerator    = regexp.MustCompile(`^(\(?[0-9]{1,3}[.)]|\(?[a-zA-Z][.)]|\(?[ivxlc]{1,5}[.)]|\.[0-9]{1,2}|\[[0-9]{1,3}\])$`)
	tocEntry      = regexp.MustCompile(`(?:[.…·]\s?){4,}\s*[0-9ivxlc]{1,5}$`)
	sectionNumber = regexp.MustCompile(`^([0-9]{1,2}(\.[0-9]{1,3}){0,4}\.?|[A-Z](\.[0-9]{1,3}){1,4}\.?|[A-Z]|[IVX]{1,5}\.)$`)
)

// Private-use characters are what Symbol and Wingdings have in these places.
const bullets = "•◦▪▫■□●○‣⁃∙·➢➤►▶✓✔❖♦◆\uf0b7\uf0a7\uf0d8\uf0fc\uf076\uf0a8\uf06e\uf071"

func isBullet(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n == len(s) && n > 0 && (strings.ContainsRune(bullets, r) || s == "-" || s == "–" || s == "—" || s == "*")
}

func isMarker(s string) bool {
	return isBullet(s) || enumerator.MatchString(s) || s == boxOn || s == boxOff
}

func isSectionNumber(s string) bool { return sectionNumber.MatchString(s) }

// marker returns the bullet or number l starts with, or "".
func (b *builder) marker(l *line) string {
	first := l.words[0].text
	if len(l.words) > 1 && !l.words[1].glued && isMarker(first) {
		if len(first) == 2 && first[1] == '.' && unicode.IsUpper(rune(first[0])) {
			return "" // an initial
		}
		return first
	}
	// A bullet may touch its text.
	r, n := utf8.DecodeRuneInString(first)
	if n < len(first) && strings.ContainsRune("•◦▪■●‣➢➤►❖\uf0b7\uf0a7\uf0d8", r) {
		return first[:n]
	}
	return ""
}

func endsSentence(s string) bool {
	s = strings.TrimRight(s, "\"'”’)]»")
	r, _ := utf8.DecodeLastRuneInString(s)
	return strings.ContainsRune(".!?:;。！？", r)
}

// closesSentence reports whether s ends as sentences do, and labels do not.
func closesSentence(s string) bool {
	return endsSentence(s) && !strings.HasSuffix(s, ":") && !strings.HasSuffix(s, ";")
}

func endsInHyphen(s string) bool {
	if !strings.HasSuffix(s, "-") && !strings.HasSuffix(s, "‐") {
		return false
	}
	r, _ := utf8.DecodeLastRuneInString(strings.TrimRight(s, "-‐"))
	return unicode.IsLetter(r)
}

// hyphenated reports whether a word is divided between two lines.
func hyphenated(before, after string) bool {
	if !endsInHyphen(before) {
		return false
	}
	if startsLower(after) {
		return true
	}
	a, b := before[strings.LastIndexByte(before, ' ')+1:], after
	if i := strings.IndexByte(b, ' '); i >= 0 {
		b = b[:i]
	}
	return len(a) > 2 && len(b) > 1 && allCaps(a) && allCaps(b)
}

// dividedNumber reports whether a number, say of a telephone, goes on in the
// next line after its hyphen.
func dividedNumber(before, after string) bool {
	number := strings.TrimRight(before, "-‐")
	last, _ := utf8.DecodeLastRuneInString(number)
	first, _ := utf8.DecodeRuneInString(after)
	return len(number) < len(before) && unicode.IsDigit(last) && unicode.IsDigit(first)
}

func startsLower(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return unicode.IsLower(r)
}

func startsUpper(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return unicode.IsUpper(r)
}
