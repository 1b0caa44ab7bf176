package local

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"sluice/pkg/fault"
	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/pdf"
	"sluice/services/parser/internal/sniff"
)

// converter turns documents into Markdown within its own process.
type converter struct {
	cacheDir string

	mu     sync.Mutex
	reader *pdf.Reader // nil before the first PDF
}

func newConverter(cacheDir string) *converter { return &converter{cacheDir: cacheDir} }

func (c *converter) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reader == nil {
		return nil
	}
	err := c.reader.Close()
	c.reader = nil
	return err
}

func (c *converter) pdf(ctx context.Context, in format.Input) (*format.Output, error) {
	c.mu.Lock()
	if c.reader == nil {
		r, err := pdf.New(pdf.Config{CacheDir: c.cacheDir})
		if err != nil {
			c.mu.Unlock()
			return nil, err
		}
		c.reader = r
	}
	r := c.reader
	c.mu.Unlock()
	return r.Read(ctx, in)
}

// convert converts one submitted document and everything in it.
func (c *converter) convert(ctx context.Context, in format.Input) (*format.Output, error) {
	return c.read(ctx, in, &allowance{limits: in.Limits, tell: in.At}, 0)
}

// allowance is what the members of one submitted document have used together.
// Documents are read by one goroutine each.
type allowance struct {
	limits   format.Limits
	expanded int64
	files    int
	reading  reading
	tell     func(member int, name string) error // format.Input.At
}

// reading is what is read: a member by its number and its name, or the whole by 0.
type reading struct {
	member int
	name   string
}

// at notes what is read from now on, and tells it. The error refuses it.
func (a *allowance) at(r reading) error {
	if a.reading = r; a.tell == nil {
		return nil
	}
	return a.tell(r.member, r.name)
}

// memberShare is the part of the time left that one member may take, in tenths: what
// it does not end in leaves some for the others.
const memberShare = 9

// charge accounts for a member. Its failure has format.ErrSpent as cause: the
// whole document is over.
func (a *allowance) charge(in format.Input) error {
	a.files++
	a.expanded += int64(len(in.Data))
	if a.limits.Files > 0 && a.files > a.limits.Files {
		return fault.Wrap(format.ErrSpent, fault.Validation, "too-large", "%s is one file more than the %d that a document may hold", label(in.Name), a.limits.Files).
			WithHint("split the archive, or raise --parser-max-files")
	}
	if a.limits.Expanded > 0 && a.expanded > a.limits.Expanded {
		return fault.Wrap(format.ErrSpent, fault.Validation, "too-large", "%s: everything unpacked so far has more than %d MiB", label(in.Name), a.limits.Expanded>>20).
			WithHint("split the archive, or raise --parser-max-expanded")
	}
	return nil
}

// member converts a document that another one holds, level containers deep.
func (c *converter) member(ctx context.Context, in format.Input, a *allowance, level int) (*format.Output, error) {
	if err := a.charge(in); err != nil {
		return nil, err
	}
	in.Limits = a.limits
	if a.limits.Expanded > 0 {
		in.Limits.Expanded = max(a.limits.Expanded-a.expanded, 1)
	}
	outer := a.reading
	if err := a.at(reading{a.files, in.Name}); err != nil {
		return nil, err
	}
	defer func() { _ = a.at(outer) }() // which is not refused: it is being read
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/10*memberShare)
		defer cancel()
	}
	return c.read(ctx, in, a, level)
}

// read converts a document that is level containers deep.
func (c *converter) read(ctx context.Context, in format.Input, a *allowance, level int) (out *format.Output, err error) {
	name := label(in.Name)
	defer func() {
		// The readers do not panic on purpose, but they meet everything. What
		// kills the whole process is left to package isolate.
		if p := recover(); p != nil {
			out, err = nil, fault.New(fault.Execution, "parser-crash", "the reader of %s failed: %v", name, p).
				WithHint("this is a defect of the parser: report it with the document")
		}
	}()
	if len(in.Data) == 0 {
		return nil, fault.Invalid("empty", "%s has no bytes", name).WithHint("check what was submitted")
	}
	kind, media := sniff.Detect(in.Name, in.ContentType, in.Data)
	if kind.Container {
		if level++; a.limits.Depth > 0 && level > a.limits.Depth {
			return nil, fault.Invalid("too-large", "%s is a container within %d others", name, level-1).
				WithHint("submit it by itself, or raise --parser-max-depth")
		}
	}
	in.Convert = func(ctx context.Context, member format.Input) (*format.Output, error) {
		inner := level
		if !kind.Container { // files attached to a document
			if inner++; a.limits.Depth > 0 && inner > a.limits.Depth {
				return nil, fault.Invalid("too-large", "%s is attached within %d others", label(member.Name), inner-1).
					WithHint("submit it by itself, or raise --parser-max-depth")
			}
		}
		return c.member(ctx, member, a, inner)
	}
	if kind.Read == nil {
		return nil, sniff.Refuse(kind, media, name)
	}
	in.PDF = c.pdf
	if out, err = kind.Read(ctx, in); err != nil {
		return nil, classify(ctx, err, name)
	}
	return finish(out, in, media)
}

// classify makes sure that an error of a reader says what happens next.
func classify(ctx context.Context, err error, name string) error {
	var f *fault.Error
	switch {
	case errors.As(err, &f):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return fault.Wrap(err, fault.Validation, "timeout", "%s takes too long to read", name).
			WithHint("split the document, or raise --parser-timeout")
	case ctx.Err() != nil:
		return fault.Wrap(err, fault.Unavailable, "interrupted", "%s: not converted", name)
	}
	return fault.Wrap(err, fault.Validation, "corrupt", "%s cannot be read", name).
		WithHint("check that the file opens in its own program, and submit it again")
}

// finish brings the output of any reader into the form that is promised.
func finish(out *format.Output, in format.Input, media string) (*format.Output, error) {
	name := label(in.Name)
	markdown, pages, left := cutPictures(out.Markdown, out.Pages)
	markdown, pages = normalise(markdown, pages)
	if markdown == "" {
		return nil, fault.Invalid("empty", "%s holds no text", name).
			WithHint("check that the right document was submitted; text in pictures needs OCR first")
	}
	if limit := in.Limits.Output; limit > 0 && int64(len(markdown)) > limit {
		return nil, fault.Invalid("too-large", "%s gives %d MiB of Markdown, more than %d", name, len(markdown)>>20, limit>>20).
			WithHint("split the document, or raise --parser-max-output")
	}
	f := out.Facts
	if f.Type == "" {
		f.Type = media
	}
	for _, s := range []*string{&f.Title, &f.Author} {
		cut, _, _ := cutPictures(*s, nil)
		*s = oneLine(cut)
	}
	return &format.Output{Markdown: markdown, Pages: pages, Facts: f, Warnings: warnings(append(out.Warnings, left...))}, nil
}

// warnings bounds what a document can have said about it: they travel with it.
func warnings(all []string) []string {
	const (
		most    = 50
		longest = 500
	)
	var kept []string
	for _, w := range all {
		if len(kept) == most {
			return append(kept, fmt.Sprintf("and %d more", len(all)-most))
		}
		kept = append(kept, clip(strings.ToValidUTF8(w, "\uFFFD"), longest))
	}
	return kept
}

// oneLine makes a fact fit for a header or a line of a table.
func oneLine(s string) string {
	const longest = 500
	s, _ = normalise(s, nil)
	return clip(strings.Join(strings.Fields(s), " "), longest)
}
