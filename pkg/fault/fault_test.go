package fault_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/pkg/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAClassSurvivesWrapping(t *testing.T) {
	err := fmt.Errorf("page 3: %w", fault.Invalid("encrypted", "the PDF asks for a password").WithHint("remove it"))
	if fault.Of(err) != fault.Validation {
		t.Errorf("class %v", fault.Of(err))
	}
	f := fault.From(err)
	if f.Message != "page 3: the PDF asks for a password" || f.Reason != "encrypted" || f.Hint != "remove it" {
		t.Errorf("%+v", f)
	}
}

func TestTheZeroClassIsTryAgain(t *testing.T) {
	for err, reason := range map[error]string{errors.New("odd"): "unclassified", context.DeadlineExceeded: "timeout"} {
		if f := fault.From(err); f.Class != fault.Unavailable || f.Reason != reason {
			t.Errorf("%v: %+v", err, f)
		}
	}
	if fault.From(nil) != nil || fault.Wrap(nil, fault.Halt, "x", "y") != nil {
		t.Error("nil became an error")
	}
}

func TestCopiesDoNotShare(t *testing.T) {
	a := fault.New(fault.RateLimited, "rate", "slow down")
	b := a.After(time.Second).WithHint("wait")
	if a.RetryAfter != 0 || a.Hint != "" || b.RetryAfter != time.Second {
		t.Errorf("%+v %+v", a, b)
	}
}

func TestNames(t *testing.T) {
	for c := fault.Unavailable; c <= fault.Halt; c++ {
		if got, err := fault.ParseClass(c.String()); err != nil || got != c {
			t.Errorf("%v: %v %v", c, got, err)
		}
	}
	if _, err := fault.ParseClass("odd"); err == nil {
		t.Error("no error for an unknown class")
	}
}
