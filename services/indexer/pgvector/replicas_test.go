package pgvector

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/services/indexer/index"
	"sluice/services/indexer/pgvector/pgtest"
	"sluice/services/indexer/sqlite"
)

const testModel = "m-16"

// chunk returns the operation that brings one chunk, of 16 dimensions.
func chunk(tenant string, doc int, revision events.Revision, ordinal, of int, text string) index.Op {
	r := rand.New(rand.NewChaCha8([32]byte([]byte(events.TextHash(text))[:32])))
	vector := make([]float32, 16)
	for i := range vector {
		vector[i] = float32(r.NormFloat64())
	}
	v := &events.Vector{Model: testModel, Embedding: events.EncodeVector(vector), Nano: 3}
	v.Tenant, v.Revision = tenant, revision
	v.Document = events.DocumentID(tenant, fmt.Sprint("doc-", doc))
	v.ID = events.ChunkID(v.Document, ordinal, events.TextHash(text), "f")
	v.Ordinal, v.Of, v.Text, v.End, v.InputTokens = ordinal, of, text, len(text), 5
	if ordinal == 0 {
		v.About = &events.About{
			Document: v.Document, Revision: revision, Tenant: tenant, Name: fmt.Sprint("doc-", doc), ContentHash: fmt.Sprint(revision),
			Meta: map[string]string{"parity": fmt.Sprint(doc % 2)},
		}
	}
	return index.Op{Vector: v}
}

func dump(t testing.TB, s index.Store) (entries []index.Entry) {
	t.Helper()
	err := s.Dump(context.Background(), func(e index.Entry) error { entries = append(entries, e); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// Several replicas write the same documents in batches that overlap and come in
// any order, while sessions of theirs are ended by force. Nothing may be lost,
// nothing be there twice or in part, nobody wait in a circle; and the result is
// what one SQLite file holds that got the same in order.
func TestReplicasAtOnce(t *testing.T) {
	const replicas, documents, revisions, chunks = 3, 8, 4, 5
	place := pgtest.Shared(t).Place(t)
	var ops []index.Op
	for d := range documents {
		for r := range revisions {
			for o := range chunks {
				ops = append(ops, chunk("acme", d, events.Revision(r+1), o, chunks, fmt.Sprintf("shared words of place %d document %d edition %d", o, d, r*(o%2))))
			}
		}
	}
	ops = append(ops, index.Op{Tombstone: &events.Tombstone{V: events.Version, Tenant: "acme", Document: events.DocumentID("acme", "doc-0"), Revision: 9}})

	file, err := sqlite.Open(context.Background(), filepath.Join(t.TempDir(), "index.db"), sqlite.Options{Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Apply(context.Background(), ops); err != nil {
		t.Fatal(err)
	}
	want := dump(t, file)
	if len(want) != (documents-1)*chunks {
		t.Fatal("the index to compare with has", len(want), "chunks")
	}

	base, _, _ := strings.Cut(place, "?") // the schema is a parameter of ours
	outside, err := pgx.Connect(context.Background(), base+"?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close(context.Background())
	deadlocks := func() (n int) {
		if err := outside.QueryRow(context.Background(), "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := deadlocks()

	var writing, others sync.WaitGroup
	var failures atomic.Int64
	done := make(chan struct{})
	for n := range replicas {
		s := open(t, place)
		writing.Go(func() {
			r := rand.New(rand.NewPCG(uint64(n), 1))
			mixed := slices.Clone(ops)
			r.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
			for batch := range slices.Chunk(mixed, 20) {
				deadline := time.Now().Add(time.Minute)
				for {
					_, err := s.Apply(context.Background(), batch)
					if err == nil {
						break
					}
					failures.Add(1)
					if f := fault.From(err); f.Class != fault.Unavailable || f.Wait.Kind() != fault.WaitStore || time.Now().After(deadline) {
						t.Errorf("replica %d: %v, %v", n, f.Class, err)
						return
					}
				}
			}
		})
	}
	reader := open(t, place)
	others.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			hits, err := reader.Search(context.Background(), index.Query{Text: "shared words", Mode: index.Keyword, Tenant: "acme", K: 500})
			if err != nil {
				if fault.Of(err) != fault.Unavailable {
					t.Error(err)
				}
				continue
			}
			seen := make(map[string][]events.Revision)
			for _, h := range hits {
				seen[h.Document] = append(seen[h.Document], h.Revision)
			}
			for d, r := range seen {
				if len(r) != chunks || slices.Min(r) != slices.Max(r) {
					t.Errorf("a search sees document %s at revisions %v", d, r)
					return
				}
			}
		}
	})
	others.Go(func() {
		for range 60 { // and no more: on a busy machine no transaction would outlive its share
			select {
			case <-done:
				return
			case <-time.After(40 * time.Millisecond): // often enough to hit most phases of a transaction
			}
			if _, err := outside.Exec(context.Background(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND application_name = 'sluice-indexer' AND state <> 'idle' ORDER BY random() LIMIT 1`); err != nil {
				t.Error(err)
				return
			}
		}
	})
	writing.Wait()
	close(done)
	others.Wait()
	if got := dump(t, reader); !slices.Equal(got, want) {
		t.Errorf("the replicas left\n%v, want\n%v", got, want)
	}
	stats, err := reader.Stats(context.Background())
	if err != nil || stats.Staged != 0 || stats.Documents != documents-1 {
		t.Errorf("stats %+v, %v", stats, err)
	}
	if n := deadlocks() - before; n != 0 {
		t.Errorf("%d deadlocks", n)
	}
	if failures.Load() == 0 {
		t.Error("no session was ended in its work: nothing was tested")
	}
}

// Several replicas start at once on an empty database; then a space is new to
// all of them at once.
func TestStartTogether(t *testing.T) {
	place := pgtest.Shared(t).Database(t)
	const replicas = 6
	stores := make([]*Store, replicas)
	var starting sync.WaitGroup
	for i := range stores {
		starting.Go(func() {
			s, err := Open(context.Background(), place, Options{Connections: 2})
			if err != nil {
				t.Error(err)
				return
			}
			stores[i] = s
		})
	}
	starting.Wait()
	for i, s := range stores {
		if s == nil {
			t.Fatal("replica", i, "did not start")
		}
		defer s.Close()
	}
	var writing sync.WaitGroup
	for i, s := range stores {
		writing.Go(func() {
			op := chunk("acme", i, 1, 0, 1, fmt.Sprint("text ", i))
			op.Vector.Model = fmt.Sprint("model-", i%2)
			if out, err := s.Apply(context.Background(), []index.Op{op}); err != nil || out[0].Kind != index.Completed {
				t.Error(out, err)
			}
		})
	}
	writing.Wait()
	stats, err := stores[0].Stats(context.Background())
	if err != nil || len(stats.Spaces) != 2 || stats.Spaces[0].Chunks != replicas/2 || stats.Spaces[1].Chunks != replicas/2 {
		t.Fatalf("stats %+v, %v", stats, err)
	}
}

// What others hold is waited for, so long; then the work is kept, not lost.
func TestLockedDocument(t *testing.T) {
	place := pgtest.Shared(t).Place(t)
	patient := open(t, place)
	s, err := Open(context.Background(), place, Options{Timeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	op := chunk("acme", 1, 1, 0, 2, "first")
	if _, err := patient.Apply(context.Background(), []index.Op{op}); err != nil {
		t.Fatal(err)
	}
	tx, err := patient.pool.Begin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(context.Background(), "SELECT 1 FROM document FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	second := chunk("acme", 1, 1, 1, 2, "second")
	_, err = s.Apply(context.Background(), []index.Op{second})
	if f := fault.From(err); f == nil || f.Class != fault.Unavailable || f.Wait.Kind() != fault.WaitStore || f.Reason != "index-slow" || f.Hint == "" {
		t.Fatalf("a locked document: %+v", f)
	}
	if err := tx.Rollback(context.Background()); err != nil {
		t.Fatal(err)
	}
	if out, err := patient.Apply(context.Background(), []index.Op{second}); err != nil || out[0].Kind != index.Completed {
		t.Fatal(out, err)
	}
}

// The server dies and comes back: the same store goes on.
func TestServerDies(t *testing.T) {
	server := pgtest.New(t)
	s := open(t, server.Database(t))
	ctx := context.Background()
	if out, err := s.Apply(ctx, []index.Op{chunk("acme", 1, 1, 0, 1, "kept words")}); err != nil || out[0].Kind != index.Completed {
		t.Fatal(out, err)
	}
	if err := s.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	next := []index.Op{chunk("acme", 2, 1, 0, 1, "later words")}
	_, applied := s.Apply(ctx, next)
	_, searched := s.Search(ctx, index.Query{Text: "words", Tenant: "acme"})
	for name, err := range map[string]error{"Apply": applied, "Search": searched, "Ping": s.Ping(ctx)} {
		if f := fault.From(err); f == nil || f.Class != fault.Unavailable || f.Wait.Kind() != fault.WaitStore || f.Reason != "index-unreachable" || f.Hint == "" {
			t.Errorf("%s of a dead server: %+v", name, f)
		}
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	if out, err := s.Apply(ctx, next); err != nil || out[0].Kind != index.Completed {
		t.Fatal(out, err)
	}
	if hits, err := s.Search(ctx, index.Query{Text: "words", Tenant: "acme"}); err != nil || len(hits) != 2 {
		t.Fatal(hits, err)
	}
}

// A network that swallows everything is noticed on this side of it.
func TestSilentNetwork(t *testing.T) {
	place, err := url.Parse(pgtest.Shared(t).Place(t))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var silent atomic.Bool
	var mu sync.Mutex
	var ends []net.Conn
	hangUp := func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range ends {
			_ = c.Close() // most are closed already
		}
	}
	var relaying sync.WaitGroup
	defer relaying.Wait()
	relay := func(from, to net.Conn) {
		defer to.Close()
		buf := make([]byte, 1<<16)
		for {
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			if silent.Load() {
				continue
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
	}
	behind := place.Host
	relaying.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", behind)
			if err != nil {
				t.Error(err)
				_ = client.Close()
				return
			}
			mu.Lock()
			ends = append(ends, client, server)
			mu.Unlock()
			relaying.Go(func() { relay(client, server) })
			relaying.Go(func() { relay(server, client) })
		}
	})
	defer l.Close()
	direct := open(t, place.String())
	place.Host = l.Addr().String()
	s, err := Open(context.Background(), place.String(), Options{Timeout: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	op := []index.Op{chunk("acme", 1, 1, 0, 1, "first words")}
	if out, err := direct.Apply(context.Background(), op); err != nil || out[0].Kind != index.Completed {
		t.Fatal(out, err)
	}
	silent.Store(true)
	_, applied := s.Apply(context.Background(), op)
	_, searched := s.Search(context.Background(), index.Query{Text: "words", Tenant: "acme"})
	for name, err := range map[string]error{"Apply": applied, "Search": searched} {
		if f := fault.From(err); f == nil || f.Class != fault.Unavailable || f.Wait.Kind() != fault.WaitStore || f.Reason != "index-slow" || f.Hint == "" {
			t.Errorf("%s over a silent network: %+v", name, f)
		}
	}
	silent.Store(false)
	hangUp() // or the store waits for what was swallowed when it closes
	for deadline := time.Now().Add(time.Minute); ; {
		out, err := s.Apply(context.Background(), op)
		if err == nil && out[0].Kind == index.Repeated {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(out, err)
		}
	}
}
