package router

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// HaltKey is the key in the bucket "pipeline" that halts all replicas of a stage
// with one configuration.
func HaltKey(stage, config string) string { return "halt." + stage + "." + config }

// notice of a halt, for the other replicas.
type stopped struct {
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
	Hint    string    `json:"hint,omitempty"`
	Time    time.Time `json:"time"`
}

// Halt stops all calls of this configuration: an answer that was paid for cannot
// be used, and the next one would be the same. No health check lifts this, for it
// cannot see it. What lifts it is a restart, a mode that somebody sets, or another
// configuration. Running replicas of the same configuration are halted, too.
func (c *Control) Halt(ctx context.Context, f *fault.Error) {
	if !c.halt(f, true) || c.cfg.Config == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	body := events.Encode(stopped{f.Reason, f.Message, f.Hint, time.Now().UTC()})
	rev, err := c.kv.Put(ctx, HaltKey(c.cfg.Stage, c.cfg.Config), body)
	if err != nil {
		c.cfg.Log.Warn().Err(err).Msg("other replicas are not told of the halt; each of them finds out by a call of its own")
		return
	}
	c.mu.Lock()
	c.haltRev = max(c.haltRev, rev)
	c.mu.Unlock()
}

// halt stops all calls. It returns false if they have been stopped for good before.
func (c *Control) halt(f *fault.Error, lasting bool) bool {
	c.mu.Lock()
	if c.lasting {
		c.mu.Unlock()
		return false
	}
	first := c.halted == nil
	if first {
		c.since = time.Now()
	}
	c.halted, c.lasting = f.WaitFor(fault.WaitConfig), lasting
	c.mu.Unlock()
	if first || lasting {
		c.cfg.Log.Error().Str("service", c.cfg.Service).Str("reason", f.Reason).Str("hint", f.Hint).Msg("halted: " + f.Message)
	}
	c.up.Set(0)
	c.poke()
	return true
}

// Halted returns why no call is made, nil if calls are.
func (c *Control) Halted() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.halted == nil {
		return nil
	}
	return c.halted
}

// hearHalt hears that another replica of the same configuration was halted. An
// entry from before this process began is void: a restart is somebody's wish to
// try again. So is one that is older than the mode.
func (c *Control) hearHalt(e jetstream.KeyValueEntry) {
	if e.Operation() != jetstream.KeyValuePut {
		return
	}
	var s stopped
	if err := json.Unmarshal(e.Value(), &s); err != nil {
		c.cfg.Log.Warn().Err(err).Str("key", e.Key()).Msg("an unreadable entry is ignored")
		return
	}
	c.mu.Lock()
	void := e.Revision() <= max(c.haltRev, c.modeRev)
	if !void {
		c.haltRev = e.Revision()
	}
	c.mu.Unlock()
	if !void {
		c.halt(&fault.Error{Class: fault.Halt, Reason: s.Reason, Message: s.Message, Hint: s.Hint}, true)
	}
}

// lift ends a halt that somebody wanted ended by setting the mode. rev is the
// mode's revision: the same entry may come again.
func (c *Control) lift(rev uint64) (lifted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if rev <= c.modeRev {
		return false
	}
	c.modeRev = rev
	if c.halted == nil || rev < c.haltRev {
		return false
	}
	c.halted, c.lasting = nil, false
	return true
}
