package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// line is a request of a batch.
func line(id, input string) string {
	return `{"custom_id":"` + id + `","method":"POST","url":"/v1/embeddings","body":` + embedding(input) + "}\n"
}

func lines(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(line(fmt.Sprint("c", i), fmt.Sprintf(`["text number %d","more"]`, i)))
	}
	return b.String()
}

func (r *rig) uploadFile(purpose, name, data string) (int, map[string]any) {
	r.t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	part, err := w.CreateFormFile("file", name)
	if err == nil {
		_, err = part.Write([]byte(data))
	}
	if err == nil {
		err = w.WriteField("purpose", purpose)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	resp, body, err := r.do(http.MethodPost, "/v1/files", w.FormDataContentType(), b.String())
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, r.object(body)
}

func (r *rig) object(body []byte) (v map[string]any) {
	r.t.Helper()
	if err := json.Unmarshal(body, &v); err != nil {
		r.t.Fatalf("%v: %s", err, body)
	}
	return v
}

func (r *rig) get(path string) (int, []byte) {
	r.t.Helper()
	resp, body, err := r.do(http.MethodGet, path, "", "")
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, body
}

// shown is a batch as the API shows it.
type shown struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Errors *struct {
		Data []trouble `json:"data"`
	} `json:"errors"`
	Output  string         `json:"output_file_id"`
	Error   string         `json:"error_file_id"`
	Counts  map[string]int `json:"request_counts"`
	Created int64          `json:"created_at"`
	Expires int64          `json:"expires_at"`
	Ended   int64          `json:"completed_at"`
	Usage   struct {
		Input int `json:"input_tokens"`
	} `json:"usage"`
}

func (r *rig) batch(path string, body []byte) (b shown) {
	r.t.Helper()
	if body == nil {
		_, body = r.get(path)
	}
	if err := json.Unmarshal(body, &b); err != nil || b.ID == "" {
		r.t.Fatalf("%v: %s", err, body)
	}
	return b
}

// begin uploads a file and makes a batch of it.
func (r *rig) begin(data, more string) shown {
	r.t.Helper()
	status, f := r.uploadFile("batch", "in.jsonl", data)
	if status != 200 {
		r.t.Fatalf("upload: %d %v", status, f)
	}
	_, body := r.post("/v1/batches", fmt.Sprintf(`{"input_file_id":%q,"endpoint":"/v1/embeddings","completion_window":"24h"%s}`, f["id"], more))
	return r.batch("", body)
}

func (r *rig) expect(id, status string) shown {
	r.t.Helper()
	b := r.batch("/v1/batches/"+id, nil)
	if b.Status != status {
		r.t.Fatalf("the batch is %s, want %s: %+v", b.Status, status, b)
	}
	return b
}

// outcome is a line of an output or error file.
type outcome struct {
	ID       string `json:"id"`
	Custom   string `json:"custom_id"`
	Response *struct {
		Status  int    `json:"status_code"`
		Request string `json:"request_id"`
		Body    struct {
			Data []struct {
				Embedding []float32 `json:"embedding"`
			} `json:"data"`
			Usage struct {
				Tokens int `json:"prompt_tokens"`
			} `json:"usage"`
		} `json:"body"`
	} `json:"response"`
	Error *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

func (r *rig) content(file string) (all []outcome) {
	r.t.Helper()
	status, body := r.get("/v1/files/" + file + "/content")
	if status != 200 {
		r.t.Fatalf("%s: %d %s", file, status, body)
	}
	for l := range bytes.Lines(body) {
		var o outcome
		if err := json.Unmarshal(l, &o); err != nil {
			r.t.Fatalf("%v: %s", err, l)
		}
		all = append(all, o)
	}
	return all
}

var steps = Batching{Validate: time.Minute, Work: 10 * time.Hour, Finalize: 5 * time.Minute, Cancel: 10 * time.Minute}

// A batch from its file to its output, by the clock, at half the price.
func TestABatch(t *testing.T) {
	s := start(t, Config{Batching: steps})
	s.Script(Rule{Contains: "number 3", Status: 500})
	data := lines(9) + `{"custom_id":"bad","method":"POST","url":"/v1/embeddings","body":{"model":"text-embedding-3-small","input":"a","dimensions":0}}` + "\n"
	b := s.begin(data, `,"metadata":{"run":"7"}`)
	if b.Status != "validating" || b.Expires != b.Created+86_400 {
		t.Errorf("made %+v", b)
	}
	s.Advance(time.Minute)
	if b = s.expect(b.ID, "in_progress"); b.Counts["total"] != 10 || b.Counts["completed"] != 0 {
		t.Errorf("in progress %+v", b)
	}
	s.Advance(5 * time.Hour)
	if b = s.expect(b.ID, "in_progress"); b.Counts["completed"] != 4 || b.Counts["failed"] != 1 {
		t.Errorf("half way %+v", b)
	}
	half := s.Meter()
	if half.Batched.Calls != 4 || half.Batched.Tokens != b.Usage.Input || half.Charge != half.Batched {
		t.Errorf("half way the meter says %+v, the batch %+v", half, b)
	}
	s.Advance(5 * time.Hour)
	if b = s.expect(b.ID, "finalizing"); b.Output != "" {
		t.Errorf("finalizing %+v", b)
	}
	s.Advance(5 * time.Minute)
	b = s.expect(b.ID, "completed")
	if b.Counts["completed"] != 8 || b.Counts["failed"] != 2 || b.Ended == 0 {
		t.Errorf("completed %+v", b)
	}
	good, bad := s.content(b.Output), s.content(b.Error)
	tokens := 0
	var order []string
	for _, o := range good {
		order = append(order, o.Custom)
		want := Vector("text-embedding-3-small", "text number "+o.Custom[1:], 1536)
		if o.Response.Status != 200 || o.Error != nil || o.ID == "" || o.Response.Request == "" || len(o.Response.Body.Data) != 2 || !slices.Equal(o.Response.Body.Data[0].Embedding, want) {
			t.Errorf("output %+v", o.Custom)
		}
		tokens += o.Response.Body.Usage.Tokens
	}
	if len(order) != 8 || slices.IsSorted(order) {
		t.Errorf("the output has the order %v", order)
	}
	status := map[string]int{}
	for _, o := range bad {
		status[o.Custom] = o.Response.Status
	}
	if len(bad) != 2 || status["c3"] != 500 || status["bad"] != 400 {
		t.Errorf("errors %v", status)
	}
	m := s.Meter()
	if m.Tokens != tokens || b.Usage.Input != tokens || m.Nano != int64(tokens)*10 || m.Calls != 8 || m.Inputs != 16 || len(m.By["sk-a"]) < 8 {
		t.Errorf("%d tokens in the output, the batch %+v, the meter %+v", tokens, b, m)
	}
}

// What was done before the end is there, and has to be paid.
func TestABatchThatEndsEarly(t *testing.T) {
	late := steps
	late.Work = 48 * time.Hour
	s := start(t, Config{Batching: late})
	b := s.begin(lines(10), "")
	s.Advance(24 * time.Hour)
	b = s.expect(b.ID, "expired")
	if len(s.content(b.Output)) != 4 || b.Counts["completed"] != 4 || s.Meter().Nano != int64(b.Usage.Input)*10 || b.Usage.Input == 0 {
		t.Errorf("expired %+v, meter %+v", b, s.Meter())
	}
	bad := s.content(b.Error)
	if len(bad) != 6 || bad[0].Response != nil || bad[0].Error.Code != "batch_expired" {
		t.Errorf("errors %+v", bad)
	}

	s = start(t, Config{Batching: steps})
	b = s.begin(lines(10), "")
	s.Advance(3*time.Hour + 2*time.Minute)
	_, body := s.post("/v1/batches/"+b.ID+"/cancel", "")
	if b = s.batch("", body); b.Status != "cancelling" || b.Output != "" {
		t.Errorf("cancelled %+v", b)
	}
	s.Advance(10 * time.Minute)
	b = s.expect(b.ID, "cancelled")
	if len(s.content(b.Output)) != 3 || len(s.content(b.Error)) != 7 || s.Meter().Calls != 3 || s.Meter().Nano != int64(b.Usage.Input)*10 {
		t.Errorf("cancelled %+v, meter %+v", b, s.Meter())
	}
	s.Advance(24 * time.Hour)
	if resp, _ := s.post("/v1/batches/"+b.ID+"/cancel", ""); resp.StatusCode != 409 || s.Meter().Calls != 3 {
		t.Errorf("cancelled twice: %d, meter %+v", resp.StatusCode, s.Meter())
	}
}

func TestBatchesThatFail(t *testing.T) {
	body := func(s string) string {
		return `{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":` + s + "}\n"
	}
	inputs := `["a"` + strings.Repeat(`,"a"`, 2047) + `]`
	wide := ""
	for i := range 25 { // 51,200 inputs
		wide += line(fmt.Sprint(i), inputs)
	}
	for _, c := range []struct {
		name, data, code string
		line             int
		cfg              Batching
	}{
		{"no JSON", line("a", `"x"`) + "{\n", "invalid_json_line", 2, Batching{}},
		{"no ID", line("", `"x"`), "missing_required_parameter", 1, Batching{}},
		{"an ID twice", line("a", `"x"`) + line("a", `"y"`), "duplicate_custom_id", 2, Batching{}},
		{"another method", strings.Replace(line("a", `"x"`), "POST", "GET", 1), "invalid_method", 1, Batching{}},
		{"another endpoint", strings.Replace(line("a", `"x"`), "embeddings", "responses", 1), "invalid_url", 1, Batching{}},
		{"no model", body(`{"input":"a"}`), "invalid_request", 1, Batching{}},
		{"two models", line("a", `"x"`) + strings.Replace(line("b", `"x"`), "small", "large", 1), "mismatched_model", 2, Batching{}},
		{"nothing", "\n", "empty_file", 0, Batching{}},
		{"too many requests", lines(4), "too_many_requests", 4, Batching{Requests: 3}},
		{"too many requests for OpenAI", strings.Repeat("{}\n", 50_001), "too_many_requests", 50_001, Batching{}},
		{"too many inputs", lines(4), "too_many_inputs", 0, Batching{Inputs: 7}},
		{"too many inputs for OpenAI", wide, "too_many_inputs", 0, Batching{}},
		{"too many tokens wait", lines(4), "token_limit_exceeded", 0, Batching{Queued: 5}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, Config{Batching: c.cfg})
			b := s.expect(s.begin(c.data, "").ID, "failed")
			if b.Errors == nil || b.Output != "" || b.Counts["total"] != 0 {
				t.Fatalf("failed %+v", b)
			}
			last := b.Errors.Data[len(b.Errors.Data)-1]
			if last.Code != c.code || last.Message == "" || (last.Line == nil) != (c.line == 0) || (c.line > 0 && *last.Line != c.line) {
				t.Errorf("error %+v, want %s in line %d", last, c.code, c.line)
			}
			if m := s.Meter(); m.Nano != 0 {
				t.Errorf("%d n$ for it", m.Nano)
			}
		})
	}
}

func TestBatchesThatAreRefused(t *testing.T) {
	s := start(t, Config{Batching: Batching{Bytes: 1000}})
	for _, c := range []struct {
		name, purpose, file, data string
		status                    int
	}{
		{"another purpose", "fine-tune", "in.jsonl", "x", 400},
		{"another kind of file", "batch", "in.csv", "x", 400},
		{"too large", "batch", "in.jsonl", strings.Repeat("x", 1001), 413},
	} {
		if status, v := s.uploadFile(c.purpose, c.file, c.data); status != c.status {
			t.Errorf("%s: %d %v", c.name, status, v)
		}
	}
	status, f := s.uploadFile("batch", "in.jsonl", lines(1))
	if status != 200 || f["object"] != "file" || f["purpose"] != "batch" || f["bytes"].(float64) != float64(len(lines(1))) {
		t.Fatalf("%d %v", status, f)
	}
	id, expires := f["id"].(string), func(anchor string, seconds int) string {
		return fmt.Sprintf(`,"output_expires_after":{"anchor":%q,"seconds":%d}`, anchor, seconds)
	}
	for _, c := range []struct {
		name, file, endpoint, window, more string
		status                             int
	}{
		{"another endpoint", id, "/v1/responses", "24h", "", 400},
		{"another window", id, "/v1/embeddings", "1h", "", 400},
		{"no such file", "file-x", "/v1/embeddings", "24h", "", 404},
		{"an unknown field", id, "/v1/embeddings", "24h", `,"priority":1`, 400},
		{"output gone too soon", id, "/v1/embeddings", "24h", expires("created_at", 3599), 400},
		{"output kept too long", id, "/v1/embeddings", "24h", expires("created_at", 2_592_001), 400},
		{"another anchor", id, "/v1/embeddings", "24h", expires("now", 3600), 400},
		{"metadata", id, "/v1/embeddings", "24h", `,"metadata":{"k":"` + strings.Repeat("v", 513) + `"}`, 400},
		{"the shortest", id, "/v1/embeddings", "24h", expires("created_at", 3600), 200},
		{"the longest", id, "/v1/embeddings", "24h", expires("created_at", 2_592_000), 200},
	} {
		resp, body := s.post("/v1/batches", fmt.Sprintf(`{"input_file_id":%q,"endpoint":%q,"completion_window":%q%s}`, c.file, c.endpoint, c.window, c.more))
		if resp.StatusCode != c.status {
			t.Errorf("%s: %d %s", c.name, resp.StatusCode, body)
		}
	}
}

// Files and batches belong to a key; they are listed by pages, and end.
func TestFilesAndLists(t *testing.T) {
	s := start(t, Config{})
	var ids []string
	for range 5 {
		ids = append(ids, s.begin(lines(2), `,"output_expires_after":{"anchor":"created_at","seconds":3600}`).ID)
	}
	slices.Reverse(ids) // the newest first
	var got []string
	after := ""
	for pages := 0; ; pages++ {
		_, body := s.get("/v1/batches?limit=2&after=" + after)
		var l struct {
			Data []shown `json:"data"`
			Last string  `json:"last_id"`
			More bool    `json:"has_more"`
		}
		if err := json.Unmarshal(body, &l); err != nil || pages > 3 {
			t.Fatalf("%v: page %d %s", err, pages, body)
		}
		for _, b := range l.Data {
			got = append(got, b.ID)
		}
		if after = l.Last; !l.More {
			break
		}
	}
	if !slices.Equal(got, ids) {
		t.Errorf("listed %v, want %v", got, ids)
	}
	b := s.expect(ids[0], "completed")
	file := "/v1/files/" + b.Output
	if status, body := s.get(file); status != 200 || s.object(body)["expires_at"] == nil || s.object(body)["purpose"] != "batch_output" {
		t.Errorf("the output: %d %s", status, body)
	}
	s.key = "sk-b"
	for _, path := range []string{file, file + "/content", "/v1/batches/" + b.ID} {
		if status, _ := s.get(path); status != 404 {
			t.Errorf("another key sees %s: %d", path, status)
		}
	}
	if _, body := s.get("/v1/batches"); strings.Contains(string(body), "batch_") {
		t.Errorf("another key lists %s", body)
	}
	s.key = "sk-a"
	s.Advance(time.Hour)
	if status, _ := s.get(file + "/content"); status != 404 {
		t.Errorf("after its time: %d", status)
	}
	_, f := s.uploadFile("batch", "in.jsonl", lines(1))
	path := "/v1/files/" + f["id"].(string)
	if resp, _, err := s.do(http.MethodDelete, path, "", ""); err != nil || resp.StatusCode != 200 {
		t.Errorf("delete: %v", err)
	}
	if status, _ := s.get(path); status != 404 {
		t.Errorf("after delete: %d", status)
	}
	s.SetKey("sk-a", false)
	if status, _ := s.get("/v1/batches"); status != 401 {
		t.Errorf("a bad key: %d", status)
	}
}
