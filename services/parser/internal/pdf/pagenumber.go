package pdf

import (
	"regexp"
	"strconv"
	"strings"
)

// pageForm is how a number says that it is that of a page.
type pageForm uint8

const (
	noNumber   pageForm = iota
	bareNumber          // 12, - 12 -, xii, 12 / 30
	chapter
	titled              // 12 | Annual Report
	spaced              // Annual Report 12, in letters smaller than the text
	named               // Page 12, Seite 12 von 30
)

// pageNumber is what may be the number of a page.
type pageNumber struct {
	form   pageForm
	n      int
	prefix string // of a chapter
	// Where it stands in a piece that says more, in bytes.
	from, to int
}

const (
	pageWord = `page|pag|pág|página|pagina|seite|strona|str|strana|stránka|stranica|sida|side|sivu|oldal|sayfa|halaman|trang|` +
		`стр|страница|сторінка|σελίδα|σελ|صفحة|الصفحة|صفحه|עמוד|पृष्ठ|หน้า|페이지`
	// Of these there is one a page elsewhere, too.
	sheetWord = `blatt|sheet|slide|folie|лист|p\.|pp\.|s\.`
	ofWord    = `of|von|de|di|sur|van|av|af|z|ze|od|из|з|από|من|מתוך|/|共`
)

var (
	// The number, what it is out of.
	namedPage = regexp.MustCompile(`(?i)(?:^|[\s|•·,;(–—-])(?:(?:` + pageWord + `)[.:]?\s*([0-9]{1,5}|[ivxlc]{1,7})(?:\s*(?:` + ofWord + `)\s*([0-9]{1,5}))?|` +
		`(?:` + sheetWord + `)\s*([0-9]{1,5})\s*(?:` + ofWord + `)\s*([0-9]{1,5})|` +
		`第\s*([0-9]{1,5})\s*[页頁]|([0-9]{1,5})\s*(?:ページ|页|頁|쪽))(?:$|[\s|•·,;)–—-])`)
	pageAfter     = regexp.MustCompile(`(?i)^([0-9]{1,5})\s*[|–—-]?\s*(?:page|seite|страница|페이지)$`)
	numberOfPages = regexp.MustCompile(`(?i)^([0-9]{1,5})\s*(?:` + ofWord + `)\s*([0-9]{1,5})$`)
	chapterPage   = regexp.MustCompile(`^([A-Za-z]{1,3}|[0-9]{1,2})[-–]([1-9][0-9]{0,3})$`)
	titledPage    = regexp.MustCompile(`^(?:([1-9][0-9]{0,4})\s*[|•·]\s*\S.*|.*\S\s*[|•·]\s*([1-9][0-9]{0,4}))$`)
	spacedPage    = regexp.MustCompile(`^(?:([1-9][0-9]{0,3})\s+(\p{L}\S*\s+\S.*)|(\p{L}\S*\s+.*\S)\s+([1-9][0-9]{0,3}))$`)
	romanNumeral  = regexp.MustCompile(`^(c{0,3})(xc|xl|l?x{0,3})(ix|iv|v?i{0,3})$`)
)

// findPageNumber finds what may be the number of a page in a piece of a line,
// and returns the piece with "#" in its place.
func findPageNumber(s string) (pageNumber, string) {
	// Most lines at the edges are text.
	const roman = 20 // bytes of the longest with a Roman numeral
	if len(s) > edgeText || len(s) > roman && !strings.ContainsAny(s, "0123456789") {
		return pageNumber{}, s
	}
	t := strings.TrimSpace(strings.Trim(s, "-–—|[](). "))
	t = strings.Replace(t, "P a g e", "Page", 1) // of a common template
	if n := readPageNumber(t); n > 0 {
		return pageNumber{form: bareNumber, n: n}, "#"
	}
	if m := numberOfPages.FindStringSubmatch(t); m != nil {
		if n, of := readPageNumber(m[1]), readPageNumber(m[2]); n > 0 && n <= of {
			return pageNumber{form: bareNumber, n: n}, "#"
		}
	}
	if m := pageAfter.FindStringSubmatch(t); m != nil {
		return pageNumber{form: named, n: readPageNumber(m[1])}, "#"
	}
	if m := namedPage.FindStringSubmatchIndex(s); m != nil {
		for _, g := range []int{1, 3, 5, 6} {
			if m[2*g] < 0 {
				continue
			}
			n := readPageNumber(s[m[2*g]:m[2*g+1]])
			if of := 2 * (g + 1); n == 0 || g <= 3 && m[of] >= 0 && n > readPageNumber(s[m[of]:m[of+1]]) {
				break
			}
			masked := s[:m[0]] + "#" + s[m[1]:]
			if !hasLetter(masked) && !strings.ContainsAny(masked, "0123456789") {
				masked = "#"
			}
			return pageNumber{form: named, n: n, from: m[0], to: m[1]}, masked
		}
	}
	if m := chapterPage.FindStringSubmatch(t); m != nil {
		n, _ := strconv.Atoi(m[2])
		return pageNumber{form: chapter, n: n, prefix: m[1]}, "#"
	}
	if m := titledPage.FindStringSubmatchIndex(s); m != nil {
		at := m[2:4]
		if at[0] < 0 {
			at = m[4:6]
		}
		return pageNumber{form: titled, n: readPageNumber(s[at[0]:at[1]]), from: at[0], to: at[1]}, s[:at[0]] + "#" + s[at[1]:]
	}
	if m := spacedPage.FindStringSubmatchIndex(s); m != nil {
		at := m[2:4]
		if at[0] < 0 {
			at = m[8:10]
			if label.MatchString(s[m[6]:m[7]]) {
				return pageNumber{}, s
			}
		}
		return pageNumber{form: spaced, n: readPageNumber(s[at[0]:at[1]]), from: at[0], to: at[1]}, s[:at[0]] + "#" + s[at[1]:]
	}
	return pageNumber{}, s
}

// readPageNumber reads an Arabic or Roman number, 0 if s is none.
func readPageNumber(s string) int {
	if s == "" || len(s) > 7 || s[0] == '0' {
		return 0
	}
	if s[0] >= '1' && s[0] <= '9' {
		n, err := strconv.Atoi(s)
		if err != nil || n > 99_999 {
			return 0
		}
		return n
	}
	m := romanNumeral.FindStringSubmatch(strings.ToLower(s))
	if m == nil {
		return 0
	}
	n := 0
	values := map[byte]int{'c': 100, 'l': 50, 'x': 10, 'v': 5, 'i': 1}
	for i := range m[0] {
		v := values[m[0][i]]
		if i+1 < len(m[0]) && v < values[m[0][i+1]] {
			v = -v
		}
		n += v
	}
	return n
}
