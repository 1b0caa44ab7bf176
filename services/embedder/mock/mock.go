// Package mock is an embedder for tests and dry runs: instant, free and
// deterministic. Its vectors mean nothing, they are only as distinct as the
// texts: equal texts get equal vectors, whatever batch, position, process or
// machine, and different texts get nearly perpendicular ones.
//
// It has its own model name, so that what it made is never taken for the
// work of another model.
package mock

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math"

	"sluice/pkg/fault"
	"sluice/pkg/provider"
)

// Model names the vector space, and Dimensions is its size.
const (
	Model      = "mock-1536"
	Dimensions = 1536
)

// Embedder implements provider.Embedder. The zero value is ready to use.
type Embedder struct{}

// Describe implements provider.Embedder.
func (Embedder) Describe() provider.EmbedderInfo {
	return provider.EmbedderInfo{Service: "mock", Model: Model, Dimensions: Dimensions}
}

// Embed implements provider.Embedder. It costs nothing and fails only with
// ctx. Tokens is the sum over the inputs.
func (Embedder) Embed(ctx context.Context, inputs []provider.Input) (provider.Embeddings, error) {
	out := provider.Embeddings{Vectors: make([][]float32, len(inputs))}
	for i, in := range inputs {
		if err := ctx.Err(); err != nil {
			return provider.Embeddings{}, fault.Wrap(err, fault.Unavailable, "interrupted", "embedding stopped after %d of %d texts", i, len(inputs))
		}
		out.Vectors[i] = Vector(in.Text)
		out.Tokens += in.Tokens
	}
	return out, nil
}

// Vector returns the vector of text, of length 1.
func Vector(text string) []float32 {
	sum := sha256.Sum256([]byte(text))
	// splitmix64 (Steele, Lea and Flood, 2014): each output gives two numbers.
	state := binary.LittleEndian.Uint64(sum[:])
	v := make([]float32, Dimensions)
	var square float64
	for i := 0; i < len(v); i += 2 {
		state += 0x9E3779B97F4A7C15
		z := state
		z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
		z = (z ^ z>>27) * 0x94D049BB133111EB
		z ^= z >> 31
		// 24 bits each: whole numbers that float32 holds exactly, so the sum of
		// their squares is the same on every machine, fused or not.
		a := int64(z>>40) - 1<<23
		b := int64(z>>8&0xFFFFFF) - 1<<23
		v[i], v[i+1] = float32(a), float32(b)
		square += float64(a*a + b*b)
	}
	scale := 1 / math.Sqrt(square)
	for i, x := range v {
		v[i] = float32(float64(x) * scale)
	}
	return v
}
