//go:build !unix

package isolate

import (
	"os"
	"os/exec"
)

func requestFile() *os.File { return os.Stdin }

// Further descriptors cannot be passed to a child here, so the replies take
// standard output, and what prints to it is sent to standard error.
func replyFile() *os.File {
	f := os.Stdout
	os.Stdout = os.Stderr
	return f
}

func giveReplyFile(cmd *exec.Cmd, f *os.File) { cmd.Stdout = f }
