package broker

import (
	"slices"
	"strings"
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
	// Extra is made besides what the services declare.
	Extra []Stream
}

// DefaultTopology fits a laptop and a single server.
func DefaultTopology() Topology {
	return Topology{Replicas: 1, MaxBytes: 4 << 30, AckWait: 30 * time.Second, MaxInFlight: 20_000}
}

// Kind says what a stream is for, and with it how it keeps its messages.
type Kind string

// The kinds.
const (
	KindQueue  Kind = "queue"  // work: each message is kept until one stage has done it; a full one refuses
	KindLog    Kind = "log"    // facts: kept for a time, read by anybody
	KindBucket Kind = "bucket" // keys and values
	KindStore  Kind = "store"  // objects
)

// Stream declares a stream, or the stream behind a bucket or an object store.
type Stream struct {
	Name     string        `json:"name"` // of the stream; of the bucket or object store
	Kind     Kind          `json:"kind"`
	Subjects []string      `json:"subjects,omitempty"` // of queues and logs
	MaxAge   time.Duration `json:"max_age,omitempty"`  // 0 is for ever
	Sized    bool          `json:"sized,omitempty"`    // it has the topology's MaxBytes; queues always have
	Small    bool          `json:"small,omitempty"`    // it has less than that: its entries are small
	// Old messages make room for new ones. Only what can be missed may do this.
	Forgets    bool `json:"forgets,omitempty"`
	Compressed bool `json:"compressed,omitempty"`
	Atomic     bool `json:"atomic,omitempty"`  // several entries change together or not at all
	Expires    bool `json:"expires,omitempty"` // single entries may have a time of their own
	// Clocked counts from the milliseconds of its creation, so that one that is lost
	// and made again does not count from below what outlived it.
	Clocked bool `json:"clocked,omitempty"`
}

// Queue declares a work queue: the hand-off to one stage. Without subjects it is
// one that another service fills, which adds them.
func Queue(name string, subjects ...string) Stream {
	return Stream{Name: name, Kind: KindQueue, Subjects: subjects}
}

// filled tells whether another service says what is in the queue.
func (s Stream) filled() bool { return s.Kind == KindQueue && len(s.Subjects) == 0 }

// Bucket declares a bucket of keys and values.
func Bucket(name string) Stream { return Stream{Name: name, Kind: KindBucket} }

const day = 24 * time.Hour

// common are the streams that belong to no stage: every stage tells its events,
// buries what cannot be handled, counts failures and stores what is too large.
func common() []Stream {
	return []Stream{
		{Name: events.StreamEvents, Kind: KindLog, Subjects: []string{events.SubjectEventPrefix + ">"}, MaxAge: 7 * day, Sized: true, Forgets: true},
		{Name: events.StreamDeadLetter, Kind: KindLog, Subjects: []string{events.SubjectDeadPrefix + ">"}, MaxAge: 30 * day, Sized: true},
		Queue(events.StreamHeld, events.SubjectHeldPrefix+"*.*"),
		{Name: events.BucketRetries, Kind: KindBucket, MaxAge: 7 * day},
		{Name: events.BucketPipeline, Kind: KindBucket},
		{Name: events.StoreBlobs, Kind: KindStore, MaxAge: 30 * day},
	}
}

// Vocabulary returns the streams that package events names: those of no stage,
// and those by which services of this tree, which do not import one another, hand
// work and state on. A service makes the ones that it uses.
func Vocabulary() []Stream {
	return append([]Stream{
		{
			Name: events.StreamDocuments, Kind: KindQueue, Clocked: true,
			Subjects: []string{events.SubjectSubmit, events.SubjectSubmit + ".>", events.SubjectURI, events.SubjectDelete},
		},
		Queue(events.StreamParsed, events.SubjectParsed),
		Queue(events.StreamChunks, events.SubjectChunks),
		Queue(events.StreamVectors, events.SubjectVectors),
		Queue(events.StreamUpgrades, events.SubjectUpgrade, events.SubjectReparse),
		{Name: events.StreamCosts, Kind: KindLog, Subjects: []string{events.SubjectUsagePrefix + ">"}, MaxAge: 400 * day},
		Bucket(events.BucketDocuments),
		// The ledgers of a call's path change together or not at all.
		{Name: events.BucketBudget, Kind: KindBucket, Atomic: true},
		// Vectors do not compress, and a lookup would unpack a whole block for one of them.
		{Name: events.BucketCache, Kind: KindBucket, MaxAge: 30 * day, Sized: true, Expires: true},
		// Apart from the cache: a note that cannot be written stops what is paid for,
		// so vectors must not crowd it out. Services forget jobs after two days.
		{Name: events.BucketJobs, Kind: KindBucket, MaxAge: 7 * day, Small: true},
		// Apart from the cache: a full cache must not keep anybody from claiming. An entry lives
		// for as long as its text is bought; what a dead owner left behind is void before it expires.
		{Name: events.BucketClaims, Kind: KindBucket, MaxAge: day, Small: true, Expires: true},
		{Name: events.StoreInbox, Kind: KindStore, MaxAge: 30 * day},
		{Name: events.StoreParses, Kind: KindStore, MaxAge: 30 * day, Sized: true, Compressed: true},
	}, common()...)
}

// Stream returns the name of the stream: of the one behind a bucket or store.
func (s Stream) Stream() string {
	switch s.Kind {
	case KindBucket:
		return "KV_" + s.Name
	case KindStore:
		return "OBJ_" + s.Name
	}
	return s.Name
}

// config returns what the server is told of a stream. Buckets and stores are as
// clients make them.
func (s Stream) config(t Topology) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name: s.Stream(), Subjects: slices.Clone(s.Subjects), MaxAge: s.MaxAge, MaxBytes: -1, Discard: jetstream.DiscardNew,
		Storage: jetstream.FileStorage, Replicas: max(t.Replicas, 1), AllowAtomicPublish: s.Atomic,
	}
	switch s.Kind {
	case KindQueue:
		c.Retention, c.Duplicates = jetstream.WorkQueuePolicy, time.Minute
	case KindBucket:
		c.Subjects, c.Duplicates = []string{"$KV." + s.Name + ".>"}, 2*time.Minute
		c.MaxMsgsPerSubject, c.MaxMsgs, c.MaxMsgSize, c.MaxConsumers = 1, -1, -1, -1
		c.AllowRollup, c.DenyDelete, c.AllowDirect = true, true, true
	case KindStore:
		c.Subjects = []string{"$O." + s.Name + ".C.>", "$O." + s.Name + ".M.>"}
		c.AllowRollup, c.AllowDirect = true, true
	}
	if s.Sized || s.Kind == KindQueue {
		c.MaxBytes = t.MaxBytes
	}
	if s.Small {
		c.MaxBytes = t.small()
	}
	if s.Forgets {
		c.Discard, c.Duplicates = jetstream.DiscardOld, time.Minute
	}
	if s.Compressed {
		c.Compression = jetstream.S2Compression
	}
	if s.Expires {
		c.AllowMsgTTL, c.SubjectDeleteMarkerTTL = true, time.Minute
	}
	if s.Clocked {
		// A stream that is made again repeats no sequences: people and commands know
		// their submissions by them.
		c.FirstSeq, c.Duplicates = uint64(time.Now().UnixMilli()), 2*time.Minute
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = -1
	}
	return c
}

// small bounds buckets of small entries, bytes.
func (t Topology) small() int64 {
	if t.MaxBytes > 0 {
		return min(256<<20, t.MaxBytes)
	}
	return 256 << 20
}

// Streams returns the streams that belong to no stage, those that the services
// use and the extra ones, in the order in which they are made. Equal names are
// one stream: the first definition holds.
func (t Topology) Streams(services ...Service) []jetstream.StreamConfig {
	var all []jetstream.StreamConfig
	for _, s := range t.declared(services) {
		all = append(all, s.config(t))
	}
	return all
}

func (t Topology) declared(services []Service) []Stream {
	definitions := Vocabulary()
	for _, s := range services {
		definitions = append(definitions, s.Streams...)
	}
	definitions = append(definitions, t.Extra...)
	// Who fills a queue knows more of it than who takes from it.
	filled := slices.DeleteFunc(slices.Clone(definitions), func(s Stream) bool { return !s.filled() })
	definitions = append(slices.DeleteFunc(definitions, Stream.filled), filled...)
	used := map[string]bool{}
	for _, s := range append(common(), t.Extra...) {
		used[s.Stream()] = true
	}
	for _, s := range services {
		for name := range s.uses() {
			used[name] = true
		}
	}
	var all []Stream
	for _, d := range definitions {
		if used[d.Stream()] {
			used[d.Stream()] = false
			all = append(all, d)
		}
	}
	return all
}

// split returns the kind and the name of what a stream is behind.
func split(stream string) (kind, name string) {
	if b, ok := strings.CutPrefix(stream, "KV_"); ok {
		return "bucket", b
	} else if b, ok := strings.CutPrefix(stream, "OBJ_"); ok {
		return "store", b
	}
	return "stream", stream
}
