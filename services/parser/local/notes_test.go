package local_test

import (
	"strings"
	"testing"

	"sluice/pkg/provider"
	"sluice/services/parser/internal/samples"
)

// noted is a Word document with a footnote.
func noted(t *testing.T, text, note string, more ...samples.Part) []byte {
	t.Helper()
	body := `<w:p><w:r><w:t>` + text + `</w:t></w:r><w:r><w:footnoteReference w:id="1"/></w:r></w:p>`
	rels := "f footnotes footnotes.xml"
	if len(more) > 0 {
		body += `<w:altChunk r:id="c"/>`
		rels += ",c aFChunk inner.docx"
	}
	return samples.WordDocument(t, body, append(more, samples.Part{Name: "[Content_Types].xml", Data: "<Types/>"}, samples.Rels("word/document.xml", strings.Split(rels, ",")...),
		samples.Part{Name: "word/footnotes.xml", Data: `<w:footnotes xmlns:w="w"><w:footnote w:id="1"><w:p><w:r><w:t>` + note + `</w:t></w:r></w:p></w:footnote></w:footnotes>`})...)
}

// Each document within another has its own notes.
func TestNotesOfMembers(t *testing.T) {
	p := newParser(t, nil)
	a, b := noted(t, "Alpha", "Note of a."), noted(t, "Beta", "Note of b.")
	own := []string{"Alpha[^1]", "[^1]: Note of a.", "Beta[^1-2]", "[^1-2]: Note of b."}
	for name, c := range map[string]struct {
		data []byte
		want []string
	}{
		"a.zip":      {zipOf(t, member{"a.docx", a}, member{"b.docx", b}), own},
		"nested.zip": {zipOf(t, member{"a.docx", a}, member{"in.zip", zipOf(t, member{"b.docx", b}, member{"c.md", []byte("Gamma[^1]\n\n[^1]: Note of c.\n")})}), []string{own[0], own[1], "Beta[^1-3]", "[^1-3]: Note of b.", "Gamma[^1-2]", "[^1-2]: Note of c."}},
		"a.eml":      {[]byte(mixed("mixed", "Content-Type: text/plain\r\n\r\nThe plain text.", attached("a.docx", "application/octet-stream", a), attached("b.docx", "application/octet-stream", b))), own},
		"around.docx": {
			noted(t, "Around", "Note around.", samples.Part{Name: "word/inner.docx", Data: string(b)}),
			[]string{"Around[^1]", "Beta[^1-2]", "[^1-2]: Note of b.", "[^1]: Note around."},
		},
	} {
		got, err := p.Parse(t.Context(), provider.Source{Name: name, Data: c.data})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, w := range c.want {
			if strings.Count(got.Markdown, w) != 1 {
				t.Errorf("%s: %q is not there once in\n%s", name, w, got.Markdown)
			}
		}
	}
}

// A document within a Word document may be a web page packed as a mail: no mail
// stands there. In a cell its headings are none.
func TestPackedPagesInWord(t *testing.T) {
	const page = "MIME-Version: 1.0\nContent-Type: multipart/related; type=\"text/html\"; boundary=\"=_p\"\n\n--=_p\nContent-Type: text/html; charset=\"utf-8\"\nContent-Transfer-Encoding: quoted-printable\n" +
		"Content-Location: file:///C:/page.html\n\n<html><body><h1>Caf=C3=A9</h1><p>Its text.</p></body></html>\n\n--=_p\nContent-Type: image/png\nContent-Transfer-Encoding: base64\nContent-Location: file:///C:/i.png\n\niVBORw0KGgo=\n\n--=_p--\n"
	body := `<w:altChunk r:id="c"/><w:tbl><w:tr><w:tc><w:altChunk r:id="c"/></w:tc><w:tc><w:p><w:r><w:t>beside</w:t></w:r></w:p></w:tc></w:tr></w:tbl>`
	got, err := newParser(t, nil).Parse(t.Context(), provider.Source{Name: "a.docx", Data: samples.WordDocument(t, body, samples.Part{Name: "[Content_Types].xml", Data: "<Types/>"},
		samples.Rels("word/document.xml", "c aFChunk page.mht"), samples.Part{Name: "word/page.mht", Data: page})})
	if want := "# Café\n\nIts text.\n\n| **Café** Its text. | beside |\n| --- | --- |\n"; err != nil || got.Markdown != want || len(got.Warnings) > 0 {
		t.Errorf("%v, %q\n%s\nwant\n%s", err, got.Warnings, got.Markdown, want)
	}
}
