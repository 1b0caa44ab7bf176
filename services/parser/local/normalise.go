package local

import (
	"strings"
	"unicode/utf8"

	"sluice/pkg/events"
)

// normalise gives Markdown the form that all stages rely on: valid UTF-8, LF
// line ends, no control characters, at most two blank lines together, none at
// the start, and exactly one line end at the end. Nothing but white space
// becomes "". The page marks move with their text; a page without text has the
// place of what follows it.
func normalise(s string, pages []events.PageMark) (string, []events.PageMark) {
	const mostLineEnds = 3
	var (
		out    = make([]byte, 0, len(s)+1)
		moved  = make([]events.PageMark, 0, len(pages))
		owed   int // line ends before the next text
		at     int // of the line, in s
		marks  = pages
		marked = func(offset int) {
			moved = append(moved, events.PageMark{Page: marks[0].Page, Offset: offset})
			marks = marks[1:]
		}
	)
	for at < len(s) {
		line, next := cutLine(s, at)
		if strings.TrimSpace(line) != "" {
			clean := cleanLine(line)
			if strings.TrimSpace(clean) != "" {
				if len(out) > 0 {
					for range min(owed, mostLineEnds) {
						out = append(out, '\n')
					}
				}
				owed = 0
				for len(marks) > 0 && marks[0].Offset < next {
					inLine := max(marks[0].Offset-at, 0)
					if len(clean) != len(line) || inLine > len(clean) {
						inLine = 0
					}
					marked(len(out) + inLine)
				}
				out = append(out, clean...)
			}
		}
		owed++
		at = next
	}
	for len(out) > 0 && (out[len(out)-1] == ' ' || out[len(out)-1] == '\t') {
		out = out[:len(out)-1]
	}
	if len(out) == 0 {
		return "", nil
	}
	out = append(out, '\n')
	for len(marks) > 0 {
		marked(len(out))
	}
	for i := range moved { // trailing white space is gone, and marks may have been in it
		moved[i].Offset = min(moved[i].Offset, len(out))
		if i > 0 {
			moved[i].Offset = max(moved[i].Offset, moved[i-1].Offset)
		}
	}
	if len(moved) == 0 {
		moved = nil
	}
	return string(out), moved
}

// cutLine returns the line of s that begins at byte from, without its end (LF,
// CRLF or CR), and where the next one begins.
func cutLine(s string, from int) (line string, next int) {
	i := strings.IndexAny(s[from:], "\r\n")
	if i < 0 {
		return s[from:], len(s)
	}
	end := from + i
	if s[end] == '\r' && end+1 < len(s) && s[end+1] == '\n' {
		return s[from:end], end + 2
	}
	return s[from:end], end + 1
}

// cleanLine removes what is no text: control characters, byte order marks, soft
// hyphens, and bytes that are not UTF-8, which become U+FFFD.
func cleanLine(s string) string {
	dirty := false
	for i := 0; i < len(s) && !dirty; i++ {
		switch c := s[i]; {
		case c < 0x20 && c != '\t', c == 0x7f, c == 0xc2, c == 0xe2, c == 0xef, c >= 0xf5:
			dirty = true // 0xc2, 0xe2, 0xef: perhaps, one of the below begins like this
		}
	}
	if !dirty && utf8.ValidString(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return r
		case r == '\v', r == '\f', r == '\u2028', r == '\u2029', r == '\u0085':
			return ' '
		case r < 0x20, r >= 0x7f && r < 0xa0, r == '\ufeff', r == '\u00ad', r == '\ufffe', r == '\uffff':
			return -1
		}
		return r // an invalid byte arrives as U+FFFD
	}, s)
}

// clip cuts s to at most n bytes, on a rune boundary.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
