package isolate

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strconv"
	"sync"
	"syscall"
)

// statm stays open: a child looks at it after every document.
var statm = sync.OnceValues(func() (*os.File, error) { return os.Open("/proc/self/statm") })

// resident returns the bytes of memory this process holds, 0 if unknown: the
// second field of statm, in pages (proc(5)).
func resident() int64 {
	f, err := statm()
	if err != nil {
		return 0
	}
	var line [256]byte
	n, err := f.ReadAt(line[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0
	}
	fields := bytes.Fields(line[:n])
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

// widen gives a pipe room for a document of ordinary size, so that parent and child
// do not wake each other for every 64 KiB of it. Users may have so much in pipes and
// no more: without it the pipe stays as it is.
func widen(pipe *os.File) {
	const (
		setPipeSize = 1031 // F_SETPIPE_SZ (fcntl(2))
		room        = 1 << 20
	)
	if c, err := pipe.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { _, _, _ = syscall.Syscall(syscall.SYS_FCNTL, fd, setPipeSize, room) })
	}
}
