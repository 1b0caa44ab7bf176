package local

import (
	"encoding/base64"
	"strings"
	"testing"

	"sluice/pkg/events"
	"sluice/pkg/provider"
	"sluice/pkg/testcpu"
)

// png is the base64 of something that begins like a picture, of n bytes.
func png(n int) string {
	data := []byte("\x89PNG\r\n\x1a\n")
	for i := uint32(1); len(data) < n; i = i*1664525 + 1013904223 {
		data = append(data, byte(i>>16))
	}
	return base64.StdEncoding.EncodeToString(data)
}

// wrap breaks s into lines, as mail does.
func wrap(s, end string) string {
	var b strings.Builder
	for ; len(s) > 76; s = s[76:] {
		b.WriteString(s[:76] + end)
	}
	return b.String() + s
}

func TestPicturesAreCutToTheirDescription(t *testing.T) {
	data := png(3000)
	uri := "data:image/png;base64," + data
	for name, test := range map[string]struct{ in, want string }{
		"inline":        {"a ![Sales *per* month](" + uri + ") b", "a Sales *per* month b"},
		"with title":    {"![Sales](<" + uri + "> \"The \\n title\") b", "Sales b"},
		"in a link":     {"[![Sales](" + uri + ")](http://x.org)", "[Sales](http://x.org)"},
		"two":           {"![A](" + uri + ") and ![B [c]](" + uri + ")", "A and B [c]"},
		"no text":       {"a\n\n![](" + uri + ")\n\nb", "a\n\n\n\nb"},
		"small":         {"![dot](data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7)", "dot"},
		"wrapped":       {"![Sales](data:image/png;base64," + wrap(data, "\n") + ") b", "Sales b"},
		"link":          {"[the file](data:application/pdf;base64," + data + ") b", "the file b"},
		"reference":     {"a ![][image1] ![Sales][Image1] b\n\n[image1]: <" + uri + ">\n\nc", "a  Sales b\n\n\n\nc"},
		"shortcut":      {"![Sales] ![other]\n\n[sales]: " + uri + "\n", " ![other]\n\n\n"},
		"tag":           {`a <img alt="Floor &amp; plan" src="` + uri + `"> b`, "a Floor &amp; plan b"},
		"tag, alt last": {"<p><IMG width=3 src='" + uri + "'\n  title='t' alt='Floor > plan' /></p>", "<p>Floor > plan</p>"},
		"tag, wrapped":  {`<img src="data:image/png;base64,` + wrap(data, "\n  ") + `" alt=Plan> b`, "Plan b"},
		"tag, no alt":   {`a <img data-alt="x" src="` + uri + `"> b`, "a  b"},
		"other tag":     {`<source srcset="` + uri + `" media="x">`, `<source srcset="" media="x">`},
		"style":         {`<div style="background:url(` + uri + `)">text</div>`, `<div style="background:url()">text</div>`},
		"svg":           {`![Map](data:image/svg+xml,%3Csvg%20xmlns=%22http://www.w3.org/2000/svg%22%20viewBox=%220%200%2010%2010%22/%3E) b`, "Map b"},
		"svg tag":       {`<img src="data:image/svg+xml;utf8,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 10 10'></svg>" alt="Map"> b`, "Map b"},
		"value":         {"```json\n{\n  \"logo\": \"" + uri + "\",\n  \"n\": 1\n}\n```", "```json\n{\n  \"logo\": \"data:image/png;base64,…\",\n  \"n\": 1\n}\n```"},
		"escaped value": {"{\"logo\": \"data:image\\/png;base64," + wrap(strings.ReplaceAll(data, "/", `\/`), `\n`) + "\"}", "{\"logo\": \"data:image\\/png;base64,…\"}"},
		"bare value":    {"{\"logo\": \"" + data + "\", \"n\": 1}", "{\"logo\": \"…\", \"n\": 1}"},
		"words after":   {"A picture " + png(900) + "\nword " + png(900) + " word\n\n" + strings.Repeat("long/", 20), "A picture …\nword … word\n\n" + strings.Repeat("long/", 20)},
		"bare, wrapped": {"Content:\n\n" + wrap(data, "\n") + "\n\nend", "Content:\n\n…\n\nend"},
		"code":          {"```html\n<img alt=\"x\" src=\"" + uri + "\">\n```", "```html\n<img alt=\"x\" src=\"data:image/png;base64,…\">\n```"},
		"css":           {"x { background: url(" + uri + ") }", "x { background: url(data:image/png;base64,…) }"},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, _ := cutPictures(test.in, nil)
			if got != test.want {
				t.Errorf("%.200q becomes\n%.300q, want\n%.300q", test.in, got, test.want)
			}
		})
	}
}

func TestWhatIsNoPictureStays(t *testing.T) {
	for _, s := range []string{
		"![A plan](plan.png) and `data:image/png;base64,AAAA` as an example.",
		"```html\n<img src=\"data:image/png;base64," + png(90) + "\">\n```",
		"`![x](data:image/png;base64," + png(90) + ")` is how",
		"metadata: image/png;base64, is a type; data:, too",
		"see data:image/png;base64 and data:text/plain,hello",
		"A key:\n\nMII" + wrap(strings.Repeat("QABCdef0", 100), "\n") + "\n",
		"iVBORw0KGgo is how a PNG begins in base64, /9j/ a JPEG.",
		"[a]: http://x.org\n\n![b][a]",
		"A picture " + png(120) + " and words",
		"sha256-" + strings.Repeat("0123456789abcdef", 60),
	} {
		if got, _, warnings := cutPictures(s, nil); got != s || warnings != nil {
			t.Errorf("%.200q becomes %.200q, %q", s, got, warnings)
		}
	}
}

func TestPageMarksMoveWithPictures(t *testing.T) {
	uri := "![x](data:image/png;base64," + png(200) + ")"
	s := "one\n" + uri + "\ntwo\n" + uri + "\nthree\n"
	marks := []events.PageMark{{Page: 1}, {Page: 2, Offset: 10}, {Page: 3, Offset: strings.Index(s, "two")}, {Page: 4, Offset: strings.Index(s, "three")}, {Page: 5, Offset: len(s)}}
	got, moved, _ := cutPictures(s, marks)
	want := []int{0, strings.Index(got, "x"), strings.Index(got, "two"), strings.Index(got, "three"), len(got)}
	for i, m := range moved {
		if m.Page != i+1 || m.Offset != want[i] {
			t.Errorf("page %d is at %d of %q, want %d", m.Page, m.Offset, got, want[i])
		}
	}
	if len(moved) != 5 {
		t.Error(moved)
	}
}

// Every text format goes the same way.
func TestPicturesInEveryTextFormat(t *testing.T) {
	data := png(3000)
	uri := "data:image/png;base64," + data
	p, err := New(Config{
		MaxInput: 1 << 20, MaxOutput: 1 << 20, MaxExpanded: 1 << 20, MaxPages: 9, MaxFiles: 9, MaxDepth: 2, Timeout: DefaultConfig().Timeout, IsolateMemory: 1 << 30,
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string]string{
		"a.md":    "# ![Logo](" + uri + ") Words before\n\nand after.",
		"a.txt":   "Words before " + uri + "\n\nand after.",
		"a.html":  "<p>Words before <img src='" + uri + "' alt='x'> and <a href='" + uri + "'>link</a> and after.</p>",
		"a.csv":   "name,picture\nWords before," + uri + "\nand after.," + data + "\n",
		"a.json":  `{"a":"Words before","b":"` + uri + `","c":"` + data + `","d":"and after."}`,
		"a.jsonl": `{"a":"Words before","b":"` + uri + `"}` + "\n" + `{"d":"and after."}` + "\n",
		"a.xml":   "<r><a>Words before</a><b>" + uri + "</b><c>" + wrap(data, "\n") + "</c><d src=\"" + uri + "\">and after.</d></r>",
		"a.css":   "/* Words before */ x { background: url(" + uri + ") } /* and after. */",
		"a.yaml":  "a: Words before\nb: " + uri + "\nc: and after.\n",
		"a.ipynb": `{"nbformat":4,"nbformat_minor":5,"metadata":{},"cells":[{"cell_type":"markdown","metadata":{},"source":["Words before ![i](` + uri + `)"],"attachments":{"i":{"image/png":"` + data + `"}}},` +
			`{"cell_type":"code","metadata":{},"source":["x"],"execution_count":1,"outputs":[{"output_type":"display_data","metadata":{},"data":{"image/png":"` + data + `","text/markdown":["![p](` + uri + `)"]}},` +
			`{"output_type":"stream","name":"stdout","text":["` + uri + `\n"]}]},{"cell_type":"markdown","metadata":{},"source":["and after."]}]}`,
		"a.eml": "From: a@x.org\r\nSubject: Words before\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n" + wrap(uri, "\r\n") + "\r\n\r\nand after.\r\n",
	} {
		out, err := p.Parse(t.Context(), provider.Source{Name: name, Data: []byte(body)})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(out.Markdown) > 1500 || !strings.Contains(out.Markdown, "ords before") || !strings.Contains(out.Markdown, "and after.") {
			t.Errorf("%s: %.600q", name, out.Markdown)
		}
		if len(out.Facts.Title) > 100 {
			t.Errorf("%s: the title is %q", name, out.Facts.Title)
		}
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestFilesInTheTextAreSaid(t *testing.T) {
	_, _, w := cutPictures("[a](data:application/pdf;base64,"+png(900)+") ![b](data:image/png;base64,"+png(900)+")", nil)
	if len(w) != 1 || !strings.Contains(w[0], "1 files") {
		t.Errorf("warnings %q", w)
	}
}

func TestCuttingIsLinear(t *testing.T) {
	const bytes = 1 << 18
	for name, unit := range map[string]string{
		"heads": "data:", "short": "data:image/png;base64,AAAA ", "addresses": "data:image/x,", "quoted": `"data:image/x,`, "pictures": "![](data:image/png;base64," + png(60) + ")",
		"brackets": "[[", "open": "](data:image/png;base64," + png(60), "tags": `<img src="data:image/png;base64,` + png(60), "magic": "/9j/", "magics": " /9j/ iVBORw0KGgo",
		"definitions": "[a]: data:image/png;base64," + png(60) + "\n![a]\n", "lines": wrap(png(400), "\n") + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := strings.Repeat(unit, bytes/len(unit))
			testcpu.Linear(t, bytes, func(n int) { cutPictures(s[:min(n, len(s))], nil) })
		})
	}
}

func FuzzCutPictures(f *testing.F) {
	f.Add("![a](data:image/png;base64,"+png(100)+")\n[b]: <data:image/gif;base64,"+png(70)+">\n![b]", 5)
	f.Add(`<img alt="a" src="data:image/png;base64,`+png(600)+`"> `+"`data:,`", 30)
	f.Fuzz(func(t *testing.T, s string, mark int) {
		mark = min(max(mark, 0), len(s))
		got, pages, _ := cutPictures(s, []events.PageMark{{Page: 1, Offset: mark}, {Page: 2, Offset: len(s)}})
		if len(got) > len(s)+len("…")*len(s)/leastPicture || len(pages) != 2 || pages[0].Offset > pages[1].Offset || pages[1].Offset != len(got) {
			t.Fatalf("%q becomes %q, pages %v", s, got, pages)
		}
	})
}
