package stage

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// source names a delivery: the stream that it came from, its sequence there, and when
// it was stored, because a stream that is made again counts from the beginning.
type source struct {
	stream string
	seq    uint64
	stored int64
}

// hand is all that this process has been given and has not ended: what is queued,
// what is being handled, and what waits. The server hears that it is alive.
//
// What waits takes no part in the bounds of the hand: otherwise messages that
// cannot go on would keep out those that can.
type hand struct {
	gauge prometheus.Gauge
	freed chan struct{} // signalled when there may be room

	mu     sync.Mutex
	all    map[source]*Message
	active int // queued or being handled
	weight int // of those
}

func newHand(gauge prometheus.Gauge) *hand {
	return &hand{gauge: gauge, freed: make(chan struct{}, 1), all: map[source]*Message{}}
}

// add puts a new message in the hand.
func (h *hand) add(m *Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all[m.source] = m
	h.active++
	h.weight += m.weight
	h.gauge.Set(float64(len(h.all)))
}

// find returns the message that is in the hand already, or nil.
func (h *hand) find(s source) *Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all[s]
}

// rest counts a message among those that wait, and resume among the others.
func (h *hand) rest(m *Message) {
	h.mu.Lock()
	if !m.resting {
		m.resting = true
		h.active--
		h.weight -= m.weight
	}
	h.mu.Unlock()
	h.signal()
}

func (h *hand) resume(m *Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m.resting {
		m.resting = false
		h.active++
		h.weight += m.weight
	}
}

// reweigh counts an active message with another weight.
func (h *hand) reweigh(m *Message, weight int) {
	h.mu.Lock()
	h.weight += weight - m.weight
	m.weight = weight
	h.mu.Unlock()
	h.signal()
}

// drop takes a message out after it was acknowledged or returned.
func (h *hand) drop(m *Message) {
	h.mu.Lock()
	if h.all[m.source] == m {
		delete(h.all, m.source)
		if !m.resting {
			h.active--
			h.weight -= m.weight
		}
		h.gauge.Set(float64(len(h.all)))
	}
	h.mu.Unlock()
	h.signal()
}

// signal has whoever waits for room look again.
func (h *hand) signal() {
	select {
	case h.freed <- struct{}{}:
	default:
	}
}

// load returns how many messages are active, and what they weigh.
func (h *hand) load() (active, weight int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.active, h.weight
}

// size returns how many messages there are, those that wait included.
func (h *hand) size() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.all)
}

// held counts the messages that came from HELD, by what they waited for.
func (h *hand) held() map[fault.Wait]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := map[fault.Wait]int{}
	for from, m := range h.all {
		if from.stream == events.StreamHeld {
			n[m.heldFor()]++
		}
	}
	return n
}

// silent returns the messages that the server was told nothing of since then.
func (h *hand) silent(since time.Time) []*Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	var due []*Message
	for _, m := range h.all {
		if m.touchedBefore(since) {
			due = append(due, m)
		}
	}
	return due
}
