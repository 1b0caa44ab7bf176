package local_test

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"sluice/pkg/provider"
	"sluice/services/parser/internal/samples"
)

// Meetings, tasks and contacts have what they say in properties whose tags each
// file gives by itself, by a set and a number.
func TestOutlookItems(t *testing.T) {
	const appointment, task, address, common, meeting = 0x00062002, 0x00062003, 0x00062004, 0x00062008, 0x6ED8DA90
	property := func(set, id uint32, v any) samples.ItemProperty {
		return samples.ItemProperty{Set: set, ID: id, Value: v}
	}
	at := func(day, hour int) time.Time { return time.Date(2026, 3, day, hour, 0, 0, 0, time.UTC) }
	p := newParser(t, nil)
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"a meeting": {
			samples.MsgItem("IPM.Schedule.Meeting.Request", property(0, 0x0037, "Review"), property(task, 0x820D, at(1, 1)), property(appointment, 0x820D, at(15, 9)), property(appointment, 0x820E, at(15, 10)),
				property(appointment, 0x8208, "Room 5"), property(appointment, 0x8232, "every Tuesday"), property(0, 0x1000, "Bring the figures.")),
			"**Subject:** Review  \n**Start:** 2026-03-15 09:00 UTC  \n**End:** 2026-03-15 10:00 UTC  \n**Place:** Room 5  \n**Repeats:** every Tuesday\n\n## Content\n\nBring the figures.",
		},
		"by the names that all items have": {
			samples.MsgItem("IPM.Appointment", property(0, 0x0037, "Review"), property(common, 0x8516, at(15, 9)), property(common, 0x8517, at(15, 10)), property(meeting, 2, "Room 6")),
			"**Subject:** Review  \n**Start:** 2026-03-15 09:00 UTC  \n**End:** 2026-03-15 10:00 UTC  \n**Place:** Room 6",
		},
		"whole days east of Greenwich": {
			samples.MsgItem("IPM.Appointment", property(0, 0x0037, "Fair"), property(appointment, 0x8215, true), property(appointment, 0x820D, at(14, 23)), property(appointment, 0x820E, at(16, 23))),
			"**Subject:** Fair  \n**Start:** 2026-03-15  \n**End:** 2026-03-16",
		},
		"and west": {
			samples.MsgItem("IPM.Appointment", property(0, 0x0037, "Fair"), property(appointment, 0x8215, true), property(appointment, 0x820D, at(15, 5)), property(appointment, 0x820E, at(16, 5))),
			"**Subject:** Fair  \n**Start:** 2026-03-15  \n**End:** 2026-03-15",
		},
		"a task": {
			samples.MsgItem("IPM.Task", property(0, 0x0037, "Paint"), property(task, 0x8104, at(15, 0)), property(task, 0x8105, at(17, 0)), property(task, 0x8102, 0.25), property(task, 0x811F, "Ada")),
			"**Subject:** Paint  \n**Start:** 2026-03-15  \n**Due:** 2026-03-17  \n**Done:** 25 %  \n**Owner:** Ada",
		},
		"a contact": {
			samples.MsgItem("IPM.Contact", property(0, 0x0037, "Ada Quill"), property(0, 0x3001, "Ada Quill"), property(0, 0x3A16, "ACME"), property(0, 0x3A08, "+41 1"), property(0, 0x3A1C, "+41 2"), property(address, 0x8083, "ada@example.org"),
				property(address, 0x801B, "Quay 12\r\nBasel"), property(0, 0x3A42, at(15, 0)), property(0, 0x1000, "Met in May.")),
			"**Subject:** Ada Quill  \n**Name:** Ada Quill  \n**Organization:** ACME  \n**E-mail:** ada@example.org  \n**Phone (work):** +41 1  \n**Phone (mobile):** +41 2  \n**Address (work):** Quay 12 Basel  \n**Birthday:** 2026-03-15\n\n## Content\n\nMet in May.",
		},
		"a mail has none of these": {
			samples.MsgItem("IPM.Note", property(0, 0x0037, "Hello"), property(appointment, 0x820D, at(15, 9)), property(0, 0x1000, "Hello.")), "**Subject:** Hello\n\n## Content\n\nHello.",
		},
	} {
		got, err := p.Parse(t.Context(), provider.Source{Name: "a.msg", Data: c.data})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if want := "# Email Message\n\n" + c.want; strings.TrimSpace(got.Markdown) != want || len(got.Warnings) > 0 {
			t.Errorf("%s: %q\n%s\nwant\n%s", name, got.Warnings, got.Markdown, want)
		}
	}
}

// A winmail.dat of an old program has attributes and no properties.
func TestOldWinmail(t *testing.T) {
	w := samples.NewTNEF()
	date := func(hour uint16) string {
		var b []byte
		for _, n := range []uint16{2026, 3, 15, hour, 30, 0, 0} {
			b = binary.LittleEndian.AppendUint16(b, n)
		}
		return string(b)
	}
	sender := binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16([]byte{4, 0, 0, 0}, 4), 21)
	w.Attribute(1, 0x00078008, "IPM.Microsoft Schedule.MtgReq\x00")
	w.Attribute(1, 0x00008000, string(sender)+"Ada\x00"+"SMTP:ada@example.org\x00")
	w.Attribute(1, 0x00018004, "Review\x00")
	w.Attribute(1, 0x00030006, date(9))
	w.Attribute(1, 0x00030007, date(10))
	w.Attribute(1, 0x0002800C, "Bring the figures.\x00")
	got, err := newParser(t, nil).Parse(t.Context(), provider.Source{Name: "winmail.dat", Data: w.Bytes()})
	want := "# Email Message\n\n**From:** ada@example.org (Ada)  \n**Subject:** Review  \n**Start:** 2026-03-15 09:30 UTC  \n**End:** 2026-03-15 10:30 UTC\n\n## Content\n\nBring the figures."
	if err != nil || strings.TrimSpace(got.Markdown) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got.Markdown, want)
	}
}
