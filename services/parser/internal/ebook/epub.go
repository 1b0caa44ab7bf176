// Package ebook reads e-books.
package ebook

import (
	"context"
	"encoding/xml"
	"fmt"
	"path"
	"strings"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
	"sluice/services/parser/internal/office"
	"sluice/services/parser/internal/web"
)

// EPUB reads EPUB 2 and 3 books. Chapters come in the order of the spine; what
// the book says about itself comes first.
func EPUB(ctx context.Context, in format.Input) (*format.Output, error) {
	j := office.NewJob(ctx, in)
	a, err := office.OpenArchive(j)
	if err != nil {
		return nil, err
	}
	b := &epub{Archive: a, items: map[string]epubItem{}}
	root, err := b.rootFile()
	if err != nil {
		return nil, err
	}
	if err := b.packageFile(root); err != nil {
		return nil, err
	}
	if err := b.refuseLocked(); err != nil {
		return nil, err
	}
	out := &office.Document{}
	b.head(out)
	for _, id := range b.spine {
		item, ok := b.items[id]
		if !ok || item.nav || !item.isText() {
			continue // the navigation repeats the headings
		}
		if err := j.Alive(); err != nil {
			return nil, err
		}
		text, err := b.chapter(item)
		if err := b.Optional(err, "chapter "+item.part); err != nil {
			return nil, err
		}
		if err := j.Spend(len(text)); err != nil {
			return nil, err
		}
		out.Add(office.Block{Kind: office.Verbatim, Text: strings.TrimSpace(text)})
	}
	return j.Finish(out)
}

type epub struct {
	*office.Archive
	items       map[string]epubItem
	spine       []string // IDs of items
	titles      []string
	authors     []string
	publishers  []string
	dates       []string
	subjects    []string
	identifiers []string
	description string
}

type epubItem struct {
	part, media string
	nav         bool
}

func (i epubItem) isText() bool {
	switch i.media {
	case "application/xhtml+xml", "text/html", "text/x-oeb1-document", "application/x-dtbook+xml":
		return true
	}
	return false
}

// rootFile returns the part that describes the book.
func (b *epub) rootFile() (root string, err error) {
	const container = "META-INF/container.xml"
	if b.Has(container) {
		err = b.Parse(container, func(x *office.XML, _ xml.StartElement) error {
			return x.Deep(func(se xml.StartElement) error {
				if se.Name.Local == "rootfile" && root == "" {
					root = office.Resolve("", office.Attr(se, "full-path"))
				}
				return nil
			})
		})
	}
	if err == nil && root == "" {
		err = b.Corrupt(fmt.Errorf("it names no package file"), container)
	}
	return root, err
}

func (b *epub) packageFile(part string) error {
	dir := path.Dir(part) + "/"
	return b.Parse(part, func(x *office.XML, _ xml.StartElement) error {
		return x.Each(func(se xml.StartElement) error {
			switch se.Name.Local {
			case "metadata":
				return x.Deep(func(se xml.StartElement) error { return b.metadata(x, se) })
			case "manifest":
				return x.Each(func(se xml.StartElement) error {
					b.items[office.Attr(se, "id")] = epubItem{
						part:  office.Resolve(dir, office.Attr(se, "href")),
						media: office.Attr(se, "media-type"),
						nav:   strings.Contains(" "+office.Attr(se, "properties")+" ", " nav "),
					}
					return nil
				})
			case "spine":
				return x.Each(func(se xml.StartElement) error {
					b.spine = append(b.spine, office.Attr(se, "idref"))
					return nil
				})
			}
			return nil
		})
	})
}

func (b *epub) metadata(x *office.XML, se xml.StartElement) error {
	name := se.Name.Local
	switch name {
	case "title", "creator", "language", "description", "date", "publisher", "subject", "identifier":
	case "meta":
		if office.Attr(se, "property") != "dcterms:modified" {
			return nil
		}
		name = "modified"
	default:
		return nil
	}
	s, err := x.Text()
	if s = md.Line(s); err != nil || s == "" {
		return err
	}
	switch name {
	case "title":
		b.titles = append(b.titles, s)
	case "creator":
		b.authors = append(b.authors, s)
	case "publisher":
		b.publishers = append(b.publishers, s)
	case "date":
		b.dates = append(b.dates, s)
	case "subject":
		b.subjects = append(b.subjects, s)
	case "identifier":
		b.identifiers = append(b.identifiers, s)
	case "description":
		b.description = s
	case "language":
		if b.Facts.Language == "" {
			b.Facts.Language = s
		}
	case "modified":
		b.Facts.Modified = office.Timestamp(s)
	}
	return nil
}

// head writes what the book says about itself.
func (b *epub) head(out *office.Document) {
	b.Facts.Title = strings.Join(b.titles, ": ")
	b.Facts.Author = strings.Join(b.authors, ", ")
	if len(b.dates) > 0 {
		b.Facts.Created = office.Timestamp(b.dates[0])
	}
	for _, f := range []struct {
		label  string
		values []string
	}{
		{"Title", b.titles},
		{"Authors", b.authors},
		{"Language", []string{b.Facts.Language}},
		{"Publisher", b.publishers},
		{"Date", b.dates},
		{"Subjects", b.subjects},
		{"Description", []string{b.description}},
		{"Identifier", b.identifiers},
	} {
		if s := strings.Join(f.values, ", "); s != "" {
			out.Add(office.Block{Kind: office.Mark, Text: "**" + f.label + ":** " + md.EscapeInline(s)})
		}
	}
}

// refuseLocked fails on a book whose text is encrypted. Fonts that are merely
// scrambled, as the publishers of fonts ask for, do not matter.
func (b *epub) refuseLocked() error {
	const part = "META-INF/encryption.xml"
	if !b.Has(part) {
		return nil
	}
	text := map[string]bool{}
	for _, item := range b.items {
		if item.isText() {
			text[office.PartKey(item.part)] = true
		}
	}
	locked := false
	err := b.Parse(part, func(x *office.XML, _ xml.StartElement) error {
		return x.Deep(func(se xml.StartElement) error {
			if se.Name.Local == "CipherReference" && text[office.PartKey(office.Resolve("", office.Attr(se, "URI")))] {
				locked = true
			}
			return nil
		})
	})
	if err := b.Optional(err, part); err != nil {
		return err
	}
	if locked {
		return b.Encrypted("digital rights management")
	}
	return nil
}

func (b *epub) chapter(item epubItem) (string, error) {
	data, err := b.Read(item.part)
	if err != nil {
		return "", err
	}
	text, err := web.ToMarkdown(b.Ctx, data, web.Options{Whole: true})
	if err != nil {
		return "", b.Corrupt(err, item.part)
	}
	return text, nil
}
