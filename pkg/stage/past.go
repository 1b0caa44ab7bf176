package stage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// record is the entry of one troubled message in the KV bucket "retries".
// Messages without trouble have none.
type record struct {
	Failures int `json:"failures"`
	// Starts counts the calls of the stage's function that were begun and have not
	// returned: the crash mark. A message that comes again with one was in the
	// function when its process died.
	Starts int `json:"starts"`
	// Of is how many were in that call.
	Of int `json:"of,omitempty"`
}

// splitting is into how many calls those of a call are divided that killed the
// process. One by one, a batch of a paid service would cost a request a message,
// and whichever has its turn as somebody kills the process would take the blame.
const splitting = 8

// share returns how many suspects have their next call together.
func share(suspects []*Message) int {
	return max(1, min(len(suspects), suspects[0].record.Of/splitting))
}

// past keeps what is known of troubled messages: their failures, and that they
// were in the stage's function when a process died.
//
// The mark exists only from the call of the function to its return. So nothing
// that a message does besides, waiting above all, looks like a crash.
type past struct {
	*shared
	kv jetstream.KeyValue
}

// key names the message for good. A stream that was restored, or made again, repeats
// sequences, but never one that was stored at the same time.
func (p *past) key(m *Message) string {
	return p.stage.Name + "." + p.stage.In.Stream + "." + strconv.FormatUint(m.Seq, 10) + "." + strconv.FormatInt(m.Time.UnixNano(), 36)
}

// look finds out what is known of a redelivered message. suspect tells that a
// process died while it had the message in its function.
func (p *past) look(ctx context.Context, m *Message) (suspect bool, err error) {
	if m.record == nil {
		if m.delivered <= 1 {
			if m.Attempt == 0 {
				return false, nil
			}
			// It comes from HELD for the first time, with its failures.
			m.record, m.kept = &record{Failures: m.Attempt}, true
			return false, nil
		}
		rec, err := p.read(ctx, m)
		if err != nil {
			return false, err
		}
		rec.Failures = max(rec.Failures, m.Attempt) // the entry may have expired while it was in HELD
		m.record, m.Attempt = rec, rec.Failures
	}
	// Only marked deaths count. A message with no past costs nothing, so its first
	// delivery leaves no mark; what ended that may as well have been a drain, or a kill
	// while it waited. One that was not alone may be innocent.
	if m.record.Of <= 1 && m.record.Starts >= p.env.Settings.MaxCrashes {
		return false, fault.New(fault.Execution, "crash-loop",
			"the process died %d times while it handled this message", m.record.Starts).
			WithHint("look at the %s's last log lines and memory limit, then replay", p.stage.Name)
	}
	return m.record.Starts > 0, nil
}

func (p *past) read(ctx context.Context, m *Message) (*record, error) {
	e, err := p.kv.Get(ctx, p.key(m))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return &record{}, nil
	}
	if err != nil {
		return nil, p.away(err)
	}
	rec := &record{}
	if err := json.Unmarshal(e.Value(), rec); err != nil {
		// Somebody else's bytes: start counting afresh rather than stop.
		m.Log().Warn().Err(err).Str("key", p.key(m)).Msg("an unreadable entry in the bucket retries is ignored")
		return &record{}, nil
	}
	return rec, nil
}

func (p *past) away(err error) error {
	return fault.Wrap(err, fault.Unavailable, "store", "the bucket %s does not answer", events.BucketRetries).
		WaitFor(fault.On(fault.WaitStore, events.BucketRetries))
}

// begin marks a message whose past was looked up: it is about to be handled, in a
// call of so many.
func (p *past) begin(ctx context.Context, m *Message, of int) error {
	if m.record == nil {
		return nil
	}
	before := *m.record
	if m.record.Of = of; of > 1 {
		m.record.Starts = 1 // deaths count of one that was alone
	} else {
		m.record.Starts++
	}
	if err := p.write(ctx, m); err != nil {
		*m.record = before
		return p.away(err)
	}
	m.marked = true
	return nil
}

// end takes the mark away: the function has returned.
func (p *past) end(ctx context.Context, m *Message) {
	if !m.marked {
		return
	}
	m.marked, m.record.Starts, m.record.Of = false, 0, 0
	// The process lives, so the mark has to go whatever happens to ctx.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := p.write(ctx, m); err != nil {
		m.Log().Warn().Err(err).Msg("a mark stays in the bucket retries; should the process die now, the message is handled alone")
	}
}

// failed counts a failure and returns how many there are.
func (p *past) failed(ctx context.Context, m *Message) int {
	if m.record == nil {
		m.record = &record{}
	}
	m.record.Failures++
	m.Attempt = m.record.Failures
	if m.record.Failures > p.env.Settings.MaxRetries {
		return m.record.Failures // it ends here
	}
	if err := p.write(ctx, m); err != nil {
		// The count is short by one, which means one retry more: the safe side.
		m.Log().Warn().Err(err).Msg("the failure could not be counted")
	}
	return m.record.Failures
}

// write stores the record, or removes one that says nothing.
func (p *past) write(ctx context.Context, m *Message) (err error) {
	if *m.record == (record{}) {
		err = p.kv.Delete(ctx, p.key(m))
		m.kept = err != nil
		return err
	}
	_, err = p.kv.Put(ctx, p.key(m), events.Encode(m.record))
	m.kept = m.kept || err == nil
	return err
}

// forget removes the record of a message that has come to its end.
func (p *past) forget(ctx context.Context, m *Message) {
	if m.record == nil || (*m.record == (record{}) && !m.kept) {
		return
	}
	if err := p.kv.Delete(ctx, p.key(m)); err != nil {
		m.Log().Debug().Err(fmt.Errorf("remove %s: %w", p.key(m), err)).Msg("removing the retry record; its expiry will")
	}
	m.record = nil
}
