package mail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
	"sluice/services/parser/internal/office"
)

// Attributes of TNEF (MS-OXTNEF 2.1.3.2), and what begins it.
const (
	tnefSignature = "\x78\x9f\x3e\x22"

	tnefDateStart   = 0x0006
	tnefDateEnd     = 0x0007
	tnefFrom        = 0x8000
	tnefSubject     = 0x8004
	tnefClass       = 0x8008
	tnefDateSent    = 0x8005
	tnefBody        = 0x800C
	tnefAttachData  = 0x800F
	tnefAttachTitle = 0x8010
	tnefAttachStart = 0x9002
	tnefProperties  = 0x9003
	tnefRecipients  = 0x9004
	tnefAttachProps = 0x9005
	tnefCodePage    = 0x9007
)

// IsTNEF reports whether data begins as a winmail.dat does.
func IsTNEF(data []byte) bool { return bytes.HasPrefix(data, []byte(tnefSignature)) }

// TNEF reads winmail.dat: what Outlook sends to other programs of a message that
// is formatted as it likes.
func TNEF(ctx context.Context, in format.Input) (*format.Output, error) {
	if !IsTNEF(in.Data) {
		return nil, format.Corrupt(errors.New("it does not begin as one"), format.NameOf(in), "it is no winmail.dat (TNEF of Outlook)")
	}
	if ctx.Err() != nil {
		return nil, format.Ended(ctx, format.NameOf(in))
	}
	l := newLetter(ctx, in)
	j := office.NewJob(ctx, in)
	t, err := readTNEF(in.Data)
	if err != nil {
		l.files.Warn("corrupt: %s: the winmail.dat (TNEF of Outlook) is cut or damaged: what can be read of it is kept", format.NameOf(in))
	}
	if err := l.outlook(t.outlook(j)); err != nil {
		return nil, err
	}
	if err := l.tnefFiles(t); err != nil {
		return nil, err
	}
	out, err := l.finish()
	if err != nil {
		return nil, err
	}
	out.Warnings = append(out.Warnings, j.Warnings...)
	return out, nil
}

// tnef reads a winmail.dat in a mail: its files are files of the mail, and its text
// is mostly that of the mail again.
func (l *letter) tnef(name string, data []byte) error {
	if name == "" {
		name = "winmail.dat"
	}
	if !IsTNEF(data) {
		return l.files.Refuse(l.ctx, format.Corrupt(errors.New("it does not begin as one"), format.NameOf(l.in)+"/"+name, "it is no winmail.dat (TNEF of Outlook)"))
	}
	t, err := readTNEF(data)
	if err != nil {
		l.files.Warn("corrupt: %s/%s: the winmail.dat (TNEF of Outlook) is cut or damaged: what can be read of it is kept", format.NameOf(l.in), name)
	}
	in := l.in
	in.Name = format.NameOf(l.in) + "/" + name
	j := office.NewJob(l.ctx, in)
	s, err := l.outlookText(t.outlook(j))
	if err != nil {
		return err
	}
	for _, w := range j.Warnings {
		l.files.Warn("%s: %s", in.Name, w)
	}
	if !strings.Contains(l.said(), letters(s)) {
		if err := l.text(s); err != nil {
			return err
		}
	}
	return l.tnefFiles(t)
}

func (l *letter) tnefFiles(t *tnef) error {
	for _, f := range t.files {
		name := md.Line(f.name(t.page))
		data, media := f.data, mapiText(f.properties[propAttachMIME], t.page)
		if v := f.properties[propAttachData]; len(v.data) > 0 {
			if data = v.data; v.kind == mapiObject && len(data) > 16 {
				data = data[16:] // behind what kind of object it is
			}
		}
		if IsTNEF(data) { // a message within the message
			if name == "" {
				name = "message"
			}
			out, err := l.files.Convert(l.ctx, format.Input{Name: format.NameOf(l.in) + "/" + name, Data: data})
			if err := l.add(name, out, err); err != nil {
				return err
			}
			continue
		}
		if err := l.attach(name, media, data); err != nil {
			return err
		}
	}
	return nil
}

// tnef is what a winmail.dat holds.
type tnef struct {
	page       int
	subject    []byte
	body       []byte
	from       []byte
	class      []byte
	sent       time.Time
	start, end time.Time
	properties map[uint16]mapiValue
	named      map[mapiName]mapiValue
	to         [3]string
	files      []*tnefFile
}

type tnefFile struct {
	title      []byte
	data       []byte
	properties map[uint16]mapiValue
}

func (f *tnefFile) name(page int) string {
	for _, id := range []uint16{propAttachLong, propDisplayName, propAttachName} {
		if s := mapiText(f.properties[id], page); s != "" {
			return s
		}
	}
	return narrowText(f.title, page)
}

// outlook returns the message.
func (t *tnef) outlook(j *office.Job) *outlook {
	text := func(id uint16) string { return mapiText(t.properties[id], t.page) }
	o := &outlook{job: j, page: t.page, class: text(propClass), subject: text(propSubject), to: t.to, sent: t.sent}
	if o.subject == "" {
		o.subject = narrowText(t.subject, t.page)
	}
	from := text(propSenderSMTP)
	if !strings.Contains(from, "@") {
		from = text(propSenderEmail)
	}
	if !strings.Contains(from, "@") {
		from = ""
	}
	o.from = addressOf(text(propSenderName), from)
	if o.from == "" {
		o.from = t.sender()
	}
	if o.class == "" { // of before there were properties
		o.class = strings.Replace(narrowText(t.class, t.page), "IPM.Microsoft Schedule.", "IPM.Schedule.", 1)
	}
	if v := t.properties[propSubmitTime]; v.kind == mapiTime && len(v.data) >= 8 {
		o.sent = fromFiletime(office.Le.Uint64(v.data))
	}
	o.value = func(name mapiName) (mapiValue, error) {
		if name.set == 0 {
			v, ok := t.properties[uint16(name.id)]
			if at := map[uint32]time.Time{propStartDate: t.start, propEndDate: t.end}[name.id]; !ok && !at.IsZero() {
				v = timeValue(at)
			}
			return v, nil
		}
		v, ok := t.named[name]
		if !ok {
			v = t.named[mapiName{0, name.id}] // of a program that leaves the set empty
		}
		return v, nil
	}
	o.html = func() ([]byte, error) {
		v := t.properties[propHTML]
		if v.kind == mapiWide {
			return []byte(mapiText(v, t.page)), nil
		}
		return v.data, nil
	}
	o.plain = func() (string, error) {
		if s := text(propBody); s != "" {
			return s, nil
		}
		if len(t.properties[propRTF].data) > 0 {
			return "", nil // which says more than the copy for others
		}
		return narrowText(t.body, t.page), nil
	}
	o.rich = func() ([]byte, error) { return t.properties[propRTF].data, nil }
	return o
}

// sender returns who sent a message whose properties do not say it: two lengths, the
// name, the address with its kind before a colon.
func (t *tnef) sender() string {
	const header = 8
	if len(t.from) < header {
		return ""
	}
	names, addresses := int(office.Le.Uint16(t.from[4:])), int(office.Le.Uint16(t.from[6:]))
	rest := t.from[header:]
	names = min(names, len(rest))
	text := func(b []byte) string { return md.Line(narrowText(b, t.page)) }
	name := text(rest[:names])
	rest = rest[names:]
	_, address, _ := strings.Cut(text(rest[:min(addresses, len(rest))]), ":")
	if !strings.Contains(address, "@") {
		address = ""
	}
	return addressOf(name, address)
}

// readTNEF returns what it can read of a winmail.dat, and why it cannot read on.
func readTNEF(data []byte) (*tnef, error) {
	const key, header, sum = 2, 9, 2
	t := &tnef{page: 1252}
	file := func() *tnefFile {
		if len(t.files) == 0 {
			t.files = append(t.files, &tnefFile{})
		}
		return t.files[len(t.files)-1]
	}
	if len(data) < len(tnefSignature)+key {
		return t, errors.New("too short")
	}
	var props, recipients []byte
	for data = data[len(tnefSignature)+key:]; len(data) > 0; {
		if len(data) < header {
			return t, errors.Join(errors.New("an attribute is cut"), t.finish(props, recipients))
		}
		id, n := office.Le.Uint16(data[1:]), int64(office.Le.Uint32(data[5:]))
		data = data[header:]
		cut := n+sum > int64(len(data))
		v := data[:min(n, int64(len(data)))]
		switch id {
		case tnefCodePage:
			if len(v) >= 4 {
				t.page = int(office.Le.Uint32(v))
			}
		case tnefSubject:
			t.subject = v
		case tnefBody:
			t.body = v
		case tnefFrom:
			t.from = v
		case tnefClass:
			t.class = v
		case tnefDateStart:
			t.start = tnefTime(v)
		case tnefDateEnd:
			t.end = tnefTime(v)
		case tnefDateSent:
			t.sent = tnefTime(v)
		case tnefProperties:
			props = v
		case tnefRecipients:
			recipients = v
		case tnefAttachStart:
			t.files = append(t.files, &tnefFile{})
		case tnefAttachTitle:
			file().title = v
		case tnefAttachData:
			file().data = v
		case tnefAttachProps:
			m := mapi{data: v}
			file().properties, _ = m.properties()
			if m.bad {
				cut = cut || file().data == nil
			}
		}
		if cut {
			return t, errors.Join(fmt.Errorf("attribute %#x is cut", id), t.finish(props, recipients))
		}
		data = data[n+sum:]
	}
	return t, t.finish(props, recipients)
}

// finish reads the properties, which need the code page.
func (t *tnef) finish(props, recipients []byte) error {
	m := mapi{data: props}
	if len(props) > 0 {
		t.properties, t.named = m.properties()
	}
	r := mapi{data: recipients}
	if len(recipients) > 0 {
		rows := r.number()
		for range min(rows, 10_000) {
			row, _ := r.properties()
			if r.bad {
				break
			}
			kind := 1
			if v := row[propRecipientType]; len(v.data) >= 4 {
				kind = int(office.Le.Uint32(v.data) & 3)
			}
			email := mapiText(row[propSMTP], t.page)
			if email == "" {
				email = mapiText(row[propEmail], t.page)
			}
			if !strings.Contains(email, "@") {
				email = ""
			}
			who := addressOf(strings.Trim(mapiText(row[propDisplayName], t.page), "'"), email)
			to := &t.to[max(kind, 1)-1]
			if *to != "" && who != "" {
				*to += ", "
			}
			*to += who
		}
	}
	if m.bad || r.bad {
		return errors.New("the properties of the message are damaged")
	}
	return nil
}

func tnefTime(v []byte) time.Time {
	if len(v) < 12 {
		return time.Time{}
	}
	n := func(i int) int { return int(office.Le.Uint16(v[2*i:])) }
	if n(0) < 1900 || n(0) > 9999 || n(1) < 1 || n(1) > 12 {
		return time.Time{}
	}
	return time.Date(n(0), time.Month(n(1)), n(2), n(3), n(4), n(5), 0, time.UTC)
}

// Types of properties (MS-OXCDATA 2.11.1).
const (
	mapiObject = 0x0D
	mapiString = 0x1E
	mapiWide   = 0x1F
	mapiTime   = 0x40
	mapiLong   = 0x03
	mapiDouble = 0x05
	mapiBool   = 0x0B
	mapiMany   = 0x1000
)

// mapiValue is a property: the first of its values.
type mapiValue struct {
	kind uint16
	data []byte
}

func mapiText(v mapiValue, page int) string {
	switch v.kind &^ mapiMany {
	case mapiWide:
		return strings.Trim(office.Utf16LE(v.data), "\x00")
	case mapiString:
		return narrowText(v.data, page)
	}
	return ""
}

// narrowText returns a string that ends with a zero. With it "Ada" would be taken
// for UTF-16, which has zeros within.
func narrowText(b []byte, page int) string {
	if whole := bytes.TrimRight(b, "\x00"); !bytes.Contains(whole, []byte{0}) {
		b = whole
	}
	return strings.Trim(pageText(b, page, ""), "\x00")
}

// mapi reads lists of properties (MS-OXTNEF 2.1.3.4).
type mapi struct {
	data []byte
	bad  bool
}

func (m *mapi) take(n uint32) []byte {
	if m.bad || uint64(n) > uint64(len(m.data)) {
		m.bad = true
		return nil
	}
	v := m.data[:n]
	m.data = m.data[n:]
	return v
}

func (m *mapi) number() uint32 {
	if v := m.take(4); v != nil {
		return office.Le.Uint32(v)
	}
	return 0
}

// padded takes n bytes, and those up to the next multiple of four.
func (m *mapi) padded(n uint32) []byte {
	v := m.take(n)
	if pad := (4 - n%4) % 4; pad > 0 && !m.bad && len(m.data) > 0 {
		m.take(min(pad, uint32(len(m.data))))
	}
	return v
}

func (m *mapi) properties() (byID map[uint16]mapiValue, named map[mapiName]mapiValue) {
	const firstNamed = 0x8000
	byID, named = map[uint16]mapiValue{}, map[mapiName]mapiValue{}
	for n := m.number(); n > 0 && !m.bad; n-- {
		tag := m.number()
		kind, id := uint16(tag), uint16(tag>>16)
		var name mapiName
		if id >= firstNamed {
			if set := m.take(16); len(set) >= 4 {
				name.set = office.Le.Uint32(set)
			}
			if m.number() == 0 {
				name.id = m.number()
			} else {
				m.padded(m.number())
			}
		}
		v := mapiValue{kind: kind, data: m.value(kind)}
		if m.bad {
			break
		}
		if id >= firstNamed {
			named[name] = v
		} else {
			byID[id] = v
		}
	}
	return byID, named
}

// value takes the values of a property, and returns the first.
func (m *mapi) value(kind uint16) []byte {
	count := uint32(1)
	size := uint32(0)
	switch kind &^ mapiMany {
	case 0x02, 0x0B: // two bytes, padded
		size = 2
	case 0x03, 0x04, 0x0A:
		size = 4
	case 0x05, 0x06, 0x07, 0x14, mapiTime:
		size = 8
	case 0x48:
		size = 16
	case mapiObject, mapiString, mapiWide, 0x102:
		count = m.number()
	case 0x00, 0x01: // nothing
		return nil
	default:
		m.bad = true
		return nil
	}
	if kind&mapiMany != 0 && size > 0 {
		count = m.number()
	}
	var first []byte
	for i := uint32(0); i < count && !m.bad; i++ {
		n := size
		if size == 0 {
			n = m.number()
		}
		if v := m.padded(n); i == 0 {
			first = v
		}
	}
	return first
}
