package pgvector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/puddle/v2"

	"sluice/pkg/fault"
)

// explain classifies an error of Postgres by its SQLSTATE
// (https://www.postgresql.org/docs/current/errcodes-appendix.html), or of the way
// to it. It returns nil for a nil err.
//
// What concerns the whole server waits for the store: no message is to blame, and
// all of them wait for it without counting a failure.
func (s *Store) explain(err error, doing string) error {
	if err == nil {
		return nil
	}
	var classified *fault.Error
	if errors.As(err, &classified) {
		return err
	}
	err = scrub(err, s.secrets)
	wrap := func(c fault.Class, reason string) *fault.Error {
		return fault.Wrap(err, c, reason, "index %s: %s", s.shown, doing)
	}
	hold := func(reason, hint string) error {
		return wrap(fault.Unavailable, reason).WithHint("%s", hint).After(retryAfter).WaitFor(fault.On(fault.WaitStore, "index"))
	}
	var d damage
	var e *pgconn.PgError
	switch {
	case errors.As(err, &d):
		return wrap(fault.Halt, "index-corrupt").WithHint(corruptHint)
	case errors.Is(err, puddle.ErrClosedPool):
		return s.closedFault()
	case errors.As(err, &e):
	case errors.Is(err, errOverdue):
		return hold("index-slow", "the network drops what is sent to Postgres, or holds it back: look at what is between here and there")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return hold("interrupted", "")
	default:
		return hold("index-unreachable", "is Postgres up, and can it be reached from here? Nothing is lost; work goes on by itself when it answers")
	}
	switch {
	case e.Code == "57014": // query_canceled: by us, or by statement_timeout
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return hold("interrupted", "")
		}
		return hold("index-slow", "a statement took longer than --index-timeout: raise it, or lower --indexer-batch; docs/operations.md says what to look at")
	case e.Code == "40001", e.Code == "40P01", e.Code == "55P03": // serialization_failure, deadlock_detected, lock_not_available
		return hold("index-busy", "other sessions were in the way; it is tried again")
	case e.Code == "53100": // disk_full
		return hold("disk-full", "free space on the disk of Postgres; no work is lost, it goes on by itself after that")
	case e.Code == "53300": // too_many_connections
		return hold("index-connections", "Postgres has no connection left: raise its max_connections, or lower --index-connections of each replica")
	case e.Code == "25006", within(e, "08", "53", "57"): // read_only_sql_transaction: a standby; connections, resources, shutdown
		return hold("index-unreachable", "Postgres restarts, fails over or is short of something: see its log. Nothing is lost; work goes on by itself")
	case within(e, "28"): // invalid_authorization_specification
		return wrap(fault.Halt, "index-refused").WithHint("Postgres refuses the user or the password: check the URL of the index and pg_hba.conf")
	case e.Code == "3D000": // invalid_catalog_name
		return wrap(fault.Halt, "index-missing").WithHint("make the database: CREATE DATABASE, or correct the URL of the index")
	case e.Code == "42501": // insufficient_privilege
		return wrap(fault.Halt, "index-refused").WithHint("the user of the index has to own its schema %q; let it make that, or make it for it: CREATE SCHEMA %s AUTHORIZATION the_user", s.schema, s.schema)
	case e.Code == "42P01", e.Code == "42703", e.Code == "3F000", within(e, "XX"): // tables or columns are gone; internal errors
		return wrap(fault.Halt, "index-corrupt").WithHint(corruptHint)
	}
	return wrap(fault.Unavailable, "index-error")
}

// retryAfter lets a server that is away come back before it is asked again.
const retryAfter = time.Second

const corruptHint = "the schema of the index was changed or is damaged: restore a backup, or use an empty one (\"?schema=NAME\" in the URL) and submit the documents again"

func within(e *pgconn.PgError, classes ...string) bool {
	for _, c := range classes {
		if len(e.Code) == 5 && e.Code[:2] == c {
			return true
		}
	}
	return false
}

// transient reports whether a transaction that failed with err may well succeed
// when it is begun again at once.
func transient(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == "40001" || e.Code == "40P01")
}

// damage says what is wrong in tables that Postgres reads, but that hold what
// this package would not have written.
type damage string

func (d damage) Error() string { return string(d) }

func damaged(format string, args ...any) error { return damage(fmt.Sprintf(format, args...)) }

func (s *Store) closedFault() error {
	return fault.New(fault.Unavailable, "index-closed", "the index %s is closed", s.shown).WaitFor(fault.On(fault.WaitStore, "index"))
}
