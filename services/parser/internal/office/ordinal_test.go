package office

import (
	"strings"
	"testing"
)

func TestOrdinal(t *testing.T) {
	for format, want := range map[string]string{
		"decimal": "1=1 10=10", "decimalZero": "7=07 12=12", "upperRoman": "4=IV 1999=MCMXCIX", "lowerRoman": "9=ix",
		"upperLetter": "1=A 26=Z 27=AA 53=AAA", "lowerLetter": "2=b", "ordinal": "1=1st 2=2nd 3=3rd 11=11th 112=112th 21=21st",
		"cardinalText": "1=One 21=Twenty-one 100=One_hundred 1234=One_thousand_two_hundred_thirty-four",
		"ordinalText":  "1=First 12=Twelfth 20=Twentieth 21=Twenty-first 100=One_hundredth 103=One_hundred_third",
		"hex":          "255=FF", "numberInDash": "3=-_3_-", "chicago": "1=* 2=† 5=** 8=§§", "none": "4=", "unheardOf": "4=4",
		"decimalFullWidth": "12=１２", "ideographDigital": "10=一〇 105=一〇五", "koreanDigital": "12=일이", "hindiNumbers": "15=१५", "thaiNumbers": "15=๑๕",
		"decimalEnclosedCircle": "1=① 20=⑳ 21=㉑ 36=㊱ 50=㊿ 51=51", "decimalEnclosedParen": "3=(3)", "decimalEnclosedFullstop": "3=3.",
		"ideographEnclosedCircle": "1=㊀ 10=㊉ 11=11", "ideographTraditional": "1=甲 10=癸", "ideographZodiac": "12=亥", "ideographZodiacTraditional": "1=甲子 60=癸亥",
		"chineseCounting":           "1=一 10=十 11=十一 20=二十 21=二十一 99=九十九 110=一百一十",
		"chineseCountingThousand":   "10=十 100=一百 101=一百零一 110=一百一十 1000=一千 1005=一千零五 1010=一千零一十 12000=一万二千 10005=一万零五",
		"taiwaneseCountingThousand": "10000=一萬 11=十一", "japaneseCounting": "10=十 11=十一 100=百 101=百一 1000=千 10000=一万 2345=二千三百四十五",
		"chineseLegalSimplified": "1=壹 10=壹拾 23=贰拾叁", "ideographLegalTraditional": "12=壹拾貳", "japaneseLegal": "1=壱 10=壱拾 23=弐拾参",
		"koreanCounting": "1=일 10=십 11=십일 100=백", "koreanLegal": "1=하나 10=열 11=열하나 20=스물 99=아흔아홉",
		"ganada": "1=가 14=하 15=가가", "chosung": "2=ㄴ", "aiueoFullWidth": "1=ア 46=ン", "aiueo": "1=ｱ", "irohaFullWidth": "1=イ 48=ン", "iroha": "2=ﾛ",
		"russianLower": "1=а 7=ж 10=к", "russianUpper": "2=Б", "hebrew1": "1=א 15=טו 16=טז 124=קכד", "hebrew2": "2=ב",
		"arabicAlpha": "2=ب 28=ي", "arabicAbjad": "3=ج", "hindiVowels": "1=क", "hindiConsonants": "1=अ", "thaiLetters": "1=ก 41=ฮ",
		"thaiCounting": "1=หนึ่ง 11=สิบเอ็ด 21=ยี่สิบเอ็ด", "vietnameseCounting": "1=một 11=mười_một 21=hai_mươi_mốt 15=mười_lăm",
	} {
		for _, c := range strings.Fields(want) {
			number, sign, _ := strings.Cut(c, "=")
			if got := Ordinal(Number(number, -1), format); got != strings.ReplaceAll(sign, "_", " ") {
				t.Errorf("%s of %s is %q, want %q", format, number, got, sign)
			}
		}
		for _, n := range []int{-1, 0, 1, 49, 1 << 20, 1<<31 - 1} { // none of them grows without bound
			if s := Ordinal(n, format); len(s) > 128 {
				t.Errorf("%s of %d has %d bytes", format, n, len(s))
			}
		}
	}
	for _, c := range [][2]string{{"001, 002, 003, ...", "012"}, {"Α, Β, Γ, ...", "Μ"}, {"а, б, в", "м"}, {"?", "12"}} {
		if got := CustomOrdinal(12, c[0]); got != c[1] {
			t.Errorf("%s: %q, want %q", c[0], got, c[1])
		}
	}
}
