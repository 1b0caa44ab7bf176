package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/events"
	fake "sluice/pkg/fake/openai"
)

// several submits n documents of one chunk each. Their texts are known by a word,
// and are the same whatever the documents are called.
func (w *world) several(n int, name, word string) (subs []submission) {
	w.t.Helper()
	for i := range n {
		subs = append(subs, w.submit(fmt.Sprintf("%s-%d.md", name, i), fmt.Appendf(nil, "The %s text %d.", word, i)))
	}
	return subs
}

// complete waits until all are, with one chunk each.
func (w *world) complete(subs ...submission) {
	w.t.Helper()
	for _, d := range w.settle(time.Minute, subs...) {
		if d.State != events.StateComplete || d.Chunks != 1 {
			w.t.Errorf("%+v", d)
		}
	}
}

// replica starts another replica of a stage, like the first.
func (w *world) replica(name string) {
	w.t.Helper()
	all := w.stage[name]
	w.stage[name] = append(all, spawn(w.t, w.dir, name, fmt.Sprintf("%s-%d", name, len(all)+1), all[0].args...))
}

// meterOf waits until the provider's meter says so, and returns it.
func (w *world) meterOf(provider *fake.Server, what string, ok func(fake.Meter) bool) fake.Meter {
	w.t.Helper()
	w.eventually(time.Minute, what, func() error {
		if m := provider.Meter(); !ok(m) {
			return fmt.Errorf("%+v", m)
		}
		return nil
	})
	return provider.Meter()
}

// paid fails the test unless ledger and meter agree once nothing is under way.
func (w *world) paid(provider *fake.Server) {
	w.t.Helper()
	w.eventually(time.Minute, "the ledger is the meter", func() error {
		m := provider.Meter()
		settled, reserved := w.ledger()
		if settled.Nano != m.Nano || !reserved.IsZero() {
			return fmt.Errorf("settled %+v, out %+v, meter %+v", settled, reserved, m.Charge)
		}
		return nil
	})
}

// unheld fails the test if a document has waited for anything but what the reason
// says.
func (w *world) unheld(but string, subs ...submission) {
	w.t.Helper()
	for _, s := range subs {
		for _, e := range w.story(s.Document) {
			if e.What == events.Held && (e.Failure == nil || e.Failure.Reason != but) {
				w.t.Errorf("%s was held: %+v", s.Name, e.Failure)
			}
		}
	}
}

// The server is away for longer than clocks may differ while nobody asks anything:
// dead, or alive and silent. What is bought before and after it is bought at once,
// by processes whose clocks nobody doubts, and the ledger is the meter.
func TestTheServerIsAwayWhileAllIsIdle(t *testing.T) {
	t.Parallel()
	const chunks = 30
	// Longer than the skew that costd allows, and what a request may lie about for.
	const away = 22 * time.Second
	for _, how := range []string{"dead", "silent"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			provider := newProvider(t, 1)
			w := paying(t, provider, nil)
			w.complete(w.several(chunks, "before", "before")...)
			w.paid(provider) // and the idle lease is given back
			switch how {
			case "dead":
				w.server.kill()
			case "silent":
				w.server.signal(t, syscall.SIGSTOP)
			}
			time.Sleep(away) // nothing happens: that is the test
			switch how {
			case "dead":
				if err := w.server.start(); err != nil {
					t.Fatal(err)
				}
			case "silent":
				w.server.signal(t, syscall.SIGCONT)
			}
			after := w.several(chunks, "after", "after")
			w.complete(after...)
			// Whoever is back before costd waits for it; that ends when costd is back.
			w.unheld("budget-unknown", after...)
			if m := provider.Meter(); m.Inputs != 2*chunks {
				t.Errorf("%d inputs were bought, want each of %d once", m.Inputs, 2*chunks)
			}
			w.paid(provider)
			for _, p := range append(w.processes(), w.stage["costd"]...) {
				log, err := os.ReadFile(p.log)
				if err != nil {
					t.Fatal(err)
				}
				for line := range bytes.Lines(log) {
					if bytes.Contains(line, []byte("clock is off")) {
						t.Errorf("%s: %s", p.name, line)
					}
				}
			}
			w.noDeadLetters()
		})
	}
}

// Chunks come several times: an acknowledgement was lost, or they are in CHUNKS and
// in HELD. They are bought once, by one embedder and by two, though every call takes
// longer than an owner of claims may be silent, and a delivery without a sign of life.
func TestDoubledMessagesAreBoughtOnce(t *testing.T) {
	t.Parallel()
	for _, replicas := range []int{1, 2} {
		t.Run(fmt.Sprint(replicas), func(t *testing.T) {
			t.Parallel()
			const chunks, copies = 60, 3
			provider := newProvider(t, 1)
			provider.Script(fake.Rule{Delay: fake.Duration(7 * time.Second)})
			w := paying(t, provider, map[string]int{"embedder": replicas}, "--embedding-timeout", "5m", "--embedder-workers", "4", "--embedder-batch", "20")
			for _, p := range w.stage["embedder"] {
				p.kill()
			}
			subs := w.several(chunks, "doubled", "doubled")
			var all []*jetstream.RawStreamMsg
			w.eventually(time.Minute, "all is chunked", func() error {
				if all = w.messages(events.StreamChunks, ">"); len(all) < chunks {
					return fmt.Errorf("%d of %d", len(all), chunks)
				}
				return nil
			})
			for range copies - 1 {
				for _, m := range all {
					double := nats.NewMsg(m.Subject)
					double.Data = m.Data
					for k, v := range m.Header {
						if k != events.HeaderMsgID { // to NATS it is another message
							double.Header[k] = v
						}
					}
					w.publish(double)
				}
			}
			if n := len(w.messages(events.StreamChunks, ">")); n != copies*chunks {
				t.Fatalf("%d messages, want %d", n, copies*chunks)
			}
			for _, p := range w.stage["embedder"] {
				if err := p.start(); err != nil {
					t.Fatal(err)
				}
			}
			w.complete(subs...)
			w.drained(2 * time.Minute)
			w.eventually(time.Minute, "nothing is set aside any more", func() error {
				if n := len(w.messages(events.StreamHeld, ">")); n > 0 {
					return fmt.Errorf("%d messages", n)
				}
				return nil
			})
			if m := provider.Meter(); m.Inputs != chunks {
				t.Errorf("%d inputs were bought, want each of %d once", m.Inputs, chunks)
			}
			w.paid(provider)
			w.noDeadLetters()
		})
	}
}

// An embedder is killed while the provider has its call. Another one works on
// fresh chunks meanwhile, takes over what the dead one was buying, and pays for
// each text once.
func TestTheOwnerOfClaimsIsKilled(t *testing.T) {
	t.Parallel()
	const stalled, fresh = 40, 100
	provider := newProvider(t, 1)
	// Workers for as many calls as the chunks may come in.
	args := []string{"--embedding-timeout", "5m", "--embedder-workers", "16"}
	w := paying(t, provider, map[string]int{"embedder": 1}, args...)
	provider.Script(fake.Rule{Contains: "stalled", Fault: fake.Stall})
	first := w.several(stalled, "first", "stalled")
	w.meterOf(provider, "all calls hang", func(m fake.Meter) bool { return m.Inputs == stalled })

	// The same texts are wanted elsewhere, too, and there is another embedder.
	owner := w.stage["embedder"][0]
	w.replica("embedder")
	again := w.several(stalled, "again", "stalled")
	w.eventually(time.Minute, "the same texts wait for their claims", func() error {
		for _, s := range again {
			if d, err := w.document(s.Document); err != nil || d == nil || d.Held == "" {
				return fmt.Errorf("%+v, %v", d, err)
			}
		}
		return nil
	})
	provider.Clear()
	owner.kill()
	other := w.several(fresh, "fresh", "fresh")
	w.complete(other...)
	w.unheld("", other...)
	w.complete(append(first, again...)...)
	// The provider has charged for what nobody heard, and then for each text once.
	if m := provider.Meter(); m.Inputs != stalled+stalled+fresh {
		t.Errorf("%d inputs were bought: %d before the kill, want %d more", m.Inputs, stalled, stalled+fresh)
	}
	settled, reserved := w.ledger()
	if m := provider.Meter(); settled.Plus(reserved).Nano < m.Nano {
		t.Errorf("the ledger has %d n$, the meter %d", settled.Plus(reserved).Nano, m.Nano)
	}
	w.drained(time.Minute)
	w.noDeadLetters()
}

// A call, its refusal, the pause that the refusal asks for and the next call take
// several times as long as a dead owner may be silent. The owner lives: nobody else
// buys its texts.
func TestALiveOwnerTakesLong(t *testing.T) {
	t.Parallel()
	const chunks, copies = 20, 8
	provider := newProvider(t, 1)
	w := paying(t, provider, map[string]int{"embedder": 1}, "--embedding-timeout", "5m")
	asked := atomic.Int64{}
	if _, err := w.nc.Subscribe("sluice.owner.*", func(*nats.Msg) { asked.Add(1) }); err != nil {
		t.Fatal(err)
	}
	provider.Script(
		fake.Rule{Times: 1, Status: http.StatusTooManyRequests, Type: "requests", Code: "rate_limit_exceeded", Header: map[string]string{"Retry-After-Ms": "4000"}},
		fake.Rule{Contains: "slow", Delay: fake.Duration(8 * time.Second)},
	)
	subs := w.several(chunks, "first", "slow")
	w.meterOf(provider, "the first call is under way", func(m fake.Meter) bool { return m.Attempts > 0 })
	w.replica("embedder")
	for i := range copies {
		subs = append(subs, w.several(chunks, fmt.Sprintf("copy-%d", i), "slow")...)
	}
	w.complete(subs...)
	if m := provider.Meter(); m.Inputs != chunks || m.Refused[http.StatusTooManyRequests] != 1 {
		t.Errorf("%d inputs were bought, want each of %d once; refused: %v", m.Inputs, chunks, m.Refused)
	}
	if n := asked.Load(); n == 0 {
		t.Error("no process has asked another one for its claims")
	} else {
		t.Logf("owners of claims were asked %d times", n)
	}
	w.paid(provider)
	w.noDeadLetters()
}
