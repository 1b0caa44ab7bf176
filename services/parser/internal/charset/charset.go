// Package charset turns bytes of unknown encoding into UTF-8.
//
// What is certain decides first: an override by the submitter, a byte order
// mark, the whole text being valid UTF-8. Then what the document declares about
// itself, and only then statistics. Short East Asian texts are told apart by
// the share of common characters among their double bytes, which general
// detectors need more text for; everything else is left to chardet.
package charset

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/wlynxg/chardet"
	"golang.org/x/net/html/charset"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
	"golang.org/x/text/transform"

	"sluice/pkg/fault"
)

// Text is decoded text.
type Text struct {
	UTF8     string // valid UTF-8 without a byte order mark
	Charset  string // what it was decoded from, an IANA name in lower case
	Replaced int    // sequences that were not valid in it and became U+FFFD
}

// Decode decodes data. The override is the submitter's word and is believed;
// declared is what the document or its transport says, and is believed if the
// bytes do not contradict it. Either may be empty. The only error is an unknown
// override: a Validation fault, reason "unsupported".
func Decode(data []byte, override, declared string) (Text, error) {
	name := ""
	if override != "" {
		enc, canonical, ok := lookup(override)
		if !ok {
			return Text{}, fault.Invalid("unsupported", "charset %q is not known", clip(override)).
				WithHint("set the Charset header to an IANA name such as utf-8, windows-1252 or shift_jis, or leave it away")
		}
		if canonical == "utf-8" {
			return fromUTF8(data), nil
		}
		return decode(data, enc, canonical), nil
	}
	if name = byteOrderMark(data); name == "" {
		switch {
		case bytes.IndexByte(data, 0) >= 0:
			name = wide(data)
		case utf8.Valid(data) && !isISO2022JP(data) && (!isASCII(data) || !escapesASCII(declared)):
			return Text{UTF8: string(data), Charset: "utf-8"}, nil
		}
	}
	if name == "" {
		name = declaredOrDetected(data, declared)
	}
	if name == "utf-8" {
		return fromUTF8(data), nil
	}
	enc, canonical, ok := lookup(name)
	if !ok { // chardet may name what x/text does not have
		enc, canonical = charmap.Windows1252, "windows-1252"
	}
	return decode(data, enc, canonical), nil
}

// NewReader decodes r from a charset named by any of its labels. It fails if the
// charset is not known.
func NewReader(label string, r io.Reader) (io.Reader, error) {
	enc, _, ok := lookup(label)
	if !ok {
		return nil, fmt.Errorf("charset %q is not known", clip(label))
	}
	return transform.NewReader(r, enc.NewDecoder()), nil
}

// Detect names the charset of data, in lower case. It never returns "".
func Detect(data []byte) string {
	if name := byteOrderMark(data); name != "" {
		return name
	}
	if bytes.IndexByte(data, 0) >= 0 {
		if name := wide(data); name != "" {
			return name
		}
	} else if utf8.Valid(data) && !isISO2022JP(data) {
		return "utf-8"
	}
	return declaredOrDetected(data, "")
}

// IsWide reports whether data is UTF-16 or UTF-32, with or without a byte
// order mark: text although it may be full of zero bytes.
func IsWide(data []byte) bool {
	name := byteOrderMark(data)
	if name == "" && bytes.IndexByte(data, 0) >= 0 {
		name = wide(data)
	}
	return strings.HasPrefix(name, "utf-16") || strings.HasPrefix(name, "utf-32")
}

func declaredOrDetected(data []byte, declared string) string {
	if mostlyUTF8(data) {
		return "utf-8"
	}
	if declared != "" {
		// A declaration of UTF-8 or ASCII has just been disproved.
		if enc, canonical, ok := lookup(declared); ok && canonical != "utf-8" &&
			!strings.HasPrefix(canonical, "utf-16") && fits(data, enc, canonical) {
			return canonical
		}
	}
	if isISO2022JP(data) {
		return "iso-2022-jp"
	}
	sample := sampleOf(data)
	if isFewAccents(sample) {
		return latin(sample)
	}
	if name := eastAsian(sample); name != "" {
		return name
	}
	if withinLatinWords(sample) {
		return latin(sample)
	}
	name := strings.ToLower(chardet.Detect(sample).Encoding)
	switch name {
	case "", "ascii", "utf-8", "iso-8859-1", "iso-8859-15", "macroman", "latin-1", "windows-1252", "iso-8859-9", "windows-1254",
		"maccyrillic", "x-mac-cyrillic": // which nobody writes any more, and which short texts are taken for
		return latin(sample)
	case "iso-8859-7", "windows-1253":
		return greek(sample)
	}
	enc, canonical, ok := lookup(name)
	if !ok || !fits(sample, enc, canonical) {
		return latin(sample)
	}
	return canonical
}

func byteOrderMark(data []byte) string {
	switch {
	case bytes.HasPrefix(data, []byte{0xEF, 0xBB, 0xBF}):
		return "utf-8"
	case bytes.HasPrefix(data, []byte{0xFF, 0xFE, 0, 0}):
		return "utf-32le"
	case bytes.HasPrefix(data, []byte{0, 0, 0xFE, 0xFF}):
		return "utf-32be"
	case bytes.HasPrefix(data, []byte{0xFF, 0xFE}):
		return "utf-16le"
	case bytes.HasPrefix(data, []byte{0xFE, 0xFF}):
		return "utf-16be"
	}
	return ""
}

// lookup finds an encoding by any of its names.
func lookup(label string) (encoding.Encoding, string, bool) {
	label = strings.ToLower(strings.Trim(strings.TrimSpace(label), `"'`))
	switch label {
	case "utf8", "utf-8", "us-ascii", "ascii", "ansi_x3.4-1968", "utf-8-sig", "unicode-1-1-utf-8":
		return unicode.UTF8, "utf-8", true
	case "utf-16le", "utf16le", "utf-16", "utf16", "unicode", "ucs-2":
		// The byte order mark, where there is one, has been looked at before;
		// UTF-16 without one is little-endian in practice.
		return unicode.UTF16(unicode.LittleEndian, unicode.UseBOM), "utf-16le", true
	case "utf-16be", "utf16be":
		return unicode.UTF16(unicode.BigEndian, unicode.UseBOM), "utf-16be", true
	case "utf-32le", "utf32le", "utf-32", "utf32":
		return utf32.UTF32(utf32.LittleEndian, utf32.UseBOM), "utf-32le", true
	case "utf-32be", "utf32be":
		return utf32.UTF32(utf32.BigEndian, utf32.UseBOM), "utf-32be", true
	case "cp932", "ms932", "ms_kanji", "windows-932", "mskanji":
		label = "shift_jis"
	case "cp936", "ms936", "gb2312", "hz-gb-2312":
		if label != "hz-gb-2312" {
			label = "gb18030"
		}
	case "cp949", "ms949", "uhc", "johab":
		label = "euc-kr"
	case "cp950", "ms950":
		label = "big5"
	case "latin1", "latin-1":
		label = "windows-1252"
	case "macroman":
		label = "macintosh"
	case "maccyrillic":
		label = "x-mac-cyrillic"
	case "tis-620", "cp874":
		label = "windows-874"
	}
	if n, ok := strings.CutPrefix(label, "cp12"); ok {
		label = "windows-12" + n
	}
	if enc, name := charset.Lookup(label); enc != nil && name != "replacement" {
		return enc, name, true
	}
	for _, index := range []*ianaindex.Index{ianaindex.IANA, ianaindex.MIME} {
		if enc, err := index.Encoding(label); err == nil && enc != nil {
			return enc, label, true
		}
	}
	return nil, "", false
}

func decode(data []byte, enc encoding.Encoding, name string) Text {
	out, err := enc.NewDecoder().Bytes(data)
	if err != nil { // decoders replace what they cannot read; an odd last byte is all that is left
		out = bytes.ToValidUTF8(append(out, "\uFFFD"...), []byte("\uFFFD"))
	}
	out = bytes.TrimPrefix(out, []byte("\uFEFF"))
	return Text{UTF8: string(out), Charset: name, Replaced: bytes.Count(out, []byte("\uFFFD"))}
}

func fromUTF8(data []byte) Text {
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	if utf8.Valid(data) {
		return Text{UTF8: string(data), Charset: "utf-8"}
	}
	t := Text{Charset: "utf-8"}
	t.UTF8 = strings.ToValidUTF8(string(data), "\uFFFD")
	t.Replaced = strings.Count(t.UTF8, "\uFFFD")
	return t
}

// mostlyUTF8 recognises UTF-8 with a few broken bytes: a truncated file, a log
// with one foreign line. Other encodings almost never form a sequence of it.
func mostlyUTF8(data []byte) bool {
	good, bad := 0, 0
	for len(data) > 0 {
		if data[0] < utf8.RuneSelf {
			data = data[1:]
			continue
		}
		r, n := utf8.DecodeRune(data)
		if r == utf8.RuneError && n == 1 {
			bad++
		} else {
			good++
		}
		data = data[n:]
	}
	return good >= 8*bad && good > 0
}

// fits reports whether data has (almost) no sequence that is invalid in enc.
func fits(data []byte, enc encoding.Encoding, name string) bool {
	t := decode(data[:min(len(data), sampleSize)], enc, name)
	return t.Replaced <= 1+len(t.UTF8)/200
}

func isASCII(data []byte) bool {
	for _, c := range data {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// escapesASCII reports whether a declared charset writes other characters in
// bytes that look like ASCII.
func escapesASCII(declared string) bool {
	switch strings.ToLower(declared) {
	case "iso-2022-jp", "iso-2022-kr", "hz-gb-2312", "utf-7":
		return true
	}
	return false
}

func isISO2022JP(data []byte) bool {
	return bytes.Contains(data, []byte("\x1b$B")) || bytes.Contains(data, []byte("\x1b$@"))
}

// wide tells UTF-16 and UTF-32 without a byte order mark from binary data: it
// is where the zeros of ASCII are, and nothing else is where text has nothing.
func wide(data []byte) string {
	sample := data[:min(len(data), 1<<14)&^3]
	if len(data) < 4 {
		sample = data[:len(data)&^1]
	}
	var zeros [4]int
	controls := 0
	for i, c := range sample {
		if c < 0x20 && c != '\t' && c != '\n' && c != '\r' {
			controls++
		}
		if c == 0 {
			zeros[i&3]++
		}
	}
	// Text of single bytes with some stray zeros. Latin UTF-16 is half zeros,
	// Cyrillic half 0x04, and Chinese is not valid UTF-8.
	if controls*8 < len(sample) && utf8.Valid(bytes.TrimRightFunc(sample, func(r rune) bool { return r == utf8.RuneError })) {
		return ""
	}
	if len(sample) == 0 {
		return ""
	}
	quarter := max(len(sample)/4, 1)
	few := quarter / 20
	switch {
	case len(sample) >= 8 && zeros[2] == quarter && zeros[3] == quarter && zeros[0] <= few:
		return "utf-32le"
	case len(sample) >= 8 && zeros[0] == quarter && zeros[1] == quarter && zeros[3] <= few:
		return "utf-32be"
	case len(data)%2 != 0 && len(data) < 64:
		return ""
	}
	even, odd := zeros[0]+zeros[2], zeros[1]+zeros[3]
	switch {
	case odd > 0 && even <= few && isText16(sample, 0):
		return "utf-16le"
	case even > 0 && odd <= few && isText16(sample, 1):
		return "utf-16be"
	}
	return ""
}

// isText16 reports whether sample reads as UTF-16 text whose low byte is at
// low. In text most units are in a handful of blocks of 256 characters, and
// controls are rare.
func isText16(sample []byte, low int) bool {
	var blocks [256]int
	controls := 0
	units := len(sample) / 2
	for i := 0; i+1 < len(sample); i += 2 {
		lo, hi := sample[i+low], sample[i+1-low]
		blocks[hi]++
		if hi == 0 && (lo < 0x20 && lo != '\t' && lo != '\n' && lo != '\r' || lo >= 0x7f && lo < 0xa0) {
			controls++
		}
		if hi == 0xff && lo >= 0xfe || hi == 0xfe && lo == 0xff && i > 0 {
			return false
		}
	}
	text := blocks[0x00] + blocks[0x03] + blocks[0x04] + blocks[0x05] + blocks[0x06] + blocks[0x09] + blocks[0x0e] +
		blocks[0x20] + blocks[0x30] + blocks[0xff]
	for b := 0x4e; b <= 0x9f; b++ {
		text += blocks[b]
	}
	for b := 0xac; b <= 0xd7; b++ {
		text += blocks[b]
	}
	return controls*50 <= units && text*20 >= units*17
}

func clip(s string) string {
	if len(s) > 40 {
		s = s[:40] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
