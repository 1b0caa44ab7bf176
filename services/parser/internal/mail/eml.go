// Package mail reads e-mail: internet messages (RFC 5322, MIME) and messages of
// Outlook (MS-OXMSG).
package mail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"mime"
	"net/mail"
	"net/textproto"
	"regexp"
	"strings"
	"time"

	"github.com/jhillyerd/enmime/v2"

	"sluice/pkg/fault"
	"sluice/services/parser/internal/archive"
	"sluice/services/parser/internal/charset"
	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
	"sluice/services/parser/internal/web"
)

// EML reads an e-mail: its main headers, its body, and what is attached to it.
// Of alternative bodies the richest is read. An attachment that is refused
// becomes a warning.
func EML(ctx context.Context, in format.Input) (*format.Output, error) {
	data := in.Data
	if charset.IsWide(data) { // saved as "Unicode text"
		t, err := charset.Decode(data, in.Charset, "")
		if err != nil {
			return nil, err
		}
		data = []byte(t.UTF8)
	}
	// Parts that are left open cost enmime time exponential in their depth
	// (11 ms for 15 levels, 0.6 s for 20, minutes for 30), and any parts time
	// quadratic in their number.
	const (
		deepest   = 12
		mostParts = 5000
	)
	switch depth, parts := countParts(data); {
	case depth > deepest:
		return nil, fault.Invalid("unsupported", "%s nests its parts %d levels deep, more than %d", format.NameOf(in), depth, deepest).
			WithHint("submit the text and the attachments one by one")
	case parts > mostParts:
		return nil, fault.Invalid("too-large", "%s has %d parts, more than %d", format.NameOf(in), parts, mostParts).
			WithHint("submit the text and the attachments one by one")
	}
	root, err := enmime.NewParser(
		enmime.SkipMalformedParts(true),
		enmime.MultipartWOBoundaryAsSinglePart(true),
		enmime.StripMediaTypeInvalidCharacters(true),
		enmime.DisableCharacterDetection(true),
		enmime.MaxStoredPartErrors(8),
		// Broken base64 keeps what can be read of it.
		enmime.SetReadPartErrorPolicy(func(*enmime.Part, error) bool { return true }),
	).ReadParts(bytes.NewReader(bytes.TrimPrefix(data, []byte("\uFEFF"))))
	if err != nil {
		return nil, format.Corrupt(err, format.NameOf(in), "it is not a readable e-mail")
	}
	if ctx.Err() != nil {
		return nil, format.Ended(ctx, format.NameOf(in))
	}
	m := &message{ctx: ctx, in: in, limit: format.OutputLimit(in.Limits.Output)}
	m.head(root.Header)
	if err := m.part(root); err != nil {
		return nil, err
	}
	body := strings.TrimSpace(m.body.String())
	if body == "" && m.attachments.Len() == 0 {
		if len(m.refusals) > 0 {
			return nil, archive.AllRefused(in, m.refusals)
		}
		if m.subject == "" {
			return nil, fault.Invalid("empty", "the e-mail %s has neither subject nor text nor attachments", format.NameOf(in)).
				WithHint("check that the right file was submitted")
		}
	}
	if body != "" {
		m.out.Markdown += "## Content\n\n" + body + "\n\n"
	}
	m.out.Markdown += m.attachments.String()
	if int64(len(m.out.Markdown)) > m.limit {
		return nil, format.TooLarge(format.NameOf(in), m.limit)
	}
	return &m.out, nil
}

var boundaryParam = regexp.MustCompile(`(?i)boundary\s*=\s*(?:"([^"\r\n]{1,200})"?|([^\s;"]{1,200}))`)

// countParts returns how deep the parts of a message nest, which is how many
// boundaries are announced and not yet passed, and how many parts there are.
func countParts(data []byte) (depth, parts int) {
	var open []string
	at := map[string]int{} // boundary -> its place in open
	for line := range bytes.Lines(data) {
		line = bytes.TrimRight(line, " \t\r\n")
		if rest, ok := bytes.CutPrefix(line, []byte("--")); ok && len(rest) <= 210 {
			i, known := at[string(rest)]
			keep := i + 1
			if !known {
				i, known = at[string(bytes.TrimSuffix(rest, []byte("--")))]
				keep = i
			}
			if known {
				parts++
				for _, b := range open[keep:] {
					delete(at, b)
				}
				open = open[:keep]
			}
			continue
		}
		if !bytes.Contains(line, []byte("=")) || len(line) > 2000 {
			continue
		}
		if m := boundaryParam.FindSubmatch(line); m != nil {
			b := string(m[1]) + string(m[2])
			if _, known := at[b]; !known {
				at[b] = len(open)
				open = append(open, b)
				depth = max(depth, len(open))
			}
		}
	}
	return depth, parts
}

// message is the reading of one e-mail.
type message struct {
	ctx   context.Context
	in    format.Input
	limit int64

	out         format.Output
	subject     string
	body        strings.Builder
	attachments strings.Builder
	refusals    []*fault.Error
	parts       int
}

// head writes the headers that a reader of mail shows.
func (m *message) head(h textproto.MIMEHeader) {
	var b strings.Builder
	b.WriteString("# Email Message\n\n")
	for _, key := range [...]string{"From", "To", "Cc", "Date", "Subject"} {
		v := headerText(h.Get(key))
		if v == "" {
			continue
		}
		switch key {
		case "From", "To", "Cc":
			v = addresses(v)
			if key == "From" {
				m.out.Facts.Author = v
			}
		case "Subject":
			m.subject, m.out.Facts.Title = v, v
		case "Date":
			if t, err := mail.ParseDate(v); err == nil {
				m.out.Facts.Created = t.UTC().Format(time.RFC3339)
			}
		}
		fmt.Fprintf(&b, "**%s:** %s  \n", key, md.EscapeInline(v))
	}
	m.out.Facts.Language = format.Language(h.Get("Content-Language"))
	m.out.Markdown = strings.TrimRight(b.String(), " \n") + "\n\n"
}

// headerText decodes a header: its encoded words, and the raw bytes that old
// programs put there.
func headerText(v string) string {
	if t, err := charset.Decode([]byte(v), "", ""); err == nil {
		v = t.UTF8
	}
	dec := mime.WordDecoder{CharsetReader: charset.NewReader}
	if s, err := dec.DecodeHeader(v); err == nil {
		v = s
	}
	const longest = 4 << 10
	return format.Clip(md.Fold(strings.ToValidUTF8(v, "\uFFFD")), longest)
}

// addresses writes an address list as "Name <address>, ...".
func addresses(v string) string {
	list, err := mail.ParseAddressList(v)
	if err != nil {
		return v // as it stands: people write anything here
	}
	names := make([]string, 0, len(list))
	for _, a := range list {
		if a.Name == "" || a.Name == a.Address {
			names = append(names, a.Address)
			continue
		}
		names = append(names, a.Name+" <"+a.Address+">")
	}
	return strings.Join(names, ", ")
}

// part reads one part of the message and those below it.
func (m *message) part(p *enmime.Part) error {
	if m.ctx.Err() != nil {
		return format.Ended(m.ctx, format.NameOf(m.in))
	}
	kind := strings.ToLower(p.ContentType)
	switch {
	case p.FirstChild != nil && kind == "multipart/alternative":
		if best := richest(p); best != nil {
			return m.part(best)
		}
		return nil
	case p.FirstChild != nil:
		for c := p.FirstChild; c != nil; c = c.NextSibling {
			if err := m.part(c); err != nil {
				return err
			}
		}
		return nil
	case strings.HasPrefix(kind, "multipart/") && len(p.Content) == 0:
		return nil
	case p.Disposition == "attachment" || p.FileName != "":
		return m.attachment(p, kind)
	case kind == "text/html":
		s, err := web.ToMarkdown(m.ctx, p.Content, web.Options{Name: format.NameOf(m.in), Limit: m.limit})
		if err != nil {
			return err
		}
		m.text(s)
	case kind == "" || strings.HasPrefix(kind, "text/plain") || strings.HasPrefix(kind, "multipart/") || kind == "text/enriched" || kind == "text/markdown":
		t, err := charset.Decode(p.Content, "", "")
		if err != nil {
			return err
		}
		s := t.UTF8
		// An error leaves no parameters, and text is shown as it stands then.
		_, params, _ := mime.ParseMediaType(p.Header.Get("Content-Type"))
		if strings.EqualFold(params["format"], "flowed") {
			s = unflow(s, strings.EqualFold(params["delsp"], "yes"))
		}
		m.text(s)
	case strings.HasPrefix(kind, "image/"), kind == "text/calendar", kind == "application/pgp-signature", strings.HasSuffix(kind, "pkcs7-signature"):
		return nil // pictures of the layout, machine copies, signatures
	default:
		return m.attachment(p, kind)
	}
	return nil
}

func (m *message) text(s string) {
	if s = strings.TrimSpace(strings.ReplaceAll(s, "\r\n", "\n")); s != "" {
		m.body.WriteString(s)
		m.body.WriteString("\n\n")
	}
}

// richest returns the alternative that carries most structure. The last one is
// the sender's favourite, but may be a calendar entry or empty.
func richest(p *enmime.Part) *enmime.Part {
	var best *enmime.Part
	rank := 0
	for c := p.FirstChild; c != nil; c = c.NextSibling {
		r := 1
		switch kind := strings.ToLower(c.ContentType); {
		case kind == "text/html" && textual(c.Content):
			r = 4
		case strings.HasPrefix(kind, "multipart/") && c.FirstChild != nil:
			r = 3
		case strings.HasPrefix(kind, "text/plain") && len(bytes.TrimSpace(c.Content)) > 0:
			r = 2
		}
		if r >= rank {
			best, rank = c, r
		}
	}
	return best
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

// unflow joins the lines of format=flowed text (RFC 3676): a space at the end
// of a line says that the paragraph goes on.
func unflow(s string, deleteSpace bool) string {
	var b strings.Builder
	b.Grow(len(s))
	depth, open := 0, false // of the paragraph being written
	for line := range strings.Lines(s) {
		line = strings.TrimRight(line, "\r\n")
		quotes := len(line) - len(strings.TrimLeft(line, ">"))
		body := strings.TrimPrefix(line[quotes:], " ")
		signature := body == "-- "
		if open && (quotes != depth || signature) {
			b.WriteByte('\n')
			open = false
		}
		if !open && quotes > 0 {
			b.WriteString(strings.Repeat(">", quotes))
			b.WriteByte(' ')
		}
		depth, open = quotes, strings.HasSuffix(body, " ") && !signature
		if open && deleteSpace {
			body = body[:len(body)-1]
		}
		b.WriteString(body)
		if !open {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// attachment converts a part as a document of its own.
func (m *message) attachment(p *enmime.Part, kind string) error {
	m.parts++
	name := headerText(p.FileName)
	if name == "" {
		name = fmt.Sprintf("part %d", m.parts)
		if kind == "message/rfc822" {
			name += ".eml"
		}
	}
	if len(p.Content) == 0 {
		return nil
	}
	whole := format.NameOf(m.in) + "/" + name
	out, err := m.in.Convert(m.ctx, format.Input{Name: whole, ContentType: kind, Data: p.Content, Limits: m.in.Limits})
	if err != nil {
		var refusal *fault.Error
		if errors.Is(err, format.ErrSpent) || !errors.As(err, &refusal) || !refusal.Class.Permanent() || m.ctx.Err() != nil {
			return err
		}
		m.refusals = append(m.refusals, refusal)
		m.out.Warnings = append(m.out.Warnings, fmt.Sprintf("%s: %s", refusal.Reason, refusal.Error()))
		return nil
	}
	m.out.Warnings = append(m.out.Warnings, out.Warnings...)
	m.attachments.WriteString(md.Heading(2, "Attachment: "+md.EscapeInline(name)))
	m.attachments.WriteString("\n\n")
	m.attachments.WriteString(strings.Trim(out.Markdown, "\n"))
	m.attachments.WriteString("\n\n")
	if int64(m.attachments.Len()) > m.limit {
		return format.TooLarge(format.NameOf(m.in), m.limit)
	}
	return nil
}
