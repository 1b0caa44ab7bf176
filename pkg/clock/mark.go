// Package clock tells how new a submission is: it turns what the NATS server
// knows of a message in DOCUMENTS into the clock of its revision.
//
// The clock of a submission is the time at which the server stored it, in
// microseconds since 1970. A stream that was restored, or made again, goes on
// from there, which its sequences do not. Servers do not keep the times of a
// stream in order, so where a later sequence has an earlier time, the clock goes
// on from above all that was used before. That is a Step. Steps are kept in the
// bucket "pipeline", with a mark above which no clock has been used yet, so that
// every replica reads the same clock from the same message, whenever it comes.
//
//	mark.go   the rule, without a server: Mark and Reader
//	clock.go  the mark in its bucket, shared by all replicas
package clock

import (
	"cmp"
	"slices"
	"time"
)

// slack is how far clocks may go beyond the latest one before the mark has to be
// written again, in microseconds. every is how often it is written at most, but
// for steps.
const (
	slack = 1_000_000
	every = time.Second
)

// tolerance is by how much a clock has to be behind before all that follows is
// stepped, in microseconds. Below it only submissions of one document are
// compared: servers store several messages within a microsecond.
const tolerance = 1_000

// Bounds of what is kept.
const (
	maxSteps = 64
	maxSeen  = 4096
)

// Step says that the server's clock ran backwards: the message with Sequence
// has the clock Floor, and each one after it a later one.
type Step struct {
	Sequence uint64    `json:"sequence"`
	Floor    uint64    `json:"floor"`
	Back     uint64    `json:"back"` // by how much, in microseconds
	Time     time.Time `json:"time"` // of the message, as the server said
}

// Mark is the value of the key.
type Mark struct {
	V        int    `json:"v"`
	Sequence uint64 `json:"sequence"` // the latest message when this was written
	Clock    uint64 `json:"clock"`    // the latest clock by then
	Until    uint64 `json:"until"`    // no later clock has been used, nor may be before this is written again
	Steps    []Step `json:"steps,omitempty"`
	Rewound  int    `json:"rewound,omitempty"` // how often the stream was found to end earlier than it did
}

// Of returns the clock of the message with a sequence that the server stored at t.
func (m *Mark) Of(sequence uint64, t time.Time) uint64 {
	return m.at(sequence, micros(t))
}

func (m *Mark) at(sequence, stored uint64) uint64 { return at(sequence, stored, m.Steps) }

// at applies the last step at or before a sequence.
func at(sequence, stored uint64, lists ...[]Step) uint64 {
	var step Step
	for _, steps := range lists {
		for _, s := range slices.Backward(steps) {
			if sequence >= s.Sequence {
				if s.Sequence >= step.Sequence {
					step = s
				}
				break
			}
		}
	}
	if step.Floor == 0 { // there is none
		return stored
	}
	return max(stored, step.Floor+(sequence-step.Sequence))
}

func micros(t time.Time) uint64 { return uint64(max(t.UnixMicro(), 0)) }

// Time returns the time that a clock stands for.
func Time(clock uint64) time.Time { return time.UnixMicro(int64(clock)).UTC() }

// Raise makes what comes after sequence have clocks above c.
func (m *Mark) Raise(sequence, c uint64) {
	m.Sequence, m.Clock, m.Until = max(m.Sequence, sequence), max(m.Clock, c), max(m.Until, c)
}

// rewind adapts the mark to a stream that ends earlier than it did: one that was
// restored or made again. Its next messages are compared with all clocks used.
func (m *Mark) rewind(last uint64) (changed bool) {
	if last >= m.Sequence {
		return false
	}
	m.Sequence = last
	m.Steps = slices.DeleteFunc(m.Steps, func(s Step) bool { return s.Sequence > last })
	return true
}

func (m *Mark) add(s Step) {
	i, _ := slices.BinarySearchFunc(m.Steps, s, bySequence)
	m.Steps = slices.Insert(m.Steps, i, s)
	if n := len(m.Steps) - maxSteps; n > 0 {
		m.Steps = slices.Delete(m.Steps, 0, n)
	}
}

func bySequence(a, b Step) int { return cmp.Compare(a.Sequence, b.Sequence) }

// Reader reads clocks in the order in which messages arrive, and finds the steps.
// It is the rule without its storage: for one goroutine.
type Reader struct {
	kept    Mark // as it is stored
	written time.Time
	steps   []Step                  // found here, and not stored yet
	high    uint64                  // the latest clock that was read
	last    uint64                  // the highest sequence that was read
	seen    latest[string, reading] // by document
	stored  latest[uint64, uint64]  // when messages were stored, by sequence
	changed bool                    // the mark has to be written, whatever is read
	// rewound is where Rewind found the end of the stream, until the mark in the bucket
	// says so, too.
	rewound *uint64
}

// reading is what was read last of a document.
type reading struct{ sequence, clock uint64 }

// latest is a map that keeps the latest entries only: maxSeen to twice as many.
type latest[K comparable, V any] struct{ young, old map[K]V }

func (r *latest[K, V]) put(k K, v V) {
	if r.young == nil || len(r.young) >= maxSeen {
		r.young, r.old = map[K]V{}, r.young
	}
	r.young[k] = v
}

func (r *latest[K, V]) get(k K) (V, bool) {
	v, ok := r.young[k]
	if !ok {
		v, ok = r.old[k]
	}
	return v, ok
}

// NewReader returns a reader that goes on from a mark.
func NewReader(m Mark) *Reader {
	r := &Reader{}
	r.Adopt(m)
	return r
}

// forget drops what is known of the messages of a stream.
func (r *Reader) forget() {
	r.seen, r.stored = latest[string, reading]{}, latest[uint64, uint64]{}
}

// Adopt takes over a mark that another replica has written.
func (r *Reader) Adopt(m Mark) {
	switch {
	case m.Rewound > r.kept.Rewound:
		// It has found that the stream ends earlier, and what it has read since.
		r.last, r.steps, r.rewound = 0, nil, nil
		r.forget()
	case r.rewound != nil && m.Rewound < r.kept.Rewound:
		// It does not know yet.
		m.Steps = slices.Clone(m.Steps)
		m.rewind(*r.rewound)
	}
	m.Rewound = max(m.Rewound, r.kept.Rewound)
	mine, steps := r.high, r.steps
	r.kept, r.steps = m, nil
	r.high, r.last = max(r.high, m.Clock), max(r.last, m.Sequence)
	for _, s := range steps {
		i, same := slices.BinarySearchFunc(m.Steps, s, bySequence)
		switch {
		case same:
		case i == len(m.Steps):
			s.Floor = max(s.Floor, r.next())
			r.steps = append(r.steps, s)
		case mine+1+(m.Steps[i].Sequence-s.Sequence) < m.Steps[i].Floor:
			// Another replica has stored a step for a later message. Ours fits before it.
			s.Floor = mine + 1
			r.steps = append(r.steps, s)
		}
	}
}

// next returns a clock above all that anybody has used.
func (r *Reader) next() uint64 { return max(r.kept.Until, r.high) + 1 }

func (r *Reader) of(sequence, stored uint64) uint64 {
	return at(sequence, stored, r.kept.Steps, r.steps)
}

// Read returns the clock of a submission of a document that has arrived. A step
// is returned if there is a new one.
func (r *Reader) Read(document string, sequence uint64, t time.Time) (uint64, *Step) {
	stored := micros(t)
	c := r.of(sequence, stored)
	var found *Step
	if sequence > r.last {
		before, ok := r.seen.get(document)
		same := ok && before.sequence < sequence && c <= before.clock
		if same || c+tolerance <= r.high {
			s := Step{Sequence: sequence, Floor: r.next(), Back: max(r.high, c) - c, Time: t.UTC()}
			r.steps = append(r.steps, s)
			c, found = s.Floor, &s
		}
		r.last = sequence
		r.seen.put(document, reading{sequence, c})
		r.stored.put(sequence, stored)
	}
	r.high = max(r.high, c)
	return c, found
}

// Due returns the mark that has to be stored before a clock may be used. It is
// nil if the one that is stored allows for it.
func (r *Reader) Due(c uint64, now time.Time) *Mark {
	late := r.high > r.kept.Clock && now.Sub(r.written) >= every
	if c <= r.kept.Until && len(r.steps) == 0 && !r.changed && !late {
		return nil
	}
	m := r.kept
	m.V, m.Steps = 1, slices.Clone(m.Steps)
	for _, s := range r.steps {
		m.add(s)
	}
	// A backlog is read faster than it came about: up to now, no further write is
	// needed for it.
	m.Raise(r.last, r.high)
	m.Until = max(m.Until, r.high+slack, micros(now))
	return &m
}

// Stored tells that a mark that Due has returned was stored at now.
func (r *Reader) Stored(m Mark, now time.Time) {
	steps := r.steps
	if m.Rewound >= r.kept.Rewound {
		r.rewound, r.changed = nil, false
	}
	m.Rewound = max(m.Rewound, r.kept.Rewound)
	r.kept, r.steps, r.written = m, nil, now
	for _, s := range steps { // found meanwhile
		if !slices.ContainsFunc(m.Steps, func(k Step) bool { return k.Sequence == s.Sequence }) {
			r.steps = append(r.steps, s)
		}
	}
}

// Rewind tells where the stream ends now, before anything that comes after it is
// read. It reports whether that is earlier than was known: the stream was restored,
// or made again.
func (r *Reader) Rewind(last uint64) bool {
	if last >= r.last {
		return false
	}
	r.kept.Steps = slices.Clone(r.kept.Steps)
	r.kept.rewind(last)
	r.kept.Rewound++
	r.steps = slices.DeleteFunc(r.steps, func(s Step) bool { return s.Sequence > last })
	r.last, r.changed, r.rewound = last, true, &last
	r.forget()
	return true
}

// Another tells whether the message of a sequence is known to have been another one:
// the stream was restored, or made again, and has grown since.
func (r *Reader) Another(sequence uint64, t time.Time) bool {
	at, known := r.stored.get(sequence)
	return known && at != micros(t)
}

// Last returns the highest sequence that was read, here or by who wrote the mark.
func (r *Reader) Last() uint64 { return r.last }
