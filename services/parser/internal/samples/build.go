package samples

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

// Part is a member of an archive that a test makes.
type Part struct{ Name, Data string }

func Pack(t testing.TB, parts ...Part) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, p := range parts {
		w, err := z.Create(p.Name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(p.Data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const (
	xmlHead = `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>` + "\n"
	relType = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/"
	officeN = ` xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"` +
		` xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"` +
		` xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"` +
		` xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"` +
		` xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing"` +
		` xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape"` +
		` xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"` +
		` xmlns:a14="http://schemas.microsoft.com/office/drawing/2010/main"` +
		` xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart"` +
		` xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main"` +
		` xmlns:pic="http://schemas.openxmlformats.org/drawingml/2006/picture"` +
		` xmlns:v="urn:schemas-microsoft-com:vml"`
)

// Rels makes a relationships Part from "ID kind target" lines. A target with a
// colon is external.
func Rels(of string, lines ...string) Part {
	var b strings.Builder
	b.WriteString(xmlHead + `<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">`)
	for _, l := range lines {
		f := strings.Fields(l)
		mode := ""
		if strings.Contains(f[2], ":") {
			mode = ` TargetMode="External"`
		}
		b.WriteString(`<Relationship Id="` + f[0] + `" Type="` + relType + f[1] + `" Target="` + f[2] + `"` + mode + `/>`)
	}
	b.WriteString(`</Relationships>`)
	dir, file := "", of
	if i := strings.LastIndexByte(of, '/'); i >= 0 {
		dir, file = of[:i+1], of[i+1:]
	}
	return Part{dir + "_rels/" + file + ".rels", b.String()}
}

// types is the part by which the documents of Microsoft's formats are known.
var types = Part{"[Content_Types].xml", `<Types><Default Extension="xml" ContentType="application/xml"/></Types>`}

// WordDocument packs a body with further parts into a .docx.
func WordDocument(t testing.TB, body string, more ...Part) []byte {
	return Pack(t, append([]Part{
		types,
		Rels("", "r1 officeDocument word/document.xml", "r2 metadata/core-properties docProps/core.xml"),
		{"word/document.xml", xmlHead + `<w:document` + officeN + `><w:body>` + body + `</w:body></w:document>`},
	}, more...)...)
}

// Para is a w:p of plain text in a style.
func Para(style, text string) string {
	return `<w:p><w:pPr><w:pStyle w:val="` + style + `"/></w:pPr><w:r><w:t xml:space="preserve">` + text + `</w:t></w:r></w:p>`
}

// CompoundFile makes a compound file of version 3 (MS-CFB): streams by path,
// those below 4096 bytes in the mini stream.
func CompoundFile(streams []Part) []byte {
	const sector, mini, cutoff = 512, 64, 4096
	const free, end, fatSect = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
	type entry struct {
		name               string
		kind               byte
		parent             int
		left, right, child uint32
		start, size        uint32
	}
	none := uint32(0xFFFFFFFF)
	entries := []entry{{name: "Root Entry", kind: 5, left: none, right: none, child: none, start: end, parent: -1}}
	byPath := map[string]int{"": 0}
	var add func(path string, kind byte) int
	add = func(path string, kind byte) int {
		if i, ok := byPath[path]; ok {
			return i
		}
		dir, name := "", path
		if i := strings.LastIndexByte(path, '/'); i >= 0 {
			dir, name = path[:i], path[i+1:]
		}
		parent := add(dir, 1)
		i := len(entries)
		byPath[path] = i
		entries = append(entries, entry{name: name, kind: kind, parent: parent, left: none, right: none, child: none, start: end})
		// Siblings hang on each other's right side.
		if c := entries[parent].child; c == none {
			entries[parent].child = uint32(i)
		} else {
			for entries[c].right != none {
				c = entries[c].right
			}
			entries[c].right = uint32(i)
		}
		return i
	}

	var fat, miniFAT []uint32
	var sectors, miniStream []byte
	store := func(data []byte) uint32 {
		if len(data) == 0 {
			return end
		}
		first := uint32(len(fat))
		for off := 0; off < len(data); off += sector {
			block := make([]byte, sector)
			copy(block, data[off:])
			sectors = append(sectors, block...)
			fat = append(fat, uint32(len(fat)+1))
		}
		fat[len(fat)-1] = end
		return first
	}
	for _, s := range streams {
		i := add(s.Name, 2)
		data := []byte(s.Data)
		entries[i].size = uint32(len(data))
		switch {
		case len(data) == 0:
		case len(data) < cutoff:
			entries[i].start = uint32(len(miniFAT))
			for off := 0; off < len(data); off += mini {
				block := make([]byte, mini)
				copy(block, data[off:])
				miniStream = append(miniStream, block...)
				miniFAT = append(miniFAT, uint32(len(miniFAT)+1))
			}
			miniFAT[len(miniFAT)-1] = end
		default:
			entries[i].start = store(data)
		}
	}
	entries[0].start, entries[0].size = store(miniStream), uint32(len(miniStream))
	words := func(v []uint32) []byte {
		var b []byte
		for _, x := range v {
			b = binary.LittleEndian.AppendUint32(b, x)
		}
		return b
	}
	for len(miniFAT)%(sector/4) != 0 {
		miniFAT = append(miniFAT, free)
	}
	miniStart := store(words(miniFAT))
	var dir []byte
	for _, e := range entries {
		var b [128]byte
		name := utf16.Encode([]rune(e.name))
		for i, u := range name {
			binary.LittleEndian.PutUint16(b[2*i:], u)
		}
		binary.LittleEndian.PutUint16(b[64:], uint16(2*len(name)+2))
		b[66], b[67] = e.kind, 1
		binary.LittleEndian.PutUint32(b[68:], e.left)
		binary.LittleEndian.PutUint32(b[72:], e.right)
		binary.LittleEndian.PutUint32(b[76:], e.child)
		binary.LittleEndian.PutUint32(b[116:], e.start)
		binary.LittleEndian.PutUint32(b[120:], e.size)
		dir = append(dir, b[:]...)
	}
	for len(dir)%sector != 0 {
		dir = append(dir, make([]byte, 128)...)
	}
	dirStart := store(dir)
	fatSectors := 1
	for (len(fat)+fatSectors)*4 > fatSectors*sector {
		fatSectors++
	}
	fatStart := len(fat)
	for range fatSectors {
		fat = append(fat, fatSect)
	}
	for len(fat)%(sector/4) != 0 {
		fat = append(fat, free)
	}
	sectors = append(sectors, words(fat)...)

	head := make([]byte, sector)
	copy(head, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
	put16, put32 := binary.LittleEndian.PutUint16, binary.LittleEndian.PutUint32
	put16(head[24:], 0x3E)
	put16(head[26:], 3)
	put16(head[28:], 0xFFFE)
	put16(head[30:], 9)
	put16(head[32:], 6)
	put32(head[44:], uint32(fatSectors))
	put32(head[48:], dirStart)
	put32(head[56:], cutoff)
	put32(head[60:], miniStart)
	put32(head[64:], uint32(len(miniFAT)*4/sector))
	put32(head[68:], end)
	for i := range 109 {
		v := uint32(free)
		if i < fatSectors {
			v = uint32(fatStart + i)
		}
		put32(head[76+4*i:], v)
	}
	return append(head, sectors...)
}

// Biff makes records.
type Biff struct{ bytes.Buffer }

func (b *Biff) Record(kind int, data ...any) {
	var d bytes.Buffer
	for _, v := range data {
		if s, ok := v.(string); ok {
			d.WriteString(s)
			continue
		}
		if err := binary.Write(&d, binary.LittleEndian, v); err != nil {
			panic(err)
		}
	}
	if err := binary.Write(b, binary.LittleEndian, []uint16{uint16(kind), uint16(d.Len())}); err != nil {
		panic(err)
	}
	b.Write(d.Bytes())
}

// wide is UTF-16LE.
func wide(s string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return string(b)
}

// OldWorkbook makes a BIFF8 workbook: a sheet from what fill writes, and a
// hidden one. Before may add records to the globals.
func OldWorkbook(before, fill func(b *Biff)) []byte {
	names := []string{"First", "Second"}
	build := func(offsets [2]uint32) ([]byte, [2]uint32) {
		var b Biff
		b.Record(recBOF, uint16(0x600), uint16(5), make([]byte, 12))
		if before != nil {
			before(&b)
		}
		for i, n := range names {
			b.Record(recBoundSheet, offsets[i], uint8(i), uint8(0), uint8(len(n)), uint8(0), n)
		}
		b.Record(recEOF)
		var at [2]uint32
		for i := range names {
			at[i] = uint32(b.Len())
			b.Record(recBOF, uint16(0x600), uint16(0x10), make([]byte, 12))
			if i == 0 {
				fill(&b)
			}
			b.Record(recEOF)
		}
		return slices.Clone(b.Bytes()), at
	}
	_, at := build([2]uint32{})
	stream, _ := build(at)
	return CompoundFile([]Part{{"Workbook", string(stream)}})
}

// Numbers of records (MS-XLS 2.3) and of properties (MS-OXPROPS).
const (
	recFormula    = 0x0006
	recEOF        = 0x000A
	recNote       = 0x001C
	recContinue   = 0x003C
	recObj        = 0x005D
	recBoundSheet = 0x0085
	recMulRK      = 0x00BD
	recXF         = 0x00E0
	recSST        = 0x00FC
	recLabelSST   = 0x00FD
	recTXO        = 0x01B6
	recHLink      = 0x01B8
	recNumber     = 0x0203
	recBoolErr    = 0x0205
	recString     = 0x0207
	recRK         = 0x027E
	recFormat     = 0x041E
	recBOF        = 0x0809
	RecFilePass   = 0x002F

	propSubject     = 0x0037
	propSubmitTime  = 0x0039
	propSenderName  = 0x0C1A
	propSenderEmail = 0x0C1F
	propBody        = 0x1000
	propHTML        = 0x1013
	propDisplayName = 0x3001
	propAttachData  = 0x3701
	propAttachLong  = 0x3707
	propSMTP        = 0x39FE
	propSenderSMTP  = 0x5D01
)
