package split

import (
	"testing"

	"sluice/pkg/fault"
)

func TestOptionsValidate(t *testing.T) {
	for _, o := range []Options{
		{},
		DefaultOptions(),
		{Strategy: Fixed, Encoding: "o200k_base", MaxTokens: MinMaxTokens, Overlap: MinMaxTokens/2 - 1},
		{MaxTokens: MaxMaxTokens, MinTokens: MaxMaxTokens / 2},
	} {
		if err := o.Validate(); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for _, o := range []Options{
		{Strategy: "semantic"},
		{Encoding: "p50k_base"},
		{MaxTokens: MinMaxTokens - 1},
		{MaxTokens: MaxMaxTokens + 1},
		{MaxTokens: -1},
		{MinTokens: -1},
		{MaxTokens: 100, MinTokens: 51},
		{Overlap: -1},
		{MaxTokens: 100, Overlap: 50},
	} {
		if err := o.Validate(); err == nil || fault.Of(err) != fault.Halt {
			t.Errorf("%+v: got %v, want a halt fault", o, err)
		}
		if _, err := New(o); err == nil {
			t.Errorf("%+v: New took it", o)
		}
	}
}

func TestFingerprint(t *testing.T) {
	if got, want := (Options{}).Fingerprint(), (Options{Strategy: Markdown, Encoding: "cl100k_base", MaxTokens: 512}).Fingerprint(); got != want {
		t.Errorf("the fingerprint of the zero options is %q, of what it stands for %q", got, want)
	}
	seen := map[string]Options{}
	for _, o := range []Options{
		{}, {Strategy: Fixed}, {Encoding: "o200k_base"}, {MaxTokens: 51}, {MinTokens: 2}, {Overlap: 2}, {MaxTokens: 512, MinTokens: 22}, {MinTokens: 22, Overlap: 2},
	} {
		f := o.Fingerprint()
		if other, ok := seen[f]; ok && o != other && o.withDefaults() != other.withDefaults() {
			t.Errorf("%+v and %+v share the fingerprint %q", o, other, f)
		}
		seen[f] = o
	}
}
