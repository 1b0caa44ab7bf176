package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/cmd/sluice/allinone"
	"sluice/pkg/broker"
	"sluice/pkg/budget"
	"sluice/pkg/events"
	fake "sluice/pkg/fake/openai"
	"sluice/pkg/fault"
	"sluice/pkg/natstest"
	"sluice/pkg/stage"
	"sluice/services/costd"
	"sluice/services/embedder"
)

// paid runs a pipeline that buys its embeddings from a fake.
func paid(t *testing.T, dollars string, requests string) (*fake.Server, *allinone.Node) {
	t.Helper()
	return paidWith(t, dollars, requests, nil)
}

func paidWith(t *testing.T, dollars string, requests string, change func(*allinone.Config)) (*fake.Server, *allinone.Node) {
	t.Helper()
	s, err := fake.New(fake.Config{Keys: []string{"sk-test"}})
	if err != nil {
		t.Fatal(err)
	}
	url := natstest.Serve(t, s)
	node := start(t, func(c *allinone.Config) {
		c.Stages.Embedder.Provider = "openai"
		c.Stages.Embedder.OpenAI.BaseURL, c.Stages.Embedder.OpenAI.Key = url+"/v1", "sk-test"
		c.Stages.Costd.Day, c.Stages.Costd.HourRequests = dollars, requests
		if change != nil {
			change(c)
		}
	})
	return s, node
}

// ledger returns what the day's ledger says.
func shownBudget(t *testing.T, node *allinone.Node) budget.State {
	t.Helper()
	kv, err := node.Env.JS.KeyValue(t.Context(), events.BucketBudget)
	if err != nil {
		t.Fatal(err)
	}
	e, err := kv.Get(t.Context(), budget.StateKey(budget.Global))
	if errors.Is(err, jetstream.ErrKeyNotFound) { // costd has not shown it yet
		return budget.State{Windows: make([]budget.WindowState, 2)}
	}
	if err != nil {
		t.Fatal(err)
	}
	var s budget.State
	if err := json.Unmarshal(e.Value(), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// A service that charges large calls and does not answer them is not asked for them
// again and again: calls shrink until they are answered, and stay so.
func TestCallsThatAreNotAnsweredShrink(t *testing.T) {
	const chunks, passes = 240, 20
	server, node := paidWith(t, "5.00", "none", func(c *allinone.Config) { c.Stages.Embedder.OpenAI.Timeout = 2 * time.Second })
	server.Script(fake.Rule{Over: passes, Fault: fake.Stall})
	files := map[string]string{}
	for i := range chunks {
		files[fmt.Sprintf("d/%03d.md", i)] = fmt.Sprintf("# Lock %d\n\nThe lock number %d opens its gates at %d o'clock.\n", i, i, i%24)
	}
	in(t, files)
	sluice(t, "ingest", "d").want(t, 0)
	m := server.Meter()
	if m.Lost == 0 {
		t.Fatalf("no call was lost: %+v", m)
	}
	// All, then half, then a quarter; and for each worker the limit once more from below.
	if vain := m.Inputs - chunks; vain > 3*chunks {
		t.Errorf("%d inputs were paid for in vain, in %d calls, for %d chunks", vain, m.Lost, chunks)
	}
	natstest.Eventually(t, time.Minute, "the ledger is not below the meter", func() bool {
		return shownBudget(t, node).Windows[1].Spent.Nano >= m.Nano
	})
	t.Logf("%+v", m)
}

func TestPaidEmbeddings(t *testing.T) {
	server, node := paid(t, "5.00", "none")
	files := map[string]string{}
	for i := range 40 {
		files[fmt.Sprintf("d/%02d.md", i)] = fmt.Sprintf("# Lock %d\n\nThe lock number %d opens its gates at %d o'clock.\n", i, i, i%24)
	}
	in(t, files)
	sluice(t, "ingest", "d").want(t, 0)
	m := server.Meter()
	if m.Nano == 0 || m.Inputs != 40 || m.Calls > 8 {
		t.Errorf("the meter after 40 documents: %+v", m)
	}
	sluice(t, "search", "lock number 17", "-k", "1").want(t, 0).has(t, "17.md")

	// The same content under other names: nothing is bought, but what is asked.
	before := server.Meter()
	again := map[string]string{}
	for name, text := range files {
		again["e"+name[1:]] = text
	}
	in(t, again)
	sluice(t, "ingest", "e").want(t, 0)
	if m := server.Meter(); m.Inputs != before.Inputs || m.Nano != before.Nano {
		t.Errorf("the same content was bought again: %+v, before %+v", m.Charge, before.Charge)
	}

	meter := server.Meter()
	eventually(t, "the ledger equals the meter", func() bool {
		day := shownBudget(t, node).Windows[1]
		// The request of the search is counted apart from ingestion's.
		return day.Spent.Nano == meter.Nano && day.Spent.Requests == int64(meter.Calls)-1 && day.Reserved.IsZero()
	})
	var booked int64
	calls := 0
	var saved int64
	for _, u := range usage(t, node) {
		if u.Outcome == events.OutcomeReused {
			saved += u.Saved
			continue
		}
		booked += u.Nano
		calls++
		var shares int64
		for _, s := range u.Shares {
			shares += s.Nano
		}
		if u.Outcome != events.OutcomeCharged || u.Service != "openai" || u.Model != "text-embedding-3-small-1536" || (len(u.Shares) > 0 && shares != u.Nano) {
			t.Errorf("usage %+v", u)
		}
	}
	if saved == 0 {
		t.Error("nothing was recorded as saved")
	}
	if booked != meter.Nano || calls != meter.Calls {
		t.Errorf("usage events: %d n$ in %d calls, the meter %+v", booked, calls, meter.Charge)
	}
}

// usage returns all usage events.
func usage(t *testing.T, node *allinone.Node) (all []*events.Usage) {
	t.Helper()
	s, err := node.Env.JS.Stream(t.Context(), events.StreamCosts)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq && seq > 0; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		u, err := events.Decode[events.Usage](m.Data)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, u)
	}
	return all
}

func TestMoneySpentHoldsAndARaiseGoesOn(t *testing.T) {
	server, node := paid(t, "0.000002", "none") // 100 tokens
	files := map[string]string{}
	for i := range 60 {
		files[fmt.Sprintf("d/%02d.md", i)] = fmt.Sprintf("# Weir %d\n\nThe weir number %d was mended by hand in the spring of %d.\n", i, i, 1900+i)
	}
	in(t, files)
	done := make(chan result, 1)
	go func() { done <- sluice(t, "ingest", "d") }()
	eventually(t, "documents are held", func() bool {
		for _, s := range node.Env.Health.Stages() {
			if s.Stage == "embedder" && s.Held() != "" {
				return true
			}
		}
		return false
	})
	if m := server.Meter(); m.Nano > 2000 {
		t.Fatalf("the meter says %d n$, the limit is 2000", m.Nano)
	}
	sluice(t, "budget").want(t, 0).has(t, "global", "$0.000002")
	sluice(t, "budget", "set", "global", "--day", "5.00", "--hour-requests", "200").want(t, 0).has(t, "global: $5.00 a day, no limit an hour", "200 an hour")
	select {
	case r := <-done:
		r.want(t, 0)
	case <-time.After(20 * time.Second):
		t.Fatal("the raise woke nobody")
	}
	if m := server.Meter(); m.Inputs != 60 {
		t.Errorf("%d inputs bought for 60 chunks", m.Inputs)
	}
	dead, err := node.Env.JS.Stream(context.Background(), events.StreamDeadLetter)
	if err != nil {
		t.Fatal(err)
	}
	if n := dead.CachedInfo().State.Msgs; n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

func TestFreezeAndResume(t *testing.T) {
	server, _ := paid(t, "5.00", "none")
	in(t, map[string]string{"a.md": "# A\n\nThe sluice is frozen."})
	sluice(t, "budget", "freeze").want(t, 0).has(t, "global is frozen")
	eventually(t, "the freeze is shown", func() bool { return lines[budgetRow](t, sluice(t, "budget", "--json").want(t, 0))[0].State == "paused" })
	done := make(chan result, 1)
	go func() { done <- sluice(t, "ingest", "a.md") }()
	eventually(t, "the document is held", func() bool {
		r := sluice(t, "ls", "--json")
		return r.code == 0 && strings.Contains(r.out, "budget global is frozen")
	})
	if m := server.Meter(); m.Attempts != 0 {
		t.Errorf("%d calls while frozen", m.Attempts)
	}
	sluice(t, "budget", "resume").want(t, 0)
	select {
	case r := <-done:
		r.want(t, 0)
	case <-time.After(20 * time.Second):
		t.Fatal("the resume woke nobody")
	}
	sluice(t, "budget", "set", "nobody", "--day", "1").want(t, 2)
	sluice(t, "budget", "set", "global").want(t, 2)
	sluice(t, "budget", "set", "global", "--day", "-1").want(t, 2)
	sluice(t, "budget", "set", "tenant.acme", "--day", "0.5", "--json").want(t, 0).has(t, `"day_nano":500000000`)
}

// spaces counts the index's chunks by model.
func spaces(t *testing.T, node *allinone.Node) map[string]int {
	t.Helper()
	models := map[string]int{}
	for _, h := range hits(t, node) {
		models[h.Model]++
	}
	return models
}

func hits(t *testing.T, node *allinone.Node) []events.Hit {
	t.Helper()
	m, err := node.Conn.Request(events.SubjectSearch, events.Encode(events.SearchRequest{Query: "ferry", K: 1000, Mode: "keyword"}), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var reply events.SearchReply
	if err := json.Unmarshal(m.Data, &reply); err != nil {
		t.Fatal(err)
	}
	return reply.Hits
}

func ferries(n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("d/%03d.md", i)] = fmt.Sprintf("# Ferry %d\n\nThe ferry number %d crosses at %d o'clock, with room for %d carts.\n", i, i, i%24, i+3)
	}
	return files
}

func deadLetters(t *testing.T, node *allinone.Node) uint64 {
	t.Helper()
	s, err := node.Env.JS.Stream(context.Background(), events.StreamDeadLetter)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// The service is away: in hybrid mode documents flow on, degraded, and become
// whole by themselves when it is back.
func TestAnOutageInHybridMode(t *testing.T) {
	server, node := paidWith(t, "5.00", "none", func(c *allinone.Config) {
		c.Stages.Embedder.Fallback = "local"
	})
	const main, other = "text-embedding-3-small-1536", "lex-v1-1536"
	server.Script(fake.Rule{Status: 503})
	sluice(t, "mode", "embedder", "nonsense").want(t, 2)
	sluice(t, "mode").want(t, 0).has(t, "embedder: default")
	in(t, ferries(60))
	r := sluice(t, "ingest", "d").want(t, 0)
	r.has(t, "degraded")
	if m := server.Meter(); m.Nano != 0 {
		t.Errorf("%d n$ for an outage", m.Nano)
	}
	if got := spaces(t, node); got[other] != 60 || got[main] != 0 {
		t.Fatalf("models %v, want 60 of %s", got, other)
	}
	eventually(t, "the state is shown", func() bool {
		for _, s := range node.Env.Health.Stages() {
			if s.Stage == "embedder" {
				return strings.Contains(s.Provider, "breaker open") || strings.Contains(s.Provider, "half-open")
			}
		}
		return false
	})
	sluice(t, "doctor").has(t, "service of embedder", "openai: mode hybrid, breaker")
	sluice(t, "mode", "embedder", "local").want(t, 0).has(t, "embedder: local")
	server.Clear()
	sluice(t, "mode", "embedder", "default", "--json").want(t, 0).has(t, `"mode":"default"`)
	eventually(t, "all are whole", func() bool {
		got := spaces(t, node)
		return got[main] == 60 && got[other] == 0
	})
	eventually(t, "and say so", func() bool {
		return strings.Count(sluice(t, "ls", "--json").want(t, 0).out, `"state":"complete"`) == 60
	})
	if m := server.Meter(); m.Inputs != 60 {
		t.Errorf("%d inputs bought for 60 chunks", m.Inputs)
	}
	if n := deadLetters(t, node); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

// The service is away and nothing may take its place: the work is held, however
// long, and no retry is burned.
func TestAnOutageHolds(t *testing.T) {
	server, node := paidWith(t, "5.00", "none", nil)
	server.Script(fake.Rule{Status: 503})
	in(t, ferries(30))
	done := make(chan result, 1)
	go func() { done <- sluice(t, "ingest", "d") }()
	eventually(t, "the work is held", func() bool {
		for _, s := range node.Env.Health.Stages() {
			if s.Stage == "embedder" && strings.Contains(s.Held(), "openai is away") {
				return true
			}
		}
		return false
	})
	server.Clear()
	select {
	case r := <-done:
		r.want(t, 0)
	case <-time.After(30 * time.Second):
		t.Fatal("nothing goes on after the outage")
	}
	if n := deadLetters(t, node); n != 0 || server.Meter().Inputs != 30 {
		t.Errorf("%d dead letters, %d inputs bought for 30 chunks", n, server.Meter().Inputs)
	}
}

// A revoked key is our configuration's fault: loud, unready, nothing lost.
func TestARevokedKey(t *testing.T) {
	server, node := paidWith(t, "5.00", "none", nil)
	server.SetKey("sk-test", false)
	in(t, ferries(30))
	done := make(chan result, 1)
	go func() { done <- sluice(t, "ingest", "d") }()
	eventually(t, "the stage is halted", func() bool { return !node.Env.Health.Ready() })
	asked := server.Meter().Attempts
	server.SetKey("sk-test", true)
	select {
	case r := <-done:
		r.want(t, 0)
	case <-time.After(30 * time.Second):
		t.Fatal("nothing goes on with the mended key")
	}
	if n := deadLetters(t, node); n != 0 || asked > 20 {
		t.Errorf("%d dead letters, %d calls with the bad key", n, asked)
	}
	eventually(t, "ready again", func() bool { return node.Env.Health.Ready() })
}

// A service at its worst: every call that fails is made up for, nothing is lost,
// hardly a call is wasted, and every call's cost is known, or booked in full.
func TestAStormOfFailures(t *testing.T) {
	const documents, batch = 1000, 8
	server, node := paidWith(t, "5.00", "none", func(c *allinone.Config) { c.Stages.Embedder.Batch = batch })
	server.Script(
		fake.Rule{Every: 40, Status: 429, Header: map[string]string{"Retry-After-Ms": "200"}},
		fake.Rule{Every: 41, Status: 429},
		fake.Rule{Every: 60, Status: 500}, fake.Rule{Every: 61, Status: 502}, fake.Rule{Every: 62, Status: 503},
		fake.Rule{Every: 47, Fault: fake.Refuse},
		fake.Rule{Every: 97, Fault: fake.Lose},
		fake.Rule{Every: 51, Delay: fake.Duration(300 * time.Millisecond)},
	)
	in(t, ferries(documents))
	sluice(t, "ingest", "d").want(t, 0)
	m := server.Meter()
	const least = (documents + batch - 1) / batch
	if n := deadLetters(t, node); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	if float64(m.Attempts) > 1.15*least {
		t.Errorf("%d calls, %d are the fewest possible", m.Attempts, least)
	}
	// The meter's calls by the ID under which we record them.
	metered := map[string]int64{}
	for _, c := range server.Calls() {
		if _, twice := metered[c.Client]; twice || c.Client == "" {
			t.Errorf("the call %q is metered twice or has no name", c.Client)
		}
		metered[c.Client] = c.Nano
	}
	var attempts []*events.Usage
	eventually(t, "every attempt is recorded", func() bool {
		attempts = attempts[:0]
		for _, u := range usage(t, node) {
			if u.Outcome != events.OutcomeReused {
				attempts = append(attempts, u)
			}
		}
		return len(attempts) >= m.Attempts
	})
	var booked, excess int64
	outcomes := map[events.Outcome]int{}
	for _, u := range attempts {
		booked += u.Nano
		outcomes[u.Outcome]++
		nano, charged := metered[u.ID]
		delete(metered, u.ID)
		switch u.Outcome {
		case events.OutcomeCharged:
			if !charged || nano != u.Nano {
				t.Errorf("%s: booked %d n$, the meter says %d", u.ID, u.Nano, nano)
			}
		case events.OutcomeUnbilled:
			if charged {
				t.Errorf("%s (%s) is believed to be free, the meter says %d n$", u.ID, u.Reason, nano)
			}
		case events.OutcomeUnknown:
			if nano > u.Nano {
				t.Errorf("%s: booked %d n$, the meter says %d", u.ID, u.Nano, nano)
			}
			excess += u.Nano - nano
			t.Logf("unknown: %s (%s), %d n$ booked, %d n$ metered", u.ID, u.Reason, u.Nano, nano)
		}
	}
	if len(metered) > 0 {
		t.Errorf("the meter has calls that are not recorded: %v", metered)
	}
	if booked != m.Nano+excess {
		t.Errorf("booked %d n$, the meter says %d, of which %d are explained", booked, m.Nano, excess)
	}
	// Only what a gateway answered or a connection swallowed is unknown.
	if unknown := m.Refused[502] + m.Lost + m.Cut; outcomes[events.OutcomeUnknown] != unknown {
		t.Errorf("%d calls of unknown outcome, the server knows of %d", outcomes[events.OutcomeUnknown], unknown)
	}
	if m.Lost == 0 {
		t.Error("no answer was lost after the charge: the storm is too mild")
	}
	t.Logf("%d calls, %d are the fewest possible: %v, refused %v; meter %d n$, booked %d n$", m.Attempts, least, outcomes, m.Refused, m.Nano, booked)
}

func TestCosts(t *testing.T) {
	server, _ := paidWith(t, "5.00", "none", nil)
	sluice(t, "cost").want(t, 0).has(t, "Nothing was spent")
	in(t, ferries(10))
	sluice(t, "ingest", "d", "--tenant", "acme").want(t, 0)
	meter := server.Meter()
	eventually(t, "all usage events are there", func() bool {
		var nano int64
		for _, r := range lines[costRow](t, sluice(t, "cost", "--json").want(t, 0)) {
			nano += r.Nano
		}
		return nano == meter.Nano
	})
	for _, by := range []string{"service", "operation", "tenant", "document", "model", "day", "hour"} {
		rows := lines[costRow](t, sluice(t, "cost", "--by", by, "--json").want(t, 0))
		var nano int64
		for _, r := range rows {
			nano += r.Nano
		}
		if want := map[bool]int{true: 10, false: 1}[by == "document"]; len(rows) != want || nano != meter.Nano {
			t.Errorf("by %s: %d rows of %d n$, want %d of %d", by, len(rows), nano, want, meter.Nano)
		}
	}
	sluice(t, "cost", "--by", "document").want(t, 0).has(t, "d/003.md", "total", "Today: "+budget.Dollars(meter.Nano))
	sluice(t, "cost", "--by", "tenant", "--csv").want(t, 0).has(t, "tenant,name,calls,tokens", "acme,")
	sluice(t, "cost", "--tenant", "nobody").want(t, 0).has(t, "Nothing")
	sluice(t, "cost", "--since", "yesterday").want(t, 2)
	today := time.Now().UTC()
	in(t, map[string]string{
		"good.csv":  fmt.Sprintf("day,dollars\n%s,%.9f\n", today.Format(time.DateOnly), float64(meter.Nano)/1e9),
		"bad.csv":   fmt.Sprintf("day,dollars\n%s,3.50\n", today.Format(time.DateOnly)),
		"good.json": fmt.Sprintf(`{"data":[{"start_time":%d,"results":[{"amount":{"value":%.9f,"currency":"usd"}}]}]}`, today.Truncate(24*time.Hour).Unix(), float64(meter.Nano)/1e9),
		"none.csv":  "a,b\n1,2\n",
	})
	sluice(t, "cost", "reconcile", "good.csv").want(t, 0).has(t, "agrees")
	sluice(t, "cost", "reconcile", "good.json", "--json").want(t, 0).has(t, `"agrees":true`)
	sluice(t, "cost", "reconcile", "bad.csv").want(t, 1).has(t, "DIFFERS", "$3.50")
	sluice(t, "cost", "reconcile", "none.csv").want(t, 2)
}

// 80 % of a limit is told before anything stops.
func TestTheWarning(t *testing.T) {
	_, node := paidWith(t, "5.00", "10", func(c *allinone.Config) { c.Stages.Embedder.Batch, c.Stages.Embedder.Workers = 1, 1 })
	warned, err := node.Conn.SubscribeSync(budget.SubjectEvent + "global")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan result, 1)
	go func() { watched <- sluiceUntil(t, ctx, "budget", "watch") }()
	in(t, ferries(8))
	sluice(t, "ingest", "d").want(t, 0)
	for {
		m, err := warned.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var s budget.State
		if err := json.Unmarshal(m.Data, &s); err != nil {
			t.Fatal(err)
		}
		if s.State == "warning" {
			break
		}
	}
	sluice(t, "budget").want(t, 0).has(t, "warning")
	cancel()
	(<-watched).want(t, 0).has(t, "global/hour", "requests of 10 requests", "warning")
}

// The budget is reached in the middle of 500 documents of one tenant; the other
// tenant's flow on. A raise has everything complete, without a failure counted.
func TestATenantAtItsLimit(t *testing.T) {
	server, node := paidWith(t, "5.00", "none", func(c *allinone.Config) { c.Stages.Embedder.Batch = 32 })
	// The dot does not fit into a key: the tenant stands there in another form.
	const acme = "acme.co"
	sluice(t, "budget", "set", "tenant."+acme, "--day", "0.00005").want(t, 0) // 2,500 tokens
	files := ferries(500)
	for name, text := range ferries(100) {
		files["z"+name[1:]] = strings.ReplaceAll(text, "ferry", "barge")
	}
	in(t, files)
	done := make(chan result, 1)
	go func() { done <- sluice(t, "ingest", "d", "--tenant", acme) }()
	eventually(t, "acme is at its limit", func() bool {
		r := sluice(t, "budget", "--json")
		return strings.Contains(r.out, string(budget.Tenant(acme))) && server.Meter().Nano > 30_000
	})
	eventually(t, "and its documents are held", func() bool {
		return strings.Contains(sluice(t, "ls", "--tenant", acme, "--json").out, "budget tenant.acme.co/day, resumes 00:00 UTC or when raised")
	})
	before := server.Meter()
	sluice(t, "ingest", "z", "--tenant", "zenith").want(t, 0)
	if spent := server.Meter().Nano - before.Nano; spent <= 0 {
		t.Error("zenith has bought nothing")
	}
	hint := ""
	for _, s := range node.Env.Health.Stages() {
		for _, w := range s.Waiting {
			if strings.Contains(w.Hint, "tenant."+acme) {
				hint = w.Hint
			}
		}
	}
	if got := strings.Join(command(t, hint), " "); got != "budget set tenant.acme.co --day 0.01" { // twice the limit is less than a cent
		t.Errorf("the hint's command is %q", got)
	}
	raised := time.Now()
	sluice(t, command(t, hint)...).want(t, 0)
	at := server.Meter().Nano
	eventually(t, "acme goes on", func() bool { return server.Meter().Nano > at })
	t.Logf("acme went on %v after the raise", time.Since(raised))
	select {
	case r := <-done:
		r.want(t, 0)
	case <-time.After(40 * time.Second):
		t.Fatal("not all of acme's documents end")
	}
	if n := deadLetters(t, node); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	for _, d := range lines[events.Document](t, sluice(t, "ls", "--tenant", acme, "--json").want(t, 0)) {
		if d.Retries != 0 || d.State != events.StateComplete {
			t.Fatalf("%s is %s after %d retries", d.Name, d.State, d.Retries)
		}
	}
	if m := server.Meter(); m.Inputs != 600 {
		t.Errorf("%d inputs bought for 600 chunks", m.Inputs)
	}
}

// All processes end and begin again: what was spent stays spent.
func TestARestartForgetsNothing(t *testing.T) {
	s, err := fake.New(fake.Config{Keys: []string{"sk-test"}})
	if err != nil {
		t.Fatal(err)
	}
	url := natstest.Serve(t, s)
	dir := t.TempDir()
	again := func(c *allinone.Config) {
		c.Data = dir
		c.Stages.Embedder.Provider = "openai"
		c.Stages.Embedder.OpenAI.BaseURL, c.Stages.Embedder.OpenAI.Key = url+"/v1", "sk-test"
		c.Stages.Costd.Day, c.Stages.Costd.HourRequests = "5.00", "none"
	}
	node := start(t, again)
	in(t, ferries(20))
	sluice(t, "ingest", "d").want(t, 0)
	spent := s.Meter().Nano
	if err := node.Stop(); err != nil {
		t.Fatal(err)
	}
	node = start(t, again)
	eventually(t, "the ledger says what was spent", func() bool {
		day := shownBudget(t, node).Windows[1]
		return day.Spent.Nano == spent && day.Reserved.IsZero()
	})
	sluice(t, "cost", "--json").want(t, 0).has(t, fmt.Sprintf(`"nano":%d`, spent))
	in(t, map[string]string{"again.md": "# Ferry 3\n\nThe ferry number 3 crosses at 3 o'clock, with room for 6 carts.\n"})
	sluice(t, "ingest", "again.md").want(t, 0)
	if s.Meter().Nano != spent {
		t.Error("what was bought before the restart was bought again")
	}
}

// The same corpus again costs nothing, and where one paragraph in a hundred has
// changed, so does one call's worth.
func TestOnlyWhatChangedIsBought(t *testing.T) {
	server, _ := paidWith(t, "5.00", "none", nil)
	const documents, paragraphs = 20, 10
	corpus := func(version map[[2]int]int) map[string]string {
		files := map[string]string{}
		for d := range documents {
			var b strings.Builder
			for p := range paragraphs {
				fmt.Fprintf(&b, "# Part %d of %d\n\n%s in version %d.\n\n", p, d, strings.Repeat(fmt.Sprintf("The barge of part %d passes lock %d. ", p, d), 40), version[[2]int{d, p}])
			}
			files[fmt.Sprintf("d/%02d.md", d)] = b.String()
		}
		return files
	}
	in(t, corpus(nil))
	sluice(t, "ingest", "d").want(t, 0)
	first := server.Meter()
	if first.Inputs < documents*paragraphs/2 {
		t.Fatalf("only %d chunks", first.Inputs)
	}
	sluice(t, "ingest", "d").want(t, 0).has(t, "duplicate")
	if m := server.Meter(); m.Attempts != first.Attempts {
		t.Errorf("%d calls for the same corpus", m.Attempts-first.Attempts)
	}
	in(t, corpus(map[[2]int]int{{3, 4}: 1, {11, 0}: 1})) // 1 %
	sluice(t, "ingest", "d").want(t, 0)
	if m := server.Meter(); m.Inputs-first.Inputs > 4 || m.Inputs == first.Inputs {
		t.Errorf("%d inputs bought for two changed paragraphs", m.Inputs-first.Inputs)
	}
}

func TestFakes(t *testing.T) {
	for name, more := range map[string][]string{"openai": {"--manners", "tei", "--work", "1h"}, "llamaparse": {"--region", "eu", "--key", "na:llx-a"}} {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan result, 1)
		go func() {
			done <- sluiceUntil(t, ctx, append([]string{"fake", name, "--listen", "127.0.0.1:0"}, more...)...)
		}()
		time.AfterFunc(200*time.Millisecond, cancel)
		if r := (<-done).want(t, 0).has(t, `"nano":0`); !strings.Contains(r.err, "serving at http://127.0.0.1:") {
			t.Errorf("it does not say where it is: %s", r.err)
		}
		cancel()
	}
	in(t, map[string]string{"bad.json": "{"})
	sluice(t, "fake", "openai", "--faults", "bad.json", "--listen", "127.0.0.1:0").want(t, 2)
}

// A process that pays and does not answer for long is not dead, however many
// attempts its call takes: what it has claimed is bought once. One that was killed
// in its call holds up the texts of that call, for seconds, and nothing else.
//
// Each process of the test is an embedder on a connection of its own.
func TestClaimsOfTheLivingAndTheDead(t *testing.T) {
	server, err := fake.New(fake.Config{Keys: []string{"sk-test"}})
	if err != nil {
		t.Fatal(err)
	}
	service := natstest.Serve(t, server) + "/v1"
	url := natstest.Start(t, broker.DefaultTopology())
	settings := stage.DefaultSettings()
	settings.AckWait, settings.Grace = 2*time.Second, 0
	ledger := natstest.Env(t, url, settings)
	costs, end, err := costd.Stages(t.Context(), ledger, costd.Config{Day: "5.00", HourRequests: "none"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Error(err)
		}
	})
	natstest.Run(t, ledger, costs...)

	// run starts an embedder. kill cuts its connection with its calls under way: that is
	// all that the others see of a process that was killed.
	run := func(timeout time.Duration) (kill, quit func()) {
		env := natstest.Env(t, url, settings)
		cfg := stages().Embedder
		cfg.Provider, cfg.OpenAI.BaseURL, cfg.OpenAI.Key = "openai", service, "sk-test"
		cfg.OpenAI.Timeout, cfg.Silence = timeout, time.Second
		all, stop, err := embedder.Stages(t.Context(), env, cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- stage.Run(ctx, env, all...) }()
		over := false
		kill = func() {
			over = true
			env.Conn.Close()
			cancel()
			<-done     // it cannot say goodbye
			_ = stop() // likewise
		}
		quit = func() {
			if over {
				return
			}
			over = true
			cancel()
			if err := errors.Join(<-done, stop()); err != nil {
				t.Error(err)
			}
		}
		t.Cleanup(quit)
		return kill, quit
	}
	watch := natstest.Connect(t, url)
	var mu sync.Mutex
	vectors := map[string]int{} // text -> documents that have it
	if _, err := watch.Subscribe(events.SubjectVectors, func(m *nats.Msg) {
		p, err := events.Decode[events.Vectors](m.Data)
		if err != nil {
			t.Error(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, v := range p.Vectors {
			vectors[v.Text]++
		}
	}); err != nil {
		t.Fatal(err)
	}
	have := func(text string) int { mu.Lock(); defer mu.Unlock(); return vectors[text] }
	js, err := jetstream.New(watch)
	if err != nil {
		t.Fatal(err)
	}
	submit := func(document, text string) {
		t.Helper()
		id := events.DocumentID("acme", document)
		c := events.Chunk{
			Document: id, Revision: 1, Tenant: "acme", Of: 1, Text: text, End: len(text), Tokens: 9, InputTokens: 9,
			About: &events.About{Document: id, Revision: 1, Tenant: "acme", Name: document, Submitted: time.Unix(0, 0).UTC()},
		}
		c.ID = events.ChunkID(id, 0, events.TextHash(text), "f")
		m := nats.NewMsg(events.SubjectChunks)
		m.Header.Set(events.HeaderDocumentID, id)
		m.Header.Set(events.HeaderRevision, "1")
		m.Header.Set(events.HeaderTenant, "acme")
		m.Data = natstest.Chunks(t, c)
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}

	_, quitFirst := run(time.Second)
	submit("first", "the first text of all")
	eventually(t, "the first vector", func() bool { return have("the first text of all") == 1 })

	// The attempts of a call take longer than three times the time for a request.
	slow := "a text that takes a few attempts"
	server.Script(fake.Rule{Contains: slow, Times: 2, Status: 503, Header: map[string]string{"Retry-After": "4"}})
	submit("slow 1", slow)
	eventually(t, "the call has begun", func() bool { return server.Meter().Refused[503] > 0 })
	_, quitSecond := run(time.Second)
	submit("slow 2", slow)
	submit("slow 3", slow)
	eventually(t, "all have the vector", func() bool { return have(slow) == 3 })
	if m := server.Meter(); m.Inputs != 2 {
		t.Errorf("%d inputs bought, want 2: the living owner lost its claim", m.Inputs)
	}

	// One is killed in its calls. What was paid for is lost: it is bought anew.
	quitFirst()
	quitSecond()
	server.Clear()
	kill, _ := run(time.Minute)
	bought := server.Meter().Inputs
	server.Script(fake.Rule{Contains: "stalls", Fault: fake.Stall})
	submit("stalls 1", "this text stalls")
	submit("stalls 2", "this text stalls, too")
	eventually(t, "the calls have begun", func() bool { return server.Meter().Inputs >= bought+2 })
	kept := server.Meter()
	kill()
	server.Clear()
	run(time.Minute)
	for i := range 100 {
		submit(fmt.Sprint("fresh ", i), fmt.Sprint("a fresh text with the number ", i))
	}
	eventually(t, "fresh texts are not held up", func() bool {
		n := 0
		for i := range 100 {
			n += have(fmt.Sprint("a fresh text with the number ", i))
		}
		return n == 100
	})
	eventually(t, "what the dead had claimed is bought by others", func() bool {
		return have("this text stalls") == 1 && have("this text stalls, too") == 1
	})
	if m := server.Meter(); m.Inputs > kept.Inputs+102 {
		t.Errorf("%d inputs bought after the kill, want 102 at most", m.Inputs-kept.Inputs)
	}
	kv, err := js.KeyValue(t.Context(), events.BucketClaims)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "no claim is left", func() bool {
		_, err := kv.Keys(t.Context())
		return errors.Is(err, jetstream.ErrNoKeysFound)
	})
}

// A full cache costs money, and says so: in health, as a metric, in the log. It
// stops nothing, and takes vectors again when it has room.
func TestAFullCacheIsLoud(t *testing.T) {
	server, node := paid(t, "5.00", "none")
	ctx := t.Context()
	s, err := node.Env.JS.Stream(ctx, "KV_"+events.BucketCache)
	if err != nil {
		t.Fatal(err)
	}
	resize := func(bytes int64) {
		t.Helper()
		cfg := s.CachedInfo().Config
		cfg.MaxBytes = bytes
		if s, err = node.Env.JS.UpdateStream(ctx, cfg); err != nil {
			t.Fatal(err)
		}
	}
	full := func() float64 {
		families, err := node.Env.Metrics.Registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "sluice_cache_full" {
				return f.GetMetric()[0].GetGauge().GetValue()
			}
		}
		t.Fatal("there is no metric sluice_cache_full")
		return 0
	}
	said := func() string {
		for _, h := range node.Env.Health.Stages() {
			if h.Stage == "embedder" {
				return h.Provider
			}
		}
		return ""
	}
	resize(1024)
	in(t, ferries(20))
	sluice(t, "ingest", "d").want(t, 0)
	if m := server.Meter(); m.Inputs != 20 || full() != 1 || !strings.Contains(said(), "the bucket cache is full") || !strings.Contains(said(), "mode real") {
		t.Errorf("%d inputs bought, metric %v, health %q", m.Inputs, full(), said())
	}
	sluice(t, "doctor").has(t, "the bucket cache is full")
	resize(64 << 20)
	in(t, map[string]string{"more.md": "# Quay\n\nThe quay has room again."})
	sluice(t, "ingest", "more.md").want(t, 0)
	if full() != 0 || strings.Contains(said(), "full") {
		t.Errorf("with room again: metric %v, health %q", full(), said())
	}
}

// A server gives vectors of another width than is configured. One answer is paid
// for, and no more until somebody acts: the free health check cannot see it.
func TestWrongDimensionsArePaidForOnce(t *testing.T) {
	server, err := fake.New(fake.Config{Keys: []string{"sk-test"}, Models: map[string]fake.Model{"text-embedding-3-small": {Width: 768, Shortens: true, Nano: 20}}})
	if err != nil {
		t.Fatal(err)
	}
	url := natstest.Serve(t, server)
	node := start(t, func(c *allinone.Config) {
		c.Stages.Embedder.Provider, c.Stages.Embedder.Batch, c.Stages.Embedder.Workers = "openai", 1, 4
		c.Stages.Embedder.OpenAI.BaseURL, c.Stages.Embedder.OpenAI.Key = url+"/v1", "sk-test"
		c.Stages.Costd.Day, c.Stages.Costd.HourRequests = "5.00", "none"
	})
	in(t, ferries(20))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan result, 1)
	go func() { done <- sluiceUntil(t, ctx, "ingest", "d") }()
	eventually(t, "the stage is halted", func() bool { return server.Meter().Attempts > 0 && !node.Env.Health.Ready() })
	checks := server.Meter().Lists
	eventually(t, "health checks succeed meanwhile", func() bool { return server.Meter().Lists >= checks+3 || server.Meter().Calls > 1 })
	for _, key := range []fault.Wait{"service", "config", "claim", "budget"} {
		node.Env.Wake(key) // too early, which may cost a try and no money
	}
	checks = server.Meter().Lists
	eventually(t, "more health checks", func() bool { return server.Meter().Lists > checks })
	if m := server.Meter(); m.Attempts != 1 || m.Calls != 1 {
		t.Fatalf("%d calls, of which %d were paid for; want 1", m.Attempts, m.Calls)
	}
	sluice(t, "doctor").has(t, "768")
	if node.Env.Health.Ready() {
		t.Error("the process is ready")
	}
	// Somebody says: try again. That is one call more.
	sluice(t, "mode", "embedder", "real").want(t, 0)
	eventually(t, "one try", func() bool { return server.Meter().Calls == 2 })
	checks = server.Meter().Lists
	eventually(t, "health checks succeed again", func() bool { return server.Meter().Lists >= checks+2 })
	if m := server.Meter(); m.Attempts != 2 {
		t.Errorf("%d calls after one wish to try again, want 2", m.Attempts)
	}
	if n := deadLetters(t, node); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	cancel()
	<-done
}

// A query that was asked before costs nothing.
func TestQueriesAreCached(t *testing.T) {
	server, _ := paid(t, "5.00", "none")
	in(t, ferries(3))
	sluice(t, "ingest", "d").want(t, 0)
	sluice(t, "search", "which ferry has room for carts").want(t, 0)
	before := server.Meter()
	sluice(t, "search", "which ferry has room for carts").want(t, 0)
	if m := server.Meter(); m.Attempts != before.Attempts {
		t.Error("the same query was bought twice")
	}
}
