package openai_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.uber.org/goleak"

	fake "sluice/pkg/fake/openai"
	"sluice/pkg/fault"
	"sluice/pkg/provider"
	"sluice/services/embedder/openai"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a fake and returns it with a client of it.
func start(t *testing.T, server fake.Config, change func(*openai.Config)) (*fake.Server, *openai.Client) {
	t.Helper()
	s, err := fake.New(server)
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	cfg := openai.Config{BaseURL: h.URL + "/v1", Key: "sk-secret", Model: openai.DefaultModel, NanoPerToken: 20, Priced: openai.Priced}
	if change != nil {
		change(&cfg)
	}
	c, err := openai.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, c
}

func inputs(texts ...string) []provider.Input {
	in := make([]provider.Input, len(texts))
	for i, t := range texts {
		in[i] = provider.Input{Text: t, Tokens: max(1, len(t)/4)}
	}
	return in
}

func same(a, b []float32) bool { return slices.Equal(a, b) }

func TestVectorsComeInTheOrderOfTheInputs(t *testing.T) {
	texts := []string{"one fish", "two fish", "red fish", "blue fish"}
	for _, f := range []fake.Fault{"", fake.Shuffle, fake.Floats} {
		t.Run("fault="+string(f), func(t *testing.T) {
			s, c := start(t, fake.Config{}, nil)
			if f != "" {
				s.Script(fake.Rule{Fault: f})
			}
			out, err := c.Embed(t.Context(), inputs(texts...))
			if err != nil || out.Errs != nil {
				t.Fatal(err, out.Errs)
			}
			for i, text := range texts {
				if !same(out.Vectors[i], fake.Vector(openai.DefaultModel, text, 1536)) {
					t.Errorf("the vector of %q is another text's", text)
				}
			}
			m := s.Meter()
			if out.Tokens != m.Tokens || out.Nano != m.Nano || m.Nano != int64(20*m.Tokens) || m.Calls != 1 || m.Inputs != 4 {
				t.Errorf("the client counts %d tokens, %d n$; the meter %+v", out.Tokens, out.Nano, m.Charge)
			}
		})
	}
}

func TestUsageThatIsNotSaidIsTheEstimate(t *testing.T) {
	for _, f := range []fake.Fault{fake.NoUsage, fake.ZeroUsage} {
		s, c := start(t, fake.Config{}, nil)
		s.Script(fake.Rule{Fault: f})
		out, err := c.Embed(t.Context(), []provider.Input{{Text: "some words here", Tokens: 7}, {Text: "more", Tokens: 5}})
		if err != nil || out.Tokens != 12 || out.Nano != 240 {
			t.Errorf("%s: %d tokens, %d n$, %v; want the 12 of the estimate", f, out.Tokens, out.Nano, err)
		}
	}
}

// row is a row of an error table.
type row struct {
	name     string
	server   fake.Config
	rule     fake.Rule
	inputs   []provider.Input
	class    fault.Class
	reason   string
	unbilled bool // the client says that it is surely free
	charged  int  // calls on the meter
	after    time.Duration
}

func TestEveryErrorOfTheContract(t *testing.T) {
	status := func(n int, kind, code, message string) fake.Rule {
		return fake.Rule{Status: n, Type: kind, Code: code, Message: message}
	}
	long := []provider.Input{{Text: strings.Repeat(" word", 8500), Tokens: 8000}} // miscounted on purpose
	var much []provider.Input
	for range 60 {
		much = append(much, provider.Input{Text: strings.Repeat(" word", 8000), Tokens: 10})
	}
	rows := []row{
		{name: "one input too long", inputs: long, class: fault.Execution, reason: openai.ReasonInput, unbilled: true},
		{name: "the request too large", inputs: much, class: fault.Execution, reason: openai.ReasonBatch, unbilled: true},
		{name: "too large by code", rule: status(400, "max_tokens_per_request", "max_tokens_per_request", "Requested 416735 tokens, max 300000 tokens per request"), class: fault.Execution, reason: openai.ReasonBatch, unbilled: true},
		{name: "input refused", rule: status(400, "invalid_request_error", "", "'$.input' is invalid."), class: fault.Execution, reason: openai.ReasonInput, unbilled: true},
		{name: "wrong key", server: fake.Config{Keys: []string{"sk-other"}}, class: fault.Halt, reason: "invalid-key", unbilled: true},
		{name: "country", rule: status(403, "", "", "Country, region, or territory not supported"), class: fault.Halt, reason: "forbidden", unbilled: true},
		{name: "unknown model", server: fake.Config{Models: map[string]fake.Model{"other": {Width: 3}}}, class: fault.Halt, reason: "unknown-model", unbilled: true},
		{name: "tokens a minute", server: fake.Config{Tokens: 1}, class: fault.RateLimited, reason: "rate-limited", unbilled: true, after: 60 * time.Second},
		{name: "requests a minute, no delay said", rule: status(429, "requests", "rate_limit_exceeded", "Rate limit reached"), class: fault.RateLimited, reason: "rate-limited", unbilled: true},
		{name: "slow down", rule: status(429, "rate_limit_error", "slow_down", "too fast"), class: fault.RateLimited, reason: "rate-limited", unbilled: true},
		{name: "429 without a code", rule: status(429, "", "", "overloaded"), class: fault.RateLimited, reason: "rate-limited", unbilled: true},
		{name: "retry-after-ms wins", rule: fake.Rule{Status: 429, Header: map[string]string{"Retry-After-Ms": "250", "Retry-After": "9"}}, class: fault.RateLimited, reason: "rate-limited", unbilled: true, after: 250 * time.Millisecond},
		{name: "500", rule: status(500, "server_error", "", "The server had an error"), class: fault.Unavailable, reason: "unavailable", unbilled: true},
		{name: "overloaded", rule: status(503, "service_unavailable_error", "server_is_overloaded", "overloaded"), class: fault.Unavailable, reason: "overloaded", unbilled: true},
		{name: "its own time-out", rule: status(408, "invalid_request_error", "", "too slow"), class: fault.Unavailable, reason: "unavailable", unbilled: true},
		// What is not surely its own word about a call that it did not charge.
		{name: "500 after the charge, by a gateway", rule: fake.Rule{Status: 500, Charge: true, Body: `{"message":"Internal server error"}`}, class: fault.Unavailable, reason: "unavailable", charged: 1},
		{name: "500 without a type", rule: status(500, "", "", "broken"), class: fault.Unavailable, reason: "unavailable"},
		{name: "500 without all of its keys", rule: fake.Rule{Status: 500, Body: `{"error":{"message":"broken","type":"server_error","code":null}}`}, class: fault.Unavailable, reason: "unavailable"},
		{name: "500 with a number for a code", rule: fake.Rule{Status: 500, Body: `{"error":{"message":"broken","type":"server_error","param":null,"code":500}}`}, class: fault.Unavailable, reason: "unavailable"},
		{name: "500 without a request ID", rule: fake.Rule{Status: 500, Type: "server_error", Message: "broken", Header: map[string]string{"X-Request-Id": ""}}, class: fault.Unavailable, reason: "unavailable"},
		{name: "500 with half of its body", rule: fake.Rule{Status: 500, Body: `{"error":{"message":"broken","type":"server_er`}, class: fault.Unavailable, reason: "unavailable"},
		{name: "500 with a body that is cut off", rule: fake.Rule{Status: 500, Body: `{"error":{"message":"broken","type":"server_error","param":null,"code":null}}`, Header: map[string]string{"Content-Length": "100"}}, class: fault.Unavailable, reason: "unavailable"},
		{name: "500 without a body", rule: fake.Rule{Status: 500, Body: " "}, class: fault.Unavailable, reason: "unavailable"},
		{name: "502 in its words", rule: status(502, "server_error", "", "broken"), class: fault.Unavailable, reason: "unavailable"},
		{name: "504 after the charge", rule: fake.Rule{Status: 504, Charge: true}, class: fault.Unavailable, reason: "timeout", charged: 1},
		{name: "a gateway's time-out", rule: fake.Rule{Status: 408, Body: "Request Timeout", Charge: true}, class: fault.Unavailable, reason: "unavailable", charged: 1},
		{name: "520 in its words", rule: status(520, "server_error", "", "broken"), class: fault.Unavailable, reason: "unavailable"},
		{name: "HTML of a proxy", rule: fake.Rule{Status: 502, Body: "<html>Bad Gateway</html>", ContentType: "text/html"}, class: fault.Unavailable, reason: "unavailable"},
		{name: "402", rule: status(402, "", "", "pay"), class: fault.CostLimit, reason: "provider-quota", unbilled: true},
		{name: "a redirect", rule: fake.Rule{Status: 307, Body: "moved", Header: map[string]string{"Location": "/v1/embeddings"}}, class: fault.Halt, reason: "redirected", unbilled: true},
		{name: "text with status 200", rule: fake.Rule{Fault: fake.Text}, class: fault.Unavailable, reason: "bad-response", charged: 1},
		{name: "an index twice", rule: fake.Rule{Fault: fake.DuplicateIndex}, class: fault.Unavailable, reason: "bad-response", charged: 1},
		{name: "an index missing", rule: fake.Rule{Fault: fake.MissingIndex}, class: fault.Unavailable, reason: "bad-response", charged: 1},
		{name: "bad base64", rule: fake.Rule{Fault: fake.BadBase64}, class: fault.Unavailable, reason: "bad-response", charged: 1},
		{name: "cut in the middle", rule: fake.Rule{Fault: fake.Cut}, class: fault.Unavailable, reason: "connection-lost", charged: 1},
		{name: "answer lost after the charge", rule: fake.Rule{Fault: fake.Lose}, class: fault.Unavailable, reason: "connection-lost", charged: 1},
		{name: "cut before the work", rule: fake.Rule{Fault: fake.Refuse}, class: fault.Unavailable, reason: "connection-lost"},
		{name: "stalled", rule: fake.Rule{Fault: fake.Stall}, class: fault.Unavailable, reason: "timeout", charged: 1},
		{name: "stalled in the middle", rule: fake.Rule{Fault: fake.StallBody}, class: fault.Unavailable, reason: "timeout", charged: 1},
		{name: "TEI overloaded", server: fake.Config{Personality: fake.TEI}, rule: status(429, "Overloaded", "", "Model is overloaded"), class: fault.RateLimited, reason: "rate-limited", unbilled: true},
		{name: "TEI batch", server: fake.Config{Personality: fake.TEI}, inputs: inputs(slices.Repeat([]string{"word"}, 33)...), class: fault.Execution, reason: openai.ReasonBatch, unbilled: true},
		{name: "TEI backend", server: fake.Config{Personality: fake.TEI}, rule: status(424, "Backend", "", "backend died"), class: fault.Unavailable, reason: "unavailable", unbilled: true},
		{name: "Ollama's unknown model", server: fake.Config{Personality: fake.Ollama, Models: map[string]fake.Model{"x": {Width: 2}}}, class: fault.Halt, reason: "unknown-model", unbilled: true},
		{name: "Ollama's native error", rule: fake.Rule{Status: 400, Body: `{"error":"invalid input type"}`}, class: fault.Execution, reason: openai.ReasonInput, unbilled: true},
		{name: "llama.cpp's long input", server: fake.Config{Personality: fake.LlamaCPP}, inputs: long, class: fault.Execution, reason: openai.ReasonInput},
		{name: "vLLM's numeric code", server: fake.Config{Personality: fake.VLLM}, rule: status(400, "BadRequestError", "", "bad"), class: fault.Execution, reason: openai.ReasonInput, unbilled: true},
	}
	for _, code := range []string{"insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded", "project_spend_limit_exceeded", "organization_usage_limit_exceeded"} {
		rows = append(rows, row{name: code, rule: status(429, "insufficient_quota", code, "You exceeded your current quota"), class: fault.CostLimit, reason: "provider-quota", unbilled: true})
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			s, c := start(t, r.server, func(cfg *openai.Config) {
				if r.rule.Fault == fake.Stall || r.rule.Fault == fake.StallBody {
					cfg.Timeout = 200 * time.Millisecond
				}
			})
			if r.rule.Status != 0 || r.rule.Fault != "" {
				s.Script(r.rule)
			}
			in := r.inputs
			if in == nil {
				in = inputs("The gate opens at six.", "The weir is closed.")
			}
			_, err := c.Embed(t.Context(), in)
			f := fault.From(err)
			if f == nil || f.Class != r.class || f.Reason != r.reason {
				t.Fatalf("got %+v, want %v %s", f, r.class, r.reason)
			}
			if provider.IsUnbilled(err) != r.unbilled {
				t.Errorf("unbilled is %v, want %v", !r.unbilled, r.unbilled)
			}
			if d := f.RetryAfter - r.after; d > 0 || d < -2*time.Second {
				t.Errorf("retry after %v, want %v", f.RetryAfter, r.after)
			}
			m := s.Meter()
			if m.Calls != r.charged || m.Attempts != 1 {
				t.Errorf("charged %d times in %d attempts, want %d in 1", m.Calls, m.Attempts, r.charged)
			}
			if r.unbilled && m.Nano != 0 {
				t.Errorf("the client calls free what cost %d n$", m.Nano)
			}
			if strings.Contains(fmt.Sprint(err, f.Hint), "sk-secret") {
				t.Errorf("the key is in %v", err)
			}
			if f.Class == fault.Halt && f.Hint == "" {
				t.Errorf("%v does not say what to do", err)
			}
		})
	}
}

func TestNothingIsSentThatIsKnownToFail(t *testing.T) {
	s, c := start(t, fake.Config{}, func(cfg *openai.Config) { cfg.MaxInputs = 4 })
	out, err := c.Embed(t.Context(), []provider.Input{{Text: "good", Tokens: 1}, {Text: ""}, {Text: "long", Tokens: 8192}})
	if err != nil || out.Vectors[0] == nil || out.Vectors[1] != nil || out.Vectors[2] != nil {
		t.Fatal(err, out.Errs)
	}
	if a, b := fault.From(out.Errs[1]), fault.From(out.Errs[2]); out.Errs[0] != nil || a.Reason != "empty-input" || b.Reason != "input-too-long" {
		t.Errorf("errors %v", out.Errs)
	}
	if _, err = c.Embed(t.Context(), []provider.Input{{Text: "", Tokens: 0}}); err != nil {
		t.Error(err)
	}
	_, err = c.Embed(t.Context(), inputs("1", "2", "3", "4", "5"))
	if f := fault.From(err); f == nil || f.Reason != openai.ReasonBatch || !provider.IsUnbilled(err) {
		t.Errorf("five inputs with a limit of four: %v", err)
	}
	if m := s.Meter(); m.Attempts != 1 || m.Inputs != 1 {
		t.Errorf("%d requests with %d inputs, want 1 with 1", m.Attempts, m.Inputs)
	}
}

func TestBadVectorsAreLeftToTheCheck(t *testing.T) {
	for _, f := range []fake.Fault{fake.NaN, fake.WrongWidth} {
		s, c := start(t, fake.Config{}, nil)
		s.Script(fake.Rule{Fault: f})
		out, err := c.Embed(t.Context(), inputs("a word"))
		if err != nil {
			t.Fatal(f, err)
		}
		v := out.Vectors[0]
		if f == fake.WrongWidth && len(v) != 1535 || f == fake.NaN && !math.IsNaN(float64(v[0])) {
			t.Errorf("%s: %d numbers, first %v", f, len(v), v[0])
		}
	}
}

func TestUnreachable(t *testing.T) {
	h := httptest.NewServer(http.NotFoundHandler())
	h.Close()
	c, err := openai.New(openai.Config{BaseURL: h.URL, Model: openai.DefaultModel})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Embed(t.Context(), inputs("x"))
	if f := fault.From(err); f.Class != fault.Unavailable || f.Reason != "unreachable" || !provider.IsUnbilled(err) {
		t.Errorf("got %+v", f)
	}
	if err := c.Check(t.Context()); err == nil {
		t.Error("the check of a server that is not there passes")
	}
}

func TestACallThatIsCancelledMayHaveBeenCharged(t *testing.T) {
	s, c := start(t, fake.Config{}, nil)
	s.Script(fake.Rule{Fault: fake.Stall})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for s.Meter().Calls == 0 {
			time.Sleep(time.Millisecond) // polls; the call is bounded by the client's time-out
		}
		cancel()
	}()
	_, err := c.Embed(ctx, inputs("x"))
	if !errors.Is(err, context.Canceled) || provider.IsUnbilled(err) {
		t.Errorf("got %v, unbilled %v", err, provider.IsUnbilled(err))
	}
}

func TestCheckCostsNothing(t *testing.T) {
	s, c := start(t, fake.Config{Keys: []string{"sk-secret"}}, nil)
	if err := c.Check(t.Context()); err != nil {
		t.Error(err)
	}
	s.SetKey("sk-secret", false)
	if f := fault.From(c.Check(t.Context())); f == nil || f.Class != fault.Halt {
		t.Errorf("a revoked key: %+v", f)
	}
	if m := s.Meter(); m.Nano != 0 || m.Calls != 0 {
		t.Errorf("the check cost %+v", m.Charge)
	}
}

func TestRateLimitsAreTold(t *testing.T) {
	var got []provider.RateInfo
	_, c := start(t, fake.Config{Requests: 60, Tokens: 1000}, func(cfg *openai.Config) {
		cfg.Observe = func(r provider.RateInfo) { got = append(got, r) }
	})
	if _, err := c.Embed(t.Context(), inputs("some words")); err != nil {
		t.Fatal(err)
	}
	r := got[0]
	if len(got) != 1 || r.Status != 200 || r.Requests.Limit != 60 || r.Requests.Remaining != 59 || r.Tokens.Remaining != 998 ||
		!r.Tokens.Known || r.Tokens.Reset <= 0 || r.Tokens.Reset > time.Minute {
		t.Errorf("told %+v", got)
	}
}

// schema compiles one of the schemas that OpenAI publishes; the file says which
// version they are of.
func schema(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile("testdata/openapi-2.3.0.json#/$defs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func fits(t *testing.T, s *jsonschema.Schema, body []byte) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(v)
}

func TestRequestsFitThePublishedSchema(t *testing.T) {
	published := schema(t, "CreateEmbeddingRequest")
	s, c := start(t, fake.Config{}, func(cfg *openai.Config) { cfg.Dimensions = 256 })
	if _, err := c.Embed(t.Context(), inputs("a", "b\n\"c\" \u00e9")); err != nil {
		t.Fatal(err)
	}
	bare, plain := start(t, fake.Config{}, nil)
	if _, err := plain.Embed(t.Context(), inputs(slices.Repeat([]string{"a"}, openai.MaxInputs)...)); err != nil {
		t.Fatal(err)
	}
	seen := s.Seen()
	if len(seen) != 1 || seen[0].Header.Get("Authorization") != "Bearer sk-secret" || seen[0].Header.Get("Content-Type") != "application/json" {
		t.Fatalf("seen %+v", seen)
	}
	for _, r := range append(seen, bare.Seen()...) {
		if err := fits(t, published, r.Body); err != nil {
			t.Errorf("the request does not fit: %v", err)
		}
	}
	want := `{"input":["a","b\n\"c\" é"],"model":"text-embedding-3-small","encoding_format":"base64","dimensions":256}`
	if string(seen[0].Body) != want {
		t.Errorf("sent %s, want %s", seen[0].Body, want)
	}
	// Each constraint of the schema by itself, and the fake keeps it, too.
	many := strings.Repeat(`"a",`, openai.MaxInputs) + `"a"`
	for name, wrong := range map[string]string{
		"an unknown field": `{"model":"text-embedding-3-small","input":"a","retries":3}`, "no input": `{"model":"text-embedding-3-small"}`,
		"no model": `{"input":"a"}`, "a number for a model": `{"model":3,"input":"a"}`, "no inputs": `{"model":"text-embedding-3-small","input":[]}`,
		"too many inputs": `{"model":"text-embedding-3-small","input":[` + many + `]}`, "null for an input": `{"model":"text-embedding-3-small","input":["a",null]}`,
		"an empty list of tokens": `{"model":"text-embedding-3-small","input":[[1],[]]}`, "half a token": `{"model":"text-embedding-3-small","input":[1.5]}`,
		"texts and tokens": `{"model":"text-embedding-3-small","input":["a",1]}`, "another format": `{"model":"text-embedding-3-small","input":"a","encoding_format":"int8"}`,
		"no width": `{"model":"text-embedding-3-small","input":"a","dimensions":0}`, "half a width": `{"model":"text-embedding-3-small","input":"a","dimensions":1.5}`,
		"a number for a user": `{"model":"text-embedding-3-small","input":"a","user":1}`,
	} {
		if fits(t, published, []byte(wrong)) == nil {
			t.Errorf("the schema takes a request with %s", name)
		}
		if status, body := post(t, s, wrong); status != 400 {
			t.Errorf("the fake answers %d to a request with %s: %s", status, name, body)
		}
	}
	for name, right := range map[string]string{
		"a text": `"a"`, "tokens": `[1,2,3]`, "lists of tokens": `[[1,2],[3]]`, "texts": `["a","b"]`,
	} {
		body := `{"model":"text-embedding-3-small","user":"u","encoding_format":"float","input":` + right + `}`
		if err := fits(t, published, []byte(body)); err != nil {
			t.Errorf("the schema refuses %s: %v", name, err)
		}
		if status, text := post(t, s, body); status != 200 {
			t.Errorf("the fake answers %d to %s: %s", status, name, text)
		}
	}
	// In prose only: no text is empty. The client does not send such, the fake refuses.
	if status, body := post(t, s, `{"model":"text-embedding-3-small","input":["a",""]}`); status != 400 {
		t.Errorf("the fake answers %d to an empty text: %s", status, body)
	}
	if c.Describe().Model != openai.DefaultModel+"-256" || plain.Describe().Model != openai.DefaultModel+"-1536" {
		t.Errorf("models %s and %s", c.Describe().Model, plain.Describe().Model)
	}
}

// post sends a request as no client of ours would.
func post(t *testing.T, h http.Handler, body string) (status int, answer []byte) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/embeddings", strings.NewReader(body)))
	return w.Code, w.Body.Bytes()
}

// What the client is tested with has the shape of what OpenAI answers.
func TestTheFakesAnswersFitThePublishedSchema(t *testing.T) {
	s, _ := start(t, fake.Config{}, nil)
	_, body := post(t, s, `{"model":"text-embedding-3-small","input":["a","b"],"dimensions":3}`)
	response := schema(t, "CreateEmbeddingResponse")
	if err := fits(t, response, body); err != nil {
		t.Errorf("floats: %v", err)
	}
	_, body = post(t, s, `{"model":"text-embedding-3-small","input":["a","b"],"dimensions":3,"encoding_format":"base64"}`)
	var v map[string]any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatal(err)
	}
	for _, item := range v["data"].([]any) {
		item := item.(map[string]any)
		raw, err := base64.StdEncoding.DecodeString(item["embedding"].(string))
		if err != nil || len(raw) != 12 {
			t.Errorf("%d bytes, %v", len(raw), err)
		}
		item["embedding"] = []any{0.5}
	}
	if err := response.Validate(v); err != nil {
		t.Errorf("base64: %v", err)
	}
	failure := schema(t, "ErrorResponse")
	for _, status := range []int{0, 401, 403, 404, 429, 500, 503} {
		s.Clear()
		s.Script(fake.Rule{Status: status})
		code, body := post(t, s, `{"model":"text-embedding-3-small","input":[]}`)
		if err := fits(t, failure, body); err != nil || code < 400 {
			t.Errorf("status %d: %v", code, err)
		}
	}
}

func TestConfigurationsThatCannotWork(t *testing.T) {
	for _, cfg := range []openai.Config{
		{},
		{Model: "unknown"},
		{Model: openai.DefaultModel, BaseURL: "ftp://x"},
		{Model: openai.DefaultModel, BaseURL: "https://u:p@x/v1"},
		{Model: openai.DefaultModel, Key: "sk\n"},
		{Model: openai.DefaultModel, Dimensions: 2000},
		{Model: "text-embedding-ada-002", Dimensions: 256},
		{Model: openai.DefaultModel, Dimensions: -1},
		{Model: openai.DefaultModel, NanoPerToken: -1},
		{Model: openai.DefaultModel, NanoPerToken: math.MaxInt64},
		{Model: openai.DefaultModel, MaxTokens: 10},
	} {
		if _, err := openai.New(cfg); fault.Of(err) != fault.Halt || err == nil {
			t.Errorf("%+v: %v", cfg, err)
		} else if strings.Contains(err.Error(), "u:p") {
			t.Errorf("the password is in %v", err)
		}
	}
}

// A redirect says where the server is, and no secret of where it leads to.
func TestWhereARedirectLeads(t *testing.T) {
	for location, want := range map[string]string{
		"https://user:pass@new.example.org/api/v1/embeddings?token=abc#x": "https://new.example.org/api/v1",
		"https://new.example.org/v2/sk-test/embeddings/":                  "https://new.example.org/v2/(the%20key)",
		"": "",
	} {
		s, c := start(t, fake.Config{}, func(cfg *openai.Config) { cfg.Key = "sk-test" })
		s.Script(fake.Rule{Status: 308, Body: strings.Repeat("moved ", 200), Header: map[string]string{"Location": location}})
		_, err := c.Embed(t.Context(), inputs("a"))
		f := fault.From(err)
		if f.Class != fault.Halt || f.Reason != "redirected" {
			t.Fatalf("%v", err)
		}
		if want == "" {
			if strings.Contains(f.Message, "redirect to") || !strings.Contains(f.Hint, "does not say where") {
				t.Errorf("without a target: %+v", f)
			}
			continue
		}
		want = strings.ReplaceAll(want, "%20", " ")
		if all := f.Message + f.Hint; !strings.Contains(f.Message, "308, a redirect to "+want+":") || f.Hint != "set --embedding-base-url to "+want ||
			strings.Contains(all, "pass") || strings.Contains(all, "abc") || strings.Contains(all, "sk-test") {
			t.Errorf("%s: %s; %s", location, f.Message, f.Hint)
		}
	}
}
