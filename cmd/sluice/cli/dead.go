package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// DeadCmd looks after dead letters.
type DeadCmd struct {
	Ls     DeadLsCmd     `cmd:"" help:"List dead letters."`
	Show   DeadShowCmd   `cmd:"" help:"Show a dead letter whole."`
	Replay DeadReplayCmd `cmd:"" help:"Send dead letters back to where they failed."`
	Purge  DeadPurgeCmd  `cmd:"" help:"Remove dead letters for good."`
}

// Help is shown by --help.
func (DeadCmd) Help() string {
	return examples("A message that cannot be processed is kept for 30 days with the reason, whole. Once the cause is mended it can be replayed.",
		"sluice dead ls", "What failed, and why",
		"sluice dead show 12", "One of them, with its headers",
		"sluice dead replay --reason timeout", "Try again what timed out",
		"sluice dead purge --stage parser", "Forget what the parser refused")
}

// DeadFilter selects dead letters.
type DeadFilter struct {
	Stage  string `help:"Only what failed in this stage." placeholder:"NAME"`
	Reason string `help:"Only what failed for this reason." placeholder:"SLUG"`
}

func (f DeadFilter) empty() bool { return f.Stage == "" && f.Reason == "" }

// letter is a dead letter.
type letter struct {
	Seq           uint64            `json:"seq"`
	Stage         string            `json:"stage"`
	Class         string            `json:"class"`
	Reason        string            `json:"reason"`
	Message       string            `json:"message"`
	Hint          string            `json:"hint,omitempty"`
	Attempts      int               `json:"attempts"`
	Time          time.Time         `json:"time"`
	Name          string            `json:"name,omitempty"`
	Tenant        string            `json:"tenant,omitempty"`
	Document      string            `json:"document,omitempty"`
	Revision      string            `json:"revision,omitempty"`
	CorrelationID string            `json:"correlation_id,omitempty"`
	Origin        string            `json:"origin"` // stream/sequence
	Subject       string            `json:"subject"`
	Headers       map[string]string `json:"headers,omitempty"` // show only
	Body          string            `json:"body,omitempty"`    // show only
	Size          int               `json:"size,omitempty"`    // show only; bytes
	Blob          string            `json:"blob,omitempty"`    // the object that holds the body
	// Superseded says what has overtaken the letter, if something has.
	Superseded string `json:"superseded,omitempty"`
}

func letterOf(seq uint64, subject string, h nats.Header, stored time.Time) letter {
	l := letter{
		Seq: seq, Stage: h.Get(events.HeaderFailureStage), Class: h.Get(events.HeaderFailureClass), Reason: h.Get(events.HeaderFailureReason),
		Message: h.Get(events.HeaderFailureMessage), Hint: h.Get(events.HeaderFailureHint), Time: stored,
		Name: h.Get(events.HeaderFilename), Tenant: h.Get(events.HeaderTenant), Document: h.Get(events.HeaderDocumentID),
		Revision: h.Get(events.HeaderRevision), CorrelationID: h.Get(events.HeaderCorrelationID),
		Origin:  h.Get(events.HeaderOriginStream) + "/" + h.Get(events.HeaderOriginSeq),
		Subject: h.Get(events.HeaderOriginSubject), Blob: h.Get(events.HeaderBlob),
	}
	if l.Stage == "" {
		l.Stage = strings.TrimPrefix(subject, events.SubjectDeadPrefix)
	}
	if n, err := strconv.Atoi(h.Get(events.HeaderFailureAttempts)); err == nil {
		l.Attempts = n
	}
	if t, err := time.Parse(time.RFC3339Nano, h.Get(events.HeaderFailureTime)); err == nil {
		l.Time = t
	}
	if l.Name == "" {
		if n := events.SubmitName(l.Subject); n != "" {
			l.Name = n
		}
	}
	return l
}

// overtaken says what has made a letter out of date: a newer submission of the
// document, its deletion, or a success of the same one. It is "" if nothing has.
func (c *client) overtaken(ctx context.Context, h nats.Header) (string, error) {
	r, err := events.ParseRevision(h.Get(events.HeaderRevision))
	id := h.Get(events.HeaderDocumentID)
	if err != nil || id == "" {
		return "", nil // it has no identity to be compared by
	}
	d, err := c.get(ctx, id)
	if d == nil || err != nil {
		return "", err
	}
	return overtaken(d, r), nil
}

func overtaken(d *events.Document, r events.Revision) string {
	switch {
	case d.Gone >= r:
		return fmt.Sprintf("the document was deleted, %s", stamp(d.Gone.Time()))
	case d.Revision.Submission() > r.Submission() && d.State == events.StateAccepted:
		// What has not been read may be a deletion.
		return fmt.Sprintf("a newer submission or deletion of the document, %s, is %s", stamp(d.Revision.Time()), d.State)
	case d.Revision.Submission() > r.Submission():
		return fmt.Sprintf("the document was submitted again, %s, and is %s", stamp(d.Revision.Time()), d.State)
	case events.Ends(d, r):
		return "the submission has succeeded meanwhile"
	}
	return ""
}

// letters calls f with every dead letter that the filter selects, the oldest first.
func (c *client) letters(ctx context.Context, filter DeadFilter, f func(letter) error) error {
	subject := events.SubjectDeadPrefix + ">"
	if filter.Stage != "" {
		if strings.ContainsAny(filter.Stage, " \t.*>") {
			return usagef("use the name of a stage, such as parser", "--stage is %q", filter.Stage)
		}
		subject = events.SubjectDeadPrefix + filter.Stage
	}
	return replay(ctx, c.js, events.StreamDeadLetter, subject, true, false, func(msg jetstream.Msg) error {
		meta, err := msg.Metadata()
		if err != nil {
			return fmt.Errorf("read the dead letters: %w", err)
		}
		l := letterOf(meta.Sequence.Stream, msg.Subject(), msg.Headers(), meta.Timestamp)
		if filter.Reason != "" && l.Reason != filter.Reason {
			return nil
		}
		return f(l)
	})
}

// DeadLsCmd lists dead letters.
type DeadLsCmd struct {
	DeadFilter
	Online
}

// Help is shown by --help.
func (DeadLsCmd) Help() string {
	return examples("Lists dead letters, the oldest first. The number in the first column is what the other commands take.",
		"sluice dead ls", "All",
		"sluice dead ls --stage parser --reason encrypted", "A selection",
		"sluice dead ls --json | jq -r .reason | sort | uniq -c", "How many for which reason")
}

// Run lists.
func (cmd DeadLsCmd) Run(ctx context.Context, o *output) error {
	c, err := cmd.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	var all []letter
	if err := c.letters(ctx, cmd.DeadFilter, func(l letter) error { all = append(all, l); return nil }); err != nil {
		return err
	}
	documents := map[string]*events.Document{}
	for i := range all {
		l := &all[i]
		d, known := documents[l.Document]
		if !known && l.Document != "" {
			if d, err = c.get(ctx, l.Document); err != nil {
				return err
			}
			documents[l.Document] = d
		}
		if r, err := events.ParseRevision(l.Revision); d != nil && err == nil {
			l.Superseded = overtaken(d, r)
		}
	}
	if o.json {
		return printLines(o, all)
	}
	if len(all) == 0 {
		o.notef("no dead letters")
		return nil
	}
	now := time.Now()
	rows := make([][]string, 0, len(all))
	for _, l := range all {
		name := l.Name
		if name == "" {
			name = l.Document
		}
		message := l.Message
		if l.Superseded != "" {
			message = "superseded: " + l.Superseded + "; " + message
		}
		rows = append(rows, []string{strconv.FormatUint(l.Seq, 10), ago(l.Time, now), l.Stage, l.Reason, strconv.Itoa(l.Attempts), name, message})
	}
	o.table([]column{
		{title: "SEQ", right: true},
		{title: "FAILED"},
		{title: "STAGE"},
		{title: "REASON", paint: func(string) style { return bad }},
		{title: "ATTEMPTS", right: true},
		{title: "DOCUMENT", name: true},
		{title: "MESSAGE"},
	}, rows)
	return nil
}

// DeadShowCmd shows a dead letter.
type DeadShowCmd struct {
	Seq []uint64 `arg:"" help:"Numbers from 'sluice dead ls'."`
	Raw bool     `help:"Write the body alone, as it is."`
	Online
}

// Help is shown by --help.
func (DeadShowCmd) Help() string {
	return examples("Shows why a message failed, its headers, and its body if it is text.",
		"sluice dead show 12", "One of them",
		"sluice dead show 12 --raw > report.pdf", "Get the document back")
}

// Run shows.
func (cmd DeadShowCmd) Run(ctx context.Context, o *output) error {
	c, err := cmd.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	for i, seq := range cmd.Seq {
		msg, err := c.deadLetter(ctx, seq)
		if err != nil {
			return err
		}
		body, err := c.body(ctx, msg)
		if err != nil {
			return err
		}
		if cmd.Raw {
			if _, err := o.Out.Write(body); err != nil {
				return fmt.Errorf("write the body: %w", err)
			}
			continue
		}
		l := letterOf(msg.Sequence, msg.Subject, msg.Header, msg.Time)
		l.Size, l.Headers = len(body), map[string]string{}
		for k, v := range msg.Header {
			l.Headers[k] = strings.Join(v, ", ")
		}
		if utf8.Valid(body) {
			l.Body = string(body)
		}
		if l.Superseded, err = c.overtaken(ctx, msg.Header); err != nil {
			return err
		}
		if o.json {
			if err := o.line(l); err != nil {
				return err
			}
			continue
		}
		if i > 0 {
			o.printf("\n")
		}
		printLetter(o, l)
	}
	return nil
}

// shownBody is how much of a body is printed, in bytes.
const shownBody = 2000

func printLetter(o *output, l letter) {
	name := l.Name
	if name == "" {
		name = l.Document
	}
	o.printf("%s  %s\n", o.paint(bold, fmt.Sprintf("dead letter %d", l.Seq)), safe(name))
	o.printf("  failed   %s in %s, %s, class %s, %s\n", o.paint(bad, safe(l.Reason)), safe(l.Stage), stamp(l.Time), safe(l.Class), plural(l.Attempts, "attempt"))
	if l.Superseded != "" {
		o.printf("  state    %s: %s; hint: 'sluice dead purge %d'\n", o.paint(wary, "superseded"), oneLine(l.Superseded), l.Seq)
	}
	o.printf("  message  %s\n", oneLine(l.Message))
	if l.Hint != "" {
		o.printf("  hint     %s\n", oneLine(l.Hint))
	}
	o.printf("  origin   %s on %s\n", safe(l.Origin), safe(l.Subject))
	keys := make([]string, 0, len(l.Headers))
	for k := range l.Headers {
		if !strings.HasPrefix(k, "Failure-") && !strings.HasPrefix(k, "Origin-") && !strings.HasPrefix(k, "Nats-") {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		o.printf("  %s: %s\n", safe(k), safe(l.Headers[k]))
	}
	switch {
	case l.Size == 0:
		o.printf("  no body\n")
	case l.Body == "":
		o.printf("  a body of %s; hint: 'sluice dead show %d --raw' writes it\n", bytesText(int64(l.Size)), l.Seq)
	default:
		text := l.Body
		more := ""
		if len(text) > shownBody {
			text, more = strings.ToValidUTF8(text[:shownBody], ""), fmt.Sprintf("\n  … %s in all; 'sluice dead show %d --raw' writes it", bytesText(int64(l.Size)), l.Seq)
		}
		lines := strings.Split(text, "\n")
		for i := range lines {
			lines[i] = "  | " + safe(lines[i])
		}
		o.printf("%s%s\n", strings.Join(lines, "\n"), more)
	}
}

// deadLetter gets a dead letter by its number.
func (c *client) deadLetter(ctx context.Context, seq uint64) (*jetstream.RawStreamMsg, error) {
	s, err := c.js.Stream(ctx, events.StreamDeadLetter)
	if err != nil {
		return nil, fmt.Errorf("look at the stream %s: %w", events.StreamDeadLetter, err)
	}
	msg, err := s.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, failf("not-found", "'sluice dead ls' shows what is there", "there is no dead letter %d", seq)
	}
	if err != nil {
		return nil, fmt.Errorf("get the dead letter %d: %w", seq, err)
	}
	return msg, nil
}

// body returns the body of a dead letter, wherever it is.
func (c *client) body(ctx context.Context, msg *jetstream.RawStreamMsg) ([]byte, error) {
	ref := msg.Header.Get(events.HeaderBlob)
	if ref == "" {
		return msg.Data, nil
	}
	blobs, err := c.js.ObjectStore(ctx, events.StoreBlobs)
	if err != nil {
		return nil, fmt.Errorf("open the object store %s: %w", events.StoreBlobs, err)
	}
	data, err := blobs.GetBytes(ctx, ref)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, failf("body-gone", "submit the document again, and purge this", "the body of dead letter %d has expired", msg.Sequence)
	}
	if err != nil {
		return nil, fmt.Errorf("get the body of dead letter %d: %w", msg.Sequence, err)
	}
	return data, nil
}

// DeadSelect is what replay and purge work on.
type DeadSelect struct {
	Seq []uint64 `arg:"" optional:"" help:"Numbers from 'sluice dead ls'."`
	DeadFilter
	All bool `help:"All dead letters."`
}

// check refuses a call that selects nothing, or two things.
func (d DeadSelect) check(verb string) error {
	switch {
	case len(d.Seq) == 0 && d.empty() && !d.All:
		return usagef("give numbers from 'sluice dead ls', --stage, --reason, or --all", "nothing is selected to %s", verb)
	case len(d.Seq) > 0 && (d.All || !d.empty()):
		return usagef("give numbers or a selection, not both", "numbers and --all, --stage or --reason do not go together")
	}
	return nil
}

// selected returns the numbers that are meant.
func (d DeadSelect) selected(ctx context.Context, c *client) ([]uint64, error) {
	if len(d.Seq) > 0 {
		return d.Seq, nil
	}
	var all []uint64
	err := c.letters(ctx, d.DeadFilter, func(l letter) error { all = append(all, l.Seq); return nil })
	return all, err
}

// DeadReplayCmd replays.
type DeadReplayCmd struct {
	DeadSelect
	AsNew bool `help:"Submit them anew: their content becomes the newest of their documents, whatever came after them."`
	Online
}

// Help is shown by --help.
func (DeadReplayCmd) Help() string {
	return examples("Sends messages back to the stage where they failed, as they were, and removes each dead letter once its message is stored. "+
		"A submission keeps its revision: what was submitted or removed after it stays. Letters that are superseded by that are refused, unless --as-new makes them the newest submission.",
		"sluice dead replay 12 13", "Two of them",
		"sluice dead replay 12 --as-new", "Bring an old submission back",
		"sluice dead replay --stage embedder --reason timeout", "A selection",
		"sluice dead replay --all", "All")
}

// handled is the JSON of one replayed or purged dead letter.
type handled struct {
	Seq     uint64 `json:"seq"`
	Done    string `json:"done"` // "replayed", "purged", "superseded" or "failed"
	Subject string `json:"subject,omitempty"`
	Error   string `json:"error,omitempty"`
}

// Run replays.
func (cmd DeadReplayCmd) Run(ctx context.Context, o *output) error {
	if err := cmd.check("replay"); err != nil {
		return err
	}
	return cmd.forEach(ctx, o, cmd.Online, "replayed", func(c *client, ctx context.Context, dead *jetstream.RawStreamMsg) error {
		return c.replay(ctx, dead, cmd.AsNew)
	})
}

// DeadPurgeCmd purges.
type DeadPurgeCmd struct {
	DeadSelect
	Yes bool `help:"With --all: yes, all of them."`
	Online
}

// Help is shown by --help.
func (DeadPurgeCmd) Help() string {
	return examples("Removes dead letters for good, with the bodies that only they refer to. The documents stay failed.",
		"sluice dead purge 12", "One of them",
		"sluice dead purge --reason encrypted", "A selection",
		"sluice dead purge --all --yes", "All")
}

// Run purges.
func (cmd DeadPurgeCmd) Run(ctx context.Context, o *output) error {
	if err := cmd.check("purge"); err != nil {
		return err
	}
	if cmd.All && !cmd.Yes {
		return usagef("add --yes", "purging all dead letters cannot be undone")
	}
	return cmd.forEach(ctx, o, cmd.Online, "purged", (*client).purge)
}

// forEach does something with every selected dead letter. One that fails does
// not keep the others from it.
func (d DeadSelect) forEach(ctx context.Context, o *output, online Online, done string, f func(*client, context.Context, *jetstream.RawStreamMsg) error) error {
	c, err := online.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	seqs, err := d.selected(ctx, c)
	if err != nil {
		return err
	}
	failed, n, superseded := 0, 0, 0
	for _, seq := range seqs {
		h := handled{Seq: seq, Done: done}
		msg, err := c.deadLetter(ctx, seq)
		if err == nil {
			h.Subject = msg.Header.Get(events.HeaderOriginSubject)
			err = f(c, ctx, msg)
		}
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			fe := fault.From(err)
			h.Done, h.Error = "failed", fe.Message
			// A selection leaves them where they are. Who names one is told by the exit code.
			if fe.Reason == reasonSuperseded && len(d.Seq) == 0 {
				h.Done = reasonSuperseded
				superseded++
			} else {
				failed++
			}
			if !o.json {
				o.notef("dead letter %d: %s; hint: %s", seq, oneLine(fe.Message), oneLine(fe.Hint))
			}
		} else {
			n++
		}
		if o.json {
			if err := o.line(h); err != nil {
				return err
			}
		}
	}
	if !o.json {
		o.printf("%s %s\n", plural(n, "dead letter"), done)
		if superseded > 0 {
			o.printf("%s left, superseded\n", plural(superseded, "dead letter"))
		}
	}
	if failed > 0 {
		return failf("dead-letters", "the lines above say why", "%d of %d dead letters could not be %s", failed, len(seqs), done)
	}
	return nil
}

// reasonSuperseded refuses the replay of what something newer has overtaken.
const reasonSuperseded = "superseded"

// replay sends a message back to where it failed and removes the dead letter.
// The message ID is derived from the dead letter: if this process dies between
// the two, doing it again is recognised. A submission keeps its revision unless
// it is to be a new one.
func (c *client) replay(ctx context.Context, dead *jetstream.RawStreamMsg, asNew bool) error {
	subject, stream := dead.Header.Get(events.HeaderOriginSubject), dead.Header.Get(events.HeaderOriginStream)
	if subject == "" || stream == "" {
		return failf("no-origin", "purge it, or publish its body yourself", "it does not say where it came from")
	}
	inbox := strings.HasPrefix(subject, "$O.")
	switch {
	case asNew && stream != events.StreamDocuments && !inbox:
		return failf("not-a-submission", "submit the document again, or replay the letter as it is",
			"it failed after it was parsed, so it is no submission that could be made anew")
	case !asNew && !inbox:
		by, err := c.overtaken(ctx, dead.Header)
		if err != nil {
			return err
		}
		if by != "" {
			hint := fmt.Sprintf("'sluice dead purge %d' forgets it", dead.Sequence)
			if stream == events.StreamDocuments {
				hint += ", --as-new makes it the newest submission"
			}
			return failf(reasonSuperseded, hint, "%s", by)
		}
	}
	msg := nats.NewMsg(subject)
	for k, v := range dead.Header {
		if !strings.HasPrefix(k, "Failure-") && !strings.HasPrefix(k, "Origin-") && !strings.HasPrefix(k, "Nats-") {
			msg.Header[k] = v
		}
	}
	msg.Header.Set(events.HeaderMsgID, "replay:"+strconv.FormatUint(dead.Sequence, 10)+":"+strconv.FormatInt(dead.Time.UnixNano(), 36))
	msg.Data = dead.Data
	blob := ""
	switch {
	case stream == events.StreamDocuments:
		// The parser believes a revision only from the header of replays, and no
		// references to blobs at all, because anybody may submit.
		msg.Header.Del(events.HeaderReplayRevision)
		if r, err := events.ParseRevision(dead.Header.Get(events.HeaderRevision)); err == nil && r != 0 && !asNew {
			msg.Header.Set(events.HeaderReplayRevision, r.Base().String())
		}
		msg.Header.Del(events.HeaderDocumentID)
		msg.Header.Del(events.HeaderRevision)
		msg.Header.Del(events.HeaderBlob)
		blob = dead.Header.Get(events.HeaderBlob)
		var err error
		if msg.Data, err = c.body(ctx, dead); err != nil {
			return err
		}
	case inbox:
		if err := c.stillThere(ctx, dead.Data); err != nil {
			return err
		}
		msg.Header.Set("Nats-Rollup", "sub") // as the object store writes its entries
	}
	if _, err := c.js.PublishMsg(ctx, msg, jetstream.WithExpectStream(stream)); err != nil {
		return fault.Wrap(err, fault.Unavailable, "not-stored", "%s does not take it", stream).WithHint("see 'sluice status', and try again")
	}
	if err := c.drop(ctx, dead.Sequence); err != nil {
		return err
	}
	return c.dropBlob(ctx, blob)
}

// stillThere checks that an entry of the inbox is the newest of its object:
// replaying an older one would bring a removed object back without its bytes.
func (c *client) stillThere(ctx context.Context, entry []byte) error {
	gone := failf("object-gone", "put the object into the inbox again, and purge this", "the object of the inbox is not there any more")
	var info jetstream.ObjectInfo
	if err := json.Unmarshal(entry, &info); err != nil || info.Name == "" {
		return failf("unreadable", "purge it", "the entry of the inbox cannot be read")
	}
	inbox, err := c.js.ObjectStore(ctx, events.StoreInbox)
	if err != nil {
		return fmt.Errorf("open the object store %s: %w", events.StoreInbox, err)
	}
	now, err := inbox.GetInfo(ctx, info.Name)
	if errors.Is(err, jetstream.ErrObjectNotFound) || (err == nil && now.NUID != info.NUID) {
		return gone
	}
	if err != nil {
		return fmt.Errorf("find the object %s: %w", url.PathEscape(info.Name), err)
	}
	return nil
}

// purge removes a dead letter and the body that only it refers to.
func (c *client) purge(ctx context.Context, dead *jetstream.RawStreamMsg) error {
	if err := c.drop(ctx, dead.Sequence); err != nil {
		return err
	}
	return c.dropBlob(ctx, dead.Header.Get(events.HeaderBlob))
}

func (c *client) drop(ctx context.Context, seq uint64) error {
	s, err := c.js.Stream(ctx, events.StreamDeadLetter)
	if err != nil {
		return fmt.Errorf("look at the stream %s: %w", events.StreamDeadLetter, err)
	}
	if err := s.DeleteMsg(ctx, seq); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return fmt.Errorf("remove the dead letter %d: %w", seq, err)
	}
	return nil
}

func (c *client) dropBlob(ctx context.Context, ref string) error {
	if ref == "" {
		return nil
	}
	blobs, err := c.js.ObjectStore(ctx, events.StoreBlobs)
	if err != nil {
		return fmt.Errorf("open the object store %s: %w", events.StoreBlobs, err)
	}
	if err := blobs.Delete(ctx, ref); err != nil && !errors.Is(err, jetstream.ErrObjectNotFound) {
		return fmt.Errorf("remove the body %s: %w", ref, err)
	}
	return nil
}
