package formats_test

import (
	"fmt"
	"strings"
	"testing"

	"sluice/services/parser/internal/ooxml"
	"sluice/services/parser/internal/samples"
)

// slideChart is a presentation with a chart, inside what newer charts stand in.
func slideChart(t *testing.T, kind, xml string) string {
	t.Helper()
	frame := `<mc:AlternateContent><mc:Choice Requires="cx1"><p:graphicFrame><a:graphic><a:graphicData><c:chart r:id="c"/></a:graphicData></a:graphic></p:graphicFrame></mc:Choice>` +
		`<mc:Fallback><p:pic><p:nvPicPr><p:cNvPr id="9" name="NEVER"/></p:nvPicPr></p:pic></mc:Fallback></mc:AlternateContent>`
	out := read(t, ooxml.PPTX, "a.pptx", samples.Slide(t, frame, samples.Rels("ppt/slides/slide1.xml", "c "+kind+" ../charts/c1.xml"), samples.Part{Name: "ppt/charts/c1.xml", Data: xml}))
	if strings.Contains(out.Markdown, "NEVER") {
		t.Error("a picture stands for the chart")
	}
	return out.Markdown
}

func chartPoints(tag string, values ...string) string {
	var b strings.Builder
	b.WriteString(`<` + tag + `><numRef><numCache><formatCode>General</formatCode>`)
	for i, v := range values {
		fmt.Fprintf(&b, `<pt idx="%d"><v>%s</v></pt>`, i, v)
	}
	return b.String() + `</numCache></numRef></` + tag + `>`
}

func TestChartData(t *testing.T) {
	name := func(s string) string {
		return `<tx><strRef><strCache><pt idx="0"><v>` + s + `</v></pt></strCache></strRef></tx>`
	}
	title := func(lines ...string) string {
		s := `<title><tx><rich>`
		for _, l := range lines {
			s += `<p><r><t>` + l + `</t></r></p>`
		}
		return s + `</rich></tx></title>`
	}
	got := slideChart(t, "chart", `<chartSpace><chart>`+title("Weights", "of mice")+`<plotArea><scatterChart><ser>`+name("A")+chartPoints("xVal", "1.5", "3.25")+chartPoints("yVal", "10", "20")+`</ser>`+
		`<ser>`+name("B")+chartPoints("xVal", "5.75", "6.75")+chartPoints("yVal", "11", "22")+`</ser></scatterChart><valAx>`+title("Days")+`</valAx><valAx>`+title("Grams")+`</valAx></plotArea></chart></chartSpace>`)
	wantText(t, got, "Chart: Weights of mice", "Days; Grams")
	wantRow(t, got, "Series", "X", "Y")
	wantRow(t, got, "A", "3.25", "20")
	wantRow(t, got, "B", "5.75", "11")

	got = slideChart(t, "chart", `<chartSpace><chart><plotArea><scatterChart><ser>`+name("A")+chartPoints("xVal", "1", "2")+chartPoints("yVal", "10", "20")+`</ser>`+
		`<ser>`+name("B")+chartPoints("xVal", "1", "2")+chartPoints("yVal", "11", "22")+`</ser></scatterChart></plotArea></chart></chartSpace>`)
	wantRow(t, got, "X", "A", "B")
	wantRow(t, got, "2", "20", "22")

	got = slideChart(t, "chart", `<chartSpace><chart><plotArea><bubbleChart><ser>`+name("Asia")+chartPoints("xVal", "1")+chartPoints("yVal", "2")+chartPoints("bubbleSize", "77.5")+
		`<extLst><ext><datalabelsRange><dlblRangeCache><pt idx="0"><v>Tokyo</v></pt></dlblRangeCache></datalabelsRange></ext></extLst></ser></bubbleChart></plotArea></chart></chartSpace>`)
	wantRow(t, got, "Asia", "1", "2", "77.5", "Tokyo")

	// Categories of several levels: the outer one is said once, and holds for all below it.
	level := func(values string) string { return `<lvl>` + values + `</lvl>` }
	got = slideChart(t, "chart", `<chartSpace><chart><plotArea><barChart><ser>`+name("Sales")+`<cat><multiLvlStrRef><multiLvlStrCache>`+
		level(`<pt idx="0"><v>Q1</v></pt><pt idx="1"><v>Q2</v></pt><pt idx="2"><v>Q1</v></pt>`)+level(`<pt idx="0"><v>2024</v></pt><pt idx="2"><v>2025</v></pt>`)+
		`</multiLvlStrCache></multiLvlStrRef></cat>`+chartPoints("val", "1", "2", "3")+`</ser></barChart></plotArea></chart></chartSpace>`)
	wantRow(t, got, "2024 Q2", "2")
	wantRow(t, got, "2025 Q1", "3")

	data := func(kind, tag string, values ...string) string {
		var b strings.Builder
		fmt.Fprintf(&b, `<%s type="%s"><lvl formatCode="General">`, tag, kind)
		for i, v := range values {
			fmt.Fprintf(&b, `<pt idx="%d">%s</pt>`, i, v)
		}
		return b.String() + `</lvl></` + tag + `>`
	}
	for _, kind := range []string{"val", "size"} { // waterfall and funnel, treemap
		got = slideChart(t, "chartEx", `<chartSpace><chartData><data id="0">`+data("cat", "strDim", "Start", "Costs")+data(kind, "numDim", "100", "-25.5")+`</data></chartData><chart>`+
			`<title><tx><txData><v>Bridge</v></txData></tx></title><plotArea><plotAreaRegion><series layoutId="waterfall"><tx><txData><v>Euro</v></txData></tx><dataId val="0"/></series></plotAreaRegion>`+
			`<axis id="1"><title><tx><txData><v>Thousands</v></txData></tx></title></axis></plotArea></chart></chartSpace>`)
		wantText(t, got, "Chart: Bridge", "Thousands")
		wantRow(t, got, "Category", "Euro")
		wantRow(t, got, "Costs", "-25.5")
	}

	frame := `<p:graphicFrame><a:graphic><a:graphicData><c:chart r:id="c"/></a:graphicData></a:graphic></p:graphicFrame>` + `<p:sp><p:txBody><a:p><a:r><a:t>Words.</a:t></a:r></a:p></p:txBody></p:sp>`
	out := read(t, ooxml.PPTX, "a.pptx", samples.Slide(t, frame, samples.Rels("ppt/slides/slide1.xml", "c chart ../charts/c1.xml"),
		samples.Part{Name: "ppt/charts/c1.xml", Data: `<chartSpace><chart><plotArea><barChart><ser><val><numRef><f>S!A1</f></numRef></val></ser></barChart></plotArea></chart></chartSpace>`}))
	wantWarning(t, out, "no values")
}

// What somebody typed into a chart or drew over it is in no cell.
func TestChartTexts(t *testing.T) {
	name := `<tx><v>A</v></tx>`
	label := func(at int, text string) string {
		return fmt.Sprintf(`<dLbl><idx val="%d"/><tx><rich><p><r><t>%s</t></r><fld type="VALUE"><t>[VALUE]</t></fld></p></rich></tx></dLbl>`, at, text)
	}
	got := slideChart(t, "chart", `<chartSpace><chart><plotArea><lineChart><ser>`+name+`<dLbls>`+label(1, "the strike ")+label(0, " ")+`<txPr/></dLbls><trendline><name>Five years</name></trendline>`+
		chartPoints("cat", "2024", "2025")+chartPoints("val", "7", "3")+`</ser></lineChart><valAx><dispUnits><builtInUnit val="thousands"/><dispUnitsLbl><tx><rich><p><r><t>in 1000 t</t></r></p></rich></tx></dispUnitsLbl></dispUnits></valAx></plotArea></chart></chartSpace>`)
	wantText(t, got, "Axes: in 1000 t", "Lines: Five years")
	wantRow(t, got, "A", "2024", "7", "")
	wantRow(t, got, "A", "2025", "3", "the strike")

	frame := `<p:graphicFrame><a:graphic><a:graphicData><c:chart r:id="c"/></a:graphicData></a:graphic></p:graphicFrame>`
	out := read(t, ooxml.PPTX, "a.pptx", samples.Slide(t, frame, samples.Rels("ppt/slides/slide1.xml", "c chart ../charts/c1.xml"), samples.Rels("ppt/charts/c1.xml", "u chartUserShapes ../drawings/d1.xml"),
		samples.Part{Name: "ppt/charts/c1.xml", Data: `<chartSpace xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><chart><plotArea><barChart><ser>` + name + chartPoints("val", "7") + `</ser></barChart></plotArea></chart><userShapes r:id="u"/></chartSpace>`},
		samples.Part{Name: "ppt/drawings/d1.xml", Data: `<userShapes><relSizeAnchor><sp><txBody><p><r><t>Here the works burned down.</t></r></p></txBody></sp></relSizeAnchor></userShapes>`}))
	wantText(t, out.Markdown, "| 7 |", "Here the works burned down.")
	wantWarning(t, out, "")

	list := func(kind, tag string, values ...string) string {
		s := `<` + tag + ` type="` + kind + `"><lvl>`
		for i, v := range values {
			s += fmt.Sprintf(`<pt idx="%d">%s</pt>`, i, v)
		}
		return s + `</lvl></` + tag + `>`
	}
	newer := func(data, series string) string {
		return slideChart(t, "chartEx", `<chartSpace><chartData><data id="0">`+data+`</data></chartData><chart><title><tx><txData><v>Sales</v></txData></tx><txPr><p><r><t>Sales</t></r></p></txPr></title><plotArea><plotAreaRegion>`+series+`</plotAreaRegion></plotArea></chart></chartSpace>`)
	}
	const one = `<series layoutId="x"><tx><txData><v>A</v></txData></tx><dataId val="0"/></series>`
	got = newer(list("cat", "strDim", "France", "Peru")+list("entityId", "strDim", "e1", "e2")+list("colorVal", "numDim", "5", "6"), one) // a map
	wantRow(t, got, "Category", "A")
	wantRow(t, got, "Peru", "6")
	if strings.Count(got, "Sales") != 1 {
		t.Errorf("the title stands twice:\n%s", got)
	}
	got = newer(list("cat", "strDim", "x", "y")+list("val", "numDim", "5", "6"), one+`<series layoutId="paretoLine" ownerIdx="0"/>`)
	wantRow(t, got, "Category", "A")
	got = newer(list("val", "numDim", "5", "6"), one) // a histogram
	wantRow(t, got, "", "6")
}

// The texts of SmartArt come in the order and depth of its shapes, and their
// paragraphs apart.
func TestSmartArt(t *testing.T) {
	point := func(id, kind string, lines ...string) string {
		s := `<dgm:pt modelId="` + id + `" type="` + kind + `"><dgm:t>`
		for _, l := range lines {
			s += `<a:p><a:r><a:t>` + l + `</a:t></a:r></a:p>`
		}
		return s + `</dgm:t></dgm:pt>`
	}
	model := func(content string) string {
		frame := `<p:graphicFrame><a:graphic><a:graphicData><dgm:relIds r:dm="dm"/></a:graphicData></a:graphic></p:graphicFrame>`
		out := read(t, ooxml.PPTX, "a.pptx", samples.Slide(t, frame, samples.Rels("ppt/slides/slide1.xml", "dm diagramData ../diagrams/data1.xml", "dr diagramDrawing ../diagrams/drawing1.xml"),
			samples.Part{Name: "ppt/diagrams/data1.xml", Data: `<dgm:dataModel>` + content + `<dgm:extLst><a:ext><dsp:dataModelExt relId="dr"/></a:ext></dgm:extLst></dgm:dataModel>`},
			samples.Part{Name: "ppt/diagrams/drawing1.xml", Data: `<dsp:drawing><dsp:spTree><dsp:sp><dsp:txBody><a:p><a:r><a:t>From the</a:t></a:r></a:p><a:p><a:r><a:t>drawing</a:t></a:r></a:p></dsp:txBody></dsp:sp></dsp:spTree></dsp:drawing>`}))
		return out.Markdown
	}
	cxn := func(from, to string, order int) string {
		return fmt.Sprintf(`<dgm:cxn srcId="%s" destId="%s" srcOrd="%d"/>`, from, to, order)
	}
	got := model(`<dgm:ptLst>` + point("0", "doc") + point("2", "node", "Second") + point("1", "node", "First", "of two lines") + point("3", "node", "Child") + point("9", "pres", "NEVER") + point("8", "sibTrans", "on the arrow") +
		`</dgm:ptLst><dgm:cxnLst>` + cxn("0", "2", 1) + cxn("0", "1", 0) + cxn("1", "3", 0) + `</dgm:cxnLst>`)
	wantText(t, got, "- First  \n  of two lines\n  - Child\n- Second\n- on the arrow")
	if strings.Contains(got, "NEVER") {
		t.Error("a point of the presentation is shown")
	}
	// Of several, one whose data are cut has the texts of its own drawing.
	two := `<p:graphicFrame><a:graphic><a:graphicData><dgm:relIds r:dm="d1"/></a:graphicData></a:graphic></p:graphicFrame><p:graphicFrame><a:graphic><a:graphicData><dgm:relIds r:dm="d2"/></a:graphicData></a:graphic></p:graphicFrame>`
	drawing := func(n, text string) samples.Part {
		return samples.Part{Name: "ppt/diagrams/drawing" + n + ".xml", Data: `<drawing><sp><txBody><p><r><t>` + text + `</t></r></p></txBody></sp></drawing>`}
	}
	out := read(t, ooxml.PPTX, "a.pptx", samples.Slide(t, two, samples.Rels("ppt/slides/slide1.xml", "d1 diagramData ../diagrams/data1.xml", "d2 diagramData ../diagrams/data2.xml", "x diagramDrawing ../diagrams/drawing1.xml", "y diagramDrawing ../diagrams/drawing2.xml"),
		samples.Part{Name: "ppt/diagrams/data1.xml", Data: `<dgm:dataModel><dgm:ptLst>` + point("1", "node", "Whole") + `</dgm:ptLst></dgm:dataModel>`}, drawing("1", "Whole"),
		samples.Part{Name: "ppt/diagrams/data2.xml", Data: `<dgm:dataModel><dgm:ptLst>` + point("1", "node", "Cut") + `<dgm:pt`}, drawing("2", "Cut off")))
	wantText(t, out.Markdown, "- Whole", "- Cut off")
	if strings.Count(out.Markdown, "Whole") != 1 || strings.Count(out.Markdown, "Cut") != 1 {
		t.Errorf("%s", out.Markdown)
	}
	wantWarning(t, out, "the data of a diagram")
	// Circles end, and lose nothing.
	got = model(`<dgm:ptLst>` + point("1", "node", "One") + point("2", "node", "Two") + `</dgm:ptLst><dgm:cxnLst>` + cxn("1", "2", 0) + cxn("2", "1", 0) + `</dgm:cxnLst>`)
	wantText(t, got, "One", "Two")
	wantText(t, model(`<dgm:ptLst>`+point("0", "doc")+`</dgm:ptLst>`), "From the  \n  drawing")
}

// A placeholder stands where its layout puts it, whatever it holds.
func TestPlacesOfLayouts(t *testing.T) {
	place := func(ph, spot, content string) string {
		return `<p:sp><p:nvSpPr><p:nvPr><p:ph ` + ph + `/></p:nvPr></p:nvSpPr><p:spPr>` + spot + `</p:spPr>` + content + `</p:sp>`
	}
	words := func(s string) string { return `<p:txBody><a:p><a:r><a:t>` + s + `</a:t></a:r></a:p></p:txBody>` }
	spot := func(y int) string { return fmt.Sprintf(`<a:xfrm><a:off x="0" y="%d"/></a:xfrm>`, y) }
	slide := place(`type="body" idx="1"`, "", words("low")) + place(`type="body" idx="13"`, "", words("high")) + place(`type="body" idx="14"`, "", words("middle")) +
		`<p:graphicFrame><p:nvGraphicFramePr><p:nvPr><p:ph type="tbl" idx="15"/></p:nvPr></p:nvGraphicFramePr><a:graphic><a:graphicData><a:tbl><a:tr><a:tc><a:txBody><a:p><a:r><a:t>table</a:t></a:r></a:p></a:txBody></a:tc></a:tr></a:tbl></a:graphicData></a:graphic></p:graphicFrame>` +
		`<p:pic><p:nvPicPr><p:cNvPr id="3" name="p" descr="picture"/><p:nvPr><p:ph type="pic" idx="16"/></p:nvPr></p:nvPicPr></p:pic>`
	layout := `<p:sldLayout><p:cSld><p:spTree>` + place(`type="body" idx="1"`, spot(9000000), "") + place(`type="body" idx="13"`, spot(1000000), "") + place(`type="body" idx="14"`, "", "") +
		place(`type="tbl" idx="15"`, spot(3000000), "") + place(`type="pic" idx="16"`, spot(500000), "") + `</p:spTree></p:cSld></p:sldLayout>`
	master := `<p:sldMaster><p:cSld><p:spTree>` + place(`type="body" idx="1"`, spot(2000000), "") + `</p:spTree></p:cSld></p:sldMaster>`
	out := read(t, ooxml.PPTX, "a.pptx", samples.Slide(t, slide, samples.Rels("ppt/slides/slide1.xml", "l slideLayout ../slideLayouts/l1.xml"), samples.Part{Name: "ppt/slideLayouts/l1.xml", Data: layout},
		samples.Rels("ppt/slideLayouts/l1.xml", "m slideMaster ../slideMasters/m1.xml"), samples.Part{Name: "ppt/slideMasters/m1.xml", Data: master}))
	wantText(t, out.Markdown, "picture", "high", "middle", "table", "low")
}

// Lists of slides have the numbers of their scheme.
func TestSlideNumbering(t *testing.T) {
	item := func(scheme, text string) string {
		return `<a:p><a:pPr><a:buAutoNum type="` + scheme + `" startAt="11"/></a:pPr><a:r><a:t>` + text + `</a:t></a:r></a:p>`
	}
	for scheme, want := range map[string]string{
		"arabicPeriod": "11. x", "alphaLcParenBoth": "(k) x", "romanUcParenR": "XI) x", "ea1ChsPeriod": "十一. x", "ea1JpnKorPlain": "十一 x",
		"circleNumDbPlain": "⑪ x", "thaiNumParenR": "๑๑) x", "hebrew2Minus": "כ- x", "arabicPlain": "11. x",
	} {
		out := read(t, ooxml.PPTX, "a.pptx", samples.Slide(t, `<p:sp><p:txBody>`+item(scheme, "x")+`</p:txBody></p:sp>`))
		wantText(t, out.Markdown, want)
	}
}

// Beside the cells a chart has what they have not: typed labels, and data that were
// typed or are of another workbook.
func TestChartsOfSheets(t *testing.T) {
	book := func(ser string) string {
		return read(t, ooxml.XLSX, "a.xlsx", samples.Pack(t, samples.Rels("", "r1 officeDocument xl/workbook.xml"),
			samples.Part{Name: "xl/workbook.xml", Data: `<workbook xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets><sheet name="S" r:id="s"/></sheets></workbook>`},
			samples.Rels("xl/workbook.xml", "s worksheet s.xml"), samples.Rels("xl/s.xml", "d drawing d.xml"), samples.Rels("xl/d.xml", "c chart c.xml"),
			samples.Part{Name: "xl/s.xml", Data: `<worksheet><sheetData><row r="1">` + inlineCell("A1", "cell") + `</row></sheetData></worksheet>`},
			samples.Part{Name: "xl/d.xml", Data: `<wsDr xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><graphicFrame><graphic><chart r:id="c"/></graphic></graphicFrame></wsDr>`},
			samples.Part{Name: "xl/c.xml", Data: `<chartSpace><chart><plotArea><barChart><ser>` + ser + `</ser></barChart></plotArea></chart></chartSpace>`})).Markdown
	}
	values := func(f string) string {
		return `<val><numRef><f>` + f + `</f><numCache><pt idx="0"><v>4711</v></pt></numCache></numRef></val>`
	}
	if got, want := book(values("S!$A$1")), "## S\n\ncell\n"; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	got := book(`<dLbls><dLbl><idx val="0"/><tx><rich><p><r><t>the strike</t></r></p></rich></tx></dLbl></dLbls>` + values("S!$A$1"))
	wantText(t, got, "cell", "Labels: the strike")
	if strings.Contains(got, "4711") {
		t.Errorf("the data of cells are repeated:\n%s", got)
	}
	wantText(t, book(values("[1]S!$A$1")), "4711")
	wantText(t, book(values("'[old book.xlsx]S'!$A$1")), "4711")
	wantText(t, book(`<val><numLit><pt idx="0"><v>4711</v></pt></numLit></val>`), "4711")
}
