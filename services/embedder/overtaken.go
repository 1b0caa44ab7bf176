package embedder

import (
	"context"
	"fmt"
	"iter"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/stage"
)

// documents tells what became of documents whose chunks are to be bought: they may have
// been deleted, or submitted again, while a chunk waited for money, for the service, or
// in the stream.
type documents struct{ kv jetstream.KeyValue }

func openDocuments(ctx context.Context, env *stage.Env) (documents, error) {
	kv, err := env.JS.KeyValue(ctx, events.BucketDocuments)
	if err != nil {
		return documents{}, fmt.Errorf("open the bucket %s: %w", events.BucketDocuments, err)
	}
	return documents{kv}, nil
}

// of yields the messages of a batch with the entries of their documents, nil where
// nothing is known: such chunks are wanted. Messages whose document cannot be looked up fail instead. Each
// document is asked for once, which is little next to what every text of a paid call
// asks the cache.
func (d documents) of(ctx context.Context, batch []*stage.Message) iter.Seq2[*stage.Message, *events.Document] {
	type known struct {
		document string
		entry    *events.Document
		err      error
	}
	of := map[string]*known{}
	var all []*known
	for _, m := range batch {
		if of[m.Document] == nil {
			of[m.Document] = &known{document: m.Document}
			all = append(all, of[m.Document])
		}
	}
	parallel(all, func(k *known) {
		if k.document != "" { // what has no name is refused by its body
			k.entry, k.err = broker.LookUp(ctx, d.kv, k.document, "look the document up, so nothing is bought for it")
		}
	})
	return func(yield func(*stage.Message, *events.Document) bool) {
		for _, m := range batch {
			k := of[m.Document]
			if k.err != nil {
				m.Fail(k.err)
			} else if !yield(m, k.entry) {
				return
			}
		}
	}
}

// wanted returns the chunks that are still to be bought. The others end here: their
// story says what has overtaken them.
func (d documents) wanted(ctx context.Context, batch []*stage.Message) []*stage.Message {
	wanted := make([]*stage.Message, 0, len(batch))
	told := map[string]bool{}
	for m, entry := range d.of(ctx, batch) {
		by := events.Revision(0)
		if entry != nil {
			by = events.Overtaken(entry, m.Revision)
		}
		if by == 0 {
			wanted = append(wanted, m)
			continue
		}
		if revision := m.Document + m.Revision.String(); !told[revision] {
			told[revision] = true
			m.Emit(events.Event{What: events.Superseded, Failure: events.Late(Name, m.Revision, by, by == entry.Gone)}, "overtaken")
		}
	}
	return wanted
}
