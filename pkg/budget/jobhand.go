package budget

import (
	"context"
	"time"

	"sluice/pkg/fault"
	"sluice/pkg/provider"
)

// open is what this process knows of a content whose job has not come to its end.
// The fields of the last block belong to who takes a step (busy), the others to
// JobParser.mu.
type open struct {
	busy    bool // a step is under way
	asked   bool // somebody else wanted to take one meanwhile
	slot    bool // it counts among the jobs under way
	poked   bool // the service has told of the job
	tended  bool // see tend
	unsure  bool // the outcome of its create is unknown
	orphan  bool // the process ends
	job     string
	looks   int       // that found it running; up to 5
	next    time.Time // look
	touched time.Time
	done    chan struct{} // closed when it is out of the map

	ticket   *Ticket // of its create; nil if another process has made that
	note     record
	source   provider.Source // of a create with an unknown outcome, without its data
	failure  error           // of that create
	failures int             // looks in a row
}

const (
	// parking is how long a reservation waits for the next step: longer than any
	// delay between retries.
	parking = 10 * time.Minute
	// outage is how long the reservation of a create with an unknown outcome waits
	// for the service to tell whether there is a job.
	outage = time.Hour
	// stale is the age from which a job that nobody asks for is looked up before it
	// keeps others from starting.
	stale = time.Minute
)

// enter begins a step for a content. One is taken at a time.
func (p *JobParser) enter(key string) (*open, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.open[key]
	switch {
	case e != nil && e.busy:
		e.asked = true
		return nil, p.elsewhere(key)
	case e != nil && e.job != "" && !e.poked && time.Until(e.next) > p.limits.Poll/10:
		// Somebody has just looked: another document of the same content.
		return nil, fault.New(fault.Unavailable, "job-running", "%s is parsing it (%s)", p.info.Service, &e.note).
			After(time.Until(e.next)).WaitFor(jobKey(e.job))
	case p.calls >= p.limits.Calls:
		p.refused = true
		return nil, p.turn(2 * time.Second)
	case e == nil:
		e = &open{done: make(chan struct{})}
		p.open[key] = e
	}
	e.busy = true
	p.calls++
	return e, nil
}

// leave ends a step.
func (p *JobParser) leave(key string, e *open) {
	p.mu.Lock()
	p.calls--
	e.busy, e.touched, e.unsure = false, time.Now(), e.failure != nil
	freed := e.slot && e.job == ""
	e.slot = e.slot && !freed
	tend, lost := false, false
	switch {
	case e.job == "" && e.ticket == nil:
		p.remove(key, e)
	case e.orphan:
		p.remove(key, e)
		lost = true
	case !e.tended:
		e.tended, tend = true, true
	}
	asked := e.asked
	freed = freed || p.refused || lost
	e.asked, p.refused = false, false
	p.mu.Unlock()
	if lost {
		p.lost(key, e)
	}
	if tend {
		p.tend(key, e)
	}
	if asked {
		p.wake(fault.On(fault.WaitClaim, key))
	}
	if freed {
		p.wake(p.slotKey())
	}
}

// remove forgets an entry. Callers hold mu.
func (p *JobParser) remove(key string, e *open) {
	delete(p.open, key)
	close(e.done)
}

// slot takes a place among the jobs under way.
func (p *JobParser) slot(ctx context.Context, e *open) error {
	for range 2 {
		p.mu.Lock()
		n := 0
		for _, o := range p.open {
			if o.slot {
				n++
			}
		}
		if e.slot || n < p.limits.Jobs {
			e.slot = true
			p.mu.Unlock()
			return nil
		}
		look := time.Since(p.checked) > stale/6
		if look {
			p.checked = time.Now()
		}
		p.mu.Unlock()
		if !look || !p.sweep(ctx) {
			break
		}
	}
	return p.turn(30 * time.Second)
}

// turn is the fault of a document for which there is no room now.
func (p *JobParser) turn(d time.Duration) error {
	return fault.New(fault.Unavailable, "no-slot", "it waits for its turn at %s: a process has at most %d jobs and %d calls under way", p.info.Service, p.limits.Jobs, p.limits.Calls).
		WaitFor(p.slotKey()).After(d)
}

// sweep forgets jobs that have ended elsewhere. It tells whether there was one.
func (p *JobParser) sweep(ctx context.Context) (freed bool) {
	p.mu.Lock()
	idle := map[string]*open{}
	for key, e := range p.open {
		if e.slot && !e.busy && time.Since(e.touched) > stale+5*p.limits.Poll {
			idle[key] = e
		}
	}
	p.mu.Unlock()
	for key, e := range idle {
		r, err := p.load(ctx, key)
		if err != nil {
			return freed
		}
		if r.exists && !r.Told && r.Job == e.job {
			continue
		}
		p.mu.Lock()
		gone := p.open[key] == e && !e.busy
		if gone {
			p.remove(key, e)
		}
		p.mu.Unlock()
		if gone {
			freed = true
			p.lost(key, e)
		}
	}
	return freed
}

// runs notes that a job is under way, whoever has created it.
func (p *JobParser) runs(e *open, r record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.job != r.Job {
		e.looks = 0
	}
	e.job, e.slot, e.poked, e.note = r.Job, true, false, r
}

// ended notes that a job is not waited for any more.
func (p *JobParser) ended(e *open) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.job, e.looks, e.failures, e.ticket, e.failure = "", 0, 0, nil, nil
}

// tend sees to it that a reservation is settled, even if no further step is taken,
// or the process ends.
func (p *JobParser) tend(key string, e *open) {
	p.gate.later(func(ctx context.Context) {
		for {
			p.mu.Lock()
			patience := parking + 5*p.limits.Poll
			if e.unsure {
				patience = outage
			}
			timer := time.NewTimer(patience - time.Since(e.touched))
			p.mu.Unlock()
			select {
			case <-e.done:
				timer.Stop()
				return
			case <-ctx.Done():
				timer.Stop()
			case <-timer.C:
			}
			p.mu.Lock()
			stop := ctx.Err() != nil
			switch {
			case p.open[key] != e:
				p.mu.Unlock()
				return
			case e.busy && stop:
				e.orphan = true // the step that is under way sees to it
				p.mu.Unlock()
				return
			case e.busy || !stop && time.Since(e.touched) < patience:
				p.mu.Unlock()
				continue
			}
			p.remove(key, e)
			p.mu.Unlock()
			p.lost(key, e)
			p.wake(p.slotKey())
			return
		}
	})
}

// lost settles the reservation of a job that nobody here asks for any more. Whoever
// takes it up again finds the job. What it costs is out of the ledger already, and
// told by whoever sees its end.
func (p *JobParser) lost(key string, e *open) {
	switch {
	case e.ticket == nil:
	case e.failure != nil:
		p.forfeit(key, e)
	default:
		e.ticket.SettleUnknown()
	}
}
