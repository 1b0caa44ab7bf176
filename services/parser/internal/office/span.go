package office

import (
	"strings"

	"sluice/services/parser/internal/md"
)

// Style is how a span of text looks, as far as Markdown can say it.
type Style uint8

const (
	Bold Style = 1 << iota
	Italic
	Strike
	Mono
	Raw // finished Markdown: an image, a note's mark, an equation
	Raised
	Lowered
)

// Span is text of one look within a paragraph. Line breaks in it are "\n".
type Span struct {
	Text  string
	Style Style
	Href  string
}

// Inline returns spans as Markdown. Plain leaves emphasis out, where all of the
// text stands out anyway (headings).
func Inline(spans []Span, plain bool) string {
	spans = scripts(spans)
	var b strings.Builder
	for i := 0; i < len(spans); {
		j := i + 1
		for j < len(spans) && spans[j].Href == spans[i].Href {
			j++
		}
		s := looks(spans[i:j], plain)
		if href := SafeURL(spans[i].Href); href != "" && strings.TrimSpace(s) != "" {
			inner := strings.TrimSpace(s)
			at := strings.Index(s, inner)
			s = s[:at] + md.Link(inner, href) + s[at+len(inner):]
		}
		b.WriteString(s)
		i = j
	}
	return Tidy(b.String())
}

// looks returns spans of one link. Runs of the same look become one, also over
// white space, which has none: editors split runs at every edit.
func looks(spans []Span, plain bool) string {
	var b, text strings.Builder
	var now Style
	flush := func() {
		b.WriteString(dress(text.String(), now))
		text.Reset()
	}
	for _, s := range spans {
		look := s.Style
		if plain {
			look &^= Bold | Italic
		}
		blank := look&Raw == 0 && strings.TrimSpace(s.Text) == ""
		if look != now && !(blank && now&(Raw|Mono) == 0) {
			flush()
			now = look
		}
		text.WriteString(s.Text)
	}
	flush()
	return b.String()
}

// dress returns text in one look as Markdown.
func dress(text string, look Style) string {
	if look&Raw != 0 || strings.TrimSpace(text) == "" {
		return text
	}
	if look&Mono != 0 {
		inner := strings.TrimSpace(text)
		at := strings.Index(text, inner)
		return text[:at] + md.Code(inner) + text[at+len(inner):]
	}
	text = md.EscapeInline(text)
	if look&Italic != 0 {
		text = md.Emphasis(text)
	}
	if look&Bold != 0 {
		text = md.Strong(text)
	}
	if look&Strike != 0 {
		text = md.Strike(text)
	}
	return text
}

// Tidy folds white space and keeps line breaks as hard breaks.
func Tidy(s string) string {
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

// SafeURL returns a link's target, or "" if nobody should follow it.
func SafeURL(href string) string {
	href = strings.TrimSpace(href)
	scheme, _, _ := strings.Cut(strings.ToLower(href), ":")
	switch scheme {
	case "javascript", "vbscript", "data":
		return ""
	}
	return href
}

// ListingText returns spans as they stand, for code.
func ListingText(spans []Span) string {
	return strings.TrimRight(SpanText(spans), " \t\n")
}

// SpanText returns spans as they stand.
func SpanText(spans []Span) string {
	var b strings.Builder
	for _, s := range scripts(spans) {
		b.WriteString(s.Text)
	}
	return b.String()
}

// scripts writes what is raised or lowered so that it cannot be misread: 10 with
// a raised 6 is 10^6 and not 106, 101 with a lowered 2 is 101_2.
func scripts(spans []Span) []Span {
	const both = Raised | Lowered
	found := false
	for _, s := range spans {
		found = found || s.Style&both != 0
	}
	if !found {
		return spans
	}
	out := make([]Span, 0, len(spans))
	for i := 0; i < len(spans); {
		how := spans[i].Style & both
		from := len(out)
		var text strings.Builder
		for ; i < len(spans) && spans[i].Style&both == how; i++ { // editors split runs at every edit
			s := spans[i]
			s.Style &^= both
			text.WriteString(s.Text)
			out = append(out, s)
		}
		switch {
		case how == 0 || out[from].Style&Raw != 0:
		case how == Raised:
			if mark, end := power(out[:from], strings.TrimSpace(text.String())); mark != "" {
				out[from].Text = mark + strings.TrimLeft(out[from].Text, " ")
				out[len(out)-1].Text += end
			}
		case how == Lowered && from > 0 && md.IsIndex(out[from-1].Text, strings.TrimSpace(text.String())):
			out[from].Text = "_" + strings.TrimLeft(out[from].Text, " ")
		}
	}
	return out
}

// power returns what is written around raised text after spans, as md.Power does.
func power(spans []Span, raised string) (mark, end string) {
	if len(spans) == 0 {
		return "", ""
	}
	return md.Power(spans[len(spans)-1].Text, raised)
}
