package ram

import (
	"slices"

	"sluice/services/indexer/index"
)

// top keeps the best k of what it is offered: a heap with the worst on top.
type top struct {
	k     int
	items []index.Ranked
}

func newTop(k int) *top { return &top{k: k} }

// wants reports whether push would keep the candidate. It is the fast path:
// nearly everything is worse than what is there.
func (t *top) wants(score float64, row int64) bool {
	if len(t.items) < t.k {
		return true
	}
	w := &t.items[0]
	return score > w.Score || score == w.Score && row < w.Row
}

// push adds a candidate that is wanted.
func (t *top) push(score float64, row int64) {
	r := index.Ranked{Row: row, Score: score}
	if len(t.items) < t.k {
		t.items = append(t.items, r)
		for i := len(t.items) - 1; i > 0; {
			parent := (i - 1) / 2
			if index.Better(t.items[i], t.items[parent]) < 0 {
				break
			}
			t.items[i], t.items[parent] = t.items[parent], t.items[i]
			i = parent
		}
		return
	}
	t.items[0] = r
	for i := 0; ; {
		worst := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(t.items); c++ {
			if index.Better(t.items[c], t.items[worst]) > 0 {
				worst = c
			}
		}
		if worst == i {
			return
		}
		t.items[i], t.items[worst] = t.items[worst], t.items[i]
		i = worst
	}
}

// sorted returns what was kept, best first, and ends the use of t.
func (t *top) sorted() []index.Ranked {
	slices.SortFunc(t.items, index.Better)
	return t.items
}
