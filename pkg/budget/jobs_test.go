package budget_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"sluice/pkg/broker"
	"sluice/pkg/budget"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/natstest"
	"sluice/pkg/provider"
)

// jobService works by jobs. A job runs until the test ends it.
type jobService struct {
	mu      sync.Mutex
	creates int
	looks   int
	ends    map[string]error // ended jobs; nil = well
	lost    int              // so many of its jobs it does not know any more
	hurt    error            // of every look
	lose    bool             // creates start a job, and do not answer
	during  func()           // called while a job is looked at
	hold    chan struct{}    // creates wait for it
}

func (s *jobService) Describe() provider.ParserInfo {
	return provider.ParserInfo{Service: "paid", Version: "1"}
}

func (s *jobService) Bound(src provider.Source) (provider.Bound, error) {
	if len(src.Data) == 0 {
		return provider.Bound{}, fault.Invalid("empty", "nothing in it")
	}
	return provider.Bound{Nano: 1000, Pages: 10}, nil
}

func (s *jobService) Find(context.Context, provider.Source, time.Time) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.creates == s.lost {
		return "", nil
	}
	return fmt.Sprintf("j%d", s.creates), nil
}

func (s *jobService) Create(context.Context, provider.Source) (string, error) {
	if s.hold != nil {
		<-s.hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.creates++
	if s.lose {
		return "", fault.New(fault.Unavailable, "connection-lost", "no answer")
	}
	return fmt.Sprintf("j%d", s.creates), nil
}

func (s *jobService) Result(_ context.Context, job string, _ provider.Source) (provider.Parse, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	if s.during != nil {
		s.during()
	}
	if s.hurt != nil {
		return provider.Parse{}, false, s.hurt
	}
	if n, err := strconv.Atoi(strings.TrimPrefix(job, "j")); err != nil || n <= s.lost {
		return provider.Parse{}, false, fault.New(fault.Execution, provider.ReasonJobUnknown, "no such job")
	}
	err, ended := s.ends[job]
	if !ended || err != nil {
		return provider.Parse{}, ended, err
	}
	return provider.Parse{Markdown: "text of " + job, Nano: 300, Billed: true, Facts: events.Facts{Pages: 3}}, true, nil
}

func (s *jobService) Cost(context.Context, string) (int64, bool, error) { return 300, true, nil }

func (s *jobService) end(job string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ends == nil {
		s.ends = map[string]error{}
	}
	s.ends[job] = err
}

// forget has the service lose all jobs so far.
func (s *jobService) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = s.creates
}

func (s *jobService) count() (creates, looks int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.creates, s.looks
}

// jobWorld is a NATS server with somebody who grants every lease, and counts.
type jobWorld struct {
	t       *testing.T
	url     string
	js      jetstream.JetStream
	records jetstream.KeyValue

	mu    sync.Mutex
	spent int64
	woken []fault.Wait
}

func newJobWorld(t *testing.T) *jobWorld {
	t.Helper()
	w := &jobWorld{t: t, url: natstest.Start(t, broker.DefaultTopology())}
	nc := natstest.Connect(t, w.url)
	var err error
	if w.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	if w.records, err = w.js.KeyValue(t.Context(), events.BucketJobs); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Subscribe(budget.SubjectLease, func(m *nats.Msg) {
		var r budget.Request
		if err := json.Unmarshal(m.Data, &r); err != nil {
			t.Error(err)
			return
		}
		w.mu.Lock()
		w.spent += r.Used.Nano
		w.mu.Unlock()
		body, err := json.Marshal(budget.Answer{Lease: r.Lease, N: r.N, Granted: r.Need, Keep: r.Keep, TTL: time.Minute, Gone: r.Close})
		if err == nil {
			err = m.Respond(body)
		}
		if err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return w
}

// process returns the guard of a process of its own, and what ends it.
func (w *jobWorld) process(s *jobService, limits budget.JobLimits) (*budget.JobParser, func()) {
	w.t.Helper()
	return w.processOn(natstest.Connect(w.t, w.url), s, limits)
}

// processOn is process with its connection.
func (w *jobWorld) processOn(nc *nats.Conn, s *jobService, limits budget.JobLimits) (*budget.JobParser, func()) {
	w.t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		w.t.Fatal(err)
	}
	records, err := js.KeyValue(w.t.Context(), w.records.Bucket())
	if err != nil {
		w.t.Fatal(err)
	}
	// The turn of an hour, when nothing is admitted, is somebody else's test.
	now := time.Now().Truncate(time.Hour).Add(30 * time.Minute)
	g, err := budget.NewGate(w.t.Context(), budget.Config{Conn: nc, JS: js, Log: zerolog.Nop(), Now: func() time.Time { return now }, Wake: func(key fault.Wait) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.woken = append(w.woken, key)
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	ended := false
	end := func() {
		if ended {
			return
		}
		ended = true
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if nc.IsClosed() { // it was killed, and tells nobody
			cancel()
		}
		if err := g.Close(ctx); err != nil && !nc.IsClosed() {
			w.t.Error(err)
		}
	}
	w.t.Cleanup(end)
	return budget.Parser(g, "parser", s, records, limits), end
}

// wakes returns the keys that were woken since it was called last.
func (w *jobWorld) wakes() (keys map[fault.Wait]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	keys = map[fault.Wait]bool{}
	for _, k := range w.woken {
		keys[k] = true
	}
	w.woken = nil
	return keys
}

// told returns the usage events.
func (w *jobWorld) told(want int) (all []events.Usage) {
	w.t.Helper()
	s, err := w.js.Stream(w.t.Context(), events.StreamCosts)
	if err != nil {
		w.t.Fatal(err)
	}
	natstest.Eventually(w.t, 10*time.Second, fmt.Sprintf("%d usage events", want), func() bool {
		info, err := s.Info(w.t.Context())
		return err == nil && info.State.Msgs >= uint64(want)
	})
	for i := range s.CachedInfo().State.Msgs {
		m, err := s.GetMsg(w.t.Context(), i+1)
		if err != nil {
			w.t.Fatal(err)
		}
		u, err := events.Decode[events.Usage](m.Data)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, *u)
	}
	if len(all) != want {
		w.t.Errorf("%d usage events, want %d: %+v", len(all), want, all)
	}
	return all
}

func document(text string) provider.Source {
	return provider.Source{Name: "a.pdf", Data: []byte(text), Owner: provider.Owner{Document: events.DocumentID(events.DefaultTenant, text)}}
}

// waitsFor checks that a step has ended with a wait for a key.
func waitsFor(t *testing.T, err error, key fault.Wait, words string) *fault.Error {
	t.Helper()
	f := fault.From(err)
	if f == nil || f.Waits() != key || !strings.Contains(f.Message, words) || f.RetryAfter <= 0 {
		t.Fatalf("%v, waits for %q after %v; want %q and words like %q", err, f.Waits(), f.RetryAfter, key, words)
	}
	return f
}

// A step asks once, and says what it waits for. The delay grows, and a word of the
// service ends it.
func TestAStepDoesNotWaitForItsJob(t *testing.T) {
	w, s := newJobWorld(t), &jobService{}
	p, end := w.process(s, budget.JobLimits{Poll: time.Hour})
	for i := range 7 {
		_, err := p.Parse(t.Context(), document("a"))
		f := waitsFor(t, err, "job:j1", "paid is parsing it (job j1, since 20")
		if want := time.Duration(min(i+1, 5)) * time.Hour; f.RetryAfter != want {
			t.Errorf("look %d: the next after %v, want %v", i+1, f.RetryAfter, want)
		}
		if _, err := p.Parse(t.Context(), document("a")); fault.From(err).Waits() != "job:j1" {
			t.Errorf("another document of the same content: %v", err)
		}
		if creates, looks := s.count(); creates != 1 || looks != i+1 {
			t.Fatalf("%d creates and %d looks in step %d", creates, looks, i+1)
		}
		p.Changed("j1")
		if !w.wakes()["job:j1"] {
			t.Fatal("the webhook woke nobody")
		}
	}
	// What the service tells during a look is not lost: the next step looks again.
	s.during = func() {
		s.during = nil
		p.Changed("j1")
	}
	_, err := p.Parse(t.Context(), document("a"))
	if f := waitsFor(t, err, "job:j1", ""); f.RetryAfter > time.Second {
		t.Errorf("told while it looked: the next look after %v", f.RetryAfter)
	}
	s.end("j1", nil)
	out, err := p.Parse(t.Context(), document("a"))
	if err != nil || out.Markdown != "text of j1" {
		t.Fatalf("%+v %v", out, err)
	}
	if u := w.told(1)[0]; u.Nano != 300 || u.Outcome != events.OutcomeCharged || u.Estimate != 1000 || u.Pages != 3 {
		t.Errorf("%+v", u)
	}
	end()
	if w.spent != 300 {
		t.Errorf("%d n$ are spent, the job did cost 300", w.spent)
	}
}

// Jobs of a process are bounded. What would start one more waits, reserves
// nothing, and is woken by the end of one.
func TestSlots(t *testing.T) {
	w, s := newJobWorld(t), &jobService{}
	p, end := w.process(s, budget.JobLimits{Jobs: 2, Poll: time.Hour})
	for _, text := range []string{"a", "b"} {
		if _, err := p.Parse(t.Context(), document(text)); fault.From(err).Waits().Kind() != fault.WaitJob {
			t.Fatal(err)
		}
	}
	_, err := p.Parse(t.Context(), document("c"))
	waitsFor(t, err, "slot:paid", "at most 2 jobs and")
	if _, err := p.Parse(t.Context(), document("")); fault.From(err).Reason != "empty" {
		t.Errorf("what is refused anyway waits for a slot: %v", err)
	}
	if creates, _ := s.count(); creates != 2 {
		t.Fatalf("%d creates", creates)
	}
	w.wakes()
	s.end("j1", errors.New("odd")) // no end: the look failed
	s.end("j2", fault.New(fault.Execution, "parse-failed", "the fonts are odd"))
	p.Changed("j2")
	if _, err := p.Parse(t.Context(), document("b")); fault.From(err).Reason != "parse-failed" {
		t.Fatal(err)
	}
	if !w.wakes()["slot:paid"] {
		t.Error("the end of a job woke nobody")
	}
	_, err = p.Parse(t.Context(), document("c"))
	waitsFor(t, err, "job:j3", "")
	end()
	if want := int64(300 + 2*1000); w.spent != want {
		t.Errorf("%d n$ are spent, want what one did cost and the bounds of two: %d", w.spent, want)
	}
}

// Whoever meets the content of a running job in another process waits for the same
// job, and tells its cost if it sees the end. The process that reserved the money
// frees its slot.
func TestAnotherProcessTakesAJobUp(t *testing.T) {
	w, s := newJobWorld(t), &jobService{}
	first, _ := w.process(s, budget.JobLimits{Jobs: 1, Poll: time.Hour})
	if _, err := first.Parse(t.Context(), document("a")); fault.From(err).Waits() != "job:j1" {
		t.Fatal(err)
	}
	second, _ := w.process(s, budget.JobLimits{Poll: time.Hour})
	if _, err := second.Parse(t.Context(), document("a")); fault.From(err).Waits() != "job:j1" {
		t.Fatal(err)
	}
	s.end("j1", nil)
	second.Changed("j1")
	if out, err := second.Parse(t.Context(), document("a")); err != nil || out.Markdown != "text of j1" {
		t.Fatalf("%+v %v", out, err)
	}
	w.told(1)
	first.Changed("j1")
	if out, err := first.Parse(t.Context(), document("a")); err != nil || out.Markdown != "text of j1" {
		t.Fatalf("%+v %v", out, err)
	}
	w.told(1)
	if creates, _ := s.count(); creates != 1 {
		t.Errorf("%d creates", creates)
	}
}

// A job that does not end is the document's failure. The time counts from its
// start, in whatever process. A replay takes its result, or starts another if it
// has ended badly; it does not buy the same twice.
func TestAJobThatDoesNotEnd(t *testing.T) {
	w, s := newJobWorld(t), &jobService{}
	first, end := w.process(s, budget.JobLimits{Poll: time.Nanosecond, Timeout: time.Hour})
	if _, err := first.Parse(t.Context(), document("a")); fault.From(err).Waits() != "job:j1" {
		t.Fatal(err)
	}
	end()
	w.told(0)
	p, _ := w.process(s, budget.JobLimits{Poll: time.Nanosecond, Timeout: time.Nanosecond, Jobs: 1})
	for range 2 {
		_, err := p.Parse(t.Context(), document("a"))
		if f := fault.From(err); f.Reason != "job-timeout" || f.Class != fault.Execution || !strings.Contains(f.Message, "job j1, since ") || f.Hint == "" {
			t.Fatalf("%v %+v", err, f)
		}
	}
	if u := w.told(1)[0]; u.Outcome != events.OutcomeUnknown || u.Nano != 1000 {
		t.Errorf("%+v", u)
	}
	s.end("j1", fault.New(fault.Execution, "cancelled", "by somebody"))
	_, err := p.Parse(t.Context(), document("a"))
	if f := fault.From(err); f.Reason != "job-timeout" || !strings.Contains(f.Message, "job j2") { // the limit of this process is odd
		t.Fatalf("a replay after the cancellation: %v", err)
	}
	s.end("j2", nil)
	if out, err := p.Parse(t.Context(), document("a")); err != nil || out.Markdown != "text of j2" {
		t.Fatalf("a replay after the end: %+v %v", out, err)
	}
	if creates, _ := s.count(); creates != 2 {
		t.Errorf("%d creates", creates)
	}
	w.told(2)
}

// A look that fails says nothing of the job. Only where all of them fail is it the
// document's failure.
func TestALookThatFails(t *testing.T) {
	w, s := newJobWorld(t), &jobService{}
	p, _ := w.process(s, budget.JobLimits{Poll: time.Nanosecond})
	if _, err := p.Parse(t.Context(), document("a")); fault.From(err).Waits() != "job:j1" {
		t.Fatal(err)
	}
	s.hurt = fault.New(fault.RateLimited, "rate-limited", "slow down").After(7 * time.Second)
	_, err := p.Parse(t.Context(), document("a"))
	if f := waitsFor(t, err, "job:j1", "the last look at it failed: slow down"); f.RetryAfter != 7*time.Second || f.Class != fault.RateLimited {
		t.Errorf("%+v", f)
	}
	s.hurt = fault.New(fault.Unavailable, "unavailable", "answered 503")
	for i := range 8 {
		p.Changed("j1")
		_, err := p.Parse(t.Context(), document("a"))
		if f := fault.From(err); f.Waits() != "job:j1" {
			t.Fatalf("failure %d: %v", i+2, err)
		}
	}
	p.Changed("j1")
	if _, err := p.Parse(t.Context(), document("a")); fault.From(err).Waits() != "" || fault.Of(err) != fault.Unavailable {
		t.Errorf("ten failures in a row: %v", err)
	}
	s.hurt = nil
	p.Changed("j1")
	_, err = p.Parse(t.Context(), document("a"))
	waitsFor(t, err, "job:j1", "")
}

// A job that the service does not know any more has ended. Another one is made,
// once: after that the document fails, and says so. One that is as good as new is
// waited for.
func TestAJobThatTheServiceHasLost(t *testing.T) {
	w, s := newJobWorld(t), &jobService{}
	young, _ := w.process(s, budget.JobLimits{Poll: time.Nanosecond})
	_, err := young.Parse(t.Context(), document("a"))
	waitsFor(t, err, "job:j1", "")
	s.forget()
	young.Changed("j1")
	_, err = young.Parse(t.Context(), document("a"))
	waitsFor(t, err, "job:j1", "does not tell of its job yet")

	old, _ := w.process(s, budget.JobLimits{Poll: time.Nanosecond, Listed: time.Nanosecond})
	_, err = old.Parse(t.Context(), document("a"))
	waitsFor(t, err, "job:j2", "")
	s.forget()
	old.Changed("j2")
	_, err = old.Parse(t.Context(), document("a"))
	if f := fault.From(err); f == nil || f.Class != fault.Execution || f.Reason != provider.ReasonJobUnknown || f.Wait != "" || !strings.Contains(f.Message, "job j2") {
		t.Errorf("the second job was lost, too: %v", err)
	}
	if creates, _ := s.count(); creates != 2 {
		t.Errorf("%d jobs were made, want 2", creates)
	}
	// A replay is a wish for another try.
	_, err = old.Parse(t.Context(), document("a"))
	waitsFor(t, err, "job:j3", "")
}

// A note that cannot be written is no other replica's job, and nothing is bought
// without it.
func TestNotesThatCannotBeWritten(t *testing.T) {
	w, s := newJobWorld(t), &jobService{}
	p, end := w.process(s, budget.JobLimits{})
	stream, err := w.js.Stream(t.Context(), "KV_"+events.BucketJobs)
	if err != nil {
		t.Fatal(err)
	}
	cfg := stream.CachedInfo().Config
	room := cfg.MaxBytes
	cfg.MaxBytes = 1000
	if _, err := w.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	for i := 0; err == nil; i++ {
		_, err = w.records.Put(t.Context(), fmt.Sprintf("other%d", i), make([]byte, 50))
	}
	if !broker.IsFull(err) {
		t.Fatal(err)
	}
	_, err = p.Parse(t.Context(), document("a"))
	f := waitsFor(t, err, "store:jobs", "the bucket jobs is full")
	if f.Hint == "" {
		t.Error("nobody is told what to do")
	}
	cfg.MaxBytes = room
	if _, err := w.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if creates, _ := s.count(); creates != 0 {
		t.Errorf("%d creates without a note", creates)
	}
	_, err = p.Parse(t.Context(), document("a"))
	waitsFor(t, err, "job:j1", "")
	if err := w.js.DeleteStream(t.Context(), "KV_"+events.BucketJobs); err != nil {
		t.Fatal(err)
	}
	_, err = p.Parse(t.Context(), document("b"))
	waitsFor(t, err, "store:jobs", "the bucket jobs does not answer")
	end()
	if w.spent != 1000 {
		t.Errorf("%d n$ are spent, one job of 1000 was started", w.spent)
	}
}

// Only a race that is lost says that somebody else has the content in work: in
// this process, or in another.
func TestOneCreatesTheJob(t *testing.T) {
	w, s := newJobWorld(t), &jobService{hold: make(chan struct{})}
	p, _ := w.process(s, budget.JobLimits{Poll: time.Hour})
	other, _ := w.process(s, budget.JobLimits{Poll: time.Hour})
	done := make(chan error, 1)
	go func() { _, err := p.Parse(t.Context(), document("a")); done <- err }()
	natstest.Eventually(t, 10*time.Second, "it is noted", func() bool {
		keys, err := w.records.Keys(t.Context())
		return err == nil && len(keys) == 1
	})
	for _, q := range []*budget.JobParser{p, other} {
		_, err := q.Parse(t.Context(), document("a"))
		if f := fault.From(err); f.Waits().Kind() != fault.WaitClaim || f.Reason != "parsed-elsewhere" {
			t.Fatalf("%v", err)
		}
	}
	close(s.hold)
	waitsFor(t, <-done, "job:j1", "")
	woken := false
	for k := range w.wakes() {
		woken = woken || k.Kind() == fault.WaitClaim
	}
	if !woken {
		t.Error("who waited for the create was not woken")
	}
	if creates, _ := s.count(); creates != 1 {
		t.Errorf("%d creates", creates)
	}
}

// age has the only note look as if its create had begun long ago.
func (w *jobWorld) age() {
	w.t.Helper()
	keys, err := w.records.Keys(w.t.Context())
	if err != nil || len(keys) != 1 {
		w.t.Fatalf("the notes: %v, %v", keys, err)
	}
	e, err := w.records.Get(w.t.Context(), keys[0])
	if err != nil {
		w.t.Fatal(err)
	}
	var note map[string]any
	if err := json.Unmarshal(e.Value(), &note); err != nil {
		w.t.Fatal(err)
	}
	note["since"] = time.Now().Add(-time.Minute)
	delete(note, "job")
	if _, err := w.records.Update(w.t.Context(), keys[0], events.Encode(note), e.Revision()); err != nil {
		w.t.Fatal(err)
	}
}

// noted waits for a note.
func (w *jobWorld) noted() {
	w.t.Helper()
	natstest.Eventually(w.t, 10*time.Second, "it is noted", func() bool {
		keys, err := w.records.Keys(w.t.Context())
		return err == nil && len(keys) == 1
	})
}

// A process dies after it has noted a create and before the service heard of it.
// Whoever meets the note does not wait for as long as the slowest create may take.
func TestACreateWhoseOwnerDied(t *testing.T) {
	w, unheard := newJobWorld(t), &jobService{hold: make(chan struct{})}
	nc := natstest.Connect(t, w.url)
	killed, _ := w.processOn(nc, unheard, budget.JobLimits{})
	done := make(chan error, 1)
	go func() { _, err := killed.Parse(t.Context(), document("a")); done <- err }()
	w.noted()
	s := &jobService{}
	p, _ := w.process(s, budget.JobLimits{Poll: time.Hour, Silence: 50 * time.Millisecond})
	_, err := p.Parse(t.Context(), document("a"))
	waitsFor(t, err, fault.From(err).Waits(), "the same content is being sent to paid")
	nc.Close()
	// Young, it is left alone even so: the service may not list yet what it was sent.
	for range 3 {
		_, err = p.Parse(t.Context(), document("a"))
		waitsFor(t, err, fault.From(err).Waits(), "the same content is being sent to paid")
	}
	w.age()
	natstest.Eventually(t, 20*time.Second, "the job is created anew", func() bool {
		_, err = p.Parse(t.Context(), document("a"))
		return fault.From(err).Reason != "parsed-elsewhere"
	})
	waitsFor(t, err, "job:j1", "")
	if creates, _ := s.count(); creates != 1 {
		t.Errorf("%d creates", creates)
	}
	close(unheard.hold)
	<-done
}

// An owner that lives is believed for as long as its create takes, and one that
// does not create the job says so.
func TestACreateWhoseOwnerLives(t *testing.T) {
	w, s := newJobWorld(t), &jobService{hold: make(chan struct{})}
	owner, _ := w.process(s, budget.JobLimits{Poll: time.Hour})
	done := make(chan error, 1)
	go func() { _, err := owner.Parse(t.Context(), document("a")); done <- err }()
	w.noted()
	w.age()
	other := &jobService{}
	p, _ := w.process(other, budget.JobLimits{Poll: time.Hour, Silence: time.Nanosecond})
	for range 5 {
		_, err := p.Parse(t.Context(), document("a"))
		waitsFor(t, err, fault.From(err).Waits(), "the same content is being sent to paid")
	}
	close(s.hold)
	if err := <-done; fault.From(err).Waits().Kind() != fault.WaitJob {
		t.Fatal(err)
	}
	w.age() // the end of the create could not be noted
	_, err := p.Parse(t.Context(), document("a"))
	waitsFor(t, err, "job:j1", "")
	if creates, _ := other.count(); creates != 1 {
		t.Errorf("%d creates where the service knows no job", creates)
	}
}

// A create whose answer is lost is looked for, and paid for once.
func TestALostCreate(t *testing.T) {
	w, s := newJobWorld(t), &jobService{lose: true}
	p, end := w.process(s, budget.JobLimits{Jobs: 1, Poll: time.Hour})
	if _, err := p.Parse(t.Context(), document("a")); fault.From(err).Reason != "connection-lost" || fault.From(err).Waits() != "" {
		t.Fatal(err)
	}
	s.lose = false
	_, err := p.Parse(t.Context(), document("a"))
	waitsFor(t, err, "job:j1", "")
	s.end("j1", nil)
	p.Changed("j1")
	if out, err := p.Parse(t.Context(), document("a")); err != nil || out.Markdown != "text of j1" {
		t.Fatalf("%+v %v", out, err)
	}
	if u := w.told(1)[0]; u.Nano != 300 {
		t.Errorf("%+v", u)
	}
	end()
	if w.spent != 300 {
		t.Errorf("%d n$ are spent", w.spent)
	}
}

// Calls of the service leave workers for others.
func TestCallsAtOnce(t *testing.T) {
	w, s := newJobWorld(t), &jobService{hold: make(chan struct{})}
	p, _ := w.process(s, budget.JobLimits{Calls: 2, Poll: time.Hour})
	done := make(chan error, 2)
	for _, text := range []string{"a", "b"} {
		go func() { _, err := p.Parse(t.Context(), document(text)); done <- err }()
	}
	natstest.Eventually(t, 10*time.Second, "both are at it", func() bool {
		keys, err := w.records.Keys(t.Context())
		return err == nil && len(keys) == 2
	})
	_, err := p.Parse(t.Context(), document("c"))
	waitsFor(t, err, "slot:paid", "and 2 calls under way")
	close(s.hold)
	for range 2 {
		if err := <-done; fault.From(err).Waits().Kind() != fault.WaitJob {
			t.Error(err)
		}
	}
	if !w.wakes()["slot:paid"] {
		t.Error("who waited for a call was not woken")
	}
}
