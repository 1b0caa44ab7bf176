package broker_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"sluice/pkg/broker"
	"sluice/pkg/broker/embedded"
	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// pipeline is one of two services, with a stream, bucket and store of each kind.
var pipeline = []broker.Service{{
	Name: "parser", About: "Reads.",
	Stages: []broker.Declaration{{
		Name: "parser", In: broker.Route{Stream: events.StreamDocuments},
		Out: []broker.Route{{Stream: events.StreamParsed, Subject: events.SubjectParsed}, {Stream: events.StreamVectors, Subject: events.SubjectVectors}},
	}},
	Uses: []broker.Access{{Bucket: events.BucketDocuments, Keys: "*", Read: true}, {Store: events.StoreParses, Read: true}, {Bucket: events.BucketCache, Keys: ">", Read: true}},
}, {
	Name: "chunker", About: "Cuts.",
	Stages: []broker.Declaration{{
		Name: "chunker", In: broker.Route{Stream: events.StreamParsed, Subject: events.SubjectParsed},
		Out:  []broker.Route{{Stream: events.StreamChunks, Subject: events.SubjectChunks}},
		Pays: []broker.Payment{{Service: "openai", Operation: "embed"}},
	}},
}}

// open returns JetStream on a server with nothing on it.
func open(t *testing.T) jetstream.JetStream {
	t.Helper()
	s, err := embedded.Start(embedded.Config{Dir: t.TempDir(), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	nc, err := broker.Connect(t.Context(), broker.Config{URL: s.URL()}, t.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func config(t *testing.T, js jetstream.JetStream, stream string) jetstream.StreamConfig {
	t.Helper()
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().Config
}

func outcomes(changes []broker.Change) map[broker.Outcome]int {
	n := map[broker.Outcome]int{}
	for _, c := range changes {
		n[c.Outcome]++
	}
	return n
}

// The streams behind buckets and object stores are what the client would make.
func TestBucketsAreAsTheClientMakesThem(t *testing.T) {
	js := open(t)
	declared := map[string]jetstream.StreamConfig{}
	for _, s := range broker.DefaultTopology().Streams(pipeline...) {
		declared[s.Name] = s
	}
	for _, name := range []string{events.BucketRetries, events.BucketDocuments, events.BucketCache} {
		want := declared["KV_"+name]
		cfg := jetstream.KeyValueConfig{Bucket: name, TTL: want.MaxAge, MaxBytes: want.MaxBytes, LimitMarkerTTL: want.SubjectDeleteMarkerTTL, Compression: want.Compression == jetstream.S2Compression}
		if _, err := js.CreateKeyValue(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{events.StoreBlobs, events.StoreParses} {
		want := declared["OBJ_"+name]
		if _, err := js.CreateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: name, TTL: want.MaxAge, MaxBytes: want.MaxBytes, Compression: want.Compression == jetstream.S2Compression}); err != nil {
			t.Fatal(err)
		}
	}
	theirs := map[string]jetstream.StreamConfig{}
	for _, name := range []string{"KV_retries", "KV_documents", "KV_cache", "OBJ_blobs", "OBJ_parses"} {
		theirs[name] = config(t, js, name)
		if err := js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if err := broker.Ensure(t.Context(), js, broker.DefaultTopology(), pipeline...); err != nil {
		t.Fatal(err)
	}
	for name, want := range theirs {
		if have := config(t, js, name); !reflect.DeepEqual(have, want) {
			t.Errorf("%s:\n%+v\nthe client makes\n%+v", name, have, want)
		}
	}
}

// Any number may apply at once; the second time nothing is left to do; and a dry
// run says the same without doing it.
func TestApply(t *testing.T) {
	js := open(t)
	topology := broker.DefaultTopology()
	all := len(topology.Streams(pipeline...)) + len(broker.Durables(pipeline...))
	dry, err := broker.Apply(t.Context(), js, topology, true, pipeline...)
	if err != nil || outcomes(dry)[broker.Created] != all {
		t.Fatalf("dry: %v, %v", outcomes(dry), err)
	}
	if _, err := js.Stream(t.Context(), events.StreamDocuments); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Fatalf("a dry run made something: %v", err)
	}
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() { _, errs[i] = broker.Apply(t.Context(), js, topology, false, pipeline...) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		again, err := broker.Apply(t.Context(), js, topology, false, pipeline...)
		if err != nil || outcomes(again)[broker.Unchanged] != all {
			t.Fatalf("again: %+v, %v", again, err)
		}
	}
	if c := config(t, js, "KV_"+events.BucketBudget); !c.AllowAtomicPublish {
		t.Error("the ledgers cannot change together")
	}
	if err := broker.Bind(t.Context(), js, topology, pipeline...); err != nil {
		t.Error(err)
	}
}

// What an operator has set stays; what an older release did not know is added;
// what would lose work is refused, and the rest is done all the same.
func TestApplyKeepsAddsAndRefuses(t *testing.T) {
	js := open(t)
	topology := broker.DefaultTopology()
	for _, c := range topology.Streams(pipeline...) {
		switch c.Name {
		case events.StreamChunks:
			c.MaxBytes = 1 << 20
		case events.StreamDocuments:
			c.Subjects = []string{events.SubjectSubmit}
		case "KV_" + events.BucketBudget:
			c.AllowAtomicPublish = false
		case events.StreamVectors:
			c.Discard = jetstream.DiscardOld
		case events.StreamParsed:
			continue
		}
		if _, err := js.CreateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := js.Publish(t.Context(), events.SubjectSubmit, []byte("a document")); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateConsumer(t.Context(), events.StreamDocuments, jetstream.ConsumerConfig{Durable: "parser", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Minute, MaxDeliver: 5}); err != nil {
		t.Fatal(err)
	}
	if err := broker.Bind(t.Context(), js, topology, pipeline[0]); fault.Of(err) != fault.Halt || !strings.Contains(fault.From(err).Hint, "sluice apply") {
		t.Errorf("binding to what is missing and old: %v", err)
	}
	changes, err := broker.Apply(t.Context(), js, topology, false, pipeline...)
	if fault.Of(err) != fault.Halt || !strings.Contains(err.Error(), events.StreamVectors) {
		t.Errorf("a stream that loses work is accepted: %v", err)
	}
	got := map[string]broker.Outcome{}
	for _, c := range changes {
		got[c.Kind+" "+c.Name] = c.Outcome
	}
	for name, want := range map[string]broker.Outcome{
		"stream CHUNKS": broker.Kept, "stream DOCUMENTS": broker.Updated, "bucket budget": broker.Updated, "stream VECTORS": broker.Refused,
		"stream PARSED": broker.Created, "store blobs": broker.Unchanged, "consumer parser on DOCUMENTS": broker.Updated, "consumer chunker on PARSED": broker.Created,
	} {
		if got[name] != want {
			t.Errorf("%s: %s, want %s", name, got[name], want)
		}
	}
	if c := config(t, js, events.StreamChunks); c.MaxBytes != 1<<20 {
		t.Errorf("an operator's size became %d", c.MaxBytes)
	}
	s, err := js.Stream(t.Context(), events.StreamDocuments)
	if err != nil || s.CachedInfo().State.Msgs != 1 || len(s.CachedInfo().Config.Subjects) != 4 {
		t.Errorf("%+v, %v", s.CachedInfo(), err)
	}
}

// A stage that may create nothing says what is missing, and what to do.
func TestBindSaysWhatIsMissing(t *testing.T) {
	js := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	check := func(err error, what string) {
		t.Helper()
		if f := fault.From(err); f == nil || f.Class != fault.Halt || f.Reason != "not-applied" || !strings.Contains(f.Message, what) || !strings.Contains(f.Hint, "run 'sluice apply'") {
			t.Errorf("%v, want a halt about %s", err, what)
		}
	}
	check(broker.Bind(ctx, js, broker.DefaultTopology(), pipeline[1]), "there is no stream")
	if err := broker.Ensure(ctx, js, broker.DefaultTopology(), pipeline...); err != nil {
		t.Fatal(err)
	}
	check(broker.Bind(ctx, js, broker.DefaultTopology(), pipeline[1]), "no consumer chunker")
	chunker := broker.Durable{Name: "chunker", Stream: events.StreamParsed, Subject: events.SubjectParsed}
	_, err := broker.BindConsumer(ctx, js, chunker)
	check(err, "chunker")
	if _, err := js.CreateConsumer(ctx, events.StreamParsed, jetstream.ConsumerConfig{Durable: "chunker", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 3}); err != nil {
		t.Fatal(err)
	}
	_, err = broker.BindConsumer(ctx, js, chunker)
	check(err, "chunker")
	if _, err := broker.Apply(ctx, js, broker.DefaultTopology(), false, pipeline...); err != nil {
		t.Fatal(err)
	}
	if _, err := broker.BindConsumer(ctx, js, chunker); err != nil {
		t.Error(err)
	}
	if err := broker.Bind(ctx, js, broker.DefaultTopology(), pipeline[1]); err != nil {
		t.Error(err)
	}
}
