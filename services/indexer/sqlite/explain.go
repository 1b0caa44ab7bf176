package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

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
	var d damage
	if errors.As(err, &d) {
		return wrap(fault.Halt, "index-corrupt").WithHint(corruptHint)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return wrap(fault.Unavailable, "interrupted")
	}
	if errors.Is(err, sql.ErrConnDone) {
		return s.closedFault()
	}
	if errors.Is(err, syscall.ENOSPC) {
		return diskFull(wrap)
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return wrap(fault.Unavailable, "index-error")
	}
	switch e.Code() & 0xFF {
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED:
		return wrap(fault.Unavailable, "index-locked").
			WithHint("another process has the index open, probably an indexer: only one may write to it; stop it or give it a file of its own")
	case lib.SQLITE_FULL:
		return diskFull(wrap)
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB, lib.SQLITE_FORMAT:
		return wrap(fault.Halt, "index-corrupt").WithHint(corruptHint)
	case lib.SQLITE_READONLY, lib.SQLITE_CANTOPEN, lib.SQLITE_PERM, lib.SQLITE_AUTH:
		return wrap(fault.Halt, "index-unreadable").
			WithHint("this user must be able to write the file, the files beside it and their folder")
	case lib.SQLITE_IOERR:
		return wrap(fault.Unavailable, "index-io").
			WithHint("the disk or the file system reports errors: see the system's log; network file systems do not suit SQLite")
	case lib.SQLITE_INTERRUPT:
		return wrap(fault.Unavailable, "interrupted")
	}
	return wrap(fault.Unavailable, "index-error")
}

const corruptHint = "the file is damaged or no index: move it and its -wal and -shm files away, then restore a backup, or start with an empty one and submit the documents again"

// damage says what is wrong in a file that SQLite reads, but that holds what
// this package would not have written.
type damage string

func (d damage) Error() string { return string(d) }

func damaged(format string, args ...any) error { return damage(fmt.Sprintf(format, args...)) }

func diskFull(wrap func(fault.Class, string) *fault.Error) error {
	return wrap(fault.Halt, "disk-full").
		WithHint("free space on the disk of the index; no work is lost, it goes on by itself after that")
}

// unreadable classifies an error of the file system.
func unreadable(err error, path string) error {
	if errors.Is(err, syscall.ENOSPC) {
		return diskFull(func(c fault.Class, reason string) *fault.Error { return fault.Wrap(err, c, reason, "index %s", path) })
	}
	hint := "this user must be able to write the file and its folder"
	if errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOTDIR) {
		hint = "a file stands where the folder of the index should be"
	}
	return fault.Wrap(err, fault.Halt, "index-unreadable", "index %s", path).WithHint("%s", hint)
}
