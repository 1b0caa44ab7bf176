package deploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/expr-lang/expr"
	keda "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	"github.com/nats-io/nats.go/jetstream"
	corev1 "k8s.io/api/core/v1"

	list "sluice/cmd/sluice/services"
	"sluice/pkg/broker"
	"sluice/pkg/natstest"
	"sluice/pkg/stage"
	"sluice/services/costd"
	"sluice/services/parser"
)

// scaler is what KEDA publishes of a scaler's trigger metadata: made from the
// same tags that its own parser reads.
type scaler struct {
	Type       string `json:"type"`
	Parameters []struct {
		Name     string   `json:"name"`
		Optional bool     `json:"optional"`
		Default  any      `json:"default"`
		Allowed  []string `json:"allowedValue"`
		Metadata bool     `json:"metadataVariableReadable"`
	} `json:"parameters"`
}

func scalers(t *testing.T) map[string]scaler {
	t.Helper()
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/kedacore/keda/v2")
	cmd.Env = append(os.Environ(), "GOWORK=off")
	dir, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "schema", "generated", "scalers-schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Scalers []scaler `json:"scalers"`
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	found := map[string]scaler{}
	for _, s := range schema.Scalers {
		found[s.Type] = s
	}
	return found
}

// metadata checks a trigger's metadata as KEDA would: it takes no key that it
// does not know, and none that it needs is missing.
func (s scaler) metadata(given map[string]string) error {
	known := map[string]bool{}
	for _, p := range s.Parameters {
		known[p.Name] = p.Metadata
		value, ok := given[p.Name]
		switch {
		case !ok && !p.Optional && p.Default == nil:
			return fmt.Errorf("%s: %s is missing", s.Type, p.Name)
		case ok && len(p.Allowed) > 0 && !slices.Contains(p.Allowed, value):
			return fmt.Errorf("%s: %s is %q, want one of %v", s.Type, p.Name, value, p.Allowed)
		}
	}
	for k := range given {
		if !known[k] {
			return fmt.Errorf("%s knows no %s", s.Type, k)
		}
	}
	return nil
}

// The check of the metadata notices what it is for.
func TestTriggerMetadataIsChecked(t *testing.T) {
	s := scalers(t)["nats-jetstream"]
	good := map[string]string{"natsServerMonitoringEndpoint": "nats:8222", "account": "$G", "stream": "PARSED", "consumer": "chunker"}
	if err := s.metadata(good); err != nil {
		t.Error(err)
	}
	for _, change := range []func(map[string]string){
		func(m map[string]string) { m["lagTreshold"] = "5" },
		func(m map[string]string) { delete(m, "stream") },
		func(m map[string]string) { m["Consumer"] = m["consumer"]; delete(m, "consumer") },
	} {
		bad := maps.Clone(good)
		change(bad)
		if s.metadata(bad) == nil {
			t.Errorf("%v passes", bad)
		}
	}
}

// Each stage scales on the backlog of its own consumer; one that pays has none
// to scale on while the budget stops it, as KEDA computes it from what costd
// answers.
func TestScaledObjects(t *testing.T) {
	known := scalers(t)
	durables := map[string]string{}
	for _, d := range broker.Durables(list.Declared()...) {
		durables[d.Name] = d.Stream
	}
	answer := scaleEndpoint(t)
	for _, name := range []string{"prod", "prod+llamaparse"} {
		t.Run(name, func(t *testing.T) {
			o := build(t, name)
			objects := all[*keda.ScaledObject](o)
			if have := slices.Sorted(maps.Keys(objects)); !slices.Equal(have, scaled()) {
				t.Errorf("%v scale", have)
			}
			for stageName, so := range objects {
				for _, err := range []error{keda.CheckReplicaCountBoundsAreValid(so), keda.CheckFallbackValid(so), keda.ValidateTriggers(so.Spec.Triggers)} {
					if err != nil {
						t.Errorf("%s: %v", stageName, err)
					}
				}
				if so.Spec.ScaleTargetRef.Name != stageName {
					t.Errorf("%s scales %s", stageName, so.Spec.ScaleTargetRef.Name)
				}
				autoscaled(t, o, stageName)
				values := map[string]map[bool]float64{} // trigger -> paused -> value
				for _, tr := range so.Spec.Triggers {
					s, ok := known[tr.Type]
					if !ok {
						t.Errorf("%s: KEDA has no scaler %s", stageName, tr.Type)
						continue
					}
					if err := s.metadata(tr.Metadata); err != nil {
						t.Errorf("%s: %v", stageName, err)
					}
					switch tr.Type {
					case "nats-jetstream":
						m := tr.Metadata
						if m["consumer"] != stageName || durables[m["consumer"]] != m["stream"] {
							t.Errorf("%s scales on the consumer %s of %s, which is of %s", stageName, m["consumer"], m["stream"], durables[m["consumer"]])
						}
						service(t, o, m["natsServerMonitoringEndpoint"], "monitor")
						values[tr.Name] = map[bool]float64{false: 700, true: 700}
					case "metrics-api":
						u, err := url.Parse(tr.Metadata["url"])
						if err != nil {
							t.Fatal(err)
						}
						service(t, o, u.Host, "http")
						if !strings.HasPrefix(u.Path, "/scale/"+stageName) {
							t.Errorf("%s asks costd for %s", stageName, u.Path)
						}
						values[tr.Name] = map[bool]float64{}
						for _, paused := range []bool{false, true} {
							v, err := answer(paused, u.RequestURI(), tr.Metadata["valueLocation"])
							if err != nil {
								t.Errorf("%s: %v", stageName, err)
							}
							values[tr.Name][paused] = v
						}
					default:
						t.Errorf("%s: nothing here checks the scaler %s", stageName, tr.Type)
					}
				}
				// The parser pays where the component has it do so.
				pays := paying(stageName) && (stageName != parser.Name || strings.HasSuffix(name, "llamaparse"))
				if zero := *so.Spec.MinReplicaCount == 0; zero != (stageName == "chunker") {
					t.Errorf("%s may be scaled to %d", stageName, *so.Spec.MinReplicaCount)
				}
				if !pays {
					if so.IsUsingModifiers() {
						t.Errorf("%s pays nothing, and asks the budget", stageName)
					}
					continue
				}
				if so.Spec.Advanced == nil {
					t.Errorf("%s is scaled up while the budget stops it", stageName)
					continue
				}
				formula, err := keda.ValidateAndCompileScalingModifiers(so)
				if err != nil {
					t.Errorf("%s: %v", stageName, err)
					continue
				}
				for paused, want := range map[bool]float64{false: 700, true: 0} {
					env := map[string]float64{}
					for trigger, v := range values {
						env[trigger] = v[paused]
					}
					if have, err := expr.Run(formula, env); err != nil || have != want {
						t.Errorf("%s, paused %v: it is scaled on %v, want %v (%v)", stageName, paused, have, want, err)
					}
				}
				if so.Spec.Fallback == nil || so.Spec.Fallback.Behavior != "currentReplicas" {
					t.Errorf("%s: without costd it does not stay as it is", stageName)
				}
			}
		})
	}
}

// scaled returns the stages that take from a work queue of their own.
func scaled() []string {
	needed, _ := list.Stages()
	queues := map[string]bool{}
	for _, c := range broker.DefaultTopology().Streams(list.Declared()...) {
		queues[c.Name] = c.Retention == jetstream.WorkQueuePolicy
	}
	var names []string
	for _, d := range needed {
		if queues[d.In.Stream] {
			names = append(names, d.Name)
		}
	}
	slices.Sort(names)
	return names
}

// paying tells whether a stage pays anything.
func paying(stage string) bool {
	needed, _ := list.Stages()
	return slices.ContainsFunc(needed, func(d broker.Declaration) bool { return d.Name == stage && len(d.Pays) > 0 })
}

// service checks "name.namespace.svc:port" against the Services of an overlay.
func service(t *testing.T, o overlay, address, port string) {
	t.Helper()
	name, number, _ := strings.Cut(address, ":")
	parts := strings.Split(name, ".")
	s := all[*corev1.Service](o)[parts[0]]
	if s == nil || len(parts) != 3 || parts[1] != o.namespace || parts[2] != "svc" {
		t.Errorf("%s is not an address of a Service of %s", address, o.namespace)
		return
	}
	for _, p := range s.Spec.Ports {
		if fmt.Sprint(p.Port) == number && p.TargetPort.StrVal == port {
			return
		}
	}
	t.Errorf("%s is not the port %s of the Service", address, port)
}

// scaleEndpoint asks a real costd, whose budget is paused or not.
func scaleEndpoint(t *testing.T) func(paused bool, uri, location string) (float64, error) {
	t.Helper()
	handlers := map[bool]http.Handler{}
	for paused, limit := range map[bool]string{false: "none", true: "0"} {
		env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), stage.DefaultSettings())
		_, stop, err := costd.Stages(t.Context(), env, costd.Config{Day: limit, Hour: "none", DayRequests: "none", HourRequests: "none"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
		for _, d := range broker.Durables(list.Declared()...) {
			if _, err := broker.ModeEnsure.Consumer(t.Context(), env.JS, d, waitFor, 100); err != nil {
				t.Fatal(err)
			}
		}
		handlers[paused] = env.Handler()
	}
	get := func(paused bool, uri, location string) (float64, error) {
		r := httptest.NewRecorder()
		handlers[paused].ServeHTTP(r, httptest.NewRequest(http.MethodGet, uri, nil))
		if r.Code != http.StatusOK {
			return 0, fmt.Errorf("%s answers %d: %s", uri, r.Code, r.Body)
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(r.Body.Bytes(), &fields); err != nil {
			return 0, err
		}
		v, err := strconv.ParseFloat(string(fields[location]), 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %s is not a number in %s", uri, location, r.Body)
		}
		return v, nil
	}
	natstest.Eventually(t, waitFor, "the budget to be paused", func() bool {
		v, err := get(true, "/scale/embedder?service=openai", "open")
		return err == nil && v == 0
	})
	return get
}
