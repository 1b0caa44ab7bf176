package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/cmd/sluice/services"
	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/natstest"
	"sluice/services/indexer"
	"sluice/services/indexer/index"
)

// stages are the binaries of the pipeline. The parser comes last: it asks the
// others who they are.
var stages = []string{"indexer", "embedder", "chunker", "parser"}

// world is one nats-server and the stages around it, each a process.
type world struct {
	t      *testing.T
	dir    string
	index  string // its place
	url    string
	server *process   // the first of
	nodes  []*process // all nats-servers
	login  func(user string) broker.Login
	stage  map[string][]*process // the replicas by binary
	nc     *nats.Conn
	js     jetstream.JetStream
}

// setup is how a world differs from one replica of each stage and defaults.
type setup struct {
	replicas map[string]int
	args     map[string][]string // more flags, by binary
	costd    bool                // for what costs money
	index    string              // its place; default: an SQLite file
	// nodes of a NATS cluster with replicated streams, TLS, and a user for each
	// service that may do no more than it needs; 0 is one server for everybody.
	nodes int
	// extra are services of other trees that are applied, too.
	extra []broker.Service
}

// newWorld starts everything and returns when all stages have said who they are.
func newWorld(t *testing.T, s setup) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), stage: map[string][]*process{}}
	w.index = cmp.Or(s.index, filepath.Join(w.dir, "index.db"))
	if s.nodes > 0 {
		w.secure(s.nodes, s.extra)
	} else {
		w.open()
	}
	w.server = w.nodes[0]
	w.connect()
	if s.nodes > 0 {
		w.apply(s.nodes, s.extra)
	}
	names := stages
	if s.costd {
		names = append([]string{"costd"}, stages...)
	}
	for _, name := range names {
		for n := range max(s.replicas[name], 1) {
			args := s.args[name]
			if name == "indexer" {
				args = append(slices.Clone(args), "--index", w.index)
			}
			label := name
			if n > 0 {
				label += "-" + strconv.Itoa(n+1)
			}
			w.stage[name] = append(w.stage[name], w.spawn(name, label, args...))
		}
	}
	w.eventually(60*time.Second, "the parser is ready", func() error {
		kv, err := w.js.KeyValue(t.Context(), events.BucketPipeline)
		if err != nil {
			return err
		}
		for _, key := range []string{"parser", "chunker", "embedder"} {
			if _, err := kv.Get(t.Context(), key); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
		}
		return nil
	})
	return w
}

// spawn starts a stage's binary on the world's servers.
func (w *world) spawn(name, label string, args ...string) *process {
	w.t.Helper()
	// Short waits, so that what a killed process had in hand comes again soon.
	all := []string{
		"--nats-url", w.url, "--log-format", "json", "--ack-wait", "3s", "--retry-delay", "100ms", "--retry-cap", "1s", "--grace", "10s",
	}
	if l := w.login(name); l.NKey != "" {
		all = append(all, "--topology", "bind", "--nats-nkey", l.NKey, "--nats-ca", l.CA, "--nats-inbox-prefix", l.InboxPrefix)
	}
	return spawn(w.t, w.dir, name, label, append(all, args...)...)
}

// connect connects the test itself, as the operator if there are users.
func (w *world) connect() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	var err error
	if w.nc, err = broker.Connect(ctx, broker.Config{URL: w.url, Login: w.login(broker.UserOperator)}, w.t.Name()); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.nc.Close)
	if w.js, err = jetstream.New(w.nc); err != nil {
		w.t.Fatal(err)
	}
}

// open starts one nats-server, on which everybody may do everything.
func (w *world) open() {
	w.t.Helper()
	port := freePort(w.t)
	w.url = "nats://127.0.0.1:" + strconv.Itoa(port)
	w.nodes = []*process{spawn(w.t, w.dir, "natsserver", "natsserver", "--dir", filepath.Join(w.dir, "jetstream"), "--port", strconv.Itoa(port))}
	w.login = func(string) broker.Login { return broker.Login{} }
}

// secure starts a cluster that is configured as 'sluice apply' says, with TLS
// between everybody.
func (w *world) secure(nodes int, extra []broker.Service) {
	w.t.Helper()
	s := natstest.Secure(w.t, append(services.Declared(), extra...)...)
	w.login = func(user string) broker.Login {
		l := s.Login(user)
		l.CA = s.CA
		return l
	}
	var urls, routes []string
	ports := make([][2]int, nodes)
	for i := range ports {
		ports[i] = [2]int{freePort(w.t), freePort(w.t)}
		urls = append(urls, "tls://127.0.0.1:"+strconv.Itoa(ports[i][0]))
		routes = append(routes, fmt.Sprintf("%q", "nats-route://127.0.0.1:"+strconv.Itoa(ports[i][1])))
	}
	w.url = strings.Join(urls, ",")
	for i, p := range ports {
		name := "nats-" + strconv.Itoa(i+1)
		text := s.Include() + s.TLS(false) + fmt.Sprintf("server_name: %s\n", name)
		if nodes > 1 {
			text += fmt.Sprintf("cluster { name: sluice, listen: \"127.0.0.1:%d\", routes: [%s], tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true } }\n",
				p[1], strings.Join(routes, ", "), s.Cert, s.Key, s.CA)
		}
		w.nodes = append(w.nodes, spawn(w.t, w.dir, "natsserver", name,
			"--dir", filepath.Join(w.dir, name+".js"), "--port", strconv.Itoa(p[0]), "--config", s.Config(w.t, name+".conf", text)))
	}
}

// apply makes the topology as the user that may.
func (w *world) apply(replicas int, extra []broker.Service) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	nc, err := broker.Connect(ctx, broker.Config{URL: w.url, Login: w.login(broker.UserApply)}, w.t.Name())
	if err != nil {
		w.t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		w.t.Fatal(err)
	}
	topology := broker.DefaultTopology()
	topology.Replicas, topology.AckWait = replicas, 3*time.Second
	topology.MaxBytes = 1 << 30
	w.eventually(time.Minute, "the topology is made", func() error {
		_, err := broker.Apply(ctx, js, topology, false, append(services.Declared(), extra...)...)
		return err
	})
}

func (w *world) processes() []*process {
	all := []*process{}
	for _, name := range stages {
		all = append(all, w.stage[name]...)
	}
	return all
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// eventually polls until check returns nil.
func (w *world) eventually(d time.Duration, what string, check func() error) {
	w.t.Helper()
	eventually(w.t, d, what, check)
}

func eventually(t *testing.T, d time.Duration, what string, check func() error) {
	t.Helper()
	d = max(d, natstest.Patience)
	deadline := time.Now().Add(d)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s: %v", d, what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// submission is a document that the stream has accepted.
type submission struct {
	Name     string
	Document string
	Sequence uint64 // in DOCUMENTS
	Header   nats.Header
}

// submit publishes a document, again and again while the server is away. The
// message ID makes it one submission.
func (w *world) submit(name string, data []byte, header ...string) submission {
	w.t.Helper()
	h := nats.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Add(header[i], header[i+1])
	}
	msg := &nats.Msg{Subject: events.SubjectSubmit, Header: h, Data: data}
	tenant := h.Get(events.HeaderTenant)
	if tenant == "" {
		tenant = events.DefaultTenant
	}
	s := submission{Name: name, Header: h}
	events.SetName(h, name)
	if name != "" {
		s.Document = events.DocumentID(tenant, name)
	} else {
		s.Document = events.ContentDocumentID(tenant, events.ContentHash(data))
	}
	s.Sequence = w.publish(msg)
	return s
}

// publish stores a message in its stream and returns its sequence.
func (w *world) publish(msg *nats.Msg) uint64 {
	w.t.Helper()
	if msg.Header == nil {
		msg.Header = nats.Header{}
	}
	if msg.Header.Get(events.HeaderMsgID) == "" {
		msg.Header.Set(events.HeaderMsgID, strconv.FormatUint(rand.Uint64(), 36))
	}
	var seq uint64
	w.eventually(30*time.Second, "publishing on "+msg.Subject, func() error {
		ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
		defer cancel()
		ack, err := w.js.PublishMsg(ctx, msg)
		if err == nil {
			seq = ack.Sequence
		}
		return err
	})
	return seq
}

// document returns the entry of a document, nil if there is none.
func (w *world) document(id string) (*events.Document, error) {
	kv, err := w.js.KeyValue(w.t.Context(), events.BucketDocuments)
	if err != nil {
		return nil, err
	}
	e, err := kv.Get(w.t.Context(), id)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return events.DecodeDocument(e.Value())
}

// settle waits until every submission, or a newer one of the same document, is
// final, and returns the entries by document.
func (w *world) settle(d time.Duration, subs ...submission) map[string]*events.Document {
	w.t.Helper()
	open := map[string]submission{}
	for _, s := range subs {
		if have, ok := open[s.Document]; !ok || have.Sequence < s.Sequence {
			open[s.Document] = s
		}
	}
	done := map[string]*events.Document{}
	deadline := time.Now().Add(d)
	for {
		for _, id := range slices.Sorted(maps.Keys(open)) {
			doc, err := w.document(id)
			if err != nil {
				break // the server may be away
			}
			if doc != nil && doc.Sequence >= open[id].Sequence && doc.State.Final() {
				done[id] = doc
				delete(open, id)
			}
		}
		if len(open) == 0 {
			return done
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%d of %d documents are not final within %v:\n%s", len(open), len(open)+len(done), d, w.describe(open))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (w *world) describe(open map[string]submission) string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(open))[:min(len(open), 10)] {
		doc, err := w.document(id)
		state, _ := json.Marshal(doc)
		fmt.Fprintf(&b, "  %.60q sequence %d: %s (%v)\n", open[id].Name, open[id].Sequence, state, err)
	}
	for _, stream := range []string{events.StreamDocuments, events.StreamParsed, events.StreamChunks, events.StreamVectors, events.StreamDeadLetter} {
		if s, err := w.js.Stream(w.t.Context(), stream); err == nil {
			fmt.Fprintf(&b, "  %s holds %d messages\n", stream, s.CachedInfo().State.Msgs)
		}
	}
	return b.String()
}

// one is settle for one submission.
func (w *world) one(s submission) *events.Document {
	w.t.Helper()
	return w.settle(30*time.Second, s)[s.Document]
}

// deadLetters returns all of them.
func (w *world) deadLetters() []*jetstream.RawStreamMsg {
	w.t.Helper()
	return w.messages(events.StreamDeadLetter, ">")
}

// noDeadLetters fails the test if there are dead letters.
func (w *world) noDeadLetters() {
	w.t.Helper()
	if dead := w.deadLetters(); len(dead) > 0 {
		w.t.Errorf("%d dead letters, the first: %v", len(dead), dead[0].Header)
	}
}

// messages returns what a stream holds on a subject.
func (w *world) messages(stream, subject string) []*jetstream.RawStreamMsg {
	w.t.Helper()
	s, err := w.js.Stream(w.t.Context(), stream)
	if err != nil {
		w.t.Fatal(err)
	}
	var all []*jetstream.RawStreamMsg
	for seq := uint64(1); ; {
		m, err := s.GetMsg(w.t.Context(), seq, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return all
		}
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, m)
		seq = m.Sequence + 1
	}
}

// story returns what happened to a document, in order.
func (w *world) story(document string) []events.Event {
	w.t.Helper()
	var all []events.Event
	for _, m := range w.messages(events.StreamEvents, events.SubjectEventPrefix+document+".>") {
		e, err := events.Decode[events.Event](m.Data)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, *e)
	}
	return all
}

// search asks the indexer.
func (w *world) search(req events.SearchRequest) events.SearchReply {
	w.t.Helper()
	var reply events.SearchReply
	w.eventually(20*time.Second, "an answer to "+req.Query, func() error {
		msg, err := w.nc.Request(events.SubjectSearch, events.Encode(req), 5*time.Second)
		if err != nil {
			return err
		}
		if e := msg.Header.Get("Nats-Service-Error"); e != "" {
			return errors.New(e)
		}
		return json.Unmarshal(msg.Data, &reply)
	})
	return reply
}

// drained waits until no stage has anything to do.
func (w *world) drained(d time.Duration) {
	w.t.Helper()
	w.eventually(d, "all hand-offs are empty", func() error {
		for _, stream := range []string{events.StreamDocuments, events.StreamParsed, events.StreamChunks, events.StreamVectors, events.StreamUpgrades} {
			s, err := w.js.Stream(w.t.Context(), stream)
			if err != nil {
				return err
			}
			if n := s.CachedInfo().State.Msgs; n > 0 {
				return fmt.Errorf("%s holds %d messages", stream, n)
			}
		}
		return nil
	})
}

// stop ends all stages as an orchestrator does, so that the index can be read.
func (w *world) stop() {
	w.t.Helper()
	for i := len(stages) - 1; i >= 0; i-- {
		for _, p := range w.stage[stages[i]] {
			p.stop(w.t)
		}
	}
}

// dump returns what the index holds, without what differs between two runs by
// right: the revisions. Stop the stages first.
func (w *world) dump() map[string]string {
	w.t.Helper()
	store, err := indexer.Open(w.t.Context(), indexer.Config{Path: w.index})
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			w.t.Error(err)
		}
	}()
	all := map[string]string{}
	err = store.Dump(w.t.Context(), func(e index.Entry) error {
		key := fmt.Sprintf("%s/%s/%d", e.Tenant, e.Document, e.Ordinal)
		if _, twice := all[key]; twice {
			return fmt.Errorf("%s is there twice", key)
		}
		all[key] = e.Chunk + " " + e.Model + " " + e.Hash
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// seed returns the seed of a test and logs it.
func seed(t *testing.T) uint64 {
	t.Helper()
	n := rand.Uint64()
	if s := os.Getenv("SLUICE_E2E_SEED"); s != "" {
		var err error
		if n, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("SLUICE_E2E_SEED: %v", err)
		}
	}
	t.Logf("SLUICE_E2E_SEED=%d", n)
	return n
}
