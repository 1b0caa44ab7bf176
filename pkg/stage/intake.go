package stage

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/events"
)

// intake moves messages from the stage's stream to its queue, as long as the hand
// has room and the stage does not wait as a whole.
type intake struct {
	*shared
	hand     *hand
	queue    *queue
	capacity int         // active messages above which pulling stops
	closed   func() bool // the stage waits as a whole
	usual    int         // average bytes of the messages before; used by pull alone
	cons     atomic.Pointer[jetstream.Consumer]
	ackWait  atomic.Int64 // of the consumer, in nanoseconds
	down     atomic.Pointer[string]
	gone     atomic.Bool // the consumer, or its stream
}

func newIntake(s *shared, h *hand, q *queue, closed func() bool) *intake {
	return &intake{
		shared: s, hand: h, queue: q, closed: closed,
		capacity: max(2*s.stage.Workers*s.stage.Batch.Items, 16), usual: events.PackBytes,
	}
}

// bind creates or finds the consumer.
func (in *intake) bind(ctx context.Context) error {
	d := in.stage.Durable()
	c, err := in.env.Topology.Consumer(ctx, in.env.JS, d, in.env.Settings.AckWait, in.env.Settings.MaxInFlight)
	if err != nil {
		return fmt.Errorf("the consumer on %s: %w", d.Stream, err)
	}
	in.gone.Store(false)
	in.ackWait.Store(int64(c.CachedInfo().Config.AckWait))
	in.cons.Store(&c)
	return nil
}

// prefetch is the size of a pull. All that it brings is in memory.
func (in *intake) prefetch() int {
	return max(8, min(in.stage.Workers*in.stage.Batch.Items, 512, prefetchBytes/max(in.usual, 1)))
}

// prefetchBytes bounds the bytes of a pull, by the average of the messages before.
const prefetchBytes = 16 << 20

// pull runs until its context ends. It fails if the connection is closed for good.
func (in *intake) pull() error {
	for in.stopping.Err() == nil {
		if !in.waitRoom(0) {
			continue
		}
		if in.gone.Load() {
			if err := in.bind(in.stopping); err != nil {
				in.say("there is no consumer of " + in.stage.In.Stream + ": " + err.Error())
				in.log.Debug().Err(err).Msg("cannot make the consumer; trying again")
				sleep(in.stopping, time.Second)
				continue
			}
			in.say("")
			in.log.Warn().Msg("the consumer was gone, and is made again")
		}
		size := in.prefetch()
		it, err := (*in.cons.Load()).Messages(
			jetstream.PullMaxMessages(size),
			jetstream.PullExpiry(5*time.Second),
			jetstream.PullHeartbeat(time.Second),
		)
		if err == nil {
			err = in.pullFrom(it, size)
		}
		switch {
		case err == nil:
		case errors.Is(err, nats.ErrConnectionClosed):
			if in.stopping.Err() == nil {
				return fmt.Errorf("the NATS connection is closed: %w", err)
			}
		case errors.Is(err, jetstream.ErrConsumerDeleted), errors.Is(err, jetstream.ErrConsumerNotFound):
			in.gone.Store(true)
		default:
			in.log.Debug().Err(err).Msg("pulling again")
			sleep(in.stopping, 100*time.Millisecond)
		}
	}
	return nil
}

// pullFrom reads one iterator until the process should stop, there is no room
// for a second, or the iterator fails. It leaves nothing behind in the client's
// buffer, where no keep-alive would reach it.
func (in *intake) pullFrom(it jetstream.MessagesContext, size int) error {
	defer it.Stop()
	defer context.AfterFunc(in.stopping, it.Drain)()
	silent, draining := 0, false
	drain := func() {
		if !draining {
			draining = true
			it.Drain() // the loop goes on until the buffer is empty
		}
	}
	for {
		msg, err := it.Next(jetstream.NextMaxWait(time.Second))
		switch {
		case err == nil:
			silent = 0
			in.usual += (len(msg.Data()) - in.usual) / 8
			in.take(msg, in.stage.In.Stream)
			if n := in.prefetch(); n >= 2*size || 2*n <= size || !draining && !in.waitRoom(time.Second) {
				drain() // pulls of another size from now on, or none for a while
			}
		case errors.Is(err, nats.ErrTimeout):
			if in.closed() {
				drain() // the stage waits as a whole: no pulls
			}
		case errors.Is(err, jetstream.ErrNoHeartbeat):
			// Normal around a reconnect; when it lasts, a new pull helps.
			if silent++; silent == 3 {
				drain()
			}
		case errors.Is(err, jetstream.ErrMsgIteratorClosed):
			return nil
		default:
			return err
		}
	}
}

// waitRoom reports whether another message may be taken, waiting up to d for it
// (0 = as long as the stage runs).
func (in *intake) waitRoom(d time.Duration) bool {
	var timeout <-chan time.Time
	for !in.free() {
		if d > 0 && timeout == nil {
			timeout = time.After(d)
		}
		select {
		case <-in.hand.freed:
		case <-timeout:
			return false
		case <-in.stopping.Done():
			return false
		}
	}
	return true
}

// free tells whether the hand has room. By weight, it holds a batch for every
// worker and one more to come: what is beyond that is better off with another
// replica.
func (in *intake) free() bool {
	if in.closed() {
		return false
	}
	active, weight := in.hand.load()
	b := in.stage.Batch
	return active < in.capacity && (b.Weight == 0 || weight < (in.stage.Workers+1)*b.Weight)
}

// take puts a delivery in the hand and in the queue. A message that is in the hand
// already was redelivered while it waited: the newer delivery is the one to
// acknowledge.
func (in *intake) take(raw jetstream.Msg, stream string) {
	m, err := in.read(raw, stream)
	if err != nil {
		in.log.Error().Err(err).Str("subject", raw.Subject()).Msg("not a JetStream delivery; ignored")
		return
	}
	if m != nil {
		in.queue.push(m)
	}
}

// read puts a delivery in the hand. It returns nil for one that is there already.
func (in *intake) read(raw jetstream.Msg, stream string) (*Message, error) {
	meta, err := raw.Metadata()
	if err != nil {
		return nil, err
	}
	from := source{stream, meta.Sequence.Stream, meta.Timestamp.UnixNano()}
	if m := in.hand.find(from); m != nil {
		m.redelivered(raw)
		return nil, nil
	}
	m := &Message{
		Subject: raw.Subject(), Header: raw.Headers(), Data: raw.Data(), Seq: meta.Sequence.Stream, Time: meta.Timestamp,
		shared: in.shared, source: from, raw: raw, touched: time.Now(), delivered: meta.NumDelivered,
	}
	if m.Header == nil {
		m.Header = nats.Header{}
	}
	if stream != in.stage.In.Stream {
		if err := m.restore(); err != nil {
			return nil, err
		}
	}
	m.identify()
	m.weight = in.stage.weigh(m)
	in.hand.add(m) // only one goroutine takes from a stream: nobody was faster
	in.met.in.Inc()
	return m, nil
}

// keepAlive tells the server that what is in hand is being worked on, or waits.
func (in *intake) keepAlive(ctx context.Context) {
	for {
		// A consumer that is made again may wait for another time.
		every := time.Duration(in.ackWait.Load()) / 3
		if !sleep(ctx, every/2) {
			return
		}
		for _, m := range in.hand.silent(time.Now().Add(-every)) {
			if err := m.inProgress(); err != nil {
				in.log.Debug().Err(err).Msg("keeping a message alive")
			}
		}
	}
}

// observe keeps the gauges of what waits in the stream, and notices a stream or a
// consumer that is gone or paused.
func (in *intake) observe(ctx context.Context) {
	for {
		limited, cancel := context.WithTimeout(ctx, 3*time.Second)
		info, err := (*in.cons.Load()).Info(limited)
		cancel()
		switch {
		case err == nil:
			in.met.backlog.Set(float64(info.NumPending))
			in.met.pending.Set(float64(info.NumAckPending))
			in.say("")
			if info.Paused {
				in.say(fmt.Sprintf("the consumer %s of %s is paused for %v", in.stage.Name, in.stage.In.Stream, info.PauseRemaining.Round(time.Second)))
			}
		case ctx.Err() != nil:
			return
		case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, nats.ErrStreamNotFound):
			in.gone.Store(true) // no pull may have been open, which would have been told
			in.say("there is no stream " + in.stage.In.Stream)
		case errors.Is(err, jetstream.ErrConsumerNotFound):
			in.gone.Store(true)
			in.say("there is no consumer " + in.stage.Name + " of " + in.stage.In.Stream)
		}
		if !sleep(ctx, 5*time.Second) {
			return
		}
	}
}

// say shows what the stage lacks to take messages in; "" is nothing.
func (in *intake) say(what string) {
	was := in.down.Swap(&what)
	if (was == nil && what != "") || (was != nil && *was != what && what != "") {
		in.log.Error().Msg("takes nothing in: " + what)
	}
}

// lacks returns what say was told last.
func (in *intake) lacks() string {
	if p := in.down.Load(); p != nil {
		return *p
	}
	return ""
}
