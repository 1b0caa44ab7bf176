package budget

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// record is the note of a job.
type record struct {
	Job    string    `json:"job,omitempty"`
	Owner  string    `json:"owner,omitempty"` // who makes the create; "" = nobody can be asked
	Since  time.Time `json:"since,omitzero"`  // when the create began
	Until  time.Time `json:"until"`           // a create without a job is believed to be under way until then
	Told   bool      `json:"told,omitempty"`  // its usage event is out
	Given  bool      `json:"given,omitempty"` // up: nobody waits for it any more
	Lost   int       `json:"lost,omitempty"`  // jobs of the content that the service did not know any more
	Pages  int       `json:"pages"`           // of its bound
	Bound  int64     `json:"bound"`           // nano-dollars
	rev    uint64
	exists bool
}

// String says which job it is.
func (r *record) String() string {
	return fmt.Sprintf("job %s, since %s", events.CleanHeader(r.Job, 128), r.Since.UTC().Format(time.RFC3339))
}

// creating bounds how long a create may take, from note to note.
const creating = 6 * time.Minute

func (p *JobParser) load(ctx context.Context, key string) (r record, err error) {
	e, err := p.records.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return record{}, nil
	}
	if err != nil {
		return r, broker.StoreFault(err, p.records.Bucket(), "look for an earlier job")
	}
	if err := json.Unmarshal(e.Value(), &r); err != nil {
		return r, fault.Wrap(err, fault.Halt, "job-record", "the entry %s of the bucket %s is malformed", key, p.records.Bucket()).
			WithHint("look whether the service runs a job for the document, then remove the entry")
	}
	r.rev, r.exists = e.Revision(), true
	return r, nil
}

func (p *JobParser) save(ctx context.Context, key string, r *record) (err error) {
	if r.exists {
		r.rev, err = p.records.Update(ctx, key, events.Encode(r), r.rev)
	} else {
		r.rev, err = p.records.Create(ctx, key, events.Encode(r))
	}
	r.exists = r.exists || err == nil
	return err
}

func (p *JobParser) forget(ctx context.Context, key string, r *record) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := p.records.Purge(ctx, key, jetstream.LastRevision(r.rev)); err != nil {
		p.gate.cfg.Log.Warn().Err(err).Str("key", key).Msg("the note of a job that has ended badly stays")
	}
	r.exists = false
}

// keep writes the note whatever happens to ctx: without it the job is found at
// the service only.
func (p *JobParser) keep(ctx context.Context, key string, r *record) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := p.save(ctx, key, r); err != nil {
		p.gate.cfg.Log.Warn().Err(err).Str("key", key).Msg("noting a job; if need be it is looked for at the service")
	}
}
