package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"sluice/pkg/fault"
)

// explain classifies an error of SQLite by its result code
// (https://sqlite.org/rescode.html). It returns nil for a nil err.
func (s *Store) explain(err error, doing string) error {
	if err == nil {
		return nil
	}
	var classified *fault.Error
	if errors.As(err, &classified) {
		return err
	}
	wrap := func(c fault.Class, reason string) *fault.Error {
		return fault.Wrap(err, c, reason, "index %s: %s", s.path, doing)
	}
	// What concerns the whole file is no message's fault: all of them wait for it. A
	// process that finds another one at work is told at once.
	hold := func(reason string) *fault.Error {
		e := wrap(fault.Unavailable, reason)
		if doing != doingLock {
			e = e.After(retryAfter).WaitFor(fault.On(fault.WaitStore, "index"))
		}
		return e
	}
	var d damage
	if errors.As(err, &d) {
		return wrap(fault.Halt, "index-corrupt").WithHint(corruptHint)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return hold("interrupted")
	}
	if errors.Is(err, sql.ErrConnDone) {
		return s.closedFault()
	}
	if errors.Is(err, syscall.ENOSPC) {
		return diskFull(hold)
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return wrap(fault.Unavailable, "index-error")
	}
	switch e.Code() & 0xFF {
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED:
		return hold("index-locked").
			WithHint("another process has the index open, probably an indexer, or a backup that takes long: only one may write to it; stop it or give it a file of its own")
	case lib.SQLITE_FULL:
		return diskFull(hold)
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB, lib.SQLITE_FORMAT:
		return wrap(fault.Halt, "index-corrupt").WithHint(corruptHint)
	case lib.SQLITE_READONLY, lib.SQLITE_CANTOPEN, lib.SQLITE_PERM, lib.SQLITE_AUTH:
		return wrap(fault.Halt, "index-unreadable").
			WithHint("this user must be able to write the file, the files beside it and their folder")
	case lib.SQLITE_IOERR:
		return hold("index-io").
			WithHint("the disk or the file system reports errors: see the system's log; network file systems do not suit SQLite")
	case lib.SQLITE_NOMEM, lib.SQLITE_PROTOCOL:
		return hold("index-busy").WithHint("the machine is short of memory, or many processes open the index at once")
	case lib.SQLITE_INTERRUPT:
		return hold("interrupted")
	}
	return wrap(fault.Unavailable, "index-error")
}

const corruptHint = "the file is damaged or no index: move it and its -wal and -shm files away, then restore a backup, or start with an empty one and submit the documents again"

// damage says what is wrong in a file that SQLite reads, but that holds what
// this package would not have written.
type damage string

func (d damage) Error() string { return string(d) }

func damaged(format string, args ...any) error { return damage(fmt.Sprintf(format, args...)) }

// retryAfter lets whoever has the file finish.
const retryAfter = time.Second

// doingLock is what Open does first.
const doingLock = "lock"

func diskFull(hold func(string) *fault.Error) error {
	return hold("disk-full").
		WithHint("free space on the disk of the index; no work is lost, it goes on by itself after that")
}

// unreadable classifies an error of the file system.
func unreadable(err error, path string) error {
	if errors.Is(err, syscall.ENOSPC) {
		return diskFull(func(reason string) *fault.Error {
			return fault.Wrap(err, fault.Unavailable, reason, "index %s", path).After(retryAfter).WaitFor(fault.On(fault.WaitStore, "index"))
		})
	}
	hint := "this user must be able to write the file and its folder"
	if errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOTDIR) {
		hint = "a file stands where the folder of the index should be"
	}
	return fault.Wrap(err, fault.Halt, "index-unreadable", "index %s", path).WithHint("%s", hint)
}
