package deploy

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/template"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
	"sigs.k8s.io/yaml"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"

	"sluice/pkg/broker"
	"sluice/pkg/fault"
	"sluice/pkg/natstest"
	"sluice/pkg/provider/router"
	"sluice/pkg/stage"
	"sluice/services/costd"
	"sluice/services/embedder"
)

var update = flag.Bool("update", false, "rewrite what is generated")

const waitFor = 15 * time.Second

var language = parser.NewParser(parser.Options{})

// described are the metrics that the code has, with their labels: each registry
// describes its own.
func described(t *testing.T) map[string][]string {
	t.Helper()
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), stage.DefaultSettings())
	_, stop, err := costd.Stages(t.Context(), env, costd.Config{})
	if err != nil {
		t.Fatal(err)
	}
	control, err := router.New(t.Context(), router.Config{
		Conn: env.Conn, JS: env.JS, Log: env.Log, Metrics: env.Metrics.Registry, Service: "openai", Stage: "embedder",
		Check: func(context.Context) error { return nil }, Wake: func(fault.Wait) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := embedder.NewShelf(nil, env.Log, env.Metrics.Registry, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, f := range []func() error{control.Close, stop} {
			if err := f(); err != nil {
				t.Error(err)
			}
		}
	})
	found := map[string][]string{}
	c := make(chan *prometheus.Desc, 1024)
	env.Metrics.Registry.Describe(c)
	close(c)
	names := regexp.MustCompile(`fqName: "([^"]+)".*constLabels: \{([^}]*)\}, variableLabels: \{([^}]*)\}`)
	for d := range c {
		m := names.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("unreadable: %s", d)
		}
		var l []string
		for _, pair := range strings.Split(m[2], ",") {
			if k, _, ok := strings.Cut(pair, "="); ok {
				l = append(l, k)
			}
		}
		for _, k := range strings.Split(m[3], ",") {
			if k != "" {
				l = append(l, k)
			}
		}
		found[m[1]] = l
	}
	if len(found) < 30 {
		t.Fatalf("only %d metrics are described", len(found))
	}
	return found
}

// scraped are the labels that come with the scrape.
var scraped = []string{"namespace", "pod", "instance", "job"}

// expression parses an expression as Prometheus does, and checks that the code
// has its metrics, with its labels.
func expression(known map[string][]string, text string) error {
	e, err := language.ParseExpr(text)
	if err != nil {
		return err
	}
	var wrong []string
	has := map[string]bool{}
	for _, l := range scraped {
		has[l] = true
	}
	selectors := 0
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		v, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		selectors++
		names, ok := known[v.Name]
		if base, bucket := strings.CutSuffix(v.Name, "_bucket"); !ok && bucket {
			if names, ok = known[base]; ok {
				names = append(slices.Clone(names), "le")
			}
		}
		for _, suffix := range []string{"_sum", "_count"} {
			if base, is := strings.CutSuffix(v.Name, suffix); !ok && is {
				names, ok = known[base]
			}
		}
		if !ok {
			wrong = append(wrong, "nothing has the metric "+v.Name)
		}
		for _, l := range names {
			has[l] = true
		}
		for _, m := range v.LabelMatchers {
			if m.Name != model.MetricNameLabel && !slices.Contains(names, m.Name) && !slices.Contains(scraped, m.Name) {
				wrong = append(wrong, v.Name+" has no label "+m.Name)
			}
		}
		return nil
	})
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		var used []string
		switch n := n.(type) {
		case *parser.AggregateExpr:
			used = n.Grouping
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				used = n.VectorMatching.MatchingLabels
			}
		}
		for _, l := range used {
			if !has[l] {
				wrong = append(wrong, "nothing in it has the label "+l)
			}
		}
		return nil
	})
	if selectors == 0 {
		wrong = append(wrong, "it asks for no metric")
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%s: %s", text, strings.Join(wrong, ", "))
	}
	return nil
}

func rules(t *testing.T) []rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile("alerts/sluice.rules.yaml", false, model.UTF8Validation, language, slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if t.Failed() {
		t.FailNow()
	}
	var found []rulefmt.Rule
	for _, g := range groups.Groups {
		found = append(found, g.Rules...)
	}
	return found
}

// Every alert is about metrics that the code has, and has a page that says what
// to do: a heading of docs/operations.md that is its name.
func TestAlerts(t *testing.T) {
	known := described(t)
	pages, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules(t) {
		if r.Alert == "" || r.Annotations["summary"] == "" || (r.Labels["severity"] != "page" && r.Labels["severity"] != "ticket") {
			t.Errorf("the alert %q is incomplete", r.Alert)
		}
		if err := expression(known, r.Expr); err != nil {
			t.Errorf("%s: %v", r.Alert, err)
		}
		if want := "docs/operations.md#" + strings.ToLower(r.Alert); r.Annotations["runbook"] != want || !strings.Contains(string(pages), "\n### "+r.Alert+"\n") {
			t.Errorf("no page of docs/operations.md is about %s, or its alert does not lead there", r.Alert)
		}
	}
	// What the operations page lists is what there is.
	for name := range known {
		if strings.HasPrefix(name, "sluice_") && !strings.Contains(string(pages), "`"+name+"`") {
			t.Errorf("docs/operations.md does not tell of %s", name)
		}
	}
	for _, name := range regexp.MustCompile("`(sluice_[a-z_]+)`").FindAllStringSubmatch(string(pages), -1) {
		if _, ok := known[name[1]]; !ok {
			t.Errorf("docs/operations.md tells of %s, which nothing has", name[1])
		}
	}
}

// The rules for the operator are the rules.
func TestTheOperatorsRules(t *testing.T) {
	text, err := os.ReadFile("alerts/sluice.rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var spec map[string]any
	if err := yaml.UnmarshalStrict(text, &spec); err != nil {
		t.Fatal(err)
	}
	want, err := yaml.Marshal(map[string]any{
		"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule",
		"metadata": map[string]any{"name": "sluice", "labels": map[string]string{"app.kubernetes.io/name": "sluice"}}, "spec": spec,
	})
	if err != nil {
		t.Fatal(err)
	}
	const file = "k8s/components/monitoring/rules.yaml"
	want = append([]byte("# Made from deploy/alerts/sluice.rules.yaml: go test . -update\n"), want...)
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil || string(have) != string(want) {
		t.Errorf("%s is not made from the rules (%v): go test . -update", file, err)
	}
	if r := all[*monitoring.PrometheusRule](build(t, "prod"))["sluice"]; r == nil || len(r.Spec.Groups) == 0 {
		t.Error("prod has no alerts")
	}
}

// scenario is a test in the format of promtool.
type scenario struct {
	Name     string         `json:"name"`
	Interval model.Duration `json:"interval"`
	Series   []struct {
		Series string `json:"series"`
		Values string `json:"values"`
	} `json:"input_series"`
	Alerts []struct {
		At    model.Duration `json:"eval_time"`
		Alert string         `json:"alertname"`
		Want  []struct {
			Labels      map[string]string `json:"exp_labels"`
			Annotations map[string]string `json:"exp_annotations"`
		} `json:"exp_alerts"`
	} `json:"alert_rule_test"`
}

// Each alert fires on the series that it is for, not before its time, and on
// no others: Prometheus' own engine evaluates the expressions.
func TestAlertsFire(t *testing.T) {
	text, err := os.ReadFile("alerts/sluice.rules.test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Rules     []string       `json:"rule_files"`
		Every     model.Duration `json:"evaluation_interval"`
		Scenarios []scenario     `json:"tests"`
	}
	if err := yaml.UnmarshalStrict(text, &file); err != nil {
		t.Fatal(err)
	}
	byName := map[string]rulefmt.Rule{}
	for _, r := range rules(t) {
		byName[r.Alert] = r
	}
	fires, silent := map[string]bool{}, map[string]bool{}
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, Parser: language})
	defer func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, s := range file.Scenarios {
		t.Run(s.Name, func(t *testing.T) {
			series := load(t, s)
			healthy := s.Name == "healthy"
			for _, c := range s.Alerts {
				r, ok := byName[c.Alert]
				if !ok {
					t.Fatalf("there is no alert %s", c.Alert)
				}
				have := firing(t, engine, series, r, time.Duration(c.At), time.Duration(file.Every))
				var want []string
				for _, w := range c.Want {
					want = append(want, fmt.Sprint(w.Labels, w.Annotations))
				}
				slices.Sort(want)
				if !slices.Equal(have, want) {
					t.Errorf("%s at %v: %v, want %v", c.Alert, c.At, have, want)
				}
				fires[c.Alert] = fires[c.Alert] || len(want) > 0
				silent[c.Alert] = silent[c.Alert] || healthy
			}
			if !healthy {
				return
			}
			// At no time, and whatever the file lists.
			for _, r := range byName {
				for at := time.Duration(0); at <= time.Hour; at += time.Minute {
					if have := firing(t, engine, series, r, at, time.Duration(file.Every)); len(have) > 0 {
						t.Errorf("%s fires at %v: %v", r.Alert, at, have)
					}
				}
			}
		})
	}
	for name := range byName {
		if !fires[name] || !silent[name] {
			t.Errorf("%s: no test in which it fires, or none in which it is silent", name)
		}
	}
}

// load returns the series of a scenario.
func load(t *testing.T, s scenario) memory {
	t.Helper()
	var all memory
	for _, in := range s.Series {
		l, values, err := language.ParseSeriesDesc(fmt.Sprint(in.Series, " ", in.Values))
		if err != nil {
			t.Fatal(err)
		}
		var samples []chunks.Sample
		for i, v := range values {
			if !v.Omitted {
				samples = append(samples, sample{int64(i) * time.Duration(s.Interval).Milliseconds(), v.Value})
			}
		}
		all = append(all, storage.NewListSeries(l, samples))
	}
	return all
}

// firing evaluates a rule at every step, and returns what has been so for as long
// as the rule wants.
func firing(t *testing.T, engine *promql.Engine, series memory, r rulefmt.Rule, at, every time.Duration) []string {
	t.Helper()
	var since map[string]time.Duration
	var now map[string]string
	for step := time.Duration(0); step <= at; step += every {
		q, err := engine.NewInstantQuery(t.Context(), series, nil, r.Expr, time.UnixMilli(step.Milliseconds()))
		if err != nil {
			t.Fatal(err)
		}
		result := q.Exec(t.Context())
		vector, err := result.Vector()
		if err != nil {
			t.Fatal(err)
		}
		active := map[string]time.Duration{}
		now = map[string]string{}
		for _, v := range vector {
			key := v.Metric.String()
			active[key] = step
			if began, ok := since[key]; ok {
				active[key] = began
			}
			if step-active[key] >= time.Duration(r.For) {
				now[key] = alert(t, r, v, step)
			}
		}
		since = active
		q.Close()
	}
	return slices.Sorted(maps.Values(now))
}

// alert writes an alert's labels and annotations.
func alert(t *testing.T, r rulefmt.Rule, v promql.Sample, at time.Duration) string {
	t.Helper()
	l := v.Metric.DropReserved(func(n string) bool { return n == model.MetricNameLabel }).Map()
	given := maps.Clone(l)
	maps.Copy(l, r.Labels)
	notes := map[string]string{}
	for k, text := range r.Annotations {
		e := template.NewTemplateExpander(t.Context(), "{{$labels := .Labels}}{{$value := .Value}}"+text, r.Alert,
			template.AlertTemplateData(given, nil, "", v), model.TimeFromUnixNano(at.Nanoseconds()), nil, &url.URL{}, nil)
		out, err := e.Expand()
		if err != nil {
			t.Fatal(err)
		}
		notes[k] = out
	}
	return fmt.Sprint(l, notes)
}

// memory is series that the engine can query.
type memory []*storage.SeriesEntry

func (m memory) Querier(int64, int64) (storage.Querier, error) { return m, nil }
func (m memory) Close() error                                  { return nil }

func (m memory) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (m memory) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (m memory) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	s := &selection{}
	for _, e := range m {
		if !slices.ContainsFunc(matchers, func(x *labels.Matcher) bool { return !x.Matches(e.Lset.Get(x.Name)) }) {
			s.rest = append(s.rest, e)
		}
	}
	return s
}

type selection struct {
	rest []*storage.SeriesEntry
	at   *storage.SeriesEntry
}

func (s *selection) Next() bool {
	if len(s.rest) == 0 {
		return false
	}
	s.at, s.rest = s.rest[0], s.rest[1:]
	return true
}
func (s *selection) At() storage.Series                { return s.at }
func (s *selection) Err() error                        { return nil }
func (s *selection) Warnings() annotations.Annotations { return nil }

type sample struct {
	t int64
	v float64
}

func (s sample) T() int64                      { return s.t }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.v }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }

// Every expression of the dashboard is one that Prometheus parses, about metrics
// and labels that the code has.
func TestDashboard(t *testing.T) {
	known := described(t)
	text, err := os.ReadFile("grafana/sluice.json")
	if err != nil {
		t.Fatal(err)
	}
	type panel struct {
		ID      int                      `json:"id"`
		Type    string                   `json:"type"`
		Title   string                   `json:"title"`
		Grid    struct{ X, Y, W, H int } `json:"gridPos"`
		Targets []struct {
			Ref    string `json:"refId"`
			Expr   string `json:"expr"`
			Legend string `json:"legendFormat"`
		} `json:"targets"`
	}
	var dashboard struct {
		UID        string  `json:"uid"`
		Title      string  `json:"title"`
		Panels     []panel `json:"panels"`
		Templating struct {
			List []struct {
				Name  string `json:"name"`
				Query any    `json:"query"`
			} `json:"list"`
		} `json:"templating"`
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h", "$namespace", "sluice")
	used := map[string]bool{}
	ids := map[int]bool{}
	for _, p := range dashboard.Panels {
		if ids[p.ID] {
			t.Errorf("two panels are number %d", p.ID)
		}
		ids[p.ID] = true
		if p.Type == "row" {
			continue
		}
		if p.Title == "" || len(p.Targets) == 0 || p.Grid.W == 0 {
			t.Errorf("panel %d %q shows nothing", p.ID, p.Title)
		}
		for _, q := range p.Targets {
			e := variables.Replace(q.Expr)
			if strings.Contains(e, "$") {
				t.Errorf("%s: %s has a variable that nobody sets", p.Title, q.Expr)
			}
			if err := expression(known, e); err != nil {
				t.Errorf("%s: %v", p.Title, err)
			}
			for name := range known {
				used[name] = used[name] || regexp.MustCompile(`\b`+name+`(_bucket|_sum|_count)?\b`).MatchString(e)
			}
			for _, l := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(q.Legend, -1) {
				if !slices.ContainsFunc(slices.Collect(maps.Values(known)), func(x []string) bool { return slices.Contains(x, l[1]) }) && !slices.Contains(scraped, l[1]) {
					t.Errorf("%s: no metric has the label %s", p.Title, l[1])
				}
			}
		}
	}
	for name := range known {
		if strings.HasPrefix(name, "sluice_") && !used[name] {
			t.Errorf("no panel shows %s", name)
		}
	}
	if dashboard.UID == "" || dashboard.Title == "" || len(dashboard.Templating.List) == 0 {
		t.Error("the dashboard has no name or no variables")
	}
}

// The check of expressions notices what it is for.
func TestExpressionsAreChecked(t *testing.T) {
	known := map[string][]string{"sluice_stage_seconds": {"stage"}, "sluice_stage_waiting": {"stage"}}
	for text, ok := range map[string]bool{
		`histogram_quantile(0.9, sum by (le, stage) (rate(sluice_stage_seconds_bucket{stage="parser"}[5m])))`: true,
		`sluice_stage_waiting{namespace="a"} > 0`:                                                             true,
		`sluice_stage_hold > 0`:                   false,
		`sluice_stage_waiting{stge="parser"}`:     false,
		`sum by (service) (sluice_stage_waiting)`: false,
		`sum(sluice_stage_waiting`:                false,
		`1 > 0`:                                   false,
	} {
		if err := expression(known, text); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}
