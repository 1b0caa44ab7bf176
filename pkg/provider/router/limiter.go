package router

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"sluice/pkg/fault"
	"sluice/pkg/provider"
)

// Limiter keeps the calls of one service within what its account bears, over all
// replicas. It learns: from the limits that answers tell, of which every replica
// takes its share; from what is left of them; and from refusals, after which all
// replicas pause together and go on more slowly (additive increase,
// multiplicative decrease).
type Limiter struct {
	conn    *nats.Conn
	service string
	subject string
	id      string
	sub     *nats.Subscription
	stop    chan struct{}
	running sync.WaitGroup

	mu       sync.Mutex
	peers    map[string]time.Time // when they were heard, without this one
	paused   time.Time            // until
	resume   func()               // called when a pause has ended
	timer    *time.Timer          // of resume
	closed   bool
	known    [2]int    // requests and tokens a minute that the account has; 0 = not said
	learnt   float64   // requests a second of this replica, from refusals; 0 = none needed
	recent   float64   // requests a second of this replica, decaying
	at       time.Time // of recent
	lowered  time.Time
	refusals int // in a row, without a word on when to come again
	requests *rate.Limiter
	tokens   *rate.Limiter

	gauge prometheus.Gauge
}

// notice is what replicas tell each other.
type notice struct {
	ID    string `json:"id"`
	Pause int64  `json:"pause_ms,omitempty"` // a refusal: nobody asks for so long
	Known [2]int `json:"known"`
	Bye   bool   `json:"bye,omitempty"`
}

const (
	beat   = time.Second
	silent = 4 * time.Second // then a replica does not count any more
	margin = 0.95            // of a known limit: the windows of the account are not ours
	most   = 1000            // requests a second above which there is no limit
	least  = 0.2
)

// NewLimiter returns the limiter of a service. Replicas on the same NATS share
// the account. The metrics may be nil.
func NewLimiter(conn *nats.Conn, service string, metrics prometheus.Registerer) (*Limiter, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	l := &Limiter{
		conn: conn, service: service, subject: "sluice.rate." + service, id: id.String(), stop: make(chan struct{}), peers: map[string]time.Time{},
		requests: rate.NewLimiter(rate.Inf, 1), tokens: rate.NewLimiter(rate.Inf, 1),
		gauge: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sluice_provider_rate_limit", Help: "Requests a second that this process allows itself; 0 = as many as there are.",
			ConstLabels: prometheus.Labels{"service": service},
		}),
	}
	if metrics != nil {
		metrics.MustRegister(l.gauge)
	}
	if l.sub, err = conn.Subscribe(l.subject, l.hear); err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", l.subject, err)
	}
	l.say(notice{})
	l.running.Go(func() {
		tick := time.NewTicker(beat)
		defer tick.Stop()
		for {
			select {
			case <-l.stop:
				return
			case <-tick.C:
				l.mu.Lock()
				known := l.known
				for id, at := range l.peers {
					if time.Since(at) > silent {
						delete(l.peers, id)
					}
				}
				l.adjust()
				l.mu.Unlock()
				l.say(notice{Known: known})
			}
		}
	})
	return l, nil
}

// Close tells the others that their shares have grown.
func (l *Limiter) Close() error {
	close(l.stop)
	l.running.Wait()
	l.mu.Lock()
	l.closed = true
	if l.timer != nil {
		l.timer.Stop()
	}
	l.mu.Unlock()
	l.say(notice{Bye: true})
	if err := l.sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("unsubscribe from %s: %w", l.subject, err)
	}
	return nil
}

func (l *Limiter) say(n notice) {
	n.ID = l.id
	body, err := json.Marshal(n)
	if err != nil {
		panic(err) // our own type
	}
	// What is not heard is said again at the next beat, or learnt from a refusal.
	_ = l.conn.Publish(l.subject, body)
}

func (l *Limiter) hear(m *nats.Msg) {
	var n notice
	if json.Unmarshal(m.Data, &n) != nil || n.ID == "" || n.ID == l.id {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n.Bye {
		delete(l.peers, n.ID)
	} else {
		if _, ok := l.peers[n.ID]; !ok && len(l.peers) < 10_000 {
			defer l.say(notice{}) // whoever is new knows nobody
		}
		l.peers[n.ID] = time.Now()
	}
	for i, v := range n.Known {
		if l.known[i] == 0 && v > 0 {
			l.known[i] = v
		}
	}
	if n.Pause > 0 {
		l.refused(time.Duration(min(n.Pause, 600_000)) * time.Millisecond)
	}
	l.adjust()
}

// adjust sets the rates. Callers hold mu.
func (l *Limiter) adjust() {
	share := margin / float64(len(l.peers)+1) / 60
	limit := math.Inf(1)
	if l.known[0] > 0 {
		limit = float64(l.known[0]) * share
	}
	if l.learnt > 0 {
		limit = min(limit, l.learnt)
	}
	set := func(r *rate.Limiter, limit float64, burst int) {
		if rate.Limit(limit) != r.Limit() {
			r.SetLimit(rate.Limit(limit))
		}
		if r.Burst() != burst {
			r.SetBurst(burst)
		}
	}
	if math.IsInf(limit, 1) {
		set(l.requests, math.MaxFloat64, 1)
		l.gauge.Set(0)
	} else {
		set(l.requests, limit, max(1, int(limit)))
		l.gauge.Set(limit)
	}
	if l.known[1] > 0 {
		// A window's worth may go at once: that is how accounts are limited.
		set(l.tokens, float64(l.known[1])*share, max(1, int(float64(l.known[1])*share*60)))
	}
}

// patience is the longest wait inside a call. What has to wait for longer does so
// outside: it is a RateLimited fault.
const patience = 5 * time.Second

// Wait returns when a call of so many tokens may be made. If that is not soon, it
// returns a RateLimited fault that says when.
func (l *Limiter) Wait(ctx context.Context, tokens int) error {
	for {
		l.mu.Lock()
		pause := time.Until(l.paused)
		l.mu.Unlock()
		if pause <= 0 {
			break
		}
		if err := l.sleep(ctx, pause); err != nil {
			return err
		}
	}
	if err := l.wait(ctx, l.requests, 1); err != nil {
		return err
	}
	if err := l.wait(ctx, l.tokens, tokens); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.recent = l.recent*math.Exp(-now.Sub(l.at).Seconds()/2) + 0.5
	l.at = now
	return nil
}

func (l *Limiter) sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if d > patience {
		return fault.New(fault.RateLimited, "rate-limited", "%s takes no call for another %v", l.service, d.Round(time.Second)).After(d)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (l *Limiter) wait(ctx context.Context, r *rate.Limiter, n int) error {
	turn := r.ReserveN(time.Now(), max(0, min(n, r.Burst())))
	d := turn.Delay()
	if !turn.OK() {
		d = time.Second // the burst shrank in this moment
	}
	if d <= 0 && ctx.Err() == nil {
		return nil
	}
	err := l.sleep(ctx, d)
	if err == nil && !turn.OK() {
		err = fault.New(fault.RateLimited, "rate-limited", "the calls of %s are limited to %.1f a second", l.service, float64(r.Limit())).After(time.Second)
	}
	if err != nil {
		turn.Cancel()
	}
	return err
}

// resumed has f called whenever a pause ends. It is set before the first call.
func (l *Limiter) resumed(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resume = f
}

// Observe learns from an answer.
func (l *Limiter) Observe(info provider.RateInfo) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, q := range []provider.Quota{info.Requests, info.Tokens} {
		if q.Known {
			l.known[i] = q.Limit
			if q.Remaining == 0 && q.Reset > 0 && i == 0 {
				// The window is used up: the next call would be refused.
				wait := q.Reset / time.Duration(max(1, q.Limit)) * time.Duration(len(l.peers)+1)
				l.pause(min(wait, time.Minute))
			}
		}
	}
	switch {
	case info.Status == 429:
		pause := info.RetryAfter
		if pause == 0 {
			// It does not say when: twice as long every time.
			pause = 100 * time.Millisecond << min(l.refusals, 8)
			l.refusals++
		}
		l.refused(pause)
		l.say(notice{Pause: max(1, pause.Milliseconds())})
	case info.Status < 400:
		l.refusals = 0
		if l.learnt > 0 {
			if l.learnt += max(l.learnt*0.05, 0.05); l.learnt > most {
				l.learnt = 0
			}
		}
	}
	l.adjust()
}

func (l *Limiter) pause(d time.Duration) {
	until := time.Now().Add(d)
	if !until.After(l.paused) {
		return
	}
	l.paused = until
	switch {
	case l.resume == nil || l.closed:
	case l.timer == nil:
		l.timer = time.AfterFunc(d, l.resume)
	default:
		l.timer.Reset(d)
	}
}

// refused slows this replica down, once for all calls that were under way.
// Callers hold mu.
func (l *Limiter) refused(pause time.Duration) {
	l.pause(pause)
	now := time.Now()
	if now.Sub(l.lowered) < time.Second {
		return
	}
	l.lowered = now
	if l.learnt == 0 {
		l.learnt = max(1, l.recent*math.Exp(-now.Sub(l.at).Seconds()/2)) / 0.7
	}
	l.learnt = max(l.learnt*0.7, least)
}
