package mail

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
	"sluice/services/parser/internal/office"
)

// Properties of messages (MS-OXPROPS), as they stand in the names of streams.
const (
	propSubject       = 0x0037
	propSubmitTime    = 0x0039
	propSenderName    = 0x0C1A
	propSenderEmail   = 0x0C1F
	propRecipientType = 0x0C15
	propDisplayBcc    = 0x0E02
	propDisplayCc     = 0x0E03
	propDisplayTo     = 0x0E04
	propDeliveryTime  = 0x0E06
	propBody          = 0x1000
	propRTF           = 0x1009
	propHTML          = 0x1013
	propDisplayName   = 0x3001
	propEmail         = 0x3003
	propAttachData    = 0x3701
	propAttachName    = 0x3704
	propAttachLong    = 0x3707
	propAttachMIME    = 0x370E
	propSMTP          = 0x39FE
	propClass         = 0x001A
	propCodePage      = 0x3FDE
	propMessagePage   = 0x3FFD
	propStartDate     = 0x0060
	propEndDate       = 0x0061
	propAttachMethod  = 0x3705
	propAttachFlags   = 0x3714
	propSentSMTP      = 0x5D02
	propSenderSMTP    = 0x5D01
)

const (
	attachByValue  = 1 // of propAttachMethod
	attachRendered = 4 // of propAttachFlags: within the HTML
)

// MSG reads Outlook messages (MS-OXMSG).
func MSG(ctx context.Context, in format.Input) (*format.Output, error) {
	j := office.NewJob(ctx, in)
	c, err := office.OpenCompound(j)
	if err != nil {
		return nil, err
	}
	if !c.Has("__properties_version1.0") {
		return nil, j.NotZIP()
	}
	l := newLetter(ctx, in)
	m := &msg{Compound: c}
	if err := m.message("", l, 1); err != nil {
		return nil, err
	}
	out, err := l.finish()
	if err != nil {
		return nil, err
	}
	out.Warnings = append(out.Warnings, j.Warnings...)
	return out, nil
}

type msg struct {
	*office.Compound
	named map[mapiName]uint32 // tags of properties with names
}

// storage is the properties of a message, a recipient or an attachment.
type storage struct {
	*office.Compound
	path  string // "" or ends in "/"
	page  int
	fixed map[uint32][]byte // properties of 8 bytes at most, by tag
}

func (m *msg) open(path string, header int) (*storage, error) {
	s := &storage{Compound: m.Compound, path: path, page: 1252, fixed: map[uint32][]byte{}}
	d, err := m.Read(path + "__properties_version1.0")
	if err := m.Optional(err, "some properties of the message"); err != nil {
		return nil, err
	}
	for i := header; i+16 <= len(d); i += 16 {
		s.fixed[office.Le.Uint32(d[i:])] = d[i+8 : i+16]
	}
	for _, id := range []uint32{propCodePage, propMessagePage} {
		if v := s.fixed[id<<16|3]; v != nil {
			s.page = int(office.Le.Uint32(v))
			break
		}
	}
	return s, nil
}

func (s *storage) stream(id, kind int) ([]byte, error) {
	name := fmt.Sprintf("%s__substg1.0_%04X%04X", s.path, id, kind)
	b, err := s.Read(name)
	return b, s.Optional(err, "a property of the message")
}

// text returns the first of the properties that is there, as text.
func (s *storage) text(ids ...int) (string, error) {
	const wide, narrow = 0x1F, 0x1E
	for _, id := range ids {
		b, err := s.stream(id, wide)
		if err != nil {
			return "", err
		}
		t := office.Utf16LE(b)
		if t == "" {
			if b, err = s.stream(id, narrow); err != nil {
				return "", err
			}
			t = pageText(b, s.page, "")
		}
		if t = strings.Trim(t, "\x00"); t != "" {
			return t, s.Spend(len(t))
		}
	}
	return "", nil
}

// message reads a message: what its head says, its text, its attachments.
func (m *msg) message(path string, l *letter, level int) error {
	header := 32
	if path != "" {
		header = 24 // of a message within a message
	}
	s, err := m.open(path, header)
	if err != nil {
		return err
	}
	o := outlook{job: m.Job, page: s.page}
	if o.subject, err = s.text(propSubject); err != nil {
		return err
	}
	if o.from, err = m.address(s, propSenderName, propSenderSMTP, propSentSMTP, propSenderEmail); err != nil {
		return err
	}
	for _, id := range []uint32{propSubmitTime, propDeliveryTime} {
		if v := s.fixed[id<<16|0x40]; v != nil && o.sent.IsZero() {
			o.sent = fromFiletime(office.Le.Uint64(v))
		}
	}
	if o.class, err = s.text(propClass); err != nil {
		return err
	}
	if o.to, err = m.recipients(s); err != nil {
		return err
	}
	o.value = func(name mapiName) (mapiValue, error) { return m.value(s, name) }
	o.html = func() ([]byte, error) {
		b, err := s.stream(propHTML, 0x102)
		if err != nil || len(b) > 0 {
			return b, err
		}
		if b, err = s.stream(propHTML, 0x1F); len(b) > 0 {
			return []byte("\uFEFF" + office.Utf16LE(b)), err
		}
		return nil, err
	}
	o.plain = func() (string, error) { return s.text(propBody) }
	o.rich = func() ([]byte, error) { return s.stream(propRTF, 0x102) }
	if err := l.outlook(&o); err != nil {
		return err
	}
	return m.attachments(path, l, level)
}

// address returns "address (Name)", or the one of them that there is. What is
// not an address (Exchange has paths of its own) is left out.
func (m *msg) address(s *storage, name int, emails ...int) (string, error) {
	who, err := s.text(name)
	if err != nil {
		return "", err
	}
	for _, id := range emails {
		email, err := s.text(id)
		if err != nil {
			return "", err
		}
		if strings.Contains(email, "@") {
			return addressOf(strings.Trim(who, "'"), email), nil
		}
	}
	return who, nil
}

// value returns a property of a message, an empty one if there is none.
func (m *msg) value(s *storage, name mapiName) (mapiValue, error) {
	id := name.id
	if name.set != 0 {
		id = m.tags()[name]
		if id == 0 {
			id = m.tags()[mapiName{0, name.id}]
		}
		if id == 0 {
			return mapiValue{}, nil
		}
	}
	for _, kind := range []uint16{mapiTime, mapiBool, mapiLong, mapiDouble} {
		if v := s.fixed[id<<16|uint32(kind)]; v != nil {
			return mapiValue{kind: kind, data: v}, nil
		}
	}
	text, err := s.text(int(id))
	if err != nil || text == "" {
		return mapiValue{}, err
	}
	return mapiValue{kind: mapiString, data: []byte(text)}, nil
}

// tags returns the tags that the file gives to properties with names (MS-OXMSG
// 2.2.3). What is wrong with the list costs these properties.
func (m *msg) tags() map[mapiName]uint32 {
	if m.named != nil {
		return m.named
	}
	m.named = map[mapiName]uint32{}
	const dir = "__nameid_version1.0/__substg1.0_"
	names, err := m.Read(dir + "00030102")
	if err != nil {
		return m.named // there need not be any
	}
	sets, _ := m.Read(dir + "00020102")
	for i := 0; i+8 <= len(names); i += 8 {
		const byNumber, first, firstSet, setSize = 0, 0x8000, 3, 16
		about := int(office.Le.Uint16(names[i+4:]))
		if about&1 != byNumber {
			continue
		}
		name := mapiName{id: office.Le.Uint32(names[i:])}
		if at := (about>>1 - firstSet) * setSize; at >= 0 && at+setSize <= len(sets) {
			name.set = office.Le.Uint32(sets[at:])
		}
		if _, ok := m.named[name]; !ok {
			m.named[name] = first + uint32(office.Le.Uint16(names[i+6:]))
		}
	}
	return m.named
}

// recipients returns who a message is to, by To, Cc and Bcc.
func (m *msg) recipients(s *storage) (to [3]string, err error) {
	for _, dir := range m.storages(s.path, "__recip_version1.0_") {
		r, err := m.open(dir, 8)
		if err != nil {
			return to, err
		}
		r.page = s.page
		kind := 0
		if v := r.fixed[propRecipientType<<16|3]; v != nil {
			kind = int(office.Le.Uint32(v)&3) - 1
		}
		who, err := m.address(r, propDisplayName, propSMTP, propEmail)
		if err != nil {
			return to, err
		}
		if kind = max(kind, 0); who != "" {
			if to[kind] != "" {
				to[kind] += ", "
			}
			to[kind] += who
		}
	}
	for i, id := range []int{propDisplayTo, propDisplayCc, propDisplayBcc} {
		if to[i] == "" {
			if to[i], err = s.text(id); err != nil {
				return to, err
			}
		}
	}
	return to, nil
}

// storages returns the paths of the storages in a folder whose names begin so.
func (m *msg) storages(path, prefix string) []string {
	var found []string
	for _, name := range m.Names {
		rest, ok := cutPrefixFold(name, path+prefix)
		if !ok {
			continue
		}
		dir, _, inside := strings.Cut(rest, "/")
		if inside {
			found = append(found, name[:len(path+prefix)+len(dir)]+"/")
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}

// attachments reads the files attached to a message.
func (m *msg) attachments(path string, l *letter, level int) error {
	for _, dir := range m.storages(path, "__attach_version1.0_") {
		s, err := m.open(dir, 8)
		if err != nil {
			return err
		}
		name, err := s.text(propAttachLong, propAttachName, propDisplayName)
		if err != nil {
			return err
		}
		inner := dir + fmt.Sprintf("__substg1.0_%04X000D/", propAttachData)
		if m.Has(inner + "__properties_version1.0") {
			err = m.within(inner, md.Line(name), l, level)
		} else {
			err = m.attachment(s, name, l)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// within reads a message that is attached to another.
func (m *msg) within(path, name string, l *letter, level int) error {
	if name == "" {
		name = "message"
	}
	if level > maxWithin {
		m.Warn("messages nested deeper than %d are left out", maxWithin)
		return nil
	}
	in := l.in
	in.Name = format.NameOf(l.in) + "/" + name
	child := newLetter(m.Ctx, in)
	if err := m.message(path, child, level+1); err != nil {
		return err
	}
	out, err := child.finish()
	return l.add(name, out, err)
}

func (m *msg) attachment(s *storage, name string, l *letter) error {
	data, err := s.stream(propAttachData, 0x102)
	if err != nil {
		return err
	}
	media, err := s.text(propAttachMIME)
	if err != nil {
		return err
	}
	if len(data) == 0 {
		if s.fixed[propAttachMethod<<16|3] != nil && office.Le.Uint32(s.fixed[propAttachMethod<<16|3]) != attachByValue {
			l.files.Warn("unsupported: %s/%s: what is attached is not in the message", format.NameOf(l.in), md.Line(name))
		}
		return nil
	}
	if strings.HasPrefix(media, "image/") {
		if v := s.fixed[propAttachFlags<<16|3]; v != nil && office.Le.Uint32(v)&attachRendered != 0 {
			return nil // a picture that the text shows
		}
	}
	return l.attach(name, media, data)
}
