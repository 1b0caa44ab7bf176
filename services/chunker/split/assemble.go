package split

import (
	"context"
	"math"
	"slices"
	"strings"
	"unicode"

	"sluice/pkg/events"
)

// slack is kept free, besides the overlap itself, in chunks with an overlap: where it is
// joined to the new text, there can be more tokens than the sum.
const slack = 2

// assembler makes the chunks of one text.
type assembler struct {
	splitter *Splitter
	work     *work
	md       string
	pages    []events.PageMark
	scan     scanner
	outline  outline
	find     finder
	page     int // how many of pages have begun
	pos      int // what is before it is in chunks
	fresh    int // where the new text of the last chunk begins
	chunks   []Chunk
}

// cut makes chunks of the next window, of about size bytes.
func (a *assembler) cut(ctx context.Context, size int) error {
	s, w := a.splitter, a.work
	// Where it begins the tokens of the last chunk are needed, to repeat some.
	from := a.pos
	if a.continues(from) {
		from = min(from, a.fresh)
	}
	end := a.windowEnd(a.pos+size, size/8)
	a.scan.upTo(end + settled)
	if n := min(indexOf(a.scan.blocks, from), a.outline.next); n > 0 && len(a.scan.blocks) > 0 {
		a.scan.blocks = append(a.scan.blocks[:0], a.scan.blocks[n:]...)
		a.outline.next -= n
	}
	w.blocks = a.scan.blocks
	a.outline.blocks = a.scan.blocks
	if err := ctx.Err(); err != nil {
		return err
	}
	ends, err := s.ends(ctx, w.ends[:0], a.md, from, end)
	if err != nil {
		return err
	}
	w.ends = ends
	// Chunks near the end of the window might be others if it were longer.
	last := int32(len(ends))
	if end < len(a.md) {
		last -= int32(marginChunks * s.o.MaxTokens)
	}
	overlap := 0
	if s.o.Overlap > 0 {
		overlap = s.o.Overlap + slack
	}
	a.find = finder{
		md: a.md[:end], tok: s.tok, blocks: a.scan.blocks, ends: ends, slash: s.slash,
		max: s.o.MaxTokens - overlap, step: max(1, int32(s.o.MaxTokens/128)), giant: s.o.MaxTokens / 3,
		cuts: w.coarse[:0], spaceEnd: -1,
		headers: headers{md: a.md, tok: s.tok, blocks: a.scan.blocks, limit: headerLimit(s.o.MaxTokens - overlap)},
	}
	if s.o.Strategy == Fixed {
		return a.windows(ctx, a.pos, end, last)
	}
	return a.pieces(ctx, overlap, last)
}

// marginChunks is how many full chunks before the end of a window are cut again
// in the next one.
const marginChunks = 4

// windowEnd returns a place near pos where a window can end: where a line does,
// or at least a rune.
func (a *assembler) windowEnd(pos, near int) int {
	if pos >= len(a.md)-near {
		return len(a.md)
	}
	if i := strings.IndexByte(a.md[pos:pos+near], '\n'); i >= 0 {
		return pos + i + 1
	}
	for !onRune(a.md, pos) {
		pos++
	}
	return pos
}

// headerLimit returns how many of a chunk's tokens the header of a table may take,
// room being those that nothing is repeated in.
func headerLimit(room int) int {
	if room < MinMaxTokens {
		return 0
	}
	return room / 2
}

// pieces makes chunks along cuts in the window, up to the given token of it.
func (a *assembler) pieces(ctx context.Context, overlap int, last int32) (err error) {
	o, f, w := a.splitter.o, &a.find, a.work
	switch o.Strategy {
	case Sentence:
		err = f.every(ctx, a.pos, nextSentence, sentenceCost)
	case Recursive:
		err = f.every(ctx, a.pos, nextParagraph, blockCost)
	default:
		err = f.structure(ctx, a.pos, a.outline)
	}
	if err != nil {
		return err
	}
	w.coarse = f.cuts
	cuts, err := f.refine(ctx, w.fine[:0])
	if err != nil {
		return err
	}
	w.fine = cuts
	path, err := plan(ctx, cuts, o.MaxTokens, overlap, o.MinTokens, w)
	if err != nil {
		return err
	}
	a.chunks = slices.Grow(a.chunks, len(path)-1)
	for n := 1; n < len(path); n++ {
		if n%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		from, to := &cuts[path[n-1]], &cuts[path[n]]
		if to.tok > last {
			break
		}
		tokens := -1
		if from.additive && to.additive {
			tokens = int(to.tok - from.tok)
		}
		if err := a.piece(ctx, from, to, tokens); err != nil {
			return err
		}
		a.pos = to.pos
	}
	return nil
}

// piece makes a chunk of the text between two cuts. tokens is its exact size,
// or -1.
func (a *assembler) piece(ctx context.Context, from, to *cut, tokens int) error {
	o, tok := a.splitter.o, a.splitter.tok
	start, whole := from.pos, tokens
	if o.Overlap > 0 && repeats(from) && a.continues(from.pos) {
		start = a.overlap(from.pos, o.Overlap)
		if start < from.pos {
			tokens = tok.Count(a.md[start:to.pos])
		}
		if room := a.room(start); tokens > room {
			start = a.overlap(from.pos, max(0, o.Overlap-(tokens-room)-slack))
			tokens = tok.Count(a.md[start:to.pos])
		}
		if tokens > a.room(start) {
			start, tokens = from.pos, whole
		}
	}
	if tokens < 0 {
		tokens = tok.Count(a.md[start:to.pos])
	}
	if tokens > a.room(start) {
		// What the plan took the tokens at its ends for was too little.
		return a.windows(ctx, from.pos, to.pos, math.MaxInt32)
	}
	a.add(start, from.pos, to.pos, tokens)
	return nil
}

// room returns how many tokens the text of a chunk that begins at start may have.
func (a *assembler) room(start int) int {
	_, header := a.find.headers.at(start)
	return a.splitter.o.MaxTokens - header
}

// continues reports whether the last chunk ends at pos.
func (a *assembler) continues(pos int) bool {
	n := len(a.chunks)
	return n > 0 && a.chunks[n-1].End == pos
}

// overlap returns where to begin a chunk with new text from pos on, so that it
// repeats up to the given tokens of the last chunk: at a sentence or line if
// that is not too late, or else at a word. Rows and lines of code are repeated
// whole or not at all.
func (a *assembler) overlap(pos, tokens int) int {
	start := a.back(pos, tokens)
	if start < pos && start > a.fresh && a.md[start-1] != '\n' {
		s, torn := a.md[start:pos], start
		if a.splitter.o.Strategy == Markdown && blockAt(a.outline.blocks, start).kind.lines() {
			start += nextLine(s)
		} else {
			start += min(nextLine(s), nextSentence(s))
			if int(a.find.tokens(pos)-a.find.tokens(start)) < tokens/4 {
				start = torn + nextWord(s)
			}
			if start == pos {
				start = torn
			}
		}
	}
	if skipSpace(a.md[:pos], start) == pos {
		return pos // nothing but white space
	}
	return start
}

// back returns the place that many tokens before pos, on a rune, and inside the
// new text of the last chunk.
func (a *assembler) back(pos, tokens int) int {
	k := int(a.find.tokens(pos)) - tokens
	start := a.fresh
	if k > 0 {
		start = max(start, a.find.ends[k-1])
	}
	for start < pos && !onRune(a.md, start) {
		start++
	}
	return min(start, pos)
}

// windows makes chunks of MaxTokens tokens of the text between from and to, up to
// the given token of the window.
func (a *assembler) windows(ctx context.Context, from, to int, until int32) error {
	f := &a.find
	// From text on there is only white space. If it is not too much, the last
	// chunk takes all of it and one token before.
	text := from + len(strings.TrimRightFunc(a.md[from:to], unicode.IsSpace))
	last := to
	if text > from && int(f.tokens(to)-f.tokens(text)) <= f.giant {
		if k := f.tokens(text-1) - 1; k >= 0 && f.ends[k] > skipSpace(a.md, from) {
			last = a.down(f.ends[k], from)
		}
	}
	for n, pos := 1, from; pos < to; n++ {
		if n%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		start, end, tokens := a.window(pos, to, a.splitter.o.Overlap)
		switch {
		case end == to || end <= last:
		case pos < last:
			end = last
			tokens = a.splitter.tok.Count(a.md[start:end])
		default:
			start, end, tokens = a.window(pos, to, 0)
		}
		if f.tokens(end) > until {
			return nil
		}
		a.add(start, pos, end, tokens)
		pos, a.pos = end, end
	}
	return nil
}

// window returns the longest chunk with new text from pos on, but not beyond to.
func (a *assembler) window(pos, to, overlap int) (start, end, tokens int) {
	tok, f := a.splitter.tok, &a.find
	start = pos
	if overlap > 0 && a.continues(pos) {
		start = a.back(pos, overlap)
	}
	end = to
	if k := int(f.tokens(start)) + a.room(start) - 1; k < len(f.ends) {
		end = min(to, f.ends[k])
	}
	for {
		end = a.down(end, pos)
		tokens = tok.Count(a.md[start:end])
		room := a.room(start)
		if tokens <= room {
			return start, end, tokens
		}
		k := int(f.tokens(end)) - 1 - (tokens - room)
		switch {
		case k >= 0 && f.ends[k] > pos:
			end = f.ends[k]
		case start < pos:
			start = pos
		default:
			end = pos + 1
		}
	}
}

// down returns the last place up to end where a rune ends, but at least one rune
// after pos.
func (a *assembler) down(end, pos int) int {
	for end > pos && !onRune(a.md, end) {
		end--
	}
	if end <= pos {
		for end = pos + 1; !onRune(a.md, end); end++ {
		}
	}
	return end
}

// add makes a chunk of md[start:end] with new text from pos on, unless that is
// white space only.
func (a *assembler) add(start, pos, end, tokens int) {
	first := skipSpace(a.md[:end], pos)
	if first == end {
		return
	}
	c := Chunk{Ordinal: len(a.chunks), Start: start, End: end, Overlap: pos - start, Tokens: tokens, InputTokens: tokens}
	var path int
	c.Headings, path = a.outline.at(pos)
	c.Header, _ = a.find.headers.at(start)
	if c.Header != "" {
		path = a.splitter.tok.Count(events.Lead(c.Headings, c.Header))
	}
	if text := a.md[start:end]; path == 0 || standsAlone(text, a.splitter.slash) {
		c.InputTokens += path
	} else {
		c.InputTokens = a.splitter.tok.Count(events.Lead(c.Headings, c.Header) + text)
	}
	for a.page < len(a.pages) && a.pages[a.page].Offset <= first {
		a.page++
	}
	if a.page > 0 {
		c.Page = a.pages[a.page-1].Page
	}
	a.fresh = pos
	a.chunks = append(a.chunks, c)
}
