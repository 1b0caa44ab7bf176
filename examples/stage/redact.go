package main

import (
	"regexp"
	"strings"
)

var address = regexp.MustCompile(`[\w.+-]+@[\w-]+(\.[\w-]+)+`)

// redact blacks out addresses of mails. The text keeps its length, and so the
// pages of the document stay where they were.
func redact(text string) string {
	return address.ReplaceAllStringFunc(text, func(a string) string { return strings.Repeat("x", len(a)) })
}
