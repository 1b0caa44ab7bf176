// Package revision holds what all stores know of a revision alike, and the rules
// by which chunks and revisions give way to one another. Package index tells
// them in words; how they are stored is the stores' own.
package revision

import (
	"math"

	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/words"
	"sluice/services/indexer/index"
)

// State is a revision in one cut, as far as its chunks are there.
type State struct {
	Revision events.Revision
	Chunks   int // that make it whole
	Have     int
	Reused   int
	Degraded int
	Tokens   int
	Nano     int64 // nano-dollars
	Model    string
	Language string // of the chunks' words; "" is not known
	About    *events.About
}

// Chunk is what replacing a chunk has to know of the old one.
type Chunk struct {
	Key              string
	Tokens           int
	Nano             int64
	Reused, Degraded bool
}

// ChunkOf returns what of a vector's chunk has to be known later.
func ChunkOf(v *events.Vector) Chunk {
	return Chunk{Key: v.ID, Tokens: v.InputTokens, Nano: v.Nano, Reused: v.Reused, Degraded: v.Degraded}
}

// Count books a chunk in (1) or out (-1).
func (s *State) Count(c Chunk, sign int) {
	s.Have += sign
	s.Tokens += sign * c.Tokens
	s.Nano += int64(sign) * c.Nano
	if c.Reused {
		s.Reused += sign
	}
	if c.Degraded {
		s.Degraded += sign
	}
}

// Describe returns the revision as a visible one, or nil if s is nil.
func (s *State) Describe() *index.Revision {
	if s == nil {
		return nil
	}
	r := &index.Revision{
		About: *s.About, Chunks: s.Chunks, Reused: s.Reused, Degraded: s.Degraded,
		Tokens: s.Tokens, Nano: s.Nano, Model: s.Model,
	}
	r.About.Revision = s.Revision
	return r
}

// OfVector tells what a vector is to a document: Stale, Repeated, Upgraded if it may
// replace a chunk of the visible revision, or Staged. Nothing at or below floor
// is wanted; visible is nil if nothing is.
func OfVector(v *events.Vector, floor events.Revision, visible *State) index.Kind {
	switch {
	case v.Revision < floor || visible != nil && v.Revision < visible.Revision:
		return index.Stale
	case visible == nil || v.Revision != visible.Revision:
		return index.Staged
	case visible.Degraded == 0 || v.Degraded || v.Of != visible.Chunks:
		return index.Repeated
	}
	return index.Upgraded
}

// Stays tells whether a chunk that is there stays. It gives way to its like
// only to get rid of a fallback's vector, and what is visible to nothing else.
func (c Chunk) Stays(v *events.Vector, visible bool) bool {
	same := c.Key == v.ID
	return same && (!c.Degraded || v.Degraded) || visible && !same
}

// OfTombstone tells what a deletion or a confirmation is to a document: Stale,
// ConfirmMismatch, Confirmed, or Deleted.
func OfTombstone(m *events.Tombstone, floor events.Revision, visible *State) index.Kind {
	if m.Revision < floor {
		return index.Stale
	}
	if m.Confirm == "" {
		if visible != nil && visible.Revision >= m.Revision {
			return index.Stale
		}
		return index.Deleted
	}
	same := visible != nil && visible.About.ContentHash == m.Confirm
	switch {
	case visible != nil && (visible.Revision > m.Revision || visible.Revision == m.Revision && !same):
		return index.Stale
	case !same:
		return index.ConfirmMismatch
	}
	return index.Confirmed
}

// Check refuses a vector that no store can take.
func Check(v *events.Vector) error {
	switch {
	case v.Of < 1 || v.Ordinal < 0 || v.Ordinal >= v.Of:
		return fault.Invalid("malformed-event", "chunk %d of %d is not possible", v.Ordinal, v.Of)
	case v.Of > index.MaxChunks:
		return fault.Invalid("too-large", "the document has %d chunks, at most %d can be indexed", v.Of, index.MaxChunks).
			WithHint("split the document, or use larger chunks")
	case v.Revision > math.MaxInt64:
		return fault.Invalid("malformed-event", "revision %d is out of range", v.Revision)
	case v.Ordinal == 0 && v.About == nil:
		return fault.Invalid("malformed-event", "field about is missing on ordinal 0")
	case v.Model == "":
		return fault.Invalid("malformed-event", "field model is missing")
	}
	return nil
}

// CheckTombstone refuses a tombstone that no store can take.
func CheckTombstone(m *events.Tombstone) error {
	if m.Revision == 0 || m.Revision > math.MaxInt64 {
		return fault.Invalid("malformed-event", "revision %d of a tombstone is out of range", m.Revision)
	}
	return nil
}

// Norm returns the Euclidean length of a vector.
func Norm(vector []float32) float64 {
	var sum float64
	for _, x := range vector {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum)
}

// Length returns a vector's norm, or a fault if it has no direction to be compared by.
func Length(vector []float32, model string) (float64, error) {
	norm := Norm(vector)
	if norm == 0 || math.IsNaN(norm) || math.IsInf(norm, 0) {
		return 0, fault.Invalid("bad-vector", "the vector of model %s has no direction: it holds only zeros, or what is no number", model).
			WithHint("the embedder should have refused it: see its log")
	}
	return norm, nil
}

// WrongDimensions is the fault of a vector that does not fit its space.
func WrongDimensions(model string, have, want int) error {
	return fault.Invalid("wrong-dimensions", "a vector of model %s has %d dimensions, its space has %d", model, have, want).
		WithHint("an embedder was reconfigured under the same model name: give the new one a name of its own")
}

// Words returns the words of a chunk, valid until a is used again, and their number.
func Words(v *events.Chunk, a *words.Analyzer) ([]words.Term, int) {
	a.Use(v.Language)
	a.Add(v.Text, words.InText)
	for _, h := range v.Headings {
		a.Add(h, words.InHeading)
	}
	a.Add(v.Header, words.InText)
	return a.Take()
}

// Titles returns the words by which all chunks of a document are found, valid until a
// is used again.
func Titles(about *events.About, language string, a *words.Analyzer) []words.Term {
	a.Use(language)
	a.Add(about.Facts.Title, words.InTitle)
	a.Add(about.Name, words.InName)
	terms, _ := a.Take()
	return terms
}
