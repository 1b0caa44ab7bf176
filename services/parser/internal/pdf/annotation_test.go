package pdf

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"sluice/services/parser/internal/format"
)

// field adds a widget that is a field by itself: entries of its dictionary.
func (s *sheet) field(m *made, x0, y0, x1, y1 float64, entries string) {
	m.fields = append(m.fields, s.annot(m, "Widget", x0, y0, x1, y1, entries))
}

// annot adds an annotation and returns its place among the file's objects.
func (s *sheet) annot(m *made, kind string, x0, y0, x1, y1 float64, entries string) string {
	ref := m.object(fmt.Sprintf("<< /Type /Annot /Subtype /%s /Rect [%g %g %g %g] /F 4 %s >>", kind, x0, y0, x1, y1, entries))
	s.annots = append(s.annots, ref)
	return ref
}

// appearance adds a form that shows what content draws.
func (m *made) appearance(width, height float64, content string) string {
	return m.formObject(width, height, "", "", content)
}

func shows(text string) string { return "/Tx BMC q BT /F1 10 Tf 2 5 Td (" + text + ") Tj ET Q EMC" }

func TestFormFields(t *testing.T) {
	testReads(t, []readTest{
		{"text with an appearance", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "Name:")
			s.field(m, 104, 695, 300, 711, "/FT /Tx /T (a) /V (Ada King) /AP << /N "+m.appearance(196, 16, shows("Ada King"))+" >>")
		}, "Name: Ada King\n"},
		{"text without one", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "Name:")
			s.field(m, 104, 695, 300, 711, "/FT /Tx /T (a) /V <FEFF005A006F00EB>")
		}, "Name: Zoë\n"},
		{"an empty appearance", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "Name:")
			s.field(m, 104, 695, 300, 711, "/FT /Tx /T (a) /V (Ada King) /AP << /N "+m.appearance(196, 16, "/Tx BMC EMC")+" >>")
		}, "Name: Ada King\n"},
		{"an appearance that is cut off", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "Name:")
			s.field(m, 104, 695, 300, 711, "/FT /Tx /T (a) /V (Ada King of Lovelace) /AP << /N "+m.appearance(196, 16, shows("Ada Ki"))+" >>")
		}, "Name: Ada King of Lovelace\n"},
		{"a value that is shown formatted", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "Total:")
			s.field(m, 104, 695, 300, 711, "/FT /Tx /T (a) /V (1234.5) /AP << /N "+m.appearance(196, 16, shows("EUR 1,234.50"))+" >>")
		}, "Total: EUR 1,234.50\n"},
		{"a date that is shown in words", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "Date:")
			s.field(m, 104, 695, 300, 711, "/FT /Tx /T (a) /V (2026-03-12) /AP << /N "+m.appearance(196, 16, shows("12 March 2026"))+" >>")
		}, "Date: 12 March 2026\n"},
		{"an appearance that the form says is old", func(m *made) {
			m.form = "/NeedAppearances true"
			s := m.sheet()
			s.lines(72, 700, "Name:")
			s.field(m, 104, 695, 300, 711, "/FT /Tx /T (a) /V (Ada King) /AP << /N "+m.appearance(196, 16, shows("John Doe"))+" >>")
		}, "Name: Ada King\n"},
		{"one box a letter", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "Code:")
			s.field(m, 104, 695, 300, 711, "/FT /Tx /T (a) /Ff 16777216 /MaxLen 4 /V (AB12) /AP << /N "+
				m.appearance(196, 16, "/Tx BMC BT /F1 10 Tf 20 5 Td (A) Tj 49 0 Td (B) Tj 49 0 Td (1) Tj 49 0 Td (2) Tj ET EMC")+" >>")
		}, "Code: AB12\n"},
		{"a line to write on", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "Name: ____________________ (as in the passport)")
			s.field(m, 102, 697, 212, 711, "/FT /Tx /T (a) /V (Ada King)")
		}, "Name: Ada King (as in the passport)\n"},
		{"lines", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "Remarks:")
			s.field(m, 72, 600, 300, 690, "/FT /Tx /T (a) /Ff 4096 /V (First line.\rSecond line.)")
		}, "Remarks:\n\nFirst line. Second line.\n"},
		{"a value of the parent", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "Name:")
			kid := s.annot(m, "Widget", 104, 695, 300, 711, "/Parent "+m.next(1))
			m.fields = append(m.fields, m.object("<< /FT /Tx /T (a) /V (Ada King) /Kids ["+kid+"] >>"))
		}, "Name: Ada King\n"},
		{"a choice", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "Land:")
			s.field(m, 104, 695, 300, 711, "/FT /Ch /Ff 131072 /T (a) /Opt [[(de) (Germany)] [(fr) (France)]] /V (de)")
		}, "Land: Germany\n"},
		{"several choices", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "Days:")
			s.field(m, 104, 660, 300, 711, "/FT /Ch /Ff 2097152 /T (a) /Opt [(Monday) (Tuesday) (Friday)] /V [(Monday) (Friday)] /AP << /N "+
				m.appearance(196, 51, shows("Monday Tuesday Friday"))+" >>")
		}, "Days: Monday; Friday\n"},
		{"checkboxes", func(m *made) {
			s := m.sheet()
			on := m.appearance(12, 12, "BT /F1 10 Tf 2 2 Td (4) Tj ET")
			for i, state := range []string{"/AS /Yes /V /Yes", "/AS /Off /V /Off", "/V /Yes"} {
				y := 700 - 20*float64(i)
				s.field(m, 72, y-2, 84, y+10, "/FT /Btn /T (c"+fmt.Sprint(i)+") "+state+" /AP << /N << /Yes "+on+" >> >>")
				s.lines(88, y, "Answer number "+fmt.Sprint(i))
			}
		}, "- [x] Answer number 0\n- [ ] Answer number 1\n- [x] Answer number 2\n"},
		{"radio buttons", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "Pay by")
			on := m.appearance(12, 12, "0 0 12 12 re f")
			parent := m.next(2)
			a := s.annot(m, "Widget", 106, 698, 118, 710, "/AS /Transfer /Parent "+parent+" /AP << /N << /Transfer "+on+" >> >>")
			b := s.annot(m, "Widget", 126, 698, 138, 710, "/AS /Off /Parent "+parent+" /AP << /N << /Cash "+on+" >> >>")
			m.fields = append(m.fields, m.object("<< /FT /Btn /Ff 49152 /T (a) /V /Transfer /Kids ["+a+" "+b+"] >>"))
		}, "Pay by [x] (Transfer) [ ]\n"},
		{"a value that is printed on the page as well", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "Name: Ada King")
			s.field(m, 102, 695, 300, 711, "/FT /Tx /T (a) /V (Ada King)")
		}, "Name: Ada King\n"},
		{"in Hebrew", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "Name:")
			s.field(m, 104, 695, 300, 711, "/FT /Tx /T (a) /V <FEFF05D305D505D3002005DB05D405DF>")
		}, "Name: דוד כהן\n"},
		{"labels in a column", func(m *made) {
			s := m.sheet()
			for i, l := range []string{"Name", "Born", "Town", "Land", "Trade", "Years"} {
				y := 700 - 24*float64(i)
				s.lines(72, y, l)
				s.field(m, 200, y-6, 400, y+14, fmt.Sprintf("/FT /Tx /T (f%d) /V (value %d)", i, i))
			}
		}, "Name value 0\nBorn value 1\nTown value 2\nLand value 3\nTrade value 4\nYears value 5\n"},
		{"two labels in a row", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "First:")
			s.lines(320, 700, "Last:")
			s.field(m, 120, 695, 300, 711, "/FT /Tx /T (a) /V (Ada)")
			s.field(m, 380, 695, 500, 711, "/FT /Tx /T (b) /V (King)")
		}, "First: Ada Last: King\n"},
		{"labels above", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "First")
			s.lines(320, 700, "Last")
			s.field(m, 72, 680, 200, 696, "/FT /Tx /T (a) /V (Ada)")
			s.field(m, 320, 680, 500, 696, "/FT /Tx /T (b) /V (King)")
		}, "First Last\nAda King\n"},
		{"a table of fields", func(m *made) {
			s := m.sheet()
			for j, h := range []string{"Part", "Count", "Price"} {
				s.text(roman, 10, 72+100*float64(j), 700, h)
			}
			for i, l := range []string{"Bolt", "Nut", "Washer"} {
				y := 680 - 20*float64(i)
				s.text(roman, 10, 72, y, l)
				s.field(m, 170, y-5, 250, y+11, fmt.Sprintf("/FT /Tx /T (c%d) /V (%d)", i, 10+i))
				s.field(m, 270, y-5, 350, y+11, fmt.Sprintf("/FT /Tx /T (p%d) /V (%d.50)", i, i))
			}
		}, "| Part | Count | Price |\n| --- | --- | --- |\n| Bolt | 10 | 0.50 |\n| Nut | 11 | 1.50 |\n| Washer | 12 | 2.50 |\n"},
		{"a page of fields only", func(m *made) {
			s := m.sheet()
			s.field(m, 104, 695, 300, 711, "/FT /Tx /T (a) /V (Ada King)")
		}, "Ada King\n"},
		{"hidden fields", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "Nothing else.")
			s.field(m, 104, 665, 300, 681, "/FT /Tx /T (a) /V (SECRETA) /F 2")
			s.field(m, 104, 645, 300, 661, "/FT /Tx /T (b) /V (SECRETB) /F 32 /AP << /N "+m.appearance(196, 16, shows("SECRETB"))+" >>")
			s.field(m, 104, 600, 104, 600, "/FT /Tx /T (c) /V (SECRETC)")
			s.field(m, 104, 580, 300, 596, "/FT /Tx /Ff 8192 /T (d) /V (SECRETD)")
		}, "Nothing else.\n"},
		{"widgets of no form", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "Name:")
			s.annot(m, "Widget", 104, 695, 300, 711, "/FT /Tx /T (a) /V (Ada King)")
		}, "Name: Ada King\n"},
		{"a turned page", func(m *made) {
			s := m.sheet()
			s.extra = "/Rotate 90"
			s.field(m, 100, 100, 116, 300, "/FT /Tx /T (a) /V (first value)")
			s.field(m, 200, 100, 216, 300, "/FT /Tx /T (b) /V (second value)")
		}, "first value\n\nsecond value\n"},
	})
}

func TestAnnotations(t *testing.T) {
	testReads(t, []readTest{
		{"typed text with an appearance", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "Signed by:")
			s.annot(m, "FreeText", 122, 695, 300, 711, "/Contents (the mayor) /DA (/F1 10 Tf) /AP << /N "+m.appearance(178, 16, shows("the mayor"))+" >>")
		}, "Signed by: the mayor\n"},
		{"typed text without one", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "Signed by:")
			s.annot(m, "FreeText", 122, 695, 300, 711, "/Contents (the mayor) /DA (/F1 10 Tf)")
		}, "Signed by: the mayor\n"},
		{"rich text", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "Signed by:")
			s.annot(m, "FreeText", 122, 695, 300, 711, "/RC (<?xml version=\"1.0\"?><body><p>the <b>mayor</b> &amp; me</p></body>)")
		}, "Signed by: the mayor & me\n"},
		{"remarks", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "The first line of the text.", "The second line of the text.")
			s.annot(m, "Highlight", 90, 686, 125, 698, "/T (Ann) /Contents (Really?) /QuadPoints [90 698 125 698 90 686 125 686]")
			s.annot(m, "Underline", 90, 698, 105, 710, "/Contents (*not* the last\rone) /QuadPoints [90 710 105 710 90 698 105 698]")
			s.annot(m, "Text", 300, 690, 320, 712, "/T (Bob) /Contents (At the end.)")
		}, "The first[^comment-2] line of the text.[^comment-3] The second[^comment-1] line of the text.\n" +
			"\n[^comment-1]: Ann: Really?\n\n[^comment-2]: \\*not\\* the last\n    one\n\n[^comment-3]: Bob: At the end.\n"},
		{"a reply", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "The text.")
			first := s.annot(m, "Text", 300, 690, 320, 712, "/T (Bob) /Contents (Wrong.)")
			s.annot(m, "Text", 300, 690, 320, 712, "/T (Ann) /Contents (Right!) /IRT "+first)
			s.annot(m, "Text", 300, 690, 320, 712, "/T (Ann) /Contents (Rejected set by Ann) /StateModel (Review) /State (Rejected) /IRT "+first)
			s.annot(m, "Popup", 300, 690, 320, 712, "/Contents (Wrong.) /Parent "+first)
		}, "The text.[^comment-1]\n\n[^comment-1]: Bob: Wrong.\n\n    Ann: Right!\n"},
		{"a highlight without a remark, and one that repeats its words", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "The text.")
			s.annot(m, "Highlight", 72, 698, 112, 710, "/T (Ann) /QuadPoints [72 710 112 710 72 698 112 698]")
			s.annot(m, "Highlight", 72, 698, 112, 710, "/T (Ann) /Contents (The text.) /QuadPoints [72 710 112 710 72 698 112 698]")
		}, "The text.\n"},
		{"a stamp", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "The text.")
			s.annot(m, "Stamp", 72, 600, 272, 640, "/T (Ann) /Contents (PAID) /AP << /N "+m.appearance(200, 40, shows("PAID 12 March"))+" >>")
		}, "The text.\n\nPAID 12 March\n"},
		{"hidden", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "The text.")
			s.annot(m, "Text", 300, 690, 320, 712, "/F 2 /Contents (Wrong.)")
			s.annot(m, "FreeText", 122, 595, 300, 611, "/F 32 /Contents (nobody sees) /AP << /N "+m.appearance(178, 16, shows("nobody sees"))+" >>")
		}, "The text.\n"},
		{"a note on an empty page", func(m *made) {
			m.sheet().annot(m, "Text", 300, 690, 320, 712, "/T (Bob) /Contents (Wrong.)")
		}, "[^comment-1]\n\n[^comment-1]: Bob: Wrong.\n"},
		{"links beside an appearance", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "See the manual for more.")
			s.annot(m, "Link", 105, 696, 150, 710, "/A << /S /URI /URI (https://example.org/m) >>")
			s.annot(m, "FreeText", 72, 595, 300, 611, "/Contents (typed) /AP << /N "+m.appearance(178, 16, shows("typed"))+" >>")
		}, "See the [manual](https://example.org/m) for more.\n\ntyped\n"},
	})
}

// TestConcurrentForms reads forms at the same time: the wrapper of pdfium keeps
// what belongs to a form where all instances share it.
func TestConcurrentForms(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 12 {
		var m made
		s := m.sheet()
		s.lines(72, 700, "Name:")
		s.field(&m, 104, 695, 300, 711, fmt.Sprintf("/FT /Tx /T (a) /V (Ada %d)", i))
		s.field(&m, 104, 675, 300, 691, "/FT /Ch /Ff 131072 /T (b) /Opt [[(de) (Germany)]] /V (de)")
		data := m.bytes(t)
		wg.Go(func() {
			out, err := reader.Read(t.Context(), format.Input{Name: "made.pdf", Data: data})
			if want := fmt.Sprintf("Name: Ada %d\nGermany\n", i); err != nil || out.Markdown != want {
				t.Errorf("got %+v, %v; want %q", out, err, want)
			}
		})
	}
	wg.Wait()
}

// TestMuchTextInFields has one value that many fields show.
func TestMuchTextInFields(t *testing.T) {
	var m made
	s := m.sheet()
	s.lines(72, 700, "The text.")
	parent := m.next(200)
	var kids []string
	for i := range 200 {
		kids = append(kids, s.annot(&m, "Widget", 72, 100+2*float64(i), 272, 101.9+2*float64(i), "/Parent "+parent))
	}
	m.fields = append(m.fields, m.object("<< /FT /Tx /Ff 4096 /T (a) /V ("+strings.Repeat("word ", 12_000)+") /Kids ["+strings.Join(kids, " ")+"] >>"))
	out := read(t, &m)
	if n := len(out.Markdown); n < maxFileText/2 || n > 2*maxFileText {
		t.Errorf("%d bytes", n)
	}
	if len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "more than 4 MiB of text") {
		t.Errorf("warnings %q", out.Warnings)
	}
}

// TestManyAnnotations has more of them on a page than are read: the rest is warned
// of, and the time stays in bounds.
func TestManyAnnotations(t *testing.T) {
	var m made
	s := m.sheet()
	s.lines(72, 700, "The text.")
	for i := range maxPageAnnots + 500 {
		s.field(&m, 72, 100+float64(i%500), 272, 101.5+float64(i%500), fmt.Sprintf("/FT /Tx /T (f%d) /V (value%d)", i, i))
	}
	out := read(t, &m)
	if !strings.Contains(out.Markdown, "value2999") || strings.Contains(out.Markdown, "value3000") {
		t.Errorf("fields beyond the limit: %d bytes", len(out.Markdown))
	}
	if len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "page 1 has 3500 annotations, of which 3000 are read") {
		t.Errorf("warnings %q", out.Warnings)
	}
}
