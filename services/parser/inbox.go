package parser

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/stage"
)

// announce turns an object that was put into the inbox into a reference, so
// that it joins the queue of all submissions and gets its revision there.
func announce(_ context.Context, m *stage.Message) error {
	var info jetstream.ObjectInfo
	if err := json.Unmarshal(m.Data, &info); err != nil || info.Name == "" {
		return fault.Invalid("malformed-object", "an entry of the object store %s cannot be read: %v", events.StoreInbox, err)
	}
	if info.Deleted {
		return nil
	}
	h := nats.Header{}
	for k, v := range info.Headers {
		h[k] = v
	}
	if refused := spell(h); refused != nil {
		return refused
	}
	meta, err := metadata(h)
	if err != nil {
		return err
	}
	for k, v := range info.Metadata {
		if meta == nil {
			meta = map[string]string{}
		}
		meta[k] = v
	}
	ref := events.Reference{
		URI: inboxPrefix + url.PathEscape(info.Name), Version: info.NUID,
		Name: info.Name, Tenant: h.Get(events.HeaderTenant), ContentType: h.Get(events.HeaderContentType),
		Charset: h.Get(events.HeaderCharset), Meta: meta,
	}
	if n := events.Name(h); n != "" {
		ref.Name = n
	}
	m.Name, m.Tenant = ref.Name, ref.Tenant
	if id := h.Get(events.HeaderCorrelationID); id != "" {
		m.CorrelationID = events.CleanHeader(id, 128)
	}
	m.Reply(h.Get(events.HeaderReplySubject))
	m.Publish(events.SubjectURI, "reference/1", info.NUID, events.Encode(ref))
	return nil
}

// inboxPrefix begins the URI of an object.
const inboxPrefix = "object://" + events.StoreInbox + "/"

// objectName returns the name of the object that a URI refers to, or "".
func objectName(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "object" || u.Host != events.StoreInbox {
		return ""
	}
	return strings.TrimPrefix(u.Path, "/")
}

// object reads from the inbox, the only store that references may name: the
// others hold what belongs to other documents. document is the name by which its
// submitter knows it.
func (f *fetcher) object(ctx context.Context, u *url.URL, version, document string) (*fetched, error) {
	name := objectName(u.String())
	if name == "" {
		return nil, fault.Invalid("bad-uri", "%q is not an object of the inbox", u.String()).
			WithHint("use %s<name>", inboxPrefix)
	}
	info, err := f.inbox.GetInfo(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		if version != "" {
			// Removed between the put and now. If by us, the document is done.
			return nil, fault.Invalid("not-found", "the object %q was removed from the inbox before it was read", name)
		}
		return nil, fault.Invalid("not-found", "no object %q in the inbox", name).
			WithHint("objects are submitted by themselves, and removed %v after they were read; 'nats object ls %s' lists those that are there", keep, events.StoreInbox)
	}
	if err != nil {
		return nil, broker.StoreFault(err, events.StoreInbox, "find the object "+name)
	}
	if version != "" && info.NUID != version {
		return nil, errReplaced
	}
	if info.Size > uint64(f.limit) {
		return nil, TooLarge(document, int64(min(info.Size, 1<<62)), f.limit)
	}
	r, err := f.inbox.Get(ctx, name)
	if err != nil {
		return nil, broker.StoreFault(err, events.StoreInbox, "open the object "+name)
	}
	defer func() { _ = r.Close() }()
	if now, err := r.Info(); err != nil || now.NUID != info.NUID {
		return nil, broker.StoreFault(errors.Join(err, errors.New("it was replaced a moment ago")), events.StoreInbox, "open the object "+name)
	}
	data, err := io.ReadAll(r) // checks the digest
	if errors.Is(err, jetstream.ErrDigestMismatch) {
		return nil, fault.Wrap(err, fault.Unavailable, "corrupt-object", "read the object %q", name).WithHint("put it into the inbox again")
	}
	if err != nil {
		return nil, broker.StoreFault(err, events.StoreInbox, "read the object "+name)
	}
	// Whoever sets headers has said all that there is to say. A plain object may be
	// referred to next, by a submission of its own.
	wait := keep
	if len(info.Headers) > 0 || len(info.Metadata) > 0 {
		wait = 0
	}
	return &fetched{name: name, data: data, after: func(ctx context.Context) error {
		f.bin.put(ctx, item{name, info.NUID, time.Now().Add(wait)})
		return nil
	}}, nil
}

// keep is how long an object without headers stays in the inbox after it was read:
// "nats object put" submits it, and a reference that names it may come later.
const keep = 10 * time.Minute

// bin removes objects that have been read. If the process is killed before that,
// the objects stay until the store's age limit.
type bin struct {
	inbox jetstream.ObjectStore
	log   zerolog.Logger

	mu     sync.Mutex
	items  []item
	closed bool
	more   chan struct{}
}

type item struct {
	name, nuid string
	at         time.Time
}

// newBin returns a bin that is emptied when ctx ends.
func newBin(ctx context.Context, inbox jetstream.ObjectStore, log zerolog.Logger) *bin {
	b := &bin{inbox: inbox, log: log, more: make(chan struct{}, 1)}
	go b.run(ctx)
	return b
}

func (b *bin) put(ctx context.Context, i item) {
	b.mu.Lock()
	closed := b.closed
	if !closed {
		b.items = append(b.items, i)
	}
	b.mu.Unlock()
	if closed { // what was in hand when the process was told to stop
		b.remove(ctx, i)
		return
	}
	select {
	case b.more <- struct{}{}:
	default:
	}
}

// due takes out what is to be removed by t, and tells when there is more.
func (b *bin) due(t time.Time) (now []item, next time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	next = time.Hour
	left := b.items[:0]
	for _, i := range b.items {
		if !i.at.After(t) {
			now = append(now, i)
			continue
		}
		left = append(left, i)
		next = min(next, i.at.Sub(t))
	}
	b.items = left
	return now, next
}

func (b *bin) run(ctx context.Context) {
	for {
		items, next := b.due(time.Now())
		for _, i := range items {
			b.remove(ctx, i)
		}
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-b.more:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			b.mu.Lock()
			b.closed = true
			b.mu.Unlock()
			rest, _ := b.due(time.Now().Add(keep))
			for _, i := range rest {
				b.remove(last, i)
			}
			return
		}
	}
}

// remove removes an object unless it was replaced since it was read.
func (b *bin) remove(ctx context.Context, i item) {
	info, err := b.inbox.GetInfo(ctx, i.name)
	if errors.Is(err, jetstream.ErrObjectNotFound) || err == nil && info.NUID != i.nuid {
		return
	}
	if err == nil {
		err = b.inbox.Delete(ctx, i.name)
	}
	if err != nil {
		b.log.Warn().Err(err).Str("object", i.name).Msg("an object that has been read stays in the inbox")
	}
}
