package isolate

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
)

// resident returns the bytes of memory this process holds, 0 if unknown: the
// second field of statm, in pages (proc(5)).
func resident() int64 {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(statm)
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// childAttributes have the kernel kill the child when the parent dies. Closing
// stdin would tell it too, but not while WebAssembly code runs in a loop and
// the collector waits for it: no goroutine is scheduled then.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
