package budget

import (
	"cmp"
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/provider"
)

// Embedder guards a paid embedder: every call is admitted by the gate before it
// is made, settled after it, and recorded as a usage event. What is free is not
// guarded, and returned as it is.
func Embedder(g *Gate, stage string, p provider.Embedder) provider.Embedder {
	if p.Describe().NanoPerToken == 0 {
		return p
	}
	return &guarded{p, g, stage}
}

type guarded struct {
	provider.Embedder
	gate  *Gate
	stage string
}

// OperationQuery is the operation of usage events of searches.
const OperationQuery = "query"

// Embed calls the provider if the budget admits it. A refusal is the CostLimit
// fault of Gate.Admit.
func (p *guarded) Embed(ctx context.Context, inputs []provider.Input) (out provider.Embeddings, err error) {
	if len(inputs) == 0 {
		return out, nil
	}
	info := p.Describe()
	u := events.Usage{
		V: events.Version, Service: info.Service, Operation: "embed", Model: info.Model, Stage: p.stage,
		Tenant: cmp.Or(inputs[0].Owner.Tenant, events.DefaultTenant), Inputs: len(inputs), Priced: info.Priced,
		CorrelationID: inputs[0].Owner.CorrelationID,
	}
	query := inputs[0].Owner.Query
	if query {
		u.Operation, u.Tenant = OperationQuery, string(Query)
	}
	for _, in := range inputs {
		if in.Owner.Query != query {
			return out, fault.New(fault.Execution, "two-payers", "a paid call for searches and for documents: nobody could be charged for it")
		}
		if query {
			u.Tokens += in.Tokens
			continue
		}
		if cmp.Or(in.Owner.Tenant, events.DefaultTenant) != u.Tenant {
			return out, fault.New(fault.Execution, "two-tenants", "a paid call for the tenants %q and %q: nobody could be charged for it", u.Tenant, in.Owner.Tenant)
		}
		u.Tokens += in.Tokens
	}
	u.Estimate = int64(u.Tokens) * info.NanoPerToken
	t, err := p.gate.admit(ctx, payer{info.Service, u.Tenant, query}, Amount{u.Estimate, 1})
	if err != nil {
		return out, err
	}
	u.ID, u.Time = t.ID(), t.Time.UTC()
	began := time.Now()
	returned := false
	defer func() {
		// A panic of the client is an attempt, too.
		u.Nano, u.Outcome = u.Estimate, events.OutcomeUnknown
		switch {
		case !returned:
		case err == nil:
			u.Nano, u.Tokens, u.Outcome = out.Nano, out.Tokens, events.OutcomeCharged
		case provider.IsUnbilled(err):
			u.Nano, u.Tokens, u.Outcome = 0, 0, events.OutcomeUnbilled
		}
		t.Settle(u.Nano)
		u.Seconds = time.Since(began).Seconds()
		if err != nil {
			f := fault.From(err)
			u.Class, u.Reason = f.Class.String(), f.Reason
		}
		u.Shares = split(inputs, u.Nano)
		p.gate.record(&u)
	}()
	out, err = p.Embedder.Embed(provider.WithAttempt(ctx, u.ID), inputs)
	returned = true
	return out, err
}

// split divides a cost over the documents, by their tokens, without a rest.
func split(inputs []provider.Input, nano int64) []events.Share {
	var shares []events.Share
	at := map[string]int{}
	tokens := int64(0)
	for _, in := range inputs {
		if in.Owner.Document == "" { // a search, for instance
			continue
		}
		i, ok := at[in.Owner.Document]
		if !ok {
			i = len(shares)
			at[in.Owner.Document] = i
			shares = append(shares, events.Share{Document: in.Owner.Document, CorrelationID: in.Owner.CorrelationID})
		}
		shares[i].Tokens += in.Tokens
		tokens += int64(in.Tokens)
	}
	for i := range shares {
		s := &shares[i]
		if tokens > 0 {
			s.Nano = nano / tokens * int64(s.Tokens)
			s.Nano += nano % tokens * int64(s.Tokens) / tokens
		}
		nano, tokens = nano-s.Nano, tokens-int64(s.Tokens)
	}
	return shares
}

// record publishes a usage event, and has Close wait for it.
func (g *Gate) record(u *events.Usage) {
	wait := publish(g.cfg.JS, g.cfg.Log, u)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ctx.Err() == nil {
		g.running.Go(wait)
	}
}

// Record publishes a usage event that no gate is concerned with: of what a cache
// spared.
func Record(js jetstream.JetStream, log zerolog.Logger, u *events.Usage) { publish(js, log, u) }

// publish sends a usage event. It is the audit trail; the ledger does not depend
// on it, and no call waits for it.
func publish(js jetstream.JetStream, log zerolog.Logger, u *events.Usage) (wait func()) {
	m := nats.NewMsg(events.UsageSubject(token(u.Service), token(u.Operation)))
	m.Header.Set(events.HeaderMsgID, u.ID)
	m.Header.Set(events.HeaderEventType, events.TypeUsage)
	if u.CorrelationID != "" {
		m.Header.Set(events.HeaderCorrelationID, u.CorrelationID)
	}
	m.Header.Set(events.HeaderTenant, events.CleanHeader(u.Tenant, 256))
	m.Data = events.Encode(u)
	future, err := js.PublishMsgAsync(m)
	if err != nil {
		log.Error().Err(err).RawJSON("usage", m.Data).Msg("a usage event could not be published")
		return func() {}
	}
	return func() {
		select {
		case <-future.Ok():
		case err := <-future.Err():
			log.Error().Err(err).RawJSON("usage", m.Data).Msg("a usage event could not be published")
		case <-time.After(15 * time.Second): // the library answers before that
		}
	}
}
