package words

import (
	"strings"
	"sync"

	"github.com/blevesearch/snowballstem"
	"github.com/blevesearch/snowballstem/arabic"
	"github.com/blevesearch/snowballstem/danish"
	"github.com/blevesearch/snowballstem/dutch"
	"github.com/blevesearch/snowballstem/english"
	"github.com/blevesearch/snowballstem/finnish"
	"github.com/blevesearch/snowballstem/french"
	"github.com/blevesearch/snowballstem/german"
	"github.com/blevesearch/snowballstem/hungarian"
	"github.com/blevesearch/snowballstem/irish"
	"github.com/blevesearch/snowballstem/italian"
	"github.com/blevesearch/snowballstem/norwegian"
	"github.com/blevesearch/snowballstem/portuguese"
	"github.com/blevesearch/snowballstem/romanian"
	"github.com/blevesearch/snowballstem/russian"
	"github.com/blevesearch/snowballstem/spanish"
	"github.com/blevesearch/snowballstem/swedish"
	"github.com/blevesearch/snowballstem/tamil"
	"github.com/blevesearch/snowballstem/turkish"
)

// English is the language of texts whose own is not known, or has no stemmer.
const English = "en"

// language is what is known of a language with a stemmer.
type language struct {
	code string
	stem func(*snowballstem.Env) bool
	// elides and dotless are as in a Splitter.
	elides, dotless bool

	stop map[string]struct{}
}

// languages are those that Snowball has stemmers for, by ISO 639-1.
var languages = sync.OnceValue(func() map[string]*language {
	all := make(map[string]*language)
	env := snowballstem.NewEnv("")
	for _, l := range []*language{
		{code: "ar", stem: arabic.Stem},
		{code: "da", stem: danish.Stem},
		{code: "de", stem: german.Stem},
		{code: English, stem: english.Stem},
		{code: "es", stem: spanish.Stem},
		{code: "fi", stem: finnish.Stem},
		{code: "fr", stem: french.Stem, elides: true},
		{code: "ga", stem: irish.Stem},
		{code: "hu", stem: hungarian.Stem},
		{code: "it", stem: italian.Stem, elides: true},
		{code: "nl", stem: dutch.Stem},
		{code: "no", stem: norwegian.Stem},
		{code: "pt", stem: portuguese.Stem},
		{code: "ro", stem: romanian.Stem},
		{code: "ru", stem: russian.Stem},
		{code: "sv", stem: swedish.Stem},
		{code: "ta", stem: tamil.Stem},
		{code: "tr", stem: turkish.Stem, dotless: true},
	} {
		l.stop = make(map[string]struct{})
		for w := range strings.FieldsSeq(common[l.code]) {
			bare := string(fold([]byte(w)))
			l.stop[bare] = struct{}{}
			l.stop[l.snowball(env, bare)] = struct{}{} // other forms of it say no more
		}
		all[l.code] = l
	}
	return all
})

// Language returns the code by which a language is known here, from a tag such as
// "de-AT" or "nb": "" if it has no stemmer.
func Language(tag string) string {
	code, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(tag)), "-")
	code, _, _ = strings.Cut(code, "_")
	if code == "nb" || code == "nn" {
		code = "no"
	}
	if languages()[code] == nil {
		return ""
	}
	return code
}

// languageOf returns what is known of a language; English if that is nothing.
func languageOf(code string) *language {
	if l := languages()[code]; l != nil {
		return l
	}
	return languages()[English]
}

// snowball stems a word.
func (l *language) snowball(env *snowballstem.Env, word string) string {
	if len(word) <= 2 {
		return word
	}
	env.SetCurrent(word)
	l.stem(env)
	return env.Current()
}

// spelled writes a word as the stemmer expects it.
func (l *language) spelled(word string) string {
	if l.code == "ru" { // both spellings are in use
		return strings.ReplaceAll(word, "ё", "е")
	}
	return word
}

// stopword reports whether a folded word says nothing about what a text in that
// language is about.
func (l *language) stopword(folded string) bool {
	_, is := l.stop[folded]
	return is
}
