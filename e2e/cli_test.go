package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"sluice/pkg/events"
)

// The commands that the documentation gives for the stock nats CLI, run by it.
func TestStockCLI(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{args: map[string][]string{"parser": {"--fetch-private"}}})
	dir := t.TempDir()
	run := func(stdin []byte, args ...string) string {
		t.Helper()
		cmd := exec.Command(filepath.Join(bin, "nats"), args...)
		cmd.Dir, cmd.Stdin = dir, bytes.NewReader(stdin)
		cmd.Env = append(os.Environ(), "NATS_URL="+w.url, "HOME="+dir, "XDG_CONFIG_HOME="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("nats %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	// found waits until the first hit of a tenant's query is in the named document.
	found := func(tenant, query, name string) events.Hit {
		t.Helper()
		var hit events.Hit
		w.eventually(30*time.Second, fmt.Sprintf("%q finds %q", query, name), func() error {
			reply := w.search(events.SearchRequest{Query: query, K: 1, Tenant: tenant})
			if len(reply.Hits) == 0 || reply.Hits[0].Name != name {
				return fmt.Errorf("hits %+v", reply.Hits)
			}
			hit = reply.Hits[0]
			return nil
		})
		return hit
	}

	pdf, err := os.ReadFile(filepath.Join(examples, "gate-inspection.pdf"))
	if err != nil {
		t.Fatal(err)
	}
	run(pdf, "pub", "-J", "--no-templates", "--force-stdin", "docs.submit.report.pdf")
	hit := found(events.DefaultTenant, "crack in the lower hinge pin", "report.pdf")
	if doc, err := w.document(events.DocumentID(events.DefaultTenant, "report.pdf")); err != nil || doc.Type != "application/pdf" || doc.Pages != 2 {
		t.Errorf("report.pdf is %+v, %v", doc, err)
	}
	if hit.Page == 0 {
		t.Errorf("the hit in report.pdf has no page")
	}

	t.Run("headers", func(t *testing.T) {
		text := "The {{.Count}} dredger Ammonite moored at the coal quay."
		answers, err := w.nc.SubscribeSync("answers.mine")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.nc.Flush(); err != nil {
			t.Fatal(err)
		}
		run(nil, "pub", "-J", "--no-templates", "docs.submit", text, "-H", "Correlation-Id:demo-1",
			"-H", "Meta-Department:dredging", "-H", "Reply-Subject:answers.mine", "-H", "Filename:Zoë's note.txt", "-H", "Tenant:acme")
		msg, err := answers.NextMsg(30 * time.Second)
		if err != nil {
			t.Fatalf("nothing on the Reply-Subject: %v", err)
		}
		doc, err := events.DecodeDocument(msg.Data)
		if err != nil {
			t.Fatal(err)
		}
		if doc.State != events.StateComplete || doc.CorrelationID != "demo-1" || doc.Name != "Zoë's note.txt" || doc.Tenant != "acme" {
			t.Errorf("the answer is %+v", doc)
		}
		for _, e := range w.story(doc.Document) {
			if e.CorrelationID != "demo-1" {
				t.Errorf("the event %s of stage %s has correlation ID %q", e.What, e.Stage, e.CorrelationID)
			}
		}
		reply := w.search(events.SearchRequest{Query: "dredger Ammonite", Tenant: "acme"})
		if len(reply.Hits) != 1 || reply.Hits[0].Meta["Department"] != "dredging" || strings.TrimSpace(reply.Hits[0].Text) != text {
			t.Errorf("hits %+v", reply.Hits)
		}
		if reply := w.search(events.SearchRequest{Query: "dredger Ammonite", Tenant: "other"}); len(reply.Hits) != 0 {
			t.Errorf("another tenant finds %+v", reply.Hits)
		}
		if extra, err := answers.NextMsg(50 * time.Millisecond); err == nil {
			t.Errorf("a second answer: %s", extra.Data)
		}
	})

	t.Run("by reference", func(t *testing.T) {
		page, err := os.ReadFile(filepath.Join(examples, "visitor-information.html"))
		if err != nil {
			t.Fatal(err)
		}
		site := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/a.html" {
				http.NotFound(rw, r)
				return
			}
			rw.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = rw.Write(page)
		}))
		defer site.Close()
		run(nil, "pub", "-J", "docs.uri", `{"uri":"`+site.URL+`/a.html","tenant":"acme"}`)
		hit := found("acme", "samphire scones in the tearoom", site.URL+"/a.html")
		if hit.Tenant != "acme" {
			t.Errorf("the tenant is %q", hit.Tenant)
		}
		site.Client().CloseIdleConnections()
	})

	t.Run("objects", func(t *testing.T) {
		// More than a message can carry: the story of a very long voyage.
		var big bytes.Buffer
		big.WriteString("# Voyage of the Halcyon\n")
		for day := 1; big.Len() < 3<<20; day++ {
			fmt.Fprintf(&big, "\n## Day %d\n\nWind force %d, course %d degrees, %d miles made good.\n", day, day%9, day*7%360, day*13%190)
		}
		if err := os.WriteFile(filepath.Join(dir, "voyage.md"), big.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		// An object with a header is no target of a reference, and is removed once it was
		// read; one without stays for some minutes.
		run(nil, "object", "put", "inbox", "voyage.md", "--no-progress", "-H", "Tenant:default")
		doc := w.settle(90*time.Second, submission{Name: "voyage.md", Document: events.DocumentID(events.DefaultTenant, "voyage.md"), Sequence: 1})
		for _, d := range doc {
			if d.State != events.StateComplete || d.Bytes != int64(big.Len()) {
				t.Errorf("voyage.md is %+v", d)
			}
		}
		found(events.DefaultTenant, "Voyage of the Halcyon", "voyage.md")
		w.eventually(20*time.Second, "the inbox is empty again", func() error {
			if out := run(nil, "object", "ls", "inbox"); strings.Contains(out, "voyage.md") {
				return fmt.Errorf("%s", out)
			}
			return nil
		})
	})

	t.Run("delete", func(t *testing.T) {
		run(nil, "pub", "-J", "docs.delete", `{"name":"report.pdf"}`)
		w.eventually(30*time.Second, "report.pdf is deleted", func() error {
			doc, err := w.document(events.DocumentID(events.DefaultTenant, "report.pdf"))
			if err == nil && doc.State != events.StateDeleted {
				err = fmt.Errorf("it is %s", doc.State)
			}
			return err
		})
		for _, hit := range w.search(events.SearchRequest{Query: "crack in the lower hinge pin"}).Hits {
			if hit.Name == "report.pdf" {
				t.Errorf("a deleted document is found: %+v", hit)
			}
		}
	})

	t.Run("services", func(t *testing.T) {
		out := run(nil, "micro", "ls")
		for _, name := range stages {
			if !strings.Contains(out, name) {
				t.Errorf("'nats micro ls' does not show the %s:\n%s", name, out)
			}
		}
	})
	if dead := w.deadLetters(); len(dead) > 0 {
		t.Errorf("%d dead letters, the first: %v", len(dead), nats.Header(dead[0].Header))
	}
}
