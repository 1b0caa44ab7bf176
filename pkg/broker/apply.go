package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/fault"
)

// Mode says what a process does about streams and buckets when it starts.
type Mode string

// The modes.
const (
	ModeEnsure Mode = "ensure" // make what is missing
	ModeBind   Mode = "bind"   // only look it up: 'sluice apply' has made it
)

// Start is Ensure, or Bind of what services use.
func (m Mode) Start(ctx context.Context, js jetstream.JetStream, t Topology, services ...Service) error {
	if m == ModeBind {
		return Bind(ctx, js, t, services...)
	}
	return Ensure(ctx, js, t, services...)
}

// Bind looks up the streams and consumers that services use, and creates nothing: a process that
// may not is told by this what is missing. The error says to run 'sluice apply',
// and has ReasonNotApplied.
func Bind(ctx context.Context, js jetstream.JetStream, t Topology, services ...Service) error {
	if err := Check(services...); err != nil {
		return err
	}
	for _, want := range t.Streams(services...) {
		have, err := look(ctx, js, want.Name)
		if err != nil {
			return err
		}
		if have == nil {
			return missing("there is no stream %s", want.Name)
		}
		want.Replicas = have.Replicas
		c, err := stream(ctx, js, have, want, true)
		if err != nil {
			return err
		}
		if c.Outcome == Updated {
			return missing("the stream %s is of an older release: it lacks %s", want.Name, c.Detail)
		}
	}
	for _, d := range Durables(Compose(services...)...) {
		if _, err := BindConsumer(ctx, js, d); err != nil {
			return err
		}
	}
	return nil
}

// Ensure creates what services use and what is missing. It may be called by any
// number of processes at once. A stream that exists with a policy that would lose
// work is an error. Consumers are left to the stages.
func Ensure(ctx context.Context, js jetstream.JetStream, t Topology, services ...Service) error {
	if err := Check(services...); err != nil {
		return err
	}
	for _, want := range t.Streams(services...) {
		have, err := look(ctx, js, want.Name)
		if err != nil {
			return err
		}
		if have != nil {
			want.Replicas = have.Replicas // more of them is for 'sluice apply'
		}
		if _, err := stream(ctx, js, have, want, false); err != nil {
			return err
		}
	}
	return nil
}

// Outcome says what Apply did about one thing.
type Outcome string

// The outcomes.
const (
	Created   Outcome = "created"
	Updated   Outcome = "updated"
	Unchanged Outcome = "unchanged"
	Kept      Outcome = "kept"    // it has other sizes than declared: an operator's
	Refused   Outcome = "refused" // it would lose work, and only a person can mend it
)

// Change is what Apply did, or would do, about one thing.
type Change struct {
	Kind    string  `json:"kind"` // "stream", "bucket", "store", "consumer"
	Name    string  `json:"name"`
	Outcome Outcome `json:"outcome"`
	Detail  string  `json:"detail,omitempty"`
}

// Apply makes the server hold what is declared: it creates what is missing and
// adds what an older release did not know. It never removes, purges or shrinks:
// sizes that somebody has set stay. It may be run by any number of processes at
// once, and again. With dry it only says what it would do. A Refused change
// comes with an error that names it, after everything else has been done.
func Apply(ctx context.Context, js jetstream.JetStream, t Topology, dry bool, services ...Service) ([]Change, error) {
	if err := Check(services...); err != nil {
		return nil, err
	}
	for _, s := range services {
		for stage := range s.Feeds {
			if !slices.ContainsFunc(Durables(services...), func(d Durable) bool { return d.Name == stage }) {
				return nil, wrong("the service %s feeds the stage %s, which no service declares", s.Name, stage)
			}
		}
	}
	services = Compose(services...)
	var changes []Change
	var refused error
	note := func(kind, name string, c Change, err error) error {
		c.Kind, c.Name = kind, name
		if err != nil && c.Outcome != Refused {
			return err
		}
		refused = errors.Join(refused, err)
		changes = append(changes, c)
		return nil
	}
	for _, want := range t.Streams(services...) {
		have, err := look(ctx, js, want.Name)
		if err != nil {
			return changes, err
		}
		c, err := stream(ctx, js, have, want, dry)
		kind, name := split(want.Name)
		if err := note(kind, name, c, err); err != nil {
			return changes, err
		}
	}
	for _, d := range Durables(services...) {
		c, err := consumer(ctx, js, d, d.Config(t.AckWait, t.MaxInFlight), dry)
		if err := note("consumer", d.Name+" on "+d.Stream, c, err); err != nil {
			return changes, err
		}
	}
	return changes, refused
}

// answer bounds one request: a cluster that elects a leader does not answer at
// all, and the next try may meet the new one.
const answer = 5 * time.Second

// look returns a stream's configuration, or nil if there is none.
func look(ctx context.Context, js jetstream.JetStream, name string) (*jetstream.StreamConfig, error) {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	s, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look the stream %s up: %w", name, err)
	}
	return &s.CachedInfo().Config, nil
}

// stream creates a stream, or mends one that lacks something.
func stream(ctx context.Context, js jetstream.JetStream, have *jetstream.StreamConfig, want jetstream.StreamConfig, dry bool) (Change, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*answer)
	defer cancel()
	if have == nil {
		if dry {
			return Change{Outcome: Created}, nil
		}
		_, err := js.CreateStream(ctx, want)
		if err == nil {
			return Change{Outcome: Created}, nil
		}
		// Another process may have been faster.
		if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return Change{}, fmt.Errorf("create the stream %s: %w", want.Name, err)
		}
		if have, err = look(ctx, js, want.Name); err != nil || have == nil {
			return Change{}, errors.Join(fmt.Errorf("the stream %s is made and not there", want.Name), err)
		}
	}
	if have.Retention != want.Retention || (want.Discard == jetstream.DiscardNew && have.Discard != want.Discard) {
		err := fault.New(fault.Halt, "stream-policy", "the stream %s exists with retention %s and discard %s, which can lose work; want %s and %s",
			want.Name, have.Retention, have.Discard, want.Retention, want.Discard).
			WithHint("empty and remove it ('nats stream rm %s'), then it is made again", want.Name)
		return Change{Outcome: Refused, Detail: err.Message}, err
	}
	next, added := *have, []string(nil)
	for _, s := range want.Subjects {
		if !slices.Contains(have.Subjects, s) {
			next.Subjects = append(slices.Clone(next.Subjects), s)
			added = append(added, "subject "+s)
		}
	}
	for _, flag := range []struct {
		name       string
		have, want *bool
	}{
		{"atomic batches", &next.AllowAtomicPublish, &want.AllowAtomicPublish},
		{"direct reads", &next.AllowDirect, &want.AllowDirect},
		{"roll-ups", &next.AllowRollup, &want.AllowRollup},
		{"expiry of single entries", &next.AllowMsgTTL, &want.AllowMsgTTL},
	} {
		if *flag.want && !*flag.have {
			*flag.have = true
			added = append(added, flag.name)
		}
	}
	if want.SubjectDeleteMarkerTTL > 0 && have.SubjectDeleteMarkerTTL == 0 {
		next.SubjectDeleteMarkerTTL = want.SubjectDeleteMarkerTTL
		added = append(added, "markers of what has expired")
	}
	if want.Replicas > have.Replicas {
		next.Replicas = want.Replicas
		added = append(added, fmt.Sprintf("%d replicas instead of %d", want.Replicas, have.Replicas))
	}
	kept := kept(have, want)
	if len(added) == 0 {
		if kept != "" {
			return Change{Outcome: Kept, Detail: kept}, nil
		}
		return Change{Outcome: Unchanged}, nil
	}
	if !dry {
		if _, err := js.UpdateStream(ctx, next); err != nil {
			return Change{}, fmt.Errorf("update the stream %s with %s: %w", want.Name, strings.Join(added, ", "), err)
		}
	}
	return Change{Outcome: Updated, Detail: strings.Join(append(added, kept), "; ")}, nil
}

// kept says which sizes are other than declared.
func kept(have *jetstream.StreamConfig, want jetstream.StreamConfig) string {
	var sizes []string
	if have.MaxBytes != want.MaxBytes {
		sizes = append(sizes, fmt.Sprintf("%d bytes, not %d", have.MaxBytes, want.MaxBytes))
	}
	if have.MaxAge != want.MaxAge {
		sizes = append(sizes, fmt.Sprintf("kept for %v, not %v", have.MaxAge, want.MaxAge))
	}
	if have.Replicas > want.Replicas {
		sizes = append(sizes, fmt.Sprintf("%d replicas, not %d", have.Replicas, want.Replicas))
	}
	return strings.Join(sizes, ", ")
}

// consumer creates a durable consumer, or gives it the declared settings.
func consumer(ctx context.Context, js jetstream.JetStream, d Durable, want jetstream.ConsumerConfig, dry bool) (Change, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*answer)
	defer cancel()
	if !dry {
		if err := leave(ctx, js, d); err != nil {
			return refusal(err)
		}
	}
	c, err := js.Consumer(ctx, d.Stream, d.Name)
	missing := errors.Is(err, jetstream.ErrConsumerNotFound) || dry && errors.Is(err, jetstream.ErrStreamNotFound)
	if err != nil && !missing {
		return Change{}, fmt.Errorf("look the consumer %s of %s up: %w", d.Name, d.Stream, err)
	}
	result := Change{Outcome: Created}
	if !missing {
		have := c.CachedInfo().Config
		if have.AckPolicy != want.AckPolicy || have.DeliverSubject != "" {
			err := fault.New(fault.Halt, "consumer-policy", "the consumer %s of %s exists with the acknowledgement policy %s, which can lose work; want %s, pulled",
				d.Name, d.Stream, have.AckPolicy, want.AckPolicy).WithHint("remove it ('nats consumer rm %s %s'), then it is made again", d.Stream, d.Name)
			return Change{Outcome: Refused, Detail: err.Message}, err
		}
		var other []string
		if have.FilterSubject != want.FilterSubject || len(have.FilterSubjects) > 0 {
			other = append(other, "subject "+want.FilterSubject)
		}
		if have.AckWait != want.AckWait {
			other = append(other, fmt.Sprintf("ack-wait %v instead of %v", want.AckWait, have.AckWait))
		}
		if have.MaxAckPending != want.MaxAckPending {
			other = append(other, fmt.Sprintf("%d in flight instead of %d", want.MaxAckPending, have.MaxAckPending))
		}
		if have.MaxDeliver != want.MaxDeliver {
			other = append(other, "deliveries without end")
		}
		if have.Metadata[MetaStage] != want.Metadata[MetaStage] {
			other = append(other, "its stage's name")
		}
		if len(other) == 0 {
			return Change{Outcome: Unchanged}, nil
		}
		result = Change{Outcome: Updated, Detail: strings.Join(other, ", ")}
	}
	if !dry {
		if _, err := js.CreateOrUpdateConsumer(ctx, d.Stream, want); err != nil {
			if err = taken(ctx, js, d, err); fault.From(err).Reason == ReasonTaken {
				return refusal(err)
			}
			return Change{}, fmt.Errorf("create the consumer %s of %s: %w", d.Name, d.Stream, err)
		}
	}
	if d.Left != "" {
		result.Detail = strings.Join(slices.DeleteFunc([]string{"instead of " + d.Left, result.Detail}, func(s string) bool { return s == "" }), ", ")
	}
	return result, nil
}

// refusal is an outcome with its reason, if only a person can mend it.
func refusal(err error) (Change, error) {
	if f := fault.From(err); f.Class == fault.Halt {
		return Change{Outcome: Refused, Detail: f.Message}, err
	}
	return Change{}, err
}

// ReasonNotApplied is the reason of a Halt fault: something that 'sluice apply'
// makes is not there.
const ReasonNotApplied = "not-applied"

// missing says what to do about something that is not there.
func missing(format string, args ...any) error {
	return fault.New(fault.Halt, ReasonNotApplied, format, args...).WithHint("run 'sluice apply' as a user that may create streams")
}
