package data

import (
	"context"
	"fmt"
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
	// Twice over the text: two million cells are held by nobody.
	var (
		table md.TableWriter
		size  int64
		width int // without columns that are empty throughout
		stray int
		first int // line of the first stray quote
	)
	r := newCSVRows(src, delimiter)
	r.stray = func(line int) {
		if stray++; stray == 1 {
			first = line
		}
	}
	err = eachRow(ctx, in, r, func(row []string, used int) error {
		for i, c := range row[:used] {
			row[i] = md.EscapeInline(c)
			size += int64(len(row[i])) + 3
		}
		if size > limit {
			return format.TooLarge(format.NameOf(in), limit)
		}
		width = max(width, used)
		table.Measure(row[:used])
		return nil
	})
	if err != nil {
		return nil, err
	}
	if stray > 0 {
		quotes := fmt.Sprintf("one quote opens a cell that it does not close, in line %d; it is kept as a character", first)
		if stray > 1 {
			quotes = fmt.Sprintf("%d quotes open cells that they do not close, the first in line %d; they are kept as characters", stray, first)
		}
		warnings = append(warnings, format.NameOf(in)+": "+quotes)
	}
	err = eachRow(ctx, in, newCSVRows(src, delimiter), func(row []string, _ int) error {
		row = row[:min(len(row), width)]
		for i, c := range row {
			row[i] = md.EscapeInline(c)
		}
		table.Write(row)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &format.Output{Markdown: table.String(), Warnings: warnings}, nil
}

// eachRow calls f for each row that is not empty, with its cells trimmed and the
// number of cells up to the last that holds something.
func eachRow(ctx context.Context, in format.Input, r *csvRows, f func(row []string, used int) error) error {
	for n := 0; ; n++ {
		if n&1023 == 0 && ctx.Err() != nil {
			return format.Ended(ctx, format.NameOf(in))
		}
		row, ok := r.next()
		if !ok {
			return nil
		}
		used := 0
		for i, c := range row {
			if row[i] = strings.TrimSpace(c); row[i] != "" {
				used = i + 1
			}
		}
		if used == 0 {
			continue
		}
		if err := f(row, used); err != nil {
			return err
		}
	}
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
		if i := strings.LastIndexAny(src, "\r\n"); i > 0 {
			src = src[:i]
		}
	}
	best, bestScore := prefer, 0.0
	for _, d := range []byte{prefer, ',', ';', '\t', '|'} {
		if !strings.Contains(src, string(d)) {
			continue
		}
		widths := map[int]int{}
		total, decimal, cuts := 0, 0, 0
		for r := newCSVRows(src, d); total < mostRows; {
			row, ok := r.next()
			if !ok {
				break
			}
			if len(row) == 1 && strings.TrimSpace(row[0]) == "" {
				continue
			}
			widths[len(row)]++
			total++
			for i := 1; i < len(row); i++ {
				if cuts++; endsInDigit(row[i-1]) && beginsWithDigit(row[i]) {
					decimal++
				}
			}
		}
		score := 0.0
		for width, n := range widths {
			if width > 1 {
				// Agreement decides; more columns decide between equals.
				score = max(score, float64(n)/float64(total)+min(float64(width), 50)/1000)
			}
		}
		if d == ',' && decimal*10 >= cuts*9 {
			// Nearly all of them stand between two digits: they may be decimal
			// commas. Another delimiter that cuts the rows alike is the delimiter.
			score -= 0.1
		}
		if score > bestScore {
			best, bestScore = d, score
		}
	}
	return best
}

func endsInDigit(s string) bool     { return s != "" && s[len(s)-1] >= '0' && s[len(s)-1] <= '9' }
func beginsWithDigit(s string) bool { return s != "" && s[0] >= '0' && s[0] <= '9' }
