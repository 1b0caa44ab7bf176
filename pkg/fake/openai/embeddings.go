package openai

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"sluice/pkg/fake"
)

// Personality is whose manners the server has.
type Personality string

// The personalities. The zero value is OpenAI.
const (
	OpenAI   Personality = ""
	TEI      Personality = "tei"      // 32 inputs and 2 MB a request, cuts long inputs off, errors at the top level
	Ollama   Personality = "ollama"   // cuts long inputs off, takes empty ones, no token lists
	VLLM     Personality = "vllm"     // refuses "dimensions", numeric codes, truncate_prompt_tokens
	LlamaCPP Personality = "llamacpp" // 500 for inputs over 512 tokens, no usage figures
)

// The limits of OpenAI, and those of the others that differ.
const (
	maxInputs      = 2048
	maxInputTokens = 8192
	maxTokens      = 300_000

	teiInputs     = 32
	teiBody       = 2_000_000
	teiConcurrent = 512 // inputs that are being worked on
	llamaTokens   = 512 // an input
)

// problem is an answer other than 200.
type problem struct {
	Status              int
	Type, Code, Message string
}

func itoa(n int) string { return strconv.Itoa(n) }

// body is what the personality makes of the problem.
func (p problem) body(who Personality) any {
	code := any(nil)
	if p.Code != "" {
		code = p.Code
	}
	switch who {
	case TEI:
		return map[string]any{"message": p.Message, "code": p.Status, "type": p.Type}
	case VLLM:
		return map[string]any{"object": "error", "message": p.Message, "type": p.Type, "param": nil, "code": p.Status}
	case LlamaCPP:
		return map[string]any{"error": map[string]any{"code": p.Status, "message": p.Message, "type": p.Type}}
	}
	return map[string]any{"error": map[string]any{"message": p.Message, "type": p.Type, "param": nil, "code": code}}
}

// refuse answers with a problem and counts it.
func (s *Server) refuse(w http.ResponseWriter, p problem) {
	s.mu.Lock()
	s.meter.Refused[p.Status]++
	s.mu.Unlock()
	fake.Reply(w, p.Status, p.body(s.cfg.Personality))
}

// parsed is a valid request.
type parsed struct {
	model      string
	inputs     []string // a list of tokens is a text of its own
	tokens     []int    // of each input; 0 = to be counted
	base64     bool
	dimensions int
	truncate   int // tokens an input; 0 = not asked for
}

// texts reads "input" in its four forms.
func (q *parsed) texts(raw json.RawMessage) bool {
	list := func(raw json.RawMessage) bool {
		var tokens []*int
		if json.Unmarshal(raw, &tokens) != nil || len(tokens) == 0 || slices.Contains(tokens, nil) {
			return false
		}
		q.inputs, q.tokens = append(q.inputs, "tokens "+string(raw)), append(q.tokens, len(tokens))
		return true
	}
	var one *string
	if json.Unmarshal(raw, &one) == nil && one != nil {
		q.inputs, q.tokens = []string{*one}, []int{0}
		return true
	}
	if list(raw) {
		return true
	}
	var many []json.RawMessage
	if json.Unmarshal(raw, &many) != nil || len(many) == 0 {
		return false
	}
	text := many[0][0] == '"' // all are like the first
	for _, raw := range many {
		var t *string
		switch {
		case !text && list(raw):
		case text && json.Unmarshal(raw, &t) == nil && t != nil:
			q.inputs, q.tokens = append(q.inputs, *t), append(q.tokens, 0)
		default:
			return false
		}
	}
	return true
}

// parse reads a request as strictly as the published schema does.
func (s *Server) parse(body []byte) (q parsed, p *problem) {
	invalid := func(format string, args ...any) *problem {
		return &problem{Status: 400, Type: "invalid_request_error", Message: fmt.Sprintf(format, args...)}
	}
	var in struct {
		Input      json.RawMessage `json:"input"`
		Model      *string         `json:"model"`
		Format     *string         `json:"encoding_format"`
		Dimensions *int            `json:"dimensions"`
		User       *string         `json:"user"`
		Truncate   int             `json:"truncate_prompt_tokens"` // vLLM's
	}
	who := s.cfg.Personality
	d := json.NewDecoder(bytes.NewReader(body))
	if who == OpenAI {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(&in); err != nil || d.More() {
		return q, invalid("We could not parse the JSON body of your request. (%v)", err)
	}
	if in.Model == nil || *in.Model == "" {
		return q, invalid("you must provide a model parameter")
	}
	q.model = *in.Model
	switch f := in.Format; {
	case f == nil || *f == "float":
	case *f == "base64":
		q.base64 = true
	default:
		return q, invalid("'%s' is not one of ['float', 'base64'] - 'encoding_format'", *f)
	}
	badInput := invalid("'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference.")
	switch who {
	case TEI:
		badInput = &problem{Status: 400, Type: "Empty", Message: "`inputs` cannot be empty"}
	case Ollama:
		badInput = invalid("invalid input type")
	}
	if len(in.Input) == 0 || !q.texts(in.Input) || (who == OpenAI && in.Truncate != 0) {
		return q, badInput
	}
	q.truncate = in.Truncate
	if slices.Contains(q.inputs, "") && who != Ollama || who == Ollama && slices.Max(q.tokens) > 0 {
		return q, badInput
	}
	model, ok := s.models[q.model]
	switch {
	case !ok && who == Ollama:
		return q, &problem{Status: 404, Type: "not_found_error", Message: "model \"" + q.model + "\" not found, try pulling it first"}
	case !ok && who != TEI:
		return q, &problem{Status: 404, Type: "invalid_request_error", Code: "model_not_found", Message: "The model `" + q.model + "` does not exist or you do not have access to it."}
	case who == TEI && len(body) > teiBody:
		return q, &problem{Status: 413, Type: "Validation", Message: fmt.Sprintf("length limit exceeded: %d bytes", len(body))}
	case who == TEI && len(q.inputs) > teiInputs:
		return q, &problem{Status: 422, Type: "Validation", Message: fmt.Sprintf("batch size %d > maximum allowed batch size %d", len(q.inputs), teiInputs)}
	case len(q.inputs) > maxInputs && who == OpenAI:
		return q, badInput
	}
	q.dimensions = s.width(q.model)
	if in.Dimensions != nil {
		switch n := *in.Dimensions; {
		case who == VLLM:
			return q, &problem{Status: 400, Type: "BadRequestError", Message: fmt.Sprintf("Model %q does not support matryoshka representation, changing output dimensions will lead to poor results.", q.model)}
		case who == TEI && (n < 1 || n > q.dimensions):
			return q, &problem{Status: 422, Type: "Validation", Message: fmt.Sprintf("`dimensions` should be positive and at most %d", q.dimensions)}
		case n < 1 || n > q.dimensions:
			return q, invalid("Invalid value for 'dimensions' = %d. Must be less than or equal to %d.", n, q.dimensions)
		case !model.Shortens && who == OpenAI:
			return q, invalid("This model does not support specifying dimensions.")
		default:
			q.dimensions = n
		}
	}
	return q, nil
}

// width is the width of a model; a server with one model has it for any name.
func (s *Server) width(model string) int {
	if m, ok := s.models[model]; ok {
		return m.Width
	}
	for _, m := range s.models {
		return m.Width
	}
	return 1
}

func (s *Server) embeddings(w http.ResponseWriter, r *http.Request) {
	body, err := readBody(w, r)
	s.mu.Lock()
	s.meter.Attempts++
	s.seen = append(s.seen, Recorded{r.Header.Clone(), body[:min(len(body), recordedSize)]})
	if len(s.seen) > recorded {
		s.seen = s.seen[1:]
	}
	n := s.meter.Attempts
	s.mu.Unlock()
	if err != nil {
		return // the client has gone, or sends without end
	}
	h := w.Header()
	h.Set("X-Request-Id", "req_fake"+itoa(n))
	h.Set("Openai-Version", "2020-10-01")
	if p := s.authorize(r); p != nil {
		s.refuse(w, *p)
		return
	}
	q, p := s.parse(body)
	if p != nil {
		s.refuse(w, *p)
		return
	}
	if s.cfg.Personality == TEI {
		// Each input takes a permit, and there is no queue for them.
		if n := s.busy.Add(int64(len(q.inputs))); n > teiConcurrent {
			s.busy.Add(-int64(len(q.inputs)))
			s.refuse(w, problem{Status: 429, Type: "Overloaded", Message: "Model is overloaded"})
			return
		}
		defer s.busy.Add(-int64(len(q.inputs)))
	}
	effect := s.apply(key(r), q.model, q.inputs)
	if !wait(r, time.Duration(effect.Delay)) {
		return
	}
	for k, v := range effect.Header {
		h.Set(k, v)
	}
	if effect.Fault == Refuse {
		s.mu.Lock()
		s.meter.Cut++
		s.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	tokens, p := s.tokens(q)
	if p != nil {
		s.refuse(w, *p)
		return
	}
	bill := Charge{1, len(q.inputs), tokens, int64(tokens) * s.models[q.model].Nano}
	if effect.Status != 0 {
		if effect.Charge {
			s.bill(w, r, bill)
		}
		s.scripted(w, effect)
		return
	}
	ok, dimension, win := s.admit(key(r), tokens)
	s.rateHeaders(h, win)
	if !ok {
		left := max(0, minute-s.Now().Sub(win.start))
		h.Set("Retry-After", itoa(int(math.Ceil(left.Seconds()))))
		limit, used, asked := s.cfg.Requests, win.requests, 1
		if dimension == "tokens" {
			limit, used, asked = s.cfg.Tokens, win.tokens, tokens
		}
		s.refuse(w, rateLimited(q.model, dimension, limit, used, asked, left))
		return
	}
	s.bill(w, r, bill)
	s.answer(w, r, q, tokens, effect.Fault)
}

// wait waits out a delay, unless the client goes before.
func wait(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

// tokens counts what the request is charged for, and enforces the limits.
func (s *Server) tokens(q parsed) (int, *problem) {
	sum := 0
	for i, text := range q.inputs {
		n := q.tokens[i]
		switch {
		case n > 0:
		case s.cfg.Rough:
			n = (len(text) + 3) / 4
		default:
			n = s.count.Count(text)
		}
		if q.truncate > 0 {
			n = min(n, q.truncate)
		}
		switch who := s.cfg.Personality; {
		case who == LlamaCPP && n > llamaTokens:
			return 0, &problem{Status: 500, Type: "server_error", Message: fmt.Sprintf("input (%d tokens) is too large to process. increase the physical batch size (current batch size: %d)", n, llamaTokens)}
		case n <= maxInputTokens:
		case who == TEI && s.cfg.Strict:
			return 0, &problem{Status: 422, Type: "Validation", Message: fmt.Sprintf("`inputs` must have less than %d tokens. Given: %d", maxInputTokens, n)}
		case who == TEI || who == Ollama:
			n = maxInputTokens
		default:
			return 0, &problem{Status: 400, Type: "invalid_request_error", Message: fmt.Sprintf("This model's maximum context length is %d tokens, however you requested %d tokens (%d in your prompt; 0 for the completion). Please reduce your prompt; or completion length.", maxInputTokens, n, n)}
		}
		sum += n
	}
	if sum > maxTokens && s.cfg.Personality == OpenAI {
		return 0, &problem{Status: 400, Type: "max_tokens_per_request", Code: "max_tokens_per_request", Message: fmt.Sprintf("Requested %d tokens, max %d tokens per request", sum, maxTokens)}
	}
	return sum, nil
}

// scripted answers what a rule says.
func (s *Server) scripted(w http.ResponseWriter, effect Rule) {
	if effect.Type == "" && effect.Code == "" && effect.Message == "" && effect.Body == "" {
		effect = usual(w, effect)
	}
	if effect.Body == "" {
		s.refuse(w, problem{effect.Status, effect.Type, effect.Code, effect.Message})
		return
	}
	s.mu.Lock()
	s.meter.Refused[effect.Status]++
	s.mu.Unlock()
	if effect.ContentType != "" {
		w.Header().Set("Content-Type", effect.ContentType)
	}
	w.WriteHeader(effect.Status)
	_, _ = w.Write([]byte(effect.Body)) // the client may be gone
}

// usual gives a status the words that usually come with it. A gateway's are not
// the service's: HTML, and no request ID.
func usual(w http.ResponseWriter, r Rule) Rule {
	switch r.Status {
	case http.StatusUnauthorized:
		r.Type, r.Code, r.Message = "invalid_request_error", "invalid_api_key", "Incorrect API key provided."
	case http.StatusTooManyRequests:
		r.Type, r.Code, r.Message = "requests", "rate_limit_exceeded", "Rate limit reached."
	case http.StatusInternalServerError:
		r.Type, r.Message = "server_error", "The server had an error while processing the request."
	case http.StatusServiceUnavailable:
		r.Type, r.Code, r.Message = "service_unavailable_error", "server_is_overloaded", "The server is overloaded."
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		r.ContentType, r.Body = "text/html", "<html><h1>"+itoa(r.Status)+" "+http.StatusText(r.Status)+"</h1></html>"
		w.Header().Del("X-Request-Id")
	default:
		r.Type, r.Message = "invalid_request_error", http.StatusText(r.Status)
	}
	return r
}

func (s *Server) rateHeaders(h http.Header, w window) {
	reset := max(0, minute-s.Now().Sub(w.start)).Round(time.Millisecond).String()
	for name, v := range map[string][2]int{"requests": {s.cfg.Requests, w.requests}, "tokens": {s.cfg.Tokens, w.tokens}} {
		if v[0] > 0 {
			h.Set("X-Ratelimit-Limit-"+name, itoa(v[0]))
			h.Set("X-Ratelimit-Remaining-"+name, itoa(max(0, v[0]-v[1])))
			h.Set("X-Ratelimit-Reset-"+name, reset)
		}
	}
}

// item is one vector of an answer.
type item struct {
	Object    string `json:"object"`
	Index     int    `json:"index"`
	Embedding any    `json:"embedding"`
	Format    string `json:"encoding_format,omitempty"` // llama.cpp's
}

// vectors is an answer.
type vectors struct {
	Object string         `json:"object"`
	Model  string         `json:"model"`
	Data   []item         `json:"data"`
	Usage  map[string]int `json:"usage,omitempty"`
}

// compose makes the answer, with what a fault makes of its content.
func (s *Server) compose(q parsed, tokens int, f Fault) vectors {
	out := vectors{Object: "list", Model: q.model}
	for i, text := range q.inputs {
		v := Vector(q.model, text, q.dimensions)
		switch {
		case f == WrongWidth:
			v = v[:len(v)-1]
		case f == NaN:
			v[0] = float32(math.NaN())
		case f == Zero:
			clear(v)
		}
		it := item{Object: "embedding", Index: i, Embedding: v}
		switch {
		case q.base64 && f != Floats:
			text := encode(v)
			if f == BadBase64 {
				text = "%" + text[1:]
			}
			if it.Embedding = text; s.cfg.Personality == LlamaCPP {
				it.Format = "base64"
			}
		case f == NaN:
			it.Embedding = []any{"NaN"}
		}
		out.Data = append(out.Data, it)
	}
	last := len(out.Data) - 1
	switch f {
	case Shuffle:
		slices.Reverse(out.Data)
	case DuplicateIndex:
		out.Data[last].Index = 0
	case MissingIndex:
		out.Data = out.Data[:last]
	}
	if f == ZeroUsage || s.cfg.Personality == LlamaCPP {
		tokens = 0
	}
	if f != NoUsage {
		out.Usage = map[string]int{"prompt_tokens": tokens, "total_tokens": tokens}
	}
	return out
}

// answer sends the vectors, or what a fault leaves of them.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, q parsed, tokens int, f Fault) {
	if s.cfg.Personality == TEI {
		w.Header().Set("X-Compute-Tokens", itoa(tokens))
	}
	body := encoded(s.compose(q, tokens, f))
	switch f {
	case Lose, Stall:
		s.mu.Lock()
		s.meter.Lost++
		s.mu.Unlock()
		if f == Stall {
			<-r.Context().Done()
		}
		panic(http.ErrAbortHandler)
	case Text:
		w.Header().Set("Content-Type", "text/plain")
		body = []byte("ok")
	default:
		w.Header().Set("Content-Type", "application/json")
	}
	w.Header().Set("Content-Length", itoa(len(body)))
	if f == Cut || f == StallBody {
		_, _ = w.Write(body[:len(body)/2])
		_ = http.NewResponseController(w).Flush()
		if f == StallBody {
			<-r.Context().Done()
		}
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(body) // the client may be gone
}

func encode(v []float32) string {
	b := make([]byte, 4*len(v))
	for i, x := range v {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(x))
	}
	return base64.StdEncoding.EncodeToString(b)
}

// Vector returns the vector of a text: of unit length, the same for the same
// model, text and width, and nearer to those of texts with the same words.
func Vector(model, text string, width int) []float32 {
	v := make([]float32, width)
	add := func(s string, weight float64) {
		h := fnv.New64a()
		_, _ = h.Write([]byte(model + "\x00" + s)) // cannot fail
		r := rand.New(rand.NewPCG(h.Sum64(), 1))
		for range 8 {
			v[r.IntN(width)] += float32(weight * r.NormFloat64())
		}
	}
	for _, word := range strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		add(word, 1)
	}
	add("\x00"+text, 0.1) // no two texts have the same vector
	sum := 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	if sum == 0 {
		v[0], sum = 1, 1
	}
	for i := range v {
		v[i] = float32(float64(v[i]) / math.Sqrt(sum))
	}
	return v
}
