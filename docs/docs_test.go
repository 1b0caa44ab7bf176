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

var link = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	adrs, err := filepath.Glob("adr/*.md")
	if err != nil {
		t.Fatal(err)
	}
	pages = append(append(pages, adrs...), "../README.md", "../CONTRIBUTING.md", "../CHANGELOG.md")
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(string(text), ""), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
			}
		}
	}
}
