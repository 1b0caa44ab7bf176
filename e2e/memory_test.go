package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/events"
	"sluice/services/parser/local"
)

// manifest returns the memory limit and the environment that the manifests give a stage.
func manifest(t *testing.T, stage string) (limit int64, env map[string]string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "deploy", "k8s", "base", stage+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`limits: \{memory: (\d+)(Mi|Gi)\}`).FindSubmatch(data)
	if m == nil {
		t.Fatalf("%s has no memory limit", stage)
	}
	if limit, err = strconv.ParseInt(string(m[1]), 10, 64); err != nil {
		t.Fatal(err)
	}
	limit <<= map[string]int{"Mi": 20, "Gi": 30}[string(m[2])]
	env = make(map[string]string)
	for _, m := range regexp.MustCompile(`\{name: (\w+), value: "([^"]*)"\}`).FindAllSubmatch(data, -1) {
		env[string(m[1])] = string(m[2])
	}
	return limit, env
}

// The chunker's memory stays within the limit of its manifest, with the settings
// there, when all of its workers have the largest document that a parser lets
// through.
func TestTheLargestDocumentsFitTheChunker(t *testing.T) {
	limit, env := manifest(t, "chunker")
	for name, value := range env {
		t.Setenv(name, value)
	}
	workers, err := strconv.Atoi(env["SLUICE_CHUNKER_WORKERS"])
	if err != nil {
		t.Fatalf("the manifest does not say how many workers there are: %v", err)
	}
	w := &world{t: t, dir: t.TempDir()}
	w.open()
	w.connect()
	p := w.spawn("chunker", "chunker")
	var blobs jetstream.ObjectStore
	w.eventually(time.Minute, "the chunker has made what it uses", func() (err error) {
		blobs, err = w.js.ObjectStore(t.Context(), events.StoreBlobs)
		return err
	})
	w.eventually(time.Minute, "there is a stream to publish to", func() error {
		_, err := w.js.Stream(t.Context(), events.StreamParsed)
		return err
	})
	told, err := w.nc.SubscribeSync("docs.event.>")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := w.js.Stream(t.Context(), events.StreamParsed)
	if err != nil {
		t.Fatal(err)
	}
	for n := range workers {
		d := events.Parsed{V: events.Version, Markdown: largest(uint64(n)), About: events.About{
			Document: events.DocumentID("acme", fmt.Sprint("large ", n)), Revision: 2, Tenant: "acme", Fingerprint: "f", ContentHash: "h", Submitted: time.Unix(0, 0).UTC(),
		}}
		name := fmt.Sprint("body-", n)
		if _, err := blobs.PutBytes(t.Context(), name, events.Encode(d)); err != nil {
			t.Fatal(err)
		}
		msg := nats.NewMsg(events.SubjectParsed)
		msg.Header.Set(events.HeaderDocumentID, d.Document)
		msg.Header.Set(events.HeaderRevision, d.Revision.String())
		msg.Header.Set(events.HeaderTenant, d.Tenant)
		msg.Header.Set(events.HeaderBlob, name)
		w.publish(msg)
	}
	w.eventually(5*time.Minute, "all are cut", func() error {
		for {
			msg, err := told.NextMsg(10 * time.Millisecond)
			if errors.Is(err, nats.ErrTimeout) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Fatalf("%s: %s", msg.Subject, msg.Data) // it fails, or is tried again
		}
		info, err := parsed.Info(t.Context())
		if err == nil && info.State.Msgs > 0 {
			err = fmt.Errorf("%d documents to go", info.State.Msgs)
		}
		return err
	})
	used, err := peak(p.pid())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d workers with a document of %d MiB each used %d of %d MiB", workers, local.DefaultConfig().MaxOutput>>20, used>>20, limit>>20)
	if used > limit {
		t.Errorf("%d workers used %d MiB, the manifest allows %d", workers, used>>20, limit>>20)
	}
}

// largest is Markdown of the size that a parser's output may have: prose and tables.
func largest(seed uint64) string {
	r := rand.New(rand.NewPCG(seed, 4))
	var b strings.Builder
	most := int(local.DefaultConfig().MaxOutput)
	b.Grow(most)
	for n := 0; b.Len() < most-4096; n++ {
		fmt.Fprintf(&b, "## Section %d\n\n", n)
		for range 10 {
			fmt.Fprintf(&b, "The keeper \"%x\" opens gate %d at noon, and all that was said in meeting %d is written down. ", r.Uint32(), r.IntN(1000), n)
		}
		b.WriteString("\n\n| Article | Hall |\n| --- | --- |\n")
		for range 12 {
			fmt.Fprintf(&b, "| bolt-%d | Hall %d |\n", r.IntN(1000), r.IntN(9))
		}
		b.WriteByte('\n')
	}
	return b.String()
}
