package events

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// codec writes and reads the bodies that name their fields to it (fields.go) in
// one pass over their bytes. encoding/json takes several, and was a seventh of
// the work of the whole pipeline.
//
// It writes, byte for byte, what encoding/json writes. It reads that form
// alone: the fields in their order, without blanks, without what only others
// would write. Anything else makes it bad, and encoding/json is asked instead.
type codec struct {
	buf     []byte
	at      int // reading: the next byte of buf
	reading bool
	bad     bool
}

// fielder is a body that names its fields.
type fielder[T any] interface {
	*T
	fields(c *codec)
}

// write returns v as JSON. The body is expected to take about size bytes.
func write[T any, P fielder[T]](v P, size int) []byte {
	c := &codec{buf: make([]byte, 0, size)}
	c.open()
	v.fields(c)
	c.close()
	if c.bad {
		return marshal(v)
	}
	return c.buf
}

// read reads v, which is empty, from data.
func read[T any, P fielder[T]](v P, data []byte) error {
	c := &codec{buf: data, reading: true}
	c.open()
	v.fields(c)
	c.close()
	if !c.bad && c.at == len(data) {
		return nil
	}
	*v = *new(T)
	return json.Unmarshal(data, v)
}

// presence says whether a field is left out when it is empty, as the struct's tag does.
type presence bool

const (
	always    presence = false
	omitempty presence = true
)

// key begins a field. It reports whether the field has a value to write, or
// comes next in what is read.
func (c *codec) key(name string, p presence, empty bool) bool {
	if !c.reading {
		if p == omitempty && empty {
			return false
		}
		if c.buf[len(c.buf)-1] != '{' {
			c.buf = append(c.buf, ',')
		}
		c.buf = append(c.buf, '"')
		c.buf = append(c.buf, name...)
		c.buf = append(c.buf, '"', ':')
		return true
	}
	at := c.at
	if !c.bad && c.buf[at-1] != '{' {
		if at < len(c.buf) && c.buf[at] == ',' {
			at++
		} else {
			at = len(c.buf)
		}
	}
	end := at + len(name) + 3
	if !c.bad && end < len(c.buf) && c.buf[at] == '"' && string(c.buf[at+1:end-2]) == name && c.buf[end-2] == '"' && c.buf[end-1] == ':' {
		c.at = end
		return true
	}
	c.bad = c.bad || p == always
	return false
}

// mark writes b, or reads it.
func (c *codec) mark(b byte) {
	switch {
	case !c.reading:
		c.buf = append(c.buf, b)
	case c.at < len(c.buf) && c.buf[c.at] == b:
		c.at++
	default:
		c.bad = true
	}
}

func (c *codec) open()  { c.mark('{') }
func (c *codec) close() { c.mark('}') }

// next reports whether b comes next in what is read, and reads it.
func (c *codec) next(b byte) bool {
	if c.bad || c.at == len(c.buf) || c.buf[c.at] != b {
		return false
	}
	c.at++
	return true
}

func text[S ~string](c *codec, name string, s *S, p presence) {
	if !c.key(name, p, *s == "") {
		return
	}
	if c.reading {
		*s = S(c.readString())
	} else {
		c.writeString(string(*s))
	}
}

func number[N ~int | ~int64 | ~uint64](c *codec, name string, n *N, p presence) {
	if c.key(name, p, *n == 0) {
		integer(c, n)
	}
}

func (c *codec) flag(name string, b *bool) {
	if c.key(name, omitempty, !*b) {
		for _, x := range []byte("true") {
			c.mark(x)
		}
		*b = true
	}
}

func (c *codec) float(name string, f *float64) {
	if !c.key(name, omitempty, *f == 0) {
		return
	}
	if c.reading {
		start := c.at
		for c.digits() > 0 && c.next('.') {
		}
		// Numbers with exponents, and what is none, are left to encoding/json.
		s := c.buf[start:c.at]
		v, err := strconv.ParseFloat(string(s), 64)
		c.bad = c.bad || err != nil || len(s) > 1 && s[0] == '0' && s[1] != '.' || s[len(s)-1] == '.'
		*f = v
		return
	}
	abs := math.Abs(*f)
	if c.bad = c.bad || !(abs >= 1e-6 && abs < 1e21); !c.bad {
		c.buf = strconv.AppendFloat(c.buf, *f, 'f', -1, 64)
	}
}

func (c *codec) time(name string, t *time.Time) {
	if c.key(name, always, false) {
		c.timestamp(t)
	}
}

func (c *codec) optionalTime(name string, t **time.Time) {
	if c.key(name, omitempty, *t == nil) {
		if c.reading {
			*t = new(time.Time)
		}
		c.timestamp(*t)
	}
}

func (c *codec) timestamp(t *time.Time) {
	c.mark('"')
	if c.reading {
		n := bytes.IndexByte(c.buf[c.at:], '"')
		if c.bad = c.bad || n < 0 || t.UnmarshalJSON(c.buf[c.at-1:c.at+n+1]) != nil; !c.bad {
			c.at += n
		}
	} else if b, err := t.AppendText(c.buf); err == nil {
		c.buf = b
	} else {
		c.bad = true // a year of five digits
	}
	c.mark('"')
}

// binary is base64, as encoding/json has []byte.
func (c *codec) binary(name string, b *[]byte) {
	if !c.key(name, always, false) {
		return
	}
	if c.bad = c.bad || !c.reading && *b == nil; c.bad {
		return // null
	}
	c.mark('"')
	if !c.reading {
		c.buf = base64.StdEncoding.AppendEncode(c.buf, *b)
	} else if n := bytes.IndexByte(c.buf[c.at:], '"'); n >= 0 {
		src := c.buf[c.at : c.at+n]
		dst := make([]byte, base64.StdEncoding.DecodedLen(n))
		m, err := base64.StdEncoding.Decode(dst, src)
		// The decoder skips line breaks, which no JSON string may hold.
		c.bad = c.bad || err != nil || bytes.IndexByte(src, '\n') >= 0 || bytes.IndexByte(src, '\r') >= 0
		*b = dst[:m]
		c.at += n
	}
	c.mark('"')
}

// object is one that is absent when the pointer is nil.
func object[T any, P fielder[T]](c *codec, name string, v *P) {
	if c.key(name, omitempty, *v == nil) {
		if c.reading {
			*v = new(T)
		}
		c.open()
		(*v).fields(c)
		c.close()
	}
}

// list is one that is absent when it is empty.
func list[T any](c *codec, name string, l *[]T, element func(*T)) {
	if !c.key(name, omitempty, len(*l) == 0) {
		return
	}
	c.mark('[')
	if c.reading {
		for more := !c.bad; more; more = c.next(',') {
			var x T
			element(&x)
			*l = append(*l, x)
		}
	} else {
		for i := range *l {
			if i > 0 {
				c.mark(',')
			}
			element(&(*l)[i])
		}
	}
	c.mark(']')
}

// pairs is an object of strings that is absent when it is empty.
func (c *codec) pairs(name string, m *map[string]string) {
	if !c.key(name, omitempty, len(*m) == 0) {
		return
	}
	c.open()
	if c.reading {
		*m = map[string]string{}
		for more := !c.bad; more; more = c.next(',') {
			k := c.readString()
			c.mark(':')
			(*m)[k] = c.readString()
		}
	} else {
		for i, k := range slices.Sorted(maps.Keys(*m)) {
			if i > 0 {
				c.mark(',')
			}
			c.writeString(k)
			c.mark(':')
			c.writeString((*m)[k])
		}
	}
	c.close()
}

func (c *codec) string(s *string) {
	if c.reading {
		*s = c.readString()
	} else {
		c.writeString(*s)
	}
}

func integer[N ~int | ~int64 | ~uint64](c *codec, n *N) {
	if !c.reading {
		if *n < 0 {
			c.buf = strconv.AppendInt(c.buf, int64(*n), 10)
		} else {
			c.buf = strconv.AppendUint(c.buf, uint64(*n), 10)
		}
		return
	}
	var v N
	negative := v-1 < 0 && c.next('-') // unless N has no sign
	start := c.at
	// 18 digits fit every type. What is longer, or no integer, is left to encoding/json.
	if many := c.digits(); many == 0 || many > 18 || many > 1 && c.buf[start] == '0' {
		c.bad = true
		return
	}
	for _, d := range c.buf[start:c.at] {
		v = v*10 + N(d-'0')
	}
	if negative {
		v = -v
	}
	*n = v
}

// digits reads what digits come next and returns how many there are.
func (c *codec) digits() int {
	start := c.at
	for c.at < len(c.buf) && '0' <= c.buf[c.at] && c.buf[c.at] <= '9' {
		c.at++
	}
	return c.at - start
}

// plain bytes stand for themselves in a JSON string of encoding/json, which
// escapes what has a meaning in HTML, too.
var plain = func() (t [256]bool) {
	for b := ' '; b < utf8.RuneSelf; b++ {
		t[b] = !strings.ContainsRune(`"\<>&`, b)
	}
	return t
}()

const hexDigits = "0123456789abcdef"

func (c *codec) writeString(s string) {
	buf := append(c.buf, '"')
	start := 0 // of what is not yet written
	for i := 0; i < len(s); {
		b := s[i]
		if plain[b] {
			i++
			continue
		}
		size := 1
		if b >= utf8.RuneSelf {
			var r rune
			r, size = utf8.DecodeRuneInString(s[i:])
			if r != '\u2028' && r != '\u2029' && (r != utf8.RuneError || size > 1) {
				i += size
				continue
			}
			buf = append(buf, s[start:i]...)
			buf = append(buf, `\u`...)
			buf = append(buf, hexDigits[r>>12], hexDigits[r>>8&0xF], hexDigits[r>>4&0xF], hexDigits[r&0xF])
		} else {
			buf = append(buf, s[start:i]...)
			switch b {
			case '"', '\\':
				buf = append(buf, '\\', b)
			case '\b':
				buf = append(buf, `\b`...)
			case '\f':
				buf = append(buf, `\f`...)
			case '\n':
				buf = append(buf, `\n`...)
			case '\r':
				buf = append(buf, `\r`...)
			case '\t':
				buf = append(buf, `\t`...)
			default:
				buf = append(buf, `\u00`...)
				buf = append(buf, hexDigits[b>>4], hexDigits[b&0xF])
			}
		}
		i += size
		start = i
	}
	c.buf = append(append(buf, s[start:]...), '"')
}

// readString reads a string, its quotes included.
func (c *codec) readString() string {
	c.mark('"')
	if c.bad {
		return ""
	}
	rest := c.buf[c.at:]
	n, escaped, ascii := 0, false, true
	for ; n < len(rest) && rest[n] != '"'; n++ {
		switch b := rest[n]; {
		case plain[b]:
		case b == '\\':
			escaped = true
			n++ // whatever follows is no end
		case b >= utf8.RuneSelf:
			ascii = false
		case b < ' ':
			c.bad = true
		}
	}
	if c.bad = c.bad || n >= len(rest) || !ascii && !utf8.Valid(rest[:n]); c.bad {
		return ""
	}
	c.at += n + 1
	if !escaped {
		return string(rest[:n])
	}
	return c.unescape(rest[:n])
}

// unescaped holds what stands for a byte after a backslash.
var unescaped = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

func (c *codec) unescape(s []byte) string {
	var out strings.Builder
	out.Grow(len(s)) // no escape is longer than its sequence
	for {
		n := bytes.IndexByte(s, '\\')
		if n < 0 {
			out.Write(s)
			return out.String()
		}
		out.Write(s[:n])
		e := s[n+1]
		s = s[n+2:]
		if u := unescaped[e]; u != 0 {
			out.WriteByte(u)
			continue
		}
		if e != 'u' || len(s) < 4 {
			c.bad = true
			return ""
		}
		r, err := strconv.ParseUint(string(s[:4]), 16, 16)
		// Pairs of surrogates are nothing that is written here.
		if c.bad = err != nil || !utf8.ValidRune(rune(r)); c.bad {
			return ""
		}
		out.WriteRune(rune(r))
		s = s[4:]
	}
}
