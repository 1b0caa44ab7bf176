package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// RmCmd removes documents.
type RmCmd struct {
	Docs    []string      `arg:"" name:"doc" help:"Documents, by name, path or ID."`
	Tenant  string        `help:"Whose documents." placeholder:"NAME"`
	NoWait  bool          `help:"Return when the deletions are stored."`
	Timeout time.Duration `default:"30s" help:"Give up waiting after this long; the deletion goes on."`
	Online
}

// Help is shown by --help.
func (RmCmd) Help() string {
	return examples("Removes documents from the index, with whatever of them is still on its way. "+
		"It waits until they are gone. A document that is submitted again later is there again.",
		"sluice rm report.pdf", "One document",
		"sluice rm --tenant acme a.txt b.txt", "Two of a tenant",
		"sluice ls --state failed --json | jq -r .document | xargs sluice rm", "All that failed")
}

// removal is the JSON of one removed document.
type removal struct {
	Name     string          `json:"name,omitempty"`
	Document string          `json:"document"`
	Sequence uint64          `json:"sequence"`           // of the deletion in DOCUMENTS
	Revision events.Revision `json:"revision,omitempty"` // of the deletion, once it is known
	State    string          `json:"state"`

	correlation string // of the deletion alone
}

// Run removes.
func (cmd RmCmd) Run(ctx context.Context, o *output) error {
	c, err := cmd.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	// All are found before the first is removed: a wrong name removes nothing.
	docs := make([]*events.Document, len(cmd.Docs))
	for i, name := range cmd.Docs {
		if docs[i], err = c.find(ctx, cmd.Tenant, name); err != nil {
			return err
		}
	}
	waiting, cancel := context.WithTimeout(ctx, cmd.Timeout)
	defer cancel()
	removals := make([]removal, len(docs))
	for i, d := range docs {
		if removals[i], err = c.remove(waiting, d); err != nil {
			return err
		}
	}
	for i, d := range docs {
		r := removals[i]
		var err error
		if !cmd.NoWait {
			r, err = c.removed(waiting, d, r)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			return failf("timeout", "'sluice status' shows whether an indexer runs", "%q is not deleted after %v", label(d), cmd.Timeout)
		}
		if err != nil {
			return err
		}
		if o.json {
			if err := o.line(r); err != nil {
				return err
			}
		} else {
			o.printf("%s  %s\n", safe(label(d)), r.State)
		}
	}
	return nil
}

// remove submits a deletion.
func (c *client) remove(ctx context.Context, d *events.Document) (removal, error) {
	msg := nats.NewMsg(events.SubjectDelete)
	deletion := events.Deletion{Document: d.Document, Tenant: d.Tenant}
	if d.Name != "" && events.DocumentID(d.Tenant, d.Name) == d.Document {
		// The story of the document then keeps its name.
		deletion.Document, deletion.Name = "", d.Name
	}
	events.SetName(msg.Header, d.Name)
	msg.Data = events.Encode(deletion)
	correlation := newID()
	msg.Header.Set(events.HeaderCorrelationID, correlation)
	msg.Header.Set(events.HeaderMsgID, "rm:"+newID())
	ack, err := c.js.PublishMsg(ctx, msg)
	if err != nil {
		return removal{}, fault.Wrap(err, fault.Unavailable, "not-submitted", "the deletion of %q could not be stored", label(d)).
			WithHint("see 'sluice doctor'")
	}
	return removal{Name: d.Name, Document: d.Document, Sequence: ack.Sequence, State: "submitted", correlation: correlation}, nil
}

// removed waits until the bucket says that a deletion is done.
func (c *client) removed(ctx context.Context, d *events.Document, r removal) (removal, error) {
	for {
		now, err := c.get(ctx, d.Document)
		switch {
		case err != nil:
			return r, err
		case now == nil, now.Sequence > r.Sequence:
			r.State = "superseded" // submitted again meanwhile
			return r, nil
		case now.CorrelationID == r.correlation && now.State.Final():
			r.State, r.Revision = string(now.State), now.Revision
			if f := now.Failure; f != nil && now.State == events.StateFailed {
				return r, failf(f.Reason, f.Hint, "%q is not deleted: %s", label(d), f.Message)
			}
			return r, nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return r, fmt.Errorf("wait for the deletion of %q: %w", label(d), ctx.Err())
		}
	}
}
