// Package embedded runs a nats-server with JetStream in this process: for
// 'sluice up' and for tests. Stages do not link it.
package embedded

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"
)

// Config places the server. The zero Host and Port listen on a free port of
// the loopback interface.
type Config struct {
	Dir  string // JetStream's files; required
	File string // a nats-server configuration, for users, TLS and clusters; what is said here wins over it
	Host string // default 127.0.0.1
	Port int    // 0 = any free port
	Log  zerolog.Logger
}

// Server is a running nats-server. If it cannot write its files any more, it is
// started again when the disk has room: see Broken.
type Server struct {
	cfg   Config
	done  chan struct{} // closed by Stop
	guard sync.WaitGroup

	mu     sync.RWMutex
	s      *server.Server
	broken string
}

// Start runs a server and returns when clients can connect.
func Start(cfg Config) (*Server, error) {
	if cfg.Dir == "" {
		return nil, errors.New("embedded NATS needs a directory for its files")
	}
	if cfg.Host == "" {
		cfg.Host = "127.0.0.1"
	}
	if cfg.Port == 0 {
		cfg.Port = server.RANDOM_PORT
	}
	inner, err := run(cfg)
	if err != nil {
		return nil, err
	}
	// Clients know this address: it stays, whatever becomes of the server.
	if a, ok := inner.Addr().(*net.TCPAddr); ok {
		cfg.Port = a.Port
	}
	s := &Server{cfg: cfg, done: make(chan struct{}), s: inner}
	s.guard.Go(s.watch)
	return s, nil
}

// run starts one nats-server.
func run(cfg Config) (*server.Server, error) {
	options := &server.Options{ServerName: "sluice"}
	if cfg.File != "" {
		var err error
		if options, err = server.ProcessConfigFile(cfg.File); err != nil {
			return nil, fmt.Errorf("read the NATS configuration: %w", err)
		}
	}
	options.Host, options.Port = cfg.Host, cfg.Port
	options.JetStream, options.StoreDir = true, cfg.Dir
	// Streams reserve their byte bounds against this figure. The disk is the real
	// limit, and a full disk is reported when it is met.
	options.JetStreamMaxStore = 1 << 40
	// A PubAck is not an fsync. One process and one disk: half a second is what a
	// power failure may cost; a killed process loses nothing.
	options.SyncInterval = 500 * time.Millisecond
	options.NoSigs = true
	s, err := server.NewServer(options)
	if err != nil {
		return nil, fmt.Errorf("start the embedded NATS server: %w", err)
	}
	s.SetLoggerV2(logger{cfg.Log}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(15 * time.Second) {
		s.Shutdown()
		return nil, fmt.Errorf("the embedded NATS server is not ready on %s: is the port taken, or %s in use or not writable?",
			net.JoinHostPort(cfg.Host, strconv.Itoa(cfg.Port)), cfg.Dir)
	}
	return s, nil
}

// URL returns the address for clients.
func (s *Server) URL() string { return s.current().ClientURL() }

// InProcessConn lets a client of this process connect without a socket: see
// nats.InProcessServer.
func (s *Server) InProcessConn() (net.Conn, error) { return s.current().InProcessConn() }

func (s *Server) current() *server.Server {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.s
}

// Stop shuts the server down and waits until its files are closed.
func (s *Server) Stop() {
	close(s.done)
	s.guard.Wait()
	s.s.Shutdown()
	s.s.WaitForShutdown()
}

// logger hands the server's messages to zerolog. Notices are noise to whoever
// runs Sluice, so they go to debug.
type logger struct{ l zerolog.Logger }

func (l logger) Noticef(f string, a ...any) { l.l.Debug().Msgf(f, a...) }
func (l logger) Warnf(f string, a ...any)   { l.l.Warn().Msgf(f, a...) }
func (l logger) Fatalf(f string, a ...any)  { l.l.Error().Msgf(f, a...) }
func (l logger) Errorf(f string, a ...any)  { l.l.Error().Msgf(f, a...) }
func (l logger) Debugf(f string, a ...any)  { l.l.Debug().Msgf(f, a...) }
func (l logger) Tracef(f string, a ...any)  { l.l.Trace().Msgf(f, a...) }
