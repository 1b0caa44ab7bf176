// Package indexer is the last stage: it makes documents searchable.
//
// It writes vectors and text into an index, an SQLite file or a Postgres with
// pgvector, in which a revision becomes visible as a whole and the one before it
// goes in the same transaction. It answers searches, and with the recorder it
// keeps the state of every document.
package indexer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/alecthomas/kong"
	"github.com/nats-io/nats.go"

	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/stage"
	"sluice/services/indexer/index"
	"sluice/services/indexer/pgvector"
	"sluice/services/indexer/sqlite"
)

// Name is the stage's name everywhere.
const Name = "indexer"

// Config configures the stage. The tags are read by kong.
type Config struct {
	Path        string        `name:"index" env:"SLUICE_INDEX" default:"sluice.db" placeholder:"FILE|URL" help:"Where vectors and text are: an SQLite file, or the URL of a Postgres with pgvector, postgres://USER:PASSWORD@HOST/DATABASE, which any number of indexers may share. Set a password by the environment: others can see flags."`
	Relaxed     bool          `name:"index-relaxed" env:"SLUICE_INDEX_RELAXED" help:"Do not wait until a commit is on the disk: faster, and a power failure may undo the last ones."`
	Connections int           `name:"index-connections" env:"SLUICE_INDEX_CONNECTIONS" default:"8" help:"Postgres: most connections of this process."`
	Timeout     time.Duration `name:"index-timeout" env:"SLUICE_INDEX_TIMEOUT" default:"1m" help:"Postgres: longest time of a statement."`
	Batch       int           `name:"indexer-batch" env:"SLUICE_INDEXER_BATCH" default:"512" help:"Most packs of chunks in a transaction, and at most 4 MiB of them."`
	Wait        time.Duration `name:"indexer-wait" env:"SLUICE_INDEXER_WAIT" default:"10ms" help:"Time for a transaction to fill."`
	Reconcile   time.Duration `name:"reconcile" env:"SLUICE_RECONCILE" default:"5m" help:"How often the states of documents are compared with the index, and documents are looked for that nothing is under way for; 0 = never."`
}

// Shown returns the place of the index as anyone may see it.
func (c Config) Shown() string {
	if pgvector.IsURL(c.Path) {
		return pgvector.Redact(c.Path)
	}
	return c.Path
}

// Open opens the index that the configuration names.
func Open(ctx context.Context, cfg Config) (index.Store, error) {
	if pgvector.IsURL(cfg.Path) {
		return pgvector.Open(ctx, cfg.Path, pgvector.Options{Connections: cfg.Connections, Timeout: cfg.Timeout, Relaxed: cfg.Relaxed})
	}
	return sqlite.Open(ctx, kong.ExpandPath(cfg.Path), sqlite.Options{Relaxed: cfg.Relaxed})
}

// await opens the index, and waits for one whose server is away until ctx ends:
// the process is alive and not ready meanwhile, and to restart it would not help.
func await(ctx context.Context, env *stage.Env, cfg Config) (index.Store, error) {
	for {
		store, err := Open(ctx, cfg)
		f := fault.From(err)
		if f == nil || f.Wait.Kind() != fault.WaitStore {
			return store, err
		}
		env.Log.Warn().Str("stage", Name).Str("reason", f.Reason).Str("hint", f.Hint).Msg(f.Message)
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(max(f.RetryAfter, time.Second)):
		}
	}
}

// Stages opens the index and returns the stages indexer and recorder, and what
// closes the index after they have stopped.
func Stages(ctx context.Context, env *stage.Env, cfg Config) ([]stage.Stage, func() error, error) {
	store, err := await(ctx, env, cfg)
	if err != nil {
		return nil, nil, err
	}
	letters, err := newLetters(ctx, env)
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	recorder, err := recorderStage(ctx, env, letters.settled)
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	reconciler, err := newReconciler(ctx, env, cfg, store)
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	background, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { letters.run(background) })
	running.Go(func() { reconciler.run(background) })
	stop := watch(env, store)
	return []stage.Stage{Stage(env, cfg, store), recorder}, func() error {
		cancel()
		stop()
		running.Wait()
		return store.Close()
	}, nil
}

// watchEvery is how often an index that can be away is asked whether it is there.
const watchEvery = 5 * time.Second

// watch keeps the health of the stage true while nobody writes: an index on a
// server can be away. It returns what ends the watching.
func watch(env *stage.Env, store index.Store) (stop func()) {
	server, ok := store.(interface{ Ping(context.Context) error })
	if !ok {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		down := ""
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			limited, done := context.WithTimeout(ctx, watchEvery)
			err := server.Ping(limited)
			done()
			if ctx.Err() != nil {
				return
			}
			was := down
			if down = ""; err != nil {
				down = fault.From(err).Message
			}
			if env.Health.Down(Name, down); (was == "") != (down == "") {
				env.Log.Warn().Str("stage", Name).Bool("reached", err == nil).Msg(cmp.Or(down, "the index answers again"))
			}
		}
	})
	return func() {
		cancel()
		watching.Wait()
	}
}

// workers write at once. SQLite has one writer, and a second would only wait
// for it. In Postgres each has a connection; some are left to searches.
func (c Config) workers() int {
	if !pgvector.IsURL(c.Path) {
		return 1
	}
	return max(1, min(maxWorkers, c.Connections/2))
}

const maxWorkers = 4

// Stage returns the stage that writes to and searches in a store.
func Stage(env *stage.Env, cfg Config, store index.Store) stage.Stage {
	return stage.Stage{
		Declaration: Service.Stage(Name), Workers: cfg.workers(), Batch: stage.Batch{
			Items: cfg.Batch, Wait: cfg.Wait, Weight: 16 * events.PackBytes, Weigh: func(m *stage.Message) int { return len(m.Data) },
		},
		HandleBatch: func(ctx context.Context, batch []*stage.Message) { write(ctx, store, batch) },
		Endpoints: []stage.Endpoint{{
			Name: "search", Subject: events.SubjectSearch,
			Handle: func(ctx context.Context, req []byte) (any, error) { return search(ctx, env.Conn, store, req) },
		}},
	}
}

func write(ctx context.Context, store index.Store, batch []*stage.Message) {
	var ops []index.Op
	type part struct {
		m     *stage.Message
		n     int // operations
		label string
	}
	var parts []part
	// Progress of a document is told once a batch, by its last step.
	last := map[string]int{}
	for _, m := range batch {
		own, err := decode(m)
		if err != nil {
			m.Fail(err)
			continue
		}
		label := m.Document + m.Revision.String()
		last[label] = len(parts)
		ops, parts = append(ops, own...), append(parts, part{m, len(own), label})
	}
	if len(ops) == 0 {
		return
	}
	outcomes, err := store.Apply(ctx, ops)
	if err == nil && len(outcomes) != len(ops) {
		err = fmt.Errorf("the index answered %d of %d operations", len(outcomes), len(ops))
	}
	for i, p := range parts {
		if err != nil {
			p.m.Fail(err)
			continue
		}
		report(p.m, sum(outcomes[:p.n]), last[p.label] == i)
		outcomes = outcomes[p.n:]
	}
}

// sum returns the outcome that tells most of a pack: what was refused, what made the
// revision visible, or else the last one.
func sum(outcomes []index.Outcome) index.Outcome {
	told := outcomes[len(outcomes)-1]
	for _, o := range outcomes {
		if o.Err != nil {
			return o
		}
		if o.Kind == index.Completed {
			told = o
		}
	}
	return told
}

func decode(m *stage.Message) (ops []index.Op, err error) {
	var document string
	var revision events.Revision
	// The version after the kind is the body's to tell, and to be refused by.
	kind, _, _ := strings.Cut(m.Header.Get(events.HeaderEventType), "/")
	switch kind + "/1" {
	case events.TypeVectors:
		var p *events.Vectors
		if p, err = events.Decode[events.Vectors](m.Data); err == nil {
			document, revision = p.Document, p.Revision
			for i := range p.Vectors {
				ops = append(ops, index.Op{Vector: &p.Vectors[i]})
			}
		}
	case events.TypeTombstone:
		var t *events.Tombstone
		if t, err = events.Decode[events.Tombstone](m.Data); err == nil {
			document, revision = t.Document, t.Revision
			ops = []index.Op{{Tombstone: t}}
		}
	default:
		err = fault.Invalid("malformed-event", "the header %s is %q, want %s or %s",
			events.HeaderEventType, events.CleanHeader(kind, 64), events.TypeVectors, events.TypeTombstone)
	}
	if err == nil && (document != m.Document || revision != m.Revision) {
		err = fault.Invalid("malformed-event", "body and headers name different documents or revisions")
	}
	return ops, err
}

func report(m *stage.Message, o index.Outcome, last bool) {
	if o.Err != nil {
		m.Fail(o.Err)
		return
	}
	switch o.Kind {
	case index.Staged, index.Repeated:
		if o.Revision != nil {
			// Visible already. Its completion may have died with the process
			// that brought it about, so it is told again.
			complete(m, o.Revision)
		} else if last {
			m.Emit(events.Event{What: events.Indexed, Chunks: o.Have, Of: o.Of}, fmt.Sprint(o.Have))
		}
	case index.Completed:
		complete(m, o.Revision)
	case index.Upgraded:
		if last {
			complete(m, o.Revision)
		}
	case index.Stale:
		if last {
			m.Emit(superseded(m, o), "")
		}
	case index.Deleted:
		m.Emit(events.Event{What: events.Deleted}, "")
	case index.Confirmed:
		m.Emit(story(events.Duplicated, o.Revision), "")
	case index.ConfirmMismatch:
		m.Fail(fault.New(fault.Execution, ReasonIndexChanged,
			"the content was taken for a duplicate, but the index does not hold it (any more)").
			WithHint("submit the document again; it will be processed in full"))
	default:
		m.Fail(fmt.Errorf("the index answered %v", o.Kind))
	}
}

// superseded names both revisions: what was handled, and what stands in its way.
func superseded(m *stage.Message, o index.Outcome) events.Event {
	if v := o.Revision; v != nil {
		return events.Event{What: events.Superseded, Failure: events.Late(Name, m.Revision, v.About.Revision, false)}
	}
	return events.Event{What: events.Superseded, Failure: &events.Failure{
		Stage: Name, Class: fault.Execution.String(), Reason: events.ReasonNewer,
		Message: fmt.Sprintf("revision %d of %s is older than the deletion of the document", m.Revision, m.Revision.Time().Format(time.RFC3339)),
	}}
}

// story tells what the index holds of a document.
func story(what events.What, r *index.Revision) events.Event {
	return events.Event{
		What: what, Of: r.Chunks, Tokens: r.Tokens, Model: r.Model,
		ContentHash: r.About.ContentHash, Fingerprint: r.About.Fingerprint, Bytes: r.About.Bytes,
		Pages: r.About.Facts.Pages, Type: r.About.Facts.Type, Title: r.About.Facts.Title, Warnings: r.About.Warnings, Parser: r.About.Parser,
	}
}

func complete(m *stage.Message, r *index.Revision) {
	e := story(events.Completed, r)
	if r.Degraded > 0 || r.About.Degraded {
		e.What = events.Downgraded
	}
	e.Nano, e.Reused, e.Submitted, e.Steps = r.Nano+r.About.Nano, r.Reused, &r.About.Submitted, r.About.Steps
	e.Seconds = time.Since(r.About.Submitted).Seconds()
	m.Emit(e, fmt.Sprint(r.Degraded)) // an upgrade is told apart from what it mends
}

// search answers a SearchRequest. The query is embedded by the embedder, so
// that it meets vectors of its own model; without it, keywords still work.
func search(ctx context.Context, nc *nats.Conn, store index.Store, req []byte) (any, error) {
	var q events.SearchRequest
	if err := json.Unmarshal(req, &q); err != nil {
		return nil, fault.Wrap(err, fault.Validation, "malformed-request", "the request is not a search request")
	}
	mode := index.Mode(q.Mode)
	if mode == "" {
		mode = index.Hybrid
	}
	switch {
	case q.Query == "":
		return nil, fault.Invalid("malformed-request", "the query is empty")
	case len(q.Query) > maxQuery:
		return nil, fault.Invalid("malformed-request", "the query has %d bytes, at most %d are searched for", len(q.Query), maxQuery)
	case q.K < 0 || q.K > index.MaxK:
		return nil, fault.Invalid("malformed-request", "k is %d, want 1 to %d", q.K, index.MaxK)
	case mode != index.Hybrid && mode != index.Keyword && mode != index.Vector:
		return nil, fault.Invalid("malformed-request", "mode is %q, want hybrid, keyword or vector", q.Mode)
	}
	query := index.Query{Text: q.Query, K: q.K, Mode: mode, Tenant: q.Tenant, Meta: q.Meta}
	var reply events.SearchReply
	if mode != index.Keyword {
		var err error
		query.Model, query.Vector, err = embedQuery(ctx, nc, q.Query)
		switch {
		case err == nil:
			reply.Model = query.Model
		case mode == index.Vector:
			return nil, err
		default:
			query.Mode = index.Keyword
			reply.Note = "keywords only: " + fault.From(err).Message
		}
	}
	hits, err := store.Search(ctx, query)
	if err != nil {
		return nil, err
	}
	reply.Hits, reply.Mode = hits, string(query.Mode)
	return reply, nil
}

// maxQuery bounds what one search may cost.
const maxQuery = 16 << 10

// embedQuery asks the embedder for the query's vector and its model.
func embedQuery(ctx context.Context, nc *nats.Conn, text string) (model string, vector []float32, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	msg, err := nc.RequestWithContext(ctx, events.SubjectEmbed, events.Encode(events.EmbedRequest{Texts: []string{text}}))
	if err != nil {
		return "", nil, fault.Wrap(err, fault.Unavailable, "no-embedder", "the embedder does not answer")
	}
	if e := msg.Header.Get("Nats-Service-Error"); e != "" {
		return "", nil, fault.New(fault.Unavailable, "no-embedder", "the embedder cannot embed the query: %s", e)
	}
	var reply events.EmbedReply
	if err := json.Unmarshal(msg.Data, &reply); err != nil || len(reply.Vectors) != 1 {
		return "", nil, fault.New(fault.Unavailable, "no-embedder", "the embedder's answer cannot be read")
	}
	vector, err = events.DecodeVector(reply.Vectors[0])
	return reply.Model, vector, err
}

// each calls f for every item, several at once.
func each[T any](items []T, f func(T)) {
	var wg sync.WaitGroup
	workers := min(32, len(items))
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(items); i += workers {
				f(items[i])
			}
		})
	}
	wg.Wait()
}
