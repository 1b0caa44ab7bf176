package office

import (
	"encoding/xml"
	"strconv"
	"strings"
)

// look is a run's formatting, where each property may be left to the style.
type look struct {
	on, set style // of bold, italic, strike, mono
	hidden  int8  // 1 hidden, -1 shown, 0 unsaid
}

// over returns l where it says something, and under where it does not.
func (l look) over(under look) look {
	l.on |= under.on &^ l.set
	l.set |= under.set
	if l.hidden == 0 {
		l.hidden = under.hidden
	}
	return l
}

func (l *look) toggle(s style, on bool) {
	l.set |= s
	l.on &^= s
	if on {
		l.on |= s
	}
}

// numbering is a reference to a list: w:numPr.
type listRef struct {
	num   string
	level int // -1 unsaid
	set   bool
}

// wordStyle is an entry of styles.xml.
type wordStyle struct {
	name    string // lower case; English for built-in styles, whatever the language of Word
	basedOn string
	outline int // 0 to 8, 9 is body text, -1 unsaid
	list    listRef
	look    look
}

type wordStyles map[string]*wordStyle

// chain calls f for a style and what it is based on, until f returns false.
func (s wordStyles) chain(id string, f func(id string, st *wordStyle) bool) {
	const longest = 32 // also ends cycles
	for range longest {
		st := s[id]
		if st == nil || !f(id, st) {
			return
		}
		id = st.basedOn
	}
}

// heading returns the heading level of a paragraph style, or 0.
func (s wordStyles) heading(id string) (level int) {
	s.chain(id, func(_ string, st *wordStyle) bool {
		switch st.name {
		case "title":
			level = 1
			return false
		case "subtitle":
			return false
		}
		if st.outline >= 0 {
			if st.outline < 9 {
				level = st.outline + 1
			}
			return false
		}
		level = headingName(st.name)
		return level == 0
	})
	return level
}

// headingWords are the names of heading styles where a producer translated them.
var headingWords = []string{
	"heading", "überschrift", "titre", "título", "titulo", "titolo", "kop", "rubrik", "overskrift",
	"otsikko", "nagłówek", "nadpis", "címsor", "заголовок", "επικεφαλίδα", "başlık", "標題", "标题", "見出し", "제목",
}

// headingName returns the level that a style's name states, or 0.
func headingName(name string) int {
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

// named reports whether a style or one it is based on has such a name.
func (s wordStyles) named(id string, match func(name string) bool) (found bool) {
	s.chain(id, func(_ string, st *wordStyle) bool {
		found = match(st.name)
		return !found
	})
	return found
}

func isCodeName(name string) bool {
	switch name {
	case "html preformatted", "html code", "html sample", "html keyboard", "html typewriter", "macro text", "code", "code block",
		"source code", "sourcecode", "source text", "preformatted text", "verbatim char", "inline code", "code char", "listing":
		return true
	}
	return false
}

func isQuoteName(name string) bool {
	switch name {
	case "quote", "intense quote", "block text", "quotations", "block quote", "blockquote":
		return true
	}
	return false
}

// list returns the list that a paragraph style puts its paragraphs in.
func (s wordStyles) list(id string) (ref listRef, owner string) {
	s.chain(id, func(id string, st *wordStyle) bool {
		if st.list.set {
			ref, owner = st.list, id
		}
		return !st.list.set
	})
	return ref, owner
}

// look returns the formatting of a character style.
func (s wordStyles) look(id string) (l look) {
	s.chain(id, func(_ string, st *wordStyle) bool {
		l = l.over(st.look)
		if isCodeName(st.name) {
			l = l.over(look{on: mono, set: mono})
		}
		return true
	})
	return l
}

// readStyles reads styles.xml and returns the default paragraph style, too.
func (d *docx) readStyles(part string) error {
	d.styles = wordStyles{}
	if part == "" || !d.has(part) {
		return nil
	}
	err := d.parse(part, func(x *xmlReader, _ xml.StartElement) error {
		return x.each(func(se xml.StartElement) error {
			if se.Name.Local != "style" {
				return nil
			}
			id := attr(se, "styleId")
			st := &wordStyle{outline: -1}
			if attr(se, "type") == "paragraph" && hasAttr(se, "default") && attr(se, "default") != "0" {
				d.normal = id
			}
			d.styles[id] = st
			return x.each(func(se xml.StartElement) error {
				switch se.Name.Local {
				case "name":
					st.name = strings.ToLower(attr(se, "val"))
				case "basedOn":
					st.basedOn = attr(se, "val")
				case "rPr":
					p, err := readRunProps(x)
					st.look = p.look
					return err
				case "pPr":
					return x.each(func(se xml.StartElement) error {
						switch se.Name.Local {
						case "outlineLvl":
							st.outline = number(attr(se, "val"), -1)
						case "numPr":
							var err error
							st.list, err = readListRef(x)
							return err
						}
						return nil
					})
				}
				return nil
			})
		})
	})
	return d.optional(err, "the styles")
}

// runProps is a w:rPr.
type runProps struct {
	look
	style string
	font  string // for w:sym and for fonts whose characters are pictures
	super bool
	gone  bool // a paragraph mark that a tracked change deletes
}

func readRunProps(x *xmlReader) (runProps, error) {
	var p runProps
	err := x.each(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "rStyle":
			p.style = attr(se, "val")
		case "b":
			p.toggle(bold, onOff(se))
		case "i":
			p.toggle(italic, onOff(se))
		case "strike", "dstrike":
			p.toggle(strike, onOff(se))
		case "vanish", "webHidden": // webHidden: the page numbers of a table of contents
			p.hidden = -1
			if onOff(se) {
				p.hidden = 1
			}
		case "rFonts":
			if p.font = attr(se, "ascii"); p.font == "" {
				p.font = attr(se, "hAnsi")
			}
		case "vertAlign":
			p.super = attr(se, "val") == "superscript"
		case "del", "moveFrom":
			p.gone = true
		}
		return nil
	})
	return p, err
}

func readListRef(x *xmlReader) (listRef, error) {
	ref := listRef{level: -1, set: true}
	err := x.each(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "ilvl":
			ref.level = number(attr(se, "val"), -1)
		case "numId":
			ref.num = attr(se, "val")
		}
		return nil
	})
	return ref, err
}

// number returns s as an int, or otherwise if it is none or absurd.
func number(s string, otherwise int) int {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil || n < -1<<31 || n > 1<<31-1 {
		return otherwise
	}
	return n
}
