// Package pgvector is an index.Store in a Postgres with pgvector: the one for
// several indexers at once, and for more than a machine's memory holds.
//
// # Several at once
//
// Each Apply is one transaction. It first locks the rows of all documents that
// it may change, in the order of tenant and ID, and takes no lock on a document
// after that: so two of them can wait for each other in one direction only, and
// the later one sees all that the earlier did. Search and Dump read from one
// snapshot. So nobody ever sees half a revision, or two of one document.
//
// # Vectors
//
// Each space has a table of its own, since vectors of different length cannot share
// an index, and its HNSW index holds the visible rows only. The index has the
// directions of the vectors in half precision, half the memory; the order of what it
// finds is decided by the exact vectors. What a filter leaves few of is compared
// exactly, row by row; and so it is whenever the index comes back with less than
// was asked for. A filter therefore costs time at most, never hits. Vectors of lexical
// models have no index: keyword search proposes whom to compare (createSpace).
//
// # Words
//
// ts_rank does not know how rare a word is, reads the whole tsvector of every
// match, and a configuration has one language. So words are found by the same
// terms and ranked by the same BM25 as in the SQLite store (keyword.go).
package pgvector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	pgxvec "github.com/pgvector/pgvector-go/pgx"

	"sluice/pkg/words"
	"sluice/services/indexer/index"
)

// Options configure a Store. The zero value is a good choice.
type Options struct {
	// Connections bounds the pool; 0 is DefaultConnections. "pool_max_conns" in
	// the URL wins.
	Connections int
	// Timeout bounds each statement, on the server; 0 is DefaultTimeout.
	Timeout time.Duration
	// Relaxed lets a commit return before it is on the server's disk
	// (synchronous_commit=off): a crash of the server can undo the last
	// fractions of a second, though they were reported and acknowledged.
	Relaxed bool
}

// Defaults of Options.
const (
	DefaultConnections = 8
	DefaultTimeout     = 60 * time.Second
)

// Store implements index.Store. Use Open.
type Store struct {
	shown   string // the place, without credentials
	schema  string
	secrets []string
	timeout time.Duration // of a statement
	pool    *pgxpool.Pool

	analyzers words.Pool

	mu     sync.RWMutex
	spaces map[string]space // that are known to exist; they never change
	totals map[string]cached[total]
	common cached[map[int64]float64]
}

// space is a vector space: one model's.
type space struct {
	id         int32
	dimensions int
}

var _ index.Store = (*Store)(nil)

// Open connects to the database that place names, postgres://..., and makes
// the schema of the index or brings it up to date.
//
// Its faults have class Halt and say what to do: "configuration",
// "index-refused", "index-missing", "index-no-pgvector", "index-pgvector-old",
// "index-newer", "index-foreign"; or class Unavailable: "index-unreachable".
// None of them shows a credential.
func Open(ctx context.Context, place string, opts Options) (*Store, error) {
	place = strings.TrimSpace(place)
	l, err := parse(place)
	if err != nil {
		return nil, err
	}
	s := &Store{
		shown: l.shown, schema: l.schema, secrets: secretsOf(place, l.pool.ConnConfig),
		timeout:   cmp.Or(opts.Timeout, DefaultTimeout),
		analyzers: words.NewPool(),
		spaces:    make(map[string]space),
		totals:    make(map[string]cached[total]),
	}
	cfg := l.pool
	// Besides the name only the URL's own parameters go with the start of a connection:
	// a pooler refuses the ones that it does not know. The rest is set after it.
	params := cfg.ConnConfig.RuntimeParams
	if params["application_name"] == "" {
		params["application_name"] = "sluice-indexer"
	}

	// A connection of its own: migrations may take longer than a statement
	// should, and the pool's connections need what they create.
	conn, err := pgx.ConnectConfig(ctx, cfg.ConnConfig.Copy())
	if err != nil {
		return nil, s.explain(err, "connect")
	}
	extension, err := s.migrate(ctx, conn)
	if closeErr := conn.Close(context.WithoutCancel(ctx)); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, s.explain(err, "open")
	}

	delete(params, "search_path")
	names, values := []string{"search_path"}, []string{s.searchPath(extension)}
	set := func(name, value string) {
		if params[name] == "" {
			names, values = append(names, name), append(values, value)
		}
	}
	set("statement_timeout", strconv.FormatInt(s.timeout.Milliseconds(), 10))
	// A peer that vanished in the middle of a transaction must not keep its
	// locks for the two hours that TCP would.
	set("idle_in_transaction_session_timeout", strconv.FormatInt(idleTimeout.Milliseconds(), 10))
	set("jit", "off") // compiling costs more than these statements take
	set("tcp_keepalives_idle", "30")
	set("tcp_user_timeout", "30000")
	if opts.Relaxed {
		set("synchronous_commit", "off")
	}
	if u, err := url.Parse(place); err == nil && !u.Query().Has("pool_max_conns") {
		cfg.MaxConns = int32(cmp.Or(opts.Connections, DefaultConnections))
	}
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		ctx, cancel := s.bounded(ctx) // the pool's: it has no end of its own
		defer cancel()
		_, err := conn.Exec(ctx, "SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS s (name, value)", names, values)
		if err == nil {
			err = pgxvec.RegisterTypes(ctx, conn)
		}
		if err != nil {
			return given(ctx, err)
		}
		return nil
	}
	if s.pool, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return nil, s.explain(err, "connect")
	}
	return s, nil
}

// idleTimeout ends a transaction that its client has forgotten or lost.
const idleTimeout = 60 * time.Second

// errOverdue is why a call was given up that the server's own timeout did not end:
// nothing comes from there any more.
var errOverdue = errors.New("no answer for many times the timeout of a statement")

// bounded bounds a call of a handful of statements on this side of the network.
func (s *Store) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, 5*s.timeout, errOverdue)
}

// secretsOf returns the strings that no error may show.
func secretsOf(place string, cfg *pgx.ConnConfig) []string {
	secrets := []string{place, cfg.Password}
	if u, err := url.Parse(place); err == nil {
		if p, ok := u.User.Password(); ok {
			secrets = append(secrets, p, url.QueryEscape(p), url.PathEscape(p))
		}
		secrets = append(secrets, u.Query()["password"]...)
	}
	return secrets
}

// Ping reports whether the database answers and takes writes.
func (s *Store) Ping(ctx context.Context) error {
	var standby bool
	err := s.pool.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&standby)
	if err == nil && standby {
		err = fmt.Errorf("it is a standby, which takes no writes")
	}
	return s.explain(err, "ping")
}

// Close ends the store after the calls at work. Closing twice is no error.
func (s *Store) Close() error {
	s.pool.Close()
	return nil
}

// cached is a figure that may be a little old.
type cached[T any] struct {
	value T
	until time.Time
}

// keep returns v as something to be used for so long that working it out, which
// took so long, is about a hundredth of all work.
func keep[T any](v T, took time.Duration) cached[T] {
	return cached[T]{v, time.Now().Add(min(100*took, time.Minute))}
}

func (c cached[T]) fresh() bool { return time.Now().Before(c.until) }
