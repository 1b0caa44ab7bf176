package stage_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/natstest"
	"sluice/pkg/stage"
)

func TestMain(m *testing.M) {
	if os.Getenv(deafEnv) != "" {
		os.Exit(deaf())
	}
	goleak.VerifyTestMain(m)
}

// quick makes failures visible within a test's patience.
func quick() stage.Settings {
	s := stage.DefaultSettings()
	s.AckWait, s.RetryDelay, s.RetryCap, s.Grace = 2*time.Second, 20*time.Millisecond, 100*time.Millisecond, 3*time.Second
	return s
}

var doc = events.DocumentID("acme", "a.md")

func publish(t *testing.T, js jetstream.JetStream, subject, id, body string) {
	t.Helper()
	msg := nats.NewMsg(subject)
	msg.Header.Set(events.HeaderDocumentID, doc)
	msg.Header.Set(events.HeaderRevision, "7")
	msg.Header.Set(events.HeaderTenant, "acme")
	msg.Header.Set(events.HeaderCorrelationID, "corr-1")
	msg.Header.Set(events.HeaderMsgID, id)
	msg.Data = []byte(body)
	if _, err := js.PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
}

func collect(t *testing.T, nc *nats.Conn, subject string) func() []*nats.Msg {
	t.Helper()
	var mu sync.Mutex
	var all []*nats.Msg
	sub, err := nc.Subscribe(subject, func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, m)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Unsubscribe() })
	return func() []*nats.Msg {
		mu.Lock()
		defer mu.Unlock()
		return append([]*nats.Msg(nil), all...)
	}
}

func empty(t *testing.T, js jetstream.JetStream, stream string) {
	t.Helper()
	natstest.Eventually(t, time.Minute, stream+" is empty", func() bool {
		s, err := js.Stream(t.Context(), stream)
		return err == nil && s.CachedInfo().State.Msgs == 0
	})
}

// noBodies waits that long until the object store of bodies is empty.
func noBodies(t *testing.T, js jetstream.JetStream, d time.Duration) {
	t.Helper()
	natstest.Eventually(t, d, "the bodies are removed", func() bool {
		store, err := js.ObjectStore(t.Context(), events.StoreBlobs)
		if err != nil {
			t.Fatal(err)
		}
		_, err = store.List(t.Context())
		return errors.Is(err, jetstream.ErrNoObjectsFound)
	})
}

// A newcomer's stage: one function and configuration.
func TestATranslatorIsOneFunction(t *testing.T) {
	topology := broker.DefaultTopology()
	topology.Extra = []broker.Stream{broker.Queue("TRANSLATED", "docs.translated")}
	url := natstest.Start(t, topology)
	env := natstest.Env(t, url, quick())
	got := collect(t, env.Conn, "docs.translated")
	natstest.Run(t, env, stage.Stage{
		Declaration: stage.Declaration{Name: "translator", In: stage.Route{Stream: events.StreamParsed, Subject: events.SubjectParsed}}, Workers: 2,
		Handle: func(_ context.Context, m *stage.Message) error {
			m.Publish("docs.translated", events.TypeParsed, "", []byte(strings.ToUpper(string(m.Data))))
			return nil
		},
	})
	for i := range 20 {
		publish(t, env.JS, events.SubjectParsed, fmt.Sprint(i), fmt.Sprint("text ", i))
	}
	// One document revision sends one message of a type: repeats are recognised.
	natstest.Eventually(t, 10*time.Second, "translated", func() bool { return len(got()) == 20 })
	empty(t, env.JS, events.StreamParsed)
	m := got()[0]
	if !strings.HasPrefix(string(m.Data), "TEXT ") || m.Header.Get(events.HeaderCorrelationID) != "corr-1" ||
		m.Header.Get(events.HeaderDocumentID) != doc || m.Header.Get(events.HeaderTenant) != "acme" {
		t.Errorf("got %q with headers %v", m.Data, m.Header)
	}
	s, err := env.JS.Stream(t.Context(), "TRANSLATED")
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.Msgs; n != 1 {
		t.Errorf("%d messages stored, want 1: the same document revision was translated 20 times", n)
	}
}

func TestFaultClasses(t *testing.T) {
	for _, tc := range []struct {
		name     string
		fail     func(n int) error // of attempt n, from 1
		attempts int
		dead     string // reason, or "" when it succeeds
		events   string // a subject that must be seen
	}{
		{"unavailable is tried again", func(n int) error {
			if n <= 3 {
				return errors.New("connection refused")
			}
			return nil
		}, 4, "", "retried"},
		{"unavailable ends as a dead letter", func(int) error { return fault.New(fault.Unavailable, "down", "it is down") }, 4, "down", "failed"},
		{"validation is not tried again", func(int) error { return fault.Invalid("empty", "no text") }, 1, "empty", "failed"},
		{"a panic is a dead letter", func(int) error { panic("index out of range") }, 1, "panic", "failed"},
		{"rate limits count nothing", func(n int) error {
			if n <= 6 {
				return fault.New(fault.RateLimited, "rate", "slow down").After(10 * time.Millisecond)
			}
			return nil
		}, 7, "", "held"},
		{"holds for money count nothing", func(n int) error {
			if n <= 6 {
				return fault.New(fault.CostLimit, "budget", "budget global/day")
			}
			return nil
		}, 7, "", "held"},
		{"a parked tenant counts nothing", func(n int) error {
			if n <= 6 {
				return fault.New(fault.CostLimit, "budget", "budget tenant.acme/day").WaitFor("budget:tenant.acme")
			}
			return nil
		}, 7, "", "held"},
		{"a halt keeps the work", func(n int) error {
			if n <= 6 {
				return fault.New(fault.Halt, "invalid_api_key", "the key is refused")
			}
			return nil
		}, 7, "", "held"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), quick())
			dead := collect(t, env.Conn, events.SubjectDeadPrefix+"worker")
			told := collect(t, env.Conn, events.SubjectEventPrefix+doc+"."+tc.events)
			var attempts, others atomic.Int64
			natstest.Run(t, env, stage.Stage{
				Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 2,
				Handle: func(_ context.Context, m *stage.Message) error {
					if string(m.Data) != "bad" {
						others.Add(1)
						return nil
					}
					return tc.fail(int(attempts.Add(1)))
				},
			})
			publish(t, env.JS, events.SubjectParsed, "bad", "bad")
			publish(t, env.JS, events.SubjectParsed, "good", "good")
			empty(t, env.JS, events.StreamParsed)
			if n := attempts.Load(); n != int64(tc.attempts) {
				t.Errorf("%d attempts, want %d", n, tc.attempts)
			}
			if others.Load() != 1 {
				t.Errorf("the good message was handled %d times", others.Load())
			}
			natstest.Eventually(t, 5*time.Second, tc.events+" told", func() bool { return len(told()) > 0 })
			if tc.dead == "" {
				if d := dead(); len(d) != 0 {
					t.Errorf("dead letter %v", d[0].Header)
				}
				return
			}
			natstest.Eventually(t, 5*time.Second, "dead letter", func() bool { return len(dead()) == 1 })
			d := dead()[0]
			if d.Header.Get(events.HeaderFailureReason) != tc.dead || string(d.Data) != "bad" ||
				d.Header.Get(events.HeaderOriginSubject) != events.SubjectParsed || d.Header.Get(events.HeaderCorrelationID) != "corr-1" ||
				d.Header.Get(events.HeaderFailureAttempts) != fmt.Sprint(tc.attempts) {
				t.Errorf("dead letter %q %v", d.Data, d.Header)
			}
			if got, _ := env.JS.KeyValue(t.Context(), events.BucketRetries); got != nil {
				if keys, _ := got.Keys(t.Context()); len(keys) != 0 {
					t.Errorf("retry records left: %v", keys)
				}
			}
		})
	}
}

// The server stores no message with more than 64 KiB of headers: what a
// submitter filled to the brim must still fit into a dead letter.
func TestHeadersAtTheLimitReachTheDeadLetters(t *testing.T) {
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), quick())
	dead := collect(t, env.Conn, events.SubjectDeadPrefix+"worker")
	natstest.Run(t, env, stage.Stage{
		Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 1,
		Handle: func(context.Context, *stage.Message) error {
			return fault.Invalid("odd", "%s", strings.Repeat("odd ", 2000))
		},
	})
	msg := nats.NewMsg(events.SubjectParsed)
	msg.Data = []byte("body")
	msg.Header.Set(events.HeaderCorrelationID, "corr-1")
	msg.Header.Set("Small", "kept")
	msg.Header.Set("Large", strings.Repeat("x", 40<<10))
	msg.Header.Set("Middle", strings.Repeat("y", 22<<10))
	if _, err := env.JS.PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, 10*time.Second, "dead letter", func() bool { return len(dead()) == 1 })
	h := dead()[0].Header
	if h.Get(events.HeaderFailureReason) != "odd" || h.Get(events.HeaderCorrelationID) != "corr-1" || h.Get("Small") != "kept" ||
		h.Get("Large") != "" || len(h.Get("Middle")) != 22<<10 || h.Get(events.HeaderFailureTrimmed) != "Large" {
		h.Del("Middle")
		t.Errorf("the dead letter has headers %v", h)
	}
	empty(t, env.JS, events.StreamParsed)
}

// A body that is gone stays gone: trying again changes nothing.
func TestAMissingBodyIsADeadLetter(t *testing.T) {
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), quick())
	dead := collect(t, env.Conn, events.SubjectDeadPrefix+"worker")
	natstest.Run(t, env, stage.Stage{
		Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 1,
		Handle: func(context.Context, *stage.Message) error { return nil },
	})
	msg := nats.NewMsg(events.SubjectParsed)
	msg.Header.Set(events.HeaderBlob, "gone")
	if _, err := env.JS.PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, 10*time.Second, "dead letter", func() bool { return len(dead()) == 1 })
	if h := dead()[0].Header; h.Get(events.HeaderFailureReason) != "missing-body" || h.Get(events.HeaderFailureAttempts) != "1" {
		t.Errorf("the dead letter has headers %v", h)
	}
	empty(t, env.JS, events.StreamParsed)
}

func TestABatchLosesOnlyItsBadItem(t *testing.T) {
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), quick())
	dead := collect(t, env.Conn, events.SubjectDeadPrefix+">")
	var handled atomic.Int64
	natstest.Run(t, env, stage.Stage{
		Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 2, Batch: stage.Batch{Items: 16, Wait: 20 * time.Millisecond},
		HandleBatch: func(_ context.Context, batch []*stage.Message) {
			for _, m := range batch {
				switch string(m.Data) {
				case "13":
					m.Fail(fault.Invalid("unlucky", "thirteen"))
				case "17":
					panic("seventeen")
				default:
					handled.Add(1)
				}
			}
		},
	})
	for i := range 40 {
		publish(t, env.JS, events.SubjectParsed, fmt.Sprint(i), fmt.Sprint(i))
	}
	empty(t, env.JS, events.StreamParsed)
	natstest.Eventually(t, 5*time.Second, "dead letters", func() bool { return len(dead()) == 2 })
	if handled.Load() < 38 {
		t.Errorf("%d good items handled, want 38", handled.Load())
	}
}

func TestAFullDownstreamIsBackpressure(t *testing.T) {
	topology := broker.DefaultTopology()
	topology.Extra = []broker.Stream{broker.Queue("SMALL", "small")}
	env := natstest.Env(t, natstest.Start(t, topology), quick())
	s, err := env.JS.Stream(t.Context(), "SMALL")
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.MaxMsgs = 3
	if _, err := env.JS.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	dead := collect(t, env.Conn, events.SubjectDeadPrefix+">")
	natstest.Run(t, env, stage.Stage{
		Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 2,
		Handle: func(_ context.Context, m *stage.Message) error {
			m.Publish("small", "x/1", string(m.Data), m.Data)
			return nil
		},
	})
	for i := range 200 {
		publish(t, env.JS, events.SubjectParsed, fmt.Sprint(i), fmt.Sprint(i))
	}
	natstest.Eventually(t, 10*time.Second, "SMALL is full and says so", func() bool {
		st := env.Health.Stages()
		return len(st) == 1 && strings.Contains(st[0].Held(), "small")
	})
	cons, err := env.JS.CreateConsumer(t.Context(), "SMALL", jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	natstest.Eventually(t, 60*time.Second, "all 200 passed", func() bool {
		b, err := cons.Fetch(50, jetstream.FetchMaxWait(200*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		for m := range b.Messages() {
			seen[string(m.Data())]++
			if err := m.DoubleAck(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		return len(seen) == 200
	})
	empty(t, env.JS, events.StreamParsed)
	for k, n := range seen {
		if n != 1 {
			t.Errorf("%s passed %d times", k, n)
		}
	}
	if len(dead()) != 0 {
		t.Error("backpressure made dead letters")
	}
}

func TestDrainFinishesWhatIsInHand(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	env := natstest.Env(t, url, quick())
	begun, finish := make(chan struct{}, 100), make(chan struct{})
	var done atomic.Int64
	st := stage.Stage{
		Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 1,
		Handle: func(ctx context.Context, _ *stage.Message) error {
			begun <- struct{}{}
			select {
			case <-finish:
				done.Add(1)
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	}
	stop := natstest.Run(t, env, st)
	for i := range 10 {
		publish(t, env.JS, events.SubjectParsed, fmt.Sprint(i), fmt.Sprint(i))
	}
	<-begun
	time.AfterFunc(100*time.Millisecond, func() { close(finish) })
	stop()
	if n := done.Load(); n != 1 {
		t.Errorf("%d handled while draining, want the one in hand", n)
	}
	// The others went back at once, not after ack-wait, and burned nothing.
	env2 := natstest.Env(t, url, quick())
	natstest.Run(t, env2, st)
	empty(t, env2.JS, events.StreamParsed)
	if n := done.Load(); n != 10 {
		t.Errorf("%d handled, want 10, each once", n)
	}
}

func TestAMessageThatNeverSurvivesIsACrashLoop(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	s := quick()
	s.AckWait, s.Grace = time.Second, 0
	dead := collect(t, natstest.Connect(t, url), events.SubjectDeadPrefix+">")
	env := natstest.Env(t, url, s)
	publish(t, env.JS, events.SubjectParsed, "killer", "killer")
	for i := range 5 {
		publish(t, env.JS, events.SubjectParsed, fmt.Sprint(i), "innocent")
	}
	var innocents atomic.Int64
	crashes := 0
	for ; crashes < 10 && len(dead()) == 0; crashes++ {
		// A process that dies keeps nothing: the connection is cut with the
		// handler still in the message, and nothing is acknowledged or returned.
		env := natstest.Env(t, url, s)
		ctx, cancel := context.WithCancel(context.Background())
		hit, over := make(chan struct{}), make(chan struct{})
		var once sync.Once
		go func() {
			defer close(over)
			_ = stage.Run(ctx, env, stage.Stage{
				Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 4,
				Handle: func(_ context.Context, m *stage.Message) error {
					if string(m.Data) == "killer" {
						once.Do(func() { env.Conn.Close(); close(hit) })
						return nil
					}
					innocents.Add(1)
					return nil
				},
			})
		}()
		natstest.Eventually(t, 20*time.Second, "a crash or a dead letter", func() bool {
			select {
			case <-hit:
				return true
			default:
				return len(dead()) > 0
			}
		})
		cancel()
		<-over
	}
	d := dead()
	if len(d) != 1 || d[0].Header.Get(events.HeaderFailureReason) != "crash-loop" || string(d[0].Data) != "killer" {
		for _, m := range d {
			t.Logf("%q %v", m.Data, m.Header)
		}
		t.Fatalf("%d dead letters after %d crashes", len(d), crashes)
	}
	if innocents.Load() < 5 {
		t.Errorf("%d innocents handled, want all 5", innocents.Load())
	}
}

func TestLargeBodiesTravelByReference(t *testing.T) {
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), quick())
	big := strings.Repeat("0123456789abcdef", 200_000) // 3.2 MB
	var got atomic.Int64
	natstest.Run(t, env,
		stage.Stage{
			Declaration: stage.Declaration{Name: "maker", In: stage.Route{Stream: events.StreamDocuments}}, Workers: 1,
			Identify: func(m *stage.Message) { m.Document, m.Revision = doc, events.Revision(m.Seq) },
			Handle: func(_ context.Context, m *stage.Message) error {
				m.Publish(events.SubjectParsed, events.TypeParsed, "", []byte(big))
				return nil
			},
		},
		stage.Stage{
			Declaration: stage.Declaration{Name: "reader", In: stage.Route{Stream: events.StreamParsed}}, Workers: 1,
			Handle: func(_ context.Context, m *stage.Message) error {
				if string(m.Data) != big {
					return fault.Invalid("differs", "%d bytes came", len(m.Data))
				}
				got.Add(1)
				return nil
			},
		})
	publish(t, env.JS, "docs.submit.x", "1", "go")
	natstest.Eventually(t, 10*time.Second, "the body arrived", func() bool { return got.Load() == 1 })
	empty(t, env.JS, events.StreamParsed)
	noBodies(t, env.JS, 5*time.Second)
}

// One tenant out of money must not hold up another: hundreds of parked
// messages leave the way free.
func TestParkedMessagesDoNotBlockFreshOnes(t *testing.T) {
	s := quick()
	s.RetryDelay, s.RetryCap = time.Hour, time.Hour
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), s)
	var parked, fresh atomic.Int64
	natstest.Run(t, env, stage.Stage{
		Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 2,
		Handle: func(_ context.Context, m *stage.Message) error {
			if string(m.Data) == "poor" {
				parked.Add(1)
				return fault.New(fault.CostLimit, "budget", "budget tenant.poor/day").WaitFor("budget:tenant.poor")
			}
			fresh.Add(1)
			return nil
		},
	})
	for i := range 500 {
		publish(t, env.JS, events.SubjectParsed, fmt.Sprint("poor", i), "poor")
	}
	natstest.Eventually(t, 20*time.Second, "all parked", func() bool { return parked.Load() == 500 })
	for i := range 100 {
		publish(t, env.JS, events.SubjectParsed, fmt.Sprint("rich", i), "rich")
	}
	natstest.Eventually(t, 10*time.Second, "the fresh ones pass", func() bool { return fresh.Load() == 100 })
	if n := parked.Load(); n != 500 {
		t.Errorf("%d attempts of parked messages, want 500: their delay has not passed", n)
	}
}

// What the runtime says of itself is there before any trouble.
func TestWhatIsSeen(t *testing.T) {
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), quick())
	release := make(chan struct{})
	natstest.Run(t, env, stage.Stage{
		Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Fingerprint: "settings/1",
		Handle: func(context.Context, *stage.Message) error {
			select {
			case <-release:
				return nil
			default:
				return fault.New(fault.Halt, "invalid_api_key", "the key is refused")
			}
		},
	})
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		env.Handler().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code, w.Body.String()
	}
	natstest.Eventually(t, 5*time.Second, "ready", func() bool { code, _ := get("/readyz"); return code == 200 })
	publish(t, env.JS, events.SubjectParsed, "1", "x")
	natstest.Eventually(t, 5*time.Second, "unready and loud", func() bool {
		code, body := get("/readyz")
		_, metrics := get("/metrics")
		return code == 503 && strings.Contains(body, "the key is refused") && strings.Contains(metrics, `sluice_stage_waiting{kind="config",stage="worker"} 1`)
	})
	if code, _ := get("/healthz"); code != 200 {
		t.Errorf("/healthz is %d: a restart would not mend a key", code)
	}
	reply, err := env.Conn.Request("$SRV.STATS.worker", nil, 5*time.Second)
	if err != nil || !strings.Contains(string(reply.Data), `"worker"`) {
		t.Errorf("micro: %v %s", err, reply.Data)
	}
	kv, err := env.JS.KeyValue(t.Context(), events.BucketPipeline)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := kv.Get(t.Context(), "worker"); err != nil || string(e.Value()) != "settings/1" {
		t.Errorf("fingerprint: %v", err)
	}
	close(release)
	empty(t, env.JS, events.StreamParsed)
	natstest.Eventually(t, 5*time.Second, "ready again", func() bool { code, _ := get("/readyz"); return code == 200 })
	if _, metrics := get("/metrics"); !strings.Contains(metrics, `sluice_stage_messages_total{outcome="done",stage="worker"} 1`) {
		t.Error("the message done is not counted")
	}
}

// TestAStreamThatIsMadeAgainWhileAMessageWaits has a message of the new stream with the
// sequence of one that waits. Before, it was taken for that one, come again.
func TestAStreamThatIsMadeAgainWhileAMessageWaits(t *testing.T) {
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), quick())
	parsed, err := env.JS.Stream(t.Context(), events.StreamParsed)
	if err != nil {
		t.Fatal(err)
	}
	handled := make(chan string, 16)
	natstest.Run(t, env, stage.Stage{
		Declaration: stage.Declaration{Name: "picky", In: stage.Route{Stream: events.StreamParsed, Subject: events.SubjectParsed}}, Workers: 1,
		Handle: func(_ context.Context, m *stage.Message) error {
			handled <- string(m.Data)
			if string(m.Data) == "old" {
				return fault.New(fault.Unavailable, "waits", "it waits").After(time.Hour).WaitFor(fault.On(fault.WaitClaim, "old"))
			}
			return nil
		},
	})
	for _, text := range []string{"old", "new"} {
		publish(t, env.JS, events.SubjectParsed, text, text)
		select {
		case got := <-handled:
			if got != text {
				t.Fatalf("%q was handled, want %q", got, text)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%q is not handled", text)
		}
		if text == "old" {
			if err := env.JS.DeleteStream(t.Context(), events.StreamParsed); err != nil {
				t.Fatal(err)
			}
			if _, err := env.JS.CreateStream(t.Context(), parsed.CachedInfo().Config); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestAStreamThatIsMadeAgain has messages with equal sequences, of a stream that was
// deleted and made again. Before, the second dead letter was taken for the first one,
// and its message was ended all the same.
func TestAStreamThatIsMadeAgain(t *testing.T) {
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), quick())
	parsed, err := env.JS.Stream(t.Context(), events.StreamParsed)
	if err != nil {
		t.Fatal(err)
	}
	natstest.Run(t, env, stage.Stage{
		Declaration: stage.Declaration{Name: "picky", In: stage.Route{Stream: events.StreamParsed, Subject: events.SubjectParsed}}, Workers: 1,
		Handle: func(context.Context, *stage.Message) error { return fault.Invalid("picky", "it takes nothing") },
	})
	for n := range uint64(2) {
		publish(t, env.JS, events.SubjectParsed, fmt.Sprint(n), "text")
		empty(t, env.JS, events.StreamParsed)
		s, err := env.JS.Stream(t.Context(), events.StreamDeadLetter)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.CachedInfo().State.Msgs; got != n+1 {
			t.Fatalf("%d dead letters, want %d", got, n+1)
		}
		if err := env.JS.DeleteStream(t.Context(), events.StreamParsed); err != nil {
			t.Fatal(err)
		}
		if _, err := env.JS.CreateStream(t.Context(), parsed.CachedInfo().Config); err != nil {
			t.Fatal(err)
		}
	}
}

// TestHeadersThatNoServerTakes has a stage publish what NATS never takes. Before, the
// message waited for the stream for ever, and the whole stage with it.
func TestHeadersThatNoServerTakes(t *testing.T) {
	topology := broker.DefaultTopology()
	topology.Extra = []broker.Stream{broker.Queue("TRANSLATED", "docs.translated")}
	env := natstest.Env(t, natstest.Start(t, topology), quick())
	natstest.Run(t, env, stage.Stage{
		Declaration: stage.Declaration{Name: "wordy", In: stage.Route{Stream: events.StreamParsed, Subject: events.SubjectParsed}}, Workers: 1,
		Handle: func(_ context.Context, m *stage.Message) error {
			m.Name = strings.Repeat("\xfc", 30_000)
			m.Publish("docs.translated", events.TypeParsed, "", m.Data)
			return nil
		},
	})
	publish(t, env.JS, events.SubjectParsed, "1", "text")
	natstest.Eventually(t, 10*time.Second, "it is a dead letter", func() bool {
		s, err := env.JS.Stream(t.Context(), events.StreamDeadLetter)
		return err == nil && s.CachedInfo().State.Msgs == 1
	})
}

// A stream that is restored from a backup, or made again, has sequences again. What is
// known of the message that had one before is nothing of the one that has it now.
func TestASequenceThatComesAgain(t *testing.T) {
	s := quick()
	s.MaxRetries, s.Grace = 2, 50*time.Millisecond
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), s)
	dead := collect(t, env.Conn, events.SubjectDeadPrefix+">")
	run := func(handle func(context.Context, *stage.Message) error) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- stage.Run(ctx, env, stage.Stage{
				Declaration: stage.Declaration{Name: "again", In: stage.Route{Stream: events.StreamParsed, Subject: events.SubjectParsed}}, Workers: 1, Handle: handle,
			})
		}()
		return func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	var calls atomic.Int32
	stop := run(func(_ context.Context, m *stage.Message) error {
		calls.Add(1)
		if m.Attempt == s.MaxRetries { // it has used its retries up
			return fault.New(fault.Halt, "off", "it waits").WaitFor(fault.WaitConfig)
		}
		return fault.New(fault.Unavailable, "away", "not now")
	})
	publish(t, env.JS, events.SubjectParsed, "a", "a")
	natstest.Eventually(t, time.Minute, "it waits", func() bool { return calls.Load() > int32(s.MaxRetries) })
	stop()

	old, err := env.JS.Stream(t.Context(), events.StreamParsed)
	if err != nil {
		t.Fatal(err)
	}
	if err := env.JS.DeleteStream(t.Context(), events.StreamParsed); err != nil {
		t.Fatal(err)
	}
	if _, err := env.JS.CreateStream(t.Context(), old.CachedInfo().Config); err != nil {
		t.Fatal(err)
	}
	publish(t, env.JS, events.SubjectParsed, "b", "b")
	begun := make(chan struct{}, 1)
	stop = run(func(ctx context.Context, m *stage.Message) error {
		if m.Seq != 1 {
			t.Errorf("the sequence is %d", m.Seq)
		}
		begun <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	<-begun
	stop() // so that it is delivered again, when it is asked what is known of it
	calls.Store(0)
	defer run(func(_ context.Context, m *stage.Message) error {
		if calls.Add(1) == 1 {
			return fault.New(fault.Unavailable, "away", "not now")
		}
		return nil
	})()
	empty(t, env.JS, events.StreamParsed)
	if n, letters := calls.Load(), dead(); n != 2 || len(letters) != 0 {
		t.Errorf("%d calls and %d dead letters of a message that failed once", n, len(letters))
	}
}
