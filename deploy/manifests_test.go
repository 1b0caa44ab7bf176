package deploy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"

	"sluice/cmd/sluice/cli"
	list "sluice/cmd/sluice/services"
	"sluice/pkg/broker"
	"sluice/pkg/natstest"
	"sluice/pkg/stage"
	"sluice/services/chunker"
	"sluice/services/costd"
	"sluice/services/embedder"
	"sluice/services/indexer"
	"sluice/services/parser"
	"sluice/services/parser/local"
)

// The options of each binary, as its main has them.
type (
	parserOptions struct {
		Common stage.Common  `embed:""`
		Parser parser.Config `embed:""`
		Local  local.Config  `embed:""`
	}
	chunkerOptions struct {
		Common  stage.Common    `embed:""`
		Chunker chunker.Config  `embed:""`
		Routing chunker.Routing `embed:""`
	}
	embedderOptions struct {
		Common   stage.Common    `embed:""`
		Embedder embedder.Config `embed:""`
	}
	indexerOptions struct {
		Common  stage.Common   `embed:""`
		Indexer indexer.Config `embed:""`
	}
	costdOptions struct {
		Common stage.Common `embed:""`
		Costd  costd.Config `embed:""`
	}
)

func options() map[string]any {
	return map[string]any{
		parser.Name: &parserOptions{}, chunker.Name: &chunkerOptions{}, embedder.Name: &embedderOptions{},
		indexer.Name: &indexerOptions{}, costd.Name: &costdOptions{}, broker.UserApply: &cli.ApplyCmd{},
	}
}

func command(t *testing.T, options any) *kong.Kong {
	t.Helper()
	k, err := kong.New(options, kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// variables returns the environment variables that a binary reads.
func variables(t *testing.T, options any) map[string]bool {
	t.Helper()
	known := map[string]bool{}
	for _, f := range command(t, options).Model.Flags {
		for _, e := range f.Envs {
			known[e] = true
		}
	}
	return known
}

func eachOverlay(t *testing.T, f func(t *testing.T, name string, o overlay)) {
	t.Helper()
	for _, name := range overlays {
		t.Run(name, func(t *testing.T) { f(t, name, build(t, name)) })
	}
}

func prod(name string) bool { return strings.HasPrefix(name, "prod") }

// Every overlay has a workload for each service, without privileges, with probes
// that the process answers, and with time to drain.
func TestWorkloads(t *testing.T) {
	eachOverlay(t, func(t *testing.T, name string, o overlay) {
		want := append([]string{"nats"}, services...)
		if prod(name) {
			want = append(want, "apply")
		}
		slices.Sort(want)
		workloads := o.workloads()
		if have := slices.Sorted(maps.Keys(workloads)); !slices.Equal(have, want) {
			t.Fatalf("workloads %v, want %v", have, want)
		}
		for _, w := range workloads {
			unprivileged(t, w)
			mounts(t, o, w)
			if slices.Contains(services, w.name) {
				stageWorkload(t, o, w)
			}
		}
		replicas := func(w string) int32 {
			if r := workloads[w].replicas; r != nil {
				return *r
			}
			return 0
		}
		if w := workloads["indexer"]; !prod(name) && (w.kind != "StatefulSet" || replicas("indexer") != 1) {
			t.Errorf("a %s of %d indexers writes one SQLite file", w.kind, replicas("indexer"))
		}
		if prod(name) {
			if w := workloads["indexer"]; w.kind != "Deployment" || len(w.claims) > 0 {
				t.Errorf("with Postgres the indexer has no state: it is a %s", w.kind)
			}
			if o.config()["SLUICE_REPLICAS"] != fmt.Sprint(replicas("nats")) || replicas("nats") != 3 {
				t.Errorf("%d NATS servers, and streams of %s copies", replicas("nats"), o.config()["SLUICE_REPLICAS"])
			}
			spread := workloads["nats"].pod.Spec.TopologySpreadConstraints
			if len(spread) != 1 || spread[0].WhenUnsatisfiable != corev1.DoNotSchedule {
				t.Error("two NATS servers may share a node")
			}
		}
	})
}

func unprivileged(t *testing.T, w workload) {
	t.Helper()
	s := w.pod.Spec
	is := func(b *bool, want bool) bool { return b != nil && *b == want }
	if c := s.SecurityContext; c == nil || !is(c.RunAsNonRoot, true) || c.RunAsUser == nil || *c.RunAsUser == 0 || c.SeccompProfile == nil || !is(s.AutomountServiceAccountToken, false) {
		t.Errorf("%s: the pod has privileges", w.name)
	}
	if len(s.InitContainers) > 0 || len(s.Containers) != 1 {
		t.Errorf("%s has other containers than its own", w.name)
	}
	for _, c := range s.Containers {
		if sc := c.SecurityContext; sc == nil || !is(sc.ReadOnlyRootFilesystem, true) || !is(sc.AllowPrivilegeEscalation, false) ||
			sc.Capabilities == nil || !slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(sc.Capabilities.Add) > 0 {
			t.Errorf("%s: the container has privileges", w.name)
		}
		if c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
			t.Errorf("%s: resources are missing", w.name)
		}
		if strings.HasSuffix(c.Image, ":latest") {
			t.Errorf("%s runs whatever is the latest %s", w.name, c.Image)
		}
	}
}

// mounts checks that what is mounted is there, and that the files that the
// environment names are on it.
func mounts(t *testing.T, o overlay, w workload) {
	t.Helper()
	files := map[string]bool{} // what volumes are known to hold
	volumes := map[string][]string{}
	for _, c := range w.claims {
		volumes[c] = nil
	}
	for _, v := range w.pod.Spec.Volumes {
		var holds []string
		if v.Projected != nil {
			for _, src := range v.Projected.Sources {
				if src.Secret != nil {
					for _, i := range src.Secret.Items {
						holds = append(holds, i.Path)
					}
				}
				if src.ConfigMap != nil {
					for k := range all[*corev1.ConfigMap](o)[hash.ReplaceAllString(src.ConfigMap.Name, "")].Data {
						holds = append(holds, k)
					}
				}
			}
		}
		volumes[v.Name] = holds
	}
	c := w.pod.Spec.Containers[0]
	for _, m := range c.VolumeMounts {
		holds, ok := volumes[m.Name]
		if !ok {
			t.Errorf("%s mounts %s, which is not there", w.name, m.Name)
		}
		for _, f := range holds {
			files[filepath.Join(m.MountPath, f)] = true
		}
	}
	for k, v := range o.config() {
		if (k == "NATS_NKEY" || k == "NATS_CA") && len(c.EnvFrom) > 0 && !files[v] {
			t.Errorf("%s: %s names %s, which no volume holds", w.name, k, v)
		}
	}
	for i, a := range c.Args {
		if a == "--config" && !files[c.Args[i+1]] {
			t.Errorf("%s: %s is on no volume", w.name, c.Args[i+1])
		}
	}
}

func stageWorkload(t *testing.T, o overlay, w workload) {
	t.Helper()
	s, c := w.pod.Spec, w.pod.Spec.Containers[0]
	if c.Name != "stage" || c.Image != "sluice-"+w.name || w.pod.Labels["tier"] != "stage" || w.pod.Labels["app.kubernetes.io/component"] != w.name {
		t.Errorf("%s: the container is %q of the image %q, the labels are %v", w.name, c.Name, c.Image, w.pod.Labels)
	}
	for k, v := range w.selector {
		if w.pod.Labels[k] != v {
			t.Errorf("%s selects other pods than it makes", w.name)
		}
	}
	if spread := s.TopologySpreadConstraints; len(spread) == 0 {
		t.Errorf("%s is not spread over nodes", w.name)
	} else if selected := o.selected(t, spread[0].LabelSelector); !slices.ContainsFunc(selected, func(x workload) bool { return x.name == w.name }) {
		t.Errorf("%s is spread among pods that are not its own", w.name)
	}
	address := o.config()["SLUICE_HTTP"]
	if p := w.port("http"); p == 0 || address != fmt.Sprintf("0.0.0.0:%d", p) {
		t.Errorf("%s listens on %s, and its port is %d", w.name, address, p)
	}
	for path, probe := range map[string]*corev1.Probe{"/healthz": c.StartupProbe, "/healthz ": c.LivenessProbe, "/readyz": c.ReadinessProbe} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != strings.TrimSpace(path) || probe.HTTPGet.Port.String() != "http" {
			t.Errorf("%s: the probe of %s does not ask for it", w.name, path)
		}
	}
	grace, err := time.ParseDuration(o.config()["SLUICE_GRACE"])
	if err != nil || s.TerminationGracePeriodSeconds == nil || time.Duration(*s.TerminationGracePeriodSeconds)*time.Second <= grace+5*time.Second {
		t.Errorf("%s: the pod is killed before its drain of %v ends (%v)", w.name, grace, err)
	}
}

// What the probes and the scrape ask for, a process answers.
func TestProbesAreAnswered(t *testing.T) {
	handler := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), stage.DefaultSettings()).Handler()
	eachOverlay(t, func(t *testing.T, _ string, o overlay) {
		paths := map[string]bool{}
		for _, s := range services {
			c := o.workloads()[s].pod.Spec.Containers[0]
			for _, p := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
				paths[p.HTTPGet.Path] = true
			}
		}
		for _, m := range all[*monitoring.PodMonitor](o) {
			for _, e := range m.Spec.PodMetricsEndpoints {
				paths[e.Path] = true
			}
		}
		for path := range paths {
			r := httptest.NewRecorder()
			handler.ServeHTTP(r, httptest.NewRequest(http.MethodGet, path, nil))
			if r.Code == http.StatusNotFound {
				t.Errorf("nothing answers %s", path)
			}
		}
	})
}

// The environment is what the code reads, with values that it takes: each
// binary's own parser reads them.
func TestEnvironment(t *testing.T) {
	read := map[string]map[string]bool{}
	for name, o := range options() {
		read[name] = variables(t, o)
	}
	login := t.TempDir() // in place of what the Secrets hold
	certificates(t, login)
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(login, "seed"), seed, 0o600); err != nil {
		t.Fatal(err)
	}
	eachOverlay(t, func(t *testing.T, _ string, o overlay) {
		for k, v := range o.config() {
			if !slices.ContainsFunc(services, func(s string) bool { return read[s][k] }) {
				t.Errorf("no service reads %s=%s", k, v)
			}
		}
		workloads := o.workloads()
		for name, options := range options() {
			if _, ok := workloads[name]; !ok && name == broker.UserApply {
				continue // stages make what they need
			}
			t.Run(name, func(t *testing.T) {
				c := workloads[name].pod.Spec.Containers[0]
				if len(c.EnvFrom) != 1 || hash.ReplaceAllString(c.EnvFrom[0].ConfigMapRef.Name, "") != "sluice" {
					t.Errorf("its environment is not from the ConfigMap")
				}
				for k, v := range o.config() {
					t.Setenv(k, strings.Replace(v, "/etc/nats/", login+"/", 1))
				}
				for _, e := range c.Env {
					if e.Name == "GOMEMLIMIT" { // read by Go itself
						soft, err := resource.ParseQuantity(strings.TrimSuffix(e.Value, "B"))
						if err != nil || soft.Cmp(*c.Resources.Limits.Memory()) >= 0 {
							t.Errorf("GOMEMLIMIT is %s (%v), the limit %s", e.Value, err, c.Resources.Limits.Memory())
						}
						continue
					}
					if !read[name][e.Name] {
						t.Errorf("%s is not read", e.Name)
					}
					value := e.Value
					if e.ValueFrom != nil {
						value = "secret"
					} else if strings.Contains(e.Name, "KEY") || strings.Contains(e.Name, "SECRET") {
						t.Errorf("%s is not from a Secret", e.Name)
					}
					if e.Name == "NATS_INBOX_PREFIX" && value != broker.InboxPrefix(name) {
						t.Errorf("it listens on %s, and may on %s", value, broker.InboxPrefix(name))
					}
					t.Setenv(e.Name, value)
				}
				if _, err := command(t, options).Parse(nil); err != nil {
					t.Errorf("the binary refuses its environment: %v", err)
				}
			})
		}
	})
}

// Every Secret that a manifest refers to is one that the installation makes.
func TestSecretsAreMade(t *testing.T) {
	page, err := os.ReadFile("../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	eachOverlay(t, func(t *testing.T, _ string, o overlay) {
		for _, w := range o.workloads() {
			named := map[string]string{}
			for _, e := range w.pod.Spec.Containers[0].Env {
				if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
					named[e.ValueFrom.SecretKeyRef.Name] = e.ValueFrom.SecretKeyRef.Key
				}
			}
			for _, v := range w.pod.Spec.Volumes {
				if v.Projected == nil {
					continue
				}
				for _, s := range v.Projected.Sources {
					if s.Secret != nil {
						named[s.Secret.Name] = ""
					}
				}
			}
			for name, key := range named {
				if service, ok := strings.CutPrefix(name, "nats-user-"); ok {
					if service != w.name {
						t.Errorf("%s logs in as %s", w.name, service)
					}
					name = "nats-user-"
				}
				if !strings.Contains(string(page), name) || !strings.Contains(string(page), key) {
					t.Errorf("%s needs the Secret %s with %q: docs/kubernetes.md does not make it", w.name, name, key)
				}
			}
		}
	})
}

// What selects pods selects some, and the ports that are named are theirs.
func TestSelectorsAndPorts(t *testing.T) {
	eachOverlay(t, func(t *testing.T, name string, o overlay) {
		port := func(what string, p intstr.IntOrString, of []workload) {
			t.Helper()
			for _, w := range of {
				if p.Type == intstr.String && w.port(p.StrVal) == 0 {
					t.Errorf("%s: %s has no port %s", what, w.name, p.StrVal)
				}
			}
		}
		for name, s := range all[*corev1.Service](o) {
			of := o.selected(t, &metav1.LabelSelector{MatchLabels: s.Spec.Selector})
			if len(of) != 1 {
				t.Errorf("the Service %s leads to %d workloads", name, len(of))
			}
			for _, p := range s.Spec.Ports {
				port("Service "+name, p.TargetPort, of)
			}
		}
		budgets := all[*policyv1.PodDisruptionBudget](o)
		for name, b := range budgets {
			if of := o.selected(t, b.Spec.Selector); len(of) != 1 || of[0].name != name {
				t.Errorf("the disruption budget %s is of %d workloads", name, len(of))
			}
		}
		for _, w := range o.workloads() {
			if w.kind == "Deployment" && budgets[w.name] == nil || w.name == "nats" && prod(name) && budgets["nats"] == nil {
				t.Errorf("%s has no disruption budget", w.name)
			}
		}
		for name, m := range all[*monitoring.PodMonitor](o) {
			of := o.selected(t, &m.Spec.Selector)
			if len(of) != len(services) {
				t.Errorf("%s reads the metrics of %d services", name, len(of))
			}
			for _, e := range m.Spec.PodMetricsEndpoints {
				port("PodMonitor "+name, intstr.FromString(*e.Port), of)
			}
		}
		network(t, o, name, port)
		for name, h := range all[*autoscalingv2.HorizontalPodAutoscaler](o) {
			if h.Spec.ScaleTargetRef.Name != name {
				t.Errorf("the autoscaler %s scales %s", name, h.Spec.ScaleTargetRef.Name)
			}
			autoscaled(t, o, name)
		}
		if strings.HasSuffix(name, "hpa") && len(all[*autoscalingv2.HorizontalPodAutoscaler](o)) != 4 {
			t.Error("not every stage scales")
		}
	})
}

// autoscaled checks that a workload can be scaled, and is not set back by every
// 'kubectl apply'.
func autoscaled(t *testing.T, o overlay, name string) {
	t.Helper()
	w, ok := o.workloads()[name]
	if !ok || w.kind != "Deployment" || name == costd.Name {
		t.Errorf("the autoscaler %s scales what cannot be scaled", name)
	}
	if w.replicas != nil {
		t.Errorf("%s: the manifest sets the autoscaler's figure back to %d", name, *w.replicas)
	}
}

// network checks that everything is denied by default, and that what is needed is
// allowed on both sides.
func network(t *testing.T, o overlay, overlayName string, port func(string, intstr.IntOrString, []workload)) {
	t.Helper()
	policies := all[*networkingv1.NetworkPolicy](o)
	if p := policies["default"]; p == nil || len(p.Spec.PodSelector.MatchLabels) > 0 || len(p.Spec.PolicyTypes) != 2 || len(p.Spec.Ingress)+len(p.Spec.Egress) > 0 {
		t.Error("nothing denies what no policy names")
	}
	reach := map[string]bool{} // "from>to:port", within the namespace
	enter := map[string]bool{} // the same, as the other side allows it
	for name, p := range policies {
		of := o.selected(t, &p.Spec.PodSelector)
		if len(of) == 0 {
			t.Errorf("the network policy %s is of nobody", name)
		}
		for _, in := range p.Spec.Ingress {
			for _, pt := range in.Ports {
				port("NetworkPolicy "+name, *pt.Port, of)
				for _, from := range in.From {
					if from.PodSelector == nil || from.NamespaceSelector != nil {
						continue
					}
					for _, a := range o.selected(t, from.PodSelector) {
						for _, b := range of {
							enter[a.name+">"+b.name+":"+pt.Port.String()] = true
						}
					}
				}
			}
			if len(in.From) == 0 || len(in.Ports) == 0 {
				t.Errorf("the network policy %s lets everyone in", name)
			}
		}
		for _, out := range p.Spec.Egress {
			for _, to := range out.To {
				if to.PodSelector == nil || to.NamespaceSelector != nil {
					continue
				}
				peers := o.selected(t, to.PodSelector)
				for _, pt := range out.Ports {
					port("NetworkPolicy "+name, *pt.Port, peers)
					for _, a := range of {
						for _, b := range peers {
							reach[a.name+">"+b.name+":"+pt.Port.String()] = true
						}
					}
				}
			}
		}
	}
	want := []string{"nats>nats:cluster"}
	for _, s := range services {
		want = append(want, s+">nats:client")
	}
	if prod(overlayName) {
		want = append(want, "apply>nats:client")
	}
	slices.Sort(want)
	for what, have := range map[string]map[string]bool{"leave": reach, "enter": enter} {
		if h := slices.Sorted(maps.Keys(have)); !slices.Equal(h, want) {
			t.Errorf("connections that may %s: %v, want %v", what, h, want)
		}
	}
	for _, w := range o.workloads() {
		if pays := w.name == parser.Name || w.name == embedder.Name; (w.pod.Labels["egress"] == "internet") != pays {
			t.Errorf("%s and the internet: %v", w.name, w.pod.Labels)
		}
	}
}

// users are those of the declared services, and the people's.
var users = broker.Users(list.Declared()...)

// NATS reads its configuration, which fits the pods, the Service and the clients.
func TestNATS(t *testing.T) {
	eachOverlay(t, func(t *testing.T, name string, o overlay) {
		conf := all[*corev1.ConfigMap](o)["nats"].Data["nats.conf"]
		dir := t.TempDir()
		certificates(t, dir)
		keys, _, err := broker.Keys(filepath.Join(dir, "keys"), users)
		if err != nil {
			t.Fatal(err)
		}
		auth, err := broker.ServerAuth(users, keys)
		if err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{"nats.conf": strings.ReplaceAll(conf, "/etc/nats/", dir+"/"), "auth.conf": auth} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv("POD_NAME", "nats-0")
		opts, err := server.ProcessConfigFile(filepath.Join(dir, "nats.conf"))
		if err != nil {
			t.Fatal(err)
		}
		w := o.workloads()["nats"]
		s := all[*appsv1.StatefulSet](o)["nats"]
		if opts.ServerName != "nats-0" || int(w.port("client")) != opts.Port || int(w.port("monitor")) != opts.HTTPPort {
			t.Errorf("server %q, ports %d and %d", opts.ServerName, opts.Port, opts.HTTPPort)
		}
		stored := false
		for _, m := range w.pod.Spec.Containers[0].VolumeMounts {
			stored = stored || m.MountPath == opts.StoreDir && slices.Contains(w.claims, m.Name)
		}
		if !opts.JetStream || !stored {
			t.Errorf("JetStream keeps its files in %s, which is no claimed volume", opts.StoreDir)
		}
		c := w.pod.Spec.Containers[0]
		if grace := time.Duration(*w.pod.Spec.TerminationGracePeriodSeconds) * time.Second; opts.LameDuckDuration+opts.LameDuckGracePeriod >= grace {
			t.Errorf("a server hands over in %v, and is killed after %v", opts.LameDuckDuration+opts.LameDuckGracePeriod, grace)
		}
		told := c.Lifecycle != nil && c.Lifecycle.PreStop != nil && slices.Equal(c.Lifecycle.PreStop.Exec.Command, []string{"/nats-server", "--signal", "ldm=1"})
		if told != prod(name) || (opts.LameDuckDuration > 0) != told {
			t.Errorf("a server takes %v to hand over, and is told to: %v", opts.LameDuckDuration, told)
		}
		if p := c.StartupProbe; time.Duration(p.FailureThreshold*p.PeriodSeconds)*time.Second < 10*time.Minute {
			t.Errorf("a server that copies its streams is killed after %d times %d s", p.FailureThreshold, p.PeriodSeconds)
		}
		if (opts.TLSConfig != nil) != prod(name) || (len(opts.Routes) == 3 && opts.Cluster.Name != "" && opts.Cluster.TLSConfig != nil) != prod(name) {
			t.Errorf("TLS %v, routes %v", opts.TLSConfig != nil, opts.Routes)
		}
		if have := len(opts.Nkeys); prod(name) && have != len(users) || !prod(name) && have > 0 || len(opts.Accounts) > 0 {
			t.Errorf("%d users, and accounts %v", have, opts.Accounts)
		}
		for _, a := range strings.Split(o.config()["NATS_URL"], ",") {
			u, err := url.Parse(a)
			if err != nil || u.Port() != fmt.Sprint(opts.Port) || (u.Scheme == "tls") != (opts.TLSConfig != nil) {
				t.Errorf("clients connect to %s (%v)", a, err)
				continue
			}
			host(t, o, u.Hostname(), "nats", *s.Spec.Replicas)
		}
		for _, u := range opts.Routes {
			if u.Port() != fmt.Sprint(w.port("cluster")) || u.Port() != fmt.Sprint(opts.Cluster.Port) {
				t.Errorf("the route %s leads to no port of a server", u)
			}
			host(t, o, u.Hostname(), "nats", *s.Spec.Replicas)
		}
	})
}

// host checks a name within the namespace: a Service, or a pod of a headless one.
func host(t *testing.T, o overlay, name, service string, replicas int32) {
	t.Helper()
	if all[*corev1.Service](o)[service] == nil {
		t.Errorf("there is no Service %s", service)
	}
	if name == service {
		return
	}
	for i := range replicas {
		if name == fmt.Sprintf("%s-%d.%s", service, i, service) {
			return
		}
	}
	t.Errorf("%s is the name of nothing", name)
}

// certificates writes what the Secret nats-tls holds.
func certificates(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, DNSNames: []string{"nats"}}
	cert, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"ca.crt": {Type: "CERTIFICATE", Bytes: cert}, "tls.crt": {Type: "CERTIFICATE", Bytes: cert}, "tls.key": {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
