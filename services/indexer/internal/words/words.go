// Package words turns text into the terms that keyword search compares: stems
// of lower-cased words without accents, and single runes and pairs of runes in
// scripts that write no spaces.
package words

import (
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/blevesearch/snowballstem"
	"github.com/blevesearch/snowballstem/english"
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
	token []byte
	ascii bool // token is
	seen  map[string]Key
	env   *snowballstem.Env
	terms []Term
	count int
	query bool
}

// NewAnalyzer returns an Analyzer. It gets faster as it learns words, so it
// should be kept, in a Pool.
func NewAnalyzer() *Analyzer {
	return &Analyzer{ascii: true, seen: make(map[string]Key), env: snowballstem.NewEnv("")}
}

// Add adds the words of text, each with the given weight.
func (a *Analyzer) Add(text string, weight int) { a.scan(text, Term(min(weight, 0xFF))) }

// Take returns the terms added since the last Take, in ascending order of
// their keys, and how many words there were. The result is valid until the
// next Add.
func (a *Analyzer) Take() (terms []Term, count int) {
	terms, count = a.terms, a.count
	a.terms, a.count = a.terms[:0], 0
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

// Query returns the distinct keys to look for, in ascending order. Stopwords
// are left out unless there is nothing else.
func (a *Analyzer) Query(text string) []Key {
	a.query = true
	a.scan(text, InText)
	a.query = false
	terms, _ := a.Take()
	keys := make([]Key, len(terms))
	for i, t := range terms {
		keys[i] = t.Key()
	}
	telling := slices.DeleteFunc(slices.Clone(keys), func(k Key) bool { _, stop := stopKeys()[k]; return stop })
	if len(telling) == 0 {
		return keys
	}
	return telling
}

// unspaced holds the scripts that put no spaces between words.
var unspaced = []*unicode.RangeTable{
	unicode.Han, unicode.Hiragana, unicode.Katakana,
	unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar,
}

func isUnspaced(r rune) bool {
	const thai, katakanaLong, halfwidthLong = 0x0E01, 'ー', 'ｰ'
	return r >= thai && (r == katakanaLong || r == halfwidthLong || unicode.In(r, unspaced...))
}

// lower maps ASCII letters and digits to lower case, everything else to 0.
var lower = func() (t [utf8.RuneSelf]byte) {
	for c := range t {
		switch b := byte(c); {
		case '0' <= b && b <= '9', 'a' <= b && b <= 'z':
			t[c] = b
		case 'A' <= b && b <= 'Z':
			t[c] = b + 'a' - 'A'
		}
	}
	return t
}()

func (a *Analyzer) scan(text string, weight Term) {
	for i := 0; i < len(text); {
		if b := text[i]; b < utf8.RuneSelf {
			i++
			if l := lower[b]; l != 0 {
				a.token = append(a.token, l)
			} else if b != '\'' || len(a.token) == 0 || i == len(text) || !isLetter(text[i:]) {
				a.end(weight)
			}
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		i += size
		switch {
		case isUnspaced(r):
			a.end(weight)
			i += a.run(text[i-size:], weight) - size
		case unicode.IsLetter(r), unicode.IsNumber(r), unicode.IsMark(r) && len(a.token) > 0:
			a.token = utf8.AppendRune(a.token, unicode.ToLower(r))
			a.ascii = false
		case r == '’' && len(a.token) > 0 && isLetter(text[i:]):
		default:
			a.end(weight)
		}
	}
	a.end(weight)
}

func isLetter(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return unicode.IsLetter(r)
}

// run adds the runes of the unspaced run that text begins with, and every two
// neighbours. A query leaves the single runes out where there are pairs: they
// match far too much. It returns the bytes of the run.
func (a *Analyzer) run(text string, weight Term) int {
	previous, end, runes := 0, 0, 0
	for end < len(text) {
		r, size := utf8.DecodeRuneInString(text[end:])
		if runes > 0 && !isUnspaced(r) && !unicode.IsMark(r) {
			break
		}
		start := end
		end += size
		if runes > 0 {
			a.put(text[previous:end], weight)
		}
		if !a.query {
			a.put(text[start:end], weight)
		}
		previous = start
		runes++
	}
	if a.query && runes == 1 {
		a.put(text[:end], weight)
	}
	return end
}

func (a *Analyzer) put(token string, weight Term) {
	a.token, a.ascii = append(a.token[:0], token...), false
	a.end(weight)
}

// end adds the token in hand, if there is one.
func (a *Analyzer) end(weight Term) {
	if len(a.token) == 0 {
		return
	}
	k, known := a.seen[string(a.token)]
	if !known {
		k = a.key()
	}
	a.terms = append(a.terms, Term(k)<<8|weight)
	a.count++
	a.token, a.ascii = a.token[:0], true
	// One token of a megabyte must not be paid for until the process ends.
	if cap(a.token) > 1<<16 {
		a.token = nil
	}
}

// key works out the key of the token in hand, and remembers it.
func (a *Analyzer) key() Key {
	if len(a.token) > stemmedBytes {
		return hash(a.token)
	}
	token := a.token
	if !a.ascii {
		token = fold(token)
	}
	word := string(token)
	if len(word) > 2 {
		a.env.SetCurrent(word)
		english.Stem(a.env)
		word = a.env.Current()
	}
	k := hash(word)
	if len(a.seen) >= rememberedTokens {
		clear(a.seen)
	}
	a.seen[string(a.token)] = k
	return k
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
		folded = utf8.AppendRune(folded, unicode.ToLower(r))
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
