package deploy

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var services = []string{"parser", "chunker", "embedder", "indexer", "costd"}

// overlay is everything that an overlay creates, decoded strictly: a field that
// Kubernetes does not know is an error.
type overlay struct {
	pods     map[string]corev1.PodTemplateSpec // by workload
	replicas map[string]int32
	labels   map[string]map[string]string // selectors of workloads
	config   map[string]map[string]string // by name without its hash
	policies map[string]networkingv1.NetworkPolicy
	budgets  map[string]policyv1.PodDisruptionBudget
	scalers  map[string]autoscalingv2.HorizontalPodAutoscaler
	services map[string]corev1.Service
}

func build(t *testing.T, name string) overlay {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "k8s/overlays/"+name)
	if err != nil {
		t.Fatal(err)
	}
	o := overlay{
		map[string]corev1.PodTemplateSpec{},
		map[string]int32{},
		map[string]map[string]string{},
		map[string]map[string]string{},
		map[string]networkingv1.NetworkPolicy{},
		map[string]policyv1.PodDisruptionBudget{},
		map[string]autoscalingv2.HorizontalPodAutoscaler{},
		map[string]corev1.Service{},
	}
	hash := regexp.MustCompile(`-[a-z0-9]{10}$`)
	for _, r := range resources.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		strict := func(to any) {
			t.Helper()
			if err := yaml.UnmarshalStrict(text, to); err != nil {
				t.Errorf("%s %s: %v", r.GetKind(), r.GetName(), err)
			}
		}
		switch r.GetKind() {
		case "Namespace":
			strict(&corev1.Namespace{})
			continue
		case "Deployment":
			var d appsv1.Deployment
			strict(&d)
			o.pods[d.Name], o.replicas[d.Name], o.labels[d.Name] = d.Spec.Template, *d.Spec.Replicas, d.Spec.Selector.MatchLabels
		case "StatefulSet":
			var s appsv1.StatefulSet
			strict(&s)
			o.pods[s.Name], o.replicas[s.Name], o.labels[s.Name] = s.Spec.Template, *s.Spec.Replicas, s.Spec.Selector.MatchLabels
		case "ConfigMap":
			var c corev1.ConfigMap
			strict(&c)
			o.config[hash.ReplaceAllString(c.Name, "")] = c.Data
		case "NetworkPolicy":
			var p networkingv1.NetworkPolicy
			strict(&p)
			o.policies[p.Name] = p
		case "PodDisruptionBudget":
			var p policyv1.PodDisruptionBudget
			strict(&p)
			o.budgets[p.Name] = p
		case "HorizontalPodAutoscaler":
			var h autoscalingv2.HorizontalPodAutoscaler
			strict(&h)
			o.scalers[h.Name] = h
		case "Service":
			var s corev1.Service
			strict(&s)
			o.services[s.Name] = s
		default:
			t.Errorf("nothing here knows the kind %s", r.GetKind())
		}
		if r.GetNamespace() == "" {
			t.Errorf("%s %s is in no namespace", r.GetKind(), r.GetName())
		}
	}
	return o
}

// variables are the environment variables that the code reads.
func variables(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../docs/configuration.md") // made from the code, and checked against it
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`\b[A-Z][A-Z0-9]*(_[A-Z0-9]+)+\b`).FindAllString(string(text), -1)
}

func TestManifests(t *testing.T) {
	known := variables(t)
	if len(known) < 30 {
		t.Fatalf("only %d variables are documented", len(known))
	}
	for _, name := range []string{"dev", "prod"} {
		t.Run(name, func(t *testing.T) {
			o := build(t, name)
			var all []string
			for k := range o.pods {
				all = append(all, k)
			}
			slices.Sort(all)
			if want := slices.Sorted(slices.Values(append([]string{"nats"}, services...))); !slices.Equal(all, want) {
				t.Errorf("workloads %v, want %v", all, want)
			}
			for name, pod := range o.pods {
				checkPod(t, o, name, pod, known)
			}
			for _, k := range services {
				p, ok := o.policies[k]
				if !ok || !matches(p.Spec.PodSelector.MatchLabels, o.pods[k].Labels) || len(p.Spec.PolicyTypes) != 2 {
					t.Errorf("no network policy holds %s", k)
				}
			}
			for k, h := range o.scalers {
				if _, ok := o.pods[h.Spec.ScaleTargetRef.Name]; !ok || k == "indexer" || k == "costd" {
					t.Errorf("the autoscaler %s scales what cannot be scaled", k)
				}
			}
			for k, b := range o.budgets {
				if !matches(b.Spec.Selector.MatchLabels, o.pods[k].Labels) {
					t.Errorf("the disruption budget %s is of nobody", k)
				}
			}
			for k, v := range o.config["sluice"] {
				if !slices.Contains(known, k) {
					t.Errorf("the code does not read %s=%s", k, v)
				}
			}
			if o.replicas["indexer"] != 1 {
				t.Errorf("%d indexers write one SQLite file", o.replicas["indexer"])
			}
			if name == "prod" {
				if o.replicas["nats"] != 3 || o.config["sluice"]["SLUICE_REPLICAS"] != "3" || !strings.Contains(o.config["nats"]["nats.conf"], "cluster {") {
					t.Error("three NATS servers, a cluster, and streams of three replicas belong together")
				}
				for _, k := range []string{"parser", "chunker", "embedder"} {
					if _, ok := o.scalers[k]; !ok {
						t.Errorf("nothing scales %s", k)
					}
				}
			}
		})
	}
}

func matches(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return len(selector) > 0
}

func checkPod(t *testing.T, o overlay, name string, pod corev1.PodTemplateSpec, known []string) {
	t.Helper()
	if !matches(o.labels[name], pod.Labels) {
		t.Errorf("%s selects other pods than it makes", name)
	}
	s := pod.Spec
	if s.SecurityContext == nil || s.SecurityContext.RunAsNonRoot == nil || !*s.SecurityContext.RunAsNonRoot || s.SecurityContext.SeccompProfile == nil ||
		s.AutomountServiceAccountToken == nil || *s.AutomountServiceAccountToken || len(s.TopologySpreadConstraints) == 0 {
		t.Errorf("%s: the pod has privileges, or is not spread", name)
	}
	for _, c := range s.Containers {
		sc := c.SecurityContext
		if sc == nil || sc.ReadOnlyRootFilesystem == nil || !*sc.ReadOnlyRootFilesystem || sc.AllowPrivilegeEscalation == nil || *sc.AllowPrivilegeEscalation ||
			sc.Capabilities == nil || !slices.Contains(sc.Capabilities.Drop, "ALL") {
			t.Errorf("%s: the container has privileges", name)
		}
		if c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
			t.Errorf("%s: resources are missing", name)
		}
		if c.StartupProbe == nil || c.LivenessProbe == nil || c.ReadinessProbe == nil {
			t.Errorf("%s: a probe is missing", name)
			continue
		}
		mounts := map[string]bool{}
		for _, v := range s.Volumes {
			mounts[v.Name] = true
		}
		for _, m := range c.VolumeMounts {
			if !mounts[m.Name] && m.Name != "data" { // data is a claim
				t.Errorf("%s mounts %s, which is not there", name, m.Name)
			}
		}
		if name == "nats" {
			continue
		}
		if c.Image != "sluice-"+name {
			t.Errorf("%s runs the image %s", name, c.Image)
		}
		port := ""
		for _, p := range c.Ports {
			if p.Name == "http" && strings.HasSuffix(o.config["sluice"]["SLUICE_HTTP"], ":"+"8080") && p.ContainerPort == 8080 {
				port = p.Name
			}
		}
		if port == "" || c.LivenessProbe.HTTPGet.Path != "/healthz" || c.ReadinessProbe.HTTPGet.Path != "/readyz" || c.LivenessProbe.HTTPGet.Port.String() != port {
			t.Errorf("%s: the probes do not fit what the process serves", name)
		}
		for _, e := range c.Env {
			if !slices.Contains(known, e.Name) {
				t.Errorf("%s sets %s, which the code does not read", name, e.Name)
			}
			if strings.HasSuffix(e.Name, "_KEY") && (e.Value != "" || e.ValueFrom == nil || e.ValueFrom.SecretKeyRef == nil) {
				t.Errorf("%s: %s is not from a secret", name, e.Name)
			}
		}
		grace, err := time.ParseDuration(o.config["sluice"]["SLUICE_GRACE"])
		if err != nil || s.TerminationGracePeriodSeconds == nil || time.Duration(*s.TerminationGracePeriodSeconds)*time.Second <= grace+5*time.Second {
			t.Errorf("%s: the pod is killed before its drain of %v ends (%v)", name, grace, err)
		}
	}
}

// The Dockerfile builds every service that there is, and nothing else by name.
func TestDockerfile(t *testing.T) {
	text, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ARG SERVICE", "CGO_ENABLED=0", "GOWORK=off", "-trimpath", "FROM scratch", "USER 65532:65532"} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("the Dockerfile lacks %q", want)
		}
	}
	for _, s := range services {
		if _, err := os.Stat("../services/" + s + "/cmd/" + s + "/main.go"); err != nil {
			t.Error(err)
		}
		if !bytes.Contains(text, []byte(s)) {
			t.Errorf("the Dockerfile does not name %s", s)
		}
	}
}
