package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/budget"
	"sluice/pkg/events"
	llama "sluice/pkg/fake/llamaparse"
	fake "sluice/pkg/fake/openai"
	"sluice/pkg/natstest"
)

// A provider that fails in every way, embedders and costd killed again and
// again, and a limit that is reached on the way: the provider's own meter never
// passes it, and once it is raised every document becomes complete.
func TestMoney(t *testing.T) {
	t.Parallel()
	const documents, workers, batch = 300, 2, 16
	provider := newProvider(t, seed(t))
	url := natstest.Serve(t, provider)
	provider.Script(
		fake.Rule{Probability: 0.025, Status: 429, Type: "tokens", Code: "rate_limit_exceeded", Header: map[string]string{"Retry-After-Ms": "50"}},
		fake.Rule{Probability: 0.025, Status: 429, Type: "requests", Code: "rate_limit_exceeded"},
		fake.Rule{Probability: 0.05, Status: 503, Type: "service_unavailable_error", Code: "server_is_overloaded"},
		fake.Rule{Probability: 0.02, Fault: fake.Cut},
		fake.Rule{Probability: 0.01, Fault: fake.Lose},
		fake.Rule{Probability: 0.02, Delay: fake.Duration(200 * time.Millisecond)},
	)
	const limit = 400_000 // nano-dollars: 20,000 tokens
	w := newWorld(t, setup{
		costd: true, replicas: map[string]int{"embedder": 3, "costd": 2},
		args: map[string][]string{
			"embedder": {"--embedder", "openai", "--embedding-base-url", url + "/v1", "--embedding-key", "sk-e2e", "--embedder-batch", fmt.Sprint(batch), "--embedder-workers", fmt.Sprint(workers), "--embedding-timeout", "2s"},
			"costd":    {"--budget-day", "0.0004", "--budget-hour-requests", "none"},
		},
	})
	r := rand.New(rand.NewPCG(seed(t), 0))
	var subs []submission
	files := corpus(t, documents)
	kills := 0
	for kill := range 10 {
		for _, f := range files[len(subs):min(len(files), len(subs)+documents/10)] {
			subs = append(subs, w.submit(f.name, f.data))
		}
		pause(r, 300*time.Millisecond)
		name := []string{"embedder", "embedder", "costd"}[kill%3]
		w.stage[name][r.IntN(len(w.stage[name]))].crash(t)
		if name == "embedder" {
			kills++
		}
	}
	var last fake.Meter
	w.eventually(60*time.Second, "the limit is reached", func() error {
		m := provider.Meter()
		quiet := m.Attempts == last.Attempts && m.Attempts > 0
		last = m
		call := int64(0) // what one costs: what is left pays for no other
		if m.Calls > 0 {
			call = m.Nano / int64(m.Calls)
		}
		if settled, reserved := w.ledger(); !quiet || settled.Plus(reserved).Nano < limit-max(limit*2/10, 3*call/2) {
			time.Sleep(500 * time.Millisecond) // the standstill is a time without calls
			return fmt.Errorf("settled %+v, out %+v, meter %+v", settled, reserved, m.Charge)
		}
		return nil
	})
	if last.Nano > limit {
		t.Fatalf("the provider has charged %d n$, the limit is %d", last.Nano, limit)
	}
	t.Logf("at the limit of %d n$: the meter says %d n$ in %d calls of %d attempts, %d answers lost", limit, last.Nano, last.Calls, last.Attempts, last.Lost)

	five := int64(5e9)
	w.eventually(20*time.Second, "the raise", func() error {
		_, err := w.nc.Request(budget.SubjectSet, events.Encode(budget.Change{Scope: budget.Global, DayNano: &five}), 2*time.Second)
		return err
	})
	// Now that there is money, calls are under way when their process dies.
	provider.Script(fake.Rule{Delay: fake.Duration(150 * time.Millisecond)})
	for range 6 {
		pause(r, 300*time.Millisecond)
		w.stage["embedder"][r.IntN(len(w.stage["embedder"]))].crash(t)
		kills++
	}
	docs := w.settle(2*time.Minute, subs...)
	for _, d := range docs {
		if d.State != events.StateComplete {
			t.Errorf("%s is %s: %+v", d.Name, d.State, d.Failure)
			for _, e := range w.story(d.Document) {
				if e.Failure != nil {
					t.Logf("%s %s: %+v", e.Time.Format(time.StampMilli), e.What, e.Failure)
				}
			}
		}
	}
	if len(docs) != documents {
		t.Errorf("%d documents, want %d", len(docs), documents)
	}
	w.drained(time.Minute)
	w.noDeadLetters()
	m := provider.Meter()
	settled, reserved := w.ledger()
	if out := settled.Plus(reserved); out.Nano < m.Nano {
		t.Errorf("the ledger has %d n$, the meter %d: somebody paid without asking", out.Nano, m.Nano)
	}
	chunks := 0
	for _, d := range docs {
		chunks += d.Chunks
	}
	t.Logf("in the end: %d chunks, %d inputs charged in %d calls of %d attempts; meter %d n$, ledger %d n$ settled and %d out",
		chunks, m.Inputs, m.Calls, m.Attempts, m.Nano, settled.Nano, reserved.Nano)

	// What was paid twice is at most what was in flight at the kills, beside what
	// the provider charged without an answer.
	recorded := map[string]events.Outcome{}
	for _, msg := range w.messages(events.StreamCosts, ">") {
		u, err := events.Decode[events.Usage](msg.Data)
		if err != nil {
			t.Fatal(err)
		}
		recorded[u.ID] = u.Outcome
	}
	untold, unanswered := 0, 0
	for _, c := range provider.Calls() {
		switch outcome, ok := recorded[c.Client]; {
		case !ok:
			untold++
		case outcome == events.OutcomeUnknown:
			unanswered += c.Inputs
		case outcome != events.OutcomeCharged:
			t.Errorf("the call %s is recorded as %s, and was charged %d n$", c.Client, outcome, c.Nano)
		}
	}
	t.Logf("%d embedders killed with %d calls in flight; %d inputs were charged without an answer, %d bought beyond the chunks", kills, untold, unanswered, m.Inputs-chunks)
	if untold > kills*workers {
		t.Errorf("%d calls that nobody recorded; %d processes of %d workers were killed", untold, kills, workers)
	}
	if m.Inputs > chunks+unanswered+kills*workers*batch {
		t.Errorf("%d inputs bought for %d chunks", m.Inputs, chunks)
	}
	w.stop()
}

// Twenty replicas of four workers at the limit, with processes killed, stopped
// for longer than their lease, two costd of which one is killed, and the broker
// killed, too: the provider's meter stays within the limit, to the nano-dollar.
func TestManyReplicas(t *testing.T) {
	t.Parallel()
	const documents, limit = 400, 300_000
	provider := newProvider(t, seed(t))
	url := natstest.Serve(t, provider)
	provider.Script(fake.Rule{Delay: fake.Duration(20 * time.Millisecond)})
	w := newWorld(t, setup{
		costd: true, replicas: map[string]int{"embedder": 20, "costd": 2},
		args: map[string][]string{
			"embedder": {"--embedder", "openai", "--embedding-base-url", url + "/v1", "--embedding-key", "sk-e2e", "--embedder-batch", "4", "--embedder-workers", "4", "--embedding-timeout", "1s"},
			"costd":    {"--budget-day", "0.0003", "--budget-hour-requests", "none", "--budget-lease", "3s", "--budget-margin", "1s"},
		},
	})
	r := rand.New(rand.NewPCG(seed(t), 7))
	var subs []submission
	for _, f := range corpus(t, documents) {
		subs = append(subs, w.submit(f.name, f.data))
	}
	embedders := w.stage["embedder"]
	frozen := embedders[:3]
	pause(r, 500*time.Millisecond)
	for _, p := range frozen {
		p.signal(t, syscall.SIGSTOP)
	}
	for _, kill := range []*process{embedders[5], w.stage["costd"][0], embedders[9], w.server, embedders[14], w.stage["costd"][1]} {
		pause(r, 600*time.Millisecond)
		kill.crash(t)
	}
	check := func() fake.Meter {
		m := provider.Meter()
		if m.Nano > limit {
			t.Fatalf("the provider has charged %d n$, the limit is %d", m.Nano, limit)
		}
		return m
	}
	// Longer than lease, margin and call: what the stopped ones held is given up.
	for end := time.Now().Add(9 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		check()
	}
	for _, p := range frozen {
		p.signal(t, syscall.SIGCONT)
	}
	var last fake.Meter
	w.eventually(60*time.Second, "the limit is reached", func() error {
		m := check()
		quiet := m.Attempts == last.Attempts && m.Attempts > 0
		last = m
		if settled, reserved := w.ledger(); !quiet || settled.Plus(reserved).Nano < limit*9/10 {
			time.Sleep(500 * time.Millisecond) // the standstill is a time without calls
			return fmt.Errorf("settled %+v, out %+v, meter %+v", settled, reserved, m.Charge)
		}
		return nil
	})
	t.Logf("at the limit of %d n$ the meter says %d n$ in %d calls", limit, last.Nano, last.Calls)
	five := int64(5e9)
	w.eventually(20*time.Second, "the raise", func() error {
		_, err := w.nc.Request(budget.SubjectSet, events.Encode(budget.Change{Scope: budget.Global, DayNano: &five}), 2*time.Second)
		return err
	})
	for _, d := range w.settle(2*time.Minute, subs...) {
		if d.State != events.StateComplete && d.State != events.StateDuplicate {
			t.Errorf("%s is %s: %+v", d.Name, d.State, d.Failure)
		}
	}
	w.drained(time.Minute)
	w.noDeadLetters()
	m := provider.Meter()
	if settled, reserved := w.ledger(); settled.Plus(reserved).Nano < m.Nano {
		t.Errorf("the ledger has %d n$, the meter %d: somebody paid without asking", settled.Plus(reserved).Nano, m.Nano)
	}
	w.stop()
}

// The parser is killed again and again while its documents are parsed by a
// service that takes its time: no document is parsed twice.
func TestAParserKilledInTheMiddleOfItsJobs(t *testing.T) {
	t.Parallel()
	const documents = 24
	service := llama.New(llama.Config{Keys: map[string]string{"llx-e2e": "na"}, Work: 1500 * time.Millisecond})
	url := natstest.Serve(t, service)
	service.Script(llama.Rule{On: "create", Every: 5, Fault: llama.Lose})
	w := newWorld(t, setup{
		costd: true, replicas: map[string]int{"parser": 2},
		args: map[string][]string{
			"parser": {"--parser", "llamaparse", "--llamaparse-base-url", url, "--llamaparse-key", "llx-e2e", "--llamaparse-text", "--llamaparse-poll", "50ms", "--llamaparse-max-pages", "5", "--parser-workers", "4"},
			"costd":  {"--budget-day", "5.00", "--budget-hour-requests", "none"},
		},
	})
	r := rand.New(rand.NewPCG(seed(t), 9))
	var subs []submission
	for i := range documents {
		subs = append(subs, w.submit(fmt.Sprintf("%d.txt", i), fmt.Appendf(nil, "# Document %d\n\nIts first page.\fThe second page of %d.", i, i)))
	}
	kills := 0
	for range 4 {
		pause(r, 1500*time.Millisecond)
		w.stage["parser"][r.IntN(2)].crash(t)
		kills++
	}
	for _, d := range w.settle(3*time.Minute, subs...) {
		if d.State != events.StateComplete {
			t.Errorf("%s is %s: %+v", d.Name, d.State, d.Failure)
		}
	}
	m := service.Meter()
	t.Logf("%d documents, %d kills, %d jobs, %d creates, %d answers lost", documents, kills, m.Jobs, m.Creates, m.Lost)
	// A kill between a create and the note of its job leaves the job to be found.
	if m.Jobs != documents {
		t.Errorf("%d jobs were paid for %d documents", m.Jobs, documents)
	}
	if settled, reserved := w.ledger(); settled.Plus(reserved).Nano < m.Nano {
		t.Errorf("the ledger has %d n$, the meter %d", settled.Plus(reserved).Nano, m.Nano)
	}
	w.stop()
}

// ledger returns what today's ledger says of everything.
func (w *world) ledger() (settled, reserved budget.Amount) {
	w.t.Helper()
	kv, err := w.js.KeyValue(w.t.Context(), events.BucketBudget)
	if err != nil {
		w.t.Fatal(err)
	}
	e, err := kv.Get(w.t.Context(), budget.LedgerKey(budget.Global, budget.Windows(time.Now())[1]))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return settled, reserved
	}
	if err != nil {
		w.t.Fatal(err)
	}
	var l struct {
		Settled budget.Amount            `json:"settled"`
		Open    map[string]budget.Amount `json:"open"`
	}
	if err := json.Unmarshal(e.Value(), &l); err != nil {
		w.t.Fatal(err)
	}
	for _, a := range l.Open {
		reserved = reserved.Plus(a)
	}
	return l.Settled, reserved
}
