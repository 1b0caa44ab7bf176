package formats_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/pkg/provider"
	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/formats"
	"sluice/services/parser/internal/samples"
	"sluice/services/parser/internal/sniff"
	"sluice/services/parser/local"
)

// paper is a PDF of three pages in one and in two columns: a title, numbered headings,
// a list, a table with lines, a power, running lines and numbers of pages.
func paper() []byte {
	at := func(font string, size, x, y int, text string) string {
		return fmt.Sprintf("BT /%s %d Tf %d %d Td (%s) Tj ET\n", font, size, x, y, text)
	}
	lines := func(x, y int, all ...string) string {
		var b strings.Builder
		for i, l := range all {
			b.WriteString(at("R", 10, x, y-14*i, l))
		}
		return b.String()
	}
	frame := func(page int) string {
		return at("R", 8, 60, 770, "Works of the harbour office") + at("R", 8, 300, 30, fmt.Sprint(page))
	}
	var table strings.Builder
	for i := range 4 {
		fmt.Fprintf(&table, "60 %d m 360 %d l S\n%d 500 m %d 440 l S\n", 500-20*i, 500-20*i, 60+100*i, 60+100*i)
	}
	for i, cell := range strings.Fields("Berth Depth Length East 9.5 120 West 7.25 90") {
		table.WriteString(at("R", 10, 65+100*(i%3), 486-20*(i/3), cell))
	}
	pages := []string{
		frame(1) + at("B", 22, 60, 720, "The depth of harbours") + at("B", 14, 60, 680, "1 Why it is measured") +
			lines(60, 655, "Ships need water below their keels. The office measures the depth of each", "berth twice a year, and after each storm that moves more than", "") +
			"BT /R 10 Tf 60 627 Td (10) Tj /R 6 Tf 4 Ts (6) Tj /R 10 Tf 0 Ts ( tons of sand. What it finds is pub-) Tj ET\n" + lines(60, 613, "lished within a week.") + at("B", 14, 60, 560, "2 What was found") + lines(60, 535, "The two berths differ:") + table.String(),
		frame(2) + lines(60, 720, "- the eastern one is deep enough for all ships,", "- the western one is not,", "- both are dredged in spring.") + at("B", 14, 60, 650, "3 What follows") +
			lines(60, 625, "Ships of more than seven metres", "go to the eastern berth. Masters", "are told by radio, and by a sign", "at the head of the mole.") +
			lines(320, 625, "The western berth is for boats", "of fishermen and of the pilots,", "who know its sand banks, and for", "the ferry at high water."),
		frame(3) + lines(60, 720, "The next report is due in autumn."),
	}
	objects := []string{
		"<< /Type /Catalog /Pages 2 0 R >>", "",
		"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>", "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold >>",
		"<< /Title (Harbours) /Author (Ada Moor) >>",
	}
	var kids []string
	for _, p := range pages {
		n := len(objects) + 1
		kids = append(kids, fmt.Sprintf("%d 0 R", n))
		objects = append(objects, fmt.Sprintf("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R /Resources << /Font << /R 3 0 R /B 4 0 R >> >> >>", n+1),
			fmt.Sprintf("<< /Length %d >>\nstream\n%s\nendstream", len(p), p))
	}
	objects[1] = fmt.Sprintf("<< /Type /Pages /Kids [%s] /Count %d >>", strings.Join(kids, " "), len(kids))
	var b strings.Builder
	b.WriteString("%PDF-1.7\n")
	for i, o := range objects {
		fmt.Fprintf(&b, "%d 0 obj\n%s\nendobj\n", i+1, o)
	}
	fmt.Fprintf(&b, "trailer << /Size %d /Root 1 0 R /Info 5 0 R >>\n%%%%EOF\n", len(objects)+1)
	return []byte(b.String())
}

// signedNote is a note within a signed file (PKCS #7).
func signedNote() []byte {
	der := func(tag byte, parts ...string) string {
		body := strings.Join(parts, "")
		return string([]byte{tag, byte(len(body))}) + body // all are shorter than 128 bytes
	}
	const data, signed = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01", "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"
	return []byte(der(0x30, signed, der(0xA0, der(0x30, "\x02\x01\x01", der(0x31), der(0x30, data, der(0xA0, der(0x04, "# Note\n\nIts text."))), der(0x31)))))
}

// wholes are documents that are read as a submission is, through detection and with
// what is in them.
func wholes(t *testing.T) map[string][]byte {
	const (
		mail = "From: Ann Lee <ann@example.org>\nTo: bo@example.org\nSubject: Pumps\nDate: Tue, 3 Mar 2026 10:00:00 +0100\n\nThe pumps are\nhere.\n"
		day  = "BEGIN:VEVENT\nSUMMARY:Review\nDTSTART:20260310T093000Z\nDTEND:20260310T110000Z\nLOCATION:Hall 3\nORGANIZER;CN=Ann:mailto:ann@example.org\nDESCRIPTION:Bring the pumps.\nEND:VEVENT\n"
	)
	return map[string][]byte{
		"paper.pdf": paper(),
		"files.zip": samples.Pack(t,
			samples.Part{Name: "notes/one.md", Data: "# One\n\n## Part\n\nText."}, samples.Part{Name: "two.txt", Data: "First page.\n\fSecond page.\n"},
			samples.Part{Name: "inner.zip", Data: string(samples.Pack(t, samples.Part{Name: "rows.csv", Data: "a,b\n1,2\n"}, samples.Part{Name: "mail.eml", Data: mail}))},
			samples.Part{Name: "broken.pdf", Data: "%PDF-1.7 and nothing more"}, samples.Part{Name: "last.html", Data: "<h1>Last</h1><p>words</p>"}),
		"letters.mbox": []byte("From ann@example.org Tue Mar  3 10:00:00 2026\n" + mail + "\nFrom bo@example.org Wed Mar  4 10:00:00 2026\nFrom: bo@example.org\nSubject: Re: Pumps\n\n> The pumps are\n\n>From now on they run.\n"),
		"note.md.p7m":  signedNote(),
		"days.ics":     []byte("BEGIN:VCALENDAR\nVERSION:2.0\n" + day + "END:VCALENDAR\n"),
		"people.vcf":   []byte("BEGIN:VCARD\nVERSION:4.0\nFN:Ann Lee\nORG:Harbour office\nTEL:+41 31 000 00 00\nEMAIL:ann@example.org\nNOTE:Knows the pumps.\nEND:VCARD\n"),
		"letter.fodt": []byte(`<?xml version="1.0"?><office:document office:mimetype="application/vnd.oasis.opendocument.text"` + strings.ReplaceAll(odfNames, `text="t"`, `text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"`) + `><office:body><office:text>` +
			`<text:h text:outline-level="1">Letter</text:h><text:p>Dear Ann,</text:p><text:list><text:list-item><text:p>one</text:p></text:list-item></text:list></office:text></office:body></office:document>`),
		"pump.go": []byte("package pump\n\n// Run runs.\nfunc Run() {}\n"),
	}
}

func TestWholeGoldens(t *testing.T) {
	cfg := local.DefaultConfig()
	cfg.Isolate = false
	p, err := local.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	for name, data := range wholes(t) {
		t.Run(name, func(t *testing.T) {
			out, err := p.Parse(t.Context(), provider.Source{Name: name, Data: data})
			if err != nil {
				t.Fatal(err)
			}
			goldenIn(t, "whole", name, shown(t, out.Markdown, out.Facts, out.Pages, out.Warnings))
		})
	}
}

// Every format that is read has a golden file, which ties its output to the version.
func TestEveryFormatHasAGolden(t *testing.T) {
	all := wholes(t)
	for name, s := range documents(t) {
		all[name] = s.data
	}
	files, err := filepath.Glob(filepath.Join("testdata", "text", "*.golden"))
	if err != nil {
		t.Fatal(err)
	}
	for _, golden := range files {
		source := strings.TrimSuffix(golden, ".golden")
		data, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(source)] = data
	}
	has := map[*format.Format]bool{}
	for name, data := range all {
		f, _ := sniff.Detect(name, "", data)
		has[f] = true
	}
	for _, f := range formats.All() {
		if f.Read != nil && !has[f] {
			t.Errorf("%s has no golden file", f.Name)
		}
	}
}
