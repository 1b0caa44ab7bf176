package data

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/web"
)

// Feed reads RSS (0.9 to 2.0) and Atom: the feed's title as heading 1, each
// entry under heading 2, their HTML as Markdown. What programs exchange (when to
// ask again, where the feed itself is) is left out.
func Feed(ctx context.Context, in format.Input) (*format.Output, error) {
	src, warnings, err := format.Decode(in, web.DeclaredInHTML(in.Data))
	if err != nil {
		return nil, err
	}
	out := &format.Output{Warnings: warnings}
	w := &feedWriter{ctx: ctx, in: in, limit: format.OutputLimit(in.Limits.Output), out: out}
	channel := &feedEntry{}
	var entry *feedEntry // that is read
	d := newXMLDecoder(src)
	for {
		if ctx.Err() != nil {
			return nil, format.Ended(ctx, format.NameOf(in))
		}
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if start, ok := tok.(xml.StartElement); err == nil && ok {
			switch strings.ToLower(start.Name.Local) {
			case "rss", "rdf", "channel", "feed":
				channel.see(start, channel)
			case "item", "entry":
				if entry != nil { // one within one: the first is not closed
					if err := w.write(2, entry); err != nil {
						return nil, err
					}
				}
				entry = &feedEntry{}
				entry.see(start, channel)
			default:
				n := feedNode{}
				if err = d.DecodeElement(&n, &start); err != nil {
					break
				}
				if entry != nil {
					entry.add(&n)
				} else {
					channel.add(&n)
				}
			}
		}
		if err != nil {
			var syntax *xml.SyntaxError
			if !errors.As(err, &syntax) {
				line, _ := d.InputPos()
				syntax = &xml.SyntaxError{Line: line, Msg: err.Error()}
			}
			out.Warnings = append(out.Warnings, fmt.Sprintf("%s is not well-formed from line %d on (%s); what follows is left out", format.NameOf(in), syntax.Line, syntax.Msg))
			break
		}
		if end, ok := tok.(xml.EndElement); ok && entry != nil {
			if name := strings.ToLower(end.Name.Local); name == "item" || name == "entry" {
				if err := w.write(2, entry); err != nil {
					return nil, err
				}
				entry = nil
			}
		}
	}
	if entry != nil { // the file ends within it
		if err := w.write(2, entry); err != nil {
			return nil, err
		}
	}
	// The feed may say of itself what it is behind its entries.
	entries := w.b.String()
	w.b.Reset()
	if err := w.write(1, channel); err != nil {
		return nil, err
	}
	out.Markdown = w.b.String() + entries
	if int64(len(out.Markdown)) > w.limit {
		return nil, format.TooLarge(format.NameOf(in), w.limit)
	}
	out.Facts.Title = channel.title.plain()
	var authors []string
	for _, p := range channel.authors() {
		if p.name == "" {
			p.name = p.mail
		}
		authors = append(authors, p.name)
	}
	out.Facts.Author = strings.Join(authors, ", ")
	out.Facts.Language = format.Language(channel.language)
	out.Facts.Created = format.When(channel.date)
	out.Facts.Modified = format.When(channel.updated)
	return out, nil
}

// feedNode is an element that a feed or an entry says something in.
type feedNode struct {
	XMLName xml.Name
	Attrs   []xml.Attr  `xml:",any,attr"`
	Text    string      `xml:",chardata"`
	Inner   string      `xml:",innerxml"` // where elements are markup
	Kids    []feedChild `xml:",any"`
}

// feedChild is an element within one. It has no markup of its own: every level
// would hold that of all below it.
type feedChild struct {
	XMLName xml.Name
	Attrs   []xml.Attr  `xml:",any,attr"`
	Text    string      `xml:",chardata"`
	Kids    []feedChild `xml:",any"`
}

func feedAttr(attrs []xml.Attr, name string) string {
	for _, a := range attrs {
		if a.Name.Local == name {
			return strings.TrimSpace(a.Value)
		}
	}
	return ""
}

// child returns the text of the first child of that name.
func (n *feedNode) child(name string) string {
	for _, k := range n.Kids {
		if strings.EqualFold(k.XMLName.Local, name) && strings.TrimSpace(k.Text) != "" {
			return k.Text
		}
	}
	return ""
}
