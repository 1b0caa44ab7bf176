package stage_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/natstest"
	"sluice/pkg/stage"
)

// Whatever becomes of a request, it is answered: with JSON, or with the class and
// the words of the fault. Answers are given while the next request comes in.
func TestEndpointsAnswer(t *testing.T) {
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), stage.DefaultSettings())
	natstest.Run(t, env, stage.Stage{
		Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}},
		Handle:      func(context.Context, *stage.Message) error { return nil },
		Endpoints: []stage.Endpoint{{Name: "ask", Subject: "sluice.ask", Handle: func(_ context.Context, request []byte) (any, error) {
			switch string(request) {
			case "fault":
				return nil, fault.Invalid("bad-query", "no such thing")
			case "panic":
				panic("nothing to see")
			}
			return map[string]string{"said": string(request)}, nil
		}}},
	})
	ask := func(request string) *nats.Msg {
		var answer *nats.Msg
		natstest.Eventually(t, 10*time.Second, "an answer to "+request, func() bool {
			m, err := env.Conn.Request("sluice.ask", []byte(request), time.Second)
			if err != nil && !errors.Is(err, nats.ErrNoResponders) { // before the stage runs
				t.Error(err)
			}
			answer = m
			return err == nil
		})
		return answer
	}
	if m := ask("hello"); string(m.Data) != `{"said":"hello"}` || m.Header.Get(micro.ErrorHeader) != "" {
		t.Errorf("%s, %v", m.Data, m.Header)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			m, err := env.Conn.Request("sluice.ask", []byte("fault"), 10*time.Second)
			if err != nil || m.Header.Get(micro.ErrorHeader) != "no such thing" || m.Header.Get(micro.ErrorCodeHeader) != "validation" {
				t.Errorf("%+v, %v", m, err)
			}
		})
	}
	wg.Wait()
	if m := ask("panic"); m.Header.Get(micro.ErrorCodeHeader) != "execution" {
		t.Errorf("a panic: %v", m.Header)
	}
	// A request without an address for the answer harms nobody.
	if err := env.Conn.Publish("sluice.ask", []byte("fault")); err != nil {
		t.Fatal(err)
	}
	ask("hello")
}
