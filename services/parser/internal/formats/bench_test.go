package formats_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/ooxml"
	"sluice/services/parser/internal/rtf"
	"sluice/services/parser/internal/samples"
	"sluice/services/parser/internal/xls"
)

// cpuTime is the processor time of this process: what a document costs on a busy machine, too.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRead reads a document of ordinary size of each Office format: ten
// pages with the 300 kB of styles that Word writes, ten slides, a thousand rows.
//
//	go test -run '^$' -bench Read ./internal/formats
func BenchmarkRead(b *testing.B) {
	var styles, body, rows, slides strings.Builder
	styles.WriteString(`<w:styles xmlns:w="w"><w:latentStyles>`)
	for i := range 376 {
		fmt.Fprintf(&styles, `<w:lsdException w:name="Style %d" w:semiHidden="1" w:uiPriority="99" w:unhideWhenUsed="1" w:qFormat="1"/>`, i)
	}
	styles.WriteString(`</w:latentStyles>`)
	for i := range 100 {
		fmt.Fprintf(&styles, `<w:style w:type="table" w:styleId="T%d"><w:name w:val="Grid Table %d"/>`, i, i)
		for _, part := range []string{"firstRow", "lastRow", "firstCol", "lastCol", "band1Vert", "band1Horz"} {
			styles.WriteString(`<w:tblStylePr w:type="` + part + `"><w:rPr><w:b/><w:color w:val="FFFFFF" w:themeColor="background1"/></w:rPr><w:tcPr><w:tcBorders><w:top w:val="single" w:sz="4" w:space="0" w:color="4472C4"/>` +
				`<w:left w:val="single" w:sz="4" w:space="0" w:color="4472C4"/><w:bottom w:val="single" w:sz="4" w:space="0" w:color="4472C4"/></w:tcBorders></w:tcPr></w:tblStylePr>`)
		}
		styles.WriteString(`</w:style>`)
	}
	styles.WriteString(`<w:style w:type="paragraph" w:styleId="H"><w:name w:val="heading 1"/></w:style></w:styles>`)
	const sentence = "The quick brown fox jumps over the lazy dog, and the dog does not mind. "
	for i := range 100 {
		if i%10 == 0 {
			body.WriteString(samples.Para("H", fmt.Sprintf("Chapter %d", i/10)))
		}
		body.WriteString(samples.Para("", strings.Repeat(sentence, 4)))
	}
	for i := 1; i <= 1000; i++ {
		fmt.Fprintf(&rows, `<row r="%d"><c r="A%d" t="inlineStr"><is><t>Item %d</t></is></c><c r="B%d" s="1"><v>%d</v></c><c r="C%d" s="2"><v>%d.25</v></c><c r="D%d"><v>%d</v></c></row>`, i, i, i, i, 45000+i, i, i, i, i)
	}
	for range 10 {
		slides.WriteString(`<p:sp><p:txBody>` + strings.Repeat(`<a:p><a:r><a:rPr lang="en-US" dirty="0"/><a:t>`+sentence+`</a:t></a:r></a:p>`, 6) + `</p:txBody></p:sp>`)
	}
	old := samples.OldWorkbook(nil, func(w *samples.Biff) {
		for i := range 1000 {
			for c := range 4 {
				w.Record(0x0203, uint16(i), uint16(c), uint16(0), float64(i)*1.25)
			}
		}
	})
	for _, c := range []struct {
		name string
		read format.Reader
		data []byte
	}{
		{"docx", ooxml.DOCX, samples.WordDocument(b, body.String(), samples.Rels("word/document.xml", "s styles styles.xml"), samples.Part{Name: "word/styles.xml", Data: styles.String()})},
		{"pptx", ooxml.PPTX, samples.Slide(b, slides.String())},
		{"xlsx", ooxml.XLSX, samples.BookOf(b, rows.String(), "", []string{"dd.mm.yyyy", "#,##0.00"}, "")},
		{"xls", xls.XLS, old},
		{"rtf", rtf.RTF, []byte(`{\rtf1 ` + strings.Repeat(sentence+`\par `, 400) + `}`)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(c.data)))
			before := cpuTime(b)
			for b.Loop() {
				if _, err := c.read(b.Context(), format.Input{Name: "a." + c.name, Data: c.data}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpuTime(b)-before)/1e6/float64(b.N), "cpu-ms/op")
		})
	}
}
