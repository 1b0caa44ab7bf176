// Package index says what an index of vectors and text can do. Implementations
// pass one suite, package conformance.
package index

import (
	"context"

	"sluice/pkg/events"
)

// Store is an index. It is safe for concurrent use.
type Store interface {
	// Apply performs ops in order in one transaction and returns one outcome an
	// op. Repeating ops changes nothing. An error means that none was performed.
	Apply(ctx context.Context, ops []Op) ([]Outcome, error)
	// Search returns the best hits first, at most q.K, of visible revisions only.
	Search(ctx context.Context, q Query) ([]events.Hit, error)
	// Stats counts what is visible and what is staged.
	Stats(ctx context.Context) (Stats, error)
	// Dump calls f for every visible chunk in the order of tenant, document and
	// ordinal, until f returns an error, which it returns.
	Dump(ctx context.Context, f func(Entry) error) error
	Close() error
}

// Op is one operation: exactly one of its fields is set.
type Op struct {
	Vector    *events.Vector
	Tombstone *events.Tombstone
}

// Kind says what an operation did.
type Kind int

// The kinds of outcome.
const (
	Staged          Kind = iota // stored, invisible: the revision has Have of Of chunks
	Completed                   // stored, and with it the revision became visible
	Repeated                    // was there already; About is set if the revision is visible
	Stale                       // older than what is visible or deleted; ignored
	Deleted                     // the tombstone is in force
	Confirmed                   // the visible content is as the tombstone says
	ConfirmMismatch             // the visible content is other, or there is none
)

// Outcome is the effect of one operation. Of to Degraded describe the whole
// revision, on Completed, Confirmed, and Repeated with About.
type Outcome struct {
	Kind     Kind
	Err      error // a fault of this operation alone, which was not performed
	Have, Of int   // chunks
	About    *events.About
	Tokens   int
	Nano     int64 // nano-dollars
	Reused   int   // chunks whose vectors came from a cache
	Degraded bool
	Model    string
}

// Query asks for chunks.
type Query struct {
	Text   string
	Vector []float32 // of Model; nil for keyword mode
	Model  string    // the vector space to search in
	K      int
	Mode   string            // "hybrid", "keyword" or "vector"
	Tenant string            // empty = events.DefaultTenant
	Meta   map[string]string // all must match
	// VectorWeight weighs vectors against keywords in hybrid mode; 0 = by model.
	VectorWeight float64
}

// Stats counts the content of an index.
type Stats struct {
	Documents int            `json:"documents"` // visible
	Chunks    int            `json:"chunks"`    // visible
	Staged    int            `json:"staged"`    // chunks of incomplete revisions
	Models    map[string]int `json:"models"`    // visible chunks by vector space
	Bytes     int64          `json:"bytes"`     // on disk
}

// Entry is one visible chunk, for comparing indexes.
type Entry struct {
	Tenant, Document string
	Ordinal          int
	Chunk            string
	Revision         events.Revision
	Model            string
	VectorHash       string // ContentHash of the little-endian float32
	TextHash         string
}
