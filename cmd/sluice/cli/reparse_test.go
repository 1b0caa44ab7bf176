package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/cmd/sluice/allinone"
	"sluice/cmd/sluice/services"
	"sluice/pkg/events"
	fake "sluice/pkg/fake/llamaparse"
	"sluice/pkg/fake/openai"
	"sluice/pkg/natstest"
	"sluice/services/parser/llamaparse"
	"sluice/services/parser/local"
)

// quick has documents parsed again as fast as the service takes them.
func quick(c *allinone.Config) { c.Stages.Parser.Upgrade = 1000 }

// hybrid reads documents here while the service is away.
func hybrid(c *allinone.Config) {
	quick(c)
	c.Stages.Parser.Fallback = "local"
}

// scan is a PDF of one picture: there is nothing in it that could be read here.
func scan(height int) string {
	var b bytes.Buffer
	b.WriteString("%PDF-1.4\n")
	var at []int
	object := func(body string) {
		at = append(at, b.Len())
		fmt.Fprintf(&b, "%d 0 obj\n%s\nendobj\n", len(at), body)
	}
	stream := func(dict, data string) string {
		return fmt.Sprintf("<<%s/Length %d>>\nstream\n%s\nendstream", dict, len(data), data)
	}
	object("<</Type/Catalog/Pages 2 0 R>>")
	object("<</Type/Pages/Kids[3 0 R]/Count 1>>")
	object("<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</XObject<</I 5 0 R>>>>>>")
	object(stream("", "q 600 0 0 800 0 0 cm /I Do Q"))
	object(stream("/Type/XObject/Subtype/Image/Width 1000/Height "+strconv.Itoa(height)+"/ColorSpace/DeviceGray/BitsPerComponent 8", strings.Repeat("\x7f\xff", 500*height)))
	xref := b.Len()
	fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n", len(at)+1)
	for _, o := range at {
		fmt.Fprintf(&b, "%010d 00000 n \n", o)
	}
	fmt.Fprintf(&b, "trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n", len(at)+1, xref)
	return b.String()
}

// entries returns the state of all documents by name.
func entries(t *testing.T) map[string]events.Document {
	t.Helper()
	all := map[string]events.Document{}
	for _, d := range lines[events.Document](t, sluice(t, "ls", "--all", "--json").want(t, 0)) {
		all[d.Name] = d
	}
	return all
}

// inState tells how many documents are in a state.
func inState(t *testing.T, s events.State) (n int) {
	t.Helper()
	for _, d := range entries(t) {
		if d.State == s {
			n++
		}
	}
	return n
}

// unmixed checks that search shows each document as one parser has made it, and
// returns how many are a fallback's and how many are whole.
func unmixed(t *testing.T, node *allinone.Node) (poor, whole int) {
	t.Helper()
	shown := map[string]events.Revision{}
	for _, h := range hits(t, node) {
		if r, ok := shown[h.Document]; ok && r != h.Revision {
			t.Errorf("search shows %s at the revisions %d and %d", h.Name, r, h.Revision)
		}
		shown[h.Document] = h.Revision
	}
	for _, r := range shown {
		if r.IsWhole() {
			whole++
		} else {
			poor++
		}
	}
	return poor, whole
}

// long is a document of several chunks.
func long(i int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Volume %d\n", i)
	for p := range 4 {
		fmt.Fprintf(&b, "\n## Part %d\n\n%s\n", p, strings.Repeat(fmt.Sprintf("The ferry of volume %d crosses in part %d. ", i, p), 20))
	}
	return b.String()
}

// The service that parses is away: documents flow on as this process reads them,
// and all of them become whole by themselves, each for one job.
func TestParsesDuringAnOutage(t *testing.T) {
	const documents = 24
	server, node := parsing(t, fake.Config{Work: 20 * time.Millisecond}, "5.00", func(c *allinone.Config) {
		hybrid(c)
		c.Stages.Chunker.MaxTokens = 128
	})
	server.Script(fake.Rule{Status: 503})
	files := map[string]string{"scan.pdf": scan(1)}
	for i := range documents {
		files[fmt.Sprintf("v/%02d.md", i)] = long(i)
	}
	in(t, files)
	sluice(t, "ingest", "v").want(t, 0).has(t, "24 degraded", "done again by themselves")
	sluice(t, "ingest", "scan.pdf", "--no-wait").want(t, 0)
	if poor, whole := unmixed(t, node); poor != documents || whole != 0 {
		t.Fatalf("%d documents as read here, %d whole; want %d and 0", poor, whole, documents)
	}
	eventually(t, "the scan waits, and says so", func() bool {
		d := entries(t)["scan.pdf"]
		return d.State == events.StateAccepted && strings.Contains(d.Held, "llamaparse is away")
	})
	waiting := "" // some are in hand, others in the stream
	eventually(t, "what waits for the service says so", func() bool {
		for name, d := range entries(t) {
			if d.Parser == "local/"+local.Version && d.Live.Degraded && d.Upgrade != nil && strings.Contains(d.Upgrade.Held, "llamaparse is away") {
				waiting = name
			}
		}
		return waiting != ""
	})
	sluice(t, "status", waiting).want(t, 0).has(t, "degraded", "parser       local/"+local.Version, "upgrade      waits: llamaparse is away (llamaparse answered 503", "yes, this revision")
	sluice(t, "status").want(t, 0).has(t, "reparser", "UPGRADES")
	sluice(t, "doctor").has(t, "service of parser", "llamaparse: mode hybrid, breaker", "stage reparser")
	store, err := node.Env.JS.ObjectStore(t.Context(), events.StoreParses)
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := store.List(t.Context()); !errors.Is(err, jetstream.ErrNoObjectsFound) {
		t.Errorf("the parses that were paid for: %v, %v; nothing was", kept, err)
	}

	poor := entries(t)[waiting].Live.Fingerprint
	sluice(t, "ingest", waiting).want(t, 0).has(t, "1 degraded") // and no duplicate

	// What comes later wins, whether it is a newer text or a deletion.
	newer := map[string]string{}
	for i := range 3 {
		newer[fmt.Sprintf("v/%02d.md", i)] = "# Newer\n\nThe ferry has a newer timetable.\n"
	}
	in(t, newer)
	sluice(t, "ingest", "v").want(t, 0).has(t, "3 degraded")
	sluice(t, "rm", "v/03.md", "v/04.md").want(t, 0)
	if m := server.Meter(); m.Jobs != 0 {
		t.Errorf("%d jobs in an outage", m.Jobs)
	}

	outlast(t, node)
	server.Clear()
	eventually(t, "all are whole", func() bool {
		unmixed(t, node)
		return inState(t, events.StateComplete) == documents-2+1
	})
	if poor, whole := unmixed(t, node); poor != 0 || whole != documents-2 { // the scan has no ferry
		t.Errorf("%d documents as read here, %d whole", poor, whole)
	}
	all := entries(t)
	if all["scan.pdf"].Live.Fingerprint == poor {
		t.Error("what the fallback read has the fingerprint of what the service reads")
	}
	for name, d := range all {
		deleted := name == "v/03.md" || name == "v/04.md"
		switch {
		case deleted != (d.State == events.StateDeleted), deleted != (d.Live == nil):
			t.Errorf("%s is %s, live %+v", name, d.State, d.Live)
		case !deleted && (!strings.HasPrefix(d.Parser, "llamaparse/") || d.Live.Degraded || d.Upgrade != nil || d.Held != ""):
			t.Errorf("%+v, live %+v", d, d.Live)
		case !deleted && d.Live.Fingerprint != all["scan.pdf"].Live.Fingerprint:
			t.Errorf("%s has the fingerprint of another parser", name)
		}
	}
	sluice(t, "search", "newer timetable", "-k", "3", "--json").want(t, 0).has(t, "v/00.md", "v/01.md", "v/02.md")
	// What was replaced or deleted was not paid for; equal bytes are one job.
	if m := server.Meter(); m.Jobs != documents-3-2+1+1 {
		t.Errorf("the meter has %d jobs", m.Jobs)
	}
	if n := deadLetters(t, node); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	// Creates that failed in the outage were looked for, and nothing was found.
	eventually(t, "the ledger equals the meter", func() bool {
		return shownBudget(t, node).Windows[1].Spent.Nano == server.Meter().Nano
	})
	for _, u := range usage(t, node) {
		if u.Outcome == events.OutcomeUnknown {
			t.Errorf("booked without being known: %+v", u)
		}
	}
	if info := stream(t, node, events.StreamUpgrades); info.State.Msgs != 0 {
		t.Errorf("%d upgrades are left", info.State.Msgs)
	}
	in(t, files)
	sluice(t, "ingest", "v/20.md").want(t, 0).has(t, "1 duplicate")
}

// outlast has an outage last longer than a job needs to be listed by the service.
func outlast(t *testing.T, node *allinone.Node) {
	t.Helper()
	kv, err := node.Env.JS.KeyValue(t.Context(), events.BucketJobs)
	if err != nil {
		t.Fatal(err)
	}
	notes, err := kv.ListKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	aged := 0
	for key := range notes.Keys() {
		e, err := kv.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		var note map[string]any
		if err := json.Unmarshal(e.Value(), &note); err != nil {
			t.Fatal(err)
		}
		note["until"] = time.Now().Add(-time.Hour)
		if _, err := kv.Put(t.Context(), key, events.Encode(note)); err != nil {
			t.Fatal(err)
		}
		aged++
	}
	if aged == 0 {
		t.Error("no create failed in the outage")
	}
}

// modeIs waits until a stage has heard of a mode.
func modeIs(t *testing.T, node *allinone.Node, stage, mode string) {
	t.Helper()
	eventually(t, "the mode of the "+stage+" is "+mode, func() bool {
		for _, s := range node.Env.Health.Stages() {
			if s.Stage == stage {
				return strings.Contains(s.Provider, "mode "+mode)
			}
		}
		return false
	})
}

func stream(t *testing.T, node *allinone.Node, name string) *jetstream.StreamInfo {
	t.Helper()
	s, err := node.Env.JS.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo()
}

// The mode is changed live, and both services may be away at once. Text that is
// the same in both parses is embedded once.
func TestParserModes(t *testing.T) {
	embeddings, err := openai.New(openai.Config{Keys: []string{"sk-test"}})
	if err != nil {
		t.Fatal(err)
	}
	url := natstest.Serve(t, embeddings)
	server, node := parsing(t, fake.Config{}, "5.00", func(c *allinone.Config) {
		quick(c)
		e := &c.Stages.Embedder
		e.Provider, e.OpenAI.BaseURL, e.OpenAI.Key, e.Upgrade = "openai", url+"/v1", "sk-test", 1000
		c.Stages.Chunker.MaxTokens = 128
	})
	files := map[string]string{}
	for i := range 4 {
		files[fmt.Sprintf("v/%02d.md", i)] = long(i)
	}
	in(t, files)
	sluice(t, "mode", "parser", "local").want(t, 0).has(t, "parser: local")
	sluice(t, "mode", "embedder", "local").want(t, 0)
	modeIs(t, node, "parser", "local")
	modeIs(t, node, "embedder", "local")
	sluice(t, "ingest", "v").want(t, 0).has(t, "4 degraded")
	if m := server.Meter(); m.Attempts > 1 || embeddings.Meter().Inputs != 0 { // a health check
		t.Errorf("the services were asked: %+v", m)
	}
	sluice(t, "mode", "embedder", "default").want(t, 0)
	eventually(t, "the vectors are whole", func() bool { return spaces(t, node)["lex-v1-1536"] == 0 })
	if n := inState(t, events.StateDegraded); n != 4 {
		t.Errorf("%d documents are degraded: what is embedded again is parsed by the fallback still", n)
	}
	before := embeddings.Meter().Inputs
	sluice(t, "mode", "parser", "real").want(t, 0)
	eventually(t, "the parses are whole", func() bool {
		unmixed(t, node)
		return inState(t, events.StateComplete) == 4
	})
	chunks, asked := 0, embeddings.Meter().Inputs-before
	for _, d := range entries(t) {
		chunks += d.Chunks
		if d.Reused == 0 {
			t.Errorf("no vector of %s was reused", d.Name)
		}
	}
	// The service ends a document without the line break.
	if asked > 4 || chunks < 16 {
		t.Errorf("%d of %d chunks were embedded for the better parse, at most the last of each may be another", asked, chunks)
	}
	if n := deadLetters(t, node); n != 0 || server.Meter().Jobs != 4 {
		t.Errorf("%d dead letters, %d jobs", n, server.Meter().Jobs)
	}
}

// A document that the service refuses stays as this process has read it, says
// why, and is not sent again and again.
func TestARefusedUpgrade(t *testing.T) {
	server, node := parsing(t, fake.Config{}, "5.00", quick)
	in(t, volumes(3))
	sluice(t, "mode", "parser", "local").want(t, 0)
	modeIs(t, node, "parser", "local")
	sluice(t, "ingest", "v").want(t, 0).has(t, "3 degraded")
	server.Script(fake.Rule{On: "create", Contains: "volume 1.", Status: 413}, fake.Rule{On: "create", Contains: "volume 2.", FailJob: "the fonts are odd"})
	sluice(t, "mode", "parser", "default").want(t, 0)
	eventually(t, "all has been tried", func() bool {
		all := entries(t)
		return all["v/00.txt"].State == events.StateComplete && deadLetters(t, node) == 2 && all["v/01.txt"].Upgrade != nil && all["v/02.txt"].Upgrade != nil && all["v/02.txt"].Upgrade.Failure != nil
	})
	d := entries(t)["v/01.txt"]
	if d.State != events.StateDegraded || d.Live == nil || d.Upgrade.Failure == nil || d.Upgrade.Failure.Reason != "input-refused" {
		t.Errorf("refused: %+v, upgrade %+v", d, d.Upgrade)
	}
	sluice(t, "status", "v/02.txt").want(t, 0).has(t, "degraded", "upgrade      failed: parse-failed in reparser", "the fonts are odd")
	sluice(t, "search", "second page of volume 1", "-k", "1").want(t, 0).has(t, "01.txt")
	if m := server.Meter(); m.Creates != 3 {
		t.Errorf("%d creates for 3 documents", m.Creates)
	}
	server.Clear()
	sluice(t, "dead", "replay", "--all").want(t, 0)
	eventually(t, "a replay makes them whole", func() bool { return inState(t, events.StateComplete) == 3 })
	for _, d := range entries(t) {
		if d.Upgrade != nil || d.Live.Degraded {
			t.Errorf("%+v", d)
		}
	}
}

// One may begin without a key; what was read meanwhile is made whole by whoever
// has one.
func TestNoKeyYet(t *testing.T) {
	data := t.TempDir()
	_, node := parsing(t, fake.Config{}, "5.00", func(c *allinone.Config) {
		hybrid(c)
		c.Data, c.Stages.Parser.Llama.BaseURL, c.Stages.Parser.Llama.Key = data, llamaparse.RegionNA, ""
	})
	in(t, volumes(3))
	sluice(t, "ingest", "v").want(t, 0).has(t, "3 degraded")
	eventually(t, "it is said", func() bool {
		for _, d := range entries(t) {
			if d.Upgrade != nil && strings.Contains(d.Upgrade.Held, "there is no key") {
				return true // the others are not taken in
			}
		}
		return false
	})
	sluice(t, "doctor").has(t, "halted: there is no key for llamaparse")
	if err := node.Stop(); err != nil {
		t.Fatal(err)
	}
	server, _ := parsing(t, fake.Config{}, "5.00", func(c *allinone.Config) {
		quick(c)
		c.Data = data
	})
	eventually(t, "all are whole", func() bool { return inState(t, events.StateComplete) == 3 })
	if m := server.Meter(); m.Jobs != 3 {
		t.Errorf("%d jobs for 3 documents", m.Jobs)
	}
}

// Whoever wants to hear of a document hears once, when it can be searched. What
// does not fit into a message waits in the object store.
func TestWhoWaitsForAnUpgrade(t *testing.T) {
	_, node := parsing(t, fake.Config{}, "5.00", quick)
	sluice(t, "mode", "parser", "local").want(t, 0)
	modeIs(t, node, "parser", "local")
	hear, err := node.Conn.SubscribeSync("answers.*")
	if err != nil {
		t.Fatal(err)
	}
	put := func(name, text string) {
		t.Helper()
		store, err := node.Env.JS.ObjectStore(t.Context(), events.StoreInbox)
		if err != nil {
			t.Fatal(err)
		}
		meta := jetstream.ObjectMeta{Name: name, Headers: nats.Header{events.HeaderReplySubject: {"answers." + name[:1]}, "Meta-Team": {"blue"}}}
		if _, err := store.Put(t.Context(), meta, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	answer := func(want events.State, name string) {
		t.Helper()
		msg, err := hear.NextMsg(20 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var d events.Document
		if err := json.Unmarshal(msg.Data, &d); err != nil || d.State != want || d.Name != name {
			t.Errorf("%v, %s is %s; want %s to be %s", err, d.Name, d.State, name, want)
		}
	}
	put("a.txt", "The ferry.")
	answer(events.StateDegraded, "a.txt")
	put("scan.pdf", scan(1500)) // 1.5 MB
	eventually(t, "the scan waits, out of everybody's way", func() bool {
		return strings.Contains(entries(t)["scan.pdf"].Held, "mode of the parser is local") &&
			stream(t, node, events.StreamDocuments).State.Msgs == 0 && stream(t, node, "OBJ_"+events.StoreBlobs).State.Msgs > 0
	})
	sluice(t, "mode", "parser", "real").want(t, 0)
	answer(events.StateComplete, "scan.pdf")
	eventually(t, "both are whole, and nothing is left", func() bool {
		blobs, err := node.Env.JS.ObjectStore(t.Context(), events.StoreBlobs)
		if err != nil {
			t.Fatal(err)
		}
		_, err = blobs.List(t.Context())
		return inState(t, events.StateComplete) == 2 && errors.Is(err, jetstream.ErrNoObjectsFound)
	})
	sluice(t, "search", "what stands on page 1", "--meta", "Team=blue", "-k", "1").want(t, 0).has(t, "scan.pdf")
	if n, _, err := hear.Pending(); err != nil || n != 0 {
		t.Errorf("%d more answers, %v", n, err)
	}
}

// What is submitted or deleted while the service is at the upgrade wins, though
// it is done long before.
func TestAnUpgradeThatComesTooLate(t *testing.T) {
	server, node := parsing(t, fake.Config{}, "5.00", quick)
	server.Script(fake.Rule{On: "create", Contains: "an older ferry", Work: fake.Duration(time.Hour)})
	sluice(t, "mode", "parser", "local").want(t, 0)
	modeIs(t, node, "parser", "local")
	in(t, map[string]string{"d/a.md": "# A\n\nThis is an older ferry.", "d/b.md": "# B\n\nThis is an older ferry.", "d/c.md": "# C\n\nThis is an older ferry."})
	sluice(t, "ingest", "d").want(t, 0).has(t, "3 degraded")
	sluice(t, "mode", "parser", "real").want(t, 0)
	eventually(t, "the jobs run", func() bool { return server.Meter().Creates == 3 })
	in(t, map[string]string{"d/a.md": "# A\n\nThis is the newer ferry."})
	sluice(t, "ingest", "d/a.md").want(t, 0).has(t, "1 complete")
	sluice(t, "rm", "d/b.md").want(t, 0)
	newest := entries(t)
	server.Advance(time.Hour)
	eventually(t, "the upgrades have ended", func() bool {
		for _, name := range services.Queues() {
			if stream(t, node, name).State.Msgs > 0 {
				return false
			}
		}
		return entries(t)["d/c.md"].State == events.StateComplete
	})
	now := entries(t)
	for _, name := range []string{"d/a.md", "d/b.md"} {
		if was, is := newest[name], now[name]; is.State != was.State || is.Revision != was.Revision || (is.Live == nil) != (name == "d/b.md") {
			t.Errorf("%s was %s at %d, and is %s at %d, live %+v", name, was.State, was.Revision, is.State, is.Revision, is.Live)
		}
	}
	found := map[string]string{}
	for _, h := range hits(t, node) {
		found[h.Name] += h.Text
	}
	if len(found) != 2 || !strings.Contains(found["d/a.md"], "the newer") || strings.Contains(found["d/a.md"], "older") || !strings.Contains(found["d/c.md"], "older") {
		t.Errorf("search finds %q", found)
	}
}
