package costd_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// edit replaces a piece of a source file.
type edit struct{ file, from, to string }

// The tests of the budget are worth something if they fail when the protocol is
// broken. Each mutant breaks one rule of it, in a copy that only the compiler
// sees, and the test named has to notice. The last one breaks the election of a
// leader alone, and nothing may notice: the fence suffices.
func TestTheTestsNotice(t *testing.T) {
	const (
		admit  = "../../pkg/budget/admit.go"
		lease  = "../../pkg/budget/lease.go"
		lead   = "lead.go"
		commit = "commit.go"
		books  = "ledger/ledger.go"
	)
	alone := edit{lead, "func (g *Grantor) takeLead() (uint64, bool) {\n", "func (g *Grantor) takeLead() (uint64, bool) {\n\tif r, err := g.kv.PutString(g.ctx, leaderKey+g.cfg.Name, \"\"); err == nil {\n\t\treturn r, true\n\t}\n"}
	beats := edit{lead, "err == nil && e.Revision() != revision", "false"}
	gone := edit{lead, "case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrBucketNotFound):", "case false:"}
	for _, m := range []struct {
		name, in, run string
		edits         []edit
		survives      bool
		count         string
	}{
		{"no fence", ".", "TestTwoGrantors", []edit{alone, beats, gone, {commit, `		m.Header.Set("Nats-Expected-Last-Subject-Sequence", fmt.Sprint(revision))` + "\n", "		_ = fmt.Sprint(revision)\n"}}, false, "30"},
		{"unknown outcomes are refunded", ".", "TestUnknownOutcomesCountAsSpent", []edit{{admit, "t.Settle(t.Estimate.Nano) }", "t.Settle(0) }"}}, false, "1"},
		{
			"a new number after a time-out", ".", "TestALostAnswerIsGivenAgain",
			[]edit{{lease, "		case <-time.After(wait):\n		}\n", `		case <-time.After(wait):
		}
		g.mu.Lock()
		l.n++
		g.mu.Unlock()
		r.N++
`}},
			false, "1",
		},
		{"early reclaim", ".", "TestALeaseInUseIsNotReclaimed", []edit{{books, "l.Expires = now.Add(t.TTL + t.Margin + call)", "l.Expires = now.Add(-call)"}}, false, "1"},
		{"what is reclaimed is free", "./ledger", ".", []edit{{books, "		a.settle(c.Out)\n", ""}}, false, "1"},
		{"what is out is not counted", "./ledger", ".", []edit{{books, "a.move(keep, keep.Plus(answer.Granted))", "a.move(keep, keep)"}}, false, "1"},
		{"all lead at once", ".", "TestTwoGrantors", []edit{alone, beats, gone}, true, "3"},
	} {
		t.Run(m.name, func(t *testing.T) {
			dir := t.TempDir()
			overlay := struct{ Replace map[string]string }{map[string]string{}}
			for _, e := range m.edits {
				path, err := filepath.Abs(e.file)
				if err != nil {
					t.Fatal(err)
				}
				source := path
				if done, ok := overlay.Replace[path]; ok {
					source = done
				}
				text, err := os.ReadFile(source)
				if err != nil {
					t.Fatal(err)
				}
				if strings.Count(string(text), e.from) != 1 {
					t.Fatalf("%s has this %d times, want 1:\n%s", e.file, strings.Count(string(text), e.from), e.from)
				}
				copied := filepath.Join(dir, filepath.Base(path))
				if err := os.WriteFile(copied, []byte(strings.Replace(string(text), e.from, e.to, 1)), 0o600); err != nil {
					t.Fatal(err)
				}
				overlay.Replace[path] = copied
			}
			list := filepath.Join(dir, "overlay.json")
			text, err := json.Marshal(overlay)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(list, text, 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			mutated := exec.CommandContext(ctx, "go", "test", "-overlay", list, "-count", m.count, "-failfast", "-timeout", "150s", "-run", m.run, m.in)
			if !m.survives { // what it waits for may never come
				mutated.Env = append(os.Environ(), "SLUICE_TEST_PATIENCE=1m")
			}
			out, err := mutated.CombinedOutput()
			switch {
			case strings.Contains(string(out), "[build failed]") || strings.Contains(string(out), "no tests to run"):
				t.Fatalf("the mutant is no program:\n%s", out)
			case m.survives && err != nil:
				t.Errorf("it should be harmless: %v\n%s", err, out)
			case !m.survives && err == nil:
				t.Errorf("no test notices:\n%s", out)
			case !m.survives && !strings.Contains(string(out), "--- FAIL"):
				t.Errorf("it ended otherwise than by a test: %v\n%.2000s", err, out)
			}
		})
	}
}
