// Package data reads data and what is made of it: CSV, JSON, XML, feeds and
// notebooks.
package data

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
	"sluice/services/parser/internal/web"
)

// newXMLDecoder reads XML leniently. It is given UTF-8, whatever the document
// declares: the charset has been settled before.
func newXMLDecoder(src string) *xml.Decoder {
	d := xml.NewDecoder(strings.NewReader(src))
	d.Strict = false
	d.Entity = xml.HTMLEntity
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	return d
}

// XML reads XML of no particular vocabulary. Documents (with paragraphs or
// titles) become headings, paragraphs, lists and tables; data becomes nested
// lists of names and values. What is not well-formed is kept as it stands, with
// a warning.
func XML(ctx context.Context, in format.Input) (*format.Output, error) {
	src, warnings, err := format.Decode(in, web.DeclaredInHTML(in.Data))
	if err != nil {
		return nil, err
	}
	limit := format.OutputLimit(in.Limits.Output)
	out := &format.Output{Warnings: warnings}
	write := writeData
	if proseXML.MatchString(src) {
		write = writeProse
	}
	out.Markdown, err = write(ctx, in, src, limit)
	var syntax *xml.SyntaxError
	switch {
	case errors.As(err, &syntax):
		out.Warnings = append(out.Warnings, fmt.Sprintf("%s is not well-formed XML (line %d: %s); it is kept as it is", format.NameOf(in), syntax.Line, syntax.Msg))
		out.Markdown = md.Fence("xml", strings.TrimSpace(src))
	case err != nil:
		return nil, err
	}
	return out, nil
}

// proseXML finds the elements that vocabularies for documents (DocBook, JATS,
// TEI, DITA) have and those for data do not.
var proseXML = regexp.MustCompile(`<(?:[A-Za-z][\w.-]*:)?(?:para|p|simpara|sec|sect1|chapter|abstract)[\s>]`)

// xmlElement is an element that has been opened and not closed.
type xmlElement struct {
	name    string
	attrs   string
	text    strings.Builder
	written bool // data: the line of the element is out
}

// writeData writes each element as a list item under that of its parent:
// "* name: value", with attributes in parentheses.
func writeData(ctx context.Context, in format.Input, src string, limit int64) (string, error) {
	const deepest = 12 // levels of indentation
	var (
		b     strings.Builder
		stack []*xmlElement
		steps int
	)
	line := func(depth int, e *xmlElement, value string) {
		b.WriteString(strings.Repeat("  ", min(depth, deepest)))
		b.WriteString("* ")
		b.WriteString(md.EscapeInline(e.name))
		if e.attrs != "" {
			b.WriteString(" (" + e.attrs + ")")
		}
		if value != "" {
			b.WriteString(": " + md.EscapeInline(value))
		}
		b.WriteByte('\n')
	}
	// flush writes the line of an open element before that of its child.
	flush := func(depth int) {
		e := stack[depth]
		text := md.Fold(e.text.String())
		e.text.Reset()
		if !e.written {
			e.written = true
			line(depth, e, text)
		} else if text != "" {
			b.WriteString(strings.Repeat("  ", min(depth+1, deepest)) + "* " + md.Escape(text) + "\n")
		}
	}
	d := newXMLDecoder(src)
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return b.String(), nil
		}
		if err != nil {
			return "", err
		}
		if steps++; steps&1023 == 0 {
			if ctx.Err() != nil {
				return "", format.Ended(ctx, format.NameOf(in))
			}
			if int64(b.Len()) > limit {
				return "", format.TooLarge(format.NameOf(in), limit)
			}
		}
		switch t := tok.(type) {
		case xml.StartElement:
			if len(stack) > 0 {
				flush(len(stack) - 1)
			}
			stack = append(stack, &xmlElement{name: t.Name.Local, attrs: xmlAttrs(t.Attr)})
		case xml.CharData:
			if len(stack) > 0 {
				stack[len(stack)-1].text.Write(t)
			}
		case xml.EndElement:
			if len(stack) == 0 {
				continue
			}
			depth := len(stack) - 1
			if e := stack[depth]; !e.written || strings.TrimSpace(e.text.String()) != "" {
				flush(depth)
			}
			stack = stack[:depth]
		}
	}
}

func xmlAttrs(attrs []xml.Attr) string {
	var b strings.Builder
	for _, a := range attrs {
		if a.Name.Local == "xmlns" || a.Name.Space == "xmlns" || a.Name.Local == "schemaLocation" {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(a.Name.Local + "=" + md.EscapeInline(md.Fold(a.Value)))
	}
	return b.String()
}

// writeProse writes the text of a document in the order it stands, with the
// structure that the common element names tell.
func writeProse(ctx context.Context, in format.Input, src string, limit int64) (string, error) {
	var (
		b       strings.Builder
		text    strings.Builder // of the block being read
		open    []string
		level   int    // of sections around
		item    string // the list marker owed
		rows    [][]string
		inTable int
		steps   int
	)
	block := func(prefix string) {
		s := md.Fold(text.String())
		text.Reset()
		if s == "" {
			return
		}
		if inTable > 0 && len(rows) > 0 {
			row := &rows[len(rows)-1]
			if len(*row) == 0 {
				*row = append(*row, "")
			}
			cell := &(*row)[len(*row)-1]
			*cell = strings.TrimSpace(*cell + " " + md.EscapeInline(s))
			return
		}
		if prefix == "" {
			prefix, item = item, ""
		}
		b.WriteString(prefix + md.Escape(s) + "\n\n")
	}
	d := newXMLDecoder(src)
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			block("")
			return b.String(), nil
		}
		if err != nil {
			return "", err
		}
		if steps++; steps&1023 == 0 {
			if ctx.Err() != nil {
				return "", format.Ended(ctx, format.NameOf(in))
			}
			if int64(b.Len()+text.Len()) > limit {
				return "", format.TooLarge(format.NameOf(in), limit)
			}
		}
		switch t := tok.(type) {
		case xml.StartElement:
			name := strings.ToLower(t.Name.Local)
			open = append(open, name)
			if proseInline[name] {
				continue
			}
			block("")
			switch {
			case proseSection[name]:
				level++
			case name == "table" || name == "informaltable":
				inTable++
			case name == "tr" || name == "row":
				rows = append(rows, nil)
			case name == "td" || name == "th" || name == "entry" || name == "cell":
				if inTable > 0 && len(rows) > 0 {
					rows[len(rows)-1] = append(rows[len(rows)-1], "")
				}
			case name == "li" || name == "listitem" || name == "list-item" || name == "item":
				item = "* "
			}
		case xml.CharData:
			text.Write(t)
		case xml.EndElement:
			name := strings.ToLower(t.Name.Local)
			if len(open) > 0 {
				open = open[:len(open)-1]
			}
			switch {
			case proseInline[name]:
				continue
			case name == "title" || name == "head" || name == "article-title" || name == "heading":
				block(strings.Repeat("#", min(level+1, 6)) + " ")
			default:
				block("")
			}
			switch {
			case proseSection[name]:
				level = max(level-1, 0)
			case (name == "table" || name == "informaltable") && inTable > 0:
				if inTable--; inTable == 0 {
					if s := md.Table(rows); s != "" {
						b.WriteString(s + "\n\n")
					}
					rows = nil
				}
			}
		}
	}
}

var (
	proseSection = map[string]bool{
		"sec": true, "section": true, "sect1": true, "sect2": true, "sect3": true, "sect4": true, "sect5": true,
		"chapter": true, "part": true, "appendix": true, "div": true, "div1": true, "div2": true, "div3": true,
		"abstract": true, "topic": true, "preface": true,
	}
	proseInline = map[string]bool{
		"a": true, "abbrev": true, "acronym": true, "application": true, "b": true, "bold": true, "citetitle": true,
		"code": true, "command": true, "email": true, "emph": true, "emphasis": true, "ext-link": true, "filename": true,
		"foreignphrase": true, "function": true, "guilabel": true, "hi": true, "i": true, "inline-formula": true,
		"italic": true, "link": true, "literal": true, "lb": true, "monospace": true, "name": true, "num": true,
		"option": true, "orgname": true, "parameter": true, "persname": true, "phrase": true, "placename": true,
		"quote": true, "ref": true, "rs": true, "sc": true, "span": true, "strong": true, "sub": true, "subscript": true,
		"sup": true, "superscript": true, "term": true, "u": true, "ulink": true, "underline": true, "varname": true,
		"xref": true, "em": true, "styled-content": true, "named-content": true, "uri": true, "surname": true,
		"given-names": true, "firstname": true, "year": true, "month": true, "day": true, "volume": true, "fpage": true,
		"lpage": true, "source": true, "person-group": true,
	}
)
