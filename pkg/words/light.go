package words

import (
	"bytes"
	"strings"
	"sync"
	"unicode/utf8"
)

// lightStop are the words that the lexical embedder leaves out. Its vectors depend on
// exactly these.
const lightStop = `
a about above after again against all am an and any are as at be because been before being below between both but by can cannot could did do
does doing down during each few for from further had has have having he her here hers herself him himself his how i if in into is it its
itself just me more most my myself no nor not now of off on once only or other our ours ourselves out over own same she should so some such
than that the their theirs them themselves then there these they this those through to too under until up very was we were what when where
which while who whom why will with would you your yours yourself yourselves dont doesnt didnt isnt arent wasnt werent wont cant couldnt
shouldnt wouldnt im youre hes shes theyre weve ive youve theyve id youd theyd ill youll theyll thats whats lets also may might must shall
upon within without among per via etc`

var lightStops = sync.OnceValue(func() map[string]struct{} {
	set := make(map[string]struct{})
	for w := range strings.FieldsSeq(lightStop) {
		set[w] = struct{}{}
	}
	return set
})

// LightStop reports whether a word in lower case is one that Light is not asked for:
// it says nothing about what an English text is about.
func LightStop(word []byte) bool {
	_, is := lightStops()[string(word)]
	return is
}

// Light cuts English endings off the lower-case token, in place, so that the
// forms of a word fall together. The result need not be a word.
func Light(w []byte) []byte {
	if len(w) <= 3 || !isASCII(w) {
		return w
	}
	w = cutPlural(w)
	w = cutParticiple(w)
	w = cutSuffix(w)
	if n := len(w); n > 4 && w[n-1] == 'e' {
		w = w[:n-1]
	}
	return w
}

func isASCII(w []byte) bool {
	for _, b := range w {
		if b >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func ends(w []byte, suffix string) bool {
	return len(w) >= len(suffix) && string(w[len(w)-len(suffix):]) == suffix
}

func cutPlural(w []byte) []byte {
	n := len(w)
	if w[n-1] != 's' {
		return w
	}
	switch {
	case n > 4 && ends(w, "ies"):
		return append(w[:n-3], 'y')
	case ends(w, "sses"):
		return w[:n-2]
	case n > 4 && (ends(w, "xes") || ends(w, "ches") || ends(w, "shes") || ends(w, "zes")):
		return w[:n-2]
	case ends(w, "ss"), ends(w, "us"), ends(w, "is"):
		return w
	}
	return w[:n-1]
}

func cutParticiple(w []byte) []byte {
	n := len(w)
	var rest []byte
	switch {
	case n > 5 && ends(w, "ing"):
		rest = w[:n-3]
	case n > 4 && ends(w, "ed"):
		rest = w[:n-2]
	default:
		return w
	}
	if !bytes.ContainsAny(rest, "aeiouy") {
		return w
	}
	if n := len(rest); n > 3 && rest[n-1] == rest[n-2] {
		switch b := rest[n-1]; {
		case b < 'a': // a digit
		case b == 'l', b == 's', b == 'z': // "fall", "pass", "buzz"
		default:
			rest = rest[:n-1]
		}
	}
	return rest
}

// suffixes are tried in order; the first that fits is replaced.
var suffixes = [...]struct{ from, to string }{
	{"ization", "ize"},
	{"ational", "ate"},
	{"fulness", "ful"},
	{"iveness", "ive"},
	{"ation", "at"},
	{"ition", "it"},
	{"ment", ""},
	{"ness", ""},
	{"ally", "al"},
	{"ly", ""},
	{"ity", ""},
}

func cutSuffix(w []byte) []byte {
	n := len(w)
	switch w[n-1] { // no other letter ends a suffix
	case 'n', 'l', 's', 't', 'y':
	default:
		return w
	}
	for _, s := range suffixes {
		if before := n - len(s.from); before >= 4 && ends(w, s.from) {
			return append(w[:before], s.to...)
		}
	}
	return w
}
