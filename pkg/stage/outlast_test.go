package stage

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"sluice/pkg/fault"
)

// A process that starts while NATS goes away does not end: it starts again. Nothing
// else is tried twice.
func TestAStartOutlastsNATS(t *testing.T) {
	yes, no := func() bool { return true }, func() bool { return false }
	odd := errors.New("odd")
	for name, tc := range map[string]struct {
		first     error
		connected func() bool
		calls     int
	}{
		"the buffer of a lost connection": {fmt.Errorf("open the bucket: %w", nats.ErrReconnectBufExceeded), yes, 2},
		"no answer":                       {fmt.Errorf("open the bucket: %w", context.DeadlineExceeded), yes, 2},
		"not connected":                   {odd, no, 2},
		"another failure":                 {odd, yes, 1},
		"a wrong configuration":           {fault.Wrap(nats.ErrTimeout, fault.Halt, "configuration", "no"), no, 1},
		"closed for good":                 {nats.ErrConnectionClosed, no, 1},
		"none":                            {nil, yes, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			calls := 0
			err := outlast(t.Context(), zerolog.Nop(), tc.connected, func() error {
				if calls++; calls > 1 {
					return nil
				}
				return tc.first
			})
			if calls != tc.calls || (tc.calls == 1) != errors.Is(err, tc.first) || tc.calls == 2 && err != nil {
				t.Errorf("%d calls, %v", calls, err)
			}
		})
	}
}
