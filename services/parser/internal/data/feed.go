package data

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
	"sluice/services/parser/internal/web"
)

// feedEntry is what a feed says of itself or of one of its entries.
type feedEntry struct {
	title, link, summary, content, date, updated, author, language string
	categories                                                     []string
}

// Feed reads RSS (0.9 to 2.0) and Atom: the feed's title as heading 1, each
// entry under heading 2, their HTML as Markdown.
func Feed(ctx context.Context, in format.Input) (*format.Output, error) {
	src, warnings, err := format.Decode(in, web.DeclaredInHTML(in.Data))
	if err != nil {
		return nil, err
	}
	limit := format.OutputLimit(in.Limits.Output)
	out := &format.Output{Warnings: warnings}
	var b strings.Builder
	var channel feedEntry
	var entry *feedEntry
	headWritten := false
	head := func() error {
		if headWritten {
			return nil
		}
		headWritten = true
		return writeEntry(ctx, in, &b, 1, &channel, limit, out)
	}

	d := newXMLDecoder(src)
	var path []string
	var text strings.Builder
	skip := 0 // depth inside an element of the feed whose titles are not the feed's
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		var syntax *xml.SyntaxError
		if errors.As(err, &syntax) {
			out.Warnings = append(out.Warnings, fmt.Sprintf("%s is not well-formed from line %d on (%s); what follows is left out", format.NameOf(in), syntax.Line, syntax.Msg))
			break
		}
		if err != nil {
			return nil, format.Corrupt(err, format.NameOf(in), "it is not a readable feed")
		}
		if ctx.Err() != nil {
			return nil, format.Ended(ctx, format.NameOf(in))
		}
		switch t := tok.(type) {
		case xml.StartElement:
			name := t.Name.Local
			path = append(path, name)
			switch {
			case skip > 0 || name == "image" || name == "source" || name == "textinput" || name == "textInput":
				skip++
				continue
			case name == "item" || name == "entry":
				if err := head(); err != nil {
					return nil, err
				}
				entry = &feedEntry{}
			case name == "link":
				of(&channel, entry).setLink(t.Attr)
			case name == "category":
				for _, a := range t.Attr {
					if a.Name.Local == "label" || a.Name.Local == "term" {
						of(&channel, entry).addCategory(a.Value)
						break
					}
				}
			case isXHTMLContent(t):
				// Atom's XHTML is markup, not text: take it back as it was.
				inner, err := innerXML(d, t)
				if err != nil {
					return nil, format.Corrupt(err, format.NameOf(in), "an entry of the feed is malformed")
				}
				path = path[:len(path)-1]
				of(&channel, entry).set(name, t.Name.Space, inner)
				continue
			}
			text.Reset()
		case xml.CharData:
			if skip == 0 {
				text.Write(t)
			}
		case xml.EndElement:
			name := t.Name.Local
			if len(path) > 0 {
				path = path[:len(path)-1]
			}
			if skip > 0 {
				skip--
				continue
			}
			if (name == "item" || name == "entry") && entry != nil {
				if err := writeEntry(ctx, in, &b, 2, entry, limit, out); err != nil {
					return nil, err
				}
				entry = nil
				continue
			}
			parent := ""
			if len(path) > 0 {
				parent = path[len(path)-1]
			}
			e := of(&channel, entry)
			if parent == "author" && name == "name" {
				e.author = md.Line(text.String())
			} else {
				e.set(name, t.Name.Space, text.String())
			}
			text.Reset()
		}
	}
	if err := head(); err != nil {
		return nil, err
	}
	out.Markdown = b.String()
	out.Facts.Title = channel.title
	out.Facts.Author = channel.author
	out.Facts.Language = format.Language(channel.language)
	out.Facts.Created = format.When(channel.date)
	out.Facts.Modified = format.When(channel.updated)
	return out, nil
}

// of returns the entry being read, or the feed itself between entries.
func of(channel, entry *feedEntry) *feedEntry {
	if entry != nil {
		return entry
	}
	return channel
}

func (e *feedEntry) setLink(attrs []xml.Attr) {
	href, rel := "", "alternate"
	for _, a := range attrs {
		switch a.Name.Local {
		case "href":
			href = a.Value
		case "rel":
			rel = a.Value
		}
	}
	if rel == "alternate" && href != "" && e.link == "" {
		e.link = href
	}
}

func (e *feedEntry) addCategory(s string) {
	const most = 50
	if s = md.Line(s); s != "" && len(e.categories) < most {
		e.categories = append(e.categories, s)
	}
}

// set stores the text of an element under what it means.
func (e *feedEntry) set(name, space, value string) {
	if strings.TrimSpace(value) == "" || strings.Contains(space, "search.yahoo.com/mrss") {
		return // the media module repeats titles and descriptions
	}
	switch name {
	case "title":
		if e.title == "" {
			e.title = md.Line(value)
		}
	case "link":
		if e.link == "" {
			e.link = md.Line(value)
		}
	case "description", "summary", "subtitle", "tagline":
		if e.summary == "" {
			e.summary = value
		}
	case "encoded", "content":
		e.content = value
	case "pubDate", "published", "date", "issued", "created":
		e.date = md.Line(value)
	case "lastBuildDate", "updated", "modified":
		e.updated = md.Line(value)
	case "author", "creator", "managingEditor":
		if e.author == "" {
			e.author = md.Line(value)
		}
	case "language":
		e.language = md.Line(value)
	case "category", "subject":
		e.addCategory(value)
	}
}

// isXHTMLContent reports whether an Atom element holds markup as elements.
func isXHTMLContent(t xml.StartElement) bool {
	for _, a := range t.Attr {
		if a.Name.Local == "type" && a.Value == "xhtml" {
			return true
		}
	}
	return false
}

// innerXML returns what stands between start and its end, as markup.
func innerXML(d *xml.Decoder, start xml.StartElement) (string, error) {
	var v struct {
		Inner string `xml:",innerxml"`
	}
	if err := d.DecodeElement(&v, &start); err != nil {
		return "", err
	}
	return v.Inner, nil
}

// writeEntry writes a feed (level 1) or an entry of it (level 2).
func writeEntry(ctx context.Context, in format.Input, b *strings.Builder, level int, e *feedEntry, limit int64, out *format.Output) error {
	title, err := web.ToMarkdown(ctx, []byte(e.title), web.Options{Charset: "utf-8", Limit: limit})
	if err != nil {
		return err
	}
	if title == "" && level > 1 {
		title = e.link
	}
	if h := md.Heading(level, title); h != "" {
		b.WriteString(h + "\n\n")
	}
	var about []string
	date := e.date
	if date == "" {
		date = e.updated
	}
	for _, s := range []string{date, e.author} {
		if s != "" {
			about = append(about, md.EscapeInline(s))
		}
	}
	if e.link != "" && level > 1 {
		about = append(about, md.Link("", web.UnwrapTracker(e.link)))
	}
	if len(about) > 0 && level > 1 {
		b.WriteString(strings.Join(about, " · ") + "\n\n")
	}
	if len(e.categories) > 0 && level > 1 {
		b.WriteString(md.Escape(strings.Join(e.categories, ", ")) + "\n\n")
	}
	content := e.content
	if strings.TrimSpace(content) == "" {
		content = e.summary
	}
	body, err := web.ToMarkdown(ctx, []byte(content), web.Options{
		Name: format.NameOf(in), Charset: "utf-8", BaseURL: e.link, Limit: limit, Whole: true,
		Warn: func(w string) { out.Warnings = append(out.Warnings, w) },
	})
	if err != nil {
		return err
	}
	if body != "" {
		b.WriteString(body + "\n\n")
	}
	if int64(b.Len()) > limit {
		return format.TooLarge(format.NameOf(in), limit)
	}
	return nil
}
