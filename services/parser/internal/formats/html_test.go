package formats_test

import (
	"strings"
	"testing"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/web"
)

// pageOf reads a page.
func pageOf(t *testing.T, src string) (string, []string) {
	t.Helper()
	out, err := web.HTML(t.Context(), format.Input{Name: "page.html", Data: []byte(src)})
	if err != nil {
		t.Fatal(err)
	}
	return out.Markdown, out.Warnings
}

func TestHTMLKeepsValues(t *testing.T) {
	for in, want := range map[string]string{
		"10<sup>6</sup> and 25 m<sup>2</sup>, 10<sup>-3</sup>":                                                    "10^6 and 25 m^2, 10^-3",
		"<b>10</b><sup>6</sup>":                                                                                   "**10**^6",
		"<p>(a+b)<sup>2</sup>":                                                                                    "(a+b)^2",
		"10<span style='vertical-align: super'>9</span>":                                                          "10^9",
		"word<sup>1</sup>, 2<sup>nd</sup>":                                                                        "word1, 2nd",
		"in 1998<sup><a href='#n3'>3</a></sup>":                                                                   `in 1998\[3\]`,
		"word<sup><a href='#n3'>3</a></sup>":                                                                      "word3",
		"<a href='x'>y</a><sup>1</sup>":                                                                           "[y](x)1",
		"1010<sub>2</sub>, H<sub>2</sub>O":                                                                        "1010_2, H2O",
		"<table><tr><th>a<th>m<sup>2</sup><tr><td>1<td>10<sup>4</sup></table>":                                    "| a | m^2 |\n| --- | --- |\n| 1 | 10^4 |",
		"<ruby>東<rp>(</rp><rt>とう</rt><rp>)</rp></ruby>京":                                                          "東(とう)京",
		"<ol type=a><li>x<li>y</ol>":                                                                              "* a. x\n* b. y",
		"<ol type=I start=3><li>x</ol>":                                                                           "* III. x",
		"<ol style='list-style-type: lower-roman'><li>x<li>y</ol>":                                                "* i. x\n* ii. y",
		"<ol reversed><li>x<li>y</ol>":                                                                            "2. x\n1. y",
		"<ol start=-1><li>x<li>y</ol>":                                                                            "* -1. x\n0. y",
		"<p>Name: <input value='Ada'> <input type=hidden value=no><input type=password value=no>":                 "Name: Ada",
		"<input type=radio checked> yes <input type=radio> no":                                                    "[x] yes [ ] no",
		"<p>City: <select><option>Bern<option selected>Basel</select>":                                            "City: Basel",
		"<p>City: <select><option>Bern<option>Basel</select>":                                                     "City: Bern",
		"<textarea>as\ntyped</textarea>":                                                                          "as typed",
		"<img alt='A cat' src='data:image/png;base64,AAAA'>":                                                      "A cat",
		"a <math><mfrac><mn>1</mn><msqrt><mi>x</mi></msqrt></mfrac></math>":                                       `a $\frac{1}{\sqrt{x}}$`,
		"<math display=block><msup><mi>e</mi><mrow><mi>i</mi><mi>π</mi></mrow></msup></math>":                     `$$e^{i\pi}$$`,
		"<math><mfenced><mi>a</mi><mi>b</mi></mfenced></math>":                                                    `$\left(a,b\right)$`,
		"<math><mover><mi>x</mi><mo>^</mo></mover></math>":                                                        `$\hat{x}$`,
		"<math><mo>(</mo><mtable><mtr><mtd><mn>1</mn></mtd><mtd><mn>2</mn></mtd></mtr></mtable><mo>)</mo></math>": `$\left(\begin{matrix}1 & 2\end{matrix}\right)$`,
		"<iframe srcdoc='&lt;p&gt;inside&lt;/p&gt;'></iframe>":                                                    "inside",
		"<svg><text>Axis</text><text>10</text><title>no</title></svg>":                                            "Axis 10",
		"<base href='https://example.org/a/'><a href='b'>x</a>":                                                   "[x](https://example.org/a/b)",
	} {
		got, err := web.ToMarkdown(t.Context(), []byte(in), web.Options{})
		if err != nil || got != want {
			t.Errorf("ToMarkdown(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestHTMLMergedCells(t *testing.T) {
	for in, want := range map[string]string{
		"<tr><th rowspan=2>R<th colspan=2>S<tr><th>1<th>2<tr><td rowspan=0>N<td>a<td>b<tr><td>c<td>d": "| R | S | S |\n| --- | --- | --- |\n| R | 1 | 2 |\n| N | a | b |\n| N | c | d |",
		// A cell does not reach out of its group of rows.
		"<thead><tr><th>x<th rowspan=9>y</thead><tbody><tr><td rowspan=2>1<td>2<tr><td>3": "| x | y |\n| --- | --- |\n| 1 | 2 |\n| 1 | 3 |",
		"<tr><th>a<th>b<tr><td rowspan=2 colspan=2>c<tr><tr><td>d<td>e":                   "| a | b |\n| --- | --- |\n| c | c |\n| c | c |\n| d | e |",
	} {
		got, err := web.ToMarkdown(t.Context(), []byte("<table>"+in+"</table>"), web.Options{})
		if err != nil || got != want {
			t.Errorf("%s\n%s\n%v, want\n%s", in, got, err, want)
		}
	}
}

// What frames a page is left out for what it is, not for its name.
func TestHTMLFrame(t *testing.T) {
	article := "<p>" + strings.Repeat("The tide comes in twice a day. ", 20) + "</p>"
	menu := `<ul><li><a href="/one">Products</a></li><li><a href="/two">Pricing</a></li><li><a href="/three">Login</a></li></ul>`
	for name, c := range map[string]struct {
		page     string
		has, not []string
	}{
		"texts of header and footer": {
			`<header><h2>Report of the board</h2><p>By <a href="/ada">Ada</a></p>` + menu + `</header>` + article + `<footer><address>Quay 12, Bern, <a href="mailto:a@example.org">a@example.org</a></address>` + menu + `</footer>`,
			[]string{"## Report of the board", "By [Ada]", "Quay 12", "a@example.org", "tide"},
			[]string{"Pricing"},
		},
		"by role": {
			`<div role="banner"><p>Issue 7</p><div role="navigation">` + menu + `</div></div>` + article + `<div role="contentinfo"><p>IBAN CH93</p></div>`,
			[]string{"Issue 7", "IBAN CH93"},
			[]string{"Pricing"},
		},
		"a link in a line": {
			article + `<footer>Bank of <a href="/bern">Bern</a>, IBAN CH93</footer>`,
			[]string{"Bank of [Bern](/bern), IBAN CH93"},
			nil,
		},
		"menus": {
			`<header><a href="/"><img src="l.png" alt="Logo"></a><nav>` + menu + `</nav></header><main><h1>Lamps</h1>` + article + `</main><footer><a href="/i">Imprint</a> <a href="/t">Terms</a></footer>`,
			[]string{"# Lamps"},
			[]string{"Pricing", "Imprint", "Terms", "Logo"},
		},
		"beside the main part": {
			`<div><p>Valid until May 2027.</p></div><div>` + menu + `</div><main>` + article + `</main><div><p>Signed: B. Moor</p></div>`,
			[]string{"Valid until May 2027.", "Signed: B. Moor"},
			[]string{"Pricing"},
		},
		"a page of nothing but navigation": {`<nav><h2>Handbook</h2>` + menu + `</nav>`, []string{"## Handbook", "Products", "Login"}, nil},
		"by role, nothing else":            {`<div role="navigation">` + menu + `</div>`, []string{"Products", "Login"}, nil},
		"with a line of text":              {`<p>Choose one.</p><nav>` + menu + menu + `</nav>`, []string{"Choose one.", "Products", "Login"}, nil},
		"nested lists of links":            {article + `<ul><li><a href="/a">Part</a><ul><li><a href="/b">Chapter</a></li></ul></li></ul>`, []string{"Part", "  * [Chapter](/b)"}, nil},
		"contents of a site":               {article + `<nav aria-label="Table of contents"><ol><li><a href="a.html">Hiring</a></li><li><a href="b.html">Leave</a></li></ol></nav>`, []string{"Hiring", "Leave"}, nil},
		"contents of the page":             {article + `<nav class="toc"><a href="#a">Hiring</a> <a href="#b">Leave</a></nav>`, nil, []string{"Hiring"}},
		"prose in a nav":                   {article + `<nav><p>` + strings.Repeat("Long words about the way. ", 12) + `<a href="/x">next</a></p></nav>`, []string{"about the way"}, nil},
		"a class of a layout":              {article + `<div class="gutter">Wide words</div><div class="noprint"><p>` + strings.Repeat("Words for the screen. ", 12) + `</p></div>`, []string{"Wide words", "for the screen"}, nil},
		"numbers of lines":                 {article + `<pre><span class="lineno">1</span>x = 1</pre>`, []string{"\nx = 1"}, []string{"1x"}},
	} {
		got, warnings := pageOf(t, "<html><body>"+c.page+"</body></html>")
		for _, s := range c.has {
			if !strings.Contains(got, s) {
				t.Errorf("%s: no %q in\n%s", name, s, got)
			}
		}
		for _, s := range c.not {
			if strings.Contains(got, s) {
				t.Errorf("%s: %q in\n%s", name, s, got)
			}
		}
		if len(warnings) > 0 {
			t.Errorf("%s: %q", name, warnings)
		}
	}
}

// What opens on a click is part of a page; what else is hidden is warned of.
func TestHTMLHidden(t *testing.T) {
	article := "<h1>Manual</h1><p>" + strings.Repeat("Turn the wheel slowly. ", 10) + "</p>"
	for name, c := range map[string]struct {
		page string
		kept bool
		warn string
	}{
		"tab":                {`<div class="tab-pane" style="display: none"><p>UNSEEN oil it</p></div>`, true, ""},
		"tab by role":        {`<div role="tabpanel" hidden>UNSEEN oil it</div>`, true, ""},
		"answer":             {`<h3><button>How?</button></h3><div aria-hidden="true">UNSEEN oil it</div>`, true, ""},
		"by its button":      {`<button aria-expanded="false" aria-controls="x1">How?</button><hr><div id="x1" hidden>UNSEEN oil it</div>`, true, ""},
		"details":            {`<details><summary>How?</summary>UNSEEN oil it</details>`, true, ""},
		"hidden":             {`<div hidden>UNSEEN oil it</div>`, false, "3 words that the page keeps hidden"},
		"dialog":             {`<dialog>UNSEEN oil it</dialog>`, false, "3 words that the page keeps hidden"},
		"menu":               {`<div hidden><a href="/a">UNSEEN</a> <a href="/b">oil</a></div>`, false, ""},
		"shown twice":        {`<p>UNSEE oil it now</p><div style="display:none">oil it now</div>`, false, ""},
		"name of an icon":    {`<i class="material-icons" aria-hidden="true">UNSEEN</i>`, false, ""},
		"template":           {`<template>UNSEEN</template><script>UNSEEN</script>`, false, ""},
		"embedded elsewhere": {`<iframe src="https://example.org/map"></iframe>`, false, "1 other pages"},
	} {
		got, warnings := pageOf(t, "<html><body>"+article+c.page+"</body></html>")
		if strings.Contains(got, "UNSEEN") != c.kept {
			t.Errorf("%s: kept is not %v:\n%s", name, c.kept, got)
		}
		if w := strings.Join(warnings, "\n"); (w != "") != (c.warn != "") || !strings.Contains(w, c.warn) {
			t.Errorf("%s: warned %q, want %q", name, w, c.warn)
		}
	}
}

// What a page says only to those who run no programs is kept, once; that it wants
// them to is not.
func TestHTMLWithoutPrograms(t *testing.T) {
	const text = "<p>The town lies on a river and has three bridges.</p>"
	for name, c := range map[string]struct{ in, want string }{
		"a picture that a program loads": {
			text + `<img class="lazy" src="data:image/gif;base64,R0lG"><noscript><img src="map.png" alt="Map of the old town"></noscript>`, "![Map of the old town](map.png)",
		},
		"in a sentence": {
			text + `<p>See <noscript><img src="map.png" alt="Map of the old town"></noscript> for more.</p>`, "See ![Map of the old town](map.png) for more.",
		},
		"a table that it draws": {
			text + `<div id=chart></div><noscript><table><tr><th>Year<th>Ships<tr><td>2025<td>17</table></noscript>`, "| Year | Ships |\n| --- | --- |\n| 2025 | 17 |",
		},
		"the same picture":      {text + `<img data-src="map.png" alt="Map of the old town"><noscript><img src="map.png" alt="Map of the old town"></noscript>`, ""},
		"twice":                 {text + strings.Repeat(`<noscript><p>Call us at the harbour office.</p></noscript>`, 2), "Call us at the harbour office."},
		"the same text":         {text + `<noscript><p>The town lies on a river</p></noscript>`, ""},
		"a notice":              {text + `<noscript>Please enable <a href=x>JavaScript</a> to read comments.</noscript>`, ""},
		"a counter of visitors": {text + `<noscript><img height="1" width="1" alt="pixel counter" src="https://example.com/tr"><img style="display:none" alt="other counter" src=y><iframe src="https://example.com/ns" height=0 width=0></iframe></noscript>`, ""},
		"nothing else":          {`<noscript><p>The town lies on a river and has three bridges.</p></noscript>`, ""},
	} {
		got, warnings := pageOf(t, "<body>"+c.in)
		if name == "the same picture" {
			if n := strings.Count(got, "Map of the old town"); n != 1 {
				t.Errorf("%s: it stands %d times\n%s", name, n, got)
			}
			continue
		}
		want := strings.TrimSpace("The town lies on a river and has three bridges.\n\n" + c.want)
		if strings.TrimSpace(got) != want || len(warnings) > 0 {
			t.Errorf("%s: %q\n%s\nwant\n%s", name, warnings, got, want)
		}
	}
}
