package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"sluice/pkg/fault"
)

// applicationID marks the file as an index of this program: "SLUX".
const applicationID = 0x534C5558

// migrations lead from one schema version (PRAGMA user_version) to the next:
// migrations[0] makes an empty file version 1. Only ever append.
var migrations = []string{
	`
	-- A vector space. Its dimensions never change.
	CREATE TABLE space (
		id         INTEGER PRIMARY KEY,
		model      TEXT NOT NULL UNIQUE,
		dimensions INTEGER NOT NULL
	) STRICT;

	-- A document that was ever seen. It stays after its deletion, to remember
	-- below which revision everything is stale.
	CREATE TABLE document (
		id      INTEGER PRIMARY KEY,
		tenant  TEXT NOT NULL,
		key     TEXT NOT NULL,              -- the document's ID
		floor   INTEGER NOT NULL,           -- revision of the last tombstone, or 0
		visible INTEGER NOT NULL,           -- edition, or 0
		UNIQUE (tenant, key)
	) STRICT;

	-- A revision, staged or visible, in one of its cuts into chunks.
	CREATE TABLE edition (
		id       INTEGER PRIMARY KEY,
		document INTEGER NOT NULL,
		revision INTEGER NOT NULL,
		chunks   INTEGER NOT NULL,          -- that make it whole
		have     INTEGER NOT NULL,
		reused   INTEGER NOT NULL,
		degraded INTEGER NOT NULL,
		tokens   INTEGER NOT NULL,
		nano     INTEGER NOT NULL,
		model    TEXT NOT NULL,             -- of most chunks; '' until visible
		about    TEXT NOT NULL              -- JSON; '' until ordinal 0 is there
	) STRICT;
	CREATE INDEX edition_document ON edition (document);

	-- What search keeps in memory, apart from content so that loading it does
	-- not read the texts. Row IDs are edition * 2^20 + ordinal.
	CREATE TABLE chunk (
		id       INTEGER PRIMARY KEY,
		key      TEXT NOT NULL,             -- the chunk's ID
		space    INTEGER NOT NULL,
		tokens   INTEGER NOT NULL,
		nano     INTEGER NOT NULL,
		reused   INTEGER NOT NULL,
		degraded INTEGER NOT NULL,
		words    INTEGER NOT NULL,
		terms    BLOB NOT NULL,             -- package ram
		code     BLOB NOT NULL              -- package ram
	) STRICT;

	CREATE TABLE content (
		id        INTEGER PRIMARY KEY,      -- as in chunk
		embedding BLOB NOT NULL,            -- pack.go
		start     INTEGER NOT NULL,
		page      INTEGER NOT NULL,
		headings  TEXT NOT NULL,            -- JSON array, or ''
		text      TEXT NOT NULL
	) STRICT;
	`,
	`
	ALTER TABLE content ADD COLUMN header TEXT NOT NULL DEFAULT ''; -- of the table that the chunk goes on with
	`,
	`
	ALTER TABLE edition ADD COLUMN language TEXT NOT NULL DEFAULT ''; -- that its words are stemmed by; '' as English
	`,
}

// migrate brings the file to the newest schema.
func (s *Store) migrate(ctx context.Context) error {
	var id, version, tables int
	err := s.conn.QueryRowContext(ctx, `SELECT a.application_id, u.user_version, (SELECT count(*) FROM sqlite_schema)
		FROM pragma_application_id a, pragma_user_version u`).Scan(&id, &version, &tables)
	switch {
	case err != nil:
		return s.explain(err, "open")
	case id != applicationID && (id != 0 || version != 0 || tables != 0):
		return fault.New(fault.Halt, "index-foreign", "%s is an SQLite file, but not an index of Sluice", s.path).
			WithHint("configure another path for the index")
	case version > len(migrations):
		return fault.New(fault.Halt, "index-newer", "%s has schema version %d, this build knows %d", s.path, version, len(migrations)).
			WithHint("a newer release wrote it: use that release, or configure another path and submit the documents again")
	}
	for ; version < len(migrations); version++ {
		script := fmt.Sprintf("BEGIN IMMEDIATE; %s PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT",
			migrations[version], applicationID, version+1)
		if _, err := s.conn.ExecContext(ctx, script); err != nil {
			_, rollbackErr := s.conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
			return s.explain(errors.Join(err, rollbackErr), "migrate")
		}
	}
	return nil
}

// statements are prepared once, on the writer's connection.
type statements struct {
	begin, commit, rollback, checkpoint *sql.Stmt
	document, editions, chunk, chunks   *sql.Stmt
	putDocument, putEdition, putSpace   *sql.Stmt
	putChunk, putContent                *sql.Stmt
	dropEdition, dropChunks, dropTexts  *sql.Stmt
}

func (s *Store) prepare(ctx context.Context) error {
	for _, p := range []struct {
		to   **sql.Stmt
		text string
	}{
		{&s.stmt.begin, "BEGIN IMMEDIATE"},
		{&s.stmt.commit, "COMMIT"},
		{&s.stmt.rollback, "ROLLBACK"},
		{&s.stmt.checkpoint, "PRAGMA wal_checkpoint(PASSIVE)"},
		{&s.stmt.document, "SELECT id, floor, visible FROM document WHERE tenant = ? AND key = ?"},
		{&s.stmt.editions, "SELECT " + editionColumns + " FROM edition WHERE document = ? ORDER BY id"},
		{&s.stmt.chunk, "SELECT key, tokens, nano, reused, degraded FROM chunk WHERE id = ?"},
		{&s.stmt.chunks, "SELECT id, space, words, terms, code FROM chunk WHERE id BETWEEN ? AND ? ORDER BY id"},
		{&s.stmt.putDocument, "INSERT INTO document (id, tenant, key, floor, visible) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET floor = excluded.floor, visible = excluded.visible"},
		{&s.stmt.putEdition, "INSERT OR REPLACE INTO edition (" + editionColumns + ", document) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"},
		{&s.stmt.putSpace, "INSERT INTO space (id, model, dimensions) VALUES (?, ?, ?)"},
		{&s.stmt.putChunk, "INSERT OR REPLACE INTO chunk (id, key, space, tokens, nano, reused, degraded, words, terms, code) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"},
		{&s.stmt.putContent, "INSERT OR REPLACE INTO content (id, embedding, start, page, headings, header, text) VALUES (?, ?, ?, ?, ?, ?, ?)"},
		{&s.stmt.dropEdition, "DELETE FROM edition WHERE id = ?"},
		{&s.stmt.dropChunks, "DELETE FROM chunk WHERE id BETWEEN ? AND ?"},
		{&s.stmt.dropTexts, "DELETE FROM content WHERE id BETWEEN ? AND ?"},
	} {
		var err error
		if *p.to, err = s.conn.PrepareContext(ctx, p.text); err != nil {
			return fmt.Errorf("%s: %w", p.text, err)
		}
	}
	return nil
}
