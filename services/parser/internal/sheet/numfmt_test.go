package sheet

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"
	"pgregory.net/rapid"
)

// What a number looks like agrees with another implementation of the formats.
func TestFormatNumber(t *testing.T) {
	f := excelize.NewFile()
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	values := []float64{0, 1, -1, 0.5, 1234.5678, -1234567.891, 0.256, 45351.5625, 45292, 59, 61, 1e-7, 123456789012, 2.5, 99.995}
	codes := []string{
		"General", "0", "0.00", "#,##0", "#,##0.00", "0%", "0.00%", "yyyy-mm-dd", "dd/mm/yyyy", "d-mmm-yy", "mmmm d, yyyy", "h:mm:ss", "h:mm AM/PM",
		"yyyy-mm-dd hh:mm", "dddd", `0.0" km"`, `"EUR "#,##0.00`, "0.00E+00", "000", `#,##0;(#,##0)`, "mm:ss",
	}
	for i, code := range codes {
		style, err := f.NewStyle(&excelize.Style{CustomNumFmt: &code})
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range values {
			cell := CellName(k, i)
			if err := f.SetCellValue("Sheet1", cell, v); err != nil {
				t.Fatal(err)
			}
			if err := f.SetCellStyle("Sheet1", cell, cell, style); err != nil {
				t.Fatal(err)
			}
			want, err := f.GetCellValue("Sheet1", cell)
			if err != nil {
				t.Fatal(err)
			}
			// Days before March 1900 are a matter of taste, years of five digits
			// of nobody's, and how many digits General shows of the column's width.
			isDate := strings.ContainsAny(code, "ydhs")
			if (isDate && (v < 61 || v > 1e9)) || (code == "General" && (v < 1e-5 || v > 1e11)) {
				continue
			}
			if got := formatNumber(v, code, false); got != want {
				t.Errorf("%s of %v: got %q, want %q", code, v, got, want)
			}
		}
	}
}

func TestFormatNumberAlone(t *testing.T) {
	for _, c := range []struct {
		v        float64
		code     string
		date1904 bool
		want     string
	}{
		{0, `0.00;-0.00;"zero"`, false, "zero"},
		{1.5, "[h]:mm", false, "36:00"},
		{0.75, "[Red]0.0", false, "0.8"},
		{1, "[$€-407] #,##0.00", false, "€ 1.00"},
		{1500000, `0.0,,"M"`, false, "1.5M"},
		{0, "yyyy-mm-dd", true, "1904-01-01"},
		{1e300, "yyyy-mm-dd", false, "1E+300"},
		{12.5, "0.##", false, "12.5"},
		{12, "0.##", false, "12"},
		{5, `"unclosed`, false, "unclosed"},
		{5, "[unclosed", false, "5"},
		{0.1 + 0.2, "", false, "0.3"},
		{43831, "yyyy/m/d h:mm", false, "2020/1/1 0:00"},
	} {
		if got := formatNumber(c.v, c.code, c.date1904); got != c.want {
			t.Errorf("%s of %v: got %q, want %q", c.code, c.v, got, c.want)
		}
	}
	for _, c := range []struct{ row, column int }{{0, 0}, {0, 25}, {9, 26}, {1048575, 16383}, {4, 701}, {4, 702}} {
		name := CellName(c.row, c.column)
		if row, column := ParseCell(name); row != c.row || column != c.column {
			t.Errorf("%s is %d, %d, want %+v", name, row, column, c)
		}
	}
	if got := fmt.Sprint(CellName(1048575, 16383)); got != "XFD1048576" {
		t.Errorf("the last cell is %s", got)
	}
}

// What Excel shows, by the public documents of its formats and by the tables of
// other implementations. A format that is not understood shows the number, and says so.
func TestFormatsAsShown(t *testing.T) {
	const day = 46096.0 // 2026-03-15, a Sunday
	for _, c := range []struct {
		v    float64
		code string
		want string
	}{
		// Dates with whatever stands between their parts.
		{day, "dd.mm.yyyy", "15.03.2026"},
		{day, "d.m.yy", "15.3.26"},
		{day, "[$-407]dd.mm.yyyy;@", "15.03.2026"},
		{day, "[$-407]d. mmmm yyyy;@", "15. März 2026"},
		{day, "[$-de-DE]dddd, d. mmmm yyyy", "Sonntag, 15. März 2026"},
		{day, "[$-40C]d mmmm yyyy", "15 mars 2026"},
		{day, "[$-419]d mmm yyyy", "15 мар 2026"},
		{day, "[$-411]aaaa", "日曜日"},
		{day, `[$-F800]dddd\,\ mmmm\ dd\,\ yyyy`, "Sunday, March 15, 2026"},
		{day, "yyyy. mm. dd", "2026. 03. 15"},
		{day + 0.5, "dd.mm.yyyy hh:mm", "15.03.2026 12:00"},
		{day + 0.5, "yyyy-mm-ddThh:mm:ssZ", "2026-03-15T12:00:00Z"},
		{day + 0.25, `yyyy"年"m"月"d"日" 上午/下午h"时"mm"分"`, "2026年3月15日 上午6时00分"},
		{day, `mmmmm\-yy`, "M-26"},
		{day, "m/d/yy h:mm", "3/15/26 0:00"},
		{day + 0.999999, "yyyy-mm-dd hh:mm:ss", "2026-03-16 00:00:00"},
		{day + 0.4166, "hh:mm", "09:59"},
		{0.5, "h AM/PM", "12 PM"},
		{0.0, "h:mm A/P", "12:00 A"},
		{60, "yyyy-mm-dd", "1900-02-29"},
		{61, "yyyy-mm-dd", "1900-03-01"},
		{1, "yyyy-mm-dd", "1900-01-01"},
		{2958465, "yyyy-mm-dd", "9999-12-31"},
		// Eras and other calendars.
		{day, `ggge"年"m"月"d"日"`, "令和8年3月15日"},
		{day, `[$-411]ge.m.d`, "R8.3.15"},
		{43585, `[$-411]ggge"年"`, "平成31年"},
		{43586, `[$-411]ggge"年"`, "令和1年"},
		{9855, `ggge"年"`, "大正15年"},
		{day, "[$-404]e/m/d", "115/3/15"},
		{day, "[$-404]ggge/m/d", "中華民國115/3/15"},
		{day, "e-mm-dd", "2026-03-15"},
		{day, "[$-107041E]d/m/yyyy", "15/3/2569"},
		{day, "d/m/bbbb", "15/3/2569"},
		// Time that has passed.
		{1.5, "[h]:mm:ss", "36:00:00"},
		{1.5, "[hh]:mm", "36:00"},
		{-0.25, "[h]:mm", "-6:00"},
		{0.0625, "[mm]:ss", "90:00"},
		{0.001, "[s]", "86"},
		{0.123456789, "h:mm:ss.000", "2:57:46.667"},
		{0.000690046, "mm:ss.00", "00:59.62"},
		{0.000690046, "[ss].00", "59.62"},
		{0.99999999, "h:mm:ss.0", "0:00:00.0"},
		// Sections and conditions.
		{500, `[>=1000000]0.0,,"M";[>=1000]0.0,"K";0`, "500"},
		{1500, `[>=1000000]0.0,,"M";[>=1000]0.0,"K";0`, "1.5K"},
		{2500000, `[>=1000000]0.0,,"M";[>=1000]0.0,"K";0`, "2.5M"},
		{-5, `[>=1000000]0.0,,"M";[>=1000]0.0,"K";0`, "-5"},
		{0, `[=0]"none";[=1]"one";0`, "none"},
		{1, `[=0]"none";[=1]"one";0`, "one"},
		{7, `[=0]"none";[=1]"one";0`, "7"},
		{12345678, `[>=10000000]##\,##\,##\,##0;[>=100000]##\,##\,##0;##,##0`, "1,23,45,678"},
		{123456, `[>=10000000]##\,##\,##\,##0;[>=100000]##\,##\,##0;##,##0`, "1,23,456"},
		{-3, `[Red][<0]-0.0;0.0`, "-3.0"},
		{5551234, `[<=9999999]###-####;(###) ###-####`, "555-1234"},
		{5551234567, `[<=9999999]###-####;(###) ###-####`, "(555) 123-4567"},
		{-1234.5, "#,##0.00;[Red]#,##0.00", "-1,234.50"}, // the colour alone has the sign
		{-1234.5, "#,##0.00;[Red](#,##0.00)", "(1,234.50)"},
		{-3, `0" gain";0" loss"`, "3 loss"},
		{-3, "0.0_);(0.0)", "(3.0)"},
		{0, "0;-0;;@", ""},
		{3, "0;-0;;@", "3"},
		{-3, `"up";"down";"same"`, "down"},
		// Accounting.
		{0, `_-* #,##0.00\ "€"_-;\-* #,##0.00\ "€"_-;_-* "-"??\ "€"_-;_-@_-`, "- €"},
		{1234.5, `_-* #,##0.00\ "€"_-;\-* #,##0.00\ "€"_-;_-* "-"??\ "€"_-;_-@_-`, "1,234.50 €"},
		{-1234.5, `_-* #,##0.00\ "€"_-;\-* #,##0.00\ "€"_-;_-* "-"??\ "€"_-;_-@_-`, "-1,234.50 €"},
		{0, `_($* #,##0.00_);_($* (#,##0.00);_($* "-"??_);_(@_)`, "$-"},
		{-2, `_($* #,##0.00_);_($* (#,##0.00);_($* "-"??_);_(@_)`, "$(2.00)"},
		{5, `"EUR"* #,##0`, "EUR 5"},
		// Currencies and words.
		{1234.5, `#,##0.00\ [$€-407]`, "1,234.50 €"},
		{1234.5, `[$CHF-807]\ #,##0.00`, "CHF 1,234.50"},
		{-1234.5, `"$"#,##0.00`, "-$1,234.50"},
		{21.5, `0.0\ "°C"`, "21.5 °C"},
		{7, `"No. "000`, "No. 007"},
		{5, `General" pieces"`, "5 pieces"},
		{-5, `General" pieces"`, "-5 pieces"},
		{1.5, "[Red]", "1.5"},
		{1.5, `[DBNum1][$-804]General`, "一.五"},
		// Literals between the digits.
		{123456789, "000-00-0000", "123-45-6789"},
		{20240115, `0000\-00\-00`, "2024-01-15"},
		{5551234567, "(###) ###-####", "(555) 123-4567"},
		{1234567890123, `0 00 00 00 000 000`, "1 23 45 67 890 123"},
		{42, `00"-"00`, "00-42"},
		{15032026, "00/00/0000", "15/03/2026"},
		{12345, `0"."00"."00`, "1.23.45"},
		// Fractions.
		{12.5, "# ?/?", "12 1/2"},
		{0.125, "# ?/?", "1/8"},
		{0.125, "0 ?/?", "0 1/8"},
		{-2.75, "# ?/?", "-2 3/4"},
		{3, "# ?/?", "3"},
		{0, "# ?/?", "0"},
		{12.34, "# ??/??", "12 17/50"},
		{3.14159265, "# ???/???", "3 16/113"},
		{1.5, "?/?", "3/2"},
		{0.5, "# ?/4", "2/4"},
		{2.3125, "# ??/16", "2 5/16"},
		{0.3, "# ??/100", "30/100"},
		{0.9999, "# ?/?", "1"},
		{1.5, `# ?/?"in"`, "1 1/2in"},
		// Exponents.
		{12345, "0.00E+00", "1.23E+04"},
		{0.00012, "0.0E-0", "1.2E-4"},
		{12345, "##0.0E+0", "12.3E+3"},
		{999999, "0.0E+0", "1.0E+6"},
		{0, "0.00E+00", "0.00E+00"},
		// Places and rounding.
		{1.005, "0.00", "1.01"},
		{2.5, "0", "3"},
		{-0.4, "0", "0"},
		{0.5, "#", "1"},
		{0, "#", "0"},
		{0.5, ".00", ".50"},
		{12, "0.##", "12"},
		{5, "0.?", "5"},
		{5, "0,000", "0,005"},
		{1234567.5, "#,##0", "1,234,568"},
		{1234567, `#,##0,"k"`, "1,235k"},
		{0.075, "0.0%", "7.5%"},
		{0.5, `0.0" %"`, "0.5 %"},
		{12.345, "0.0%%", "123450.0%%"},
		{1e20, "0", "100000000000000000000"},
		{1234567890123456, "0", "1234567890123456"},
		{0.1 + 0.2, "0.##################", "0.3"},
	} {
		f := Parse(c.code)
		if got, sure := f.Number(c.v, false); got != c.want || !sure {
			t.Errorf("%s of %v: got %q (sure: %v), want %q", c.code, c.v, got, sure, c.want)
		}
	}
	for _, c := range []struct {
		v    float64
		code string
	}{
		{46096, "TT.MM.JJJJ"},    // German letters: what the program shows is anybody's guess
		{46096, "0 USD"},         // D and S are those of dates, and no digits belong there
		{-1, "yyyy-mm-dd"},       // shown as ####
		{5, ";;;"},               // hidden
		{5, `[>10]0.0`},          // no section has it
		{5, "[unclosed"},         //
		{5, "[Something]0.0"},    //
		{1234.5, "#.##0,00"},     // German separators
		{5, "0;0;0;0;0"},         //
		{1e20, "# ?/?"},          //
		{0.5, "hh:mm:ss.0000"},   // four digits
		{5, "0.0E+0E+0"},         //
		{46096, "dd.mm.yyyy 00"}, //
	} {
		if got, sure := Parse(c.code).Number(c.v, false); got != general(c.v) || sure {
			t.Errorf("%s of %v: got %q (sure: %v), want the number, and not sure", c.code, c.v, got, sure)
		}
	}
	for _, c := range []struct {
		v    float64
		code string
		want string
	}{{day, "[$-43F]d mmmm yyyy", "2026-03-15"}, {day, "[$-1060401]dd/mm/yyyy", "2026-03-15"}, {day, "B2dd/mm/yyyy", "2026-03-15"}} {
		if got, sure := Parse(c.code).Number(c.v, false); got != c.want || sure {
			t.Errorf("%s: got %q (sure: %v), want the day as ISO 8601, and not sure", c.code, got, sure)
		}
	}
	for id, want := range map[int]string{14: "2026-03-15", 22: "2026-03-15 12:00", 27: "2026-03-15 12:00", 31: "2026-03-15 12:00", 58: "2026-03-15 12:00", 33: "2026-03-15 12:00", 12: "46096 1/2"} {
		f, known := Builtin(id)
		if got, sure := f.Number(day+0.5, false); got != want || !sure || !known {
			t.Errorf("format %d: got %q, want %q", id, got, want)
		}
	}
	if f, _ := Builtin(32); f.iso {
		if got, _ := f.Number(0.5, false); got != "12:00" {
			t.Errorf("a time of day is %q", got)
		}
	}
	if _, known := Builtin(120); known {
		t.Error("format 120 is known")
	}
}

// Numbers of East Asia are said with their units, or digit by digit where the format
// has places; other scripts have their digits. What is quoted stays as it is.
func TestNumerals(t *testing.T) {
	const day = 46011.0 // 2025-12-20
	for _, c := range []struct {
		v    float64
		code string
		want string
	}{
		{123, `[DBNum1][$-804]General`, "一百二十三"},
		{123, `[DBNum1][$-804]0`, "一二三"},
		{-1234.05, `[DBNum1][$-804]#,##0.00`, "-一,二三四.〇五"},
		{10, `[DBNum1][$-804]General`, "一十"},
		{101, `[DBNum1][$-804]General`, "一百〇一"},
		{1001, `[DBNum1][$-804]General`, "一千〇一"},
		{10010, `[DBNum1][$-804]General`, "一万〇一十"},
		{100010000, `[DBNum1][$-804]General`, "一亿〇一万"},
		{0, `[DBNum1][$-804]General`, "〇"},
		{-20030.5, `[DBNum2][$-804]General`, "-贰万零叁拾.伍"},
		{1234, `[DBNum2][$-804]General"元整"`, "壹仟贰佰叁拾肆元整"},
		{1234, `[$-804][DBNum3]General`, "１千２百３十４"},
		{1234, `[DBNum2][$-404]General`, "壹仟貳佰參拾肆"},
		{12345, `[DBNum2][$-zh-TW]General`, "壹萬貳仟參佰肆拾伍"},
		{1234567890, `[DBNum1][$-411]General`, "十二億三千四百五十六万七千八百九十"},
		{1234567890, `[DBNum2][$-411]General`, "壱拾弐億参阡四百伍拾六萬七阡八百九拾"},
		{1234567890, `[DBNum3][$-411]General`, "十２億３千４百５十６万７千８百９十"},
		{110, `[DBNum1][$-411]General`, "百十"},
		{10001000, `[DBNum1][$-411]General`, "一千万千"},
		{2010, `[DBNum3][$-411]0`, "２０１０"},
		{123456, `[DBNum4][$-412]General`, "일십이만삼천사백오십육"},
		{1234, `[DBNum2][$-412]General`, "壹阡貳百參拾四"},
		{1234, `[DBNum1]General`, "1234"}, // in the reader's language
		{5, `[DBNum1][$-409]General`, "5"},
		{day, `[DBNum1][$-804]yyyy"年"m"月"d"日"`, "二〇二五年十二月二十日"},
		{day, `[DBNum1][$-411]yyyy"年"m"月"d"日"`, "二〇二五年十二月二十日"},
		{day, `[DBNum1][$-411]ggge"年"mm"月"`, "令和七年十二月"},
		{day, `[DBNum2][$-804]yyyy"年"m"月"d"日"`, "贰零贰伍年壹拾贰月贰拾日"},
		{day, `[DBNum3][$-804]yyyy"年"m"月"d"日"`, "２０２５年１２月２０日"},
		{0.25, `[DBNum1][$-804]h"时"mm"分"`, "六时〇〇分"},
		{7, `[DBNum1][$-804]"第2組"0"号"`, "第2組七号"},
		{1234.5, `[$-D00041E]#,##0.00`, "๑,๒๓๔.๕๐"},
		{day, `[$-D07041E]d/m/yyyy`, "๒๐/๑๒/๒๕๖๘"},
		{12, `t0`, "๑๒"},
		{12.5, `[$-2000401]0.0`, "١٢.٥"},
		{12.5, `[$-3000429]0.0`, "۱۲.۵"},
		{12, `[$-4000439]0`, "१२"},
		{12.5, `[$-D00041E]# ?/?`, "๑๒ ๑/๒"},
		{12, `[$-1E000804]General`, "一十二"},
	} {
		got, sure := Parse(c.code).Number(c.v, false)
		if got != c.want || !sure {
			t.Errorf("%v in %q = %q, %v, want %q", c.v, c.code, got, sure, c.want)
		}
	}
	if got, sure := Parse(`[DBNum1][$-804]General`).Number(1e12, false); sure || got != "1000000000000" {
		t.Errorf("%q, %v", got, sure)
	}
	if got, _ := Parse(`[DBNum1][$-804]0;0;0;"Nr. 2 "@`).Text("x"); got != "Nr. 2 x" {
		t.Errorf("%q", got)
	}
	f, _ := Builtin(59)
	if got, sure := f.Number(7, false); got != "๗" || !sure {
		t.Errorf("the format 59 of Thailand shows %q", got)
	}
}

func TestFormatOfText(t *testing.T) {
	for _, c := range []struct {
		words, code, want string
		sure              bool
	}{
		{"abc", "@", "abc", true},
		{"abc", "_-@_-", "abc", true},
		{"abc", "0;-0;0;@", "abc", true},
		{"17", `"No. "@`, "No. 17", true},
		{"17", `0.00;-0.00;0;@" (text)"`, "17 (text)", true},
		{"abc", `0;0;0;"x"`, "abc", false}, // the program shows x for every text
		{"abc", ";;;", "abc", false},
		{"abc", "0.00", "abc", true},
	} {
		if got, sure := Parse(c.code).Text(c.words); got != c.want || sure != c.sure {
			t.Errorf("%s of %q: got %q (sure: %v), want %q (%v)", c.code, c.words, got, sure, c.want, c.sure)
		}
	}
}

// Whatever stands around and between the digits of a whole number, the digits
// that a format shows are those of the number, in their order.
func TestFormatKeepsDigits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Int64Range(-999999999999999, 999999999999999).Draw(t, "v")
		pieces := rapid.SliceOfN(rapid.SampledFrom([]string{
			"0", "#", "0", "#", "?", "00", "###", "-", " ", "/", "(", ")", `"x"`, `\-`, `".."`, "#,##0", "_-", "* ", "[Red]", "[$€-407]", "€", ":", "[$-409]",
		}), 1, 12).Draw(t, "code")
		code := strings.Join(pieces, "")
		got, sure := Parse(code).Number(float64(v), false)
		if f := Parse(code); len(f.sections) > 0 && f.sections[0].kind == ratioSection {
			return
		}
		if !sure || !strings.ContainsAny(strings.NewReplacer("[$€-407]", "", "[$-409]", "").Replace(code), "0#?") {
			return // nothing but words
		}
		digits := strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return r
			}
			return -1
		}, got)
		want := strconv.FormatInt(v, 10)
		if n := strings.TrimLeft(digits, "0"); n != strings.Trim(want, "-0") && n != strings.TrimLeft(strings.TrimPrefix(want, "-"), "0") {
			t.Fatalf("%q of %d shows %q", code, v, got)
		}
		if v < 0 && !strings.Contains(got, "-") {
			t.Fatalf("%q of %d shows %q: the sign is gone", code, v, got)
		}
	})
}

// A number with decimals comes out as near as its places allow.
func TestFormatRounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Float64Range(-1e9, 1e9).Draw(t, "v")
		decimals := rapid.IntRange(0, 6).Draw(t, "decimals")
		code := "0." + strings.Repeat("0", decimals)
		if rapid.Bool().Draw(t, "group") {
			code = "#,##" + code
		}
		got, _ := Parse(code).Number(v, false)
		back, err := strconv.ParseFloat(strings.ReplaceAll(got, ",", ""), 64)
		if err != nil || math.Abs(back-v) > 0.5*math.Pow10(-decimals)+1e-14*math.Abs(v) {
			t.Fatalf("%s of %v: %q", code, v, got)
		}
	})
}

// Every day has the date that the calendar of Go has for it.
func TestDays(t *testing.T) {
	first := time.Date(1899, 12, 30, 0, 0, 0, 0, time.UTC)
	for n := 61; n < daysToYear10000; n += 13 {
		at := first.AddDate(0, 0, n)
		if d := dayOf(n, false); d.year != at.Year() || d.month != int(at.Month()) || d.day != at.Day() || d.weekday != int(at.Weekday()) {
			t.Fatalf("day %d is %+v, want %v", n, d, at)
		}
		if n > 1462 && dayOf(n-1462, true) != dayOf(n, false) {
			t.Fatalf("day %d from 1904 is %+v", n, dayOf(n-1462, true))
		}
	}
}

func FuzzFormatNumber(f *testing.F) {
	f.Add(45351.5, "yyyy-mm-dd h:mm AM/PM;[Red]0.0#,%", true)
	f.Add(-12.5, "# ??/16;[<0][$-411]ggge;;@", false)
	f.Add(1e300, "##0.0E+0,,%%", false)
	f.Fuzz(func(t *testing.T, v float64, code string, date1904 bool) {
		if len(code) > 1024 {
			return
		}
		p := Parse(code)
		if s, _ := p.Number(v, date1904); len(s) > 64*1024 {
			t.Fatalf("%d bytes", len(s))
		}
		p.Text("x")
	})
}
