// Package provider holds the interfaces behind which documents are parsed and
// texts embedded, whether by this process, a server nearby, or a paid service.
// Budget, cache, breaker and metrics are wrappers of the same interfaces: a
// stage cannot tell.
package provider

import (
	"context"

	"sluice/pkg/events"
)

// Embedder turns texts into vectors. One call is one attempt: at most one
// network request and no retries inside, because each attempt may cost money
// and is admitted on its own. It is safe for concurrent use.
type Embedder interface {
	Describe() EmbedderInfo
	// Embed returns one vector per input, in order. Its error is classified
	// (package fault); a fault about single inputs is returned in
	// Embeddings.Errs, so that the others are not lost.
	Embed(ctx context.Context, inputs []Input) (Embeddings, error)
}

// Input is one text with its exact token count.
type Input struct {
	Text   string
	Tokens int
}

// Embeddings is the outcome of one call.
type Embeddings struct {
	Vectors [][]float32 // len(inputs); nil where Errs has an error
	Errs    []error     // nil, or len(inputs)
	Tokens  int         // billed tokens
	Nano    int64       // cost in nano-dollars
	Reused  []bool      // nil, or len(inputs): came from a cache, cost nothing
}

// EmbedderInfo is what a stage has to know to use an embedder.
type EmbedderInfo struct {
	Service      string // "mock", "local", "openai": metric label and budget scope
	Model        string // names the vector space, dimensions included: "lex-v1-1536"
	Dimensions   int
	MaxInputs    int   // inputs a call, 0 = no limit
	MaxTokens    int   // tokens a call over all inputs, 0 = no limit
	NanoPerToken int64 // 0 = free
	Cacheable    bool  // looking a vector up is cheaper than making it again
}

// Source is a document as submitted.
type Source struct {
	Name        string // a hint to the type
	ContentType string // a hint to the type
	Charset     string // overrides detection for text formats
	Data        []byte
}

// Parse is a document as Markdown.
type Parse struct {
	Markdown string
	Pages    []events.PageMark
	Facts    events.Facts
	Warnings []string // what could not be read
	Nano     int64    // cost in nano-dollars
}

// Parser turns a document into Markdown. One call is one attempt. Refusals are
// Validation faults with a reason of their own: "empty", "scanned",
// "encrypted", "corrupt", "unsupported", "too-large".
type Parser interface {
	Describe() ParserInfo
	Parse(ctx context.Context, src Source) (Parse, error)
}

// ParserInfo is what a stage has to know to use a parser.
type ParserInfo struct {
	Service string // "local", "llamaparse"
	Version string // changes whenever the same bytes would give other Markdown
}
