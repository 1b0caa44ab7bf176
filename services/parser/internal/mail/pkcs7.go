package mail

import (
	"bytes"
	"compress/zlib"
	"context"
	"errors"
	"io"
	"strings"

	"sluice/pkg/fault"
	"sluice/services/parser/internal/format"
)

// The kinds of content of cryptographic messages (RFC 5652, 5083, 3274).
const (
	oidData       = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"
	oidSigned     = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"
	oidEnveloped  = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03"
	oidEncrypted  = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06"
	oidCompressed = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x09"
	oidAuthEnv    = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x17"
)

// What keeps the content of a cryptographic message from being read.
var (
	errEncrypted = errors.New("it is encrypted")
	errDetached  = errors.New("it is a signature or certificates, without what is signed")
	errNotASN1   = errors.New("it is no cryptographic message")
)

// PKCS7 reads a file that was signed as a whole, as "contract.pdf.p7m": what is
// signed. The signature is not checked.
func PKCS7(ctx context.Context, in format.Input) (*format.Output, error) {
	name := format.NameOf(in)
	content, err := signedContent(in.Data, in.Limits.Expanded)
	if err != nil {
		return nil, pkcs7Fault(err, name)
	}
	base := name
	for _, ext := range [...]string{".p7m", ".p7s"} {
		if n := len(base) - len(ext); n > 0 && strings.EqualFold(base[n:], ext) {
			base = base[:n]
		}
	}
	if in.Convert == nil {
		return nil, fault.Invalid("unsupported", "%s is a file within a document, which is not read here", name).
			WithHint("submit it by itself")
	}
	member := format.Input{Name: base, Data: content, Limits: in.Limits}
	if isEntity(content) {
		member.ContentType = "message/rfc822"
		member.Name = base + ".eml"
	}
	return in.Convert(ctx, member)
}

func pkcs7Fault(err error, name string) error {
	var f *fault.Error
	switch {
	case errors.As(err, &f):
		return err
	case errors.Is(err, errEncrypted):
		return fault.Invalid("encrypted", "%s is encrypted (S/MIME, PKCS #7)", name).
			WithHint("save it decrypted in the program that can read it, and submit that")
	case errors.Is(err, errDetached):
		return fault.Invalid("unsupported", "%s is a signature or certificates (PKCS #7), without the signed text", name).
			WithHint("submit the document that it belongs to")
	}
	return format.Corrupt(err, name, "its signed content (S/MIME, PKCS #7) cannot be read")
}

// pkcs7 reads a part of a mail that holds a cryptographic message: the mail that
// was signed as a whole, or a signed file.
func (l *letter) pkcs7(name string, data []byte) error {
	content, err := signedContent(data, l.in.Limits.Expanded)
	switch {
	case errors.Is(err, errEncrypted):
		if name == "" || strings.HasPrefix(strings.ToLower(name), "smime.") {
			name = "its content"
		}
		l.lock(name)
		return nil
	case errors.Is(err, errDetached):
		return nil
	case errors.Is(err, errNotASN1) && isEntity(data): // what Outlook keeps of a clear-signed mail
		return l.inner(data)
	case err != nil:
		return l.files.Refuse(l.ctx, pkcs7Fault(err, format.NameOf(l.in)+"/"+name))
	case isEntity(content):
		return l.inner(content)
	}
	if base := len(name) - len(".p7m"); base > 0 && strings.EqualFold(name[base:], ".p7m") {
		name = name[:base]
	}
	return l.attach(name, "", content)
}

// isSignature reports whether a part is a signature of the others.
func isSignature(kind, name string) bool {
	switch kind {
	case "application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature":
		return !strings.HasSuffix(name, ".p7m")
	}
	return name == "smime.p7s" || name == "signature.asc" || strings.HasSuffix(name, ".p7s")
}

// isSigned reports whether a part is a cryptographic message.
func isSigned(kind, name string, data []byte) bool {
	switch kind {
	case "application/pkcs7-mime", "application/x-pkcs7-mime":
		return true
	}
	return IsPKCS7(data) && !isSignature(kind, name)
}

// isEntity reports whether data begins with headers that a MIME entity has.
func isEntity(data []byte) bool {
	for line := range bytes.Lines(bytes.TrimLeft(data[:min(len(data), 4096)], "\r\n")) {
		key, _, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(key) == 0 || len(key) > 60 || bytes.ContainsAny(key, " \t<{") {
			return false
		}
		if strings.HasPrefix(strings.ToLower(string(key)), "content-") {
			return true
		}
		if line[0] == ' ' || line[0] == '\t' {
			continue
		}
		switch strings.ToLower(string(key)) {
		case "mime-version", "from", "to", "subject", "date", "message-id", "received", "return-path":
		default:
			return false
		}
	}
	return false
}

// IsPKCS7 reports whether data is a cryptographic message.
func IsPKCS7(data []byte) bool {
	if len(data) < 16 || data[0] != 0x30 {
		return false
	}
	head := data[:min(len(data), 32)]
	for _, oid := range [...]string{oidSigned, oidEnveloped, oidEncrypted, oidCompressed, oidAuthEnv} {
		if bytes.Contains(head, append([]byte{6, byte(len(oid))}, oid...)) {
			return true
		}
	}
	return false
}

// signedContent returns what is signed, packed or both in a cryptographic message.
func signedContent(data []byte, limit int64) ([]byte, error) {
	if limit <= 0 {
		limit = 200 << 20
	}
	if !IsPKCS7(data) { // the same as text, with or without lines around it
		text := data
		if _, rest, ok := bytes.Cut(text, []byte("-----BEGIN ")); ok {
			_, rest, _ = bytes.Cut(rest, []byte("\n"))
			text, _, _ = bytes.Cut(rest, []byte("-----END "))
		}
		decoded, _ := fromBase64(text)
		if !IsPKCS7(decoded) {
			return nil, errNotASN1
		}
		data = decoded
	}
	for range maxWithin {
		content, err := contentOf(data, limit)
		if err != nil {
			return nil, err
		}
		if !IsPKCS7(content) {
			return content, nil
		}
		data = content
	}
	return nil, errNotASN1
}

// contentOf unwraps one layer.
func contentOf(data []byte, limit int64) ([]byte, error) {
	info, _, err := readBER(data, 0)
	if err != nil {
		return nil, err
	}
	kids, err := info.children()
	if err != nil || len(kids) < 2 {
		return nil, errors.Join(errNotASN1, err)
	}
	switch string(kids[0].body) {
	case oidEnveloped, oidEncrypted, oidAuthEnv:
		return nil, errEncrypted
	case oidSigned, oidCompressed:
	default:
		return nil, errNotASN1
	}
	packed := string(kids[0].body) == oidCompressed
	// [0] { SignedData { version, digestAlgorithms, encapContentInfo { type, [0] content } } }
	if kids, err = kids[1].children(); err != nil || len(kids) < 1 {
		return nil, errors.Join(errNotASN1, err)
	}
	if kids, err = kids[0].children(); err != nil || len(kids) < 3 {
		return nil, errors.Join(errNotASN1, err)
	}
	if kids, err = kids[2].children(); err != nil || len(kids) < 1 {
		return nil, errors.Join(errNotASN1, err)
	}
	if len(kids) < 2 {
		return nil, errDetached
	}
	if kids, err = kids[1].children(); err != nil || len(kids) < 1 {
		return nil, errors.Join(errNotASN1, err)
	}
	content, err := kids[0].octets(0)
	if err != nil || !packed {
		return content, err
	}
	r, err := zlib.NewReader(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(r, limit+1))
	if int64(len(out)) > limit {
		return nil, fault.Wrap(format.ErrSpent, fault.Validation, "too-large", "a packed message has more than %d MiB", limit>>20).
			WithHint("submit its files one by one, or raise --parser-max-expanded")
	}
	return out, err
}

// ber is an element of the basic encoding rules (X.690). Messages are written with
// lengths that are not known beforehand, which the decoder of Go does not read.
type ber struct {
	tag         byte
	constructed bool
	open        bool // of indefinite length
	body        []byte
}

// readBER reads the element that data begins with, and returns the bytes it takes.
// A body that is cut is returned as far as it goes.
func readBER(data []byte, depth int) (ber, int, error) {
	const deepest = 64
	if len(data) < 2 || depth > deepest || data[0]&31 == 31 {
		return ber{}, 0, errNotASN1
	}
	e := ber{tag: data[0], constructed: data[0]&0x20 != 0}
	length, at := int(data[1]), 2
	switch {
	case length == 0x80:
		if !e.constructed {
			return ber{}, 0, errNotASN1
		}
		e.open = true
		// Up to the end-of-contents octets of this level.
		for {
			if len(data)-at >= 2 && data[at] == 0 && data[at+1] == 0 {
				e.body = data[2:at]
				return e, at + 2, nil
			}
			if at >= len(data) {
				return ber{}, 0, errors.New("it is cut")
			}
			_, n, err := readBER(data[at:], depth+1)
			if err != nil {
				return ber{}, 0, err
			}
			at += n
		}
	case length > 0x80:
		n := length & 0x7f
		if n > 4 || len(data) < 2+n {
			return ber{}, 0, errNotASN1
		}
		length = 0
		for _, c := range data[2 : 2+n] {
			length = length<<8 | int(c)
		}
		at += n
	}
	if length > len(data)-at {
		return ber{}, 0, errors.New("it is cut")
	}
	e.body = data[at : at+length]
	return e, at + length, nil
}

// children returns the first elements of one that is made of others: as many as a
// message has before what it holds.
func (e ber) children() ([]ber, error) {
	const most = 8
	var all []ber
	err := e.each(func(c ber) error {
		if len(all) < most {
			all = append(all, c)
		}
		return nil
	})
	if len(all) >= 3 { // what is damaged stands behind the content
		err = nil
	}
	return all, err
}

func (e ber) each(do func(ber) error) error {
	if !e.constructed {
		return errNotASN1
	}
	for data := e.body; len(data) > 0; {
		c, n, err := readBER(data, 0)
		if err == nil {
			err = do(c)
		}
		if err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// octets returns the bytes of an octet string, which may be in pieces.
func (e ber) octets(depth int) (out []byte, err error) {
	const deepest = 16
	if !e.constructed {
		return e.body, nil
	}
	if depth > deepest {
		return nil, errNotASN1
	}
	err = e.each(func(p ber) error {
		b, err := p.octets(depth + 1)
		out = append(out, b...)
		return err
	})
	return out, err
}
