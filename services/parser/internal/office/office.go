// Package office holds what the readers of office documents share: the job that
// reads one document, the archive or compound file it is in, its XML as a stream
// of tokens, and the Markdown document that is being written.
//
// Documents are not trusted. What unpacks is counted as it unpacks, never as its
// headers announce it; XML is nested to a bounded depth and never held as a tree;
// and the context is asked every few hundred tokens. Damage in a part that a
// document can do without (its comments, a chart) is a warning; damage in the part
// that holds the text is a failure.
package office

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/services/parser/internal/format"
)

// Job is the reading of one document. It carries the context because every
// token of every part asks it; a job does not outlive the call it belongs to.
type Job struct {
	Ctx      context.Context
	In       format.Input
	expanded int64 // bytes unpacked so far
	written  int64 // bytes of text collected so far
	Facts    events.Facts
	Warnings []string
}

// NewJob returns the job that reads a document.
func NewJob(ctx context.Context, in format.Input) *Job { return &Job{Ctx: ctx, In: in} }

func (j *Job) name() string { return format.NameOf(j.In) }

// Warn notes what could not be read. One document does not repeat itself, nor
// fill its envelope with complaints.
func (j *Job) Warn(msg string, args ...any) {
	const most = 32
	w := fmt.Sprintf(msg, args...)
	if len(j.Warnings) >= most || slices.Contains(j.Warnings, w) {
		return
	}
	if len(j.Warnings) == most-1 {
		w = "more could not be read than is listed here"
	}
	j.Warnings = append(j.Warnings, w)
}

// Alive returns the failure that ends the job when its context has ended.
func (j *Job) Alive() error {
	err := j.Ctx.Err()
	if errors.Is(err, context.DeadlineExceeded) {
		return fault.Wrap(err, fault.Validation, "timeout", "%s takes too long to read", j.name()).
			WithHint("split the document, or raise the time allowed for one document")
	}
	return err
}

// Unpack counts n bytes that came out of an archive.
func (j *Job) Unpack(n int) error {
	j.expanded += int64(n)
	if limit := j.In.Limits.Expanded; limit > 0 && j.expanded > limit {
		return j.tooLarge("expanded", "unpacks to more than %d bytes", limit)
	}
	return nil
}

// Spend counts n bytes of text that will end up in the Markdown.
func (j *Job) Spend(n int) error {
	j.written += int64(n)
	if limit := j.In.Limits.Output; limit > 0 && j.written > limit {
		return j.tooLarge("output", "holds more than %d bytes of text", limit)
	}
	return nil
}

// CountPages refuses the n-th page, slide or sheet when it is one too many.
func (j *Job) CountPages(n int, what string) error {
	if limit := j.In.Limits.Pages; limit > 0 && n > limit {
		return j.tooLarge("pages", "has more than %d %s", limit, what)
	}
	return nil
}

func (j *Job) tooLarge(limit, msg string, args ...any) error {
	return fault.Invalid("too-large", "%s %s (limit %q)", j.name(), fmt.Sprintf(msg, args...), limit).
		WithHint("split the document, or raise the limit %q of the parser", limit)
}

// Corrupt returns the failure for damage at a place, unless err already says
// something more exact: that a limit was met, or that time is up.
func (j *Job) Corrupt(err error, where string) error {
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

// Encrypted returns the failure of a document that needs a password or a key.
func (j *Job) Encrypted(how string) error {
	return fault.Invalid("encrypted", "%s is encrypted (%s)", j.name(), how).
		WithHint("save the document without a password and submit it again")
}

// Unsupported returns the failure of a document of a kind that is not read. The
// message goes on after its name.
func (j *Job) Unsupported(msg, hint string) error {
	return fault.Invalid("unsupported", "%s %s", j.name(), msg).WithHint("%s", hint)
}

// Optional turns damage in a part the text can do without into a warning.
// Limits and the end of the context still end the job.
func (j *Job) Optional(err error, what string) error {
	var f *fault.Error
	if errors.As(err, &f) && (f.Reason == "corrupt" || f.Reason == "unsupported") {
		j.Warn("%s could not be read: %s", what, err)
		return nil
	}
	return err
}

// OptionalDocument turns the failure of a document within this one into a
// warning, whatever it is, but for limits.
func (j *Job) OptionalDocument(err error, what string) error {
	var f *fault.Error
	if errors.As(err, &f) && f.Class == fault.Validation && !isLimit(err) {
		j.Warn("%s could not be read: %s", what, err)
		return nil
	}
	return err
}

// Finish returns the document d as the output of the job.
func (j *Job) Finish(d *Document) (*format.Output, error) {
	if err := j.Alive(); err != nil {
		return nil, err
	}
	if !d.words {
		return nil, fault.Invalid("empty", "%s holds no text", j.name()).
			WithHint("if its text is in pictures, run it through OCR first")
	}
	text := d.String()
	if limit := j.In.Limits.Output; limit > 0 && int64(len(text)) > limit {
		return nil, j.tooLarge("output", "becomes more than %d bytes of Markdown", limit)
	}
	j.Facts.Pages = len(d.pages)
	return &format.Output{Markdown: text, Pages: d.pages, Facts: j.Facts, Warnings: j.Warnings}, nil
}

// guard turns a panic of a foreign reader on hostile bytes into a failure of
// the document. Our own readers have no need of it.
func (j *Job) guard(where string, f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = j.Corrupt(fmt.Errorf("reader gave up: %v", r), where)
		}
	}()
	return f()
}

// Timestamp returns a date of a document's metadata as RFC 3339, in UTC where
// its zone is known, or "" if it is none.
func Timestamp(s string) string {
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

// Base returns the last element of a part name or URL, for captions.
func Base(name string) string {
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
