package data

import (
	"encoding/xml"
	"html"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
)

// feedEntry is what a feed says of itself or of one of its entries.
type feedEntry struct {
	title         feedText
	link, guid    string
	base          string
	date, updated string
	people        []person // who wrote it
	language      string
	categories    []string
	content       []feedText
	summaries     []feedText
	fields        []feedField // what else it says
}

// feedText is a text of a feed, and whether it is HTML.
type feedText struct {
	text string
	html bool
}

// person is named in a feed.
type person struct{ name, mail, url string }

// feedField is a line of an entry: what an element is called, its text or address.
type feedField struct {
	label string
	value feedText
	url   string
	note  string // on what is at the address
}

const atomSpace = "http://www.w3.org/2005/Atom"

// feedMachine are elements for programs: when to ask again, where, by which number.
// What they say is shown to no reader.
var feedMachine = map[string]bool{
	"ttl": true, "skiphours": true, "skipdays": true, "docs": true, "cloud": true, "generator": true, "rating": true, "textinput": true, "items": true,
	"icon": true, "logo": true, "thumbnail": true, "updateperiod": true, "updatefrequency": true, "updatebase": true, "commentrss": true, "origlink": true,
	"origenclosurelink": true, "new-feed-url": true, "explicit": true, "block": true, "complete": true, "type": true, "episodetype": true, "locked": true,
	"order": true, "hash": true, "restriction": true, "statistics": true, "total": true, "identifier": true, "format": true, "post-id": true, "site": true,
	"errorreportsto": true, "generatoragent": true, "info": true, "emailserviceid": true, "feedburnerhostname": true, "control": true, "edited": true,
}

// see notes what the element around a feed or an entry says of all in it.
func (e *feedEntry) see(start xml.StartElement, channel *feedEntry) {
	if e != channel {
		e.base = channel.base
		if e.base == "" {
			e.base = channel.link
		}
	}
	if lang := feedAttr(start.Attr, "lang"); lang != "" && e.language == "" {
		e.language = lang
	}
	if base := feedAttr(start.Attr, "base"); base != "" {
		e.base = e.resolve(base)
	}
}

// add notes what an element says.
func (e *feedEntry) add(n *feedNode) {
	name, space := strings.ToLower(n.XMLName.Local), strings.ToLower(n.XMLName.Space)
	extra := strings.Contains(space, "itunes") || strings.Contains(space, "mrss") || strings.Contains(space, "media") || strings.Contains(space, "googleplay")
	text := n.value()
	line := md.Line(n.Text)
	switch name {
	case "title":
		if e.title.text == "" && !extra {
			e.title = n.titleText()
			return
		}
		e.fields = append(e.fields, feedField{label: "Title", value: n.titleText()})
	case "description", "summary", "subtitle", "tagline", "abstract":
		e.summaries = append(e.summaries, text)
	case "encoded", "content", "body":
		if extra {
			e.medium(n.XMLName, n.Attrs, n.Text, n.Kids)
			return
		}
		if src := feedAttr(n.Attrs, "src"); src != "" {
			e.fields = append(e.fields, feedField{label: "Content", url: src, note: feedAttr(n.Attrs, "type")})
		}
		e.content = append(e.content, text)
	case "link":
		e.addLink(n, line)
	case "guid", "id":
		if e.guid == "" && feedAttr(n.Attrs, "isPermaLink") != "false" && strings.HasPrefix(line, "http") {
			e.guid = line
		}
	case "pubdate", "published", "date", "issued", "created":
		e.addDate(n.XMLName.Local, &e.date, line)
	case "lastbuilddate", "updated", "modified":
		e.addDate("updated", &e.updated, line)
	case "author", "creator":
		e.people = append(e.people, n.person())
	case "language":
		e.language = line
	case "category", "subject", "keywords":
		e.addCategories(n, extra || name == "keywords")
	case "enclosure":
		e.fields = append(e.fields, feedField{label: "Enclosure", value: feedText{text: feedAttr(n.Attrs, "title")}, url: feedAttr(n.Attrs, "url"), note: feedAttr(n.Attrs, "type")})
	case "source":
		title := n.child("title")
		if title == "" {
			title = line
		}
		e.fields = append(e.fields, feedField{label: "Source", value: feedText{text: title, html: true}, url: feedAttr(n.Attrs, "url")})
	case "image":
		e.fields = append(e.fields, feedField{label: "Image", value: feedText{text: n.child("title")}})
	case "comments":
		if strings.HasPrefix(line, "http") { // else their number
			e.fields = append(e.fields, feedField{label: "Comments", url: line})
		}
	default:
		if feedMachine[name] {
			return
		}
		if extra {
			e.medium(n.XMLName, n.Attrs, n.Text, n.Kids)
			return
		}
		e.other(n.XMLName, n.Attrs, n.Text, n.Kids)
	}
}

// addLink takes a link: of RSS as text, of Atom as an attribute with its meaning.
func (e *feedEntry) addLink(n *feedNode, line string) {
	href, rel := feedAttr(n.Attrs, "href"), strings.ToLower(feedAttr(n.Attrs, "rel"))
	if href == "" {
		href, rel = line, ""
	}
	note := feedAttr(n.Attrs, "type")
	switch rel {
	case "", "alternate":
		if e.link == "" {
			e.link = href
			return
		}
		rel, note = "link", feedAttr(n.Attrs, "hreflang")
	case "enclosure", "related", "via", "author", "license", "payment", "describedby":
	default: // where the feed goes on, and how it is written to
		return
	}
	e.fields = append(e.fields, feedField{label: label(rel), value: feedText{text: feedAttr(n.Attrs, "title")}, url: href, note: note})
}

func (e *feedEntry) addDate(name string, to *string, line string) {
	if *to == "" {
		*to = line
		return
	}
	if when := format.When(line); when == "" || when != format.When(*to) {
		e.fields = append(e.fields, feedField{label: label(name), value: feedText{text: line}})
	}
}

func (e *feedEntry) addCategories(n *feedNode, list bool) {
	put := func(attrs []xml.Attr, text string) {
		for _, name := range []string{"label", "text", "term"} {
			if v := feedAttr(attrs, name); v != "" && md.Line(text) == "" {
				text = v
			}
		}
		parts := []string{text}
		if list {
			parts = strings.Split(text, ",")
		}
		for _, p := range parts {
			if p = md.Line(html.UnescapeString(p)); p != "" {
				e.categories = append(e.categories, p)
			}
		}
	}
	put(n.Attrs, n.Text)
	for _, k := range n.Kids {
		put(k.Attrs, k.Text)
	}
}

// medium takes an element of the vocabularies of media: they repeat titles and
// descriptions, and hold files within groups.
func (e *feedEntry) medium(name xml.Name, attrs []xml.Attr, text string, kids []feedChild) {
	switch strings.ToLower(name.Local) {
	case "title":
		e.fields = append(e.fields, feedField{label: "Title", value: feedText{text: text}})
	case "description", "subtitle", "summary":
		e.summaries = append(e.summaries, feedText{text, true})
	case "keywords", "category":
		e.addCategories(&feedNode{Attrs: attrs, Text: text, Kids: kids}, true)
	case "group", "content":
		kind := feedAttr(attrs, "type")
		picture := feedAttr(attrs, "medium") == "image" || strings.HasPrefix(kind, "image/")
		if u := feedAttr(attrs, "url"); u != "" && !picture {
			e.fields = append(e.fields, feedField{label: "Media", url: u, note: kind})
		}
		for _, k := range kids {
			e.medium(k.XMLName, k.Attrs, k.Text, k.Kids)
		}
	default:
		if !feedMachine[strings.ToLower(name.Local)] {
			e.other(name, attrs, text, kids)
		}
	}
}

// other takes an element of which no more is known than its name.
func (e *feedEntry) other(name xml.Name, attrs []xml.Attr, text string, kids []feedChild) {
	parts := []string{md.Line(text)}
	address := feedAttr(attrs, "url")
	if address == "" {
		address = feedAttr(attrs, "href")
	}
	var below func(kids []feedChild)
	below = func(kids []feedChild) {
		for _, k := range kids {
			if !feedMachine[strings.ToLower(k.XMLName.Local)] {
				parts = append(parts, md.Line(k.Text))
				below(k.Kids)
			}
		}
	}
	below(kids)
	parts = slices.DeleteFunc(parts, func(s string) bool { return s == "" })
	if strings.EqualFold(name.Local, "image") {
		address = "" // a picture says nothing
	}
	e.fields = append(e.fields, feedField{label: label(name.Local), value: feedText{strings.Join(parts, ", "), true}, url: address, note: feedAttr(attrs, "type")})
}

func (n *feedNode) person() person {
	p := person{name: md.Line(n.Text)}
	if name := n.child("name"); name != "" {
		p.name = md.Line(name)
	}
	p.mail, p.url = md.Line(n.child("email")), md.Line(n.child("uri"))
	return p
}

// String returns a person as mails show theirs: "address (Name)".
func (p person) String() string {
	s := md.EscapeInline(p.name)
	if p.mail != "" && p.mail != p.name {
		s = md.EscapeInline(strings.TrimSpace(p.mail + " (" + p.name + ")"))
		if p.name == "" {
			s = md.EscapeInline(p.mail)
		}
	}
	if p.url != "" {
		s = md.Link(s, p.url)
	}
	return s
}

// authors returns those who wrote it, each once: programs name them in several
// elements, here with an address and there without.
func (e *feedEntry) authors() (all []person) {
	const most = 100 // that are looked for among the others
	for _, p := range e.people {
		name := p.name
		if name == "" {
			name = p.mail
		}
		if name != "" && (len(all) > most || !slices.ContainsFunc(all, func(o person) bool { return strings.Contains(o.String(), name) })) {
			all = append(all, p)
		}
	}
	return all
}

// resolve returns an address as it is without the feed around it.
func (e *feedEntry) resolve(address string) string {
	address = strings.TrimSpace(address)
	base, err := url.Parse(e.base)
	if address == "" || err != nil || !base.IsAbs() {
		return address
	}
	if u, err := base.Parse(address); err == nil {
		return u.String()
	}
	return address
}

// label returns the name of an element as words: lastBuildDate is "Last build date".
func label(name string) string {
	var b strings.Builder
	for i, r := range name {
		switch {
		case i == 0:
			b.WriteRune(unicode.ToUpper(r))
		case r == '-' || r == '_' || r == '.':
			b.WriteByte(' ')
		case unicode.IsUpper(r):
			b.WriteString(" " + string(unicode.ToLower(r)))
		default:
			b.WriteRune(r)
		}
	}
	return md.EscapeInline(b.String())
}
