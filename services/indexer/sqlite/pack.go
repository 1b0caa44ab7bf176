package sqlite

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// Embeddings are stored without loss, in one of two forms that the first byte
// tells apart. Vectors of a lexical model are two thirds zeros, and writing
// those out would be most of the cost of an insert.
const (
	packedWhole  = 0 // then little-endian float32
	packedSparse = 1 // then a bit for each component, then those whose bit is set
)

// pack appends the stored form of little-endian float32 to dst.
func pack(dst, embedding []byte) []byte {
	dims := len(embedding) / 4
	filled := 0
	for i := 0; i < len(embedding); i += 4 {
		if binary.LittleEndian.Uint32(embedding[i:]) != 0 {
			filled++
		}
	}
	if mask := (dims + 7) / 8; mask+4*filled < len(embedding) {
		dst = append(dst, packedSparse)
		at := len(dst)
		dst = append(dst, make([]byte, mask)...)
		for i := range dims {
			if component := embedding[4*i : 4*i+4]; binary.LittleEndian.Uint32(component) != 0 {
				dst[at+i/8] |= 1 << (i % 8)
				dst = append(dst, component...)
			}
		}
		return dst
	}
	return append(append(dst, packedWhole), embedding...)
}

// unpack appends the components to dst, dims of them. It reports false if b is
// not what pack returns for that many.
func unpack(dst []float32, b []byte, dims int) ([]float32, bool) {
	if len(b) == 0 {
		return dst, false
	}
	form, b := b[0], b[1:]
	mask := (dims + 7) / 8
	switch {
	case form == packedWhole && len(b) == 4*dims:
		for ; len(b) > 0; b = b[4:] {
			dst = append(dst, math.Float32frombits(binary.LittleEndian.Uint32(b)))
		}
		return dst, true
	case form == packedSparse && len(b) >= mask:
		filled, rest := b[:mask], b[mask:]
		count := 0
		for _, m := range filled {
			count += bits.OnesCount8(m)
		}
		if len(rest) != 4*count {
			return dst, false
		}
		for i := range dims {
			var x float32
			if filled[i/8]>>(i%8)&1 == 1 {
				x = math.Float32frombits(binary.LittleEndian.Uint32(rest))
				rest = rest[4:]
			}
			dst = append(dst, x)
		}
		return dst, len(rest) == 0
	}
	return dst, false
}
