package openai

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
