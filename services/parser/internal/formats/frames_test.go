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

// Slides of OpenDocument name their header, footer and date, or have them as
// shapes. They stand once, and what is on the master page does.
func TestODFSlideFrames(t *testing.T) {
	frame := func(attrs, text string) string {
		return `<draw:frame` + attrs + `><draw:text-box><text:p>` + text + `</text:p></draw:text-box></draw:frame>`
	}
	masters := `<office:master-styles><style:master-page style:name="M">` + frame("", "© ACME") + `<draw:g>` + frame("", "Sheet <text:page-number>3</text:page-number> of class B") + `</draw:g>` +
		frame(` presentation:class="title" presentation:placeholder="true"`, "click") + frame(` presentation:class="footer"`, "<presentation:footer/>") + `<presentation:notes>` + frame("", "never") + `</presentation:notes></style:master-page>` +
		`<style:master-page style:name="Unused">` + frame("", "UNUSED") + `</style:master-page></office:master-styles>`
	decls := `<presentation:header-decl presentation:name="h">For teachers</presentation:header-decl><presentation:footer-decl presentation:name="f">For the board only</presentation:footer-decl><presentation:footer-decl presentation:name="g">Talk</presentation:footer-decl>` +
		`<presentation:date-time-decl presentation:name="d" presentation:source="fixed">12 March 2026</presentation:date-time-decl><presentation:date-time-decl presentation:name="n" presentation:source="current-date">1 May 2020</presentation:date-time-decl>` +
		`<presentation:footer-decl presentation:name="x">NEVER</presentation:footer-decl>`
	page := func(attrs, shapes string) string {
		return `<draw:page draw:master-page-name="M" ` + attrs + `>` + shapes + `</draw:page>`
	}
	got, _ := odfText(t, "presentation", decls+
		page(`presentation:use-footer-name="f" presentation:use-date-time-name="n"`, frame("", "One")+`<presentation:notes presentation:use-header-name="h">`+frame(` presentation:class="notes"`, "Breathe.")+frame("", "A box")+`<draw:page-thumbnail presentation:class="page"/></presentation:notes>`)+
		page(`presentation:use-footer-name="f" presentation:use-date-time-name="d"`, frame("", "Two")+frame(` presentation:class="footer"`, "Room 12")+frame(` presentation:class="page-number"`, "2")+frame(` presentation:class="date-time"`, `<text:date>1 May 2020</text:date>`))+
		page(`presentation:use-footer-name="g"`, frame("", "Talk"))+
		page(`draw:style-name="Bare" presentation:use-footer-name="x"`, frame("", "Four")+frame(` presentation:class="footer"`, "Room 12")), masters)
	want := "<!-- Slide number: 1 -->\n\nOne\n\n© ACME\n\nSheet of class B\n\nFor the board only\n\n### Notes:\n\nBreathe.\n\nA box\n\nFor teachers\n\n" +
		"<!-- Slide number: 2 -->\n\nTwo\n\nRoom 12\n\n12 March 2026\n\n<!-- Slide number: 3 -->\n\nTalk\n\n<!-- Slide number: 4 -->\n\nFour"
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// Texts that layouts and masters put on every slide stand once.
func TestSlideLayoutTexts(t *testing.T) {
	const tree = ` xmlns:p="p" xmlns:a="a" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"`
	box := func(place, text string) string {
		return `<p:sp><p:nvSpPr><p:nvPr>` + place + `</p:nvPr></p:nvSpPr><p:txBody><a:p><a:r><a:t>` + text + `</a:t></a:r></a:p></p:txBody></p:sp>`
	}
	part := func(name, kind, attrs, shapes string) samples.Part {
		return samples.Part{Name: "ppt/" + name, Data: `<p:` + kind + tree + attrs + `><p:cSld><p:spTree>` + shapes + `</p:spTree></p:cSld></p:` + kind + `>`}
	}
	deck := samples.Pack(t, samples.Rels("", "r1 officeDocument ppt/presentation.xml"),
		samples.Part{Name: "ppt/presentation.xml", Data: `<p:presentation` + tree + `><p:sldIdLst><p:sldId r:id="a"/><p:sldId r:id="b"/><p:sldId r:id="c"/></p:sldIdLst></p:presentation>`},
		samples.Rels("ppt/presentation.xml", "a slide slides/a.xml", "b slide slides/b.xml", "c slide slides/c.xml"),
		part("slides/a.xml", "sld", ` showMasterSp="0"`, box("", "One")), samples.Rels("ppt/slides/a.xml", "l slideLayout ../layouts/x.xml"),
		part("slides/b.xml", "sld", "", box("", "Two, by ACME")), samples.Rels("ppt/slides/b.xml", "l slideLayout ../layouts/x.xml", "n notesSlide ../notes/b.xml"),
		part("slides/c.xml", "sld", "", box("", "Three")+box(`<p:ph type="ftr"/>`, "Handout")), samples.Rels("ppt/slides/c.xml", "l slideLayout ../layouts/y.xml"),
		part("notes/b.xml", "notes", "", box(`<p:ph type="ftr"/>`, "Notes of Ada")+box(`<p:ph type="body"/>`, "Breathe.")+box("", "A box")+box(`<p:ph type="sldNum"/>`, "2")), samples.Rels("ppt/notes/b.xml"),
		part("layouts/x.xml", "sldLayout", "", box(`<p:ph type="title"/>`, "Click to add")+box("", "Part of a series")), samples.Rels("ppt/layouts/x.xml", "m slideMaster ../masters/m.xml"),
		part("layouts/y.xml", "sldLayout", ` showMasterSp="0"`, box("", "Back page")), samples.Rels("ppt/layouts/y.xml", "m slideMaster ../masters/n.xml"),
		part("masters/m.xml", "sldMaster", "", `<p:grpSp>`+box("", "Confidential")+`</p:grpSp>`+box("", "ACME")+`<p:sp><p:txBody><a:p><a:fld type="slidenum"><a:t>3</a:t></a:fld></a:p></p:txBody></p:sp>`), samples.Rels("ppt/masters/m.xml"),
		part("masters/n.xml", "sldMaster", "", box("", "NEVER")), samples.Rels("ppt/masters/n.xml"))
	out := read(t, ooxml.PPTX, "a.pptx", deck)
	want := "<!-- Slide number: 1 -->\n\nOne\n\n<!-- Slide number: 2 -->\n\nTwo, by ACME\n\nPart of a series\n\nConfidential\n\n### Notes:\n\nBreathe.\n\nNotes of Ada\n\nA box\n\n<!-- Slide number: 3 -->\n\nThree\n\nHandout\n\nBack page"
	if got := strings.TrimSpace(out.Markdown); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}
