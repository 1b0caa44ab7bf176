//go:build unix

package isolate

import (
	"os"
	"os/exec"
)

// The replies have a descriptor of their own, so that what a library prints to
// standard output cannot get between them.
func replyFile() *os.File { return os.NewFile(3, "replies") }

func giveReplyFile(cmd *exec.Cmd, f *os.File) {
	cmd.Stdout = os.Stderr
	cmd.ExtraFiles = []*os.File{f}
}
