package pgvector

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	pgvec "github.com/pgvector/pgvector-go"

	"sluice/pkg/events"
	"sluice/services/indexer/index"
)

// Document implements index.Store.
func (s *Store) Document(ctx context.Context, tenant, id string) (index.Document, error) {
	var out index.Document
	key := keyOf(tenant, id)
	if !validText(key.tenant) || !validText(key.id) {
		return out, nil
	}
	err := s.view(ctx, func(tx pgx.Tx) error {
		var doc, visible int64
		err := tx.QueryRow(ctx, "SELECT id, floor, visible FROM document WHERE tenant = $1 AND key = $2", key.tenant, key.id).Scan(&doc, &out.Floor, &visible)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, "SELECT "+editionColumns+" FROM edition WHERE document = $1 ORDER BY revision, chunks", doc)
		if err != nil {
			return err
		}
		return each(rows, func() error {
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
		err := s.view(ctx, func(tx pgx.Tx) error {
			page = page[:0] // the transaction may be begun again
			rows, err := tx.Query(ctx, "SELECT id, tenant, key FROM document WHERE id > $1 ORDER BY id LIMIT $2", last, listPage)
			if err != nil {
				return err
			}
			next := last
			err = each(rows, func() error {
				var k documentKey
				err := rows.Scan(&next, &k.tenant, &k.id)
				page = append(page, k)
				return err
			})
			if err == nil {
				last = next
			}
			return err
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
	err := s.view(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, "SELECT greatest(coalesce((SELECT max(floor) FROM document), 0), coalesce((SELECT max(revision) FROM edition), 0))").Scan(&r)
	})
	return events.Revision(r), err
}

// Dump implements index.Store.
func (s *Store) Dump(ctx context.Context, yield func(index.Entry) error) error {
	return s.view(ctx, func(tx pgx.Tx) error {
		spaces, err := allSpaces(ctx, tx)
		if err != nil || len(spaces) == 0 {
			return err
		}
		var vectors []string
		for _, sp := range spaces {
			vectors = append(vectors, "SELECT id, embedding::vector AS embedding FROM "+spaceTable(sp.id)+" WHERE visible")
		}
		rows, err := tx.Query(ctx, `
			SELECT d.tenant, d.key, e.revision, c.id, c.key, s.model, c.text, c.raw, v.embedding
			FROM document d JOIN edition e ON e.id = d.visible
			JOIN chunk c ON c.id >= e.id << 20 AND c.id < (e.id + 1) << 20 JOIN space s ON s.id = c.space
			LEFT JOIN (`+strings.Join(vectors, " UNION ALL ")+`) AS v ON v.id = c.id
			ORDER BY d.tenant, d.key, c.id`)
		if err != nil {
			return err
		}
		var content []byte
		return each(rows, func() error {
			var e index.Entry
			var row int64
			var text string
			var raw []byte
			var embedding *pgvec.Vector
			if err := rows.Scan(&e.Tenant, &e.Document, &e.Revision, &row, &e.Chunk, &e.Model, &text, &raw, &embedding); err != nil {
				return err
			}
			if embedding == nil {
				return damaged("chunk %s has no vector", e.Chunk)
			}
			if raw == nil {
				raw = []byte(text)
			}
			content = append(append(content[:0], raw...), events.EncodeVector(embedding.Slice())...)
			e.Ordinal, e.Hash = ordinalOf(row), events.ContentHash(content)
			return yield(e)
		})
	})
}

type namedSpace struct {
	space
	model string
}

func allSpaces(ctx context.Context, tx pgx.Tx) ([]namedSpace, error) {
	rows, err := tx.Query(ctx, "SELECT id, model, dimensions FROM space ORDER BY model")
	if err != nil {
		return nil, err
	}
	var all []namedSpace
	err = each(rows, func() error {
		var n namedSpace
		err := rows.Scan(&n.id, &n.model, &n.dimensions)
		all = append(all, n)
		return err
	})
	return all, err
}

// Stats implements index.Store. Memory is the size of the indexes of vectors:
// a server whose shared_buffers and page cache hold them searches without a disk.
func (s *Store) Stats(ctx context.Context) (index.Stats, error) {
	var out index.Stats
	err := s.view(ctx, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `
			SELECT (SELECT count(*) FROM document WHERE visible <> 0),
				(SELECT coalesce(sum(e.have), 0) FROM edition e JOIN document d ON d.id = e.document WHERE d.visible <> e.id),
				(SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class WHERE relnamespace = to_regnamespace(quote_ident(current_schema())) AND relkind = 'r')::bigint,
				(SELECT coalesce(sum(pg_relation_size(c.oid)), 0) FROM pg_class c JOIN pg_am a ON a.oid = c.relam
					WHERE c.relnamespace = to_regnamespace(quote_ident(current_schema())) AND a.amname = 'hnsw')::bigint`).
			Scan(&out.Documents, &out.Staged, &out.Bytes, &out.Memory)
		if err != nil {
			return err
		}
		spaces, err := allSpaces(ctx, tx)
		if err != nil || len(spaces) == 0 {
			return err
		}
		var counts []string
		for _, sp := range spaces {
			counts = append(counts, "SELECT tenant, "+strings.TrimPrefix(spaceTable(sp.id), "space_")+" AS space, count(*) AS n FROM "+spaceTable(sp.id)+" WHERE visible GROUP BY tenant")
		}
		rows, err := tx.Query(ctx, "SELECT n.tenant, s.model, s.dimensions, n.n FROM ("+strings.Join(counts, " UNION ALL ")+`) AS n JOIN space s ON s.id = n.space
			ORDER BY n.tenant, s.model`)
		if err != nil {
			return err
		}
		return each(rows, func() error {
			var sp index.Space
			err := rows.Scan(&sp.Tenant, &sp.Model, &sp.Dimensions, &sp.Chunks)
			out.Spaces = append(out.Spaces, sp)
			return err
		})
	})
	return out, err
}
