package pgtest

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// CPU returns what the server and its sessions have used of all processors.
// Unlike the time on the wall it does not depend on what else the machine does.
func (s *Server) CPU(tb testing.TB) time.Duration {
	tb.Helper()
	if s.cmd == nil {
		tb.Fatal("the server is not one of ours, or down")
	}
	postmaster := strconv.Itoa(s.cmd.Process.Pid)
	children, err := os.ReadFile("/proc/" + postmaster + "/task/" + postmaster + "/children")
	if err != nil {
		tb.Fatal(err)
	}
	ticks := 0
	for i, pid := range append([]string{postmaster}, strings.Fields(string(children))...) {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil && i > 0 {
			continue // it has ended in between, and the postmaster counts it now
		}
		// After the name, which may hold anything: fields 14 to 17 of proc(5), and of
		// the postmaster what ended children have used.
		f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		last := 13
		if i == 0 {
			last = 15
		}
		for _, field := range f[11:last] {
			n, err := strconv.Atoi(field)
			if err != nil {
				tb.Fatal(fmt.Errorf("/proc/%s/stat: %w", pid, err))
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100 everywhere
}
