package data

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
)

// CSV reads delimiter-separated values as one table whose first row is the
// header. The delimiter is a comma, semicolon, tab or pipe, whichever makes the
// rows alike.
func CSV(ctx context.Context, in format.Input) (*format.Output, error) {
	src, warnings, err := format.Decode(in, format.ContentTypeCharset(in.ContentType))
	if err != nil {
		return nil, err
	}
	prefer := byte(',')
	if strings.EqualFold(path.Ext(in.Name), ".tsv") || strings.Contains(in.ContentType, "tab-separated") {
		prefer = '\t'
	}
	// A spreadsheet may say the delimiter on a line of its own.
	delimiter, named := byte(0), false
	if rest, ok := strings.CutPrefix(src, "sep="); ok && len(rest) > 1 && strings.IndexByte(",;\t|", rest[0]) >= 0 {
		if line, body, ok := strings.Cut(rest, "\n"); ok && strings.TrimSpace(line[1:]) == "" {
			delimiter, src, named = rest[0], body, true
		}
	}
	if !named {
		delimiter = sniffDelimiter(src, prefer)
	}
	limit := format.OutputLimit(in.Limits.Output)
	var (
		rows  [][]string
		size  int64
		width int
	)
	r := newCSVReader(src, delimiter)
	for n := 0; ; n++ {
		if n&1023 == 0 && ctx.Err() != nil {
			return nil, format.Ended(ctx, format.NameOf(in))
		}
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			line, _ := r.FieldPos(0)
			warnings = append(warnings, fmt.Sprintf("%s: row %d at line %d is malformed: %v", format.NameOf(in), n+1, line, err))
			if len(warnings) > 20 {
				return nil, format.Corrupt(err, format.NameOf(in), "more than 20 rows are malformed")
			}
			continue
		}
		used := 0
		for i, c := range row {
			if c = strings.TrimSpace(c); c != "" {
				used = i + 1
			}
			row[i] = md.EscapeInline(c)
			size += int64(len(c)) + 3
		}
		if used == 0 {
			continue
		}
		width = max(width, used)
		rows = append(rows, row)
		if size > limit {
			return nil, format.TooLarge(format.NameOf(in), limit)
		}
	}
	for i, row := range rows {
		rows[i] = row[:min(len(row), width)] // columns that are empty throughout
	}
	return &format.Output{Markdown: md.Table(rows), Warnings: warnings}, nil
}

func newCSVReader(src string, delimiter byte) *csv.Reader {
	r := csv.NewReader(strings.NewReader(src))
	r.Comma = rune(delimiter)
	r.LazyQuotes = true
	r.FieldsPerRecord = -1
	return r
}

// sniffDelimiter returns the delimiter under which most of the first rows have
// the same number of columns, and more than one. In doubt it is prefer.
func sniffDelimiter(src string, prefer byte) byte {
	const (
		sample   = 64 << 10
		mostRows = 200
	)
	if len(src) > sample {
		src = src[:sample]
		if i := strings.LastIndexByte(src, '\n'); i > 0 {
			src = src[:i]
		}
	}
	best, bestScore := prefer, 0.0
	for _, d := range []byte{prefer, ',', ';', '\t', '|'} {
		if !strings.Contains(src, string(d)) {
			continue
		}
		widths := map[int]int{}
		total := 0
		for r := newCSVReader(src, d); total < mostRows; {
			row, err := r.Read()
			if err != nil {
				break
			}
			widths[len(row)]++
			total++
		}
		score := 0.0
		for width, n := range widths {
			if width > 1 {
				// Agreement decides; more columns decide between equals.
				score = max(score, float64(n)/float64(total)+min(float64(width), 50)/1000)
			}
		}
		if score > bestScore {
			best, bestScore = d, score
		}
	}
	return best
}
