// Package corpus makes chunks for tests and benchmarks of the stores.
package corpus

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"sluice/pkg/events"
	"sluice/services/indexer/index"
)

// Dimensions of all vectors.
const Dimensions = 1536

// Texts makes texts whose words are distributed as in a language: few common
// ones, many rare ones.
type Texts struct {
	zipf *rand.Zipf
}

const vocabulary = 50_000

// NewTexts returns the texts of a seed.
func NewTexts(seed uint64) *Texts {
	return &Texts{rand.NewZipf(rand.New(rand.NewPCG(seed, 1)), 1.1, 8, vocabulary-1)}
}

// Word returns the nth word of a made-up language, the common ones first.
func Word(n uint64) string {
	const letters = "bcdfgklmnprstvz"
	var b strings.Builder
	for n++; n > 0; n /= 75 {
		b.WriteByte(letters[n%15])
		b.WriteByte("aeiou"[n/15%5])
	}
	return b.String()
}

// Text returns the next text, of about so many bytes.
func (c *Texts) Text(bytes int) string {
	var b strings.Builder
	for b.Len() < bytes {
		b.WriteString(Word(c.zipf.Uint64()))
		b.WriteByte(' ')
	}
	return b.String()
}

// Lexical hashes the words of text into a sparse vector, four places each, as
// the local embedder does.
func Lexical(text string) []float32 {
	v := make([]float32, Dimensions)
	count := make(map[string]int)
	var order []string
	for _, w := range strings.Fields(text) {
		if count[w]++; count[w] == 1 {
			order = append(order, w)
		}
	}
	for _, w := range order {
		h := uint64(14695981039346656037)
		for i := range len(w) {
			h = (h ^ uint64(w[i])) * 1099511628211
		}
		idf := 3 + float64(h%7)
		for range 4 {
			h = h*6364136223846793005 + 1442695040888963407
			x := float32(math.Sqrt(float64(count[w]) * idf))
			if h>>63 == 1 {
				x = -x
			}
			v[h>>20%Dimensions] += x
		}
	}
	return v
}

// Dense makes vectors as neural models give them: no zeros, grouped by topic,
// some dimensions much larger than others.
type Dense struct {
	r      *rand.Rand
	topics [][]float32
	scale  []float32
}

// NewDense returns the vectors of a seed, grouped around so many topics.
func NewDense(seed uint64, topics int) *Dense {
	d := &Dense{r: rand.New(rand.NewPCG(seed, 2))}
	d.scale = make([]float32, Dimensions)
	for i := range d.scale {
		d.scale[i] = float32(math.Exp(0.5 * d.r.NormFloat64()))
	}
	for range topics {
		d.topics = append(d.topics, d.noise())
	}
	return d
}

func (d *Dense) noise() []float32 {
	v := make([]float32, Dimensions)
	for i := range v {
		v[i] = d.scale[i] * float32(d.r.NormFloat64())
	}
	return v
}

// Vector returns the next vector.
func (d *Dense) Vector() []float32 {
	topic := d.topics[d.r.IntN(len(d.topics))]
	v := d.noise()
	for i := range v {
		v[i] = topic[i] + 0.8*v[i]
	}
	return v
}

// Fixed gives the next vector whatever the text.
func (d *Dense) Fixed() func(string) []float32 { return func(string) []float32 { return d.Vector() } }

// Op returns the operation that brings a chunk of a document.
func Op(doc, ordinal, of int, text string, vector []float32, model string) index.Op {
	v := &events.Vector{Model: model, Embedding: events.EncodeVector(vector)}
	v.Document = events.DocumentID(events.DefaultTenant, fmt.Sprint("doc-", doc))
	v.Revision, v.Tenant = 1, events.DefaultTenant
	v.ID = events.ChunkID(v.Document, ordinal, events.TextHash(text), "f")
	v.Ordinal, v.Of, v.Text, v.End = ordinal, of, text, len(text)
	v.InputTokens = len(text) / 4
	v.Headings = []string{"Guide", Word(uint64(doc))}
	if ordinal == 0 {
		v.About = &events.About{Document: v.Document, Revision: 1, Tenant: v.Tenant, Name: fmt.Sprint("doc-", doc, ".md"), ContentHash: "c"}
	}
	return index.Op{Vector: v}
}
