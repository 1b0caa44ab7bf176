package broker

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/events"
)

// LookUp returns the entry of a document in the bucket of documents. It is nil if
// there is none, or if it cannot be read: another release wrote it, or the recorder
// will mend it. doing says what the entry is wanted for, in the fault of StoreFault.
func LookUp(ctx context.Context, documents jetstream.KeyValue, id, doing string) (*events.Document, error) {
	e, err := documents.Get(ctx, id)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, StoreFault(err, events.BucketDocuments, doing)
	}
	d, err := events.DecodeDocument(e.Value())
	if err != nil {
		return nil, nil
	}
	return d, nil
}
