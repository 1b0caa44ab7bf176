package stage

import (
	"testing"
	"time"

	"sluice/pkg/fault"
)

// What waits for a key is told by who has met it, and not by who has only found it in
// HELD, whichever was first.
func TestTheViewPrefersWhoHasMetIt(t *testing.T) {
	key := fault.On(fault.WaitOverLimit, "tenant.acme")
	found := fault.New(fault.Unavailable, reasonAside, "found")
	met := fault.New(fault.CostLimit, "over-limit", "met").WithHint("raise it")
	began := time.Now()
	for _, first := range []time.Duration{time.Minute, -time.Minute} {
		r := &room{places: map[fault.Wait]*place{
			key:        {key: key, why: found, since: began.Add(first), aside: 3},
			key + "#5": {key: key + "#5", why: met, since: began, waiting: []*Message{{}}},
		}}
		for range 20 { // the order of a map
			v := r.view()
			if len(v) != 1 || v[0].Message != "met" || v[0].Hint != "raise it" || v[0].Count != 1 || v[0].Aside != 3 || v[0].Since.After(began) || !v[0].Since.Equal(began.Add(min(first, 0))) {
				t.Fatalf("%+v", v)
			}
		}
	}
}
