package bench

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"sluice/pkg/events"
)

// BenchmarkProcesses is BenchmarkPipeline with each stage a process of its own,
// built as it is shipped, and the nats-server in this one.
func BenchmarkProcesses(b *testing.B) {
	docs := Corpus(documents)
	bin := b.TempDir()
	for _, s := range []string{"parser", "chunker", "embedder", "indexer"} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(bin, s), "sluice/services/"+s+"/cmd/"+s)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
	}
	for b.Loop() {
		nc, js := start(b)
		run := map[string]*exec.Cmd{}
		for _, s := range []string{"indexer", "embedder", "chunker", "parser"} {
			cmd := exec.Command(filepath.Join(bin, s), "--log-level", "warn")
			cmd.Env = append(os.Environ(), "NATS_URL="+nc.ConnectedUrl(),
				"SLUICE_EMBEDDER=mock", "SLUICE_INDEX="+filepath.Join(b.TempDir(), "index.db"))
			cmd.Stderr = os.Stderr
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = cmd.Process.Kill() })
			run[s] = cmd
		}
		// They are up when the last one of them has made its consumer.
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			if _, err := js.Consumer(b.Context(), events.StreamDocuments, "parser"); err == nil {
				break
			}
			if time.Now().After(deadline) {
				b.Fatal("the stages do not start")
			}
		}
		done, chunks := completion(b, nc, len(docs))
		began, used := time.Now(), cpu()
		submit(b, js, docs)
		select {
		case <-done:
		case <-time.After(5 * time.Minute):
			b.Fatal("the pipeline takes too long")
		}
		wall := time.Since(began)
		total := cpu() - used
		for _, s := range []string{"parser", "chunker", "embedder", "indexer"} {
			cmd := run[s]
			b.ReportMetric(peak(strconv.Itoa(cmd.Process.Pid))/1e6, s+"-MB")
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				b.Error(err)
			}
			if err := cmd.Wait(); err != nil {
				b.Errorf("%s: %v", s, err)
			}
			total += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime() // start and stop included
		}
		report(b, docs, chunks(), wall, total)
	}
}
