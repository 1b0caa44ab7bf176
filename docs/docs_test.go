package docs

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"go.uber.org/goleak"

	"sluice/pkg/stage"
	"sluice/services/chunker"
	"sluice/services/costd"
	"sluice/services/embedder"
	"sluice/services/indexer"
	"sluice/services/parser"
	"sluice/services/parser/local"
)

var update = flag.Bool("update", false, "rewrite what is generated")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const intro = `# Configuration

Every option is a flag and an environment variable; a flag wins. Sizes are in bytes, times as in ` + "`1m30s`" + `. Each binary has a
` + "`--help`" + `. ` + "`sluice up` and `sluice run`" + ` take the options of all stages. This page is generated: ` + "`go test ./docs -update`" + `.
`

func TestTheConfigurationReference(t *testing.T) {
	var b strings.Builder
	b.WriteString(intro)
	for _, s := range []struct {
		title, text string
		config      any
	}{
		{"Every stage", "", &stage.Common{}},
		{"Parser", "The stage:", &parser.Config{}},
		{"Parser: local formats", "Limits on one document. What exceeds one is refused, by name:", &local.Config{}},
		{"Chunker", "Changing any of these changes the fingerprint: documents submitted again are then processed again.", &chunker.Config{}},
		{"Chunker: routing", "", &chunker.Routing{}},
		{"Embedder", "", &embedder.Config{}},
		{"Costd", "", &costd.Config{}},
		{"Indexer", "", &indexer.Config{}},
	} {
		k, err := kong.New(s.config, kong.NoDefaultHelp())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "\n## %s\n\n", s.title)
		if s.text != "" {
			fmt.Fprintf(&b, "%s\n\n", s.text)
		}
		b.WriteString("| flag | environment | default | meaning |\n|---|---|---|---|\n")
		for _, f := range k.Model.Flags {
			env := ""
			if len(f.Envs) > 0 {
				env = "`" + strings.Join(f.Envs, "`, `") + "`"
			} else {
				t.Errorf("--%s has no environment variable", f.Name)
			}
			def := ""
			if f.Default != "" {
				def = "`" + f.Default + "`"
			}
			help := strings.ReplaceAll(f.Help, "${enum}", strings.ReplaceAll(f.Enum, ",", ", "))
			if help == "" {
				t.Errorf("--%s has no help", f.Name)
			}
			fmt.Fprintf(&b, "| `--%s` | %s | %s | %s |\n", f.Name, env, def, help)
		}
	}
	const page = "configuration.md"
	if *update {
		if err := os.WriteFile(page, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(page)
	if err != nil || string(have) != b.String() {
		t.Errorf("%s is not what the code reads (%v): go test ./docs -update", page, err)
	}
}

var fenced = regexp.MustCompile("(?s)\n```.*?\n```")

var (
	link    = regexp.MustCompile(`\]\(([^)#:]*)(#[^)]*)?\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	dropped = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// headings returns the anchors of a page, as its renderers derive them.
func headings(page string) (map[string]bool, error) {
	text, err := os.ReadFile(page)
	if err != nil {
		return nil, err
	}
	anchors := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(string(text), ""), -1) {
		anchors["#"+strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	return anchors, nil
}

func TestLinksLeadSomewhere(t *testing.T) {
	var pages []string
	for _, pattern := range []string{"*.md", "adr/*.md", "../*.md", "../deploy/k8s/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatal(pattern, err)
		}
		pages = append(pages, found...)
	}
	anchored := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(string(text), ""), -1) {
			to := page
			if m[1] != "" {
				to = filepath.Join(filepath.Dir(page), m[1])
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
				continue
			}
			if m[2] == "" || filepath.Ext(to) != ".md" {
				continue
			}
			anchored++
			if there, err := headings(to); err != nil || !there[m[2]] {
				t.Errorf("%s links to %s%s, and there is no such heading (%v)", page, m[1], m[2], err)
			}
		}
	}
	if anchored < 10 {
		t.Errorf("only %d links lead to a heading", anchored)
	}
}
