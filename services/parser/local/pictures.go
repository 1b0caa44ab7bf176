package local

import (
	"fmt"
	"strings"

	"sluice/pkg/events"
	"sluice/services/parser/internal/md"
)

// Pictures can be written into a text as base64. Nobody reads them there: 20 kB of
// it are 15,000 tokens that are paid for and find nothing. So they are cut to what
// a reader is told about them, in the Markdown of every format: their alternative
// text where there is one, else the type of what was there.

const (
	// leastPicture is from how many bytes on an address that holds its data is cut,
	// where it stands for a picture.
	leastPicture = 32
	// leastData is the same anywhere else: in code, in values of JSON. Shorter
	// ones are examples.
	leastData = 256
	// leastBare is the same for base64 that nothing says of what it is, but for how
	// it begins.
	leastBare = 512
	// mostAlt bounds how far before the data a description is looked for, in bytes.
	mostAlt = 4 << 10
)

// An edit puts text in the place of what is between from and to.
type edit struct {
	from, to int
	text     string
}

// cutPictures takes pictures and other data out of Markdown. The page marks move
// with their text. What was left out that is no picture is said in warnings.
func cutPictures(s string, pages []events.PageMark) (string, []events.PageMark, []string) {
	c := cutter{s: s}
	c.data()
	if len(c.labels) > 0 {
		c.references()
	}
	s, pages = c.apply(pages)
	b := cutter{s: s}
	b.bare()
	s, pages = b.apply(pages)
	var warnings []string
	if c.files > 0 {
		warnings = append(warnings, fmt.Sprintf("%d files written into the text as base64 are left out", c.files))
	}
	return s, pages, warnings
}

// cutter finds what to cut in a text.
type cutter struct {
	s      string
	edits  []edit
	labels map[string]bool // of link definitions that are gone
	files  int             // that are no pictures, fonts or the like

	line  int  // the start of a line that the fences are known up to
	seen  int  // no line ends between line and here
	fence byte // of the code block that is open there, or 0

	addressFrom, addressEnd int // the address last looked at, that is not base64
}

// data finds addresses that hold their data ("data:", RFC 2397).
func (c *cutter) data() {
	s := c.s
	for at := 0; ; {
		i := strings.Index(s[at:], "data:")
		if i < 0 {
			return
		}
		start := at + i
		at = start + len("data:")
		media, encoded, body := dataHead(s, start)
		if body == 0 {
			continue
		}
		picture := strings.HasPrefix(media, "image/")
		end := body
		if encoded {
			end = base64End(s, body)
		} else if picture {
			end = c.address(start, body)
		}
		if end-body < leastPicture {
			continue
		}
		e, found := c.around(start, end)
		switch {
		case found:
		case encoded && end-body >= leastData:
			e = edit{body, end, "…"}
		default:
			continue
		}
		if n := len(c.edits); n > 0 && c.edits[n-1].to > e.from {
			continue // inside of what is cut already
		}
		c.edits = append(c.edits, e)
		at = max(end, e.to)
		switch kind, _, _ := strings.Cut(media, "/"); kind {
		case "image", "audio", "video", "font":
		default:
			if !strings.Contains(media, "font") {
				c.files++
			}
		}
	}
}

// dataHead reads the head of a data address at start: its media type, whether its
// data is base64, and where that begins; 0 if it is no such address.
func dataHead(s string, start int) (media string, encoded bool, body int) {
	const longest = 128
	rest := s[start+len("data:") : min(len(s), start+longest)]
	head, _, ok := strings.Cut(rest, ",")
	if !ok || strings.ContainsAny(head, " \t\r\n\"'<>()[]") {
		return "", false, 0
	}
	media, _, _ = strings.Cut(strings.ToLower(head), ";")
	encoded = strings.HasSuffix(strings.ToLower(head), ";base64")
	if !encoded && !strings.Contains(media, "/") {
		return "", false, 0
	}
	return media, encoded, start + len("data:") + len(head) + 1
}

// isBase64 tells the bytes of base64, in its usual and in its URL form.
var isBase64 = func() (t [256]bool) {
	for c := range 256 {
		b := byte(c)
		t[c] = 'a' <= b|0x20 && b|0x20 <= 'z' || '0' <= b && b <= '9' || b == '+' || b == '/' || b == '=' || b == '-' || b == '_' || b == '%'
	}
	return t
}()

// base64End returns the end of the base64 at i. It may be broken into lines, and
// hold escapes of Markdown and JSON.
func base64End(s string, i int) int {
	const line, full = 40, 60 // bytes; lines of base64 are no shorter, but for the last
	run := func(i int) int {
		for i < len(s) {
			switch {
			case isBase64[s[i]]:
				i++
			case s[i] == '\\' && i+1 < len(s) && (s[i+1] == '/' || s[i+1] == '+' || s[i+1] == '=' || s[i+1] == '_'):
				i += 2
			default:
				return i
			}
		}
		return i
	}
	for begin := i; ; {
		end := run(i)
		if end-begin < line || s[end-1] == '=' {
			return end
		}
		// A line break, or one that is written as an escape.
		next := end
		for next < len(s) && (s[next] == '\n' || s[next] == '\r' || s[next] == ' ' || s[next] == '\t' || s[next] == '>') {
			next++
		}
		least := line
		if next == end && strings.HasPrefix(s[end:], `\n`) {
			next = end + len(`\n`)
		} else if lines := strings.Count(s[end:next], "\n"); lines > 1 {
			return end
		} else if lines == 0 {
			if least = full; end-begin < full {
				return end // spaces: a line break that a reader has folded, or the end
			}
		}
		more := run(next)
		switch {
		case more == next:
			return end
		case more-next >= least:
		case more < len(s) && strings.IndexByte(`"')>`, s[more]) >= 0: // the last line
		case s[more-1] == '=':
		default:
			return end
		}
		begin, i = next, next
	}
}

// address returns the end of an address that is not base64, from the byte before it.
func (c *cutter) address(start, body int) int {
	s := c.s
	if start > 0 && (s[start-1] == '"' || s[start-1] == '\'') {
		if i := strings.IndexByte(s[body:min(len(s), body+mostAlt)], s[start-1]); i >= 0 {
			return body + i
		}
		return body
	}
	if body < c.addressFrom || body > c.addressEnd {
		c.addressFrom, c.addressEnd = body, len(s)
		if i := strings.IndexAny(s[body:], " \t\r\n)>"); i >= 0 {
			c.addressEnd = body + i
		}
	}
	return c.addressEnd
}

// around returns how to cut the picture or link whose address is at from to to.
func (c *cutter) around(from, to int) (edit, bool) {
	if c.inCode(from) {
		return edit{}, false
	}
	if e, ok := c.inline(from, to); ok {
		return e, true
	}
	if e, ok := c.definition(from, to); ok {
		return e, true
	}
	return c.tag(from, to)
}

// inline finds ![alt](data:...) and [text](data:...).
func (c *cutter) inline(from, to int) (edit, bool) {
	s := c.s
	before := strings.TrimRight(s[max(0, from-64):from], " \t\n<")
	if !strings.HasSuffix(before, "](") {
		return edit{}, false
	}
	closing := max(0, from-64) + len(before) - len("](")
	end := closeInline(s, to)
	if end < 0 {
		return edit{}, false
	}
	depth, open := 0, -1
	for i := closing - 1; i >= max(0, closing-mostAlt); i-- {
		switch {
		case i > 0 && s[i-1] == '\\':
			i--
		case s[i] == ']':
			depth++
		case s[i] == '[' && depth > 0:
			depth--
		case s[i] == '[':
			open = i
		}
		if open >= 0 {
			break
		}
	}
	if open < 0 {
		return edit{}, false
	}
	e := edit{open, end, s[open+1 : closing]}
	if open > 0 && s[open-1] == '!' {
		e.from--
	}
	return e, true
}

// closeInline returns the end of a link whose address ends at i, or -1.
func closeInline(s string, i int) int {
	const longest = 1 << 10 // of a title
	rest := s[i:min(len(s), i+longest)]
	rest = strings.TrimLeft(strings.TrimPrefix(rest, ">"), " \t\n")
	if rest != "" && (rest[0] == '"' || rest[0] == '\'' || rest[0] == '(') {
		quote := rest[0]
		if quote == '(' {
			quote = ')'
		}
		j := strings.IndexByte(rest[1:], quote)
		if j < 0 {
			return -1
		}
		rest = strings.TrimLeft(rest[j+2:], " \t\n")
	}
	if rest == "" || rest[0] != ')' {
		return -1
	}
	return min(len(s), i+longest) - len(rest) + 1
}

// definition finds [label]: data:... on a line of its own.
func (c *cutter) definition(from, to int) (edit, bool) {
	s := c.s
	start := max(0, from-mostAlt)
	if i := strings.LastIndexByte(s[start:from], '\n'); i >= 0 {
		start += i + 1
	} else if start > 0 {
		return edit{}, false
	}
	head := strings.TrimRight(strings.TrimLeft(s[start:from], " >"), " \t<")
	if !strings.HasPrefix(head, "[") || !strings.HasSuffix(head, "]:") {
		return edit{}, false
	}
	if c.labels == nil {
		c.labels = make(map[string]bool)
	}
	c.labels[labelKey(head[1:len(head)-2])] = true
	end := len(s)
	if i := strings.IndexByte(s[to:], '\n'); i >= 0 {
		end = to + i
	}
	return edit{start, end, ""}, true
}

// labelKey is how labels of link definitions are compared.
func labelKey(s string) string { return strings.ToLower(md.Line(s)) }

// tag finds a tag of HTML with the address in one of its attributes.
func (c *cutter) tag(from, to int) (edit, bool) {
	s := c.s
	low := max(0, from-mostAlt)
	open := strings.LastIndexByte(s[low:from], '<')
	if open < 0 {
		return edit{}, false
	}
	open += low
	name := strings.ToLower(s[open+1 : min(len(s), open+5)])
	if strings.IndexByte(s[open:from], '>') >= 0 || name == "" || name[0] < 'a' || name[0] > 'z' {
		return edit{}, false
	}
	if !strings.HasPrefix(name, "img") || len(name) > 3 && name[3] > ' ' && name[3] != '/' {
		return edit{from, to, ""}, true
	}
	// To the end of the tag, past what is quoted.
	end, quote := to, byte(0)
	if from > 0 && (s[from-1] == '"' || s[from-1] == '\'') {
		quote = s[from-1]
	}
	last := min(len(s), to+mostAlt)
	for ; end < last && (quote != 0 || s[end] != '>'); end++ {
		switch {
		case quote != 0 && s[end] == quote:
			quote = 0
		case quote == 0 && (s[end] == '"' || s[end] == '\''):
			quote = s[end]
		}
	}
	if end == last {
		return edit{from, to, ""}, true
	}
	attributes := s[open:from] + s[to:end]
	text := attribute(attributes, "alt")
	if text == "" {
		text = attribute(attributes, "title")
	}
	return edit{open, end + 1, text}, true
}

// attribute returns the value of an attribute of a tag, or "".
func attribute(tag, name string) string {
	lower := strings.ToLower(tag)
	for at := 0; ; {
		i := strings.Index(lower[at:], name)
		if i < 0 {
			return ""
		}
		at += i + len(name)
		if at-len(name) == 0 || len(lower) != len(tag) || strings.IndexByte(" \t\n\"'/", tag[at-len(name)-1]) < 0 {
			continue
		}
		value := strings.TrimLeft(tag[at:], " \t\n")
		if !strings.HasPrefix(value, "=") {
			continue
		}
		value = strings.TrimLeft(value[1:], " \t\n")
		if value == "" {
			return ""
		}
		if quote := value[0]; quote == '"' || quote == '\'' {
			value, _, _ = strings.Cut(value[1:], value[:1])
			return strings.TrimSpace(value)
		}
		if i := strings.IndexAny(value, " \t\n/"); i >= 0 {
			value = value[:i]
		}
		return value
	}
}

// inCode reports whether pos is in a code block or a code span. It is asked for
// ascending places.
func (c *cutter) inCode(pos int) bool {
	s := c.s
	for {
		from := max(c.line, c.seen)
		i := strings.IndexByte(s[from:pos], '\n')
		if i < 0 {
			c.seen = pos
			break
		}
		c.fenceAt(s[c.line : from+i])
		c.line = from + i + 1
	}
	if c.fence != 0 {
		return true
	}
	return strings.Count(s[max(c.line, pos-mostAlt):pos], "`")%2 == 1
}

func (c *cutter) fenceAt(line string) {
	line = strings.TrimLeft(line, " \t>")
	if len(line) < 3 || line[0] != '`' && line[0] != '~' || line[1] != line[0] || line[2] != line[0] {
		return
	}
	switch c.fence {
	case 0:
		if line[0] == '~' || strings.IndexByte(strings.TrimLeft(line, "`"), '`') < 0 {
			c.fence = line[0]
		}
	case line[0]:
		c.fence = 0
	}
}

// references cuts the pictures whose definitions are gone to their descriptions.
func (c *cutter) references() {
	s, kept := c.s, c.edits
	var found []edit
	n := 0
	for at := 0; ; {
		i := strings.Index(s[at:], "![")
		if i < 0 {
			break
		}
		open := at + i
		at = open + len("![")
		for n < len(kept) && kept[n].to <= open {
			n++
		}
		if n < len(kept) && kept[n].from <= open {
			continue
		}
		closing := strings.IndexByte(s[at:min(len(s), at+mostAlt)], ']')
		if closing < 0 {
			continue
		}
		closing += at
		alt, name, end := s[at:closing], s[at:closing], closing+1
		if end < len(s) && s[end] == '[' {
			if j := strings.IndexByte(s[end:min(len(s), end+mostAlt)], ']'); j > 0 {
				if j > 1 {
					name = s[end+1 : end+j]
				}
				end += j + 1
			}
		}
		if c.labels[labelKey(name)] {
			if name == alt && end == closing+1 {
				alt = "" // ![image1] shows the description, which is its name
			}
			found = append(found, edit{open, end, alt})
			at = end
		}
	}
	// Both ascend.
	all := make([]edit, 0, len(kept)+len(found))
	for len(kept) > 0 || len(found) > 0 {
		if len(found) == 0 || len(kept) > 0 && kept[0].from < found[0].from {
			all, kept = append(all, kept[0]), kept[1:]
		} else {
			all, found = append(all, found[0]), found[1:]
		}
	}
	c.edits = all
}

// magics are how pictures of some kinds begin in base64: PNG, JPEG, GIF, WebP,
// TIFF, SVG.
var magics = [...]string{"iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR", "SUkqAA", "TU0AKg", "PHN2Zy"}

// bare finds pictures in base64 without an address around them, as values in JSON.
func (c *cutter) bare() {
	s := c.s
	var next [len(magics)]int // where the magic comes next; -1: nowhere
	for i := range next {
		next[i] = strings.Index(s, magics[i])
	}
	for at := 0; ; {
		first := -1
		for i, m := range magics {
			if next[i] >= 0 && next[i] < at {
				if next[i] = strings.Index(s[at:], m); next[i] >= 0 {
					next[i] += at
				}
			}
			if next[i] >= 0 && (first < 0 || next[i] < next[first]) {
				first = i
			}
		}
		if first < 0 {
			return
		}
		start := next[first]
		at = start + 1
		if start > 0 && isBase64[s[start-1]] && s[start-1] != '=' {
			continue
		}
		if end := base64End(s, start); end-start >= leastBare {
			c.edits = append(c.edits, edit{start, end, "…"})
			at = end
		}
	}
}

// apply carries the edits out.
func (c *cutter) apply(pages []events.PageMark) (string, []events.PageMark) {
	if len(c.edits) == 0 {
		return c.s, pages
	}
	var b strings.Builder
	b.Grow(len(c.s))
	moved := make([]events.PageMark, 0, len(pages))
	at := 0
	for _, e := range c.edits {
		for len(pages) > 0 && pages[0].Offset < e.to {
			offset := b.Len() + min(pages[0].Offset, e.from) - at
			moved = append(moved, events.PageMark{Page: pages[0].Page, Offset: offset})
			pages = pages[1:]
		}
		b.WriteString(c.s[at:e.from])
		b.WriteString(e.text)
		at = e.to
	}
	for _, p := range pages {
		moved = append(moved, events.PageMark{Page: p.Page, Offset: b.Len() + p.Offset - at})
	}
	b.WriteString(c.s[at:])
	if len(moved) == 0 {
		moved = nil
	}
	return b.String(), moved
}
