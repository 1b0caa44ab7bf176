package stage_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/natstest"
	"sluice/pkg/stage"
)

// weigh takes a message's body for its weight.
func weigh(m *stage.Message) int {
	n, err := strconv.Atoi(string(m.Data))
	if err != nil {
		panic(err)
	}
	return n
}

// A message that cannot be weighed fails alone when its turn comes, and does not
// take the process along.
func TestAPanicWhileWeighingIsOneMessagesDoing(t *testing.T) {
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), stage.DefaultSettings())
	var handled atomic.Int64
	natstest.Run(t, env, stage.Stage{
		Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 2,
		Batch: stage.Batch{Items: 16, Weight: 9, Weigh: weigh, Wait: time.Millisecond},
		HandleBatch: func(_ context.Context, batch []*stage.Message) {
			for _, m := range batch {
				weigh(m)
			}
			handled.Add(int64(len(batch)))
		},
	})
	publish(t, env.JS, events.SubjectParsed, "odd", "much")
	publish(t, env.JS, events.SubjectParsed, "good", "3")
	empty(t, env.JS, events.StreamParsed)
	s, err := env.JS.Stream(t.Context(), events.StreamDeadLetter)
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.Msgs; n != 1 || handled.Load() != 1 {
		t.Errorf("%d dead letters, %d messages handled; want one of each", n, handled.Load())
	}
}

// Whatever the number of workers, batches are as few as they can be.
func TestBatchesAreFilledByWeight(t *testing.T) {
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), stage.DefaultSettings())
	var mu sync.Mutex
	var batches []int
	heavy := 0
	natstest.Run(t, env, stage.Stage{
		Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 4,
		// Nothing here waits: a batch is complete without a remainder.
		Batch: stage.Batch{Items: 16, Weight: 9, Weigh: weigh, Wait: time.Minute, Quiet: time.Minute},
		HandleBatch: func(_ context.Context, batch []*stage.Message) {
			mu.Lock()
			defer mu.Unlock()
			weight := 0
			for _, m := range batch {
				weight += weigh(m)
			}
			if weight > 9 && len(batch) == 1 {
				heavy++
				return
			}
			batches = append(batches, weight)
		},
	})
	for i := range 99 {
		publish(t, env.JS, events.SubjectParsed, fmt.Sprint(i), "3")
	}
	publish(t, env.JS, events.SubjectParsed, "heavy", "20")
	empty(t, env.JS, events.StreamParsed)
	mu.Lock()
	defer mu.Unlock()
	if len(batches) != 33 || heavy != 1 {
		t.Errorf("%d batches of %v and %d heavy messages, want 33 of 9 and one", len(batches), batches, heavy)
	}
	for _, w := range batches {
		if w != 9 {
			t.Errorf("batches of %v, want 9 each", batches)
			break
		}
	}
}

// A batch goes when nothing more comes, long before it has waited its time, and
// when it has waited its time, though more comes.
func TestABatchDoesNotWaitForWhatDoesNotCome(t *testing.T) {
	for _, b := range []stage.Batch{
		{Items: 1000, Wait: time.Hour, Quiet: 50 * time.Millisecond},
		{Items: 1000, Wait: 100 * time.Millisecond, Quiet: time.Hour},
	} {
		env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), stage.DefaultSettings())
		natstest.Run(t, env, stage.Stage{
			Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 2, Batch: b,
			HandleBatch: func(context.Context, []*stage.Message) {},
		})
		for i := range 3 {
			publish(t, env.JS, events.SubjectParsed, fmt.Sprint(i), "x")
		}
		empty(t, env.JS, events.StreamParsed)
	}
}

// A replica that is busy takes no more in hand than it needs to stay so: the
// rest is for the others.
func TestAHeavyHandLeavesWorkToOthers(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	const messages, items = 400, 100
	begun, finish := make(chan struct{}), make(chan struct{})
	var once sync.Once
	of := func(handle func(int)) stage.Stage {
		return stage.Stage{
			Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 1,
			Batch:       stage.Batch{Items: items, Weight: 10, Weigh: weigh, Wait: 10 * time.Millisecond},
			HandleBatch: func(_ context.Context, batch []*stage.Message) { handle(len(batch)) },
		}
	}
	busy := natstest.Env(t, url, stage.DefaultSettings())
	natstest.Run(t, busy, of(func(int) {
		once.Do(func() { close(begun) })
		<-finish
	}))
	defer close(finish)
	publish(t, busy.JS, events.SubjectParsed, "first", "1")
	<-begun
	var done atomic.Int64
	natstest.Run(t, natstest.Env(t, url, stage.DefaultSettings()), of(func(n int) { done.Add(int64(n)) }))
	for i := range messages {
		publish(t, busy.JS, events.SubjectParsed, fmt.Sprint(i), "1")
	}
	// In the busy hand: two batches by weight, and what a pull brings beyond.
	natstest.Eventually(t, 10*time.Second, "the other replica does the rest", func() bool {
		return done.Load() >= messages-2*10-items
	})
}

// What is not finished leads the next batch, with what it has kept and what it weighs
// now. It is acknowledged when it is done, and not before.
func TestWhatIsNotFinishedGoesOn(t *testing.T) {
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), stage.DefaultSettings())
	var mu sync.Mutex
	var batches [][]string
	left := func(m *stage.Message) int {
		if n, begun := m.Value.(int); begun {
			return n
		}
		return weigh(m)
	}
	natstest.Run(t, env, stage.Stage{
		Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 1,
		Batch: stage.Batch{Items: 16, Weight: 10, Weigh: left, Wait: time.Minute, Quiet: time.Minute},
		// It does ten a batch.
		HandleBatch: func(_ context.Context, batch []*stage.Message) {
			mu.Lock()
			defer mu.Unlock()
			var names []string
			done := 0
			for _, m := range batch {
				n := left(m)
				names = append(names, fmt.Sprint(string(m.Data), ":", n))
				if done += n; done > 10 {
					m.Value = done - 10
					m.Again()
				}
			}
			batches = append(batches, names)
		},
	})
	for i, n := range []string{"3", "12", "3", "2", "10"} { // 30 in all
		publish(t, env.JS, events.SubjectParsed, fmt.Sprint(i), n)
	}
	empty(t, env.JS, events.StreamParsed)
	mu.Lock()
	defer mu.Unlock()
	if got, want := fmt.Sprint(batches), "[[3:3 12:12] [12:5 3:3 2:2] [10:10]]"; got != want {
		t.Errorf("batches %s, want %s", got, want)
	}
}

// A call that panics has said nothing: what a message is then told alone is all that
// counts.
func TestACallThatPanicsLeavesNothingUnfinished(t *testing.T) {
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), stage.DefaultSettings())
	var mu sync.Mutex
	alone := map[string]int{}
	natstest.Run(t, env, stage.Stage{
		Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 1,
		Batch: stage.Batch{Items: 2, Wait: time.Minute},
		HandleBatch: func(_ context.Context, batch []*stage.Message) {
			if len(batch) > 1 {
				batch[0].Again()
				panic("odd")
			}
			mu.Lock()
			defer mu.Unlock()
			alone[string(batch[0].Data)]++
		},
	})
	publish(t, env.JS, events.SubjectParsed, "a", "a")
	publish(t, env.JS, events.SubjectParsed, "b", "b")
	natstest.Eventually(t, 10*time.Second, "one message is done", func() bool { return stored(t, env.JS, events.StreamParsed) < 2 })
	publish(t, env.JS, events.SubjectParsed, "c", "c") // a batch with whatever went back
	publish(t, env.JS, events.SubjectParsed, "d", "d")
	empty(t, env.JS, events.StreamParsed)
	mu.Lock()
	defer mu.Unlock()
	for name, n := range alone {
		if n != 1 {
			t.Errorf("%s was handled %d times", name, n)
		}
	}
}

// What is not finished goes back, like all that is not begun, when the stage stops.
func TestWhatIsNotFinishedIsReturned(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	env := natstest.Env(t, url, stage.DefaultSettings())
	begun, finish := make(chan struct{}), make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	worker := stage.Stage{
		Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 1,
		Batch: stage.Batch{Items: 10, Weight: 7, Weigh: weigh, Wait: time.Hour},
		HandleBatch: func(_ context.Context, batch []*stage.Message) {
			close(begun)
			<-finish
			batch[1].Again()
		},
	}
	go func() { ended <- stage.Run(ctx, env, worker) }()
	publish(t, env.JS, events.SubjectParsed, "a", "3")
	publish(t, env.JS, events.SubjectParsed, "b", "4")
	<-begun
	stop()
	close(finish)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	worker.Batch = stage.Batch{Items: 1}
	worker.HandleBatch = func(_ context.Context, batch []*stage.Message) { got <- string(batch[0].Data) }
	natstest.Run(t, natstest.Env(t, url, stage.DefaultSettings()), worker)
	select {
	case body := <-got: // within AckWait: it was given back
		if body != "4" {
			t.Errorf("got %q again", body)
		}
	case <-time.After(15 * time.Second):
		t.Error("the message waits for its acknowledgement to time out")
	}
}

// A stage whose connection is closed for good says so instead of waiting.
func TestAClosedConnectionEndsTheStage(t *testing.T) {
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), stage.DefaultSettings())
	ended := make(chan error, 1)
	go func() {
		ended <- stage.Run(t.Context(), env, stage.Stage{
			Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 2,
			Handle: func(context.Context, *stage.Message) error { return nil },
		})
	}()
	natstest.Eventually(t, 10*time.Second, "it runs", func() bool {
		for _, s := range env.Health.Stages() {
			if s.Running {
				return true
			}
		}
		return false
	})
	env.Conn.Close()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("no error")
		}
	case <-time.After(15 * time.Second):
		t.Error("it waits for ever")
	}
}

// What is pulled is bounded by its bytes, too, whatever the number that a batch may
// hold.
func TestLargeMessagesArePulledInSmallNumbers(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	env := natstest.Env(t, url, stage.DefaultSettings())
	const messages, size = 240, 256 << 10
	for i := range messages {
		publish(t, env.JS, events.SubjectParsed, fmt.Sprint(i), strings.Repeat("x", size))
	}
	begun, finish := make(chan struct{}), make(chan struct{})
	var once sync.Once
	natstest.Run(t, env, stage.Stage{
		Declaration: stage.Declaration{Name: "worker", In: stage.Route{Stream: events.StreamParsed}}, Workers: 1,
		Batch:       stage.Batch{Items: 500, Weight: 4 * size, Weigh: func(m *stage.Message) int { return len(m.Data) }, Wait: 10 * time.Millisecond},
		HandleBatch: func(context.Context, []*stage.Message) { once.Do(func() { close(begun) }); <-finish },
	})
	<-begun
	consumer, err := env.JS.Consumer(t.Context(), events.StreamParsed, "worker")
	if err != nil {
		t.Fatal(err)
	}
	last, same := -1, 0
	natstest.Eventually(t, time.Minute, "nothing is pulled any more", func() bool {
		info, err := consumer.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info.NumAckPending == last {
			same++
		} else {
			last, same = info.NumAckPending, 0
		}
		return same > 200
	})
	if last > messages/2 {
		t.Errorf("%d of %d messages of %d bytes were taken", last, messages, size)
	}
	close(finish)
	empty(t, env.JS, events.StreamParsed)
}
