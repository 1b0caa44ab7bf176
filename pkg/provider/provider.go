// Package provider holds the interfaces behind which documents are parsed and
// texts embedded, whether by this process, a server nearby, or a paid service.
// Budget, cache, breaker and metrics are wrappers of the same interfaces: a
// stage cannot tell.
package provider

import (
	"context"
	"errors"
	"time"

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

// Owner says for whom a call is made: it is what costs are booked on.
type Owner struct {
	Tenant        string
	Document      string // events.DocumentID
	CorrelationID string
	// Query marks the text of a search. It is charged to the budget's scope
	// "query" and to no tenant, so that searches and ingestion do not use up each
	// other's requests. The inputs of one paid call are all queries or none is.
	Query bool
}

// Input is one text with its exact token count. The inputs of one paid call
// belong to one tenant.
type Input struct {
	Text   string
	Tokens int
	Owner  Owner
}

// Embeddings is the outcome of one call.
type Embeddings struct {
	Vectors [][]float32 // len(inputs); nil where Errs has an error
	Errs    []error     // nil, or len(inputs)
	Tokens  int         // billed tokens
	Nano    int64       // cost in nano-dollars
	Reused  []bool      // nil, or len(inputs): came from a cache, cost nothing
	// Model is set where a fallback made vectors, those that Fallback marks: its
	// own model, never the one of Describe. They belong into its vector space.
	Model    string
	Fallback []bool // nil, or len(inputs)
}

// EmbedderInfo is what a stage has to know to use an embedder.
type EmbedderInfo struct {
	Service      string // "mock", "local", "openai": metric label and budget scope
	Model        string // names the vector space, dimensions included: "lex-v1-1536"
	Dimensions   int
	MaxInputs    int    // inputs a call, 0 = no limit
	MaxTokens    int    // tokens a call over all inputs, 0 = no limit
	NanoPerToken int64  // 0 = free: never asks the budget
	Priced       string // date of the price, "2026-11-01"
	Cacheable    bool   // looking a vector up is cheaper than making it again
}

// Source is a document as submitted.
type Source struct {
	Name        string // a hint to the type
	ContentType string // a hint to the type
	Charset     string // overrides detection for text formats
	Data        []byte
	Owner       Owner
	// Wanted is asked before money is spent on the document: it may have been deleted
	// while it waited for that. Its error ends the parse. Nil = it is wanted.
	Wanted func(ctx context.Context) error
}

// Parse is a document as Markdown.
type Parse struct {
	Markdown string
	Pages    []events.PageMark
	Facts    events.Facts
	Warnings []string // what could not be read
	Nano     int64    // cost in nano-dollars
	Billed   bool     // Nano is what the service has billed, not what its price list says
	Reused   bool     // came from a cache, cost nothing
	// Parser is who made it, where that is another than Describe names.
	Parser ParserInfo
	// Fallback says that Parser stood in for a service that is away.
	Fallback bool
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

// String returns the parser as it stands on documents: "local/1".
func (i ParserInfo) String() string { return i.Service + "/" + i.Version }

// Jobs is a paid service that parses in the background. The guard of package
// budget makes a Parser of it: only Create costs money, and only the guard
// calls it, with the money reserved. All methods classify their errors.
type Jobs interface {
	Describe() ParserInfo
	// Bound returns the most that parsing src can cost. It asks nobody.
	Bound(src Source) (Bound, error)
	// Find returns the job that an earlier Create of the same content and
	// options has started, "" if the service knows none. One that has ended badly
	// counts if it was created after since: it may have been billed. To look
	// costs nothing. If not all could be looked at, that is an error.
	Find(ctx context.Context, src Source, since time.Time) (job string, err error)
	// Create starts a job. It is one attempt: where its outcome is unknown, Find
	// has to be asked before it is called again.
	Create(ctx context.Context, src Source) (job string, err error)
	// Result asks once what a job has made. ended is false while it runs. A job
	// that ended badly is an Execution or Validation fault, with the reason
	// ReasonJobUnknown if the service has none of this name. Any process may ask,
	// and ask again.
	Result(ctx context.Context, job string, src Source) (out Parse, ended bool, err error)
	// Cost returns what a job did cost, false while the service does not know.
	Cost(ctx context.Context, job string) (nano int64, known bool, err error)
}

// ReasonJobUnknown is the reason of a job that the service does not know: it never
// did, or not any more.
const ReasonJobUnknown = "job-unknown"

// Bound is the most that a call may cost.
type Bound struct {
	Nano  int64 // nano-dollars
	Pages int
}

// WithAttempt returns a context for one paid attempt, with the ID under which its
// cost is recorded: clients send it along where the service takes such an ID, so
// that the two sides' records can be compared call by call.
func WithAttempt(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, attempt{}, id)
}

// Attempt returns the ID of the attempt that ctx is for, "" if it has none.
func Attempt(ctx context.Context) string {
	id, _ := ctx.Value(attempt{}).(string)
	return id
}

type attempt struct{}

// Unbilled marks the error of an attempt for which the service has surely not
// charged: it was refused, or never reached it. The money of an attempt whose
// error is not marked counts as spent.
func Unbilled(err error) error {
	if err == nil {
		return nil
	}
	return unbilled{err}
}

// IsUnbilled tells whether err or what it wraps was marked by Unbilled.
func IsUnbilled(err error) bool {
	var u unbilled
	return errors.As(err, &u)
}

type unbilled struct{ error }

func (u unbilled) Unwrap() error { return u.error }
