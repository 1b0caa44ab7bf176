package costd

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/budget"
	"sluice/pkg/events"
)

// desk writes what no grant waits for: the states that are shown, the mark, and
// the removal of what is over. It works beside the goroutine that grants, one
// write at a time. Of several writes of a key the last one counts.
type desk struct {
	g       *Grantor
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	wake    chan struct{}

	mu     sync.Mutex
	order  []string
	todo   map[string]errand
	number uint64 // to be marked
	marked uint64
}

// errand is one write: data for a key, or its removal.
type errand struct {
	data []byte // nil = remove the key
	upTo uint64 // remove nothing newer; 0 = whatever is there
}

// deskFull is how many errands may wait. Beyond, housekeeping pauses.
const deskFull = 2048

func newDesk(g *Grantor) *desk {
	d := &desk{g: g, wake: make(chan struct{}, 1), todo: map[string]errand{}}
	d.ctx, d.cancel = context.WithCancel(g.ctx)
	d.running.Go(d.run)
	return d
}

// close ends the work. What is left undone is done by the next leader.
func (d *desk) close() {
	d.cancel()
	d.running.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	d.writeMark(ctx)
}

func (d *desk) nudge() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// add has a key written or removed.
func (d *desk) add(key string, e errand) {
	d.mu.Lock()
	if _, ok := d.todo[key]; !ok {
		d.order = append(d.order, key)
	}
	d.todo[key] = e
	d.mu.Unlock()
	d.nudge()
}

func (d *desk) full() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.order) >= deskFull
}

// mark has the number of a commit noted in the other bucket.
func (d *desk) mark(n uint64) {
	d.mu.Lock()
	d.number = max(d.number, n)
	d.mu.Unlock()
	d.nudge()
}

func (d *desk) run() {
	for d.ctx.Err() == nil {
		d.writeMark(d.ctx)
		if !d.next() {
			select {
			case <-d.ctx.Done():
			case <-d.wake:
			}
		}
	}
}

// next does one errand. It reports false if there is none.
func (d *desk) next() bool {
	d.mu.Lock()
	if len(d.order) == 0 {
		d.mu.Unlock()
		return false
	}
	key := d.order[0]
	d.order = d.order[1:]
	e := d.todo[key]
	delete(d.todo, key)
	d.mu.Unlock()
	ctx, cancel := context.WithTimeout(d.ctx, 5*time.Second)
	defer cancel()
	err := d.do(ctx, key, e)
	if err == nil || d.ctx.Err() != nil {
		return true
	}
	d.g.cfg.Log.Warn().Err(err).Str("key", key).Msg("writing to the budget's bucket; again soon")
	d.mu.Lock()
	if _, newer := d.todo[key]; !newer {
		d.order, d.todo[key] = append(d.order, key), e
	}
	d.mu.Unlock()
	select {
	case <-d.ctx.Done():
	case <-time.After(beat):
	}
	return true
}

// do writes a key, or removes it with its marker: there is one for each lease
// and tenant that ever was, and nobody wants to know.
func (d *desk) do(ctx context.Context, key string, e errand) error {
	if e.data != nil {
		_, err := d.g.kv.Put(ctx, key, e.data)
		return err
	}
	stream, err := d.g.cfg.JS.Stream(ctx, bucketStream)
	if err != nil {
		return err
	}
	options := []jetstream.StreamPurgeOpt{jetstream.WithPurgeSubject(keyPrefix + key)}
	if e.upTo > 0 {
		options = append(options, jetstream.WithPurgeSequence(e.upTo+1))
	}
	return stream.Purge(ctx, options...)
}

// MarkKey is the key in the bucket "pipeline" with the number of the newest
// commit. It is kept apart from the ledgers, so that ledgers which are older than
// they once were are known by it.
const MarkKey = "budget.mark"

// writeMark notes how far the ledgers are. A mark never goes back.
func (d *desk) writeMark(ctx context.Context) {
	d.mu.Lock()
	number, marked := d.number, d.marked
	d.mu.Unlock()
	if number <= marked {
		return
	}
	if err := d.g.raiseMark(ctx, number); err != nil {
		d.g.cfg.Log.Debug().Err(err).Msg("marking how far the ledgers are")
		return
	}
	d.mu.Lock()
	d.marked = number
	d.mu.Unlock()
}

func (g *Grantor) raiseMark(ctx context.Context, number uint64) error {
	text := strconv.FormatUint(number, 10)
	e, err := g.marks.Get(ctx, MarkKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		_, err = g.marks.Create(ctx, MarkKey, []byte(text))
		return err
	}
	if err != nil {
		return err
	}
	if n, err := strconv.ParseUint(string(e.Value()), 10, 64); err != nil || n >= number {
		return err
	}
	_, err = g.marks.Update(ctx, MarkKey, []byte(text), e.Revision())
	return err
}

// show has a state written.
func (d *desk) show(s budget.State) { d.add(budget.StateKey(s.Scope), errand{data: events.Encode(s)}) }
