package ooxml

import (
	"encoding/xml"
	"strings"

	"sluice/services/parser/internal/office"
)

type listLevel struct {
	format  string // "decimal", "bullet", "lowerLetter"
	custom  string // "001, 002, 003, ..."
	text    string // "%1.%2)"
	start   int
	restart int // the level (from 1) whose next item starts this one over; 0 never, -1 any higher
	style   string
	legal   bool // all numbers in it are decimal
}

// abstractList is a w:abstractNum: its levels and how far each has counted.
type abstractList struct {
	levels [office.ListLevels]listLevel
	link   string // a numbering style that defines it instead
	count  [office.ListLevels]int
	used   [office.ListLevels]bool
}

// wordList is a w:num: a use of an abstractList.
type wordList struct {
	abstract string
	starts   map[int]int // levels to start over at, when first used
	levels   map[int]listLevel
}

type wordLists struct {
	abstracts map[string]*abstractList
	nums      map[string]*wordList
	styles    wordStyles
}

func (d *docx) readLists(part string) error {
	d.lists = wordLists{abstracts: map[string]*abstractList{}, nums: map[string]*wordList{}, styles: d.styles}
	if part == "" || !d.Has(part) {
		return nil
	}
	err := d.Parse(part, func(x *office.XML, _ xml.StartElement) error {
		return x.Each(func(se xml.StartElement) error {
			switch se.Name.Local {
			case "abstractNum":
				a := &abstractList{}
				d.lists.abstracts[office.Attr(se, "abstractNumId")] = a
				return x.Each(func(se xml.StartElement) error {
					switch se.Name.Local {
					case "numStyleLink":
						a.link = office.Attr(se, "val")
					case "lvl":
						i, lvl, err := readListLevel(x, se)
						if i >= 0 && i < office.ListLevels {
							a.levels[i] = lvl
						}
						return err
					}
					return nil
				})
			case "num":
				n := &wordList{starts: map[int]int{}, levels: map[int]listLevel{}}
				d.lists.nums[office.Attr(se, "numId")] = n
				return x.Each(func(se xml.StartElement) error {
					switch se.Name.Local {
					case "abstractNumId":
						n.abstract = office.Attr(se, "val")
					case "lvlOverride":
						at := office.Number(office.Attr(se, "ilvl"), -1)
						if at < 0 || at >= office.ListLevels {
							return nil
						}
						return x.Each(func(se xml.StartElement) error {
							switch se.Name.Local {
							case "startOverride":
								n.starts[at] = office.Number(office.Attr(se, "val"), 1)
							case "lvl":
								_, lvl, err := readListLevel(x, se)
								n.levels[at] = lvl
								return err
							}
							return nil
						})
					}
					return nil
				})
			}
			return nil
		})
	})
	return d.Optional(err, "the numbering of lists")
}

func readListLevel(x *office.XML, se xml.StartElement) (int, listLevel, error) {
	at := office.Number(office.Attr(se, "ilvl"), -1)
	lvl := listLevel{start: 0, restart: -1}
	var element func(se xml.StartElement) error
	element = func(se xml.StartElement) error {
		v := office.Attr(se, "val")
		switch se.Name.Local {
		case "AlternateContent": // around formats that are younger than the others
			return x.Alternate(element)
		case "numFmt":
			lvl.format, lvl.custom = v, office.Attr(se, "format")
		case "lvlText":
			lvl.text = v
		case "start":
			lvl.start = office.Number(v, 1)
		case "lvlRestart":
			lvl.restart = office.Number(v, -1)
		case "pStyle":
			lvl.style = v
		case "isLgl":
			lvl.legal = office.OnOff(se)
		}
		return nil
	}
	err := x.Each(element)
	return at, lvl, err
}

// find returns a list and what it counts in.
func (l *wordLists) find(num string) (*wordList, *abstractList) {
	const links = 8 // also ends cycles
	n := l.nums[num]
	for range links {
		if n == nil {
			return nil, nil
		}
		a := l.abstracts[n.abstract]
		if a == nil || a.link == "" {
			return n, a
		}
		ref, _ := l.styles.list(a.link)
		n = l.nums[ref.num]
	}
	return nil, nil
}

// next counts one more item of a list. It returns the label in front of it
// ("2.1", "b)"), or bullet for an item without a number. A reference to no list
// returns neither.
func (l *wordLists) next(ref listRef, style string) (level int, label string, bullet bool) {
	n, a := l.find(ref.num)
	if a == nil || ref.num == "0" {
		return 0, "", false
	}
	at := ref.level
	if at < 0 { // the style named the list; the list names the level of the style
		at = 0
		for i := range a.levels {
			if a.levels[i].style == style && style != "" {
				at = i
				break
			}
		}
	}
	at = min(at, office.ListLevels-1)
	levels := a.levels
	for i, lvl := range n.levels {
		levels[i] = lvl
	}
	for i, start := range n.starts {
		levels[i].start = start
	}
	if start, ok := n.starts[at]; ok { // once per use of the list
		delete(n.starts, at)
		a.count[at], a.used[at] = start-1, true
		n.levels[at] = levels[at]
	}
	if !a.used[at] {
		a.count[at], a.used[at] = levels[at].start-1, true
	}
	a.count[at]++
	for i := at + 1; i < office.ListLevels; i++ {
		if r := levels[i].restart; r < 0 || (r > 0 && at < r) {
			a.used[i] = false
		}
	}
	switch levels[at].format {
	case "bullet":
		return at, "", true
	case "none", "":
		if !strings.Contains(levels[at].text, "%") {
			return at, strings.TrimSpace(levels[at].text), levels[at].text == ""
		}
	}
	return at, strings.TrimSpace(a.label(&levels, at)), false
}

// label fills the numbers into a level's text.
func (a *abstractList) label(levels *[office.ListLevels]listLevel, at int) string {
	var b strings.Builder
	text := levels[at].text
	for i := 0; i < len(text); i++ {
		if text[i] != '%' || i+1 == len(text) || text[i+1] < '1' || text[i+1] > '9' {
			b.WriteByte(text[i])
			continue
		}
		i++
		k := int(text[i] - '1')
		n := a.count[k]
		if !a.used[k] {
			n = levels[k].start
		}
		switch format := levels[k].format; {
		case levels[at].legal:
			b.WriteString(office.Ordinal(n, "decimal"))
		case format == "custom":
			b.WriteString(office.CustomOrdinal(n, levels[k].custom))
		default:
			b.WriteString(office.Ordinal(n, format))
		}
	}
	return b.String()
}
