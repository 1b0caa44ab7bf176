package formats_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/pkg/fault"
	"sluice/pkg/testcpu"
	"sluice/services/parser/internal/ebook"
	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/mail"
	"sluice/services/parser/internal/odf"
	"sluice/services/parser/internal/ooxml"
	"sluice/services/parser/internal/rtf"
	"sluice/services/parser/internal/samples"
	"sluice/services/parser/internal/sheet"
	"sluice/services/parser/internal/text"
	"sluice/services/parser/internal/xls"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limits are generous for documents and small for bombs.
var limits = format.Limits{Input: 8 << 20, Output: 4 << 20, Expanded: 32 << 20, Pages: 100, Files: 200}

func read(t testing.TB, r format.Reader, name string, data []byte) *format.Output {
	t.Helper()
	out, err := r(t.Context(), format.Input{Name: name, Data: data, Limits: limits, Convert: memberText})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return out
}

// memberText reads a file within a document as plain text.
func memberText(ctx context.Context, in format.Input) (*format.Output, error) {
	return text.Plain(ctx, in)
}

// golden compares with testdata/office/name.md.
func golden(t *testing.T, name, got string) {
	t.Helper()
	goldenIn(t, "office", name, got)
}

func goldenIn(t *testing.T, folder, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", folder, name+".md")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs from what was read (go test -update writes it)\n--- got\n%s", file, got)
	}
}

// wantReason fails unless err is a Validation fault with that reason that says
// what to do.
func wantReason(t *testing.T, err error, reason string) {
	t.Helper()
	var f *fault.Error
	if !errors.As(err, &f) || f.Class != fault.Validation || f.Reason != reason {
		t.Fatalf("got %v, want a fault %q", err, reason)
	}
	if f.Hint == "" {
		t.Errorf("%v: no hint", err)
	}
}

// documents are a small document of every format.
func documents(t testing.TB) map[string]sample {
	return map[string]sample{
		"word.docx":   {read: ooxml.DOCX, data: samples.WordSample(t)},
		"deck.pptx":   {read: ooxml.PPTX, data: samples.DeckSample(t)},
		"book.xlsx":   {read: ooxml.XLSX, data: samples.BookSample(t), warnings: 1},
		"text.odt":    {read: odf.ODT, data: samples.OdtSample(t)},
		"sheet.ods":   {read: odf.ODT, data: samples.OdsSample(t)},
		"slides.odp":  {read: odf.ODT, data: samples.OdpSample(t)},
		"rich.rtf":    {read: rtf.RTF, data: []byte(samples.RtfSample)},
		"novel.epub":  {read: ebook.EPUB, data: samples.EpubSample(t)},
		"old.xls":     {read: xls.XLS, data: samples.XlsSample()},
		"mail.msg":    {read: mail.MSG, data: samples.MsgSample()},
		"winmail.dat": {read: mail.TNEF, data: samples.TNEFSample()},
	}
}

type sample struct {
	read     format.Reader
	data     []byte
	warnings int
}

func TestOfficeGoldens(t *testing.T) {
	for name, s := range documents(t) {
		t.Run(name, func(t *testing.T) {
			out := read(t, s.read, name, s.data)
			golden(t, name, out.Markdown)
			for i, p := range out.Pages {
				if p.Page != i+1 || p.Offset < 0 || p.Offset > len(out.Markdown) {
					t.Errorf("page mark %+v of %d bytes", p, len(out.Markdown))
				}
				if p.Offset > 0 && !strings.HasSuffix(out.Markdown[:p.Offset], "\n\n") {
					t.Errorf("page %d does not begin a block: %q", p.Page, out.Markdown[p.Offset:])
				}
			}
			if want := s.warnings; len(out.Warnings) != want {
				t.Errorf("%d warnings, want %d: %q", len(out.Warnings), want, out.Warnings)
			}
		})
	}
}

// Damage anywhere ends as a failure that says so, or as a document.
func TestDamage(t *testing.T) {
	for name, s := range documents(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			step := max(len(s.data)/150, 1)
			for i := 0; i < len(s.data); i += step {
				mustEnd(t, s.read, name, s.data[:i])
				flipped := append([]byte(nil), s.data...)
				flipped[i] ^= 0xFF
				mustEnd(t, s.read, name, flipped)
			}
		})
	}
}

func mustEnd(t *testing.T, r format.Reader, name string, data []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	out, err := r(ctx, format.Input{Name: name, Data: data, Limits: limits})
	if err == nil {
		if out == nil || strings.TrimSpace(out.Markdown) == "" {
			t.Fatal("an empty success")
		}
		return
	}
	var f *fault.Error
	if !errors.As(err, &f) || f.Class != fault.Validation {
		t.Fatalf("not classified: %v", err)
	}
	switch f.Reason {
	case "corrupt", "empty", "encrypted", "unsupported", "too-large":
	default:
		t.Fatalf("reason %q: %v", f.Reason, err)
	}
}

// Cut-off documents are not passed off as whole ones. (RTF and TNEF are read as far
// as they go, with a warning.)
func TestTruncated(t *testing.T) {
	for name, s := range documents(t) {
		half := s.data[:len(s.data)/2]
		out, err := s.read(t.Context(), format.Input{Name: name, Data: half, Limits: limits})
		if name == "rich.rtf" || name == "winmail.dat" {
			if err != nil || len(out.Warnings) == 0 {
				t.Errorf("%s: %v without a warning", name, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s: half of it was read as a document", name)
			continue
		}
		wantReason(t, err, "corrupt")
	}
}

func TestCancelled(t *testing.T) {
	for name, s := range documents(t) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := s.read(ctx, format.Input{Name: name, Data: s.data}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		ctx, cancel = context.WithDeadline(context.Background(), time.Unix(1, 0))
		_, err := s.read(ctx, format.Input{Name: name, Data: s.data})
		cancel()
		wantReason(t, err, "timeout")
	}
}

func TestOfficeOutputLimit(t *testing.T) {
	for name, s := range documents(t) {
		l := limits
		l.Output = 40
		_, err := s.read(t.Context(), format.Input{Name: name, Data: s.data, Limits: l})
		wantReason(t, err, "too-large")
	}
}

func TestPagesLimit(t *testing.T) {
	all := documents(t)
	for _, name := range []string{"deck.pptx", "book.xlsx", "sheet.ods", "slides.odp", "old.xls"} {
		l := limits
		l.Pages = 1
		_, err := all[name].read(t.Context(), format.Input{Name: name, Data: all[name].data, Limits: l})
		wantReason(t, err, "too-large")
		if !strings.Contains(err.Error(), `"pages"`) {
			t.Errorf("%s: %v does not name the limit", name, err)
		}
	}
}

func TestBombs(t *testing.T) {
	text := strings.Repeat("A", 1<<20)
	nested := strings.Repeat("<w:sdt><w:sdtContent>", 600)
	cells := `<w:tr>` + strings.Repeat(`<w:tc><w:tcPr><w:gridSpan w:val="99999999"/></w:tcPr><w:p/></w:tc>`, 64) + `</w:tr>`
	var huge strings.Builder
	for range 64 {
		huge.WriteString("<!--" + text + "-->")
	}
	var files []samples.Part
	for i := range 1 << 16 { // more than any document has parts
		files = append(files, samples.Part{Name: "word/" + sheet.CellName(i, i%sheet.MaxColumns), Data: ""})
	}
	for name, c := range map[string]struct {
		sample
		reason, limit string
	}{
		"unpacks":   {sample{read: ooxml.DOCX, data: samples.WordDocument(t, huge.String())}, "too-large", "expanded"},
		"one token": {sample{read: ooxml.DOCX, data: samples.WordDocument(t, `<w:p w:x="`+strings.Repeat(text, 17)+`"/>`)}, "corrupt", "longer than"},
		"nesting":   {sample{read: ooxml.DOCX, data: samples.WordDocument(t, nested)}, "corrupt", "nested deeper"},
		"grid":      {sample{read: ooxml.DOCX, data: samples.WordDocument(t, `<w:tbl>`+strings.Repeat(cells, 300)+`</w:tbl>`)}, "too-large", "output"},
		"files":     {sample{read: ooxml.DOCX, data: samples.WordDocument(t, samples.Para("", "x"), files...)}, "too-large", "files"},
		"text":      {sample{read: ooxml.DOCX, data: samples.WordDocument(t, strings.Repeat(samples.Para("", text), 8))}, "too-large", "output"},
		"rtf depth": {sample{read: rtf.RTF, data: []byte(`{\rtf1 ` + strings.Repeat("{", 2000))}, "corrupt", "nested deeper"},
		"ods rows": {sample{read: odf.ODT, data: samples.OdsDocument(t, `<table:table-row table:number-rows-repeated="1048576"><table:table-cell table:number-columns-repeated="16384">`+
			`<text:p>all of them</text:p></table:table-cell></table:table-row>`)}, "too-large", "output"},
		"xlsx diagonal": {sample{read: ooxml.XLSX, data: samples.Diagonal(t)}, "too-large", "output"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.read(t.Context(), format.Input{Name: name, Data: c.data, Limits: limits})
			wantReason(t, err, c.reason)
			if !strings.Contains(err.Error(), c.limit) {
				t.Errorf("%v does not name %q", err, c.limit)
			}
		})
	}
}

// A bomb costs what its limit allows, however much more is in it.
func TestBombsCostWhatTheLimitAllows(t *testing.T) {
	limits := limits
	limits.Expanded, limits.Output = 4<<20, 1<<20
	comment := "<!--" + strings.Repeat("A", 1<<20) + "-->"
	for name, c := range map[string]struct {
		read         format.Reader
		data         func(n int) []byte
		small, large int
	}{
		"unpacks": {ooxml.DOCX, func(n int) []byte { return samples.WordDocument(t, strings.Repeat(comment, n)) }, 8, 128},
		"text": {ooxml.DOCX, func(n int) []byte {
			return samples.WordDocument(t, strings.Repeat(samples.Para("", "a line of text"), n))
		}, 1 << 17, 1 << 20},
		"nesting":   {ooxml.DOCX, func(n int) []byte { return samples.WordDocument(t, strings.Repeat("<w:sdt><w:sdtContent>", n)) }, 1 << 10, 1 << 17},
		"rtf depth": {rtf.RTF, func(n int) []byte { return []byte(`{\rtf1 ` + strings.Repeat("{", n)) }, 2000, 4 << 20},
		"ods rows": {odf.ODT, func(n int) []byte {
			return samples.OdsDocument(t, fmt.Sprintf(`<table:table-row table:number-rows-repeated="%d"><table:table-cell table:number-columns-repeated="16384">`+
				`<text:p>all of them</text:p></table:table-cell></table:table-row>`, n))
		}, 64, 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			refused := func(n int) func() {
				data := c.data(n)
				return func() {
					if _, err := c.read(t.Context(), format.Input{Name: name, Data: data, Limits: limits}); fault.Of(err) != fault.Validation {
						t.Errorf("%d: %v", n, err)
					}
				}
			}
			testcpu.Bounded(t, refused(c.small), refused(c.large))
		})
	}
}

func TestEmpty(t *testing.T) {
	for name, s := range map[string]sample{
		"a.docx": {read: ooxml.DOCX, data: samples.WordDocument(t, `<w:p/>`)},
		"a.rtf":  {read: rtf.RTF, data: []byte(`{\rtf1\pard\par}`)},
		"a.odt":  {read: odf.ODT, data: samples.OdfDocument(t, "text", "<text:p/>")},
		"a.xlsx": {read: ooxml.XLSX, data: samples.SheetFile(t, "")},
		"a.xls":  {read: xls.XLS, data: samples.OldWorkbook(nil, func(*samples.Biff) {})},
	} {
		_, err := s.read(t.Context(), format.Input{Name: name, Data: s.data, Limits: limits})
		if wantReason(t, err, "empty"); !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %s", err, name)
		}
	}
}

func TestEncrypted(t *testing.T) {
	locked := samples.CompoundFile([]samples.Part{{Name: "EncryptionInfo", Data: "x"}, {Name: "EncryptedPackage", Data: "x"}})
	manifest := `<manifest:manifest xmlns:manifest="m"><manifest:file-entry manifest:full-path="content.xml"><manifest:encryption-data/></manifest:file-entry></manifest:manifest>`
	drm := samples.Part{Name: "META-INF/encryption.xml", Data: `<encryption><EncryptedData><CipherData><CipherReference URI="EPUB/one.xhtml"/></CipherData></EncryptedData></encryption>`}
	for name, s := range map[string]sample{
		"a.docx": {read: ooxml.DOCX, data: locked},
		"a.pptx": {read: ooxml.PPTX, data: locked},
		"a.xlsx": {read: ooxml.XLSX, data: locked},
		"a.xls":  {read: xls.XLS, data: samples.OldWorkbook(func(b *samples.Biff) { b.Record(samples.RecFilePass, uint16(1)) }, func(*samples.Biff) {})},
		"a.odt":  {read: odf.ODT, data: samples.OdfDocument(t, "text", "<text:p>x</text:p>", samples.Part{Name: "META-INF/manifest.xml", Data: manifest})},
		"a.epub": {read: ebook.EPUB, data: samples.EpubSample(t, drm)},
	} {
		_, err := s.read(t.Context(), format.Input{Name: name, Data: s.data, Limits: limits})
		wantReason(t, err, "encrypted")
	}
}

func TestUnsupported(t *testing.T) {
	for name, s := range map[string]sample{
		"a.docx": {read: ooxml.DOCX, data: samples.CompoundFile([]samples.Part{{Name: "WordDocument", Data: "x"}})},
		"a.pptx": {read: ooxml.PPTX, data: samples.CompoundFile([]samples.Part{{Name: "PowerPoint Document", Data: "x"}})},
		"a.xls":  {read: xls.XLS, data: samples.CompoundFile([]samples.Part{{Name: "Something", Data: "x"}})},
		"a.msg":  {read: mail.MSG, data: samples.CompoundFile([]samples.Part{{Name: "Something", Data: "x"}})},
		"a.xlsb": {read: ooxml.XLSX, data: samples.Pack(t, samples.Rels("", "r1 officeDocument xl/workbook.bin"))},
	} {
		_, err := s.read(t.Context(), format.Input{Name: name, Data: s.data, Limits: limits})
		wantReason(t, err, "unsupported")
	}
}
