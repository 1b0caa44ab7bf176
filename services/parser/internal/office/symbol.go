package office

import (
	"strconv"
	"strings"
)

// The fonts Symbol and Wingdings put their pictures where letters are, or at
// U+F000 above them. These tables say what the pictures are, from 0x20 on
// (Unicode's mapping tables for Adobe Symbol, and the published Wingdings
// character map, for what appears in text). A space is a picture we have no
// character for.
const (
	symbolFont = ` !∀#∃%&∋()∗+,−./0123456789:;<=>?≅ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_‾αβχδεφγηιϕκλμνοπθρστυϖωξψζ{|}∼ ` +
		`                                €ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…⏐⎯↵ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓◊〈®©™∑⎛⎜⎝⎡⎢⎣⎧⎨⎩⎪ 〉∫⌠⎮⌡⎞⎟⎠⎤⎥⎦⎫⎬⎭ `
)

var wingdings = map[byte]rune{
	0x21: '✏', 0x22: '✂', 0x28: '☎', 0x29: '✆', 0x2A: '✉', 0x36: '⌛', 0x37: '⌨', 0x3F: '✍', 0x41: '✌', 0x43: '👍', 0x44: '👎',
	0x45: '☜', 0x46: '☞', 0x47: '☝', 0x48: '☟', 0x4A: '☺', 0x4B: '😐', 0x4C: '☹', 0x4E: '☠', 0x52: '☼', 0x54: '❄',
	0x6C: '●', 0x6D: '❍', 0x6E: '■', 0x6F: '□', 0x71: '❑', 0x72: '❒', 0x73: '⬧', 0x74: '⧫', 0x75: '◆', 0x76: '❖',
	0x77: '⬥', 0x78: '⌧', 0x9F: '•', 0xA1: '○', 0xA7: '▪', 0xA8: '◻', 0xAB: '★', 0xD8: '➢', 0xDF: '←', 0xE0: '→',
	0xE1: '↑', 0xE2: '↓', 0xE7: '⇐', 0xE8: '⇒', 0xE9: '⇑', 0xEA: '⇓', 0xEB: '⇔', 0xF0: '⇨', 0xFB: '✗', 0xFC: '✓', 0xFD: '☒', 0xFE: '☑',
}

var symbolRunes = []rune(symbolFont)

// pictograph returns the character that one of the picture fonts shows for c.
func pictograph(font string, c byte) (rune, bool) {
	if strings.HasPrefix(strings.ToLower(font), "wingdings") {
		r, ok := wingdings[c]
		return r, ok
	}
	if i := int(c) - 0x20; i >= 0 && i < len(symbolRunes) && (symbolRunes[i] != ' ' || c == ' ') {
		return symbolRunes[i], true
	}
	return 0, false
}

func isPictureFont(font string) bool {
	f := strings.ToLower(font)
	return f == "symbol" || f == "wingdings"
}

// Symbol returns the character of a w:sym: a font and a code in hexadecimal.
func Symbol(font, hex string) string {
	c, err := strconv.ParseUint(hex, 16, 32)
	if err != nil || c == 0 || c > 0x10FFFF {
		return ""
	}
	if c>>8 == 0xF0 || (c < 0x100 && isPictureFont(font)) {
		r, ok := pictograph(font, byte(c))
		if !ok {
			return "" // a decoration of a font we do not know
		}
		return string(r)
	}
	return string(rune(c))
}

// FromSymbolFont returns the text of a run as characters that do not need its font.
func FromSymbolFont(s, font string) string {
	picture := isPictureFont(font)
	if !picture && !strings.ContainsAny(s, "\uf0a7\uf0b7\uf0a8\uf0fc\uf0fe\uf0e0\uf0d8\uf06e\uf0be\uf0ae\uf0b4\uf0b0\uf0b1\uf0a3\uf0b3") {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r>>8 == 0xF0 || (picture && r < 0x100 && r > ' ') {
			if p, ok := pictograph(font, byte(r)); ok {
				return p
			}
		}
		return r
	}, s)
}
