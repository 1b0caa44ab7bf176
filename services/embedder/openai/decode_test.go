package openai

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
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

// Whatever encoding/json makes of an answer, decode makes the same or refuses.
func FuzzDecode(f *testing.F) {
	f.Add(string(answerOf(2, 2)))
	f.Add(`{"data":[{"index":0,"embedding":[1,2.5e0]},{"index":1,"embedding":"AACAPwAAIEA\u003d"}],"usage":{"prompt_tokens":3}}`)
	f.Add(`{"error":{"message":"x","code":3}}`)
	f.Fuzz(func(t *testing.T, body string) {
		vectors, tokens, err := decode([]byte(body), 2, 2)
		_ = parseError([]byte(body)) // must not panic
		if err != nil || !json.Valid([]byte(body)) {
			return
		}
		if len(vectors) != 2 || vectors[0] == nil || vectors[1] == nil || tokens < 0 {
			t.Errorf("%q: %v, %d", body, vectors, tokens)
		}
	})
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
