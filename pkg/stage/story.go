package stage

import (
	"strconv"
	"sync"

	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// story tells in events that documents wait and go on: once for a document and a
// key, however many of its messages wait.
type story struct {
	*shared

	mu   sync.Mutex
	told map[string]*telling
}

type telling struct {
	n    int // waits so far
	held bool
}

const toldKept = 100_000

func (s *story) of(m *Message, key fault.Wait) *telling {
	if s.told == nil || len(s.told) > toldKept {
		s.told = map[string]*telling{} // some stories are told twice then
	}
	name := m.Document + m.Revision.String() + string(group(key))
	t := s.told[name]
	if t == nil {
		t = &telling{}
		s.told[name] = t
	}
	return t
}

// held tells that a message waits for a key, unless that was told.
func (s *story) held(m *Message, f *fault.Error) {
	key := f.Waits()
	if m.told == key || key.Kind() == fault.WaitDownstream { // backpressure is no story
		return
	}
	if m.told != "" {
		s.resumed(m, m.told)
	}
	m.told = key
	s.met.waits.Inc()
	s.mu.Lock()
	t := s.of(m, key)
	first := !t.held
	if first {
		t.held = true
		t.n++
	}
	n := t.n
	s.mu.Unlock()
	if !first {
		return
	}
	level := m.Log().Info()
	if f.Class == fault.Halt {
		level = m.Log().Error()
	}
	level.Str("class", f.Class.String()).Str("reason", f.Reason).Str("waits_for", string(key)).Str("hint", f.Hint).Msg("waits: " + f.Message)
	s.tell(m, events.Held, f, m.waitID(group(key), n))
}

// resumed tells that a message waits for a key no more.
func (s *story) resumed(m *Message, key fault.Wait) {
	if m.told == "" {
		return
	}
	m.told = ""
	s.mu.Lock()
	t := s.of(m, key)
	first := t.held || t.n == 0 // none: another process told that it waits
	t.held = false
	t.n = max(t.n, 1)
	n := t.n
	s.mu.Unlock()
	if first {
		s.tell(m, events.Resumed, nil, m.waitID(group(key), n))
	}
}

// waitID tells a document's waits apart, in the message IDs of its events.
func (m *Message) waitID(key fault.Wait, n int) string {
	return m.stage.Name + ":" + string(key) + ":" + strconv.Itoa(n)
}
