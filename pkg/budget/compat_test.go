package budget

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Stages and costd of neighbouring releases talk to one another during an
// upgrade. What they say was written down once: this release understands all of
// it, and says all of it.
func TestWhatStagesAndCostdSayIsForGood(t *testing.T) {
	one, at := int64(1), time.Unix(1, 0).UTC()
	a := Amount{1, 1}
	refusal := &Refusal{Scope: Global, Window: "day", Limit: 1, What: "money", Resets: at, Never: true, Needs: 1}
	for name, m := range map[string]struct{ written, read any }{
		"request": {Request{Lease: "l", N: 1, Service: "s", Tenant: "t", Time: at, Used: a, Keep: a, Need: a, Call: a, Least: a, Want: a, Close: true, Seconds: 1, Seen: 1}, &Request{}},
		"answer":  {Answer{"l", 1, a, a, 1, 1, true, refusal, "e"}, &Answer{}},
		"change":  {Change{Scope: Global, HourNano: &one, DayNano: &one, HourRequests: &one, DayRequests: &one, Frozen: new(bool)}, &Change{}},
		"limits":  {Limits{&one, &one, &one, &one, true, 1}, &Limits{}},
		"state": {State{
			Scope: Global, State: "open", Reason: "r", Frozen: true, Waiting: true, Time: at,
			Windows: []WindowState{{"day", at, at, &one, &one, a, a, 0}},
		}, &State{}},
	} {
		t.Run(name, func(t *testing.T) {
			golden, err := os.ReadFile(filepath.Join("testdata", "v1", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			strict := json.NewDecoder(bytes.NewReader(golden))
			strict.DisallowUnknownFields()
			if err := strict.Decode(m.read); err != nil {
				t.Errorf("version 1 is not understood: %v", err)
			}
			data, err := json.Marshal(m.written)
			if err != nil {
				t.Fatal(err)
			}
			var was, is any
			if err := json.Unmarshal(golden, &was); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(data, &is); err != nil {
				t.Fatal(err)
			}
			contains(t, name, was, is)
		})
	}
}

// contains fails the test unless all that was said is said now; more may be.
func contains(t *testing.T, path string, was, is any) {
	t.Helper()
	switch was := was.(type) {
	case map[string]any:
		now, ok := is.(map[string]any)
		if !ok {
			t.Errorf("%s is %v and was an object", path, is)
		}
		for k, v := range was {
			contains(t, path+"."+k, v, now[k])
		}
	case []any:
		now, ok := is.([]any)
		if !ok || len(now) != len(was) {
			t.Fatalf("%s is %v and was a list of %d", path, is, len(was))
		}
		for i := range was {
			contains(t, path+"[]", was[i], now[i])
		}
	default:
		if is != was {
			t.Errorf("%s is %v and was %v: the other release says or expects it", path, is, was)
		}
	}
}
