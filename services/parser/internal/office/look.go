package office

import (
	"strings"
)

// Look is a run's formatting, where each property may be left to the style.
type Look struct {
	On, Set Style // of bold, italic, strike, mono
	Hidden  int8  // 1 hidden, -1 shown, 0 unsaid
}

// Over returns l where it says something, and under where it does not.
func (l Look) Over(under Look) Look {
	l.On |= under.On &^ l.Set
	l.Set |= under.Set
	if l.Hidden == 0 {
		l.Hidden = under.Hidden
	}
	return l
}

// Toggle says that a property is on or off.
func (l *Look) Toggle(s Style, on bool) {
	l.Set |= s
	l.On &^= s
	if on {
		l.On |= s
	}
}

// headingWords are the names of heading styles where a producer translated them.
var headingWords = []string{
	"heading", "überschrift", "titre", "título", "titulo", "titolo", "kop", "rubrik", "overskrift",
	"otsikko", "nagłówek", "nadpis", "címsor", "заголовок", "επικεφαλίδα", "başlık", "標題", "标题", "見出し", "제목",
}

// HeadingName returns the level that a style's name states, or 0.
func HeadingName(name string) int {
	rest := strings.TrimRight(name, "123456789")
	digits := name[len(rest):]
	if len(digits) != 1 {
		return 0
	}
	rest = strings.TrimRight(rest, " -_")
	for _, w := range headingWords {
		if rest == w {
			return int(digits[0] - '0')
		}
	}
	return 0
}

// IsCodeName reports whether a style of that name, in lower case, is one of code.
func IsCodeName(name string) bool {
	switch name {
	case "html preformatted", "html code", "html sample", "html keyboard", "html typewriter", "macro text", "code", "code block",
		"source code", "sourcecode", "source text", "preformatted text", "verbatim char", "inline code", "code char", "listing":
		return true
	}
	return false
}

// IsQuoteName reports whether a style of that name, in lower case, is one of quotations.
func IsQuoteName(name string) bool {
	switch name {
	case "quote", "intense quote", "block text", "quotations", "block quote", "blockquote":
		return true
	}
	return false
}
