package data

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"sluice/pkg/fault"
	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
)

// maxJSONDepth is how deep encoding/json reads.
const maxJSONDepth = 10_000

// JSON reads a JSON document, or a sequence of them, one a line, as fenced
// code: indented, its order and numbers untouched, its strings as their reader
// sees them. Letters that are written as escapes become letters and, but for JSON
// lines, escaped line ends become line ends: no search finds "n\u00e4chste", nor
// the second word of "Sehr\ngeehrte". What is not valid JSON is kept as it stands,
// with a warning.
func JSON(ctx context.Context, in format.Input) (*format.Output, error) {
	src, warnings, err := format.Decode(in, format.ContentTypeCharset(in.ContentType))
	if err != nil {
		return nil, err
	}
	src = strings.TrimSpace(src)
	if src == "" {
		return &format.Output{Warnings: warnings}, nil
	}
	depth, indented := measureJSON(src)
	if depth > maxJSONDepth {
		return nil, fault.Invalid("unsupported", "%s nests arrays and objects %d levels deep, more than %d", format.NameOf(in), depth, maxJSONDepth).
			WithHint("flatten the document, or submit it as text/plain")
	}
	if ctx.Err() != nil {
		return nil, format.Ended(ctx, format.NameOf(in))
	}
	data := []byte(src)
	if json.Valid(data) {
		// Deep structures grow quadratically when indented, and nobody reads them.
		if depth <= 64 && indented <= 4*len(src)+1024 {
			var b bytes.Buffer
			if err := json.Indent(&b, data, "", "  "); err != nil {
				return nil, format.Corrupt(err, format.NameOf(in), "it is not JSON")
			}
			src = b.String()
		}
		return &format.Output{Markdown: md.Fence("json", readable(src, "\n")), Warnings: warnings}, nil
	}
	if lines, bad, at := jsonLines(src); lines > 1 {
		if bad > 0 {
			warnings = append(warnings, fmt.Sprintf("%s: %d of %d lines are not valid JSON, the first is line %d; they are kept as they are",
				format.NameOf(in), bad, lines, at))
		}
		return &format.Output{Markdown: md.Fence("jsonl", readable(src, " ")), Warnings: warnings}, nil
	}
	warnings = append(warnings, fmt.Sprintf("%s is not valid JSON (%s); it is kept as it is", format.NameOf(in), jsonProblem(data)))
	return &format.Output{Markdown: md.Fence("json", readable(src, "\n")), Warnings: warnings}, nil
}

// measureJSON returns how deep brackets nest in src, and about how many bytes
// it has when indented by two spaces a level.
func measureJSON(src string) (depth, indented int) {
	level := 0
	for i := 0; i < len(src); i++ {
		indented++
		switch src[i] {
		case '"':
			for i++; i < len(src) && src[i] != '"'; i++ {
				if src[i] == '\\' {
					i++
					indented++
				}
				indented++
			}
		case '{', '[':
			level++
			depth = max(depth, level)
			indented += 1 + 2*level
		case ',':
			indented += 1 + 2*level
		case '}', ']':
			level = max(level-1, 0)
			indented += 1 + 2*level
		}
	}
	return depth, indented
}

// jsonLines counts the lines of src that hold something. They are JSON lines if
// most of them are valid on their own; else lines is 0. bad of them are not, at
// being the number of the first.
func jsonLines(src string) (lines, bad, at int) {
	number := 0
	for line := range strings.Lines(src) {
		number++
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		lines++
		if !json.Valid([]byte(line)) {
			if bad++; bad == 1 {
				at = number
			}
		}
	}
	if bad*2 >= lines {
		return 0, 0, 0
	}
	return lines, bad, at
}

// jsonProblem says where JSON stops being valid.
func jsonProblem(data []byte) string {
	var v json.RawMessage
	d := json.NewDecoder(bytes.NewReader(data))
	err := d.Decode(&v)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		at := min(max(int(syntax.Offset), 0), len(data))
		return fmt.Sprintf("line %d: %v", 1+bytes.Count(data[:at], []byte("\n")), err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "it ends too early"
	case err != nil:
		return err.Error()
	}
	return "more text follows its end"
}

// readable writes the escapes within the strings of src as what they stand for,
// line ends as lineEnd. Escapes of quotes and backslashes, of control characters
// and of halves of characters stay as they are.
func readable(src, lineEnd string) string {
	first := strings.IndexByte(src, '\\')
	if first < 0 {
		return src
	}
	var b strings.Builder
	b.Grow(len(src))
	b.WriteString(src[:first])
	for i := first; i < len(src); {
		if src[i] != '\\' || i+1 >= len(src) {
			next := strings.IndexByte(src[i+1:], '\\')
			if next < 0 {
				b.WriteString(src[i:])
				break
			}
			b.WriteString(src[i : i+1+next])
			i += 1 + next
			continue
		}
		switch src[i+1] {
		case 'n':
			b.WriteString(lineEnd)
		case 'r':
			if !strings.HasPrefix(src[i+2:], `\n`) {
				b.WriteString(lineEnd)
			}
		case 't', 'f', 'b':
			b.WriteByte(' ')
		case '/':
			b.WriteByte('/')
		case 'u':
			r, size := escapedRune(src[i:])
			if r >= ' ' && r != '"' && r != '\\' && r != utf8.RuneError && r != 0x7f {
				b.WriteRune(r)
			} else {
				b.WriteString(src[i : i+size])
			}
			i += size
			continue
		default:
			b.WriteString(src[i : i+2])
		}
		i += 2
	}
	return b.String()
}

// escapedRune reads \uXXXX, or two of them for one character, at the beginning of
// s. What is none is utf8.RuneError, with the bytes to keep.
func escapedRune(s string) (r rune, size int) {
	unit := func(s string) (rune, bool) {
		if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
			return 0, false
		}
		n, err := strconv.ParseUint(s[2:6], 16, 16)
		return rune(n), err == nil
	}
	high, ok := unit(s)
	if !ok {
		return utf8.RuneError, min(2, len(s))
	}
	if !utf16.IsSurrogate(high) {
		return high, 6
	}
	if low, ok := unit(s[6:]); ok {
		if r := utf16.DecodeRune(high, low); r != utf8.RuneError {
			return r, 12
		}
	}
	return utf8.RuneError, 6
}
