package indexer

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"sluice/pkg/events"
	"sluice/pkg/stage"
)

// letters ends dead letters that a success has made pointless: a newer revision of
// the document is searchable, the same one is, or the document was deleted. It
// knows the dead letters by a reader of their headers, and what becomes of the
// documents from the recorder. Several replicas do the same, which is harmless.
type letters struct {
	js    jetstream.JetStream
	kv    jetstream.KeyValue // the bucket "documents"
	blobs jetstream.ObjectStore
	log   zerolog.Logger

	mu    sync.Mutex
	known map[string][]letter // by document
	count int
	ended chan letter
}

type letter struct {
	sequence uint64 // in DEADLETTER
	document string
	revision events.Revision
	blob     string // the object with the body that only the letter refers to
}

// maxLetters bounds the memory. Letters beyond it end by 'sluice dead purge'.
const maxLetters = 100_000

func newLetters(ctx context.Context, env *stage.Env) (*letters, error) {
	kv, err := env.JS.KeyValue(ctx, events.BucketDocuments)
	if err != nil {
		return nil, err
	}
	blobs, err := env.JS.ObjectStore(ctx, events.StoreBlobs)
	if err != nil {
		return nil, err
	}
	return &letters{
		js: env.JS, kv: kv, blobs: blobs, log: env.Log.With().Str("stage", Recorder).Logger(),
		known: map[string][]letter{}, ended: make(chan letter, 1024),
	}, nil
}

// settled takes note of what a document has become.
func (l *letters) settled(d *events.Document) {
	l.mu.Lock()
	defer l.mu.Unlock()
	mine := l.known[d.Document]
	if len(mine) == 0 {
		return
	}
	rest := mine[:0]
	for _, m := range mine {
		if events.Ends(d, m.revision) {
			select {
			case l.ended <- m:
				l.count--
				continue
			default: // at the next event of the document, or at the next start
			}
		}
		rest = append(rest, m)
	}
	if len(rest) == 0 {
		delete(l.known, d.Document)
	} else {
		l.known[d.Document] = rest
	}
}

// run reads the dead letters, those that are there first, until ctx ends.
func (l *letters) run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case m := <-l.ended:
				l.end(ctx, m)
			case <-ctx.Done():
				return
			}
		}
	})
	defer running.Wait()
	for ctx.Err() == nil {
		if err := l.read(ctx); err != nil && ctx.Err() == nil {
			l.log.Debug().Err(err).Msg("reading the dead letters; it is tried again")
		}
		select {
		case <-ctx.Done():
		case <-time.After(2 * time.Second):
		}
	}
}

func (l *letters) read(ctx context.Context) error {
	c, err := l.js.OrderedConsumer(ctx, events.StreamDeadLetter, jetstream.OrderedConsumerConfig{HeadersOnly: true})
	if err != nil {
		return err
	}
	messages, err := c.Messages()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, messages.Stop)()
	defer messages.Stop()
	l.mu.Lock()
	l.known, l.count = map[string][]letter{}, 0 // all of them are read anew
	l.mu.Unlock()
	for {
		msg, err := messages.Next()
		if err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		h := msg.Headers()
		r, err := events.ParseRevision(h.Get(events.HeaderRevision))
		m := letter{meta.Sequence.Stream, h.Get(events.HeaderDocumentID), r, h.Get(events.HeaderBlob)}
		if err != nil || m.document == "" || r == 0 {
			continue
		}
		l.mu.Lock()
		room := l.count < maxLetters
		if room {
			l.known[m.document] = append(l.known[m.document], m)
			l.count++
		}
		l.mu.Unlock()
		// It may be late: what ends it has been told before it came.
		e, err := l.kv.Get(ctx, m.document)
		if err != nil {
			continue
		}
		if d, err := events.DecodeDocument(e.Value()); err == nil {
			l.settled(d)
		}
	}
}

// end removes a dead letter and its body.
func (l *letters) end(ctx context.Context, m letter) {
	s, err := l.js.Stream(ctx, events.StreamDeadLetter)
	if err == nil {
		err = s.DeleteMsg(ctx, m.sequence)
	}
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		l.log.Debug().Err(err).Uint64("letter", m.sequence).Msg("removing a dead letter; 'sluice dead ls' shows it as superseded")
		return
	}
	l.log.Info().Uint64("letter", m.sequence).Str("document", m.document).Uint64("revision", uint64(m.revision)).
		Msg("a dead letter has ended: its document has succeeded since, or is deleted")
	if m.blob != "" {
		if err := l.blobs.Delete(ctx, m.blob); err != nil && !errors.Is(err, jetstream.ErrObjectNotFound) {
			l.log.Debug().Err(err).Msg("removing the body of a dead letter; its expiry will")
		}
	}
}
