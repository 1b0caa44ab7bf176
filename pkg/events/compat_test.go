package events

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"sluice/pkg/fault"
)

var missing = flag.Bool("missing", false, "write bodies that are not in testdata yet; those that are never change")

// bodies are all that one process writes and another reads, perhaps of another
// release.
func bodies() map[string]any {
	return map[string]any{
		"reference": &Reference{}, "deletion": &Deletion{}, "parsed": &Parsed{}, "reparse": &Reparse{}, "chunks": &Chunks{}, "vectors": &Vectors{},
		"tombstone": &Tombstone{}, "event": &Event{}, "usage": &Usage{}, "document": &Document{},
		"search-request": &SearchRequest{}, "search-reply": &SearchReply{}, "embed-request": &EmbedRequest{}, "embed-reply": &EmbedReply{},
	}
}

// Releases that are one schema apart run side by side during an upgrade. So the
// fields of version 1 are for good: testdata/v1 has each body with all of them, as
// it was first written. This release must read every field there, and must write
// every field there, with the same type. It may write more: readers tolerate that.
func TestTheFieldsOfVersion1AreForGood(t *testing.T) {
	for name, v := range bodies() {
		t.Run(name, func(t *testing.T) {
			fill(reflect.ValueOf(v).Elem())
			written, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", "v1", name+".json")
			golden, err := os.ReadFile(path)
			if os.IsNotExist(err) && *missing {
				var b bytes.Buffer
				if err := json.Indent(&b, written, "", "  "); err != nil {
					t.Fatal(err)
				}
				b.WriteByte('\n')
				if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				golden = b.Bytes()
			} else if err != nil {
				t.Fatalf("%v: a body that is new is added with -missing", err)
			}
			// What version 1 wrote is read: no field of it is unknown now.
			strict := json.NewDecoder(bytes.NewReader(golden))
			strict.DisallowUnknownFields()
			if err := strict.Decode(reflect.New(reflect.TypeOf(v).Elem()).Interface()); err != nil {
				t.Errorf("a body of version 1 is not understood: %v", err)
			}
			// What is written now is read by version 1: all of its fields are there.
			was, is := shape(t, golden), shape(t, written)
			for field, kind := range was {
				if is[field] != kind {
					t.Errorf("the field %s of version 1 is %s and was %s: older stages read it", field, orNone(is[field]), kind)
				}
			}
		})
	}
}

func orNone(s string) string {
	if s == "" {
		return "gone"
	}
	return "a " + s
}

// shape returns the JSON type of every field, by its path.
func shape(t *testing.T, data []byte) map[string]string {
	t.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				walk(path+"."+k, e)
			}
		case []any:
			fields[path] = "list"
			for _, e := range v {
				walk(path+"[]", e)
			}
		default:
			fields[path] = fmt.Sprintf("%T", v)
		}
	}
	walk("", v)
	return fields
}

// A newer body is not dead-lettered: it waits for a stage that can read it, and
// uses up no retry. What is no version at all is malformed.
func TestANewerVersionWaits(t *testing.T) {
	for v, want := range map[int]fault.Class{0: fault.Validation, -1: fault.Validation, Version: fault.Unavailable, Version + 1: fault.Unavailable} {
		err := checkVersion(v)
		if v == Version {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		f := fault.From(err)
		if f == nil || f.Class != want || (f.Wait != "") != (v > Version) {
			t.Errorf("version %d: %+v", v, f)
		}
	}
	id := DocumentID("acme", "a.md")
	for _, body := range []string{
		fmt.Sprintf(`{"v":2,"document":%q,"revision":2,"new":{"field":[1]}}`, id),
		`{"v":2,"document":{"another":"type"},"markdown":7,"text":7,"what":7}`,
	} {
		for name, decode := range map[string]func([]byte) error{
			"chunks":  func(b []byte) error { _, err := Decode[Chunks](b); return err },
			"vectors": func(b []byte) error { _, err := Decode[Vectors](append(b, "\n\x00\x01"...)); return err },
			"parsed":  func(b []byte) error { _, err := Decode[Parsed](b); return err },
			"event":   func(b []byte) error { _, err := Decode[Event](b); return err },
		} {
			if f := fault.From(decode([]byte(body))); f == nil || f.Reason != "newer-version" || f.Wait.Kind() != fault.WaitSchema {
				t.Errorf("%s: %+v", name, f)
			}
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
