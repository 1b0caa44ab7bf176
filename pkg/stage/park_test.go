package stage_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/natstest"
	"sluice/pkg/stage"
)

// A body that only a newer release can read goes back for whoever can, others
// pass it by, and it uses up no retry.
func TestANewerBodyIsLeftToANewerStage(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	type seen struct {
		body    string
		attempt int
	}
	passed := make(chan seen, 16)
	stageOf := func(version int) stage.Stage {
		return stage.Stage{
			Name: "chunker", In: stage.Route{Stream: events.StreamParsed, Subject: events.SubjectParsed},
			Handle: func(_ context.Context, m *stage.Message) error {
				if string(m.Data) == "2" && version < 2 {
					return fault.New(fault.Unavailable, "newer-version", "too new").WaitFor("schema:2")
				}
				passed <- seen{string(m.Data), m.Attempt}
				return nil
			},
		}
	}
	settings := quick()
	settings.MaxRetries = 0 // any failure that counted would be the last
	env := natstest.Env(t, url, settings)
	js, err := jetstream.New(env.Conn)
	if err != nil {
		t.Fatal(err)
	}
	stop := natstest.Run(t, env, stageOf(1))
	publish(t, js, events.SubjectParsed, "new", "2")
	publish(t, js, events.SubjectParsed, "old", "1")
	if got := <-passed; got.body != "1" {
		t.Errorf("%+v passed", got)
	}
	held := collect(t, env.Conn, events.EventSubject(doc, events.Held))
	natstest.Eventually(t, 10*time.Second, "it has come again, and waits again", func() bool { return len(held()) > 1 })
	stop()
	natstest.Run(t, natstest.Env(t, url, settings), stageOf(2))
	select {
	case got := <-passed:
		if got != (seen{"2", 0}) {
			t.Errorf("%+v passed, want the new body without a failure", got)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the new stage did not get it")
	}
	stream, err := js.Stream(t.Context(), events.StreamDeadLetter)
	if err == nil {
		_, err = stream.GetMsg(t.Context(), 1)
	}
	if !errors.Is(err, jetstream.ErrMsgNotFound) {
		t.Errorf("a dead letter: %v", err)
	}
}
