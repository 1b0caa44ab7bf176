package sheet

import (
	"strings"

	"sluice/services/parser/internal/md"
	"sluice/services/parser/internal/office"
)

// Frames are the headers and footers of a workbook's printed pages. What they say
// stands once: with the sheet that says it first, and only if its cells do not.
type Frames struct {
	said map[string]bool
}

// around returns what the header and the footer of a sheet say, and neither its
// blocks nor a sheet before it.
func (f *Frames) around(s *Sheet, blocks []office.Block) (header, footer []office.Block) {
	if len(s.Header)+len(s.Footer) == 0 {
		return nil, nil
	}
	if f.said == nil {
		f.said = map[string]bool{}
	}
	const most = 64             // lines that are looked for; what comes after them is kept as it is
	looked := map[string]bool{} // for
	collect := func(words string) bool {
		if !f.said[words] && len(looked) < most {
			looked[words] = true
		}
		return true
	}
	office.FrameWithout(s.Header, collect)
	office.FrameWithout(s.Footer, collect)
	delete(looked, "")
	for _, b := range append(blocks, office.Block{Text: md.EscapeInline(s.Name)}) {
		// Line by line: a table may have most of the memory already.
		for line := range strings.Lines(b.Text) {
			if len(looked) == 0 {
				break
			}
			line = office.PlainWords(line)
			for words := range looked {
				if strings.Contains(line, words) {
					f.said[words] = true
					delete(looked, words)
				}
			}
		}
	}
	said := func(words string) bool {
		before := f.said[words]
		f.said[words] = true
		return before
	}
	return office.FrameWithout(s.Header, said), office.FrameWithout(s.Footer, said)
}

// FrameOf returns what a header or footer of Excel says (ECMA-376 18.3.1.46): its
// left, middle and right part without fonts, and without what counts pages, says
// when it was printed, or names the file. The name of the sheet is put in.
func FrameOf(code, name string) []office.Block {
	var parts [3]strings.Builder // left, middle, right
	at := 1                      // what stands before any part is in the middle
	for i := 0; i < len(code); i++ {
		if code[i] != '&' || i+1 == len(code) {
			parts[at].WriteByte(code[i])
			continue
		}
		i++
		switch c := code[i]; {
		case c == '&':
			parts[at].WriteByte('&')
		case c == 'L' || c == 'l':
			at = 0
		case c == 'C' || c == 'c':
			at = 1
		case c == 'R' || c == 'r':
			at = 2
		case c == 'A' || c == 'a':
			parts[at].WriteString(name)
		case c == '"': // a font and its style
			if end := strings.IndexByte(code[i+1:], '"'); end >= 0 {
				i += 1 + end
			}
		case c == 'K' || c == 'k': // a colour: RRGGBB, or a number, a sign and a tint
			for n := 0; n < 6 && i+1 < len(code) && strings.IndexByte("0123456789ABCDEFabcdef+-", code[i+1]) >= 0; n++ {
				i++
			}
		case c >= '0' && c <= '9': // the size of the font
			for n := 1; n < 3 && i+1 < len(code) && code[i+1] >= '0' && code[i+1] <= '9'; n++ {
				i++
			}
		case c == 'P' || c == 'p': // and what is added to the number of the page
			if rest := code[i+1:]; len(rest) > 1 && (rest[0] == '+' || rest[0] == '-') && rest[1] >= '0' && rest[1] <= '9' {
				for i += 2; i+1 < len(code) && code[i+1] >= '0' && code[i+1] <= '9'; {
					i++
				}
			}
		case strings.IndexByte("NDTFZGBIUESXYOHndtfzgbiuesxyoh", c) >= 0: // pages, date, time, file, picture, styles
		default:
			parts[at].WriteByte('&') // no code: AT&Ä
			parts[at].WriteByte(c)
		}
	}
	var out []office.Block
	for i := range parts {
		for line := range strings.Lines(strings.ReplaceAll(parts[i].String(), "\r", "\n")) {
			if text := md.Line(line); text != "" {
				out = append(out, office.Block{Text: md.Escape(text)})
			}
		}
	}
	return out
}
