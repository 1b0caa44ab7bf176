// Package parser is the first stage: it turns what was submitted into
// Markdown.
//
// Its input is whatever arrives in DOCUMENTS: bytes, references and deletions.
// A second small stage, inbox, turns objects put into the object store "inbox"
// into references. Content that is indexed already, by a pipeline of the same
// settings, is not parsed again.
//
// Where a service parses, a third one, reparser, has it parse what a fallback
// read while the service was away.
package parser

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/textproto"
	"path"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/broker"
	"sluice/pkg/clock"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/provider"
	"sluice/pkg/provider/router"
	"sluice/pkg/stage"
	"sluice/services/parser/llamaparse"
)

// Name is the stage's name everywhere.
const Name = "parser"

// Config configures the stage. The tags are read by kong.
type Config struct {
	Provider     string        `name:"parser" env:"SLUICE_PARSER" default:"local" enum:"local,llamaparse" help:"Who parses: local is this process, for nothing; llamaparse is LlamaCloud, for PDF, Office and images (${enum})."`
	Workers      int           `name:"parser-workers" env:"SLUICE_PARSER_WORKERS" default:"0" help:"Documents parsed at once; 0 is 4, or 16 where most of the time is waiting for a service."`
	Fallback     string        `name:"parser-fallback" env:"SLUICE_PARSER_FALLBACK" default:"hold" enum:"hold,local" help:"While the service that parses is away: hold the work, or read documents in this process, tagged, and have them parsed again when the service is back (${enum}). 'sluice mode' changes it live."`
	Upgrade      float64       `name:"parser-upgrade-rate" env:"SLUICE_PARSER_UPGRADE_RATE" default:"2" help:"Documents a second of a fallback's that each replica has parsed again."`
	FetchTimeout time.Duration `name:"fetch-timeout" env:"SLUICE_FETCH_TIMEOUT" default:"60s" help:"Longest download of a referenced document."`
	FetchLimit   int64         `name:"fetch-limit" env:"SLUICE_FETCH_LIMIT" default:"104857600" help:"Largest referenced document in bytes."`
	FetchHosts   []string      `name:"fetch-hosts" env:"SLUICE_FETCH_HOSTS" help:"Hosts that references may name, .example.org for all below it; without it all public ones."`
	FetchPrivate bool          `name:"fetch-private" env:"SLUICE_FETCH_PRIVATE" help:"Allow references to loopback and private addresses."`
	Llama        LlamaParse    `embed:""`
}

// DefaultConfig returns the defaults of the tags.
func DefaultConfig() Config {
	return Config{
		Provider: "local", Fallback: "hold", Upgrade: 2, FetchTimeout: time.Minute, FetchLimit: FetchLimit,
		Llama: LlamaParse{
			BaseURL: llamaparse.RegionNA, Tier: "cost_effective", Version: "2026-09-07", MaxPages: 200, Failed: 0.05, Price: "1.25",
			Jobs: 16, Job: 2 * time.Hour, Poll: time.Second, Listen: "127.0.0.1:8099",
		},
	}
}

type parser struct {
	cfg       Config
	provider  provider.Parser
	version   string
	pipeline  *pipeline
	clock     *clock.Clock
	documents jetstream.KeyValue
	fetcher   *fetcher
}

// Stages returns the stages parser and inbox, and reparser if again is not nil:
// it is p without the fallback that stands in for a service. The fingerprints of
// the later stages are read from the bucket "pipeline" until ctx ends.
func Stages(ctx context.Context, env *stage.Env, cfg Config, p, again provider.Parser) ([]stage.Stage, error) {
	if cfg.Workers == 0 {
		cfg.Workers = 4
	}
	if cfg.Workers < 1 || cfg.FetchLimit < 1 || cfg.FetchTimeout <= 0 || cfg.Upgrade <= 0 {
		return nil, fault.New(fault.Halt, "configuration", "parser-workers, parser-upgrade-rate, fetch-limit and fetch-timeout must be positive")
	}
	documents, err := env.JS.KeyValue(ctx, events.BucketDocuments)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", events.BucketDocuments, err)
	}
	inbox, err := env.JS.ObjectStore(ctx, events.StoreInbox)
	if err != nil {
		return nil, fmt.Errorf("open the object store %s: %w", events.StoreInbox, err)
	}
	s := &parser{
		cfg: cfg, provider: p, version: p.Describe().String(), documents: documents,
		fetcher: newFetcher(cfg, inbox, newBin(ctx, inbox, env.Log)),
	}
	if s.pipeline, err = watchPipeline(ctx, env.JS); err != nil {
		return nil, err
	}
	if s.clock, err = clock.Watch(ctx, env.JS, env.Log.With().Str("stage", Name).Logger()); err != nil {
		return nil, err
	}
	stages := []stage.Stage{{
		Declaration: Service.Stage(Name),
		Workers:     cfg.Workers,
		Identify:    s.identify,
		// Deletions, and documents that are read here, need no service and no money.
		Whole: []fault.Wait{
			fault.On(fault.WaitStore, events.BucketDocuments), fault.On(fault.WaitStore, events.BucketRetries),
			fault.On(fault.WaitStore, events.BucketPipeline), fault.On(fault.WaitStore, events.StoreBlobs), fault.WaitDownstream,
		},
		Handle:      s.handle,
		Fingerprint: s.version,
		Metadata:    map[string]string{"fetch-limit": strconv.FormatInt(cfg.FetchLimit, 10)},
	}, {
		Declaration: Service.Stage(Inbox),
		Workers:     1,
		Handle:      announce,
	}}
	if again != nil {
		stages = append(stages, s.reparser(again))
	}
	return stages, nil
}

// identify names the document of a submission before anything else is done
// with it, so that every failure has a name to go by. The ID follows from the
// exact bytes of the name; m.Name is what is shown of it.
func (s *parser) identify(m *stage.Message) {
	m.Document = ""
	now := &progress{refused: spell(m.Header)}
	m.Value = now
	m.Tenant = cmp.Or(m.Header.Get(events.HeaderTenant), events.DefaultTenant)
	if id := events.CleanHeader(m.Header.Get(events.HeaderCorrelationID), maxCorrelation); id != "" {
		m.CorrelationID = id
	}
	m.Reply(m.Header.Get(events.HeaderReplySubject))
	name := events.Name(m.Header)
	switch {
	case now.refused != nil:
		// It may name two documents: the failure must not be told of either.
		m.Tenant, name = events.DefaultTenant, events.SubmitName(m.Subject)
		m.Document = unreadable(m)
	case m.Subject == events.SubjectURI:
		if ref, err := events.Decode[events.Reference](m.Data); err == nil {
			if ref.Tenant != "" {
				m.Tenant = ref.Tenant
			}
			name = cmp.Or(name, ref.Name, objectName(ref.URI), ref.URI)
		}
	case m.Subject == events.SubjectDelete:
		if d, err := events.Decode[events.Deletion](m.Data); err == nil {
			if d.Tenant != "" {
				m.Tenant = d.Tenant
			}
			// A header may tell the name of what is deleted by its ID, for the story alone.
			name, m.Document = cmp.Or(d.Name, name), d.Document
		}
	default:
		name = cmp.Or(name, events.SubmitName(m.Subject))
	}
	m.Name = events.ShownName(name)
	switch {
	case m.Document != "":
	case name != "":
		m.Document = events.DocumentID(m.Tenant, name)
	case m.Subject == events.SubjectURI, m.Subject == events.SubjectDelete:
		// Unreadable: its failure must not be told of the document that has these bytes as its content.
		m.Document = unreadable(m)
	default:
		m.Document = events.ContentDocumentID(m.Tenant, events.ContentHash(m.Data))
	}
	m.Revision, m.Sequence = events.RevisionOf(s.clock.Read(m.Document, m.Seq, m.Time, m.First())), m.Seq
	if again := replayed(m); again != 0 {
		m.Revision, m.Sequence = again, 0 // which is not the submission's own
	}
}

// replayed returns the revision of a submission that comes again, which it keeps,
// or 0. Whoever submits may set the header, so it can only make a message older.
func replayed(m *stage.Message) events.Revision {
	r, err := events.ParseRevision(m.Header.Get(events.HeaderReplayRevision))
	if err != nil || r.Base() > m.Revision.Base() {
		return 0
	}
	return r.Base()
}

// revise gives a message its revision. Until it has returned nothing may be
// published under it.
func (s *parser) revise(ctx context.Context, m *stage.Message) error {
	if m.Sequence == 0 { // replayed
		m.Revision = m.Revision.Base() // an earlier attempt may have raised it
		return nil
	}
	at, err := s.clock.Keep(ctx, m.Seq, m.Time)
	if err != nil {
		return err
	}
	m.Revision = events.RevisionOf(at)
	return nil
}

// unreadable returns the ID of a submission that does not say what it is of.
func unreadable(m *stage.Message) string {
	return events.ContentDocumentID(m.Tenant, events.ContentHash([]byte(m.Subject+"\n"+string(m.Data))))
}

// progress is what the parser keeps of a message from one step to the next.
type progress struct {
	refused *fault.Error // why its headers cannot be used
	got     *fetched     // what its reference points at, while a job is under way
}

const (
	maxCorrelation = 128

	maxMeta    = 64
	maxMetaLen = 8 << 10
)

func (s *parser) handle(ctx context.Context, m *stage.Message) error {
	if err := s.revise(ctx, m); err != nil {
		return err
	}
	now, _ := m.Value.(*progress)
	if now.refused != nil {
		return now.refused
	}
	if err := checkTenant(m.Tenant); err != nil {
		return err
	}
	switch m.Subject {
	case events.SubjectDelete:
		return remove(m)
	case events.SubjectURI:
		return s.reference(ctx, m, now)
	}
	meta, err := metadata(m.Header)
	if err != nil {
		return err
	}
	return s.parse(ctx, m, now, provider.Source{
		Name: m.Name, ContentType: m.Header.Get(events.HeaderContentType), Charset: m.Header.Get(events.HeaderCharset), Data: m.Data,
	}, meta)
}

func checkTenant(t string) error {
	if !events.ValidTenant(t) {
		return fault.Invalid("bad-header", "the tenant %q is not a name", events.CleanHeader(t, 64)).
			WithHint("use at most 64 letters, digits, '-', '_' and '.' in the Tenant header")
	}
	return nil
}

// submitted returns when a submission was stored first.
func submitted(m *stage.Message) time.Time {
	if m.Sequence == 0 {
		return m.Revision.Time()
	}
	return m.Time.UTC()
}

// remove hands a deletion to the indexer, where it meets the vectors that it
// competes with.
func remove(m *stage.Message) error {
	if _, err := events.Decode[events.Deletion](m.Data); err != nil {
		return err
	}
	at := submitted(m)
	m.EmitNow(events.Event{What: events.Accepted, Submitted: &at}, "once")
	tombstone(m, "")
	return nil
}

func tombstone(m *stage.Message, confirm string) {
	m.Revision = m.Revision.Whole() // no fallback has a say in it
	m.Publish(events.SubjectVectors, events.TypeTombstone, confirm, events.Encode(events.Tombstone{
		V: events.Version, Document: m.Document, Revision: m.Revision, Tenant: m.Tenant, Name: m.Name,
		Confirm: confirm,
	}))
}

// reference fetches what a reference points at and parses it.
func (s *parser) reference(ctx context.Context, m *stage.Message, now *progress) error {
	ref, err := events.Decode[events.Reference](m.Data)
	if err != nil {
		return err
	}
	got := now.got
	if got == nil {
		if got, err = s.fetcher.fetch(ctx, ref, m.Name); errors.Is(err, errReplaced) {
			m.Emit(events.Event{What: events.Superseded}, "")
			return nil
		}
		if err != nil {
			return err
		}
	}
	if got.after != nil {
		m.After(got.after)
	}
	meta := map[string]string{}
	for k, v := range ref.Meta {
		name, value := textproto.CanonicalMIMEHeaderKey(events.CleanHeader(k, 128)), events.CleanHeader(v, maxMetaLen)
		if other, twice := meta[name]; twice && other != value { // as of headers; a map has no first
			return fault.Invalid("malformed-event", "the reference has the meta value %s twice, with different values", name).
				WithHint("send it once; the case of its name does not matter")
		}
		meta[name] = value
	}
	if len(meta) > maxMeta {
		return fault.Invalid("malformed-event", "the reference has %d meta values, at most %d are kept", len(meta), maxMeta)
	}
	src := provider.Source{Name: m.Name, ContentType: ref.ContentType, Charset: ref.Charset, Data: got.data}
	if ref.Name == "" && path.Ext(m.Name) == "" {
		src.Name = got.name
	}
	if src.ContentType == "" {
		src.ContentType = got.contentType
	}
	err = s.parse(ctx, m, now, src, meta)
	// While a job is under way, the document is what was sent, whatever its address
	// leads to by now. Jobs are few; others that wait are fetched again.
	now.got = nil
	if f := fault.From(err); f != nil && f.Waits().Kind() == fault.WaitJob {
		now.got = got
	}
	return err
}

// parse is the stage's work, once the bytes are there.
func (s *parser) parse(ctx context.Context, m *stage.Message, now *progress, src provider.Source, meta map[string]string) error {
	src.Owner = provider.Owner{Tenant: m.Tenant, Document: m.Document, CorrelationID: m.CorrelationID}
	sub := submission{src, events.ContentHash(src.Data), meta, submitted(m)}
	accept := func() {
		m.EmitNow(events.Event{
			What: events.Accepted, Bytes: int64(len(src.Data)), ContentHash: sub.hash, Submitted: &sub.submitted,
		}, "once")
	}
	if len(src.Data) > quick {
		accept()
	}
	duplicate, err := s.duplicate(ctx, m.Document, sub.hash, s.pipeline.fingerprint(s.version))
	if err != nil {
		return err
	}
	if duplicate {
		accept() // submitters look for their sequence, which the index does not know
		// The index confirms it, in the order of everything else that happens
		// to the document; it alone knows what is visible.
		tombstone(m, sub.hash)
		return nil
	}
	var late *events.Failure
	src.Wanted = func(ctx context.Context) (err error) {
		accept() // a service takes a while
		late, err = s.overtaken(ctx, m)
		if late != nil {
			return errOvertaken
		}
		return err
	}
	out, err := s.provider.Parse(ctx, src)
	if errors.Is(err, errOvertaken) {
		m.Emit(events.Event{What: events.Superseded, Failure: late}, "overtaken")
		return nil
	}
	if f := fault.From(err); f != nil && f.Reason == router.ReasonUnread {
		// Held where it is in nobody's way: here it would keep a worker from
		// documents that the fallback can read.
		s.later(m, sub)
		m.Emit(events.Event{What: events.Held, Failure: &events.Failure{
			Stage: Name, Class: f.Class.String(), Reason: f.Reason, Message: f.Message, Hint: f.Hint,
		}}, "unread")
		return nil
	}
	if err != nil {
		accept()
		return err
	}
	if !out.Fallback {
		m.Revision = m.Revision.Whole()
	}
	s.deliver(m, sub, out)
	if out.Fallback {
		s.later(m, sub)
	}
	return nil
}

// quick bounds the bytes of a document that is read in moments. What happens to it is
// told when it has been read.
const quick = 64 << 10

// errOvertaken ends a parse that nobody would profit from any more.
var errOvertaken = fault.New(fault.Execution, events.ReasonNewer, "the document was deleted or submitted again")

// overtaken looks at what became of a document, before money is spent on a revision of
// it. late says what has overtaken the revision. What may be overtaken waits until that
// is known: a newer submission that cannot be parsed would leave nothing to search.
func (s *parser) overtaken(ctx context.Context, m *stage.Message) (late *events.Failure, err error) {
	d, err := s.entry(ctx, m.Document)
	if d == nil || err != nil {
		return nil, err
	}
	if by := events.Overtaken(d, m.Revision); by != 0 {
		return events.Late(Name, m.Revision, by, by == d.Gone), nil
	}
	if events.Pending(d, m.Revision) {
		return nil, fault.New(fault.Unavailable, "newer-waits", "it was submitted again, and is parsed only if that submission cannot be").
			WaitFor(fault.On(fault.WaitJob, "newer."+m.Document)).After(2 * time.Second)
	}
	return nil, nil
}

// submission is what was submitted of a document, whenever it is parsed.
type submission struct {
	provider.Source
	hash      string // of Data
	meta      map[string]string
	submitted time.Time
}

// deliver hands a parsed document on.
func (s *parser) deliver(m *stage.Message, sub submission, out provider.Parse) {
	version, by := s.version, s.version
	if out.Parser != (provider.ParserInfo{}) {
		by = out.Parser.String()
	}
	if out.Fallback {
		version = by // its output is nobody else's
	}
	about := events.About{
		Document: m.Document, Revision: m.Revision, Tenant: m.Tenant, Name: m.Name, ContentHash: sub.hash,
		Fingerprint: s.pipeline.fingerprint(version), Parser: by, Degraded: out.Fallback, Bytes: int64(len(sub.Data)),
		Submitted: sub.submitted, Facts: out.Facts, Meta: sub.meta, Warnings: out.Warnings, Nano: out.Nano,
	}
	m.Emit(events.Event{
		What: events.ParsedWhat, Type: out.Facts.Type, Title: out.Facts.Title, Pages: out.Facts.Pages, Parser: by,
		Bytes: int64(len(sub.Data)), Warnings: out.Warnings, Nano: out.Nano, ContentHash: sub.hash, Submitted: &sub.submitted,
	}, "")
	m.Publish(events.SubjectParsed, events.TypeParsed, "", events.Encode(events.Parsed{
		V: events.Version, About: about, Markdown: out.Markdown, Pages: out.Pages,
	}))
}

// duplicate reports whether the content is what search returns now, made by
// the same pipeline, with nothing newer on its way.
func (s *parser) duplicate(ctx context.Context, document, hash, fingerprint string) (bool, error) {
	if fingerprint == "" {
		return false, nil
	}
	d, err := s.entry(ctx, document)
	if d == nil || err != nil {
		return false, err
	}
	settled := d.State == events.StateComplete || d.State == events.StateDuplicate || d.State == events.StateFailed
	return settled && d.Live != nil && !d.Live.Degraded && d.Live.ContentHash == hash && d.Live.Fingerprint == fingerprint, nil
}

// entry returns what is known of a document, or nil.
func (s *parser) entry(ctx context.Context, document string) (*events.Document, error) {
	return broker.LookUp(ctx, s.documents, document, "look the document up")
}
