package parser_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/natstest"
	"sluice/pkg/provider"
	"sluice/pkg/stage"
	"sluice/services/parser"
)

func TestMain(m *testing.M) {
	// An object store's Put ends its publisher's listener, and if that has not
	// been scheduled yet, it waits for ever (nats.go 1.55).
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/nats-io/nats.go/jetstream.(*jetStream).resetPendingAcksOnReconnect"))
}

// upper is a parser that shows what it was given.
type upper struct{}

func (upper) Describe() provider.ParserInfo {
	return provider.ParserInfo{Service: "upper", Version: "1"}
}

func (upper) Parse(_ context.Context, src provider.Source) (provider.Parse, error) {
	if len(src.Data) == 0 {
		return provider.Parse{}, fault.Invalid("empty", "%q is empty", src.Name)
	}
	return provider.Parse{
		Markdown: strings.ToUpper(string(src.Data)) + "\n",
		Facts:    events.Facts{Type: src.ContentType, Title: src.Name},
	}, nil
}

// rig is a parser with everything it says.
type rig struct {
	env    *stage.Env
	mu     sync.Mutex
	parsed []*events.Parsed
	told   []*events.Event
	tombs  []*events.Tombstone
	dead   []*nats.Msg
}

func setUp(t *testing.T, change func(*parser.Config)) *rig {
	t.Helper()
	return setUpWith(t, change, upper{})
}

func setUpWith(t *testing.T, change func(*parser.Config), p provider.Parser) *rig {
	t.Helper()
	url := natstest.Start(t, broker.DefaultTopology())
	s := stage.DefaultSettings()
	s.AckWait, s.RetryDelay, s.RetryCap = 2*time.Second, 10*time.Millisecond, 50*time.Millisecond
	r := &rig{env: natstest.Env(t, url, s)}
	kv, err := r.env.JS.KeyValue(t.Context(), events.BucketPipeline)
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range []string{"chunker", "embedder"} {
		if _, err := kv.PutString(t.Context(), st, "test"); err != nil {
			t.Fatal(err)
		}
	}
	watch := natstest.Connect(t, url)
	for subject, f := range map[string]func(*nats.Msg) error{
		events.SubjectParsed: func(m *nats.Msg) error {
			if m.Header.Get(events.HeaderBlob) != "" {
				return nil // the body went to the object store
			}
			p, err := events.Decode[events.Parsed](m.Data)
			r.parsed = append(r.parsed, p)
			return err
		},
		events.SubjectVectors: func(m *nats.Msg) error {
			p, err := events.Decode[events.Tombstone](m.Data)
			r.tombs = append(r.tombs, p)
			return err
		},
		events.SubjectEventPrefix + ">": func(m *nats.Msg) error {
			p, err := events.Decode[events.Event](m.Data)
			r.told = append(r.told, p)
			return err
		},
		events.SubjectDeadPrefix + ">": func(m *nats.Msg) error {
			r.dead = append(r.dead, m)
			return nil
		},
	} {
		if _, err := watch.Subscribe(subject, func(m *nats.Msg) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if err := f(m); err != nil {
				t.Errorf("%s: %v", m.Subject, err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := watch.Flush(); err != nil {
		t.Fatal(err)
	}
	cfg := parser.DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	stages, err := parser.Stages(ctx, r.env, cfg, p, p)
	if err != nil {
		t.Fatal(err)
	}
	natstest.Run(t, r.env, stages...)
	return r
}

func (r *rig) publish(t *testing.T, subject string, body []byte, headers ...string) uint64 {
	t.Helper()
	m := nats.NewMsg(subject)
	for i := 0; i < len(headers); i += 2 {
		m.Header.Set(headers[i], headers[i+1])
	}
	m.Data = body
	ack, err := r.env.JS.PublishMsg(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return ack.Sequence
}

// story returns the events so far.
func (r *rig) story() []*events.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.told)
}

func (r *rig) wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	natstest.Eventually(t, 10*time.Second, what, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return ok()
	})
}

func TestASubmission(t *testing.T) {
	r := setUp(t, nil)
	r.publish(t, "docs.submit.notes.v2.txt", []byte("hello"),
		"Tenant", "acme", "Meta-Team", "blue", "Correlation-Id", "demo-1", "Content-Type", "text/plain")
	r.wait(t, "parsed", func() bool { return len(r.parsed) == 1 })
	p := r.parsed[0]
	if p.Name != "notes.v2.txt" || p.Tenant != "acme" || p.Meta["Team"] != "blue" || p.Markdown != "HELLO\n" ||
		p.Document != events.DocumentID("acme", "notes.v2.txt") || !recent(p.Revision) ||
		p.ContentHash != events.ContentHash([]byte("hello")) || p.Fingerprint == "" {
		t.Errorf("%+v", p)
	}
	// One event says it all: reading it took a moment.
	r.wait(t, "told", func() bool { return len(r.told) == 1 })
	if e := r.told[0]; e.What != events.ParsedWhat || e.CorrelationID != "demo-1" || e.Document != p.Document || e.ContentHash != p.ContentHash || e.Submitted == nil {
		t.Errorf("event: %+v", e)
	}
	// Of a larger document it is told that it is being read.
	r.publish(t, "docs.submit.large.txt", []byte(strings.Repeat("hello ", 20_000)))
	r.wait(t, "told", func() bool { return len(r.told) == 3 })
	for i, what := range []events.What{events.Accepted, events.ParsedWhat} {
		if e := r.told[i+1]; e.What != what || e.Document != events.DocumentID("default", "large.txt") {
			t.Errorf("event %d: %+v", i, e)
		}
	}
}

func TestNames(t *testing.T) {
	r := setUp(t, nil)
	r.publish(t, "docs.submit.ignored.txt", []byte("a"), "Filename", "Über/den Fluß.txt")
	r.publish(t, "docs.submit", []byte("anonymous"))
	r.wait(t, "parsed", func() bool { return len(r.parsed) == 2 })
	want := map[string]bool{
		events.DocumentID("default", "Über/den Fluß.txt"):                            true,
		events.ContentDocumentID("default", events.ContentHash([]byte("anonymous"))): true,
	}
	for _, p := range r.parsed {
		if !want[p.Document] {
			t.Errorf("document %s named %q", p.Document, p.Name)
		}
	}
}

func TestRefusals(t *testing.T) {
	r := setUp(t, nil)
	long := strings.Repeat("x", 9000)
	for subject, tc := range map[string]struct {
		body    string
		headers []string
		reason  string
	}{
		"docs.submit.a": {"", nil, "empty"},
		"docs.submit.b": {"x", []string{"Tenant", "../etc"}, "bad-header"},
		"docs.submit.c": {"x", []string{"Meta-A", long}, "bad-header"},
		// Names that cannot be read would all be that of the subject.
		"docs.submit.d": {"x", []string{"Filename*", "iso-8859-1''M%FCller.txt"}, "bad-header"},
		"docs.uri":      {`{"uri":`, nil, "malformed-event"},
		"docs.delete":   {`{"name":"a","document":"b"}`, nil, "malformed-event"},
	} {
		r.publish(t, subject, []byte(tc.body), tc.headers...)
		r.wait(t, subject+" refused", func() bool {
			for _, d := range r.dead {
				if d.Header.Get(events.HeaderOriginSubject) == subject {
					if got := d.Header.Get(events.HeaderFailureReason); got != tc.reason {
						t.Errorf("%s: reason %q, want %q", subject, got, tc.reason)
					}
					return true
				}
			}
			return false
		})
	}
	r.wait(t, "each failure told", func() bool {
		n := 0
		for _, e := range r.told {
			if e.What == events.Failed {
				n++
			}
		}
		return n == 6
	})
}

func TestReferences(t *testing.T) {
	var hits int
	var mu sync.Mutex
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch req.URL.Path {
		case "/a.html":
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "page")
		case "/moved":
			http.Redirect(w, req, "/a.html", http.StatusFound)
		case "/loop":
			http.Redirect(w, req, "/loop", http.StatusFound)
		case "/flaky":
			if hits++; hits < 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			fmt.Fprint(w, "at last")
		case "/big":
			_, _ = w.Write(bytes.Repeat([]byte("x"), 2000))
		default:
			http.NotFound(w, req)
		}
	}))
	defer srv.Close()
	r := setUp(t, func(c *parser.Config) { c.FetchPrivate, c.FetchLimit = true, 1000 })
	for i, tc := range []struct{ uri, markdown, reason string }{
		{srv.URL + "/a.html", "PAGE\n", ""},
		{srv.URL + "/moved", "PAGE\n", ""},
		{srv.URL + "/flaky", "AT LAST\n", ""},
		{srv.URL + "/loop", "", "fetch-refused"},
		{srv.URL + "/none", "", "fetch-refused"},
		{srv.URL + "/big", "", "too-large"},
		{"file:///etc/passwd", "", "bad-uri"},
		{"object://blobs/x", "", "bad-uri"},
		{"object://inbox/none", "", "not-found"},
	} {
		name := fmt.Sprint("doc", i)
		id := events.DocumentID("acme", name)
		r.publish(t, events.SubjectURI, events.Encode(events.Reference{URI: tc.uri, Tenant: "acme", Name: name}))
		r.wait(t, tc.uri, func() bool {
			for _, p := range r.parsed {
				if p.Document == id {
					if p.Markdown != tc.markdown {
						t.Errorf("%s: %q", tc.uri, p.Markdown)
					}
					return true
				}
			}
			for _, d := range r.dead {
				if d.Header.Get(events.HeaderDocumentID) == id {
					if got := d.Header.Get(events.HeaderFailureReason); got != tc.reason {
						t.Errorf("%s: reason %q, want %q", tc.uri, got, tc.reason)
					}
					return true
				}
			}
			return false
		})
	}
	// Of two values of one name none is the first: a retry could take the other one.
	r.publish(t, events.SubjectURI, events.Encode(events.Reference{URI: srv.URL + "/a.html", Tenant: "acme", Name: "twice", Meta: map[string]string{"team": "red", "TEAM": "blue"}}))
	r.wait(t, "two values are refused", func() bool {
		last := r.dead[len(r.dead)-1]
		return last.Header.Get(events.HeaderDocumentID) == events.DocumentID("acme", "twice") && strings.Contains(last.Header.Get(events.HeaderFailureMessage), "Team twice")
	})
}

func TestPrivateAddressesAreNotFetched(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was fetched") }))
	defer srv.Close()
	r := setUp(t, nil)
	r.publish(t, events.SubjectURI, []byte(`{"uri":"`+srv.URL+`"}`))
	r.wait(t, "refused", func() bool {
		return len(r.dead) == 1 && r.dead[0].Header.Get(events.HeaderFailureReason) == "private-address"
	})
}

func TestTheInbox(t *testing.T) {
	r := setUp(t, nil)
	store, err := r.env.JS.ObjectStore(t.Context(), events.StoreInbox)
	if err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("0123456789", 300_000)
	if _, err := store.Put(t.Context(), jetstream.ObjectMeta{
		Name: "big file.txt", Headers: nats.Header{"Tenant": {"acme"}, "Meta-Team": {"red"}, "Correlation-Id": {"c-9"}},
	}, strings.NewReader(big)); err != nil {
		t.Fatal(err)
	}
	r.wait(t, "told", func() bool { return len(r.told) >= 2 })
	if e := r.told[0]; e.Document != events.DocumentID("acme", "big file.txt") || e.CorrelationID != "c-9" || e.Bytes != int64(len(big)) {
		t.Errorf("%+v", e)
	}
	natstest.Eventually(t, 10*time.Second, "the object is removed", func() bool {
		_, err := store.GetInfo(t.Context(), "big file.txt")
		return err != nil
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.dead) != 0 {
		t.Errorf("dead letters: %v", r.dead[0].Header)
	}
}

func TestADeletionTravelsToTheIndex(t *testing.T) {
	r := setUp(t, nil)
	r.publish(t, events.SubjectDelete, []byte(`{"name":"a.txt","tenant":"acme"}`))
	r.wait(t, "tombstone", func() bool { return len(r.tombs) == 1 })
	if got := r.tombs[0]; got.Document != events.DocumentID("acme", "a.txt") || !recent(got.Revision) || got.Confirm != "" {
		t.Errorf("%+v", got)
	}
}

func TestWhatIsLiveIsNotParsedAgain(t *testing.T) {
	r := setUp(t, nil)
	r.publish(t, "docs.submit.a.txt", []byte("same"))
	r.wait(t, "parsed", func() bool { return len(r.parsed) == 1 })
	p := r.parsed[0]
	kv, err := r.env.JS.KeyValue(t.Context(), events.BucketDocuments)
	if err != nil {
		t.Fatal(err)
	}
	entry := events.Document{
		V: 1, Document: p.Document, Revision: p.Revision, State: events.StateComplete,
		Live: &events.Live{Revision: p.Revision, ContentHash: p.ContentHash, Fingerprint: p.Fingerprint, Chunks: 1},
	}
	put := func() {
		body, err := json.Marshal(entry)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kv.Put(t.Context(), p.Document, body); err != nil {
			t.Fatal(err)
		}
	}
	put()
	r.publish(t, "docs.submit.a.txt", []byte("same"))
	r.wait(t, "a confirmation is asked for", func() bool { return len(r.tombs) == 1 })
	if got := r.tombs[0]; got.Confirm != p.ContentHash || !recent(got.Revision) || got.Revision <= p.Revision {
		t.Errorf("%+v", got)
	}
	// While something newer is on its way, nothing is a duplicate.
	entry.Revision, entry.State = (r.tombs[0].Revision + 2), events.StateParsed
	put()
	r.publish(t, "docs.submit.a.txt", []byte("same"))
	r.wait(t, "parsed again", func() bool { return len(r.parsed) == 2 })
	// Other settings make another result.
	entry.State, entry.Live.Fingerprint = events.StateComplete, "other"
	put()
	r.publish(t, "docs.submit.a.txt", []byte("same"))
	r.wait(t, "parsed a third time", func() bool { return len(r.parsed) == 3 })
}

// recent tells whether a revision is whole and of a submission of this minute.
func recent(r events.Revision) bool {
	d := time.Since(r.Time())
	return r.IsWhole() && d > -time.Minute && d < time.Minute
}

// The case of a header's name does not matter: NATS keeps it, and people write it
// as they like.
func TestHeadersInAnyCase(t *testing.T) {
	r := setUp(t, nil)
	m := nats.NewMsg("docs.submit.ignored")
	m.Header = nats.Header{
		"tenant": {"acme"}, "FILENAME": {"notes.txt"}, "correlation-id": {"demo-1"}, "content-type": {"text/x-odd"}, "reply-subject": {"answers.x"},
		"META-team": {"blue"}, "Tenant": {""}, "charset": {"utf-8"}, "Charset": {"utf-8"},
	}
	m.Data = []byte("hello")
	if _, err := r.env.JS.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	r.wait(t, "parsed", func() bool { return len(r.parsed) == 1 && len(r.told) >= 1 })
	if p := r.parsed[0]; p.Name != "notes.txt" || p.Tenant != "acme" || p.Document != events.DocumentID("acme", "notes.txt") || p.Meta["Team"] != "blue" || p.Facts.Type != "text/x-odd" {
		t.Errorf("%+v", p)
	}
	if e := r.told[0]; e.CorrelationID != "demo-1" || e.ReplyTo != "answers.x" || e.Tenant != "acme" {
		t.Errorf("%+v", e)
	}
	store, err := r.env.JS.ObjectStore(t.Context(), events.StoreInbox)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put(t.Context(), jetstream.ObjectMeta{Name: "o.txt", Headers: nats.Header{"tenant": {"acme"}, "meta-team": {"red"}}}, strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	r.wait(t, "the object", func() bool { return len(r.parsed) == 2 })
	if p := r.parsed[1]; p.Tenant != "acme" || p.Document != events.DocumentID("acme", "o.txt") || p.Meta["Team"] != "red" {
		t.Errorf("%+v", p)
	}
}

// Two spellings of one header that do not agree: nobody can tell which is meant,
// and the failure is not told of either document.
func TestAmbiguousHeaders(t *testing.T) {
	r := setUp(t, nil)
	for i, h := range []nats.Header{
		{"Tenant": {"acme"}, "tenant": {"other"}, "Filename": {"a.txt"}},
		{"Filename": {"a.txt"}, "filename": {"b.txt"}, "Tenant": {"acme"}},
		{"Meta-Team": {"red"}, "meta-team": {"blue"}},
		{"Tenant": {"acme", "other"}},
	} {
		m := nats.NewMsg("docs.submit")
		m.Header, m.Data = h, []byte("hello")
		if _, err := r.env.JS.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		r.wait(t, "refused", func() bool { return len(r.dead) == i+1 })
		d := r.dead[i]
		if d.Header.Get(events.HeaderFailureReason) != "bad-header" || !strings.Contains(d.Header.Get(events.HeaderFailureMessage), "there twice") {
			t.Errorf("%v", d.Header)
		}
		for _, taken := range []string{events.DocumentID("acme", "a.txt"), events.DocumentID("other", "a.txt"), events.DocumentID("acme", "b.txt")} {
			if d.Header.Get(events.HeaderDocumentID) == taken {
				t.Errorf("the failure of %v is told of a document", h)
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.parsed) != 0 {
		t.Errorf("parsed: %+v", r.parsed[0])
	}
}

// An object submits itself, and may be referred to as well, before or after.
func TestAReferenceToTheInbox(t *testing.T) {
	r := setUp(t, nil)
	store, err := r.env.JS.ObjectStore(t.Context(), events.StoreInbox)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 7 {
		name := fmt.Sprintf("scan %d.txt", i)
		if _, err := store.Put(t.Context(), jetstream.ObjectMeta{Name: name}, strings.NewReader("text "+name)); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			r.wait(t, "the object itself", func() bool { return len(r.parsed) >= 3*i+1 })
		}
		r.publish(t, events.SubjectURI, events.Encode(events.Reference{URI: "object://inbox/" + name, Name: "mine/" + name, Tenant: "acme"}))
		r.publish(t, events.SubjectURI, []byte(fmt.Sprintf(`{"uri":"object://inbox/scan%%20%d.txt"}`, i)))
		r.wait(t, "all three", func() bool { return len(r.parsed) == 3*(i+1) })
		got := map[string]int{}
		for _, p := range r.parsed[3*i:] {
			got[p.Document]++
		}
		// Without a name of its own it is the document that the object is.
		if got[events.DocumentID("acme", "mine/"+name)] != 1 || got[events.DocumentID(events.DefaultTenant, name)] != 2 {
			t.Errorf("%v", got)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.dead) != 0 {
		t.Errorf("dead letters: %v", r.dead[0].Header)
	}
}

// A large object is refused by its size, before its bytes are read, under the
// document's name.
func TestALargeObject(t *testing.T) {
	r := setUp(t, func(c *parser.Config) { c.FetchLimit = 1000 })
	store, err := r.env.JS.ObjectStore(t.Context(), events.StoreInbox)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put(t.Context(), jetstream.ObjectMeta{Name: "run-1", Headers: nats.Header{"Filename": {"report.txt"}}}, strings.NewReader(strings.Repeat("x", 1001))); err != nil {
		t.Fatal(err)
	}
	r.wait(t, "refused", func() bool { return len(r.dead) == 1 })
	if h := r.dead[0].Header; h.Get(events.HeaderFailureReason) != "too-large" || h.Get(events.HeaderDocumentID) != events.DocumentID(events.DefaultTenant, "report.txt") ||
		!strings.Contains(h.Get(events.HeaderFailureMessage), "report.txt has 1001 bytes, more than the 1000") {
		t.Errorf("%v", h)
	}
}

// slow is a parser whose document waits twice for a job.
type slow struct {
	upper
	calls atomic.Int64
	wake  func(fault.Wait)
}

func (s *slow) Parse(ctx context.Context, src provider.Source) (provider.Parse, error) {
	if n := s.calls.Add(1); n < 3 {
		defer s.wake("job:1")
		return provider.Parse{}, fault.New(fault.Unavailable, "job-running", "parsing it (job 1)").WaitFor("job:1").After(time.Millisecond)
	}
	return s.upper.Parse(ctx, src)
}

// What a reference points at is fetched once for a job, and accepted once.
func TestAReferenceThatWaitsForItsJob(t *testing.T) {
	var fetched atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "version %d", fetched.Add(1))
	}))
	defer srv.Close()
	p := &slow{}
	r := setUpWith(t, func(c *parser.Config) { c.FetchPrivate = true }, p)
	p.wake = r.env.Wake
	r.publish(t, events.SubjectURI, []byte(`{"uri":"`+srv.URL+`/a.txt"}`))
	r.wait(t, "parsed", func() bool { return len(r.parsed) == 1 })
	if fetched.Load() != 1 || r.parsed[0].Markdown != "VERSION 1\n" {
		t.Errorf("fetched %d times: %q", fetched.Load(), r.parsed[0].Markdown)
	}
	accepted := 0
	for _, e := range r.story() {
		if e.What == events.Accepted {
			accepted++
		}
	}
	if accepted != 1 {
		t.Errorf("accepted %d times", accepted)
	}
}

// A bucket that is away is no failure of the document.
func TestABucketThatIsAway(t *testing.T) {
	r := setUp(t, nil)
	stream := "KV_" + events.BucketDocuments
	info, err := r.env.JS.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	cfg := info.CachedInfo().Config
	if err := r.env.JS.DeleteStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	r.publish(t, "docs.submit.a.txt", []byte("hello"))
	r.wait(t, "it is held", func() bool {
		for _, e := range r.told {
			if e.What == events.Held && strings.Contains(e.Failure.Message, "the bucket documents does not answer") {
				return true
			}
		}
		return false
	})
	if _, err := r.env.JS.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	r.wait(t, "parsed", func() bool { return len(r.parsed) == 1 })
	for _, e := range r.story() {
		if e.What == events.Retried || e.What == events.Failed {
			t.Errorf("%+v", e.Failure)
		}
	}
}
