package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/fault"
)

// Durable is the consumer that all replicas of a stage share.
type Durable struct {
	Name    string // the stage's
	Stream  string
	Subject string // empty = all of the stream
	Left    string // the stream on which it was before, or ""
}

// MetaStage is the metadata of a consumer that says which stage's it is: so a
// process that does not know the stages finds them on the server.
const MetaStage = "sluice.stage"

// Config returns what the server is told of a consumer.
func (d Durable) Config(ackWait time.Duration, maxInFlight int) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       d.Name,
		FilterSubject: d.Subject,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       ackWait,
		MaxDeliver:    -1, // failures are counted, not deliveries
		MaxAckPending: maxInFlight,
		Metadata:      map[string]string{MetaStage: d.Name},
	}
}

// Consumer makes a stage's consumer, or looks it up if the mode is ModeBind.
func (m Mode) Consumer(ctx context.Context, js jetstream.JetStream, d Durable, ackWait time.Duration, maxInFlight int) (jetstream.Consumer, error) {
	if m == ModeBind {
		return BindConsumer(ctx, js, d)
	}
	if err := leave(ctx, js, d); err != nil {
		return nil, err
	}
	c, err := js.CreateOrUpdateConsumer(ctx, d.Stream, d.Config(ackWait, maxInFlight))
	if err != nil {
		return nil, taken(ctx, js, d, err)
	}
	return c, nil
}

// BindConsumer looks a stage's consumer up, and fails if it is not what the
// stage needs. The error says to run 'sluice apply'.
func BindConsumer(ctx context.Context, js jetstream.JetStream, d Durable) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	c, err := js.Consumer(ctx, d.Stream, d.Name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, missing("the stream %s has no consumer %s", d.Stream, d.Name)
	}
	if err != nil {
		return nil, fmt.Errorf("look the consumer %s of %s up: %w", d.Name, d.Stream, err)
	}
	have := c.CachedInfo().Config
	if have.FilterSubject != d.Subject || have.AckPolicy != jetstream.AckExplicitPolicy || have.MaxDeliver != -1 {
		return nil, missing("the consumer %s of %s is not as this release needs it", d.Name, d.Stream)
	}
	return c, nil
}

// Reasons of Halt faults.
const (
	// ReasonTaken: another stage takes the work that a stage is to take.
	ReasonTaken = "consumer-taken"
	// ReasonRuns: a stage cannot move to another queue while replicas take from the old one.
	ReasonRuns = "stage-runs"
)

// leave removes the consumer that a stage had before it moved to another queue.
// What it had not done stays in the stream, for whoever takes from it now. As
// long as somebody pulls with it, it is not removed: what is in those hands would
// be done here and there.
func leave(ctx context.Context, js jetstream.JetStream, d Durable) error {
	if d.Left == "" || d.Left == d.Stream {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	c, err := js.Consumer(ctx, d.Left, d.Name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look the consumer %s of %s up: %w", d.Name, d.Left, err)
	}
	if c.CachedInfo().NumWaiting > 0 {
		return fault.New(fault.Halt, ReasonRuns, "the stage %s is to take from %s, and replicas of it take from %s", d.Name, d.Stream, d.Left).
			WithHint("stop them; then this one goes on")
	}
	if err := js.DeleteConsumer(ctx, d.Left, d.Name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("remove the consumer %s of %s: %w", d.Name, d.Left, err)
	}
	return nil
}

// JetStream's words for two consumers of a work queue that take the same.
const (
	codeSeveralUnfiltered jetstream.ErrorCode = 10099
	codeFiltersOverlap    jetstream.ErrorCode = 10100
)

// taken says whose work it is, if that is why a consumer cannot be made.
func taken(ctx context.Context, js jetstream.JetStream, d Durable, err error) error {
	var api *jetstream.APIError
	if !errors.As(err, &api) || (api.ErrorCode != codeSeveralUnfiltered && api.ErrorCode != codeFiltersOverlap) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	who := ""
	if s, err := js.Stream(ctx, d.Stream); err == nil {
		list := s.ListConsumers(ctx)
		for c := range list.Info() {
			if c.Name != d.Name && overlap(c.Config.FilterSubject, d.Subject) {
				who = c.Name
			}
		}
		if list.Err() != nil {
			who = ""
		}
	}
	if who == "" {
		return fault.Wrap(err, fault.Halt, ReasonTaken, "the stage %s cannot take from %s: another stage does, and a message of a work queue is for one stage", d.Name, d.Stream).
			WithHint("'nats consumer ls %s' shows whose it is", d.Stream)
	}
	return fault.Wrap(err, fault.Halt, ReasonTaken, "the stage %s cannot take from %s: %s does, and a message of a work queue is for one stage", d.Name, d.Stream, who).
		WithHint("if %[1]s comes behind this stage from now on, stop it and start it on this stage's queue (the chunker: --chunker-from); "+
			"if it is gone for good, 'nats consumer rm %[2]s %[1]s'. What waits stays in %[2]s", who, d.Stream)
}

// overlap tells whether a subject may be both filters'. Empty is every subject.
func overlap(a, b string) bool {
	if a == "" || b == "" {
		return true
	}
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y)) {
		switch {
		case x[i] == ">" || y[i] == ">":
			return true
		case x[i] != y[i] && x[i] != "*" && y[i] != "*":
			return false
		}
	}
	return len(x) == len(y)
}
