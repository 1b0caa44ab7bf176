package allinone

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/budget"
	"sluice/pkg/events"
	"sluice/pkg/stage"
)

// page is the status page: documents by state, stages, queues, money, a search.
type page struct {
	env  *stage.Env
	down func() string // what keeps NATS from working
}

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"join":    func(s []string) string { return strings.Join(s, " › ") },
	"dollars": budget.Dollars,
	"sum":     func(a, b int) int { return a + b },
}).Parse(pageText))

type view struct {
	Query  string
	Reply  *events.SearchReply
	Error  string
	States []stateCount
	Stages []stage.StageHealth
	Queues []queue
	Dead   uint64
	Budget *budget.State // of all services and tenants together; nil while costd has not shown it
}

// Waits tells whether a stage has something that waits.
func (v view) Waits() bool {
	return slices.ContainsFunc(v.Stages, func(s stage.StageHealth) bool { return len(s.Waiting) > 0 })
}

type stateCount struct {
	State events.State
	Count int
}

type queue struct {
	Stream   string
	Messages uint64
}

func (p page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	v := view{Query: r.URL.Query().Get("q"), Stages: p.env.Health.Stages()}
	if err := p.fill(ctx, &v); err != nil {
		v.Error = err.Error()
	}
	if down := p.down(); down != "" {
		v.Error = down
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'")
	h.Set("Cache-Control", "no-store")
	_ = pageTemplate.Execute(w, v) // the browser may be gone
}

func (p page) fill(ctx context.Context, v *view) error {
	if v.Query != "" {
		msg, err := p.env.Conn.RequestWithContext(ctx, events.SubjectSearch, events.Encode(events.SearchRequest{Query: v.Query, K: 10}))
		if err != nil {
			return err
		}
		v.Reply = &events.SearchReply{}
		if e := msg.Header.Get("Nats-Service-Error"); e != "" {
			v.Reply.Error = e
		} else if err := json.Unmarshal(msg.Data, v.Reply); err != nil {
			return err
		}
	}
	for _, name := range []string{events.StreamDocuments, events.StreamParsed, events.StreamChunks, events.StreamVectors, events.StreamUpgrades} {
		s, err := p.env.JS.Stream(ctx, name)
		if err != nil {
			return err
		}
		v.Queues = append(v.Queues, queue{name, s.CachedInfo().State.Msgs})
	}
	dead, err := p.env.JS.Stream(ctx, events.StreamDeadLetter)
	if err != nil {
		return err
	}
	v.Dead = dead.CachedInfo().State.Msgs
	if v.Budget, err = p.budget(ctx); err != nil {
		return err
	}
	kv, err := p.env.JS.KeyValue(ctx, events.BucketDocuments)
	if err != nil {
		return err
	}
	counts, err := countStates(ctx, kv)
	for s, n := range counts {
		v.States = append(v.States, stateCount{s, n})
	}
	slices.SortFunc(v.States, func(a, b stateCount) int { return strings.Compare(string(a.State), string(b.State)) })
	return err
}

func (p page) budget(ctx context.Context) (*budget.State, error) {
	kv, err := p.env.JS.KeyValue(ctx, events.BucketBudget)
	if err != nil {
		return nil, err
	}
	e, err := kv.Get(ctx, budget.StateKey(budget.Global))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := &budget.State{}
	return s, json.Unmarshal(e.Value(), s)
}

func countStates(ctx context.Context, kv jetstream.KeyValue) (map[events.State]int, error) {
	w, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, err
	}
	defer func() { _ = w.Stop() }() // it ends with ctx at the latest
	counts := map[events.State]int{}
	for {
		select {
		case e := <-w.Updates():
			if e == nil {
				return counts, nil
			}
			if d, err := events.DecodeDocument(e.Value()); err == nil {
				counts[d.State]++
			}
		case <-ctx.Done():
			return counts, ctx.Err()
		}
	}
}
