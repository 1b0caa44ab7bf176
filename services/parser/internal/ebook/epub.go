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
	if err := b.chapters(out, b.spine); err != nil {
		return nil, err
	}
	if b.read == 0 { // its spine is broken, or holds nothing but the navigation
		b.keepNavigation = true
		if err := b.chapters(out, b.order); err != nil {
			return nil, err
		}
	}
	if b.pictures > 0 {
		j.Warn("%d pages of the book are pictures, and are left out", b.pictures)
	}
	return j.Finish(out)
}

// chapters adds the chapters with these IDs.
func (b *epub) chapters(out *office.Document, ids []string) error {
	for _, id := range ids {
		if err := b.Alive(); err != nil {
			return err
		}
		item, ok := b.items[id]
		if !ok {
			b.Warn("the book names a chapter %q that it does not have", format.Clip(id, 80))
			continue
		}
		for range 8 { // what readers that cannot show it are given instead
			next, ok := b.items[item.fallback]
			if item.isText() || !ok {
				break
			}
			item = next
		}
		if !item.isText() && item.media != "image/svg+xml" {
			if strings.HasPrefix(item.media, "image/") && !b.keepNavigation {
				b.pictures++
			}
			continue
		}
		text, err := b.chapter(item)
		if err := b.Optional(err, "chapter "+item.part); err != nil {
			return err
		}
		if text == "" {
			if item.media == "image/svg+xml" && err == nil && !b.keepNavigation {
				b.pictures++
			}
			continue
		}
		b.read++
		if err := b.Spend(len(text)); err != nil {
			return err
		}
		out.Add(office.Block{Kind: office.Verbatim, Text: text})
	}
	return nil
}

type epub struct {
	*office.Archive
	read           int      // chapters that say something
	pictures       int      // pages that are nothing else
	order          []string // IDs of all items, as they are listed
	keepNavigation bool     // nothing else is there
	items          map[string]epubItem
	spine          []string // IDs of items
	titles         []string
	authors        []string
	publishers     []string
	dates          []string
	subjects       []string
	identifiers    []string
	description    string
}

type epubItem struct {
	part, media string
	fallback    string // ID of another item
	nav         bool
}

func (i epubItem) isText() bool {
	switch i.media {
	case "application/xhtml+xml", "text/html", "text/x-oeb1-document", "application/x-dtbook+xml":
		return true
	case "", "text/xml", "application/xml", "text/plain":
		ext := strings.ToLower(path.Ext(i.part))
		return ext == ".xhtml" || ext == ".html" || ext == ".htm"
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
					id := office.Attr(se, "id")
					b.items[id] = epubItem{
						part:     office.Resolve(dir, office.Attr(se, "href")),
						media:    strings.ToLower(strings.TrimSpace(office.Attr(se, "media-type"))),
						fallback: office.Attr(se, "fallback"),
						nav:      strings.Contains(" "+office.Attr(se, "properties")+" ", " nav "),
					}
					b.order = append(b.order, id)
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
	text, err := web.ToMarkdown(b.Ctx, data, web.Options{
		Name: item.part, Whole: true, NoNavigation: item.nav && !b.keepNavigation, Warn: func(w string) { b.Warn("%s", w) },
	})
	if err != nil {
		return "", b.Corrupt(err, item.part)
	}
	text = strings.TrimSpace(text)
	if item.nav && !b.keepNavigation && onlyHeadings(text) {
		return "", nil
	}
	return text, nil
}

// onlyHeadings reports whether nothing is left of a page whose lists of contents
// were taken out: they repeat the headings of the chapters.
func onlyHeadings(text string) bool {
	const few = 60 // bytes
	rest := 0
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			rest += len(strings.TrimSpace(line))
		}
	}
	return rest < few
}
