package mail

import (
	"context"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"sluice/pkg/fault"
	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/samples"
)

var fuzzLimits = format.Limits{Output: 4 << 20, Expanded: 4 << 20, Files: 50}

// fuzzed feeds a reader and checks that it ends as it may.
func fuzzed(t *testing.T, read format.Reader, data []byte) {
	t.Helper()
	text := func(_ context.Context, in format.Input) (*format.Output, error) {
		return &format.Output{Markdown: "# " + strings.ToValidUTF8(string(in.Data), "\uFFFD")}, nil
	}
	out, err := read(t.Context(), format.Input{Name: "a", Data: data, Limits: fuzzLimits, Convert: text})
	var f *fault.Error
	switch {
	case err == nil:
		if !utf8.ValidString(out.Markdown) {
			t.Fatalf("not UTF-8: %q", out.Markdown)
		}
	case !errors.As(err, &f) || f.Class != fault.Validation || f.Reason == "":
		t.Fatalf("%v is no refusal", err)
	}
}

func FuzzTNEF(f *testing.F) {
	f.Add(samples.TNEFSample())
	f.Fuzz(func(t *testing.T, data []byte) { fuzzed(t, TNEF, data) })
}

func FuzzPKCS7(f *testing.F) {
	f.Add([]byte("\x30\x80\x06\x09" + oidSigned + "\xa0\x80\x30\x80\x02\x01\x01\x31\x00\x30\x80\x06\x09" + oidData + "\xa0\x80\x24\x80\x04\x02ab\x00\x00\x00\x00\x00\x00\x31\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("-----BEGIN PKCS7-----\nMIAGCSqGSIb3DQEHAqCAMIACAQExADCABgkqhkiG9w0BBwE=\n-----END PKCS7-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) { fuzzed(t, PKCS7, data) })
}

func FuzzMbox(f *testing.F) {
	f.Add([]byte("From a@b Mon Mar  2 10:00:00 2026\nSubject: x\nContent-Length: 3\n\nab\n\nFrom a@b Mon Mar  2 10:00:00 2026\nSubject: y\n\n>From c\n"))
	f.Fuzz(func(t *testing.T, data []byte) { fuzzed(t, Mbox, data) })
}

func FuzzCalendar(f *testing.F) {
	f.Add([]byte("BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY;X=\"a:b\":c\\, d\n e\nDTSTART;TZID=Z:20260101T000000\nDURATION:P1DT2H\nATTENDEE;CN=a:mailto:b\nDESCRIPTION;ENCODING=QUOTED-PRINTABLE:=C3=\n=A4\nEND:VEVENT\n"))
	f.Fuzz(func(t *testing.T, data []byte) { fuzzed(t, Calendar, data) })
}

func FuzzContacts(f *testing.F) {
	f.Add([]byte("BEGIN:VCARD\nN:a;b;c;d;e\nTEL;WORK:1\nADR;TYPE=home:;;a\\;b;c\nNOTE:x\\n# y\nEND:VCARD\n"))
	f.Fuzz(func(t *testing.T, data []byte) { fuzzed(t, Contacts, data) })
}

func FuzzParts(f *testing.F) {
	for _, s := range []string{
		"Content-Type: multipart/alternative; boundary=b\n\n--b\n\nx\n--b\nContent-Type: text/calendar\n\nBEGIN:VCALENDAR\nBEGIN:VEVENT\n--b--\n",
		"Subject: =?utf-8?Q?=C3?= =?utf-8?q?=A4?=\nContent-Type: text/plain; charset=utf-7; format=flowed\n\n+AOQ- \nbegin 644 x\n#0V%T\n`\nend\n",
		"From: \"a, b\" <c@d>, =?x?b?YQ==?= <e>\nContent-Type: application/x; name*0*=utf-8''a%20; name*1=b\nContent-Transfer-Encoding: base64\n\nYWJj=\n",
		"Content-Type: text/plain\n\n-----BEGIN PGP SIGNED MESSAGE-----\n\n- -x\n-----BEGIN PGP SIGNATURE-----\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) { fuzzed(t, EML, data) })
}

// Damage anywhere ends as a refusal or as a document.
func TestDamage(t *testing.T) {
	event := "BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:a\\, b\nDTSTART;TZID=\"X\":20260101T000000\nDESCRIPTION:c\n d\nEND:VEVENT\nEND:VCALENDAR\n"
	letter := "From: \"a, b\" <c@d>\nSubject: =?utf-8?Q?=C3?= =?utf-8?q?=A4?=\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/calendar\n\n" + event +
		"--b\nContent-Type: message/rfc822\n\nSubject: x\n\ny\n--b\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename*0*=utf-8''a%20; filename*1=b\n\nYWJj\n--b--\n"
	for name, s := range map[string]struct {
		read format.Reader
		data string
	}{
		"mail":     {EML, letter},
		"mailbox":  {Mbox, "From a@b Mon Mar  2 10:00:00 2026\n" + letter + "\nFrom a@b Mon Mar  2 10:00:00 2026\n" + letter},
		"calendar": {Calendar, event},
		"signed": {PKCS7, "\x30\x80\x06\x09" + oidSigned + "\xa0\x80\x30\x80\x02\x01\x01\x31\x00\x30\x80\x06\x09" + oidData +
			"\xa0\x80\x24\x80\x04\x02ab\x04\x02cd\x00\x00\x00\x00\x00\x00\x31\x00\x00\x00\x00\x00\x00\x00"},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range s.data {
				fuzzed(t, s.read, []byte(s.data[:i]))
				flipped := []byte(s.data)
				flipped[i] ^= 0xFF
				fuzzed(t, s.read, flipped)
			}
		})
	}
}
