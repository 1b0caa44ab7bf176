package openai

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/provider"
)

// Reasons that tell the caller to try other inputs, not the same ones again.
const (
	ReasonBatch = "batch-too-large" // fewer inputs might do
	ReasonInput = "input-refused"   // at least one of the inputs is at fault
)

// ReasonTimeout is the reason of what was not answered in time, here or at a gateway:
// the same again would take as long.
const ReasonTimeout = "timeout"

// maxError bounds how much of an error's body is read.
const maxError = 64 << 10

// answer is what an error's body said, whichever server wrote it.
type answer struct {
	message, kind, code string
	whole               bool // OpenAI's error object with all that belongs into it
}

// parseError understands OpenAI's {"error":{…}}, {"error":"…"}, the top-level
// objects of TEI and vLLM, and what is not JSON at all.
func parseError(body []byte) answer {
	type object struct {
		Message string          `json:"message"`
		Type    string          `json:"type"`
		Code    json.RawMessage `json:"code"` // string, number or null
		Param   json.RawMessage `json:"param"`
		Error   json.RawMessage `json:"error"`
	}
	read := func(raw []byte) (object, answer, bool) {
		var o object
		if json.Unmarshal(raw, &o) != nil {
			return o, answer{}, false
		}
		code := strings.Trim(string(o.Code), `"`)
		if code == "null" {
			code = ""
		}
		return o, answer{message: o.Message, kind: o.Type, code: code}, true
	}
	top, a, ok := read(body)
	if !ok {
		return answer{message: string(body)}
	}
	if len(top.Error) == 0 || string(top.Error) == "null" {
		return a
	}
	var text string
	if json.Unmarshal(top.Error, &text) == nil {
		a.message = text
		return a
	}
	if o, inner, ok := read(top.Error); ok {
		// A gateway's imitation is hardly ever complete.
		inner.whole = o.Message != "" && o.Type != "" && textOrNull(o.Code) && textOrNull(o.Param)
		return inner
	}
	return answer{message: string(body)}
}

// textOrNull tells whether a field is there, as a string or as null.
func textOrNull(raw json.RawMessage) bool {
	return len(raw) > 0 && (raw[0] == '"' || string(raw) == "null")
}

// refusal turns an answer that is not 200 into a fault. cut says that the body
// is not all of it.
func (c *Client) refusal(resp *http.Response, body []byte, cut error) error {
	a := parseError(body)
	if cut != nil {
		a.message, a.whole = a.message+" (cut off)", false
	}
	f := classify(resp.StatusCode, a)
	leads := ""
	if to := c.target(resp); f.Reason == "redirected" && to != "" {
		leads, f.Hint = ", a redirect to "+to, "set --embedding-base-url to "+to
	}
	message := fmt.Sprintf("%s answered %d%s: %s%s", c.cfg.Service, resp.StatusCode, leads, c.clean(a.message), requestID(resp))
	if wait := provider.RetryAfter(resp.Header, time.Now()); wait > 0 {
		f.RetryAfter = wait
	}
	f.Message = message
	if mayHaveCharged(resp, a) {
		return f
	}
	return provider.Unbilled(f)
}

// target returns the base URL that a redirect leads to, "" if it names none. It
// ends up in logs, so credentials, query and fragment are left out.
func (c *Client) target(resp *http.Response) string {
	to, err := resp.Location()
	if err != nil {
		return ""
	}
	to.User, to.RawQuery, to.ForceQuery, to.Fragment, to.RawFragment = nil, "", false, "", ""
	path := strings.TrimSuffix(to.Path, "/")
	for _, end := range []string{"/embeddings", "/models"} {
		path = strings.TrimSuffix(path, end)
	}
	to.Path, to.RawPath = path, ""
	return c.clean(to.String())
}

// mayHaveCharged tells whether a call that was answered with an error may have
// cost something all the same. A refusal is free. Of a time-out or a 5xx only the
// service's own complete word is believed, under the ID that it gives each
// request: it failed and charges nothing. What a gateway says of a call that it
// lost sight of says nothing about what the service has done.
func mayHaveCharged(resp *http.Response, a answer) bool {
	switch resp.StatusCode {
	case http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusRequestTimeout:
		return !a.whole || resp.Header.Get("X-Request-Id") == ""
	}
	return resp.StatusCode < 300 || resp.StatusCode >= 500 // 502 and 504 are a gateway's by their meaning
}

// clean makes the words of a server fit for a log line, without the key, which
// some proxies repeat.
func (c *Client) clean(s string) string {
	if c.cfg.Key != "" {
		s = strings.ReplaceAll(s, c.cfg.Key, "(the key)")
	}
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	if len(s) > 300 {
		cut := 300
		for !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	if s == "" {
		return "(no text)"
	}
	return s
}

// The codes with which OpenAI says that money is missing. They come as 429 and
// are not about the rate: trying again makes nothing better.
var money = map[string]bool{
	"insufficient_quota": true, "credit_balance_exhausted": true, "organization_spend_limit_exceeded": true,
	"project_spend_limit_exceeded": true, "organization_usage_limit_exceeded": true, "billing_hard_limit_reached": true,
}

// classify decides by code, then by type, then by status.
func classify(status int, a answer) *fault.Error {
	quota := func() *fault.Error {
		return fault.New(fault.CostLimit, "provider-quota", "").WithHint("the provider's own account is out of money or at its spend limit: raise it there; the work waits")
	}
	rate := func() *fault.Error { return fault.New(fault.RateLimited, "rate-limited", "") }
	batch := func() *fault.Error { return fault.New(fault.Execution, ReasonBatch, "") }
	input := func() *fault.Error {
		return fault.New(fault.Execution, ReasonInput, "").WithHint("look at the chunk's text; the document's other chunks are not concerned")
	}
	model := func() *fault.Error {
		return fault.New(fault.Halt, "unknown-model", "").WithHint("check --embedding-model and what the key may use")
	}
	key := func() *fault.Error {
		return fault.New(fault.Halt, "invalid-key", "").WithHint("set OPENAI_API_KEY to a key that the server takes, and restart the embedder; until then the work waits, and nothing is lost")
	}
	text := strings.ToLower(a.message)
	switch {
	case money[a.code]:
		return quota()
	case a.code == "max_tokens_per_request":
		return batch()
	case a.code == "rate_limit_exceeded", a.code == "slow_down":
		return rate()
	case a.code == "invalid_api_key":
		return key()
	case a.code == "model_not_found":
		return model()
	case a.code == "server_is_overloaded":
		return fault.New(fault.Unavailable, "overloaded", "")
	}
	switch a.kind {
	case "insufficient_quota":
		return quota()
	case "max_tokens_per_request":
		return batch()
	case "rate_limit_error":
		return rate()
	case "not_found_error":
		return model()
	}
	switch status {
	case http.StatusUnauthorized:
		return key()
	case http.StatusPaymentRequired:
		return quota()
	case http.StatusForbidden:
		return fault.New(fault.Halt, "forbidden", "").WithHint("the account may not use this model, or not from here")
	case http.StatusNotFound:
		return model()
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return fault.New(fault.Halt, "redirected", "").WithHint("set --embedding-base-url to where the server really is; it does not say where")
	case http.StatusTooManyRequests:
		return rate()
	case http.StatusRequestEntityTooLarge:
		return batch()
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly, http.StatusFailedDependency:
		return fault.New(fault.Unavailable, "unavailable", "")
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		switch {
		case strings.Contains(text, "matryoshka"):
			return fault.New(fault.Halt, "dimensions-refused", "").WithHint("leave --embedding-dimensions out: this server does not shorten this model's vectors")
		case strings.Contains(text, "batch size"), strings.Contains(text, "batch_size"), strings.Contains(text, "max_client_batch_size"):
			return batch()
		}
		return input()
	}
	switch {
	case status >= 500 && strings.Contains(text, "too large to process"):
		return input() // llama.cpp's way to say that an input is too long
	case status == http.StatusGatewayTimeout, status == 524: // 524 is Cloudflare's
		return fault.New(fault.Unavailable, ReasonTimeout, "")
	case status >= 500:
		return fault.New(fault.Unavailable, "unavailable", "")
	default:
		return fault.New(fault.Halt, "unexpected-status", "").WithHint("check that --embedding-base-url is an embeddings server")
	}
}

func (c *Client) observe(resp *http.Response) {
	if c.cfg.Observe == nil {
		return
	}
	c.cfg.Observe(provider.RateInfo{
		Status: resp.StatusCode, RetryAfter: provider.RetryAfter(resp.Header, time.Now()),
		Requests: quota(resp.Header, "requests"), Tokens: quota(resp.Header, "tokens"),
	})
}

// quota reads one window. Half a window is no use to anyone.
func quota(h http.Header, what string) provider.Quota {
	limit, err1 := strconv.Atoi(h.Get("X-Ratelimit-Limit-" + what))
	left, err2 := strconv.Atoi(h.Get("X-Ratelimit-Remaining-" + what))
	if err1 != nil || err2 != nil || limit <= 0 || left < 0 {
		return provider.Quota{}
	}
	reset, err := time.ParseDuration(h.Get("X-Ratelimit-Reset-" + what))
	if err != nil || reset < 0 {
		reset = 0
	}
	return provider.Quota{Known: true, Limit: limit, Remaining: left, Reset: reset}
}

func requestID(resp *http.Response) string {
	if id := resp.Header.Get("X-Request-Id"); id != "" {
		return " (request " + events.CleanHeader(id, 64) + ")"
	}
	return ""
}
