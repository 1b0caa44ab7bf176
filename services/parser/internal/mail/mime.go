package mail

import (
	"bytes"
	"encoding/base64"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/jhillyerd/enmime/v2"

	"sluice/services/parser/internal/charset"
	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
)

var boundaryParam = regexp.MustCompile(`(?i)boundary\s*=\s*(?:"([^"\r\n]{1,200})"?|([^\s;"]{1,200}))`)

// shape is what the boundaries of a message say of it.
type shape struct {
	depth int  // how many are announced and not yet passed, at most
	parts int  // how many parts there are
	cut   bool // the outermost that was used is never closed
}

func shapeOf(data []byte) (s shape) {
	type boundary struct {
		name string
		used bool
	}
	var open []boundary
	at := map[string]int{} // boundary -> its place in open
	for line := range bytes.Lines(data) {
		line = bytes.TrimRight(line, " \t\r\n")
		if rest, ok := bytes.CutPrefix(line, []byte("--")); ok && len(rest) <= 210 {
			i, known := at[string(rest)]
			keep := i + 1
			if !known {
				i, known = at[string(bytes.TrimSuffix(rest, []byte("--")))]
				keep = i
			}
			if known {
				s.parts++
				open[i].used = true
				for _, b := range open[keep:] {
					delete(at, b.name)
				}
				open = open[:keep]
			}
			continue
		}
		if !bytes.Contains(line, []byte("=")) || len(line) > 2000 {
			continue
		}
		if m := boundaryParam.FindSubmatch(line); m != nil {
			b := string(m[1]) + string(m[2])
			if _, known := at[b]; !known {
				at[b] = len(open)
				open = append(open, boundary{name: b})
				s.depth = max(s.depth, len(open))
			}
		}
	}
	s.cut = slices.ContainsFunc(open, func(b boundary) bool { return b.used })
	return s
}

// transferred returns the content of a part without its transfer encoding, and
// whether it is whole. Damage costs what is damaged only.
func transferred(p *enmime.Part) (content []byte, whole bool) {
	switch encoding := strings.ToLower(strings.TrimSpace(p.Header.Get("Content-Transfer-Encoding"))); encoding {
	case "base64":
		return fromBase64(p.Content)
	case "quoted-printable":
		return fromQuotedPrintable(p.Content)
	case "x-uuencode", "uuencode", "x-uue":
		if _, files := unpackUU(string(p.Content)); len(files) > 0 {
			return files[0].data, true
		}
	}
	return p.Content, true
}

// fromBase64 decodes what there is of base64. It is not whole if it ends within a
// group without saying so.
func fromBase64(src []byte) ([]byte, bool) {
	digits := make([]byte, 0, len(src))
	padded := false
	out := make([]byte, 0, len(src)*3/4)
	flush := func() {
		n := len(digits) &^ 3
		if rest := len(digits) - n; rest > 1 {
			n += rest
		}
		at := len(out)
		out = append(out, make([]byte, base64.RawStdEncoding.DecodedLen(n))...)
		got, err := base64.RawStdEncoding.Decode(out[at:], digits[:n])
		if err != nil {
			got = min(got, len(out)-at) // only digits are in it: bits left over at the end
		}
		out = out[:at+got]
		digits = digits[:0]
	}
	for _, c := range src {
		switch c { // the alphabet of URLs
		case '-':
			c = '+'
		case '_':
			c = '/'
		}
		switch {
		case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '+', c == '/':
			if padded { // one text of base64 behind the other
				flush()
				padded = false
			}
			digits = append(digits, c)
		case c == '=':
			padded = true
		}
	}
	whole := padded || len(digits)%4 == 0
	flush()
	return out, whole
}

func fromQuotedPrintable(src []byte) ([]byte, bool) {
	out := make([]byte, 0, len(src))
	soft := false
	for line := range bytes.Lines(src) {
		body := bytes.TrimRight(line, " \t\r\n")
		end := line[len(bytes.TrimRight(line, "\r\n")):]
		if soft = bytes.HasSuffix(body, []byte("=")); soft {
			body, end = body[:len(body)-1], nil
		}
		for i := 0; i < len(body); i++ {
			if body[i] == '=' && i+2 < len(body) {
				if n, err := strconv.ParseUint(string(body[i+1:i+3]), 16, 8); err == nil {
					out = append(out, byte(n))
					i += 2
					continue
				}
			}
			out = append(out, body[i])
		}
		out = append(out, end...)
	}
	return out, !soft || bytes.HasSuffix(src, []byte("\n"))
}

// decodeText returns the text that bytes of a mail are. What is declared counts
// where the bytes do not say themselves what they are: text that is valid UTF-8 and
// not ASCII is UTF-8 under any name.
func decodeText(data []byte, declared string) string {
	declared = strings.ToLower(strings.Trim(declared, " \t\"'"))
	declared = strings.TrimPrefix(declared, "charset=")
	switch declared {
	case "utf-7", "utf7", "unicode-1-1-utf-7", "x-unicode-2-0-utf-7":
		if s, ok := fromUTF7(string(data)); ok {
			return s
		}
		declared = ""
	}
	t, err := charset.Decode(data, "", declared)
	if err != nil { // of an override only, and there is none
		return strings.ToValidUTF8(string(data), "\uFFFD")
	}
	return t.UTF8
}

// fromUTF7 decodes UTF-7 (RFC 2152).
func fromUTF7(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c >= utf8.RuneSelf:
			return "", false
		case c != '+':
			b.WriteByte(c)
			i++
			continue
		}
		end := i + 1
		for end < len(s) && strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", s[end]) >= 0 {
			end++
		}
		if end == i+1 {
			b.WriteByte('+')
		} else {
			raw, _ := fromBase64([]byte(s[i+1 : end]))
			var units []uint16
			for k := 0; k+1 < len(raw); k += 2 {
				units = append(units, uint16(raw[k])<<8|uint16(raw[k+1]))
			}
			b.WriteString(string(utf16.Decode(units)))
		}
		if end < len(s) && s[end] == '-' {
			end++
		}
		i = end
	}
	return b.String(), true
}

// headerText decodes a header: its encoded words, and the raw bytes that old
// programs put there.
func headerText(v, declared string) string {
	const longest = 4 << 10
	v = decodeWords(rawText(v, declared), declared)
	return format.Clip(md.Line(strings.ToValidUTF8(v, "\uFFFD")), longest)
}

// rawText decodes the bytes of a header that are not ASCII. The charset of the text
// says nothing of those that are.
func rawText(v, declared string) string {
	for i := range len(v) {
		if v[i] >= utf8.RuneSelf || v[i] == 0x1b {
			return decodeText([]byte(v), declared)
		}
	}
	return v
}

var encodedWord = regexp.MustCompile(`=\?([^?\s]{1,60})\?([bBqQ])\?([^?\r\n]*)\?=`)

var startsWord = regexp.MustCompile(`^=\?[^?\s]{1,60}\?[bBqQ]\?[^?\r\n]*\?=`)

// decodeWords decodes encoded words (RFC 2047). Those of one charset that follow
// each other are decoded together: programs cut them within characters.
func decodeWords(s, declared string) string {
	found := encodedWord.FindAllStringSubmatchIndex(s, -1)
	if found == nil {
		return s
	}
	var b strings.Builder
	var raw []byte
	charsetOf, at := "", 0
	flush := func() {
		b.WriteString(decodeText(raw, charsetOf))
		raw = raw[:0]
	}
	for _, m := range found {
		between := s[at:m[0]]
		name, _, _ := strings.Cut(strings.ToLower(s[m[2]:m[3]]), "*") // a language may follow
		if name == "" || name == "unknown" || name == "unknown-8bit" || name == "default" {
			name = declared
		}
		if strings.TrimSpace(between) != "" || at == 0 || name != charsetOf {
			flush()
			if at == 0 || strings.TrimSpace(between) != "" {
				b.WriteString(between)
			}
		}
		charsetOf = name
		text := s[m[6]:m[7]]
		if s[m[4]]|0x20 == 'b' {
			word, _ := fromBase64([]byte(text))
			raw = append(raw, word...)
		} else {
			// A line of quoted-printable in which white space is underscores.
			word, _ := fromQuotedPrintable([]byte(strings.ReplaceAll(text, "_", "=20")))
			raw = append(raw, word...)
		}
		at = m[1]
	}
	flush()
	b.WriteString(s[at:])
	return b.String()
}

// headerOf returns the first header of a message with a name in lower case, as it
// stands, its lines joined.
func headerOf(data []byte, key string) string {
	var v []byte
	found := false
	for line := range bytes.Lines(data) {
		body := bytes.TrimRight(line, "\r\n")
		switch {
		case len(body) == 0:
			return string(v)
		case body[0] == ' ' || body[0] == '\t':
			if found {
				v = append(append(v, ' '), bytes.TrimSpace(body)...)
			}
			continue
		case found:
			return string(v)
		}
		name, value, ok := bytes.Cut(body, []byte(":"))
		if found = ok && strings.EqualFold(string(bytes.TrimSpace(name)), key); found {
			v = append(v, bytes.TrimSpace(value)...)
		}
	}
	return string(v)
}

// addresses writes an address list as "address (Name), ...".
func addresses(v, declared string) string {
	v = rawText(v, declared)
	var names []string
	for _, one := range splitAddresses(v) {
		one = strings.TrimSpace(one)
		name, address := one, ""
		if i := strings.LastIndexByte(one, '<'); i >= 0 {
			name = one[:i]
			address, _, _ = strings.Cut(one[i+1:], ">")
		}
		name = strings.TrimSpace(name)
		if n := len(name); n >= 2 && name[0] == '"' && name[n-1] == '"' {
			name = strings.ReplaceAll(strings.ReplaceAll(name[1:n-1], `\"`, `"`), `\\`, `\`)
		}
		name = strings.Trim(strings.TrimSpace(decodeWords(name, declared)), "'")
		names = append(names, addressOf(name, strings.TrimSpace(address)))
	}
	names = slices.DeleteFunc(names, func(s string) bool { return s == "" })
	const longest = 8 << 10
	return format.Clip(md.Line(strings.ToValidUTF8(strings.Join(names, ", "), "\uFFFD")), longest)
}

// addressOf returns "address (Name)", or the one of them that there is.
func addressOf(name, address string) string {
	switch {
	case address == "":
		return name
	case name == "" || strings.EqualFold(name, address):
		return address
	}
	return address + " (" + name + ")"
}

// splitAddresses cuts an address list at its commas and semicolons: those outside
// of quotes, comments and brackets.
func splitAddresses(s string) []string {
	var list []string
	start, quoted, depth, group := 0, false, 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case c == '=' && strings.HasPrefix(s[i:], "=?"): // commas are a part of encoded words
			if m := startsWord.FindStringIndex(s[i:]); m != nil {
				i += m[1] - 1
			}
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '(' || c == '<':
			depth++
		case c == ')' || c == '>':
			depth = max(depth-1, 0)
		case c == ':' && depth == 0:
			group = true // "undisclosed-recipients:;"
		case (c == ',' || c == ';' && !group) && depth == 0:
			list = append(list, s[start:i])
			start = i + 1
		}
	}
	return append(list, s[start:])
}

// parameters returns the value of a header without its parameters, in lower case,
// and these: extended and continued ones (RFC 2231), those that are not quoted as
// they should be, and raw bytes.
func parameters(v string) (string, map[string]string) {
	value, rest, _ := strings.Cut(v, ";")
	params := map[string]string{}
	type piece struct {
		at       int
		extended bool
		text     string
	}
	pieces := map[string][]piece{}
	const most = 200
	for n := 0; rest != "" && n < most; n++ {
		var one string
		one, rest = cutParameter(rest)
		key, val, ok := strings.Cut(one, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		if !ok || key == "" {
			continue
		}
		val = strings.TrimSpace(val)
		if strings.HasPrefix(val, `"`) {
			val = strings.TrimSuffix(val[1:], `"`)
			val = strings.ReplaceAll(val, `\"`, `"`)
		}
		key, extended := strings.CutSuffix(key, "*")
		at := -1
		if base, number, ok := strings.Cut(key, "*"); ok {
			if k, err := strconv.Atoi(number); err == nil {
				key, at = base, k
			}
		}
		if at < 0 && !extended {
			if _, set := params[key]; !set {
				params[key] = val
			}
			continue
		}
		pieces[key] = append(pieces[key], piece{max(at, 0), extended, val})
	}
	for key, all := range pieces {
		slices.SortStableFunc(all, func(a, b piece) int { return a.at - b.at })
		declared := ""
		var raw []byte
		for i, p := range all {
			text := p.text
			if p.extended {
				if name, rest, ok := strings.Cut(text, "'"); ok && i == 0 {
					if _, value, ok := strings.Cut(rest, "'"); ok {
						declared, text = name, value
					}
				}
				if s, err := url.PathUnescape(text); err == nil {
					text = s
				}
			}
			raw = append(raw, text...)
		}
		params[key] = decodeText(raw, declared)
	}
	return strings.ToLower(strings.TrimSpace(value)), params
}

// cutParameter cuts s behind its first parameter.
func cutParameter(s string) (one, rest string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ';' && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// fileName returns the name that a part has as a file, or "".
func fileName(p *enmime.Part, declared string) string {
	for _, at := range [...][2]string{{"Content-Disposition", "filename"}, {"Content-Type", "name"}, {"Content-Type", "file"}} {
		_, params := parameters(p.Header.Get(at[0]))
		if s := headerText(params[at[1]], declared); s != "" {
			return s
		}
	}
	return headerText(p.FileName, declared)
}

type unpacked struct {
	name string
	data []byte
}

var uuBegin = regexp.MustCompile(`(?m)^begin [0-7]{3,4} ([^\r\n]{1,200})\r?$`)

// unpackUU takes the files out of a text that programs of before MIME wrote into it.
func unpackUU(s string) (string, []unpacked) {
	var files []unpacked
	var text strings.Builder
	for {
		m := uuBegin.FindStringSubmatchIndex(s)
		if m == nil {
			break
		}
		data, rest, ok := fromUU(s[m[1]:])
		if !ok {
			text.WriteString(s[:m[1]])
			s = s[m[1]:]
			continue
		}
		text.WriteString(s[:m[0]])
		files = append(files, unpacked{strings.TrimSpace(s[m[2]:m[3]]), data})
		s = rest
	}
	if files == nil && text.Len() == 0 {
		return s, nil
	}
	text.WriteString(s)
	return text.String(), files
}

// fromUU decodes uuencoded lines up to "end".
func fromUU(s string) (data []byte, rest string, ok bool) {
	at := 0
	for line := range strings.Lines(s) {
		at += len(line)
		line = strings.TrimRight(line, "\r\n")
		if line == "end" {
			return data, s[at:], true
		}
		if line == "" {
			continue
		}
		n := int(line[0]-' ') & 63
		if line[0] < ' ' || line[0] > '`' || len(line) > 90 || (len(line)-1)*3/4+3 < n {
			return nil, s, false
		}
		var group [4]byte
		out := len(data) + n
		for i := 1; len(data) < out; i += 4 {
			for k := range group {
				group[k] = 0
				if i+k < len(line) {
					group[k] = (line[i+k] - ' ') & 63
				}
			}
			data = append(data, group[0]<<2|group[1]>>4, group[1]<<4|group[2]>>2, group[2]<<6|group[3])
		}
		data = data[:out]
	}
	return nil, s, false
}

// unflow joins the lines of format=flowed text (RFC 3676): a space at the end
// of a line says that the paragraph goes on.
func unflow(s string, deleteSpace bool) string {
	var b strings.Builder
	b.Grow(len(s))
	depth, open := 0, false // of the paragraph being written
	for line := range strings.Lines(s) {
		line = strings.TrimRight(line, "\r\n")
		quotes := len(line) - len(strings.TrimLeft(line, ">"))
		body := strings.TrimPrefix(line[quotes:], " ")
		signature := body == "-- "
		if open && (quotes != depth || signature) {
			b.WriteByte('\n')
			open = false
		}
		if !open && quotes > 0 {
			b.WriteString(strings.Repeat(">", quotes))
			b.WriteByte(' ')
		}
		depth, open = quotes, strings.HasSuffix(body, " ") && !signature
		if open && deleteSpace {
			body = body[:len(body)-1]
		}
		b.WriteString(body)
		if !open {
			b.WriteByte('\n')
		}
	}
	return b.String()
}
