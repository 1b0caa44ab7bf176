package openai

import "encoding/json"

// What is used if nothing else is said.
const (
	DefaultBaseURL = "https://api.openai.com/v1"
	DefaultModel   = "text-embedding-3-small"
)

// Model is what is known of one of OpenAI's models.
type Model struct {
	Width        int
	Shortens     bool  // takes the field "dimensions"
	NanoPerToken int64 // nano-dollars; a dollar a million tokens is 1000
	Batch        int64 // the same for the Batch API, half the price
}

// Priced is the day on which the prices of Models were looked up.
const Priced = "2026-11-05"

// Models are the embedding models that OpenAI sells.
var Models = map[string]Model{
	"text-embedding-3-small": {Width: 1536, Shortens: true, NanoPerToken: 20, Batch: 10},
	"text-embedding-3-large": {Width: 3072, Shortens: true, NanoPerToken: 130, Batch: 65},
	"text-embedding-ada-002": {Width: 1536, NanoPerToken: 100, Batch: 50},
}

// The limits of the Batch API, which takes a day and half the price. Nothing uses
// it yet; these are its types, and Model.Batch is its price.
const (
	MaxBatchRequests = 50_000
	MaxBatchInputs   = 50_000 // over all requests
	MaxBatchBytes    = 200_000_000
)

// BatchRequest is a line of a batch's input file. A file is of one model, and CustomID
// is its own in it.
type BatchRequest struct {
	CustomID string          `json:"custom_id"`
	Method   string          `json:"method"` // POST
	URL      string          `json:"url"`    // /v1/embeddings
	Body     json.RawMessage `json:"body"`   // as it would be sent by itself
}

// BatchResult is a line of its output or error file, which have any order. One of
// Response and Error is nil.
type BatchResult struct {
	ID       string         `json:"id"`
	CustomID string         `json:"custom_id"`
	Response *BatchResponse `json:"response"`
	Error    *BatchError    `json:"error"`
}

// BatchResponse is the answer to one of a batch's requests.
type BatchResponse struct {
	StatusCode int             `json:"status_code"`
	RequestID  string          `json:"request_id"`
	Body       json.RawMessage `json:"body"`
}

// BatchError says why a request was not executed.
type BatchError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}
