// Package token counts and cuts text into the tokens of OpenAI's models,
// exactly as OpenAI's tiktoken does.
//
// Text becomes tokens in two steps. A scanner cuts it into pieces: a word with
// the space before it, up to three digits, a run of punctuation, a run of
// whitespace. The encodings define the pieces by a regular expression with
// look-ahead; the scanners in scan.go are those expressions, written out. Then
// byte pair encoding cuts each piece: start from single bytes and, as long as
// two neighbours together are a token, merge the pair whose token has the
// lowest rank. Most pieces of natural text are one token, which one look in a
// hash table tells.
//
// Time is linear in the text, whatever the text. The merges of a long piece
// (a megabyte without a space) would be quadratic, so merge.go does them in
// windows and proves that the windows fit together.
//
// Special tokens such as "<|endoftext|>" are ordinary text here: documents
// must not be able to write control tokens. A byte that is not valid UTF-8 is
// a character of its own, neither letter nor digit nor space, and keeps its
// bytes; for valid UTF-8 all results equal tiktoken's.
package token

//go:generate sh -c "cd internal/gen && GOWORK=off go run ."
//go:generate sh -c "cd internal/gen && npm install --no-audit --no-fund && node classes.mjs && node vectors.mjs"

import (
	_ "embed"
	"fmt"
	"strings"
	"sync"

	"sluice/pkg/fault"
)

// Encoding is one vocabulary with the pattern that cuts text into pieces. It
// does not change after Load: all methods may be called concurrently.
type Encoding struct {
	name       string
	vocab      *vocabulary
	piece      func(c *classes, s string, i int) int // where the piece at s[i] ends
	classes    *classes
	workspaces sync.Pool // of *workspace
}

var (
	//go:embed data/cl100k_base.bpe
	cl100kMerges string
	//go:embed data/o200k_base.bpe
	o200kMerges string

	loadCL100K = sync.OnceValues(func() (*Encoding, error) {
		return load("cl100k_base", cl100kMerges, (*classes).cl100k)
	})
	loadO200K = sync.OnceValues(func() (*Encoding, error) {
		return load("o200k_base", o200kMerges, (*classes).o200k)
	})
)

// Load returns the encoding of that name: "cl100k_base" (text-embedding-3-*,
// text-embedding-ada-002, GPT-4) or "o200k_base" (GPT-4o and later). The first
// call in a process builds the tables, some ten milliseconds; later ones
// return the same Encoding. An unknown name is a fault of class Halt.
func Load(name string) (*Encoding, error) {
	switch name {
	case "cl100k_base":
		return loadCL100K()
	case "o200k_base":
		return loadO200K()
	}
	return nil, fault.New(fault.Halt, "unknown-encoding", "there is no token encoding %q", name).
		WithHint("use cl100k_base or o200k_base; OpenAI's embedding models use cl100k_base")
}

func load(name, merges string, piece func(*classes, string, int) int) (*Encoding, error) {
	v, err := newVocabulary(merges)
	if err != nil {
		return nil, fmt.Errorf("the embedded vocabulary %s is damaged: %w", name, err)
	}
	c, err := unicode16()
	if err != nil {
		return nil, fmt.Errorf("the embedded character classes are damaged: %w", err)
	}
	return &Encoding{name: name, vocab: v, piece: piece, classes: c}, nil
}

// Name returns the name that Load was called with.
func (e *Encoding) Name() string { return e.name }

// Count returns the number of tokens in s. It does not allocate, except for
// working space that it keeps for later calls.
func (e *Encoding) Count(s string) int {
	n := 0
	var w *workspace
	for i := 0; i < len(s); {
		j := e.piece(e.classes, s, i)
		if e.vocab.whole(s, i, j) >= 0 {
			n++
		} else {
			if w == nil {
				w = e.workspace()
			}
			n += len(e.vocab.split(w, s[i:j]))
		}
		i = j
	}
	e.release(w)
	return n
}

// Ends appends to dst the byte offset in s at which each token ends. The
// offsets ascend, and the last one is len(s). A token may end within a
// character: not every character is a token, or a whole number of them.
func (e *Encoding) Ends(dst []int, s string) []int {
	var w *workspace
	for i := 0; i < len(s); {
		j := e.piece(e.classes, s, i)
		if e.vocab.whole(s, i, j) >= 0 {
			dst = append(dst, j)
		} else {
			if w == nil {
				w = e.workspace()
			}
			end := i
			for _, rank := range e.vocab.split(w, s[i:j]) {
				end += e.vocab.length(rank)
				dst = append(dst, end)
			}
		}
		i = j
	}
	e.release(w)
	return dst
}

// Encode appends to dst the ranks of the tokens of s: the numbers that the
// API knows the tokens by.
func (e *Encoding) Encode(dst []uint32, s string) []uint32 {
	var w *workspace
	for i := 0; i < len(s); {
		j := e.piece(e.classes, s, i)
		if rank := e.vocab.whole(s, i, j); rank >= 0 {
			dst = append(dst, uint32(rank))
		} else {
			if w == nil {
				w = e.workspace()
			}
			dst = append(dst, e.vocab.split(w, s[i:j])...)
		}
		i = j
	}
	e.release(w)
	return dst
}

// decode returns the text of tokens: the inverse of Encode.
func (e *Encoding) decode(tokens []uint32) string {
	var b strings.Builder
	for _, rank := range tokens {
		b.WriteString(e.vocab.text(rank))
	}
	return b.String()
}

// workspace is what splitting pieces needs, kept from one to the next and for
// later calls.
type workspace struct {
	memo   memo
	tokens []uint32
	parts  []part
	offers []uint64
	best   []uint64
}

func (e *Encoding) workspace() *workspace {
	if w, ok := e.workspaces.Get().(*workspace); ok {
		return w
	}
	return new(workspace)
}

// keepTokens bounds what a hostile piece leaves behind in the pool: 256 kB.
const keepTokens = 1 << 16

func (e *Encoding) release(w *workspace) {
	if w != nil && cap(w.tokens) <= keepTokens {
		e.workspaces.Put(w)
	}
}

// resize makes room for merging n bytes, with no offers.
func (w *workspace) resize(n int) {
	blocks := (n + block - 1) / block
	if cap(w.best) < blocks {
		blocks := max(blocks, window/block)
		w.parts = make([]part, blocks*block)
		w.offers = make([]uint64, blocks*block)
		w.best = make([]uint64, blocks)
	}
	w.parts = w.parts[:blocks*block]
	w.offers = w.offers[:blocks*block]
	w.best = w.best[:blocks]
	for i := max(n-1, 0); i < len(w.offers); i++ {
		w.offers[i] = noOffer
	}
}
