package events_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"sluice/pkg/events"
	"sluice/pkg/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func about() events.About {
	return events.About{
		Document: events.DocumentID("acme", "a.md"), Revision: 7, Tenant: "acme", Name: "a.md",
		ContentHash: events.ContentHash([]byte("x")), Fingerprint: "f", Bytes: 1,
		Submitted: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), Meta: map[string]string{"Team": "blue"},
	}
}

func chunk() events.Chunk {
	a := about()
	return events.Chunk{
		V: 1, ID: events.ChunkID(a.Document, 0, events.TextHash("text"), "f"), Document: a.Document, Revision: 7,
		Tenant: "acme", Of: 1, Text: "text", Headings: []string{"A", "B"}, Header: "Name | Price", Language: "de", Start: 3, End: 7, Tokens: 1, InputTokens: 5, About: &a,
	}
}

func TestRoundTrip(t *testing.T) {
	p := events.Parsed{V: 1, About: about(), Markdown: "# A\n", Pages: []events.PageMark{{Page: 1}}}
	gotP, err := events.Decode[events.Parsed](events.Encode(p))
	if err != nil || !reflect.DeepEqual(*gotP, p) {
		t.Errorf("parsed: %v, %+v", err, gotP)
	}
	v := events.Vector{Chunk: chunk(), Model: "m", Embedding: events.EncodeVector([]float32{1, -0.5}), Nano: 20}
	gotV, err := events.Decode[events.Vector](events.Encode(v))
	if err != nil || !reflect.DeepEqual(*gotV, v) {
		t.Errorf("vector: %v, %+v", err, gotV)
	}
	// The wire form is base64 of little-endian float32: 1 is 0000803f.
	if body := string(events.Encode(v)); !strings.Contains(body, `"embedding":"AACAPwAAAL8="`) {
		t.Errorf("embedding on the wire: %s", body)
	}
	if in := v.Input(); in != "A > B\n\nName | Price\ntext" {
		t.Errorf("input %q", in)
	}
	v.Headings = nil
	if in := v.Input(); in != "Name | Price\ntext" {
		t.Errorf("input without headings %q", in)
	}
}

func TestUnknownFieldsAreTolerated(t *testing.T) {
	body := bytes.Replace(events.Encode(chunk()), []byte(`{"v":1`), []byte(`{"later":{"x":[1]},"v":1`), 1)
	if _, err := events.Decode[events.Chunk](body); err != nil {
		t.Error(err)
	}
}

func TestMalformedBodiesAreNamed(t *testing.T) {
	bad := func(change func(*events.Chunk)) []byte {
		c := chunk()
		change(&c)
		return events.Encode(c)
	}
	for name, tc := range map[string]struct {
		body []byte
		want string
	}{
		"not json":     {[]byte("hello"), "chunk/1"},
		"empty":        {nil, "chunk/1"},
		"array":        {[]byte("[]"), "chunk/1"},
		"version":      {bad(func(c *events.Chunk) { c.V = 0 }), "field v is 0"},
		"no id":        {bad(func(c *events.Chunk) { c.ID = "" }), "field id"},
		"odd document": {bad(func(c *events.Chunk) { c.Document = "docs.event.>" }), "field document"},
		"no revision":  {bad(func(c *events.Chunk) { c.Revision = 0 }), "revision"},
		"no tenant":    {bad(func(c *events.Chunk) { c.Tenant = "" }), "tenant"},
		"ordinal":      {bad(func(c *events.Chunk) { c.Ordinal = 1 }), "chunk 1 of 1"},
		"negative":     {bad(func(c *events.Chunk) { c.Ordinal = -1 }), "chunk -1"},
		"no text":      {bad(func(c *events.Chunk) { c.Text = "" }), "text"},
		"offsets":      {bad(func(c *events.Chunk) { c.End = 9 }), "offsets"},
		"tokens":       {bad(func(c *events.Chunk) { c.Tokens = -1 }), "token"},
		"no about":     {bad(func(c *events.Chunk) { c.About = nil }), "about"},
		"other about":  {bad(func(c *events.Chunk) { a := about(); a.Revision = 8; c.About = &a }), "about"},
	} {
		_, err := events.Decode[events.Chunk](tc.body)
		f := fault.From(err)
		if err == nil || f.Class != fault.Validation || f.Reason != "malformed-event" || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want a validation fault about %q", name, err, tc.want)
		}
	}
	for _, body := range []string{`{}`, `{"name":"a","document":"b"}`, `{"document":"xyz"}`} {
		if _, err := events.Decode[events.Deletion]([]byte(body)); fault.Of(err) != fault.Validation {
			t.Errorf("deletion %s: %v", body, err)
		}
	}
	if _, err := events.DecodeVector([]byte{1, 2, 3}); fault.Of(err) != fault.Validation {
		t.Errorf("vector of 3 bytes: %v", err)
	}
}

func TestIDs(t *testing.T) {
	// Pinned: a change here orphans every index there is.
	if got := events.DocumentID("acme", "a.md"); got != "ec47048a6d3b0b641dac28e878c7a0d9" {
		t.Errorf("DocumentID = %s", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String()
		a, b, c, d := s.Draw(t, "a"), s.Draw(t, "b"), s.Draw(t, "c"), s.Draw(t, "d")
		if (events.DocumentID(a, b) == events.DocumentID(c, d)) != (a == c && b == d) {
			t.Fatalf("(%q,%q) and (%q,%q)", a, b, c, d)
		}
		if events.DocumentID(a, b) == events.ContentDocumentID(a, b) {
			t.Fatal("named and unnamed documents share IDs")
		}
	})
}

func TestCleanHeader(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, n := string(rapid.SliceOf(rapid.Byte()).Draw(t, "s")), rapid.IntRange(0, 50).Draw(t, "n")
		got := events.CleanHeader(s, n)
		if len(got) > n || !utf8.ValidString(got) || strings.ContainsAny(got, "\r\n\x00") {
			t.Fatalf("%q -> %q", s, got)
		}
	})
}

func TestSafeReply(t *testing.T) {
	for _, bad := range []string{"", "docs.delete", "$JS.API.STREAM.DELETE.DOCUMENTS", "sluice.search", "a b", "a.>", "a.*", ".a", "a..b", "cost.usage.x.y"} {
		if got := events.SafeReply(bad); got != "" {
			t.Errorf("%q is allowed", bad)
		}
	}
	for _, good := range []string{"answers.mine", "_INBOX.abc"} {
		if events.SafeReply(good) != good {
			t.Errorf("%q is refused", good)
		}
	}
}

func TestSubmitName(t *testing.T) {
	for subject, want := range map[string]string{"docs.submit": "", "docs.submit.report.pdf": "report.pdf", "docs.submit.a": "a", "docs.uri": ""} {
		if got := events.SubmitName(subject); got != want {
			t.Errorf("%s: %q, want %q", subject, got, want)
		}
	}
}

// body returns v's form on the wire, and fails if encoding/json has another one.
func body(t testing.TB, v any) []byte {
	t.Helper()
	got := events.Encode(v)
	if want, err := json.Marshal(v); err != nil || !bytes.Equal(got, want) {
		t.Errorf("encoded\n%s\nencoding/json says\n%s, %v", got, want, err)
	}
	return got
}

// same holds what Decode makes of data against encoding/json. A body that is
// refused for what it says has to be readable all the same.
func same[T any](t testing.TB, data []byte, got *T, err error) {
	t.Helper()
	want := new(T)
	jsonErr := json.Unmarshal(data, want)
	if jsonErr != nil && err == nil || jsonErr == nil && errors.As(err, new(*json.SyntaxError)) {
		t.Errorf("decoding %q: %v, encoding/json says %v", data, err, jsonErr)
	}
	if err == nil && !reflect.DeepEqual(got, want) {
		t.Errorf("decoded %q to\n%+v\nencoding/json says\n%+v", data, got, want)
	}
}

// FuzzEncode: bodies are written as encoding/json writes them, whatever they
// hold, and read back as encoding/json reads them.
func FuzzEncode(f *testing.F) {
	f.Add("text", []byte{0, 0, 128, 63}, int64(7), 1.5, uint8(0xFF))
	f.Add("# <Ünïcode> & \"quotes\" \\ \u2028\u2029\x00\x1f\x7f\b\f\n\r\t \xff\xed\xa0\x80 😀 \ufffd", []byte{}, int64(-1), 1e-7, uint8(0x55))
	f.Add("", []byte(nil), int64(math.MaxInt64), 1e21, uint8(0))
	f.Fuzz(func(t *testing.T, s string, b []byte, n int64, x float64, which uint8) {
		has := func(bit int) bool { return which>>bit&1 == 1 }
		when := time.Unix(n%(1<<37), n%1e9).UTC()
		if has(7) {
			when = when.In(time.FixedZone("", int(n%86400/60*60)))
		}
		a := about()
		a.Revision, a.Name, a.Bytes, a.Submitted = events.Revision(n), s, n, when
		a.Facts = events.Facts{Title: s, Pages: int(n % 3)}
		a.Meta = nil
		if has(0) {
			a.Meta = map[string]string{s: "1", "Key": s, "": ""}
			a.Warnings = []string{"", s}
		}
		p := events.Parsed{V: int(n), About: a, Markdown: s}
		if has(1) {
			p.Pages = []events.PageMark{{Page: int(n), Offset: 1}, {}}
		}
		c := chunk()
		c.Text, c.ID, c.Start, c.Page, c.Headings = s, s, int(n), int(n%2), nil
		if has(2) {
			c.Headings, c.Header = []string{s, ""}, s
		}
		if c.About = nil; has(3) {
			c.About = &a
		}
		v := events.Vector{Chunk: c, Model: s, Embedding: b, Nano: n, Reused: has(4), Degraded: has(5)}
		e := events.Event{V: 1, What: events.What(s), Revision: events.Revision(n), Time: when, Seconds: x, Tokens: int(n), Warnings: a.Warnings}
		if math.IsNaN(x) || math.IsInf(x, 0) {
			e.Seconds = 0
		}
		if has(6) {
			e.Submitted, e.Ordinals, e.Failure = &when, []int{0, int(n)}, &events.Failure{Message: s, Attempts: int(n)}
		}
		d := events.Document{Name: s, Revision: events.Revision(n), State: events.State(s), Submitted: when, Pages: int(n % 2), Warnings: a.Warnings, Failure: e.Failure}
		if has(4) {
			d.Live = &events.Live{Revision: 1, Chunks: int(n), Degraded: has(5)}
		}
		data := body(t, p)
		gotP, err := events.Decode[events.Parsed](data)
		same(t, data, gotP, err)
		data = body(t, c)
		gotC, err := events.Decode[events.Chunk](data)
		same(t, data, gotC, err)
		data = body(t, v)
		gotV, err := events.Decode[events.Vector](data)
		same(t, data, gotV, err)
		data = body(t, e)
		gotE, err := events.Decode[events.Event](data)
		same(t, data, gotE, err)
		data = body(t, d)
		gotD, err := events.Decode[events.Document](data)
		same(t, data, gotD, err)
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(events.Encode(chunk()))
	f.Add(events.Encode(events.Vector{Chunk: chunk(), Model: "m", Embedding: []byte{0, 0, 0, 0}}))
	f.Add(events.Encode(events.Parsed{V: 1, About: about(), Markdown: "x"}))
	f.Add([]byte(`{"v":1,"what":"failed","document":"` + events.DocumentID("a", "b") + `"}`))
	f.Add([]byte(`{"uri":"x"}`))
	f.Add([]byte(`{"v":2}`))
	f.Add(bytes.Replace(events.Encode(events.Vector{Chunk: chunk(), Model: "m", Embedding: []byte{0, 0, 0, 0}}),
		[]byte(`"embedding":"`), []byte(`"other":{"embedding":"AAAA"},"embedding":"`), 1))
	f.Add(bytes.Replace(events.Encode(events.Vector{Chunk: chunk(), Model: "m", Embedding: []byte{0, 0, 0, 0}}),
		[]byte(`"embedding":"`), []byte(`"embedding": "AAAAAA==","other":{"embedding":"`), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		check := func(v any, err error) {
			if f := fault.From(err); f != nil && f.Class != fault.Validation && f.Reason != "newer-version" {
				t.Errorf("class %v for %q: %v", fault.Of(err), data, err)
			}
			if err == nil {
				if _, err := json.Marshal(v); err != nil {
					t.Errorf("accepted and not encodable: %v", err)
				}
			}
		}
		c, err := events.Decode[events.Chunk](data)
		check(c, err)
		same(t, data, c, err)
		v, err := events.Decode[events.Vector](data)
		check(v, err)
		same(t, data, v, err)
		p, err := events.Decode[events.Parsed](data)
		check(p, err)
		same(t, data, p, err)
		e, err := events.Decode[events.Event](data)
		check(e, err)
		same(t, data, e, err)
		doc, err := events.Decode[events.Document](data)
		check(doc, err)
		same(t, data, doc, err)
		r, err := events.Decode[events.Reference](data)
		check(r, err)
		d, err := events.Decode[events.Deletion](data)
		check(d, err)
		x, err := events.Decode[events.Tombstone](data)
		check(x, err)
	})
}
