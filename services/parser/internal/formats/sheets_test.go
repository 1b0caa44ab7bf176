package formats_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/ooxml"
	"sluice/services/parser/internal/samples"
	"sluice/services/parser/internal/sheet"
	"sluice/services/parser/internal/xls"
)

// wantRow fails unless a Markdown table has a row of these cells.
func wantRow(t *testing.T, markdown string, cells ...string) {
	t.Helper()
	for line := range strings.Lines(markdown) {
		parts := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(parts) != len(cells) {
			continue
		}
		same := true
		for i, p := range parts {
			same = same && strings.TrimSpace(p) == cells[i]
		}
		if same {
			return
		}
	}
	t.Errorf("no row %q in\n%s", cells, markdown)
}

func wantWarning(t *testing.T, out *format.Output, part string) {
	t.Helper()
	for _, w := range out.Warnings {
		if part != "" && strings.Contains(w, part) {
			return
		}
	}
	if part != "" || len(out.Warnings) > 0 {
		t.Errorf("warnings are %q, want %q", out.Warnings, part)
	}
}

func inlineCell(at, text string) string {
	return `<c r="` + at + `" t="inlineStr"><is><t>` + text + `</t></is></c>`
}

// A cell shows what its program shows, by its number format.
func TestNumberFormatsOfWorkbooks(t *testing.T) {
	cases := []struct{ value, code, want string }{
		{"46096", "dd.mm.yyyy", "15.03.2026"},
		{"1500", `[>=1000]0.0,"K";0`, "1.5K"},
		{"12.5", "# ?/?", "12 1/2"},
		{"123456789", "000-00-0000", "123-45-6789"},
		{"46096", "31", "2026-03-15"},
		{"46096", `ggge"年"`, "令和8年"},
		{"0", `_-* #,##0.00_-;-* #,##0.00_-;_-* "-"??_-;_-@_-`, "-"},
		{"0.123456789", "h:mm:ss.000", "2:57:46.667"},
		{"1.5", "[h]:mm:ss", "36:00:00"},
		{"1234.5", `#,##0.00 [$€-407]`, "1,234.50 €"},
	}
	var rows strings.Builder
	var codes []string
	for i, c := range cases {
		codes = append(codes, c.code)
		fmt.Fprintf(&rows, `<row r="%d">%s<c r="B%d" s="%d"><v>%s</v></c></row>`, i+1, inlineCell(fmt.Sprintf("A%d", i+1), fmt.Sprintf("case %d", i)), i+1, i+1, c.value)
	}
	out := read(t, ooxml.XLSX, "book.xlsx", samples.BookOf(t, rows.String(), "", codes, ""))
	for i, c := range cases {
		wantRow(t, out.Markdown, fmt.Sprintf("case %d", i), c.want)
	}
	wantWarning(t, out, "")

	out = read(t, ooxml.XLSX, "book.xlsx", samples.BookOf(t, `<row r="1"><c r="A1" s="1"><v>46096</v></c><c r="B1" s="2"><v>7</v></c></row>`, "", []string{"TT.MM.JJJJ", ";;;"}, ""))
	wantRow(t, out.Markdown, "46096", "7")
	wantWarning(t, out, "number formats")
}

// A formula that nobody has computed is shown as such, and a computed empty text is empty.
func TestUncomputedFormulas(t *testing.T) {
	row := `<row r="2"><c r="A2"><f>B2*2</f><v></v></c><c r="B2"><f>1+1</f></c><c r="C2" t="str"><f>IF(1,"","x")</f><v></v></c>` +
		`<c r="D2"><f t="shared" ref="D2:E2" si="0">A2+1</f><v/></c><c r="E2"><f t="shared" si="0"/><v/></c><c r="F2"><v>9</v></c></row>`
	out := read(t, ooxml.XLSX, "book.xlsx", samples.BookOf(t, row, "", nil, ""))
	wantRow(t, out.Markdown, `=B2\*2`, "=1+1", "=A2+1", "=(as in D2)", "9")
	wantWarning(t, out, "formulas")

	// XlsxWriter and others write 0 beside every formula and ask for computation.
	row = `<row r="1"><c r="A1"><f>SUM(B1:C1)</f><v>0</v></c><c r="B1"><v>0</v></c><c r="C1"><f>2+3</f><v>5</v></c></row>`
	out = read(t, ooxml.XLSX, "book.xlsx", samples.BookOf(t, row, "", nil, `<calcPr fullCalcOnLoad="1"/>`))
	wantRow(t, out.Markdown, "=SUM(B1:C1)", "0", "5")
	wantWarning(t, out, "formulas")
	out = read(t, ooxml.XLSX, "book.xlsx", samples.BookOf(t, row, "", nil, `<calcPr calcId="1"/>`))
	wantRow(t, out.Markdown, "0", "0", "5")
	wantWarning(t, out, "")
}

// A cell that covers others stands in all of them that hold something.
func TestMergedCellsOfSheets(t *testing.T) {
	rows := `<row r="1">` + inlineCell("A1", "Region") + inlineCell("B1", "Sales") + `</row><row r="2">` + inlineCell("B2", "Q1") + inlineCell("C2", "Q2") + `</row>` +
		`<row r="3">` + inlineCell("A3", "North") + `<c r="B3"><v>10</v></c><c r="C3"><v>20</v></c></row><row r="4"><c r="B4"><v>11</v></c><c r="C4"><v>21</v></c></row>`
	out := read(t, ooxml.XLSX, "book.xlsx", samples.BookOf(t, rows, `<mergeCells><mergeCell ref="A1:A2"/><mergeCell ref="B1:C1"/><mergeCell ref="A3:A9"/></mergeCells>`, nil, ""))
	for _, want := range [][]string{{"Region", "Sales", "Sales"}, {"Region", "Q1", "Q2"}, {"North", "10", "20"}, {"North", "11", "21"}} {
		wantRow(t, out.Markdown, want...)
	}
	if n := strings.Count(out.Markdown, "North"); n != 2 {
		t.Errorf("North stands in %d rows: the empty ones below have none\n%s", n, out.Markdown)
	}

	// An empty row within the cell does not cut the table in two.
	rows = `<row r="1">` + inlineCell("A1", "North") + inlineCell("B1", "one") + `</row><row r="3">` + inlineCell("B3", "three") + `</row>`
	out = read(t, ooxml.XLSX, "book.xlsx", samples.BookOf(t, rows, `<mergeCells><mergeCell ref="A1:A3"/></mergeCells>`, nil, ""))
	wantRow(t, out.Markdown, "North", "three")

	// A title over a table, and an empty row between them, is no part of it.
	rows = `<row r="1">` + inlineCell("A1", "A title") + `</row><row r="3">` + inlineCell("A3", "a") + inlineCell("B3", "b") + `</row>`
	out = read(t, ooxml.XLSX, "book.xlsx", samples.BookOf(t, rows, `<mergeCells><mergeCell ref="A1:B1"/></mergeCells>`, nil, ""))
	if n := strings.Count(out.Markdown, "A title"); n != 1 || strings.Contains(out.Markdown, "| A title") {
		t.Errorf("a title in a table:\n%s", out.Markdown)
	}

	old := samples.OldWorkbook(nil, func(b *samples.Biff) {
		label := func(row, column int, s string) {
			b.Record(0x0204, uint16(row), uint16(column), uint16(0), uint16(len(s)), uint8(0), s)
		}
		label(0, 0, "Region")
		label(0, 1, "Sales")
		label(1, 1, "Q1")
		label(1, 2, "Q2")
		b.Record(0x00E5, uint16(2), []uint16{0, 1, 0, 0, 0, 0, 1, 2})
	})
	out = read(t, xls.XLS, "old.xls", old)
	wantRow(t, out.Markdown, "Region", "Sales", "Sales")
	wantRow(t, out.Markdown, "Region", "Q1", "Q2")
}

// A cell that covers the whole sheet does not fill it, and many that cover each
// other do not multiply.
func TestMergedCellsAreBounded(t *testing.T) {
	all := `<mergeCells>` + strings.Repeat(`<mergeCell ref="A1:XFD1048576"/>`, 2000) + `</mergeCells>`
	rows := `<row r="1">` + inlineCell("A1", strings.Repeat("long ", 100)) + `</row><row r="1048576">` + inlineCell("XFD1048576", "last") + `</row>`
	out := read(t, ooxml.XLSX, "book.xlsx", samples.BookOf(t, rows, all, nil, ""))
	if len(out.Markdown) > 4096 {
		t.Errorf("%d bytes", len(out.Markdown))
	}

	var edge bytes.Buffer
	edge.WriteString(`<row r="1">` + inlineCell("A1", strings.Repeat("long ", 50)))
	for i := 1; i < 600; i++ {
		edge.WriteString(`<c r="` + sheet.CellName(0, i) + `"><v>1</v></c>`)
	}
	edge.WriteString(`</row>`)
	for i := 1; i < 600; i++ {
		fmt.Fprintf(&edge, `<row r="%d"><c r="%s"><v>1</v></c></row>`, i+1, sheet.CellName(i, 600))
	}
	out = read(t, ooxml.XLSX, "book.xlsx", samples.BookOf(t, edge.String(), all, nil, ""))
	wantWarning(t, out, "merged cells")
	if len(out.Markdown) > 5<<20 {
		t.Errorf("%d bytes", len(out.Markdown))
	}
}
