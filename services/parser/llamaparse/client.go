// Package llamaparse is a client of LlamaCloud's parsing API, version 2.
//
// A parse is a job that runs for seconds or many minutes. There is no
// idempotency key, so a create is never sent again blindly: every job carries a
// key of its content and options in user_metadata, by which Find finds it when
// the outcome of a create is unknown. The bound on pages is always sent, which
// makes the bound on the cost one that the server enforces.
package llamaparse

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime/multipart"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/provider"
)

// The regions. A key of one is refused by the other.
const (
	RegionNA = "https://api.cloud.llamaindex.ai"
	RegionEU = "https://api.cloud.eu.llamaindex.ai"
)

// Service is the name in metrics and budget scopes.
const Service = "llamaparse"

// Credits of a page by tier, and what a credit costs, as of Priced. The list is a
// third party's; the region may change it: both are configuration.
var Credits = map[string]float64{"fast": 1, "cost_effective": 3, "agentic": 10, "agentic_plus": 45}

// The price list's date and unit.
const (
	Priced        = "2026-06-01"
	NanoPerCredit = 1_250_000
)

// Config says which server parses, and how.
type Config struct {
	BaseURL       string
	Key           string
	Tier          string // "fast", "cost_effective", "agentic", "agentic_plus"
	Version       string // of the parser: "2026-09-07", or "latest"
	MaxPages      int    // of one document
	Effort        bool   // confidence_score_effort "high": 5 credits a page
	Forms         bool   // forms "enrich": 10 credits a page
	Languages     []string
	FailedPages   float64       // share of pages that may fail in a job that counts; beyond it the job fails
	PerPage       float64       // credits a page, 0 = the list's
	NanoPerCredit int64         // 0 = the list's
	Timeout       time.Duration // of one request; 0 = 5 min for uploads, a fifth for the others
	HTTP          *http.Client
	Observe       func(provider.RateInfo)
	// Webhook is told to the server if it is set; see Handler. Changed is called
	// with the job that a webhook tells of.
	WebhookURL, WebhookSecret string
	Changed                   func(job string)
}

// Client parses by jobs. It is safe for concurrent use.
type Client struct {
	cfg  Config
	http *http.Client
}

var _ provider.Jobs = (*Client)(nil)

// New returns a client, or a Halt fault that names what cannot work.
func New(cfg Config) (*Client, error) {
	wrong := func(hint, format string, args ...any) error {
		return fault.New(fault.Halt, "configuration", format, args...).WithHint("%s", hint)
	}
	u, err := url.Parse(cfg.BaseURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, wrong("use "+RegionNA+" or "+RegionEU, "%q is not the URL of a server", cfg.BaseURL)
	}
	if cfg.PerPage == 0 {
		cfg.PerPage = Credits[cfg.Tier]
	}
	switch {
	case Credits[cfg.Tier] == 0:
		return nil, wrong("use fast, cost_effective, agentic or agentic_plus", "%q is not a tier", cfg.Tier)
	case cfg.Version == "":
		return nil, wrong("use a date that the service has published, or latest", "the version of the parser is missing")
	case cfg.MaxPages < 1:
		return nil, wrong("set --llamaparse-max-pages", "at most %d pages of a document cannot work", cfg.MaxPages)
	case cfg.FailedPages < 0 || cfg.FailedPages > 1 || cfg.PerPage < 0 || cfg.NanoPerCredit < 0:
		return nil, wrong("see --help", "a share is from 0 to 1, and a price not negative")
	case cfg.WebhookURL != "" && len(cfg.WebhookSecret) < 16:
		return nil, wrong("set --llamaparse-webhook-secret to 16 characters or more", "webhooks without a secret could come from anyone")
	}
	cfg.Timeout = cmp.Or(cfg.Timeout, 5*time.Minute)
	cfg.NanoPerCredit = cmp.Or(cfg.NanoPerCredit, NanoPerCredit)
	cfg.BaseURL = strings.TrimSuffix(cfg.BaseURL, "/")
	c := &Client{cfg: cfg, http: cfg.HTTP}
	if c.http == nil {
		c.http = &http.Client{
			Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute, DisableCompression: false},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return c, nil
}

// Close ends idle connections.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Describe names the parser. The version has everything that changes the output.
func (c *Client) Describe() provider.ParserInfo {
	v := c.cfg.Tier + "@" + c.cfg.Version
	for _, o := range []struct {
		on   bool
		name string
	}{{c.cfg.Effort, "effort"}, {c.cfg.Forms, "forms"}, {len(c.cfg.Languages) > 0, strings.Join(c.cfg.Languages, ".")}} {
		if o.on {
			v += "+" + o.name
		}
	}
	return provider.ParserInfo{Service: Service, Version: v}
}

func (c *Client) nano(pages int) int64 {
	per := c.cfg.PerPage
	if c.cfg.Effort {
		per += 5
	}
	if c.cfg.Forms {
		per += 10
	}
	return int64(math.Ceil(per * float64(pages) * float64(c.cfg.NanoPerCredit)))
}

// Bound returns the cost of all pages that the server is allowed to parse.
// Reasons: "empty", "too-large".
func (c *Client) Bound(src provider.Source) (provider.Bound, error) {
	if len(src.Data) == 0 {
		return provider.Bound{}, fault.Invalid("empty", "%s is empty", name(src)).WithHint("submit a file with content")
	}
	if len(src.Data) > 300<<20 {
		return provider.Bound{}, fault.Invalid("too-large", "%s has %d bytes, %s takes 300 MB", name(src), len(src.Data), Service).WithHint("split the document")
	}
	pages, exact := countPages(src.Data)
	switch {
	case pages == 0:
		pages = c.cfg.MaxPages
	case pages > c.cfg.MaxPages && exact:
		return provider.Bound{}, fault.Invalid("too-large", "%s has %d pages, at most %d are parsed", name(src), pages, c.cfg.MaxPages).
			WithHint("raise --llamaparse-max-pages, or split the document")
	}
	pages = min(pages, c.cfg.MaxPages)
	return provider.Bound{Nano: c.nano(pages), Pages: pages}, nil
}

// countPages returns how many pages a document has, or may have; 0 if nobody can
// tell before it is parsed.
func countPages(data []byte) (pages int, exact bool) {
	if n := pdfPages(data); n > 0 {
		return n, true
	}
	return officePages(data)
}

func name(src provider.Source) string {
	return cmp.Or(events.CleanHeader(src.Name, 200), "the document")
}

// key names a content with its options, in the 64 bytes that the service allows.
func (c *Client) key(src provider.Source) string {
	return events.Fingerprint(events.ContentHash(src.Data), c.Describe().Version, strconv.Itoa(c.cfg.MaxPages))
}

// metadataKey holds the key in a job's user_metadata.
const metadataKey = "sluice_key"

type job struct {
	ID       string            `json:"id"`
	Status   string            `json:"status"`
	Error    *string           `json:"error_message"`
	Created  time.Time         `json:"created_at"`
	Metadata map[string]string `json:"user_metadata"`
	Usage    *struct {
		Credits *float64 `json:"credits"` // null until billing has seen the job
	} `json:"usage"`
}

// skew is by how much the service's clock and ours may differ.
const skew = 5 * time.Minute

// Find looks for the job of an earlier Create among those of the last two days,
// after which the service has forgotten them. A job that goes on or has a result
// is preferred to one that ended badly, which counts only if it is of a create
// since then.
//
// Reason besides those of requests: "jobs-unlisted" (Unavailable), if the list
// does not come to an end.
func (c *Client) Find(ctx context.Context, src provider.Source, since time.Time) (string, error) {
	want, token, ended := c.key(src), "", ""
	old := func(at time.Time) bool {
		return !at.IsZero() && (at.Before(since.Add(-skew)) || time.Since(at) > 49*time.Hour)
	}
	for range 100 {
		var page struct {
			Items []job   `json:"items"`
			Next  *string `json:"next_page_token"`
		}
		q := url.Values{"page_size": {"100"}}
		if token != "" {
			q.Set("page_token", token)
		}
		if err := c.get(ctx, "/api/v2/parse?"+q.Encode(), &page); err != nil {
			return "", err
		}
		for _, j := range page.Items {
			switch {
			case j.Metadata[metadataKey] != want:
			case j.Status != "FAILED" && j.Status != "CANCELLED":
				return j.ID, nil
			case ended == "" && !old(j.Created):
				ended = j.ID
			}
		}
		// The newest come first.
		if len(page.Items) == 0 || page.Next == nil || *page.Next == "" || old(page.Items[len(page.Items)-1].Created) {
			return ended, nil
		}
		token = *page.Next
	}
	return "", fault.New(fault.Unavailable, "jobs-unlisted", "%s lists more jobs than could be looked at for the one of %s", Service, name(src)).
		WithHint("look in the service's console whether it has a job for the document")
}

// configuration is the part of the service's that is used.
type configuration struct {
	Tier       string `json:"tier"`
	Version    string `json:"version"`
	PageRanges struct {
		MaxPages int `json:"max_pages"`
	} `json:"page_ranges"`
	Control struct {
		Failure struct {
			Ratio float64 `json:"allowed_page_failure_ratio"`
		} `json:"job_failure_conditions"`
	} `json:"processing_control"`
	Options  *options          `json:"processing_options,omitempty"`
	Client   string            `json:"client_name"`
	Metadata map[string]string `json:"user_metadata"`
	Webhooks []webhook         `json:"webhook_configurations,omitempty"`
}

type options struct {
	Effort string `json:"confidence_score_effort,omitempty"`
	Forms  string `json:"forms,omitempty"`
	OCR    *struct {
		Languages []string `json:"languages"`
	} `json:"ocr_parameters,omitempty"`
}

type webhook struct {
	URL    string   `json:"webhook_url"`
	Events []string `json:"webhook_events"`
	Format string   `json:"webhook_output_format"`
	Secret string   `json:"webhook_signing_secret"`
}

func (c *Client) configuration(src provider.Source) (cfg configuration, err error) {
	bound, err := c.Bound(src)
	if err != nil {
		return cfg, err
	}
	cfg.Tier, cfg.Version, cfg.Client = c.cfg.Tier, c.cfg.Version, "sluice"
	cfg.PageRanges.MaxPages = bound.Pages
	cfg.Control.Failure.Ratio = c.cfg.FailedPages
	cfg.Metadata = map[string]string{metadataKey: c.key(src), "sluice_document": src.Owner.Document}
	o := &options{}
	if c.cfg.Effort {
		o.Effort, cfg.Options = "high", o
	}
	if c.cfg.Forms {
		o.Forms, cfg.Options = "enrich", o
	}
	if len(c.cfg.Languages) > 0 {
		o.OCR = &struct {
			Languages []string `json:"languages"`
		}{c.cfg.Languages}
		cfg.Options = o
	}
	if c.cfg.WebhookURL != "" {
		cfg.Webhooks = []webhook{{c.cfg.WebhookURL, []string{"parse.success", "parse.error", "parse.partial_success", "parse.cancelled"}, "json", c.cfg.WebhookSecret}}
	}
	return cfg, nil
}

// Create uploads the document and starts its job. One request, never repeated.
func (c *Client) Create(ctx context.Context, src provider.Source) (string, error) {
	cfg, err := c.configuration(src)
	if err != nil {
		return "", provider.Unbilled(err)
	}
	text, err := json.Marshal(cfg)
	if err != nil {
		return "", provider.Unbilled(fault.Wrap(err, fault.Execution, "request", "the request cannot be encoded"))
	}
	var body bytes.Buffer
	m := multipart.NewWriter(&body)
	file := path.Base(strings.ReplaceAll(name(src), "\\", "/")) // the extension tells the service the type
	part, err := m.CreateFormFile("file", strings.Map(func(r rune) rune {
		if r < 0x20 || r == '"' {
			return '_'
		}
		return r
	}, file))
	if err == nil {
		_, err = part.Write(src.Data)
	}
	if err == nil {
		err = m.WriteField("configuration", string(text))
	}
	if err = errors.Join(err, m.Close()); err != nil {
		return "", provider.Unbilled(fault.Wrap(err, fault.Execution, "request", "the request cannot be encoded"))
	}
	var j job
	err = c.do(ctx, http.MethodPost, "/api/v2/parse/upload", m.FormDataContentType(), &body, c.cfg.Timeout, &j)
	if err != nil {
		return "", err
	}
	if j.ID == "" {
		return "", fault.New(fault.Unavailable, "bad-response", "%s started a job without an ID", Service).WithHint("check what is behind --llamaparse-base-url")
	}
	return j.ID, nil
}

// Result asks once whether a job has ended, and fetches what it has made. ended is
// false while it runs.
//
// Reasons besides those of requests: "job-unknown", "parse-failed", "cancelled"
// (Execution), "empty" (Validation).
func (c *Client) Result(ctx context.Context, id string, src provider.Source) (out provider.Parse, ended bool, err error) {
	var v struct {
		Job job `json:"job"` // nested here, flat in the answer of a create
	}
	if err := c.get(ctx, "/api/v2/parse/"+url.PathEscape(id), &v); err != nil {
		return out, false, err
	}
	reason := "it does not say why"
	if v.Job.Error != nil && *v.Job.Error != "" {
		reason = c.clean(*v.Job.Error)
	}
	switch v.Job.Status {
	case "COMPLETED":
		out, err = c.result(ctx, id, src)
		return out, err == nil, err // an error has the pages of a document that was refused for them
	case "FAILED":
		return out, true, fault.New(fault.Execution, "parse-failed", "%s could not parse %s: %s (job %s)", Service, name(src), reason, events.CleanHeader(id, 64)).
			WithHint("look at the job in the service's console; another tier may do, or --parser local")
	case "CANCELLED":
		return out, true, fault.New(fault.Execution, "cancelled", "the job of %s was cancelled at %s (job %s)", name(src), Service, events.CleanHeader(id, 64)).
			WithHint("somebody cancelled it there; replay the dead letter to parse it again")
	}
	return out, false, nil
}

// result fetches what a completed job has made.
func (c *Client) result(ctx context.Context, id string, src provider.Source) (out provider.Parse, err error) {
	type page struct {
		Number   int    `json:"page_number"`
		Success  *bool  `json:"success"`
		Error    string `json:"error"`
		Markdown string `json:"markdown"`
		Text     string `json:"text"`
	}
	type pages struct {
		Pages []page `json:"pages"`
	}
	var v struct {
		Job      job    `json:"job"`
		Markdown *pages `json:"markdown"`
		Text     *pages `json:"text"`
	}
	what := "markdown"
	if c.cfg.Tier == "fast" {
		what = "text" // it has no Markdown
	}
	if err := c.get(ctx, "/api/v2/parse/"+url.PathEscape(id)+"?expand="+what+"&expand=usage", &v); err != nil {
		return out, err
	}
	got := v.Markdown
	if what == "text" {
		got = v.Text
	}
	if got == nil {
		return out, fault.New(fault.Unavailable, "bad-response", "%s answers without the result of job %s", Service, events.CleanHeader(id, 64))
	}
	var b strings.Builder
	failed := 0
	for i, p := range got.Pages {
		number := cmp.Or(max(p.Number, 0), i+1)
		if p.Success != nil && !*p.Success {
			failed++
			if failed <= 20 {
				out.Warnings = append(out.Warnings, fmt.Sprintf("page %d could not be parsed: %s", number, c.clean(p.Error)))
			}
			continue
		}
		text := strings.TrimSpace(strings.ToValidUTF8(cmp.Or(p.Markdown, p.Text), "\uFFFD"))
		if text == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("\n\n")
		}
		out.Pages = append(out.Pages, events.PageMark{Page: number, Offset: b.Len()})
		b.WriteString(text)
	}
	if failed > 20 {
		out.Warnings = append(out.Warnings, fmt.Sprintf("%d pages could not be parsed in all", failed))
	}
	if float64(failed) > c.cfg.FailedPages*float64(len(got.Pages)) {
		return out, fault.New(fault.Execution, "parse-failed", "%d of %d pages of %s failed: %s", failed, len(got.Pages), name(src), out.Warnings[0]).
			WithHint("allow more with --llamaparse-failed-pages, or try another tier")
	}
	if b.Len() == 0 {
		return out, fault.Invalid("empty", "%s found no text in %s", Service, name(src)).WithHint("look at the document: it may be blank")
	}
	bound, err := c.Bound(src)
	if err != nil {
		return out, err
	}
	if _, exact := countPages(src.Data); !exact && len(got.Pages) >= bound.Pages {
		hint := "raise --llamaparse-max-pages for more"
		if bound.Pages < c.cfg.MaxPages {
			hint = "it looked as if it had no more; save it as PDF if pages are missing"
		}
		out.Warnings = append(out.Warnings, fmt.Sprintf("only the first %d pages were parsed: %s", bound.Pages, hint))
	}
	out.Markdown = b.String()
	out.Facts = events.Facts{Type: src.ContentType, Title: title(out.Markdown), Pages: len(got.Pages)}
	// Until billing has seen the job, its price is what the list says.
	out.Nano = min(c.nano(len(got.Pages)), bound.Nano)
	if v.Job.Usage != nil && v.Job.Usage.Credits != nil {
		out.Nano, out.Billed = c.credits(*v.Job.Usage.Credits), true
	}
	return out, nil
}

// title is the first heading, if the document begins with one.
func title(markdown string) string {
	line, _, _ := strings.Cut(markdown, "\n")
	if t := strings.TrimLeft(line, "#"); t != line && strings.HasPrefix(t, " ") {
		return events.CleanHeader(t, 300)
	}
	return ""
}

func (c *Client) credits(v float64) int64 {
	if v < 0 || v > 1e12 || v != v {
		return math.MaxInt64 / 4 // nonsense must not read as cheap
	}
	return int64(math.Ceil(v * float64(c.cfg.NanoPerCredit)))
}

// Cost returns what a job did cost. Null is not zero: it is not known yet.
func (c *Client) Cost(ctx context.Context, id string) (int64, bool, error) {
	var v struct {
		Job job `json:"job"`
	}
	if err := c.get(ctx, "/api/v2/parse/"+url.PathEscape(id)+"?expand=usage", &v); err != nil {
		return 0, false, err
	}
	if v.Job.Usage == nil || v.Job.Usage.Credits == nil {
		return 0, false, nil
	}
	return c.credits(*v.Job.Usage.Credits), true, nil
}

// Check asks whether the server answers and takes the key, without a cost.
func (c *Client) Check(ctx context.Context) error {
	var v json.RawMessage
	return c.get(ctx, "/api/v2/parse?page_size=1", &v)
}

func (c *Client) get(ctx context.Context, path string, to any) error {
	return c.do(ctx, http.MethodGet, path, "", nil, c.cfg.Timeout/5, to)
}

// Bounds of answers: a result holds at most a few times 64 kB a page.
const (
	maxAnswer = 512 << 20
	maxError  = 64 << 10
)

func (c *Client) do(ctx context.Context, method, path, contentType string, body io.Reader, timeout time.Duration, to any) error {
	if c.cfg.Key == "" && (c.cfg.BaseURL == RegionNA || c.cfg.BaseURL == RegionEU) {
		return provider.Unbilled(fault.New(fault.Halt, "no-key", "there is no key for %s", Service).WithHint("set LLAMA_CLOUD_API_KEY"))
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.cfg.BaseURL+path, body)
	if err != nil {
		return provider.Unbilled(fault.Wrap(err, fault.Halt, "configuration", "the request to %s cannot be made", Service))
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if c.cfg.Key != "" {
		req.Header.Set("Authorization", "Bearer "+c.cfg.Key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.broken(ctx, err)
	}
	defer resp.Body.Close()
	if c.cfg.Observe != nil {
		c.cfg.Observe(provider.RateInfo{Status: resp.StatusCode, RetryAfter: provider.RetryAfter(resp.Header, time.Now())})
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		text, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
		if err != nil {
			text = append(text, " (cut off)"...)
		}
		return c.refusal(resp, text)
	}
	limited := &io.LimitedReader{R: resp.Body, N: maxAnswer + 1}
	if err := json.NewDecoder(limited).Decode(to); err != nil {
		if limited.N <= 0 {
			return fault.New(fault.Execution, "bad-response", "the answer of %s is over %d bytes", Service, maxAnswer)
		}
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return fault.Wrap(err, fault.Unavailable, "bad-response", "%s answers something else than JSON", Service).WithHint("check what is behind --llamaparse-base-url")
		}
		return fault.Wrap(err, fault.Unavailable, "connection-lost", "the answer of %s was cut off", Service)
	}
	return nil
}

// broken classifies a request without an answer. Only where no connection came
// about is it certain that nothing was started.
func (c *Client) broken(ctx context.Context, err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	switch {
	case provider.NeverSent(err):
		return provider.Unbilled(fault.Wrap(err, fault.Unavailable, "unreachable", "%s cannot be reached", Service).WithHint("check --llamaparse-base-url and the network"))
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fault.Wrap(err, fault.Unavailable, "timeout", "%s did not answer in time", Service)
	}
	return fault.Wrap(err, fault.Unavailable, "connection-lost", "the connection to %s was lost", Service)
}

// refusal turns an answer that is not 2xx into a fault. A refusal has started
// nothing. Of a time-out or a 5xx nobody knows: the service has no error codes,
// its errors look like any gateway's.
func (c *Client) refusal(resp *http.Response, body []byte) error {
	text, config := c.detail(body)
	f := classify(resp.StatusCode, config)
	if resp.StatusCode == http.StatusNotFound && strings.EqualFold(strings.TrimRight(text, "."), "job not found") {
		f = fault.New(fault.Execution, provider.ReasonJobUnknown, "").WithHint("the service forgets jobs after 48 hours")
	}
	f.Message = fmt.Sprintf("%s answered %d: %s", Service, resp.StatusCode, text)
	if d := provider.RetryAfter(resp.Header, time.Now()); d > 0 {
		f.RetryAfter = d
	}
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusRequestTimeout {
		return f
	}
	return provider.Unbilled(f)
}

// detail reads FastAPI's errors, and tells whether our configuration is at fault.
func (c *Client) detail(body []byte) (text string, config bool) {
	var v struct {
		Detail json.RawMessage `json:"detail"`
	}
	if json.Unmarshal(body, &v) != nil || len(v.Detail) == 0 {
		return c.clean(string(body)), false
	}
	if json.Unmarshal(v.Detail, &text) == nil {
		return c.clean(text), false
	}
	var list []struct {
		Type    string `json:"type"`
		Loc     []any  `json:"loc"`
		Message string `json:"msg"`
	}
	if json.Unmarshal(v.Detail, &list) != nil {
		return c.clean(string(v.Detail)), false
	}
	var all []string
	for _, e := range list {
		loc := make([]string, len(e.Loc))
		for i, l := range e.Loc {
			loc[i] = fmt.Sprint(l)
			config = config || (loc[i] != "body" && loc[i] != "file")
		}
		all = append(all, strings.Join(loc, ".")+": "+e.Message)
	}
	return c.clean(strings.Join(all, "; ")), config
}

// classify decides by status; the service has no codes.
func classify(status int, config bool) *fault.Error {
	switch {
	case status == http.StatusUnauthorized:
		return fault.New(fault.Halt, "invalid-key", "").WithHint("set LLAMA_CLOUD_API_KEY to a key that the server takes, and restart the parser; a key works in its own region only (--llamaparse-base-url %s). Until then the work waits, and nothing is lost", RegionEU)
	case status == http.StatusPaymentRequired:
		return fault.New(fault.CostLimit, "provider-quota", "").WithHint("the account is out of credits: raise its plan; the work waits")
	case status == http.StatusForbidden:
		return fault.New(fault.Halt, "forbidden", "").WithHint("the key belongs to another project, or the account is disabled")
	case status == http.StatusNotFound:
		// A gateway that has lost its routes says so, too. It has not lost the jobs.
		return fault.New(fault.Unavailable, "not-found", "").WithHint("check that --llamaparse-base-url is the service")
	case status == http.StatusTooManyRequests:
		return fault.New(fault.RateLimited, "rate-limited", "")
	case status == http.StatusRequestTimeout, status == http.StatusConflict, status == http.StatusTooEarly, status >= 500:
		return fault.New(fault.Unavailable, "unavailable", "")
	case status == http.StatusUnprocessableEntity && config:
		return fault.New(fault.Halt, "configuration-refused", "").WithHint("check --llamaparse-tier and --llamaparse-version")
	case status == http.StatusBadRequest, status == http.StatusRequestEntityTooLarge, status == http.StatusUnsupportedMediaType, status == http.StatusUnprocessableEntity:
		return fault.New(fault.Execution, "input-refused", "").WithHint("look at the document; --parser local may read it")
	}
	return fault.New(fault.Halt, "unexpected-status", "").WithHint("check that --llamaparse-base-url is the service")
}

// clean makes the service's words fit for a log line, without the key.
func (c *Client) clean(s string) string {
	if c.cfg.Key != "" {
		s = strings.ReplaceAll(s, c.cfg.Key, "(the key)")
	}
	return cmp.Or(events.CleanHeader(strings.Join(strings.Fields(s), " "), 300), "(no text)")
}
