package embedder_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/natstest"
	"sluice/pkg/provider"
	"sluice/pkg/stage"
	"sluice/services/embedder"
	"sluice/services/embedder/mock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counting is the mock behind a meter: what it was asked, call by call.
type counting struct {
	mock.Embedder
	mu    sync.Mutex
	calls [][]string
	price int64 // nano-dollars a token
	limit int   // inputs a call
	most  int   // tokens a call
	odd   func(texts []string, out *provider.Embeddings) error
}

func (c *counting) Describe() provider.EmbedderInfo {
	info := c.Embedder.Describe()
	info.MaxInputs, info.MaxTokens, info.NanoPerToken, info.Cacheable = c.limit, c.most, c.price, true
	return info
}

func (c *counting) Embed(ctx context.Context, in []provider.Input) (provider.Embeddings, error) {
	texts := make([]string, len(in))
	for i := range in {
		texts[i] = in[i].Text
	}
	c.mu.Lock()
	c.calls = append(c.calls, texts)
	c.mu.Unlock()
	out, err := c.Embedder.Embed(ctx, in)
	out.Nano = int64(out.Tokens) * c.price
	if err == nil && c.odd != nil {
		err = c.odd(texts, &out)
	}
	return out, err
}

func (c *counting) asked() (calls, texts int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.calls {
		texts += len(t)
	}
	return len(c.calls), texts
}

type rig struct {
	env     *stage.Env
	mu      sync.Mutex
	vectors map[string]*events.Vector
	dead    []*nats.Msg
	told    []*events.Event
}

func setUp(t *testing.T, p provider.Embedder, cfg embedder.Config) *rig {
	t.Helper()
	url := natstest.Start(t, broker.DefaultTopology())
	s := stage.DefaultSettings()
	s.RetryDelay, s.RetryCap = 10*time.Millisecond, 50*time.Millisecond
	r := &rig{env: natstest.Env(t, url, s), vectors: map[string]*events.Vector{}}
	watch := natstest.Connect(t, url)
	on := func(subject string, f func(*nats.Msg)) {
		if _, err := watch.Subscribe(subject, func(m *nats.Msg) { r.mu.Lock(); defer r.mu.Unlock(); f(m) }); err != nil {
			t.Fatal(err)
		}
	}
	on(events.SubjectVectors, func(m *nats.Msg) {
		p, err := events.Decode[events.Vectors](m.Data)
		if err != nil {
			t.Error(err)
			return
		}
		for _, v := range p.Vectors {
			r.vectors[v.ID+v.Revision.String()] = &v
		}
	})
	on(events.SubjectDeadPrefix+">", func(m *nats.Msg) { r.dead = append(r.dead, m) })
	on(events.SubjectEventPrefix+"*.embedded", func(m *nats.Msg) {
		e, err := events.Decode[events.Event](m.Data)
		if err != nil {
			t.Error(err)
			return
		}
		r.told = append(r.told, e)
	})
	if err := watch.Flush(); err != nil {
		t.Fatal(err)
	}
	if cfg.Batch == 0 {
		cfg.Batch = 64
	}
	cfg.Workers, cfg.Wait = 2, cmp.Or(cfg.Wait, 20*time.Millisecond)
	st, err := embedder.Stage(t.Context(), r.env, cfg, p)
	if err != nil {
		t.Fatal(err)
	}
	natstest.Run(t, r.env, st)
	return r
}

// submit publishes one document revision as chunks of the given texts.
func (r *rig) submit(t *testing.T, name string, rev events.Revision, texts ...string) []events.Chunk {
	t.Helper()
	about := events.About{
		Document: events.DocumentID("acme", name), Revision: rev, Tenant: "acme", Name: name, Submitted: time.Unix(0, 0).UTC(),
	}
	chunks := make([]events.Chunk, len(texts))
	for i, text := range texts {
		c := events.Chunk{
			Document: about.Document, Revision: rev, Tenant: "acme", Ordinal: i, Of: len(texts),
			Text: text, End: len(text), Tokens: 3, InputTokens: 3,
		}
		c.ID = events.ChunkID(c.Document, i, events.TextHash(text), "f")
		if i == 0 {
			c.About = &about
		}
		chunks[i] = c
	}
	for pack := range events.PackChunks(chunks) {
		m := nats.NewMsg(events.SubjectChunks)
		m.Header.Set(events.HeaderDocumentID, about.Document)
		m.Header.Set(events.HeaderRevision, rev.String())
		m.Header.Set(events.HeaderTenant, "acme")
		m.Header.Set(events.HeaderCorrelationID, "corr")
		m.Data = pack.Data
		if _, err := r.env.JS.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	return chunks
}

func (r *rig) wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	natstest.Eventually(t, 15*time.Second, what, func() bool { r.mu.Lock(); defer r.mu.Unlock(); return ok() })
}

func texts(n int, prefix string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint(prefix, " ", i)
	}
	return out
}

func TestEveryChunkGetsTheVectorOfItsOwnText(t *testing.T) {
	p := &counting{limit: 16}
	r := setUp(t, p, embedder.Config{Cache: "off"})
	var all []events.Chunk
	for d := range 10 {
		all = append(all, r.submit(t, fmt.Sprint(d), 1, texts(9, fmt.Sprint("doc ", d))...)...)
	}
	r.wait(t, "all vectors", func() bool { return len(r.vectors) == 90 })
	for _, c := range all {
		v := r.vectors[c.ID+"1"]
		if v == nil || v.Model != mock.Model || string(v.Embedding) != string(events.EncodeVector(mock.Vector(c.Text))) {
			t.Fatalf("chunk %q has the wrong vector", c.Text)
		}
	}
	if calls, n := p.asked(); n != 90 || calls > 40 {
		t.Errorf("%d texts in %d calls: batches do not cross documents", n, calls)
	}
	for _, c := range p.calls {
		if len(c) > 16 {
			t.Errorf("a call of %d inputs, the provider takes 16", len(c))
		}
	}
}

// Requests of a paid service are limited like its money: each one is filled, by
// tokens, across documents, whatever the number of workers.
func TestPaidCallsAreFull(t *testing.T) {
	p := &counting{price: 20, most: 30}
	r := setUp(t, p, embedder.Config{Cache: "off", Wait: time.Minute}) // nothing is left over that would have to wait
	for d := range 20 {
		r.submit(t, fmt.Sprint(d), 1, texts(9, fmt.Sprint("doc ", d))...)
	}
	r.wait(t, "all vectors", func() bool { return len(r.vectors) == 180 })
	if calls, n := p.asked(); calls != 18 || n != 180 {
		t.Errorf("%d texts of 3 tokens in %d calls of up to 30, want 180 in 18", n, calls)
	}
}

func TestOnlyChangedTextIsEmbeddedAgain(t *testing.T) {
	p := &counting{price: 20}
	r := setUp(t, p, embedder.Config{Cache: "auto"})
	text := texts(10, "paragraph")
	r.submit(t, "a", 1, text...)
	r.wait(t, "the first revision", func() bool { return len(r.vectors) == 10 })
	text[4] = "changed"
	text = append([]string{"inserted before all"}, text...)
	chunks := r.submit(t, "a", 2, text...)
	r.wait(t, "the second revision", func() bool { return len(r.vectors) == 21 })
	if _, n := p.asked(); n != 12 {
		t.Errorf("%d texts embedded, want 10 and the 2 that are new", n)
	}
	var reused int
	var nano int64
	for _, c := range chunks {
		v := r.vectors[c.ID+"2"]
		if string(v.Embedding) != string(events.EncodeVector(mock.Vector(c.Text))) {
			t.Fatalf("chunk %q has the wrong vector", c.Text)
		}
		if v.Reused {
			reused++
		}
		nano += v.Nano
	}
	if reused != 9 || nano != 2*3*20 {
		t.Errorf("%d reused for %d nano-dollars, want 9 for 120", reused, nano)
	}
	for _, e := range r.told {
		t.Errorf("told: %+v", e) // the index tells it with the end of the story
	}
	for _, v := range r.vectors {
		if v.About != nil && v.Revision == 2 && (len(v.About.Steps) != 1 || v.About.Steps[0].What != events.Embedded || v.About.Steps[0].Reused != 9) {
			t.Errorf("steps %+v", v.About.Steps)
		}
	}
}

func TestEqualTextsOfOneCallAreBoughtOnce(t *testing.T) {
	p := &counting{price: 20}
	r := setUp(t, p, embedder.Config{Cache: "on"})
	same := make([]string, 30)
	for i := range same {
		same[i] = "boilerplate"
	}
	r.submit(t, "a", 1, same...)
	r.wait(t, "all vectors", func() bool { return len(r.vectors) == 30 })
	if _, n := p.asked(); n > 2 { // two workers may hold the text at the same moment
		t.Errorf("%d texts embedded, want 1", n)
	}
}

// A text that cannot be embedded is its document's failure, and nobody else's. The
// others of its call have their vectors.
func TestABadVectorFailsItsDocumentAlone(t *testing.T) {
	p := &counting{odd: func(texts []string, out *provider.Embeddings) error {
		for i, s := range texts {
			switch s {
			case "x 3":
				out.Vectors[i] = make([]float32, mock.Dimensions)
			case "x 5":
				out.Vectors[i][7] = float32(math.NaN())
			}
		}
		return nil
	}}
	r := setUp(t, p, embedder.Config{Cache: "on"})
	for i, text := range texts(8, "x") {
		r.submit(t, fmt.Sprint(i), 1, text, "another of "+text)
	}
	r.wait(t, "twelve vectors and two dead letters", func() bool { return len(r.vectors) == 12 && len(r.dead) == 2 })
	seen := map[string]bool{}
	for _, d := range r.dead {
		seen[d.Header.Get(events.HeaderFailureReason)] = true
	}
	if !seen["zero-vector"] || !seen["not-a-number"] {
		t.Errorf("reasons %v", seen)
	}
}

// Calls are as few as they can be, whatever the packs are that their inputs come in.
func TestCallsAreFilledAcrossPacks(t *testing.T) {
	for name, p := range map[string]*counting{
		"by tokens": {price: 1, most: 300}, // 100 inputs
		"by inputs": {price: 1, most: 300_000, limit: 100},
	} {
		t.Run(name, func(t *testing.T) {
			r := setUp(t, p, embedder.Config{Cache: "off", Batch: 10_000, Wait: time.Second})
			total := 0
			for i := range 40 {
				n := 1 + (i*i)%73
				total += n
				r.submit(t, fmt.Sprint(i), 1, texts(n, fmt.Sprint("doc ", i))...)
			}
			r.wait(t, "all vectors", func() bool { return len(r.vectors) == total })
			calls, n := p.asked()
			if want := (total + 99) / 100; n != total || calls != want {
				t.Errorf("%d inputs in %d calls, want %d in %d", n, calls, total, want)
			}
		})
	}
}

// While a part of a pack waits, what is there of it is kept: nothing is bought twice,
// with or without a cache.
func TestAPackKeepsWhatItHas(t *testing.T) {
	var mu sync.Mutex
	n, wait := 0, fault.On(fault.WaitBudget, "tenant.acme")
	p := &counting{price: 1, most: 30, odd: func([]string, *provider.Embeddings) error {
		mu.Lock()
		defer mu.Unlock()
		if n++; n == 4 {
			return fault.New(fault.CostLimit, "budget", "the day's money is spent").WaitFor(wait)
		}
		return nil
	}}
	r := setUp(t, p, embedder.Config{Cache: "off", Batch: 10_000})
	r.submit(t, "a", 1, texts(75, "x")...)
	r.wait(t, "a call is refused", func() bool { mu.Lock(); defer mu.Unlock(); return n >= 4 })
	r.wait(t, "all vectors", func() bool { r.env.Wake(wait); return len(r.vectors) == 75 })
	if calls, texts := p.asked(); calls != 9 || texts != 85 {
		t.Errorf("%d texts in %d calls, want 75 in 8, and 10 in the one that was refused", texts, calls)
	}
	if len(r.dead) != 0 {
		t.Error("a dead letter")
	}
}

// Where a call has to wait, the calls after it would wait, too: a try costs one call,
// however many a batch is.
func TestATryInVainIsOneCall(t *testing.T) {
	wait := fault.On(fault.WaitBudget, "tenant.acme")
	var open atomic.Bool
	p := &counting{price: 1, limit: 10, odd: func([]string, *provider.Embeddings) error {
		if open.Load() {
			return nil
		}
		return fault.New(fault.CostLimit, "budget", "the day's money is spent").WaitFor(wait)
	}}
	r := setUp(t, p, embedder.Config{Cache: "off", Batch: 10_000})
	r.submit(t, "a", 1, texts(75, "x")...)
	r.wait(t, "it is tried again", func() bool { calls, _ := p.asked(); return calls >= 9 })
	p.mu.Lock()
	for _, texts := range p.calls {
		if texts[0] != "x 0" {
			t.Errorf("after a call that has to wait there was one for %q", texts[0])
		}
	}
	p.mu.Unlock()
	open.Store(true)
	r.wait(t, "all vectors", func() bool { r.env.Wake(wait); return len(r.vectors) == 75 })
}

// A process may die between two publishes: a fallback's vectors are stored only when
// their upgrade is.
func TestAnUpgradeIsQueuedBeforeWhatItMends(t *testing.T) {
	p := &counting{price: 1, limit: 10, odd: func(texts []string, out *provider.Embeddings) error {
		out.Model, out.Fallback = "other/1", make([]bool, len(texts))
		out.Fallback[len(texts)-1] = true // a part of the pack
		return nil
	}}
	r := setUp(t, p, embedder.Config{Cache: "off"})
	var order []string
	seen := func(m *nats.Msg) { r.mu.Lock(); order = append(order, m.Subject); r.mu.Unlock() }
	watch := natstest.Connect(t, r.env.Conn.ConnectedUrl())
	if _, err := watch.Subscribe("docs.>", seen); err != nil {
		t.Fatal(err)
	}
	if err := watch.Flush(); err != nil {
		t.Fatal(err)
	}
	r.submit(t, "a", 1, texts(10, "x")...)
	is := func(subject string) int { return slices.Index(order, subject) }
	r.wait(t, "both", func() bool { return is(events.SubjectVectors) >= 0 && is(events.SubjectUpgrade) >= 0 })
	r.mu.Lock()
	defer r.mu.Unlock()
	if is(events.SubjectUpgrade) > is(events.SubjectVectors) {
		t.Errorf("published in the order %v", order)
	}
}

func TestFaultsOfACallKeepItsBatch(t *testing.T) {
	var mu sync.Mutex
	n := 0
	p := &counting{odd: func([]string, *provider.Embeddings) error {
		mu.Lock()
		defer mu.Unlock()
		if n++; n <= 3 {
			return fault.New(fault.RateLimited, "rate_limit_exceeded", "slow down").After(10 * time.Millisecond)
		}
		return nil
	}}
	r := setUp(t, p, embedder.Config{Cache: "off"})
	r.submit(t, "a", 1, texts(20, "x")...)
	r.wait(t, "all vectors", func() bool { return len(r.vectors) == 20 })
	if len(r.dead) != 0 {
		t.Error("a rate limit made a dead letter")
	}
}

func TestQueries(t *testing.T) {
	r := setUp(t, mock.Embedder{}, embedder.Config{Cache: "auto"})
	var msg *nats.Msg
	r.wait(t, "the endpoint is there", func() (ok bool) {
		m, err := r.env.Conn.Request(events.SubjectEmbed, events.Encode(events.EmbedRequest{Texts: []string{"hello"}}), 5*time.Second)
		msg = m
		return err == nil
	})
	want := events.Encode(events.EmbedReply{Model: mock.Model, Vectors: [][]byte{events.EncodeVector(mock.Vector("hello"))}})
	if string(msg.Data) != string(want) {
		t.Errorf("got %.100s", msg.Data)
	}
	for _, bad := range []string{"", "{}", `{"texts":[]}`} {
		msg, err := r.env.Conn.Request(events.SubjectEmbed, []byte(bad), 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if msg.Header.Get("Nats-Service-Error-Code") != "validation" {
			t.Errorf("%q: %v", bad, msg.Header)
		}
	}
}

// shelf opens the bucket of vectors.
func shelf(t *testing.T, env *stage.Env) *embedder.Shelf {
	t.Helper()
	kv, err := env.JS.KeyValue(t.Context(), events.BucketCache)
	if err != nil {
		t.Fatal(err)
	}
	s, err := embedder.NewShelf(kv, zerolog.Nop(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func inputs(s ...string) []provider.Input {
	in := make([]provider.Input, len(s))
	for i := range s {
		in[i] = provider.Input{Text: s[i], Tokens: 1}
	}
	return in
}

// A failing cache costs money, not correctness.
func TestTheCacheAlone(t *testing.T) {
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), stage.DefaultSettings())
	p := &counting{}
	c := embedder.Cached(p, shelf(t, env), embedder.CacheConfig{Log: zerolog.Nop()})
	rapid.Check(t, func(rt *rapid.T) {
		in := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}), 1, 12).Draw(rt, "in")
		out, err := c.Embed(context.Background(), inputs(in...))
		if err != nil || len(out.Vectors) != len(in) {
			rt.Fatal(err)
		}
		for i, s := range in {
			if string(events.EncodeVector(out.Vectors[i])) != string(events.EncodeVector(mock.Vector(s))) {
				rt.Fatalf("%q at %d has the wrong vector", s, i)
			}
		}
	})
	if _, n := p.asked(); n != 6 {
		t.Errorf("%d texts embedded, want 6", n)
	}
	boom := errors.New("boom")
	p.odd = func([]string, *provider.Embeddings) error { return boom }
	if _, err := c.Embed(context.Background(), inputs("a", "new")); !errors.Is(err, boom) {
		t.Errorf("error %v", err)
	}
	if out, err := c.Embed(context.Background(), inputs("a", "a")); err != nil || !out.Reused[0] || !out.Reused[1] {
		t.Errorf("%v %v", out.Reused, err)
	}
	env.Conn.Close()
	p.odd = nil
	if out, err := c.Embed(context.Background(), inputs("a")); err != nil || out.Vectors[0] == nil {
		t.Errorf("without its bucket: %v", err)
	}
}

// process is one owner of claims: a connection of its own, and what it is woken for.
type process struct {
	env    *stage.Env
	cached provider.Embedder
	claims *embedder.Claims
	mu     sync.Mutex
	woken  map[fault.Wait]int
}

const silence = time.Second

func begin(t *testing.T, url string, p provider.Embedder, record func(*events.Usage)) *process {
	t.Helper()
	r := &process{env: natstest.Env(t, url, stage.DefaultSettings()), woken: map[fault.Wait]int{}}
	kv, err := r.env.JS.KeyValue(t.Context(), events.BucketClaims)
	if err != nil {
		t.Fatal(err)
	}
	r.claims, err = embedder.NewClaims(embedder.ClaimsConfig{
		Conn: r.env.Conn, KV: kv, Log: zerolog.Nop(), Beat: 100 * time.Millisecond, Silence: silence,
		Wake: func(k fault.Wait) { r.mu.Lock(); defer r.mu.Unlock(); r.woken[k]++ },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.claims.Close(); err != nil {
			t.Error(err)
		}
	})
	r.cached = embedder.Cached(p, shelf(t, r.env), embedder.CacheConfig{Log: zerolog.Nop(), Record: record, Claims: r.claims})
	return r
}

// wakes returns how often each key has been woken so far.
func (r *process) wakes() map[fault.Wait]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.woken)
}

// all embeds until every input has its vector, as the runtime does: what waits
// for a claim is tried again when the claim is woken.
func (r *process) all(t *testing.T, in []provider.Input) {
	for deadline := time.Now().Add(20 * time.Second); len(in) > 0; {
		before := r.wakes() // a wake-up during the call counts
		out, err := r.cached.Embed(t.Context(), in)
		if err != nil {
			t.Error(err)
			return
		}
		var again []provider.Input
		var waits []fault.Wait
		for i := range in {
			if out.Errs != nil && out.Errs[i] != nil {
				f := fault.From(out.Errs[i])
				if f.Wait.Kind() != fault.WaitClaim || f.Class != fault.Unavailable {
					t.Errorf("%+v", f)
					return
				}
				again, waits = append(again, in[i]), append(waits, f.Wait)
			} else if string(events.EncodeVector(out.Vectors[i])) != string(events.EncodeVector(mock.Vector(in[i].Text))) {
				t.Errorf("%q has the wrong vector", in[i].Text)
			}
		}
		for _, k := range waits {
			for r.wakes()[k] == before[k] {
				if time.Now().After(deadline) {
					t.Errorf("%s is not woken", k)
					return
				}
				time.Sleep(2 * time.Millisecond)
			}
		}
		in = again
	}
}

// Replicas that hold the same texts at the same moment pay once.
func TestTheSameTextIsBoughtOnceByAll(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	p := &counting{price: 20, odd: func([]string, *provider.Embeddings) error {
		time.Sleep(100 * time.Millisecond) // a call takes a while, longer than others wait inside theirs
		return nil
	}}
	var mu sync.Mutex
	var saved int64
	record := func(u *events.Usage) {
		mu.Lock()
		defer mu.Unlock()
		saved += u.Saved
	}
	var wg sync.WaitGroup
	for range 4 {
		r := begin(t, url, p, record)
		for range 2 { // two workers each
			wg.Go(func() {
				in := make([]provider.Input, 40)
				for i, j := range rand.Perm(len(in)) {
					in[i] = provider.Input{Text: fmt.Sprint("text ", j), Tokens: 2, Owner: provider.Owner{Document: events.DocumentID("t", fmt.Sprint(i, j))}}
				}
				r.all(t, in)
			})
		}
	}
	wg.Wait()
	if _, n := p.asked(); n != 40 {
		t.Errorf("%d texts bought, want 40", n)
	}
	if saved != 7*40*2*20 {
		t.Errorf("%d n$ saved, want %d", saved, 7*40*2*20)
	}
}

// What was bought while the cache did not answer is kept when it does again, and
// stays claimed until then: whoever holds the same text does not buy it anew.
func TestWhatWasBoughtWhileTheCacheIsAwayIsKept(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	var a *process
	away := make(chan struct{})
	p := &counting{price: 20, odd: func([]string, *provider.Embeddings) error {
		return a.env.JS.DeleteKeyValue(t.Context(), events.BucketCache)
	}}
	a = begin(t, url, p, nil)
	var once sync.Once
	kv, err := a.env.JS.KeyValue(t.Context(), events.BucketCache)
	if err != nil {
		t.Fatal(err)
	}
	shelf, err := embedder.NewShelf(kv, zerolog.Nop(), nil, func(state string) {
		if state != "" {
			once.Do(func() { close(away) })
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	a.cached = embedder.Cached(p, shelf, embedder.CacheConfig{Log: zerolog.Nop(), Claims: a.claims})
	done := make(chan struct{})
	go func() { defer close(done); a.all(t, inputs("a", "b")) }()
	select {
	case <-away:
	case <-time.After(natstest.Patience):
		t.Fatal("nobody says that the bucket does not take vectors")
	}
	if err := broker.Ensure(t.Context(), a.env.JS, broker.DefaultTopology(), embedder.Service); err != nil {
		t.Fatal(err)
	}
	<-done
	p.odd = nil
	b := begin(t, url, p, nil)
	b.all(t, inputs("a", "b"))
	if _, n := p.asked(); n != 2 {
		t.Errorf("%d texts bought, want 2", n)
	}
}

// A claim of a call that failed is free at once. One of a process that died is
// free when it has been silent for a while. A process that lives keeps its claims,
// however long its call takes, and without a write.
func TestClaimsEnd(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	var fails atomic.Bool
	hold, called := make(chan struct{}), make(chan struct{}, 10)
	p := &counting{price: 20, odd: func(texts []string, _ *provider.Embeddings) error {
		if fails.Load() {
			return errors.New("boom")
		}
		if texts[0] == "slow" {
			called <- struct{}{}
			<-hold
		}
		return nil
	}}
	a, b := begin(t, url, p, nil), begin(t, url, p, nil)
	fails.Store(true)
	if _, err := a.cached.Embed(t.Context(), inputs("a")); err == nil {
		t.Fatal("no error")
	}
	fails.Store(false)
	if out, err := b.cached.Embed(t.Context(), inputs("a")); err != nil || out.Errs != nil || out.Vectors[0] == nil {
		t.Fatalf("after a failed call: %v %v", err, out.Errs)
	}

	// The call of a lasts. b waits for it, and for nothing else.
	done := make(chan struct{})
	go func() { defer close(done); a.all(t, inputs("slow")) }()
	<-called
	out, err := b.cached.Embed(t.Context(), inputs("slow", "fresh"))
	if err != nil || out.Vectors[1] == nil || out.Errs[1] != nil {
		t.Fatalf("a fresh text waits for another's claim: %v %v", err, out.Errs)
	}
	key := fault.On(fault.WaitClaim, "embedding."+events.Fingerprint(mock.Model)+"."+events.TextHash("slow"))
	if f := fault.From(out.Errs[0]); f.Wait != key || f.Reason != "bought-elsewhere" {
		t.Fatalf("another's claim: %+v", f)
	}
	// A query waits for nobody.
	query := inputs("slow")
	query[0].Owner.Query = true
	answered := make(chan error, 1)
	go func() {
		_, err := b.cached.Embed(t.Context(), query)
		answered <- err
	}()
	<-called // it is bought although a has claimed it
	// Questions are answered for much longer than the silence of the dead.
	kv, err := b.env.JS.Stream(t.Context(), "KV_"+events.BucketClaims)
	if err != nil {
		t.Fatal(err)
	}
	before, err := kv.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for quiet := time.Now(); time.Since(quiet) < 3*silence; {
		if b.wakes()[key] > 0 {
			t.Fatal("the claim of a process that lives was ended")
		}
		time.Sleep(10 * time.Millisecond)
	}
	after, err := kv.Info(t.Context())
	if err != nil || after.State.LastSeq != before.State.LastSeq {
		t.Errorf("while a text was bought, %d entries were written (%v)", after.State.LastSeq-before.State.LastSeq, err)
	}
	close(hold)
	if err := <-answered; err != nil {
		t.Error(err)
	}
	<-done
	natstest.Eventually(t, 10*time.Second, "the end of the claim is told", func() bool { return b.wakes()[key] > 0 })
	if out, err := b.cached.Embed(t.Context(), inputs("slow")); err != nil || out.Errs != nil || !out.Reused[0] {
		t.Errorf("after the claim: %v %v", err, out.Errs)
	}
}

// The owner of a claim dies in its call: kill -9, as the others see it.
func TestAClaimOfTheDead(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	called, hold := make(chan struct{}), make(chan struct{})
	victim := begin(t, url, &counting{price: 20, odd: func([]string, *provider.Embeddings) error {
		close(called)
		<-hold
		return errors.New("nobody hears of it")
	}}, nil)
	p := &counting{price: 20}
	heir, late := begin(t, url, p, nil), begin(t, url, p, nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = victim.cached.Embed(context.Background(), inputs("a", "b")) // its error has nobody to go to
	}()
	<-called
	victim.env.Conn.Close()
	var wg sync.WaitGroup
	for _, r := range []*process{heir, late} {
		wg.Go(func() { r.all(t, inputs("a", "b", "c")) })
	}
	wg.Wait()
	if _, n := p.asked(); n != 3 {
		t.Errorf("%d texts bought by the survivors, want 3", n)
	}
	close(hold)
	<-done
}

// An entry that was left behind by a process that lives is void, too: it did not
// manage to remove it.
func TestAClaimLeftBehind(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	p := &counting{price: 20}
	a, b := begin(t, url, p, nil), begin(t, url, p, nil)
	kv, err := a.env.JS.KeyValue(t.Context(), events.BucketClaims)
	if err != nil {
		t.Fatal(err)
	}
	a.all(t, inputs("a"))
	key := "embedding." + events.Fingerprint(mock.Model) + "."
	for text, owner := range map[string]string{"x": a.claims.ID(), "y": b.claims.ID(), "z": "", "odd": "no ID > *"} {
		if _, err := kv.Put(t.Context(), key+events.TextHash(text), events.Encode(map[string]string{"owner": owner})); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := kv.PutString(t.Context(), key+events.TextHash("malformed"), "{"); err != nil {
		t.Fatal(err)
	}
	b.all(t, inputs("x", "y", "z", "odd", "malformed"))
	if _, n := p.asked(); n != 6 {
		t.Errorf("%d texts bought, want 6", n)
	}
	keys, err := kv.ListKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for k := range keys.Keys() {
		t.Errorf("the claim %s stays", k)
	}
}

// Nothing is bought while it cannot be known whether it is there or being bought.
func TestAStoreThatIsAwayIsWaitedFor(t *testing.T) {
	for _, bucket := range []string{events.BucketClaims, events.BucketCache} {
		url := natstest.Start(t, broker.DefaultTopology())
		p := &counting{price: 20}
		r := begin(t, url, p, nil)
		if err := r.env.JS.DeleteKeyValue(t.Context(), bucket); err != nil {
			t.Fatal(err)
		}
		out, err := r.cached.Embed(t.Context(), inputs("a"))
		if err != nil || out.Errs == nil {
			t.Fatalf("without the bucket %s: %v %v", bucket, err, out.Errs)
		}
		if f := fault.From(out.Errs[0]); f.Wait != fault.On(fault.WaitStore, bucket) || f.Class != fault.Unavailable {
			t.Errorf("without the bucket %s: %+v", bucket, f)
		}
		if calls, _ := p.asked(); calls != 0 {
			t.Errorf("without the bucket %s: %d calls", bucket, calls)
		}
		// A search does not wait.
		query := inputs("a")
		query[0].Owner.Query = true
		if out, err := r.cached.Embed(t.Context(), query); err != nil || out.Vectors[0] == nil {
			t.Errorf("a query without the bucket %s: %v", bucket, err)
		}
	}
}

// Whatever cannot work is named before anything starts.
func TestSettingsThatCannotWork(t *testing.T) {
	for want, change := range map[string]func(*embedder.Config){
		"--embedder-batch is -1":             func(c *embedder.Config) { c.Batch = -1 },
		"--embedder-workers is -2":           func(c *embedder.Config) { c.Workers = -2 },
		"--embedder-wait is -1s":             func(c *embedder.Config) { c.Wait = -time.Second },
		"--embedder-upgrade-rate is -1":      func(c *embedder.Config) { c.Upgrade = -1 },
		"--embedder-upgrade-rate is NaN":     func(c *embedder.Config) { c.Upgrade = math.NaN() },
		"--embedding-dimensions is -5":       func(c *embedder.Config) { c.OpenAI.Dimensions = -5 },
		"--embedding-width is -5":            func(c *embedder.Config) { c.OpenAI.Width = -5 },
		"--embedding-max-inputs is -1":       func(c *embedder.Config) { c.Provider, c.OpenAI.MaxInputs = "openai", -1 },
		"--embedding-max-tokens is -1":       func(c *embedder.Config) { c.Provider, c.OpenAI.MaxTokens = "openai", -1 },
		"--embedding-max-input-tokens is -1": func(c *embedder.Config) { c.Provider, c.OpenAI.MaxInput = "openai", -1 },
		"--embedding-timeout is -1s":         func(c *embedder.Config) { c.Provider, c.OpenAI.Timeout = "openai", -time.Second },
	} {
		cfg := embedder.Config{Provider: "mock"}
		change(&cfg)
		_, _, err := embedder.Stages(t.Context(), nil, cfg) // it needs no connection to know
		f := fault.From(err)
		if f == nil || f.Class != fault.Halt || f.Message != want || f.Hint == "" {
			t.Errorf("%+v, want %s", f, want)
		}
	}
}
