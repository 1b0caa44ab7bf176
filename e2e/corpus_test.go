package e2e

import (
	"archive/zip"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"html"
	"math/rand/v2"
	"strings"
	"testing"
)

// file is one document of a corpus.
type file struct {
	name string
	data []byte
}

// corpus returns n documents of several formats. The same n gives the same
// documents.
func corpus(t *testing.T, n int) []file {
	t.Helper()
	r := rand.New(rand.NewPCG(1, uint64(n)))
	files := make([]file, n)
	for i := range files {
		a := author{r}
		name := fmt.Sprintf("doc-%03d", i)
		var data []byte
		switch i % 10 {
		case 0, 1, 2:
			name, data = name+".md", a.markdown(i)
		case 3, 4:
			name, data = name+".txt", a.text(i)
		case 5, 6:
			name, data = name+".html", a.html(i)
		case 7:
			name, data = name+".csv", a.csv()
		case 8:
			name, data = name+".json", a.json(t, i)
		case 9:
			if i%50 == 49 {
				name, data = name+".docx", a.docx(t, i)
			} else {
				name, data = name+".md", a.markdown(i)
			}
		}
		files[i] = file{name, data}
	}
	return files
}

// author writes nonsense with the shape of documents.
type author struct{ r *rand.Rand }

var syllables = strings.Fields("ba ran te mo lin sar ke do vi pol ga hem ru shi to wen la dri quo fel nar bi ost um")

func (a author) word() string {
	var b strings.Builder
	for range 1 + a.r.IntN(3) {
		b.WriteString(syllables[a.r.IntN(len(syllables))])
	}
	return b.String()
}

func (a author) words(n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = a.word()
	}
	return strings.Join(all, " ")
}

func (a author) paragraph() string {
	var b strings.Builder
	for range 2 + a.r.IntN(6) {
		s := a.words(5 + a.r.IntN(14))
		b.WriteString(strings.ToUpper(s[:1]) + s[1:] + ". ")
	}
	return strings.TrimSpace(b.String())
}

func (a author) markdown(i int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Report %d: %s\n", i, a.words(3))
	for s := range 2 + a.r.IntN(4) {
		fmt.Fprintf(&b, "\n## Section %d %s\n\n%s\n", s, a.words(2), a.paragraph())
		switch a.r.IntN(4) {
		case 0:
			for range 4 {
				fmt.Fprintf(&b, "\n- %s", a.words(6))
			}
			b.WriteByte('\n')
		case 1:
			fmt.Fprintf(&b, "\n| %s | %s |\n|---|---|\n", a.word(), a.word())
			for range 5 {
				fmt.Fprintf(&b, "| %s | %d |\n", a.words(2), a.r.IntN(1000))
			}
		case 2:
			fmt.Fprintf(&b, "\n```\n%s = %d\n```\n", a.word(), a.r.IntN(100))
		}
	}
	return b.Bytes()
}

func (a author) text(i int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Letter number %d\n\n", i)
	for range 2 + a.r.IntN(6) {
		b.WriteString(a.paragraph() + "\n\n")
	}
	return b.Bytes()
}

func (a author) html(i int) []byte {
	var b bytes.Buffer
	title := html.EscapeString(fmt.Sprintf("Page %d <%s>", i, a.word()))
	fmt.Fprintf(&b, "<!DOCTYPE html><html><head><meta charset=utf-8><title>%s</title></head><body><h1>%s</h1>\n", title, title)
	for range 2 + a.r.IntN(4) {
		fmt.Fprintf(&b, "<h2>%s</h2>\n<p>%s</p>\n<ul><li>%s</li><li>%s</li></ul>\n", a.words(3), a.paragraph(), a.words(4), a.words(4))
	}
	b.WriteString("</body></html>\n")
	return b.Bytes()
}

func (a author) csv() []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write([]string{"item", "place", "amount"}) // a buffer takes everything
	for range 10 + a.r.IntN(40) {
		_ = w.Write([]string{a.words(2), a.word() + ", " + a.word(), fmt.Sprint(a.r.IntN(10000))})
	}
	w.Flush()
	return b.Bytes()
}

func (a author) json(t *testing.T, i int) []byte {
	t.Helper()
	type entry struct {
		Key   string   `json:"key"`
		Notes []string `json:"notes"`
		Value float64  `json:"value"`
	}
	entries := make([]entry, 5+a.r.IntN(15))
	for k := range entries {
		entries[k] = entry{a.word(), []string{a.words(5), a.words(7)}, float64(a.r.IntN(10000)) / 8}
	}
	data, err := json.MarshalIndent(map[string]any{"number": i, "title": a.words(4), "entries": entries}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (a author) docx(t *testing.T, i int) []byte {
	t.Helper()
	var body strings.Builder
	fmt.Fprintf(&body, `<w:p><w:pPr><w:pStyle w:val="Heading1"/></w:pPr><w:r><w:t>Memorandum %d</w:t></w:r></w:p>`, i)
	for range 3 + a.r.IntN(5) {
		fmt.Fprintf(&body, `<w:p><w:r><w:t>%s</w:t></w:r></w:p>`, a.paragraph())
	}
	return zipped(t,
		file{"[Content_Types].xml", []byte(`<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>`)},
		file{"_rels/.rels", []byte(`<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>`)},
		file{"word/document.xml", []byte(`<?xml version="1.0"?><w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>` + body.String() + `</w:body></w:document>`)},
	)
}

// zipped returns an archive of files.
func zipped(t *testing.T, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		fw, err := w.Create(f.name)
		if err == nil {
			_, err = fw.Write(f.data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
