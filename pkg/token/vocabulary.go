package token

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// vocabulary is the tokens of an encoding by rank, and the tables that find
// them again: by text, and by the pair of tokens that merges into them.
type vocabulary struct {
	blob   string      // the text of all tokens, by rank
	starts []uint32    // where in blob each token starts, and a last one where it ends
	halves []pair      // what each token was merged from; of a single byte, itself twice
	single [256]uint32 // the tokens of single bytes

	words   wordTable
	phrases phraseTable
	merges  mergeTable
	pairs   [1 << 16]uint32 // the same for two single bytes, by the bytes; or none
}

// pair is two neighbouring tokens.
type pair struct{ left, right uint32 }

// none is the rank of no token, above all others.
const none = ^uint32(0)

var errMerges = errors.New("the merges do not decode")

// newVocabulary decodes what internal/gen writes: the 256 single bytes, then
// for each further token the ranks of its halves as unsigned varints.
func newVocabulary(data string) (*vocabulary, error) {
	if len(data) < 256 {
		return nil, errMerges
	}
	v := new(vocabulary)
	room := len(data)/3 + 256 // a merge takes four bytes on average, a token seven
	v.halves = make([]pair, 256, room)
	v.starts = make([]uint32, 256, room+1)
	text := make([]byte, 256, 2*len(data))
	for i := range 256 {
		v.halves[i] = pair{uint32(i), uint32(i)}
		v.starts[i] = uint32(i)
		text[i] = data[i]
		v.single[data[i]] = uint32(i)
	}
	longest := 1
	for rest := []byte(data[256:]); len(rest) > 0; {
		left, n := binary.Uvarint(rest)
		if n <= 0 {
			return nil, errMerges
		}
		right, m := binary.Uvarint(rest[n:])
		rank := uint64(len(v.halves))
		if m <= 0 || left >= rank || right >= rank {
			return nil, errMerges
		}
		rest = rest[n+m:]
		start := len(text)
		v.starts = append(v.starts, uint32(start))
		text = append(text, token(text, v.starts, left)...)
		text = append(text, token(text, v.starts, right)...)
		v.halves = append(v.halves, pair{uint32(left), uint32(right)})
		longest = max(longest, len(text)-start)
	}
	v.starts = append(v.starts, uint32(len(text)))
	v.blob = string(text)
	if len(v.halves) > maxRank || longest > maxToken {
		return nil, errors.New("more or longer tokens than the tables can hold")
	}
	v.index()
	return v, nil
}

func token(text []byte, starts []uint32, rank uint64) []byte {
	if rank+1 == uint64(len(starts)) {
		return text[starts[rank]:]
	}
	return text[starts[rank]:starts[rank+1]]
}

func (v *vocabulary) index() {
	short := 0
	for rank := range v.halves {
		if v.length(uint32(rank)) <= 8 {
			short++
		}
	}
	v.words = newWordTable(short)
	v.phrases = newPhraseTable(len(v.halves) - short)
	v.merges = newMergeTable(len(v.halves))
	for i := range v.pairs {
		v.pairs[i] = none
	}
	for rank := range v.halves {
		s := v.text(uint32(rank))
		if len(s) <= 8 {
			v.words.add(padded(s), uint32(len(s)), uint32(rank))
		} else {
			v.phrases.add(hash(s), uint32(rank))
		}
		if len(s) > 1 {
			v.merges.add(v.halves[rank], uint32(rank))
		}
		if len(s) == 2 {
			v.pairs[uint16(s[0])<<8|uint16(s[1])] = uint32(rank)
		}
	}
}

func (v *vocabulary) text(rank uint32) string { return v.blob[v.starts[rank]:v.starts[rank+1]] }
func (v *vocabulary) length(rank uint32) int  { return int(v.starts[rank+1] - v.starts[rank]) }

// maxToken bounds the bytes of a token, so that longer pieces need no look.
const maxToken = 128

// whole returns the rank of the token s[i:j], or -1 if it is none.
func (v *vocabulary) whole(s string, i, j int) int {
	if n := j - i; n <= 8 {
		var key uint64
		if i+8 <= len(s) {
			key = load8(s[i:]) & (^uint64(0) >> (64 - 8*n))
		} else {
			key = padded(s[i:j])
		}
		return v.words.find(key, uint32(n))
	} else if n > maxToken {
		return -1
	}
	return v.phrases.find(v, s[i:j])
}

// load8 returns the first 8 bytes of s as a number.
func load8(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// padded returns s, of at most 8 bytes, as a number.
func padded(s string) uint64 {
	var key uint64
	for i := range len(s) {
		key |= uint64(s[i]) << (8 * i)
	}
	return key
}

// mix spreads all bits of x over the result.
func mix(x uint64) uint64 {
	hi, lo := bits.Mul64(x, 0x9e3779b97f4a7c15)
	return hi ^ lo
}

// hash is the hash of a text of more than 8 bytes.
func hash(s string) uint64 {
	h := uint64(len(s))
	for i := 0; i+8 < len(s); i += 8 {
		h = mix(h ^ load8(s[i:]))
	}
	return mix(h ^ load8(s[len(s)-8:]))
}

// The tables are open addressing with linear probing, at most half full, and
// never change once built.

// wordTable finds tokens of at most 8 bytes without looking at their text.
type wordTable struct {
	slots []word
	mask  uint64
}

type word struct {
	key    uint64 // the text, padded with zeros
	length uint32 // 0 in a free slot; tells "a" from "a\x00"
	rank   uint32
}

func newWordTable(n int) wordTable {
	slots := make([]word, roomFor(n))
	return wordTable{slots, uint64(len(slots) - 1)}
}

func (t *wordTable) add(key uint64, length, rank uint32) {
	i := mix(key) & t.mask
	for t.slots[i].length != 0 {
		i = (i + 1) & t.mask
	}
	t.slots[i] = word{key, length, rank}
}

func (t *wordTable) find(key uint64, length uint32) int {
	for i := mix(key); ; i++ {
		w := &t.slots[i&t.mask]
		if w.key == key && w.length == length {
			return int(w.rank)
		}
		if w.length == 0 {
			return -1
		}
	}
}

// phraseTable finds tokens of more than 8 bytes: half of the hash says where,
// the other half whether it is worth comparing the text.
type phraseTable struct {
	slots []phrase
	mask  uint64
}

type phrase struct{ print, rank1 uint32 } // rank1 is the rank + 1, and 0 in a free slot

func newPhraseTable(n int) phraseTable {
	slots := make([]phrase, roomFor(n))
	return phraseTable{slots, uint64(len(slots) - 1)}
}

func (t *phraseTable) add(h uint64, rank uint32) {
	i := h & t.mask
	for t.slots[i].rank1 != 0 {
		i = (i + 1) & t.mask
	}
	t.slots[i] = phrase{uint32(h >> 32), rank + 1}
}

func (t *phraseTable) find(v *vocabulary, s string) int {
	h := hash(s)
	for i := h; ; i++ {
		p := t.slots[i&t.mask]
		if p.rank1 == 0 {
			return -1
		}
		if p.print == uint32(h>>32) && v.text(p.rank1-1) == s {
			return int(p.rank1 - 1)
		}
	}
}

// mergeTable finds the token that a pair of tokens merges into. A slot is
// three ranks in one word: left, right, merged; 0 is free, as no pair merges
// into the single byte of rank 0.
type mergeTable struct {
	slots []uint64
	mask  uint64
}

const (
	rankBits = 18
	maxRank  = 1 << rankBits
)

func newMergeTable(n int) mergeTable {
	slots := make([]uint64, roomFor(n))
	return mergeTable{slots, uint64(len(slots) - 1)}
}

func (t *mergeTable) add(p pair, rank uint32) {
	key := uint64(p.left)<<rankBits | uint64(p.right)
	i := mix(key) & t.mask
	for t.slots[i] != 0 {
		i = (i + 1) & t.mask
	}
	t.slots[i] = key<<rankBits | uint64(rank)
}

// find returns the token of a pair, or none.
func (t *mergeTable) find(left, right uint32) uint32 {
	key := uint64(left)<<rankBits | uint64(right)
	for i := mix(key); ; i++ {
		slot := t.slots[i&t.mask]
		if slot>>rankBits == key && slot != 0 {
			return uint32(slot & (maxRank - 1))
		}
		if slot == 0 {
			return none
		}
	}
}

// roomFor returns a power of two of slots that n entries fill by half at most.
func roomFor(n int) int { return 1 << bits.Len(uint(2*n-1)) }
