// Package data reads data and what is made of it: CSV, JSON, XML, feeds and
// notebooks.
package data

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"sluice/pkg/events"
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

// XML reads XML of no particular vocabulary. Documents become headings,
// paragraphs, lists and tables; data becomes nested lists of names, attributes
// and values. What is not well-formed is kept as it stands, with a warning.
// Pictures and other files within it (base64) are left out, with a warning.
func XML(ctx context.Context, in format.Input) (*format.Output, error) {
	src, warnings, err := format.Decode(in, web.DeclaredInHTML(in.Data))
	if err != nil {
		return nil, err
	}
	out := &format.Output{Warnings: warnings}
	w := &xmlWriter{ctx: ctx, in: in, limit: format.OutputLimit(in.Limits.Output)}
	if err = w.survey(src); err == nil {
		if w.isProse() {
			err = w.prose(src)
		} else {
			err = w.data(src)
		}
	}
	var syntax *xml.SyntaxError
	switch {
	case errors.As(err, &syntax):
		out.Warnings = append(out.Warnings, fmt.Sprintf("%s is not well-formed XML (line %d: %s); it is kept as it is", format.NameOf(in), syntax.Line, syntax.Msg))
		out.Markdown = md.Fence("xml", strings.TrimSpace(src))
		return out, nil
	case err != nil:
		return nil, err
	}
	if w.root == "fictionbook" {
		w.facts = fictionFacts(src, w.facts)
	}
	out.Markdown, out.Facts = w.out.String(), w.facts
	if w.files > 0 {
		out.Warnings = append(out.Warnings, fmt.Sprintf("%s holds %d pictures or other files in base64, which were left out", format.NameOf(in), w.files))
	}
	return out, nil
}

// xmlWriter writes an XML document as Markdown.
type xmlWriter struct {
	ctx   context.Context
	in    format.Input
	limit int64
	out   strings.Builder
	facts events.Facts
	files int // that were left out
	steps int

	// What the survey has found. Elements are numbered in the order of their
	// beginnings.
	root      string
	mixed     []bool // elements that have text of their own and elements
	known     int    // elements below the root whose names are of documents
	proseText int    // bytes of text in paragraphs and headings
	text      int    // bytes of text at all
}

// step asks the context and the limits now and then.
func (w *xmlWriter) step(written int) error {
	if w.steps++; w.steps&1023 != 0 {
		return nil
	}
	if w.ctx.Err() != nil {
		return format.Ended(w.ctx, format.NameOf(w.in))
	}
	if int64(written) > w.limit {
		return format.TooLarge(format.NameOf(w.in), w.limit)
	}
	return nil
}

// survey looks at a document once, before it is written: whether an element stands
// within running text is known only when its parent has ended.
func (w *xmlWriter) survey(src string) error {
	type element struct {
		number         int
		prose          bool // it or what it is in is running text
		text, children bool
	}
	var open []element
	d := newXMLDecoder(src)
	for {
		tok, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := w.step(0); err != nil {
			return err
		}
		switch t := tok.(type) {
		case xml.StartElement:
			name := strings.ToLower(t.Name.Local)
			if w.root == "" {
				w.root = name
			}
			e := element{number: len(w.mixed), prose: proseText[name]}
			if len(open) > 0 {
				open[len(open)-1].children = true
				e.prose = e.prose || open[len(open)-1].prose
			}
			w.mixed = append(w.mixed, false)
			if len(open) > 0 && isProseName(name) {
				w.known++
			}
			open = append(open, e)
		case xml.CharData:
			n := len(bytes.TrimSpace(t))
			if n == 0 || len(open) == 0 {
				continue
			}
			e := &open[len(open)-1]
			e.text = true
			if w.text += n; e.prose {
				w.proseText += n
			}
		case xml.EndElement:
			if len(open) == 0 {
				continue
			}
			e := open[len(open)-1]
			w.mixed[e.number] = e.text && e.children
			open = open[:len(open)-1]
		}
	}
}

// isProse tells documents from data: by the root of a vocabulary for documents,
// else by most of the text being running text, and nearly all elements having
// names that documents have. An order with a note is data: written as a document
// its values would have no names.
func (w *xmlWriter) isProse() bool {
	return proseRoots[w.root] || w.proseText*10 >= w.text*6 && w.proseText > 0 && w.known*5 >= (len(w.mixed)-1)*4
}

// isFile reports whether the text of an element is a file in base64.
func isFile(text []byte) bool {
	const shortest = 256
	if len(text) < shortest {
		return false
	}
	run := 0
	for _, c := range text {
		switch {
		case isBase64(c):
			run++
		case c == '\n' || c == '\r' || c == ' ' || c == '\t':
			if run > 0 && run < 40 && c == ' ' {
				return false // words
			}
			run = 0
		default:
			return false
		}
	}
	return true
}

func isBase64(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '='
}

// xmlElement is an element that has been opened and not closed.
type xmlElement struct {
	name    string
	attrs   string
	text    []byte
	raised  []int // where the text of elements within running text begins, if it is raised
	written bool  // the line of the element is out
}

// data writes each element as a list item under that of its parent:
// "* name: value", with attributes in parentheses. Running text stays one line.
func (w *xmlWriter) data(src string) error {
	const deepest = 12 // levels of indentation
	var (
		stack   []*xmlElement
		running int // open elements from the one that is running text
	)
	line := func(depth int, e *xmlElement, value string) {
		w.out.WriteString(strings.Repeat("  ", min(depth, deepest)))
		w.out.WriteString("* ")
		w.out.WriteString(md.EscapeInline(e.name))
		if e.attrs != "" {
			w.out.WriteString(" (" + e.attrs + ")")
		}
		if value != "" {
			w.out.WriteString(": " + md.EscapeInline(value))
		}
		w.out.WriteByte('\n')
	}
	// flush writes the line of an open element before that of its child.
	flush := func(depth int) {
		e := stack[depth]
		text := md.Line(string(e.text))
		e.text = e.text[:0]
		if !e.written {
			e.written = true
			line(depth, e, text)
		} else if text != "" {
			w.out.WriteString(strings.Repeat("  ", min(depth+1, deepest)) + "* " + md.Escape(text) + "\n")
		}
	}
	d := newXMLDecoder(src)
	for number := -1; ; {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := w.step(w.out.Len()); err != nil {
			return err
		}
		switch t := tok.(type) {
		case xml.StartElement:
			number++
			if running > 0 {
				running++
				e := stack[len(stack)-1]
				if proseBreak[strings.ToLower(t.Name.Local)] {
					e.text = append(e.text, ' ')
				}
				e.raised = append(e.raised, raisedFrom(t.Name.Local, len(e.text)))
				if attrs := xmlAttrs(t.Attr); attrs != "" {
					e.text = append(e.text, "("+attrs+") "...)
				}
				continue
			}
			if len(stack) > 0 {
				flush(len(stack) - 1)
			}
			stack = append(stack, &xmlElement{name: t.Name.Local, attrs: xmlAttrs(t.Attr)})
			if number < len(w.mixed) && w.mixed[number] && proseText[strings.ToLower(t.Name.Local)] {
				running = 1
			}
		case xml.CharData:
			if len(stack) > 0 {
				e := stack[len(stack)-1]
				e.text = append(e.text, t...)
			}
		case xml.EndElement:
			if len(stack) == 0 {
				continue
			}
			depth := len(stack) - 1
			e := stack[depth]
			if running > 0 {
				if running--; running > 0 {
					from := e.raised[len(e.raised)-1]
					e.raised = e.raised[:len(e.raised)-1]
					e.text = asPower(e.text, from)
					continue
				}
			}
			if isFile(e.text) {
				e.text = e.text[:0]
				w.files++
			}
			if !e.written || len(bytes.TrimSpace(e.text)) > 0 {
				flush(depth)
			}
			stack = stack[:depth]
		}
	}
}

// raisedFrom returns where the text of an element begins if it is raised, or -1.
func raisedFrom(name string, at int) int {
	if name = strings.ToLower(name); name == "sup" || name == "superscript" {
		return at
	}
	return -1
}

// asPower writes what was raised from there on as a power, if it is one.
func asPower(text []byte, from int) []byte {
	if from < 0 || from > len(text) {
		return text
	}
	raised := strings.TrimSpace(string(text[from:]))
	if mark, end := md.Power(string(text[max(0, from-16):from]), raised); mark != "" {
		text = append(text[:from], mark+raised+end...)
	}
	return text
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
		b.WriteString(a.Name.Local + "=" + md.EscapeInline(md.Line(a.Value)))
	}
	return b.String()
}
