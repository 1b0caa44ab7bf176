// Package bench measures Sluice from outside: the whole pipeline in one process
// and as separate processes, beside a plain JetStream relay of the same
// messages, which is the least that any pipeline on JetStream can cost.
//
//	go test -run '^$' -bench . -benchtime 1x ./bench
package bench

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Corpus returns n Markdown documents of about 10 kB, the same ones every time:
// headings, paragraphs, lists, tables and code in the proportions of technical
// documentation.
func Corpus(n int) []string {
	docs := make([]string, n)
	for i := range docs {
		docs[i] = document(rand.New(rand.NewPCG(uint64(i), 1)))
	}
	return docs
}

const size = 10_000

func document(r *rand.Rand) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n", title(r))
	for b.Len() < size {
		switch n := r.IntN(20); {
		case n < 3:
			fmt.Fprintf(&b, "%s %s\n\n", strings.Repeat("#", 2+r.IntN(3)), title(r))
		case n < 13:
			for range 2 + r.IntN(5) {
				b.WriteString(sentence(r) + " ")
			}
			b.WriteString("\n\n")
		case n < 16:
			for range 3 + r.IntN(5) {
				fmt.Fprintf(&b, "- %s\n", sentence(r))
			}
			b.WriteByte('\n')
		case n < 18:
			b.WriteString("```go\n")
			for range 4 + r.IntN(10) {
				fmt.Fprintf(&b, "\tif %s := %s(%d); %s != nil {\n", word(r), word(r), r.IntN(1000), word(r))
			}
			b.WriteString("```\n\n")
		default:
			b.WriteString("| name | value | meaning |\n| --- | --- | --- |\n")
			for range 3 + r.IntN(8) {
				fmt.Fprintf(&b, "| %s | %d | %s |\n", word(r), r.IntN(10_000), title(r))
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func title(r *rand.Rand) string {
	words := make([]string, 2+r.IntN(4))
	for i := range words {
		words[i] = word(r)
	}
	words[0] = strings.ToUpper(words[0][:1]) + words[0][1:]
	return strings.Join(words, " ")
}

func sentence(r *rand.Rand) string {
	words := make([]string, 6+r.IntN(14))
	for i := range words {
		words[i] = word(r)
		if r.IntN(12) == 0 && i < len(words)-1 {
			words[i] += ","
		}
	}
	words[0] = strings.ToUpper(words[0][:1]) + words[0][1:]
	return strings.Join(words, " ") + "."
}

// word draws from a vocabulary with the skew of natural text: a few words are
// frequent, most are rare.
func word(r *rand.Rand) string {
	f := r.Float64()
	return vocabulary[int(f*f*f*float64(len(vocabulary)))]
}

var vocabulary = strings.Fields(`the of and to in a is that for it as with be on by this are or from
an at which not can when if has will all may have one used each other must also into only its but you these
more than such value set name time data file list type use first new number given order same case line system
service message stage stream document chunk index budget limit window gate water level vessel lock keeper
harbour signal schedule inspection pump valve channel notice report table record section operator supervisor
maintenance equipment procedure permission emergency pressure temperature threshold controller configuration
deployment replica redelivery acknowledgement correlation embedding tokenizer paragraph heading reference
navigation hydraulic sediment turbine measurement calibration certificate warehouse invoice delivery contract
insurance regulation environment infrastructure responsibility communication documentation authorization
specification implementation synchronization internationalization electromagnetic photosynthesis archaeological`)
