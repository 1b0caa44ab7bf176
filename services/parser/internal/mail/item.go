package mail

import (
	"math"
	"strconv"
	"strings"
	"time"

	"sluice/services/parser/internal/office"
)

// mapiName is a property of an item: the number of its tag, or in a set the number
// that stands for its name (MS-OXPROPS). Each file gives such a name a tag of its own.
type mapiName struct{ set, id uint32 }

// The sets of names, by the beginning of their GUID.
const (
	setAppointment = 0x00062002
	setTask        = 0x00062003
	setAddress     = 0x00062004
	setCommon      = 0x00062008
	setMeeting     = 0x6ED8DA90
)

// itemField is a line that an item which is no mail has in its head: the first of
// the properties that is there.
type itemField struct {
	label string
	kind  itemKind
	names []mapiName
}

type itemKind uint8

const (
	itemText  itemKind = iota
	itemTime           // a moment
	itemDay            // a day, written as midnight of wherever it was written
	itemShare          // a part of 1
)

var wholeDay = mapiName{setAppointment, 0x8215}

// itemFields are by the beginning of the class.
var itemFields = []struct {
	classes []string
	fields  []itemField
}{
	{[]string{"ipm.appointment", "ipm.schedule"}, []itemField{
		{"Start", itemTime, []mapiName{{setAppointment, 0x820D}, {0, propStartDate}, {setCommon, 0x8516}}},
		{"End", itemTime, []mapiName{{setAppointment, 0x820E}, {0, propEndDate}, {setCommon, 0x8517}}},
		{"Place", itemText, []mapiName{{setAppointment, 0x8208}, {setMeeting, 0x0002}}},
		{"Repeats", itemText, []mapiName{{setAppointment, 0x8232}}},
		{"Time zone", itemText, []mapiName{{setAppointment, 0x8234}}},
	}},
	{[]string{"ipm.task"}, []itemField{
		{"Start", itemDay, []mapiName{{setTask, 0x8104}, {0, propStartDate}, {setCommon, 0x8516}}},
		{"Due", itemDay, []mapiName{{setTask, 0x8105}, {0, propEndDate}, {setCommon, 0x8517}}},
		{"Completed", itemDay, []mapiName{{setTask, 0x810F}}},
		{"Done", itemShare, []mapiName{{setTask, 0x8102}}},
		{"Owner", itemText, []mapiName{{setTask, 0x811F}}},
	}},
	{[]string{"ipm.contact"}, []itemField{
		{"Name", itemText, []mapiName{{0, 0x3001}}},
		{"Nickname", itemText, []mapiName{{0, 0x3A4F}}},
		{"Organization", itemText, []mapiName{{0, 0x3A16}}},
		{"Department", itemText, []mapiName{{0, 0x3A18}}},
		{"Title", itemText, []mapiName{{0, 0x3A17}}},
		{"Role", itemText, []mapiName{{0, 0x3A46}}},
		{"E-mail", itemText, []mapiName{{setAddress, 0x8083}}},
		{"E-mail", itemText, []mapiName{{setAddress, 0x8093}}},
		{"E-mail", itemText, []mapiName{{setAddress, 0x80A3}}},
		{"Phone (work)", itemText, []mapiName{{0, 0x3A08}}},
		{"Phone (work)", itemText, []mapiName{{0, 0x3A1B}}},
		{"Phone (company)", itemText, []mapiName{{0, 0x3A57}}},
		{"Phone (assistant)", itemText, []mapiName{{0, 0x3A2E}}},
		{"Phone (mobile)", itemText, []mapiName{{0, 0x3A1C}}},
		{"Phone (home)", itemText, []mapiName{{0, 0x3A09}}},
		{"Phone (home)", itemText, []mapiName{{0, 0x3A2F}}},
		{"Phone (car)", itemText, []mapiName{{0, 0x3A1E}}},
		{"Phone", itemText, []mapiName{{0, 0x3A1A}}},
		{"Phone", itemText, []mapiName{{0, 0x3A1F}}},
		{"Pager", itemText, []mapiName{{0, 0x3A21}}},
		{"Fax (work)", itemText, []mapiName{{0, 0x3A24}}},
		{"Fax (home)", itemText, []mapiName{{0, 0x3A25}}},
		{"Fax", itemText, []mapiName{{0, 0x3A23}}},
		{"Messages", itemText, []mapiName{{setAddress, 0x8062}}},
		{"Address (work)", itemText, []mapiName{{setAddress, 0x801B}}},
		{"Address (home)", itemText, []mapiName{{setAddress, 0x801A}}},
		{"Address", itemText, []mapiName{{setAddress, 0x801C}, {0, 0x3A15}}},
		{"Link", itemText, []mapiName{{setAddress, 0x802B}, {0, 0x3A51}}},
		{"Link", itemText, []mapiName{{0, 0x3A50}}},
		{"Birthday", itemDay, []mapiName{{0, 0x3A42}}},
		{"Anniversary", itemDay, []mapiName{{0, 0x3A41}}},
		{"Manager", itemText, []mapiName{{0, 0x3A4E}}},
		{"Assistant", itemText, []mapiName{{0, 0x3A30}}},
		{"Related", itemText, []mapiName{{0, 0x3A48}}},
	}},
}

// itemHead writes the lines of a meeting, a task or a contact.
func (l *letter) itemHead(o *outlook) error {
	class := strings.ToLower(o.class)
	for _, kind := range itemFields {
		for _, begin := range kind.classes {
			if !strings.HasPrefix(class, begin) {
				continue
			}
			for _, f := range kind.fields {
				s, err := o.fieldText(f)
				if err != nil {
					return err
				}
				l.field(f.label, s)
			}
			return nil
		}
	}
	return nil
}

func (o *outlook) fieldText(f itemField) (string, error) {
	for _, name := range f.names {
		v, err := o.value(name)
		if err != nil {
			return "", err
		}
		s := ""
		switch f.kind {
		case itemText:
			s = mapiText(v, o.page)
		case itemShare:
			if v.kind == mapiDouble && len(v.data) >= 8 {
				if part := math.Float64frombits(office.Le.Uint64(v.data)); part > 0 && part <= 1 {
					s = strconv.FormatFloat(math.Round(part*100), 'f', 0, 64) + " %"
				}
			}
		default:
			t := v.time()
			all, err := o.value(wholeDay)
			switch {
			case err != nil:
				return "", err
			case t.IsZero():
			case f.kind == itemDay || len(all.data) > 0 && all.data[0] != 0 && all.kind == mapiBool:
				// Midnight where it was written: the nearest one, as UTC is at most half a day away.
				day := t.Add(12 * time.Hour).Truncate(24 * time.Hour)
				if f.label == "End" {
					day = day.Add(-time.Second) // the day that it lasts through
				}
				s = day.Format(time.DateOnly)
			default:
				s = t.Format("2006-01-02 15:04 UTC")
			}
		}
		if s != "" {
			return s, nil
		}
	}
	return "", nil
}

func timeValue(t time.Time) mapiValue {
	const to1970 = 11644473600
	return mapiValue{kind: mapiTime, data: office.Le.AppendUint64(nil, uint64(t.Unix()+to1970)*1e7)}
}

func (v mapiValue) time() time.Time {
	if v.kind != mapiTime || len(v.data) < 8 {
		return time.Time{}
	}
	return fromFiletime(office.Le.Uint64(v.data))
}
