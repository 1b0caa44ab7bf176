// Package pgtest gives tests a real Postgres with pgvector. Nothing of it is
// mocked, and no test is skipped for want of it: what the machine lacks is
// installed, into a directory of its own, or the test fails and says what to do.
//
// Where the server comes from, the first that there is:
//
//   - SLUICE_TEST_POSTGRES, the URL of a server whose user may create databases;
//   - a Postgres with pgvector that the machine has in Debian's places;
//   - Debian's packages, unpacked beside the system and never installed in it
//     (install.go).
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Env names a server to use instead of one that is started here.
const Env = "SLUICE_TEST_POSTGRES"

// patience bounds the start of a server: long, because the machine may be busy
// with all the other tests.
const patience = 60 * time.Second

// Server is a Postgres of this test run.
type Server struct {
	url  url.URL  // of the database postgres
	set  []string // settings beside those of Start
	dir  string   // of its data, "" if it is not ours
	bin  string
	cmd  *exec.Cmd // nil while it is down
	logs *os.File

	places sync.Once // makes the database of Place
}

// shared is the server that all tests of a package use.
var shared struct {
	once   sync.Once
	server *Server
	err    error
}

// Shared returns the server that the package's tests have in common. TestMain
// has to call Stop.
func Shared(tb testing.TB) *Server {
	tb.Helper()
	shared.once.Do(func() { shared.server, shared.err = open() })
	if shared.err != nil {
		tb.Fatal(shared.err)
	}
	return shared.server
}

// Stop ends the shared server, if a test has used it.
func Stop() error {
	if shared.server == nil {
		return nil
	}
	return shared.server.remove()
}

// New starts a server for one test, which may stop and kill it. Settings are
// as in "shared_buffers=1GB"; they win over those of Start.
func New(tb testing.TB, settings ...string) *Server {
	tb.Helper()
	s, err := start(settings)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.remove(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func open() (*Server, error) {
	given := os.Getenv(Env)
	if given == "" {
		return start(nil)
	}
	u, err := url.Parse(given)
	if err != nil {
		return nil, fmt.Errorf("%s is no URL", Env) // and may hold a password
	}
	return &Server{url: *u}, nil
}

var databases atomic.Int64

// Database makes an empty database, without the extension, and returns its
// URL. It goes when the test ends.
func (s *Server) Database(tb testing.TB) string {
	tb.Helper()
	name := fmt.Sprintf("sluice_test_%d_%d", os.Getpid(), databases.Add(1))
	s.Exec(tb, "CREATE DATABASE "+name)
	tb.Cleanup(func() { s.Exec(tb, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)") })
	u := s.url
	u.Path = "/" + name
	return u.String()
}

// Place returns the URL of a schema that does not exist yet, in a database with
// pgvector that all tests have in common: the cheap way to an index of one's own.
func (s *Server) Place(tb testing.TB) string {
	tb.Helper()
	u := s.url
	u.Path = "/" + s.common()
	s.places.Do(func() {
		s.Exec(tb, "CREATE DATABASE "+s.common())
		Exec(tb, u.String(), "CREATE EXTENSION vector")
	})
	q := u.Query()
	q.Set("schema", fmt.Sprintf("test_%d", databases.Add(1)))
	u.RawQuery = q.Encode()
	return u.String()
}

func (s *Server) common() string { return fmt.Sprintf("sluice_test_%d", os.Getpid()) }

// Exec runs statements as the superuser, in the database postgres.
func (s *Server) Exec(tb testing.TB, statements ...string) {
	tb.Helper()
	Exec(tb, s.url.String(), statements...)
}

// Exec runs statements in the database of a URL.
func Exec(tb testing.TB, url string, statements ...string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		tb.Fatal(err)
	}
	for _, q := range statements {
		if _, err := conn.Exec(ctx, q); err != nil {
			tb.Errorf("%s: %v", q, err)
		}
	}
	if err := conn.Close(ctx); err != nil {
		tb.Error(err)
	}
}

// start makes a cluster and runs a server on it.
func start(settings []string) (_ *Server, err error) {
	bin, err := find()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "sluice-postgres-")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, bin: bin, set: settings, url: url.URL{Scheme: "postgres", User: url.User("sluice"), Path: "/postgres", RawQuery: "sslmode=disable"}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.remove())
		}
	}()
	if uid := servant(); uid != 0 {
		if err := os.Chown(dir, uid, uid); err != nil {
			return nil, err
		}
	}
	initdb := s.command("initdb", "-D", s.data(), "-U", "sluice", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	// Between asking for a free port and using it somebody may take it.
	for try := 0; ; try++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		s.url.Host = l.Addr().String()
		if err := l.Close(); err != nil {
			return nil, err
		}
		if err := s.Start(); err == nil {
			return s, nil
		} else if try == 2 {
			return nil, err
		}
	}
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// Start starts a server that is down, at its old address.
func (s *Server) Start() (err error) {
	log := filepath.Join(s.dir, "log")
	if s.logs, err = os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644); err != nil {
		return err
	}
	// Nobody waits for the disk: what is tested is the death of processes, and
	// the operating system outlives that. LLVM is not among the packages.
	args := []string{
		"-D", s.data(), "-c", "listen_addresses=127.0.0.1", "-c", "port=" + s.url.Port(), "-c", "unix_socket_directories=",
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_wal_size=2GB", "-c", "shared_buffers=128MB", "-c", "deadlock_timeout=200ms", "-c", "jit=off",
	}
	for _, set := range s.set {
		args = append(args, "-c", set)
	}
	s.cmd = s.command("postgres", args...)
	s.cmd.Stdout, s.cmd.Stderr = s.logs, s.logs
	if err := s.cmd.Start(); err != nil {
		return errors.Join(err, s.logs.Close())
	}
	deadline := time.Now().Add(patience)
	for {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		conn, err := pgx.Connect(ctx, s.url.String())
		if err == nil {
			err = conn.Close(ctx)
		}
		cancel()
		if err == nil {
			return nil
		}
		var dead syscall.WaitStatus
		pid, _ := syscall.Wait4(s.cmd.Process.Pid, &dead, syscall.WNOHANG, nil)
		if pid != 0 || time.Now().After(deadline) {
			said, _ := os.ReadFile(log) // err tells enough without it
			return errors.Join(fmt.Errorf("postgres does not start: %w\n%s", err, said), s.Kill())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Kill ends the server as a crash does: nothing is finished, no connection is
// said good-bye to.
func (s *Server) Kill() error {
	if s.cmd == nil {
		return nil
	}
	// SIGQUIT is Postgres' immediate shutdown: it takes the sessions along,
	// which a SIGKILL would leave behind.
	err := s.cmd.Process.Signal(syscall.SIGQUIT)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	_ = s.cmd.Wait() // it was killed
	s.cmd = nil
	return errors.Join(err, s.logs.Close())
}

func (s *Server) remove() error {
	if s.dir == "" { // somebody's: only what we made goes
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		conn, err := pgx.Connect(ctx, s.url.String())
		if err != nil {
			return err
		}
		_, err = conn.Exec(ctx, "DROP DATABASE IF EXISTS "+s.common()+" WITH (FORCE)")
		return errors.Join(err, conn.Close(ctx))
	}
	return errors.Join(s.Kill(), os.RemoveAll(s.dir))
}

// command returns a call of a program of Postgres, which refuses to run as root.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
	cmd.SysProcAttr = attributes()
	if uid := servant(); uid != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
	}
	return cmd
}

// servant is the user whom a server runs as in place of root, or 0 for the
// present one.
func servant() int {
	if os.Getuid() != 0 {
		return 0
	}
	return 65534 // nobody, everywhere
}
