package formats_test

import (
	"strings"
	"testing"

	"sluice/services/parser/internal/data"
	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/formats"
)

func TestFictionBook(t *testing.T) {
	src := `<?xml version="1.0"?><FictionBook><description><title-info><author><first-name>Ada</first-name><last-name>Quill</last-name></author><author><nickname>bo</nickname></author>` +
		`<book-title>Winter</book-title><date value="1999-01-02">1999</date><lang>en</lang></title-info><document-info><author><nickname>scanner</nickname></author></document-info></description>` +
		`<body><section><title><p>One</p></title><p>10<sup>6</sup> flakes.</p></section></body><binary id="c.png">iVBORw0KGgo</binary></FictionBook>`
	if f := formats.ByExtension(".fb2"); f != formats.XML {
		t.Errorf(".fb2 is read by %v", f)
	}
	out, err := data.XML(t.Context(), format.Input{Name: "b.fb2", Data: []byte(src)})
	if err != nil {
		t.Fatal(err)
	}
	if f := out.Facts; f.Title != "Winter" || f.Author != "Ada Quill, bo" || f.Language != "en" || f.Created != "1999-01-02T00:00:00Z" {
		t.Errorf("facts %+v", f)
	}
	if s := out.Markdown; !strings.Contains(s, "10^6 flakes.") || !strings.Contains(s, "# One") || strings.Contains(s, "iVBOR") {
		t.Errorf("%s", s)
	}
	if w := strings.Join(out.Warnings, ""); !strings.Contains(w, "1 pictures") {
		t.Errorf("warned %q", w)
	}
}

// The HTML of feeds and notebooks is read as that of pages is.
func TestPowersInFeedsAndNotebooks(t *testing.T) {
	out, err := data.Feed(t.Context(), format.Input{Data: []byte(`<rss><channel><title>f</title><item><title>a</title><description>&lt;p&gt;10&lt;sup&gt;6&lt;/sup&gt; &lt;footer&gt;Quay 1&lt;/footer&gt;</description></item></channel></rss>`)})
	if err != nil || !strings.Contains(out.Markdown, "10^6") || !strings.Contains(out.Markdown, "Quay 1") {
		t.Errorf("%v, %v", out, err)
	}
	out, err = data.Notebook(t.Context(), format.Input{Data: []byte(`{"cells":[{"cell_type":"code","source":"x","outputs":[{"output_type":"execute_result","data":{"text/html":"<table><tr><th>a<th>b<tr><td>10<sup>3</sup><td>m<sup>2</sup></table>"}}]}]}`)})
	if err != nil || !strings.Contains(out.Markdown, "| 10^3 | m^2 |") {
		t.Errorf("%v, %v", out, err)
	}
}
