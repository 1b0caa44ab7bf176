package stage

import (
	"strings"
	"time"

	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// wakes remembers the latest wake-ups. Whoever looked before one of them and comes
// to wait after it need not wait.
type wakes struct {
	keys  map[fault.Wait]time.Time
	older time.Time // wake-ups up to then are forgotten
}

const wakesKept = 1024

func (w *wakes) note(key fault.Wait) {
	now := time.Now()
	if w.keys == nil || len(w.keys) >= wakesKept {
		if w.keys != nil {
			w.older = now // all of them are forgotten
		}
		w.keys = map[fault.Wait]time.Time{}
	}
	w.keys[key] = now
}

// since tells whether key was woken after t, or may have been.
func (w *wakes) since(key fault.Wait, t time.Time) bool {
	if t.IsZero() || w.older.After(t) {
		return !t.IsZero()
	}
	for k, at := range w.keys {
		if at.After(t) && (key.Within(k) || k.Within(key)) {
			return true
		}
	}
	return false
}

// group is the key under which messages are set aside: keys of single texts and
// documents share one, or there would be a consumer for each.
func group(key fault.Wait) fault.Wait {
	switch kind := key.Kind(); kind {
	case fault.WaitClaim, fault.WaitJob:
		return fault.Wait(kind)
	default:
		if key.Within(fault.WaitOverLimit) { // without what the call needs
			scope, _, _ := strings.Cut(string(key), "#")
			key = fault.Wait(scope)
		}
		if len(key) > maxGroup { // it becomes part of a consumer's name
			return fault.On(kind, events.Fingerprint(string(key)))
		}
	}
	return key
}

const maxGroup = 100
