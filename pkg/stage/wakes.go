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

// opening says in words what has to happen for a group to go on. What was found in
// HELD has no other words: nobody here has seen why it was set aside.
func opening(group fault.Wait) string {
	name := group.Name()
	switch group.Kind() {
	case fault.WaitBudget:
		return "there is money or a request within the limits of " + strings.TrimPrefix(name, "over-limit.") + ": see 'sluice budget'"
	case fault.WaitService:
		return name + " can be used again"
	case fault.WaitClaim:
		return "another process has bought the same texts, or has died"
	case fault.WaitJob:
		return "the service has ended the document's job"
	case fault.WaitSlot:
		return "another job of " + name + " ends"
	case fault.WaitConfig:
		return "the configuration is mended"
	case fault.WaitStore:
		return "the store " + name + " answers"
	case fault.WaitDownstream:
		return name + " takes messages"
	case fault.WaitSchema:
		return "a replica of the release that knows schema version " + name + " runs"
	}
	return string(group) + " is over"
}

const maxGroup = 100
