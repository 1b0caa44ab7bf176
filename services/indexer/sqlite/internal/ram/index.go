// Package ram is the part of the index that search scans: the words of every
// visible chunk and a coarse copy of every vector. It takes about 1.2 KB a
// chunk of 2 KB of text and 1536 dimensions. What it returns for vectors is a
// choice of candidates; the exact vectors on disk decide among them.
//
// # Layout
//
// Chunks of one space live in blocks of up to 4096. Words are inverted when a
// block is full: a sorted array of term keys, each with the places it occurs
// at, two bytes a place. The one open block of a space is scanned chunk by
// chunk instead, which its size allows. Deleting marks a chunk dead; a block
// with more dead than living is rewritten, so that no change ever costs more
// than a block's work.
//
// # Vectors
//
// Sign bits are enough to preselect among dense vectors. They say nothing about
// a sparse vector, most of whose components are zero, such as a lexical
// model's. So sparse vectors keep 4 bits a component, stored by column, and a
// query reads only the columns of its own non-zero components.
package ram

import (
	"encoding/binary"
	"hash/maphash"
	"maps"
	"math"
	"slices"
	"sync"

	"sluice/pkg/words"
	"sluice/services/indexer/index"
)

// Document is a visible document.
type Document struct {
	ID       int64
	Tenant   string
	Language string // that its words are stemmed by
	Meta     map[string]string
	Terms    []words.Term // of its title and name; they count for each chunk
	Chunks   []Chunk
}

// Chunk is a chunk of a Document.
type Chunk struct {
	Row    int64
	Space  int // any number; chunks of one space have vectors of one size
	Terms  []words.Term
	Length int // words
	Code   Code
}

// Filter restricts a search. Matches on Meta are by hash: whoever needs
// certainty compares again.
type Filter struct {
	Tenant string
	Meta   map[string]string
}

// Index holds documents. Its methods may be called by many readers at once or
// by one writer alone; the caller sees to that.
type Index struct {
	seed    maphash.Seed
	docs    []document
	free    []uint32 // of docs
	byID    map[int64]uint32
	tenants map[string]uint32
	totals  []total  // by tenant
	blocks  []*block // nil where one was dropped
	spaces  map[int]*space
	scratch sync.Pool // of *[]float32
}

type document struct {
	id       int64
	tenant   uint32
	language string
	meta     []uint64 // hashes of its metadata pairs
	refs     []ref
}

// ref is where a chunk is: block<<blockBits | place in the block.
type ref uint32

// total is what scoring needs to know of a tenant.
type total struct {
	chunks, words int64
	languages     map[string]int // documents by language
}

type space struct {
	open   int // index into blocks, or -1
	sealed []int
}

// New returns an empty Index.
func New() *Index {
	return &Index{
		seed:    maphash.MakeSeed(),
		byID:    make(map[int64]uint32),
		tenants: make(map[string]uint32),
		spaces:  make(map[int]*space),
		scratch: sync.Pool{New: func() any { return new([]float32) }},
	}
}

// Put adds the document, or replaces what is there by its ID.
func (x *Index) Put(d Document) {
	x.Delete(d.ID)
	tenant, known := x.tenants[d.Tenant]
	if !known {
		tenant = uint32(len(x.totals))
		x.tenants[d.Tenant] = tenant
		x.totals = append(x.totals, total{languages: make(map[string]int)})
	}
	x.totals[tenant].languages[d.Language]++
	doc := document{id: d.ID, tenant: tenant, language: d.Language, refs: make([]ref, 0, len(d.Chunks))}
	for k, v := range d.Meta {
		doc.meta = append(doc.meta, x.pair(k, v))
	}
	var at uint32
	if n := len(x.free); n > 0 {
		at, x.free = x.free[n-1], x.free[:n-1]
		x.docs[at] = doc
	} else {
		at = uint32(len(x.docs))
		x.docs = append(x.docs, doc)
	}
	x.byID[d.ID] = at
	for _, c := range d.Chunks {
		x.add(at, tenant, words.Merge(c.Terms, d.Terms), c)
	}
}

// pair hashes one metadata entry.
func (x *Index) pair(k, v string) uint64 {
	var h maphash.Hash
	h.SetSeed(x.seed)
	h.WriteString(k)
	h.WriteByte(0)
	h.WriteString(v)
	return h.Sum64()
}

func (x *Index) add(doc, tenant uint32, terms []words.Term, c Chunk) {
	s := x.spaces[c.Space]
	if s == nil {
		s = &space{open: -1}
		x.spaces[c.Space] = s
	}
	if s.open < 0 {
		s.open = x.place(&block{space: s})
	}
	b := x.blocks[s.open]
	at := b.append(c, doc, uint32(len(x.docs[doc].refs)), tenant, terms)
	x.docs[doc].refs = append(x.docs[doc].refs, ref(s.open)<<blockBits|ref(at))
	x.totals[tenant].chunks++
	x.totals[tenant].words += int64(b.lengths[at])
	if len(b.rows) == blockSize {
		b.seal()
		s.sealed = append(s.sealed, s.open)
		full := s.open
		s.open = -1
		x.compact(full)
	}
}

// place gives b an index in blocks.
func (x *Index) place(b *block) int {
	if i := slices.Index(x.blocks, nil); i >= 0 {
		x.blocks[i] = b
		return i
	}
	x.blocks = append(x.blocks, b)
	return len(x.blocks) - 1
}

// Delete removes the document, if it is there.
func (x *Index) Delete(id int64) {
	at, found := x.byID[id]
	if !found {
		return
	}
	delete(x.byID, id)
	d := x.docs[at]
	x.docs[at] = document{}
	if left := x.totals[d.tenant].languages; left[d.language] > 1 {
		left[d.language]--
	} else {
		delete(left, d.language)
	}
	x.free = append(x.free, at)
	for _, r := range d.refs {
		b := x.blocks[r>>blockBits]
		place := int(r & (blockSize - 1))
		x.totals[d.tenant].chunks--
		x.totals[d.tenant].words -= int64(b.lengths[place])
		b.kill(place)
	}
	for _, r := range d.refs {
		x.compact(int(r >> blockBits))
	}
}

// compact rewrites block i if it is sealed and most of it is dead, together
// with the smallest other one that fits.
func (x *Index) compact(i int) {
	b := x.blocks[i]
	if b == nil || !b.sealed || 2*b.live >= len(b.rows) {
		return
	}
	s := b.space
	old := []int{i}
	if b.live > 0 {
		best := -1
		for _, j := range s.sealed {
			if o := x.blocks[j]; j != i && o.live+b.live <= blockSize && (best < 0 || o.live < x.blocks[best].live) {
				best = j
			}
		}
		if best >= 0 {
			old = append(old, best)
		}
		merged := &block{space: s}
		at := x.place(merged)
		sources := make([]*block, len(old))
		for n, j := range old {
			sources[n] = x.blocks[j]
		}
		merged.merge(sources, func(doc, nth uint32, to int) {
			x.docs[doc].refs[nth] = ref(at)<<blockBits | ref(to)
		})
		s.sealed = append(s.sealed, at)
	}
	s.sealed = slices.DeleteFunc(s.sealed, func(j int) bool { return slices.Contains(old, j) })
	for _, j := range old {
		x.blocks[j] = nil
	}
}

// Bytes estimates the memory in use.
func (x *Index) Bytes() int64 {
	n := int64(len(x.docs)) * 64
	for _, d := range x.docs {
		n += int64(4*cap(d.refs) + 8*cap(d.meta))
	}
	for _, b := range x.blocks {
		if b != nil {
			n += b.bytes()
		}
	}
	return n
}

// Parameters of BM25 (Robertson and Zaragoza, "The Probabilistic Relevance
// Framework: BM25 and Beyond", 2009), as most engines set them.
const (
	bm25K1 = 1.2
	bm25B  = 0.75
)

// Languages returns the languages of a tenant's documents.
func (x *Index) Languages(tenant string) []string {
	at, known := x.tenants[tenant]
	if !known {
		return nil
	}
	return slices.Sorted(maps.Keys(x.totals[at].languages))
}

// Keyword returns the k chunks that match the keys best, by BM25 over the
// tenant's own chunks. It costs a few nanoseconds for each occurrence of a key.
func (x *Index) Keyword(f Filter, asked []words.Asked, k int) []index.Ranked {
	tenant, known := x.tenants[f.Tenant]
	if !known || len(asked) == 0 || x.totals[tenant].chunks == 0 {
		return nil
	}
	t := x.totals[tenant]
	keys := make([]words.Key, len(asked))
	count := 0 // of words
	for j, k := range asked {
		keys[j], count = k.Key, max(count, k.Word+1)
	}
	found := make([][][]posting, len(x.blocks))
	frequency := make([]int64, count)
	for i, b := range x.blocks {
		if b == nil || b.live == 0 {
			continue
		}
		found[i] = byWord(asked, count, b.find(keys))
		for j, list := range found[i] {
			for _, p := range list {
				if b.visible(p.place(), tenant) {
					frequency[j]++
				}
			}
		}
	}
	var gain [len(levels)]float32 // of a level, without the length of the chunk
	idf := make([]float32, count)
	for j, n := range frequency {
		idf[j] = float32(math.Log1p((float64(t.chunks-n) + 0.5) / (float64(n) + 0.5)))
	}
	for l, halves := range levels {
		gain[l] = float32(halves) / 2
	}
	fixed := float32(bm25K1 * (1 - bm25B))
	perWord := float32(bm25K1 * bm25B * float64(t.chunks) / float64(max(t.words, 1)))

	best := newTop(k)
	accept := x.acceptor(f.Meta)
	scores, done := x.floats(blockSize)
	defer done()
	for i, b := range x.blocks {
		if found[i] == nil {
			continue
		}
		scores := scores[:len(b.rows)]
		clear(scores)
		hit := false
		for j, list := range found[i] {
			w := idf[j] * (bm25K1 + 1)
			for _, p := range list {
				at := p.place()
				if b.visible(at, tenant) {
					tf := gain[p.level()]
					scores[at] += w * tf / (tf + fixed + perWord*float32(b.lengths[at]))
					hit = true
				}
			}
		}
		if !hit {
			continue
		}
		for at, s := range scores {
			if s > 0 && best.wants(float64(s), b.rows[at]) && accept(b.docs[at]) {
				best.push(float64(s), b.rows[at])
			}
		}
	}
	return best.sorted()
}

// Nearest returns candidates for the nearest neighbours of q among the chunks
// of a space: n each of those with sparse and with dense vectors. Their scores
// are estimates. Sparse vectors that have nothing in common with q are left out.
func (x *Index) Nearest(space int, f Filter, q []float32, n int) []index.Ranked {
	tenant, known := x.tenants[f.Tenant]
	s := x.spaces[space]
	if !known || s == nil {
		return nil
	}
	query := newProbe(q)
	sparse, dense := newTop(n), newTop(n)
	accept := x.acceptor(f.Meta)
	scores, done := x.floats(blockSize)
	defer done()
	blocks := s.sealed
	if s.open >= 0 {
		blocks = append(slices.Clone(blocks), s.open)
	}
	for _, i := range blocks {
		b := x.blocks[i]
		if b.live == 0 {
			continue
		}
		scores := scores[:blockSize]
		if b.columns != nil {
			clear(scores)
			query.columns(b, scores)
		}
		for at := range b.rows {
			if !b.visible(at, tenant) {
				continue
			}
			best, score := dense, float64(0)
			if b.isSparse(at) {
				if score = float64(scores[at] * b.scales[at]); score <= 0 {
					continue
				}
				best = sparse
			} else {
				score = query.signs(b, at)
			}
			if best.wants(score, b.rows[at]) && accept(b.docs[at]) {
				best.push(score, b.rows[at])
			}
		}
	}
	return append(sparse.sorted(), dense.sorted()...)
}

// acceptor returns a test of a document's metadata.
func (x *Index) acceptor(meta map[string]string) func(doc uint32) bool {
	if len(meta) == 0 {
		return func(uint32) bool { return true }
	}
	var want []uint64
	for k, v := range meta {
		want = append(want, x.pair(k, v))
	}
	return func(doc uint32) bool {
		for _, w := range want {
			if !slices.Contains(x.docs[doc].meta, w) {
				return false
			}
		}
		return true
	}
}

// floats lends n floats with any content.
func (x *Index) floats(n int) (f []float32, done func()) {
	p := x.scratch.Get().(*[]float32)
	*p = slices.Grow((*p)[:0], n)[:n]
	return *p, func() { x.scratch.Put(p) }
}

const termBytes = 6

// EncodeTerms appends terms to dst, six bytes each.
func EncodeTerms(dst []byte, terms []words.Term) []byte {
	for _, t := range terms {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(t))
		dst = binary.LittleEndian.AppendUint16(dst, uint16(t>>32))
	}
	return dst
}

// DecodeTerms is the inverse of EncodeTerms. It reports false if b is not what
// EncodeTerms returns.
func DecodeTerms(b []byte) ([]words.Term, bool) {
	if len(b)%termBytes != 0 {
		return nil, false
	}
	terms := make([]words.Term, 0, len(b)/termBytes)
	for ; len(b) > 0; b = b[termBytes:] {
		t := words.Term(binary.LittleEndian.Uint32(b)) | words.Term(binary.LittleEndian.Uint16(b[4:]))<<32
		if n := len(terms); n > 0 && terms[n-1].Key() >= t.Key() {
			return nil, false
		}
		terms = append(terms, t)
	}
	return terms, true
}

// byWord joins the postings of the keys of each word. A chunk that has several counts
// once, with the strongest.
func byWord(asked []words.Asked, count int, lists [][]posting) [][]posting {
	if count == len(asked) {
		return lists // a key each, in order
	}
	out := make([][]posting, count)
	several := make([]bool, count)
	for i, list := range lists {
		switch word := asked[i].Word; {
		case len(list) == 0:
		case out[word] == nil:
			out[word] = list
		default:
			out[word], several[word] = slices.Concat(out[word], list), true
		}
	}
	for word, list := range out {
		if !several[word] {
			continue
		}
		slices.Sort(list)
		n := 0
		for i, p := range list {
			if i+1 == len(list) || list[i+1].place() != p.place() {
				list[n] = p
				n++
			}
		}
		out[word] = list[:n]
	}
	return out
}
