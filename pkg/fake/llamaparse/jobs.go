package llamaparse

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"sluice/pkg/fake"
)

// credits of a page, by tier.
var credits = map[string]float64{"fast": 1, "cost_effective": 3, "agentic": 10, "agentic_plus": 45}

// configuration is what a create may say. What is not named is refused.
type configuration struct {
	Tier       string `json:"tier"`
	Version    string `json:"version"`
	FileID     string `json:"file_id"`
	SourceURL  string `json:"source_url"`
	PageRanges struct {
		MaxPages    *int   `json:"max_pages"`
		TargetPages string `json:"target_pages"`
	} `json:"page_ranges"`
	DisableCache      bool `json:"disable_cache"`
	ProcessingControl struct {
		Timeouts struct {
			Base  int `json:"base_in_seconds"`
			Extra int `json:"extra_time_per_page_in_seconds"`
		} `json:"timeouts"`
		Failure struct {
			Ratio *float64 `json:"allowed_page_failure_ratio"`
		} `json:"job_failure_conditions"`
	} `json:"processing_control"`
	ProcessingOptions struct {
		Effort string         `json:"confidence_score_effort"`
		Forms  string         `json:"forms"`
		OCR    map[string]any `json:"ocr_parameters"`
	} `json:"processing_options"`
	OutputOptions  map[string]any    `json:"output_options"`
	ClientName     string            `json:"client_name"`
	UserMetadata   map[string]string `json:"user_metadata"`
	Webhooks       []webhook         `json:"webhook_configurations"`
	AgenticOptions map[string]any    `json:"agentic_options"`
}

type webhook struct {
	URL     string            `json:"webhook_url"`
	Events  []string          `json:"webhook_events"`
	Headers map[string]string `json:"webhook_headers"`
	Format  string            `json:"webhook_output_format"`
	Secret  string            `json:"webhook_signing_secret"`
}

type job struct {
	id, key  string
	cfg      configuration
	pages    []string
	status   string
	message  string
	created  time.Time
	started  time.Time
	ended    time.Time
	work     time.Duration
	failed   map[int]bool // pages, from 1
	credits  float64
	charged  bool
	cacheKey string
	rule     Rule
}

func (j *job) terminal() bool {
	return j.status == "COMPLETED" || j.status == "FAILED" || j.status == "CANCELLED"
}

// flat is a job as create and list show it.
func (j *job) flat(now time.Time, expanded bool, billing time.Duration) map[string]any {
	v := map[string]any{
		"id": j.id, "project_id": "b1c2d3e4-0000-4000-8000-000000000000", "status": j.status, "tier": j.cfg.Tier, "name": nil,
		"error_message": nil, "created_at": j.created.Format(time.RFC3339Nano), "updated_at": now.Format(time.RFC3339Nano),
		"usage": nil, "user_metadata": j.cfg.UserMetadata,
	}
	if j.message != "" {
		v["error_message"] = j.message
	}
	if expanded && j.terminal() {
		v["usage"] = map[string]any{"credits": nil}
		if !j.rule.NoUsage && !now.Before(j.ended.Add(billing)) {
			v["usage"] = map[string]any{"credits": j.credits}
		}
	}
	return v
}

// step moves all jobs to where they are now, each at its time: what waits begins
// when the job before it ends, however late anybody looks. Callers hold mu.
func (s *Server) step() {
	now := s.now()
	for {
		var first *job // of those that have ended by now
		running := 0
		for _, j := range s.order {
			if j.status == "PENDING" && (s.cfg.Concurrent == 0 || s.running() < s.cfg.Concurrent) {
				j.status, j.started = "RUNNING", j.created
				if j.started.Before(s.freed) {
					j.started = s.freed
				}
				s.notify(j, "parse.running")
			}
			if j.status != "RUNNING" {
				continue
			}
			running++
			if !now.Before(j.end()) && (first == nil || j.end().Before(first.end())) {
				first = j
			}
		}
		if first == nil {
			return
		}
		if running == s.cfg.Concurrent {
			s.freed = first.end()
		}
		s.finish(first, first.end())
	}
}

// running counts the jobs that run.
func (s *Server) running() (n int) {
	for _, j := range s.order {
		if j.status == "RUNNING" {
			n++
		}
	}
	return n
}

func (j *job) end() time.Time { return j.started.Add(j.work) }

func (s *Server) finish(j *job, at time.Time) {
	j.ended = at
	ratio := 0.05
	if r := j.cfg.ProcessingControl.Failure.Ratio; r != nil {
		ratio = *r
	}
	switch {
	case j.rule.FailJob != "":
		j.status, j.message = "FAILED", j.rule.FailJob
	case len(j.failed) > 0 && float64(len(j.failed)) > ratio*float64(len(j.pages)):
		j.status, j.message = "FAILED", fmt.Sprintf("%d of %d pages failed", len(j.failed), len(j.pages))
	default:
		j.status = "COMPLETED"
	}
	per := credits[j.cfg.Tier]
	if j.cfg.ProcessingOptions.Effort == "high" {
		per += 5
	}
	if j.cfg.ProcessingOptions.Forms == "enrich" {
		per += 10
	}
	j.credits = per * float64(len(j.pages)) * s.cfg.Surcharge
	// Two equal jobs at the same time are two: the cache has what is done.
	if parsed, ok := s.cache[j.cacheKey]; ok && !j.cfg.DisableCache && !parsed.After(j.created) && j.created.Sub(parsed) < 48*time.Hour {
		j.credits = 0
	} else if j.status == "COMPLETED" {
		s.cache[j.cacheKey] = at
	}
	if j.status == "FAILED" && j.rule.Free {
		j.credits = 0
	}
	s.charge(j)
	switch {
	case j.status != "COMPLETED":
		s.notify(j, "parse.error")
	case len(j.failed) > 0:
		s.notify(j, "parse.partial_success")
	default:
		s.notify(j, "parse.success")
	}
}

func (s *Server) charge(j *job) {
	if j.charged {
		return
	}
	j.charged = true
	c := Charge{Jobs: 1, Pages: len(j.pages), Credits: j.credits, Nano: int64(j.credits * NanoPerCredit)}
	add := func(a Charge) Charge {
		return Charge{a.Jobs + c.Jobs, a.Pages + c.Pages, a.Credits + c.Credits, a.Nano + c.Nano}
	}
	s.meter.Charge = add(s.meter.Charge)
	if s.meter.By[j.key] == nil {
		s.meter.By[j.key] = map[string]Charge{}
	}
	hour := j.created.Format("2006-01-02T15")
	s.meter.By[j.key][hour] = add(s.meter.By[j.key][hour])
}

// notify sends what the job's webhooks ask for, twice: repeats are part of it.
func (s *Server) notify(j *job, event string) {
	if s.cfg.Webhooks == nil {
		return
	}
	for _, h := range j.cfg.Webhooks {
		if len(h.Events) > 0 && !slices.Contains(h.Events, event) {
			continue
		}
		body, err := json.Marshal(map[string]any{"event_type": event, "data": map[string]any{"job_id": j.id, "status": j.status}})
		if err == nil && h.Format != "json" {
			body, err = json.Marshal(string(body))
		}
		if err != nil {
			panic(err) // our own values
		}
		s.hooks.Go(func() {
			for range 2 {
				req, err := http.NewRequest(http.MethodPost, h.URL, bytes.NewReader(body))
				if err != nil {
					return
				}
				for k, v := range h.Headers {
					req.Header.Set(k, v)
				}
				if h.Secret != "" {
					mac := hmac.New(sha256.New, []byte(h.Secret))
					mac.Write(body)
					req.Header.Set("LC-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
				}
				if resp, err := s.cfg.Webhooks.Do(req); err == nil {
					_ = resp.Body.Close() // nothing is read of it
				}
			}
		})
	}
}

func (s *Server) create(w http.ResponseWriter, r *http.Request, c call) {
	var raw []byte
	var f file
	if strings.HasSuffix(strings.TrimSuffix(r.URL.Path, "/"), "/upload") {
		if err := r.ParseMultipartForm(64 << 20); err != nil {
			s.invalid(w, "missing", "Field required", "body", "file")
			return
		}
		part, header, err := r.FormFile("file")
		if err != nil {
			s.invalid(w, "missing", "Field required", "body", "file")
			return
		}
		f.name = header.Filename
		if f.data, err = readAll(part); err != nil {
			return
		}
		raw = []byte(r.FormValue("configuration"))
		if len(raw) == 0 {
			s.invalid(w, "missing", "Field required", "body", "configuration")
			return
		}
	} else {
		var err error
		if raw, err = io.ReadAll(r.Body); err != nil {
			return
		}
	}
	var cfg configuration
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&cfg); err != nil {
		if _, field, ok := strings.Cut(err.Error(), "unknown field "); ok {
			s.invalid(w, "extra_forbidden", "Extra inputs are not permitted", strings.Trim(field, `"`))
			return
		}
		s.invalid(w, "json_invalid", "JSON decode error", "configuration")
		return
	}
	switch {
	case cfg.Tier == "":
		s.invalid(w, "missing", "Field required", "tier")
		return
	case cfg.Version == "":
		s.invalid(w, "missing", "Field required", "version")
		return
	case credits[cfg.Tier] == 0:
		s.invalid(w, "value_error", "Unsupported tier: "+cfg.Tier, "tier")
		return
	case !slices.Contains(s.cfg.Versions, cfg.Version):
		s.invalid(w, "value_error", "Unsupported version: "+cfg.Version, "version")
		return
	case cfg.ProcessingControl.Timeouts.Base > 7200 || cfg.ProcessingControl.Timeouts.Extra > 300:
		s.invalid(w, "value_error", "timeouts are at most 7200 and 300 seconds", "processing_control", "timeouts")
		return
	case len(cfg.UserMetadata) > 8:
		s.invalid(w, "value_error", "too many user_metadata pairs", "user_metadata")
		return
	}
	size := 0
	for k, v := range cfg.UserMetadata {
		if size += len(k) + len(v); len(k) > 24 || len(v) > 64 || size > 512 {
			s.invalid(w, "value_error", "user_metadata is too long", "user_metadata", k)
			return
		}
	}
	targets, err := targetPages(cfg.PageRanges.TargetPages)
	if err != nil {
		s.invalid(w, "value_error", err.Error(), "page_ranges", "target_pages")
		return
	}
	s.mu.Lock()
	if f.data == nil {
		known, ok := s.files[cfg.FileID]
		if !ok {
			s.mu.Unlock()
			s.refuse(w, http.StatusNotFound, "File not found")
			return
		}
		f = known
	}
	if len(f.data) == 0 {
		s.mu.Unlock()
		s.refuse(w, http.StatusBadRequest, "The file is empty")
		return
	}
	now := s.now()
	s.serial++
	j := &job{
		id: fmt.Sprintf("pjb-%08x", s.serial), key: c.key, cfg: cfg, pages: pagesOf(f), status: "PENDING", created: now, work: s.cfg.Work,
		failed: map[int]bool{}, rule: c.effect,
	}
	s.meter.MaxPages = 0
	if m := cfg.PageRanges.MaxPages; m != nil {
		s.meter.MaxPages = *m
	}
	if len(targets) > 0 { // they win over the bound
		var wanted []string
		for i, p := range j.pages {
			if targets[i+1] {
				wanted = append(wanted, p)
			}
		}
		j.pages = wanted
	} else if m := cfg.PageRanges.MaxPages; m != nil && *m < len(j.pages) {
		j.pages = j.pages[:max(0, *m)]
	}
	if c.effect.Work > 0 {
		j.work = time.Duration(c.effect.Work)
	}
	for _, p := range c.effect.FailPages {
		if p >= 1 && p <= len(j.pages) {
			j.failed[p] = true
		}
	}
	hash := sha256.Sum256(f.data)
	options, err := json.Marshal([]any{cfg.Tier, cfg.Version, cfg.PageRanges, cfg.ProcessingOptions, cfg.OutputOptions})
	if err != nil {
		panic(err) // decoded a moment ago
	}
	j.cacheKey = string(hash[:]) + string(options)
	s.jobs[j.id], s.order = j, append(s.order, j)
	answer := j.flat(now, false, 0)
	s.notify(j, "parse.pending")
	s.step()
	if c.effect.Fault == Lose || c.effect.Effective {
		s.meter.Lost++
	}
	s.mu.Unlock()
	if c.effect.Effective {
		detail(w, c.effect.Status, c.effect.message())
		return
	}
	s.answer(w, c.effect.Fault, answer)
}

// targetPages reads "1,3,5-8", from 1 and each page once.
func targetPages(text string) (map[int]bool, error) {
	if text == "" {
		return nil, nil
	}
	pages := map[int]bool{}
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			to = from
		}
		a, err1 := strconv.Atoi(from)
		b, err2 := strconv.Atoi(to)
		if err1 != nil || err2 != nil || a < 1 || b < a || b > 100_000 {
			return nil, fmt.Errorf("target_pages: %q is no page", part)
		}
		for n := a; n <= b; n++ {
			if pages[n] {
				return nil, fmt.Errorf("target_pages: page %d is there twice", n)
			}
			pages[n] = true
		}
	}
	return pages, nil
}

func readAll(f multipart.File) ([]byte, error) {
	b, err := io.ReadAll(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return b, err
}

// answer writes a result, or what is left of it.
func (s *Server) answer(w http.ResponseWriter, f Fault, v any) {
	switch f {
	case Lose:
		panic(http.ErrAbortHandler)
	case Garbage:
		_, _ = io.WriteString(w, "<html>It works!</html>") // the client may be gone
	case Cut:
		body, err := json.Marshal(v)
		if err != nil {
			panic(err) // our own values
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body[:len(body)/2])
		panic(http.ErrAbortHandler)
	default:
		fake.Reply(w, http.StatusOK, v)
	}
}

var pageTree = regexp.MustCompile(`/Count\s+(\d+)`)

// pagesOf is what a document says, page by page.
func pagesOf(f file) []string {
	if bytes.HasPrefix(f.data, []byte("%PDF-")) {
		n := 1
		for _, m := range pageTree.FindAllSubmatch(f.data, -1) {
			if v, err := strconv.Atoi(string(m[1])); err == nil && v < 100_000 {
				n = max(n, v)
			}
		}
		pages := make([]string, n)
		for i := range pages {
			pages[i] = fmt.Sprintf("# Page %d of %s\n\nWhat stands on page %d.", i+1, f.name, i+1)
		}
		return pages
	}
	if !utf8.Valid(f.data) {
		return []string{"# " + f.name + "\n\nA document of " + strconv.Itoa(len(f.data)) + " bytes."}
	}
	return strings.Split(string(f.data), "\f")
}

func (s *Server) upload(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseMultipartForm(64 << 20); err != nil || r.FormValue("purpose") != "parse" {
		s.invalid(w, "missing", "Field required", "body", "purpose")
		return
	}
	part, header, err := r.FormFile("file")
	if err != nil {
		s.invalid(w, "missing", "Field required", "body", "file")
		return
	}
	data, err := readAll(part)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.serial++
	id := fmt.Sprintf("file-%08x", s.serial)
	s.files[id] = file{header.Filename, data}
	at := s.now()
	s.mu.Unlock()
	fake.Reply(w, http.StatusOK, map[string]any{"id": id, "name": header.Filename, "purpose": "parse", "expires_at": at.Add(48 * time.Hour).Format(time.RFC3339)})
}

func (s *Server) list(w http.ResponseWriter, r *http.Request, key string) {
	size, err := strconv.Atoi(r.URL.Query().Get("page_size"))
	if err != nil || size < 1 || size > 100 {
		size = 20
	}
	from, err := strconv.Atoi(r.URL.Query().Get("page_token"))
	if err != nil || from < 0 {
		from = 0
	}
	s.mu.Lock()
	s.step()
	now := s.now()
	items := []any{}
	total := 0
	status := r.URL.Query().Get("status")
	for _, j := range slices.Backward(s.order) { // the newest first
		if j.key != key || s.jobs[j.id] == nil || now.Sub(j.created) > 48*time.Hour || (status != "" && status != j.status) {
			continue
		}
		if total >= from && len(items) < size {
			items = append(items, j.flat(now, false, 0))
		}
		total++
	}
	s.mu.Unlock()
	v := map[string]any{"items": items, "next_page_token": nil, "total_size": total}
	if from+len(items) < total {
		v["next_page_token"] = strconv.Itoa(from + len(items))
	}
	fake.Reply(w, http.StatusOK, v)
}

func (s *Server) find(key, id string) *job {
	j := s.jobs[id]
	if j == nil || j.key != key || s.now().Sub(j.created) > 48*time.Hour {
		return nil
	}
	return j
}

// presigned is how long a presigned URL is good for.
const presigned = 5 * time.Minute

func (s *Server) get(w http.ResponseWriter, r *http.Request, c call, id string) {
	expand := map[string]bool{}
	for _, v := range r.URL.Query()["expand"] { // repeated or joined
		for e := range strings.SplitSeq(v, ",") {
			expand[strings.TrimSpace(e)] = true
		}
	}
	s.mu.Lock()
	s.step()
	j := s.find(c.key, id)
	if j == nil {
		s.mu.Unlock()
		s.refuse(w, http.StatusNotFound, "Job not found")
		return
	}
	now := s.now()
	v := map[string]any{"job": j.flat(now, expand["usage"], s.cfg.Billing)}
	done := j.status == "COMPLETED"
	tier := j.cfg.Tier
	page := func(what string) any {
		var pages []any
		for i, text := range j.pages {
			if j.failed[i+1] {
				pages = append(pages, map[string]any{"page_number": i + 1, "success": false, "error": "page timed out"})
				continue
			}
			pages = append(pages, map[string]any{"page_number": i + 1, "success": true, what: text, "header": nil, "footer": nil})
		}
		return map[string]any{"pages": pages}
	}
	if done {
		for _, what := range []string{"markdown", "text"} {
			if expand[what] {
				v[what] = page(what)
			}
			if expand[what+"_full"] {
				v[what+"_full"] = strings.Join(j.pages, "\n\n")
			}
		}
		for _, what := range []string{"markdown", "text"} {
			if expand[what+"_content_metadata"] {
				v[what+"_content_metadata"] = map[string]any{
					"presigned_url": fmt.Sprintf("http://%s/_signed/%s?expires=%d", r.Host, id, now.Add(presigned).Unix()),
				}
			}
		}
		if expand["metadata"] {
			var pages []any
			for i := range j.pages {
				pages = append(pages, map[string]any{"page_number": i + 1, "confidence": 0.95, "cost_optimized": false, "triggered_auto_mode": false})
			}
			v["metadata"] = map[string]any{"pages": pages}
		}
	}
	s.mu.Unlock()
	if tier == "fast" && (expand["markdown"] || expand["markdown_full"] || expand["markdown_content_metadata"] || expand["items"]) {
		s.refuse(w, http.StatusBadRequest, "Markdown expansion is not available for FAST tier jobs.")
		return
	}
	s.answer(w, c.effect.Fault, v)
}

func (s *Server) end(w http.ResponseWriter, kind, key, id string) {
	s.mu.Lock()
	s.step()
	j := s.find(key, id)
	var now time.Time
	allowed := false
	var v any
	if j != nil {
		now = s.now()
		allowed = j.terminal() == (kind == "delete")
		if allowed && kind == "cancel" {
			j.status, j.ended, j.charged = "CANCELLED", now, true
			if s.cfg.Concurrent > 0 && s.freed.Before(now) {
				s.freed = now
			}
			s.notify(j, "parse.cancelled")
			v = j.flat(now, false, 0)
		}
		if allowed && kind == "delete" {
			delete(s.jobs, id)
			v = map[string]any{"id": id, "project_id": "b1c2d3e4-0000-4000-8000-000000000000"}
		}
	}
	s.mu.Unlock()
	switch {
	case j == nil:
		s.refuse(w, http.StatusNotFound, "Job not found")
	case !allowed:
		s.refuse(w, http.StatusConflict, "The job is in the wrong state for this")
	default:
		fake.Reply(w, http.StatusOK, v)
	}
}
