package events_test

import (
	"strings"
	"testing"

	"sluice/pkg/events"
)

// BenchmarkPack: a pack of 30 vectors of 1,536 dimensions and 2 kB of text.
func BenchmarkPack(b *testing.B) {
	c := chunk()
	c.Text = strings.Repeat("The keeper opens the gate. \"Now\" is < later.\n", 45)
	c.End = c.Start + len(c.Text)
	c.Ordinal, c.Of, c.About = 1, 2, nil
	emb := make([]float32, 1536)
	for i := range emb {
		emb[i] = float32(i) / 7
	}
	v := events.Vector{Chunk: c, Model: "m", Embedding: events.EncodeVector(emb)}
	pack := make([]events.Vector, 30)
	for i := range pack {
		pack[i] = v
	}
	var body []byte
	encode := func() {
		for p := range events.PackVectors(pack) {
			body = p.Data
		}
	}
	encode()
	b.Run("encode", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			encode()
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := events.Decode[events.Vectors](body); err != nil {
				b.Fatal(err)
			}
		}
	})
}
