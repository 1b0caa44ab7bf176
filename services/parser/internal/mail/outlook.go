package mail

import (
	"errors"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sluice/services/parser/internal/charset"
	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/office"
	"sluice/services/parser/internal/rtf"
	"sluice/services/parser/internal/web"
)

// outlook is what a message of Outlook says, from whatever it was read.
type outlook struct {
	job     *office.Job
	page    int // its code page
	class   string
	subject string
	from    string
	to      [3]string // To, Cc, Bcc
	sent    time.Time
	// value returns a property, an empty one if there is none.
	value func(name mapiName) (mapiValue, error)

	// The forms of its text, read where they are needed; nil for none.
	html  func() ([]byte, error)
	plain func() (string, error)
	rich  func() ([]byte, error) // packed (MS-OXRTFCP)
}

// outlook writes the head and the text of a message.
func (l *letter) outlook(o *outlook) error {
	date := ""
	if !o.sent.IsZero() {
		date = o.sent.Format(time.RFC1123Z)
		l.facts.Created = o.sent.Format(time.RFC3339)
	}
	for _, f := range [...]struct{ label, value string }{
		{"From", o.from}, {"To", o.to[0]}, {"Cc", o.to[1]}, {"Bcc", o.to[2]}, {"Date", date}, {"Subject", o.subject},
	} {
		l.field(f.label, f.value)
	}
	if err := l.itemHead(o); err != nil {
		return err
	}
	s, err := l.outlookText(o)
	if err != nil {
		return err
	}
	return l.text(s)
}

// outlookText returns the text of a message: its HTML, else what stands plain, else
// its rich text.
func (l *letter) outlookText(o *outlook) (string, error) {
	if o.html != nil {
		page, err := o.html()
		if err != nil {
			return "", err
		}
		s, err := web.ToMarkdown(l.ctx, []byte(pageText(page, o.page, web.DeclaredInHTML(page))), web.Options{Name: format.NameOf(l.in), Limit: l.limit, Charset: "utf-8", Warn: l.warn})
		if err != nil {
			err = o.job.Optional(o.job.Corrupt(err, "the HTML body"), "the HTML body")
			if err != nil {
				return "", err
			}
		}
		if strings.TrimSpace(s) != "" {
			return s, nil
		}
	}
	if o.plain != nil {
		s, err := o.plain()
		if err != nil {
			return "", err
		}
		if strings.TrimSpace(s) != "" {
			return l.plainText(s), nil
		}
	}
	if o.rich == nil {
		return "", nil
	}
	packed, err := o.rich()
	if err != nil || len(packed) == 0 {
		return "", err
	}
	var doc office.Document
	rich, err := unpackRTF(o.job, packed)
	if err == nil {
		err = rtf.Into(o.job, rich, &doc)
	}
	return doc.String(), o.job.Optional(err, "the body of the message")
}

// fromFiletime returns a time in 100 ns since 1601, or the zero time if it is none.
func fromFiletime(v uint64) time.Time {
	t, err := time.Parse(time.RFC3339, office.FromFiletime(v))
	if err != nil {
		return time.Time{} // unset
	}
	return t.UTC()
}

// pageText decodes bytes in a code page, if they are not UTF-8 and nothing else is
// declared.
func pageText(data []byte, page int, declared string) string {
	if declared != "" || page == 65001 || page == 0 || utf8.Valid(data) || charset.IsWide(data) {
		return decodeText(data, declared)
	}
	return office.Decode(office.CodePage(page), data)
}

// letters returns the letters and digits of a text, to see whether another says the
// same.
func letters(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return -1
	}, s)
}

// rtfDictionary is what the window of compressed RTF starts with (MS-OXRTFCP
// 2.1.2.1).
const rtfDictionary = `{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript \fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\colortbl\red0\green0\blue0` +
	"\r\n" + `\par \pard\plain\f0\fs20\b\i\u\tab\tx`

// unpackRTF decompresses the rich text of a message (MS-OXRTFCP).
func unpackRTF(j *office.Job, d []byte) ([]byte, error) {
	const compressed, plain = 0x75465A4C, 0x414C454D
	const window = 4096
	if len(d) < 16 {
		return nil, j.Corrupt(errors.New("too short"), "the rich text")
	}
	kind := office.Le.Uint32(d[8:])
	d = d[16:]
	switch kind {
	case plain:
		return d, nil
	case compressed:
	default:
		return nil, j.Corrupt(errors.New("unknown compression"), "the rich text")
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
				return out, j.Unpack(len(out))
			}
			for i := range n {
				put(dict[(from+i)%window])
			}
		}
	}
	return out, j.Unpack(len(out))
}
