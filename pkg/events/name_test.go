package events_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"sluice/pkg/events"
)

// TestNamesSurviveTheirHeaders draws names of any bytes: each has to be read as it
// was written, after the way through a NATS message, and be shown on one line.
func TestNamesSurviveTheirHeaders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(
			rapid.String(),
			rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
			rapid.Map(rapid.StringMatching(`[ a\t\r\n%'*"]{0,8}`), func(s string) string { return strings.Repeat(s, 300) }),
		).Draw(t, "name")
		h := nats.Header{"filename": {"another"}}
		events.SetName(h, name)
		if got := events.Name(h); got != name {
			t.Fatalf("%q became %q by %v", name, got, h)
		}
		for k, values := range h {
			for _, v := range values {
				if strings.ContainsAny(v, "\r\n") || strings.TrimSpace(v) != v {
					t.Fatalf("%q cannot be a header: %s: %q", name, k, v)
				}
			}
		}
		if shown := events.ShownName(name); len(shown) > events.MaxShownName || strings.ContainsAny(shown, "\r\n\t") {
			t.Fatalf("%q is shown as %q", name, shown)
		}
	})
}

func TestNamesThatOthersWrite(t *testing.T) {
	for value, want := range map[string]string{
		"UTF-8''%c2%a3%20rates":          "£ rates", // of RFC 8187
		"utf-8'en'%20lead.txt":           " lead.txt",
		"UTF-8''M%FCller.txt":            "M\xfcller.txt",
		"UTF-8''broken%2":                "plain.txt",
		"UTF-8''broken%zz":               "plain.txt",
		"iso-8859-1'en'%A3%20rates":      "plain.txt", // only UTF-8 is known
		"no quotes":                      "plain.txt",
		"UTF-8''":                        "plain.txt", // empty is none
		"UTF-8''it's ? not * escaped.md": "it's ? not * escaped.md",
	} {
		h := map[string][]string{"fileNAME": {"plain.txt"}, "FILENAME*": {value}}
		if got := events.Name(h); got != want {
			t.Errorf("%s: %q, want %q", value, got, want)
		}
	}
}

// A name that cannot be read is told from none, unless Filename gives another.
func TestNamesThatCannotBeRead(t *testing.T) {
	for _, tc := range []struct {
		h    map[string][]string
		lost string
	}{
		{nil, ""},
		{map[string][]string{"Filename*": {""}}, ""},
		{map[string][]string{"Filename*": {"UTF-8''a.txt"}}, ""},
		{map[string][]string{"filename*": {"UTF-8''broken%2"}}, "UTF-8''broken%2"},
		{map[string][]string{"Filename*": {"iso-8859-1''%FC.txt"}}, "iso-8859-1''%FC.txt"},
		{map[string][]string{"Filename*": {"iso-8859-1''%FC.txt"}, "filename": {"u.txt"}}, ""},
	} {
		if got := events.NameLost(tc.h); got != tc.lost {
			t.Errorf("%v: %q, want %q", tc.h, got, tc.lost)
		}
	}
}
