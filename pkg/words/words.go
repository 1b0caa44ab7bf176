// Package words is the analysis of words, for the index and for the lexical
// embedder alike.
//
//   - Splitter parts a text into words, and into runs of scripts that write no
//     spaces, of which every two neighbours are a word.
//   - Detect says which language a text is in.
//   - Analyzer turns texts and queries into the terms that keyword search compares:
//     stems of lower-cased words without accents, by the Snowball stemmer of the
//     language.
//   - Light is the stemmer of the lexical embedder.
package words

import (
	"cmp"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/blevesearch/snowballstem"
	"golang.org/x/text/unicode/norm"
)

// Key stands for a term: 40 bits of its hash. Among a million terms one pair
// is expected to share a key in two indexes out of five, and then a query for
// one of them finds the other too.
type Key uint64

const keyBits = 40

// Term is a term of one text with its weight: Key<<8 | weight, where weight
// counts occurrences in halves, up to 255.
type Term uint64

// Key returns the term's key.
func (t Term) Key() Key { return Key(t >> 8) }

// Weight returns how often the term occurs, in halves.
func (t Term) Weight() int { return int(t & 0xFF) }

// MakeTerm returns the term of key with a weight in halves.
func MakeTerm(k Key, weight int) Term { return Term(k)<<8 | Term(min(weight, 0xFF)) }

// Merge returns the terms of a and b together. Both ascend by key, and so does it.
func Merge(a, b []Term) []Term {
	out := make([]Term, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch ka, kb := a[0].Key(), b[0].Key(); {
		case ka < kb:
			out, a = append(out, a[0]), a[1:]
		case ka > kb:
			out, b = append(out, b[0]), b[1:]
		default:
			out = append(out, MakeTerm(ka, a[0].Weight()+b[0].Weight()))
			a, b = a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// Weights of the places a word can stand in, in halves of an occurrence in the
// text: a chunk under the heading "Refunds" is more about refunds than one
// that mentions them once.
const (
	InText    = 2
	InHeading = 4
	InTitle   = 4
	InName    = 3
)

const (
	// stemmedBytes bounds what is stemmed and remembered; no English word is longer.
	stemmedBytes = 32
	// rememberedTokens bounds the memory of an Analyzer to a few megabytes.
	rememberedTokens = 1 << 16
)

// Analyzer finds the terms of texts. It is not safe for concurrent use.
type Analyzer struct {
	split Splitter
	lang  *language
	seen  map[*language]map[string]stem
	known int // words in seen
	env   *snowballstem.Env
	terms []Term
	count int
}

// stem is what is known of a word in a language.
type stem struct {
	key  Key
	bare Key // of the stem of the word without its accents, if that is another; else key
	stop bool
}

// NewAnalyzer returns an Analyzer. It gets faster as it learns words, so it
// should be kept, in a Pool.
func NewAnalyzer() *Analyzer {
	a := &Analyzer{seen: make(map[*language]map[string]stem), env: snowballstem.NewEnv("")}
	a.lang = languageOf(English)
	return a
}

// Use says which language what is added next is in, until the next Take: a code of
// ISO 639-1. Without it, and without a stemmer for it, it is English.
func (a *Analyzer) Use(code string) { a.lang = languageOf(code) }

// splitter returns what finds the words of the language in use.
func (a *Analyzer) splitter() *Splitter {
	a.split.Elides, a.split.Dotless = a.lang.elides, a.lang.dotless
	return &a.split
}

// Add adds the words of text, each with the given weight.
func (a *Analyzer) Add(text string, weight int) {
	w := Term(min(weight, 0xFF))
	a.splitter().Split(text, func(token []byte, ascii bool, _ int) {
		s := a.stem(token, ascii)
		a.terms = append(a.terms, Term(s.key)<<8|w)
		if s.bare != s.key {
			a.terms = append(a.terms, Term(s.bare)<<8|w)
		}
		a.count++
	}, func(run string, _ int) {
		pairs(norm.NFKC.String(run), true, func(token string) {
			a.terms = append(a.terms, Term(a.stem([]byte(token), false).bare)<<8|w)
			a.count++
		})
	})
}

// Take returns the terms added since the last Take, in ascending order of
// their keys, and how many words there were. The result is valid until the
// next Add.
func (a *Analyzer) Take() (terms []Term, count int) {
	terms, count = a.terms, a.count
	a.terms, a.count, a.lang = a.terms[:0], 0, languageOf(English)
	slices.Sort(terms)
	n := 0
	for _, t := range terms {
		if n > 0 && terms[n-1].Key() == t.Key() {
			terms[n-1] = MakeTerm(t.Key(), terms[n-1].Weight()+t.Weight())
			continue
		}
		terms[n] = t
		n++
	}
	return terms[:n], count
}

// Asked is a key that a query looks for.
type Asked struct {
	Key Key
	// Word is the word of the query that it is a stem of, from 0. A word has one
	// key for each way that the languages stem it: they count as one.
	Word int
}

// Query returns the distinct keys to look for in texts of the given languages, and
// in those of no known one, ordered by word. A word that says little in a language
// is left out of it, unless there is nothing else in any.
func (a *Analyzer) Query(text string, codes ...string) []Asked {
	type place struct{ byte, pair int } // in the text, and in the run that begins there
	type found struct {
		at   place
		key  Key
		stop bool
	}
	var all []found
	var used []*language
	for _, code := range append([]string{English}, codes...) {
		l := languageOf(code)
		if slices.Contains(used, l) {
			continue
		}
		used = append(used, l)
		a.lang = l
		a.splitter().Split(text, func(token []byte, ascii bool, at int) {
			s := a.stem(token, ascii)
			all = append(all, found{place{at, 0}, s.key, s.stop})
			if s.bare != s.key { // a text may lack the accents of its query: EDUCACION
				all = append(all, found{place{at, 0}, s.bare, s.stop})
			}
		}, func(run string, at int) {
			n := 0 // each pair is a word
			pairs(norm.NFKC.String(run), false, func(token string) {
				all = append(all, found{place{at, n}, a.stem([]byte(token), false).bare, false})
				n++
			})
		})
	}
	a.lang = languageOf(English)
	telling := slices.ContainsFunc(all, func(f found) bool { return !f.stop })
	slices.SortStableFunc(all, func(x, y found) int {
		return cmp.Or(cmp.Compare(x.at.byte, y.at.byte), cmp.Compare(x.at.pair, y.at.pair))
	})
	var asked []Asked
	word := make(map[Key]int)
	places := make(map[place]int) // words
	next := 0
	for _, f := range all {
		if f.stop && telling {
			continue
		}
		n, placed := places[f.at]
		if same, ok := word[f.key]; ok {
			if !placed {
				places[f.at] = same
			}
			continue
		}
		if !placed {
			n = next
			places[f.at] = n
			next++
		}
		word[f.key] = n
		asked = append(asked, Asked{f.key, n})
	}
	slices.SortStableFunc(asked, func(x, y Asked) int { return cmp.Compare(x.Word, y.Word) })
	return asked
}

// pairs calls do for every two neighbours of a run of runes without spaces, and, if
// single, for each rune: texts have both, a query for more than one rune only pairs,
// since single ones match far too much.
func pairs(run string, single bool, do func(token string)) {
	Pairs(run, do)
	if !single {
		return
	}
	for at, size := 0, 0; at < len(run); at += size {
		if _, size = utf8.DecodeRuneInString(run[at:]); size < len(run) {
			do(run[at : at+size])
		}
	}
}

// stem works out what a token is in the language in use, and remembers it.
func (a *Analyzer) stem(token []byte, ascii bool) stem {
	seen := a.seen[a.lang]
	if s, ok := seen[string(token)]; ok {
		return s
	}
	if len(token) > stemmedBytes {
		k := hash(token)
		return stem{key: k, bare: k}
	}
	bare := token
	if !ascii {
		bare = fold(token)
	}
	var s stem
	stemmed := a.lang.snowball(a.env, string(bare))
	s.stop = a.lang.stopword(string(bare)) || a.lang.stopword(stemmed)
	s.bare = hash(stemmed)
	s.key = s.bare
	if !ascii && a.lang.code != English {
		// The endings of a language have its accents. Who asks leaves them out.
		s.key = hash(fold([]byte(a.lang.snowball(a.env, a.lang.spelled(string(norm.NFC.Bytes(token)))))))
	}
	if a.known >= rememberedTokens {
		clear(a.seen)
		a.known, seen = 0, nil
	}
	if seen == nil {
		seen = make(map[string]stem)
		a.seen[a.lang] = seen
	}
	a.known++
	seen[string(token)] = s
	return s
}

// plain are letters that Unicode does not take apart, by what is typed where they
// are missing, and the sigma that ends a word.
var plain = map[rune]string{
	'ß': "ss", 'æ': "ae", 'œ': "oe", 'ø': "o", 'đ': "d", 'ð': "d", 'þ': "th", 'ħ': "h", 'ł': "l", 'ı': "i", 'ŧ': "t", 'ŋ': "n", 'ς': "σ",
}

// fold takes compatibility forms and the accents of Latin, Greek and Cyrillic
// letters away. In other scripts marks are vowels, and stay.
func fold(token []byte) []byte {
	folded := make([]byte, 0, len(token))
	accents := false
	for _, r := range string(norm.NFKD.Bytes(token)) {
		if unicode.IsMark(r) && accents {
			continue
		}
		accents = unicode.In(r, unicode.Latin, unicode.Greek, unicode.Cyrillic)
		r = unicode.ToLower(r)
		if as := plain[r]; as != "" {
			folded = append(folded, as...)
		} else {
			folded = utf8.AppendRune(folded, r)
		}
	}
	return folded
}

// hash is FNV-1a, folded to the bits of a Key.
func hash[T []byte | string](b T) Key {
	h := uint64(14695981039346656037)
	for i := range len(b) {
		h = (h ^ uint64(b[i])) * 1099511628211
	}
	return Key((h >> keyBits) ^ h&(1<<keyBits-1))
}
