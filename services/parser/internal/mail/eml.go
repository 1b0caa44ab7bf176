package mail

import (
	"bytes"
	"context"
	"net/mail"
	"net/textproto"
	"strings"
	"time"

	"github.com/jhillyerd/enmime/v2"

	"sluice/pkg/fault"
	"sluice/services/parser/internal/charset"
	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/web"
)

// EML reads an e-mail: its main headers, its body, what it invites to, and what is
// attached to it. Of alternative bodies the richest is read, and the files among
// them.
func EML(ctx context.Context, in format.Input) (*format.Output, error) {
	data, err := narrow(in)
	if err != nil {
		return nil, err
	}
	data = bytes.TrimLeft(data, "\r\n")
	if isFromLine(data) { // as in a mailbox
		_, data, _ = bytes.Cut(data, []byte("\n"))
	}
	l := newLetter(ctx, in)
	root, err := l.parse(data)
	if err != nil {
		return nil, err
	}
	_, params := parameters(root.Header.Get("Content-Type"))
	l.charset = params["charset"]
	l.headers(root.Header)
	if err := l.part(root, ""); err != nil {
		return nil, err
	}
	return l.finish()
}

// narrow returns the bytes of a mail or a mailbox, which may be saved as "Unicode
// text".
func narrow(in format.Input) ([]byte, error) {
	data := in.Data
	if charset.IsWide(data) {
		t, err := charset.Decode(data, in.Charset, "")
		if err != nil {
			return nil, err
		}
		data = []byte(t.UTF8)
	}
	return bytes.TrimPrefix(data, []byte("\uFEFF")), nil
}

// inner reads a message that is the content of this one: signed, or packed.
func (l *letter) inner(data []byte) error {
	if !l.deeper() {
		return nil
	}
	defer l.shallower()
	root, err := l.parse(bytes.TrimLeft(data, "\r\n"))
	if err != nil {
		return l.files.Refuse(l.ctx, err)
	}
	return l.part(root, "")
}

// parse returns the tree of the parts of a message, their contents as they stand.
func (l *letter) parse(data []byte) (*enmime.Part, error) {
	// Parts that are left open cost enmime time exponential in their depth
	// (11 ms for 15 levels, 0.6 s for 20, minutes for 30), and any parts time
	// quadratic in their number.
	const (
		deepest   = 12
		mostParts = 5000
	)
	name := format.NameOf(l.in)
	s := shapeOf(data)
	switch {
	case s.depth > deepest:
		return nil, fault.Invalid("unsupported", "%s nests its parts %d levels deep, more than %d", name, s.depth, deepest).
			WithHint("submit the text and the attachments one by one")
	case s.parts > mostParts:
		return nil, fault.Invalid("too-large", "%s has %d parts, more than %d", name, s.parts, mostParts).
			WithHint("submit the text and the attachments one by one")
	}
	if s.cut {
		l.files.Warn("corrupt: %s ends within its parts: it may have been cut", name)
	}
	root, err := enmime.NewParser(
		enmime.SkipMalformedParts(true),
		enmime.MultipartWOBoundaryAsSinglePart(true),
		enmime.StripMediaTypeInvalidCharacters(true),
		enmime.RawContent(true), // what it decodes it decodes by the charset declared
		enmime.MaxStoredPartErrors(8),
		enmime.SetReadPartErrorPolicy(func(*enmime.Part, error) bool { return true }),
	).ReadParts(bytes.NewReader(data))
	if err != nil {
		return nil, format.Corrupt(err, name, "it is not a readable e-mail")
	}
	if l.ctx.Err() != nil {
		return nil, format.Ended(l.ctx, name)
	}
	return root, nil
}

// headers writes the headers that a reader of mail shows.
func (l *letter) headers(h textproto.MIMEHeader) {
	for _, key := range [...]string{"From", "To", "Cc", "Bcc", "Date", "Subject"} {
		v := strings.Join(h.Values(key), ", ")
		switch key {
		case "From", "To", "Cc", "Bcc":
			v = addresses(v, l.charset)
		default:
			v = headerText(v, l.charset)
		}
		if key == "Date" {
			if t, err := mail.ParseDate(v); err == nil {
				l.facts.Created = t.UTC().Format(time.RFC3339)
			}
		}
		l.field(key, v)
	}
	l.facts.Language = format.Language(h.Get("Content-Language"))
}

// part reads one part of the message and those below it. Within says what it is a
// part of.
func (l *letter) part(p *enmime.Part, within string) error {
	if l.ctx.Err() != nil {
		return format.Ended(l.ctx, format.NameOf(l.in))
	}
	kind := strings.ToLower(p.ContentType)
	if within == "multipart/digest" && p.Header.Get("Content-Type") == "" {
		kind = "message/rfc822"
	}
	if p.FirstChild != nil {
		switch kind {
		case "multipart/encrypted":
			l.lock("its content")
			return nil
		case "multipart/alternative":
			return l.alternatives(p)
		}
		for c := p.FirstChild; c != nil; c = c.NextSibling {
			if err := l.part(c, kind); err != nil {
				return err
			}
		}
		return nil
	}
	content, whole := transferred(p)
	if len(bytes.TrimSpace(content)) == 0 {
		return nil
	}
	name := fileName(p, l.charset)
	if !whole {
		what := name
		if what == "" {
			what = "its text"
		}
		l.files.Warn("corrupt: %s: %s ends within its encoding: it may have been cut", format.NameOf(l.in), what)
	}
	attached := strings.EqualFold(p.Disposition, "attachment") || name != ""
	switch {
	case kind == "text/calendar" && isCalendar(content), isSigned(kind, strings.ToLower(name), content):
		return l.attach(name, kind, content)
	case kind == "application/pgp-encrypted":
		l.lock("its content")
		return nil
	case kind == "message/delivery-status", kind == "message/disposition-notification", kind == "message/feedback-report", kind == "text/rfc822-headers":
		return l.report(string(content)) // of why a mail did not arrive
	case kind == "message/rfc822", kind == "message/global":
		if name == "" {
			name = innerSubject(content, l.charset)
		}
		return l.attach(name, kind, content)
	case attached:
		if strings.HasPrefix(kind, "image/") && p.ContentID != "" && !strings.EqualFold(p.Disposition, "attachment") {
			return nil // a picture that the text shows, which has its description
		}
		media := kind
		if _, params := parameters(p.Header.Get("Content-Type")); params["charset"] != "" && strings.HasPrefix(kind, "text/") {
			media += "; charset=" + params["charset"]
		}
		return l.attach(name, media, content)
	case kind == "text/html":
		return l.html(content, p)
	case isBody(kind):
		return l.plainPart(content, p)
	case strings.HasPrefix(kind, "image/"):
		return nil // a picture of the layout
	}
	return l.attach(name, kind, content)
}

// isBody reports whether a part without a name is text of the mail itself.
func isBody(kind string) bool {
	switch kind {
	case "", "text", "text/plain", "text/enriched", "text/richtext", "text/markdown":
		return true
	}
	return strings.HasPrefix(kind, "multipart/") || strings.HasPrefix(kind, "text/plain")
}

func (l *letter) html(content []byte, p *enmime.Part) error {
	_, params := parameters(p.Header.Get("Content-Type"))
	declared := params["charset"]
	if declared == "" {
		declared = web.DeclaredInHTML(content)
	}
	if declared == "" {
		declared = l.in.Charset
	}
	s, err := web.ToMarkdown(l.ctx, []byte(decodeText(content, declared)), web.Options{Name: format.NameOf(l.in), Limit: l.limit, Charset: "utf-8", Warn: l.warn})
	if err != nil {
		return err
	}
	return l.text(s)
}

func (l *letter) plainPart(content []byte, p *enmime.Part) error {
	_, params := parameters(p.Header.Get("Content-Type"))
	declared := params["charset"]
	if declared == "" {
		declared = l.in.Charset
	}
	s := decodeText(content, declared)
	if strings.EqualFold(params["format"], "flowed") {
		s = unflow(s, strings.EqualFold(params["delsp"], "yes"))
	}
	if strings.EqualFold(p.ContentType, "text/markdown") {
		return l.text(s)
	}
	s, files := unpackUU(s)
	if err := l.plain(s); err != nil {
		return err
	}
	for _, f := range files {
		if err := l.attach(f.name, "", f.data); err != nil {
			return err
		}
	}
	return nil
}

// report writes a part that is made of fields, as it stands.
func (l *letter) report(s string) error {
	var b strings.Builder
	for line := range strings.Lines(decodeWords(decodeText([]byte(s), l.charset), l.charset)) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(plainLine(line, false) + "  ")
		}
		b.WriteByte('\n')
	}
	return l.text(b.String())
}

// alternatives reads the richest of alternative bodies; of the others, the files
// that are among them, and what a program reads.
func (l *letter) alternatives(p *enmime.Part) error {
	best := richest(p)
	if best != nil {
		if err := l.part(best, "multipart/alternative"); err != nil {
			return err
		}
	}
	for c := p.FirstChild; c != nil; c = c.NextSibling {
		if c == best {
			continue
		}
		if err := l.filesOf(c); err != nil {
			return err
		}
	}
	return nil
}

// filesOf reads the files in an alternative that is not shown.
func (l *letter) filesOf(p *enmime.Part) error {
	kind := strings.ToLower(p.ContentType)
	if p.FirstChild != nil {
		for c := p.FirstChild; c != nil; c = c.NextSibling {
			if err := l.filesOf(c); err != nil {
				return err
			}
		}
		return nil
	}
	attached := strings.EqualFold(p.Disposition, "attachment")
	switch {
	case !attached && isRendering(kind), !attached && strings.HasPrefix(kind, "image/"):
		return nil // another form of the same text
	case strings.HasPrefix(kind, "multipart/"):
		return nil
	}
	return l.part(p, "multipart/alternative")
}

// isRendering reports whether an alternative is one that only says the same.
func isRendering(kind string) bool {
	switch kind {
	case "text/html", "text/x-amp-html", "text/watch-html", "application/rtf", "text/rtf":
		return true
	}
	return isBody(kind)
}

// richest returns the alternative that carries most structure. The last one is
// the sender's favourite, but may be a calendar entry, a file or empty.
func richest(p *enmime.Part) *enmime.Part {
	var best *enmime.Part
	rank := 0
	for c := p.FirstChild; c != nil; c = c.NextSibling {
		if r := rankOf(c); r > 0 && r >= rank {
			best, rank = c, r
		}
	}
	return best
}

// rankOf says how much structure a part shows; 0 if it is no text of the mail.
func rankOf(p *enmime.Part) int {
	kind := strings.ToLower(p.ContentType)
	if p.FirstChild != nil {
		rank := 0
		for c := p.FirstChild; c != nil; c = c.NextSibling {
			rank = max(rank, rankOf(c))
		}
		return rank
	}
	if strings.EqualFold(p.Disposition, "attachment") {
		return 0
	}
	content, _ := transferred(p)
	switch {
	case kind == "text/html" && textual(content):
		return 4
	case kind == "text/markdown" && len(bytes.TrimSpace(content)) > 0:
		return 3
	case isBody(kind) && len(bytes.TrimSpace(content)) > 0:
		return 2
	}
	return 0
}

// textual reports whether HTML has more in it than tags.
func textual(src []byte) bool {
	inTag := false
	for _, c := range src {
		switch {
		case c == '<':
			inTag = true
		case c == '>':
			inTag = false
		case !inTag && c > ' ':
			return true
		}
	}
	return false
}

// innerSubject names a forwarded message by its subject.
func innerSubject(data []byte, declared string) string {
	const longest = 200
	return format.Clip(headerText(headerOf(data, "subject"), declared), longest)
}
