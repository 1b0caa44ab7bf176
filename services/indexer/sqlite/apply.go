package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"

	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/words"
	"sluice/services/indexer/index"
	"sluice/services/indexer/internal/revision"
	"sluice/services/indexer/sqlite/internal/ram"
)

const (
	maxDimensions = 1 << 14
	ordinalBits   = 20 // of a row ID; index.MaxChunks
	// checkpointBytes of log are carried over to the file at once: often
	// enough to keep the log short, seldom enough that pages that change in
	// several commits are written once.
	checkpointBytes = 32 << 20
	// rowBytes is what a row takes in the log besides its values, about.
	rowBytes = 400
)

func rowID(edition int64, ordinal int) int64 { return edition<<ordinalBits | int64(ordinal) }

func rowsOf(edition int64) (first, last int64) {
	return rowID(edition, 0), rowID(edition, index.MaxChunks-1)
}

// Apply implements index.Store.
//
// If the process dies before the commit, nothing has happened; if it dies
// after it, everything has, and Open reads it back.
func (s *Store) Apply(ctx context.Context, ops []index.Op) ([]index.Outcome, error) {
	if err := ctx.Err(); err != nil {
		return nil, s.explain(err, "apply")
	}
	prepared := s.prepareAll(ops)

	s.write.Lock()
	defer s.write.Unlock()
	if s.closed {
		return nil, s.closedFault()
	}
	t := &transaction{
		Store:       s,
		nextDoc:     s.nextDoc,
		nextEdition: s.nextEdition,
		documents:   make(map[documentKey]*document),
		added:       make(map[string]space),
	}
	if _, err := s.stmt.begin.Exec(); err != nil {
		return nil, s.explain(err, "begin")
	}
	outcomes, err := t.run(ctx, ops, prepared)
	if err == nil {
		err = t.commit()
	}
	if err != nil {
		// SQLite has rolled back by itself after some errors; then this one
		// fails, and says nothing that err does not.
		_, _ = s.stmt.rollback.Exec()
		return nil, s.explain(err, "apply")
	}
	// The commit stands, so a failed checkpoint is no failure of the
	// operations. The log is kept and the next commit tries again; when the
	// disk is full, that commit fails and says so.
	if s.walBytes += t.bytes; s.walBytes >= checkpointBytes {
		if _, err := s.stmt.checkpoint.Exec(); err == nil {
			s.walBytes = 0
		}
	}
	return outcomes, nil
}

// ready is a vector with everything worked out that needs no lock.
type ready struct {
	dimensions int
	embedding  []byte // packed
	terms      []byte
	headings   string
	about      string
	chunk      ram.Chunk
	err        error
}

// prepareAll works the vectors of ops out on all processors.
func (s *Store) prepareAll(ops []index.Op) []ready {
	out := make([]ready, len(ops))
	revision.Parallel(len(ops), s.analyzers, func(i int, a *words.Analyzer) {
		if v := ops[i].Vector; v != nil {
			out[i].err = out[i].prepare(v, a)
		}
	})
	return out
}

func (r *ready) prepare(v *events.Vector, a *words.Analyzer) error {
	if err := revision.Check(v); err != nil {
		return err
	}
	vector, err := events.DecodeVector(v.Embedding)
	if err != nil {
		return err
	}
	if len(vector) > maxDimensions {
		return fault.Invalid("bad-vector", "the vector has %d dimensions, at most %d can be indexed", len(vector), maxDimensions)
	}
	if _, err := revision.Length(vector, v.Model); err != nil {
		return err
	}
	r.dimensions = len(vector)
	r.embedding = pack(make([]byte, 0, 1+len(v.Embedding)), v.Embedding)
	r.chunk.Code = ram.Encode(vector)

	terms, count := revision.Words(&v.Chunk, a)
	r.chunk.Terms, r.chunk.Length = slices.Clone(terms), count
	r.terms = ram.EncodeTerms(make([]byte, 0, 6*len(terms)), terms)
	if len(v.Headings) > 0 {
		r.headings = string(events.Encode(v.Headings))
	}
	if v.About != nil {
		r.about = string(events.Encode(v.About))
	}
	return nil
}

// transaction is one Apply at work. Documents and editions are changed in
// memory and written once, at the end.
type transaction struct {
	*Store
	nextDoc, nextEdition int64
	documents            map[documentKey]*document
	order                []*document
	added                map[string]space
	bytes                int64
}

type documentKey struct{ tenant, id string }

type document struct {
	documentKey
	id       int64
	floor    events.Revision
	visible  *edition
	editions []*edition // that are there, the visible one too
	dropped  []*edition // that were stored before
	dirty    bool
	swapped  bool // what is visible has changed
}

type edition struct {
	id int64
	revision.State
	aboutJSON string
	stored    bool // its row is in the file
	dirty     bool
	// fresh holds the chunks that came with this transaction.
	fresh map[int]*freshChunk
}

type freshChunk struct {
	revision.Chunk
	search ram.Chunk
}

func (t *transaction) run(ctx context.Context, ops []index.Op, prepared []ready) ([]index.Outcome, error) {
	outcomes := make([]index.Outcome, len(ops))
	for i, op := range ops {
		// A statement that can be interrupted costs a goroutine each, so ctx
		// is asked between operations only.
		if i%32 == 0 {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		}
		var err error
		switch {
		case (op.Vector == nil) == (op.Tombstone == nil):
			err = fault.Invalid("malformed-event", "an operation needs a vector or a tombstone, and not both")
		case op.Vector != nil:
			outcomes[i], err = t.vector(op.Vector, &prepared[i])
		default:
			outcomes[i], err = t.tombstone(op.Tombstone)
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
	if r.err != nil {
		return index.Outcome{}, r.err
	}
	d, err := t.document(cmp.Or(v.Tenant, events.DefaultTenant), v.Document)
	if err != nil {
		return index.Outcome{}, err
	}
	kind := revision.OfVector(v, d.floor, d.state())
	switch kind {
	case index.Stale:
		return index.Outcome{Kind: kind, Of: v.Of, Revision: d.describe()}, nil
	case index.Repeated:
		return index.Outcome{Kind: kind, Have: d.visible.Have, Of: d.visible.Chunks, Revision: d.describe()}, nil
	}
	sp, err := t.space(v.Model, r.dimensions)
	if err != nil {
		return index.Outcome{}, err
	}
	e, upgrade := d.visible, kind == index.Upgraded
	if !upgrade {
		e = t.edition(d, v.Revision, v.Of)
	}
	old, err := t.chunk(e, v.Ordinal)
	if err != nil {
		return index.Outcome{}, err
	}
	if old != nil {
		if old.Stays(v, upgrade) {
			return index.Outcome{Kind: index.Repeated, Have: e.Have, Of: e.Chunks, Revision: d.describeIf(upgrade)}, nil
		}
		e.Count(*old, -1)
	}
	row := revision.ChunkOf(v)
	e.Count(row, 1)
	e.Language = words.Language(v.Language)
	if v.Ordinal == 0 {
		e.About, e.aboutJSON = v.About, r.about
	}
	e.dirty = true
	r.chunk.Row, r.chunk.Space = rowID(e.id, v.Ordinal), int(sp.id)
	if e.fresh == nil {
		e.fresh = make(map[int]*freshChunk)
	}
	e.fresh[v.Ordinal] = &freshChunk{row, r.chunk}
	if _, err := t.stmt.putChunk.Exec(r.chunk.Row, v.ID, sp.id, row.Tokens, row.Nano, row.Reused, row.Degraded, r.chunk.Length, r.terms, []byte(r.chunk.Code)); err != nil {
		return index.Outcome{}, err
	}
	if _, err := t.stmt.putContent.Exec(r.chunk.Row, r.embedding, v.Start, v.Page, r.headings, v.Header, v.Text); err != nil {
		return index.Outcome{}, err
	}
	t.bytes += int64(rowBytes + len(r.embedding) + len(r.terms) + len(r.chunk.Code) + len(v.Header) + len(v.Text))
	if upgrade {
		if err := t.show(d, e); err != nil {
			return index.Outcome{}, err
		}
		if e.Degraded == 0 {
			kind = index.Completed
		}
		return index.Outcome{Kind: kind, Have: e.Have, Of: e.Chunks, Revision: d.describe()}, nil
	}
	if e.Have < e.Chunks || e.About == nil {
		return index.Outcome{Kind: index.Staged, Have: e.Have, Of: e.Chunks}, nil
	}
	if err := t.complete(d, e); err != nil {
		return index.Outcome{}, err
	}
	return index.Outcome{Kind: index.Completed, Have: e.Have, Of: e.Chunks, Revision: d.describe()}, nil
}

// space returns the space of a model, and makes it if this is its first vector.
func (t *transaction) space(model string, dimensions int) (space, error) {
	sp, known := t.spaces[model]
	if !known {
		sp, known = t.added[model]
	}
	if known {
		if sp.dimensions != dimensions {
			return sp, revision.WrongDimensions(model, dimensions, sp.dimensions)
		}
		return sp, nil
	}
	sp = space{id: int64(len(t.spaces) + len(t.added) + 1), dimensions: dimensions}
	if _, err := t.stmt.putSpace.Exec(sp.id, model, dimensions); err != nil {
		return sp, err
	}
	t.added[model] = sp
	return sp, nil
}

// document returns the document, new if it has never been seen.
func (t *transaction) document(tenant, id string) (*document, error) {
	key := documentKey{tenant, id}
	if d := t.documents[key]; d != nil {
		return d, nil
	}
	d := &document{documentKey: key}
	var visible int64
	err := t.stmt.document.QueryRow(tenant, id).Scan(&d.id, &d.floor, &visible)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		d.id = t.nextDoc
		t.nextDoc++
	case err != nil:
		return nil, err
	default:
		if err := t.editions(d, visible); err != nil {
			return nil, err
		}
	}
	t.documents[key] = d
	t.order = append(t.order, d)
	return d, nil
}

const editionColumns = "id, revision, chunks, have, reused, degraded, tokens, nano, model, about, language"

func scanEdition(rows *sql.Rows) (*edition, error) {
	e := &edition{stored: true}
	if err := rows.Scan(&e.id, &e.Revision, &e.Chunks, &e.Have, &e.Reused, &e.Degraded, &e.Tokens, &e.Nano, &e.Model, &e.aboutJSON, &e.Language); err != nil {
		return nil, err
	}
	if e.aboutJSON != "" {
		if err := json.Unmarshal([]byte(e.aboutJSON), &e.About); err != nil {
			return nil, damaged("edition %d has no readable facts", e.id)
		}
	}
	return e, nil
}

func (t *transaction) editions(d *document, visible int64) error {
	rows, err := t.stmt.editions.Query(d.id)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		e, err := scanEdition(rows)
		if err != nil {
			return err
		}
		d.editions = append(d.editions, e)
		if e.id == visible {
			d.visible = e
		}
	}
	return rows.Err()
}

// edition returns the staged edition of a revision in that many chunks.
func (t *transaction) edition(d *document, number events.Revision, chunks int) *edition {
	for _, e := range d.editions {
		if e.Revision == number && e.Chunks == chunks {
			return e
		}
	}
	e := &edition{id: t.nextEdition, State: revision.State{Revision: number, Chunks: chunks}}
	t.nextEdition++
	d.editions = append(d.editions, e)
	d.dirty = true
	return e
}

// chunk returns the chunk of e that is there already, or nil.
func (t *transaction) chunk(e *edition, ordinal int) (*revision.Chunk, error) {
	if c := e.fresh[ordinal]; c != nil && c.Key != "" { // gathered ones have no key
		return &c.Chunk, nil
	}
	if !e.stored {
		return nil, nil
	}
	var c revision.Chunk
	err := t.stmt.chunk.QueryRow(rowID(e.id, ordinal)).Scan(&c.Key, &c.Tokens, &c.Nano, &c.Reused, &c.Degraded)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &c, err
}

// complete makes e visible, and drops what it supersedes.
func (t *transaction) complete(d *document, e *edition) error {
	if err := t.show(d, e); err != nil {
		return err
	}
	return t.dropBelow(d, e.Revision+1)
}

// show has search see e as it is now.
func (t *transaction) show(d *document, e *edition) error {
	if err := t.gather(e); err != nil {
		return err
	}
	names := make(map[int64]string, len(t.spaces)+len(t.added))
	for model, sp := range t.spaces {
		names[sp.id] = model
	}
	for model, sp := range t.added {
		names[sp.id] = model
	}
	count := make(map[string]int)
	for _, c := range e.fresh {
		count[names[int64(c.search.Space)]]++
	}
	e.Model = ""
	for model, n := range count {
		if best := count[e.Model]; n > best || n == best && model < e.Model {
			e.Model = model
		}
	}
	d.visible, d.swapped = e, true
	return nil
}

// gather reads the chunks of e that came with earlier transactions.
func (t *transaction) gather(e *edition) error {
	if len(e.fresh) == e.Chunks {
		return nil
	}
	rows, err := t.stmt.chunks.Query(rowsOf(e.id))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		c, err := scanChunk(rows)
		if err != nil {
			return err
		}
		if at := int(c.Row & (index.MaxChunks - 1)); e.fresh[at] == nil {
			e.fresh[at] = &freshChunk{search: c}
		}
	}
	return rows.Err()
}

// dropBelow drops all editions of revisions below limit but the visible one.
func (t *transaction) dropBelow(d *document, limit events.Revision) error {
	kept := d.editions[:0]
	for _, e := range d.editions {
		if e == d.visible || e.Revision >= limit {
			kept = append(kept, e)
			continue
		}
		first, last := rowsOf(e.id)
		if _, err := t.stmt.dropChunks.Exec(first, last); err != nil {
			return err
		}
		if _, err := t.stmt.dropTexts.Exec(first, last); err != nil {
			return err
		}
		t.bytes += int64(e.Have) * rowBytes
		if e.stored {
			d.dropped = append(d.dropped, e)
		}
	}
	clear(d.editions[len(kept):])
	d.editions = kept
	d.dirty = true
	return nil
}

func (t *transaction) tombstone(m *events.Tombstone) (index.Outcome, error) {
	if err := revision.CheckTombstone(m); err != nil {
		return index.Outcome{}, err
	}
	d, err := t.document(cmp.Or(m.Tenant, events.DefaultTenant), m.Document)
	if err != nil {
		return index.Outcome{}, err
	}
	kind := revision.OfTombstone(m, d.floor, d.state())
	switch kind {
	case index.Confirmed:
		e := d.visible
		if e.Revision < m.Revision {
			e.Revision, e.dirty = m.Revision, true
			// What was staged for the revisions in between has been overtaken.
			if err := t.dropBelow(d, m.Revision+1); err != nil {
				return index.Outcome{}, err
			}
		}
		return index.Outcome{Kind: kind, Have: e.Have, Of: e.Chunks, Revision: d.describe()}, nil
	case index.Deleted:
		d.floor, d.dirty = m.Revision, true
		if d.visible != nil {
			d.visible, d.swapped = nil, true
		}
		if err := t.dropBelow(d, m.Revision); err != nil {
			return index.Outcome{}, err
		}
	}
	return index.Outcome{Kind: kind, Revision: d.describe()}, nil
}

func (d *document) describeIf(yes bool) *index.Revision {
	if !yes {
		return nil
	}
	return d.describe()
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

// commit writes documents and editions, commits, and brings memory up to date.
func (t *transaction) commit() error {
	var visible []ram.Document
	var gone []int64
	for _, d := range t.order {
		if err := t.flush(d); err != nil {
			return err
		}
		switch {
		case !d.swapped:
		case d.visible == nil:
			gone = append(gone, d.id)
		default:
			visible = append(visible, t.searchable(d))
		}
	}
	// Searches wait while memory changes, and begin neither between the
	// commit and that.
	t.mem.Lock()
	defer t.mem.Unlock()
	if _, err := t.stmt.commit.Exec(); err != nil {
		return err
	}
	t.Store.nextDoc, t.Store.nextEdition = t.nextDoc, t.nextEdition
	for model, sp := range t.added {
		t.spaces[model] = sp
	}
	for _, id := range gone {
		t.ram.Delete(id)
	}
	for _, d := range visible {
		t.ram.Put(d)
	}
	return nil
}

func (t *transaction) flush(d *document) error {
	for _, e := range d.dropped {
		if _, err := t.stmt.dropEdition.Exec(e.id); err != nil {
			return err
		}
	}
	for _, e := range d.editions {
		if !e.dirty {
			continue
		}
		if _, err := t.stmt.putEdition.Exec(e.id, int64(e.Revision), e.Chunks, e.Have, e.Reused, e.Degraded, e.Tokens, e.Nano, e.Model, e.aboutJSON, e.Language, d.id); err != nil {
			return err
		}
		t.bytes += rowBytes
	}
	if !d.dirty {
		return nil
	}
	var visible int64
	if d.visible != nil {
		visible = d.visible.id
	}
	t.bytes += rowBytes
	_, err := t.stmt.putDocument.Exec(d.id, d.tenant, d.documentKey.id, int64(d.floor), visible)
	return err
}

func (t *transaction) searchable(d *document) ram.Document {
	a, done := t.analyzers.Lend()
	defer done()
	out := ram.Document{
		ID: d.id, Tenant: d.tenant, Meta: d.visible.About.Meta,
		Language: d.visible.Language,
		Terms:    slices.Clone(revision.Titles(d.visible.About, d.visible.Language, a)),
		Chunks:   make([]ram.Chunk, 0, d.visible.Chunks),
	}
	for ordinal := range d.visible.Chunks {
		out.Chunks = append(out.Chunks, d.visible.fresh[ordinal].search)
	}
	return out
}
