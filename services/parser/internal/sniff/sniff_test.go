package sniff_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf16"

	"go.uber.org/goleak"

	"sluice/pkg/fault"
	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/formats"
	"sluice/services/parser/internal/sniff"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func archive(t *testing.T, members ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, m := range members {
		name, content, _ := strings.Cut(m, "=")
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// compound returns the outline of a compound file with these streams.
func compound(class uint32, streams ...string) string {
	b := make([]byte, 512)
	copy(b, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
	entry := func(name string, kind byte, class uint32) {
		e := make([]byte, 128)
		for i, u := range utf16.Encode([]rune(name)) {
			binary.LittleEndian.PutUint16(e[2*i:], u)
		}
		binary.LittleEndian.PutUint16(e[64:], uint16(2*len(name)+2))
		e[66] = kind
		binary.LittleEndian.PutUint32(e[80:], class)
		b = append(b, e...)
	}
	entry("Root Entry", 5, class)
	for _, s := range streams {
		entry(s, 2, 0)
	}
	return string(b)
}

func TestDetect(t *testing.T) {
	png := "\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR\x00\x00\x00\x01"
	mail := "Received: from x\nFrom: a@b.c\nSubject: s\n\nbody"
	for _, c := range []struct {
		name, hint, data string
		want             *format.Format
		media            string
	}{
		// Content decides for binary formats.
		{"a.txt", "text/plain", "%PDF-1.7\n", formats.PDF, "application/pdf"},
		{"a.pdf", "", "\r\n@PJL\n%PDF-1.4\n", formats.PDF, "application/pdf"},
		{"a.txt", "", "the header %PDF-1.4 in prose", formats.Plain, "text/plain"},
		{"a.doc", "", `{\rtf1 x}`, formats.RTF, "application/rtf"},
		{"a.pdf", "", png, formats.Image, "image/png"},
		{"a.bin", "", archive(t, "[Content_Types].xml=", "word/document.xml="), formats.DOCX, ""},
		{"a.docx", "", archive(t, "[Content_Types].xml=", "xl/workbook.xml="), formats.XLSX, ""},
		{"a", "", archive(t, "[Content_Types].xml=", "ppt/presentation.xml="), formats.PPTX, ""},
		{"a", "", archive(t, "[Content_Types].xml=", "xl/workbook.bin="), formats.XLSB, ""},
		{"a", "", archive(t, "mimetype=application/vnd.oasis.opendocument.text"), formats.ODT, ""},
		{"a", "", archive(t, "mimetype=application/epub+zip"), formats.EPUB, "application/epub+zip"},
		{"a", "", archive(t, "META-INF/container.xml="), formats.EPUB, ""},
		{"a.docx", "", archive(t, "word/letter.txt=x"), formats.ZIP, "application/zip"},
		{"a.docx", "", archive(t, "word/letter.txt=x")[:40], formats.DOCX, ""},
		{"a", "", compound(0x00020820), formats.XLS, ""},
		{"a", "", compound(0, "Workbook"), formats.XLS, ""},
		{"a", "", compound(0x00020906, "Workbook"), formats.DOC, "application/msword"},
		{"a", "", compound(0, "PowerPoint Document"), formats.PPT, "application/vnd.ms-powerpoint"},
		{"a", "", compound(0, "__properties_version1.0"), formats.MSG, ""},
		{"a.docx", "", compound(0, "EncryptionInfo", "EncryptedPackage"), formats.Encrypted, ""},
		// The name decides for text formats, then the hint.
		{"a.md", "text/plain", "x", formats.Markdown, "text/markdown"},
		{"a.csv", "application/octet-stream", "x", formats.CSV, "text/csv"},
		{"a.tsv", "", "x\ty", formats.CSV, "text/tab-separated-values"},
		{"", "text/csv; charset=utf-8", "x", formats.CSV, "text/csv"},
		{"a.txt", "", "# heading", formats.Plain, "text/plain"},
		{"a.yaml", "", "# comment", formats.Program, ""},
		{"a.txt", "", "BM is how a bitmap begins", formats.Plain, ""},
		{"a.unknown", "", "MZ, and nothing more", formats.Plain, ""},
		{"a.json", "", `{"cells": [{"cell_type": "code"}], "nbformat": 4}`, formats.Notebook, ""},
		{"a.ipynb", "", "{}", formats.Notebook, ""},
		// Content overrules where it leaves no doubt.
		{"a.xls", "", "<html><table>", formats.HTML, "text/html"},
		{"a.csv", "", "<!DOCTYPE html><p>", formats.HTML, ""},
		{"a.xml", "", "<?xml version='1.0'?><rss version='2.0'>", formats.Feed, "application/rss+xml"},
		{"a.xml", "", "<?xml version='1.0'?><!-- x --><feed xmlns='x'>", formats.Feed, "application/atom+xml"},
		{"a.xml", "", "<?xml version='1.0'?><html xmlns='x'>", formats.HTML, ""},
		{"a.xml", "", "<data/>", formats.XML, "application/xml"},
		{"a.svg", "", "<svg/>", formats.SVG, "image/svg+xml"},
		// Nothing is known but the content.
		{"", "", "some text", formats.Plain, ""},
		{"", "", "# Title\n\ntext", formats.Markdown, ""},
		{"", "", "\n <!doctype HTML>", formats.HTML, ""},
		{"", "", "<p>fragment", formats.HTML, ""},
		{"", "", `[{"a": 1}]`, formats.JSON, ""},
		{"", "", "[link]: not JSON", formats.Plain, ""},
		{"", "", mail, formats.EML, "message/rfc822"},
		{"", "", "To: the reader\nI write this.", formats.Plain, ""},
		{"", "", "a,b,c\n1,2,3\n4,5,6\n", formats.CSV, ""},
		{"", "", "One, two, three.\nFour, five, six.\nSeven, eight, nine.\n", formats.Plain, ""},
		{"", "", "", formats.Plain, ""},
		{"", "", "\xff\xfe<\x00h\x00t\x00m\x00l\x00>\x00", formats.HTML, ""},
	} {
		kind, media := sniff.Detect(c.name, c.hint, []byte(c.data))
		if kind != c.want || c.media != "" && media != c.media {
			t.Errorf("Detect(%q, %q, %.40q) = %s %s, want %s %s", c.name, c.hint, c.data, kind.Name, media, c.want.Name, c.media)
		}
		if media == "" {
			t.Errorf("Detect(%q, %q, %.40q) has no media type", c.name, c.hint, c.data)
		}
	}
}

func TestRefuse(t *testing.T) {
	for media, says := range map[string]string{
		"image/png":          "an image",
		"audio/mpeg":         "an audio file",
		"video/mp4":          "a video file",
		"application/msword": "Word 97",
		"application/x-foo":  "not supported",
	} {
		err := sniff.Refuse(sniff.Unread(media), media, "a.bin")
		if err.Class != fault.Validation || err.Reason != "unsupported" || !strings.Contains(err.Message, says) ||
			!strings.Contains(err.Message, "a.bin") || err.Hint == "" {
			t.Errorf("Refuse(%s) = %+v, want one that says %q", media, err, says)
		}
	}
	if err := sniff.Refuse(formats.Encrypted, "", ""); err.Reason != "encrypted" {
		t.Errorf("Refuse of an encrypted document = %+v", err)
	}
}

func FuzzDetect(f *testing.F) {
	f.Add("a.txt", "text/plain", []byte("PK\x05\x06"))
	f.Add("a.xls", "", []byte(compound(0, "Workbook")))
	f.Add("", "a/b;c", []byte("<a"))
	f.Fuzz(func(t *testing.T, name, hint string, data []byte) {
		if _, media := sniff.Detect(name, hint, data); media == "" {
			t.Errorf("Detect(%q, %q, %q) has no media type", name, hint, data)
		}
	})
}

func TestDetectMail(t *testing.T) {
	box := "From a@example.org Mon Mar  2 10:00:00 2026\nSubject: x\n\ny\n"
	for _, c := range []struct {
		name, data string
		want       *format.Format
	}{
		{"", box, formats.Mbox},
		{"inbox.txt", box, formats.Mbox},
		{"Sent", box, formats.Mbox},
		{"a.mbox", "Subject: x\n\ny", formats.Mbox},
		{"a.txt", "From the start, at 10:00 in 2026,\nit: was a letter.", formats.Plain},
		{"a.py", box, formats.Program},
		{"winmail.dat", "\x78\x9f\x3e\x22\x01\x00\x01\x06\x90\x08\x00\x04\x00\x00\x00", formats.TNEF},
		{"a.bin", "\x30\x82\x01\x00\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0\x82\x00\xf0", formats.PKCS7},
		{"", "BEGIN:VCALENDAR\nEND:VCALENDAR\n", formats.Calendar},
		{"a.ics", "BEGIN:VCALENDAR\nEND:VCALENDAR\n", formats.Calendar},
		{"", "begin:vcard\nend:vcard\n", formats.Contacts},
	} {
		if got, _ := sniff.Detect(c.name, "", []byte(c.data)); got != c.want {
			t.Errorf("Detect(%q, %.20q) = %s, want %s", c.name, c.data, got.Name, c.want.Name)
		}
	}
}
