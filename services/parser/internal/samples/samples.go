// Package samples makes a small document of every office format, for tests.
package samples

import (
	"fmt"
	"html"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"

	"sluice/services/parser/internal/sheet"
)

func WordSample(t testing.TB) []byte {
	return WordDocument(t, WordBody,
		Part{"docProps/core.xml", `<cp:coreProperties xmlns:cp="c" xmlns:dc="d" xmlns:dcterms="t"><dc:title>Properties' title</dc:title><dc:creator>Ada</dc:creator>` +
			`<dcterms:created>2024-02-03T04:05:06+01:00</dcterms:created></cp:coreProperties>`},
		Rels("word/document.xml", "s styles styles.xml", "n numbering numbering.xml", "f footnotes footnotes.xml", "e endnotes endnotes.xml",
			"c comments comments.xml", "link hyperlink https://example.org/a?b=(c)", "img image media/image1.png", "chart chart charts/chart1.xml"),
		Part{"word/styles.xml", `<w:styles` + officeN + `>` +
			`<w:style w:type="paragraph" w:default="1" w:styleId="Standard"><w:name w:val="Normal"/></w:style>` +
			`<w:style w:type="paragraph" w:styleId="Titel"><w:name w:val="Title"/></w:style>` +
			`<w:style w:type="paragraph" w:styleId="berschrift1"><w:name w:val="heading 1"/><w:pPr><w:numPr><w:numId w:val="3"/></w:numPr><w:outlineLvl w:val="0"/></w:pPr></w:style>` +
			`<w:style w:type="paragraph" w:styleId="berschrift2"><w:name w:val="heading 2"/><w:basedOn w:val="berschrift1"/><w:pPr><w:numPr><w:ilvl w:val="1"/><w:numId w:val="3"/></w:numPr><w:outlineLvl w:val="1"/></w:pPr></w:style>` +
			`<w:style w:type="paragraph" w:styleId="Mine"><w:name w:val="My chapter"/><w:basedOn w:val="Foreign"/></w:style>` +
			`<w:style w:type="paragraph" w:styleId="Foreign"><w:name w:val="Titre 3"/><w:basedOn w:val="Standard"/></w:style>` +
			`<w:style w:type="paragraph" w:styleId="Loop"><w:name w:val="Loop"/><w:basedOn w:val="Loop"/></w:style>` +
			`<w:style w:type="paragraph" w:styleId="Code"><w:name w:val="HTML Preformatted"/></w:style>` +
			`<w:style w:type="paragraph" w:styleId="Zitat"><w:name w:val="Quote"/></w:style>` +
			`<w:style w:type="character" w:styleId="Strong"><w:name w:val="Strong"/><w:rPr><w:b/></w:rPr></w:style>` +
			`<w:style w:type="character" w:styleId="Mono"><w:name w:val="HTML Code"/></w:style>` +
			`</w:styles>`},
		Part{"word/numbering.xml", `<w:numbering` + officeN + `>` +
			`<w:abstractNum w:abstractNumId="1">` + listLevelXML(0, "bullet", "•") + listLevelXML(1, "bullet", "o") + `</w:abstractNum>` +
			`<w:abstractNum w:abstractNumId="2">` + listLevelXML(0, "decimal", "%1.") + listLevelXML(1, "lowerLetter", "(%2)") + `</w:abstractNum>` +
			`<w:abstractNum w:abstractNumId="3">` + listLevelXML(0, "decimal", "%1") + listLevelXML(1, "decimal", "%1.%2") + `</w:abstractNum>` +
			`<w:num w:numId="1"><w:abstractNumId w:val="1"/></w:num><w:num w:numId="2"><w:abstractNumId w:val="2"/></w:num>` +
			`<w:num w:numId="3"><w:abstractNumId w:val="3"/></w:num>` +
			`<w:num w:numId="4"><w:abstractNumId w:val="2"/><w:lvlOverride w:ilvl="0"><w:startOverride w:val="7"/></w:lvlOverride></w:num></w:numbering>`},
		Part{"word/footnotes.xml", `<w:footnotes` + officeN + `><w:footnote w:type="separator" w:id="-1"><w:p><w:r><w:t>never</w:t></w:r></w:p></w:footnote>` +
			`<w:footnote w:id="2"><w:p><w:r><w:footnoteRef/></w:r><w:r><w:t xml:space="preserve"> The note.</w:t></w:r></w:p><w:p><w:r><w:t>More of it.</w:t></w:r></w:p></w:footnote></w:footnotes>`},
		Part{"word/endnotes.xml", `<w:endnotes` + officeN + `><w:endnote w:id="1"><w:p><w:r><w:t>At the end.</w:t></w:r></w:p></w:endnote></w:endnotes>`},
		Part{"word/comments.xml", `<w:comments` + officeN + `><w:comment w:id="0" w:author="Bob"><w:p><w:r><w:t>Really?</w:t></w:r></w:p></w:comment></w:comments>`},
		Part{"word/charts/chart1.xml", chartXML},
	)
}

func listLevelXML(level int, format, text string) string {
	return fmt.Sprintf(`<w:lvl w:ilvl="%d"><w:start w:val="1"/><w:numFmt w:val="%s"/><w:lvlText w:val="%s"/></w:lvl>`, level, format, text)
}

func wordItem(num, level int, text string) string {
	return fmt.Sprintf(`<w:p><w:pPr><w:numPr><w:ilvl w:val="%d"/><w:numId w:val="%d"/></w:numPr></w:pPr><w:r><w:t>%s</w:t></w:r></w:p>`, level, num, text)
}

const chartXML = `<c:chartSpace` + officeN + `><c:chart><c:title><c:tx><c:rich><a:p><a:r><a:t>Sales</a:t></a:r></a:p></c:rich></c:tx></c:title><c:plotArea><c:barChart>` +
	`<c:ser><c:tx><c:strRef><c:strCache><c:pt idx="0"><c:v>North</c:v></c:pt></c:strCache></c:strRef></c:tx>` +
	`<c:cat><c:strRef><c:strCache><c:ptCount val="3"/><c:pt idx="0"><c:v>2001</c:v></c:pt><c:pt idx="2"><c:v>2003</c:v></c:pt></c:strCache></c:strRef></c:cat>` +
	`<c:val><c:numRef><c:numCache><c:formatCode>0.0%</c:formatCode><c:pt idx="0"><c:v>0.25</c:v></c:pt><c:pt idx="2"><c:v>0.5</c:v></c:pt></c:numCache></c:numRef></c:val></c:ser>` +
	`</c:barChart><c:valAx><c:title><c:tx><c:rich><a:p><a:r><a:t>Axis</a:t></a:r></a:p></c:rich></c:tx></c:title></c:valAx></c:plotArea></c:chart></c:chartSpace>`

func wordField(code, result string) string {
	return `<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText>` + code + `</w:instrText></w:r><w:r><w:fldChar w:fldCharType="separate"/></w:r>` +
		`<w:r><w:t>` + result + `</w:t></w:r><w:r><w:fldChar w:fldCharType="end"/></w:r>`
}

func run(props, text string) string {
	return `<w:r><w:rPr>` + props + `</w:rPr><w:t xml:space="preserve">` + text + `</w:t></w:r>`
}

var WordBody = Para("Titel", "The Whole") +
	Para("berschrift1", "First part") + Para("berschrift2", "A section") + Para("berschrift2", "Another") +
	Para("berschrift1", "Second part") + Para("berschrift2", "Its section") + Para("Mine", "A localized heading") + Para("Loop", "Based on itself.") +
	`<w:p><w:pPr><w:outlineLvl w:val="3"/></w:pPr><w:r><w:t>By outline level</w:t></w:r></w:p>` +
	`<w:p>` + run("", "Plain, ") + run("<w:b/>", "bold") + run("<w:b/>", " and on") + run(`<w:b w:val="0"/>`, ", ") + run("<w:i/>", "italic, ") + run("<w:b/><w:i/>", "both") +
	run("", ", ") + run(`<w:rStyle w:val="Strong"/>`, "styled") + run("", ", ") + run("<w:strike/>", "struck") + run("", ", ") + run(`<w:rStyle w:val="Mono"/>`, "x := *p") +
	run("<w:vanish/>", "HIDDEN") + run("", ", 10") + run(`<w:vertAlign w:val="superscript"/>`, "6") + run("", " * 2 &lt;b&gt; # ok.") + `</w:p>` +
	`<w:p>` + run("", "Kept") + `<w:ins><w:r><w:t> inserted</w:t></w:r></w:ins><w:del><w:r><w:delText>DELETED</w:delText></w:r></w:del><w:moveFrom><w:r><w:t>MOVED</w:t></w:r></w:moveFrom>` +
	run("", " text, note") + `<w:r><w:footnoteReference w:id="2"/></w:r><w:r><w:endnoteReference w:id="1"/></w:r><w:r><w:t>, remark</w:t></w:r><w:r><w:commentReference w:id="0"/></w:r>.</w:p>` +
	`<w:p><w:pPr><w:rPr><w:del/></w:rPr></w:pPr>` + run("", "One paragraph ") + `</w:p><w:p>` + run("", "of two.") + `</w:p>` +
	`<w:p><w:pPr><w:framePr w:dropCap="drop"/></w:pPr>` + run("", "D") + `</w:p><w:p>` + run("", "rop cap.") + `</w:p>` +
	`<w:p><w:hyperlink r:id="link">` + run("", "linked") + `</w:hyperlink> ` + wordField(`HYPERLINK "https://example.org/f" \o "tip"`, "field link") +
	wordField(`HYPERLINK \l "_Toc1"`, " within") + wordField(`PAGEREF x \h`, " 12") + `<w:hyperlink w:anchor="here">` + run("", " anchor") + `</w:hyperlink></w:p>` +
	`<w:p>` + run("", "Line one") + `<w:r><w:br/></w:r>` + run("", "line two") + `<w:r><w:sym w:font="Wingdings" w:char="F0FC"/></w:r>` + run(`<w:rFonts w:ascii="Symbol"/>`, "a") +
	`<w:r><w:noBreakHyphen/></w:r>` + `<w:r><w:fldChar w:fldCharType="begin"><w:ffData><w:checkBox><w:checked/></w:checkBox></w:ffData></w:fldChar></w:r><w:r><w:fldChar w:fldCharType="end"/></w:r></w:p>` +
	wordItem(1, 0, "Bullet") + wordItem(1, 1, "Below") + wordItem(1, 0, "Again") +
	`<w:p>` + run("", "Numbers:") + `</w:p>` +
	wordItem(2, 0, "One") + wordItem(2, 1, "Letter") + wordItem(2, 1, "Letter") + wordItem(2, 0, "Two") + wordItem(4, 0, "Seven") +
	Para("Code", "func main() {") + Para("Code", "") + Para("Code", "\tgo(`x`)") + Para("Code", "}") +
	Para("Zitat", "To be.") +
	`<w:tbl><w:tr><w:tc><w:tcPr><w:gridSpan w:val="2"/></w:tcPr><w:p>` + run("", "Wide|cell") + `</w:p></w:tc><w:tc><w:tcPr><w:vMerge w:val="restart"/></w:tcPr><w:p>` + run("", "Tall") +
	`</w:p></w:tc></w:tr><w:tr><w:tc><w:p>` + run("", "a") + `</w:p><w:p>` + run("", "second line") + `</w:p></w:tc><w:tc><w:tbl><w:tr><w:tc><w:p>` + run("", "in") + `</w:p></w:tc><w:tc><w:p>` + run("", "ner") +
	`</w:p></w:tc></w:tr></w:tbl><w:p/></w:tc><w:tc><w:tcPr><w:vMerge/></w:tcPr><w:p/></w:tc></w:tr><w:tr><w:trPr><w:del/></w:trPr><w:tc><w:p>` + run("", "DELETED ROW") + `</w:p></w:tc></w:tr></w:tbl>` +
	`<w:tbl><w:tr><w:tc>` + Para("", "A frame around text.") + wordItem(1, 0, "with an item") + `</w:tc></w:tr></w:tbl>` +
	`<w:p>` + run("", "Box:") + `<w:r><mc:AlternateContent><mc:Choice Requires="wps"><w:drawing><wp:anchor><wp:docPr id="1" name="b"/><a:graphic><a:graphicData><wps:wsp><wps:txbx><w:txbxContent>` +
	Para("", "In the box.") + `</w:txbxContent></wps:txbx></wps:wsp></a:graphicData></a:graphic></wp:anchor></w:drawing></mc:Choice><mc:Fallback><w:pict><v:shape><v:textbox><w:txbxContent>` +
	Para("", "FALLBACK") + `</w:txbxContent></v:textbox></v:shape></w:pict></mc:Fallback></mc:AlternateContent></w:r></w:p>` +
	`<w:p><w:r><w:drawing><wp:inline><wp:docPr id="2" name="Picture 1" descr="A cat [sitting]"/><a:graphic><a:graphicData><pic:pic><pic:blipFill><a:blip r:embed="img"/></pic:blipFill></pic:pic></a:graphicData></a:graphic></wp:inline></w:drawing></w:r></w:p>` +
	`<w:p><w:r><w:drawing><wp:inline><wp:docPr id="3" name="Chart"/><a:graphic><a:graphicData><c:chart r:id="chart"/></a:graphicData></a:graphic></wp:inline></w:drawing></w:r></w:p>` +
	`<w:p><m:oMath><m:sSup><m:e><m:r><m:t>x</m:t></m:r></m:e><m:sup><m:r><m:t>2</m:t></m:r></m:sup></m:sSup><m:r><m:t>=πr</m:t></m:r></m:oMath></w:p>` +
	`<m:oMathPara><m:oMath><m:nary><m:naryPr><m:chr m:val="∑"/></m:naryPr><m:sub><m:r><m:t>i=1</m:t></m:r></m:sub><m:sup><m:r><m:t>n</m:t></m:r></m:sup><m:e><m:f><m:num><m:r><m:t>1</m:t></m:r></m:num>` +
	`<m:den><m:rad><m:radPr><m:degHide/></m:radPr><m:deg/><m:e><m:r><m:t>i</m:t></m:r></m:e></m:rad></m:den></m:f></m:e></m:nary><m:d><m:dPr><m:begChr m:val="["/><m:endChr m:val="]"/></m:dPr>` +
	`<m:e><m:m><m:mr><m:e><m:r><m:t>1</m:t></m:r></m:e><m:e><m:r><m:t>0</m:t></m:r></m:e></m:mr><m:mr><m:e><m:r><m:t>0</m:t></m:r></m:e><m:e><m:r><m:t>1</m:t></m:r></m:e></m:mr></m:m></m:e></m:d></m:oMath></m:oMathPara>` +
	`<w:sdt><w:sdtContent>` + Para("", "In a control.") + `</w:sdtContent></w:sdt>`

func shapeXML(place, off, paragraphs string) string {
	if off != "" {
		f := strings.Fields(off)
		off = `<a:xfrm><a:off x="` + f[0] + `" y="` + f[1] + `"/></a:xfrm>`
	}
	return `<p:sp><p:nvSpPr><p:cNvPr id="2" name="S"/><p:nvPr>` + place + `</p:nvPr></p:nvSpPr><p:spPr>` + off + `</p:spPr><p:txBody>` + paragraphs + `</p:txBody></p:sp>`
}

func drawn(props, text string) string {
	return `<a:p>` + props + `<a:r><a:t>` + text + `</a:t></a:r></a:p>`
}

// Slide is a presentation of one slide with these shapes.
func Slide(t testing.TB, shapes string, more ...Part) []byte {
	return Pack(t, append([]Part{
		types,
		Rels("", "r1 officeDocument ppt/presentation.xml"),
		{"ppt/presentation.xml", `<p:presentation` + officeN + `><p:sldIdLst><p:sldId id="256" r:id="one"/></p:sldIdLst></p:presentation>`},
		Rels("ppt/presentation.xml", "one slide slides/slide1.xml"),
		{"ppt/slides/slide1.xml", `<p:sld` + officeN + `><p:cSld><p:spTree><p:grpSpPr/>` + shapes + `</p:spTree></p:cSld></p:sld>`},
	}, more...)...)
}

func DeckSample(t testing.TB) []byte {
	slide := func(attrs, shapes string) string {
		return `<p:sld` + officeN + attrs + `><p:cSld><p:spTree><p:grpSpPr/>` + shapes + `</p:spTree></p:cSld></p:sld>`
	}
	cell := func(attrs, text string) string {
		return `<a:tc` + attrs + `><a:txBody>` + drawn("", text) + `</a:txBody></a:tc>`
	}
	return Pack(
		t,
		types,
		Rels("", "r1 officeDocument ppt/presentation.xml"),
		Part{"ppt/presentation.xml", `<p:presentation` + officeN + `><p:sldIdLst><p:sldId id="256" r:id="two"/><p:sldId id="257" r:id="one"/></p:sldIdLst></p:presentation>`},
		Rels("ppt/presentation.xml", "one slide slides/slide1.xml", "two slide slides/slide2.xml", "a commentAuthors commentAuthors.xml"),
		Part{"ppt/commentAuthors.xml", `<p:cmAuthorLst` + officeN + `><p:cmAuthor id="0" name="Eve"/></p:cmAuthorLst>`},
		Part{"ppt/slides/slide1.xml", slide(` show="0"`, shapeXML(`<p:ph type="title"/>`, "", drawn("", "Second in order"))+
			`<p:graphicFrame><p:xfrm><a:off x="0" y="9000000"/></p:xfrm><a:graphic><a:graphicData><c:chart r:id="chart"/></a:graphicData></a:graphic></p:graphicFrame>`+
			`<p:graphicFrame><p:xfrm><a:off x="0" y="5000000"/></p:xfrm><a:graphic><a:graphicData><a:tbl><a:tr>`+cell(` gridSpan="2"`, "Wide")+cell(` hMerge="1"`, "")+cell(` rowSpan="2"`, "Tall")+`</a:tr><a:tr>`+
			cell("", "1")+cell("", "2")+cell(` vMerge="1"`, "")+`</a:tr></a:tbl></a:graphicData></a:graphic></p:graphicFrame>`)},
		Rels("ppt/slides/slide1.xml", "chart chart ../charts/chart1.xml"),
		Part{"ppt/charts/chart1.xml", chartXML},
		Part{"ppt/slides/slide2.xml", slide("", shapeXML("", "5000000 2000000", drawn("", "Right"))+shapeXML("", "100000 2050000", drawn("", "Left"))+
			shapeXML(`<p:ph type="sldNum" idx="12"/>`, "", drawn("", "7"))+
			shapeXML(`<p:ph idx="1"/>`, "", drawn("", "Inherited bullet")+drawn(`<a:pPr lvl="1"/>`, "Deeper")+drawn(`<a:pPr><a:buNone/></a:pPr>`, "No bullet")+
				drawn(`<a:pPr><a:buAutoNum type="arabicPeriod"/></a:pPr>`, "First")+drawn(`<a:pPr><a:buAutoNum type="arabicPeriod"/></a:pPr>`, "Second"))+
			shapeXML(`<p:ph type="ctrTitle"/>`, "0 0", drawn("", "The deck"))+
			`<p:grpSp><p:grpSpPr><a:xfrm><a:off x="0" y="8000000"/></a:xfrm></p:grpSpPr>`+shapeXML("", "0 500000", drawn("", "Grouped, below"))+shapeXML("", "0 0", drawn("", "Grouped, above"))+`</p:grpSp>`+
			`<p:pic><p:nvPicPr><p:cNvPr id="9" name="Picture 4" descr="A dog"/></p:nvPicPr><p:blipFill><a:blip r:embed="img"/></p:blipFill><p:spPr><a:xfrm><a:off x="0" y="9000000"/></a:xfrm></p:spPr></p:pic>`+
			shapeXML("", "0 9900000", `<a:p><a:r><a:rPr b="1"><a:hlinkClick r:id="web"/></a:rPr><a:t>Linked</a:t></a:r><a:br/><a:r><a:rPr i="1"/><a:t>slanted</a:t></a:r>`+
				`<mc:AlternateContent><mc:Choice Requires="a14"><a14:m><m:oMath><m:r><m:t>α</m:t></m:r></m:oMath></a14:m></mc:Choice><mc:Fallback><a:r><a:t>FALLBACK</a:t></a:r></mc:Fallback></mc:AlternateContent></a:p>`))},
		Rels("ppt/slides/slide2.xml", "l slideLayout ../slideLayouts/slideLayout1.xml", "n notesSlide ../notesSlides/notesSlide1.xml", "c comments ../comments/comment1.xml",
			"img image ../media/image1.jpeg", "web hyperlink https://example.org/"),
		Part{"ppt/slideLayouts/slideLayout1.xml", `<p:sldLayout` + officeN + `><p:cSld><p:spTree>` + shapeXML(`<p:ph idx="1"/>`, "0 1000000", "") + `</p:spTree></p:cSld></p:sldLayout>`},
		Rels("ppt/slideLayouts/slideLayout1.xml", "m slideMaster ../slideMasters/slideMaster1.xml"),
		Part{"ppt/slideMasters/slideMaster1.xml", `<p:sldMaster` + officeN + `><p:cSld><p:spTree>` + shapeXML(`<p:ph type="body" idx="1"/>`, "0 0", "") + `</p:spTree></p:cSld><p:txStyles><p:bodyStyle>` +
			`<a:lvl1pPr><a:buChar char="•"/></a:lvl1pPr><a:lvl2pPr><a:buChar char="-"/></a:lvl2pPr></p:bodyStyle></p:txStyles></p:sldMaster>`},
		Part{"ppt/notesSlides/notesSlide1.xml", `<p:notes` + officeN + `><p:cSld><p:spTree>` + shapeXML(`<p:ph type="body" idx="1"/>`, "", drawn("", "Say this.")) +
			shapeXML(`<p:ph type="sldNum" idx="2"/>`, "", drawn("", "1")) + `</p:spTree></p:cSld></p:notes>`},
		Part{"ppt/comments/comment1.xml", `<p:cmLst` + officeN + `><p:cm authorId="0"><p:text>Too long</p:text></p:cm></p:cmLst>`},
	)
}

// BookSample is written by another implementation of the format.
func BookSample(t testing.TB) []byte {
	f := excelize.NewFile()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	set := func(sheet, cell string, v any) { must(f.SetCellValue(sheet, cell, v)) }
	style := func(cell string, s *excelize.Style) {
		id, err := f.NewStyle(s)
		must(err)
		must(f.SetCellStyle("Sheet1", cell, cell, id))
	}
	set("Sheet1", "B2", "Report for |2024|")
	for i, v := range []any{"Day", "Amount", "Share", "Done", "Link"} {
		set("Sheet1", sheet.CellName(3, i+1), v)
	}
	set("Sheet1", "B5", time.Date(2024, 2, 29, 13, 30, 0, 0, time.UTC))
	set("Sheet1", "C5", 1234567.891)
	style("C5", &excelize.Style{NumFmt: 4})
	set("Sheet1", "D5", 0.256)
	style("D5", &excelize.Style{NumFmt: 10})
	set("Sheet1", "E5", true)
	set("Sheet1", "F5", "site")
	must(f.SetCellHyperLink("Sheet1", "F5", "https://example.org/x", "External"))
	set("Sheet1", "B6", 0.1+0.2)
	must(f.SetCellFormula("Sheet1", "C6", "SUM(C5:C5)"))
	must(f.SetCellRichText("Sheet1", "D6", []excelize.RichTextRun{{Text: "two "}, {Text: "runs", Font: &excelize.Font{Bold: true}}}))
	must(f.MergeCell("Sheet1", "B8", "C9"))
	set("Sheet1", "B8", "merged")
	must(f.AddComment("Sheet1", excelize.Comment{Cell: "B5", Author: "Ann", Paragraph: []excelize.RichTextRun{{Text: "leap day"}}}))
	_, err := f.NewSheet("Far <corner>")
	must(err)
	set("Far <corner>", "A1", "first")
	set("Far <corner>", "XFD1048576", "last")
	must(f.SetSheetVisible("Far <corner>", false))
	must(f.AddChartSheet("Chart1", &excelize.Chart{
		Type: excelize.Col, Title: excelize.ChartTitle{Paragraph: []excelize.RichTextRun{{Text: "Chart sheet"}}},
		Series: []excelize.ChartSeries{{Name: "Sheet1!$C$4", Values: "Sheet1!$C$5:$C$5"}},
	}))
	buf, err := f.WriteToBuffer()
	must(err)
	must(f.Close())
	return buf.Bytes()
}

// SheetFile is a workbook of one sheet with that sheetData.
func SheetFile(t testing.TB, data string) []byte {
	return Pack(t, types, Rels("", "r1 officeDocument xl/workbook.xml"),
		Part{"xl/workbook.xml", `<workbook` + officeN + `><sheets><sheet name="S" sheetId="1" r:id="s"/></sheets></workbook>`},
		Rels("xl/workbook.xml", "s worksheet worksheets/sheet1.xml"),
		Part{"xl/worksheets/sheet1.xml", `<worksheet><sheetData>` + data + `</sheetData></worksheet>`})
}

// BookOf is a workbook of one sheet, whose XML stands after sheetData too, with
// formats of its cells by number and further elements of the workbook.
func BookOf(t testing.TB, rows, after string, formats []string, workbook string) []byte {
	styles := `<styleSheet><numFmts>`
	xfs := `<cellXfs><xf numFmtId="0"/>`
	for i, code := range formats {
		id := 164 + i
		if n, err := strconv.Atoi(code); err == nil && n > 9 {
			id = n // one of the built-in formats
		} else {
			styles += fmt.Sprintf(`<numFmt numFmtId="%d" formatCode="%s"/>`, id, html.EscapeString(code))
		}
		xfs += fmt.Sprintf(`<xf numFmtId="%d"/>`, id)
	}
	return Pack(t, Rels("", "r1 officeDocument xl/workbook.xml"),
		Part{"xl/workbook.xml", `<workbook` + officeN + `><sheets><sheet name="S" sheetId="1" r:id="s"/></sheets>` + workbook + `</workbook>`},
		Rels("xl/workbook.xml", "s worksheet worksheets/sheet1.xml", "t styles styles.xml"),
		Part{"xl/styles.xml", styles + `</numFmts>` + xfs + `</cellXfs></styleSheet>`},
		Part{"xl/worksheets/sheet1.xml", `<worksheet><sheetData>` + rows + `</sheetData>` + after + `</worksheet>`})
}

// Diagonal fills one cell a row: few cells, a quarter of a billion in the grid.
func Diagonal(t testing.TB) []byte {
	var b strings.Builder
	for i := range sheet.MaxColumns {
		fmt.Fprintf(&b, `<row><c r="%s"><v>1</v></c></row>`, sheet.CellName(i, i))
	}
	return SheetFile(t, b.String())
}

func OdfDocument(t testing.TB, kind, body string, more ...Part) []byte {
	return Pack(t, append([]Part{
		{"mimetype", "application/vnd.oasis.opendocument." + kind},
		{"content.xml", xmlHead + `<office:document-content` + odfN + `><office:automatic-styles>` + odfStyles + `</office:automatic-styles><office:body><office:` + kind + `>` + body +
			`</office:` + kind + `></office:body></office:document-content>`},
	}, more...)...)
}

const (
	odfN = ` xmlns:office="o" xmlns:text="t" xmlns:table="ta" xmlns:style="s" xmlns:fo="f" xmlns:draw="d" xmlns:svg="v" xmlns:xlink="x" xmlns:dc="dc" xmlns:meta="m" xmlns:presentation="p"`

	odfStyles = `<style:style style:name="B" style:family="text"><style:text-properties fo:font-weight="bold"/></style:style>` +
		`<style:style style:name="I" style:family="text"><style:text-properties fo:font-style="italic"/></style:style>` +
		`<style:style style:name="H" style:family="text"><style:text-properties text:display="none"/></style:style>` +
		`<style:style style:name="ta2" style:family="table"><style:table-properties table:display="false"/></style:style>` +
		`<text:list-style style:name="L1"><text:list-level-style-bullet text:level="1" text:bullet-char="•"/><text:list-level-style-number text:level="2" style:num-format="1" style:num-suffix="."/></text:list-style>`
)

func OdtSample(t testing.TB) []byte {
	return OdfDocument(t, "text", `<text:tracked-changes><text:changed-region><text:deletion><text:p>DELETED</text:p></text:deletion></text:changed-region></text:tracked-changes>`+
		`<text:p text:style-name="Title">The text</text:p><text:h text:outline-level="1">One</text:h><text:h text:outline-level="2">Below</text:h><text:h text:outline-level="1">Two</text:h>`+
		`<text:p>Some   <text:span text:style-name="B">bold</text:span>,<text:s text:c="2"/><text:span text:style-name="I">slanted</text:span> <text:span text:style-name="H">HIDDEN</text:span>`+
		`<text:a xlink:href="https://example.org/">link</text:a> <text:a xlink:href="#here">inside</text:a>`+
		`<text:note text:note-class="footnote"><text:note-citation>1</text:note-citation><text:note-body><text:p>A note.</text:p></text:note-body></text:note>`+
		`<office:annotation><dc:creator>Bo</dc:creator><dc:date>2024-01-01T00:00:00</dc:date><text:p>Why?</text:p></office:annotation></text:p>`+
		`<text:list text:style-name="L1"><text:list-item><text:p>Outer</text:p><text:list><text:list-item><text:p>n1</text:p></text:list-item><text:list-item><text:p>n2</text:p></text:list-item></text:list></text:list-item>`+
		`<text:list-item><text:p>Next</text:p><text:p>its second paragraph</text:p></text:list-item></text:list>`+
		`<table:table><table:table-column/><table:table-header-rows><table:table-row><table:table-cell table:number-columns-spanned="2"><text:p>Wide</text:p></table:table-cell><table:covered-table-cell/></table:table-row></table:table-header-rows>`+
		`<table:table-row><table:table-cell><text:p>a</text:p></table:table-cell><table:table-cell><text:p>b</text:p></table:table-cell></table:table-row></table:table>`+
		`<text:p>Before <draw:frame><draw:image xlink:href="Pictures/1.png"/><svg:title>T</svg:title><svg:desc>A bird</svg:desc></draw:frame> after `+
		`<draw:frame><draw:object xlink:href="./Object 1"/><draw:image xlink:href="./ObjectReplacements/Object 1"/></draw:frame></text:p>`+
		`<text:p><draw:frame><draw:text-box><text:p>Boxed.</text:p></draw:text-box></draw:frame></text:p>`+
		`<text:section><text:p>In a section.</text:p></text:section>`,
		Part{"Object 1/content.xml", `<math xmlns="m"><semantics><mrow><mfrac><mn>1</mn><msqrt><mi>x</mi></msqrt></mfrac><mo>≤</mo><msup><mi>α</mi><mn>2</mn></msup></mrow><annotation>{1} over x</annotation></semantics></math>`},
		Part{"styles.xml", `<office:document-styles` + odfN + `><office:styles><text:outline-style><text:outline-level-style text:level="1" style:num-format="1"/>` +
			`<text:outline-level-style text:level="2" style:num-format="1" text:display-levels="2"/></text:outline-style></office:styles></office:document-styles>`},
		Part{"meta.xml", `<office:document-meta` + odfN + `><office:meta><dc:title>Meta title</dc:title><meta:initial-creator>Cy</meta:initial-creator><dc:creator>Di</dc:creator><dc:language>de</dc:language></office:meta></office:document-meta>`})
}

func OdsDocument(t testing.TB, rows string) []byte {
	return OdfDocument(t, "spreadsheet", `<table:table table:name="Data">`+rows+`</table:table><table:table table:name="More" table:style-name="ta2"><table:table-row><table:table-cell><text:p>hidden sheet</text:p></table:table-cell></table:table-row></table:table>`)
}

func OdsSample(t testing.TB) []byte {
	cell := func(attrs, text string) string {
		return `<table:table-cell` + attrs + `><text:p>` + text + `</text:p></table:table-cell>`
	}
	return OdsDocument(t, `<table:table-row table:number-rows-repeated="3"><table:table-cell table:number-columns-repeated="16384"/></table:table-row>`+
		`<table:table-row><table:table-cell/>`+cell("", "Name")+cell("", "Value")+`</table:table-row>`+
		`<table:table-row><table:table-cell/>`+cell(` table:number-columns-repeated="2"`, "twice")+`</table:table-row>`+
		`<table:table-row table:number-rows-repeated="2"><table:table-cell/>`+cell("", "rows")+`<table:table-cell><office:annotation><dc:creator>Al</dc:creator><text:p>check</text:p></office:annotation><text:p>1,5</text:p></table:table-cell></table:table-row>`+
		`<table:table-row table:number-rows-repeated="1048569"><table:table-cell table:number-columns-repeated="16384"/></table:table-row>`)
}

func OdpSample(t testing.TB) []byte {
	frame := func(attrs, text string) string {
		return `<draw:frame` + attrs + `><draw:text-box><text:p>` + text + `</text:p></draw:text-box></draw:frame>`
	}
	return OdfDocument(t, "presentation", `<draw:page draw:name="p1">`+frame(` svg:x="1cm" svg:y="9cm"`, "Lower")+frame(` svg:x="1cm" svg:y="5cm"`, "Upper")+
		frame(` presentation:class="title" svg:x="1cm" svg:y="12cm"`, "Talk")+`<presentation:notes>`+frame(` presentation:class="notes"`, "Breathe.")+`</presentation:notes></draw:page>`+
		`<draw:page draw:name="p2">`+frame(` presentation:class="title" presentation:placeholder="true"`, "click")+frame("", "Only text")+`</draw:page>`)
}

const RtfSample = `{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0\fswiss Helvetica;}{\f1\fnil\fcharset204 Arial Cyr;}{\f2\fnil\fcharset128 MS Mincho;}}
{\stylesheet{\s0 Normal;}{\s1\outlinelevel0 Big;}{\s2 heading 2;}{\*\cs10 Char;}}{\info{\title A title}{\author An author}{\creatim\yr2020\mo1\dy2\hr3\min4}}
{\header HEADER}{\*\unknown UNKNOWN}\pard\s1 Heading one\par\pard\s2 Heading two\par\pard\plain This is {\b bold}, {\i slanted}, {\v HIDDEN}\'e9 \u8364? \u-10179?\u-8704? {\f1 \'cf\'f0} {\f2 \'93\'fa\'96\'7b} 10{\super 6}.\par
{\listtext\tab 1.\tab}\ilvl0 First\par{\listtext \'b7\tab}\ilvl1 Below\par\pard
{\field{\*\fldinst HYPERLINK "https://example.org/z"}{\fldrslt the link}} and a note{\footnote\pard\plain The note.}.{\*\atnauthor Flo}{\*\annotation Sure?}\par
\trowd\cellx100\cellx200\pard\intbl A\cell B\par second\cell\row\trowd\cellx100\cellx200\pard\intbl C\cell D\cell\row\pard After the table.\line Next line \emdash end\par
{\pict\pngblip\bin4 }}}{}\par{\shp{\*\shpinst{\sp{\sn wzDescription}{\sv A picture}}{\shptxt\pard In a box\par}}}\par}`

func EpubSample(t testing.TB, more ...Part) []byte {
	return Pack(t, append([]Part{
		{"mimetype", "application/epub+zip"},
		{"META-INF/container.xml", `<container><rootfiles><rootfile full-path="EPUB/content.opf"/></rootfiles></container>`},
		{"EPUB/content.opf", `<package xmlns:dc="d"><metadata><dc:title>The novel</dc:title><dc:creator>A. Author</dc:creator><dc:creator>B. Author</dc:creator><dc:language>en</dc:language>` +
			`<dc:description>About it.</dc:description><meta property="dcterms:modified">2024-12-18T10:53:14Z</meta></metadata><manifest>` +
			`<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/><item id="b" href="two%20.xhtml" media-type="application/xhtml+xml"/>` +
			`<item id="a" href="one.xhtml" media-type="application/xhtml+xml"/></manifest><spine><itemref idref="nav"/><itemref idref="a"/><itemref idref="b"/></spine></package>`},
		{"EPUB/nav.xhtml", `<html><body><nav>NAVIGATION</nav></body></html>`},
		{"EPUB/one.xhtml", `<html><body><h1>Chapter 1</h1><p>It was <b>dark</b>.</p></body></html>`},
		{"EPUB/two .xhtml", `<html><body><h1>Chapter 2</h1><p>It was light.</p></body></html>`},
	}, more...)...)
}

func XlsSample() []byte {
	text := func(s string) []any { return []any{uint16(len(s)), uint8(0), s} }
	return OldWorkbook(func(b *Biff) {
		b.Record(recFormat, append([]any{uint16(164)}, text(`yyyy"-"mm"-"dd`)...)...)
		for _, format := range []uint16{0, 164, 10} {
			b.Record(recXF, uint16(0), format, make([]byte, 16))
		}
		// "wide text" goes on in the next record, there as single bytes.
		b.Record(recSST, uint32(4), uint32(4), uint16(4), uint8(0), "Name", uint16(6), uint8(1), wide("Größe€"),
			uint16(4), uint8(8), uint16(1), "rich", uint32(7), uint16(9), uint8(1), wide("wide "))
		b.Record(recContinue, uint8(0), "text")
	}, func(b *Biff) {
		for i := range 3 {
			b.Record(recLabelSST, uint16(1), uint16(1+i), uint16(0), uint32(i))
		}
		b.Record(recNumber, uint16(2), uint16(1), uint16(1), 45351.0)
		b.Record(recRK, uint16(2), uint16(2), uint16(2), uint32(2560<<2|3))
		b.Record(recLabelSST, uint16(2), uint16(3), uint16(0), uint32(3))
		b.Record(recMulRK, uint16(3), uint16(1), uint16(0), uint32(7<<2|2), uint16(0), uint32(8<<2|2), uint16(2))
		b.Record(recFormula, uint16(4), uint16(1), uint16(0), []byte{0, 0, 0, 0, 0, 0, 0xFF, 0xFF}, make([]byte, 6))
		b.Record(recString, uint16(8), uint8(0), "computed")
		b.Record(recFormula, uint16(4), uint16(2), uint16(0), 2.5, make([]byte, 6))
		b.Record(recBoolErr, uint16(4), uint16(3), uint16(0), uint8(7), uint8(1))
		b.Record(recBOF, uint16(0x600), uint16(0x20), make([]byte, 12)) // a chart on the sheet
		b.Record(recNumber, uint16(0), uint16(0), uint16(0), 99.0)
		b.Record(recEOF)
		b.Record(recObj, uint16(0x15), uint16(0x12), uint16(0x19), uint16(5), make([]byte, 14))
		b.Record(recTXO, make([]byte, 10), uint16(6), make([]byte, 6))
		b.Record(recContinue, uint8(0), "a note")
		b.Record(recContinue, make([]byte, 16))
		b.Record(recNote, uint16(2), uint16(1), uint16(0), uint16(5), uint16(3), uint8(0), "Gus")
		b.Record(recHLink, uint16(1), uint16(1), uint16(1), uint16(1), make([]byte, 16), uint32(2), uint32(3),
			[]byte{0xE0, 0xC9, 0xEA, 0x79, 0xF9, 0xBA, 0xCE, 0x11, 0x8C, 0x82, 0x00, 0xAA, 0x00, 0x4B, 0xA9, 0x0B}, uint32(42), wide("https://example.org/\x00"))
	})
}

func MsgSample(more ...Part) []byte {
	property := func(id, kind int, s string) Part {
		return Part{fmt.Sprintf("__substg1.0_%04X%04X", id, kind), s}
	}
	within := func(dir string, p Part) Part { return Part{dir + "/" + p.Name, p.Data} }
	var fixed Biff
	fixed.Record(0, make([]byte, 28), uint32(propSubmitTime<<16|0x40), uint32(6), uint64(133800000000000000))
	return CompoundFile(append([]Part{
		{"__properties_version1.0", fixed.String()},
		property(propSubject, 0x1F, wide("Grüße & more")),
		property(propSenderName, 0x1F, wide("Hal")),
		property(propSenderEmail, 0x1F, wide("/O=EXCHANGE/CN=HAL")),
		property(propSenderSMTP, 0x1F, wide("hal@example.org")),
		property(propHTML, 0x102, `<html><body><p>The <b>body</b> of it, <a href="https://example.org/">linked</a>.</p></body></html>`),
		property(propBody, 0x1F, wide("NOT THE PLAIN ONE")),
		within("__recip_version1.0_#00000000", Part{"__properties_version1.0", string(make([]byte, 8))}),
		within("__recip_version1.0_#00000000", property(propSMTP, 0x1F, wide("ivy@example.org"))),
		within("__recip_version1.0_#00000000", property(propDisplayName, 0x1F, wide("Ivy"))),
		within("__attach_version1.0_#00000000", Part{"__properties_version1.0", string(make([]byte, 8))}),
		within("__attach_version1.0_#00000000", property(propAttachLong, 0x1F, wide("plan_v2.txt"))),
		within("__attach_version1.0_#00000000", property(propAttachData, 0x102, "what we do")),
	}, more...))
}
