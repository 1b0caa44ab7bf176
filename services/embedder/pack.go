package embedder

import (
	"context"
	"slices"
	"strings"

	"sluice/pkg/budget"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/provider"
	"sluice/pkg/stage"
	"sluice/services/embedder/check"
	"sluice/services/embedder/openai"
)

// work is a pack in hand.
type work struct {
	m    *stage.Message
	todo []*item // in the order of the pack; those without a vector are still open
}

// item is one chunk of a pack.
type item struct {
	of      *work
	chunk   *events.Chunk
	input   string
	tokens  int // as the provider counts them, or more
	vector  events.Vector
	done    bool  // vector is set
	failure error // of the latest attempt
}

// kept are the vectors of a pack that are there while others are waited for, without
// their chunks, by ID. Much may wait: it is read again when it goes on.
type kept map[string]events.Vector

// read makes work of a message, unless that was done before.
func read(m *stage.Message, count counter) (*work, error) {
	if w, done := m.Value.(*work); done {
		return w, nil
	}
	have, _ := m.Value.(kept)
	p, err := events.Decode[events.Chunks](m.Data)
	if err == nil && (p.Document != m.Document || p.Revision != m.Revision) {
		err = fault.Invalid("malformed-event", "body and headers name different documents or revisions")
	}
	if err != nil {
		return nil, err
	}
	w := &work{m: m}
	for i := range p.Chunks {
		c := &p.Chunks[i]
		it := &item{of: w, chunk: c, input: c.Input(), tokens: c.InputTokens}
		if count != nil {
			it.tokens = count(it.input)
		}
		if v, ok := have[c.ID]; ok {
			v.Chunk = *c
			it.vector, it.done = v, true
		}
		w.todo = append(w.todo, it)
	}
	return w, nil
}

// open returns the chunks that still need their vectors.
func (w *work) open() []*item {
	var open []*item
	for _, it := range w.todo {
		if !it.done {
			open = append(open, it)
		}
	}
	return open
}

// weight returns the tokens of what is open.
func (w *work) weight() (tokens int) {
	for _, it := range w.open() {
		tokens += it.tokens
	}
	return tokens
}

// embed gives the chunks of packs their vectors. The prefix tells what it publishes
// apart from what was published for the same chunks before.
//
// Calls are filled across packs. What is left of a batch after full calls is no full
// call itself: it goes back, and leads the next batch.
func embed(ctx context.Context, p provider.Embedder, l limits, batch []*stage.Message, prefix string) {
	var all []*work
	var open []*item
	for _, m := range batch {
		w, err := read(m, l.count)
		if err != nil {
			m.Fail(err)
			continue
		}
		m.Value = w
		all = append(all, w)
		for _, it := range w.open() {
			it.failure = nil
			open = append(open, it)
		}
	}
	paid := p.Describe().NanoPerToken > 0
	if paid {
		// A bill names no single input, so a paid call is one tenant's.
		slices.SortStableFunc(open, func(a, b *item) int { return strings.Compare(a.of.m.Tenant, b.of.m.Tenant) })
	}
	filled := "" // the tenant of the latest call, if it was a full one
	// If a call has to wait, the tenant's other calls would wait for the same: they are
	// not made.
	waits := map[string]error{}
	for len(open) > 0 {
		if err := waits[open[0].of.m.Tenant]; err != nil {
			fail(open[:1], err)
			open = open[1:]
			continue
		}
		info := p.Describe() // a call may hold less after one that was not answered
		if l.inputs > 0 && (info.MaxInputs == 0 || info.MaxInputs > l.inputs) {
			info.MaxInputs = l.inputs
		}
		n, full := fill(info, open)
		tenant := open[0].of.m.Tenant
		if full {
			filled = tenant
		} else if paid && filled == tenant {
			open = open[n:] // the rest of this tenant's
			continue
		}
		err := call(ctx, p, open[:n])
		if f := fault.From(err); f != nil && f.Waits() != "" && f.Reason != budget.ReasonOverLimit { // that is one input's size
			waits[tenant] = err
		}
		open = open[n:]
	}
	for _, w := range all {
		w.end(prefix)
	}
}

// fill returns how many of the items go into the next call, at least one, and whether
// no other one would fit.
func fill(info provider.EmbedderInfo, items []*item) (n int, full bool) {
	tokens := 0
	first := items[0].of.m
	for i, it := range items {
		m := it.of.m
		tokens += it.tokens
		switch {
		case i == 0:
		case info.MaxInputs > 0 && i >= info.MaxInputs, info.MaxTokens > 0 && tokens > info.MaxTokens:
			return i, true
		case info.NanoPerToken > 0 && m.Tenant != first.Tenant,
			// A pack that failed again and again goes alone: it may be to blame.
			m != first && (m.Attempt > 1 || first.Attempt > 1):
			return i, false
		}
	}
	return len(items), false
}

// call makes a call. If the provider will not have the inputs together, or one of
// them at all, halves are tried: each is an attempt of its own, and in the end the
// one at fault is alone.
func call(ctx context.Context, p provider.Embedder, items []*item) error {
	inputs := make([]provider.Input, len(items))
	for i, it := range items {
		m := it.of.m
		inputs[i] = provider.Input{
			Text: it.input, Tokens: it.tokens,
			Owner: provider.Owner{Tenant: m.Tenant, Document: m.Document, CorrelationID: m.CorrelationID},
		}
	}
	info := p.Describe()
	out, err := p.Embed(ctx, inputs)
	if err == nil {
		out, err = check.Vectors(info, len(inputs), out)
	}
	if f := fault.From(err); f != nil && len(items) > 1 && (f.Reason == openai.ReasonBatch || f.Reason == openai.ReasonInput || f.Reason == budget.ReasonOverLimit) {
		first, rest := items[:len(items)/2], items[len(items)/2:]
		if err := call(ctx, p, first); fault.Of(err) == fault.CostLimit && err != nil {
			fail(rest, err) // not even a smaller call can be paid
			return err
		}
		return call(ctx, p, rest)
	}
	if err != nil {
		fail(items, err)
		return err
	}
	costs := shares(out, inputs)
	for i, it := range items {
		if out.Errs != nil && out.Errs[i] != nil {
			it.failure = out.Errs[i]
			continue
		}
		it.done = true
		it.vector = events.Vector{
			Chunk: *it.chunk, Model: info.Model, Embedding: events.EncodeVector(out.Vectors[i]), Nano: costs[i], Reused: out.Reused != nil && out.Reused[i],
		}
		if out.Fallback != nil && out.Fallback[i] {
			it.vector.Model, it.vector.Degraded = out.Model, true
		}
	}
	return nil
}

func fail(items []*item, err error) {
	for _, it := range items {
		it.failure = err
	}
}

// end publishes the vectors of a pack if all are there. Otherwise the pack fails, or
// waits, or goes back to be continued.
func (w *work) end(prefix string) {
	if open := w.open(); len(open) > 0 {
		if err := worst(open); err != nil {
			w.m.Fail(err)
			w.m.Value = w.keep()
		} else {
			w.m.Again()
		}
		return
	}
	w.m.Value = nil
	vectors := make([]events.Vector, len(w.todo))
	var again []events.Chunk // by the model that was meant, one day
	step := w.m.Step(events.Embedded)
	step.Chunks, step.Of, step.Model = len(vectors), w.todo[0].chunk.Of, w.todo[0].vector.Model
	for i, it := range w.todo {
		vectors[i] = it.vector
		if it.vector.Degraded {
			again = append(again, *it.chunk)
		}
		if it.vector.Reused {
			step.Reused++
		}
		step.Tokens += it.chunk.InputTokens
		step.Nano += it.vector.Nano
	}
	whole := step.Chunks == step.Of && vectors[0].About != nil && prefix == ""
	if whole { // what follows ends the story
		about := *vectors[0].About
		about.Steps = append(about.Steps[:len(about.Steps):len(about.Steps)], step)
		vectors[0].About = &about
	}
	// The upgrade goes first: a fallback's vector must not be stored without it.
	for pack := range events.PackChunks(again) {
		w.m.Publish(events.SubjectUpgrade, events.TypeChunks, pack.Key, pack.Data)
	}
	key := ""
	for pack := range events.PackVectors(vectors) {
		w.m.Publish(events.SubjectVectors, events.TypeVectors, prefix+pack.Key, pack.Data)
		key = pack.Key
	}
	if !whole {
		w.m.Emit(events.Event{
			What: step.What, Chunks: step.Chunks, Of: step.Of, Reused: step.Reused, Tokens: step.Tokens, Nano: step.Nano, Model: step.Model,
		}, prefix+key)
	}
}

// keep returns what is there of a pack.
func (w *work) keep() any {
	have := kept{}
	for _, it := range w.todo {
		if it.done {
			v := it.vector
			v.Chunk = events.Chunk{}
			have[it.chunk.ID] = v
		}
	}
	if len(have) == 0 {
		return nil
	}
	return have
}

// worst returns what keeps a pack from going on: what is final before what may pass,
// and what counts as a failure before what is only waited for. Nil: nothing.
func worst(items []*item) error {
	rank := func(err error) int {
		switch f := fault.From(err); {
		case f == nil:
			return 0
		case f.Class.Permanent():
			return 3
		case f.Waits() == "":
			return 2
		}
		return 1
	}
	var worst error
	for _, it := range items {
		if rank(it.failure) > rank(worst) {
			worst = it.failure
		}
	}
	return worst
}
