// Package lexical is the local embedder "lex-v1-1536": signed feature hashing
// of word stems with an IDF table. It needs no network, no model files and no
// money, and the same text gives the same bits on every machine.
//
// It compares words, not meanings: "car insurance price" and "automobile
// coverage cost" score about 0. README.md lists the limits.
//
// # From text to vector
//
// A text becomes tokens: lower-cased runs of letters and digits, or pairs of
// runes in scripts that write no spaces. English stopwords are dropped, the
// rest is stemmed. A stem that occurs tf times weighs sqrt(tf) * sqrt(idf) and
// is added, with a sign, at four places that its hash names. The sum is scaled
// to length 1.
//
// # Texts without a stem
//
// "To be or not to be", "!!!" or an emoji have no stem, which would leave a
// vector of zeros: no direction, and a poisoned similarity for whoever divides
// by its length. Such texts are described by 4-byte windows of their
// lower-cased characters instead, marked so that no window has the hash of a
// stem. So they find their like, and have nothing in common with a text that has
// stems beyond the noise of hashing. White space alone is a feature of its own.
// No vector is ever zero.
package lexical

import (
	"context"
	_ "embed"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"

	"sluice/pkg/fault"
	"sluice/pkg/provider"
	"sluice/pkg/words"
)

// Model names the vector space, and Dimensions is its size.
const (
	Model      = "lex-v1-1536"
	Dimensions = 1536
)

const (
	placesPerFeature = 4
	defaultIDF       = 900 // x 100, for stems that the table does not list
)

//go:embed idf_prior.tsv
var priorFile string

// License is the licence of the corpus whose word counts are compiled in.
//
//go:embed WORDNET-LICENSE.txt
var License string

// tables is what the compiled-in files hold. It is read-only once made.
type tables struct {
	weight   map[string]float64 // stem -> sqrt(idf)
	unlisted float64            // weight of every other stem
}

var loadTables = sync.OnceValues(func() (*tables, error) { return parseTables(priorFile) })

func parseTables(prior string) (*tables, error) {
	t := &tables{
		weight:   make(map[string]float64, strings.Count(prior, "\n")),
		unlisted: math.Sqrt(defaultIDF / 100.0),
	}
	for line := range strings.Lines(prior) {
		stem, idf, ok := strings.Cut(strings.TrimSpace(line), "\t")
		n, err := strconv.Atoi(idf)
		if !ok || err != nil || stem == "" || n <= 0 {
			return nil, fmt.Errorf("idf_prior.tsv: %q is not a stem and a positive number", line)
		}
		t.weight[stem] = math.Sqrt(float64(n) / 100)
	}
	return t, nil
}

// Embedder implements provider.Embedder. Use New.
type Embedder struct {
	tables  *tables
	scratch sync.Pool // of *counter
}

// New returns the embedder. It fails only if the compiled-in tables are
// damaged, which is a Halt fault.
func New() (*Embedder, error) {
	t, err := loadTables()
	if err != nil {
		return nil, fault.Wrap(err, fault.Halt, "broken-build", "the word table of %s cannot be read", Model).
			WithHint("the binary was built from damaged files: rebuild it")
	}
	return &Embedder{tables: t, scratch: sync.Pool{New: func() any { return newCounter(t) }}}, nil
}

// Describe implements provider.Embedder.
func (e *Embedder) Describe() provider.EmbedderInfo {
	return provider.EmbedderInfo{
		Service:    "local",
		Model:      Model,
		Dimensions: Dimensions,
		Cacheable:  true,
	}
}

// Embed implements provider.Embedder. It costs nothing and fails only with
// ctx. Tokens is the sum over the inputs.
func (e *Embedder) Embed(ctx context.Context, inputs []provider.Input) (provider.Embeddings, error) {
	out := provider.Embeddings{Vectors: make([][]float32, len(inputs))}
	for i, in := range inputs {
		if err := ctx.Err(); err != nil {
			return provider.Embeddings{}, fault.Wrap(err, fault.Unavailable, "interrupted", "embedding stopped after %d of %d texts", i, len(inputs))
		}
		v := make([]float32, Dimensions)
		e.Into(v, in.Text)
		out.Vectors[i] = v
		out.Tokens += in.Tokens
	}
	return out, nil
}

// Into writes the vector of text to dst, which must have length Dimensions.
// The vector has length 1.
func (e *Embedder) Into(dst []float32, text string) {
	dst = dst[:Dimensions:Dimensions]
	c := e.scratch.Get().(*counter)
	defer func() {
		c.reset()
		e.scratch.Put(c)
	}()
	c.words(text)
	if c.vector(dst) {
		return
	}
	c.reset()
	c.windows(text)
	if c.vector(dst) {
		return
	}
	// The windows cancelled one another out to the last bit. Nobody has seen
	// it happen; a unit vector keeps the promise even so.
	clear(dst)
	dst[0] = 1
}

// counter counts the features of one text, in order of first occurrence:
// summing floats in map order would give different bits from run to run.
type counter struct {
	tables   *tables
	features []feature
	slots    []int32 // open addressing by hash: index into features + 1, or 0
	split    words.Splitter
}

// feature is known by its hash alone. Two stems with one 64-bit hash would
// share all four places anyhow.
type feature struct {
	hash   uint64
	count  int
	weight float64 // sqrt(idf)
}

const smallest = 1024 // slots; a power of two

func newCounter(t *tables) *counter {
	return &counter{
		tables:   t,
		features: make([]feature, 0, smallest/2),
		slots:    make([]int32, smallest),
		split:    words.Splitter{LexV1: true},
	}
}

// largestKept bounds what one huge text leaves behind in the pool.
const largestKept = 1 << 16

func (c *counter) reset() {
	if len(c.slots) > largestKept {
		*c = *newCounter(c.tables)
		return
	}
	mask := uint64(len(c.slots) - 1)
	for _, f := range c.features {
		for i := f.hash & mask; c.slots[i] != 0; i = (i + 1) & mask {
			c.slots[i] = 0
		}
	}
	c.features = c.features[:0]
}

// add counts one occurrence of the feature called name, after the bytes of
// mark. idf says whether the table is asked for its weight.
func (c *counter) add(mark string, name []byte, idf bool) {
	h := fnv1a(fnv1a(fnvOffset, mark), name)
	mask := uint64(len(c.slots) - 1)
	i := h & mask
	for ; c.slots[i] != 0; i = (i + 1) & mask {
		if f := &c.features[c.slots[i]-1]; f.hash == h {
			f.count++
			return
		}
	}
	weight := 1.0
	if idf {
		var listed bool
		if weight, listed = c.tables.weight[string(name)]; !listed {
			weight = c.tables.unlisted
		}
	}
	c.features = append(c.features, feature{hash: h, count: 1, weight: weight})
	c.slots[i] = int32(len(c.features))
	if 2*len(c.features) >= len(c.slots) {
		c.grow()
	}
}

func (c *counter) grow() {
	c.slots = make([]int32, 2*len(c.slots))
	mask := uint64(len(c.slots) - 1)
	for n, f := range c.features {
		i := f.hash & mask
		for c.slots[i] != 0 {
			i = (i + 1) & mask
		}
		c.slots[i] = int32(n + 1)
	}
}

// vector writes the features to dst as a vector of length 1. It reports false
// if they sum to nothing.
func (c *counter) vector(dst []float32) bool {
	clear(dst)
	for _, f := range c.features {
		// Sums stay in float32 and products are rounded before they are added,
		// or a processor with fused multiply-add would get other last bits.
		x := float32(math.Sqrt(float64(f.count)) * f.weight)
		h := f.hash
		for range placesPerFeature {
			var z uint64
			h, z = splitmix64(h)
			at := (z >> 32) % Dimensions
			if z&1 == 1 {
				dst[at] += x
			} else {
				dst[at] -= x
			}
		}
	}
	var sum float64
	for _, x := range dst {
		sum += float64(float64(x) * float64(x))
	}
	if sum == 0 {
		return false
	}
	norm := math.Sqrt(sum)
	for i, x := range dst {
		if x != 0 {
			dst[i] = float32(float64(x) / norm)
		}
	}
	return true
}

const (
	windowBytes = 4
	// windowMark sets windows apart from stems, which hold letters and digits only.
	windowMark = "#"
)

// windows counts what describes a text that has no stem.
func (c *counter) windows(text string) {
	b := []byte(strings.ToLower(strings.Join(strings.Fields(text), " ")))
	if len(b) <= windowBytes {
		c.add(windowMark, b, false)
		return
	}
	for i := range len(b) - windowBytes + 1 {
		c.add(windowMark, b[i:i+windowBytes], false)
	}
}

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// fnv1a continues the FNV-1a hash h with b.
func fnv1a[T []byte | string](h uint64, b T) uint64 {
	for i := range len(b) {
		h = (h ^ uint64(b[i])) * fnvPrime
	}
	return h
}

// splitmix64 returns the next state and the output for it (Steele, Lea and
// Flood, "Fast splittable pseudorandom number generators", 2014).
func splitmix64(state uint64) (next, out uint64) {
	state += 0x9E3779B97F4A7C15
	z := state
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return state, z ^ z>>31
}
