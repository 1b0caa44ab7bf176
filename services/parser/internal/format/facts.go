package format

import (
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"sluice/services/parser/internal/md"
)

// Language returns the first of tags that looks like a BCP 47 tag.
func Language(tags ...string) string {
	for _, t := range tags {
		t, _, _ = strings.Cut(strings.TrimSpace(t), ",")
		t = strings.ReplaceAll(t, "_", "-")
		if languageTag.MatchString(t) {
			return t
		}
	}
	return ""
}

var languageTag = regexp.MustCompile(`^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,4}$`)

// When returns a date as RFC 3339, or "" if it is written in no usual way.
func When(s string) string {
	s = strings.TrimSpace(s)
	for _, layout := range [...]string{
		time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04Z07:00", time.RFC1123Z, time.RFC1123, time.RFC822Z, time.RFC822,
		"Mon, 2 Jan 2006 15:04:05 -0700", "Mon, 2 Jan 2006 15:04:05 MST", "2 Jan 2006 15:04:05 -0700", "2 Jan 2006 15:04:05 MST",
		"2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05Z07:00",
	} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC().Format(time.RFC3339)
		}
	}
	for _, layout := range [...]string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02", "2006/01/02", "January 2, 2006", "Jan 2, 2006", "2 January 2006", "2006-01", "2006"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.Format(time.RFC3339)
		}
	}
	return ""
}

var atxHeading = regexp.MustCompile(`^#{1,2}[ \t]+(.+?)[ \t#]*$`)

// FirstHeading returns the text of a heading of level 1 or 2 near the top.
func FirstHeading(src string) string {
	const near = 4 << 10
	for line := range strings.Lines(src[:min(len(src), near)]) {
		if m := atxHeading.FindStringSubmatch(strings.TrimRight(line, "\r\n")); m != nil {
			return md.Line(m[1])
		}
	}
	return ""
}

// Clip cuts s to at most n bytes on a rune boundary, for messages.
func Clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// Span reads how many rows or columns a cell says that it covers: 1 to
// [md.MaxSpan].
func Span(s string) int {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil {
		return 1
	}
	return min(max(n, 1), md.MaxSpan)
}
