package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"sluice/pkg/broker"
	"sluice/pkg/broker/embedded"
	"sluice/pkg/events"
	fake "sluice/pkg/fake/openai"
	"sluice/pkg/stage"
	"sluice/services/chunker"
	"sluice/services/chunker/split"
	"sluice/services/costd"
	"sluice/services/embedder"
	"sluice/services/embedder/mock"
	"sluice/services/indexer"
	"sluice/services/parser"
	"sluice/services/parser/local"
)

func TestMain(m *testing.M) {
	local.Init()
	os.Exit(m.Run())
}

const documents = 2000

// cpu returns the user and system time of this process so far.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peak returns the largest resident size of a process so far, in bytes.
func peak(pid string) float64 {
	status, err := os.ReadFile(filepath.Join("/proc", pid, "status"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		var kb float64
		if n, _ := fmt.Sscanf(line, "VmHWM: %f kB", &kb); n == 1 {
			return kb * 1024
		}
	}
	return 0
}

func start(b *testing.B) (*nats.Conn, jetstream.JetStream) {
	b.Helper()
	s, err := embedded.Start(embedded.Config{Dir: b.TempDir(), Log: zerolog.Nop()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Stop)
	nc, err := broker.Connect(b.Context(), broker.Config{URL: s.URL()}, "bench", nats.InProcessServer(s))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(1024))
	if err != nil {
		b.Fatal(err)
	}
	topology := broker.DefaultTopology()
	topology.Extra = broker.Vocabulary()
	if err := broker.Ensure(b.Context(), js, topology); err != nil {
		b.Fatal(err)
	}
	return nc, js
}

// submit publishes the corpus and waits until it is stored.
func submit(b *testing.B, js jetstream.JetStream, docs []string) {
	b.Helper()
	for i, d := range docs {
		msg := nats.NewMsg(events.SubjectSubmit)
		msg.Header.Set(events.HeaderFilename, fmt.Sprintf("doc-%05d.md", i))
		msg.Data = []byte(d)
		if _, err := js.PublishMsgAsync(msg, jetstream.WithStallWait(30*time.Second)); err != nil {
			b.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(time.Minute):
		b.Fatal("publishing takes too long")
	}
}

// completion counts documents and chunks as their completion is told.
func completion(b *testing.B, nc *nats.Conn, want int) (done <-chan struct{}, chunks func() int) {
	b.Helper()
	all := make(chan struct{})
	var docs, total atomic.Int64
	sub, err := nc.Subscribe(events.SubjectEventPrefix+"*.*", func(m *nats.Msg) {
		switch events.What(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]) {
		case events.Failed:
			panic("a document failed: " + string(m.Data))
		case events.Completed:
			e, err := events.Decode[events.Event](m.Data)
			if err != nil {
				panic(err)
			}
			total.Add(int64(e.Of))
			if docs.Add(1) == int64(want) {
				close(all)
			}
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = sub.Unsubscribe() })
	return all, func() int { return int(total.Load()) }
}

func report(b *testing.B, docs []string, chunks int, wall, used time.Duration) {
	b.Helper()
	size := 0
	for _, d := range docs {
		size += len(d)
	}
	b.ReportMetric(float64(len(docs))/wall.Seconds(), "docs/s")
	b.ReportMetric(float64(chunks)/wall.Seconds(), "chunks/s")
	b.ReportMetric(float64(size)/wall.Seconds()/1e6, "MB/s")
	b.ReportMetric(used.Seconds()/float64(chunks)*1000, "cpu-s/1000chunks")
	b.ReportMetric(peak("self")/1e6, "peak-MB")
}

// stored returns the sum of the newest sequences of all streams: it grows by one with
// each message that is stored.
func stored(b *testing.B, js jetstream.JetStream) (n uint64) {
	b.Helper()
	list := js.ListStreams(b.Context())
	for s := range list.Info() {
		n += s.State.LastSeq
	}
	if err := list.Err(); err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkPipeline is parser, chunker, embedder (mock) and indexer (SQLite)
// with the nats-server in one process, from the first publish to the last
// document searchable. Everything is durable.
func BenchmarkPipeline(b *testing.B) {
	pipeline(b, func(ctx context.Context, env *stage.Env) ([]stage.Stage, func() error) {
		em, err := embedder.Stage(ctx, env, embedder.Config{Cache: "auto", Workers: 2, Batch: 256, Wait: 10 * time.Millisecond}, mock.Embedder{})
		if err != nil {
			b.Fatal(err)
		}
		return []stage.Stage{em}, func() error { return nil }
	}, nil)
}

// BenchmarkPaid is BenchmarkPipeline with embeddings bought from the fake, which
// runs in the same process, at two latencies: with budget, claims, cache, breaker
// and limiter, and the defaults.
func BenchmarkPaid(b *testing.B) {
	for _, latency := range []time.Duration{0, 100 * time.Millisecond} {
		b.Run(latency.String(), func(b *testing.B) {
			s, err := fake.New(fake.Config{Latency: latency})
			if err != nil {
				b.Fatal(err)
			}
			url, stop, err := s.Start("127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer func() {
				if err := stop(); err != nil {
					b.Error(err)
				}
			}()
			before := s.Meter()
			pipeline(b, func(ctx context.Context, env *stage.Env) ([]stage.Stage, func() error) {
				costs, stopCosts, err := costd.Stages(ctx, env, costd.Config{Day: "none", HourRequests: "none"})
				if err != nil {
					b.Fatal(err)
				}
				em, stopEmbedder, err := embedder.Stages(ctx, env, embedder.Config{
					Provider: "openai", Cache: "auto", Workers: 2, Fallback: "hold", Upgrade: 100,
					OpenAI: embedder.OpenAI{BaseURL: url + "/v1", Model: "text-embedding-3-small", MaxInputs: 2048, MaxTokens: 300_000, MaxInput: 8191, Timeout: time.Minute},
				})
				if err != nil {
					b.Fatal(err)
				}
				return append(costs, em...), func() error { return errors.Join(stopEmbedder(), stopCosts()) }
			}, func(chunks int) {
				m := s.Meter()
				tokens := before.Tokens
				calls, inputs := m.Calls-before.Calls, m.Inputs-before.Inputs
				before = m
				b.ReportMetric(float64(calls), "requests")
				b.ReportMetric(float64(inputs)/float64(calls), "inputs/request")
				least := max((m.Tokens-tokens+299_999)/300_000, (inputs+2047)/2048)
				b.ReportMetric(float64(calls)/float64(least), "x-least-requests")
			})
		})
	}
}

// pipeline runs the whole pipeline over the corpus.
func pipeline(b *testing.B, embed func(context.Context, *stage.Env) ([]stage.Stage, func() error), measured func(chunks int)) {
	docs := Corpus(documents)
	for b.Loop() {
		nc, js := start(b)
		before := stored(b, js)
		env, err := stage.NewEnv(nc, zerolog.Nop(), stage.DefaultSettings())
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		run := func(stages ...stage.Stage) {
			wg.Go(func() {
				if err := stage.Run(ctx, env, stages...); err != nil {
					b.Error(err)
				}
			})
		}
		ce, err := chunker.Stage(chunker.Config{
			Strategy: "markdown", Encoding: "cl100k_base", MaxTokens: 512, MinTokens: 64,
		}, chunker.Routing{Workers: 2})
		if err != nil {
			b.Fatal(err)
		}
		em, stopEmbedder := embed(ctx, env)
		ix, stop, err := indexer.Stages(ctx, env, indexer.Config{Path: filepath.Join(b.TempDir(), "index.db"), Batch: 512, Wait: 10 * time.Millisecond})
		if err != nil {
			b.Fatal(err)
		}
		run(append(append(ix, em...), ce)...)
		p, err := local.New(local.DefaultConfig())
		if err != nil {
			b.Fatal(err)
		}
		ps, err := parser.Stages(ctx, env, parser.DefaultConfig(), p, nil)
		if err != nil {
			b.Fatal(err)
		}
		done, chunks := completion(b, nc, len(docs))
		began, used := time.Now(), cpu()
		run(ps...)
		submit(b, js, docs)
		select {
		case <-done:
		case <-time.After(5 * time.Minute):
			b.Fatal("the pipeline takes too long")
		}
		report(b, docs, chunks(), time.Since(began), cpu()-used)
		b.ReportMetric(float64(stored(b, js)-before), "stored-messages")
		if measured != nil {
			measured(chunks())
		}
		cancel()
		wg.Wait()
		if err := stopEmbedder(); err != nil {
			b.Error(err)
		}
		if err := stop(); err != nil {
			b.Error(err)
		}
		if err := p.Close(); err != nil {
			b.Error(err)
		}
	}
}

// BenchmarkRelay moves what the pipeline moves through the same streams with the same
// guarantees, and does nothing with it: packed as the pipeline packs it, and with a
// message for each chunk.
func BenchmarkRelay(b *testing.B) {
	b.Run("packed", func(b *testing.B) { relay(b, events.PackBytes) })
	b.Run("single", func(b *testing.B) { relay(b, 0) })
}

// relay packs chunks into messages of at most pack bytes, or one chunk each.
func relay(b *testing.B, pack int) {
	docs := Corpus(documents)
	splitter, err := split.New(split.Options{Strategy: "markdown", Encoding: "cl100k_base", MaxTokens: 512, MinTokens: 64})
	if err != nil {
		b.Fatal(err)
	}
	const frame, vector = 500, 4 * 1536
	// What a hop makes of one message of the hop before, as sizes and chunks.
	type body struct{ size, chunks int }
	divide := func(sizes []int, each int) (out []body) {
		for _, n := range sizes {
			if last := len(out) - 1; last >= 0 && out[last].size+n+each <= pack {
				out[last].size += n + each
				out[last].chunks++
			} else {
				out = append(out, body{n + each, 1})
			}
		}
		return out
	}
	cuts, vectors := make([][]body, len(docs)), make([][]body, len(docs))
	chunks, messages := 0, 0
	for i, d := range docs {
		pieces, err := splitter.Split(b.Context(), d, nil)
		if err != nil {
			b.Fatal(err)
		}
		var sizes []int
		for _, p := range pieces {
			sizes = append(sizes, p.End-p.Start)
		}
		cuts[i], vectors[i] = divide(sizes, frame), divide(sizes, frame+vector)
		chunks += len(pieces)
		messages += len(vectors[i])
	}
	filler := make([]byte, 1<<20)
	for i := range filler {
		filler[i] = 'x'
	}
	for b.Loop() {
		nc, js := start(b)
		before := stored(b, js)
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		hop := func(stream string, workers int, f func(m jetstream.Msg) []*nats.Msg) {
			cons, err := js.CreateOrUpdateConsumer(ctx, stream, jetstream.ConsumerConfig{
				Durable: "relay", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 20_000,
			})
			if err != nil {
				b.Fatal(err)
			}
			it, err := cons.Messages(jetstream.PullMaxMessages(512))
			if err != nil {
				b.Fatal(err)
			}
			context.AfterFunc(ctx, it.Stop)
			for range workers {
				wg.Go(func() {
					for {
						m, err := it.Next()
						if err != nil {
							return
						}
						var futures []jetstream.PubAckFuture
						for _, out := range f(m) {
							p, err := js.PublishMsgAsync(out, jetstream.WithStallWait(30*time.Second))
							if err != nil {
								panic(err)
							}
							futures = append(futures, p)
						}
						for _, p := range futures {
							select {
							case <-p.Ok():
							case err := <-p.Err():
								panic(err)
							}
						}
						if err := m.Ack(); err != nil {
							panic(err)
						}
					}
				})
			}
		}
		send := func(subject, id string, n int) *nats.Msg {
			msg := nats.NewMsg(subject)
			msg.Header.Set(events.HeaderMsgID, id)
			msg.Data = filler[:n]
			return msg
		}
		all := make(chan struct{})
		var got atomic.Int64
		hop(events.StreamDocuments, 8, func(m jetstream.Msg) []*nats.Msg {
			name := m.Headers().Get(events.HeaderFilename)
			return []*nats.Msg{send(events.SubjectParsed, name, len(m.Data())+frame)}
		})
		hop(events.StreamParsed, 8, func(m jetstream.Msg) []*nats.Msg {
			var i int
			id := m.Headers().Get(events.HeaderMsgID)
			if _, err := fmt.Sscanf(id, "doc-%d.md", &i); err != nil {
				panic(err)
			}
			out := make([]*nats.Msg, len(cuts[i]))
			for j, c := range cuts[i] {
				out[j] = send(events.SubjectChunks, fmt.Sprint(id, j), c.size)
			}
			return out
		})
		hop(events.StreamChunks, 64, func(m jetstream.Msg) []*nats.Msg {
			var i, j int
			id := m.Headers().Get(events.HeaderMsgID)
			if _, err := fmt.Sscanf(id, "doc-%d.md%d", &i, &j); err != nil {
				panic(err)
			}
			first := 0 // chunk of this pack
			for _, c := range cuts[i][:j] {
				first += c.chunks
			}
			var out []*nats.Msg
			at := 0
			for k, v := range vectors[i] {
				if at >= first && at < first+cuts[i][j].chunks {
					out = append(out, send(events.SubjectVectors, fmt.Sprint(id, ".", k), v.size))
				}
				at += v.chunks
			}
			return out
		})
		hop(events.StreamVectors, 64, func(jetstream.Msg) []*nats.Msg {
			if got.Add(1) == int64(messages) {
				close(all)
			}
			return nil
		})
		began, used := time.Now(), cpu()
		submit(b, js, docs)
		select {
		case <-all:
		case <-time.After(5 * time.Minute):
			b.Fatal("the relay takes too long")
		}
		report(b, docs, chunks, time.Since(began), cpu()-used)
		b.ReportMetric(float64(stored(b, js)-before), "stored-messages")
		cancel()
		wg.Wait()
		nc.Close()
	}
}
