package token

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// reference is byte pair encoding by its definition, on text and not on ranks,
// with the pieces as the only thing it shares with the encoder.
type reference struct {
	e     *Encoding
	ranks map[string]uint32
}

func newReference(e *Encoding) *reference {
	r := &reference{e, make(map[string]uint32, len(e.vocab.halves))}
	for rank := range e.vocab.halves {
		r.ranks[e.vocab.text(uint32(rank))] = uint32(rank)
	}
	return r
}

func (r *reference) encode(s string) []uint32 {
	var tokens []uint32
	for i := 0; i < len(s); {
		j := r.e.piece(r.e.classes, s, i)
		if rank, ok := r.ranks[s[i:j]]; ok {
			tokens = append(tokens, rank)
		} else {
			tokens = append(tokens, r.merge(s[i:j])...)
		}
		i = j
	}
	return tokens
}

func (r *reference) merge(piece string) []uint32 {
	var parts []string
	for i := range len(piece) {
		parts = append(parts, piece[i:i+1])
	}
	for {
		best, at := none, -1
		for i := range len(parts) - 1 {
			if rank, ok := r.ranks[parts[i]+parts[i+1]]; ok && rank < best {
				best, at = rank, i
			}
		}
		if at < 0 {
			break
		}
		parts[at] += parts[at+1]
		parts = slices.Delete(parts, at+1, at+2)
	}
	tokens := make([]uint32, len(parts))
	for i, part := range parts {
		tokens[i] = r.ranks[part]
	}
	return tokens
}

// texts draws text of all kinds: characters where the patterns differ, any
// characters at all, any bytes at all, words, and long runs.
func texts() *rapid.Generator[string] {
	edge := rapid.SampledFrom([]string{
		"a", "B", "s", "S", "\u017f", "t", "re", "LL", "'", "é", "É", "中", "ʰ", "ǅ", "\u0301", "1", "½", "٣",
		" ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\u0085", "/", "!", "-", "😀", "\u200d", "\x00", "\xff", "\xe4\xb8",
	})
	words := rapid.SampledFrom([]string{
		" the", " tokenizer", "Kubernetes", " don't", "https://", "README", "func ", "}\n\n", " 2026", "\n- ", "```", "| ", "的", " и",
	})
	bytes := rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 16), func(b []byte) string { return string(b) })
	run := rapid.Custom(func(t *rapid.T) string {
		return strings.Repeat(edge.Draw(t, "unit"), rapid.IntRange(1, 90).Draw(t, "times"))
	})
	part := rapid.OneOf(edge, words, rapid.StringN(1, 20, -1), bytes, run)
	return rapid.Map(rapid.SliceOfN(part, 0, 16), func(parts []string) string { return strings.Join(parts, "") })
}

func TestTextsSurvive(t *testing.T) {
	each(t, func(t *testing.T, e *Encoding) {
		ref := newReference(e)
		rapid.Check(t, func(t *rapid.T) {
			s := texts().Draw(t, "text")
			consistent(t, e, s)
			if got, want := e.Encode(nil, s), ref.encode(s); !slices.Equal(got, want) {
				t.Fatalf("%q:\n got %d\nwant %d", s, got, want)
			}
		})
	})
}

// Pieces are split as their merges say, in one window or in many: text of few
// letters has the most merges that compete.
func TestPiecesSplitAsMerged(t *testing.T) {
	alphabets := []string{"ab", "aA", "-=", " \t", "etaoin", "0aF", "\xe4\xb8\xad", "的一是", "abcdefghijklmnopqrstuvwxyz", ".,;:!?'\"()[]{}<>/\\|"}
	each(t, func(t *testing.T, e *Encoding) {
		ref := newReference(e)
		rapid.Check(t, func(t *rapid.T) {
			letters := rapid.SampledFrom(alphabets).Draw(t, "letters")
			piece := string(rapid.SliceOfN(rapid.SampledFrom([]byte(letters)), 1, 8*window).Draw(t, "piece"))
			if got, want := e.vocab.split(new(workspace), piece), ref.merge(piece); !slices.Equal(got, want) {
				t.Fatalf("%q:\n got %d\nwant %d", piece, got, want)
			}
		})
	})
}

// Every token, taken as a piece, splits into itself: what the merge list and
// the pair table rest on.
func TestTokensSplitIntoThemselves(t *testing.T) {
	each(t, func(t *testing.T, e *Encoding) {
		var w workspace
		for rank := range uint32(len(e.vocab.halves)) {
			s := e.vocab.text(rank)
			if got := e.vocab.whole(s, 0, len(s)); got != int(rank) {
				t.Fatalf("whole(%q) = %d, want %d", s, got, rank)
			}
			if got := e.vocab.split(&w, s); len(got) != 1 || got[0] != rank {
				t.Fatalf("split(%q) = %d, want %d", s, got, rank)
			}
		}
	})
}

func FuzzEncode(f *testing.F) {
	for _, s := range []string{
		"Hello, world!", "a \n \n b", "it's IT'S it'\u017f", "1234567", "\xff\xe4\xb8 ok", "日本語のテキスト", "e\u0301A\u0301B",
		strings.Repeat("ab", 100), strings.Repeat(" ", 200) + "x", "//\n//\n/",
	} {
		f.Add(s)
	}
	var encodings []*Encoding
	for _, name := range names {
		encodings = append(encodings, mustLoad(f, name))
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, e := range encodings {
			consistent(t, e, s)
			// Pieces cover the text, and cut no character in two.
			for i := 0; i < len(s); {
				j := e.piece(e.classes, s, i)
				if j <= i || j > len(s) {
					t.Fatalf("%s: the piece at %d of %q ends at %d", e.Name(), i, s, j)
				}
				if utf8.ValidString(s) && j < len(s) && !utf8.RuneStart(s[j]) {
					t.Fatalf("%s: the piece at %d of %q ends within a character", e.Name(), i, s)
				}
				i = j
			}
		}
	})
}

// Text that is one long piece, which the reference would take quadratic time
// for: neighbours that are all compatible are its proof of being right.
func TestLongPieces(t *testing.T) {
	units := []string{"a", "ab", "A\u0301", "-", "=-", "的", "的一是不了", "\xff", "\u3000", "aaaaaaaaB", "ACGT", "xyzzy", "0123456789abcdef"}
	each(t, func(t *testing.T, e *Encoding) {
		w := new(workspace)
		for _, unit := range units {
			piece := strings.Repeat(unit, 64<<10/len(unit))
			tokens := e.vocab.split(w, piece)
			if e.decode(tokens) != piece {
				t.Errorf("%q, repeated, decodes to something else", unit)
			}
			for i := range len(tokens) - 1 {
				if !e.vocab.compatible(tokens[i], tokens[i+1]) {
					t.Fatalf("%q, repeated: tokens %d and %d would merge differently", unit, i, i+1)
				}
			}
			// The window only grows while tokens before it turn out different.
			if n := cap(w.offers); n > 16*window {
				t.Errorf("%q, repeated, took a window of %d bytes", unit, n)
			}
		}
	})
}
