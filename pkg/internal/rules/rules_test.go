package rules

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const root = "../../.."

// file is one Go source file of the tree.
type file struct {
	path    string // slash-separated, from the root
	imports []string
	doc     bool
	pkg     string
}

func (f file) test() bool { return strings.HasSuffix(f.path, "_test.go") }

func (f file) dir() string { return filepath.ToSlash(filepath.Dir(f.path)) }

func sources(t *testing.T) []file {
	t.Helper()
	var all []file
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if n := d.Name(); path != root && (strings.HasPrefix(n, ".") || n == "testdata" || n == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		s := file{path: filepath.ToSlash(rel), doc: f.Doc != nil, pkg: f.Name.Name}
		for _, i := range f.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			s.imports = append(s.imports, p)
		}
		all = append(all, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("only %d files found under %s", len(all), root)
	}
	return all
}

func under(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

func TestWhoImportsWhom(t *testing.T) {
	for _, f := range sources(t) {
		for _, i := range f.imports {
			external := strings.Contains(strings.SplitN(i, "/", 2)[0], ".")
			switch {
			case f.test():
			case under(f.path, "pkg/fault") && (external || under(i, "sluice")),
				under(f.path, "pkg/events") && (external && i != "github.com/go-json-experiment/json/v1" || under(i, "sluice") && i != "sluice/pkg/fault"):
				t.Errorf("%s imports %s: the vocabulary needs the standard library and a codec of JSON", f.path, i)
			case under(f.path, "pkg") && (under(i, "sluice/services") || under(i, "sluice/cmd")):
				t.Errorf("%s imports %s: pkg is below the services", f.path, i)
			case under(i, "github.com/nats-io/nats-server") && f.dir() != "pkg/broker/embedded" && !under(f.path, "e2e"):
				t.Errorf("%s imports %s: only the embedded broker links the server", f.path, i)
			case i == "sluice/pkg/broker/embedded" && !under(f.path, "cmd/sluice") && f.dir() != "pkg/natstest" && !under(f.path, "e2e"):
				t.Errorf("%s imports %s: a stage does not carry a server", f.path, i)
			case i == "sluice/pkg/natstest", strings.HasSuffix(i, "/pgtest"):
				t.Errorf("%s imports %s: it is for tests", f.path, i)
			case under(f.path, "services") && (under(i, "sluice/services") || under(i, "sluice/cmd")):
				own := strings.Join(strings.SplitN(f.path, "/", 3)[:2], "/")
				if !under(i, "sluice/"+own) {
					t.Errorf("%s imports %s: a service imports no other service", f.path, i)
				}
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	documented := map[string]bool{}
	for _, f := range sources(t) {
		if !f.test() {
			documented[f.dir()] = documented[f.dir()] || f.doc
		}
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s has no package comment", dir)
		}
	}
}

func TestEveryPackageWithTestsLooksForLeaks(t *testing.T) {
	leaks := map[string]bool{}
	for _, f := range sources(t) {
		if f.test() {
			leaks[f.dir()] = leaks[f.dir()] || strings.Contains(strings.Join(f.imports, " "), "go.uber.org/goleak")
		}
	}
	for dir, ok := range leaks {
		if !ok && dir != "bench" && dir != "e2e" { // those run processes and benchmarks
			t.Errorf("%s has tests and no goleak", dir)
		}
	}
}

func TestEveryServiceIsComplete(t *testing.T) {
	work, err := os.ReadFile(filepath.Join(root, "go.work"))
	if err != nil {
		t.Fatal(err)
	}
	services, err := os.ReadDir(filepath.Join(root, "services"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range services {
		if !strings.Contains(string(work), "./services/"+s.Name()+"\n") {
			t.Errorf("services/%s is not in go.work", s.Name())
		}
		if _, err := os.Stat(filepath.Join(root, "services", s.Name(), "cmd", s.Name(), "main.go")); err != nil {
			t.Errorf("services/%s has no binary of its name: %v", s.Name(), err)
		}
	}
}

// Money is spent behind the budget's guard: whoever makes a paid client has to put
// it there, in the one place that may make it.
func TestPaidClientsAreMadeBehindTheGuard(t *testing.T) {
	for _, paid := range []struct{ client, made, allowed, guard string }{
		{"services/embedder/openai", "openai.New(", "services/embedder/provider.go", "budget.Embedder(gate, Name, p)"},
		{"services/parser/llamaparse", "llamaparse.New(", "services/parser/provider.go", "budget.Parser(gate, Name, router.Jobs(c, client), records,"},
	} {
		seen := 0
		for _, f := range sources(t) {
			if f.test() || under(f.dir(), paid.client) || under(f.dir(), "pkg/fake") {
				continue
			}
			imports := false
			for _, i := range f.imports {
				imports = imports || i == "sluice/"+paid.client
			}
			if !imports {
				continue
			}
			text, err := os.ReadFile(filepath.Join(root, f.path))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(text), paid.made) {
				continue
			}
			seen++
			if f.path != paid.allowed {
				t.Errorf("%s makes a paid client; only %s may", f.path, paid.allowed)
			}
			if !strings.Contains(string(text), paid.guard) {
				t.Errorf("%s makes a paid client without the guard", f.path)
			}
		}
		if seen != 1 {
			t.Errorf("%d places make clients of %s, want 1", seen, paid.client)
		}
	}
}
