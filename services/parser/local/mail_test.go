package local_test

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"testing"

	"sluice/pkg/fault"
	"sluice/pkg/provider"
	"sluice/pkg/testcpu"
	"sluice/services/parser/internal/samples"
	"sluice/services/parser/local"
)

const mailHead = "From: Ann Lee <ann@example.org>\r\nTo: bo@example.org\r\nSubject: Pumps\r\nMIME-Version: 1.0\r\n"

// mixed makes a mail of parts, each with its headers.
func mixed(kind string, parts ...string) string {
	var b strings.Builder
	b.WriteString(mailHead + "Content-Type: multipart/" + kind + "; boundary=\"=_b\"\r\n\r\n")
	for _, p := range parts {
		b.WriteString("--=_b\r\n" + p + "\r\n")
	}
	b.WriteString("--=_b--\r\n")
	return b.String()
}

func attached(name, media string, data []byte) string {
	return "Content-Type: " + media + "; name=\"" + name + "\"\r\nContent-Disposition: attachment; filename=\"" + name +
		"\"\r\nContent-Transfer-Encoding: base64\r\n\r\n" + wrapped(data)
}

func wrapped(data []byte) string {
	s := base64.StdEncoding.EncodeToString(data)
	var b strings.Builder
	for len(s) > 76 {
		b.WriteString(s[:76] + "\r\n")
		s = s[76:]
	}
	return b.String() + s
}

const (
	oidData       = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"
	oidSigned     = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"
	oidEnveloped  = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03"
	oidCompressed = "\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x09"
)

// element is an element of ASN.1, with its length before it or, if open, without.
func element(open bool, tag byte, parts ...string) string {
	body := strings.Join(parts, "")
	if open && tag&0x20 != 0 {
		return string([]byte{tag, 0x80}) + body + "\x00\x00"
	}
	n := len(body)
	switch {
	case n < 0x80:
		return string([]byte{tag, byte(n)}) + body
	case n < 0x10000:
		return string([]byte{tag, 0x82, byte(n >> 8), byte(n)}) + body
	}
	return string([]byte{tag, 0x83, byte(n >> 16), byte(n >> 8), byte(n)}) + body
}

// signed is a message signed as a whole, its content in one piece or in several.
func signed(open bool, content string) []byte {
	octets := element(open, 0x04, content)
	if open {
		octets = element(open, 0x24, element(open, 0x04, content[:len(content)/2]), element(open, 0x04, content[len(content)/2:]))
	}
	return []byte(element(open, 0x30, oidSigned, element(open, 0xA0, element(open, 0x30,
		"\x02\x01\x01", element(open, 0x31), element(open, 0x30, oidData, element(open, 0xA0, octets)), element(open, 0x31)))))
}

func packedMessage(t *testing.T, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	if _, err := z.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return []byte(element(false, 0x30, oidCompressed, element(false, 0xA0, element(false, 0x30,
		"\x02\x01\x00", element(false, 0x30), element(false, 0x30, oidData, element(false, 0xA0, element(false, 0x04, b.String())))))))
}

var enveloped = []byte(element(false, 0x30, oidEnveloped, element(false, 0xA0, element(false, 0x30, "\x02\x01\x00", element(false, 0x31)))))

const invitation = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nMETHOD:REQUEST\r\nBEGIN:VTIMEZONE\r\nTZID:Europe/Berlin\r\nBEGIN:STANDARD\r\nDTSTART:19701025T030000\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n" +
	"BEGIN:VEVENT\r\nUID:7@example.org\r\nSUMMARY:Review\\, second part\r\nDTSTART;TZID=Europe/Berlin:20260310T093000\r\nDTEND;TZID=Europe/Berlin:20260310T110000\r\n" +
	"LOCATION:Hall 3\\; upper\r\n  floor\r\nORGANIZER;CN=\"Lee, Ann\":mailto:ann@example.org\r\nATTENDEE;CN=Bo;PARTSTAT=ACCEPTED:mailto:bo@example.org\r\n" +
	"RRULE:FREQ=WEEKLY;COUNT=3\r\nDESCRIPTION:Bring the pump\r\n s.\\nAnd the valves.\r\nBEGIN:VALARM\r\nTRIGGER:-PT15M\r\nDESCRIPTION:NOT THIS\r\nEND:VALARM\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"

func TestMail(t *testing.T) {
	p := newParser(t, nil)
	plainPart := "Content-Type: text/plain\r\n\r\nThe plain text."
	htmlPart := "Content-Type: text/html\r\n\r\n<p>The <b>rich</b> text.</p>"
	outer := samples.NewTNEF()
	outer.Attribute(1, 0x00069003, samples.Properties(samples.MAPI{ID: 0x0037, Kind: 0x1E, Data: "Outer\x00"}))
	outer.Attribute(2, 0x00069002, strings.Repeat("\x00", 14))
	outer.Attribute(2, 0x00069005, samples.Properties(
		samples.MAPI{ID: 0x3001, Kind: 0x1E, Data: "inner\x00"}, samples.MAPI{ID: 0x3701, Kind: 0x0D, Data: strings.Repeat("\x07", 16) + string(samples.TNEFSample())}))
	within := outer.Bytes()
	quotes := "It quotes:\r\n\r\nFrom b@example.org Mon Mar  2 10:00:00 2026\r\nTo: all\r\n\r\nend\r\n"
	odd := "Ünïcödé – größer"
	for _, c := range []struct {
		name, file, data string
		want             []string // in this order
		not              []string
		warn             []string // each a part of a warning; none beside them
	}{
		// The charset that the bytes have.
		{name: "UTF-8 as us-ascii", data: mailHead + "Content-Type: text/plain; charset=us-ascii\r\n\r\n" + odd, want: []string{odd}},
		{name: "UTF-8 as latin1", data: mailHead + "Content-Type: text/plain; charset=\"ISO-8859-1\"\r\n\r\n" + odd, want: []string{odd}},
		{name: "UTF-8 in HTML as windows-1252", data: mailHead + "Content-Type: text/html; charset=windows-1252\r\n\r\n<meta charset=iso-8859-1><p>" + odd, want: []string{odd}},
		{name: "UTF-8 in quoted-printable", data: mailHead + "Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=9Cn=C3=AFc=C3=B6d=C3=A9 =\r\n=E2=80=93 gr=C3=B6=C3=9Fer", want: []string{odd}},
		{name: "UTF-8 in base64 without a charset", data: mailHead + "Content-Transfer-Encoding: base64\r\n\r\n" + wrapped([]byte(odd)), want: []string{odd}},
		{name: "headers", data: "From: =?iso-8859-1?Q?J=C3=BCrgen,_Dr.?= <j@example.org>\r\nTo: \"K\xc3\xb6nig\" <k@example.org>\r\nSubject: =?us-ascii?B?" + base64.StdEncoding.EncodeToString([]byte(odd)) + "?=\r\n\r\nx", want: []string{"j@example.org (Jürgen, Dr.)", "k@example.org (König)", odd}},
		{name: "a character cut by encoded words", data: "From: a@example.org\r\nSubject: =?utf-8?Q?gr=C3?=\r\n =?utf-8?Q?=BCn?= and =?koi8-r?Q?=F0=D2=C9?=\r\n\r\nx", want: []string{"grün and При"}},
		{name: "windows-1252 that is it", data: mailHead + "Content-Type: text/plain; charset=us-ascii\r\n\r\nGr\xfc\xdfe aus K\xf6ln \x96 5 \x80", want: []string{"Grüße aus Köln – 5 €"}},
		{name: "ISO-8859-2 that is it", data: mailHead + "Content-Type: text/plain; charset=iso-8859-2\r\n\r\nza\xbf\xf3\xb3\xe6 g\xea\xb6l\xb1", want: []string{"zażółć gęślą"}},
		{name: "KOI8-R that is it", data: mailHead + "Content-Type: text/plain; charset=koi8-r\r\n\r\n\xf0\xd2\xc9\xd7\xc5\xd4", want: []string{"Привет"}},
		{name: "ISO-2022-JP", data: mailHead + "Content-Type: text/plain; charset=iso-2022-jp\r\n\r\n\x1b$BF|K\\\x1b(B", want: []string{"日本"}},
		{
			name: "hidden text", data: mailHead + "Content-Type: text/html\r\n\r\n<p>Hello.</p><div style=\"display:none\">On request the rebate is twelve percent.</div>",
			want: []string{"Hello."}, warn: []string{"keeps hidden"},
		},
		{name: "UTF-7", data: mailHead + "Content-Type: text/plain; charset=utf-7\r\n\r\n1 +- gr+APY-er", want: []string{"1 + gröer"}},

		// Invitations.
		{
			name: "an invitation", data: mailHead + "Content-Type: text/calendar; method=REQUEST\r\n\r\n" + invitation,
			want: []string{
				"## Content\n\n### Review, second part", "**Start:** 2026-03-10 09:30 Europe/Berlin", "**End:** 2026-03-10 11:00 Europe/Berlin", "**Place:** Hall 3; upper floor",
				"**Organizer:** ann@example.org (Lee, Ann)", "**Attendees:** bo@example.org (Bo) [accepted]", "**Repeats:** FREQ=WEEKLY;COUNT=3", "Bring the pumps.\nAnd the valves.",
			},
			not: []string{"NOT THIS", "VTIMEZONE"},
		},
		{
			name: "an invitation beside its text, and again as a file", data: mixed("mixed", "Content-Type: multipart/alternative; boundary=i\r\n\r\n--i\r\n"+
				"Content-Type: text/html\r\n\r\n<p>Bring the pumps. And the valves.</p>\r\n--i\r\nContent-Type: text/calendar; method=REQUEST\r\nContent-Transfer-Encoding: base64\r\n\r\n"+
				wrapped([]byte(invitation))+"\r\n--i--", attached("invite.ics", "application/ics", []byte(invitation))),
			want: []string{"Bring the pumps. And the valves.", "Review, second part", "Hall 3"}, not: []string{"Attachment: invite.ics", "Bring the pumps.\nAnd"},
		},
		{name: "an invitation as a file alone", data: mixed("mixed", plainPart, attached("i.ics", "text/calendar", []byte(invitation))), want: []string{"The plain text.", "Review, second part", "And the valves."}},
		{name: "a calendar", file: "team.ics", data: invitation, want: []string{"## Review, second part", "09:30 Europe/Berlin"}},
		{
			name: "whole days, and what is cancelled", file: "a.ics", data: "BEGIN:VCALENDAR\nMETHOD:CANCEL\nBEGIN:VEVENT\nSUMMARY:Fair\nDTSTART;VALUE=DATE:20260501\nDTEND;VALUE=DATE:20260504\nEND:VEVENT\nEND:VCALENDAR\n",
			want: []string{"**Start:** 2026-05-01", "**End:** 2026-05-03", "**Status:** cancelled"},
		},
		{name: "a calendar that was cut", file: "a.ics", data: invitation[:strings.Index(invitation, "BEGIN:VALARM")], want: []string{"Review"}, warn: []string{"cut", "cut"}},
		{
			name: "a contact", file: "a.vcf", data: "BEGIN:VCARD\nVERSION:3.0\nFN:Ann Lee\nORG:Pumps\\, Ltd.;Sales\nTEL;TYPE=WORK,VOICE:+49 30 1\nitem1.EMAIL:ann@example.org\nADR;TYPE=home:;;1 Main St;Town;;12345;\nPHOTO;ENCODING=b:AAAA\nNOTE:Likes\\ntea\nEND:VCARD\n",
			want: []string{"## Ann Lee", "**Organization:** Pumps, Ltd., Sales", "**Phone (work):** +49 30 1", "ann@example.org", "**Address (home):** 1 Main St, Town, 12345", "Likes\ntea"}, not: []string{"AAAA"},
		},

		// Parts.
		{
			name: "a file among alternatives", data: mixed("alternative", plainPart, htmlPart, attached("order.csv", "text/csv", []byte("name,n\nbolt,3\n"))),
			want: []string{"The **rich** text.", "## Attachment: order.csv", "| bolt | 3 |"}, not: []string{"The plain text."},
		},
		{
			name: "a file within the alternative that is not shown", data: mixed("alternative", "Content-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n"+plainPart+"\r\n--i\r\n"+attached("a.txt", "text/plain", []byte("In the file."))+"\r\n--i--", htmlPart),
			want: []string{"The **rich** text.", "In the file."}, not: []string{"The plain text."},
		},
		{
			name: "a forwarded message", data: mixed("mixed", plainPart, "Content-Type: message/rfc822\r\n\r\nFrom: cy@example.org\r\nSubject: The older\r\n\r\nOlder text."),
			want: []string{"The plain text.", "## Attachment: The older\n\n**From:** cy@example.org", "### Content\n\nOlder text."},
		},
		{
			name: "a digest", data: mixed("digest", "\r\nFrom: cy@example.org\r\nSubject: One\r\n\r\nFirst.", "\r\nFrom: di@example.org\r\nSubject: Two\r\n\r\nSecond."),
			want: []string{"## Attachment: One", "First.", "## Attachment: Two", "Second."},
		},
		{
			name: "a delivery report", data: mixed("report; report-type=delivery-status", "Content-Type: text/plain\r\n\r\nNot delivered.", "Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.org\r\n\r\nFinal-Recipient: rfc822; bo@example.org\r\nAction: failed\r\nStatus: 5.1.1"),
			want: []string{"Not delivered.", "Final-Recipient: rfc822; bo@example.org", "Status: 5.1.1"},
		},
		{name: "files written into the text", data: mailHead + "\r\nSee below.\r\n\r\nbegin 644 a.txt\r\n#0V%T\r\n`\r\nend\r\n", want: []string{"See below.", "## Attachment: a.txt", "Cat"}, not: []string{"begin 644"}},
		{name: "what looks like headings in plain text", data: mailHead + "\r\n# Not one\r\n\r\nNor\r\n---\r\n> quoted\r\n- item\r\n", want: []string{`\# Not one`, "Nor\n\\---", "> quoted", "- item"}},
		{name: "headings of the text", data: mailHead + "Content-Type: text/html\r\n\r\n<h1>Top</h1><p>a</p><h2>Sub</h2><p>b</p>", want: []string{"## Content\n\n### Top\n\na\n\n#### Sub\n\nb"}},
		{name: "names of files in other charsets", data: mixed("mixed", plainPart, "Content-Type: text/plain\r\nContent-Disposition: attachment; filename*0*=iso-8859-1'de'gr%FC; filename*1=\"n.txt\"\r\n\r\nGreen.", "Content-Type: text/plain; name=\"=?iso-8859-1?Q?wei=C3=9F.txt?=\"\r\n\r\nWhite."), want: []string{"## Attachment: grün.txt", "## Attachment: weiß.txt"}},

		// What is cut.
		{name: "cut within its parts", data: strings.TrimSuffix(mixed("mixed", plainPart, htmlPart), "--=_b--\r\n"), want: []string{"The plain text.", "The **rich** text."}, warn: []string{"ends within its parts"}},
		{name: "cut within base64", data: mailHead + "Content-Transfer-Encoding: base64\r\n\r\n" + wrapped([]byte("The whole text of it."))[:21], want: []string{"The whole text"}, warn: []string{"ends within its encoding"}},

		// Signed and encrypted.
		{name: "a detached signature", data: mixed("signed; protocol=\"application/pkcs7-signature\"", plainPart, attached("smime.p7s", "application/pkcs7-signature", signed(false, "x"))), want: []string{"The plain text."}},
		{name: "a PGP signature", data: mixed("signed; protocol=\"application/pgp-signature\"", plainPart, "Content-Type: application/pgp-signature; name=signature.asc\r\n\r\n-----BEGIN PGP SIGNATURE-----\r\nabc\r\n-----END PGP SIGNATURE-----"), want: []string{"The plain text."}, not: []string{"PGP"}},
		{name: "signed as a whole", data: mailHead + "Content-Type: application/pkcs7-mime; smime-type=signed-data; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n\r\n" + wrapped(signed(false, plainPart)), want: []string{"## Content\n\nThe plain text."}},
		{
			name: "signed as a whole, in pieces, with a file", data: mailHead + "Content-Type: application/x-pkcs7-mime; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
				wrapped(signed(true, "Content-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n"+plainPart+"\r\n--i\r\n"+attached("a.txt", "text/plain", []byte("In the file."))+"\r\n--i--\r\n")),
			want: []string{"The plain text.", "## Attachment: a.txt", "In the file."},
		},
		{name: "packed", data: mailHead + "Content-Type: application/pkcs7-mime; smime-type=compressed-data; name=smime.p7z\r\nContent-Transfer-Encoding: base64\r\n\r\n" + wrapped(packedMessage(t, plainPart)), want: []string{"The plain text."}},
		{name: "a signed file", file: "note.md.p7m", data: string(signed(false, "# Note\n\nIts text.")), want: []string{"# Note\n\nIts text."}},
		{name: "a signed file as text", file: "note.md.p7m", data: wrapped(signed(true, "# Note\n\nIts text.")), want: []string{"# Note\n\nIts text."}},
		{name: "a signed file in a mail", data: mixed("mixed", plainPart, attached("note.md.p7m", "application/octet-stream", signed(false, "# Note\n\nIts text."))), want: []string{"## Attachment: note.md\n\n### Note"}},
		{name: "signed by PGP within the text", data: mailHead + "\r\n-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n\r\nThe text.\r\n- - item\r\n-----BEGIN PGP SIGNATURE-----\r\n\r\nabc\r\n-----END PGP SIGNATURE-----\r\n", want: []string{"The text.\n- item"}, not: []string{"PGP", "SHA256", "abc"}},
		{name: "a part that is encrypted", data: mixed("mixed", plainPart, attached("smime.p7m", "application/pkcs7-mime", enveloped)), want: []string{"The plain text."}, warn: []string{"encrypted"}},

		// winmail.dat.
		{name: "winmail.dat", file: "winmail.dat", data: string(samples.TNEFSample()), want: []string{"**Subject:** Grüße from the board", "Bring the **figures**.", "## Attachment: figures of May.txt", "12 pumps"}},
		{
			name: "winmail.dat in a mail that says the same", data: mixed("mixed", "Content-Type: text/plain\r\n\r\nBring the figures.", attached("winmail.dat", "application/ms-tnef", samples.TNEFSample())),
			want: []string{"## Content\n\nBring the figures.\n\n## Attachment: figures of May.txt", "12 pumps"}, not: []string{"winmail.dat", "**figures**"},
		},
		{name: "a message within winmail.dat", file: "winmail.dat", data: string(within), want: []string{"**Subject:** Outer", "## Attachment: inner", "**Subject:** Grüße from the board", "### Content", "### Attachment: figures of May.txt", "12 pumps"}},
		{name: "a winmail.dat that was cut", file: "winmail.dat", data: string(samples.TNEFSample()[:len(samples.TNEFSample())-60]), want: []string{"Bring the **figures**."}, warn: []string{"TNEF"}},

		// Mailboxes.
		{
			name: "a mailbox", file: "a.mbox", data: "From ann@example.org Mon Mar  2 10:00:00 2026\nFrom: ann@example.org\nSubject: One\n\n>From here on.\n\nFrom now on nothing is split, 10:00 in 2026.\nAnd on.\n\n" +
				"From - Mon Mar 02 11:00:00 2026\nX-Mozilla-Status: 0001\nFrom: bo@example.org\nSubject: Two\nContent-Type: text/html\n\n<h1>Top</h1><p>Second.</p>\n",
			want: []string{"## Mail 1: One\n\n**From:** ann@example.org", "### Content\n\nFrom here on.\n\nFrom now on nothing is split, 10:00 in 2026.\nAnd on.", "## Mail 2: Two", "### Content\n\n#### Top\n\nSecond."},
		},
		{
			name: "a mailbox by its content, with lengths", file: "inbox", data: "From a@example.org Mon Mar  2 10:00:00 2026\r\nFrom: a@example.org\r\nSubject: One\r\nContent-Length: " + strconv.Itoa(len(quotes)) + "\r\n\r\n" + quotes + "\r\n" +
				"From b@example.org Mon Mar  2 11:00:00 2026\r\nFrom: b@example.org\r\nSubject: Two\r\n\r\nSecond.\r\n",
			want: []string{"## Mail 1: One", "It quotes:", "end", "## Mail 2: Two", "Second."}, not: []string{"Mail 3"},
		},
		{name: "a mail saved with the line of a mailbox", file: "a.eml", data: "From a@example.org Mon Mar  2 10:00:00 2026\n" + mailHead + "\nThe text.", want: []string{"# Email Message", "**Subject:** Pumps", "The text."}},
		{
			name: "a mailbox with a mail that cannot be read", file: "a.mbox", data: "From a@example.org Mon Mar  2 10:00:00 2026\nX-Nothing: 1\n\n\nFrom b@example.org Mon Mar  2 11:00:00 2026\nFrom: b@example.org\nSubject: Two\n\nSecond.\n\nFrom b@example.org Mon Mar  2 12:00:00 2026\nFrom: b@example.org\nSubject: Three\n\nThird.\n",
			want: []string{"## Mail 2: Two", "## Mail 3: Three"}, warn: []string{"Mail 1.eml"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.file == "" {
				c.file = "a.eml"
			}
			got, err := p.Parse(t.Context(), provider.Source{Name: c.file, Data: []byte(c.data)})
			if err != nil {
				t.Fatal(err)
			}
			rest := got.Markdown
			for _, w := range c.want {
				_, after, ok := strings.Cut(rest, w)
				if !ok {
					t.Errorf("no %q, or not in its place, in:\n%s", w, got.Markdown)
					break
				}
				rest = after
			}
			for _, n := range c.not {
				if strings.Contains(got.Markdown, n) {
					t.Errorf("%q is in:\n%s", n, got.Markdown)
				}
			}
			if len(got.Warnings) != len(c.warn) {
				t.Fatalf("Warnings = %q, want %d", got.Warnings, len(c.warn))
			}
			for i, w := range c.warn {
				if !strings.Contains(got.Warnings[i], w) {
					t.Errorf("warning %q does not say %q", got.Warnings[i], w)
				}
			}
		})
	}
}

func TestMailRefusals(t *testing.T) {
	p := newParser(t, nil)
	for _, c := range []struct{ name, file, data, reason, says string }{
		{"S/MIME", "a.eml", mailHead + "Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n\r\n" + wrapped(enveloped), "encrypted", "is encrypted"},
		{"PGP/MIME", "a.eml", mixed("encrypted; protocol=\"application/pgp-encrypted\"", "Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1", "Content-Type: application/octet-stream; name=encrypted.asc\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n\r\nabc\r\n-----END PGP MESSAGE-----"), "encrypted", "is encrypted"},
		{"PGP within the text", "a.eml", mailHead + "\r\n-----BEGIN PGP MESSAGE-----\r\n\r\nabc\r\n-----END PGP MESSAGE-----\r\n", "encrypted", "is encrypted"},
		{"an encrypted file", "a.pdf.p7m", string(enveloped), "encrypted", "is encrypted"},
		{"a signature alone", "a.p7s", element(false, 0x30, oidSigned, element(false, 0xA0, element(false, 0x30, "\x02\x01\x01", element(false, 0x31), element(false, 0x30, oidData), element(false, 0x31)))), "unsupported", "a signature or certificates"},
		{"a signed file that was cut", "a.txt.p7m", string(signed(false, strings.Repeat("long ", 100))[:200]), "corrupt", "PKCS #7"},
		{"a mailbox of nothing", "a.mbox", strings.Repeat("From a@example.org Mon Mar  2 10:00:00 2026\nX-Nothing: 1\n\n\n", 3), "empty", "none of the 3 files"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := p.Parse(t.Context(), provider.Source{Name: c.file, Data: []byte(c.data)})
			var f *fault.Error
			if !errors.As(err, &f) {
				t.Fatalf("Parse = %.100q, %v, want a fault", got.Markdown, err)
			}
			if f.Class != fault.Validation || f.Reason != c.reason || !strings.Contains(err.Error(), c.says) || f.Hint == "" {
				t.Errorf("Parse fails as %q: %v (%s), want %q saying %q", f.Reason, err, f.Hint, c.reason, c.says)
			}
		})
	}
}

// Files in a document keep their headings, their pages and what is known of them.
func TestMembers(t *testing.T) {
	p := newParser(t, nil)
	pages := []byte("First page.\n\fSecond page.\n")
	got, err := p.Parse(t.Context(), provider.Source{Name: "a.zip", Data: zipOf(t,
		member{"one.txt", pages}, member{"two.md", []byte("Two\n===\n\ntext\n\n## Sub\n\nmore\n\n~~~\nopen")}, member{"three.txt", pages})})
	if err != nil {
		t.Fatal(err)
	}
	want := "## File: one.txt\n\nFirst page.\n\nSecond page.\n\n## File: two.md\n\n### Two\n\ntext\n\n#### Sub\n\nmore\n\n~~~\nopen\n~~~\n\n## File: three.txt\n\nFirst page.\n\nSecond page.\n"
	if got.Markdown != want {
		t.Errorf("Markdown = %q, want %q", got.Markdown, want)
	}
	at := []string{"## File: one.txt", "Second page.\n\n## File: two.md", "## File: two.md", "## File: three.txt", "Second page.\n"}
	numbers := []int{1, 2, 0, 1, 2}
	if len(got.Pages) != len(at) {
		t.Fatalf("Pages = %+v, want %d", got.Pages, len(at))
	}
	for i, m := range got.Pages {
		if m.Page != numbers[i] || !strings.HasPrefix(got.Markdown[m.Offset:], at[i]) {
			t.Errorf("mark %d: page %d at %.20q, want %d at %.20q", i, m.Page, got.Markdown[m.Offset:], numbers[i], at[i])
		}
	}
	if got.Facts.Pages != 4 {
		t.Errorf("%d pages, want 4", got.Facts.Pages)
	}
	got, err = p.Parse(t.Context(), provider.Source{Name: "a.zip", Data: zipOf(t, member{"a.md", []byte("---\ntitle: The one\nauthor: Ann\n---\n# The one\n\ntext")})})
	if err != nil || got.Facts.Title != "The one" || got.Facts.Author != "Ann" || !strings.Contains(got.Markdown, "### The one") || !strings.Contains(got.Markdown, "```yaml\ntitle: The one") {
		t.Errorf("Parse = %+v, %v", got, err)
	}
}

// A file that needs more memory than there is costs itself, not the archive.
func TestMemberThatIsTooLarge(t *testing.T) {
	if testcpu.Plain(t) {
		return
	}
	p := newParser(t, func(c *local.Config) { c.IsolateMemory = 160 << 20 })
	data := zipOf(t, member{"first.md", []byte("# First\n\nwords")},
		member{"inner.zip", zipOf(t, member{"large.html", bytes.Repeat([]byte("<p>a <b>b</b> <i>c</i></p>"), 400_000)}, member{"small.txt", []byte("little")})},
		member{"last.md", []byte("# Last\n\nwords")})
	got, err := p.Parse(t.Context(), provider.Source{Name: "a.zip", Data: data})
	if err != nil {
		t.Fatal(err)
	}
	if want := "## File: first.md\n\n### First\n\nwords\n\n## File: inner.zip\n\n### File: small.txt\n\nlittle\n\n## File: last.md\n\n### Last\n\nwords\n"; got.Markdown != want {
		t.Errorf("Markdown = %q, want %q", got.Markdown, want)
	}
	if w := strings.Join(got.Warnings, "\n"); !strings.HasPrefix(w, "too-large: a.zip/inner.zip/large.html: needs more than") || len(got.Warnings) != 1 {
		t.Errorf("warned %q", w)
	}
}

// However deep files lie in files, a heading with a name stands above its text.
func TestMembersOfMembers(t *testing.T) {
	p := newParser(t, func(c *local.Config) { c.MaxDepth = 9 })
	data := zipOf(t, member{"a.md", []byte("# A\n\n## B\n\ntext")})
	for _, name := range []string{"b.zip", "c.zip", "d.zip"} {
		data = zipOf(t, member{name, data})
	}
	got, err := p.Parse(t.Context(), provider.Source{Name: "e.zip", Data: data})
	want := "## File: d.zip\n\n### File: c.zip\n\n#### File: b.zip\n\n##### File: a.md\n\n###### A\n\n**B**\n\ntext\n"
	if err != nil || got.Markdown != want {
		t.Errorf("Markdown = %q, %v, want %q", got.Markdown, err, want)
	}
}

// Mails of Outlook have the layout of others.
func TestOutlookHasTheLayoutOfMail(t *testing.T) {
	p := newParser(t, nil)
	got, err := p.Parse(t.Context(), provider.Source{Name: "a.msg", Data: samples.MsgSample()})
	if err != nil {
		t.Fatal(err)
	}
	want := "# Email Message\n\n**From:** hal@example.org (Hal)  \n**To:** ivy@example.org (Ivy)  \n**Date:** Mon, 30 Dec 2024 02:40:00 +0000  \n**Subject:** Grüße & more\n\n## Content\n\nThe **body** of it, [linked](https://example.org/).\n\n## Attachment: plan_v2.txt\n\nwhat we do\n"
	if got.Markdown != want {
		t.Errorf("Markdown = %q, want %q", got.Markdown, want)
	}
	mail := "From: Hal <hal@example.org>\nTo: Ivy <ivy@example.org>\nDate: Mon, 30 Dec 2024 02:40:00 +0000\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe_&_more?=\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n\n" +
		"<p>The <b>body</b> of it, <a href='https://example.org/'>linked</a>.</p>\n--b\nContent-Type: text/plain; name=plan_v2.txt\n\nwhat we do\n--b--\n"
	if got, err = p.Parse(t.Context(), provider.Source{Name: "a.eml", Data: []byte(mail)}); err != nil || got.Markdown != want {
		t.Errorf("Markdown = %q, %v, want %q", got.Markdown, err, want)
	}
}
