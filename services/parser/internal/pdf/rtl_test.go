package pdf

import (
	"slices"
	"strings"
	"testing"
)

// TestFromTheRight has lines of Arabic and Hebrew as they are seen, glyph by
// glyph from the left, and drawn in both orders: programs do either.
func TestFromTheRight(t *testing.T) {
	letters := func(s string) []string { return strings.Split(s, "") }
	for _, tt := range []struct {
		name, want string
		glyphs     []string
	}{
		{"words", "שלום עולם", letters("םלוע םולש")},
		{"a ligature of two letters", "السلام عليكم", []string{"م", "ك", "ي", "ل", "ع", " ", "م", "لا", "س", "ل", "ا"}},
		{"a ligature with hamza", "عقد الإيجار", []string{"ر", "ا", "ج", "ي", "لإ", "ا", " ", "د", "ق", "ع"}},
		{"a presentation form", "لا يلغى", []string{"ى", "غ", "ل", "ي", " ", "\ufefb"}},
		{"a ligature that begins with alef", "الله أكبر", []string{"ر", "ب", "ك", "أ", " ", "الله"}},
		{"another ligature", "محمد", []string{"د", "محم"}},
		{"numbers and a full stop", "חדר 123 בקומה 4.", letters(".4 המוקב 123 רדח")},
		{"a decimal number and its unit", "דמי שכירות 12.5% מהערך", letters("ךרעהמ 12.5% תוריכש ימד")},
		{"a date", "בתאריך 15/03/2026 ודנה", letters("הנדו 15/03/2026 ךיראתב")},
		{"words of another script", "תוכנה כמו Microsoft Word 2016 כדי", letters("ידכ Microsoft Word 2016 ומכ הנכות")},
		{"a prefix before another script", "תוכנת ו-LibreOffice כדי", letters("ידכ LibreOffice-ו תנכות")},
		{"no space that is drawn between scripts", "מול ABC שלום", letters("םולש ABC לומ")},
		{"brackets as they are seen", "תקופה (12 חודשים) ארוכה", letters("הכורא (םישדוח 12) הפוקת")},
		{"brackets as they are written", "תקופה (12 חודשים) ארוכה", letters("הכורא )םישדוח 12( הפוקת")},
	} {
		for _, fromRight := range []bool{false, true} {
			name := tt.name + ", drawn from the left"
			if fromRight {
				name = tt.name + ", drawn from the right"
			}
			t.Run(name, func(t *testing.T) {
				var m made
				m.sheet().glyphs(12, 100, 700, fromRight, tt.glyphs...)
				if got := strings.TrimSpace(read(t, &m).Markdown); got != tt.want {
					t.Errorf("got  %q\nwant %q", got, tt.want)
				}
			})
		}
	}
}

func TestLineFromTheLeftWithWordsFromTheRight(t *testing.T) {
	for _, fromRight := range []bool{false, true} {
		var m made
		s := m.sheet()
		s.lines(72, 730, "Most of what stands on this page is read from the left.")
		s.glyphs(12, 72, 700, fromRight, strings.Split("the words םלוע םולש mean hello", "")...)
		if got, want := read(t, &m).Markdown, "the words שלום עולם mean hello"; !strings.Contains(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

// TestLinesFromTheLeftOnPagesFromTheRight has lines that begin at the left edge, with words of
// the other direction in them, among lines that begin at the right one.
func TestLinesFromTheLeftOnPagesFromTheRight(t *testing.T) {
	for _, fromRight := range []bool{false, true} {
		var m made
		s := m.sheet()
		line := func(y float64, right bool, text string) {
			glyphs := strings.Split(text, "")
			x := 72.0
			if right {
				x = 540 - 6*float64(len(glyphs))
			}
			s.glyphs(12, x, y, fromRight, glyphs...)
		}
		line(720, true, "הלש טנרטניאה רתאב וא רחא ןופלטב היריעל תונפל ןתינו תבש טעמל עובשה תומי לכב")
		line(700, false, "Contact: הירפס Main 14, Bern")
		line(680, false, "The word םולש means hello (or peace).")
		line(660, false, "Name לארשי רמת")
		line(640, true, "PDF טמרופב םיכמסמ רומשל ידכ")
		line(620, true, "םיעובש ינש ךות החלשנ הבושתה לכ ןכלו")
		got := read(t, &m).Markdown
		for _, want := range []string{
			"Contact: ספריה Main 14, Bern", "The word שלום means hello (or peace).", "Name תמר ישראל",
			"כדי לשמור מסמכים בפורמט PDF", "בכל ימות השבוע למעט שבת וניתן לפנות",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in\n%s", want, got)
			}
		}
	}
}

// Chrome gives lam, alef and the tanwin above them as what the tanwin alone stands for.
func TestLettersOfASignAboveThem(t *testing.T) {
	const height = 14
	l := visualLine{height: height, y: 100, rtl: 8}
	add := func(x0, x1, y1 float32, r rune) {
		l.glyphs = append(l.glyphs, glyph{
			chars: []int{len(l.glyphs)}, runes: []rune{r}, x0: x0, x1: x1, y0: y1 - 4, y1: y1,
			mark: r == '\u064b',
		})
	}
	add(54, 60, 100, 'ف')
	add(48, 54, 100, 'ع')
	// Lam and alef reach from 38 to 48; what is known is above them.
	for i, r := range "لا\u064b" {
		x := 43 - float32(i/2)*1.3
		add(x, x+1.3, 90, r)
	}
	add(29, 35, 100, 'و')
	add(23, 29, 100, 'م')
	// A vowel between the letters of a ligature is on the first of them.
	add(5, 8, 100, 'ل')
	add(2, 5, 100, 'ا')
	add(3.5, 6.5, 100, '\u064b')
	var got []string
	for _, word := range l.words() {
		s := ""
		for _, g := range logical(word, true) {
			s += string(g.runes)
		}
		got = append(got, s)
	}
	slices.Reverse(got)
	if want := []string{"فعلا\u064b", "وم", "ل\u064bا"}; !slices.Equal(got, want) {
		t.Errorf("words %q, want %q", got, want)
	}
}

// FuzzReadingOrder checks that no glyph is lost or doubled, whatever stands
// beside each other, and that nothing is done to text of one direction.
func FuzzReadingOrder(f *testing.F) {
	f.Add("םולש ABC 12.5% (2025)", true)
	f.Add("לכ-12-34- %5 «א»", false)
	f.Fuzz(func(t *testing.T, s string, rtl bool) {
		var glyphs []glyph
		for i, r := range []rune(s) {
			glyphs = append(glyphs, glyph{chars: []int{i}, runes: []rune{r}})
		}
		if len(glyphs) == 0 || len(glyphs) > 2000 {
			return
		}
		var chars []int
		for _, g := range logical(glyphs, rtl) {
			chars = append(chars, g.chars...)
		}
		if !rtl && !strings.ContainsFunc(s, isRTLRune) && !slices.IsSorted(chars) {
			t.Errorf("%q is in the order %v", s, chars)
		}
		slices.Sort(chars)
		for i, c := range chars {
			if c != i {
				t.Fatalf("%q: %v", s, chars)
			}
		}
		if len(chars) != len(glyphs) {
			t.Errorf("%q: %d glyphs of %d", s, len(chars), len(glyphs))
		}
		var words []word
		for i, w := range strings.Fields(s) {
			words = append(words, word{text: w, x0: float32(i)})
		}
		n := len(words)
		readingOrder(words, rtl)
		seen := map[float32]bool{}
		for i := range words {
			seen[words[i].x0] = true
		}
		if len(seen) != n {
			t.Errorf("%q: %d words of %d", s, len(seen), n)
		}
	})
}

// pdfium drops some spaces of a line, of all places those between scripts, where the
// tail of a letter reaches into the gap.
func TestSpacesBetweenScripts(t *testing.T) {
	const height = 14
	l := visualLine{height: height, rtl: 12}
	at := float32(0)
	add := func(s string, space bool) {
		for _, r := range s {
			l.glyphs = append(l.glyphs, glyph{chars: []int{len(l.glyphs)}, runes: []rune{r}, x0: at, x1: at + 6, space: space})
			at += 6
		}
	}
	add("ורוי", false)
	add(" ", true)
	add("99", false)
	at += .2 * height // a space that is not there
	add("ריחמו", false)
	add(" ", true)
	add("הלא", false)
	at += .2 * height // letters that are set apart
	add("הלא", false)
	var got []string
	for _, word := range l.words() {
		s := ""
		for _, g := range word {
			s += string(g.runes)
		}
		got = append(got, s)
	}
	want := []string{"ורוי", "99", "ריחמו", "הלאהלא"}
	if !slices.Equal(got, want) {
		t.Errorf("words %q, want %q", got, want)
	}
}
