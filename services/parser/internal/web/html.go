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
	// Whole says that all of it is content: a book or an entry of a feed has no
	// menus, and nothing of it is hidden.
	Whole bool
	// NoNavigation leaves out nav elements even so.
	NoNavigation bool
	// Warn is told what was left out; nil tells nobody.
	Warn func(warning string)
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
	if opts.Warn != nil {
		for _, w := range page.warnings {
			opts.Warn(w)
		}
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
		src = closeEmpty(src)
	}
	rest, streamed := cutTables(src)
	doc, err := html.Parse(strings.NewReader(rest))
	if err != nil {
		// The parser refuses to nest more than 512 elements.
		return &page{
			markdown: plainHTML(src),
			warnings: []string{fmt.Sprintf("%s is nested too deeply (%v): its text is kept without structure", opts.Name, err)},
		}, nil
	}
	p := &page{facts: htmlFacts(doc)}
	base := baseURL(doc, opts.BaseURL)
	pr := &pruner{whole: opts.Whole, noNavigation: opts.NoNavigation, streamed: streamed}
	content, warnings := pr.prune(doc, opts.Name)
	p.warnings = warnings
	w := &htmlWriter{ctx: ctx, base: base, name: opts.Name, limit: opts.Limit, streamed: streamed, whole: opts.Whole}
	w.node(content)
	w.block(0)
	if w.err != nil {
		return nil, w.err
	}
	if int64(len(w.out)) > opts.Limit {
		return nil, format.TooLarge(opts.Name, opts.Limit)
	}
	p.warnings = append(p.warnings, w.warnings...)
	p.markdown = string(w.out)
	return p, nil
}

// metaCharset finds the declaration of a charset in the head of a page, in
// either of its forms.
var metaCharset = regexp.MustCompile(`(?i)<meta[^>]{1,200}?charset\s*=\s*["']?\s*([a-z0-9_:.+-]{2,40})`)

var xmlEncoding = regexp.MustCompile(`^\s*<\?xml[^>]{1,100}?encoding\s*=\s*["']([A-Za-z0-9_:.+-]{2,40})["']`)

// DeclaredInHTML returns the charset that a page declares near its beginning, or "".
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
var emptyElement = regexp.MustCompile(`<([A-Za-z][A-Za-z0-9:._-]*)(\s[^<>]*)?/>`)

// closeEmpty writes the empty elements of XHTML as HTML has them.
func closeEmpty(src string) string {
	var b strings.Builder
	b.Grow(len(src) + len(src)/16)
	last := 0
	for _, m := range emptyElement.FindAllStringSubmatchIndex(src, -1) {
		name := src[m[2]:m[3]]
		if voidElements[strings.ToLower(name)] {
			continue
		}
		b.WriteString(src[last : m[1]-2])
		b.WriteString("></" + name + ">")
		last = m[1]
	}
	b.WriteString(src[last:])
	return b.String()
}

// voidElements have no end in HTML.
var voidElements = map[string]bool{
	"area": true, "base": true, "br": true, "col": true, "embed": true, "hr": true, "img": true, "input": true, "link": true, "meta": true,
	"param": true, "source": true, "track": true, "wbr": true, "keygen": true, "basefont": true, "bgsound": true, "frame": true,
}

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

// baseURL returns what relative links are relative to: what the page says, else
// its own address.
func baseURL(doc *html.Node, address string) *url.URL {
	u, err := url.Parse(address)
	if n := find(doc, func(n *html.Node) bool { return n.DataAtom == atom.Base && attr(n, "href") != "" }); n != nil {
		own, bad := url.Parse(strings.TrimSpace(attr(n, "href")))
		switch {
		case bad != nil:
		case err == nil && u.IsAbs():
			u = u.ResolveReference(own)
		default:
			u, err = own, nil
		}
	}
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
				f.Title = md.Line(textOf(n))
			}
		case atom.Meta:
			key := strings.ToLower(attr(n, "name") + attr(n, "property") + attr(n, "http-equiv") + attr(n, "itemprop"))
			if _, seen := meta[key]; !seen && len(meta) < 200 {
				meta[key] = md.Line(attr(n, "content"))
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
