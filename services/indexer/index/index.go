// Package index says what an index of chunks must do, whatever it is made of.
// Package conformance is the same in tests; every store passes it.
//
// # Visibility
//
// A revision of a document is searchable as a whole or not at all. Its chunks
// are staged, unseen, until all of them are there; in the transaction that
// brings the last one the revision becomes visible, and every older one goes.
// Newer revisions win, whatever order they arrive in: what is older than the
// visible revision, or than a deletion, is Stale and changes nothing. The visible
// revision itself changes in one way only: a chunk whose vector a fallback made
// gives way to the same chunk with a vector of the model that was meant.
//
// # Identity
//
// A document is known by its tenant and its ID: no tenant can see, replace or
// delete a document of another one, even by naming its ID. Within a revision a
// chunk is known by its ordinal. If one revision arrives cut into different
// numbers of chunks (its chunker was reconfigured in between), the cuts are
// staged apart, and the first to be whole wins.
//
// # Spaces
//
// The model named on a vector is a space of its own with a fixed number of
// dimensions. Vectors are only ever compared within a space. Words are
// compared across all spaces, so a document that a fallback embedded can be
// found by keyword.
package index

import (
	"context"
	"fmt"

	"sluice/pkg/events"
)

// MaxChunks bounds the chunks of one revision.
const MaxChunks = 1 << 20

// Store is an index. It is safe for concurrent use. Its errors are classified
// (package fault).
type Store interface {
	// Apply carries out ops in order, in one transaction: after an error
	// nothing has happened, and all may be tried again. What is wrong with a
	// single operation is in its Outcome and does not harm the others.
	// Applying an operation again has no further effect.
	Apply(ctx context.Context, ops []Op) ([]Outcome, error)

	// Search returns the best chunks for q, best first. It sees each document
	// at exactly one revision.
	Search(ctx context.Context, q Query) ([]events.Hit, error)

	// Document tells what the index holds of a document.
	Document(ctx context.Context, tenant, document string) (Document, error)

	// Documents calls yield with every document of which the index knows anything,
	// deletions included, in no order. An error of yield ends it and is returned.
	Documents(ctx context.Context, yield func(tenant, document string) error) error

	// Newest returns the highest revision of anything that is or was in the index.
	Newest(ctx context.Context) (events.Revision, error)

	// Dump calls yield with every visible chunk, ordered by tenant, document
	// and ordinal, so that two indexes can be compared. An error of yield
	// ends it and is returned.
	Dump(ctx context.Context, yield func(Entry) error) error

	// Stats counts what is there.
	Stats(ctx context.Context) (Stats, error)

	Close() error
}

// Op is one operation: exactly one of its fields is set.
type Op struct {
	Vector    *events.Vector
	Tombstone *events.Tombstone
}

// Kind says what an operation did.
type Kind uint8

// The kinds of outcome.
const (
	_               Kind = iota
	Refused              // nothing; Err says why
	Staged               // a chunk is in; its revision still lacks some
	Completed            // the chunk was the last one: the revision is visible now, or now without a fallback's chunk
	Repeated             // the chunk was there already
	Stale                // nothing: something newer had been there before
	Deleted              // all that is older than the tombstone is gone
	Confirmed            // the visible content is what this newer revision holds
	ConfirmMismatch      // the visible content is not that, or there is none
	Upgraded             // a fallback's chunk of the visible revision gave way to a good one; it has more of them
)

var kindNames = [...]string{"none", "refused", "staged", "completed", "repeated", "stale", "deleted", "confirmed", "confirm-mismatch", "upgraded"}

// String returns the kind as a word for logs and metric labels.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind-%d", uint8(k))
}

// Outcome is what became of one Op.
type Outcome struct {
	Kind Kind
	// Have and Of count the chunks of the operation's revision: those in the
	// index and those that make it whole. Both are 0 for tombstones.
	Have, Of int
	// Revision is the visible revision that Completed, Confirmed, or stands in
	// the way of what is Stale or mismatched; nil if none is visible. With
	// Repeated it says that the chunk's own revision is the visible one.
	Revision *Revision
	// Err is the fault of a Refused operation.
	Err error
}

// Revision describes a visible revision of a document.
type Revision struct {
	// About is as the revision brought it, but for About.Revision: a
	// confirmation raises it to the submission that found nothing new.
	About    events.About
	Chunks   int
	Reused   int    // chunks whose vector had been bought before
	Degraded int    // chunks whose vector a fallback made
	Tokens   int    // embedded, over all chunks
	Nano     int64  // nano-dollars the embeddings cost
	Model    string // the space of most chunks; the alphabet breaks a tie
}

// Mode selects what a search compares.
type Mode string

// The modes.
const (
	Hybrid  Mode = "hybrid"
	Vector  Mode = "vector"
	Keyword Mode = "keyword"
)

// Query asks for chunks.
type Query struct {
	Text   string    // compared as words; any text is a valid query
	Vector []float32 // compared within the space Model; any length but 0
	Model  string
	K      int  // hits wanted; 0 is DefaultK, at most MaxK
	Mode   Mode // "" is Hybrid, or Keyword without a vector
	Tenant string
	// Meta keeps the documents whose metadata has all of these values.
	Meta map[string]string
	// VectorWeight is the say of the vectors in a hybrid search, that of the
	// words being 1; 0 is WeightOf(Model).
	VectorWeight float64
}

// Bounds of Query.K.
const (
	DefaultK = 10
	MaxK     = 1000
)

// Document is what an index holds of a document.
type Document struct {
	Visible *Revision // nil if nothing can be searched
	Floor   events.Revision
	Staged  []Staging // by revision, then by number of chunks
}

// Staging is an incomplete revision.
type Staging struct {
	Revision events.Revision
	Have, Of int
}

// Entry is a visible chunk, reduced to what two equal indexes have in common.
type Entry struct {
	Tenant   string
	Document string
	Revision events.Revision
	Ordinal  int
	Chunk    string
	Model    string
	// Hash is the content hash of text and embedding together.
	Hash string
}

// Stats counts the contents of an index.
type Stats struct {
	Spaces []Space // by tenant, then by model
	// Documents are the visible ones.
	Documents int
	// Staged counts chunks that wait for the rest of their revision.
	Staged int
	// Bytes is the size on disk; Memory estimates what search keeps in memory.
	Bytes, Memory int64
}

// Space counts the visible chunks of one tenant in one space.
type Space struct {
	Tenant     string
	Model      string
	Dimensions int
	Chunks     int
}
