package clock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// Key is the key of the mark in the bucket "pipeline".
const Key = "clock"

// Clock reads the clocks of submissions for one process. Watch makes one.
type Clock struct {
	ctx context.Context // of Watch
	js  jetstream.JetStream
	kv  jetstream.KeyValue
	log zerolog.Logger

	saving sync.Mutex // held by whoever writes the mark

	mu       sync.Mutex // guards what follows
	reader   *Reader
	revision uint64 // of the mark in the bucket
	warned   time.Time
	own      uint64    // the latest message that was delivered to this process for the first time
	looked   time.Time // at the end of the stream
	doubt    bool      // the latest look failed
}

// Watch returns a clock that follows the mark in the bucket until ctx ends.
func Watch(ctx context.Context, js jetstream.JetStream, log zerolog.Logger) (*Clock, error) {
	kv, err := js.KeyValue(ctx, events.BucketPipeline)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", events.BucketPipeline, err)
	}
	stream, err := js.Stream(ctx, events.StreamDocuments)
	if err != nil {
		return nil, fmt.Errorf("look at the stream %s: %w", events.StreamDocuments, err)
	}
	m, revision, err := load(ctx, kv)
	if err != nil {
		return nil, err
	}
	c := &Clock{ctx: ctx, js: js, kv: kv, log: log, reader: NewReader(m), revision: revision}
	c.reader.Rewind(stream.CachedInfo().State.LastSeq)
	w, err := broker.NewWatch(ctx, kv, Key, c.hear)
	if err != nil {
		return nil, fmt.Errorf("watch the bucket %s: %w", events.BucketPipeline, err)
	}
	context.AfterFunc(ctx, w.Close)
	return c, nil
}

// hear takes over what another process has written.
func (c *Clock) hear(e jetstream.KeyValueEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.Revision() <= c.revision {
		return
	}
	c.revision = e.Revision()
	c.reader.Adopt(decode(e.Value()))
}

// Read returns the clock of a submission that has arrived, from memory. first tells
// that it was never delivered before. Such messages come in the order of their
// sequences: if one does not, Read asks the server whether the stream still is what
// it was.
func (c *Clock) Read(document string, sequence uint64, t time.Time, first bool) uint64 {
	if first && c.odd(sequence) {
		if err := c.look(c.ctx, sequence, t); err != nil {
			c.log.Debug().Err(err).Msg("looking whether the stream was restored; it is looked again before the clock is used")
		}
	}
	c.mu.Lock()
	at, step := c.reader.Read(document, sequence, t)
	c.mu.Unlock()
	if step == nil {
		c.ahead(t)
		return at
	}
	level := c.log.Info()
	if step.Back >= slack {
		level = c.log.Warn()
	}
	level.Uint64("sequence", sequence).Time("stored", step.Time).Time("ordered_as", Time(step.Floor)).
		Dur("back", time.Duration(step.Back)*time.Microsecond).
		Str("hint", "see the clock of the NATS server; docs/concepts.md says how submissions are ordered").
		Msg("the NATS server's clock ran backwards: submissions are ordered by their sequence until it has caught up")
	return at
}

// lookEvery bounds how often a process looks at the stream because another one is
// ahead, which is usual.
const lookEvery = time.Second

// odd tells whether a message that was never delivered before has a sequence that
// was read already, here or, as far as the mark tells, by another process.
func (c *Clock) odd(sequence uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	back := sequence <= c.own
	c.own = sequence
	return back || sequence <= c.reader.Last() && time.Since(c.looked) >= lookEvery
}

// recent is the age, by the server's own clock, below which a message is not from a
// backup.
const recent = 10 * time.Second

// look finds out whether the stream was restored from a backup, or made again, while
// this process ran. Then what comes next is newer than all that was read of the stream
// before. What was in the backup keeps its clock.
func (c *Clock) look(ctx context.Context, sequence uint64, t time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s, err := c.js.Stream(ctx, events.StreamDocuments)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.doubt = err != nil; err != nil {
		return err
	}
	c.looked = time.Now()
	info := s.CachedInfo()
	last, was := info.State.LastSeq, c.reader.Last()
	if last >= was && !c.reader.Another(sequence, t) {
		return nil
	}
	if age := info.TimeStamp.Sub(t); age < recent {
		last = sequence - 1
	}
	if c.reader.Rewind(min(last, max(was, 1)-1)) {
		c.log.Warn().Uint64("ends", last).Uint64("ended", was).
			Msg("the stream DOCUMENTS ends earlier than it did: it was restored or made again; what is submitted now is ordered after all that was")
	}
	return nil
}

// ahead warns of a server whose clock is far from this machine's.
func (c *Clock) ahead(t time.Time) {
	by := time.Until(t)
	if by < time.Minute {
		return
	}
	c.mu.Lock()
	told := time.Since(c.warned) < 10*time.Minute
	if !told {
		c.warned = time.Now()
	}
	c.mu.Unlock()
	if !told {
		c.log.Warn().Dur("by", by).Str("hint", "set both clocks by NTP").
			Msg("the NATS server's clock is ahead of this machine's: revisions run ahead, too")
	}
}

// Keep returns the clock of a submission that Read has seen, once it may be used:
// whatever happens to this process, every other one will read the same. It writes
// the mark if that is due. Its faults wait for the bucket.
func (c *Clock) Keep(ctx context.Context, sequence uint64, t time.Time) (uint64, error) {
	c.mu.Lock()
	doubt := c.doubt
	c.mu.Unlock()
	if doubt {
		if err := c.look(ctx, sequence, t); err != nil {
			return 0, fault.Wrap(err, fault.Unavailable, "clock", "look whether the stream %s was restored", events.StreamDocuments).
				WithHint("it goes on when NATS answers").After(time.Second).WaitFor(fault.On(fault.WaitStore, events.StreamDocuments))
		}
		c.Read(strconv.FormatUint(sequence, 10), sequence, t, false) // as one that arrives now
	}
	at, due := c.due(sequence, t)
	if due == nil {
		return at, nil
	}
	c.saving.Lock()
	defer c.saving.Unlock()
	for n := range attempts {
		if at, due = c.due(sequence, t); due == nil {
			return at, nil
		}
		c.mu.Lock()
		revision := c.revision
		c.mu.Unlock()
		written, err := store(ctx, c.kv, *due, revision)
		switch {
		case err == nil:
			c.mu.Lock()
			c.reader.Stored(*due, time.Now())
			c.revision = max(c.revision, written)
			c.mu.Unlock()
		case conflict(err):
			if err := apart(ctx, n); err != nil {
				return 0, away(err, "write")
			}
			m, revision, err := load(ctx, c.kv)
			if err != nil {
				return 0, err
			}
			c.mu.Lock()
			c.revision = revision
			c.reader.Adopt(m)
			c.mu.Unlock()
		default:
			return 0, away(err, "write")
		}
	}
	return 0, away(errors.New("other processes write it all the time"), "write")
}

func (c *Clock) due(sequence uint64, t time.Time) (uint64, *Mark) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.reader.of(sequence, micros(t))
	return at, c.reader.Due(at, time.Now())
}

// Raise has what is submitted after sequence be newer than the clock at: an index
// that outlived its stream may hold what no mark knows of.
func Raise(ctx context.Context, kv jetstream.KeyValue, sequence, at uint64) error {
	for n := range attempts {
		m, revision, err := load(ctx, kv)
		if err != nil || m.Until >= at && m.Clock >= at {
			return err
		}
		m.V = 1
		m.Raise(sequence, at)
		if _, err = store(ctx, kv, m, revision); err == nil || !conflict(err) {
			return away(err, "write")
		}
		if err := apart(ctx, n); err != nil {
			return away(err, "write")
		}
	}
	return away(errors.New("other processes write it all the time"), "write")
}

// attempts bounds how often a write that another process was faster with is tried.
const attempts = 40

// apart waits for a moment, so that processes that write at once do not go on to.
func apart(ctx context.Context, n int) error {
	select {
	case <-time.After(rand.N(min(time.Millisecond<<n, 50*time.Millisecond))):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Load returns the mark as it is stored.
func Load(ctx context.Context, kv jetstream.KeyValue) (Mark, error) {
	m, _, err := load(ctx, kv)
	return m, err
}

func load(ctx context.Context, kv jetstream.KeyValue) (Mark, uint64, error) {
	e, err := kv.Get(ctx, Key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Mark{}, 0, nil
	}
	if err != nil {
		return Mark{}, 0, away(err, "read")
	}
	return decode(e.Value()), e.Revision(), nil
}

// decode returns an empty mark for foreign bytes: clocks are still the server's.
func decode(b []byte) Mark {
	var m Mark
	if json.Unmarshal(b, &m) != nil {
		return Mark{}
	}
	return m
}

func store(ctx context.Context, kv jetstream.KeyValue, m Mark, revision uint64) (uint64, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return 0, err
	}
	if revision == 0 {
		return kv.Create(ctx, Key, body)
	}
	return kv.Update(ctx, Key, body, revision)
}

func conflict(err error) bool {
	return errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch)
}

func away(err error, doing string) error {
	if err == nil {
		return nil
	}
	return fault.Wrap(err, fault.Unavailable, "clock", "%s %s in the bucket %s", doing, Key, events.BucketPipeline).
		WithHint("it goes on when the bucket answers").After(time.Second).WaitFor(fault.On(fault.WaitStore, events.BucketPipeline))
}
