package words

import (
	"slices"
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
	// aLabel is how many common words one of the labels of forms stands for.
	aLabel = 2
	// leastShare is which share of its words they must be, in percent; running text
	// has 30 to 50.
	leastShare = 8
	// lead is how much more the best language must have than the next, in percent.
	lead = 15
)

// profile tells what words and letters say of a language, by index in codes.
type profile struct {
	codes   []string
	words   map[string]*evidence
	letters map[rune]*evidence // a word with such letters counts as a common one
}

// evidence is what a word counts, in each of the languages that have it.
type evidence struct {
	counts int
	in     []uint8
}

var profiles = sync.OnceValue(func() *profile {
	p := &profile{words: make(map[string]*evidence), letters: make(map[rune]*evidence)}
	for code := range common {
		p.codes = append(p.codes, code)
	}
	slices.Sort(p.codes)
	for i, code := range p.codes {
		n := uint8(i)
		add := func(w string, counts int) {
			e := p.words[w]
			if e == nil {
				e = &evidence{counts: counts}
				p.words[w] = e
			}
			if len(e.in) == 0 || e.in[len(e.in)-1] != n {
				e.in = append(e.in, n)
			}
			e.counts = min(e.counts, counts) // common in one of them
		}
		for w := range strings.FieldsSeq(common[code]) {
			add(w, 1)
		}
		for w := range strings.FieldsSeq(labels[code]) {
			add(w, aLabel)
		}
		for _, r := range telling[code] {
			if p.letters[r] == nil {
				p.letters[r] = &evidence{counts: 1}
			}
			p.letters[r].in = append(p.letters[r].in, n)
		}
	}
	return p
})

// Detect returns the language that a text is written in, if it is one that there is
// a stemmer for and enough of its words are there to tell: common ones, labels of
// forms, and words with a letter that only this language has; else "". It looks at a
// bounded part of the text.
func Detect(text string) string {
	p := profiles()
	score := make([]float64, len(p.codes))
	hits := make([]int, len(p.codes))
	total, tamil := 0, 0
	var word []byte
	var letter *evidence // of the letters of the word; nothing if they disagree
	nothing := &evidence{}
	end := func() {
		if len(word) == 0 {
			return
		}
		total++
		e := p.words[string(word)]
		if e == nil {
			e = letter
		}
		if e != nil {
			for _, i := range e.in {
				score[i] += float64(e.counts) / float64(len(e.in))
				hits[i] += e.counts
			}
		}
		word, letter = word[:0], nil
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
				r = unicode.ToLower(r)
				word = utf8.AppendRune(word, r)
				if e := p.letters[r]; letter == nil {
					letter = e
				} else if e != nil && !slices.Equal(e.in, letter.in) {
					letter = nothing
				}
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
		case best < 0 || score[i] > score[best]:
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
