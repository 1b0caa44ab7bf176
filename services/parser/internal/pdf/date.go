package pdf

import (
	"strings"
	"time"
)

// date converts a PDF date, "D:YYYYMMDDHHmmSSOHH'mm'" where everything after
// the year may be missing (ISO 32000-1, 7.9.4), to RFC 3339, in UTC if it has a
// zone. It returns "" for what is no date.
func date(s string) string {
	s = strings.TrimPrefix(s, "D:")
	digits := 0
	for digits < len(s) && digits < 14 && s[digits] >= '0' && s[digits] <= '9' {
		digits++
	}
	const layout = "20060102150405"
	if digits < 4 || digits%2 != 0 {
		return ""
	}
	stamp, zone := s[:digits], strings.ReplaceAll(s[digits:], "'", "")
	// The missing parts are their first values.
	stamp += "00000101000000"[digits:]
	if len(zone) == 3 { // "+02"
		zone += "00"
	}
	if t, err := time.Parse(layout+"Z0700", stamp+zone); err == nil {
		return t.UTC().Format(time.RFC3339)
	}
	t, err := time.Parse(layout, stamp)
	if err != nil {
		return ""
	}
	// RFC 3339 has no way to leave the zone out; Facts say UTC where it is known.
	return t.Format(time.RFC3339)
}
