//go:build unix

package isolate

import (
	"os"
	"os/exec"
	"syscall"
)

// The requests are waited for by the runtime's poller. A read that blocks keeps a
// thread, and each document would go from one thread to another.
func requestFile() *os.File {
	const stdin = 0
	if err := syscall.SetNonblock(stdin, true); err != nil {
		return os.Stdin
	}
	return os.NewFile(stdin, "requests")
}

// The replies have a descriptor of their own, so that what a library prints to
// standard output cannot get between them.
func replyFile() *os.File { return os.NewFile(3, "replies") }

func giveReplyFile(cmd *exec.Cmd, f *os.File) {
	cmd.Stdout = os.Stderr
	cmd.ExtraFiles = []*os.File{f}
}
