package formats_test

import (
	"strings"
	"testing"

	"sluice/services/parser/internal/data"
	"sluice/services/parser/internal/format"
)

// A feed says what its reader sees: who, when, where, which files, and every text
// once.
func TestFeeds(t *testing.T) {
	const names = ` xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd" xmlns:content="http://purl.org/rss/1.0/modules/content/" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:media="http://search.yahoo.com/mrss/" xmlns:podcast="https://podcastindex.org/namespace/1.0" xmlns:sy="http://purl.org/rss/1.0/modules/syndication/"`
	rss := func(s string) string { return `<rss version="2.0"` + names + `><channel>` + s + `</channel></rss>` }
	atom := func(s string) string { return `<feed xmlns="http://www.w3.org/2005/Atom">` + s + `</feed>` }
	for name, c := range map[string]struct{ src, want string }{
		"a podcast": {
			rss(`<title>Talks</title><link>https://example.org/</link><language>en</language><copyright>© 2026 ACME</copyright><itunes:author>Ada</itunes:author><itunes:category text="News"><itunes:category text="Daily"/></itunes:category><itunes:owner><itunes:name>Olga</itunes:name><itunes:email>o@example.org</itunes:email></itunes:owner>` +
				`<ttl>60</ttl><generator>prog 1</generator><sy:updatePeriod>hourly</sy:updatePeriod><itunes:image href="https://example.org/i.jpg"/><image><url>https://example.org/i.jpg</url><title>Talks</title><link>https://example.org/</link></image><pubDate>Sat, 28 Nov 2026 10:00:00 GMT</pubDate>` +
				`<item><title>Five</title><guid isPermaLink="false">x-5</guid><enclosure url="https://example.org/5.mp3?t=1" length="9" type="audio/mpeg"/><itunes:duration>32:10</itunes:duration><itunes:episode>5</itunes:episode><podcast:transcript url="https://example.org/5.vtt" type="text/vtt"/><podcast:person>Jane</podcast:person><description>About five.</description><itunes:summary>About five.</itunes:summary></item>`),
			"# Talks\n\nSat, 28 Nov 2026 10:00:00 GMT · Ada · [https://example.org/](https://example.org/)\n\nNews, Daily\n\n- Copyright: © 2026 ACME\n- Owner: Olga, o@example.org\n\n" +
				"## Five\n\n- Enclosure: [https://example.org/5.mp3?t=1](https://example.org/5.mp3?t=1) (audio/mpeg)\n- Duration: 32:10\n- Episode: 5\n- Transcript: [https://example.org/5.vtt](https://example.org/5.vtt) (text/vtt)\n- Person: Jane\n\nAbout five.",
		},
		"an excerpt and the whole": {
			rss(`<title>Blog</title><item><title>One</title><link>https://example.org/1</link><dc:creator>Ada</dc:creator><dc:creator>Ben</dc:creator><category>a</category><category>b</category><category>a</category>` +
				`<description>&lt;p&gt;It was a dark and [&amp;#8230;]&lt;/p&gt;&lt;p&gt;The post appeared first.&lt;/p&gt;</description><content:encoded><![CDATA[<p>It was a <a href="/x">dark</a> and stormy night.</p>]]></content:encoded></item>` +
				`<item><title>Two</title><description>A teaser.</description><content:encoded>The text.</content:encoded></item>`),
			"# Blog\n\n## One\n\nAda · Ben · [https://example.org/1](https://example.org/1)\n\na, b\n\nThe post appeared first.\n\nIt was a [dark](https://example.org/x) and stormy night.\n\n## Two\n\nA teaser.\n\nThe text.",
		},
		"links of Atom": {
			atom(`<title>News</title><link rel="self" href="https://example.org/f"/><link href="https://example.org/en/"/><link rel="next" href="https://example.org/f?2"/><author><name>Ada</name><uri>https://example.org/ada</uri></author>` +
				`<entry><title>One</title><link href="1"/><link rel="enclosure" type="application/pdf" title="The plan" href="plan.pdf"/><link rel="via" href="https://example.com/v"/><link rel="edit" href="https://example.org/e"/><published>2026-01-01T00:00:00Z</published><updated>2026-02-01T00:00:00Z</updated>` +
				`<author><name>Ben</name><email>ben@example.org</email></author><contributor><name>Cy</name></contributor><rights>All mine</rights><source><id>urn:1</id><title>Elsewhere</title><updated>2025-01-01T00:00:00Z</updated></source><summary>Short.</summary></entry>`),
			"# News\n\n[Ada](https://example.org/ada) · [https://example.org/en/](https://example.org/en/)\n\n## One\n\n2026-01-01T00:00:00Z · updated 2026-02-01T00:00:00Z · ben@example.org (Ben) · [https://example.org/en/1](https://example.org/en/1)\n\n" +
				"- Enclosure: [The plan](https://example.org/en/plan.pdf) (application/pdf)\n- Via: [https://example.com/v](https://example.com/v)\n- Contributor: Cy\n- Rights: All mine\n- Source: Elsewhere\n\nShort.",
		},
		"text that looks like markup": {
			atom(`<title>Use &lt;div&gt; well</title><entry><title>a &lt; b</title><content>No &lt;b&gt;bold&lt;/b&gt;</content></entry>`),
			"# Use \\<div> well\n\n## a < b\n\nNo \\<b>bold\\</b>",
		},
		"titles with brackets": {
			rss(`<title>Java</title><item><title>List&lt;String&gt; of &lt;b&gt;names&lt;/b&gt;</title><description>A List&lt;String&gt; is one.</description></item><item><title>Q&amp;amp;A &lt;i&gt;today&lt;/i&gt;</title></item>`),
			"# Java\n\n## List\\<String> of \\<b>names\\</b>\n\nA List\\<String> is one.\n\n## Q&A *today*",
		},
		"markup that is not escaped": {
			rss(`<title>A <b>bold</b> name</title><item><title>One</title><description>Before <em>and</em> after<ul><li>x</li></ul></description></item>`),
			"# A **bold** name\n\n## One\n\nBefore *and* after\n\n* x",
		},
		"what stands behind the entries": {
			rss(`<item><title>One</title><link>https://example.org/1</link></item><title>Late</title><description>Said at the end.</description>`),
			"# Late\n\nSaid at the end.\n\n## One\n\n[https://example.org/1](https://example.org/1)",
		},
		"videos": {
			rss(`<title>V</title><item><title>One</title><media:group><media:title>One</media:title><media:content url="https://example.org/v.mp4" type="video/mp4"/><media:content url="https://example.org/v.jpg" medium="image"/><media:thumbnail url="https://example.org/t.jpg"/><media:description>How it flies.</media:description><media:credit role="author">Dee</media:credit><media:keywords>air, birds</media:keywords></media:group></item>`),
			"# V\n\n## One\n\nair, birds\n\n- Media: [https://example.org/v.mp4](https://example.org/v.mp4) (video/mp4)\n- Credit: Dee\n\nHow it flies.",
		},
		"an address for a number": {
			rss(`<title>G</title><item><title>One</title><guid>https://example.org/?p=1</guid><comments>https://example.org/1#c</comments></item>`),
			"# G\n\n## One\n\n[https://example.org/?p=1](https://example.org/?p=1)\n\n- Comments: [https://example.org/1#c](https://example.org/1#c)",
		},
	} {
		out := read(t, data.Feed, "a.rss", []byte(c.src))
		if got := strings.TrimSpace(out.Markdown); got != c.want || len(out.Warnings) > 0 {
			t.Errorf("%s: %q\n%s\nwant\n%s", name, out.Warnings, got, c.want)
		}
	}

	// A feed that breaks off keeps the entry that it is in.
	out, err := data.Feed(t.Context(), format.Input{Name: "a.rss", Data: []byte(`<rss><channel><title>Cut</title><item><title>One</title><description>Here.</description><pubDate>Sat`)})
	if err != nil || !strings.Contains(out.Markdown, "## One") || !strings.Contains(out.Markdown, "Here.") || len(out.Warnings) != 1 {
		t.Errorf("%v, %+v", err, out)
	}
	// Many texts and many names in one entry cost no more than they are long.
	many := strings.Repeat(`<summary>x <b>y</b></summary><dc:creator>Ada</dc:creator><p:other>z</p:other>`, 20_000)
	if _, err := data.Feed(t.Context(), format.Input{Name: "a.rss", Data: []byte(rss(`<item>` + many + `</item>`))}); err != nil {
		t.Error(err)
	}
}
