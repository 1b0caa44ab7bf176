package formats_test

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/web"
)

// rowsOfHTML is a page with a table of n rows, and the table as it must come out.
func rowsOfHTML(n int) (page, table string) {
	var src, want strings.Builder
	src.WriteString("<h1>Log</h1><div><table class=x><caption>All <b>events</b></caption><thead><tr><th>No.<th>What<th colspan=2>Size</tr></thead><tbody>\n")
	want.WriteString("| No. | What | Size | Size |\n| --- | --- | --- | --- |\n")
	for i := range n {
		fmt.Fprintf(&src, "<tr><td>%d</td><td><a href='/e/%d'>event</a> a|b</td>", i, i)
		fmt.Fprintf(&want, "| %d | [event](/e/%d) a\\|b ", i, i)
		if i%3 == 0 {
			src.WriteString("<td rowspan=3>same</td>")
		}
		fmt.Fprintf(&src, "<td>10<sup>%d</sup></td></tr>\n", i)
		fmt.Fprintf(&want, "| same | 10^%d |\n", i)
	}
	src.WriteString("</tbody></table></div><p>The end.</p>")
	return src.String(), strings.TrimSuffix(want.String(), "\n")
}

// A table that is too large for a tree comes out as a small one does.
func TestHTMLTableOfManyRows(t *testing.T) {
	for _, n := range []int{6, 20_000} {
		page, table := rowsOfHTML(n)
		got, warnings := pageOf(t, page)
		if want := "# Log\n\nAll **events**\n\n" + table + "\n\nThe end."; got != want {
			at := 0
			for at < min(len(got), len(want)) && got[at] == want[at] {
				at++
			}
			t.Errorf("%d rows differ at byte %d: %q, want %q", n, at, format.Clip(got[max(0, at-40):], 200), format.Clip(want[max(0, at-40):], 200))
		}
		if len(warnings) > 0 {
			t.Errorf("%q", warnings)
		}
	}
	// What else large tables have: another within, a table of layout around, no end.
	page, table := rowsOfHTML(20_000)
	for name, c := range map[string]struct{ page, want string }{
		"within":     {strings.Replace(page, "<td>0</td>", "<td>0<table><tr><td>x<td>y</table></td>", 1), strings.Replace(table, "| 0 |", "| 0 x y |", 1)},
		"layout":     {"<table><tr><td><h2>Left</h2></td><td>" + page + "</td></tr></table>", table},
		"no end":     {page[:strings.LastIndex(page, "</tbody>")], table},
		"hidden row": {strings.Replace(page, "<tr><td>0</td>", "<tr hidden><td>SECRET</td></tr><tr><td>0</td>", 1), table},
	} {
		got, warnings := pageOf(t, c.page)
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: no such table in %q", name, format.Clip(got, 300))
		}
		if (len(warnings) > 0) != (name == "hidden row") {
			t.Errorf("%s: warned %q", name, warnings)
		}
	}
}

// livePeak returns the most bytes that were live on the heap while f ran.
func livePeak(f func()) uint64 {
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	runtime.GC()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	before, peak := sample[0].Value.Uint64(), uint64(0)
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	for {
		select {
		case <-done:
			return peak
		default:
			metrics.Read(sample)
			if now := sample[0].Value.Uint64(); now > before {
				peak = max(peak, now-before)
			}
			runtime.Gosched()
		}
	}
}

// Rows are not held as a tree: the memory of a table is a few times its bytes.
func TestHTMLRowsStayInBounds(t *testing.T) {
	page, _ := rowsOfHTML(30_000)
	data := []byte(page)
	page = ""
	peak := livePeak(func() {
		if _, err := web.HTML(t.Context(), format.Input{Name: "a.html", Data: data}); err != nil {
			t.Error(err)
		}
	})
	if factor := float64(peak) / float64(len(data)); factor > 8 {
		t.Errorf("%d bytes of table took %d bytes, %.1f times as many", len(data), peak, factor)
	}
}
