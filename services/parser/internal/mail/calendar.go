package mail

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
)

// Calendar reads a calendar or an invitation (RFC 5545): each entry with what it is
// about, when and where it is, and who takes part.
func Calendar(_ context.Context, in format.Input) (*format.Output, error) {
	src, warnings, err := format.Decode(in, format.ContentTypeCharset(in.ContentType))
	if err != nil {
		return nil, err
	}
	if !isCalendar([]byte(src)) {
		return &format.Output{Markdown: src, Warnings: append(warnings, format.NameOf(in)+" is no calendar: its text is kept as it is")}, nil
	}
	text, more := calendarText(src, "")
	for _, w := range more {
		warnings = append(warnings, format.NameOf(in)+": "+w)
	}
	out := &format.Output{Markdown: text, Warnings: warnings}
	out.Facts.Title = format.FirstHeading(text)
	return out, nil
}

// Contacts reads contacts (RFC 6350, and the versions before it).
func Contacts(_ context.Context, in format.Input) (*format.Output, error) {
	src, warnings, err := format.Decode(in, format.ContentTypeCharset(in.ContentType))
	if err != nil {
		return nil, err
	}
	if !strings.Contains(strings.ToUpper(src[:min(len(src), 4096)]), "BEGIN:VCARD") {
		return &format.Output{Markdown: src, Warnings: append(warnings, format.NameOf(in)+" holds no contact: its text is kept as it is")}, nil
	}
	var b strings.Builder
	for _, c := range components(src) {
		if c.name == "VCARD" {
			writeContact(&b, c)
		}
	}
	out := &format.Output{Markdown: b.String(), Warnings: warnings}
	out.Facts.Title = format.FirstHeading(out.Markdown)
	return out, nil
}

func isCalendar(data []byte) bool {
	return bytes.Contains(bytes.ToUpper(data[:min(len(data), 4096)]), []byte("BEGIN:VCALENDAR"))
}

// property is a line of a calendar or a contact.
type property struct {
	name   string // in upper case
	params string // as they stand, in upper case for those that matter
	value  string
}

// component is an entry of a calendar or a contact.
type component struct {
	name  string
	props []property
	whole bool // it ends
}

func (c *component) get(names ...string) property {
	for _, name := range names {
		for _, p := range c.props {
			if p.name == name && strings.TrimSpace(p.value) != "" {
				return p
			}
		}
	}
	return property{}
}

func (c *component) text(names ...string) string { return unescapeText(c.get(names...).value) }

// components returns the components of a text in their order. Their parts (alarms,
// the rules of a time zone) are left out: they are for programs.
func components(src string) []*component {
	var all, open []*component
	for _, line := range unfolded(src) {
		p, ok := cutProperty(line)
		if !ok {
			continue
		}
		switch p.name {
		case "BEGIN":
			c := &component{name: strings.ToUpper(strings.TrimSpace(p.value))}
			open = append(open, c)
			all = append(all, c)
		case "END":
			if n := len(open); n > 0 {
				open[n-1].whole = true
				open = open[:n-1]
			}
		default:
			if n := len(open); n > 0 {
				open[n-1].props = append(open[n-1].props, p)
			}
		}
	}
	return all
}

// unfolded returns the lines of a text, with those that were folded joined: by
// white space at the beginning of the next, or by the "=" of quoted-printable.
func unfolded(src string) []string {
	var lines []string
	var b strings.Builder
	flush := func() {
		if b.Len() > 0 {
			lines = append(lines, b.String())
			b.Reset()
		}
	}
	quoted := false // the open line is quoted-printable and goes on
	for line := range strings.Lines(strings.ReplaceAll(src, "\r\n", "\n")) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case quoted:
		case b.Len() > 0 && line != "" && (line[0] == ' ' || line[0] == '\t'):
			line = line[1:]
		default:
			flush()
		}
		quoted = false
		if body, soft := strings.CutSuffix(line, "="); soft && (strings.Contains(strings.ToUpper(body), "QUOTED-PRINTABLE") || isQuotedPrintable(b.String())) {
			line, quoted = body, true
		}
		b.WriteString(line)
	}
	flush()
	return lines
}

func isQuotedPrintable(line string) bool {
	head, _, _ := strings.Cut(line[:min(len(line), 300)], ":")
	return strings.Contains(strings.ToUpper(head), "QUOTED-PRINTABLE")
}

// cutProperty reads "NAME;PARAM=x;PARAM="y:z":value".
func cutProperty(line string) (property, bool) {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch {
		case line[i] == '"':
			quoted = !quoted
		case line[i] == ':' && !quoted:
			name, params, _ := strings.Cut(line[:i], ";")
			if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
				name = name[dot+1:] // the group that it is in
			}
			p := property{strings.ToUpper(strings.TrimSpace(name)), params, line[i+1:]}
			if isQuotedPrintable(params + ":") {
				raw, _ := fromQuotedPrintable([]byte(p.value))
				p.value = decodeText(raw, p.param("CHARSET"))
			}
			return p, p.name != ""
		}
	}
	return property{}, false
}

// param returns the value of a parameter.
func (p property) param(name string) string {
	for rest := p.params; rest != ""; {
		var one string
		one, rest = cutParameter(rest)
		key, v, _ := strings.Cut(one, "=")
		if strings.EqualFold(strings.TrimSpace(key), name) {
			return strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	return ""
}

// unescapeText undoes the escapes of a text value.
func unescapeText(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 'n', 'N':
			b.WriteByte('\n')
		case ',', ';', '\\', ':', '"':
			b.WriteByte(s[i])
		default:
			b.WriteByte('\\')
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// calendarText returns the entries of a calendar as Markdown. A description whose
// letters have been said already is not said again.
func calendarText(src, said string) (string, []string) {
	var b strings.Builder
	var warnings []string
	method := ""
	entries := 0
	for _, c := range components(src) {
		if !c.whole {
			warnings = append(warnings, "the calendar ends within an entry: it may have been cut")
		}
		switch c.name {
		case "VCALENDAR":
			method = c.text("METHOD")
			if name := c.text("X-WR-CALNAME", "NAME"); name != "" {
				b.WriteString(md.Heading(1, md.EscapeInline(name)) + "\n\n")
			}
			if about := c.text("X-WR-CALDESC"); about != "" {
				b.WriteString(plainBody(about) + "\n\n")
			}
		case "VTIMEZONE", "STANDARD", "DAYLIGHT", "VALARM":
		default:
			const compared = 100 // with what has been said
			if entries++; entries > compared {
				said = ""
			}
			if n := writeEntry(&b, c, method, said); n > 0 {
				warnings = append(warnings, fmt.Sprintf("%d files within entries of the calendar are left out", n))
			}
		}
	}
	return strings.TrimSpace(b.String()), warnings
}

// plainBody writes plain text without blank lines around it.
func plainBody(s string) string {
	return strings.Trim(plainLines(strings.ReplaceAll(s, "\r", "")), "\n")
}

// writeEntry writes an event, a task or a note, and returns how many files in it
// are left out.
func writeEntry(b *strings.Builder, c *component, method, said string) (left int) {
	title := md.Line(c.text("SUMMARY"))
	if title == "" {
		title = map[string]string{"VEVENT": "Event", "VTODO": "Task", "VJOURNAL": "Note", "VFREEBUSY": "Free and busy times"}[c.name]
	}
	if title == "" {
		title = c.name
	}
	b.WriteString(md.Heading(2, md.EscapeInline(title)) + "\n\n")
	var f fields
	start, end := c.get("DTSTART"), c.get("DTEND")
	f.add("Start", moment(start, 0))
	switch {
	case end.value != "":
		days := 0
		if len(strings.TrimSpace(end.value)) == 8 {
			days = -1 // the end of an entry of whole days is the day after it
		}
		if s := moment(end, days); s != moment(start, 0) {
			f.add("End", s)
		}
	case c.get("DURATION").value != "":
		f.add("Duration", duration(c.get("DURATION").value))
	}
	f.add("Due", moment(c.get("DUE"), 0))
	f.add("Completed", moment(c.get("COMPLETED"), 0))
	f.add("Place", c.text("LOCATION"))
	f.add("Organizer", person(c.get("ORGANIZER")))
	var who []string
	for _, p := range c.props {
		if p.name == "ATTENDEE" {
			who = append(who, attendee(p))
		}
	}
	f.add("Attendees", strings.Join(who, ", "))
	for _, p := range c.props {
		switch p.name {
		case "RRULE":
			f.add("Repeats", p.value)
		case "EXDATE":
			f.add("Except", moments(p))
		case "RDATE":
			f.add("Also", moments(p))
		case "RECURRENCE-ID":
			f.add("In place of", moment(p, 0))
		case "FREEBUSY":
			f.add("Busy", p.value)
		case "URL", "CONFERENCE", "X-GOOGLE-CONFERENCE", "X-MICROSOFT-SKYPETEAMSMEETINGURL":
			f.add("Link", p.value)
		case "ATTACH":
			if strings.EqualFold(p.param("VALUE"), "BINARY") || p.param("ENCODING") != "" {
				left++
			} else {
				f.add("Attached", p.value)
			}
		case "CATEGORIES":
			f.add("Categories", unescapeText(p.value))
		case "CONTACT":
			f.add("Contact", unescapeText(p.value))
		}
	}
	status := strings.ToLower(c.text("STATUS"))
	if strings.EqualFold(method, "CANCEL") {
		status = "cancelled"
	}
	if status != "confirmed" {
		f.add("Status", status)
	}
	b.WriteString(f.String() + "\n\n")
	for _, name := range [...]string{"DESCRIPTION", "COMMENT"} {
		for _, p := range c.props {
			if p.name != name {
				continue
			}
			text := unescapeText(p.value)
			if l := letters(text); l != "" && !strings.Contains(said, l) {
				b.WriteString(plainBody(text) + "\n\n")
			}
		}
	}
	return left
}

// moment writes a time as it stands in a calendar, some days later.
func moment(p property, days int) string {
	v := strings.TrimSpace(p.value)
	zone := p.param("TZID")
	if utc, ok := strings.CutSuffix(v, "Z"); ok {
		v, zone = utc, "UTC"
	}
	if t, err := time.Parse("20060102", v); err == nil {
		return t.AddDate(0, 0, days).Format(time.DateOnly)
	}
	for _, layout := range [...]string{"20060102T150405", "20060102T1504"} {
		if t, err := time.Parse(layout, v); err == nil {
			s := t.Format("2006-01-02 15:04")
			if zone != "" {
				s += " " + zone
			}
			return s
		}
	}
	return p.value
}

func moments(p property) string {
	var all []string
	for v := range strings.SplitSeq(p.value, ",") {
		all = append(all, moment(property{p.name, p.params, v}, 0))
	}
	return strings.Join(all, ", ")
}

// duration writes "PT1H30M" as "1 h 30 min", and what it does not know as it is.
func duration(v string) string {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(strings.TrimSpace(v), "+"), "P")
	if !ok {
		return v
	}
	units := map[byte]string{'W': "weeks", 'D': "days", 'H': "h", 'M': "min", 'S': "s"}
	var parts []string
	for rest = strings.ReplaceAll(rest, "T", ""); rest != ""; {
		i := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if i <= 0 || units[rest[i]] == "" {
			return v
		}
		n, err := strconv.Atoi(rest[:i])
		if err != nil {
			return v
		}
		if n > 0 {
			parts = append(parts, rest[:i]+" "+units[rest[i]])
		}
		rest = rest[i+1:]
	}
	if parts == nil {
		return v
	}
	return strings.Join(parts, " ")
}

// person writes an organizer or attendee as "address (Name)".
func person(p property) string {
	address := strings.TrimSpace(p.value)
	if len(address) >= 7 && strings.EqualFold(address[:7], "mailto:") {
		address = address[7:]
	}
	return addressOf(md.Line(p.param("CN")), address)
}

func attendee(p property) string {
	s := person(p)
	if s == "" {
		return s
	}
	switch state := strings.ToLower(p.param("PARTSTAT")); state {
	case "", "needs-action":
	default:
		s += " [" + state + "]"
	}
	return s
}

// writeContact writes a contact.
func writeContact(b *strings.Builder, c *component) {
	name := md.Line(c.text("FN"))
	if name == "" {
		parts := strings.Split(c.get("N").value, ";")
		order := []int{3, 1, 2, 0, 4} // prefix, given, more, family, suffix
		for _, i := range order {
			if i < len(parts) && strings.TrimSpace(parts[i]) != "" {
				name += " " + unescapeText(parts[i])
			}
		}
		name = md.Line(name)
	}
	if name == "" {
		name = md.Line(c.text("ORG", "EMAIL", "NICKNAME"))
	}
	if name == "" {
		name = "Contact"
	}
	b.WriteString(md.Heading(2, md.EscapeInline(name)) + "\n\n")
	labels := map[string]string{
		"ORG": "Organization", "TITLE": "Title", "ROLE": "Role", "TEL": "Phone", "EMAIL": "E-mail", "ADR": "Address", "LABEL": "Address", "URL": "Link",
		"BDAY": "Birthday", "ANNIVERSARY": "Anniversary", "NICKNAME": "Nickname", "CATEGORIES": "Categories", "IMPP": "Messages", "LANG": "Language",
		"GENDER": "Gender", "RELATED": "Related", "MEMBER": "Member", "TZ": "Time zone", "GEO": "Place", "X-SOCIALPROFILE": "Profile",
	}
	var f fields
	for _, p := range c.props {
		label := labels[p.name]
		if label == "" {
			continue
		}
		var parts []string
		for part := range strings.SplitSeq(strings.ReplaceAll(p.value, `\;`, "\x00"), ";") {
			if part = strings.TrimSpace(unescapeText(strings.ReplaceAll(part, "\x00", ";"))); part != "" {
				parts = append(parts, part)
			}
		}
		value := strings.Join(parts, ", ")
		if p.name == "TEL" || p.name == "EMAIL" || p.name == "ADR" {
			value = strings.TrimPrefix(strings.TrimPrefix(value, "tel:"), "mailto:")
			if kind := contactKind(p); kind != "" {
				label += " (" + kind + ")"
			}
		}
		f.add(label, value)
	}
	b.WriteString(f.String() + "\n\n")
	for _, p := range c.props {
		if p.name == "NOTE" {
			b.WriteString(plainBody(unescapeText(p.value)) + "\n\n")
		}
	}
}

// contactKind says of which kind a number or an address is: "work", "cell".
func contactKind(p property) string {
	var kinds []string
	for one := range strings.SplitSeq(strings.ToLower(p.params), ";") {
		key, v, ok := strings.Cut(one, "=")
		switch {
		case !ok:
			v = key // as it was before there were names
		case strings.TrimSpace(key) != "type":
			continue
		}
		for kind := range strings.SplitSeq(strings.Trim(v, `"`), ",") {
			switch kind = strings.TrimSpace(kind); kind {
			case "work", "home", "cell", "fax", "pager", "mobile":
				kinds = append(kinds, kind)
			}
		}
	}
	return strings.Join(kinds, ", ")
}
