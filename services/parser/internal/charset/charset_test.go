package charset_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"go.uber.org/goleak"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"

	"sluice/pkg/fault"
	"sluice/services/parser/internal/charset"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func encode(t *testing.T, enc encoding.Encoding, s string) []byte {
	t.Helper()
	b, err := enc.NewEncoder().Bytes([]byte(s))
	if err != nil {
		t.Fatalf("encoding %q: %v", s, err)
	}
	return b
}

func TestDecode(t *testing.T) {
	le, be := unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM), unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)
	for _, c := range []struct {
		name, text string
		enc        encoding.Encoding
		want       string
	}{
		{"ascii", "plain", unicode.UTF8, "utf-8"},
		{"utf-8", "naïve 東京", unicode.UTF8, "utf-8"},
		{"utf-8 bom", "naïve", unicode.UTF8BOM, "utf-8"},
		{"utf-16le bom", "naïve 東京", unicode.UTF16(unicode.LittleEndian, unicode.UseBOM), "utf-16le"},
		{"utf-16be bom", "naïve 東京", unicode.UTF16(unicode.BigEndian, unicode.UseBOM), "utf-16be"},
		{"utf-16le", "Plain text, nothing more.", le, "utf-16le"},
		{"utf-16be", "Plain text, nothing more.", be, "utf-16be"},
		{"utf-16le russian", "Просто текст, и ничего более.", le, "utf-16le"},
		{"utf-16be japanese", "東京都は 日本の首都です。\nとても大きい。", be, "utf-16be"},
		{"utf-32le", "Plain text", utf32.UTF32(utf32.LittleEndian, utf32.IgnoreBOM), "utf-32le"},
		{"utf-32be bom", "Plain text", utf32.UTF32(utf32.BigEndian, utf32.UseBOM), "utf-32be"},
		{"shift_jis list", "品名,数量,産地\n林檎,30,青森\n蜜柑,25,愛媛", japanese.ShiftJIS, "shift_jis"},
		{"shift_jis ibm extension", "氏名\n髙橋", japanese.ShiftJIS, "shift_jis"},
		{"shift_jis prose", "これは短い文章です。", japanese.ShiftJIS, "shift_jis"},
		{"euc-jp", "これは短い文章です。", japanese.EUCJP, "euc-jp"},
		{"iso-2022-jp", "これは短い文章です。", japanese.ISO2022JP, "iso-2022-jp"},
		{"gbk", "姓名,年龄,城市\n张伟,30,北京", simplifiedchinese.GBK, "gb18030"},
		{"gbk prose", "这是一个简短的句子,没有别的内容。", simplifiedchinese.GBK, "gb18030"},
		{"big5", "這是一個簡短的句子,沒有別的內容。", traditionalchinese.Big5, "big5"},
		{"euc-kr", "이것은 짧은 문장입니다. 다른 내용은 없습니다.", korean.EUCKR, "euc-kr"},
		{"french", "Le café est fermé à Noël, mais la crème brûlée est prête.", charmap.Windows1252, "windows-1252"},
		{"german", "Größe, Übung, Straße", charmap.Windows1252, "windows-1252"},
		{"quotes", "the \u201cquoted\u201d word \u2013 it\u2019s here", charmap.Windows1252, "windows-1252"},
		{"spanish", "El niño comió mañana. ¿Qué pasó? ¡Adiós!", charmap.Windows1252, "windows-1252"},
		{"polish", "Zażółć gęślą jaźń, proszę bardzo, właśnie się zaczęło", charmap.Windows1250, "windows-1250"},
		{"czech", "Příliš žluťoučký kůň úpěl ďábelské ódy, řekl šéf", charmap.Windows1250, "windows-1250"},
		{"russian", "Это короткое предложение на русском языке, без ничего.", charmap.Windows1251, "windows-1251"},
		{"koi8-r", "Это короткое предложение на русском языке, без ничего.", charmap.KOI8R, "koi8-r"},
		{"greek", "Αυτή είναι μια σύντομη πρόταση στα ελληνικά.", charmap.Windows1253, "windows-1253"},
		{"turkish", "Şu güzel ağaç, kışın soğuğunda yaşıyor.", charmap.Windows1254, "windows-1254"},
		{"hebrew", "זה משפט קצר בעברית, ואין בו שום דבר אחר.", charmap.Windows1255, "windows-1255"},
		{"thai", "นี่คือประโยคสั้นๆ ในภาษาไทย", charmap.Windows874, "windows-874"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := charset.Decode(encode(t, c.enc, c.text), "", "")
			if err != nil {
				t.Fatal(err)
			}
			if got.UTF8 != c.text || got.Charset != c.want || got.Replaced != 0 {
				t.Errorf("Decode = %q (%s, %d replaced), want %q (%s)", got.UTF8, got.Charset, got.Replaced, c.text, c.want)
			}
		})
	}
}

// Labels, names and other texts of a line, as most exports are full of.
func TestShortLatinTexts(t *testing.T) {
	for _, s := range []string{"Müller", "café", "Crème brûlée", "Grüße", "ü", "Zürich 8000", "Montréal", "São Paulo", "Ærø", "señor", "naïve", "Straße 5", "Köln", "Name: Jürgen\nOrt: Gießen", "Le café", "déjà vu", "été", "Où ça?", "25 °C", "£5", "5 €", "§ 12 Abs. 3", "½ cup", "¿Qué?", "Ångström", "Malmö", "smørrebrød", "Þór", "coração", "não", "Größe", "ÄÖÜ", "MÜNCHEN", "ÉCOLE", "Señora Núñez", "Hôtel de la Plage, 12 €", "©2020", "Tête-à-tête", "Bjørn;Åse;Øystein", "élève", "äöüß", "Blåbærsyltetøy", "façade", "Jalapeño", "piñata", "Übergröße", "Forêt", "Noël", "hôpital", "Käse\tBrötchen\n1\t2"} {
		got, err := charset.Decode(encode(t, charmap.Windows1252, s), "", "")
		if err != nil || got.UTF8 != s {
			t.Errorf("%q is read as %q (%s), %v", s, got.UTF8, got.Charset, err)
		}
	}
}

func TestDecodeBelieves(t *testing.T) {
	russian := encode(t, charmap.Windows1251, "Ура")
	for _, c := range []struct {
		name               string
		data               []byte
		override, declared string
		want               string
	}{
		{"an override", russian, "cp1251", "", "Ура"},
		{"an override against the bytes", []byte("é"), "windows-1252", "", "Ã©"},
		{"a declaration", russian, "", "windows-1251", "Ура"},
		{"the bytes against a declaration", []byte("é"), "", "windows-1252", "é"},
		{"not a disproved declaration", encode(t, charmap.Windows1252, "caf\u00e9"), "", "utf-8", "café"},
		{"a declaration of escapes", []byte("~{VPND~}"), "", "hz-gb-2312", "中文"},
		{"mostly UTF-8", append([]byte(strings.Repeat("naïve ", 20)), 0xff), "", "", strings.Repeat("naïve ", 20) + "\uFFFD"},
	} {
		got, err := charset.Decode(c.data, c.override, c.declared)
		if err != nil || got.UTF8 != c.want {
			t.Errorf("%s: Decode = %q (%s), %v, want %q", c.name, got.UTF8, got.Charset, err, c.want)
		}
	}
}

func TestDecodeUnknownOverride(t *testing.T) {
	_, err := charset.Decode([]byte("x"), "klingon", "")
	if fault.Of(err) != fault.Validation {
		t.Errorf("Decode with an unknown charset: %v, want a Validation fault", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("plain"), "", "")
	f.Add([]byte{0xff, 0xfe, 0x41}, "", "")
	f.Add([]byte{0x96, 0xbc, 0x91, 0x4f}, "", "utf-8")
	f.Add([]byte("\x1b$B"), "", "iso-2022-jp")
	f.Fuzz(func(t *testing.T, data []byte, override, declared string) {
		got, err := charset.Decode(data, override, declared)
		if err == nil && !utf8.ValidString(got.UTF8) {
			t.Errorf("Decode(%q) is not valid UTF-8", data)
		}
		charset.Detect(data)
		charset.IsWide(data)
	})
}
