package local_test

import (
	"fmt"
	"strings"
	"testing"

	"sluice/pkg/provider"
	"sluice/pkg/testcpu"
	"sluice/services/parser/internal/samples"
	"sluice/services/parser/local"
)

// A workbook of a million cells is read in the memory of a stream of rows, not
// in that of a million strings.
func TestWorkbookOfManyCells(t *testing.T) {
	if testcpu.Plain(t) {
		return
	}
	const rows, columns = 100_000, 10
	var b strings.Builder
	for r := 1; r <= rows; r++ {
		fmt.Fprintf(&b, `<row r="%d">`, r)
		for c := range columns {
			fmt.Fprintf(&b, `<c r="%c%d"><v>%d</v></c>`, 'A'+c, r, r*7919+c)
		}
		b.WriteString(`</row>`)
	}
	p := newParser(t, func(c *local.Config) { c.IsolateMemory = 128 << 20 })
	out, err := p.Parse(t.Context(), provider.Source{Name: "a.xlsx", Data: samples.SheetFile(t, b.String())})
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.Markdown, "\n| "); n < rows-1 {
		t.Errorf("%d rows of %d: %.200q %q", n, rows, out.Markdown, out.Warnings)
	}
}
