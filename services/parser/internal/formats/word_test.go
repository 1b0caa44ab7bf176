package formats_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"sluice/pkg/fault"
	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/ooxml"
	"sluice/services/parser/internal/rtf"
	"sluice/services/parser/internal/samples"
)

func wordRun(props, text string) string {
	return `<w:r><w:rPr>` + props + `</w:rPr><w:t xml:space="preserve">` + text + `</w:t></w:r>`
}

const (
	raised  = `<w:vertAlign w:val="superscript"/>`
	lowered = `<w:vertAlign w:val="subscript"/>`
)

func wantText(t *testing.T, markdown string, parts ...string) {
	t.Helper()
	at := 0
	for _, p := range parts {
		i := strings.Index(markdown[at:], p)
		if i < 0 {
			t.Errorf("no %q (in this order) in\n%s", p, markdown)
			return
		}
		at += i + len(p)
	}
}

// Items have the number that Word shows, in whatever script.
func TestWordNumbering(t *testing.T) {
	level := func(id int, format, text string) string {
		return fmt.Sprintf(`<w:abstractNum w:abstractNumId="%d"><w:lvl w:ilvl="0"><w:start w:val="9"/>%s<w:lvlText w:val="%s"/></w:lvl></w:abstractNum>`, id, format, text)
	}
	num := func(id, abstract int) string {
		return fmt.Sprintf(`<w:num w:numId="%d"><w:abstractNumId w:val="%d"/></w:num>`, id, abstract)
	}
	item := func(id int, text string) string {
		return fmt.Sprintf(`<w:p><w:pPr><w:numPr><w:ilvl w:val="0"/><w:numId w:val="%d"/></w:numPr></w:pPr><w:r><w:t>%s</w:t></w:r></w:p>`, id, text)
	}
	numbering := `<w:numbering xmlns:w="w" xmlns:mc="mc">` + level(1, `<w:numFmt w:val="chineseCountingThousand"/>`, "第%1条") + level(2, `<w:numFmt w:val="hebrew1"/>`, "%1)") +
		level(3, `<mc:AlternateContent><mc:Choice Requires="w14"><w:numFmt w:val="custom" w:format="001, 002, 003, ..."/></mc:Choice><mc:Fallback><w:numFmt w:val="decimal"/></mc:Fallback></mc:AlternateContent>`, "%1") +
		num(1, 1) + num(2, 2) + num(3, 3) + num(4, 1) + `</w:numbering>`
	out := read(t, ooxml.DOCX, "a.docx", samples.WordDocument(t, item(1, "a")+item(1, "b")+item(2, "c")+item(3, "d")+item(4, "goes on"),
		samples.Rels("word/document.xml", "n numbering numbering.xml"), samples.Part{Name: "word/numbering.xml", Data: numbering}))
	wantText(t, out.Markdown, "第九条 a", "第十条 b", "ט) c", "9. d", "第十一条 goes on")
}

// A reading stands behind its word.
func TestWordRuby(t *testing.T) {
	ruby := `<w:r><w:ruby><w:rubyPr/><w:rt><w:r><w:t>とう</w:t></w:r></w:rt><w:rubyBase><w:r><w:t>東</w:t></w:r></w:rubyBase></w:ruby></w:r>`
	out := read(t, ooxml.DOCX, "a.docx", samples.WordDocument(t, `<w:p>`+wordRun("", "今日は")+ruby+wordRun("", "京へ行く")+`</w:p>`))
	wantText(t, out.Markdown, "今日は東(とう)京へ行く")
}

// Fields of forms have their value, and prompts are none.
func TestWordForms(t *testing.T) {
	list := func(choice string) string {
		return `<w:r><w:fldChar w:fldCharType="begin"><w:ffData><w:ddList>` + choice + `<w:listEntry w:val="Red"/><w:listEntry w:val="Blue"/></w:ddList></w:ffData></w:fldChar></w:r>` +
			`<w:r><w:instrText> FORMDROPDOWN </w:instrText></w:r>`
	}
	const end = `<w:r><w:fldChar w:fldCharType="end"/></w:r>`
	separate := `<w:r><w:fldChar w:fldCharType="separate"/></w:r>`
	control := func(props, content string) string {
		return `<w:sdt><w:sdtPr>` + props + `</w:sdtPr><w:sdtContent>` + content + `</w:sdtContent></w:sdt>`
	}
	body := `<w:p>` + wordRun("", "One ") + list(`<w:result w:val="1"/>`) + end + wordRun("", "; two ") + list("") + separate + end + wordRun("", "; three ") + list(`<w:default w:val="1"/>`) + end +
		wordRun("", "; four ") + list(`<w:result w:val="0"/>`) + separate + wordRun("", "Green") + end + wordRun("", "; five ") + list(`<w:default w:val="1"/><w:result w:val="0"/>`) + end + `</w:p>` +
		`<w:p>` + wordRun("", "Name: ") + control(`<w:showingPlcHdr/><w:text/>`, wordRun("", "PROMPT")) + control(`<w:text/>`, wordRun("", "Ada")) + `</w:p>` +
		control(`<w:showingPlcHdr/>`, samples.Para("", "PROMPT")) + control(`<w:showingPlcHdr w:val="0"/><w:date/>`, samples.Para("", "12 March")) +
		`<w:tbl><w:tr>` + wordCell("", "kept") + control("<w:comboBox/>", wordCell("", "chosen")) + `</w:tr></w:tbl>`
	out := read(t, ooxml.DOCX, "a.docx", samples.WordDocument(t, body))
	wantText(t, out.Markdown, "One Blue; two Red; three Blue; four Green; five Red", "Name: Ada", "12 March", "chosen")
	if strings.Contains(out.Markdown, "PROMPT") {
		t.Errorf("a prompt is in the text:\n%s", out.Markdown)
	}
}

// What is raised or lowered cannot be misread, in whatever pieces it comes.
func TestRaisedAndLowered(t *testing.T) {
	word := `<w:p>` + wordRun("", "10") + wordRun(raised, "-") + wordRun(raised, "3") + wordRun("", " m") + wordRun(raised, "2") + wordRun("", " 101") + wordRun(lowered, "2") + wordRun("", " H") +
		wordRun(lowered, "2") + wordRun("", "O, the 1") + wordRun(raised, "st") + wordRun("", " word") + wordRun(raised, "7") + `</w:p>`
	drawn := func(props, s string) string { return `<a:r><a:rPr ` + props + `/><a:t>` + s + `</a:t></a:r>` }
	slide := `<p:sp><p:txBody><a:p>` + drawn("", "10") + drawn(`baseline="30000"`, "-3") + drawn("", " m") + drawn(`baseline="30000"`, "2") + drawn("", " 101") + drawn(`baseline="-25000"`, "2") +
		drawn("", " H") + drawn(`baseline="-25000"`, "2") + drawn("", "O, the 1") + drawn(`baseline="30000"`, "st") + drawn("", " word") + drawn(`baseline="30000"`, "7") + `</a:p></p:txBody></p:sp>`
	piece := func(align, s string) string {
		return `<r><rPr><vertAlign val="` + align + `"/></rPr><t xml:space="preserve">` + s + `</t></r>`
	}
	cell := `<row r="1"><c r="A1" t="inlineStr"><is>` + piece("baseline", "10") + piece("superscript", "-3") + piece("baseline", " m") + piece("superscript", "2") + piece("baseline", " 101") +
		piece("subscript", "2") + piece("baseline", " H") + piece("subscript", "2") + piece("baseline", "O, the 1") + piece("superscript", "st") + piece("baseline", " word") + piece("superscript", "7") + `</is></c></row>`
	rich := `{\rtf1 10{\super -3} m{\up6 2} 101{\sub 2} H{\dn4 2}O, the 1{\super st} word{\super 7}\par}`
	for name, markdown := range map[string]string{
		"docx": read(t, ooxml.DOCX, "a.docx", samples.WordDocument(t, word)).Markdown,
		"pptx": read(t, ooxml.PPTX, "a.pptx", samples.Slide(t, slide)).Markdown,
		"xlsx": read(t, ooxml.XLSX, "a.xlsx", samples.BookOf(t, cell, "", nil, "")).Markdown,
		"rtf":  read(t, rtf.RTF, "a.rtf", []byte(rich)).Markdown,
	} {
		if got := strings.ReplaceAll(markdown, `\`, ""); !strings.Contains(got, "10^-3 m^2 101_2 H2O, the 1st word7") {
			t.Errorf("%s: %s", name, markdown)
		}
	}
}

// A document within this one may be empty, broken or locked: the rest is read.
func TestWordEmbeddedDocuments(t *testing.T) {
	data := samples.WordDocument(t, samples.Para("", "The text.")+`<w:altChunk r:id="c"/>`,
		samples.Rels("word/document.xml", "c aFChunk chunk.html"), samples.Part{Name: "word/chunk.html", Data: "<html></html>"})
	for _, reason := range []string{"empty", "corrupt", "unsupported", "encrypted", "scanned"} {
		out, err := ooxml.DOCX(t.Context(), format.Input{Name: "a.docx", Data: data, Limits: limits, Convert: func(context.Context, format.Input) (*format.Output, error) {
			return nil, fault.Invalid(reason, "it is %s", reason)
		}})
		if err != nil {
			t.Errorf("%s: %v", reason, err)
			continue
		}
		wantText(t, out.Markdown, "The text.")
		wantWarning(t, out, "chunk.html")
	}
	_, err := ooxml.DOCX(t.Context(), format.Input{Name: "a.docx", Data: data, Limits: limits, Convert: func(context.Context, format.Input) (*format.Output, error) {
		return nil, fault.Invalid("too-large", "it is large").WithHint("split it")
	}})
	wantReason(t, err, "too-large")
}

// A document has a part for each of its pictures, and is one document.
func TestManyParts(t *testing.T) {
	var parts []samples.Part
	for i := range 3 * limits.Files {
		parts = append(parts, samples.Part{Name: fmt.Sprintf("word/media/image%d.png", i)})
	}
	out := read(t, ooxml.DOCX, "a.docx", samples.WordDocument(t, samples.Para("", "The manual."), parts...))
	wantText(t, out.Markdown, "The manual.")
}

// What headers and footers say, and the text does not, stands once: the header
// before the text, the footer behind it. What counts pages is left out.
func TestPageFrames(t *testing.T) {
	field := func(code, shown string) string {
		return `<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText> ` + code + ` </w:instrText></w:r><w:r><w:fldChar w:fldCharType="separate"/></w:r>` + wordRun("", shown) + `<w:r><w:fldChar w:fldCharType="end"/></w:r>`
	}
	frame := func(kind, content string) samples.Part {
		return samples.Part{Name: "word/" + kind + ".xml", Data: `<w:hdr xmlns:w="w" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships">` + content + `</w:hdr>`}
	}
	body := samples.Para("", "Annual report") + `<w:p><w:pPr><w:sectPr><w:headerReference w:type="default" r:id="h"/></w:sectPr></w:pPr></w:p>` + samples.Para("", "The end.") +
		`<w:sectPr><w:headerReference w:type="default" r:id="h"/><w:headerReference w:type="first" r:id="h1"/><w:headerReference w:type="even" r:id="h2"/><w:footerReference w:type="default" r:id="f"/><w:titlePg/></w:sectPr>`
	out := read(t, ooxml.DOCX, "a.docx", samples.WordDocument(t, body,
		samples.Rels("word/document.xml", "h header header1.xml", "h1 header header2.xml", "h2 header header3.xml", "f footer footer1.xml"),
		frame("header1", samples.Para("", "ANNUAL REPORT")+`<w:p>`+wordRun("", "Page ")+field("PAGE", "7")+wordRun("", " of ")+field("NUMPAGES", "99")+`</w:p>`),
		frame("header2", samples.Para("", "ACME, 1 Main Street")),
		frame("header3", samples.Para("", "never shown")),
		frame("footer1", samples.Para("", "ACME, 1 Main Street")+`<w:p>`+wordRun("", "Register no. 4711 ")+field("PAGE", "7")+`</w:p>`)))
	if want := "ACME, 1 Main Street\n\nAnnual report\n\nThe end.\n\nRegister no. 4711\n"; out.Markdown != want {
		t.Errorf("got\n%s\nwant\n%s", out.Markdown, want)
	}

	rich := `{\rtf1{\header ACME, 1 Main Street\par Page {\field{\*\fldinst PAGE}{\fldrslt 7}}\par}{\headerf never\par}{\footer Register no. 4711\par The end.\par}The end.\par}`
	out = read(t, rtf.RTF, "a.rtf", []byte(rich))
	if want := "ACME, 1 Main Street\n\nThe end.\n\nRegister no. 4711\n"; out.Markdown != want {
		t.Errorf("got\n%s\nwant\n%s", out.Markdown, want)
	}

	foot := func(kind, content string) string {
		return `<p:sp><p:nvSpPr><p:nvPr><p:ph type="` + kind + `"/></p:nvPr></p:nvSpPr><p:txBody><a:p>` + content + `</a:p></p:txBody></p:sp>`
	}
	slide := `<p:sp><p:txBody><a:p><a:r><a:t>Words</a:t></a:r></a:p></p:txBody></p:sp>` + foot("ftr", `<a:r><a:t>For the board only</a:t></a:r>`) + foot("sldNum", `<a:fld><a:t>7</a:t></a:fld>`) +
		foot("dt", `<a:fld type="datetime1"><a:t>1/1/2026</a:t></a:fld>`) + foot("ftr", `<a:r><a:t>For the board only</a:t></a:r>`)
	out = read(t, ooxml.PPTX, "a.pptx", samples.Slide(t, slide))
	if n := strings.Count(out.Markdown, "For the board only"); n != 1 || strings.Contains(out.Markdown, "2026") {
		t.Errorf("the footer stands %d times\n%s", n, out.Markdown)
	}
}

// A reading over a word may also be a field, which shows it by its instruction alone.
func TestWordEquationFields(t *testing.T) {
	field := `<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText>EQ \* jc2 \* "Font:MS Mincho" \o\ad(\s\up 9(</w:instrText></w:r><w:r><w:instrText>とう),東)</w:instrText></w:r><w:r><w:fldChar w:fldCharType="end"/></w:r>`
	out := read(t, ooxml.DOCX, "a.docx", samples.WordDocument(t, `<w:p>`+wordRun("", "今日は")+field+wordRun("", "京へ")+`</w:p>`))
	wantText(t, out.Markdown, "今日は東(とう)京へ")
}

// Each picture has its own kind, however closely the next one follows.
func TestRTFPictures(t *testing.T) {
	const doc = `{\rtf1 Two {\pict\pngblip 00}{\pict\wmetafile8 00} of them}`
	for range 8 {
		wantText(t, read(t, rtf.RTF, "a.rtf", []byte(doc)).Markdown, "image1.png", "image2.wmf")
	}
}
