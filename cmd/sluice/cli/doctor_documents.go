package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"sluice/pkg/events"
)

func checkDead(ctx context.Context, u *checkup, c *client) {
	dead, err := c.deadLetters(ctx)
	if err != nil {
		u.err("dead letters", err)
		return
	}
	counts, total := map[string]int{}, 0
	for s, n := range dead {
		counts[s] = int(n)
		total += int(n)
	}
	if total > 0 {
		u.warn("dead letters", "'sluice dead ls' says why; replay or purge them", "%d: %s", total, tally(counts))
	} else {
		u.ok("dead letters", "none")
	}
}

const (
	// settled is how long a document must have been silent to be called stuck.
	settled = time.Minute
	// inspectMost bounds the messages whose documents are looked up.
	inspectMost = 2000
)

// checkDocuments tells what waits and for what, and finds documents that are not
// final while nothing of them is on its way: nothing will ever happen to them by
// itself.
func checkDocuments(ctx context.Context, u *checkup, c *client, running map[string][]micro.Stats) {
	var open, held []*events.Document
	if err := c.each(ctx, func(d *events.Document) {
		switch {
		case d.State.Final():
		case d.Held != "":
			held = append(held, d)
		case time.Since(d.Updated) > settled:
			open = append(open, d)
		}
	}); err != nil {
		u.err("documents", err)
		return
	}
	if len(held) > 0 {
		checkHeld(u, held)
	}
	if len(open) == 0 {
		switch {
		case len(held) > 0:
		case len(together(waitingOf(running))) > 0:
			u.ok("documents", "none is stuck; what waits is told by its stage")
		default:
			u.ok("documents", "none is stuck, none waits")
		}
		return
	}
	moving, known, err := c.inFlight(ctx)
	if err != nil {
		u.err("documents", err)
		return
	}
	if !known {
		u.warn("documents", "look again when less is in flight", "%s not final; too much is in flight to tell which are stuck", plural(len(open), "document"))
		return
	}
	var stuck []string
	for _, d := range open {
		if !moving[d.Document] && !moving[origin(strconv.FormatUint(d.Sequence, 10))] {
			stuck = append(stuck, label(d))
		}
	}
	if len(stuck) == 0 {
		u.ok("documents", "%s on their way", plural(len(open), "document"))
		return
	}
	shown := stuck
	more := ""
	if len(shown) > 5 {
		shown, more = shown[:5], fmt.Sprintf(" and %d more", len(stuck)-5)
	}
	u.fail("documents", "submit them again with 'sluice ingest'; 'sluice ls --state open' lists them",
		"%s not final with nothing in flight: %s%s", plural(len(stuck), "document"), strings.Join(shown, ", "), more)
}

// checkHeld tells what documents wait for, by their own entries.
func checkHeld(u *checkup, held []*events.Document) {
	type group struct {
		count int
		since time.Time
	}
	groups := map[string]*group{}
	for _, d := range held {
		g := groups[heldWords(d.Held)]
		if g == nil {
			g = &group{since: d.Updated}
			groups[heldWords(d.Held)] = g
		}
		g.count++
		if d.Updated.Before(g.since) {
			g.since = d.Updated
		}
	}
	words := slices.SortedFunc(maps.Keys(groups), func(a, b string) int {
		return cmp.Or(cmp.Compare(groups[b].count, groups[a].count), cmp.Compare(a, b))
	})
	var parts []string
	for i, w := range words {
		if i == 5 {
			parts = append(parts, fmt.Sprintf("and %d other reasons", len(words)-i))
			break
		}
		parts = append(parts, fmt.Sprintf("%d since %s: %s", groups[w].count, stamp(groups[w].since), w))
	}
	u.warn("documents", "they go on by themselves when that ends; 'sluice status' shows what ends it, 'sluice ls --state open' which they are",
		"%s. %s", counted(len(held), "document", "waits", "wait"), strings.Join(parts, "; "))
}

// heldWords is why a document waits. Older releases wrote a word before it that is
// printed anyway.
func heldWords(s string) string { return strings.TrimPrefix(s, "held: ") }

// origin names a submission by its sequence in DOCUMENTS: the parser reads more of a
// message than documentOf does.
func origin(sequence string) string { return "#" + sequence }

// inFlight returns the documents of all messages that wait or are in hand, and the
// origins of those that are submissions.
// known is false if there are too many to look at.
func (c *client) inFlight(ctx context.Context) (documents map[string]bool, known bool, err error) {
	documents = map[string]bool{}
	looked := 0
	for _, name := range append(c.handoffs(ctx), events.StreamHeld, events.StreamEvents) {
		s, err := c.js.Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue // checkStreams has said it
		}
		if err != nil {
			return nil, false, fmt.Errorf("look at the stream %s: %w", name, err)
		}
		state := s.CachedInfo().State
		if name == events.StreamEvents {
			// Its messages stay. Those that the recorder has not seen may be news.
			cons, err := s.Consumer(ctx, "recorder")
			if err != nil {
				continue
			}
			if i := cons.CachedInfo(); i.NumPending+uint64(i.NumAckPending) > 0 {
				return nil, false, nil
			}
			continue
		}
		if looked += int(state.Msgs); looked > inspectMost {
			return nil, false, nil
		}
		for seq, left := state.FirstSeq, state.Msgs; left > 0 && seq <= state.LastSeq; {
			msg, err := s.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(">"))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				break
			}
			if err != nil {
				return nil, false, fmt.Errorf("look at the messages of %s: %w", name, err)
			}
			left--
			seq = msg.Sequence + 1
			documents[documentOf(msg)] = true
			switch {
			case name == events.StreamDocuments:
				documents[origin(strconv.FormatUint(msg.Sequence, 10))] = true
			case msg.Header.Get(events.HeaderOriginStream) == events.StreamDocuments:
				documents[origin(msg.Header.Get(events.HeaderOriginSeq))] = true
			}
		}
	}
	return documents, true, nil
}

// documentOf names the document of a message as the parser would.
func documentOf(msg *jetstream.RawStreamMsg) string {
	if id := msg.Header.Get(events.HeaderDocumentID); id != "" {
		return id
	}
	tenant, name := msg.Header.Get(events.HeaderTenant), events.Name(msg.Header)
	switch msg.Subject {
	case events.SubjectURI:
		if ref, err := events.Decode[events.Reference](msg.Data); err == nil {
			if name == "" {
				name = ref.Name
			}
			if name == "" {
				name = ref.URI
			}
			if ref.Tenant != "" {
				tenant = ref.Tenant
			}
		}
	case events.SubjectDelete:
		if d, err := events.Decode[events.Deletion](msg.Data); err == nil {
			if d.Document != "" {
				return d.Document
			}
			name = d.Name
			if d.Tenant != "" {
				tenant = d.Tenant
			}
		}
	default:
		if name == "" {
			name = events.SubmitName(msg.Subject)
		}
	}
	if tenant == "" {
		tenant = events.DefaultTenant
	}
	if name == "" {
		return events.ContentDocumentID(tenant, events.ContentHash(msg.Data))
	}
	return events.DocumentID(tenant, name)
}
