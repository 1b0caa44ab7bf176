package ram

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// Code is a coarse copy of a vector: its kind, its scale as little-endian
// float32, then the components.
//
// Sparse: 4 bits a component in two's complement, -7 to 7, low half first. The
// component is about the number times the scale, for the vector at length 1.
// Dense: one bit a component, set where it is not negative; the scale is unused.
type Code []byte

const (
	codeHead   = 5
	kindDense  = 0
	kindSparse = 1
	// sparseShare is the share of non-zero components up to which a vector is
	// sparse. Embeddings of neural models have next to no zeros, hashed words
	// many, so nearly any bound would do.
	sparseShare = 0.75
	maxNibble   = 7
)

// Encode returns the code of v, which has some component that is not zero.
func Encode(v []float32) Code {
	filled := 0
	for _, x := range v {
		if x != 0 {
			filled++
		}
	}
	if float64(filled) > sparseShare*float64(len(v)) {
		return encodeDense(v)
	}
	var sum float64
	var largest float32
	for _, x := range v {
		sum += float64(x) * float64(x)
		largest = max(largest, x, -x)
	}
	c := make(Code, codeHead+(len(v)+1)/2)
	c[0] = kindSparse
	binary.LittleEndian.PutUint32(c[1:], math.Float32bits(float32(float64(largest)/maxNibble/math.Sqrt(sum))))
	scale := maxNibble / float64(largest)
	for i, x := range v {
		if x == 0 {
			continue
		}
		// Away from zero, so that a column finds what is not zero, however small.
		n := int(math.Copysign(max(math.Round(math.Abs(float64(x)*scale)), 1), float64(x)))
		c[codeHead+i/2] |= byte(n&0xF) << (4 * (i % 2))
	}
	return c
}

func encodeDense(v []float32) Code {
	c := make(Code, codeHead+(len(v)+7)/8)
	c[0] = kindDense
	for i, x := range v {
		// The sign bit itself: a branch would be mispredicted half the time.
		c[codeHead+i/8] |= byte(^math.Float32bits(x)>>31) << (i % 8)
	}
	return c
}

// Valid reports whether c is a code of a vector with dims dimensions.
func (c Code) Valid(dims int) bool {
	if dims < 1 || len(c) < codeHead {
		return false
	}
	switch c[0] {
	case kindDense:
		return len(c) == codeHead+(dims+7)/8
	case kindSparse:
		s := c.scale()
		return len(c) == codeHead+(dims+1)/2 && s > 0 && !math.IsInf(float64(s), 0)
	}
	return false
}

func (c Code) sparse() bool { return c[0] == kindSparse }

func (c Code) scale() float32 { return math.Float32frombits(binary.LittleEndian.Uint32(c[1:])) }

// probe is a query vector made ready.
type probe struct {
	dims   int
	filled []component // that are not zero
	bits   []uint64
	dense  bool
}

type component struct {
	dim   int
	value float32
}

// newProbe prepares q, scaled to length 1.
func newProbe(q []float32) *probe {
	p := &probe{dims: len(q), bits: make([]uint64, (len(q)+63)/64)}
	var sum float64
	for _, x := range q {
		sum += float64(x) * float64(x)
	}
	norm := math.Sqrt(sum)
	for i, x := range q {
		p.bits[i/64] |= uint64(^math.Float32bits(x)>>31) << (i % 64)
		if x != 0 {
			p.filled = append(p.filled, component{i, float32(float64(x) / norm)})
		}
	}
	p.dense = float64(len(p.filled)) > sparseShare*float64(len(q))
	return p
}

// columns adds to scores the products of the query with the columns of b.
func (p *probe) columns(b *block, scores []float32) {
	used := (len(b.rows) + 1) / 2
	var value [16]float32
	for _, c := range p.filled {
		for n := range value {
			value[n] = c.value * float32(int8(n<<4)>>4)
		}
		column := b.columns[c.dim*columnBytes:][:used]
		out := scores[:2*used]
		for i, n := range column {
			if n == 0 {
				continue
			}
			out[2*i] += value[n&0xF]
			out[2*i+1] += value[n>>4]
		}
	}
}

// signs estimates how near the dense vector at a place of b is.
func (p *probe) signs(b *block, at int) float64 {
	row := b.signs[at*len(p.bits):][:len(p.bits)]
	if p.dense {
		differ := 0
		for i, w := range p.bits {
			differ += bits.OnesCount64(w ^ row[i])
		}
		return float64(p.dims-2*differ) / float64(p.dims)
	}
	var s float32
	for _, c := range p.filled {
		if row[c.dim/64]>>(c.dim%64)&1 == 1 {
			s += c.value
		} else {
			s -= c.value
		}
	}
	return float64(s)
}
