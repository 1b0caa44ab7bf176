package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"sluice/cmd/sluice/services"
	"sluice/pkg/broker"
	"sluice/pkg/broker/embedded"
	"sluice/pkg/budget"
	"sluice/pkg/events"
	"sluice/pkg/natstest"
)

// Keys are made once, are their owner's alone, and are never printed; the rights
// come out the same every time; and 'apply' as its own user makes everything.
func TestApplyMakesKeysRightsAndStreams(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	first := sluice(t, "apply", "--nats-keys", dir, "--json").want(t, 0)
	rights := sluice(t, "apply", "--nats-keys", dir, "--print-nats-auth").want(t, 0)
	again := sluice(t, "apply", "--nats-keys", dir, "--print-nats-auth").want(t, 0)
	if rights.out != again.out {
		t.Error("the rights come out another way the second time")
	}
	for _, u := range broker.Users(services.Declared()...) {
		path := filepath.Join(dir, broker.SeedFile(u.Name))
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
		seed, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []result{first, rights, again} {
			if strings.Contains(r.out+r.err, strings.TrimSpace(string(seed))) {
				t.Errorf("the seed of %s was printed", u.Name)
			}
		}
		if !strings.Contains(rights.out, "# "+u.Name+":") || !strings.Contains(first.out, `"user":"`+u.Name+`"`) {
			t.Errorf("%s is missing", u.Name)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "parser.nk"), []byte("SUmarked"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := sluice(t, "apply", "--nats-keys", dir).want(t, 1); strings.Contains(r.out+r.err, "marked") || !strings.Contains(r.err, "parser.nk") {
		t.Errorf("a damaged seed: %s", r.err)
	}
	sluice(t, "apply", "--print-nats-auth").want(t, 2)
	sluice(t, "apply", "--replicas", "9").want(t, 2)
}

func TestApplyAsItsOwnUser(t *testing.T) {
	s := natstest.Secure(t, services.Declared()...)
	url := s.Start(t, "", s.Login) // applies as that user, too
	login := s.Login(broker.UserApply)
	args := []string{"apply", "--nats-url", url, "--nats-nkey", login.NKey, "--nats-inbox-prefix", login.InboxPrefix}
	r := sluice(t, args...).want(t, 0)
	all := len(broker.DefaultTopology().Streams(services.Declared()...)) + len(broker.Durables(services.Declared()...))
	if n := strings.Count(r.out, string(broker.Unchanged)); n != all {
		t.Errorf("%d unchanged, want %d:\n%s", n, all, r.out)
	}
	r = sluice(t, append(args, "--json", "--ack-wait", "1m", "--dry-run")...).want(t, 0)
	if n := strings.Count(r.out, `"outcome":"updated"`); n != len(broker.Durables(services.Declared()...)) {
		t.Errorf("%d consumers would be updated, want all:\n%s", n, r.out)
	}
	other := s.Login("parser")
	r = sluice(t, "apply", "--nats-url", url, "--nats-nkey", other.NKey, "--nats-inbox-prefix", other.InboxPrefix, "--wait", "100ms").want(t, 1)
	if !strings.Contains(r.err, "apply") {
		t.Errorf("as the parser: %s", r.err)
	}
}

// What the commands do is within the operator's rights: a refusal would be an
// answer that never comes, and an error.
func TestTheOperatorMayWhatTheCommandsDo(t *testing.T) {
	s := natstest.Secure(t, services.Declared()...)
	url := s.Start(t, "", s.Login)
	login := s.Login(broker.UserOperator)
	nc := s.Connect(t, url, login)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	// A document that failed, as the stages leave it.
	id := events.DocumentID(events.DefaultTenant, "a.md")
	dead := nats.NewMsg(events.SubjectDeadPrefix + "parser")
	for k, v := range map[string]string{
		events.HeaderDocumentID: id, events.HeaderRevision: "2", events.HeaderFailureClass: "validation", events.HeaderFailureReason: "empty",
		events.HeaderFailureStage: "parser", events.HeaderOriginStream: events.StreamDocuments, events.HeaderOriginSubject: events.SubjectSubmit, events.HeaderOriginSeq: "1",
	} {
		dead.Header.Set(k, v)
	}
	for range 2 {
		if _, err := js.PublishMsg(t.Context(), dead); err != nil {
			t.Fatal(err)
		}
	}
	for user, m := range map[string]struct {
		subject string
		body    any
	}{
		"indexer": {"$KV.documents." + id, events.Document{V: events.Version, Document: id, Tenant: events.DefaultTenant, Name: "a.md", Revision: 2, State: events.StateFailed, Stage: "parser", CorrelationID: "c"}},
		"parser":  {events.EventSubject(id, events.Accepted), events.Event{V: events.Version, What: events.Accepted, Document: id, Revision: 2, CorrelationID: "c", Stage: "parser", Time: time.Now()}},
		"costd":   {"$KV.budget." + budget.StateKey(budget.Global), budget.State{Scope: budget.Global, State: "open", Time: time.Now()}},
	} {
		js, err := jetstream.New(s.Connect(t, url, s.Login(user)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(t.Context(), m.subject, events.Encode(m.body)); err != nil {
			t.Fatal(err)
		}
	}
	// Whether NATS still writes is asked where the operator may, and is not claimed of
	// the other streams.
	doctor := sluice(t, "doctor", "--nats-url", url, "--nats-nkey", login.NKey, "--nats-inbox-prefix", login.InboxPrefix)
	if strings.Contains(doctor.out+doctor.err, "iolation") || !strings.Contains(doctor.out, "not checked is whether NATS still writes") {
		t.Errorf("doctor says\n%s%s", doctor.out, doctor.err)
	}
	for _, command := range []string{
		"status", "status a.md", "ls", "trace a.md", "dead ls", "dead show 1", "dead replay 1", "dead purge 2 --yes", "budget", "cost", "mode", "mode embedder hybrid",
		"mode embedder default", "rm a.md --no-wait", "ingest --no-wait ../../../examples/documents/maintenance-log.md",
	} {
		r := sluice(t, append(strings.Fields(command), "--nats-url", url, "--nats-nkey", login.NKey, "--nats-inbox-prefix", login.InboxPrefix)...)
		if r.code != 0 {
			t.Errorf("sluice %s ends with %d:\n%s%s", command, r.code, r.out, r.err)
		}
	}
}

// A service of another tree is applied with ours: its stream, its consumer, its
// user, and the stage behind it moves. A mistake in its declaration is told before
// anything is made.
func TestApplyWithAServiceOfOnesOwn(t *testing.T) {
	server, err := embedded.Start(embedded.Config{Dir: t.TempDir(), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	t.Setenv("NATS_URL", server.URL())
	own := broker.Service{
		Name: "redactor", About: "Blacks out.",
		Stages:  []broker.Declaration{{Name: "redactor", In: broker.Route{Stream: events.StreamParsed, Subject: events.SubjectParsed}, Out: []broker.Route{{Stream: "REDACTED", Subject: "docs.redacted"}}}},
		Streams: []broker.Stream{broker.Queue("REDACTED", "docs.redacted")},
		Feeds:   map[string]string{"chunker": "REDACTED"},
	}
	text, err := json.Marshal(own)
	if err != nil {
		t.Fatal(err)
	}
	in(t, map[string]string{"redactor.json": string(text), "wrong.json": strings.Replace(string(text), `"docs.parsed"`, `"docs.parsed","sbject":""`, 1)})
	sluice(t, "apply").want(t, 0) // the pipeline has run before
	if r := sluice(t, "apply", "--with", "wrong.json").want(t, 1); !strings.Contains(r.err, "wrong.json declares no service") {
		t.Error(r.err)
	}
	sluice(t, "apply", "--with", "redactor.json").want(t, 0).has(t, "redactor on PARSED", "chunker on REDACTED", "instead of PARSED", "REDACTED")
	r := sluice(t, "apply", "--with", "redactor.json", "--json").want(t, 0)
	if strings.Contains(r.out, `"created"`) || strings.Contains(r.out, `"updated"`) {
		t.Errorf("again: %s", r.out)
	}
	sluice(t, "apply", "--with", "redactor.json", "--nats-keys", "keys", "--print-nats-auth").want(t, 0).
		has(t, "# redactor: Blacks out.", "$JS.API.CONSUMER.MSG.NEXT.PARSED.redactor", "$JS.API.CONSUMER.MSG.NEXT.REDACTED.chunker", "docs.held.redactor.*")
	// doctor looks for the chunker's consumer where it is now.
	nc, err := nats.Connect(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for _, subject := range []string{events.SubjectParsed, "docs.redacted"} {
		if _, err := nc.Request(subject, []byte("{}"), 10*time.Second); err != nil { // the answer is that it is stored
			t.Fatal(err)
		}
	}
	if r := sluice(t, "doctor").want(t, 1); strings.Contains(r.out, "chunker of PARSED is missing") || !strings.Contains(r.out, "1 message waits for chunker") {
		t.Error(r.out)
	}
	// Without it, apply says who is in the way of the chunker.
	if r := sluice(t, "apply").want(t, 1); !strings.Contains(r.err, "redactor does") || !strings.Contains(r.err, "nats consumer rm PARSED redactor") {
		t.Error(r.err)
	}
}
