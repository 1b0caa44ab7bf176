package broker_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/natstest"
)

// between stands between the parser and the chunker of the pipeline above.
var between = broker.Service{
	Name: "translator", About: "Translates.",
	Stages: []broker.Declaration{{
		Name: "translator", In: broker.Route{Stream: events.StreamParsed, Subject: events.SubjectParsed},
		Out: []broker.Route{{Stream: "TRANSLATED", Subject: "docs.translated"}},
	}},
	Streams: []broker.Stream{broker.Queue("TRANSLATED", "docs.translated")},
	Feeds:   map[string]string{"chunker": "TRANSLATED"},
}

// What is wrong with declarations is said before anything is made.
func TestDeclarationsAreChecked(t *testing.T) {
	if err := broker.Check(append(pipeline, between)...); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		change func(*broker.Service)
		says   string
	}{
		"a name that is no word":         {func(s *broker.Service) { s.Name = "my stage" }, `"my stage"`},
		"a person's name":                {func(s *broker.Service) { s.Name = broker.UserApply }, broker.UserApply},
		"a second service of the name":   {func(s *broker.Service) { s.Name = "parser" }, "parser"},
		"a second stage of the name":     {func(s *broker.Service) { s.Stages[0].Name = "chunker" }, "chunker"},
		"a stream that nothing declares": {func(s *broker.Service) { s.Stages[0].In.Stream = "PARSD" }, "PARSD"},
		"a stream of the vocabulary":     {func(s *broker.Service) { s.Streams[0].Name = events.StreamChunks }, events.StreamChunks},
		"a queue that is not its own":    {func(s *broker.Service) { s.Feeds["chunker"] = events.StreamChunks }, events.StreamChunks},
	} {
		t.Run(name, func(t *testing.T) {
			var s broker.Service
			if text, err := json.Marshal(between); err != nil || json.Unmarshal(text, &s) != nil || !reflect.DeepEqual(s, between) {
				t.Fatalf("a declaration is not plain data: %+v (%v)", s, err)
			}
			tc.change(&s)
			err := broker.Check(append(pipeline, s)...)
			if f := fault.From(err); err == nil || f.Class != fault.Halt || !strings.Contains(f.Message, tc.says) {
				t.Errorf("%v, want a halt that names %s", err, tc.says)
			}
		})
	}
}

// A service makes what it uses, and not what others use.
func TestAServiceMakesWhatItUses(t *testing.T) {
	js := open(t)
	if err := broker.Ensure(t.Context(), js, broker.DefaultTopology(), pipeline[0]); err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	names := js.StreamNames(t.Context())
	for name := range names.Name() {
		have[name] = true
	}
	if err := names.Err(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		events.StreamDocuments: true, events.StreamParsed: true, events.StreamVectors: true, "KV_documents": true, "OBJ_parses": true,
		events.StreamEvents: true, events.StreamDeadLetter: true, events.StreamHeld: true, "KV_retries": true, "OBJ_blobs": true,
		events.StreamChunks: false, events.StreamCosts: false, "KV_budget": false,
	} {
		if have[name] != want {
			t.Errorf("%s is made: %v, want %v", name, have[name], want)
		}
	}
}

// consume takes a stage's place in the pipeline, as the runtime does.
func consume(t *testing.T, js jetstream.JetStream, d broker.Durable) (jetstream.Consumer, error) {
	t.Helper()
	return broker.ModeEnsure.Consumer(t.Context(), js, d, 30*time.Second, 100)
}

// On a pipeline that has run, the place between two stages is taken. JetStream says
// 10099 or 10100 and no more. Now it says by whom, and when the later stage
// moves, nothing of what waits is lost. Red before: there was no way but to remove
// the consumer by hand.
func TestAStageComesBetweenTwoThatHaveRun(t *testing.T) {
	js := open(t)
	if err := broker.Ensure(t.Context(), js, broker.DefaultTopology(), append(pipeline, between)...); err != nil {
		t.Fatal(err)
	}
	chunker, translator := pipeline[1].Stage("chunker"), between.Stage("translator")
	old, err := consume(t, js, chunker.Durable())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), events.SubjectParsed, []byte("waits")); err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{events.SubjectParsed, ""} {
		d := translator.Durable()
		d.Subject = subject
		_, err = consume(t, js, d)
		if f := fault.From(err); err == nil || f.Reason != broker.ReasonTaken || !strings.Contains(f.Message, "chunker does") || !strings.Contains(f.Hint, "nats consumer rm PARSED chunker") {
			t.Errorf("the filter %q: %v (%+v)", subject, err, f)
		}
	}
	// One that pulls still has to be stopped: what it holds would be done twice.
	it, err := old.Messages(jetstream.PullMaxMessages(10))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := it.Next(); err != nil { // in hand, never acknowledged
		t.Fatal(err)
	}
	moved := chunker.From("TRANSLATED")
	natstest.Eventually(t, 10*time.Second, "the pull is seen", func() bool {
		_, err := consume(t, js, moved.Durable())
		return fault.From(err).Reason == broker.ReasonRuns
	})
	it.Stop()
	natstest.Eventually(t, 10*time.Second, "the chunker has moved", func() bool {
		_, err := consume(t, js, moved.Durable())
		return err == nil
	})
	c, err := consume(t, js, translator.Durable())
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Next(jetstream.FetchMaxWait(10 * time.Second))
	if err != nil || string(m.Data()) != "waits" {
		t.Fatalf("what was in the chunker's hand is lost: %v, %v", m, err)
	}
	// Again, as every replica does when it starts.
	if _, err := consume(t, js, moved.Durable()); err != nil {
		t.Error(err)
	}
	// And without the translator: the chunker says who is in its way.
	if _, err := consume(t, js, chunker.Durable()); fault.From(err).Reason != broker.ReasonTaken || !strings.Contains(err.Error(), "translator does") {
		t.Errorf("%v", err)
	}
}

// Apply does the same for stages that may make no consumers.
func TestApplyMovesAStage(t *testing.T) {
	js := open(t)
	if _, err := broker.Apply(t.Context(), js, broker.DefaultTopology(), false, pipeline...); err != nil {
		t.Fatal(err)
	}
	all := append(pipeline, between)
	for range 2 {
		changes, err := broker.Apply(t.Context(), js, broker.DefaultTopology(), false, all...)
		if err != nil {
			t.Fatalf("%+v, %v", changes, err)
		}
	}
	for _, s := range broker.Compose(all...) {
		if err := broker.Bind(t.Context(), js, broker.DefaultTopology(), s); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
	if err := broker.Bind(t.Context(), js, broker.DefaultTopology(), pipeline[1].From("chunker", "TRANSLATED")); err != nil {
		t.Errorf("the chunker with --chunker-from: %v", err)
	}
	if _, err := js.Consumer(t.Context(), events.StreamParsed, "chunker"); err == nil {
		t.Error("the chunker has two consumers")
	}
	// Back: a person has to say that the translator is gone.
	changes, err := broker.Apply(t.Context(), js, broker.DefaultTopology(), false, pipeline...)
	if fault.From(err).Reason != broker.ReasonTaken {
		t.Errorf("%v", err)
	}
	if n := outcomes(changes); n[broker.Refused] != 1 {
		t.Errorf("%+v", changes)
	}
	all[2].Feeds = map[string]string{"nobody": "TRANSLATED"}
	if _, err := broker.Apply(t.Context(), js, broker.DefaultTopology(), true, all...); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("%v", err)
	}
}
