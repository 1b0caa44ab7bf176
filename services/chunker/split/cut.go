package split

import (
	"context"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What a cut costs, in thousandths of what one more chunk costs. The costs are
// choices, not measurements: their order says which cuts are better.
const (
	chunkCost = 1000

	headingCost   = 10 // a level
	frontCost     = 30
	afterRuleCost = 40
	blockCost     = 120 // between blocks of a section
	itemCost      = 150 // between items of a list, more where they are nested
	nestedCost    = 60  // a level of nesting
	introCost     = 250 // between "as follows:" and what follows
	sentenceCost  = 380 // between sentences of a paragraph
	lineCost      = 500 // between rows of a table or lines of code
	headCost      = 700 // between the head of a table and its first row
	wordCost      = 1500
	aloneCost     = 2000 // between a heading and what follows it
	runeCost      = 3000

	// crossCost is for a chunk that starts inside a section and goes on after
	// the end of it: its heading path is wrong for the rest of it.
	crossCost = 600
	// smallCost is for a chunk below MinTokens.
	smallCost = 900
)

// A cut is a place where a chunk may end and the next one begin.
type cut struct {
	pos  int
	tok  int32 // tokens of the whole text that end at or before pos
	cost int16 // of cutting here
	head uint8 // level of the heading that begins here, or 0
	deep uint8 // level of the innermost heading in force for a chunk that begins here, or 0

	// A chunk that begins (ends) here has this many tokens more than the
	// difference of the toks says. The numbers are 0 for additive cuts, for
	// others they are close but not certain.
	opens, closes int8
	additive      bool
	header        int32 // tokens of the header that comes with a chunk that begins here
}

// finder collects the cuts of a text.
type finder struct {
	md     string
	tok    tokenizer
	blocks []block
	ends   []int // of the tokens
	hint   int   // index in ends near the last lookup
	max    int   // the most tokens between two cuts
	slash  bool  // the encoding puts a slash after a line break with what is before
	step   int32 // cuts closer than this many tokens are thinned out
	giant  int   // white space of more tokens than this may be cut
	cuts   []cut
	deep   uint8 // of the cuts that are made now

	headers headers

	spaceFrom, spaceEnd int // the white space last looked at
}

// tokens returns how many tokens of the text end at or before pos.
func (f *finder) tokens(pos int) int32 {
	lo, hi := 0, len(f.ends) // ends[:lo] <= pos < ends[hi:]
	if h := f.hint; h < hi && f.ends[h] <= pos {
		lo = h + 1
		for step := 1; lo+step < hi; step *= 2 {
			if f.ends[lo+step] > pos {
				hi = lo + step
				break
			}
			lo += step
		}
	} else {
		hi = min(h, hi)
		for step := 1; hi-step > lo; step *= 2 {
			if f.ends[hi-step] <= pos {
				lo = hi - step
				break
			}
			hi -= step
		}
	}
	for lo < hi {
		if m := int(uint(lo+hi) / 2); f.ends[m] <= pos {
			lo = m + 1
		} else {
			hi = m
		}
	}
	f.hint = lo
	return int32(lo)
}

// pastSpace is skipSpace for the whole text. It looks at a run of white space once.
func (f *finder) pastSpace(pos int) int {
	if pos < f.spaceFrom || pos > f.spaceEnd {
		f.spaceFrom, f.spaceEnd = pos, skipSpace(f.md, pos)
	}
	return f.spaceEnd
}

// at returns the cut at pos.
func (f *finder) at(pos int, cost int) cut {
	c := cut{pos: pos, tok: f.tokens(pos), cost: int16(cost), deep: f.deep, additive: additive(f.md, pos, f.slash)}
	if !c.additive {
		c.opens, c.closes = f.edge(pos, c.tok)
	}
	_, header := f.headers.at(pos)
	c.header = int32(header)
	return c
}

// additive reports whether token counts add up at pos: Count(md[:pos]) +
// Count(md[pos:]) is Count(md), and the same for any text that pos is inside of.
func additive(md string, pos int, slash bool) bool {
	if pos <= 0 || pos >= len(md) {
		return true
	}
	return md[pos-1] == '\n' && standsAlone(md[pos:], slash)
}

// standsAlone reports whether s has the same tokens after a line break as by itself.
func standsAlone(s string, slash bool) bool {
	if c := s[0]; c > ' ' && c < utf8.RuneSelf {
		return c != '/' || !slash
	}
	for _, r := range s {
		if r == '\n' || r == '\r' {
			return false
		}
		if !unicode.IsSpace(r) {
			break
		}
	}
	return true
}

// edge returns by how much a cut at pos changes the tokens after and before it.
// Both encodings begin a piece at a space before a letter, whatever is around
// it, so it is enough to count from there, respectively up to there.
func (f *finder) edge(pos int, tok int32) (opens, closes int8) {
	const reach = 128 // bytes
	opens, closes = 2, 2
	for i := pos + 1; i < min(pos+reach, len(f.md)-1); i++ {
		if f.md[i] == ' ' && isLetter(f.md[i+1]) {
			opens = clamp(f.tok.Count(f.md[pos:i]) - int(f.tokens(i)-tok))
			break
		}
	}
	for i := pos - 2; i >= max(0, pos-reach); i-- {
		if f.md[i] == ' ' && isLetter(f.md[i+1]) {
			closes = clamp(f.tok.Count(f.md[i:pos]) - int(tok-f.tokens(i)))
			break
		}
	}
	return opens, closes
}

func clamp(n int) int8 { return int8(min(max(n, 0), math.MaxInt8)) }

// size returns the tokens of a chunk between two cuts: of its text, and of the
// header that comes with it.
func size(a, b *cut) int {
	return int(b.tok-a.tok) + int(a.opens) + int(b.closes) + int(a.header)
}

// push adds a cut at pos after the others, unless there is one within one step
// that costs no more: that bounds the work of everything that follows. It
// returns the cut if it was added, for the caller to complete.
func (f *finder) push(pos, cost int) *cut {
	n := len(f.cuts)
	if n > 1 && f.cuts[n-1].tok/f.step == f.tokens(pos)/f.step {
		if cost >= int(f.cuts[n-1].cost) && pos < len(f.md) {
			return nil
		}
		f.cuts[n-1] = f.at(pos, cost)
		return &f.cuts[n-1]
	}
	f.cuts = append(f.cuts, f.at(pos, cost))
	return &f.cuts[n]
}

// structure adds the cuts of the markdown strategy from pos on. o knows the
// headings before it.
func (f *finder) structure(ctx context.Context, pos int, o outline) error {
	var force [8]bool // levels of the headings in force
	o.pass(pos)
	for l := range o.force {
		force[l] = o.force[l].kind == heading
	}
	f.deep = innermost(&force, uint8(len(force)))
	f.push(pos, 0)
	for i := indexOf(f.blocks, pos); i < len(f.blocks) && f.blocks[i].start < len(f.md); i++ {
		if i%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		b := &f.blocks[i]
		begins := b.start >= pos
		if b.kind == heading && begins {
			for l := int(b.level); l < len(force); l++ {
				force[l] = false
			}
			f.deep = innermost(&force, b.level)
		}
		if b.start > pos {
			if cost, ok := f.between(&f.blocks[i-1], b); ok {
				if c := f.push(b.start, cost); c != nil && b.kind == heading {
					c.head = b.level
				}
			}
		} else if b.kind == heading && begins {
			f.cuts[0].head, f.cuts[0].deep = b.level, f.deep
		}
		if b.kind == heading {
			if begins {
				force[b.level], f.deep = true, b.level
			}
			continue
		}
		start, end := max(b.start, pos), len(f.md)
		if i+1 < len(f.blocks) {
			end = min(end, f.blocks[i+1].start)
		}
		// A token takes at least a byte: most blocks are too short to look inside.
		switch n := end - start; {
		case b.kind.lines() && n > f.max:
			if int(f.tokens(end)-f.tokens(start)) > f.max || b.start < pos {
				f.inside(b, start, end)
			}
		case !b.kind.lines() && n > f.max/4:
			if int(f.tokens(end)-f.tokens(start)) > f.max/4 {
				f.inside(b, start, end)
			}
		}
	}
	f.push(len(f.md), 0)
	return nil
}

func innermost(force *[8]bool, below uint8) uint8 {
	for l := below - 1; l > 0; l-- {
		if force[l] {
			return l
		}
	}
	return 0
}

// between returns what a cut between two blocks costs, and whether there may be one.
func (f *finder) between(a, b *block) (cost int, ok bool) {
	if a.kind == heading && (b.kind != heading || b.level > a.level) {
		return 0, false // a heading stays with what follows it
	}
	nested := 0
	if b.kind != heading {
		nested = nestedCost * int(min(b.level, 6))
	}
	switch {
	case b.kind == heading:
		return headingCost * int(b.level-1), true
	case a.kind == front:
		return frontCost, true
	case a.kind == rule:
		return afterRuleCost, true
	case b.kind == rule:
		return 2 * blockCost, true // better after the rule
	case b.kind == item && b.level <= 1:
		cost = itemCost
	default:
		cost = blockCost + nested
	}
	if b.kind != paragraph && f.endsWithColon(b.start) {
		cost += introCost
	}
	return cost, true
}

func (f *finder) endsWithColon(pos int) bool {
	for pos--; pos >= 0; pos-- {
		switch f.md[pos] {
		case ' ', '\t', '\r', '\n', '*', '_':
		default:
			return f.md[pos] == ':'
		}
	}
	return false
}

// inside adds the cuts inside a block, from start to end: lines of some kinds of
// block, sentences of others.
func (f *finder) inside(b *block, start, end int) {
	pos := skipSpace(f.md[:end], start)
	if !b.kind.lines() {
		nested := nestedCost / 2 * int(min(b.level, 6))
		for {
			pos += nextSentence(f.md[pos:end])
			if pos >= end {
				return
			}
			f.push(pos, sentenceCost+nested)
		}
	}
	for n := 1; ; n++ {
		next := pos + nextLine(f.md[pos:end])
		if next >= end {
			return
		}
		cost := lineCost
		switch {
		case b.kind == table && n <= 2 && start == b.start:
			cost = headCost // the head of a table stays with its first row
		case b.kind == html && b.table != 0:
			// Between rows, not inside of one.
			if !beginsRow(f.md[next:min(end, next+64)]) {
				cost = wordCost
			}
		case b.kind != table && strings.Count(f.md[max(pos, next-3):next], "\n") > 1:
			cost = sentenceCost // after a blank line
		}
		pos = next
		f.push(pos, cost)
	}
}

// every adds a cut wherever next says that a unit ends.
func (f *finder) every(ctx context.Context, from int, next func(string) int, cost int) error {
	f.push(from, 0)
	first := skipSpace(f.md, from) // what precedes the first word is part of it
	for pos, n := from, 0; pos < len(f.md); n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		pos += next(f.md[pos:])
		if pos > first && pos < len(f.md) {
			c := cost
			if f.md[pos-1] == '\n' {
				c /= 2
			}
			f.push(pos, c)
		}
	}
	f.push(len(f.md), 0)
	return nil
}

// nextParagraph returns where the paragraph after the first one in s begins, or len(s).
func nextParagraph(s string) int {
	for pos := 0; ; {
		n := nextLine(s[pos:])
		pos += n
		if pos == len(s) || pos > 1 && strings.Count(s[pos-min(n, 4):pos], "\n") > 1 {
			return pos
		}
	}
}

// finer are the ways to cut what is too long for a chunk, from good to bad.
var finer = [...]struct {
	next func(string) int // nil: at any rune
	cost int
}{
	{nextLine, lineCost},
	{nextRow, lineCost},
	{nextSentence, sentenceCost + lineCost},
	{nextWord, wordCost},
	{nil, runeCost},
}

// refine returns the cuts with finer ones wherever two are too far apart,
// appended to dst.
func (f *finder) refine(ctx context.Context, dst []cut) ([]cut, error) {
	all := f.cuts
	f.cuts = append(dst, all[0])
	for i := 1; i < len(all); i++ {
		if i%4096 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if size(&all[i-1], &all[i]) > f.max {
			f.deep = all[i-1].deep
			f.gap(all[i-1], all[i], 0)
		}
		f.cuts = append(f.cuts, all[i])
	}
	dst, f.cuts = f.cuts, all
	return dst, nil
}

// gap adds cuts between a and b, of finer[level] and of finer ones where that
// does not do.
func (f *finder) gap(a, b cut, level int) {
	if level == len(finer) || size(&a, &b) <= f.max {
		return
	}
	way := finer[level]
	last, held := a, cut{pos: -1}
	release := func() {
		if held.pos >= 0 {
			f.gap(last, held, level+1)
			f.cuts = append(f.cuts, held)
			last = held
		}
	}
	for pos := a.pos; ; {
		if way.next != nil {
			pos += way.next(f.md[pos:b.pos])
		} else {
			pos = f.nextRune(pos, b.pos)
		}
		if pos >= b.pos {
			break
		}
		if held.pos >= 0 && held.tok/f.step == f.tokens(pos)/f.step || f.blank(last.pos, pos) {
			continue
		}
		release()
		held = f.at(pos, way.cost)
		if level == 0 && f.afterHeading(pos) {
			held.cost = aloneCost
		}
	}
	release()
	f.gap(last, b, level+1)
}

// afterHeading reports whether a cut at pos takes a heading from what follows it.
func (f *finder) afterHeading(pos int) bool {
	if len(f.blocks) == 0 || blockAt(f.blocks, pos).start != pos {
		return false
	}
	return blockAt(f.blocks, pos-1).kind == heading
}

// blank reports whether all between from and to is white space, and so little
// that it must not become a chunk of its own.
func (f *finder) blank(from, to int) bool {
	return f.pastSpace(from) >= to && int(f.tokens(to)-f.tokens(from)) <= f.giant
}

// nextRune returns the next place between pos and end where both a token and a
// rune end and that is not before white space, unless there is too much of it.
func (f *finder) nextRune(pos, end int) int {
	for k := int(f.tokens(pos)); k < len(f.ends) && f.ends[k] < end; k++ {
		e := f.ends[k]
		if e <= pos || !onRune(f.md, e) {
			continue
		}
		if space := f.pastSpace(e); space > e && int(f.tokens(space))-k-1 <= f.giant {
			continue
		}
		return e
	}
	return end
}
