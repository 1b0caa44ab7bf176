package clock_test

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"sluice/pkg/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// message is what the server knows of a submission.
type message struct {
	document string
	sequence uint64
	time     time.Time
}

// TestClocksFollowSequences has a server whose clock jumps store submissions, and a
// parser that dies now and then read them, some of them again. A later submission
// of a document has to have a later clock, and the same message the same one.
func TestClocksFollowSequences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
		here := now // this machine's clock, which is right
		var stored clock.Mark
		reader := clock.NewReader(stored)
		var all []message
		used := map[uint64]uint64{}
		newest := map[string]message{}
		last, restarted := uint64(0), false
		read := func(m message) {
			c, _ := reader.Read(m.document, m.sequence, m.time)
			if due := reader.Due(c, here); due != nil {
				stored = *due
				stored.Steps = append([]clock.Step(nil), due.Steps...)
				reader.Stored(*due, here)
			}
			if was, ok := used[m.sequence]; ok && was != c {
				t.Fatalf("message %d had the clock %d, and has %d now: %+v", m.sequence, was, c, stored)
			}
			used[m.sequence] = c
			if before, ok := newest[m.document]; ok && before.sequence < m.sequence && used[before.sequence] >= c {
				t.Fatalf("document %s: message %d has the clock %d, and %d after it has %d",
					m.document, before.sequence, used[before.sequence], m.sequence, c)
			}
			if before, ok := newest[m.document]; !ok || before.sequence < m.sequence {
				newest[m.document] = m
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"submit", "submit", "submit", "jump", "again", "restart", "rest"}).Draw(t, "what") {
			case "submit":
				last++
				// The mark may lack the last second. A process that dies and a clock that
				// jumps by less than that are the one thing that is not made good.
				if c := stored.Of(last, now); restarted && c+1000 > stored.Clock && c <= stored.Until {
					now = clock.Time(stored.Until + 1)
				}
				restarted = false
				m := message{rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "document"), last, now}
				all = append(all, m)
				read(m)
				now = now.Add(time.Duration(rapid.IntRange(0, 3_000_000).Draw(t, "gap")) * time.Microsecond)
			case "jump":
				now = now.Add(time.Duration(rapid.Int64Range(-3_600_000_000, 3_600_000_000).Draw(t, "by")) * time.Microsecond)
			case "again":
				if len(all) > 0 {
					read(rapid.SampledFrom(all).Draw(t, "message"))
				}
			case "restart":
				reader, restarted = clock.NewReader(stored), true
			case "rest":
				here = here.Add(time.Duration(rapid.IntRange(0, 10_000).Draw(t, "ms")) * time.Millisecond)
			}
		}
		if len(stored.Steps) > 64 {
			t.Fatalf("%d steps are kept", len(stored.Steps))
		}
	})
}

func TestWithoutAJumpTheClockIsTheTime(t *testing.T) {
	r := clock.NewReader(clock.Mark{})
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	writes := 0
	for i := range 100_000 {
		at = at.Add(70 * time.Microsecond) // 14,000 a second for seven seconds
		c, step := r.Read(fmt.Sprint(i), uint64(i+1), at)
		if step != nil || !clock.Time(c).Equal(at) {
			t.Fatalf("message %d of %v has the clock %v, step %v", i, at, clock.Time(c), step)
		}
		if due := r.Due(c, at); due != nil {
			r.Stored(*due, at)
			writes++
		}
	}
	if writes > 9 {
		t.Errorf("the mark was written %d times in seven seconds", writes)
	}
	// A backlog of an hour that is read within a second is no reason to write either.
	writes = 0
	now := at.Add(time.Hour)
	for i := range 3600 {
		at = at.Add(time.Second)
		c, _ := r.Read("x", uint64(100_001+i), at)
		if due := r.Due(c, now); due != nil {
			r.Stored(*due, now)
			writes++
		}
	}
	if writes > 3 {
		t.Errorf("the mark was written %d times for a backlog", writes)
	}
}

// TestAStreamThatWasRestored goes on below the sequences of the mark, with a
// server whose clock is behind what was used.
func TestAStreamThatWasRestored(t *testing.T) {
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	r := clock.NewReader(clock.Mark{})
	c, _ := r.Read("a", 1000, at.Add(time.Hour)) // a clock from the future
	m := r.Due(c, at)
	if m == nil {
		t.Fatal("nothing is written before the first clock is used")
	}
	r = clock.NewReader(*m)
	r.Rewind(500)
	again, step := r.Read("a", 501, at)
	if again <= c || step == nil {
		t.Errorf("the clock of the later submission is %v, step %v", clock.Time(again), step)
	}
	due := r.Due(again, at)
	if due == nil || due.Of(501, at) != again || due.Of(502, at) != again+1 {
		t.Errorf("the mark is %+v", due)
	}
}
