package budget

import (
	"cmp"
	"context"
	"errors"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/provider"
)

// JobLimits bound the jobs of a process. Zero values are defaults.
type JobLimits struct {
	Jobs    int           // under way at once; 0 = 16
	Calls   int           // of the service at once; 0 = 12
	Poll    time.Duration // from the start of a job to the second look; it grows by as much, up to five times; 0 = 1 s
	Timeout time.Duration // the longest job; 0 = 2 h
	// Silence is how long the owner of a create may give no answer before it counts
	// as dead. 0 = 5 s, which is longer than a reconnect.
	Silence time.Duration
	// Listed is the age from which the service lists every job that it has: one that
	// is not listed by then does not exist. 0 = 1 min.
	Listed time.Duration
}

// JobParser makes a Parser of a paid service that works by jobs. A job's whole
// bound is reserved before it is created, and what it did not cost comes back once
// the service has billed it. Every job is noted in a bucket before and after its
// create, so that whoever meets the same content again, after a crash or in
// another replica, finds the running job instead of paying for a second one.
//
//	no note                 reserve, note, create, note the job
//	a note without a job    its owner creates it now: wait. Or its outcome is
//	                        unknown, or its owner is gone: look for the job at the
//	                        service, then as above
//	a note with a job       wait for that one; it has been paid for
//
// One call of Parse is one step: it asks the service once and does not wait for
// a job. Until the job has ended, Parse returns a fault that says what to wait for:
//
//	job:<job>         the job to end. Parse may be called again after the delay in
//	                  the fault, or once Changed has told of the job
//	slot:<service>    another job of this process to end
//	claim:<key>       somebody else who creates the job of the same content
//	store:<bucket>    the bucket of the notes
//	budget:<scope>    money; see Gate.Admit
type JobParser struct {
	gate    *Gate
	stage   string
	jobs    provider.Jobs
	records jetstream.KeyValue
	limits  JobLimits
	info    provider.ParserInfo
	owners  owners

	mu      sync.Mutex
	open    map[string]*open
	calls   int       // steps under way
	refused bool      // somebody was, for too many calls
	checked time.Time // when slots were last looked after
}

var _ provider.Parser = (*JobParser)(nil)

// Parser guards a paid service that works by jobs. Its notes are kept in records.
func Parser(g *Gate, stage string, jobs provider.Jobs, records jetstream.KeyValue, limits JobLimits) *JobParser {
	limits.Jobs, limits.Calls = cmp.Or(limits.Jobs, 16), cmp.Or(limits.Calls, 12)
	limits.Poll, limits.Timeout = cmp.Or(limits.Poll, time.Second), cmp.Or(limits.Timeout, 2*time.Hour)
	limits.Silence, limits.Listed = cmp.Or(limits.Silence, 5*time.Second), cmp.Or(limits.Listed, time.Minute)
	return &JobParser{
		gate: g, stage: stage, jobs: jobs, records: records, limits: limits, info: jobs.Describe(), open: map[string]*open{},
		owners: owners{silences: broker.Silences{Conn: g.cfg.Conn, After: limits.Silence}},
	}
}

// Describe names the parser.
func (p *JobParser) Describe() provider.ParserInfo { return p.info }

func (p *JobParser) key(src provider.Source) string {
	// The file's extension tells the service what to make of the bytes.
	return events.Fingerprint(p.info.Service, p.info.Version, events.ContentHash(src.Data), strings.ToLower(path.Ext(src.Name)))
}

// Running tells whether this process waits for a job of the content.
func (p *JobParser) Running(src provider.Source) bool {
	key := p.key(src)
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.open[key]
	return e != nil && e.job != ""
}

// Changed hears that a job may have ended: what waits for it looks at once.
func (p *JobParser) Changed(job string) {
	p.mu.Lock()
	for _, e := range p.open {
		if e.job == job {
			e.poked = true
		}
	}
	p.mu.Unlock()
	p.wake(jobKey(job))
}

func (p *JobParser) wake(key fault.Wait) {
	if p.gate.cfg.Wake != nil {
		p.gate.cfg.Wake(key)
	}
}

func jobKey(job string) fault.Wait { return fault.On(fault.WaitJob, events.CleanHeader(job, 128)) }

func (p *JobParser) slotKey() fault.Wait { return fault.On(fault.WaitSlot, p.info.Service) }

// Parse takes the next step towards the Markdown of src. Besides the faults that
// wait, and the errors of the service, it returns "job-timeout" (Execution). A job
// that the service does not know any more is made again, once; after that it is
// "job-unknown" (Execution).
func (p *JobParser) Parse(ctx context.Context, src provider.Source) (provider.Parse, error) {
	key := p.key(src)
	e, err := p.enter(key)
	if err != nil {
		return provider.Parse{}, err
	}
	defer p.leave(key, e)
	for {
		r, err := p.load(ctx, key)
		if err != nil {
			return provider.Parse{}, err
		}
		if err := p.find(ctx, key, e, &r, src); err != nil {
			return provider.Parse{}, err
		}
		if r.Job == "" {
			if err := p.create(ctx, key, e, &r, src); err != nil {
				return provider.Parse{}, err
			}
		}
		out, again, err := p.look(ctx, key, e, &r, src)
		if !again {
			return out, err
		}
	}
}

// searching is the age of a note without a job at which the job is looked for. By
// then the service lists the job, if the create of an owner that died has started one.
const searching = 30 * time.Second

// find looks for the job of a create whose outcome nobody has noted.
func (p *JobParser) find(ctx context.Context, key string, e *open, r *record, src provider.Source) (err error) {
	if e.failure != nil && !(r.exists && r.Since.Equal(e.note.Since)) {
		// Another process has taken it up since. What our create did cost is not known here.
		p.forfeit(key, e)
		e.ticket, e.failure = nil, nil
	}
	if !r.exists || r.Job != "" {
		return nil
	}
	if e.job != "" && r.Since.Equal(e.note.Since) {
		r.Job = e.job // it could not be noted
		p.keep(ctx, key, r)
		return nil
	}
	creating := time.Now().Before(r.Until)
	// Asked from the beginning: it takes several questions to find that an owner is gone.
	abandoned := creating && p.abandoned(ctx, key, r)
	if creating && time.Since(r.Since) < searching {
		return p.elsewhere(key)
	}
	if r.Job, err = p.jobs.Find(ctx, src, r.Since); err != nil {
		return err
	}
	switch {
	case r.Job != "":
		if err := p.save(ctx, key, r); broker.LostRace(err) {
			return p.elsewhere(key)
		} else if err != nil {
			return broker.StoreFault(err, p.records.Bucket(), "note the job that was found")
		}
	case creating && !abandoned:
		return p.elsewhere(key)
	case e.ticket != nil:
		// The service knows no such job. If it would have by now, none was started.
		outcome, nano := events.OutcomeUnknown, r.Bound
		if time.Since(r.Until) > p.limits.Listed {
			outcome, nano = events.OutcomeUnbilled, 0
		}
		p.book(e.ticket, *r, src, outcome, nano, e.failure)
		e.ticket, e.failure = nil, nil
	}
	return nil
}

// elsewhere is the fault of a content whose job somebody else creates now.
func (p *JobParser) elsewhere(key string) error {
	return fault.New(fault.Unavailable, "parsed-elsewhere", "the same content is being sent to %s for another document or by another replica", p.info.Service).
		WaitFor(fault.On(fault.WaitClaim, key)).After(2 * time.Second)
}

// create reserves the money, and starts the job.
func (p *JobParser) create(ctx context.Context, key string, e *open, r *record, src provider.Source) error {
	bound, err := p.jobs.Bound(src)
	if err != nil {
		return err
	}
	if src.Wanted != nil {
		if err := src.Wanted(ctx); err != nil {
			return err
		}
	}
	if err := p.slot(ctx, e); err != nil {
		return err
	}
	owner := p.owner(ctx)
	t, err := p.gate.Admit(ctx, p.info.Service, cmp.Or(src.Owner.Tenant, events.DefaultTenant), Amount{bound.Nano, 1})
	if err != nil {
		return err
	}
	r.Since, r.Owner = time.Now(), owner
	r.Until, r.Bound, r.Pages, r.Told, r.Given = r.Since.Add(creating), bound.Nano, bound.Pages, false, false
	if err := p.save(ctx, key, r); err != nil {
		t.cancel()
		if broker.LostRace(err) {
			return p.elsewhere(key)
		}
		return broker.StoreFault(err, p.records.Bucket(), "note the job, so none is started")
	}
	done := false
	defer func() {
		if !done { // a panic of the client is an attempt, too
			p.book(t, *r, src, events.OutcomeUnknown, bound.Nano, errors.New("the client panicked"))
		}
	}()
	call, cancel := context.WithTimeout(ctx, creating-time.Minute)
	defer cancel()
	job, err := p.jobs.Create(call, src)
	done = true
	switch {
	case err == nil:
	case provider.IsUnbilled(err):
		p.forget(ctx, key, r)
		p.book(t, *r, src, events.OutcomeUnbilled, 0, err)
		return err
	default:
		// Whether a job was started is told by whoever looks for it.
		r.Until = time.Now()
		p.keep(ctx, key, r)
		e.ticket, e.failure, e.note, e.source = t, err, *r, src
		e.source.Data, e.source.Wanted = nil, nil // nothing there needs them any more
		return err
	}
	r.Job, e.ticket = job, t
	p.keep(ctx, key, r)
	return nil
}

// look asks the service once whether the job has ended. again is true if the job
// is out of the way and another one may be created.
func (p *JobParser) look(ctx context.Context, key string, e *open, r *record, src provider.Source) (out provider.Parse, again bool, err error) {
	p.runs(e, *r)
	out, ended, err := p.jobs.Result(ctx, r.Job, src)
	f := fault.From(err)
	switch {
	case err == nil && !ended:
		e.failures = 0
		if time.Since(r.Since) > p.limits.Timeout {
			return out, false, p.giveUp(ctx, key, e, r, src)
		}
		return out, false, p.running(e, fault.New(fault.Unavailable, "job-running", "%s is parsing it (%s)", p.info.Service, r))
	case err != nil && f.Reason == provider.ReasonJobUnknown:
		again, err := p.unknown(ctx, key, e, r, src, err)
		return out, again, err
	case err == nil, f.Class.Permanent():
		given := r.Given
		if err != nil {
			p.forget(ctx, key, r) // a replay is a wish for another try
		}
		p.settle(ctx, key, e.ticket, *r, src, out, err)
		p.ended(e)
		return out, given && err != nil, err
	case f.Class == fault.Unavailable && f.Wait == "" && e.failures < 9, f.Class == fault.RateLimited && f.Wait == "":
		// The job goes on whether we look or not.
		e.failures++
		late := fault.Wrap(err, f.Class, f.Reason, "%s is parsing it (%s), but the last look at it failed", p.info.Service, r)
		return out, false, p.running(e, late.WithHint("%s", f.Hint).After(min(f.RetryAfter, time.Minute)))
	}
	return out, false, err
}

// remade is how often the job of a document is made again because the service
// does not know it any more. Each may have been billed.
const remade = 1

// unknown ends a job that the service does not know, at its bound. again is true if
// another one may be made.
func (p *JobParser) unknown(ctx context.Context, key string, e *open, r *record, src provider.Source, err error) (again bool, _ error) {
	if time.Since(r.Since) < p.limits.Listed {
		return false, p.running(e, fault.Wrap(err, fault.Unavailable, "job-running", "%s does not tell of its job yet (%s)", p.info.Service, r))
	}
	job := r.String()
	if e.ticket != nil {
		p.book(e.ticket, *r, src, events.OutcomeUnknown, r.Bound, err)
	}
	p.ended(e)
	if r.Given { // a replay is a wish for another try
		r.Lost = 0
	} else if r.Lost++; r.Lost > remade {
		p.forget(ctx, key, r)
		return false, fault.Wrap(err, fault.Execution, provider.ReasonJobUnknown, "%s has lost %d jobs of the document, the last was %s", p.info.Service, r.Lost, job).
			WithHint("ask in the service's console who removes jobs; a replay of the dead letter starts another, which costs again")
	}
	// The note of a create without a job: whoever meets it looks for one, then makes it.
	r.Job, r.Until = "", time.Now()
	if serr := p.save(ctx, key, r); broker.LostRace(serr) {
		return false, p.elsewhere(key)
	} else if serr != nil {
		return false, broker.StoreFault(serr, p.records.Bucket(), "note that a job is lost")
	}
	p.gate.cfg.Log.Warn().Err(err).Str("service", p.info.Service).Str("lost", job).Msg("the service does not know its job any more; another one is made")
	return true, nil
}

// running is the fault of a document whose job goes on.
func (p *JobParser) running(e *open, f *fault.Error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.looks = min(e.looks+1, 5)
	delay := max(time.Duration(e.looks)*p.limits.Poll, f.RetryAfter)
	e.next = time.Now().Add(delay)
	if e.poked { // while we looked
		delay = time.Millisecond
	}
	return f.After(delay).WaitFor(jobKey(e.job))
}

// giveUp ends the wait for a job. It may end later, and be billed: its bound is
// booked, and the note stays, so that a replay asks for its result first.
func (p *JobParser) giveUp(ctx context.Context, key string, e *open, r *record, src provider.Source) error {
	err := fault.New(fault.Execution, "job-timeout", "%s has not ended its job within %v (%s)", p.info.Service, p.limits.Timeout, r).
		WithHint("a replay takes its result if it has ended by then; if it is cancelled in the service's console, a replay starts another")
	told := r.Told
	r.Told, r.Given = true, true
	switch serr := p.save(context.WithoutCancel(ctx), key, r); {
	case broker.LostRace(serr) || told:
		if e.ticket != nil {
			e.ticket.SettleUnknown()
		}
	default:
		if serr != nil {
			p.gate.cfg.Log.Warn().Err(serr).Str("key", key).Msg("noting that nobody waits for a job any more")
		}
		p.book(e.ticket, *r, src, events.OutcomeUnknown, r.Bound, err)
	}
	p.ended(e)
	return err
}
