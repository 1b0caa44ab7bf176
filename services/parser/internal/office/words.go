package office

import (
	"encoding/binary"
	"encoding/xml"
	"strings"
)

// words shares the strings of the names and short values of XML, which come again
// and again. A word has one place, and the next word for that place replaces it:
// so the table has a size of its own, whatever a document is made of.
type words struct {
	names  [1024]word
	values [1024]string
}

// word is a name as it is written, and as it is read.
type word struct {
	raw  string
	name xml.Name
}

const longestWord = 32

// name returns the name that is written as raw, with its prefix.
func (w *words) name(raw []byte) word {
	at := &w.names[place(raw)%uint64(len(w.names))]
	if at.raw == string(raw) {
		return *at
	}
	whole := string(raw)
	n := word{raw: whole, name: xml.Name{Local: whole}}
	if prefix, local, ok := strings.Cut(whole, ":"); ok && prefix != "" && local != "" {
		n.name = xml.Name{Space: prefix, Local: local}
	}
	if len(raw) <= 2*longestWord {
		*at = n
	}
	return n
}

// value returns the value that is written as raw, which has no references.
func (w *words) value(raw []byte) string {
	at := &w.values[place(raw)%uint64(len(w.values))]
	if *at != string(raw) {
		*at = string(valid(raw))
	}
	return *at
}

// place spreads words over a table: by their length, their first and their last
// eight bytes.
func place(raw []byte) uint64 {
	var first, last uint64
	switch n := len(raw); {
	case n >= 8:
		first, last = binary.LittleEndian.Uint64(raw), binary.LittleEndian.Uint64(raw[n-8:])
	case n >= 4:
		first, last = uint64(binary.LittleEndian.Uint32(raw)), uint64(binary.LittleEndian.Uint32(raw[n-4:]))
	case n > 0:
		first, last = uint64(raw[0])<<8|uint64(raw[n/2]), uint64(raw[n-1])
	}
	const golden = 0x9e3779b97f4a7c15 // 2^64 by the golden ratio: its products differ in their upper bits
	return ((first+uint64(len(raw)))*golden ^ last) * golden >> 48
}
