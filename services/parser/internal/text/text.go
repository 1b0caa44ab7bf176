// Package text reads the formats that are text, or wrap text: HTML, Markdown,
// plain text, CSV, JSON, XML, feeds, e-mail, notebooks and ZIP archives.
//
// Every reader here is a format.Reader: it takes bytes nobody vouches for, runs
// in time and memory linear in them, and refuses what it cannot read with a
// Validation fault that names the document, the place and the next step.
package text

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sluice/pkg/fault"
	"sluice/services/parser/internal/charset"
	"sluice/services/parser/internal/format"
)

// decode returns the text of in. What the submitter says of the charset is
// believed; declared, what the document says of itself, comes second.
func decode(in format.Input, declared string) (string, []string, error) {
	t, err := charset.Decode(in.Data, in.Charset, declared)
	if err != nil {
		var f *fault.Error
		if errors.As(err, &f) {
			return "", nil, fault.Invalid(f.Reason, "%s: %s", nameOf(in), f.Message).WithHint("%s", f.Hint)
		}
		return "", nil, err
	}
	var warnings []string
	if t.Replaced > 0 {
		warnings = append(warnings, fmt.Sprintf("%s has %d byte sequences that are not valid %s; set the Charset header if that is not its charset",
			nameOf(in), t.Replaced, t.Charset))
	}
	return t.UTF8, warnings, nil
}

// contentTypeCharset returns the charset parameter of a media type, or "".
func contentTypeCharset(contentType string) string {
	_, params, _ := strings.Cut(strings.ToLower(contentType), "charset=")
	params, _, _ = strings.Cut(params, ";")
	return strings.Trim(params, " \t\"'")
}

// nameOf names a document in a message.
func nameOf(in format.Input) string {
	if in.Name == "" {
		return "the document"
	}
	return in.Name
}

// ended returns the failure that an ended context means for a document.
func ended(ctx context.Context, name string) error {
	err := context.Cause(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return fault.Wrap(err, fault.Validation, "timeout", "%s takes too long to convert", name).
			WithHint("split the document, or raise the time limit of the parser")
	}
	return err
}

func tooLarge(name string, limit int64) error {
	return fault.Invalid("too-large", "%s gives more than %d MiB of Markdown", name, limit>>20).
		WithHint("split the document, or raise the parser's output limit")
}

func corrupt(err error, name, format string, args ...any) error {
	return fault.Wrap(err, fault.Validation, "corrupt", "%s: %s", name, fmt.Sprintf(format, args...)).
		WithHint("check that the file opens in its own program, and submit it again")
}

// outputLimit returns the limit on the bytes of Markdown, with a default for
// readers that are called without one.
func outputLimit(limit int64) int64 {
	if limit > 0 {
		return limit
	}
	return 50 << 20
}
