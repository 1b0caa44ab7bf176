package sheet

import (
	"math"
	"strconv"
	"strings"
)

// clock is what a section of dates and times says about them.
type clock struct {
	language  string // of names, from [$-407]; "" the reader's
	japanese  bool   // years of eras
	taiwanese bool   // years of the Republic
	buddhist  bool   // years of the Buddhist era
	foreign   bool   // a calendar whose days we do not count
	// numerals are those of all numbers of the section, dates or not; nil for the
	// usual digits. They follow from the script, or from the language.
	numerals    *numerals
	script      byte
	traditional bool // Chinese of Taiwan, Hong Kong and Macao
	half        bool // hours to 12
	elapsed     bool // [h]: hours beyond a day
	fraction    int  // digits of seconds after their point
	serial      bool // shows a day, not only a time
	hides       bool // shows hours without minutes and the like: nothing smaller rounds up
}

// locale takes what follows the dash of [$-407] or [$€-de-DE]: the language, and
// above it in the hexadecimal form the calendar (MS-OE376 2.1.724).
func (c *clock) locale(tag string) {
	tag, _, _ = strings.Cut(strings.ToLower(tag), ",")
	n, err := strconv.ParseUint(tag, 16, 64)
	if err != nil || strings.Contains(tag, "-") || len(tag) < 3 {
		c.language, _, _ = strings.Cut(tag, "-")
		c.taiwanese = strings.HasSuffix(tag, "-tw")
		c.traditional = c.taiwanese || strings.HasSuffix(tag, "-hk") || strings.HasSuffix(tag, "-mo") || strings.HasPrefix(tag, "zh-hant")
		return
	}
	const system, systemTime = 0xF800, 0xF400
	if id := n & 0xFFFF; id != system && id != systemTime {
		c.language = languages[id&0x3FF]
		if c.language == "" && id != 0 {
			c.language = "?"
		}
		c.taiwanese = id == 0x404
		c.traditional = id == 0x404 || id == 0xC04 || id == 0x1404
	}
	c.script = byte(n >> 24)
	switch n >> 16 & 0xFF {
	case 0, 1, 2, 9, 10, 11, 12:
	case 3:
		c.japanese = true
	case 4:
		c.taiwanese = true
	case 7:
		c.buddhist = true
	default:
		c.foreign = true
	}
}

func (c *clock) parse(s *section) {
	smallest := byte(0)
	for i, t := range s.tokens {
		switch t.kind {
		case tokHalf:
			c.half = true
		case tokElapsed:
			c.elapsed = true
			smallest = t.char
		case tokFraction:
			if c.fraction != 0 || t.n > 3 {
				s.unsure = true
			}
			c.fraction = t.n
		case tokGeneral, tokPlace:
			s.unsure = true
		case tokDate:
			switch {
			case t.char == 'm' && c.minutes(s.tokens, i):
				s.tokens[i].char = 'n' // minutes from here on
				smallest = 'm'
			case t.char == 'h' || t.char == 's':
				smallest = t.char
			default:
				c.serial = true
			}
		}
	}
	c.hides = smallest != 0 && smallest != 's'
}

// minutes reports whether the m at i stands beside hours or seconds.
func (c *clock) minutes(tokens []token, i int) bool {
	for j := i - 1; j >= 0; j-- {
		if k := tokens[j].kind; k == tokDate || k == tokElapsed {
			if tokens[j].char == 'h' {
				return true
			}
			break
		}
	}
	for j := i + 1; j < len(tokens); j++ {
		if k := tokens[j].kind; k == tokDate || k == tokElapsed {
			return tokens[j].char == 's'
		}
	}
	return false
}

// day is a date as a spreadsheet counts it. Day 0 and 29 February 1900 are none
// of the calendar's.
type day struct{ year, month, day, weekday int } // weekday 0 is Sunday

// dayOf returns the date of a serial number of days.
func dayOf(serial int, date1904 bool) day {
	weekday := (serial + 6) % 7
	switch {
	case date1904:
		serial += 1462
		weekday = (serial + 6) % 7
	case serial == 0:
		return day{1900, 1, 0, weekday}
	case serial == 60:
		return day{1900, 2, 29, weekday}
	case serial < 60:
		serial++ // Lotus 1-2-3 had a 29 February in 1900
	}
	// Days since 1 March of the year 0, in which leap days end the year.
	const from0000To1900 = 693959 - 60 // of serial 0
	n := serial + from0000To1900
	era := n / 146097
	inEra := n % 146097
	yearOfEra := (inEra - inEra/1460 + inEra/36524 - inEra/146096) / 365
	inYear := inEra - (365*yearOfEra + yearOfEra/4 - yearOfEra/100)
	month := (5*inYear + 2) / 153
	d := day{year: yearOfEra + era*400, month: month + 3, day: inYear - (153*month+2)/5 + 1, weekday: weekday}
	if d.month > 12 {
		d.month -= 12
		d.year++
	}
	return d
}

const daysToYear10000 = 2958466

// moment cuts a serial number into days and ticks of the day, of which a second
// has so many.
func moment(v float64, perSecond int64) (days int, ticks int64) {
	perDay := 86400 * perSecond
	n := int64(math.Round(v * float64(perDay)))
	return int(n / perDay), n % perDay
}

// showDate writes a number in a section of dates and times.
func (s *section) showDate(v float64, date1904 bool) (string, bool) {
	c := &s.date
	sign := ""
	if v < 0 && c.elapsed && !c.serial {
		sign, v = "-", -v
	}
	if v < 0 || v >= daysToYear10000 {
		return general(v), false // a spreadsheet shows ####
	}
	if c.foreign || (c.language == "?" && s.hasNames()) {
		return isoDate(v, date1904), false
	}
	perSecond := int64(math.Pow10(c.fraction))
	if c.hides {
		perSecond = 1000 // 9:59:59 is not yet 10 o'clock
	}
	days, ticks := moment(v, perSecond)
	seconds := ticks / perSecond
	total := int64(days)*86400 + seconds
	d := dayOf(days, date1904)
	year := c.yearOf(s.tokens)
	var b line
	b.put(sign)
	for _, t := range s.tokens {
		switch t.kind {
		case tokPad:
			b.pad()
		case tokHalf:
			am, pm, _ := strings.Cut(t.text, "/")
			if seconds >= 43200 {
				am = pm
			}
			b.put(am)
		case tokFraction:
			if t.n > 0 {
				b.put("." + c.numerals.spelled(leadingZeros(strconv.FormatInt(ticks%perSecond, 10), t.n)))
			}
		case tokElapsed:
			n := total
			switch t.char {
			case 'h':
				n /= 3600
			case 'm':
				n /= 60
			}
			b.put(c.say(leadingZeros(strconv.FormatInt(n, 10), min(t.n, 9))))
		case tokDate:
			switch t.char {
			case 'h':
				n := int(seconds / 3600)
				if c.half {
					n = (n+11)%12 + 1
				}
				b.put(c.say(twoDigits(n, t.n)))
			case 'n':
				b.put(c.say(twoDigits(int(seconds/60%60), t.n)))
			case 's':
				b.put(c.say(twoDigits(int(seconds%60), t.n)))
			case 'd':
				switch {
				case t.n <= 2:
					b.put(c.say(twoDigits(d.day, t.n)))
				default:
					b.put(dayName(c.language, d.weekday, t.n == 3))
				}
			case 'a':
				language := c.language
				if language == "" {
					language = "zh"
				}
				b.put(dayName(language, d.weekday, t.n == 3))
			case 'm':
				switch {
				case t.n <= 2:
					b.put(c.say(twoDigits(d.month, t.n)))
				case t.n == 5:
					r := []rune(monthName(c.language, d.month, false))
					b.put(string(r[:1]))
				default:
					b.put(monthName(c.language, d.month, t.n == 3))
				}
			default: // y, e, g, b
				b.put(c.year(year(t, d), t))
			}
		default:
			b.put(t.text)
		}
	}
	return b.String(), true
}

// say writes a part of a date or a time in numerals: 十二 of 十二月, and 〇三 where
// it has a zero.
func (c *clock) say(s string) string {
	if c.numerals != nil && c.numerals.digits == wideDigits {
		return c.numerals.spelled(s)
	}
	s, _ = c.numerals.said(s)
	if rest, ok := strings.CutPrefix(s, "一十"); ok { // as a number alone it has the one
		s = "十" + rest
	}
	return s
}

// year writes a year in numerals: its digits one by one, but years of eras as numbers.
func (c *clock) year(s string, t token) string {
	if t.char == 'e' && len(s) < 4 {
		return c.say(s)
	}
	return c.numerals.spelled(s)
}

// yearOf returns how a section writes years: in an era that it names, or as they are.
func (c *clock) yearOf(tokens []token) func(t token, d day) string {
	era := false
	for _, t := range tokens {
		era = era || (t.kind == tokDate && t.char == 'g')
	}
	republic := c.taiwanese && !c.japanese
	return func(t token, d day) string {
		switch t.char {
		case 'b':
			return years(d.year+543, t.n)
		case 'y':
			if c.buddhist {
				return years(d.year+543, t.n)
			}
			return years(d.year, t.n)
		case 'g':
			if republic {
				if d.year < 1912 {
					return ""
				}
				return []string{"民國", "民國", "中華民國"}[min(t.n, 3)-1]
			}
			if e := eraOf(d); e != nil {
				return e.names[min(t.n, 3)-1]
			}
			return ""
		}
		n := d.year // e: of the era where one is named
		switch {
		case republic:
			if d.year >= 1912 {
				n = d.year - 1911
			}
		case era || c.japanese:
			if e := eraOf(d); e != nil {
				n = d.year - e.from.year + 1
			}
		default:
			return strconv.Itoa(d.year)
		}
		return twoDigits(n, t.n)
	}
}

// eras are those of Japan since it has the calendar of the West.
var eras = []struct {
	from  day
	names [3]string
}{
	{day{year: 2019, month: 5, day: 1}, [3]string{"R", "令", "令和"}},
	{day{year: 1989, month: 1, day: 8}, [3]string{"H", "平", "平成"}},
	{day{year: 1926, month: 12, day: 25}, [3]string{"S", "昭", "昭和"}},
	{day{year: 1912, month: 7, day: 30}, [3]string{"T", "大", "大正"}},
	{day{year: 1868, month: 1, day: 25}, [3]string{"M", "明", "明治"}},
}

func eraOf(d day) *struct {
	from  day
	names [3]string
} {
	key := func(d day) int { return d.year*10000 + d.month*100 + d.day }
	for i := range eras {
		if key(d) >= key(eras[i].from) {
			return &eras[i]
		}
	}
	return nil
}

// hasNames reports whether a section writes months or days of the week by name.
func (s *section) hasNames() bool {
	for _, t := range s.tokens {
		if t.kind == tokDate && t.n > 2 && (t.char == 'm' || t.char == 'd' || t.char == 'a') {
			return true
		}
	}
	return false
}

func years(n, width int) string {
	if width <= 2 {
		return leadingZeros(strconv.Itoa(n%100), 2)
	}
	return leadingZeros(strconv.Itoa(n), 4)
}

func twoDigits(n, width int) string { return leadingZeros(strconv.Itoa(n), min(width, 2)) }

// isoDate writes a serial number as ISO 8601 does: the day, the time, or both, as
// far as the number has them.
func isoDate(v float64, date1904 bool) string {
	if v < 0 || v >= daysToYear10000 {
		return general(v)
	}
	days, seconds := moment(v, 1)
	d := dayOf(days, date1904)
	date := years(d.year, 4) + "-" + twoDigits(d.month, 2) + "-" + twoDigits(d.day, 2)
	clock := strconv.FormatInt(seconds/3600, 10) + ":" + twoDigits(int(seconds/60%60), 2)
	if seconds%60 != 0 {
		clock += ":" + twoDigits(int(seconds%60), 2)
	}
	switch {
	case v < 1 && !date1904:
		return clock
	case seconds == 0:
		return date
	}
	return date + " " + clock
}
