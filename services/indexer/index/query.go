package index

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// LexicalPrefix begins the names of models whose vectors compare words and not
// meanings. Beside keyword search they say little that is new.
const LexicalPrefix = "lex-"

// Lexical reports whether the model compares words.
func Lexical(model string) bool { return strings.HasPrefix(model, LexicalPrefix) }

// WeightOf returns the weight of a model's vectors against keywords in a
// hybrid search. For lexical vectors 1 was measured to be worse than keywords
// alone, 0.3 to be better.
func WeightOf(model string) float64 {
	if Lexical(model) {
		return 0.3
	}
	return 1
}

// Normalize returns q with its defaults filled in, or a Validation fault.
func (q Query) Normalize() (Query, error) {
	if q.Tenant == "" {
		q.Tenant = events.DefaultTenant
	}
	switch {
	case q.K == 0:
		q.K = DefaultK
	case q.K < 0 || q.K > MaxK:
		return q, fault.Invalid("bad-query", "k is %d, want 1 to %d", q.K, MaxK)
	}
	switch q.Mode {
	case "":
		q.Mode = Hybrid
		if len(q.Vector) == 0 {
			q.Mode = Keyword
		}
	case Hybrid, Vector, Keyword:
	default:
		return q, fault.Invalid("bad-query", "mode %q is unknown", events.CleanHeader(string(q.Mode), 32)).
			WithHint("use hybrid, vector or keyword")
	}
	if q.Mode == Keyword {
		q.Vector = nil
		return q, nil
	}
	if len(q.Vector) == 0 || q.Model == "" {
		return q, fault.Invalid("bad-query", "%s search needs a query vector and its model", q.Mode).
			WithHint("use mode keyword when there is no embedder")
	}
	var sum float64
	for _, x := range q.Vector {
		sum += float64(x) * float64(x)
	}
	if sum == 0 || math.IsNaN(sum) || math.IsInf(sum, 0) {
		return q, fault.Invalid("bad-query", "the query vector has no direction: it holds only zeros, or what is no number")
	}
	if q.VectorWeight == 0 {
		q.VectorWeight = WeightOf(q.Model)
	}
	if !(q.VectorWeight > 0) || math.IsInf(q.VectorWeight, 0) {
		return q, fault.Invalid("bad-query", "the weight of vectors is %v, want a positive number", q.VectorWeight)
	}
	return q, nil
}

// Ranked is one candidate of a search, by the row it has in its store.
type Ranked struct {
	Row   int64
	Score float64
}

// rankOffset damps the lead of first places in reciprocal rank fusion (Cormack,
// Clarke and Büttcher, SIGIR 2009, who settled on 60).
const rankOffset = 60

// Fuse merges two rankings, best first, into one of at most k by weighted
// reciprocal rank: a row at rank r, from 1, gets 1/(60+r) from keywords and
// weight/(60+r) from vectors. Equal scores are ordered by row.
func Fuse(keywords, vectors []Ranked, weight float64, k int) []Ranked {
	score := make(map[int64]float64, len(keywords)+len(vectors))
	for i, r := range keywords {
		score[r.Row] += 1 / float64(rankOffset+i+1)
	}
	for i, r := range vectors {
		score[r.Row] += weight / float64(rankOffset+i+1)
	}
	fused := make([]Ranked, 0, len(score))
	for row, s := range score {
		fused = append(fused, Ranked{Row: row, Score: s})
	}
	slices.SortFunc(fused, Better)
	return fused[:min(k, len(fused))]
}

// Better orders by falling score, then by row.
func Better(a, b Ranked) int {
	return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.Row, b.Row))
}

// DropChance returns the vector candidates that are worth fusing. Hashed words
// collide: in dims dimensions strangers are similar by chance, with a standard
// deviation of 1/sqrt(dims). When the model is lexical, a chunk in which
// keyword search found none of the words and whose similarity is within four
// deviations is such a stranger.
func DropChance(model string, dims int, vectors []Ranked, found func(row int64) bool) []Ranked {
	if !Lexical(model) {
		return vectors
	}
	floor := 4 / math.Sqrt(float64(dims))
	return slices.DeleteFunc(slices.Clone(vectors), func(r Ranked) bool { return r.Score < floor && !found(r.Row) })
}
