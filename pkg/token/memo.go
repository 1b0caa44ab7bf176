package token

// memo remembers how the pieces seen last were split. A tenth of the pieces of
// English documentation is more than one token, and most of those are the same
// few words again: remembering 2,048 saves three quarters of all merging.
type memo [2048]split

// split is a piece of at most 16 bytes and its tokens, at most five. The zero
// value holds no piece.
type split struct {
	low, high     uint64 // the text, padded with zeros
	bytes, tokens uint8
	ranks         [5]uint32
}

// slot returns where the split of piece is or would be, with the piece in the
// form that split has it. The piece has at most 16 bytes.
func (m *memo) slot(piece string) (at *split, low, high uint64) {
	if len(piece) <= 8 {
		low = padded(piece)
	} else {
		low, high = load8(piece), padded(piece[8:])
	}
	return &m[mix(low^mix(high))%uint64(len(m))], low, high
}
