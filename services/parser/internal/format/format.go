// Package format holds what every reader of a document format shares: the
// input, the limits it must keep, and the output it fills.
package format

import (
	"context"
	"time"

	"sluice/pkg/events"
)

// Limits bound what one document may cost. Every reader keeps them, so that a
// bomb ends as a refusal and not as an outage.
type Limits struct {
	Input    int64         // bytes submitted
	Output   int64         // bytes of Markdown
	Expanded int64         // bytes unpacked from archives, over all levels
	Pages    int           // pages, slides, sheets
	Files    int           // members of an archive, over all levels
	Depth    int           // archives within archives
	Time     time.Duration // wall clock for one document
}

// Input is one document to read.
type Input struct {
	Name        string
	ContentType string
	Charset     string
	Data        []byte // until the reader returns: the next document may stand in the same place
	Limits      Limits
	// Convert reads a document contained in this one (a ZIP member, an e-mail
	// attachment). It shares the limits of the whole.
	Convert func(ctx context.Context, in Input) (*Output, error)
	// PDF reads a PDF with the engine that the process has.
	PDF Reader
	// At is told which document is read from now on: one that the submitted document
	// holds, counted from 1 over all levels in the order of reading, or 0 for itself. Its
	// error refuses that member. nil: nobody wants to know.
	At func(member int, name string) error
}

// Output is a document as Markdown.
type Output struct {
	Markdown string
	Pages    []events.PageMark
	Facts    events.Facts
	Warnings []string
}

// Reader reads one format. Errors are fault errors: Validation with one of the
// reasons "empty", "scanned", "encrypted", "corrupt", "unsupported",
// "too-large", "timeout", naming what, where and what to do.
type Reader func(ctx context.Context, in Input) (*Output, error)

// Format is a format of documents: a row of the table in package formats, from
// which everything that depends on the format follows.
type Format struct {
	Name       string   // as people call it
	Media      string   // its media type
	Hints      []string // other media types that submitters give it
	Extensions []string // with the dot, in lower case

	// Read is its reader; nil where nobody here reads it, and Refusal says so.
	Read    Reader
	Refusal Refusal

	// Text formats are told apart by their names, others by their content. They
	// are read within the process up to a size; others in a child.
	Text bool
	// Container formats hold documents of their own.
	Container bool
	// Paid formats are sent to a paid service, if one is configured: those that it
	// reads better than this process.
	Paid bool
}

// Refusal says why a document is not read.
type Refusal struct {
	Reason string // "unsupported" or "encrypted"
	What   string // "an image"
	Hint   string
}
