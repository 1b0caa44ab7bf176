package mail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
	"sluice/services/parser/internal/office"
	"sluice/services/parser/internal/rtf"
	"sluice/services/parser/internal/web"
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
	propCodePage      = 0x3FDE
	propMessagePage   = 0x3FFD
	propSentSMTP      = 0x5D02
	propSenderSMTP    = 0x5D01
)

// MSG reads Outlook messages (MS-OXMSG). Attachments go through the input's
// Convert, if it has one.
func MSG(ctx context.Context, in format.Input) (*format.Output, error) {
	j := office.NewJob(ctx, in)
	c, err := office.OpenCompound(j)
	if err != nil {
		return nil, err
	}
	if !c.Has("__properties_version1.0") {
		return nil, j.NotZIP()
	}
	out := &office.Document{}
	m := &msg{Compound: c}
	if err := m.message("", out, 1); err != nil {
		return nil, err
	}
	return j.Finish(out)
}

type msg struct {
	*office.Compound
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
			t = office.Decode(office.CodePage(s.page), b)
		}
		if t = strings.Trim(t, "\x00"); t != "" {
			return t, s.Spend(len(t))
		}
	}
	return "", nil
}

// message writes a message: what its head says, its text, its attachments.
func (m *msg) message(path string, out *office.Document, level int) error {
	header := 32
	if path != "" {
		header = 24 // of a message within a message
	}
	s, err := m.open(path, header)
	if err != nil {
		return err
	}
	subject, err := s.text(propSubject)
	if err != nil {
		return err
	}
	from, err := m.address(s, propSenderName, propSenderSMTP, propSentSMTP, propSenderEmail)
	if err != nil {
		return err
	}
	date := ""
	for _, id := range []uint32{propSubmitTime, propDeliveryTime} {
		if v := s.fixed[id<<16|0x40]; v != nil && date == "" {
			date = office.FromFiletime(office.Le.Uint64(v))
		}
	}
	to, err := m.recipients(s)
	if err != nil {
		return err
	}
	if level == 1 {
		m.Facts.Title, m.Facts.Author, m.Facts.Created = md.Line(subject), from, date
	}
	out.Add(office.Block{Kind: office.Mark, Text: md.Heading(level, "Email Message")})
	for _, f := range []struct{ label, value string }{
		{"From", from}, {"To", to[0]}, {"Cc", to[1]}, {"Bcc", to[2]}, {"Date", date}, {"Subject", subject},
	} {
		if v := md.Line(f.value); v != "" {
			out.Add(office.Block{Text: "**" + f.label + ":** " + md.EscapeInline(v)})
		}
	}
	out.Add(office.Block{Kind: office.Mark, Text: md.Heading(level+1, "Content")})
	if err := m.body(s, out); err != nil {
		return err
	}
	return m.attachments(path, out, level)
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
		if !strings.Contains(email, "@") {
			continue
		}
		if who == "" || strings.EqualFold(strings.Trim(who, "'"), email) {
			return email, nil
		}
		return email + " (" + who + ")", nil
	}
	return who, nil
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
				to[kind] += "; "
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

// body writes the text of a message: its HTML, else what stands plain, else its
// rich text.
func (m *msg) body(s *storage, out *office.Document) error {
	const binary, wide = 0x102, 0x1F
	page, err := s.stream(propHTML, binary)
	if err != nil {
		return err
	}
	if len(page) == 0 {
		b, err := s.stream(propHTML, wide)
		if err != nil {
			return err
		}
		page = []byte(office.Utf16LE(b))
	} else if s.page != 65001 && !bytes.Contains(page, []byte("charset")) {
		page = []byte(office.Decode(office.CodePage(s.page), page))
	}
	if len(page) > 0 {
		done, err := m.htmlBody(page, out)
		if err != nil || done {
			return err
		}
	}
	plain, err := s.text(propBody)
	if err != nil {
		return err
	}
	if strings.TrimSpace(plain) != "" {
		out.Add(office.Block{Kind: office.Verbatim, Text: plainBody(plain)})
		return nil
	}
	packed, err := s.stream(propRTF, binary)
	if err != nil || len(packed) == 0 {
		return err
	}
	rich, err := m.unpackRTF(packed)
	if err == nil {
		err = rtf.Into(m.Job, rich, out)
	}
	return m.Optional(err, "the body of the message")
}

func (m *msg) htmlBody(page []byte, out *office.Document) (done bool, err error) {
	text, err := web.ToMarkdown(m.Ctx, page, web.Options{})
	if err != nil {
		return false, m.Optional(m.Corrupt(err, "the HTML body"), "the HTML body")
	}
	if strings.TrimSpace(text) == "" {
		return false, nil
	}
	out.Add(office.Block{Kind: office.Verbatim, Text: strings.TrimSpace(text)})
	return true, m.Spend(len(text))
}

// plainBody keeps the lines of a plain text, each as its own.
func plainBody(s string) string {
	var b strings.Builder
	blank, first := false, true
	for line := range strings.Lines(s) {
		line = strings.TrimRight(line, " \t\r\n\x00")
		if line == "" {
			blank = true
			continue
		}
		if !first {
			if b.WriteByte('\n'); blank {
				b.WriteByte('\n')
			}
		}
		b.WriteString(md.Escape(line))
		first, blank = false, false
	}
	return b.String()
}

// attachments lists the files attached to a message, and writes what they hold.
func (m *msg) attachments(path string, out *office.Document, level int) error {
	const deepest = 8 // messages within messages
	type attachment struct {
		name, dir string
		s         *storage
	}
	var files []attachment
	for _, dir := range m.storages(path, "__attach_version1.0_") {
		s, err := m.open(dir, 8)
		if err != nil {
			return err
		}
		name, err := s.text(propAttachLong, propAttachName, propDisplayName)
		if err != nil {
			return err
		}
		if name = md.Line(name); name == "" {
			name = "unnamed"
		}
		files = append(files, attachment{name, dir, s})
	}
	if len(files) == 0 {
		return nil
	}
	out.Add(office.Block{Kind: office.Mark, Text: md.Heading(level+1, "Attachments")})
	for _, f := range files {
		out.Add(office.Block{Kind: office.Item, Marker: "-", Text: md.EscapeInline(f.name)})
	}
	for _, f := range files {
		inner := f.dir + fmt.Sprintf("__substg1.0_%04X000D/", propAttachData)
		if m.Has(inner + "__properties_version1.0") {
			if level >= deepest {
				m.Warn("messages nested deeper than %d are left out", deepest)
				continue
			}
			out.Add(office.Block{Kind: office.Mark, Text: md.Heading(level+2, md.EscapeInline(f.name))})
			if err := m.message(inner, out, level+2); err != nil {
				return err
			}
			continue
		}
		if err := m.attachment(f.s, f.name, out, level); err != nil {
			return err
		}
	}
	return nil
}

func (m *msg) attachment(s *storage, name string, out *office.Document, level int) error {
	if m.In.Convert == nil {
		return nil
	}
	data, err := s.stream(propAttachData, 0x102)
	if err != nil || len(data) == 0 {
		return err
	}
	media, err := s.text(propAttachMIME)
	if err != nil {
		return err
	}
	got, err := m.In.Convert(m.Ctx, format.Input{Name: name, ContentType: media, Data: data, Limits: m.In.Limits, Convert: m.In.Convert})
	if err != nil {
		if m.Alive() != nil || office.IsLimit(err) {
			return err
		}
		m.Warn("the attachment %s could not be read: %s", name, err)
		return nil
	}
	m.Warnings = append(m.Warnings, got.Warnings...)
	out.Add(office.Block{Kind: office.Mark, Text: md.Heading(level+2, md.EscapeInline(name))})
	out.Add(office.Block{Kind: office.Verbatim, Text: strings.TrimSpace(got.Markdown)})
	return m.Spend(len(got.Markdown))
}

// rtfDictionary is what the window of compressed RTF starts with (MS-OXRTFCP
// 2.1.2.1).
const rtfDictionary = `{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript \fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\colortbl\red0\green0\blue0` +
	"\r\n" + `\par \pard\plain\f0\fs20\b\i\u\tab\tx`

// unpackRTF decompresses the rich text of a message (MS-OXRTFCP).
func (m *msg) unpackRTF(d []byte) ([]byte, error) {
	const compressed, plain = 0x75465A4C, 0x414C454D
	const window = 4096
	if len(d) < 16 {
		return nil, m.Corrupt(errors.New("too short"), "the rich text")
	}
	kind := office.Le.Uint32(d[8:])
	d = d[16:]
	switch kind {
	case plain:
		return d, nil
	case compressed:
	default:
		return nil, m.Corrupt(errors.New("unknown compression"), "the rich text")
	}
	var dict [window]byte
	at := copy(dict[:], rtfDictionary)
	var out []byte
	put := func(c byte) {
		out = append(out, c)
		dict[at] = c
		at = (at + 1) % window
	}
	for len(d) > 0 {
		control := d[0]
		d = d[1:]
		for bit := 0; bit < 8 && len(d) > 0; bit++ {
			if control&(1<<bit) == 0 {
				put(d[0])
				d = d[1:]
				continue
			}
			if len(d) < 2 {
				return out, nil
			}
			ref := int(d[0])<<8 | int(d[1])
			d = d[2:]
			from, n := ref>>4, ref&15+2
			if from == at {
				return out, m.Unpack(len(out))
			}
			for i := range n {
				put(dict[(from+i)%window])
			}
		}
	}
	return out, m.Unpack(len(out))
}
