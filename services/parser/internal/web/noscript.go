package web

import (
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"sluice/services/parser/internal/format"
)

// unscripted shows what a page says in its noscript elements, and nowhere else: the
// picture that a program would load, the table that it would draw. Left out is
// what asks to turn JavaScript on, and what counts visitors.
func (p *pruner) unscripted(body *html.Node) {
	const (
		notice = 200       // bytes: what is longer and names JavaScript may be about it
		enough = 512 << 10 // bytes of a page that are compared
	)
	var shown map[string]bool
	show := func(g string) { shown[g] = true }
	for _, n := range p.scripted {
		if n.Parent == nil {
			continue
		}
		around := &html.Node{Type: html.ElementNode, Data: "body", DataAtom: atom.Body}
		nodes, err := html.ParseFragmentWithOptions(strings.NewReader(textOf(n)), around, html.ParseOptionEnableScripting(false))
		if err != nil {
			continue
		}
		box := &html.Node{Type: html.ElementNode, Data: "span", DataAtom: atom.Span}
		for _, c := range nodes {
			box.AppendChild(c)
		}
		var counters []*html.Node
		for c := range box.Descendants() {
			if isCounter(c) {
				counters = append(counters, c)
			}
		}
		for _, c := range counters {
			c.Parent.RemoveChild(c)
		}
		text := spokenText(box)
		if inked(text) < notice && strings.Contains(strings.ToLower(text), "javascript") {
			continue
		}
		all := wordsOf(text)
		if len(all) == 0 {
			continue
		}
		if shown == nil {
			shown = map[string]bool{}
			grams(wordsOf(format.Clip(spokenText(body), enough)), show)
		}
		if !saysNew(all, shown) {
			continue
		}
		grams(all, show)
		if find(box, func(c *html.Node) bool { return isBlock(c.DataAtom) }) != nil {
			box.Data, box.DataAtom = "div", atom.Div
		}
		n.Parent.InsertBefore(box, n)
		p.walk(box, place{article: true})
	}
}

// saysNew reports whether words are not all shown in runs of three.
func saysNew(words []string, shown map[string]bool) (isNew bool) {
	if len(words) < 3 {
		return !shown[strings.Join(words, " ")]
	}
	grams(words, func(g string) { isNew = isNew || strings.Count(g, " ") == 2 && !shown[g] })
	return isNew
}

// isCounter reports whether a picture is there to be fetched, not to be seen.
func isCounter(n *html.Node) bool {
	return n.DataAtom == atom.Img && (hides(n) || isTinyImage(n))
}

func isTinyImage(n *html.Node) bool {
	w, h := strings.TrimSuffix(attr(n, "width"), "px"), strings.TrimSuffix(attr(n, "height"), "px")
	return w == "0" || w == "1" || h == "0" || h == "1"
}

// spokenText is visibleText with the descriptions of pictures.
func spokenText(n *html.Node) string {
	var b strings.Builder
	b.WriteString(visibleText(n))
	for c := range n.Descendants() {
		if c.DataAtom == atom.Img {
			b.WriteString(" " + attr(c, "alt"))
		}
	}
	return b.String()
}
