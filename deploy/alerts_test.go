package deploy

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// Every alert is about metrics that the code has, and has a page that says what
// to do.
func TestAlerts(t *testing.T) {
	text, err := os.ReadFile("alerts/sluice.rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []struct {
				Alert       string            `json:"alert"`
				Expr        string            `json:"expr"`
				For         string            `json:"for"`
				Labels      map[string]string `json:"labels"`
				Annotations map[string]string `json:"annotations"`
			} `json:"rules"`
		} `json:"groups"`
	}
	if err := yaml.UnmarshalStrict(text, &rules); err != nil {
		t.Fatal(err)
	}
	pages, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	metrics := map[string]bool{}
	named := regexp.MustCompile(`"(sluice_[a-z_]+)"`)
	err = filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range named.FindAllStringSubmatch(string(source), -1) {
			metrics[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	used := regexp.MustCompile(`sluice_[a-z_]+`)
	seen := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			seen++
			names := used.FindAllString(r.Expr, -1)
			if r.Alert == "" || len(names) == 0 || r.Annotations["summary"] == "" || (r.Labels["severity"] != "page" && r.Labels["severity"] != "ticket") {
				t.Errorf("the alert %q is incomplete", r.Alert)
			}
			for _, n := range names {
				if !metrics[n] {
					t.Errorf("%s: nothing has the metric %s", r.Alert, n)
				}
			}
			if !strings.Contains(string(pages), "`"+r.Alert+"`") {
				t.Errorf("no page of docs/operations.md is about %s", r.Alert)
			}
		}
	}
	if seen < 8 {
		t.Errorf("only %d alerts", seen)
	}
}
