package openai

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"mime/multipart"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	fake "sluice/pkg/fake/openai"
)

func answerOf(n, width int) []byte {
	e := base64.StdEncoding.EncodeToString(make([]byte, 4*width))
	var b strings.Builder
	b.WriteString(`{"object":"list","data":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"object":"embedding","index":%d,"embedding":"%s"}`, i, e)
	}
	b.WriteString(`],"model":"m","usage":{"prompt_tokens":5,"total_tokens":5}}`)
	return []byte(b.String())
}

func TestDecodeTolerates(t *testing.T) {
	for _, body := range []string{
		`{"data":[{"index":0,"embedding":[1,2.5e0]}],"usage":{"prompt_tokens":3}}`,
		` { "usage" : { "total_tokens" : 3 , "x" : [ {} , null , true ] } , "extra":{"a\"":"\\"}, "data" : [ { "embedding" : [ 1 , 2.5 ] , "index" : 0 , "encoding_format":"base64" } ] } ` + "\n",
		`{"data":[{"index":0,"embedding":"AACAPwAAIEA="}],"usage":{"prompt_tokens":3,"total_tokens":3}}`,
		`{"data":[{"index":0,"embedding":"AACAPwAAIEA\u003d"}],"usage":{"prompt_tokens":3,"total_tokens":null}}`,
	} {
		v, tokens, err := decode([]byte(body), 1, 2)
		if err != nil || tokens != 3 || len(v[0]) != 2 || v[0][0] != 1 || v[0][1] != 2.5 {
			t.Errorf("%s: %v, %d tokens, %v", body, v, tokens, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, body := range []string{
		``, `{}`, `[]`, `null`, `{"data":null}`, `{"data":[]}`, `{"data":[{"index":1,"embedding":[1]}]}`, `{"data":[{"index":-1,"embedding":[1]}]}`,
		`{"data":[{"index":0.5,"embedding":[1]}]}`, `{"data":[{"embedding":[1]}]}`, `{"data":[{"index":0}]}`, `{"data":[{"index":0,"embedding":""}]}`,
		`{"data":[{"index":0,"embedding":"AAA="}]}`, `{"data":[{"index":0,"embedding":["x"]}]}`, `{"data":[{"index":0,"embedding":[1]}]} x`,
		`{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}`, `{"data":[{"index":0,"embedding":[1]`,
		`{"data":` + strings.Repeat("[", 1000),
	} {
		if v, _, err := decode([]byte(body), 1, 1); err == nil {
			t.Errorf("%.60s gives %v", body, v)
		}
	}
}

// plain reads an answer with the standard library, or nothing.
func plain(body []byte, n int) (vectors [][]float32) {
	fields := func(raw []byte) (m map[string]json.RawMessage) {
		if json.Unmarshal(raw, &m) != nil {
			return nil
		}
		return m
	}
	var data []json.RawMessage
	if json.Unmarshal(fields(body)["data"], &data) != nil {
		return nil
	}
	vectors = make([][]float32, n)
	for _, raw := range data {
		item := fields(raw)
		var index float64
		if json.Unmarshal(item["index"], &index) != nil || index != math.Trunc(index) || index < 0 || index >= float64(n) || vectors[int(index)] != nil {
			return nil
		}
		var text string
		var numbers []float64
		switch {
		case json.Unmarshal(item["embedding"], &numbers) == nil:
			v := []float32{}
			for _, x := range numbers {
				v = append(v, float32(x))
			}
			vectors[int(index)] = v
		case json.Unmarshal(item["embedding"], &text) == nil:
			b, err := base64.StdEncoding.DecodeString(text)
			if err != nil || len(b) == 0 || len(b)%4 != 0 {
				return nil
			}
			v := make([]float32, len(b)/4)
			if binary.Read(bytes.NewReader(b), binary.LittleEndian, v) != nil {
				return nil
			}
			vectors[int(index)] = v
		default:
			return nil
		}
	}
	if slices.ContainsFunc(vectors, func(v []float32) bool { return v == nil }) {
		return nil
	}
	return vectors
}

// same compares the bits, because NaN equals nothing.
func same(a, b [][]float32) bool {
	return slices.EqualFunc(a, b, func(a, b []float32) bool {
		return slices.EqualFunc(a, b, func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) })
	})
}

// Whatever the width and wherever a character is wrong, the quick way of reading
// base64 gives the numbers of the standard library, or leaves the text to it.
func TestTheQuickWayIsTheStandardOne(t *testing.T) {
	for width := range 12 {
		width++
		want := make([]float32, width)
		raw := make([]byte, 0, 4*width)
		for i := range want {
			want[i] = math.Float32frombits(0x9e3779b9 * uint32(i+width))
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(want[i]))
		}
		text := []byte(base64.StdEncoding.EncodeToString(raw))
		got := make([]float32, width)
		if !floats(got, text) || !same([][]float32{got}, [][]float32{want}) {
			t.Fatalf("width %d: %v, want %v", width, got, want)
		}
		if floats(got, text[:len(text)-4]) || floats(got, append(slices.Clone(text), "AAAA"...)) || floats(make([]float32, width+1), text) {
			t.Fatalf("width %d: another length passes", width)
		}
		for i := range text {
			for c := range 256 {
				odd := slices.Clone(text)
				odd[i] = byte(c)
				decoded, err := base64.StdEncoding.DecodeString(string(odd))
				valid := err == nil && len(decoded) == 4*width
				if floats(got, odd) != valid {
					t.Fatalf("width %d: %q passes: %v", width, odd, !valid)
				}
				if valid && !same([][]float32{got}, [][]float32{fromBytes(make([]float32, width), decoded)}) {
					t.Fatalf("width %d: %q gives %v", width, odd, got)
				}
			}
		}
	}
}

// Whatever encoding/json makes of an answer, decode makes the same or refuses;
// and of what is not quite JSON it makes no vector that was not asked for.
func FuzzDecode(f *testing.F) {
	f.Add(string(answerOf(2, 2)), uint8(2))
	f.Add(string(answerOf(2, 7)), uint8(7))
	f.Add(strings.ReplaceAll(string(answerOf(2, 6)), "AAAA", "zx/+"), uint8(6))
	f.Add(`{"data":[{"index":0,"embedding":[1,2.5e0]},{"index":1,"embedding":"AACAPwAAIEA\u003d"}],"usage":{"prompt_tokens":3}}`, uint8(2))
	f.Add(`{"error":{"message":"x","code":3}}`, uint8(1))
	f.Fuzz(func(t *testing.T, body string, width uint8) {
		vectors, tokens, err := decode([]byte(body), 2, 1+int(width)%16)
		_ = parseError([]byte(body)) // must not panic
		if err != nil || !json.Valid([]byte(body)) {
			return
		}
		if len(vectors) != 2 || vectors[0] == nil || vectors[1] == nil || tokens < 0 {
			t.Errorf("%q: %v, %d", body, vectors, tokens)
		}
		if want := plain([]byte(body), 2); want != nil && !same(vectors, want) {
			t.Errorf("%q: %v, encoding/json gives %v", body, vectors, want)
		}
	})
}

// The types of the Batch API, and its price, against the fake.
func TestTheBatchAPIIsPreparedFor(t *testing.T) {
	for name, m := range Models {
		if 2*m.Batch != m.NanoPerToken {
			t.Errorf("%s costs %d n$ a token, in a batch %d", name, m.NanoPerToken, m.Batch)
		}
	}
	s, err := fake.New(fake.Config{})
	if err != nil {
		t.Fatal(err)
	}
	send := func(method, path, contentType string, body []byte) []byte {
		t.Helper()
		r := httptest.NewRequest(method, path, bytes.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		if s.ServeHTTP(w, r); w.Code != 200 {
			t.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
		return w.Body.Bytes()
	}
	marshal := func(v any) []byte {
		t.Helper()
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	texts := map[string][]string{"a": {"one", "two"}, "b": {"three"}}
	var file bytes.Buffer
	for id, in := range texts {
		body := marshal(request{Input: in, Model: DefaultModel, EncodingFormat: "base64"})
		file.Write(append(marshal(BatchRequest{CustomID: id, Method: "POST", URL: "/v1/embeddings", Body: body}), '\n'))
	}
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, err := w.CreateFormFile("file", "in.jsonl")
	if err == nil {
		_, err = part.Write(file.Bytes())
	}
	if err := errors.Join(err, w.WriteField("purpose", "batch"), w.Close()); err != nil {
		t.Fatal(err)
	}
	var object struct {
		ID     string `json:"id"`
		Output string `json:"output_file_id"`
	}
	read := func(body []byte) {
		t.Helper()
		if err := json.Unmarshal(body, &object); err != nil {
			t.Fatal(err)
		}
	}
	read(send("POST", "/v1/files", w.FormDataContentType(), form.Bytes()))
	read(send("POST", "/v1/batches", "application/json", marshal(map[string]string{"input_file_id": object.ID, "endpoint": "/v1/embeddings", "completion_window": "24h"})))
	read(send("GET", "/v1/batches/"+object.ID, "", nil))
	used := int64(0)
	for line := range bytes.Lines(send("GET", "/v1/files/"+object.Output+"/content", "", nil)) {
		var r BatchResult
		if err := json.Unmarshal(line, &r); err != nil || r.Response == nil || r.Error != nil || r.Response.StatusCode != 200 {
			t.Fatalf("%v: %.200s", err, line)
		}
		vectors, tokens, err := decode(r.Response.Body, len(texts[r.CustomID]), 1536)
		if err != nil {
			t.Fatal(err)
		}
		for i, text := range texts[r.CustomID] {
			if !slices.Equal(vectors[i], fake.Vector(DefaultModel, text, 1536)) {
				t.Errorf("the vector of %q is another text's", text)
			}
		}
		used += int64(tokens)
		delete(texts, r.CustomID)
	}
	if m := s.Meter(); len(texts) > 0 || m.Nano != used*Models[DefaultModel].Batch {
		t.Errorf("%d requests have no answer; %d tokens, the meter says %+v", len(texts), used, m)
	}
}

func BenchmarkDecode(b *testing.B) {
	body := answerOf(2048, 1536)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, _, err := decode(body, 2048, 1536); err != nil {
			b.Fatal(err)
		}
	}
}
