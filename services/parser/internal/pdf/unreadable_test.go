package pdf

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"sluice/pkg/fault"
	"sluice/services/parser/internal/format"
)

// scan draws a picture over the whole page.
func (s *sheet) scan() *sheet {
	s.content.WriteString("q 612 0 0 792 0 0 cm /Im Do Q\n")
	return s
}

// refusal reads a file that is refused.
func refusal(t *testing.T, m *made) *fault.Error {
	t.Helper()
	out, err := reader.Read(t.Context(), format.Input{Name: "made.pdf", Data: m.bytes(t)})
	var f *fault.Error
	if !errors.As(err, &f) {
		t.Fatalf("got %v, %v", out, err)
	}
	if f.Class != fault.Validation || !strings.HasPrefix(f.Message, "made.pdf: ") || f.Hint == "" {
		t.Errorf("got %v: %v (%s)", f.Class, f, f.Hint)
	}
	return f
}

var prose = []string{
	"The text of this page was typed and is as readable as can be, and there is plenty of it,",
	"because a page that has text is not a picture, whatever is drawn behind it or beside it,",
	"and it does not matter either how many pages of the document have been scanned and then",
	"put before it, as long as most of what the document has to say can be read in the end by",
	"somebody who looks for a word that is on it, which is what all of this is done for today,",
	"so let there be one more line of it, and another one, until there are words in plenty.",
}

func TestScansAreRefused(t *testing.T) {
	for name, make := range map[string]func(m *made){
		"page numbers": func(m *made) {
			for i := range 3 {
				m.sheet().scan().text(roman, 9, 480, 20, fmt.Sprintf("ACME-%06d", i+1))
			}
		},
		"the line of a program": func(m *made) {
			for range 2 {
				m.sheet().scan().text(roman, 9, 72, 12, "Scanned with some app or other, try it for nothing")
			}
		},
		"a receipt stamp": func(m *made) {
			m.sheet().scan().text(bold, 16, 380, 600, "RECEIVED").text(bold, 12, 380, 584, "12 MAR 2026")
		},
		"a stamp, a number and the line of a fax": func(m *made) {
			for i := range 3 {
				s := m.sheet().scan().text(roman, 9, 480, 20, fmt.Sprintf("Page %d", i+1)).
					text(roman, 8, 30, 780, fmt.Sprintf("12-MAR-2026 10:%d From +41 44 000 00 00", 10+i))
				if i == 0 {
					s.text(bold, 16, 380, 600, "RECEIVED")
				}
			}
		},
		"strips": func(m *made) {
			s := m.sheet().text(roman, 9, 480, 20, "000001")
			for i := range 11 {
				fmt.Fprintf(&s.content, "q 612 0 0 72 0 %d cm /Im Do Q\n", 72*i)
			}
		},
		"a small scan on a large page": func(m *made) {
			s := m.sheet().text(roman, 9, 480, 20, "Page 1")
			s.content.WriteString("q 400 0 0 560 106 116 cm /Im Do Q\n")
		},
		"a number up the side": func(m *made) {
			for i := range 2 {
				s := m.sheet().scan()
				fmt.Fprintf(&s.content, "BT /F1 9 Tf 0 1 -1 0 20 300 Tm (ACME-%06d) Tj ET\n", i)
			}
		},
		"a picture in a form": func(m *made) {
			form := m.formObject(612, 792, "", "/XObject << /Im "+m.next(1)+" >>", "q 612 0 0 792 0 0 cm /Im Do Q")
			m.object(pixel)
			s := m.sheet().text(roman, 9, 480, 20, "000001")
			s.forms = "/Fm " + form
			s.content.WriteString("/Fm Do\n")
		},
		"three of four pages": func(m *made) {
			m.sheet().lines(72, 700, prose...)
			for i := range 3 {
				m.sheet().scan().text(roman, 9, 480, 20, fmt.Sprint(i))
			}
		},
		"a picture of lines": func(m *made) {
			s := m.sheet()
			for i := range 300 {
				s.rule(float64(72+i%20*10), float64(100+i), float64(78+i%20*10), float64(104+i))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var m made
			make(&m)
			if f := refusal(t, &m); f.Reason != "scanned" || !strings.Contains(f.Hint, "OCR") {
				t.Errorf("got %q: %v", f.Reason, f)
			}
		})
	}
}

func TestScansAreWarnedOf(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(m *made)
		warn string // "" = none
		text string
	}{
		{"two among pages of text", func(m *made) {
			for i := range 5 {
				if i == 1 || i == 2 {
					m.sheet().scan().text(roman, 9, 480, 20, fmt.Sprintf("ACME-%06d", i+1))
				} else {
					m.sheet().lines(72, 700, prose...)
				}
			}
		}, "pages 2-3 (2 of 5) are scans: only what was put on them is text", "whatever is drawn behind it"},
		{"a form that was scanned and filled in", func(m *made) {
			s := m.sheet().scan()
			s.annot(m, "FreeText", 122, 695, 300, 711, "/Contents (Ada King)")
			s.annot(m, "FreeText", 122, 395, 300, 411, "/Contents (Marylebone)")
		}, "page 1 (1 of 1) is a scan: only what was put on it is text", "Marylebone"},
		{"text over a picture", func(m *made) {
			for range 3 {
				m.sheet().scan().lines(72, 700, prose...)
			}
		}, "", "whatever is drawn behind it"},
		{"a certificate", func(m *made) {
			m.sheet().scan().text(bold, 20, 200, 600, "Certificate of Honour").text(roman, 14, 220, 450, "for Ada King").text(roman, 10, 150, 200, "London, 12 March 1842")
		}, "", "for Ada King"},
		{"a photo and its caption", func(m *made) {
			s := m.sheet().text(roman, 10, 120, 200, "The house in which Ada King was born, before it was pulled down")
			s.content.WriteString("q 400 0 0 500 106 220 cm /Im Do Q\n")
		}, "", "pulled down"},
		{"slides with a title", func(m *made) {
			for _, title := range []string{"Our hotel", "The garden"} {
				m.sheet().scan().text(bold, 44, 100, 400, title)
			}
		}, "", "The garden"},
		{"an appendix of pictures", func(m *made) {
			for range 30 {
				s := m.sheet()
				for i := range 4 {
					s.lines(72, 700-100*float64(i), prose...)
				}
			}
			for range 31 {
				m.sheet().scan()
			}
		}, "pages 31-61 (31 of 61) have no text, only pictures", "whatever is drawn behind it"},
		{"blank pages with a logo", func(m *made) {
			m.sheet().lines(72, 700, "Short.")
			for range 3 {
				m.sheet().content.WriteString("q 50 0 0 50 50 50 cm /Im Do Q\n")
			}
		}, "pages 2-4 (3 of 4) have no text, only pictures", "Short."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m made
			tt.make(&m)
			out := read(t, &m)
			if got := strings.Join(out.Warnings, "; "); got != tt.warn {
				t.Errorf("warnings %q, want %q", got, tt.warn)
			}
			if !strings.Contains(out.Markdown, tt.text) {
				t.Errorf("got:\n%s", out.Markdown)
			}
		})
	}
}

// nameless adds a font whose glyphs have names that say nothing, and no map to
// Unicode.
func (s *sheet) nameless(m *made) string {
	glyph := m.object(stream("", "600 0 0 0 500 700 d1 0 0 500 700 re f"))
	var procs, names strings.Builder
	for c := 33; c < 127; c++ {
		fmt.Fprintf(&procs, "/x%d %s ", c*7, glyph)
		fmt.Fprintf(&names, "/x%d ", c*7)
	}
	font := m.object("<< /Type /Font /Subtype /Type3 /FontBBox [0 0 600 700] /FontMatrix [.001 0 0 .001 0 0] /CharProcs << " + procs.String() +
		">> /Encoding << /Differences [33 " + names.String() + "] >> /FirstChar 33 /LastChar 126 /Widths [" + strings.Repeat("600 ", 94) + "] >>")
	s.fonts = "/N " + font
	return "N"
}

// shifted returns text by codes that are not those of its letters.
func shifted(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return 'a' + (r-'a'+11)%26
		}
		return r
	}, s)
}

func TestGlyphsWithoutUnicode(t *testing.T) {
	write := func(s *sheet, font string, lines ...string) {
		for i, l := range lines {
			for j, w := range strings.Fields(l) {
				s.text(font, 10, 72+50*float64(j), 700-12*float64(i), w)
			}
		}
	}
	t.Run("most of the document", func(t *testing.T) {
		var m made
		s := m.sheet()
		for i, l := range prose {
			write(s, s.nameless(&m), strings.Repeat("\n", i)+shifted(l))
		}
		m.sheet().lines(72, 700, "A short page.")
		if f := refusal(t, &m); f.Reason != "unsupported" || !strings.Contains(f.Message, "no Unicode") || !strings.Contains(f.Message, "%") {
			t.Errorf("got %q: %v", f.Reason, f)
		}
	})
	t.Run("a page", func(t *testing.T) {
		var m made
		for i := range 3 {
			s := m.sheet()
			if i == 1 {
				write(s, s.nameless(&m), shifted("secret words"))
				s.lines(72, 600, "On.")
				continue
			}
			s.lines(72, 700, prose...)
		}
		out := read(t, &m)
		if len(out.Warnings) != 1 || out.Warnings[0] != "characters that have no Unicode cannot be read: page 2 (79 %)" {
			t.Errorf("warnings %q", out.Warnings)
		}
		if strings.Contains(out.Markdown, shifted("secret")) || strings.Contains(out.Markdown, "\U00100073") || !strings.Contains(out.Markdown, "On.") {
			t.Errorf("got %q", out.Markdown)
		}
	})
	t.Run("a word", func(t *testing.T) {
		var m made
		s := m.sheet()
		s.lines(72, 700, prose...)
		s.text(s.nameless(&m), 10, 72, 600, "xyz")
		s.lines(110, 600, "is not readable.")
		out := read(t, &m)
		if !strings.Contains(out.Markdown, "\uFFFD is not readable.") || len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "page 1 (0.") {
			t.Errorf("got %q, %q", out.Markdown, out.Warnings)
		}
	})
	t.Run("codes that are letters all the same", func(t *testing.T) {
		var m made
		s := m.sheet()
		font := s.nameless(&m)
		write(s, font, prose...)
		out := read(t, &m)
		if !strings.Contains(out.Markdown, "readable as can be") || len(out.Warnings) > 0 {
			t.Errorf("got %q, %q", out.Markdown, out.Warnings)
		}
	})
	t.Run("a map to nothing", func(t *testing.T) {
		var m made
		cmap := "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /x def 1 begincodespacerange <00> <FF> endcodespacerange\n" +
			"1 beginbfrange <21> <7E> <F021> endbfrange endcmap end end"
		uni := m.object(stream("", cmap))
		font := m.object("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode " + uni + " >>")
		s := m.sheet()
		s.fonts = "/P " + font
		s.text("P", 10, 72, 700, shifted("private words of a font"))
		if f := refusal(t, &m); f.Reason != "unsupported" {
			t.Errorf("got %q: %v", f.Reason, f)
		}
	})
}

func TestRanges(t *testing.T) {
	for want, in := range map[string][]int{"page 3": {3}, "pages 1-3": {1, 2, 3}, "pages 1, 3-4, 9": {1, 3, 4, 9}} {
		if got := ranges(in); got != want {
			t.Errorf("%v: got %q, want %q", in, got, want)
		}
	}
}
