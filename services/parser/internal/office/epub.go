package office

import (
	"context"
	"encoding/xml"
	"fmt"
	"path"
	"strings"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
)

// EPUB returns a reader of EPUB 2 and 3 books. Chapters go through html in the
// order of the spine; what the book says about itself comes first.
func EPUB(html HTML) format.Reader {
	return func(ctx context.Context, in format.Input) (*format.Output, error) {
		j := newJob(ctx, in)
		a, err := openArchive(j)
		if err != nil {
			return nil, err
		}
		b := &epub{archive: a, items: map[string]epubItem{}}
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
		out := &document{}
		b.head(out)
		for _, id := range b.spine {
			item, ok := b.items[id]
			if !ok || item.nav || !item.isText() {
				continue // the navigation repeats the headings
			}
			if err := j.alive(); err != nil {
				return nil, err
			}
			text, err := b.chapter(item, html)
			if err := b.optional(err, "chapter "+item.part); err != nil {
				return nil, err
			}
			if err := j.spend(len(text)); err != nil {
				return nil, err
			}
			out.add(block{kind: verbatim, text: strings.TrimSpace(text)})
		}
		return j.finish(out)
	}
}

type epub struct {
	*archive
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
	if b.has(container) {
		err = b.parse(container, func(x *xmlReader, _ xml.StartElement) error {
			return x.deep(func(se xml.StartElement) error {
				if se.Name.Local == "rootfile" && root == "" {
					root = resolve("", attr(se, "full-path"))
				}
				return nil
			})
		})
	}
	if err == nil && root == "" {
		err = b.corrupt(fmt.Errorf("it names no package file"), container)
	}
	return root, err
}

func (b *epub) packageFile(part string) error {
	dir := path.Dir(part) + "/"
	return b.parse(part, func(x *xmlReader, _ xml.StartElement) error {
		return x.each(func(se xml.StartElement) error {
			switch se.Name.Local {
			case "metadata":
				return x.deep(func(se xml.StartElement) error { return b.metadata(x, se) })
			case "manifest":
				return x.each(func(se xml.StartElement) error {
					b.items[attr(se, "id")] = epubItem{
						part:  resolve(dir, attr(se, "href")),
						media: attr(se, "media-type"),
						nav:   strings.Contains(" "+attr(se, "properties")+" ", " nav "),
					}
					return nil
				})
			case "spine":
				return x.each(func(se xml.StartElement) error {
					b.spine = append(b.spine, attr(se, "idref"))
					return nil
				})
			}
			return nil
		})
	})
}

func (b *epub) metadata(x *xmlReader, se xml.StartElement) error {
	name := se.Name.Local
	switch name {
	case "title", "creator", "language", "description", "date", "publisher", "subject", "identifier":
	case "meta":
		if attr(se, "property") != "dcterms:modified" {
			return nil
		}
		name = "modified"
	default:
		return nil
	}
	s, err := x.text()
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
		if b.facts.Language == "" {
			b.facts.Language = s
		}
	case "modified":
		b.facts.Modified = timestamp(s)
	}
	return nil
}

// head writes what the book says about itself.
func (b *epub) head(out *document) {
	b.facts.Title = strings.Join(b.titles, ": ")
	b.facts.Author = strings.Join(b.authors, ", ")
	if len(b.dates) > 0 {
		b.facts.Created = timestamp(b.dates[0])
	}
	for _, f := range []struct {
		label  string
		values []string
	}{
		{"Title", b.titles},
		{"Authors", b.authors},
		{"Language", []string{b.facts.Language}},
		{"Publisher", b.publishers},
		{"Date", b.dates},
		{"Subjects", b.subjects},
		{"Description", []string{b.description}},
		{"Identifier", b.identifiers},
	} {
		if s := strings.Join(f.values, ", "); s != "" {
			out.add(block{kind: mark, text: "**" + f.label + ":** " + md.EscapeInline(s)})
		}
	}
}

// refuseLocked fails on a book whose text is encrypted. Fonts that are merely
// scrambled, as the publishers of fonts ask for, do not matter.
func (b *epub) refuseLocked() error {
	const part = "META-INF/encryption.xml"
	if !b.has(part) {
		return nil
	}
	text := map[string]bool{}
	for _, item := range b.items {
		if item.isText() {
			text[partKey(item.part)] = true
		}
	}
	locked := false
	err := b.parse(part, func(x *xmlReader, _ xml.StartElement) error {
		return x.deep(func(se xml.StartElement) error {
			if se.Name.Local == "CipherReference" && text[partKey(resolve("", attr(se, "URI")))] {
				locked = true
			}
			return nil
		})
	})
	if err := b.optional(err, part); err != nil {
		return err
	}
	if locked {
		return b.encrypted("digital rights management")
	}
	return nil
}

func (b *epub) chapter(item epubItem, html HTML) (string, error) {
	data, err := b.read(item.part)
	if err != nil {
		return "", err
	}
	text, err := html(b.ctx, data)
	if err != nil {
		return "", b.corrupt(err, item.part)
	}
	return text, nil
}
