package office

import (
	"strings"
	"unicode"
)

// FieldArgs splits a field's instruction into words and quoted arguments.
func FieldArgs(code string) []string {
	var args []string
	for code = strings.TrimSpace(code); code != ""; code = strings.TrimSpace(code) {
		var arg string
		if code[0] == '"' {
			arg, code, _ = strings.Cut(code[1:], `"`)
		} else if i := strings.IndexFunc(code, unicode.IsSpace); i >= 0 {
			arg, code = code[:i], code[i:]
		} else {
			arg, code = code, ""
		}
		args = append(args, arg)
	}
	return args
}

// HyperlinkTarget returns the URL of a HYPERLINK instruction. Links within the
// document have none: their anchors do not survive.
func HyperlinkTarget(code string) string {
	args := FieldArgs(code)
	if len(args) < 2 || !strings.EqualFold(args[0], "HYPERLINK") {
		return ""
	}
	url, anchor := "", ""
	for i := 1; i < len(args); i++ {
		switch {
		case args[i] == `\l`:
			if i++; i < len(args) {
				anchor = args[i]
			}
		case args[i] == `\o` || args[i] == `\t`:
			i++
		case strings.HasPrefix(args[i], `\`):
		case url == "":
			url = strings.ReplaceAll(args[i], `\\`, `\`)
		}
	}
	if url != "" && anchor != "" {
		url += "#" + anchor
	}
	return url
}

// EquationField returns what an EQ field shows, which stands in its instruction
// alone: readings over words, fractions, signs in circles. It is "" for other fields.
func EquationField(code string) string {
	code = strings.TrimSpace(code)
	if len(code) < 3 || !strings.EqualFold(code[:2], "eq") || !strings.ContainsAny(code[2:3], ` \\`) {
		return ""
	}
	p := equation{rest: code[2:]}
	return strings.TrimSpace(p.text(0))
}

// equation reads an instruction of an EQ field.
type equation struct{ rest string }

// text reads up to the end of an argument: a comma, a semicolon or a bracket.
func (p *equation) text(depth int) string {
	const deepest = 16
	var b strings.Builder
	for p.rest != "" {
		switch c := p.rest[0]; {
		case depth > 0 && (c == ',' || c == ';' || c == ')'):
			return b.String()
		case c != '\\' || len(p.rest) < 2:
			b.WriteByte(c)
			p.rest = p.rest[1:]
		case !IsASCIILetter(p.rest[1]) && p.rest[1] != '*': // an escaped sign
			b.WriteByte(p.rest[1])
			p.rest = p.rest[2:]
		default:
			b.WriteString(p.command(depth))
		}
		if depth > deepest {
			b.WriteString(p.rest)
			p.rest = ""
		}
	}
	return b.String()
}

// command reads a switch with its options and its arguments in brackets.
func (p *equation) command(depth int) string {
	var names []string
	for len(p.rest) > 1 && p.rest[0] == '\\' {
		p.rest = p.rest[1:]
		if p.rest[0] == '*' { // \* jc2, \* "Font:MS Mincho": how it looks
			p.rest = strings.TrimLeft(p.rest[1:], " ")
			if quoted, ok := strings.CutPrefix(p.rest, `"`); ok {
				_, p.rest, _ = strings.Cut(quoted, `"`)
			} else {
				p.rest = p.rest[strings.IndexAny(p.rest+" ", ` \\`):]
			}
			names = append(names, "*")
		} else {
			n := 0
			for n < len(p.rest) && IsASCIILetter(p.rest[n]) {
				n++
			}
			names = append(names, strings.ToLower(p.rest[:n]))
			p.rest = strings.TrimLeft(p.rest[n:], "0123456789")
			if spaced := strings.TrimLeft(p.rest, " 0123456789"); strings.HasPrefix(spaced, "(") || strings.HasPrefix(spaced, `\`) {
				p.rest = spaced // \up 9(
			}
		}
		if spaced := strings.TrimLeft(p.rest, " "); strings.HasPrefix(spaced, `\`) {
			p.rest = spaced
		}
	}
	if !strings.HasPrefix(p.rest, "(") {
		return ""
	}
	var args []string
	readings := false
	for p.rest != "" && p.rest[0] != ')' {
		p.rest = p.rest[1:] // a bracket or a comma
		readings = readings || (len(args) == 0 && strings.Contains(strings.ToLower(p.rest[:min(len(p.rest), 8)]), `\s\up`))
		args = append(args, p.text(depth+1))
	}
	if p.rest != "" {
		p.rest = p.rest[1:]
	}
	main := ""
	for _, n := range names {
		if n != "*" {
			main = n
			break
		}
	}
	switch {
	case main == "f" && len(args) == 2:
		return args[0] + "/" + args[1]
	case main == "o" && len(args) == 2 && readings:
		return args[1] + "(" + args[0] + ")"
	case main == "r" && len(args) == 2:
		return "√(" + args[1] + ")"
	case main == "l":
		return strings.Join(args, ", ")
	}
	return strings.Join(args, "")
}
