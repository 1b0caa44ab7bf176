package office

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/net/html/charset"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// scanner cuts XML into tokens. encoding/xml takes most of the time that a Word
// file needs: it reads byte by byte, and makes strings of every name and value.
// Here a token is a piece of a buffer, and names and short values are shared.
//
// It is not stricter than it has to be: what is no entity is text, comments may
// hold anything. But elements have to close in order, and the end has to come after
// the last of them: whoever cuts a part off is told so.
type scanner struct {
	r       io.Reader
	buf     []byte
	at, end int   // of what is not read yet
	read    int64 // bytes before buf
	err     error // of r

	words   *words
	attrs   []xml.Attr // room for those of the next elements
	open    []string   // names of the elements around, as they are written
	closing bool       // the element that was just opened is empty
	passing bool       // nobody reads what comes: tags are counted, and nothing is made of them
	scratch []byte
	// relations are the prefixes of the namespace of relationships.
	relations map[string]bool

	start xml.StartElement
	text  []byte
}

type tokenKind uint8

const (
	startToken tokenKind = iota + 1
	endToken
	textToken
)

// scanners keeps the buffers and the words of scanners for those of the next
// parts and documents: a presentation has hundreds of small parts, and the words
// of a format are the same in all its documents.
var scanners = sync.Pool{New: func() any { return &scanner{buf: make([]byte, 16<<10), words: new(words)} }}

// newScanner returns a scanner of r, which is to be released.
func newScanner(r io.Reader) *scanner {
	s := scanners.Get().(*scanner)
	*s = scanner{r: r, buf: s.buf, words: s.words, attrs: s.attrs, open: s.open[:0], scratch: s.scratch}
	s.charset()
	return s
}

// release hands s back. What it has read as strings stays.
func (s *scanner) release() {
	const large = 256 << 10
	if s.r = nil; len(s.buf) <= large {
		scanners.Put(s)
	}
}

// charset finds out in which charset a part is: a byte order mark decides, then
// the declaration; without either XML is UTF-8.
func (s *scanner) charset() {
	for s.end < 256 && s.fill() {
	}
	head := s.buf[:s.end]
	switch {
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf")):
		s.at = 3
		return
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")):
		s.reread(func(r io.Reader) (io.Reader, error) {
			return transform.NewReader(r, unicode.BOMOverride(transform.Nop)), nil
		})
		return
	case !bytes.HasPrefix(head, []byte("<?xml")):
		return
	}
	head, _, _ = bytes.Cut(head[:min(len(head), 256)], []byte("?>"))
	_, rest, ok := bytes.Cut(head, []byte("encoding"))
	if !ok {
		return
	}
	rest = bytes.TrimLeft(rest, " \t\r\n=")
	if len(rest) < 2 {
		return
	}
	label, _, ok := bytes.Cut(rest[1:], rest[:1])
	l := strings.ToLower(string(label))
	if !ok || strings.HasPrefix(l, "utf-16") || l == "utf-8" || l == "utf8" || l == "us-ascii" {
		return
	}
	s.reread(func(r io.Reader) (io.Reader, error) {
		r, err := charset.NewReaderLabel(l, r)
		if err != nil {
			return nil, fmt.Errorf("charset %q: %w", l, err)
		}
		return r, nil
	})
}

// reread begins again with another reader over the same bytes.
func (s *scanner) reread(over func(io.Reader) (io.Reader, error)) {
	r, err := over(io.MultiReader(bytes.NewReader(bytes.Clone(s.buf[:s.end])), &failing{s.r, s.err}))
	s.r, s.err, s.at, s.end = r, err, 0, 0
}

// failing is a reader that has failed already, or has not.
type failing struct {
	r   io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return f.r.Read(p)
}

// fill reads more, and reports whether there was any.
func (s *scanner) fill() bool {
	if s.err != nil {
		return false
	}
	if s.at > 0 && (s.at == s.end || s.end == len(s.buf)) {
		s.read += int64(s.at)
		s.end = copy(s.buf, s.buf[s.at:s.end])
		s.at = 0
	}
	if s.end == len(s.buf) {
		if len(s.buf) >= maxToken {
			s.err = fmt.Errorf("a tag or text longer than %d bytes", maxToken)
			return false
		}
		s.buf = append(s.buf, make([]byte, len(s.buf))...)
	}
	for range 100 {
		n, err := s.r.Read(s.buf[s.end:])
		s.end += n
		s.err = err
		if n > 0 || err != nil {
			return n > 0
		}
	}
	s.err = io.ErrNoProgress
	return false
}

// failure is why there is no more.
func (s *scanner) failure() error {
	if s.err == nil || errors.Is(s.err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return s.err
}

func (s *scanner) offset() int64 { return s.read + int64(s.at) }

// index returns where sep begins in what is not read yet, from a place on, reading
// more as long as it is not there.
func (s *scanner) index(from int, sep string) (int, error) {
	for {
		if from < s.end-s.at {
			if i := bytes.Index(s.buf[s.at+from:s.end], []byte(sep)); i >= 0 {
				return from + i, nil
			}
			from = max(from, s.end-s.at-len(sep)+1)
		}
		if !s.fill() {
			return 0, s.failure()
		}
	}
}

// has reports whether what is not read yet begins with prefix.
func (s *scanner) has(prefix string) bool {
	for s.end-s.at < len(prefix) {
		if !s.fill() {
			return false
		}
	}
	return string(s.buf[s.at:s.at+len(prefix)]) == prefix
}

// next reads a token: the fields start and text hold it until the next call. At
// the end of the part the error is io.EOF.
func (s *scanner) next() (tokenKind, error) {
	if s.closing {
		s.closing = false
		s.open = s.open[:len(s.open)-1]
		return endToken, nil
	}
	for {
		if s.at == s.end && !s.fill() {
			if errors.Is(s.err, io.EOF) && len(s.open) == 0 {
				return 0, io.EOF
			}
			return 0, s.failure()
		}
		if s.buf[s.at] != '<' {
			if kind, err := s.characters(); kind != 0 || err != nil {
				return kind, err
			}
			continue
		}
		switch s.second() {
		case '/':
			return s.endTag()
		case '?':
			if err := s.skip(2, "?>"); err != nil {
				return 0, err
			}
		case '!':
			switch {
			case s.has("<!--"):
				if err := s.skip(4, "-->"); err != nil {
					return 0, err
				}
			case s.has("<![CDATA["):
				n, err := s.index(9, "]]>")
				if err != nil {
					return 0, err
				}
				s.text = valid(s.buf[s.at+9 : s.at+n])
				s.at += n + 3
				return textToken, nil
			default:
				if err := s.directive(); err != nil {
					return 0, err
				}
			}
		default:
			return s.startTag()
		}
	}
}

// second returns the second byte of what is not read yet, 0 if there is none.
func (s *scanner) second() byte {
	for s.end-s.at < 2 {
		if !s.fill() {
			return 0
		}
	}
	return s.buf[s.at+1]
}

func (s *scanner) skip(from int, end string) error {
	n, err := s.index(from, end)
	if err == nil {
		s.at += n + len(end)
	}
	return err
}

// directive skips <!DOCTYPE ...>, with what it declares in brackets.
func (s *scanner) directive() error {
	depth, quote := 0, byte(0)
	for i := 0; ; i++ {
		for s.at+i >= s.end {
			if !s.fill() {
				return s.failure()
			}
		}
		switch c := s.buf[s.at+i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '<':
			depth++
		case c == '>':
			if depth--; depth == 0 {
				s.at += i + 1
				return nil
			}
		}
	}
}

// characters reads text up to the next tag. What stands outside of the root is
// no text.
func (s *scanner) characters() (tokenKind, error) {
	n := 0
	for {
		if i := bytes.IndexByte(s.buf[s.at+n:s.end], '<'); i >= 0 {
			n += i
			break
		}
		n = s.end - s.at
		if !s.fill() {
			if len(s.open) > 0 || !errors.Is(s.err, io.EOF) {
				return 0, s.failure()
			}
			break
		}
	}
	raw := s.buf[s.at : s.at+n]
	s.at += n
	if len(s.open) == 0 {
		return 0, nil
	}
	if s.text = nil; !s.passing {
		s.text = valid(s.unescape(raw))
	}
	return textToken, nil
}

func (s *scanner) endTag() (tokenKind, error) {
	last := len(s.open) - 1
	if last >= 0 { // mostly it is the name that was opened, and nothing else
		name, rest := s.open[last], s.buf[s.at+2:s.end]
		if len(rest) > len(name) && rest[len(name)] == '>' && string(rest[:len(name)]) == name {
			s.at += len(name) + 3
			s.open = s.open[:last]
			return endToken, nil
		}
	}
	n, err := s.index(2, ">")
	if err != nil {
		return 0, err
	}
	name := bytes.TrimRight(s.buf[s.at+2:s.at+n], " \t\r\n")
	s.at += n + 1
	if last < 0 || s.open[last] != string(name) {
		return 0, fmt.Errorf("</%s> closes no element", s.words.name(name).name.Local)
	}
	s.open = s.open[:last]
	return endToken, nil
}

func (s *scanner) startTag() (tokenKind, error) {
	n, err := s.tagEnd()
	if err != nil {
		return 0, err
	}
	tag := s.buf[s.at+1 : s.at+n]
	s.at += n + 1
	if len(tag) > 0 && tag[len(tag)-1] == '/' {
		s.closing = true
		tag = tag[:len(tag)-1]
	}
	end := 0
	for end < len(tag) && !isSpace(tag[end]) {
		end++
	}
	if end == 0 {
		return 0, errors.New("< begins no tag")
	}
	w := s.words.name(tag[:end])
	s.start.Name, s.start.Attr = w.name, nil
	s.open = append(s.open, w.raw)
	if !s.passing && end < len(tag) {
		s.start.Attr, err = s.attributes(tag[end:])
	}
	return startToken, err
}

// tagEnd returns where the tag ends: at the first > that is in no value.
func (s *scanner) tagEnd() (int, error) {
	for i := 1; ; i++ {
		for s.at+i >= s.end {
			if !s.fill() {
				return 0, s.failure()
			}
		}
		switch c := s.buf[s.at+i]; c {
		case '>':
			return i, nil
		case '"', '\'':
			for i++; ; {
				if n := bytes.IndexByte(s.buf[s.at+i:s.end], c); n >= 0 {
					i += n
					break
				}
				i = s.end - s.at
				if !s.fill() {
					return 0, s.failure()
				}
			}
		}
	}
}

// isSpace reports whether c is white space in a tag.
func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func (s *scanner) attributes(tag []byte) ([]xml.Attr, error) {
	from := len(s.attrs)
	for i := 0; ; i++ {
		for i < len(tag) && isSpace(tag[i]) {
			i++
		}
		if i == len(tag) {
			break
		}
		begin := i
		for i < len(tag) && tag[i] != '=' && tag[i] != '<' && !isSpace(tag[i]) {
			i++
		}
		name := tag[begin:i]
		for i < len(tag) && isSpace(tag[i]) {
			i++
		}
		if len(name) == 0 || i == len(tag) || tag[i] != '=' {
			return nil, errors.New("an attribute without a value")
		}
		for i++; i < len(tag) && isSpace(tag[i]); {
			i++
		}
		if i == len(tag) || tag[i] != '"' && tag[i] != '\'' {
			return nil, errors.New("an attribute without quotes")
		}
		quote := tag[i]
		i++
		end := bytes.IndexByte(tag[i:], quote)
		if end < 0 {
			return nil, errors.New("an attribute without an end")
		}
		a := xml.Attr{Name: s.words.name(name).name, Value: s.value(tag[i : i+end])}
		i += end
		if a.Name.Space == "xmlns" && strings.HasSuffix(a.Value, "/relationships") && a.Name.Local != "r" {
			if s.relations == nil {
				s.relations = map[string]bool{}
			}
			s.relations[a.Name.Local] = true
		}
		if len(s.attrs) == cap(s.attrs) {
			// Those of earlier elements stay where they are.
			room := make([]xml.Attr, 0, max(128, 2*(len(s.attrs)-from)))
			s.attrs, from = append(room, s.attrs[from:]...), 0
		}
		s.attrs = append(s.attrs, a)
	}
	found := s.attrs[from:len(s.attrs):len(s.attrs)]
	if len(s.relations) > 0 {
		for i := range found {
			if s.relations[found[i].Name.Space] {
				found[i].Name.Space = "r"
			}
		}
	}
	return found, nil
}

// value returns the value of an attribute.
func (s *scanner) value(raw []byte) string {
	if len(raw) > longestWord || bytes.IndexByte(raw, '&') >= 0 || bytes.IndexByte(raw, '\r') >= 0 {
		return string(valid(s.unescape(raw)))
	}
	return s.words.value(raw)
}

// valid returns text as valid UTF-8.
func valid(text []byte) []byte {
	if utf8.Valid(text) {
		return text
	}
	return bytes.ToValidUTF8(text, []byte("\uFFFD"))
}

// unescape returns raw text with its references replaced and its line ends as LF.
func (s *scanner) unescape(raw []byte) []byte {
	first := bytes.IndexByte(raw, '&')
	if cr := bytes.IndexByte(raw, '\r'); cr >= 0 && (first < 0 || cr < first) {
		first = cr
	}
	if first < 0 {
		return raw
	}
	out := append(s.scratch[:0], raw[:first]...)
	for i := first; i < len(raw); {
		switch raw[i] {
		case '\r':
			if i++; i >= len(raw) || raw[i] != '\n' {
				out = append(out, '\n')
			}
			continue
		case '&':
			const longest = 32
			if end := bytes.IndexByte(raw[i:min(len(raw), i+longest)], ';'); end > 1 {
				if s, ok := entity(raw[i+1 : i+end]); ok {
					out = append(out, s...)
					i += end + 1
					continue
				}
			}
		}
		out = append(out, raw[i])
		i++
	}
	s.scratch = out
	return out
}

// entity returns what a reference stands for.
func entity(name []byte) (string, bool) {
	switch string(name) {
	case "lt":
		return "<", true
	case "gt":
		return ">", true
	case "amp":
		return "&", true
	case "quot":
		return `"`, true
	case "apos":
		return "'", true
	}
	if name[0] != '#' {
		s, ok := xml.HTMLEntity[string(name)]
		return s, ok
	}
	base, digits := 10, string(name[1:])
	if len(digits) > 1 && digits[0]|0x20 == 'x' {
		base, digits = 16, digits[1:]
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil || n > utf8.MaxRune || n == 0 {
		return "", false
	}
	return string(rune(n)), true
}
