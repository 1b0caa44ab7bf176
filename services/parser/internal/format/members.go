package format

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/services/parser/internal/md"
)

// Members collects the documents that a document holds: the files of an archive,
// the mails of a mailbox, what is attached to a mail or to a PDF. All of these have
// one way with them:
//
//   - A member stands under a heading that names it, and its own headings below that
//     one, so that the heading path of every chunk names its file.
//   - It keeps its pages, by their own numbers. What follows it is on no page (number
//     0) until the next page begins.
//   - Its footnotes have labels that no other has.
//   - A member that cannot be read becomes a warning that names it and says why. The
//     whole is refused only if nothing is left of it, with the reason of the first.
type Members struct {
	in       Input
	b        strings.Builder
	pages    []events.PageMark
	facts    events.Facts
	warnings []string
	refusals []*fault.Error
	read     int
	notes    md.Notes
}

// NewMembers returns the empty collection of the members of in.
func NewMembers(in Input) *Members { return &Members{in: in} }

// Read converts a member and adds it under a heading of a level. Its name has to
// be whole: with that of the document it is in. An error ends the document: its
// limits or its time are used up.
func (m *Members) Read(ctx context.Context, level int, label string, member Input) error {
	out, err := m.Convert(ctx, member)
	if err != nil {
		return m.Refuse(ctx, err)
	}
	return m.Add(level, label, out)
}

// Convert converts a member without adding it.
func (m *Members) Convert(ctx context.Context, member Input) (*Output, error) {
	if m.in.Convert == nil {
		return nil, fault.Invalid("unsupported", "%s is a file within a document, which is not read here", NameOf(member)).
			WithHint("submit it by itself")
	}
	member.Limits = m.in.Limits
	return m.in.Convert(ctx, member)
}

// Refuse notes why a member is not read. It returns err itself if that is no
// matter of the member alone.
func (m *Members) Refuse(ctx context.Context, err error) error {
	var refusal *fault.Error
	switch {
	case errors.Is(err, ErrSpent):
		return err
	case ctx.Err() != nil:
		return Ended(ctx, NameOf(m.in))
	case !errors.As(err, &refusal) || !refusal.Class.Permanent():
		return err
	}
	m.refusals = append(m.refusals, refusal)
	m.Warn("%s: %s", refusal.Reason, refusal.Error())
	return nil
}

// Warn adds a warning.
func (m *Members) Warn(msg string, args ...any) {
	m.warnings = append(m.warnings, fmt.Sprintf(msg, args...))
}

// Add adds a member that has been read, under a heading of a level.
func (m *Members) Add(level int, label string, out *Output) error {
	start := m.b.Len()
	if len(m.pages) > 0 && m.pages[len(m.pages)-1].Page != 0 {
		m.pages = append(m.pages, events.PageMark{Offset: start})
	}
	if h := md.Heading(level, md.EscapeInline(label)); level <= 6 {
		m.b.WriteString(h)
	} else {
		m.b.WriteString(md.Strong(md.EscapeInline(label)))
	}
	m.b.WriteString("\n\n")
	offsets := make([]int, len(out.Pages))
	for i, p := range out.Pages {
		offsets[i] = p.Offset
	}
	markdown := m.Own(md.Below(out.Markdown, level, offsets), offsets)
	body := m.b.Len()
	for i, p := range out.Pages {
		at := body + min(offsets[i], len(markdown))
		if at == body { // the heading is on the first page, too
			at = start
		}
		if n := len(m.pages); n > 0 && m.pages[n-1].Offset == at {
			m.pages = m.pages[:n-1] // nothing stands on it
		}
		m.pages = append(m.pages, events.PageMark{Page: p.Page, Offset: at})
	}
	m.b.WriteString(strings.TrimRight(markdown, "\n"))
	m.b.WriteString("\n\n")
	for i := len(m.pages) - 1; i >= 0 && m.pages[i].Offset > m.b.Len(); i-- {
		m.pages[i].Offset = m.b.Len()
	}
	m.warnings = append(m.warnings, out.Warnings...)
	m.note(out.Facts)
	if limit := OutputLimit(m.in.Limits.Output); int64(m.b.Len()) > limit {
		return TooLarge(NameOf(m.in), limit)
	}
	return nil
}

// Own returns text of the document itself, which stands before its members or
// behind them, with labels of footnotes that these do not have. Offsets are moved.
func (m *Members) Own(text string, offsets []int) string { return m.notes.Apart(text, offsets) }

// note keeps what is known of the members: of one, everything; of several, what
// is true of them together.
func (m *Members) note(f events.Facts) {
	pages := m.facts.Pages + f.Pages
	m.read++
	switch {
	case m.read == 1:
		m.facts = f
	case m.facts.Language == f.Language:
		m.facts = events.Facts{Language: f.Language}
	default:
		m.facts = events.Facts{}
	}
	m.facts.Pages, m.facts.Type = pages, ""
}

// Len returns how many members were read.
func (m *Members) Len() int { return m.read }

// Refused returns the refusal of a document of which nothing is left, because none
// of its members can be read; nil if there is something, or nothing was refused.
func (m *Members) Refused() error {
	if m.read > 0 || len(m.refusals) == 0 {
		return nil
	}
	first := m.refusals[0]
	for _, r := range m.refusals {
		if r.Reason != "empty" { // what has no text says less of the whole
			first = r
			break
		}
	}
	return fault.Invalid(first.Reason, "none of the %d files in %s can be read; the first: %s", len(m.refusals), NameOf(m.in), first.Error()).
		WithHint("%s", first.Hint)
}

// Output returns the members as they stand behind the document's own text, with
// the facts of the members.
func (m *Members) Output(before string) *Output {
	out := &Output{Markdown: before + m.b.String(), Facts: m.facts, Warnings: m.warnings}
	for _, p := range m.pages {
		out.Pages = append(out.Pages, events.PageMark{Page: p.Page, Offset: p.Offset + len(before)})
	}
	return out
}
