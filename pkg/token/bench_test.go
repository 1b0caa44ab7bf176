package token

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// markdown returns about n bytes of text with the shape of English technical
// documentation: words as frequent as in English (Zipf), headings, lists, code,
// links and tables. The same text in every run.
func markdown(n int) string {
	common := strings.Fields(`the of and to a in is that for it as with be on not this are or by from at an can you have if which
		will but all use one has when more they we there was their new so what up out time file other than set do into only some
		these also two used code name may first should any run how type data its value then over such each make following no like
		them see list using user object function default example between server version system where test after does return
		number because same string most both through many need support change method before command way while part without
		error build line state request just add work start create another order process must field path point end response`)
	rare := strings.Fields(`tokenizer idempotent backpressure Kubernetes namespace heuristics reproducibility serialization
		mutex goroutine deserialize embeddings quantization PostgreSQL misconfigured throughput asynchronously JetStream
		checksums interoperability unmarshal observability hyperparameters canonicalization subcommand dereferenced`)
	r := rand.New(rand.NewPCG(1, 2))
	word := func() string {
		if r.IntN(12) == 0 {
			return rare[r.IntN(len(rare))]
		}
		// The product of two uniform draws is as skewed as word counts are.
		return common[r.IntN(len(common))*r.IntN(len(common))/len(common)]
	}
	words := func(n int) string {
		list := make([]string, n)
		for i := range list {
			list[i] = word()
		}
		return strings.Join(list, " ")
	}
	title := func(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
	var b strings.Builder
	for b.Len() < n {
		switch r.IntN(10) {
		case 0:
			fmt.Fprintf(&b, "%s %s\n\n", strings.Repeat("#", 1+r.IntN(4)), title(words(1+r.IntN(5))))
		case 1, 2:
			for range 2 + r.IntN(5) {
				fmt.Fprintf(&b, "- **%s**: %s\n", word(), words(3+r.IntN(12)))
			}
			b.WriteString("\n")
		case 3:
			fmt.Fprintf(&b, "```go\nfunc %s%s(ctx context.Context) error {\n\tfor i := 0; i < %d; i++ {\n\t\tif err := %s.%s(ctx, \"%s\"); err != nil {\n\t\t\treturn err\n\t\t}\n\t}\n\treturn nil\n}\n```\n\n",
				title(word()), title(word()), r.IntN(1000), word(), title(word()), word())
		case 4:
			fmt.Fprintf(&b, "| %s | %s |\n|------|------|\n", word(), word())
			for range 2 + r.IntN(4) {
				fmt.Fprintf(&b, "| `%s` | %s (%d.%d%%) |\n", word(), words(1+r.IntN(6)), r.IntN(100), r.IntN(10))
			}
			b.WriteString("\n")
		default:
			for range 1 + r.IntN(5) {
				fmt.Fprintf(&b, "%s, %s. ", title(words(4+r.IntN(10))), words(2+r.IntN(8)))
				if r.IntN(6) == 0 {
					fmt.Fprintf(&b, "It's in [the %s](https://example.com/%s/%s#L%d). ", word(), word(), word(), r.IntN(500))
				}
			}
			b.WriteString("\n\n")
		}
	}
	return b.String()
}

func BenchmarkCount(b *testing.B) {
	base64 := func(n int) string {
		const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
		r := rand.New(rand.NewPCG(3, 4))
		s := make([]byte, n)
		for i := range s {
			s[i] = digits[r.IntN(len(digits))]
		}
		return string(s)
	}
	letters := func(n int) string {
		r := rand.New(rand.NewPCG(5, 6))
		s := make([]byte, n)
		for i := range s {
			s[i] = 'a' + byte(r.IntN(26))
		}
		return string(s)
	}
	chinese := func(n int) string {
		r := rand.New(rand.NewPCG(7, 8))
		var s strings.Builder
		for s.Len() < n {
			s.WriteRune(0x4e00 + rune(r.IntN(0x800)*r.IntN(0x800)/0x800))
		}
		return s.String()
	}
	const mb = 1 << 20
	texts := []struct{ name, text string }{
		{"markdown", markdown(mb)},
		{"base64", base64(mb)},
		{"hostile/letters", letters(10 * mb)},
		{"hostile/one-letter", strings.Repeat("a", 10*mb)},
		{"hostile/spaces", strings.Repeat(" ", 10*mb)},
		{"hostile/newline-then-spaces", strings.Repeat("\n ", 5*mb)},
		{"hostile/dashes", strings.Repeat("-", 10*mb)},
		{"hostile/chinese", chinese(10 * mb)},
		{"hostile/upper-and-marks", strings.Repeat("A\u0301", 3*mb)},
		{"hostile/bytes", strings.Repeat("\xff\xfe", 5*mb)},
	}
	for _, name := range names {
		e := mustLoad(b, name)
		for _, t := range texts {
			b.Run(name+"/"+t.name, func(b *testing.B) {
				b.SetBytes(int64(len(t.text)))
				n := 0
				for b.Loop() {
					n = e.Count(t.text)
				}
				b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mtoken/s")
			})
		}
	}
}

func BenchmarkEnds(b *testing.B) {
	text := markdown(1 << 20)
	for _, name := range names {
		e := mustLoad(b, name)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			var ends []int
			for b.Loop() {
				ends = e.Ends(ends[:0], text)
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, name := range names {
		e := mustLoad(b, name)
		merges := cl100kMerges
		if name == "o200k_base" {
			merges = o200kMerges
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := load(name, merges, e.piece); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
