package data

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"

	"pgregory.net/rapid"

	"sluice/services/parser/internal/format"
)

func TestJSONEscapes(t *testing.T) {
	for in, want := range map[string]string{
		`{"a": "n\u00e4chste \ud83d\ude00 \/x\/"}`: "{\n  \"a\": \"nächste 😀 /x/\"\n}",
		`["Sehr\ngeehrte\r\nFrau\tX"]`:             "[\n  \"Sehr\ngeehrte\nFrau X\"\n]",
		`["\u0022 \u005c \u0000 \ud83d \udc00x"]`:  "[\n  \"\\u0022 \\u005c \\u0000 \\ud83d \\udc00x\"\n]",
		`["c:\\new \"q\""]`:                        "[\n  \"c:\\\\new \\\"q\\\"\"\n]",
		"{\"a\": \"\\u4e2d\"}\n{\"b\": \"x\\ny\"}": "{\"a\": \"中\"}\n{\"b\": \"x y\"}",
		`{"a": "\u00e9", }`:                        `{"a": "é", }`,
		`["\u12`:                                   `["\u12`,
	} {
		out, err := JSON(t.Context(), format.Input{Name: "a.json", Data: []byte(in)})
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(out.Markdown, "\n")
		if got := strings.Join(lines[1:len(lines)-1], "\n"); got != want {
			t.Errorf("%s gives %s, want %s", in, got, want)
		}
	}
}

// Whatever a program writes into a string comes out as its reader sees it.
func TestJSONStrings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[a-zäßé中😀 /']{0,20}`).Draw(t, "s")
		var b strings.Builder // as programs write it that keep to ASCII
		for _, u := range utf16.Encode([]rune(s)) {
			fmt.Fprintf(&b, `\u%04x`, u)
		}
		if got := readable(`["`+b.String()+`"]`, "\n"); got != `["`+s+`"]` {
			t.Fatalf("%s gives %s", b.String(), got)
		}
	})
}
