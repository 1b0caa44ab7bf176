package pdf

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/klippa-app/go-pdfium/requests"

	"sluice/pkg/fault"
	"sluice/services/parser/internal/md"
)

// A form of LiveCycle keeps its pages as XML (XFA, XML Forms Architecture 3.3):
// what stands in the PDF file itself is one page that asks to wait. What was filled
// in is XML as well, so the data can be read, though not how it was laid out.

const (
	maxXFA      = 32 << 20 // bytes of all packets
	maxXFANodes = 200_000
	maxXFADepth = 60
)

// xfa returns the data of a form whose pages are XFA as Markdown, and takes away
// the page that asks to wait. It returns "" for all other documents, also for forms
// that have XFA beside pages of their own.
func (f *file) xfa(d *document) (string, error) {
	n, err := f.instance.FPDF_GetXFAPacketCount(&requests.FPDF_GetXFAPacketCount{Document: f.doc})
	if err != nil || n.Count <= 0 || f.widgets > 0 {
		return "", nil // fields on the page are the form
	}
	// The page that asks to wait has some hundred words. Forms that were made
	// ordinary pages keep their XFA, too.
	const waiting, pages = 200, 2
	words := 0
	for _, p := range d.pages {
		words += p.said()
	}
	if len(d.pages) > pages || words > waiting {
		return "", nil
	}
	var packets [][]byte
	size := 0
	for i := range min(n.Count, 100) {
		r, err := f.instance.FPDF_GetXFAPacketContent(&requests.FPDF_GetXFAPacketContent{Document: f.doc, Index: i})
		if err != nil {
			break // as much as can be read; without data it is refused
		}
		if size += len(r.Content); size > maxXFA {
			return "", fault.Invalid("too-large", "%s: its XFA form has more than %d MiB of XML", f.in.Name, maxXFA>>20)
		}
		packets = append(packets, bytes.Clone(r.Content))
	}
	form := readXFA(packets)
	if form == "" {
		return "", fault.Invalid("unsupported", "%s: its pages are an XFA form, which only programs of Adobe show, and nothing is filled in", f.in.Name).
			WithHint("open it in Adobe Acrobat or Reader, print it to a PDF file, and submit that")
	}
	for _, p := range d.pages {
		p.words, p.asides, p.rules = nil, nil, nil
	}
	d.warnings = append(d.warnings, "its pages are an XFA form: the data filled in is read, not the text that is printed on the form")
	return form, nil
}

// node is an element of an XFA packet.
type node struct {
	name  string
	attrs []xml.Attr
	text  string // of its own
	kids  []*node
}

func (n *node) attr(name string) string {
	for _, a := range n.attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func (n *node) kid(name string) *node {
	if n == nil {
		return nil
	}
	for _, k := range n.kids {
		if k.name == name {
			return k
		}
	}
	return nil
}

// all returns the text of an element and those below it.
func (n *node) all() string {
	if n == nil {
		return ""
	}
	var b strings.Builder
	b.WriteString(n.text)
	for _, k := range n.kids {
		b.WriteString(" " + k.all())
	}
	return md.Line(b.String())
}

// xfaReader reads packets. A packet may be the whole, or a part of it.
type xfaReader struct {
	nodes    int
	data     []*node
	captions map[string]*node // fields of the template, by name and by "parent/name"
}

// readXFA returns the data in the packets of a form as a nested list, or "".
func readXFA(packets [][]byte) string {
	r := xfaReader{captions: map[string]*node{}}
	var roots []*node
	for _, p := range packets {
		if n := r.parse(p); n != nil {
			roots = append(roots, n)
		}
	}
	for _, n := range roots {
		r.look(n, "")
	}
	var b strings.Builder
	for _, n := range r.data {
		// A form has one root, which says nothing.
		for len(n.kids) == 1 && len(n.kids[0].kids) > 0 {
			n = n.kids[0]
		}
		for _, k := range n.kids {
			r.write(&b, k, n.name, 0)
		}
	}
	return b.String()
}

// parse returns the root of a packet: as much as is well-formed.
func (r *xfaReader) parse(data []byte) *node {
	dec := xml.NewDecoder(bytes.NewReader(data))
	dec.Strict = false
	dec.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	root := &node{}
	open := []*node{root}
	for {
		t, err := dec.Token()
		if err != nil {
			return root // the end, or where it is damaged
		}
		top := open[len(open)-1]
		switch t := t.(type) {
		case xml.StartElement:
			if r.nodes++; r.nodes > maxXFANodes || len(open) > maxXFADepth {
				return root
			}
			n := &node{name: t.Name.Local, attrs: t.Copy().Attr}
			top.kids = append(top.kids, n)
			open = append(open, n)
		case xml.EndElement:
			if len(open) > 1 {
				open = open[:len(open)-1]
			}
		case xml.CharData:
			if len(top.text) < maxAnnotText {
				top.text += string(t)
			}
		}
	}
}

// look collects the data and the fields of the template.
func (r *xfaReader) look(n *node, parent string) {
	name := parent
	switch n.name {
	case "datasets":
		if data := n.kid("data"); data != nil {
			r.data = append(r.data, data)
		}
		return
	case "field", "exclGroup":
		if own := n.attr("name"); own != "" {
			for _, key := range []string{own, parent + "/" + own} {
				if r.captions[key] == nil {
					r.captions[key] = n
				}
			}
		}
		return
	case "subform":
		if own := n.attr("name"); own != "" {
			name = own
		}
	}
	for _, k := range n.kids {
		r.look(k, name)
	}
}

// write writes an element of the data and those below it, without what is empty.
func (r *xfaReader) write(b *strings.Builder, n *node, parent string, depth int) {
	field := r.captions[parent+"/"+n.name]
	if field == nil {
		field = r.captions[n.name]
	}
	label := n.name
	if s := field.kid("caption").kid("value").all(); s != "" {
		label = strings.TrimRight(s, ": ")
	}
	indent := strings.Repeat("  ", depth)
	if len(n.kids) == 0 {
		if v := md.Line(clean(n.text)); v != "" {
			fmt.Fprintf(b, "%s- %s: %s\n", indent, md.EscapeInline(label), md.EscapeInline(shownChoice(field, v)))
		}
		return
	}
	var below strings.Builder
	if v := md.Line(clean(n.text)); v != "" {
		fmt.Fprintf(&below, "%s  - %s\n", indent, md.EscapeInline(v))
	}
	for _, k := range n.kids {
		r.write(&below, k, n.name, depth+1)
	}
	if below.Len() > 0 {
		fmt.Fprintf(b, "%s- %s\n%s", indent, md.EscapeInline(label), below.String())
	}
}

// shownChoice returns what a list shows for the value that it saves.
func shownChoice(field *node, value string) string {
	if field == nil {
		return value
	}
	var shown, saved *node
	for _, k := range field.kids {
		if k.name != "items" {
			continue
		}
		if k.attr("save") == "1" {
			saved = k
		} else if shown == nil {
			shown = k
		}
	}
	if shown == nil || saved == nil {
		return value
	}
	for i, k := range saved.kids {
		if k.all() == value && i < len(shown.kids) && shown.kids[i].all() != "" {
			return shown.kids[i].all()
		}
	}
	return value
}
