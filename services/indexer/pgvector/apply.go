package pgvector

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/words"
	"sluice/services/indexer/index"
	"sluice/services/indexer/internal/revision"
)

const ordinalBits = 20 // of a row ID; index.MaxChunks

func rowID(edition int64, ordinal int) int64 { return edition<<ordinalBits | int64(ordinal) }

func ordinalOf(row int64) int { return int(row & (index.MaxChunks - 1)) }

// attempts of a transaction that others were in the way of. Locks are taken in
// one order, so that is rare: somebody else's session in the same tables.
const attempts = 3

// Apply implements index.Store.
//
// If the process or the connection dies before the commit, nothing has
// happened. If it dies during the commit, nobody knows, and applying the same
// again tells: what had happened is Repeated then.
func (s *Store) Apply(ctx context.Context, ops []index.Op) ([]index.Outcome, error) {
	if err := ctx.Err(); err != nil {
		return nil, s.explain(err, "apply")
	}
	prepared := s.prepareAll(ops)
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	for attempt := 1; ; attempt++ {
		outcomes, err := s.apply(ctx, ops, prepared)
		if err == nil {
			return outcomes, nil
		}
		if attempt == attempts || !transient(err) {
			return nil, s.explain(given(ctx, err), "apply")
		}
	}
}

// given returns err, or why its context ended if that is ours to know.
func given(ctx context.Context, err error) error {
	if context.Cause(ctx) == errOverdue {
		return errOverdue
	}
	return err
}

func (s *Store) apply(ctx context.Context, ops []index.Op, prepared []ready) (_ []index.Outcome, err error) {
	tx, err := s.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
	if err != nil {
		return nil, err
	}
	// After a commit this does nothing; after an error it has nothing to add.
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	t := &transaction{
		Store: s, ctx: ctx, tx: tx,
		documents: make(map[documentKey]*document), added: make(map[string]space),
	}
	if err := t.lock(ops, prepared); err != nil {
		return nil, err
	}
	outcomes, err := t.run(ops, prepared)
	if err != nil {
		return nil, err
	}
	if err := t.flush(); err != nil {
		return nil, err
	}
	if err := tx.Commit(ctx); err != nil {
		return nil, err
	}
	s.learn(t.added)
	return outcomes, nil
}

// learn remembers spaces, which never change and never go.
func (s *Store) learn(spaces map[string]space) {
	s.mu.Lock()
	maps.Copy(s.spaces, spaces)
	s.mu.Unlock()
}

// ready is a vector with everything worked out that needs no transaction.
type ready struct {
	vector   []float32
	terms    []words.Term
	length   int // words
	headings string
	about    string
	err      error
}

// prepareAll works the vectors of ops out on all processors.
func (s *Store) prepareAll(ops []index.Op) []ready {
	out := make([]ready, len(ops))
	revision.Parallel(len(ops), s.analyzers, func(i int, a *words.Analyzer) {
		switch {
		case (ops[i].Vector == nil) == (ops[i].Tombstone == nil):
			out[i].err = fault.Invalid("malformed-event", "an operation needs a vector or a tombstone, and not both")
		case ops[i].Vector != nil:
			out[i].err = out[i].prepare(ops[i].Vector, a)
		default:
			out[i].err = checkTombstone(ops[i].Tombstone)
		}
	})
	return out
}

// validText reports whether Postgres can hold s as text.
func validText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

// cleanText returns what of s Postgres can hold as text.
func cleanText(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

func checkNames(tenant, document string) error {
	if !validText(tenant) || !validText(document) {
		return fault.Invalid("malformed-event", "the names of tenant and document are no text")
	}
	return nil
}

func checkTombstone(m *events.Tombstone) error {
	if err := revision.CheckTombstone(m); err != nil {
		return err
	}
	return checkNames(m.Tenant, m.Document)
}

// Lengths of vectors between which the comparisons of pgvector, which square
// in single precision, neither vanish nor overflow.
const minNorm, maxNorm = 1e-15, 1e15

func (r *ready) prepare(v *events.Vector, a *words.Analyzer) error {
	if err := revision.Check(v); err != nil {
		return err
	}
	switch {
	case !validText(v.Model):
		return fault.Invalid("malformed-event", "field model is no text")
	case !validText(v.ID):
		return fault.Invalid("malformed-event", "field id is no text")
	case v.Start < 0 || v.Start > math.MaxInt32 || v.Page < 0 || v.Page > math.MaxInt32 || v.InputTokens < 0 || v.InputTokens > math.MaxInt32:
		return fault.Invalid("malformed-event", "start, page or tokens are out of range")
	}
	if err := checkNames(v.Tenant, v.Document); err != nil {
		return err
	}
	var err error
	if r.vector, err = events.DecodeVector(v.Embedding); err != nil {
		return err
	}
	if len(r.vector) > maxDimensions {
		return fault.Invalid("bad-vector", "the vector has %d dimensions, Postgres takes at most %d", len(r.vector), maxDimensions)
	}
	norm, err := revision.Length(r.vector, v.Model)
	if err != nil {
		return err
	}
	if norm < minNorm || norm > maxNorm {
		return fault.Invalid("bad-vector", "the vector of model %s has the length %g, outside of what Postgres can compare", v.Model, norm).
			WithHint("let the embedder give vectors of length 1")
	}
	terms, count := revision.Words(&v.Chunk, a)
	r.terms, r.length = slices.Clone(terms), count
	if len(v.Headings) > 0 {
		r.headings = string(events.Encode(v.Headings))
	}
	if v.About != nil {
		r.about = string(events.Encode(v.About))
	}
	return nil
}

// transaction is one Apply at work. Documents and editions are changed in
// memory, under the locks of their rows, and written at the end.
type transaction struct {
	*Store
	ctx       context.Context
	tx        pgx.Tx
	documents map[documentKey]*document
	order     []*document
	added     map[string]space
	names     map[int32]string // models by space; filled when asked for
}

type documentKey struct{ tenant, id string }

type document struct {
	documentKey
	row      int64
	floor    events.Revision
	visible  *edition
	editions []*edition // that are there, the visible one too
	dropped  []int64    // editions that were stored before
	dirty    bool
}

type edition struct {
	id int64 // 0 until it is stored or flushed
	revision.State
	aboutJSON string
	stored    bool // its row is in the database
	dirty     bool
	shown     bool // what is visible of it has changed
	retitled  bool // and so have the words of all its chunks, by a new title or name
	// fresh holds the chunks that came with this transaction, by ordinal;
	// rows those that were there before, if anything can come of them.
	fresh map[int]*freshChunk
	rows  map[int]chunkRow
}

type freshChunk struct {
	chunkRow
	op    *events.Vector
	ready *ready
}

// chunkRow is what replacing or completing has to know of a chunk.
type chunkRow struct {
	revision.Chunk
	space int32
}

// lock locks the documents of ops and reads what is there of them.
func (t *transaction) lock(ops []index.Op, prepared []ready) error {
	type target struct {
		of       int
		ordinals []int
	}
	targets := make(map[documentKey][]target)
	for i, op := range ops {
		if prepared[i].err != nil {
			continue
		}
		if m := op.Tombstone; m != nil {
			key := keyOf(m.Tenant, m.Document)
			targets[key] = append(targets[key], target{})
			continue
		}
		key := keyOf(op.Vector.Tenant, op.Vector.Document)
		// A confirmation in the same batch can change an edition's revision:
		// its cut alone tells which chunks may matter.
		at := slices.IndexFunc(targets[key], func(x target) bool { return x.of == op.Vector.Of })
		if at < 0 {
			at = len(targets[key])
			targets[key] = append(targets[key], target{of: op.Vector.Of})
		}
		targets[key][at].ordinals = append(targets[key][at].ordinals, op.Vector.Ordinal)
	}
	if len(targets) == 0 {
		return nil
	}
	var tenants, keys []string
	for _, k := range slices.SortedFunc(maps.Keys(targets), func(a, b documentKey) int {
		return cmp.Or(strings.Compare(a.tenant, b.tenant), strings.Compare(a.id, b.id))
	}) {
		tenants, keys = append(tenants, k.tenant), append(keys, k.id)
	}
	// The one place where rows of documents are locked, new ones and old ones
	// in the same pass and the same order. The update changes nothing; it locks.
	rows, err := t.tx.Query(t.ctx, `
		INSERT INTO document AS d (tenant, key)
		SELECT tenant, key FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS n (tenant, key, i) ORDER BY i
		ON CONFLICT (tenant, key) DO UPDATE SET floor = d.floor
		RETURNING id, tenant, key, floor, visible`, tenants, keys)
	if err != nil {
		return err
	}
	byRow := make(map[int64]*document, len(targets))
	visible := make(map[int64]bool, len(targets))
	ids := make([]int64, 0, len(targets))
	err = each(rows, func() error {
		d := new(document)
		var shows int64
		if err := rows.Scan(&d.row, &d.tenant, &d.id, &d.floor, &shows); err != nil {
			return err
		}
		t.documents[d.documentKey] = d
		t.order = append(t.order, d)
		byRow[d.row], visible[shows] = d, true
		ids = append(ids, d.row)
		return nil
	})
	if err != nil {
		return err
	}
	if rows, err = t.tx.Query(t.ctx, "SELECT document, "+editionColumns+" FROM edition WHERE document = ANY ($1) ORDER BY id", ids); err != nil {
		return err
	}
	var single, whole []int64 // rows of chunks, and editions whose chunks are all wanted
	byID := make(map[int64]*edition)
	err = each(rows, func() error {
		var of int64
		e, err := scanEdition(rows, &of)
		if err != nil {
			return err
		}
		d := byRow[of]
		d.editions = append(d.editions, e)
		byID[e.id] = e
		if visible[e.id] {
			d.visible = e
		}
		for _, x := range targets[d.documentKey] {
			switch {
			case x.of != e.Chunks:
			case e == d.visible && e.Degraded > 0, e != d.visible && e.Have+len(x.ordinals) >= e.Chunks:
				whole = append(whole, e.id)
			default:
				for _, o := range x.ordinals {
					single = append(single, rowID(e.id, o))
				}
			}
		}
		return nil
	})
	if err != nil || len(single)+len(whole) == 0 {
		return err
	}
	rows, err = t.tx.Query(t.ctx, `
		SELECT id, key, space, tokens, nano, reused, degraded FROM chunk WHERE id = ANY ($1)
		UNION ALL
		SELECT c.id, c.key, c.space, c.tokens, c.nano, c.reused, c.degraded
		FROM unnest($2::bigint[]) AS e (id) JOIN chunk c ON c.id >= e.id << 20 AND c.id < (e.id + 1) << 20`, single, whole)
	if err != nil {
		return err
	}
	return each(rows, func() error {
		var id int64
		var c chunkRow
		if err := rows.Scan(&id, &c.Key, &c.space, &c.Tokens, &c.Nano, &c.Reused, &c.Degraded); err != nil {
			return err
		}
		e := byID[id>>ordinalBits]
		if e.rows == nil {
			e.rows = make(map[int]chunkRow)
		}
		e.rows[ordinalOf(id)] = c
		return nil
	})
}

func keyOf(tenant, document string) documentKey {
	return documentKey{cmp.Or(tenant, events.DefaultTenant), document}
}

const editionColumns = "id, revision, chunks, have, reused, degraded, tokens, nano, model, about, language"

// scanEdition reads a row of what first points to, then editionColumns.
func scanEdition(rows pgx.Rows, first ...any) (*edition, error) {
	e := &edition{stored: true}
	if err := rows.Scan(append(first, &e.id, &e.Revision, &e.Chunks, &e.Have, &e.Reused, &e.Degraded, &e.Tokens, &e.Nano, &e.Model, &e.aboutJSON, &e.Language)...); err != nil {
		return nil, err
	}
	if e.aboutJSON != "" {
		if err := json.Unmarshal([]byte(e.aboutJSON), &e.About); err != nil {
			return nil, damaged("edition %d has no readable facts", e.id)
		}
	}
	return e, nil
}

// each calls do for each row, and closes rows.
func each(rows pgx.Rows, do func() error) error {
	defer rows.Close()
	for rows.Next() {
		if err := do(); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (t *transaction) run(ops []index.Op, prepared []ready) ([]index.Outcome, error) {
	outcomes := make([]index.Outcome, len(ops))
	for i, op := range ops {
		err := prepared[i].err
		if err == nil && op.Vector != nil {
			outcomes[i], err = t.vector(op.Vector, &prepared[i])
		} else if err == nil {
			outcomes[i] = t.tombstone(op.Tombstone)
		}
		var refusal *fault.Error
		switch {
		case errors.As(err, &refusal):
			outcomes[i] = index.Outcome{Kind: index.Refused, Err: refusal}
		case err != nil:
			return nil, err
		}
	}
	return outcomes, nil
}

// vector stages one chunk. Errors that are faults refuse it, before anything
// was changed; others end the transaction.
func (t *transaction) vector(v *events.Vector, r *ready) (index.Outcome, error) {
	d := t.documents[keyOf(v.Tenant, v.Document)]
	kind := revision.OfVector(v, d.floor, d.state())
	switch kind {
	case index.Stale:
		return index.Outcome{Kind: kind, Of: v.Of, Revision: d.describe()}, nil
	case index.Repeated:
		return index.Outcome{Kind: kind, Have: d.visible.Have, Of: d.visible.Chunks, Revision: d.describe()}, nil
	}
	sp, err := t.space(v.Model, len(r.vector))
	if err != nil {
		return index.Outcome{}, err
	}
	e, upgrade := d.visible, kind == index.Upgraded
	if !upgrade {
		e = d.edition(v.Revision, v.Of)
	}
	if old, found := e.chunk(v.Ordinal); found {
		if old.Stays(v, upgrade) {
			repeated := index.Outcome{Kind: index.Repeated, Have: e.Have, Of: e.Chunks}
			if upgrade {
				repeated.Revision = d.describe()
			}
			return repeated, nil
		}
		e.Count(old.Chunk, -1)
	}
	row := chunkRow{revision.ChunkOf(v), sp.id}
	e.Count(row.Chunk, 1)
	e.Language = words.Language(v.Language)
	if v.Ordinal == 0 {
		e.retitled = e.retitled || e.aboutJSON != r.about
		e.About, e.aboutJSON = v.About, r.about
	}
	e.dirty = true
	if e.fresh == nil {
		e.fresh = make(map[int]*freshChunk)
	}
	e.fresh[v.Ordinal] = &freshChunk{row, v, r}
	if !upgrade && (e.Have < e.Chunks || e.About == nil) {
		return index.Outcome{Kind: index.Staged, Have: e.Have, Of: e.Chunks}, nil
	}
	if err := t.show(d, e); err != nil {
		return index.Outcome{}, err
	}
	if !upgrade || e.Degraded == 0 {
		kind = index.Completed
	}
	if !upgrade {
		d.dropBelow(e.Revision + 1)
	}
	return index.Outcome{Kind: kind, Have: e.Have, Of: e.Chunks, Revision: d.describe()}, nil
}

// chunk returns the chunk that is there already.
func (e *edition) chunk(ordinal int) (chunkRow, bool) {
	if c := e.fresh[ordinal]; c != nil {
		return c.chunkRow, true
	}
	c, found := e.rows[ordinal]
	return c, found
}

// space returns the space of a model, and makes it if this is its first vector.
func (t *transaction) space(model string, dimensions int) (space, error) {
	sp, err := t.findSpace(model, dimensions)
	if err == nil && sp.dimensions != dimensions {
		err = revision.WrongDimensions(model, dimensions, sp.dimensions)
	}
	return sp, err
}

func (t *transaction) findSpace(model string, dimensions int) (space, error) {
	t.mu.RLock()
	sp, known := t.spaces[model]
	t.mu.RUnlock()
	if !known {
		sp, known = t.added[model]
	}
	if known {
		return sp, nil
	}
	// All documents are locked by now, and whoever waits here for this lock
	// waits with all of his: nobody waits in a circle.
	if _, err := t.tx.Exec(t.ctx, "SELECT pg_advisory_xact_lock($1, $2 # hashtext(current_schema()))", lockFamily, lockSpaces); err != nil {
		return sp, err
	}
	err := t.tx.QueryRow(t.ctx, "SELECT id, dimensions FROM space WHERE model = $1", model).Scan(&sp.id, &sp.dimensions)
	if errors.Is(err, pgx.ErrNoRows) {
		sp.dimensions = dimensions
		err = t.tx.QueryRow(t.ctx, "INSERT INTO space (id, model, dimensions) SELECT coalesce(max(id), 0) + 1, $1, $2 FROM space RETURNING id", model, dimensions).Scan(&sp.id)
		if err == nil {
			_, err = t.tx.Exec(t.ctx, createSpace(sp.id, model, dimensions))
		}
	}
	if err != nil {
		return sp, err
	}
	t.added[model] = sp
	return sp, nil
}

// edition returns the staged edition of a revision in that many chunks.
func (d *document) edition(number events.Revision, chunks int) *edition {
	for _, e := range d.editions {
		if e.Revision == number && e.Chunks == chunks {
			return e
		}
	}
	e := &edition{State: revision.State{Revision: number, Chunks: chunks}}
	d.editions = append(d.editions, e)
	return e
}

// show has search see e as it is now.
func (t *transaction) show(d *document, e *edition) error {
	count := make(map[int32]int)
	for ordinal := range e.Chunks {
		c, found := e.chunk(ordinal)
		if !found {
			return damaged("edition %d has lost its chunk %d", e.id, ordinal)
		}
		count[c.space]++
	}
	e.Model = ""
	for id, n := range count {
		model, err := t.model(id)
		if err != nil {
			return err
		}
		if e.Model == "" || n > count[t.spaceOf(e.Model)] || n == count[t.spaceOf(e.Model)] && model < e.Model {
			e.Model = model
		}
	}
	e.retitled = e.retitled || d.visible != e
	e.shown, e.dirty = true, true
	d.visible, d.dirty = e, true
	return nil
}

func (t *transaction) spaceOf(model string) int32 {
	if sp, ok := t.added[model]; ok {
		return sp.id
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.spaces[model].id
}

// model returns the model of a space, which another process may have made.
func (t *transaction) model(id int32) (string, error) {
	if t.names == nil {
		t.names = make(map[int32]string)
		t.mu.RLock()
		for model, sp := range t.spaces {
			t.names[sp.id] = model
		}
		t.mu.RUnlock()
	}
	for model, sp := range t.added {
		t.names[sp.id] = model
	}
	if m, known := t.names[id]; known {
		return m, nil
	}
	var model string
	sp := space{id: id}
	err := t.tx.QueryRow(t.ctx, "SELECT model, dimensions FROM space WHERE id = $1", id).Scan(&model, &sp.dimensions)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", damaged("the space %d is missing", id)
	}
	if err == nil {
		t.added[model], t.names[id] = sp, model
	}
	return model, err
}

// dropBelow drops all editions of revisions below limit but the visible one.
func (d *document) dropBelow(limit events.Revision) {
	d.editions = slices.DeleteFunc(d.editions, func(e *edition) bool {
		gone := e != d.visible && e.Revision < limit
		if gone && e.stored {
			d.dropped = append(d.dropped, e.id)
		}
		return gone
	})
}

func (t *transaction) tombstone(m *events.Tombstone) index.Outcome {
	d := t.documents[keyOf(m.Tenant, m.Document)]
	kind := revision.OfTombstone(m, d.floor, d.state())
	switch kind {
	case index.Confirmed:
		e := d.visible
		if e.Revision < m.Revision {
			e.Revision, e.dirty = m.Revision, true
			// What was staged for the revisions in between has been overtaken.
			d.dropBelow(m.Revision + 1)
		}
		return index.Outcome{Kind: kind, Have: e.Have, Of: e.Chunks, Revision: d.describe()}
	case index.Deleted:
		d.floor, d.visible, d.dirty = m.Revision, nil, true
		d.dropBelow(m.Revision)
	}
	return index.Outcome{Kind: kind, Revision: d.describe()}
}

// state returns the visible revision, or nil.
func (d *document) state() *revision.State {
	if d.visible == nil {
		return nil
	}
	return &d.visible.State
}

// describe returns the visible revision, or nil.
func (d *document) describe() *index.Revision { return d.state().Describe() }
