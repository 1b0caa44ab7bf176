package samples

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"
)

// ItemProperty is a property of an item of Outlook: a tag, or a number in a set.
type ItemProperty struct {
	Set, ID uint32 // the set by the beginning of its GUID; 0 for a tag
	Value   any    // string, time.Time, bool, float64
}

// MsgItem is a .msg of a class: a meeting, a task, a contact.
func MsgItem(class string, all ...ItemProperty) []byte {
	all = append([]ItemProperty{{0, 0x001A, class}}, all...)
	var fixed Biff
	fixed.Write(make([]byte, 32))
	var sets []uint32
	var names, guids []byte
	parts := []Part{}
	for _, p := range all {
		id := p.ID
		if p.Set != 0 {
			at := slices.Index(sets, p.Set)
			if at < 0 {
				at = len(sets)
				sets = append(sets, p.Set)
				guids = append(binary.LittleEndian.AppendUint32(guids, p.Set), make([]byte, 12)...)
			}
			n := uint16(len(names) / 8)
			names = binary.LittleEndian.AppendUint32(names, p.ID)
			names = binary.LittleEndian.AppendUint16(names, uint16(at+3)<<1)
			names = binary.LittleEndian.AppendUint16(names, n)
			id = 0x8000 + uint32(n)
		}
		put := func(kind uint32, v uint64) {
			b := binary.LittleEndian.AppendUint32(nil, id<<16|kind)
			b = binary.LittleEndian.AppendUint32(b, 6)
			fixed.Write(binary.LittleEndian.AppendUint64(b, v))
		}
		switch v := p.Value.(type) {
		case string:
			parts = append(parts, Part{fmt.Sprintf("__substg1.0_%04X001F", id), wide(v)})
		case time.Time:
			put(mapiTime, binary.LittleEndian.Uint64([]byte(filetime(v.Unix()))))
		case bool:
			n := uint64(0)
			if v {
				n = 1
			}
			put(0x0B, n)
		case float64:
			put(0x05, math.Float64bits(v))
		}
	}
	return CompoundFile(append(parts, Part{"__properties_version1.0", fixed.String()},
		Part{"__nameid_version1.0/__substg1.0_00020102", string(guids)}, Part{"__nameid_version1.0/__substg1.0_00030102", string(names)}))
}
