package pgvector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"
	pgvec "github.com/pgvector/pgvector-go"

	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/services/indexer/index"
	"sluice/services/indexer/internal/revision"
)

const (
	// depth is how far down a ranking still counts for the fusion with another.
	depth = 100
	// oversample times as many vectors as are wanted are compared exactly.
	oversample = 2
	// maxSearched is the most that pgvector allows for hnsw.ef_search.
	maxSearched = 1000
	// scanCost is how many rows can be compared exactly in the time in which an
	// iterative scan of the index visits one.
	scanCost = 2
	// minExact rows are always compared exactly.
	minExact = 1000
	// maxLexical rows of a lexical space are compared exactly; among more, those
	// that share a word with the query are.
	maxLexical = 2000
	// lexicalCandidates of keyword search are compared exactly.
	lexicalCandidates = 1000
)

// Search implements index.Store.
func (s *Store) Search(ctx context.Context, q index.Query) ([]events.Hit, error) {
	q, err := q.Normalize()
	if err != nil {
		return nil, err
	}
	if !validText(q.Tenant) || !validText(q.Model) {
		return nil, fault.Invalid("bad-query", "tenant and model have to be text")
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	hits := []events.Hit{}
	err = s.view(ctx, func(tx pgx.Tx) error {
		search := search{Store: s, tx: tx, q: q}
		ranked, err := search.rank(ctx)
		if err == nil && len(ranked) > 0 {
			hits, err = search.hits(ctx, ranked)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return hits, nil
}

// view calls read with one unchanging state of the database.
func (s *Store) view(ctx context.Context, read func(tx pgx.Tx) error) error {
	tx, err := s.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return s.explain(given(ctx, err), "read")
	}
	err = read(tx)
	_ = tx.Rollback(context.WithoutCancel(ctx)) // a read transaction has nothing to lose
	if err != nil {
		err = given(ctx, err)
	}
	return s.explain(err, "read")
}

// search is a Search at work.
type search struct {
	*Store
	tx pgx.Tx
	q  index.Query
}

func (s search) rank(ctx context.Context) ([]index.Ranked, error) {
	q := s.q
	batch := new(pgx.Batch)
	// Which way a row is found must not depend on statistics that are too old
	// to know of it: every way that there is an index for goes by it.
	batch.Queue("SELECT set_config('enable_seqscan', 'off', true)")
	var keywords, nearest []index.Ranked
	var vectors *neighbours
	if q.Mode != index.Keyword {
		var err error
		if vectors, err = s.neighbours(ctx); err != nil {
			return nil, err
		}
	}
	k := max(depth, q.K)
	if vectors != nil && vectors.way == byWords {
		k = max(k, lexicalCandidates)
	}
	if q.Mode != index.Vector || vectors != nil && vectors.way == byWords {
		if err := s.queueWords(ctx, batch, k, &keywords); err != nil {
			return nil, err
		}
	}
	if vectors != nil && vectors.way != byWords {
		vectors.queue(batch, &nearest)
	}
	if err := s.tx.SendBatch(ctx, batch).Close(); err != nil {
		return nil, err
	}
	if vectors != nil && vectors.again(keywords, nearest) {
		batch, nearest = new(pgx.Batch), nil
		vectors.queue(batch, &nearest)
		if err := s.tx.SendBatch(ctx, batch).Close(); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(nearest, index.Better)
	keywords = keywords[:min(len(keywords), max(depth, q.K))]
	ranked := keywords
	switch q.Mode {
	case index.Vector:
		ranked = nearest
	case index.Hybrid:
		found := make(map[int64]bool, len(keywords))
		for _, r := range keywords {
			found[r.Row] = true
		}
		// Nearness below a right angle says nothing for a chunk. Asked for vectors
		// alone, the least far is an answer; beside words it is noise.
		nearest = slices.DeleteFunc(nearest, func(r index.Ranked) bool { return r.Score <= 0 })
		nearest = index.DropChance(q.Model, len(q.Vector), nearest, func(row int64) bool { return found[row] })
		ranked = index.Fuse(keywords, nearest[:min(len(nearest), max(depth, q.K))], q.VectorWeight, q.K)
	}
	return ranked[:min(len(ranked), q.K)], nil
}

// queueWords queues the search for the k best by keywords, if the query has words.
func (s search) queueWords(ctx context.Context, batch *pgx.Batch, k int, into *[]index.Ranked) error {
	rows, err := s.tx.Query(ctx, "SELECT code FROM language WHERE tenant = $1 ORDER BY code", s.q.Tenant)
	if err != nil {
		return err
	}
	languages, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	a, done := s.analyzers.Lend()
	asked := a.Query(s.q.Text, languages...)
	done()
	asked = asked[:min(len(asked), maxKeys)]
	if len(asked) == 0 {
		return nil
	}
	t, err := s.totalsOf(ctx, s.tx, s.q.Tenant)
	if err != nil {
		return err
	}
	if asked, err = s.telling(ctx, s.tx, s.q.Tenant, asked); err != nil {
		return err
	}
	keywordQuery(batch, s.q.Tenant, asked, t, s.filter(), k).Query(func(rows pgx.Rows) (err error) {
		*into, err = ranking(rows)
		return err
	})
	return nil
}

// filter returns the metadata asked for, as JSON, or "".
func (s search) filter() string {
	if len(s.q.Meta) == 0 {
		return ""
	}
	return filterJSON(s.q.Meta)
}

// wanted is how many candidates each side of a search looks for.
func (s search) wanted() int { return oversample * max(depth, s.q.K) }

// way is how the nearest vectors are looked for.
type way uint8

const (
	exactly way = iota // all that the filters leave are compared
	byIndex            // what HNSW proposes
	byWords            // what keyword search found
)

// neighbours looks for the nearest vectors of a space.
type neighbours struct {
	search
	space space
	query pgvec.Vector // of length 1
	way   way
	rows  []int64 // byWords: the candidates
}

// again decides, after a first look, whether a second one is needed.
func (n *neighbours) again(keywords, nearest []index.Ranked) bool {
	switch {
	case n.way == byWords && len(keywords) > 0:
		for _, r := range keywords {
			n.rows = append(n.rows, r.Row)
		}
		return true
	case n.way == byWords, n.way == byIndex && len(nearest) < n.wanted():
		// The index had no more: too many of its rows were filtered out, or
		// there are no more. Only looking at all of them tells.
		n.way = exactly
		return true
	}
	return false
}

// neighbours plans the search for vectors; nil if the query's model has no space.
func (s search) neighbours(ctx context.Context) (*neighbours, error) {
	sp, known, err := s.spaceNamed(ctx, s.tx, s.q.Model)
	if err != nil || !known {
		return nil, err
	}
	if sp.dimensions != len(s.q.Vector) {
		return nil, fault.Invalid("wrong-dimensions", "the query vector has %d dimensions, the space of model %s has %d", len(s.q.Vector), s.q.Model, sp.dimensions).
			WithHint("the query must be embedded by the same model as the documents")
	}
	unit := make([]float32, len(s.q.Vector))
	norm := revision.Norm(s.q.Vector)
	for i, x := range s.q.Vector {
		unit[i] = float32(float64(x) / norm)
	}
	n := &neighbours{search: s, space: sp, query: pgvec.NewVector(unit)}
	if lexical := index.Lexical(s.q.Model); lexical || sp.dimensions > maxIndexed {
		if lexical {
			within, err := s.within(ctx, maxLexical+1)
			if within > maxLexical {
				n.way = byWords
			}
			return n, err
		}
		return n, nil
	}
	var all int64
	err = s.tx.QueryRow(ctx, "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass($1)", spaceTable(sp.id)).Scan(&all)
	if err != nil {
		return nil, err
	}
	// With m of all rows within the filter, the index has to go through
	// wanted*all/m of them to find what is wanted, a comparison through m.
	limit := max(minExact, int64(math.Sqrt(scanCost*float64(n.wanted())*float64(all))))
	within, err := s.within(ctx, limit+1)
	if within > limit {
		n.way = byIndex
	}
	return n, err
}

// within counts the chunks that the query's tenant and filter leave, up to a limit.
func (s search) within(ctx context.Context, limit int64) (int64, error) {
	if len(s.q.Meta) == 0 {
		t, err := s.totalsOf(ctx, s.tx, s.q.Tenant)
		return t.chunks, err
	}
	var n int64
	err := s.tx.QueryRow(ctx, `SELECT coalesce(sum(chunks), 0) FROM (
		SELECT d.chunks FROM document d JOIN edition e ON e.id = d.visible WHERE d.tenant = $1 AND e.meta @> $2 LIMIT $3) AS matching`,
		s.q.Tenant, s.filter(), limit).Scan(&n)
	return n, err
}

func (n *neighbours) queue(batch *pgx.Batch, into *[]index.Ranked) {
	table := spaceTable(n.space.id)
	meta := n.filter()
	args := []any{n.query, n.q.Tenant, n.wanted()}
	if meta != "" {
		args = append(args, meta)
	}
	var query string
	switch {
	case n.way == byWords: // which has applied the filters
		query = "SELECT id, -(embedding <=> $1) + 1 AS score FROM " + table + " WHERE visible AND tenant = $2 AND id = ANY ($4) ORDER BY score DESC, id LIMIT $3"
		args = append(args[:3], n.rows)
	case n.way == exactly && meta != "":
		query = `SELECT v.id, -(v.embedding <=> $1) + 1 AS score
			FROM document d JOIN edition e ON e.id = d.visible JOIN ` + table + ` v ON v.id >= e.id << 20 AND v.id < (e.id + 1) << 20
			WHERE d.tenant = $2 AND e.meta @> $4 ORDER BY score DESC, v.id LIMIT $3`
	case n.way == exactly:
		query = "SELECT id, -(embedding <=> $1) + 1 AS score FROM " + table + " WHERE visible AND tenant = $2 ORDER BY score DESC, id LIMIT $3"
	default:
		// The filters are applied to what the index yields, one by one, until
		// there is enough; any other plan would have to look at all rows.
		batch.Queue(fmt.Sprintf(`SELECT set_config('hnsw.iterative_scan', 'strict_order', true), set_config('hnsw.ef_search', '%d', true),
			set_config('hnsw.max_scan_tuples', '2000000000', true), set_config('hnsw.scan_mem_multiplier', '4', true), set_config('enable_sort', 'off', true)`,
			min(n.wanted(), maxSearched)))
		where := "visible AND tenant = $2"
		if meta != "" {
			where += " AND (SELECT e.meta FROM edition e WHERE e.id = v.id >> 20) @> $4"
		}
		query = fmt.Sprintf("SELECT id, -(embedding <=> $1) + 1 FROM (SELECT id, embedding FROM %s v WHERE %s ORDER BY %s <#> %s LIMIT $3) AS near",
			table, where, direction("embedding", n.space.dimensions), direction("$1::vector", n.space.dimensions))
	}
	batch.Queue(query, args...).Query(func(rows pgx.Rows) (err error) {
		*into, err = ranking(rows)
		return err
	})
}

// spaceNamed returns the space of a model.
func (s *Store) spaceNamed(ctx context.Context, tx pgx.Tx, model string) (space, bool, error) {
	s.mu.RLock()
	sp, known := s.spaces[model]
	s.mu.RUnlock()
	if known {
		return sp, true, nil
	}
	err := tx.QueryRow(ctx, "SELECT id, dimensions FROM space WHERE model = $1", model).Scan(&sp.id, &sp.dimensions)
	if errors.Is(err, pgx.ErrNoRows) {
		return sp, false, nil
	}
	if err == nil {
		s.learn(map[string]space{model: sp})
	}
	return sp, err == nil, err
}

// hits reads the chunks of ranked, in its order.
func (s search) hits(ctx context.Context, ranked []index.Ranked) ([]events.Hit, error) {
	ids := make([]int64, len(ranked))
	for i, r := range ranked {
		ids[i] = r.Row
	}
	rows, err := s.tx.Query(ctx, `
		SELECT c.id, c.key, d.key, e.revision, d.tenant, e.about, s.model, c.start, c.page, c.headings, c.header, c.text, c.raw
		FROM chunk c JOIN edition e ON e.id = c.id >> 20 JOIN document d ON d.id = e.document JOIN space s ON s.id = c.space
		WHERE c.id = ANY ($1)`, ids)
	if err != nil {
		return nil, err
	}
	byRow := make(map[int64]events.Hit, len(ranked))
	err = each(rows, func() error {
		var h events.Hit
		var row int64
		var about, headings string
		var raw []byte
		if err := rows.Scan(&row, &h.Chunk, &h.Document, &h.Revision, &h.Tenant, &about, &h.Model, &h.Start, &h.Page, &headings, &h.Header, &h.Text, &raw); err != nil {
			return err
		}
		if raw != nil {
			h.Text = string(raw)
		}
		var a events.About
		if err := json.Unmarshal([]byte(about), &a); err != nil {
			return damaged("the facts of document %s cannot be read", h.Document)
		}
		if headings != "" {
			if err := json.Unmarshal([]byte(headings), &h.Headings); err != nil {
				return damaged("the headings of chunk %s cannot be read", h.Chunk)
			}
		}
		h.Name, h.Title, h.Meta = a.Name, a.Facts.Title, a.Meta
		h.Ordinal, h.End = ordinalOf(row), h.Start+len(h.Text)
		byRow[row] = h
		return nil
	})
	if err != nil {
		return nil, err
	}
	hits := make([]events.Hit, len(ranked))
	for i, r := range ranked {
		h, found := byRow[r.Row]
		if !found {
			return nil, damaged("row %d was found, but has no chunk", r.Row)
		}
		hits[i] = h
		hits[i].Score = r.Score
	}
	return hits, nil
}
