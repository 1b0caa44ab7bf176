package pdf

import (
	"fmt"
	"regexp"
	"slices"
	"testing"
)

// headings returns the headings of Markdown with their marks.
func headings(markdown string) []string {
	return regexp.MustCompile(`(?m)^#+ .*$`).FindAllString(markdown, -1)
}

const body = "Some text that is long enough to be what most of the document is set in, and that goes on"

func TestHeadings(t *testing.T) {
	section := func(s *sheet, y float64, font string, size float64, heading string) float64 {
		s.text(font, size, 72, y, heading)
		return s.lines(72, y-20, body, "in a second line, so that it is a paragraph and no label.") - 20
	}
	for _, tt := range []struct {
		name string
		make func(s *sheet)
		want []string
	}{
		{"bold", func(s *sheet) {
			y := section(s, 720, bold, 10, "Introduction")
			section(s, y, bold, 10, "Results")
		}, []string{"# Introduction", "# Results"}},
		{"italics", func(s *sheet) {
			y := section(s, 720, bold, 14, "The Habits of Bees")
			y = section(s, y, slanted, 10, "Their colour")
			section(s, y, slanted, 10, "Their flight")
		}, []string{"# The Habits of Bees", "## Their colour", "## Their flight"}},
		{"capitals", func(s *sheet) {
			y := section(s, 720, roman, 10, "INTRODUCTION")
			section(s, y, roman, 10, "RESULTS")
		}, []string{"# INTRODUCTION", "# RESULTS"}},
		{"section numbers alone", func(s *sheet) {
			y := section(s, 720, roman, 10, "1 Introduction")
			y = section(s, y, roman, 10, "1.1 Background")
			section(s, y, roman, 10, "2 Results")
		}, []string{"# 1 Introduction", "## 1.1 Background", "# 2 Results"}},
		{"underlined", func(s *sheet) {
			for i, h := range []string{"Introduction", "Results"} {
				y := 720 - 80*float64(i)
				s.rule(72, y-2, 72+5*float64(len(h)), y-2)
				section(s, y, roman, 10, h)
			}
		}, []string{"# Introduction", "# Results"}},
		{"one line in capitals is a name", func(s *sheet) {
			section(s, 720, roman, 10, "ACME LIMITED")
		}, nil},
		{"labels in a list", func(s *sheet) {
			s.lines(72, 720, body, "in a second line.")
			s.lines(72, 680, "1. Introduction", "2. Results", "3. Discussion")
			s.lines(72, 620, body, "in a second line.")
		}, nil},
		{"sentences in italics", func(s *sheet) {
			y := section(s, 720, slanted, 10, "What is said here is not a heading.")
			section(s, y, slanted, 10, "Nor is this, for it ends in a full stop.")
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m made
			tt.make(m.sheet())
			md := read(t, &m).Markdown
			if got := headings(md); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q in\n%s", got, tt.want, md)
			}
		})
	}
}

// TestFormsAndStampsAreNoHeadings has lines as large as headings, and larger, that were
// filled in or stamped.
func TestFormsAndStampsAreNoHeadings(t *testing.T) {
	var m made
	s := m.sheet()
	s.text(bold, 16, 72, 740, "Application for a permit")
	s.lines(72, 715, body, "in a second line, so that it is a paragraph and no label.")
	s.text(bold, 13, 72, 660, "Name of the applicant and of the owner: ____________")
	s.text(bold, 13, 72, 630, "Street:")
	s.field(&m, 130, 625, 300, 641, "/FT /Tx /T (a) /V (Harbour Street 14) /AP << /N "+m.appearance(170, 16, "BT /F1 13 Tf 2 5 Td (Harbour Street 14) Tj ET")+" >>")
	s.annot(&m, "Stamp", 300, 560, 400, 590, "/AP << /N "+m.appearance(100, 30, "BT /F1 22 Tf 2 5 Td (PAID) Tj ET")+" >>")
	s.annot(&m, "FreeText", 300, 500, 500, 530, "/DA (/F1 20 Tf 0 g) /Contents (Checked by Ann)")
	s.text(bold, 13, 72, 450, "Reasons")
	s.lines(72, 430, body, "in a second line, so that it is a paragraph and no label.")
	md := read(t, &m).Markdown
	if got, want := headings(md), []string{"# Application for a permit", "## Reasons"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q in\n%s", got, want, md)
	}
	for _, want := range []string{"PAID", "Checked by Ann", "Street: Harbour Street 14"} {
		if !regexp.MustCompile(want).MatchString(md) {
			t.Errorf("no %q in\n%s", want, md)
		}
	}
}

// TestTags has headings that only the file's structure tree names.
func TestTags(t *testing.T) {
	for _, tt := range []struct {
		name string
		kind func(i int) string
		want []string
	}{
		{"headings", func(i int) string { return []string{"H1", "P", "H2", "P", "H2", "P"}[i] }, []string{"# Alpha", "## Gamma", "## Epsilon"}},
		{"a role of the program", func(i int) string { return []string{"Kop", "P", "P", "P", "P", "P"}[i] }, []string{"### Alpha"}},
		{"all is a heading", func(int) string { return "H1" }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m made
			s := m.sheet()
			tree := m.next(6)
			var kids string
			for i, word := range []string{"Alpha", "Beta", "Gamma", "Delta", "Epsilon", "Zeta"} {
				y := 720 - 60*float64(i)
				fmt.Fprintf(&s.content, "/Span << /MCID %d >> BDC\n", i)
				if i%2 == 0 {
					s.text(roman, 10, 72, y, word)
				} else {
					s.lines(72, y, word+" "+body, "in a second line, so that it is a paragraph and no label.")
				}
				s.content.WriteString("EMC\n")
				kids += m.object(fmt.Sprintf("<< /Type /StructElem /S /%s /P %s /Pg %s /K %d >>", tt.kind(i), tree, m.page(7), i)) + " "
			}
			m.object(fmt.Sprintf("<< /Type /StructTreeRoot /K [%s] /RoleMap << /Kop /H3 >> /ParentTree << /Nums [0 [%s]] >> >>", kids, kids))
			m.catalog = "/MarkInfo << /Marked true >> /StructTreeRoot " + tree
			s.extra = "/StructParents 0"
			md := read(t, &m).Markdown
			if got := headings(md); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q in\n%s", got, tt.want, md)
			}
		})
	}
}
