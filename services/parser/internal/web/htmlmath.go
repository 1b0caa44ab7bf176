package web

import (
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"sluice/services/parser/internal/md"
	"sluice/services/parser/internal/office"
)

// localName returns the name of an element without the prefix that XHTML may give it.
func localName(n *html.Node) string { return n.Data[strings.IndexByte(n.Data, ':')+1:] }

// math writes a formula as LaTeX: as its author wrote it, else from its MathML.
func (w *htmlWriter) math(n *html.Node) {
	tex := find(n, func(c *html.Node) bool {
		return c.Type == html.ElementNode && localName(c) == "annotation" && strings.Contains(attr(c, "encoding"), "tex")
	})
	s := ""
	if tex != nil {
		s = md.Line(textOf(tex))
	} else {
		s = md.Line(mathOf(n).Latex())
	}
	switch {
	case s == "":
		if alt := md.Line(attr(n, "alttext")); alt != "" {
			w.text(alt)
		}
	case attr(n, "display") == "block" && !w.flat:
		w.lines("$$" + s + "$$")
	default:
		w.raw("$" + s + "$")
	}
}

// mathOf returns an element of MathML as the reader of formulas has it.
func mathOf(n *html.Node) *office.MathML {
	m := &office.MathML{Name: localName(n), Attr: func(name string) string { return attr(n, name) }}
	var text strings.Builder
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		switch c.Type {
		case html.TextNode:
			text.WriteString(c.Data)
		case html.ElementNode:
			m.Kids = append(m.Kids, mathOf(c))
		}
	}
	m.Text = text.String()
	return m
}

func isDrawnText(n *html.Node) bool { return n.Namespace == "svg" && n.Data == "text" }

// drawing writes the words of a drawing, one after the other.
func (w *htmlWriter) drawing(n *html.Node) {
	for c := range n.Descendants() {
		if isDrawnText(c) {
			w.space = true
			w.text(md.Line(textOf(c)))
			w.space = true
		}
	}
}

// raised writes the children of n where they are raised: powers as 10^6, the
// numbers of notes as they are.
func (w *htmlWriter) raised(n *html.Node) {
	s := md.Line(textOf(n))
	before := w.before()
	switch {
	case s == "" || before == "":
	case find(n, func(c *html.Node) bool { return c.DataAtom == atom.A }) != nil:
		// The number of a note must not become a digit of a number.
		if strings.ContainsAny(before[len(before)-1:], "0123456789") && strings.Trim(s, "0123456789") == "" {
			w.raw(`\[`)
			w.children(n)
			w.raw(`\]`)
			return
		}
	default:
		mark, end := md.Power(before, s)
		w.raw(mark)
		w.children(n)
		w.raw(end)
		return
	}
	w.children(n)
}

// lowered writes the children of n where they are lowered: 10_2, not 102.
func (w *htmlWriter) lowered(n *html.Node) {
	if md.IsIndex(w.before(), md.Line(textOf(n))) {
		w.raw("_")
	}
	w.children(n)
}

// before returns the end of the line so far, without marks of emphasis; nothing if
// the next text does not follow it at once.
func (w *htmlWriter) before() string {
	const near = 16
	if w.gap > 0 || w.breaks > 0 || w.space || len(w.out) == 0 || w.linkEnd == len(w.out) {
		return ""
	}
	return strings.TrimRight(strings.ToValidUTF8(string(w.out[max(0, len(w.out)-near):]), ""), "*~")
}
