package local_test

import (
	"fmt"
	"strings"
	"testing"

	"sluice/pkg/provider"
	"sluice/services/parser/local"
)

// pdfWith returns a page with a line of text and a file attached to it.
func pdfWith(line, name string, data []byte) []byte {
	content := "BT /F1 12 Tf 72 700 Td (" + line + ") Tj ET"
	return fmt.Appendf(nil, "%%PDF-1.7\n"+
		"1 0 obj\n<< /Type /Catalog /Pages 2 0 R /Names << /EmbeddedFiles << /Names [(a) 6 0 R] >> >> >>\nendobj\n"+
		"2 0 obj\n<< /Type /Pages /Kids [3 0 R] /Count 1 >>\nendobj\n"+
		"3 0 obj\n<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>\nendobj\n"+
		"4 0 obj\n<< /Length %d >>\nstream\n%s\nendstream\nendobj\n"+
		"5 0 obj\n<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>\nendobj\n"+
		"6 0 obj\n<< /Type /Filespec /F (%s) /UF (%s) /EF << /F 7 0 R >> >>\nendobj\n"+
		"7 0 obj\n<< /Type /EmbeddedFile /Filter /ASCIIHexDecode /Length %d >>\nstream\n%x>\nendstream\nendobj\n"+
		"trailer << /Size 8 /Root 1 0 R >>\n%%%%EOF\n",
		len(content), content, name, name, 2*len(data)+1, data)
}

// TestFilesAttachedToPDF has files that are attached to PDF files read by the
// readers of their formats, as deep as the limit allows.
func TestFilesAttachedToPDF(t *testing.T) {
	p := newParser(t, func(c *local.Config) { c.MaxDepth = 3 })
	invoice := []byte(`<?xml version="1.0"?><Invoice><ID>R-2026-7</ID><GrandTotal>137.07</GrandTotal></Invoice>`)
	t.Run("the data of an invoice", func(t *testing.T) {
		got, err := p.Parse(t.Context(), provider.Source{Name: "r.pdf", Data: pdfWith("Invoice", "factur-x.xml", invoice)})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"Invoice\n", "## Attachment: factur-x.xml", "R-2026-7", "137.07"} {
			if !strings.Contains(got.Markdown, want) {
				t.Errorf("%q is not in\n%s", want, got.Markdown)
			}
		}
		if len(got.Warnings) > 0 {
			t.Errorf("warnings %q", got.Warnings)
		}
	})
	t.Run("a file that nobody can read", func(t *testing.T) {
		got, err := p.Parse(t.Context(), provider.Source{Name: "r.pdf", Data: pdfWith("Invoice", "blob.bin", []byte("\x00\x01\x02\x03\xff\xfe\x00"))})
		if err != nil || got.Markdown != "Invoice\n" || !strings.Contains(strings.Join(got.Warnings, "\n"), "blob.bin") {
			t.Errorf("got %+v, %v", got, err)
		}
	})
	t.Run("too deep", func(t *testing.T) {
		data, name := invoice, "factur-x.xml"
		for i := range 6 {
			data, name = pdfWith(fmt.Sprintf("Level %d", i), name, data), "inner.pdf"
		}
		got, err := p.Parse(t.Context(), provider.Source{Name: "r.pdf", Data: data})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(got.Markdown, "Level 2") || strings.Contains(got.Markdown, "Level 1") {
			t.Errorf("got\n%s", got.Markdown)
		}
		if len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "inner.pdf") || !strings.Contains(got.Warnings[0], "attached within 3 others") {
			t.Errorf("warnings %q", got.Warnings)
		}
	})
}
