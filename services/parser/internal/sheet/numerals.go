package sheet

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// numerals are the digits in which a section shows numbers: those of a script, or
// the words of East Asia.
type numerals struct {
	digits string // from 0
	// units are ten, a hundred and a thousand, groups ten thousand and its square:
	// a number as General shows it is said with them. "" where it has digits only.
	units, groups string
	one           bool // a hundred is one hundred
	gap           bool // a zero is said between others
}

// eastAsian are the systems of [DBNum1] to [DBNum4] by language, as Excel has them.
var eastAsian = map[string][4]*numerals{
	"zh": {
		{"〇一二三四五六七八九", "十百千", "万亿", true, true}, {"零壹贰叁肆伍陆柒捌玖", "拾佰仟", "万亿", true, true}, {wideDigits, "十百千", "万亿", true, true},
	},
	"zh-tw": {
		{"〇一二三四五六七八九", "十百千", "萬億", true, true}, {"零壹貳參肆伍陸柒捌玖", "拾佰仟", "萬億", true, true}, {wideDigits, "十百千", "萬億", true, true},
	},
	"ja": {
		{"〇一二三四五六七八九", "十百千", "万億", false, false}, {"〇壱弐参四伍六七八九", "拾百阡", "萬億", true, false}, {wideDigits, "十百千", "万億", false, false},
	},
	"ko": {
		{"〇一二三四五六七八九", "十百千", "万億", true, false},
		{"零壹貳參四五六七八九", "拾百阡", "萬億", true, false},
		{wideDigits, "十百千", "万億", false, false},
		{"영일이삼사오육칠팔구", "십백천", "만억", true, false},
	},
}

const wideDigits = "０１２３４５６７８９"

// zeros are the digits 0 of scripts by their number in a locale (MS-OE376 2.1.724);
// the others follow.
var zeros = map[byte]rune{
	2: '٠', 3: '۰', 4: '०', 5: '০', 6: '੦', 7: '૦', 8: '୦', 9: '௦', 10: '౦', 11: '೦', 12: '൦', thaiDigits: '๐', 14: '໐', 15: '༠', 16: '၀', 18: '០', 19: '᠐',
}

const (
	thaiDigits     = 13
	firstEastAsian = 0x1B
)

// scriptsOfEastAsia are the scripts from firstEastAsian on.
var scriptsOfEastAsia = []struct {
	language string
	db       int
}{
	{"ja", 1}, {"ja", 2}, {"ja", 3}, {"zh", 1}, {"zh", 2}, {"zh", 3}, {"zh-tw", 1}, {"zh-tw", 2}, {"zh-tw", 3}, {"ko", 1}, {"ko", 2}, {"ko", 3}, {"ko", 4},
}

// numeralsOf returns those of a script by its number, nil for the usual digits.
func numeralsOf(script byte) *numerals {
	zero, ok := zeros[script]
	if !ok {
		return nil
	}
	var b strings.Builder
	for i := range rune(10) {
		b.WriteRune(zero + i)
	}
	return &numerals{digits: b.String()}
}

// spelled returns the digits of a text in those of n, one by one.
func (n *numerals) spelled(s string) string {
	if n == nil {
		return s
	}
	digits := []rune(n.digits)
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return digits[r-'0']
		}
		return r
	}, s)
}

// said returns a number as n says it: 一百二十三. Digits after a point are said one
// by one. What is too large for its words comes in digits, and not sure.
func (n *numerals) said(s string) (string, bool) {
	if n == nil || n.units == "" || len(s) > 1 && s[0] == '0' && s[1] != '.' {
		return n.spelled(s), true
	}
	sign, rest := "", s
	if strings.HasPrefix(rest, "-") {
		sign, rest = "-", rest[1:]
	}
	whole, decimals, _ := strings.Cut(rest, ".")
	const most = 1_000_000_000_000 // programs do not agree on how they go on
	v, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || v >= most {
		return s, false
	}
	if decimals != "" {
		decimals = "." + n.spelled(decimals)
	}
	return sign + n.count(v) + decimals, true
}

func (n *numerals) count(v int64) string {
	digits, units, groups := []rune(n.digits), []rune(n.units), []rune(n.groups)
	if v == 0 {
		return string(digits[0])
	}
	var b strings.Builder
	gap := false // zeros since the last digit
	for _, g := range []struct {
		size int64
		name string
	}{{1e8, string(groups[1])}, {1e4, string(groups[0])}, {1, ""}} {
		part := v / g.size
		v %= g.size
		if part == 0 {
			gap = b.Len() > 0
			continue
		}
		for i, size := range []int64{1000, 100, 10, 1} {
			d := part / size % 10
			if d == 0 {
				gap = gap || b.Len() > 0
				continue
			}
			if gap && n.gap {
				b.WriteRune(digits[0])
			}
			gap = false
			if d > 1 || size == 1 || n.one || size == 1000 && g.size > 1 { // 千, but 一千万
				b.WriteRune(digits[d])
			}
			if size > 1 {
				b.WriteRune(units[2-i])
			}
		}
		b.WriteString(g.name)
	}
	return b.String()
}

// shield hides the digits of literals from spelled, and unshield shows them again.
func shield(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r + shielded
		}
		return r
	}, s)
}

func unshield(s string) string {
	if !strings.ContainsFunc(s, isShielded) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if isShielded(r) {
			return r - shielded
		}
		return r
	}, s)
}

const shielded = 0xF0000 // to where no program has a character

func isShielded(r rune) bool { return r >= shielded+'0' && r <= shielded+'9' }

// settle finds the numerals of a section, when all of it is read.
func (s *section) settle(db int) {
	c := &s.date
	c.numerals = numeralsOf(c.script)
	language := c.language
	if language == "zh" && c.traditional {
		language = "zh-tw"
	}
	if n := int(c.script) - firstEastAsian; n >= 0 && n < len(scriptsOfEastAsia) {
		language, db = scriptsOfEastAsia[n].language, scriptsOfEastAsia[n].db
	}
	if all, ok := eastAsian[language]; ok && db >= 1 && db <= len(all) && all[db-1] != nil {
		c.numerals = all[db-1]
	}
	if c.numerals == nil {
		return
	}
	for i, t := range s.tokens {
		if t.kind == tokLiteral {
			s.tokens[i].text = shield(t.text)
		}
	}
}

// native returns a number that the section has written in its numerals.
func (s *section) native(text string) (string, bool) {
	n := s.date.numerals
	if n == nil {
		return text, true
	}
	if s.kind != plainSection || n.units == "" {
		return unshield(n.spelled(text)), true
	}
	// General: the number is the only run of digits.
	from := strings.IndexAny(text, "0123456789")
	if from < 0 {
		return unshield(text), true
	}
	to := from
	for to < len(text) && text[to] < utf8.RuneSelf && strings.IndexByte("0123456789.", text[to]) >= 0 {
		to++
	}
	if to < len(text) && text[to] == 'E' {
		return unshield(text), false
	}
	said, sure := n.said(text[from:to])
	return unshield(text[:from] + said + text[to:]), sure
}
