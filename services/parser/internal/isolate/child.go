package isolate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"sluice/pkg/fault"
	"sluice/services/parser/internal/format"
)

// The environment of a child.
const (
	markEnv   = "SLUICE_ISOLATE"        // "1": be a child
	memoryEnv = "SLUICE_ISOLATE_MEMORY" // bytes it may have resident
)

// Exit codes by which a child tells why it ended. Go itself uses 2.
const (
	exitOrphan = 83 // the parent is gone
	exitBroken = 84 // the protocol failed
	exitMemory = 86 // it reached its memory limit
)

// ordinary is up to which size in bytes the room of a document is kept for the
// next one: fresh memory costs more than the reading of the pipe.
const ordinary = 4 << 20

// watchEvery is how often a converting child looks at its memory. A decoder
// grows by some GB/s at worst, so this bounds the overshoot to tens of MB.
const watchEvery = 10 * time.Millisecond

// Init makes this process serve documents if it was started as a child, and
// does not return then. In every other process it returns at once. It must come
// first in main: whatever runs before it runs in every child too.
func Init(convert func(ctx context.Context, in format.Input) (*format.Output, error)) {
	if os.Getenv(markEnv) != "1" {
		return
	}
	os.Exit(serve(convert))
}

func serve(convert format.Reader) int {
	requests, replies := requestFile(), replyFile()
	limit, err := strconv.ParseInt(os.Getenv(memoryEnv), 10, 64)
	if err != nil {
		fmt.Fprintf(os.Stderr, "isolate: %s: %v\n", memoryEnv, err)
		return exitBroken
	}
	// The collector works harder long before the limit; the watchdog is for
	// what is really needed.
	debug.SetMemoryLimit(limit / 4 * 3)
	// Documents are small and follow each other: what one leaves is collected with
	// that of the next ones.
	debug.SetGCPercent(seldom)

	type document struct {
		request
		data []byte
	}
	next := make(chan document)
	answered := make(chan []byte, 1) // the bytes of the last document: room for those of the next
	go func() {
		room := func() []byte {
			select {
			case b := <-answered:
				return b
			default:
				return nil
			}
		}
		for {
			var d document
			var err error
			if d.data, err = readFrame(requests, &d.request, room); err != nil {
				// Also in the middle of a document: nobody waits for it.
				os.Exit(exitOrphan)
			}
			next <- d
		}
	}()

	for d := range next {
		stop := watch(limit)
		out, last, err := convertOne(convert, format.Input{
			Name: d.Name, ContentType: d.ContentType, Charset: d.Charset, Data: d.data, Limits: d.Limits,
			At: func(member int, name string) error {
				if err := writeFrame(replies, response{Reading: &reading{member, name}}, ""); err != nil {
					os.Exit(exitOrphan)
				}
				if why := d.Skip[member]; why != nil {
					return why.err()
				}
				return nil
			},
		})
		stop()
		r := response{Resident: resident(), Last: last}
		var body string
		switch {
		case err != nil:
			r.Failure = failureOf(err)
		default:
			r.Pages, r.Facts, r.Warnings, body = out.Pages, out.Facts, out.Warnings, out.Markdown
		}
		if err := writeFrame(replies, r, body); err != nil {
			return exitOrphan
		}
		if last {
			return 0
		}
		if cap(d.data) <= ordinary {
			select {
			case answered <- d.data:
			default:
			}
		}
	}
	return 0
}

// convertOne converts a document. A panic becomes its failure and the child's
// last act: what it left behind in memory is not to be trusted.
func convertOne(convert format.Reader, in format.Input) (out *format.Output, last bool, err error) {
	ctx, cancel := context.Background(), func() {}
	if in.Limits.Time > 0 {
		ctx, cancel = context.WithTimeout(ctx, in.Limits.Time)
	}
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			out, last = nil, true
			err = fault.New(fault.Execution, reasonCrash, "%s: the parser crashed: %v (%s)", in.Name, p, panicSite(debug.Stack())).
				WithHint("this is a defect of the parser: please report it with the document")
		}
	}()
	out, err = convert(ctx, in)
	if err == nil && out == nil {
		err = errors.New("the converter returned nothing")
	}
	return out, false, err
}

// panicSite returns the function that panicked, for the failure's message.
func panicSite(stack []byte) string {
	lines := strings.Split(string(stack), "\n")
	for i, l := range lines {
		// The line after runtime's panic() is its location, the next the caller.
		if strings.HasPrefix(l, "panic(") && i+2 < len(lines) {
			return strings.TrimSpace(lines[i+2])
		}
	}
	return "unknown place"
}

// How much garbage there may be beside what is used, in per cent: of small
// documents, and of those that make the process larger than roomy.
const (
	seldom = 400
	often  = 40
	roomy  = 96 << 20
)

// watch ends the process when its resident memory passes limit bytes, and has it
// collect more often when it grows.
//
// It is a timer and no goroutine: most documents are done before it looks once.
func watch(limit int64) (stop func()) {
	var (
		mu            sync.Mutex
		done, thrifty bool
		timer         *time.Timer
	)
	look := func() {
		mu.Lock()
		defer mu.Unlock()
		if done {
			return
		}
		switch now := resident(); {
		case now > limit:
			os.Exit(exitMemory)
		case now > roomy && !thrifty:
			thrifty = true
			debug.SetGCPercent(often)
		}
		timer.Reset(watchEvery)
	}
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(watchEvery, look)
	return func() {
		mu.Lock()
		defer mu.Unlock()
		done = true
		timer.Stop()
		if thrifty {
			debug.SetGCPercent(seldom)
		}
	}
}
