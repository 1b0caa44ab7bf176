package split

import (
	"strings"
	"unicode/utf8"
)

const (
	// maxHeadingBytes is how much of a heading is looked at for the path.
	maxHeadingBytes = 512
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
	force  [7]int    // by level: 1 + index of the heading block in force, 0 for none
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
	for ; o.next < len(o.blocks) && o.blocks[o.next].start < pos; o.next++ {
		b := &o.blocks[o.next]
		if b.kind != heading {
			continue
		}
		for l := int(b.level); l < len(o.force); l++ {
			o.force[l], o.known[l] = 0, false
		}
		o.force[b.level] = o.next + 1
		o.dirty = true
	}
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
		if o.force[l] == 0 {
			continue
		}
		if !o.known[l] {
			b := o.blocks[o.force[l]-1]
			o.texts[l], o.known[l] = o.title(o.md[b.start:b.text]), true
		}
		if o.texts[l] != "" {
			o.path = append(o.path, o.texts[l])
		}
	}
	o.bound()
	return o.path, o.tokens
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
		o.tokens = o.tok.Count(lead(o.path))
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

// lead returns what events.Chunk.Input puts before the text.
func lead(path []string) string {
	if len(path) == 0 {
		return ""
	}
	return strings.Join(path, " > ") + "\n\n"
}

// title returns the plain text of a heading, cut to maxHeadingTokens.
func (o *outline) title(source string) string {
	text := plain(source)
	for o.tok.Count(text) > maxHeadingTokens {
		cut := len(text) * 3 / 4
		if i := strings.LastIndexByte(text[:cut], ' '); i > cut/2 {
			cut = i
		}
		for cut > 0 && !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = strings.TrimRight(strings.TrimSuffix(text[:cut], "…"), " ") + "…"
	}
	return text
}

// plain returns the words of a heading without the Markdown around them.
func plain(s string) string {
	if len(s) > maxHeadingBytes {
		s = s[:maxHeadingBytes]
	}
	s = strings.TrimSpace(strings.ToValidUTF8(s, "\uFFFD"))
	if t := strings.TrimLeft(s, "#"); len(t) < len(s) && len(s)-len(t) <= 6 {
		s = strings.TrimSpace(t)
		if u := strings.TrimRight(s, "#"); u == "" || u[len(u)-1] == ' ' || u[len(u)-1] == '\t' {
			s = u // a closing sequence
		}
	}
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
			if n := strings.IndexByte(s[i:], '>'); n > 0 {
				if inner := s[i+1 : i+n]; strings.Contains(inner, "://") {
					b.WriteString(inner) // an autolink
				}
				i += n
			} else {
				b.WriteByte(c)
			}
		default:
			b.WriteByte(c)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func isPunct(c byte) bool {
	return '!' <= c && c <= '/' || ':' <= c && c <= '@' || '[' <= c && c <= '`' || '{' <= c && c <= '~'
}

func isWord(c byte) bool { return isLetter(c) || '0' <= c && c <= '9' || c >= utf8.RuneSelf }
