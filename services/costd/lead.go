package costd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/budget"
	"sluice/pkg/events"
)

// Silence is how long a leader is not heard before another costd takes over.
const Silence = 5 * time.Second

const (
	leaderKey = "leader"
	beat      = time.Second
	kept      = 10 * time.Minute // a closed lease, for late repeats of its last request
)

// run waits for the lead, leads, and waits again.
func (g *Grantor) run() {
	for g.ctx.Err() == nil {
		revision, ok := g.takeLead()
		if !ok {
			return
		}
		g.cfg.Log.Info().Str("name", g.cfg.Name).Msg("leads: grants budget leases")
		if err := g.lead(revision); err != nil && g.ctx.Err() == nil {
			g.cfg.Log.Warn().Err(err).Msg("does not lead any more")
			g.down("cannot grant budget leases: " + err.Error())
			g.sleep(beat)
		}
	}
}

func (g *Grantor) sleep(d time.Duration) bool {
	select {
	case <-g.ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// down tells whether this process can do its work. One that waits for its turn
// can.
func (g *Grantor) down(why string) {
	if g.cfg.Down != nil {
		g.cfg.Down(why)
	}
}

// takeLead returns once the leader of old has been silent for long, or there is
// none. A leader beats on a subject, so that nothing is written while nothing is
// spent. Only this process's own clock measures the silence.
func (g *Grantor) takeLead() (uint64, bool) {
	var seen uint64
	since := time.Now()
	for {
		ctx, cancel := context.WithTimeout(g.ctx, 5*time.Second)
		e, err := g.kv.Get(ctx, leaderKey)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			r, err := g.kv.Create(ctx, leaderKey, []byte(g.cfg.Name))
			if err == nil {
				cancel()
				return r, true
			}
			if !errors.Is(err, jetstream.ErrKeyExists) {
				g.down("cannot take the lead of the budget: " + err.Error())
			}
		}
		if err == nil {
			g.down("")
			if e.Revision() != seen {
				seen, since = e.Revision(), time.Now()
				if string(e.Value()) == "" { // handed over
					since = time.Time{}
				}
			}
			if heard := g.beaten.Load(); heard != nil && heard.After(since) {
				since = *heard
			}
			if time.Since(since) > Silence {
				r, err := g.kv.Update(ctx, leaderKey, []byte(g.cfg.Name), seen)
				if err == nil {
					cancel()
					return r, true
				}
				g.cfg.Log.Debug().Err(err).Msg("taking the lead")
			}
		} else if !errors.Is(err, jetstream.ErrKeyNotFound) && g.ctx.Err() == nil {
			// Nobody can be heard while NATS is away: that is no leader's silence.
			since = time.Now()
			g.down("cannot look who leads the budget: " + err.Error())
		}
		cancel()
		if !g.sleep(beat / 2) {
			return 0, false
		}
	}
}

// hearBeats notes when a leader was last heard.
func (g *Grantor) hearBeats(m *nats.Msg) {
	if string(m.Data) == g.cfg.Name {
		return
	}
	now := time.Now()
	g.beaten.Store(&now)
}

// lead serves until the lead is lost.
func (g *Grantor) lead(revision uint64) error {
	g.desk = newDesk(g)
	defer g.desk.close()
	if err := g.begin(); err != nil {
		return err
	}
	for _, subject := range []string{budget.SubjectLease, budget.SubjectSet} {
		sub, err := g.cfg.Conn.ChanSubscribe(subject, g.queue)
		if err != nil {
			return err
		}
		defer func() {
			if err := sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
				g.cfg.Log.Debug().Err(err).Msg("unsubscribing")
			}
		}()
	}
	if g.doubt == nil {
		g.down("")
		g.announce(budget.SubjectWake, "") // who waited for a leader need not wait for the next try
	}
	heart, housekeeping := time.NewTicker(beat), time.NewTicker(beat/4)
	defer heart.Stop()
	defer housekeeping.Stop()
	g.announce(budget.SubjectBeat, g.cfg.Name)
	for {
		select {
		case <-g.ctx.Done():
			// Hand the lead over, so that the next one need not wait out a silence.
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_, err := g.kv.Update(ctx, leaderKey, nil, revision)
			return err
		case <-heart.C:
			g.announce(budget.SubjectBeat, g.cfg.Name)
			if err := g.leads(revision); err != nil {
				return err
			}
			if err := g.reconsider(); err != nil {
				return err
			}
		case <-housekeeping.C:
			if err := g.keepHouse(); err != nil {
				return err
			}
		case m := <-g.queue:
			batch := []*nats.Msg{m}
			for len(batch) < 64 && len(g.queue) > 0 {
				batch = append(batch, <-g.queue)
			}
			if err := g.serve(batch); err != nil {
				return err
			}
		}
	}
}

// begin reads everything when this process has taken the lead.
func (g *Grantor) begin() error {
	ctx, cancel := context.WithTimeout(g.ctx, time.Minute)
	defer cancel()
	g.doubt = nil
	if err := g.examine(ctx); err != nil {
		return err
	}
	g.shown = g.book.states
	g.dirty = dirty{}
	for s := range g.shown {
		if !s.IsTenant() {
			g.touch(s)
		}
	}
	for s := range g.book.limits {
		g.touch(s)
	}
	g.touch(budget.Global)
	g.hour = budget.Windows(g.cfg.Now())[0].Start
	clear(g.waiting)
	clear(g.refused)
	return nil
}

// leads fails if another process has taken the lead. While NATS is away nobody
// can; and two leaders only make each other's commits fail.
func (g *Grantor) leads(revision uint64) error {
	ctx, cancel := context.WithTimeout(g.ctx, 2*time.Second)
	defer cancel()
	e, err := g.kv.Get(ctx, leaderKey)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrBucketNotFound):
		return fmt.Errorf("the entry of the leader is gone: %w", err)
	case err == nil && e.Revision() != revision:
		return fmt.Errorf("another process leads: the entry of the leader has revision %s and not %s",
			strconv.FormatUint(e.Revision(), 10), strconv.FormatUint(revision, 10))
	case errors.Is(err, nats.ErrNoResponders):
		// The stream behind the bucket was removed, or nobody serves it.
		return fmt.Errorf("the bucket %s does not answer: %w", events.BucketBudget, err)
	case err != nil && g.ctx.Err() == nil:
		g.cfg.Log.Debug().Err(err).Msg("looking who leads")
	}
	return nil
}

// announce tells all processes something; what is missed is found out by asking.
func (g *Grantor) announce(subject, body string) {
	if err := g.cfg.Conn.Publish(subject, []byte(body)); err != nil {
		g.cfg.Log.Debug().Err(err).Str("subject", subject).Msg("announcing")
	}
}
