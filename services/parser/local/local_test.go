package local_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"go.uber.org/goleak"

	"sluice/pkg/fault"
	"sluice/pkg/provider"
	"sluice/pkg/testcpu"
	"sluice/services/parser/local"
)

func TestMain(m *testing.M) {
	local.Init()
	goleak.VerifyTestMain(m)
}

func newParser(t testing.TB, change func(*local.Config)) *local.Parser {
	t.Helper()
	cfg := local.DefaultConfig()
	cfg.IsolateWorkers = 1
	if change != nil {
		change(&cfg)
	}
	p, err := local.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return p
}

func utf16le(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

type member struct {
	name string
	data []byte
}

func zipOf(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, m := range members {
		f, err := w.Create(m.name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(m.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// overlappingZIP returns an archive whose directory names the same compressed
// bytes n times.
func overlappingZIP(t testing.TB, n int, data []byte) []byte {
	t.Helper()
	one := zipOf(t, member{"a.txt", data})
	directory := bytes.LastIndex(one, []byte("PK\x01\x02"))
	end := bytes.LastIndex(one, []byte("PK\x05\x06"))
	entry := one[directory:end]
	out := bytes.Clone(one[:directory])
	for range n {
		out = append(out, entry...)
	}
	tail := bytes.Clone(one[end:])
	binary.LittleEndian.PutUint16(tail[8:], uint16(n))
	binary.LittleEndian.PutUint16(tail[10:], uint16(n))
	binary.LittleEndian.PutUint32(tail[12:], uint32(n*len(entry)))
	return append(out, tail...)
}

// lyingZIP returns an archive whose member unpacks to more than it says.
func lyingZIP(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.CreateRaw(&zip.FileHeader{
		Name: "a.txt", Method: zip.Store, CRC32: crc32.ChecksumIEEE(data),
		CompressedSize64: uint64(len(data)), UncompressedSize64: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestParse(t *testing.T) {
	p := newParser(t, nil)
	for _, c := range []struct {
		name    string
		src     provider.Source
		want    string // all of the Markdown
		media   string
		warning string // part of the only warning
	}{
		{
			name: "text without a name", src: provider.Source{Data: []byte("some text")},
			want: "some text\n", media: "text/plain",
		},
		{
			name: "line ends, controls, blank lines",
			src:  provider.Source{Name: "a.txt", Data: []byte("\r\n\r\na\r\nb\rc\x00\x07\n\n\n\n\n\n" + strings.Repeat("d", 100) + "\u00ad\ufeff  \n \n")},
			want: "a\nb\nc\n\n\n" + strings.Repeat("d", 100) + "\n", media: "text/plain",
		},
		{
			name: "invalid UTF-8", src: provider.Source{Name: "a.txt", Data: []byte(strings.Repeat("naïve ", 10) + "\xff.")},
			want: strings.Repeat("naïve ", 10) + "\uFFFD.\n", media: "text/plain", warning: "not valid utf-8",
		},
		{
			name: "UTF-16 without a mark", src: provider.Source{Name: "a.txt", Data: utf16le("Plain text, nothing more.")},
			want: "Plain text, nothing more.\n", media: "text/plain",
		},
		{
			name: "UTF-16 JSON", src: provider.Source{Name: "a.json", Data: append([]byte{0xff, 0xfe}, utf16le(`{"a":1}`)...)},
			want: "```json\n{\n  \"a\": 1\n}\n```\n", media: "application/json",
		},
		{
			name: "a charset override", src: provider.Source{Name: "a.txt", Charset: "cp1251", Data: []byte("\xd3\xf0\xe0")},
			want: "Ура\n", media: "text/plain",
		},
		{
			name: "a page that is called a workbook", src: provider.Source{Name: "a.xls", Data: []byte("<html><body><table><tr><th>a<th>b<tr><td>1<td>2</table>")},
			want: "| a | b |\n| --- | --- |\n| 1 | 2 |\n", media: "text/html",
		},
		{
			name: "truncated JSON", src: provider.Source{Name: "a.json", Data: []byte(`{"a": [1, 2`)},
			want: "```json\n{\"a\": [1, 2\n```\n", media: "application/json", warning: "not valid JSON",
		},
		{
			name: "truncated XML", src: provider.Source{Name: "a.xml", Data: []byte(`<a><b>c</b>`)},
			want: "```xml\n<a><b>c</b>\n```\n", media: "application/xml", warning: "not well-formed",
		},
		{
			name: "an archive with one file that cannot be read",
			src: provider.Source{Name: "a.zip", Data: zipOf(t, member{"x/", nil}, member{"x/a.md", []byte("# A\n\nb")},
				member{"c.png", []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR\x00\x00")}, member{".DS_Store", []byte("x")})},
			want: "## File: x/a.md\n\n### A\n\nb\n", media: "application/zip", warning: "a.zip/c.png is an image",
		},
		{
			name: "archives in archives",
			src:  provider.Source{Name: "a.zip", Data: zipOf(t, member{"b.zip", zipOf(t, member{"c.txt", []byte("deep")})})},
			want: "## File: b.zip\n\n### File: c.txt\n\ndeep\n", media: "application/zip",
		},
		{
			name: "tags too deep for a tree", src: provider.Source{Name: "a.html", Data: []byte(strings.Repeat("<div>", 100_000) + "deep")},
			want: "deep\n", media: "text/html", warning: "nested too deeply",
		},
		{
			name: "XML 100,000 levels deep", src: provider.Source{Name: "a.xml", Data: []byte(strings.Repeat("<a>", 100_000) + "deep")},
			want: "", media: "application/xml", warning: "not well-formed",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := p.Parse(t.Context(), c.src)
			if err != nil {
				t.Fatal(err)
			}
			if c.want != "" && got.Markdown != c.want {
				t.Errorf("Markdown = %q, want %q", got.Markdown, c.want)
			}
			if got.Facts.Type != c.media {
				t.Errorf("Type = %q, want %q", got.Facts.Type, c.media)
			}
			switch {
			case c.warning == "" && len(got.Warnings) > 0:
				t.Errorf("Warnings = %q, want none", got.Warnings)
			case c.warning != "" && (len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], c.warning)):
				t.Errorf("Warnings = %q, want one with %q", got.Warnings, c.warning)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	p := newParser(t, func(c *local.Config) {
		c.MaxInput, c.MaxOutput, c.MaxExpanded, c.MaxFiles, c.MaxDepth = 8<<20, 1<<20, 4<<20, 20, 3
	})
	zeros := make([]byte, 3<<20)
	lines := bytes.Repeat([]byte("0123456789abcde\n"), 3<<16) // 3 MiB
	var many []member
	for i := range 21 {
		many = append(many, member{fmt.Sprintf("%d.txt", i), []byte("x")})
	}
	nested := zipOf(t, member{"a.txt", []byte("x")})
	for range 5 {
		nested = zipOf(t, member{"b.zip", nested})
	}
	encrypted := zipOf(t, member{"a.txt", []byte("secret")})
	encrypted[6] |= 1
	encrypted[bytes.LastIndex(encrypted, []byte("PK\x01\x02"))+8] |= 1

	for _, c := range []struct {
		name   string
		src    provider.Source
		reason string
		says   string
	}{
		{"no bytes", provider.Source{Name: "a.txt"}, "empty", "no bytes"},
		{"white space", provider.Source{Name: "a.md", Data: []byte(" \n\t\r\n\u00a0")}, "empty", "no text"},
		{"white space as HTML", provider.Source{Name: "a.html", Data: []byte("<html><body> <b> </b>")}, "empty", "no text"},
		{"white space as CSV", provider.Source{Name: "a.csv", Data: []byte(" , \n,\n")}, "empty", "no text"},
		{"white space as JSON", provider.Source{Name: "a.json", Data: []byte(" \n ")}, "empty", "no text"},
		{"a notebook without cells", provider.Source{Name: "a.ipynb", Data: []byte(`{"cells":[]}`)}, "empty", "no text"},
		{"only a byte order mark", provider.Source{Name: "a.txt", Data: []byte("\ufeff")}, "empty", "no text"},
		{"control characters", provider.Source{Name: "a.txt", Data: []byte("\x01\x02\x03\x04")}, "unsupported", "binary data"},
		{"an unknown charset", provider.Source{Name: "a.txt", Charset: "klingon", Data: []byte("x")}, "unsupported", `charset "klingon"`},
		{"random bytes", provider.Source{Name: "a.txt", Data: []byte("\x9c\x01\xfe\x00\x7f\x03\xc3\x28\x80\x81\x02\x00\x11\x90")}, "unsupported", "binary data"},
		{"an image with a text's name", provider.Source{Name: "a.txt", Data: []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR\x00\x00")}, "unsupported", "an image (image/png)"},
		{"a program", provider.Source{Name: "a.exe", Data: append([]byte("MZ\x90\x00\x03\x00\x00\x00\x04"), make([]byte, 200)...)}, "unsupported", "a program"},
		{"gzip", provider.Source{Name: "a.gz", Data: []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x01\x02\x00\x00\x00")}, "unsupported", "an archive"},
		{"an SVG", provider.Source{Name: "a.svg", Data: []byte(`<svg xmlns="http://www.w3.org/2000/svg"><text>x</text></svg>`)}, "unsupported", "SVG"},
		{"zeros within the limit", provider.Source{Name: "a.txt", Data: zeros}, "unsupported", "binary data"},
		{"zeros beyond the limit", provider.Source{Data: make([]byte, 200<<20)}, "too-large", "200 MiB"},
		{"JSON 100,000 levels deep", provider.Source{Name: "a.json", Data: []byte(strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000))}, "unsupported", "100000 levels"},
		{"a truncated archive", provider.Source{Name: "a.zip", Data: zipOf(t, member{"a.txt", lines})[:500]}, "corrupt", "not a readable ZIP"},
		{"a damaged archive", provider.Source{Name: "a.zip", Data: damage(zipOf(t, member{"a.txt", lines}))}, "corrupt", "cannot be unpacked"},
		{"an empty archive", provider.Source{Name: "a.zip", Data: zipOf(t)}, "empty", "no files"},
		{"an encrypted archive", provider.Source{Name: "a.zip", Data: encrypted}, "encrypted", "a.zip/a.txt is encrypted"},
		{"an archive of what nobody reads", provider.Source{Name: "a.zip", Data: zipOf(t, member{"a.bin", zeros[:100]}, member{"b.txt", nil})}, "unsupported", "none of the 2 files"},
		{"an archive of empty files", provider.Source{Name: "a.zip", Data: zipOf(t, member{"a.txt", nil}, member{"b.txt", nil})}, "empty", "none of the 2 files"},
		{"a bomb", provider.Source{Name: "a.zip", Data: zipOf(t, member{"a.txt", bytes.Repeat(zeros, 2)})}, "too-large", "unpacks to more than 4 MiB"},
		{"a bomb of many files", provider.Source{Name: "a.zip", Data: zipOf(t, member{"a.bin", zeros}, member{"b.bin", zeros})}, "too-large", "unpacks to more than 4 MiB"},
		{"a nested bomb", provider.Source{Name: "a.zip", Data: zipOf(t, member{"a.zip", zipOf(t, member{"a.bin", zeros})}, member{"b.zip", zipOf(t, member{"b.bin", zeros})})}, "too-large", "MiB"},
		{"an overlapping bomb", provider.Source{Name: "a.zip", Data: overlappingZIP(t, 10, lines)}, "too-large", "MiB"},
		{"a lying archive", provider.Source{Name: "a.zip", Data: lyingZIP(t, lines)}, "corrupt", "cannot be unpacked"},
		{"too many files", provider.Source{Name: "a.zip", Data: zipOf(t, many...)}, "too-large", "21 files"},
		{"too many files in two archives", provider.Source{Name: "a.zip", Data: zipOf(t, member{"b.zip", zipOf(t, many[:10]...)}, member{"c.zip", zipOf(t, many[:10]...)})}, "too-large", "20"},
		{"archives too deep", provider.Source{Name: "a.zip", Data: nested}, "too-large", "within 3 others"},
		{"too much Markdown", provider.Source{Name: "a.txt", Data: lines}, "too-large", "of Markdown"},
		{"too much Markdown from HTML", provider.Source{Name: "a.html", Data: []byte(strings.Repeat("<blockquote>", 300) + strings.Repeat("x<br>", 100_000))}, "too-large", "of Markdown"},
		{"an empty e-mail", provider.Source{Name: "a.eml", Data: []byte("X-Nothing: 1\r\n\r\n")}, "empty", "neither subject nor text"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := p.Parse(t.Context(), c.src)
			var f *fault.Error
			if !errors.As(err, &f) {
				t.Fatalf("Parse = %.100q, %v, want a fault", got.Markdown, err)
			}
			if f.Class != fault.Validation || f.Reason != c.reason || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Parse fails as %v %q: %v, want validation %q saying %q", f.Class, f.Reason, err, c.reason, c.says)
			}
			if f.Hint == "" {
				t.Errorf("no hint with %v", err)
			}
			if c.src.Name != "" && !strings.Contains(err.Error(), c.src.Name) {
				t.Errorf("%q does not name %s", err, c.src.Name)
			}
		})
	}
}

// A bomb costs what its limit allows, however much more is in it.
func TestBombsCostWhatTheLimitAllows(t *testing.T) {
	p := newParser(t, func(c *local.Config) {
		c.MaxInput, c.MaxOutput, c.MaxExpanded, c.MaxFiles, c.MaxDepth = 8<<20, 1<<20, 4<<20, 1000, 3
		c.Isolate = false // the processor time of this process is measured
	})
	lines := bytes.Repeat([]byte("0123456789abcde\n"), 1<<16) // 1 MiB
	for name, data := range map[string]func(n int) []byte{    // n MiB
		"one file":    func(n int) []byte { return zipOf(t, member{"a.txt", bytes.Repeat(lines, n)}) },
		"many files":  func(n int) []byte { return zipOf(t, slices.Repeat([]member{{"a.txt", lines}}, n)...) },
		"overlapping": func(n int) []byte { return overlappingZIP(t, n, lines) },
		"nested": func(n int) []byte {
			return zipOf(t, member{"a.zip", zipOf(t, member{"a.bin", bytes.Repeat(lines, n/2)})}, member{"b.zip", zipOf(t, member{"b.bin", bytes.Repeat(lines, n/2)})})
		},
	} {
		t.Run(name, func(t *testing.T) {
			refused := func(n int) func() {
				src := provider.Source{Name: "a.zip", Data: data(n)}
				return func() {
					if _, err := p.Parse(t.Context(), src); fault.From(err) == nil || fault.From(err).Reason != "too-large" {
						t.Errorf("%d MiB: %v", n, err)
					}
				}
			}
			testcpu.Bounded(t, refused(8), refused(128))
		})
	}
}

// damage flips bytes in the middle of the compressed data of an archive.
func damage(b []byte) []byte {
	for i := len(b) / 3; i < len(b)/3+20; i++ {
		b[i] ^= 0x55
	}
	return b
}

func TestTimeout(t *testing.T) {
	p := newParser(t, func(c *local.Config) { c.Timeout = time.Nanosecond })
	_, err := p.Parse(t.Context(), provider.Source{Name: "a.csv", Data: bytes.Repeat([]byte("a,b\n"), 10_000)})
	var f *fault.Error
	if !errors.As(err, &f) || f.Class != fault.Validation || f.Reason != "timeout" {
		t.Errorf("Parse without time: %v", err)
	}
}

func TestCallerGoesAway(t *testing.T) {
	p := newParser(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := p.Parse(ctx, provider.Source{Name: "a.csv", Data: bytes.Repeat([]byte("a,b\n"), 10_000)})
	if fault.Of(err) != fault.Unavailable {
		t.Errorf("Parse with an ended context: %v, want Unavailable", err)
	}
}

func TestConfig(t *testing.T) {
	cfg := local.DefaultConfig()
	cfg.MaxDepth = 0
	if _, err := local.New(cfg); fault.Of(err) != fault.Halt {
		t.Errorf("New with a depth of 0: %v, want Halt", err)
	}
	if err := local.DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}

func TestLargeTextIsIsolated(t *testing.T) {
	p := newParser(t, nil)
	line := "<p>This is a line of a large page.</p>\n"
	got, err := p.Parse(t.Context(), provider.Source{Name: "a.html", Data: []byte(strings.Repeat(line, 5<<20/len(line)))})
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(got.Markdown, "large page"); n != 5<<20/len(line) {
		t.Errorf("%d lines, want %d", n, 5<<20/len(line))
	}
}

// FuzzParse feeds every in-process reader and checks the promised form.
func FuzzParse(f *testing.F) {
	for _, s := range []struct{ name, data string }{
		{"a.txt", "text"},
		{"a.html", "<table><tr><td colspan=3>x<td>y</table>"},
		{"a.csv", "a;b\n\"1;2"},
		{"a.json", `{"a":[1,{"b":null}]}`},
		{"a.xml", "<a b='c'>d<e/></a>"},
		{"a.rss", "<rss><channel><title>t</title><item><title>i</title></item></channel></rss>"},
		{"a.eml", "From: a@b.c\nSubject: s\n\nbody"},
		{"a.ipynb", `{"cells":[{"cell_type":"code","source":["x"],"outputs":[{"text":"y"}]}]}`},
		{"", "\xff\xfea\x00"},
	} {
		f.Add(s.name, []byte(s.data))
	}
	cfg := local.DefaultConfig()
	cfg.Isolate = false
	p, err := local.New(cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = p.Close() })
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		if bytes.Contains(data, []byte("%PDF-")) {
			t.Skip("read by other packages")
		}
		got, err := p.Parse(context.Background(), provider.Source{Name: name, Data: data})
		if err != nil {
			var f *fault.Error
			if !errors.As(err, &f) || f.Class != fault.Validation || f.Reason == "" {
				t.Fatalf("Parse(%q, %q): %v is no Validation fault", name, data, err)
			}
			return
		}
		if err := check(got); err != nil {
			t.Fatalf("Parse(%q, %q) = %q: %v", name, data, got.Markdown, err)
		}
	})
}

// check reports how a result breaks the promised form.
func check(p provider.Parse) error {
	switch md := p.Markdown; {
	case !utf8.ValidString(md):
		return errors.New("not UTF-8")
	case strings.TrimSpace(md) == "":
		return errors.New("empty")
	case !strings.HasSuffix(md, "\n") || strings.HasSuffix(md, "\n\n"):
		return errors.New("not one line end at the end")
	case strings.Contains(md, "\n\n\n\n"):
		return errors.New("more than two blank lines")
	case strings.ContainsFunc(md, func(r rune) bool { return r < 0x20 && r != '\n' && r != '\t' || r == 0x7f }):
		return errors.New("control characters")
	}
	last := 0
	for _, m := range p.Pages {
		if m.Offset < last || m.Offset > len(p.Markdown) {
			return errors.New("page marks out of order or range")
		}
		last = m.Offset
	}
	return nil
}

var _ io.Closer = (*local.Parser)(nil)
