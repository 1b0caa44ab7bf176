package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"sluice/cmd/sluice/services"
	"sluice/pkg/broker"
	"sluice/pkg/events"
	llama "sluice/pkg/fake/llamaparse"
	fake "sluice/pkg/fake/openai"
	"sluice/pkg/natstest"
)

var httpAddress = regexp.MustCompile(`"http":"([^"]+)"`)

// Secrets are marked and taken through failures, at the level debug: keys that are
// refused, a database and servers that do not answer, a login that is wrong. The
// marks are in nothing that comes out: logs, events, dead letters, states, usage,
// health, metrics, and what 'nats micro' is told.
func TestSecretsStayInside(t *testing.T) {
	t.Parallel()
	const mark, submitters = "mArKeD5ecret", "mArKeDbySubmitter"
	marked := func(name string) string { return name + "-" + mark + "-0123456789" }
	embeddings, err := fake.New(fake.Config{Keys: []string{"another"}})
	if err != nil {
		t.Fatal(err)
	}
	parses := llama.New(llama.Config{Keys: map[string]string{"another": "na"}})
	urls := map[string]string{"openai": natstest.Serve(t, embeddings), "llamaparse": natstest.Serve(t, parses)}
	// A key is in no URL, but somebody will put one there.
	withUser := func(url, name string) string { return strings.Replace(url, "://", "://user:"+marked(name)+"@", 1) }
	w := newWorld(t, setup{
		nodes: 1, costd: true,
		args: map[string][]string{
			"parser": {
				"--log-level", "debug", "--parser", "llamaparse", "--llamaparse-base-url", urls["llamaparse"], "--llamaparse-key", marked("llx"),
				"--llamaparse-webhook-url", "https://hooks.example.org/sluice", "--llamaparse-webhook-listen", "127.0.0.1:0", "--llamaparse-webhook-secret", marked("hook"),
			},
			"chunker":  {"--log-level", "debug"},
			"embedder": {"--log-level", "debug", "--embedder", "openai", "--embedding-base-url", urls["openai"] + "/v1", "--embedding-key", marked("sk")},
			"indexer":  {"--log-level", "debug"},
			"costd":    {"--log-level", "debug", "--budget-day", "5.00"},
		},
	})
	// The parser's and the embedder's key are refused; a document is refused; a
	// reference with a password in it leads nowhere.
	w.submit("held.md", []byte("# Held\n\nBecause the key is refused."))
	pdf, err := os.ReadFile("../examples/documents/gate-inspection.pdf")
	if err != nil {
		t.Fatal(err)
	}
	w.submit("held.pdf", pdf)
	empty := w.submit("empty.md", nil)
	ref := nats.NewMsg(events.SubjectURI)
	ref.Data = events.Encode(events.Reference{URI: "https://user:" + submitters + "@127.0.0.1:1/x.md", Name: "reference.md"})
	refused := submission{Name: "reference.md", Document: events.DocumentID(events.DefaultTenant, "reference.md"), Sequence: w.publish(ref)}
	w.settle(60*time.Second, empty, refused)
	w.eventually(30*time.Second, "the keys are refused", func() error {
		for _, name := range []string{"parser", "embedder"} {
			text, err := os.ReadFile(w.stage[name][0].log)
			if err != nil {
				return err
			}
			if !bytes.Contains(text, []byte(`"class":"halt"`)) {
				return fmt.Errorf("the %s is not halted", name)
			}
		}
		return nil
	})

	// Starts that fail.
	dir := t.TempDir()
	creds := filepath.Join(dir, "user.creds")
	if err := os.WriteFile(creds, []byte("-----BEGIN NATS USER JWT-----\n"+marked("jwt")+"\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\nSU"+marked("seed")+"\n------END USER NKEY SEED------\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	login := w.login("indexer")
	as := []string{"--log-level", "debug", "--log-format", "json", "--topology", "bind", "--nats-url", w.url, "--nats-nkey", login.NKey, "--nats-ca", login.CA, "--nats-inbox-prefix", login.InboxPrefix}
	ca := w.login(broker.UserOperator).CA
	for name, args := range map[string][]string{
		"indexer-dsn":   append(as, "--index", "postgres://user:"+marked("dsn")+"@127.0.0.1:1/sluice?sslmode=disable"),
		"chunker-login": {"--log-level", "debug", "--log-format", "json", "--nats-url", withUser(w.url, "nats"), "--nats-ca", ca},
		"chunker-creds": {"--log-level", "debug", "--log-format", "json", "--nats-url", w.url, "--nats-ca", ca, "--nats-creds", creds},
		"chunker-seed":  {"--log-level", "debug", "--log-format", "json", "--nats-url", w.url, "--nats-ca", ca, "--nats-nkey", creds},
		"chunker-url":   {"--log-level", "debug", "--log-format", "json", "--nats-url", "nats://user:" + marked("url") + "%zz@127.0.0.1:4222"},
		"parser-hook":   {"--log-level", "debug", "--log-format", "json", "--llamaparse-price", "no price", "--parser", "llamaparse", "--llamaparse-key", marked("llx"), "--nats-url", "nats://" + marked("token") + "@127.0.0.1:1"},
		"embedder-base": {"--log-level", "debug", "--log-format", "json", "--embedder", "openai", "--embedding-base-url", withUser("https://127.0.0.1:1/v1", "base"), "--embedding-key", marked("sk"), "--nats-url", withUser("nats://127.0.0.1:1", "nats")},
	} {
		binary, _, _ := strings.Cut(name, "-")
		p := spawn(t, w.dir, binary, name, args...)
		w.eventually(20*time.Second, name+" has said something", func() error {
			if text, err := os.ReadFile(p.log); err != nil || !bytes.Contains(text, []byte("\n")) {
				return fmt.Errorf("nothing yet (%v)", err)
			}
			return nil
		})
		// Some wait for a server for ever, and some have ended.
		w.eventually(10*time.Second, name+" has tried", func() error {
			if text, err := os.ReadFile(p.log); p.alive() && (err != nil || !bytes.Contains(text, []byte(`"message":"starting"`))) {
				return fmt.Errorf("it has not begun")
			}
			return nil
		})
		p.kill()
	}

	// Everything that came out.
	out := map[string][]byte{}
	for _, replicas := range w.stage {
		for _, p := range replicas {
			text, err := os.ReadFile(p.log)
			if err != nil {
				t.Fatal(err)
			}
			at := httpAddress.FindSubmatch(text)
			if at == nil {
				t.Fatalf("the log of %s names no address", p.name)
			}
			if !strings.HasPrefix(string(at[1]), "127.0.0.1:") {
				t.Errorf("%s listens on %s without having been told to", p.name, at[1])
			}
			for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
				resp, err := http.Get("http://" + string(at[1]) + path)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				if cerr := resp.Body.Close(); err != nil || cerr != nil || len(body) == 0 {
					t.Fatalf("%s%s: %q, %v, %v", p.name, path, body, err, cerr)
				}
				out[p.name+path] = body
			}
		}
	}
	for _, stream := range []string{events.StreamEvents, events.StreamDeadLetter, events.StreamCosts, "KV_documents", "KV_pipeline", "KV_budget", "KV_retries"} {
		for _, m := range w.messages(stream, ">") {
			out[fmt.Sprintf("%s/%d", stream, m.Sequence)] = append(fmt.Appendf(nil, "%s %v ", m.Subject, m.Header), m.Data...)
		}
	}
	for _, verb := range []string{"INFO", "STATS"} {
		for _, stage := range []string{"parser", "embedder", "indexer", "costd"} {
			msg, err := w.nc.Request("$SRV."+verb+"."+stage, nil, 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			out["$SRV."+verb+"."+stage] = msg.Data
		}
	}
	w.stop()
	logs, err := filepath.Glob(filepath.Join(w.dir, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range logs {
		if out[l], err = os.ReadFile(l); err != nil {
			t.Fatal(err)
		}
	}
	secrets := [][]byte{[]byte(mark), []byte(submitters)}
	for _, u := range broker.Users(services.Declared()...) {
		seed, err := os.ReadFile(w.login(u.Name).NKey)
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, bytes.TrimSpace(seed))
	}
	total := 0
	for name, text := range out {
		total += len(text)
		for _, secret := range secrets {
			// A dead letter is the whole message, the submitter's password included.
			if string(secret) == submitters && strings.HasPrefix(name, events.StreamDeadLetter) {
				continue
			}
			if i := bytes.Index(text, secret); i >= 0 {
				t.Errorf("%s tells a secret: …%s…", name, text[max(0, i-120):min(len(text), i+60)])
			}
		}
	}
	if len(out) < 40 || total < 20_000 {
		t.Errorf("only %d outputs of %d bytes were looked at", len(out), total)
	}
	t.Logf("%d outputs, %d bytes", len(out), total)
}
