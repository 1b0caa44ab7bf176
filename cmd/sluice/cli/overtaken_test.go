package cli

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/cmd/sluice/allinone"
	"sluice/cmd/sluice/services"
	"sluice/pkg/events"
	fakeparse "sluice/pkg/fake/llamaparse"
)

// What was deleted or replaced while it waited for money is not bought when there is
// money: it is acknowledged, and its story says why. The same text in a document that
// is still wanted is bought.
func TestWhatWasOvertakenWhileItWaitedIsNotBought(t *testing.T) {
	server, node := paid(t, "0.00", "none")
	in(t, map[string]string{
		"gone.md": "# Gone\n\nThe weir that nobody wants.", "old.md": "# Old\n\nThe weir as it was.",
		"twin.md": "# Twin\n\nThe weir of two documents.", "alive.md": "# Twin\n\nThe weir of two documents.",
	})
	sluice(t, "ingest", ".", "--no-wait").want(t, 0)
	chunked(t, 4)
	eventually(t, "the embedder waits for money", func() bool { return waits(node, "embedder", "budget") })
	old := entries(t)
	sluice(t, "rm", "gone.md", "twin.md").want(t, 0)
	write(t, "old.md", "# Old\n\nThe weir as it is now.")
	sluice(t, "ingest", "old.md", "--no-wait").want(t, 0)
	eventually(t, "the newer text waits, too", func() bool {
		d := entries(t)["old.md"]
		return d.Revision > old["old.md"].Revision && d.State == events.StateParsed
	})
	sluice(t, "budget", "set", "global", "--day", "5.00").want(t, 0)
	idle(t, node)
	if m := server.Meter(); m.Inputs != 2 {
		t.Errorf("%d inputs bought for 2 texts that are wanted", m.Inputs)
	}
	now := entries(t)
	for name, want := range map[string]events.State{
		"gone.md": events.StateDeleted, "twin.md": events.StateDeleted, "old.md": events.StateComplete, "alive.md": events.StateComplete,
	} {
		if d := now[name]; d.State != want || d.Held != "" {
			t.Errorf("%s is %s, held %q, want %s", name, d.State, d.Held, want)
		}
		if e := superseded(t, node, old[name].Document, old[name].Revision); (e == nil) != (name == "alive.md") {
			t.Errorf("%s: the event is %+v", name, e)
		} else if e != nil && (e.Failure == nil || e.Failure.Reason != "newer") {
			t.Errorf("%s: the event does not say why: %+v", name, e.Failure)
		}
	}
	if n := deadLetters(t, node); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	sluice(t, "search", "--mode", "keyword", "weir", "-k", "9").want(t, 0).has(t, "alive.md", "as it is now")
}

// Set aside in HELD, where a tenant's texts wait for its limit, it is the same.
func TestWhatWasOvertakenInHeldIsNotBought(t *testing.T) {
	const documents, wanted = 400, 5
	server, node := paidWith(t, "5.00", "none", func(c *allinone.Config) { c.Stages.Embedder.Batch = 32 })
	sluice(t, "budget", "set", "tenant.acme", "--day", "0").want(t, 0)
	in(t, ferries(documents))
	sluice(t, "ingest", "d", "--tenant", "acme", "--no-wait").want(t, 0)
	chunked(t, documents)
	eventually(t, "what is too much is set aside", func() bool { return stream(t, node, events.StreamHeld).State.Msgs > documents/4 })
	args := []string{"rm", "--tenant", "acme"}
	for i := range documents - wanted {
		args = append(args, fmt.Sprintf("d/%03d.md", i))
	}
	sluice(t, args...).want(t, 0)
	if m := server.Meter(); m.Attempts != 0 {
		t.Fatalf("%d calls without money", m.Attempts)
	}
	sluice(t, "budget", "set", "tenant.acme", "--day", "1").want(t, 0)
	idle(t, node)
	if m := server.Meter(); m.Inputs != wanted {
		t.Errorf("%d inputs bought for %d texts that are wanted", m.Inputs, wanted)
	}
	if n := inState(t, events.StateComplete); n != wanted {
		t.Errorf("%d documents are complete", n)
	}
	if n := deadLetters(t, node); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

// A document that waits for money or its turn is not sent to the service that parses
// either, if it was deleted, or submitted again, meanwhile.
func TestWhatWasOvertakenIsNotParsed(t *testing.T) {
	server, node := parsing(t, fakeparse.Config{}, "0.00", nil)
	files := volumes(4)
	files["v/03.txt"] = files["v/02.txt"]
	in(t, files)
	sluice(t, "ingest", "v", "--no-wait").want(t, 0)
	eventually(t, "all wait for money", func() bool { return heldFor(t, "global") == 4 })
	old := entries(t)
	sluice(t, "rm", "v/00.txt", "v/02.txt").want(t, 0)
	write(t, "v/01.txt", "# Volume 1\n\nThe second edition.")
	sluice(t, "ingest", "v/01.txt", "--no-wait").want(t, 0)
	eventually(t, "the newer one waits, too", func() bool {
		d := entries(t)["v/01.txt"]
		return d.Revision > old["v/01.txt"].Revision && strings.Contains(d.Held, "global")
	})
	sluice(t, "budget", "set", "global", "--day", "5.00").want(t, 0)
	idle(t, node)
	if m := server.Meter(); m.Creates != 2 {
		t.Errorf("%d jobs for 2 documents that are wanted", m.Creates)
	}
	now := entries(t)
	for name, want := range map[string]events.State{
		"v/00.txt": events.StateDeleted, "v/01.txt": events.StateComplete, "v/02.txt": events.StateDeleted, "v/03.txt": events.StateComplete,
	} {
		if now[name].State != want {
			t.Errorf("%s is %s, want %s", name, now[name].State, want)
		}
		if e := superseded(t, node, old[name].Document, old[name].Revision); (e == nil) != (name == "v/03.txt") {
			t.Errorf("%s: the event is %+v", name, e)
		}
	}
	if n := deadLetters(t, node); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	eventually(t, "the ledger equals the meter", func() bool {
		day := shownBudget(t, node).Windows[1]
		return day.Spent.Nano == server.Meter().Nano && day.Reserved.IsZero()
	})
}

// A newer submission that fails replaces nothing: the one before it is parsed.
func TestWhatAFailureHasOvertakenIsParsed(t *testing.T) {
	server, node := parsing(t, fakeparse.Config{}, "0.00", nil)
	server.Script(fakeparse.Rule{On: "create", Contains: "second edition", Status: 413})
	in(t, volumes(1))
	sluice(t, "ingest", "v", "--no-wait").want(t, 0)
	eventually(t, "it waits for money", func() bool { return heldFor(t, "global") == 1 })
	old := entries(t)["v/00.txt"]
	write(t, "v/00.txt", "# Volume 0\n\nThe second edition.")
	sluice(t, "ingest", "v", "--no-wait").want(t, 0)
	eventually(t, "the newer one waits, too", func() bool {
		d := entries(t)["v/00.txt"]
		return d.Revision > old.Revision && strings.Contains(d.Held, "global")
	})
	sluice(t, "budget", "set", "global", "--day", "5.00").want(t, 0)
	eventually(t, "the first edition is searched, and the second has failed", func() bool {
		d := entries(t)["v/00.txt"]
		return d.State == events.StateFailed && d.Live != nil && d.Live.Revision.Submission() == old.Revision.Submission()
	})
	idle(t, node)
}

// A newer submission that nobody could read yet replaces nothing: the one before it,
// which waits for money, is bought when there is money. This was wrong once: what told of the
// newer one first was that its download is tried again, which was taken for news of a
// document that had been read; the text was dropped, and the newer one failed.
func TestWhatCannotBeReadYetReplacesNothing(t *testing.T) {
	server, node := paidWith(t, "0.00", "none", func(c *allinone.Config) { c.Stages.Parser.FetchPrivate = true })
	status := make(chan int, 1)
	status <- http.StatusServiceUnavailable
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		now := <-status
		status <- now
		w.WriteHeader(now)
	}))
	defer web.Close()
	in(t, map[string]string{"weir.md": "# Weir\n\nThe only text of the weir."})
	sluice(t, "ingest", "weir.md", "--no-wait").want(t, 0)
	chunked(t, 1)
	eventually(t, "the embedder waits for money", func() bool { return waits(node, "embedder", "budget") })
	old := entries(t)["weir.md"]
	if err := node.Env.Conn.Publish(events.SubjectURI, events.Encode(events.Reference{URI: web.URL + "/weir", Name: "weir.md"})); err != nil {
		t.Fatal(err)
	}
	var d events.Document
	eventually(t, "the newer one is tried again", func() bool { d = entries(t)["weir.md"]; return d.Retries > 0 })
	if d.State != events.StateAccepted || d.Stage != "parser" || d.Submitted.IsZero() || d.Revision <= old.Revision {
		t.Errorf("the entry is %+v", d)
	}
	sluice(t, "budget", "set", "global", "--day", "5.00").want(t, 0)
	eventually(t, "the first text is searched", func() bool {
		d := entries(t)["weir.md"]
		return d.Live != nil && d.Live.Revision.Submission() == old.Revision.Submission()
	})
	<-status
	status <- http.StatusNotFound
	eventually(t, "the newer one fails", func() bool { return entries(t)["weir.md"].State == events.StateFailed })
	if m := server.Meter(); m.Inputs != 1 {
		t.Errorf("%d inputs bought for one text", m.Inputs)
	}
	sluice(t, "search", "--mode", "keyword", "weir").want(t, 0).has(t, "The only text")
	idle(t, node)
}

// chunked waits until so many documents wait for their vectors.
func chunked(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d documents are chunked", n), func() bool {
		all := status(t)
		i := slices.IndexFunc(all.Queues, func(q queueStatus) bool { return q.Stream == events.StreamParsed })
		return i >= 0 && all.Queues[i].Messages == 0 && inState(t, events.StateParsed) == n
	})
}

// heldFor counts the documents that wait for something.
func heldFor(t *testing.T, what string) (n int) {
	t.Helper()
	for _, d := range entries(t) {
		if strings.Contains(d.Held, what) {
			n++
		}
	}
	return n
}

// waits tells whether a stage waits for a kind of key.
func waits(node *allinone.Node, stage, kind string) bool {
	for _, s := range node.Env.Health.Stages() {
		for _, w := range s.Waiting {
			if s.Stage == stage && w.Kind == kind {
				return true
			}
		}
	}
	return false
}

// idle waits until nothing is under way any more.
func idle(t *testing.T, node *allinone.Node) {
	t.Helper()
	eventually(t, "nothing is under way", func() bool {
		for _, name := range append(services.Queues(), events.StreamHeld) {
			if stream(t, node, name).State.Msgs > 0 {
				return false
			}
		}
		s, err := node.Env.JS.Stream(t.Context(), events.StreamEvents)
		if err != nil {
			t.Fatal(err)
		}
		c, err := s.Consumer(t.Context(), "recorder")
		if err != nil {
			t.Fatal(err)
		}
		return c.CachedInfo().NumPending == 0 && c.CachedInfo().NumAckPending == 0
	})
}

// superseded returns the event that ends a revision, or nil.
func superseded(t *testing.T, node *allinone.Node, document string, r events.Revision) (found *events.Event) {
	t.Helper()
	s, err := node.Env.JS.Stream(t.Context(), events.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	subject := events.EventSubject(document, events.Superseded)
	for next := uint64(1); ; {
		m, err := s.GetMsg(t.Context(), next, jetstream.WithGetMsgSubject(subject))
		if err != nil {
			return found // there is no other
		}
		e, err := events.Decode[events.Event](m.Data)
		if err != nil {
			t.Fatal(err)
		}
		if e.Revision.Submission() == r.Submission() {
			found = e
		}
		next = m.Sequence + 1
	}
}
