package split

import (
	"fmt"
	"slices"

	"sluice/pkg/fault"
)

// The strategies.
const (
	Markdown  = "markdown"  // by structure: sections, blocks, rows and lines, sentences
	Recursive = "recursive" // paragraphs, then lines, then sentences, then words
	Sentence  = "sentence"  // whole sentences, as many as fit
	Fixed     = "fixed"     // windows of MaxTokens tokens
)

const (
	// ContextTokens bounds what the heading path adds to a chunk:
	// Chunk.InputTokens <= Options.MaxTokens + ContextTokens.
	ContextTokens = 64

	// MinMaxTokens is the least MaxTokens: one rune takes up to four tokens, and
	// a chunk must have room for an overlap and some words.
	MinMaxTokens = 16

	// MaxMaxTokens is the greatest MaxTokens, well above what any embedding model
	// takes.
	MaxMaxTokens = 1 << 17

	// algorithm changes when the same options give other chunks than before.
	algorithm = 3
)

// Options says how to cut. The zero value of Strategy, Encoding and MaxTokens
// stands for the default; see DefaultOptions for the others.
type Options struct {
	Strategy  string // markdown, recursive, sentence or fixed
	Encoding  string // cl100k_base or o200k_base
	MaxTokens int    // the most tokens in a chunk's text, overlap included
	MinTokens int    // chunks below this are avoided where the text allows; at most MaxTokens/2
	Overlap   int    // tokens to repeat from the chunk before; less than MaxTokens/2
}

// DefaultOptions returns the options that suit most documents.
func DefaultOptions() Options {
	return Options{Strategy: Markdown, Encoding: "cl100k_base", MaxTokens: 512, MinTokens: 64}
}

func (o Options) withDefaults() Options {
	d := DefaultOptions()
	if o.Strategy == "" {
		o.Strategy = d.Strategy
	}
	if o.Encoding == "" {
		o.Encoding = d.Encoding
	}
	if o.MaxTokens == 0 {
		o.MaxTokens = d.MaxTokens
	}
	return o
}

// Validate returns a Halt fault that names the first option that is wrong.
func (o Options) Validate() error {
	o = o.withDefaults()
	strategies := []string{Markdown, Recursive, Sentence, Fixed}
	encodings := []string{"cl100k_base", "o200k_base"}
	switch {
	case !slices.Contains(strategies, o.Strategy):
		return invalid("strategy is %q, want one of %q", o.Strategy, strategies)
	case !slices.Contains(encodings, o.Encoding):
		return invalid("encoding is %q, want one of %q", o.Encoding, encodings)
	case o.MaxTokens < MinMaxTokens || o.MaxTokens > MaxMaxTokens:
		return invalid("max tokens is %d, want %d to %d", o.MaxTokens, MinMaxTokens, MaxMaxTokens)
	case o.MinTokens < 0 || o.MinTokens > o.MaxTokens/2:
		return invalid("min tokens is %d, want 0 to %d, half of max tokens", o.MinTokens, o.MaxTokens/2)
	case o.Overlap < 0 || 2*o.Overlap >= o.MaxTokens:
		return invalid("overlap is %d tokens, want 0 to less than half of max tokens, %d", o.Overlap, o.MaxTokens)
	}
	return nil
}

func invalid(format string, args ...any) error {
	return fault.New(fault.Halt, "chunk-options", "chunk options: "+format, args...).
		WithHint("correct the chunker's flags or environment and restart it")
}

// Fingerprint names everything that decides how a text is cut. Two splitters
// with equal fingerprints give equal chunks.
func (o Options) Fingerprint() string {
	o = o.withDefaults()
	return fmt.Sprintf("split/%d:%s:%s:%d:%d:%d", algorithm, o.Strategy, o.Encoding, o.MaxTokens, o.MinTokens, o.Overlap)
}
