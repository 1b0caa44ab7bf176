package pgvector

import (
	"errors"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"sluice/pkg/fault"
)

// IsURL reports whether the place of an index names a Postgres and no file.
func IsURL(place string) bool {
	scheme, _, ok := strings.Cut(strings.TrimSpace(place), "://")
	return ok && (strings.EqualFold(scheme, "postgres") || strings.EqualFold(scheme, "postgresql"))
}

// Redact returns what of a Postgres URL may be shown to anyone: host, port and
// database. User, password and parameters, which may hold another password,
// are left out.
func Redact(place string) string {
	u, err := url.Parse(strings.TrimSpace(place))
	if err != nil || misread(u) {
		return "postgres://..."
	}
	return (&url.URL{Scheme: "postgres", Host: u.Host, Path: u.Path}).String()
}

// misread reports whether a "/", "?" or "#" of the password has ended the host, as a
// parser sees it: the "@" that should have come before the host comes after it.
func misread(u *url.URL) bool {
	return strings.Contains(u.EscapedPath()+u.RawQuery+u.EscapedFragment(), "@")
}

// DefaultSchema holds the tables of an index unless the URL says "?schema=".
const DefaultSchema = "sluice"

// location is a parsed URL.
type location struct {
	shown  string
	schema string
	pool   *pgxpool.Config
}

// parse reads the URL of an index. Its faults quote nothing of the URL: a
// URL that cannot be read cannot be redacted either.
func parse(place string) (location, error) {
	malformed := func(what string) (location, error) {
		return location{}, fault.New(fault.Halt, "configuration", "the URL of the Postgres index cannot be read: %s", what).
			WithHint("use postgres://USER:PASSWORD@HOST:5432/DATABASE; special characters of the password are written as %%XX")
	}
	u, err := url.Parse(place)
	if err != nil {
		return malformed("it is no URL")
	}
	if misread(u) {
		return malformed("there is an \"@\" after the host")
	}
	l := location{shown: Redact(place), schema: DefaultSchema}
	query := u.Query()
	if s := query.Get("schema"); s != "" {
		if !validText(s) || len(s) > 63 || strings.HasPrefix(s, "pg_") {
			return malformed("the schema's name is not possible")
		}
		l.schema = s
	}
	query.Del("schema")
	u.RawQuery = query.Encode()
	if l.pool, err = pgxpool.ParseConfig(u.String()); err != nil {
		return malformed("a part of it is wrong: " + culprit(err))
	}
	return l, nil
}

// culprit names the parameter that a parser rejects, if it can be told without
// quoting its value.
func culprit(err error) string {
	for e := err; e != nil; e = errors.Unwrap(e) {
		for _, name := range []string{"sslmode", "port", "pool_max_conns", "connect_timeout", "sslrootcert", "sslcert", "sslkey", "target_session_attrs"} {
			if strings.Contains(e.Error(), "invalid "+name) || strings.Contains(e.Error(), "cannot parse "+name) {
				return name
			}
		}
	}
	return "host, port, user or a parameter"
}

// redacted is an error whose text does not hold the password.
type redacted struct {
	text string
	err  error
}

func (r redacted) Error() string { return r.text }
func (r redacted) Unwrap() error { return r.err }

// scrub takes secrets out of the text of an error. pgx puts none into it, of
// all that has been seen; this is for what has not been seen.
func scrub(err error, secrets []string) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	clean := text
	for _, s := range secrets {
		if s != "" {
			clean = strings.ReplaceAll(clean, s, "xxxxx")
		}
	}
	if clean == text {
		return err
	}
	return redacted{clean, err}
}
