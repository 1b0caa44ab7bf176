package isolate

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/services/parser/internal/format"
)

// A frame is the length of its header (4 bytes, big-endian), the length of its
// body (8 bytes), the header as JSON, the body as it is. The body stands apart
// because a document of 100 MB should not be base64.
const (
	prefixBytes = 12
	maxHeader   = 64 << 20 // facts, page marks and warnings of the longest document
	maxBody     = 4 << 30
)

type request struct {
	Name        string        `json:"name"`
	ContentType string        `json:"content_type"`
	Charset     string        `json:"charset"`
	Limits      format.Limits `json:"limits"`
	// Skip holds members that are refused unread, by their numbers, and why.
	Skip map[int]*failure `json:"skip,omitempty"`
}

// reading is what a child converts: a member by its number and name (format.Input.At).
type reading struct {
	Member int    `json:"member,omitempty"`
	Name   string `json:"name,omitempty"`
}

// response is a child's answer, or a word before it: Reading says what comes next.
type response struct {
	Reading  *reading          `json:"reading,omitempty"`
	Pages    []events.PageMark `json:"pages,omitempty"`
	Facts    events.Facts      `json:"facts"`
	Warnings []string          `json:"warnings,omitempty"`
	Failure  *failure          `json:"failure,omitempty"`
	Resident int64             `json:"resident"`       // bytes after this document
	Last     bool              `json:"last,omitempty"` // the child ends itself now
}

type failure struct {
	Class      string        `json:"class"`
	Reason     string        `json:"reason"`
	Message    string        `json:"message"`
	Hint       string        `json:"hint,omitempty"`
	RetryAfter time.Duration `json:"retry_after,omitempty"`
}

func failureOf(err error) *failure {
	e := fault.From(err)
	return &failure{Class: e.Class.String(), Reason: e.Reason, Message: e.Message, Hint: e.Hint, RetryAfter: e.RetryAfter}
}

func (f *failure) err() error {
	class, err := fault.ParseClass(f.Class)
	if err != nil {
		// Parent and child are one binary, so this is a damaged child: its
		// verdict is worth as much as a crash.
		class = fault.Execution
	}
	return &fault.Error{Class: class, Reason: f.Reason, Message: f.Message, Hint: f.Hint, RetryAfter: f.RetryAfter}
}

func writeFrame[B []byte | string](w io.Writer, header any, body B) error {
	h, err := json.Marshal(header)
	if err != nil {
		return err
	}
	head := make([]byte, prefixBytes, prefixBytes+len(h))
	binary.BigEndian.PutUint32(head, uint32(len(h)))
	binary.BigEndian.PutUint64(head[4:], uint64(len(body)))
	if _, err := w.Write(append(head, h...)); err != nil {
		return err
	}
	// A string that is written as such is not copied first: it may be large.
	switch body := any(body).(type) {
	case string:
		_, err = io.WriteString(w, body)
	case []byte:
		_, err = w.Write(body)
	}
	return err
}

// readFrame reads one frame. It returns io.EOF only if there is none. What room
// returns when the body comes, if there is a room, is where that is read to.
func readFrame(r io.Reader, header any, room func() []byte) ([]byte, error) {
	var prefix [prefixBytes]byte
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		return nil, err
	}
	headerLen, bodyLen := binary.BigEndian.Uint32(prefix[:]), binary.BigEndian.Uint64(prefix[4:])
	if headerLen > maxHeader || bodyLen > maxBody {
		return nil, fmt.Errorf("a frame of %d + %d bytes is none of ours", headerLen, bodyLen)
	}
	h, err := readExactly(r, uint64(headerLen), nil)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(h, header); err != nil {
		return nil, fmt.Errorf("frame header: %w", err)
	}
	var into []byte
	if room != nil {
		into = room()
	}
	return readExactly(r, bodyLen, into)
}

// readExactly grows with what arrives, so that a length which lies costs nothing.
// It reads to where buf has room, if that is enough.
func readExactly(r io.Reader, n uint64, buf []byte) ([]byte, error) {
	const step = 16 << 20
	if buf = buf[:0]; uint64(cap(buf)) < min(n, step) {
		buf = make([]byte, 0, min(n, step))
	}
	for uint64(len(buf)) < n {
		from := len(buf)
		more := int(min(n-uint64(from), step))
		if cap(buf)-from < more {
			grown := make([]byte, from, min(uint64(2*cap(buf)), n))
			copy(grown, buf)
			buf = grown
			more = min(more, cap(buf)-from)
		}
		buf = buf[:from+more]
		if _, err := io.ReadFull(r, buf[from:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return buf, nil
}
