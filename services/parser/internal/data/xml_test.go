package data

import (
	"encoding/base64"
	"strings"
	"testing"

	"sluice/services/parser/internal/format"
)

func readXML(t *testing.T, src string) *format.Output {
	t.Helper()
	out, err := XML(t.Context(), format.Input{Name: "a.xml", Data: []byte(src)})
	if err != nil {
		t.Fatalf("%s: %v", src, err)
	}
	return out
}

func TestXMLProse(t *testing.T) {
	for name, c := range map[string]struct{ src, want string }{
		"values side by side": {
			`<article><front><contrib-group><contrib><name><surname>Ito</surname><given-names>Rin</given-names></name></contrib></contrib-group><pub-date><day>3</day><month>4</month><year>1999</year></pub-date></front><body><p>Text.</p></body></article>`,
			"Ito Rin\n\n3 4 1999\n\nText.",
		},
		"within text":         {`<article><p>H<sub>2</sub>O, 10<sup>6</sup> m<sup>2</sup>, see<sup>3</sup> <odd>th</odd>is.</p></article>`, "H2O, 10^6 m^2, see3 this."},
		"unknown, with text":  {`<book><para>The <part-no code="X9">bolt</part-no> holds.</para></book>`, "The (code=X9) bolt holds."},
		"numbers of sections": {`<article><sec><label>2.1</label><title>Oil</title><p>Thin.</p></sec></article>`, "## 2.1 Oil\n\nThin."},
		"titles of references": {
			`<article><ref-list><title>References</title><ref><label>1</label><element-citation><person-group><name><surname>Ito</surname></name></person-group><article-title>On oil</article-title><source>J. Oil</source><year>1999</year></element-citation></ref></ref-list></article>`,
			"# References\n\n1\n\nIto On oil J. Oil 1999",
		},
		"notes and breaks in text": {`<book><para>Oil<footnote><para>Thin.</para></footnote> runs,<lb/>always.</para></book>`, "Oil (Thin.) runs, always."},
		"parts of what stands in a line": {
			`<book><para>Press <keycombo><keycap>Ctrl</keycap><keycap>C</keycap></keycombo> in <menuchoice><guimenu>File</guimenu><guimenuitem>Save</guimenuitem></menuchoice> now.</para></book>`,
			"Press Ctrl C in File Save now.",
		},
		"lists": {
			`<book><orderedlist><listitem><para>One</para><itemizedlist><listitem><para>a</para></listitem></itemizedlist></listitem><listitem><para>Two</para></listitem></orderedlist></book>`,
			"1. One\n\n   * a\n\n2. Two",
		},
		"code":       {"<book><programlisting>a = 1\n  b = 2\n</programlisting></book>", "```\na = 1\n  b = 2\n```"},
		"span":       {`<article><table><tr><th rowspan="2">A</th><th colspan="2">B</th></tr><tr><td>1</td><td>2</td></tr></table></article>`, "| A | B | B |\n| --- | --- | --- |\n| A | 1 | 2 |"},
		"CALS spans": {`<book><informaltable><tgroup cols="3"><colspec colname="a"/><colspec colname="b"/><colspec colname="c"/><tbody><row><entry namest="a" nameend="b">AB</entry><entry morerows="1">C</entry></row><row><entry>1</entry><entry>2</entry></row></tbody></tgroup></informaltable></book>`, "| AB | AB | C |\n| --- | --- | --- |\n| 1 | 2 | C |"},
		"FictionBook": {
			`<FictionBook xmlns="x"><description><title-info><author><first-name>Ada</first-name><last-name>Berg</last-name></author><book-title>Frost</book-title></title-info></description><body><section><title><p>One</p><p>Ice</p></title><p>It froze.</p><section><title><p>Two</p></title><p>Still.</p></section></section></body></FictionBook>`,
			"Ada Berg\n\n# Frost\n\n## One Ice\n\nIt froze.\n\n### Two\n\nStill.",
		},
	} {
		if got := strings.TrimSpace(readXML(t, c.src).Markdown); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

func TestXMLDataKeepsAll(t *testing.T) {
	out := readXML(t, `<stock at="2026-01-02"><item no="A-7"><name>Lamp</name><price currency="CHF">9.50</price><about><p>A <b class="x">good</b> one of 10<sup>3</sup></p></about></item><item no="A-8">loose<sub-item q="2"/></item></stock>`)
	want := `* stock (at=2026-01-02)
  * item (no=A-7)
    * name: Lamp
    * price (currency=CHF): 9.50
    * about
      * p: A (class=x) good one of 10^3
  * item (no=A-8): loose
    * sub-item (q=2)`
	if got := strings.TrimSpace(out.Markdown); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Names and attributes are what data says: a note or a title in it makes no document of it.
func TestXMLDataWithSomeText(t *testing.T) {
	for src, want := range map[string]string{
		`<order no="A-9"><line sku="X1">Bolt</line><total currency="EUR">8.50</total><note>Please deliver it to the back door</note></order>`: `* order (no=A-9)
  * line (sku=X1): Bolt
  * total (currency=EUR): 8.50
  * note: Please deliver it to the back door`,
		`<note><to>Ann</to><from>Bob</from><heading>Reminder</heading><body>Bring the <b>keys</b>.</body></note>`: `* note
  * to: Ann
  * from: Bob
  * heading: Reminder
  * body: Bring the
    * b: keys
    * .`,
		`<doc><p>One<br/>two<hr/>three</p><size>5</size></doc>`: `* doc
  * p: One two three
  * size: 5`,
		// A document of a vocabulary that is not known, with attributes that are no markup.
		`<manual><section since="2.1"><title>Oil</title><list><item grade="W40">Thin oil</item></list><para>It runs in the cold, too.</para></section></manual>`: `(since=2.1)

## Oil

* (grade=W40) Thin oil

It runs in the cold, too.`,
	} {
		if got := strings.TrimSpace(readXML(t, src).Markdown); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", src, got, want)
		}
	}
}

func TestXMLFilesAreLeftOut(t *testing.T) {
	file := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x89PNG and more ", 60)))
	for _, src := range []string{
		"<FictionBook><body><section><p>Text.</p></section></body><binary id='a'>" + file + "</binary></FictionBook>",
		"<order><no>7</no><scan>" + file[:76] + "\n" + file[76:] + "</scan></order>",
	} {
		out := readXML(t, src)
		if strings.Contains(out.Markdown, file[:30]) || len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "base64") {
			t.Errorf("%q, warnings %q", out.Markdown, out.Warnings)
		}
	}
	long := strings.Repeat("words without an end ", 40)
	if out := readXML(t, "<a><b>"+long+"</b></a>"); !strings.Contains(out.Markdown, strings.TrimSpace(long)) || len(out.Warnings) > 0 {
		t.Errorf("words are taken for a file: %q", out.Warnings)
	}
}
