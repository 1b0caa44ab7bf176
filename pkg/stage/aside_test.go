package stage_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/natstest"
	"sluice/pkg/stage"
)

// A message that failed, waited in HELD and comes back has its failures with it. So
// has one whose entry in the bucket expired meanwhile.
func TestFailuresOutliveHELD(t *testing.T) {
	for _, expired := range []bool{false, true} {
		t.Run(fmt.Sprint("expired:", expired), func(t *testing.T) {
			t.Parallel()
			s := quick()
			s.MaxInFlight, s.MaxRetries = 1, 2 // the room takes nothing
			env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), s)
			dead := collect(t, natstest.Connect(t, env.Conn.ConnectedUrl()), events.SubjectDeadPrefix+">")
			l := shut("budget:tenant.poor")
			var calls atomic.Int64
			natstest.Run(t, env, stage.Stage{
				Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 1,
				Handle: func(_ context.Context, m *stage.Message) error {
					if n := calls.Add(1); n > 2 {
						if err := l.ask("budget:tenant.poor"); err != nil {
							return err
						}
						if n == 3 {
							t.Error("it was not set aside")
						}
					}
					return fault.New(fault.Unavailable, "down", "it fails")
				},
			})
			submit(t, env.JS, "poor", "a")
			natstest.Eventually(t, 30*time.Second, "it is set aside after two failures", func() bool { return stored(t, env.JS, events.StreamHeld) == 1 })
			if expired {
				kv, err := env.JS.KeyValue(t.Context(), events.BucketRetries)
				if err != nil {
					t.Fatal(err)
				}
				keys, err := kv.Keys(t.Context())
				if err != nil || len(keys) != 1 {
					t.Fatalf("the entries of retries: %v, %v", keys, err)
				}
				if err := kv.Purge(t.Context(), keys[0]); err != nil {
					t.Fatal(err)
				}
			}
			before := calls.Load()
			l.open(env, "budget:tenant.poor")
			natstest.Eventually(t, 30*time.Second, "a dead letter", func() bool { return len(dead()) == 1 })
			if n := calls.Load() - before; n != 1 {
				t.Errorf("it failed %d times after it came back, want once: it had failed twice, and may fail twice", n)
			}
			if n := dead()[0].Header.Get(events.HeaderFailureAttempts); n != "3" {
				t.Errorf("the letter tells of %s attempts, want 3", n)
			}
		})
	}
}

// A body of nearly the largest size leaves no room for the headers of HELD. It is set
// aside all the same, holds up nobody, and comes back as it was.
func TestTheLargestBodiesAreSetAside(t *testing.T) {
	s := quick()
	s.MaxInFlight = 16 // the room takes one
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), s)
	l := shut("budget:tenant.poor")
	body := bytes.Repeat([]byte("0123456789abcdef"), int(env.Conn.MaxPayload()-1024)/16)
	var rich, poor atomic.Int64
	natstest.Run(t, env, perTenant(l, 1, func(m *stage.Message) {
		if m.Tenant == "rich" {
			rich.Add(1)
			return
		}
		poor.Add(1)
		if !bytes.Equal(m.Data, body) {
			t.Errorf("a body of %d bytes came back as %d others", len(body), len(m.Data))
		}
	}))
	const all = 6
	for i := range all {
		msg := nats.NewMsg(events.SubjectParsed)
		msg.Header.Set(events.HeaderDocumentID, events.DocumentID("poor", fmt.Sprint(i)))
		msg.Header.Set(events.HeaderTenant, "poor")
		msg.Data = body
		if _, err := env.JS.PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
		submit(t, env.JS, "rich", fmt.Sprint(i))
	}
	submitted(t, env.JS)
	natstest.Eventually(t, 30*time.Second, "the other tenant's documents are done", func() bool { return rich.Load() == all })
	natstest.Eventually(t, 30*time.Second, "what the room does not take is set aside", func() bool { return stored(t, env.JS, events.StreamHeld) >= all-1 })
	l.open(env, "budget:tenant.poor")
	natstest.Eventually(t, 30*time.Second, "what waited is done", func() bool { return poor.Load() == all })
	empty(t, env.JS, events.StreamHeld)
	noBodies(t, env.JS, 10*time.Second)
}

// What HELD never takes, because there is no room for one more header, stays in the
// room and is not tried again. The others that wait are set aside in its place.
func TestWhatHELDNeverTakesHoldsUpNobody(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	s := quick()
	s.MaxInFlight = 32 // the room takes two
	env := natstest.Env(t, url, s)
	l := shut("budget:tenant.poor")
	var rich, poor, tries atomic.Int64
	nc := natstest.Connect(t, url)
	if _, err := nc.Subscribe(events.SubjectHeldPrefix+">", func(m *nats.Msg) {
		if m.Header.Get("Meta-Long") != "" {
			tries.Add(1)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	natstest.Run(t, env, perTenant(l, 1, func(m *stage.Message) {
		if m.Tenant == "rich" {
			rich.Add(1)
		} else {
			poor.Add(1)
		}
	}))
	const wordy, all = 4, 20
	for i := range wordy {
		msg := nats.NewMsg(events.SubjectParsed)
		msg.Header.Set(events.HeaderDocumentID, events.DocumentID("poor", fmt.Sprint("wordy", i)))
		msg.Header.Set(events.HeaderTenant, "poor")
		msg.Header.Set("Meta-Long", strings.Repeat("x", 65_350))
		if _, err := env.JS.PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}
	for i := range uint64(all) {
		submit(t, env.JS, "poor", fmt.Sprint(i))
		submit(t, env.JS, "rich", fmt.Sprint(i))
		submitted(t, env.JS)
		natstest.Eventually(t, 30*time.Second, "the other tenant's document is done", func() bool { return rich.Load() == int64(i+1) })
		natstest.Eventually(t, 30*time.Second, "what can be is set aside", func() bool { return stored(t, env.JS, events.StreamHeld) == i+1 })
	}
	if n := tries.Load(); n > wordy {
		t.Errorf("%d tries to set %d messages aside that HELD does not take", n, wordy)
	}
	l.open(env, "budget:tenant.poor")
	natstest.Eventually(t, 30*time.Second, "what waited is done", func() bool { return poor.Load() == wordy+all })
}

// What another replica has in its hands cannot be brought back. Nobody waits to find
// that out: nothing else is set aside or brought back meanwhile.
func TestWhatAnotherReplicaHasInHand(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	s := quick()
	s.MaxInFlight = 1 // the room takes nothing
	l := shut("budget:tenant.poor")
	hold := make(chan struct{})
	var held, done atomic.Int64
	st := perTenant(l, 1, func(*stage.Message) {
		held.Add(1)
		<-hold
		done.Add(1)
	})
	first, second := natstest.Env(t, url, s), natstest.Env(t, url, s)
	natstest.Run(t, first, st)
	release := sync.OnceFunc(func() { close(hold) })
	t.Cleanup(release) // before the stages end
	submit(t, first.JS, "poor", "a")
	submitted(t, first.JS)
	natstest.Eventually(t, 30*time.Second, "it is set aside", func() bool { return stored(t, first.JS, events.StreamHeld) == 1 })
	l.open(first, "budget:tenant.poor")
	natstest.Eventually(t, 30*time.Second, "the first replica has it in hand", func() bool { return held.Load() == 1 })
	pulls, err := natstest.Connect(t, url).SubscribeSync("$JS.API.CONSUMER.MSG.NEXT." + events.StreamHeld + ".>")
	if err != nil {
		t.Fatal(err)
	}
	if err := pulls.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	natstest.Run(t, second, st)
	second.Wake("budget:tenant.poor")
	m, err := pulls.NextMsg(30 * time.Second)
	if err != nil {
		t.Fatalf("the second replica did not look for it: %v", err)
	}
	var pull struct {
		Expires time.Duration `json:"expires"`
	}
	if err := json.Unmarshal(m.Data, &pull); err != nil {
		t.Fatal(err)
	}
	if pull.Expires <= 0 || pull.Expires > 50*time.Millisecond {
		t.Errorf("it waits %v for what the first one has in hand", pull.Expires)
	}
	release()
	natstest.Eventually(t, 30*time.Second, "it is done", func() bool { return done.Load() == 1 })
	empty(t, first.JS, events.StreamHeld)
}
