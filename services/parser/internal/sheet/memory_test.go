package sheet

import (
	"runtime"
	"strconv"
	"testing"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/office"
)

// A cell is kept in little more than its text: a sheet has millions.
func TestGridIsSmall(t *testing.T) {
	const rows, columns = 50_000, 10
	j := office.NewJob(t.Context(), format.Input{})
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	g := &Grid{}
	for r := range rows {
		for c := range columns {
			if err := g.Set(j, r, c, strconv.Itoa(1_000_000+r)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if each := (heap() - before) / (rows * columns); each > 16 { // 7 of them text
		t.Errorf("%d bytes a cell", each)
	}
	runtime.KeepAlive(g)
}
