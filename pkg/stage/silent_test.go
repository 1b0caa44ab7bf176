package stage_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/natstest"
	"sluice/pkg/stage"
)

// A nats-server that could not write a stream once leaves publishers without an
// answer, for good. The stage keeps its work, is not ready and says why. Here the
// stream is one without acknowledgements, which looks the same from outside.
func TestAStageIsNotReadyWhileNothingIsAcknowledged(t *testing.T) {
	t.Parallel()
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), stage.DefaultSettings())
	if _, err := env.JS.CreateStream(t.Context(), jetstream.StreamConfig{Name: "SILENT", Subjects: []string{"silent"}, NoAck: true}); err != nil {
		t.Fatal(err)
	}
	natstest.Run(t, env, stage.Stage{
		Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}},
		Handle: func(_ context.Context, m *stage.Message) error {
			m.Publish("silent", events.TypeChunks, "x", []byte("x"))
			return nil
		},
	})
	natstest.Eventually(t, time.Minute, "it is ready", env.Health.Ready)
	submit(t, env.JS, "acme", "a")
	natstest.Eventually(t, time.Minute, "it is not ready, and says why", func() bool {
		h := env.Health.Stage("worker")
		return !env.Health.Ready() && !h.Ready && len(h.Waiting) == 1 && h.Waiting[0].Kind == fault.WaitDownstream &&
			strings.Contains(h.Waiting[0].Message, "NATS does not say that it has stored") && strings.Contains(h.Waiting[0].Hint, "sluice doctor")
	})
	if stored(t, env.JS, events.StreamParsed) != 1 || stored(t, env.JS, events.StreamDeadLetter) != 0 {
		t.Error("the message is not kept")
	}
}

// What waits to be stored is bounded by its bytes: a stage whose work is large goes on
// only as far as its memory allows, however many messages that is.
func TestWhatWaitsToBeStoredIsBoundedByItsBytes(t *testing.T) {
	t.Parallel()
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), stage.DefaultSettings())
	if _, err := env.JS.CreateStream(t.Context(), jetstream.StreamConfig{Name: "SILENT", Subjects: []string{"silent"}, NoAck: true, MaxMsgs: 1}); err != nil {
		t.Fatal(err)
	}
	large := make([]byte, 512<<10)
	var made atomic.Int64
	natstest.Run(t, env, stage.Stage{
		Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}},
		Handle: func(_ context.Context, m *stage.Message) error {
			made.Add(1)
			m.Publish("silent", events.TypeChunks, "x", large)
			return nil
		},
	})
	for i := range 100 {
		submit(t, env.JS, "acme", fmt.Sprint(i))
	}
	// What was published first is given up by then.
	natstest.Eventually(t, time.Minute, "it waits", func() bool { return len(env.Health.Stage("worker").Waiting) == 1 })
	if n := made.Load(); n > 40 {
		t.Errorf("%d messages of %d bytes wait to be stored, or have waited", n, len(large))
	}
}
