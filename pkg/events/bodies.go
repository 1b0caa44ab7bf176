package events

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"time"

	json "github.com/go-json-experiment/json/v1"

	"sluice/pkg/fault"
)

// Version is the schema version of every body this package writes.
const Version = 1

// Reference submits a document by where it is. Subject docs.uri.
type Reference struct {
	URI         string            `json:"uri"`            // http(s)://… or object://<store>/<name>
	Name        string            `json:"name,omitempty"` // default: the last path element
	Tenant      string            `json:"tenant,omitempty"`
	ContentType string            `json:"content_type,omitempty"`
	Charset     string            `json:"charset,omitempty"`
	Meta        map[string]string `json:"meta,omitempty"`
	// Version pins an object: a reference to a version that was replaced is
	// superseded by the reference to its replacement.
	Version string `json:"version,omitempty"`
}

// Deletion asks for a document to be removed everywhere. Subject docs.delete.
type Deletion struct {
	Name     string `json:"name,omitempty"`
	Document string `json:"document,omitempty"` // the ID, for documents without a name
	Tenant   string `json:"tenant,omitempty"`
}

// Facts is what the parser learned about a document besides its text.
type Facts struct {
	Type     string `json:"type,omitempty"` // media type, sniffed from the bytes
	Title    string `json:"title,omitempty"`
	Author   string `json:"author,omitempty"`
	Created  string `json:"created,omitempty"`  // RFC 3339, UTC where the zone is known
	Modified string `json:"modified,omitempty"` // likewise
	Language string `json:"language,omitempty"` // BCP 47
	Pages    int    `json:"pages,omitempty"`    // pages, slides or sheets; 0 = the format has none
}

// PageMark says that page Page (from 1) begins at byte Offset of the Markdown. Page 0
// says that what follows is on no page: files within a document have pages of their
// own, or none.
type PageMark struct {
	Page   int `json:"page"`
	Offset int `json:"offset"`
}

// About identifies a revision of a document and says what is known of it.
type About struct {
	Document    string            `json:"document"`
	Revision    Revision          `json:"revision"`
	Tenant      string            `json:"tenant"`
	Name        string            `json:"name,omitempty"`
	ContentHash string            `json:"content_hash"` // SHA-256 of the submitted bytes, hex
	Fingerprint string            `json:"fingerprint"`  // of the whole pipeline that handles it
	Parser      string            `json:"parser,omitempty"`
	Degraded    bool              `json:"degraded,omitempty"` // a fallback parsed it: Parser is not the one that was meant
	Bytes       int64             `json:"bytes"`              // size of what was submitted
	Submitted   time.Time         `json:"submitted"`
	Facts       Facts             `json:"facts"`
	Meta        map[string]string `json:"meta,omitempty"`
	Warnings    []string          `json:"warnings,omitempty"`
	Nano        int64             `json:"nano,omitempty"`  // nano-dollars the parse cost
	Steps       []Step            `json:"steps,omitempty"` // since the parse, of which nothing was told
}

// Reparse is a submission that waits for the service of the parser that was
// meant: a fallback has read it meanwhile, or could not. Subject docs.reparse.
type Reparse struct {
	V           int               `json:"v"`
	Document    string            `json:"document"`
	Revision    Revision          `json:"revision"` // of the fallback's work
	Tenant      string            `json:"tenant"`
	File        string            `json:"file,omitempty"` // a hint to the type
	ContentType string            `json:"content_type,omitempty"`
	Charset     string            `json:"charset,omitempty"`
	Meta        map[string]string `json:"meta,omitempty"`
	Submitted   time.Time         `json:"submitted"`
	Data        []byte            `json:"data"` // as submitted
}

// Parsed is a document as Markdown. Subject docs.parsed.
type Parsed struct {
	V int `json:"v"`
	About
	Markdown string     `json:"markdown"`
	Pages    []PageMark `json:"page_marks,omitempty"` // ascending offsets
}

// Chunk is one piece of a document. It travels in a pack (Chunks, Vectors), which
// says once what its chunks have in common.
type Chunk struct {
	Document string   `json:"-"`
	Revision Revision `json:"-"`
	Tenant   string   `json:"-"`
	Of       int      `json:"-"` // chunks of this revision
	// Language is what the whole document is written in, as far as the words of its
	// text tell: a code of package words, or "".
	Language string `json:"-"`
	// About travels with ordinal 0 only: a revision cannot complete without it.
	About *About `json:"-"`

	ID       string   `json:"id"`
	Ordinal  int      `json:"ordinal"` // from 0
	Text     string   `json:"text"`    // the Markdown from Start to End
	Headings []string `json:"headings,omitempty"`
	// Header is the header row of the table that the text begins in, if the row
	// is not in the text: its cells as plain text, with " | " between them. A
	// header of several rows has a line for each.
	Header      string `json:"header,omitempty"`
	Start       int    `json:"start"` // byte offsets into the Markdown
	End         int    `json:"end"`
	Page        int    `json:"page,omitempty"` // where it starts, from 1; 0 = unknown
	Tokens      int    `json:"tokens"`         // of Text, exact
	InputTokens int    `json:"input_tokens"`   // of Input(), exact
}

// Input returns what is embedded for the chunk: its heading path, a blank line,
// the header of its table, its text. Path and header put a chunk in its context
// when their words are not in the text.
func (c *Chunk) Input() string { return Lead(c.Headings, c.Header) + c.Text }

// Lead returns what Chunk.Input puts before the text.
func Lead(headings []string, header string) string {
	lead := ""
	if len(headings) > 0 {
		lead = strings.Join(headings, " > ") + "\n\n"
	}
	if header != "" {
		lead += header + "\n"
	}
	return lead
}

// Vector is a chunk with its embedding. It travels in a pack, too (Vectors).
type Vector struct {
	Chunk
	Model string `json:"model"` // names the vector space, dimensions included
	// Embedding is little-endian float32. It follows the JSON of its pack, and has
	// Bytes bytes there, which PackVectors counts.
	Embedding []byte `json:"-"`
	Bytes     int    `json:"embedding_bytes"`
	Nano      int64  `json:"nano"` // what it cost, nano-dollars
	Reused    bool   `json:"reused,omitempty"`
	Degraded  bool   `json:"degraded,omitempty"` // made by a fallback
}

// Tombstone deletes all of a document's revisions below Revision, or confirms
// that the indexed content is still the newest (Confirm is its content hash).
// It travels on docs.vectors, so that it meets the vectors it competes with.
type Tombstone struct {
	V        int      `json:"v"`
	Document string   `json:"document"`
	Revision Revision `json:"revision"`
	Tenant   string   `json:"tenant"`
	Name     string   `json:"name,omitempty"`
	Confirm  string   `json:"confirm,omitempty"`
}

// EncodeVector returns v as little-endian float32.
func EncodeVector(v []float32) []byte {
	b := make([]byte, 4*len(v))
	for i, x := range v {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(x))
	}
	return b
}

// DecodeVector is the inverse of EncodeVector. It fails with a Validation
// fault if b is empty or not a whole number of floats.
func DecodeVector(b []byte) ([]float32, error) {
	if len(b) == 0 || len(b)%4 != 0 {
		return nil, fault.Invalid("malformed-event", "embedding has %d bytes, want a positive multiple of 4", len(b))
	}
	v := make([]float32, len(b)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v, nil
}

// body is a pointer to a message body that can check itself.
type body[T any] interface {
	*T
	check() error
}

// Decode reads and checks the body T of a message. Every failure is a
// Validation fault that names what is wrong.
func Decode[T any, P body[T]](data []byte) (*T, error) {
	v := new(T)
	var err error
	if p, ok := any(v).(interface{ unpack([]byte) error }); ok {
		err = p.unpack(data)
	} else {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		var newer struct {
			V int `json:"v"`
		}
		head, _, _ := bytes.Cut(data, []byte{'\n'})
		// A field may have another type by then.
		if json.Unmarshal(head, &newer) == nil && newer.V > Version {
			return nil, checkVersion(newer.V)
		}
		return nil, fault.Wrap(err, fault.Validation, "malformed-event", "the message is not a %s body", kind(v))
	}
	if err := P(v).check(); err != nil {
		return nil, err
	}
	return v, nil
}

// DecodeDocument reads an entry of the bucket "documents".
func DecodeDocument(data []byte) (*Document, error) { return Decode[Document](data) }

// Encode returns v as JSON. The bodies of this package cannot fail to encode.
// Packs have functions of their own.
func Encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("events: encoding " + kind(v) + ": " + err.Error())
	}
	return b
}

func kind(v any) string {
	switch v.(type) {
	case *Reference:
		return "reference"
	case *Deletion:
		return "deletion"
	case *Reparse:
		return TypeReparse
	case *Parsed:
		return TypeParsed
	case *Chunks:
		return TypeChunks
	case *Vectors:
		return TypeVectors
	case *Tombstone:
		return TypeTombstone
	case *Event:
		return TypeEvent
	case *Usage:
		return TypeUsage
	case *Document:
		return "document"
	}
	return "known"
}

func malformed(format string, args ...any) error {
	return fault.Invalid("malformed-event", format, args...)
}

// checkVersion refuses what is no version. A newer one is none of our failures: a
// replica of the release that writes it may be there already, so the message is
// set aside, which counts as no failure, until one takes it.
func checkVersion(v int) error {
	switch {
	case v < 1:
		return fault.Invalid("malformed-event", "field v is %d; this build reads version %d", v, Version)
	case v > Version:
		return fault.New(fault.Unavailable, "newer-version", "the body has version %d, this build reads up to %d", v, Version).
			WithHint("upgrade this stage, too: those that read before those that write, from the indexer to the parser").
			WaitFor(fault.On(fault.WaitSchema, strconv.Itoa(v))).After(5 * time.Second)
	}
	return nil
}

func checkID(field, id string) error {
	if len(id) != 2*idBytes {
		return malformed("field %s is %q, want %d hex digits", field, CleanHeader(id, 64), 2*idBytes)
	}
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return malformed("field %s is %q, want %d hex digits", field, CleanHeader(id, 64), 2*idBytes)
		}
	}
	return nil
}

func (r *Reference) check() error {
	if r.URI == "" {
		return fault.Invalid("malformed-event", "the reference has no uri").
			WithHint(`publish {"uri":"https://…"}`)
	}
	return nil
}

func (d *Deletion) check() error {
	if (d.Name == "") == (d.Document == "") {
		return fault.Invalid("malformed-event", "a deletion needs a name or a document ID, and not both").
			WithHint(`publish {"name":"report.pdf"} or {"document":"<id>"}`)
	}
	if d.Document != "" {
		return checkID("document", d.Document)
	}
	return nil
}

func (a *About) check() error { return checkIdentity(a.Document, a.Revision, a.Tenant) }

func checkIdentity(document string, r Revision, tenant string) error {
	if err := checkID("document", document); err != nil {
		return err
	}
	if r == 0 {
		return malformed("field revision is missing")
	}
	if tenant == "" {
		return malformed("field tenant is missing")
	}
	return nil
}

func (r *Reparse) check() error {
	if err := checkVersion(r.V); err != nil {
		return err
	}
	if err := checkIdentity(r.Document, r.Revision, r.Tenant); err != nil {
		return err
	}
	if len(r.Data) == 0 {
		return malformed("field data is empty")
	}
	return nil
}

func (p *Parsed) check() error {
	if err := checkVersion(p.V); err != nil {
		return err
	}
	if err := p.About.check(); err != nil {
		return err
	}
	if strings.TrimSpace(p.Markdown) == "" {
		return malformed("field markdown is empty")
	}
	last := 0
	for i, m := range p.Pages {
		if m.Offset < last || m.Offset > len(p.Markdown) || m.Page < 0 {
			return malformed("field page_marks[%d] is out of order or range", i)
		}
		last = m.Offset
	}
	return nil
}

func (c *Chunk) check() error {
	for _, f := range [...]struct{ name, id string }{{"id", c.ID}, {"document", c.Document}} {
		if err := checkID(f.name, f.id); err != nil {
			return err
		}
	}
	switch {
	case c.Revision == 0:
		return malformed("field revision is missing")
	case c.Tenant == "":
		return malformed("field tenant is missing")
	case c.Of < 1 || c.Ordinal < 0 || c.Ordinal >= c.Of:
		return malformed("chunk %d of %d is not possible", c.Ordinal, c.Of)
	case c.Text == "":
		return malformed("field text is empty")
	case c.Start < 0 || c.End-c.Start != len(c.Text):
		return malformed("offsets %d to %d do not fit a text of %d bytes", c.Start, c.End, len(c.Text))
	case c.Tokens < 0 || c.InputTokens < 0:
		return malformed("token counts cannot be negative")
	case c.Ordinal == 0 && c.About == nil:
		return malformed("field about is missing on ordinal 0")
	}
	if c.About != nil {
		if err := c.About.check(); err != nil {
			return err
		}
		if c.About.Document != c.Document || c.About.Revision != c.Revision {
			return malformed("field about is of another document or revision")
		}
	}
	return nil
}

func (t *Tombstone) check() error {
	if err := checkVersion(t.V); err != nil {
		return err
	}
	if err := checkID("document", t.Document); err != nil {
		return err
	}
	if t.Revision == 0 {
		return malformed("field revision is missing")
	}
	return nil
}

func (d *Document) check() error {
	if err := checkVersion(d.V); err != nil {
		return err
	}
	return checkID("document", d.Document)
}
