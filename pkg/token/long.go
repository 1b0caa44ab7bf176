package token

// Long pieces. Doing the merges of a piece of n bytes one by one takes n²
// steps, and a document can be one piece: base64, a line of dashes, Chinese
// without punctuation. What makes linear time possible is that whether a
// sequence of tokens is the result of the merges can be told from each two
// neighbours on their own (see compatible), and that exactly one sequence of
// compatible neighbours spells a given text.
//
// So splitLong goes through the text, takes the longest token that is
// compatible with the one before, and where there is none takes back the one
// before and tries it shorter. Positions where that has happened lead nowhere
// and are not entered again, which bounds the steps by the length of the text
// times the few tokens that are prefixes of one another.
//
// The method is described in Hendrik van Antwerpen and Alexander Neubeck, "So
// many tokens, so little time: Introducing a faster, more flexible byte-pair
// tokenizer", GitHub, 2024.

func (v *vocabulary) splitLong(w *workspace, piece string) []uint32 {
	tree := v.tree()
	tokens := w.tokens[:0]
	words := len(piece)/64 + 1
	if cap(w.dead) < words {
		w.dead = make([]uint64, words)
	}
	dead := w.dead[:words]
	clear(dead)

	at := 0
	next := tree.longest(piece)
	for at < len(piece) {
		fits := false
		for ; next != none; next = tree.shorter[next] {
			end := at + v.length(next)
			if dead[end/64]&(1<<(end%64)) == 0 &&
				(len(tokens) == 0 || v.compatible(tokens[len(tokens)-1], next)) {
				fits = true
				at = end
				break
			}
		}
		if fits {
			tokens = append(tokens, next)
			next = tree.longest(piece[at:])
			continue
		}
		// The first position cannot die: every text has its tokens.
		dead[at/64] |= 1 << (at % 64)
		next = tokens[len(tokens)-1]
		tokens = tokens[:len(tokens)-1]
		at -= v.length(next)
		next = tree.shorter[next]
	}
	w.tokens = tokens
	return tokens
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

// prefixTree finds the tokens that a text begins with, longest first.
type prefixTree struct {
	shorter []uint32 // the longest token that is a proper prefix of each token, or none
	token   []uint32 // the token that each node spells, or none; node 0 spells ""
	slots   []uint64 // node, byte and child in one word; 0 is free, as no child is node 0
	mask    uint64
}

const nodeBits = 24

func (v *vocabulary) tree() *prefixTree {
	v.prefixOnce.Do(func() {
		// Counting first would cost as much as growing: three nodes a token is
		// above what either vocabulary has.
		n := 3 * len(v.halves)
		t := &prefixTree{
			shorter: make([]uint32, len(v.halves)),
			token:   make([]uint32, 1, n),
			slots:   make([]uint64, roomFor(n)),
		}
		t.mask = uint64(len(t.slots) - 1)
		t.token[0] = none
		for rank := range v.halves {
			t.add(v.text(uint32(rank)), uint32(rank))
		}
		for rank := range v.halves {
			s := v.text(uint32(rank))
			t.shorter[rank] = t.longest(s[:len(s)-1])
		}
		v.prefixes = t
	})
	return v.prefixes
}

func (t *prefixTree) add(s string, rank uint32) {
	node := uint64(0)
	for i := range len(s) {
		key := node<<8 | uint64(s[i])
		j := mix(key) & t.mask
		for t.slots[j] != 0 && t.slots[j]>>nodeBits != key {
			j = (j + 1) & t.mask
		}
		if t.slots[j] == 0 {
			t.slots[j] = key<<nodeBits | uint64(len(t.token))
			t.token = append(t.token, none)
		}
		node = t.slots[j] & (1<<nodeBits - 1)
	}
	t.token[node] = rank
}

// longest returns the longest token that s begins with, or none if s is empty.
func (t *prefixTree) longest(s string) uint32 {
	best := none
	node := uint64(0)
	for i := range len(s) {
		key := node<<8 | uint64(s[i])
		j := mix(key) & t.mask
		for t.slots[j] != 0 && t.slots[j]>>nodeBits != key {
			j = (j + 1) & t.mask
		}
		if t.slots[j] == 0 {
			break
		}
		node = t.slots[j] & (1<<nodeBits - 1)
		if rank := t.token[node]; rank != none {
			best = rank
		}
	}
	return best
}
