package costd_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"sluice/pkg/budget"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/natstest"
	"sluice/pkg/provider"
)

// mute is a service that starts the job it is asked for, and does not answer.
type mute struct{ jobs atomic.Int64 }

func (m *mute) Describe() provider.ParserInfo {
	return provider.ParserInfo{Service: "mute", Version: "1"}
}

func (m *mute) Bound(provider.Source) (provider.Bound, error) {
	return provider.Bound{Nano: 1000, Pages: 10}, nil
}

func (m *mute) Find(context.Context, provider.Source, time.Time) (string, error) {
	if m.jobs.Load() == 0 {
		return "", nil
	}
	return "job", nil
}

func (m *mute) Create(context.Context, provider.Source) (string, error) {
	m.jobs.Add(1)
	return "", fault.New(fault.Unavailable, "connection-lost", "no answer")
}

func (m *mute) Result(context.Context, string, provider.Source) (provider.Parse, bool, error) {
	return provider.Parse{Markdown: "text", Nano: 300, Billed: true}, true, nil
}

func (m *mute) Cost(context.Context, string) (int64, bool, error) { return 300, true, nil }

// A create loses its answer and its process ends. Another process finds the job,
// before that or after it. The cost of a job is told once, whoever tells it.
func TestAJobIsToldOnce(t *testing.T) {
	for name, after := range map[string]bool{"found after the end": true, "found before": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.costd("a", day(10_000))
			_, js := w.connect()
			records, err := js.KeyValue(t.Context(), events.BucketJobs)
			if err != nil {
				t.Fatal(err)
			}
			service := &mute{}
			src := provider.Source{Name: "a.pdf", Data: []byte("a"), Owner: provider.Owner{Document: "d"}}
			first := w.gate(nil)
			if _, err := budget.Parser(first, "parser", service, records, budget.JobLimits{}).Parse(t.Context(), src); fault.Of(err) != fault.Unavailable {
				t.Fatalf("a create without an answer: %v", err)
			}
			end := func() {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				if err := first.Close(ctx); err != nil {
					t.Error(err)
				}
			}
			if after {
				end()
			}
			if out, err := budget.Parser(w.gate(nil), "parser", service, records, budget.JobLimits{}).Parse(t.Context(), src); err != nil || out.Markdown != "text" {
				t.Fatalf("%+v %v", out, err)
			}
			if !after {
				end()
			}
			if n := service.jobs.Load(); n != 1 {
				t.Errorf("%d jobs", n)
			}
			natstest.Eventually(t, 10*time.Second, "the whole reservation is spent", func() bool {
				settled, reserved := w.spent()
				return settled.Nano == 1000 && reserved.IsZero()
			})
			s, err := js.Stream(t.Context(), events.StreamCosts)
			if err != nil {
				t.Fatal(err)
			}
			if n := s.CachedInfo().State.Msgs; n != 1 {
				t.Errorf("%d usage events", n)
			}
		})
	}
}
