package ooxml

import (
	"encoding/xml"
	"strings"

	"sluice/services/parser/internal/office"
)

// listRef is a reference to a list: w:numPr.
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
	look    office.Look
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
		level = office.HeadingName(st.name)
		return level == 0
	})
	return level
}

// named reports whether a style or one it is based on has such a name.
func (s wordStyles) named(id string, match func(name string) bool) (found bool) {
	s.chain(id, func(_ string, st *wordStyle) bool {
		found = match(st.name)
		return !found
	})
	return found
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
func (s wordStyles) look(id string) (l office.Look) {
	s.chain(id, func(_ string, st *wordStyle) bool {
		l = l.Over(st.look)
		if office.IsCodeName(st.name) {
			l = l.Over(office.Look{On: office.Mono, Set: office.Mono})
		}
		return true
	})
	return l
}

// readStyles reads styles.xml. It notes the default paragraph style, too.
func (d *docx) readStyles(part string) error {
	d.styles = wordStyles{}
	if part == "" || !d.Has(part) {
		return nil
	}
	err := d.Parse(part, func(x *office.XML, _ xml.StartElement) error {
		return x.Each(func(se xml.StartElement) error {
			// Styles of tables say how every edge and corner of a table looks: most of the part.
			if se.Name.Local != "style" || office.Attr(se, "type") == "table" {
				return nil
			}
			id := office.Attr(se, "styleId")
			st := &wordStyle{outline: -1}
			if office.Attr(se, "type") == "paragraph" && office.HasAttr(se, "default") && office.Attr(se, "default") != "0" {
				d.normal = id
			}
			d.styles[id] = st
			return x.Each(func(se xml.StartElement) error {
				switch se.Name.Local {
				case "name":
					st.name = strings.ToLower(office.Attr(se, "val"))
				case "basedOn":
					st.basedOn = office.Attr(se, "val")
				case "rPr":
					p, err := readRunProps(x)
					st.look = p.Look
					return err
				case "pPr":
					return x.Each(func(se xml.StartElement) error {
						switch se.Name.Local {
						case "outlineLvl":
							st.outline = office.Number(office.Attr(se, "val"), -1)
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
	return d.Optional(err, "the styles")
}

// runProps is a w:rPr.
type runProps struct {
	office.Look
	style string
	font  string // for w:sym and for fonts whose characters are pictures
	gone  bool   // a paragraph mark that a tracked change deletes
}

func readRunProps(x *office.XML) (runProps, error) {
	var p runProps
	err := x.Each(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "rStyle":
			p.style = office.Attr(se, "val")
		case "b":
			p.Toggle(office.Bold, office.OnOff(se))
		case "i":
			p.Toggle(office.Italic, office.OnOff(se))
		case "strike", "dstrike":
			p.Toggle(office.Strike, office.OnOff(se))
		case "vanish", "webHidden": // webHidden: the page numbers of a table of contents
			p.Hidden = -1
			if office.OnOff(se) {
				p.Hidden = 1
			}
		case "rFonts":
			if p.font = office.Attr(se, "ascii"); p.font == "" {
				p.font = office.Attr(se, "hAnsi")
			}
		case "vertAlign":
			const both = office.Raised | office.Lowered
			p.Set |= both
			p.On &^= both
			switch office.Attr(se, "val") {
			case "superscript":
				p.On |= office.Raised
			case "subscript":
				p.On |= office.Lowered
			}
		case "position": // in half points
			switch n := office.Number(office.Attr(se, "val"), 0); {
			case n > 2:
				p.Toggle(office.Raised, true)
			case n < -2:
				p.Toggle(office.Lowered, true)
			}
		case "del", "moveFrom":
			p.gone = true
		}
		return nil
	})
	return p, err
}

func readListRef(x *office.XML) (listRef, error) {
	ref := listRef{level: -1, set: true}
	err := x.Each(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "ilvl":
			ref.level = office.Number(office.Attr(se, "val"), -1)
		case "numId":
			ref.num = office.Attr(se, "val")
		}
		return nil
	})
	return ref, err
}
