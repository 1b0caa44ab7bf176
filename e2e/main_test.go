package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// bin holds the binaries under test.
var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sluice-e2e-")
	if err == nil {
		err = build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "building what is tested:", err)
		os.Exit(1)
	}
	bin = dir
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(code)
	}))
}

// build makes the stages as they are shipped, a nats-server to kill, and the
// stock nats CLI at the version that tools/go.mod pins.
func build(dir string) error {
	type target struct{ module, pkg, name string }
	targets := []target{
		{"../services/parser", "./cmd/parser", "parser"},
		{"../services/chunker", "./cmd/chunker", "chunker"},
		{"../services/embedder", "./cmd/embedder", "embedder"},
		{"../services/indexer", "./cmd/indexer", "indexer"},
		{"../services/costd", "./cmd/costd", "costd"},
		{"../cmd/sluice", ".", "sluice"},
		{"../examples/stage", ".", "redactor"},
		{".", "./natsserver", "natsserver"},
		{"tools", "github.com/nats-io/natscli/nats", "nats"},
	}
	errs := make([]error, len(targets))
	var wg sync.WaitGroup
	slots := make(chan struct{}, 2) // each build is parallel in itself
	for i, t := range targets {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			cmd := exec.Command("go", "build", "-o", filepath.Join(dir, t.name), t.pkg)
			cmd.Dir = t.module
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if t.module == "tools" || t.module == "../examples/stage" { // outside the workspace
				cmd.Env = append(cmd.Env, "GOWORK=off")
			}
			if out, err := cmd.CombinedOutput(); err != nil {
				errs[i] = fmt.Errorf("%s: %w\n%s", t.name, err, out)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
