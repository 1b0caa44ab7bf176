package embedder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// ClaimsConfig configures Claims. Zero durations are defaults.
type ClaimsConfig struct {
	Conn *nats.Conn
	KV   jetstream.KeyValue // the bucket "claims"
	Log  zerolog.Logger
	// Wake is called with the key of a claim that has ended; it may be nil.
	Wake func(fault.Wait)
	// Beat is how often the owners of claims that somebody waits for are asked
	// whether they live. 0 = 1 s
	Beat time.Duration
	// Silence is how long an owner may give no answer before its claims are void. It
	// has to outlast a reconnect, which takes 2 s. 0 = 5 s
	Silence time.Duration
}

// Claims says who buys which text, so that nobody pays for the same one twice. One
// Claims is one owner: a process.
//
// A claim is an entry of the bucket "claims" with its owner's ID. It does not
// expire while its owner lives, however long the call takes. Nobody writes
// heartbeats: who waits for a claim asks its owner, on "sluice.owner.<id>",
// whether it holds the claim still. So a pipeline at rest writes nothing. Three
// things end a claim:
//
//   - Its owner removes it, and tells on "sluice.owner.freed" if somebody has asked.
//   - Its owner answers that it does not hold it: an entry was left behind.
//   - Its owner does not answer for Silence: it has died.
//
// In the last two cases whoever is first replaces the entry, at the revision that
// was judged: a claim that has changed hands meanwhile is not touched.
type Claims struct {
	cfg     ClaimsConfig
	id      string
	subs    []*nats.Subscription
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	kick    chan struct{}
	// of owners
	silences broker.Silences

	mu      sync.Mutex
	mine    map[string]uint64    // key -> revision; 0 = being made
	asked   map[string]bool      // of mine: somebody waits for it
	waiting map[string]claim     // what calls of this process wait for
	void    map[string]uint64    // key -> revision that its owner does not hold
	dead    map[string]time.Time // owners -> when they were found dead
}

// claim is an entry of the bucket.
type claim struct {
	Owner string `json:"owner"`
	rev   uint64
}

const (
	ownerPrefix = "sluice.owner."
	ownerFreed  = ownerPrefix + "freed" // IDs are UUIDs, so no owner has this name
	// asking bounds the keys of a question.
	asking = 500
	// buried is how long the finding that an owner is dead is believed: it may have
	// been cut off, and come back.
	buried = 15 * time.Second
)

type question struct {
	Keys []string `json:"keys"`
}

type reply struct {
	Free []string `json:"free"` // the keys that are not held
}

// NewClaims returns the claims of this process.
func NewClaims(cfg ClaimsConfig) (*Claims, error) {
	if cfg.Beat == 0 {
		cfg.Beat = time.Second
	}
	if cfg.Silence == 0 {
		cfg.Silence = 5 * time.Second
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	c := &Claims{
		cfg: cfg, id: id.String(), silences: broker.Silences{Conn: cfg.Conn, After: cfg.Silence}, kick: make(chan struct{}, 1),
		mine: map[string]uint64{}, asked: map[string]bool{}, waiting: map[string]claim{},
		void: map[string]uint64{}, dead: map[string]time.Time{},
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	for subject, f := range map[string]nats.MsgHandler{ownerPrefix + c.id: c.answer, ownerFreed: c.freed} {
		sub, err := cfg.Conn.Subscribe(subject, f)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("subscribe to %s: %w", subject, err), c.Close())
		}
		c.subs = append(c.subs, sub)
	}
	// The server has to know of the subscription before the first claim is made.
	if err := cfg.Conn.FlushTimeout(5 * time.Second); err != nil {
		return nil, errors.Join(fmt.Errorf("subscribe to %s: %w", ownerPrefix+c.id, err), c.Close())
	}
	c.running.Go(c.tend)
	return c, nil
}

// ID returns the owner's ID, as it stands in its claims.
func (c *Claims) ID() string { return c.id }

// Close ends the background work. What is still claimed is void from then on.
func (c *Claims) Close() error {
	c.cancel()
	c.running.Wait()
	var errs []error
	for _, s := range c.subs {
		if err := s.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// take claims a key. It returns false if somebody else has it; then Wake is called
// once that claim has ended.
func (c *Claims) take(ctx context.Context, key string) (bool, error) {
	c.mu.Lock()
	if _, busy := c.mine[key]; busy { // by another call of this process
		c.waiting[key] = claim{Owner: c.id}
		c.mu.Unlock()
		return false, nil
	}
	c.mine[key] = 0 // no other call of this process tries, and questions are answered with yes
	c.mu.Unlock()
	rev, other, err := c.acquire(ctx, key)
	c.mu.Lock()
	if rev > 0 {
		c.mine[key] = rev
		delete(c.void, key)
		c.mu.Unlock()
		return true, nil
	}
	woken := c.drop(key)
	if err == nil {
		c.waiting[key] = other
	}
	c.mu.Unlock()
	if woken {
		c.wake(key)
	}
	if err == nil {
		select {
		case c.kick <- struct{}{}: // ask its owner at once
		default:
		}
	}
	return false, err
}

// acquire makes the entry, or replaces one that is void. It returns whose the
// entry is otherwise.
func (c *Claims) acquire(ctx context.Context, key string) (rev uint64, other claim, err error) {
	body := events.Encode(claim{Owner: c.id})
	for range 3 { // an entry may come or go between two questions
		rev, err = c.cfg.KV.Create(ctx, key, body)
		if err == nil || !errors.Is(err, jetstream.ErrKeyExists) {
			return rev, other, err
		}
		e, err := c.cfg.KV.Get(ctx, key)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue
		}
		if err != nil {
			return 0, other, err
		}
		other = claim{rev: e.Revision()}
		if json.Unmarshal(e.Value(), &other) == nil && !c.ended(key, other) {
			return 0, other, nil
		}
		rev, err = c.cfg.KV.Update(ctx, key, body, other.rev)
		if err == nil {
			c.cfg.Log.Info().Str("key", key).Str("owner", other.Owner).Msg("a claim whose owner is gone is taken over")
			return rev, other, nil
		}
		if !errors.Is(err, jetstream.ErrKeyExists) {
			return 0, other, err
		}
	}
	return 0, other, nil // it changes hands quickly: others buy it
}

// ended tells whether a claim is void.
func (c *Claims) ended(key string, of claim) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, dead := c.dead[of.Owner]
	// Ours, and not held: removing it has failed once.
	return of.Owner == c.id || uuid.Validate(of.Owner) != nil || dead && time.Since(found) < buried || c.void[key] == of.rev
}

// drop forgets a key of ours. Callers hold mu, and wake the key if it says so.
func (c *Claims) drop(key string) (woken bool) {
	delete(c.mine, key)
	delete(c.asked, key)
	if c.waiting[key].Owner == c.id {
		delete(c.waiting, key)
		return true
	}
	return false
}

// release gives claims up, and has those go on who wait for them.
func (c *Claims) release(ctx context.Context, keys []string) {
	// Also when the call was cut off: others need not wait.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	parallel(keys, func(key string) {
		c.mu.Lock()
		rev := c.mine[key]
		c.mu.Unlock()
		if err := c.cfg.KV.Purge(ctx, key, jetstream.LastRevision(rev), jetstream.PurgeTTL(time.Minute)); err != nil {
			c.cfg.Log.Debug().Err(err).Msg("removing a claim; whoever asks for it is told that it is void")
		}
	})
	var told, woken []string
	c.mu.Lock()
	for _, key := range keys {
		if c.asked[key] {
			told = append(told, key)
		}
		if c.drop(key) {
			woken = append(woken, key)
		}
	}
	c.mu.Unlock()
	for len(told) > 0 {
		n := min(len(told), asking)
		// Who does not hear it asks again.
		_ = c.cfg.Conn.Publish(ownerFreed, events.Encode(question{told[:n]}))
		told = told[n:]
	}
	for _, key := range woken {
		c.wake(key)
	}
}

func (c *Claims) wake(key string) {
	if c.cfg.Wake != nil {
		c.cfg.Wake(fault.On(fault.WaitClaim, key))
	}
}

// answer tells another process which claims this one does not hold. That it
// answers at all says that it lives.
func (c *Claims) answer(m *nats.Msg) {
	var q question
	if json.Unmarshal(m.Data, &q) != nil {
		return
	}
	var r reply
	c.mu.Lock()
	for _, key := range q.Keys {
		if _, held := c.mine[key]; held {
			c.asked[key] = true
		} else {
			r.Free = append(r.Free, key)
		}
	}
	c.mu.Unlock()
	_ = m.Respond(events.Encode(r)) // who does not hear it asks again
}

// freed hears that claims have ended.
func (c *Claims) freed(m *nats.Msg) {
	var q question
	if json.Unmarshal(m.Data, &q) != nil {
		return
	}
	var woken []string
	c.mu.Lock()
	for _, key := range q.Keys {
		if w, ok := c.waiting[key]; ok && w.Owner != c.id {
			delete(c.waiting, key)
			woken = append(woken, key)
		}
	}
	c.mu.Unlock()
	for _, key := range woken {
		c.wake(key)
	}
}

// tend asks the owners of claims that something waits for. While nothing waits it
// asks nobody.
func (c *Claims) tend() {
	tick := time.NewTicker(c.cfg.Beat)
	defer tick.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-c.kick:
		case <-tick.C:
		}
		of := map[string]map[string]uint64{} // owner -> key -> revision
		c.mu.Lock()
		for key, w := range c.waiting {
			if w.Owner == c.id {
				continue // told by whoever of this process has it
			}
			if of[w.Owner] == nil {
				of[w.Owner] = map[string]uint64{}
			}
			of[w.Owner][key] = w.rev
		}
		for id, at := range c.dead {
			if time.Since(at) > buried {
				delete(c.dead, id)
			}
		}
		if len(c.void) > 100_000 { // nobody takes them up; whoever does asks again
			clear(c.void)
		}
		c.mu.Unlock()
		var asked sync.WaitGroup
		for owner, keys := range of {
			asked.Go(func() { c.ask(owner, keys) })
		}
		asked.Wait()
	}
}

// ask asks an owner for its claims, and wakes who waits for those that have ended.
func (c *Claims) ask(owner string, keys map[string]uint64) {
	var part []string
	for key := range keys {
		if part = append(part, key); len(part) == asking {
			if !c.question(owner, part, keys) {
				return
			}
			part = nil
		}
	}
	if len(part) > 0 {
		c.question(owner, part, keys)
	}
}

// question returns false if there was no answer.
func (c *Claims) question(owner string, part []string, keys map[string]uint64) bool {
	ctx, cancel := context.WithTimeout(c.ctx, max(c.cfg.Beat, 500*time.Millisecond))
	defer cancel()
	m, gone := c.silences.Ask(ctx, owner, ownerPrefix+owner, events.Encode(question{part}))
	if c.ctx.Err() != nil {
		return false
	}
	var r reply
	heard := m != nil && json.Unmarshal(m.Data, &r) == nil
	var woken []string
	c.mu.Lock()
	switch {
	case heard:
		delete(c.dead, owner)
		for _, key := range r.Free {
			// What has been claimed anew since is another claim.
			if w := c.waiting[key]; w.Owner == owner && w.rev == keys[key] {
				delete(c.waiting, key)
				c.void[key] = w.rev
				woken = append(woken, key)
			}
		}
	case gone:
		c.cfg.Log.Warn().Str("owner", owner).Msg("the owner of claims does not answer; what it was buying is bought anew")
		c.dead[owner] = time.Now()
		for key, w := range c.waiting {
			if w.Owner == owner {
				delete(c.waiting, key)
				woken = append(woken, key)
			}
		}
	}
	c.mu.Unlock()
	for _, key := range woken {
		c.wake(key)
	}
	return heard
}

// parallel calls f for every element, several at once.
func parallel[T any](all []T, f func(T)) {
	var wg sync.WaitGroup
	workers := min(lookups, len(all))
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(all); i += workers {
				f(all[i])
			}
		})
	}
	wg.Wait()
}
