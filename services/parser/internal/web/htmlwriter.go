package web

import (
	"context"
	"encoding/base64"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
	"sluice/services/parser/internal/office"
)

// htmlWriter writes a tree of HTML as Markdown in one pass.
//
// It never looks back further than the last closed mark: white space, line
// ends and opening marks are held until text follows, and are dropped if none
// does. So "<b> </b>" leaves nothing behind, and the white space of
// "<b> x </b>" stays outside the emphasis, where Markdown wants it.
type htmlWriter struct {
	ctx   context.Context
	base  *url.URL // relative links are resolved against it; may be nil
	name  string
	limit int64
	err   error // the first failure; nothing is written after it
	steps int

	out    []byte
	stack  []container
	gap    int    // line ends owed before the next text: 1 or 2, 0 in a line
	breaks int    // <br> owed
	space  bool   // a space is owed
	lead   string // what stands before the text of the heading being written
	marks  []mark // open inline elements, outermost first
	// closed is the emphasis that ended exactly at closedAt, to be continued
	// if the next text has the same.
	closed   string
	closedAt int

	flat    bool // a table cell: everything on one line
	heading bool // no emphasis: a heading is strong already
	depth   int  // of lists, for the choice of the bullet
	pages   int  // pages within pages
	linkEnd int  // where the last link ended

	streamed []*streamedTable // what is not in the tree
	whole    bool
	warnings []string
}

// container is a block that indents its lines: a quote or a list item.
type container struct {
	first, rest string
	used        bool
}

// mark is an open inline element.
type mark struct {
	open, close string
	written     bool
	link        bool
	dead        bool // a link that a block inside it has ended
}

// maxContainers bounds the width of indentation. What is nested deeper stays at
// this depth.
const maxContainers = 24

// fail stops the writer.
func (w *htmlWriter) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// node writes n and what is below it.
func (w *htmlWriter) node(n *html.Node) {
	if w.steps++; w.steps&1023 == 0 && w.ctx.Err() != nil {
		w.fail(format.Ended(w.ctx, w.name))
	}
	if int64(len(w.out)) > w.limit {
		w.fail(format.TooLarge(w.name, w.limit))
	}
	if w.err != nil {
		return
	}
	switch n.Type {
	case html.TextNode:
		w.text(n.Data)
	case html.ElementNode:
		w.element(n)
	case html.DocumentNode:
		w.children(n)
	}
}

func (w *htmlWriter) children(n *html.Node) {
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		w.node(c)
	}
}

func (w *htmlWriter) element(n *html.Node) {
	switch n.DataAtom {
	case atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6:
		w.headingOf(n, int(n.Data[1]-'0'))
	case atom.Br:
		w.breaks++
	case atom.Hr:
		w.rule()
	case atom.B, atom.Strong:
		w.marked(n, "**")
	case atom.I, atom.Em, atom.Cite, atom.Dfn, atom.Var:
		w.marked(n, "*")
	case atom.S, atom.Del, atom.Strike:
		w.marked(n, "~~")
	case atom.Code, atom.Kbd, atom.Samp, atom.Tt:
		w.code(n)
	case atom.Pre, atom.Listing, atom.Xmp:
		w.pre(n)
	case atom.A:
		w.link(n)
	case atom.Img:
		w.image(n)
	case atom.Ul, atom.Ol, atom.Menu, atom.Dir:
		w.list(n)
	case atom.Li: // outside a list
		w.item(n, "*", "")
	case atom.Blockquote:
		w.block(2)
		w.within(container{first: "> ", rest: "> "}, func() { w.children(n) })
		w.block(2)
	case atom.Dt, atom.Summary:
		w.block(2)
		w.marked(n, "**")
		w.block(2)
	case atom.Table:
		w.table(n)
	case atom.Q:
		w.text("“")
		w.children(n)
		w.text("”")
	case atom.Rt:
		w.text("(")
		w.children(n)
		w.text(")")
	case atom.Sup:
		w.raised(n)
	case atom.Sub:
		w.lowered(n)
	case atom.Input:
		w.input(n)
	case atom.Select:
		w.choice(n)
	case atom.Textarea:
		w.field(textOf(n))
	case atom.Iframe:
		w.inner(n)
	case atom.Svg:
		w.drawing(n)
	case atom.Rp, atom.Script, atom.Style, atom.Head, atom.Noscript, atom.Template:
	default:
		if t := streamedOf(n, w.streamed); t != nil {
			w.stream(t)
			return
		}
		if localName(n) == "math" {
			w.math(n)
			return
		}
		switch align(n) {
		case "super":
			w.raised(n)
			return
		case "sub":
			w.lowered(n)
			return
		}
		if isBlock(n.DataAtom) {
			w.block(2)
			w.children(n)
			w.block(2)
			return
		}
		w.children(n)
	}
}

// isBlock reports whether an element stands on lines of its own.
func isBlock(a atom.Atom) bool {
	switch a {
	case atom.Address, atom.Article, atom.Aside, atom.Blockquote, atom.Body, atom.Br, atom.Button, atom.Caption, atom.Center,
		atom.Dd, atom.Details, atom.Dialog, atom.Dir, atom.Div, atom.Dl, atom.Dt, atom.Fieldset, atom.Figcaption, atom.Figure,
		atom.Footer, atom.Form, atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6, atom.Header, atom.Hgroup, atom.Hr,
		atom.Html, atom.Legend, atom.Li, atom.Main, atom.Menu, atom.Nav, atom.Ol, atom.Optgroup, atom.Option, atom.P, atom.Pre,
		atom.Search, atom.Section, atom.Summary, atom.Table, atom.Tbody, atom.Td, atom.Tfoot, atom.Th, atom.Thead, atom.Tr, atom.Ul:
		return true
	}
	return false
}

// block ends the current line; the next text comes gap line ends later.
func (w *htmlWriter) block(gap int) {
	if w.flat {
		w.space = true
		return
	}
	w.breaks = 0
	for i := len(w.marks) - 1; i >= 0; i-- {
		w.closeMark(i)
	}
	w.space = false
	if n := len(w.stack); n > 0 && !w.stack[n-1].used {
		gap = 1 // the distance to what stands before a list item or quote is its own
	}
	w.gap = max(w.gap, gap, 1)
}

// within runs body inside a container, unless that is too deep already.
func (w *htmlWriter) within(c container, body func()) {
	if w.flat || len(w.stack) >= maxContainers {
		body()
		return
	}
	w.stack = append(w.stack, c)
	body()
	w.stack = w.stack[:len(w.stack)-1]
}

// text writes text with its white space collapsed.
func (w *htmlWriter) text(s string) {
	if w.err != nil {
		return
	}
	words := strings.FieldsFunc(s, isHTMLSpace)
	if len(words) == 0 {
		if s != "" && strings.ContainsFunc(s, isHTMLSpace) {
			w.space = true
		}
		return
	}
	if r, _ := utf8.DecodeRuneInString(s); isHTMLSpace(r) {
		w.space = true
	}
	line := strings.Join(words, " ")
	line = invisible.Replace(line)
	if line == "" {
		return
	}
	if w.inLink() && !balancedBrackets(line) {
		line = bracketEscapes.Replace(md.EscapeInline(line))
		w.begin()
	} else if w.begin() {
		line = md.Escape(line)
	} else {
		line = md.EscapeInline(line)
	}
	w.out = append(w.out, line...)
	if r, _ := utf8.DecodeLastRuneInString(s); isHTMLSpace(r) {
		w.space = true
	}
}

var (
	bracketEscapes = strings.NewReplacer("[", `\[`, "]", `\]`, `\]`, `\]`)
	// Soft hyphens, zero-width spaces and byte order marks are advice to a
	// browser, not characters of the text.
	invisible = strings.NewReplacer("\u00ad", "", "\u200b", "", "\ufeff", "", "\u2060", "")
)

func balancedBrackets(s string) bool {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '[':
			depth++
		case ']':
			if depth--; depth < 0 {
				return false
			}
		}
	}
	return depth == 0
}

func isHTMLSpace(r rune) bool { return r == '\u00a0' || r != '\u200b' && unicode.IsSpace(r) }

func (w *htmlWriter) inLink() bool {
	for _, m := range w.marks {
		if m.link && !m.dead {
			return true
		}
	}
	return false
}

// begin writes what is owed before text. It reports whether the text begins a
// line, where Markdown looks for the start of blocks.
func (w *htmlWriter) begin() bool {
	start := w.lineStart()
	for i := range w.marks {
		m := &w.marks[i]
		if m.written || m.dead {
			continue
		}
		m.written = true
		if m.open == w.closed && w.closedAt == len(w.out) {
			w.out = w.out[:len(w.out)-len(m.open)]
			continue
		}
		w.out = append(w.out, m.open...)
		start = false
	}
	w.closed = ""
	return start
}

// lineStart writes the owed line ends with the prefixes of the containers, or
// the owed space. It reports whether a line has begun.
func (w *htmlWriter) lineStart() bool {
	if w.flat && w.breaks > 0 {
		w.breaks, w.space = 0, true
	}
	switch {
	case w.breaks > 1 && w.gap == 0 && len(w.out) > 0:
		w.block(2)
	case w.breaks == 1 && w.gap == 0 && len(w.out) > 0:
		w.out = append(w.out, "  \n"...)
		w.prefixes()
		w.breaks, w.space = 0, false
		return true
	}
	w.breaks = 0
	if w.gap == 0 && len(w.out) > 0 {
		if w.space {
			w.out = append(w.out, ' ')
			w.space = false
		}
		return false
	}
	if len(w.out) > 0 {
		w.out = append(w.out, '\n')
		if w.gap > 1 {
			at := len(w.out)
			for _, c := range w.stack {
				if !c.used {
					break
				}
				w.out = append(w.out, c.rest...)
			}
			for len(w.out) > at && w.out[len(w.out)-1] == ' ' {
				w.out = w.out[:len(w.out)-1]
			}
			w.out = append(w.out, '\n')
		}
	}
	w.gap, w.space = 0, false
	w.prefixes()
	w.out = append(w.out, w.lead...)
	return w.lead == "" && !w.flat
}

func (w *htmlWriter) prefixes() {
	if w.flat {
		return
	}
	for i := range w.stack {
		c := &w.stack[i]
		if c.used {
			w.out = append(w.out, c.rest...)
			continue
		}
		w.out = append(w.out, c.first...)
		c.used = true
	}
}

// raw writes Markdown that stands in a line.
func (w *htmlWriter) raw(s string) {
	if s == "" || w.err != nil {
		return
	}
	w.begin()
	w.out = append(w.out, s...)
}

// lines writes Markdown that is a block of its own.
func (w *htmlWriter) lines(s string) {
	if s == "" || w.err != nil {
		return
	}
	w.block(2)
	for line := range strings.Lines(s) {
		w.gap = max(w.gap, 1)
		w.lineStart()
		line = strings.TrimSuffix(line, "\n")
		w.out = append(w.out, line...)
		if int64(len(w.out)) > w.limit {
			w.fail(format.TooLarge(w.name, w.limit))
			return
		}
	}
	w.block(2)
}

// marked writes the children of n between emphasis marks.
func (w *htmlWriter) marked(n *html.Node, delimiter string) {
	if w.heading && delimiter != "~~" {
		w.children(n)
		return
	}
	for _, m := range w.marks {
		if m.open == delimiter {
			w.children(n)
			return
		}
	}
	w.open(mark{open: delimiter, close: delimiter}, func() { w.children(n) })
}

func (w *htmlWriter) open(m mark, body func()) {
	w.marks = append(w.marks, m)
	i := len(w.marks) - 1
	body()
	w.closeMark(i)
	w.marks = w.marks[:i]
}

// closeMark ends an inline element if any of it was written. Emphasis may open
// again in the next block; a link does not, it would be many.
func (w *htmlWriter) closeMark(i int) {
	m := &w.marks[i]
	if !m.written {
		return
	}
	w.out = append(w.out, m.close...)
	m.written = false
	if m.link {
		m.dead, w.linkEnd = true, len(w.out)
		return
	}
	w.closed, w.closedAt = m.close, len(w.out)
}

func (w *htmlWriter) headingOf(n *html.Node, level int) {
	if w.flat {
		w.block(1)
		w.children(n)
		w.block(1)
		return
	}
	w.block(2)
	w.lead = strings.Repeat("#", level) + " "
	outer := w.heading
	w.heading = true
	line := w.flatten(n) // a heading is one line
	if strings.HasSuffix(line, "#") {
		line = line[:len(line)-1] + `\#` // or it would be a closing sequence
	}
	w.raw(line)
	w.heading, w.lead = outer, ""
	w.block(2)
}

// flatten returns the children of n on one line.
func (w *htmlWriter) flatten(n *html.Node) string {
	cell := &htmlWriter{
		ctx: w.ctx, base: w.base, name: w.name, limit: w.limit, steps: w.steps,
		flat: true, heading: w.heading, pages: w.pages, streamed: w.streamed, whole: w.whole,
	}
	cell.children(n)
	for i := len(cell.marks) - 1; i >= 0; i-- {
		cell.closeMark(i)
	}
	w.steps = cell.steps
	w.warnings = append(w.warnings, cell.warnings...)
	if cell.err != nil {
		w.fail(cell.err)
	}
	return string(cell.out)
}

func (w *htmlWriter) rule() {
	if w.flat {
		w.space = true
		return
	}
	if len(w.out) > 0 { // a rule above everything divides nothing
		w.lines("---")
	}
}

func (w *htmlWriter) list(n *html.Node) {
	if w.flat {
		w.block(1)
		w.children(n)
		w.block(1)
		return
	}
	number, step := firstNumber(n)
	// A nested list stands right under the text of its item, where Markdown
	// takes it for a list: any bullet, and a number only if it is 1.
	if w.block(1); w.depth == 0 || n.DataAtom == atom.Ol && number != 1 {
		w.gap = 2
	} else {
		w.gap = 1
	}
	w.depth++
	first := true
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		if c.DataAtom != atom.Li {
			w.node(c)
			continue
		}
		marker, label := "*", ""
		if n.DataAtom == atom.Ol {
			if v, err := strconv.Atoi(strings.TrimSpace(attr(c, "value"))); err == nil && v > -1e8 && v < 1e8 {
				number = v
			}
			marker, label = itemMarker(n, c, number)
			number += step
		}
		if w.block(1); !first {
			w.gap = 1 // items keep together, whatever blocks ended the last one
		}
		first = false
		w.item(c, marker, label)
	}
	w.depth--
	w.block(2)
}

// firstNumber returns the number of the first item of a list, and what is added
// for each further one.
func firstNumber(n *html.Node) (number, step int) {
	number, step = 1, 1
	if n.DataAtom == atom.Ol && hasAttr(n, "reversed") {
		number, step = 0, -1
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			if c.DataAtom == atom.Li {
				number++
			}
		}
	}
	if start, err := strconv.Atoi(strings.TrimSpace(attr(n, "start"))); err == nil && start > -1e8 && start < 1e8 {
		number = start
	}
	return number, step
}

// counters are the systems of numbers that HTML and style sheets name.
var counters = map[string]string{
	"a": "lowerLetter", "lower-alpha": "lowerLetter", "lower-latin": "lowerLetter", "A": "upperLetter", "upper-alpha": "upperLetter",
	"upper-latin": "upperLetter", "i": "lowerRoman", "lower-roman": "lowerRoman", "I": "upperRoman", "upper-roman": "upperRoman",
	"decimal-leading-zero": "decimalZero",
}

// itemMarker returns the marker of a numbered item, and the number before its
// text where Markdown has no such marker.
func itemMarker(list, item *html.Node, number int) (marker, label string) {
	kind := ""
	for _, n := range [...]*html.Node{list, item} {
		if t := strings.TrimSpace(attr(n, "type")); t != "" {
			kind = t
		}
		for decl := range strings.SplitSeq(attr(n, "style"), ";") {
			key, value, _ := strings.Cut(decl, ":")
			if key = strings.TrimSpace(key); key == "list-style-type" || key == "list-style" {
				kind, _, _ = strings.Cut(strings.TrimSpace(value), " ")
			}
		}
	}
	switch kind {
	case "none", "disc", "circle", "square":
		return "*", ""
	}
	if f := counters[kind]; f != "" {
		return "*", office.Ordinal(number, f) + ". "
	}
	if number < 0 {
		return "*", strconv.Itoa(number) + ". "
	}
	return strconv.Itoa(number) + ".", ""
}

func (w *htmlWriter) item(n *html.Node, marker, label string) {
	if w.flat {
		w.block(1)
		w.children(n)
		w.block(1)
		return
	}
	w.block(1)
	w.within(container{first: marker + " ", rest: strings.Repeat(" ", len(marker)+1)}, func() {
		if label != "" {
			w.raw(label)
		}
		w.children(n)
	})
	w.block(1)
}

// input writes the value of a field of a form.
func (w *htmlWriter) input(n *html.Node) {
	switch strings.ToLower(attr(n, "type")) {
	case "checkbox", "radio":
		box := "[ ]"
		if hasAttr(n, "checked") {
			box = "[x]"
		}
		w.space = true
		w.raw(box)
		w.space = true
	case "hidden", "password", "submit", "button", "reset", "image", "file", "range", "color", "search":
	default:
		w.field(attr(n, "value"))
	}
}

// choice writes the entries of a list that are chosen: those that say so, else the
// first, which is what is shown.
func (w *htmlWriter) choice(n *html.Node) {
	var first, chosen []string
	for c := range n.Descendants() {
		if c.DataAtom != atom.Option {
			continue
		}
		s := md.Line(textOf(c))
		if label := attr(c, "label"); s == "" {
			s = md.Line(label)
		}
		if first == nil {
			first = []string{s}
		}
		if hasAttr(c, "selected") {
			chosen = append(chosen, s)
		}
	}
	if chosen == nil && !hasAttr(n, "multiple") {
		chosen = first
	}
	w.field(strings.Join(chosen, ", "))
}

// field writes a value in the line.
func (w *htmlWriter) field(value string) {
	if strings.TrimSpace(value) != "" {
		w.space = true
		w.text(value)
		w.space = true
	}
}

// inner writes the page within a page, where it is part of it.
func (w *htmlWriter) inner(n *html.Node) {
	const deepest = 4 // pages within pages
	src := attr(n, "srcdoc")
	if src == "" || w.pages >= deepest {
		return
	}
	doc, err := html.Parse(strings.NewReader(src))
	if err != nil {
		w.text(plainHTML(src))
		return
	}
	p := &pruner{}
	content, _ := p.prune(doc, w.name)
	w.pages++
	w.block(2)
	w.children(content)
	w.block(2)
	w.pages--
}

// align returns where the style of an element puts it in the line.
func align(n *html.Node) string {
	style := attr(n, "style")
	if !strings.Contains(style, "vertical-align") {
		return ""
	}
	for decl := range strings.SplitSeq(style, ";") {
		key, value, _ := strings.Cut(decl, ":")
		if strings.EqualFold(strings.TrimSpace(key), "vertical-align") && !isBlock(n.DataAtom) {
			return strings.ToLower(strings.TrimSpace(value))
		}
	}
	return ""
}

func (w *htmlWriter) code(n *html.Node) {
	if c := n.FirstChild; c != nil && c.DataAtom == atom.Pre && !w.flat {
		w.children(n)
		return
	}
	if code := md.Code(invisible.Replace(textOf(n))); code != "" {
		w.raw(code)
	} else {
		w.children(n) // an image
	}
}

var (
	codeLanguage = regexp.MustCompile(`(?:^|\s)(?:lang(?:uage)?-|highlight-source-|brush:\s*)([A-Za-z0-9+#_-]{1,30})|(?:^|\s)sourceCode\s+([A-Za-z0-9+#_-]{1,30})`)
	notLanguages = map[string]bool{"none": true, "plaintext": true, "text": true, "plain": true}
)

func (w *htmlWriter) pre(n *html.Node) {
	if w.flat {
		w.block(1)
		w.code(n)
		w.block(1)
		return
	}
	code := strings.TrimRight(preText(n), " \t\r\n\u00a0")
	code = strings.TrimLeft(code, "\r\n")
	if strings.TrimSpace(code) == "" {
		return
	}
	w.lines(md.Fence(languageOf(n), code))
}

// preText is textOf with a line end after the elements by which highlighters
// make lines, where they leave out the line end itself.
func preText(n *html.Node) string {
	var b strings.Builder
	var walk func(n *html.Node)
	walk = func(n *html.Node) {
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			switch {
			case c.Type == html.TextNode:
				b.WriteString(strings.ReplaceAll(c.Data, "\u00a0", " "))
			case c.DataAtom == atom.Br:
				b.WriteByte('\n')
			default:
				walk(c)
				if (c.DataAtom == atom.Div || c.DataAtom == atom.P || c.DataAtom == atom.Li || c.DataAtom == atom.Tr) &&
					b.Len() > 0 && !strings.HasSuffix(b.String(), "\n") {
					b.WriteByte('\n')
				}
			}
		}
	}
	walk(n)
	return b.String()
}

func languageOf(pre *html.Node) string {
	look := func(n *html.Node) string {
		for _, key := range [...]string{"data-lang", "data-language", "lang-name"} {
			if v := attr(n, key); v != "" {
				return v
			}
		}
		if m := codeLanguage.FindStringSubmatch(attr(n, "class")); m != nil {
			return m[1] + m[2]
		}
		return ""
	}
	nodes := []*html.Node{pre}
	if c := find(pre, func(n *html.Node) bool { return n.DataAtom == atom.Code }); c != nil {
		nodes = append(nodes, c)
	}
	for p, i := pre.Parent, 0; p != nil && i < 2; p, i = p.Parent, i+1 {
		nodes = append(nodes, p)
	}
	for _, n := range nodes {
		if l := strings.ToLower(look(n)); l != "" && !notLanguages[l] {
			return l
		}
	}
	return ""
}

func (w *htmlWriter) image(n *html.Node) {
	alt := md.Line(attr(n, "alt"))
	if alt == "" {
		alt = md.Line(attr(n, "title"))
	}
	if alt == "" {
		return // decoration, or nothing that text could say
	}
	if strings.Contains(attr(n, "class"), "math") {
		w.raw("$" + strings.TrimSuffix(strings.TrimPrefix(alt, `{\displaystyle `), "}") + "$")
		return
	}
	src := attr(n, "src")
	if src == "" || strings.HasPrefix(src, "data:") {
		for _, key := range [...]string{"data-src", "data-original", "data-lazy-src"} {
			if v := attr(n, key); v != "" {
				src = v
			}
		}
	}
	if strings.HasPrefix(src, "data:") {
		w.text(alt) // its bytes are no address
		return
	}
	src = w.address(src)
	w.raw(md.Image(alt, src))
}

func (w *htmlWriter) link(n *html.Node) {
	href := strings.TrimSpace(attr(n, "href"))
	if !leadsSomewhere(href) {
		href = ""
	}
	if strings.HasPrefix(href, "#") {
		// A place on this page is nowhere in a chunk.
		if isSkipLink(n) {
			return
		}
		href = ""
	}
	if href != "" {
		href = w.address(href)
	}
	if !leadsSomewhere(href) || w.inLink() {
		w.children(n)
		return
	}
	end := "](" + md.Destination(href)
	if title := md.Line(attr(n, "title")); title != "" {
		end += ` "` + strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(title) + `"`
	}
	w.open(mark{open: "[", close: end + ")", link: true}, func() { w.children(n) })
}

// leadsSomewhere reports whether an address is more than a handle for a script.
func leadsSomewhere(href string) bool {
	scheme, _, ok := strings.Cut(href, ":")
	if !ok {
		return href != ""
	}
	switch strings.ToLower(scheme) {
	case "javascript", "vbscript", "data", "about", "blob":
		return false
	}
	return true
}

func isSkipLink(n *html.Node) bool {
	s := strings.ToLower(md.Line(textOf(n)))
	if s == "¶" || s == "#" || s == "§" || s == "🔗" || s == "\u200b" || s == "↑" || s == "^" {
		return true // the handle of a heading, the way back from a footnote
	}
	return strings.HasPrefix(s, "skip to ") || strings.HasPrefix(s, "jump to ")
}

// address returns where a link leads: out of the trackers that hide it, and
// absolute if the page's own address is known.
func (w *htmlWriter) address(href string) string {
	href = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.TrimSpace(href))
	if w.base != nil {
		if u, err := w.base.Parse(href); err == nil {
			href = u.String()
		}
	}
	return UnwrapTracker(href)
}

// UnwrapTracker returns the target of the redirects that search engines and
// mail filters put before links, href if it is none of them, or "" if the target
// is a script.
func UnwrapTracker(href string) string {
	const longest = 16 << 10
	if !strings.Contains(href, "?") || len(href) > longest {
		return href
	}
	u, err := url.Parse(href)
	if err != nil {
		return href
	}
	var target string
	host := strings.TrimPrefix(strings.ToLower(u.Hostname()), "www.")
	switch {
	case (host == "bing.com" || strings.HasSuffix(host, ".bing.com")) && strings.HasPrefix(u.Path, "/ck/"):
		// u=a1<base64 of the address, URL alphabet, no padding>
		if enc, ok := strings.CutPrefix(u.Query().Get("u"), "a1"); ok {
			if b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(enc, "=")); err == nil && utf8.Valid(b) {
				target = string(b)
			}
		}
		switch {
		case strings.HasPrefix(target, "/"):
			target = "https://www.bing.com" + target
		case strings.HasPrefix(target, "javascript:"):
			return ""
		}
	case strings.HasPrefix(host, "google.") && u.Path == "/url":
		if target = u.Query().Get("q"); target == "" {
			target = u.Query().Get("url")
		}
	case strings.HasSuffix(host, ".safelinks.protection.outlook.com"):
		target = u.Query().Get("url")
	case (host == "l.facebook.com" || host == "lm.facebook.com") && u.Path == "/l.php":
		target = u.Query().Get("u")
	case host == "duckduckgo.com" && strings.HasPrefix(u.Path, "/l/"):
		target = u.Query().Get("uddg")
	}
	if strings.HasPrefix(target, "http://") || strings.HasPrefix(target, "https://") {
		return target
	}
	return href
}
