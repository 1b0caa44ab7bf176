package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"sluice/cmd/sluice/submit"
	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/services/parser"
)

// Online are the options of commands that talk to a running pipeline.
type Online struct {
	NATS broker.Config `embed:"" group:"Connection:"`
}

// client is a connection to a running pipeline.
type client struct {
	nc        *nats.Conn
	js        jetstream.JetStream
	documents jetstream.KeyValue
}

// patience bounds the attempts to connect: a person waits for the answer, and
// 'sluice up' may have been started in the background just before.
const patience = 2 * time.Second

// connect dials NATS and checks nothing else.
func (n Online) connect(ctx context.Context) (*client, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	nc, err := broker.Connect(ctx, n.NATS, "sluice-cli", nats.Timeout(2*time.Second))
	if err != nil {
		var f *fault.Error
		if errors.As(err, &f) && f.Reason == "nats-unreachable" {
			return nil, failf("nats-unreachable", "start Sluice with 'sluice up', or name your server with --nats-url or NATS_URL",
				"nothing answers at %s", n.NATS.Redacted())
		}
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	return &client{nc: nc, js: js}, nil
}

// open connects to a pipeline and fails if NATS has never seen one.
func (n Online) open(ctx context.Context) (*client, error) {
	c, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(patience); ; {
		if c.documents, err = c.js.KeyValue(ctx, events.BucketDocuments); !errors.Is(err, jetstream.ErrBucketNotFound) || time.Now().After(deadline) {
			break
		}
		select {
		case <-time.After(50 * time.Millisecond): // the stages make it when they start
		case <-ctx.Done():
		}
	}
	if err != nil {
		defer c.close()
		switch {
		case errors.Is(err, jetstream.ErrBucketNotFound):
			if lost := c.lost(ctx); lost != nil {
				return nil, lost
			}
			return nil, failf("not-set-up", "start the stages there: 'sluice up --nats-url "+n.NATS.Redacted()+"'",
				"there is no Sluice on the NATS server at %s", n.NATS.Redacted())
		case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrJetStreamNotEnabled):
			return nil, failf("no-jetstream", "start it with 'nats-server -js'",
				"the NATS server at %s has no JetStream", n.NATS.Redacted())
		}
		return nil, fmt.Errorf("open the bucket %s: %w", events.BucketDocuments, err)
	}
	return c, nil
}

func (c *client) close() { c.nc.Close() }

// get returns the entry of a document, or nil if there is none.
func (c *client) get(ctx context.Context, id string) (*events.Document, error) {
	e, err := c.documents.Get(ctx, id)
	if errors.Is(err, jetstream.ErrKeyNotFound) || errors.Is(err, jetstream.ErrInvalidKey) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look the document up: %w", err)
	}
	return events.DecodeDocument(e.Value())
}

// find returns the document that somebody calls doc: its name as submitted, the
// path of its file, or its ID.
func (c *client) find(ctx context.Context, tenant, doc string) (*events.Document, error) {
	if tenant == "" {
		tenant = events.DefaultTenant
	}
	names := []string{doc}
	if wd, err := os.Getwd(); err == nil && !strings.Contains(doc, "://") {
		names = append(names, submit.DocumentName(wd, doc))
	}
	for _, name := range names {
		if d, err := c.get(ctx, events.DocumentID(tenant, name)); d != nil || err != nil {
			return d, err
		}
	}
	if isID(doc) {
		if d, err := c.get(ctx, doc); d != nil || err != nil {
			return d, err
		}
	}
	where := ""
	if tenant != events.DefaultTenant {
		where = " of tenant " + tenant
	}
	return nil, failf("not-found", "'sluice ls' shows all; --tenant chooses another tenant", "no document%s is called %q", where, doc)
}

func isID(s string) bool {
	if len(s) != 32 {
		return false
	}
	for _, r := range s {
		if !strings.ContainsRune("0123456789abcdef", r) {
			return false
		}
	}
	return true
}

// each calls f with the entry of every document, in no order.
func (c *client) each(ctx context.Context, f func(*events.Document)) error {
	w, err := c.documents.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return fmt.Errorf("list the documents: %w", err)
	}
	defer func() { _ = w.Stop() }() // the connection closes next
	for {
		select {
		case e, ok := <-w.Updates():
			if !ok {
				return errors.New("list the documents: the connection was lost")
			}
			if e == nil { // all that were there have been delivered
				return nil
			}
			// Entries of other releases are skipped here and seen by doctor.
			if d, err := events.DecodeDocument(e.Value()); err == nil {
				f(d)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// label is what people call a document.
func label(d *events.Document) string {
	if d.Name != "" {
		return d.Name
	}
	return d.Document
}

// limitOf is what the parser's micro metadata call the bytes of the largest document
// that it fetches.
const limitOf = "fetch-limit"

// largest returns the bytes of the largest document that the running parser takes,
// so that none is uploaded to be refused.
func (c *client) largest(ctx context.Context, sources []submit.Source) int64 {
	limit := parser.DefaultConfig().FetchLimit
	if !slices.ContainsFunc(sources, func(s submit.Source) bool { return s.Stdin || s.Size > c.nc.MaxPayload() }) {
		return limit
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	msg, err := c.nc.RequestWithContext(ctx, micro.APIPrefix+"."+micro.InfoVerb.String()+"."+parser.Name, nil)
	if err != nil {
		return limit // nobody is there yet, or it is busy
	}
	var info micro.Info
	if err := json.Unmarshal(msg.Data, &info); err != nil {
		return limit
	}
	if n, err := strconv.ParseInt(info.Metadata[limitOf], 10, 64); err == nil {
		limit = n
	}
	return limit
}

// ask makes a request to a stage's endpoint. Nobody there is an error that
// says which stage is missing.
func (c *client) ask(ctx context.Context, stage, subject string, request []byte, wait time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	msg, err := c.nc.RequestWithContext(ctx, subject, request)
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, failf("no-"+stage, "start it, or all stages with 'sluice up'; 'sluice doctor' shows what runs", "no %s is running", stage)
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "no-answer", "the %s does not answer", stage).WithHint("see 'sluice doctor'")
	}
	if text := msg.Header.Get("Nats-Service-Error"); text != "" {
		class, err := fault.ParseClass(msg.Header.Get("Nats-Service-Error-Code"))
		if err != nil {
			class = fault.Execution
		}
		return nil, fault.New(class, "refused", "the %s answers: %s", stage, text)
	}
	return msg.Data, nil
}
