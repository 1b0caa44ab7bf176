package split

import (
	"context"
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
	md       string
	pages    []events.PageMark
	outline  outline
	find     finder
	page     int // how many of pages have begun
	fresh    int // where the new text of the last chunk begins
	chunks   []Chunk
}

// pieces makes chunks along cuts in the text.
func (a *assembler) pieces(ctx context.Context, w *work) (err error) {
	o := a.splitter.o
	overlap := 0
	if o.Overlap > 0 {
		overlap = o.Overlap + slack
	}
	f := &a.find
	f.max = o.MaxTokens - overlap
	switch o.Strategy {
	case Sentence:
		err = f.every(ctx, nextSentence, sentenceCost)
	case Recursive:
		err = f.every(ctx, nextParagraph, blockCost)
	default:
		err = f.structure(ctx)
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
	a.chunks = make([]Chunk, 0, len(path)-1)
	for n := 1; n < len(path); n++ {
		if n%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		from, to := &cuts[path[n-1]], &cuts[path[n]]
		tokens := -1
		if from.additive && to.additive {
			tokens = int(to.tok - from.tok)
		}
		if err := a.piece(ctx, from, to, tokens); err != nil {
			return err
		}
	}
	return nil
}

// piece makes a chunk of the text between two cuts. tokens is its exact size,
// or -1.
func (a *assembler) piece(ctx context.Context, from, to *cut, tokens int) error {
	o, tok := a.splitter.o, a.splitter.tok
	start := from.pos
	if o.Overlap > 0 && repeats(from) && a.continues(from.pos) {
		start = a.overlap(from.pos, o.Overlap)
		if start < from.pos {
			tokens = tok.Count(a.md[start:to.pos])
		}
		if tokens > o.MaxTokens {
			start = a.overlap(from.pos, max(0, o.Overlap-(tokens-o.MaxTokens)-slack))
			tokens = tok.Count(a.md[start:to.pos])
		}
		if tokens > o.MaxTokens {
			start, tokens = from.pos, -1
		}
	}
	if tokens < 0 {
		tokens = tok.Count(a.md[start:to.pos])
	}
	if tokens > o.MaxTokens {
		// What the plan took the tokens at its ends for was too little.
		return a.windows(ctx, from.pos, to.pos)
	}
	a.add(start, from.pos, to.pos, tokens)
	return nil
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

// windows makes chunks of MaxTokens tokens of the text between from and to.
func (a *assembler) windows(ctx context.Context, from, to int) error {
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
		a.add(start, pos, end, tokens)
		pos = end
	}
	return nil
}

// window returns the longest chunk with new text from pos on, but not beyond to.
func (a *assembler) window(pos, to, overlap int) (start, end, tokens int) {
	o, tok, f := a.splitter.o, a.splitter.tok, &a.find
	start = pos
	if overlap > 0 && a.continues(pos) {
		start = a.back(pos, overlap)
	}
	end = to
	if k := int(f.tokens(start)) + o.MaxTokens - 1; k < len(f.ends) {
		end = min(to, f.ends[k])
	}
	for {
		end = a.down(end, pos)
		tokens = tok.Count(a.md[start:end])
		if tokens <= o.MaxTokens {
			return start, end, tokens
		}
		k := int(f.tokens(end)) - 1 - (tokens - o.MaxTokens)
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
	if text := a.md[start:end]; len(c.Headings) == 0 || standsAlone(text, a.splitter.slash) {
		c.InputTokens += path
	} else {
		c.InputTokens = a.splitter.tok.Count(lead(c.Headings) + text)
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
