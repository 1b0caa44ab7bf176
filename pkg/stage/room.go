package stage

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// room is where messages wait. A message that cannot go on now is handed to it
// with the key of what has to change (fault.Wait). It then holds no worker, no
// lock and no crash mark, and nothing is written while it waits.
//
// Every key has a place. A place is shut while a message that tried found that it
// still has to wait. It is tried again when its time comes, or when somebody calls
// wake with its key: a message, or a batch, goes to the front of the queue, and if it
// passes, more and more follow (slow start). So a key that opens by a little lets a
// little through, and a wake-up in vain costs one try.
//
// While a key that all of the stage's work needs is shut, the intake is closed.
// What waits for another key lets everything else pass. Of those the room keeps a
// bounded number; the rest is set aside in the stream HELD.
type room struct {
	*shared
	hand  *hand
	queue *queue
	aside *aside
	story *story
	unit  int          // messages of one try: a batch
	bound atomic.Int64 // of messages that wait here for narrow keys

	mu     sync.Mutex
	places map[fault.Wait]*place
	narrow int // messages that wait for narrow keys, here
	bytes  int // of those
	wakes  wakes
	kicked chan struct{} // something changed that the timer has to know
	shut   atomic.Bool   // closes, for those that do not hold mu
}

// Bounds of what waits for narrow keys in memory.
const (
	roomMessages = 256
	roomBytes    = 16 << 20
)

// fit bounds the room by what the consumer allows to be in flight over all
// replicas: a few of them together must not use it up by waiting. If that is very
// little, everything is set aside.
func (r *room) fit(maxInFlight int) {
	r.bound.Store(roomMessages)
	if maxInFlight > 0 {
		r.bound.Store(int64(min(roomMessages, maxInFlight/16)))
	}
}

// place is one key and what waits for it.
type place struct {
	key     fault.Wait
	whole   bool         // all of the stage's work needs the key
	why     *fault.Error // what the latest to come met
	since   time.Time
	waiting []*Message // here, the first to go first
	aside   int        // in the stream HELD, as far as is known
	shut    bool       // nothing is tried before next
	next    time.Time
	rounds  int // tries in a row that were in vain
	epoch   int // counts how often it was shut
	trying  int // messages of this epoch that try now
	weight  int // of all that have tried in this epoch
	window  int // how many may try
	passed  bool
	// Of a group of keys: tries that failed, and after how many it is shut.
	failures, round int
}

func (p *place) empty() bool { return len(p.waiting) == 0 && p.trying == 0 && p.aside == 0 }

// last returns the index of the last to come that HELD may take, or -1.
func (p *place) last() int {
	for i := len(p.waiting) - 1; i >= 0; i-- {
		if !p.waiting[i].stuck {
			return i
		}
	}
	return -1
}

// closes tells whether the place keeps the whole stage from work.
func (p *place) closes() bool { return p.whole && !p.passed && (len(p.waiting) > 0 || p.trying > 0) }

func newRoom(s *shared, h *hand, story *story) *room {
	r := &room{
		shared: s, hand: h, story: story, unit: max(1, s.stage.Batch.Items),
		places: map[fault.Wait]*place{}, kicked: make(chan struct{}, 1),
	}
	r.fit(0)
	return r
}

// at returns the place of a key. Callers hold mu.
func (r *room) at(key fault.Wait) *place {
	p := r.places[key]
	if p == nil {
		p = &place{key: key, whole: r.stage.whole(key), since: time.Now()}
		p.window = r.first(p)
		r.places[key] = p
	}
	return p
}

// first is how many messages are the first try: of what the whole stage needs a
// batch, which costs as much as one; of a narrow key one message.
func (r *room) first(p *place) int {
	if p.whole {
		return r.unit
	}
	return 1
}

// enter takes a message whose handling failed with f, which says what it waits for.
func (r *room) enter(m *Message, f *fault.Error) {
	key := f.Waits()
	r.story.held(m, f)
	r.hand.rest(m)
	r.mu.Lock()
	defer r.unlock()
	p := r.at(key)
	again := m.place == p && m.epoch == p.epoch // it was let out to try
	switch g := m.place; {
	case g == p:
	case g != nil && g.key == group(key):
		r.failed(g, m, f) // it came back from HELD, where its key is one of many
	default:
		r.passed(m) // whatever it waited for before is there
	}
	m.place = nil
	p.why = f
	if !p.whole {
		r.narrow++
		r.bytes += len(m.Data)
	}
	if again {
		p.waiting = slices.Insert(p.waiting, 0, m)
		p.rounds++
	} else {
		p.waiting = append(p.waiting, m)
	}
	if again || !p.shut {
		r.close(p, f)
	}
	if r.wakes.since(key, m.began) {
		p.next = time.Time{} // it opened while the message looked
	}
	r.kick()
}

// pause is how long a place stays shut if nobody wakes it.
func (r *room) pause(f *fault.Error, rounds int) time.Duration {
	switch {
	case f.Waits().Kind() == fault.WaitSchema:
		return 24 * time.Hour // this process will never be able to
	case f.RetryAfter > 0:
		return r.jitter(f.RetryAfter)
	case f.Waits().Kind() == fault.WaitDownstream:
		return min(r.jitter(20*time.Millisecond<<min(rounds, 6)), time.Second)
	}
	return min(r.delay(rounds+1), longestPause)
}

// longestPause bounds the wait for a wake-up that never comes.
const longestPause = 30 * time.Second

// pass hears that a message went through the stage's function, well or badly, and
// waits for nothing.
func (r *room) pass(m *Message) {
	if m.place == nil {
		return
	}
	r.story.resumed(m, m.place.key)
	r.mu.Lock()
	r.passed(m)
	m.place = nil
	r.unlock()
	r.kick()
}

// passed counts a try that found its key open. Callers hold mu.
func (r *room) passed(m *Message) {
	p := m.place
	if p == nil {
		return
	}
	if m.epoch != p.epoch {
		return // what it found is out of date
	}
	p.trying--
	p.passed, p.shut, p.rounds = true, false, 0
	p.window = max(p.window+1, r.unit) // a batch at least; then their number doubles
	r.release(p)
}

// failed counts a try of one of the keys of a group. It says nothing of the other
// keys: each message is tried once, then the group rests. Callers hold mu.
func (r *room) failed(g *place, m *Message, f *fault.Error) {
	if m.epoch != g.epoch {
		return
	}
	g.trying--
	g.window++
	g.failures++
	if g.failures < g.round {
		r.release(g)
		return
	}
	g.failures = 0
	r.close(g, f)
	g.rounds++
}

// close shuts a place because of what a try met. Tries of before count no more.
// Callers hold mu.
func (r *room) close(p *place, f *fault.Error) {
	p.shut, p.passed, p.trying, p.weight, p.window = true, false, 0, 0, r.first(p)
	p.epoch++
	p.next = time.Now().Add(r.pause(f, p.rounds))
}

// release lets out as many as may try. Callers hold mu.
func (r *room) release(p *place) {
	for !p.shut && p.trying < p.window && len(p.waiting) > 0 {
		m := p.waiting[0]
		if b := r.stage.Batch.Weight; b > 0 && !p.passed && p.trying > 0 && p.weight+m.weight > b {
			break // the first try is one batch
		}
		p.waiting[0] = nil
		p.waiting = p.waiting[1:]
		if !p.whole {
			r.narrow--
			r.bytes -= len(m.Data)
		}
		r.try(p, m)
		r.hand.resume(m)
		r.queue.pushFront(m)
	}
	if !p.shut && p.trying < p.window && p.aside > 0 {
		r.aside.bring(p.key, p.window-p.trying)
	}
	if p.empty() {
		delete(r.places, p.key)
	}
}

// try counts m among those that try. Callers hold mu.
func (r *room) try(p *place, m *Message) {
	m.place, m.epoch = p, p.epoch
	p.trying++
	p.weight += m.weight
}

// returned takes messages of HELD that shall try.
func (r *room) returned(group fault.Wait, all []*Message, left int) {
	r.mu.Lock()
	defer r.unlock()
	p := r.at(group)
	p.aside = left
	for _, m := range all {
		r.try(p, m)
		r.queue.pushFront(m)
	}
	r.release(p)
}

// wake has what waits for a key, or for one within it, try at once.
func (r *room) wake(key fault.Wait) {
	r.mu.Lock()
	r.wakes.note(key)
	for _, p := range r.places {
		if p.shut && (p.key.Within(key) || key.Within(p.key)) {
			p.next = time.Time{}
		}
	}
	r.unlock()
	r.aside.refresh() // a replica that is gone may have set something aside
	r.kick()
}

func (r *room) kick() {
	select {
	case r.kicked <- struct{}{}:
	default:
	}
}

// closed tells whether the stage waits as a whole, or has more in the room than it
// can set aside.
func (r *room) closed() bool { return r.shut.Load() }

// unlock ends a change, and has those look again who wait for an open room.
func (r *room) unlock() {
	r.shut.Store(r.closes())
	r.mu.Unlock()
	r.hand.signal()
	r.queue.signal()
}

func (r *room) closes() bool {
	if r.narrow > 2*int(r.bound.Load()) || r.bytes > 2*roomBytes {
		return true
	}
	for _, p := range r.places {
		if p.closes() {
			return true
		}
	}
	return false
}

// tend opens places when their time comes, and sets aside what is beyond the
// bound, until ctx ends.
func (r *room) tend(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		r.mu.Lock()
		next := time.Now().Add(time.Hour)
		now := time.Now()
		for _, p := range r.places {
			if p.shut && !now.Before(p.next) {
				p.shut, p.round = false, p.aside
				r.release(p)
			}
			if p.shut && p.next.Before(next) {
				next = p.next
			}
		}
		r.thin()
		r.unlock()
		timer.Reset(max(0, time.Until(next)))
		select {
		case <-r.kicked:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// thin hands the latest messages of the fullest narrow places over to be set
// aside, until the room is within its bound; and all that waits for another
// release of the stage. Callers hold mu.
func (r *room) thin() {
	for {
		var fullest *place
		for _, p := range r.places {
			switch {
			case p.whole || p.last() < 0:
			case p.key.Kind() == fault.WaitSchema: // for a replica that can read it
				fullest = p
			case r.narrow <= int(r.bound.Load()) && r.bytes <= roomBytes:
			case fullest == nil || len(p.waiting) > len(fullest.waiting) && fullest.key.Kind() != fault.WaitSchema:
				fullest = p
			}
		}
		if fullest == nil {
			return
		}
		last := fullest.last()
		m := fullest.waiting[last]
		if !r.aside.put(m, fullest.key, fullest.why) {
			return // it has its hands full; the intake closes meanwhile
		}
		fullest.waiting = slices.Delete(fullest.waiting, last, last+1)
		r.narrow--
		r.bytes -= len(m.Data)
		if fullest.empty() {
			delete(r.places, fullest.key)
		}
	}
}

// stored hears that a message is in HELD now, under the group of its key.
func (r *room) stored(group fault.Wait, m *Message, f *fault.Error) {
	r.mu.Lock()
	defer r.unlock()
	p := r.at(group)
	p.aside++
	r.settle(p, m, f)
}

// settle goes on with a place that a message was put back into, here or in HELD.
// One that is new is shut, as the message found it. Callers hold mu.
func (r *room) settle(p *place, m *Message, f *fault.Error) {
	if p.why == nil {
		p.why = f
	}
	if p.epoch > 0 || p.trying > 0 {
		r.release(p)
		return
	}
	p.epoch++
	p.shut, p.next = true, time.Now().Add(r.pause(f, p.rounds))
	if r.wakes.since(p.key, m.began) {
		p.next = time.Time{} // it opened while the message was on its way
	}
	r.kick()
}

// kept takes a message back that could not be set aside.
func (r *room) kept(m *Message, key fault.Wait, f *fault.Error) {
	r.mu.Lock()
	defer r.unlock()
	p := r.at(key)
	p.waiting = append(p.waiting, m)
	r.narrow++
	r.bytes += len(m.Data)
	r.settle(p, m, f)
}

// known takes over what HELD has for this stage: how many messages a group has.
func (r *room) known(groups map[fault.Wait]int) {
	r.mu.Lock()
	defer r.unlock()
	for group, n := range groups {
		if p := r.at(group); p.aside < n || n == 0 {
			p.aside, p.round = n, max(n, p.round)
			if p.why == nil {
				p.why = fault.New(fault.Unavailable, reasonAside, "set aside in %s, by this process or one before it, until %s", events.StreamHeld, opening(group))
			}
			r.release(p)
		}
	}
	for key, p := range r.places {
		if groups[key] == 0 && p.aside > 0 {
			p.aside = 0
			r.release(p)
		}
	}
}

// leave empties the room, for the end of the process.
func (r *room) leave() []*Message {
	r.mu.Lock()
	defer r.unlock()
	var all []*Message
	for _, p := range r.places {
		all = append(all, p.waiting...)
	}
	clear(r.places)
	r.narrow, r.bytes = 0, 0
	return all
}

// view returns what waits, the most first.
func (r *room) view() []Waiting {
	r.mu.Lock()
	defer r.mu.Unlock()
	byGroup := map[fault.Wait]*Waiting{}
	for _, p := range r.places {
		if p.why == nil || p.empty() {
			continue
		}
		key := group(p.key) // not one for every text
		w := byGroup[key]
		if w == nil {
			w = &Waiting{Key: string(key), Kind: key.Kind(), Whole: p.whole, Since: p.since.UTC()}
			byGroup[key] = w
		}
		older := w.Message == "" || p.since.Before(w.Since)
		// What is found in HELD says less than who has met the failure.
		poorer := p.why.Reason == reasonAside && w.Reason != reasonAside
		if w.Message == "" || w.Reason == reasonAside && p.why.Reason != reasonAside || older && !poorer {
			w.Class, w.Reason, w.Message, w.Hint = p.why.Class.String(), p.why.Reason, p.why.Message, p.why.Hint
		}
		if older {
			w.Since = p.since.UTC()
		}
		w.Count += len(p.waiting) + p.trying
		w.Aside += p.aside
		if p.shut && !p.next.IsZero() {
			w.Until = p.next.UTC()
		}
	}
	all := make([]Waiting, 0, len(byGroup))
	for _, w := range byGroup {
		all = append(all, *w)
	}
	sortWaiting(all)
	return all[:min(len(all), viewed)]
}

// reasonAside is why messages wait that were found in HELD: nobody here has met it.
const reasonAside = "set-aside"

// viewed bounds the keys that are shown: thousands of tenants may wait.
const viewed = 64
