package stage

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// aside keeps what the waiting room has no place for in the stream HELD: a hand-off
// like any other. A message is published there, then acknowledged where it came
// from. It keeps its identity: stream, sequence and time of its origin travel with
// it, so it is the same message when it is brought back, by whichever replica.
//
// A process that dies between the two has the message come again from its origin
// while the copy waits. Then it is handled twice, with the same IDs: once.
type aside struct {
	*shared
	hand   *hand
	outbox *outbox
	room   *room
	read   func(jetstream.Msg, string) (*Message, error)

	ackWait time.Duration // of the stage's consumer; what is in hand is kept alive by that

	moves chan move // to be set aside
	known chan struct{}

	mu    sync.Mutex
	wants map[fault.Wait]int // groups to bring messages back of, and how many
	asked time.Time          // of the groups that HELD has
	// nothing is brought back before
	resting time.Time

	warned time.Time // that nothing can be set aside
}

// move is one message on its way to HELD.
type move struct {
	m      *Message
	key    fault.Wait
	f      *fault.Error
	future jetstream.PubAckFuture
}

// stays tells that the message is in HELD already, where it belongs.
func (v *move) stays() bool {
	return v.m.source.stream == events.StreamHeld && group(v.key) == v.m.heldFor()
}

const (
	movesAtOnce  = 256
	asideListed  = 5 * time.Second // between looks at what HELD has
	asideNotice  = 250 * time.Millisecond
	asideForgot  = 10 * time.Minute // a consumer that nobody uses goes
	asideAnswers = 5 * time.Second
	asideWarns   = 5 * time.Minute // between warnings that HELD takes nothing
)

// Headers of what is set aside.
const (
	headerHeldKey    = "Held-Key"    // what it waits for
	headerHeldTold   = "Held-Told"   // its story says so
	headerHeldSaid   = "Held-Said"   // what EmitNow has told
	headerHeldTime   = "Held-Time"   // when the message was published at its origin
	headerHeldRounds = "Held-Rounds" // how often it was set aside
	headerHeldFailed = "Held-Failed" // its failures so far
	headerHeldBody   = "Held-Body"   // the object with its body, if that leaves no room for these headers
)

func newAside(s *shared, h *hand, o *outbox) *aside {
	return &aside{
		shared: s, hand: h, outbox: o, moves: make(chan move, movesAtOnce), known: make(chan struct{}, 1), wants: map[fault.Wait]int{},
	}
}

// put takes a message to set it aside. It reports false if too many are on their
// way already.
func (a *aside) put(m *Message, key fault.Wait, f *fault.Error) bool {
	select {
	case a.moves <- move{m: m, key: key, f: f}:
		return true
	default:
		return false
	}
}

// bring has messages of a group come back, up to n.
func (a *aside) bring(group fault.Wait, n int) {
	a.mu.Lock()
	a.wants[group] = max(a.wants[group], n)
	a.mu.Unlock()
	a.signal()
}

// refresh has a look at what HELD has soon.
func (a *aside) refresh() {
	a.mu.Lock()
	if time.Since(a.asked) > asideNotice {
		a.asked = time.Time{}
	}
	a.mu.Unlock()
	a.signal()
}

func (a *aside) signal() {
	select {
	case a.known <- struct{}{}:
	default:
	}
}

// run sets aside and brings back until ctx ends.
func (a *aside) run(ctx context.Context) {
	tick := time.NewTicker(asideListed)
	defer tick.Stop()
	for {
		a.list(ctx)
		for group, n := range a.wanted() {
			all, left, err := a.fetch(ctx, group, n)
			if err != nil && ctx.Err() == nil {
				a.log.Warn().Err(err).Str("waits_for", string(group)).Msg("bringing back what was set aside; trying again")
				if left = max(left, 1); errors.Is(err, jetstream.ErrStreamNotFound) {
					left = 0 // whoever deleted it has deleted that, too
				}
				a.rest()
			}
			a.room.returned(group, all, left)
		}
		select {
		case first := <-a.moves:
			a.store(ctx, first)
		case <-a.known:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// leave returns what was to be set aside and is not, for the end of the process.
func (a *aside) leave() (all []*Message) {
	for {
		select {
		case v := <-a.moves:
			all = append(all, v.m)
		default:
			return all
		}
	}
}

// rest has nothing come back for a moment: it failed, and would at once again.
func (a *aside) rest() {
	a.mu.Lock()
	a.resting = time.Now().Add(time.Second)
	a.mu.Unlock()
	time.AfterFunc(time.Second, a.signal)
}

func (a *aside) wanted() map[fault.Wait]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Now().Before(a.resting) {
		return nil
	}
	wants := a.wants
	a.wants = map[fault.Wait]int{}
	return wants
}

// store sets aside what is to be set aside, together.
func (a *aside) store(ctx context.Context, first move) {
	all := []move{first}
	for len(all) < movesAtOnce && len(a.moves) > 0 {
		all = append(all, <-a.moves)
	}
	var failed error
	for i := range all {
		v := &all[i]
		if v.stays() {
			continue
		}
		// What it has told already has to be stored: nobody tells it again.
		err := a.outbox.flush(v.m)
		if err == nil {
			var msg *nats.Msg
			if msg, err = a.message(v.m, v.key); err == nil {
				v.future, err = a.outbox.publish(msg)
			}
		}
		if err != nil {
			v.future, failed, v.m.emitted, v.m.stuck = nil, err, nil, unpublishable(err)
		}
	}
	for _, v := range all {
		switch {
		case v.future != nil:
			if err := a.outbox.await(v.future); err != nil {
				failed = err
				v.m.stuck = unpublishable(err) // others are set aside in its place
				a.room.kept(v.m, v.key, v.f)
				continue
			}
			// Dying before this line means a copy in HELD and a redelivery: the same IDs.
			if err := v.m.delivery().Ack(); err != nil {
				v.m.Log().Debug().Err(err).Msg("acknowledging what was set aside; it will come again")
			}
		case v.stays():
			if err := v.m.delivery().NakWithDelay(a.jitter(time.Second)); err != nil {
				v.m.Log().Debug().Err(err).Msg("returning what is set aside; it will come again")
			}
		default:
			a.room.kept(v.m, v.key, v.f)
			continue
		}
		a.met.aside.Inc()
		a.hand.drop(v.m)
		a.room.stored(group(v.key), v.m, v.f)
	}
	a.room.kick() // it may have more
	if failed != nil && ctx.Err() == nil {
		level := zerolog.DebugLevel // it is tried each second, for as long as HELD is full
		if time.Since(a.warned) > asideWarns {
			level, a.warned = zerolog.WarnLevel, time.Now()
		}
		a.log.WithLevel(level).Err(failed).Msg("cannot set messages aside; they stay, and nothing is taken in while they are too many")
		sleep(ctx, time.Second)
	}
}

// message returns what HELD gets of m. A body that leaves no room for headers goes
// to the object store first.
func (a *aside) message(m *Message, key fault.Wait) (*nats.Msg, error) {
	rounds := 1
	if n, err := strconv.Atoi(m.Header.Get(headerHeldRounds)); err == nil && m.source.stream == events.StreamHeld {
		rounds = n + 1
	}
	msg := nats.NewMsg(events.SubjectHeldPrefix + a.stage.Name + "." + heldToken(group(key)))
	m.copyHeader(msg.Header)
	msg.Header.Set(events.HeaderOriginStream, a.stage.In.Stream)
	msg.Header.Set(events.HeaderOriginSeq, strconv.FormatUint(m.Seq, 10))
	msg.Header.Set(events.HeaderOriginSubject, m.Subject)
	msg.Header.Set(headerHeldTime, m.Time.UTC().Format(time.RFC3339Nano))
	msg.Header.Set(headerHeldKey, string(key))
	msg.Header.Set(headerHeldRounds, strconv.Itoa(rounds))
	if m.told != "" {
		msg.Header.Set(headerHeldTold, string(m.told))
	}
	if m.Attempt > 0 {
		msg.Header.Set(headerHeldFailed, strconv.Itoa(m.Attempt))
	}
	for _, e := range m.emitted {
		msg.Header.Add(headerHeldSaid, e)
	}
	msg.Header.Set(events.HeaderMsgID, a.stage.Name+":"+a.once(m)+":"+strconv.Itoa(rounds))
	switch {
	case m.blob != "": // a claim-checked body stays where it is
		return msg, nil
	case m.parked != "":
		msg.Header.Set(headerHeldBody, m.parked)
		return msg, nil
	}
	if msg.Data = m.Data; msg.Size() <= a.outbox.limit+maxHeaders {
		return msg, nil
	}
	// Another delivery of the same message makes another object: whichever copy ends
	// first removes its own.
	name := events.Fingerprint("held", a.stage.Name, a.once(m), strconv.FormatUint(m.delivered, 10))
	if _, err := a.outbox.blobs.PutBytes(a.working, name, m.Data); err != nil {
		return nil, fmt.Errorf("store a large body in %s: %w", events.StoreBlobs, err)
	}
	msg.Data = nil
	msg.Header.Set(headerHeldBody, name)
	return msg, nil
}

// restore gives a message of HELD its identity back, and its body.
func (m *Message) restore() error {
	h := m.Header
	if s := h.Get(events.HeaderOriginSubject); s != "" {
		m.Subject = s
	}
	if seq, err := strconv.ParseUint(h.Get(events.HeaderOriginSeq), 10, 64); err == nil {
		m.Seq = seq
	}
	if t, err := time.Parse(time.RFC3339Nano, h.Get(headerHeldTime)); err == nil {
		m.Time = t
	}
	m.told = fault.Wait(h.Get(headerHeldTold))
	m.emitted = h.Values(headerHeldSaid)
	if n, err := strconv.Atoi(h.Get(headerHeldFailed)); err == nil {
		m.Attempt = n
	}
	if m.parked = h.Get(headerHeldBody); m.parked == "" {
		return nil
	}
	data, err := m.box.blobs.GetBytes(m.working, m.parked)
	switch {
	case errors.Is(err, jetstream.ErrObjectNotFound):
		m.missing = missing(m.parked) // its failure, like that of every body
	case err != nil:
		return fmt.Errorf("fetch the body %s of what was set aside: %w", m.parked, err)
	}
	m.Data = data
	return nil
}

// heldFor returns the group under which the message is in HELD.
func (m *Message) heldFor() fault.Wait { return group(fault.Wait(m.Header.Get(headerHeldKey))) }

// fetch takes up to n messages of a group, and tells how many are left.
func (a *aside) fetch(ctx context.Context, group fault.Wait, n int) (all []*Message, left int, err error) {
	limited, cancel := context.WithTimeout(ctx, asideAnswers)
	defer cancel()
	token := heldToken(group)
	c, err := a.env.JS.CreateOrUpdateConsumer(limited, events.StreamHeld, jetstream.ConsumerConfig{
		Durable: a.stage.Name + "-" + token, FilterSubject: events.SubjectHeldPrefix + a.stage.Name + "." + token,
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: a.ackWait, MaxDeliver: -1, MaxAckPending: -1,
		InactiveThreshold: asideForgot, Metadata: map[string]string{"sluice.waits-for": string(group)},
	})
	if err != nil {
		return nil, 0, fmt.Errorf("the consumer of what waits for %s: %w", group, err)
	}
	// Most of them may have been delivered before: returned, or lost with a process.
	info := c.CachedInfo()
	there := int(info.NumPending) + info.NumAckPending - a.hand.held()[group]
	patience := 500 * time.Millisecond
	if info.NumPending == 0 {
		// All of it was delivered before. What was returned comes at once; for what another
		// replica has in hand nobody waits, because no other group is looked after meanwhile.
		patience = 20 * time.Millisecond
	}
	batch, err := c.Fetch(min(n, max(there, 1), movesAtOnce), jetstream.FetchMaxWait(patience))
	if err != nil {
		return nil, 0, err
	}
	for raw := range batch.Messages() {
		m, err := a.read(raw, events.StreamHeld)
		switch {
		case err != nil:
			a.log.Warn().Err(err).Str("waits_for", string(group)).Msg("bringing back what was set aside; trying again")
			if err := raw.NakWithDelay(a.jitter(time.Second)); err != nil {
				a.log.Debug().Err(err).Msg("returning what is set aside; it will come again")
			}
		case m != nil:
			all = append(all, m)
		}
	}
	if len(all) > 0 { // none: others have them in hand, or they are delayed; list sees them again
		left = max(0, there-len(all))
	}
	if err := batch.Error(); err != nil && !errors.Is(err, nats.ErrTimeout) {
		return all, left, err
	}
	return all, left, nil
}

// list looks at what HELD has for this stage: other replicas, and processes of
// before, have set it aside.
func (a *aside) list(ctx context.Context) {
	a.mu.Lock()
	due := time.Since(a.asked) >= asideListed
	if due {
		a.asked = time.Now()
	}
	a.mu.Unlock()
	if !due {
		return
	}
	limited, cancel := context.WithTimeout(ctx, asideAnswers)
	defer cancel()
	prefix := events.SubjectHeldPrefix + a.stage.Name + "."
	s, err := a.env.JS.Stream(limited, events.StreamHeld)
	var info *jetstream.StreamInfo
	if err == nil {
		info, err = s.Info(limited, jetstream.WithSubjectFilter(prefix+">"))
	}
	groups := map[fault.Wait]int{}
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		a.room.known(groups) // nothing is set aside any more
		return
	case err != nil:
		if ctx.Err() == nil {
			a.log.Debug().Err(err).Msg("looking at what is set aside")
		}
		return
	}
	for subject, n := range info.State.Subjects {
		groups[heldGroup(strings.TrimPrefix(subject, prefix))] = int(n)
	}
	for group, n := range a.hand.held() {
		groups[group] = max(0, groups[group]-n)
	}
	a.room.known(groups)
}

// heldToken writes a group as one token of a subject, so that people can read it
// and stages can read it back.
func heldToken(group fault.Wait) string {
	var b strings.Builder
	for _, c := range []byte(group) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}

// heldGroup is the inverse of heldToken.
func heldGroup(token string) fault.Wait {
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		if token[i] == '=' && i+2 < len(token) {
			if c, err := strconv.ParseUint(token[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(c))
				i += 2
				continue
			}
		}
		b.WriteByte(token[i])
	}
	return fault.Wait(b.String())
}
