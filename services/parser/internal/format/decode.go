package format

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"strings"

	"sluice/pkg/fault"
	"sluice/services/parser/internal/charset"
)

// Decode returns the text of in. What the submitter says of the charset is
// believed; declared, what the document says of itself, comes second.
func Decode(in Input, declared string) (string, []string, error) {
	t, err := charset.Decode(in.Data, in.Charset, declared)
	if err != nil {
		var f *fault.Error
		if errors.As(err, &f) {
			return "", nil, fault.Invalid(f.Reason, "%s: %s", NameOf(in), f.Message).WithHint("%s", f.Hint)
		}
		return "", nil, err
	}
	var warnings []string
	if t.Replaced > 0 {
		warnings = append(warnings, fmt.Sprintf("%s has %d byte sequences that are not valid %s; set the Charset header if that is not its charset",
			NameOf(in), t.Replaced, t.Charset))
	}
	return t.UTF8, warnings, nil
}

// MediaType returns a media type without its parameters, in lower case.
func MediaType(contentType string) string {
	if t, _, err := mime.ParseMediaType(contentType); err == nil {
		return t
	}
	t, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	return strings.TrimSpace(t)
}

// ContentTypeCharset returns the charset parameter of a media type, or "".
func ContentTypeCharset(contentType string) string {
	_, params, _ := strings.Cut(strings.ToLower(contentType), "charset=")
	params, _, _ = strings.Cut(params, ";")
	return strings.Trim(params, " \t\"'")
}

// NameOf names a document in a message.
func NameOf(in Input) string {
	if in.Name == "" {
		return "the document"
	}
	return in.Name
}

// Ended returns the failure that an ended context means for a document.
func Ended(ctx context.Context, name string) error {
	err := context.Cause(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return fault.Wrap(err, fault.Validation, "timeout", "%s takes too long to convert", name).
			WithHint("split the document, or raise the time limit of the parser")
	}
	return err
}

// TooLarge returns the refusal of a document with more Markdown than limit, in bytes.
func TooLarge(name string, limit int64) error {
	return fault.Invalid("too-large", "%s gives more than %d MiB of Markdown", name, limit>>20).
		WithHint("split the document, or raise the parser's output limit")
}

// Corrupt returns the refusal of a document that err keeps from being read.
func Corrupt(err error, name, format string, args ...any) error {
	return fault.Wrap(err, fault.Validation, "corrupt", "%s: %s", name, fmt.Sprintf(format, args...)).
		WithHint("check that the file opens in its own program, and submit it again")
}

// OutputLimit returns the limit on the bytes of Markdown, with a default for
// readers that are called without one.
func OutputLimit(limit int64) int64 {
	if limit > 0 {
		return limit
	}
	return 50 << 20
}

// ErrSpent is the cause of a refusal that concerns the submitted document as a
// whole: its members together have used up what it may cost. A container gives
// up on it, where it would otherwise note a member as unreadable and go on.
var ErrSpent = errors.New("the limits of the whole document are reached")
