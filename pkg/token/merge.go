package token

// shortPiece is the longest piece, in bytes, whose merges are done one by one.
// That is quadratic, but has the smaller constant.
const shortPiece = 64

// split returns the tokens of a piece that is not a token itself. The result
// is valid until the next use of w.
func (v *vocabulary) split(w *workspace, piece string) []uint32 {
	if len(piece) > shortPiece {
		return v.splitLong(w, piece)
	}
	return v.merge(w, piece)
}

// merge does what the definition of byte pair encoding says: while neighbours
// merge into a token, merge those with the lowest rank, the first of equals.
func (v *vocabulary) merge(w *workspace, piece string) []uint32 {
	parts := w.short[:len(piece)]
	for i := range parts {
		parts[i].token = v.single[piece[i]]
	}
	for i := range len(parts) - 1 {
		parts[i].merged = v.merges.find(parts[i].token, parts[i+1].token)
	}
	parts[len(parts)-1].merged = none
	for {
		best, at := none, 0
		for i := range parts {
			if parts[i].merged < best {
				best, at = parts[i].merged, i
			}
		}
		if best == none {
			break
		}
		parts = append(parts[:at+1], parts[at+2:]...)
		parts[at].token = best
		parts[at].merged = none
		if at+1 < len(parts) {
			parts[at].merged = v.merges.find(best, parts[at+1].token)
		}
		if at > 0 {
			parts[at-1].merged = v.merges.find(parts[at-1].token, best)
		}
	}
	w.tokens = w.tokens[:0]
	for i := range parts {
		w.tokens = append(w.tokens, parts[i].token)
	}
	return w.tokens
}
