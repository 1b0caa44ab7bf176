package costd

import (
	"container/heap"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/budget"
	"sluice/pkg/events"
	"sluice/services/costd/ledger"
)

// book is the bucket in memory, with indexes for what is done every second: no
// round walks over everything.
type book struct {
	ledgers map[string]entry[ledger.Ledger]
	leases  map[string]entry[ledger.Lease]
	limits  map[budget.Scope]entry[budget.Limits]
	states  map[budget.Scope]shown // as they were when the book was read
	windows map[windowKey]map[string]struct{}
	due     due    // leases by when they have to be looked at
	commit  uint64 // counts the commits
	written uint64 // revision of the entry with that number
}

type entry[T any] struct {
	value    *T
	revision uint64
}

// windowKey is what ledgers are kept and forgotten by: their window, and whether
// they are a tenant's, of which there may be any number.
type windowKey struct {
	window string
	tenant bool
}

// commitKey has the number of the newest commit. It is written by every commit
// and by nothing else: unlike the stream's sequence it does not grow when a
// process only tries.
const commitKey = "commit"

type commitNumber struct {
	N uint64 `json:"n"`
}

func newBook() *book {
	return &book{
		ledgers: map[string]entry[ledger.Ledger]{}, leases: map[string]entry[ledger.Lease]{},
		limits: map[budget.Scope]entry[budget.Limits]{}, states: map[budget.Scope]shown{},
		windows: map[windowKey]map[string]struct{}{},
	}
}

func (b *book) putLedger(key string, v *ledger.Ledger, revision uint64) {
	if _, ok := b.ledgers[key]; !ok {
		k := windowOf(key)
		if b.windows[k] == nil {
			b.windows[k] = map[string]struct{}{}
		}
		b.windows[k][key] = struct{}{}
	}
	b.ledgers[key] = entry[ledger.Ledger]{v, revision}
}

func (b *book) dropLedger(key string) {
	delete(b.ledgers, key)
	k := windowOf(key)
	if delete(b.windows[k], key); len(b.windows[k]) == 0 {
		delete(b.windows, k)
	}
}

func windowOf(key string) windowKey {
	i := strings.LastIndexByte(key, '.')
	return windowKey{key[i+1:], strings.HasPrefix(key, "ledger.tenant.")}
}

// start returns when the window began.
func (k windowKey) start() (time.Time, error) {
	if strings.HasPrefix(k.window, "h") {
		return time.Parse("h2006010215", k.window)
	}
	return time.Parse("d20060102", k.window)
}

func (b *book) putLease(id string, v *ledger.Lease, revision uint64) {
	if _, ok := b.leases[id]; !ok {
		heap.Push(&b.due, dueLease{id, deadline(v)})
	}
	b.leases[id] = entry[ledger.Lease]{v, revision}
}

// deadline is when a lease has to be looked at.
func deadline(l *ledger.Lease) time.Time {
	if l.Closed {
		return l.Expires.Add(kept)
	}
	return l.Expires
}

// due is a heap of leases. A lease that was renewed meanwhile is put back when
// its turn comes, so that a renewal costs nothing here.
type due []dueLease

type dueLease struct {
	id string
	at time.Time
}

func (d due) Len() int           { return len(d) }
func (d due) Less(i, j int) bool { return d[i].at.Before(d[j].at) }
func (d due) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }

// Push is of heap.Interface.
func (d *due) Push(v any) { *d = append(*d, v.(dueLease)) }

// Pop is of heap.Interface.
func (d *due) Pop() any {
	last := len(*d) - 1
	v := (*d)[last]
	*d = (*d)[:last]
	return v
}

// next returns the ID of a lease whose deadline has passed, "" if there is none.
func (b *book) next(now time.Time) string {
	for len(b.due) > 0 && now.After(b.due[0].at) {
		d := heap.Pop(&b.due).(dueLease)
		e, ok := b.leases[d.id]
		if !ok {
			continue
		}
		if at := deadline(e.value); !now.After(at) {
			heap.Push(&b.due, dueLease{d.id, at})
			continue
		}
		return d.id
	}
	return ""
}

// again has next return the lease at its new deadline.
func (b *book) again(id string) {
	if e, ok := b.leases[id]; ok {
		heap.Push(&b.due, dueLease{id, deadline(e.value)})
	}
}

func (b *book) add(e jetstream.KeyValueEntry) error {
	kind, rest, _ := strings.Cut(e.Key(), ".")
	var err error
	switch kind {
	case "ledger":
		v := new(ledger.Ledger)
		err = json.Unmarshal(e.Value(), v)
		b.putLedger(e.Key(), v, e.Revision())
	case "lease":
		v := new(ledger.Lease)
		err = json.Unmarshal(e.Value(), v)
		b.putLease(rest, v, e.Revision())
	case "limits":
		v := new(budget.Limits)
		err = json.Unmarshal(e.Value(), v)
		b.limits[budget.Scope(rest)] = entry[budget.Limits]{v, e.Revision()}
	case "state":
		var v budget.State
		if json.Unmarshal(e.Value(), &v) == nil { // else it is shown anew
			b.states[budget.Scope(rest)] = shown{state: v, at: e.Created(), revision: e.Revision()}
		}
	case commitKey:
		var v commitNumber
		err = json.Unmarshal(e.Value(), &v)
		b.commit, b.written = v.N, e.Revision()
	}
	if err != nil {
		return fmt.Errorf("the entry %s of the bucket %s is malformed; nothing is granted: %w", e.Key(), events.BucketBudget, err)
	}
	return nil
}

// settle makes the sums of the ledgers what the leases add up to.
func (b *book) settle() {
	type sum struct {
		out    budget.Amount
		leases int64
	}
	sums := map[string]sum{}
	for _, e := range b.leases {
		l := e.value
		if l.Out.IsZero() {
			continue
		}
		for _, s := range l.Path() {
			for _, w := range budget.Windows(l.Time) {
				k := budget.LedgerKey(s, w)
				v := sums[k]
				v.out.Nano += l.Out.Nano
				if !l.Query || s == budget.Query {
					v.out.Requests += l.Out.Requests
				}
				v.leases++
				sums[k] = v
			}
		}
	}
	for k, e := range b.ledgers {
		e.value.Out, e.value.Leases = sums[k].out, sums[k].leases
	}
}

// newest returns the newest revision of a ledger, a lease or limits.
func (b *book) newest() (revision uint64) {
	for _, e := range b.ledgers {
		revision = max(revision, e.revision)
	}
	for _, e := range b.leases {
		revision = max(revision, e.revision)
	}
	for _, e := range b.limits {
		revision = max(revision, e.revision)
	}
	return revision
}

// read reads the bucket. There is no truth in memory. Entries arrive one by one
// while another leader may commit. A commit's number is its last entry, so that
// an entry which is newer than the number shows that only a part of a commit was
// read: it is read again then.
func (g *Grantor) read(ctx context.Context) (*book, error) {
	for {
		b, err := g.readOnce(ctx)
		if err != nil {
			return nil, fmt.Errorf("read the ledgers: %w", err)
		}
		newest := b.newest()
		if newest <= b.written {
			b.settle()
			return b, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("read the ledgers: revision %d of the bucket %s is newer than its last commit, %d: half of a commit is there", newest, events.BucketBudget, b.written)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (g *Grantor) readOnce(ctx context.Context) (*book, error) {
	b := newBook()
	w, err := g.kv.WatchFiltered(ctx, []string{"limits.>", "ledger.>", "lease.>", "state.>", commitKey}, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := w.Stop(); err != nil {
			g.cfg.Log.Debug().Err(err).Msg("ending the reading of the ledgers")
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return nil, errors.New("the connection was lost")
			case e == nil:
				return b, nil
			}
			if err := b.add(e); err != nil {
				return nil, err
			}
		}
	}
}

// load replaces the book by what the bucket says, and looks whether it has
// forgotten something.
func (g *Grantor) load() error {
	ctx, cancel := context.WithTimeout(g.ctx, 30*time.Second)
	defer cancel()
	// The mark comes first: a commit may be made and marked meanwhile.
	mark, err := g.readMark(ctx)
	if err != nil {
		return err
	}
	b, err := g.read(ctx)
	if err != nil {
		return err
	}
	g.book = b
	g.heard = max(g.heard, mark)
	g.behind()
	return nil
}

// readMark returns the number of the newest commit that was marked, 0 for none.
func (g *Grantor) readMark(ctx context.Context) (uint64, error) {
	e, err := g.marks.Get(ctx, MarkKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the mark of the ledgers: %w", err)
	}
	n, err := strconv.ParseUint(string(e.Value()), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the entry %s of the bucket %s is malformed; nothing is granted: %w", MarkKey, events.BucketPipeline, err)
	}
	return n, nil
}
