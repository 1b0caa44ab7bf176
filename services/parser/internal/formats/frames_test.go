package formats_test

import (
	"strings"
	"testing"

	"sluice/services/parser/internal/ooxml"
	"sluice/services/parser/internal/samples"
	"sluice/services/parser/internal/xls"
)

// What is printed above and below the cells stands once, without what counts
// pages, says when it was printed or names the file.
func TestSheetFrames(t *testing.T) {
	rows := `<row r="1">` + inlineCell("A1", "Budget 2026") + inlineCell("B1", "7") + `</row>`
	book := func(frames string) string {
		t.Helper()
		out := read(t, ooxml.XLSX, "a.xlsx", samples.BookOf(t, rows, frames, nil, ""))
		wantWarning(t, out, "")
		return strings.TrimSpace(out.Markdown)
	}
	const table = "| Budget 2026 | 7 |\n| --- | --- |"
	for name, c := range map[string]struct{ frames, before, after string }{
		"three parts": {
			`<headerFooter><oddHeader>&amp;L&amp;"Arial,Bold"&amp;12ACME &amp;&amp; Sons&amp;CBudget 2026&amp;R&amp;K01+000Ref. 47/11&#10;Draft</oddHeader><oddFooter>&amp;CFor the board only&amp;RPage &amp;P of &amp;N</oddFooter></headerFooter>`,
			"ACME & Sons\n\nRef. 47/11\n\nDraft\n\n", "\n\nFor the board only",
		},
		"what counts and dates": {
			`<headerFooter><oddHeader>&amp;A</oddHeader><oddFooter>&amp;L&amp;D &amp;T&amp;C&amp;8&amp;P+2 / &amp;N&amp;R&amp;Z&amp;F&amp;G</oddFooter></headerFooter>`, "", "",
		},
		"the name of the sheet within words": {
			`<headerFooter><oddHeader>Region: &amp;A</oddHeader></headerFooter>`, "Region: S\n\n", "",
		},
		"pages that are not set apart": {
			`<headerFooter><oddHeader>Odd</oddHeader><evenHeader>Even</evenHeader><firstHeader>First</firstHeader></headerFooter>`, "Odd\n\n", "",
		},
		"pages that are": {
			`<headerFooter differentOddEven="1" differentFirst="1"><oddHeader>Odd</oddHeader><oddFooter>Foot</oddFooter><evenHeader>Even</evenHeader><evenFooter>Foot</evenFooter><firstHeader>First</firstHeader></headerFooter>`,
			"Odd\n\nEven\n\nFirst\n\n", "\n\nFoot",
		},
		"cut short": {`<headerFooter><oddHeader>Odd &amp;"Ari</oddHeader><oddFooter>Foot &amp;</oddFooter></headerFooter>`, "Odd Ari\n\n", "\n\nFoot &"},
	} {
		if got, want := book(c.frames), "## S\n\n"+c.before+table+c.after; got != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
	}

	frame := func(s string) []any { return []any{uint16(len(s)), uint8(0), s} }
	old := samples.OldWorkbook(nil, func(b *samples.Biff) {
		b.Record(0x14, frame("&LACME & Sons&R&P")...)
		b.Record(0x15, frame("&CFor the board only")...)
		b.Record(0x14) // of a sheet without one
		others := append([]any{make([]byte, 28), uint16(2), uint16(4), uint16(0), uint16(8), uint16(6)}, frame("Even")...)
		b.Record(0x089C, append(append(others, frame("&RCover 1")...), frame("Foot&&")...)...)
		b.Record(0x0203, uint16(0), uint16(0), uint16(0), 99.0)
	})
	out := read(t, xls.XLS, "a.xls", old)
	wantText(t, out.Markdown, "## First", "ACME & Sons", "Cover 1", "99", "For the board only", "Foot&")
	if strings.Contains(out.Markdown, "Even") {
		t.Errorf("the header of pages that are not set apart:\n%s", out.Markdown)
	}
}

// Sheets of OpenDocument have theirs in page styles; what comes again on the next
// sheet is not repeated.
func TestODFSheetFrames(t *testing.T) {
	const masters = `<office:master-styles>` +
		`<style:master-page style:name="Default"><style:header><style:region-left><text:p>ACME, <text:sheet-name>???</text:sheet-name></text:p></style:region-left><style:region-right><text:p><text:title>???</text:title></text:p></style:region-right></style:header>` +
		`<style:header-left style:display="false"><text:p>never</text:p></style:header-left><style:footer><text:p>Page <text:page-number>1</text:page-number></text:p><text:p>For the board only</text:p></style:footer></style:master-page>` +
		`<style:master-page style:name="Annex"><style:header><text:p><text:sheet-name>???</text:sheet-name></text:p></style:header><style:footer><text:p>Part B</text:p></style:footer></style:master-page></office:master-styles>`
	table := func(name, style string) string {
		return `<table:table table:name="` + name + `" table:style-name="` + style + `"><table:table-row><table:table-cell><text:p>in ` + name + `</text:p></table:table-cell></table:table-row></table:table>`
	}
	got, _ := odfText(t, "spreadsheet", table("North", "")+table("South", "")+table("Last", "Annex"), masters)
	if want := "## North\n\nACME, North\n\nin North\n\nFor the board only\n\n## South\n\nACME, South\n\nin South\n\n## Last\n\nin Last\n\nPart B"; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}

	got, _ = odfText(t, "text", `<text:p>Title: <text:title>Annual report</text:title></text:p>`, "")
	if want := "Title: Annual report"; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}
