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
	Data        []byte
	Limits      Limits
	// Convert reads a document contained in this one (a ZIP member, an e-mail
	// attachment). It shares the limits of the whole.
	Convert func(ctx context.Context, in Input) (*Output, error)
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
