// Package broker connects to NATS and creates the streams, buckets and object
// stores that package events names.
//
// Every hand-off stream refuses new messages when it is full (discard new):
// JetStream's default, discard old, silently drops work nobody has done yet.
package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// Config says where NATS is. The tags are read by kong.
type Config struct {
	URL   string `name:"nats-url" env:"NATS_URL" default:"nats://127.0.0.1:4222" help:"NATS server, or several with commas."`
	Creds string `name:"nats-creds" env:"NATS_CREDS" type:"path" help:"NATS credentials file."`
}

// Connect dials NATS under the client name that 'nats server list' shows. It
// waits for a server that is still starting until ctx ends, and afterwards
// reconnects for ever: a stage outlives its broker.
func Connect(ctx context.Context, cfg Config, name string, opts ...nats.Option) (*nats.Conn, error) {
	options := []nats.Option{
		nats.Name(name),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, time.Second),
		nats.PingInterval(20 * time.Second),
		// What is published while disconnected is retried by the stage, which
		// knows what was acknowledged; a silent buffer would only hide the gap.
		nats.ReconnectBufSize(-1),
		nats.Timeout(5 * time.Second),
	}
	if cfg.Creds != "" {
		options = append(options, nats.UserCredentials(cfg.Creds))
	}
	options = append(options, opts...)
	for {
		nc, err := nats.Connect(cfg.URL, options...)
		if err == nil {
			return nc, nil
		}
		if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) {
			return nil, fault.Wrap(err, fault.Halt, "nats-auth", "NATS at %s refuses these credentials", cfg.URL).
				WithHint("set NATS_CREDS or --nats-creds")
		}
		select {
		case <-ctx.Done():
			return nil, fault.Wrap(err, fault.Unavailable, "nats-unreachable", "no NATS server at %s", cfg.URL).
				WithHint("start one with 'sluice up', or set --nats-url")
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Topology sizes what Ensure creates. What exists already keeps its sizes, so
// that an operator's 'nats stream edit' lasts.
type Topology struct {
	Replicas int   // of streams and buckets; 1 to 5
	MaxBytes int64 // of each hand-off stream
	// Extra hand-offs for stages of your own.
	Extra []Handoff
}

// Handoff is one work-queue stream between two stages.
type Handoff struct {
	Stream   string
	Subjects []string
}

// DefaultTopology fits a laptop and a single server.
func DefaultTopology() Topology { return Topology{Replicas: 1, MaxBytes: 4 << 30} }

const day = 24 * time.Hour

// Ensure creates what is missing. It may be called by any number of processes
// at once. A stream that exists with a policy that would lose work is an error.
func Ensure(ctx context.Context, js jetstream.JetStream, t Topology) error {
	handoffs := append([]Handoff{
		{events.StreamDocuments, []string{events.SubjectSubmit, events.SubjectSubmit + ".>", events.SubjectURI, events.SubjectDelete}},
		{events.StreamParsed, []string{events.SubjectParsed}},
		{events.StreamChunks, []string{events.SubjectChunk}},
		{events.StreamVectors, []string{events.SubjectVector}},
		{events.StreamUpgrades, []string{events.SubjectUpgrade}},
	}, t.Extra...)
	for _, h := range handoffs {
		cfg := jetstream.StreamConfig{
			Name: h.Stream, Subjects: h.Subjects, Retention: jetstream.WorkQueuePolicy,
			Discard: jetstream.DiscardNew, MaxBytes: t.MaxBytes, Duplicates: time.Minute,
		}
		if h.Stream == events.StreamDocuments {
			// Revisions are sequences of this stream. A stream that is lost and
			// made again must not count from below an index that outlived it.
			cfg.FirstSeq = uint64(time.Now().UnixMilli())
			cfg.Duplicates = 2 * time.Minute
		}
		if err := ensureStream(ctx, js, t, cfg); err != nil {
			return err
		}
	}
	for _, cfg := range []jetstream.StreamConfig{
		{Name: events.StreamEvents, Subjects: []string{events.SubjectEventPrefix + ">"}, MaxAge: 7 * day, MaxBytes: t.MaxBytes, Discard: jetstream.DiscardOld, Duplicates: time.Minute},
		{Name: events.StreamDeadLetter, Subjects: []string{events.SubjectDeadPrefix + ">"}, MaxAge: 30 * day, MaxBytes: t.MaxBytes, Discard: jetstream.DiscardNew},
		{Name: events.StreamCosts, Subjects: []string{events.SubjectUsagePrefix + ">"}, MaxAge: 400 * day, Discard: jetstream.DiscardNew},
	} {
		if err := ensureStream(ctx, js, t, cfg); err != nil {
			return err
		}
	}
	for _, cfg := range []jetstream.KeyValueConfig{
		{Bucket: events.BucketDocuments},
		{Bucket: events.BucketPipeline},
		{Bucket: events.BucketRetries, TTL: 7 * day},
		{Bucket: events.BucketBudget},
		{Bucket: events.BucketCache, TTL: 30 * day, MaxBytes: t.MaxBytes, Compression: true, LimitMarkerTTL: time.Minute},
	} {
		cfg.Replicas = t.Replicas
		if _, err := js.KeyValue(ctx, cfg.Bucket); err == nil {
			continue
		}
		if _, err := js.CreateKeyValue(ctx, cfg); err != nil && !exists(err) {
			return fmt.Errorf("create the bucket %q: %w", cfg.Bucket, err)
		}
	}
	if err := allowAtomic(ctx, js, "KV_"+events.BucketBudget); err != nil {
		return err
	}
	for _, cfg := range []jetstream.ObjectStoreConfig{
		{Bucket: events.StoreInbox, TTL: 30 * day},
		{Bucket: events.StoreBlobs, TTL: 30 * day},
		{Bucket: events.StoreParses, TTL: 30 * day, MaxBytes: t.MaxBytes, Compression: true},
	} {
		cfg.Replicas = t.Replicas
		if _, err := js.ObjectStore(ctx, cfg.Bucket); err == nil {
			continue
		}
		if _, err := js.CreateObjectStore(ctx, cfg); err != nil && !exists(err) {
			return fmt.Errorf("create the object store %q: %w", cfg.Bucket, err)
		}
	}
	return nil
}

func ensureStream(ctx context.Context, js jetstream.JetStream, t Topology, want jetstream.StreamConfig) error {
	want.Storage, want.Replicas = jetstream.FileStorage, t.Replicas
	s, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if s, err = js.CreateStream(ctx, want); exists(err) {
			s, err = js.Stream(ctx, want.Name) // another process was faster
		}
	}
	if err != nil {
		return fmt.Errorf("create the stream %s: %w", want.Name, err)
	}
	have := s.CachedInfo().Config
	if have.Retention != want.Retention || (want.Discard == jetstream.DiscardNew && have.Discard != want.Discard) {
		return fault.New(fault.Halt, "stream-policy", "the stream %s exists with retention %s and discard %s, which can lose work; want %s and %s",
			want.Name, have.Retention, have.Discard, want.Retention, want.Discard).
			WithHint("empty and remove it ('nats stream rm %s'), it is made again at the next start", want.Name)
	}
	return nil
}

func exists(err error) bool {
	return errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) || errors.Is(err, jetstream.ErrBucketExists)
}

// allowAtomic lets several keys of a bucket change together or not at all: the
// ledgers of a call's path do.
func allowAtomic(ctx context.Context, js jetstream.JetStream, stream string) error {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("look at the stream %s: %w", stream, err)
	}
	cfg := s.CachedInfo().Config
	if cfg.AllowAtomicPublish {
		return nil
	}
	cfg.AllowAtomicPublish = true
	if _, err := js.UpdateStream(ctx, cfg); err != nil {
		return fmt.Errorf("allow atomic batches in the stream %s: %w", stream, err)
	}
	return nil
}
