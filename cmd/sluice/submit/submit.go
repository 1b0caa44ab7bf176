package submit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/textproto"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// Options say how documents are submitted.
type Options struct {
	Tenant        string            // "" = the default tenant
	Meta          map[string]string // kept with the documents, returned by search
	CorrelationID string            // "" = a new one for this run
	ContentType   string            // overrides what the name says of the type
	Charset       string            // overrides detection for text formats
	Name          string            // of a single document, instead of its own
	Workers       int               // submissions at once; 0 = 16
	Limit         int64             // bytes of a document that the parser takes; 0 = not known
}

// maxHeaders is what is left of a payload for headers. Larger files travel
// through the object store.
const maxHeaders = 16 << 10

// MaxStdin bounds standard input, which is held in memory, in bytes.
const MaxStdin = 256 << 20

// Submitter publishes sources and follows them. Open makes one; Close ends it.
type Submitter struct {
	nc        *nats.Conn
	js        jetstream.JetStream
	inbox     jetstream.ObjectStore
	documents jetstream.KeyValue
	opts      Options
	limit     int64 // bytes of a body that is published; larger files go to the inbox
	run       string
	*follower
}

// Open prepares a run. It listens for events before anything is submitted, so
// that none is missed.
func Open(ctx context.Context, nc *nats.Conn, js jetstream.JetStream, opts Options) (*Submitter, error) {
	s := &Submitter{nc: nc, js: js, opts: opts, limit: nc.MaxPayload() - maxHeaders}
	if s.opts.Tenant == "" {
		s.opts.Tenant = events.DefaultTenant
	}
	// The parser refuses one that is none; as a header it would be trimmed, and be another.
	if !events.ValidTenant(s.opts.Tenant) {
		return nil, fault.Invalid("bad-tenant", "%q is not the name of a tenant", events.CleanHeader(s.opts.Tenant, 128)).
			WithHint("use at most 64 letters, digits, '-', '_' and '.'")
	}
	if s.opts.Workers < 1 {
		s.opts.Workers = 16
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make an ID for the run: %w", err)
	}
	s.run = id.String()
	if s.opts.CorrelationID == "" {
		s.opts.CorrelationID = s.run
	}
	s.opts.CorrelationID = events.CleanHeader(s.opts.CorrelationID, 128)
	spelt := map[string]string{}
	for k, v := range opts.Meta {
		name := textproto.CanonicalMIMEHeaderKey(k)
		if other, twice := spelt[name]; twice {
			return nil, fault.Invalid("bad-meta", "the metadata %q and %q have one name", min(k, other), max(k, other)).
				WithHint("the case of a name does not matter: give one value")
		}
		spelt[name] = k
		if !token(k) {
			return nil, fault.Invalid("bad-meta", "%q is not a name for metadata", k).WithHint("use letters, digits, '-' and '_'")
		}
		if events.CleanHeader(v, 8<<10) == "" {
			return nil, fault.Invalid("bad-meta", "the metadata %q has no value", k).WithHint("give it one, or leave it out: an empty header is none")
		}
	}
	if s.inbox, err = js.ObjectStore(ctx, events.StoreInbox); err != nil {
		return nil, fmt.Errorf("open the object store %s: %w", events.StoreInbox, err)
	}
	if s.documents, err = js.KeyValue(ctx, events.BucketDocuments); err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", events.BucketDocuments, err)
	}
	s.follower, err = follow(nc, js, s.documents, s.opts.CorrelationID)
	return s, err
}

// CorrelationID returns the ID that all messages of this run carry.
func (s *Submitter) CorrelationID() string { return s.opts.CorrelationID }

func token(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 128
}

// Submit publishes all sources, several at once, and returns when each is
// stored by the broker or refused. What became of each is in the results; a
// full stream is waited for. Only the end of ctx cuts it short.
func (s *Submitter) Submit(ctx context.Context, sources []Source, stdin io.Reader) {
	base := s.expect(len(sources))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(s.opts.Workers, len(sources)) {
		wg.Go(func() {
			for i := range next {
				s.one(ctx, base+i, sources[i], stdin)
			}
		})
	}
	for i := range sources {
		next <- i
	}
	close(next)
	wg.Wait()
}

func (s *Submitter) one(ctx context.Context, i int, src Source, stdin io.Reader) {
	if s.opts.Name != "" {
		src.Name = s.opts.Name
	}
	err := src.Err
	if err == nil && ctx.Err() != nil {
		err = fault.Wrap(context.Cause(ctx), fault.Unavailable, "not-submitted", "stopped before its turn").WithHint("ingest it again")
	}
	if err == nil {
		switch {
		case src.URL != "":
			err = s.reference(ctx, i, src)
		case src.Stdin:
			err = s.stdin(ctx, i, src, stdin)
		default:
			err = s.file(ctx, i, src)
		}
	}
	if err != nil {
		s.refused(i, src, err)
	}
}

func (s *Submitter) header() nats.Header {
	h := nats.Header{}
	set := func(k, v string) {
		if v != "" {
			h.Set(k, v)
		}
	}
	set(events.HeaderTenant, s.opts.Tenant)
	set(events.HeaderCorrelationID, s.opts.CorrelationID)
	set(events.HeaderContentType, events.CleanHeader(s.opts.ContentType, 256))
	set(events.HeaderCharset, events.CleanHeader(s.opts.Charset, 64))
	for k, v := range s.opts.Meta {
		set(events.HeaderMetaPrefix+k, events.CleanHeader(v, 8<<10))
	}
	return h
}

func (s *Submitter) reference(ctx context.Context, i int, src Source) error {
	ref := events.Reference{
		URI: src.URL, Tenant: s.opts.Tenant, ContentType: s.opts.ContentType, Charset: s.opts.Charset, Meta: s.opts.Meta,
	}
	if src.Name != src.URL {
		ref.Name = src.Name
	}
	msg := nats.NewMsg(events.SubjectURI)
	msg.Header.Set(events.HeaderCorrelationID, s.opts.CorrelationID)
	events.SetName(msg.Header, ref.Name) // exact, which JSON is not
	msg.Data = events.Encode(ref)
	return s.publish(ctx, i, src, events.DocumentID(s.opts.Tenant, src.Name), msg)
}

func (s *Submitter) stdin(ctx context.Context, i int, src Source, stdin io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(stdin, MaxStdin+1))
	if err != nil {
		return fault.Wrap(err, fault.Validation, "unreadable", "read standard input")
	}
	if len(data) > MaxStdin {
		return fault.Invalid("too-large", "standard input has more than %d bytes", MaxStdin).WithHint("write it to a file and ingest that")
	}
	src.Size = int64(len(data))
	return s.body(ctx, i, src, data)
}

// fits refuses what the parser would refuse, before it is uploaded.
func (s *Submitter) fits(src Source) error {
	if s.opts.Limit == 0 || src.Size <= s.opts.Limit {
		return nil
	}
	name := src.Name
	if name == "" {
		name = "standard input"
	}
	return fault.Invalid("too-large", "%s has %d bytes; the parser takes at most %d", name, src.Size, s.opts.Limit).
		WithHint("split the document, or raise --fetch-limit and --parser-max-input of the parser")
}

func (s *Submitter) file(ctx context.Context, i int, src Source) error {
	if err := s.fits(src); err != nil {
		return err
	}
	if src.Size > s.limit {
		f, err := os.Open(src.Path)
		if err != nil {
			return unreadable(err)
		}
		defer func() { _ = f.Close() }() // read only
		return s.object(ctx, i, src, f)
	}
	data, err := os.ReadFile(src.Path)
	if err != nil {
		return unreadable(err)
	}
	return s.body(ctx, i, src, data)
}

func unreadable(err error) error {
	e := fault.Wrap(err, fault.Validation, "unreadable", "cannot read the file")
	if errors.Is(err, os.ErrPermission) {
		return e.WithHint("check the permissions")
	}
	return e
}

// body publishes bytes that are in memory. A file may have grown since it was
// listed, so the way it goes is decided here.
func (s *Submitter) body(ctx context.Context, i int, src Source, data []byte) error {
	src.Size = int64(len(data))
	if err := s.fits(src); err != nil {
		return err
	}
	msg := nats.NewMsg(events.SubjectSubmit)
	msg.Header = s.header()
	events.SetName(msg.Header, src.Name)
	msg.Data = data
	if int64(len(data)) > s.limit || headerSize(msg.Header) > maxHeaders-1024 {
		return s.object(ctx, i, src, bytes.NewReader(data))
	}
	document := events.DocumentID(s.opts.Tenant, src.Name)
	if src.Name == "" {
		document = events.ContentDocumentID(s.opts.Tenant, events.ContentHash(data))
	}
	return s.publish(ctx, i, src, document, msg)
}

func headerSize(h nats.Header) (n int) {
	for k, v := range h {
		n += len(k) + len(v[0]) + 4
	}
	return n
}

// publish stores msg in DOCUMENTS. It keeps trying while the stream is full,
// and while the broker is away; the message ID makes a repeat harmless.
func (s *Submitter) publish(ctx context.Context, i int, src Source, document string, msg *nats.Msg) error {
	msg.Header.Set(events.HeaderMsgID, "ingest:"+s.run+":"+strconv.Itoa(i))
	s.submitting(i, src, document, s.opts.Tenant, 0)
	ack, err := s.persist(ctx, msg)
	if err != nil {
		return err
	}
	s.submitted(i, ack.Sequence)
	return nil
}

// patience bounds how long a broker that is away is waited for. A full stream
// is waited for as long as ctx lives: it drains as documents are processed.
const patience = time.Minute

func (s *Submitter) persist(ctx context.Context, msg *nats.Msg) (*jetstream.PubAck, error) {
	var away time.Time
	for attempt := 0; ; attempt++ {
		ack, err := s.store(ctx, msg)
		if err == nil {
			return ack, nil
		}
		if ctx.Err() != nil {
			return nil, fault.Wrap(err, fault.Unavailable, "not-submitted", "stopped before the document was stored").WithHint("ingest it again")
		}
		if errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrBadHeaderMsg) {
			return nil, fault.Wrap(err, fault.Execution, "unpublishable", "NATS does not take the document")
		}
		full := broker.IsFull(err)
		s.setFull(full)
		if full {
			away = time.Time{}
		} else if away.IsZero() {
			away = time.Now()
		} else if time.Since(away) > patience {
			return nil, fault.Wrap(err, fault.Unavailable, "not-submitted", "the document could not be stored for %v", patience).
				WithHint("see 'sluice doctor'")
		}
		d := min(50*time.Millisecond<<min(attempt, 5), time.Second)
		select {
		case <-time.After(d/2 + rand.N(d/2)):
		case <-ctx.Done():
		}
	}
}

// store publishes msg once. What has been sent is seen through, although ctx
// ends: a document that is stored must not be called lost.
func (s *Submitter) store(ctx context.Context, msg *nats.Msg) (*jetstream.PubAck, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answered)
	defer cancel()
	return s.js.PublishMsg(ctx, msg)
}

// answered bounds the wait for one acknowledgement.
const answered = 5 * time.Second

// object puts a file that is too large for a message into the inbox, from
// where the parser submits it. The object is removed by the parser.
func (s *Submitter) object(ctx context.Context, i int, src Source, r io.Reader) error {
	h := s.header()
	name := src.Name
	if name == "" {
		name = "stdin-" + s.run
	}
	events.SetName(h, name)
	document := events.DocumentID(s.opts.Tenant, name)
	// The submission gets its revision when the parser takes the object up. Until
	// then, whatever was there before is not the answer.
	before, err := s.current(ctx, document)
	if err != nil {
		return err
	}
	s.submitting(i, src, document, s.opts.Tenant, before)
	_, err = s.inbox.Put(ctx, jetstream.ObjectMeta{Name: s.run + "-" + strconv.Itoa(i), Headers: h}, r)
	if ctx.Err() != nil && err != nil {
		return fault.Wrap(err, fault.Unavailable, "not-submitted", "stopped before the document was stored").WithHint("ingest it again")
	}
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "not-submitted", "the object store does not take the document").
			WithHint("see 'sluice doctor' for room on the server")
	}
	s.submitted(i, 0)
	return nil
}

func (s *Submitter) current(ctx context.Context, document string) (uint64, error) {
	e, err := s.documents.Get(ctx, document)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look the document up: %w", err)
	}
	d, err := events.DecodeDocument(e.Value())
	if err != nil {
		return 0, nil // another release's entry says nothing about revisions
	}
	return d.Revision.Submission(), nil
}
