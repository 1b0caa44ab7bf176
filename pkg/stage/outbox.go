package stage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// outbox publishes what messages have caused.
type outbox struct {
	*shared
	blobs jetstream.ObjectStore
	limit int // bytes of a body; larger ones go to blobs
}

// maxHeaders is what is left of a payload for headers.
const maxHeaders = 16 << 10

// published is one message on its way.
type published struct {
	msg    *nats.Msg
	future jetstream.PubAckFuture
	err    error // it was not even sent
}

// send starts publishing msg for m; flush waits for the outcome.
func (o *outbox) send(m *Message, msg *nats.Msg) {
	p := published{msg: msg}
	if len(msg.Data) > o.limit {
		p.err = o.check(o.working, msg)
	}
	if p.err == nil {
		p.future, p.err = o.publish(msg)
	}
	m.pending = append(m.pending, p)
}

func (o *outbox) publish(msg *nats.Msg) (jetstream.PubAckFuture, error) {
	return o.env.JS.PublishMsgAsync(msg, jetstream.WithStallWait(30*time.Second))
}

// check moves the body of msg to the object store (the claim check pattern).
// The name is derived, so that a repeat replaces it.
func (o *outbox) check(ctx context.Context, msg *nats.Msg) error {
	name := events.Fingerprint("blob", msg.Subject, msg.Header.Get(events.HeaderMsgID)) + "-" + events.ContentHash(msg.Data)[:16]
	if _, err := o.blobs.PutBytes(ctx, name, msg.Data); err != nil {
		return fmt.Errorf("store a large body in %s: %w", events.StoreBlobs, err)
	}
	msg.Header.Set(events.HeaderBlob, name)
	msg.Data = nil
	return nil
}

// load fetches a claim-checked body.
func (o *outbox) load(m *Message) error {
	if m.missing != nil {
		return m.missing
	}
	ref := m.Header.Get(events.HeaderBlob)
	// Submitters may set any header; they cannot name our blobs.
	if ref == "" || m.blob != "" || o.stage.In.Stream == events.StreamDocuments {
		return nil
	}
	data, err := o.blobs.GetBytes(o.working, ref)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return missing(ref)
	}
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "store", "fetch the body %s of the object store %s", events.CleanHeader(ref, 64), events.StoreBlobs).
			WaitFor(fault.On(fault.WaitStore, events.StoreBlobs))
	}
	m.Data, m.blob = data, ref
	return nil
}

func missing(ref string) *fault.Error {
	return fault.Invalid("missing-body", "the body %s is not in the object store %s", events.CleanHeader(ref, 64), events.StoreBlobs).
		WithHint("submit the document again: it was purged, or the message was not published by Sluice")
}

// flush waits until all that was sent for m is stored. What is not stored stays in
// m.out and has m wait for the stream: a full one and a lost broker both mean to
// keep the message and to publish again. What NATS will never take is m's failure.
func (o *outbox) flush(m *Message) error {
	var failed error
	left := m.out[:0:0]
	for _, p := range m.pending {
		err := p.err
		if err == nil {
			err = o.await(p.future)
		}
		if err == nil {
			o.met.out.Inc()
			continue
		}
		left = append(left, p.msg)
		switch {
		case failed != nil:
		case unpublishable(err):
			failed = fault.Wrap(err, fault.Execution, "unpublishable", "NATS does not take the message for %s", p.msg.Subject)
		case o.working.Err() != nil:
			failed = fmt.Errorf("stopped before %s was stored: %w", p.msg.Subject, err)
		default:
			failed = downstream(p.msg.Subject, err)
		}
	}
	m.out, m.pending = left, nil
	return failed
}

// unpublishable tells that the server will never take a message: it is no message, its
// headers are larger than 64 KiB, or it is larger than the server or its stream allows.
func unpublishable(err error) bool {
	if errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrBadSubject) || errors.Is(err, nats.ErrBadHeaderMsg) {
		return true
	}
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == codeHeadersTooLarge || api.ErrorCode == codeMessageTooLarge)
}

// The server's codes for a message beyond a limit.
const (
	codeHeadersTooLarge = 10097
	codeMessageTooLarge = 10054
)

// ReasonSilent is the reason of what was published and is not acknowledged, though
// NATS is there. A stage that meets it is not ready.
const ReasonSilent = "downstream-silent"

// downstream is the failure of what could not be published.
func downstream(subject string, err error) error {
	words, hint := "nothing can be published to %s", "it goes on by itself when NATS takes the message"
	if errors.Is(err, jetstream.ErrAsyncPublishTimeout) {
		// What a nats-server does with a stream that it could not write once.
		return fault.Wrap(err, fault.Unavailable, ReasonSilent, "NATS does not say that it has stored what was published to %s", subject).
			WithHint("'sluice doctor' tells whether NATS still writes the stream: after a full disk nats-server has to be restarted").
			WaitFor(fault.On(fault.WaitDownstream, subject))
	}
	if broker.IsFull(err) {
		words, hint = "the stream of %s is full", "it goes on by itself when there is room; see 'sluice status' for the stage that is behind"
	}
	return fault.Wrap(err, fault.Unavailable, "downstream", words, subject).WithHint("%s", hint).
		WaitFor(fault.On(fault.WaitDownstream, subject))
}

// await returns the outcome of one publish.
func (o *outbox) await(f jetstream.PubAckFuture) error {
	select {
	case <-f.Ok():
		return nil
	case err := <-f.Err():
		return err
	case <-o.working.Done():
		return o.working.Err()
	}
}

// clean removes what an input referred to, but only after the server has
// confirmed that the input will not come again and look for it.
func (o *outbox) clean(m *Message) {
	ctx, cancel := context.WithTimeout(o.working, 10*time.Second)
	defer cancel()
	if err := m.delivery().DoubleAck(ctx); err != nil {
		m.Log().Debug().Err(err).Msg("acknowledging; the message will come again")
		return
	}
	for _, ref := range []string{m.blob, m.parked} {
		if ref != "" {
			m.after = append(m.after, func(ctx context.Context) error { return o.blobs.Delete(ctx, ref) })
		}
	}
	for _, f := range m.after {
		if err := f(ctx); err != nil {
			m.Log().Warn().Err(err).Msg("cleaning up after the message; expiry will")
		}
	}
}
