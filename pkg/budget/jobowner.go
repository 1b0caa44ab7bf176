package budget

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"sluice/pkg/broker"
	"sluice/pkg/events"
)

// The create of a job has an owner: the process that makes it. A note without a job
// names it, and whoever meets the note asks the owner whether the create goes on. So
// what a killed process has left behind holds nobody up for as long as the slowest
// create may take.

// SubjectJobOwners is where processes answer which creates they have under way.
const SubjectJobOwners = jobOwner + "*"

const (
	jobOwner = "sluice.job-owner."
	// answering is how long an owner has for an answer.
	answering = 500 * time.Millisecond
)

type (
	jobQuestion struct {
		Key string `json:"key"` // of the note; "" asks only whether somebody is there
	}
	jobAnswer struct {
		Creating bool `json:"creating"`
	}
)

// owners is what a process knows of those that create jobs: itself, and others.
type owners struct {
	silences broker.Silences

	mu        sync.Mutex
	hears     bool // this process listens
	reachable bool // and was heard
}

// owner returns the ID by which this process can be asked for its creates. It is ""
// if nobody can ask: the process may lack the right to listen, which NATS does not
// tell to who subscribes, so it asks itself first. A create without an owner is
// believed for as long as it may take.
func (p *JobParser) owner(ctx context.Context) string {
	o, id := &p.owners, p.gate.instance
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.reachable {
		return id
	}
	if !o.hears {
		if err := p.gate.hear(jobOwner+id, p.answer); err != nil {
			p.gate.cfg.Log.Warn().Err(err).Msg("other processes cannot ask for the jobs that this one creates")
			return ""
		}
		o.hears = true
	}
	if a, _ := p.ask(ctx, id, ""); a == nil {
		p.gate.cfg.Log.Warn().Str("subject", jobOwner+id).Msg("other processes cannot ask for the jobs that this one creates: nothing is heard on the subject; 'sluice apply' gives the rights")
		return ""
	}
	o.reachable = true
	return id
}

// answer tells another process whether this one creates the job of a content.
func (p *JobParser) answer(m *nats.Msg) {
	var q jobQuestion
	if json.Unmarshal(m.Data, &q) != nil {
		return
	}
	p.mu.Lock()
	e := p.open[q.Key]
	a := jobAnswer{Creating: e != nil && e.busy}
	p.mu.Unlock()
	_ = m.Respond(events.Encode(a)) // who does not hear it asks again
}

// ask asks an owner for a create. Without an answer it tells whether the owner is gone.
func (p *JobParser) ask(ctx context.Context, owner, key string) (a *jobAnswer, gone bool) {
	ctx, cancel := context.WithTimeout(ctx, answering)
	defer cancel()
	m, gone := p.owners.silences.Ask(ctx, owner, jobOwner+owner, events.Encode(jobQuestion{key}))
	if m == nil {
		return nil, gone
	}
	if json.Unmarshal(m.Data, &a) != nil {
		return nil, false
	}
	return a, false
}

// abandoned tells whether nobody creates the job of a note any more. Callers have
// the content's step.
func (p *JobParser) abandoned(ctx context.Context, key string, r *record) bool {
	switch r.Owner {
	case "":
		return false // nobody can be asked
	case p.gate.instance:
		return true // the step is ours
	}
	a, gone := p.ask(ctx, r.Owner, key)
	if gone {
		p.gate.cfg.Log.Warn().Str("owner", r.Owner).Str("key", key).
			Msg("the process that was creating a job does not answer; the job is looked for at the service")
	}
	return gone || a != nil && !a.Creating
}

// hear subscribes until Close.
func (g *Gate) hear(subject string, f nats.MsgHandler) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return fmt.Errorf("subscribe to %s: the process stops", subject)
	}
	sub, err := g.cfg.Conn.Subscribe(subject, f)
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	g.subs = append(g.subs, sub)
	return nil
}
