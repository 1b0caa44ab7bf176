package main

import (
	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/natstest"
	"sluice/pkg/stage"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRedact(t *testing.T) {
	for text, want := range map[string]string{
		"write to jane.doe@example.org.": "write to xxxxxxxxxxxxxxxxxxxx.",
		"no address @ all":               "no address @ all",
	} {
		if got := redact(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

// The stage on a real server, as it runs in production.
func TestTheStage(t *testing.T) {
	topology := broker.DefaultTopology()
	topology.Extra = service.Streams
	env := natstest.Env(t, natstest.Start(t, topology), stage.DefaultSettings())
	out, err := env.Conn.SubscribeSync(subject)
	if err != nil {
		t.Fatal(err)
	}
	natstest.Run(t, env, stage.Stage{Declaration: service.Stage(name), Handle: handle})
	p := events.Parsed{V: events.Version, Markdown: "from jane@example.org", About: events.About{
		Document: events.DocumentID("acme", "a.md"), Revision: events.RevisionOf(1), Tenant: "acme", ContentHash: events.ContentHash(nil),
		Fingerprint: events.Fingerprint("any"), Submitted: time.Now(), Parser: "any",
	}}
	if _, err := env.JS.Publish(t.Context(), events.SubjectParsed, events.Encode(p)); err != nil {
		t.Fatal(err)
	}
	m, err := out.NextMsg(10 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	got, err := events.Decode[events.Parsed](m.Data)
	if err != nil || got.Markdown != "from xxxxxxxxxxxxxxxx" || got.Tenant != "acme" {
		t.Errorf("%+v, %v", got, err)
	}
}
