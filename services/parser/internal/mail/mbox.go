package mail

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strconv"

	"sluice/pkg/fault"
	"sluice/services/parser/internal/format"
)

// Mbox reads a mailbox: each mail as a mail of its own.
//
// A mail ends where a line "From address date" follows that headers come after; or
// where its Content-Length says, if such a line is there (mboxcl). Lines of its text
// that begin so have a ">" before them, which is removed (mboxo, mboxrd).
func Mbox(ctx context.Context, in format.Input) (*format.Output, error) {
	data, err := narrow(in)
	if err != nil {
		return nil, err
	}
	data = bytes.TrimLeft(data, "\r\n \t")
	most := in.Limits.Files
	if most <= 0 {
		most = 10_000
	}
	mails := splitMbox(data, most)
	switch {
	case len(mails) == 0:
		return EML(ctx, in) // a mail with the name of a mailbox
	case len(mails) > most:
		return nil, fault.Wrap(format.ErrSpent, fault.Validation, "too-large", "the mailbox %s holds more than %d mails", format.NameOf(in), most).
			WithHint("split the mailbox, or raise the parser's limit on files")
	case len(mails) == 1:
		in.Data = unquoteFrom(mails[0])
		return EML(ctx, in)
	}
	files := format.NewMembers(in)
	for i, mail := range mails {
		if ctx.Err() != nil {
			return nil, format.Ended(ctx, format.NameOf(in))
		}
		title := fmt.Sprintf("Mail %d", i+1)
		out, err := files.Convert(ctx, format.Input{
			Name: fmt.Sprintf("%s/%s.eml", format.NameOf(in), title), ContentType: "message/rfc822", Data: unquoteFrom(mail), Charset: in.Charset,
		})
		if err != nil {
			err = files.Refuse(ctx, err)
		} else {
			if out.Facts.Title != "" {
				title += ": " + out.Facts.Title
			}
			err = files.Add(2, title, headless(out))
		}
		if err != nil {
			return nil, err
		}
	}
	if err := files.Refused(); err != nil {
		return nil, err
	}
	return files.Output(""), nil
}

var (
	fromLine   = regexp.MustCompile(`^From .{0,300}\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b.{0,12}\d{1,2}:\d\d`)
	fromYear   = regexp.MustCompile(`\b(?:19|20)\d\d\b`)
	headerLine = regexp.MustCompile(`^[!-9;-~]{1,100}[ \t]*:`)
)

// isFromLine reports whether data begins with the line that begins a mail in a
// mailbox, and the headers of one.
func isFromLine(data []byte) bool {
	if !bytes.HasPrefix(data, []byte("From ")) {
		return false
	}
	line, rest, ok := bytes.Cut(data[:min(len(data), 2048)], []byte("\n"))
	return ok && fromLine.Match(line) && fromYear.Match(line) && (headerLine.Match(rest) || bytes.HasPrefix(rest, []byte(">From ")))
}

// IsMbox reports whether a text begins as a mailbox does.
func IsMbox(head string) bool { return isFromLine([]byte(head[:min(len(head), 2048)])) }

// splitMbox returns the mails of a mailbox without the lines between them, and at
// most one more than most.
func splitMbox(data []byte, most int) (mails [][]byte) {
	for isFromLine(data) && len(mails) <= most {
		_, data, _ = bytes.Cut(data, []byte("\n"))
		end := contentLength(data)
		if end < 0 {
			end = nextFrom(data)
		}
		mails = append(mails, data[:end])
		data = bytes.TrimLeft(data[end:], "\r\n")
	}
	return mails
}

// contentLength returns where a mail ends by its Content-Length, or -1 if it does
// not say so, or nothing ends there.
func contentLength(data []byte) int {
	const longest = 64 << 10
	head := data[:min(len(data), longest)]
	n, err := strconv.Atoi(headerOf(head, "content-length"))
	if err != nil || n < 0 {
		return -1
	}
	at := bytes.Index(head, []byte("\n\n")) + 2
	if crlf := bytes.Index(head, []byte("\r\n\r\n")); crlf >= 0 && (at < 2 || crlf+4 < at) {
		at = crlf + 4
	}
	if at < 2 || n > len(data)-at {
		return -1
	}
	if rest := bytes.TrimLeft(data[at+n:], "\r\n"); len(rest) > 0 && !isFromLine(rest) {
		return -1
	}
	return at + n
}

// nextFrom returns where the next mail begins.
func nextFrom(data []byte) int {
	for at := 0; at < len(data); {
		if isFromLine(data[at:]) {
			return at
		}
		i := bytes.IndexByte(data[at:], '\n')
		if i < 0 {
			break
		}
		at += i + 1
	}
	return len(data)
}

var quotedFrom = regexp.MustCompile(`(?m)^>(>*From )`)

func unquoteFrom(mail []byte) []byte {
	if !bytes.Contains(mail, []byte(">From ")) {
		return mail
	}
	return quotedFrom.ReplaceAll(mail, []byte("$1"))
}
