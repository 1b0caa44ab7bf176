package formats_test

import (
	"strings"
	"testing"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/formats"
	"sluice/services/parser/internal/odf"
	"sluice/services/parser/internal/samples"
	"sluice/services/parser/internal/sniff"
)

const odfNames = ` xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" xmlns:text="t" xmlns:table="ta" xmlns:style="s" xmlns:fo="f" xmlns:draw="d" xmlns:svg="v" xmlns:xlink="x" xmlns:form="fo" xmlns:field="fi" xmlns:presentation="p"`

const odfTestStyles = `<style:style style:name="Up" style:family="text"><style:text-properties style:text-position="super 58%"/></style:style>` +
	`<style:style style:name="Higher" style:family="text"><style:text-properties style:text-position="33% 58%"/></style:style>` +
	`<style:style style:name="Down" style:family="text"><style:text-properties style:text-position="sub 58%"/></style:style>` +
	`<style:style style:name="First" style:family="paragraph" style:master-page-name="Letter"/><style:style style:name="Annex" style:family="table" style:master-page-name="Annex"/><style:style style:name="Bare" style:family="drawing-page"><style:drawing-page-properties presentation:display-footer="false" presentation:background-objects-visible="false"/></style:style>` +
	`<text:list-style style:name="N"><text:list-level-style-number text:level="1" style:num-format="1" style:num-suffix="."/>` +
	`<text:list-level-style-number text:level="2" style:num-format="1" style:num-suffix="." text:display-levels="2"/></text:list-style>` +
	`<text:list-style style:name="A"><text:list-level-style-number text:level="1" style:num-format="a" style:num-suffix=")"/></text:list-style>` +
	`<text:list-style style:name="C"><text:list-level-style-number text:level="1" style:num-format="一, 二, 三, ..." style:num-suffix="、"/></text:list-style>`

// odfFiles returns a text as a package of files and as one flat file.
func odfFiles(t *testing.T, kind, body, more string) map[string][]byte {
	t.Helper()
	inner := `<office:body><office:` + kind + `>` + body + `</office:` + kind + `></office:body>`
	return map[string][]byte{
		"packed": samples.Pack(t, samples.Part{Name: "mimetype", Data: "application/vnd.oasis.opendocument." + kind},
			samples.Part{Name: "styles.xml", Data: `<office:document-styles` + odfNames + `><office:styles/>` + more + `</office:document-styles>`},
			samples.Part{Name: "content.xml", Data: `<office:document-content` + odfNames + `><office:automatic-styles>` + odfTestStyles + `</office:automatic-styles>` + inner + `</office:document-content>`}),
		"flat": []byte(`<?xml version="1.0"?><office:document` + odfNames + ` office:mimetype="application/vnd.oasis.opendocument.` + kind + `"><office:automatic-styles>` + odfTestStyles + `</office:automatic-styles>` + more + inner + `</office:document>`),
	}
}

// odfText reads both forms, which must give the same.
func odfText(t *testing.T, kind, body, more string) (string, []string) {
	t.Helper()
	files := odfFiles(t, kind, body, more)
	packed := read(t, odf.ODT, "a.odt", files["packed"])
	flat := read(t, odf.Flat, "a.fodt", files["flat"])
	if packed.Markdown != flat.Markdown {
		t.Errorf("packed:\n%s\nflat:\n%s", packed.Markdown, flat.Markdown)
	}
	if f, _ := sniff.Detect("any.xml", "", files["flat"]); f != formats.FlatODF {
		t.Errorf("the flat file is taken for %s", f.Name)
	}
	return strings.TrimSpace(packed.Markdown), packed.Warnings
}

func TestODFTexts(t *testing.T) {
	item := func(s string) string { return `<text:list-item><text:p>` + s + `</text:p></text:list-item>` }
	for name, c := range map[string]struct{ body, want string }{
		"raised and lowered": {
			`<text:p>10<text:span text:style-name="Up">6</text:span> on 25 m<text:span text:style-name="Higher">2</text:span>, 101<text:span text:style-name="Down">2</text:span>, H<text:span text:style-name="Down">2</text:span>O, word<text:span text:style-name="Up">1</text:span></text:p>`,
			"10^6 on 25 m^2, 101_2, H2O, word1",
		},
		"a list that goes on": {
			`<text:list text:style-name="N">` + item("a") + item("b") + `</text:list><text:p>x</text:p><text:list text:style-name="N" text:continue-numbering="true">` + item("c") + `</text:list><text:list text:style-name="N">` + item("d") + `</text:list>`,
			"1. a\n2. b\n\nx\n\n3. c\n1. d",
		},
		"by name, with one between": {
			`<text:list text:style-name="N" xml:id="l">` + item("a") + `</text:list><text:list text:style-name="A">` + item("z") + `</text:list><text:p>x</text:p><text:list text:style-name="N" text:continue-list="l">` + item("b") + `</text:list>`,
			"1. a\n- a) z\n\nx\n\n2. b",
		},
		"levels below go on with their parent": {
			`<text:list text:style-name="N"><text:list-item><text:p>a</text:p><text:list>` + item("b") + `</text:list></text:list-item></text:list><text:p>x</text:p>` +
				`<text:list text:style-name="N" text:continue-numbering="true"><text:list-item><text:list>` + item("c") + `</text:list></text:list-item><text:list-item><text:p>d</text:p><text:list>` + item("e") + `</text:list></text:list-item></text:list>`,
			"1. a\n   - 1.1. b\n\nx\n\n- 1.2. c\n2. d\n   - 2.1. e",
		},
		"start": {
			`<text:list text:style-name="N"><text:list-item text:start-value="7"><text:p>a</text:p></text:list-item>` + item("b") + `</text:list>`,
			"7. a\n8. b",
		},
		"Chinese numbers": {`<text:list text:style-name="C">` + item("a") + item("b") + `</text:list>`, "- 一、 a\n- 二、 b"},
		"numbers of headings in lists": {
			`<text:list text:style-name="N"><text:list-item><text:h text:outline-level="1">Top</text:h></text:list-item><text:list-item><text:list><text:list-item><text:h text:outline-level="2">Sub</text:h></text:list-item><text:list-item><text:h text:outline-level="2">Next</text:h></text:list-item></text:list></text:list-item></text:list>`,
			"# 1. Top\n\n## 1.1. Sub\n\n## 1.2. Next",
		},
		"what follows in an item is no item": {
			`<text:list text:style-name="N"><text:list-item><text:p>a</text:p><text:list>` + item("b") + `</text:list><text:p>still a</text:p></text:list-item>` + item("c") + `</text:list>`,
			"1. a\n   - 1.1. b\n\nstill a\n\n2. c",
		},
		"merged cells": {
			`<table:table><table:table-row><table:table-cell table:number-rows-spanned="2"><text:p>R</text:p></table:table-cell><table:table-cell table:number-columns-spanned="2"><text:p>S</text:p></table:table-cell><table:covered-table-cell/></table:table-row>` +
				`<table:table-row><table:covered-table-cell/><table:table-cell><text:p>1</text:p></table:table-cell><table:table-cell><text:p>2</text:p></table:table-cell></table:table-row></table:table>`,
			"| R | S | S |\n| --- | --- | --- |\n| R | 1 | 2 |",
		},
		"fields of forms": {
			`<office:forms><form:form><form:text form:id="c1" xml:id="c1" form:current-value="Ada"/><form:listbox form:id="c2"><form:option form:label="Bern"/><form:option form:label="Basel" form:current-selected="true"/></form:listbox><form:checkbox form:id="c3" form:label="paid" form:current-state="checked"/><form:textarea form:id="c4"><text:p>long</text:p></form:textarea><form:password form:id="c5" form:value="no"/></form:form></office:forms>` +
				`<text:p>Name: <draw:control draw:control="c1"/>, <draw:control draw:control="c2"/>, <draw:control draw:control="c3"/>, <draw:control draw:control="c4"/><draw:control draw:control="c5"/></text:p>`,
			"Name: Ada, Basel, ☒ paid, long",
		},
		"fields of other programs": {
			`<text:p>A <field:fieldmark field:type="vnd.oasis.opendocument.field.FORMCHECKBOX"><field:param field:name="Checkbox_Checked" field:value="true"/></field:fieldmark> B <field:fieldmark field:type="vnd.oasis.opendocument.field.FORMDROPDOWN"><field:param field:name="Dropdown_ListEntry" field:value="red"/><field:param field:name="Dropdown_ListEntry" field:value="blue"/><field:param field:name="Dropdown_Selected" field:value="1"/></field:fieldmark></text:p>`,
			"A ☒ B blue",
		},
		"what nobody sees": {
			`<text:p>a</text:p><text:section text:display="none"><text:p>b</text:p></text:section><text:section><text:p>c</text:p></text:section><text:p><text:hidden-text text:is-hidden="true" text:string-value="d"/><text:hidden-text text:is-hidden="false" text:string-value="e"/></text:p>`,
			"a\n\nc\n\ne",
		},
		"ruby": {`<text:p><text:ruby><text:ruby-base>東</text:ruby-base><text:ruby-text>とう</text:ruby-text></text:ruby>京</text:p>`, "東(とう)京"},
		"pictures within": {
			`<text:p>a <draw:frame><draw:image><office:binary-data>` + strings.Repeat("iVBORw0KGgo", 40) + `</office:binary-data></draw:image><svg:desc>A bird</svg:desc></draw:frame></text:p>`,
			"a\n\nA bird",
		},
	} {
		if got, warnings := odfText(t, "text", c.body, ""); got != c.want || len(warnings) > 0 {
			t.Errorf("%s: %q\n%s\nwant\n%s", name, warnings, got, c.want)
		}
	}
}

// What pages say above and below the text stands once; what counts them does not.
func TestODFPageFrames(t *testing.T) {
	masters := `<office:master-styles><style:master-page style:name="Standard"><style:header><text:p>The text</text:p></style:header><style:footer><text:p>Page <text:page-number>3</text:page-number></text:p></style:footer></style:master-page>` +
		`<style:master-page style:name="Letter" style:next-style-name="Standard"><style:header><text:p>ACME, Quay 12</text:p></style:header><style:footer><text:p>IBAN CH93</text:p></style:footer></style:master-page>` +
		`<style:master-page style:name="Envelope"><style:header><text:p>UNUSED</text:p></style:header></style:master-page></office:master-styles>`
	got, _ := odfText(t, "text", `<text:h text:outline-level="1">The text</text:h><text:p text:style-name="First">Dear reader.</text:p>`, masters)
	if want := "ACME, Quay 12\n\n# The text\n\nDear reader.\n\nIBAN CH93"; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestODFSheets(t *testing.T) {
	cell := func(attrs, text string) string {
		return `<table:table-cell` + attrs + `><text:p>` + text + `</text:p></table:table-cell>`
	}
	got, warnings := odfText(t, "spreadsheet", `<table:table table:name="S">`+
		`<table:table-row>`+cell(` table:number-rows-spanned="2"`, "R")+cell(` table:number-columns-spanned="2"`, "S")+`<table:covered-table-cell><text:p>behind</text:p></table:covered-table-cell></table:table-row>`+
		`<table:table-row><table:covered-table-cell/>`+cell("", "a<text:s/>b<text:tab/>c")+cell("", `10<text:span text:style-name="Up">6</text:span>`)+`</table:table-row>`+
		`<table:table-row>`+cell("", "x")+`<table:table-cell office:value-type="date" office:date-value="2026-03-15"/><table:table-cell table:formula="of:=SUM([.A1])"/></table:table-row></table:table>`, "")
	if want := "## S\n\n| R | S | S |\n| --- | --- | --- |\n| R | a b c | 10^6 |\n| x | 2026-03-15 | =SUM([.A1]) |"; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "formulas") {
		t.Errorf("warned %q", warnings)
	}
}

// A file that only has the name is no flat document.
func TestFlatODFDamaged(t *testing.T) {
	for _, data := range []string{"", "text", "<a/>", `<office:document>`, `<office:document><office:body><office:text>`} {
		_, err := odf.Flat(t.Context(), format.Input{Name: "a.fodt", Data: []byte(data)})
		wantReason(t, err, "corrupt")
	}
}

func FuzzFlatODF(f *testing.F) {
	f.Add([]byte(`<office:document><office:body><office:text><text:list><text:list-item><text:h>x</text:h></text:list-item></text:list><text:numbered-paragraph text:level="9"><text:p>y</text:p></text:numbered-paragraph></office:text></office:body></office:document>`))
	f.Add([]byte(`<office:document><office:master-styles><style:master-page><style:header><text:p>h</text:p></style:header></style:master-page></office:master-styles></office:document>`))
	f.Fuzz(func(t *testing.T, data []byte) { check(t, odf.Flat, data) })
}
