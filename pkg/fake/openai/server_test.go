package openai

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a server with a client that knows nothing.
type rig struct {
	*Server
	t   *testing.T
	url string
	key string
}

func start(t *testing.T, cfg Config) *rig {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return &rig{s, t, h.URL, "sk-a"}
}

// do sends a request; an answer that does not come whole is an error.
func (r *rig) do(method, path, contentType, body string) (*http.Response, []byte, error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.key)
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, b, err
}

func (r *rig) post(path, body string) (*http.Response, []byte) {
	r.t.Helper()
	resp, b, err := r.do(http.MethodPost, path, "application/json", body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp, b
}

func embedding(input string) string {
	return `{"model":"text-embedding-3-small","input":` + input + `}`
}

// The servers that imitate OpenAI, each in its own way.
func TestPersonalities(t *testing.T) {
	long := `"` + strings.Repeat("word ", 8500) + `"`
	many := `["a"` + strings.Repeat(`,"a"`, 32) + `]`
	with := func(field string) string { return `{"model":"text-embedding-3-small","input":"a",` + field + `}` }
	for _, c := range []struct {
		name   string
		cfg    Config
		body   string
		status int
		has    string // in the answer
	}{
		{"OpenAI: one token list is one input", Config{}, embedding(`[1,2,3]`), 200, `"usage":{"prompt_tokens":3,"total_tokens":3}`},
		{"OpenAI: lists of tokens", Config{}, embedding(`[[1,2,3],[4]]`), 200, `"prompt_tokens":4`},
		{"OpenAI: an unknown field", Config{}, with(`"truncate_prompt_tokens":3`), 400, `"type":"invalid_request_error"`},
		{"OpenAI: too long", Config{}, embedding(long), 400, `maximum context length is 8192 tokens`},
		{"OpenAI: four bytes a token", Config{Rough: true}, embedding(`"123456789"`), 200, `"prompt_tokens":3`},
		{"OpenAI: shortened", Config{}, with(`"dimensions":2`), 200, `"embedding":[`},
		{"OpenAI: ada is not shortened", Config{}, `{"model":"text-embedding-ada-002","input":"a","dimensions":2}`, 400, "does not support"},
		{"TEI: any model", Config{Personality: TEI}, `{"model":"x","input":"a"}`, 200, `"model":"x"`},
		{"TEI: batch size", Config{Personality: TEI}, embedding(many), 422, `{"code":422,"message":"batch size 33 \u003e maximum allowed batch size 32","type":"Validation"}`},
		{"TEI: nothing to do", Config{Personality: TEI}, embedding(`[]`), 400, `"type":"Empty"`},
		{"TEI: cut off", Config{Personality: TEI}, embedding(long), 200, `"prompt_tokens":8192`},
		{"TEI: not cut off", Config{Personality: TEI, Strict: true}, embedding(long), 422, `"type":"Validation"`},
		{"TEI: any model is shortened", Config{Personality: TEI}, `{"model":"text-embedding-ada-002","input":"a","dimensions":2}`, 200, `"embedding":[`},
		{"TEI: but not to nothing", Config{Personality: TEI}, with(`"dimensions":0`), 422, `"type":"Validation"`},
		{"TEI: body", Config{Personality: TEI}, embedding(`"` + strings.Repeat("a", 2_000_000) + `"`), 413, "length limit"},
		{"Ollama: no token lists", Config{Personality: Ollama}, embedding(`[1,2]`), 400, "invalid input type"},
		{"Ollama: an empty text", Config{Personality: Ollama}, embedding(`""`), 200, `"embedding":[`},
		{"Ollama: unknown model", Config{Personality: Ollama}, `{"model":"x","input":"a"}`, 404, `"type":"not_found_error"`},
		{"Ollama: cut off", Config{Personality: Ollama}, embedding(long), 200, `"prompt_tokens":8192`},
		{"vLLM: any width", Config{Personality: VLLM}, with(`"dimensions":1536`), 400, `"code":400,"message":"Model \"text-embedding-3-small\" does not support matryoshka`},
		{"vLLM: truncate", Config{Personality: VLLM}, `{"model":"text-embedding-3-small","input":` + long + `,"truncate_prompt_tokens":7}`, 200, `"prompt_tokens":7`},
		{"llama.cpp: over its batch", Config{Personality: LlamaCPP}, embedding(`"` + strings.Repeat("word ", 600) + `"`), 500, `"code":500,"message":"input (6`},
		{"llama.cpp: base64", Config{Personality: LlamaCPP}, with(`"encoding_format":"base64"`), 200, `"encoding_format":"base64"`},
		{"llama.cpp: no usage", Config{Personality: LlamaCPP}, embedding(`"a"`), 200, `"usage":{"prompt_tokens":0,"total_tokens":0}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, c.cfg)
			resp, body := s.post("/v1/embeddings", c.body)
			if resp.StatusCode != c.status || !strings.Contains(string(body), c.has) {
				t.Errorf("%d %.300s, want %d with %s", resp.StatusCode, body, c.status, c.has)
			}
			if got := s.Meter().Calls; got != map[bool]int{true: 1}[c.status == 200] {
				t.Errorf("%d calls charged", got)
			}
		})
	}
}

func TestTEIHasNoQueue(t *testing.T) {
	s := start(t, Config{Personality: TEI})
	s.busy.Store(teiConcurrent - 1)
	if resp, body := s.post("/v1/embeddings", embedding(`["a","b"]`)); resp.StatusCode != 429 || !strings.Contains(string(body), "overloaded") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if resp, _ := s.post("/v1/embeddings", embedding(`"a"`)); resp.StatusCode != 200 || resp.Header.Get("X-Compute-Tokens") != "1" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	if n := s.busy.Load(); n != teiConcurrent-1 {
		t.Errorf("%d permits are not given back", n-teiConcurrent+1)
	}
}

func TestVectors(t *testing.T) {
	s := start(t, Config{})
	floats := func(body []byte) (v []float32) {
		var out struct {
			Data []struct {
				Embedding []float32 `json:"embedding"`
			} `json:"data"`
		}
		if err := json.Unmarshal(body, &out); err != nil || len(out.Data) != 1 {
			t.Fatalf("%v: %.100s", err, body)
		}
		return out.Data[0].Embedding
	}
	_, body := s.post("/v1/embeddings", embedding(`"a gate"`))
	v := floats(body)
	sum := 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	if len(v) != 1536 || math.Abs(sum-1) > 1e-5 {
		t.Errorf("%d numbers of length %v", len(v), math.Sqrt(sum))
	}
	_, again := s.post("/v1/embeddings", embedding(`"a gate"`))
	if !bytes.Equal(body, again) {
		t.Error("the same text has another vector")
	}
	_, body = s.post("/v1/embeddings", `{"model":"text-embedding-3-small","input":"a gate","encoding_format":"base64"}`)
	if !strings.Contains(string(body), base64.StdEncoding.EncodeToString(mustBytes(v))) {
		t.Error("base64 has other numbers")
	}
}

func mustBytes(v []float32) []byte {
	b, err := base64.StdEncoding.DecodeString(encode(v))
	if err != nil {
		panic(err)
	}
	return b
}

// What goes wrong on request: what arrives, and what is charged.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		rule    Rule
		charged bool
		arrives string // "", "headers", "part"
	}{
		{Rule{Fault: Refuse}, false, ""},
		{Rule{Fault: Lose}, true, ""},
		{Rule{Fault: Stall}, true, ""},
		{Rule{Fault: Cut}, true, "part"},
		{Rule{Fault: StallBody}, true, "part"},
	} {
		t.Run(string(c.rule.Fault), func(t *testing.T) {
			s := start(t, Config{})
			s.Script(c.rule)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/v1/embeddings", strings.NewReader(embedding(`"a"`)))
			if err != nil {
				t.Fatal(err)
			}
			if c.rule.Fault == Stall {
				time.AfterFunc(100*time.Millisecond, cancel) // nothing ever comes
			}
			resp, err := http.DefaultClient.Do(req)
			switch {
			case c.arrives == "" && err == nil:
				t.Errorf("an answer: %d", resp.StatusCode)
			case c.arrives == "part" && err != nil:
				t.Errorf("no answer: %v", err)
			}
			if err == nil {
				defer resp.Body.Close()
				part := make([]byte, 100)
				if _, err := io.ReadFull(resp.Body, part); err != nil || !bytes.HasPrefix(part, []byte(`{"object":"list"`)) {
					t.Errorf("it begins with %s: %v", part, err)
				}
				if c.rule.Fault == StallBody {
					time.AfterFunc(50*time.Millisecond, cancel)
				}
				if _, err := io.Copy(io.Discard, resp.Body); err == nil {
					t.Error("the answer is whole")
				} else if c.rule.Fault == StallBody && !errors.Is(err, context.Canceled) {
					t.Errorf("it does not stall: %v", err)
				}
			}
			if got := s.Meter().Calls == 1; got != c.charged {
				t.Errorf("charged: %v", got)
			}
		})
	}
}

func TestRules(t *testing.T) {
	s := start(t, Config{})
	s.Script(
		Rule{Nth: 2, Status: 429, Header: map[string]string{"Retry-After": "3", "Retry-After-Ms": "2500", "X-Should-Retry": "false"}},
		Rule{Contains: "poison", Status: 500, Charge: true},
		Rule{Key: "sk-b", Status: 429, Type: "insufficient_quota", Code: "credit_balance_exhausted", Message: "no money"},
		Rule{Model: "text-embedding-3-large", Status: 502},
		Rule{Every: 7, Times: 1, Header: map[string]string{"X-Seventh": "yes"}},
	)
	ask := func(key, body string) *http.Response {
		s.key = key
		resp, _ := s.post("/v1/embeddings", body)
		return resp
	}
	if resp := ask("sk-a", embedding(`"a"`)); resp.StatusCode != 200 {
		t.Errorf("the first: %d", resp.StatusCode)
	}
	if resp := ask("sk-a", embedding(`"a"`)); resp.StatusCode != 429 || resp.Header.Get("Retry-After-Ms") != "2500" || resp.Header.Get("X-Should-Retry") != "false" {
		t.Errorf("the second: %d %v", resp.StatusCode, resp.Header)
	}
	if resp := ask("sk-a", embedding(`"a poison"`)); resp.StatusCode != 500 || s.Meter().Calls != 2 {
		t.Errorf("a charge with a 500: %d, %+v", resp.StatusCode, s.Meter())
	}
	if resp := ask("sk-b", embedding(`"a"`)); resp.StatusCode != 429 {
		t.Errorf("the other key: %d", resp.StatusCode)
	}
	if resp := ask("sk-a", `{"model":"text-embedding-3-large","input":"a"}`); resp.StatusCode != 502 || resp.Header.Get("Content-Type") != "text/html" || resp.Header.Get("X-Request-Id") != "" {
		t.Errorf("a gateway: %d %v", resp.StatusCode, resp.Header)
	}
	ask("sk-a", embedding(`"a"`))
	if resp := ask("sk-a", embedding(`"a"`)); resp.Header.Get("X-Seventh") != "yes" {
		t.Errorf("the seventh: %v", resp.Header)
	}
	m := s.Meter()
	if m.By["sk-b"] != nil || len(m.By["sk-a"]) == 0 || m.Attempts != 7 || m.Calls != 4 || m.Refused[429] != 2 || m.Refused[502] != 1 {
		t.Errorf("meter %+v", m)
	}
}

// The windows of the rate limits drive the headers, and end by the clock.
func TestRateWindows(t *testing.T) {
	s := start(t, Config{Requests: 2, Tokens: 100})
	resp, _ := s.post("/v1/embeddings", embedding(`"a b c"`))
	if h := resp.Header; h.Get("X-Ratelimit-Remaining-Requests") != "1" || h.Get("X-Ratelimit-Remaining-Tokens") != "97" || h.Get("X-Ratelimit-Limit-Tokens") != "100" {
		t.Errorf("headers %v", h)
	} else if d, err := time.ParseDuration(h.Get("X-Ratelimit-Reset-Tokens")); err != nil || d <= 50*time.Second || d > time.Minute {
		t.Errorf("reset in %v, %v", d, err)
	}
	if resp, body := s.post("/v1/embeddings", embedding(`[`+strings.TrimSuffix(strings.Repeat("1,", 98), ",")+`]`)); resp.StatusCode != 429 || !strings.Contains(string(body), `"type":"tokens"`) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	s.post("/v1/embeddings", embedding(`"a"`))
	if resp, body := s.post("/v1/embeddings", embedding(`"a"`)); resp.StatusCode != 429 || !strings.Contains(string(body), `"type":"requests"`) || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%d %s %v", resp.StatusCode, body, resp.Header)
	}
	s.Advance(time.Minute)
	if resp, _ := s.post("/v1/embeddings", embedding(`"a"`)); resp.StatusCode != 200 {
		t.Errorf("after a minute: %d", resp.StatusCode)
	}
}

// The controls are there by HTTP, too: for who runs the fake as a process.
func TestControls(t *testing.T) {
	s := start(t, Config{})
	for _, c := range [][2]string{{"/_faults", `[{"nth":1,"status":503,"delay":"1ms"}]`}, {"/_keys", `{"key":"sk-a","valid":true}`}, {"/_clock", `{"advance":"2h"}`}} {
		if resp, body := s.post(c[0], c[1]); resp.StatusCode != 200 {
			t.Errorf("%s: %d %s", c[0], resp.StatusCode, body)
		}
	}
	if resp, _ := s.post("/v1/embeddings", embedding(`"a"`)); resp.StatusCode != 503 {
		t.Errorf("scripted: %d", resp.StatusCode)
	}
	before := s.Now().Format(HourFormat)
	s.post("/v1/embeddings", embedding(`"a"`))
	after := s.Now().Format(HourFormat)
	s.key = "sk-other"
	if resp, _ := s.post("/v1/embeddings", embedding(`"a"`)); resp.StatusCode != 401 {
		t.Errorf("another key: %d", resp.StatusCode)
	}
	_, body, err := s.do(http.MethodGet, "/_meter", "", "")
	in := func(hour string) bool {
		return strings.Contains(string(body), fmt.Sprintf(`"sk-a":{"%s":{"calls":1,`, hour))
	}
	if err != nil || !in(before) && !in(after) || before <= time.Now().UTC().Format(HourFormat) {
		t.Errorf("%v: %s, want the hour %s or %s", err, body, before, after)
	}
	var calls []Call
	_, body, err = s.do(http.MethodGet, "/_calls", "", "")
	if err != nil || json.Unmarshal(body, &calls) != nil || len(calls) != 1 || calls[0].Key != "sk-a" || calls[0].Nano != 20 || calls[0].Request == "" {
		t.Errorf("%v: %s", err, body)
	}
}
