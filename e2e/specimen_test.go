package e2e

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/nats-io/nats.go"

	"sluice/pkg/events"
	"sluice/pkg/natstest"
)

// verdict is what should become of a document.
type verdict int

const (
	either  verdict = iota // failed with a reason, or complete: both are right for a damaged document
	refused                // failed
	clean                  // complete
)

// specimen is one kind of bad input to the parser.
type specimen struct {
	kind   string
	name   string // Filename; "" = none
	data   []byte
	header []string // pairs
	want   verdict
	reason string // of a refusal, if only one is right
	inbox  bool   // through the object store
}

// specimens returns all kinds of bad documents.
func specimens(t *testing.T) []specimen {
	t.Helper()
	r := rand.New(rand.NewPCG(7, 7))
	noise := make([]byte, 4096)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	text := []byte("# A text\n\nNothing is wrong with these words, " + strings.Repeat("but there are some. ", 20) + "\n")
	var all []specimen
	add := func(s ...specimen) { all = append(all, s...) }

	// Nothing, or nothing that is a document.
	add(
		specimen{kind: "empty", name: "empty.txt", want: refused, reason: "empty"},
		specimen{kind: "empty without a name", want: refused, reason: "empty"},
		specimen{kind: "empty PDF", name: "empty.pdf", want: refused, reason: "empty"},
		specimen{kind: "white space", name: "white.md", data: []byte(" \n\t \r\n"), want: refused, reason: "empty"},
		specimen{kind: "byte order mark", name: "bom.txt", data: []byte("\xef\xbb\xbf"), want: refused, reason: "empty"},
		specimen{kind: "zeros", name: "zeros.txt", data: make([]byte, 1000), want: refused},
		specimen{kind: "one byte", name: "one.bin", data: []byte{0x80}},
		specimen{kind: "noise", name: "noise.dat", data: noise, want: refused, reason: "unsupported"},
		specimen{kind: "noise named txt", name: "noise.txt", data: noise, want: refused},
		specimen{kind: "noise named pdf", name: "noise.pdf", data: noise, want: refused},
		specimen{kind: "noise named docx", name: "noise.docx", data: noise, want: refused},
		specimen{kind: "HTML without text", name: "void.html", data: []byte("<html><body><script>x()</script></body></html>"), want: refused, reason: "empty"},
		specimen{kind: "JSON null", name: "null.json", data: []byte("null")},
		specimen{kind: "CSV of commas", name: "commas.csv", data: []byte(",,,\n,,,\n")},
		specimen{kind: "ZIP without files", name: "none.zip", data: zipped(t), want: refused},
	)
	for name, magic := range map[string]string{
		"png": "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00", "jpg": "\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01",
		"gif": "GIF89a\x01\x00\x01\x00\x80\x00\x00", "mp3": "ID3\x03\x00\x00\x00\x00\x00\x00\xff\xfb\x90\x00", "exe": "MZ\x90\x00\x03\x00\x00\x00\x04\x00\x00\x00\xff\xff",
		"elf": "\x7fELF\x02\x01\x01\x00", "gz": "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", "7z": "7z\xbc\xaf\x27\x1c\x00\x04", "rar": "Rar!\x1a\x07\x01\x00",
		"sqlite": "SQLite format 3\x00\x10\x00\x01\x01", "wasm": "\x00asm\x01\x00\x00\x00", "class": "\xca\xfe\xba\xbe\x00\x00\x00\x34",
	} {
		add(specimen{kind: "a " + name, name: "thing." + name, data: append([]byte(magic), noise[:500]...), want: refused, reason: "unsupported"})
	}

	// Behind a password, or pictures of text.
	locked, err := filepath.Glob("testdata/encrypted.*")
	if err != nil || len(locked) < 4 {
		t.Fatalf("encrypted samples: %v, %v", locked, err)
	}
	for _, path := range locked {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		add(specimen{kind: filepath.Base(path), name: filepath.Base(path), data: data, want: refused, reason: "encrypted"})
	}
	add(
		specimen{kind: "encrypted ZIP", name: "locked.zip", data: lockedZip(t), want: refused},
		specimen{kind: "scan", name: "scan.pdf", data: scan(), want: refused, reason: "scanned"},
	)

	// The examples, cut off and under wrong names.
	files := exampleFiles(t)
	for _, name := range sorted(files) {
		data := files[name]
		for _, cut := range []int{1, 100, len(data) / 8, len(data) / 2, len(data) - len(data)/8, len(data) - 1} {
			if cut < len(data) {
				add(specimen{kind: fmt.Sprintf("%s cut to %d of %d bytes", name, cut, len(data)), name: fmt.Sprintf("cut-%d-%s", cut, name), data: data[:cut]})
			}
		}
		middle := slices.Clone(data)
		copy(middle[len(middle)/2:], noise[:min(200, len(middle)/4)])
		add(specimen{kind: name + " with noise in the middle", name: "noisy-" + name, data: middle})
	}
	for as, name := range map[string]string{
		"report.txt": "gate-inspection.pdf", "book.pdf": "keepers-handbook.docx", "sheet.docx": "berth-invoices.xlsx",
		"slides.xml": "safety-briefing.pptx", "page.epub": "short-history.epub", "letter.doc": "dredging-tender.rtf", "noextension": "eel-watch-guide.odt",
		"mail.html": "trustees-meeting.eml",
	} {
		want := clean
		if as == "mail.html" {
			want = either // a text format: the name has a say
		}
		add(specimen{kind: name + " named " + as, name: as, data: files[name], want: want})
	}
	for _, ext := range []string{"pdf", "docx", "pptx", "xlsx", "odt", "epub", "zip", "rtf", "eml", "json", "xml", "ipynb", "csv"} {
		add(specimen{kind: "text named " + ext, name: "text." + ext, data: text})
	}

	// Made to exhaust.
	spaces := bytes.Repeat([]byte{' '}, 1<<20)
	bomb := func(name string, mib int, before, after string) func(*zip.Writer) {
		return func(w *zip.Writer) {
			f, err := w.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(f, before) // a buffer takes everything
			for range mib {
				_, _ = f.Write(spaces)
			}
			_, _ = io.WriteString(f, after)
		}
	}
	word := func(w *zip.Writer, body func(*zip.Writer)) {
		for _, f := range []file{
			{"[Content_Types].xml", []byte(`<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>`)},
			{"_rels/.rels", []byte(`<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>`)},
		} {
			fw, err := w.Create(f.name)
			if err == nil {
				_, err = fw.Write(f.data)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		body(w)
	}
	wordStart := `<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body><w:p><w:r><w:t>`
	nested := text
	for i := range 12 {
		nested = zipped(t, file{fmt.Sprintf("level%d.zip", i), nested})
	}
	crowd := func(w *zip.Writer) {
		for i := range 20_000 {
			if _, err := w.Create(fmt.Sprintf("f%d.txt", i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(
		specimen{kind: "ZIP bomb", name: "bomb.zip", data: archive(t, bomb("a.txt", 900, "x", "y")), want: refused},
		specimen{kind: "ZIP bomb of many", name: "bombs.zip", data: archive(t, func(w *zip.Writer) {
			for i := range 40 {
				bomb(fmt.Sprintf("%d.txt", i), 20, "x", "y")(w)
			}
		}), want: refused},
		specimen{kind: "ZIP within ZIP", name: "nested.zip", data: nested},
		specimen{kind: "ZIP of 20,000 files", name: "crowd.zip", data: archive(t, crowd)},
		specimen{kind: "ZIP with paths out of it", name: "slip.zip", data: zipped(t, file{"../../../etc/cron.d/x", text}, file{"/abs.md", text}, file{"C:\\x.md", text})},
		specimen{kind: "DOCX bomb", name: "bomb.docx", data: archive(t, func(w *zip.Writer) {
			word(w, bomb("word/document.xml", 600, wordStart, `</w:t></w:r></w:p></w:body></w:document>`))
		}), want: refused},
		specimen{kind: "DOCX with 300,000 levels", name: "deep.docx", data: archive(t, func(w *zip.Writer) {
			word(w, func(w *zip.Writer) {
				f, err := w.Create("word/document.xml")
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.WriteString(f, `<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>`+strings.Repeat("<w:tbl><w:tr><w:tc>", 100_000))
			})
		})},
		specimen{kind: "DOCX without a document", name: "hollow.docx", data: archive(t, func(w *zip.Writer) { word(w, func(*zip.Writer) {}) }), want: refused},
		specimen{kind: "XLSX with one far cell", name: "far.xlsx", data: farCell(t)},
		specimen{kind: "EPUB without a spine", name: "spineless.epub", data: zipped(t, file{"mimetype", []byte("application/epub+zip")}, file{"META-INF/container.xml", []byte(`<container><rootfiles><rootfile full-path="x.opf"/></rootfiles></container>`)}, file{"x.opf", []byte(`<package><manifest/><spine/></package>`)}), want: refused},
		specimen{kind: "XML entities", name: "laughs.xml", data: []byte(laughs())},
		specimen{kind: "XML external entity", name: "xxe.xml", data: []byte(`<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>harmless words &x; and more</a>`)},
		specimen{kind: "XML with 200,000 levels", name: "deep.xml", data: []byte(strings.Repeat("<a>", 200_000) + "x")},
		specimen{kind: "JSON with 400,000 levels", name: "deep.json", data: []byte(strings.Repeat("[", 400_000))},
		specimen{kind: "JSON with 9,000 levels", name: "level.json", data: []byte(strings.Repeat("[", 9000) + `"x"` + strings.Repeat("]", 9000))},
		specimen{kind: "JSON not closed", name: "open.json", data: []byte(`{"a": [1, 2, "three`)},
		specimen{kind: "HTML with 150,000 levels", name: "deep.html", data: []byte("<html><body>" + strings.Repeat("<div>", 150_000) + "words at the bottom")},
		specimen{kind: "HTML with nested tables", name: "tables.html", data: []byte(strings.Repeat("<table><tr><td>cell ", 3000))},
		specimen{kind: "HTML with a billion columns", name: "span.html", data: []byte(`<table><tr><td colspan=1000000000 rowspan=1000000000>wide</td><td>b</td></tr><tr><td>c</td></tr></table>`)},
		specimen{kind: "HTML attributes", name: "attributes.html", data: []byte("<p " + strings.Repeat("a=b ", 150_000) + ">words</p>")},
		specimen{kind: "Markdown of brackets", name: "brackets.md", data: bytes.Repeat([]byte("[("), 300_000)},
		specimen{kind: "Markdown of quotes", name: "quotes.md", data: append(bytes.Repeat([]byte(">"), 100_000), " deep"...)},
		specimen{kind: "Markdown of stars", name: "stars.md", data: bytes.Repeat([]byte("*a_"), 200_000)},
		specimen{kind: "Markdown of backticks", name: "ticks.md", data: append(bytes.Repeat([]byte("`"), 500_000), " x"...)},
		specimen{kind: "Markdown table of one row", name: "wide.md", data: []byte("|" + strings.Repeat("a|", 200_000) + "\n|" + strings.Repeat("-|", 200_000) + "\n")},
		specimen{kind: "4 MB without a space", name: "spaceless.txt", data: bytes.Repeat([]byte("abcdefgh"), 512<<10), want: clean, inbox: true},
		specimen{kind: "one line of emoji", name: "emoji.txt", data: bytes.Repeat([]byte("👩‍🚒🏳️‍🌈"), 20_000), want: clean},
		specimen{kind: "RTF with 300,000 groups", name: "deep.rtf", data: []byte(`{\rtf1 ` + strings.Repeat("{", 300_000) + "words")},
		specimen{kind: "RTF not closed", name: "open.rtf", data: []byte(`{\rtf1\ansi some words \b and`)},
		specimen{kind: "RTF with binary", name: "bin.rtf", data: []byte(`{\rtf1 words \bin99999999999 x}`)},
		specimen{kind: "mail within mail", name: "deep.eml", data: deepMail(2000)},
		specimen{kind: "mail of headers", name: "headers.eml", data: []byte(strings.Repeat("X-Long: "+strings.Repeat("y", 900)+"\r\n", 700) + "\r\nbody words\r\n")},
		specimen{kind: "mail without a boundary", name: "boundless.eml", data: []byte("From: a@b.example\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed\r\n\r\nwords\r\n")},
		specimen{kind: "mail with bad base64", name: "base64.eml", data: []byte("From: a@b.example\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!! not base64 !!!!\r\n")},
		specimen{kind: "CSV of 200,000 columns", name: "wide.csv", data: []byte(strings.Repeat("a,", 200_000) + "b\n1,2\n")},
		specimen{kind: "CSV with an open quote", name: "open.csv", data: []byte("a,b\n1,\"two\nthree,four\n")},
		specimen{kind: "CSV of ragged rows", name: "ragged.csv", data: []byte("a,b,c\n1\n1,2,3,4,5\n\n,,\nx,y,z\n"), want: clean},
		specimen{kind: "notebook that is not JSON", name: "broken.ipynb", data: []byte(`{"cells": [{"cell_type": "markdown", "source": ["# x`)},
		specimen{kind: "notebook without cells", name: "void.ipynb", data: []byte(`{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}`)},
		specimen{kind: "feed without items", name: "void.rss", data: []byte(`<rss version="2.0"><channel></channel></rss>`)},
		specimen{kind: "PDF header only", name: "header.pdf", data: []byte("%PDF-1.7\n"), want: refused},
		specimen{kind: "PDF whose pages are their own parents", name: "loop.pdf", data: pdf("<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[2 0 R 2 0 R]/Count 1000000000>>"), want: refused},
		specimen{kind: "PDF whose cross references point at themselves", name: "xref.pdf", data: []byte("%PDF-1.4\nxref\n0 1\n0000000000 65535 f \ntrailer<</Size 1/Prev 9/Root 1 0 R>>\nstartxref\n9\n%%EOF"), want: refused},
		specimen{kind: "PDF with a content bomb", name: "bomb.pdf", data: pdfBomb(t)},
	)

	// Bytes that are not what they claim to be.
	words := "The Ouse, the Nene and the Welland drain the fens. "
	utf16le := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(strings.Repeat(words, 5))) {
		utf16le = binary.LittleEndian.AppendUint16(utf16le, u)
	}
	add(
		specimen{kind: "invalid UTF-8", name: "invalid.md", data: []byte("# Title\n\nbroken \xff\xfe\xc3\x28 bytes within " + words), want: clean},
		specimen{kind: "UTF-8 cut in a rune", name: "rune.txt", data: []byte(words + "na\xc3"), want: clean},
		specimen{kind: "UTF-16 cut in a unit", name: "utf16.txt", data: utf16le[:len(utf16le)-1]},
		specimen{kind: "UTF-16", name: "wide.txt", data: utf16le, want: clean},
		specimen{kind: "surrogates in UTF-8", name: "surrogate.txt", data: []byte(words + "\xed\xa0\x80\xed\xb0\x80"), want: clean},
		specimen{kind: "control characters", name: "control.txt", data: []byte("bell\a back\b escape\x1b[31mred\x1b[0m form\f " + words)},
		specimen{kind: "a NUL among words", name: "nul.txt", data: []byte(words + "\x00" + words)},
		specimen{kind: "unknown charset", name: "klingon.txt", data: text, header: []string{events.HeaderCharset, "x-klingon"}},
		specimen{kind: "wrong charset", name: "wrong.txt", data: text, header: []string{events.HeaderCharset, "utf-16le"}},
		specimen{kind: "wrong content type", name: "lie", data: text, header: []string{events.HeaderContentType, "application/pdf"}},
		specimen{kind: "malformed content type", name: "type.txt", data: text, header: []string{events.HeaderContentType, ";;;/=\""}, want: clean},
		specimen{kind: "huge content type", name: "longtype.txt", data: text, header: []string{events.HeaderContentType, strings.Repeat("x", 60_000)}},
	)

	// Headers.
	for kind, name := range map[string]string{
		"parent folders": "../../../../etc/passwd", "a subject": "docs.event.>", "wildcards": "*.>.*", "spaces": "   ", "a device": "CON", "quotes": `"'; DROP TABLE documents; --`,
		"markup": "<script>alert(1)</script>.md", "right to left": "\u202egnp.exe.md", "an emoji": "🚢.md", "invalid UTF-8": "caf\xe9.md", "5,000 letters": strings.Repeat("n", 5000) + ".md",
		"separators": "a/b\\c:d.md", "a format": "%s%n%d{{.Count}}.md", "a tab": "a\tb.md", "nothing but dots": "...",
	} {
		add(specimen{kind: "file name of " + kind, name: name, data: slices.Concat(text, []byte(kind)), want: clean})
	}
	for kind, tenant := range map[string]string{"spaces": "no such tenant", "a wildcard": ">", "a path": "../other", "65 letters": strings.Repeat("t", 65), "invalid UTF-8": "\xff\xfe", "a quote": "a'b", "50 KB": strings.Repeat("t", 50_000)} {
		add(specimen{kind: "tenant of " + kind, name: "tenant.md", data: text, header: []string{events.HeaderTenant, tenant}, want: refused, reason: "bad-header"})
	}
	many := []string{}
	for i := range 500 {
		many = append(many, fmt.Sprintf("Meta-Key-%d", i), "value")
	}
	add(
		specimen{kind: "500 Meta- headers", name: "many-meta.md", data: text, header: many, want: refused, reason: "bad-header"},
		specimen{kind: "a Meta- header of 60 KB", name: "big-meta.md", data: text, header: []string{"Meta-Big", strings.Repeat("m", 60_000)}, want: refused, reason: "bad-header"},
		specimen{kind: "a Meta- header without a name", name: "nameless-meta.md", data: text, header: []string{"Meta-", "x"}, want: clean},
		specimen{kind: "headers that nearly reach the limit of 64 KiB", name: "brim.md", data: nil, header: []string{"X-Filler", strings.Repeat("h", 64<<10-200)}, want: refused, reason: "empty"},
		specimen{kind: "a correlation ID of 60 KB", name: "correlation.md", data: text, header: []string{events.HeaderCorrelationID, strings.Repeat("c", 60_000)}, want: clean},
		specimen{kind: "a reply into the pipeline", name: "reply.md", data: text, header: []string{events.HeaderReplySubject, "docs.delete"}, want: clean},
		specimen{kind: "a reply to the server's API", name: "reply-api.md", data: text, header: []string{events.HeaderReplySubject, "$JS.API.STREAM.PURGE.DOCUMENTS"}, want: clean},
		specimen{kind: "a malformed reply subject", name: "reply-bad.md", data: text, header: []string{events.HeaderReplySubject, "a..b >"}, want: clean},
		specimen{kind: "another document's identity", name: "impostor.md", data: text, header: []string{events.HeaderDocumentID, events.DocumentID(events.DefaultTenant, "good-0.md"), events.HeaderRevision, "99999999999999"}, want: clean},
		specimen{kind: "a blob's reference", name: "blob.md", data: text, header: []string{events.HeaderBlob, "somebody-elses"}, want: clean},
		specimen{kind: "another event type", name: "vector.md", data: text, header: []string{events.HeaderEventType, events.TypeVectors}, want: clean},
		specimen{kind: "a dead letter's headers", name: "dead.md", data: text, header: []string{events.HeaderFailureClass, "halt", events.HeaderOriginStream, "X", events.HeaderFailureAttempts, "-1"}, want: clean},
		specimen{kind: "a malformed traceparent", name: "trace.md", data: text, header: []string{events.HeaderTraceparent, strings.Repeat("00-", 1000)}, want: clean},
	)

	// Larger than allowed, or nearly.
	add(
		specimen{kind: "200 MB of zeros", name: "zeros-200.bin", data: make([]byte, 200<<20), want: refused, reason: "too-large", inbox: true},
		specimen{kind: "40 MB of zeros", name: "zeros-40.txt", data: make([]byte, 40<<20), want: refused, inbox: true},
		specimen{kind: "2 MB of noise named docx", name: "noise-2.docx", data: bytes.Repeat(noise, 512), want: refused, inbox: true},
		specimen{kind: "an empty object", name: "empty-object.txt", want: refused, reason: "empty", inbox: true},
	)
	for i := range all {
		if len(all[i].data) > 900<<10 { // more than a message takes
			all[i].inbox = true
		}
	}
	return all
}

func sorted(m map[string][]byte) []string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// archive returns an archive, compressed as well as it goes.
func archive(t *testing.T, fill func(*zip.Writer)) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	w.RegisterCompressor(zip.Deflate, func(out io.Writer) (io.WriteCloser, error) { return flate.NewWriter(out, 9) })
	fill(w)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// lockedZip returns an archive whose entry says that it is encrypted.
func lockedZip(t *testing.T) []byte {
	t.Helper()
	data := zipped(t, file{"secret.txt", []byte("words that were never really encrypted")})
	for _, header := range []struct {
		magic  string
		offset int
	}{{"PK\x03\x04", 6}, {"PK\x01\x02", 8}} {
		i := bytes.Index(data, []byte(header.magic))
		data[i+header.offset] |= 1
	}
	return data
}

// pdf returns a PDF of numbered objects, the first being the catalogue.
func pdf(objects ...string) []byte {
	var b bytes.Buffer
	b.WriteString("%PDF-1.7\n")
	offsets := make([]int, len(objects))
	for i, o := range objects {
		offsets[i] = b.Len()
		fmt.Fprintf(&b, "%d 0 obj\n%s\nendobj\n", i+1, o)
	}
	at := b.Len()
	fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n", len(objects)+1)
	for _, o := range offsets {
		fmt.Fprintf(&b, "%010d 00000 n \n", o)
	}
	fmt.Fprintf(&b, "trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n", len(objects)+1, at)
	return b.Bytes()
}

// scan returns a PDF of one page that holds nothing but a picture.
func scan() []byte {
	stream := func(dict, data string) string {
		return fmt.Sprintf("<<%s/Length %d>>\nstream\n%s\nendstream", dict, len(data), data)
	}
	return pdf("<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[3 0 R]/Count 1>>",
		"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</XObject<</I 5 0 R>>>>>>",
		stream("", "q 600 0 0 800 0 0 cm /I Do Q"),
		stream("/Type/XObject/Subtype/Image/Width 64/Height 64/ColorSpace/DeviceGray/BitsPerComponent 8", strings.Repeat("\x7f\xff", 2048)))
}

// pdfBomb returns a PDF whose page unpacks to 300 MB of drawing.
func pdfBomb(t *testing.T) []byte {
	t.Helper()
	var packed bytes.Buffer
	packed.Write([]byte{0x78, 0xda}) // the zlib header
	w, err := flate.NewWriter(&packed, 9)
	if err != nil {
		t.Fatal(err)
	}
	line := bytes.Repeat([]byte("0 0 m 1 1 l S\n"), 1<<16)
	for range 320 {
		_, _ = w.Write(line) // a buffer takes everything
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	packed.Write([]byte{0, 0, 0, 0}) // a wrong checksum, which readers forgive
	return pdf("<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[3 0 R]/Count 1>>",
		"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R>>",
		fmt.Sprintf("<</Filter/FlateDecode/Length %d>>\nstream\n%s\nendstream", packed.Len(), packed.Bytes()))
}

// farCell returns a workbook with one cell in the last row and column.
func farCell(t *testing.T) []byte {
	t.Helper()
	return zipped(t,
		file{"[Content_Types].xml", []byte(`<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/><Override PartName="/xl/worksheets/sheet1.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/></Types>`)},
		file{"_rels/.rels", []byte(`<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>`)},
		file{"xl/workbook.xml", []byte(`<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets><sheet name="S" sheetId="1" r:id="r1"/></sheets></workbook>`)},
		file{"xl/_rels/workbook.xml.rels", []byte(`<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/></Relationships>`)},
		file{"xl/worksheets/sheet1.xml", []byte(`<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><dimension ref="A1:XFD1048576"/><sheetData><row r="1048576"><c r="XFD1048576" t="inlineStr"><is><t>the far corner</t></is></c></row></sheetData></worksheet>`)},
	)
}

// laughs returns an XML document whose entities would expand to gigabytes.
func laughs() string {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a0 "ha ">`)
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&b, `<!ENTITY a%d "%s">`, i, strings.Repeat(fmt.Sprintf("&a%d;", i-1), 10))
	}
	b.WriteString(`]><l>words &a11;</l>`)
	return b.String()
}

// deepMail returns a mail of n parts within one another.
func deepMail(n int) []byte {
	var b bytes.Buffer
	b.WriteString("From: a@b.example\r\nSubject: deep\r\nMIME-Version: 1.0\r\n")
	for i := range n {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	b.WriteString("Content-Type: text/plain\r\n\r\nwords at the bottom\r\n")
	return b.Bytes()
}

// message is one kind of malformed message, published past the parser's front door.
type message struct {
	kind   string
	msg    *nats.Msg
	stage  string // that writes the dead letter
	reason string // if only one is right
}

// messages returns malformed messages for every subject.
func malformed(t *testing.T) []message {
	t.Helper()
	var all []message
	document := events.DocumentID(events.DefaultTenant, "hostile")
	add := func(stage, subject, kind, reason, body string, header ...string) {
		h := nats.Header{}
		for i := 0; i+1 < len(header); i += 2 {
			h.Set(header[i], header[i+1])
		}
		h.Set(events.HeaderCorrelationID, fmt.Sprintf("malformed-%d", len(all)))
		all = append(all, message{kind: subject + ": " + kind, stage: stage, reason: reason, msg: &nats.Msg{Subject: subject, Header: h, Data: []byte(body)}})
	}
	shapes := map[string]string{
		"nothing": "", "text": "hello", "null": "null", "an array": "[]", "a number": "7", "an empty object": "{}", "invalid UTF-8": "{\"\xff\xfe\":\"\xff\"}",
		"deep nesting": strings.Repeat("[", 100_000), "cut off": `{"v":1,"document":"`, "wrong types": `{"v":"one","uri":1,"name":[],"document":{}}`,
		"no version": `{"v":0,"document":"` + document + `","uri":"","what":"x"}`,
	}
	for kind, body := range shapes {
		for _, to := range []struct{ stage, subject, event string }{
			{"parser", events.SubjectURI, ""},
			{"parser", events.SubjectDelete, ""},
			{"chunker", events.SubjectParsed, events.TypeParsed},
			{"embedder", events.SubjectChunks, events.TypeChunks},
			{"indexer", events.SubjectVectors, events.TypeVectors},
			{"indexer", events.SubjectVectors, events.TypeTombstone},
			{"recorder", events.EventSubject(document, "odd"), events.TypeEvent},
		} {
			if to.subject == events.SubjectDelete && kind == "no version" {
				continue // deletions have no version: this one is well-formed
			}
			add(to.stage, to.subject, to.event+" of "+kind, "malformed-event", body, events.HeaderEventType, to.event)
		}
	}
	// Bodies that are right but for one thing.
	about := events.About{Document: document, Revision: 1, Tenant: events.DefaultTenant, Name: "hostile", ContentHash: events.ContentHash(nil), Fingerprint: "f"}
	one := func(change func(*events.Chunk)) events.Chunk {
		a := about
		c := events.Chunk{
			ID: events.ChunkID(document, 0, "x", "f"), Document: document, Revision: 1, Tenant: events.DefaultTenant,
			Of: 1, Text: "text", End: 4, Tokens: 1, InputTokens: 1, About: &a,
		}
		change(&c)
		return c
	}
	chunk := func(change func(*events.Chunk)) string { return string(natstest.Chunks(t, one(change))) }
	identity := []string{events.HeaderDocumentID, document, events.HeaderRevision, "1", events.HeaderTenant, events.DefaultTenant}
	for kind, change := range map[string]func(*events.Chunk){
		"no id": func(c *events.Chunk) { c.ID = "" }, "a subject as document": func(c *events.Chunk) { c.Document = "docs.event.>" },
		"no revision": func(c *events.Chunk) { c.Revision = 0 }, "no tenant": func(c *events.Chunk) { c.Tenant = "" },
		"ordinal beyond the last": func(c *events.Chunk) { c.Ordinal = 5 }, "negative ordinal": func(c *events.Chunk) { c.Ordinal = -1 },
		"no text": func(c *events.Chunk) { c.Text = "" }, "offsets that do not fit": func(c *events.Chunk) { c.Start, c.End = 10, 5 },
		"negative tokens": func(c *events.Chunk) { c.Tokens = -1 }, "no about": func(c *events.Chunk) { c.About = nil },
		"another document's about": func(c *events.Chunk) { c.About.Document = events.DocumentID("a", "b") },
		"another revision":         func(c *events.Chunk) { c.Revision, c.About.Revision = 2, 2 },
	} {
		add("embedder", events.SubjectChunks, kind, "malformed-event", chunk(change), append(identity, events.HeaderEventType, events.TypeChunks)...)
	}
	vector := func(model string, embedding []byte, change func(*events.Chunk)) string {
		return string(natstest.Vectors(t, events.Vector{Chunk: one(change), Model: model, Embedding: embedding}))
	}
	same := func(*events.Chunk) {}
	nan := events.EncodeVector([]float32{1, 0})
	binary.LittleEndian.PutUint32(nan, 0x7fc00000)
	for kind, body := range map[string]string{
		"no model": vector("", events.EncodeVector([]float32{1}), same), "no embedding": vector("m", nil, same), "half a float": vector("m", []byte{1, 2, 3}, same),
		"not a number": vector("hostile-nan", nan, same), "all zeros": vector("hostile-zero", make([]byte, 16), same),
		"the wrong dimension":  vector("lex-v1-1536", events.EncodeVector([]float32{1, 2, 3}), same),
		"a billion chunks":     vector("m", events.EncodeVector([]float32{1}), func(c *events.Chunk) { c.Of = 1 << 30 }),
		"infinite chunks":      strings.Replace(vector("m", events.EncodeVector([]float32{1}), same), `"of":1`, `"of":1e999`, 1),
		"another event's type": vector("m", events.EncodeVector([]float32{1}), same),
	} {
		event := events.TypeVectors
		if kind == "another event's type" {
			event = "poem/1"
		}
		add("indexer", events.SubjectVectors, kind, "", body, append(identity, events.HeaderEventType, event)...)
	}
	parsed := func(change func(*events.Parsed)) string {
		p := events.Parsed{V: 1, About: about, Markdown: "# x\n", Pages: []events.PageMark{{Page: 1}}}
		change(&p)
		return string(events.Encode(p))
	}
	for kind, change := range map[string]func(*events.Parsed){
		"no Markdown": func(p *events.Parsed) { p.Markdown = " \n" }, "pages out of order": func(p *events.Parsed) { p.Pages = []events.PageMark{{Page: 2, Offset: 3}, {Page: 1, Offset: 1}} },
		"a page beyond the end": func(p *events.Parsed) { p.Pages[0].Offset = 1 << 40 }, "a page below zero": func(p *events.Parsed) { p.Pages[0].Page = -1 },
		"another document": func(p *events.Parsed) { p.Document = events.DocumentID("a", "b") }, "no tenant": func(p *events.Parsed) { p.Tenant = "" },
	} {
		add("chunker", events.SubjectParsed, kind, "malformed-event", parsed(change), append(identity, events.HeaderEventType, events.TypeParsed)...)
	}
	add("chunker", events.SubjectParsed, "a blob that is not there", "", "", append(identity, events.HeaderBlob, "no-such-blob")...)
	add("embedder", events.SubjectChunks, "no headers of its own", "malformed-event", chunk(func(*events.Chunk) {}))
	add("embedder", events.SubjectChunks, "a document ID that is no subject", "malformed-event", chunk(func(*events.Chunk) {}), events.HeaderDocumentID, "a b.>*", events.HeaderRevision, "minus one")
	for kind, ref := range map[string][2]string{
		"a file": {`{"uri":"file:///etc/passwd"}`, "bad-uri"}, "FTP": {`{"uri":"ftp://example.org/x"}`, "bad-uri"}, "no scheme": {`{"uri":"example.org"}`, "bad-uri"},
		"a bad escape": {`{"uri":"http://%zz/"}`, "bad-uri"}, "loopback": {`{"uri":"http://127.0.0.1:9/x"}`, "private-address"}, "loopback in IPv6": {`{"uri":"http://[::1]:9/x"}`, "private-address"},
		"loopback in disguise": {`{"uri":"http://[::ffff:127.0.0.1]:9/x"}`, "private-address"}, "a metadata service": {`{"uri":"http://169.254.169.254/latest/"}`, "private-address"},
		"a private network": {`{"uri":"http://10.0.0.1/x"}`, "private-address"}, "another object store": {`{"uri":"object://blobs/x"}`, "bad-uri"},
		"an object that is not there": {`{"uri":"object://inbox/none"}`, "not-found"}, "no object": {`{"uri":"object://inbox/"}`, "bad-uri"},
		"a bad tenant": {`{"uri":"http://example.org/","tenant":"a b"}`, "bad-header"}, "a URI of 500 KB": {`{"uri":"gopher://` + strings.Repeat("x", 500_000) + `"}`, "bad-uri"},
	} {
		add("parser", events.SubjectURI, kind, ref[1], ref[0])
	}
	add("parser", events.SubjectDelete, "a name and an ID", "malformed-event", `{"name":"a","document":"`+document+`"}`)
	add("parser", events.SubjectDelete, "an ID that is none", "malformed-event", `{"document":"../x"}`)
	add("parser", events.SubjectDelete, "a bad tenant", "bad-header", `{"name":"a","tenant":"*"}`)
	add("inbox", "$O.inbox.M.hostile", "text", "malformed-object", "hello")
	add("inbox", "$O.inbox.M.hostile2", "no name", "malformed-object", `{"bucket":"inbox","size":-1}`)
	return all
}
