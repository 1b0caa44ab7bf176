package services_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"sluice/cmd/sluice/services"
	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func users() []broker.User { return broker.Users(services.Declared()...) }

var update = flag.Bool("update", false, "rewrite what is generated")

// account is a user's connection to a server with the generated rights.
type account struct {
	name string
	nc   *nats.Conn
	js   jetstream.JetStream

	refused chan error // the first refusal
}

func signIn(t *testing.T, s natstest.Security, url, user string) *account {
	t.Helper()
	a := &account{name: user, refused: make(chan error, 1)}
	a.nc = s.Connect(t, url, s.Login(user), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		select {
		case a.refused <- err:
		default:
		}
	}))
	var err error
	if a.js, err = jetstream.New(a.nc, jetstream.WithDefaultTimeout(10*time.Second)); err != nil {
		t.Fatal(err)
	}
	return a
}

// may tells whether the server lets the user publish on, or listen to, a subject.
func (a *account) may(t *testing.T, verb, subject string) bool {
	t.Helper()
	if verb == "publish" {
		if err := a.nc.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
	} else {
		sub, err := a.nc.SubscribeSync(subject)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = sub.Unsubscribe() }() // it may have been refused
	}
	// The refusal comes before the answer to the flush.
	if err := a.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	err := a.nc.LastError()
	return err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", subject))
}

// matches tells whether a subject is one of a pattern's.
func matches(pattern, subject string) bool {
	p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i, token := range p {
		switch {
		case token == ">":
			return len(s) > i
		case i >= len(s) || (token != "*" && token != s[i]):
			return false
		}
	}
	return len(p) == len(s)
}

// sample returns a subject of a pattern.
func sample(pattern string) string {
	return strings.ReplaceAll(strings.ReplaceAll(pattern, "*", "x"), ">", "x.y")
}

// What is generated is reviewed as text, and equal keys give equal text.
func TestTheGeneratedConfiguration(t *testing.T) {
	keys := map[string]string{}
	for _, u := range users() {
		keys[u.Name] = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
	}
	text, err := broker.ServerAuth(users(), keys)
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/auth.conf"
	if *update {
		if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || string(want) != text {
		t.Errorf("%s is not what is generated (%v): go test ./cmd/sluice/services -update, and read the difference", golden, err)
	}
	delete(keys, "parser")
	if _, err := broker.ServerAuth(users(), keys); err == nil || !strings.Contains(err.Error(), "parser") {
		t.Errorf("a user without a key: %v", err)
	}
}

// Every user against every subject that any user may use, on a real server: each
// is allowed what is declared for it, and refused what is only others'.
func TestEveryUserAndEverySubject(t *testing.T) {
	s := natstest.Secure(t, services.Declared()...)
	url := s.Start(t, "", s.Login)
	all := users()
	subjects := map[string]map[string]bool{"publish": {}, "subscribe": {}}
	for _, u := range all {
		for _, p := range u.Publish {
			subjects["publish"][sample(p)] = true
		}
		for _, p := range u.Subscribe {
			subjects["subscribe"][sample(p)] = true
		}
	}
	allowed, refused := 0, 0
	for _, u := range all {
		a := signIn(t, s, url, u.Name)
		for verb, patterns := range map[string][]string{"publish": u.Publish, "subscribe": u.Subscribe} {
			for subject := range subjects[verb] {
				want := false
				for _, p := range patterns {
					want = want || matches(p, subject)
				}
				if got := a.may(t, verb, subject); got != want {
					t.Errorf("%s %s %s: %v, want %v", u.Name, verb, subject, got, want)
				}
				if want {
					allowed++
				} else {
					refused++
				}
			}
		}
	}
	if allowed < 300 || refused < 1500 {
		t.Errorf("only %d subjects allowed and %d refused were tried", allowed, refused)
	}
	t.Logf("%d allowed, %d refused", allowed, refused)
}

// Several stages of one process hear one question, as 'sluice doctor' and 'nats
// micro' put it, and each of them may answer it.
func TestEveryStageOfAProcessAnswers(t *testing.T) {
	s := natstest.Secure(t, services.Declared()...)
	url := s.Start(t, "", s.Login)
	parser, operator := signIn(t, s, url, "parser"), signIn(t, s, url, broker.UserOperator)
	stages := []string{"parser", "inbox", "reparser"}
	for _, name := range stages {
		if _, err := parser.nc.Subscribe("$SRV.STATS", func(m *nats.Msg) {
			if err := m.Respond([]byte(name)); err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	inbox := operator.nc.NewInbox()
	answers, err := operator.nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(parser.nc.Flush(), operator.nc.PublishRequest("$SRV.STATS", inbox, nil)); err != nil {
		t.Fatal(err)
	}
	for n := range stages {
		if _, err := answers.NextMsg(10 * time.Second); err != nil {
			t.Fatalf("%d of %d stages answer: %v", n, len(stages), err)
		}
	}
}

// Acts that nobody but the named may do. Each is tried as the user who would
// profit from it, and has to be refused by the server.
func TestForbiddenActs(t *testing.T) {
	s := natstest.Secure(t, services.Declared()...)
	url := s.Start(t, "", s.Login)
	operator := signIn(t, s, url, broker.UserOperator)
	if _, err := operator.js.Publish(t.Context(), events.SubjectSubmit, []byte("a document")); err != nil {
		t.Fatal(err)
	}
	type act struct {
		user, what string
		do         func(context.Context, *account) error
	}
	put := func(bucket, key string) func(context.Context, *account) error {
		return func(ctx context.Context, a *account) error { return publish(ctx, a, "$KV."+bucket+"."+key) }
	}
	on := func(subject string) func(context.Context, *account) error {
		return func(ctx context.Context, a *account) error { return publish(ctx, a, subject) }
	}
	hear := func(subject string) func(context.Context, *account) error {
		return func(_ context.Context, a *account) error { return listen(a, subject) }
	}
	get := func(stream, subject string) func(context.Context, *account) error {
		return on("$JS.API.DIRECT.GET." + stream + "." + subject)
	}
	consumer := func(stream string) func(context.Context, *account) error {
		return func(ctx context.Context, a *account) error {
			_, err := a.js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy})
			return err
		}
	}
	stream := func(verb, name string) func(context.Context, *account) error {
		return func(ctx context.Context, a *account) error {
			switch verb {
			case "delete":
				return a.js.DeleteStream(ctx, name)
			case "create":
				_, err := a.js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{"mine"}})
				return err
			}
			return on("$JS.API.STREAM."+strings.ToUpper(verb)+"."+name)(ctx, a)
		}
	}
	acts := []act{
		// The budget is costd's.
		{"parser", "write the budget", put("budget", "limits.global")},
		{"chunker", "write the budget", put("budget", "limits.global")},
		{"embedder", "raise the limit", put("budget", "limits.global")},
		{"embedder", "rewrite a ledger", put("budget", "ledger.global.d20261125")},
		{"embedder", "rewrite its lease", put("budget", "lease.x")},
		{"embedder", "show the budget open", put("budget", "state.global")},
		{"indexer", "write the budget", put("budget", "limits.global")},
		{"operator", "write the budget past costd", put("budget", "limits.global")},
		{"injector", "write the budget", put("budget", "limits.global")},
		{"embedder", "set the budget", on("budget.set")},
		{"embedder", "answer for costd", hear("budget.lease")},
		{"embedder", "wake everybody", on("budget.wake")},
		{"embedder", "read the ledgers", get("KV_budget", "$KV.budget.ledger.global.d20261125")},
		{"embedder", "watch all of the budget", func(ctx context.Context, a *account) error {
			kv, err := a.js.KeyValue(ctx, events.BucketBudget)
			if err != nil {
				return err
			}
			w, err := kv.WatchAll(ctx)
			if err == nil {
				_ = w.Stop()
			}
			return err
		}},
		// Usage is told by who pays.
		{"embedder", "forge usage of the parser's service", on(events.UsageSubject("llamaparse", "parse"))},
		{"parser", "forge usage of the embedder's service", on(events.UsageSubject("openai", "embed"))},
		{"chunker", "forge usage", on(events.UsageSubject("openai", "embed"))},
		{"costd", "forge usage", on(events.UsageSubject("openai", "embed"))},
		{"chunker", "ask for a lease", on("budget.lease")},
		// Work is read by who does it.
		{"embedder", "read DOCUMENTS", consumer(events.StreamDocuments)},
		{"embedder", "take a document from the parser", on("$JS.API.CONSUMER.MSG.NEXT.DOCUMENTS.parser")},
		{"embedder", "read a message of DOCUMENTS", on("$JS.API.STREAM.MSG.GET.DOCUMENTS")},
		{"embedder", "listen to submissions", hear(events.SubjectSubmit + ".>")},
		{"indexer", "listen to Markdown", hear(events.SubjectParsed)},
		{"chunker", "take a chunk from the embedder", on("$JS.API.CONSUMER.MSG.NEXT.CHUNKS.embedder")},
		{"parser", "acknowledge a chunk of the embedder's", on("$JS.ACK.CHUNKS.embedder.1.1.1.1.0")},
		{"chunker", "acknowledge a document of the parser's", on("$JS.ACK.DOCUMENTS.parser.1.1.1.1.0")},
		{"indexer", "read a blob", on("$JS.API.CONSUMER.CREATE.OBJ_blobs.x.$O.blobs.C.*")},
		{"embedder", "read the parser's jobs", get("KV_jobs", "$KV.jobs.x")},
		{"chunker", "read the cache", get("KV_cache", "$KV.cache.embedding.x.y")},
		{"chunker", "read the states of documents", get("KV_documents", "$KV.documents.x")},
		{"chunker", "read the dead letters", consumer(events.StreamDeadLetter)},
		{"costd", "read EVENTS", consumer(events.StreamEvents)},
		{"embedder", "read what the parser set aside", on("$JS.API.CONSUMER.CREATE.HELD.x.docs.held.parser.x")},
		{"embedder", "read all that is set aside", consumer(events.StreamHeld)},
		{"embedder", "set aside in the parser's name", on(events.SubjectHeldPrefix + "parser.x")},
		// Results are published by who makes them.
		{"parser", "publish chunks", on(events.SubjectChunks)},
		{"chunker", "publish vectors", on(events.SubjectVectors)},
		{"embedder", "publish Markdown", on(events.SubjectParsed)},
		{"embedder", "submit a document", on(events.SubjectSubmit)},
		{"chunker", "delete a document", on(events.SubjectDelete)},
		{"chunker", "tell of a completion", on(events.EventSubject("x", events.Completed))},
		{"embedder", "tell of a deletion", on(events.EventSubject("x", events.Deleted))},
		{"costd", "tell of an acceptance", on(events.EventSubject("x", events.Accepted))},
		{"embedder", "bury a message in the parser's name", on(events.SubjectDeadPrefix + "parser")},
		{"embedder", "write the state of a document", put("documents", "x")},
		{"embedder", "forget the parser's failures", put("retries", "parser.DOCUMENTS.1")},
		{"chunker", "speak for the embedder's settings", put("pipeline", "embedder")},
		{"embedder", "change its own mode", put("pipeline", "mode.embedder")},
		{"embedder", "move the mark of the ledgers", put("pipeline", "budget.mark")},
		{"chunker", "poison the embedding cache", put("cache", "embedding.x.y")},
		{"embedder", "note a job of the parser's", put("jobs", "x")},
		{"chunker", "claim a text", put("claims", "embedding.x.y")},
		{"chunker", "say that an embedder lives", hear("sluice.owner.x")},
		{"chunker", "halt the embedder", put("pipeline", "halt.embedder.x")},
		{"embedder", "poison the parse cache", on("$O.parses.M.eA==")},
		{"chunker", "answer searches", hear(events.SubjectSearch)},
		{"chunker", "pose as the parser for 'nats micro'", hear("$SRV.PING.parser")},
		// Streams are made by apply, and unmade by nobody.
		{"parser", "delete DOCUMENTS", stream("delete", events.StreamDocuments)},
		{"parser", "purge DOCUMENTS", stream("purge", events.StreamDocuments)},
		{"parser", "update DOCUMENTS", stream("update", events.StreamDocuments)},
		{"chunker", "create a stream", stream("create", "MINE")},
		{"costd", "delete the budget", stream("delete", "KV_budget")},
		{"costd", "delete COSTS", stream("delete", events.StreamCosts)},
		{"embedder", "delete its consumer", on("$JS.API.CONSUMER.DELETE.CHUNKS.embedder")},
		{"embedder", "create its consumer", on("$JS.API.CONSUMER.CREATE.CHUNKS.embedder.docs.chunks")},
		{"operator", "delete DOCUMENTS", stream("delete", events.StreamDocuments)},
		{"operator", "purge EVENTS", stream("purge", events.StreamEvents)},
		{"operator", "create a stream", stream("create", "MINE")},
		{"apply", "delete DOCUMENTS", stream("delete", events.StreamDocuments)},
		{"apply", "purge DOCUMENTS", stream("purge", events.StreamDocuments)},
		{"apply", "submit a document", on(events.SubjectSubmit)},
		// Inboxes are private.
		{"embedder", "read the operator's inbox", hear(broker.InboxPrefix(broker.UserOperator) + ".>")},
		{"injector", "read the operator's inbox", hear(broker.InboxPrefix(broker.UserOperator) + ".>")},
		{"operator", "read the apply user's inbox", hear(broker.InboxPrefix(broker.UserApply) + ".>")},
		{"parser", "read all inboxes", hear("_INBOX.>")},
		{"parser", "listen to everything", hear(">")},
		// Submitters submit, and read nothing.
		{"injector", "listen to submissions", hear(events.SubjectSubmit)},
		{"injector", "listen to events", hear(events.SubjectEventPrefix + ">")},
		{"injector", "read EVENTS", consumer(events.StreamEvents)},
		{"injector", "read the state of a document", get("KV_documents", "$KV.documents.x")},
		{"injector", "read what others put into the inbox", consumer("OBJ_inbox")},
		{"injector", "search", on(events.SubjectSearch)},
		{"injector", "delete a document", on(events.SubjectDelete)},
		{"injector", "publish Markdown", on(events.SubjectParsed)},
		{"injector", "tell of a completion", on(events.EventSubject("x", events.Completed))},
		{"injector", "set the budget", on("budget.set")},
		{"injector", "look who runs", on("$SRV.PING")},
		{"injector", "empty the inbox", stream("purge", "OBJ_inbox")},
	}
	if len(acts) < 30 {
		t.Fatalf("only %d acts", len(acts))
	}
	for _, a := range acts {
		t.Run(a.user+" "+a.what, func(t *testing.T) {
			user := signIn(t, s, url, a.user) // a connection of its own, for refusals of its own
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- a.do(ctx, user) }()
			// A missing answer could have other causes: only the server's word counts.
			select {
			case err := <-user.refused:
				if !errors.Is(err, nats.ErrPermissionViolation) {
					t.Errorf("the server says %v, want a violation of permissions", err)
				}
				cancel()
				if err := <-done; err == nil {
					t.Error("it was refused, and went through")
				}
			case err := <-done:
				if err == nil || !errors.Is(user.nc.LastError(), nats.ErrPermissionViolation) {
					t.Errorf("it ended with %v, and the server says %v", err, user.nc.LastError())
				}
			}
		})
	}
	t.Run("and nothing has happened", func(t *testing.T) {
		stream, err := operator.js.Stream(t.Context(), events.StreamDocuments)
		if err != nil || stream.CachedInfo().State.Msgs != 1 {
			t.Errorf("DOCUMENTS: %+v, %v", stream.CachedInfo(), err)
		}
	})
}

// publish waits for an answer: a stream's acknowledgement, or the server's.
func publish(ctx context.Context, a *account, subject string) error {
	_, err := a.nc.RequestWithContext(ctx, subject, nil)
	return err // any answer means that it was heard
}

func listen(a *account, subject string) error {
	sub, err := a.nc.SubscribeSync(subject)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := a.nc.Flush(); err != nil {
		return err
	}
	return a.nc.LastError()
}

// A stage that may make no consumer makes those of what it set aside.
func TestAStageTakesBackWhatItSetAside(t *testing.T) {
	s := natstest.Secure(t, services.Declared()...)
	url := s.Start(t, "", s.Login)
	a := signIn(t, s, url, "embedder")
	subject := events.SubjectHeldPrefix + "embedder.acme"
	if _, err := a.js.Publish(t.Context(), subject, []byte("a chunk")); err != nil {
		t.Fatal(err)
	}
	c, err := a.js.CreateOrUpdateConsumer(t.Context(), events.StreamHeld, jetstream.ConsumerConfig{
		Durable: "embedder-acme", FilterSubject: subject, AckPolicy: jetstream.AckExplicitPolicy, InactiveThreshold: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Next(jetstream.FetchMaxWait(10 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	stream, err := a.js.Stream(t.Context(), events.StreamHeld)
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter(events.SubjectHeldPrefix+"embedder.>"))
	if err != nil || info.State.Msgs != 0 || len(info.State.Subjects) != 0 {
		t.Errorf("HELD: %+v, %v", info, err)
	}
	if err := a.js.DeleteConsumer(t.Context(), events.StreamHeld, "embedder-acme"); err != nil {
		t.Fatal(err)
	}
	if err := a.nc.LastError(); err != nil {
		t.Error(err)
	}
}

// What docs/security.md says that permissions cannot prevent: the server checks
// where a request goes, and not where its answer does. If this fails, the server
// has learnt it, and the page can say less.
func TestTheServerAnswersWhereverItIsTold(t *testing.T) {
	s := natstest.Secure(t, services.Declared()...)
	url := s.Start(t, "", s.Login)
	parser, operator := signIn(t, s, url, "parser"), signIn(t, s, url, broker.UserOperator)
	if parser.may(t, "publish", "$KV.budget.limits.tenant.x") {
		t.Fatal("the parser may write the budget")
	}
	if _, err := parser.js.Publish(t.Context(), "$KV.retries.parser.x", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if err := parser.nc.PublishRequest("$JS.API.DIRECT.GET.KV_retries.$KV.retries.parser.x", "$KV.budget.limits.tenant.x", nil); err != nil {
		t.Fatal(err)
	}
	kv, err := operator.js.KeyValue(t.Context(), events.BucketBudget)
	if err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, 5*time.Second, "the server has written for the parser", func() bool {
		_, err := kv.Get(t.Context(), "limits.tenant.x")
		return err == nil
	})
}

// What builds, ships and deploys a service has a list of its own where it cannot
// import this one. Each is held against it.
func TestListsOfServices(t *testing.T) {
	names := services.Names()
	slices.Sort(names)
	text, err := os.ReadFile("../../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^STAGES\s*:= (.*)$`).FindStringSubmatch(string(text))
	if m == nil {
		t.Fatal("the Makefile has no STAGES")
	}
	have := strings.Fields(m[1])
	slices.Sort(have)
	if !slices.Equal(have, names) {
		t.Errorf("the Makefile knows %v, the list has %v", have, names)
	}
	dirs, err := os.ReadDir("../../../services")
	if err != nil || len(dirs) != len(names) {
		t.Errorf("%d folders of services, and %d in the list (%v)", len(dirs), len(names), err)
	}
	if err := broker.Check(services.Declared()...); err != nil {
		t.Error(err)
	}
}
