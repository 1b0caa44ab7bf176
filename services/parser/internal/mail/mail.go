// Package mail reads e-mail, and what comes with it:
//
//   - eml.go: internet messages (RFC 5322, MIME), with mime.go for their parts,
//     headers and transfer encodings; mbox.go: mailboxes.
//   - outlook.go: what messages of Outlook have in common; msg.go reads them from a
//     compound file (MS-OXMSG), tnef.go from winmail.dat (MS-OXTNEF).
//   - pkcs7.go: signed and encrypted messages and files (RFC 5652).
//   - calendar.go: invitations and calendars (RFC 5545), and contacts (RFC 6350).
//
// Whatever a mail is read from, it becomes the same: its head, its text under
// "Content", each attached file under "Attachment: " and its name.
package mail

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"

	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
)

// maxWithin bounds messages that are a part of another by other ways than as an
// attached document: signed, packed, or within a message of Outlook.
const maxWithin = 8

// letter is a mail on its way into Markdown.
type letter struct {
	ctx    context.Context
	in     format.Input
	limit  int64
	within int // how many messages this one is within

	facts     events.Facts
	subject   string
	head      fields
	body      strings.Builder
	files     *format.Members
	parts     int                        // attached files, for those without a name
	seen      map[[sha256.Size]byte]bool // attached files and events, by what they hold
	asked     int                        // how often said has been asked
	charset   string                     // of the text, for headers without one
	encrypted bool                       // there is a part that nobody here can read
}

func newLetter(ctx context.Context, in format.Input) *letter {
	return &letter{
		ctx: ctx, in: in, limit: format.OutputLimit(in.Limits.Output),
		files: format.NewMembers(in), seen: map[[sha256.Size]byte]bool{},
	}
}

// heading is what a mail begins with, unless the heading above it says what it is.
const heading = "# Email Message\n\n"

// field writes a line of the head.
func (l *letter) field(label, value string) {
	value = md.Line(value)
	if value == "" {
		return
	}
	switch label {
	case "From":
		l.facts.Author = value
	case "Subject":
		l.subject, l.facts.Title = value, value
	}
	l.head.add(label, value)
}

// fields are the lines of a head: of a mail, an event, a contact.
type fields struct{ lines []string }

// add adds a line, if there is a value.
func (f *fields) add(label, value string) {
	if value = md.Line(value); value != "" {
		f.lines = append(f.lines, "**"+label+":** "+md.EscapeInline(value))
	}
}

func (f *fields) String() string { return strings.Join(f.lines, "  \n") }

// text adds Markdown to the body.
func (l *letter) text(s string) error {
	s = strings.Trim(strings.ReplaceAll(s, "\r\n", "\n"), "\n")
	if strings.TrimSpace(s) == "" {
		return nil
	}
	l.body.WriteString(strings.TrimRight(s, " \t\n"))
	l.body.WriteString("\n\n")
	if int64(l.body.Len()) > l.limit {
		return format.TooLarge(format.NameOf(l.in), l.limit)
	}
	return nil
}

// plain adds plain text to the body: each line as its own, quotes as quotes.
func (l *letter) plain(s string) error { return l.text(l.plainText(s)) }

func (l *letter) plainText(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	return plainLines(l.armor(s))
}

// plainLine writes a line of plain text so that it begins no heading and no HTML.
// Quotes, lists and the rest stay: they read as they were meant. Open says that the
// line before is text, which a row of dashes would underline.
func plainLine(line string, open bool) string {
	line = strings.TrimRight(line, " \t\x00")
	rest := strings.TrimLeft(line, " \t>")
	if rest == "" {
		return line
	}
	lead := line[:len(line)-len(rest)]
	switch c := rest[0]; c {
	case '#':
		n := len(rest) - len(strings.TrimLeft(rest, "#"))
		if n <= 6 && (n == len(rest) || rest[n] == ' ' || rest[n] == '\t') {
			return lead + `\` + rest
		}
	case '=', '-':
		if open && strings.Trim(rest, string(c)) == "" {
			return lead + `\` + rest
		}
	case '<':
		return lead + md.EscapeInline(rest[:min(len(rest), 2)]) + rest[min(len(rest), 2):]
	}
	return line
}

// plainLines writes plain text, line by line.
func plainLines(s string) string {
	var b strings.Builder
	b.Grow(len(s) + len(s)/16)
	open := false
	for line := range strings.Lines(s) {
		line = strings.TrimSuffix(line, "\n")
		b.WriteString(plainLine(line, open))
		b.WriteByte('\n')
		open = strings.TrimSpace(line) != ""
	}
	return b.String()
}

// event adds an entry of a calendar to the body, unless it is there already.
// Invitations often come twice: as a part, and as a file.
func (l *letter) event(data []byte) error {
	if !l.first(data) {
		return nil
	}
	s, warnings := calendarText(decodeText(data, ""), l.said())
	for _, w := range warnings {
		l.files.Warn("%s: %s", format.NameOf(l.in), w)
	}
	return l.text(s)
}

// said returns the letters of the text so far, which what comes with a mail often
// repeats. It is asked for each part, and a mail may have many.
func (l *letter) said() string {
	const most = 20
	if l.asked++; l.asked > most {
		return ""
	}
	return letters(l.body.String())
}

// first reports whether data has not been met before in this mail.
func (l *letter) first(data []byte) bool {
	sum := sha256.Sum256([]byte(strings.Join(strings.Fields(string(data)), " ")))
	if l.seen[sum] {
		return false
	}
	l.seen[sum] = true
	return true
}

// attach reads an attached file, whoever attached it.
func (l *letter) attach(name, media string, data []byte) error {
	l.parts++
	name = md.Line(name)
	lower, kind := strings.ToLower(name), format.MediaType(media)
	switch {
	case isSignature(kind, lower), kind == "application/pgp-keys":
		return nil // they say nothing about the subject
	case len(data) == 0:
		return nil
	case isSigned(kind, lower, data), kind == "application/ms-tnef", kind == "application/vnd.ms-tnef", IsTNEF(data):
		if !l.deeper() {
			return nil
		}
		defer l.shallower()
		if isSigned(kind, lower, data) {
			return l.pkcs7(name, data)
		}
		return l.tnef(name, data)
	case kind == "multipart/signed": // what Outlook keeps of a signed mail
		return l.inner(data)
	case kind == "text/calendar", kind == "application/ics", strings.HasSuffix(lower, ".ics"):
		if isCalendar(data) {
			return l.event(data)
		}
	}
	if !l.first(append([]byte(name+"\x00"), data...)) {
		return nil // the same file in two of the alternatives
	}
	if name == "" {
		name = fmt.Sprintf("part %d", l.parts)
	}
	member := format.Input{Name: format.NameOf(l.in) + "/" + name, ContentType: media, Data: data}
	message := kind == "message/rfc822" || kind == "message/global"
	if message && !strings.HasSuffix(lower, ".eml") {
		member.Name += ".eml" // its subject may end in anything
	}
	out, err := l.files.Convert(l.ctx, member)
	return l.add(name, out, err)
}

// add adds what an attached file has become, or why it cannot be read.
func (l *letter) add(name string, out *format.Output, err error) error {
	if err != nil {
		return l.files.Refuse(l.ctx, err)
	}
	return l.files.Add(2, "Attachment: "+name, headless(out))
}

// headless returns a mail without the heading that says that it is one, for a place
// where the heading above it says so.
func headless(out *format.Output) *format.Output {
	rest, ok := strings.CutPrefix(out.Markdown, heading)
	if !ok {
		return out
	}
	short := *out
	short.Markdown, short.Pages = rest, nil
	for _, p := range out.Pages {
		p.Offset = max(p.Offset-len(heading), 0)
		short.Pages = append(short.Pages, p)
	}
	return &short
}

// deeper reports whether a message within this one may be read, and warns if not.
// Each time that it may, shallower has to follow.
func (l *letter) deeper() bool {
	if l.within++; l.within <= maxWithin {
		return true
	}
	l.within--
	l.files.Warn("unsupported: %s: what lies within more than %d messages is left out", format.NameOf(l.in), maxWithin)
	return false
}

func (l *letter) shallower() { l.within-- }

// lock notes that a part is encrypted.
func (l *letter) lock(what string) {
	l.encrypted = true
	l.files.Warn("encrypted: %s: %s is encrypted and is not read", format.NameOf(l.in), what)
}

// finish returns the mail as a document.
func (l *letter) finish() (*format.Output, error) {
	body := strings.TrimSpace(l.body.String())
	if body == "" && l.files.Len() == 0 {
		if l.encrypted {
			return nil, fault.Invalid("encrypted", "the e-mail %s is encrypted", format.NameOf(l.in)).
				WithHint("save it decrypted in the program that can read it, and submit that")
		}
		if err := l.files.Refused(); err != nil {
			return nil, err
		}
		if l.subject == "" {
			return nil, fault.Invalid("empty", "the e-mail %s has neither subject nor text nor attachments", format.NameOf(l.in)).
				WithHint("check that the right file was submitted")
		}
	}
	text, head := heading, l.head.String()
	if head != "" {
		text += head + "\n\n"
	}
	switch {
	case head == "" && l.files.Len() == 0: // a web page packed as a mail is
		text = body + "\n"
	case body != "":
		text += "## Content\n\n" + strings.TrimRight(l.files.Own(md.Below(body, 2, nil), nil), "\n") + "\n\n"
	}
	out := l.files.Output(text)
	if int64(len(out.Markdown)) > l.limit {
		return nil, format.TooLarge(format.NameOf(l.in), l.limit)
	}
	pages := out.Facts.Pages
	out.Facts = l.facts
	out.Facts.Pages = pages
	return out, nil
}

// armor takes apart what PGP writes into a text: a signed text loses its signature,
// an encrypted one leaves a warning.
func (l *letter) armor(s string) string {
	const begin, end = "-----BEGIN PGP ", "-----END PGP "
	if !strings.Contains(s, begin) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	signed := false // lines that begin with a dash have one more, and a space
	write := func(text string) {
		if signed {
			text = strings.ReplaceAll(text, "\n- -", "\n-")
			if rest, ok := strings.CutPrefix(text, "- -"); ok {
				text = "-" + rest
			}
		}
		b.WriteString(text)
	}
	for {
		i := strings.Index(s, begin)
		if i < 0 {
			break
		}
		lineStart := i > 0 && s[i-1] == '\n' || i == 0 && (b.Len() == 0 || strings.HasSuffix(b.String(), "\n"))
		if !lineStart { // written about, not with
			write(s[:i+len(begin)])
			s = s[i+len(begin):]
			continue
		}
		line, rest, _ := strings.Cut(s[i:], "\n")
		if strings.HasPrefix(line, begin+"SIGNED MESSAGE") {
			_, text, ok := strings.Cut(rest, "\n\n") // behind "Hash: ..."
			if !ok {
				break
			}
			write(s[:i])
			s, signed = text, true
			continue
		}
		if strings.HasPrefix(line, begin+"MESSAGE") {
			l.lock("a part of its text")
		}
		write(s[:i])
		_, after, ok := strings.Cut(s[i:], end)
		if !ok {
			return b.String()
		}
		_, s, _ = strings.Cut(after, "\n")
		signed = false
	}
	write(s)
	return b.String()
}

// warn tells what was left out of the text.
func (l *letter) warn(w string) { l.files.Warn("%s", w) }
