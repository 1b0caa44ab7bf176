package md_test

import (
	"reflect"
	"testing"

	"sluice/services/parser/internal/md"
)

func TestSpans(t *testing.T) {
	type cell struct {
		text         string
		across, down int
	}
	for name, c := range map[string]struct {
		rows [][]cell
		want [][]string
	}{
		"across": {[][]cell{{{"a", 2, 1}, {"b", 1, 1}}, {{"1", 1, 1}, {"2", 1, 1}, {"3", 1, 1}}}, [][]string{{"a", "a", "b"}, {"1", "2", "3"}}},
		"down":   {[][]cell{{{"a", 1, 2}, {"1", 1, 1}}, {{"2", 1, 1}}, {{"b", 1, 1}, {"3", 1, 1}}}, [][]string{{"a", "1"}, {"a", "2"}, {"b", "3"}}},
		"both":   {[][]cell{{{"a", 2, 2}, {"1", 1, 1}}, {{"2", 1, 1}}}, [][]string{{"a", "a", "1"}, {"a", "a", "2"}}},
		"at the end": {
			[][]cell{{{"1", 1, 1}, {"a", 1, 3}}, {{"2", 1, 1}}, {}},
			[][]string{{"1", "a"}, {"2", "a"}, {"", "a"}},
		},
		"no rows are made":   {[][]cell{{{"a", 1, 50}}, {{"b", 1, 1}}}, [][]string{{"a"}, {"a", "b"}}},
		"one over the other": {[][]cell{{{"1", 1, 1}, {"a", 1, 2}}, {{"b", 2, 1}}}, [][]string{{"1", "a"}, {"b", "b"}}},
	} {
		var s md.Spans
		for _, row := range c.rows {
			s.Row()
			for _, x := range row {
				s.Cell(x.text, x.across, x.down)
			}
		}
		if got := s.Rows(); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// What one cell covers is bounded, and so is what all of them repeat.
func TestSpansAreBounded(t *testing.T) {
	s := md.Spans{Limit: 1000}
	for range 1000 {
		s.Row()
		s.Cell("a text of some length", 1<<30, 1<<30)
	}
	rows, size := s.Rows(), 0
	for _, row := range rows {
		for _, c := range row {
			size += len(c)
		}
	}
	if size > 2000+1000*len("a text of some length") {
		t.Errorf("%d bytes", size)
	}
	if len(rows) != 1000 || len(rows[0]) < 10 {
		t.Errorf("%d rows of %d", len(rows), len(rows[0]))
	}
}
