package pdf

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"sluice/pkg/fault"
	"sluice/services/parser/internal/format"
)

// attach adds a file and returns a reference to its specification.
func (m *made) attach(name, media, content string) string {
	file := m.object(stream("/Type /EmbeddedFile /Subtype /"+strings.ReplaceAll(media, "/", "#2F"), content))
	return m.object("<< /Type /Filespec /F (" + name + ") /UF (" + name + ") /EF << /F " + file + " >> >>")
}

// embed puts files into the document's list of files.
func (m *made) embed(specs ...string) {
	var names strings.Builder
	for i, s := range specs {
		fmt.Fprintf(&names, "(%04d) %s ", i, s)
	}
	m.catalog += "/Names << /EmbeddedFiles << /Names [" + names.String() + "] >> >>"
}

// converts reads members as text, PDF files by the reader under test, and refuses
// what is called bad.
func converts(t *testing.T, got *[]format.Input) func(context.Context, format.Input) (*format.Output, error) {
	var convert func(context.Context, format.Input) (*format.Output, error)
	convert = func(ctx context.Context, in format.Input) (*format.Output, error) {
		*got = append(*got, in)
		switch {
		case strings.HasSuffix(in.Name, "bad.bin"):
			return nil, fault.Invalid("unsupported", "%s: binary data of no known format", in.Name)
		case strings.HasSuffix(in.Name, "spent.txt"):
			return nil, fault.Wrap(format.ErrSpent, fault.Validation, "too-large", "%s: too much", in.Name)
		case strings.HasPrefix(string(in.Data), "%PDF"):
			in.Convert = convert
			return reader.Read(ctx, in)
		}
		return &format.Output{Markdown: string(in.Data), Warnings: []string{"a warning about " + in.Name}}, nil
	}
	return convert
}

func TestAttachments(t *testing.T) {
	var inner made
	inner.sheet().lines(72, 700, "The inner page.")
	inner.embed(inner.attach("deep.txt", "text/plain", "The innermost text."))

	var m made
	s := m.sheet()
	s.lines(72, 700, "The page.")
	xml := m.attach("C:\\\\data\\\\invoice.xml", "text/xml", "<total>12</total>")
	m.embed(xml, m.attach("bad.bin", "application/octet-stream", "\x00\x01"), m.attach("inner.pdf", "application/pdf", string(inner.bytes(t))),
		m.attach("none.txt", "text/plain", ""))
	s.annot(&m, "FileAttachment", 72, 600, 90, 620, "/Contents (invoice.xml) /FS "+xml)
	s.annot(&m, "FileAttachment", 72, 500, 90, 520, "/T (Ann) /Contents (the list) /FS "+m.attach("pinned.txt", "text/plain", "The pinned text."))

	var got []format.Input
	in := format.Input{Name: "made.pdf", Data: m.bytes(t)}
	in.Convert = converts(t, &got)
	out, err := reader.Read(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	want := "The page.\n\n[^comment-1]\n\n[^comment-1]: Ann: the list\n\n" +
		"## Attachment: invoice.xml\n\n<total>12</total>\n\n" +
		"## Attachment: pinned.txt\n\nThe pinned text.\n\n" +
		"## Attachment: inner.pdf\n\nThe inner page.\n\n### Attachment: deep.txt\n\nThe innermost text.\n\n"
	if strings.Join(strings.Fields(out.Markdown), " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("got:\n%s\nwant:\n%s", out.Markdown, want)
	}
	if n := strings.Count(out.Markdown, "<total>"); n != 1 {
		t.Errorf("a file that is listed and pinned comes %d times", n)
	}
	warnings := strings.Join(out.Warnings, "\n")
	for _, w := range []string{"bad.bin", "none.txt is empty", "a warning about made.pdf/invoice.xml"} {
		if !strings.Contains(warnings, w) {
			t.Errorf("no warning says %q: %q", w, out.Warnings)
		}
	}
	for _, in := range got {
		if strings.HasSuffix(in.Name, "invoice.xml") && (in.ContentType != "text/xml" || in.Name != "made.pdf/invoice.xml") {
			t.Errorf("converted as %q, %q", in.Name, in.ContentType)
		}
	}
}

// TestAssociatedFiles has files that are in no list: the document, a page or a picture
// names them as its own.
func TestAssociatedFiles(t *testing.T) {
	var m made
	s := m.sheet()
	s.lines(72, 700, "The page.")
	listed := m.attach("listed.txt", "text/plain", "The listed text.")
	m.embed(listed)
	both := m.attach("both.txt", "text/plain", "The text of a picture.")
	m.catalog += " /AF [" + listed + " " + m.attach("data.csv", "text/csv", "a,b") + " " + m.attach("bad.bin", "application/octet-stream", "\x00\x01") + "]"
	s.extra = "/AF " + m.object("["+m.attach("page.txt", "text/plain", "The text of the page.")+" "+both+"]")
	m.object("<< /Type /StructElem /S /Figure /AF " + both + " >>")
	for _, layered := range []bool{false, true} {
		if layered {
			layer := m.object("<< /Type /OCG /Name (x) >>")
			m.catalog += " /OCProperties << /OCGs [" + layer + "] /D << /OFF [" + layer + "] >> >>"
		}
		var got []format.Input
		out, err := reader.Read(t.Context(), format.Input{Name: "made.pdf", Data: m.bytes(t), Convert: converts(t, &got)})
		if err != nil {
			t.Fatal(err)
		}
		want := "The page. ## Attachment: listed.txt The listed text. ## Attachment: data.csv a,b " +
			"## Attachment: page.txt The text of the page. ## Attachment: both.txt The text of a picture."
		if text := strings.Join(strings.Fields(out.Markdown), " "); text != want {
			t.Errorf("got:\n%s\nwant:\n%s", text, want)
		}
		if len(got) != 5 || !strings.Contains(strings.Join(out.Warnings, "\n"), "bad.bin") {
			t.Errorf("%d files, warnings %q", len(got), out.Warnings)
		}
	}
}

func TestAttachmentsOfWhatIsNotReadable(t *testing.T) {
	for _, tt := range []struct {
		name string
		fill func(m *made)
		warn string
	}{
		{"a scan", func(m *made) { m.sheet().scan() }, "made.pdf: none of its 1 pages has text, only pictures"},
		{"a blank page", func(m *made) { m.sheet() }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m made
			tt.fill(&m)
			m.embed(m.attach("invoice.txt", "text/plain", "Total: 12"))
			var got []format.Input
			out, err := reader.Read(t.Context(), format.Input{Name: "made.pdf", Data: m.bytes(t), Convert: converts(t, &got)})
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(out.Markdown, "Total: 12") || !strings.Contains(strings.Join(out.Warnings, "\n"), tt.warn) || len(out.Warnings) > 2 {
				t.Errorf("got %q, %q", out.Markdown, out.Warnings)
			}
		})
	}
}

func TestAttachmentsKeepTheLimits(t *testing.T) {
	t.Run("what the converter says is spent", func(t *testing.T) {
		var m made
		m.sheet().lines(72, 700, "The page.")
		m.embed(m.attach("spent.txt", "text/plain", "x"))
		var got []format.Input
		_, err := reader.Read(t.Context(), format.Input{Name: "made.pdf", Data: m.bytes(t), Convert: converts(t, &got)})
		if !errors.Is(err, format.ErrSpent) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("unpacked", func(t *testing.T) {
		var m made
		m.sheet().lines(72, 700, "The page.")
		m.embed(m.attach("a.txt", "text/plain", strings.Repeat("a", 600)), m.attach("b.txt", "text/plain", strings.Repeat("b", 600)))
		var got []format.Input
		_, err := reader.Read(t.Context(), format.Input{Name: "made.pdf", Data: m.bytes(t), Limits: format.Limits{Expanded: 1000}, Convert: converts(t, &got)})
		if !errors.Is(err, format.ErrSpent) || fault.Of(err) != fault.Validation {
			t.Errorf("got %v", err)
		}
	})
	t.Run("files", func(t *testing.T) {
		var m made
		m.sheet().lines(72, 700, "The page.")
		var specs []string
		for i := range 30 {
			specs = append(specs, m.attach(fmt.Sprintf("f%d.txt", i), "text/plain", fmt.Sprintf("text %d", i)))
		}
		m.embed(specs...)
		var got []format.Input
		out, err := reader.Read(t.Context(), format.Input{Name: "made.pdf", Data: m.bytes(t), Limits: format.Limits{Files: 10}, Convert: converts(t, &got)})
		if err != nil || len(got) != 10 || !strings.Contains(strings.Join(out.Warnings, "\n"), "of 30 attached files 10 are read") {
			t.Errorf("%d converted: %v", len(got), err)
		}
	})
}

// TestPortfoliosWithinEachOther has more PDF files within one another than there are
// instances of pdfium: none may wait for one that is held further out.
func TestPortfoliosWithinEachOther(t *testing.T) {
	data := []byte("The innermost text.")
	name := "text.txt"
	for i := range 8 {
		var m made
		m.sheet().lines(72, 700, fmt.Sprintf("Level %d.", i))
		m.embed(m.attach(name, "application/octet-stream", string(data)))
		data, name = m.bytes(t), "inner.pdf"
	}
	var got []format.Input
	out, err := reader.Read(t.Context(), format.Input{Name: "made.pdf", Data: data, Convert: converts(t, &got)})
	if err != nil || !strings.Contains(out.Markdown, "The innermost text.") || !strings.Contains(out.Markdown, "Level 0.") {
		t.Errorf("got %v, %v", out, err)
	}
}

// xfaForm is a form that asks to wait, and its packets.
func xfaForm(m *made, template, data string) {
	m.sheet().lines(72, 700, "Please wait... If this message is not eventually replaced with the proper contents of the document,", "your viewer may not be able to display it.")
	m.form = "/XFA [(template) " + m.object(stream("", template)) + " (datasets) " + m.object(stream("", data)) + "]"
	m.catalog += " /NeedsRendering true"
}

const xfaTemplate = `<template xmlns="http://www.xfa.org/schema/xfa-template/3.3/"><subform name="form1"><subform name="person">
<field name="sn"><ui><textEdit/></ui><caption><value><text>Surname:</text></value></caption></field>
<field name="land"><caption><value><text>Country</text></value></caption><items><text>Switzerland</text><text>France</text></items><items save="1"><text>CH</text><text>FR</text></items></field>
</subform><field name="note"/></subform></template>`

const xfaData = `<xfa:datasets xmlns:xfa="http://www.xfa.org/schema/xfa-data/1.0/"><xfa:data><form1>
<person><sn>M%s</sn><land>CH</land><empty/></person><person><sn>King</sn></person><note>two
lines</note></form1></xfa:data></xfa:datasets>`

func TestXFA(t *testing.T) {
	t.Run("with data", func(t *testing.T) {
		var m made
		xfaForm(&m, xfaTemplate, fmt.Sprintf(xfaData, "üller"))
		out := read(t, &m)
		want := "- person\n  - Surname: Müller\n  - Country: Switzerland\n- person\n  - Surname: King\n- note: two lines\n"
		if out.Markdown != want {
			t.Errorf("got:\n%s\nwant:\n%s", out.Markdown, want)
		}
		if len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "XFA") {
			t.Errorf("warnings %q", out.Warnings)
		}
	})
	t.Run("in one packet", func(t *testing.T) {
		var m made
		xfaForm(&m, "", "")
		whole := "<xdp:xdp xmlns:xdp=\"http://ns.adobe.com/xdp/\">" + xfaTemplate + fmt.Sprintf(xfaData, "ay") + "</xdp:xdp>"
		m.form = "/XFA " + m.object(stream("", whole))
		if out := read(t, &m); !strings.Contains(out.Markdown, "- Surname: May\n") {
			t.Errorf("got %q", out.Markdown)
		}
	})
	t.Run("without data", func(t *testing.T) {
		var m made
		xfaForm(&m, xfaTemplate, "<xfa:datasets xmlns:xfa=\"x\"><xfa:data><form1><sn/></form1></xfa:data></xfa:datasets>")
		if f := refusal(t, &m); f.Reason != "unsupported" || !strings.Contains(f.Message, "XFA") || !strings.Contains(f.Hint, "print") {
			t.Errorf("got %q: %v (%s)", f.Reason, f, f.Hint)
		}
	})
	t.Run("beside pages of its own", func(t *testing.T) {
		var m made
		xfaForm(&m, xfaTemplate, fmt.Sprintf(xfaData, "ay"))
		m.sheets[0].content.Reset()
		m.sheets[0].lines(72, 700, "Name:")
		m.sheets[0].field(&m, 104, 695, 300, 711, "/FT /Tx /T (a) /V (Ada King)")
		if out := read(t, &m); out.Markdown != "Name: Ada King\n" || len(out.Warnings) > 0 {
			t.Errorf("got %q, %q", out.Markdown, out.Warnings)
		}
	})
	t.Run("left over", func(t *testing.T) {
		var m made
		xfaForm(&m, xfaTemplate, "")
		for range 3 {
			m.sheet().lines(72, 700, prose...)
		}
		if out := read(t, &m); !strings.Contains(out.Markdown, "whatever is drawn behind it") || len(out.Warnings) > 0 {
			t.Errorf("got %q, %q", out.Markdown, out.Warnings)
		}
	})
}

func FuzzXFA(f *testing.F) {
	f.Add([]byte(xfaTemplate), []byte(xfaData))
	f.Add([]byte("<a><b></a>"), []byte("<datasets><data><x>&#x0;y</x>"))
	f.Add([]byte(strings.Repeat("<a>", 200)), []byte("<datasets><data>"+strings.Repeat("<x>1", 200)))
	f.Fuzz(func(t *testing.T, template, data []byte) {
		got := readXFA([][]byte{template, data})
		if got != "" && !strings.HasPrefix(got, "- ") {
			t.Errorf("got %q", got)
		}
	})
}

func FuzzRichText(f *testing.F) {
	f.Add("<body><p>a <b>b</b></p><p>c</p></body>")
	f.Add("a < b & c")
	f.Fuzz(func(t *testing.T, s string) {
		if got := plainOfRich(clean(s)); strings.ContainsRune(got, 0) {
			t.Errorf("got %q", got)
		}
	})
}
