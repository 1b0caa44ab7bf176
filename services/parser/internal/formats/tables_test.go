package formats_test

import (
	"strings"
	"testing"

	"sluice/services/parser/internal/ooxml"
	"sluice/services/parser/internal/rtf"
	"sluice/services/parser/internal/samples"
)

func wordCell(props, text string) string {
	return `<w:tc><w:tcPr>` + props + `</w:tcPr><w:p><w:r><w:t>` + text + `</w:t></w:r></w:p></w:tc>`
}

// The value of a cell stands in every row and column that it covers: each row
// can be understood by itself.
func TestMergedCellsOfTables(t *testing.T) {
	const restart, goesOn = `<w:vMerge w:val="restart"/>`, `<w:vMerge/>`
	word := `<w:tbl><w:tr>` + wordCell(restart, "Region") + wordCell(`<w:gridSpan w:val="2"/>`, "Sales") + `</w:tr>` +
		`<w:tr>` + wordCell(goesOn, "") + wordCell("", "Q1") + wordCell("", "Q2") + `</w:tr>` +
		`<w:tr>` + wordCell(restart, "North") + wordCell("", "10") + wordCell("", "20") + `</w:tr>` +
		`<w:tr>` + wordCell(goesOn, "NEVER") + wordCell("", "11") + wordCell("", "21") + `</w:tr>` +
		`<w:tr>` + wordCell(goesOn, "") + wordCell("", "") + wordCell("", "") + `</w:tr></w:tbl>`
	drawn := func(attrs, text string) string {
		return `<a:tc ` + attrs + `><a:txBody><a:p><a:r><a:t>` + text + `</a:t></a:r></a:p></a:txBody></a:tc>`
	}
	slide := `<a:tbl><a:tr>` + drawn(`rowSpan="2"`, "Region") + drawn(`gridSpan="2"`, "Sales") + drawn(`hMerge="1"`, "") + `</a:tr>` +
		`<a:tr>` + drawn(`vMerge="1"`, "") + drawn("", "Q1") + drawn("", "Q2") + `</a:tr>` +
		`<a:tr>` + drawn(`rowSpan="2"`, "North") + drawn("", "10") + drawn("", "20") + `</a:tr>` +
		`<a:tr>` + drawn(`vMerge="1"`, "") + drawn("", "11") + drawn("", "21") + `</a:tr></a:tbl>`
	// As Word writes it: \clmgf for programs that know it, and one wide cell; and by the flags.
	rich := `{\rtf1\ansi \trowd\clvmgf\cellx1000\cellx3000\pard\intbl Region\cell Sales\cell\row` +
		`\trowd\clvmrg\cellx1000\cellx2010\cellx3000\pard\intbl \cell Q1\cell Q2\cell\row` +
		`\trowd\clvmgf\cellx1000\cellx2000\cellx3000\pard\intbl North\cell 10\cell 20\cell\row` +
		`\trowd\clvmrg\cellx1000\cellx2000\cellx3000\pard\intbl \cell 11\cell 21\cell\row\pard After.\par}`
	flags := strings.NewReplacer(`\cellx1000\cellx3000\pard\intbl Region\cell Sales\cell`, `\cellx1000\clmgf\cellx2000\clmrg\cellx3000\pard\intbl Region\cell Sales\cell \cell`).Replace(rich)
	for name, markdown := range map[string]string{
		"docx":           read(t, ooxml.DOCX, "a.docx", samples.WordDocument(t, word)).Markdown,
		"pptx":           read(t, ooxml.PPTX, "a.pptx", samples.Slide(t, `<p:graphicFrame><a:graphic><a:graphicData>`+slide+`</a:graphicData></a:graphic></p:graphicFrame>`)).Markdown,
		"rtf":            read(t, rtf.RTF, "a.rtf", []byte(rich)).Markdown,
		"rtf, by flags ": read(t, rtf.RTF, "a.rtf", []byte(flags)).Markdown,
	} {
		t.Run(name, func(t *testing.T) {
			for _, want := range [][]string{{"Region", "Sales", "Sales"}, {"Region", "Q1", "Q2"}, {"North", "10", "20"}, {"North", "11", "21"}} {
				wantRow(t, markdown, want...)
			}
			if n := strings.Count(markdown, "North"); n != 2 || strings.Contains(markdown, "NEVER") {
				t.Errorf("North stands in %d rows\n%s", n, markdown)
			}
		})
	}
}

// A column that no cell begins in is an edge that somebody moved.
func TestColumnsOfMovedEdges(t *testing.T) {
	wide := `<w:gridSpan w:val="2"/>`
	body := `<w:tbl><w:tr>` + wordCell(wide, "a") + wordCell(wide, "b") + `</w:tr><w:tr>` + wordCell(wide, "c") + wordCell(wide, "d") + `</w:tr></w:tbl>`
	out := read(t, ooxml.DOCX, "a.docx", samples.WordDocument(t, body))
	wantRow(t, out.Markdown, "a", "b")
	wantRow(t, out.Markdown, "c", "d")
}

// Cells that cover many others do not multiply beyond what the table holds.
func TestMergedCellsOfTablesAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(`<w:tbl><w:tr>`)
	for range 200 {
		b.WriteString(wordCell("", "x"))
	}
	b.WriteString(`</w:tr>`)
	for range 200 {
		b.WriteString(`<w:tr>` + wordCell(`<w:gridSpan w:val="200"/>`, strings.Repeat("long ", 40)) + `</w:tr>`)
	}
	out := read(t, ooxml.DOCX, "a.docx", samples.WordDocument(t, b.String()+`</w:tbl>`))
	wantWarning(t, out, "cover so many")
	if len(out.Markdown) > 3<<20 {
		t.Errorf("%d bytes", len(out.Markdown))
	}
}
