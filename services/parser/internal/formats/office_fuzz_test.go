package formats_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"sluice/pkg/fault"
	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/mail"
	"sluice/services/parser/internal/odf"
	"sluice/services/parser/internal/office"
	"sluice/services/parser/internal/ooxml"
	"sluice/services/parser/internal/rtf"
	"sluice/services/parser/internal/samples"
	"sluice/services/parser/internal/xls"
)

// check reads hostile bytes: no panic, no hang, and no error without a class.
func check(t *testing.T, r format.Reader, data []byte) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	small := format.Limits{Output: 1 << 18, Expanded: 4 << 20, Pages: 50, Files: 100}
	out, err := r(ctx, format.Input{Name: "fuzz", Data: data, Limits: small})
	if err != nil {
		var f *fault.Error
		if !errors.As(err, &f) || f.Class != fault.Validation || f.Reason == "timeout" {
			t.Fatalf("%v", err)
		}
		return
	}
	if len(out.Markdown) > 1<<18 {
		t.Fatalf("%d bytes of Markdown", len(out.Markdown))
	}
}

func FuzzRTF(f *testing.F) {
	f.Add([]byte(samples.RtfSample))
	f.Add([]byte(`{\rtf1\trowd\cell\row{\footnote\cell}\u55357?\u-8704?}`))
	f.Fuzz(func(t *testing.T, data []byte) { check(t, rtf.RTF, data) })
}

func FuzzXLS(f *testing.F) {
	f.Add(samples.XlsSample())
	f.Fuzz(func(t *testing.T, data []byte) { check(t, xls.XLS, data) })
}

// FuzzBIFF spares the fuzzer the container.
func FuzzBIFF(f *testing.F) {
	j := office.NewJob(context.Background(), format.Input{Data: samples.XlsSample()})
	c, err := office.OpenCompound(j)
	if err != nil {
		f.Fatal(err)
	}
	stream, err := c.Read("Workbook")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(stream)
	f.Fuzz(func(t *testing.T, data []byte) {
		check(t, xls.XLS, samples.CompoundFile([]samples.Part{{Name: "Workbook", Data: string(data)}}))
	})
}

func FuzzMSG(f *testing.F) {
	f.Add(samples.MsgSample())
	f.Fuzz(func(t *testing.T, data []byte) { check(t, mail.MSG, data) })
}

func FuzzDOCX(f *testing.F) {
	f.Add(samples.WordBody)
	f.Add(strings.Repeat("<m:e>", 50))
	f.Fuzz(func(t *testing.T, body string) { check(t, ooxml.DOCX, samples.WordDocument(t, body)) })
}

func FuzzXLSX(f *testing.F) {
	f.Add(`<row r="1"><c r="A1" s="1"><f>B1</f><v>46096.5</v></c><c r="C3" t="inlineStr"><is><r><rPr><vertAlign val="superscript"/></rPr><t>2</t></r></is></c></row>`,
		`<mergeCells><mergeCell ref="A1:XFD1048576"/><mergeCell ref="B2:A1"/></mergeCells>`, `[>=1]ggge.m.d;# ?/?;"-"??;@`)
	f.Fuzz(func(t *testing.T, rows, after, code string) {
		check(t, ooxml.XLSX, samples.BookOf(t, rows, after, []string{code}, `<calcPr fullCalcOnLoad="1"/>`))
	})
}

func FuzzPPTX(f *testing.F) {
	f.Add(`<p:graphicFrame><a:tbl><a:tr><a:tc gridSpan="2"/><a:tc hMerge="1"/></a:tr></a:tbl><c:chart r:id="c"/><dgm:relIds r:dm="d"/></p:graphicFrame>`,
		`<ser><xVal><pt idx="65536"><v>1</v></pt></xVal><bubbleSize><lvl><pt><v>2</v></pt></lvl></bubbleSize></ser><data id="0"><numDim type="x"><lvl><pt>1</pt></lvl></numDim></data><series><dataId val="0"/></series>`,
		`<pt modelId="1"><t><p><t>x</t></p></t></pt><cxn srcId="1" destId="1"/>`)
	f.Fuzz(func(t *testing.T, shapes, chart, diagram string) {
		check(t, ooxml.PPTX, samples.Slide(t, shapes, samples.Rels("ppt/slides/slide1.xml", "c chart ../c.xml", "d diagramData ../d.xml"),
			samples.Part{Name: "ppt/c.xml", Data: `<c>` + chart + `</c>`}, samples.Part{Name: "ppt/d.xml", Data: `<d>` + diagram + `</d>`}))
	})
}

func FuzzODT(f *testing.F) {
	f.Add(`<text:list><text:list-item><text:p>x</text:p></text:list-item></text:list>`)
	f.Fuzz(func(t *testing.T, body string) { check(t, odf.ODT, samples.OdfDocument(t, "text", body)) })
}
