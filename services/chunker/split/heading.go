package split

import (
	entity "html"
	"strings"
	"unicode/utf8"

	"sluice/pkg/events"
)

const (
	// maxHeadingBytes is how much of a heading is looked at for the path;
	// maxMarkupBytes if it is written in HTML, whose attributes can be long.
	maxHeadingBytes = 512
	maxMarkupBytes  = 4 << 10
	// maxHeadingTokens is the most one heading takes in the path.
	maxHeadingTokens = ContextTokens/2 - 2
)

// outline follows the headings of a text and knows the path at any point of it,
// as long as the points ascend.
type outline struct {
	md     string
	tok    tokenizer
	blocks []block
	next   int       // the first block not yet passed
	force  [7]block  // by level: the heading in force; of no kind where there is none
	texts  [7]string // of the headings in force, once somebody asked
	known  [7]bool   // texts is set
	dirty  bool      // force has changed since path was made
	under  uint8     // what path was made for: levels below this one
	path   []string  //
	tokens int       // of the path and the blank line after it
}

// at returns the heading path of a chunk that starts at pos and the tokens of
// "path\n\n". The path does not contain a heading that the chunk itself begins
// with, nor any that this heading ends. Callers must not change the path.
func (o *outline) at(pos int) (path []string, tokens int) {
	o.pass(pos)
	under := uint8(len(o.force))
	if o.next < len(o.blocks) && o.blocks[o.next].start == pos && o.blocks[o.next].kind == heading {
		under = o.blocks[o.next].level
	}
	if !o.dirty && under == o.under {
		return o.path, o.tokens
	}
	o.dirty, o.under = false, under
	o.path = nil
	for l := 1; l < int(under); l++ {
		if o.force[l].kind != heading {
			continue
		}
		if !o.known[l] {
			b := o.force[l]
			o.texts[l], o.known[l] = o.title(o.md[b.start:b.text]), true
		}
		if o.texts[l] != "" {
			o.path = append(o.path, o.texts[l])
		}
	}
	o.bound()
	return o.path, o.tokens
}

// pass goes on to pos: the headings before it are in force.
func (o *outline) pass(pos int) {
	for ; o.next < len(o.blocks) && o.blocks[o.next].start < pos; o.next++ {
		b := &o.blocks[o.next]
		if b.kind != heading {
			continue
		}
		for l := int(b.level); l < len(o.force); l++ {
			o.force[l], o.known[l] = block{}, false
		}
		o.force[b.level] = *b
		o.dirty = true
	}
}

// bound drops headings from the path until it fits into ContextTokens, with room
// for what the text after it can change. The first heading, usually the title,
// and the innermost ones say most.
func (o *outline) bound() {
	for {
		if len(o.path) == 0 {
			o.path, o.tokens = nil, 0
			return
		}
		o.tokens = o.tok.Count(events.Lead(o.path, ""))
		if o.tokens <= ContextTokens-2 {
			return
		}
		if len(o.path) > 2 {
			o.path = append(o.path[:1], o.path[2:]...)
		} else {
			o.path = o.path[1:]
		}
	}
}

// title returns the plain text of a heading, cut to maxHeadingTokens.
func (o *outline) title(source string) string {
	text := title(source)
	for o.tok.Count(text) > maxHeadingTokens {
		text = shorten(text, len(text)*3/4)
	}
	return text
}

// title returns the words of a heading without the Markdown or HTML around them.
func title(s string) string {
	if lead := strings.TrimLeft(s[:min(len(s), maxHeadingBytes)], " \t\r\n"); strings.HasPrefix(lead, "<") {
		return plain(clip(s, maxMarkupBytes))
	}
	s = strings.TrimSpace(clip(s, maxHeadingBytes))
	if t := strings.TrimLeft(s, "#"); len(t) < len(s) && len(s)-len(t) <= 6 {
		s = strings.TrimSpace(t)
		if u := strings.TrimRight(s, "#"); u == "" || u[len(u)-1] == ' ' || u[len(u)-1] == '\t' {
			s = u // a closing sequence
		}
	}
	return plain(s)
}

// clip cuts s to at most n bytes, between runes.
func clip(s string, n int) string {
	if n >= len(s) {
		return s
	}
	// Bytes that are no UTF-8 are cut anywhere.
	for i := n; i > max(0, n-utf8.UTFMax); i-- {
		if utf8.RuneStart(s[i]) {
			return s[:i]
		}
	}
	return s[:n]
}

// plain returns the words of inline Markdown.
func plain(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	var b strings.Builder
	ticks := false // inside a code span
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '`':
			ticks = !ticks
		case ticks:
			b.WriteByte(c)
		case c == '\\' && i+1 < len(s) && isPunct(s[i+1]):
			i++
			b.WriteByte(s[i])
		case c == '*':
		case c == '_' && !(i > 0 && isWord(s[i-1]) && i+1 < len(s) && isWord(s[i+1])):
		case c == '!' && i+1 < len(s) && s[i+1] == '[':
		case c == '[':
		case c == ']':
			// The target of a link goes, its text stays.
			if i+1 < len(s) && (s[i+1] == '(' || s[i+1] == '[') {
				closing := byte(')')
				if s[i+1] == '[' {
					closing = ']'
				}
				if n := strings.IndexByte(s[i+1:], closing); n > 0 {
					i += 1 + n
				}
			}
		case c == '<' && i+1 < len(s) && (isLetter(s[i+1]) || s[i+1] == '/' || s[i+1] == '!'):
			n := strings.IndexByte(s[i:], '>')
			if n <= 0 {
				b.WriteByte(c)
				break
			}
			b.WriteString(tagText(s[i : i+n]))
			i += n
		case c == '&':
			n := strings.IndexByte(s[i:min(len(s), i+longestEntity)], ';')
			if n < 0 {
				n = 0
			}
			b.WriteString(entity.UnescapeString(s[i : i+n+1]))
			i += n
		default:
			b.WriteByte(c)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// longestEntity is how many bytes an entity like &amp; is looked for in.
const longestEntity = 32

// tagText returns what a reader sees of a tag, which is without its last byte: the
// address of an autolink, the description of a picture.
func tagText(tag string) string {
	switch name, _ := tagName(tag); name {
	case "img":
		for _, quote := range [...]string{`"`, "'"} {
			if _, rest, ok := strings.Cut(tag, "alt="+quote); ok {
				alt, _, _ := strings.Cut(rest, quote)
				return entity.UnescapeString(alt)
			}
		}
	case "", "b", "i", "u", "s", "a", "em", "sub", "sup", "kbd", "tt", "del", "ins", "code", "span", "font", "mark", "abbr", "small", "strong", "strike", "wbr":
		if inner := tag[1:]; strings.Contains(inner, "://") && !strings.ContainsAny(inner, " =") {
			return inner
		}
	default: // a line break, or a block
		return " "
	}
	return ""
}

func isPunct(c byte) bool {
	return '!' <= c && c <= '/' || ':' <= c && c <= '@' || '[' <= c && c <= '`' || '{' <= c && c <= '~'
}

func isWord(c byte) bool { return isLetter(c) || '0' <= c && c <= '9' || c >= utf8.RuneSelf }
