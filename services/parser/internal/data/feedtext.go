package data

import (
	"html"
	"regexp"
	"strings"
	"unicode"

	"sluice/services/parser/internal/md"
)

// value returns the text of an element. Atom says what it is; elsewhere it is HTML
// if it has an element of HTML, written as text or not.
func (n *feedNode) value() feedText {
	kind := feedAttr(n.Attrs, "type")
	switch {
	case len(n.Kids) > 0:
		return feedText{n.Inner, true}
	case n.XMLName.Space == atomSpace && (kind == "" || kind == "text" || kind == "text/plain"):
		return feedText{n.Text, false}
	}
	return feedText{n.Text, kind == "html" || kind == "text/html" || n.XMLName.Space == atomSpace || hasHTML(n.Text)}
}

// titleText returns a title. Few elements can be in one; anything else in angle
// brackets is meant as it stands: List<String>.
func (n *feedNode) titleText() feedText {
	t := n.value()
	if !t.html || len(n.Kids) > 0 || feedAttr(n.Attrs, "type") != "" {
		return t
	}
	for _, m := range tagName.FindAllStringSubmatch(t.text, -1) {
		if !inTitles[strings.ToLower(m[1])] {
			return feedText{t.text, false}
		}
	}
	return t
}

var (
	tagName  = regexp.MustCompile(`</?([A-Za-z][A-Za-z0-9]*)(?:[\s/][^<>]*)?>`)
	inTitles = set("a abbr b big bdi br cite code del em font i img ins kbd mark q s samp small span strike strong sub sup tt u var wbr")
	ofHTML   = set("a abbr address article aside audio b blockquote body br button canvas caption center cite code dd del details div dl dt em embed " +
		"figcaption figure font footer form h1 h2 h3 h4 h5 h6 header hr html i iframe img input ins kbd li main mark nav noscript object ol p picture pre q s " +
		"samp script section small source span strike strong style sub summary sup svg table tbody td tfoot th thead time tr tt u ul var video")
)

// hasHTML reports whether a text has an element of HTML.
func hasHTML(s string) bool {
	for _, m := range tagName.FindAllStringSubmatch(s, -1) {
		if ofHTML[strings.ToLower(m[1])] {
			return true
		}
	}
	return false
}

// plain returns a text without markup.
func (t feedText) plain() string {
	if t.html {
		return md.Line(html.UnescapeString(tagName.ReplaceAllString(t.text, "")))
	}
	return md.Line(t.text)
}

// once returns a list without what came before.
func once(list []string) (out []string) {
	seen := map[string]bool{}
	for _, s := range list {
		if key := words(s); !seen[key] {
			seen[key] = true
			out = append(out, s)
		}
	}
	return out
}

// words folds Markdown to its letters and digits, without the addresses of links.
func words(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, destination.ReplaceAllString(s, "]"))
}

var destination = regexp.MustCompile(`\]\([^()\s]*\)`)

// says reports whether a text, as words has it, has all words of Markdown in their order.
func says(have, s string) bool { return strings.Contains(have, words(s)) }

// mostCompared bounds how many texts of an entry are looked for in the others;
// what comes after them is kept, whether it is said or not.
const mostCompared = 32

// goesOn ends an excerpt.
var goesOn = regexp.MustCompile(`(?i)(?:\s*(?:\\?\[?\s*(?:…|\.\.\.)\s*\\?\]?|\[?(?:read|continue|learn) (?:more|reading)[^\n]{0,80}))+\s*$`)

// unsaid returns the paragraphs of a summary that a text, as words has it, does not
// say: mostly a summary is its beginning, or all of it.
func unsaid(summary, have string) string {
	if strings.Contains(summary, "```") {
		if says(have, summary) {
			return ""
		}
		return summary
	}
	var left []string
	for part := range strings.SplitSeq(summary, "\n\n") {
		said := strings.Contains(have, words(goesOn.ReplaceAllString(part, "")))
		if !said || have == "" {
			left = append(left, part)
		}
	}
	return strings.TrimSpace(strings.Join(left, "\n\n"))
}
