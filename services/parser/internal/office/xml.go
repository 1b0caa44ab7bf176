package office

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"golang.org/x/net/html/charset"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

const (
	maxDepth = 1000     // elements within elements; documents of people stay below 100
	maxToken = 16 << 20 // bytes of one tag or one run of text
)

// xmlReader reads one XML part as tokens. Elements are recognised by their
// local names: the context says what a name means, and producers disagree about
// namespaces (strict and transitional OOXML).
type xmlReader struct {
	dec    *xml.Decoder
	src    *countedReader
	job    *job
	part   string
	depth  int
	tokens int
}

// countedReader counts what it hands out against the limits of the job, and
// what it has handed out since the last token against maxToken: encoding/xml
// buffers a token whole.
type countedReader struct {
	r     io.Reader
	job   *job
	token int
}

func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if uerr := c.job.unpack(n); uerr != nil {
		return 0, uerr
	}
	if c.token += n; c.token > maxToken {
		return 0, fmt.Errorf("a tag or text longer than %d bytes", maxToken)
	}
	return n, err
}

// newXML reads r, which is the part named part, and counts its bytes as unpacked.
func (j *job) newXML(r io.Reader, part string) *xmlReader {
	src := &countedReader{r: r, job: j}
	// A byte order mark decides; without one, and without a declaration, XML is UTF-8.
	body := transform.NewReader(src, unicode.BOMOverride(transform.Nop))
	dec := xml.NewDecoder(body)
	dec.Entity = xml.HTMLEntity
	dec.CharsetReader = func(label string, in io.Reader) (io.Reader, error) {
		if l := strings.ToLower(label); strings.HasPrefix(l, "utf-16") || l == "utf8" {
			return in, nil // the byte order mark has seen to it already
		}
		return charset.NewReaderLabel(label, in)
	}
	return &xmlReader{dec: dec, src: src, job: j, part: part}
}

// next returns the next token. It stays valid until the following call.
func (x *xmlReader) next() (xml.Token, error) {
	if x.tokens++; x.tokens%256 == 0 {
		if err := x.job.alive(); err != nil {
			return nil, err
		}
	}
	x.src.token = 0
	t, err := x.dec.Token()
	if err != nil {
		if err == io.EOF && x.depth == 0 {
			return nil, io.EOF
		}
		return nil, x.damage(err)
	}
	switch t.(type) {
	case xml.StartElement:
		if x.depth++; x.depth > maxDepth {
			return nil, x.damage(fmt.Errorf("elements nested deeper than %d", maxDepth))
		}
	case xml.EndElement:
		x.depth--
	}
	return t, nil
}

func (x *xmlReader) damage(err error) error {
	return x.job.corrupt(err, fmt.Sprintf("%s, byte %d", x.part, x.dec.InputOffset()))
}

// root calls f for the root element.
func (x *xmlReader) root(f func(xml.StartElement) error) error {
	for {
		t, err := x.next()
		if err == io.EOF {
			return x.damage(fmt.Errorf("no element"))
		}
		if err != nil {
			return err
		}
		if se, ok := t.(xml.StartElement); ok {
			return f(se)
		}
	}
}

// each calls f for every child of the element whose start was read last, and
// returns after its end. What f does not read of a child is skipped. Text
// between the children is skipped, too.
func (x *xmlReader) each(f func(xml.StartElement) error) error { return x.mixed(f, nil) }

// mixed is each that hands the text between the children to text as well.
func (x *xmlReader) mixed(f func(xml.StartElement) error, text func([]byte) error) error {
	inside := x.depth
	for {
		t, err := x.next()
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.StartElement:
			if err := f(t); err != nil {
				return err
			}
			for x.depth > inside {
				if _, err := x.next(); err != nil {
					return err
				}
			}
		case xml.CharData:
			if text != nil {
				if err := text(t); err != nil {
					return err
				}
			}
		case xml.EndElement:
			return nil
		}
	}
}

// deep calls f for every descendant of the element whose start was read last.
// Where f reads a descendant to its end, what is below it is left out.
func (x *xmlReader) deep(f func(xml.StartElement) error) error {
	outside := x.depth - 1
	for x.depth > outside {
		t, err := x.next()
		if err != nil {
			return err
		}
		if se, ok := t.(xml.StartElement); ok {
			if err := f(se); err != nil {
				return err
			}
		}
	}
	return nil
}

// text returns all text in the element whose start was read last.
func (x *xmlReader) text() (string, error) {
	var b bytes.Buffer
	outside := x.depth - 1
	for x.depth > outside {
		t, err := x.next()
		if err != nil {
			return "", err
		}
		if c, ok := t.(xml.CharData); ok {
			if err := x.job.spend(len(c)); err != nil {
				return "", err
			}
			b.Write(c)
		}
	}
	return b.String(), nil
}

// attr returns the attribute of that local name, or "".
func attr(se xml.StartElement, local string) string {
	for _, a := range se.Attr {
		if a.Name.Local == local {
			return a.Value
		}
	}
	return ""
}

// hasAttr reports whether there is an attribute of that local name.
func hasAttr(se xml.StartElement, local string) bool {
	for _, a := range se.Attr {
		if a.Name.Local == local {
			return true
		}
	}
	return false
}

// relID returns the attribute of that local name in the namespace of
// relationships: r:id, where another "id" may stand beside it.
func relID(se xml.StartElement, local string) string {
	for _, a := range se.Attr {
		if a.Name.Local == local && (a.Name.Space == "r" || strings.HasSuffix(a.Name.Space, "/relationships")) {
			return a.Value
		}
	}
	return ""
}

// onOff reads the toggles of OOXML: present is on, unless the value denies it.
func onOff(se xml.StartElement) bool {
	switch attr(se, "val") {
	case "0", "false", "off", "none":
		return false
	}
	return true
}
