// Package broker connects to NATS, declares the streams, consumers, buckets and
// object stores that package events names, and who may use which of them.
//
// There is one declaration (Topology). Ensure makes what is missing of it,
// Apply does all of it and reports, Bind only looks it up. Rights and ServerAuth
// say what each service needs of it, and nothing else.
//
// Every hand-off stream refuses new messages when it is full (discard new):
// JetStream's default, discard old, silently drops work nobody has done yet.
package broker

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/events"
)

// Topology sizes what is declared. What exists already keeps its sizes, so that
// an operator's 'nats stream edit' lasts.
type Topology struct {
	Replicas int   // of streams and buckets; 1 to 5
	MaxBytes int64 // of each hand-off stream
	// Consumers, for Apply.
	AckWait     time.Duration // a message whose process has been silent for this long is delivered again
	MaxInFlight int           // messages delivered and not acknowledged, of each consumer
	// Extra hand-offs for stages of your own.
	Extra []Handoff
}

// Handoff is one work-queue stream between two stages.
type Handoff struct {
	Stream   string
	Subjects []string
}

// DefaultTopology fits a laptop and a single server.
func DefaultTopology() Topology {
	return Topology{Replicas: 1, MaxBytes: 4 << 30, AckWait: 30 * time.Second, MaxInFlight: 20_000}
}

const day = 24 * time.Hour

// Streams returns every stream, those behind buckets and object stores included,
// in the order in which they are made.
func (t Topology) Streams() []jetstream.StreamConfig {
	handoffs := append([]Handoff{
		{events.StreamDocuments, []string{events.SubjectSubmit, events.SubjectSubmit + ".>", events.SubjectURI, events.SubjectDelete}},
		{events.StreamParsed, []string{events.SubjectParsed}},
		{events.StreamChunks, []string{events.SubjectChunk}},
		{events.StreamVectors, []string{events.SubjectVector}},
		{events.StreamUpgrades, []string{events.SubjectUpgrade, events.SubjectReparse}},
		{events.StreamHeld, []string{events.SubjectHeldPrefix + "*.*"}},
	}, t.Extra...)
	var all []jetstream.StreamConfig
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
		all = append(all, cfg)
	}
	all = append(all,
		jetstream.StreamConfig{Name: events.StreamEvents, Subjects: []string{events.SubjectEventPrefix + ">"}, MaxAge: 7 * day, MaxBytes: t.MaxBytes, Discard: jetstream.DiscardOld, Duplicates: time.Minute},
		jetstream.StreamConfig{Name: events.StreamDeadLetter, Subjects: []string{events.SubjectDeadPrefix + ">"}, MaxAge: 30 * day, MaxBytes: t.MaxBytes, Discard: jetstream.DiscardNew},
		jetstream.StreamConfig{Name: events.StreamCosts, Subjects: []string{events.SubjectUsagePrefix + ">"}, MaxAge: 400 * day, Discard: jetstream.DiscardNew},
		bucket(events.BucketDocuments),
		bucket(events.BucketPipeline),
		bucket(events.BucketRetries, func(c *jetstream.StreamConfig) { c.MaxAge = 7 * day }),
		// The ledgers of a call's path change together or not at all.
		bucket(events.BucketBudget, func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = true }),
		bucket(events.BucketCache, func(c *jetstream.StreamConfig) {
			c.MaxAge, c.MaxBytes, c.Compression = 30*day, t.MaxBytes, jetstream.S2Compression
			c.AllowMsgTTL, c.SubjectDeleteMarkerTTL = true, time.Minute
		}),
		// Apart from the cache: a note that cannot be written stops what is paid for,
		// so vectors must not crowd it out. Services forget jobs after two days.
		bucket(events.BucketJobs, func(c *jetstream.StreamConfig) {
			c.MaxAge, c.MaxBytes = 7*day, t.small()
		}),
		// Apart from the cache: a full cache must not keep anybody from claiming. An entry lives
		// for as long as its text is bought; what a dead owner left behind is void before it expires.
		bucket(events.BucketClaims, func(c *jetstream.StreamConfig) {
			c.MaxAge, c.MaxBytes = day, t.small()
			c.AllowMsgTTL, c.SubjectDeleteMarkerTTL = true, time.Minute
		}),
		store(events.StoreInbox),
		store(events.StoreBlobs),
		store(events.StoreParses, func(c *jetstream.StreamConfig) {
			c.MaxBytes, c.Compression = t.MaxBytes, jetstream.S2Compression
		}),
	)
	for i := range all {
		all[i].Storage, all[i].Replicas = jetstream.FileStorage, max(t.Replicas, 1)
		if all[i].MaxBytes == 0 {
			all[i].MaxBytes = -1
		}
	}
	return all
}

// small bounds buckets of small entries, bytes.
func (t Topology) small() int64 {
	if t.MaxBytes > 0 {
		return min(256<<20, t.MaxBytes)
	}
	return 256 << 20
}

// bucket declares the stream behind a key-value bucket, as clients expect it.
func bucket(name string, options ...func(*jetstream.StreamConfig)) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name: "KV_" + name, Subjects: []string{"$KV." + name + ".>"}, MaxMsgsPerSubject: 1, MaxMsgs: -1, MaxMsgSize: -1, MaxConsumers: -1,
		Discard: jetstream.DiscardNew, Duplicates: 2 * time.Minute, AllowRollup: true, DenyDelete: true, AllowDirect: true,
	}
	for _, o := range options {
		o(&c)
	}
	return c
}

// store declares the stream behind an object store, as clients expect it.
func store(name string, options ...func(*jetstream.StreamConfig)) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name: "OBJ_" + name, Subjects: []string{"$O." + name + ".C.>", "$O." + name + ".M.>"}, MaxAge: 30 * day,
		Discard: jetstream.DiscardNew, AllowRollup: true, AllowDirect: true,
	}
	for _, o := range options {
		o(&c)
	}
	return c
}

// Durable is the consumer that all replicas of a stage share.
type Durable struct {
	Name    string // the stage's
	Stream  string
	Subject string // empty = all of the stream
}

// Durables returns the consumers of all stages.
func Durables() []Durable {
	return []Durable{
		{"parser", events.StreamDocuments, ""},
		{"reparser", events.StreamUpgrades, events.SubjectReparse},
		{"inbox", "OBJ_" + events.StoreInbox, "$O." + events.StoreInbox + ".M.>"},
		{"chunker", events.StreamParsed, events.SubjectParsed},
		{"embedder", events.StreamChunks, events.SubjectChunk},
		{"upgrader", events.StreamUpgrades, events.SubjectUpgrade},
		{"indexer", events.StreamVectors, events.SubjectVector},
		{"recorder", events.StreamEvents, ""},
		{"costd", events.StreamCosts, ""},
	}
}

// Config returns what the server is told of a consumer.
func (d Durable) Config(ackWait time.Duration, maxInFlight int) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       d.Name,
		FilterSubject: d.Subject,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       ackWait,
		MaxDeliver:    -1, // failures are counted, not deliveries
		MaxAckPending: maxInFlight,
	}
}
