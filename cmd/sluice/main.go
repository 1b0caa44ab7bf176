// Command sluice is the command line of Sluice: it runs the whole pipeline in
// one process, submits documents, searches them, and says what became of them.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"sluice/cmd/sluice/cli"
	"sluice/services/parser/local"
)

func main() {
	local.Init() // a re-executed child reads one risky document at a time here
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := cli.Run(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	stop()
	os.Exit(code)
}
