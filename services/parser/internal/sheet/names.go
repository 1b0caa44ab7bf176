package sheet

import "strings"

// languages are the primary languages of Windows' locale numbers whose names of
// months and days are known here (MS-LCID 2.2).
var languages = map[uint64]string{
	0x04: "zh", 0x05: "cs", 0x06: "da", 0x07: "de", 0x08: "el", 0x09: "en", 0x0A: "es", 0x0B: "fi", 0x0C: "fr", 0x0E: "hu", 0x10: "it",
	0x11: "ja", 0x12: "ko", 0x13: "nl", 0x14: "nb", 0x15: "pl", 0x16: "pt", 0x18: "ro", 0x19: "ru", 0x1D: "sv", 0x1F: "tr", 0x22: "uk",
}

// calendars hold the names of the months, of the days of the week from Sunday on,
// and where they are not the first three letters, short ones (Unicode CLDR 46).
var calendars = map[string]struct{ months, days, shortMonths, shortDays string }{
	"en": {
		"January February March April May June July August September October November December",
		"Sunday Monday Tuesday Wednesday Thursday Friday Saturday", "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec", "Sun Mon Tue Wed Thu Fri Sat",
	},
	"de": {
		"Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
		"Sonntag Montag Dienstag Mittwoch Donnerstag Freitag Samstag", "Jan Feb Mrz Apr Mai Jun Jul Aug Sep Okt Nov Dez", "So Mo Di Mi Do Fr Sa",
	},
	"fr": {
		"janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
		"dimanche lundi mardi mercredi jeudi vendredi samedi", "janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc.", "dim. lun. mar. mer. jeu. ven. sam.",
	},
	"es": {
		"enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
		"domingo lunes martes miércoles jueves viernes sábado", "ene feb mar abr may jun jul ago sep oct nov dic", "dom lun mar mié jue vie sáb",
	},
	"it": {
		"gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
		"domenica lunedì martedì mercoledì giovedì venerdì sabato", "gen feb mar apr mag giu lug ago set ott nov dic", "dom lun mar mer gio ven sab",
	},
	"pt": {
		"janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
		"domingo segunda-feira terça-feira quarta-feira quinta-feira sexta-feira sábado", "jan fev mar abr mai jun jul ago set out nov dez", "dom seg ter qua qui sex sáb",
	},
	"nl": {
		"januari februari maart april mei juni juli augustus september oktober november december",
		"zondag maandag dinsdag woensdag donderdag vrijdag zaterdag", "jan feb mrt apr mei jun jul aug sep okt nov dec", "zo ma di wo do vr za",
	},
	"sv": {
		"januari februari mars april maj juni juli augusti september oktober november december",
		"söndag måndag tisdag onsdag torsdag fredag lördag", "jan feb mar apr maj jun jul aug sep okt nov dec", "sön mån tis ons tor fre lör",
	},
	"da": {
		"januar februar marts april maj juni juli august september oktober november december",
		"søndag mandag tirsdag onsdag torsdag fredag lørdag", "", "",
	},
	"nb": {
		"januar februar mars april mai juni juli august september oktober november desember",
		"søndag mandag tirsdag onsdag torsdag fredag lørdag", "", "",
	},
	"fi": {
		"tammikuu helmikuu maaliskuu huhtikuu toukokuu kesäkuu heinäkuu elokuu syyskuu lokakuu marraskuu joulukuu",
		"sunnuntai maanantai tiistai keskiviikko torstai perjantai lauantai", "", "",
	},
	"pl": {
		"styczeń luty marzec kwiecień maj czerwiec lipiec sierpień wrzesień październik listopad grudzień",
		"niedziela poniedziałek wtorek środa czwartek piątek sobota", "", "",
	},
	"cs": {
		"leden únor březen duben květen červen červenec srpen září říjen listopad prosinec",
		"neděle pondělí úterý středa čtvrtek pátek sobota", "", "",
	},
	"hu": {
		"január február március április május június július augusztus szeptember október november december",
		"vasárnap hétfő kedd szerda csütörtök péntek szombat", "", "",
	},
	"ro": {
		"ianuarie februarie martie aprilie mai iunie iulie august septembrie octombrie noiembrie decembrie",
		"duminică luni marți miercuri joi vineri sâmbătă", "", "",
	},
	"ru": {
		"январь февраль март апрель май июнь июль август сентябрь октябрь ноябрь декабрь",
		"воскресенье понедельник вторник среда четверг пятница суббота", "янв фев мар апр май июн июл авг сен окт ноя дек", "Вс Пн Вт Ср Чт Пт Сб",
	},
	"uk": {
		"січень лютий березень квітень травень червень липень серпень вересень жовтень листопад грудень",
		"неділя понеділок вівторок середа четвер пʼятниця субота", "", "",
	},
	"el": {
		"Ιανουάριος Φεβρουάριος Μάρτιος Απρίλιος Μάιος Ιούνιος Ιούλιος Αύγουστος Σεπτέμβριος Οκτώβριος Νοέμβριος Δεκέμβριος",
		"Κυριακή Δευτέρα Τρίτη Τετάρτη Πέμπτη Παρασκευή Σάββατο", "", "",
	},
	"tr": {
		"Ocak Şubat Mart Nisan Mayıs Haziran Temmuz Ağustos Eylül Ekim Kasım Aralık",
		"Pazar Pazartesi Salı Çarşamba Perşembe Cuma Cumartesi", "Oca Şub Mar Nis May Haz Tem Ağu Eyl Eki Kas Ara", "Paz Pzt Sal Çar Per Cum Cmt",
	},
	"zh": {
		"一月 二月 三月 四月 五月 六月 七月 八月 九月 十月 十一月 十二月", "星期日 星期一 星期二 星期三 星期四 星期五 星期六",
		"1月 2月 3月 4月 5月 6月 7月 8月 9月 10月 11月 12月", "日 一 二 三 四 五 六",
	},
	"ja": {
		"1月 2月 3月 4月 5月 6月 7月 8月 9月 10月 11月 12月", "日曜日 月曜日 火曜日 水曜日 木曜日 金曜日 土曜日", "", "日 月 火 水 木 金 土",
	},
	"ko": {
		"1월 2월 3월 4월 5월 6월 7월 8월 9월 10월 11월 12월", "일요일 월요일 화요일 수요일 목요일 금요일 토요일", "", "일 월 화 수 목 금 토",
	},
}

func monthName(language string, month int, short bool) string {
	c, ok := calendars[language]
	if !ok {
		c = calendars["en"]
	}
	names := c.months
	if short && c.shortMonths != "" {
		names = c.shortMonths
	}
	return strings.Fields(names)[month-1]
}

func dayName(language string, weekday int, short bool) string {
	c, ok := calendars[language]
	if !ok {
		c = calendars["en"]
	}
	names := c.days
	if short && c.shortDays != "" {
		names = c.shortDays
	}
	return strings.Fields(names)[weekday]
}

// builtins are the number formats that spreadsheets refer to by number (MS-XLS
// 2.4.126, ECMA-376 18.8.30). Dates that follow the reader's locale are written
// as in ISO 8601, which reads the same everywhere; currencies that follow it are
// left out.
var builtins = map[int]string{
	0: "", 1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 5: "#,##0;-#,##0", 6: "#,##0;-#,##0", 7: "#,##0.00;-#,##0.00", 8: "#,##0.00;-#,##0.00",
	9: "0%", 10: "0.00%", 11: "0.00E+00", 12: "# ?/?", 13: "# ??/??", 14: "yyyy-mm-dd", 15: "d-mmm-yy", 16: "d-mmm", 17: "mmm-yy",
	18: "h:mm AM/PM", 19: "h:mm:ss AM/PM", 20: "h:mm", 21: "h:mm:ss", 22: "yyyy-mm-dd h:mm", 23: "", 24: "", 25: "", 26: "",
	37: "#,##0;-#,##0", 38: "#,##0;-#,##0", 39: "#,##0.00;-#,##0.00", 40: "#,##0.00;-#,##0.00",
	41: `#,##0;-#,##0;"-"`, 42: `#,##0;-#,##0;"-"`, 43: `#,##0.00;-#,##0.00;"-"`, 44: `#,##0.00;-#,##0.00;"-"`,
	45: "mm:ss", 46: "[h]:mm:ss", 47: "mm:ss.0", 48: "##0.0E+0", 49: "@",
	// Thai.
	59: "t0", 60: "t0.00", 61: "t#,##0", 62: "t#,##0.00", 67: "t0%", 68: "t0.00%", 69: "t# ?/?", 70: "t# ??/??", 71: "yyyy-mm-dd", 72: "d-mmm-yy",
	73: "d-mmm", 74: "mmm-yy", 75: "h:mm", 76: "h:mm:ss", 77: "yyyy-mm-dd h:mm", 78: "mm:ss", 79: "[h]:mm:ss", 80: "mm:ss.0", 81: "yyyy-mm-dd",
}

// Builtin returns the format of a number below 164, and whether there is one.
//
// From 27 to 36 and from 50 to 58 they are dates and times of China, Japan and
// Korea, and which of them depends on the reader's country, which no file says.
// They come as ISO 8601 with all that the number has.
func Builtin(id int) (f *Format, known bool) {
	if (id >= 27 && id <= 36) || (id >= 50 && id <= 58) {
		return &Format{iso: true}, true
	}
	code, known := builtins[id]
	return Parse(code), known
}
