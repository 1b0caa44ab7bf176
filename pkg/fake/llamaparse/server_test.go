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
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a server with a client that knows nothing.
type rig struct {
	*Server
	t   *testing.T
	url string
	key string
}

func start(t *testing.T, cfg Config) *rig {
	t.Helper()
	s := New(cfg)
	url, stop, err := s.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return &rig{s, t, url, "llx-a"}
}

func (r *rig) do(method, url, contentType string, body io.Reader) (int, []byte, error) {
	r.t.Helper()
	if strings.HasPrefix(url, "/") {
		url = r.url + url
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, url, body)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.key)
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, b, err
}

func (r *rig) get(path string) (int, map[string]any) {
	r.t.Helper()
	status, body, err := r.do(http.MethodGet, path, "", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return status, r.object(body)
}

func (r *rig) object(body []byte) (v map[string]any) {
	r.t.Helper()
	if err := json.Unmarshal(body, &v); err != nil {
		r.t.Fatalf("%v: %s", err, body)
	}
	return v
}

// upload creates a job by multipart.
func (r *rig) upload(configuration, data string) (int, map[string]any) {
	r.t.Helper()
	status, body, err := r.send(configuration, data)
	if err != nil {
		r.t.Fatal(err)
	}
	return status, r.object(body)
}

func (r *rig) send(configuration, data string) (int, []byte, error) {
	r.t.Helper()
	contentType, form := multiform(r.t, "configuration", configuration, data)
	return r.do(http.MethodPost, "/api/v2/parse/upload", contentType, form)
}

func multiform(t *testing.T, field, value, data string) (string, *bytes.Buffer) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	part, err := w.CreateFormFile("file", "a.txt")
	if err == nil {
		_, err = part.Write([]byte(data))
	}
	if err == nil && value != "" {
		err = w.WriteField(field, value)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), &b
}

const plain = `{"tier":"agentic","version":"latest"}`

// begin creates a job that has to be taken.
func (r *rig) begin(configuration, data string) string {
	r.t.Helper()
	status, v := r.upload(configuration, data)
	if status != 200 || v["status"] != "PENDING" || v["job"] != nil {
		r.t.Fatalf("create: %d %v", status, v)
	}
	return v["id"].(string)
}

// job is what a poll says; it is nested.
func (r *rig) job(id string) map[string]any {
	r.t.Helper()
	_, v := r.get("/api/v2/parse/" + id + "?expand=usage")
	j, ok := v["job"].(map[string]any)
	if !ok || v["status"] != nil {
		r.t.Fatalf("a poll answers %v", v)
	}
	return j
}

func credit(j map[string]any) any {
	u, ok := j["usage"].(map[string]any)
	if !ok {
		return "no usage"
	}
	return u["credits"]
}

// From PENDING to its end and its bill, by the clock.
func TestAJob(t *testing.T) {
	s := start(t, Config{Work: time.Hour, Billing: 10 * time.Minute, Surcharge: 1.5})
	id := s.begin(plain, "one\ftwo")
	j := s.job(id)
	if j["status"] != "RUNNING" || credit(j) != "no usage" {
		t.Errorf("at first %v", j)
	}
	created, err := time.Parse(time.RFC3339Nano, j["created_at"].(string))
	if err != nil {
		t.Fatal(err)
	}
	s.Advance(time.Hour)
	if j := s.job(id); j["status"] != "COMPLETED" || credit(j) != nil {
		t.Errorf("before it is billed %v", j)
	}
	s.Advance(10 * time.Minute)
	if j := s.job(id); credit(j) != 30.0 { // 2 pages at 10, and half more than the list says
		t.Errorf("billed %v", j)
	}
	hour := created.Format("2006-01-02T15")
	if m := s.Meter(); m.Nano != 30*NanoPerCredit || m.Pages != 2 || m.By["llx-a"][hour].Credits != 30 {
		t.Errorf("meter %+v, want the hour %s", m, hour)
	}
	// Repeated, joined, and nothing.
	for query, want := range map[string]int{"?expand=markdown&expand=text_full": 2, "?expand=markdown,text_full": 2, "": 0, "?expand=metadata": 1} {
		_, v := s.get("/api/v2/parse/" + id + query)
		if len(v) != want+1 {
			t.Errorf("%q answers %d parts", query, len(v)-1)
		}
	}
	_, v := s.get("/api/v2/parse/" + id + "?expand=markdown_full,text_content_metadata")
	if v["markdown_full"] != "one\n\ntwo" {
		t.Errorf("markdown %v", v["markdown_full"])
	}
	url := v["text_content_metadata"].(map[string]any)["presigned_url"].(string)
	s.key = "" // the URL is its own permission
	if status, body, err := s.do(http.MethodGet, url, "", nil); err != nil || status != 200 || string(body) != "one\n\ntwo" {
		t.Errorf("presigned: %d %s %v", status, body, err)
	}
	s.Advance(presigned + time.Second)
	if status, body, err := s.do(http.MethodGet, url, "", nil); err != nil || status != 403 {
		t.Errorf("presigned, expired: %d %s %v", status, body, err)
	}
}

func TestConfigurations(t *testing.T) {
	s := start(t, Config{})
	for _, c := range []struct {
		name, configuration string
		status              int
		has                 string
	}{
		{"none", "", 422, `"missing"`},
		{"no JSON", "{", 422, `"json_invalid"`},
		{"misplaced", `{"tier":"fast","version":"latest","max_pages":3}`, 422, `"loc":["max_pages"],"msg":"Extra inputs are not permitted","type":"extra_forbidden"`},
		{"no tier", `{"version":"latest"}`, 422, `"loc":["tier"]`},
		{"no version", `{"tier":"fast"}`, 422, `"loc":["version"]`},
		{"unknown tier", `{"tier":"free","version":"latest"}`, 422, "Unsupported tier: free"},
		{"unknown version", `{"tier":"fast","version":"2020-01-01"}`, 422, "Unsupported version"},
		{"a page twice", `{"tier":"fast","version":"latest","page_ranges":{"target_pages":"1,1-2"}}`, 422, "twice"},
		{"page 0", `{"tier":"fast","version":"latest","page_ranges":{"target_pages":"0"}}`, 422, "no page"},
		{"too long a limit", `{"tier":"fast","version":"latest","processing_control":{"timeouts":{"base_in_seconds":7201}}}`, 422, "7200"},
		{"too much metadata", `{"tier":"fast","version":"latest","user_metadata":{"k":"` + strings.Repeat("v", 65) + `"}}`, 422, "user_metadata"},
	} {
		status, body, err := s.send(c.configuration, "one")
		if err != nil || status != c.status || !strings.Contains(string(body), c.has) {
			t.Errorf("%s: %d %s %v", c.name, status, body, err)
		}
	}
	if m := s.Meter(); m.Jobs != 0 {
		t.Errorf("%d jobs", m.Jobs)
	}
	pages := func(ranges string) int {
		before := s.Meter().Pages
		s.begin(`{"tier":"fast","version":"latest","disable_cache":true,"page_ranges":`+ranges+`}`, "1\f2\f3\f4\f5\f6")
		return s.Meter().Pages - before
	}
	if a, b, c := pages(`{"max_pages":2}`), pages(`{"target_pages":"1,3,5-9"}`), pages(`{"max_pages":1,"target_pages":"2-3"}`); a != 2 || b != 4 || c != 2 {
		t.Errorf("%d, %d and %d pages, want 2, 4 and 2", a, b, c)
	}
}

func TestPagesAndJobsThatFail(t *testing.T) {
	s := start(t, Config{})
	twenty := strings.TrimSuffix(strings.Repeat("page\f", 20), "\f")
	s.Script(
		Rule{On: "create", Contains: "one of twenty", FailPages: []int{7}},
		Rule{On: "create", Contains: "two of twenty", FailPages: []int{7, 8}},
		Rule{On: "create", Contains: "whole", FailJob: "the fonts are odd", Free: true},
	)
	id := s.begin(plain, "one of twenty "+twenty)
	_, v := s.get("/api/v2/parse/" + id + "?expand=markdown")
	page := v["markdown"].(map[string]any)["pages"].([]any)[6].(map[string]any)
	if s.job(id)["status"] != "COMPLETED" || page["success"] != false || page["error"] == nil || page["markdown"] != nil {
		t.Errorf("one failed page: %v, %v", s.job(id), page)
	}
	if j := s.job(s.begin(plain, "two of twenty "+twenty)); j["status"] != "FAILED" || j["error_message"] == nil {
		t.Errorf("two failed pages: %v", j)
	}
	tolerant := `{"tier":"agentic","version":"latest","processing_control":{"job_failure_conditions":{"allowed_page_failure_ratio":0.5}}}`
	if j := s.job(s.begin(tolerant, "two of twenty "+twenty)); j["status"] != "COMPLETED" {
		t.Errorf("two failed pages of ten allowed: %v", j)
	}
	before := s.Meter().Nano
	if j := s.job(s.begin(plain, "whole")); j["status"] != "FAILED" || j["error_message"] != "the fonts are odd" || s.Meter().Nano != before {
		t.Errorf("a failed job: %v", j)
	}
	id = s.begin(`{"tier":"fast","version":"latest"}`, "quick")
	if status, v := s.get("/api/v2/parse/" + id + "?expand=markdown"); status != 400 || v["detail"] != "Markdown expansion is not available for FAST tier jobs." {
		t.Errorf("fast with Markdown: %d %v", status, v)
	}
}

// Equal jobs at the same time are both billed; one after the other is free for
// 48 hours, with the same options.
func TestTheCache(t *testing.T) {
	s := start(t, Config{Work: time.Hour})
	a, b := s.begin(plain, "same"), s.begin(plain, "same")
	s.Advance(time.Hour)
	if credit(s.job(a)) != 10.0 || credit(s.job(b)) != 10.0 {
		t.Errorf("at the same time: %v and %v", s.job(a), s.job(b))
	}
	for _, c := range []struct {
		name, configuration string
		after               time.Duration
		want                float64
	}{
		{"afterwards", plain, 0, 0},
		{"another tier", `{"tier":"fast","version":"latest"}`, 0, 1},
		{"without the cache", `{"tier":"agentic","version":"latest","disable_cache":true}`, 0, 10},
		{"add-ons", `{"tier":"agentic","version":"latest","processing_options":{"confidence_score_effort":"high","forms":"enrich"}}`, 0, 25},
		{"two days later", plain, 48 * time.Hour, 10},
	} {
		s.Advance(c.after)
		id := s.begin(c.configuration, "same")
		s.Advance(time.Hour)
		if got := credit(s.job(id)); got != c.want {
			t.Errorf("%s: %v credits, want %v", c.name, got, c.want)
		}
	}
}

// Five jobs at once; the others wait, and begin as soon as one ends.
func TestTheQueue(t *testing.T) {
	s := start(t, Config{Work: time.Hour, Concurrent: 2})
	var ids []string
	for i := range 5 {
		ids = append(ids, s.begin(plain, fmt.Sprint(i)))
	}
	states := func() (all []string) {
		for _, id := range ids {
			all = append(all, s.job(id)["status"].(string))
		}
		return all
	}
	if got := states(); !slices.Equal(got, []string{"RUNNING", "RUNNING", "PENDING", "PENDING", "PENDING"}) {
		t.Errorf("at first %v", got)
	}
	s.Advance(90 * time.Minute)
	if got := states(); !slices.Equal(got, []string{"COMPLETED", "COMPLETED", "RUNNING", "RUNNING", "PENDING"}) {
		t.Errorf("after 1.5 h %v", got)
	}
	s.Advance(90 * time.Minute)
	if got := states(); slices.Contains(got, "PENDING") || slices.Contains(got, "RUNNING") {
		t.Errorf("after 3 h %v", got)
	}
}

func TestRegionsAndRefusals(t *testing.T) {
	s := start(t, Config{Keys: map[string]string{"llx-a": "na", "llx-e": "eu"}})
	s.key = "llx-e"
	if status, v := s.upload(plain, "one"); status != 401 || v["detail"] == nil {
		t.Errorf("a key of Europe in America: %d %v", status, v)
	}
	europe := start(t, Config{Region: "eu", Keys: map[string]string{"llx-a": "na", "llx-e": "eu"}})
	europe.key = "llx-e"
	europe.begin(plain, "one")
	europe.key = "llx-a"
	if status, _ := europe.upload(plain, "one"); status != 401 {
		t.Errorf("a key of America in Europe: %d", status)
	}
	s.key = "llx-a"
	s.Script(
		Rule{On: "create", Nth: 1, Status: 402}, Rule{On: "create", Nth: 2, Status: 429, Header: map[string]string{"Retry-After": "7"}},
		Rule{On: "create", Nth: 1, Status: 429}, Rule{On: "create", Nth: 1, Status: 500}, Rule{On: "create", Nth: 1, Status: 502, Body: "<html>"},
		Rule{On: "create", Nth: 1, Fault: Lose}, Rule{On: "create", Nth: 1, Status: 502, Effective: true},
	)
	var got []int
	for i := range 8 {
		status, _, err := s.send(plain, fmt.Sprint(i))
		if err != nil {
			status = -1
		}
		got = append(got, status)
	}
	if want := []int{402, 429, 429, 500, 502, -1, 502, 200}; !slices.Equal(got, want) {
		t.Errorf("answers %v, want %v", got, want)
	}
	if m := s.Meter(); m.Jobs != 3 || m.Lost != 2 || m.Creates != 9 || m.Refused[429] != 2 {
		t.Errorf("meter %+v", m)
	}
}

// A file may be uploaded first; jobs are listed, cancelled before their end, and
// deleted after it.
func TestFilesListsAndEnds(t *testing.T) {
	s := start(t, Config{Work: time.Hour})
	s.Script(Rule{On: "files", Delay: Duration(30 * time.Millisecond)}) // a slow upload
	contentType, form := multiform(t, "purpose", "parse", "one\ftwo")
	began := time.Now()
	status, body, err := s.do(http.MethodPost, "/api/v1/beta/files", contentType, form)
	file := s.object(body)
	if err != nil || status != 200 || file["expires_at"] == nil || time.Since(began) < 30*time.Millisecond {
		t.Fatalf("%d %v %v", status, file, err)
	}
	create := func(id string) (int, map[string]any) {
		status, body, err := s.do(http.MethodPost, "/api/v2/parse", "application/json", strings.NewReader(`{"tier":"agentic","version":"latest","file_id":"`+id+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		return status, s.object(body)
	}
	if status, _ := create("file-x"); status != 404 {
		t.Errorf("an unknown file: %d", status)
	}
	status, v := create(file["id"].(string))
	if status != 200 || v["status"] != "PENDING" {
		t.Fatalf("%d %v", status, v)
	}
	id := v["id"].(string)
	other := s.begin(plain, "other")
	end := func(method, path string) int {
		status, _, err := s.do(method, "/api/v2/parse/"+path, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		return status
	}
	if status := end(http.MethodDelete, id); status != 409 {
		t.Errorf("deleted while it runs: %d", status)
	}
	if status := end(http.MethodPost, other+"/cancel"); status != 200 || s.job(other)["status"] != "CANCELLED" {
		t.Errorf("cancel: %d %v", status, s.job(other))
	}
	s.Advance(time.Hour)
	if status := end(http.MethodPost, id+"/cancel"); status != 409 {
		t.Errorf("cancelled after its end: %d", status)
	}
	_, l := s.get("/api/v2/parse?page_size=1")
	first := l["items"].([]any)[0].(map[string]any)
	if l["total_size"] != 2.0 || first["id"] != other || l["next_page_token"] == nil {
		t.Errorf("list %v", l)
	}
	if _, l := s.get("/api/v2/parse?status=COMPLETED"); l["total_size"] != 1.0 {
		t.Errorf("list of what is completed %v", l)
	}
	if status := end(http.MethodDelete, id); status != 200 {
		t.Errorf("delete: %d", status)
	}
	if _, l := s.get("/api/v2/parse"); l["total_size"] != 1.0 {
		t.Errorf("list after the delete %v", l)
	}
	s.key = "llx-b"
	if status, _ := s.get("/api/v2/parse/" + other); status != 404 {
		t.Errorf("another key sees the job: %d", status)
	}
	if m := s.Meter(); m.Jobs != 1 || m.Pages != 2 {
		t.Errorf("meter %+v", m)
	}
}

// Each event comes twice, signed, as a string in JSON unless an object is asked for.
func TestWebhooks(t *testing.T) {
	var mu sync.Mutex
	got := map[string]int{}
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		mac := hmac.New(sha256.New, []byte("secret"))
		mac.Write(body)
		if err != nil || r.Header.Get("LC-Signature") != "sha256="+hex.EncodeToString(mac.Sum(nil)) || r.Header.Get("X-Own") != "yes" {
			t.Errorf("headers %v, %v", r.Header, err)
		}
		var text string
		kind := "object "
		if json.Unmarshal(body, &text) == nil {
			body, kind = []byte(text), "string "
		}
		var e struct {
			Type string `json:"event_type"`
		}
		if err := json.Unmarshal(body, &e); err != nil {
			t.Errorf("%v: %s", err, body)
		}
		mu.Lock()
		defer mu.Unlock()
		got[kind+e.Type]++
	}))
	defer receiver.Close()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	s := start(t, Config{Work: time.Hour, Webhooks: client})
	hook := func(more string) string {
		return `{"tier":"agentic","version":"latest","webhook_configurations":[{"webhook_url":"` + receiver.URL + `","webhook_signing_secret":"secret","webhook_headers":{"X-Own":"yes"}` + more + `}]}`
	}
	s.Script(Rule{On: "create", Contains: "partly", FailPages: []int{1}}, Rule{On: "create", Contains: "badly", FailJob: "odd"})
	s.begin(hook(""), "well")
	s.begin(hook(`,"webhook_output_format":"json","webhook_events":["parse.partial_success"]`), "partly"+strings.Repeat("\f", 19))
	s.begin(hook(`,"webhook_events":["parse.error"]`), "badly")
	cancelled := s.begin(hook(`,"webhook_events":["parse.cancelled"]`), "never")
	if status, _, err := s.do(http.MethodPost, "/api/v2/parse/"+cancelled+"/cancel", "", nil); err != nil || status != 200 {
		t.Fatal(status, err)
	}
	s.Advance(time.Hour)
	s.hooks.Wait()
	want := map[string]int{
		"string parse.pending": 2, "string parse.running": 2, "string parse.success": 2,
		"object parse.partial_success": 2, "string parse.error": 2, "string parse.cancelled": 2,
	}
	mu.Lock()
	defer mu.Unlock()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
