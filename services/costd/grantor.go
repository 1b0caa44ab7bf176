// Package costd is the cost daemon: it keeps the ledgers of the budget, grants
// leases to the stages that pay for what they do, and shows what is left.
//
// Any number may run. One leads; the others wait. Two that both believe to lead
// can only make each other's commits fail: every commit names the revision of
// each entry that it replaces, and all entries of a path change together or not
// at all.
package costd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"sluice/pkg/budget"
	"sluice/pkg/events"
	"sluice/services/costd/ledger"
)

// GrantorConfig configures a Grantor. Zero values are defaults.
type GrantorConfig struct {
	Conn   *nats.Conn
	JS     jetstream.JetStream
	Log    zerolog.Logger
	Name   string                         // tells this process from the other costd's
	Now    func() time.Time               // nil = time.Now
	Terms  ledger.Terms                   // zero = 30 s, 10 s, 2 min
	Skew   time.Duration                  // stages whose clock is further off get nothing; 0 = 2 s
	Limits map[budget.Scope]budget.Limits // until others are set
	Shown  func(budget.State)             // the state of a scope that is no tenant's was shown; may be nil
	Down   func(why string)               // nothing can be granted, and why; "" = it can, or another process leads; may be nil
	Idle   time.Duration                  // tenants without limits are shown for so long after their last change; 0 = 1 h
}

// Grantor answers lease requests while it leads.
//
//	lead.go    who leads
//	book.go    the bucket in memory
//	serve.go   requests and their answers
//	commit.go  drafts of changes, made durable all at once
//	house.go   what has to be done now and then, in slices
//	show.go    what is shown of each scope
//	desk.go    writes that no grant waits for
//	doubt.go   ledgers that have forgotten something
type Grantor struct {
	cfg     GrantorConfig
	kv      jetstream.KeyValue
	marks   jetstream.KeyValue
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	queue   chan *nats.Msg
	beats   *nats.Subscription
	beaten  atomic.Pointer[time.Time] // when another leader was last heard

	// Of the goroutine that serves alone.
	book     *book
	desk     *desk
	doubt    *doubt
	heard    uint64                // the highest number of a commit that anybody has told
	settle   time.Time             // nothing new is granted before; monotonic
	hour     time.Time             // that runs
	wantIdle bool                  // somebody lacks what others may hold idle
	refused  map[budget.Scope]bool // whose limits have refused something
	waiting  map[budget.Scope]bool // services whose calls wait for the global or their own limits
	shown    map[budget.Scope]shown
	dirty    dirty
}

const (
	bucketStream = "KV_" + events.BucketBudget
	keyPrefix    = "$KV." + events.BucketBudget + "."
)

// NewGrantor starts a grantor. It answers once it leads.
func NewGrantor(ctx context.Context, cfg GrantorConfig) (*Grantor, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Terms == (ledger.Terms{}) {
		cfg.Terms = ledger.Terms{TTL: 30 * time.Second, Margin: 10 * time.Second, Call: 2 * time.Minute}
	}
	if cfg.Skew == 0 {
		cfg.Skew = 2 * time.Second
	}
	if cfg.Idle == 0 {
		cfg.Idle = idle
	}
	limits := map[budget.Scope]budget.Limits{budget.Global: budget.Defaults(), budget.Query: budget.QueryDefaults()}
	maps.Copy(limits, cfg.Limits)
	cfg.Limits = limits
	kv, err := cfg.JS.KeyValue(ctx, events.BucketBudget)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", events.BucketBudget, err)
	}
	marks, err := cfg.JS.KeyValue(ctx, events.BucketPipeline)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", events.BucketPipeline, err)
	}
	g := &Grantor{
		cfg: cfg, kv: kv, marks: marks, queue: make(chan *nats.Msg, 4096),
		refused: map[budget.Scope]bool{}, waiting: map[budget.Scope]bool{},
	}
	if g.beats, err = cfg.Conn.Subscribe(budget.SubjectBeat, g.hearBeats); err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", budget.SubjectBeat, err)
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.running.Go(g.run)
	return g, nil
}

// Close stops answering. Stages go on with what they hold.
func (g *Grantor) Close() error {
	g.cancel()
	g.running.Wait()
	if err := g.beats.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		return err
	}
	return nil
}

// limits returns the limits as somebody has set them, or the configured ones.
func (g *Grantor) limits(s budget.Scope) budget.Limits {
	if e, ok := g.book.limits[s]; ok {
		return *e.value
	}
	return g.cfg.Limits[s]
}
