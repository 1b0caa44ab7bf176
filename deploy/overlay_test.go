package deploy

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	keda "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"go.uber.org/goleak"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	list "sluice/cmd/sluice/services"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// services are the stages' binaries: one manifest each.
var services = list.Names()

// overlays are what somebody may apply: those that are there, and production with
// every component that is optional.
var overlays = []string{"dev", "prod", "prod-hpa", "prod+llamaparse"}

// types are the kinds that the manifests may use, each with the type that its own
// project publishes.
var types = map[string]func() any{
	"v1 Namespace":                            func() any { return &corev1.Namespace{} },
	"v1 ConfigMap":                            func() any { return &corev1.ConfigMap{} },
	"v1 Service":                              func() any { return &corev1.Service{} },
	"apps/v1 Deployment":                      func() any { return &appsv1.Deployment{} },
	"apps/v1 StatefulSet":                     func() any { return &appsv1.StatefulSet{} },
	"batch/v1 Job":                            func() any { return &batchv1.Job{} },
	"policy/v1 PodDisruptionBudget":           func() any { return &policyv1.PodDisruptionBudget{} },
	"networking.k8s.io/v1 NetworkPolicy":      func() any { return &networkingv1.NetworkPolicy{} },
	"autoscaling/v2 HorizontalPodAutoscaler":  func() any { return &autoscalingv2.HorizontalPodAutoscaler{} },
	"keda.sh/v1alpha1 ScaledObject":           func() any { return &keda.ScaledObject{} },
	"monitoring.coreos.com/v1 PodMonitor":     func() any { return &monitoring.PodMonitor{} },
	"monitoring.coreos.com/v1 PrometheusRule": func() any { return &monitoring.PrometheusRule{} },
}

// overlay is everything that an overlay creates.
type overlay struct {
	namespace string
	objects   []any
}

// all returns the objects of a type by name; the hash that kustomize adds to the
// name of a ConfigMap is cut off.
func all[T metav1.Object](o overlay) map[string]T {
	found := map[string]T{}
	for _, x := range o.objects {
		if v, ok := x.(T); ok {
			found[hash.ReplaceAllString(v.GetName(), "")] = v
		}
	}
	return found
}

var hash = regexp.MustCompile(`-[a-z0-9]{10}$`)

// build builds an overlay and decodes it strictly: a field that its type does
// not have is an error. "prod+x" is the overlay prod with the component x.
func build(t *testing.T, name string) overlay {
	t.Helper()
	base, extra, _ := strings.Cut(name, "+")
	dir := filepath.Join("k8s", "overlays", base)
	if extra != "" {
		root, err := filepath.Abs("k8s")
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(t.TempDir(), "overlay")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if dir, err = filepath.EvalSymlinks(dir); err != nil {
			t.Fatal(err)
		}
		if root, err = filepath.EvalSymlinks(root); err != nil {
			t.Fatal(err)
		}
		up, err := filepath.Rel(dir, root)
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: sluice\nresources: [%s/overlays/%s]\ncomponents: [%s/components/%s]\n", up, base, up, extra)
		if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var o overlay
	for _, r := range resources.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		make, ok := types[r.GetApiVersion()+" "+r.GetKind()]
		if !ok {
			t.Errorf("nothing here knows %s %s", r.GetApiVersion(), r.GetKind())
			continue
		}
		object := make()
		if err := yaml.UnmarshalStrict(text, object); err != nil {
			t.Errorf("%s %s: %v", r.GetKind(), r.GetName(), err)
		}
		o.objects = append(o.objects, object)
		switch ns := r.GetNamespace(); {
		case r.GetKind() == "Namespace":
		case ns == "":
			t.Errorf("%s %s is in no namespace", r.GetKind(), r.GetName())
		case o.namespace != "" && o.namespace != ns:
			t.Errorf("%s %s is in %s, and others are in %s", r.GetKind(), r.GetName(), ns, o.namespace)
		default:
			o.namespace = ns
		}
	}
	return o
}

// workload is what makes pods.
type workload struct {
	name, kind string
	replicas   *int32
	selector   map[string]string
	pod        corev1.PodTemplateSpec
	claims     []string // names of volumes that are claimed
}

// workloads returns what makes pods, by name; a Job has no selector.
func (o overlay) workloads() map[string]workload {
	found := map[string]workload{}
	for name, d := range all[*appsv1.Deployment](o) {
		found[name] = workload{name, "Deployment", d.Spec.Replicas, d.Spec.Selector.MatchLabels, d.Spec.Template, nil}
	}
	for name, s := range all[*appsv1.StatefulSet](o) {
		w := workload{name, "StatefulSet", s.Spec.Replicas, s.Spec.Selector.MatchLabels, s.Spec.Template, nil}
		for _, c := range s.Spec.VolumeClaimTemplates {
			w.claims = append(w.claims, c.Name)
		}
		found[name] = w
	}
	for name, j := range all[*batchv1.Job](o) {
		found[name] = workload{name, "Job", nil, nil, j.Spec.Template, nil}
	}
	return found
}

// config is the ConfigMap that every stage's environment comes from.
func (o overlay) config() map[string]string {
	if c := all[*corev1.ConfigMap](o)["sluice"]; c != nil {
		return c.Data
	}
	return nil
}

// selected returns the workloads whose pods a selector selects.
func (o overlay) selected(t *testing.T, s *metav1.LabelSelector) []workload {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Error(err)
		return nil
	}
	var found []workload
	workloads := o.workloads()
	for _, name := range slices.Sorted(maps.Keys(workloads)) {
		if selector.Matches(set(workloads[name].pod.Labels)) {
			found = append(found, workloads[name])
		}
	}
	return found
}

// set is labels.Set without its package's weight.
type set map[string]string

func (s set) Has(k string) bool              { _, ok := s[k]; return ok }
func (s set) Get(k string) string            { return s[k] }
func (s set) Lookup(k string) (string, bool) { v, ok := s[k]; return v, ok }

// port returns the number of a pod's named port.
func (w workload) port(name string) int32 {
	for _, c := range w.pod.Spec.Containers {
		for _, p := range c.Ports {
			if p.Name == name {
				return p.ContainerPort
			}
		}
	}
	return 0
}
