package chunker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/natstest"
	"sluice/pkg/stage"
	"sluice/services/chunker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config() chunker.Config {
	return chunker.Config{Strategy: "markdown", Encoding: "cl100k_base", MaxTokens: 40, MinTokens: 8}
}

func parsed(text string) events.Parsed {
	return events.Parsed{V: 1, Markdown: text, Pages: []events.PageMark{{Page: 1}}, About: events.About{
		Document: events.DocumentID("acme", "a.md"), Revision: 9, Tenant: "acme", Name: "a.md", Fingerprint: "f",
		Submitted: time.Unix(0, 0).UTC(),
	}}
}

func publish(t *testing.T, env *stage.Env, p events.Parsed, body []byte) {
	t.Helper()
	m := nats.NewMsg(events.SubjectParsed)
	m.Header.Set(events.HeaderDocumentID, p.Document)
	m.Header.Set(events.HeaderRevision, p.Revision.String())
	m.Header.Set(events.HeaderTenant, p.Tenant)
	m.Data = body
	if _, err := env.JS.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

func TestADocumentBecomesItsChunks(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	env := natstest.Env(t, url, stage.DefaultSettings())
	st, err := chunker.Stage(config(), chunker.Routing{Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	watch := natstest.Connect(t, url)
	sub, err := watch.SubscribeSync(events.SubjectChunks)
	if err != nil {
		t.Fatal(err)
	}
	dead, err := watch.SubscribeSync(events.SubjectDeadPrefix + ">")
	if err != nil {
		t.Fatal(err)
	}
	natstest.Run(t, env, st)
	text := "# One\n\n" + strings.Repeat("The keeper opens the gate for all of us at noon. ", 16) + "\n\n## Two\n\n- a\n- b\n\n" +
		"| Gate | Keeper |\n| --- | --- |\n" + strings.Repeat("| north | Ann |\n", 20)
	p := parsed(text)
	publish(t, env, p, events.Encode(p))
	var whole strings.Builder
	headers := 0
	var chunks []events.Chunk
	for of := 1; len(chunks) < of; {
		m, err := sub.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		p, err := events.Decode[events.Chunks](m.Data)
		if err != nil {
			t.Fatal(err)
		}
		of, chunks = p.Of, append(chunks, p.Chunks...)
	}
	for i, c := range chunks {
		if c.Ordinal != i || c.Text != text[c.Start:c.End] || c.Tokens > 40 || c.Page != 1 || c.Document != p.Document || c.Revision != 9 ||
			c.Language != "en" || c.ID != events.ChunkID(p.Document, i, events.TextHash(c.Input()), "f") || (c.About != nil) != (i == 0) {
			t.Errorf("chunk %d: %+v", i, c)
		}
		if strings.HasPrefix(c.Text, "| north") && c.Header == "Gate | Keeper" && strings.Contains(c.Input(), "\n\nGate | Keeper\n| north") {
			headers++
		}
		whole.WriteString(c.Text)
	}
	if headers < 2 {
		t.Errorf("%d chunks have the header of their table", headers)
	}
	if whole.String() != text {
		t.Errorf("the chunks are not the document: %q", whole.String())
	}

	// Where the words do not tell, the document does.
	p = parsed("Kündigungen 2026\n")
	p.Document, p.Facts.Language = events.DocumentID("acme", "b.md"), "de-AT"
	publish(t, env, p, events.Encode(p))
	short, err := sub.NextMsg(10 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := events.Decode[events.Chunks](short.Data); err != nil || p.Language != "de" {
		t.Errorf("pack %+v, %v", p, err)
	}

	// A body of another document than its headers say is nobody's work.
	publish(t, env, parsed("x"), []byte(`{"v":1}`))
	m, err := dead.NextMsg(10 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Header.Get(events.HeaderFailureReason); got != "malformed-event" {
		t.Errorf("reason %q", got)
	}
}

// Whoever sets the size need not know what else depends on it.
func TestEverySizeWorksAlone(t *testing.T) {
	for _, most := range []int{16, 17, 100, 127, 512, 8192, 131072} {
		cfg := config()
		cfg.MaxTokens, cfg.MinTokens = most, 0
		if _, err := chunker.Stage(cfg, chunker.Routing{}); err != nil {
			t.Errorf("%d: %v", most, err)
		}
	}
	cfg := config()
	if cfg.MaxTokens, cfg.MinTokens = 512, 0; cfg.Options().MinTokens != 64 {
		t.Errorf("the default is %d", cfg.Options().MinTokens)
	}
}

func TestSettingsThatCannotWorkAreNamed(t *testing.T) {
	for change, set := range map[string]func(*chunker.Config){
		"strategy": func(c *chunker.Config) { c.Strategy = "magic" },
		"encoding": func(c *chunker.Config) { c.Encoding = "p50k" },
		"max":      func(c *chunker.Config) { c.MaxTokens = -1 },
		"overlap":  func(c *chunker.Config) { c.Overlap = 30 },
	} {
		cfg := config()
		set(&cfg)
		if _, err := chunker.Stage(cfg, chunker.Routing{}); err == nil || !strings.Contains(strings.ToLower(err.Error()), change) {
			t.Errorf("%s: %v", change, err)
		}
	}
}
