package stage_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/natstest"
	"sluice/pkg/stage"
)

// What an earlier process has set aside is shown in words that say what ends the
// wait, before anybody has tried it again.
func TestWhatIsSetAsideSaysWhatItWaitsFor(t *testing.T) {
	for key, words := range map[fault.Wait]string{
		"claim:abc":          "until another process has bought the same texts, or has died",
		"job:17":             "until the service has ended the document's job",
		"budget:tenant.acme": "until there is money or a request within the limits of tenant.acme: see 'sluice budget'",
	} {
		t.Run(string(key), func(t *testing.T) {
			t.Parallel()
			url := natstest.Start(t, broker.DefaultTopology())
			js, err := jetstream.New(natstest.Connect(t, url))
			if err != nil {
				t.Fatal(err)
			}
			s := quick()
			s.AckWait, s.Grace = time.Second, 0
			worker := func(handle func(context.Context, *stage.Message) error) stage.Stage {
				return stage.Stage{
					Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 4, Handle: handle,
				}
			}
			for i := range 600 {
				submit(t, js, "acme", fmt.Sprint(i))
			}
			submitted(t, js)
			crash(t, natstest.Env(t, url, s), worker(func(context.Context, *stage.Message) error {
				return fault.New(fault.CostLimit, "busy", "it waits").WaitFor(key).After(time.Hour)
			}), func() bool { return stored(t, js, events.StreamHeld) > 0 })

			env := natstest.Env(t, url, s)
			natstest.Run(t, env, worker(func(ctx context.Context, _ *stage.Message) error {
				<-ctx.Done() // nobody says anything else
				return ctx.Err()
			}))
			natstest.Eventually(t, time.Minute, "it is shown in words", func() bool {
				for _, w := range env.Health.Stage("worker").Waiting {
					if strings.HasSuffix(w.Message, words) {
						return true
					}
				}
				return false
			})
		})
	}
}
