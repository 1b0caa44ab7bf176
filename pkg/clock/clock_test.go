package clock_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"sluice/pkg/broker"
	"sluice/pkg/clock"
	"sluice/pkg/events"
	"sluice/pkg/natstest"
)

func watch(t *testing.T, js jetstream.JetStream) *clock.Clock {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	c, err := clock.Watch(ctx, js, zerolog.New(zerolog.NewTestWriter(t)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func pipeline(t *testing.T) (jetstream.JetStream, jetstream.KeyValue) {
	t.Helper()
	js, err := jetstream.New(natstest.Connect(t, natstest.Start(t, broker.DefaultTopology())))
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), events.BucketPipeline)
	if err != nil {
		t.Fatal(err)
	}
	return js, kv
}

// keep reads a message as a parser does.
func keep(t *testing.T, c *clock.Clock, document string, sequence uint64, at time.Time) uint64 {
	t.Helper()
	c.Read(document, sequence, at, false)
	got, err := c.Keep(t.Context(), sequence, at)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestReplicasReadTheSameClocks(t *testing.T) {
	js, kv := pipeline(t)
	a, b := watch(t, js), watch(t, js)
	s, err := js.Stream(t.Context(), events.StreamDocuments)
	if err != nil {
		t.Fatal(err)
	}
	first := s.CachedInfo().State.LastSeq + 1
	now := time.Now()
	future := keep(t, a, "x", first, now.Add(time.Hour))
	if !clock.Time(future).Equal(now.Add(time.Hour).UTC().Truncate(time.Microsecond)) {
		t.Errorf("the clock is %v", clock.Time(future))
	}
	next := first
	natstest.Eventually(t, 10*time.Second, "b hears of it", func() bool {
		next++
		return keep(t, b, "x", next, now) > future
	})
	later := keep(t, b, "x", next, now)
	natstest.Eventually(t, 10*time.Second, "a reads what b has written", func() bool {
		return keep(t, a, "x", next, now) == later
	})
	for range next - first + 1 { // or the stream would look like one that was restored
		if _, err := js.Publish(t.Context(), events.SubjectSubmit, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if c := watch(t, js); keep(t, c, "x", next, now) != later || keep(t, c, "x", first, now.Add(time.Hour)) != future {
		t.Error("a third replica reads other clocks")
	}
	m, err := clock.Load(t.Context(), kv)
	if err != nil || len(m.Steps) != 1 {
		t.Errorf("the mark is %+v, %v", m, err)
	}
}

// TestManyWritersOfTheMark has replicas write the mark at the same time, and one of
// them meet a clock that ran backwards now and then.
func TestManyWritersOfTheMark(t *testing.T) {
	js, kv := pipeline(t)
	s, err := js.Stream(t.Context(), events.StreamDocuments)
	if err != nil {
		t.Fatal(err)
	}
	now, first := time.Now(), s.CachedInfo().State.LastSeq+1
	const replicas = 4
	var clocks [replicas]*clock.Clock
	var last [replicas]uint64
	for i := range clocks {
		clocks[i] = watch(t, js)
	}
	for n := range uint64(20) {
		var wg sync.WaitGroup
		for i, c := range clocks {
			at := now.Add(time.Duration(n) * time.Minute)
			if n%5 == 4 {
				if at = now; i != 0 {
					continue
				}
			}
			wg.Go(func() {
				sequence, document := first+n*replicas+uint64(i), string(rune('a'+i))
				c.Read(document, sequence, at, false)
				got, err := c.Keep(t.Context(), sequence, at)
				if err != nil || got <= last[i] {
					t.Errorf("replica %d: message %d has the clock %d after %d: %v", i, n, got, last[i], err)
				}
				last[i] = got
			})
		}
		wg.Wait()
	}
	if m, err := clock.Load(t.Context(), kv); err != nil || len(m.Steps) == 0 || m.Clock < uint64(now.UnixMicro()) {
		t.Errorf("the mark is %+v, %v", m, err)
	}
}

// TestAnIndexFromTheFuture raises the mark above what an index holds.
func TestAnIndexFromTheFuture(t *testing.T) {
	js, kv := pipeline(t)
	c := watch(t, js)
	s, err := js.Stream(t.Context(), events.StreamDocuments)
	if err != nil {
		t.Fatal(err)
	}
	last := s.CachedInfo().State.LastSeq
	now := time.Now()
	held := uint64(now.Add(24 * time.Hour).UnixMicro())
	if err := clock.Raise(t.Context(), kv, last, held); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, 10*time.Second, "submissions are newer than the index", func() bool {
		last++
		return keep(t, c, "a", last, now) > held
	})
	before, err := clock.Load(t.Context(), kv)
	if err != nil {
		t.Fatal(err)
	}
	if err := clock.Raise(t.Context(), kv, last, held); err != nil {
		t.Fatal(err)
	}
	if after, err := clock.Load(t.Context(), kv); err != nil || after.Sequence != before.Sequence || after.Clock != before.Clock {
		t.Errorf("raising again changes %+v to %+v, %v", before, after, err)
	}
}

// TestAStreamThatIsRestoredUnderRunningParsers restores a backup of DOCUMENTS while
// two processes read, after clocks that are ahead of the server's were used. What is
// submitted then is newer than all of them, in both processes, and in one that comes
// later. What was in the backup keeps its clock.
func TestAStreamThatIsRestoredUnderRunningParsers(t *testing.T) {
	for name, more := range map[string]int{"it ends earlier": 0, "it has grown since": 20} {
		t.Run(name, func(t *testing.T) {
			js, _ := pipeline(t)
			a, b := watch(t, js), watch(t, js)
			var now time.Time
			submit := func() uint64 {
				t.Helper()
				ack, err := js.Publish(t.Context(), events.SubjectSubmit, []byte("x"))
				if err != nil {
					t.Fatal(err)
				}
				s, err := js.Stream(t.Context(), events.StreamDocuments)
				if err != nil {
					t.Fatal(err)
				}
				m, err := s.GetMsg(t.Context(), ack.Sequence)
				if err != nil {
					t.Fatal(err)
				}
				now = m.Time
				return ack.Sequence
			}
			first := func(c *clock.Clock, sequence uint64, at time.Time) uint64 {
				t.Helper()
				c.Read("x", sequence, at, true)
				got, err := c.Keep(t.Context(), sequence, at)
				if err != nil {
					t.Fatal(err)
				}
				return got
			}
			kept := submit()
			was := first(a, kept, now)
			backup, stored := natstest.TakeBackup(t, js.Conn(), events.StreamDocuments), now
			used := uint64(0)
			for range 10 { // with times of a server whose clock is an hour ahead
				used = first(a, submit(), now.Add(time.Hour))
			}
			natstest.Eventually(t, 10*time.Second, "b knows of them", func() bool { return first(b, submit(), now) > used })
			used = first(b, submit(), now)
			if err := js.DeleteStream(t.Context(), events.StreamDocuments); err != nil {
				t.Fatal(err)
			}
			backup.Restore(t, js.Conn(), events.StreamDocuments)
			if got := keep(t, a, "x", kept, stored); got != was {
				t.Errorf("what was in the backup has the clock %d, it had %d", got, was)
			}
			next := submit()
			at := now
			for range more {
				submit()
			}
			c := first(a, next, at)
			if c <= used {
				t.Errorf("the clock of what was submitted after the restore is %d, not above %d", c, used)
			}
			natstest.Eventually(t, 10*time.Second, "b reads it, too", func() bool { return keep(t, b, "x", next, at) == c })
			later := submit()
			if got := first(b, later, now); got <= c {
				t.Errorf("the clock of a later submission is %d, not above %d", got, c)
			}
			if got := keep(t, watch(t, js), "x", next, at); got != c {
				t.Errorf("a process that starts later reads %d, not %d", got, c)
			}
			if got := keep(t, a, "x", kept, stored); got != was {
				t.Errorf("what was in the backup has the clock %d, it had %d", got, was)
			}
		})
	}
}
