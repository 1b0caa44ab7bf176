package formats_test

import (
	"fmt"
	"strings"
	"testing"

	"sluice/services/parser/internal/ebook"
	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/samples"
)

// bookOf is an EPUB of these files, all of them in its spine unless it is given.
func bookOf(t *testing.T, spine string, files ...samples.Part) []byte {
	var manifest, all strings.Builder
	parts := []samples.Part{
		{Name: "mimetype", Data: "application/epub+zip"},
		{Name: "META-INF/container.xml", Data: `<container><rootfiles><rootfile full-path="b.opf"/></rootfiles></container>`},
	}
	for i, f := range files {
		name, about, _ := strings.Cut(f.Name, " ")
		if !strings.Contains(about, "media-type") {
			about += ` media-type="application/xhtml+xml"`
		}
		fmt.Fprintf(&manifest, `<item id="i%d" href="%s" %s/>`, i, name, about)
		fmt.Fprintf(&all, `<itemref idref="i%d"/>`, i)
		parts = append(parts, samples.Part{Name: name, Data: `<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops"><body>` + f.Data + `</body></html>`})
	}
	if spine == "" {
		spine = all.String()
	}
	parts = append(parts, samples.Part{Name: "b.opf", Data: `<package><metadata/><manifest>` + manifest.String() + `</manifest><spine>` + spine + `</spine></package>`})
	return samples.Pack(t, parts...)
}

// A book has no frame: nothing of it is a menu, and nothing is hidden.
func TestEPUBKeepsAll(t *testing.T) {
	contents := `<nav epub:type="toc"><ol><li><a href="a.xhtml">ENTRY</a></li></ol></nav>`
	for name, c := range map[string]struct {
		book     []byte
		has, not []string
		warn     string
	}{
		"header, footer, notes, classes": {
			book: bookOf(t, "", samples.Part{Name: "a.xhtml", Data: `<header><h2>CHAPTER</h2></header><p>10<sup>9</sup> stars<a epub:type="noteref" href="#n">1</a></p><aside epub:type="footnote" id="n" hidden="hidden"><p>NOTE</p></aside>` +
				`<div class="gutter noprint">GUTTER</div><div style="display:none">UNSEEN</div><nav><a href="b.xhtml">PART</a></nav><footer>FOOT</footer>`}),
			has: []string{"## CHAPTER", "10^9 stars1", "NOTE", "GUTTER", "UNSEEN", "[PART]", "FOOT"},
		},
		"empty elements": {
			book: bookOf(t, "", samples.Part{Name: "a.xhtml", Data: `<p>a<epub:switch/></p><h2/><ins/><p>b<br/>c</p><m:math xmlns:m="x"><m:mfrac><m:mn>1</m:mn><m:mi>x</m:mi></m:mfrac><m:mspace/></m:math>`}),
			has:  []string{"a\n\nb  \nc", `$\frac{1}{x}$`},
		},
		"its contents are a repetition": {
			book: bookOf(t, "", samples.Part{Name: `nav.xhtml properties="nav"`, Data: `<h1>Contents</h1>` + contents}, samples.Part{Name: "a.xhtml", Data: "<p>TEXT</p>"}),
			has:  []string{"TEXT"}, not: []string{"ENTRY", "Contents"},
		},
		"a chapter with the contents in it": {
			book: bookOf(t, "", samples.Part{Name: `nav.xhtml properties="nav"`, Data: contents + `<p>` + strings.Repeat("It was dark. ", 10) + `</p>`}),
			has:  []string{"It was dark."}, not: []string{"ENTRY"},
		},
		"nothing but contents": {
			book: bookOf(t, "", samples.Part{Name: `nav.xhtml properties="nav"`, Data: contents}),
			has:  []string{"ENTRY"},
		},
		"no spine":               {book: bookOf(t, `<itemref idref="gone"/>`, samples.Part{Name: "a.xhtml", Data: "<p>TEXT</p>"}), has: []string{"TEXT"}, warn: `"gone"`},
		"a page and its words":   {book: bookOf(t, `<itemref idref="i0"/>`, samples.Part{Name: `p.pdf media-type="application/pdf" fallback="i1"`, Data: ""}, samples.Part{Name: "a.xhtml", Data: "<p>TEXT</p>"}), has: []string{"TEXT"}},
		"a page that is no text": {book: bookOf(t, "", samples.Part{Name: "a.xhtml", Data: "<p>TEXT</p>"}, samples.Part{Name: `c.png media-type="image/png"`, Data: ""}), has: []string{"TEXT"}, warn: "1 pages of the book are pictures"},
		"a drawing":              {book: bookOf(t, "", samples.Part{Name: `c.svg media-type="image/svg+xml"`, Data: `<svg><text>LABEL</text></svg>`}), has: []string{"LABEL"}},
	} {
		out, err := ebook.EPUB(t.Context(), format.Input{Name: "b.epub", Data: c.book, Limits: limits})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, s := range c.has {
			if !strings.Contains(out.Markdown, s) {
				t.Errorf("%s: no %q in\n%s", name, s, out.Markdown)
			}
		}
		for _, s := range c.not {
			if strings.Contains(out.Markdown, s) {
				t.Errorf("%s: %q in\n%s", name, s, out.Markdown)
			}
		}
		if w := strings.Join(out.Warnings, "\n"); (w != "") != (c.warn != "") || !strings.Contains(w, c.warn) {
			t.Errorf("%s: warned %q, want %q", name, w, c.warn)
		}
	}
}

// The parts of a book are no documents.
func TestEPUBOfManyParts(t *testing.T) {
	var files []samples.Part
	for i := range 1200 {
		files = append(files, samples.Part{Name: fmt.Sprintf("c%d.xhtml", i), Data: fmt.Sprintf("<p>chapter %d.</p>", i)})
	}
	l := limits
	l.Files = 1000
	out, err := ebook.EPUB(t.Context(), format.Input{Name: "b.epub", Data: bookOf(t, "", files...), Limits: l})
	if err != nil || !strings.Contains(out.Markdown, "chapter 1199.") {
		t.Errorf("%v", err)
	}
}
