package office

import (
	"slices"
	"strings"
	"unicode"

	"sluice/services/parser/internal/md"
)

// Frame returns what the headers and footers of pages say that is said nowhere
// else: an address, a reference, the name of a company. It stands once. Left out
// is what is in the text too (its title), what came before, and what numbers the
// pages. The fields that count pages are left out by the readers.
func Frame(blocks []Block, text string) []Block {
	have, lines := PlainWords(text), map[string]bool{}
	const most = 200 // lines that are looked for; no page has room for more, and what comes after them is kept
	return FrameWithout(blocks, func(words string) bool {
		if lines[words] || len(lines) < most && strings.Contains(have, words) {
			return true
		}
		if len(lines) < most {
			have += "\n" + words
		}
		lines[words] = true
		return false
	})
}

// FrameWithout is Frame for a text that is not at hand: said is asked whether the
// words of a line, as [PlainWords] has them, were said already.
func FrameWithout(blocks []Block, said func(words string) bool) []Block {
	var out []Block
	for _, b := range blocks {
		words := b.Text
		if b.Kind == Table {
			b.Rows = trimRows(b.Rows)
			words = ""
			for _, row := range b.Rows {
				words += " " + strings.Join(row, " ")
			}
		}
		if !hasWords(words) || numbersPages(words) {
			continue
		}
		if words = PlainWords(words); words == "" || said(words) {
			continue
		}
		switch b.Kind {
		case Heading, Code:
			b.Kind = Paragraph
		}
		out = append(out, b)
	}
	return out
}

// AddFrames adds what headers and footers of pages say and the text does not:
// headers before it, footers after it.
func (d *Document) AddFrames(headers, footers []Block) {
	if len(headers)+len(footers) == 0 {
		return
	}
	text := d.String()
	headers = Frame(headers, text)
	d.Add(Frame(slices.Concat(headers, footers), text)[len(headers):]...)
	d.prepend(headers...)
}

// PlainWords folds a text to what is the same for a reader.
func PlainWords(s string) string { return strings.ToLower(md.Line(unmarked.Replace(s))) }

// unmarked takes the marks of Markdown out of a text.
var unmarked = strings.NewReplacer("**", "", "*", "", `\`, "", "|", " ", "#", "")

// pageWords stand beside the number of a page.
var pageWords = map[string]bool{
	"page": true, "pages": true, "p": true, "pg": true, "of": true, "seite": true, "seiten": true, "von": true, "página": true, "pagina": true,
	"pág": true, "de": true, "sur": true, "di": true, "van": true, "blz": true, "strana": true, "strona": true, "stránka": true, "z": true,
	"страница": true, "стр": true, "сторінка": true, "из": true, "з": true, "sida": true, "side": true, "av": true, "af": true, "sivu": true, "oldal": true,
	"sayfa": true, "σελίδα": true, "από": true, "第": true, "页": true, "頁": true, "共": true, "ページ": true, "페이지": true, "צפחה": true, "صفحة": true, "من": true,
}

// numbersPages reports whether a line has nothing but the number of the page.
func numbersPages(line string) bool {
	for _, w := range strings.FieldsFunc(strings.ToLower(line), func(r rune) bool { return !unicode.IsLetter(r) }) {
		if !pageWords[w] {
			return false
		}
	}
	return len(line) < 64
}

// CountsPages reports whether a field's instruction is one that counts pages, or
// repeats a heading, or the date of printing.
func CountsPages(code string) bool {
	args := FieldArgs(code)
	if len(args) == 0 {
		return false
	}
	switch strings.ToUpper(args[0]) {
	case "PAGE", "NUMPAGES", "SECTIONPAGES", "SECTION", "STYLEREF", "PRINTDATE", "DATE", "TIME":
		return true
	}
	return false
}
