package token

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"sluice/pkg/fault"
)

var names = []string{"cl100k_base", "o200k_base"}

func mustLoad(t testing.TB, name string) *Encoding {
	t.Helper()
	e, err := Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func each(t *testing.T, test func(t *testing.T, e *Encoding)) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) { test(t, mustLoad(t, name)) })
	}
}

func TestLoad(t *testing.T) {
	each(t, func(t *testing.T, e *Encoding) {
		if e.Name() != strings.TrimPrefix(t.Name(), "TestLoad/") {
			t.Errorf("the name is %q", e.Name())
		}
		if again := mustLoad(t, e.Name()); again != e {
			t.Error("a second Load built a second Encoding")
		}
	})
	_, err := Load("p50k_base")
	if fault.Of(err) != fault.Halt {
		t.Fatalf("an unknown encoding gives class %v: %v", fault.Of(err), err)
	}
	for _, want := range append(names, "p50k_base") {
		if f := err.(*fault.Error); !strings.Contains(f.Message+f.Hint, want) {
			t.Errorf("the error does not name %s: %v (%s)", want, f, f.Hint)
		}
	}
}

// The vocabulary, written out in the form it is published in, has the SHA-256
// that tiktoken expects of its download (tiktoken_ext/openai_public.py).
func TestVocabularyIsThePublishedOne(t *testing.T) {
	want := map[string]string{
		"cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
		"o200k_base":  "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
	}
	each(t, func(t *testing.T, e *Encoding) {
		h := sha256.New()
		for rank := range e.vocab.halves {
			text := base64.StdEncoding.EncodeToString([]byte(e.vocab.text(uint32(rank))))
			fmt.Fprintf(h, "%s %d\n", text, rank)
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != want[e.Name()] {
			t.Errorf("SHA-256 %s, want %s", got, want[e.Name()])
		}
	})
}

type vectorFile struct {
	Vectors []struct {
		Text  string
		CL100 []uint32 `json:"cl100k_base"`
		O200  []uint32 `json:"o200k_base"`
	}
	Sweep []struct {
		First, Step int
		CL100       uint32 `json:"cl100k_base"`
		O200        uint32 `json:"o200k_base"`
	}
}

var vectors = sync.OnceValues(func() (*vectorFile, error) {
	f, err := os.Open("testdata/vectors.json.gz")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	v := new(vectorFile)
	return v, json.NewDecoder(z).Decode(v)
})

// What OpenAI's own implementation makes of some five thousand texts.
func TestVectors(t *testing.T) {
	file, err := vectors()
	if err != nil {
		t.Fatal(err)
	}
	if len(file.Vectors) < 5000 {
		t.Fatalf("only %d vectors", len(file.Vectors))
	}
	each(t, func(t *testing.T, e *Encoding) {
		for _, v := range file.Vectors {
			want := v.CL100
			if e.Name() == "o200k_base" {
				want = v.O200
			}
			got := e.Encode(nil, v.Text)
			if !slices.Equal(got, want) {
				t.Errorf("%q:\n got %d\nwant %d", v.Text, got, want)
			}
			consistent(t, e, v.Text)
		}
	})
}

// The digests of internal/gen/vectors.mjs: the text around every code point of
// the planes in use shows its character class, in both patterns.
func TestEveryCharacter(t *testing.T) {
	file, err := vectors()
	if err != nil {
		t.Fatal(err)
	}
	if len(file.Sweep) != 0x110 {
		t.Fatalf("%d blocks", len(file.Sweep))
	}
	each(t, func(t *testing.T, e *Encoding) {
		var tokens []uint32
		for _, block := range file.Sweep {
			want := block.CL100
			if e.Name() == "o200k_base" {
				want = block.O200
			}
			sum := uint32(0x811c9dc5)
			for r := rune(block.First); r < rune(block.First+0x1000); r += rune(block.Step) {
				if !utf8.ValidRune(r) {
					continue
				}
				c := string(r)
				tokens = e.Encode(tokens[:0], "a"+c+"b B"+c+"'s "+c+"1"+c+"A!"+c+"\n")
				for _, rank := range tokens {
					sum = (sum ^ rank) * 0x01000193
				}
			}
			if sum != want {
				t.Errorf("tokens differ between %U and %U", block.First, block.First+0xfff)
			}
		}
	})
}

// consistent checks what must hold of any text, valid UTF-8 or not.
func consistent(t rapid.TB, e *Encoding, s string) {
	t.Helper()
	tokens := e.Encode(nil, s)
	if got := e.decode(tokens); got != s {
		t.Errorf("%q decodes to %q", s, got)
	}
	if n := e.Count(s); n != len(tokens) {
		t.Errorf("%q: Count %d, Encode %d tokens", s, n, len(tokens))
	}
	ends := e.Ends(nil, s)
	if len(ends) != len(tokens) {
		t.Fatalf("%q: Ends %d, Encode %d tokens", s, len(ends), len(tokens))
	}
	at := 0
	for i, end := range ends {
		if at+e.vocab.length(tokens[i]) != end {
			t.Fatalf("%q: token %d ends at %d, not %d", s, i, at+e.vocab.length(tokens[i]), end)
		}
		at = end
	}
	if at != len(s) {
		t.Errorf("%q: the last token ends at %d of %d", s, at, len(s))
	}
}

// Counting is the hot path of the chunker and of the cost estimate: text of a
// usual kind must not cost an allocation.
func TestCountDoesNotAllocate(t *testing.T) {
	text := markdown(1 << 16)
	each(t, func(t *testing.T, e *Encoding) {
		// The race detector makes sync.Pool drop entries at random, so this asks
		// for the best of several runs.
		best := 1.0
		for range 20 {
			best = min(best, testing.AllocsPerRun(1, func() { e.Count(text) }))
		}
		if best > 0 {
			t.Errorf("%v allocations a call", best)
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	text := markdown(1 << 14)
	each(t, func(t *testing.T, e *Encoding) {
		want := e.Encode(nil, text)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 4 {
					if got := e.Encode(nil, text); !slices.Equal(got, want) {
						t.Error("goroutines that share an encoding get different tokens")
					}
					if n := e.Count(text); n != len(want) {
						t.Errorf("counted %d tokens, not %d", n, len(want))
					}
				}
			})
		}
		wg.Wait()
	})
}
