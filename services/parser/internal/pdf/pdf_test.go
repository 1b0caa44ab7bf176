package pdf

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/testcpu"
	"sluice/services/parser/internal/format"
)

// reader is one for all tests, because compiling pdfium takes seconds.
var reader *Reader

func TestMain(m *testing.M) {
	var err error
	if reader, err = New(Config{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := reader.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		os.Exit(code)
	}))
}

func read(t testing.TB, m *made) *format.Output {
	t.Helper()
	out, err := reader.Read(t.Context(), format.Input{Name: "made.pdf", Data: m.bytes(t)})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// readTest is a file and what it has to be read as, without warnings.
type readTest struct {
	name string
	make func(m *made)
	want string
}

func testReads(t *testing.T, tests []readTest) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var m made
			tt.make(&m)
			out := read(t, &m)
			if out.Markdown != tt.want {
				t.Errorf("got:\n%s\nwant:\n%s", out.Markdown, tt.want)
			}
			if len(out.Warnings) > 0 {
				t.Errorf("warnings %q", out.Warnings)
			}
		})
	}
}

func TestMarkdown(t *testing.T) {
	testReads(t, []readTest{
		{"paragraphs", func(m *made) {
			s := m.sheet()
			y := s.lines(72, 700,
				"The first paragraph fills its lines to the right margin as prose does, and a com-",
				"pound such as state-of-the-art keeps its hyphens, while a word that is divided loses",
				"the one that was put there.")
			s.lines(72, y-10, "The second one stands apart from the first.")
		}, "The first paragraph fills its lines to the right margin as prose does, and a compound such as state-of-the-art keeps its hyphens, while a word that is divided loses the one that was put there.\n\n" +
			"The second one stands apart from the first.\n"},
		{"hyphens that the document knows", func(m *made) {
			s := m.sheet()
			s.lines(72, 700,
				"A long-term plan is one thing, and it is a good thing, but what we need is the long-",
				"term view of those who have seen plans come and go over many years in this house.")
		}, "A long-term plan is one thing, and it is a good thing, but what we need is the long-term view of those who have seen plans come and go over many years in this house.\n"},
		{"ligatures", func(m *made) {
			m.sheet().text(ligated, 10, 72, 700, "The \x01rst of\x01ce on the second \x02oor.")
		}, "The first office on the second floor.\n"},
		{"two columns under a title", func(m *made) {
			s := m.sheet()
			s.text(bold, 18, 72, 740, "A Title Over Both of the Columns of the Page")
			for i := range 8 {
				// Drawn row by row, which is not how it is read.
				y := 700 - 12*float64(i)
				s.text(roman, 10, 72, y, fmt.Sprintf("Left line %d goes on to the edge of its column", i))
				s.text(roman, 10, 320, y, fmt.Sprintf("right line %d goes on to the edge of its column", i))
			}
		}, "# A Title Over Both of the Columns of the Page\n\n" +
			"Left line 0 goes on to the edge of its column Left line 1 goes on to the edge of its column Left line 2 goes on to the edge of its column Left line 3 goes on to the edge of its column Left line 4 goes on to the edge of its column Left line 5 goes on to the edge of its column Left line 6 goes on to the edge of its column Left line 7 goes on to the edge of its column " +
			"right line 0 goes on to the edge of its column right line 1 goes on to the edge of its column right line 2 goes on to the edge of its column right line 3 goes on to the edge of its column right line 4 goes on to the edge of its column right line 5 goes on to the edge of its column right line 6 goes on to the edge of its column right line 7 goes on to the edge of its column\n"},
		{"headings", func(m *made) {
			s := m.sheet()
			s.text(roman, 24, 72, 720, "The Report")
			s.text(bold, 14, 72, 680, "1 Introduction")
			y := s.lines(72, 660, "Some text that is long enough to be what most of the document is set in.")
			s.text(bold, 12, 72, y-10, "1.1 Background")
			y = s.lines(72, y-30, "More text that is long enough to be what most of the document is set in.")
			s.text(bold, 14, 72, y-10, "2 Results")
			s.lines(72, y-30, "Even more text that is long enough to be what most of the document is set in.")
		}, "# The Report\n\n## 1 Introduction\n\nSome text that is long enough to be what most of the document is set in.\n\n" +
			"### 1.1 Background\n\nMore text that is long enough to be what most of the document is set in.\n\n" +
			"## 2 Results\n\nEven more text that is long enough to be what most of the document is set in.\n"},
		{"headings of the outline", func(m *made) {
			s := m.sheet()
			s.text(roman, 10, 72, 720, "Plain Beginnings")
			y := s.lines(72, 690, "Text under a heading that is set like text, which only the outline knows to be one.")
			s.text(roman, 10, 72, y-20, "Plain Ends")
			s.lines(72, y-50, "Text under another one of these.")
			m.outline = []string{"Plain Beginnings", "Plain Ends"}
		}, "# Plain Beginnings\n\nText under a heading that is set like text, which only the outline knows to be one.\n\n# Plain Ends\n\nText under another one of these.\n"},
		{"lists", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "What there is to do before anything else can be done at all by anybody here:")
			s.text(roman, 10, 82, 682, "\x95").text(roman, 10, 94, 682, "wash the dishes, all of them, and then put them where they belong in")
			s.text(roman, 10, 94, 670, "the cupboard")
			s.text(roman, 10, 100, 658, "\x95").text(roman, 10, 112, 658, "the glasses first")
			s.text(roman, 10, 82, 646, "\x95").text(roman, 10, 94, 646, "sleep")
			s.text(roman, 10, 72, 620, "1. rise")
			s.text(roman, 10, 72, 608, "2. shine")
		}, "What there is to do before anything else can be done at all by anybody here:\n\n" +
			"- wash the dishes, all of them, and then put them where they belong in the cupboard\n  - the glasses first\n- sleep\n1. rise\n2. shine\n"},
		{"ruled table", func(m *made) {
			s := m.sheet()
			s.lines(72, 740, "Before the table.")
			for i, row := range [][]string{{"Name", "Age", "Town"}, {"Anna | Bo", "34", "Lund"}, {"Cid", "", "a long name"}} {
				for j, cell := range row {
					s.text(roman, 10, 76+100*float64(j), 705-20*float64(i), cell)
				}
			}
			s.text(roman, 10, 276, 653, "of a town")
			for _, y := range []float64{720, 700, 680, 648} {
				s.rule(72, y, 372, y)
			}
			for x := 72.; x <= 372; x += 100 {
				s.rule(x, 648, x, 720)
			}
			s.lines(72, 620, "After the table.")
		}, "Before the table.\n\n| Name | Age | Town |\n| --- | --- | --- |\n| Anna \\| Bo | 34 | Lund |\n| Cid |  | a long name of a town |\n\nAfter the table.\n"},
		{"table without rules", func(m *made) {
			s := m.sheet()
			s.lines(72, 740, "A paragraph above the table that is wider than its first column, as they are.")
			for i, row := range [][]string{{"Part", "Count", "Price"}, {"Bolt", "12", "0.50"}, {"Nut", "", "0.10"}, {"Washer", "7", ""}} {
				for j, cell := range row {
					s.text(roman, 10, 72+90*float64(j), 710-14*float64(i), cell)
				}
			}
			s.lines(72, 630, "A paragraph below the table that is wider than its first column, as they are.")
		}, "A paragraph above the table that is wider than its first column, as they are.\n\n" +
			"| Part | Count | Price |\n| --- | --- | --- |\n| Bolt | 12 | 0.50 |\n| Nut |  | 0.10 |\n| Washer | 7 |  |\n\n" +
			"A paragraph below the table that is wider than its first column, as they are.\n"},
		{"two tables of different columns", func(m *made) {
			s := m.sheet()
			for i, row := range []string{"Start End Shows", "one two three"} {
				for j, cell := range strings.Fields(row) {
					s.text(roman, 10, 72+90*float64(j), 710-14*float64(i), cell)
				}
			}
			s.text(bold, 12, 72, 680, "Totals")
			for i, row := range []string{"Month Shows Gross Net", "five six seven eight"} {
				for j, cell := range strings.Fields(row) {
					s.text(roman, 10, 72+70*float64(j), 660-14*float64(i), cell)
				}
			}
		}, "| Start | End | Shows |\n| --- | --- | --- |\n| one | two | three |\n\n# Totals\n\n| Month | Shows | Gross | Net |\n| --- | --- | --- | --- |\n| five | six | seven | eight |\n"},
		{"code", func(m *made) {
			s := m.sheet()
			s.lines(72, 740, "The loop is written as follows, and there is nothing else to be said about it:")
			s.text(courier, 10, 72, 720, "for i := range 3 {").text(courier, 10, 84, 708, "    go f(i)").text(courier, 10, 72, 696, "}")
		}, "The loop is written as follows, and there is nothing else to be said about it:\n\n```\nfor i := range 3 {\n      go f(i)\n}\n```\n"},
		{"what looks like Markdown", func(m *made) {
			s := m.sheet()
			s.lines(72, 700, "# 1 is not a heading")
			s.lines(72, 670, "> nor is this a quotation")
			s.lines(72, 640, "1986) A year")
		}, "\\# 1 is not a heading\n\n\\> nor is this a quotation\n\n1986\\) A year\n"},
		{"turned page", func(m *made) {
			s := m.sheet()
			s.extra = "/Rotate 90"
			fmt.Fprintf(&s.content, "BT /F1 10 Tf 0 1 -1 0 300 100 Tm (Turned text is read) Tj ET\n")
			fmt.Fprintf(&s.content, "BT /F1 10 Tf 0 1 -1 0 312 100 Tm (line after line.) Tj ET\n")
		}, "Turned text is read line after line.\n"},
		{"powers", func(m *made) {
			s := m.sheet()
			raise := func(x, y float64, base, up, after string) {
				fmt.Fprintf(&s.content, "BT /F1 10 Tf 1 0 0 1 %g %g Tm (%s) Tj /F1 6 Tf 4 Ts (%s) Tj /F1 10 Tf 0 Ts (%s) Tj ET\n", x, y, base, up, after)
			}
			raise(72, 700, "There are 10", "6", " bacteria to a square of 5 m")
			raise(72, 640, "of a size of 10", "-3", " mm")
			raise(72, 580, "as others say", "7", " and (a+b)")
			raise(72, 520, "(a+b)", "2", " is more, 25 cm")
			raise(72, 460, "with 3", "1", "/2 of it")
			s.text(roman, 10, 72, 400, "and H2O, x1 or 3-4 in 2026-03-01 stay.")
		}, "There are 10^6 bacteria to a square of 5 m\n\nof a size of 10^-3 mm\n\nas others say7 and (a+b)\n\n(a+b)^2 is more, 25 cm\n\nwith 3 1/2 of it\n\nand H2O, x1 or 3-4 in 2026-03-01 stay.\n"},
		{"powers that are drawn after their line", func(m *made) {
			s := m.sheet()
			s.text(roman, 10, 72, 740, "Before them there is a line.").text(roman, 10, 72, 700, "It has 10").text(roman, 10, 72, 640, "See note").text(roman, 10, 72, 580, "and 5 m")
			for i, x := range []float64{110.4, 112.1, 106.7} {
				fmt.Fprintf(&s.content, "BT /F1 6 Tf %g %d Td (%d) Tj ET\n", x, 704-60*i, 6+i)
			}
		}, "Before them there is a line.\n\nIt has 10^6\n\nSee note7\n\nand 5 m^8\n"},
		{"merged cells", func(m *made) {
			s := m.sheet()
			s.lines(72, 740, "Before the table, as wide as it is, there is a line.")
			s.text(roman, 10, 76, 705, "Town").text(roman, 10, 220, 705, "Visitors")
			s.text(roman, 10, 176, 685, "2025").text(roman, 10, 276, 685, "2026")
			s.text(roman, 10, 76, 655, "Lund").text(roman, 10, 176, 665, "12").text(roman, 10, 276, 665, "34").text(roman, 10, 176, 645, "56").text(roman, 10, 276, 645, "78")
			for _, y := range []float64{720, 680, 640} {
				s.rule(72, y, 372, y)
			}
			for _, y := range []float64{700, 660} {
				s.rule(172, y, 372, y)
			}
			for _, x := range []float64{72, 172, 372} {
				s.rule(x, 640, x, 720)
			}
			s.rule(272, 640, 272, 700)
		}, "Before the table, as wide as it is, there is a line.\n\n| Town | Visitors | Visitors |\n| --- | --- | --- |\n| Town | 2025 | 2026 |\n| Lund | 12 | 34 |\n| Lund | 56 | 78 |\n"},
		{"rows without lines between some of their cells", func(m *made) {
			s := m.sheet()
			for i, row := range [][]string{{"Town", "2025", "2026"}, {"Lund", "12", "34"}, {"Oslo", "56", "78"}} {
				for j, cell := range row {
					s.text(roman, 10, 76+100*float64(j), 705-20*float64(i), cell)
				}
			}
			for _, y := range []float64{720, 660} {
				s.rule(72, y, 372, y)
			}
			for _, y := range []float64{700, 680} {
				s.rule(172, y, 372, y)
			}
			for x := 72.; x <= 372; x += 100 {
				s.rule(x, 660, x, 720)
			}
		}, "| Town | 2025 | 2026 |\n| --- | --- | --- |\n| Lund | 12 | 34 |\n| Oslo | 56 | 78 |\n"},
		{"negative sizes", func(m *made) {
			s := m.sheet()
			// Upright, and so that both lines are read on in their order.
			fmt.Fprintf(&s.content, "BT /F1 -10 Tf -1 0 0 -1 72 700 Tm (Text of a negative size that stands) Tj ET\n")
			fmt.Fprintf(&s.content, "q 1 0 0 -1 0 792 cm BT /F1 -10 Tf -1 0 0 1 72 104 Tm (upright in a matrix that turns it.) Tj ET Q\n")
		}, "Text of a negative size that stands upright in a matrix that turns it.\n"},
		{"text up the margin", func(m *made) {
			s := m.sheet()
			fmt.Fprintf(&s.content, "BT /F1 10 Tf 0 1 -1 0 30 300 Tm (arXiv stamp) Tj ET\n")
			s.lines(72, 700, "The text of the page goes first, whatever was drawn first.")
		}, "The text of the page goes first, whatever was drawn first.\n\narXiv stamp\n"},
		{"overflowing to the next page", func(m *made) {
			m.sheet().lines(72, 100, "A sentence that begins at the very end of a page and is cut in the midst of a divi-")
			m.sheet().lines(72, 700, "ded word goes on as if there were no pages.")
		}, "A sentence that begins at the very end of a page and is cut in the midst of a divided word goes on as if there were no pages.\n"},
	})
}

func TestRunningLinesAndPageMarks(t *testing.T) {
	var m made
	for i := range 6 {
		s := m.sheet()
		s.text(roman, 8, 72, 760, "Annual Report of the Society")
		s.text(roman, 8, 500, 760, fmt.Sprintf("Section %d", i/2))
		s.lines(72, 600, fmt.Sprintf("The body of page number %d ends with a full stop.", i+1))
		s.text(roman, 8, 300, 30, fmt.Sprint(i+1))
	}
	out := read(t, &m)
	if n := strings.Count(out.Markdown, "Annual Report"); n > 1 {
		t.Errorf("the header comes %d times:\n%s", n, out.Markdown)
	}
	if strings.Contains(out.Markdown, "\n3\n") {
		t.Errorf("page numbers are left:\n%s", out.Markdown)
	}
	if len(out.Pages) != 6 || out.Facts.Pages != 6 {
		t.Fatalf("%d marks, %d pages", len(out.Pages), out.Facts.Pages)
	}
	for i, mark := range out.Pages {
		if mark.Page != i+1 {
			t.Errorf("mark %d is for page %d", i, mark.Page)
		}
		want := fmt.Sprintf("The body of page number %d", i+1)
		if i%2 == 0 {
			want = fmt.Sprintf("Section %d", i/2) // where it begins
		}
		if i > 0 && !strings.HasPrefix(out.Markdown[mark.Offset:], want) {
			t.Errorf("page %d begins with %.40q", i+1, out.Markdown[mark.Offset:])
		}
	}
}

func TestLinks(t *testing.T) {
	var m made
	s := m.sheet()
	s.lines(72, 700, "See the manual for more.")
	s.extra = "/Annots [<< /Type /Annot /Subtype /Link /Rect [105 696 150 710] /A << /S /URI /URI (https://example.org/m) >> >> " +
		"<< /Type /Annot /Subtype /Link /Rect [70 696 90 710] /A << /S /URI /URI (javascript:alert\\(1\\)) >> >>]"
	if got, want := read(t, &m).Markdown, "See the [manual](https://example.org/m) for more.\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFacts(t *testing.T) {
	m := made{info: "/Title (A Title) /Author (untitled) /CreationDate (D:20240102030405+02'00') /ModDate (D:2025)"}
	m.sheet().lines(72, 700, "Text.")
	got := read(t, &m).Facts
	want := events.Facts{Type: "application/pdf", Title: "A Title", Created: "2024-01-02T01:04:05Z", Modified: "2025-01-01T00:00:00Z", Language: "en-GB", Pages: 1}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestDate(t *testing.T) {
	for in, want := range map[string]string{
		"D:19981223195210-08'00'": "1998-12-24T03:52:10Z",
		"D:19981223195210-08'00":  "1998-12-24T03:52:10Z",
		"D:20240229":              "2024-02-29T00:00:00Z",
		"20240229101112Z":         "2024-02-29T10:11:12Z",
		"D:20240229101112Z00'00'": "2024-02-29T10:11:12Z",
		"D:20230229":              "",
		"D:":                      "",
		"yesterday":               "",
		"D:202":                   "",
		"D:99999999999999999999":  "",
	} {
		if got := date(in); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	text := func(m *made) { m.sheet().lines(72, 700, "Some text.") }
	for _, tt := range []struct {
		name   string
		make   func(m *made)
		edit   func(in *format.Input)
		reason string
	}{
		{"password", func(m *made) { text(m); m.encrypt = true }, nil, "encrypted"},
		{"garbage", text, func(in *format.Input) { in.Data = []byte(strings.Repeat("not a PDF file\n", 100)) }, "corrupt"},
		{"only a header", text, func(in *format.Input) { in.Data = []byte("%PDF-1.7\n") }, "corrupt"},
		{"no bytes", text, func(in *format.Input) { in.Data = nil }, "empty"},
		{"no pages", func(*made) {}, nil, "empty"},
		{"blank page", func(m *made) { m.sheet() }, nil, "empty"},
		{"a scan", func(m *made) { m.sheet().image = true; m.sheet().image = true }, nil, "scanned"},
		{"pages", func(m *made) { text(m); text(m) }, func(in *format.Input) { in.Limits.Pages = 1 }, "too-large"},
		{"input", text, func(in *format.Input) { in.Limits.Input = 100 }, "too-large"},
		{"output", text, func(in *format.Input) { in.Limits.Output = 5 }, "too-large"},
		{"time", text, func(in *format.Input) { in.Limits.Time = 1 }, "timeout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m made
			tt.make(&m)
			in := format.Input{Name: "made.pdf", Data: m.bytes(t)}
			if tt.edit != nil {
				tt.edit(&in)
			}
			_, err := reader.Read(t.Context(), in)
			var f *fault.Error
			if !errors.As(err, &f) {
				t.Fatalf("got %v", err)
			}
			if f.Class != fault.Validation || f.Reason != tt.reason || !strings.Contains(f.Message, "made.pdf") {
				t.Errorf("got %v %q: %v; want validation %q", f.Class, f.Reason, f, tt.reason)
			}
		})
	}
}

func TestCallerGoesAway(t *testing.T) {
	var m made
	m.sheet().lines(72, 700, "Some text.")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := reader.Read(ctx, format.Input{Name: "made.pdf", Data: m.bytes(t)})
	if fault.Of(err) != fault.Unavailable || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v (%v)", err, fault.Of(err))
	}
}

func TestPicturesBetweenTextAreReported(t *testing.T) {
	var m made
	m.sheet().lines(72, 700, "Some text.")
	m.sheet().image = true
	out := read(t, &m)
	if len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "page 2") {
		t.Errorf("warnings %q", out.Warnings)
	}
}

// TestTruncated cuts a file at many places: it ends in an answer or a refusal,
// never in anything else.
func TestTruncated(t *testing.T) {
	var m made
	for i := range 3 {
		m.sheet().lines(72, 700, fmt.Sprintf("Page %d has some text.", i))
	}
	data := m.bytes(t)
	for n := 1; n < len(data); n += 97 {
		out, err := reader.Read(t.Context(), format.Input{Name: "cut.pdf", Data: data[:n]})
		if err == nil && out.Markdown == "" || err != nil && fault.Of(err) != fault.Validation {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
}

// TestInflated has a page whose content unpacks to more than a reader may use.
func TestInflated(t *testing.T) {
	var m made
	m.sheet().lines(72, 700, "A good page.")
	m.sheet().content.WriteString(strings.Repeat(" ", 300<<20))
	m.sheet().lines(72, 700, "Another good page.")
	began := time.Now()
	out, err := reader.Read(t.Context(), format.Input{Name: "bomb.pdf", Data: m.bytes(t)})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.Markdown, "A good page.") || !strings.Contains(out.Markdown, "Another good page.") {
		t.Errorf("got %q, warnings %q", out.Markdown, out.Warnings)
	}
	t.Logf("%v, warnings %q", time.Since(began), out.Warnings)
}

func TestConcurrentReads(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			var m made
			want := fmt.Sprintf("Document number %d.\n", i)
			m.sheet().lines(72, 700, strings.TrimSpace(want))
			out, err := reader.Read(t.Context(), format.Input{Name: "made.pdf", Data: m.bytes(t)})
			if err != nil || out.Markdown != want {
				t.Errorf("got %v, %v", out, err)
			}
		})
	}
	wg.Wait()
}

func TestUnwritableCache(t *testing.T) {
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{CacheDir: file}); fault.Of(err) != fault.Halt {
		t.Errorf("got %v", err)
	}
}

func TestOutlineMatchesIgnoreCase(t *testing.T) {
	if got := letters("  1.2  Éa-B "); got != "12éab" {
		t.Errorf("got %q", got)
	}
}

// scattered returns a document with words of the given size anywhere.
func scattered(seed []byte) *document {
	d := &document{fonts: []font{{}, {bold: true}, {mono: true}}}
	p := &page{number: 1, width: 612, height: 792}
	d.pages = append(d.pages, p)
	for i := 0; i+5 <= len(seed); i += 5 {
		if seed[i] == 255 && len(d.pages) < 50 {
			p = &page{number: len(d.pages) + 1, width: 612, height: 792, readsLeft: seed[i+1]&1 != 0}
			d.pages = append(d.pages, p)
		}
		size := float32(seed[i+2]%24) + 1
		x, y := float32(seed[i])*2.4, float32(seed[i+1])*3.1
		if seed[i+4]&8 != 0 {
			p.rules = append(p.rules, rule{x, y, x + size*float32(seed[i+3]%2)*20, y + size*float32(1-seed[i+3]%2)*20})
		}
		// Letters only: lines that differ in their numbers are running lines.
		text := "x" + strings.Map(func(r rune) rune { return r - '0' + 'a' }, fmt.Sprint(i)) + "z"
		switch seed[i+4] >> 5 {
		case 1:
			text = "ש" + text + "ם"
		case 2:
			text = "•"
		}
		p.words = append(p.words, word{
			text: text, x0: x, x1: x + size*float32(len(text))/2, y: y, size: size,
			font: uint16(seed[i+3] % 3), glued: seed[i+4]&1 != 0,
		})
	}
	return d
}

// FuzzLayout checks that whatever stands where, every word comes out once.
func FuzzLayout(f *testing.F) {
	f.Add([]byte("hello world, this is some text to put words at places"))
	var rows []byte
	for i := range 40 {
		rows = append(rows, byte(i%4*60), byte(i/4*5), 9, 0, 8)
	}
	f.Add(rows)
	f.Fuzz(func(t *testing.T, seed []byte) {
		if len(seed) > 5*3000 {
			return
		}
		d := scattered(seed)
		var want []string
		for _, p := range d.pages {
			for _, w := range p.words {
				if hasLetter(w.text) {
					want = append(want, w.text)
				}
			}
		}
		got, marks, err := d.markdown(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// Words that touch are written together. What merged cells say stands in
		// each row and column that they cover.
		var text strings.Builder
		for line := range strings.Lines(got) {
			if !strings.HasPrefix(line, "|") {
				text.WriteString(line)
			}
		}
		for _, w := range want {
			if n, m := strings.Count(got, w), strings.Count(text.String(), w); n == 0 || m > 1 || m == 1 && n > 1 {
				t.Fatalf("%q comes %d times, %d of them outside of tables, in\n%s", w, n, m, got)
			}
		}
		if len(marks) != len(d.pages) || !slices.IsSortedFunc(marks, func(a, b events.PageMark) int { return a.Offset - b.Offset }) {
			t.Errorf("marks %v", marks)
		}
	})
}

// TestCrowdedPage has as many words as a page may have in one line.
func TestCrowdedPage(t *testing.T) {
	for _, n := range []int{maxLayoutWords, 10 * maxLayoutWords} {
		testcpu.Linear(t, n, func(n int) {
			d := &document{fonts: []font{{}}}
			p := &page{number: 1, width: 612, height: 792}
			for i := range n {
				x := float32(i * 7919 % 100_000)
				p.words = append(p.words, word{text: "w", x0: x, x1: x + 1, y: 100 + float32(i%3), size: 10})
			}
			d.pages = []*page{p}
			got, _, err := d.markdown(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if c := strings.Count(got, "w"); c != n {
				t.Errorf("%d of %d words", c, n)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	var m made
	m.sheet().lines(72, 700, "Some text.")
	f.Add(m.bytes(f))
	var form made
	sheet := form.sheet()
	sheet.lines(72, 700, "Name: ____________")
	sheet.field(&form, 104, 695, 300, 711, "/FT /Tx /T (a) /V (Ada) /AP << /N "+form.appearance(196, 16, shows("Ada King"))+" >>")
	sheet.field(&form, 104, 675, 300, 691, "/FT /Ch /Ff 131072 /T (b) /Opt [[(de) (Germany)] [(fr) (France)]] /V (de)")
	sheet.field(&form, 104, 655, 120, 671, "/FT /Btn /T (c) /AS /Yes")
	sheet.annot(&form, "Text", 300, 690, 320, 712, "/T (Bob) /Contents (Wrong.) /IRT 3 0 R")
	sheet.annot(&form, "Highlight", 90, 686, 125, 698, "/RC (<p>x</p>) /QuadPoints [90 698 125 698 90 686 125 686]")
	f.Add(form.bytes(f))
	f.Add([]byte("%PDF-1.4\ntrailer<</Root<</Pages<</Count 1/Kids[<</Type/Page>>]>>>>>>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := reader.Read(t.Context(), format.Input{Name: "fuzz.pdf", Data: data, Limits: format.Limits{Pages: 20}})
		if err != nil && fault.Of(err) != fault.Validation {
			t.Errorf("%v: %v", fault.Of(err), err)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	var m made
	const pages = 20
	for range pages {
		s := m.sheet()
		for i := range 50 {
			s.lines(72, 740-13*float64(i), "A line of text as wide as a line of text is on a page that is full of such lines, all alike.")
		}
	}
	in := format.Input{Name: "made.pdf", Data: m.bytes(b)}
	if err := reader.Warm(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := reader.Read(b.Context(), in); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(pages*b.N)/b.Elapsed().Seconds(), "pages/s")
}
