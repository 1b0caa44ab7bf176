package samples

import (
	"bytes"
	"encoding/binary"
)

// Types of properties in TNEF (MS-OXCDATA 2.11.1).
const (
	mapiLong   = 0x03
	mapiString = 0x1E
	mapiWide   = 0x1F
	mapiTime   = 0x40
	mapiBinary = 0x102
)

// TNEFWriter makes a winmail.dat (MS-OXTNEF).
type TNEFWriter struct{ bytes.Buffer }

// NewTNEF begins one.
func NewTNEF() *TNEFWriter {
	w := &TNEFWriter{}
	w.WriteString("\x78\x9f\x3e\x22\x01\x00")
	w.Attribute(1, 0x00089006, "\x00\x00\x01\x00")
	w.Attribute(1, 0x00069007, "\xe4\x04\x00\x00\x00\x00\x00\x00") // code page 1252
	return w
}

// Attribute adds an attribute of the message (level 1) or of a file (2).
func (w *TNEFWriter) Attribute(level byte, id uint32, data string) {
	w.WriteByte(level)
	var sum uint16
	for _, c := range []byte(data) {
		sum += uint16(c)
	}
	b := binary.LittleEndian.AppendUint32(nil, id)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	w.Write(append(b, data...))
	w.Write(binary.LittleEndian.AppendUint16(nil, sum))
}

// MAPI is a property: of a name that the file chooses if ID is 0x8000 or more.
type MAPI struct {
	ID, Kind int
	Data     string
}

// Properties packs properties as TNEF has them.
func Properties(all ...MAPI) string {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(all)))
	for _, p := range all {
		id := p.ID
		if p.ID >= 0x8000 {
			id = 0x8001
		}
		b = binary.LittleEndian.AppendUint16(b, uint16(p.Kind))
		b = binary.LittleEndian.AppendUint16(b, uint16(id))
		if p.ID >= 0x8000 {
			b = append(b, make([]byte, 16+4)...)
			b = binary.LittleEndian.AppendUint32(b, uint32(p.ID))
		}
		if p.Kind != mapiLong && p.Kind != mapiTime {
			b = binary.LittleEndian.AppendUint32(b, 1)
			b = binary.LittleEndian.AppendUint32(b, uint32(len(p.Data)))
		}
		b = append(b, p.Data...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	return string(b)
}

func filetime(seconds int64) string {
	return string(binary.LittleEndian.AppendUint64(nil, uint64(seconds+11644473600)*1e7))
}

// TNEFSample is a meeting with a file.
func TNEFSample() []byte {
	w := NewTNEF()
	w.Attribute(1, 0x00018004, "Old subject\x00")
	w.Attribute(1, 0x0002800C, "NOT THE PLAIN ONE\x00")
	w.Attribute(1, 0x00069003, Properties(
		MAPI{0x001A, mapiString, "IPM.Schedule.Meeting.Request\x00"},
		MAPI{propSubject, mapiWide, wide("Grüße from the board\x00")},
		MAPI{propSubmitTime, mapiTime, filetime(1770000000)},
		MAPI{propHTML, mapiBinary, `<html><body><p>Bring the <b>figures</b>.</p></body></html>`},
		MAPI{0x8208, mapiWide, wide("Room 5\x00")},
		MAPI{0x820D, mapiTime, filetime(1770714000)},
		MAPI{0x820E, mapiTime, filetime(1770717600)},
		MAPI{propSenderName, mapiString, "Hal J\xfcrgens\x00"},
		MAPI{propSenderSMTP, mapiString, "hal@example.org\x00"},
	))
	w.Attribute(2, 0x00069002, "\x01\x00\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00")
	w.Attribute(2, 0x00018010, "FIGURE~1.TXT\x00")
	w.Attribute(2, 0x0006800F, "12 pumps")
	w.Attribute(2, 0x00069005, Properties(MAPI{propAttachLong, mapiWide, wide("figures of May.txt\x00")}))
	return w.Bytes()
}
