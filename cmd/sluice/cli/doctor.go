package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/provider"
	"sluice/pkg/stage"
	"sluice/services/parser/local"
)

// stageNames are the stages of the pipeline, in its order.
var stageNames = []string{"parser", "inbox", "chunker", "embedder", "indexer", "recorder"}

// DoctorCmd checks everything.
type DoctorCmd struct {
	Data string `env:"SLUICE_DATA" default:".sluice" type:"path" help:"Data directory of 'sluice up', to check the disk." placeholder:"DIR"`
	Online
}

// Help is shown by --help.
func (DoctorCmd) Help() string {
	return examples("Checks the connection, streams, consumers, stages, providers, keys and disk, and looks for documents that are not final "+
		"while nothing of them is on its way. Each problem comes with the next step. It fails if something does not work, and not for warnings. "+
		"It never prints a key and changes nothing.",
		"sluice doctor", "What is wrong?",
		"sluice doctor --nats-url nats://nats.internal:4222", "Of a pipeline elsewhere",
		"sluice doctor --json | jq '.checks[] | select(.status!=\"ok\")'", "For a program")
}

// The outcomes of a check.
const (
	statusOK   = "ok"
	statusWarn = "warn"
	statusFail = "fail"
)

// check is the outcome of one check.
type check struct {
	Check  string `json:"check"`
	Status string `json:"status"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

// checkup collects checks.
type checkup struct{ Checks []check }

func (u *checkup) ok(name, format string, args ...any) {
	u.Checks = append(u.Checks, check{Check: name, Status: statusOK, Detail: fmt.Sprintf(format, args...)})
}

func (u *checkup) warn(name, hint, format string, args ...any) {
	u.Checks = append(u.Checks, check{name, statusWarn, fmt.Sprintf(format, args...), hint})
}

func (u *checkup) fail(name, hint, format string, args ...any) {
	u.Checks = append(u.Checks, check{name, statusFail, fmt.Sprintf(format, args...), hint})
}

func (u *checkup) err(name string, err error) {
	f := fault.From(err)
	u.fail(name, f.Hint, "%s", f.Message)
}

// Run checks.
func (cmd DoctorCmd) Run(ctx context.Context, o *output) error {
	u := &checkup{}
	if c, err := cmd.connect(ctx); err != nil {
		u.err("connection", err)
	} else {
		defer c.close()
		cmd.online(ctx, u, c)
	}
	checkParser(ctx, u)
	checkKeys(u)
	checkDisk(u, cmd.Data)

	failed, warned := 0, 0
	for _, c := range u.Checks {
		switch c.Status {
		case statusFail:
			failed++
		case statusWarn:
			warned++
		}
	}
	if o.json {
		if err := o.line(map[string]any{"ok": failed == 0, "checks": u.Checks}); err != nil {
			return err
		}
	} else {
		rows := make([][]string, 0, len(u.Checks))
		for _, c := range u.Checks {
			rows = append(rows, []string{c.Status, c.Check, c.Detail})
			if c.Hint != "" {
				rows = append(rows, []string{"", "", "hint: " + c.Hint})
			}
		}
		o.table([]column{{title: "STATUS", paint: paintState}, {title: "CHECK"}, {title: "DETAIL"}}, rows)
	}
	if failed > 0 {
		return failf("unhealthy", "follow the hints above, from the top", "%d of %d checks failed", failed, len(u.Checks))
	}
	return nil
}

// online checks what needs a connection.
func (cmd DoctorCmd) online(ctx context.Context, u *checkup, c *client) {
	rtt, err := c.nc.RTT()
	if err != nil {
		u.err("connection", fault.Wrap(err, fault.Unavailable, "connection", "the server does not answer"))
		return
	}
	u.ok("connection", "%s, nats-server %s, round trip %v, payloads up to %s", c.nc.ConnectedUrlRedacted(), c.nc.ConnectedServerVersion(),
		rtt.Round(time.Microsecond), bytesText(c.nc.MaxPayload()))
	info, err := c.js.AccountInfo(ctx)
	if err != nil {
		u.fail("jetstream", "start the server with 'nats-server -js'", "JetStream is not available: %v", err)
		return
	}
	u.ok("jetstream", "%s stored in %s", bytesText(int64(info.Store)), plural(info.Streams, "stream"))
	if !checkStreams(ctx, u, c) {
		return
	}
	running := checkStages(ctx, u, c)
	checkConsumers(ctx, u, c, running)
	checkEndpoints(ctx, u, c, running)
	checkDead(ctx, u, c)
	checkStuck(ctx, u, c)
}

// checkStreams reports whether the topology is there, and has room.
func checkStreams(ctx context.Context, u *checkup, c *client) bool {
	var missing []string
	full := false
	for _, name := range append(slices.Clone(handoffs), events.StreamEvents, events.StreamDeadLetter, events.StreamCosts) {
		s, err := c.js.Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			missing = append(missing, name)
			continue
		}
		if err != nil {
			u.err("streams", fmt.Errorf("look at the stream %s: %w", name, err))
			return false
		}
		info := s.CachedInfo()
		if slices.Contains(handoffs, name) && (info.Config.Retention != jetstream.WorkQueuePolicy || info.Config.Discard != jetstream.DiscardNew) {
			u.fail("streams", "empty and remove it; it is made again at the next start", "%s has retention %s and discard %s, which can lose work",
				name, info.Config.Retention, info.Config.Discard)
		}
		if limit := info.Config.MaxBytes; limit > 0 && info.State.Bytes > uint64(limit)/10*8 {
			full = true
			u.warn("streams", "see which stage is behind in 'sluice status'; 'nats stream edit' gives it more room", "%s holds %s of %s",
				name, bytesText(int64(info.State.Bytes)), bytesText(limit))
		}
	}
	for _, bucket := range []string{events.BucketDocuments, events.BucketPipeline, events.BucketRetries, events.BucketCache, events.BucketJobs} {
		if _, err := c.js.KeyValue(ctx, bucket); err != nil {
			missing = append(missing, "bucket "+bucket)
		}
	}
	for _, store := range []string{events.StoreInbox, events.StoreBlobs} {
		if _, err := c.js.ObjectStore(ctx, store); err != nil {
			missing = append(missing, "object store "+store)
		}
	}
	if len(missing) > 0 {
		u.fail("streams", "every stage makes them when it starts: 'sluice up'", "missing: %s", strings.Join(missing, ", "))
		return false
	}
	if !full {
		u.ok("streams", "all there, with room")
	}
	kv, err := c.js.KeyValue(ctx, events.BucketDocuments)
	c.documents = kv
	return err == nil
}

// discover asks all micro services of the pipeline for their state. Answers
// stop when none has come for a while.
func (c *client) discover(ctx context.Context) (map[string][]micro.Stats, error) {
	inbox := c.nc.NewInbox() // with the prefix that the user may hear
	sub, err := c.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("look for stages: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection closes next
	found := map[string][]micro.Stats{}
	if err := c.nc.PublishRequest(micro.APIPrefix+"."+micro.StatsVerb.String(), inbox, nil); err != nil {
		return nil, fmt.Errorf("look for stages: %w", err)
	}
	wait := time.Second
	for {
		ctx, cancel := context.WithTimeout(ctx, wait)
		msg, err := sub.NextMsgWithContext(ctx)
		cancel()
		if err != nil || len(msg.Data) == 0 { // silence, or the notice that nobody is there
			return found, nil
		}
		wait = 300 * time.Millisecond
		var s micro.Stats
		if err := json.Unmarshal(msg.Data, &s); err == nil {
			found[s.Name] = append(found[s.Name], s)
		}
	}
}

// missingStages names the stages that nobody runs.
func (c *client) missingStages() []string {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	found, err := c.discover(ctx)
	if err != nil {
		return nil
	}
	var missing []string
	for _, name := range stageNames {
		if len(found[name]) == 0 && name != "inbox" {
			missing = append(missing, name)
		}
	}
	return missing
}

func checkStages(ctx context.Context, u *checkup, c *client) map[string][]micro.Stats {
	found, err := c.discover(ctx)
	if err != nil {
		u.err("stages", err)
		return nil
	}
	names := slices.Clone(stageNames)
	for name, all := range found {
		if !slices.Contains(names, name) && len(all) > 0 && len(all[0].Metadata["stream"]) > 0 {
			names = append(names, name) // a stage of the user's own
		}
	}
	for _, name := range names {
		check := "stage " + name
		if len(found[name]) == 0 {
			u.fail(check, "start it, or all stages with 'sluice up'", "not running")
			continue
		}
		troubled := false
		inHand := 0
		for _, s := range found[name] {
			health := stageHealth(s)
			if health == nil {
				continue
			}
			inHand += health.InHand
			switch p := health.Provider; {
			case p == "":
			case strings.Contains(p, "breaker closed") && !strings.Contains(p, "halted"):
				u.ok("service of "+name, "%s", safe(p))
			default:
				troubled = true
				hint := "'sluice mode " + name + " hybrid' has documents flow on meanwhile; see the log of the stage"
				if !strings.Contains(p, "mode real") {
					hint = "documents flow on, degraded, and are made whole by themselves; see the log of the stage"
				}
				u.warn("service of "+name, hint, "%s", safe(p))
			}
			switch {
			case health.Halted() != "":
				troubled = true
				u.fail(check, "mend its configuration and restart it", "halted: %s", health.Halted())
			case health.Held() != "":
				troubled = true
				u.warn(check, "it goes on by itself when it may", "waits: %s", health.Held())
			}
		}
		if !troubled {
			u.ok(check, "%s, %d in hand", plural(len(found[name]), "replica"), inHand)
		}
	}
	return found
}

// stageHealth reads what a stage says of itself in its micro statistics.
func stageHealth(s micro.Stats) *stage.StageHealth {
	for _, e := range s.Endpoints {
		if len(e.Data) > 0 {
			var h stage.StageHealth
			if err := json.Unmarshal(e.Data, &h); err == nil && h.Stage != "" {
				return &h
			}
		}
	}
	return nil
}

func checkConsumers(ctx context.Context, u *checkup, c *client, running map[string][]micro.Stats) {
	queues, err := c.queues(ctx, append(slices.Clone(handoffs), events.StreamEvents)...)
	if err != nil {
		u.err("consumers", err)
		return
	}
	bad, waiting := false, uint64(0)
	for _, q := range queues {
		waiting += q.Waiting
		switch {
		case q.Stage == "" && q.Messages > 0:
			bad = true
			u.fail("consumers", "start the stage that reads it", "nobody has ever consumed %s, which holds %s", q.Stream, plural(int(q.Messages), "message"))
		case q.Stage != "" && q.Waiting > 0 && q.Pulling == 0 && q.InHand == 0 && len(running[q.Stage]) == 0:
			bad = true
			u.fail("consumers", "start it, or all stages with 'sluice up'", "%s wait for %s, and nobody fetches them", plural(int(q.Waiting), "message"), q.Stage)
		}
	}
	if !bad {
		u.ok("consumers", "%s waiting over all stages", plural(int(waiting), "message"))
	}
}

// checkEndpoints makes one request of each kind that users make.
func checkEndpoints(ctx context.Context, u *checkup, c *client, running map[string][]micro.Stats) {
	if len(running["embedder"]) > 0 {
		data, err := c.ask(ctx, "embedder", events.SubjectEmbed, events.Encode(events.EmbedRequest{Texts: []string{"health"}}), 10*time.Second)
		var reply events.EmbedReply
		switch {
		case err != nil:
			u.err("provider embedder", err)
		case json.Unmarshal(data, &reply) != nil || len(reply.Vectors) != 1:
			u.fail("provider embedder", "run stages of one release", "the embedder's answer cannot be read")
		default:
			u.ok("provider embedder", "%s, %d dimensions", reply.Model, len(reply.Vectors[0])/4)
		}
	}
	if len(running["indexer"]) > 0 {
		_, err := c.ask(ctx, "indexer", events.SubjectSearch, events.Encode(events.SearchRequest{Query: "health", K: 1}), 10*time.Second)
		if err != nil {
			u.err("search", err)
		} else {
			u.ok("search", "answers")
		}
	}
}

func checkDead(ctx context.Context, u *checkup, c *client) {
	dead, err := c.deadLetters(ctx)
	if err != nil {
		u.err("dead letters", err)
		return
	}
	counts, total := map[string]int{}, 0
	for s, n := range dead {
		counts[s] = int(n)
		total += int(n)
	}
	if total > 0 {
		u.warn("dead letters", "'sluice dead ls' says why; replay or purge them", "%d: %s", total, tally(counts))
	} else {
		u.ok("dead letters", "none")
	}
}

const (
	// settled is how long a document must have been silent to be called stuck.
	settled = time.Minute
	// inspectMost bounds the messages whose documents are looked up.
	inspectMost = 2000
)

// checkStuck finds documents that are not final while nothing of them is on
// its way: nothing will ever happen to them by itself.
func checkStuck(ctx context.Context, u *checkup, c *client) {
	var open []*events.Document
	if err := c.each(ctx, func(d *events.Document) {
		if !d.State.Final() && time.Since(d.Updated) > settled {
			open = append(open, d)
		}
	}); err != nil {
		u.err("documents", err)
		return
	}
	if len(open) == 0 {
		u.ok("documents", "none is stuck")
		return
	}
	moving, known, err := c.inFlight(ctx)
	if err != nil {
		u.err("documents", err)
		return
	}
	if !known {
		u.warn("documents", "look again when less is in flight", "%s not final; too much is in flight to tell which are stuck", plural(len(open), "document"))
		return
	}
	var stuck []string
	for _, d := range open {
		if !moving[d.Document] {
			stuck = append(stuck, label(d))
		}
	}
	if len(stuck) == 0 {
		u.ok("documents", "%s on their way", plural(len(open), "document"))
		return
	}
	shown := stuck
	more := ""
	if len(shown) > 5 {
		shown, more = shown[:5], fmt.Sprintf(" and %d more", len(stuck)-5)
	}
	u.fail("documents", "submit them again with 'sluice ingest'; 'sluice ls --state open' lists them",
		"%s not final with nothing in flight: %s%s", plural(len(stuck), "document"), strings.Join(shown, ", "), more)
}

// inFlight returns the documents of all messages that wait or are in hand.
// known is false if there are too many to look at.
func (c *client) inFlight(ctx context.Context) (documents map[string]bool, known bool, err error) {
	documents = map[string]bool{}
	looked := 0
	for _, name := range append(slices.Clone(handoffs), events.StreamEvents) {
		s, err := c.js.Stream(ctx, name)
		if err != nil {
			return nil, false, fmt.Errorf("look at the stream %s: %w", name, err)
		}
		state := s.CachedInfo().State
		if name == events.StreamEvents {
			// Its messages stay. Those that the recorder has not seen may be news.
			cons, err := s.Consumer(ctx, "recorder")
			if err != nil {
				continue
			}
			if i := cons.CachedInfo(); i.NumPending+uint64(i.NumAckPending) > 0 {
				return nil, false, nil
			}
			continue
		}
		if looked += int(state.Msgs); looked > inspectMost {
			return nil, false, nil
		}
		for seq, left := state.FirstSeq, state.Msgs; left > 0 && seq <= state.LastSeq; {
			msg, err := s.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(">"))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				break
			}
			if err != nil {
				return nil, false, fmt.Errorf("look at the messages of %s: %w", name, err)
			}
			left--
			seq = msg.Sequence + 1
			documents[documentOf(msg)] = true
		}
	}
	return documents, true, nil
}

// documentOf names the document of a message as the parser would.
func documentOf(msg *jetstream.RawStreamMsg) string {
	if id := msg.Header.Get(events.HeaderDocumentID); id != "" {
		return id
	}
	tenant, name := msg.Header.Get(events.HeaderTenant), events.Name(msg.Header)
	switch msg.Subject {
	case events.SubjectURI:
		if ref, err := events.Decode[events.Reference](msg.Data); err == nil {
			if name == "" {
				name = ref.Name
			}
			if name == "" {
				name = ref.URI
			}
			if ref.Tenant != "" {
				tenant = ref.Tenant
			}
		}
	case events.SubjectDelete:
		if d, err := events.Decode[events.Deletion](msg.Data); err == nil {
			if d.Document != "" {
				return d.Document
			}
			name = d.Name
			if d.Tenant != "" {
				tenant = d.Tenant
			}
		}
	default:
		if name == "" {
			name = events.SubmitName(msg.Subject)
		}
	}
	if tenant == "" {
		tenant = events.DefaultTenant
	}
	if name == "" {
		return events.ContentDocumentID(tenant, events.ContentHash(msg.Data))
	}
	return events.DocumentID(tenant, name)
}

// checkParser parses a small document, in this process.
func checkParser(ctx context.Context, u *checkup) {
	p, err := local.New(local.DefaultConfig())
	if err != nil {
		u.err("provider parser", err)
		return
	}
	_, err = p.Parse(ctx, provider.Source{Name: "check.md", Data: []byte("# Check\n\nA document.\n")})
	if err = errors.Join(err, p.Close()); err != nil {
		u.err("provider parser", err)
		return
	}
	info := p.Describe()
	u.ok("provider parser", "%s, version %s", info.Service, info.Version)
}

// checkKeys says which keys of paid providers are set. It never prints them.
func checkKeys(u *checkup) {
	for _, k := range []struct{ name, who string }{{"OPENAI_API_KEY", "OpenAI"}, {"LLAMA_CLOUD_API_KEY", "LlamaParse"}} {
		switch v := os.Getenv(k.name); {
		case v == "":
			u.ok("key "+k.who, "%s is not set; the local providers need none", k.name)
		case v != strings.TrimSpace(v):
			u.warn("key "+k.who, "set it again without them", "%s has spaces or line ends around it", k.name)
		default:
			u.ok("key "+k.who, "%s is set (%d characters)", k.name, len(v))
		}
	}
}

// diskLow and diskEmpty are bytes of free disk below which doctor speaks up.
const (
	diskLow   = 5 << 30
	diskEmpty = 512 << 20
)

func checkDisk(u *checkup, data string) {
	dir := data
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	free, err := freeBytes(dir)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		u.ok("disk", "free space is not known on this system")
	case err != nil:
		u.err("disk", fmt.Errorf("look at the disk of %s: %w", dir, err))
	case free < diskEmpty:
		u.fail("disk", "make room, or move the data directory with --data", "%s free under %s", bytesText(int64(free)), dir)
	case free < diskLow:
		u.warn("disk", "make room before long", "%s free under %s", bytesText(int64(free)), dir)
	default:
		u.ok("disk", "%s free under %s", bytesText(int64(min(free, 1<<62))), dir)
	}
}
