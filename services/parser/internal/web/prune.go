package web

import (
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"sluice/services/parser/internal/format"
)

// pruner takes out of a page what is not its content: programs, menus, and what
// no reader of the page sees. What it takes out for what it seems to be, it can
// put back, if nothing but that is there.
type pruner struct {
	whole bool // a book or an entry of a feed: it has no frame, and nothing of it is hidden
	// noNavigation leaves out nav elements even so.
	noNavigation bool
	menus        []cut
	hidden       []cut
	// What was cut for being that, and is put back, is not cut again.
	keepMenus, keepHidden bool

	scripted []*html.Node // <noscript>
	embedded int          // pages within the page that are not here
	targets  map[string]bool
	seen     map[*html.Node]linkStats
	streamed []*streamedTable
}

// cut is a node that was taken out, and what stands in its place.
type cut struct{ node, hole *html.Node }

func (p *pruner) cut(n *html.Node, from *[]cut) {
	hole := &html.Node{Type: html.CommentNode}
	n.Parent.InsertBefore(hole, n)
	n.Parent.RemoveChild(n)
	*from = append(*from, cut{n, hole})
}

// restore puts back what was cut.
func (p *pruner) restore(cuts []cut) {
	for _, c := range cuts {
		c.hole.Parent.InsertBefore(c.node, c.hole)
		c.hole.Parent.RemoveChild(c.hole)
		p.walk(c.node, place{article: true})
	}
}

// prune removes what is not content from the tree and returns the node that
// holds the content: <body>, or doc. It returns warnings of what a reader of the
// page may see and is not in the tree any more.
func (p *pruner) prune(doc *html.Node, name string) (*html.Node, []string) {
	body := find(doc, func(n *html.Node) bool { return n.DataAtom == atom.Body })
	if body == nil {
		body = doc
	}
	if !p.whole {
		p.targets = targetsOf(doc)
	}
	p.seen = map[*html.Node]linkStats{}
	p.walk(doc, place{})
	p.unscripted(body)
	if p.whole {
		return body, p.warnings(name, body)
	}
	p.frame(body)

	// A page that shows itself by a program is hidden until then; one that is
	// nothing but links has them for its content.
	const little = 300 // bytes
	rest := p.size(body)
	if hidden := p.sizeOf(p.hidden); rest*20 < hidden {
		cuts := p.hidden
		p.hidden, p.keepHidden = nil, true
		p.restore(cuts)
		rest += hidden
	}
	if menus := p.sizeOf(p.menus); rest < little && rest < menus {
		cuts := p.menus
		p.menus, p.keepMenus = nil, true
		p.restore(cuts)
		rest += menus
	}
	return body, p.warnings(name, body)
}

func (p *pruner) sizeOf(cuts []cut) (size int) {
	for _, c := range cuts {
		size += p.size(c.node)
	}
	return size
}

// size counts the text that there is now.
func (p *pruner) size(n *html.Node) int {
	clear(p.seen)
	return p.stats(n).text
}

// place is where in a page an element stands.
type place struct {
	article bool // in an article or a section: its header is not that of the site
	buttons bool // in a heading: those of accordions are buttons
}

func (p *pruner) walk(n *html.Node, at place) {
	for c := n.FirstChild; c != nil; {
		next := c.NextSibling
		switch {
		case c.Type == html.CommentNode:
			n.RemoveChild(c)
		case c.Type == html.ElementNode:
			p.element(c, at)
		}
		c = next
	}
}

func (p *pruner) element(n *html.Node, at place) {
	switch n.DataAtom {
	case atom.Noscript:
		p.scripted = append(p.scripted, n)
		return // the writer knows it
	case atom.Iframe:
		if !hasAttr(n, "srcdoc") && !isTiny(n) && !hides(n) {
			p.embedded++
		}
		return
	case atom.Svg:
		if n.Namespace == "svg" && find(n, isDrawnText) == nil {
			n.Parent.RemoveChild(n)
		}
		return
	}
	if isProgram(n) || p.noNavigation && n.DataAtom == atom.Nav {
		n.Parent.RemoveChild(n)
		return
	}
	if !p.whole {
		switch {
		case n.DataAtom == atom.Html, n.DataAtom == atom.Body, n.DataAtom == atom.Main:
		case isHandle(n):
			n.Parent.RemoveChild(n)
			return
		case n.DataAtom == atom.Button && !at.buttons && !p.discloses(n):
			n.Parent.RemoveChild(n)
			return
		case isSearch(n) && !p.keepMenus:
			p.cut(n, &p.menus)
			return
		case hides(n) && !p.keepHidden && !p.disclosed(n):
			p.cut(n, &p.hidden)
			return
		case isNavigation(n) && !p.keepMenus && p.isMenu(n):
			p.cut(n, &p.menus)
			return
		case !at.article && !p.keepMenus && isFrame(n):
			p.walk(n, at)
			p.trim(n)
			return
		}
	}
	switch n.DataAtom {
	case atom.Article, atom.Section, atom.Main, atom.Blockquote:
		at.article = true
	case atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6, atom.Summary, atom.Dt:
		at.buttons = true
	}
	p.walk(n, at)
}

// isProgram reports whether an element is never text of a page.
func isProgram(n *html.Node) bool {
	switch n.DataAtom {
	case atom.Script, atom.Style, atom.Template, atom.Embed, atom.Datalist, atom.Canvas, atom.Audio, atom.Video, atom.Map,
		atom.Head, atom.Link, atom.Meta, atom.Rp:
		return n.Namespace == "" || n.DataAtom == atom.Script || n.DataAtom == atom.Style
	}
	return false
}

// isTiny reports whether an embedded page is too small to show anything.
func isTiny(n *html.Node) bool {
	small := func(s string) bool { return s == "0" || s == "1" || s == "0px" || s == "1px" }
	return small(attr(n, "width")) || small(attr(n, "height")) || attr(n, "src") == "" || strings.HasPrefix(attr(n, "src"), "about:")
}

// handleClasses mark, on widely used systems, the handles of headings and the
// numbers of lines of code.
var handleClasses = map[string]bool{
	"mw-editsection": true, "mw-jump-link": true, "skip-link": true, "skip-to-content": true, "headerlink": true, "anchor-link": true,
	"linenos": true, "lineno": true, "gutter": true, "line-numbers-rows": true,
}

// isHandle reports whether an element is a handle for readers, by its class and
// by what it says: so little, or nothing but numbers.
func isHandle(n *html.Node) bool {
	const longest = 40
	for c := range strings.FieldsSeq(attr(n, "class")) {
		if !handleClasses[c] {
			continue
		}
		switch c {
		case "linenos", "lineno", "gutter", "line-numbers-rows":
			return find(n, func(c *html.Node) bool {
				return c.Type == html.TextNode && strings.Trim(c.Data, "0123456789. \t\r\n\u00a0") != ""
			}) == nil
		}
		return isShort(n, longest)
	}
	return false
}

// isShort reports whether the text below n has no more than that many bytes.
func isShort(n *html.Node, most int) bool {
	size := 0
	return find(n, func(c *html.Node) bool {
		if c.Type == html.TextNode {
			size += inked(c.Data)
		}
		return size > most
	}) == nil
}

func isSearch(n *html.Node) bool {
	return n.DataAtom == atom.Search || attr(n, "role") == "search" || attr(n, "role") == "toolbar"
}

// menuClasses mark, on widely used systems, what leads through the site.
var menuClasses = map[string]bool{
	"noprint": true, "navbox": true, "mw-portlet": true, "vector-pinnable-header": true, "vector-dropdown": true, "mw-hidden-catlinks": true,
}

// isNavigation reports whether an element says that it leads through the site.
func isNavigation(n *html.Node) bool {
	if n.DataAtom == atom.Nav {
		return true
	}
	switch attr(n, "role") {
	case "navigation", "menu", "menubar":
		return true
	}
	for c := range strings.FieldsSeq(attr(n, "class")) {
		if menuClasses[c] {
			return true
		}
	}
	return false
}

// isFrame reports whether an element says that it is the head or foot of a site.
func isFrame(n *html.Node) bool {
	return n.DataAtom == atom.Header || n.DataAtom == atom.Footer || attr(n, "role") == "banner" || attr(n, "role") == "contentinfo"
}

// linkStats counts what a part of a page is made of.
type linkStats struct {
	text   int // bytes that are no white space
	linked int // of them in links to other pages
	links  int
	local  int // links to places on the page
	heads  int // headings
}

func (s *linkStats) add(o linkStats) {
	s.text += o.text
	s.linked += o.linked
	s.links += o.links
	s.local += o.local
	s.heads += o.heads
}

// stats counts once for each element that holds others.
func (p *pruner) stats(n *html.Node) (s linkStats) {
	if n.Type == html.TextNode {
		s.text = inked(n.Data)
		return s
	}
	if have, ok := p.seen[n]; ok {
		return have
	}
	switch n.DataAtom {
	case atom.Script, atom.Style, atom.Template, atom.Noscript, atom.Head, atom.Iframe:
		return s
	}
	if t := streamedOf(n, p.streamed); t != nil {
		s.text += len(t.src) / 2 // for its tags
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		s.add(p.stats(c))
	}
	if isHeading(n) {
		s.heads++
	}
	if n.DataAtom == atom.A {
		switch href := strings.ToLower(strings.TrimSpace(attr(n, "href"))); {
		case href == "", strings.HasPrefix(href, "mailto:"), strings.HasPrefix(href, "tel:"):
			s.linked, s.links = 0, 0 // an address is no menu
		case strings.HasPrefix(href, "#"):
			s.linked, s.links, s.local = s.text, 1, 1
		default:
			s.linked, s.links = s.text, 1
		}
	}
	const small = 256 // counted again where it is asked for
	if s.text > small {
		p.seen[n] = s
	}
	return s
}

// isMenu reports whether what says that it is navigation is a menu: links, with
// little beside them. A list of contents that leads to other pages is none.
func (p *pruner) isMenu(n *html.Node) bool {
	const prose = 200 // bytes
	s := p.stats(n)
	if rest := s.text - s.linked; rest >= prose && rest*2 >= s.text {
		return false
	}
	return !(s.links > 0 && s.local*2 < s.links && isContents(n))
}

var contentsWords = []string{"contents", "toc", "inhalt", "sommaire", "indice", "índice", "sumário", "inhoud", "spis treści", "содержание", "оглавление", "目次", "目录", "目錄", "차례", "목차"}

// isContents reports whether a list of links calls itself a list of contents.
func isContents(n *html.Node) bool {
	for _, key := range [...]string{"aria-label", "title", "epub:type", "id", "class"} {
		if isContentsWord(attr(n, key)) {
			return true
		}
	}
	near := 50 // nodes
	first := find(n, func(c *html.Node) bool { near--; return near == 0 || isHeading(c) })
	return first != nil && isHeading(first) && isContentsWord(format.Clip(textOf(first), 200))
}

func isContentsWord(s string) bool {
	s = strings.ToLower(s)
	for _, w := range contentsWords {
		for part := range strings.FieldsFuncSeq(s, func(r rune) bool { return !unicode.IsLetter(r) }) {
			if part == w {
				return true
			}
		}
	}
	return false
}

func isHeading(n *html.Node) bool {
	switch n.DataAtom {
	case atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6:
		return true
	}
	return false
}

// frame trims what stands around the main part of a page that says which it is.
func (p *pruner) frame(body *html.Node) {
	var main *html.Node
	for n := range body.Descendants() {
		if n.DataAtom == atom.Main || attr(n, "role") == "main" {
			main = n
			break
		}
	}
	if main == nil || p.stats(main).text*2 <= p.stats(body).text {
		return
	}
	for n := main; n != body && n.Parent != nil; n = n.Parent {
		for c := n.Parent.FirstChild; c != nil; {
			next := c.NextSibling
			if c != n && c.Type == html.ElementNode {
				if p.isLinks(c) {
					p.cut(c, &p.menus)
				} else {
					p.trim(c)
				}
			}
			c = next
		}
	}
}

// trim takes the lists of links out of a part of the frame of a page. What else
// it says stays: titles, authors, addresses.
func (p *pruner) trim(n *html.Node) {
	own := hasOwnText(n)
	for c := n.FirstChild; c != nil; {
		next := c.NextSibling
		// A link within a line of text is part of what that says.
		if c.Type == html.ElementNode && !isHeading(c) && (isBlock(c.DataAtom) || !own) {
			if p.isLinks(c) {
				p.cut(c, &p.menus)
			} else if holdsBlocks(c) {
				p.trim(c)
			}
		}
		c = next
	}
}

// isLinks reports whether a part of the frame is a list of links, or a lone one.
func (p *pruner) isLinks(n *html.Node) bool {
	s := p.stats(n)
	switch {
	case s.heads > 0:
		return false
	case s.links == 0:
		return n.DataAtom == atom.Form && s.text < 100 // to search, to subscribe
	case s.links == 1:
		return s.linked == s.text
	}
	return s.linked*10 >= s.text*6
}

// hasOwnText reports whether there is text beside the elements in n.
func hasOwnText(n *html.Node) bool {
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		if c.Type == html.TextNode && strings.ContainsFunc(c.Data, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) {
			return true
		}
	}
	return false
}

func holdsBlocks(n *html.Node) bool {
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		if c.Type == html.ElementNode && isBlock(c.DataAtom) {
			return true
		}
	}
	return n.DataAtom == atom.Ul || n.DataAtom == atom.Ol
}

// hides reports whether an element says that it is not shown.
func hides(n *html.Node) bool {
	if n.DataAtom == atom.Dialog && !hasAttr(n, "open") {
		return true
	}
	for _, a := range n.Attr {
		switch a.Key {
		case "hidden":
			if a.Val != "until-found" {
				return true
			}
		case "aria-hidden":
			if a.Val == "true" && n.DataAtom != atom.Img {
				return true
			}
		case "style":
			if isHiding(a.Val) {
				return true
			}
		}
	}
	return false
}

// foldWords are parts of the names by which pages call what opens on a click,
// overlayWords of what lies over the page.
var (
	foldWords    = []string{"tab", "accordion", "akkordeon", "collaps", "panel", "answer", "faq", "toggle", "expand", "detail", "spoiler", "slide", "carousel", "swiper", "foldable", "readmore", "read-more"}
	overlayWords = []string{"modal", "popup", "pop-up", "dropdown", "menu", "tooltip", "cookie", "consent", "overlay", "lightbox", "offcanvas", "drawer", "navbar", "clone", "toast", "snackbar"}
)

// disclosed reports whether what is hidden is shown to readers who ask for it:
// the other tabs of a page, the answers below questions.
func (p *pruner) disclosed(n *html.Node) bool {
	switch attr(n, "role") {
	case "dialog", "alertdialog", "menu", "tooltip", "alert", "status", "presentation":
		return false
	case "tabpanel":
		return true
	}
	if n.DataAtom == atom.Dialog || n.DataAtom == atom.Nav || !isBlock(n.DataAtom) {
		return false
	}
	names := strings.ToLower(attr(n, "class") + " " + attr(n, "id"))
	for _, w := range overlayWords {
		if strings.Contains(names, w) {
			return false
		}
	}
	if id := attr(n, "id"); id != "" && p.targets[id] {
		return true
	}
	for _, w := range foldWords {
		if strings.Contains(names, w) {
			return true
		}
	}
	before := n.PrevSibling
	for before != nil && before.Type != html.ElementNode {
		before = before.PrevSibling
	}
	return before != nil && (isHeading(before) || before.DataAtom == atom.Button || before.DataAtom == atom.Dt && n.DataAtom == atom.Dd)
}

// discloses reports whether a button is the title of what it opens.
func (p *pruner) discloses(n *html.Node) bool {
	if attr(n, "role") == "tab" {
		return true
	}
	after := n.NextSibling
	for after != nil && after.Type != html.ElementNode {
		after = after.NextSibling
	}
	return after != nil && hides(after) && p.disclosed(after)
}

// targetsOf returns the IDs of what controls of the page open.
func targetsOf(doc *html.Node) map[string]bool {
	const most = 10_000
	ids := map[string]bool{}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode || len(ids) >= most {
			continue
		}
		opens := false
		for _, a := range n.Attr {
			switch a.Key {
			case "aria-controls":
				opens = true
				for id := range strings.FieldsSeq(a.Val) {
					ids[id] = true
				}
			case "data-target", "data-bs-target":
				opens = true
				ids[strings.TrimPrefix(a.Val, "#")] = true
			case "data-toggle", "data-bs-toggle", "role":
				opens = opens || a.Val == "tab" || a.Val == "collapse" || a.Val == "pill"
			}
		}
		if href := attr(n, "href"); opens && strings.HasPrefix(href, "#") {
			ids[href[1:]] = true
		}
	}
	return ids
}

func isHiding(style string) bool {
	for decl := range strings.SplitSeq(style, ";") {
		key, value, _ := strings.Cut(decl, ":")
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "display":
			if strings.HasPrefix(strings.ToLower(strings.TrimSpace(value)), "none") {
				return true
			}
		case "visibility":
			if strings.HasPrefix(strings.ToLower(strings.TrimSpace(value)), "hidden") {
				return true
			}
		}
	}
	return false
}

// warnings says what readers of the page may see and is left out.
func (p *pruner) warnings(name string, body *html.Node) (out []string) {
	if words, begin := p.lost(body); words > 0 {
		out = append(out, fmt.Sprintf("%s: %d words that the page keeps hidden are left out, beginning %q", name, words, begin))
	}
	if p.sizeOf(p.menus) > p.size(body) {
		out = append(out, fmt.Sprintf("%s: its menus are left out, and are longer than its text", name))
	}
	if p.embedded > 0 {
		out = append(out, fmt.Sprintf("%s: %d other pages that it embeds are not read", name, p.embedded))
	}
	return out
}

// lost counts the hidden words that are not shown elsewhere on the page: many
// pages hold the same text twice, for small screens and large.
func (p *pruner) lost(body *html.Node) (words int, begin string) {
	const enough = 512 << 10 // bytes of a page that are compared
	var shown map[string]bool
	for _, c := range p.hidden {
		if p.isMenu(c.node) && (isNavigation(c.node) || p.stats(c.node).linked*2 > p.stats(c.node).text) {
			continue
		}
		if isDecoration(c.node) {
			continue
		}
		all := wordsOf(visibleText(c.node))
		if len(all) == 0 {
			continue
		}
		if shown == nil {
			shown = map[string]bool{}
			grams(wordsOf(format.Clip(visibleText(body), enough)), func(g string) { shown[g] = true })
		}
		if saysNew(all, shown) {
			if words == 0 {
				begin = format.Clip(strings.Join(all, " "), 40)
			}
			words += len(all)
		}
	}
	return words, begin
}

// isDecoration reports whether what is kept from those who listen to a page is no
// text of it: the names of icons, the look of a formula that is there as MathML.
func isDecoration(n *html.Node) bool {
	const most = 40
	return !isBlock(n.DataAtom) && (strings.Contains(attr(n, "class"), "katex") || isShort(n, most))
}

// grams calls f for all runs of up to three words.
func grams(words []string, f func(string)) {
	for i := range words {
		g := words[i]
		f(g)
		for k := 1; k < 3 && i+k < len(words); k++ {
			g += " " + words[i+k]
			f(g)
		}
	}
}

func wordsOf(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// visibleText returns the text below n without that of programs.
func visibleText(n *html.Node) string {
	var b strings.Builder
	var walk func(n *html.Node)
	walk = func(n *html.Node) {
		if n.Type == html.TextNode {
			b.WriteString(n.Data)
			b.WriteByte(' ')
		}
		switch n.DataAtom {
		case atom.Script, atom.Style, atom.Template, atom.Noscript, atom.Head, atom.Iframe, atom.Option:
			return
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c)
		}
	}
	walk(n)
	return b.String()
}

// inked counts the bytes of text that are no white space.
func inked(s string) (size int) {
	for _, c := range []byte(s) {
		if c > ' ' {
			size++
		}
	}
	return size
}
