package formats_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"sluice/pkg/fault"
	"sluice/pkg/testcpu"
	"sluice/services/parser/internal/archive"
	"sluice/services/parser/internal/data"
	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/mail"
	"sluice/services/parser/internal/text"
	"sluice/services/parser/internal/web"
)

// member reads what the documents of the tests contain.
func member(ctx context.Context, in format.Input) (*format.Output, error) {
	if filepath.Ext(in.Name) == ".csv" {
		return data.CSV(ctx, in)
	}
	return nil, fault.Invalid("unsupported", "%s is an image", in.Name).WithHint("none")
}

func TestGolden(t *testing.T) {
	for _, c := range []struct {
		file string
		read format.Reader
	}{
		{"page.html", web.HTML},
		{"page.xhtml", web.HTML},
		{"semicolons.csv", data.CSV},
		{"feed.atom", data.Feed},
		{"data.xml", data.XML},
		{"article.xml", data.XML},
		{"mail.eml", mail.EML},
		{"flowed.eml", mail.EML},
		{"notebook.ipynb", data.Notebook},
		{"lines.jsonl", data.JSON},
		{"notes.md", text.Markdown},
		{"pages.txt", text.Plain},
	} {
		t.Run(c.file, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("testdata", "text", c.file))
			if err != nil {
				t.Fatal(err)
			}
			out, err := c.read(t.Context(), format.Input{Name: c.file, Data: data, Convert: member})
			if err != nil {
				t.Fatal(err)
			}
			got := shown(t, out.Markdown, out.Facts, out.Pages, out.Warnings)
			golden := filepath.Join("testdata", "text", c.file+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatalf("%v; run with -update to write it", err)
			}
			if got != string(want) {
				t.Errorf("differs from %s; run with -update if that is right. Got:\n%s", golden, got)
			}
		})
	}
}

func TestPlainFencesProgramText(t *testing.T) {
	out, err := text.Plain(t.Context(), format.Input{Name: "a.go", Data: []byte("package a\n\n// # no heading\n")})
	if err != nil || out.Markdown != "```go\npackage a\n\n// # no heading\n```" {
		t.Errorf("Plain = %q, %v", out.Markdown, err)
	}
}

func TestHTMLFragments(t *testing.T) {
	for in, want := range map[string]string{
		"":                               "",
		"a<b>b</b><b>c</b>d":             "a**bc**d",
		"<b>a <b>b</b></b>":              "**a b**",
		"<p>a<p><p>b":                    "a\n\nb",
		"<b><p>a</p><p>b</p></b>":        "**a**\n\n**b**",
		"<i> </i>x":                      "x",
		"a<br><br>b":                     "a\n\nb",
		"<h1></h1><h2>C #</h2>":          `## C \#`,
		"<pre>\n  a\n b </pre>":          "```\n  a\n b\n```",
		"<pre></pre>":                    "",
		"<code>a|b</code>":               "`a|b`",
		"<table><tr><td>a|b</table>":     "a|b",
		"<table><tr><th>a|b<td>c":        `| a\|b | c |` + "\n| --- | --- |",
		"<a href='x'></a>y":              "y",
		"<a href=' '>y</a>":              "y",
		"<a href='x'>[y</a>":             `[\[y](x)`,
		"<ul><li><ul><li>a</ul></ul>":    "* * a",
		"<ul><li></li><li>b</ul>":        "* b",
		"<ol reversed start=0><li>a":     "0. a",
		"<blockquote><ul><li>a<li>b":     "> * a\n> * b",
		"&lt;script&gt;":                 `\<script>`,
		"x\u200b\u00a0 y":                "x y",
		"<template>t</template><p>a</p>": "a",
		"<table><td>1<td>2<tr><td>3<td>4<table><tr><td>5<td>6</table></table>":             "1\n\n2\n\n3\n\n4\n\n| 5 | 6 |\n| --- | --- |",
		"<table><tr><td>x<td>1<tr><td>y<td>2</table>":                                      "| x | 1 |\n| --- | --- |\n| y | 2 |",
		"<table><tr><td>1<td>2<thead><tr><td>x<td>y</thead></table>":                       "| x | y |\n| --- | --- |\n| 1 | 2 |",
		"<table><tr><th>a<th>b<tr><td colspan=2>c<tr><td>d<td>e</table>":                   "| a | b |\n| --- | --- |\n| c | c |\n| d | e |",
		"<a href='https://www.bing.com/ck/a?!&&p=1&u=a1aHR0cHM6Ly9leGFtcGxlLm9yZy8'>x</a>": "[x](https://example.org/)",
		"<a href='https://www.bing.com/ck/a?!&&p=1&u=a1amF2YXNjcmlwdDp2b2lkKDAp'>x</a>":    "x",
	} {
		got, err := web.ToMarkdown(t.Context(), []byte(in), web.Options{})
		if err != nil || got != want {
			t.Errorf("ToMarkdown(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestHTMLBase(t *testing.T) {
	got, err := web.ToMarkdown(t.Context(), []byte(`<a href="../x?a=1&b=2">x</a><img alt=y src=y.png>`), web.Options{BaseURL: "https://example.org/a/b/"})
	if want := "[x](https://example.org/a/x?a=1&b=2)![y](https://example.org/a/b/y.png)"; err != nil || got != want {
		t.Errorf("HTMLToMarkdown = %q, %v, want %q", got, err, want)
	}
}

func TestHTMLCharset(t *testing.T) {
	out, err := web.HTML(t.Context(), format.Input{Data: []byte("<meta http-equiv=Content-Type content='text/html; charset=windows-1251'><p>\xd3\xf0\xe0")})
	if err != nil || out.Markdown != "Ура" {
		t.Errorf("HTML = %q, %v", out.Markdown, err)
	}
}

// hostileHTML is megabytes of what made other converters run for minutes.
func hostileHTML(n int) map[string]string {
	return map[string]string{
		"spans":             "<table><tr><td colspan=1000 rowspan=65534>x<td colspan=1000 rowspan=65534>y</table>",
		"many spans":        "<table><tr>" + strings.Repeat("<td rowspan=1000 colspan=1000>x", n/10) + strings.Repeat("<tr>", n/10),
		"quotes":            strings.Repeat("<blockquote>", 400) + strings.Repeat("x<br>", n),
		"lists":             strings.Repeat("<ul><li>", 200) + strings.Repeat("x<li>", n),
		"open anchors":      strings.Repeat("<a href=x>", n),
		"open tables":       strings.Repeat("<table>", n),
		"large tables":      strings.Repeat("<table>", 2*n) + "<tr><td>x<td>y<tr><td>x<td>y",
		"table soup":        strings.Repeat("<table><tr><td>", 150) + strings.Repeat("x<td>", n),
		"formatting soup":   strings.Repeat("<b></p><i></b>", n),
		"attributes":        "<p" + strings.Repeat(" a=1 b=2", n) + ">x",
		"headers":           strings.Repeat("<header>", 400) + strings.Repeat("<p>x", n),
		"hidden":            strings.Repeat("<div hidden>", n) + "x",
		"comments":          strings.Repeat("<!--", n),
		"breaks":            "x" + strings.Repeat("<br>", n) + "y",
		"nested emphasis":   strings.Repeat("<b><i><s>", 100) + strings.Repeat("<p>x", n),
		"brackets":          strings.Repeat("[", n) + strings.Repeat("](", n),
		"self-closing":      "<?xml version='1.0'?>" + strings.Repeat("<title", n) + "/>",
		"unclosed doctype":  "<!doctype html" + strings.Repeat("<", n),
		"nested code":       strings.Repeat("<code>", 400) + strings.Repeat("<p>x", n),
		"definition titles": strings.Repeat("<dt>", n),
	}
}

// hostile is a document of another format.
type hostile struct {
	name, data string
	read       format.Reader
}

func hostileFiles(n int) []hostile {
	return []hostile{
		{"quotes.csv", strings.Repeat("\"", 10*n), data.CSV},
		{"wide.csv", strings.Repeat(",", n) + strings.Repeat("\nx", n), data.CSV},
		{"deep.json", strings.Repeat("[", 9_999) + strings.Repeat("]", 9_999), data.JSON},
		{"strings.json", `["` + strings.Repeat(`\"`, n) + `"]`, data.JSON},
		{"deep.xml", strings.Repeat("<a>", n) + strings.Repeat("</a>", n), data.XML},
		{"attributes.xml", "<a " + strings.Repeat("b='c' ", n) + "/>", data.XML},
		{"items.rss", "<rss>" + strings.Repeat("<item>", n), data.Feed},
		{"skip.rss", "<rss>" + strings.Repeat("<image>", n), data.Feed},
		{"entries.atom", "<feed>" + strings.Repeat("<entry><title type='xhtml'>", n/10), data.Feed},
		{"parts.eml", "Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\n\nx\n", n), mail.EML},
		{"nested.eml", nestedMail(12), mail.EML},
		{"deeper.eml", nestedMail(1000), mail.EML},
		{"headers.eml", strings.Repeat("Subject: "+strings.Repeat("=?utf-8?q?a?= ", 100)+"\n", n/100) + "\n\nx", mail.EML},
		{"base64.eml", "Content-Transfer-Encoding: base64\n\n" + strings.Repeat("!A", n), mail.EML},
		{"armor.eml", "Subject: x\n\n" + strings.Repeat("-----BEGIN PGP X\n-----END PGP X\n", n/4), mail.EML},
		{"uu.eml", "Subject: x\n\n" + strings.Repeat("begin 644 x\n#0V%T\n", n/2), mail.EML},
		{"addresses.eml", "From: " + strings.Repeat("=?x?q?a,", n) + "\n\nx", mail.EML},
		{"lines.mbox", strings.Repeat("From a@b Mar  2 10:00 2026\nA:\n", n/4), mail.Mbox},
		{"folded.ics", "BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:x" + strings.Repeat("\n =", n), mail.Calendar},
		{"entries.ics", "BEGIN:VCALENDAR\n" + strings.Repeat("BEGIN:VEVENT\nDESCRIPTION:x\n", n/4), mail.Calendar},
		{"open.p7m", "\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02" + strings.Repeat("\x30\x80", n), mail.PKCS7},
		{"files.tnef", "\x78\x9f\x3e\x22\x01\x00" + strings.Repeat("\x02\x02\x90\x06\x00\x00\x00\x00\x00\x00\x00", n/4), mail.TNEF},
		{"cells.ipynb", `{"cells":[` + strings.TrimSuffix(strings.Repeat(`{"source":[[[]]]},`, n), ",") + `]}`, data.Notebook},
	}
}

func TestHostileIsLinear(t *testing.T) {
	const n = 100_000
	for name := range hostileHTML(0) {
		t.Run(name, func(t *testing.T) {
			testcpu.Linear(t, n, func(n int) {
				_, err := web.ToMarkdown(t.Context(), []byte(hostileHTML(n)[name]), web.Options{Name: "hostile"})
				if err != nil && fault.Of(err) != fault.Validation {
					t.Error(err)
				}
			})
		})
	}
	for i, c := range hostileFiles(0) {
		t.Run(c.name, func(t *testing.T) {
			testcpu.Linear(t, n, func(n int) {
				c := hostileFiles(n)[i]
				_, err := c.read(t.Context(), format.Input{Name: c.name, Data: []byte(c.data), Convert: member})
				if err != nil && fault.Of(err) != fault.Validation {
					t.Error(err)
				}
			})
		})
	}
}

func nestedMail(levels int) string {
	var b strings.Builder
	for i := range levels {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i)
	}
	return b.String() + "\nx\n"
}

func TestOutputLimit(t *testing.T) {
	limits := format.Limits{Output: 1000}
	for name, c := range map[string]struct {
		data string
		read format.Reader
	}{
		"html":     {"<p>" + strings.Repeat("word ", 1000), web.HTML},
		"table":    {"<table><tr><th>a<th>b" + strings.Repeat("<tr><td>x<td>y", 1000), web.HTML},
		"csv":      {strings.Repeat("a,b\n", 1000), data.CSV},
		"xml":      {"<a>" + strings.Repeat("<b>c</b>", 2000) + "</a>", data.XML},
		"feed":     {"<rss><channel>" + strings.Repeat("<item><title>t</title></item>", 1000) + "</channel></rss>", data.Feed},
		"notebook": {`{"cells":[` + strings.Repeat(`{"source":"word word word"},`, 1000) + `{}]}`, data.Notebook},
		"mail":     {"Subject: x\n\n" + strings.Repeat("word ", 1000), mail.EML},
	} {
		_, err := c.read(t.Context(), format.Input{Name: name, Data: []byte(c.data), Limits: limits, Convert: member})
		var f *fault.Error
		if !errors.As(err, &f) || f.Reason != "too-large" {
			t.Errorf("%s beyond the limit: %v, want too-large", name, err)
		}
	}
}

func fuzz(f *testing.F, read format.Reader, seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		out, err := read(context.Background(), format.Input{Name: "fuzz", Data: data, Convert: member})
		if err != nil {
			var e *fault.Error
			if !errors.As(err, &e) || e.Class != fault.Validation {
				t.Fatalf("%q: %v is no Validation fault", data, err)
			}
			return
		}
		if !utf8.ValidString(out.Markdown) {
			t.Fatalf("%q gives %q, which is not UTF-8", data, out.Markdown)
		}
		if len(out.Markdown) > 1<<20+200*len(data) {
			t.Fatalf("%d bytes give %d", len(data), len(out.Markdown))
		}
	})
}

func FuzzHTML(f *testing.F) {
	fuzz(f, web.HTML, "<table><tr><td colspan=9>x<tr><th>y</table>", "<ul><li>a<ol><li><pre>b", "<a href=x><b>y</a>z", "<?xml?><title/><p>")
}

func FuzzCSV(f *testing.F) { fuzz(f, data.CSV, "a,b\n1,2", "sep=;\na;b", "\"a\nb\"\tc", "a|b\n|") }

func FuzzJSON(f *testing.F) {
	fuzz(f, data.JSON, `{"a":[1,"\"",null]}`, "{}\n[]\nx", `[[[`, `"`)
}

func FuzzXML(f *testing.F) {
	fuzz(f, data.XML, "<a b='c'>d<e/></a>", "<p>x<sec><title>y</title></sec></p>", "<table><tr><td>x", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>")
}

func FuzzFeed(f *testing.F) {
	fuzz(f, data.Feed, "<rss><channel><title>a</title><item><title>b</title></item></channel></rss>", "<feed><entry><content type='xhtml'><p>x</p></content></entry></feed>")
}

func FuzzEML(f *testing.F) {
	data, err := os.ReadFile("testdata/text/mail.eml")
	if err != nil {
		f.Fatal(err)
	}
	fuzz(f, mail.EML, string(data), "Subject: =?x?q?y?=\n\nz", "Content-Type: multipart/mixed; boundary=\n\n--\n")
}

func FuzzNotebook(f *testing.F) {
	fuzz(f, data.Notebook, `{"cells":[{"cell_type":"code","source":["x"],"outputs":[{"text":1,"data":{"text/plain":[2]}}]}]}`, `{"worksheets":[{"cells":[{"cell_type":"heading","level":9,"source":"x"}]}]}`)
}

func FuzzZIP(f *testing.F) {
	fuzz(f, archive.ZIP, "PK\x05\x06"+string(make([]byte, 18)), string(bytes.Repeat([]byte("PK\x01\x02"), 9)))
}

// shown is what goldens keep of a document: its Markdown, and what is known of it.
func shown(t *testing.T, markdown string, facts, pages, warnings any) string {
	t.Helper()
	about, err := json.MarshalIndent(struct {
		Facts    any
		Pages    any `json:",omitempty"`
		Warnings any `json:",omitempty"`
	}{facts, pages, warnings}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimRight(markdown, "\n") + "\n\n=====\n" + string(about) + "\n"
}
