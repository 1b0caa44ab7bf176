package openai

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// decode reads the answer to n inputs: their vectors in the order of the
// inputs, and the billed tokens, 0 if it does not say.
//
// Nearly all of an answer is base64 in long strings. encoding/json would look
// at every byte of it three times; here a vector is expected where it should end,
// and read once, straight into its numbers. What is not as expected is read as
// JSON allows it to be.
func decode(body []byte, n, width int) (vectors [][]float32, tokens int, err error) {
	s := scanner{b: body}
	vectors = make([][]float32, n)
	err = s.object(func(key string) error {
		switch key {
		case "data":
			return s.array(func() error { return s.item(vectors, width) })
		case "usage":
			return s.object(func(key string) error {
				if key != "prompt_tokens" && key != "total_tokens" {
					return s.skip()
				}
				v, err := s.number()
				// The two are equal; whichever server gives only one is read too.
				if err == nil && v > 0 && v < 1<<40 {
					tokens = max(tokens, int(v))
				}
				return err
			})
		}
		return s.skip()
	})
	if err != nil {
		return nil, 0, fmt.Errorf("at byte %d: %w", s.i, err)
	}
	if s.space(); s.i != len(s.b) {
		return nil, 0, fmt.Errorf("at byte %d: more after the end", s.i)
	}
	for i, v := range vectors {
		if v == nil {
			return nil, 0, fmt.Errorf("no vector for input %d of %d", i, n)
		}
	}
	return vectors, tokens, nil
}

// item reads one element of "data".
func (s *scanner) item(vectors [][]float32, width int) error {
	index, vector := -1, []float32(nil)
	err := s.object(func(key string) (err error) {
		switch key {
		case "index":
			var v float64
			if v, err = s.number(); err == nil && (v != math.Trunc(v) || v < 0 || v >= float64(len(vectors))) {
				return fmt.Errorf("index %v of %d inputs", v, len(vectors))
			}
			index = int(v)
		case "embedding":
			vector, err = s.vector(width)
		default:
			err = s.skip()
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case index < 0:
		return errors.New("a vector without an index")
	case vector == nil:
		return fmt.Errorf("index %d without a vector", index)
	case vectors[index] != nil:
		return fmt.Errorf("index %d comes twice", index)
	}
	vectors[index] = vector
	return nil
}

// vector reads base64 of little-endian float32, or numbers: not every server
// gives what was asked for. Its width is judged by the caller (package check),
// and only bounded here.
func (s *scanner) vector(width int) ([]float32, error) {
	if s.space(); s.peek() != '"' {
		v := make([]float32, 0, width)
		err := s.array(func() error {
			x, err := s.number()
			if err == nil && len(v) >= maxWidth {
				err = errors.New("the vector does not end")
			}
			v = append(v, float32(x))
			return err
		})
		return v, err
	}
	if end := s.i + 1 + base64.StdEncoding.EncodedLen(4*width); end < len(s.b) && s.b[end] == '"' {
		v := make([]float32, width)
		if floats(v, s.b[s.i+1:end]) {
			s.i = end + 1
			return v, nil
		}
	}
	raw, err := s.raw()
	if err != nil {
		return nil, err
	}
	if bytes.IndexByte(raw, '\\') >= 0 { // a server that writes / as \/
		var text string
		if err := json.Unmarshal(s.b[s.i-len(raw)-2:s.i], &text); err != nil {
			return nil, err
		}
		raw = []byte(text)
	}
	decoded := make([]byte, base64.StdEncoding.DecodedLen(len(raw)))
	m, err := base64.StdEncoding.Decode(decoded, raw)
	if err != nil {
		return nil, err
	}
	if m == 0 || m%4 != 0 || m/4 > maxWidth {
		return nil, fmt.Errorf("an embedding of %d bytes", m)
	}
	return fromBytes(make([]float32, m/4), decoded), nil
}

// fromBytes fills v from little-endian numbers.
func fromBytes(v []float32, b []byte) []float32 {
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v
}

// places has what a character of base64 contributes at each of the four places of
// a group to the group's three bytes, the first of them lowest. A character that is
// none has the highest bit.
var places = func() (t [4][256]uint32) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for c := range 256 {
		v := strings.IndexByte(alphabet, byte(c))
		for place := range 4 {
			if t[place][c] = 1 << 31; v >= 0 {
				group := uint32(v) << (18 - 6*place) // the first byte highest
				t[place][c] = group>>16 | group&0xff00 | group<<16&0xff0000
			}
		}
	}
	return t
}()

// floats fills v from base64 of exactly its bytes, and tells whether text was
// that. Sixteen characters are four groups of three bytes, or three numbers of
// four.
func floats(v []float32, text []byte) bool {
	t0, t1, t2, t3 := &places[0], &places[1], &places[2], &places[3]
	bad := uint32(0)
	for len(v) >= 3 && len(text) >= 16 {
		s, to := text[:16:16], v[:3:3]
		a := t0[s[0]] | t1[s[1]] | t2[s[2]] | t3[s[3]]
		b := t0[s[4]] | t1[s[5]] | t2[s[6]] | t3[s[7]]
		c := t0[s[8]] | t1[s[9]] | t2[s[10]] | t3[s[11]]
		d := t0[s[12]] | t1[s[13]] | t2[s[14]] | t3[s[15]]
		bad |= a | b | c | d
		to[0] = math.Float32frombits(a | b<<24)
		to[1] = math.Float32frombits(b>>8 | c<<16)
		to[2] = math.Float32frombits(c>>16 | d<<8)
		v, text = v[3:], text[16:]
	}
	if bad>>31 != 0 {
		return false
	}
	if len(v) == 0 {
		return len(text) == 0
	}
	var rest [12]byte // of two numbers at most, with padding
	if base64.StdEncoding.DecodedLen(len(text)) > len(rest) {
		return false
	}
	n, err := base64.StdEncoding.Decode(rest[:], text)
	if err != nil || n != 4*len(v) {
		return false
	}
	fromBytes(v, rest[:])
	return true
}

const maxWidth = 1 << 17

// scanner walks JSON. It takes some texts that are not quite JSON, and never a
// wrong value from one that is.
type scanner struct {
	b     []byte
	i     int
	depth int
}

var (
	errEnd    = errors.New("the text ends too early")
	errSyntax = errors.New("not JSON")
	errDepth  = errors.New("nested too deeply")
)

func (s *scanner) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\n' || s.b[s.i] == '\t' || s.b[s.i] == '\r') {
		s.i++
	}
}

func (s *scanner) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

func (s *scanner) expect(c byte) error {
	s.space()
	switch {
	case s.i >= len(s.b):
		return errEnd
	case s.b[s.i] != c:
		return errSyntax
	}
	s.i++
	return nil
}

// list reads open, elements with commas between them, and end.
func (s *scanner) list(open, end byte, element func() error) error {
	if err := s.expect(open); err != nil {
		return err
	}
	if s.depth++; s.depth > 100 {
		return errDepth
	}
	defer func() { s.depth-- }()
	if s.space(); s.peek() == end {
		s.i++
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		s.space()
		switch s.peek() {
		case ',':
			s.i++
		case end:
			s.i++
			return nil
		case 0:
			return errEnd
		default:
			return errSyntax
		}
	}
}

func (s *scanner) array(element func() error) error { return s.list('[', ']', element) }

func (s *scanner) object(field func(key string) error) error {
	return s.list('{', '}', func() error {
		key, err := s.raw()
		if err == nil {
			err = s.expect(':')
		}
		if err != nil {
			return err
		}
		return field(string(key))
	})
}

// raw reads a string and returns what is between its quotes, escapes as they
// stand.
func (s *scanner) raw() ([]byte, error) {
	if err := s.expect('"'); err != nil {
		return nil, err
	}
	start := s.i
	for {
		n := bytes.IndexByte(s.b[s.i:], '"')
		if n < 0 {
			return nil, errEnd
		}
		s.i += n + 1
		slashes := 0
		for j := s.i - 2; j >= start && s.b[j] == '\\'; j-- {
			slashes++
		}
		if slashes%2 == 0 {
			return s.b[start : s.i-1], nil
		}
	}
}

// number reads a number, or null as 0.
func (s *scanner) number() (float64, error) {
	s.space()
	start := s.i
	for s.i < len(s.b) && bytes.IndexByte([]byte("+-.0123456789Ee"), s.b[s.i]) >= 0 {
		s.i++
	}
	if start == s.i && bytes.HasPrefix(s.b[s.i:], []byte("null")) {
		s.i += 4
		return 0, nil
	}
	v, err := strconv.ParseFloat(string(s.b[start:s.i]), 64)
	if err != nil {
		return 0, errSyntax
	}
	return v, nil
}

// skip passes over any value.
func (s *scanner) skip() error {
	s.space()
	switch c := s.peek(); c {
	case '{':
		return s.object(func(string) error { return s.skip() })
	case '[':
		return s.array(s.skip)
	case '"':
		_, err := s.raw()
		return err
	case 't', 'f', 'n':
		for _, word := range []string{"true", "false", "null"} {
			if bytes.HasPrefix(s.b[s.i:], []byte(word)) {
				s.i += len(word)
				return nil
			}
		}
		return errSyntax
	default:
		_, err := s.number()
		return err
	}
}
