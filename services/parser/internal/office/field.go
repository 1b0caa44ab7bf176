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
