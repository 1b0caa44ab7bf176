package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// look is how often the server is asked whether it can write.
	look = time.Second
	// room is how many bytes have to fit before it is started again. Less would be
	// full again at once.
	room = 16 << 20
)

// Broken returns why the server cannot store anything, or "". A nats-server that
// has once failed to write a stream's file, because the disk was full, never
// writes that stream again: it leaves publishers without an answer, also when
// there is room again, until it is restarted. This package restarts it.
func (s *Server) Broken() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.broken
}

// watch starts the server again when it has stopped writing and there is room.
func (s *Server) watch() {
	tick := time.NewTicker(look)
	defer tick.Stop()
	said := ""
	for {
		select {
		case <-s.done:
			return
		case <-tick.C:
		}
		why := latched(s.current())
		if why == "" {
			continue
		}
		s.setBroken("NATS cannot write its files: " + why)
		if why != said {
			said = why
			s.cfg.Log.Error().Str("hint", "make room under "+s.cfg.Dir+"; NATS is then started again by itself").Msg(s.Broken())
		}
		if err := hasRoom(s.cfg.Dir); err != nil {
			continue
		}
		if err := s.restart(); err != nil {
			s.cfg.Log.Error().Err(err).Msg("NATS cannot be started again; the next try is in a second")
			continue
		}
		said = ""
		s.setBroken("")
		s.cfg.Log.Warn().Msg("the disk has room: NATS was started again and stores messages")
	}
}

func (s *Server) setBroken(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = why
}

// restart ends the server and starts another on the same files and address. What
// was acknowledged is in the files; clients reconnect.
func (s *Server) restart() error {
	old := s.current()
	old.Shutdown()
	old.WaitForShutdown()
	next, err := run(s.cfg)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s = next
	return nil
}

// latched returns what keeps a server from writing, or "".
func latched(s *server.Server) string {
	if !s.Running() {
		return "it was stopped to be started again" // and that did not work yet
	}
	if !s.JetStreamEnabled() {
		return "JetStream has switched itself off" // a cluster's way to meet a full disk
	}
	h := s.Healthz(&server.HealthzOptions{Details: true})
	for _, e := range h.Errors {
		// The server tells by these words only; TestAFullDisk sees whether they stay.
		if strings.Contains(e.Error, "write error") {
			return e.Error
		}
	}
	return ""
}

// hasRoom tries to write as much as is needed at least. Free space as the file
// system counts it says nothing of quotas.
func hasRoom(dir string) (err error) {
	path := filepath.Join(dir, ".room")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("try the disk: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(path)) }()
	block := make([]byte, 1<<20)
	for range room / len(block) {
		if _, err := f.Write(block); err != nil {
			return fmt.Errorf("try the disk: %w", err)
		}
	}
	return f.Sync()
}
