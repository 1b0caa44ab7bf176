package events

import (
	"fmt"
	"time"

	"sluice/pkg/fault"
)

// What names an event in the story of a document.
type What string

// The events. A document's story is told on docs.event.<document>.>.
const (
	Accepted   What = "accepted"   // the parser took the submission up; told if reading it takes a while
	ParsedWhat What = "parsed"     // it is Markdown
	Chunked    What = "chunked"    // it is Of chunks; a step
	Embedded   What = "embedded"   // Chunks more of its chunks have vectors; a step if they are all
	Indexed    What = "indexed"    // Chunks of Of are in the index, not yet visible
	Completed  What = "complete"   // visible in search
	Duplicated What = "duplicate"  // same content, same pipeline: nothing to do
	Downgraded What = "degraded"   // complete, but partly by a fallback
	Superseded What = "superseded" // a newer revision won before this one was complete
	Held       What = "held"       // waiting, for what its failure says: once a wait
	Resumed    What = "resumed"    // the wait is over
	Retried    What = "retried"    // a failure that will be tried again
	Failed     What = "failed"     // dead-lettered, with the reason
	Deleted    What = "deleted"
)

// Event is one step of one revision of a document. Fields that an event does
// not need are absent.
type Event struct {
	V             int       `json:"v"`
	What          What      `json:"what"`
	Document      string    `json:"document"`
	Revision      Revision  `json:"revision"`
	Sequence      uint64    `json:"sequence,omitempty"` // of the submission in DOCUMENTS; told by the parser, but of what is replayed
	Tenant        string    `json:"tenant,omitempty"`
	Name          string    `json:"name,omitempty"`
	CorrelationID string    `json:"correlation_id"`
	Stage         string    `json:"stage"`
	Time          time.Time `json:"time"`
	Seconds       float64   `json:"seconds,omitempty"` // spent in the stage

	Type        string     `json:"type,omitempty"`
	Title       string     `json:"title,omitempty"`
	Bytes       int64      `json:"bytes,omitempty"`
	ContentHash string     `json:"content_hash,omitempty"`
	Fingerprint string     `json:"fingerprint,omitempty"`
	Submitted   *time.Time `json:"submitted,omitempty"`
	Pages       int        `json:"pages,omitempty"`
	Warnings    []string   `json:"warnings,omitempty"`

	Chunks int    `json:"chunks,omitempty"`
	Of     int    `json:"of,omitempty"`
	Reused int    `json:"reused,omitempty"` // chunks whose vectors were not bought again
	Tokens int    `json:"tokens,omitempty"`
	Nano   int64  `json:"nano,omitempty"` // nano-dollars
	Model  string `json:"model,omitempty"`
	Parser string `json:"parser,omitempty"` // who parsed: service and version

	Failure *Failure `json:"failure,omitempty"`
	ReplyTo string   `json:"reply_to,omitempty"`
	Steps   []Step   `json:"steps,omitempty"` // before this event, of which nothing was told
}

// Step is a part of a document's story that was worth no event of its own: a stage that
// hands a document on at once lets it be told by whoever ends the story.
type Step struct {
	What    What      `json:"what"`
	Stage   string    `json:"stage"`
	Time    time.Time `json:"time"`
	Seconds float64   `json:"seconds,omitempty"`
	Chunks  int       `json:"chunks,omitempty"`
	Of      int       `json:"of,omitempty"`
	Reused  int       `json:"reused,omitempty"`
	Tokens  int       `json:"tokens,omitempty"`
	Nano    int64     `json:"nano,omitempty"` // nano-dollars
	Model   string    `json:"model,omitempty"`
}

// Story returns the steps before an event, each as an event, and then the event without
// them.
func (e *Event) Story() []*Event {
	var all []*Event
	for _, s := range e.Steps {
		all = append(all, &Event{
			V: e.V, What: s.What, Document: e.Document, Revision: e.Revision, Tenant: e.Tenant, Name: e.Name, CorrelationID: e.CorrelationID,
			Stage: s.Stage, Time: s.Time, Seconds: s.Seconds, Chunks: s.Chunks, Of: s.Of, Reused: s.Reused, Tokens: s.Tokens, Nano: s.Nano, Model: s.Model,
		})
	}
	last := *e
	last.Steps = nil
	return append(all, &last)
}

// Failure says why a document is not complete, and what to do about it.
type Failure struct {
	Stage    string `json:"stage"`
	Class    string `json:"class"`
	Reason   string `json:"reason"`
	Message  string `json:"message"`
	Hint     string `json:"hint,omitempty"`
	Attempts int    `json:"attempts,omitempty"`
	// Origin is "<stream>/<sequence>" of the message that failed.
	Origin string `json:"origin,omitempty"`
	// Wait is the key of what has to change, if the message waits: "budget:tenant.acme".
	Wait string `json:"wait,omitempty"`
}

func (e *Event) check() error {
	if err := checkVersion(e.V); err != nil {
		return err
	}
	if err := checkID("document", e.Document); err != nil {
		return err
	}
	if e.What == "" {
		return malformed("field what is missing")
	}
	return nil
}

// ReasonOrder says of a superseded submission that what stands in its way may be
// the older one: the server's clock was wrong when one of them was stored.
const ReasonOrder = "order-unknown"

// State is where the newest revision of a document stands.
type State string

// The states, in the order they are passed through.
const (
	StateAccepted  State = "accepted"
	StateParsed    State = "parsed"
	StateEmbedded  State = "embedded" // some or all chunks have vectors
	StateIndexed   State = "indexed"  // some or all vectors are in the index
	StateComplete  State = "complete"
	StateDegraded  State = "degraded"
	StateDuplicate State = "duplicate"
	StateFailed    State = "failed"
	StateDeleted   State = "deleted"
)

// Final reports whether nothing more will happen by itself, but that what is
// degraded is made whole.
func (s State) Final() bool {
	switch s {
	case StateComplete, StateDegraded, StateDuplicate, StateFailed, StateDeleted:
		return true
	}
	return false
}

// Document is the entry of one document in the KV bucket "documents": the
// newest revision's state, and what of the document can be searched now.
type Document struct {
	V             int       `json:"v"`
	Document      string    `json:"document"`
	Tenant        string    `json:"tenant"`
	Name          string    `json:"name,omitempty"`
	Revision      Revision  `json:"revision"`
	Sequence      uint64    `json:"sequence,omitempty"` // of the submission in DOCUMENTS, as long as that stream lives
	State         State     `json:"state"`
	Stage         string    `json:"stage"` // the last to report
	CorrelationID string    `json:"correlation_id"`
	Submitted     time.Time `json:"submitted"`
	Updated       time.Time `json:"updated"`
	Type          string    `json:"type,omitempty"`
	Title         string    `json:"title,omitempty"`
	Bytes         int64     `json:"bytes,omitempty"`
	Pages         int       `json:"pages,omitempty"`
	Chunks        int       `json:"chunks,omitempty"`  // of this revision
	Indexed       int       `json:"indexed,omitempty"` // of them in the index
	Reused        int       `json:"reused,omitempty"`
	Tokens        int       `json:"tokens,omitempty"`
	Nano          int64     `json:"nano,omitempty"` // nano-dollars
	Model         string    `json:"model,omitempty"`
	Parser        string    `json:"parser,omitempty"` // who parsed: service and version
	Held          string    `json:"held,omitempty"`   // why it waits; empty when it moves
	Retries       int       `json:"retries,omitempty"`
	Failure       *Failure  `json:"failure,omitempty"`
	Warnings      []string  `json:"warnings,omitempty"`
	// Upgrade says how it stands with the parse that shall replace a fallback's.
	Upgrade *Upgrade `json:"upgrade,omitempty"`
	// Gone is the newest deletion: nothing at or below it is searchable.
	Gone Revision `json:"gone,omitempty"`
	// Lost is the newest revision that the index turned out not to hold (any more):
	// what was told of it, or of older ones, no longer says what is searchable.
	Lost Revision `json:"lost,omitempty"`
	// Live is what search returns now. It can be older than Revision.
	Live *Live `json:"live,omitempty"`
}

// Upgrade is a document's second parse, while it is not whole.
type Upgrade struct {
	Held    string   `json:"held,omitempty"`    // why it waits; empty when it moves
	Failure *Failure `json:"failure,omitempty"` // why it ended: the document stays degraded
}

// Live is the searchable revision of a document.
type Live struct {
	Revision    Revision `json:"revision"`
	ContentHash string   `json:"content_hash"`
	Fingerprint string   `json:"fingerprint"`
	Chunks      int      `json:"chunks"`
	Degraded    bool     `json:"degraded,omitempty"` // partly a fallback's: the same content again is no duplicate
}

// Ends tells whether what is known of a document ends a dead letter of a revision:
// something newer is searchable, or the same revision without a fallback's part,
// or the document was deleted since.
func Ends(d *Document, r Revision) bool {
	switch {
	case d.Gone >= r:
		return true
	case d.Live == nil:
		return false
	case d.Live.Revision == r:
		return !d.Live.Degraded
	}
	return d.Live.Revision > r
}

// Overtaken tells what has made further work on a revision useless: it was deleted
// since, something newer is searchable, or something newer has been read and is on
// its way. A newer submission that has not been read yet, or that has failed,
// replaces nothing: see Pending. by is 0 if the revision is still wanted.
func Overtaken(d *Document, r Revision) (by Revision) {
	if d.Gone >= r {
		by = d.Gone
	}
	if d.Live != nil && d.Live.Revision > r {
		by = max(by, d.Live.Revision)
	}
	if newer(d, r) && !unread(d) && d.State != StateFailed {
		by = max(by, d.Revision)
	}
	return by
}

// Pending tells whether a newer submission of the document has arrived and nobody
// knows yet what will become of it.
func Pending(d *Document, r Revision) bool { return newer(d, r) && unread(d) }

// unread tells whether nobody has read the newest submission yet. Entries that a
// release before this one wrote may have no state then.
func unread(d *Document) bool { return d.State == StateAccepted || d.State == "" }

func newer(d *Document, r Revision) bool { return d.Revision.Submission() > r.Submission() }

// ReasonNewer is why a revision is superseded: there is something newer.
const ReasonNewer = "newer"

// Late says of a revision that by has overtaken it, which is a deletion if gone.
// One from the future is there because a clock was wrong, so it may be the older
// intention.
func Late(stage string, r, by Revision, gone bool) *Failure {
	shown := func(r Revision) string { return r.Time().Format(time.RFC3339) }
	what := "revision"
	if gone {
		what = "the deletion,"
	}
	f := &Failure{
		Stage: stage, Class: fault.Execution.String(), Reason: ReasonNewer,
		Message: fmt.Sprintf("revision %d of %s is older than %s %d of %s", r, shown(r), what, by, shown(by)),
	}
	if time.Until(by.Time()) > 5*time.Second {
		f.Reason, f.Hint = ReasonOrder, "the NATS server's clock was wrong: submit the document again, and set the clock"
	}
	return f
}

// SearchRequest asks the indexer. Subject sluice.search.
type SearchRequest struct {
	Query  string `json:"query"`
	K      int    `json:"k,omitempty"`    // results wanted, default 10
	Mode   string `json:"mode,omitempty"` // hybrid (default), keyword or vector
	Tenant string `json:"tenant,omitempty"`
	// Meta keeps hits whose document has all of these Meta- values.
	Meta map[string]string `json:"meta,omitempty"`
}

// SearchReply answers a SearchRequest, best hit first.
type SearchReply struct {
	Hits  []Hit  `json:"hits"`
	Mode  string `json:"mode"` // what was done: "keyword" when no query vector could be had
	Model string `json:"model,omitempty"`
	Note  string `json:"note,omitempty"` // why it is not what was asked for
	Error string `json:"error,omitempty"`
}

// Hit is one chunk found.
type Hit struct {
	Chunk    string            `json:"chunk"`
	Document string            `json:"document"`
	Revision Revision          `json:"revision"`
	Tenant   string            `json:"tenant"`
	Name     string            `json:"name,omitempty"`
	Title    string            `json:"title,omitempty"`
	Score    float64           `json:"score"` // comparable within one reply only
	Text     string            `json:"text"`
	Headings []string          `json:"headings,omitempty"`
	Header   string            `json:"header,omitempty"` // as in Chunk
	Ordinal  int               `json:"ordinal"`
	Start    int               `json:"start"`
	End      int               `json:"end"`
	Page     int               `json:"page,omitempty"`
	Model    string            `json:"model"`
	Meta     map[string]string `json:"meta,omitempty"`
}

// EmbedRequest asks the embedder for query vectors. Subject sluice.embed.
type EmbedRequest struct {
	Texts []string `json:"texts"`
}

// EmbedReply answers an EmbedRequest: one vector a text, in order, or an error.
type EmbedReply struct {
	Model   string   `json:"model"`
	Vectors [][]byte `json:"vectors,omitempty"` // little-endian float32
	Error   string   `json:"error,omitempty"`
}
