package pdf

import (
	"fmt"
	"strings"
	"testing"
)

// TestAlternativeText has pictures that the file's structure tree describes.
func TestAlternativeText(t *testing.T) {
	for _, tt := range []struct {
		name    string
		figure  string
		content string
		want    string
	}{
		{
			"a picture", "/Alt (A map of the town)", "/Figure << /MCID 0 >> BDC q 100 0 0 100 72 500 cm /Im Do Q EMC\n",
			"The text above.\n\n![A map of the town]()\n\nThe text below.\n",
		},
		{
			"in strips", "/Alt (A map of the town)", "/Figure << /MCID 0 >> BDC q 100 0 0 50 72 550 cm /Im Do Q q 100 0 0 50 72 500 cm /Im Do Q EMC\n",
			"The text above.\n\n![A map of the town]()\n\nThe text below.\n",
		},
		{
			"no description", "", "/Figure << /MCID 0 >> BDC q 100 0 0 100 72 500 cm /Im Do Q EMC\n",
			"The text above.\n\nThe text below.\n",
		},
		{
			"an ornament", "/Alt (A map of the town)", "/Artifact BMC q 100 0 0 100 72 500 cm /Im Do Q EMC\n",
			"The text above.\n\nThe text below.\n",
		},
		{
			"beside typed text, which is made part of the page", "/Alt (A map of the town)", "/Figure << /MCID 0 >> BDC q 100 0 0 100 72 500 cm /Im Do Q EMC\n",
			"The text above.\n\n![A map of the town]()\n\nThe text below.\n\ntyped\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m made
			s := m.sheet()
			s.lines(72, 700, "The text above.")
			s.content.WriteString(tt.content)
			s.lines(72, 400, "The text below.")
			if strings.Contains(tt.want, "typed") {
				s.annot(&m, "FreeText", 72, 200, 200, 216, "/Contents (typed) /AP << /N "+m.appearance(128, 16, shows("typed"))+" >>")
			}
			tree := m.next(1)
			figure := m.object(fmt.Sprintf("<< /Type /StructElem /S /Figure %s /P %s /Pg %s /K 0 >>", tt.figure, tree, m.page(len(m.objects)+2)))
			m.object(fmt.Sprintf("<< /Type /StructTreeRoot /K [%s] /ParentTree << /Nums [0 [%s]] >> >>", figure, figure))
			m.catalog = "/MarkInfo << /Marked true >> /StructTreeRoot " + tree
			s.extra = "/StructParents 0"
			if got := read(t, &m).Markdown; got != tt.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, tt.want)
			}
		})
	}
}
