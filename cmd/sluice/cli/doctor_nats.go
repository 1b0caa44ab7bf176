package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"sluice/cmd/sluice/services"
	"sluice/pkg/broker"
	"sluice/pkg/clock"
	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// declared returns every stream of the pipeline: the ones behind buckets and
// object stores included.
func declared() []broker.Stream {
	all, seen := broker.Vocabulary(), map[string]bool{}
	for _, s := range all {
		seen[s.Stream()] = true
	}
	for _, s := range services.All() {
		for _, d := range s.Streams {
			if !seen[d.Stream()] {
				seen[d.Stream()] = true
				all = append(all, d)
			}
		}
	}
	return all
}

// titled names a stream as people know it.
func titled(s broker.Stream) string {
	switch s.Kind {
	case broker.KindBucket:
		return "the bucket " + s.Name
	case broker.KindStore:
		return "the object store " + s.Name
	}
	return "the stream " + s.Name
}

// loss says what it means that something is gone, and what to do.
func loss(s broker.Stream) string {
	switch s.Name {
	case events.BucketDocuments:
		return "the states of all documents are lost, and 'sluice rm' does not know them, though their texts stay searchable: 'sluice apply' makes the bucket, and stages that wait for it go on; the indexer writes into it what is searchable, and what was on its way has to be submitted again"
	case events.BucketBudget:
		return "the ledgers are lost: what was spent counts as nothing; restart costd and set the limits to what may still be spent"
	}
	switch s.Kind {
	case broker.KindBucket, broker.KindStore:
		return "what it held is lost; 'sluice apply' makes it, and so does every stage that starts: restart them"
	}
	return "what was in it is lost; 'sluice apply' makes it, and so does every stage that starts: restart them, and submit again what was not final"
}

// crowd says what happens when a stream is full.
func crowd(s broker.Stream) string {
	switch s.Name {
	case events.BucketCache:
		return "nothing more is cached when it is full, and may be paid for again; 'nats stream edit KV_cache' gives it more room"
	case events.StreamEvents:
		return "the oldest events make room for new ones, before their seven days are over"
	case events.StreamHeld:
		return "what waits for long stays in the hands of its stage when it is full; 'sluice status' shows what waits"
	case events.StreamDeadLetter:
		return "what fails cannot be set aside when it is full; 'sluice dead ls', then replay or purge them"
	}
	if s.Kind == broker.KindQueue {
		return "the stages before it wait when it is full; see which stage is behind in 'sluice status'; 'nats stream edit' gives it more room"
	}
	return "nothing more can be written to it when it is full; 'nats stream edit " + s.Stream() + "' gives it more room"
}

// checkStreams looks for every stream, bucket and store that is declared, whether
// they have room, and whether the server still writes them. It reports whether
// enough is there to go on.
func checkStreams(ctx context.Context, u *checkup, c *client) bool {
	before := len(u.Checks)
	infos := map[string]*jetstream.StreamInfo{}
	for _, d := range declared() {
		s, err := c.js.Stream(ctx, d.Stream())
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			u.fail("streams", loss(d), "%s is missing", titled(d))
			continue
		case err != nil:
			u.err("streams", fmt.Errorf("look at %s: %w", titled(d), err))
			return false
		}
		info := s.CachedInfo()
		infos[d.Stream()] = info
		if d.Kind == broker.KindQueue && (info.Config.Retention != jetstream.WorkQueuePolicy || info.Config.Discard != jetstream.DiscardNew) {
			u.fail("streams", "empty and remove it; it is made again at the next start", "%s has retention %s and discard %s, which can lose work",
				titled(d), info.Config.Retention, info.Config.Discard)
		}
		checkRoom(u, d, info)
	}
	if len(infos) == 0 {
		u.Checks = u.Checks[:before]
		u.fail("streams", "every stage makes them when it starts: 'sluice up'", "there is no Sluice on this server")
		return false
	}
	unasked := checkWrites(ctx, u, c, infos)
	checkAge(u, infos)
	checkClock(ctx, u, c, infos)
	if len(u.Checks) == before {
		note := ""
		if unasked > 0 {
			note = fmt.Sprintf("; not checked is whether NATS still writes %d of them: that takes the right to remove messages (its log says so, too)", unasked)
		}
		u.ok("streams", "%d streams, buckets and object stores, all there and with room%s", len(infos), note)
	}
	if kv, err := c.js.KeyValue(ctx, events.BucketDocuments); err == nil {
		c.documents = kv
	}
	return true
}

// nearly is the part of a limit from which doctor speaks up.
const nearly = 0.8

func checkRoom(u *checkup, d broker.Stream, info *jetstream.StreamInfo) {
	used := func(have uint64, limit int64) float64 {
		if limit <= 0 {
			return 0
		}
		return float64(have) / float64(limit)
	}
	state, cfg := info.State, info.Config
	part := max(used(state.Bytes, cfg.MaxBytes), used(state.Msgs, cfg.MaxMsgs))
	switch {
	case part < nearly:
	case part >= 0.99 && cfg.Discard == jetstream.DiscardNew:
		u.fail("streams", crowd(d), "%s is full: it holds %s of %s", titled(d), bytesText(int64(state.Bytes)), bytesText(cfg.MaxBytes))
	default:
		u.warn("streams", crowd(d), "%s is nearly full: it holds %s of %s", titled(d), bytesText(int64(state.Bytes)), bytesText(cfg.MaxBytes))
	}
}

// checkWrites finds streams that the server does not write any more. It stops for
// good when it has failed once, as with a full disk: publishers get no answer, all
// else looks well. The server says so to whoever removes a message, also one that
// cannot exist. It returns how many streams could not be asked, because the
// user may not remove messages there.
func checkWrites(ctx context.Context, u *checkup, c *client, infos map[string]*jetstream.StreamInfo) (unasked int) {
	// A right that is missing is no answer, but an error of the connection: it ends
	// the question that is being asked.
	var giveUp atomic.Value // of a context.CancelFunc
	before := c.nc.ErrorHandler()
	c.nc.SetErrorHandler(func(nc *nats.Conn, sub *nats.Subscription, err error) {
		switch {
		case errors.Is(err, nats.ErrPermissionViolation):
			if cancel, asked := giveUp.Load().(context.CancelFunc); asked {
				cancel()
			}
		case before != nil:
			before(nc, sub, err)
		}
	})
	defer c.nc.SetErrorHandler(before)
	for _, d := range declared() {
		if infos[d.Stream()] == nil || d.Kind == broker.KindBucket || d.Kind == broker.KindStore {
			continue // these refuse removals
		}
		s, err := c.js.Stream(ctx, d.Stream())
		if err != nil {
			continue // it was there a moment ago; the next run of doctor sees it
		}
		asking, cancel := context.WithTimeout(ctx, 2*time.Second)
		giveUp.Store(cancel)
		err = s.DeleteMsg(asking, math.MaxInt64)
		cancel()
		if !errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
			unasked++
			continue
		}
		// What is expected is that there is no such message.
		if text := err.Error(); strings.Contains(text, "write ") || strings.Contains(text, "no space left") {
			u.fail("streams", "make room on the disk of NATS, then restart nats-server: it does not write the stream again by itself ('sluice up' restarts its own)",
				"NATS does not store messages in %s any more: %s", titled(d), text)
		}
	}
	return unasked
}

// checkAge finds a bucket of documents that is younger than the stream of
// submissions: it was lost and made again.
func checkAge(u *checkup, infos map[string]*jetstream.StreamInfo) {
	submissions, documents := infos[events.StreamDocuments], infos["KV_"+events.BucketDocuments]
	if submissions == nil || documents == nil {
		return
	}
	// All are made by one start, and events follow only then.
	told := infos[events.StreamEvents]
	if documents.Created.Sub(submissions.Created) < time.Minute && (told == nil || told.State.Msgs == 0 || told.State.FirstTime.After(documents.Created)) {
		return
	}
	u.warn("streams", "the indexer writes into it what is searchable, when it starts and every five minutes (--reconcile); submit again what was on its way or had failed",
		"the bucket %s was made anew on %s: the states of older documents are lost", events.BucketDocuments, stamp(documents.Created))
}

// checkClock finds revisions that run ahead of the server's time: its clock was wrong,
// or an index holds what a wrong clock has made.
func checkClock(ctx context.Context, u *checkup, c *client, infos map[string]*jetstream.StreamInfo) {
	info := infos["KV_"+events.BucketPipeline]
	if info == nil {
		return
	}
	kv, err := c.js.KeyValue(ctx, events.BucketPipeline)
	var m clock.Mark
	if err == nil {
		m, err = clock.Load(ctx, kv)
	}
	if err != nil {
		u.err("streams", err)
		return
	}
	if ahead := clock.Time(m.Clock).Sub(info.TimeStamp); ahead > time.Minute {
		u.warn("streams", "set the server's clock by NTP; nothing else has to be done: submissions are ordered after what there is, until the time has caught up",
			"revisions are %v ahead of the NATS server's time: its clock is, or was, wrong", ahead.Round(time.Second))
	}
}

// checkConsumers finds consumers that are gone or paused, and work that nobody
// fetches.
func checkConsumers(ctx context.Context, u *checkup, c *client, running map[string][]micro.Stats) {
	before, waiting := len(u.Checks), uint64(0)
	for _, service := range services.All() {
		for _, d := range service.Stages {
			s, err := c.js.Stream(ctx, d.In.Stream)
			if err != nil {
				continue // checkStreams has said it
			}
			stream := d.In.Stream
			info, err := consumerOf(ctx, s, d.Name)
			if errors.Is(err, jetstream.ErrConsumerNotFound) {
				// A stage of somebody's own may stand before it, and feed it.
				if other := c.fedFrom(ctx, d.Name, stream); other != nil {
					stream, info, err = other.Stream, other, nil
				}
			}
			switch {
			case errors.Is(err, jetstream.ErrConsumerNotFound) && (len(running[d.Name]) > 0 || s.CachedInfo().State.Msgs > 0 && !d.Optional && !d.Observer):
				u.fail("consumers", "restart the "+d.Name+", or run 'sluice apply': both make it", "the consumer %s of %s is missing: nothing is delivered to the %s",
					d.Name, d.In.Stream, d.Name)
				continue
			case errors.Is(err, jetstream.ErrConsumerNotFound):
				continue // nobody has ever needed it
			case err != nil:
				u.err("consumers", fmt.Errorf("look at the consumer %s of %s: %w", d.Name, d.In.Stream, err))
				continue
			}
			waiting += info.NumPending
			switch {
			case info.Paused:
				u.fail("consumers", fmt.Sprintf("'nats consumer resume %s %s'", stream, d.Name), "the consumer %s of %s is paused for %v more: nothing is delivered to the %s",
					d.Name, stream, info.PauseRemaining.Round(time.Second), d.Name)
			case info.NumPending > 0 && info.NumWaiting == 0 && info.NumAckPending == 0 && len(running[d.Name]) == 0:
				u.fail("consumers", "start it, or all stages with 'sluice up'", "%s for %s, and nobody fetches them", counted(int(info.NumPending), "message", "waits", "wait"), d.Name)
			}
		}
	}
	if len(u.Checks) == before {
		u.ok("consumers", "%s waiting over all stages", plural(int(waiting), "message"))
	}
}

func consumerOf(ctx context.Context, s jetstream.Stream, name string) (*jetstream.ConsumerInfo, error) {
	c, err := s.Consumer(ctx, name)
	if err != nil {
		return nil, err
	}
	return c.Info(ctx)
}

// fedFrom returns the consumer of a stage on another hand-off stream than the one that
// it takes from by default, or nil.
func (c *client) fedFrom(ctx context.Context, name, but string) *jetstream.ConsumerInfo {
	for _, stream := range c.handoffs(ctx) {
		if stream == but {
			continue
		}
		s, err := c.js.Stream(ctx, stream)
		if err != nil {
			continue // what is missing is told elsewhere
		}
		if info, err := consumerOf(ctx, s, name); err == nil {
			return info
		}
	}
	return nil
}

const reasonBucketLost = "bucket-lost"

// lost is the error of a command that needs the bucket of documents, where the rest
// of a pipeline is there.
func (c *client) lost(ctx context.Context) error {
	if _, err := c.js.Stream(ctx, events.StreamDocuments); err != nil {
		return nil
	}
	return fault.New(fault.Execution, reasonBucketLost, "the bucket %s is missing: the states of all documents are lost", events.BucketDocuments).
		WithHint("'sluice doctor' says what to do")
}
