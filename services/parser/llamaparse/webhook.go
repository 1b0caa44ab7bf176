package llamaparse

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

// maxWebhook bounds the body of a webhook.
const maxWebhook = 1 << 20

// Handler receives the service's webhooks. A webhook is a hint to look at once
// instead of at the next poll, and nothing more: it may come late, again, or
// never. One that is not signed with the secret is refused.
func (c *Client) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxWebhook))
		if err != nil {
			http.Error(w, "the body cannot be read", http.StatusBadRequest)
			return
		}
		if !c.signed(r.Header.Get("LC-Signature"), body) {
			http.Error(w, "the signature is missing or wrong", http.StatusUnauthorized)
			return
		}
		var text string
		if json.Unmarshal(body, &text) == nil {
			body = []byte(text) // the format "string" wraps the object once more
		}
		var v struct {
			Data struct {
				Job string `json:"job_id"`
			} `json:"data"`
		}
		if err := json.Unmarshal(body, &v); err != nil {
			http.Error(w, "the body is not a webhook", http.StatusBadRequest)
			return
		}
		if c.cfg.Changed != nil && v.Data.Job != "" {
			c.cfg.Changed(v.Data.Job)
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

func (c *Client) signed(header string, body []byte) bool {
	got, err := hex.DecodeString(strings.TrimPrefix(header, "sha256="))
	if err != nil || c.cfg.WebhookSecret == "" {
		return false
	}
	mac := hmac.New(sha256.New, []byte(c.cfg.WebhookSecret))
	mac.Write(body)
	return hmac.Equal(got, mac.Sum(nil))
}
