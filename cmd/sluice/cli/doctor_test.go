package cli

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/cmd/sluice/allinone"
	"sluice/cmd/sluice/services"
	"sluice/pkg/broker"
	"sluice/pkg/events"
	fake "sluice/pkg/fake/openai"
	"sluice/pkg/natstest"
)

// checks runs doctor, and returns what it found wrong.
func checks(t *testing.T) (wrong []check, code int) {
	t.Helper()
	r := sluice(t, "doctor", "--json")
	for _, c := range one[struct {
		OK     bool    `json:"ok"`
		Checks []check `json:"checks"`
	}](t, r).Checks {
		if c.Status != statusOK && c.Check != "here: disk" {
			wrong = append(wrong, c)
		}
	}
	return wrong, r.code
}

// names fails the test unless a check of the status says all of the texts.
func names(t *testing.T, wrong []check, name, status string, texts ...string) {
	t.Helper()
next:
	for _, c := range wrong {
		if c.Check != name || c.Status != status || c.Hint == "" {
			continue
		}
		for _, s := range texts {
			if !strings.Contains(c.Detail+"; hint: "+c.Hint, s) {
				continue next
			}
		}
		return
	}
	t.Errorf("no check %q is %s and says %q:\n%+v", name, status, texts, wrong)
}

// Whatever of the pipeline is gone, paused or full is named, with what it means.
func TestDoctorNamesWhatIsWrongOnTheServer(t *testing.T) {
	node := start(t, nil)
	js := node.Env.JS
	in(t, map[string]string{"a.md": "Ferries cross the estuary."})
	sluice(t, "ingest", "a.md").want(t, 0)
	if wrong, code := checks(t); code != 0 || len(wrong) > 0 {
		t.Fatalf("a pipeline that is well: %d %+v", code, wrong)
	}

	if _, err := js.PauseConsumer(t.Context(), events.StreamParsed, "chunker", time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	resize := func(stream string, bytes int64) {
		t.Helper()
		s, err := js.Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		cfg := s.CachedInfo().Config
		cfg.MaxBytes = bytes
		if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	kv, err := js.KeyValue(t.Context(), events.BucketCache)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), "much", make([]byte, 64<<10)); err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), "KV_"+events.BucketCache)
	if err != nil {
		t.Fatal(err)
	}
	resize("KV_"+events.BucketCache, int64(s.CachedInfo().State.Bytes)+100)
	jobs, err := js.KeyValue(t.Context(), events.BucketJobs)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jobs.Put(t.Context(), "much", make([]byte, 9<<10)); err != nil {
		t.Fatal(err)
	}
	resize("KV_"+events.BucketJobs, 10<<10)
	for _, name := range []string{events.BucketRetries, events.BucketClaims} {
		if err := js.DeleteKeyValue(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if err := js.DeleteStream(t.Context(), events.StreamVectors); err != nil {
		t.Fatal(err)
	}
	wrong, code := checks(t)
	if code == 0 {
		t.Error("doctor is content")
	}
	names(t, wrong, "consumers", statusFail, "the consumer chunker of PARSED is paused", "nats consumer resume PARSED chunker")
	names(t, wrong, "streams", statusFail, "the bucket cache is full", "may be paid for again")
	names(t, wrong, "streams", statusWarn, "the bucket jobs is nearly full")
	names(t, wrong, "streams", statusFail, "the bucket retries is missing")
	names(t, wrong, "streams", statusFail, "the bucket claims is missing")
	names(t, wrong, "streams", statusFail, "the stream VECTORS is missing", "submit again what was not final")
	sluice(t, "status").want(t, 1).says(t, "the stream VECTORS is missing", "sluice doctor")
}

// Without the bucket of documents texts are found that 'sluice rm' does not know.
func TestDoctorNamesALostBucketOfDocuments(t *testing.T) {
	node := start(t, nil)
	js := node.Env.JS
	in(t, map[string]string{"a.md": "Ferries cross the estuary."})
	sluice(t, "ingest", "a.md").want(t, 0)
	if err := js.DeleteKeyValue(t.Context(), events.BucketDocuments); err != nil {
		t.Fatal(err)
	}
	wrong, code := checks(t)
	if code == 0 {
		t.Error("doctor is content")
	}
	names(t, wrong, "streams", statusFail, "the bucket documents is missing", "'sluice rm' does not know them", "has to be submitted again")
	sluice(t, "search", "ferries").want(t, 0).has(t, "estuary") // the index is all that it takes
	sluice(t, "rm", "a.md").want(t, 1).says(t, "the bucket documents is missing", "hint: 'sluice doctor'")
	if err := broker.Ensure(t.Context(), js, broker.DefaultTopology(), services.Declared()...); err != nil {
		t.Fatal(err)
	}
	wrong, _ = checks(t)
	names(t, wrong, "streams", statusWarn, "the bucket documents was made anew", "submit again what was on its way")
}

// Documents that wait for money are told, with what ends it, by every command.
func TestWhatWaitsIsShown(t *testing.T) {
	server, err := fake.New(fake.Config{Keys: []string{"sk-test"}})
	if err != nil {
		t.Fatal(err)
	}
	url := natstest.Serve(t, server)
	node := start(t, func(c *allinone.Config) {
		c.HTTP = "127.0.0.1:0"
		c.Stages.Embedder.Provider = "openai"
		c.Stages.Embedder.OpenAI.BaseURL, c.Stages.Embedder.OpenAI.Key = url+"/v1", "sk-test"
		c.Stages.Costd.Day, c.Stages.Costd.HourRequests = "5.00", "none"
	})
	in(t, map[string]string{"a.md": "Ferries cross the estuary.", "b.md": "Herons stand still."})
	sluice(t, "budget", "freeze").want(t, 0)
	sluice(t, "ingest", "a.md", "b.md", "--no-wait").want(t, 0)
	waiting := func() (s stageStatus) {
		for _, s := range status(t).Stages {
			if s.Stage == "embedder" {
				return s
			}
		}
		return s
	}
	eventually(t, "two messages wait", func() bool {
		s := waiting()
		return len(s.Waiting) == 1 && s.Waiting[0].Count == 2 && s.InHand == 2
	})
	if w := waiting().Waiting[0]; w.Kind != "budget" || w.Message == "" || w.Hint == "" || w.Since.IsZero() || waiting().Ready != 1 {
		t.Errorf("%+v", w)
	}
	eventually(t, "both entries say that they are held", func() bool {
		return strings.Count(sluice(t, "ls").want(t, 0).out, "held: ") == 2
	})
	sluice(t, "status").want(t, 0).has(t, "WAITS", "embedder", "budget:", "hint: ")
	sluice(t, "status", "a.md").want(t, 0).has(t, "held         ", ", since 2")
	wrong, code := checks(t)
	if code != 0 {
		t.Errorf("waiting for money is no failure: %+v", wrong)
	}
	names(t, wrong, "stage embedder", statusWarn, "2 messages wait for budget:")
	names(t, wrong, "documents", statusWarn, "2 documents wait. 2 since 2")
	for _, command := range []string{"status", "ls", "trace a.md", "status a.md", "doctor"} {
		if r := sluice(t, strings.Fields(command)...); strings.Contains(r.out, "held: held:") || strings.Contains(r.out, "none is stuck") {
			t.Errorf("sluice %s:\n%s", command, r.out)
		}
	}
	resp, err := http.Get("http://" + node.HTTP + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // read only
	var page strings.Builder
	if err := resp.Write(&page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"What waits", "<td>embedder<td>budget:", "<td class=\"n\">2<td>2"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page lacks %q:\n%s", want, page.String())
		}
	}
	sluice(t, "budget", "resume").want(t, 0)
	eventually(t, "both are complete", func() bool { return strings.Count(sluice(t, "ls").out, "complete") == 2 })
	eventually(t, "nothing waits", func() bool { return len(waiting().Waiting) == 0 })
}

// A parser with its hands full is not a parser that is not there.
func TestIngestTellsBusyFromMissing(t *testing.T) {
	release := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
		_, _ = w.Write([]byte("Ferries cross the estuary.")) // the parser may be gone
	}))
	t.Cleanup(slow.Close)
	start(t, func(c *allinone.Config) { c.Stages.Parser.FetchPrivate, c.Stages.Parser.Workers = true, 1 })
	in(t, map[string]string{"a.md": "Herons stand still."})
	errs := &tripwire{wire: "nothing moves", trip: func() { close(release) }}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if code := Run(ctx, []string{"ingest", slow.URL + "/x.txt"}, Streams{In: strings.NewReader(""), Out: &strings.Builder{}, Err: errs}); code != 0 {
		t.Errorf("code %d", code)
	}
	if said := errs.said.String(); !strings.Contains(said, "all stages run, and are busy: the parser has 1 message in hand") || strings.Contains(said, "is running") {
		t.Errorf("it says %q", said)
	}
}

// Nobody answers, and somebody has work in hand: that is said of each.
func TestIngestNamesTheMissing(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	t.Setenv("NATS_URL", url)
	js, err := jetstream.New(natstest.Connect(t, url))
	if err != nil {
		t.Fatal(err)
	}
	if err := broker.Ensure(t.Context(), js, broker.DefaultTopology(), services.Declared()...); err != nil {
		t.Fatal(err)
	}
	cons, err := js.CreateConsumer(t.Context(), events.StreamDocuments, jetstream.ConsumerConfig{Durable: "parser", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	in(t, map[string]string{"a.md": "Herons stand still."})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	errs := &tripwire{wire: "nothing moves", trip: cancel}
	done := make(chan int, 1)
	go func() {
		done <- Run(ctx, []string{"ingest", "a.md"}, Streams{In: strings.NewReader(""), Out: &strings.Builder{}, Err: errs})
	}()
	if _, err := cons.Next(jetstream.FetchMaxWait(time.Minute)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		t.Fatal("it does not end")
	}
	if said := errs.said.String(); !strings.Contains(said, "no chunker, no embedder, no indexer") || !strings.Contains(said, "the parser does not answer, and has 1 message in hand") {
		t.Errorf("it says %q", said)
	}
}

// A costd that grants nothing is not ready, and says why.
func TestDoctorNamesACostdThatCannotLead(t *testing.T) {
	node := start(t, nil)
	if err := node.Env.JS.DeleteKeyValue(t.Context(), events.BucketBudget); err != nil {
		t.Fatal(err)
	}
	var wrong []check
	eventually(t, "the stage says so", func() bool {
		wrong, _ = checks(t)
		for _, c := range wrong {
			if c.Check == "stage costd" {
				return true
			}
		}
		return false
	})
	names(t, wrong, "streams", statusFail, "the bucket budget is missing", "set the limits")
	names(t, wrong, "stage costd", statusFail, "not ready: ")
	t.Log(wrong)
}

// A submission that waits is not stuck, in whatever case its headers are written.
func TestDoctorKnowsSubmissionsThatWait(t *testing.T) {
	node := start(t, nil)
	js := node.Env.JS
	if _, err := js.PauseConsumer(t.Context(), events.StreamDocuments, "parser", time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	msg := nats.NewMsg(events.SubjectSubmit)
	msg.Header["tenant"], msg.Header["filename"] = []string{"acme"}, []string{"a.md"}
	msg.Data = []byte("Ferries cross the estuary.")
	ack, err := js.PublishMsg(t.Context(), msg)
	if err != nil {
		t.Fatal(err)
	}
	documents, err := js.KeyValue(t.Context(), events.BucketDocuments)
	if err != nil {
		t.Fatal(err)
	}
	// Its parser took it up, told so, and was killed.
	d := events.Document{
		V: events.Version, Document: events.DocumentID("acme", "a.md"), Tenant: "acme", Name: "a.md", Revision: 2, Sequence: ack.Sequence,
		State: events.StateAccepted, Updated: time.Now().Add(-time.Hour),
	}
	if _, err := documents.Put(t.Context(), d.Document, events.Encode(d)); err != nil {
		t.Fatal(err)
	}
	wrong, _ := checks(t)
	for _, c := range wrong {
		if c.Check == "documents" {
			t.Errorf("%+v", c)
		}
	}
}

// A bucket that is deleted under running stages is named, by them and by doctor, and
// they go on by themselves when it is made again: nothing that was submitted meanwhile
// is lost, and what was searchable before is known again.
func TestABucketOfDocumentsThatIsMadeAgain(t *testing.T) {
	node := start(t, func(c *allinone.Config) { c.Stages.Indexer.Reconcile = 200 * time.Millisecond })
	js := node.Env.JS
	in(t, map[string]string{"a.md": "Ferries cross the estuary.", "b.md": "Barges lie in the estuary."})
	sluice(t, "ingest", "a.md").want(t, 0)
	if err := js.DeleteKeyValue(t.Context(), events.BucketDocuments); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), events.SubjectSubmit+".b.md", []byte("Barges lie in the estuary.")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the parser and the recorder wait for it, and are not ready", func() bool {
		n := 0
		for _, s := range node.Env.Health.Stages() {
			if (s.Stage == "parser" || s.Stage == "recorder") && !s.Ready && strings.Contains(s.Held(), "bucket documents") {
				n++
			}
		}
		return n == 2
	})
	wrong, code := checks(t)
	if code == 0 {
		t.Error("doctor is content")
	}
	names(t, wrong, "streams", statusFail, "the bucket documents is missing", "'sluice apply'")
	names(t, wrong, "stage parser", statusFail, "the bucket documents does not answer")
	names(t, wrong, "stage recorder", statusFail, "the bucket documents does not answer")
	sluice(t, "apply").want(t, 0)
	eventually(t, "both documents are known", func() bool {
		all := entries(t)
		return all["a.md"].State == events.StateComplete && all["b.md"].State == events.StateComplete
	})
	eventually(t, "all stages are ready", func() bool {
		for _, s := range node.Env.Health.Stages() {
			if !s.Ready {
				return false
			}
		}
		return true
	})
	sluice(t, "rm", "a.md").want(t, 0)
	if n := deadLetters(t, node); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}
