package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"sluice/cmd/sluice/services"
	"sluice/pkg/events"
	"sluice/pkg/stage"
)

// StatusCmd shows where documents stand.
type StatusCmd struct {
	Docs        []string `arg:"" optional:"" name:"doc" help:"Documents, by name, path or ID; none: all of the pipeline."`
	Correlation string   `help:"All documents whose last submission had this correlation ID." placeholder:"ID" xor:"what"`
	Tenant      string   `help:"Whose documents." placeholder:"NAME"`
	Online
}

// Help is shown by --help.
func (StatusCmd) Help() string {
	return examples("Without a document: how many are in which state, what is queued for which stage, what waits and for what, and how many dead letters there are. "+
		"With one: its state, its numbers, why it failed or waits, and what search returns of it now.",
		"sluice status", "How the pipeline does",
		"sluice status report.pdf", "Where a document stands",
		"sluice status --correlation 0195-demo", "All documents of one submission",
		"sluice status report.pdf --json | jq .failure", "Why it failed, for a program")
}

// Run shows the status.
func (cmd StatusCmd) Run(ctx context.Context, o *output) error {
	if len(cmd.Docs) > 0 && cmd.Correlation != "" {
		return usagef("leave one of the two out", "status takes documents or --correlation, not both")
	}
	c, err := cmd.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	switch {
	case cmd.Correlation != "":
		return cmd.correlated(ctx, o, c)
	case len(cmd.Docs) > 0:
		return cmd.documents(ctx, o, c)
	}
	return pipelineStatus(ctx, o, c)
}

func (cmd StatusCmd) documents(ctx context.Context, o *output, c *client) error {
	var missing []error
	for i, doc := range cmd.Docs {
		d, err := c.find(ctx, cmd.Tenant, doc)
		if err != nil {
			missing = append(missing, err)
			continue
		}
		if o.json {
			if err := o.line(d); err != nil {
				return err
			}
			continue
		}
		if i > 0 {
			o.printf("\n")
		}
		printDocument(o, d)
	}
	if len(missing) > 0 {
		return missing[0]
	}
	return nil
}

func (cmd StatusCmd) correlated(ctx context.Context, o *output, c *client) error {
	var found []*events.Document
	if err := c.each(ctx, func(d *events.Document) {
		if d.CorrelationID == cmd.Correlation && (cmd.Tenant == "" || d.Tenant == cmd.Tenant) {
			found = append(found, d)
		}
	}); err != nil {
		return err
	}
	if len(found) == 0 {
		return failf("not-found", "a document is known by its newest submission; 'sluice ls' shows all",
			"no document has the correlation ID %q", cmd.Correlation)
	}
	return printDocuments(o, found)
}

// printDocument prints all that is known of a document.
func printDocument(o *output, d *events.Document) {
	o.printf("%s  %s\n", o.paint(bold, safe(label(d))), o.paint(paintState(string(d.State)), string(d.State)))
	field := func(name, format string, args ...any) {
		o.printf("  %-12s %s\n", name, oneLine(fmt.Sprintf(format, args...)))
	}
	field("document", "%s", d.Document)
	field("tenant", "%s", d.Tenant)
	field("revision", "%d, submitted %s", d.Revision, stamp(d.Submitted))
	if d.Title != "" {
		field("title", "%s", d.Title)
	}
	if d.Type != "" {
		field("type", "%s", d.Type)
	}
	size := bytesText(d.Bytes)
	if d.Pages > 0 {
		size += ", " + plural(d.Pages, "page")
	}
	field("size", "%s", size)
	if d.Chunks > 0 {
		indexed := ""
		if d.Indexed < d.Chunks {
			indexed = fmt.Sprintf(", %d indexed", d.Indexed)
		}
		if d.Reused > 0 {
			indexed += fmt.Sprintf(", %d reused", d.Reused)
		}
		field("chunks", "%s, %s tokens%s", grouped(int64(d.Chunks)), grouped(int64(d.Tokens)), indexed)
	}
	if d.Parser != "" {
		field("parser", "%s", d.Parser)
	}
	if d.Model != "" {
		field("model", "%s", d.Model)
	}
	field("cost", "%s", dollars(d.Nano))
	field("last", "%s at %s", d.Stage, stamp(d.Updated))
	if d.Retries > 0 {
		field("retries", "%d", d.Retries)
	}
	field("correlation", "%s", d.CorrelationID)
	switch {
	case d.Live == nil:
		field("searchable", "no")
	case d.Live.Revision == d.Revision:
		field("searchable", "yes, this revision")
	default:
		field("searchable", "revision %d, submitted %s, with %s", d.Live.Revision, stamp(d.Live.Revision.Time()), plural(d.Live.Chunks, "chunk"))
	}
	if d.Held != "" && !d.State.Final() {
		field("held", "%s, since %s", heldWords(d.Held), stamp(d.Updated))
	}
	if f := d.Failure; f != nil {
		field("failed", "%s in %s: %s", f.Reason, f.Stage, f.Message)
		if f.Hint != "" {
			field("hint", "%s", f.Hint)
		}
	}
	switch u := d.Upgrade; {
	case u == nil:
	case u.Failure != nil:
		field("upgrade", "failed: %s in %s: %s", u.Failure.Reason, u.Failure.Stage, u.Failure.Message)
		if u.Failure.Hint != "" {
			field("hint", "%s", u.Failure.Hint)
		}
	default:
		field("upgrade", "waits: %s", heldWords(u.Held))
	}
	for _, w := range d.Warnings {
		field("warning", "%s", w)
	}
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "an unknown time"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// printDocuments lists documents by tenant and name.
func printDocuments(o *output, docs []*events.Document) error {
	slices.SortFunc(docs, func(a, b *events.Document) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(label(a), label(b)))
	})
	if o.json {
		return printLines(o, docs)
	}
	tenants := false
	for _, d := range docs {
		tenants = tenants || d.Tenant != events.DefaultTenant
	}
	columns := []column{
		{title: "DOCUMENT", name: true},
		{title: "STATE", paint: paintState},
		{title: "PAGES", right: true},
		{title: "CHUNKS", right: true},
		{title: "TOKENS", right: true},
		{title: "COST", right: true},
		{title: "UPDATED"},
		{title: "REASON"},
	}
	if tenants {
		columns = slices.Insert(columns, 1, column{title: "TENANT"})
	}
	now := time.Now()
	rows := make([][]string, 0, len(docs))
	for _, d := range docs {
		reason := ""
		switch {
		case d.Failure != nil:
			reason = d.Failure.Reason
		case d.Held != "" && !d.State.Final():
			reason = "held: " + heldWords(d.Held)
		case d.Upgrade != nil && d.Upgrade.Failure != nil:
			reason = "upgrade: " + d.Upgrade.Failure.Reason
		}
		row := []string{
			label(d), string(d.State), count(d.Pages), count(d.Chunks), count(d.Tokens), dollars(d.Nano), ago(d.Updated, now), reason,
		}
		if tenants {
			row = slices.Insert(row, 1, d.Tenant)
		}
		rows = append(rows, row)
	}
	o.table(columns, rows)
	return nil
}

// LsCmd lists documents.
type LsCmd struct {
	State  []string `help:"Only these states: accepted, parsed, embedded, indexed, complete, degraded, duplicate, failed, deleted; or open, for all that are not final." placeholder:"STATE"`
	Tenant string   `help:"Only this tenant's." placeholder:"NAME"`
	All    bool     `short:"a" help:"Deleted documents too."`
	Online
}

// Help is shown by --help.
func (LsCmd) Help() string {
	return examples("Lists documents by name, with their newest revision's state.",
		"sluice ls", "All documents",
		"sluice ls --state failed", "What failed",
		"sluice ls --state open", "What is still on its way",
		"sluice ls --tenant acme --json | jq -r .name", "A tenant's names, for a program")
}

// Run lists.
func (cmd LsCmd) Run(ctx context.Context, o *output) error {
	known := []events.State{
		events.StateAccepted, events.StateParsed, events.StateEmbedded, events.StateIndexed,
		events.StateComplete, events.StateDegraded, events.StateDuplicate, events.StateFailed, events.StateDeleted,
	}
	for _, s := range cmd.State {
		if s != "open" && !slices.Contains(known, events.State(s)) {
			return usagef("see 'sluice ls --help' for the states", "no state is called %q", s)
		}
	}
	c, err := cmd.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	var docs []*events.Document
	if err := c.each(ctx, func(d *events.Document) {
		switch {
		case cmd.Tenant != "" && d.Tenant != cmd.Tenant:
		case len(cmd.State) > 0 && !slices.Contains(cmd.State, string(d.State)) && (!slices.Contains(cmd.State, "open") || d.State.Final()):
		case len(cmd.State) == 0 && d.State == events.StateDeleted && !cmd.All:
		default:
			docs = append(docs, d)
		}
	}); err != nil {
		return err
	}
	if len(docs) == 0 && !o.json {
		o.notef("no documents; hint: 'sluice ingest FILE' submits one")
		return nil
	}
	return printDocuments(o, docs)
}

// queueStatus is what waits for one stage.
type queueStatus struct {
	Stream   string `json:"stream"`
	Stage    string `json:"stage"`
	Waiting  uint64 `json:"waiting"`   // not delivered yet
	InHand   int    `json:"in_hand"`   // delivered, not acknowledged
	Messages uint64 `json:"messages"`  // in the stream
	Bytes    uint64 `json:"bytes"`     // of the stream
	MaxBytes int64  `json:"max_bytes"` // above which it refuses
	Pulling  int    `json:"pulling"`   // requests that wait for work
}

// handoffs returns the work queues, in the order of the pipeline, and then those of
// services of other trees, as far as the user may ask for them.
func (c *client) handoffs(ctx context.Context) []string {
	names := services.Queues()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for info := range c.js.ListStreams(ctx).Info() {
		name := info.Config.Name
		if info.Config.Retention == jetstream.WorkQueuePolicy && name != events.StreamHeld && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// queues describes the hand-off streams and their consumers.
func (c *client) queues(ctx context.Context, streams ...string) ([]queueStatus, error) {
	var all []queueStatus
	for _, name := range streams {
		s, err := c.js.Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil, failf("stream-missing", "'sluice doctor' says what to do", "the stream %s is missing", name)
		}
		if err != nil {
			return nil, fmt.Errorf("look at the stream %s: %w", name, err)
		}
		info := s.CachedInfo()
		base := queueStatus{Stream: name, Messages: info.State.Msgs, Bytes: info.State.Bytes, MaxBytes: info.Config.MaxBytes}
		consumers := s.ListConsumers(ctx)
		found := false
		for ci := range consumers.Info() {
			if ci.Config.Durable == "" {
				continue // somebody looks on
			}
			found = true
			q := base
			q.Stage, q.Waiting, q.InHand, q.Pulling = ci.Name, ci.NumPending, ci.NumAckPending, ci.NumWaiting
			all = append(all, q)
		}
		if err := consumers.Err(); err != nil {
			return nil, fmt.Errorf("list the consumers of %s: %w", name, err)
		}
		// Where no service may be away, nothing is ever done again.
		if !found && (name != events.StreamUpgrades || base.Messages > 0) {
			base.Waiting = base.Messages
			all = append(all, base)
		}
	}
	return all, nil
}

// stageStatus is what the replicas of one stage say together.
type stageStatus struct {
	Stage    string          `json:"stage"`
	Replicas int             `json:"replicas"`
	Ready    int             `json:"ready"` // of the replicas
	InHand   int             `json:"in_hand"`
	Down     string          `json:"down,omitempty"`
	Provider string          `json:"provider,omitempty"`
	Waiting  []stage.Waiting `json:"waiting,omitempty"` // what waits, for what, and what ends it
}

// stagesOf sums up what stages say, those of the pipeline first and in its order.
func stagesOf(found map[string][]micro.Stats) []stageStatus {
	all := []stageStatus{}
	for name, replicas := range found {
		s := stageStatus{Stage: name}
		var waiting []stage.Waiting
		for _, r := range replicas {
			h := stageHealth(r)
			if h == nil {
				continue // another service of the same NATS
			}
			s.Replicas++
			if h.Ready {
				s.Ready++
			}
			s.InHand += h.InHand
			s.Down, s.Provider = cmp.Or(s.Down, h.Down), cmp.Or(s.Provider, h.Provider)
			waiting = append(waiting, h.Waiting...)
		}
		if s.Replicas > 0 {
			s.Waiting = together(waiting)
			all = append(all, s)
		}
	}
	order := needed()
	place := func(name string) int {
		if i := slices.Index(order, name); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortFunc(all, func(a, b stageStatus) int {
		return cmp.Or(cmp.Compare(place(a.Stage), place(b.Stage)), cmp.Compare(a.Stage, b.Stage))
	})
	return all
}

// printWaiting prints what waits, and the stages that are not ready.
func printWaiting(o *output, all []stageStatus) {
	var rows [][]string
	for _, s := range all {
		if s.Down != "" {
			rows = append(rows, []string{s.Stage, "-", "-", "-", "not ready: " + s.Down})
		}
		for _, w := range s.Waiting {
			words := heldWords(w.Message)
			if w.Hint != "" {
				words += "; hint: " + w.Hint
			}
			rows = append(rows, []string{s.Stage, w.Key, grouped(int64(w.Count + w.Aside)), ago(w.Since, time.Now()), words})
		}
	}
	if len(rows) == 0 {
		return
	}
	o.printf("\n")
	o.table([]column{{title: "WAITS"}, {title: "FOR"}, {title: "MESSAGES", right: true}, {title: "SINCE"}, {title: "WHY"}}, rows)
}

// deadLetters counts the dead letters by stage.
func (c *client) deadLetters(ctx context.Context) (map[string]uint64, error) {
	s, err := c.js.Stream(ctx, events.StreamDeadLetter)
	if err != nil {
		return nil, fmt.Errorf("look at the stream %s: %w", events.StreamDeadLetter, err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(events.SubjectDeadPrefix+">"))
	if err != nil {
		return nil, fmt.Errorf("look at the stream %s: %w", events.StreamDeadLetter, err)
	}
	counts := map[string]uint64{}
	for subject, n := range info.State.Subjects {
		counts[strings.TrimPrefix(subject, events.SubjectDeadPrefix)] = n
	}
	return counts, nil
}

func pipelineStatus(ctx context.Context, o *output, c *client) error {
	v := struct {
		Documents map[events.State]int `json:"documents"`
		Queues    []queueStatus        `json:"queues"`
		Dead      map[string]uint64    `json:"dead_letters"`
		Stages    []stageStatus        `json:"stages"`
	}{Documents: map[events.State]int{}, Stages: []stageStatus{}}
	var err error
	if err = c.each(ctx, func(d *events.Document) { v.Documents[d.State]++ }); err != nil {
		return err
	}
	if v.Queues, err = c.queues(ctx, append(c.handoffs(ctx), events.StreamEvents)...); err != nil {
		return err
	}
	if v.Dead, err = c.deadLetters(ctx); err != nil {
		return err
	}
	found, err := c.discover(ctx, patience, needed()...)
	if err != nil {
		return err
	}
	v.Stages = stagesOf(found)
	if o.json {
		return o.line(v)
	}
	if len(v.Documents) == 0 {
		o.printf("No documents yet.\n")
	} else {
		states := make([]events.State, 0, len(v.Documents))
		for s := range v.Documents {
			states = append(states, s)
		}
		slices.Sort(states)
		rows := make([][]string, 0, len(states))
		for _, s := range states {
			rows = append(rows, []string{string(s), grouped(int64(v.Documents[s]))})
		}
		o.table([]column{{title: "STATE", paint: paintState}, {title: "DOCUMENTS", right: true}}, rows)
	}
	o.printf("\n")
	rows := make([][]string, 0, len(v.Queues))
	for _, q := range v.Queues {
		stage := q.Stage
		if stage == "" {
			stage = "(nobody)"
		}
		rows = append(rows, []string{stage, q.Stream, grouped(int64(q.Waiting)), grouped(int64(q.InHand))})
	}
	o.table([]column{{title: "STAGE"}, {title: "STREAM"}, {title: "WAITING", right: true}, {title: "IN HAND", right: true}}, rows)
	printWaiting(o, v.Stages)
	total := uint64(0)
	parts := map[string]int{}
	for stage, n := range v.Dead {
		total += n
		parts[stage] = int(n)
	}
	if total > 0 {
		o.printf("\n%s (%s); hint: 'sluice dead ls' says why\n", o.paint(bad, plural(int(total), "dead letter")), tally(parts))
	}
	return nil
}

// TraceCmd tells the story of a document.
type TraceCmd struct {
	Doc    string `arg:"" help:"The document, by name, path or ID."`
	Tenant string `help:"Whose document." placeholder:"NAME"`
	Follow bool   `short:"f" help:"Go on telling what happens, until interrupted."`
	Online
}

// Help is shown by --help.
func (TraceCmd) Help() string {
	return examples("Prints every event of a document in order, from the stream EVENTS, which keeps them for seven days.",
		"sluice trace report.pdf", "What happened to a document",
		"sluice trace report.pdf -f", "What is happening to it",
		"sluice trace report.pdf --json | jq -c '[.time,.stage,.what]'", "The same for a program")
}

// Run tells the story.
func (cmd TraceCmd) Run(ctx context.Context, o *output) error {
	c, err := cmd.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	d, err := c.find(ctx, cmd.Tenant, cmd.Doc)
	if err != nil {
		return err
	}
	last := uint64(0)
	told := false
	err = replay(ctx, c.js, events.StreamEvents, events.SubjectEventPrefix+d.Document+".>", false, cmd.Follow, func(msg jetstream.Msg) error {
		e, err := events.Decode[events.Event](msg.Data())
		if err != nil {
			o.notef("an event cannot be read: %v", err)
			return nil
		}
		told = true
		if o.json {
			for _, e := range e.Story() {
				if err := o.line(e); err != nil {
					return err
				}
			}
			return nil
		}
		if at := e.Revision.Submission(); at != last {
			last = at
			o.printf("%s\n", o.paint(bold, fmt.Sprintf("%s, submitted %s, correlation ID %s", safe(label(d)), stamp(e.Revision.Time()), safe(e.CorrelationID))))
		}
		for _, e := range e.Story() {
			what := fmt.Sprintf("%-10s", e.What)
			if s, ok := map[events.What]string{events.Failed: "failed", events.Completed: "complete", events.Retried: "warn", events.Held: "warn"}[e.What]; ok {
				what = o.paint(paintState(s), what)
			}
			o.printf("  %s  %-9s %s %s\n", e.Time.UTC().Format("2006-01-02 15:04:05.000Z"), safe(e.Stage), what, oneLine(details(e)))
		}
		return nil
	})
	if cmd.Follow && errors.Is(err, context.Canceled) {
		return nil
	}
	if err == nil && !told {
		return failf("not-found", "events are kept for seven days; 'sluice status' has the outcome", "nothing is told of %q any more", cmd.Doc)
	}
	return err
}

// details says what an event adds to its name.
func details(e *events.Event) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if f := e.Failure; f != nil {
		add("%s: %s", f.Reason, heldWords(f.Message))
		if f.Wait != "" {
			add("waits for %s", f.Wait)
		}
		if f.Attempts > 0 {
			add("attempt %d", f.Attempts)
		}
		if f.Hint != "" {
			add("hint: %s", f.Hint)
		}
		return strings.Join(parts, ", ")
	}
	if e.Type != "" {
		add("%s", e.Type)
	}
	if e.Bytes > 0 {
		add("%s", bytesText(e.Bytes))
	}
	if e.Pages > 0 {
		add("%s", plural(e.Pages, "page"))
	}
	switch {
	case e.Chunks > 0 && e.Of > 0:
		add("%d of %d chunks", e.Chunks, e.Of)
	case e.Of > 0:
		add("%s", plural(e.Of, "chunk"))
	}
	if e.Tokens > 0 {
		add("%s tokens", grouped(int64(e.Tokens)))
	}
	if e.Reused > 0 {
		add("%d reused", e.Reused)
	}
	if e.Nano > 0 {
		add("%s", dollars(e.Nano))
	}
	if e.Parser != "" {
		add("%s", e.Parser)
	}
	if e.Model != "" {
		add("%s", e.Model)
	}
	if len(e.Warnings) > 0 {
		add("%s", plural(len(e.Warnings), "warning"))
	}
	if e.Seconds > 0 {
		add("%v", time.Duration(e.Seconds*float64(time.Second)).Round(100*time.Microsecond))
	}
	return strings.Join(parts, ", ")
}

// replay calls f with every stored message of a stream that the subject
// matches, in order, and returns when it has seen what was there at the
// beginning, or never with follow.
func replay(ctx context.Context, js jetstream.JetStream, stream, subject string, headersOnly, follow bool, f func(jetstream.Msg) error) error {
	cfg := jetstream.OrderedConsumerConfig{HeadersOnly: headersOnly}
	if subject != "" {
		cfg.FilterSubjects = []string{subject}
	}
	cons, err := js.OrderedConsumer(ctx, stream, cfg)
	if err != nil {
		return fmt.Errorf("read the stream %s: %w", stream, err)
	}
	left := cons.CachedInfo().NumPending
	if left == 0 && !follow {
		return nil
	}
	it, err := cons.Messages()
	if err != nil {
		return fmt.Errorf("read the stream %s: %w", stream, err)
	}
	defer it.Stop()
	defer context.AfterFunc(ctx, it.Stop)()
	for {
		msg, err := it.Next()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("read the stream %s: %w", stream, err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return fmt.Errorf("read the stream %s: %w", stream, err)
		}
		if err := f(msg); err != nil {
			return err
		}
		if meta.NumPending == 0 && !follow {
			return nil
		}
	}
}
