package cli

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"sluice/cmd/sluice/allinone"
)

// The status page shows documents, queues, money and hits, and nothing that a
// document says becomes part of the page.
func TestTheStatusPage(t *testing.T) {
	node := start(t, func(c *allinone.Config) { c.HTTP = "127.0.0.1:0" })
	const hostile = "<script>alert(1)</script> ferries cross the estuary"
	in(t, map[string]string{"a.md": hostile, "b.md": ""})
	sluice(t, "ingest", "a.md", "b.md").want(t, 1)
	get := func(query string) string {
		t.Helper()
		resp, err := http.Get("http://" + node.HTTP + "/?q=" + url.QueryEscape(query))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }() // read only
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusOK || !strings.Contains(resp.Header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Fatalf("%s, %v", resp.Status, resp.Header)
		}
		return string(body)
	}
	eventually(t, "the budget is shown", func() bool { return strings.Contains(get(""), "$5.00") })
	text := get(`"><script>alert(2)</script> ferries estuary`)
	for _, want := range []string{
		"<td>complete<td class=\"n\">1", "<td>failed<td class=\"n\">1", "<td>UPGRADES<td class=\"n\">0", "dead letters<td class=\"n bad\">1",
		"<td>day<td class=\"n\">$0.00<td class=\"n\">$0.00<td class=\"n\">$5.00", "<td class=\"n\">100", "<strong>a.md</strong>",
		"<td>embedder<td>running", "&lt;script&gt;",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "<script") {
		t.Errorf("a document or a query became part of the page:\n%s", text)
	}
}
