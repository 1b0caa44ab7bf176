package split

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"sluice/pkg/events"
)

// corpus is Markdown like that of a documentation site, of about n bytes.
func corpus(seed uint64, n int) string {
	r := rand.New(rand.NewPCG(seed, 1))
	words := strings.Fields(`the a of to and in for with on is that by this it as from are be or an at can not
		document stream pipeline budget vector index message consumer retry deadline token provider service request
		response configuration storage latency throughput revision chunk embedding search result failure operator
		acknowledges redelivers "quoted" (parenthetical) 42 3.14 2026 https://example.org/guide v1.2.3 NATS JetStream`)
	var b strings.Builder
	sentence := func() {
		for i := range 6 + r.IntN(16) {
			w := words[r.IntN(len(words))]
			if i == 0 {
				w = strings.ToUpper(w[:1]) + w[1:]
			} else {
				b.WriteByte(' ')
			}
			switch r.IntN(40) {
			case 0:
				w = "**" + w + "**"
			case 1:
				w = "`" + w + "()`"
			case 2:
				w = "[" + w + "](docs/" + w + ".md)"
			}
			b.WriteString(w)
		}
		b.WriteString(". ")
	}
	paragraph := func() {
		for range 1 + r.IntN(6) {
			sentence()
		}
		b.WriteString("\n\n")
	}
	for section := 0; b.Len() < n; section++ {
		level := 2 + r.IntN(3)
		if section%12 == 0 {
			level = 1
		}
		fmt.Fprintf(&b, "%s %s %s %d\n\n", strings.Repeat("#", level), words[23+r.IntN(24)], words[23+r.IntN(24)], section)
		for range 1 + r.IntN(4) {
			switch r.IntN(10) {
			case 0:
				b.WriteString("```go\n")
				for i := range 3 + r.IntN(25) {
					fmt.Fprintf(&b, "%s%s := %s.%s(ctx, %d)\n", strings.Repeat("\t", i%3), words[r.IntN(20)], words[23], words[24+r.IntN(20)], r.IntN(1000))
				}
				b.WriteString("```\n\n")
			case 1:
				b.WriteString("| name | default | meaning |\n|------|---------|---------|\n")
				for range 3 + r.IntN(20) {
					fmt.Fprintf(&b, "| `%s_%s` | %d | ", words[24+r.IntN(20)], words[24+r.IntN(20)], r.IntN(10000))
					sentence()
					b.WriteString("|\n")
				}
				b.WriteByte('\n')
			case 2, 3:
				for range 2 + r.IntN(8) {
					b.WriteString("- ")
					sentence()
					b.WriteByte('\n')
				}
				b.WriteByte('\n')
			default:
				paragraph()
			}
		}
	}
	return b.String()
}

func TestChunksAreFull(t *testing.T) {
	md := corpus(1, 500_000)
	for _, limit := range []int{128, 256, 512, 1024} {
		s := mustNew(t, Options{MaxTokens: limit, MinTokens: limit / 8})
		chunks := mustSplit(t, s, md)
		check(t, s, md, chunks)
		sum := 0
		for _, c := range chunks {
			sum += c.Tokens
		}
		if fill := float64(sum) / float64(limit*len(chunks)); fill < 0.8 {
			t.Errorf("chunks of at most %d tokens are filled to %.1f %%, want 80 %%", limit, 100*fill)
		}
	}
}

// TestCutsFollowStructure draws documents whose paragraphs, rows and lines are
// all much smaller than a chunk, so that no cut inside one is needed.
func TestCutsFollowStructure(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		md := corpus(rapid.Uint64().Draw(t, "seed"), 20_000)
		s, err := New(Options{MaxTokens: 256})
		if err != nil {
			t.Fatal(err)
		}
		chunks, err := s.Split(context.Background(), md, nil)
		if err != nil {
			t.Fatal(err)
		}
		check(t, s, md, chunks)
		blocks := scan(nil, md)
		for _, c := range chunks[1:] {
			b := blockAt(blocks, c.Start)
			if b.start == c.Start {
				if prev := blockAt(blocks, c.Start-1); prev.kind == heading && (b.kind != heading || b.level > prev.level) {
					t.Fatalf("chunk %d takes %q from its heading", c.Ordinal, md[c.Start:c.End])
				}
				continue
			}
			before := strings.TrimRight(md[:c.Start], " \n")
			switch b.kind {
			case table, code:
				start, end := b.start, b.start+strings.Index(md[b.start:], "\n\n")+2
				for start > 0 && blockAt(blocks, start-1).kind == heading {
					start = blockAt(blocks, start-1).start // they go together
				}
				if md[c.Start-1] != '\n' {
					t.Fatalf("chunk %d begins inside a line: %q", c.Ordinal, md[c.Start:c.End])
				}
				if b.kind == table && s.tok.Count(md[start:end]) <= 256 {
					t.Fatalf("chunk %d begins inside a table that fits: %q", c.Ordinal, md[b.start:end])
				}
			default:
				if !strings.HasSuffix(before, ".") {
					t.Fatalf("chunk %d begins inside a sentence: %q", c.Ordinal, md[c.Start:c.End])
				}
			}
		}
	})
}

func TestPages(t *testing.T) {
	md := "\n\n" + strings.Repeat("one two three four five six seven eight nine ten.\n\n", 20)
	s := mustNew(t, Options{MaxTokens: 32})
	marks := []events.PageMark{{Page: 3, Offset: 2}, {Page: 4, Offset: 400}, {Page: 5, Offset: 400}, {Page: 6, Offset: len(md)}}
	for _, c := range mustSplit(t, s, md, marks...) {
		want := 3
		if c.Start >= 400 {
			want = 5
		}
		if c.Page != want {
			t.Errorf("the chunk at byte %d is on page %d, want %d", c.Start, c.Page, want)
		}
	}
	if c := mustSplit(t, s, md); c[0].Page != 0 {
		t.Errorf("without marks the page is %d, want 0", c[0].Page)
	}
}

func TestSplitOfNothing(t *testing.T) {
	for _, strategy := range []string{Markdown, Recursive, Sentence, Fixed} {
		s := mustNew(t, Options{Strategy: strategy})
		for _, md := range []string{"", " ", "\n\n\t\n", "\u3000"} {
			if chunks := mustSplit(t, s, md); len(chunks) != 0 {
				t.Errorf("%s: %q has chunks %+v", strategy, md, chunks)
			}
		}
	}
}

// expiring is done after its Err has been asked for a number of times.
type expiring struct {
	context.Context
	left int
}

func (c *expiring) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

func TestSplitStopsWhenCancelled(t *testing.T) {
	md := corpus(2, segment+segment/4)
	for _, strategy := range []string{Markdown, Recursive, Sentence, Fixed} {
		s := mustNew(t, Options{Strategy: strategy, MaxTokens: 64})
		asked := 0
		for ; ; asked += 1 + asked {
			chunks, err := s.Split(&expiring{context.Background(), asked}, md, nil)
			if err == nil {
				break
			}
			if !errors.Is(err, context.Canceled) || chunks != nil {
				t.Fatalf("%s: got %d chunks and %v, want only %v", strategy, len(chunks), err, context.Canceled)
			}
		}
		if asked < 8 {
			t.Errorf("%s looks at its context only %d times", strategy, asked)
		}
	}
}

func TestSplitConcurrently(t *testing.T) {
	s := mustNew(t, Options{MaxTokens: 128, Overlap: 16})
	var docs []string
	var want [][]Chunk
	for i := range uint64(8) {
		docs = append(docs, corpus(i, 10_000*int(i+1)))
		want = append(want, mustSplit(t, mustNew(t, s.o), docs[i]))
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range docs {
				i = (i + 3*g) % len(docs)
				got, err := s.Split(context.Background(), docs[i], nil)
				if err != nil || !reflect.DeepEqual(got, want[i]) {
					t.Errorf("document %d: %v, %d chunks, want %d", i, err, len(got), len(want[i]))
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkSplit(b *testing.B) {
	var docs []string
	for i := range uint64(200) {
		docs = append(docs, corpus(i, 1_000+150*int(i)))
	}
	n := 0
	for _, md := range docs {
		n += len(md)
	}
	for _, o := range []Options{
		DefaultOptions(),
		{Encoding: "o200k_base", MinTokens: 64},
		{MaxTokens: 128, MinTokens: 16},
		{MinTokens: 64, Overlap: 64},
		{Strategy: Recursive},
		{Strategy: Sentence},
		{Strategy: Fixed},
	} {
		s := mustNew(b, o)
		b.Run(strings.TrimPrefix(s.o.Fingerprint(), fmt.Sprintf("split/%d:", algorithm)), func(b *testing.B) {
			b.SetBytes(int64(n))
			b.ReportAllocs()
			var tokens, chunks int
			for b.Loop() {
				tokens, chunks = 0, 0
				for _, md := range docs {
					for _, c := range mustSplit(b, s, md) {
						tokens += c.Tokens
						chunks++
					}
				}
			}
			b.ReportMetric(100*float64(tokens)/float64(chunks*s.o.MaxTokens), "%fill")
		})
	}
}

// BenchmarkTokens is what BenchmarkSplit cannot be faster than.
func BenchmarkTokens(b *testing.B) {
	s := mustNew(b, Options{})
	md := corpus(1, 2<<20)
	b.SetBytes(int64(len(md)))
	var ends []int
	for b.Loop() {
		ends = s.tok.Ends(ends[:0], md)
	}
}
