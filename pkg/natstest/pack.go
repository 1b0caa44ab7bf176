package natstest

import (
	"iter"
	"testing"

	"sluice/pkg/events"
)

// Chunks returns the body of a pack of chunks.
func Chunks(tb testing.TB, chunks ...events.Chunk) []byte {
	tb.Helper()
	return single(tb, events.PackChunks(chunks))
}

// Vectors returns the body of a pack of vectors.
func Vectors(tb testing.TB, vectors ...events.Vector) []byte {
	tb.Helper()
	return single(tb, events.PackVectors(vectors))
}

func single(tb testing.TB, packs iter.Seq[events.Body]) (data []byte) {
	tb.Helper()
	n := 0
	for p := range packs {
		data = p.Data
		n++
	}
	if n != 1 {
		tb.Fatalf("%d packs, want one", n)
	}
	return data
}
