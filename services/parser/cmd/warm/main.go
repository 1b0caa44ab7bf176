// Command warm compiles pdfium for the processor that it runs on and keeps the
// result in a folder. The build of an image runs it.
package main

import (
	"fmt"
	"os"

	"sluice/services/parser/local"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: warm FOLDER")
		os.Exit(2)
	}
	if err := local.Warm(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "warm:", err)
		os.Exit(1)
	}
}
