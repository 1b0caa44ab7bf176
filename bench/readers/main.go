// Readers measures the CPU time that the local parser takes for the files of a
// folder, child processes included: milliseconds a file, by extension. The folder
// is read several times, so that starting up does not count.
//
//	go run ./bench/readers FOLDER             # the local parser
//	python3 bench/readers/peers.py FOLDER     # other libraries, in the same way
package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"sluice/pkg/provider"
	"sluice/services/parser/local"
)

func main() {
	local.Init()
	rounds := flag.Int("rounds", 20, "how often each file is read")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: readers [-rounds N] FOLDER")
		os.Exit(2)
	}
	if err := measure(flag.Arg(0), *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "readers:", err)
		os.Exit(1)
	}
}

func measure(dir string, rounds int) error {
	all, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	kinds := map[string][]provider.Source{}
	for _, e := range all {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		ext := strings.ToLower(filepath.Ext(e.Name()))
		kinds[ext] = append(kinds[ext], provider.Source{Name: e.Name(), Data: data})
	}
	for _, ext := range slices.Sorted(maps.Keys(kinds)) {
		few, err := cpu(kinds[ext], 1)
		if err != nil {
			return err
		}
		many, err := cpu(kinds[ext], 1+rounds)
		if err != nil {
			return err
		}
		n := rounds * len(kinds[ext])
		fmt.Printf("sluice %-6s %3d files %8.2f ms a file\n", ext, len(kinds[ext]), float64((many-few).Microseconds())/1000/float64(n))
	}
	return nil
}

// cpu returns the CPU time of reading each file so many times, with a parser of
// its own and until its child processes have ended.
func cpu(files []provider.Source, rounds int) (time.Duration, error) {
	before, err := used()
	if err != nil {
		return 0, err
	}
	p, err := local.New(local.DefaultConfig())
	if err != nil {
		return 0, err
	}
	for range rounds {
		for _, f := range files {
			// A refusal is measured, too: it is the answer to that file.
			_, _ = p.Parse(context.Background(), f)
		}
	}
	if err := p.Close(); err != nil {
		return 0, err
	}
	after, err := used()
	return after - before, err
}

func used() (time.Duration, error) {
	var sum time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			return 0, err
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum, nil
}
