//go:build !linux

package pgtest

import (
	"testing"
	"time"
)

// CPU is known on Linux only.
func (s *Server) CPU(tb testing.TB) time.Duration {
	tb.Fatal("what a server has used of the processors can be measured on Linux only")
	return 0
}
