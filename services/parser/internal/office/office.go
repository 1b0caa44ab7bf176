// Package office reads the documents of office suites, e-books and Outlook
// messages as Markdown.
//
// Each reader is a [format.Reader] over bytes nobody vouches for. What unpacks
// is counted as it unpacks, never as its headers announce it; XML is read as a
// stream of tokens, nested to a bounded depth and never held as a tree; and the
// context is asked every few hundred tokens. A part that a document can do
// without (its comments, a chart) ends as a warning when it is damaged; the
// part that holds the text ends as a failure.
//
// Headings, lists, tables, links, emphasis, notes, comments, equations and
// captions of pictures come through; page headers and footers, hidden text and
// deleted revisions do not.
package office

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/services/parser/internal/format"
)

// HTML turns an HTML document into Markdown. EPUB chapters and the HTML bodies
// of messages go through it.
type HTML func(ctx context.Context, html []byte) (string, error)

// job is the reading of one document. It carries the context because every
// token of every part asks it; a job does not outlive the call it belongs to.
type job struct {
	ctx      context.Context
	in       format.Input
	expanded int64 // bytes unpacked so far
	written  int64 // bytes of text collected so far
	facts    events.Facts
	warnings []string
}

func newJob(ctx context.Context, in format.Input) *job { return &job{ctx: ctx, in: in} }

func (j *job) name() string {
	if j.in.Name != "" {
		return j.in.Name
	}
	return "the document"
}

// warn notes what could not be read. One document does not repeat itself, nor
// fill its envelope with complaints.
func (j *job) warn(msg string, args ...any) {
	const most = 32
	w := fmt.Sprintf(msg, args...)
	if len(j.warnings) >= most {
		return
	}
	for _, have := range j.warnings {
		if have == w {
			return
		}
	}
	if len(j.warnings) == most-1 {
		w = "more could not be read than is listed here"
	}
	j.warnings = append(j.warnings, w)
}

// alive returns the failure that ends the job when its context has ended.
func (j *job) alive() error {
	err := j.ctx.Err()
	if errors.Is(err, context.DeadlineExceeded) {
		return fault.Wrap(err, fault.Validation, "timeout", "%s takes too long to read", j.name()).
			WithHint("split the document, or raise the time allowed for one document")
	}
	return err
}

// unpack counts n bytes that came out of an archive.
func (j *job) unpack(n int) error {
	j.expanded += int64(n)
	if limit := j.in.Limits.Expanded; limit > 0 && j.expanded > limit {
		return j.tooLarge("expanded", "unpacks to more than %d bytes", limit)
	}
	return nil
}

// spend counts n bytes of text that will end up in the Markdown.
func (j *job) spend(n int) error {
	j.written += int64(n)
	if limit := j.in.Limits.Output; limit > 0 && j.written > limit {
		return j.tooLarge("output", "holds more than %d bytes of text", limit)
	}
	return nil
}

// countPages refuses the n-th page, slide or sheet when it is one too many.
func (j *job) countPages(n int, what string) error {
	if limit := j.in.Limits.Pages; limit > 0 && n > limit {
		return j.tooLarge("pages", "has more than %d %s", limit, what)
	}
	return nil
}

func (j *job) tooLarge(limit, msg string, args ...any) error {
	return fault.Invalid("too-large", "%s %s (limit %q)", j.name(), fmt.Sprintf(msg, args...), limit).
		WithHint("split the document, or raise the limit %q of the parser", limit)
}

// corrupt returns the failure for damage at a place, unless err already says
// something more exact: that a limit was met, or that time is up.
func (j *job) corrupt(err error, where string) error {
	if err == nil {
		return nil
	}
	var f *fault.Error
	if errors.As(err, &f) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fault.Wrap(err, fault.Validation, "corrupt", "%s is damaged at %s", j.name(), where).
		WithHint("open the document in the program that made it and save it again")
}

func (j *job) encrypted(how string) error {
	return fault.Invalid("encrypted", "%s is encrypted (%s)", j.name(), how).
		WithHint("save the document without a password and submit it again")
}

func (j *job) unsupported(msg, hint string) error {
	return fault.Invalid("unsupported", "%s %s", j.name(), msg).WithHint("%s", hint)
}

// optional turns damage in a part the text can do without into a warning.
// Limits and the end of the context still end the job.
func (j *job) optional(err error, what string) error {
	var f *fault.Error
	if errors.As(err, &f) && (f.Reason == "corrupt" || f.Reason == "unsupported") {
		j.warn("%s could not be read: %s", what, err)
		return nil
	}
	return err
}

// finish returns the document d as the output of the job.
func (j *job) finish(d *document) (*format.Output, error) {
	if err := j.alive(); err != nil {
		return nil, err
	}
	if !d.words {
		return nil, fault.Invalid("empty", "%s holds no text", j.name()).
			WithHint("if its text is in pictures, run it through OCR first")
	}
	text := d.String()
	if limit := j.in.Limits.Output; limit > 0 && int64(len(text)) > limit {
		return nil, j.tooLarge("output", "becomes more than %d bytes of Markdown", limit)
	}
	j.facts.Pages = len(d.pages)
	return &format.Output{Markdown: text, Pages: d.pages, Facts: j.facts, Warnings: j.warnings}, nil
}

// guard turns a panic of a foreign reader on hostile bytes into a failure of
// the document. Our own readers have no need of it.
func (j *job) guard(where string, f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = j.corrupt(fmt.Errorf("reader gave up: %v", r), where)
		}
	}()
	return f()
}

// timestamp returns a date of a document's metadata as RFC 3339, in UTC where
// its zone is known, or "" if it is none.
func timestamp(s string) string {
	s = strings.TrimSpace(s)
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		if t.Year() < 1602 { // zero of FILETIME and of zeroed fields: unset
			return ""
		}
		return t.UTC().Format(time.RFC3339)
	}
	for _, layout := range []string{"2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.Format(layout)
		}
	}
	return ""
}

// base returns the last element of a part name or URL, for captions.
func base(name string) string {
	if name == "" {
		return ""
	}
	return path.Base(strings.ReplaceAll(name, `\`, "/"))
}

// isLimit reports whether err says that a limit of the whole was met.
func isLimit(err error) bool {
	var f *fault.Error
	return errors.As(err, &f) && (f.Reason == "too-large" || f.Reason == "timeout")
}
