package pgvector

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/jackc/pgx/v5"
	pgvec "github.com/pgvector/pgvector-go"

	"sluice/pkg/events"
	"sluice/pkg/words"
	"sluice/services/indexer/internal/revision"
)

// flush writes what has changed, in a few statements whatever the number of
// operations: rows are deleted by one statement a table, and come by COPY.
func (t *transaction) flush() error {
	if err := t.number(); err != nil {
		return err
	}
	if err := t.remove(); err != nil {
		return err
	}
	batch := new(pgx.Batch)
	t.putEditions(batch)
	t.putDocuments(batch)
	t.reveal(batch)
	t.putLanguages(batch)
	if err := t.send(batch); err != nil {
		return err
	}
	if err := t.copyChunks(); err != nil {
		return err
	}
	if err := t.copyVectors(); err != nil {
		return err
	}
	return t.copyWords()
}

func (t *transaction) send(b *pgx.Batch) error {
	if b.Len() == 0 {
		return nil
	}
	return t.tx.SendBatch(t.ctx, b).Close()
}

// editions calls do for each edition that is there.
func (t *transaction) editions(do func(*document, *edition)) {
	for _, d := range t.order {
		for _, e := range d.editions {
			do(d, e)
		}
	}
}

// number gives new editions their IDs.
func (t *transaction) number() error {
	var fresh []*edition
	t.editions(func(_ *document, e *edition) {
		if e.id == 0 {
			fresh = append(fresh, e)
		}
	})
	if len(fresh) == 0 {
		return nil
	}
	rows, err := t.tx.Query(t.ctx, "SELECT nextval(pg_get_serial_sequence('edition', 'id')) FROM generate_series(1, $1)", len(fresh))
	if err != nil {
		return err
	}
	n := 0
	return each(rows, func() error {
		n++
		return rows.Scan(&fresh[n-1].id)
	})
}

// remove deletes dropped editions, and the rows that others take the place of.
func (t *transaction) remove() error {
	var dropped, replaced, unworded []int64
	for _, d := range t.order {
		dropped = append(dropped, d.dropped...)
		for _, e := range d.editions {
			for ordinal := range e.fresh {
				if _, there := e.rows[ordinal]; there {
					replaced = append(replaced, rowID(e.id, ordinal))
				}
			}
			if e.shown && e.stored && e.retitled {
				unworded = append(unworded, e.id)
			}
		}
	}
	if len(dropped)+len(replaced)+len(unworded) == 0 {
		return nil
	}
	tables := []string{"chunk", "word"}
	if len(dropped)+len(replaced) > 0 {
		spaces, err := t.allSpaces()
		if err != nil {
			return err
		}
		tables = append(tables, spaces...)
	}
	slices.Sort(replaced)
	batch := new(pgx.Batch)
	within := func(table string, editions []int64) {
		if len(editions) > 0 {
			batch.Queue("DELETE FROM "+table+" r USING unnest($1::bigint[]) AS e (id) WHERE r.id >= e.id << 20 AND r.id < (e.id + 1) << 20", editions)
		}
	}
	for _, table := range tables {
		within(table, dropped)
		if len(replaced) > 0 {
			batch.Queue("DELETE FROM "+table+" WHERE id = ANY ($1)", replaced)
		}
	}
	within("word", unworded)
	if len(dropped) > 0 {
		batch.Queue("DELETE FROM edition WHERE id = ANY ($1)", dropped)
	}
	return t.send(batch)
}

// allSpaces returns the tables of all spaces that anything stored can be in.
func (t *transaction) allSpaces() ([]string, error) {
	rows, err := t.tx.Query(t.ctx, "SELECT id FROM space ORDER BY id")
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int32])
	var tables []string
	for _, id := range ids {
		tables = append(tables, spaceTable(id))
	}
	return tables, err
}

func (t *transaction) putEditions(batch *pgx.Batch) {
	var rows [][]any
	t.editions(func(d *document, e *edition) {
		if e.dirty {
			rows = append(rows, []any{e.id, d.row, int64(e.Revision), e.Chunks, e.Have, e.Reused, e.Degraded, int64(e.Tokens), e.Nano, e.Model, e.aboutJSON, metaOf(e.About), e.Language})
		}
	})
	if len(rows) == 0 {
		return
	}
	batch.Queue(`
		INSERT INTO edition (id, document, revision, chunks, have, reused, degraded, tokens, nano, model, about, meta, language)
		SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::integer[], $5::integer[], $6::integer[], $7::integer[],
			$8::bigint[], $9::bigint[], $10::text[], $11::text[], $12::jsonb[], $13::text[])
		ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, have = excluded.have, reused = excluded.reused, degraded = excluded.degraded,
			tokens = excluded.tokens, nano = excluded.nano, model = excluded.model, about = excluded.about, meta = excluded.meta,
			language = excluded.language`,
		column[int64](rows, 0), column[int64](rows, 1), column[int64](rows, 2), column[int](rows, 3), column[int](rows, 4), column[int](rows, 5),
		column[int](rows, 6), column[int64](rows, 7), column[int64](rows, 8), column[string](rows, 9), column[string](rows, 10), column[*string](rows, 11), column[string](rows, 12))
}

func column[T any](rows [][]any, i int) []T {
	out := make([]T, len(rows))
	for n, r := range rows {
		out[n] = r[i].(T)
	}
	return out
}

// metaOf returns the metadata to filter by, as JSON, or nil if there is none.
func metaOf(about *events.About) *string {
	if about == nil || len(about.Meta) == 0 {
		return nil
	}
	s := filterJSON(about.Meta)
	return &s
}

// filterJSON is the same on both sides of a comparison, and nothing that jsonb
// refuses.
func filterJSON(meta map[string]string) string {
	clean := make(map[string]string, len(meta))
	for k, v := range meta {
		clean[cleanText(k)] = cleanText(v)
	}
	return string(events.Encode(clean))
}

func (t *transaction) putDocuments(batch *pgx.Batch) {
	var rows [][]any
	for _, d := range t.order {
		if !d.dirty {
			continue
		}
		var visible int64
		var chunks int
		if d.visible != nil {
			visible, chunks = d.visible.id, d.visible.Chunks
		}
		rows = append(rows, []any{d.row, int64(d.floor), visible, chunks})
	}
	if len(rows) > 0 {
		batch.Queue(`UPDATE document d SET floor = n.floor, visible = n.visible, chunks = n.chunks
			FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::integer[]) AS n (id, floor, visible, chunks) WHERE d.id = n.id`,
			column[int64](rows, 0), column[int64](rows, 1), column[int64](rows, 2), column[int](rows, 3))
	}
}

// putLanguages has searches try the languages of what is shown. They go in one
// order, so that no two transactions wait for each other.
func (t *transaction) putLanguages(batch *pgx.Batch) {
	type pair struct{ tenant, code string }
	var pairs []pair
	t.editions(func(d *document, e *edition) {
		if e.shown && e.Language != "" && e.Language != words.English {
			pairs = append(pairs, pair{d.tenant, e.Language})
		}
	})
	if len(pairs) == 0 {
		return
	}
	slices.SortFunc(pairs, func(a, b pair) int { return cmp.Or(cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.code, b.code)) })
	var tenants, codes []string
	for _, p := range slices.Compact(pairs) {
		tenants, codes = append(tenants, p.tenant), append(codes, p.code)
	}
	batch.Queue("INSERT INTO language (tenant, code) SELECT * FROM unnest($1::text[], $2::text[]) ON CONFLICT DO NOTHING", tenants, codes)
}

// reveal has the indexes of the spaces take up the vectors of shown editions
// that were staged before.
func (t *transaction) reveal(batch *pgx.Batch) {
	staged := make(map[int32][]int64)
	t.editions(func(_ *document, e *edition) {
		if !e.shown {
			return
		}
		for ordinal, c := range e.rows {
			if e.fresh[ordinal] == nil {
				staged[c.space] = append(staged[c.space], rowID(e.id, ordinal))
			}
		}
	})
	for id, rows := range staged {
		slices.Sort(rows)
		batch.Queue("UPDATE "+spaceTable(id)+" SET visible = true WHERE id = ANY ($1) AND NOT visible", rows)
	}
}

// freshChunks calls do for the chunks that came with this transaction.
func (t *transaction) freshChunks(do func(id int64, d *document, e *edition, c *freshChunk)) {
	t.editions(func(d *document, e *edition) {
		for ordinal, c := range e.fresh {
			do(rowID(e.id, ordinal), d, e, c)
		}
	})
}

func (t *transaction) copy(table string, columns []string, rows [][]any) error {
	if len(rows) == 0 {
		return nil
	}
	// By rising ID the indexes grow at one end.
	slices.SortFunc(rows, func(a, b []any) int { return int(a[0].(int64) - b[0].(int64)) })
	_, err := t.tx.CopyFrom(t.ctx, pgx.Identifier{table}, columns, pgx.CopyFromRows(rows))
	return err
}

func (t *transaction) copyChunks() error {
	var rows [][]any
	t.freshChunks(func(id int64, _ *document, _ *edition, c *freshChunk) {
		v := c.op
		text, raw := v.Text, []byte(nil)
		if !validText(text) {
			text, raw = cleanText(text), []byte(v.Text)
		}
		rows = append(rows, []any{id, c.Key, c.space, int32(c.Tokens), c.Nano, c.Reused, c.Degraded, int32(v.Start), int32(v.Page), cleanText(c.ready.headings), cleanText(v.Header), text, raw})
	})
	return t.copy("chunk", []string{"id", "key", "space", "tokens", "nano", "reused", "degraded", "start", "page", "headings", "header", "text", "raw"}, rows)
}

func (t *transaction) copyVectors() error {
	bySpace := make(map[int32][][]any)
	t.freshChunks(func(id int64, d *document, e *edition, c *freshChunk) {
		bySpace[c.space] = append(bySpace[c.space], []any{id, d.tenant, e == d.visible, pgvec.NewVector(c.ready.vector)})
	})
	for id, rows := range bySpace {
		if err := t.copy(spaceTable(id), []string{"id", "tenant", "visible", "embedding"}, rows); err != nil {
			return err
		}
	}
	return nil
}

// copyWords writes the words of shown editions: of the chunks that are new in
// sight, or of all of them under another title.
func (t *transaction) copyWords() error {
	a, done := t.analyzers.Lend()
	defer done()
	var rows [][]any
	titles := make(map[*edition]titled)
	put := func(id int64, t titled, terms []words.Term, length int) {
		rows = append(rows, []any{id, int32(length), t.keys.of(words.Merge(terms, t.terms))})
	}
	var staged []int64 // whose texts came before
	byID := make(map[int64]*edition)
	t.editions(func(d *document, e *edition) {
		if !e.shown {
			return
		}
		title := titled{keys: newSalt(d.tenant)}
		title.terms = slices.Clone(revision.Titles(e.About, e.Language, a))
		titles[e], byID[e.id] = title, e
		for ordinal, c := range e.fresh {
			put(rowID(e.id, ordinal), title, c.ready.terms, c.ready.length)
		}
		if e.retitled {
			for ordinal := range e.rows {
				if e.fresh[ordinal] == nil {
					staged = append(staged, rowID(e.id, ordinal))
				}
			}
		}
	})
	if len(staged) > 0 {
		rows, err := t.tx.Query(t.ctx, "SELECT id, headings, header, text FROM chunk WHERE id = ANY ($1)", staged)
		if err != nil {
			return err
		}
		err = each(rows, func() error {
			var id int64
			var headings string
			var c events.Chunk
			if err := rows.Scan(&id, &headings, &c.Header, &c.Text); err != nil {
				return err
			}
			if headings != "" {
				if err := json.Unmarshal([]byte(headings), &c.Headings); err != nil {
					return damaged("the headings of row %d cannot be read", id)
				}
			}
			c.Language = byID[id>>ordinalBits].Language
			terms, length := revision.Words(&c, a)
			put(id, titles[byID[id>>ordinalBits]], terms, length)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if err := t.copy("word", []string{"id", "length", "keys"}, rows); err != nil {
		return err
	}
	return t.countWords(byID)
}

// titled is what all chunks of a document are found by.
type titled struct {
	keys  salt
	terms []words.Term
}

// countWords keeps the number of a document's words, for the mean length of a chunk.
func (t *transaction) countWords(shown map[int64]*edition) error {
	if len(shown) == 0 {
		return nil
	}
	ids := make([]int64, 0, len(shown))
	for id := range shown {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	_, err := t.tx.Exec(t.ctx, `UPDATE document d SET words = (SELECT coalesce(sum(w.length), 0) FROM word w WHERE w.id >= e.id << 20 AND w.id < (e.id + 1) << 20)
		FROM unnest($1::bigint[]) AS e (id) WHERE d.visible = e.id AND d.id = (SELECT document FROM edition WHERE id = e.id)`, ids)
	return err
}
