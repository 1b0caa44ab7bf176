package split

import (
	"context"
	"strings"
	"sync"

	"sluice/pkg/events"
	"sluice/pkg/token"
)

// Chunk is one piece of a text.
type Chunk struct {
	Ordinal int // from 0, without gaps
	Start   int // bytes into the Markdown
	End     int
	// Overlap is how many bytes from Start on are repeated from the chunk before.
	// A chunk that begins a section repeats nothing.
	Overlap int
	// Headings is the plain text of the headings in force where the new text of
	// the chunk begins, outermost first. A heading that the chunk begins with is
	// in its text and not here. Long headings and paths are shortened, see
	// ContextTokens. Chunks share slices: do not change them.
	Headings []string
	// Header is the header row of the table that the chunk begins in, as plain
	// text, if it is not in the chunk's own text. A long one is shortened: it and
	// the text together have at most MaxTokens tokens.
	Header string
	Page   int // where the new text begins, from 1; 0 = unknown
	Tokens int // of md[Start:End], exact
	// InputTokens counts what events.Chunk.Input returns for the chunk: at most
	// ContextTokens more than MaxTokens. Exact.
	InputTokens int
}

// tokenizer is what a splitter needs of a token.Encoding.
type tokenizer interface {
	Count(s string) int
	Ends(dst []int, s string) []int
}

// Splitter cuts texts in one way. It may be used concurrently.
type Splitter struct {
	o     Options
	tok   tokenizer
	slash bool
	least int // windowBytes, but for tests
	work  sync.Pool
}

// work is memory that is used again for the next text.
type work struct {
	ends   []int
	blocks []block
	coarse []cut
	fine   []cut
	best   []int
	from   []int32
	path   []int32
}

// keepTokens bounds the texts whose working memory is kept, in tokens. It takes
// up to some 150 bytes a token.
const keepTokens = 1 << 17

// New returns a splitter. The error is a Halt fault: the options are wrong.
func New(o Options) (*Splitter, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	enc, err := token.Load(o.Encoding)
	if err != nil {
		return nil, err
	}
	return &Splitter{
		o: o, tok: enc, slash: o.Encoding == "o200k_base", least: windowBytes,
		work: sync.Pool{New: func() any { return new(work) }},
	}, nil
}

// Split cuts a text. pages says where its pages begin, in ascending order, and
// may be empty. The error is that of ctx, and there is no other. A text of
// white space has no chunks.
//
// A long text is cut window by window, so that what is kept in memory besides the
// text and its chunks does not grow with it. The last chunks of a window are not
// taken: the next window begins where they do, and sees what follows them.
func (s *Splitter) Split(ctx context.Context, markdown string, pages []events.PageMark) ([]Chunk, error) {
	if skipSpace(markdown, 0) == len(markdown) {
		return nil, ctx.Err()
	}
	w := s.work.Get().(*work)
	defer func() {
		if len(w.ends) <= keepTokens && len(w.blocks) <= keepTokens/4 {
			s.work.Put(w)
		}
	}()
	a := assembler{splitter: s, work: w, md: markdown, pages: pages, outline: outline{md: markdown, tok: s.tok}}
	a.scan = scanner{md: markdown, blocks: w.blocks[:0]}
	for size := max(s.least, 64*s.o.MaxTokens); a.pos < len(markdown); {
		from := a.pos
		if err := a.cut(ctx, size); err != nil {
			return nil, err
		}
		if a.pos == from {
			size *= 2 // it holds no whole chunk
		}
	}
	return a.chunks, nil
}

// windowBytes is how much text is cut at once, or more if that is not many chunks.
const windowBytes = 512 << 10

// segment is how much text is tokenised before ctx is looked at again, in bytes.
const segment = 1 << 18

// ends appends the ends of the tokens of md[from:to] to dst.
func (s *Splitter) ends(ctx context.Context, dst []int, md string, from, end int) ([]int, error) {
	md = md[:end]
	for from < end {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		to := min(from+segment, end)
		for !additive(md, to, s.slash) {
			if i := strings.IndexByte(md[to:], '\n'); i >= 0 {
				to += i + 1
			} else {
				to = end
			}
		}
		n := len(dst)
		dst = s.tok.Ends(dst, md[from:to])
		for i := n; from > 0 && i < len(dst); i++ {
			dst[i] += from
		}
		from = to
	}
	return dst, nil
}
