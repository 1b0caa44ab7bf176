package events

import "strings"

// HeaderFilenameExt carries a name that the header Filename cannot: NATS trims
// spaces, ends a value at a line break, and cuts nothing that is too long to be
// shown. Its form is that of RFC 8187 (UTF-8”%20lead.txt), as in "filename*" of
// a Content-Disposition. Bytes that are no UTF-8 are escaped as they are. It wins
// over Filename.
const HeaderFilenameExt = "Filename*"

// MaxShownName bounds the bytes of a name that is shown. The identity of a
// document follows from the whole name, however long it is.
const MaxShownName = 1024

// extPrefix begins every value of HeaderFilenameExt.
const extPrefix = "UTF-8''"

// SetName puts the name of a document into the headers of its submission, so
// that Name returns the same bytes.
func SetName(h map[string][]string, name string) {
	deleteFold(h, HeaderFilename)
	deleteFold(h, HeaderFilenameExt)
	if name == "" {
		return
	}
	shown := ShownName(name)
	if shown != "" {
		h[HeaderFilename] = []string{shown}
	}
	if shown != name {
		h[HeaderFilenameExt] = []string{extPrefix + escapeExt(name)}
	}
}

// Name returns the exact name that the headers of a submission give, or "". The
// names of headers are compared without regard to case.
func Name(h map[string][]string) string {
	if name, ok := nameExt(h); ok && name != "" {
		return name
	}
	v, _ := valueFold(h, HeaderFilename)
	return v
}

// NameLost returns the value of a HeaderFilenameExt that cannot be read, if nothing
// else gives the name: without it, different names would be one. "" is none.
func NameLost(h map[string][]string) string {
	if _, ok := nameExt(h); ok {
		return ""
	}
	if v, _ := valueFold(h, HeaderFilename); v != "" {
		return ""
	}
	v, _ := valueFold(h, HeaderFilenameExt)
	return v
}

// nameExt reads HeaderFilenameExt. It reports false if it is there and unreadable.
func nameExt(h map[string][]string) (name string, ok bool) {
	v, _ := valueFold(h, HeaderFilenameExt)
	if v == "" {
		return "", true
	}
	charset, rest, ok := strings.Cut(v, "'")
	if !ok || !strings.EqualFold(charset, "UTF-8") {
		return "", false
	}
	// The language between the quotes says nothing about a name.
	_, escaped, ok := strings.Cut(rest, "'")
	if !ok {
		return "", false
	}
	return unescapeExt(escaped)
}

// ShownName returns a name as it can be printed and put into a header: on one
// line, valid UTF-8, and cut to MaxShownName bytes.
func ShownName(name string) string { return CleanHeader(name, MaxShownName) }

// attrChar is what RFC 8187 leaves unescaped.
func attrChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$&+-.^_`|~", c) >= 0
}

func escapeExt(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; attrChar(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}

// unescapeExt is lenient about what need not be escaped, and strict about '%'.
func unescapeExt(s string) (string, bool) {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		hi, ok1 := unhex(s[i+1])
		lo, ok2 := unhex(s[i+2])
		if !ok1 || !ok2 {
			return "", false
		}
		b = append(b, hi<<4|lo)
		i += 2
	}
	return string(b), true
}

func unhex(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// valueFold finds a header by its name in any case. The exact case wins.
func valueFold(h map[string][]string, key string) (string, bool) {
	if v := h[key]; len(v) > 0 {
		return v[0], true
	}
	for k, v := range h {
		if len(v) > 0 && strings.EqualFold(k, key) {
			return v[0], true
		}
	}
	return "", false
}

func deleteFold(h map[string][]string, key string) {
	for k := range h {
		if strings.EqualFold(k, key) {
			delete(h, k)
		}
	}
}
