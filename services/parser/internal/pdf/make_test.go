package pdf

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

// sheet is a page being written, US Letter, with y growing upwards as in PDF.
type sheet struct {
	content strings.Builder
	extra   string // further entries of the page's dictionary
	image   bool   // draws the image /Im
	annots  []string
	made    *made
	fonts   string // further entries of its fonts
	forms   string // further entries of its forms and pictures

	properties string // of marked content
}

// Fonts of every sheet.
const (
	roman   = "F1" // Helvetica
	bold    = "F2" // Helvetica-Bold
	courier = "F3"
	ligated = "F4" // Helvetica whose characters 1 and 2 are the ligatures fi and fl
	drawn   = "F5" // see glyphs
	slanted = "F6" // Helvetica-Oblique
)

func (s *sheet) text(font string, size, x, y float64, text string) *sheet {
	r := strings.NewReplacer(`\`, `\\`, "(", `\(`, ")", `\)`)
	fmt.Fprintf(&s.content, "BT /%s %g Tf 1 0 0 1 %g %g Tm (%s) Tj ET\n", font, size, x, y, r.Replace(text))
	return s
}

// lines writes lines of 10 points, 12 apart, and returns the y after them.
func (s *sheet) lines(x, y float64, lines ...string) float64 {
	for _, l := range lines {
		s.text(roman, 10, x, y, l)
		y -= 12
	}
	return y
}

// glyphs draws glyphs side by side from x on, half an em wide each, and says
// what letters each of them stands for. fromRight draws the last of them first,
// as programs do that go through a line in reading order. A space is
// left out: nothing is drawn there.
func (s *sheet) glyphs(size, x, y float64, fromRight bool, glyphs ...string) *sheet {
	for i := range glyphs {
		if fromRight {
			i = len(glyphs) - 1 - i
		}
		if glyphs[i] == " " {
			continue
		}
		code := slices.Index(s.made.glyphs, glyphs[i])
		if code < 0 {
			code = len(s.made.glyphs)
			s.made.glyphs = append(s.made.glyphs, glyphs[i])
		}
		fmt.Fprintf(&s.content, "BT /%s %g Tf 1 0 0 1 %g %g Tm <%02x> Tj ET\n", drawn, size, x+float64(i)*size/2, y, code+1)
	}
	return s
}

func (s *sheet) rule(x0, y0, x1, y1 float64) *sheet {
	fmt.Fprintf(&s.content, "%g %g m %g %g l S\n", x0, y0, x1, y1)
	return s
}

// made is a PDF file being written.
type made struct {
	sheets  []*sheet
	info    string // entries of the information dictionary
	encrypt bool   // say that there is a password
	outline []string
	objects []string // further ones, see object
	fields  []string // of the form
	form    string   // further entries of the form's dictionary
	catalog string   // further entries of the catalog
	glyphs  []string // what the codes from 1 of the font "drawn" stand for
}

// Objects that a test adds come before all others, but for the font of
// appearances.
const firstObject = 2

// object adds an object and returns a reference to it.
func (m *made) object(content string) string {
	ref := m.next(0)
	m.objects = append(m.objects, content)
	return ref
}

// next returns the reference of the object that comes n after the next one.
func (m *made) next(n int) string { return fmt.Sprintf("%d 0 R", firstObject+len(m.objects)+n) }

// stream returns a stream with further entries in its dictionary.
func stream(entries, content string) string {
	return fmt.Sprintf("<< %s /Length %d >>\nstream\n%s\nendstream", entries, len(content), content)
}

// pixel is a picture of one grey dot.
var pixel = stream("/Type /XObject /Subtype /Image /Width 1 /Height 1 /ColorSpace /DeviceGray /BitsPerComponent 8", "x")

// formObject adds a form XObject, which draws content, with further entries in its
// dictionary and in its resources.
func (m *made) formObject(width, height float64, entries, resources, content string) string {
	return m.object(stream(fmt.Sprintf("/Type /XObject /Subtype /Form %s /BBox [0 0 %g %g] /Resources << /Font << /F1 %s >> %s >>",
		entries, width, height, m.font(), resources), content))
}

// page returns a reference to the first page of a file that has so many objects
// of a test: fonts, the image and the page's content are before it.
func (m *made) page(objects int) string {
	const fonts = 5
	return fmt.Sprintf("%d 0 R", firstObject+objects+fonts+2)
}

// font returns a reference to Helvetica.
func (m *made) font() string { return "1 0 R" }

func (m *made) sheet() *sheet {
	s := &sheet{made: m}
	m.sheets = append(m.sheets, s)
	return s
}

// bytes returns the file: objects, cross-reference table, trailer.
func (m *made) bytes(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	var offsets []int
	object := func(format string, args ...any) int {
		offsets = append(offsets, b.Len())
		fmt.Fprintf(&b, "%d 0 obj\n", len(offsets))
		fmt.Fprintf(&b, format, args...)
		b.WriteString("\nendobj\n")
		return len(offsets)
	}
	b.WriteString("%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
	object("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>")
	for _, o := range m.objects {
		object("%s", o)
	}
	var fonts []string
	for _, f := range []struct{ name, base, encoding string }{
		{roman, "Helvetica", "/WinAnsiEncoding"},
		{bold, "Helvetica-Bold", "/WinAnsiEncoding"},
		{courier, "Courier", "/WinAnsiEncoding"},
		{slanted, "Helvetica-Oblique", "/WinAnsiEncoding"},
		{ligated, "Helvetica", "<< /BaseEncoding /WinAnsiEncoding /Differences [1 /fi /fl] >>"},
	} {
		n := object("<< /Type /Font /Subtype /Type1 /BaseFont /%s /Encoding %s >>", f.base, f.encoding)
		fonts = append(fonts, fmt.Sprintf("/%s %d 0 R", f.name, n))
	}
	if len(m.glyphs) > 0 {
		var cmap, procs, names strings.Builder
		cmap.WriteString("begincmap\n1 begincodespacerange <00> <ff> endcodespacerange\n")
		fmt.Fprintf(&cmap, "%d beginbfchar\n", len(m.glyphs))
		const box = "500 0 0 0 480 700 d1 0 0 480 700 re f"
		proc := object("%s", stream("", box))
		for i, g := range m.glyphs {
			fmt.Fprintf(&cmap, "<%02x> <", i+1)
			for _, u := range utf16.Encode([]rune(g)) {
				fmt.Fprintf(&cmap, "%04x", u)
			}
			cmap.WriteString(">\n")
			fmt.Fprintf(&procs, "/g%d %d 0 R ", i+1, proc)
			fmt.Fprintf(&names, "/g%d ", i+1)
		}
		cmap.WriteString("endbfchar\nendcmap\n")
		toUnicode := object("%s", stream("", cmap.String()))
		n := object("<< /Type /Font /Subtype /Type3 /FontBBox [0 0 500 700] /FontMatrix [.001 0 0 .001 0 0] /CharProcs << %s >> "+
			"/Encoding << /Type /Encoding /Differences [1 %s] >> /FirstChar 1 /LastChar %d /Widths [%s] /Resources << >> /ToUnicode %d 0 R >>",
			procs.String(), names.String(), len(m.glyphs), strings.Repeat("500 ", len(m.glyphs)), toUnicode)
		fonts = append(fonts, fmt.Sprintf("/%s %d 0 R", drawn, n))
	}
	image := object("%s", pixel)
	pages := len(offsets) + 1 + 2*len(m.sheets)
	var kids []string
	for _, s := range m.sheets {
		content := s.content.String()
		if s.image {
			content += "q 500 0 0 700 50 50 cm /Im Do Q\n"
		}
		if len(s.annots) > 0 {
			s.extra += " /Annots [" + strings.Join(s.annots, " ") + "]"
		}
		n := object("%s", stream("/Filter /FlateDecode", deflate(t, content)))
		kid := object("<< /Type /Page /Parent %d 0 R /MediaBox [0 0 612 792] /Contents %d 0 R /Resources << /Font << %s %s >> /XObject << /Im %d 0 R %s >> /Properties << %s >> >> %s >>",
			pages, n, strings.Join(fonts, " "), s.fonts, image, s.forms, s.properties, s.extra)
		kids = append(kids, fmt.Sprintf("%d 0 R", kid))
	}
	object("<< /Type /Pages /Count %d /Kids [%s] >>", len(kids), strings.Join(kids, " "))
	outlines := ""
	if len(m.outline) > 0 {
		root := len(offsets) + 1
		object("<< /Type /Outlines /First %d 0 R /Last %d 0 R /Count %d >>", root+1, root+len(m.outline), len(m.outline))
		for i, title := range m.outline {
			next := ""
			if i+1 < len(m.outline) {
				next = fmt.Sprintf("/Next %d 0 R", root+i+2)
			}
			object("<< /Title (%s) /Parent %d 0 R /Dest [%s /Fit] %s >>", title, root, kids[0], next)
		}
		outlines = fmt.Sprintf("/Outlines %d 0 R", root)
	}
	if len(m.fields) > 0 || m.form != "" {
		outlines += fmt.Sprintf(" /AcroForm << /Fields [%s] /DA (/F1 10 Tf 0 g) /DR << /Font << /F1 1 0 R >> >> %s >>", strings.Join(m.fields, " "), m.form)
	}
	catalog := object("<< /Type /Catalog /Pages %d 0 R /Lang (en-GB) %s %s >>", pages, outlines, m.catalog)
	trailer := fmt.Sprintf("/Root %d 0 R /Info %d 0 R", catalog, object("<< %s >>", m.info))
	if m.encrypt {
		lock := object("<< /Filter /Standard /V 2 /R 3 /Length 128 /P -44 /O <%064d> /U <%064d> >>", 1, 2)
		trailer += fmt.Sprintf(" /Encrypt %d 0 R /ID [<00112233445566778899aabbccddeeff> <00112233445566778899aabbccddeeff>]", lock)
	}
	xref := b.Len()
	fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n", len(offsets)+1)
	for _, o := range offsets {
		fmt.Fprintf(&b, "%010d 00000 n \n", o)
	}
	fmt.Fprintf(&b, "trailer\n<< /Size %d %s >>\nstartxref\n%d\n%%%%EOF\n", len(offsets)+1, trailer, xref)
	return b.Bytes()
}

func deflate(t testing.TB, s string) string {
	t.Helper()
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	if _, err := w.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return z.String()
}
