package budget

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// Config configures a Gate. Zero values are defaults.
type Config struct {
	Conn *nats.Conn
	JS   jetstream.JetStream
	Log  zerolog.Logger
	Wake func(fault.Wait) // called with the key of refused work that may go again; may be nil
	Now  func() time.Time // the wall clock that decides windows; nil = time.Now
	Skew time.Duration    // clocks of this system differ by less; 0 = 2 s
	Wait time.Duration    // how long a call waits for costd; 0 = 5 s
	Call time.Duration    // the longest call; 0 = 2 min
}

// Gate admits paid calls of one process. A call that a lease covers is admitted
// under a mutex, without a message; leases are refilled in the background.
type Gate struct {
	cfg      Config
	instance string
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup
	watcher  *broker.Watch
	subs     []*nats.Subscription

	mu     sync.Mutex
	leases map[leaseKey]*lease
	frozen map[Scope]bool
	seen   uint64 // the latest commit
	serial uint64
	wakes  uint64        // counts the wake-ups
	silent bool          // a call has waited for costd in vain, and nothing was heard since
	kick   chan struct{} // closed when requests without an answer should be sent again at once
	closed bool
	drain  context.Context // ends when Close begins
	close  context.CancelFunc
}

// NewGate starts a gate.
func NewGate(ctx context.Context, cfg Config) (*Gate, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Skew == 0 {
		cfg.Skew = 2 * time.Second
	}
	if cfg.Wait == 0 {
		cfg.Wait = 5 * time.Second
	}
	if cfg.Call == 0 {
		cfg.Call = 2 * time.Minute
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	g := &Gate{cfg: cfg, instance: strings.ReplaceAll(id.String(), "-", ""), leases: map[leaseKey]*lease{}, frozen: map[Scope]bool{}, kick: make(chan struct{})}
	kv, err := cfg.JS.KeyValue(ctx, events.BucketBudget)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", events.BucketBudget, err)
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.drain, g.close = context.WithCancel(g.ctx)
	for subject, handle := range map[string]nats.MsgHandler{
		SubjectWake: g.onWake,
		SubjectIdle: func(*nats.Msg) { g.handBack() },
	} {
		sub, err := cfg.Conn.Subscribe(subject, handle)
		if err != nil {
			g.cancel()
			return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
		}
		g.subs = append(g.subs, sub)
	}
	before := map[Scope]shown{}
	if g.watcher, err = broker.NewWatch(ctx, kv, "state.>", func(e jetstream.KeyValueEntry) { g.onState(e, before) }); err != nil {
		g.cancel()
		return nil, fmt.Errorf("watch the bucket %s: %w", events.BucketBudget, err)
	}
	g.running.Go(g.tend)
	return g, nil
}

// later runs f in the background, with a context that ends when Close begins. f
// has to return soon after.
func (g *Gate) later(f func(ctx context.Context)) {
	g.mu.Lock()
	if !g.closed {
		g.running.Go(func() { f(g.drain) })
		g.mu.Unlock()
		return
	}
	g.mu.Unlock()
	f(g.drain)
}

// Close admits nothing more, tells costd what was spent, and gives the rest
// back. What costd cannot be told within ctx counts as spent.
func (g *Gate) Close(ctx context.Context) error {
	g.mu.Lock()
	again := g.closed
	g.closed = true
	g.mu.Unlock()
	if again {
		return nil
	}
	g.close()
	var err error
	for err == nil {
		g.mu.Lock()
		open := 0
		for k, l := range g.leases {
			switch {
			case l.gone || l.n == 0 && !l.filling:
				delete(g.leases, k)
			default:
				open++
				if l.held.IsZero() && !l.filling {
					l.closing = true
					g.fill(l)
				}
			}
		}
		g.mu.Unlock()
		if open == 0 {
			break
		}
		select {
		case <-ctx.Done():
			err = fmt.Errorf("%d budget leases were not handed back and count as spent: %w", open, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
	for _, s := range g.subs {
		err = errors.Join(err, s.Unsubscribe())
	}
	g.watcher.Close()
	g.cancel()
	g.running.Wait()
	return err
}

// Stop is Close with the time that a process that ends has for it.
func (g *Gate) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return g.Close(ctx)
}
