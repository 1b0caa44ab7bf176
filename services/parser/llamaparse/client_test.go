package llamaparse

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	fake "sluice/pkg/fake/llamaparse"
	"sluice/pkg/fault"
	"sluice/pkg/provider"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func setUp(t *testing.T, cfg fake.Config, change func(*Config)) (*fake.Server, *Client) {
	t.Helper()
	if cfg.Keys == nil {
		cfg.Keys = map[string]string{"llx-test": "na", "llx-europe": "eu"}
	}
	s := fake.New(cfg)
	url, stop, err := s.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := Config{BaseURL: url, Key: "llx-test", Tier: "agentic", Version: "2026-09-07", MaxPages: 50, FailedPages: 0.05, Timeout: 2 * time.Second}
	if change != nil {
		change(&c)
	}
	client, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return s, client
}

// await asks until a job has ended.
func await(t *testing.T, c *Client, id string, src provider.Source) (provider.Parse, error) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		out, ended, err := c.Result(t.Context(), id, src)
		if ended || err != nil {
			return out, err
		}
		if time.Now().After(deadline) {
			t.Fatalf("the job %s does not end", id)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

var three = provider.Source{Name: "a.txt", ContentType: "text/plain", Data: []byte("# One\n\nfirst\fsecond\fthird")}

func TestAJob(t *testing.T) {
	s, c := setUp(t, fake.Config{Work: 30 * time.Millisecond, Billing: 100 * time.Millisecond}, nil)
	if job, err := c.Find(t.Context(), three, time.Now()); job != "" || err != nil {
		t.Fatalf("found %q %v before there is one", job, err)
	}
	id, err := c.Create(t.Context(), three)
	if err != nil {
		t.Fatal(err)
	}
	if job, err := c.Find(t.Context(), three, time.Now()); job != id || err != nil {
		t.Errorf("found %q %v, want %q", job, err, id)
	}
	out, err := await(t, c, id, three)
	if err != nil {
		t.Fatal(err)
	}
	if out.Markdown != "# One\n\nfirst\n\nsecond\n\nthird" || len(out.Pages) != 3 || out.Pages[2].Page != 3 || out.Markdown[out.Pages[2].Offset:] != "third" ||
		out.Facts.Title != "One" || out.Facts.Pages != 3 || out.Billed || out.Nano != 30*fake.NanoPerCredit {
		t.Errorf("%+v", out)
	}
	if _, known, err := c.Cost(t.Context(), id); known || err != nil {
		t.Errorf("the cost is known before billing: %v", err)
	}
	s.Advance(time.Second)
	if nano, known, err := c.Cost(t.Context(), id); nano != 30*fake.NanoPerCredit || !known || err != nil {
		t.Errorf("cost %d %v %v", nano, known, err)
	}
	if m := s.Meter(); m.Nano != 30*fake.NanoPerCredit || m.Jobs != 1 {
		t.Errorf("meter %+v", m)
	}
}

// A job that has ended badly is an earlier create's unless it is older than that.
func TestFailedJobsAreFound(t *testing.T) {
	s, c := setUp(t, fake.Config{}, nil)
	s.Script(fake.Rule{On: "create", Nth: 1, FailJob: "the fonts are odd"})
	failed, err := c.Create(t.Context(), three)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := await(t, c, failed, three); fault.From(err) == nil || fault.From(err).Reason != "parse-failed" {
		t.Fatalf("the job ended with %v", err)
	}
	for since, want := range map[time.Time]string{{}: failed, time.Now().Add(-time.Minute): failed, time.Now().Add(time.Hour): ""} {
		if id, err := c.Find(t.Context(), three, since); id != want || err != nil {
			t.Errorf("since %v: found %q %v, want %q", since, id, err, want)
		}
	}
	good, err := c.Create(t.Context(), three)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := c.Find(t.Context(), three, time.Time{}); id != good || err != nil {
		t.Errorf("found %q %v, want %q", id, err, good)
	}
}

// Where the service lists more than can be looked at, nobody knows.
func TestAListWithoutEnd(t *testing.T) {
	_, c := setUp(t, fake.Config{}, func(c *Config) {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"items":[{"id":"pjb-1","created_at":%q}],"next_page_token":"more"}`, time.Now().Format(time.RFC3339))
		}))
		t.Cleanup(s.Close)
		c.BaseURL = s.URL
	})
	if id, err := c.Find(t.Context(), three, time.Now()); fault.From(err) == nil || fault.From(err).Reason != "jobs-unlisted" {
		t.Errorf("found %q %v", id, err)
	}
}

// Each row of the contract's table of errors.
func TestErrors(t *testing.T) {
	for _, e := range []struct {
		name     string
		rule     fake.Rule
		change   func(*Config)
		class    fault.Class
		reason   string
		unbilled bool
		jobs     int // that the fake has started
	}{
		{"bad key", fake.Rule{}, func(c *Config) { c.Key = "llx-other" }, fault.Halt, "invalid-key", true, 0},
		{"other region", fake.Rule{}, func(c *Config) { c.Key = "llx-europe" }, fault.Halt, "invalid-key", true, 0},
		{"out of credits", fake.Rule{Status: 402}, nil, fault.CostLimit, "provider-quota", true, 0},
		{"other project", fake.Rule{Status: 403}, nil, fault.Halt, "forbidden", true, 0},
		{"too large", fake.Rule{Status: 413}, nil, fault.Execution, "input-refused", true, 0},
		{"bad file", fake.Rule{Status: 400, Message: "unsupported file type"}, nil, fault.Execution, "input-refused", true, 0},
		{"unknown version", fake.Rule{}, func(c *Config) { c.Version = "2020-01-01" }, fault.Halt, "configuration-refused", true, 0},
		{"rate", fake.Rule{Status: 429}, nil, fault.RateLimited, "rate-limited", true, 0},
		{"rate with a word", fake.Rule{Status: 429, Header: map[string]string{"Retry-After": "7"}}, nil, fault.RateLimited, "rate-limited", true, 0},
		{"broken", fake.Rule{Status: 500}, nil, fault.Unavailable, "unavailable", false, 0},
		{"gateway", fake.Rule{Status: 502, Body: "<html>"}, nil, fault.Unavailable, "unavailable", false, 0},
		{"gateway after the fact", fake.Rule{Status: 502, Effective: true}, nil, fault.Unavailable, "unavailable", false, 1},
		{"a gateway's time-out", fake.Rule{Status: 408, Effective: true}, nil, fault.Unavailable, "unavailable", false, 1},
		{"lost answer", fake.Rule{Fault: fake.Lose}, nil, fault.Unavailable, "connection-lost", false, 1},
		{"cut answer", fake.Rule{Fault: fake.Cut}, nil, fault.Unavailable, "connection-lost", false, 1},
		{"not JSON", fake.Rule{Fault: fake.Garbage}, nil, fault.Unavailable, "bad-response", false, 1},
		{"too slow", fake.Rule{Delay: fake.Duration(time.Second)}, func(c *Config) { c.Timeout = 50 * time.Millisecond }, fault.Unavailable, "timeout", false, 0},
	} {
		t.Run(e.name, func(t *testing.T) {
			s, c := setUp(t, fake.Config{}, e.change)
			e.rule.On = "create"
			s.Script(e.rule)
			_, err := c.Create(t.Context(), three)
			f := fault.From(err)
			if f == nil || f.Class != e.class || f.Reason != e.reason || provider.IsUnbilled(err) != e.unbilled {
				t.Fatalf("%v: class %v, reason %q, unbilled %v", err, f.Class, f.Reason, provider.IsUnbilled(err))
			}
			if strings.Contains(f.Message+f.Hint, "llx-") {
				t.Errorf("the key is in %q", f.Message)
			}
			if e.rule.Header != nil && f.RetryAfter != 7*time.Second {
				t.Errorf("retry after %v", f.RetryAfter)
			}
			if m := s.Meter(); m.Jobs != e.jobs || m.Creates != 1 {
				t.Errorf("meter %+v, want %d jobs after one create", m, e.jobs)
			}
			if e.jobs == 1 { // what took effect is found
				if id, err := c.Find(t.Context(), three, time.Now()); id == "" || err != nil {
					t.Errorf("not found: %v", err)
				}
			}
		})
	}
	_, c := setUp(t, fake.Config{}, func(c *Config) { c.BaseURL = "http://127.0.0.1:1" })
	if _, err := c.Create(t.Context(), three); fault.From(err).Reason != "unreachable" || !provider.IsUnbilled(err) {
		t.Errorf("nobody there: %v", err)
	}
}

// A look asks once, and says what it has met: whoever looks decides what follows.
func TestALook(t *testing.T) {
	s, c := setUp(t, fake.Config{Work: time.Hour}, nil)
	id, err := c.Create(t.Context(), three)
	if err != nil {
		t.Fatal(err)
	}
	before := s.Meter().Attempts
	if out, ended, err := c.Result(t.Context(), id, three); ended || err != nil || out.Markdown != "" || s.Meter().Attempts != before+1 {
		t.Errorf("a job that runs: %+v %v %v, %d requests", out, ended, err, s.Meter().Attempts-before)
	}
	// The transport repeats a GET whose connection was lost, once.
	s.Script(fake.Rule{On: "get", Times: 1, Status: 503}, fake.Rule{On: "get", Times: 1, Status: 429}, fake.Rule{On: "get", Times: 2, Fault: fake.Lose})
	for range 3 {
		if _, ended, err := c.Result(t.Context(), id, three); ended || err == nil || fault.Of(err).Permanent() {
			t.Errorf("a look that failed: %v %v", ended, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := c.Result(ctx, id, three); err == nil || fault.Of(err).Permanent() {
		t.Errorf("given up: %v", err)
	}
	s.Advance(time.Hour)
	if out, ended, err := c.Result(t.Context(), id, three); err != nil || !ended || out.Facts.Pages != 3 {
		t.Errorf("%+v %v %v", out, ended, err)
	}
	s.Advance(49 * time.Hour)
	if _, ended, err := c.Result(t.Context(), id, three); ended || fault.From(err) == nil || fault.From(err).Reason != provider.ReasonJobUnknown || fault.Of(err) != fault.Execution {
		t.Errorf("a forgotten job: %v %v", ended, err)
	}
	// What stands before the service may have lost its way there, and the job goes on.
	for _, body := range []string{`{"detail":"Not Found"}`, "404 page not found", ""} {
		gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			if _, err := io.WriteString(w, body); err != nil {
				t.Error(err)
			}
		}))
		_, c := setUp(t, fake.Config{}, func(c *Config) { c.BaseURL = gateway.URL })
		if _, ended, err := c.Result(t.Context(), id, three); ended || fault.Of(err) != fault.Unavailable {
			t.Errorf("%q: %v %v", body, ended, err)
		}
		gateway.Close()
	}
}

func TestTheBoundIsSentAndKept(t *testing.T) {
	s, c := setUp(t, fake.Config{}, func(c *Config) { c.MaxPages, c.Effort, c.Forms = 2, true, true })
	b, err := c.Bound(three)
	if err != nil || b.Pages != 2 || b.Nano != 2*25*fake.NanoPerCredit {
		t.Fatalf("%+v %v", b, err)
	}
	id, err := c.Create(t.Context(), three)
	if err != nil {
		t.Fatal(err)
	}
	out, err := await(t, c, id, three)
	if err != nil || s.Meter().Nano != b.Nano {
		t.Errorf("billed %d of at most %d: %v", s.Meter().Nano, b.Nano, err)
	}
	if len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "only the first 2 pages") {
		t.Errorf("what was cut off is not said: %q", out.Warnings)
	}
	if _, err := c.Bound(provider.Source{Name: "big.pdf", Data: []byte("%PDF-1.4\n<</Type/Pages/Count 3>>")}); fault.From(err).Reason != "too-large" {
		t.Errorf("a PDF of more pages: %v", err)
	}
	if _, err := c.Bound(provider.Source{Name: "a.pdf"}); fault.From(err).Reason != "empty" {
		t.Errorf("no bytes: %v", err)
	}
}

func TestPages(t *testing.T) {
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	fmt.Fprint(w, "3 0 <</Type /Pages /Kids [4 0 R] /Count 17>>")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int{
		"":                                   0,
		"no pdf /Pages /Count 3":             0,
		"%PDF-1.4 <</Type/Pages /Count 12>>": 12,
		"%PDF-1.7 <</Type/Pages /Count 3>> <</Type/Pages /Count 5>>":                       5,
		"%PDF-1.7 1 0 obj <</Type /ObjStm /N 1>>\nstream\r\n" + z.String() + "\nendstream": 17,
		"%PDF-1.7 <</Type /ObjStm>> stream\nnot zlib":                                      0,
		"%PDF-1.7 /ObjStm": 0,
	} {
		if n := pdfPages([]byte(text)); n != want {
			t.Errorf("%.40q has %d pages, want %d", text, n, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		pdfPages(append([]byte("%PDF-1.7 /ObjStm stream\n"), rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")...))
	})
}

func TestWebhooks(t *testing.T) {
	secret := "0123456789abcdef"
	told := make(chan string, 10)
	var c *Client
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.Handler().ServeHTTP(w, r) }))
	defer hook.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	s, client := setUp(t, fake.Config{Work: 200 * time.Millisecond, Webhooks: &http.Client{Transport: transport}}, func(c *Config) {
		c.WebhookURL, c.WebhookSecret = hook.URL, secret
		c.Changed = func(job string) { told <- job }
	})
	c = client
	id, err := c.Create(t.Context(), three)
	if err != nil {
		t.Fatal(err)
	}
	for ended := false; !ended; {
		select {
		case job := <-told:
			if job != id {
				t.Errorf("told of %q, want %q", job, id)
			}
			ended = true
		case <-time.After(20 * time.Millisecond):
			s.Advance(100 * time.Millisecond) // the fake moves when it is looked at
		}
	}
	if _, ended, err := c.Result(t.Context(), id, three); err != nil || !ended {
		t.Errorf("after the webhook: %v %v", ended, err)
	}
	post := func(signature, body string) int {
		req, err := http.NewRequest(http.MethodPost, hook.URL, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("LC-Signature", signature)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	sign := func(body string) string {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(body))
		return "sha256=" + hex.EncodeToString(mac.Sum(nil))
	}
	body := `{"data":{"job_id":"x"}}`
	for name, got := range map[string]int{"unsigned": post("", body), "forged": post("sha256=00", body), "of other bytes": post(sign("other"), body)} {
		if got != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, got)
		}
	}
	wrapped := `"{\"data\":{\"job_id\":\"x\"}}"`
	if a, b, z := post(sign(body), body), post(sign(wrapped), wrapped), post(sign("["), "["); a != 204 || b != 204 || z != 400 {
		t.Errorf("signed: %d %d %d", a, b, z)
	}
	http.DefaultClient.CloseIdleConnections()
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"job":{"id":"a","status":"COMPLETED","usage":{"credits":3}},"markdown":{"pages":[{"page_number":1,"success":true,"markdown":"x"}]}}`))
	f.Add([]byte(`{"detail":[{"loc":["tier"],"msg":"no"}]}`))
	var body []byte
	status := 200
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write(body) // the client may be gone
	}))
	f.Cleanup(s.Close)
	c, err := New(Config{BaseURL: s.URL, Tier: "agentic", Version: "latest", MaxPages: 5})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := c.Close(); err != nil {
			f.Error(err)
		}
	})
	f.Fuzz(func(t *testing.T, data []byte) {
		body = data
		for _, status = range []int{200, 422, 500} {
			out, ended, err := c.Result(t.Context(), "a", three)
			if err == nil && ended && (out.Markdown == "" || out.Nano < 0) {
				t.Errorf("%+v", out)
			}
			if _, err := c.Create(t.Context(), three); err != nil && fault.From(err).Message == "" {
				t.Error("an error without words")
			}
			_, _, _ = c.Cost(t.Context(), "a") // must not panic
		}
	})
}
