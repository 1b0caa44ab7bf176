package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"os"
	"slices"

	"sluice/pkg/events"
	"sluice/services/indexer/index"
	"sluice/services/indexer/internal/revision"
	"sluice/services/indexer/sqlite/internal/ram"
)

// scanChunk reads a row of id, space, words, terms, code.
func scanChunk(rows *sql.Rows) (ram.Chunk, error) {
	var c ram.Chunk
	var terms sql.RawBytes
	var code []byte
	if err := rows.Scan(&c.Row, &c.Space, &c.Length, &terms, &code); err != nil {
		return c, err
	}
	var ok bool
	if c.Terms, ok = ram.DecodeTerms(terms); !ok {
		return c, damaged("the words in row %d cannot be read", c.Row)
	}
	c.Code = code
	return c, nil
}

// load reads what search keeps in memory.
func (s *Store) load(ctx context.Context) error {
	dimensions := make(map[int]int)
	err := each(ctx, s.reader, "SELECT id, model, dimensions FROM space", nil, func(rows *sql.Rows) error {
		var sp space
		var model string
		if err := rows.Scan(&sp.id, &model, &sp.dimensions); err != nil {
			return err
		}
		s.spaces[model] = sp
		dimensions[int(sp.id)] = sp.dimensions
		return nil
	})
	if err != nil {
		return err
	}
	err = s.reader.QueryRowContext(ctx, "SELECT (SELECT coalesce(max(id), 0) FROM document) + 1, (SELECT coalesce(max(id), 0) FROM edition) + 1").
		Scan(&s.nextDoc, &s.nextEdition)
	if err != nil {
		return err
	}
	type edition struct {
		doc   ram.Document
		about string
		want  int
	}
	visible := make(map[int64]edition)
	err = each(ctx, s.reader, "SELECT e.id, d.id, d.tenant, e.chunks, e.about, e.language FROM document d JOIN edition e ON e.id = d.visible", nil, func(rows *sql.Rows) error {
		var id int64
		var e edition
		if err := rows.Scan(&id, &e.doc.ID, &e.doc.Tenant, &e.want, &e.about, &e.doc.Language); err != nil {
			return err
		}
		visible[id] = e
		return nil
	})
	if err != nil {
		return err
	}
	a, done := s.analyzers.Lend()
	defer done()
	// Rows come by edition: a document is whole when the next one begins.
	var at int64
	var chunks []ram.Chunk
	put := func() error {
		e, ok := visible[at]
		if !ok {
			return nil
		}
		delete(visible, at)
		var about events.About
		if err := json.Unmarshal([]byte(e.about), &about); err != nil || len(chunks) != e.want {
			return damaged("edition %d has %d of %d chunks, or no readable facts", at, len(chunks), e.want)
		}
		e.doc.Meta, e.doc.Chunks = about.Meta, chunks
		e.doc.Terms = slices.Clone(revision.Titles(&about, e.doc.Language, a))
		s.ram.Put(e.doc)
		return nil
	}
	err = each(ctx, s.reader, "SELECT id, space, words, terms, code FROM chunk ORDER BY id", nil, func(rows *sql.Rows) error {
		c, err := scanChunk(rows)
		if err != nil {
			return err
		}
		if e := c.Row >> ordinalBits; e != at {
			if err := put(); err != nil {
				return err
			}
			at, chunks = e, chunks[:0]
		}
		if !c.Code.Valid(dimensions[c.Space]) {
			return damaged("the vector of row %d cannot be read", c.Row)
		}
		chunks = append(chunks, c)
		return nil
	})
	if err == nil {
		err = put()
	}
	if err == nil && len(visible) > 0 {
		err = damaged("%d documents have lost their chunks", len(visible))
	}
	return err
}

// queryer is a *sql.DB or a *sql.Tx.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// each calls do for each row of a query.
func each(ctx context.Context, from queryer, query string, args []any, do func(*sql.Rows) error) error {
	rows, err := from.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := do(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// view calls read with one unchanging state of the file.
func (s *Store) view(ctx context.Context, read func(tx *sql.Tx) error) error {
	s.mem.RLock()
	closed := s.closed
	s.mem.RUnlock()
	if closed {
		return s.closedFault()
	}
	tx, err := s.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return s.explain(err, "read")
	}
	err = read(tx)
	_ = tx.Rollback() // a read transaction has nothing to lose
	return s.explain(err, "read")
}

// Document implements index.Store.
func (s *Store) Document(ctx context.Context, tenant, id string) (index.Document, error) {
	var out index.Document
	err := s.view(ctx, func(tx *sql.Tx) error {
		var doc, visible int64
		err := tx.QueryRowContext(ctx, "SELECT id, floor, visible FROM document WHERE tenant = ? AND key = ?", cmp.Or(tenant, events.DefaultTenant), id).
			Scan(&doc, &out.Floor, &visible)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		return each(ctx, tx, "SELECT "+editionColumns+" FROM edition WHERE document = ? ORDER BY revision, chunks", []any{doc}, func(rows *sql.Rows) error {
			e, err := scanEdition(rows)
			switch {
			case err != nil:
				return err
			case e.id == visible:
				out.Visible = e.Describe()
			default:
				out.Staged = append(out.Staged, index.Staging{Revision: e.Revision, Have: e.Have, Of: e.Chunks})
			}
			return nil
		})
	})
	return out, err
}

// listPage is how many documents are listed by one transaction.
const listPage = 1000

// Documents implements index.Store.
func (s *Store) Documents(ctx context.Context, yield func(tenant, document string) error) error {
	last := int64(0)
	for {
		var page []documentKey
		err := s.view(ctx, func(tx *sql.Tx) error {
			return each(ctx, tx, "SELECT id, tenant, key FROM document WHERE id > ? ORDER BY id LIMIT ?", []any{last, listPage}, func(rows *sql.Rows) error {
				var k documentKey
				err := rows.Scan(&last, &k.tenant, &k.id)
				page = append(page, k)
				return err
			})
		})
		if err != nil || len(page) == 0 {
			return err
		}
		for _, k := range page {
			if err := yield(k.tenant, k.id); err != nil {
				return err
			}
		}
	}
}

// Newest implements index.Store.
func (s *Store) Newest(ctx context.Context) (events.Revision, error) {
	var r int64
	err := s.view(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT max(coalesce((SELECT max(floor) FROM document), 0), coalesce((SELECT max(revision) FROM edition), 0))").Scan(&r)
	})
	return events.Revision(r), err
}

// Dump implements index.Store.
func (s *Store) Dump(ctx context.Context, yield func(index.Entry) error) error {
	return s.view(ctx, func(tx *sql.Tx) error {
		var embedding []byte
		return each(ctx, tx, `
			SELECT d.tenant, d.key, e.revision, t.id & 0xFFFFF, c.key, s.model, s.dimensions, t.text, t.embedding
			FROM document d JOIN edition e ON e.id = d.visible
			JOIN chunk c ON c.id BETWEEN e.id << 20 AND (e.id << 20) + 0xFFFFF
			JOIN content t ON t.id = c.id JOIN space s ON s.id = c.space
			ORDER BY d.tenant, d.key, t.id`, nil, func(rows *sql.Rows) error {
			var e index.Entry
			var dimensions int
			var text, packed sql.RawBytes
			if err := rows.Scan(&e.Tenant, &e.Document, &e.Revision, &e.Ordinal, &e.Chunk, &e.Model, &dimensions, &text, &packed); err != nil {
				return err
			}
			v, ok := unpack(nil, packed, dimensions)
			if !ok {
				return damaged("the vector of chunk %s cannot be read", e.Chunk)
			}
			embedding = append(append(embedding[:0], text...), events.EncodeVector(v)...)
			e.Hash = events.ContentHash(embedding)
			return yield(e)
		})
	})
}

// Stats implements index.Store.
func (s *Store) Stats(ctx context.Context) (index.Stats, error) {
	var out index.Stats
	err := s.view(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `
			SELECT (SELECT count(*) FROM document WHERE visible != 0),
				(SELECT coalesce(sum(e.have), 0) FROM edition e JOIN document d ON d.id = e.document WHERE d.visible != e.id)`).
			Scan(&out.Documents, &out.Staged)
		if err != nil {
			return err
		}
		return each(ctx, tx, `
			SELECT d.tenant, s.model, s.dimensions, count(*)
			FROM document d JOIN chunk c ON c.id BETWEEN d.visible << 20 AND (d.visible << 20) + 0xFFFFF
			JOIN space s ON s.id = c.space
			WHERE d.visible != 0 GROUP BY 1, 2, 3 ORDER BY 1, 2`, nil, func(rows *sql.Rows) error {
			var sp index.Space
			err := rows.Scan(&sp.Tenant, &sp.Model, &sp.Dimensions, &sp.Chunks)
			out.Spaces = append(out.Spaces, sp)
			return err
		})
	})
	if err != nil {
		return out, err
	}
	for _, suffix := range []string{"", "-wal"} {
		if info, err := os.Stat(s.path + suffix); err == nil {
			out.Bytes += info.Size()
		}
	}
	s.mem.RLock()
	out.Memory = s.ram.Bytes()
	s.mem.RUnlock()
	return out, nil
}

// Check verifies the file against its own checksums and rules, which reads all
// of it. It returns a Halt fault "index-corrupt" that quotes the first damage.
func (s *Store) Check(ctx context.Context) error {
	return s.view(ctx, func(tx *sql.Tx) error {
		var verdict string
		if err := tx.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&verdict); err != nil {
			return err
		}
		if verdict != "ok" {
			return damaged("%s", verdict)
		}
		return nil
	})
}
