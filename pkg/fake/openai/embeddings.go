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
	TEI      Personality = "tei"      // 32 inputs a request, cuts long inputs off, errors at the top level
	Ollama   Personality = "ollama"   // cuts long inputs off, takes empty ones
	VLLM     Personality = "vllm"     // refuses "dimensions", numeric codes
	LlamaCPP Personality = "llamacpp" // 500 for long inputs, no usage figures
)

// The limits of OpenAI.
const (
	maxInputs      = 2048
	maxInputTokens = 8192
	maxTokens      = 300_000
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
	inputs     []string
	base64     bool
	dimensions int
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
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
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
	var one string
	var many []*string
	badInput := invalid("'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference.")
	switch {
	case json.Unmarshal(in.Input, &one) == nil && len(in.Input) > 0 && in.Input[0] == '"':
		q.inputs = []string{one}
	case json.Unmarshal(in.Input, &many) == nil && len(many) > 0:
		for _, t := range many {
			if t == nil {
				return q, badInput
			}
			q.inputs = append(q.inputs, *t)
		}
	default:
		return q, badInput
	}
	for _, t := range q.inputs {
		if t == "" && s.cfg.Personality != Ollama {
			return q, badInput
		}
	}
	model, ok := s.models[q.model]
	switch who := s.cfg.Personality; {
	case !ok && who == Ollama:
		return q, &problem{Status: 404, Type: "not_found_error", Message: "model \"" + q.model + "\" not found, try pulling it first"}
	case !ok && who != TEI:
		return q, &problem{Status: 404, Type: "invalid_request_error", Code: "model_not_found", Message: "The model `" + q.model + "` does not exist or you do not have access to it."}
	case who == TEI && len(q.inputs) > 32:
		return q, &problem{Status: 422, Type: "Validation", Message: fmt.Sprintf("batch size %d > maximum allowed batch size 32", len(q.inputs))}
	case len(q.inputs) > maxInputs && who == OpenAI:
		return q, badInput
	}
	q.dimensions = s.width(q.model)
	if in.Dimensions != nil {
		switch n := *in.Dimensions; {
		case s.cfg.Personality == VLLM:
			return q, &problem{Status: 400, Type: "BadRequestError", Message: fmt.Sprintf("Model %q does not support matryoshka representation, changing output dimensions will lead to poor results.", q.model)}
		case n < 1 || n > q.dimensions:
			return q, invalid("Invalid value for 'dimensions' = %d. Must be less than or equal to %d.", n, q.dimensions)
		case !model.Shortens:
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
	for _, t := range q.inputs {
		n := s.count.Count(t)
		if n > maxInputTokens {
			switch s.cfg.Personality {
			case TEI, Ollama:
				n = maxInputTokens
			case LlamaCPP:
				return 0, &problem{Status: 500, Type: "server_error", Message: fmt.Sprintf("input (%d tokens) is too large to process. increase the physical batch size (current batch size: 512)", n)}
			default:
				return 0, &problem{Status: 400, Type: "invalid_request_error", Message: fmt.Sprintf("This model's maximum context length is %d tokens, however you requested %d tokens (%d in your prompt; 0 for the completion). Please reduce your prompt; or completion length.", maxInputTokens, n, n)}
			}
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

// answer sends the vectors, or what a fault makes of them.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, q parsed, tokens int, f Fault) {
	type item struct {
		Object    string `json:"object"`
		Index     int    `json:"index"`
		Embedding any    `json:"embedding"`
	}
	out := struct {
		Object string `json:"object"`
		Model  string `json:"model"`
		Data   []item `json:"data"`
		Usage  any    `json:"usage,omitempty"`
	}{Object: "list", Model: q.model}
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
		var e any = v
		if q.base64 && f != Floats {
			e = encode(v)
			if f == BadBase64 {
				e = "%" + encode(v)[1:]
			}
		} else if f == NaN {
			e = []any{"NaN"}
		}
		out.Data = append(out.Data, item{"embedding", i, e})
	}
	last := len(out.Data) - 1
	switch f {
	case Shuffle:
		for i, j := 0, last; i < j; i, j = i+1, j-1 {
			out.Data[i], out.Data[j] = out.Data[j], out.Data[i]
		}
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
	body, err := json.Marshal(out)
	if err != nil {
		panic(err) // our own type
	}
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
