package broker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Silences asks other processes by request and reply, and tells which of them are
// gone: those that have given no answer for After, while our connection did not break.
// What is asked is up to the caller.
type Silences struct {
	Conn  *nats.Conn
	After time.Duration // it has to outlast a reconnect, which takes 2 s

	mu    sync.Mutex
	since map[string]silence
}

type silence struct {
	since      time.Time
	last       time.Time // of the questions
	reconnects uint64
}

// lull: if two questions are further apart than After and this, silence counts anew.
const lull = 10 * time.Second

// Ask sends a question to who, whose answers come from subject. It returns the
// answer, or whether who is gone. Neither means that nobody knows yet.
func (s *Silences) Ask(ctx context.Context, who, subject string, question []byte) (answer *nats.Msg, gone bool) {
	before := s.Conn.Stats().Reconnects
	m, err := s.Conn.RequestWithContext(ctx, subject, question)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		delete(s.since, who)
		return m, false
	}
	ours := !errors.Is(err, nats.ErrNoResponders) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrTimeout)
	if ours || !s.Conn.IsConnected() || s.Conn.Stats().Reconnects != before {
		delete(s.since, who)
		return nil, false
	}
	now := time.Now()
	for id, of := range s.since {
		if now.Sub(of.last) > lull+s.After {
			delete(s.since, id) // nothing is known of the time between
		}
	}
	of, known := s.since[who]
	if !known || of.reconnects != before {
		of = silence{since: now, reconnects: before}
	}
	of.last = now
	if s.since == nil {
		s.since = map[string]silence{}
	}
	s.since[who] = of
	return nil, known && now.Sub(of.since) >= s.After
}
