package parser

import (
	"context"
	"encoding/json"
	"errors"
	"path"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"sluice/pkg/events"
	"sluice/pkg/provider"
)

// cached keeps what was paid for, by content and parser. Its store is bounded in
// bytes and age, and shared by all replicas.
type cached struct {
	provider.Parser
	store  jetstream.ObjectStore
	log    zerolog.Logger
	record func(*events.Usage)
}

func (c *cached) key(src provider.Source) string {
	info := c.Describe()
	// Type and extension tell the parser what to make of the bytes.
	return events.Fingerprint("parse", info.Service, info.Version, events.ContentHash(src.Data), strings.ToLower(path.Ext(src.Name)), src.ContentType)
}

// Parse returns what is kept, or parses. A cache that fails costs money and not
// correctness.
func (c *cached) Parse(ctx context.Context, src provider.Source) (provider.Parse, error) {
	key := c.key(src)
	body, err := c.store.GetBytes(ctx, key)
	if err == nil {
		var out provider.Parse
		if err = json.Unmarshal(body, &out); err == nil && out.Markdown != "" {
			c.tell(key, src, out)
			out.Nano, out.Billed, out.Reused = 0, false, true
			return out, nil
		}
		c.log.Warn().Err(err).Str("key", key).Msg("an unreadable entry of the parse cache is ignored")
	} else if !errors.Is(err, jetstream.ErrObjectNotFound) {
		c.log.Debug().Err(err).Msg("the parse cache does not answer")
	}
	out, err := c.Parser.Parse(ctx, src)
	if err == nil && out.Nano > 0 && !out.Fallback { // another parser's work has no place under this key
		if body, err := json.Marshal(out); err != nil {
			c.log.Warn().Err(err).Msg("a parse cannot be encoded")
		} else if _, err := c.store.PutBytes(ctx, key, body); err != nil {
			c.log.Debug().Err(err).Msg("the parse cache does not store")
		}
	}
	return out, err
}

// tell records what was spared.
func (c *cached) tell(key string, src provider.Source, out provider.Parse) {
	if c.record == nil {
		return
	}
	info := c.Describe()
	tenant := src.Owner.Tenant
	if tenant == "" {
		tenant = events.DefaultTenant
	}
	u := &events.Usage{
		V: events.Version, ID: "reused-" + events.Fingerprint(key, src.Owner.Document, src.Owner.CorrelationID), Service: info.Service,
		Operation: "parse", Model: info.Version, Stage: Name, Tenant: tenant, Outcome: events.OutcomeReused, Pages: out.Facts.Pages,
		Saved: out.Nano, Time: time.Now().UTC(), CorrelationID: src.Owner.CorrelationID,
	}
	if src.Owner.Document != "" {
		u.Shares = []events.Share{{Document: src.Owner.Document, CorrelationID: src.Owner.CorrelationID, Pages: u.Pages}}
	}
	c.record(u)
}
