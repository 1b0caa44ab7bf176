package llamaparse

import (
	"archive/zip"
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	fake "sluice/pkg/fake/llamaparse"
	"sluice/pkg/provider"
)

// pack makes an Office file.
func pack(t testing.TB, parts map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range parts {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestOfficePages(t *testing.T) {
	paragraphs := func(n int, text string) string {
		return "<w:document><w:body>" + strings.Repeat("<w:p><w:r><w:t>"+text+"</w:t></w:r></w:p>", n) + "<w:sectPr/></w:body></w:document>"
	}
	slides := map[string]string{"[Content_Types].xml": "", "ppt/slides/_rels/slide1.xml.rels": "", "ppt/slideLayouts/slideLayout1.xml": "", "docProps/app.xml": "<Slides>999</Slides>"}
	for _, n := range []string{"1", "2", "13"} {
		slides["ppt/slides/slide"+n+".xml"] = "<p:sld/>"
	}
	for name, c := range map[string]struct {
		parts map[string]string
		want  int
		exact bool
	}{
		"slides":            {slides, 3, true},
		"a letter":          {map[string]string{"word/document.xml": paragraphs(10, "Dear Sir")}, 5, false},
		"a long text":       {map[string]string{"word/document.xml": paragraphs(100, strings.Repeat("x", 600))}, 1 + (1000+2)/15 + 1, false},
		"with page breaks":  {map[string]string{"word/document.xml": paragraphs(10, `a<w:br w:type="page"/>b`)}, 1 + 10 + 1, false},
		"as it says itself": {map[string]string{"word/document.xml": paragraphs(1, "a"), "docProps/app.xml": "<Properties><Pages>40</Pages></Properties>"}, 60, false},
		"a lie":             {map[string]string{"word/document.xml": paragraphs(1, "a"), "docProps/app.xml": "<Pages>99999999999</Pages>"}, 5, false},
		"sheets":            {map[string]string{"xl/worksheets/sheet1.xml": strings.Repeat("<c r='A1'><v>1</v></c>", 1000), "xl/worksheets/sheet2.xml": ""}, 12, false},
		"another archive":   {map[string]string{"a.txt": "a"}, 0, false},
		"no paragraphs":     {map[string]string{"word/document.xml": "nothing"}, 0, false},
	} {
		if n, exact := officePages(pack(t, c.parts)); n != c.want || exact != c.exact {
			t.Errorf("%s: %d pages (%v), want %d (%v)", name, n, exact, c.want, c.exact)
		}
	}
	deck := pack(t, slides)
	rapid.Check(t, func(t *rapid.T) {
		damaged := bytes.Clone(deck)
		for range rapid.IntRange(1, 8).Draw(t, "n") {
			damaged[rapid.IntRange(0, len(damaged)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
		}
		officePages(damaged[:rapid.IntRange(0, len(damaged)).Draw(t, "length")])
	})
	// The directory is not read if it is out of all proportion.
	many := map[string]string{}
	for i := range entries + 1 {
		many[fmt.Sprintf("ppt/slides/slide%d.xml", i)] = ""
	}
	if n, _ := officePages(pack(t, many)); n != 0 {
		t.Errorf("%d slides", n)
	}
}

// What was counted is reserved, sent along, and kept by the service.
func TestTheBoundOfSlides(t *testing.T) {
	s, c := setUp(t, fake.Config{}, nil)
	deck := provider.Source{Name: "a.pptx", Data: pack(t, map[string]string{"ppt/slides/slide1.xml": "", "ppt/slides/slide2.xml": "", "ppt/slides/slide3.xml": ""})}
	if b, err := c.Bound(deck); err != nil || b.Pages != 3 || b.Nano != 3*10*fake.NanoPerCredit {
		t.Errorf("%+v %v", b, err)
	}
	id, err := c.Create(t.Context(), deck)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := await(t, c, id, deck); err != nil || len(out.Warnings) != 0 {
		t.Errorf("%+v %v", out, err)
	}
	if m := s.Meter(); m.MaxPages != 3 {
		t.Errorf("the service was told to parse at most %d pages", m.MaxPages)
	}
}
