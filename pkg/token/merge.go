package token

// A piece of more than one token is split by doing its merges, one by one, as
// the definition of byte pair encoding has it. That takes time quadratic in
// the bytes, and a document can be one piece: base64, a line of dashes,
// Chinese without punctuation.
//
// So merges are only ever done within a window. What joins the windows is that
// whether tokens are the result of the merges can be told from each two
// neighbours on their own (see compatible): exactly one sequence of compatible
// neighbours spells a text. The tokens of a window, put behind the tokens of
// the text before it, are therefore those of both texts together if the two
// that meet are compatible.
//
// The fact about neighbours is from Hendrik van Antwerpen and Alexander
// Neubeck, "So many tokens, so little time: Introducing a faster, more
// flexible byte-pair tokenizer", GitHub, 2024. Their encoder searches for the
// sequence, longest token first, which is slow where the longest token is
// seldom the right one, as in a line of dashes.

const (
	// window is how many bytes are merged at once. The cost of a byte grows
	// with it; the share of bytes that are merged twice shrinks.
	window = 64
	// overlap is how many bytes before a window are merged again with it at
	// first. Further text seldom changes tokens further from its start.
	overlap = 8
)

// split returns the tokens of a piece that is not a token itself. The result
// is valid until the next use of w.
func (v *vocabulary) split(w *workspace, piece string) []uint32 {
	if len(piece) > 16 {
		return v.splitLong(w, piece)
	}
	at, low, high := w.memo.slot(piece)
	if at.low == low && at.high == high && int(at.bytes) == len(piece) {
		return at.ranks[:at.tokens]
	}
	w.tokens = v.merge(w, w.tokens[:0], piece)
	if len(w.tokens) <= len(at.ranks) {
		at.low, at.high = low, high
		at.bytes, at.tokens = uint8(len(piece)), uint8(len(w.tokens))
		copy(at.ranks[:], w.tokens)
	}
	return w.tokens
}

func (v *vocabulary) splitLong(w *workspace, piece string) []uint32 {
	end := min(len(piece), window)
	w.tokens = v.merge(w, w.tokens[:0], piece[:end])
	for end < len(piece) {
		end = v.extend(w, piece, end)
	}
	return w.tokens
}

// extend makes w.tokens, which are those of piece[:from], those of more of the
// piece, and returns how much.
//
// The last merges of piece[:from] may turn out differently when the text goes
// on, so the last tokens are dropped and their text is merged again with what
// follows; twice as many of them until the rest is right. How many that takes
// is bounded by the vocabulary and not by the piece: merges only make way for
// those of lower rank next to them, so what further text does to the tokens
// before it travels along merges of ever higher rank.
func (v *vocabulary) extend(w *workspace, piece string, from int) int {
	kept, start := len(w.tokens), from
	for drop := overlap; ; drop *= 2 {
		for kept > 0 && from-start < drop {
			kept--
			start -= v.length(w.tokens[kept])
		}
		end := min(len(piece), start+max(window, 2*(from-start)))
		w.tokens = v.merge(w, w.tokens[:kept], piece[start:end])
		if kept == 0 || v.compatible(w.tokens[kept-1], w.tokens[kept]) {
			return end
		}
	}
}

// merge appends to dst the tokens of text: while neighbours merge into a
// token, those with the lowest rank do, and the first of equals.
func (v *vocabulary) merge(w *workspace, dst []uint32, text string) []uint32 {
	n := len(text)
	w.resize(n)
	parts, offers, best := w.parts, w.offers, w.best
	for i := range n {
		parts[i] = part{token: v.single[text[i]], prev: int32(i - 1), next: int32(i + 1)}
	}
	for i := range n - 1 {
		offers[i] = offer(v.pairs[uint16(text[i])<<8|uint16(text[i+1])], i)
	}
	for b := range best {
		best[b] = lowest(offers, b)
	}
	for {
		o := noOffer
		for _, b := range best {
			o = min(o, b)
		}
		if o >= noOffers {
			break
		}
		i := int32(o & (1<<32 - 1))
		p := &parts[i]
		gone := p.next
		p.token = uint32(o >> 32)
		p.next = parts[gone].next
		offers[gone] = noOffer
		if p.next < int32(n) {
			parts[p.next].prev = i
			offers[i] = offer(v.merges.find(p.token, parts[p.next].token), int(i))
		} else {
			offers[i] = noOffer
		}
		best[i/block] = lowest(offers, int(i/block))
		if gone/block != i/block {
			best[gone/block] = lowest(offers, int(gone/block))
		}
		if prev := p.prev; prev >= 0 {
			offers[prev] = offer(v.merges.find(parts[prev].token, p.token), int(prev))
			best[prev/block] = lowest(offers, int(prev/block))
		}
	}
	for i := int32(0); i < int32(n); i = parts[i].next {
		dst = append(dst, parts[i].token)
	}
	return dst
}

// part is a token of the text that is being merged, at the index of its first
// byte.
type part struct {
	token      uint32
	prev, next int32
}

// An offer is the rank of the token that a part and the next one merge into,
// and the index of the part, so that the lowest one is the next to merge.
const (
	noOffer  = ^uint64(0)
	noOffers = uint64(none) << 32 // the least of those whose rank is none
)

func offer(rank uint32, i int) uint64 { return uint64(rank)<<32 | uint64(i) }

// The lowest offer is found by way of the lowest of each block.
const block = 8

func lowest(offers []uint64, b int) uint64 {
	o := (*[block]uint64)(offers[b*block:])
	return min(o[0], o[1], o[2], o[3], o[4], o[5], o[6], o[7])
}

// compatible reports whether left and right stay neighbours when the merges
// are done on the text of both.
//
// It undoes the merges that made them in the order opposite to the one they
// were done in, highest rank first, and at each stage looks at the two tokens
// that meet at the border. Had those merged into a token of a lower rank than
// that of the merge undone last, the border would be gone. At equal rank the
// merge further left comes first: the one across the border before one within
// right, but after one within left.
func (v *vocabulary) compatible(left, right uint32) bool {
	limit := none
	for {
		if v.merges.find(left, right) < limit {
			return false
		}
		l, r := v.halves[left], v.halves[right]
		switch {
		case l.right != left && (left > right || r.left == right):
			limit, left = left, l.right
		case r.left != right:
			limit, right = right+1, r.left
		default:
			return true // two single bytes
		}
	}
}
