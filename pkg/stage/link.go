package stage

import (
	"encoding/json"
	"net/http"
	"sync/atomic"

	"github.com/rs/zerolog"

	"sluice/pkg/broker"
	"sluice/pkg/fault"
)

// link is what a process knows of its connection to NATS. While something is
// wrong with it, the process is not ready and says so.
type link struct{ down atomic.Pointer[string] }

// tell returns what broker.Connect calls.
func (l *link) tell(log zerolog.Logger, url string) func(*fault.Error) {
	return func(f *fault.Error) {
		if f == nil {
			if l.down.Swap(nil) != nil {
				log.Info().Str("nats", url).Msg("NATS answers")
			}
			return
		}
		text := "waiting for NATS at " + url
		if f.Reason == broker.ReasonServer {
			text = f.Message
		}
		l.down.Store(&text)
		log.Warn().Str("class", f.Class.String()).Str("reason", f.Reason).Str("hint", f.Hint).AnErr("cause", f.Err).Msg(text)
	}
}

// guard answers /readyz while something is wrong, and leaves the rest to next.
func (l *link) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		down := l.down.Load()
		if down == nil || r.URL.Path != "/readyz" {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusServiceUnavailable)
		_ = json.NewEncoder(w).Encode(map[string]any{"ok": false, "down": *down}) // the probe may be gone
	})
}
