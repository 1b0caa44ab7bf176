// Package web reads HTML.
package web

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"sluice/pkg/events"
	"sluice/services/parser/internal/charset"
	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
)

// Options adjusts how HTML becomes Markdown.
type Options struct {
	BaseURL string // relative links are resolved against it; empty leaves them
	Name    string // of the document, for messages
	Charset string // overrides detection
	Limit   int64  // bytes of Markdown; 0 = 50 MiB
}

// HTML reads a web page: its content, without navigation, scripts and whatever
// a browser would not show.
func HTML(ctx context.Context, in format.Input) (*format.Output, error) {
	declared := format.ContentTypeCharset(in.ContentType)
	if declared == "" {
		declared = DeclaredInHTML(in.Data)
	}
	src, warnings, err := format.Decode(in, declared)
	if err != nil {
		return nil, err
	}
	page, err := readHTML(ctx, src, Options{Name: format.NameOf(in), Limit: in.Limits.Output})
	if err != nil {
		return nil, err
	}
	return &format.Output{
		Markdown: page.markdown,
		Facts:    page.facts,
		Warnings: append(warnings, page.warnings...),
	}, nil
}

// ToMarkdown converts a page or a fragment of HTML or XHTML in any charset.
// What is nested too deeply for a tree comes back as text without structure. It
// fails with a Validation fault, reason "too-large" or "timeout".
func ToMarkdown(ctx context.Context, src []byte, opts Options) (string, error) {
	t, err := charset.Decode(src, opts.Charset, DeclaredInHTML(src))
	if err != nil {
		return "", err
	}
	page, err := readHTML(ctx, t.UTF8, opts)
	if err != nil {
		return "", err
	}
	return page.markdown, nil
}

// page is a converted web page.
type page struct {
	markdown string
	facts    events.Facts
	warnings []string
}

func readHTML(ctx context.Context, src string, opts Options) (*page, error) {
	if opts.Name == "" {
		opts.Name = "the HTML"
	}
	opts.Limit = format.OutputLimit(opts.Limit)
	if isXHTML(src) {
		src = emptyElement.ReplaceAllString(src, "<$1$2></$1>")
	}
	doc, err := html.Parse(strings.NewReader(src))
	if err != nil {
		// The parser refuses to nest more than 512 elements.
		return &page{
			markdown: plainHTML(src),
			warnings: []string{fmt.Sprintf("%s is nested too deeply (%v): its text is kept without structure", opts.Name, err)},
		}, nil
	}
	p := &page{facts: htmlFacts(doc)}
	base := baseURL(doc, opts.BaseURL)

	whole := textSize(doc)
	content := prune(doc, false)
	if textSize(content)*20 < whole {
		// What is hidden is the page: an application that shows it by script.
		if doc, err = html.Parse(strings.NewReader(src)); err != nil {
			return nil, format.Corrupt(err, opts.Name, "it cannot be parsed as HTML")
		}
		content = prune(doc, true)
	}
	w := &htmlWriter{ctx: ctx, base: base, name: opts.Name, limit: opts.Limit}
	w.node(content)
	w.block(0)
	if w.err != nil {
		return nil, w.err
	}
	if int64(len(w.out)) > opts.Limit {
		return nil, format.TooLarge(opts.Name, opts.Limit)
	}
	p.markdown = string(w.out)
	return p, nil
}

// metaCharset finds the declaration of a charset in the head of a page, in
// either of its forms.
var metaCharset = regexp.MustCompile(`(?i)<meta[^>]{1,200}?charset\s*=\s*["']?\s*([a-z0-9_:.+-]{2,40})`)

var xmlEncoding = regexp.MustCompile(`^\s*<\?xml[^>]{1,100}?encoding\s*=\s*["']([A-Za-z0-9_:.+-]{2,40})["']`)

func DeclaredInHTML(data []byte) string {
	head := data[:min(len(data), 4096)]
	if m := metaCharset.FindSubmatch(head); m != nil {
		return string(m[1])
	}
	if m := xmlEncoding.FindSubmatch(bytes.TrimPrefix(head, []byte("\uFEFF"))); m != nil {
		return string(m[1])
	}
	return ""
}

// emptyElement finds elements that XHTML may write as empty. HTML reads
// <title/> as an opening tag, and the rest of the document as its title.
var emptyElement = regexp.MustCompile(`<(title|script|style|iframe|textarea|noscript|a|div|p|span|td|th|li|i|b|em|strong|h[1-6])(\s[^<>]*)?/>`)

func isXHTML(src string) bool {
	head := src[:min(len(src), 1024)]
	return strings.HasPrefix(strings.TrimLeft(head, " \t\r\n"), "<?xml") || strings.Contains(head, "http://www.w3.org/1999/xhtml")
}

// plainHTML returns the text of HTML that is too deep for a tree.
func plainHTML(src string) string {
	var b strings.Builder
	z := html.NewTokenizer(strings.NewReader(src))
	skip := "" // the raw text element whose content is not shown
	for {
		switch z.Next() {
		case html.ErrorToken:
			return b.String() // the reader of a string ends with io.EOF only
		case html.TextToken:
			if skip == "" {
				b.Write(z.Text())
			}
		case html.StartTagToken:
			name, _ := z.TagName()
			switch atom.Lookup(name) {
			case atom.Script, atom.Style, atom.Noscript, atom.Iframe, atom.Textarea, atom.Title:
				skip = string(name)
			}
			if isBlock(atom.Lookup(name)) {
				b.WriteString("\n\n")
			}
		case html.EndTagToken:
			name, _ := z.TagName()
			if string(name) == skip {
				skip = ""
			}
			if isBlock(atom.Lookup(name)) {
				b.WriteString("\n\n")
			}
		}
	}
}

func baseURL(doc *html.Node, base string) *url.URL {
	if base == "" {
		if n := find(doc, func(n *html.Node) bool { return n.DataAtom == atom.Base && attr(n, "href") != "" }); n != nil {
			base = attr(n, "href")
		}
	}
	u, err := url.Parse(base)
	if err != nil || !u.IsAbs() || u.Host == "" {
		return nil // a base that is none changes nothing
	}
	return u
}

// htmlFacts reads what a page says about itself.
func htmlFacts(doc *html.Node) events.Facts {
	meta := map[string]string{}
	var f events.Facts
	for n := range doc.Descendants() {
		switch n.DataAtom {
		case atom.Html:
			f.Language = format.Language(attr(n, "lang"), attr(n, "xml:lang"))
		case atom.Title:
			if f.Title == "" && n.Namespace == "" {
				f.Title = md.Fold(textOf(n))
			}
		case atom.Meta:
			key := strings.ToLower(attr(n, "name") + attr(n, "property") + attr(n, "http-equiv") + attr(n, "itemprop"))
			if _, seen := meta[key]; !seen && len(meta) < 200 {
				meta[key] = md.Fold(attr(n, "content"))
			}
		}
	}
	first := func(keys ...string) string {
		for _, k := range keys {
			if meta[k] != "" {
				return meta[k]
			}
		}
		return ""
	}
	if f.Title == "" {
		f.Title = first("og:title", "twitter:title", "dc.title", "dcterms.title")
	}
	f.Author = first("author", "article:author", "dc.creator", "dcterms.creator", "citation_author", "byl", "parsely-author")
	if strings.HasPrefix(f.Author, "http") {
		f.Author = "" // a profile page is no name
	}
	f.Created = format.When(first("article:published_time", "datepublished", "date", "dc.date", "dcterms.created", "citation_publication_date", "dc.date.issued", "pubdate"))
	f.Modified = format.When(first("article:modified_time", "datemodified", "og:updated_time", "last-modified", "dcterms.modified", "revised"))
	if f.Language == "" {
		f.Language = format.Language(first("content-language", "dc.language", "language"), first("og:locale"))
	}
	return f
}

// prune removes what is not content from the tree and returns the node that
// holds the content: <main> where that is most of the page, <body>, or doc. It
// keeps what is hidden if asked to.
func prune(doc *html.Node, keepHidden bool) *html.Node {
	var walk func(n *html.Node, inArticle, keepButtons bool)
	walk = func(n *html.Node, inArticle, keepButtons bool) {
		for c := n.FirstChild; c != nil; {
			next := c.NextSibling
			if c.Type == html.CommentNode || c.Type == html.ElementNode && isClutter(c, inArticle, keepButtons, keepHidden) {
				n.RemoveChild(c)
			} else {
				article, buttons := inArticle, keepButtons
				switch c.DataAtom {
				case atom.Article, atom.Section, atom.Main, atom.Blockquote, atom.Header:
					article = true
				case atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6, atom.Summary, atom.Dt:
					buttons = true // the headings of accordions are buttons
				}
				walk(c, article, buttons)
			}
			c = next
		}
	}
	walk(doc, false, false)

	body := find(doc, func(n *html.Node) bool { return n.DataAtom == atom.Body })
	if body == nil {
		return doc
	}
	var mains []*html.Node
	for n := range body.Descendants() {
		if n.DataAtom == atom.Main || attr(n, "role") == "main" {
			mains = append(mains, n)
		}
	}
	if len(mains) > 0 && textSize(mains[0])*2 > textSize(body) {
		return mains[0]
	}
	return body
}

// clutterClasses mark, on widely used systems, what repeats on every page.
var clutterClasses = map[string]bool{
	"noprint": true, "navbox": true, "mw-editsection": true, "mw-jump-link": true, "mw-portlet": true,
	"vector-pinnable-header": true, "vector-dropdown": true, "skip-link": true, "skip-to-content": true,
	"mw-hidden-catlinks": true, "linenos": true, "lineno": true, "gutter": true, "line-numbers-rows": true, "headerlink": true, "anchor-link": true,
}

// isClutter reports whether an element is not part of the page's content.
func isClutter(n *html.Node, inArticle, keepButtons, keepHidden bool) bool {
	switch n.DataAtom {
	case atom.Script, atom.Style, atom.Template, atom.Noscript, atom.Iframe, atom.Embed, atom.Select, atom.Datalist,
		atom.Textarea, atom.Svg, atom.Canvas, atom.Audio, atom.Video, atom.Map, atom.Head, atom.Link, atom.Meta, atom.Rp:
		return true
	case atom.Button:
		return !keepButtons
	case atom.Nav:
		return true
	case atom.Footer:
		if !inArticle {
			return true
		}
	case atom.Header:
		if !inArticle && find(n, func(c *html.Node) bool { return c.DataAtom == atom.H1 }) == nil {
			return true
		}
	case atom.Dialog:
		if !keepHidden && !hasAttr(n, "open") {
			return true
		}
	case atom.Html, atom.Body, atom.Main:
		return false
	}
	for _, a := range n.Attr {
		switch a.Key {
		case "hidden":
			if !keepHidden && a.Val != "until-found" {
				return true
			}
		case "aria-hidden":
			if !keepHidden && a.Val == "true" && n.DataAtom != atom.Img {
				return true
			}
		case "style":
			if !keepHidden && isHiding(a.Val) {
				return true
			}
		case "role":
			switch a.Val {
			case "navigation", "search", "menu", "menubar", "toolbar":
				return true
			case "contentinfo":
				return !inArticle
			case "banner":
				return !inArticle && find(n, func(c *html.Node) bool { return c.DataAtom == atom.H1 }) == nil
			}
		case "class":
			for c := range strings.FieldsSeq(a.Val) {
				if clutterClasses[c] {
					return true
				}
			}
		}
	}
	return false
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

// textSize returns the bytes of text below n that are not white space and not
// program text.
func textSize(n *html.Node) int {
	size := 0
	var walk func(n *html.Node)
	walk = func(n *html.Node) {
		if n.Type == html.TextNode {
			for _, c := range []byte(n.Data) {
				if c > ' ' {
					size++
				}
			}
		}
		switch n.DataAtom {
		case atom.Script, atom.Style, atom.Template, atom.Noscript, atom.Head, atom.Textarea, atom.Iframe:
			return
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c)
		}
	}
	walk(n)
	return size
}

// textOf returns the text below n as it stands, with line breaks for <br>.
func textOf(n *html.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		switch {
		case c.Type == html.TextNode:
			b.WriteString(c.Data)
		case c.DataAtom == atom.Br:
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func find(n *html.Node, ok func(*html.Node) bool) *html.Node {
	for c := range n.Descendants() {
		if ok(c) {
			return c
		}
	}
	return nil
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func hasAttr(n *html.Node, key string) bool {
	for _, a := range n.Attr {
		if a.Key == key {
			return true
		}
	}
	return false
}
