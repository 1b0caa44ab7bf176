package words

import (
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

const (
	// sampleBytes bounds what of a text is looked at for its language, in
	// samplePieces from all over it.
	sampleBytes  = 12 << 10
	samplePieces = 6
	// leastHits is how many of a language's common words a text must have.
	leastHits = 4
	// leastShare is which share of its words they must be, in percent; running text
	// has 30 to 50.
	leastShare = 8
	// lead is how much more the best language must have than the next, in percent.
	lead = 15
)

// profile tells in which languages a word is common, by index in codes.
type profile struct {
	codes []string
	words map[string][]uint8
}

var profiles = sync.OnceValue(func() *profile {
	p := &profile{words: make(map[string][]uint8)}
	for code, list := range common {
		n := uint8(len(p.codes))
		p.codes = append(p.codes, code)
		for w := range strings.FieldsSeq(list) {
			if in := p.words[w]; len(in) == 0 || in[len(in)-1] != n {
				p.words[w] = append(in, n)
			}
		}
	}
	return p
})

// Detect returns the language that a text is written in, if it is one that there is
// a stemmer for and enough of its common words are there to tell; else "". It
// looks at a bounded part of the text.
func Detect(text string) string {
	p := profiles()
	score := make([]float64, len(p.codes))
	hits := make([]int, len(p.codes))
	total, tamil := 0, 0
	var word []byte
	end := func() {
		if len(word) == 0 {
			return
		}
		total++
		in := p.words[string(word)]
		for _, i := range in {
			score[i] += 1 / float64(len(in))
			hits[i]++
		}
		word = word[:0]
	}
	for _, piece := range sample(text) {
		for _, r := range piece {
			switch {
			case r < utf8.RuneSelf && lower[r] >= 'a':
				word = append(word, lower[r])
			case r < utf8.RuneSelf:
				end()
			case isUnspaced(r):
				end()
				total++ // a script that writes no spaces is none of these languages
			case unicode.IsLetter(r) || unicode.IsMark(r):
				if len(word) == 0 && unicode.Is(unicode.Tamil, r) {
					tamil++
				}
				word = utf8.AppendRune(word, unicode.ToLower(r))
			default:
				end()
			}
		}
		end()
	}
	if tamil >= leastHits && 2*tamil > total {
		return "ta"
	}
	best, next := -1, -1
	for i := range p.codes {
		switch {
		case best < 0 || score[i] > score[best] || score[i] == score[best] && p.codes[i] < p.codes[best]:
			best, next = i, best
		case next < 0 || score[i] > score[next]:
			next = i
		}
	}
	if hits[best] < leastHits || 100*hits[best] < leastShare*total || 100*score[best] < (100+lead)*score[next] {
		return ""
	}
	return Language(p.codes[best])
}

// sample returns pieces from all over a text, whole words but for the ends.
func sample(text string) []string {
	if len(text) <= sampleBytes {
		return []string{text}
	}
	pieces := make([]string, 0, samplePieces)
	for i := range samplePieces {
		from := len(text) / samplePieces * i
		piece := text[from : from+sampleBytes/samplePieces]
		if j := strings.IndexByte(piece, ' '); j >= 0 {
			piece = piece[j:]
		}
		if j := strings.LastIndexByte(piece, ' '); j >= 0 {
			piece = piece[:j]
		}
		pieces = append(pieces, piece)
	}
	return pieces
}
