package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"maps"
	"math"
	"slices"

	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/services/indexer/index"
	"sluice/services/indexer/sqlite/internal/ram"
)

const (
	// depth is how far down a ranking still counts for the fusion with another.
	depth = 100
	// oversample candidates are compared exactly, whatever the number wanted.
	oversample = 512
	// maxKeys bounds the distinct stems of a query that are looked up: a
	// document pasted as a query should not cost seconds.
	maxKeys = 128
)

// Search implements index.Store.
func (s *Store) Search(ctx context.Context, q index.Query) ([]events.Hit, error) {
	q, err := q.Normalize()
	if err != nil {
		return nil, err
	}
	conn, err := s.reader.Conn(ctx)
	if err != nil {
		return nil, s.explain(err, "search")
	}
	defer conn.Close()
	c, err := s.candidates(ctx, conn, q)
	if c.tx != nil {
		// A read transaction has nothing to lose.
		defer func() { _ = c.tx.Rollback() }()
	}
	if err != nil {
		return nil, s.explain(err, "search")
	}
	nearest, err := c.rescore(ctx, q)
	if err != nil {
		return nil, s.explain(err, "search")
	}
	ranked := c.keyword
	switch q.Mode {
	case index.Vector:
		ranked = nearest
	case index.Hybrid:
		found := make(map[int64]bool, len(c.keyword))
		for _, r := range c.keyword {
			found[r.Row] = true
		}
		nearest = index.DropChance(q.Model, len(q.Vector), nearest, func(row int64) bool { return found[row] })
		ranked = index.Fuse(c.keyword, nearest[:min(len(nearest), max(depth, q.K))], q.VectorWeight, q.K)
	}
	hits, err := c.hits(ctx, ranked[:min(len(ranked), q.K)], q.Meta)
	return hits, s.explain(err, "search")
}

// candidates is a search in progress: what memory proposes, and a view of the
// file as it was at the same moment.
type candidates struct {
	tx      *sql.Tx
	keyword []index.Ranked
	nearest []index.Ranked
}

func (s *Store) candidates(ctx context.Context, conn *sql.Conn, q index.Query) (c candidates, err error) {
	s.mem.RLock()
	defer s.mem.RUnlock()
	if s.closed {
		return c, s.closedFault()
	}
	sp, known := s.spaces[q.Model]
	if q.Mode != index.Keyword && known && sp.dimensions != len(q.Vector) {
		return c, fault.Invalid("wrong-dimensions", "the query vector has %d dimensions, the space of model %s has %d", len(q.Vector), q.Model, sp.dimensions).
			WithHint("the query must be embedded by the same model as the documents")
	}
	if c.tx, err = conn.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}); err != nil {
		return c, err
	}
	// The view is of the moment of the first read, not of BEGIN.
	var one int
	if err := c.tx.QueryRowContext(ctx, "SELECT count(*) FROM space").Scan(&one); err != nil {
		return c, err
	}
	f := ram.Filter{Tenant: q.Tenant, Meta: q.Meta}
	if q.Mode != index.Vector {
		a, done := s.analyzers.Lend()
		asked := a.Query(q.Text, s.ram.Languages(q.Tenant)...)
		done()
		c.keyword = s.ram.Keyword(f, asked[:min(len(asked), maxKeys)], max(depth, q.K))
	}
	if q.Mode != index.Keyword && known {
		c.nearest = s.ram.Nearest(int(sp.id), f, q.Vector, max(oversample, 4*q.K))
	}
	return c, nil
}

// rescore returns the nearest candidates by exact cosine, best first.
func (c *candidates) rescore(ctx context.Context, q index.Query) ([]index.Ranked, error) {
	if len(c.nearest) == 0 {
		return nil, nil
	}
	var norm float64
	for _, x := range q.Vector {
		norm += float64(x) * float64(x)
	}
	rows, err := c.tx.QueryContext(ctx, "SELECT id, embedding FROM content WHERE id IN (SELECT value FROM json_each(?))", rowList(c.nearest))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	exact := make([]index.Ranked, 0, len(c.nearest))
	var packed sql.RawBytes
	v := make([]float32, 0, len(q.Vector))
	for rows.Next() {
		var r index.Ranked
		if err := rows.Scan(&r.Row, &packed); err != nil {
			return nil, err
		}
		var ok bool
		if v, ok = unpack(v[:0], packed, len(q.Vector)); !ok {
			return nil, damaged("the vector in row %d cannot be read", r.Row)
		}
		var dot, square float64
		for i, x := range v {
			dot += float64(x) * float64(q.Vector[i])
			square += float64(x) * float64(x)
		}
		r.Score = dot / math.Sqrt(square*norm)
		exact = append(exact, r)
	}
	slices.SortFunc(exact, index.Better)
	return exact, rows.Err()
}

func rowList(ranked []index.Ranked) string {
	ids := make([]int64, len(ranked))
	for i, r := range ranked {
		ids[i] = r.Row
	}
	return string(events.Encode(ids))
}

// hits reads the chunks of ranked, in its order. Those whose document has not
// the metadata asked for, but its hash, are left out.
func (c *candidates) hits(ctx context.Context, ranked []index.Ranked, meta map[string]string) ([]events.Hit, error) {
	hits := make([]events.Hit, 0, len(ranked))
	if len(ranked) == 0 {
		return hits, nil
	}
	rows, err := c.tx.QueryContext(ctx, `
		SELECT t.id, c.key, d.key, e.revision, d.tenant, e.about, s.model, t.start, t.page, t.headings, t.header, t.text
		FROM content t JOIN chunk c ON c.id = t.id JOIN edition e ON e.id = t.id >> 20
		JOIN document d ON d.id = e.document JOIN space s ON s.id = c.space
		WHERE t.id IN (SELECT value FROM json_each(?))`, rowList(ranked))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	byRow := make(map[int64]events.Hit, len(ranked))
	for rows.Next() {
		var h events.Hit
		var row int64
		var about, headings string
		if err := rows.Scan(&row, &h.Chunk, &h.Document, &h.Revision, &h.Tenant, &about, &h.Model, &h.Start, &h.Page, &headings, &h.Header, &h.Text); err != nil {
			return nil, err
		}
		var a events.About
		if err := json.Unmarshal([]byte(about), &a); err != nil {
			return nil, damaged("the facts of document %s cannot be read", h.Document)
		}
		if headings != "" {
			if err := json.Unmarshal([]byte(headings), &h.Headings); err != nil {
				return nil, damaged("the headings of chunk %s cannot be read", h.Chunk)
			}
		}
		h.Name, h.Title, h.Meta = a.Name, a.Facts.Title, a.Meta
		h.Ordinal, h.End = int(row&(index.MaxChunks-1)), h.Start+len(h.Text)
		byRow[row] = h
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	for _, r := range ranked {
		h, found := byRow[r.Row]
		if !found {
			return nil, damaged("row %d is in memory but not in the file", r.Row)
		}
		if has(h.Meta, meta) {
			h.Score = r.Score
			hits = append(hits, h)
		}
	}
	return hits, nil
}

func has(meta, want map[string]string) bool {
	for k := range maps.Keys(want) {
		if v, ok := meta[k]; !ok || v != want[k] {
			return false
		}
	}
	return true
}
