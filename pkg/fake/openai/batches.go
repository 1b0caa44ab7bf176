package openai

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/pkg/fake"
)

// Batching is how the Batch API behaves. The zero value takes what OpenAI takes
// and is done at once. Everything happens at the time of the server's clock at
// which it would, however late anybody looks: Advance by an hour, and an hour's
// work is done.
type Batching struct {
	Validate time.Duration // from the create until it is in progress, or has failed
	Work     time.Duration // for all of its requests, spread evenly
	Finalize time.Duration // until the output is there
	Cancel   time.Duration // until it is cancelled

	Requests int   // most of a batch; 0 = 50,000
	Inputs   int   // most over all requests; 0 = 50,000
	Bytes    int64 // most of a file; 0 = 200 MB
	Queued   int   // most tokens in batches that have not ended, by key and model; 0 = no limit
}

// window is how long a batch may take, the only value that there is.
const batchWindow = 24 * time.Hour

type file struct {
	id, key, name, purpose string
	created, expires       time.Time // expires may be zero
	data                   []byte
}

func (f *file) show() map[string]any {
	v := map[string]any{
		"id": f.id, "object": "file", "bytes": len(f.data), "created_at": f.created.Unix(), "filename": f.name, "purpose": f.purpose, "status": "processed",
	}
	if !f.expires.IsZero() {
		v["expires_at"] = f.expires.Unix()
	}
	return v
}

// trouble is an entry of a batch's "errors".
type trouble struct {
	Code    string  `json:"code"`
	Message string  `json:"message"`
	Param   *string `json:"param"`
	Line    *int    `json:"line"`
}

// task is a request of a batch.
type task struct {
	id     string // custom_id
	body   []byte
	q      parsed
	tokens int
	wrong  *problem // why it fails, if it does
}

// result is a task that has been done.
type result struct {
	task   *task
	status int
	body   []byte
}

type batch struct {
	id, key, input, outputFile, errorFile string
	metadata                              map[string]string
	keep                                  time.Duration // of the output; 0 = for ever
	status                                string
	errors                                []trouble
	tasks                                 []task
	results                               []result
	tokens                                int // billed
	failed                                int
	at                                    map[string]time.Time // status -> since when
}

func (b *batch) enter(status string, at time.Time) { b.status, b.at[status] = status, at }

func (b *batch) terminal() bool {
	return slices.Contains([]string{"completed", "failed", "expired", "cancelled"}, b.status)
}

func (b *batch) show() map[string]any {
	since := func(status string) any {
		if at, ok := b.at[status]; ok {
			return at.Unix()
		}
		return nil
	}
	id := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	v := map[string]any{
		"id": b.id, "object": "batch", "endpoint": "/v1/embeddings", "errors": nil, "input_file_id": b.input, "completion_window": "24h",
		"status": b.status, "output_file_id": id(b.outputFile), "error_file_id": id(b.errorFile),
		"created_at": since("validating"), "in_progress_at": since("in_progress"), "expires_at": b.at["validating"].Add(batchWindow).Unix(),
		"finalizing_at": since("finalizing"), "completed_at": since("completed"), "failed_at": since("failed"), "expired_at": since("expired"),
		"cancelling_at": since("cancelling"), "cancelled_at": since("cancelled"), "metadata": b.metadata,
		"request_counts": map[string]int{"total": len(b.tasks), "completed": len(b.results) - b.failed, "failed": b.failed},
		"usage": map[string]any{
			"input_tokens": b.tokens, "input_tokens_details": map[string]int{"cached_tokens": 0},
			"output_tokens": 0, "output_tokens_details": map[string]int{"reasoning_tokens": 0}, "total_tokens": b.tokens,
		},
	}
	if len(b.errors) > 0 {
		v["errors"] = map[string]any{"object": "list", "data": b.errors}
	}
	return v
}

// step brings all batches to where they are now. Callers hold mu.
func (s *Server) step() {
	now := s.now()
	for _, b := range s.batches {
		for before := ""; before != b.status; {
			before = b.status
			s.move(b, now)
		}
	}
}

// move takes a batch to its next status, if it is time.
func (s *Server) move(b *batch, now time.Time) {
	cfg := s.cfg.Batching
	end := b.at["validating"].Add(batchWindow)
	switch b.status {
	case "validating":
		at := b.at["validating"].Add(cfg.Validate)
		if now.Before(at) {
			return
		}
		if s.validate(b); len(b.errors) > 0 {
			b.tasks = nil
			b.enter("failed", at)
			return
		}
		b.enter("in_progress", at)
	case "in_progress":
		began := b.at["in_progress"]
		done := began.Add(cfg.Work)
		s.work(b, began, minTime(now, end))
		switch {
		case len(b.results) == len(b.tasks):
			b.enter("finalizing", done)
		case !now.Before(end):
			s.finish(b, "expired", end, "batch_expired", "This request could not be executed before the completion window expired.")
		}
	case "finalizing":
		if at := b.at["finalizing"].Add(cfg.Finalize); !now.Before(at) {
			s.finish(b, "completed", at, "", "")
		}
	case "cancelling":
		if at := b.at["cancelling"].Add(cfg.Cancel); !now.Before(at) {
			s.finish(b, "cancelled", at, "batch_cancelled", "This request was not executed: the batch was cancelled.")
		}
	}
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// validate reads the input file. The codes are not documented anywhere.
func (s *Server) validate(b *batch) {
	fail := func(line int, code, format string, args ...any) {
		t := trouble{Code: code, Message: fmt.Sprintf(format, args...)}
		if line > 0 {
			t.Line = &line
		}
		b.errors = append(b.errors, t)
	}
	f := s.files[b.input]
	if f == nil {
		fail(0, "file_not_found", "The input file is gone.")
		return
	}
	cfg := s.cfg.Batching
	seen := map[string]bool{}
	model, inputs, tokens, line := "", 0, 0, 0
	for raw := range bytes.Lines(f.data) {
		line++
		if raw = bytes.TrimSpace(raw); len(raw) == 0 {
			continue
		}
		if len(b.tasks) == cmp.Or(cfg.Requests, 50_000) {
			fail(line, "too_many_requests", "A batch has at most %d requests.", cmp.Or(cfg.Requests, 50_000))
			return
		}
		var in struct {
			ID     string          `json:"custom_id"`
			Method string          `json:"method"`
			URL    string          `json:"url"`
			Body   json.RawMessage `json:"body"`
		}
		if err := json.Unmarshal(raw, &in); err != nil {
			fail(line, "invalid_json_line", "This line is not parseable as valid JSON.")
			continue
		}
		t := task{id: in.ID, body: in.Body}
		var wrong *problem
		t.q, wrong = s.parse(in.Body)
		switch {
		case in.ID == "":
			fail(line, "missing_required_parameter", "custom_id is missing.")
		case seen[in.ID]:
			fail(line, "duplicate_custom_id", "The custom_id %q is there twice.", in.ID)
		case in.Method != http.MethodPost:
			fail(line, "invalid_method", "The method is %q, want POST.", in.Method)
		case in.URL != "/v1/embeddings":
			fail(line, "invalid_url", "The URL %q is not the batch's endpoint.", in.URL)
		case t.q.model == "":
			fail(line, "invalid_request", "%s", wrong.Message)
		case model != "" && t.q.model != model:
			fail(line, "mismatched_model", "The model is %q, before it was %q: a file has one.", t.q.model, model)
		}
		seen[in.ID] = true
		model = cmp.Or(model, t.q.model)
		if t.wrong = wrong; wrong == nil {
			t.tokens, t.wrong = s.tokens(t.q)
		}
		inputs += len(t.q.inputs)
		tokens += t.tokens
		b.tasks = append(b.tasks, t)
	}
	if len(b.tasks) == 0 && len(b.errors) == 0 {
		fail(0, "empty_file", "The input file has no requests.")
	}
	if most := cmp.Or(cfg.Inputs, 50_000); inputs > most {
		fail(0, "too_many_inputs", "The batch has %d embedding inputs, at most %d are allowed.", inputs, most)
	}
	if cfg.Queued > 0 && tokens+s.queued(b.key, model) > cfg.Queued {
		fail(0, "token_limit_exceeded", "Enqueued token limit reached for %s. Limit: %d enqueued tokens.", model, cfg.Queued)
	}
}

// queued counts the tokens of what waits.
func (s *Server) queued(key, model string) (tokens int) {
	for _, b := range s.batches {
		if b.key != key || b.status == "validating" || b.terminal() {
			continue
		}
		for _, t := range b.tasks[len(b.results):] {
			if t.q.model == model {
				tokens += t.tokens
			}
		}
	}
	return tokens
}

// work does the requests whose time has come until now, each at its time and half
// the price.
func (s *Server) work(b *batch, began, now time.Time) {
	n := len(b.tasks)
	for k := len(b.results); k < n; k++ {
		at := began.Add(time.Duration(float64(s.cfg.Batching.Work) * float64(k+1) / float64(n)))
		if now.Before(at) {
			return
		}
		t := &b.tasks[k]
		rule := s.match(b.key, t.q.model, t.q.inputs)
		wrong := t.wrong
		if wrong == nil && rule.Status != 0 {
			wrong = &problem{rule.Status, rule.Type, rule.Code, rule.Message}
		}
		if wrong == nil || rule.Charge {
			nano := (int64(t.tokens)*s.models[t.q.model].Nano + 1) / 2
			c := Charge{1, len(t.q.inputs), t.tokens, nano}
			s.charge(Call{Request: b.request(k), Client: t.id, Key: b.key, Time: at, Charge: c})
			s.meter.Batched.add(c)
			b.tokens += t.tokens
		}
		r := result{task: t, status: http.StatusOK}
		if wrong != nil {
			b.failed++
			r.status, r.body = wrong.Status, encoded(wrong.body(s.cfg.Personality))
		} else {
			r.body = encoded(s.compose(t.q, t.tokens, rule.Fault))
		}
		b.results = append(b.results, r)
	}
}

func (b *batch) request(k int) string { return "req_" + b.id + "_" + itoa(k) }

// finish writes the output: what was done, in an order that is not the input's, and
// why the rest was not.
func (s *Server) finish(b *batch, status string, at time.Time, code, why string) {
	b.enter(status, at)
	type response struct {
		Status  int             `json:"status_code"`
		Request string          `json:"request_id"`
		Body    json.RawMessage `json:"body"`
	}
	type failure struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	type line struct {
		ID       string    `json:"id"`
		Custom   string    `json:"custom_id"`
		Response *response `json:"response"`
		Error    *failure  `json:"error"`
	}
	var good, bad [][]byte
	for k := range b.tasks {
		l := line{ID: "batch_req_" + b.id + "_" + itoa(k), Custom: b.tasks[k].id}
		if k >= len(b.results) {
			l.Error = &failure{code, why}
			bad = append(bad, encoded(l))
			continue
		}
		r := b.results[k]
		l.Response = &response{r.status, b.request(k), r.body}
		if r.status == http.StatusOK {
			good = append(good, encoded(l))
		} else {
			bad = append(bad, encoded(l))
		}
	}
	order := rand.New(rand.NewPCG(s.cfg.Seed, uint64(len(b.tasks))))
	save := func(name string, lines [][]byte) string {
		if len(lines) == 0 {
			return ""
		}
		order.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		f := s.store(b.key, b.id+"_"+name+".jsonl", "batch_output", append(bytes.Join(lines, []byte("\n")), '\n'), at)
		if b.keep > 0 {
			f.expires = at.Add(b.keep)
		}
		return f.id
	}
	b.outputFile, b.errorFile = save("output", good), save("error", bad)
}

func encoded(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own values
	}
	return b
}

// store keeps a file. Callers hold mu.
func (s *Server) store(key, name, purpose string, data []byte, at time.Time) *file {
	s.serial++
	f := &file{id: fmt.Sprintf("file-%08x", s.serial), key: key, name: name, purpose: purpose, created: at, data: data}
	s.files[f.id] = f
	return f
}

// find returns a file of the key that has not expired. Callers hold mu.
func (s *Server) find(key, id string) *file {
	f := s.files[id]
	if f == nil || f.key != key || (!f.expires.IsZero() && !s.now().Before(f.expires)) {
		return nil
	}
	return f
}

func missing(what, id string) problem {
	return problem{Status: 404, Type: "invalid_request_error", Message: "No such " + what + " object: " + id}
}

func wrong(format string, args ...any) problem {
	return problem{Status: 400, Type: "invalid_request_error", Message: fmt.Sprintf(format, args...)}
}

// filesAPI serves /files and what is below it.
func (s *Server) filesAPI(w http.ResponseWriter, r *http.Request, path string) {
	if p := s.authorize(r); p != nil {
		s.refuse(w, *p)
		return
	}
	id, rest, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(path, "/files"), "/"), "/")
	if id == "" && r.Method == http.MethodPost {
		s.upload(w, r)
		return
	}
	s.mu.Lock()
	s.step()
	f := s.find(key(r), id)
	var all []any
	for _, f := range s.files {
		if id == "" && s.find(key(r), f.id) != nil {
			all = append(all, f.show())
		}
	}
	if f != nil && r.Method == http.MethodDelete && rest == "" {
		delete(s.files, id)
	}
	s.mu.Unlock()
	switch {
	case id == "" && r.Method == http.MethodGet:
		fake.Reply(w, http.StatusOK, map[string]any{"object": "list", "data": all, "has_more": false})
	case f == nil:
		s.refuse(w, missing("File", id))
	case rest == "content" && r.Method == http.MethodGet:
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(f.data) // the client may be gone
	case rest == "" && r.Method == http.MethodGet:
		fake.Reply(w, http.StatusOK, f.show())
	case rest == "" && r.Method == http.MethodDelete:
		fake.Reply(w, http.StatusOK, map[string]any{"id": id, "object": "file", "deleted": true})
	default:
		s.refuse(w, problem{Status: 404, Type: "invalid_request_error", Message: "Invalid URL (" + r.Method + " " + r.URL.Path + ")"})
	}
}

func (s *Server) upload(w http.ResponseWriter, r *http.Request) {
	most := cmp.Or(s.cfg.Batching.Bytes, 200_000_000)
	r.Body = http.MaxBytesReader(w, r.Body, most+1<<20)
	tooLarge := problem{Status: 413, Type: "invalid_request_error", Message: fmt.Sprintf("The file is larger than %d bytes.", most)}
	if err := r.ParseMultipartForm(32 << 20); err != nil {
		if strings.Contains(err.Error(), "too large") {
			s.refuse(w, tooLarge)
			return
		}
		s.refuse(w, wrong("The request is not a form with a file: %v", err))
		return
	}
	defer func() { _ = r.MultipartForm.RemoveAll() }() // temporary files
	part, header, err := r.FormFile("file")
	if err != nil {
		s.refuse(w, wrong("'file' is a required property"))
		return
	}
	defer part.Close()
	data, err := io.ReadAll(part)
	switch purpose := r.FormValue("purpose"); {
	case err != nil:
		s.refuse(w, wrong("The file cannot be read: %v", err))
	case int64(len(data)) > most:
		s.refuse(w, tooLarge)
	case purpose != "batch":
		s.refuse(w, wrong("'%s' is not one of ['batch'] - 'purpose'", purpose))
	case !strings.HasSuffix(header.Filename, ".jsonl"):
		s.refuse(w, wrong("Invalid file format for Batch API. Must be .jsonl"))
	default:
		s.mu.Lock()
		f := s.store(key(r), header.Filename, purpose, data, s.now())
		s.mu.Unlock()
		fake.Reply(w, http.StatusOK, f.show())
	}
}

// batchesAPI serves /batches and what is below it.
func (s *Server) batchesAPI(w http.ResponseWriter, r *http.Request, path string) {
	if p := s.authorize(r); p != nil {
		s.refuse(w, *p)
		return
	}
	id, rest, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(path, "/batches"), "/"), "/")
	switch {
	case id == "" && r.Method == http.MethodPost:
		s.createBatch(w, r)
		return
	case id == "" && r.Method == http.MethodGet:
		s.listBatches(w, r)
		return
	}
	var p *problem
	var v any
	s.mu.Lock()
	s.step()
	at := slices.IndexFunc(s.batches, func(b *batch) bool { return b.id == id && b.key == key(r) })
	switch {
	case at < 0:
		m := missing("Batch", id)
		p = &m
	case rest == "cancel" && r.Method == http.MethodPost:
		b := s.batches[at]
		if b.status != "validating" && b.status != "in_progress" && b.status != "finalizing" {
			m := problem{Status: 409, Type: "invalid_request_error", Message: "Cannot cancel a batch with status '" + b.status + "'."}
			p = &m
			break
		}
		b.enter("cancelling", s.now())
		s.step()
		v = b.show()
	case rest == "" && r.Method == http.MethodGet:
		v = s.batches[at].show()
	default:
		m := wrong("Invalid URL (%s %s)", r.Method, r.URL.Path)
		p = &m
	}
	s.mu.Unlock()
	if p != nil {
		s.refuse(w, *p)
		return
	}
	fake.Reply(w, http.StatusOK, v)
}

func (s *Server) createBatch(w http.ResponseWriter, r *http.Request) {
	body, err := readBody(w, r)
	if err != nil {
		return // the client has gone, or sends without end
	}
	var in struct {
		Input    string            `json:"input_file_id"`
		Endpoint string            `json:"endpoint"`
		Window   string            `json:"completion_window"`
		Metadata map[string]string `json:"metadata"`
		Expires  *struct {
			Anchor  string `json:"anchor"`
			Seconds int    `json:"seconds"`
		} `json:"output_expires_after"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err = d.Decode(&in)
	s.mu.Lock()
	f := s.find(key(r), in.Input)
	s.mu.Unlock()
	refuse := func(format string, args ...any) { s.refuse(w, wrong(format, args...)) }
	switch {
	case err != nil:
		refuse("We could not parse the JSON body of your request. (%v)", err)
		return
	case in.Endpoint != "/v1/embeddings":
		refuse("Invalid value: '%s'. The fake knows '/v1/embeddings'.", in.Endpoint)
		return
	case in.Window != "24h":
		refuse("Invalid value: '%s'. Value must be '24h'.", in.Window)
		return
	case in.Expires != nil && (in.Expires.Anchor != "created_at" || in.Expires.Seconds < 3600 || in.Expires.Seconds > 2_592_000):
		refuse("Invalid 'output_expires_after': the anchor is 'created_at', and seconds are 3600 to 2592000.")
		return
	case len(in.Metadata) > 16:
		refuse("Invalid 'metadata': too many properties. Expected at most 16.")
		return
	case f == nil:
		s.refuse(w, missing("File", in.Input))
		return
	case f.purpose != "batch":
		refuse("The file %s was not uploaded with the purpose 'batch'.", in.Input)
		return
	}
	for k, v := range in.Metadata {
		if len(k) > 64 || len(v) > 512 {
			refuse("Invalid 'metadata': keys have at most 64 characters, values 512.")
			return
		}
	}
	s.mu.Lock()
	s.serial++
	b := &batch{id: fmt.Sprintf("batch_%08x", s.serial), key: key(r), input: in.Input, metadata: in.Metadata, at: map[string]time.Time{}}
	if in.Expires != nil {
		b.keep = time.Duration(in.Expires.Seconds) * time.Second
	}
	b.enter("validating", s.now())
	s.batches = append(s.batches, b)
	v := b.show()
	s.mu.Unlock()
	fake.Reply(w, http.StatusOK, v)
}

func (s *Server) listBatches(w http.ResponseWriter, r *http.Request) {
	limit := 20
	if v := r.URL.Query().Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > 100 {
			s.refuse(w, wrong("Invalid 'limit': 1 to 100."))
			return
		}
		limit = n
	}
	after := r.URL.Query().Get("after")
	s.mu.Lock()
	s.step()
	out := map[string]any{"object": "list", "first_id": nil, "last_id": nil, "has_more": false}
	data := []any{}
	reached := after == ""
	for _, b := range slices.Backward(s.batches) { // the newest first
		switch {
		case b.key != key(r):
		case !reached:
			reached = b.id == after
		case len(data) == limit:
			out["has_more"] = true
		default:
			if len(data) == 0 {
				out["first_id"] = b.id
			}
			data = append(data, b.show())
			out["last_id"] = b.id
		}
	}
	s.mu.Unlock()
	out["data"] = data
	fake.Reply(w, http.StatusOK, out)
}
