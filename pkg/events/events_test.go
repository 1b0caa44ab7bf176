package events_test

import (
	"bytes"
	"encoding/json"
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
		ID: events.ChunkID(a.Document, 0, events.TextHash("text"), "f"), Document: a.Document, Revision: 7,
		Tenant: "acme", Of: 1, Text: "text", Headings: []string{"A", "B"}, Header: "Name | Price", Language: "de", Start: 3, End: 7, Tokens: 1, InputTokens: 5, About: &a,
	}
}

// pack returns the body of a pack of one chunk.
func pack(c events.Chunk) (data []byte) {
	for body := range events.PackChunks([]events.Chunk{c}) {
		data = body.Data
	}
	return data
}

func TestRoundTrip(t *testing.T) {
	p := events.Parsed{V: 1, About: about(), Markdown: "# A\n", Pages: []events.PageMark{{Page: 1}}}
	gotP, err := events.Decode[events.Parsed](events.Encode(p))
	if err != nil || !reflect.DeepEqual(*gotP, p) {
		t.Errorf("parsed: %v, %+v", err, gotP)
	}
	v := events.Vector{Chunk: chunk(), Model: "m", Embedding: events.EncodeVector([]float32{1, -0.5}), Bytes: 8, Nano: 20}
	for body := range events.PackVectors([]events.Vector{v}) {
		gotV, err := events.Decode[events.Vectors](body.Data)
		if err != nil || len(gotV.Vectors) != 1 || !reflect.DeepEqual(gotV.Vectors[0], v) {
			t.Errorf("vector: %v, %+v", err, gotV)
		}
		// Behind the JSON: little-endian float32. 1 is 0000803f.
		if !bytes.HasSuffix(body.Data, []byte("]}\n\x00\x00\x80\x3f\x00\x00\x00\xbf")) {
			t.Errorf("embedding on the wire: %q", body.Data)
		}
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
	body := pack(chunk())
	for _, at := range []string{`{"v":1`, `{"id":`} {
		body = bytes.Replace(body, []byte(at), []byte(`{"later":{"x":[1]},`+at[1:]), 1)
	}
	if _, err := events.Decode[events.Chunks](body); err != nil || bytes.Count(body, []byte("later")) != 2 {
		t.Error(err)
	}
}

func TestMalformedBodiesAreNamed(t *testing.T) {
	bad := func(change func(*events.Chunk)) []byte {
		c := chunk()
		change(&c)
		return pack(c)
	}
	for name, tc := range map[string]struct {
		body []byte
		want string
	}{
		"not json":     {[]byte("hello"), "chunks/1"},
		"empty":        {nil, "chunks/1"},
		"array":        {[]byte("[]"), "chunks/1"},
		"version":      {bytes.Replace(pack(chunk()), []byte(`"v":1`), []byte(`"v":0`), 1), "field v is 0"},
		"no chunk":     {[]byte(`{"v":1}`), "holds no chunk"},
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
		_, err := events.Decode[events.Chunks](tc.body)
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

// FuzzEncode: what is written is read back, whatever it holds.
func FuzzEncode(f *testing.F) {
	f.Add("text", []byte{0, 0, 128, 63}, int64(7), 1.5, uint8(0xFF))
	f.Add("# <Ünïcode> & \"quotes\" \\ \u2028\u2029\x00\x1f\x7f\b\f\n\r\t \xff\xed\xa0\x80 😀 \ufffd", []byte("\n}\n\n"), int64(-1), 1e-7, uint8(0x55))
	f.Add("", []byte(nil), int64(math.MaxInt64), 1e21, uint8(0))
	f.Fuzz(func(t *testing.T, s string, b []byte, n int64, x float64, which uint8) {
		has := func(bit int) bool { return which>>bit&1 == 1 }
		s = strings.ToValidUTF8(s, "\ufffd") // no reader or chunker makes other text
		when := time.Unix(n%(1<<37), n%1e9).UTC()
		if has(7) {
			when = when.In(time.FixedZone("", int(n%86400/60*60)))
		}
		a := about()
		a.Name, a.Bytes, a.Submitted = s, n, when.UTC()
		a.Facts = events.Facts{Title: s, Pages: int(n % 3)}
		if has(0) {
			a.Meta = map[string]string{s: "1", "Key": s, "": ""}
			a.Warnings = []string{"", s}
		}
		p := events.Parsed{V: events.Version, About: a, Markdown: "x" + s}
		if has(1) {
			p.Pages = []events.PageMark{{Page: 7, Offset: 1}}
		}
		read(t, events.Encode(p), p)
		c := chunk()
		c.Text, c.Page, c.Headings, c.Header = "x"+s, int(n%2), nil, s
		c.End = c.Start + len(c.Text)
		if has(2) {
			c.Headings = []string{s, ""}
		}
		c.About = &a
		if has(3) {
			c.Of, c.Ordinal, c.About = 2, 1, nil
		}
		v := events.Vector{Chunk: c, Model: "m" + s, Embedding: append(make([]byte, (4-len(b)%4)%4+4), b...), Nano: n, Reused: has(4), Degraded: has(5)}
		v.Bytes = len(v.Embedding)
		for body := range events.PackChunks([]events.Chunk{c}) {
			if got, err := events.Decode[events.Chunks](body.Data); err != nil || !reflect.DeepEqual(got.Chunks, []events.Chunk{c}) {
				t.Errorf("%v: %+v, want %+v", err, got, c)
			}
		}
		for body := range events.PackVectors([]events.Vector{v}) {
			if got, err := events.Decode[events.Vectors](body.Data); err != nil || !reflect.DeepEqual(got.Vectors, []events.Vector{v}) {
				t.Errorf("%v: %+v, want %+v", err, got, v)
			}
		}
		e := events.Event{
			V: events.Version, What: events.What("x" + s), Document: a.Document, Revision: events.Revision(n & math.MaxInt64), Time: when.UTC(), Seconds: x, Tokens: int(n), Warnings: a.Warnings,
		}
		if math.IsNaN(x) || math.IsInf(x, 0) {
			e.Seconds = 0
		}
		if has(6) {
			e.Steps, e.Failure = []events.Step{{What: events.Chunked, Time: e.Time, Of: int(n)}}, &events.Failure{Message: s, Attempts: int(n)}
		}
		read(t, events.Encode(e), e)
		d := events.Document{
			V: events.Version, Document: a.Document, Name: s, Revision: e.Revision, State: events.State(s), Submitted: when.UTC(), Pages: int(n % 2), Warnings: a.Warnings, Failure: e.Failure,
		}
		if has(4) {
			d.Live = &events.Live{Revision: 1, Chunks: int(n), Degraded: has(5)}
		}
		got, err := events.DecodeDocument(events.Encode(d))
		if err != nil || !reflect.DeepEqual(*got, d) {
			t.Errorf("%v: %+v, want %+v", err, got, d)
		}
	})
}

// read reads a body back.
func read[T any](t *testing.T, data []byte, want T) {
	t.Helper()
	var got T
	if err := json.Unmarshal(data, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v: %+v, want %+v", err, got, want)
	}
}

// Packs are as full as their bound allows, and hold everything once, in order.
func TestPacks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 15).Draw(t, "chunks")
		dimensions := rapid.IntRange(1, 4000).Draw(t, "dimensions")
		a := about()
		chunks, vectors := make([]events.Chunk, n), make([]events.Vector, n)
		for i := range chunks {
			size := rapid.SampledFrom([]int{10, 10, 10, 3000, 3000, 30_000, 300_000}).Draw(t, "bytes")
			c := chunk()
			c.Ordinal, c.Of, c.About = i, n, nil
			c.ID = events.ChunkID(a.Document, i, events.TextHash("x"), "f")
			c.Text = strings.Repeat(rapid.SampledFrom([]string{"a", "\n", "é", "<"}).Draw(t, "of"), size)
			c.End = c.Start + len(c.Text)
			if i == 0 {
				c.About = &a
			}
			chunks[i] = c
			vectors[i] = events.Vector{Chunk: c, Model: "m", Embedding: make([]byte, 4*dimensions), Nano: int64(i)}
		}
		keys := map[string]bool{}
		whole := func(body events.Body, chunks int) {
			if keys[body.Key] {
				t.Fatalf("two packs have the key %s", body.Key)
			}
			keys[body.Key] = true
			if len(body.Data) > events.PackBytes && chunks > 1 {
				t.Fatalf("a pack of %d chunks has %d bytes", chunks, len(body.Data))
			}
		}
		var gotC []events.Chunk
		var last int
		for body := range events.PackChunks(chunks) {
			p, err := events.Decode[events.Chunks](body.Data)
			if err != nil {
				t.Fatal(err)
			}
			whole(body, len(p.Chunks))
			// The first of these would not have fitted into the pack before.
			if last > 0 && last+len(events.Encode(p.Chunks[0]))+4 <= events.PackBytes {
				t.Fatalf("a pack of %d bytes had room", last)
			}
			last = len(body.Data)
			gotC = append(gotC, p.Chunks...)
		}
		if !reflect.DeepEqual(gotC, chunks) {
			t.Fatal("the chunks are others")
		}
		clear(keys)
		var gotV []events.Vector
		for body := range events.PackVectors(vectors) {
			p, err := events.Decode[events.Vectors](body.Data)
			if err != nil {
				t.Fatal(err)
			}
			whole(body, len(p.Vectors))
			gotV = append(gotV, p.Vectors...)
		}
		if !reflect.DeepEqual(gotV, vectors) {
			t.Fatal("the vectors are others")
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(pack(chunk()))
	for body := range events.PackVectors([]events.Vector{{Chunk: chunk(), Model: "m", Embedding: []byte{0, 0, 0, 0}}}) {
		f.Add(body.Data)
		f.Add(bytes.Replace(body.Data, []byte(`"embedding_bytes":4`), []byte(`"embedding_bytes":-4`), 1))
		f.Add(bytes.Replace(body.Data, []byte(`"embedding_bytes":4`), []byte(`"embedding_bytes":8`), 1))
		f.Add(append(body.Data, 0))
	}
	f.Add(events.Encode(events.Parsed{V: 1, About: about(), Markdown: "x"}))
	f.Add([]byte(`{"v":1,"what":"failed","document":"` + events.DocumentID("a", "b") + `"}`))
	f.Add([]byte(`{"uri":"x"}`))
	f.Add([]byte(`{"v":2}`))
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
		c, err := events.Decode[events.Chunks](data)
		check(c, err)
		v, err := events.Decode[events.Vectors](data)
		check(v, err)
		p, err := events.Decode[events.Parsed](data)
		check(p, err)
		e, err := events.Decode[events.Event](data)
		check(e, err)
		doc, err := events.Decode[events.Document](data)
		check(doc, err)
		r, err := events.Decode[events.Reference](data)
		check(r, err)
		d, err := events.Decode[events.Deletion](data)
		check(d, err)
		x, err := events.Decode[events.Tombstone](data)
		check(x, err)
	})
}
