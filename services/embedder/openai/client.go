// Package openai is a client of the embeddings endpoint of OpenAI and of the
// servers that imitate it: TEI, Ollama, vLLM, llama.cpp.
//
// One call is one HTTP request: every request may cost money and has to be
// admitted by itself, so nothing is retried here. What is known to be wrong
// with an input is found before anything is sent.
package openai

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"sluice/pkg/fault"
	"sluice/pkg/provider"
)

// The limits of OpenAI. Its documents disagree about 8191 and 8192 tokens an
// input: the smaller one is right under both.
const (
	MaxInputs      = 2048
	MaxTokens      = 300_000
	MaxInputTokens = 8191
)

// DefaultTimeout is the time for a request if none is configured.
const DefaultTimeout = time.Minute

// Config says which server is asked for which vectors.
type Config struct {
	Service    string // metric label and budget scope; "openai" if empty
	BaseURL    string // with the version: "https://api.openai.com/v1"
	Key        string // "" = no Authorization header
	Org        string // OpenAI-Organization; optional
	Project    string // OpenAI-Project; optional
	Model      string
	Dimensions int // sent to the server; 0 = not sent, the model's own width
	Width      int // the model's own width; not needed for OpenAI's models
	MaxInputs  int // a request; 0 = OpenAI's limit
	MaxTokens  int // a request; 0 = OpenAI's limit
	// MaxInputTokens is the limit of one input, 0 = OpenAI's. Servers that cut
	// longer inputs off say nothing of it, so it is enforced here.
	MaxInputTokens int
	NanoPerToken   int64
	Priced         string        // date of the price
	Timeout        time.Duration // of a request; 0 = a minute
	HTTP           *http.Client  // nil = a client of its own
	// Observe hears what each answer says of rate limits; it may be nil.
	Observe func(provider.RateInfo)
}

// Client embeds with one model of one server. It is safe for concurrent use.
type Client struct {
	cfg   Config
	url   string
	width int
	http  *http.Client
}

var _ provider.Embedder = (*Client)(nil)

// New checks cfg and returns its client. It asks nobody. Every failure is a
// Halt fault "configuration".
func New(cfg Config) (*Client, error) {
	cfg.Service = cmp.Or(cfg.Service, "openai")
	cfg.BaseURL = cmp.Or(cfg.BaseURL, DefaultBaseURL)
	cfg.MaxInputs = cmp.Or(cfg.MaxInputs, MaxInputs)
	cfg.MaxTokens = cmp.Or(cfg.MaxTokens, MaxTokens)
	cfg.MaxInputTokens = cmp.Or(cfg.MaxInputTokens, MaxInputTokens)
	cfg.Timeout = cmp.Or(cfg.Timeout, DefaultTimeout)
	u, err := url.Parse(cfg.BaseURL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" {
		return nil, halt("the base URL %q is not one", cfg.BaseURL).WithHint("use one like %s", DefaultBaseURL)
	}
	if u.User != nil {
		return nil, halt("the base URL of %s holds credentials", u.Host).WithHint("set the key by itself: URLs end up in logs")
	}
	model, known := Models[cfg.Model]
	width := cmp.Or(cfg.Dimensions, cfg.Width, model.Width)
	switch {
	case cfg.Model == "":
		return nil, halt("no embedding model is named").WithHint("set --embedding-model, for example %s", DefaultModel)
	case strings.ContainsAny(cfg.Key, "\r\n"):
		return nil, halt("the key holds a line break").WithHint("check how the secret was made: a trailing newline is not part of a key")
	case width == 0:
		return nil, halt("how wide the vectors of %q are is not known", cfg.Model).WithHint("set --embedding-width")
	case width < 0 || width > 1<<16:
		return nil, halt("vectors of %d dimensions", width).WithHint("use 1 to 65536")
	case known && cfg.Dimensions > model.Width:
		return nil, halt("%s has %d dimensions, configured are %d", cfg.Model, model.Width, cfg.Dimensions).WithHint("use %d at most", model.Width)
	case known && cfg.Dimensions != 0 && !model.Shortens:
		return nil, halt("%s cannot give other than %d dimensions", cfg.Model, model.Width).WithHint("leave the dimensions out")
	case cfg.MaxInputs < 1 || cfg.MaxTokens < 1 || cfg.MaxInputTokens < 1 || cfg.MaxInputTokens > cfg.MaxTokens:
		return nil, halt("%d inputs and %d tokens a request with %d tokens an input cannot work", cfg.MaxInputs, cfg.MaxTokens, cfg.MaxInputTokens)
	case cfg.NanoPerToken < 0 || cfg.NanoPerToken > math.MaxInt64/int64(cfg.MaxTokens)/4:
		return nil, halt("a price of %d nano-dollars a token", cfg.NanoPerToken)
	}
	c := &Client{cfg: cfg, url: strings.TrimSuffix(cfg.BaseURL, "/") + "/embeddings", width: width, http: cfg.HTTP}
	if c.http == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = 64 // as many as calls can be under way
		c.http = &http.Client{Transport: t}
	}
	// A redirect would send the same body, and perhaps charge, twice.
	own := *c.http
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.http = &own
	return c, nil
}

func halt(format string, args ...any) *fault.Error {
	return fault.New(fault.Halt, "configuration", format, args...)
}

// Close ends idle connections.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Describe returns the limits and the price. The model's name has the width in
// it: shortened vectors are another space.
func (c *Client) Describe() provider.EmbedderInfo {
	return provider.EmbedderInfo{
		Service: c.cfg.Service, Model: fmt.Sprintf("%s-%d", c.cfg.Model, c.width), Dimensions: c.width,
		MaxInputs: c.cfg.MaxInputs, MaxTokens: c.cfg.MaxTokens, NanoPerToken: c.cfg.NanoPerToken,
		Priced: c.cfg.Priced, Cacheable: true,
	}
}

type request struct {
	Input          []string `json:"input"`
	Model          string   `json:"model"`
	EncodingFormat string   `json:"encoding_format"`
	Dimensions     int      `json:"dimensions,omitempty"`
}

// Embed sends one request with the inputs that can be sent; the others have
// their fault in Errs. If none is left, nothing is sent.
//
// Reasons besides those of Classify: "empty-input", "input-too-long"
// (single inputs), ReasonBatch (the request would break a limit),
// "bad-response", ReasonTimeout, "unreachable", "connection-lost".
func (c *Client) Embed(ctx context.Context, inputs []provider.Input) (provider.Embeddings, error) {
	out := provider.Embeddings{Vectors: make([][]float32, len(inputs))}
	texts := make([]string, 0, len(inputs))
	sent := make([]int, 0, len(inputs))
	tokens := 0
	for i, in := range inputs {
		var err error
		switch {
		case in.Text == "":
			err = fault.Invalid("empty-input", "the text is empty").WithHint("this is a defect of the stage before: report it")
		case in.Tokens > c.cfg.MaxInputTokens:
			err = fault.New(fault.Execution, "input-too-long", "the text has %d tokens, %s takes %d", in.Tokens, c.cfg.Model, c.cfg.MaxInputTokens).
				WithHint("set the chunker's --max-tokens lower and submit the document again")
		default:
			texts, sent, tokens = append(texts, in.Text), append(sent, i), tokens+in.Tokens
			continue
		}
		if out.Errs == nil {
			out.Errs = make([]error, len(inputs))
		}
		out.Errs[i] = err
	}
	if len(texts) == 0 {
		return out, nil
	}
	if len(texts) > c.cfg.MaxInputs || tokens > c.cfg.MaxTokens {
		return out, provider.Unbilled(fault.New(fault.Execution, ReasonBatch, "%d inputs of %d tokens are too much for one request to %s (%d inputs, %d tokens)",
			len(texts), tokens, c.cfg.Service, c.cfg.MaxInputs, c.cfg.MaxTokens))
	}
	body, err := json.Marshal(request{Input: texts, Model: c.cfg.Model, EncodingFormat: "base64", Dimensions: c.cfg.Dimensions})
	if err != nil {
		return out, provider.Unbilled(fault.Wrap(err, fault.Execution, "request", "the request cannot be encoded"))
	}
	vectors, used, err := c.post(ctx, body, len(texts))
	if err != nil {
		return out, err
	}
	for j, i := range sent {
		out.Vectors[i] = vectors[j]
	}
	// A missing figure must not read as free.
	out.Tokens = cmp.Or(used, tokens)
	out.Nano = int64(out.Tokens) * c.cfg.NanoPerToken
	return out, nil
}

func (c *Client) post(ctx context.Context, body []byte, n int) ([][]float32, int, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return nil, 0, provider.Unbilled(fault.Wrap(err, fault.Halt, "configuration", "the request to %s cannot be made", c.cfg.Service))
	}
	// Go sends a POST again by itself only if nothing of it had been sent, or if
	// an HTTP/2 server vouches that it did not look at it: still one attempt.
	req.Header.Set("Content-Type", "application/json")
	if id := provider.Attempt(ctx); id != "" {
		// OpenAI logs it, also where no answer arrives: with it support can say
		// what became of a call whose outcome is unknown here.
		req.Header.Set("X-Client-Request-Id", id)
	}
	c.sign(req)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, 0, c.broken(ctx, err)
	}
	defer resp.Body.Close()
	c.observe(resp)
	if resp.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
		return nil, 0, c.refusal(resp, text, err)
	}
	raw, err := c.read(resp, n)
	switch {
	case err == nil:
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, 0, c.broken(ctx, err)
	default:
		return nil, 0, err
	}
	vectors, used, err := decode(raw, n, c.width)
	if err != nil {
		return nil, 0, fault.Wrap(err, fault.Unavailable, "bad-response", "%s answered 200 with something else than %d vectors%s", c.cfg.Service, n, requestID(resp)).
			WithHint("check that %s is an embeddings server; the call counts as spent", c.cfg.BaseURL)
	}
	return vectors, used, nil
}

func (c *Client) sign(req *http.Request) {
	for k, v := range map[string]string{"OpenAI-Organization": c.cfg.Org, "OpenAI-Project": c.cfg.Project} {
		if v != "" {
			req.Header.Set(k, v)
		}
	}
	if c.cfg.Key != "" {
		req.Header.Set("Authorization", "Bearer "+c.cfg.Key)
	}
}

// read reads an answer that may be as large as n vectors written as decimal
// fractions, and no larger.
func (c *Client) read(resp *http.Response, n int) ([]byte, error) {
	limit := int64(1<<20) + int64(n)*(int64(c.width)*32+1024)
	buf := bytes.NewBuffer(make([]byte, 0, min(max(resp.ContentLength, 512), limit)+bytes.MinRead))
	if _, err := buf.ReadFrom(io.LimitReader(resp.Body, limit+1)); err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "connection-lost", "the answer of %s was cut off%s", c.cfg.Service, requestID(resp))
	}
	if int64(buf.Len()) > limit {
		return nil, fault.New(fault.Unavailable, "bad-response", "the answer of %s is over %d bytes%s", c.cfg.Service, limit, requestID(resp))
	}
	return buf.Bytes(), nil
}

// broken classifies a request without an answer. Only where no connection came
// about is it certain that nothing was charged.
func (c *Client) broken(ctx context.Context, err error) error {
	if provider.NeverSent(err) {
		return provider.Unbilled(fault.Wrap(cause(err), fault.Unavailable, "unreachable", "%s cannot be reached", c.cfg.Service).
			WithHint("check --embedding-base-url and the network"))
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fault.Wrap(cause(err), fault.Unavailable, ReasonTimeout, "%s did not answer in time", c.cfg.Service)
	}
	return fault.Wrap(cause(err), fault.Unavailable, "connection-lost", "the connection to %s was lost", c.cfg.Service)
}

// cause takes the URL off an error: it says nothing new and may be long.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// Check asks whether the server answers and takes the key, without a cost.
func (c *Client) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.url, "embeddings")+"models", nil)
	if err != nil {
		return fault.Wrap(err, fault.Halt, "configuration", "the request to %s cannot be made", c.cfg.Service)
	}
	c.sign(req)
	resp, err := c.http.Do(req)
	if err != nil {
		return c.broken(ctx, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
	if err != nil {
		return c.broken(ctx, err)
	}
	// Not every server has the list; that it says so proves that it is there.
	if resp.StatusCode < 300 || resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusMethodNotAllowed {
		return nil
	}
	return c.refusal(resp, text, nil)
}
