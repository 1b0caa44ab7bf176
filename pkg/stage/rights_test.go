package stage_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/natstest"
	"sluice/pkg/stage"
)

// lines is a log that may be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) with(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// A stage that lacks a right is unready and loud, once, and keeps its work. A
// subject that a submitter chose halts nobody.
func TestAMissingRightHaltsTheStage(t *testing.T) {
	s := natstest.Secure(t, broker.Service{Name: "chunker", Stages: []broker.Declaration{{
		Name: "chunker", In: broker.Route{Stream: events.StreamParsed, Subject: events.SubjectParsed}, Tells: []events.What{events.Chunked},
	}}})
	url := s.Start(t, "", s.Login)
	operator, err := jetstream.New(s.Connect(t, url, s.Login(broker.UserOperator)))
	if err != nil {
		t.Fatal(err)
	}
	log := &lines{}
	settings := stage.DefaultSettings()
	settings.Grace = 200 * time.Millisecond
	env, err := stage.NewEnv(s.Connect(t, url, s.Login("chunker")), zerolog.New(log), settings)
	if err != nil {
		t.Fatal(err)
	}
	env.Topology = broker.ModeBind
	to := make(chan string, 8)
	natstest.Run(t, env, stage.Stage{
		Declaration: stage.Declaration{Name: "chunker", In: stage.Route{Stream: events.StreamParsed, Subject: events.SubjectParsed}},
		Workers:     3, // each is kept busy by a message that cannot be handed on
		Handle: func(_ context.Context, m *stage.Message) error {
			subject := string(m.Data)
			if strings.HasPrefix(subject, "answers.") {
				return env.Conn.Publish(subject, nil) // as the recorder does
			}
			m.Publish(subject, events.TypeChunks, "", nil)
			to <- subject
			return nil
		},
	})
	natstest.Eventually(t, 10*time.Second, "the stage is ready", env.Health.Ready)
	send := func(text string) {
		t.Helper()
		if _, err := operator.Publish(t.Context(), events.SubjectParsed, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	send("answers.of.mallory")
	natstest.Eventually(t, 10*time.Second, "the refusal is logged", func() bool { return log.with("answers.of.mallory") == 1 })
	if !env.Health.Ready() {
		t.Error("a submitter's subject has halted the stage")
	}
	for range 3 {
		send(events.SubjectVectors) // which is the embedder's
	}
	natstest.Eventually(t, 10*time.Second, "the stage is halted", func() bool { return !env.Health.Ready() })
	h := env.Health.Stages()[0]
	if !strings.Contains(h.Halted(), "lacks a right") || !strings.Contains(h.Halted(), events.SubjectVectors) {
		t.Errorf("%+v", h)
	}
	for range 3 {
		<-to
	}
	missing := `"subject":"` + events.SubjectVectors + `"`
	natstest.Eventually(t, 10*time.Second, "it is logged", func() bool { return log.with(missing) > 0 })
	if n := log.with(missing); log.with(stage.ReasonRights) != 2 {
		t.Errorf("%d and %d lines say what is missing, want one a subject", n, log.with(stage.ReasonRights))
	}
	stream, err := operator.Stream(t.Context(), events.StreamParsed)
	if err != nil || stream.CachedInfo().State.Msgs != 3 {
		t.Errorf("PARSED holds %d messages, want the 3 in hand (%v)", stream.CachedInfo().State.Msgs, err)
	}
}

// Without 'sluice apply' a stage that may create nothing says what to do.
func TestABoundStageSaysWhatIsMissing(t *testing.T) {
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), stage.DefaultSettings())
	env.Topology = broker.ModeBind
	err := stage.Run(t.Context(), env, stage.Stage{
		Declaration: stage.Declaration{Name: "chunker", In: stage.Route{Stream: events.StreamParsed, Subject: events.SubjectParsed}},
		Handle:      func(context.Context, *stage.Message) error { return nil },
	})
	if f := fault.From(err); f == nil || f.Class != fault.Halt || !strings.Contains(f.Hint, "sluice apply") {
		t.Errorf("%v", err)
	}
}
