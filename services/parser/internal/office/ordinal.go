package office

import (
	"fmt"
	"strconv"
	"strings"
)

// Ordinal writes a number as lists do: in the formats of WordprocessingML
// (ST_NumberFormat, ECMA-376 17.18.59). What a format has no sign for is written
// in digits, as Word does.
func Ordinal(n int, format string) string {
	digits := strconv.Itoa(n)
	if format == "none" || format == "bullet" {
		return ""
	}
	if n < 0 {
		return digits
	}
	switch format {
	case "decimalZero":
		if n < 10 {
			return "0" + digits
		}
	case "lowerRoman":
		return strings.ToLower(roman(n))
	case "upperRoman":
		return roman(n)
	case "ordinal":
		return digits + ordinalEnding(n)
	case "cardinalText":
		return capital(englishNumber(n, false))
	case "ordinalText":
		return capital(englishNumber(n, true))
	case "hex":
		return strings.ToUpper(strconv.FormatInt(int64(n), 16))
	case "numberInDash":
		return "- " + digits + " -"
	case "chicago":
		if n > 0 && n <= 4*32 {
			return strings.Repeat(string([]rune("*†‡§")[(n-1)%4]), (n-1)/4+1)
		}
	case "decimalFullWidth", "decimalFullWidth2":
		return positional(digits, "０１２３４５６７８９")
	case "ideographDigital", "japaneseDigitalTenThousand", "taiwaneseDigital":
		return positional(digits, "〇一二三四五六七八九")
	case "koreanDigital":
		return positional(digits, "영일이삼사오육칠팔구")
	case "koreanDigital2":
		return positional(digits, "零一二三四五六七八九")
	case "hindiNumbers":
		return positional(digits, "०१२३४५६७८९")
	case "thaiNumbers":
		return positional(digits, "๐๑๒๓๔๕๖๗๘๙")
	case "decimalEnclosedCircle", "decimalEnclosedCircleChinese":
		switch {
		case n >= 1 && n <= 20:
			return string(rune('①' + n - 1))
		case n >= 21 && n <= 35:
			return string(rune('㉑' + n - 21))
		case n >= 36 && n <= 50:
			return string(rune('㊱' + n - 36))
		}
	case "decimalEnclosedFullstop":
		return digits + "."
	case "decimalEnclosedParen":
		return "(" + digits + ")"
	case "ideographEnclosedCircle":
		if n >= 1 && n <= 10 {
			return string(rune('㊀' + n - 1))
		}
	case "ideographZodiacTraditional":
		if n > 0 {
			stems, branches := []rune(alphabets["ideographTraditional"]), []rune(alphabets["ideographZodiac"])
			return string([]rune{stems[(n-1)%len(stems)], branches[(n-1)%len(branches)]})
		}
	case "hebrew1":
		return hebrewNumber(n)
	case "koreanLegal":
		if tens, ones := n/10, n%10; n > 0 && n < 100 {
			return strings.Split(" 열 스물 서른 마흔 쉰 예순 일흔 여든 아흔", " ")[tens] +
				strings.Split(" 하나 둘 셋 넷 다섯 여섯 일곱 여덟 아홉", " ")[ones]
		}
	case "thaiCounting":
		return thaiNumber(n)
	case "vietnameseCounting":
		return vietnameseNumber(n)
	}
	if c, ok := countings[format]; ok {
		return c.write(n)
	}
	if a, ok := alphabets[format]; ok {
		return repeated(n, []rune(a))
	}
	return digits
}

// CustomOrdinal writes a number in a format that gives its first members: "001, 002, 003, ...".
func CustomOrdinal(n int, members string) string {
	first, _, _ := strings.Cut(members, ",")
	first = strings.TrimSpace(first)
	if first != "" && strings.Trim(first, "0123456789") == "" {
		return fmt.Sprintf("%0*d", min(len(first), 16), n)
	}
	switch first {
	case "а", "А":
		return Ordinal(n, map[string]string{"а": "russianLower", "А": "russianUpper"}[first])
	case "α", "Α":
		s := repeated(n, []rune("αβγδεζηθικλμνξοπρστυφχψω"))
		if first == "Α" {
			s = strings.ToUpper(s)
		}
		return s
	}
	return strconv.Itoa(n)
}

// alphabets are the formats that count through letters, and then double them.
var alphabets = map[string]string{
	"lowerLetter":          "abcdefghijklmnopqrstuvwxyz",
	"upperLetter":          "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
	"russianLower":         "абвгдежзиклмнопрстуфхцчшщыэюя",
	"russianUpper":         "АБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЩЫЭЮЯ",
	"aiueo":                "ｱｲｳｴｵｶｷｸｹｺｻｼｽｾｿﾀﾁﾂﾃﾄﾅﾆﾇﾈﾉﾊﾋﾌﾍﾎﾏﾐﾑﾒﾓﾔﾕﾖﾗﾘﾙﾚﾛﾜｦﾝ",
	"aiueoFullWidth":       "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワヲン",
	"iroha":                "ｲﾛﾊﾆﾎﾍﾄﾁﾘﾇﾙｦﾜｶﾖﾀﾚｿﾂﾈﾅﾗﾑｳヰﾉｵｸﾔﾏｹﾌｺｴﾃｱｻｷﾕﾒﾐｼヱﾋﾓｾｽﾝ",
	"irohaFullWidth":       "イロハニホヘトチリヌルヲワカヨタレソツネナラムウヰノオクヤマケフコエテアサキユメミシヱヒモセスン",
	"ganada":               "가나다라마바사아자차카타파하",
	"chosung":              "ㄱㄴㄷㄹㅁㅂㅅㅇㅈㅊㅋㅌㅍㅎ",
	"ideographTraditional": "甲乙丙丁戊己庚辛壬癸",
	"ideographZodiac":      "子丑寅卯辰巳午未申酉戌亥",
	"hebrew2":              "אבגדהוזחטיכלמנסעפצקרשת",
	"arabicAlpha":          "أبتثجحخدذرزسشصضطظعغفقكلمنهوي",
	"arabicAbjad":          "أبجدهوزحطيكلمنسعفصقرشتثخذضظغ",
	"hindiVowels":          "कखगघङचछजझञटठडढणतथदधनपफबभमयरलवशषसह",
	"hindiConsonants":      "अआइईउऊऋएऐओऔ",
	"thaiLetters":          "กขคงจฉชซฌญฎฏฐฑฒณดตถทธนบปผฝพฟภมยรลวศษสหฬอฮ",
}

func repeated(n int, letters []rune) string {
	const most = 20 // times the same letter
	if n < 1 || n > most*len(letters) {
		return strconv.Itoa(n)
	}
	return strings.Repeat(string(letters[(n-1)%len(letters)]), (n-1)/len(letters)+1)
}

func positional(digits, signs string) string {
	r := []rune(signs)
	var b strings.Builder
	for i := range len(digits) {
		b.WriteRune(r[digits[i]-'0'])
	}
	return b.String()
}

// counting is a system that names powers of ten: 二百三十.
type counting struct {
	digits string // from 0
	powers string // 10, 100, 1000, 10000
	one    bool   // a hundred is one hundred, 一百; else 百
	ten    bool   // and ten, as the first word, is one ten, 壹拾
	zero   bool   // a gap is named: 一百零五
}

var countings = map[string]counting{
	"chineseCounting":           {"〇一二三四五六七八九", "十百千万", true, false, true},
	"chineseCountingThousand":   {"零一二三四五六七八九", "十百千万", true, false, true},
	"taiwaneseCounting":         {"〇一二三四五六七八九", "十百千萬", true, false, true},
	"taiwaneseCountingThousand": {"零一二三四五六七八九", "十百千萬", true, false, true},
	"chineseLegalSimplified":    {"零壹贰叁肆伍陆柒捌玖", "拾佰仟萬", true, true, true},
	"ideographLegalTraditional": {"零壹貳參肆伍陸柒捌玖", "拾佰仟萬", true, true, true},
	"japaneseCounting":          {"〇一二三四五六七八九", "十百千万", false, false, false},
	"japaneseLegal":             {"零壱弐参四伍六七八九", "拾百阡萬", true, true, false},
	"koreanCounting":            {"영일이삼사오육칠팔구", "십백천만", false, false, false},
}

func (c counting) write(n int) string {
	d, p := []rune(c.digits), []rune(c.powers)
	if n == 0 {
		return string(d[0])
	}
	if n >= 100_000_000 {
		return strconv.Itoa(n)
	}
	below := func(n int, first bool) string { // of ten thousand
		var b strings.Builder
		gap := false
		for i, unit := range []int{1000, 100, 10, 1} {
			digit := n / unit % 10
			switch {
			case digit == 0:
				gap = b.Len() > 0 || !first
				continue
			case gap && c.zero:
				b.WriteRune(d[0])
			}
			gap = false
			said := digit > 1 || unit == 1 || (c.one && unit > 10) || (unit == 10 && (c.ten || (c.one && b.Len() > 0)))
			if said {
				b.WriteRune(d[digit])
			}
			if unit > 1 {
				b.WriteRune(p[2-i])
			}
		}
		return b.String()
	}
	if n < 10_000 {
		return below(n, true)
	}
	s := below(n/10_000, true) + string(p[3])
	if rest := n % 10_000; rest > 0 {
		s += below(rest, false)
	}
	return s
}

func ordinalEnding(n int) string {
	switch {
	case n%100/10 == 1:
	case n%10 == 1:
		return "st"
	case n%10 == 2:
		return "nd"
	case n%10 == 3:
		return "rd"
	}
	return "th"
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// englishNumber writes a number in words.
func englishNumber(n int, ordinal bool) string {
	ones := strings.Fields("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen")
	tens := strings.Fields(". . twenty thirty forty fifty sixty seventy eighty ninety")
	if n >= 1_000_000 {
		return strconv.Itoa(n)
	}
	var words func(n int) string
	words = func(n int) string {
		switch {
		case n < 20:
			return ones[n]
		case n < 100 && n%10 == 0:
			return tens[n/10]
		case n < 100:
			return tens[n/10] + "-" + ones[n%10]
		case n < 1000 && n%100 == 0:
			return ones[n/100] + " hundred"
		case n < 1000:
			return ones[n/100] + " hundred " + words(n%100)
		case n%1000 == 0:
			return words(n/1000) + " thousand"
		}
		return words(n/1000) + " thousand " + words(n%1000)
	}
	s := words(n)
	if !ordinal {
		return s
	}
	for from, to := range map[string]string{
		"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth", "twelve": "twelfth",
	} {
		if rest, ok := strings.CutSuffix(s, from); ok && (rest == "" || strings.HasSuffix(rest, " ") || strings.HasSuffix(rest, "-")) {
			return rest + to
		}
	}
	if rest, ok := strings.CutSuffix(s, "y"); ok {
		return rest + "ieth"
	}
	return s + "th"
}

// hebrewNumber writes a number in letters that add up to it.
func hebrewNumber(n int) string {
	if n < 1 || n > 999 {
		return strconv.Itoa(n)
	}
	var b strings.Builder
	for ; n >= 400; n -= 400 {
		b.WriteRune('ת')
	}
	if n >= 100 {
		b.WriteRune([]rune("קרש")[n/100-1])
		n %= 100
	}
	if n == 15 || n == 16 { // not the letters of the Name
		b.WriteRune('ט')
		n -= 9
	}
	if n >= 10 {
		b.WriteRune([]rune("יכלמנסעפצ")[n/10-1])
		n %= 10
	}
	if n > 0 {
		b.WriteRune([]rune("אבגדהוזחט")[n-1])
	}
	return b.String()
}

func thaiNumber(n int) string {
	ones := strings.Fields("ศูนย์ หนึ่ง สอง สาม สี่ ห้า หก เจ็ด แปด เก้า")
	if n == 0 {
		return ones[0]
	}
	if n >= 1_000_000 {
		return strconv.Itoa(n)
	}
	var b strings.Builder
	for _, p := range []struct {
		unit int
		name string
	}{{100000, "แสน"}, {10000, "หมื่น"}, {1000, "พัน"}, {100, "ร้อย"}, {10, "สิบ"}, {1, ""}} {
		digit := n / p.unit % 10
		switch {
		case digit == 0:
			continue
		case p.unit == 10 && digit == 1:
		case p.unit == 10 && digit == 2:
			b.WriteString("ยี่")
		case p.unit == 1 && digit == 1 && b.Len() > 0:
			b.WriteString("เอ็ด")
		default:
			b.WriteString(ones[digit])
		}
		b.WriteString(p.name)
	}
	return b.String()
}

func vietnameseNumber(n int) string {
	ones := strings.Fields("không một hai ba bốn năm sáu bảy tám chín")
	switch {
	case n < 10:
		return ones[n]
	case n >= 100:
		return strconv.Itoa(n)
	}
	s := "mười"
	if n >= 20 {
		s = ones[n/10] + " mươi"
	}
	switch last := n % 10; {
	case last == 0:
		return s
	case last == 5:
		return s + " lăm"
	case last == 1 && n > 20:
		return s + " mốt"
	default:
		return s + " " + ones[last]
	}
}
