package pgtest

import "syscall"

// attributes leave no server behind when a test run is killed.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT} }
