package costd_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/broker"
	"sluice/pkg/budget"
	"sluice/pkg/events"
	"sluice/pkg/natstest"
	"sluice/pkg/stage"
	"sluice/services/costd"
)

// A stage that the budget stops has no backlog to be scaled on, and has it again
// when there is money, whichever costd is asked.
func TestAPausedStageIsNotScaledUp(t *testing.T) {
	w := newWorld(t)
	w.costd("a", day(2_500))
	nc, js := w.connect()
	stageOf(t, js, broker.Durable{Name: "embedder", Stream: events.StreamChunks})
	scaling, err := costd.NewScaling(t.Context(), js)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := scaling.Close(); err != nil {
			t.Error(err)
		}
	}()
	for i := range 7 {
		if _, err := js.Publish(t.Context(), events.SubjectChunks, fmt.Appendf(nil, "%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	is := func(what, service string, paused bool) {
		t.Helper()
		var a costd.Scale
		natstest.Eventually(t, 10*time.Second, what, func() bool {
			a, err = scaling.Stage(t.Context(), "embedder", service)
			return err == nil && a.Paused == paused && a.Backlog == 7
		})
		want := uint64(7)
		if paused {
			want = 0
		}
		if a.Effective != want || a.Effective != a.Open*a.Backlog || a.Oldest <= 0 || (a.Reason != "") != paused {
			t.Errorf("%s: %+v", what, a)
		}
	}
	limit := func(c budget.Change) {
		t.Helper()
		m, err := nc.Request(budget.SubjectSet, encode(t, c), 5*time.Second)
		if err != nil || strings.Contains(string(m.Data), `"error"`) {
			t.Fatalf("%s (%v)", m.Data, err)
		}
	}
	is("before anything is spent", "openai", false)

	// Two calls of 1,000 fit into 2,500. The third waits for more than what is left.
	g := w.gate(nil)
	spend := func() error {
		tk, err := g.Admit(t.Context(), "openai", "acme", budget.Amount{Nano: 1000, Requests: 1})
		if err == nil {
			tk.Settle(1000)
		}
		return err
	}
	natstest.Eventually(t, 10*time.Second, "the limit", func() bool { return spend() != nil })
	is("at the limit", "openai", true)
	is("for a service that is not at a limit", "llamaparse", false)
	is("for a stage that pays nothing", "", false)

	more := int64(100_000)
	limit(budget.Change{Scope: budget.Global, DayNano: &more})
	is("after the raise", "openai", false)
	if err := spend(); err != nil {
		t.Fatal(err)
	}
	is("after a call", "openai", false)

	frozen := true
	limit(budget.Change{Scope: budget.Service("openai"), Frozen: &frozen})
	is("frozen", "openai", true)
	is("another service, while one is frozen", "llamaparse", false)
	frozen = false
	limit(budget.Change{Scope: budget.Service("openai"), Frozen: &frozen})
	is("thawed", "openai", false)

	// A tenant at its limit is nobody else's business.
	none := int64(0)
	limit(budget.Change{Scope: budget.Tenant("acme"), DayNano: &none})
	natstest.Eventually(t, 10*time.Second, "the tenant's limit", func() bool { return spend() != nil })
	is("while a tenant waits", "openai", false)
}

// stageOf makes the consumer of a stage.
func stageOf(t *testing.T, js jetstream.JetStream, d broker.Durable) {
	t.Helper()
	if _, err := broker.ModeEnsure.Consumer(t.Context(), js, d, 30*time.Second, 100); err != nil {
		t.Fatal(err)
	}
}

// What autoscalers and Prometheus read is served by the daemon itself.
func TestTheDaemonServesBacklogs(t *testing.T) {
	w := newWorld(t)
	env := natstest.Env(t, w.url, stage.DefaultSettings())
	_, stop, err := costd.Stages(t.Context(), env, costd.Config{Day: "none", Hour: "none", DayRequests: "none", HourRequests: "none"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	get := func(path string) (int, string) {
		r := httptest.NewRecorder()
		env.Handler().ServeHTTP(r, httptest.NewRequest(http.MethodGet, path, nil))
		return r.Code, r.Body.String()
	}
	// A stage of another tree is known by its consumer, as ours are.
	own := jetstream.StreamConfig{Name: "TRANSLATED", Subjects: []string{"docs.translated"}, Retention: jetstream.WorkQueuePolicy}
	if _, err := env.JS.CreateStream(t.Context(), own); err != nil {
		t.Fatal(err)
	}
	// One that is nobody's here is none of ours.
	if _, err := env.JS.CreateStream(t.Context(), jetstream.StreamConfig{Name: "FOREIGN", Subjects: []string{"foreign.>"}, Retention: jetstream.WorkQueuePolicy}); err != nil {
		t.Fatal(err)
	}
	taking := map[string]string{"parser": events.StreamDocuments, "chunker": events.StreamParsed, "embedder": events.StreamChunks, "critic": "TRANSLATED"}
	for name, stream := range taking {
		stageOf(t, env.JS, broker.Durable{Name: name, Stream: stream})
	}
	stageOf(t, env.JS, broker.Durable{Name: "upgrader", Stream: events.StreamUpgrades, Subject: events.SubjectUpgrade})
	stageOf(t, env.JS, broker.Durable{Name: "reparser", Stream: events.StreamUpgrades, Subject: events.SubjectReparse})
	stageOf(t, env.JS, broker.Durable{Name: "watcher", Stream: events.StreamEvents})
	before := time.Now()
	if _, err := env.JS.Publish(t.Context(), events.SubjectSubmit, []byte("text")); err != nil {
		t.Fatal(err)
	}
	code, body := get("/scale/parser?service=llamaparse")
	var a costd.Scale
	decode(t, []byte(body), &a)
	if code != http.StatusOK || a.Stage != "parser" || a.Service != "llamaparse" || a.Backlog != 1 || a.Open != 1 || a.Effective != 1 || a.Oldest > time.Since(before).Seconds()+1 {
		t.Errorf("%d %s", code, body)
	}
	for name := range taking {
		if code, body := get("/scale/" + name); code != http.StatusOK {
			t.Errorf("%s: %d %s", name, code, body)
		}
	}
	// Two stages share a stream, one looks on, and one is forgotten.
	for _, name := range []string{"upgrader", "reparser", "watcher"} {
		if code, body := get("/scale/" + name); code != http.StatusNotFound {
			t.Errorf("%s: %d %s", name, code, body)
		}
	}
	if code, body := get("/scale/nobody"); code != http.StatusNotFound || !strings.Contains(body, "nobody") {
		t.Errorf("%d %s", code, body)
	}
	families, err := env.Metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series, gauges := 0, map[string]map[string]float64{} // by name and stream
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "sluice_backlog") {
			series += len(f.GetMetric())
		}
		if strings.HasPrefix(f.GetName(), "sluice_stream_") {
			gauges[f.GetName()] = map[string]float64{}
			for _, m := range f.GetMetric() {
				gauges[f.GetName()][m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
			}
		}
	}
	if series != 2*len(taking) {
		t.Errorf("%d series of backlogs", series)
	}
	for stream, limited := range map[string]bool{
		events.StreamHeld: true, "KV_" + events.BucketClaims: true, "KV_" + events.BucketJobs: true, events.StreamDocuments: true,
		events.StreamEvents: false, "TRANSLATED": false,
	} {
		info, err := env.JS.Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		state := info.CachedInfo()
		bytes, there := gauges["sluice_stream_bytes"][stream]
		if !there || stream != events.StreamDocuments && bytes != float64(state.State.Bytes) || stream == events.StreamDocuments && bytes <= 0 {
			t.Errorf("%s: %v bytes (%v), the server says %d", stream, bytes, there, state.State.Bytes)
		}
		if limit, there := gauges["sluice_stream_limit_bytes"][stream]; there != limited || limited && limit != float64(state.Config.MaxBytes) {
			t.Errorf("%s: a limit of %v (%v), the server says %d", stream, limit, there, state.Config.MaxBytes)
		}
	}
	if _, there := gauges["sluice_stream_bytes"]["FOREIGN"]; there {
		t.Error("a stream that is not the pipeline's is told of")
	}
	// Within a second the broker is not asked again.
	for range 3 {
		if _, err := env.JS.Publish(t.Context(), events.SubjectSubmit, []byte("more text")); err != nil {
			t.Fatal(err)
		}
	}
	natstest.Eventually(t, 5*time.Second, "a fresh figure", func() bool {
		_, body = get("/scale/parser")
		decode(t, []byte(body), &a)
		return a.Backlog == 4
	})
	// An autoscaler must not take a broker that is away for an empty queue.
	env.Conn.Close()
	natstest.Eventually(t, 5*time.Second, "no figure", func() bool { code, _ = get("/scale/parser"); return code == http.StatusServiceUnavailable })
}
