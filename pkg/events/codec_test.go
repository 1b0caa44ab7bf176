package events

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

// Falling back to encoding/json is correct and slow, so nothing else would notice.
func TestWhatIsWrittenIsReadWithoutEncodingJSON(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 250, time.UTC)
	about := About{
		Document: "d", Revision: 1795632026807, Tenant: "acme", Name: "a.md", Submitted: now, Meta: map[string]string{"A": "1", "B": "<2>"},
		Facts: Facts{Type: "text/markdown", Pages: 2}, Warnings: []string{"é"}, Nano: 5,
	}
	chunk := Chunk{V: Version, Text: "a < b\n\t\"é\" \\ \u2028", Headings: []string{"A", "B"}, Start: 10, About: &about}
	for name, c := range map[string]*codec{
		"parsed": through(&Parsed{}, Encode(Parsed{About: about, Markdown: "#", Pages: []PageMark{{1, 0}, {2, 9}}})),
		"chunk":  through(&Chunk{}, Encode(chunk)),
		"vector": through(&Vector{}, Encode(Vector{Chunk: chunk, Embedding: EncodeVector([]float32{1, 2}), Nano: -1, Reused: true})),
		"event": through(&Event{}, Encode(Event{
			What: Failed, Time: now, Seconds: 0.0125, Submitted: &now, Ordinals: []int{0, 1, 20}, Failure: &Failure{Message: "no"}, ReplyTo: "r",
		})),
		"document": through(&Document{}, Encode(Document{
			Document: "d", Revision: 7, Submitted: now, Updated: now, Live: &Live{Revision: 6, Degraded: true}, Warnings: []string{"w"},
		})),
	} {
		if c.bad || c.at != len(c.buf) {
			t.Errorf("%s: stopped at %d of %s", name, c.at, c.buf)
		}
	}
}

func through[T any, P fielder[T]](v P, data []byte) *codec {
	c := &codec{buf: data, reading: true}
	c.open()
	v.fields(c)
	c.close()
	return c
}

// A field that a struct has and its codec does not would be lost without a word.
func TestNoFieldIsForgotten(t *testing.T) {
	for _, v := range []any{&Parsed{}, &Chunk{}, &Vector{}, &Event{}, &Document{}} {
		fill(reflect.ValueOf(v).Elem())
		v = reflect.ValueOf(v).Elem().Interface() // pointers are left to encoding/json
		got := Encode(v)
		if want, err := json.Marshal(v); err != nil || !bytes.Equal(got, want) {
			t.Errorf("encoded\n%s\nencoding/json says\n%s, %v", got, want, err)
		}
	}
}

// fill gives every field of v a value that is not left out.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(1, 0).UTC()))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("k"), reflect.ValueOf("v"))
	case reflect.String:
		v.SetString("s")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(1)
	default:
		if v.CanInt() {
			v.SetInt(1)
		} else {
			v.SetUint(1)
		}
	}
}
