// Package sqlite is an index.Store in one SQLite file, without a server and
// without cgo.
//
// # On disk
//
// The file is the whole truth and each Apply is one transaction on it. With
// the write-ahead log synchronised at every commit (synchronous=FULL), what was
// applied survives kill -9 and a power cut; Options.Relaxed gives the second
// up for speed. A second process that opens the same file for writing is
// turned away by a lock on "<file>.lock", which dies with its process.
//
// # In memory
//
// Search scans package ram: the words of each visible chunk and a coarse copy
// of its vector, about 1.2 KB a chunk of 1536 dimensions. It is read from the
// file on Open and changes with each commit, under the same lock under which a
// search begins its read transaction. So a search never sees half a commit.
//
// FTS5 and sqlite-vec were measured first. FTS5 took 166 us of CPU to insert 2 KB
// of text, more than everything else together, and 2 to 3 us for each row
// that a query matches, a third of a second for common words in 100,000
// chunks. Sign bits alone, as sqlite-vec offers them, cannot rank the sparse
// vectors of a lexical model.
package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"sluice/pkg/fault"
	"sluice/pkg/words"
	"sluice/services/indexer/index"
	"sluice/services/indexer/sqlite/internal/ram"
)

// Options configure a Store. The zero value is a good choice.
type Options struct {
	// Relaxed leaves it to the operating system when a commit reaches the
	// disk. A power cut can then undo the last commits, though they were
	// reported and their messages acknowledged; a killed process undoes none.
	Relaxed bool
	// LockWait is how long Open waits for another process to let go of the
	// file; 0 is 5 seconds, enough for a predecessor to shut down.
	LockWait time.Duration
}

const (
	defaultLockWait = 5 * time.Second
	// searches that read from the file at once; others wait their turn
	readers = 4
	// pageBytes lets a row of 6 KB of vector and 2 KB of text fit a page and
	// one overflow page.
	pageBytes = 8192
)

// Store implements index.Store. Use Open.
type Store struct {
	path   string
	lock   *sql.DB // holds the file lock while it is open
	reader *sql.DB
	writer *sql.DB

	analyzers words.Pool

	// write is held by whoever changes the file.
	write       sync.Mutex
	conn        *sql.Conn // the one connection of writer
	stmt        statements
	nextDoc     int64
	nextEdition int64
	walBytes    int64 // written since the last checkpoint, about

	// mem guards what follows, and no commit or begin of a search happens without it.
	mem    sync.RWMutex
	ram    *ram.Index
	spaces map[string]space
	closed bool
}

// space is a vector space: one model's.
type space struct {
	id         int64
	dimensions int
}

var _ index.Store = (*Store)(nil)

// Open opens the index at path, and creates it if there is none. The time it
// takes grows with the index: about a second for 100,000 chunks.
//
// Its faults have class Halt and say what to do: "index-corrupt",
// "index-unreadable", "index-foreign", "index-newer"; or class Unavailable:
// "index-locked" while another process has it, "index-io", "disk-full".
func Open(ctx context.Context, path string, opts Options) (_ *Store, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, unreadable(err, path)
	}
	s := &Store{
		path:   path,
		ram:    ram.New(),
		spaces: make(map[string]space),
		// As many as can work at once: each knows the words it has seen.
		analyzers: words.NewPool(),
	}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if opts.LockWait == 0 {
		opts.LockWait = defaultLockWait
	}
	if err := s.acquire(ctx, opts.LockWait); err != nil {
		return nil, err
	}
	synchronous := "FULL"
	if opts.Relaxed {
		synchronous = "NORMAL"
	}
	s.writer, err = sql.Open("sqlite", dsn(path,
		"busy_timeout(5000)", fmt.Sprintf("page_size(%d)", pageBytes), "journal_mode(WAL)",
		"synchronous("+synchronous+")", "wal_autocheckpoint(0)", "cache_size(-16000)"))
	if err != nil {
		return nil, s.explain(err, "open")
	}
	if s.conn, err = s.writer.Conn(ctx); err != nil {
		return nil, s.explain(err, "open")
	}
	if err := s.migrate(ctx); err != nil {
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		return nil, s.explain(err, "prepare")
	}
	s.reader, err = sql.Open("sqlite", dsn(path, "busy_timeout(5000)", "query_only(1)", "cache_size(-8000)"))
	if err != nil {
		return nil, s.explain(err, "open")
	}
	s.reader.SetMaxOpenConns(readers)
	s.reader.SetMaxIdleConns(readers)
	if err := s.load(ctx); err != nil {
		return nil, s.explain(err, "load")
	}
	return s, nil
}

// dsn names the file at path with pragmas to run on each connection.
func dsn(path string, pragmas ...string) string {
	// A path may hold what means something in a URI.
	u := url.URL{Path: path}
	return "file:" + strings.ReplaceAll(u.EscapedPath(), "?", "%3F") + "?" + url.Values{"_pragma": pragmas}.Encode()
}

// acquire makes this process the only writer. SQLite's own lock does it, on a
// file beside the index: it works on all systems, and dies with the process.
func (s *Store) acquire(ctx context.Context, wait time.Duration) error {
	var err error
	s.lock, err = sql.Open("sqlite", dsn(s.path+".lock", fmt.Sprintf("busy_timeout(%d)", wait.Milliseconds()), "locking_mode(EXCLUSIVE)"))
	if err != nil {
		return s.explain(err, doingLock)
	}
	s.lock.SetMaxOpenConns(1)
	s.lock.SetConnMaxLifetime(0)
	s.lock.SetConnMaxIdleTime(0)
	if _, err := s.lock.ExecContext(ctx, "BEGIN EXCLUSIVE"); err != nil {
		return s.explain(err, doingLock)
	}
	return nil
}

// release closes what is open.
func (s *Store) release() error {
	var first error
	keep := func(err error) {
		if first == nil {
			first = err
		}
	}
	if s.reader != nil {
		keep(s.reader.Close())
	}
	if s.conn != nil {
		keep(s.conn.Close())
	}
	if s.writer != nil {
		keep(s.writer.Close())
	}
	if s.lock != nil {
		keep(s.lock.Close())
	}
	return first
}

// Close ends the store after the Apply and the searches at work. Closing twice
// is no error.
func (s *Store) Close() error {
	s.write.Lock()
	defer s.write.Unlock()
	s.mem.Lock()
	was := s.closed
	s.closed = true
	s.mem.Unlock()
	if was {
		return nil
	}
	// Searches that have begun are waited for by the pool.
	_, err := s.conn.ExecContext(context.Background(), "PRAGMA wal_checkpoint(PASSIVE)")
	if closeErr := s.release(); err == nil {
		err = closeErr
	}
	return s.explain(err, "close")
}

func (s *Store) closedFault() error {
	return fault.New(fault.Unavailable, "index-closed", "the index %s is closed", s.path).WaitFor(fault.On(fault.WaitStore, "index"))
}
