package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/broker"
	"sluice/pkg/budget"
	"sluice/pkg/events"
	llama "sluice/pkg/fake/llamaparse"
	fake "sluice/pkg/fake/openai"
	"sluice/pkg/natstest"
	"sluice/pkg/provider/router"
)

// Whatever the pipeline can do it does with exactly the rights that are declared:
// paid parses and embeddings, large documents, the inbox, fallbacks and what
// follows them, deletions, duplicates, dead letters, searches and answers. The
// submitter is the user "injector", everything else is done by the operator.
func TestExactlyTheRightsThatAreDeclared(t *testing.T) {
	t.Parallel()
	embeddings, err := fake.New(fake.Config{Keys: []string{"sk-e2e"}})
	if err != nil {
		t.Fatal(err)
	}
	parses := llama.New(llama.Config{Keys: map[string]string{"llx-e2e": "na"}})
	urls := map[string]string{"openai": natstest.Serve(t, embeddings), "llamaparse": natstest.Serve(t, parses)}
	w := newWorld(t, setup{
		nodes: 1, costd: true,
		args: map[string][]string{
			"parser":   {"--parser", "llamaparse", "--llamaparse-base-url", urls["llamaparse"], "--llamaparse-key", "llx-e2e", "--llamaparse-poll", "50ms", "--llamaparse-max-pages", "20", "--parser-upgrade-rate", "50"},
			"embedder": {"--embedder", "openai", "--embedding-base-url", urls["openai"] + "/v1", "--embedding-key", "sk-e2e"},
			"costd":    {"--budget-day", "5.00", "--budget-hour-requests", "none"},
		},
	})
	nc, err := broker.Connect(t.Context(), broker.Config{URL: w.url, Login: w.login(broker.UserInjector)}, t.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	injector, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	answers, err := nc.SubscribeSync(broker.InboxPrefix(broker.UserInjector) + ".final.>")
	if err != nil {
		t.Fatal(err)
	}
	submit := func(name string, data []byte) submission {
		t.Helper()
		msg := nats.NewMsg(events.SubjectSubmit)
		msg.Header.Set(events.HeaderFilename, name)
		msg.Header.Set(events.HeaderReplySubject, broker.InboxPrefix(broker.UserInjector)+".final.x")
		msg.Data = data
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		ack, err := injector.PublishMsg(ctx, msg)
		if err != nil {
			t.Fatalf("submit %s: %v", name, err)
		}
		return submission{Name: name, Document: events.DocumentID(events.DefaultTenant, name), Sequence: ack.Sequence}
	}
	expect := func(s submission, states ...events.State) *events.Document {
		t.Helper()
		d := w.one(s)
		for _, state := range states {
			if d.State == state {
				return d
			}
		}
		t.Fatalf("%s is %s (%+v), want one of %v", s.Name, d.State, d.Failure, states)
		return nil
	}

	// Small, again, paid for, too large for a message when parsed, and refused.
	first := submit("note.md", []byte("# Sluice gates\n\nThe gate opens at noon."))
	expect(first, events.StateComplete)
	expect(submit("note.md", []byte("# Sluice gates\n\nThe gate opens at noon.")), events.StateDuplicate)
	pdf, err := os.ReadFile("../examples/documents/gate-inspection.pdf")
	if err != nil {
		t.Fatal(err)
	}
	expect(submit("paid.pdf", pdf), events.StateComplete)
	if m := parses.Meter(); m.Jobs != 1 {
		t.Errorf("%d jobs were paid for", m.Jobs)
	}
	large := []byte("# Large\n\n" + strings.Repeat("One line of many, and not the last of them.\n\n", 30_000))
	if limit := int(nc.MaxPayload()); len(large) <= limit {
		t.Fatalf("%d bytes are not too large for a message of %d", len(large), limit)
	}
	inbox, err := injector.ObjectStore(t.Context(), events.StoreInbox)
	if err != nil {
		t.Fatal(err)
	}
	// With a header, so that it is removed as soon as it has been read.
	meta := jetstream.ObjectMeta{Name: "large.md", Headers: nats.Header{events.HeaderCorrelationID: {"large"}}}
	if _, err := inbox.Put(t.Context(), meta, bytes.NewReader(large)); err != nil {
		t.Fatal(err)
	}
	id := events.DocumentID(events.DefaultTenant, "large.md")
	w.eventually(60*time.Second, "the large document is complete", func() error {
		d, err := w.document(id)
		if err == nil && (d == nil || d.State != events.StateComplete) {
			err = fmt.Errorf("%+v", d)
		}
		return err
	})
	w.eventually(10*time.Second, "the inbox is empty again", func() error {
		if _, err := inbox.GetInfo(t.Context(), "large.md"); err == nil {
			return fmt.Errorf("it is still there")
		}
		return nil
	})
	expect(submit("empty.md", nil), events.StateFailed)

	// The stock command, as the same user.
	login, home := w.login(broker.UserInjector), t.TempDir()
	for _, c := range []struct{ name, args, stdin string }{
		{"cli.md", "pub -J --no-templates --force-stdin docs.submit.cli.md", "# By the command\n\nPublished."},
		{"put.md", "object put inbox --name put.md --force --no-progress", "# By the command\n\nPut into the inbox."},
	} {
		cmd := exec.Command(filepath.Join(bin, "nats"), append([]string{"--nkey", login.NKey, "--inbox-prefix", login.InboxPrefix, "--tlsca", login.CA}, strings.Fields(c.args)...)...)
		cmd.Dir, cmd.Stdin = home, strings.NewReader(c.stdin)
		cmd.Env = append(os.Environ(), "NATS_URL="+w.url, "HOME="+home, "XDG_CONFIG_HOME="+home)
		if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "ermissions") {
			t.Fatalf("nats %s: %v\n%s", c.args, err, out)
		}
		w.eventually(30*time.Second, c.name+" is complete", func() error {
			d, err := w.document(events.DocumentID(events.DefaultTenant, c.name))
			if err == nil && (d == nil || d.State != events.StateComplete) {
				err = fmt.Errorf("%+v", d)
			}
			return err
		})
	}

	// A fallback's work, and the better one that follows it.
	pipeline, err := w.js.KeyValue(t.Context(), events.BucketPipeline)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pipeline.PutString(t.Context(), router.ModeKey("parser"), string(router.Local)); err != nil {
		t.Fatal(err)
	}
	var fallen *events.Document
	for i := 0; fallen == nil; i++ { // the mode is heard of a moment later
		if i == 50 {
			t.Fatal("no document was parsed by the fallback")
		}
		s := submit(fmt.Sprintf("fallback-%d.pdf", i), fmt.Appendf(append([]byte(nil), pdf...), "\n%%%% %d\n", i))
		if d := expect(s, events.StateComplete, events.StateDegraded); d.State == events.StateDegraded {
			fallen = d
		}
	}
	if err := pipeline.Purge(t.Context(), router.ModeKey("parser")); err != nil {
		t.Fatal(err)
	}
	w.eventually(60*time.Second, "the better parse", func() error {
		d, err := w.document(fallen.Document)
		if err == nil && d.State != events.StateComplete {
			err = fmt.Errorf("%s is %s", d.Name, d.State)
		}
		return err
	})

	// Searches, answers, the budget, deletions.
	if hits := w.search(events.SearchRequest{Query: "gate opens at noon"}).Hits; len(hits) == 0 || hits[0].Name != "note.md" {
		t.Errorf("the search finds %+v", hits)
	}
	msg, err := answers.NextMsg(10 * time.Second)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	if d, err := events.DecodeDocument(msg.Data); err != nil || !d.State.Final() {
		t.Errorf("the answer is %s: %v", msg.Data, err)
	}
	one := int64(1e9)
	if _, err := w.nc.Request(budget.SubjectSet, events.Encode(budget.Change{Scope: budget.Service("openai"), DayNano: &one}), 5*time.Second); err != nil {
		t.Errorf("set a limit: %v", err)
	}
	rm := nats.NewMsg(events.SubjectDelete)
	rm.Data = []byte(`{"name":"note.md"}`)
	gone := submission{Name: "note.md", Document: first.Document, Sequence: w.publish(rm)}
	expect(gone, events.StateDeleted)
	if n := len(w.messages(events.StreamCosts, ">")); n < 3 {
		t.Errorf("%d usage events", n)
	}
	if dead := w.deadLetters(); len(dead) != 1 {
		t.Errorf("%d dead letters, want that of the empty document", len(dead))
	}
	if err := nc.LastError(); err != nil {
		t.Errorf("the injector: %v", err)
	}
	w.stop()
	for _, p := range w.stage["costd"] {
		p.stop(t)
	}
	w.obedient()
}
