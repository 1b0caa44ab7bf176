package ram

import (
	"math"
	"slices"

	"sluice/pkg/words"
)

const (
	blockBits   = 12
	blockSize   = 1 << blockBits
	columnBytes = blockSize / 2 // of one component of a block's sparse vectors
)

// posting is one occurrence of a term: place in the block << 4 | level.
type posting uint16

func (p posting) place() int { return int(p >> 4) }
func (p posting) level() int { return int(p & 0xF) }

// levels are the weights, in halves, that a posting can tell apart. BM25
// saturates, so steps may widen.
var levels = [16]int{1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 24, 32, 48, 80}

// levelOf maps a weight to the highest level that is not above it.
var levelOf = func() (t [256]uint8) {
	for w := range t {
		for l, halves := range levels {
			if halves <= w {
				t[w] = uint8(l)
			}
		}
	}
	return t
}()

// block holds up to blockSize chunks of one space.
type block struct {
	space   *space
	rows    []int64
	docs    []uint32
	nth     []uint32 // which of its document's refs this is
	tenants []uint32
	lengths []uint16 // words, at most 65535
	scales  []float32
	dead    [blockSize / 64]uint64
	sparse  [blockSize / 64]uint64
	live    int

	columns []byte   // 4 bits a chunk, by component; nil while no vector is sparse
	signs   []uint64 // width words a chunk, zeros for sparse ones; ends with the last dense one
	width   int

	sealed  bool
	forward [][]words.Term // until sealed
	// Once sealed: keys[i] occurs at postings[starts[i]:starts[i+1]].
	keys     []words.Key
	starts   []uint32
	postings []posting
}

func (b *block) visible(at int, tenant uint32) bool {
	return b.tenants[at] == tenant && b.dead[at/64]>>(at%64)&1 == 0
}

func (b *block) isSparse(at int) bool { return b.sparse[at/64]>>(at%64)&1 == 1 }

func (b *block) kill(at int) {
	b.dead[at/64] |= 1 << (at % 64)
	b.live--
}

// append adds a chunk to a block that is not full, and returns its place.
func (b *block) append(c Chunk, doc, nth, tenant uint32, terms []words.Term) int {
	at := b.appendRow(c.Row, doc, nth, tenant, uint16(min(c.Length, math.MaxUint16)), c.Code.scale())
	b.forward = append(b.forward, terms)
	payload := c.Code[codeHead:]
	if !c.Code.sparse() {
		b.width = (len(payload) + 7) / 8
		row := b.signRow(at)
		for i, x := range payload {
			row[i/8] |= uint64(x) << (8 * (i % 8))
		}
		return at
	}
	b.sparse[at/64] |= 1 << (at % 64)
	if b.columns == nil {
		b.columns = make([]byte, 2*len(payload)*columnBytes)
	}
	half, shift := at/2, 4*(at%2)
	for i, x := range payload {
		if x == 0 {
			continue
		}
		b.columns[2*i*columnBytes+half] |= (x & 0xF) << shift
		b.columns[(2*i+1)*columnBytes+half] |= (x >> 4) << shift
	}
	return at
}

// signRow returns the signs of the newest chunk, which is at the given place.
func (b *block) signRow(at int) []uint64 {
	b.signs = append(b.signs, make([]uint64, (at+1)*b.width-len(b.signs))...)
	return b.signs[at*b.width:]
}

func (b *block) appendRow(row int64, doc, nth, tenant uint32, length uint16, scale float32) int {
	b.rows = append(b.rows, row)
	b.docs = append(b.docs, doc)
	b.nth = append(b.nth, nth)
	b.tenants = append(b.tenants, tenant)
	b.lengths = append(b.lengths, length)
	b.scales = append(b.scales, scale)
	b.live++
	return len(b.rows) - 1
}

// find returns the postings of each key.
func (b *block) find(keys []words.Key) [][]posting {
	found := make([][]posting, len(keys))
	if b.sealed {
		for j, k := range keys {
			if i, ok := slices.BinarySearch(b.keys, k); ok {
				found[j] = b.postings[b.starts[i]:b.starts[i+1]]
			}
		}
		return found
	}
	for at, terms := range b.forward {
		for j, k := range keys {
			i, ok := slices.BinarySearchFunc(terms, k, func(t words.Term, k words.Key) int {
				switch tk := t.Key(); {
				case tk < k:
					return -1
				case tk > k:
					return 1
				}
				return 0
			})
			if ok {
				found[j] = append(found[j], posting(at<<4)|posting(levelOf[terms[i].Weight()]))
			}
		}
	}
	return found
}

// occurrence is key<<16 | posting: sorted, they are an inverted index.
type occurrence uint64

// seal inverts the words of the block.
func (b *block) seal() {
	total := 0
	for _, terms := range b.forward {
		total += len(terms)
	}
	all := make([]occurrence, 0, total)
	for at, terms := range b.forward {
		for _, t := range terms {
			all = append(all, occurrence(t.Key())<<16|occurrence(at<<4)|occurrence(levelOf[t.Weight()]))
		}
	}
	b.invert(all)
}

// invert makes the block sealed with the given occurrences.
func (b *block) invert(all []occurrence) {
	radixSort(all)
	distinct := 0
	for i, o := range all {
		if i == 0 || o>>16 != all[i-1]>>16 {
			distinct++
		}
	}
	b.keys = make([]words.Key, 0, distinct)
	b.starts = make([]uint32, 0, distinct+1)
	b.postings = make([]posting, len(all))
	for i, o := range all {
		if i == 0 || o>>16 != all[i-1]>>16 {
			b.keys = append(b.keys, words.Key(o>>16))
			b.starts = append(b.starts, uint32(i))
		}
		b.postings[i] = posting(o)
	}
	b.starts = append(b.starts, uint32(len(all)))
	b.forward, b.sealed = nil, true
	b.signs = slices.Clip(b.signs)
}

// radixSort sorts by key, 10 bits at a time, and keeps the order of places
// within a key: on half a million occurrences several times as fast as
// slices.Sort, and searches wait for it.
func radixSort(all []occurrence) {
	const digit = 10
	other := make([]occurrence, len(all))
	for shift := 16; shift < 16+40; shift += digit {
		var start [1 << digit]int
		for _, o := range all {
			start[o>>shift&(1<<digit-1)]++
		}
		sum := 0
		for i, n := range start {
			start[i], sum = sum, sum+n
		}
		for _, o := range all {
			d := o >> shift & (1<<digit - 1)
			other[start[d]] = o
			start[d]++
		}
		all, other = other, all
	}
	// An even number of passes: the result is where it began.
}

// merge fills the empty block b with the living chunks of sealed blocks, which
// together are no more than fit. It tells moved the new place of each.
func (b *block) merge(sources []*block, moved func(doc, nth uint32, to int)) {
	var all []occurrence
	for _, from := range sources {
		to := make([]int, len(from.rows)) // new place, or -1
		for at := range from.rows {
			to[at] = -1
			if from.dead[at/64]>>(at%64)&1 == 1 {
				continue
			}
			n := b.appendRow(from.rows[at], from.docs[at], from.nth[at], from.tenants[at], from.lengths[at], from.scales[at])
			to[at] = n
			moved(from.docs[at], from.nth[at], n)
			if from.isSparse(at) {
				b.sparse[n/64] |= 1 << (n % 64)
			} else {
				b.width = from.width
				copy(b.signRow(n), from.signs[at*from.width:(at+1)*from.width])
			}
		}
		b.mergeColumns(from, to)
		for i, k := range from.keys {
			for _, p := range from.postings[from.starts[i]:from.starts[i+1]] {
				if n := to[p.place()]; n >= 0 {
					all = append(all, occurrence(k)<<16|occurrence(n<<4|p.level()))
				}
			}
		}
	}
	b.invert(all)
}

func (b *block) mergeColumns(from *block, to []int) {
	if from.columns == nil {
		return
	}
	if b.columns == nil {
		b.columns = make([]byte, len(from.columns))
	}
	for c := 0; c < len(from.columns); c += columnBytes {
		for at, n := range to {
			if n >= 0 {
				x := from.columns[c+at/2] >> (4 * (at % 2)) & 0xF
				b.columns[c+n/2] |= x << (4 * (n % 2))
			}
		}
	}
}

func (b *block) bytes() int64 {
	n := cap(b.rows)*8 + (cap(b.docs)+cap(b.nth)+cap(b.tenants))*4 + cap(b.lengths)*2 + cap(b.scales)*4
	n += cap(b.columns) + cap(b.signs)*8 + cap(b.keys)*8 + cap(b.starts)*4 + cap(b.postings)*2
	for _, f := range b.forward {
		n += 24 + cap(f)*8
	}
	return int64(n)
}
