package broker

import (
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/fault"
)

// ReasonStore is the reason of StoreFault.
const ReasonStore = "store"

// The server's codes for a stream that is full or short of resources.
const (
	codeStoreFailed = 10077
	codeNoResources = 10023
	codeNoMemory    = 10028
	codeNoStorage   = 10047
	codeSubjectFull = 10122 // the limit of a subject
)

// StoreFault says that a bucket or an object store did not do something: "note
// the job". It is full, or it does not answer. Either is no failure of the
// message: it waits for the store. It returns nil for a nil err.
func StoreFault(err error, name, doing string) error {
	if err == nil {
		return nil
	}
	f := fault.Wrap(err, fault.Unavailable, ReasonStore, "cannot %s: the bucket %s does not answer", doing, name).
		WithHint("see 'sluice doctor': NATS may be away, or the bucket is missing; 'sluice apply' makes it")
	if IsFull(err) {
		f = fault.Wrap(err, fault.Unavailable, ReasonStore, "cannot %s: the bucket %s is full", doing, name).
			WithHint("'sluice doctor' says how full it is; 'nats stream edit' gives it more room")
	}
	return f.WaitFor(fault.On(fault.WaitStore, name)).After(2 * time.Second)
}

// IsFull tells whether a stream refused a message because it is full, or because
// its server has no room.
func IsFull(err error) bool {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return false
	}
	switch api.ErrorCode {
	case codeStoreFailed, codeNoResources, codeNoMemory, codeNoStorage, codeSubjectFull:
		return true
	}
	return false
}

// LostRace tells whether somebody else has written an entry since it was read.
func LostRace(err error) bool {
	return errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch)
}
