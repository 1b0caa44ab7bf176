package office

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	MaxDepth = 1000     // elements within elements; documents of people stay below 100
	maxToken = 16 << 20 // bytes of one tag or one run of text
)

// XML reads one XML part as tokens. Elements are recognised by their
// local names: the context says what a name means, and producers disagree about
// namespaces (strict and transitional OOXML).
type XML struct {
	*scanner
	job    *Job
	part   string
	depth  int
	tokens int
}

// countedReader counts what it hands out against the limits of the job.
type countedReader struct {
	r   io.Reader
	job *Job
}

func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if uerr := c.job.Unpack(n); uerr != nil {
		return 0, uerr
	}
	return n, err
}

// newXML reads r, which is the part named part, and counts its bytes as unpacked.
func (j *Job) newXML(r io.Reader, part string) *XML {
	return &XML{scanner: newScanner(&countedReader{r: r, job: j}), job: j, part: part}
}

// ParseBytes hands the root element of a document that is one XML file to f.
func (j *Job) ParseBytes(name string, data []byte, f func(x *XML, root xml.StartElement) error) error {
	x := j.newXML(bytes.NewReader(data), name)
	defer x.release()
	return x.root(func(se xml.StartElement) error { return f(x, se) })
}

// next returns the next token, which the scanner holds until the following call.
func (x *XML) next() (tokenKind, error) {
	if x.tokens++; x.tokens%256 == 0 {
		if err := x.job.Alive(); err != nil {
			return 0, err
		}
	}
	kind, err := x.scanner.next()
	if err != nil {
		if err == io.EOF {
			return 0, io.EOF
		}
		return 0, x.Damage(err)
	}
	switch kind {
	case startToken:
		if x.depth++; x.depth > MaxDepth {
			return 0, x.Damage(fmt.Errorf("elements nested deeper than %d", MaxDepth))
		}
	case endToken:
		x.depth--
	}
	return kind, nil
}

// Damage returns the failure for damage at the place that was read last.
func (x *XML) Damage(err error) error {
	return x.job.Corrupt(err, fmt.Sprintf("%s, byte %d", x.part, x.offset()))
}

// root calls f for the root element.
func (x *XML) root(f func(xml.StartElement) error) error {
	for {
		kind, err := x.next()
		if err == io.EOF {
			return x.Damage(fmt.Errorf("no element"))
		}
		if err != nil {
			return err
		}
		if kind == startToken {
			return f(x.start)
		}
	}
}

// Each calls f for every child of the element whose start was read last, and
// returns after its end. What f does not read of a child is skipped. Text
// between the children is skipped, too.
func (x *XML) Each(f func(xml.StartElement) error) error { return x.Mixed(f, nil) }

// Mixed is Each that hands the text between the children to text as well.
func (x *XML) Mixed(f func(xml.StartElement) error, text func([]byte) error) error {
	inside := x.depth
	for {
		kind, err := x.next()
		if err != nil {
			return err
		}
		switch kind {
		case startToken:
			if err := f(x.start); err != nil {
				return err
			}
			if err := x.pass(inside); err != nil {
				return err
			}
		case textToken:
			if text != nil {
				if err := text(x.text); err != nil {
					return err
				}
			}
		case endToken:
			return nil
		}
	}
}

// Skip passes over what is in the element whose start was read last.
func (x *XML) Skip() error { return x.pass(x.depth - 1) }

// pass reads on until no more than so many elements are open.
func (x *XML) pass(depth int) error {
	x.passing = true
	for x.depth > depth {
		if _, err := x.next(); err != nil {
			return err
		}
	}
	x.passing = false
	return nil
}

// Deep calls f for every descendant of the element whose start was read last.
// Where f reads a descendant to its end, what is below it is left out.
func (x *XML) Deep(f func(xml.StartElement) error) error {
	outside := x.depth - 1
	for x.depth > outside {
		kind, err := x.next()
		if err != nil {
			return err
		}
		if kind == startToken {
			if err := f(x.start); err != nil {
				return err
			}
		}
	}
	return nil
}

// Text returns all text in the element whose start was read last.
func (x *XML) Text() (string, error) {
	text := "" // mostly it comes in one piece
	var more []byte
	outside := x.depth - 1
	for x.depth > outside {
		kind, err := x.next()
		if err != nil {
			return "", err
		}
		if kind != textToken {
			continue
		}
		if err := x.job.Spend(len(x.text)); err != nil {
			return "", err
		}
		if text == "" && more == nil {
			text = string(x.text)
			continue
		}
		if more == nil {
			more = []byte(text)
		}
		more = append(more, x.text...)
	}
	if more != nil {
		return string(more), nil
	}
	return text, nil
}

// Attr returns the attribute of that local name, or "".
func Attr(se xml.StartElement, local string) string {
	for _, a := range se.Attr {
		if a.Name.Local == local {
			return a.Value
		}
	}
	return ""
}

// HasAttr reports whether there is an attribute of that local name.
func HasAttr(se xml.StartElement, local string) bool {
	for _, a := range se.Attr {
		if a.Name.Local == local {
			return true
		}
	}
	return false
}

// RelID returns the attribute of that local name in the namespace of
// relationships: r:id, where another "id" may stand beside it.
func RelID(se xml.StartElement, local string) string {
	for _, a := range se.Attr {
		if a.Name.Local == local && (a.Name.Space == "r" || strings.HasSuffix(a.Name.Space, "/relationships")) {
			return a.Value
		}
	}
	return ""
}

// OnOff reads the toggles of OOXML: present is on, unless the value denies it.
func OnOff(se xml.StartElement) bool {
	switch Attr(se, "val") {
	case "0", "false", "off", "none":
		return false
	}
	return true
}

// Alternate calls f for the children of the alternative that we understand.
func (x *XML) Alternate(f func(xml.StartElement) error) error {
	taken := false
	return x.Each(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "Choice":
			for _, need := range strings.Fields(Attr(se, "Requires")) {
				if need == "am3d" || need == "aink" || need == "wpi" {
					return nil // 3D models and ink: their picture is the fallback
				}
			}
		case "Fallback":
		default:
			return nil
		}
		if taken {
			return nil
		}
		taken = true
		return x.Each(f)
	})
}

// Number returns s as an int, or otherwise if it is none or absurd.
func Number(s string, otherwise int) int {
	if s == "" {
		return otherwise // without the making of an error
	}
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil || n < -1<<31 || n > 1<<31-1 {
		return otherwise
	}
	return n
}

// IsTrue reads attributes that are on or off.
func IsTrue(s string) bool { return s == "1" || s == "true" }
