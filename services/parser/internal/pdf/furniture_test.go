package pdf

import (
	"fmt"
	"strings"
	"testing"
)

// prose writes lines of text that differ from page to page.
func (s *sheet) prose(y float64, lines, seed int) {
	syllables := []string{"ba", "co", "di", "fu", "ga", "hel", "jo", "ki", "lum", "mo"}
	for i := range lines {
		var b strings.Builder
		for j := range 14 {
			n := (seed+1)*7919 + i*104729 + j*1299709
			for k := 0; k < 2+n%2; k++ {
				b.WriteString(syllables[n/(k+3)%10])
			}
			b.WriteByte(' ')
		}
		s.text(roman, 10, 72, y-12*float64(i), strings.TrimSpace(b.String()))
	}
}

func TestRunningLines(t *testing.T) {
	page := func(m *made, i int) *sheet {
		s := m.sheet()
		s.prose(640, 20, i)
		return s
	}
	for _, tt := range []struct {
		name  string
		pages int
		make  func(s *sheet, i int)
		once  []string // stand exactly once
		stay  []string // on every page; %d is its number from 1
		gone  []string
	}{
		{"titles and numbers", 6, func(s *sheet, i int) {
			s.text(roman, 8, 72, 760, "ACME Annual Report 2026")
			s.text(roman, 8, 500, 760, fmt.Sprintf("Page %d of 6", i+1))
		}, []string{"ACME Annual Report 2026"}, nil, []string{"Page 1 of 6", "Page 4 of 6"}},
		{"a title with the number in it", 6, func(s *sheet, i int) {
			s.text(roman, 8, 72, 30, fmt.Sprintf("ACME Ltd - Bank 12345 - Page %d of 6", i+1))
		}, []string{"ACME Ltd - Bank 12345\n"}, nil, []string{"Page 1 of 6", "Page 3 of 6"}},
		{"left and right pages", 6, func(s *sheet, i int) {
			if i%2 == 0 {
				s.text(roman, 10, 72, 760, "The Habits of Bees").text(roman, 10, 520, 760, fmt.Sprint(121+i))
			} else {
				s.text(roman, 10, 72, 760, fmt.Sprint(121+i)).text(roman, 10, 460, 760, "A. Author")
			}
		}, []string{"The Habits of Bees", "A. Author"}, nil, []string{"121", "122", "126"}},
		{"Roman numbers", 5, func(s *sheet, i int) {
			s.text(roman, 9, 300, 30, []string{"vii", "viii", "ix", "x", "xi"}[i])
		}, nil, nil, []string{"viii", "ix", "xi"}},
		{"numbers of chapters", 5, func(s *sheet, i int) { s.text(roman, 9, 300, 30, fmt.Sprintf("B-%d", i+4)) }, nil, nil, []string{"B-4", "B-8"}},
		{"numbers in dashes", 5, func(s *sheet, i int) { s.text(roman, 9, 300, 30, fmt.Sprintf("- %d -", i+1)) }, nil, nil, []string{"3 \x2d", "- 3"}},
		{"numbers that begin again", 9, func(s *sheet, i int) { s.text(roman, 9, 300, 30, fmt.Sprint(4001+i%4-4000*min(1, i/4))) }, nil, nil, []string{"4002"}},
		{"a short chapter", 9, func(s *sheet, i int) {
			s.text(roman, 8, 72, 760, []string{"The Long Chapter", "The Short Chapter"}[min(1, i/7)])
		}, []string{"The Long Chapter", "The Short Chapter"}, nil, nil},
		{"the title of the document", 5, func(s *sheet, i int) {
			if i == 0 {
				s.text(bold, 20, 72, 700, "The Habits of Bees")
			} else {
				s.text(roman, 8, 72, 760, "The Habits of Bees")
			}
		}, []string{"The Habits of Bees"}, nil, nil},
		{
			"questions in the size of the text", 5, func(s *sheet, i int) { s.text(roman, 10, 72, 740, fmt.Sprintf("Question %d", i+1)) },
			nil,
			[]string{"Question %d"},
			nil,
		},
		{"numbers of invoices", 5, func(s *sheet, i int) {
			s.text(roman, 10, 72, 760, fmt.Sprintf("Invoice %d", 1001+i))
			s.text(roman, 10, 72, 745, "Invoice no.").text(roman, 10, 200, 745, fmt.Sprint(1001+i))
			s.text(roman, 10, 72, 30, fmt.Sprintf("Total due: %d.50 EUR", 100+i))
		}, nil, []string{"Invoice 100%d", "Invoice no. 100%d"}, nil},
		{"labels beside values", 5, func(s *sheet, i int) {
			s.text(roman, 10, 72, 30, "Total due").text(roman, 10, 400, 30, fmt.Sprintf("%d1.50 EUR", i+1))
		}, nil, []string{"Total due", "%d1.50 EUR"}, nil},
		{
			"dates", 5, func(s *sheet, i int) { s.text(roman, 8, 72, 760, fmt.Sprintf("Printed on 2026-03-%02d", i+1)) },
			nil,
			[]string{"Printed on 2026-03-0%d"},
			nil,
		},
		{"titles of slides", 6, func(s *sheet, i int) { s.text(bold, 24, 72, 750, "Results") }, nil, []string{"Results"}, nil},
		{"headings in bold on some pages", 10, func(s *sheet, i int) {
			if i%6 < 3 {
				s.text(bold, 10, 72, 750, "Results")
			}
		}, nil, nil, nil},
		{"lines like those of the text", 5, func(s *sheet, i int) {
			s.lines(72, 752, "12:00 heartbeat ok", "12:00 heartbeat ok", "12:00 heartbeat ok", "12:00 heartbeat ok", "12:00 heartbeat ok",
				"12:00 heartbeat ok", "12:00 heartbeat ok", "12:00 heartbeat ok", "12:00 heartbeat ok")
		}, nil, nil, nil},
		{"a title above a rule", 5, func(s *sheet, i int) {
			s.text(roman, 10, 72, 740, "The Habits of Bees").rule(72, 736, 540, 736)
			s.text(roman, 10, 72, 726, fmt.Sprintf("Text %d begins here.", i))
		}, []string{"The Habits of Bees"}, nil, nil},
		{"a number after the title of a journal", 4, func(s *sheet, i int) {
			s.text(roman, 8, 72, 760, "The Habits of Bees").text(roman, 8, 420, 760, fmt.Sprintf("Journal of Bees 12 (2026) %d", i+31))
		}, []string{"The Habits of Bees", "Journal of Bees 12 (2026)"}, nil, []string{"(2026) 31", "(2026) 32", "(2026) 34"}},
		{"a number after a label", 4, func(s *sheet, i int) {
			s.text(roman, 8, 72, 760, fmt.Sprintf("Our invoice no. %d", i+31))
		}, nil, []string{"Our invoice no. 3%d"}, nil},
		{"a bullet", 5, func(s *sheet, i int) { s.text(roman, 10, 72, 750, "\x95 sign here") }, nil, []string{"sign here"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m made
			for i := range tt.pages {
				tt.make(page(&m, i), i)
			}
			got := read(t, &m).Markdown
			for _, s := range tt.once {
				if n := strings.Count(got, s); n != 1 {
					t.Errorf("%q comes %d times", s, n)
				}
			}
			for _, s := range tt.stay {
				if !strings.Contains(s, "%d") {
					if n := strings.Count(got, s); n != tt.pages {
						t.Errorf("%q comes %d times", s, n)
					}
					continue
				}
				for i := range tt.pages {
					if want := fmt.Sprintf(s, i+1); !strings.Contains(got, want) {
						t.Errorf("%q is gone", want)
					}
				}
			}
			for _, s := range tt.gone {
				if strings.Contains(got, s) {
					t.Errorf("%q is left", s)
				}
			}
			if tt.name == "lines like those of the text" && strings.Count(got, "heartbeat") != 9*5 {
				t.Errorf("%d lines of 45", strings.Count(got, "heartbeat"))
			}
			if tt.name == "headings in bold on some pages" && strings.Count(got, "Results") != 6 {
				t.Errorf("%d headings of 6", strings.Count(got, "Results"))
			}
			if t.Failed() {
				t.Log(got)
			}
		})
	}
}

// TestRowsAtTheEdges has a table that fills its pages: its rows are at their
// edges, and its header comes again on each.
func TestRowsAtTheEdges(t *testing.T) {
	for _, ruled := range []bool{false, true} {
		var m made
		n := 0
		for range 4 {
			s := m.sheet()
			for i := range 52 {
				y := 770 - 14*float64(i)
				row := []string{"Payment", "00000", "Amount"}
				if i > 0 {
					n++
					row = []string{"Payment", fmt.Sprintf("%05d", n), fmt.Sprintf("%d.50", n)}
				}
				for j, cell := range row {
					s.text(roman, 10, 76+100*float64(j), y, cell)
				}
				if ruled {
					s.rule(72, y+10, 372, y+10)
				}
			}
			if ruled {
				s.rule(72, 48, 372, 48)
			}
			for x := 72.; ruled && x <= 372; x += 100 {
				s.rule(x, 48, x, 780)
			}
			s.text(roman, 8, 300, 20, fmt.Sprintf("Page %d of 4", len(m.sheets)))
		}
		got := read(t, &m).Markdown
		for i := range n {
			if want := fmt.Sprintf("%05d | %d.50", i+1, i+1); !strings.Contains(got, want) {
				t.Fatalf("ruled %v: %q is gone", ruled, want)
			}
		}
		if k := strings.Count(got, "Amount"); k != 4 {
			t.Errorf("ruled %v: %d headers of 4", ruled, k)
		}
		if strings.Contains(got, "Page") {
			t.Errorf("ruled %v: page numbers are left", ruled)
		}
	}
}

// TestSinglePage has documents of one page: an excerpt has running lines, which
// are left out with a warning; an invoice has none.
func TestSinglePage(t *testing.T) {
	for _, tt := range []struct {
		name       string
		make       func(s *sheet)
		stay, gone []string
		told       []string
	}{
		{"a page of a journal", func(s *sheet) {
			s.prose(700, 40, 1)
			s.text(roman, 8, 72, 760, "124").text(roman, 8, 400, 760, "The Habits of Bees")
			s.text(roman, 7, 72, 30, "Downloaded from https://example.org by guest on 12 March 2026")
		}, nil, []string{"124", "Habits of Bees", "Downloaded"}, []string{"The Habits of Bees", "Downloaded from"}},
		{"a title above, the number below", func(s *sheet) {
			s.prose(700, 40, 1)
			s.text(roman, 8, 72, 760, "THE HABITS OF BEES")
			s.text(roman, 8, 300, 30, "- 124 -")
		}, nil, []string{"124", "HABITS"}, []string{"THE HABITS OF BEES"}},
		{"a number alone", func(s *sheet) {
			s.prose(700, 40, 1)
			s.text(roman, 10, 300, 30, "17")
		}, nil, []string{"17"}, nil},
		{"a heading stays", func(s *sheet) {
			s.text(bold, 10, 72, 760, "Results and Discussion")
			s.prose(700, 40, 1)
			s.text(roman, 10, 300, 30, "17")
		}, []string{"Results and Discussion"}, []string{"17"}, nil},
		{"an invoice", func(s *sheet) {
			s.text(roman, 8, 72, 770, "ACME Ltd, Main Street 1, 8000 Zurich")
			s.text(roman, 10, 72, 700, "Invoice no.").text(roman, 10, 400, 700, "124")
			s.lines(72, 600, "For services rendered.", "Consulting 3 hours")
			s.text(roman, 10, 72, 60, "Total").text(roman, 10, 400, 60, "360")
			s.text(roman, 8, 72, 20, "ACME Ltd - Bank 12345").text(roman, 8, 500, 20, "Page 1 of 1")
		}, []string{"ACME Ltd, Main Street 1", "124", "Total 360", "ACME Ltd - Bank 12345"}, []string{"Page 1 of 1"}, nil},
		{"a receipt that ends in a sum", func(s *sheet) {
			s.lines(72, 700, "Coffee", "Cake")
			s.text(roman, 10, 72, 60, "Items").text(roman, 10, 500, 60, "12")
		}, []string{"Items 12"}, nil, nil},
		{"a year", func(s *sheet) {
			s.prose(700, 40, 1)
			s.text(roman, 10, 290, 30, "2026")
		}, []string{"2026"}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m made
			tt.make(m.sheet())
			out := read(t, &m)
			got := strings.Join(strings.Fields(strings.NewReplacer("|", " ", "---", "").Replace(out.Markdown)), " ")
			for _, s := range tt.stay {
				if !strings.Contains(got, s) {
					t.Errorf("%q is gone", s)
				}
			}
			for _, s := range tt.gone {
				if strings.Contains(got, s) {
					t.Errorf("%q is left", s)
				}
			}
			warnings := strings.Join(out.Warnings, "\n")
			for _, s := range tt.told {
				if !strings.Contains(warnings, s) {
					t.Errorf("no warning tells of %q: %q", s, warnings)
				}
			}
			if len(tt.told) == 0 && warnings != "" {
				t.Errorf("warnings %q", warnings)
			}
			if t.Failed() {
				t.Log(out.Markdown)
			}
		})
	}
}

func TestPageNumber(t *testing.T) {
	for _, tt := range []struct {
		text   string
		n      int
		form   pageForm
		masked string
	}{
		{"12", 12, bareNumber, "#"},
		{"- 12 -", 12, bareNumber, "#"},
		{"[12]", 12, bareNumber, "#"},
		{"xiv", 14, bareNumber, "#"},
		{"3 / 12", 3, bareNumber, "#"},
		{"3 of 12", 3, bareNumber, "#"},
		{"Page 3", 3, named, "#"},
		{"page iv", 4, named, "#"},
		{"Seite 3 von 12", 3, named, "#"},
		{"Página 3 de 12", 3, named, "#"},
		{"Стр. 3 из 12", 3, named, "#"},
		{"صفحة 3 من 12", 3, named, "#"},
		{"עמוד 3 מתוך 12", 3, named, "#"},
		{"第 3 页", 3, named, "#"},
		{"3 ページ", 3, named, "#"},
		{"3 | P a g e", 3, named, "#"},
		{"Sheet 1 of 3", 1, named, "#"},
		{"B-12", 12, chapter, "#"},
		{"12 | Annual Report", 12, titled, "# | Annual Report"},
		{"Annual Report • 12", 12, titled, "Annual Report • #"},
		{"ACME Ltd - Page 3 of 6 - Bank 4", 3, named, "ACME Ltd -#- Bank 4"},
		{"Page 7 of 6", 6, spaced, "Page 7 of #"},
		{"Journal of Bees 12 (2026) 31", 31, spaced, "Journal of Bees 12 (2026) #"},
		{"Question 1", 0, noNumber, "Question 1"},
		{"Sheet 1", 0, noNumber, "Sheet 1"},
		{"Invoice No. 2026-1007", 0, noNumber, "Invoice No. 2026-1007"},
		{"2026-03-01", 0, noNumber, "2026-03-01"},
		{"12.50", 0, noNumber, "12.50"},
		{"0042", 0, noNumber, "0042"},
		{"10-0000", 0, noNumber, "10-0000"},
		{"Total due: 137.07 EUR", 0, noNumber, "Total due: 137.07 EUR"},
		{"", 0, noNumber, ""},
	} {
		number, masked := findPageNumber(tt.text)
		if number.n != tt.n || number.form != tt.form || masked != tt.masked {
			t.Errorf("%q: got %d, form %d, %q; want %d, form %d, %q", tt.text, number.n, number.form, masked, tt.n, tt.form, tt.masked)
		}
	}
}
