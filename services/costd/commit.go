package costd

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"sluice/pkg/budget"
	"sluice/services/costd/ledger"
)

// draft is a set of changes that are to be made together.
type draft struct {
	g       *Grantor
	ledgers map[string]*ledger.Ledger
	leases  map[string]*ledger.Lease
	limits  map[budget.Scope]*budget.Limits
	scopes  map[budget.Scope]bool
	number  uint64 // of the commit; 0 = the next one
}

func (g *Grantor) draft() *draft {
	return &draft{g: g, ledgers: map[string]*ledger.Ledger{}, leases: map[string]*ledger.Lease{}, limits: map[budget.Scope]*budget.Limits{}, scopes: map[budget.Scope]bool{}}
}

// stored returns the limits as somebody has set them, or the configured ones.
func (d *draft) stored(s budget.Scope) budget.Limits {
	if l := d.limits[s]; l != nil {
		return *l
	}
	return d.g.limits(s)
}

// limitsOf returns the limits that hold for a scope. Queries have at most their
// share of the global money where they have no limit of their own.
func (d *draft) limitsOf(s budget.Scope) budget.Limits {
	l := d.stored(s)
	if s != budget.Query {
		return l
	}
	global := d.stored(budget.Global)
	share := func(own, of *int64) *int64 {
		if own != nil || of == nil {
			return own
		}
		v := budget.Share(*of)
		return &v
	}
	l.HourNano, l.DayNano = share(l.HourNano, global.HourNano), share(l.DayNano, global.DayNano)
	return l
}

// kept returns what is left to queries of a global limit, and what of it is not
// used yet.
func (d *draft) kept(w budget.Window) (kept, left int64) {
	limit, _ := d.limitsOf(budget.Global).In(w)
	if limit == nil {
		return 0, 0
	}
	own, _ := d.limitsOf(budget.Query).In(w) // never nil: the global limit is not
	kept = budget.Kept(*limit, *own)
	l := d.peek(budget.LedgerKey(budget.Query, w))
	return kept, max(0, kept-l.Settled.Nano-l.Out.Nano)
}

// peek returns a ledger for reading.
func (d *draft) peek(key string) *ledger.Ledger {
	if v := d.ledgers[key]; v != nil {
		return v
	}
	if e, ok := d.g.book.ledgers[key]; ok {
		return e.value
	}
	return &ledger.Ledger{}
}

// edit returns the working copy of a ledger.
func (d *draft) edit(s budget.Scope, w budget.Window) *ledger.Ledger {
	d.scopes[s] = true
	key := budget.LedgerKey(s, w)
	v := d.ledgers[key]
	if v == nil {
		c := *d.peek(key)
		v = &c
		d.ledgers[key] = v
	}
	v.LimitNano, v.LimitRequests = d.limitsOf(s).In(w)
	return v
}

// accounts returns working copies of the ledgers that a lease is charged to.
func (d *draft) accounts(l *ledger.Lease) []ledger.Account {
	var all []ledger.Account
	for _, s := range l.Path() {
		limits := d.limitsOf(s)
		for _, w := range budget.Windows(l.Time) {
			a := ledger.Account{Scope: s, Window: w, Limits: limits, MoneyOnly: l.Query && s != budget.Query, Ledger: d.edit(s, w)}
			if s == budget.Global && !l.Query {
				a.Kept, a.Left = d.kept(w)
			}
			all = append(all, a)
		}
	}
	return all
}

func (d *draft) lease(id string) *ledger.Lease {
	if l := d.leases[id]; l != nil {
		return l
	}
	if e, ok := d.g.book.leases[id]; ok {
		return e.value
	}
	return nil
}

// commit makes the draft durable: all of it, or nothing. The expected revisions
// are the fence against another grantor. It returns the number of the commit.
func (d *draft) commit() (uint64, error) {
	b := d.g.book
	var keys []string
	var messages []*nats.Msg
	put := func(key string, v any, revision uint64) {
		data, err := json.Marshal(v)
		if err != nil {
			panic(err) // our own types
		}
		m := nats.NewMsg(keyPrefix + key)
		m.Header.Set("Nats-Expected-Last-Subject-Sequence", fmt.Sprint(revision))
		m.Data = data
		keys, messages = append(keys, key), append(messages, m)
	}
	for k, v := range d.ledgers {
		put(k, v, b.ledgers[k].revision)
	}
	for id, v := range d.leases {
		put("lease."+id, v, b.leases[id].revision)
	}
	for s, v := range d.limits {
		put(budget.LimitsKey(s), v, b.limits[s].revision)
	}
	if len(messages) == 0 {
		return b.commit, nil
	}
	number := max(d.number, b.commit+1)
	put(commitKey, commitNumber{number}, b.written) // the last one: no entry is newer
	ctx, cancel := context.WithTimeout(d.g.ctx, 5*time.Second)
	defer cancel()
	ack, err := jetstreamext.PublishMsgBatch(ctx, d.g.cfg.JS, messages)
	if err != nil {
		return 0, err
	}
	for i, k := range keys {
		revision := ack.Sequence - uint64(len(keys)-1-i)
		kind, rest, _ := strings.Cut(k, ".")
		switch kind {
		case "ledger":
			b.putLedger(k, d.ledgers[k], revision)
		case "lease":
			b.putLease(rest, d.leases[rest], revision)
		case "limits":
			b.limits[budget.Scope(rest)] = entry[budget.Limits]{d.limits[budget.Scope(rest)], revision}
		}
	}
	b.commit, b.written = number, ack.Sequence
	d.g.heard = max(d.g.heard, number)
	d.g.desk.mark(number)
	for s := range d.scopes {
		d.g.touch(s)
	}
	return number, nil
}
