package cli

import (
	"archive/zip"
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/cmd/sluice/allinone"
	"sluice/pkg/events"
	fake "sluice/pkg/fake/llamaparse"
	"sluice/pkg/natstest"
)

// parsing runs a pipeline that has its documents parsed by a fake.
func parsing(t *testing.T, cfg fake.Config, dollars string, change func(*allinone.Config)) (*fake.Server, *allinone.Node) {
	t.Helper()
	cfg.Keys = map[string]string{"llx-test": "na"}
	s := fake.New(cfg)
	url := natstest.Serve(t, s)
	node := start(t, func(c *allinone.Config) {
		p := &c.Stages.Parser
		p.Provider, p.Llama.BaseURL, p.Llama.Key, p.Llama.Text, p.Llama.Poll = "llamaparse", url, "llx-test", true, 10*time.Millisecond
		p.Llama.MaxPages = 10
		c.Stages.Costd.Day, c.Stages.Costd.HourRequests = dollars, "none"
		if change != nil {
			change(c)
		}
	})
	return s, node
}

func volumes(n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("v/%02d.txt", i)] = fmt.Sprintf("# Volume %d\n\nThe ferry of volume %d.\fThe second page of volume %d.\fThe third of %d.", i, i, i, i)
	}
	return files
}

const page = 3 * fake.NanoPerCredit

func TestPaidParses(t *testing.T) {
	server, node := parsing(t, fake.Config{Work: 30 * time.Millisecond, Billing: 200 * time.Millisecond}, "5.00", nil)
	in(t, volumes(12))
	sluice(t, "ingest", "v").want(t, 0).has(t, "$0.0")
	m := server.Meter()
	if m.Jobs != 12 || m.Pages != 36 || m.Nano != 36*page || m.Creates != 12 {
		t.Errorf("the meter %+v", m)
	}
	sluice(t, "search", "second page of volume 7", "-k", "1").want(t, 0).has(t, "07.txt")
	again := map[string]string{}
	for name, text := range volumes(12) {
		again["w"+name[1:]] = text
	}
	in(t, again)
	sluice(t, "ingest", "w").want(t, 0)
	if m := server.Meter(); m.Creates != 12 {
		t.Errorf("%d jobs after the same content came again", m.Creates)
	}
	eventually(t, "the ledger equals the meter", func() bool {
		day := shownBudget(t, node).Windows[1]
		return day.Spent.Nano == 36*page && day.Reserved.IsZero()
	})
	eventually(t, "the usage events say the same", func() bool {
		var nano, saved int64
		for _, u := range usage(t, node) {
			nano, saved = nano+u.Nano, saved+u.Saved
		}
		return nano == 36*page && saved == 36*page
	})
}

// A create that takes effect and loses its answer is found again, not repeated.
func TestALostCreateIsFound(t *testing.T) {
	server, node := parsing(t, fake.Config{Work: 50 * time.Millisecond}, "5.00", nil)
	server.Script(
		fake.Rule{On: "create", Nth: 2, Fault: fake.Lose}, fake.Rule{On: "create", Nth: 3, Status: 502, Effective: true},
		fake.Rule{On: "create", Nth: 4, Fault: fake.Cut}, fake.Rule{On: "create", Nth: 5, Status: 429},
		fake.Rule{On: "create", Nth: 6, Status: 500}, fake.Rule{On: "get", Every: 7, Status: 503}, fake.Rule{On: "get", Every: 11, Fault: fake.Cut},
	)
	in(t, volumes(12))
	sluice(t, "ingest", "v").want(t, 0)
	m := server.Meter()
	if m.Jobs != 12 || m.Nano != 36*page || m.Lost != 2 {
		t.Errorf("the meter %+v, want 12 jobs", m)
	}
	eventually(t, "the ledger has all of it, and lost answers at their bound", func() bool {
		day := shownBudget(t, node).Windows[1]
		return day.Spent.Nano >= m.Nano && day.Spent.Nano <= m.Nano+4*10*page && day.Reserved.IsZero()
	})
	if n := deadLetters(t, node); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

// A create that lost its answer, and whose job has failed since, has started one
// all the same: it is billed, so it is not booked as free and not bought again.
func TestALostCreateWhoseJobFailedIsPaidFor(t *testing.T) {
	server, node := parsing(t, fake.Config{Work: 10 * time.Millisecond}, "5.00", nil)
	server.Script(fake.Rule{On: "create", Nth: 1, Fault: fake.Lose, FailJob: "the fonts are odd"}, fake.Rule{On: "list", Status: 503})
	in(t, volumes(1))
	done := make(chan result, 1)
	go func() { done <- sluice(t, "ingest", "v") }()
	eventually(t, "the job has failed, and was looked for in vain", func() bool {
		m := server.Meter()
		return m.Jobs == 1 && m.Refused[503] > 0
	})
	outlast(t, node)
	server.Clear()
	select {
	case r := <-done:
		r.want(t, 1).has(t, "the fonts are odd")
	case <-time.After(30 * time.Second):
		t.Fatal("the document has no end")
	}
	if m := server.Meter(); m.Creates != 1 || m.Nano != 3*page {
		t.Errorf("the meter %+v, want the one job", m)
	}
	eventually(t, "the ledger equals the meter", func() bool {
		day := shownBudget(t, node).Windows[1]
		return day.Spent.Nano == server.Meter().Nano && day.Reserved.IsZero()
	})
}

// A job that the budget could never pay is refused before anything is sent.
func TestAJobDearerThanTheLimit(t *testing.T) {
	server, node := parsing(t, fake.Config{}, "0.02", nil)
	in(t, volumes(1))
	done := make(chan result, 1)
	go func() { done <- sluice(t, "ingest", "v") }()
	eventually(t, "it is held with what it needs", func() bool {
		r := sluice(t, "ls", "--json")
		return r.code == 0 && strings.Contains(r.out, "costs up to $0.0375") && strings.Contains(r.out, "the limit of global is $0.02") && strings.Contains(r.out, "resumes when raised")
	})
	if m := server.Meter(); m.Creates != 0 {
		t.Errorf("%d creates beyond the limit", m.Creates)
	}
	// The hint is a command, and what it sets is enough.
	eventually(t, "the hint's command is enough", func() bool {
		for _, s := range node.Env.Health.Stages() {
			for _, w := range s.Waiting {
				if strings.Contains(w.Hint, "budget set global") {
					sluice(t, command(t, w.Hint)...).want(t, 0).has(t, "global: $0.03")
					return true
				}
			}
		}
		return false
	})
	select {
	case r := <-done:
		r.want(t, 0)
	case <-time.After(20 * time.Second):
		t.Fatal("the raise woke nobody")
	}
}

// command returns the arguments of the command that a hint quotes.
func command(t *testing.T, hint string) []string {
	t.Helper()
	_, rest, _ := strings.Cut(hint, "'sluice ")
	text, _, ok := strings.Cut(rest, "'")
	if !ok {
		t.Fatalf("the hint quotes no command: %s", hint)
	}
	return strings.Fields(text)
}

func TestFailedPagesAndJobs(t *testing.T) {
	server, node := parsing(t, fake.Config{}, "5.00", func(c *allinone.Config) { c.Stages.Parser.Llama.Failed = 0.4 })
	server.Script(
		fake.Rule{On: "create", Contains: "volume 1.", FailPages: []int{2}},
		fake.Rule{On: "create", Contains: "volume 2.", FailPages: []int{1, 2}},
		fake.Rule{On: "create", Contains: "volume 3.", FailJob: "the fonts are odd"},
		fake.Rule{On: "create", Contains: "volume 4.", Status: 413},
	)
	in(t, volumes(6))
	r := sluice(t, "ingest", "v", "--json").want(t, 1)
	for _, want := range []string{"page 2 could not be parsed", "2 of 3 pages", "the fonts are odd", "413"} {
		if !strings.Contains(r.out+r.err, want) {
			t.Errorf("nothing says %q in\n%s", want, r.out+r.err)
		}
	}
	if n := deadLetters(t, node); n != 3 {
		t.Errorf("%d dead letters, want 3", n)
	}
	eventually(t, "what failed is booked, too", func() bool {
		day := shownBudget(t, node).Windows[1]
		return day.Spent.Nano == server.Meter().Nano && day.Reserved.IsZero()
	})
	for _, u := range usage(t, node) {
		if u.Operation != "parse" || u.Outcome == events.OutcomeUnknown {
			t.Errorf("usage %+v", u)
		}
	}
}

// Jobs hold no worker: what needs none of them passes, and what waits says for what.
func TestJobsHoldNoWorker(t *testing.T) {
	const documents = 40
	server, node := parsing(t, fake.Config{Work: time.Hour}, "5.00", func(c *allinone.Config) {
		c.Stages.Parser.Llama.Text, c.Stages.Parser.Llama.Jobs, c.Stages.Parser.Llama.Poll = false, 8, 100*time.Millisecond
	})
	in(t, map[string]string{"secret.txt": "The ferry carries a secret.\n", "again.txt": "The same ferry as ever.\n"})
	sluice(t, "ingest", "secret.txt", "again.txt").want(t, 0)
	files := map[string]string{}
	for i := range documents {
		files[fmt.Sprintf("s/%02d.pdf", i)] = scan(i + 1)
	}
	in(t, files)
	sluice(t, "ingest", "s", "--no-wait").want(t, 0)
	eventually(t, "all wait, and say for what", func() bool {
		running, slots := 0, 0
		for _, d := range entries(t) {
			switch {
			case strings.Contains(d.Held, "llamaparse is parsing it (job pjb-"):
				running++
			case strings.Contains(d.Held, "it waits for its turn at llamaparse: a process has at most 8 jobs"):
				slots++
			}
		}
		return running == 8 && slots == documents-8
	})
	if m := server.Meter(); m.Creates != 8 {
		t.Errorf("%d jobs run, at most 8 may", m.Creates)
	}
	sluice(t, "rm", "secret.txt").want(t, 0)
	if r := sluice(t, "search", "secret", "-k", "9").want(t, 0); strings.Contains(r.out, "carries a secret") {
		t.Errorf("what was deleted is found:\n%s", r.out)
	}
	in(t, map[string]string{"note.txt": "A plain note on the ferry.\n", "again.txt": "The same ferry as ever.\n"})
	sluice(t, "ingest", "note.txt", "again.txt").want(t, 0).has(t, "1 complete", "1 duplicate")
	if m := server.Meter(); m.Creates != 8 {
		t.Errorf("%d jobs run, at most 8 may", m.Creates)
	}
	for done := 8; done <= documents; done += 8 {
		server.Advance(time.Hour)
		eventually(t, fmt.Sprintf("%d are done, and the next jobs run", done), func() bool {
			complete, running := 0, 0
			for _, d := range entries(t) {
				switch {
				case d.State == events.StateComplete:
					complete++
				case strings.Contains(d.Held, "llamaparse is parsing it (job pjb-"):
					running++
				}
			}
			return complete == done+1 && running == min(8, documents-done) // and the note
		})
	}
	if m := server.Meter(); m.Creates != documents {
		t.Errorf("%d creates for %d documents", m.Creates, documents)
	}
	if n := deadLetters(t, node); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	eventually(t, "the ledger equals the meter", func() bool {
		day := shownBudget(t, node).Windows[1]
		return day.Spent.Nano == server.Meter().Nano && day.Reserved.IsZero()
	})
}

// A job that never ends is its document's failure, and no other's. A replay takes
// its result if it has ended by then.
func TestAnEndlessJob(t *testing.T) {
	server, node := parsing(t, fake.Config{}, "5.00", func(c *allinone.Config) { c.Stages.Parser.Llama.Job = 500 * time.Millisecond })
	server.Script(fake.Rule{On: "create", Contains: "volume 1.", Work: fake.Duration(time.Hour)})
	in(t, volumes(3))
	sluice(t, "ingest", "v").want(t, 1).has(t, "has not ended its job within 500ms (job pjb-")
	sluice(t, "status", "v/01.txt").has(t, "job-timeout")
	if d, m := entries(t)["v/01.txt"], server.Meter(); d.State != events.StateFailed || m.Creates != 3 || inState(t, events.StateComplete) != 2 {
		t.Errorf("%s, the meter %+v", d.State, m)
	}
	server.Advance(2 * time.Hour)
	sluice(t, "dead", "replay", "--all").want(t, 0)
	eventually(t, "a replay takes the result", func() bool { return inState(t, events.StateComplete) == 3 })
	if m := server.Meter(); m.Creates != 3 {
		t.Errorf("%d creates for 3 documents", m.Creates)
	}
	eventually(t, "the bound is booked for what nobody waited for", func() bool {
		day := shownBudget(t, node).Windows[1]
		return day.Spent.Nano == 2*3*page+10*page && day.Reserved.IsZero()
	})
}

// The notes of jobs have a bucket of their own: vectors that fill theirs stop no
// parse. Where the notes themselves have no room, nothing is bought, and the reason
// is the true one.
func TestFullBuckets(t *testing.T) {
	server, node := parsing(t, fake.Config{}, "5.00", nil)
	squeeze := func(bucket string) (restore func()) {
		t.Helper()
		s, err := node.Env.JS.Stream(t.Context(), "KV_"+bucket)
		if err != nil {
			t.Fatal(err)
		}
		cfg := s.CachedInfo().Config
		was := cfg.MaxBytes
		cfg.MaxBytes = int64(s.CachedInfo().State.Bytes) + 100
		if _, err := node.Env.JS.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		return func() {
			cfg.MaxBytes = was
			if _, err := node.Env.JS.UpdateStream(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
		}
	}
	in(t, volumes(2))
	restore := squeeze(events.BucketCache)
	sluice(t, "ingest", "v/00.txt").want(t, 0)
	restore()
	restore = squeeze(events.BucketJobs)
	sluice(t, "ingest", "v/01.txt", "--no-wait").want(t, 0)
	eventually(t, "it says what it waits for", func() bool {
		return strings.Contains(entries(t)["v/01.txt"].Held, "the bucket jobs is full")
	})
	if m := server.Meter(); m.Creates != 1 {
		t.Errorf("%d jobs, one of them without a note", m.Creates)
	}
	restore()
	eventually(t, "it goes on", func() bool { return inState(t, events.StateComplete) == 2 })
	if n := deadLetters(t, node); n != 0 || server.Meter().Creates != 2 {
		t.Errorf("%d dead letters, %d jobs", n, server.Meter().Creates)
	}
}

// Slides are counted, so three of them are in a day's budget that would not pay for
// all the pages that a document may have.
func TestSlidesAreCounted(t *testing.T) {
	server, node := parsing(t, fake.Config{}, "0.30", func(c *allinone.Config) { c.Stages.Parser.Llama.MaxPages = 200 })
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range []string{"[Content_Types].xml", "ppt/presentation.xml", "ppt/slides/slide1.xml", "ppt/slides/slide2.xml", "ppt/slides/slide3.xml"} {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write([]byte("<x/>"))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	in(t, map[string]string{"deck.pptx": b.String()})
	sluice(t, "ingest", "deck.pptx").want(t, 0).has(t, "1 complete")
	if m := server.Meter(); m.MaxPages != 3 {
		t.Errorf("the service was allowed %d pages of 3 slides", m.MaxPages)
	}
	for _, u := range usage(t, node) {
		if u.Service == "llamaparse" && u.Estimate != 3*page {
			t.Errorf("reserved %d n$ for 3 slides: %+v", u.Estimate, u)
		}
	}
}

// A plan charges a service for what it would be sent, and for nothing else.
func TestPlanOfWhatIsSent(t *testing.T) {
	in(t, map[string]string{"a.txt": "A plain note on the ferry.\n", "b.md": "# Ferry\n\nTimes.\n", "c.csv": "a,b\n1,2\n"})
	pages := func(args ...string) map[string]int64 {
		t.Helper()
		plan := one[planning](t, sluice(t, append([]string{"plan", "--json", "."}, args...)...).want(t, 0))
		units := map[string]int64{}
		for _, p := range plan.Prices {
			units[p.Service+" "+p.Model] = p.Units
		}
		return units
	}
	if u := pages(); u["llamaparse cost_effective"] != 0 || u["openai text-embedding-3-small"] == 0 {
		t.Errorf("%v", u)
	}
	if u := pages("--llamaparse-text"); u["llamaparse cost_effective"] != 3 {
		t.Errorf("%v", u)
	}
}
