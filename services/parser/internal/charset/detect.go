package charset

import (
	"bytes"
	"unicode/utf8"
)

// sampleSize bounds what the statistics look at, in bytes.
const sampleSize = 64 << 10

// sampleOf returns up to sampleSize bytes of data around its bytes outside
// ASCII, cut at ASCII so that no double byte is torn.
func sampleOf(data []byte) []byte {
	if len(data) <= sampleSize {
		return data
	}
	const margin = 16
	var sample []byte
	for i := 0; i < len(data) && len(sample) < sampleSize; {
		if data[i] < utf8.RuneSelf {
			i++
			continue
		}
		// Run on until margin bytes of ASCII follow, or the sample is full and
		// a byte of ASCII allows to stop.
		from, ascii := max(i-margin, 0), 0
		for from < i && data[from] >= utf8.RuneSelf {
			from++
		}
		for ; i < len(data) && ascii < margin; i++ {
			if data[i] < 0x40 { // below every trail byte
				ascii++
				if len(sample)+i-from >= sampleSize {
					break
				}
			} else if data[i] >= utf8.RuneSelf {
				ascii = 0
			} else {
				ascii++
			}
			if i-from >= 2*sampleSize {
				break
			}
		}
		sample = append(sample, data[from:i]...)
	}
	return sample
}

// doubleByte says how one East Asian encoding arranges its double bytes, and
// which of them are common: kana, punctuation and the frequent level of
// ideographs or syllables. The ranges are those of the national standards: JIS
// X 0208 rows 1 to 47, GB 2312 rows 1 to 55, KS X 1001 rows 1 to 40, Big5 level 1.
type doubleByte struct {
	name   string
	lead   func(c byte) bool
	trail  func(c byte) bool
	single func(c byte) bool // high bytes that stand alone
	common func(lead, trail byte) bool
}

var doubleBytes = [...]doubleByte{
	{
		name:   "shift_jis",
		lead:   func(c byte) bool { return c >= 0x81 && c <= 0x9f || c >= 0xe0 && c <= 0xfc },
		trail:  func(c byte) bool { return c >= 0x40 && c <= 0xfc && c != 0x7f },
		single: func(c byte) bool { return c >= 0xa1 && c <= 0xdf },
		common: func(l, t byte) bool {
			return l >= 0x81 && l <= 0x83 || l >= 0x88 && l <= 0x97 ||
				// IBM's extension, with names such as 髙; before ASCII, an î or ü.
				(l == 0xed || l == 0xee || l >= 0xfa) && t >= 0x80
		},
	},
	{
		name:   "euc-jp",
		lead:   func(c byte) bool { return c >= 0xa1 && c <= 0xfe || c == 0x8e },
		trail:  func(c byte) bool { return c >= 0xa1 && c <= 0xfe },
		common: func(l, _ byte) bool { return l == 0xa1 || l >= 0xa3 && l <= 0xa5 || l >= 0xb0 && l <= 0xcf },
	},
	{
		name:   "gb18030",
		lead:   func(c byte) bool { return c >= 0x81 && c <= 0xfe },
		trail:  func(c byte) bool { return c >= 0x40 && c <= 0xfe && c != 0x7f },
		common: func(l, t byte) bool { return t >= 0xa1 && (l >= 0xb0 && l <= 0xd7 || l == 0xa1 || l == 0xa3) },
	},
	{
		name:   "euc-kr",
		lead:   func(c byte) bool { return c >= 0x81 && c <= 0xfe },
		trail:  func(c byte) bool { return c >= 0x41 && c <= 0xfe },
		common: func(l, t byte) bool { return t >= 0xa1 && (l >= 0xb0 && l <= 0xc8 || l == 0xa1) },
	},
	{
		name:   "big5",
		lead:   func(c byte) bool { return c >= 0x81 && c <= 0xfe },
		trail:  func(c byte) bool { return c >= 0x40 && c <= 0x7e || c >= 0xa1 && c <= 0xfe },
		common: func(l, _ byte) bool { return l >= 0xa4 && l <= 0xc6 || l == 0xa1 },
	},
}

// eastAsian returns the double-byte encoding that sample is in, or "".
func eastAsian(sample []byte) string {
	const certain = 0.8
	best, bestScore, kana := "", 0.0, 0
	for i := range doubleBytes {
		enc := &doubleBytes[i]
		pairs, common, kanaPairs, lowTrails, ok := enc.count(sample)
		if !ok || pairs == 0 {
			continue
		}
		// Western text has single high bytes between ASCII letters, which look
		// like double bytes with a low trail.
		if enc.name != "shift_jis" && enc.name != "big5" && lowTrails*4 > pairs {
			continue
		}
		score := float64(common) / float64(pairs)
		switch enc.name {
		case "euc-jp":
			// Its rows overlap with GB 2312 and KS X 1001. Only kana tell it apart.
			if kanaPairs*4 < pairs {
				continue
			}
			score += 0.1
		case "euc-kr":
			// Korean keeps within the rows of syllables, Chinese does not.
			if score >= 0.97 && pairs >= 4 {
				score += 0.05
			}
		case "big5":
			// Traditional text needs low trails: about 40 % of its characters.
			if lowTrails*6 < pairs {
				continue
			}
		case "shift_jis":
			if kanaPairs == 0 && pairs < 3 {
				score -= 0.3
			}
		}
		if score > bestScore {
			best, bestScore, kana = enc.name, score, kanaPairs
		}
	}
	if bestScore >= certain || best == "shift_jis" && kana > 0 && bestScore >= 0.7 {
		return best
	}
	return ""
}

// count walks sample as text in e. It returns the double bytes in it, how many
// of those are common, how many are kana, and how many have an ASCII trail. ok
// is false where the sample cannot be in e.
func (e *doubleByte) count(sample []byte) (pairs, common, kana, lowTrails int, ok bool) {
	singles, errors := 0, 0
	for i := 0; i < len(sample); i++ {
		c := sample[i]
		if c < utf8.RuneSelf {
			continue
		}
		if e.single != nil && e.single(c) {
			singles++
			continue
		}
		if !e.lead(c) {
			errors++
			continue
		}
		if i+1 == len(sample) {
			break // truncated
		}
		t := sample[i+1]
		if !e.trail(t) {
			errors++
			continue
		}
		pairs++
		if t < utf8.RuneSelf {
			lowTrails++
		}
		if e.common(c, t) {
			common++
		}
		switch e.name {
		case "shift_jis":
			if c == 0x82 || c == 0x83 {
				kana++
			}
		case "euc-jp":
			if c == 0xa4 || c == 0xa5 {
				kana++
			}
		}
		i++
	}
	// Half-width katakana are single high bytes: believable among double
	// bytes, not instead of them.
	return pairs, common, kana, lowTrails, errors*100 <= pairs && singles <= pairs
}

// latin tells the single-byte charsets of Europe's Latin alphabets apart by
// letters that words of the other kind do not contain: "³", "¹" and "¿" within
// a word are the Polish ł, ą and ż of windows-1250, "ø" next to "š" a Czech ř.
// Everything else is windows-1252, the superset of ISO 8859-1 that the WHATWG
// Encoding Standard reads as the default.
func latin(sample []byte) string {
	polish, czech, hungarian := 0, 0, 0
	caron := 0
	western := 0
	for i, c := range sample {
		if c < utf8.RuneSelf {
			continue
		}
		before := i > 0 && isLetterByte(sample[i-1])
		after := i+1 < len(sample) && isLetterByte(sample[i+1])
		switch c {
		case 0xb3, 0xb9, 0xbf, 0x9c, 0x9f, 0xa3, 0x8c, 0xaf, 0xa5:
			if before || after {
				polish++
			}
		case 0x9a, 0x9e, 0x8a, 0x8e, 0x9d, 0x8d:
			caron++
		case 0xf8, 0xec, 0xf9, 0xe8, 0xef, 0xf2, 0xd8, 0xcc, 0xc8:
			if before || after {
				czech++
			}
		case 0xf5, 0xfb, 0xd5, 0xdb:
			if before && after {
				hungarian++
			}
		case 0xe0, 0xe2, 0xea, 0xe7, 0xe5, 0xe6, 0xf1, 0xe3:
			western++
		}
	}
	switch {
	case polish >= 2 && polish*4 >= western,
		caron >= 2 && czech >= 2 && czech > western,
		hungarian >= 3 && western == 0:
		return "windows-1250"
	case isTurkish(sample):
		return "windows-1254"
	}
	return "windows-1252"
}

// isFewAccents reports whether a text has too few bytes outside ASCII for any
// statistics, and all of them mean something in windows-1252: "25 °C", "Ærø".
func isFewAccents(sample []byte) bool {
	const few = 3
	high := 0
	for _, c := range sample {
		if c < utf8.RuneSelf {
			continue
		}
		if high++; high > few {
			return false
		}
		if c < 0xa0 && bytes.IndexByte([]byte("\x80\x85\x91\x92\x93\x94\x95\x96\x97\x99"), c) < 0 {
			return false
		}
	}
	return true
}

// withinLatinWords reports whether most bytes outside ASCII stand in words with
// ASCII letters. No word of Greek, Cyrillic or Hebrew has those.
func withinLatinWords(sample []byte) bool {
	runs, within := 0, 0
	for i := 0; i < len(sample); i++ {
		if sample[i] < 0xc0 {
			continue
		}
		from := i
		for i+1 < len(sample) && sample[i+1] >= 0xc0 {
			i++
		}
		if runs++; from > 0 && isASCIILetter(sample[from-1]) || i+1 < len(sample) && isASCIILetter(sample[i+1]) {
			within++
		}
	}
	return within*2 > runs
}

func isASCIILetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func isLetterByte(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= 0xc0
}

// greek tells windows-1253 from ISO 8859-7: they differ in where Ά is.
func greek(sample []byte) string {
	for i, c := range sample {
		if c == 0xb6 && i+1 < len(sample) && sample[i+1] >= 0xc0 {
			return "iso-8859-7"
		}
	}
	return "windows-1253"
}

// isTurkish reports whether sample has the letters that windows-1254 has in
// place of Icelandic ones, and none of the vowels that come with those.
func isTurkish(sample []byte) bool {
	letters := 0
	for _, c := range sample {
		switch c {
		case 0xd0, 0xdd, 0xde, 0xf0, 0xfd, 0xfe:
			letters++
		case 0xe1, 0xe6, 0xed, 0xf3, 0xfa:
			return false
		}
	}
	return letters >= 2
}
