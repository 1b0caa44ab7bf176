package office

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// tokens writes what a scanner reads as a line a token.
func tokens(r io.Reader) (string, error) {
	var b strings.Builder
	s := newScanner(r)
	text := "" // pieces of it are one
	flush := func() {
		if text != "" {
			fmt.Fprintf(&b, "%q\n", text)
			text = ""
		}
	}
	for {
		kind, err := s.next()
		switch {
		case errors.Is(err, io.EOF):
			flush()
			return b.String(), nil
		case err != nil:
			return b.String(), err
		case kind == textToken:
			text += string(s.text)
			continue
		}
		flush()
		if kind == endToken {
			b.WriteString("end\n")
			continue
		}
		b.WriteString("start " + s.start.Name.Local)
		for _, a := range s.start.Attr {
			fmt.Fprintf(&b, " %s=%q", a.Name.Local, a.Value)
		}
		b.WriteByte('\n')
	}
}

// decoded writes what encoding/xml reads in the same way.
func decoded(src string) (string, error) {
	var b strings.Builder
	d := xml.NewDecoder(strings.NewReader(src))
	d.Entity = xml.HTMLEntity
	text, depth := "", 0
	flush := func() {
		if text != "" {
			fmt.Fprintf(&b, "%q\n", text)
			text = ""
		}
	}
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			flush()
			return b.String(), nil
		}
		if err != nil {
			return b.String(), err
		}
		switch t := t.(type) {
		case xml.CharData:
			if depth > 0 {
				text += string(t)
			}
		case xml.StartElement:
			flush()
			depth++
			b.WriteString("start " + t.Name.Local)
			for _, a := range t.Attr {
				fmt.Fprintf(&b, " %s=%q", a.Name.Local, a.Value)
			}
			b.WriteByte('\n')
		case xml.EndElement:
			flush()
			depth--
			b.WriteString("end\n")
		}
	}
}

var scanned = []string{
	`<a/>`,
	"<?xml version=\"1.0\"?>\n<!DOCTYPE a [<!ENTITY x \"y>\">]><!-- <b> --><w:a xmlns:w='u' b=\"1 &gt; 0 &#xe9;\" c='\"'>x<b/>y&amp;z<![CDATA[<&]]>\r\n</w:a>\n",
	"<a>" + strings.Repeat("long text ", 5000) + "<b c='" + strings.Repeat("v", 40_000) + "'/></a>",
	`<a b = "x>y" ><c d='/'/>é` + "\u4e2d" + `</a >`,
	`<a>&nbsp;&euro;&#8364;</a>`,
}

// The scanner reads what encoding/xml reads, however its input comes in.
func TestScannerReadsLikeEncodingXML(t *testing.T) {
	for _, src := range scanned {
		want, err := decoded(src)
		if err != nil {
			t.Fatal(err)
		}
		for how, r := range map[string]io.Reader{"whole": strings.NewReader(src), "byte by byte": iotest.OneByteReader(strings.NewReader(src)), "with its end": iotest.DataErrReader(strings.NewReader(src))} {
			if got, err := tokens(r); err != nil || got != want {
				t.Errorf("%s: %.200q gives\n%.500s%v\nwant\n%.500s", how, src, got, err, want)
			}
		}
	}
}

func TestScannerCharsets(t *testing.T) {
	for _, src := range []string{
		"<?xml version='1.0' encoding='ISO-8859-1'?><a>M\xfcller</a>",
		"<?xml version='1.0' encoding='UTF-8'?><a>Müller</a>",
		"\xef\xbb\xbf<a>Müller</a>",
		"\xff\xfe" + strings.Join(strings.Split("<a>M\xfcller</a>", ""), "\x00") + "\x00",
	} {
		if got, err := tokens(strings.NewReader(src)); err != nil || got != "start a\n\"Müller\"\nend\n" {
			t.Errorf("%q gives %q, %v", src, got, err)
		}
	}
}

// What is cut off anywhere is no whole part.
func TestScannerNoticesTheEnd(t *testing.T) {
	src := `<a b="c">text<d/><![CDATA[x]]><!-- y --></a>`
	for i := 1; i < len(src); i++ {
		if _, err := tokens(strings.NewReader(src[:i])); err == nil {
			t.Errorf("%q passes for whole", src[:i])
		}
	}
	for _, bad := range []string{"<a></b>", "</a>", "<a b></a>", "<a b=c></a>", "< a/>"} {
		if _, err := tokens(strings.NewReader(bad)); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}

func TestScannerRelations(t *testing.T) {
	s := newScanner(strings.NewReader(`<a xmlns:n1="http://purl.oclc.org/ooxml/officeDocument/relationships" id="1" n1:id="2"/>`))
	if _, err := s.next(); err != nil {
		t.Fatal(err)
	}
	if got := RelID(s.start, "id"); got != "2" {
		t.Errorf("the relation is %q", got)
	}
}

// Attributes that were handed out stay, whatever is read after them.
func TestScannerAttributesStay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		counts := rapid.SliceOfN(rapid.IntRange(0, 200), 1, 10).Draw(t, "counts")
		var b strings.Builder
		b.WriteString("<a>")
		for i, n := range counts {
			b.WriteString("<b")
			for j := range n {
				fmt.Fprintf(&b, ` k%d="v%d-%d"`, j, i, j)
			}
			b.WriteString("/>")
		}
		b.WriteString("</a>")
		s := newScanner(strings.NewReader(b.String()))
		var all []xml.StartElement
		for {
			kind, err := s.next()
			if err != nil {
				break
			}
			if kind == startToken {
				all = append(all, s.start)
			}
		}
		for i, n := range counts {
			se := all[i+1]
			if len(se.Attr) != n {
				t.Fatalf("%d attributes, want %d", len(se.Attr), n)
			}
			for j, a := range se.Attr {
				if a.Value != fmt.Sprintf("v%d-%d", i, j) {
					t.Fatalf("attribute %d of element %d is %q", j, i, a.Value)
				}
			}
		}
	})
}

// There are more words than places for them, and parts that have them in common.
func TestScannerManyWords(t *testing.T) {
	var b strings.Builder
	b.WriteString("<a>")
	for i := range 5000 {
		fmt.Fprintf(&b, `<n%[1]d k%[1]d="%[1]d" same="%[1]d &amp; %[1]d" é%[1]d="ü%[1]d"/>`, i%3000)
	}
	b.WriteString("</a>")
	want, err := decoded(b.String())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, err := tokens(strings.NewReader(b.String())); err != nil || got != want {
			t.Errorf("%v, and the tokens are not those of encoding/xml", err)
		}
	}
}

func FuzzScanner(f *testing.F) {
	for _, s := range scanned {
		f.Add(s[:min(len(s), 200)])
	}
	f.Fuzz(func(t *testing.T, src string) {
		want, err := decoded(src)
		if err != nil || strings.Contains(src, "xml:") || strings.Contains(src, "]]>") || strings.Contains(src, "encoding") {
			_, _ = tokens(strings.NewReader(src))
			return
		}
		if got, err := tokens(iotest.OneByteReader(strings.NewReader(src))); err == nil && got != want {
			t.Fatalf("%q gives %q, want %q", src, got, want)
		}
	})
}
