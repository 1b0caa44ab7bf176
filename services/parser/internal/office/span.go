package office

import (
	"strings"

	"sluice/services/parser/internal/md"
)

// style is how a span of text looks, as far as Markdown can say it.
type style uint8

const (
	bold style = 1 << iota
	italic
	strike
	mono
	raw // finished Markdown: an image, a note's mark, an equation
)

// span is text of one look within a paragraph. Line breaks in it are "\n".
type span struct {
	text  string
	style style
	href  string
}

// inline returns spans as Markdown. Plain leaves emphasis out, where all of the
// text stands out anyway (headings).
func inline(spans []span, plain bool) string {
	var b strings.Builder
	for i := 0; i < len(spans); {
		j := i + 1
		for j < len(spans) && spans[j].href == spans[i].href {
			j++
		}
		s := looks(spans[i:j], plain)
		if href := safeURL(spans[i].href); href != "" && strings.TrimSpace(s) != "" {
			inner := strings.TrimSpace(s)
			at := strings.Index(s, inner)
			s = s[:at] + md.Link(inner, href) + s[at+len(inner):]
		}
		b.WriteString(s)
		i = j
	}
	return tidy(b.String())
}

// looks returns spans of one link. Runs of the same look become one, also over
// white space, which has none: editors split runs at every edit.
func looks(spans []span, plain bool) string {
	var b, text strings.Builder
	var now style
	flush := func() {
		b.WriteString(dress(text.String(), now))
		text.Reset()
	}
	for _, s := range spans {
		look := s.style
		if plain {
			look &^= bold | italic
		}
		blank := look&raw == 0 && strings.TrimSpace(s.text) == ""
		if look != now && !(blank && now&(raw|mono) == 0) {
			flush()
			now = look
		}
		text.WriteString(s.text)
	}
	flush()
	return b.String()
}

// dress returns text in one look as Markdown.
func dress(text string, look style) string {
	if look&raw != 0 || strings.TrimSpace(text) == "" {
		return text
	}
	if look&mono != 0 {
		inner := strings.TrimSpace(text)
		at := strings.Index(text, inner)
		return text[:at] + md.Code(inner) + text[at+len(inner):]
	}
	text = md.EscapeInline(text)
	if look&italic != 0 {
		text = md.Emphasis(text)
	}
	if look&bold != 0 {
		text = md.Strong(text)
	}
	if look&strike != 0 {
		text = md.Strike(text)
	}
	return text
}

// tidy folds white space and keeps line breaks as hard breaks.
func tidy(s string) string {
	if !strings.ContainsAny(s, "\n\t\r\u00a0\u00ad") && !strings.Contains(s, "  ") {
		return blockSafe(strings.TrimSpace(s))
	}
	s = strings.ReplaceAll(s, "\u00ad", "") // soft hyphens are not shown
	lines := strings.Split(s, "\n")
	kept := lines[:0]
	for _, l := range lines {
		if l = md.Line(l); l != "" {
			kept = append(kept, blockSafe(l))
		}
	}
	return strings.Join(kept, "  \n")
}

// blockSafe escapes what would make a paragraph a heading or a quotation. Lists
// and numbers that someone typed by hand stay: they are meant as such.
func blockSafe(s string) string {
	if s != "" && (s[0] == '>' || s[0] == '#') {
		return `\` + s
	}
	return s
}

// safeURL returns a link's target, or "" if nobody should follow it.
func safeURL(href string) string {
	href = strings.TrimSpace(href)
	scheme, _, _ := strings.Cut(strings.ToLower(href), ":")
	switch scheme {
	case "javascript", "vbscript", "data":
		return ""
	}
	return href
}

// listingText returns spans as they stand, for code.
func listingText(spans []span) string {
	var b strings.Builder
	for _, s := range spans {
		b.WriteString(s.text)
	}
	return strings.TrimRight(b.String(), " \t\n")
}
