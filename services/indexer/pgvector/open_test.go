package pgvector

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"sluice/pkg/fault"
	"sluice/services/indexer/index"
	"sluice/services/indexer/pgvector/pgtest"
)

func wantFault(t *testing.T, err error, class fault.Class, reason string) {
	t.Helper()
	var f *fault.Error
	if !errors.As(err, &f) || f.Class != class || f.Reason != reason || f.Hint == "" {
		t.Fatalf("error %+v, want %v %s with a hint", err, class, reason)
	}
}

func openFails(t *testing.T, place string, class fault.Class, reason string) {
	t.Helper()
	s, err := Open(context.Background(), place, Options{})
	if err == nil {
		_ = s.Close()
	}
	wantFault(t, err, class, reason)
}

// as returns place with another user.
func as(t *testing.T, place, user string) string {
	t.Helper()
	u, err := url.Parse(place)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(user)
	return u.String()
}

func TestSchemaOfANewerRelease(t *testing.T) {
	place := pgtest.Shared(t).Place(t)
	s := open(t, place)
	if _, err := s.pool.Exec(context.Background(), "UPDATE schema_version SET version = version + 1"); err != nil {
		t.Fatal(err)
	}
	openFails(t, place, fault.Halt, "index-newer")
}

func TestForeignSchema(t *testing.T) {
	place := pgtest.Shared(t).Database(t)
	pgtest.Exec(t, place, "CREATE TABLE public.payroll (name text)")
	openFails(t, place+"&schema=public", fault.Halt, "index-foreign")
	open(t, place) // in a schema of its own it disturbs nobody
}

// Without the right to create anything in the database, all there has to be is
// the extension and a schema of one's own.
func TestPlainUser(t *testing.T) {
	server := pgtest.Shared(t)
	place := server.Database(t)
	user := fmt.Sprint("plain_", strings.ReplaceAll(strings.ToLower(t.Name()), "/", "_"))
	server.Exec(t, "DROP ROLE IF EXISTS "+user, "CREATE ROLE "+user+" LOGIN")
	t.Cleanup(func() { server.Exec(t, "DROP ROLE "+user) })
	t.Cleanup(func() { pgtest.Exec(t, place, "DROP OWNED BY "+user+" CASCADE") })
	plain := as(t, place, user)
	openFails(t, plain, fault.Halt, "index-no-pgvector")
	pgtest.Exec(t, place, "CREATE SCHEMA extensions", "CREATE EXTENSION vector SCHEMA extensions", "GRANT USAGE ON SCHEMA extensions TO "+user)
	openFails(t, plain, fault.Halt, "index-refused") // it may not make the schema
	pgtest.Exec(t, place, "CREATE SCHEMA sluice AUTHORIZATION "+user)
	s := open(t, plain+"\n")
	if out, err := s.Apply(context.Background(), []index.Op{chunk("acme", 1, 1, 0, 1, "text")}); err != nil || out[0].Kind != index.Completed {
		t.Fatal(out, err)
	}
	open(t, plain)
}

// A pooler knows few parameters of a connection's start, and refuses the others:
// the URL's own are all that it is sent. The settings are there nevertheless, and
// the URL's win.
func TestSettingsComeAfterTheStart(t *testing.T) {
	s, err := Open(context.Background(), pgtest.Shared(t).Place(t)+"&jit=on&search_path=nowhere", Options{Timeout: 7 * time.Second, Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if sent := s.pool.Config().ConnConfig.RuntimeParams; !maps.Equal(sent, map[string]string{"application_name": "sluice-indexer", "jit": "on"}) {
		t.Errorf("a connection starts with %v", sent)
	}
	for name, want := range map[string]string{
		"statement_timeout": "7s", "idle_in_transaction_session_timeout": "1min", "synchronous_commit": "off", "jit": "on",
		"search_path": s.searchPath("public"),
	} {
		var got string
		if err := s.pool.QueryRow(context.Background(), "SELECT current_setting($1)", name).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, want %q (%v)", name, got, want, err)
		}
	}
}

// A server without pgvector answers as it does for any extension that it lacks.
func TestServerWithoutPgvector(t *testing.T) {
	s := open(t, pgtest.Shared(t).Place(t))
	_, err := s.pool.Exec(context.Background(), "CREATE EXTENSION sluice_has_no_such_extension")
	wantFault(t, s.noExtension(err), fault.Halt, "index-no-pgvector")
	for version, ok := range map[string]bool{"0.8.0": true, "0.8.2": true, "1.0": true, "0.7.4": false, "x": false} {
		if v, read := parseVersion(version); (read && (v[0] > 0 || v[1] >= 8)) != ok {
			t.Errorf("version %s is read as %v", version, v)
		}
	}
}

func TestMissingDatabaseAndUser(t *testing.T) {
	place := pgtest.Shared(t).Database(t)
	u, err := url.Parse(place)
	if err != nil {
		t.Fatal(err)
	}
	openFails(t, as(t, place, "nobody_of_this_name"), fault.Halt, "index-refused")
	u.Path = "/no_such_database"
	openFails(t, u.String(), fault.Halt, "index-missing")
}

// No error shows the password, in whatever form it was given.
func TestCredentialsStayHidden(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	const secret = "s3cr3t/p@ss"
	escaped := url.QueryEscape(secret)
	live, err := url.Parse(pgtest.Shared(t).Place(t))
	if err != nil {
		t.Fatal(err)
	}
	live.User = url.UserPassword("nobody_of_this_name", secret)
	for _, place := range []string{
		"postgres://u:" + escaped + "@" + closed + "/db",
		"postgres://u@" + closed + "/db?password=" + escaped,
		"postgres://u:" + secret + "@" + closed + "/db",
		"postgres://u:" + escaped + "@" + closed + "/db?sslmode=maybe",
		"postgres://u:" + escaped + "@" + closed + ":x/db",
		"postgres://u:" + escaped + "@[::1/db",
		"postgres://u:" + escaped + "@" + closed + "/db?pool_max_conns=many",
		"postgres://u:" + escaped + "@no.such.host.invalid/db?connect_timeout=2",
		"postgres://u:" + escaped + "@" + closed + "/db?schema=pg_x",
		"postgres://u:12/s3cr3t@" + closed + "/db", // which a parser takes for the port 12
		"postgres://u:12?s3cr3t@" + closed + "/db",
		"postgres://u:12#s3cr3t@" + closed + "/db",
		"postgres://u:p@ss/s3cr3t@" + closed + "/db",
		"POSTGRESQL://u:%zz" + escaped + "@" + closed + "/db",
		live.String(),
	} {
		if !IsURL(place) {
			t.Fatalf("%s is taken for a file", place)
		}
		s, err := Open(context.Background(), place, Options{})
		if err == nil {
			_ = s.Close()
			t.Errorf("%s can be opened", place)
			continue
		}
		f := fault.From(err)
		for _, said := range []string{err.Error(), f.Message, f.Hint, fmt.Sprintf("%+v", f), Redact(place)} {
			if strings.Contains(said, "s3cr3t") || strings.Contains(said, "p@ss") || strings.Contains(said, escaped) {
				t.Errorf("a secret is shown: %s", said)
			}
		}
	}
	// And if a server or a library should ever quote it.
	quoted := scrub(fmt.Errorf("no login with %s: %w", secret, pgx.ErrNoRows), []string{secret})
	if strings.Contains(quoted.Error(), secret) || !errors.Is(quoted, pgx.ErrNoRows) {
		t.Error("scrubbed:", quoted)
	}
}

func TestPlaces(t *testing.T) {
	for place, want := range map[string]string{
		"postgres://u:p@host:5432/db?sslmode=verify-full&password=x": "postgres://host:5432/db",
		"postgresql://host/db":        "postgres://host/db",
		"postgres://u:p@a:1,b:2/db":   "postgres://a:1,b:2/db",
		"postgres://u:p%zz@host/db":   "postgres://...",
		"postgres://u:1/2@host/db":    "postgres://...",
		"postgres://u:1?2@host/db":    "postgres://...",
		"postgres://u:p@1/2@host/db":  "postgres://...",
		"postgres://u:p@host/d%40b":   "postgres://host/d@b",
		"postgres://u:p@host/db\n":    "postgres://host/db", // as a file of a secret ends
		"postgres:///db?host=/socket": "postgres:///db",
	} {
		if got := Redact(place); got != want || !IsURL(place) {
			t.Errorf("%s is shown as %s, want %s", place, got, want)
		}
	}
	for _, file := range []string{"index.db", "/var/lib/postgres/index.db", "./postgres:/x", "file://x", "postgres", ""} {
		if IsURL(file) {
			t.Errorf("%q is taken for a URL", file)
		}
	}
}

// A schema of the first version has neither headers nor languages. It is brought up
// to date, and its words go on as English ones.
func TestSchemaOfTheFirstVersion(t *testing.T) {
	ctx := context.Background()
	place := pgtest.Shared(t).Place(t)
	s := open(t, place)
	put(t, s, []index.Op{chunk("acme", 1, 1, 0, 1, "Invoices were refunded.")})
	if _, err := s.pool.Exec(ctx, `ALTER TABLE chunk DROP COLUMN header; ALTER TABLE edition DROP COLUMN language; DROP TABLE language;
		UPDATE schema_version SET version = 1`); err != nil {
		t.Fatal(err)
	}
	s = open(t, place)
	hits, err := s.Search(ctx, index.Query{Text: "invoice refund", Tenant: "acme", Mode: index.Keyword})
	if err != nil || len(hits) != 1 {
		t.Errorf("after the migration %+v, %v", hits, err)
	}
}
